//! Asynchronous requests: `io_setup(2)`, `io_submit(2)`, `io_getevents(2)`, `io_cancel(2)`,
//! `io_destroy(2)`.

use super::rw::{one, position, read_file, segments, vector_io, write_file};
use super::sched::check_io_priority;
use super::signals::mask_arg;
use crate::aio::{Context, Contexts, MOST_EVENTS, Operation, Patience, Pending, Token};
use crate::error::{Restart, SysError, SysResult};
use crate::events::EventFd;
use crate::mm::USER_END;
use crate::task::CurrentTask;
use crate::time::Deadline;
use crate::vfs::{File, FileType};
use crate::wait::{Events, Pollable, WaitError};
use chitin_abi::Errno;
use chitin_abi::aio::*;
use chitin_abi::fs::O_PATH;
use chitin_abi::poll::{POLLERR, POLLHUP};
use chitin_abi::task::RLIMIT_AS;
use chitin_abi::time::Timespec;
use chitin_usermem::{UserAddr, UserPtr};
use std::sync::Arc;

/// What Linux has a ring for at most, in events that were asked for.
const RING_MAX: u32 = 4_194_304;

/// `io_setup(2)`.
pub fn io_setup(cur: &mut CurrentTask, events: u32, out: UserPtr<u64>) -> SysResult {
    let mm = cur.mm().clone();
    if out.read(&*mm)? != 0 || events == 0 || events > RING_MAX {
        return Err(Errno::EINVAL.into());
    }
    if u64::from(events) > MOST_EVENTS {
        return Err(Errno::EAGAIN.into());
    }
    let (usage, limit) = (&cur.task().kernel.aio, cur.task().process.limit(RLIMIT_AS));
    let id = Contexts::add(&mm, usage, events, limit)?;
    if let Err(e) = out.write(&*mm, &id) {
        let _ = Contexts::remove(&mm, id);
        return Err(e.into());
    }
    Ok(0)
}

/// `io_destroy(2)`. Requests that wait end without an event.
pub fn io_destroy(cur: &mut CurrentTask, id: u64) -> SysResult {
    Contexts::remove(cur.mm(), id)?;
    Ok(0)
}

/// `io_submit(2)`.
pub async fn io_submit(
    cur: &mut CurrentTask,
    id: u64,
    count: i64,
    requests: UserPtr<u64>,
) -> SysResult {
    let count = u64::try_from(count).map_err(|_| Errno::EINVAL)?;
    let context = Contexts::get(cur.mm(), id)?;
    for i in 0..count.min(context.room() as u64) {
        let at = requests.at(i).and_then(|at| at.read(&**cur.mm()));
        let submitted = match at {
            Ok(at) => submit(cur, &context, UserAddr(at)).await,
            Err(e) => Err(e),
        };
        match submitted {
            Ok(()) => {}
            Err(_) if i > 0 => return Ok(i),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(count.min(context.room() as u64))
}

fn descriptor(fd: u32) -> i32 {
    i32::from_ne_bytes(fd.to_ne_bytes())
}

async fn submit(cur: &mut CurrentTask, context: &Arc<Context>, at: UserAddr) -> Result<(), Errno> {
    let request = at.cast::<Iocb>().read(&**cur.mm())?;
    if request.aio_reserved2 != 0 || i64::try_from(request.aio_nbytes).is_err() {
        return Err(Errno::EINVAL);
    }
    let mut token = context.reserve(at.0)?;
    let file = cur.file(descriptor(request.aio_fildes))?;
    if file.flags() & O_PATH != 0 {
        return Err(Errno::EBADF);
    }
    token.data = request.aio_data;
    if request.aio_flags & IOCB_FLAG_RESFD != 0 {
        let eventfd = cur.file(descriptor(request.aio_resfd))?;
        eventfd.ops_as::<EventFd>().ok_or(Errno::EINVAL)?;
        token.eventfd = Some(eventfd);
    }
    // `KIOCB_KEY`.
    at.offset(8)?.cast::<u32>().write(&**cur.mm(), &0)?;
    match request.aio_lio_opcode {
        IOCB_CMD_PREAD | IOCB_CMD_PREADV | IOCB_CMD_PWRITE | IOCB_CMD_PWRITEV => {
            transfer(cur, token, file, &request).await
        }
        IOCB_CMD_FSYNC | IOCB_CMD_FDSYNC => fsync(cur, token, &file, &request),
        IOCB_CMD_POLL => poll(cur, token, file, &request),
        // Linux knows IOCB_CMD_NOOP by its name only.
        _ => Err(Errno::EINVAL),
    }
}

async fn transfer(
    cur: &mut CurrentTask,
    token: Token,
    file: Arc<File>,
    request: &Iocb,
) -> Result<(), Errno> {
    if request.aio_flags & IOCB_FLAG_IOPRIO != 0 {
        check_io_priority(cur, request.aio_reqprio.into())?;
    }
    let mut io = vector_io(0, request.aio_rw_flags)?;
    let opcode = request.aio_lio_opcode;
    let reads = matches!(opcode, IOCB_CMD_PREAD | IOCB_CMD_PREADV);
    if !(if reads { file.readable() } else { file.writable() }) {
        return Err(Errno::EBADF);
    }
    let inode = file.path().and_then(|p| p.dentry.inode_ref());
    if inode.is_some_and(|i| i.file_type() == FileType::Directory) {
        return Err(Errno::EINVAL);
    }
    let buf = UserAddr(request.aio_buf);
    let segments = if matches!(opcode, IOCB_CMD_PREADV | IOCB_CMD_PWRITEV) {
        segments(cur, buf, request.aio_nbytes)?
    } else {
        if buf.offset(request.aio_nbytes)?.0 > USER_END {
            return Err(Errno::EFAULT);
        }
        one(buf, usize::try_from(request.aio_nbytes).unwrap_or(usize::MAX)).to_vec()
    };
    let at = position(request.aio_offset)?;
    if file.ops().pollable().is_some() && !file.ops().seekable() {
        let patience =
            if io.nowait || file.nonblocking() { Patience::None } else { Patience::Endless };
        let operation = if reads { Operation::Read(segments) } else { Operation::Write(segments) };
        return Pending::submit(cur, token, file, operation, patience);
    }
    io.at = file.ops().seekable().then_some(at);
    let result = if reads {
        read_file(cur, &file, &segments, io).await
    } else {
        write_file(cur, &file, &segments, io).await
    };
    token.finish(result.map_err(|e| match e {
        SysError::Errno(e) => e,
        _ => Errno::EINTR,
    }));
    Ok(())
}

fn fsync(cur: &CurrentTask, token: Token, file: &File, request: &Iocb) -> Result<(), Errno> {
    let Iocb { aio_buf, aio_offset, aio_nbytes, aio_rw_flags, .. } = *request;
    if aio_buf != 0 || aio_offset != 0 || aio_nbytes != 0 || aio_rw_flags != 0 {
        return Err(Errno::EINVAL);
    }
    match file.ops().fsync(cur.file_cx(file)) {
        // There is nothing to be done for such files.
        Err(Errno::EINVAL) => Err(Errno::EINVAL),
        result => {
            token.finish(result.map(|()| 0));
            Ok(())
        }
    }
}

fn poll(cur: &CurrentTask, token: Token, file: Arc<File>, request: &Iocb) -> Result<(), Errno> {
    let events = u16::try_from(request.aio_buf).map_err(|_| Errno::EINVAL)?;
    if request.aio_offset != 0 || request.aio_nbytes != 0 || request.aio_rw_flags != 0 {
        return Err(Errno::EINVAL);
    }
    let events = Events(u32::from(events) | POLLERR | POLLHUP);
    if file.ops().pollable().is_none() && !file.readiness().intersects(events) {
        return Err(Errno::EINVAL);
    }
    Pending::submit(cur, token, file, Operation::Poll(events), Patience::Endless)
}

/// `io_cancel(2)`: requests that wait for readiness; their event is told like any other.
pub fn io_cancel(
    cur: &mut CurrentTask,
    id: u64,
    request: UserAddr,
    _result: UserAddr,
) -> SysResult {
    if request.offset(8)?.cast::<u32>().read(&**cur.mm())? != 0 {
        return Err(Errno::EINVAL.into());
    }
    Contexts::get(cur.mm(), id)?.cancel(request.0)?;
    Err(Errno::EINPROGRESS.into())
}

/// A time span in nanoseconds as these calls take it, however odd: none that is negative ends.
fn span(t: Timespec) -> Option<u64> {
    let nanos = i128::from(t.tv_sec) * 1_000_000_000 + i128::from(t.tv_nsec);
    u64::try_from(nanos).ok()
}

/// Events for a caller that waits for `least` of them. Those that were taken are told, whatever
/// ends the wait.
async fn wait(
    cur: &mut CurrentTask,
    id: u64,
    (least, most): (i64, i64),
    out: UserPtr<IoEvent>,
    timeout: Option<Timespec>,
) -> Result<u64, WaitError> {
    let context = Contexts::get(cur.mm(), id)?;
    let most = usize::try_from(most).map_err(|_| Errno::EINVAL)?;
    let least = usize::try_from(least).ok().filter(|&n| n <= most).ok_or(Errno::EINVAL)?;
    let mut got = 0;
    let mut take = |cur: &mut CurrentTask| {
        let taken = out.at(got as u64).and_then(|out| context.take(cur.mm(), out, most - got));
        match taken {
            Ok(n) => got += n,
            Err(e) if got == 0 => return Err(e),
            Err(_) => return Ok(()),
        }
        if got >= least { Ok(()) } else { Err(Errno::EAGAIN) }
    };
    let waited = match timeout.and_then(span) {
        Some(0) => take(cur).map_err(WaitError::Errno),
        timeout => {
            let deadline = timeout.map(Deadline::after);
            cur.block_on(&context.queue, Events::ALL, deadline, take).await
        }
    };
    match waited {
        Ok(()) | Err(WaitError::TimedOut | WaitError::Errno(Errno::EAGAIN)) => Ok(got as u64),
        Err(_) if got > 0 => Ok(got as u64),
        Err(e) => Err(e),
    }
}

/// `io_getevents(2)`.
pub async fn io_getevents(
    cur: &mut CurrentTask,
    id: u64,
    least: i64,
    most: i64,
    events: UserPtr<IoEvent>,
    timeout: UserPtr<Timespec>,
) -> SysResult {
    let timeout = timeout.read_opt(&**cur.mm())?;
    match wait(cur, id, (least, most), events, timeout).await {
        // Never restarted, see signal(7).
        Err(WaitError::Interrupted) => Err(Errno::EINTR.into()),
        other => Ok(other?),
    }
}

/// `io_pgetevents(2)`.
pub async fn io_pgetevents(
    cur: &mut CurrentTask,
    id: u64,
    least: i64,
    most: i64,
    events: UserPtr<IoEvent>,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<AioSigset>,
) -> SysResult {
    let timeout = timeout.read_opt(&**cur.mm())?;
    if let Some(mask) = mask.read_opt(&**cur.mm())? {
        let size = usize::try_from(mask.sigsetsize).unwrap_or(usize::MAX);
        mask_arg(cur, UserPtr::new(UserAddr(mask.sigmask)), size)?;
    }
    match wait(cur, id, (least, most), events, timeout).await {
        Err(WaitError::Interrupted) => Err(SysError::Restart(Restart::NoHand)),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_time_spans_are_taken() {
        let span = |tv_sec, tv_nsec| span(Timespec { tv_sec, tv_nsec });
        assert_eq!(span(0, 0), Some(0));
        assert_eq!(span(1, 2_000_000_000), Some(3_000_000_000));
        assert_eq!(span(-1, 0), None);
        assert_eq!(span(i64::MAX, 0), None);
    }
}
