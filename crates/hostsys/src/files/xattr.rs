//! Extended attributes (`xattr(7)`) of the file behind a descriptor that is not
//! `O_PATH`.

use super::{retry, with_name};
use crate::Result;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Longest value and longest list of names, in bytes (`XATTR_SIZE_MAX`).
const SIZE_MAX: usize = 65536;

/// `fgetxattr(2)`.
pub fn getxattr(fd: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    let mut buf = vec![0_u8; SIZE_MAX];
    let n = with_name(name, |name| {
        retry(|| {
            let (at, len) = (buf.as_mut_ptr().cast(), buf.len());
            // SAFETY: `name` is a C string, `buf` as long as the call is told.
            let n = unsafe { libc::fgetxattr(fd.as_raw_fd(), name, at, len) };
            n as i64
        })
    })?;
    buf.truncate(n as usize);
    Ok(buf)
}

/// `struct xattr_args` of `getxattrat(2)`.
#[repr(C)]
struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

/// An attribute of the entry `name` of `dir`, links not followed (`getxattrat(2)`);
/// `ENOSYS` before Linux 6.13.
pub fn getxattr_at(dir: BorrowedFd<'_>, name: &[u8], attr: &[u8]) -> Result<Vec<u8>> {
    const SYS_GETXATTRAT: libc::c_long = 464;
    // Most attributes are short; ERANGE says that this one is not.
    let mut buf = vec![0_u8; 512];
    loop {
        let args = XattrArgs {
            value: buf.as_mut_ptr() as u64,
            size: u32::try_from(buf.len()).unwrap_or(u32::MAX),
            flags: 0,
        };
        let got = with_name(name, |name| {
            with_name(attr, |attr| {
                let flags = libc::AT_SYMLINK_NOFOLLOW;
                let (fd, len) = (dir.as_raw_fd(), size_of::<XattrArgs>());
                let at = &raw const args;
                // SAFETY: both names are C strings, `args` names `buf` with its length.
                retry(|| unsafe { libc::syscall(SYS_GETXATTRAT, fd, name, flags, attr, at, len) })
            })
        });
        match got {
            Ok(n) => {
                buf.truncate(n as usize);
                return Ok(buf);
            }
            Err(e) if e.raw_os_error() == Some(libc::ERANGE) && buf.len() < SIZE_MAX => {
                buf.resize(SIZE_MAX, 0);
            }
            Err(e) => return Err(e),
        }
    }
}

/// `flistxattr(2)`.
pub fn listxattr(fd: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let mut buf = vec![0_u8; SIZE_MAX];
    let n = retry(|| {
        // SAFETY: `buf` is as long as the call is told.
        let n = unsafe { libc::flistxattr(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) };
        n as i64
    })?;
    buf.truncate(n as usize);
    Ok(buf.split(|&b| b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect())
}

/// `fsetxattr(2)` with its `XATTR_*` flags.
pub fn setxattr(fd: BorrowedFd<'_>, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
    with_name(name, |name| {
        let (at, len) = (value.as_ptr().cast(), value.len());
        // SAFETY: `name` is a C string, `value` as long as the call is told.
        retry(|| i64::from(unsafe { libc::fsetxattr(fd.as_raw_fd(), name, at, len, flags as i32) }))
    })
    .map(drop)
}

/// `fremovexattr(2)`.
pub fn removexattr(fd: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    // SAFETY: `name` is a C string.
    with_name(name, |n| retry(|| i64::from(unsafe { libc::fremovexattr(fd.as_raw_fd(), n) })))
        .map(drop)
}
