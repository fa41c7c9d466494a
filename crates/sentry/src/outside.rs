//! What the kernel of the sandbox tells the world: its end to the launcher, lines to the log.

use crate::launch::Outcome;
use anyhow::{Context, Result};
use chitin_kernel::Outside;
use chitin_kernel::sync::Mutex;
use chitin_kernel::syscall::stats::Stats;
use chitin_kernel::task::ExitStatus;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// The launcher's end of the control socket and the log, as the kernel uses them.
pub(crate) struct Host {
    control: Mutex<UnixStream>,
    log: Option<Mutex<Sink>>,
    stats: Option<Arc<Stats>>,
}

impl Host {
    pub(crate) fn new(
        control: UnixStream,
        log: Option<Mutex<Sink>>,
        stats: Option<Arc<Stats>>,
    ) -> Self {
        Self { control: Mutex::new(control), log, stats }
    }
}

/// Where log lines go.
pub(crate) enum Sink {
    Stderr,
    File(std::fs::File),
}

impl Sink {
    pub(crate) fn open(to: &crate::LogTo) -> Result<Self> {
        Ok(match to {
            crate::LogTo::Stderr => Self::Stderr,
            crate::LogTo::File(path) => {
                let file = std::fs::File::create(path);
                Self::File(file.with_context(|| {
                    format!(
                        "{} cannot be written; name a file in a directory of yours",
                        path.display()
                    )
                })?)
            }
        })
    }

    pub(crate) fn line(&mut self, line: &str) {
        let text = format!("{line}\n");
        // A log that cannot be written must not end the program.
        let _ = match self {
            Self::Stderr => std::io::stderr().write_all(text.as_bytes()),
            Self::File(file) => file.write_all(text.as_bytes()),
        };
    }
}

impl Outside for Host {
    fn ended(&self, status: ExitStatus) {
        let outcome = match status {
            ExitStatus::Exited(status) => Outcome::Exited(status),
            ExitStatus::Signaled { signo, .. } => Outcome::Signaled(signo),
        };
        if let Some(stats) = &self.stats {
            eprint!("{}", stats.report());
        }
        let _ = self.control.lock().write_all(&outcome.encode());
        // All that the sandbox consists of dies with this process.
        std::process::exit(0)
    }

    fn stopped(&self, signo: i32) {
        const STOPPED: u8 = 3;
        let signo = u8::try_from(signo).unwrap_or(19);
        let _ = self.control.lock().write_all(&[STOPPED, signo]);
    }

    fn log(&self, line: &str) {
        if let Some(log) = &self.log {
            log.lock().line(line);
        }
    }
}
