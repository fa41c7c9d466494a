//! Directories and names: `mkdir(2)`, `unlink(2)`, `rename(2)`, `link(2)`,
//! `getdents(2)`, `chdir(2)`.

use super::arg::UserPath;
use super::path_of;
use crate::changes;
use crate::error::SysResult;
use crate::published::Question;
use crate::sync::RwLock;
use crate::task::{CurrentTask, Task};
use crate::vfs::access::{Want, admitted, may_remove, permitted};
use crate::vfs::lookup::{
    Empty, Last, Resolved, base, child_locked, lookup, lookup_at, lookup_parent, name_from,
    resolve, same_inode,
};
use crate::vfs::open::{create, instantiate, may_change, writable_mount};
use crate::vfs::quick::ways_changed;
use crate::vfs::{Caching, Dentry, DirSink, FileType, InodeRef, Kept, Mount, Path, notify};
use chitin_abi::Errno;
use chitin_abi::fs::*;
use chitin_platform::PathAsk;
use chitin_usermem::{UserAddr, UserMemory};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// `CAP_MKNOD`, `CAP_SYS_CHROOT`.
const CAP_MKNOD: u32 = 27;
const CAP_SYS_CHROOT: u32 = 18;

fn inode_of(path: &Path) -> Result<&InodeRef, Errno> {
    path.dentry.inode_ref().ok_or(Errno::ENOENT)
}

/// The place for a new entry: nothing is there yet.
fn vacant(cur: &CurrentTask, dirfd: i32, path: &[u8], kind: FileType) -> Result<Resolved, Errno> {
    let found = lookup_parent(cur.task(), dirfd, path)?;
    if found.target.is_some() || found.name.is_empty() {
        return Err(Errno::EEXIST);
    }
    if found.slash && kind != FileType::Directory {
        return Err(Errno::ENOENT);
    }
    Ok(found)
}

/// `mkdirat(2)`.
pub fn mkdirat(cur: &mut CurrentTask, dirfd: i32, path: UserPath, mode: u32) -> SysResult {
    let path = path_of(cur, path)?;
    let at = vacant(cur, dirfd, &path, FileType::Directory)?;
    create(cur.task(), &at.parent, &at.name, FileType::Directory, mode & 0o1777, 0)?;
    Ok(0)
}

/// `mkdir(2)`.
pub fn mkdir(cur: &mut CurrentTask, path: UserPath, mode: u32) -> SysResult {
    mkdirat(cur, AT_FDCWD, path, mode)
}

/// `mknodat(2)`.
pub fn mknodat(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    mode: u32,
    dev: u64,
) -> SysResult {
    let kind = match mode & S_IFMT {
        0 => FileType::Regular,
        bits => FileType::from_mode(bits).ok_or(Errno::EINVAL)?,
    };
    match kind {
        FileType::Directory => return Err(Errno::EPERM.into()),
        FileType::Symlink => return Err(Errno::EINVAL.into()),
        _ => {}
    }
    let path = path_of(cur, path)?;
    let at = vacant(cur, dirfd, &path, kind)?;
    let device = matches!(kind, FileType::CharDevice | FileType::BlockDevice);
    // A character device 0/0 is a whiteout and needs no privilege.
    let whiteout = kind == FileType::CharDevice && dev == 0;
    if device && !whiteout && !cur.task().cred().has_cap(CAP_MKNOD) {
        return Err(Errno::EPERM.into());
    }
    let rdev = if device { dev & 0xffff_ffff } else { 0 };
    create(cur.task(), &at.parent, &at.name, kind, mode & 0o7777, rdev)?;
    Ok(0)
}

/// `mknod(2)`.
pub fn mknod(cur: &mut CurrentTask, path: UserPath, mode: u32, dev: u64) -> SysResult {
    mknodat(cur, AT_FDCWD, path, mode, dev)
}

/// `symlinkat(2)`.
pub fn symlinkat(cur: &mut CurrentTask, target: UserPath, dirfd: i32, path: UserPath) -> SysResult {
    let target = path_of(cur, target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let path = path_of(cur, path)?;
    let at = vacant(cur, dirfd, &path, FileType::Symlink)?;
    let dir = inode_of(&at.parent)?;
    may_change(cur.task(), &at.parent, dir)?;
    let node = crate::vfs::open::new_node(cur.task(), &dir.attr()?, FileType::Symlink, 0o777, 0);
    let ops = dir.as_dir().ok_or(Errno::ENOTDIR)?;
    let _changes = at.parent.dentry.changes.lock();
    let _changing = changes::begin();
    let inode = ops.symlink(&at.name, &target, (node.uid, node.gid))?;
    notify::created(&at.parent.dentry, &at.name, &inode);
    instantiate(&at.parent.dentry, &at.name, inode);
    Ok(0)
}

/// `symlink(2)`.
pub fn symlink(cur: &mut CurrentTask, target: UserPath, path: UserPath) -> SysResult {
    symlinkat(cur, target, AT_FDCWD, path)
}

/// `linkat(2)`.
pub fn linkat(
    cur: &mut CurrentTask,
    old_dirfd: i32,
    old: UserPath,
    new_dirfd: i32,
    new: UserPath,
    flags: u32,
) -> SysResult {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let last = if flags & AT_SYMLINK_FOLLOW != 0 { Last::Follow } else { Last::NoFollow };
    let empty = if flags & AT_EMPTY_PATH != 0 { Empty::Allowed } else { Empty::Refused };
    let old = path_of(cur, old)?;
    let from = lookup_at(cur.task(), old_dirfd, &old, last, empty)?;
    let new = path_of(cur, new)?;
    let at = vacant(cur, new_dirfd, &new, FileType::Regular)?;
    if !Arc::ptr_eq(&from.mount, &at.parent.mount) {
        return Err(Errno::EXDEV.into());
    }
    let inode = inode_of(&from)?;
    if inode.file_type() == FileType::Directory {
        return Err(Errno::EPERM.into());
    }
    let dir = inode_of(&at.parent)?;
    may_change(cur.task(), &at.parent, dir)?;
    let ops = dir.as_dir().ok_or(Errno::ENOTDIR)?;
    let _changes = at.parent.dentry.changes.lock();
    let _changing = changes::begin();
    ops.link(&at.name, inode)?;
    notify::links_changed(inode);
    notify::created(&at.parent.dentry, &at.name, inode);
    instantiate(&at.parent.dentry, &at.name, inode.clone());
    Ok(0)
}

/// `link(2)`.
pub fn link(cur: &mut CurrentTask, old: UserPath, new: UserPath) -> SysResult {
    linkat(cur, AT_FDCWD, old, AT_FDCWD, new, 0)
}

/// Makes a dentry's name free: who still holds it sees a removed file. The caller
/// holds the directory's lock.
fn forget(parent: &Path, name: &[u8], dentry: &Dentry) {
    dentry.unlinked.store(true, Ordering::Relaxed);
    let mut children = parent.dentry.children.write();
    match parent.mount.fs.caching() {
        Caching::Always => {
            let absent = Dentry::new(Some(parent.dentry.clone()), name, None);
            children.insert(name.into(), absent);
        }
        Caching::Never => {
            children.remove(name);
        }
    }
}

fn busy(mount: &Mount, dentry: &Arc<Dentry>) -> Result<(), Errno> {
    let is_root = Arc::ptr_eq(dentry, &mount.root);
    if is_root || dentry.mounted.load(Ordering::SeqCst) > 0 {
        return Err(Errno::EBUSY);
    }
    Ok(())
}

/// `unlinkat(2)`.
pub fn unlinkat(cur: &mut CurrentTask, dirfd: i32, path: UserPath, flags: u32) -> SysResult {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL.into());
    }
    let text = path_of(cur, path)?;
    remove(cur.task(), dirfd, &text, flags)?;
    Ok(0)
}

/// Removes a file for the kernel itself, with the thread's rights.
pub(crate) fn remove_file(task: &Arc<Task>, dirfd: i32, path: &[u8]) -> Result<(), Errno> {
    remove(task, dirfd, path, 0)
}

fn remove(task: &Arc<Task>, dirfd: i32, text: &[u8], flags: u32) -> Result<(), Errno> {
    let mut found = lookup_parent(task, dirfd, text)?;
    found.target = None;
    let directory = flags & AT_REMOVEDIR != 0;
    if found.name.is_empty() {
        let last = text.split(|&b| b == b'/').rfind(|part| !part.is_empty());
        let errno = match (directory, last) {
            (false, _) => Errno::EISDIR,
            (true, None) => Errno::EBUSY,
            (true, Some(b"..")) => Errno::ENOTEMPTY,
            (true, Some(_)) => Errno::EINVAL,
        };
        return Err(errno);
    }
    writable_mount(&found.parent)?;
    let _changes = found.parent.dentry.changes.lock();
    let dentry = child_locked(task, &found.parent, &found.name)?;
    let inode = dentry.inode().ok_or(Errno::ENOENT)?;
    let is_dir = inode.file_type() == FileType::Directory;
    if found.slash && !directory {
        return Err(if is_dir { Errno::EISDIR } else { Errno::ENOTDIR });
    }
    let dir = inode_of(&found.parent)?;
    may_remove(&task.cred(), &dir.attr()?, &inode.attr()?)?;
    match (directory, is_dir) {
        (true, false) => return Err(Errno::ENOTDIR),
        (false, true) => return Err(Errno::EISDIR),
        _ => busy(&found.parent.mount, &dentry)?,
    }
    let ops = dir.as_dir().ok_or(Errno::ENOTDIR)?;
    let _changing = changes::begin();
    match directory {
        true => ops.rmdir(&found.name, &inode)?,
        false => ops.unlink(&found.name, &inode)?,
    }
    forget(&found.parent, &found.name, &dentry);
    if is_dir {
        ways_changed();
    }
    notify::removed(&found.parent.dentry, &found.name, &dentry);
    Ok(())
}

/// `unlink(2)`.
pub fn unlink(cur: &mut CurrentTask, path: UserPath) -> SysResult {
    unlinkat(cur, AT_FDCWD, path, 0)
}

/// `rmdir(2)`.
pub fn rmdir(cur: &mut CurrentTask, path: UserPath) -> SysResult {
    unlinkat(cur, AT_FDCWD, path, AT_REMOVEDIR)
}

fn is_ancestor(ancestor: &Arc<Dentry>, of: &Arc<Dentry>) -> bool {
    let mut at = Some(of.clone());
    while let Some(dentry) = at {
        if Arc::ptr_eq(&dentry, ancestor) {
            return true;
        }
        at = dentry.parent();
    }
    false
}

/// One side of a move: the directory, the name in it, and what is there.
struct Side {
    at: Resolved,
    dir: InodeRef,
    dentry: Arc<Dentry>,
}

impl Side {
    fn new(task: &Arc<Task>, mut at: Resolved) -> Result<Self, Errno> {
        // What was there before the lock was taken must not keep a file from ending.
        at.target = None;
        let dir = inode_of(&at.parent)?.clone();
        let dentry = child_locked(task, &at.parent, &at.name)?;
        Ok(Self { at, dir, dentry })
    }

    fn is_dir(&self) -> bool {
        self.dentry.inode().is_some_and(|i| i.file_type() == FileType::Directory)
    }

    /// Whether the entry may be taken away.
    fn may_leave(&self, task: &Arc<Task>, inode: &InodeRef) -> Result<(), Errno> {
        may_remove(&task.cred(), &self.dir.attr()?, &inode.attr()?)
    }
}

/// `renameat2(2)`.
pub fn renameat2(
    cur: &mut CurrentTask,
    old_dirfd: i32,
    old: UserPath,
    new_dirfd: i32,
    new: UserPath,
    flags: u32,
) -> SysResult {
    let exchange = flags & RENAME_EXCHANGE != 0;
    let whiteout = flags & RENAME_WHITEOUT != 0;
    if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) != 0
        || (exchange && flags & (RENAME_NOREPLACE | RENAME_WHITEOUT) != 0)
    {
        return Err(Errno::EINVAL.into());
    }
    if whiteout && !cur.task().cred().has_cap(CAP_MKNOD) {
        return Err(Errno::EPERM.into());
    }
    let (old, new) = (path_of(cur, old)?, path_of(cur, new)?);
    let task = cur.task().clone();
    let _serial = task.kernel.rename.lock();
    let from = lookup_parent(&task, old_dirfd, &old)?;
    let to = lookup_parent(&task, new_dirfd, &new)?;
    if !Arc::ptr_eq(&from.parent.mount, &to.parent.mount) {
        return Err(Errno::EXDEV.into());
    }
    if from.name.is_empty() {
        return Err(Errno::EBUSY.into());
    }
    if to.name.is_empty() {
        let taken = flags & RENAME_NOREPLACE != 0;
        return Err(if taken { Errno::EEXIST } else { Errno::EBUSY }.into());
    }
    writable_mount(&from.parent)?;
    let (first, second) = (from.parent.dentry.clone(), to.parent.dentry.clone());
    let _first = first.changes.lock();
    let _second = (!Arc::ptr_eq(&first, &second)).then(|| second.changes.lock());
    let (from, to) = (Side::new(&task, from)?, Side::new(&task, to)?);
    if checked_move(&task, &from, &to, flags)? {
        let ops = from.dir.as_dir().ok_or(Errno::ENOTDIR)?;
        let to_ops = to.dir.as_dir().ok_or(Errno::ENOTDIR)?;
        let _changing = changes::begin();
        ops.rename(&from.at.name, to_ops, &to.at.name, flags)?;
        moved(&from, &to, exchange);
        tell_move(&from, &to, exchange);
    }
    Ok(0)
}

/// Whether there is something to do, in the order of Linux's checks.
fn checked_move(task: &Arc<Task>, from: &Side, to: &Side, flags: u32) -> Result<bool, Errno> {
    let exchange = flags & RENAME_EXCHANGE != 0;
    let inode = from.dentry.inode().ok_or(Errno::ENOENT)?;
    let other = to.dentry.inode();
    match &other {
        Some(_) if flags & RENAME_NOREPLACE != 0 => return Err(Errno::EEXIST),
        None if exchange => return Err(Errno::ENOENT),
        _ => {}
    }
    if exchange && !to.is_dir() && to.at.slash {
        return Err(Errno::ENOTDIR);
    }
    if !from.is_dir() && (from.at.slash || (to.at.slash && !exchange)) {
        return Err(Errno::ENOTDIR);
    }
    if is_ancestor(&from.dentry, &to.at.parent.dentry) {
        return Err(Errno::EINVAL);
    }
    if is_ancestor(&to.dentry, &from.at.parent.dentry) {
        return Err(if exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
    }
    // Two names of the same file: nothing happens.
    if other.as_ref().is_some_and(|other| same_inode(other, &inode)) {
        return Ok(false);
    }
    from.may_leave(task, &inode)?;
    match &other {
        None => may_change(task, &to.at.parent, &to.dir).map(drop)?,
        Some(other) => {
            to.may_leave(task, other)?;
            match (from.is_dir(), to.is_dir()) {
                _ if exchange => {}
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                _ => {}
            }
        }
    }
    if !Arc::ptr_eq(&from.at.parent.dentry, &to.at.parent.dentry) {
        // The `..` of a directory changes.
        let cred = task.cred();
        if from.is_dir() {
            permitted(&cred, &inode.attr()?, Want::WRITE)?;
        }
        if let Some(other) = other.as_ref().filter(|_| exchange && to.is_dir()) {
            permitted(&cred, &other.attr()?, Want::WRITE)?;
        }
    }
    busy(&from.at.parent.mount, &from.dentry)?;
    busy(&to.at.parent.mount, &to.dentry)?;
    Ok(true)
}

/// The dentries follow what the file system has done.
fn moved(from: &Side, to: &Side, exchange: bool) {
    if exchange {
        place_dentry(&from.at.parent.dentry, &from.at.name, &to.dentry);
    } else {
        to.dentry.unlinked.store(to.dentry.inode_ref().is_some(), Ordering::Relaxed);
        let mut children = from.at.parent.dentry.children.write();
        children.remove(&*from.at.name);
    }
    place_dentry(&to.at.parent.dentry, &to.at.name, &from.dentry);
    if from.is_dir() || to.is_dir() {
        ways_changed();
    }
}

/// Tells who watches of a move.
fn tell_move(from: &Side, to: &Side, exchange: bool) {
    let old = notify::Moved { dir: &from.at.parent.dentry, name: &from.at.name };
    let new = notify::Moved { dir: &to.at.parent.dentry, name: &to.at.name };
    if let Some(inode) = from.dentry.inode() {
        notify::moved(&old, &new, &inode, (!exchange).then_some(&to.dentry));
    }
    if let Some(inode) = to.dentry.inode().filter(|_| exchange) {
        notify::moved(&new, &old, &inode, None);
    }
}

fn place_dentry(parent: &Arc<Dentry>, name: &[u8], dentry: &Arc<Dentry>) {
    *dentry.place.write() = (Some(parent.clone()), name.into());
    parent.children.write().insert(name.into(), dentry.clone());
}

/// `renameat(2)`.
pub fn renameat(
    cur: &mut CurrentTask,
    old_dirfd: i32,
    old: UserPath,
    new_dirfd: i32,
    new: UserPath,
) -> SysResult {
    renameat2(cur, old_dirfd, old, new_dirfd, new, 0)
}

/// `rename(2)`.
pub fn rename(cur: &mut CurrentTask, old: UserPath, new: UserPath) -> SysResult {
    renameat2(cur, AT_FDCWD, old, AT_FDCWD, new, 0)
}

/// `readlinkat(2)`.
pub fn readlinkat(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    out: UserAddr,
    size: i32,
) -> SysResult {
    let size = usize::try_from(size).ok().filter(|&n| n > 0).ok_or(Errno::EINVAL)?;
    let path = path_of(cur, path)?;
    if dirfd == AT_FDCWD && !path.is_empty() {
        let question = Question::new(cur.task());
        let found = resolve(cur.task(), dirfd, &path, Last::NoFollow, 0)?;
        let steady = found.steady;
        let (failure, kept) = match found.target.as_ref().map(inode_of).transpose()? {
            None => (Errno::ENOENT, Kept::Changes),
            Some(inode) if inode.file_type() != FileType::Symlink => {
                (Errno::EINVAL, inode.attr_kept()?.1)
            }
            Some(inode) => return read_link(cur, inode, out, size),
        };
        let kept = if steady { kept } else { Kept::No };
        question.path(cur, PathAsk::Readlink, &path, Err(failure), kept);
        return Err(failure.into());
    }
    let place = lookup_at(cur.task(), dirfd, &path, Last::NoFollow, Empty::Allowed)?;
    let inode = inode_of(&place)?;
    if inode.file_type() != FileType::Symlink {
        return Err(if path.is_empty() { Errno::ENOENT } else { Errno::EINVAL }.into());
    }
    read_link(cur, inode, out, size)
}

fn read_link(cur: &CurrentTask, inode: &InodeRef, out: UserAddr, size: usize) -> SysResult {
    let target = inode.read_link(cur.task())?;
    let n = target.len().min(size);
    cur.mm().write(out, target.get(..n).unwrap_or_default())?;
    Ok(n as u64)
}

/// `readlink(2)`.
pub fn readlink(cur: &mut CurrentTask, path: UserPath, out: UserAddr, size: i32) -> SysResult {
    readlinkat(cur, AT_FDCWD, path, out, size)
}

/// `getcwd(2)`.
pub fn getcwd(cur: &mut CurrentTask, out: UserAddr, size: usize) -> SysResult {
    let fs = cur.task().fs();
    let (cwd, root) = (fs.cwd.read().clone(), fs.root.read().clone());
    let (mut name, reachable) = name_from(cur.task(), &cwd, &root);
    if name.ends_with(b" (deleted)") {
        return Err(Errno::ENOENT.into());
    }
    if !reachable {
        name = [b"(unreachable)", &*name].concat();
    }
    name.push(0);
    if name.len() > size {
        return Err(Errno::ERANGE.into());
    }
    cur.mm().write(out, &name)?;
    Ok(name.len() as u64)
}

fn enter(cur: &CurrentTask, place: Path) -> Result<Path, Errno> {
    let inode = inode_of(&place)?;
    if inode.file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    let (task, attr) = (cur.task(), inode.attr()?);
    admitted(task, &task.cred(), (&**inode, &attr), Want::EXEC)?;
    Ok(place)
}

/// Makes a place the root or working directory of all who share it.
fn move_to(slot: &RwLock<Path>, place: Path) {
    // Answers about paths are relative to it.
    let _changing = changes::begin();
    let old = std::mem::replace(&mut *slot.write(), place);
    drop(old);
}

/// `chdir(2)`.
pub fn chdir(cur: &mut CurrentTask, path: UserPath) -> SysResult {
    let path = path_of(cur, path)?;
    let place = enter(cur, lookup(cur.task(), AT_FDCWD, &path, Last::Follow)?)?;
    move_to(&cur.task().fs().cwd, place);
    Ok(0)
}

/// `fchdir(2)`.
pub fn fchdir(cur: &mut CurrentTask, fd: i32) -> SysResult {
    // The descriptor may be O_PATH; `base` says ENOTDIR where it is none.
    let place = enter(cur, base(cur.task(), fd, b".")?)?;
    move_to(&cur.task().fs().cwd, place);
    Ok(0)
}

/// `chroot(2)`.
pub fn chroot(cur: &mut CurrentTask, path: UserPath) -> SysResult {
    let path = path_of(cur, path)?;
    let place = enter(cur, lookup(cur.task(), AT_FDCWD, &path, Last::Follow)?)?;
    if !cur.task().cred().has_cap(CAP_SYS_CHROOT) {
        return Err(Errno::EPERM.into());
    }
    move_to(&cur.task().fs().root, place);
    Ok(0)
}

/// `umask(2)`.
pub fn umask(cur: &mut CurrentTask, mask: u32) -> SysResult {
    let old = cur.task().fs().umask.swap(mask & 0o777, Ordering::Relaxed);
    Ok(u64::from(old))
}

/// Formats entries as `getdents64(2)` or the old call returns them.
struct Sink {
    out: Vec<u8>,
    room: usize,
    layout: Layout,
    /// The first entry alone did not fit.
    too_small: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Old,
    New,
}

impl DirSink for Sink {
    fn entry(&mut self, ino: u64, next: u64, d_type: u8, name: &[u8]) -> bool {
        let len = match self.layout {
            Layout::New => dirent64_len(name.len()),
            Layout::Old => dirent_len(name.len()),
        };
        if self.out.len() + len > self.room {
            self.too_small = self.out.is_empty();
            return false;
        }
        let start = self.out.len();
        self.out.extend_from_slice(&ino.to_le_bytes());
        self.out.extend_from_slice(&next.to_le_bytes());
        self.out.extend_from_slice(&u16::try_from(len).unwrap_or(0).to_le_bytes());
        if self.layout == Layout::New {
            self.out.push(d_type);
        }
        self.out.extend_from_slice(name);
        self.out.resize(start + len, 0);
        if self.layout == Layout::Old
            && let Some(last) = self.out.last_mut()
        {
            *last = d_type;
        }
        true
    }
}

/// Bytes of entries that are made at once.
const DIR_BUFFER: usize = 64 << 10;

fn list(cur: &CurrentTask, fd: i32, out: UserAddr, size: u32, layout: Layout) -> SysResult {
    let file = cur.file(fd)?;
    if !file.readable() || file.flags() & O_PATH != 0 {
        return Err(Errno::EBADF.into());
    }
    let inode = file.path().and_then(|p| p.dentry.inode_ref());
    if inode.is_none_or(|i| i.file_type() != FileType::Directory) {
        return Err(Errno::ENOTDIR.into());
    }
    if file.path().is_some_and(|p| p.dentry.unlinked.load(Ordering::Relaxed)) {
        return Err(Errno::ENOENT.into());
    }
    let room = usize::try_from(size).unwrap_or(usize::MAX).min(DIR_BUFFER);
    let mut sink = Sink { out: Vec::new(), room, layout, too_small: false };
    let mut pos = file.pos.lock();
    let next = file.ops().read_dir(cur.file_cx(&file), *pos, &mut sink)?;
    if sink.too_small {
        return Err(Errno::EINVAL.into());
    }
    cur.mm().write(out, &sink.out)?;
    *pos = next;
    notify::open_file_event(&file, IN_ACCESS);
    Ok(sink.out.len() as u64)
}

/// `getdents64(2)`.
pub fn getdents64(cur: &mut CurrentTask, fd: i32, out: UserAddr, size: u32) -> SysResult {
    list(cur, fd, out, size, Layout::New)
}

/// `getdents(2)`.
pub fn getdents(cur: &mut CurrentTask, fd: i32, out: UserAddr, size: u32) -> SysResult {
    list(cur, fd, out, size, Layout::Old)
}

#[cfg(test)]
#[path = "dir_tests.rs"]
mod tests;
