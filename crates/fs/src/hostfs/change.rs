//! Changes of a host tree that is given for writing, and descriptors for attributes.
//!
//! Owners are set as far as the sentry may; a file that the host does not let it give
//! away stays its own.

use super::Access;
use super::node::Node;
use crate::util::errno;
use chitin_abi::Errno;
use chitin_abi::fs::{O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY};
use chitin_hostsys::files::{self, NewTime};
use chitin_kernel::vfs::{Caching, FileType, NewNode, SetAttr, SetTime};
use std::os::fd::{AsFd, OwnedFd};

const O_CREATE_NEW: i32 = 0o100 | 0o200;
const O_PATH: i32 = 0o010_000_000;

fn new_time(t: Option<SetTime>) -> NewTime {
    match t {
        None => NewTime::Keep,
        Some(SetTime::Now) => NewTime::Now,
        Some(SetTime::To(t)) => {
            NewTime::At((t.tv_sec, u32::try_from(t.tv_nsec).unwrap_or_default()))
        }
    }
}

impl Node {
    /// Opens this regular file or directory with an access mode, without waiting.
    fn open_fd(&self, mode: u32) -> Result<OwnedFd, Errno> {
        if !matches!(self.kind, FileType::Regular | FileType::Directory) {
            return Err(Errno::EOPNOTSUPP);
        }
        let access = if mode == O_RDONLY { Access::ReadOnly } else { Access::ReadWrite };
        if let Some(fd) = self.root_file(access) {
            return fd;
        }
        let flags = i32::try_from(mode | O_NONBLOCK).map_err(|_| Errno::EINVAL)?;
        self.at(|dir, name| {
            let name = if name.is_empty() { b"." } else { name };
            files::open_beneath(dir.as_fd(), name, flags, 0)
        })
    }

    /// Calls `f` with a descriptor for extended attributes; `refused` if the host does
    /// not let the file be read.
    pub(super) fn with_attr_fd<T>(
        &self,
        refused: Errno,
        f: impl FnOnce(&OwnedFd) -> std::io::Result<T>,
    ) -> Result<T, Errno> {
        let fd =
            self.open_fd(O_RDONLY).map_err(|e| if e == Errno::EACCES { refused } else { e })?;
        f(&fd).map_err(|e| errno(&e))
    }

    /// Target of a symbolic link. Links do not change, only what a name means does; so
    /// where names are remembered, targets may be.
    pub(super) fn target(&self) -> Result<Vec<u8>, Errno> {
        if self.kind != FileType::Symlink {
            return Err(Errno::EINVAL);
        }
        if let Some(known) = &*self.link.lock() {
            return Ok(known.to_vec());
        }
        let target = self.at(|dir, name| files::readlinkat(dir.as_fd(), name))?;
        if self.sup.options.caching == Caching::Always {
            *self.link.lock() = Some(target.as_slice().into());
        }
        Ok(target)
    }

    pub(super) fn change_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        if let Some(size) = set.size {
            let map = self.map(Access::ReadWrite)?;
            chitin_hostsys::ftruncate(map.fd.as_fd(), size).map_err(|e| errno(&e))?;
            map.resized(size);
        }
        if set.uid.is_some() || set.gid.is_some() {
            let path = || {
                self.at(|dir, name| {
                    let name = if name.is_empty() { b"." } else { name };
                    files::open_beneath(dir.as_fd(), name, O_PATH, 0)
                })
            };
            let fd = self.root_file(Access::ReadWrite).unwrap_or_else(path)?;
            files::fchown(fd.as_fd(), set.uid, set.gid).map_err(|e| errno(&e))?;
        }
        if let Some(perm) = set.perm {
            let fd = self.open_fd(O_RDONLY).or_else(|_| self.open_fd(O_WRONLY))?;
            files::fchmod(fd.as_fd(), perm & 0o7777).map_err(|e| errno(&e))?;
        }
        if set.atime.is_some() || set.mtime.is_some() {
            let (a, m) = (new_time(set.atime), new_time(set.mtime));
            self.at(|dir, name| files::utimensat(dir.as_fd(), name, a, m))?;
        }
        Ok(())
    }

    /// Makes a file of any kind but a symbolic link or a device.
    pub(super) fn make(&self, name: &[u8], new: &NewNode) -> Result<(), Errno> {
        let me = self.me()?;
        let dir = me.fd()?;
        let host = |r: std::io::Result<()>| r.map_err(|e| errno(&e));
        let perm = new.perm & 0o7777;
        match new.kind {
            FileType::Regular => {
                let flags = O_CREATE_NEW | i32::try_from(O_RDWR).map_err(|_| Errno::EINVAL)?;
                let fd = files::open_beneath(dir.as_fd(), name, flags, perm);
                let fd = fd.map_err(|e| errno(&e))?;
                // The host may have applied a umask of its own.
                host(files::fchmod(fd.as_fd(), perm))?;
            }
            FileType::Directory => {
                host(files::mkdirat(dir.as_fd(), name, perm))?;
                let fd = files::open_beneath(dir.as_fd(), name, 0o200_000, 0);
                if let Ok(fd) = fd {
                    host(files::fchmod(fd.as_fd(), perm))?;
                }
            }
            FileType::Fifo | FileType::Socket => {
                host(files::mknodat(dir.as_fd(), name, new.kind.mode_bits() | perm, 0))?;
            }
            FileType::CharDevice | FileType::BlockDevice => return Err(Errno::EPERM),
            FileType::Symlink => return Err(Errno::EINVAL),
        }
        self.give(name, (new.uid, new.gid));
        Ok(())
    }

    /// Sets the owner of a new entry as far as the host lets us.
    pub(super) fn give(&self, name: &[u8], owner: (u32, u32)) {
        let Ok(Ok(dir)) = self.me().map(|me| me.fd()) else { return };
        let Ok(stat) = files::statx(dir.as_fd(), name) else { return };
        if (stat.uid, stat.gid) == owner || stat.mode & 0o170_000 == 0o120_000 {
            return;
        }
        if let Ok(fd) = files::open_beneath(dir.as_fd(), name, O_PATH, 0) {
            let _ = files::fchown(fd.as_fd(), Some(owner.0), Some(owner.1));
        }
    }
}
