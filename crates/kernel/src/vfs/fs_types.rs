//! The kinds of file systems that can be mounted, and the one behind
//! `memfd_create(2)`.

use super::{Dentry, FileSystem, FileType, Mount, NewNode, Path};
use crate::sync::{Mutex, RwLock};
use crate::task::Task;
use chitin_abi::Errno;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What `mount(2)` was given.
#[derive(Clone, Copy)]
pub struct MountRequest<'a> {
    /// The mounting task.
    pub task: &'a Arc<Task>,
    /// What is to be mounted, in the terms of the file system.
    pub source: &'a [u8],
    /// Options, separated by commas.
    pub options: &'a [u8],
    /// `MS_*` flags of the mount.
    pub flags: u32,
}

/// Makes an instance of a file system.
pub type FsMaker = dyn Fn(&MountRequest<'_>) -> Result<Arc<dyn FileSystem>, Errno> + Send + Sync;

/// Makers of file systems by name, filled by who assembles the kernel. Locks: one for
/// the makers, one for the mount of unnamed files.
#[derive(Default)]
pub struct FsTypes {
    makers: RwLock<BTreeMap<&'static str, Box<FsMaker>>>,
    unnamed: Mutex<Option<Arc<Mount>>>,
}

impl FsTypes {
    /// Registers a kind of file system.
    pub fn register(&self, name: &'static str, maker: Box<FsMaker>) {
        self.makers.write().insert(name, maker);
    }

    /// Their names.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.makers.read().keys().copied().collect()
    }

    /// Makes an instance; `ENODEV` if there is no such kind.
    pub fn make(
        &self,
        name: &[u8],
        request: &MountRequest<'_>,
    ) -> Result<Arc<dyn FileSystem>, Errno> {
        let makers = self.makers.read();
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENODEV)?;
        makers.get(name).ok_or(Errno::ENODEV)?(request)
    }

    /// The mount of files that have no directory, a `tmpfs` that nobody can reach.
    fn unnamed(&self, task: &Arc<Task>) -> Result<Arc<Mount>, Errno> {
        let mut slot = self.unnamed.lock();
        if let Some(mount) = &*slot {
            return Ok(mount.clone());
        }
        let request = MountRequest { task, source: b"tmpfs", options: b"", flags: 0 };
        let fs = self.make(b"tmpfs", &request).map_err(|e| match e {
            Errno::ENODEV => Errno::ENOSYS,
            other => other,
        })?;
        let mount = task.kernel.mounts.detached(fs, "tmpfs", 0);
        *slot = Some(mount.clone());
        Ok(mount)
    }

    /// A new file in memory that has no name in any directory (`memfd_create(2)`).
    pub fn memory_file(&self, task: &Arc<Task>, name: &[u8], perm: u32) -> Result<Path, Errno> {
        let mount = self.unnamed(task)?;
        let root = mount.root.inode().ok_or(Errno::ENOENT)?;
        let cred = task.cred();
        let (uid, gid) = (cred.fsuid, cred.fsgid);
        let node = NewNode { kind: FileType::Regular, perm, uid, gid, rdev: 0 };
        let inode = root.as_dir().ok_or(Errno::ENOTDIR)?.tmpfile(&node)?;
        let dentry = Dentry::new(Some(mount.root.clone()), name, Some(inode));
        dentry.unlinked.store(true, Ordering::Relaxed);
        Ok(Path { mount, dentry })
    }
}
