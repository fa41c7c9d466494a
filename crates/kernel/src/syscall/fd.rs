//! Descriptors: `open(2)`, `close(2)`, `dup(2)`, `fcntl(2)`, `ioctl(2)`, `pipe(2)`.

use super::arg::UserPath;
use super::path_of;
use crate::error::{Restart, SysError, SysResult};
use crate::fd::{FdEntry, close_entry};
use crate::net::SocketFile;
use crate::pipe::{self, PipeEnd};
use crate::published::Question;
use crate::task::CurrentTask;
use crate::vfs::async_io::{Owner, set_async};
use crate::vfs::open::{self, OpenHow};
use crate::vfs::{File, FileType, InodeRef};
use chitin_abi::fs::*;
use chitin_abi::socket::{FIOSETOWN, SIOCSPGRP};
use chitin_abi::task::RLIMIT_NOFILE;
use chitin_abi::tty::{FIONBIO, FIONREAD};
use chitin_abi::{Errno, Pod};
use chitin_usermem::{UserAddr, UserMemory, UserPtr};
use std::sync::Arc;

/// `FIONCLEX`, `FIOCLEX`, `FIOASYNC`.
const FIONCLEX: u32 = 0x5450;
const FIOCLEX: u32 = 0x5451;
const FIOASYNC: u32 = 0x5452;
/// Flags that `fcntl(F_SETFL)` changes.
const SETTABLE: u32 = O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME;

#[allow(clippy::cast_sign_loss)]
fn number(fd: i32) -> u64 {
    fd as u64
}

/// Puts a file at the lowest free descriptor.
pub(crate) fn install(cur: &CurrentTask, file: Arc<File>, cloexec: bool) -> Result<i32, Errno> {
    let limit = cur.task().process.limit(RLIMIT_NOFILE);
    cur.task().files().install(FdEntry { file, cloexec }, 0, limit)
}

async fn do_open(cur: &mut CurrentTask, dirfd: i32, path: UserPath, how: OpenHow) -> SysResult {
    let path = path_of(cur, path)?;
    if how.flags & (O_CREAT | O_TRUNC) != 0 {
        cur.task().files().has_room(cur.task().process.limit(RLIMIT_NOFILE))?;
    }
    let question = Question::new(cur.task());
    let file = open::open(cur, dirfd, &path, how).await?;
    cur.task().kernel.opened(cur.task(), &file, how.flags);
    let fd = install(cur, file.clone(), how.flags & O_CLOEXEC != 0)?;
    question.opened(cur, fd, &file);
    Ok(number(fd))
}

/// `open(2)`: flags that are unknown are ignored, as Linux does here.
pub async fn open(cur: &mut CurrentTask, path: UserPath, flags: u32, mode: u32) -> SysResult {
    openat(cur, AT_FDCWD, path, flags, mode).await
}

/// `openat(2)`.
pub async fn openat(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    flags: u32,
    mode: u32,
) -> SysResult {
    // As in Linux O_PATH ignores all but a few others.
    let flags = match flags & O_PATH != 0 {
        true => flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
        false => flags | O_LARGEFILE,
    };
    if flags & (O_CREAT | O_DIRECTORY) == O_CREAT | O_DIRECTORY {
        return Err(Errno::EINVAL.into());
    }
    do_open(cur, dirfd, path, OpenHow { flags, mode: mode & 0o7777, resolve: 0 }).await
}

/// `creat(2)`.
pub async fn creat(cur: &mut CurrentTask, path: UserPath, mode: u32) -> SysResult {
    openat(cur, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode).await
}

/// `openat2(2)`.
pub async fn openat2(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    how: UserPtr<chitin_abi::fs::OpenHow>,
    size: usize,
) -> SysResult {
    let known = size_of::<chitin_abi::fs::OpenHow>();
    if size < known {
        return Err(Errno::EINVAL.into());
    }
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    let mut rest = vec![0; size - known];
    cur.mm().read(how.addr().offset(known as u64)?, &mut rest)?;
    if rest.iter().any(|&b| b != 0) {
        return Err(Errno::E2BIG.into());
    }
    let how = how.read(&**cur.mm())?;
    let known_resolve = RESOLVE_NO_XDEV
        | RESOLVE_NO_MAGICLINKS
        | RESOLVE_NO_SYMLINKS
        | RESOLVE_BENEATH
        | RESOLVE_IN_ROOT
        | RESOLVE_CACHED;
    let flags = u32::try_from(how.flags).map_err(|_| Errno::EINVAL)?;
    let creates = flags & O_CREAT != 0 || flags & O_TMPFILE == O_TMPFILE;
    let both = RESOLVE_BENEATH | RESOLVE_IN_ROOT;
    if how.resolve & !known_resolve != 0
        || how.resolve & both == both
        || how.mode & !0o7777 != 0
        || (how.mode != 0 && !creates)
        || flags & 0xff80_0000 != 0
        || flags & (O_CREAT | O_DIRECTORY) == O_CREAT | O_DIRECTORY
    {
        return Err(Errno::EINVAL.into());
    }
    if how.resolve & RESOLVE_CACHED != 0 && (creates || flags & O_TRUNC != 0) {
        return Err(Errno::EAGAIN.into());
    }
    let mode = u32::try_from(how.mode).map_err(|_| Errno::EINVAL)?;
    do_open(cur, dirfd, path, OpenHow { flags, mode, resolve: how.resolve }).await
}

/// `close(2)`.
pub fn close(cur: &mut CurrentTask, fd: i32) -> SysResult {
    let entry = cur.task().files().remove(fd)?;
    close_entry(cur.task(), entry)?;
    Ok(0)
}

/// `close_range(2)`.
pub fn close_range(cur: &mut CurrentTask, first: u32, last: u32, flags: u32) -> SysResult {
    const UNSHARE: u32 = 2;
    const CLOEXEC: u32 = 4;
    if first > last || flags & !(UNSHARE | CLOEXEC) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = cur.task();
    if flags & UNSHARE != 0 {
        let own = Arc::new(task.files().duplicate());
        task.set_view(0);
        *task.files.write() = own;
    }
    let files = task.files();
    let inside = |fd: i32| u32::try_from(fd).is_ok_and(|fd| (first..=last).contains(&fd));
    if flags & CLOEXEC != 0 {
        for (fd, _) in files.list() {
            if inside(fd) {
                files.set_cloexec(fd, true)?;
            }
        }
        return Ok(0);
    }
    for (_, entry) in files.remove_if(|fd, _| inside(fd)) {
        // As in Linux no error is reported here.
        let _ = close_entry(task, entry);
    }
    Ok(0)
}

/// `dup(2)`.
pub fn dup(cur: &mut CurrentTask, fd: i32) -> SysResult {
    let file = cur.file(fd)?;
    install(cur, file, false).map(number).map_err(Into::into)
}

fn duplicate_to(cur: &CurrentTask, old: i32, new: i32, cloexec: bool) -> SysResult {
    let file = cur.file(old)?;
    let limit = cur.task().process.limit(RLIMIT_NOFILE);
    let replaced = cur.task().files().replace(new, FdEntry { file, cloexec }, limit)?;
    if let Some(replaced) = replaced {
        let _ = close_entry(cur.task(), replaced);
    }
    Ok(number(new))
}

/// `dup2(2)`.
pub fn dup2(cur: &mut CurrentTask, old: i32, new: i32) -> SysResult {
    if old == new {
        cur.file(old)?;
        return Ok(number(new));
    }
    duplicate_to(cur, old, new, false)
}

/// `dup3(2)`.
pub fn dup3(cur: &mut CurrentTask, old: i32, new: i32, flags: u32) -> SysResult {
    if flags & !O_CLOEXEC != 0 || old == new {
        return Err(Errno::EINVAL.into());
    }
    duplicate_to(cur, old, new, flags & O_CLOEXEC != 0)
}

/// `fcntl(2)`.
pub async fn fcntl(cur: &mut CurrentTask, fd: i32, cmd: u32, arg: u64) -> SysResult {
    let files = cur.task().files();
    let entry = files.entry(fd)?;
    let file = entry.file;
    let path_only = file.flags() & O_PATH != 0;
    match cmd {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let limit = cur.task().process.limit(RLIMIT_NOFILE);
            let from = u32::try_from(arg).ok().filter(|&n| u64::from(n) < limit);
            let from = from.ok_or(Errno::EINVAL)?;
            let cloexec = cmd == F_DUPFD_CLOEXEC;
            return Ok(number(files.install(FdEntry { file, cloexec }, from, limit)?));
        }
        F_GETFD => return Ok(u64::from(entry.cloexec)),
        F_SETFD => {
            files.set_cloexec(fd, arg & 1 != 0)?;
            return Ok(0);
        }
        F_DUPFD_QUERY => {
            let other = i32::try_from(arg).map_err(|_| Errno::EBADF)?;
            return Ok(u64::from(Arc::ptr_eq(&files.get(other)?, &file)));
        }
        F_CREATED_QUERY => return Ok(u64::from(file.created())),
        F_GETFL => return Ok(u64::from(file.flags())),
        _ if path_only => return Err(Errno::EBADF.into()),
        _ => {}
    }
    match cmd {
        F_SETFL => {
            let wanted = u32::try_from(arg & 0xffff_ffff).unwrap_or(0) & SETTABLE;
            let noatime = wanted & !file.flags() & O_NOATIME != 0;
            if noatime && let Some(inode) = file.path().and_then(|p| p.dentry.inode()) {
                let owned = crate::vfs::access::owns(&cur.task().cred(), &inode.attr()?);
                owned.then_some(()).ok_or(Errno::EPERM)?;
            }
            file.ops().set_flags(wanted)?;
            if (wanted ^ file.flags()) & O_ASYNC != 0 {
                set_async(cur.task(), &file, fd, wanted & O_ASYNC != 0);
            }
            file.store_flags(file.flags() & !SETTABLE | wanted);
            Ok(0)
        }
        F_GETOWN => Ok(i64::from(file.rare.lock().owner.number()).cast_unsigned()),
        F_SETOWN => {
            // An int, whatever is in the upper half.
            let number = u32::try_from(arg & 0xffff_ffff).unwrap_or(0).cast_signed();
            file.set_owner(cur.task(), Owner::from_number(&cur.task().kernel, number)?);
            Ok(0)
        }
        F_GETSIG => Ok(number(file.rare.lock().signal)),
        F_SETSIG => {
            let signal = i32::try_from(arg).ok().filter(|n| (0..=64).contains(n));
            file.rare.lock().signal = signal.ok_or(Errno::EINVAL)?;
            Ok(0)
        }
        F_GETOWN_EX => {
            let (owner_type, pid) = match file.rare.lock().owner {
                Owner::None => (F_OWNER_TID, 0),
                Owner::Thread(id) => (F_OWNER_TID, id),
                Owner::Process(id) => (F_OWNER_PID, id),
                Owner::Group(id) => (F_OWNER_PGRP, id),
            };
            let out = UserPtr::<FOwnerEx>::new(UserAddr(arg));
            out.write(&**cur.mm(), &FOwnerEx { owner_type, pid })?;
            Ok(0)
        }
        F_SETOWN_EX => {
            let wanted = UserPtr::<FOwnerEx>::new(UserAddr(arg)).read(&**cur.mm())?;
            let owner = match (wanted.owner_type, wanted.pid) {
                (F_OWNER_TID | F_OWNER_PID | F_OWNER_PGRP, 0) => Owner::None,
                (F_OWNER_TID, id) => Owner::Thread(id),
                (F_OWNER_PID, id) => Owner::Process(id),
                (F_OWNER_PGRP, id) => Owner::Group(id),
                _ => return Err(Errno::EINVAL.into()),
            };
            file.set_owner(cur.task(), owner.existing(&cur.task().kernel)?);
            Ok(0)
        }
        F_ADD_SEALS => super::memfd::add_seals(&file, arg),
        F_GET_SEALS => super::memfd::get_seals(&file),
        // There are no leases.
        F_GETLEASE => Ok(u64::from(F_UNLCK.unsigned_abs())),
        F_GETPIPE_SZ => {
            let end = file.ops_as::<PipeEnd>().ok_or(Errno::EBADF)?;
            Ok(end.capacity() as u64)
        }
        F_SETPIPE_SZ => {
            let end = file.ops_as::<PipeEnd>().ok_or(Errno::EBADF)?;
            let size = usize::try_from(arg & 0xffff_ffff).unwrap_or(usize::MAX);
            Ok(end.set_capacity(size, pipe::limit(cur.task()))? as u64)
        }
        F_GETLK | F_SETLK | F_SETLKW | F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW => {
            super::locks::fcntl(cur, &file, cmd, UserPtr::new(UserAddr(arg))).await
        }
        other => {
            cur.task().kernel.gap(&format!("fcntl command {other}"));
            Err(Errno::EINVAL.into())
        }
    }
}

/// The inode, if it is a regular file's.
fn regular(file: &File) -> Option<InodeRef> {
    let inode = file.path()?.dentry.inode()?;
    (inode.file_type() == FileType::Regular).then_some(inode)
}

/// `ioctl(2)`.
pub fn ioctl(cur: &mut CurrentTask, fd: i32, cmd: u32, arg: u64) -> SysResult {
    let files = cur.task().files();
    let file = files.get(fd)?;
    if file.flags() & O_PATH != 0 {
        return Err(Errno::EBADF.into());
    }
    let flag = |cur: &CurrentTask, bit: u32| -> SysResult {
        let on = UserPtr::<i32>::new(UserAddr(arg)).read(&**cur.mm())? != 0;
        let flags = if on { file.flags() | bit } else { file.flags() & !bit };
        file.ops().set_flags(flags & SETTABLE)?;
        if bit == O_ASYNC && flags != file.flags() {
            set_async(cur.task(), &file, fd, on);
        }
        file.store_flags(flags);
        Ok(0)
    };
    match cmd {
        FIOSETOWN | SIOCSPGRP if file.ops_as::<SocketFile>().is_some() => {
            let owner = UserPtr::<i32>::new(UserAddr(arg)).read(&**cur.mm())?;
            file.set_owner(cur.task(), Owner::from_number(&cur.task().kernel, owner)?);
            Ok(0)
        }
        FIOCLEX | FIONCLEX => {
            files.set_cloexec(fd, cmd == FIOCLEX)?;
            Ok(0)
        }
        FIONBIO => flag(cur, O_NONBLOCK),
        FIONREAD | FIGETBSZ if regular(&file).is_some() => {
            let attr = regular(&file).ok_or(Errno::ENOTTY)?.attr()?;
            let left = attr.size.saturating_sub(*file.pos.lock());
            let answer = if cmd == FIONREAD { left } else { u64::from(attr.blksize) };
            let answer = u32::try_from(answer & 0xffff_ffff).unwrap_or(0);
            UserPtr::<u32>::new(UserAddr(arg)).write(&**cur.mm(), &answer)?;
            Ok(0)
        }
        FIOASYNC => flag(cur, O_ASYNC),
        _ => match file.ops().ioctl(cur.file_cx(&file), cmd, arg) {
            // A process of the background was stopped by the terminal.
            Err(Errno::EAGAIN) if cur.task().interrupted() => Err(SysError::Restart(Restart::Sys)),
            other => Ok(other?),
        },
    }
}

/// `pipe2(2)`.
pub fn pipe2(cur: &mut CurrentTask, fds: UserAddr, flags: u32) -> SysResult {
    if flags & !(O_CLOEXEC | O_NONBLOCK | O_DIRECT) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let cred = cur.task().cred();
    let (owner, most) = ((cred.fsuid, cred.fsgid), pipe::limit(cur.task()));
    let (read, write) = pipe::pipe(flags & (O_NONBLOCK | O_DIRECT), owner, most);
    let cloexec = flags & O_CLOEXEC != 0;
    let first = install(cur, read, cloexec)?;
    let files = cur.task().files();
    let second = match install(cur, write, cloexec) {
        Ok(fd) => fd,
        Err(e) => {
            let _ = files.remove(first);
            return Err(e.into());
        }
    };
    if let Err(e) = cur.mm().write(fds, [first, second].as_bytes()) {
        let _ = (files.remove(first), files.remove(second));
        return Err(e.into());
    }
    Ok(0)
}

/// `pipe(2)`.
pub fn pipe(cur: &mut CurrentTask, fds: UserAddr) -> SysResult {
    pipe2(cur, fds, 0)
}
