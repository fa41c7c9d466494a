//! Content of files and streams.

use super::retry;
use crate::Result;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Most buffers of one call (`IOV_MAX`).
const IOV_MAX: usize = 1024;

/// Reads at `offset` (`preadv(2)`).
pub fn preadv(fd: BorrowedFd<'_>, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
    let count = bufs.len().min(IOV_MAX) as i32;
    let n = retry(|| {
        // SAFETY: an IoSliceMut has the layout of an iovec and is valid for writes.
        let n =
            unsafe { libc::preadv(fd.as_raw_fd(), bufs.as_mut_ptr().cast(), count, offset as i64) };
        n as i64
    })?;
    Ok(n as usize)
}

/// Writes at `offset` (`pwritev(2)`).
pub fn pwritev(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
    let count = bufs.len().min(IOV_MAX) as i32;
    let n = retry(|| {
        // SAFETY: an IoSlice has the layout of an iovec and is valid for reads.
        let n =
            unsafe { libc::pwritev(fd.as_raw_fd(), bufs.as_ptr().cast(), count, offset as i64) };
        n as i64
    })?;
    Ok(n as usize)
}

/// Reads at `offset` to `to` (`pread(2)`); an address that is none is `EFAULT`.
///
/// # Safety
/// Nobody may rely on what the `len` bytes at `to` hold.
pub unsafe fn pread_to(fd: BorrowedFd<'_>, to: *mut u8, len: usize, offset: u64) -> Result<usize> {
    let n = retry(|| {
        // SAFETY: the caller gives the range up.
        unsafe { libc::pread(fd.as_raw_fd(), to.cast(), len, offset as i64) as i64 }
    })?;
    Ok(n as usize)
}

/// Writes at `offset` what is at `from` (`pwrite(2)`), which may change meanwhile; an
/// address that is none is `EFAULT`.
pub fn pwrite_from(fd: BorrowedFd<'_>, from: *const u8, len: usize, offset: u64) -> Result<usize> {
    let n = retry(|| {
        // SAFETY: the kernel checks the range.
        unsafe { libc::pwrite(fd.as_raw_fd(), from.cast(), len, offset as i64) as i64 }
    })?;
    Ok(n as usize)
}

/// Reads at the shared position (`read(2)`).
pub fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize> {
    let n = retry(|| {
        // SAFETY: `buf` is as long as the call is told.
        let n = unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) };
        n as i64
    })?;
    Ok(n as usize)
}

/// Writes at the shared position (`write(2)`).
pub fn write(fd: BorrowedFd<'_>, buf: &[u8]) -> Result<usize> {
    let n = retry(|| {
        // SAFETY: `buf` is as long as the call is told.
        let n = unsafe { libc::write(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len()) };
        n as i64
    })?;
    Ok(n as usize)
}

/// Receives from a stream socket without waiting (`recvfrom(2)`, `MSG_DONTWAIT`).
pub fn recv(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize> {
    let (at, len) = (buf.as_mut_ptr().cast(), buf.len());
    let n = retry(|| {
        // SAFETY: `buf` is as long as the call is told.
        let n = unsafe { libc::recv(fd.as_raw_fd(), at, len, libc::MSG_DONTWAIT) };
        n as i64
    })?;
    Ok(n as usize)
}

/// Sends on a stream socket without waiting and without `SIGPIPE` (`sendto(2)`).
pub fn send(fd: BorrowedFd<'_>, buf: &[u8]) -> Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let n = retry(|| {
        // SAFETY: `buf` is as long as the call is told.
        let n = unsafe { libc::send(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len(), flags) };
        n as i64
    })?;
    Ok(n as usize)
}

/// Moves the shared position (`lseek(2)` with its `SEEK_*`).
pub fn lseek(fd: BorrowedFd<'_>, offset: i64, whence: i32) -> Result<u64> {
    // SAFETY: integers only.
    let at = retry(|| unsafe { libc::lseek(fd.as_raw_fd(), offset, whence) })?;
    Ok(at as u64)
}

/// Access mode and status flags (`fcntl(F_GETFL)`).
pub fn status_flags(fd: BorrowedFd<'_>) -> Result<u32> {
    // SAFETY: integers only.
    let flags = retry(|| i64::from(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }))?;
    Ok(flags as u32)
}

/// The `poll(2)` events of `fd` that hold now, of `events` and the error bits.
pub fn poll_now(fd: BorrowedFd<'_>, events: i16) -> Result<i16> {
    let mut polled = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: one element.
    retry(|| i64::from(unsafe { libc::poll(&raw mut polled, 1, 0) }))?;
    Ok(polled.revents)
}

/// `fsync(2)`.
pub fn fsync(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: integers only.
    retry(|| i64::from(unsafe { libc::fsync(fd.as_raw_fd()) })).map(drop)
}

/// `fdatasync(2)`.
pub fn fdatasync(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: integers only.
    retry(|| i64::from(unsafe { libc::fdatasync(fd.as_raw_fd()) })).map(drop)
}

/// Sizes of a file system (`fstatfs(2)`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct StatFs {
    pub magic: u64,
    pub block_size: u64,
    pub blocks: u64,
    pub free: u64,
    pub available: u64,
    pub files: u64,
    pub files_free: u64,
    pub name_max: u64,
}

/// `fstatfs(2)`.
pub fn fstatfs(fd: BorrowedFd<'_>) -> Result<StatFs> {
    // SAFETY: plain data, valid when zero.
    let mut out: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `out` is a `struct statfs`.
    retry(|| i64::from(unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut out) }))?;
    Ok(StatFs {
        magic: out.f_type as u64,
        block_size: out.f_bsize as u64,
        blocks: out.f_blocks,
        free: out.f_bfree,
        available: out.f_bavail,
        files: out.f_files,
        files_free: out.f_ffree,
        name_max: out.f_namelen as u64,
    })
}
