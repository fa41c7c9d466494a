//! What a file system implements: [`Inode`], [`DirInode`], [`FileSystem`].

use super::{Attr, FileOps, FileType, SetAttr};
use crate::task::Task;
use chitin_abi::Errno;
use std::any::Any;
use std::sync::Arc;

/// A shared inode.
pub type InodeRef = Arc<dyn Inode>;

/// How an inode is to be opened; permission has been checked, `O_CREAT`,
/// `O_EXCL` and `O_TRUNC` are done with.
#[derive(Clone, Copy)]
pub struct OpenRequest<'a> {
    /// The opening task.
    pub task: &'a Arc<Task>,
    /// `O_ACCMODE` and status flags.
    pub flags: u32,
}

/// How long attributes may be told without asking the file system again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// They may not.
    No,
    /// Until this time, in nanoseconds of `CLOCK_MONOTONIC`, unless something changes
    /// ([`crate::changes`]).
    Until(u64),
    /// Until something changes.
    Changes,
}

impl Kept {
    /// The time until then; none if there is no end.
    #[must_use]
    pub fn until(self) -> Option<Option<u64>> {
        match self {
            Self::No => None,
            Self::Until(time) => Some(Some(time)),
            Self::Changes => Some(None),
        }
    }
}

/// A file as its file system keeps it. Names are bytes without `/` and NUL.
pub trait Inode: Any + Send + Sync {
    /// Type; never changes.
    fn file_type(&self) -> FileType;

    /// Current attributes.
    fn attr(&self) -> Result<Attr, Errno>;

    /// Attributes, and how long they may be told again. A file system that says more than
    /// [`Kept::No`] holds a [`crate::changes::Changing`] whenever it changes them.
    fn attr_kept(&self) -> Result<(Attr, Kept), Errno> {
        Ok((self.attr()?, Kept::No))
    }

    /// Attributes for checks of permission on the way through a directory; they may be
    /// a little older.
    fn access_attr(&self) -> Result<Attr, Errno> {
        self.attr()
    }

    /// Whether a task may use it whatever its permission bits say.
    fn admits(&self, _task: &Task) -> bool {
        false
    }

    /// The inode number alone.
    fn number(&self) -> Result<u64, Errno> {
        self.attr().map(|a| a.ino)
    }

    /// Changes attributes.
    fn set_attr(&self, _set: &SetAttr) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// The file system this inode belongs to.
    fn file_system(&self) -> Arc<dyn FileSystem>;

    /// The directory operations, if this is a directory.
    fn as_dir(&self) -> Option<&dyn DirInode> {
        None
    }

    /// Makes the operations behind a new open file description. Special files
    /// (FIFOs, devices, sockets) are opened by the VFS, not by their inode.
    fn open(self: Arc<Self>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno>;

    /// Target of a symbolic link.
    fn read_link(&self, _task: &Arc<Task>) -> Result<Vec<u8>, Errno> {
        Err(Errno::EINVAL)
    }

    /// Where following this link leads without path resolution (`/proc/self/fd/1`).
    fn magic_link(&self, _task: &Arc<Task>) -> Option<Result<super::Path, Errno>> {
        None
    }

    /// `getxattr(2)`.
    fn xattr_get(&self, _name: &[u8]) -> Result<Vec<u8>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// `setxattr(2)` with its `XATTR_*` flags.
    fn xattr_set(&self, _name: &[u8], _value: &[u8], _flags: u32) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// `removexattr(2)`.
    fn xattr_remove(&self, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Names of all extended attributes.
    fn xattr_list(&self) -> Result<Vec<Vec<u8>>, Errno> {
        Ok(Vec::new())
    }

    /// Reads the data of a regular file, or the target of a symbolic link, without an
    /// open description: for file systems that stand on others, and for the kernel
    /// itself. Short at end of file.
    fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Writes likewise.
    fn write_at(&self, _offset: u64, _buf: &[u8]) -> Result<usize, Errno> {
        Err(Errno::EROFS)
    }

    /// State that the VFS attaches to the inode (locks, watches, FIFO, socket).
    fn vfs_state(&self) -> &super::InodeState;
}

/// What to create.
#[derive(Clone, Copy, Debug)]
pub struct NewNode {
    /// Type: anything but a symbolic link.
    pub kind: FileType,
    /// Permission bits after the umask.
    pub perm: u32,
    /// Owner.
    pub uid: u32,
    /// Group (set-group-ID of the directory already applied).
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u64,
}

/// What a directory can do. The VFS has checked permission, existence as far as
/// its dentries tell, and holds the directory's lock for changes.
pub trait DirInode: Send + Sync {
    /// Finds an entry; `ENOENT` if there is none.
    fn lookup(&self, task: &Arc<Task>, name: &[u8]) -> Result<InodeRef, Errno>;

    /// Creates a file, directory or special file; `EEXIST` if the name is taken.
    fn create(&self, _name: &[u8], _node: &NewNode) -> Result<InodeRef, Errno> {
        Err(Errno::EROFS)
    }

    /// Creates a symbolic link.
    fn symlink(&self, _name: &[u8], _target: &[u8], _owner: (u32, u32)) -> Result<InodeRef, Errno> {
        Err(Errno::EROFS)
    }

    /// Adds a name for `inode`, which is of the same file system.
    fn link(&self, _name: &[u8], _inode: &InodeRef) -> Result<(), Errno> {
        Err(Errno::EROFS)
    }

    /// Removes the entry of a non-directory.
    fn unlink(&self, _name: &[u8], _inode: &InodeRef) -> Result<(), Errno> {
        Err(Errno::EROFS)
    }

    /// Removes the entry of an empty directory.
    fn rmdir(&self, _name: &[u8], _inode: &InodeRef) -> Result<(), Errno> {
        Err(Errno::EROFS)
    }

    /// Moves `name` to `to`/`to_name` with the `RENAME_*` flags of `renameat2(2)`;
    /// `to` is of the same file system.
    fn rename(
        &self,
        _name: &[u8],
        _to: &dyn DirInode,
        _to_name: &[u8],
        _flags: u32,
    ) -> Result<(), Errno> {
        Err(Errno::EROFS)
    }

    /// An unnamed regular file in this directory (`O_TMPFILE`).
    fn tmpfile(&self, _node: &NewNode) -> Result<InodeRef, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Finds an entry whose presence does not depend on who asks; for file systems
    /// that stand on others.
    fn find(&self, _name: &[u8]) -> Result<InodeRef, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Attributes of an entry, and how long they may be told again, for somebody who wants
    /// nothing else of it: exactly what its inode would say, without making one. `None` if
    /// that takes the inode.
    fn glance(&self, _name: &[u8]) -> Result<Option<(Attr, Kept)>, Errno> {
        Ok(None)
    }

    /// The names that follow `name` in the order of their bytes, at most so many, where that is
    /// known without asking for all: who asks for one after the other can be told ahead.
    fn names_after(&self, _name: &[u8], _most: usize) -> Vec<Box<[u8]>> {
        Vec::new()
    }

    /// Lists the entries from offset `pos` on like [`FileOps::read_dir`], without an
    /// open description.
    fn list(&self, _pos: u64, _sink: &mut dyn super::DirSink) -> Result<u64, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// This directory as [`Any`], for [`DirInode::rename`] to recognise its own kind.
    fn as_any(&self) -> &dyn Any;
}

/// Whether the dentry cache may answer for a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caching {
    /// All changes go through this kernel.
    Always,
    /// Entries come and go by themselves (`proc`): look up every time.
    Never,
}

/// What `statfs(2)` tells.
#[derive(Clone, Copy, Debug, Default)]
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

/// An instance of a file system.
pub trait FileSystem: Any + Send + Sync {
    /// Type as in `/proc/filesystems`.
    fn name(&self) -> &'static str;

    /// Device number, encoded as in `st_dev`.
    fn dev(&self) -> u64;

    /// The root directory.
    fn root(&self) -> InodeRef;

    /// Sizes.
    fn statfs(&self) -> Result<StatFs, Errno>;

    /// Whether dentries may be kept.
    fn caching(&self) -> Caching {
        Caching::Always
    }

    /// Super-block options as in `/proc/mounts`, without `ro`/`rw`.
    fn options(&self) -> String {
        String::new()
    }

    /// New super-block options (`mount(MS_REMOUNT)`); the total memory is what a share of
    /// it refers to.
    fn reconfigure(&self, options: &[u8], _memory: u64) -> Result<(), Errno> {
        if options.is_empty() { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// `sync(2)`.
    fn sync(&self) -> Result<(), Errno> {
        Ok(())
    }
}
