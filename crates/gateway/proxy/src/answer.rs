//! The engine's answers on their way to the client: headers selected, errors told without others' names.

use chitin_gateway_policy::Denied;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use hyper::{Response, StatusCode};
use serde_json::Value;

use crate::body::{self, Body};
use crate::client::Client;
use crate::fault::Fault;

/// Headers of answers that are passed on.
const HEADERS: [HeaderName; 6] = [
    CONTENT_TYPE,
    HeaderName::from_static("x-docker-container-path-stat"),
    HeaderName::from_static("api-version"),
    HeaderName::from_static("docker-experimental"),
    HeaderName::from_static("ostype"),
    HeaderName::from_static("cache-control"),
];

/// The message in an error of the engine.
pub fn message(v: &Value) -> String {
    v.get("message").and_then(Value::as_str).unwrap_or("the engine gave no reason").to_owned()
}

/// An answer's head with its body as it is.
pub fn relay(answer: Response<Body>) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    let mut out = Response::new(body);
    *out.status_mut() = parts.status;
    for name in HEADERS.iter().chain([&CONTENT_LENGTH]) {
        if let Some(value) = parts.headers.get(name) {
            out.headers_mut().insert(name, value.clone());
        }
    }
    out
}

/// An answer's head with another body.
pub fn relay_with(answer: &Response<Body>, body: Body) -> Response<Body> {
    let mut out = Response::new(body);
    *out.status_mut() = answer.status();
    for name in &HEADERS {
        if let Some(value) = answer.headers().get(name) {
            out.headers_mut().insert(name, value.clone());
        }
    }
    out
}

/// Lets a good answer through; an error becomes a fault in the client's words. `asked` is the reference that was
/// resolved: when the thing has vanished meanwhile, it is as absent as if it had never been there.
pub async fn good(
    client: &Client,
    answer: Response<Body>,
    asked: Option<(&str, &str)>,
) -> Result<Response<Body>, Fault> {
    if answer.status().as_u16() < 400 {
        return Ok(answer);
    }
    let status = answer.status();
    // Answers to HEAD have no body to take a message from.
    let bytes = body::read_answer(answer.into_body()).await.unwrap_or_default();
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    Err(fault(client, status, &value, asked))
}

/// The fault for an error of the engine.
pub fn fault(
    client: &Client,
    status: StatusCode,
    value: &Value,
    asked: Option<(&str, &str)>,
) -> Fault {
    let text = message(value);
    if let Some((kind, name)) = asked.filter(|_| status == StatusCode::NOT_FOUND) {
        let lower = text.to_ascii_lowercase();
        if lower.starts_with(&format!("no such {kind}")) || lower.contains("not found") {
            return Denied::absent(kind, name).into();
        }
    }
    Fault::Engine(status, client.scrub(&text))
}

/// A JSON answer, or the fault it tells.
pub fn good_json(
    client: &Client,
    (status, value): (StatusCode, Value),
    asked: Option<(&str, &str)>,
) -> Result<Value, Fault> {
    if status.as_u16() < 400 { Ok(value) } else { Err(fault(client, status, &value, asked)) }
}
