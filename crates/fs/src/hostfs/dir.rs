//! Directories of a host tree: listing, finding, and the [`DirInode`] operations.

use super::mask::Mask;
use super::node::Node;
use super::{Access, Glanced};
use crate::util::errno;
use chitin_abi::Errno;
use chitin_hostsys::clock;
use chitin_hostsys::files::{self, DirBuffer, DirEntry};
use chitin_kernel::sync::Mutex;
use chitin_kernel::task::Task;
use chitin_kernel::vfs::{
    Attr, Caching, DirInode, DirSink, FileCx, FileOps, FileType, InodeRef, IoDst, Kept, NewNode,
};
use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

const O_DIR_READ: i32 = 0o200_000;
const DT_DIR: u8 = 4;

/// Whether `name` cannot lead out of its directory. The VFS passes no others; the host
/// would follow them.
fn plain(name: &[u8]) -> Result<(), Errno> {
    let bad = matches!(name, b"" | b"." | b"..") || name.contains(&b'/');
    if bad { Err(Errno::EINVAL) } else { Ok(()) }
}

/// A host directory that is being read.
struct Stream {
    fd: Arc<OwnedFd>,
    mask: Option<Arc<Mask>>,
    hidden: bool,
    /// Entries that were read and not yet passed on.
    batch: DirBuffer,
    /// Offset of the next entry.
    at: u64,
    /// There was nothing behind it when the host was asked last.
    ended: bool,
}

impl Stream {
    fn open(node: &Node) -> Result<Self, Errno> {
        let fd = node.at(|dir, name| {
            let name = if name.is_empty() { b"." } else { name };
            files::open_beneath(dir.as_fd(), name, O_DIR_READ, 0)
        })?;
        let fd = Arc::new(fd);
        // Who lists a directory is going to ask for what is in it.
        if !node.is_root && node.known_fd().is_none() {
            node.me()?.keep_fd(&fd);
        }
        let mask = node.mask.clone();
        Ok(Self {
            fd,
            mask,
            hidden: node.hidden(),
            batch: DirBuffer::default(),
            at: 0,
            ended: false,
        })
    }

    /// Whether an entry is there as far as the guest is concerned.
    fn shown(&self, entry: &DirEntry<'_>) -> bool {
        if self.hidden {
            return matches!(entry.name, b"." | b"..");
        }
        let mask = self.mask.as_ref().and_then(|m| m.entry(entry.name));
        entry.kind == DT_DIR || !mask.is_some_and(|m| m.hidden)
    }

    fn read(&mut self, pos: u64, sink: &mut dyn DirSink) -> Result<u64, Errno> {
        if pos != self.at {
            let offset = i64::try_from(pos).map_err(|_| Errno::EINVAL)?;
            files::lseek(self.fd.as_fd(), offset, 0).map_err(|e| errno(&e))?;
            self.batch.clear();
            self.at = pos;
            self.ended = false;
        }
        // The end is told twice: with the last entries, and alone.
        if std::mem::take(&mut self.ended) && self.batch.entry().is_none() {
            return Ok(self.at);
        }
        loop {
            while let Some(entry) = self.batch.entry() {
                let (ino, next, kind) = (entry.ino, entry.next, entry.kind);
                if self.shown(&entry) && !sink.entry(ino, next, kind, entry.name) {
                    return Ok(self.at);
                }
                self.batch.advance();
                self.at = next;
            }
            if !self.batch.fill(self.fd.as_fd()).map_err(|e| errno(&e))? {
                self.ended = true;
                return Ok(self.at);
            }
        }
    }
}

/// An open directory. Lock: one.
pub(super) struct OpenDir(Mutex<Stream>);

impl OpenDir {
    pub(super) fn new(node: &Node) -> Result<Self, Errno> {
        Ok(Self(Mutex::new(Stream::open(node)?)))
    }
}

impl FileOps for OpenDir {
    fn read(&self, _cx: FileCx<'_>, _dst: &mut IoDst<'_>, _pos: u64) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_dir(&self, _cx: FileCx<'_>, pos: u64, sink: &mut dyn DirSink) -> Result<u64, Errno> {
        self.0.lock().read(pos, sink)
    }

    fn fsync(&self, _cx: FileCx<'_>) -> Result<(), Errno> {
        Ok(())
    }
}

impl Node {
    /// The directory behind an interface.
    fn of(dir: &dyn DirInode) -> Result<&Self, Errno> {
        dir.as_any().downcast_ref().ok_or(Errno::EXDEV)
    }

    pub(super) fn child(&self, name: &[u8]) -> Result<Arc<Self>, Errno> {
        if self.hidden() {
            return Err(Errno::ENOENT);
        }
        plain(name)?;
        let me = self.me()?;
        let attr = match self.glanced(name) {
            Some(attr) => attr,
            None => {
                let fd = me.fd()?;
                let stat = files::statx(fd.as_fd(), name).map_err(|e| errno(&e))?;
                self.sup.attr_of(&stat)?
            }
        };
        self.sup.node(&me, name, attr)
    }

    /// What [`DirInode::glance`] has told of a name in this tick of the clock.
    fn glanced(&self, name: &[u8]) -> Option<Attr> {
        let glanced = self.sup.glanced.lock();
        let of = |g: &&Glanced| std::ptr::eq(g.dir.as_ptr(), self) && g.name == name;
        let last = glanced.as_ref().filter(of)?;
        (clock::monotonic_coarse() == last.at).then_some(last.attr)
    }

    /// Nothing may be added to or removed from a masked directory, and masked names
    /// may not be touched.
    fn may_change(&self, name: &[u8]) -> Result<(), Errno> {
        self.sup.writable()?;
        plain(name)?;
        let mask = self.mask.as_ref().and_then(|m| m.entry(name));
        if self.hidden() || mask.is_some_and(|m| m.hidden) {
            return Err(Errno::EACCES);
        }
        self.forget();
        Ok(())
    }

    /// Says that what `node` is has another name now, or none.
    fn placed(node: &Arc<Node>, place: super::node::Place) {
        let old = std::mem::replace(&mut *node.place.lock(), place);
        drop(old);
        node.forget();
    }
}

impl DirInode for Node {
    fn lookup(&self, _task: &Arc<Task>, name: &[u8]) -> Result<InodeRef, Errno> {
        Ok(self.child(name)?)
    }

    fn find(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        Ok(self.child(name)?)
    }

    fn glance(&self, name: &[u8]) -> Result<Option<(Attr, Kept)>, Errno> {
        // What changes through us is told by its node.
        let fixed = self.sup.options.access == Access::ReadOnly
            && self.sup.options.caching == Caching::Always;
        let masked = self.mask.as_ref().is_some_and(|m| m.hidden || m.entry(name).is_some());
        if !fixed || masked {
            return Ok(None);
        }
        plain(name)?;
        let me = self.me()?;
        let fd = me.fd()?;
        let stat = files::statx(fd.as_fd(), name).map_err(|e| errno(&e))?;
        let at = clock::monotonic_coarse();
        let attr = self.sup.attr_of(&stat)?;
        let mut glanced = self.sup.glanced.lock();
        let mut kept = glanced.take().map_or_else(Vec::new, |old| old.name);
        kept.clear();
        kept.extend_from_slice(name);
        *glanced = Some(Glanced { dir: Arc::downgrade(&me), name: kept, attr, at });
        Ok(Some((attr, Kept::Until(at.saturating_add(self.sup.attr_ttl())))))
    }

    fn list(&self, pos: u64, sink: &mut dyn DirSink) -> Result<u64, Errno> {
        Stream::open(self)?.read(pos, sink)
    }

    fn create(&self, name: &[u8], new: &NewNode) -> Result<InodeRef, Errno> {
        self.may_change(name)?;
        self.make(name, new)?;
        Ok(self.child(name)?)
    }

    fn symlink(&self, name: &[u8], target: &[u8], owner: (u32, u32)) -> Result<InodeRef, Errno> {
        self.may_change(name)?;
        let fd = self.me()?.fd()?;
        files::symlinkat(target, fd.as_fd(), name).map_err(|e| errno(&e))?;
        self.give(name, owner);
        Ok(self.child(name)?)
    }

    fn link(&self, name: &[u8], inode: &InodeRef) -> Result<(), Errno> {
        self.may_change(name)?;
        let any: &dyn Any = &**inode;
        let node = any.downcast_ref::<Node>().ok_or(Errno::EXDEV)?;
        let fd = self.me()?.fd()?;
        node.at(|dir, old| files::linkat(dir.as_fd(), old, fd.as_fd(), name))?;
        node.forget();
        Ok(())
    }

    fn unlink(&self, name: &[u8], inode: &InodeRef) -> Result<(), Errno> {
        self.may_change(name)?;
        let fd = self.me()?.fd()?;
        let what = files::Remove::File;
        files::unlinkat(fd.as_fd(), name, what).map_err(|e| errno(&e))?;
        self.lost(name, inode);
        Ok(())
    }

    fn rmdir(&self, name: &[u8], inode: &InodeRef) -> Result<(), Errno> {
        self.may_change(name)?;
        let fd = self.me()?.fd()?;
        let what = files::Remove::Directory;
        files::unlinkat(fd.as_fd(), name, what).map_err(|e| errno(&e))?;
        self.lost(name, inode);
        Ok(())
    }

    fn rename(
        &self,
        name: &[u8],
        to: &dyn DirInode,
        to_name: &[u8],
        flags: u32,
    ) -> Result<(), Errno> {
        let to = Node::of(to)?;
        self.may_change(name)?;
        to.may_change(to_name)?;
        let (here, there) = (self.me()?, to.me()?);
        let moved = self.child(name)?;
        let replaced = to.child(to_name).ok();
        let (a, b) = (here.fd()?, there.fd()?);
        files::renameat2(a.as_fd(), name, b.as_fd(), to_name, flags).map_err(|e| errno(&e))?;
        if let Some(replaced) = replaced {
            let exchange = flags & chitin_abi::fs::RENAME_EXCHANGE != 0;
            Self::placed(&replaced, exchange.then(|| (here, name.into())));
        }
        Self::placed(&moved, Some((there, to_name.into())));
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Node {
    /// `inode` was removed from this directory.
    fn lost(&self, name: &[u8], inode: &InodeRef) {
        let any: Arc<dyn Any + Send + Sync> = inode.clone();
        let Ok(node) = any.downcast::<Node>() else { return };
        node.forget();
        let mut place = node.place.lock();
        let named = place
            .as_ref()
            .is_some_and(|(dir, old)| std::ptr::eq(&raw const **dir, self) && **old == *name);
        let old = if named { place.take() } else { None };
        drop(place);
        drop(old);
        debug_assert!(node.kind != FileType::Directory || node.place.lock().is_none());
    }
}
