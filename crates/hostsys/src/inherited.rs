//! What the caller gave this process and the runtime of Rust changes before `main`:
//! closed standard streams (it opens `/dev/null` there) and `SIGPIPE` (it ignores it).
//! Also the rest that a program inherits over `execve(2)`: [`Inherited`].

use std::sync::atomic::{AtomicU8, Ordering};

/// Bits 0 to 2: that stream was closed. Bit 3: `SIGPIPE` was ignored.
static NOTED: AtomicU8 = AtomicU8::new(0);
const PIPE_IGNORED: u8 = 8;
/// Kinds of limits (`RLIMIT_*`).
pub const LIMITS: usize = 16;

/// Runs before the runtime of Rust does (`.init_array`).
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE: extern "C" fn() = note;

extern "C" fn note() {
    let mut noted = 0;
    for fd in 0..3 {
        // SAFETY: integers only.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
            noted |= 1 << fd;
        }
    }
    if is_ignored(libc::SIGPIPE) {
        noted |= PIPE_IGNORED;
    }
    NOTED.store(noted, Ordering::Relaxed);
}

/// Asks the kernel: the C library hides the signals that it keeps for itself.
fn is_ignored(signo: i32) -> bool {
    // struct sigaction of the kernel: handler, flags, restorer, mask.
    let mut old = [0_usize; 4];
    let none: *const usize = std::ptr::null();
    // SAFETY: `old` outlives the call; nothing is changed.
    let r = unsafe { libc::syscall(libc::SYS_rt_sigaction, signo, none, old.as_mut_ptr(), 8) };
    r == 0 && old[0] == libc::SIG_IGN
}

/// What this process was started with.
#[derive(Clone, Debug)]
pub struct Inherited {
    /// Which of the standard streams were closed.
    pub closed: [bool; 3],
    /// Ignored signals; bit 0 is signal 1.
    pub ignored: u64,
    /// Blocked signals.
    pub blocked: u64,
    /// `umask(2)`.
    pub umask: u32,
    /// `getpriority(2)`, -20 to 19.
    pub nice: i32,
    /// `getrlimit(2)`, soft and hard, by number.
    pub limits: [(u64, u64); LIMITS],
}

impl Inherited {
    /// Looks; to be called before signals are blocked and threads are started.
    #[must_use]
    pub fn take() -> Self {
        let noted = NOTED.load(Ordering::Relaxed);
        let mut ignored = 0;
        for signo in 1..=64 {
            let ignores = match signo {
                libc::SIGPIPE => noted & PIPE_IGNORED != 0,
                _ => is_ignored(signo),
            };
            ignored |= u64::from(ignores) << (signo - 1);
        }
        let mut blocked = 0_u64;
        // SAFETY: the kernel's signal set is one word; nothing is changed.
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, 0, &raw mut blocked, 8) };
        // SAFETY: integers only; there is no other thread to see the change.
        let umask = unsafe { libc::umask(0o077) };
        // SAFETY: as above.
        unsafe { libc::umask(umask) };
        // SAFETY: integers only. There is no reason to fail for oneself.
        let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let limits = std::array::from_fn(|which| {
            let mut limit = libc::rlimit { rlim_cur: u64::MAX, rlim_max: u64::MAX };
            // SAFETY: `limit` outlives the call.
            unsafe { libc::getrlimit(which as libc::__rlimit_resource_t, &raw mut limit) };
            (limit.rlim_cur, limit.rlim_max)
        });
        let closed = std::array::from_fn(|fd| noted & (1 << fd) != 0);
        Self { closed, ignored, blocked, umask, nice, limits }
    }
}

/// Lets this process have what it may of each limit: those of the caller are for the
/// program. Core files stay away: they would hold the memory of the sandbox.
pub fn lift_limits() {
    for which in 0..LIMITS {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        let number = which as libc::__rlimit_resource_t;
        // SAFETY: `limit` outlives the call.
        let known = unsafe { libc::getrlimit(number, &raw mut limit) } == 0;
        // The stack limit moves mappings about; ours is in use already.
        if !known || number == libc::RLIMIT_STACK {
            continue;
        }
        limit.rlim_cur = if number == libc::RLIMIT_CORE { 0 } else { limit.rlim_max };
        // SAFETY: as above.
        unsafe { libc::setrlimit(number, &raw const limit) };
    }
}

/// Makes the death of children visible although the caller ignores it.
pub fn expect_children() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_before_the_runtime_is_known() {
        let inherited = Inherited::take();
        // The runtime of Rust ignores it; whoever started the test did not.
        assert!(is_ignored(libc::SIGPIPE));
        assert_eq!(inherited.ignored & 1 << (libc::SIGPIPE - 1), 0);
        assert!(inherited.limits[libc::RLIMIT_NOFILE as usize].0 > 0);
    }
}
