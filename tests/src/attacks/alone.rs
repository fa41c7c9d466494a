//! Judging a request by the pure crates alone: head, target, endpoint, body; no engine and no gateway runs.

use chitin_gateway::dockerfile::{self, Images};
use chitin_gateway::screen;
use chitin_gateway::tarwalk::{self, Purpose, Rewriter};
use chitin_gateway_policy::table::{self, Body, Op};
use chitin_gateway_policy::target::Target;
use chitin_gateway_policy::{
    Denied, Policy, Verdict, Workspace, World, build, create, engine_name, json, things,
};
use serde_json::Value;
use std::collections::BTreeMap;

use super::Names;
use super::allowed::{self, Bounds};

/// The policy that the cases are written against.
#[must_use]
pub fn policy(names: &Names) -> Policy {
    Policy {
        cgroup_parent: Some("/chitin-attacks/a".into()),
        workspaces: vec![Workspace { path: names.workspace.clone(), host: None, writable: true }],
        memory: Some(1 << 30),
        nano_cpus: Some(2_000_000_000),
        pids: Some(100),
        shm: Some(1 << 30),
        ..Policy::default()
    }
}

/// A client that owns `mine`, `net` and `vol` and may use `busybox:test`.
pub struct Own;

const MINE: &str = "c0ffee";

impl World for Own {
    fn client(&self) -> &str {
        "a"
    }
    fn container(&self, r: &str) -> Option<String> {
        (r == "mine" || r == MINE).then(|| MINE.into())
    }
    fn network(&self, r: &str) -> Option<String> {
        (r == "net").then(|| "beef".into())
    }
    fn volume(&self, n: &str) -> Option<String> {
        (n == "vol").then(|| engine_name("a", n))
    }
    fn image(&self, r: &str) -> Option<String> {
        (r == "busybox:test").then(|| r.into())
    }
    fn default_network(&self) -> Option<String> {
        Some("d00d".into())
    }
    fn bind(&self, _: &Workspace, path: &str) -> Result<String, String> {
        match path.contains("/link") || path.contains("/absent") {
            true => Err("leaves the workspace".into()),
            false => Ok(path.to_owned()),
        }
    }
    fn socket(&self) -> Option<String> {
        Some("/run/chitin-gateway/a.sock".into())
    }
}

impl Images for Own {
    fn resolve(&mut self, name: &str) -> Result<(String, Vec<String>), Denied> {
        let found = self.image(name).ok_or_else(|| Denied::absent("image", name))?;
        Ok((found, Vec::new()))
    }
}

/// A build's context, whose Dockerfile is judged on its way.
struct Context {
    name: String,
    seen: bool,
}

impl Rewriter for Context {
    fn wants(&self, path: &str) -> bool {
        path == self.name || (self.name == "Dockerfile" && path == "dockerfile")
    }
    fn wants_below(&self, path: &str) -> bool {
        self.name.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
    }
    fn rewrite(&mut self, _path: &str, content: Vec<u8>) -> Result<Vec<u8>, Denied> {
        self.seen = true;
        let options =
            dockerfile::Options { client: "a".into(), args: BTreeMap::new(), remote: false };
        dockerfile::rewrite(&content, &options, &mut Own)
    }
    fn finish(&mut self) -> Result<(), Denied> {
        if self.seen { Ok(()) } else { Err(Denied::bad("archive", "has no Dockerfile")) }
    }
}

/// Whether the pure crates let a request through.
pub fn judge(bytes: &[u8], names: &Names) -> Result<(), Denied> {
    let bad = |why: &str| Denied::bad("request", why);
    if bytes.starts_with(b"PRI ") {
        return Err(bad("HTTP/2"));
    }
    let end = screen::end(bytes).ok_or_else(|| bad("has no end"))?;
    if end > screen::MAX_HEAD_BYTES {
        return Err(bad("too long"));
    }
    let (head, body) = bytes.split_at(end);
    let head = screen::check(head)?;
    let target = Target::parse(&head.target)?;
    let (endpoint, reference) = table::find(&head.method, &target)?;
    if let Some(filters) = target.get("filters") {
        things::filters(Some(filters))?;
    }
    let length = usize::try_from(head.length.unwrap_or(0)).unwrap_or(usize::MAX);
    let body = body.get(..length.min(body.len())).unwrap_or_default();
    let archive = body;
    if endpoint.body == Body::Json {
        head.one_type()?;
    }
    let body = match endpoint.body {
        Body::None if matches!(body.trim_ascii(), b"" | b"{}" | b"null") => Value::Null,
        Body::None => return Err(bad("takes no body")),
        Body::Tar => Value::Null,
        Body::Json if body.is_empty() => Value::Null,
        Body::Json if head.content_type.as_deref() != Some("application/json") => {
            return Err(bad("is no JSON"));
        }
        Body::Json => json::parse(body)?,
    };
    let policy = policy(names);
    addressed(endpoint.path, &reference)?;
    match endpoint.op {
        Op::ContainerCreate => {
            let name = target.get("name").filter(|n| !n.is_empty());
            match create::judge(&body, name, &policy, &Own) {
                Verdict::Deny(denied) => Err(denied),
                Verdict::Allow(_) | Verdict::Rewrite(_) => Ok(()),
            }
        }
        Op::ContainerUpdate => things::update(&body, &policy).map(|_| ()),
        Op::ContainerRename => {
            things::good_name(target.get("name").unwrap_or_default()).map(|_| ())
        }
        Op::ExecCreate => things::exec(&body).map(|_| ()),
        Op::ExecStart => things::exec_start(&body).map(|_| ()),
        Op::NetworkCreate => things::network(&body, &Own).map(|_| ()),
        Op::NetworkConnect => {
            let connect = endpoint.path.ends_with("/connect");
            things::connect(&body, connect, &Own).map(|_| ())
        }
        Op::VolumeCreate => things::volume(&body, &Own).map(|_| ()),
        Op::Build => {
            build::judge(&target, &policy, &Own)?;
            let name = target.get("dockerfile").filter(|n| !n.is_empty()).unwrap_or("Dockerfile");
            let mut context = Context { name: tarwalk::clean(name)?, seen: false };
            tarwalk::copy(archive, &mut Vec::new(), Purpose::Context, &mut context)
        }
        Op::ArchiveWrite => {
            tarwalk::copy(archive, &mut Vec::new(), Purpose::Container, &mut tarwalk::Keep)
        }
        Op::ImagePull if target.get("fromImage").is_none_or(str::is_empty) => {
            Err(bad("pulls nothing"))
        }
        _ => Ok(()),
    }
}

/// Judges a create body alone, and holds what would be sent against the allowed set; whether it is let through.
pub fn judge_create(body: &Value, policy: &Policy) -> Result<bool, String> {
    let judged = create::judge(body, Some("web"), policy, &Own).forward();
    let Ok(created) = judged else { return Ok(false) };
    let bounds = Bounds {
        policy,
        client: Own.client(),
        containers: &[MINE],
        networks: &["beef", "d00d"],
        images: &["busybox:test"],
        socket: "/run/chitin-gateway/a.sock",
    };
    match allowed::create(&created.body, &bounds) {
        Ok(()) => Ok(true),
        Err(why) => Err(format!("{why}\nasked: {body}\nsent: {}", created.body)),
    }
}

/// Resolves what the path names, as the gateway does before anything else.
fn addressed(path: &str, reference: &str) -> Result<(), Denied> {
    let kind = path.split('/').nth(1).unwrap_or_default();
    if reference.is_empty() {
        return Ok(());
    }
    let (kind, found) = match kind {
        "containers" => ("container", Own.container(reference).is_some()),
        "networks" => ("network", Own.network(reference).is_some()),
        "volumes" => ("volume", Own.volume(reference).is_some()),
        "images" => ("image", Own.image(reference).is_some()),
        // The attacker has no execs.
        "exec" => ("exec", false),
        _ => ("thing", false),
    };
    if found { Ok(()) } else { Err(Denied::absent(kind, reference)) }
}
