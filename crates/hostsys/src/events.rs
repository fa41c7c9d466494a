//! Readiness of host descriptors (`epoll(7)`).

use crate::{Result, check};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A set of descriptors that are watched for one event each time they are armed.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// An empty set.
    pub fn new() -> Result<Self> {
        // SAFETY: integers only.
        let fd = check(i64::from(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }))?;
        // SAFETY: a fresh descriptor.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd as i32) } })
    }

    /// Watches `fd` for the next of `events` (`EPOLL*`). `EPERM` for files that are
    /// always ready.
    pub fn arm(&self, fd: BorrowedFd<'_>, events: u32, token: u64) -> Result<()> {
        let mut event =
            libc::epoll_event { events: events | libc::EPOLLONESHOT as u32, u64: token };
        let mut control = |op| {
            // SAFETY: `event` outlives the call.
            check(i64::from(unsafe {
                libc::epoll_ctl(self.fd.as_raw_fd(), op, fd.as_raw_fd(), &raw mut event)
            }))
        };
        match control(libc::EPOLL_CTL_MOD) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                control(libc::EPOLL_CTL_ADD).map(drop)
            }
            other => other.map(drop),
        }
    }

    /// Waits for events; returns tokens and `EPOLL*` bits.
    pub fn wait(&self) -> Result<Vec<(u64, u32)>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 16];
        loop {
            // SAFETY: the array has 16 elements.
            let n = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), 16, -1) };
            match check(i64::from(n)) {
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
                Err(e) => return Err(e),
                Ok(n) => {
                    let found = events.iter().take(n as usize);
                    return Ok(found.map(|e| (e.u64, e.events)).collect());
                }
            }
        }
    }
}
