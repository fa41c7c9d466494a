//! Telling `inotify(7)` what happens to files.
//!
//! A [`Watch`] hangs in the [`InodeState`](super::InodeState) of its inode. While there is
//! no watch at all, an event costs one load. What happens to a file is told to those who
//! watch it and, with its name, to those who watch its directory.
//!
//! Lock: one per inode's list, a leaf: nobody is told under it.

use super::{Dentry, File, FileType, InodeRef, Path};
use crate::sync::Mutex;
use chitin_abi::fs::{
    IN_ATTRIB, IN_CLOSE_NOWRITE, IN_CLOSE_WRITE, IN_CREATE, IN_DELETE, IN_DELETE_SELF,
    IN_EXCL_UNLINK, IN_ISDIR, IN_MOVE_SELF, IN_MOVED_FROM, IN_MOVED_TO, O_PATH,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// All watches there are.
static WATCHES: AtomicUsize = AtomicUsize::new(0);
/// Ties the two events of a move together.
static COOKIE: AtomicU32 = AtomicU32::new(1);

/// What happened.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// One of `IN_*`, perhaps with `IN_ISDIR`.
    pub mask: u32,
    /// Entry of the watched directory that it happened to; empty for the file itself.
    pub name: &'a [u8],
    /// What ties two events together.
    pub cookie: u32,
}

/// Who is told.
pub trait Watch: Send + Sync {
    /// Something happened. Called without locks of the file system, but for those of the
    /// directories that change.
    fn event(&self, event: Event<'_>);

    /// The events that are of interest, and `IN_EXCL_UNLINK`.
    fn mask(&self) -> u32;
}

/// The watches of an inode.
#[derive(Default)]
struct Watches(Mutex<Vec<Arc<dyn Watch>>>);

/// Adds a watch to an inode.
pub fn add(inode: &InodeRef, watch: Arc<dyn Watch>) {
    inode.vfs_state().get_or_default::<Watches>().0.lock().push(watch);
    WATCHES.fetch_add(1, Ordering::SeqCst);
}

/// Takes it away.
pub fn remove(inode: &InodeRef, watch: &Arc<dyn Watch>) {
    let Some(watches) = inode.vfs_state().get::<Watches>() else { return };
    let mut list = watches.0.lock();
    let before = list.len();
    list.retain(|w| !Arc::ptr_eq(w, watch));
    WATCHES.fetch_sub(before - list.len(), Ordering::SeqCst);
}

/// All watches there are.
#[must_use]
pub fn count() -> usize {
    WATCHES.load(Ordering::Relaxed)
}

fn idle() -> bool {
    count() == 0
}

fn tell(inode: &InodeRef, event: Event<'_>, unlinked: bool) {
    let Some(watches) = inode.vfs_state().get::<Watches>() else { return };
    let told: Vec<_> = watches.0.lock().clone();
    for watch in told {
        let mask = watch.mask();
        let excluded = unlinked && mask & IN_EXCL_UNLINK != 0;
        // Removal and unmounting are told in any case by who finds them.
        if mask & event.mask & !IN_ISDIR != 0 && !excluded {
            watch.event(event);
        }
    }
}

fn kind_bit(inode: &InodeRef) -> u32 {
    if inode.file_type() == FileType::Directory { IN_ISDIR } else { 0 }
}

/// Something happened to a file: `IN_OPEN`, `IN_ATTRIB` and the like.
pub fn file_event(dentry: &Dentry, mask: u32) {
    if idle() {
        return;
    }
    let Some(inode) = dentry.inode() else { return };
    let mask = mask | kind_bit(&inode);
    let (parent, name) = dentry.place.read().clone();
    if let Some(parent) = parent.and_then(|p| p.inode()) {
        let unlinked = dentry.unlinked.load(Ordering::Relaxed);
        tell(&parent, Event { mask, name: &name, cookie: 0 }, unlinked);
    }
    tell(&inode, Event { mask, name: &[], cookie: 0 }, false);
}

/// The same for an open file.
pub fn open_file_event(file: &File, mask: u32) {
    if idle() || file.flags() & O_PATH != 0 {
        return;
    }
    if let Some(path) = file.path() {
        file_event(&path.dentry, mask);
    }
}

fn entry_event(dir: &Dentry, name: &[u8], of: &InodeRef, mask: u32, cookie: u32) {
    if let Some(dir) = dir.inode() {
        tell(&dir, Event { mask: mask | kind_bit(of), name, cookie }, false);
    }
}

/// A directory has a new entry.
pub fn created(dir: &Dentry, name: &[u8], inode: &InodeRef) {
    if !idle() {
        entry_event(dir, name, inode, IN_CREATE, 0);
    }
}

/// A file has a name more or less.
pub fn links_changed(inode: &InodeRef) {
    if !idle() {
        tell(inode, Event { mask: IN_ATTRIB | kind_bit(inode), name: &[], cookie: 0 }, false);
    }
}

/// An entry was removed from a directory.
pub fn removed(dir: &Dentry, name: &[u8], dentry: &Arc<Dentry>) {
    if idle() {
        return;
    }
    let Some(inode) = dentry.inode() else { return };
    if inode.file_type() != FileType::Directory {
        links_changed(&inode);
    }
    entry_event(dir, name, &inode, IN_DELETE, 0);
    gone(dentry, &inode, 1);
}

/// Tells that a file is no more, if it has no name and nobody but `holders` knows it.
fn gone(dentry: &Arc<Dentry>, inode: &InodeRef, holders: usize) {
    let directory = inode.file_type() == FileType::Directory;
    let named = !directory && inode.attr().is_ok_and(|a| a.nlink > 0);
    if !named && (directory || Arc::strong_count(dentry) <= holders) {
        let Some(watches) = inode.vfs_state().get::<Watches>() else { return };
        let told: Vec<_> = watches.0.lock().clone();
        for watch in told {
            watch.event(Event { mask: IN_DELETE_SELF, name: &[], cookie: 0 });
        }
    }
}

/// One side of a move.
pub struct Moved<'a> {
    /// Directory.
    pub dir: &'a Dentry,
    /// Name in it.
    pub name: &'a [u8],
}

/// A file was moved, perhaps to a name that was that of `replaced`.
pub fn moved(from: &Moved<'_>, to: &Moved<'_>, inode: &InodeRef, replaced: Option<&Arc<Dentry>>) {
    if idle() {
        return;
    }
    let cookie = COOKIE.fetch_add(1, Ordering::Relaxed);
    entry_event(from.dir, from.name, inode, IN_MOVED_FROM, cookie);
    entry_event(to.dir, to.name, inode, IN_MOVED_TO, cookie);
    let old = replaced.and_then(|dentry| Some((dentry, dentry.inode()?)));
    if let Some((_, old)) = &old {
        links_changed(old);
    }
    tell(inode, Event { mask: IN_MOVE_SELF, name: &[], cookie: 0 }, false);
    if let Some((dentry, old)) = &old {
        gone(dentry, old, 1);
    }
}

/// The last descriptor of an open file is gone.
pub(super) fn closed(file: &File) {
    if idle() || file.flags() & O_PATH != 0 {
        return;
    }
    let Some(Path { dentry, .. }) = file.path() else { return };
    file_event(dentry, if file.writable() { IN_CLOSE_WRITE } else { IN_CLOSE_NOWRITE });
    if dentry.unlinked.load(Ordering::Relaxed)
        && let Some(inode) = dentry.inode()
    {
        gone(dentry, &inode, 1);
    }
}
