//! One request: [`Call`] is what is known of it, [`dispatch`] sends it to the operation that its row of the table names.

use chitin_gateway_policy::table::{self, Body as Expected, Class, Endpoint, Op};
use chitin_gateway_policy::target::Target;
use chitin_gateway_policy::{Denied, things};
use hyper::HeaderMap;
use hyper::Response;
use hyper::header::HeaderValue;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::audit;
use crate::body::{self, Body, Held};
use crate::client::Client;
use crate::engine::Request;
use crate::fault::Fault;
use crate::ops;
use crate::pump::End;
use crate::screen;

/// A parsed request of a client.
pub struct Call {
    /// Who asks.
    pub client: Arc<Client>,
    /// The parsed target.
    pub target: Target,
    /// The row of the table.
    pub endpoint: &'static Endpoint,
    /// The path parameter, as the client wrote it.
    pub reference: String,
    /// The headers; only a few are ever looked at.
    pub headers: HeaderMap,
    /// The body.
    pub body: Held,
}

/// What comes back.
pub enum Reply {
    /// An answer.
    Plain(Response<Body>),
    /// A raw stream: the engine's end and the content type.
    Hijack(End, Option<HeaderValue>),
}

impl From<Response<Body>> for Reply {
    fn from(r: Response<Body>) -> Self {
        Self::Plain(r)
    }
}

impl Call {
    /// A request to the engine that keeps the client's API version.
    pub fn request(&self, method: hyper::Method, segments: &[&str]) -> Request {
        Request::new(method, segments).version(self.target.version)
    }

    /// As [`Call::request`], with the query (whose keys the table has checked).
    pub fn request_with_query(&self, method: hyper::Method, segments: &[&str]) -> Request {
        self.request(method, segments).queries(self.target.query.clone())
    }

    /// The filters, parsed.
    pub fn filters(&self) -> Result<Vec<(String, Vec<String>)>, Denied> {
        things::filters(self.target.get("filters"))
    }

    /// The JSON body; absent ones are null.
    pub async fn json(&mut self) -> Result<Value, Fault> {
        let bytes = self.body.read(chitin_gateway_policy::json::MAX_BYTES + 1).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        Ok(chitin_gateway_policy::json::parse(&bytes)?)
    }

    /// The API version in effect.
    pub fn version(&self) -> (u32, u32) {
        self.target.version.unwrap_or_else(|| self.client.engine().api())
    }

    /// Refuses what makes new things when the client's storage is used up.
    pub fn need_room(&self) -> Result<(), Fault> {
        if self.client.full.load(Ordering::Relaxed) {
            return Err(Fault::Budget(
                "the client's storage is used up; remove something (policy key: storage)".into(),
            ));
        }
        Ok(())
    }
}

/// Handles one request: parse, judge, forward; counts it and writes the audit line.
pub async fn handle(
    client: &Arc<Client>,
    uid: Option<u32>,
    parts: &hyper::http::request::Parts,
    body: Body,
) -> Reply {
    let start = Instant::now();
    let raw = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let path = raw.split('?').next().unwrap_or_default();
    let method = parts.method.as_str();
    let mut rule = String::new();
    let (reply, verdict) = match parse(client, method, raw, &parts.headers, body).await {
        Err(denied) => {
            rule = denied.to_string();
            (Reply::Plain(body::error_response(&denied.into())), "deny")
        }
        Ok(call) => {
            let endpoint = call.endpoint;
            let body = call.body.clone();
            let done = dispatch(call).await;
            if done.is_err() {
                // Refused before its body was looked at: a client that is cut off while it sends reads no answer.
                body::drain(&mut body.take()).await;
            }
            match done {
                Ok(reply) => {
                    rule.push_str(endpoint.path);
                    (reply, verdict(endpoint.class))
                }
                Err(fault) => {
                    rule = fault.to_string();
                    let verdict = if matches!(fault, Fault::Denied(_) | Fault::Budget(_)) {
                        "deny"
                    } else {
                        "error"
                    };
                    (Reply::Plain(body::error_response(&fault)), verdict)
                }
            }
        }
    };
    let took = start.elapsed();
    let status = match &reply {
        Reply::Plain(r) => r.status().as_u16(),
        Reply::Hijack(..) => 101,
    };
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    client.shared.metrics.count(&client.name, verdict, micros);
    client.shared.audit.write(&audit::Line {
        client: &client.name,
        uid,
        method,
        path,
        verdict,
        rule: &rule,
        status,
        took,
    });
    reply
}

/// Counts and audits a request whose head was refused before it could be parsed.
pub fn note_screened(client: &Client, uid: Option<u32>, denied: &Denied) {
    client.shared.metrics.count(&client.name, "deny", 0);
    client.shared.audit.write(&audit::Line {
        client: &client.name,
        uid,
        method: "",
        path: "",
        verdict: "deny",
        rule: &denied.to_string(),
        status: denied.status,
        took: std::time::Duration::ZERO,
    });
}

fn verdict(class: Class) -> &'static str {
    match class {
        Class::Allow => "allow",
        Class::Rewrite => "rewrite",
        Class::OwnOnly => "own-only",
        Class::Synthesise => "synthesise",
        Class::Deny => "deny",
    }
}

async fn parse(
    client: &Arc<Client>,
    method: &str,
    raw: &str,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<Call, Denied> {
    let found = Target::parse(raw).and_then(|t| {
        let (endpoint, reference) = table::find(method, &t)?;
        Ok((t, endpoint, reference))
    });
    let expects = headers.contains_key(hyper::header::EXPECT);
    let (target, endpoint, reference) = match found {
        Ok(found) => found,
        Err(denied) => {
            // A client that waits for "100 Continue" is not told to go on.
            if !expects {
                body::drain(&mut body).await;
            }
            return Err(denied);
        }
    };
    let kind = headers.get(hyper::header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match endpoint.body {
        Expected::None => {
            let bytes = body::read(&mut body, 1024).await;
            let bytes = bytes.map_err(|_| Denied::bad("body", "this endpoint takes none"))?;
            if !matches!(bytes.trim_ascii(), b"" | b"{}" | b"null") {
                return Err(Denied::bad("body", "this endpoint takes none"));
            }
            body = body::empty();
        }
        Expected::Json => {
            let types = headers.get_all(hyper::header::CONTENT_TYPE).iter().count();
            if let Err(denied) = screen::one_type(types) {
                body::drain(&mut body).await;
                return Err(denied);
            }
            if !kind.eq_ignore_ascii_case("application/json") && !body_is_empty(&body) {
                body::drain(&mut body).await;
                return Err(Denied {
                    status: 415,
                    ..Denied::bad("header content-type", "must be application/json")
                });
            }
            // Before anything is refused: a client that still writes would see a broken pipe.
            let limit = chitin_gateway_policy::json::MAX_BYTES + 1;
            let bytes = body::read(&mut body, limit).await;
            let too_large = || Denied { status: 413, ..Denied::bad("body", "too large") };
            body = body::full(bytes.map_err(|_| too_large())?);
        }
        Expected::Tar => {}
    }
    Ok(Call {
        client: client.clone(),
        target,
        endpoint,
        reference,
        headers: headers.clone(),
        body: Held::new(body),
    })
}

fn body_is_empty(body: &Body) -> bool {
    use hyper::body::Body as _;
    body.size_hint().exact() == Some(0)
}

/// Operations that must come to their end even when the client goes away meanwhile, so that what the engine made is
/// known: they run as tasks of their own.
fn must_finish(op: Op) -> bool {
    matches!(
        op,
        Op::ContainerCreate
            | Op::ContainerRename
            | Op::ContainerDelete
            | Op::ContainerPrune
            | Op::ExecCreate
            | Op::ImageTag
            | Op::ImageDelete
            | Op::ImagePrune
            | Op::NetworkCreate
            | Op::NetworkDelete
            | Op::NetworkPrune
            | Op::VolumeCreate
            | Op::VolumeDelete
            | Op::VolumePrune
    )
}

async fn dispatch(mut call: Call) -> Result<Reply, Fault> {
    if !must_finish(call.endpoint.op) {
        return run(call).await;
    }
    // The body is read while the client is waited for; only then does the operation leave its hands.
    let limit = chitin_gateway_policy::json::MAX_BYTES + 1;
    let bytes = call.body.read(limit).await?;
    call.body = Held::new(body::full(bytes));
    let guard = call.client.in_flight.clone().read_owned().await;
    if call.client.closing.load(Ordering::Acquire) {
        return Err(Fault::Budget("the client is being removed".into()));
    }
    let task = tokio::spawn(async move {
        let result = run(call).await;
        drop(guard);
        result
    });
    task.await.map_err(|e| Fault::Internal(e.to_string()))?
}

async fn run(call: Call) -> Result<Reply, Fault> {
    match call.endpoint.op {
        Op::Ping => ops::system::ping(call).await,
        Op::Version => ops::system::version(call).await,
        Op::Info => ops::system::info(call).await,
        Op::Events => ops::events::events(call).await,
        Op::Df => ops::system::df(call).await,
        Op::ContainerList => ops::containers::list(call).await,
        Op::ContainerCreate => ops::create::create(call).await,
        Op::ContainerInspect => ops::containers::inspect(call).await,
        Op::ContainerGet | Op::ContainerStream | Op::ContainerPost | Op::ArchiveRead => {
            ops::containers::relay(call).await
        }
        Op::ContainerAttach => ops::streams::attach(call).await,
        Op::ContainerRename => ops::containers::rename(call).await,
        Op::ContainerUpdate => ops::containers::update(call).await,
        Op::ContainerDelete => ops::containers::delete(call).await,
        Op::ContainerPrune => ops::prune::containers(call).await,
        Op::ArchiveWrite => ops::archive::write(call).await,
        Op::ExecCreate => ops::streams::exec_create(call).await,
        Op::ExecInspect => ops::streams::exec_inspect(call).await,
        Op::ExecStart => ops::streams::exec_start(call).await,
        Op::ExecResize => ops::streams::exec_resize(call).await,
        Op::ImageList => ops::images::list(call).await,
        Op::ImagePull => ops::images::pull(call).await,
        Op::ImageInspect => ops::images::inspect(call).await,
        Op::ImageExport => ops::images::export(call).await,
        Op::ImageTag => ops::images::tag(call).await,
        Op::ImageDelete => ops::images::delete(call).await,
        Op::ImagePrune => ops::prune::images(call).await,
        Op::Build => ops::build::build(call).await,
        Op::BuildPrune => ops::prune::builds(call).await,
        Op::NetworkList => ops::networks::list(call).await,
        Op::NetworkCreate => ops::networks::create(call).await,
        Op::NetworkInspect => ops::networks::inspect(call).await,
        Op::NetworkConnect => ops::networks::connect(call).await,
        Op::NetworkDelete => ops::networks::delete(call).await,
        Op::NetworkPrune => ops::prune::networks(call).await,
        Op::VolumeList => ops::volumes::list(call).await,
        Op::VolumeCreate => ops::volumes::create(call).await,
        Op::VolumeInspect => ops::volumes::inspect(call).await,
        Op::VolumeDelete => ops::volumes::delete(call).await,
        Op::VolumePrune => ops::prune::volumes(call).await,
        Op::PluginInspect => {
            let reason = format!("plugin {:?} not found", call.reference);
            Err(Denied { status: 404, ..Denied::policy("", reason) }.into())
        }
        Op::Auth | Op::ImagePush | Op::ImageSearch | Op::Commit | Op::Denied => {
            Err(Denied::policy(call.endpoint.path, call.endpoint.note).into())
        }
    }
}
