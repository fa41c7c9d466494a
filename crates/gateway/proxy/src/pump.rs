//! Two hijacked sockets joined: bytes both ways, half-closed ends kept half-closed, no idle cut-off.
//!
//! An idle stream owns no buffer: one is borrowed from a pool when bytes are there and given back when they are
//! written, so ten thousand idle streams cost their sockets and little else.

use std::io::{ErrorKind, Result};
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Bytes moved at once.
const BUFFER_BYTES: usize = 128 * 1024;
/// Buffers kept for the next reader.
const POOLED_BUFFERS: usize = 32;

static POOL: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn borrow() -> Vec<u8> {
    let pooled = POOL.lock().ok().and_then(|mut p| p.pop());
    pooled.unwrap_or_else(|| vec![0; BUFFER_BYTES])
}

fn give_back(buffer: Vec<u8>) {
    if let Ok(mut pool) = POOL.lock()
        && pool.len() < POOLED_BUFFERS
    {
        pool.push(buffer);
    }
}

/// One end and what was read from it before the switch.
pub struct End {
    /// The socket.
    pub stream: UnixStream,
    /// Bytes that came with the head.
    pub early: Vec<u8>,
}

/// Joins the two ends until both directions are done or one end is gone.
pub async fn join(client: End, engine: End) {
    let (a, b) = (client.stream, engine.stream);
    let up = one_way(&a, &b, client.early);
    let down = one_way(&b, &a, engine.early);
    tokio::pin!(up, down);
    tokio::select! {
        done = &mut up => {
            // The client closed its sending half: the engine's output still comes, unless the client is gone.
            if done.is_ok() {
                tokio::select! {
                    _ = &mut down => {}
                    () = gone(&a) => {}
                }
            }
        }
        done = &mut down => {
            if done.is_ok() {
                tokio::select! {
                    _ = &mut up => {}
                    () = gone(&b) => {}
                }
            }
        }
    }
}

/// How often a half-closed stream is looked at, to see whether its other half went as well.
const HANGUP_CHECK: Duration = Duration::from_secs(10);

/// Returns when the other side has closed the socket for good (not only its sending half).
async fn gone(s: &UnixStream) {
    // A full receiver is no reason to hold the other direction up, so this waits beside it.
    while matches!(s.ready(Interest::WRITABLE).await, Ok(r) if !r.is_write_closed()) {
        tokio::time::sleep(HANGUP_CHECK).await;
    }
}

async fn one_way(from: &UnixStream, to: &UnixStream, early: Vec<u8>) -> Result<()> {
    write_all(to, &early).await?;
    drop(early);
    loop {
        from.readable().await?;
        let mut buffer = borrow();
        let moved = match from.try_read(&mut buffer) {
            Ok(0) => Ok(true),
            Ok(n) => write_all(to, buffer.get(..n).unwrap_or_default()).await.map(|()| false),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Ok(false)
            }
            Err(e) => Err(e),
        };
        give_back(buffer);
        if moved? {
            return Ok(rustix::net::shutdown(to, rustix::net::Shutdown::Write)?);
        }
    }
}

async fn write_all(to: &UnixStream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match to.try_write(bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(e) if e.kind() == ErrorKind::WouldBlock => to.writable().await?,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn keeps_half_closes_and_early_bytes() {
        let (mut client, a) = UnixStream::pair().expect("pair");
        let (b, mut engine) = UnixStream::pair().expect("pair");
        let joined = tokio::spawn(join(
            End { stream: a, early: b"early ".to_vec() },
            End { stream: b, early: b"hello ".to_vec() },
        ));
        client.write_all(b"in").await.expect("write");
        client.shutdown().await.expect("shutdown");
        let mut got = String::new();
        engine.read_to_string(&mut got).await.expect("read");
        assert_eq!(got, "early in");
        let big = vec![7_u8; 3 << 20];
        let send = tokio::spawn(async move {
            engine.write_all(&big).await.expect("write");
            drop(engine);
        });
        let mut out = Vec::new();
        client.read_to_end(&mut out).await.expect("read");
        assert_eq!(out.len(), 6 + (3 << 20));
        send.await.expect("sent");
        joined.await.expect("joined");
    }

    #[tokio::test]
    async fn ends_when_the_client_is_gone() {
        let (client, a) = UnixStream::pair().expect("pair");
        let (b, _engine) = UnixStream::pair().expect("pair");
        let joined =
            tokio::spawn(join(End { stream: a, early: vec![] }, End { stream: b, early: vec![] }));
        drop(client);
        tokio::time::timeout(std::time::Duration::from_secs(5), joined)
            .await
            .expect("ends")
            .expect("no panic");
    }
}
