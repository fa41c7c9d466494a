//! A small file system in memory. Lock: one per node, never two at a time but for
//! the directories of a rename, which the VFS serialises.

use crate::sync::{Mutex, RwLock};
use crate::task::Task;
use crate::vfs::{
    Attr, Caching, DirInode, DirSink, FileCx, FileOps, FileSystem, FileType, Inode, InodeRef,
    InodeState, IoDst, IoSrc, NewNode, OpenRequest, Path, SetAttr, SetTime, StatFs,
};
use chitin_abi::Errno;
use chitin_abi::fs::RENAME_EXCHANGE;
use chitin_abi::time::Timespec;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// The instance. [`MemFs::lookups`] counts how often a directory was asked.
pub struct MemFs {
    me: Weak<MemFs>,
    root: RwLock<Option<InodeRef>>,
    next: AtomicU64,
    /// Lookups so far.
    pub lookups: AtomicU64,
    caching: Caching,
}

struct Node {
    fs: Weak<MemFs>,
    me: Weak<Node>,
    attr: Mutex<Attr>,
    data: Mutex<Vec<u8>>,
    entries: Mutex<BTreeMap<Vec<u8>, Arc<Node>>>,
    xattrs: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Where a magic link leads.
    jump: Mutex<Option<Path>>,
    state: InodeState,
}

const START: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
const NOW: Timespec = Timespec { tv_sec: 1_000_000, tv_nsec: 0 };

impl MemFs {
    /// An empty instance.
    pub fn new() -> Arc<Self> {
        Self::with_caching(Caching::Always)
    }

    /// The same with a choice of [`Caching`].
    pub fn with_caching(caching: Caching) -> Arc<Self> {
        let fs = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            root: RwLock::default(),
            next: AtomicU64::new(1),
            lookups: AtomicU64::new(0),
            caching,
        });
        let kind = FileType::Directory;
        let root = fs.node(&NewNode { kind, perm: 0o755, uid: 0, gid: 0, rdev: 0 });
        *fs.root.write() = Some(root);
        fs
    }

    fn node(&self, new: &NewNode) -> Arc<Node> {
        let mut attr = Attr::unnamed(new.kind);
        (attr.dev, attr.ino) = (77, self.next.fetch_add(1, Ordering::Relaxed));
        (attr.perm, attr.uid, attr.gid, attr.rdev) = (new.perm, new.uid, new.gid, new.rdev);
        (attr.atime, attr.mtime, attr.ctime) = (START, START, START);
        Arc::new_cyclic(|me| Node {
            fs: self.me.clone(),
            me: me.clone(),
            attr: Mutex::new(attr),
            data: Mutex::default(),
            entries: Mutex::default(),
            xattrs: Mutex::default(),
            jump: Mutex::default(),
            state: InodeState::default(),
        })
    }

    /// Makes a link in the root directory that leads to a place.
    pub fn magic(&self, name: &str, to: Path) {
        let kind = FileType::Symlink;
        let link = self.node(&NewNode { kind, perm: 0o777, uid: 0, gid: 0, rdev: 0 });
        *link.jump.lock() = Some(to);
        let root = self.root();
        let root: &dyn Any = &*root;
        let root = root.downcast_ref::<Node>().expect("a node");
        root.entries.lock().insert(name.into(), link);
    }
}

impl FileSystem for MemFs {
    fn name(&self) -> &'static str {
        "mem"
    }
    fn dev(&self) -> u64 {
        77
    }
    fn root(&self) -> InodeRef {
        self.root.read().clone().expect("a root")
    }
    fn statfs(&self) -> Result<StatFs, Errno> {
        Ok(StatFs { magic: 0x4d45, block_size: 4096, name_max: 255, ..StatFs::default() })
    }
    fn caching(&self) -> Caching {
        self.caching
    }
}

impl Node {
    fn add(&self, name: &[u8], node: Arc<Node>) -> Result<(), Errno> {
        let mut entries = self.entries.lock();
        if entries.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        entries.insert(name.to_vec(), node);
        Ok(())
    }

    fn kind(&self) -> FileType {
        self.attr.lock().kind
    }
}

impl Inode for Node {
    fn file_type(&self) -> FileType {
        self.kind()
    }
    fn attr(&self) -> Result<Attr, Errno> {
        let mut attr = *self.attr.lock();
        attr.size = self.data.lock().len() as u64;
        Ok(attr)
    }
    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        if let Some(size) = set.size {
            self.data.lock().resize(usize::try_from(size).unwrap(), 0);
        }
        let mut attr = self.attr.lock();
        attr.perm = set.perm.unwrap_or(attr.perm);
        attr.uid = set.uid.unwrap_or(attr.uid);
        attr.gid = set.gid.unwrap_or(attr.gid);
        let time = |set: Option<SetTime>, old| match set {
            None => old,
            Some(SetTime::Now) => NOW,
            Some(SetTime::To(t)) => t,
        };
        attr.atime = time(set.atime, attr.atime);
        attr.mtime = time(set.mtime, attr.mtime);
        Ok(())
    }
    fn file_system(&self) -> Arc<dyn FileSystem> {
        self.fs.upgrade().expect("a file system")
    }
    fn as_dir(&self) -> Option<&dyn DirInode> {
        (self.kind() == FileType::Directory).then_some(self)
    }
    fn open(self: Arc<Self>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        Ok(Box::new(Open(self)))
    }
    fn read_link(&self, _task: &Arc<Task>) -> Result<Vec<u8>, Errno> {
        Ok(self.data.lock().clone())
    }
    fn magic_link(&self, _task: &Arc<Task>) -> Option<Result<Path, Errno>> {
        self.jump.lock().clone().map(Ok)
    }
    fn xattr_get(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.xattrs.lock().get(name).cloned().ok_or(Errno::ENODATA)
    }
    fn xattr_set(&self, name: &[u8], value: &[u8], _flags: u32) -> Result<(), Errno> {
        self.xattrs.lock().insert(name.to_vec(), value.to_vec());
        Ok(())
    }
    fn xattr_list(&self) -> Result<Vec<Vec<u8>>, Errno> {
        Ok(self.xattrs.lock().keys().cloned().collect())
    }
    fn vfs_state(&self) -> &InodeState {
        &self.state
    }
}

fn fs(node: &Node) -> Arc<MemFs> {
    node.fs.upgrade().expect("a file system")
}

impl DirInode for Node {
    fn lookup(&self, _task: &Arc<Task>, name: &[u8]) -> Result<InodeRef, Errno> {
        fs(self).lookups.fetch_add(1, Ordering::Relaxed);
        let found = self.entries.lock().get(name).cloned();
        found.map(|n| n as InodeRef).ok_or(Errno::ENOENT)
    }
    fn create(&self, name: &[u8], new: &NewNode) -> Result<InodeRef, Errno> {
        let node = fs(self).node(new);
        self.add(name, node.clone())?;
        Ok(node)
    }
    fn symlink(&self, name: &[u8], to: &[u8], owner: (u32, u32)) -> Result<InodeRef, Errno> {
        let kind = FileType::Symlink;
        let node =
            fs(self).node(&NewNode { kind, perm: 0o777, uid: owner.0, gid: owner.1, rdev: 0 });
        *node.data.lock() = to.to_vec();
        self.add(name, node.clone())?;
        Ok(node)
    }
    fn link(&self, name: &[u8], inode: &InodeRef) -> Result<(), Errno> {
        let inode: &dyn Any = &**inode;
        let node = inode.downcast_ref::<Node>().expect("a node");
        self.add(name, node.me.upgrade().expect("a node"))?;
        node.attr.lock().nlink += 1;
        Ok(())
    }
    fn unlink(&self, name: &[u8], inode: &InodeRef) -> Result<(), Errno> {
        self.entries.lock().remove(name).ok_or(Errno::ENOENT)?;
        let inode: &dyn Any = &**inode;
        inode.downcast_ref::<Node>().expect("a node").attr.lock().nlink -= 1;
        Ok(())
    }
    fn rmdir(&self, name: &[u8], inode: &InodeRef) -> Result<(), Errno> {
        let inode: &dyn Any = &**inode;
        if !inode.downcast_ref::<Node>().expect("a node").entries.lock().is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.entries.lock().remove(name);
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
        let target = to.entries.lock().get(to_name).cloned();
        if let Some(target) = &target
            && flags & RENAME_EXCHANGE == 0
            && !target.entries.lock().is_empty()
        {
            return Err(Errno::ENOTEMPTY);
        }
        let moved = self.entries.lock().remove(name).ok_or(Errno::ENOENT)?;
        to.entries.lock().insert(to_name.to_vec(), moved);
        if let Some(target) = target.filter(|_| flags & RENAME_EXCHANGE != 0) {
            self.entries.lock().insert(name.to_vec(), target);
        }
        Ok(())
    }
    fn tmpfile(&self, new: &NewNode) -> Result<InodeRef, Errno> {
        let node = fs(self).node(new);
        node.attr.lock().nlink = 0;
        Ok(node)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct Open(Arc<Node>);

impl FileOps for Open {
    fn read(&self, _cx: FileCx<'_>, dst: &mut IoDst<'_>, pos: u64) -> Result<usize, Errno> {
        if self.0.kind() == FileType::Directory {
            return Err(Errno::EISDIR);
        }
        let data = self.0.data.lock();
        let from = usize::try_from(pos).unwrap_or(usize::MAX).min(data.len());
        dst.put(&data[from..])
    }
    fn write(&self, _cx: FileCx<'_>, src: &mut IoSrc<'_>, pos: u64) -> Result<usize, Errno> {
        let mut bytes = vec![0; src.remaining()];
        let n = src.take(&mut bytes)?;
        let mut data = self.0.data.lock();
        let at = usize::try_from(pos).map_err(|_| Errno::EFBIG)?;
        let len = data.len().max(at + n);
        data.resize(len, 0);
        data[at..at + n].copy_from_slice(&bytes[..n]);
        Ok(n)
    }
    fn write_append(&self, cx: FileCx<'_>, src: &mut IoSrc<'_>) -> Result<(u64, usize), Errno> {
        let end = self.0.data.lock().len() as u64;
        let n = self.write(cx, src, end)?;
        Ok((end + n as u64, n))
    }
    fn seekable(&self) -> bool {
        true
    }
    fn read_dir(&self, _cx: FileCx<'_>, pos: u64, sink: &mut dyn DirSink) -> Result<u64, Errno> {
        let entries = self.0.entries.lock();
        let mut at = pos;
        for (name, node) in entries.iter().skip(usize::try_from(pos).unwrap_or(usize::MAX)) {
            let attr = node.attr.lock();
            if !sink.entry(attr.ino, at + 1, attr.kind.dirent_type(), name) {
                break;
            }
            at += 1;
        }
        Ok(at)
    }
    fn fsync(&self, _cx: FileCx<'_>) -> Result<(), Errno> {
        Ok(())
    }
}
