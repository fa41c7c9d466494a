//! Changes of directories and attributes, for paths given for writing.

use super::{Time, retry, with_name};
use crate::Result;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `mkdirat(2)`.
pub fn mkdirat(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<()> {
    // SAFETY: `name` is a C string.
    with_name(name, |n| retry(|| i64::from(unsafe { libc::mkdirat(dir.as_raw_fd(), n, mode) })))
        .map(drop)
}

/// `mknodat(2)`.
pub fn mknodat(dir: BorrowedFd<'_>, name: &[u8], mode: u32, rdev: u64) -> Result<()> {
    with_name(name, |n| {
        // SAFETY: `name` is a C string.
        retry(|| i64::from(unsafe { libc::mknodat(dir.as_raw_fd(), n, mode, rdev) }))
    })
    .map(drop)
}

/// What [`unlinkat`] removes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remove {
    /// Anything but a directory.
    File,
    /// An empty directory.
    Directory,
}

/// `unlinkat(2)`.
pub fn unlinkat(dir: BorrowedFd<'_>, name: &[u8], what: Remove) -> Result<()> {
    let flags = if what == Remove::Directory { libc::AT_REMOVEDIR } else { 0 };
    with_name(name, |n| {
        // SAFETY: `name` is a C string.
        retry(|| i64::from(unsafe { libc::unlinkat(dir.as_raw_fd(), n, flags) }))
    })
    .map(drop)
}

/// `renameat2(2)` with its `RENAME_*` flags.
pub fn renameat2(
    from: BorrowedFd<'_>,
    from_name: &[u8],
    to: BorrowedFd<'_>,
    to_name: &[u8],
    flags: u32,
) -> Result<()> {
    with_name(from_name, |a| {
        with_name(to_name, |b| {
            // SAFETY: both names are C strings.
            retry(|| unsafe {
                libc::syscall(libc::SYS_renameat2, from.as_raw_fd(), a, to.as_raw_fd(), b, flags)
            })
        })
    })
    .map(drop)
}

/// Gives the entry `from_name` of `from` another name (`linkat(2)`); a link is linked
/// itself.
pub fn linkat(
    from: BorrowedFd<'_>,
    from_name: &[u8],
    to: BorrowedFd<'_>,
    to_name: &[u8],
) -> Result<()> {
    with_name(from_name, |a| {
        with_name(to_name, |b| {
            // SAFETY: both names are C strings.
            retry(|| i64::from(unsafe { libc::linkat(from.as_raw_fd(), a, to.as_raw_fd(), b, 0) }))
        })
    })
    .map(drop)
}

/// `symlinkat(2)`.
pub fn symlinkat(target: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    with_name(target, |t| {
        with_name(name, |n| {
            // SAFETY: both are C strings.
            retry(|| i64::from(unsafe { libc::symlinkat(t, dir.as_raw_fd(), n) }))
        })
    })
    .map(drop)
}

/// Changes the permission bits of the file behind a descriptor that is not `O_PATH`
/// (`fchmod(2)`).
pub fn fchmod(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    // SAFETY: integers only.
    retry(|| i64::from(unsafe { libc::fchmod(fd.as_raw_fd(), mode) })).map(drop)
}

/// Changes owner and group of the file behind a descriptor, which may be `O_PATH`
/// (`fchownat(2)`).
pub fn fchown(fd: BorrowedFd<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let (uid, gid) = (uid.unwrap_or(u32::MAX), gid.unwrap_or(u32::MAX));
    let flags = libc::AT_EMPTY_PATH;
    // SAFETY: the name is a literal.
    retry(|| i64::from(unsafe { libc::fchownat(fd.as_raw_fd(), c"".as_ptr(), uid, gid, flags) }))
        .map(drop)
}

/// A new time stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewTime {
    /// Stays.
    Keep,
    /// The current time.
    Now,
    /// This one.
    At(Time),
}

impl NewTime {
    fn timespec(self) -> libc::timespec {
        match self {
            Self::Keep => libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT },
            Self::Now => libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_NOW },
            Self::At((tv_sec, nsec)) => libc::timespec { tv_sec, tv_nsec: i64::from(nsec) },
        }
    }
}

/// Sets the times of the entry `name` of `dir`, links not followed (`utimensat(2)`).
pub fn utimensat(dir: BorrowedFd<'_>, name: &[u8], a: NewTime, m: NewTime) -> Result<()> {
    let times = [a.timespec(), m.timespec()];
    let mut flags = libc::AT_SYMLINK_NOFOLLOW;
    if name.is_empty() {
        flags |= libc::AT_EMPTY_PATH;
    }
    with_name(name, |n| {
        // SAFETY: `name` is a C string, `times` has two elements.
        retry(|| i64::from(unsafe { libc::utimensat(dir.as_raw_fd(), n, times.as_ptr(), flags) }))
    })
    .map(drop)
}

/// `fallocate(2)` with its `FALLOC_FL_*`.
pub fn fallocate(fd: BorrowedFd<'_>, mode: u32, at: u64, len: u64) -> Result<()> {
    retry(|| {
        // SAFETY: integers only.
        i64::from(unsafe { libc::fallocate(fd.as_raw_fd(), mode as i32, at as i64, len as i64) })
    })
    .map(drop)
}
