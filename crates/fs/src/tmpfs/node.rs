//! [`Node`]: an inode of tmpfs, its attributes and its [`Inode`] operations.

use super::Super;
use super::data::Data;
use super::dir::Dir;
use super::file::{OpenDir, OpenFile};
use crate::util::{PAGE, Xattrs, copy_from, now};
use chitin_abi::Errno;
use chitin_abi::fs::{S_ISGID, S_ISUID, S_IXGRP};
use chitin_abi::time::Timespec;
use chitin_kernel::changes;
use chitin_kernel::sync::Mutex;
use chitin_kernel::task::Task;
use chitin_kernel::vfs::{
    Attr, DirInode, FileOps, FileSystem, FileType, Inode, InodeState, Kept, NewNode, OpenRequest,
    SetAttr, SetTime,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What changes of an inode besides content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    pub(super) perm: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) nlink: u32,
    pub(super) atime: Timespec,
    pub(super) mtime: Timespec,
    pub(super) ctime: Timespec,
}

/// The content of a regular file and the lock of its transfers.
pub(super) struct FileBody {
    pub(super) data: Data,
    /// Held for the length of a write or change of size, so that they are atomic to
    /// one another.
    pub(super) transfer: Mutex<()>,
}

pub(super) enum Body {
    File(FileBody),
    Dir(Dir),
    Link(Vec<u8>),
    Special,
}

/// An inode.
pub(super) struct Node {
    pub(super) ino: u64,
    kind: FileType,
    rdev: u64,
    pub(super) sup: Arc<Super>,
    btime: Timespec,
    pub(super) meta: Mutex<Meta>,
    pub(super) body: Body,
    pub(super) xattrs: Xattrs,
    state: InodeState,
}

impl Node {
    /// A node whose inode has been charged. It has no name: its link count is 0, or
    /// 1 for a directory's own `.`.
    pub(super) fn new(sup: &Arc<Super>, new: &NewNode, body: Body) -> Arc<Self> {
        let at = now();
        let nlink = if new.kind == FileType::Directory { 2 } else { 0 };
        let meta = Meta {
            perm: new.perm & 0o7777,
            uid: new.uid,
            gid: new.gid,
            nlink,
            atime: at,
            mtime: at,
            ctime: at,
        };
        Arc::new(Self {
            ino: sup.new_ino(),
            kind: new.kind,
            rdev: new.rdev,
            sup: sup.clone(),
            btime: at,
            meta: Mutex::new(meta),
            body,
            xattrs: Xattrs::default(),
            state: InodeState::default(),
        })
    }

    /// Charges an inode and makes a node of any kind but a symbolic link.
    pub(super) fn create(sup: &Arc<Super>, new: &NewNode) -> Result<Arc<Self>, Errno> {
        let body = match new.kind {
            FileType::Regular => Body::File(FileBody {
                data: Data::new(sup.memory.clone(), sup.budget.clone()),
                transfer: Mutex::default(),
            }),
            FileType::Directory => Body::Dir(Dir::default()),
            FileType::Symlink => return Err(Errno::EINVAL),
            _ => Body::Special,
        };
        sup.budget.take_inode()?;
        Ok(Self::new(sup, new, body))
    }

    pub(super) fn file(&self) -> Result<&FileBody, Errno> {
        match &self.body {
            Body::File(file) => Ok(file),
            Body::Dir(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn dir(&self) -> Option<&Dir> {
        if let Body::Dir(dir) = &self.body { Some(dir) } else { None }
    }

    /// The status has changed now; with `content`, the content too.
    pub(super) fn touch(&self, content: bool) {
        let at = now();
        let _changing = changes::begin();
        let mut meta = self.meta.lock();
        meta.ctime = at;
        if content {
            meta.mtime = at;
        }
    }

    /// It was read: the access time follows as with `relatime` (mount(8)).
    pub(super) fn accessed(&self) {
        const DAY: i64 = 24 * 60 * 60;
        let at = now();
        let mut meta = self.meta.lock();
        let key = |t: Timespec| (t.tv_sec, t.tv_nsec);
        let old = key(meta.atime);
        if old <= key(meta.mtime) || old <= key(meta.ctime) || at.tv_sec - meta.atime.tv_sec >= DAY
        {
            let _changing = changes::begin();
            meta.atime = at;
        }
    }

    /// Attributes with this size and number of pages.
    fn attr_with(&self, size: u64, pages: u64) -> Attr {
        let m = *self.meta.lock();
        Attr {
            dev: self.sup.dev,
            ino: self.ino,
            kind: self.kind,
            perm: m.perm,
            nlink: m.nlink,
            uid: m.uid,
            gid: m.gid,
            rdev: self.rdev,
            size,
            blksize: 4096,
            blocks: pages * (PAGE / 512),
            atime: m.atime,
            mtime: m.mtime,
            ctime: m.ctime,
            btime: Some(self.btime),
        }
    }

    /// A write by somebody without privilege takes set-user-ID and set-group-ID away.
    pub(super) fn written(&self, privileged: bool) {
        let at = now();
        let _changing = changes::begin();
        let mut meta = self.meta.lock();
        (meta.mtime, meta.ctime) = (at, at);
        if !privileged && self.kind == FileType::Regular {
            meta.perm &= !S_ISUID;
            if meta.perm & S_IXGRP != 0 {
                meta.perm &= !S_ISGID;
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.sup.budget.inodes.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inode for Node {
    fn file_type(&self) -> FileType {
        self.kind
    }

    fn attr(&self) -> Result<Attr, Errno> {
        let (size, pages) = match &self.body {
            Body::File(file) => file.data.extent(),
            Body::Dir(dir) => (dir.size(), 0),
            Body::Link(target) => (target.len() as u64, 0),
            Body::Special => (0, 0),
        };
        Ok(self.attr_with(size, pages))
    }

    fn access_attr(&self) -> Result<Attr, Errno> {
        Ok(self.attr_with(0, 0))
    }

    fn number(&self) -> Result<u64, Errno> {
        Ok(self.ino)
    }

    fn attr_kept(&self) -> Result<(Attr, Kept), Errno> {
        let mapped = matches!(&self.body, Body::File(file) if file.data.is_mapped());
        Ok((self.attr()?, if mapped { Kept::No } else { Kept::Changes }))
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        let _changing = changes::begin();
        if let Some(size) = set.size {
            let file = self.file()?;
            let _transfer = file.transfer.lock();
            file.data.set_size(size)?;
        }
        let at = now();
        let time = |t: SetTime| match t {
            SetTime::Now => at,
            SetTime::To(t) => t,
        };
        let mut meta = self.meta.lock();
        let m = &mut *meta;
        m.perm = set.perm.map_or(m.perm, |p| p & 0o7777);
        m.uid = set.uid.unwrap_or(m.uid);
        m.gid = set.gid.unwrap_or(m.gid);
        m.atime = set.atime.map_or(m.atime, time);
        m.mtime = match set.mtime {
            Some(t) => time(t),
            None if set.size.is_some() => at,
            None => m.mtime,
        };
        m.ctime = at;
        Ok(())
    }

    fn file_system(&self) -> Arc<dyn FileSystem> {
        self.sup.instance()
    }

    fn as_dir(&self) -> Option<&dyn DirInode> {
        self.dir().map(|_| self as &dyn DirInode)
    }

    fn open(self: Arc<Self>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        match &self.body {
            Body::File(_) => Ok(Box::new(OpenFile(self))),
            Body::Dir(_) => Ok(Box::new(OpenDir(self))),
            Body::Link(_) => Err(Errno::ELOOP),
            Body::Special => Err(Errno::ENXIO),
        }
    }

    fn read_link(&self, _task: &Arc<Task>) -> Result<Vec<u8>, Errno> {
        match &self.body {
            Body::Link(target) => {
                self.accessed();
                Ok(target.clone())
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn xattr_get(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.xattrs.get(name)
    }

    fn xattr_set(&self, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        let user = matches!(self.kind, FileType::Regular | FileType::Directory);
        self.xattrs.set(name, value, flags, user)?;
        self.touch(false);
        Ok(())
    }

    fn xattr_remove(&self, name: &[u8]) -> Result<(), Errno> {
        self.xattrs.remove(name)?;
        self.touch(false);
        Ok(())
    }

    fn xattr_list(&self) -> Result<Vec<Vec<u8>>, Errno> {
        Ok(self.xattrs.list())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        match &self.body {
            Body::Link(target) => Ok(copy_from(target, offset, buf)),
            _ => self.file()?.data.read_at(offset, buf),
        }
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize, Errno> {
        let file = self.file()?;
        let _transfer = file.transfer.lock();
        file.data.write_at(offset, buf)
    }

    fn vfs_state(&self) -> &InodeState {
        &self.state
    }
}
