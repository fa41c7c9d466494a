//! Host processes: creation in new namespaces, credentials, signals, waiting.

use crate::{Result, check};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `CLONE_NEW*` flags, ored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Namespaces(pub u64);

impl Namespaces {
    /// The caller's.
    pub const NONE: Self = Self(0);
    /// A user namespace.
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u64);
    /// All that a sandbox wants besides the user namespace.
    pub const ISOLATED: Self = Self(
        (libc::CLONE_NEWPID
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS) as u64,
    );

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Which side of a [`fork_into`] this is.
pub enum Fork {
    /// The new process.
    Child,
    /// The caller: the child's number and a descriptor for it (`pidfd_open(2)`).
    Parent(i32, OwnedFd),
}

/// Forks into new namespaces (`clone(2)`). The caller must have a single thread.
pub fn fork_into(namespaces: Namespaces) -> Result<Fork> {
    let mut pidfd: i32 = -1;
    let flags = namespaces.0 | libc::CLONE_PIDFD as u64 | libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM this is fork(2): the child has its own copy of the
    // address space and goes on on a copy of this stack.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) })?;
    if pid == 0 {
        return Ok(Fork::Child);
    }
    // SAFETY: CLONE_PIDFD stored a fresh descriptor there.
    Ok(Fork::Parent(pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// `prctl(2)` with two arguments.
pub fn prctl(option: i32, value: u64) -> Result<i64> {
    // SAFETY: the options used by the callers take integers only.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, value, 0, 0, 0) })
}

/// Asks for SIGKILL when the parent thread dies (`PR_SET_PDEATHSIG`).
pub fn die_with_parent() -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64).map(drop)
}

/// Sets `no_new_privs`, for good.
pub fn set_no_new_privs() -> Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
        .map(drop)
}

/// Closes all descriptors but standard streams and these (`close_range(2)`): what the
/// caller left open is not the sandbox's.
pub fn close_others(keep: &[BorrowedFd<'_>]) -> Result<()> {
    let mut kept: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
    kept.extend([0, 1, 2]);
    kept.sort_unstable();
    let mut from = 0;
    for fd in kept.into_iter().chain([u32::MAX]) {
        if fd > from {
            // The last range ends at the highest number there can be.
            let to = if fd == u32::MAX { fd } else { fd - 1 };
            // SAFETY: nobody owns a descriptor in the range, says the caller's purpose;
            // integers only.
            check(unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) })?;
        }
        from = fd.saturating_add(1);
    }
    Ok(())
}

/// Forbids core files: they would hold the memory of guests.
pub fn forbid_core_files() -> Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` outlives the call.
    check(i64::from(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) })).map(drop)
}

/// Gives up all capabilities: bounding, ambient, effective, permitted, inheritable
/// (`capabilities(7)`).
pub fn drop_capabilities() -> Result<()> {
    for cap in 0..=40 {
        match prctl(libc::PR_CAPBSET_DROP, cap) {
            Ok(_) => {}
            // Not privileged to drop it, or unknown to this kernel.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::EINVAL)) => break,
            Err(e) => return Err(e),
        }
    }
    let _ = prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64);
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0_u32; 6];
    // SAFETY: version 3 takes a header of two words and data of six.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) }).map(drop)
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// By `exit` with this status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

/// Waits for the process behind `pidfd` (`waitid(2)`) and reaps it.
pub fn wait_pidfd(pidfd: BorrowedFd<'_>) -> Result<Ended> {
    loop {
        // SAFETY: siginfo_t is plain data, valid when zero.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` outlives the call.
        let r = check(unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                pidfd.as_raw_fd(),
                &raw mut info,
                libc::WEXITED,
                0,
            )
        });
        match r {
            Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
            Err(e) => return Err(e),
            Ok(_) => {
                // SAFETY: waitid filled in a SIGCHLD siginfo.
                let status = unsafe { info.si_status() };
                return Ok(match info.si_code {
                    libc::CLD_EXITED => Ended::Exited(status),
                    _ => Ended::Signaled(status),
                });
            }
        }
    }
}

/// Sends `signo` to the process behind `pidfd`.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signo: i32) -> Result<()> {
    // SAFETY: a null siginfo is allowed.
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signo, 0_usize, 0)
    })
    .map(drop)
}

/// Ends this process as `signo` would have, without a core file.
pub fn die_by(signo: i32) -> ! {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain calls on this process; the set is initialised before its use.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::signal(signo, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signo);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::kill(libc::getpid(), signo);
        libc::_exit(128 + signo)
    }
}

/// Sends a signal to all processes of this process's group, as a terminal does.
pub fn stop_group(signo: i32) {
    // SAFETY: integers only.
    unsafe { libc::kill(0, signo) };
}

/// Real and effective ids of this process.
#[must_use]
pub fn ids() -> (u32, u32) {
    // SAFETY: these calls cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Supplementary groups of this process.
#[must_use]
pub fn groups() -> Vec<u32> {
    // SAFETY: asks for their number only.
    let count = unsafe { libc::getgroups(0, std::ptr::null_mut()) };
    let mut list = vec![0_u32; usize::try_from(count).unwrap_or(0)];
    // SAFETY: the buffer holds as many ids as the call is told.
    let n = unsafe { libc::getgroups(count, list.as_mut_ptr()) };
    list.truncate(usize::try_from(n).unwrap_or(0));
    list
}

/// Stops this process by `signo` as if it had not been blocked, until somebody
/// continues it. Returns at once where Linux does not stop: in an orphaned process group.
pub fn stop_self(signo: i32) {
    // SAFETY: plain calls on this process; the set is initialised before its use.
    unsafe {
        let old = libc::signal(signo, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signo);
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::kill(libc::getpid(), signo);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, &raw mut before);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        libc::signal(signo, old);
    }
}
