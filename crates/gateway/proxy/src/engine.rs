//! Talking to the engine: one connection for each request, over its unix socket.
//!
//! Requests are built from parts by [`Request`]; no byte of a client's request line or headers gets here.

use bytes::Bytes;
use chitin_gateway_policy::target::{NEWEST, encode_query};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, UPGRADE};
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::RwLock;
use tokio::net::UnixStream;

use crate::body::{self, Body};
use crate::fault::Fault;
use crate::pump::End;

/// The engine.
pub struct Engine {
    path: PathBuf,
    /// The API version that the gateway itself uses: the engine's, capped at what the table knows.
    api: RwLock<(u32, u32)>,
}

/// A request to the engine.
pub struct Request {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    version: Option<(u32, u32)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<Body>,
}

impl Request {
    /// A request for a path given as segments; each is escaped.
    pub fn new(method: Method, segments: &[&str]) -> Self {
        let path = segments.iter().map(|s| format!("/{}", escape(s))).collect();
        Self { method, path, query: vec![], version: None, headers: vec![], body: None }
    }

    /// A GET.
    pub fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    /// A POST.
    pub fn post(segments: &[&str]) -> Self {
        Self::new(Method::POST, segments)
    }

    /// A DELETE.
    pub fn delete(segments: &[&str]) -> Self {
        Self::new(Method::DELETE, segments)
    }

    /// The API version that the client named.
    #[must_use]
    pub fn version(mut self, version: Option<(u32, u32)>) -> Self {
        self.version = version;
        self
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, key: &str, value: impl Into<String>) -> Self {
        self.query.push((key.into(), value.into()));
        self
    }

    /// Adds query parameters.
    #[must_use]
    pub fn queries(mut self, pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        self.query.extend(pairs);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, value: &Value) -> Self {
        self.content("application/json", body::full(value.to_string()))
    }

    /// Sets a body.
    #[must_use]
    pub fn content(mut self, kind: &'static str, body: Body) -> Self {
        self.headers.push((CONTENT_TYPE, HeaderValue::from_static(kind)));
        self.body = Some(body);
        self
    }
}

fn escape(segment: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~:@/".contains(&b);
    segment.bytes().fold(String::new(), |mut out, b| {
        if plain(b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}

/// The answer to a request that asked for a hijack.
pub enum Hijacked {
    /// The engine switched; here is its socket and the content type.
    Yes(End, Option<HeaderValue>),
    /// It answered instead.
    No(Response<Body>),
}

impl Engine {
    /// An engine at a socket.
    pub fn new(path: PathBuf) -> Self {
        Self { path, api: RwLock::new((1, 41)) }
    }

    /// The process that listens on the engine's socket.
    pub fn process(&self) -> Result<u32, String> {
        let stream = std::os::unix::net::UnixStream::connect(&self.path)
            .map_err(|e| format!("cannot connect to the engine: {e}"))?;
        let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(|e| e.to_string())?;
        u32::try_from(peer.pid.as_raw_nonzero().get()).map_err(|e| e.to_string())
    }

    /// The API version in use.
    pub fn api(&self) -> (u32, u32) {
        self.api.read().map(|v| *v).unwrap_or((1, 41))
    }

    /// Asks the engine for its version.
    pub async fn negotiate(&self) -> Result<Value, Fault> {
        let request = hyper::Request::get("/version").header(HOST, "docker").body(body::empty());
        let request = request.map_err(|e| Fault::Internal(e.to_string()))?;
        let answer = self.exchange(request).await?;
        let version = body::read_answer(answer.into_body()).await?;
        let version: Value = serde_json::from_slice(&version)
            .map_err(|e| Fault::Unreachable(format!("its version is no JSON: {e}")))?;
        let text = version.get("ApiVersion").and_then(Value::as_str).unwrap_or_default();
        let pair = text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let pair = pair.ok_or_else(|| Fault::Unreachable(format!("API version {text:?}")))?;
        if let Ok(mut api) = self.api.write() {
            *api = NEWEST.min(pair);
        }
        Ok(version)
    }

    /// Sends a request; the answer's body streams.
    pub async fn send(&self, request: Request) -> Result<Response<Body>, Fault> {
        self.exchange(self.build(request, None)?).await
    }

    /// Sends a request and reads a JSON answer.
    pub async fn json(&self, request: Request) -> Result<(StatusCode, Value), Fault> {
        let answer = self.send(request).await?;
        let status = answer.status();
        let bytes = body::read_answer(answer.into_body()).await?;
        if bytes.is_empty() {
            return Ok((status, Value::Null));
        }
        let value = serde_json::from_slice(&bytes)
            .map_err(|e| Fault::Unreachable(format!("an answer is no JSON: {e}")))?;
        Ok((status, value))
    }

    /// Sends a request that asks for a raw stream.
    pub async fn hijack(&self, request: Request) -> Result<Hijacked, Fault> {
        let mut answer = self.exchange(self.build(request, Some("tcp"))?).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Hijacked::No(answer));
        }
        let kind = answer.headers().get(CONTENT_TYPE).cloned();
        let upgraded = hyper::upgrade::on(&mut answer).await?;
        let parts = upgraded
            .downcast::<TokioIo<UnixStream>>()
            .map_err(|_| Fault::Internal("the hijacked connection is no socket".into()))?;
        let end = End { stream: parts.io.into_inner(), early: parts.read_buf.to_vec() };
        Ok(Hijacked::Yes(end, kind))
    }

    fn build(&self, r: Request, upgrade: Option<&str>) -> Result<hyper::Request<Body>, Fault> {
        // Names of images are the client's own words; the engine has none that need escapes.
        let strange = ["%", "//", "/./", "/../"];
        if strange.iter().any(|part| r.path.contains(part)) {
            return Err(Fault::Engine(StatusCode::BAD_REQUEST, "invalid reference format".into()));
        }
        let (major, minor) = r.version.unwrap_or_else(|| self.api());
        let mut uri = format!("/v{major}.{minor}{}", r.path);
        if !r.query.is_empty() {
            uri.push('?');
            uri.push_str(&encode_query(&r.query));
        }
        let mut request =
            hyper::Request::builder().method(r.method).uri(uri).header(HOST, "docker");
        for (name, value) in r.headers {
            request = request.header(name, value);
        }
        if let Some(protocol) = upgrade {
            request = request.header(CONNECTION, "Upgrade").header(UPGRADE, protocol);
        }
        request
            .body(r.body.unwrap_or_else(body::empty))
            .map_err(|e| Fault::Internal(format!("cannot build a request: {e}")))
    }

    async fn exchange(&self, request: hyper::Request<Body>) -> Result<Response<Body>, Fault> {
        let stream = UnixStream::connect(&self.path).await.map_err(|e| {
            Fault::Unreachable(format!("cannot connect to {}: {e}", self.path.display()))
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::Builder::new().handshake(TokioIo::new(stream)).await?;
        // The connection lives until its body is read or dropped.
        tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        let answer = sender.send_request(request).await?;
        Ok(answer.map(body::boxed::<hyper::body::Incoming>))
    }
}

/// Splits a stream of JSON messages into lines; what is not complete stays behind.
#[derive(Default)]
pub struct Lines {
    rest: Vec<u8>,
}

/// The longest line of a stream of messages, in bytes.
const MAX_LINE_BYTES: usize = 4 << 20;

impl Lines {
    /// Adds bytes and takes the complete lines.
    pub fn push(&mut self, data: &Bytes) -> Result<Vec<Vec<u8>>, body::BoxError> {
        let mut lines = Vec::new();
        for part in data.split_inclusive(|b| *b == b'\n') {
            self.rest.extend_from_slice(part);
            if part.ends_with(b"\n") {
                lines.push(std::mem::take(&mut self.rest));
            } else if self.rest.len() > MAX_LINE_BYTES {
                return Err("a message of the engine is too long".into());
            }
        }
        Ok(lines)
    }

    /// What is left at the end.
    pub fn rest(self) -> Vec<u8> {
        self.rest
    }
}
