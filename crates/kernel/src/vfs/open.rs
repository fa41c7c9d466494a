//! Opening files (`open(2)`, `openat2(2)`), for programs and for the kernel itself.

use super::access::{Want, admitted, owns, permitted};
use super::lookup::{Last, resolve};
use super::{
    Dentry, File, FileOps, FileType, InodeRef, NewNode, OpenRequest, Path, Running, SetAttr,
    SetTime, Writing, notify,
};
use crate::changes;
use crate::error::SysError;
use crate::pipe;
use crate::syscall::memfd::Seals;
use crate::task::{CurrentTask, Task};
use chitin_abi::Errno;
use chitin_abi::fs::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Flags that a description keeps.
const KEPT: u32 = O_ACCMODE
    | O_APPEND
    | O_NONBLOCK
    | O_DSYNC
    | O_SYNC
    | O_DIRECT
    | O_ASYNC
    | O_LARGEFILE
    | O_NOATIME
    | O_PATH
    | O_DIRECTORY
    | O_NOFOLLOW;
/// `MS_RDONLY` and friends of a mount.
pub const MS_RDONLY: u32 = 1;
/// `MS_NODEV`.
pub const MS_NODEV: u32 = 4;
/// `MS_NOEXEC`.
pub const MS_NOEXEC: u32 = 8;

/// What is behind `O_PATH`: nothing but the path.
struct PathOnly;

impl FileOps for PathOnly {
    fn read(
        &self,
        _cx: super::FileCx<'_>,
        _dst: &mut super::IoDst<'_>,
        _pos: u64,
    ) -> Result<usize, Errno> {
        Err(Errno::EBADF)
    }
    fn write(
        &self,
        _cx: super::FileCx<'_>,
        _src: &mut super::IoSrc<'_>,
        _pos: u64,
    ) -> Result<usize, Errno> {
        Err(Errno::EBADF)
    }
}

/// A request to open, validated.
#[derive(Clone, Copy, Debug)]
pub struct OpenHow {
    /// `O_*`.
    pub flags: u32,
    /// Permission bits of a new file, before the umask.
    pub mode: u32,
    /// `RESOLVE_*`.
    pub resolve: u64,
}

fn writes(flags: u32) -> bool {
    flags & O_ACCMODE != O_RDONLY || flags & O_TRUNC != 0
}

fn wanted(flags: u32) -> Want {
    match flags & O_ACCMODE {
        O_RDONLY if flags & O_TRUNC == 0 => Want::READ,
        O_RDONLY => Want(6),
        O_WRONLY => Want::WRITE,
        _ => Want(6),
    }
}

/// Owner and permission of a new file in a directory (`open(2)`, set-group-ID).
pub fn new_node(
    task: &Arc<Task>,
    dir: &super::Attr,
    kind: FileType,
    mode: u32,
    rdev: u64,
) -> NewNode {
    let cred = task.cred();
    let umask = task.fs().umask.load(Ordering::Relaxed);
    let inherits = dir.perm & S_ISGID != 0;
    let mut perm = mode & 0o7777 & !(umask & 0o777);
    if inherits && kind == FileType::Directory {
        perm |= S_ISGID;
    }
    let gid = if inherits { dir.gid } else { cred.fsgid };
    NewNode { kind, perm, uid: cred.fsuid, gid, rdev }
}

/// Creates a file, directory or special file; its dentry.
pub fn create(
    task: &Arc<Task>,
    parent: &Path,
    name: &[u8],
    kind: FileType,
    mode: u32,
    rdev: u64,
) -> Result<Path, Errno> {
    let dir = parent.dentry.inode_ref().ok_or(Errno::ENOENT)?;
    let attr = may_change(task, parent, dir)?;
    let node = new_node(task, &attr, kind, mode, rdev);
    let ops = dir.as_dir().ok_or(Errno::ENOTDIR)?;
    let _changes = parent.dentry.changes.lock();
    let _changing = changes::begin();
    let inode = ops.create(name, &node)?;
    notify::created(&parent.dentry, name, &inode);
    Ok(Path { mount: parent.mount.clone(), dentry: instantiate(&parent.dentry, name, inode) })
}

/// Whether entries may be made in or removed from a directory: a writable mount, write
/// and search permission, and that it still exists. Its attributes.
pub fn may_change(task: &Arc<Task>, parent: &Path, dir: &InodeRef) -> Result<super::Attr, Errno> {
    if parent.dentry.unlinked.load(Ordering::Relaxed) {
        return Err(Errno::ENOENT);
    }
    writable_mount(parent)?;
    let attr = dir.attr()?;
    permitted(&task.cred(), &attr, Want(Want::WRITE.0 | Want::EXEC.0))?;
    Ok(attr)
}

/// `EROFS` if the mount is read-only.
pub fn writable_mount(path: &Path) -> Result<(), Errno> {
    if path.mount.flags() & MS_RDONLY != 0 { Err(Errno::EROFS) } else { Ok(()) }
}

/// The dentry of a new entry: the negative one becomes positive.
pub fn instantiate(parent: &Arc<Dentry>, name: &[u8], inode: InodeRef) -> Arc<Dentry> {
    let mut children = parent.children.write();
    if let Some(known) = children.get(name)
        && known.fill(&inode)
    {
        return known.clone();
    }
    let dentry = Dentry::new(Some(parent.clone()), name, Some(inode));
    children.insert(name.into(), dentry.clone());
    dentry
}

/// Marks an inode that has been mapped shared.
#[derive(Default)]
pub struct SharedMaps;

/// Changes the size of a regular file, and what its mappings show.
pub fn resize(task: &Arc<Task>, inode: &InodeRef, size: u64) -> Result<(), Errno> {
    let mapped = inode.vfs_state().get::<SharedMaps>().is_some();
    let shrinks = mapped && inode.attr()?.size > size;
    let set = SetAttr { size: Some(size), mtime: Some(SetTime::Now), ..SetAttr::default() };
    inode.set_attr(&set)?;
    if shrinks {
        for process in task.kernel.pids.processes() {
            if let Some(mm) = process.tasks().first().and_then(|task| task.mm()) {
                mm.shrunk(inode)?;
            }
        }
    }
    Ok(())
}

/// Finds or creates the file; tells whether it is new.
fn find(task: &Arc<Task>, dirfd: i32, path: &[u8], how: OpenHow) -> Result<(Path, bool), Errno> {
    let flags = how.flags;
    if flags & O_CREAT != 0 && path.last() == Some(&b'/') {
        return Err(Errno::EISDIR);
    }
    let exclusive = flags & O_CREAT != 0 && flags & O_EXCL != 0;
    let last = if flags & O_NOFOLLOW != 0 || exclusive { Last::NoFollow } else { Last::Follow };
    let found = resolve(task, dirfd, path, last, how.resolve)?;
    match found.target {
        Some(target) => {
            if exclusive {
                return Err(Errno::EEXIST);
            }
            Ok((target, false))
        }
        None if flags & O_CREAT == 0 => Err(Errno::ENOENT),
        None if found.slash => Err(Errno::EISDIR),
        None => {
            let made = create(task, &found.parent, &found.name, FileType::Regular, how.mode, 0);
            match made {
                // Another task was faster.
                Err(Errno::EEXIST) if !exclusive => {
                    let again = resolve(task, dirfd, path, last, how.resolve)?;
                    again.target.map(|t| (t, false)).ok_or(Errno::ENOENT)
                }
                other => other.map(|p| (p, true)),
            }
        }
    }
}

fn check(task: &Task, path: &Path, inode: &InodeRef, flags: u32) -> Result<(), Errno> {
    let cred = task.cred();
    let attr = inode.attr()?;
    match attr.kind {
        FileType::Directory if flags & O_CREAT != 0 => return Err(Errno::EISDIR),
        kind if flags & O_DIRECTORY != 0 && kind != FileType::Directory => {
            return Err(Errno::ENOTDIR);
        }
        FileType::Symlink => return Err(Errno::ELOOP),
        FileType::Directory if writes(flags) => return Err(Errno::EISDIR),
        FileType::Directory => {}
        FileType::CharDevice | FileType::BlockDevice if path.mount.flags() & MS_NODEV != 0 => {
            return Err(Errno::EACCES);
        }
        FileType::Socket => return Err(Errno::ENXIO),
        _ => {}
    }
    admitted(task, &cred, (&**inode, &attr), wanted(flags))?;
    if writes(flags) && matches!(attr.kind, FileType::Regular) {
        writable_mount(path)?;
    }
    if flags & O_NOATIME != 0 && !owns(&cred, &attr) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// `O_TMPFILE`.
fn open_tmpfile(task: &Arc<Task>, dir: Path, how: OpenHow) -> Result<Arc<File>, Errno> {
    if how.flags & O_ACCMODE == O_RDONLY {
        return Err(Errno::EINVAL);
    }
    let inode = dir.dentry.inode_ref().ok_or(Errno::ENOENT)?;
    let ops = inode.as_dir().ok_or(Errno::ENOTDIR)?;
    may_change(task, &dir, inode)?;
    let node = new_node(task, &inode.attr()?, FileType::Regular, how.mode, 0);
    let made = ops.tmpfile(&node)?;
    let name = format!("#{}", made.attr()?.ino);
    let dentry = Dentry::new(Some(dir.dentry.clone()), name.as_bytes(), Some(made.clone()));
    dentry.unlinked.store(true, Ordering::Relaxed);
    let flags = how.flags & KEPT & !O_DIRECTORY;
    let ops = made.clone().open(&OpenRequest { task, flags })?;
    let file = File::new(ops, Some(Path { mount: dir.mount, dentry }), flags);
    file.set_writing(Writing::begin(&made)?);
    Ok(file)
}

/// What an open must still wait for.
enum Opened {
    File(Arc<File>),
    Fifo(Path, InodeRef),
}

fn open_now(task: &Arc<Task>, dirfd: i32, path: &[u8], how: OpenHow) -> Result<Opened, Errno> {
    let flags = how.flags;
    if flags & O_PATH != 0 {
        let last = if flags & O_NOFOLLOW != 0 { Last::NoFollow } else { Last::Follow };
        let target = resolve(task, dirfd, path, last, how.resolve)?.target;
        let target = target.ok_or(Errno::ENOENT)?;
        let directory =
            target.dentry.inode_ref().is_some_and(|i| i.file_type() == FileType::Directory);
        if flags & O_DIRECTORY != 0 && !directory {
            return Err(Errno::ENOTDIR);
        }
        let kept = flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW);
        return Ok(Opened::File(File::new(Box::new(PathOnly), Some(target), kept)));
    }
    if flags & O_TMPFILE == O_TMPFILE {
        let dir = resolve(task, dirfd, path, Last::Follow, how.resolve)?.target;
        return open_tmpfile(task, dir.ok_or(Errno::ENOENT)?, how).map(Opened::File);
    }
    let (path, new) = find(task, dirfd, path, how)?;
    open_path(task, path, flags, new)
}

fn open_path(task: &Arc<Task>, path: Path, flags: u32, new: bool) -> Result<Opened, Errno> {
    let inode = path.dentry.inode().ok_or(Errno::ENOENT)?;
    let mut truncated = false;
    if !new {
        check(task, &path, &inode, flags)?;
    }
    let mut writing = None;
    if inode.file_type() == FileType::Regular && writes(flags) {
        writing = Some(Writing::begin(&inode)?);
    }
    if !new && flags & O_TRUNC != 0 && inode.file_type() == FileType::Regular {
        Seals::allow_size(&inode, 0)?;
        resize(task, &inode, 0)?;
        truncated = true;
    }
    let kept = flags & KEPT;
    let ops = match inode.file_type() {
        FileType::Fifo => return Ok(Opened::Fifo(path, inode)),
        FileType::CharDevice | FileType::BlockDevice => {
            let attr = inode.attr()?;
            let request = OpenRequest { task, flags: kept };
            task.kernel.devices.open(attr.kind, attr.rdev, &request)?
        }
        _ => inode.open(&OpenRequest { task, flags: kept })?,
    };
    let file = File::new(ops, Some(path), kept);
    if new {
        file.set_created();
    }
    if let Some(writing) = writing.filter(|_| file.writable()) {
        file.set_writing(writing);
    }
    notify::open_file_event(&file, IN_OPEN);
    if truncated {
        notify::open_file_event(&file, IN_MODIFY);
    }
    Ok(Opened::File(file))
}

/// Opens a file for a program; may wait for the other end of a FIFO.
pub async fn open(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: &[u8],
    how: OpenHow,
) -> Result<Arc<File>, SysError> {
    let task = cur.task().clone();
    match open_now(&task, dirfd, path, how)? {
        Opened::File(file) => Ok(file),
        Opened::Fifo(path, inode) => {
            let flags = how.flags & KEPT;
            let ops = pipe::open_fifo(cur, inode.vfs_state(), flags).await?;
            let file = File::new(ops, Some(path), flags);
            notify::open_file_event(&file, IN_OPEN);
            Ok(file)
        }
    }
}

/// Opens a regular file for the kernel itself, with the thread's rights.
pub(crate) fn open_regular(
    task: &Arc<Task>,
    path: &[u8],
    how: OpenHow,
) -> Result<Arc<File>, Errno> {
    match open_now(task, AT_FDCWD, path, how)? {
        Opened::File(file) => Ok(file),
        Opened::Fifo(..) => Err(Errno::ENXIO),
    }
}

/// Opens the file at a place again (`/proc/PID/fd`, `/dev/fd`).
pub fn reopen(task: &Arc<Task>, path: Path, flags: u32) -> Result<Arc<File>, Errno> {
    match open_path(task, path, flags, false)? {
        Opened::File(file) => Ok(file),
        Opened::Fifo(..) => Err(Errno::ENXIO),
    }
}

/// Opens a program for execution (`execve(2)`): a regular file that may be executed.
pub fn open_exec(
    task: &Arc<Task>,
    dirfd: i32,
    path: &[u8],
    last: Last,
) -> Result<Arc<File>, Errno> {
    let target = resolve(task, dirfd, path, last, 0)?.target.ok_or(Errno::ENOENT)?;
    exec_file(task, target)
}

/// The same for a place.
pub fn exec_file(task: &Arc<Task>, target: Path) -> Result<Arc<File>, Errno> {
    let inode = target.dentry.inode_ref().ok_or(Errno::ENOENT)?;
    let attr = inode.attr()?;
    match attr.kind {
        FileType::Regular => {}
        FileType::Symlink => return Err(Errno::ELOOP),
        _ => return Err(Errno::EACCES),
    }
    if target.mount.flags() & MS_NOEXEC != 0 {
        return Err(Errno::EACCES);
    }
    permitted(&task.cred(), &attr, Want::EXEC)?;
    drop(Running::begin(&target)?);
    let ops = inode.clone().open(&OpenRequest { task, flags: O_RDONLY })?;
    notify::file_event(&target.dentry, IN_OPEN);
    Ok(File::new(ops, Some(target), O_RDONLY))
}
