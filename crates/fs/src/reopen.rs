//! Files without a name that are opened again by `/proc/PID/fd`: a place made up for
//! them, whose inode hands out the same file.

use chitin_abi::Errno;
use chitin_abi::fs::O_RDONLY;
use chitin_kernel::task::Task;
use chitin_kernel::vfs::{
    Attr, Dentry, File, FileCx, FileOps, FileSystem, FileType, Inode, InodeState, IoDst, IoSrc,
    Mappable, OpenRequest, Path, SetAttr,
};
use chitin_kernel::wait::Pollable;
use std::sync::Arc;

/// Where a descriptor's file is.
pub(crate) fn place_of(viewer: &Arc<Task>, file: &Arc<File>) -> Result<Path, Errno> {
    if let Some(path) = file.path() {
        return Ok(path.clone());
    }
    let root = viewer.fs().root.read().clone();
    let fs = root.mount.fs.clone();
    let inode =
        Arc::new(Unnamed { file: file.clone(), fs: fs.clone(), state: InodeState::default() });
    let dentry = Dentry::new(None, b"", Some(inode));
    let mount = viewer.kernel.mounts.of_dentry(fs, dentry.clone(), "none", 0);
    Ok(Path { mount, dentry })
}

struct Unnamed {
    file: Arc<File>,
    fs: Arc<dyn FileSystem>,
    state: InodeState,
}

impl Inode for Unnamed {
    /// What decides how it is opened: by [`Inode::open`].
    fn file_type(&self) -> FileType {
        FileType::Regular
    }
    fn attr(&self) -> Result<Attr, Errno> {
        Ok(self.file.ops().attr())
    }
    fn set_attr(&self, _set: &SetAttr) -> Result<(), Errno> {
        // `> /dev/stdout` truncates first, which is nothing for a stream.
        Ok(())
    }
    fn file_system(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }
    fn open(self: Arc<Self>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        let reads = request.flags & 3 != 1;
        let writes = request.flags & 3 != 0;
        if (reads && !self.file.readable()) || (writes && !self.file.writable()) {
            return Err(Errno::EACCES);
        }
        Ok(Box::new(Again(self.file.clone())))
    }
    fn vfs_state(&self) -> &InodeState {
        &self.state
    }
}

/// Another description of the same file.
struct Again(Arc<File>);

impl Again {
    fn cx<'a>(&'a self, cx: FileCx<'a>) -> FileCx<'a> {
        FileCx { task: cx.task, file: &self.0 }
    }
}

impl FileOps for Again {
    fn read(&self, cx: FileCx<'_>, dst: &mut IoDst<'_>, pos: u64) -> Result<usize, Errno> {
        self.0.ops().read(self.cx(cx), dst, pos)
    }
    fn write(&self, cx: FileCx<'_>, src: &mut IoSrc<'_>, pos: u64) -> Result<usize, Errno> {
        self.0.ops().write(self.cx(cx), src, pos)
    }
    fn seekable(&self) -> bool {
        self.0.ops().seekable()
    }
    fn shares_position(&self) -> bool {
        self.0.ops().shares_position()
    }
    fn seek(&self, cx: FileCx<'_>, offset: i64, whence: u32) -> Option<Result<u64, Errno>> {
        self.0.ops().seek(self.cx(cx), offset, whence)
    }
    fn write_append(&self, cx: FileCx<'_>, src: &mut IoSrc<'_>) -> Result<(u64, usize), Errno> {
        self.0.ops().write_append(self.cx(cx), src)
    }
    fn ioctl(&self, cx: FileCx<'_>, cmd: u32, arg: u64) -> Result<u64, Errno> {
        self.0.ops().ioctl(self.cx(cx), cmd, arg)
    }
    fn attr(&self) -> Attr {
        self.0.ops().attr()
    }
    fn pollable(&self) -> Option<&dyn Pollable> {
        self.0.ops().pollable()
    }
    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        self.0.ops().mappable()
    }
    fn fsync(&self, cx: FileCx<'_>) -> Result<(), Errno> {
        self.0.ops().fsync(self.cx(cx))
    }
}

/// Where a namespace's file is (`/proc/PID/ns`).
pub(crate) fn namespace(viewer: &Arc<Task>, ino: u64) -> Result<Path, Errno> {
    place_of(viewer, &File::new(Box::new(Namespace(ino)), None, O_RDONLY))
}

/// The file of a namespace: it can be held and compared by its number.
struct Namespace(u64);

impl FileOps for Namespace {
    fn attr(&self) -> Attr {
        Attr { ino: self.0, perm: 0o444, ..Attr::unnamed(FileType::Regular) }
    }
}
