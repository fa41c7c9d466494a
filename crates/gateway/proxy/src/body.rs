//! Bodies: one boxed type for both directions, and bounded ways to read one.

use bytes::{Bytes, BytesMut};
use chitin_gateway_policy::Denied;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json as json_value};
use std::sync::{Arc, Mutex, PoisonError};

use crate::fault::Fault;

/// What goes wrong inside a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// Every body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The largest answer of the engine that is read as a whole, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// What is read and dropped of a refused request, in bytes, so that the client gets to read its answer.
const MAX_DRAIN_BYTES: usize = 1 << 30;

/// A body that whoever comes first takes: the operation that reads it, or the end of the request, which drains it.
#[derive(Clone)]
pub struct Held(Arc<Mutex<Body>>);

impl Held {
    /// Holds a body.
    pub fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    /// Takes the body and leaves an empty one.
    pub fn take(&self) -> Body {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut held, empty())
    }

    /// Reads the body up to `limit` bytes; what is too large is drained, so that the client can read why.
    pub async fn read(&self, limit: usize) -> Result<Bytes, Fault> {
        let mut body = self.take();
        let bytes = read(&mut body, limit).await;
        if bytes.is_err() {
            drain(&mut body).await;
        }
        bytes
    }
}

/// A body from bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|e| match e {}).boxed_unsync()
}

/// No body.
pub fn empty() -> Body {
    full(Bytes::new())
}

/// Boxes a body.
pub fn boxed<B>(body: B) -> Body
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// Reads a body up to `limit` bytes.
pub async fn read(body: &mut Body, limit: usize) -> Result<Bytes, Fault> {
    let mut out = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Denied::bad("body", e.to_string()))?;
        if let Some(data) = frame.data_ref() {
            if out.len() + data.len() > limit {
                return Err(Denied { status: 413, ..Denied::bad("body", "too large") }.into());
            }
            out.extend_from_slice(data);
        }
    }
    Ok(out.freeze())
}

/// Reads a whole answer of the engine.
pub async fn read_answer(mut body: Body) -> Result<Bytes, Fault> {
    read(&mut body, MAX_ANSWER_BYTES).await.map_err(|e| Fault::Unreachable(e.to_string()))
}

/// Reads and drops what is left of a refused request's body.
pub async fn drain(body: &mut Body) {
    let all = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > MAX_DRAIN_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(30), all).await;
}

/// A JSON answer.
pub fn json_response(status: StatusCode, value: &Value) -> Response<Body> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    let mut r = Response::new(full(bytes));
    *r.status_mut() = status;
    r.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    r
}

/// An error in Docker's manner.
pub fn error_response(fault: &Fault) -> Response<Body> {
    json_response(fault.status(), &json_value!({ "message": fault.to_string() }))
}

/// An answer without a body.
pub fn no_content(status: StatusCode) -> Response<Body> {
    let mut r = Response::new(empty());
    *r.status_mut() = status;
    r
}
