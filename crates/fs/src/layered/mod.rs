//! Any tree that takes the changes (the upper one) over a tree that stays as it is (the
//! lower one), as Linux's overlayfs does it.
//!
//! * [`Layered`] is an instance; `Node` is an inode: its lower file, its upper file or
//!   both. A directory with both is merged.
//! * A file is copied up when it is opened for writing or its attributes change. Those
//!   who opened it read-only before read the copy from then on; what they have mapped
//!   stays the lower file's (as in overlayfs).
//! * A removed lower name is covered by a whiteout (character device 0:0); a new
//!   directory over a lower one has the attribute `trusted.overlay.opaque`.
//! * A merged directory can be renamed: the instance remembers its lower directory.
//! * Inode numbers are the lower file's, also after it was copied up
//!   (`trusted.overlay.origin`); pure upper files have numbers from 2⁴⁸ on.
//! * Names of a lower file with several hard links stay links of one another.
//!
//! Locks, outermost first: copying of a node, changes of the instance, entries of a
//! node (two of them only under the former), place of a node, tables.

mod change;
mod copy;
mod dir;
mod file;
mod node;
#[cfg(test)]
mod tests;

use chitin_abi::Errno;
use chitin_abi::fs::OVERLAYFS_SUPER_MAGIC;
use chitin_kernel::sync::Mutex;
use chitin_kernel::vfs::names::QuickMap;
use chitin_kernel::vfs::{FileSystem, InodeRef, SetAttr, SetTime, StatFs};
use node::{Id, Node};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Says that a directory has nothing of the lower one under it.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// Device and number of the lower file that was copied up.
const ORIGIN: &[u8] = b"trusted.overlay.origin";
/// Attributes that are nobody's business but ours.
const PRIVATE: &[u8] = b"trusted.overlay.";

/// What is known of a lower file with several names.
#[derive(Default)]
struct Links {
    /// Its copy, if there is one.
    copy: Option<InodeRef>,
    /// Lower names that have been removed or turned into upper ones.
    gone: u32,
}

/// What all inodes of an instance share.
struct Super {
    lower: Arc<dyn FileSystem>,
    upper: Arc<dyn FileSystem>,
    /// Held while entries change.
    change: Mutex<()>,
    /// Nodes that are no directories, by their lower and by their upper file.
    nodes: Mutex<QuickMap<Id, Weak<Node>>>,
    /// Lower files with several names of which one has changed.
    links: Mutex<HashMap<(u64, u64), Links>>,
    /// How many those are: most trees have none, and need not look.
    linked: AtomicUsize,
    /// Lower directories of upper directories (by inode number) that were renamed.
    redirects: Mutex<HashMap<u64, InodeRef>>,
    fs: Mutex<Weak<Layered>>,
}

impl Super {
    /// Whether anything is known of a lower file with several names.
    fn has_links(&self) -> bool {
        self.linked.load(Ordering::Acquire) > 0
    }

    /// The copy of a lower file with several names.
    fn copy_of(&self, id: (u64, u64)) -> Option<InodeRef> {
        if !self.has_links() {
            return None;
        }
        self.links.lock().get(&id)?.copy.clone()
    }

    /// What is known of a lower file with several names.
    fn with_links<T>(&self, id: (u64, u64), f: impl FnOnce(&mut Links) -> T) -> T {
        let mut links = self.links.lock();
        let done = f(links.entry(id).or_default());
        self.linked.store(links.len(), Ordering::Release);
        done
    }

    fn instance(self: &Arc<Self>) -> Result<Arc<dyn FileSystem>, Errno> {
        let known = self.fs.lock().upgrade();
        match known {
            Some(fs) => Ok(fs),
            None => Ok(Layered::over(self.clone())?),
        }
    }
}

/// An instance.
pub struct Layered {
    sup: Arc<Super>,
    root: Arc<Node>,
}

impl Layered {
    /// `upper`, empty at first, takes the changes of `lower`.
    #[expect(clippy::new_ret_no_self, reason = "its users know file systems by their trait")]
    pub fn new(
        lower: Arc<dyn FileSystem>,
        upper: Arc<dyn FileSystem>,
    ) -> Result<Arc<dyn FileSystem>, Errno> {
        let of = lower.root().attr()?;
        upper.root().set_attr(&SetAttr {
            perm: Some(of.perm),
            uid: Some(of.uid),
            gid: Some(of.gid),
            size: None,
            atime: Some(SetTime::To(of.atime)),
            mtime: Some(SetTime::To(of.mtime)),
        })?;
        let sup = Arc::new(Super {
            lower,
            upper,
            change: Mutex::default(),
            nodes: Mutex::default(),
            links: Mutex::default(),
            linked: AtomicUsize::new(0),
            redirects: Mutex::default(),
            fs: Mutex::default(),
        });
        Ok(Self::over(sup)?)
    }

    fn over(sup: Arc<Super>) -> Result<Arc<Self>, Errno> {
        let root = Node::root(&sup)?;
        let fs = Arc::new(Self { sup, root });
        *fs.sup.fs.lock() = Arc::downgrade(&fs);
        Ok(fs)
    }
}

impl FileSystem for Layered {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn dev(&self) -> u64 {
        self.root.id.0
    }

    fn root(&self) -> InodeRef {
        self.root.clone()
    }

    fn statfs(&self) -> Result<StatFs, Errno> {
        let upper = self.sup.upper.statfs()?;
        // An upper tree without a limit has no sizes to show.
        let sizes = if upper.blocks == 0 { self.sup.lower.statfs()? } else { upper };
        Ok(StatFs { magic: OVERLAYFS_SUPER_MAGIC.cast_unsigned(), ..sizes })
    }

    fn sync(&self) -> Result<(), Errno> {
        self.sup.upper.sync()
    }
}
