//! Attributes: `stat(2)`, `statx(2)`, `access(2)`, `chmod(2)`, `chown(2)`,
//! `utimensat(2)`, `truncate(2)`, `statfs(2)`.

use super::arg::UserPath;
use super::path_of;
use crate::cred::{CapSet, Cred};
use crate::error::SysResult;
use crate::published::Question;
use crate::task::CurrentTask;
use crate::vfs::access::{CAP_CHOWN, CAP_FSETID, Want, admitted, owns, permitted};
use crate::vfs::lookup::{Empty, Last, Look, look, lookup, lookup_at, resolve};
use crate::vfs::open::{MS_NOEXEC, resize, writable_mount};
use crate::vfs::quick::ways_changed;
use crate::vfs::{
    Attr, File, FileType, InodeRef, Kept, Mount, Path, SetAttr, SetTime, Writing, notify,
};
use chitin_abi::Errno;
use chitin_abi::fs::*;
use chitin_abi::time::{Timespec, Timeval};
use chitin_platform::PathAsk;
use chitin_usermem::UserPtr;
use std::sync::Arc;

pub(super) fn empty(flags: u32) -> Empty {
    if flags & AT_EMPTY_PATH != 0 { Empty::Allowed } else { Empty::Refused }
}

pub(super) fn last(flags: u32) -> Last {
    if flags & AT_SYMLINK_NOFOLLOW != 0 { Last::NoFollow } else { Last::Follow }
}

pub(crate) fn stat_of(a: &Attr) -> Stat {
    Stat {
        st_dev: a.dev,
        st_ino: a.ino,
        st_nlink: u64::from(a.nlink),
        st_mode: a.mode(),
        st_uid: a.uid,
        st_gid: a.gid,
        pad0: 0,
        st_rdev: a.rdev,
        st_size: a.size.cast_signed(),
        st_blksize: i64::from(a.blksize),
        st_blocks: a.blocks.cast_signed(),
        st_atime: a.atime.tv_sec.cast_unsigned(),
        st_atime_nsec: a.atime.tv_nsec.cast_unsigned(),
        st_mtime: a.mtime.tv_sec.cast_unsigned(),
        st_mtime_nsec: a.mtime.tv_nsec.cast_unsigned(),
        st_ctime: a.ctime.tv_sec.cast_unsigned(),
        st_ctime_nsec: a.ctime.tv_nsec.cast_unsigned(),
        unused: [0; 3],
    }
}

/// The same, and how long they may be told again.
pub(crate) fn file_attr_kept(file: &File) -> Result<(Attr, Kept), Errno> {
    match file.path().and_then(|p| p.dentry.inode()) {
        Some(inode) => inode.attr_kept(),
        None => Ok((file.ops().attr(), Kept::No)),
    }
}

/// Attributes of what is behind a descriptor; unnamed files have some too.
pub(crate) fn file_attr(file: &File) -> Result<Attr, Errno> {
    match file.path().and_then(|p| p.dentry.inode_ref()) {
        Some(inode) => inode.attr(),
        None => Ok(file.ops().attr()),
    }
}

pub(super) fn inode_of(path: &Path) -> Result<&InodeRef, Errno> {
    path.dentry.inode_ref().ok_or(Errno::ENOENT)
}

/// `newfstatat(2)`.
pub fn newfstatat(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    out: UserPtr<Stat>,
    flags: u32,
) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = path_arg(cur, path, flags)?;
    if dirfd == AT_FDCWD && flags & !AT_SYMLINK_NOFOLLOW == 0 {
        return stat_path(cur, &path, out, flags);
    }
    if dirfd >= 0 && flags & AT_EMPTY_PATH != 0 && path.is_empty() {
        return fstat(cur, dirfd, out);
    }
    let attr = attr_at(cur, dirfd, &path, flags)?.0;
    out.write(&**cur.mm(), &stat_of(&attr))?;
    Ok(0)
}

/// What is at a path relative to the working directory, and whether the way is steady.
fn look_at(cur: &CurrentTask, path: &[u8], last: Last) -> (Result<Look, Errno>, bool) {
    match look(cur.task(), AT_FDCWD, path, last) {
        Ok((Look::Absent, steady)) => (Err(Errno::ENOENT), steady),
        Ok((found, steady)) => (Ok(found), steady),
        Err(e) => (Err(e), false),
    }
}

/// The same for somebody who needs the file.
fn place_at(cur: &CurrentTask, path: &[u8], last: Last) -> (Result<Path, Errno>, bool) {
    match resolve(cur.task(), AT_FDCWD, path, last, 0) {
        Ok(found) => (found.target.ok_or(Errno::ENOENT), found.steady),
        Err(e) => (Err(e), false),
    }
}

/// `stat(2)` and `lstat(2)` of a path relative to the working directory, whose answer may
/// be published.
fn stat_path(cur: &CurrentTask, path: &[u8], out: UserPtr<Stat>, flags: u32) -> SysResult {
    let question = Question::new(cur.task());
    let ask = if flags == 0 { PathAsk::Stat } else { PathAsk::Lstat };
    let (found, steady) = look_at(cur, path, last(flags));
    if steady && found.as_ref().is_err_and(|&e| e == Errno::ENOENT) {
        question.path(cur, ask, path, Err(Errno::ENOENT), Kept::Changes);
    }
    let (attr, kept) = match found? {
        Look::Attr(attr, kept, _) => (attr, kept),
        Look::At(place) => inode_of(&place)?.attr_kept()?,
        Look::Absent => return Err(Errno::ENOENT.into()),
    };
    let stat = stat_of(&attr);
    out.write(&**cur.mm(), &stat)?;
    let kept = if steady { kept } else { Kept::No };
    question.path(cur, ask, path, Ok(Some(&stat)), kept);
    if kept.until() == Some(None) {
        look_ahead(cur, question, ask, path, flags);
    }
    Ok(0)
}

/// Answers the same for the names that follow, if the program asks for all in order.
fn look_ahead(cur: &CurrentTask, question: Question, ask: PathAsk, path: &[u8], flags: u32) {
    let names_after = |way: &[u8], name: &[u8], most: usize| {
        let way = if way.is_empty() { b"." } else { way };
        let dir = place_at(cur, way, Last::Follow).0.ok();
        let inode = dir.as_ref().and_then(|dir| dir.dentry.inode_ref());
        inode.and_then(|i| i.as_dir()).map_or_else(Vec::new, |dir| dir.names_after(name, most))
    };
    let look = |path: &[u8]| {
        let (found, steady) = look_at(cur, path, last(flags));
        let (attr, kept) = match found.ok().filter(|_| steady)? {
            Look::Attr(attr, kept, _) => (attr, kept),
            Look::At(place) => inode_of(&place).ok()?.attr_kept().ok()?,
            Look::Absent => return None,
        };
        Some((stat_of(&attr), kept))
    };
    question.ahead(cur, ask, path, names_after, look);
}

/// A path argument; as in Linux 6.11 a null one with `AT_EMPTY_PATH` is an empty one.
pub(super) fn path_arg(cur: &CurrentTask, path: UserPath, flags: u32) -> Result<Vec<u8>, Errno> {
    if path.0.is_null() && flags & AT_EMPTY_PATH != 0 {
        return Ok(Vec::new());
    }
    path_of(cur, path)
}

/// A mount, and whether a file is its root.
type InMount = (Arc<Mount>, bool);

fn in_mount(place: &Path) -> InMount {
    (place.mount.clone(), Arc::ptr_eq(&place.dentry, &place.mount.root))
}

fn attr_at(
    cur: &CurrentTask,
    dirfd: i32,
    path: &[u8],
    flags: u32,
) -> Result<(Attr, Option<InMount>), Errno> {
    if path.is_empty() && flags & AT_EMPTY_PATH != 0 && dirfd != AT_FDCWD {
        let file = cur.file(dirfd)?;
        return Ok((file_attr(&file)?, file.path().map(in_mount)));
    }
    let place = if path.is_empty() {
        lookup_at(cur.task(), dirfd, path, last(flags), empty(flags))?
    } else {
        match look(cur.task(), dirfd, path, last(flags))?.0 {
            Look::At(place) => place,
            Look::Attr(attr, _, mount) => return Ok((attr, Some((mount, false)))),
            Look::Absent => return Err(Errno::ENOENT),
        }
    };
    Ok((inode_of(&place)?.attr()?, Some(in_mount(&place))))
}

/// `stat(2)`.
pub fn stat(cur: &mut CurrentTask, path: UserPath, out: UserPtr<Stat>) -> SysResult {
    newfstatat(cur, AT_FDCWD, path, out, 0)
}

/// `lstat(2)`.
pub fn lstat(cur: &mut CurrentTask, path: UserPath, out: UserPtr<Stat>) -> SysResult {
    newfstatat(cur, AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW)
}

/// `fstat(2)`.
pub fn fstat(cur: &mut CurrentTask, fd: i32, out: UserPtr<Stat>) -> SysResult {
    let question = Question::new(cur.task());
    let file = cur.file(fd)?;
    let (attr, kept) = file_attr_kept(&file)?;
    let stat = stat_of(&attr);
    out.write(&**cur.mm(), &stat)?;
    question.file(cur, fd, &file, &stat, kept);
    Ok(0)
}

fn stamp(t: Timespec) -> StatxTimestamp {
    let tv_nsec = u32::try_from(t.tv_nsec).unwrap_or(0);
    StatxTimestamp { tv_sec: t.tv_sec, tv_nsec, reserved: 0 }
}

/// Major and minor number of a device as `st_dev` holds it.
fn split(dev: u64) -> (u32, u32) {
    let dev = u32::try_from(dev).unwrap_or(0);
    (major(dev), minor(dev))
}

/// `statx(2)`.
pub fn statx(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    flags: u32,
    mask: u32,
    out: UserPtr<Statx>,
) -> SysResult {
    let known = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE;
    let sync_type = flags & AT_STATX_SYNC_TYPE;
    if flags & !known != 0 || sync_type == AT_STATX_SYNC_TYPE || mask & STATX__RESERVED != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = path_arg(cur, path, flags)?;
    let (a, mount) = attr_at(cur, dirfd, &path, flags)?;
    let mut x: Statx = chitin_abi::Pod::zeroed();
    x.stx_mask = STATX_BASIC_STATS;
    (x.stx_blksize, x.stx_nlink, x.stx_uid, x.stx_gid) = (a.blksize, a.nlink, a.uid, a.gid);
    x.stx_mode = u16::try_from(a.mode()).unwrap_or(0);
    (x.stx_ino, x.stx_size, x.stx_blocks) = (a.ino, a.size, a.blocks);
    (x.stx_atime, x.stx_mtime, x.stx_ctime) = (stamp(a.atime), stamp(a.mtime), stamp(a.ctime));
    if let Some(btime) = a.btime {
        x.stx_mask |= STATX_BTIME;
        x.stx_btime = stamp(btime);
    }
    (x.stx_rdev_major, x.stx_rdev_minor) = split(a.rdev);
    (x.stx_dev_major, x.stx_dev_minor) = split(a.dev);
    if let Some((mount, is_root)) = mount {
        x.stx_mask |= STATX_MNT_ID;
        x.stx_mnt_id = mount.id;
        x.stx_attributes_mask = STATX_ATTR_MOUNT_ROOT;
        if is_root {
            x.stx_attributes |= STATX_ATTR_MOUNT_ROOT;
        }
    }
    out.write(&**cur.mm(), &x)?;
    Ok(0)
}

/// `faccessat2(2)`.
pub fn faccessat2(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    mode: u32,
    flags: u32,
) -> SysResult {
    if mode & !7 != 0 || flags & !(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = path_of(cur, path)?;
    if dirfd == AT_FDCWD && flags == 0 {
        let question = Question::new(cur.task());
        let (place, steady) = place_at(cur, &path, Last::Follow);
        let ask = PathAsk::Access(mode);
        if steady && place.as_ref().is_err_and(|&e| e == Errno::ENOENT) {
            question.path(cur, ask, &path, Err(Errno::ENOENT), Kept::Changes);
        }
        let kept = may_access(cur, &place?, mode, flags)?;
        question.path(cur, ask, &path, Ok(None), if steady { kept } else { Kept::No });
        return Ok(0);
    }
    let place = lookup_at(cur.task(), dirfd, &path, last(flags), empty(flags))?;
    may_access(cur, &place, mode, flags)?;
    Ok(0)
}

/// Whether the caller may do with a file what the mode says, and how long that is so.
fn may_access(cur: &CurrentTask, place: &Path, mode: u32, flags: u32) -> Result<Kept, Errno> {
    let inode = inode_of(place)?;
    let (attr, kept) = inode.attr_kept()?;
    if mode & Want::WRITE.0 != 0
        && matches!(attr.kind, FileType::Regular | FileType::Directory | FileType::Symlink)
    {
        writable_mount(place)?;
    }
    let cred = cur.task().cred();
    let who = if flags & AT_EACCESS != 0 { cred } else { std::sync::Arc::new(real(&cred)) };
    let program = attr.kind == FileType::Regular && mode & Want::EXEC.0 != 0;
    if program && place.mount.flags() & MS_NOEXEC != 0 {
        return Err(Errno::EACCES);
    }
    admitted(cur.task(), &who, (&**inode, &attr), Want(mode))?;
    Ok(kept)
}

/// Who the real user is, with the privileges it would have after `execve(2)`
/// (`access(2)`).
fn real(cred: &Cred) -> Cred {
    const SECBIT_NO_SETUID_FIXUP: u32 = 4;
    let effective = match cred.uid {
        _ if cred.securebits & SECBIT_NO_SETUID_FIXUP != 0 => cred.effective,
        0 => cred.permitted,
        _ => CapSet::default(),
    };
    Cred { fsuid: cred.uid, fsgid: cred.gid, effective, ..cred.clone() }
}

/// `faccessat(2)`.
pub fn faccessat(cur: &mut CurrentTask, dirfd: i32, path: UserPath, mode: u32) -> SysResult {
    faccessat2(cur, dirfd, path, mode, 0)
}

/// `access(2)`.
pub fn access(cur: &mut CurrentTask, path: UserPath, mode: u32) -> SysResult {
    faccessat2(cur, AT_FDCWD, path, mode, 0)
}

fn change_mode(cur: &CurrentTask, place: &Path, mode: u32) -> SysResult {
    writable_mount(place)?;
    let inode = inode_of(place)?;
    let attr = inode.attr()?;
    let cred = cur.task().cred();
    if attr.kind == FileType::Symlink {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if !owns(&cred, &attr) {
        return Err(Errno::EPERM.into());
    }
    let mut perm = mode & 0o7777;
    if !cred.in_group(attr.gid) && !cred.has_cap(CAP_FSETID) {
        perm &= !S_ISGID;
    }
    inode.set_attr(&SetAttr { perm: Some(perm), ..SetAttr::default() })?;
    if attr.kind == FileType::Directory {
        ways_changed();
    }
    notify::file_event(&place.dentry, IN_ATTRIB);
    Ok(0)
}

/// The place behind a descriptor of a named file.
pub(super) fn place_of(cur: &CurrentTask, fd: i32) -> Result<Path, Errno> {
    let file = cur.file(fd)?;
    if file.flags() & O_PATH != 0 {
        return Err(Errno::EBADF);
    }
    file.path().cloned().ok_or(Errno::EINVAL)
}

/// `fchmodat2(2)`.
pub fn fchmodat2(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    mode: u32,
    flags: u32,
) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = path_of(cur, path)?;
    let place = lookup_at(cur.task(), dirfd, &path, last(flags), empty(flags))?;
    change_mode(cur, &place, mode)
}

/// `fchmodat(2)`.
pub fn fchmodat(cur: &mut CurrentTask, dirfd: i32, path: UserPath, mode: u32) -> SysResult {
    fchmodat2(cur, dirfd, path, mode, 0)
}

/// `chmod(2)`.
pub fn chmod(cur: &mut CurrentTask, path: UserPath, mode: u32) -> SysResult {
    fchmodat2(cur, AT_FDCWD, path, mode, 0)
}

/// `fchmod(2)`.
pub fn fchmod(cur: &mut CurrentTask, fd: i32, mode: u32) -> SysResult {
    let place = place_of(cur, fd)?;
    change_mode(cur, &place, mode)
}

fn change_owner(cur: &CurrentTask, place: &Path, uid: u32, gid: u32) -> SysResult {
    writable_mount(place)?;
    let inode = inode_of(place)?;
    let attr = inode.attr()?;
    let cred = cur.task().cred();
    let given = |id: u32| (id != u32::MAX).then_some(id);
    let (uid, gid) = (given(uid), given(gid));
    let may_uid = uid.is_none_or(|u| u == attr.uid && cred.fsuid == attr.uid);
    let may_gid = gid.is_none_or(|g| cred.fsuid == attr.uid && (g == attr.gid || cred.in_group(g)));
    let allowed = (may_uid && may_gid) || cred.has_cap(CAP_CHOWN);
    if !allowed {
        return Err(Errno::EPERM.into());
    }
    let mut perm = None;
    if attr.kind != FileType::Directory && (uid.is_some() || gid.is_some()) {
        let mut bits = attr.perm & !S_ISUID;
        if attr.perm & S_IXGRP != 0 {
            bits &= !S_ISGID;
        }
        perm = (bits != attr.perm).then_some(bits);
    }
    inode.set_attr(&SetAttr { uid, gid, perm, ..SetAttr::default() })?;
    if attr.kind == FileType::Directory {
        ways_changed();
    }
    notify::file_event(&place.dentry, IN_ATTRIB);
    Ok(0)
}

/// `fchownat(2)`.
pub fn fchownat(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    uid: u32,
    gid: u32,
    flags: u32,
) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = path_of(cur, path)?;
    let place = lookup_at(cur.task(), dirfd, &path, last(flags), empty(flags))?;
    change_owner(cur, &place, uid, gid)
}

/// `chown(2)`.
pub fn chown(cur: &mut CurrentTask, path: UserPath, uid: u32, gid: u32) -> SysResult {
    fchownat(cur, AT_FDCWD, path, uid, gid, 0)
}

/// `lchown(2)`.
pub fn lchown(cur: &mut CurrentTask, path: UserPath, uid: u32, gid: u32) -> SysResult {
    fchownat(cur, AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW)
}

/// `fchown(2)`.
pub fn fchown(cur: &mut CurrentTask, fd: i32, uid: u32, gid: u32) -> SysResult {
    let place = place_of(cur, fd)?;
    change_owner(cur, &place, uid, gid)
}

fn change_times(
    cur: &CurrentTask,
    place: &Path,
    times: [Option<SetTime>; 2],
    explicit: bool,
) -> SysResult {
    writable_mount(place)?;
    let inode = inode_of(place)?;
    let attr = inode.attr()?;
    let cred = cur.task().cred();
    if !owns(&cred, &attr) {
        if explicit {
            return Err(Errno::EPERM.into());
        }
        permitted(&cred, &attr, Want::WRITE)?;
    }
    let [atime, mtime] = times;
    inode.set_attr(&SetAttr { atime, mtime, ..SetAttr::default() })?;
    let event = match (atime, mtime) {
        (Some(_), Some(_)) => IN_ATTRIB,
        (Some(_), None) => IN_ACCESS,
        (None, Some(_)) => IN_MODIFY,
        (None, None) => return Ok(0),
    };
    notify::file_event(&place.dentry, event);
    Ok(0)
}

fn set_time(t: Timespec) -> Result<Option<SetTime>, Errno> {
    match t.tv_nsec {
        UTIME_NOW => Ok(Some(SetTime::Now)),
        UTIME_OMIT => Ok(None),
        0..1_000_000_000 => Ok(Some(SetTime::To(t))),
        _ => Err(Errno::EINVAL),
    }
}

/// `utimensat(2)`.
pub fn utimensat(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    times: UserPtr<[Timespec; 2]>,
    flags: u32,
) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let given = times.read_opt(&**cur.mm())?;
    let [a, m] = given.unwrap_or([Timespec { tv_sec: 0, tv_nsec: UTIME_NOW }; 2]);
    let set = [set_time(a)?, set_time(m)?];
    let explicit = [a, m].iter().any(|t| t.tv_nsec != UTIME_NOW);
    if set.iter().all(Option::is_none) {
        return Ok(0);
    }
    let place = if path.0.is_null() && dirfd != AT_FDCWD {
        if flags & !AT_EMPTY_PATH != 0 {
            return Err(Errno::EINVAL.into());
        }
        place_of(cur, dirfd)?
    } else {
        let path = path_of(cur, path)?;
        lookup_at(cur.task(), dirfd, &path, last(flags), empty(flags))?
    };
    change_times(cur, &place, set, explicit)
}

/// `futimesat(2)`.
pub fn futimesat(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    times: UserPtr<[Timeval; 2]>,
) -> SysResult {
    let given = times.read_opt(&**cur.mm())?;
    let explicit = given.is_some();
    let set = match given {
        None => [Some(SetTime::Now); 2],
        Some(both) => {
            if both.iter().any(|t| !(0..1_000_000).contains(&t.tv_usec)) {
                return Err(Errno::EINVAL.into());
            }
            both.map(|t| {
                Some(SetTime::To(Timespec { tv_sec: t.tv_sec, tv_nsec: t.tv_usec * 1000 }))
            })
        }
    };
    let place = if path.0.is_null() {
        place_of(cur, dirfd)?
    } else {
        let path = path_of(cur, path)?;
        lookup_at(cur.task(), dirfd, &path, Last::Follow, Empty::Refused)?
    };
    change_times(cur, &place, set, explicit)
}

/// `utimes(2)`.
pub fn utimes(cur: &mut CurrentTask, path: UserPath, times: UserPtr<[Timeval; 2]>) -> SysResult {
    futimesat(cur, AT_FDCWD, path, times)
}

/// `utime(2)`: seconds of access and modification.
pub fn utime(cur: &mut CurrentTask, path: UserPath, times: UserPtr<[i64; 2]>) -> SysResult {
    let given = times.read_opt(&**cur.mm())?;
    let path = path_of(cur, path)?;
    let place = lookup(cur.task(), AT_FDCWD, &path, Last::Follow)?;
    let set = match given {
        None => [Some(SetTime::Now); 2],
        Some(both) => both.map(|tv_sec| Some(SetTime::To(Timespec { tv_sec, tv_nsec: 0 }))),
    };
    change_times(cur, &place, set, given.is_some())
}

/// `truncate(2)`.
pub fn truncate(cur: &mut CurrentTask, path: UserPath, len: i64) -> SysResult {
    let size = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
    let path = path_of(cur, path)?;
    let place = lookup(cur.task(), AT_FDCWD, &path, Last::Follow)?;
    let inode = inode_of(&place)?;
    match inode.file_type() {
        FileType::Regular => {}
        FileType::Directory => return Err(Errno::EISDIR.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    writable_mount(&place)?;
    permitted(&cur.task().cred(), &inode.attr()?, Want::WRITE)?;
    let _writing = Writing::begin(inode)?;
    super::rw::limit_size(cur, inode, size)?;
    super::rw::drop_privileges(cur.task(), inode)?;
    resize(cur.task(), inode, size)?;
    notify::file_event(&place.dentry, IN_MODIFY);
    Ok(0)
}

fn statfs_of(cur: &CurrentTask, place: &Path, out: UserPtr<Statfs>) -> SysResult {
    let s = place.mount.fs.statfs()?;
    let dev = place.mount.fs.dev();
    let mut x: Statfs = chitin_abi::Pod::zeroed();
    let size = s.block_size.cast_signed();
    (x.f_type, x.f_bsize, x.f_frsize) = (s.magic.cast_signed(), size, size);
    (x.f_blocks, x.f_bfree, x.f_bavail) = (s.blocks, s.free, s.available);
    (x.f_files, x.f_ffree) = (s.files, s.files_free);
    x.f_fsid = [u32::try_from(dev).unwrap_or(0).cast_signed(), 0];
    x.f_namelen = s.name_max.cast_signed();
    x.f_flags = i64::from(place.mount.flags() & 0xf) | ST_VALID;
    out.write(&**cur.mm(), &x)?;
    Ok(0)
}

/// `statfs(2)`.
pub fn statfs(cur: &mut CurrentTask, path: UserPath, out: UserPtr<Statfs>) -> SysResult {
    let path = path_of(cur, path)?;
    let place = lookup(cur.task(), AT_FDCWD, &path, Last::Follow)?;
    statfs_of(cur, &place, out)
}

/// `fstatfs(2)`.
pub fn fstatfs(cur: &mut CurrentTask, fd: i32, out: UserPtr<Statfs>) -> SysResult {
    let file = cur.file(fd)?;
    match file.path() {
        Some(place) => statfs_of(cur, place, out),
        None => {
            let mut x: Statfs = chitin_abi::Pod::zeroed();
            // PIPEFS_MAGIC stands for all unnamed files.
            (x.f_type, x.f_bsize, x.f_frsize, x.f_namelen) = (0x5049_5045, 4096, 4096, 255);
            x.f_flags = ST_VALID;
            out.write(&**cur.mm(), &x)?;
            Ok(0)
        }
    }
}
