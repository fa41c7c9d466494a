//! The endpoint table: the whitelist of the Engine API, from which docs/gateway-api.md is generated as well.

use crate::Denied;
use crate::target::Target;

/// How an endpoint is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Rebuilt and forwarded.
    Allow,
    /// Forwarded with forced, renamed or bounded values.
    Rewrite,
    /// Only for the client's own things, addressed by pinned full id.
    OwnOnly,
    /// Answered or filtered by the gateway.
    Synthesise,
    /// Refused.
    Deny,
}

/// What an endpoint does; the proxy dispatches on it.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Ping,
    Version,
    Info,
    Events,
    Df,
    Auth,
    ContainerList,
    ContainerCreate,
    ContainerInspect,
    ContainerGet,
    ContainerStream,
    ContainerPost,
    ContainerAttach,
    ContainerRename,
    ContainerUpdate,
    ContainerDelete,
    ContainerPrune,
    ArchiveRead,
    ArchiveWrite,
    ExecCreate,
    ExecInspect,
    ExecStart,
    ExecResize,
    ImageList,
    ImagePull,
    ImageInspect,
    ImageTag,
    ImagePush,
    ImageDelete,
    ImagePrune,
    ImageSearch,
    ImageExport,
    Commit,
    Build,
    BuildPrune,
    NetworkList,
    NetworkCreate,
    NetworkInspect,
    NetworkConnect,
    NetworkDelete,
    NetworkPrune,
    VolumeList,
    VolumeCreate,
    VolumeInspect,
    VolumeDelete,
    VolumePrune,
    PluginInspect,
    Denied,
}

/// What may be in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing (an empty JSON object is dropped).
    None,
    /// JSON, judged field by field.
    Json,
    /// A tar archive, streamed.
    Tar,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// The method.
    pub method: &'static str,
    /// The path; `{x}` is one segment, `{x*}` one or more.
    pub path: &'static str,
    /// The class.
    pub class: Class,
    /// What it does.
    pub op: Op,
    /// The body.
    pub body: Body,
    /// Allowed query keys; `*` after a key lets it be repeated.
    pub query: &'static [&'static str],
    /// What the documentation says.
    pub note: &'static str,
}

use Body::{Json, Tar};
use Class::{Allow, Deny, OwnOnly, Rewrite, Synthesise};

#[rustfmt::skip]
const fn e(method: &'static str, path: &'static str, class: Class, op: Op, body: Body, query: &'static [&'static str], note: &'static str) -> Endpoint {
    Endpoint { method, path, class, op, body, query, note }
}

const N: Body = Body::None;
const LOGS: &[&str] =
    &["follow", "stdout", "stderr", "since", "until", "timestamps", "tail", "details"];
const SWARM: &str = "the engine's swarm is the host's";
const PLUGIN: &str = "plugins run on the host";
const CHECKPOINT: &str = "checkpoints are files of the host";
const ATTACH: &[&str] = &["detachKeys", "logs", "stream", "stdin", "stdout", "stderr"];

/// Every endpoint that is known; anything else is denied.
#[rustfmt::skip]
pub const ENDPOINTS: &[Endpoint] = &[
    e("GET", "/_ping", Allow, Op::Ping, N, &[], "API version capped, classic builder announced"),
    e("HEAD", "/_ping", Allow, Op::Ping, N, &[], "as GET"),
    e("GET", "/version", Synthesise, Op::Version, N, &[], "host kernel and build details removed"),
    e("GET", "/info", Synthesise, Op::Info, N, &[], "own counts; host details removed"),
    e("GET", "/events", Synthesise, Op::Events, N, &["since", "until", "filters"], "own things only, by the store"),
    e("GET", "/system/df", Synthesise, Op::Df, N, &["type*", "verbose"], "own things only"),
    e("POST", "/auth", Deny, Op::Denied, Json, &[], "the engine would log in for the client"),
    e("GET", "/containers/json", Synthesise, Op::ContainerList, N, &["all", "limit", "trunc_cmd", "size", "filters"], "own containers"),
    e("POST", "/containers/create", Rewrite, Op::ContainerCreate, Json, &["name", "platform"], "every field classed"),
    e("GET", "/containers/{id}/json", OwnOnly, Op::ContainerInspect, N, &["size"], "host paths removed"),
    e("GET", "/containers/{id}/top", OwnOnly, Op::ContainerGet, N, &["ps_args"], ""),
    e("GET", "/containers/{id}/logs", OwnOnly, Op::ContainerStream, N, LOGS, "streamed"),
    e("GET", "/containers/{id}/changes", OwnOnly, Op::ContainerGet, N, &[], ""),
    e("GET", "/containers/{id}/export", OwnOnly, Op::ContainerStream, N, &[], "streamed"),
    e("GET", "/containers/{id}/stats", OwnOnly, Op::ContainerStream, N, &["stream", "one-shot"], "streamed"),
    e("POST", "/containers/{id}/resize", OwnOnly, Op::ContainerPost, N, &["h", "w"], ""),
    e("POST", "/containers/{id}/start", OwnOnly, Op::ContainerPost, N, &["detachKeys"], "checkpoints refused"),
    e("POST", "/containers/{id}/stop", OwnOnly, Op::ContainerPost, N, &["t", "signal"], ""),
    e("POST", "/containers/{id}/restart", OwnOnly, Op::ContainerPost, N, &["t", "signal"], ""),
    e("POST", "/containers/{id}/kill", OwnOnly, Op::ContainerPost, N, &["signal"], ""),
    e("POST", "/containers/{id}/pause", OwnOnly, Op::ContainerPost, N, &[], ""),
    e("POST", "/containers/{id}/unpause", OwnOnly, Op::ContainerPost, N, &[], ""),
    e("POST", "/containers/{id}/wait", OwnOnly, Op::ContainerPost, N, &["condition"], "answer streamed"),
    e("POST", "/containers/{id}/rename", Rewrite, Op::ContainerRename, N, &["name"], "names are per client"),
    e("POST", "/containers/{id}/update", Rewrite, Op::ContainerUpdate, Json, &[], "limits within the budget only"),
    e("POST", "/containers/{id}/attach", OwnOnly, Op::ContainerAttach, N, ATTACH, "hijacked stream"),
    e("GET", "/containers/{id}/attach/ws", Deny, Op::Denied, N, &[], "websockets; use POST attach"),
    e("GET", "/containers/{id}/checkpoints", Deny, Op::Denied, N, &[], CHECKPOINT),
    e("POST", "/containers/{id}/checkpoints", Deny, Op::Denied, Json, &[], CHECKPOINT),
    e("DELETE", "/containers/{id}/checkpoints/{name}", Deny, Op::Denied, N, &[], CHECKPOINT),
    e("DELETE", "/containers/{id}", OwnOnly, Op::ContainerDelete, N, &["v", "force", "link"], ""),
    e("HEAD", "/containers/{id}/archive", OwnOnly, Op::ArchiveRead, N, &["path"], ""),
    e("GET", "/containers/{id}/archive", OwnOnly, Op::ArchiveRead, N, &["path"], "streamed"),
    e("PUT", "/containers/{id}/archive", OwnOnly, Op::ArchiveWrite, Tar, &["path", "noOverwriteDirNonDir", "copyUIDGID"], "plain tar, walked entry by entry"),
    e("POST", "/containers/prune", Synthesise, Op::ContainerPrune, N, &["filters"], "own stopped containers"),
    e("POST", "/containers/{id}/exec", Rewrite, Op::ExecCreate, Json, &[], "never privileged"),
    e("GET", "/exec/{id}/json", OwnOnly, Op::ExecInspect, N, &[], ""),
    e("POST", "/exec/{id}/start", OwnOnly, Op::ExecStart, Json, &[], "hijacked stream"),
    e("POST", "/exec/{id}/resize", OwnOnly, Op::ExecResize, N, &["h", "w"], ""),
    e("GET", "/images/json", Synthesise, Op::ImageList, N, &["all", "filters", "digests", "shared-size", "manifests"], "own and pulled images"),
    e("POST", "/images/create", Rewrite, Op::ImagePull, N, &["fromImage", "tag", "platform"], "pull only; import (fromSrc) refused"),
    e("GET", "/images/search", Deny, Op::Denied, N, &["term", "limit", "filters"], "the engine would ask a registry"),
    e("POST", "/images/load", Deny, Op::Denied, Tar, &["quiet"], "would overwrite a neighbour's tags"),
    e("GET", "/images/get", Deny, Op::Denied, N, &["names*"], "export of several images"),
    e("POST", "/images/prune", Synthesise, Op::ImagePrune, N, &["filters"], "removes nothing of others"),
    e("GET", "/images/{name*}/json", OwnOnly, Op::ImageInspect, N, &["manifests"], "own or usable images"),
    e("GET", "/images/{name*}/history", OwnOnly, Op::ImageInspect, N, &[], "own or usable images"),
    e("GET", "/images/{name*}/attestations", Deny, Op::Denied, N, &[], "newer than the newest API version served"),
    e("GET", "/images/{name*}/get", OwnOnly, Op::ImageExport, N, &[], "streamed"),
    e("POST", "/images/{name*}/tag", Rewrite, Op::ImageTag, N, &["repo", "tag"], "tags are per client"),
    e("POST", "/images/{name*}/push", Deny, Op::Denied, N, &["tag"], "private tags cannot be pushed"),
    e("DELETE", "/images/{name*}", OwnOnly, Op::ImageDelete, N, &["force", "noprune"], "removes own tags only"),
    e("GET", "/distribution/{name*}/json", Deny, Op::Denied, N, &[], "the engine would ask a registry"),
    e("POST", "/commit", Deny, Op::Denied, Json, &[], "would take labels and tags from the container"),
    e("POST", "/build", Rewrite, Op::Build, Tar, crate::build::QUERY, "classic builder; every option classed"),
    e("POST", "/build/prune", Synthesise, Op::BuildPrune, N, &["all", "keep-storage", "reserved-space", "max-used-space", "min-free-space", "filters"], "removes nothing of others"),
    e("POST", "/build/cancel", Deny, Op::Denied, N, &[], "BuildKit"),
    e("POST", "/session", Deny, Op::Denied, N, &[], "BuildKit; use the classic builder (DOCKER_BUILDKIT=0)"),
    e("POST", "/grpc", Deny, Op::Denied, N, &[], "BuildKit; use the classic builder (DOCKER_BUILDKIT=0)"),
    e("GET", "/networks", Synthesise, Op::NetworkList, N, &["filters"], "own networks"),
    e("POST", "/networks/create", Rewrite, Op::NetworkCreate, Json, &[], "bridge driver only"),
    e("POST", "/networks/prune", Synthesise, Op::NetworkPrune, N, &["filters"], "own unused networks"),
    e("GET", "/networks/{id}", OwnOnly, Op::NetworkInspect, N, &["verbose", "scope"], "own members only"),
    e("POST", "/networks/{id}/connect", OwnOnly, Op::NetworkConnect, Json, &[], "both sides own"),
    e("POST", "/networks/{id}/disconnect", OwnOnly, Op::NetworkConnect, Json, &[], "both sides own"),
    e("DELETE", "/networks/{id}", OwnOnly, Op::NetworkDelete, N, &[], ""),
    e("GET", "/volumes", Synthesise, Op::VolumeList, N, &["filters"], "own volumes"),
    e("POST", "/volumes/create", Rewrite, Op::VolumeCreate, Json, &[], "local driver, no options"),
    e("POST", "/volumes/prune", Synthesise, Op::VolumePrune, N, &["filters"], "own unused volumes"),
    e("GET", "/volumes/{name}", OwnOnly, Op::VolumeInspect, N, &[], "host path removed"),
    e("DELETE", "/volumes/{name}", OwnOnly, Op::VolumeDelete, N, &["force"], ""),
    e("PUT", "/volumes/{name}", Deny, Op::Denied, Json, &["version"], "cluster volumes"),
    e("GET", "/swarm", Deny, Op::Denied, N, &[], SWARM),
    e("POST", "/swarm/init", Deny, Op::Denied, N, &[], SWARM),
    e("POST", "/swarm/join", Deny, Op::Denied, N, &[], SWARM),
    e("POST", "/swarm/leave", Deny, Op::Denied, N, &[], SWARM),
    e("POST", "/swarm/unlock", Deny, Op::Denied, N, &[], SWARM),
    e("GET", "/swarm/unlockkey", Deny, Op::Denied, N, &[], SWARM),
    e("POST", "/swarm/update", Deny, Op::Denied, N, &[], SWARM),
    e("GET", "/nodes", Deny, Op::Denied, N, &[], SWARM),
    e("GET", "/nodes/{id}", Deny, Op::Denied, N, &[], SWARM),
    e("DELETE", "/nodes/{id}", Deny, Op::Denied, N, &[], SWARM),
    e("POST", "/nodes/{id}/update", Deny, Op::Denied, N, &[], SWARM),
    e("GET", "/services", Deny, Op::Denied, N, &[], SWARM),
    e("POST", "/services/create", Deny, Op::Denied, N, &[], SWARM),
    e("GET", "/services/{id}", Deny, Op::Denied, N, &[], SWARM),
    e("DELETE", "/services/{id}", Deny, Op::Denied, N, &[], SWARM),
    e("POST", "/services/{id}/update", Deny, Op::Denied, N, &[], SWARM),
    e("GET", "/services/{id}/logs", Deny, Op::Denied, N, &[], SWARM),
    e("GET", "/tasks", Deny, Op::Denied, N, &[], SWARM),
    e("GET", "/tasks/{id}", Deny, Op::Denied, N, &[], SWARM),
    e("GET", "/tasks/{id}/logs", Deny, Op::Denied, N, &[], SWARM),
    e("GET", "/secrets", Deny, Op::Denied, N, &[], SWARM),
    e("POST", "/secrets/create", Deny, Op::Denied, N, &[], SWARM),
    e("GET", "/secrets/{id}", Deny, Op::Denied, N, &[], SWARM),
    e("DELETE", "/secrets/{id}", Deny, Op::Denied, N, &[], SWARM),
    e("POST", "/secrets/{id}/update", Deny, Op::Denied, N, &[], SWARM),
    e("GET", "/configs", Deny, Op::Denied, N, &[], SWARM),
    e("POST", "/configs/create", Deny, Op::Denied, N, &[], SWARM),
    e("GET", "/configs/{id}", Deny, Op::Denied, N, &[], SWARM),
    e("DELETE", "/configs/{id}", Deny, Op::Denied, N, &[], SWARM),
    e("POST", "/configs/{id}/update", Deny, Op::Denied, N, &[], SWARM),
    e("GET", "/plugins", Deny, Op::Denied, N, &[], PLUGIN),
    e("GET", "/plugins/privileges", Deny, Op::Denied, N, &[], PLUGIN),
    e("POST", "/plugins/pull", Deny, Op::Denied, N, &[], PLUGIN),
    e("POST", "/plugins/create", Deny, Op::Denied, N, &[], PLUGIN),
    e("GET", "/plugins/{name*}/json", Synthesise, Op::PluginInspect, N, &[], "always absent (`docker inspect` asks it last)"),
    e("DELETE", "/plugins/{name*}", Deny, Op::Denied, N, &[], PLUGIN),
    e("POST", "/plugins/{name*}/enable", Deny, Op::Denied, N, &[], PLUGIN),
    e("POST", "/plugins/{name*}/disable", Deny, Op::Denied, N, &[], PLUGIN),
    e("POST", "/plugins/{name*}/upgrade", Deny, Op::Denied, N, &[], PLUGIN),
    e("POST", "/plugins/{name*}/push", Deny, Op::Denied, N, &[], PLUGIN),
    e("POST", "/plugins/{name*}/set", Deny, Op::Denied, N, &[], PLUGIN),
    e("GET", "/debug/{what*}", Deny, Op::Denied, N, &[], "the engine's own insides"),
    e("POST", "/debug/{what*}", Deny, Op::Denied, N, &[], "the engine's own insides"),
];

/// Finds the endpoint and its path parameter; checks the query keys.
pub fn find(method: &str, t: &Target) -> Result<(&'static Endpoint, String), Denied> {
    let shown = format!("{method} /{}", t.path.join("/"));
    let found = ENDPOINTS.iter().find_map(|e| {
        (e.method == method).then(|| matches(e.path, &t.path)).flatten().map(|name| (e, name))
    });
    let Some((endpoint, name)) = found else {
        return Err(Denied::policy(shown, "this endpoint is not in the gateway's table"));
    };
    if endpoint.class == Deny {
        return Err(Denied::policy(shown, format!("refused: {}", endpoint.note)));
    }
    for (i, (key, value)) in t.query.iter().enumerate() {
        let many = endpoint.query.iter().any(|q| q.strip_suffix('*') == Some(key));
        if !many && !endpoint.query.contains(&key.as_str()) {
            return Err(Denied::policy(format!("query {key}"), "unknown to this endpoint"));
        }
        if !many && t.query.iter().take(i).any(|(k, _)| k == key) {
            return Err(Denied::bad(format!("query {key}"), "given more than once"));
        }
        // A build's values are judged with the rest of the build.
        if endpoint.op != Op::Build && !crate::params::good(key, value) {
            return Err(Denied::bad(
                format!("query {key}"),
                format!("{value:?} is no value for it"),
            ));
        }
    }
    Ok((endpoint, name))
}

fn matches(pattern: &str, path: &[String]) -> Option<String> {
    let parts: Vec<&str> = pattern.split('/').skip(1).collect();
    let hole = parts.iter().position(|p| p.starts_with('{'));
    let Some(at) = hole else {
        return (parts.len() == path.len() && parts.iter().zip(path).all(|(a, b)| a == b))
            .then(String::new);
    };
    let many = parts.get(at)?.ends_with("*}");
    let after = parts.len() - at - 1;
    if path.len() < parts.len() || (!many && path.len() != parts.len()) {
        return None;
    }
    let end = path.len() - after;
    let head = parts.iter().take(at).zip(path).all(|(a, b)| a == b);
    let same = |(a, b): (&&str, &String)| a == b || a.starts_with('{');
    let tail = parts.iter().skip(at + 1).zip(path.iter().skip(end)).all(same);
    (head && tail).then(|| path.get(at..end).unwrap_or_default().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(method: &str, target: &str) -> Result<Op, u16> {
        let t = Target::parse(target).map_err(|d| d.status)?;
        find(method, &t).map(|(e, _)| e.op).map_err(|d| d.status)
    }

    #[test]
    fn denies_the_unknown() {
        for (m, p) in [
            ("GET", "/swarm"),
            ("POST", "/swarm/init"),
            ("GET", "/nodes"),
            ("GET", "/services"),
            ("GET", "/tasks"),
            ("GET", "/secrets"),
            ("POST", "/configs/create"),
            ("GET", "/plugins"),
            ("POST", "/plugins/pull"),
            ("POST", "/session"),
            ("POST", "/grpc"),
            ("OPTIONS", "/info"),
            ("GET", "/debug/pprof/profile"),
            ("GET", "/containers/a/checkpoints"),
            ("POST", "/auth"),
            ("HEAD", "/info"),
            ("GET", "/Containers/json"),
            ("PUT", "/volumes/x"),
            ("POST", "/containers/a/start?checkpoint=x"),
            ("POST", "/build/cancel?id=1"),
            ("POST", "/containers/a/start?checkpoint-dir=x"),
            ("GET", "/info?x=1"),
            ("GET", "/containers/a/b/json"),
            ("POST", "/images/create?fromSrc=http"),
            ("GET", "/images/get?names=a&names=b"),
            ("PRI", "/info"),
            ("GET", "/containers/json?all=1&all=0"),
            ("GET", "/containers/x/attach/ws"),
            ("POST", "/images/load"),
            ("POST", "/commit?container=x"),
            ("GET", "/networks/a/b"),
            ("post", "/containers/create"),
        ] {
            assert!(class(m, p).is_err(), "{m} {p}");
        }
    }

    #[test]
    fn finds_endpoints() {
        assert_eq!(class("GET", "/v1.41/containers/json?all=1"), Ok(Op::ContainerList));
        assert_eq!(class("GET", "/containers/json/json"), Ok(Op::ContainerInspect));
        assert_eq!(class("GET", "/images/reg.io/a/b:1/json"), Ok(Op::ImageInspect));
        assert_eq!(class("DELETE", "/images/a/b"), Ok(Op::ImageDelete));
        let t = Target::parse("/images/a/b/c/history").expect("fine");
        assert_eq!(find("GET", &t).expect("known").1, "a/b/c");
    }
}
