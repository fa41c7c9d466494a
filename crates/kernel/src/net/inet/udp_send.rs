//! Sending by UDP: routes, headers, and datagrams that are sent in pieces (`UDP_CORK`, `MSG_MORE`).

use super::addr::{any, encode, family, parse, reachable, source_for};
use super::multicast::is_shared;
use super::tcp_link::check_family;
use super::udp::UdpSocket;
use crate::net::queue::check_budget;
use crate::net::{Outgoing, Packet, Queue, Received};
use crate::task::Task;
use crate::vfs::{IoDst, IoSrc};
use crate::wait::Events;
use chitin_abi::Errno;
use chitin_abi::socket::*;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Most bytes of a datagram.
const MOST: usize = 65_507;

/// Most bytes of a datagram that an error message quotes.
const QUOTED: usize = 520;
const QUOTED6: usize = 1184;

/// `struct sock_extended_err` of `ip(7)`, and who has said so: the port `ip` has no receiver.
fn extended_error(ip: IpAddr) -> Vec<u8> {
    let (origin, kind, code) = match ip {
        IpAddr::V4(_) => (SO_EE_ORIGIN_ICMP, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH),
        IpAddr::V6(_) => (SO_EE_ORIGIN_ICMP6, ICMPV6_DEST_UNREACH, ICMPV6_PORT_UNREACH),
    };
    let mut out = Errno::ECONNREFUSED.raw().to_ne_bytes().to_vec();
    out.extend_from_slice(&[origin, kind, code, 0]);
    out.extend_from_slice(&[0; 8]);
    let family = if ip.is_ipv4() { AF_INET } else { AF_INET6 };
    out.extend(encode(family, SocketAddr::new(ip, 0)));
    out
}

/// What the header of a datagram says.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) to: IpAddr,
    pub(super) hops: i32,
    pub(super) class: i32,
}

/// From where to where a datagram goes.
#[derive(Clone, Copy)]
struct Route {
    from: SocketAddr,
    to: SocketAddr,
    /// Its sender is connected to where it goes.
    connected: bool,
}

/// A datagram that is not complete.
pub(super) struct Pending {
    route: Route,
    header: Header,
    /// Its pieces so far, as one packet: a queue charges them to the budget of all sockets.
    pieces: Queue,
}

impl UdpSocket {
    /// A value that the header of a datagram has: as its message says, or its socket.
    fn header_value(&self, control: &Outgoing, message: (i32, i32), option: (i32, i32)) -> i32 {
        let said = control.extra.iter().find(|e| (e.0, e.1) == message);
        said.map_or_else(|| self.inet.value(option.0, option.1), |e| e.2)
    }

    /// What its datagrams say besides bytes.
    fn header(&self, control: &Outgoing, to: IpAddr) -> Header {
        let value = |message, option| self.header_value(control, message, option);
        let (hops4, hops6) = match to.is_multicast() {
            true => ((SOL_IP, IP_MULTICAST_TTL), (SOL_IPV6, IPV6_MULTICAST_HOPS)),
            false => ((SOL_IP, IP_TTL), (SOL_IPV6, IPV6_UNICAST_HOPS)),
        };
        let (hops, class) = match to {
            IpAddr::V4(_) => {
                (value((SOL_IP, IP_TTL), hops4), value((SOL_IP, IP_TOS), (SOL_IP, IP_TOS)))
            }
            IpAddr::V6(_) => (
                value((SOL_IPV6, IPV6_HOPLIMIT), hops6),
                value((SOL_IPV6, IPV6_TCLASS), (SOL_IPV6, IPV6_TCLASS)),
            ),
        };
        Header { to, hops: if hops < 0 { 64 } else { hops }, class: class.max(0) }
    }

    /// Where a datagram goes, as the caller says or as the socket is connected.
    fn goal(&self, to: &[u8]) -> Result<SocketAddr, Errno> {
        let goal = if to.is_empty() {
            self.state.lock().remote.ok_or(Errno::EDESTADDRREQ)?
        } else {
            // An IPv6 socket takes the addresses of IPv4, too.
            let kind = if family(to) == Some(AF_INET) { AF_INET } else { self.common.family };
            parse(kind, to)?
        };
        if goal.port() == 0 {
            return Err(Errno::EINVAL);
        }
        check_family(self.v6only(), goal.ip(), Errno::ENETUNREACH)?;
        if is_shared(goal.ip()) {
            return self.may_send_to_all(goal);
        }
        Ok(SocketAddr::new(reachable(goal.ip())?, goal.port()))
    }

    /// A goal that many may share, if a way leads there.
    fn may_send_to_all(&self, goal: SocketAddr) -> Result<SocketAddr, Errno> {
        let bound = self.state.lock().binding.as_ref().map(|b| b.addr.ip());
        match goal.ip() {
            ip if !ip.is_multicast() && !self.common.options.flag(SO_BROADCAST) => {
                Err(Errno::EACCES)
            }
            ip if !ip.is_multicast() => Ok(goal),
            IpAddr::V4(_) if self.inet.groups.through_lo() => Ok(goal),
            IpAddr::V4(_) if bound.is_some_and(|ip| ip.is_loopback()) => Ok(goal),
            _ => Err(Errno::ENETUNREACH),
        }
    }

    /// Gives a datagram to all who are in the group, or take those of groups that others are in.
    fn hand_to_all(&self, task: &Task, route: Route, header: Header, data: &[u8]) {
        let group = route.to.ip();
        let (level, all) = match group {
            IpAddr::V4(_) => (SOL_IP, IP_MULTICAST_ALL),
            IpAddr::V6(_) => (SOL_IPV6, IPV6_MULTICAST_ALL),
        };
        let receivers = self.ports(task).receivers(route.to, route.from);
        let has = |r: &Self| !group.is_multicast() || r.inet.groups.has(group);
        let known = receivers.iter().any(|r| has(r));
        for receiver in receivers {
            if known && (has(&receiver) || receiver.inet.value(level, all) != 0) {
                receiver.deliver(data.to_vec(), route.from, header);
            }
        }
    }

    /// The way of a datagram; binds the socket if it is not bound.
    fn route(&self, task: &Arc<Task>, to: &[u8]) -> Result<Route, Errno> {
        let to = self.goal(to)?;
        self.bind_unless_bound(task, SocketAddr::new(any(self.common.family), 0))?;
        let (bound, remote) = {
            let mut state = self.state.lock();
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            if state.shut.write {
                return Err(Errno::EPIPE);
            }
            (state.binding.as_ref().map(|b| b.addr), state.remote)
        };
        let bound = bound.ok_or(Errno::EAGAIN)?;
        let none = bound.ip().is_unspecified() || bound.ip().is_multicast();
        let ip = if none { source_for(to.ip()) } else { bound.ip() };
        if ip.is_ipv4() != to.ip().is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        let from = SocketAddr::new(ip, bound.port());
        Ok(Route { from, to, connected: remote == Some(to) })
    }

    /// Nobody is where a datagram went (`ECONNREFUSED`).
    fn refused(&self, route: Route, mut data: Vec<u8>) {
        let to = route.to.ip();
        let (level, name) = match to {
            IpAddr::V4(_) => (SOL_IP, IP_RECVERR),
            IpAddr::V6(_) => (SOL_IPV6, IPV6_RECVERR),
        };
        let wants = self.inet.number(level, name) != 0;
        if !wants && !route.connected {
            return;
        }
        data.truncate(if to.is_ipv4() { QUOTED } else { QUOTED6 });
        let from = Some(encode(self.common.family, route.to).into());
        let extra = vec![(level, name, extended_error(to))];
        let packet = Packet { data, from, extra, ..Packet::default() };
        let mut state = self.state.lock();
        if wants && state.errors.cost() + packet.cost() <= self.common.options.rcvbuf() {
            state.errors.push(packet);
        }
        state.error = Some(Errno::ECONNREFUSED);
        drop(state);
        self.common.queue.notify(Events::ERR);
    }

    /// Receives what is known of an error (`MSG_ERRQUEUE` of `recv(2)`).
    pub(super) fn recv_error(&self, dst: &mut IoDst<'_>, flags: u32) -> Result<Received, Errno> {
        let mut state = self.state.lock();
        let mut received = state.errors.receive(dst, flags & !(MSG_TRUNC | MSG_PEEK))?;
        state.error = (!state.errors.is_empty()).then_some(Errno::ECONNREFUSED);
        received.flags |= MSG_ERRQUEUE;
        Ok(received)
    }

    /// Gives a datagram to its receiver.
    fn hand_over(&self, task: &Task, route: Route, header: Header, data: Vec<u8>) {
        if is_shared(route.to.ip()) {
            return self.hand_to_all(task, route, header, &data);
        }
        match self.ports(task).receiver(route.to, route.from) {
            Some(receiver) => receiver.deliver(data, route.from, header),
            // Who is connected, or wants to know of errors, is told that nobody is there.
            None => self.refused(route, data),
        }
    }

    /// Sends a datagram, or a piece of one; see [`crate::net::Socket::send`].
    pub(super) fn send_datagram(
        &self,
        task: &Arc<Task>,
        src: &mut IoSrc<'_>,
        to: &[u8],
        control: &Outgoing,
        flags: u32,
    ) -> Result<usize, Errno> {
        if src.remaining() > usize::from(u16::MAX) {
            return Err(Errno::EMSGSIZE);
        }
        if flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let (corked, pending) = {
            let state = self.state.lock();
            (state.corked || flags & MSG_MORE != 0, state.pending.is_some())
        };
        // The way of a datagram is that of its first piece.
        let route = if pending { None } else { Some(self.route(task, to)?) };
        let n = src.remaining();
        if n > MOST {
            self.state.lock().pending = None;
            return Err(Errno::EMSGSIZE);
        }
        check_budget()?;
        let mut data = vec![0; n];
        if src.peek(&mut data)? < n {
            return Err(Errno::EFAULT);
        }
        src.advance(n);
        let header = route.map(|r| self.header(control, r.to.ip()));
        match (route, header) {
            (Some(route), Some(header)) if !corked => self.hand_over(task, route, header, data),
            (route, header) => self.add_piece(route.zip(header), data)?,
        }
        if pending && !corked {
            self.complete(task);
        }
        Ok(n)
    }

    /// Adds a piece to the datagram that is not complete, or begins one.
    fn add_piece(&self, way: Option<(Route, Header)>, data: Vec<u8>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if let (None, Some((route, header))) = (&state.pending, way) {
            state.pending = Some(Pending { route, header, pieces: Queue::default() });
        }
        // Another thread may have completed it: this piece has no way.
        let pending = state.pending.as_mut().ok_or(Errno::EAGAIN)?;
        if pending.pieces.bytes() + data.len() > MOST {
            state.pending = None;
            return Err(Errno::EMSGSIZE);
        }
        let mut all = pending.pieces.pop().map(|packet| packet.data).unwrap_or_default();
        all.extend(data);
        pending.pieces.push(Packet { data: all, ..Packet::default() });
        Ok(())
    }

    /// Sends the datagram that was held back.
    fn complete(&self, task: &Task) {
        let Some(mut pending) = self.state.lock().pending.take() else { return };
        let data = pending.pieces.pop().map(|packet| packet.data).unwrap_or_default();
        self.hand_over(task, pending.route, pending.header, data);
    }

    /// `UDP_CORK` was set or cleared.
    pub(super) fn cork(&self, task: &Task, on: bool) {
        self.state.lock().corked = on;
        if !on {
            self.complete(task);
        }
    }
}
