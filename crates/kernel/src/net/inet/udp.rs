//! [`UdpSocket`] (`udp(7)`).
//!
//! Lock: each socket's `state`, never two at once.

use super::addr::{ProcLine, any, encode, family, parse, reachable, source_for};
use super::ioctl;
use super::multicast::is_shared;
use super::options::InetOptions;
use super::ports::{Binding, Ports, Wish};
use super::tcp_link::{check_family, may_bind};
use super::udp_send::{Header, Pending};
use crate::net::{Common, Kind, Outgoing, Packet, Queue, Received, Shutdown, Socket};
use crate::sync::Mutex;
use crate::task::Task;
use crate::vfs::{IoDst, IoSrc};
use crate::wait::{Events, Pollable, WaitQueue};
use chitin_abi::Errno;
use chitin_abi::socket::*;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};

#[derive(Default)]
pub(super) struct State {
    pub(super) binding: Option<Binding<UdpSocket>>,
    /// Address that `bind(2)` asked for.
    pub(super) asked: Option<IpAddr>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) queue: Queue,
    pub(super) shut: Shutdown,
    pub(super) error: Option<Errno>,
    closed: bool,
    /// What is known of errors (`IP_RECVERR`).
    pub(super) errors: Queue,
    /// `UDP_CORK`.
    pub(super) corked: bool,
    /// What a cork holds back.
    pub(super) pending: Option<Pending>,
}

/// A UDP or UDP-Lite socket.
pub struct UdpSocket {
    me: Weak<Self>,
    pub(super) common: Common,
    pub(super) inet: InetOptions,
    pub(super) state: Mutex<State>,
}

impl UdpSocket {
    /// A new socket of a task.
    pub fn new(task: &Task, family: u16, protocol: i32) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            common: Common::new(task, family, Kind::Datagram, protocol),
            inet: InetOptions::default(),
            state: Mutex::default(),
        })
    }

    pub(super) fn v6only(&self) -> bool {
        self.common.family == AF_INET6 && self.inet.number(SOL_IPV6, IPV6_V6ONLY) != 0
    }

    pub(super) fn ports<'a>(&self, task: &'a Task) -> &'a Arc<Ports<Self>> {
        let inet = &task.kernel.net.inet;
        if self.common.protocol == IPPROTO_UDPLITE { &inet.udplite } else { &inet.udp }
    }

    pub(super) fn bind_unless_bound(
        &self,
        task: &Arc<Task>,
        addr: SocketAddr,
    ) -> Result<(), Errno> {
        if self.state.lock().binding.is_some() {
            return Ok(());
        }
        let wish = Wish {
            addr,
            v6only: self.v6only(),
            reuse_addr: self.common.options.flag(SO_REUSEADDR),
            reuse_port: self.common.options.flag(SO_REUSEPORT),
            uid: task.cred().euid,
            shares_listening: true,
        };
        let binding = self.ports(task).bind(wish, &self.me)?;
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

    /// What a receiver is told besides bytes (`IP_PKTINFO` and others).
    fn extras(&self, header: Header) -> Vec<(i32, i32, Vec<u8>)> {
        let to = header.to;
        let mut extra: Vec<_> = self.common.options.stamp().into_iter().collect();
        let asks = |level, name| self.inet.number(level, name) != 0;
        match to {
            IpAddr::V4(to) if self.common.family == AF_INET => {
                if asks(SOL_IP, IP_PKTINFO) {
                    let mut info = 1_i32.to_ne_bytes().to_vec();
                    let own = if is_shared(to.into()) { Ipv4Addr::LOCALHOST } else { to };
                    info.extend_from_slice(&own.octets());
                    info.extend_from_slice(&to.octets());
                    extra.push((SOL_IP, IP_PKTINFO, info));
                }
                if asks(SOL_IP, IP_RECVTTL) {
                    extra.push((SOL_IP, IP_TTL, header.hops.to_ne_bytes().to_vec()));
                }
                if asks(SOL_IP, IP_RECVTOS) {
                    extra.push((SOL_IP, IP_TOS, vec![header.class.to_le_bytes()[0]]));
                }
            }
            _ => {
                if asks(SOL_IPV6, IPV6_RECVPKTINFO) {
                    let ip = match to {
                        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                        IpAddr::V6(ip) => ip,
                    };
                    let mut info = ip.octets().to_vec();
                    info.extend_from_slice(&1_i32.to_ne_bytes());
                    extra.push((SOL_IPV6, IPV6_PKTINFO, info));
                }
                if asks(SOL_IPV6, IPV6_RECVHOPLIMIT) {
                    extra.push((SOL_IPV6, IPV6_HOPLIMIT, header.hops.to_ne_bytes().to_vec()));
                }
                if asks(SOL_IPV6, IPV6_RECVTCLASS) {
                    extra.push((SOL_IPV6, IPV6_TCLASS, header.class.to_ne_bytes().to_vec()));
                }
            }
        }
        extra
    }

    /// Takes a datagram; one that does not fit is lost.
    pub(super) fn deliver(&self, data: Vec<u8>, from: SocketAddr, header: Header) {
        let from = Some(encode(self.common.family, from).into());
        let packet = Packet { data, from, extra: self.extras(header), ..Packet::default() };
        let mut state = self.state.lock();
        if state.closed || state.queue.cost() + packet.cost() > self.common.options.rcvbuf() {
            return;
        }
        state.queue.push(packet);
        drop(state);
        self.common.queue.notify(Events::READABLE);
    }
}

impl Pollable for UdpSocket {
    fn readiness(&self) -> Events {
        let state = self.state.lock();
        let mut events = Events::WRITABLE | Events::WRBAND;
        if !state.queue.is_empty() {
            events |= Events::READABLE;
        }
        if state.error.is_some() || !state.errors.is_empty() {
            events |= Events::ERR;
        }
        if state.shut.read {
            events |= Events::READABLE | Events::RDHUP;
        }
        if state.shut == Shutdown::BOTH {
            events |= Events::HUP;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.common.queue)
    }
}

impl Socket for UdpSocket {
    fn common(&self) -> &Common {
        &self.common
    }

    fn bind(&self, task: &Arc<Task>, addr: &[u8]) -> Result<(), Errno> {
        let addr = parse(self.common.family, addr)?;
        check_family(self.v6only(), addr.ip(), Errno::EINVAL)?;
        may_bind(task, addr)?;
        if self.state.lock().binding.is_some() {
            return Err(Errno::EINVAL);
        }
        self.bind_unless_bound(task, addr)?;
        self.state.lock().asked = Some(addr.ip());
        Ok(())
    }

    fn connect(&self, task: &Arc<Task>, addr: &[u8], _flags: u32) -> Result<(), Errno> {
        if family(addr) == Some(AF_UNSPEC) {
            let mut state = self.state.lock();
            state.remote = None;
            // What was not asked for by `bind(2)` goes with the connection.
            let asked = state.asked;
            let automatic = state.binding.take_if(|_| asked.is_none());
            if let (Some(binding), Some(asked)) = (&mut state.binding, asked) {
                binding.set_remote(None);
                binding.set_address(asked);
            }
            drop(state);
            drop(automatic);
            return Ok(());
        }
        let kind = if family(addr) == Some(AF_INET) { AF_INET } else { self.common.family };
        let goal = parse(kind, addr)?;
        check_family(self.v6only(), goal.ip(), Errno::ENETUNREACH)?;
        let to = SocketAddr::new(reachable(goal.ip())?, goal.port());
        let from = source_for(to.ip());
        self.bind_unless_bound(task, SocketAddr::new(from, 0))?;
        let mut state = self.state.lock();
        state.remote = Some(to);
        if let Some(binding) = &mut state.binding {
            if binding.addr.ip().is_unspecified() {
                binding.set_address(from);
            }
            binding.set_remote(Some(to));
        }
        Ok(())
    }

    fn send(
        &self,
        task: &Arc<Task>,
        src: &mut IoSrc<'_>,
        to: &[u8],
        control: &mut Outgoing,
        flags: u32,
    ) -> Result<usize, Errno> {
        self.send_datagram(task, src, to, control, flags)
    }

    fn recv(&self, _task: &Arc<Task>, dst: &mut IoDst<'_>, flags: u32) -> Result<Received, Errno> {
        if flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if flags & MSG_ERRQUEUE != 0 {
            return self.recv_error(dst, flags);
        }
        let mut state = self.state.lock();
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        if state.queue.is_empty() {
            return if state.shut.read { Ok(Received::default()) } else { Err(Errno::EAGAIN) };
        }
        state.queue.receive(dst, flags)
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let mut state = self.state.lock();
        // It takes effect on a socket that is not connected, too.
        let connected = state.remote.is_some();
        state.shut.add(how);
        drop(state);
        self.common.queue.notify(Events::ALL);
        if connected { Ok(()) } else { Err(Errno::ENOTCONN) }
    }

    fn name(&self) -> Vec<u8> {
        let bound = self.state.lock().binding.as_ref().map(|b| b.addr);
        let family = self.common.family;
        encode(family, bound.unwrap_or_else(|| SocketAddr::new(any(family), 0)))
    }

    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        let remote = self.state.lock().remote.ok_or(Errno::ENOTCONN)?;
        Ok(encode(self.common.family, remote))
    }

    fn take_error(&self) -> Option<Errno> {
        self.state.lock().error.take()
    }

    fn get_option(&self, _: &Arc<Task>, level: i32, name: i32) -> Option<Result<Vec<u8>, Errno>> {
        self.inet.get(self.common.family, Kind::Datagram, level, name)
    }

    fn set_option(
        &self,
        task: &Arc<Task>,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Option<Result<(), Errno>> {
        let result = self.inet.set(self.common.family, Kind::Datagram, level, name, value);
        if let (SOL_UDP, UDP_CORK, Some(Ok(()))) = (level, name, &result) {
            self.cork(task, self.inet.number(SOL_UDP, UDP_CORK) != 0);
        }
        result
    }

    fn proc_line(&self) -> String {
        let state = self.state.lock();
        let (local, remote) = (state.binding.as_ref().map(|b| b.addr), state.remote);
        let connected = if remote.is_some() { TCP_ESTABLISHED } else { TCP_CLOSE };
        let unread = state.queue.cost();
        ProcLine { local, remote, state: connected, sent: 0, unread }.text(&self.common)
    }

    fn pending_in(&self) -> Result<usize, Errno> {
        Ok(self.state.lock().queue.front().map_or(0, |p| p.data.len()))
    }

    fn pending_out(&self) -> Result<usize, Errno> {
        Ok(0)
    }

    fn ioctl(&self, mm: &crate::mm::Mm, cmd: u32, arg: u64) -> Option<Result<u64, Errno>> {
        ioctl(mm, cmd, arg)
    }

    fn close(&self) {
        let mut state = self.state.lock();
        let old = std::mem::take(&mut *state);
        state.closed = true;
        drop(state);
        drop(old);
    }
}
