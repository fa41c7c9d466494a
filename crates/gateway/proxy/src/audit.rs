//! The audit log: one JSON object a line for each request, saying who, what, the verdict and the rule.

use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the lines go.
pub struct Audit {
    to: Mutex<Option<File>>,
}

/// One line.
pub struct Line<'a> {
    /// The client.
    pub client: &'a str,
    /// The user id at the other end of the socket.
    pub uid: Option<u32>,
    /// The method.
    pub method: &'a str,
    /// The target, without its query.
    pub path: &'a str,
    /// `allow`, `rewrite`, `own-only`, `synthesise`, `deny` or `error`.
    pub verdict: &'a str,
    /// The rule: the endpoint's path, or what was refused.
    pub rule: &'a str,
    /// The status of the answer.
    pub status: u16,
    /// How long it took until the answer began.
    pub took: Duration,
}

impl Audit {
    /// Appends to a file; without one, to standard error.
    pub fn open(path: Option<&Path>) -> std::io::Result<Self> {
        let open = |p| OpenOptions::new().create(true).append(true).open(p);
        Ok(Self { to: Mutex::new(path.map(open).transpose()?) })
    }

    /// Opens the file anew (after it was rotated away).
    pub fn reopen(&self, path: &Path) {
        if let (Ok(new), Ok(mut to)) = (Self::open(Some(path)), self.to.lock()) {
            *to = new.to.into_inner().ok().flatten();
        }
    }

    /// Writes a line. Lines of one process never mix; a full disk loses lines, not requests.
    pub fn write(&self, line: &Line<'_>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let value = json!({
            "time": now.as_millis() as u64, "client": line.client, "uid": line.uid,
            "method": line.method, "path": line.path, "verdict": line.verdict,
            "rule": line.rule, "status": line.status, "us": line.took.as_micros() as u64,
        });
        let text = format!("{value}\n");
        if let Ok(mut to) = self.to.lock() {
            let _ = match to.as_mut() {
                Some(file) => file.write_all(text.as_bytes()),
                None => std::io::stderr().write_all(text.as_bytes()),
            };
        }
    }
}
