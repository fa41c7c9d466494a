//! Reading, writing, seeking: `read(2)`, `readv(2)`, `lseek(2)`, `fallocate(2)`.

use super::memfd::Seals;
use crate::error::{SysError, SysResult};
use crate::signal::{SigInfo, send_to_task};
use crate::task::{CurrentTask, Task};
use crate::time::Deadline;
use crate::vfs::access::CAP_FSETID;
use crate::vfs::open::resize;
use crate::vfs::{File, FileCx, FileType, InodeRef, IoDst, IoSrc, SetAttr, UserSegment, notify};
use crate::wait::{Events, WaitError};
use chitin_abi::Errno;
use chitin_abi::fs::*;
use chitin_abi::signal::{SIGPIPE, SIGXFSZ};
use chitin_abi::task::RLIMIT_FSIZE;
use chitin_usermem::{UserAddr, UserPtr};
use std::sync::Arc;

/// Most bytes of one transfer (`MAX_RW_COUNT`).
pub const RW_MAX: usize = 0x7fff_f000;
/// Most buffers of one call (`UIO_MAXIOV`).
const IOV_MAX: usize = 1024;

/// A count as system calls return it.
pub(super) fn count(n: usize) -> SysResult {
    Ok(n as u64)
}

pub(super) fn position(offset: i64) -> Result<u64, Errno> {
    u64::try_from(offset).map_err(|_| Errno::EINVAL)
}

/// The segments of an `iovec` array.
pub(super) fn segments(
    cur: &CurrentTask,
    iov: UserAddr,
    n: u64,
) -> Result<Vec<UserSegment>, Errno> {
    let n = usize::try_from(n).ok().filter(|&n| n <= IOV_MAX).ok_or(Errno::EINVAL)?;
    let mut out = Vec::with_capacity(n);
    let mut left = RW_MAX;
    for i in 0..n as u64 {
        let [base, len] = UserPtr::<[u64; 2]>::new(iov).at(i)?.read(&**cur.mm())?;
        if i64::try_from(len).is_err() {
            return Err(Errno::EINVAL);
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(left);
        left -= len;
        out.push((UserAddr(base), len));
    }
    Ok(out)
}

pub(super) fn one(buf: UserAddr, len: usize) -> [UserSegment; 1] {
    [(buf, len.min(RW_MAX))]
}

/// Reads from a file at `at`, or at its position.
pub(crate) fn read_once(
    task: &Arc<Task>,
    file: &File,
    dst: &mut IoDst<'_>,
    at: Option<u64>,
) -> Result<usize, Errno> {
    let cx = FileCx { task, file };
    match at {
        Some(at) => file.ops().read(cx, dst, at),
        None if file.ops().seekable() => {
            let mut pos = file.pos.lock();
            let n = file.ops().read(cx, dst, file.transfer_position(*pos))?;
            *pos += n as u64;
            Ok(n)
        }
        None => file.ops().read(cx, dst, 0),
    }
}

/// Cuts a write of a regular file at `RLIMIT_FSIZE`, and refuses what a seal forbids.
fn limit_write(task: &Arc<Task>, file: &File, src: &mut IoSrc<'_>, at: u64) -> Result<(), Errno> {
    let Some(inode) = file.path().and_then(|p| p.dentry.inode_ref()) else { return Ok(()) };
    if inode.file_type() != FileType::Regular {
        return Ok(());
    }
    Seals::allow_write(inode, at, src.remaining() as u64)?;
    drop_privileges(task, inode)?;
    let end = at.checked_add(src.remaining() as u64).filter(|&e| i64::try_from(e).is_ok());
    let limit = task.process.limit(RLIMIT_FSIZE).min(i64::MAX.unsigned_abs());
    if end.is_some_and(|end| end <= limit) || src.remaining() == 0 {
        return Ok(());
    }
    if at >= limit {
        return Err(too_large(task));
    }
    src.truncate(usize::try_from(limit - at).unwrap_or(usize::MAX));
    Ok(())
}

/// Whoever writes to a program without `CAP_FSETID` takes its set-user-ID bit away,
/// and set-group-ID where the group may execute it (`chmod(2)`).
pub(super) fn drop_privileges(task: &Task, inode: &InodeRef) -> Result<(), Errno> {
    if task.cred.read().has_cap(CAP_FSETID) {
        return Ok(());
    }
    let perm = inode.attr()?.perm;
    let mut kept = perm & !S_ISUID;
    if perm & S_IXGRP != 0 {
        kept &= !S_ISGID;
    }
    if kept == perm {
        return Ok(());
    }
    inode.set_attr(&SetAttr { perm: Some(kept), ..SetAttr::default() })
}

/// `SIGXFSZ` and `EFBIG`.
fn too_large(task: &Arc<Task>) -> Errno {
    send_to_task(task, SigInfo::user(SIGXFSZ, 0, task.process.pid, task.cred().uid));
    Errno::EFBIG
}

/// Refuses a size beyond `RLIMIT_FSIZE` or a seal.
pub(super) fn limit_size(cur: &CurrentTask, inode: &InodeRef, size: u64) -> Result<(), Errno> {
    if size > cur.task().process.limit(RLIMIT_FSIZE) {
        return Err(too_large(cur.task()));
    }
    Seals::allow_size(inode, size)
}

/// Writes to a file at `at`, at its position, or at its end.
pub(crate) fn write_once(
    task: &Arc<Task>,
    file: &File,
    src: &mut IoSrc<'_>,
    at: Option<u64>,
    append: bool,
) -> Result<usize, Errno> {
    let cx = FileCx { task, file };
    let ops = file.ops();
    if !ops.seekable() {
        return ops.write(cx, src, at.unwrap_or(0));
    }
    if append {
        let mut pos = file.pos.lock();
        let size = file.path().and_then(|p| p.dentry.inode_ref()).map(|i| i.attr());
        limit_write(task, file, src, size.transpose()?.map_or(0, |a| a.size))?;
        let (end, n) = ops.write_append(cx, src)?;
        if at.is_none() {
            *pos = end;
        }
        return Ok(n);
    }
    match at {
        Some(at) => {
            limit_write(task, file, src, at)?;
            ops.write(cx, src, at)
        }
        None => {
            let mut pos = file.pos.lock();
            limit_write(task, file, src, *pos)?;
            let n = ops.write(cx, src, file.transfer_position(*pos))?;
            *pos += n as u64;
            Ok(n)
        }
    }
}

/// How a transfer is done, besides what the description says (`preadv2(2)`).
#[derive(Clone, Copy, Default)]
pub(crate) struct Io {
    /// Offset; `None` is the file's position.
    pub(crate) at: Option<u64>,
    /// `RWF_NOWAIT`.
    pub(crate) nowait: bool,
    /// `RWF_APPEND`.
    pub(crate) append: bool,
    /// `RWF_SYNC`, `RWF_DSYNC`.
    pub(crate) sync: bool,
    /// Done when some bytes have moved.
    pub(crate) some: bool,
}

impl Io {
    fn at(at: u64) -> Self {
        Self { at: Some(at), ..Self::default() }
    }
}

/// Tells a writer that nobody reads.
pub(crate) fn broken_pipe(task: &Arc<Task>) {
    let info = SigInfo::user(SIGPIPE, 0, task.process.pid, task.cred().uid);
    send_to_task(task, info);
}

/// What a wait with a limit of its own ends with: it is never restarted (`signal(7)`).
pub(super) fn bounded<T>(result: Result<T, WaitError>, limit: Option<u64>) -> Result<T, WaitError> {
    match result {
        Err(WaitError::TimedOut) => Err(WaitError::Errno(Errno::EAGAIN)),
        Err(WaitError::Interrupted) if limit.is_some() => Err(WaitError::Errno(Errno::EINTR)),
        other => other,
    }
}

/// Waits for something to read; a terminal may lose patience.
async fn read_waiting(
    cur: &mut CurrentTask,
    file: &Arc<File>,
    dst: &mut IoDst<'_>,
    at: Option<u64>,
) -> Result<usize, WaitError> {
    loop {
        let before = dst.done();
        let patience = file.ops().read_patience(before);
        let limit = file.ops().io_rules().read_timeout;
        let deadline = patience.or(limit).map(Deadline::after);
        let read = cur.block_on(&**file, Events::READABLE, deadline, |cur| {
            match read_once(cur.task(), file, dst, at) {
                // The time between two bytes begins anew with each.
                Err(Errno::EAGAIN) if patience.is_some() && dst.done() > before => Ok(None),
                other => other.map(Some),
            }
        });
        match read.await {
            Err(WaitError::TimedOut) if patience.is_some() => return Ok(dst.done()),
            other => {
                if let Some(n) = bounded(other, limit)? {
                    return Ok(n);
                }
            }
        }
    }
}

pub(super) async fn do_read(
    cur: &mut CurrentTask,
    fd: i32,
    segments: &[UserSegment],
    io: Io,
) -> SysResult {
    let file = cur.file(fd)?;
    if io.at.is_some() && file.flags() & O_PATH == 0 && !file.ops().seekable() {
        return Err(Errno::ESPIPE.into());
    }
    if !file.readable() || file.flags() & O_PATH != 0 {
        return Err(Errno::EBADF.into());
    }
    read_file(cur, &file, segments, io).await
}

/// Reads from a file that is open for it.
pub(crate) async fn read_file(
    cur: &mut CurrentTask,
    file: &Arc<File>,
    segments: &[UserSegment],
    io: Io,
) -> SysResult {
    let mm = cur.mm().clone();
    let mut dst = IoDst::user(&mm, segments);
    let result = match read_once(cur.task(), file, &mut dst, io.at) {
        Err(Errno::EAGAIN) if !io.nowait && !file.nonblocking() => {
            read_waiting(cur, file, &mut dst, io.at).await
        }
        other => other.map_err(WaitError::Errno),
    };
    if dst.done() > 0 {
        notify::open_file_event(file, IN_ACCESS);
    }
    match result {
        Ok(n) => count(n.max(dst.done())),
        Err(_) if dst.done() > 0 => count(dst.done()),
        Err(WaitError::Errno(Errno::EINVAL)) if is_kind(file, FileType::Directory) => {
            Err(Errno::EISDIR.into())
        }
        Err(e) => Err(e.into()),
    }
}

/// Writes all of `src`, waiting as the file demands; what a program writing gets.
pub(crate) async fn write_all(
    cur: &mut CurrentTask,
    file: &Arc<File>,
    src: &mut IoSrc<'_>,
    at: Option<u64>,
) -> SysResult {
    write_with(cur, file, src, Io { at, ..Io::default() }).await
}

async fn write_with(
    cur: &mut CurrentTask,
    file: &Arc<File>,
    src: &mut IoSrc<'_>,
    io: Io,
) -> SysResult {
    let before = src.done();
    let append = io.append || file.flags() & O_APPEND != 0;
    let result = if io.nowait || file.nonblocking() {
        write_once(cur.task(), file, src, io.at, append).map_err(WaitError::Errno)
    } else {
        let limit = file.ops().io_rules().write_timeout;
        let write = cur.block_on(&**file, Events::WRITABLE, limit.map(Deadline::after), |cur| {
            match write_once(cur.task(), file, src, io.at, append) {
                Err(Errno::EAGAIN) if io.some && src.done() > before => Ok(src.done() - before),
                other => other,
            }
        });
        bounded(write.await, limit)
    };
    let done = src.done() - before;
    if done > 0 {
        notify::open_file_event(file, IN_MODIFY);
    }
    if result == Err(WaitError::Errno(Errno::EPIPE)) && done == 0 && file.ops().io_rules().sigpipe {
        broken_pipe(cur.task());
    }
    match result {
        Ok(n) => count(n.max(done)),
        Err(_) if done > 0 => count(done),
        Err(e) => Err(e.into()),
    }
}

pub(super) async fn do_write(
    cur: &mut CurrentTask,
    fd: i32,
    segments: &[UserSegment],
    io: Io,
) -> SysResult {
    let file = cur.file(fd)?;
    if io.at.is_some() && file.flags() & O_PATH == 0 && !file.ops().seekable() {
        return Err(Errno::ESPIPE.into());
    }
    if !file.writable() || file.flags() & O_PATH != 0 {
        return Err(Errno::EBADF.into());
    }
    write_file(cur, &file, segments, io).await
}

/// Writes to a file that is open for it.
pub(crate) async fn write_file(
    cur: &mut CurrentTask,
    file: &Arc<File>,
    segments: &[UserSegment],
    io: Io,
) -> SysResult {
    let mm = cur.mm().clone();
    let mut src = IoSrc::user(&mm, segments);
    let n = write_with(cur, file, &mut src, io).await?;
    if n > 0 && (io.sync || file.flags() & O_DSYNC != 0) && is_kind(file, FileType::Regular) {
        file.ops().fsync(cur.file_cx(file))?;
    }
    Ok(n)
}

/// `read(2)`.
pub async fn read(cur: &mut CurrentTask, fd: i32, buf: UserAddr, len: usize) -> SysResult {
    do_read(cur, fd, &one(buf, len), Io::default()).await
}

/// `write(2)`.
pub async fn write(cur: &mut CurrentTask, fd: i32, buf: UserAddr, len: usize) -> SysResult {
    do_write(cur, fd, &one(buf, len), Io::default()).await
}

/// `pread(2)`.
pub async fn pread64(
    cur: &mut CurrentTask,
    fd: i32,
    buf: UserAddr,
    len: usize,
    offset: i64,
) -> SysResult {
    let at = position(offset)?;
    do_read(cur, fd, &one(buf, len), Io::at(at)).await
}

/// `pwrite(2)`.
pub async fn pwrite64(
    cur: &mut CurrentTask,
    fd: i32,
    buf: UserAddr,
    len: usize,
    offset: i64,
) -> SysResult {
    let at = position(offset)?;
    do_write(cur, fd, &one(buf, len), Io::at(at)).await
}

/// `readv(2)`.
pub async fn readv(cur: &mut CurrentTask, fd: i32, iov: UserAddr, n: u64) -> SysResult {
    let segments = segments(cur, iov, n)?;
    do_read(cur, fd, &segments, Io::default()).await
}

/// `writev(2)`.
pub async fn writev(cur: &mut CurrentTask, fd: i32, iov: UserAddr, n: u64) -> SysResult {
    let segments = segments(cur, iov, n)?;
    do_write(cur, fd, &segments, Io::default()).await
}

/// `preadv(2)`.
pub async fn preadv(
    cur: &mut CurrentTask,
    fd: i32,
    iov: UserAddr,
    n: u64,
    offset: i64,
) -> SysResult {
    let (segments, at) = (segments(cur, iov, n)?, position(offset)?);
    do_read(cur, fd, &segments, Io::at(at)).await
}

/// `pwritev(2)`.
pub async fn pwritev(
    cur: &mut CurrentTask,
    fd: i32,
    iov: UserAddr,
    n: u64,
    offset: i64,
) -> SysResult {
    let (segments, at) = (segments(cur, iov, n)?, position(offset)?);
    do_write(cur, fd, &segments, Io::at(at)).await
}

/// The flags and the offset of `preadv2(2)` and `pwritev2(2)`.
pub(crate) fn vector_io(offset: i64, flags: u32) -> Result<Io, Errno> {
    const HIPRI: u32 = 1;
    const DSYNC: u32 = 2;
    const SYNC: u32 = 4;
    const NOWAIT: u32 = 8;
    const APPEND: u32 = 16;
    if flags & !(HIPRI | DSYNC | SYNC | NOWAIT | APPEND) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(Io {
        at: if offset == -1 { None } else { Some(position(offset)?) },
        nowait: flags & NOWAIT != 0,
        append: flags & APPEND != 0,
        sync: flags & (SYNC | DSYNC) != 0,
        some: false,
    })
}

/// `preadv2(2)`. As in the kernel's call the high half of the offset follows the low
/// one, and is nothing on 64 bits.
pub async fn preadv2(
    cur: &mut CurrentTask,
    fd: i32,
    iov: UserAddr,
    n: u64,
    offset: i64,
    _high: u64,
    flags: u32,
) -> SysResult {
    let io = vector_io(offset, flags)?;
    let segments = segments(cur, iov, n)?;
    do_read(cur, fd, &segments, io).await
}

/// `pwritev2(2)`.
pub async fn pwritev2(
    cur: &mut CurrentTask,
    fd: i32,
    iov: UserAddr,
    n: u64,
    offset: i64,
    _high: u64,
    flags: u32,
) -> SysResult {
    let io = vector_io(offset, flags)?;
    let segments = segments(cur, iov, n)?;
    do_write(cur, fd, &segments, io).await
}

/// `lseek(2)`.
pub fn lseek(cur: &mut CurrentTask, fd: i32, offset: i64, whence: u32) -> SysResult {
    let file = cur.file(fd)?;
    if file.flags() & O_PATH != 0 {
        return Err(Errno::EBADF.into());
    }
    if !file.ops().seekable() {
        return Err(Errno::ESPIPE.into());
    }
    if let Some(result) = file.ops().seek(cur.file_cx(&file), offset, whence) {
        let at = result?;
        *file.pos.lock() = at;
        return Ok(at);
    }
    let mut pos = file.pos.lock();
    let base = match whence {
        0 => 0,
        1 => i64::try_from(*pos).unwrap_or(i64::MAX),
        2..=4 => {
            let inode = file.path().and_then(|p| p.dentry.inode_ref()).ok_or(Errno::EINVAL)?;
            let size = i64::try_from(inode.attr()?.size).unwrap_or(i64::MAX);
            match whence {
                2 => size,
                // Without holes, data is everywhere up to the end.
                _ if offset < 0 || offset >= size => return Err(Errno::ENXIO.into()),
                3 => 0,
                _ => size - offset,
            }
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let at = base.checked_add(offset).filter(|&n| n >= 0).ok_or(Errno::EINVAL)?;
    *pos = at.unsigned_abs();
    Ok(*pos)
}

pub(super) fn offset_argument(cur: &CurrentTask, at: UserPtr<i64>) -> Result<Option<u64>, Errno> {
    at.read_opt(&**cur.mm())?.map(position).transpose()
}

fn is_kind(file: &File, kind: FileType) -> bool {
    let inode = file.path().and_then(|p| p.dentry.inode_ref());
    inode.is_some_and(|i| i.file_type() == kind)
}

fn is_file(file: &File) -> bool {
    is_kind(file, FileType::Regular)
}

/// `fsync(2)`.
pub fn fsync(cur: &mut CurrentTask, fd: i32) -> SysResult {
    let file = cur.file(fd)?;
    file.ops().fsync(cur.file_cx(&file)).map_err(SysError::from).map(|()| 0)
}

/// `fallocate(2)`.
pub fn fallocate(cur: &mut CurrentTask, fd: i32, mode: u32, at: i64, len: i64) -> SysResult {
    let file = cur.file(fd)?;
    let (at, len) = (position(at)?, position(len)?);
    if len == 0 {
        return Err(Errno::EINVAL.into());
    }
    let known = FALLOC_FL_KEEP_SIZE
        | FALLOC_FL_PUNCH_HOLE
        | FALLOC_FL_COLLAPSE_RANGE
        | FALLOC_FL_ZERO_RANGE
        | FALLOC_FL_INSERT_RANGE
        | FALLOC_FL_UNSHARE_RANGE;
    let hole = mode & FALLOC_FL_PUNCH_HOLE != 0;
    let both = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
    if mode & !known != 0
        || (hole && mode & FALLOC_FL_KEEP_SIZE == 0)
        || both == FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE
    {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if !file.writable() || file.flags() & O_PATH != 0 {
        return Err(Errno::EBADF.into());
    }
    if !file.ops().seekable() {
        return Err(Errno::ESPIPE.into());
    }
    let inode = file.path().and_then(|p| p.dentry.inode_ref()).ok_or(Errno::ENODEV)?;
    match inode.file_type() {
        FileType::Regular => {}
        FileType::Directory => return Err(Errno::EISDIR.into()),
        _ => return Err(Errno::ENODEV.into()),
    }
    let end = at.checked_add(len).filter(|&e| i64::try_from(e).is_ok()).ok_or(Errno::EFBIG)?;
    match hole {
        true => Seals::allow_write(inode, at, 0)?,
        false => limit_size(cur, inode, end.max(inode.attr()?.size))?,
    }
    file.ops().fallocate(cur.file_cx(&file), mode, at, len)?;
    notify::open_file_event(&file, IN_MODIFY);
    Ok(0)
}

/// `ftruncate(2)`.
pub fn ftruncate(cur: &mut CurrentTask, fd: i32, len: i64) -> SysResult {
    let size = position(len)?;
    let file = cur.file(fd)?;
    if file.flags() & O_PATH != 0 {
        return Err(Errno::EBADF.into());
    }
    if !file.writable() || !is_file(&file) {
        return Err(Errno::EINVAL.into());
    }
    let inode = file.path().and_then(|p| p.dentry.inode_ref()).ok_or(Errno::EINVAL)?;
    limit_size(cur, inode, size)?;
    drop_privileges(cur.task(), inode)?;
    resize(cur.task(), inode, size)?;
    notify::open_file_event(&file, IN_MODIFY);
    Ok(0)
}

/// `sync_file_range(2)`: nothing here is written back later.
pub fn sync_file_range(cur: &mut CurrentTask, fd: i32, at: i64, len: i64, flags: u32) -> SysResult {
    let file = cur.file(fd)?;
    if flags & !7 != 0 || at < 0 || len < 0 || at.checked_add(len).is_none() {
        return Err(Errno::EINVAL.into());
    }
    let inode = file.path().and_then(|p| p.dentry.inode()).ok_or(Errno::ESPIPE)?;
    match inode.file_type() {
        FileType::Regular | FileType::Directory | FileType::Symlink | FileType::BlockDevice => {
            Ok(0)
        }
        _ => Err(Errno::ESPIPE.into()),
    }
}

/// `fadvise64(2)`: checked, without an effect.
pub fn fadvise64(cur: &mut CurrentTask, fd: i32, _at: i64, len: i64, advice: u32) -> SysResult {
    let file = cur.file(fd)?;
    if file.ops_as::<crate::pipe::PipeEnd>().is_some() {
        return Err(Errno::ESPIPE.into());
    }
    if len < 0 || advice > 5 {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

/// `readahead(2)`: checked, without an effect.
pub fn readahead(cur: &mut CurrentTask, fd: i32, _at: i64, _len: usize) -> SysResult {
    let file = cur.file(fd)?;
    if !file.readable() || file.flags() & O_PATH != 0 {
        return Err(Errno::EBADF.into());
    }
    if is_file(&file) { Ok(0) } else { Err(Errno::EINVAL.into()) }
}
