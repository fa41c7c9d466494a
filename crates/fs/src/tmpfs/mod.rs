//! `tmpfs(5)`: files whose data lives in the sandbox's memory file, so that mappings
//! of them are coherent with reads and writes.
//!
//! * [`Tmpfs`] is an instance, [`TmpfsOptions`] its limits and root.
//! * `Node` is an inode; `Dir` are the entries of a directory; `Data` the content of
//!   a regular file.
//!
//! Directories own their entries and know their parent by number alone, so an inode,
//! its data and its pages go with the last name, open file and mapping.
//!
//! Locks, outermost first: the tree (every change of entries), transfers of a file,
//! entries of a directory, attributes, data.

mod data;
mod dir;
mod file;
mod node;
mod options;
mod pages;
#[cfg(test)]
mod tests;

use crate::util::{PAGE, anonymous_dev};
use chitin_abi::Errno;
use chitin_abi::fs::TMPFS_MAGIC;
pub use options::register;

use chitin_kernel::sync::Mutex;
use chitin_kernel::vfs::{FileSystem, FileType, InodeRef, NewNode, StatFs};
use chitin_usermem::GuestMemory;
use data::Budget;
use node::{Body, Node};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Longest name in bytes.
const NAME_MAX: u64 = 255;

/// Limits of an instance and its root directory.
#[derive(Clone, Debug)]
pub struct TmpfsOptions {
    /// Most bytes of data; `None` is no limit of its own.
    pub size: Option<u64>,
    /// Most inodes.
    pub inodes: Option<u64>,
    /// Permission bits of the root.
    pub perm: u32,
    /// Owner of the root.
    pub uid: u32,
    /// Group of the root.
    pub gid: u32,
    /// Inode number of the root; others follow.
    pub first_ino: u64,
}

impl Default for TmpfsOptions {
    fn default() -> Self {
        Self { size: None, inodes: None, perm: 0o1777, uid: 0, gid: 0, first_ino: 1 }
    }
}

/// What all inodes of an instance share.
struct Super {
    memory: Arc<GuestMemory>,
    budget: Arc<Budget>,
    dev: u64,
    next_ino: AtomicU64,
    /// As given, and as changed since.
    options: Mutex<TmpfsOptions>,
    /// Held while entries change.
    tree: Mutex<()>,
    fs: Mutex<Weak<Tmpfs>>,
}

impl Super {
    fn new_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Ordering::Relaxed)
    }

    /// The instance; a stand-in with an empty root if it is gone and only an open
    /// file has remained.
    fn instance(self: &Arc<Self>) -> Arc<dyn FileSystem> {
        let known = self.fs.lock().upgrade();
        known.unwrap_or_else(|| {
            let fs = Tmpfs::over(self.clone());
            *self.fs.lock() = Arc::downgrade(&fs);
            fs
        })
    }
}

/// An instance.
pub struct Tmpfs {
    sup: Arc<Super>,
    root: Arc<Node>,
}

impl Tmpfs {
    /// An empty instance.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "its users know file systems by their trait")]
    pub fn new(memory: Arc<GuestMemory>, options: TmpfsOptions) -> Arc<dyn FileSystem> {
        let budget = Budget {
            pages_max: AtomicU64::new(options.pages_max()),
            inodes_max: AtomicU64::new(options.inodes_max()),
            pages: AtomicU64::new(0),
            inodes: AtomicU64::new(0),
        };
        let sup = Arc::new(Super {
            memory,
            budget: Arc::new(budget),
            dev: anonymous_dev(),
            next_ino: AtomicU64::new(options.first_ino),
            options: Mutex::new(options),
            tree: Mutex::default(),
            fs: Mutex::default(),
        });
        let fs = Self::over(sup.clone());
        *sup.fs.lock() = Arc::downgrade(&fs);
        fs
    }

    fn over(sup: Arc<Super>) -> Arc<Self> {
        let o = sup.options.lock().clone();
        let (perm, uid, gid) = (o.perm, o.uid, o.gid);
        let root = NewNode { kind: FileType::Directory, perm, uid, gid, rdev: 0 };
        sup.budget.inodes.fetch_add(1, Ordering::Relaxed);
        let root = Node::new(&sup, &root, Body::Dir(dir::Dir::default()));
        if let Body::Dir(dir) = &root.body {
            dir.set_parent(root.ino);
        }
        Arc::new(Self { sup, root })
    }
}

impl FileSystem for Tmpfs {
    fn name(&self) -> &'static str {
        "tmpfs"
    }

    fn dev(&self) -> u64 {
        self.sup.dev
    }

    fn root(&self) -> InodeRef {
        self.root.clone()
    }

    fn statfs(&self) -> Result<StatFs, Errno> {
        let b = &self.sup.budget;
        let of = |max: u64, used: &AtomicU64| match max {
            // Without a limit nothing is known, as with `size=0` (tmpfs(5)).
            u64::MAX => (0, 0),
            max => (max, max.saturating_sub(used.load(Ordering::Relaxed))),
        };
        let (blocks, free) = of(b.pages_max.load(Ordering::Relaxed), &b.pages);
        let (files, files_free) = of(b.inodes_max.load(Ordering::Relaxed), &b.inodes);
        Ok(StatFs {
            magic: TMPFS_MAGIC.cast_unsigned(),
            block_size: PAGE,
            blocks,
            free,
            available: free,
            files,
            files_free,
            name_max: NAME_MAX,
        })
    }

    /// Limits can change, but not to less than is in use, nor between some and none
    /// (`tmpfs(5)`); the root stays as it is.
    fn reconfigure(&self, text: &[u8], memory: u64) -> Result<(), Errno> {
        let mut options = self.sup.options.lock();
        let new = options::parse(options.clone(), text, memory)?;
        let b = &self.sup.budget;
        let too_small = |max: u64, used: &AtomicU64| used.load(Ordering::Relaxed) > max;
        if options.size.is_none() != new.size.is_none()
            || options.inodes.is_none() != new.inodes.is_none()
            || too_small(new.pages_max(), &b.pages)
            || too_small(new.inodes_max(), &b.inodes)
        {
            return Err(Errno::EINVAL);
        }
        b.pages_max.store(new.pages_max(), Ordering::Relaxed);
        b.inodes_max.store(new.inodes_max(), Ordering::Relaxed);
        (options.size, options.inodes) = (new.size, new.inodes);
        Ok(())
    }

    fn options(&self) -> String {
        let o = self.sup.options.lock().clone();
        let mut parts = Vec::new();
        if let Some(size) = o.size {
            parts.push(format!("size={}k", size.div_ceil(PAGE) * (PAGE / 1024)));
        }
        if let Some(inodes) = o.inodes {
            parts.push(format!("nr_inodes={inodes}"));
        }
        if o.perm != 0o1777 {
            parts.push(format!("mode={:o}", o.perm));
        }
        for (name, id) in [("uid", o.uid), ("gid", o.gid)] {
            if id != 0 {
                parts.push(format!("{name}={id}"));
            }
        }
        parts.join(",")
    }
}

impl TmpfsOptions {
    fn pages_max(&self) -> u64 {
        self.size.map_or(u64::MAX, |s| s.div_ceil(PAGE))
    }

    fn inodes_max(&self) -> u64 {
        self.inodes.unwrap_or(u64::MAX)
    }
}

impl Drop for Tmpfs {
    /// Takes the tree apart level by level: recursion could go arbitrarily deep.
    fn drop(&mut self) {
        let mut todo = Vec::new();
        if let Body::Dir(dir) = &self.root.body {
            // Somebody may still be in a directory; what they hold stays.
            todo.extend(dir.take_all());
        }
        while let Some(node) = todo.pop() {
            if Arc::strong_count(&node) == 1
                && let Body::Dir(dir) = &node.body
            {
                todo.extend(dir.take_all());
            }
        }
    }
}
