//! Bytes between two descriptors: `sendfile(2)`, `splice(2)`, `tee(2)`,
//! `vmsplice(2)`, `copy_file_range(2)`.
//!
//! The bytes are copied through a buffer. What was taken from a pipe or a file and
//! could not be delivered goes back there.

use super::rw::{RW_MAX, count, offset_argument, read_once, segments, write_all};
use crate::error::SysResult;
use crate::pipe::PipeEnd;
use crate::task::CurrentTask;
use crate::vfs::{File, FileType, IoDst, IoSrc};
use crate::wait::Events;
use chitin_abi::Errno;
use chitin_abi::fs::{O_APPEND, O_PATH, SPLICE_F_ALL, SPLICE_F_NONBLOCK};
use chitin_usermem::{UserAddr, UserPtr};
use std::sync::Arc;

/// Most bytes that are under way at once.
const CHUNK: usize = 64 << 10;

/// Bytes of the smallest buffer.
const SMALL: usize = 4096;

/// When a transfer is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// After the first bytes.
    Some,
    /// When all bytes have moved, or no more are there at once.
    All,
}

/// One side of a transfer.
struct Side {
    file: Arc<File>,
    /// Offset, if it is not the file's own position.
    at: Option<u64>,
    /// Fails rather than waits.
    nonblocking: bool,
}

impl Side {
    fn new(file: Arc<File>, at: Option<u64>) -> Self {
        let nonblocking = file.nonblocking();
        Self { file, at, nonblocking }
    }

    fn pipe(&self) -> Option<&PipeEnd> {
        self.file.ops_as::<PipeEnd>()
    }

    fn moved(&mut self, n: usize) {
        self.at = self.at.map(|at| at.saturating_add(n as u64));
    }

    /// Bytes of a buffer for moving up to `len` from here: no more than a regular file has
    /// left, for `cp(1)` asks to copy small files by calls without a limit.
    fn buffer(&self, len: usize) -> usize {
        let most = CHUNK.min(len);
        let inode = self.file.path().and_then(|p| p.dentry.inode_ref());
        let Some(inode) = inode.filter(|i| i.file_type() == FileType::Regular) else {
            return most;
        };
        let at = self.at.unwrap_or_else(|| *self.file.pos.lock());
        let left = inode.attr().map_or(0, |a| a.size.saturating_sub(at));
        // Files of the kernel's own say that they are empty.
        most.min(usize::try_from(left).unwrap_or(most).max(SMALL))
    }

    /// Takes back what was read and not delivered. Sockets cannot.
    fn give_back(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(pipe) = self.pipe() {
            pipe.give_back(bytes);
        } else if self.at.is_none() && self.file.ops().seekable() {
            let mut pos = self.file.pos.lock();
            *pos = pos.saturating_sub(bytes.len() as u64);
        }
    }

    /// Reads what is there; waits for the first bytes only.
    async fn read(&self, cur: &mut CurrentTask, buf: &mut [u8], first: bool) -> SysResult {
        let mut dst = IoDst::kernel(buf);
        if self.nonblocking || !first {
            return count(read_once(cur.task(), &self.file, &mut dst, self.at)?);
        }
        let read = cur.block_on(&*self.file, Events::READABLE, None, |cur| {
            read_once(cur.task(), &self.file, &mut dst, self.at)
        });
        count(read.await?)
    }

    /// How much a write takes without waiting; waits until it is something.
    async fn room(&self, cur: &mut CurrentTask) -> SysResult {
        let Some(pipe) = self.pipe() else { return count(CHUNK) };
        if self.nonblocking {
            return count(pipe.room()?);
        }
        let room = cur.block_on(&*self.file, Events::WRITABLE, None, |_| pipe.room()).await;
        match room {
            // The write itself tells, by signal too.
            Err(crate::wait::WaitError::Errno(Errno::EPIPE)) => {
                write_all(cur, &self.file, &mut IoSrc::kernel(&[0]), None).await
            }
            other => count(other?),
        }
    }
}

/// Moves up to `len` bytes.
async fn transfer(
    cur: &mut CurrentTask,
    from: &mut Side,
    to: &mut Side,
    len: usize,
    extent: Extent,
) -> SysResult {
    let mut buf = vec![0; from.buffer(len)];
    let mut done = 0;
    while done < len {
        let read = match to.room(cur).await {
            Ok(room) => {
                let want = usize::try_from(room).unwrap_or(0).min(buf.len()).min(len - done);
                from.read(cur, buf.get_mut(..want).unwrap_or_default(), done == 0).await
            }
            Err(e) => Err(e),
        };
        let n = match read {
            Ok(0) => break,
            Ok(n) => usize::try_from(n).unwrap_or(0),
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        let bytes = buf.get(..n).unwrap_or_default();
        let result = write_all(cur, &to.file, &mut IoSrc::kernel(bytes), to.at).await;
        let written = usize::try_from(*result.as_ref().unwrap_or(&0)).unwrap_or(0);
        from.give_back(bytes.get(written..).unwrap_or_default());
        from.moved(written);
        to.moved(written);
        done += written;
        match result {
            Err(e) if done == 0 => return Err(e),
            Ok(_) if written == n && extent == Extent::All => {}
            _ => break,
        }
    }
    count(done)
}

/// Stores where a side that has an offset of its own has got.
fn store(cur: &CurrentTask, at: UserPtr<i64>, side: &Side) -> Result<(), Errno> {
    match side.at {
        Some(offset) => at.write(&**cur.mm(), &offset.cast_signed()),
        None => Ok(()),
    }
}

fn check(from: &File, to: &File) -> Result<(), Errno> {
    let path_only = (from.flags() | to.flags()) & O_PATH != 0;
    if path_only || !from.readable() || !to.writable() { Err(Errno::EBADF) } else { Ok(()) }
}

/// `sendfile(2)`.
pub async fn sendfile(
    cur: &mut CurrentTask,
    out: i32,
    input: i32,
    offset: UserPtr<i64>,
    len: usize,
) -> SysResult {
    let at = offset_argument(cur, offset)?;
    let (from, to) = (cur.file(input)?, cur.file(out)?);
    check(&from, &to)?;
    if !from.ops().seekable() {
        return Err(if at.is_some() { Errno::ESPIPE } else { Errno::EINVAL }.into());
    }
    if to.flags() & O_APPEND != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (mut from, mut to) = (Side::new(from, at), Side::new(to, None));
    let n = transfer(cur, &mut from, &mut to, len.min(RW_MAX), Extent::All).await?;
    store(cur, offset, &from)?;
    Ok(n)
}

fn regular(file: &File) -> Result<(u64, u64), Errno> {
    let inode = file.path().and_then(|p| p.dentry.inode()).ok_or(Errno::EINVAL)?;
    match inode.file_type() {
        FileType::Regular => inode.attr().map(|a| (a.dev, a.ino)),
        FileType::Directory => Err(Errno::EISDIR),
        _ => Err(Errno::EINVAL),
    }
}

/// `copy_file_range(2)`.
pub async fn copy_file_range(
    cur: &mut CurrentTask,
    input: i32,
    in_offset: UserPtr<i64>,
    out: i32,
    out_offset: UserPtr<i64>,
    len: usize,
    flags: u32,
) -> SysResult {
    let (from, to) = (cur.file(input)?, cur.file(out)?);
    let (from_at, to_at) = (offset_argument(cur, in_offset)?, offset_argument(cur, out_offset)?);
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let same = regular(&from)? == regular(&to)?;
    check(&from, &to)?;
    if to.flags() & O_APPEND != 0 {
        return Err(Errno::EBADF.into());
    }
    let len = len.min(RW_MAX);
    let start = |file: &File, at: Option<u64>| at.unwrap_or_else(|| *file.pos.lock());
    if same && start(&from, from_at).abs_diff(start(&to, to_at)) < len as u64 {
        return Err(Errno::EINVAL.into());
    }
    let (mut from, mut to) = (Side::new(from, from_at), Side::new(to, to_at));
    let n = transfer(cur, &mut from, &mut to, len, Extent::All).await?;
    store(cur, in_offset, &from)?;
    store(cur, out_offset, &to)?;
    Ok(n)
}

fn pipes_differ(from: &Side, to: &Side) -> Result<(), Errno> {
    match (from.pipe(), to.pipe()) {
        (None, None) => Err(Errno::EINVAL),
        (Some(a), Some(b)) if a.same_pipe(b) => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

/// `splice(2)`: at least one side is a pipe.
pub async fn splice(
    cur: &mut CurrentTask,
    input: i32,
    in_offset: UserPtr<i64>,
    out: i32,
    out_offset: UserPtr<i64>,
    len: usize,
    flags: u32,
) -> SysResult {
    if len == 0 {
        return Ok(0);
    }
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (from, to) = (cur.file(input)?, cur.file(out)?);
    check(&from, &to)?;
    let (mut from, mut to) = (Side::new(from, None), Side::new(to, None));
    let no_offset = |side: &Side, at: UserPtr<i64>| !at.is_null() && !side.file.ops().seekable();
    if no_offset(&from, in_offset) || no_offset(&to, out_offset) {
        return Err(Errno::ESPIPE.into());
    }
    pipes_differ(&from, &to)?;
    let inode = from.file.path().and_then(|p| p.dentry.inode());
    let directory = inode.is_some_and(|i| i.file_type() == FileType::Directory);
    if directory || !from.file.ops().takes_splice() {
        return Err(Errno::EINVAL.into());
    }
    if to.pipe().is_none() && (to.file.flags() & O_APPEND != 0 || !to.file.ops().takes_splice()) {
        return Err(Errno::EINVAL.into());
    }
    from.at = offset_argument(cur, in_offset)?;
    to.at = offset_argument(cur, out_offset)?;
    for side in [&mut from, &mut to] {
        side.nonblocking |= flags & SPLICE_F_NONBLOCK != 0 && side.pipe().is_some();
    }
    let n = transfer(cur, &mut from, &mut to, len.min(RW_MAX), Extent::Some).await?;
    store(cur, in_offset, &from)?;
    store(cur, out_offset, &to)?;
    Ok(n)
}

/// `tee(2)`.
pub async fn tee(cur: &mut CurrentTask, input: i32, out: i32, len: usize, flags: u32) -> SysResult {
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let (from, to) = (cur.file(input)?, cur.file(out)?);
    check(&from, &to)?;
    let (from, mut to) = (Side::new(from, None), Side::new(to, None));
    pipes_differ(&from, &to)?;
    let Some(pipe) = from.pipe().filter(|_| to.pipe().is_some()) else {
        return Err(Errno::EINVAL.into());
    };
    let nonblocking = flags & SPLICE_F_NONBLOCK != 0;
    to.nonblocking |= nonblocking;
    let bytes = match nonblocking || from.nonblocking {
        true => pipe.peek(len.min(CHUNK))?,
        false => {
            let peek =
                cur.block_on(&*from.file, Events::READABLE, None, |_| pipe.peek(len.min(CHUNK)));
            peek.await?
        }
    };
    if bytes.is_empty() {
        return Ok(0);
    }
    let room = usize::try_from(to.room(cur).await?).unwrap_or(0).min(bytes.len());
    let mut src = IoSrc::kernel(bytes.get(..room).unwrap_or_default());
    write_all(cur, &to.file, &mut src, None).await
}

/// `vmsplice(2)`: the pages are copied, given or not.
pub async fn vmsplice(
    cur: &mut CurrentTask,
    fd: i32,
    iov: UserAddr,
    n: u64,
    flags: u32,
) -> SysResult {
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = cur.file(fd)?;
    if file.ops_as::<PipeEnd>().is_none() {
        return Err(Errno::EBADF.into());
    }
    let segments = segments(cur, iov, n)?;
    // It waits until there is room, not until there is enough.
    let nowait = flags & SPLICE_F_NONBLOCK != 0;
    let io = super::rw::Io { nowait, some: true, ..Default::default() };
    match file.writable() {
        true => super::rw::do_write(cur, fd, &segments, io).await,
        false => super::rw::do_read(cur, fd, &segments, io).await,
    }
}
