//! Host signals of the launcher, taken synchronously (`signalfd(2)`).

use crate::{Result, check};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Blocks a set of signals and hands them out one by one.
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

impl SignalFd {
    /// Blocks `signals` in this thread, for good, and those it creates.
    pub fn new(signals: &[i32]) -> Result<Self> {
        let mut set: u64 = 0;
        for &signo in signals {
            set |= 1 << (signo - 1);
        }
        // SAFETY: the kernel's signal set is one word; no old set is asked for.
        check(unsafe {
            libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const set, 0_usize, 8)
        })?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: as above.
        let fd =
            check(unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const set, 8, flags) })?;
        // SAFETY: a fresh descriptor.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd as i32) } })
    }

    /// The next pending signal, and whether the kernel raised it (a terminal, a
    /// timer) rather than a process.
    #[must_use]
    pub fn read(&self) -> Option<(i32, bool)> {
        // SAFETY: plain data, valid when zero.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: `info` is as long as the call is told.
        let n = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), size) };
        (n == size as isize).then_some((info.ssi_signo as i32, info.ssi_code == 0x80))
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Waits until one of `fds` is readable or at its end; tells which.
pub fn poll_readable<const N: usize>(fds: [BorrowedFd<'_>; N]) -> Result<[bool; N]> {
    let mut polled =
        fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    loop {
        // SAFETY: the array has N elements.
        let r = unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, -1) };
        match check(i64::from(r)) {
            Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
            Err(e) => return Err(e),
            Ok(_) => return Ok(polled.map(|p| p.revents != 0)),
        }
    }
}
