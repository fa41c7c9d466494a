//! From the caller's process to a confined sentry.
//!
//! ```text
//! chitin do ── fork into namespaces ──> sentry: parent-death signal, read-only
//!   │                                   trees, zygote, empty root, confinement
//!   │ signals ───────────────────────>  guest's init
//!   │ <────────────────────────── how the guest ended
//! ```
//!
//! Where the host forbids namespaces the sentry goes on with what is left and says
//! so once on stderr.

use crate::SandboxConfig;
use anyhow::{Context, Result, bail};
use chitin_hostsys::inherited::Inherited;
use chitin_hostsys::process::{self, Ended, Fork, Namespaces};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// How the guest's first process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// With this exit status.
    Exited(u8),
    /// By this signal.
    Signaled(i32),
    /// By the time limit.
    TimedOut,
}

impl Outcome {
    /// Ends this process the same way.
    #[must_use]
    pub fn exit(self) -> ExitCode {
        match self {
            Self::Exited(status) => ExitCode::from(status),
            Self::Signaled(signo) => process::die_by(signo),
            Self::TimedOut => ExitCode::from(124),
        }
    }

    /// The message that tells the launcher.
    pub(crate) fn encode(self) -> [u8; 2] {
        match self {
            Self::Exited(status) => [0, status],
            Self::Signaled(signo) => [1, u8::try_from(signo).unwrap_or(9)],
            Self::TimedOut => [2, 0],
        }
    }

    fn decode(bytes: [u8; 2]) -> Option<Self> {
        Some(match bytes {
            [0, status] => Self::Exited(status),
            [1, signo] => Self::Signaled(i32::from(signo)),
            [2, _] => Self::TimedOut,
            _ => return None,
        })
    }
}

/// Signals that stay with this process: it cannot take them, they tell of its own
/// mistakes and children, or the terminal stops it together with the sentry.
const KEPT: &[i32] = &[
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCHLD,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGTTIN,
    libc::SIGTTOU,
    // The C library's own.
    32,
    33,
];

/// Signals that are passed on to the guest.
fn forwarded() -> Vec<i32> {
    (1..=64).filter(|signo| !KEPT.contains(signo)).collect()
}

/// A message to the sentry: a signal, and whether the terminal raised it.
pub(crate) type SignalMessage = [u8; 2];

/// A message of the sentry that the guest's first process was stopped by this signal.
const STOPPED: u8 = 3;

/// A message of the sentry that the guest waits for input of the controlling terminal.
pub(crate) const READS_TERMINAL: [u8; 2] = [4, 0];

/// Runs a sandbox to its end.
pub fn run(config: SandboxConfig) -> Result<Outcome> {
    let inherited = Inherited::take();
    chitin_hostsys::inherited::expect_children();
    let (ours, theirs) = UnixStream::pair().context("no socket pair for the sentry")?;
    let signals = chitin_hostsys::signals::SignalFd::new(&forwarded())
        .context("the forwarded signals could not be blocked")?;
    let (fork, isolation) = fork_sentry()?;
    match fork {
        Fork::Child => {
            drop((ours, signals));
            if let Err(e) = process::close_others(&[theirs.as_fd()]) {
                eprintln!("chitin: the caller's descriptors could not be closed: {e}");
                std::process::exit(125);
            }
            crate::sandbox::sentry_main(&config, isolation, &inherited, theirs)
        }
        Fork::Parent(pid, pidfd) => {
            drop(theirs);
            supervise(pid, &pidfd, isolation, ours, &signals)
        }
    }
}

/// What the host let us have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// A user namespace and all others.
    Full,
    /// All namespaces but a user namespace (root where those are forbidden).
    WithoutUser,
    /// None.
    Nothing,
}

/// Forks with as many namespaces as the host permits.
fn fork_sentry() -> Result<(Fork, Isolation)> {
    let mut attempts = vec![
        (Namespaces::USER.and(Namespaces::ISOLATED), Isolation::Full),
        (Namespaces::ISOLATED, Isolation::WithoutUser),
        (Namespaces::NONE, Isolation::Nothing),
    ];
    if std::env::var_os("CHITIN_NO_NAMESPACES").is_some() {
        attempts.drain(..2);
    }
    for (namespaces, isolation) in attempts {
        match process::fork_into(namespaces) {
            Ok(fork) => return Ok((fork, isolation)),
            Err(e) if isolation == Isolation::Nothing => {
                return Err(e).context("the host refuses to create a process");
            }
            Err(_) => {}
        }
    }
    bail!("no way to create a process")
}

/// The inside-to-outside id map of a process that sees the same ids as this one:
/// every range of its own map, mapped to itself.
fn identity_map(own: &str) -> String {
    let ranges = own.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (inside, _outside, count) = (words.next()?, words.next()?, words.next()?);
        Some(format!("{inside} {inside} {count}\n"))
    });
    ranges.collect()
}

/// Gives the sentry's user namespace all ids of ours if we may, else our own one.
fn write_id_maps(pid: i32) -> Result<()> {
    let file = |name: &str| format!("/proc/{pid}/{name}");
    let (uid, gid) = process::ids();
    let whole = std::fs::read_to_string("/proc/self/uid_map")
        .and_then(|map| std::fs::write(file("uid_map"), identity_map(&map)))
        .is_ok();
    if whole {
        let gids = std::fs::read_to_string("/proc/self/gid_map")?;
        return std::fs::write(file("gid_map"), identity_map(&gids)).context("gid_map");
    }
    std::fs::write(file("uid_map"), format!("{uid} {uid} 1\n")).context("uid_map")?;
    std::fs::write(file("setgroups"), "deny").context("setgroups")?;
    std::fs::write(file("gid_map"), format!("{gid} {gid} 1\n")).context("gid_map")
}

/// The caller's side: forwards signals, follows stops, returns how it ended.
fn supervise(
    pid: i32,
    pidfd: &OwnedFd,
    isolation: Isolation,
    mut control: UnixStream,
    signals: &chitin_hostsys::signals::SignalFd,
) -> Result<Outcome> {
    if isolation == Isolation::Full
        && let Err(e) = write_id_maps(pid)
    {
        let _ = process::pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
        return Err(
            e.context("the host allows user namespaces but not their id maps (is /proc mounted?)")
        );
    }
    control.write_all(&[0]).context("the sentry is gone before it started")?;
    loop {
        let ready = chitin_hostsys::signals::poll_readable([signals.as_fd(), control.as_fd()])
            .context("waiting for the sentry")?;
        if ready[0] {
            while let Some((signo, from_kernel)) = signals.read() {
                let message: SignalMessage = [signo as u8, u8::from(from_kernel)];
                // The sentry may be gone already: then the next poll says so.
                let _ = control.write_all(&message);
            }
        }
        if ready[1] {
            let mut message = [0_u8; 2];
            match control.read_exact(&mut message) {
                Ok(()) if message == READS_TERMINAL => {
                    if chitin_hostsys::tty::in_background() {
                        process::stop_group(libc::SIGTTIN);
                    }
                }
                Ok(()) if message[0] == STOPPED => {
                    process::stop_self(i32::from(message[1]));
                    // Where Linux does not stop us, nobody would continue the guest.
                    let _ = control.write_all(&[libc::SIGCONT as u8, 0]);
                }
                Ok(()) => {
                    let _ = process::wait_pidfd(pidfd.as_fd());
                    return Outcome::decode(message).context("the sentry reported nonsense");
                }
                Err(_) => match process::wait_pidfd(pidfd.as_fd())? {
                    Ended::Exited(status) => bail!(
                        "the sentry ended with status {status} before the program did; \
                             its last message above says why"
                    ),
                    Ended::Signaled(signo) => {
                        bail!("the sentry was killed by signal {signo}; the sandbox is gone")
                    }
                },
            }
        }
    }
}
