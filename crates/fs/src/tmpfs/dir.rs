//! [`Dir`]: the entries of a directory, and the [`DirInode`] operations.
//!
//! An entry keeps the cookie it got when it was made (its `d_off` in `getdents(2)`),
//! so that a directory can be read while it changes.

use super::node::{Body, Node};
use crate::util::now;
use chitin_abi::Errno;
use chitin_abi::fs::{RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT};
use chitin_kernel::sync::RwLock;
use chitin_kernel::task::Task;
use chitin_kernel::vfs::{DirInode, DirSink, FileType, Inode, InodeRef, NewNode};
use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What Linux counts for an entry in the size of a directory (`BOGO_DIRENT_SIZE`).
const ENTRY_SIZE: u64 = 20;
/// Cookie of the first entry: `.` and `..` come before.
const FIRST_COOKIE: u64 = 2;
/// What stays behind with `RENAME_WHITEOUT`.
const WHITEOUT: NewNode = NewNode { kind: FileType::CharDevice, perm: 0, uid: 0, gid: 0, rdev: 0 };
/// Most hard links of a file.
const LINK_MAX: u32 = 65000;

#[derive(Default)]
struct Entries {
    by_name: BTreeMap<Box<[u8]>, (u64, Arc<Node>)>,
    by_cookie: BTreeMap<u64, Box<[u8]>>,
    next_cookie: u64,
    /// It has been removed: nothing may be added.
    dead: bool,
}

impl Entries {
    fn insert(&mut self, name: &[u8], node: Arc<Node>) {
        self.next_cookie = self.next_cookie.max(FIRST_COOKIE) + 1;
        let cookie = self.next_cookie - 1;
        self.by_cookie.insert(cookie, name.into());
        self.by_name.insert(name.into(), (cookie, node));
    }

    fn remove(&mut self, name: &[u8]) -> Option<Arc<Node>> {
        let (cookie, node) = self.by_name.remove(name)?;
        self.by_cookie.remove(&cookie);
        Some(node)
    }

    /// Replaces what an entry names; the cookie stays.
    fn replace(&mut self, name: &[u8], node: Arc<Node>) {
        if let Some(entry) = self.by_name.get_mut(name) {
            entry.1 = node;
        }
    }
}

/// The entries of a directory. Lock: one.
#[derive(Default)]
pub(super) struct Dir {
    entries: RwLock<Entries>,
    parent: AtomicU64,
}

impl Dir {
    pub(super) fn set_parent(&self, ino: u64) {
        self.parent.store(ino, Ordering::Relaxed);
    }

    pub(super) fn size(&self) -> u64 {
        (self.entries.read().by_name.len() as u64 + 2) * ENTRY_SIZE
    }

    fn get(&self, name: &[u8]) -> Result<Arc<Node>, Errno> {
        let entries = self.entries.read();
        entries.by_name.get(name).map(|e| e.1.clone()).ok_or(Errno::ENOENT)
    }

    /// Removes and returns all entries, for taking a tree apart.
    pub(super) fn take_all(&self) -> Vec<Arc<Node>> {
        let mut entries = self.entries.write();
        entries.by_cookie.clear();
        std::mem::take(&mut entries.by_name).into_values().map(|e| e.1).collect()
    }

    /// Marks it as removed if it is empty.
    fn kill(&self) -> Result<(), Errno> {
        let mut entries = self.entries.write();
        if !entries.by_name.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        entries.dead = true;
        Ok(())
    }
}

fn is_dir(node: &Node) -> bool {
    node.dir().is_some()
}

impl Node {
    /// Adds an entry; the tree is locked. Keeps the count of links and `..`.
    fn add(&self, name: &[u8], node: &Arc<Node>) -> Result<(), Errno> {
        let dir = self.dir().ok_or(Errno::ENOTDIR)?;
        let mut entries = dir.entries.write();
        if entries.dead {
            return Err(Errno::ENOENT);
        }
        if entries.by_name.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        if name.is_empty() || name.len() as u64 > super::NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if let Some(sub) = node.dir() {
            sub.set_parent(self.ino);
            self.meta.lock().nlink += 1;
        } else {
            node.meta.lock().nlink += 1;
        }
        entries.insert(name, node.clone());
        drop(entries);
        self.touch(true);
        Ok(())
    }

    /// Says that `node` lost its name in this directory.
    fn dropped(&self, node: &Node) {
        let at = now();
        if is_dir(node) {
            let mut meta = self.meta.lock();
            meta.nlink = meta.nlink.saturating_sub(1);
            drop(meta);
            node.meta.lock().nlink = 0;
        } else {
            let mut meta = node.meta.lock();
            meta.nlink = meta.nlink.saturating_sub(1);
        }
        node.meta.lock().ctime = at;
    }

    fn make(&self, name: &[u8], node: Arc<Node>) -> Result<InodeRef, Errno> {
        let _tree = self.sup.tree.lock();
        self.add(name, &node)?;
        Ok(node)
    }

    /// `..` of a directory that moves from one to another, and both counts of links.
    fn moved(node: &Node, from: &Node, to: &Node) {
        if let Some(dir) = node.dir()
            && from.ino != to.ino
        {
            dir.set_parent(to.ino);
            let mut meta = from.meta.lock();
            meta.nlink = meta.nlink.saturating_sub(1);
            drop(meta);
            to.meta.lock().nlink += 1;
        }
    }

    fn exchange(&self, name: &[u8], to: &Node, to_name: &[u8]) -> Result<(), Errno> {
        let (here, there) = (self.dir().ok_or(Errno::ENOTDIR)?, to.dir().ok_or(Errno::ENOTDIR)?);
        let (a, b) = (here.get(name)?, there.get(to_name)?);
        here.entries.write().replace(name, b.clone());
        there.entries.write().replace(to_name, a.clone());
        Self::moved(&a, self, to);
        Self::moved(&b, to, self);
        a.touch(false);
        b.touch(false);
        Ok(())
    }

    fn move_entry(&self, name: &[u8], to: &Node, to_name: &[u8], flags: u32) -> Result<(), Errno> {
        let (here, there) = (self.dir().ok_or(Errno::ENOTDIR)?, to.dir().ok_or(Errno::ENOTDIR)?);
        let node = here.get(name)?;
        let old = there.get(to_name).ok();
        if there.entries.read().dead {
            return Err(Errno::ENOENT);
        }
        if let Some(old) = &old {
            if flags & RENAME_NOREPLACE != 0 {
                return Err(Errno::EEXIST);
            }
            if Arc::ptr_eq(old, &node) {
                return Ok(());
            }
            match (is_dir(&node), is_dir(old)) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                _ => {}
            }
            if let Some(dir) = old.dir() {
                dir.kill()?;
            }
            to.dropped(old);
            there.entries.write().replace(to_name, node.clone());
        } else {
            there.entries.write().insert(to_name, node.clone());
        }
        here.entries.write().remove(name);
        Self::moved(&node, self, to);
        node.touch(false);
        Ok(())
    }

    /// Lists entries from cookie `pos` on.
    pub(super) fn read_entries(&self, pos: u64, sink: &mut dyn DirSink) -> Result<u64, Errno> {
        let dir = self.dir().ok_or(Errno::ENOTDIR)?;
        let d_type = FileType::Directory.dirent_type();
        if pos == 0 && !sink.entry(self.ino, 1, d_type, b".") {
            return Ok(0);
        }
        let parent = dir.parent.load(Ordering::Relaxed);
        if pos <= 1 && !sink.entry(parent, FIRST_COOKIE, d_type, b"..") {
            return Ok(1);
        }
        // Entries are taken out in pieces: the sink may copy to guest memory.
        let mut at = pos.max(FIRST_COOKIE);
        loop {
            let entries = dir.entries.read();
            let piece: Vec<_> = entries
                .by_cookie
                .range(at..)
                .take(64)
                .filter_map(|(&cookie, name)| {
                    let node = &entries.by_name.get(name)?.1;
                    Some((cookie, name.clone(), node.ino, node.file_type().dirent_type()))
                })
                .collect();
            drop(entries);
            if piece.is_empty() {
                return Ok(at);
            }
            for (cookie, name, ino, kind) in piece {
                if !sink.entry(ino, cookie + 1, kind, &name) {
                    return Ok(cookie);
                }
                at = cookie + 1;
            }
        }
    }
}

/// The node behind an inode of this file system.
fn own(inode: &InodeRef) -> Result<Arc<Node>, Errno> {
    let any: Arc<dyn Any + Send + Sync> = inode.clone();
    any.downcast().map_err(|_| Errno::EXDEV)
}

impl DirInode for Node {
    fn lookup(&self, _task: &Arc<Task>, name: &[u8]) -> Result<InodeRef, Errno> {
        self.find(name)
    }

    fn create(&self, name: &[u8], new: &NewNode) -> Result<InodeRef, Errno> {
        self.make(name, Node::create(&self.sup, new)?)
    }

    fn symlink(&self, name: &[u8], target: &[u8], owner: (u32, u32)) -> Result<InodeRef, Errno> {
        let kind = FileType::Symlink;
        let new = NewNode { kind, perm: 0o777, uid: owner.0, gid: owner.1, rdev: 0 };
        self.sup.budget.take_inode()?;
        self.make(name, Node::new(&self.sup, &new, Body::Link(target.to_vec())))
    }

    fn link(&self, name: &[u8], inode: &InodeRef) -> Result<(), Errno> {
        let node = own(inode)?;
        if !Arc::ptr_eq(&node.sup, &self.sup) {
            return Err(Errno::EXDEV);
        }
        if is_dir(&node) {
            return Err(Errno::EPERM);
        }
        if node.meta.lock().nlink >= LINK_MAX {
            return Err(Errno::EMLINK);
        }
        let _tree = self.sup.tree.lock();
        self.add(name, &node)?;
        node.touch(false);
        Ok(())
    }

    fn unlink(&self, name: &[u8], _inode: &InodeRef) -> Result<(), Errno> {
        let _tree = self.sup.tree.lock();
        let dir = self.dir().ok_or(Errno::ENOTDIR)?;
        if is_dir(&*dir.get(name)?) {
            return Err(Errno::EISDIR);
        }
        let node = dir.entries.write().remove(name).ok_or(Errno::ENOENT)?;
        self.dropped(&node);
        self.touch(true);
        Ok(())
    }

    fn rmdir(&self, name: &[u8], _inode: &InodeRef) -> Result<(), Errno> {
        let _tree = self.sup.tree.lock();
        let dir = self.dir().ok_or(Errno::ENOTDIR)?;
        let node = dir.get(name)?;
        node.dir().ok_or(Errno::ENOTDIR)?.kill()?;
        dir.entries.write().remove(name);
        self.dropped(&node);
        self.touch(true);
        Ok(())
    }

    fn rename(
        &self,
        name: &[u8],
        to: &dyn DirInode,
        to_name: &[u8],
        flags: u32,
    ) -> Result<(), Errno> {
        let to = to.as_any().downcast_ref::<Node>().ok_or(Errno::EXDEV)?;
        if !Arc::ptr_eq(&to.sup, &self.sup) {
            return Err(Errno::EXDEV);
        }
        if flags & !(RENAME_EXCHANGE | RENAME_NOREPLACE | RENAME_WHITEOUT) != 0 {
            return Err(Errno::EINVAL);
        }
        let whiteout = match flags & RENAME_WHITEOUT != 0 {
            true => Some(Self::create(&self.sup, &WHITEOUT)?),
            false => None,
        };
        let _tree = self.sup.tree.lock();
        if flags & RENAME_EXCHANGE != 0 {
            self.exchange(name, to, to_name)?;
        } else {
            self.move_entry(name, to, to_name, flags)?;
            if let Some(whiteout) = whiteout {
                self.add(name, &whiteout)?;
            }
        }
        self.touch(true);
        to.touch(true);
        Ok(())
    }

    fn tmpfile(&self, new: &NewNode) -> Result<InodeRef, Errno> {
        Ok(Node::create(&self.sup, &NewNode { kind: FileType::Regular, ..*new })?)
    }

    fn find(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        Ok(self.dir().ok_or(Errno::ENOTDIR)?.get(name)?)
    }

    fn names_after(&self, name: &[u8], most: usize) -> Vec<Box<[u8]>> {
        let Some(dir) = self.dir() else { return Vec::new() };
        let entries = dir.entries.read();
        let behind = (Bound::Excluded(name), Bound::Unbounded);
        entries.by_name.range::<[u8], _>(behind).take(most).map(|(name, _)| name.clone()).collect()
    }

    fn list(&self, pos: u64, sink: &mut dyn DirSink) -> Result<u64, Errno> {
        self.read_entries(pos, sink)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
