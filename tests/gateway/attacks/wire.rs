//! Raw requests over a unix socket: what was sent is exactly what the test says.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a mutated request is waited for.
const MOMENT: Duration = Duration::from_millis(300);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status; 0 if the connection was closed without an answer.
    pub status: u16,
    /// What came after the head (chunks are joined).
    pub body: String,
}

/// Sends bytes and reads to the end.
pub fn send(socket: &Path, bytes: &[u8]) -> Result<Answer, String> {
    let say = |e: std::io::Error| format!("{}: {e}", socket.display());
    let mut stream = UnixStream::connect(socket).map_err(say)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(say)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(say)?;
    // A peer that has seen enough may close while the rest is sent.
    let _ = stream.write_all(bytes);
    let mut out = Vec::new();
    let mut buffer = [0_u8; 65536];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => out.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(e) => return Err(format!("no end of the answer ({e}) after {:?}", text(&out))),
        }
    }
    Ok(parse(&out))
}

/// Sends bytes, ends the sending half and waits a moment for an answer; only a peer that is not there is an error.
pub fn throw(socket: &Path, bytes: &[u8]) -> Result<(), String> {
    let say = |e: std::io::Error| format!("{}: {e}", socket.display());
    let mut stream = UnixStream::connect(socket).map_err(say)?;
    stream.set_read_timeout(Some(MOMENT)).map_err(say)?;
    stream.set_write_timeout(Some(MOMENT)).map_err(say)?;
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut buffer = [0_u8; 4096];
    while matches!(stream.read(&mut buffer), Ok(n) if n > 0) {}
    Ok(())
}

/// A question with GET.
pub fn get(socket: &Path, target: &str) -> Result<Answer, String> {
    send(socket, format!("GET {target} HTTP/1.0\r\nHost: d\r\n\r\n").as_bytes())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(300).collect()
}

fn parse(bytes: &[u8]) -> Answer {
    let all = String::from_utf8_lossy(bytes).into_owned();
    // Being told to go on is not the answer.
    let all = all.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&all);
    let (head, body) = all.split_once("\r\n\r\n").unwrap_or((all, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { join(body) } else { body.to_owned() };
    Answer { status, body }
}

/// The text of chunks.
fn join(mut rest: &str) -> String {
    let mut out = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = after.get(..size).filter(|c| !c.is_empty()) else { break };
        out.push_str(chunk);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    out
}
