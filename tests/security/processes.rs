//! Processes of the host as /proc shows them.

use std::collections::HashMap;
use std::process::Child;

/// The number behind a name in `/proc/PID/status`.
pub(crate) fn status_line(pid: u32, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// The children of every process.
pub(crate) fn children() -> HashMap<u32, Vec<u32>> {
    let mut map: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        if let Some(parent) = status_line(pid, "PPid").and_then(|p| p.parse().ok()) {
            map.entry(parent).or_default().push(pid);
        }
    }
    map
}

/// The sentry: the child of the command.
pub(crate) fn sentry_of(launcher: u32) -> Option<u32> {
    children().get(&launcher)?.first().copied()
}

/// A process that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
