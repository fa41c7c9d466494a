//! [`Socket`], what a family of sockets implements, and [`SocketFile`], the file before it.

use super::{Control, Options, Outgoing};
use crate::task::{Process, Task};
use crate::vfs::{Attr, File, FileCx, FileOps, FileType, IoDst, IoRules, IoSrc};
use crate::wait::{Pollable, WaitQueue};
use chitin_abi::Errno;
use chitin_abi::socket::*;
use chitin_usermem::{UserAddr, UserMemory};
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Type of a socket (`socket(2)`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Kind {
    Stream,
    Datagram,
    SeqPacket,
    Raw,
}

impl Kind {
    /// From the number without its flags; `ESOCKTNOSUPPORT` for others.
    pub fn of(kind: u32) -> Result<Self, Errno> {
        Ok(match kind {
            SOCK_STREAM => Self::Stream,
            SOCK_DGRAM => Self::Datagram,
            SOCK_SEQPACKET => Self::SeqPacket,
            SOCK_RAW => Self::Raw,
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        })
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Stream => SOCK_STREAM,
            Self::Datagram => SOCK_DGRAM,
            Self::SeqPacket => SOCK_SEQPACKET,
            Self::Raw => SOCK_RAW,
        }
    }
}

/// Directions that are closed (`shutdown(2)`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shutdown {
    /// Nothing more will be received.
    pub read: bool,
    /// Nothing more can be sent.
    pub write: bool,
}

impl Shutdown {
    /// Both directions.
    pub const BOTH: Self = Self { read: true, write: true };

    /// From the argument of `shutdown(2)`.
    pub fn of(how: i32) -> Result<Self, Errno> {
        match how {
            SHUT_RD => Ok(Self { read: true, write: false }),
            SHUT_WR => Ok(Self { read: false, write: true }),
            SHUT_RDWR => Ok(Self::BOTH),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Adds the directions of another.
    pub fn add(&mut self, other: Self) {
        self.read |= other.read;
        self.write |= other.write;
    }
}

/// What every socket has.
pub struct Common {
    /// `AF_*`.
    pub family: u16,
    /// Type.
    pub kind: Kind,
    /// Protocol (`SO_PROTOCOL`).
    pub protocol: i32,
    /// Inode number in the file system of sockets.
    pub ino: u64,
    /// User and group of its maker.
    pub owner: (u32, u32),
    /// Options of the socket level.
    pub options: Options,
    /// Told of every change.
    pub queue: WaitQueue,
}

static NEXT_INO: AtomicU64 = AtomicU64::new(20_000);

impl Common {
    /// For a new socket that belongs to a task.
    #[must_use]
    pub fn new(task: &Task, family: u16, kind: Kind, protocol: i32) -> Self {
        let cred = task.cred();
        Self::with_owner((cred.fsuid, cred.fsgid), family, kind, protocol)
    }

    /// The same with an owner.
    #[must_use]
    pub fn with_owner(owner: (u32, u32), family: u16, kind: Kind, protocol: i32) -> Self {
        Self {
            family,
            kind,
            protocol,
            ino: NEXT_INO.fetch_add(1, Ordering::Relaxed),
            owner,
            options: Options::default(),
            queue: WaitQueue::new(),
        }
    }
}

/// What a receive yields besides bytes.
#[derive(Default)]
pub struct Received {
    /// Bytes stored; with `MSG_TRUNC`, the length of the message.
    pub len: usize,
    /// `MSG_TRUNC`, `MSG_EOR`.
    pub flags: u32,
    /// Address of the sender; empty if there is none.
    pub from: Vec<u8>,
    /// Control messages.
    pub control: Control,
    /// More than this must not be added to it (`MSG_WAITALL`): the end, or a border.
    pub last: bool,
}

/// A socket. Addresses are bytes in the family's layout. Nothing waits: `EAGAIN` means
/// that the socket's queue will tell.
pub trait Socket: Pollable + Any {
    /// What every socket has.
    fn common(&self) -> &Common;

    /// `bind(2)`.
    fn bind(&self, task: &Arc<Task>, addr: &[u8]) -> Result<(), Errno>;

    /// `listen(2)`.
    fn listen(&self, _task: &Arc<Task>, _backlog: u32) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// `connect(2)`; with `MSG_DONTWAIT` in `flags` it begins only.
    fn connect(&self, task: &Arc<Task>, addr: &[u8], flags: u32) -> Result<(), Errno>;

    /// Takes a connection (`accept(2)`).
    fn accept(&self) -> Result<Arc<dyn Socket>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sends; `to` is empty where no address was given. Without `MSG_DONTWAIT` a stream
    /// takes all of `src` before it stops to return `EAGAIN`.
    fn send(
        &self,
        task: &Arc<Task>,
        src: &mut IoSrc<'_>,
        to: &[u8],
        control: &mut Outgoing,
        flags: u32,
    ) -> Result<usize, Errno>;

    /// Receives.
    fn recv(&self, task: &Arc<Task>, dst: &mut IoDst<'_>, flags: u32) -> Result<Received, Errno>;

    /// `shutdown(2)`.
    fn shutdown(&self, how: Shutdown) -> Result<(), Errno>;

    /// `getsockname(2)`.
    fn name(&self) -> Vec<u8>;

    /// `getpeername(2)`.
    fn peer_name(&self) -> Result<Vec<u8>, Errno>;

    /// Whether it listens.
    fn listening(&self) -> bool {
        false
    }

    /// Takes the pending error (`SO_ERROR`).
    fn take_error(&self) -> Option<Errno> {
        None
    }

    /// Options of the family, and those of the socket level that it answers itself.
    /// `None`: not its own.
    fn get_option(
        &self,
        _task: &Arc<Task>,
        _level: i32,
        _name: i32,
    ) -> Option<Result<Vec<u8>, Errno>> {
        None
    }

    /// Sets such an option.
    fn set_option(
        &self,
        _task: &Arc<Task>,
        _level: i32,
        _name: i32,
        _value: &[u8],
    ) -> Option<Result<(), Errno>> {
        None
    }

    /// The process that was at the other end when it was connected (`SO_PEERPIDFD`).
    fn peer_process(&self) -> Option<Weak<Process>> {
        None
    }

    /// Bytes to read (`SIOCINQ`) or `EINVAL`.
    fn pending_in(&self) -> Result<usize, Errno>;

    /// Bytes not yet taken by the other side (`SIOCOUTQ`).
    fn pending_out(&self) -> Result<usize, Errno>;

    /// `ioctl(2)` of the family; `None`: not its own.
    fn ioctl(&self, _mm: &crate::mm::Mm, _cmd: u32, _arg: u64) -> Option<Result<u64, Errno>> {
        None
    }

    /// The room for what it sends or receives has changed (`SO_SNDBUF`).
    fn resized(&self) {}

    /// Its line of `/proc/net`.
    fn proc_line(&self) -> String {
        String::new()
    }

    /// The last descriptor is gone.
    fn close(&self);

    /// Adds the descriptors in unread messages that it alone leads to.
    fn held(&self, _each: &mut dyn FnMut(&Arc<File>)) {}

    /// Gives up all unread messages: nobody can read them any more.
    fn purge(&self) -> Vec<super::Packet> {
        Vec::new()
    }
}

/// What stands behind a description of a socket.
pub struct SocketFile(pub Arc<dyn Socket>);

impl SocketFile {
    /// A description of a socket; `flags` are `O_NONBLOCK` or none.
    #[must_use]
    pub fn open(socket: Arc<dyn Socket>, flags: u32) -> Arc<File> {
        let flags = chitin_abi::fs::O_RDWR | flags & chitin_abi::fs::O_NONBLOCK;
        File::new(Box::new(Self(socket)), None, flags)
    }
}

/// The socket behind a file, or `ENOTSOCK`.
pub fn socket_of(file: &File) -> Result<&Arc<dyn Socket>, Errno> {
    file.ops_as::<SocketFile>().map(|s| &s.0).ok_or(Errno::ENOTSOCK)
}

/// The sockets that the processes of a sandbox hold, in the order of their inodes.
#[must_use]
pub fn sockets_of(kernel: &crate::Kernel) -> Vec<Arc<dyn Socket>> {
    let mut found = std::collections::BTreeMap::new();
    for process in kernel.pids.processes() {
        for task in process.tasks() {
            for (_, entry) in task.files().list() {
                if let Ok(socket) = socket_of(&entry.file) {
                    found.insert(socket.common().ino, socket.clone());
                }
            }
        }
    }
    found.into_values().collect()
}

fn wait_flag(file: &File) -> u32 {
    if file.nonblocking() { MSG_DONTWAIT } else { 0 }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl FileOps for SocketFile {
    fn tells_by_signals(&self) -> bool {
        true
    }

    fn has_urgent(&self) -> bool {
        self.0.common().kind == Kind::Stream
    }

    fn attr(&self) -> Attr {
        let common = self.0.common();
        let (uid, gid) = common.owner;
        Attr { dev: 8, ino: common.ino, perm: 0o777, uid, gid, ..Attr::unnamed(FileType::Socket) }
    }

    fn read(&self, cx: FileCx<'_>, dst: &mut IoDst<'_>, _pos: u64) -> Result<usize, Errno> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        self.0.recv(cx.task, dst, wait_flag(cx.file)).map(|r| r.len)
    }

    fn write(&self, cx: FileCx<'_>, src: &mut IoSrc<'_>, _pos: u64) -> Result<usize, Errno> {
        self.0.send(cx.task, src, &[], &mut Outgoing::default(), wait_flag(cx.file))
    }

    fn io_rules(&self) -> IoRules {
        let (read_timeout, write_timeout) = self.0.common().options.timeouts();
        IoRules { read_timeout, write_timeout, sigpipe: self.0.common().kind == Kind::Stream }
    }

    fn ioctl(&self, cx: FileCx<'_>, cmd: u32, arg: u64) -> Result<u64, Errno> {
        let mm = cx.task.mm().ok_or(Errno::EFAULT)?;
        let number = |n: usize| {
            let n = i32::try_from(n).unwrap_or(i32::MAX);
            mm.write(UserAddr(arg), &n.to_ne_bytes()).map(|()| 0)
        };
        match cmd {
            SIOCINQ => number(self.0.pending_in()?),
            SIOCOUTQ => number(self.0.pending_out()?),
            FIOGETOWN | SIOCGPGRP => {
                let owner = cx.file.rare.lock().owner.number();
                mm.write(UserAddr(arg), &owner.to_ne_bytes()).map(|()| 0)
            }
            _ => self.0.ioctl(&mm, cmd, arg).unwrap_or(Err(Errno::ENOTTY)),
        }
    }

    fn pollable(&self) -> Option<&dyn Pollable> {
        Some(&*self.0)
    }

    /// A circle of sockets in each other's unread messages may have lost its last way in.
    fn flush(&self, cx: FileCx<'_>) -> Result<(), Errno> {
        if self.0.common().family == AF_UNIX {
            cx.task.kernel.net.inflight.collect(Some(cx.file));
        }
        Ok(())
    }
}
