//! [`Node`]: an inode of an overlay, and its [`Inode`] operations.

use super::dir::OpenDir;
use super::file::LowerFile;
use super::{ORIGIN, PRIVATE, Super};
use chitin_abi::Errno;
use chitin_abi::fs::{O_ACCMODE, O_RDONLY};
use chitin_kernel::sync::{Mutex, RwLock};
use chitin_kernel::task::Task;
use chitin_kernel::vfs::names::QuickMap;
use chitin_kernel::vfs::{
    Attr, DirInode, FileOps, FileSystem, FileType, Inode, InodeRef, InodeState, Kept, OpenRequest,
    SetAttr,
};
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, Weak};

/// Added to the inode numbers of upper files. No host file system of ordinary size gets
/// there, and programs that keep numbers in a double (2⁵³) still tell them apart.
const UPPER_INO: u64 = 1 << 48;

/// What a node is found by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Id {
    Lower(u64, u64),
    Upper(u64),
}

/// Parent and name; `None` for the root and for what has lost its name.
pub(super) type Place = Option<(Arc<Node>, Box<[u8]>)>;

/// An inode.
pub(super) struct Node {
    pub(super) me: Weak<Node>,
    pub(super) sup: Arc<Super>,
    pub(super) kind: FileType,
    /// Device and inode number as shown.
    pub(super) id: (u64, u64),
    /// The lower file; of a directory, the one it is merged with.
    pub(super) lower: Option<InodeRef>,
    /// The upper file; set once, when there is one.
    upper: OnceLock<InodeRef>,
    /// Directories found here that are not in the upper tree.
    dirs: Mutex<QuickMap<Box<[u8]>, Weak<Node>>>,
    pub(super) place: Mutex<Place>,
    /// Held while its data is copied up.
    pub(super) copying: Mutex<()>,
    /// Held for reading while an entry is looked up, for writing while one changes.
    pub(super) entries: RwLock<()>,
    /// There is an upper file: what is in the lower one counts no more.
    pub(super) copied: AtomicBool,
    /// Names that the lower directory was found not to have.
    pub(super) absent: Mutex<VecDeque<Box<[u8]>>>,
    state: InodeState,
}

/// Whether an upper entry says that there is none.
pub(super) fn is_whiteout(inode: &InodeRef) -> bool {
    inode.file_type() == FileType::CharDevice && inode.attr().is_ok_and(|a| a.rdev == 0)
}

/// Device and number of the lower file that an upper file was copied from.
pub(super) fn origin(upper: &InodeRef) -> Option<(u64, u64)> {
    let value = upper.xattr_get(ORIGIN).ok()?;
    let (dev, ino) = value.split_at_checked(8)?;
    Some((u64::from_le_bytes(dev.try_into().ok()?), u64::from_le_bytes(ino.try_into().ok()?)))
}

/// The value of that attribute.
pub(super) fn origin_value(id: (u64, u64)) -> Vec<u8> {
    [id.0.to_le_bytes(), id.1.to_le_bytes()].concat()
}

/// The number that an upper file without an origin shows.
pub(super) fn upper_ino(ino: u64) -> u64 {
    ino | UPPER_INO
}

impl Node {
    fn new(
        sup: &Arc<Super>,
        id: (u64, u64),
        lower: Option<InodeRef>,
        upper: Option<InodeRef>,
        place: Place,
    ) -> Result<Arc<Self>, Errno> {
        let kind = upper.as_ref().or(lower.as_ref()).ok_or(Errno::ENOENT)?.file_type();
        Ok(Arc::new_cyclic(|me| Self {
            me: me.clone(),
            sup: sup.clone(),
            kind,
            id,
            lower,
            upper: upper.map_or_else(OnceLock::new, OnceLock::from),
            dirs: Mutex::default(),
            place: Mutex::new(place),
            copying: Mutex::default(),
            entries: RwLock::default(),
            copied: AtomicBool::new(false),
            absent: Mutex::default(),
            state: InodeState::default(),
        }))
    }

    pub(super) fn root(sup: &Arc<Super>) -> Result<Arc<Self>, Errno> {
        let lower = sup.lower.root();
        let attr = lower.attr()?;
        Self::new(sup, (attr.dev, attr.ino), Some(lower), Some(sup.upper.root()), None)
    }

    /// Itself, shared.
    pub(super) fn me(&self) -> Result<Arc<Self>, Errno> {
        self.me.upgrade().ok_or(Errno::ESTALE)
    }

    /// The upper file, if there is one.
    pub(super) fn upper(&self) -> Option<&InodeRef> {
        self.upper.get()
    }

    /// Says that there is an upper file now; changes are locked, and there was none.
    pub(super) fn has_upper(&self, upper: &InodeRef) {
        let first = self.upper.set(upper.clone());
        debug_assert!(first.is_ok(), "a file is copied up once");
    }

    /// The file that has its content and attributes now.
    pub(super) fn real(&self) -> Result<&InodeRef, Errno> {
        self.upper().or(self.lower.as_ref()).ok_or(Errno::ENOENT)
    }

    /// The node for a directory or other file found in this directory.
    pub(super) fn adopt(
        &self,
        name: &[u8],
        lower: Option<InodeRef>,
        upper: Option<InodeRef>,
    ) -> Result<Arc<Self>, Errno> {
        let place = Some((self.me()?, Box::from(name)));
        let lower_id = lower.as_ref().map(|l| l.attr()).transpose()?.map(|a| (a.dev, a.ino));
        let kind = upper.as_ref().or(lower.as_ref()).map(|i| i.file_type());
        let upper_no = upper.as_ref().map(|u| u.number()).transpose()?;
        let id = match (lower_id, &upper, upper_no) {
            (Some(id), ..) => id,
            (None, Some(u), Some(ino)) => origin(u).unwrap_or_else(|| (self.id.0, upper_ino(ino))),
            _ => return Err(Errno::ENOENT),
        };
        if kind == Some(FileType::Directory) {
            return self.adopt_dir(name, id, lower, upper, upper_no);
        }
        // Another name of a lower file that has been copied up is the copy.
        let copy = match (&upper, lower_id) {
            (None, Some(id)) => self.sup.copy_of(id),
            _ => None,
        };
        let lower_key = lower_id.map(|(dev, ino)| Id::Lower(dev, ino));
        let copy_no = copy.as_ref().map(|u| u.number()).transpose()?;
        let key = upper_no.or(copy_no).map(Id::Upper).or(lower_key).ok_or(Errno::ENOENT)?;
        let known = self.sup.nodes.lock().get(&key).and_then(Weak::upgrade);
        if let Some(known) = known {
            let old = std::mem::replace(&mut *known.place.lock(), place);
            drop(old);
            return Ok(known);
        }
        let node = Self::new(&self.sup, id, lower, upper.or(copy), place)?;
        self.sup.nodes.lock().insert(key, Arc::downgrade(&node));
        Ok(node)
    }

    /// The node for a directory: found by its upper directory, else by its place.
    fn adopt_dir(
        &self,
        name: &[u8],
        id: (u64, u64),
        lower: Option<InodeRef>,
        upper: Option<InodeRef>,
        upper_no: Option<u64>,
    ) -> Result<Arc<Self>, Errno> {
        let known = match upper_no {
            Some(ino) => self.sup.nodes.lock().get(&Id::Upper(ino)).and_then(Weak::upgrade),
            None => self.dirs.lock().get(name).and_then(Weak::upgrade),
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let place = Some((self.me()?, Box::from(name)));
        let node = Self::new(&self.sup, id, lower, upper, place)?;
        let weak = Arc::downgrade(&node);
        let old = match upper_no {
            Some(ino) => self.sup.nodes.lock().insert(Id::Upper(ino), weak),
            None => self.dirs.lock().insert(name.into(), weak),
        };
        // Two lookups at once must agree.
        if let Some(first) = old.as_ref().and_then(Weak::upgrade) {
            let first_weak = old.unwrap_or_default();
            match upper_no {
                Some(ino) => self.sup.nodes.lock().insert(Id::Upper(ino), first_weak),
                None => self.dirs.lock().insert(name.into(), first_weak),
            };
            return Ok(first);
        }
        Ok(node)
    }

    /// Number of names.
    fn links(&self, real: &Attr) -> u32 {
        if self.kind == FileType::Directory {
            // Those of a merged directory are not known (overlayfs shows 1, too).
            let merged = self.lower.is_some() && self.upper().is_some();
            return if merged { 1 } else { real.nlink };
        }
        if !self.sup.has_links() {
            return real.nlink;
        }
        let links = self.sup.links.lock();
        let Some(known) = links.get(&self.id) else { return real.nlink };
        let lower = self.lower.as_ref().and_then(|l| l.attr().ok()).map_or(0, |a| a.nlink);
        let left = lower.saturating_sub(known.gone);
        if self.upper().is_some() { left.saturating_add(real.nlink) } else { left }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let mut keys = Vec::new();
        if self.kind != FileType::Directory {
            keys.push(Id::Lower(self.id.0, self.id.1));
        }
        keys.extend(self.upper().and_then(|u| u.number().ok()).map(Id::Upper));
        let mut nodes = self.sup.nodes.lock();
        for key in keys {
            if nodes.get(&key).is_some_and(|weak| weak.strong_count() == 0) {
                nodes.remove(&key);
            }
        }
        drop(nodes);
        // Parents are let go one by one: recursion could go arbitrarily deep.
        let mut next = self.place.lock().take();
        while let Some((parent, name)) = next {
            let mut dirs = parent.dirs.lock();
            if dirs.get(&name).is_some_and(|weak| weak.strong_count() == 0) {
                dirs.remove(&name);
            }
            drop(dirs);
            next = Arc::into_inner(parent).and_then(|p| p.place.lock().take());
        }
    }
}

impl Inode for Node {
    fn file_type(&self) -> FileType {
        self.kind
    }

    fn attr(&self) -> Result<Attr, Errno> {
        let real = self.real()?.attr()?;
        Ok(Attr { dev: self.id.0, ino: self.id.1, nlink: self.links(&real), ..real })
    }

    fn attr_kept(&self) -> Result<(Attr, Kept), Errno> {
        let (real, kept) = self.real()?.attr_kept()?;
        let attr = Attr { dev: self.id.0, ino: self.id.1, nlink: self.links(&real), ..real };
        // The number of names is the lower file's and the upper one's.
        let both = attr.nlink != real.nlink && self.kind != FileType::Directory;
        Ok((attr, if both { Kept::No } else { kept }))
    }

    fn access_attr(&self) -> Result<Attr, Errno> {
        self.real()?.access_attr()
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        // What will be cut off need not be copied.
        self.copy_up(set.size.unwrap_or(u64::MAX))?.set_attr(set)
    }

    fn file_system(&self) -> Arc<dyn FileSystem> {
        self.sup.instance().unwrap_or_else(|_| self.sup.upper.clone())
    }

    fn as_dir(&self) -> Option<&dyn DirInode> {
        (self.kind == FileType::Directory).then_some(self as &dyn DirInode)
    }

    fn open(self: Arc<Self>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        if self.kind == FileType::Directory {
            // The host may refuse what the mode bits allow.
            let stream = match &self.lower {
                Some(lower) if self.upper().is_none() => Some(lower.clone().open(request)?),
                _ => None,
            };
            return Ok(Box::new(OpenDir::new(self, stream)));
        }
        if request.flags & O_ACCMODE != O_RDONLY {
            return self.copy_up(u64::MAX)?.clone().open(request);
        }
        match (self.upper(), &self.lower) {
            (Some(upper), _) => upper.clone().open(request),
            (None, Some(lower)) => {
                let lower = lower.clone().open(request)?;
                Ok(Box::new(LowerFile::new(self.clone(), lower)))
            }
            (None, None) => Err(Errno::ENOENT),
        }
    }

    fn read_link(&self, task: &Arc<Task>) -> Result<Vec<u8>, Errno> {
        self.real()?.read_link(task)
    }

    fn xattr_get(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        if name.starts_with(PRIVATE) {
            return Err(Errno::ENODATA);
        }
        self.real()?.xattr_get(name)
    }

    fn xattr_set(&self, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        if name.starts_with(PRIVATE) {
            return Err(Errno::EPERM);
        }
        self.copy_up(u64::MAX)?.xattr_set(name, value, flags)
    }

    fn xattr_remove(&self, name: &[u8]) -> Result<(), Errno> {
        self.xattr_get(name)?;
        self.copy_up(u64::MAX)?.xattr_remove(name)
    }

    fn xattr_list(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let mut names = self.real()?.xattr_list()?;
        names.retain(|n| !n.starts_with(PRIVATE));
        Ok(names)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        self.real()?.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize, Errno> {
        self.copy_up(u64::MAX)?.write_at(offset, buf)
    }

    fn vfs_state(&self) -> &InodeState {
        &self.state
    }
}
