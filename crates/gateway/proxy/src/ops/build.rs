//! The classic build: options rebuilt by the policy, the context walked, the Dockerfile rewritten, the output renamed.

use chitin_gateway_policy::{Denied, build as policy};
use hyper::Method;
use hyper::header::HeaderName;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::answer::{good, relay_with};
use crate::body;
use crate::call::{Call, Reply};
use crate::client::Client;
use crate::dockerfile::{self, Images, Options};
use crate::engine::Request;
use crate::fault::Fault;
use crate::lines;
use crate::ops::images;
use crate::store::{Kind, Thing};
use crate::tarwalk::{Purpose, Rewriter, Stop, clean, walk};
use crate::world::Snapshot;

/// Numbers builds, so that each has its own record.
static BUILDS: AtomicU64 = AtomicU64::new(1);

/// The record of a running build, removed when its answer is done or dropped; and the tags that it is to make.
struct Running {
    client: Arc<Client>,
    id: String,
    tags: Vec<String>,
    runtime: tokio::runtime::Handle,
}

impl Drop for Running {
    fn drop(&mut self) {
        let (client, id) = (self.client.clone(), std::mem::take(&mut self.id));
        let tags = std::mem::take(&mut self.tags);
        self.runtime.spawn(async move {
            client.forget(Kind::Build, &id).await;
            images::forget_absent_tags(&client, &tags).await;
        });
    }
}

/// `/build`.
pub async fn build(call: Call) -> Result<Reply, Fault> {
    let client = call.client.clone();
    call.need_room()?;
    let mode = call.target.get("networkmode").unwrap_or_default();
    if matches!(mode, "" | "default" | "bridge") {
        client.ensure_default_network().await?;
    }
    let world = Snapshot::new(&client);
    let (mut query, tags) = client.judged(|rules| policy::judge(&call.target, rules, &world))?;
    // Intermediate containers of failed builds must go as well.
    query.retain(|(k, _)| k != "forcerm" && k != "pull");
    query.push(("forcerm".into(), "1".into()));
    let auth = images::auth(&call.headers, "x-registry-config", &[])?;
    let engine_tags: Vec<String> =
        query.iter().filter(|(k, _)| k == "t").map(|(_, v)| v.clone()).collect();
    for (engine, name) in engine_tags.iter().zip(&tags) {
        images::note_tag(&client, engine, &images::familiar(name)).await?;
    }
    let id = BUILDS.fetch_add(1, Ordering::Relaxed).to_string();
    let thing = Thing { id: id.clone(), name: String::new() };
    let noted = client.shared.store.put(&client.name, &[(Kind::Build, &thing)]).await;
    noted.map_err(Fault::Internal)?;
    let runtime = tokio::runtime::Handle::current();
    let running = Running { client: client.clone(), id, tags: engine_tags, runtime };
    let remote = call.target.get("remote").is_some_and(|r| !r.is_empty() && r != "client-session");
    let mut request = call.request(Method::POST, &["build"]).queries(query);
    if let Some(auth) = auth {
        request = request.header(HeaderName::from_static("x-registry-config"), auth);
    }
    let answer = if remote {
        client.engine().send(request).await?
    } else {
        let from = call.body.take();
        let (body, walked) = walk(from, Purpose::Context, Dockerfiles::new(&call, &client)?);
        let request = request.content("application/x-tar", body);
        let (walked, answer) = tokio::join!(walked, client.engine().send(request));
        if let Err(Stop::Denied(denied)) = walked {
            return Err(denied.into());
        }
        answer?
    };
    let answer = good(&client, answer, None).await?;
    let (head, from) = answer.into_parts();
    let head = hyper::Response::from_parts(head, body::empty());
    let renamed = lines::map(from, move |mut v| {
        // The closure owns the record: it goes when the stream does.
        let client = &running.client;
        for key in ["stream", "status", "error"] {
            if let Some(text) = v.get(key).and_then(Value::as_str).map(|t| client.scrub_build(t)) {
                v[key] = text.into();
            }
        }
        if let Some(m) = v.pointer("/errorDetail/message").and_then(Value::as_str) {
            let message = client.scrub_build(m);
            v["errorDetail"]["message"] = message.into();
        }
        Some(v)
    });
    Ok(relay_with(&head, renamed).into())
}

impl Client {
    /// A line of a build's output in the client's names. Ids in it are the build's own.
    fn scrub_build(&self, text: &str) -> String {
        text.replace(&self.prefix(), "")
            .replace(&chitin_gateway_policy::private_repo(&self.name), "")
    }
}

/// Rewrites the Dockerfile inside the context.
struct Dockerfiles {
    names: Vec<String>,
    seen: bool,
    options: Options,
    client: Arc<Client>,
    runtime: tokio::runtime::Handle,
    pull: bool,
}

impl Dockerfiles {
    fn new(call: &Call, client: &Arc<Client>) -> Result<Self, Denied> {
        let names = match call.target.get("dockerfile").unwrap_or_default() {
            "" | "Dockerfile" => vec!["Dockerfile".to_owned(), "dockerfile".to_owned()],
            name => vec![clean(name)?],
        };
        let mut args = BTreeMap::new();
        if let Some(text) = call.target.get("buildargs").filter(|t| !t.is_empty()) {
            let given = chitin_gateway_policy::json::parse(text.as_bytes())?;
            for (k, v) in given.as_object().into_iter().flatten() {
                args.extend(v.as_str().map(|v| (k.clone(), v.to_owned())));
            }
        }
        Ok(Self {
            names,
            seen: false,
            options: Options { client: client.name.clone(), args, remote: false },
            client: client.clone(),
            runtime: tokio::runtime::Handle::current(),
            pull: call.target.flag("pull"),
        })
    }
}

impl Rewriter for Dockerfiles {
    fn wants(&self, path: &str) -> bool {
        self.names.iter().any(|n| n == path)
    }

    fn wants_below(&self, path: &str) -> bool {
        let inside = |n: &String| n.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        self.names.iter().any(inside)
    }

    fn rewrite(&mut self, _path: &str, content: Vec<u8>) -> Result<Vec<u8>, Denied> {
        self.seen = true;
        self.client.judged(|rules| {
            let options = Options { remote: rules.remote_build, ..self.options.clone() };
            let mut lookup =
                Lookup { client: &self.client, runtime: &self.runtime, pull: self.pull };
            dockerfile::rewrite(&content, &options, &mut lookup)
        })
    }

    fn finish(&mut self) -> Result<(), Denied> {
        if self.seen {
            return Ok(());
        }
        let name = self.names.first().map_or("Dockerfile", String::as_str);
        Err(Denied::bad("archive", format!("Cannot locate specified Dockerfile: {name}")))
    }
}

/// Looks images up from the walker's thread.
struct Lookup<'a> {
    client: &'a Arc<Client>,
    runtime: &'a tokio::runtime::Handle,
    pull: bool,
}

impl Images for Lookup<'_> {
    fn resolve(&mut self, name: &str) -> Result<(String, Vec<String>), Denied> {
        let denied = |fault: Fault| match fault {
            Fault::Denied(d) => d,
            other => Denied {
                status: other.status().as_u16(),
                ..Denied::bad("build", other.to_string())
            },
        };
        let client = self.client;
        self.runtime.block_on(async {
            let familiar = images::familiar(name);
            let own = images::own_tag(client, name).is_some();
            let mut found = images::resolve(client, name).await;
            let absent = matches!(&found, Err(Fault::Denied(d)) if d.status == 404);
            if !own && images::may_pull(client, &familiar) && (absent || self.pull) {
                let pulled = pull(client, &familiar).await;
                if absent {
                    pulled.map_err(denied)?;
                }
                found = images::resolve(client, name).await;
            }
            let found = found.map_err(denied)?;
            let triggers = found.config.get("OnBuild").and_then(Value::as_array);
            let triggers = triggers.into_iter().flatten().filter_map(Value::as_str);
            Ok((found.reference, triggers.map(str::to_owned).collect()))
        })
    }
}

/// Pulls an image for a build, without credentials.
async fn pull(client: &Arc<Client>, name: &str) -> Result<(), Fault> {
    if images::would_replace(client, name).await? {
        return Err(images::no_pull(name).into());
    }
    let (repo, tag) =
        name.split_once('@').or_else(|| name.rsplit_once(':')).unwrap_or((name, "latest"));
    let _pulling = images::Pulling::begin(client, name);
    let request = Request::post(&["images", "create"]).query("fromImage", repo).query("tag", tag);
    let answer = good(client, client.engine().send(request).await?, None).await?;
    let output = body::read_answer(answer.into_body()).await?;
    let failed = output
        .split(|b| *b == b'\n')
        .filter_map(|l| serde_json::from_slice::<Value>(l).ok())
        .find_map(|v| v.get("error").and_then(Value::as_str).map(str::to_owned));
    match failed {
        Some(why) => {
            Err(Denied { status: 404, ..Denied::bad(format!("image {name}"), client.scrub(&why)) }
                .into())
        }
        None => images::note_pulled(client, name).await,
    }
}
