//! Sockets: `socket(2)`, `bind(2)`, `connect(2)`, `accept(2)`, options.

use super::arg::SockAddr;
use super::fd::install;
use super::rw::bounded;
use crate::error::SysResult;
use crate::net::{self, Kind, NetlinkSocket, Shutdown, Socket, SocketFile, UnixSocket, socket_of};
use crate::task::{CurrentTask, PidFd};
use crate::time::Deadline;
use crate::vfs::File;
use crate::wait::Events;
use chitin_abi::fs::{O_PATH, O_RDWR};
use chitin_abi::socket::*;
use chitin_abi::task::RLIMIT_NOFILE;
use chitin_abi::{Errno, Pod};
use chitin_usermem::{UserAddr, UserMemory, UserPtr};
use std::sync::Arc;

/// Longest address (`struct sockaddr_storage`).
const ADDR_MAX: usize = 128;
/// Longest value of an option.
const OPTION_MAX: usize = 4096;

/// The file behind a descriptor, which must be a socket's.
pub(super) fn socket_file(cur: &CurrentTask, fd: i32) -> Result<Arc<File>, Errno> {
    let file = cur.file(fd)?;
    if file.flags() & O_PATH != 0 {
        return Err(Errno::EBADF);
    }
    socket_of(&file)?;
    Ok(file)
}

/// An address that a program gives.
pub(super) fn read_addr(cur: &CurrentTask, at: UserAddr, len: i32) -> Result<Vec<u8>, Errno> {
    let len = usize::try_from(len).ok().filter(|&n| n <= ADDR_MAX).ok_or(Errno::EINVAL)?;
    let mut bytes = vec![0; len];
    cur.mm().read(at, &mut bytes)?;
    Ok(bytes)
}

/// Stores an address and its length, as much as fits.
pub(super) fn write_addr(
    cur: &CurrentTask,
    addr: &[u8],
    at: UserAddr,
    len: UserPtr<i32>,
) -> Result<(), Errno> {
    let room = len.read(&**cur.mm())?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let n = addr.len().min(room);
    cur.mm().write(at, addr.get(..n).unwrap_or_default())?;
    len.write(&**cur.mm(), &i32::try_from(addr.len()).unwrap_or(i32::MAX))
}

#[allow(clippy::cast_sign_loss)]
fn open(cur: &CurrentTask, socket: Arc<dyn Socket>, flags: u32) -> SysResult {
    let file = SocketFile::open(socket, flags);
    Ok(install(cur, file, flags & SOCK_CLOEXEC != 0)? as u64)
}

/// The flags of a type.
fn flags_of(kind: u32) -> Result<u32, Errno> {
    let flags = kind & !SOCK_TYPE_MASK;
    if flags & !(SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 { Err(Errno::EINVAL) } else { Ok(flags) }
}

fn family_of(domain: i32) -> Result<u16, Errno> {
    let family = u16::try_from(domain).map_err(|_| Errno::EAFNOSUPPORT)?;
    if family < AF_MAX { Ok(family) } else { Err(Errno::EAFNOSUPPORT) }
}

/// `socket(2)`.
pub fn socket(cur: &mut CurrentTask, domain: i32, kind: u32, protocol: i32) -> SysResult {
    let flags = flags_of(kind)?;
    let socket = create(cur, domain, kind & SOCK_TYPE_MASK, protocol)?;
    open(cur, socket, flags)
}

/// A socket that no descriptor has yet.
fn create(
    cur: &CurrentTask,
    domain: i32,
    kind: u32,
    protocol: i32,
) -> Result<Arc<dyn Socket>, Errno> {
    let (family, task) = (family_of(domain)?, cur.task());
    if kind > SOCK_PACKET {
        return Err(Errno::EINVAL);
    }
    let kind = Kind::of(kind);
    Ok(match family {
        AF_UNIX if !matches!(protocol, 0 | 1) => return Err(Errno::EPROTONOSUPPORT),
        AF_UNIX => UnixSocket::new(task, kind?, protocol)?,
        AF_INET | AF_INET6 if !(0..IPPROTO_MAX).contains(&protocol) => return Err(Errno::EINVAL),
        AF_INET | AF_INET6 => net::inet_socket(task, family, kind?, protocol)?,
        AF_NETLINK => NetlinkSocket::new(task, kind?, protocol)?,
        AF_UNSPEC => return Err(Errno::EAFNOSUPPORT),
        other => {
            task.kernel.gap(&format!("sockets of address family {other}"));
            return Err(Errno::EAFNOSUPPORT);
        }
    })
}

/// `socketpair(2)`.
pub fn socketpair(
    cur: &mut CurrentTask,
    domain: i32,
    kind: u32,
    protocol: i32,
    fds: UserAddr,
) -> SysResult {
    let flags = flags_of(kind)?;
    let kind = kind & SOCK_TYPE_MASK;
    // Linux makes both before it asks whether they can be a pair.
    let socket = create(cur, domain, kind, protocol)?;
    if socket.common().family != AF_UNIX {
        return Err(Errno::EOPNOTSUPP.into());
    }
    drop(socket);
    let [a, b] = net::pair(cur.task(), Kind::of(kind)?, protocol)?;
    let cloexec = flags & SOCK_CLOEXEC != 0;
    let files = cur.task().files();
    let first = install(cur, SocketFile::open(a, flags), cloexec)?;
    let second = match install(cur, SocketFile::open(b, flags), cloexec) {
        Ok(fd) => fd,
        Err(e) => {
            drop(files.remove(first));
            return Err(e.into());
        }
    };
    if let Err(e) = cur.mm().write(fds, [first, second].as_bytes()) {
        drop((files.remove(first), files.remove(second)));
        return Err(e.into());
    }
    Ok(0)
}

/// `bind(2)`.
pub fn bind(cur: &mut CurrentTask, fd: i32, addr: SockAddr, len: i32) -> SysResult {
    let file = socket_file(cur, fd)?;
    let addr = read_addr(cur, addr.0, len)?;
    socket_of(&file)?.bind(cur.task(), &addr)?;
    Ok(0)
}

/// `listen(2)`.
pub fn listen(cur: &mut CurrentTask, fd: i32, backlog: i32) -> SysResult {
    let file = socket_file(cur, fd)?;
    // As in Linux a negative number is a large one.
    let backlog = u32::try_from(backlog).unwrap_or(SOMAXCONN).min(SOMAXCONN);
    socket_of(&file)?.listen(cur.task(), backlog)?;
    Ok(0)
}

/// `connect(2)`.
pub async fn connect(cur: &mut CurrentTask, fd: i32, addr: SockAddr, len: i32) -> SysResult {
    let file = socket_file(cur, fd)?;
    let addr = read_addr(cur, addr.0, len)?;
    let socket = socket_of(&file)?.clone();
    if file.nonblocking() {
        socket.connect(cur.task(), &addr, MSG_DONTWAIT)?;
        return Ok(0);
    }
    let limit = socket.common().options.timeouts().1;
    let deadline = limit.map(Deadline::after);
    let connect = cur.block_on(&*socket, Events::WRITABLE, deadline, |cur| {
        let task = cur.task().clone();
        socket.connect(&task, &addr, 0)
    });
    bounded(connect.await, limit)?;
    Ok(0)
}

/// `accept4(2)`.
pub async fn accept4(
    cur: &mut CurrentTask,
    fd: i32,
    addr: SockAddr,
    len: UserPtr<i32>,
    flags: u32,
) -> SysResult {
    if flags & !(SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = socket_file(cur, fd)?;
    let socket = socket_of(&file)?.clone();
    // A connection for which there is no descriptor stays where it is.
    cur.task().files().check_room(cur.task().process.limit(RLIMIT_NOFILE))?;
    let accepted = if file.nonblocking() {
        socket.accept()?
    } else {
        let limit = socket.common().options.timeouts().0;
        let deadline = limit.map(Deadline::after);
        let accept = cur.block_on(&*socket, Events::READABLE, deadline, |_| socket.accept());
        bounded(accept.await, limit)?
    };
    let peer = accepted.peer_name();
    // The description owns it from here on: whatever fails closes the connection.
    let new = SocketFile::open(accepted, flags);
    if !addr.0.is_null() {
        write_addr(cur, &peer.map_err(|_| Errno::ECONNABORTED)?, addr.0, len)?;
    }
    let fd = install(cur, new, flags & SOCK_CLOEXEC != 0)?;
    Ok(u64::from(fd.unsigned_abs()))
}

/// `accept(2)`.
pub async fn accept(
    cur: &mut CurrentTask,
    fd: i32,
    addr: SockAddr,
    len: UserPtr<i32>,
) -> SysResult {
    accept4(cur, fd, addr, len, 0).await
}

/// `getsockname(2)`.
pub fn getsockname(cur: &mut CurrentTask, fd: i32, addr: SockAddr, len: UserPtr<i32>) -> SysResult {
    let file = socket_file(cur, fd)?;
    let name = socket_of(&file)?.name();
    write_addr(cur, &name, addr.0, len)?;
    Ok(0)
}

/// `getpeername(2)`.
pub fn getpeername(cur: &mut CurrentTask, fd: i32, addr: SockAddr, len: UserPtr<i32>) -> SysResult {
    let file = socket_file(cur, fd)?;
    let name = socket_of(&file)?.peer_name()?;
    write_addr(cur, &name, addr.0, len)?;
    Ok(0)
}

/// `shutdown(2)`.
pub fn shutdown(cur: &mut CurrentTask, fd: i32, how: i32) -> SysResult {
    let file = socket_file(cur, fd)?;
    socket_of(&file)?.shutdown(Shutdown::of(how)?)?;
    Ok(0)
}

/// `getsockopt(2)`.
pub fn getsockopt(
    cur: &mut CurrentTask,
    fd: i32,
    level: i32,
    name: i32,
    value: UserAddr,
    len: UserPtr<i32>,
) -> SysResult {
    let file = socket_file(cur, fd)?;
    let room = usize::try_from(len.read(&**cur.mm())?).map_err(|_| Errno::EINVAL)?;
    let socket = socket_of(&file)?;
    if (level, name) == (SOL_SOCKET, SO_PEERPIDFD) {
        return peer_pidfd(cur, &**socket, room, value, len);
    }
    let answer = match socket.get_option(cur.task(), level, name) {
        Some(answer) => answer?,
        None if level == SOL_SOCKET && name == SO_PEERNAME => socket.peer_name()?,
        None if level == SOL_SOCKET => net::get_option(&**socket, name)?,
        // Levels that nothing of the socket knows are told apart for reading only.
        None if !of_levels(&**socket, level) => return Err(Errno::EOPNOTSUPP.into()),
        None => return Err(unknown(cur, level, name).into()),
    };
    if level == SOL_SOCKET && matches!(name, SO_PEERNAME | SO_PEERGROUPS) && answer.len() > room {
        len.write(&**cur.mm(), &i32::try_from(answer.len()).unwrap_or(i32::MAX))?;
        return Err(if name == SO_PEERGROUPS { Errno::ERANGE } else { Errno::EINVAL }.into());
    }
    let n = answer.len().min(room);
    cur.mm().write(value, answer.get(..n).unwrap_or_default())?;
    len.write(&**cur.mm(), &i32::try_from(n).unwrap_or(i32::MAX))?;
    Ok(0)
}

/// `SO_PEERPIDFD`: a descriptor of the process at the other end.
fn peer_pidfd(
    cur: &CurrentTask,
    socket: &dyn Socket,
    room: usize,
    value: UserAddr,
    len: UserPtr<i32>,
) -> SysResult {
    let process = socket.peer_process().ok_or(Errno::ENODATA)?;
    let pidfd = PidFd::of_process(&cur.task().kernel, process.upgrade().ok_or(Errno::ESRCH)?);
    let fd = install(cur, File::new(Box::new(pidfd), None, O_RDWR), true)?;
    let number = fd.to_ne_bytes();
    // As in Linux as much of it as there is room for.
    let number = number.get(..room).unwrap_or(&number);
    let told = cur.mm().write(value, number);
    let size = i32::try_from(number.len()).unwrap_or(0);
    let told = told.and_then(|()| len.write(&**cur.mm(), &size));
    if let Err(e) = told {
        drop(cur.task().files().remove(fd));
        return Err(e.into());
    }
    Ok(0)
}

/// Whether options of this level go to the protocols of a socket.
fn of_levels(socket: &dyn Socket, level: i32) -> bool {
    let common = socket.common();
    common.family != AF_UNIX
        && (common.family != AF_INET
            || [SOL_SOCKET, IPPROTO_IP].contains(&level)
            || level == if common.kind == Kind::Stream { IPPROTO_TCP } else { IPPROTO_UDP })
}

fn unknown(cur: &CurrentTask, level: i32, name: i32) -> Errno {
    cur.task().kernel.gap(&format!("socket option {name} of level {level}"));
    Errno::ENOPROTOOPT
}

/// `setsockopt(2)`.
pub fn setsockopt(
    cur: &mut CurrentTask,
    fd: i32,
    level: i32,
    name: i32,
    value: UserAddr,
    len: i32,
) -> SysResult {
    let file = socket_file(cur, fd)?;
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?.min(OPTION_MAX);
    let mut bytes = vec![0; len];
    cur.mm().read(value, &mut bytes)?;
    let socket = socket_of(&file)?;
    match socket.set_option(cur.task(), level, name, &bytes) {
        Some(result) => result?,
        None if level == SOL_SOCKET => net::set_option(&**socket, cur.task(), name, &bytes)?,
        None if socket.common().family == AF_UNIX => return Err(Errno::EOPNOTSUPP.into()),
        None => return Err(unknown(cur, level, name).into()),
    }
    Ok(0)
}
