//! A view of a host directory tree, read-only or read-write, below one descriptor.
//!
//! * [`HostFs`] is an instance, [`HostFsOptions`] how it looks.
//! * `Node` is an inode: the parent and name it was found by, and for a directory a
//!   cached `O_PATH` descriptor. A cold path costs one host call for each component.
//! * `HostMap` is a file that is open for data: shared by all who opened it alike, and
//!   kept a while, so that programs and libraries start without host calls.
//!
//! Descriptors are bounded: directories above the budget are closed and opened again
//! from the nearest open ancestor; an open file of a guest costs at most one.
//!
//! Nothing here follows a symbolic link, and only regular files and directories are
//! ever opened. A path that the host replaces by another file shows that file as soon
//! as its attributes are asked for again.
//!
//! Locks, outermost first: place of a node, its descriptor, caches of the instance;
//! none is held during a host call but that of a directory stream.

mod change;
mod dir;
mod file;
mod mask;
mod node;
#[cfg(test)]
pub(crate) mod tests;

use crate::util::errno;
use chitin_abi::Errno;
use chitin_abi::fs::makedev;
use chitin_hostsys::files;
use chitin_kernel::sync::Mutex;
use chitin_kernel::vfs::names::QuickMap;
use chitin_kernel::vfs::{Attr, Caching, FileSystem, FileType, InodeRef, StatFs};
use chitin_platform::Platform;
use file::HostMap;
use mask::Mask;
use node::Node;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Who may change the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Changes fail with `EROFS`.
    ReadOnly,
    /// Changes go to the host.
    ReadWrite,
}

/// How owners without a mapping in the sentry's user namespace are shown; the host
/// tells them as 65534 (`/proc/sys/kernel/overflowuid`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmapped {
    /// As 65534.
    Overflow,
    /// As root: in a namespace of one id nearly everything is root's in truth.
    Root,
}

/// How a tree looks.
#[derive(Clone, Debug)]
pub struct HostFsOptions {
    /// Who may change it.
    pub access: Access,
    /// Owners without a mapping.
    pub unmapped: Unmapped,
    /// Absolute paths below the root that look like empty directories, or are absent
    /// if they are anything else.
    pub masks: Vec<Vec<u8>>,
    /// Directories that are kept open.
    pub open_dirs: usize,
    /// Files that are kept open for data after their last use.
    pub open_files: usize,
    /// How long attributes are believed. The host may change them meanwhile.
    pub attr_ttl: Duration,
    /// Whether names may be remembered; [`Caching::Never`] if others change them too.
    pub caching: Caching,
}

impl Default for HostFsOptions {
    fn default() -> Self {
        Self {
            access: Access::ReadOnly,
            unmapped: Unmapped::Overflow,
            masks: Vec::new(),
            open_dirs: 256,
            open_files: 128,
            attr_ttl: Duration::from_millis(50),
            caching: Caching::Always,
        }
    }
}

/// What all inodes of an instance share.
struct Super {
    platform: Arc<dyn Platform>,
    root: Arc<OwnedFd>,
    /// The root is a file, and this is open for writing to it.
    root_write: Option<OwnedFd>,
    dev: u64,
    options: HostFsOptions,
    mask: Option<Arc<Mask>>,
    /// Inodes by device and number.
    nodes: Mutex<QuickMap<(u64, u64), Weak<Node>>>,
    /// Directories that are open, in the order in which they were opened.
    dirs: Mutex<VecDeque<Weak<Node>>>,
    /// What was glanced at last: who asks for attributes often opens next.
    glanced: Mutex<Option<Glanced>>,
    /// Files that were opened last.
    maps: Mutex<VecDeque<Arc<HostMap>>>,
    fs: Mutex<Weak<HostFs>>,
}

/// A name in a directory, its attributes, and when they were seen (`CLOCK_MONOTONIC_COARSE`).
struct Glanced {
    dir: Weak<Node>,
    name: Vec<u8>,
    attr: Attr,
    at: u64,
}

impl Super {
    fn instance(self: &Arc<Self>) -> Arc<dyn FileSystem> {
        let known = self.fs.lock().upgrade();
        known.unwrap_or_else(|| HostFs::over(self.clone()))
    }

    /// How long attributes are believed, in nanoseconds.
    fn attr_ttl(&self) -> u64 {
        u64::try_from(self.options.attr_ttl.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether two names of a file must be found to be one: not those of a tree that
    /// nobody changes through us if there is only one name.
    fn shares(&self, attr: &Attr) -> bool {
        let fixed = self.options.access == Access::ReadOnly
            && self.options.caching == Caching::Always
            && attr.kind != FileType::Directory;
        !fixed || attr.nlink > 1
    }

    fn writable(&self) -> Result<(), Errno> {
        match self.options.access {
            Access::ReadOnly => Err(Errno::EROFS),
            Access::ReadWrite => Ok(()),
        }
    }
}

/// An instance.
pub struct HostFs {
    sup: Arc<Super>,
    root: Arc<Node>,
}

impl HostFs {
    /// The tree below `root`, a directory (`O_PATH` suffices).
    #[expect(clippy::new_ret_no_self, reason = "its users know file systems by their trait")]
    pub fn new(
        root: OwnedFd,
        platform: Arc<dyn Platform>,
        options: HostFsOptions,
    ) -> std::io::Result<Arc<dyn FileSystem>> {
        Self::of_descriptors(root, None, platform, options)
    }

    /// A file system that is one regular file, open for reading and, if it may be
    /// changed, for writing.
    pub fn of_file(
        read: OwnedFd,
        write: Option<OwnedFd>,
        platform: Arc<dyn Platform>,
        options: HostFsOptions,
    ) -> std::io::Result<Arc<dyn FileSystem>> {
        Self::of_descriptors(read, write, platform, options)
    }

    fn of_descriptors(
        root: OwnedFd,
        root_write: Option<OwnedFd>,
        platform: Arc<dyn Platform>,
        options: HostFsOptions,
    ) -> std::io::Result<Arc<dyn FileSystem>> {
        let stat = files::statx(root.as_fd(), b"")?;
        let sup = Arc::new(Super {
            platform,
            root: Arc::new(root),
            root_write,
            dev: u64::from(makedev(stat.dev.0, stat.dev.1)),
            mask: Mask::new(&options.masks),
            options,
            nodes: Mutex::default(),
            dirs: Mutex::default(),
            glanced: Mutex::default(),
            maps: Mutex::default(),
            fs: Mutex::default(),
        });
        Ok(Self::over(sup))
    }

    fn over(sup: Arc<Super>) -> Arc<Self> {
        let root = Node::root(&sup);
        let fs = Arc::new(Self { sup, root });
        *fs.sup.fs.lock() = Arc::downgrade(&fs);
        fs
    }
}

impl FileSystem for HostFs {
    fn name(&self) -> &'static str {
        "hostfs"
    }

    fn dev(&self) -> u64 {
        self.sup.dev
    }

    fn root(&self) -> InodeRef {
        self.root.clone()
    }

    fn statfs(&self) -> Result<StatFs, Errno> {
        let s = files::fstatfs(self.sup.root.as_fd()).map_err(|e| errno(&e))?;
        Ok(StatFs {
            magic: s.magic,
            block_size: s.block_size,
            blocks: s.blocks,
            free: s.free,
            available: s.available,
            files: s.files,
            files_free: s.files_free,
            name_max: s.name_max,
        })
    }

    fn caching(&self) -> Caching {
        self.sup.options.caching
    }
}
