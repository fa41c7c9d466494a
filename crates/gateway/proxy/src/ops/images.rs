//! Images: private tags under a client's own repository, public ones by policy, ids only of what is visible anyway.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use chitin_gateway_policy::{Denied, OWNER_LABEL, build, is_private_image, private_repo};
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};
use std::sync::Arc;

use crate::answer::{good, good_json, relay, relay_with};
use crate::body::{self, json_response, no_content};
use crate::call::{Call, Reply};
use crate::client::Client;
use crate::engine::Request;
use crate::fault::Fault;
use crate::lines;
use crate::names;
use crate::store::{EVERYBODY, Kind, Thing};

/// The largest credentials header, in bytes.
const MAX_AUTH_BYTES: usize = 64 * 1024;

/// An image that the client may use.
pub struct Found {
    /// What the engine is told.
    pub reference: String,
    /// Whether it is not the client's own.
    pub public: bool,
    /// Its `Config`.
    pub config: Value,
}

/// `docker.io/library/a` and `a` are the same; a tag is always there unless there is a digest.
pub fn familiar(reference: &str) -> String {
    let mut r = reference;
    for prefix in ["docker.io/", "index.docker.io/"] {
        r = r.strip_prefix(prefix).unwrap_or(r);
    }
    let r = r.strip_prefix("library/").unwrap_or(r);
    let last = r.rsplit('/').next().unwrap_or(r);
    if last.contains([':', '@']) || r.contains('@') { r.into() } else { format!("{r}:latest") }
}

/// The registry in a familiar reference, if it is not Docker Hub.
fn registry(reference: &str) -> Option<&str> {
    let (first, _) = reference.split_once('/')?;
    (first.contains(['.', ':']) || first == "localhost").then_some(first)
}

/// Whether a familiar name matches one of the patterns (`*` at the end; without a tag, any tag).
fn matches(patterns: &[String], name: &str) -> bool {
    let bare = name.split('@').next().unwrap_or(name);
    let repo = match bare.rsplit_once(':') {
        Some((r, t)) if !t.contains('/') => r,
        _ => bare,
    };
    patterns.iter().any(|p| {
        let p = p.strip_prefix("docker.io/").unwrap_or(p);
        let p = p.strip_prefix("library/").unwrap_or(p);
        match p.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => p == name || p == repo,
        }
    })
}

/// Whether the policy lets the client pull a familiar name.
pub fn may_pull(client: &Client, name: &str) -> bool {
    let pull = &client.policy().pull;
    if pull.is_empty() { registry(name).is_none() } else { matches(pull, name) }
}

/// Whether a pull would move a tag that somebody made on this host: the engine would replace it with what a registry has
/// under that name.
pub async fn would_replace(client: &Client, name: &str) -> Result<bool, Fault> {
    if name.contains('@') {
        return Ok(false);
    }
    let (status, image) = client.engine().json(Request::get(&["images", name, "json"])).await?;
    let tagged = texts(&image, "RepoTags").any(|t| familiar(t) == name);
    Ok(status.is_success() && tagged && !from_registry(client, &image, name))
}

/// Whether an image came from a registry under this name, and was not made on this host.
fn from_registry(client: &Client, image: &Value, name: &str) -> bool {
    let same = |r: &str, name: &str| {
        let repo = name.rsplit_once(':').map_or(name, |(r, _)| r);
        familiar(r) == format!("{repo}:latest")
    };
    client.shared.origins.public(image, name, same)
}

/// The same for a name with a digest, which has no tag to be compared.
fn from_registry_by_digest(client: &Client, image: &Value, name: &str) -> bool {
    client.shared.origins.public(image, name, |r, name| name.split('@').next() == Some(r))
}

/// Remembers that the client pulled a public image, and for everybody that it is one.
pub async fn note_pulled(client: &Client, name: &str) -> Result<(), Fault> {
    let (status, image) = client.engine().json(Request::get(&["images", name, "json"])).await?;
    if let Some(id) = image.get("Id").and_then(Value::as_str).filter(|_| status.is_success()) {
        client.shared.origins.note(name, id);
        let thing = Thing { id: name.to_owned(), name: id.to_owned() };
        let noted = client.shared.store.put(EVERYBODY, &[(Kind::Pulled, &thing)]).await;
        noted.map_err(Fault::Internal)?;
    }
    client.record(Kind::Pulled, name, "").await
}

/// The engine's words for what cannot be pulled.
pub fn no_pull(name: &str) -> Denied {
    let repo = name.split(['@', ':']).next().unwrap_or(name);
    let why = format!(
        "pull access denied for {repo}, repository does not exist or may require 'docker login'"
    );
    Denied { status: 404, ..Denied::bad("", why) }
}

/// The engine's reference of an own tag.
pub fn own_tag(client: &Client, reference: &str) -> Option<String> {
    let index = client.index();
    let found = index.tags.id(reference).or_else(|| index.tags.id(&familiar(reference)));
    found.map(str::to_owned)
}

/// The texts in a list.
pub fn texts<'a>(v: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    v.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The tags of an image that are the client's own.
pub fn own_tags(client: &Client, image: &Value) -> Vec<String> {
    let index = client.index();
    texts(image, "RepoTags").filter(|t| index.tags.name(t).is_some()).map(str::to_owned).collect()
}

/// Whether a public tag of an image may be used by the client.
fn public_tag(client: &Client, image: &Value, tag: &str) -> bool {
    if is_private_image(tag) || tag == "<none>:<none>" {
        return false;
    }
    let name = familiar(tag);
    if matches(&client.config().local_images, &name) {
        return true;
    }
    from_registry(client, image, &name) && may_pull(client, &name)
}

/// Whether an image was built by the client: it has the owner's label, and no name but its own. One that came from a
/// registry may have the label from anybody.
pub fn own_untagged(client: &Client, image: &Value) -> bool {
    let labels = image.get("Labels").or_else(|| image.pointer("/Config/Labels"));
    let own = labels.and_then(|l| l.get(OWNER_LABEL)).and_then(Value::as_str);
    own == Some(client.name.as_str())
        && client.shared.origins.local(image)
        && texts(image, "RepoTags")
            .all(|t| t == "<none>:<none>" || t.starts_with(&private_repo(&client.name)))
}

/// Whether a reference has only what names and ids of images are made of.
fn plain(reference: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    !reference.is_empty() && reference.chars().all(good)
}

/// Resolves a reference among the images that the client may use.
pub async fn resolve(client: &Arc<Client>, reference: &str) -> Result<Found, Fault> {
    if !plain(reference) || is_private_image(&familiar(reference)) {
        return Err(Denied::absent("image", &absent_name(reference)).into());
    }
    let absent = || Fault::from(Denied::absent("image", &absent_name(reference)));
    let config = |image: &Value| image.get("Config").cloned().unwrap_or_default();
    // A tag that is on record may not be there yet, or no more: then the name means what it means without it.
    if let Some(own) = own_tag(client, reference) {
        let (status, image) = client.engine().json(Request::get(&["images", &own, "json"])).await?;
        if status.is_success() {
            return Ok(Found { reference: own, public: false, config: config(&image) });
        }
    }
    let asked = Request::get(&["images", reference, "json"]);
    let (status, image) = client.engine().json(asked).await?;
    if !status.is_success() {
        return Err(absent());
    }
    let config = config(&image);
    let name = familiar(reference);
    // By name: the tag must be one that may be used. (A digest reference is a name with `@`.)
    let by_tag = texts(&image, "RepoTags").find(|t| familiar(t) == name);
    let by_digest = texts(&image, "RepoDigests").any(|d| familiar(d) == name);
    if let Some(tag) = by_tag {
        if public_tag(client, &image, tag) {
            return Ok(Found { reference: name, public: true, config });
        }
        return Err(absent());
    }
    if by_digest {
        let public = may_pull(client, &name) && from_registry_by_digest(client, &image, &name);
        if public || matches(&client.config().local_images, &name) {
            return Ok(Found { reference: name, public: true, config });
        }
        return Err(absent());
    }
    // By id: what is visible anyway.
    let id = image.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let visible = !own_tags(client, &image).is_empty()
        || own_untagged(client, &image)
        || texts(&image, "RepoTags").any(|t| public_tag(client, &image, t));
    if visible { Ok(Found { reference: id, public: false, config }) } else { Err(absent()) }
}

/// The engine names the tag in its answer.
fn absent_name(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    if last.contains([':', '@']) { reference.into() } else { format!("{reference}:latest") }
}

/// Makes one entry of a list the client's, if it may see it.
pub fn show(client: &Client, image: &mut Value) -> bool {
    let own = own_tags(client, image);
    let public: Vec<String> = {
        let tags: Vec<String> = texts(image, "RepoTags").map(str::to_owned).collect();
        tags.into_iter()
            .filter(|t| public_tag(client, image, t))
            .filter(|t| client.index().pulled.contains(&familiar(t)))
            .collect()
    };
    if own.is_empty() && public.is_empty() && !own_untagged(client, image) {
        return false;
    }
    let shown: Vec<String> = own.iter().chain(&public).map(|t| client.shown_image(t)).collect();
    let digests: Vec<String> = match public.is_empty() {
        true => Vec::new(),
        false => texts(image, "RepoDigests").map(str::to_owned).collect(),
    };
    image["RepoTags"] = if shown.is_empty() { json!(["<none>:<none>"]) } else { shown.into() };
    image["RepoDigests"] = digests.into();
    // The number of containers that use it counts those of others.
    if image.get("Containers").is_some() {
        image["Containers"] = json!(-1);
    }
    names::labels(image.get_mut("Labels"));
    true
}

/// Images that the client made, as the engine lists them.
pub async fn raw_own(client: &Client) -> Result<Vec<Value>, Fault> {
    let v = client.engine().json(Request::get(&["images", "json"])).await?;
    let Value::Array(mut list) = good_json(client, v, None)? else { return Ok(Vec::new()) };
    list.retain(|i| !own_tags(client, i).is_empty() || own_untagged(client, i));
    Ok(list)
}

/// Visible images, ready to be shown.
pub async fn visible(client: &Client, query: &[(String, String)]) -> Result<Vec<Value>, Fault> {
    let request = Request::get(&["images", "json"]).queries(query.to_vec());
    let v = good_json(client, client.engine().json(request).await?, None)?;
    let Value::Array(mut list) = v else { return Ok(Vec::new()) };
    list.retain_mut(|i| show(client, i));
    Ok(list)
}

/// `/images/json`.
pub async fn list(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let mut engine_filters = Vec::new();
    let mut references: Vec<String> = Vec::new();
    for (key, values) in call.filters()? {
        match key.as_str() {
            "reference" => references.extend(values),
            "before" | "since" => {
                let mut told = Vec::new();
                for v in values {
                    told.push(resolve(client, &v).await?.reference);
                }
                engine_filters.push((key, told));
            }
            _ => engine_filters.push((key, values)),
        }
    }
    let mut query: Vec<_> =
        call.target.query.iter().filter(|(k, _)| k != "filters").cloned().collect();
    query.push(("filters".into(), chitin_gateway_policy::things::filters_json(&engine_filters)));
    let mut list = visible(client, &query).await?;
    if !references.is_empty() {
        list.retain(|i| {
            texts(i, "RepoTags").any(|t| references.iter().any(|r| reference_matches(r, t)))
        });
    }
    Ok(json_response(StatusCode::OK, &list.into()).into())
}

/// `name`, `name:tag`, with `*` inside.
fn reference_matches(pattern: &str, tag: &str) -> bool {
    let name = tag.rsplit_once(':').map_or(tag, |(n, _)| n);
    let wild = |text: &str| {
        let mut escaped = String::from("^");
        for c in pattern.chars() {
            match c {
                '*' => escaped.push_str("[^/]*"),
                '?' => escaped.push_str("[^/]"),
                c if c.is_ascii_alphanumeric() || c == '/' => escaped.push(c),
                c => escaped.push_str(&format!("\\x{{{:x}}}", u32::from(c))),
            }
        }
        escaped.push('$');
        regex_lite::Regex::new(&escaped).is_ok_and(|r| r.is_match(text))
    };
    wild(tag) || wild(name)
}

/// Inspect and history.
pub async fn inspect(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let found = resolve(client, &call.reference).await?;
    let verb = call.endpoint.path.rsplit('/').next().unwrap_or_default();
    let request = call.request_with_query(Method::GET, &["images", &found.reference, verb]);
    let asked = Some(("image", call.reference.as_str()));
    let mut v = good_json(client, client.engine().json(request).await?, asked)?;
    if let Some(layers) = v.as_array_mut() {
        for layer in layers {
            let tags: Vec<String> = texts(layer, "Tags")
                .filter(|t| client.index().tags.name(t).is_some() || **t == found.reference)
                .map(|t| client.shown_image(t))
                .collect();
            layer["Tags"] = if tags.is_empty() { Value::Null } else { tags.into() };
        }
    } else {
        if found.public {
            client.index().pulled.insert(found.reference.clone());
        }
        let shown = show(client, &mut v);
        if !shown || v["RepoTags"] == json!(["<none>:<none>"]) {
            v["RepoTags"] = json!([]);
        }
        names::graph_driver(&mut v);
        names::labels(v.pointer_mut("/Config/Labels"));
        names::labels(v.pointer_mut("/ContainerConfig/Labels"));
    }
    Ok(json_response(StatusCode::OK, &v).into())
}

/// `/images/{name}/get`.
pub async fn export(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let found = resolve(client, &call.reference).await?;
    let request = call.request(Method::GET, &["images", &found.reference, "get"]);
    let asked = Some(("image", call.reference.as_str()));
    Ok(relay(good(client, client.engine().send(request).await?, asked).await?).into())
}

/// A pull that is under way, by whose time the engine's event is known to be the client's.
pub struct Pulling {
    client: Arc<Client>,
    image: String,
}

impl Pulling {
    /// It begins.
    pub fn begin(client: &Arc<Client>, image: &str) -> Self {
        client.pull_begins(image);
        Self { client: client.clone(), image: image.to_owned() }
    }
}

impl Drop for Pulling {
    fn drop(&mut self) {
        self.client.pull_ended(&self.image);
    }
}

/// `/images/create`: a pull.
pub async fn pull(call: Call) -> Result<Reply, Fault> {
    let client = call.client.clone();
    call.need_room()?;
    let image = call.target.get("fromImage").unwrap_or_default();
    let tag = call.target.get("tag").unwrap_or_default();
    let reference = match tag {
        "" => image.to_owned(),
        t if t.contains(':') => format!("{image}@{t}"),
        t => format!("{image}:{t}"),
    };
    let name = familiar(&reference);
    if image.is_empty() || !plain(&name) || is_private_image(&name) {
        return Err(Denied::bad("query fromImage", "is no image name").into());
    }
    client.judged(|_| match may_pull(&client, &name) {
        true => Ok(()),
        false => {
            let why = format!("{name} may not be pulled");
            Err(Denied::policy("query fromImage", why).key("pull").needs(&name))
        }
    })?;
    if would_replace(&client, &name).await? {
        return Err(no_pull(&name).into());
    }
    let (repo, tag) = match name.split_once('@') {
        Some((repo, digest)) => (repo.to_owned(), digest.to_owned()),
        None => name
            .rsplit_once(':')
            .map_or((name.clone(), "latest".into()), |(r, t)| (r.into(), t.into())),
    };
    let mut request = call
        .request(Method::POST, &["images", "create"])
        .query("fromImage", repo)
        .query("tag", tag);
    if let Some(platform) = call.target.get("platform") {
        request = request.query("platform", platform);
    }
    if let Some(auth) = auth(&call.headers, "x-registry-auth", &AUTH)? {
        request = request.header(hyper::header::HeaderName::from_static("x-registry-auth"), auth);
    }
    let pulling = Pulling::begin(&client, &name);
    let answer = good(&client, client.engine().send(request).await?, None).await?;
    let (head, from) = answer.into_parts();
    let head = hyper::Response::from_parts(head, body::empty());
    let mut failed = false;
    let runtime = tokio::runtime::Handle::current();
    let mapped = lines::map(from, move |v| {
        // The closure owns it: the pull has ended when the stream has.
        let _ = &pulling;
        failed |= v.get("error").is_some();
        let done =
            v.get("status").and_then(Value::as_str).is_some_and(|s| s.starts_with("Status: "));
        if done && !failed {
            let (client, name) = (client.clone(), name.clone());
            runtime.spawn(async move { note_pulled(&client, &name).await });
        }
        Some(v)
    });
    Ok(relay_with(&head, mapped).into())
}

/// Fields of one registry's credentials.
const AUTH: [&str; 7] =
    ["username", "password", "auth", "email", "serveraddress", "identitytoken", "registrytoken"];

/// Credentials, parsed and rebuilt. With fields they are one registry's, without a map of registries.
pub fn auth(
    headers: &HeaderMap,
    name: &'static str,
    fields: &[&str],
) -> Result<Option<HeaderValue>, Denied> {
    let at = format!("header {name}");
    let bad = |why: &str| Denied::bad(at.clone(), why);
    let Some(value) = headers.get(name) else { return Ok(None) };
    if headers.get_all(name).iter().count() > 1 || value.len() > MAX_AUTH_BYTES {
        return Err(bad("given more than once, or too long"));
    }
    let text = value.as_bytes();
    if text.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE.decode(text).or_else(|_| STANDARD.decode(text));
    let bytes = bytes
        .or_else(|_| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text))
        .map_err(|_| bad("is not base64"))?;
    let parsed = match bytes.trim_ascii() {
        b"" | b"null" => return Ok(None),
        bytes => chitin_gateway_policy::json::parse(bytes)?,
    };
    let object = parsed.as_object().ok_or_else(|| bad("is no object"))?;
    let one = |o: &Map<String, Value>| -> Result<Value, Denied> {
        for (k, v) in o {
            if !AUTH.contains(&k.as_str()) || !v.is_string() {
                return Err(bad(&format!("field {k} is unknown")));
            }
        }
        Ok(Value::Object(o.clone()))
    };
    let rebuilt = if fields.is_empty() {
        let all = object.iter().map(|(host, v)| {
            let inner = v.as_object().ok_or_else(|| bad("is no map of credentials"))?;
            Ok((host.clone(), one(inner)?))
        });
        Value::Object(all.collect::<Result<_, Denied>>()?)
    } else {
        one(object)?
    };
    HeaderValue::from_str(&URL_SAFE.encode(rebuilt.to_string()))
        .map(Some)
        .map_err(|_| bad("cannot be rebuilt"))
}

/// `/images/{name}/tag`.
pub async fn tag(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let found = resolve(client, &call.reference).await?;
    let repo = call.target.get("repo").unwrap_or_default();
    let tag = call.target.get("tag").filter(|t| !t.is_empty()).unwrap_or("latest");
    let wanted = familiar(&format!("{repo}:{tag}"));
    let (repo, tag) = build::split_tag(&wanted)?;
    let repo = format!("{}{repo}", private_repo(&client.name));
    let engine = format!("{repo}:{tag}");
    note_tag(client, &engine, &wanted).await?;
    let request = call
        .request(Method::POST, &["images", &found.reference, "tag"])
        .query("repo", repo)
        .query("tag", tag);
    let asked = Some(("image", call.reference.as_str()));
    let answer = good(client, client.engine().send(request).await?, asked).await;
    if answer.is_err() {
        forget_absent_tags(client, &[engine]).await;
    }
    Ok(relay(answer?).into())
}

/// Puts a private tag on record, before it exists.
pub async fn note_tag(client: &Client, engine: &str, name: &str) -> Result<(), Fault> {
    let known = client.index().tags.name(engine).is_some();
    let _room = (!known).then(|| client.reserve(Kind::Tag)).transpose()?;
    client.record(Kind::Tag, engine, name).await
}

/// Takes tags off the record that were not made after all.
pub async fn forget_absent_tags(client: &Client, engine_tags: &[String]) {
    for tag in engine_tags {
        let asked = client.engine().json(Request::get(&["images", tag, "json"])).await;
        if asked.is_ok_and(|(status, _)| status == StatusCode::NOT_FOUND) {
            client.forget(Kind::Tag, tag).await;
        }
    }
}

/// The engine's list of what an image removal did, renamed.
pub fn shown_deletions(client: &Client, v: Value) -> Vec<Value> {
    let Value::Array(list) = v else { return Vec::new() };
    list.into_iter()
        .map(|mut d| {
            if let Some(s) =
                d.get("Untagged").and_then(Value::as_str).map(|s| client.shown_image(s))
            {
                d["Untagged"] = s.into();
            }
            d
        })
        .collect()
}

/// `DELETE /images/{name}`: own tags go; a public image is only no longer the client's.
pub async fn delete(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let found = resolve(client, &call.reference).await?;
    if found.public {
        client.forget(Kind::Pulled, &found.reference).await;
        let out = json!([{ "Untagged": found.reference }]);
        return Ok(json_response(StatusCode::OK, &out).into());
    }
    let mut victims = vec![found.reference.clone()];
    if found.reference.starts_with("sha256:") {
        let request = Request::get(&["images", &found.reference, "json"]);
        let (_, image) = client.engine().json(request).await?;
        let own = own_tags(client, &image);
        if texts(&image, "RepoTags").any(|t| !own.iter().any(|o| o == t)) || own.len() == 1 {
            victims = own;
        } else if own.len() > 1 && !call.target.flag("force") {
            let why = "image is referenced in multiple repositories; use force";
            return Err(Fault::Engine(StatusCode::CONFLICT, why.into()));
        } else if own.len() > 1 {
            victims = own;
        }
    }
    if victims.is_empty() {
        return Ok(no_content(StatusCode::OK).into());
    }
    let mut out = Vec::new();
    for victim in victims {
        let request = call.request_with_query(Method::DELETE, &["images", &victim]);
        let asked = Some(("image", call.reference.as_str()));
        let v = good_json(client, client.engine().json(request).await?, asked)?;
        out.extend(shown_deletions(client, v));
        client.forget(Kind::Tag, &victim).await;
    }
    Ok(json_response(StatusCode::OK, &out.into()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_brought_into_one_form() {
        assert_eq!(familiar("docker.io/library/alpine"), "alpine:latest");
        assert_eq!(familiar("reg:5000/a"), "reg:5000/a:latest");
        assert_eq!(familiar("a@sha256:0"), "a@sha256:0");
        assert_eq!(registry("reg:5000/a:1"), Some("reg:5000"));
        assert_eq!(registry("library/a"), None);
    }

    #[test]
    fn patterns_match_names_and_tags() {
        let p = |s: &str| vec![s.to_owned()];
        assert!(matches(&p("alpine"), "alpine:3"));
        assert!(matches(&p("docker.io/library/alpine"), "alpine:3"));
        assert!(!matches(&p("alpine:3"), "alpine:4"));
        assert!(matches(&p("reg.io/team/*"), "reg.io/team/x:1"));
        assert!(!matches(&p("reg.io/team/*"), "reg.io/other/x:1"));
        assert!(reference_matches("al*", "alpine:3") && !reference_matches("al*", "x/alpine:3"));
    }
}
