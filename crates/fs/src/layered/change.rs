//! Changes of directories of an overlay.

use super::OPAQUE;
use super::copy::restore_times;
use super::dir::entry_of;
use super::node::{Node, is_whiteout};
use chitin_abi::Errno;
use chitin_abi::fs::{RENAME_EXCHANGE, RENAME_NOREPLACE};
use chitin_kernel::task::Task;
use chitin_kernel::vfs::{Attr, DirInode, DirSink, FileType, InodeRef, Kept, NewNode};
use std::any::Any;
use std::sync::Arc;

/// What a whiteout is made of.
const WHITEOUT: NewNode = NewNode { kind: FileType::CharDevice, perm: 0, uid: 0, gid: 0, rdev: 0 };

fn own(inode: &InodeRef) -> Result<Arc<Node>, Errno> {
    let any: Arc<dyn Any + Send + Sync> = inode.clone();
    any.downcast().map_err(|_| Errno::EXDEV)
}

impl Node {
    /// Removes the whiteout of a name from an upper directory; `EEXIST` if something
    /// else is there.
    fn uncover(upper: &InodeRef, name: &[u8]) -> Result<(), Errno> {
        match entry_of(upper, name)? {
            None => Ok(()),
            Some(old) if is_whiteout(&old) => {
                upper.as_dir().ok_or(Errno::ENOTDIR)?.unlink(name, &old)
            }
            Some(_) => Err(Errno::EEXIST),
        }
    }

    /// Covers a name that the lower directory has; the upper one has it no more.
    fn cover(&self, name: &[u8]) -> Result<(), Errno> {
        if self.lower_entry(name)?.is_none() {
            return Ok(());
        }
        let upper = self.upper_dir()?;
        upper.as_dir().ok_or(Errno::ENOTDIR)?.create(name, &WHITEOUT).map(drop)
    }

    /// Adds an entry that `make` creates in the upper directory.
    fn add(
        &self,
        name: &[u8],
        make: impl FnOnce(&dyn DirInode) -> Result<InodeRef, Errno>,
    ) -> Result<Arc<Self>, Errno> {
        self.must_be_dir()?;
        let _change = self.sup.change.lock();
        let upper = self.upper_dir()?;
        let _entries = self.entries.write();
        match entry_of(&upper, name)? {
            Some(old) if is_whiteout(&old) => Self::uncover(&upper, name)?,
            Some(_) => return Err(Errno::EEXIST),
            // What the host does not let us see does not hinder.
            None if self.lower_entry(name).is_ok_and(|e| e.is_some()) => {
                return Err(Errno::EEXIST);
            }
            None => {}
        }
        let dir = upper.as_dir().ok_or(Errno::ENOTDIR)?;
        let made = match make(dir) {
            Ok(made) => made,
            Err(e) => {
                // The lower file stays hidden.
                self.cover(name)?;
                return Err(e);
            }
        };
        if made.file_type() == FileType::Directory {
            made.xattr_set(OPAQUE, b"y", 0)?;
        }
        self.adopt(name, None, Some(made))
    }

    /// The tree has one name less of `node`, which stood in this directory.
    fn lost(&self, name: &[u8], node: &Node, was_upper: bool) {
        if let Some(lower) = &node.lower
            && node.kind != FileType::Directory
            && !was_upper
        {
            self.lower_name_gone(lower, node);
        }
        let mut place = node.place.lock();
        let named = place
            .as_ref()
            .is_some_and(|(dir, old)| std::ptr::eq(&raw const **dir, self) && **old == *name);
        let old = if named { place.take() } else { None };
        drop(place);
        drop(old);
    }

    /// A lower name of a file with several was removed or became an upper one.
    fn lower_name_gone(&self, lower: &InodeRef, node: &Node) {
        let Ok(attr) = lower.attr() else { return };
        if attr.nlink < 2 {
            return;
        }
        let copy = self.sup.with_links(node.id, |known| {
            known.gone = known.gone.saturating_add(1);
            // In the end nobody will look for the copy by a lower name any more.
            if known.gone < attr.nlink { None } else { known.copy.take() }
        });
        drop(copy);
    }

    /// Makes the upper directory have an entry for a node that is found in this
    /// directory; changes are locked, and data has been copied.
    fn materialise(&self, name: &[u8], node: &Node) -> Result<InodeRef, Errno> {
        if node.kind == FileType::Directory {
            return node.upper_dir();
        }
        let upper = node.upper().ok_or(Errno::ESTALE)?.clone();
        let dir = self.upper_dir()?;
        if entry_of(&dir, name)?.is_none() {
            dir.as_dir().ok_or(Errno::ENOTDIR)?.link(name, &upper)?;
            if let Some(lower) = &node.lower {
                self.lower_name_gone(lower, node);
            }
        }
        Ok(upper)
    }

    /// Before an upper directory moves: what it is merged with must not depend on its
    /// name.
    fn unbind(node: &Node, upper: &InodeRef) -> Result<(), Errno> {
        if node.kind != FileType::Directory {
            return Ok(());
        }
        match &node.lower {
            Some(lower) => {
                let ino = upper.number()?;
                node.sup.redirects.lock().insert(ino, lower.clone());
                Ok(())
            }
            None => upper.xattr_set(OPAQUE, b"y", 0),
        }
    }

    /// Removes what stands for nothing in the upper part of an empty directory.
    fn sweep(node: &Node) -> Result<(), Errno> {
        if node.kind != FileType::Directory {
            return Ok(());
        }
        let Some(upper) = node.upper() else { return Ok(()) };
        let dir = upper.as_dir().ok_or(Errno::ENOTDIR)?;
        let mut names = Names::default();
        dir.list(0, &mut names)?;
        for name in names.0 {
            Self::uncover(upper, &name).map_err(|_| Errno::ENOTEMPTY)?;
        }
        Ok(())
    }

    fn remove(&self, name: &[u8], want_dir: bool) -> Result<(), Errno> {
        let _change = self.sup.change.lock();
        let node = {
            let _entries = self.entries.read();
            self.find_locked(name)?
        };
        let is_dir = node.kind == FileType::Directory;
        match (is_dir, want_dir) {
            (true, false) => return Err(Errno::EISDIR),
            (false, true) => return Err(Errno::ENOTDIR),
            _ => {}
        }
        if is_dir && !node.is_empty()? {
            return Err(Errno::ENOTEMPTY);
        }
        let above = self.upper_dir()?;
        let _entries = self.entries.write();
        let dir = above.as_dir().ok_or(Errno::ENOTDIR)?;
        let entry = entry_of(&above, name)?;
        if let Some(upper) = &entry {
            if is_dir {
                Self::sweep(&node)?;
                let ino = upper.number()?;
                dir.rmdir(name, upper)?;
                let redirect = self.sup.redirects.lock().remove(&ino);
                drop(redirect);
            } else {
                dir.unlink(name, upper)?;
            }
        }
        self.cover(name)?;
        self.lost(name, &node, entry.is_some());
        Ok(())
    }

    /// `rename(2)`; changes are locked, data of both has been copied, the entries of
    /// both directories are locked for writing.
    fn move_to(
        &self,
        name: &[u8],
        to: &Node,
        to_name: &[u8],
        flags: u32,
        (node, target): (&Arc<Node>, Option<&Arc<Node>>),
    ) -> Result<(), Errno> {
        let (here, there) = (self.upper_dir()?, to.upper_dir()?);
        let (dir, to_dir) =
            (here.as_dir().ok_or(Errno::ENOTDIR)?, there.as_dir().ok_or(Errno::ENOTDIR)?);
        let upper = self.materialise(name, node)?;
        Self::unbind(node, &upper)?;
        if flags & RENAME_EXCHANGE != 0 {
            let other = target.ok_or(Errno::ENOENT)?;
            let other_upper = to.materialise(to_name, other)?;
            Self::unbind(other, &other_upper)?;
            dir.rename(name, to_dir, to_name, RENAME_EXCHANGE)?;
            let old = (*other.place.lock()).replace((self.me()?, name.into()));
            drop(old);
        } else {
            let replaced = entry_of(&there, to_name)?;
            let was_upper = replaced.as_ref().is_some_and(|r| !is_whiteout(r));
            if let Some(old) = replaced {
                if is_whiteout(&old) && node.kind == FileType::Directory {
                    to_dir.unlink(to_name, &old)?;
                } else if let Some(target) = target {
                    Self::sweep(target)?;
                }
            }
            dir.rename(name, to_dir, to_name, 0)?;
            self.cover(name)?;
            if let Some(target) = target {
                to.lost(to_name, target, was_upper);
            }
        }
        let old = (*node.place.lock()).replace((to.me()?, to_name.into()));
        drop(old);
        Ok(())
    }
}

/// Collects names but for `.` and `..`.
#[derive(Default)]
struct Names(Vec<Box<[u8]>>);

impl DirSink for Names {
    fn entry(&mut self, _ino: u64, _next: u64, _kind: u8, name: &[u8]) -> bool {
        if !matches!(name, b"." | b"..") {
            self.0.push(name.into());
        }
        true
    }
}

impl DirInode for Node {
    fn names_after(&self, name: &[u8], most: usize) -> Vec<Box<[u8]>> {
        let upper = self.upper().filter(|_| self.lower.is_none()).and_then(|dir| dir.as_dir());
        upper.map(|dir| dir.names_after(name, most)).unwrap_or_default()
    }

    fn lookup(&self, _task: &Arc<Task>, name: &[u8]) -> Result<InodeRef, Errno> {
        self.find(name)
    }

    fn find(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        let _entries = self.entries.read();
        Ok(self.find_locked(name)?)
    }

    fn glance(&self, name: &[u8]) -> Result<Option<(Attr, Kept)>, Errno> {
        let _entries = self.entries.read();
        self.glance_locked(name)
    }

    fn list(&self, pos: u64, sink: &mut dyn DirSink) -> Result<u64, Errno> {
        self.list_from(pos, sink)
    }

    fn create(&self, name: &[u8], node: &NewNode) -> Result<InodeRef, Errno> {
        if node.kind == FileType::CharDevice && node.rdev == 0 {
            // It would be taken for a whiteout.
            return Err(Errno::EPERM);
        }
        Ok(self.add(name, |dir| dir.create(name, node))?)
    }

    fn symlink(&self, name: &[u8], target: &[u8], owner: (u32, u32)) -> Result<InodeRef, Errno> {
        Ok(self.add(name, |dir| dir.symlink(name, target, owner))?)
    }

    fn link(&self, name: &[u8], inode: &InodeRef) -> Result<(), Errno> {
        let node = own(inode)?;
        if !Arc::ptr_eq(&node.sup, &self.sup) {
            return Err(Errno::EXDEV);
        }
        if node.kind == FileType::Directory {
            return Err(Errno::EPERM);
        }
        let upper = node.copy_up(u64::MAX)?.clone();
        self.add(name, |dir| dir.link(name, &upper).map(|()| upper.clone())).map(drop)
    }

    fn unlink(&self, name: &[u8], _inode: &InodeRef) -> Result<(), Errno> {
        self.remove(name, false)
    }

    fn rmdir(&self, name: &[u8], _inode: &InodeRef) -> Result<(), Errno> {
        self.remove(name, true)
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
        if flags & !(RENAME_EXCHANGE | RENAME_NOREPLACE) != 0 {
            return Err(Errno::EINVAL);
        }
        // Data is copied before other changes are made to wait. The VFS lets no other
        // rename happen meanwhile.
        let find = |dir: &Node, name: &[u8]| {
            let _entries = dir.entries.read();
            dir.find_locked(name)
        };
        let node = find(self, name)?;
        let target = match find(to, to_name) {
            Ok(target) => Some(target),
            Err(Errno::ENOENT) => None,
            Err(e) => return Err(e),
        };
        let same = std::ptr::eq(self, to) && name == to_name;
        if same || target.as_ref().is_some_and(|t| Arc::ptr_eq(t, &node)) {
            return Ok(());
        }
        if flags & RENAME_NOREPLACE != 0 && target.is_some() {
            return Err(Errno::EEXIST);
        }
        if flags & RENAME_EXCHANGE == 0
            && let Some(target) = &target
        {
            let is_dir = |n: &Node| n.kind == FileType::Directory;
            match (is_dir(&node), is_dir(target)) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) if !target.is_empty()? => return Err(Errno::ENOTEMPTY),
                _ => {}
            }
        }
        node.copy_up(u64::MAX)?;
        if flags & RENAME_EXCHANGE != 0
            && let Some(target) = &target
        {
            target.copy_up(u64::MAX)?;
        }
        let _change = self.sup.change.lock();
        let _here = self.entries.write();
        let _there = (!std::ptr::eq(self, to)).then(|| to.entries.write());
        self.move_to(name, to, to_name, flags, (&node, target.as_ref()))
    }

    fn tmpfile(&self, new: &NewNode) -> Result<InodeRef, Errno> {
        let _change = self.sup.change.lock();
        let upper = self.upper_dir()?;
        let times = upper.attr()?;
        let made = upper.as_dir().ok_or(Errno::ENOTDIR)?.tmpfile(new)?;
        restore_times(&upper, &times);
        let node = self.adopt(b"", None, Some(made))?;
        let unnamed = node.place.lock().take();
        drop(unnamed);
        Ok(node)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
