//! Unix sockets (`unix(7)`): [`UnixSocket`], its state, readiness and options.
//!
//! A connected stream is two sockets that point at each other weakly; what one sends
//! lies in the other's queue, charged to its sender. A listener keeps the server sides
//! of connections that wait to be accepted.
//!
//! Locks: each socket's `state`, never two at once but for a new connection, whose own
//! state nobody else knows yet. What others are told is told after it is released.

mod addr;
mod link;
mod transfer;

pub use addr::UnixTable;
pub use link::pair;

use addr::Binding;

use super::queue::Sender;
use super::{Common, Control, Kind, Outgoing, Packet, Queue, Received, Shutdown, Socket, Urgent};
use crate::sync::Mutex;
use crate::task::{Process, Task};
use crate::vfs::{File, IoDst, IoSrc};
use crate::wait::{Events, Pollable, WaitQueue};
use chitin_abi::socket::*;
use chitin_abi::{Errno, Pod};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Messages that wait at a datagram socket before its senders wait
/// (`net.unix.max_dgram_qlen`).
const MAX_DATAGRAMS: usize = 10;
/// Most waiting senders or callers that are told one by one.
const MAX_BLOCKED: usize = 4096;

/// Who is at the other end, as it was then (`SO_PEERCRED`, `SO_PEERGROUPS`, `SO_PEERPIDFD`).
#[derive(Clone, Default)]
struct PeerCred {
    cred: Ucred,
    groups: Vec<u32>,
    process: Weak<Process>,
}

impl PeerCred {
    fn of(task: &Task) -> Self {
        let cred = task.cred();
        let id = Ucred { pid: task.process.pid, uid: cred.euid, gid: cred.egid };
        Self { cred: id, groups: cred.groups.clone(), process: Arc::downgrade(&task.process) }
    }
}

/// What a socket is.
#[derive(Default)]
enum Role {
    /// Neither connected nor listening.
    #[default]
    Idle,
    /// Takes connections: the most that may wait, those that do.
    Listening { backlog: usize, waiting: VecDeque<Arc<UnixSocket>>, cred: PeerCred },
    /// Has, or had, another end.
    Connected { peer: Weak<UnixSocket>, address: Option<Arc<[u8]>>, cred: PeerCred },
}

#[derive(Default)]
struct State {
    binding: Option<Binding>,
    role: Role,
    queue: Queue,
    /// The byte that was sent with `MSG_OOB`.
    urgent: Urgent,
    shut: Shutdown,
    error: Option<Errno>,
    /// Made by `connect(2)` or `socketpair(2)` and never listening again.
    closed: bool,
    /// Sockets that are told when there is room for what they want to send or connect.
    blocked: Vec<Weak<UnixSocket>>,
}

impl State {
    fn block(&mut self, socket: &Weak<UnixSocket>) {
        if self.blocked.len() >= MAX_BLOCKED {
            self.blocked.retain(|b| b.strong_count() > 0);
        }
        if !self.blocked.iter().any(|b| b.ptr_eq(socket)) && self.blocked.len() < MAX_BLOCKED {
            self.blocked.push(socket.clone());
        }
    }

    fn peer(&self) -> Option<Arc<UnixSocket>> {
        match &self.role {
            Role::Connected { peer, .. } => peer.upgrade(),
            _ => None,
        }
    }
}

/// Tells those who waited for room.
fn unblock(blocked: Vec<Weak<UnixSocket>>) {
    for socket in blocked.iter().filter_map(Weak::upgrade) {
        socket.common.queue.notify(Events::WRITABLE);
    }
}

/// A unix socket.
pub struct UnixSocket {
    me: Weak<Self>,
    common: Common,
    state: Mutex<State>,
    /// Room taken by what it sent and nobody has read.
    sent: AtomicUsize,
}

impl UnixSocket {
    fn with(common: Common) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            common,
            state: Mutex::default(),
            sent: AtomicUsize::new(0),
        })
    }

    /// A new socket of a task.
    pub fn new(task: &Task, kind: Kind, protocol: i32) -> Result<Arc<Self>, Errno> {
        if !matches!(protocol, 0 | 1) {
            return Err(Errno::EPROTONOSUPPORT);
        }
        // As in Linux a raw socket is a datagram socket.
        let kind = if kind == Kind::Raw { Kind::Datagram } else { kind };
        Ok(Self::with(Common::new(task, AF_UNIX, kind, 0)))
    }

    fn stream_like(&self) -> bool {
        self.common.kind != Kind::Datagram
    }

    /// Whether there is room for a writer who was told that there is none.
    fn roomy(&self) -> bool {
        self.sent.load(Ordering::SeqCst) * 4 <= self.common.options.sndbuf()
    }

    /// Tells whoever waits at this socket that something has changed.
    fn tell(&self, events: Events) {
        self.common.queue.notify(events);
    }

    fn address(&self) -> Option<Arc<[u8]>> {
        self.state.lock().binding.as_ref().map(|b| b.address.clone())
    }

    /// Whether a connected datagram socket could send now.
    fn peer_has_room(&self) -> bool {
        let peer = self.state.lock().peer();
        let Some(peer) = peer.filter(|_| !self.stream_like()) else { return true };
        let mut state = peer.state.lock();
        let back = state.peer().is_some_and(|p| std::ptr::eq(&raw const *p, self));
        if back || state.queue.len() <= MAX_DATAGRAMS {
            return true;
        }
        state.block(&self.me);
        false
    }
}

impl Sender for UnixSocket {
    fn released(&self, cost: usize) {
        let limit = self.common.options.sndbuf();
        let before = self.sent.fetch_sub(cost, Ordering::SeqCst);
        if before * 4 > limit && (before - cost) * 4 <= limit {
            self.tell(Events::WRITABLE | Events::WRBAND);
        }
    }
}

impl Pollable for UnixSocket {
    fn readiness(&self) -> Events {
        let mut events = Events::NONE;
        let room = self.roomy() && self.peer_has_room();
        let state = self.state.lock();
        if state.error.is_some() {
            events |= Events::ERR;
        }
        if state.shut == Shutdown::BOTH {
            events |= Events::HUP;
        }
        if state.shut.read {
            events |= Events::RDHUP | Events::READABLE;
        }
        if !state.queue.is_empty() || state.urgent.is_some() {
            events |= Events::READABLE;
        }
        if state.urgent.waits() {
            events |= Events::PRI;
        }
        match &state.role {
            Role::Listening { waiting, .. } => {
                if !waiting.is_empty() {
                    events |= Events::READABLE;
                }
                return events;
            }
            Role::Idle if self.stream_like() => events |= Events::HUP,
            _ => {}
        }
        if room {
            events |= Events::WRITABLE | Events::WRBAND;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.common.queue)
    }
}

impl Socket for UnixSocket {
    fn common(&self) -> &Common {
        &self.common
    }

    fn bind(&self, task: &Arc<Task>, addr: &[u8]) -> Result<(), Errno> {
        self.do_bind(task, addr)
    }

    fn listen(&self, task: &Arc<Task>, backlog: u32) -> Result<(), Errno> {
        self.do_listen(task, backlog)
    }

    fn connect(&self, task: &Arc<Task>, addr: &[u8], _flags: u32) -> Result<(), Errno> {
        self.do_connect(task, addr)
    }

    fn accept(&self) -> Result<Arc<dyn Socket>, Errno> {
        self.do_accept().map(|s| s as Arc<dyn Socket>)
    }

    fn send(
        &self,
        task: &Arc<Task>,
        src: &mut IoSrc<'_>,
        to: &[u8],
        control: &mut Outgoing,
        flags: u32,
    ) -> Result<usize, Errno> {
        match self.common.kind {
            Kind::Stream => self.send_stream(task, src, to, control, flags),
            _ if flags & MSG_OOB != 0 => Err(Errno::EOPNOTSUPP),
            _ => self.send_message(task, src, to, control, flags),
        }
    }

    fn recv(&self, _task: &Arc<Task>, dst: &mut IoDst<'_>, flags: u32) -> Result<Received, Errno> {
        match self.common.kind {
            Kind::Stream => self.recv_stream(dst, flags),
            _ if flags & MSG_OOB != 0 => Err(Errno::EOPNOTSUPP),
            _ => self.recv_message(dst, flags),
        }
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        self.do_shutdown(how)
    }

    fn name(&self) -> Vec<u8> {
        addr::shown(self.address().as_deref())
    }

    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        let state = self.state.lock();
        let Role::Connected { peer, address, .. } = &state.role else {
            return Err(Errno::ENOTCONN);
        };
        let (peer, known) = (peer.upgrade(), address.clone());
        drop(state);
        Ok(addr::shown(peer.and_then(|p| p.address()).or(known).as_deref()))
    }

    fn listening(&self) -> bool {
        matches!(self.state.lock().role, Role::Listening { .. })
    }

    fn take_error(&self) -> Option<Errno> {
        self.state.lock().error.take()
    }

    fn get_option(&self, _: &Arc<Task>, level: i32, name: i32) -> Option<Result<Vec<u8>, Errno>> {
        let state = self.state.lock();
        let cred = match &state.role {
            Role::Connected { cred, .. } | Role::Listening { cred, .. } => cred.clone(),
            Role::Idle => {
                let nobody = Ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
                PeerCred { cred: nobody, ..PeerCred::default() }
            }
        };
        match (level, name) {
            (SOL_SOCKET, SO_PEERCRED) => Some(Ok(cred.cred.as_bytes().to_vec())),
            (SOL_SOCKET, SO_PEERGROUPS) if cred.cred.uid != u32::MAX => {
                Some(Ok(chitin_abi::slice_as_bytes(&cred.groups).to_vec()))
            }
            (SOL_SOCKET, SO_PEERGROUPS) => Some(Err(Errno::ENODATA)),
            _ => None,
        }
    }

    fn peer_process(&self) -> Option<Weak<Process>> {
        match &self.state.lock().role {
            Role::Connected { cred, .. } | Role::Listening { cred, .. } if cred.cred.pid != 0 => {
                Some(cred.process.clone())
            }
            _ => None,
        }
    }

    fn pending_in(&self) -> Result<usize, Errno> {
        let state = self.state.lock();
        match (&state.role, self.common.kind) {
            (Role::Listening { .. }, _) => Err(Errno::EINVAL),
            (_, Kind::Datagram) => Ok(state.queue.front().map_or(0, |p| p.data.len())),
            _ => Ok(state.queue.bytes()),
        }
    }

    fn pending_out(&self) -> Result<usize, Errno> {
        Ok(self.sent.load(Ordering::SeqCst))
    }

    /// The C library asks about devices by whatever socket it can make.
    fn ioctl(&self, mm: &crate::mm::Mm, cmd: u32, arg: u64) -> Option<Result<u64, Errno>> {
        if cmd == SIOCATMARK && self.common.kind == Kind::Stream {
            use chitin_usermem::UserMemory;
            let marked = i32::from(self.state.lock().urgent.at_mark());
            let at = chitin_usermem::UserAddr(arg);
            return Some(mm.write(at, &marked.to_ne_bytes()).map(|()| 0));
        }
        crate::net::inet::ioctl(mm, cmd, arg)
    }

    fn proc_line(&self) -> String {
        let state = self.state.lock();
        let (flags, number) = match &state.role {
            Role::Listening { .. } => (0x1_0000, 1),
            Role::Connected { .. } => (0, 3),
            Role::Idle => (0, 1),
        };
        let name = state.binding.as_ref().map(|b| b.address.clone());
        let name = name.as_deref().and_then(|a| a.get(2..)).unwrap_or_default();
        let name = match name {
            [0, rest @ ..] => format!(" @{}", String::from_utf8_lossy(rest)),
            [] => String::new(),
            path => {
                format!(" {}", String::from_utf8_lossy(path.strip_suffix(&[0]).unwrap_or(path)))
            }
        };
        let (kind, ino) = (self.common.kind.number(), self.common.ino);
        format!(
            "0000000000000000: 00000002 00000000 {flags:08X} {kind:04X} {number:02X} {ino:5}{name}"
        )
    }

    fn resized(&self) {
        self.tell(Events::WRITABLE);
    }

    fn close(&self) {
        self.do_close();
    }

    fn held(&self, each: &mut dyn FnMut(&Arc<File>)) {
        let state = self.state.lock();
        let files = |queue: &Queue, each: &mut dyn FnMut(&Arc<File>)| {
            for rights in queue.iter().filter_map(|p| p.rights.as_ref()) {
                rights.files().iter().for_each(&mut *each);
            }
        };
        files(&state.queue, each);
        let Role::Listening { waiting, .. } = &state.role else { return };
        let waiting: Vec<_> = waiting.iter().cloned().collect();
        drop(state);
        // Connections that nobody has accepted are in nobody's hands but this one's.
        for socket in waiting {
            files(&socket.state.lock().queue, each);
        }
    }

    fn purge(&self) -> Vec<Packet> {
        let mut state = self.state.lock();
        let mut packets = state.queue.take();
        let Role::Listening { waiting, .. } = &state.role else { return packets };
        let waiting: Vec<_> = waiting.iter().cloned().collect();
        drop(state);
        for socket in waiting {
            packets.extend(socket.state.lock().queue.take());
        }
        packets
    }
}

fn control_of(
    options: &super::Options,
    cred: Ucred,
    rights: Option<super::Rights>,
    looked: Vec<Arc<File>>,
) -> Control {
    let mut control = Control::default();
    if options.flag(SO_PASSCRED) {
        control.cred = Some(cred);
    }
    control.files = looked;
    if let Some(rights) = rights {
        control.files = rights.duplicate();
        control.rights = Some(rights);
    }
    control
}
