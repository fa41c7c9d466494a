//! [`TcpSocket`] (`tcp(7)`): state, readiness, options.
//!
//! A connection is two sockets that point at each other weakly; what one sends lies in
//! the other's queue, charged to its sender. There are no segments, no acknowledgements
//! and no states in between: both ends are here, and a packet cannot be lost.
//!
//! Lock: each socket's `state`, never two at once. What others are told is told after it
//! is released.

use super::addr::{ProcLine, encode};
use super::cork::Cork;
use super::options::InetOptions;
use super::ports::Binding;
use super::{ioctl, tcp_link};
use crate::net::queue::Sender;
use crate::net::{Common, Kind, Outgoing, Queue, Received, Shutdown, Socket, Urgent};
use crate::sync::Mutex;
use crate::task::Task;
use crate::vfs::{IoDst, IoSrc};
use crate::wait::{Events, Pollable, WaitQueue};
use chitin_abi::socket::*;
use chitin_abi::{Errno, Pod};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// What a connected socket on `lo` has on Linux, in bytes.
const SNDBUF: usize = 2_626_560;
const RCVBUF: usize = 131_072;
/// Most bytes that lie unread in one direction, whatever was asked for.
const MOST_UNREAD: usize = 1 << 20;

/// What a socket is.
#[derive(Default)]
pub(super) enum Role {
    /// Neither connected nor listening.
    #[default]
    Idle,
    /// Takes connections.
    Listening {
        /// Most that may wait.
        backlog: usize,
        /// Those that wait to be accepted.
        waiting: VecDeque<Arc<TcpSocket>>,
        /// Those for which there was no room.
        pending: VecDeque<Weak<TcpSocket>>,
    },
    /// Waits for a listener to have room.
    Connecting { to: SocketAddr },
    /// Has another end, or had one that went in peace.
    Connected { peer: Weak<TcpSocket>, remote: SocketAddr },
    /// Was reset, or refused.
    Failed,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) binding: Option<Binding<TcpSocket>>,
    pub(super) role: Role,
    pub(super) queue: Queue,
    /// The byte that was sent with `MSG_OOB`.
    pub(super) urgent: Urgent,
    /// What the other end's cork holds back, and its own cork.
    pub(super) cork: Cork,
    pub(super) shut: Shutdown,
    pub(super) error: Option<Errno>,
    /// The other end will send no more.
    pub(super) finished: bool,
    /// `connect(2)` has not yet said that it is connected.
    pub(super) unannounced: bool,
    pub(super) closed: bool,
}

impl State {
    pub(super) fn peer(&self) -> Option<Arc<TcpSocket>> {
        match &self.role {
            Role::Connected { peer, .. } => peer.upgrade(),
            _ => None,
        }
    }

    /// Bytes that a read would give now.
    pub(super) fn readable(&self, inline: bool) -> usize {
        let bytes = self.queue.bytes() - self.cork.held.min(self.queue.bytes());
        bytes.saturating_sub(self.urgent.hidden(inline))
    }

    /// The state in TCP's terms.
    fn number(&self) -> u8 {
        match &self.role {
            Role::Idle | Role::Failed => TCP_CLOSE,
            Role::Listening { .. } => TCP_LISTEN,
            Role::Connecting { .. } => TCP_SYN_SENT,
            Role::Connected { .. } => match (self.shut.write, self.finished) {
                (false, false) => TCP_ESTABLISHED,
                (false, true) => TCP_CLOSE_WAIT,
                (true, false) => TCP_FIN_WAIT2,
                (true, true) => TCP_CLOSE,
            },
        }
    }
}

/// A TCP socket.
pub struct TcpSocket {
    pub(super) me: Weak<Self>,
    pub(super) common: Common,
    pub(super) inet: InetOptions,
    pub(super) state: Mutex<State>,
    /// Room taken by what it sent and nobody has read.
    pub(super) sent: AtomicUsize,
}

impl TcpSocket {
    pub(super) fn with(common: Common, inet: InetOptions) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            common,
            inet,
            state: Mutex::default(),
            sent: AtomicUsize::new(0),
        })
    }

    /// A new socket of a task.
    pub fn new(task: &Task, family: u16) -> Arc<Self> {
        let common = Common::new(task, family, Kind::Stream, IPPROTO_TCP);
        common.options.set_buffers(SNDBUF, RCVBUF);
        Self::with(common, InetOptions::default())
    }

    pub(super) fn tell(&self, events: Events) {
        self.common.queue.notify(events);
    }

    /// Most that may lie unread at the other end.
    pub(super) fn limit(&self) -> usize {
        (self.common.options.sndbuf() + RCVBUF).min(MOST_UNREAD)
    }

    /// Whether an urgent byte is read like others; asked only where there is one.
    pub(super) fn inline(&self, state: &State) -> bool {
        state.urgent.is_some() && self.common.options.flag(SO_OOBINLINE)
    }

    fn roomy(&self, sent: usize) -> bool {
        sent <= self.limit() / 3 * 2
    }

    fn info(&self) -> Vec<u8> {
        let state = self.state.lock();
        let info = TcpInfo {
            state: state.number(),
            rto: 200_000,
            ato: 40_000,
            snd_mss: 65_483,
            rcv_mss: 65_483,
            pmtu: 65_535,
            rcv_ssthresh: 65_483,
            rtt: 20,
            rttvar: 5,
            snd_ssthresh: i32::MAX.unsigned_abs(),
            snd_cwnd: 10,
            advmss: 65_483,
            reordering: 3,
            rcv_space: 65_495,
            ..TcpInfo::default()
        };
        info.as_bytes().to_vec()
    }
}

impl Sender for TcpSocket {
    fn released(&self, cost: usize) {
        let before = self.sent.fetch_sub(cost, Ordering::SeqCst);
        if !self.roomy(before) && self.roomy(before - cost) {
            self.tell(Events::WRITABLE);
        }
    }
}

impl Pollable for TcpSocket {
    fn readiness(&self) -> Events {
        let mut events = Events::NONE;
        let room = self.roomy(self.sent.load(Ordering::SeqCst));
        let state = self.state.lock();
        if let Role::Listening { waiting, .. } = &state.role {
            return if waiting.is_empty() { events } else { Events::READABLE };
        }
        if state.error.is_some() {
            events |= Events::ERR;
        }
        let over = matches!(state.role, Role::Idle | Role::Failed);
        if state.shut == Shutdown::BOTH || over {
            events |= Events::HUP;
        }
        if state.shut.read {
            events |= Events::READABLE | Events::RDHUP;
        }
        if matches!(state.role, Role::Connecting { .. }) {
            return events;
        }
        if state.queue.bytes() > 0 && state.readable(self.inline(&state)) > 0 {
            events |= Events::READABLE;
        }
        if state.urgent.waits() {
            events |= Events::PRI;
        }
        if room || state.shut.write {
            events |= Events::WRITABLE;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.common.queue)
    }
}

impl Socket for TcpSocket {
    fn common(&self) -> &Common {
        &self.common
    }

    fn bind(&self, task: &Arc<Task>, addr: &[u8]) -> Result<(), Errno> {
        tcp_link::bind(self, task, addr)
    }

    fn listen(&self, task: &Arc<Task>, backlog: u32) -> Result<(), Errno> {
        tcp_link::listen(self, task, backlog)
    }

    fn connect(&self, task: &Arc<Task>, addr: &[u8], flags: u32) -> Result<(), Errno> {
        tcp_link::connect(self, task, addr, flags)
    }

    fn accept(&self) -> Result<Arc<dyn Socket>, Errno> {
        tcp_link::accept(self).map(|s| s as Arc<dyn Socket>)
    }

    fn send(
        &self,
        task: &Arc<Task>,
        src: &mut IoSrc<'_>,
        to: &[u8],
        _control: &mut Outgoing,
        flags: u32,
    ) -> Result<usize, Errno> {
        // As in Linux the address of a connected stream is ignored.
        let _ = to;
        self.send_bytes(task, src, flags)
    }

    fn recv(&self, _task: &Arc<Task>, dst: &mut IoDst<'_>, flags: u32) -> Result<Received, Errno> {
        self.recv_bytes(dst, flags)
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        tcp_link::shutdown(self, how)
    }

    fn name(&self) -> Vec<u8> {
        let bound = self.state.lock().binding.as_ref().map(|b| b.addr);
        let family = self.common.family;
        encode(family, bound.unwrap_or_else(|| SocketAddr::new(super::addr::any(family), 0)))
    }

    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        match &self.state.lock().role {
            Role::Connected { remote, .. } => Ok(encode(self.common.family, *remote)),
            _ => Err(Errno::ENOTCONN),
        }
    }

    fn listening(&self) -> bool {
        matches!(self.state.lock().role, Role::Listening { .. })
    }

    fn take_error(&self) -> Option<Errno> {
        self.state.lock().error.take()
    }

    fn get_option(&self, _: &Arc<Task>, level: i32, name: i32) -> Option<Result<Vec<u8>, Errno>> {
        if (level, name) == (SOL_TCP, TCP_INFO) {
            return Some(Ok(self.info()));
        }
        self.inet.get(self.common.family, Kind::Stream, level, name)
    }

    fn set_option(
        &self,
        _task: &Arc<Task>,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Option<Result<(), Errno>> {
        if (level, name) == (SOL_IPV6, IPV6_V6ONLY) && self.state.lock().binding.is_some() {
            return Some(Err(Errno::EINVAL));
        }
        let result = self.inet.set(self.common.family, Kind::Stream, level, name, value);
        if let (SOL_TCP, TCP_CORK | TCP_NODELAY, Some(Ok(()))) = (level, name, &result) {
            self.cork_changed(name, self.inet.number(SOL_TCP, name) != 0);
        }
        result
    }

    fn pending_in(&self) -> Result<usize, Errno> {
        let state = self.state.lock();
        match &state.role {
            Role::Listening { .. } => Err(Errno::EINVAL),
            _ => {
                let (inline, held) = (self.inline(&state), state.cork.held);
                let ahead = state.urgent.ahead().filter(|_| !inline);
                Ok(ahead.unwrap_or_else(|| state.queue.bytes().saturating_sub(held)))
            }
        }
    }

    /// What lies in the other end's queue counts as received: it was acknowledged.
    fn pending_out(&self) -> Result<usize, Errno> {
        if self.listening() { Err(Errno::EINVAL) } else { Ok(0) }
    }

    fn ioctl(&self, mm: &crate::mm::Mm, cmd: u32, arg: u64) -> Option<Result<u64, Errno>> {
        if cmd == SIOCATMARK {
            use chitin_usermem::UserMemory;
            let at = chitin_usermem::UserAddr(arg);
            let marked = i32::from(self.state.lock().urgent.at_mark());
            return Some(mm.write(at, &marked.to_ne_bytes()).map(|()| 0));
        }
        ioctl(mm, cmd, arg)
    }

    fn proc_line(&self) -> String {
        let state = self.state.lock();
        let remote = match &state.role {
            Role::Connected { remote, .. } => Some(*remote),
            Role::Connecting { to } => Some(*to),
            _ => None,
        };
        let unread = match &state.role {
            Role::Listening { waiting, .. } => waiting.len(),
            _ => state.queue.bytes(),
        };
        let local = state.binding.as_ref().map(|b| b.addr);
        ProcLine { local, remote, state: state.number(), sent: 0, unread }.text(&self.common)
    }

    fn resized(&self) {
        self.tell(Events::WRITABLE);
    }

    fn close(&self) {
        tcp_link::close(self);
    }
}
