//! [`Node`]: an inode of a host tree, and its [`Inode`] operations.

use super::file::{HostMap, OpenFile};
use super::mask::Mask;
use super::{Access, Super, Unmapped};
use crate::hostfs::dir::OpenDir;
use crate::util::{copy_from, errno};
use chitin_abi::Errno;
use chitin_abi::fs::makedev;
use chitin_abi::time::Timespec;
use chitin_hostsys::files::{self, Stat};
use chitin_kernel::changes;
use chitin_kernel::sync::Mutex;
use chitin_kernel::task::Task;
use chitin_kernel::vfs::{
    Attr, DirInode, FileOps, FileSystem, FileType, Inode, InodeState, Kept, OpenRequest, SetAttr,
};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// What the host shows for an owner that has no mapping.
const OVERFLOW: u32 = 65534;
/// How much longer than others the attributes are believed that decide who may search a
/// directory: the host decides for itself, too.
const ACCESS_TTL: u64 = 20;
/// Components of a path that are resolved in one call.
const STEPS: usize = 8;
const O_DIR_PATH: i32 = 0o010_000_000 | 0o200_000;

/// Where a file was found; `None` for the root and for what has lost its name.
pub(super) type Place = Option<(Arc<Node>, Box<[u8]>)>;

/// An inode.
pub(super) struct Node {
    me: Weak<Node>,
    pub(super) sup: Arc<Super>,
    pub(super) kind: FileType,
    pub(super) is_root: bool,
    pub(super) place: Mutex<Place>,
    /// What is hidden below.
    pub(super) mask: Option<Arc<Mask>>,
    /// The descriptor of a directory.
    dir: Mutex<Option<Arc<OwnedFd>>>,
    /// It was used since the budget was enforced last.
    used: AtomicBool,
    /// Attributes as last seen, and when (`CLOCK_MONOTONIC`).
    seen: Mutex<(Attr, u64)>,
    /// Open for reading, and for reading and writing.
    pub(super) open: Mutex<[Weak<HostMap>; 2]>,
    /// Held while data is appended.
    pub(super) append: Mutex<()>,
    /// Target of a symbolic link that nobody changes through us.
    pub(super) link: Mutex<Option<Box<[u8]>>>,
    /// It is in the table of the instance.
    shared: AtomicBool,
    state: InodeState,
}

impl Super {
    pub(super) fn attr_of(&self, s: &Stat) -> Result<Attr, Errno> {
        let time = |t: (i64, u32)| Timespec { tv_sec: t.0, tv_nsec: i64::from(t.1) };
        let id = |id: u32| match self.options.unmapped {
            Unmapped::Root if id == OVERFLOW => 0,
            _ => id,
        };
        Ok(Attr {
            dev: u64::from(makedev(s.dev.0, s.dev.1)),
            ino: s.ino,
            kind: FileType::from_mode(s.mode).ok_or(Errno::EIO)?,
            perm: s.mode & 0o7777,
            nlink: s.nlink,
            uid: id(s.uid),
            gid: id(s.gid),
            rdev: u64::from(makedev(s.rdev.0, s.rdev.1)),
            size: s.size,
            blksize: s.blksize,
            blocks: s.blocks,
            atime: time(s.atime),
            mtime: time(s.mtime),
            ctime: time(s.ctime),
            btime: s.btime.map(time),
        })
    }

    /// The node for what was found at a place.
    pub(super) fn node(
        self: &Arc<Self>,
        parent: &Arc<Node>,
        name: &[u8],
        attr: Attr,
    ) -> Result<Arc<Node>, Errno> {
        let mask = parent.mask.as_ref().and_then(|m| m.entry(name));
        if mask.as_ref().is_some_and(|m| m.hidden) && attr.kind != FileType::Directory {
            return Err(Errno::ENOENT);
        }
        let place = Some((parent.clone(), name.into()));
        let key = (attr.dev, attr.ino);
        // A masked directory must not be found again by another name, nor the reverse.
        let shared = mask.is_none() && self.shares(&attr);
        let known = || self.nodes.lock().get(&key).and_then(Weak::upgrade);
        if shared && let Some(known) = known() {
            let born = known.seen.lock().0.btime.map(|t| (t.tv_sec, t.tv_nsec));
            if known.kind == attr.kind && born == attr.btime.map(|t| (t.tv_sec, t.tv_nsec)) {
                let old = std::mem::replace(&mut *known.place.lock(), place);
                drop(old);
                known.saw(attr);
                return Ok(known);
            }
        }
        let node = Node::new(self, attr, place, mask);
        if shared {
            node.shared.store(true, Ordering::Relaxed);
            self.nodes.lock().insert(key, Arc::downgrade(&node));
        }
        Ok(node)
    }

    /// Counts a directory that has been opened, and closes others above the budget.
    fn opened(&self, node: &Arc<Node>) {
        let mut dirs = self.dirs.lock();
        dirs.push_back(Arc::downgrade(node));
        let mut closing = Vec::new();
        let mut chances = dirs.len();
        while dirs.len() > self.options.open_dirs.max(1) {
            let Some(weak) = dirs.pop_front() else { break };
            let Some(old) = weak.upgrade() else { continue };
            if chances > 0 && old.used.swap(false, Ordering::Relaxed) {
                chances -= 1;
                dirs.push_back(weak);
                continue;
            }
            closing.push(old);
        }
        drop(dirs);
        for old in closing {
            drop(old.dir.lock().take());
        }
    }
}

impl Node {
    fn new(sup: &Arc<Super>, attr: Attr, place: Place, mask: Option<Arc<Mask>>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            sup: sup.clone(),
            kind: attr.kind,
            is_root: place.is_none(),
            place: Mutex::new(place),
            mask,
            dir: Mutex::default(),
            used: AtomicBool::new(false),
            seen: Mutex::new((attr, chitin_hostsys::clock::monotonic_coarse())),
            open: Mutex::default(),
            append: Mutex::default(),
            link: Mutex::default(),
            shared: AtomicBool::new(false),
            state: InodeState::default(),
        })
    }

    pub(super) fn root(sup: &Arc<Super>) -> Arc<Self> {
        let stat = files::statx(sup.root.as_fd(), b"");
        let attr = stat.ok().and_then(|s| sup.attr_of(&s).ok());
        let attr = attr.unwrap_or(EMPTY);
        Self::new(sup, attr, None, sup.mask.clone())
    }

    /// Itself, shared.
    pub(super) fn me(&self) -> Result<Arc<Self>, Errno> {
        self.me.upgrade().ok_or(Errno::ESTALE)
    }

    /// Whether this directory is to look empty.
    pub(super) fn hidden(&self) -> bool {
        self.mask.as_ref().is_some_and(|m| m.hidden)
    }

    /// Its descriptor, if it is a directory (`O_PATH`).
    pub(super) fn fd(self: &Arc<Self>) -> Result<Arc<OwnedFd>, Errno> {
        if self.is_root {
            return Ok(self.sup.root.clone());
        }
        if let Some(fd) = self.known_fd() {
            return Ok(fd);
        }
        let fd = self.open_dir()?;
        self.keep_fd(&fd);
        Ok(fd)
    }

    /// Keeps a descriptor of this directory.
    pub(super) fn keep_fd(self: &Arc<Self>, fd: &Arc<OwnedFd>) {
        let old = self.dir.lock().replace(fd.clone());
        if old.is_none() {
            self.sup.opened(self);
        }
    }

    fn open_dir(self: &Arc<Self>) -> Result<Arc<OwnedFd>, Errno> {
        if self.kind != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        // Up to the nearest open directory, and down from there.
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let mut at = self.clone();
        let mut fd = loop {
            let (parent, name) = at.place.lock().clone().ok_or(Errno::ESTALE)?;
            names.push(name);
            at = parent;
            if at.is_root {
                break self.sup.root.clone();
            }
            if let Some(fd) = at.known_fd() {
                break fd;
            }
        };
        names.reverse();
        for some in names.chunks(STEPS) {
            let path = some.join(&b'/');
            let next = files::open_beneath(fd.as_fd(), &path, O_DIR_PATH, 0);
            fd = Arc::new(next.map_err(|e| errno(&e))?);
        }
        Ok(fd)
    }

    pub(super) fn known_fd(&self) -> Option<Arc<OwnedFd>> {
        let fd = self.dir.lock().clone()?;
        self.used.store(true, Ordering::Relaxed);
        Some(fd)
    }

    /// The descriptor of a root that is a file: for reading, or for reading and writing.
    pub(super) fn root_file(&self, access: Access) -> Option<Result<OwnedFd, Errno>> {
        if !self.is_root || self.kind != FileType::Regular {
            return None;
        }
        let fd = match access {
            Access::ReadOnly => Some(&*self.sup.root),
            Access::ReadWrite => self.sup.root_write.as_ref(),
        };
        Some(fd.ok_or(Errno::EROFS).and_then(|fd| fd.try_clone().map_err(|e| errno(&e))))
    }

    /// Calls `f` with the directory and name under which the host knows this file; the
    /// name is empty for the root.
    pub(super) fn at<T>(
        &self,
        f: impl FnOnce(&OwnedFd, &[u8]) -> std::io::Result<T>,
    ) -> Result<T, Errno> {
        if self.is_root {
            return f(&self.sup.root, b"").map_err(|e| errno(&e));
        }
        let (parent, name) = self.place.lock().clone().ok_or(Errno::ENOENT)?;
        f(&*parent.fd()?, &name).map_err(|e| errno(&e))
    }

    /// Remembers attributes that the host has just told.
    pub(super) fn saw(&self, attr: Attr) {
        let mut seen = self.seen.lock();
        // The host has changed it: nobody may be told the old attributes any more.
        let _changing = (!is_alike(&seen.0, &attr)).then(changes::begin);
        let old = (seen.0.dev, seen.0.ino);
        let same = old == (attr.dev, attr.ino);
        *seen = (attr, chitin_hostsys::clock::monotonic_coarse());
        drop(seen);
        if !same {
            // Another file is there now: who opens it must not get the old one.
            *self.open.lock() = Default::default();
            *self.link.lock() = None;
            let mut nodes = self.sup.nodes.lock();
            if nodes.get(&old).is_some_and(|weak| weak.ptr_eq(&self.me)) {
                nodes.remove(&old);
            }
        }
    }

    /// Attributes, if they were seen so recently that they are believed.
    pub(super) fn fresh(&self) -> Option<Attr> {
        let (attr, at) = *self.seen.lock();
        let age = chitin_hostsys::clock::monotonic_coarse().saturating_sub(at);
        (age < self.sup.attr_ttl()).then_some(attr)
    }

    /// Makes the next question for attributes go to the host.
    pub(super) fn forget(&self) {
        let _changing = changes::begin();
        self.seen.lock().1 = 0;
    }

    fn ask(&self) -> Result<Attr, Errno> {
        let stat = match self.at(|dir, name| files::statx(dir.as_fd(), name)) {
            // It has lost its name, but may be open.
            Err(Errno::ENOENT) => {
                let open = self.open.lock().iter().find_map(Weak::upgrade);
                match open {
                    Some(map) => files::statx(map.fd.as_fd(), b"").map_err(|e| errno(&e))?,
                    None => {
                        let gone = self.place.lock().is_none();
                        let last = self.seen.lock().0;
                        return if gone {
                            Ok(Attr { nlink: 0, ..last })
                        } else {
                            Err(Errno::ENOENT)
                        };
                    }
                }
            }
            other => other?,
        };
        let attr = self.sup.attr_of(&stat)?;
        if attr.kind != self.kind {
            return Err(Errno::ESTALE);
        }
        self.saw(attr);
        Ok(attr)
    }
}

/// Whether nobody could tell these attributes apart.
fn is_alike(a: &Attr, b: &Attr) -> bool {
    let numbers = |a: &Attr| (a.dev, a.ino, a.nlink, a.uid, a.gid, a.rdev, a.size, a.blocks);
    let times = |a: &Attr| [a.atime, a.mtime, a.ctime].map(|t| (t.tv_sec, t.tv_nsec));
    numbers(a) == numbers(b) && a.mode() == b.mode() && times(a) == times(b)
}

/// Attributes of a root that the host does not tell about.
const EMPTY: Attr = Attr {
    dev: 0,
    ino: 1,
    kind: FileType::Directory,
    perm: 0o755,
    nlink: 2,
    uid: 0,
    gid: 0,
    rdev: 0,
    size: 0,
    blksize: 4096,
    blocks: 0,
    atime: Timespec { tv_sec: 0, tv_nsec: 0 },
    mtime: Timespec { tv_sec: 0, tv_nsec: 0 },
    ctime: Timespec { tv_sec: 0, tv_nsec: 0 },
    btime: None,
};

impl Drop for Node {
    fn drop(&mut self) {
        if self.shared.load(Ordering::Relaxed) {
            let key = {
                let seen = self.seen.lock();
                (seen.0.dev, seen.0.ino)
            };
            let mut nodes = self.sup.nodes.lock();
            if nodes.get(&key).is_some_and(|weak| weak.strong_count() == 0) {
                nodes.remove(&key);
            }
        }
        // Parents are let go one by one: recursion could go arbitrarily deep.
        let mut next = self.place.lock().take();
        while let Some((parent, _)) = next {
            next = Arc::into_inner(parent).and_then(|p| p.place.lock().take());
        }
    }
}

impl Inode for Node {
    fn file_type(&self) -> FileType {
        self.kind
    }

    fn attr(&self) -> Result<Attr, Errno> {
        self.fresh().map_or_else(|| self.ask(), Ok)
    }

    fn attr_kept(&self) -> Result<(Attr, Kept), Errno> {
        let attr = self.attr()?;
        let seen = self.seen.lock().1;
        Ok((attr, Kept::Until(seen.saturating_add(self.sup.attr_ttl()))))
    }

    fn access_attr(&self) -> Result<Attr, Errno> {
        let (attr, at) = *self.seen.lock();
        let long = self.sup.attr_ttl().saturating_mul(ACCESS_TTL);
        if chitin_hostsys::clock::monotonic_coarse().saturating_sub(at) < long {
            return Ok(attr);
        }
        self.ask()
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        self.sup.writable()?;
        let result = self.change_attr(set);
        self.forget();
        result
    }

    fn file_system(&self) -> Arc<dyn FileSystem> {
        self.sup.instance()
    }

    fn as_dir(&self) -> Option<&dyn DirInode> {
        (self.kind == FileType::Directory).then_some(self as &dyn DirInode)
    }

    fn open(self: Arc<Self>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        match self.kind {
            FileType::Regular => OpenFile::open(&self, request.flags),
            FileType::Directory => Ok(Box::new(OpenDir::new(&self)?)),
            FileType::Symlink => Err(Errno::ELOOP),
            _ => Err(Errno::ENXIO),
        }
    }

    fn read_link(&self, _task: &Arc<Task>) -> Result<Vec<u8>, Errno> {
        self.target()
    }

    fn xattr_get(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        // Labels are the host's security policy, which does not reach into the sandbox.
        if name.starts_with(b"security.") && name != b"security.capability" {
            return Err(Errno::ENODATA);
        }
        if !self.is_root {
            match self.at(|dir, file| files::getxattr_at(dir.as_fd(), file, name)) {
                Err(Errno::ENOSYS) => {}
                Err(Errno::EACCES) => return Err(Errno::ENODATA),
                other => return other,
            }
        }
        self.with_attr_fd(Errno::ENODATA, |fd| files::getxattr(fd.as_fd(), name))
    }

    fn xattr_set(&self, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        self.sup.writable()?;
        if !name.starts_with(b"user.") {
            return Err(Errno::EPERM);
        }
        self.with_attr_fd(Errno::EACCES, |fd| files::setxattr(fd.as_fd(), name, value, flags))
    }

    fn xattr_remove(&self, name: &[u8]) -> Result<(), Errno> {
        self.sup.writable()?;
        if !name.starts_with(b"user.") {
            return Err(Errno::EPERM);
        }
        self.with_attr_fd(Errno::EACCES, |fd| files::removexattr(fd.as_fd(), name))
    }

    fn xattr_list(&self) -> Result<Vec<Vec<u8>>, Errno> {
        match self.with_attr_fd(Errno::EACCES, |fd| files::listxattr(fd.as_fd())) {
            Err(Errno::EACCES | Errno::EOPNOTSUPP) => Ok(Vec::new()),
            other => other,
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        match self.kind {
            FileType::Symlink => Ok(copy_from(&self.target()?, offset, buf)),
            FileType::Regular => self.map(super::Access::ReadOnly)?.read(offset, buf),
            FileType::Directory => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize, Errno> {
        self.sup.writable()?;
        if self.kind != FileType::Regular {
            return Err(Errno::EINVAL);
        }
        self.forget();
        self.map(super::Access::ReadWrite)?.write(offset, buf)
    }

    fn vfs_state(&self) -> &InodeState {
        &self.state
    }
}
