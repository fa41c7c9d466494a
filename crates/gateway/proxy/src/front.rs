//! A client's socket: listening, who may connect, and one request for each connection.
//!
//! The head is read and screened here before the HTTP library sees it. After the answer the connection is closed, so
//! bytes that follow a request are never taken for another one; after a switch to a raw stream they belong to it.

use anyhow::{Context, Result};
use bytes::{Buf, Bytes};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use crate::body::{self, Body};
use crate::call::{self, Reply};
use crate::client::{Client, Connected};
use crate::config;
use crate::fault::Fault;
use crate::pump::{self, End};
use crate::screen::{self, Head};
use chitin_gateway_policy::Denied;

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// Refused connections that are told why, at a time.
const MAX_REFUSALS: usize = 64;
/// The largest body of a request that is served as a raw stream without an upgrade, in bytes.
const MAX_RAW_BODY_BYTES: u64 = 1 << 20;

/// Binds a client's socket with its mode and owner. A socket that nobody listens on is replaced.
pub fn bind(path: &Path, config: &config::ClientConfig) -> Result<UnixListener> {
    if path.exists() {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            anyhow::bail!("{} is in use; is another gateway running?", path.display());
        }
        std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let old = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(old);
    let listener = listener.with_context(|| format!("cannot listen on {}", path.display()))?;
    dress(path, config)?;
    Ok(listener)
}

/// Gives a socket its owner and mode.
pub fn dress(path: &Path, config: &config::ClientConfig) -> Result<()> {
    if let Some(owner) = &config.owner {
        let (uid, gid) = config::owner_ids(owner)?;
        chown(path, Some(uid), gid)
            .with_context(|| format!("cannot give {} to {owner}", path.display()))?;
    }
    let mode = config::socket_mode(config.mode.as_deref().unwrap_or("0660"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// Removes a socket that nobody listens on.
pub fn remove_dead(path: &Path) {
    let socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        let _ = std::fs::remove_file(path);
    }
}

/// Accepts connections until the client is closed.
pub async fn accept(
    listener: UnixListener,
    client: Arc<Client>,
    mut closing: watch::Receiver<bool>,
) {
    // Whoever gets no answer because of the refusals under way sees a closed connection.
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.changed() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors: wait for some to come back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let uid = stream.peer_cred().map(|c| c.uid()).ok();
        let connected = match admit(&client, uid) {
            Ok(connected) => connected,
            Err(denied) => {
                call::note_screened(&client, uid, &denied);
                if let Ok(permit) = refusals.clone().try_acquire_owned() {
                    tokio::spawn(async move {
                        refuse(stream, denied.into()).await;
                        drop(permit);
                    });
                }
                continue;
            }
        };
        let (client, mut closed) = (client.clone(), closing.clone());
        tokio::spawn(async move {
            client.shared.metrics.connections.fetch_add(1, Ordering::Relaxed);
            let joined = tokio::select! {
                joined = connection(stream, &client, uid) => joined,
                _ = closed.changed() => None,
            };
            client.shared.metrics.connections.fetch_sub(1, Ordering::Relaxed);
            // A stream gets a task of its own, so that the memory of this one, which holds everything that a request
            // can become, is not kept as long as the stream.
            if let Some((a, engine)) = joined {
                tokio::spawn(stream_task(client, a, engine, closed, connected));
            }
        });
    }
}

/// Whether one more connection of this user is welcome.
fn admit(client: &Arc<Client>, uid: Option<u32>) -> Result<Connected, Denied> {
    let config = client.config();
    let allowed = &config.peer_uids;
    if !allowed.is_empty() && !uid.is_some_and(|u| allowed.contains(&u)) {
        let why = match uid {
            Some(uid) => format!("user {uid} may not connect"),
            None => "an unknown user may not connect".to_owned(),
        };
        return Err(Denied::policy("peer", why).key("peer_uids"));
    }
    Connected::new(client).ok_or_else(|| {
        let most = client.limits().connections;
        let denied = Denied::policy("connection", format!("there are {most} already"));
        Denied { status: 503, ..denied.key("max_connections") }
    })
}

/// Joins two ends until they are done or the client is closed; the connection is counted until then.
async fn stream_task(
    client: Arc<Client>,
    a: End,
    engine: End,
    mut closed: watch::Receiver<bool>,
    connected: Connected,
) {
    client.shared.metrics.streams.fetch_add(1, Ordering::Relaxed);
    tokio::select! {
        () = pump::join(a, engine) => {}
        _ = closed.changed() => {}
    }
    client.shared.metrics.streams.fetch_sub(1, Ordering::Relaxed);
    drop(connected);
}

/// Serves one connection: one request. Returns the two ends of a stream if it became one.
async fn connection(
    mut stream: UnixStream,
    client: &Arc<Client>,
    uid: Option<u32>,
) -> Option<(End, End)> {
    let head = tokio::time::timeout(HEAD_TIMEOUT, read_head(&mut stream)).await;
    let (bytes, end) = match head {
        Ok(Ok(Some(read))) => read,
        Ok(Err(fault)) => {
            refuse(stream, fault).await;
            return None;
        }
        Ok(Ok(None)) | Err(_) => return None,
    };
    let head = match screen::check(bytes.get(..end).unwrap_or_default()) {
        Ok(head) => head,
        Err(denied) => {
            call::note_screened(client, uid, &denied);
            refuse(stream, denied.into()).await;
            return None;
        }
    };
    let path = head.target.split('?').next().unwrap_or_default();
    let raw = head.method == "POST"
        && ((path.ends_with("/attach") && path.contains("/containers/"))
            || (path.ends_with("/start") && path.contains("/exec/")));
    let io = Prefixed { early: bytes.into(), stream };
    if raw && !head.upgrade && !head.chunked {
        return without_upgrade(io, end, &head, client, uid).await;
    }
    serve(io, client, uid).await
}

/// The bytes of a connection up to (and after) the end of the head.
async fn read_head(stream: &mut UnixStream) -> Result<Option<(Vec<u8>, usize)>, Fault> {
    let mut bytes = Vec::with_capacity(2048);
    loop {
        let before = bytes.len();
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return Ok(None);
        }
        let from = before.saturating_sub(3);
        let end = screen::end(bytes.get(from..).unwrap_or_default()).map(|end| from + end);
        if let Some(end) = end.filter(|end| *end <= screen::MAX_HEAD_BYTES) {
            return Ok(Some((bytes, end)));
        }
        if end.is_some() || bytes.starts_with(b"PRI ") || bytes.len() > screen::MAX_HEAD_BYTES {
            let denied = Denied { status: 431, ..Denied::bad("request head", "is too long") };
            return Err(denied.into());
        }
    }
}

/// Tells why, and gives the client time to read it.
async fn refuse(mut stream: UnixStream, fault: Fault) {
    let answer = body::error_response(&fault);
    let _ = write_plain(&mut stream, answer).await;
    let _ = stream.shutdown().await;
    let mut sink = [0_u8; 4096];
    let rest = async { while matches!(stream.read(&mut sink).await, Ok(n) if n > 0) {} };
    let _ = tokio::time::timeout(Duration::from_secs(2), rest).await;
}

/// Writes an answer by hand; only for connections that the HTTP library does not serve.
async fn write_plain(stream: &mut UnixStream, answer: Response<Body>) -> io::Result<()> {
    let (parts, body) = answer.into_parts();
    let bytes = body::read_answer(body).await.unwrap_or_default();
    let reason = parts.status.canonical_reason().unwrap_or("");
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_u16());
    for (name, value) in &parts.headers {
        if name != hyper::header::CONTENT_LENGTH {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
        }
    }
    head.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", bytes.len()));
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&bytes).await
}

/// Attach and exec of clients that do not ask for an upgrade: they get `200 OK`, and the rest of the connection is
/// the stream, as from the engine.
async fn without_upgrade(
    mut io: Prefixed,
    end: usize,
    head: &Head,
    client: &Arc<Client>,
    uid: Option<u32>,
) -> Option<(End, End)> {
    let length = head.length.unwrap_or(0);
    if length > MAX_RAW_BODY_BYTES {
        let denied = Denied { status: 413, ..Denied::bad("body", "larger than 1 MiB") };
        refuse(io.stream, denied.into()).await;
        return None;
    }
    if let Err(denied) = head.one_type() {
        refuse(io.stream, denied.into()).await;
        return None;
    }
    let wanted = end + usize::try_from(length).unwrap_or(0);
    let mut bytes = io.early.to_vec();
    while bytes.len() < wanted {
        if io.stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    let early = bytes.split_off(wanted);
    let content = bytes.split_off(end);
    let mut request = hyper::Request::post(head.target.as_str());
    if let Some(kind) = &head.content_type {
        request = request.header(CONTENT_TYPE, kind.as_str());
    }
    let Ok(request) = request.body(()) else {
        refuse(io.stream, Denied::bad("path", "cannot be read").into()).await;
        return None;
    };
    let (parts, ()) = request.into_parts();
    match call::handle(client, uid, &parts, body::full(content)).await {
        Reply::Plain(answer) => {
            let _ = write_plain(&mut io.stream, answer).await;
            let _ = io.stream.shutdown().await;
            None
        }
        Reply::Hijack(engine, kind) => {
            let kind = kind.as_ref().and_then(|k| k.to_str().ok()).unwrap_or(RAW_STREAM);
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n");
            io.stream.write_all(answer.as_bytes()).await.ok()?;
            Some((End { stream: io.stream, early }, engine))
        }
    }
}

/// The content type of raw streams of engines that name none.
const RAW_STREAM: &str = "application/vnd.docker.raw-stream";

/// Serves a request through the HTTP library; returns both ends when it becomes a stream.
async fn serve(io: Prefixed, client: &Arc<Client>, uid: Option<u32>) -> Option<(End, End)> {
    let (switch, mut switched) = tokio::sync::mpsc::channel::<(hyper::upgrade::OnUpgrade, End)>(1);
    let service = service_fn(|mut request: hyper::Request<hyper::body::Incoming>| {
        let (client, switch) = (client.clone(), switch.clone());
        async move {
            let upgrade = hyper::upgrade::on(&mut request);
            let (parts, incoming) = request.into_parts();
            let reply = call::handle(&client, uid, &parts, body::boxed(incoming)).await;
            Ok::<_, std::convert::Infallible>(match reply {
                Reply::Plain(answer) => answer,
                Reply::Hijack(engine, kind) => {
                    let _ = switch.send((upgrade, engine)).await;
                    switching(kind)
                }
            })
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .half_close(false)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades()
        .await;
    drop(switch);
    let (upgrade, engine) = switched.recv().await.filter(|_| served.is_ok())?;
    let upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Prefixed>>().ok()?;
    let io = parts.io.into_inner();
    let mut early = parts.read_buf.to_vec();
    early.extend_from_slice(&io.early);
    Some((End { stream: io.stream, early }, engine))
}

fn switching(kind: Option<HeaderValue>) -> Response<Body> {
    let mut answer = body::no_content(StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    headers.insert(CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static(RAW_STREAM)));
    answer
}

/// A socket with bytes that were read from it already.
struct Prefixed {
    early: Bytes,
    stream: UnixStream,
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let n = buf.remaining().min(self.early.len());
        buf.put_slice(self.early.get(..n).unwrap_or_default());
        self.early.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
