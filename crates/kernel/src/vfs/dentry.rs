//! The dentry tree and mounts.
//!
//! Locks: a directory's `changes` is held while an entry is looked up in the file
//! system, made, removed or moved; one that needs two of them holds
//! [`crate::Kernel::rename`]. Inside are `children` and `place` (parent and name), each
//! a leaf. An answer from the cache takes `children` for reading only.

use super::names::QuickMap;
use super::{FileSystem, InodeRef};
use crate::sync::{Mutex, RwLock};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};

/// A name in the tree. A negative dentry has no inode.
pub struct Dentry {
    /// Parent (`None` for a file system's root) and name.
    pub place: RwLock<(Option<Arc<Dentry>>, Box<[u8]>)>,
    /// What it names, never to change; a negative entry has none, and gets one when a
    /// file of that name is made.
    inode: OnceLock<InodeRef>,
    /// Known entries of a directory.
    pub children: RwLock<QuickMap<Box<[u8]>, Arc<Dentry>>>,
    /// Held while entries of the file system's directory are looked up or changed.
    pub changes: Mutex<()>,
    /// How many mounts of any namespace sit here; 0 lets lookup skip the table.
    pub mounted: AtomicU32,
    /// The name was removed or replaced while somebody still holds the dentry
    /// (`/proc/self/fd` shows ` (deleted)`).
    pub unlinked: AtomicBool,
    /// It was looked up since the budget was enforced last.
    used: AtomicBool,
    /// It is being taken out of its directory's table.
    leaving: AtomicBool,
}

impl Dentry {
    /// A dentry that is in no directory's table yet.
    #[must_use]
    pub fn new(parent: Option<Arc<Dentry>>, name: &[u8], inode: Option<InodeRef>) -> Arc<Self> {
        Arc::new(Self {
            place: RwLock::new((parent, name.into())),
            inode: inode.map_or_else(OnceLock::new, OnceLock::from),
            children: RwLock::default(),
            changes: Mutex::default(),
            mounted: AtomicU32::new(0),
            unlinked: AtomicBool::new(false),
            used: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
        })
    }

    /// The entry `name` of its table, if there is one.
    #[must_use]
    pub fn known(&self, name: &[u8]) -> Option<Arc<Self>> {
        let child = self.children.read().get(name).cloned()?;
        if !child.used.load(Ordering::Relaxed) {
            child.used.store(true, Ordering::Relaxed);
        }
        Some(child)
    }

    /// The inode, unless negative.
    #[must_use]
    pub fn inode(&self) -> Option<InodeRef> {
        self.inode.get().cloned()
    }

    /// The same for those who have the dentry as long as they look at it.
    #[must_use]
    pub fn inode_ref(&self) -> Option<&InodeRef> {
        self.inode.get()
    }

    /// Makes a negative entry name a file; false if it names one already.
    pub(super) fn fill(&self, inode: &InodeRef) -> bool {
        self.inode.set(inode.clone()).is_ok()
    }

    /// Whether its table may have another dentry of its name by now. For those who got it
    /// by a weak reference; those who got it from the table need not ask.
    pub(super) fn gone(&self) -> bool {
        self.leaving.load(Ordering::SeqCst) || self.unlinked.load(Ordering::SeqCst)
    }

    /// The parent, unless this is a root.
    #[must_use]
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.read().0.clone()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> Box<[u8]> {
        self.place.read().1.clone()
    }
}

/// All dentries in tables, oldest first, and a bound on them. Lock: one, innermost but
/// for that of [`DentryCache::forget`].
#[derive(Default)]
pub struct DentryCache(Mutex<VecDeque<Weak<Dentry>>>);

/// Dentries that are kept, in use or not; about a kilobyte each with their inodes.
const DENTRIES_MAX: usize = 60_000;
/// Dentries that are looked at when there are too many.
const LOOKED_AT: usize = 64;

impl DentryCache {
    /// Counts a dentry that was entered into its directory's table, and forgets old ones
    /// that nobody uses. No lock of a dentry may be held.
    pub fn entered(&self, dentry: &Arc<Dentry>) {
        let mut old = Vec::new();
        {
            let mut queue = self.0.lock();
            queue.push_back(Arc::downgrade(dentry));
            if queue.len() <= DENTRIES_MAX {
                return;
            }
            for _ in 0..LOOKED_AT {
                let Some(weak) = queue.pop_front() else { break };
                if let Some(dentry) = weak.upgrade() {
                    old.push(dentry);
                }
            }
        }
        old.retain(|dentry| !Self::forget(dentry));
        let mut queue = self.0.lock();
        queue.extend(old.iter().map(Arc::downgrade));
    }

    /// Takes a dentry out of its directory's table if nobody would miss it.
    fn forget(dentry: &Arc<Dentry>) -> bool {
        if dentry.used.swap(false, Ordering::Relaxed) || dentry.unlinked.load(Ordering::Relaxed) {
            return dentry.unlinked.load(Ordering::Relaxed);
        }
        if dentry.inode_ref().is_some_and(|inode| !inode.vfs_state().is_empty()) {
            return false;
        }
        let (parent, name) = dentry.place.read().clone();
        let Some(parent) = parent else { return true };
        // Who finds it does so under this lock: nobody but the table and we have it.
        let mut children = parent.children.write();
        let ours = children.get(&name).is_some_and(|known| Arc::ptr_eq(known, dentry));
        if !ours {
            return true;
        }
        // Weak references are used by those who look at `leaving` afterwards.
        dentry.leaving.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let needed = Arc::strong_count(dentry) > 2
            || dentry.mounted.load(Ordering::SeqCst) > 0
            || !dentry.children.read().is_empty();
        let forgotten = if needed { None } else { children.remove(&name) };
        if needed {
            dentry.leaving.store(false, Ordering::SeqCst);
        }
        drop(children);
        forgotten.is_some()
    }
}

/// A file system put somewhere (`mount(2)`).
pub struct Mount {
    /// Number, as in `/proc/self/mountinfo`.
    pub id: u64,
    /// The instance.
    pub fs: Arc<dyn FileSystem>,
    /// Which of its dentries is the root of the mount (bind mounts).
    pub root: Arc<Dentry>,
    /// Where it sits; `None` for the root of the tree or when detached.
    pub at: RwLock<Option<(Weak<Mount>, Arc<Dentry>)>>,
    /// `MS_*` flags: `MS_RDONLY`, `MS_NOSUID`, `MS_NODEV`, `MS_NOEXEC`, ….
    pub flags: AtomicU32,
    /// Source as `/proc/mounts` shows it.
    pub source: String,
}

impl Mount {
    /// The `MS_*` flags.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }
}

/// A place in the tree.
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The dentry in it; never negative.
    pub dentry: Arc<Dentry>,
}

impl Path {
    /// Whether both are the same place.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }
}
