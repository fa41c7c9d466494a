//! The admin socket: clients come and go through HTTP and JSON, metrics are read. And the small client of it that
//! `chitin gateway client …` uses.

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixStream;

use crate::body::{self, Body};
use crate::config::{ClientConfig, socket_path};
use crate::front;
use crate::gateway::Gateway;

/// The largest description of a client, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Serves the admin socket; only its owner may connect.
pub fn listen(gateway: &Arc<Gateway>, path: &Path, defaults: &Arc<ClientConfig>) -> Result<()> {
    let only_owner = ClientConfig { mode: Some("0600".into()), ..ClientConfig::default() };
    let listener = front::bind(path, &only_owner)?;
    let (gateway, defaults) = (gateway.clone(), defaults.clone());
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            let (gateway, defaults) = (gateway.clone(), defaults.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let (gateway, defaults) = (gateway.clone(), defaults.clone());
                    async move {
                        Ok::<_, std::convert::Infallible>(
                            answer(&gateway, &defaults, request).await,
                        )
                    }
                });
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(())
}

async fn answer(
    gateway: &Arc<Gateway>,
    defaults: &ClientConfig,
    request: Request<hyper::body::Incoming>,
) -> Response<Body> {
    match route(gateway, defaults, request).await {
        Ok(response) => response,
        Err(e) => {
            body::json_response(StatusCode::BAD_REQUEST, &json!({ "message": format!("{e:#}") }))
        }
    }
}

async fn route(
    gateway: &Arc<Gateway>,
    defaults: &ClientConfig,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Body>> {
    let (parts, incoming) = request.into_parts();
    let path = parts.uri.path().trim_end_matches('/');
    match (&parts.method, path) {
        (&Method::GET, "/clients") => {
            Ok(body::json_response(StatusCode::OK, &gateway.list().await))
        }
        (&Method::POST, "/clients") => {
            let mut incoming = body::boxed(incoming);
            let bytes = body::read(&mut incoming, MAX_BODY_BYTES).await?;
            let config: ClientConfig = serde_json::from_slice(&bytes).context("the description")?;
            let name = config.name.clone();
            let socket = gateway.add(config.with_defaults(defaults), None).await?;
            let out = json!({ "name": name, "listen": format!("unix:{}", socket.display()) });
            Ok(body::json_response(StatusCode::CREATED, &out))
        }
        (&Method::GET, "/metrics") => {
            let mut r = Response::new(body::full(gateway.metrics().await));
            let kind = HeaderValue::from_static("text/plain; version=0.0.4");
            r.headers_mut().insert(CONTENT_TYPE, kind);
            Ok(r)
        }
        (&Method::GET, "/learnt") => {
            let learnt = gateway.learnt().context("the gateway does not run with --dry-run")?;
            Ok(Response::new(body::full(learnt)))
        }
        (&Method::DELETE, path) => match path.strip_prefix("/clients/") {
            Some(name) => {
                let (gateway, name) = (gateway.clone(), name.to_owned());
                // A removal goes on when nobody waits for it.
                tokio::spawn(async move { gateway.remove(&name).await }).await??;
                Ok(body::no_content(StatusCode::NO_CONTENT))
            }
            None => bail!("there is no {path}"),
        },
        (method, path) => {
            bail!(
                "there is no {method} {path}; there are /clients, /clients/NAME, /metrics and /learnt"
            )
        }
    }
}

/// Sends one request to an admin socket, for the command line.
pub fn call(address: &str, method: &str, path: &str, content: Option<&Value>) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = socket_path(address)?;
        let stream = UnixStream::connect(&socket).await.with_context(|| {
            format!("cannot connect to {}; does `chitin gateway serve` run?", socket.display())
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let content = content.map(Value::to_string).unwrap_or_default();
        let request = Request::builder().method(method).uri(path).header(HOST, "gateway");
        let request = request.body(Full::new(bytes::Bytes::from(content)))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if !status.is_success() {
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            bail!("{}", crate::answer::message(&value));
        }
        Ok(text)
    })
}
