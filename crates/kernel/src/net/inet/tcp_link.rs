//! Binding, listening, connecting, accepting and closing TCP sockets.

use super::addr::{any, family, parse, reachable, source_for};
use super::ports::Wish;
use super::tcp::{Role, State, TcpSocket};
use crate::net::{Common, Kind, Shutdown};
use crate::task::Task;
use crate::wait::Events;
use chitin_abi::Errno;
use chitin_abi::socket::*;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

/// `CAP_NET_BIND_SERVICE`.
const CAP_NET_BIND_SERVICE: u32 = 10;
/// Ports that need it.
const LOW_PORTS: std::ops::Range<u16> = 1..1024;

/// Whether a socket may be bound to an address: one of this machine, and a port that the
/// task may have.
pub(super) fn may_bind(task: &Task, addr: SocketAddr) -> Result<(), Errno> {
    let ip = addr.ip();
    if !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() {
        return Err(Errno::EADDRNOTAVAIL);
    }
    if LOW_PORTS.contains(&addr.port()) && !task.cred().has_cap(CAP_NET_BIND_SERVICE) {
        return Err(Errno::EACCES);
    }
    Ok(())
}

/// An IPv6 socket that takes nothing else has no IPv4 addresses.
pub(super) fn check_family(v6only: bool, ip: IpAddr, errno: Errno) -> Result<(), Errno> {
    if v6only && ip.is_ipv4() { Err(errno) } else { Ok(()) }
}

impl TcpSocket {
    fn v6only(&self) -> bool {
        self.common.family == AF_INET6 && self.inet.number(SOL_IPV6, IPV6_V6ONLY) != 0
    }

    fn wish(&self, task: &Task, addr: SocketAddr) -> Wish {
        Wish {
            addr,
            v6only: self.v6only(),
            reuse_addr: self.common.options.flag(SO_REUSEADDR),
            reuse_port: self.common.options.flag(SO_REUSEPORT),
            uid: task.cred().euid,
            shares_listening: false,
        }
    }

    /// Binds to an address unless it is bound.
    fn bind_unless_bound(&self, task: &Arc<Task>, addr: SocketAddr) -> Result<(), Errno> {
        if self.state.lock().binding.is_some() {
            return Ok(());
        }
        let binding = task.kernel.net.inet.tcp.bind(self.wish(task, addr), &self.me)?;
        let mut state = self.state.lock();
        let late = match &state.binding {
            Some(_) => Some(binding),
            None => {
                state.binding = Some(binding);
                None
            }
        };
        drop(state);
        drop(late);
        Ok(())
    }

    fn fail(&self, error: Errno) {
        let mut state = self.state.lock();
        state.error = Some(if state.finished { Errno::EPIPE } else { error });
        state.shut = Shutdown::BOTH;
        state.role = Role::Failed;
        drop(state);
        self.tell(Events::ALL);
    }

    /// The other end of this connection, `who`, went; with `reset`, without listening.
    fn ended(&self, who: &Weak<Self>, reset: bool) {
        let mut state = self.state.lock();
        match &state.role {
            Role::Connected { peer, .. } if !peer.ptr_eq(who) => return,
            Role::Connected { .. } | Role::Connecting { .. } => {}
            _ => return,
        }
        if reset {
            drop(state);
            return self.fail(Errno::ECONNRESET);
        }
        state.finished = true;
        state.cork.held = 0;
        state.shut.read = true;
        drop(state);
        self.tell(Events::ALL);
    }
}

/// `bind(2)`.
pub(super) fn bind(socket: &TcpSocket, task: &Arc<Task>, addr: &[u8]) -> Result<(), Errno> {
    let addr = parse(socket.common.family, addr)?;
    check_family(socket.v6only(), addr.ip(), Errno::EINVAL)?;
    may_bind(task, addr)?;
    let state = socket.state.lock();
    let busy = state.binding.is_some() || !matches!(state.role, Role::Idle);
    drop(state);
    if busy {
        return Err(Errno::EINVAL);
    }
    socket.bind_unless_bound(task, addr)
}

/// `listen(2)`.
pub(super) fn listen(socket: &TcpSocket, task: &Arc<Task>, backlog: u32) -> Result<(), Errno> {
    if matches!(socket.state.lock().role, Role::Connected { .. } | Role::Connecting { .. }) {
        return Err(Errno::EINVAL);
    }
    socket.bind_unless_bound(task, SocketAddr::new(any(socket.common.family), 0))?;
    let backlog = usize::try_from(backlog).unwrap_or(usize::MAX);
    let mut state = socket.state.lock();
    state.binding.as_ref().ok_or(Errno::EINVAL)?.listen(true)?;
    match &mut state.role {
        Role::Listening { backlog: old, .. } => *old = backlog,
        Role::Idle | Role::Failed => {
            state.shut = Shutdown::default();
            let (waiting, pending) = (VecDeque::new(), VecDeque::new());
            state.role = Role::Listening { backlog, waiting, pending };
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

/// What a try to connect led to.
enum Called {
    Connected,
    Pending,
    Refused,
}

/// `connect(2)`.
pub(super) fn connect(
    socket: &TcpSocket,
    task: &Arc<Task>,
    addr: &[u8],
    flags: u32,
) -> Result<(), Errno> {
    let waits = flags & MSG_DONTWAIT == 0;
    if family(addr) == Some(AF_UNSPEC) {
        return disconnect(socket);
    }
    let goal = parse(socket.common.family, addr)?;
    {
        let mut state = socket.state.lock();
        match &state.role {
            Role::Idle => {}
            Role::Connected { .. } if state.unannounced => {
                state.unannounced = false;
                return Ok(());
            }
            Role::Connected { .. } | Role::Listening { .. } => return Err(Errno::EISCONN),
            Role::Connecting { .. } if waits => return Err(Errno::EAGAIN),
            Role::Connecting { .. } => return Err(Errno::EALREADY),
            Role::Failed => {
                let error = state.error.take().unwrap_or(Errno::ECONNABORTED);
                (state.role, state.shut) = (Role::Idle, Shutdown::default());
                return Err(error);
            }
        }
    }
    check_family(socket.v6only(), goal.ip(), Errno::ENETUNREACH)?;
    let to = SocketAddr::new(reachable(goal.ip())?, goal.port());
    let from = source_for(to.ip());
    socket.bind_unless_bound(task, SocketAddr::new(from, 0)).map_err(|e| match e {
        Errno::EADDRINUSE => Errno::EADDRNOTAVAIL,
        other => other,
    })?;
    {
        let mut state = socket.state.lock();
        if let Some(binding) = state.binding.as_mut().filter(|b| b.addr.ip().is_unspecified()) {
            binding.set_address(from);
        }
        state.role = Role::Connecting { to };
        state.unannounced = true;
    }
    match call(socket, task, to) {
        Called::Connected | Called::Pending | Called::Refused if !waits => Err(Errno::EINPROGRESS),
        Called::Connected => {
            socket.state.lock().unannounced = false;
            Ok(())
        }
        Called::Pending => Err(Errno::EAGAIN),
        Called::Refused => {
            let mut state = socket.state.lock();
            (state.role, state.shut, state.error) = (Role::Idle, Shutdown::default(), None);
            Err(Errno::ECONNREFUSED)
        }
    }
}

/// Ends a connection so that the socket can be used again (`AF_UNSPEC`).
fn disconnect(socket: &TcpSocket) -> Result<(), Errno> {
    let mut state = socket.state.lock();
    let peer = state.peer();
    let old = std::mem::take(&mut *state);
    drop(state);
    if let Some(peer) = peer {
        peer.ended(&socket.me, true);
    }
    abandon(old);
    socket.tell(Events::ALL);
    Ok(())
}

/// The listener's end of a new connection from `remote` to `to`; nobody knows it yet.
fn embryo(
    listener: &TcpSocket,
    caller: &TcpSocket,
    remote: SocketAddr,
    to: SocketAddr,
) -> Arc<TcpSocket> {
    let of = &listener.common;
    let common = Common {
        options: of.options.duplicate(),
        ..Common::with_owner(of.owner, of.family, Kind::Stream, IPPROTO_TCP)
    };
    let server = TcpSocket::with(common, listener.inet.duplicate());
    let bound = listener.state.lock();
    let binding = bound.binding.as_ref().and_then(|b| b.share(to, &server.me));
    drop(bound);
    let role = Role::Connected { peer: caller.me.clone(), remote };
    let mut state = server.state.lock();
    *state = State { binding, role, ..State::default() };
    state.cork.corked = server.inet.number(SOL_TCP, TCP_CORK) != 0;
    drop(state);
    server
}

/// Which callers a listener takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// As many as its backlog says.
    InLine,
    /// This one, which has waited.
    Next,
}

/// Ties a connecting socket to the listener at its goal.
fn call(socket: &TcpSocket, task: &Arc<Task>, to: SocketAddr) -> Called {
    match task.kernel.net.inet.tcp.listener(to) {
        Some(listener) => meet(&listener, socket, to, Turn::InLine),
        None => {
            socket.fail(Errno::ECONNREFUSED);
            Called::Refused
        }
    }
}

fn meet(listener: &TcpSocket, caller: &TcpSocket, to: SocketAddr, turn: Turn) -> Called {
    let remote = caller.state.lock().binding.as_ref().map(|b| b.addr);
    let Some(remote) = remote else { return Called::Refused };
    let server = embryo(listener, caller, remote, to);
    let peer = Arc::downgrade(&server);
    let mut state = listener.state.lock();
    match &mut state.role {
        Role::Listening { backlog, waiting, pending } => {
            if turn == Turn::InLine && waiting.len() > *backlog {
                pending.retain(|p| p.strong_count() > 0);
                pending.push_back(caller.me.clone());
                drop(state);
                return Called::Pending;
            }
            waiting.push_back(server);
        }
        _ => {
            drop(state);
            caller.fail(Errno::ECONNREFUSED);
            return Called::Refused;
        }
    }
    drop(state);
    let mut state = caller.state.lock();
    if matches!(state.role, Role::Connecting { .. }) {
        state.role = Role::Connected { peer, remote: to };
    }
    drop(state);
    listener.tell(Events::READABLE);
    caller.tell(Events::WRITABLE);
    Called::Connected
}

/// Gives the place that has become free to the one that has waited longest.
fn next_caller(listener: &TcpSocket, mut callers: VecDeque<Weak<TcpSocket>>) {
    while let Some(caller) = callers.pop_front() {
        let Some(caller) = caller.upgrade() else { continue };
        // It may have given up.
        let to = match &caller.state.lock().role {
            Role::Connecting { to } => *to,
            _ => continue,
        };
        meet(listener, &caller, to, Turn::Next);
        break;
    }
    let mut state = listener.state.lock();
    if let Role::Listening { pending, .. } = &mut state.role {
        callers.append(pending);
        *pending = callers;
        return;
    }
    drop(state);
    // It listens no longer.
    for caller in callers.iter().filter_map(Weak::upgrade) {
        caller.fail(Errno::ECONNREFUSED);
    }
}

/// `accept(2)`.
pub(super) fn accept(listener: &TcpSocket) -> Result<Arc<TcpSocket>, Errno> {
    let mut state = listener.state.lock();
    let Role::Listening { waiting, pending, .. } = &mut state.role else {
        return Err(Errno::EINVAL);
    };
    let Some(socket) = waiting.pop_front() else { return Err(Errno::EAGAIN) };
    let callers = std::mem::take(pending);
    drop(state);
    next_caller(listener, callers);
    Ok(socket)
}

/// `shutdown(2)`.
pub(super) fn shutdown(socket: &TcpSocket, how: Shutdown) -> Result<(), Errno> {
    let mut state = socket.state.lock();
    match &state.role {
        Role::Idle | Role::Failed => return Err(Errno::ENOTCONN),
        Role::Listening { .. } if !how.read => return Ok(()),
        Role::Listening { .. } => {
            let old = std::mem::take(&mut state.role);
            if let Some(binding) = &state.binding {
                binding.listen(false)?;
            }
            drop(state);
            abandon(State { role: old, ..State::default() });
            socket.tell(Events::ALL);
            return Ok(());
        }
        _ => {}
    }
    let first = how.write && !state.shut.write;
    state.shut.add(how);
    let peer = state.peer().filter(|_| first);
    drop(state);
    if let Some(peer) = peer {
        peer.ended(&socket.me, false);
    }
    socket.tell(Events::ALL);
    Ok(())
}

/// Tells those who waited for a listener that is no more.
fn abandon(old: State) {
    if let Role::Listening { waiting, pending, .. } = &old.role {
        for embryo in waiting {
            let peer = embryo.state.lock().peer();
            if let Some(peer) = peer {
                peer.ended(&Arc::downgrade(embryo), true);
            }
        }
        for caller in pending.iter().filter_map(Weak::upgrade) {
            caller.fail(Errno::ECONNREFUSED);
        }
    }
    drop(old);
}

/// The last descriptor is gone.
pub(super) fn close(socket: &TcpSocket) {
    let linger = socket.common.options.linger();
    let mut state = socket.state.lock();
    let peer = state.peer();
    let mut old = std::mem::take(&mut *state);
    state.closed = true;
    drop(state);
    let unread = old.queue.take();
    if let Some(peer) = peer {
        // Bytes that nobody has read, or SO_LINGER with no time, make it a reset.
        let reset = !unread.is_empty() || (linger.onoff != 0 && linger.linger == 0);
        if reset || !old.shut.write {
            peer.ended(&socket.me, reset);
        }
    }
    drop(unread);
    abandon(old);
    socket.tell(Events::ALL);
}
