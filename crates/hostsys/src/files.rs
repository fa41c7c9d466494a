//! Files and directories below a directory descriptor. Nothing here resolves a
//! path from the process's root or working directory: each call takes a directory
//! and a single name, or a relative path that [`open_beneath`] keeps below it.
//!
//! Key types: [`Stat`], [`DirEntry`]. Calls that the host interrupts are repeated.

mod change;
mod data;
mod xattr;

pub use change::{
    NewTime, Remove, fallocate, fchmod, fchown, linkat, mkdirat, mknodat, renameat2, symlinkat,
    unlinkat, utimensat,
};
pub use data::{
    StatFs, fdatasync, fstatfs, fsync, lseek, poll_now, pread_to, preadv, pwrite_from, pwritev,
    read, recv, send, status_flags, write,
};
pub use xattr::{getxattr, getxattr_at, listxattr, removexattr, setxattr};

use crate::{Result, check};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Longest name of a directory entry, in bytes.
pub const NAME_MAX: usize = 255;

const RESOLVE_NO_MAGICLINKS: u64 = 0x2;
const RESOLVE_NO_SYMLINKS: u64 = 0x4;
const RESOLVE_BENEATH: u64 = 0x8;

/// Repeats a call that a signal interrupted.
pub(crate) fn retry(mut call: impl FnMut() -> i64) -> Result<i64> {
    loop {
        match check(call()) {
            Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
            other => return other,
        }
    }
}

/// Calls `f` with `name` as a C string, from the stack if it is short.
/// `ENAMETOOLONG`, `EINVAL` (a NUL inside) if it is none.
pub(crate) fn with_name<T>(
    name: &[u8],
    f: impl FnOnce(*const libc::c_char) -> Result<T>,
) -> Result<T> {
    let mut buf = [0_u8; NAME_MAX + 1];
    if name.contains(&0) {
        return Err(std::io::Error::from_raw_os_error(libc::EINVAL));
    }
    if name.len() <= NAME_MAX {
        buf[..name.len()].copy_from_slice(name);
        return f(buf.as_ptr().cast());
    }
    if name.len() >= libc::PATH_MAX as usize {
        return Err(std::io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    let mut long = name.to_vec();
    long.push(0);
    f(long.as_ptr().cast())
}

/// `struct open_how` of `openat2(2)`.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Opens `path`, relative to `dir`, with `O_*` flags; no component may be a symbolic
/// link or lead out of `dir` (`openat2(2)`). Always close-on-exec.
pub fn open_beneath(dir: BorrowedFd<'_>, path: &[u8], flags: i32, mode: u32) -> Result<OwnedFd> {
    let how = OpenHow {
        flags: (flags | libc::O_CLOEXEC | libc::O_NOFOLLOW) as u64,
        mode: u64::from(mode),
        resolve: RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
    };
    with_name(path, |path| {
        let fd = retry(|| {
            // SAFETY: `path` is a C string and `how` as long as the call is told.
            unsafe {
                libc::syscall(
                    libc::SYS_openat2,
                    dir.as_raw_fd(),
                    path,
                    &raw const how,
                    size_of::<OpenHow>(),
                )
            }
        })?;
        // SAFETY: a fresh descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    })
}

/// A point in time, in seconds and nanoseconds since 1970.
pub type Time = (i64, u32);

/// What `statx(2)` tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Stat {
    pub dev: (u32, u32),
    pub ino: u64,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: (u32, u32),
    pub size: u64,
    pub blksize: u32,
    pub blocks: u64,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
    pub btime: Option<Time>,
}

/// Attributes of the entry `name` of `dir`, links not followed; with an empty name,
/// of `dir` itself, which may be any file.
pub fn statx(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Stat> {
    let mut flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    if name.is_empty() {
        flags |= libc::AT_EMPTY_PATH;
    }
    // SAFETY: plain data, valid when zero.
    let mut out: libc::statx = unsafe { std::mem::zeroed() };
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    with_name(name, |name| {
        retry(|| {
            // SAFETY: `name` is a C string, `out` a `struct statx`.
            let r = unsafe { libc::statx(dir.as_raw_fd(), name, flags, mask, &raw mut out) };
            i64::from(r)
        })
    })?;
    let time = |t: libc::statx_timestamp| (t.tv_sec, t.tv_nsec);
    Ok(Stat {
        dev: (out.stx_dev_major, out.stx_dev_minor),
        ino: out.stx_ino,
        mode: u32::from(out.stx_mode),
        nlink: out.stx_nlink,
        uid: out.stx_uid,
        gid: out.stx_gid,
        rdev: (out.stx_rdev_major, out.stx_rdev_minor),
        size: out.stx_size,
        blksize: out.stx_blksize,
        blocks: out.stx_blocks,
        atime: time(out.stx_atime),
        mtime: time(out.stx_mtime),
        ctime: time(out.stx_ctime),
        btime: (out.stx_mask & libc::STATX_BTIME != 0).then(|| time(out.stx_btime)),
    })
}

/// Target of the symbolic link `name` of `dir`; with an empty name, of the link that
/// `dir` itself is (opened with `O_PATH`).
pub fn readlinkat(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    let mut buf = vec![0_u8; libc::PATH_MAX as usize];
    let n = with_name(name, |name| {
        retry(|| {
            // SAFETY: `name` is a C string, `buf` as long as the call is told.
            let n = unsafe {
                libc::readlinkat(dir.as_raw_fd(), name, buf.as_mut_ptr().cast(), buf.len())
            };
            n as i64
        })
    })?;
    buf.truncate(n as usize);
    Ok(buf)
}

/// One entry of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirEntry<'a> {
    /// Inode number.
    pub ino: u64,
    /// Where the next entry is (`lseek(2)` of the directory).
    pub next: u64,
    /// `DT_*`.
    pub kind: u8,
    /// Name, `.` and `..` included.
    pub name: &'a [u8],
}

/// Entries of a directory as the host told them.
#[derive(Debug, Default)]
pub struct DirBuffer {
    bytes: Vec<u8>,
    at: usize,
}

/// Bytes of entries that are asked for at once, as the C library does it.
const DIR_BYTES: usize = 32 << 10;

impl DirBuffer {
    /// Takes the next entries of `dir` (`getdents64(2)`) instead of those it has; false at
    /// its end.
    pub fn fill(&mut self, dir: BorrowedFd<'_>) -> Result<bool> {
        self.clear();
        self.bytes.reserve(DIR_BYTES);
        let (to, room) = (self.bytes.as_mut_ptr(), self.bytes.capacity());
        let n = retry(|| {
            // SAFETY: `to` has as much room as the call is told.
            unsafe { libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), to, room) }
        })?;
        // SAFETY: the host has stored so many bytes.
        unsafe { self.bytes.set_len((n as usize).min(room)) };
        Ok(n > 0)
    }

    /// Forgets what it has.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.at = 0;
    }

    /// The first entry that is left, and its length in the buffer.
    fn first(&self) -> Option<(DirEntry<'_>, usize)> {
        // struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name.
        let (head, _) = self.bytes.get(self.at..)?.split_first_chunk::<19>()?;
        let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| head[at + i]));
        let len = usize::from(u16::from_ne_bytes([head[16], head[17]]));
        let name = self.bytes.get(self.at + 19..self.at + len)?;
        let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        let name = name.get(..end)?;
        Some((DirEntry { ino: word(0), next: word(8), kind: head[18], name }, len))
    }

    /// The first entry that is left.
    #[must_use]
    pub fn entry(&self) -> Option<DirEntry<'_>> {
        self.first().map(|(entry, _)| entry)
    }

    /// Goes on to the next one.
    pub fn advance(&mut self) {
        if let Some((_, len)) = self.first() {
            self.at += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn temp(name: &str) -> (std::path::PathBuf, std::fs::File) {
        let path = std::env::temp_dir().join(format!("chitin-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        let dir = std::fs::File::open(&path).unwrap();
        (path, dir)
    }

    #[test]
    fn nothing_leads_out_of_the_directory() {
        let (path, dir) = temp("files-beneath");
        std::fs::create_dir(path.join("sub")).unwrap();
        std::fs::write(path.join("sub/file"), "x").unwrap();
        std::os::unix::fs::symlink("sub", path.join("link")).unwrap();
        let open = |name: &[u8]| {
            let result = open_beneath(dir.as_fd(), name, libc::O_RDONLY, 0);
            result.map(drop).map_err(|e| e.raw_os_error().unwrap())
        };
        assert_eq!(open(b"sub/file"), Ok(()));
        assert_eq!(open(b".."), Err(libc::EXDEV));
        assert_eq!(open(b"/etc"), Err(libc::EXDEV));
        assert_eq!(open(b"link"), Err(libc::ELOOP));
        assert_eq!(open(b"link/file"), Err(libc::ELOOP));
        assert_eq!(open(b"a\0b"), Err(libc::EINVAL));
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn entries_and_attributes() {
        let (path, dir) = temp("files-entries");
        std::fs::write(path.join("file"), "four").unwrap();
        std::os::unix::fs::symlink("target", path.join("link")).unwrap();
        let mut names = Vec::new();
        let mut more = DirBuffer::default();
        while more.fill(dir.as_fd()).unwrap() {
            while let Some(e) = more.entry() {
                names.push((e.name.to_vec(), e.kind));
                more.advance();
            }
        }
        names.sort();
        let expected: [(&[u8], u8); 4] =
            [(b".", libc::DT_DIR), (b"..", libc::DT_DIR), (b"file", 8), (b"link", 10)];
        assert_eq!(names, expected.map(|(n, k)| (n.to_vec(), k)));
        assert_eq!(statx(dir.as_fd(), b"file").unwrap().size, 4);
        assert_eq!(statx(dir.as_fd(), b"").unwrap().mode & libc::S_IFMT, libc::S_IFDIR);
        assert_eq!(readlinkat(dir.as_fd(), b"link").unwrap(), b"target");
        std::fs::remove_dir_all(path).unwrap();
    }
}
