//! Messages of sockets: `send(2)`, `recv(2)` and their relatives.

use super::arg::{Flags, SockAddr};
use super::rw::{RW_MAX, bounded, broken_pipe, segments};
use super::socket::{read_addr, socket_file, write_addr};
use crate::error::{SysError, SysResult};
use crate::net::{Kind, Outgoing, Received, parse_control, socket_of};
use crate::task::CurrentTask;
use crate::time::Deadline;
use crate::vfs::{File, IoDst, IoSrc, UserSegment};
use crate::wait::{Events, WaitError};
use chitin_abi::Errno;
use chitin_abi::socket::*;
use chitin_abi::time::Timespec;
use chitin_usermem::{UserAddr, UserPtr};
use std::sync::Arc;

/// Most messages of one call (`UIO_MAXIOV`).
const BATCH_MAX: u32 = 1024;

fn one(buf: UserAddr, len: usize) -> [UserSegment; 1] {
    [(buf, len.min(RW_MAX))]
}

/// Sends what `segments` hold.
async fn send(
    cur: &mut CurrentTask,
    file: &Arc<File>,
    segments: &[UserSegment],
    to: &[u8],
    mut control: Outgoing,
    flags: u32,
) -> SysResult {
    let socket = socket_of(file)?.clone();
    let mm = cur.mm().clone();
    let mut src = IoSrc::user(&mm, segments);
    let flags = if file.nonblocking() { flags | MSG_DONTWAIT } else { flags };
    let result = if flags & MSG_DONTWAIT != 0 {
        let task = cur.task().clone();
        socket.send(&task, &mut src, to, &mut control, flags).map_err(WaitError::Errno)
    } else {
        let limit = socket.common().options.timeouts().1;
        let deadline = limit.map(Deadline::after);
        let send = cur.block_on(&*socket, Events::WRITABLE, deadline, |cur| {
            let task = cur.task().clone();
            socket.send(&task, &mut src, to, &mut control, flags)
        });
        bounded(send.await, limit)
    };
    let done = src.done() as u64;
    let stream = socket.common().kind == Kind::Stream;
    if result == Err(WaitError::Errno(Errno::EPIPE))
        && done == 0
        && stream
        && flags & MSG_NOSIGNAL == 0
    {
        broken_pipe(cur.task());
    }
    match result {
        Ok(n) => Ok((n as u64).max(done)),
        Err(_) if done > 0 && stream => Ok(done),
        Err(e) => Err(e.into()),
    }
}

/// `sendto(2)`.
pub async fn sendto(
    cur: &mut CurrentTask,
    fd: i32,
    buf: UserAddr,
    len: usize,
    flags: Flags,
    addr: SockAddr,
    addrlen: i32,
) -> SysResult {
    let file = socket_file(cur, fd)?;
    let to = if addr.0.is_null() { Vec::new() } else { read_addr(cur, addr.0, addrlen)? };
    send(cur, &file, &one(buf, len), &to, Outgoing::default(), flags.0).await
}

fn header_addr(cur: &CurrentTask, hdr: &Msghdr) -> Result<Vec<u8>, Errno> {
    if hdr.name == 0 {
        return Ok(Vec::new());
    }
    if hdr.namelen < 0 {
        return Err(Errno::EINVAL);
    }
    read_addr(cur, UserAddr(hdr.name), hdr.namelen.min(128))
}

fn header_segments(cur: &CurrentTask, hdr: &Msghdr) -> Result<Vec<UserSegment>, Errno> {
    if hdr.iovlen > 1024 {
        return Err(Errno::EMSGSIZE);
    }
    segments(cur, UserAddr(hdr.iov), hdr.iovlen)
}

async fn send_header(
    cur: &mut CurrentTask,
    file: &Arc<File>,
    hdr: &Msghdr,
    flags: u32,
) -> SysResult {
    let to = header_addr(cur, hdr)?;
    let segments = header_segments(cur, hdr)?;
    let control = parse_control(cur, UserAddr(hdr.control), hdr.controllen)?;
    send(cur, file, &segments, &to, control, flags).await
}

/// `sendmsg(2)`.
pub async fn sendmsg(
    cur: &mut CurrentTask,
    fd: i32,
    msg: UserPtr<Msghdr>,
    flags: Flags,
) -> SysResult {
    let file = socket_file(cur, fd)?;
    let hdr = msg.read(&**cur.mm())?;
    send_header(cur, &file, &hdr, flags.0).await
}

/// `sendmmsg(2)`.
pub async fn sendmmsg(
    cur: &mut CurrentTask,
    fd: i32,
    messages: UserPtr<Mmsghdr>,
    count: u32,
    flags: Flags,
) -> SysResult {
    let file = socket_file(cur, fd)?;
    let mut done = 0;
    for i in 0..u64::from(count.min(BATCH_MAX)) {
        let sent = async {
            let at = messages.at(i)?;
            let mut message = at.read(&**cur.mm())?;
            let n = send_header(cur, &file, &message.hdr, flags.0).await?;
            message.len = u32::try_from(n).unwrap_or(u32::MAX);
            at.write(&**cur.mm(), &message)?;
            Ok::<(), SysError>(())
        };
        match sent.await {
            Ok(()) => done += 1,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Receives into `segments`; waits as the file and the flags demand, until `deadline`.
async fn recv(
    cur: &mut CurrentTask,
    file: &Arc<File>,
    segments: &[UserSegment],
    flags: u32,
) -> Result<Received, SysError> {
    let socket = socket_of(file)?.clone();
    let mm = cur.mm().clone();
    let mut dst = IoDst::user(&mm, segments);
    let stream = socket.common().kind == Kind::Stream;
    if flags & (MSG_DONTWAIT | MSG_ERRQUEUE) != 0 || file.nonblocking() {
        let task = cur.task().clone();
        return Ok(socket.recv(&task, &mut dst, flags | MSG_DONTWAIT)?);
    }
    let limit = socket.common().options.timeouts().0;
    let deadline = limit.map(Deadline::after);
    let all = stream && flags & (MSG_WAITALL | MSG_PEEK) == MSG_WAITALL;
    let mut first: Option<Received> = None;
    let result = cur.block_on(&*socket, Events::READABLE, deadline, |cur| {
        let task = cur.task().clone();
        loop {
            let got = socket.recv(&task, &mut dst, flags)?;
            let last = !all || got.last || got.len == 0 || dst.remaining() == 0;
            match &mut first {
                // What a later piece carries besides bytes belongs to the message too.
                Some(message) => {
                    message.len += got.len;
                    message.control.files.extend(got.control.files);
                    message.control.rights = message.control.rights.take().or(got.control.rights);
                }
                None => first = Some(got),
            }
            if last {
                return Ok(());
            }
        }
    });
    let result = bounded(result.await, limit);
    match (result, first) {
        (Ok(()), Some(message)) => Ok(message),
        (Err(_), Some(message)) if message.len > 0 => Ok(message),
        (Err(e), _) => Err(e.into()),
        (Ok(()), None) => Ok(Received::default()),
    }
}

/// `recvfrom(2)`.
pub async fn recvfrom(
    cur: &mut CurrentTask,
    fd: i32,
    buf: UserAddr,
    len: usize,
    flags: Flags,
    addr: SockAddr,
    addrlen: UserPtr<i32>,
) -> SysResult {
    let file = socket_file(cur, fd)?;
    let got = recv(cur, &file, &one(buf, len), flags.0).await?;
    if !addr.0.is_null() {
        write_addr(cur, &got.from, addr.0, addrlen)?;
    }
    Ok(got.len as u64)
}

/// Receives one message and fills in its header.
async fn recv_header(
    cur: &mut CurrentTask,
    file: &Arc<File>,
    hdr: &mut Msghdr,
    flags: u32,
) -> SysResult {
    if hdr.name != 0 && hdr.namelen < 0 {
        return Err(Errno::EINVAL.into());
    }
    let segments = header_segments(cur, hdr)?;
    let got = recv(cur, file, &segments, flags).await?;
    let (control, cut) = got.control.deliver(cur, UserAddr(hdr.control), hdr.controllen, flags)?;
    if hdr.name != 0 {
        use chitin_usermem::UserMemory;
        let room = usize::try_from(hdr.namelen).unwrap_or(0);
        let n = got.from.len().min(room);
        cur.mm().write(UserAddr(hdr.name), got.from.get(..n).unwrap_or_default())?;
        hdr.namelen = i32::try_from(got.from.len()).unwrap_or(i32::MAX);
    }
    hdr.controllen = control;
    hdr.flags = got.flags | cut | flags & MSG_CMSG_CLOEXEC;
    Ok(got.len as u64)
}

/// `recvmsg(2)`.
pub async fn recvmsg(
    cur: &mut CurrentTask,
    fd: i32,
    msg: UserPtr<Msghdr>,
    flags: Flags,
) -> SysResult {
    let file = socket_file(cur, fd)?;
    let mut hdr = msg.read(&**cur.mm())?;
    let n = recv_header(cur, &file, &mut hdr, flags.0).await?;
    msg.write(&**cur.mm(), &hdr)?;
    Ok(n)
}

/// `recvmmsg(2)`. As in Linux the timeout is looked at between messages only.
pub async fn recvmmsg(
    cur: &mut CurrentTask,
    fd: i32,
    messages: UserPtr<Mmsghdr>,
    count: u32,
    flags: Flags,
    timeout: UserPtr<Timespec>,
) -> SysResult {
    let deadline = match timeout.read_opt(&**cur.mm())? {
        Some(t) => Some(Deadline::after(super::time::nanos(t)?)),
        None => None,
    };
    let file = socket_file(cur, fd)?;
    let mut flags = flags.0;
    let wait_for_one = flags & MSG_WAITFORONE != 0;
    flags &= !MSG_WAITFORONE;
    let mut done = 0;
    for i in 0..u64::from(count.min(BATCH_MAX)) {
        let received = async {
            let at = messages.at(i)?;
            let mut message = at.read(&**cur.mm())?;
            let n = recv_header(cur, &file, &mut message.hdr, flags).await?;
            message.len = u32::try_from(n).unwrap_or(u32::MAX);
            at.write(&**cur.mm(), &message)?;
            Ok::<(), SysError>(())
        };
        match received.await {
            Ok(()) => done += 1,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
        if wait_for_one {
            flags |= MSG_DONTWAIT;
        }
        if deadline.is_some_and(|d| d.remaining() == 0) {
            break;
        }
    }
    if let Some(deadline) = deadline {
        let _ = timeout.write(&**cur.mm(), &super::time::timespec(deadline.remaining()));
    }
    Ok(done)
}
