//! `devpts`: the terminals below `/dev/pts`, and the devices `/dev/ptmx` and `/dev/tty`
//! (`pts(4)`, `tty(4)`).
//!
//! An inode has no state of its own: what can be changed of it is the terminal's. No
//! locks but that.

use chitin_abi::Errno;
use chitin_abi::fs::makedev;
use chitin_kernel::Kernel;
use chitin_kernel::task::Task;
use chitin_kernel::tty::{NodeAttr, PTY_MAJOR, PtyTable, Terminal};
use chitin_kernel::vfs::{
    Attr, Caching, DirInode, DirSink, FileCx, FileOps, FileSystem, FileType, Inode, InodeRef,
    InodeState, IoDst, OpenRequest, SetAttr, SetTime, StatFs,
};
use std::any::Any;
use std::sync::{Arc, Weak};

const DEVPTS_MAGIC: u64 = 0x1cd1;
/// Inode numbers: of the root, of `ptmx`, and what is added to a terminal's number.
const ROOT_INO: u64 = 1;
const PTMX_INO: u64 = 2;
const FIRST_INO: u64 = 3;

/// Device number of `/dev/tty`.
#[must_use]
pub fn tty_rdev() -> u64 {
    u64::from(makedev(5, 0))
}

/// Device number of `/dev/ptmx`.
#[must_use]
pub fn ptmx_rdev() -> u64 {
    u64::from(makedev(5, 2))
}

/// Registers the devices.
pub fn register(kernel: &Kernel, table: &Arc<PtyTable>) {
    let ptys = table.clone();
    let ptmx = move |_: u64, request: &OpenRequest<'_>| Ok(ptys.open_pair(request.task)?.master());
    kernel.devices.register(ptmx_rdev(), Box::new(ptmx));
    let tty = |_: u64, request: &OpenRequest<'_>| {
        let own = request.task.process.family.lock().tty.clone();
        own.ok_or(Errno::ENXIO)?.open(request)
    };
    kernel.devices.register(tty_rdev(), Box::new(tty));
    let ptys = table.clone();
    let slave = move |rdev: u64, request: &OpenRequest<'_>| {
        let number = u32::try_from(rdev).map_err(|_| Errno::ENXIO)?;
        let terminal = ptys.get(chitin_abi::fs::minor(number));
        terminal.ok_or(Errno::EIO)?.open(request)
    };
    kernel.devices.register_major(PTY_MAJOR, Box::new(slave));
}

/// The file system.
pub struct DevPts {
    table: Arc<PtyTable>,
    dev: u64,
    made: chitin_abi::time::Timespec,
    this: Weak<DevPts>,
}

impl DevPts {
    /// Shows the terminals of `table`.
    #[must_use]
    pub fn new(table: Arc<PtyTable>) -> Arc<Self> {
        let (dev, made) = (crate::util::anonymous_dev(), crate::util::now());
        Arc::new_cyclic(|this| Self { table, dev, made, this: this.clone() })
    }

    fn inode(&self, what: What) -> Result<InodeRef, Errno> {
        let fs = self.this.upgrade().ok_or(Errno::EIO)?;
        Ok(Arc::new(Node { fs, what, state: InodeState::default() }))
    }
}

impl FileSystem for DevPts {
    fn name(&self) -> &'static str {
        "devpts"
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn root(&self) -> InodeRef {
        match self.this.upgrade() {
            Some(fs) => Arc::new(Node { fs, what: What::Root, state: InodeState::default() }),
            None => unreachable!("it is alive while it is asked"),
        }
    }
    fn statfs(&self) -> Result<StatFs, Errno> {
        let magic = DEVPTS_MAGIC;
        Ok(StatFs { magic, block_size: 4096, name_max: 255, ..StatFs::default() })
    }
    fn caching(&self) -> Caching {
        Caching::Never
    }
    fn options(&self) -> String {
        "gid=5,mode=620,ptmxmode=666".into()
    }
}

enum What {
    Root,
    Ptmx,
    Terminal(Arc<dyn Terminal>),
}

struct Node {
    fs: Arc<DevPts>,
    what: What,
    state: InodeState,
}

impl Node {
    fn find_any(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        if name == b"ptmx" {
            return self.fs.inode(What::Ptmx);
        }
        let text = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let number: u32 = text.parse().map_err(|_| Errno::ENOENT)?;
        if number.to_string() != text {
            return Err(Errno::ENOENT);
        }
        let terminal = self.fs.table.get(number).ok_or(Errno::ENOENT)?;
        self.fs.inode(What::Terminal(terminal))
    }

    fn entries(&self) -> Vec<(Vec<u8>, u64, FileType)> {
        let mut all = vec![
            (b".".to_vec(), ROOT_INO, FileType::Directory),
            (b"..".to_vec(), ROOT_INO, FileType::Directory),
            (b"ptmx".to_vec(), PTMX_INO, FileType::CharDevice),
        ];
        all.extend(
            self.fs.table.numbers().into_iter().map(|n| {
                (n.to_string().into_bytes(), FIRST_INO + u64::from(n), FileType::CharDevice)
            }),
        );
        all
    }
}

impl Inode for Node {
    fn file_type(&self) -> FileType {
        match self.what {
            What::Root => FileType::Directory,
            _ => FileType::CharDevice,
        }
    }

    fn attr(&self) -> Result<Attr, Errno> {
        let fixed = |perm| NodeAttr {
            uid: 0,
            gid: 0,
            perm,
            atime: self.fs.made,
            mtime: self.fs.made,
            ctime: self.fs.made,
        };
        let (ino, rdev, nlink, node) = match &self.what {
            What::Root => (ROOT_INO, 0, 2, fixed(0o755)),
            What::Ptmx => (PTMX_INO, ptmx_rdev(), 1, fixed(0o666)),
            What::Terminal(tty) => {
                let index = tty.index();
                let rdev = u64::from(makedev(PTY_MAJOR, index));
                (FIRST_INO + u64::from(index), rdev, 1, *tty.node().lock())
            }
        };
        Ok(Attr {
            dev: self.fs.dev,
            ino,
            perm: node.perm,
            nlink,
            uid: node.uid,
            gid: node.gid,
            rdev,
            blksize: 1024,
            atime: node.atime,
            mtime: node.mtime,
            ctime: node.ctime,
            ..Attr::unnamed(self.file_type())
        })
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        let What::Terminal(tty) = &self.what else { return Err(Errno::EPERM) };
        let now = crate::util::now();
        let time = |old, new: Option<SetTime>| match new {
            None => old,
            Some(SetTime::Now) => now,
            Some(SetTime::To(at)) => at,
        };
        let mut node = tty.node().lock();
        *node = NodeAttr {
            uid: set.uid.unwrap_or(node.uid),
            gid: set.gid.unwrap_or(node.gid),
            perm: set.perm.unwrap_or(node.perm),
            atime: time(node.atime, set.atime),
            mtime: time(node.mtime, set.mtime),
            ctime: now,
        };
        Ok(())
    }

    fn file_system(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }

    fn as_dir(&self) -> Option<&dyn DirInode> {
        matches!(self.what, What::Root).then_some(self)
    }

    fn open(self: Arc<Self>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        match self.what {
            What::Root => Ok(Box::new(OpenRoot(self))),
            // Devices are opened through the table of devices.
            _ => Err(Errno::ENXIO),
        }
    }

    fn vfs_state(&self) -> &InodeState {
        &self.state
    }
}

impl DirInode for Node {
    fn lookup(&self, _task: &Arc<Task>, name: &[u8]) -> Result<InodeRef, Errno> {
        self.find_any(name)
    }

    fn find(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        self.find_any(name)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The open root directory.
struct OpenRoot(Arc<Node>);

impl FileOps for OpenRoot {
    fn read(&self, _cx: FileCx<'_>, _dst: &mut IoDst<'_>, _pos: u64) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_dir(&self, _cx: FileCx<'_>, pos: u64, sink: &mut dyn DirSink) -> Result<u64, Errno> {
        let mut at = pos;
        let skip = usize::try_from(pos).unwrap_or(usize::MAX);
        for (name, ino, kind) in self.0.entries().into_iter().skip(skip) {
            if !sink.entry(ino, at + 1, kind.dirent_type(), &name) {
                break;
            }
            at += 1;
        }
        Ok(at)
    }
}
