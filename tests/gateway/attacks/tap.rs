//! A tap between the gateway and the engine: it passes every byte on and remembers the request lines.
//!
//! Lock: the list of lines is a leaf.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What an engine request line begins with.
const METHODS: [&str; 7] = ["GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH "];

/// The tap.
#[derive(Clone)]
pub struct Tap(Arc<Mutex<Vec<String>>>);

impl Tap {
    /// Listens at `at` and passes on to `to`; its threads end with the process.
    pub fn start(at: &Path, to: PathBuf) -> Result<Tap, String> {
        let listener = UnixListener::bind(at).map_err(|e| format!("{}: {e}", at.display()))?;
        let tap = Tap(Arc::default());
        let own = tap.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(engine) = UnixStream::connect(&to) else { continue };
                let (Ok(c), Ok(e)) = (client.try_clone(), engine.try_clone()) else { continue };
                let tap = own.clone();
                std::thread::spawn(move || pass(client, engine, Some(tap)));
                std::thread::spawn(move || pass(e, c, None));
            }
        });
        Ok(tap)
    }

    /// The request lines since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let line = text.lines().next().unwrap_or_default();
        if METHODS.iter().any(|m| line.starts_with(m)) {
            let line = line.trim_end_matches(" HTTP/1.1").to_owned();
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }
}

fn pass(mut from: UnixStream, mut to: UnixStream, tap: Option<Tap>) {
    let mut buffer = [0_u8; 65536];
    while let Ok(n) = from.read(&mut buffer) {
        if let Some(tap) = tap.as_ref().filter(|_| n > 0) {
            tap.note(&buffer[..n]);
        }
        if n == 0 || to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
