//! A small kit for trees that the kernel makes up: [`Node`]s come into being when they
//! are looked up, and text files are made when they are opened.

use chitin_abi::Errno;
use chitin_kernel::sync::Mutex;
use chitin_kernel::task::{Process, Task};
use chitin_kernel::vfs::{
    Attr, Caching, DirInode, DirSink, FileCx, FileOps, FileSystem, FileType, Inode, InodeRef,
    InodeState, IoDst, IoSrc, OpenRequest, Path, StatFs,
};
use std::any::Any;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};

/// Makes the text of a file.
pub type Text = Arc<dyn Fn(&Arc<Task>) -> Result<Vec<u8>, Errno> + Send + Sync>;
/// Takes what is written to a file.
pub type Store = Arc<dyn Fn(&Arc<Task>, &[u8]) -> Result<(), Errno> + Send + Sync>;
/// Opens a file that is no text.
pub type Opener = Arc<dyn Fn(&OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> + Send + Sync>;
/// Where a link leads without a walk.
pub type Jump = Arc<dyn Fn(&Arc<Task>) -> Result<Path, Errno> + Send + Sync>;

/// A directory of such a tree.
pub trait Dir: Send + Sync {
    /// The entry with this name.
    fn get(&self, task: Option<&Arc<Task>>, name: &[u8]) -> Option<Node>;

    /// All entries: names and types; those that are numbers last and in ascending order.
    fn names(&self, task: &Arc<Task>) -> Vec<(Vec<u8>, FileType)>;

    /// User and group that own it.
    fn owner(&self) -> (u32, u32) {
        (0, 0)
    }

    /// Permission bits, where they matter.
    fn perm(&self) -> u32 {
        0o555
    }

    /// User and group that own the files in it.
    fn owner_of_files(&self) -> (u32, u32) {
        self.owner()
    }

    /// Whether a task may use it whatever its permission bits say.
    fn admits(&self, _task: &Task) -> bool {
        false
    }

    /// The process that it is about, if `pidfd_send_signal(2)` may take it for that.
    fn process(&self) -> Option<Arc<Process>> {
        None
    }
}

/// An entry.
#[derive(Clone)]
pub enum Node {
    /// A directory.
    Dir(Arc<dyn Dir>),
    /// A text file.
    File {
        /// Permission bits.
        perm: u32,
        /// Makes the text, at every read of its beginning.
        text: Text,
        /// Takes what is written, if anything can be.
        store: Option<Store>,
    },
    /// A file of another kind.
    Special(u32, Opener),
    /// A symbolic link.
    Link(Text),
    /// A symbolic link that leads somewhere whatever its text, with its permission bits.
    Magic(u32, Text, Jump),
}

impl Node {
    /// A file with this text.
    pub fn text(text: impl Into<Vec<u8>>) -> Self {
        let text = text.into();
        Self::file(move |_| Ok(text.clone()))
    }

    /// A file whose text is made by `f`.
    pub fn file(f: impl Fn(&Arc<Task>) -> Result<Vec<u8>, Errno> + Send + Sync + 'static) -> Self {
        Self::File { perm: 0o444, text: Arc::new(f), store: None }
    }

    /// The same file, which can be written by its owner too.
    #[must_use]
    pub fn stored_by(
        self,
        f: impl Fn(&Arc<Task>, &[u8]) -> Result<(), Errno> + Send + Sync + 'static,
    ) -> Self {
        match self {
            Self::File { perm, text, .. } => {
                Self::File { perm: perm | 0o200, text, store: Some(Arc::new(f)) }
            }
            other => other,
        }
    }

    /// The same file with other permission bits.
    #[must_use]
    pub fn with_perm(self, perm: u32) -> Self {
        match self {
            Self::File { text, store, .. } => Self::File { perm, text, store },
            Self::Special(_, open) => Self::Special(perm, open),
            other => other,
        }
    }

    /// A directory with these entries.
    #[must_use]
    pub fn dir(entries: Vec<(&'static str, Node)>) -> Self {
        Self::Dir(Arc::new(Fixed(entries)))
    }

    /// A symbolic link to `target`.
    pub fn link(target: impl Into<Vec<u8>>) -> Self {
        let target = target.into();
        Self::Link(Arc::new(move |_| Ok(target.clone())))
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> FileType {
        match self {
            Self::Dir(_) => FileType::Directory,
            Self::File { .. } | Self::Special(..) => FileType::Regular,
            Self::Link(_) | Self::Magic(..) => FileType::Symlink,
        }
    }

    fn perm(&self) -> u32 {
        match self {
            Self::Dir(dir) => dir.perm(),
            Self::File { perm, .. } | Self::Special(perm, _) | Self::Magic(perm, ..) => *perm,
            Self::Link(_) => 0o777,
        }
    }
}

/// A directory with fixed entries.
#[derive(Default)]
pub struct Fixed(pub Vec<(&'static str, Node)>);

impl Dir for Fixed {
    fn get(&self, _task: Option<&Arc<Task>>, name: &[u8]) -> Option<Node> {
        let found = self.0.iter().find(|(n, _)| n.as_bytes() == name);
        found.map(|(_, node)| node.clone())
    }
    fn names(&self, _task: &Arc<Task>) -> Vec<(Vec<u8>, FileType)> {
        self.0.iter().map(|(name, node)| (name.as_bytes().to_vec(), node.kind())).collect()
    }
}

/// Inode number of the root.
const ROOT_INO: u64 = 1;

/// What tells such file systems apart.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Type as in `/proc/filesystems`.
    pub name: &'static str,
    /// `f_type` of `statfs(2)`.
    pub magic: u64,
    /// What files claim as their size, in bytes.
    pub file_size: u64,
    /// Whether entries stay.
    pub caching: Caching,
}

/// A file system of such nodes.
pub struct SynthFs {
    kind: Kind,
    dev: u64,
    root: Arc<dyn Dir>,
    made: chitin_abi::time::Timespec,
    this: Weak<SynthFs>,
}

impl SynthFs {
    /// The tree below `root`.
    #[must_use]
    pub fn new(kind: Kind, root: Arc<dyn Dir>) -> Arc<Self> {
        let (dev, made) = (crate::util::anonymous_dev(), crate::util::now());
        Arc::new_cyclic(|this| Self { kind, dev, root, made, this: this.clone() })
    }
}

impl FileSystem for SynthFs {
    fn name(&self) -> &'static str {
        self.kind.name
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn root(&self) -> InodeRef {
        Arc::new(SynthInode {
            fs: self.this.clone(),
            node: Node::Dir(self.root.clone()),
            ino: ROOT_INO,
            parent: ROOT_INO,
            owned_as: self.root.clone(),
            state: InodeState::default(),
        })
    }
    fn statfs(&self) -> Result<StatFs, Errno> {
        let magic = self.kind.magic;
        Ok(StatFs { magic, block_size: 4096, name_max: 255, ..StatFs::default() })
    }
    fn caching(&self) -> Caching {
        self.kind.caching
    }
}

/// An inode of such a tree.
struct SynthInode {
    fs: Weak<SynthFs>,
    node: Node,
    ino: u64,
    /// Inode number of the directory that it is in.
    parent: u64,
    /// The directory whose owner is the file's: it may change while the inode is known.
    owned_as: Arc<dyn Dir>,
    state: InodeState,
}

fn number(parent: u64, name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (parent, name).hash(&mut hasher);
    (hasher.finish() >> 16) | 1
}

impl SynthInode {
    fn child(&self, name: &[u8], node: Node) -> InodeRef {
        let owned_as = match &node {
            Node::Dir(dir) => dir.clone(),
            _ => self.owned_as.clone(),
        };
        let ino = number(self.ino, name);
        Arc::new(Self {
            fs: self.fs.clone(),
            node,
            ino,
            parent: self.ino,
            owned_as,
            state: InodeState::default(),
        })
    }

    fn perm(&self, fs: &SynthFs) -> u32 {
        match &self.node {
            // The directories of sysfs are root's, those of proc nobody's.
            Node::Dir(_) if fs.kind.file_size > 0 && self.ino != ROOT_INO => 0o755,
            node => node.perm(),
        }
    }

    fn find_any(&self, task: Option<&Arc<Task>>, name: &[u8]) -> Result<InodeRef, Errno> {
        let Node::Dir(dir) = &self.node else { return Err(Errno::ENOTDIR) };
        dir.get(task, name).map(|node| self.child(name, node)).ok_or(Errno::ENOENT)
    }
}

impl Inode for SynthInode {
    fn file_type(&self) -> FileType {
        self.node.kind()
    }

    fn attr(&self) -> Result<Attr, Errno> {
        let fs = self.fs.upgrade().ok_or(Errno::EIO)?;
        let is_dir = self.node.kind() == FileType::Directory;
        let (uid, gid) = match is_dir {
            true => self.owned_as.owner(),
            false => self.owned_as.owner_of_files(),
        };
        Ok(Attr {
            dev: fs.dev,
            ino: self.ino,
            perm: self.perm(&fs),
            nlink: if is_dir { 2 } else { 1 },
            uid,
            gid,
            size: if self.node.kind() == FileType::Regular { fs.kind.file_size } else { 0 },
            blksize: if fs.kind.file_size == 0 { 1024 } else { 4096 },
            atime: fs.made,
            mtime: fs.made,
            ctime: fs.made,
            ..Attr::unnamed(self.node.kind())
        })
    }

    fn file_system(&self) -> Arc<dyn FileSystem> {
        match self.fs.upgrade() {
            Some(fs) => fs,
            None => unreachable!("a mount keeps its file system"),
        }
    }

    fn admits(&self, task: &Task) -> bool {
        matches!(&self.node, Node::Dir(dir) if dir.admits(task))
    }

    fn set_attr(&self, set: &chitin_kernel::vfs::SetAttr) -> Result<(), Errno> {
        // Truncation is what `> file` begins with.
        if set.perm.is_some() || set.uid.is_some() || set.gid.is_some() {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    fn as_dir(&self) -> Option<&dyn DirInode> {
        matches!(self.node, Node::Dir(_)).then_some(self)
    }

    fn open(self: Arc<Self>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        match &self.node {
            Node::Dir(_) => Ok(Box::new(OpenDir { inode: self })),
            // Whoever may write by the bits meets a value that stays as it is.
            Node::File { store: None, .. } if request.flags & 3 != 0 => Err(Errno::EROFS),
            Node::File { text, store, .. } => {
                let first = if request.flags & 3 == 1 { None } else { Some(text(request.task)?) };
                let shown = Mutex::new(Shown { text: Vec::new(), first });
                Ok(Box::new(OpenText { make: text.clone(), shown, store: store.clone() }))
            }
            Node::Special(_, open) => open(request),
            Node::Link(_) | Node::Magic(..) => Err(Errno::ELOOP),
        }
    }

    fn read_link(&self, task: &Arc<Task>) -> Result<Vec<u8>, Errno> {
        match &self.node {
            Node::Link(text) | Node::Magic(_, text, _) => text(task),
            _ => Err(Errno::EINVAL),
        }
    }

    fn magic_link(&self, task: &Arc<Task>) -> Option<Result<Path, Errno>> {
        match &self.node {
            Node::Magic(_, _, jump) => Some(jump(task)),
            _ => None,
        }
    }

    fn vfs_state(&self) -> &InodeState {
        &self.state
    }
}

impl DirInode for SynthInode {
    fn lookup(&self, task: &Arc<Task>, name: &[u8]) -> Result<InodeRef, Errno> {
        self.find_any(Some(task), name)
    }

    fn find(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        self.find_any(None, name)
    }

    fn create(&self, _name: &[u8], _node: &chitin_kernel::vfs::NewNode) -> Result<InodeRef, Errno> {
        Err(Errno::ENOENT)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An open directory.
struct OpenDir {
    inode: Arc<SynthInode>,
}

impl FileOps for OpenDir {
    fn read(&self, _cx: FileCx<'_>, _dst: &mut IoDst<'_>, _pos: u64) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_dir(&self, cx: FileCx<'_>, pos: u64, sink: &mut dyn DirSink) -> Result<u64, Errno> {
        let Node::Dir(dir) = &self.inode.node else { return Err(Errno::ENOTDIR) };
        let parent = if self.inode.ino == ROOT_INO { ROOT_INO } else { self.inode.parent };
        let mut names = vec![
            (b".".to_vec(), FileType::Directory, self.inode.ino),
            (b"..".to_vec(), FileType::Directory, parent),
        ];
        for (name, kind) in dir.names(cx.task) {
            let ino = number(self.inode.ino, &name);
            names.push((name, kind, ino));
        }
        let mut at = pos;
        for (index, (name, kind, ino)) in names.iter().enumerate() {
            let place = place(index, name);
            if place < pos {
                continue;
            }
            if !sink.entry(*ino, place + 1, kind.dirent_type(), name) {
                break;
            }
            at = place + 1;
        }
        Ok(at)
    }

    fn process(&self) -> Option<Arc<Process>> {
        match &self.inode.node {
            Node::Dir(dir) => dir.process(),
            _ => None,
        }
    }
}

/// Where an entry is in its directory. What is named by a number comes and goes while the
/// directory is read, so that its place must not depend on others.
fn place(index: usize, name: &[u8]) -> u64 {
    const NUMBERED: u64 = 1 << 20;
    let number = std::str::from_utf8(name).ok().and_then(|n| n.parse::<u32>().ok());
    number.map_or(index as u64, |n| NUMBERED + u64::from(n))
}

/// An open text. Lock: one.
struct OpenText {
    make: Text,
    shown: Mutex<Shown>,
    store: Option<Store>,
}

struct Shown {
    /// What is read from now on.
    text: Vec<u8>,
    /// What was made when it was opened, until it is read.
    first: Option<Vec<u8>>,
}

impl FileOps for OpenText {
    fn read(&self, cx: FileCx<'_>, dst: &mut IoDst<'_>, pos: u64) -> Result<usize, Errno> {
        let at = usize::try_from(pos).unwrap_or(usize::MAX);
        let fresh = if pos == 0 { Some(self.fresh(cx.task)?) } else { None };
        let text = {
            let mut shown = self.shown.lock();
            if let Some(text) = fresh.or_else(|| shown.first.take()) {
                shown.text = text;
            }
            // Guest memory is not touched under the lock.
            let end = at.saturating_add(dst.remaining()).min(shown.text.len());
            shown.text.get(at..end).unwrap_or_default().to_vec()
        };
        dst.put(&text)
    }

    fn write(&self, cx: FileCx<'_>, src: &mut IoSrc<'_>, _pos: u64) -> Result<usize, Errno> {
        let store = self.store.as_ref().ok_or(Errno::EBADF)?;
        let mut bytes = vec![0; src.remaining().min(4096)];
        let n = src.peek(&mut bytes)?;
        bytes.truncate(n);
        // What is refused was not written.
        store(cx.task, &bytes)?;
        src.advance(n);
        Ok(n)
    }

    fn seekable(&self) -> bool {
        true
    }
}

impl OpenText {
    /// The text as it is now: programs that look again go back to the beginning.
    fn fresh(&self, task: &Arc<Task>) -> Result<Vec<u8>, Errno> {
        let first = self.shown.lock().first.take();
        first.map_or_else(|| (self.make)(task), Ok)
    }
}
