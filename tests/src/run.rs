//! Running one command with a deadline.
//!
//! Output goes to files, not pipes: a process that the command leaves behind cannot keep the test waiting.

use std::fmt;
use std::io::{Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long one look at a running command takes at most.
const POLL: Duration = Duration::from_millis(10);
/// How much of an output a message shows.
const SHOWN_BYTES: usize = 3000;

/// What a command did.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Exit status, or 128 + signal, as a shell counts.
    pub status: i32,
    /// Standard output, whole.
    pub stdout: Vec<u8>,
    /// Standard error, whole.
    pub stderr: Vec<u8>,
    /// It was killed at its deadline.
    pub timed_out: bool,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.timed_out {
            true => write!(f, "timed out")?,
            false => write!(f, "status {}", self.status)?,
        }
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                let shown = &text[text.len().saturating_sub(SHOWN_BYTES)..];
                write!(f, "\n--- {name}\n{}", String::from_utf8_lossy(shown).trim_end())?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Runs a command in a process group of its own, feeds it `input`, and kills the group at the deadline.
pub fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Outcome, String> {
    let program = command.get_program().to_owned();
    let say = |what: &str, e: std::io::Error| format!("{what} {program:?}: {e}");
    let scratch = Scratch::new("run")?;
    let file = |name: &str| -> Result<std::fs::File, String> {
        let path = scratch.path().join(name);
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        options.open(&path).map_err(|e| format!("cannot open {}: {e}", path.display()))
    };
    let (mut stdin, mut stdout, mut stderr) = (file("in")?, file("out")?, file("err")?);
    let io = |e: std::io::Error| format!("scratch file: {e}");
    stdin.write_all(input).and_then(|()| stdin.rewind()).map_err(io)?;
    let out = Stdio::from(stdout.try_clone().map_err(io)?);
    let err = Stdio::from(stderr.try_clone().map_err(io)?);
    let started =
        command.stdin(Stdio::from(stdin)).stdout(out).stderr(err).process_group(0).spawn();
    let mut child = started.map_err(|e| say("cannot start", e))?;
    let (status, timed_out) = wait(&mut child, limit).map_err(|e| say("cannot wait for", e))?;
    let mut outcome = Outcome {
        status: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        stdout: Vec::new(),
        stderr: Vec::new(),
        timed_out,
    };
    for (file, text) in [(&mut stdout, &mut outcome.stdout), (&mut stderr, &mut outcome.stderr)] {
        file.rewind().and_then(|()| file.read_to_end(text)).map_err(io)?;
    }
    Ok(outcome)
}

/// Waits with a back-off; at the deadline kills the group.
fn wait(
    child: &mut std::process::Child,
    limit: Duration,
) -> std::io::Result<(std::process::ExitStatus, bool)> {
    let start = Instant::now();
    let mut nap = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, false));
        }
        if start.elapsed() > limit {
            let group = format!("-{}", child.id());
            let killed = Command::new("kill").args(["-KILL", "--", &group]).status();
            if !killed.is_ok_and(|s| s.success()) {
                child.kill()?;
            }
            return Ok((child.wait()?, true));
        }
        std::thread::sleep(nap);
        nap = (nap * 2).min(POLL);
    }
}

/// A directory of its own for one test, open to every user, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes a fresh one under the host's temporary directory.
    pub fn new(what: &str) -> Result<Scratch, String> {
        use std::os::unix::fs::PermissionsExt;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "chitin-{what}-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)
            .and_then(|()| std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)))
            .map_err(|e| format!("cannot make {}: {e}", path.display()))?;
        Ok(Scratch(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves it to somebody else to remove it.
    pub fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
