//! Copying files up.

use super::node::{Id, Node, origin_value};
use super::{ORIGIN, PRIVATE};
use chitin_abi::Errno;
use chitin_kernel::changes;
use chitin_kernel::vfs::{Attr, FileType, InodeRef, NewNode, SetAttr, SetTime};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes that are copied at once.
const STEP: usize = 128 << 10;
/// Longest target of a symbolic link (`PATH_MAX`).
const LINK_MAX: usize = 4096;

/// What is created for a file with these attributes.
fn like(a: &Attr) -> NewNode {
    NewNode { kind: a.kind, perm: a.perm, uid: a.uid, gid: a.gid, rdev: a.rdev }
}

/// Copies the first `limit` bytes of data; a piece of nothing but zeroes stays a hole.
fn copy_data(from: &InodeRef, to: &InodeRef, size: u64, limit: u64) -> Result<(), Errno> {
    let end = size.min(limit);
    let mut buf = vec![0; STEP.min(usize::try_from(end).unwrap_or(STEP))];
    let mut at = 0;
    while at < end {
        let want = buf.len().min(usize::try_from(end - at).unwrap_or(buf.len()));
        let n = from.read_at(at, buf.get_mut(..want).unwrap_or_default())?;
        if n == 0 {
            break;
        }
        let piece = buf.get(..n).unwrap_or_default();
        if piece.iter().any(|&b| b != 0) && to.write_at(at, piece)? < n {
            return Err(Errno::ENOSPC);
        }
        at += n as u64;
    }
    to.set_attr(&SetAttr { size: Some(at.max(end)), ..SetAttr::default() })
}

/// Gives the copy what creation did not: extended attributes, mode and times.
fn copy_meta(from: &InodeRef, a: &Attr, to: &InodeRef) -> Result<(), Errno> {
    for name in from.xattr_list().unwrap_or_default() {
        // What the upper tree does not take is left behind, as overlayfs does it.
        if !name.starts_with(PRIVATE)
            && let Ok(value) = from.xattr_get(&name)
        {
            let _ = to.xattr_set(&name, &value, 0);
        }
    }
    to.xattr_set(ORIGIN, &origin_value((a.dev, a.ino)), 0)?;
    to.set_attr(&SetAttr {
        perm: (a.kind != FileType::Symlink).then_some(a.perm),
        uid: Some(a.uid),
        gid: Some(a.gid),
        size: None,
        atime: Some(SetTime::To(a.atime)),
        mtime: Some(SetTime::To(a.mtime)),
    })
}

impl Node {
    /// The upper file; if there is none yet, a copy is made, of the first `limit` bytes
    /// of its data. No lock may be held.
    pub(super) fn copy_up(&self, limit: u64) -> Result<&InodeRef, Errno> {
        if let Some(upper) = self.upper() {
            return Ok(upper);
        }
        let _changing = changes::begin();
        if self.kind == FileType::Directory {
            let _change = self.sup.change.lock();
            self.upper_dir()?;
            return self.upper().ok_or(Errno::ESTALE);
        }
        let _copying = self.copying.lock();
        if let Some(upper) = self.upper() {
            return Ok(upper);
        }
        let lower = self.lower.clone().ok_or(Errno::ENOENT)?;
        let attr = lower.attr()?;
        // Data is copied before other changes are made to wait.
        let unnamed = match self.kind {
            FileType::Regular => {
                let root = self.sup.upper.root();
                let dir = root.as_dir().ok_or(Errno::ENOTDIR)?;
                let copy = dir.tmpfile(&like(&attr))?;
                copy_data(&lower, &copy, attr.size, limit)?;
                copy_meta(&lower, &attr, &copy)?;
                Some(copy)
            }
            _ => None,
        };
        let _change = self.sup.change.lock();
        let place = self.place.lock().clone();
        let copy = match place {
            Some((parent, name)) => self.name_copy(&parent, &name, &lower, &attr, unnamed)?,
            // It has no name any more, but is open.
            None => unnamed.ok_or(Errno::ENOENT)?,
        };
        self.has_upper(&copy);
        self.copied.store(true, Ordering::Release);
        self.upper().ok_or(Errno::ESTALE)
    }

    /// Enters the copy of a file that is no directory into the upper tree.
    fn name_copy(
        &self,
        parent: &Arc<Self>,
        name: &[u8],
        lower: &InodeRef,
        attr: &Attr,
        unnamed: Option<InodeRef>,
    ) -> Result<InodeRef, Errno> {
        let above = parent.upper_dir()?;
        let dir = above.as_dir().ok_or(Errno::ENOTDIR)?;
        let _entries = parent.entries.write();
        let times = above.attr()?;
        let copy = match unnamed {
            Some(copy) => copy,
            None => {
                let copy = if attr.kind == FileType::Symlink {
                    let mut target = vec![0; LINK_MAX];
                    let n = lower.read_at(0, &mut target)?;
                    target.truncate(n);
                    dir.symlink(name, &target, (attr.uid, attr.gid))?
                } else {
                    dir.create(name, &like(attr))?
                };
                copy_meta(lower, attr, &copy)?;
                copy
            }
        };
        self.known_as(&copy)?;
        if attr.nlink > 1 {
            self.sup.with_links((attr.dev, attr.ino), |known| {
                known.copy = Some(copy.clone());
                known.gone += 1;
            });
        }
        if attr.kind == FileType::Regular {
            dir.link(name, &copy)?;
        }
        // The directory has not changed for anybody.
        restore_times(&above, &times);
        Ok(copy)
    }

    /// Makes the node be found by its upper file.
    pub(super) fn known_as(&self, upper: &InodeRef) -> Result<(), Errno> {
        let ino = upper.number()?;
        self.sup.nodes.lock().insert(Id::Upper(ino), self.me.clone());
        Ok(())
    }

    /// The upper directory; made, with all above it, if there is none yet. Changes are
    /// locked.
    pub(super) fn upper_dir(&self) -> Result<InodeRef, Errno> {
        let mut missing = Vec::new();
        let mut at = self.me()?;
        let mut upper = loop {
            if let Some(upper) = at.upper() {
                break upper.clone();
            }
            let (parent, name) = at.place.lock().clone().ok_or(Errno::ENOENT)?;
            missing.push((at, name));
            at = parent;
        };
        while let Some((node, name)) = missing.pop() {
            let lower = node.lower.clone().ok_or(Errno::ENOENT)?;
            let attr = lower.attr()?;
            let times = upper.attr()?;
            let copy = upper.as_dir().ok_or(Errno::ENOTDIR)?.create(&name, &like(&attr))?;
            copy_meta(&lower, &attr, &copy)?;
            restore_times(&upper, &times);
            node.known_as(&copy)?;
            node.has_upper(&copy);
            upper = copy;
        }
        Ok(upper)
    }
}

/// Undoes what an entry that only we see did to the times of its directory.
pub(super) fn restore_times(dir: &InodeRef, a: &Attr) {
    let _ = dir.set_attr(&SetAttr {
        atime: Some(SetTime::To(a.atime)),
        mtime: Some(SetTime::To(a.mtime)),
        ..SetAttr::default()
    });
}
