//! Netlink sockets (`netlink(7)`): of `NETLINK_ROUTE` (`rtnetlink(7)`) the questions that
//! libraries ask about devices and addresses. Nothing can be changed. Those of
//! `NETLINK_KOBJECT_UEVENT` wait for devices that never come; of `NETLINK_SOCK_DIAG`
//! (`sock_diag(7)`) nothing is known.
//!
//! Locks: each socket's `state`; the table of numbers is a leaf.

use super::inet::LOOPBACK;
use super::routes::{change_device, check_device};
use super::{Common, Kind, Outgoing, Packet, Queue, Received, Shutdown, Socket};
use crate::sync::Mutex;
use crate::task::Task;
use crate::vfs::{IoDst, IoSrc};
use crate::wait::{Events, Pollable, WaitQueue};
use chitin_abi::socket::*;
use chitin_abi::{Errno, Pod};
use std::collections::HashSet;
use std::sync::Arc;

/// Most bytes of a request.
const REQUEST_MAX: usize = 32 << 10;
/// Most bytes of one message of a dump.
const PIECE: usize = 4096;
const HEADER: usize = size_of::<Nlmsghdr>();

/// Numbers of bound sockets.
#[derive(Default)]
pub struct PortIds(Mutex<HashSet<u32>>);

impl PortIds {
    fn take(&self, wish: u32) -> Result<u32, Errno> {
        let mut ids = self.0.lock();
        if ids.insert(wish) { Ok(wish) } else { Err(Errno::EADDRINUSE) }
    }

    /// The process's own number if it is free, else one that is negative as Linux's.
    fn automatic(&self, pid: u32) -> u32 {
        let mut ids = self.0.lock();
        let mut id = pid;
        let mut next = u32::MAX - 4096;
        while !ids.insert(id) {
            id = next;
            next = next.wrapping_sub(1);
        }
        id
    }
}

#[derive(Default)]
struct State {
    id: u32,
    queue: Queue,
    /// Replies were lost.
    overrun: bool,
    release: Option<Arc<crate::kernel::Kernel>>,
}

/// A netlink socket.
pub struct NetlinkSocket {
    common: Common,
    state: Mutex<State>,
}

impl NetlinkSocket {
    /// A new socket of a task.
    pub fn new(task: &Task, kind: Kind, protocol: i32) -> Result<Arc<Self>, Errno> {
        if !matches!(kind, Kind::Raw | Kind::Datagram) {
            return Err(Errno::ESOCKTNOSUPPORT);
        }
        if !matches!(protocol, NETLINK_ROUTE | NETLINK_SOCK_DIAG | NETLINK_KOBJECT_UEVENT) {
            if (0..MAX_LINKS).contains(&protocol) {
                task.kernel.gap(&format!("netlink protocol {protocol}"));
            }
            return Err(Errno::EPROTONOSUPPORT);
        }
        let common = Common::new(task, AF_NETLINK, kind, protocol);
        Ok(Arc::new(Self { common, state: Mutex::default() }))
    }

    fn bind_to(&self, task: &Arc<Task>, wish: u32) -> Result<u32, Errno> {
        let mut state = self.state.lock();
        if state.id != 0 {
            let same = wish == 0 || wish == state.id;
            return if same { Ok(state.id) } else { Err(Errno::EINVAL) };
        }
        let ids = &task.kernel.net.netlink;
        state.id = match wish {
            0 => ids.automatic(task.process.pid.unsigned_abs()),
            wish => ids.take(wish)?,
        };
        state.release = Some(task.kernel.clone());
        Ok(state.id)
    }

    /// Puts a message of replies into the own queue.
    fn reply(&self, data: Vec<u8>) {
        let from = SockaddrNl { family: AF_NETLINK, ..SockaddrNl::default() };
        let from = Some(from.as_bytes().into());
        let packet = Packet { data, from, ..Packet::default() };
        let mut state = self.state.lock();
        if state.queue.cost() + packet.cost() > self.common.options.rcvbuf() {
            state.overrun = true;
        } else {
            state.queue.push(packet);
        }
        drop(state);
        self.common.queue.notify(Events::READABLE);
    }

    /// Answers one request.
    fn serve(&self, task: &Arc<Task>, header: &Nlmsghdr, body: &[u8], id: u32) {
        let reply = Reply { seq: header.seq, id };
        // Requests are of four kinds for each object; the third is a question.
        let asks = header.kind & 3 == 2;
        if header.flags & NLM_F_REQUEST == 0 {
            return;
        }
        let dump = header.flags & NLM_F_DUMP != 0;
        let result = match header.kind {
            // As without a module for the family: `/proc/net` tells of sockets.
            _ if self.common.protocol == NETLINK_SOCK_DIAG => Err(Errno::ENOENT),
            RTM_GETLINK if dump => Ok(vec![reply.link(dump)]),
            RTM_GETLINK => check_device(body).map(|()| vec![reply.link(dump)]),
            RTM_NEWLINK => change_device(task, body).map(|()| Vec::new()),
            RTM_GETADDR => Ok(reply.addresses(body.first().copied().unwrap_or(0))),
            RTM_GETROUTE if dump => Ok(reply.routes(body.first().copied().unwrap_or(0))),
            RTM_GETRULE if dump => Ok(reply.rules(body.first().copied().unwrap_or(0))),
            RTM_GETNEIGH if dump => Ok(Vec::new()),
            RTM_GETROUTE => reply.route_to(body).map(|route| vec![route]),
            kind if kind > RTM_MAX => Err(Errno::EOPNOTSUPP),
            _ if !asks => Err(Errno::EPERM),
            kind => {
                task.kernel.gap(&format!("rtnetlink message {kind}"));
                Err(Errno::EOPNOTSUPP)
            }
        };
        match result {
            Ok(messages) if dump => {
                for piece in pack(messages) {
                    self.reply(piece);
                }
                self.reply(reply.message(NLMSG_DONE, NLM_F_MULTI, &0_i32.to_ne_bytes()));
            }
            Ok(messages) => {
                pack(messages).into_iter().for_each(|piece| self.reply(piece));
                if header.flags & NLM_F_ACK != 0 {
                    self.reply(reply.status(0, header));
                }
            }
            Err(e) => self.reply(reply.status(-e.raw(), header)),
        }
    }
}

/// Joins messages as far as they fit a piece.
fn pack(messages: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for message in messages {
        match pieces.last_mut().filter(|p| p.len() + message.len() <= PIECE) {
            Some(piece) => piece.extend(message),
            None => pieces.push(message),
        }
    }
    pieces
}

/// To whom, and to which request.
pub(super) struct Reply {
    seq: u32,
    id: u32,
}

pub(super) fn attribute(out: &mut Vec<u8>, kind: u16, data: &[u8]) {
    let len = u16::try_from(4 + data.len()).unwrap_or(4);
    out.extend_from_slice(&len.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(4), 0);
}

impl Reply {
    pub(super) fn message(&self, kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(HEADER + body.len()).unwrap_or(0);
        let header = Nlmsghdr { len, kind, flags, seq: self.seq, pid: self.id };
        let mut out = header.as_bytes().to_vec();
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    /// An error, or none (`NLM_F_ACK`).
    fn status(&self, errno: i32, request: &Nlmsghdr) -> Vec<u8> {
        let mut body = errno.to_ne_bytes().to_vec();
        body.extend_from_slice(request.as_bytes());
        self.message(NLMSG_ERROR, 0, &body)
    }

    fn link(&self, dump: bool) -> Vec<u8> {
        let info = Ifinfomsg {
            kind: ARPHRD_LOOPBACK,
            index: LOOPBACK.index,
            flags: LOOPBACK.flags | IFF_LOWER_UP,
            ..Ifinfomsg::default()
        };
        let mut body = info.as_bytes().to_vec();
        attribute(&mut body, IFLA_IFNAME, b"lo\0");
        attribute(&mut body, IFLA_TXQLEN, &LOOPBACK.queue.to_ne_bytes());
        attribute(&mut body, IFLA_OPERSTATE, &[0]);
        attribute(&mut body, IFLA_LINKMODE, &[0]);
        attribute(&mut body, IFLA_MTU, &LOOPBACK.mtu.to_ne_bytes());
        attribute(&mut body, IFLA_QDISC, b"noqueue\0");
        attribute(&mut body, IFLA_GROUP, &[0; 4]);
        // Nothing is counted: no packet is ever made.
        attribute(&mut body, IFLA_STATS64, &[0; 200]);
        attribute(&mut body, IFLA_ADDRESS, &[0; 6]);
        attribute(&mut body, IFLA_BROADCAST, &[0; 6]);
        self.message(RTM_NEWLINK, if dump { NLM_F_MULTI } else { 0 }, &body)
    }

    fn addresses(&self, family: u8) -> Vec<Vec<u8>> {
        let four: (u16, u8, &[u8]) = (AF_INET, 8, &[127, 0, 0, 1]);
        let six: (u16, u8, &[u8]) =
            (AF_INET6, 128, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let mut out = Vec::new();
        for (of, prefixlen, addr) in [four, six] {
            if family != 0 && u16::from(family) != of {
                continue;
            }
            let info = Ifaddrmsg {
                family: of.to_ne_bytes()[0],
                prefixlen,
                flags: 0x80,
                scope: RT_SCOPE_HOST,
                index: LOOPBACK.index.unsigned_abs(),
            };
            let mut body = info.as_bytes().to_vec();
            attribute(&mut body, IFA_ADDRESS, addr);
            if of == AF_INET {
                attribute(&mut body, IFA_LOCAL, addr);
                attribute(&mut body, IFA_LABEL, b"lo\0");
            }
            // Preferred and valid for ever.
            let lives = [u32::MAX, u32::MAX, 0, 0];
            attribute(&mut body, IFA_CACHEINFO, lives.as_bytes());
            attribute(&mut body, IFA_FLAGS, &IFA_F_PERMANENT.to_ne_bytes());
            out.push(self.message(RTM_NEWADDR, NLM_F_MULTI, &body));
        }
        out
    }
}

fn address(addr: &[u8]) -> Result<SockaddrNl, Errno> {
    let addr = SockaddrNl::from_bytes(addr).ok_or(Errno::EINVAL)?;
    if addr.family == AF_NETLINK { Ok(addr) } else { Err(Errno::EINVAL) }
}

impl Pollable for NetlinkSocket {
    fn readiness(&self) -> Events {
        let state = self.state.lock();
        let mut events = Events::WRITABLE | Events::WRBAND;
        if !state.queue.is_empty() {
            events |= Events::READABLE;
        }
        if state.overrun {
            events |= Events::ERR;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.common.queue)
    }
}

impl Socket for NetlinkSocket {
    fn common(&self) -> &Common {
        &self.common
    }

    fn bind(&self, task: &Arc<Task>, addr: &[u8]) -> Result<(), Errno> {
        // Groups may be joined: nothing ever happens that they would be told of.
        self.bind_to(task, address(addr)?.pid).map(drop)
    }

    fn connect(&self, task: &Arc<Task>, addr: &[u8], _flags: u32) -> Result<(), Errno> {
        if address(addr)?.pid != 0 {
            return Err(Errno::ECONNREFUSED);
        }
        self.bind_to(task, 0).map(drop)
    }

    fn send(
        &self,
        task: &Arc<Task>,
        src: &mut IoSrc<'_>,
        to: &[u8],
        _control: &mut Outgoing,
        flags: u32,
    ) -> Result<usize, Errno> {
        if flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if !to.is_empty() && address(to)?.pid != 0 {
            return Err(Errno::ECONNREFUSED);
        }
        let n = src.remaining();
        if n > REQUEST_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let id = self.bind_to(task, 0)?;
        // No device ever comes or goes, and nobody listens to who says so.
        if self.common.protocol == NETLINK_KOBJECT_UEVENT {
            return Err(Errno::ECONNREFUSED);
        }
        let mut bytes = vec![0; n];
        if src.take(&mut bytes)? < n {
            return Err(Errno::EFAULT);
        }
        let mut rest = &*bytes;
        while let Some(header) = Nlmsghdr::from_bytes(rest) {
            let len = usize::try_from(header.len).unwrap_or(usize::MAX);
            let Some(body) = rest.get(HEADER..len) else { break };
            self.serve(task, &header, body, id);
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(n)
    }

    fn recv(&self, _task: &Arc<Task>, dst: &mut IoDst<'_>, flags: u32) -> Result<Received, Errno> {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.overrun) {
            return Err(Errno::ENOBUFS);
        }
        state.queue.receive(dst, flags)
    }

    fn shutdown(&self, _how: Shutdown) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn name(&self) -> Vec<u8> {
        let pid = self.state.lock().id;
        SockaddrNl { family: AF_NETLINK, pid, ..SockaddrNl::default() }.as_bytes().to_vec()
    }

    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        Ok(SockaddrNl { family: AF_NETLINK, ..SockaddrNl::default() }.as_bytes().to_vec())
    }

    fn get_option(&self, _: &Arc<Task>, level: i32, _: i32) -> Option<Result<Vec<u8>, Errno>> {
        (level == SOL_NETLINK).then(|| Ok(0_i32.to_ne_bytes().to_vec()))
    }

    fn set_option(
        &self,
        _task: &Arc<Task>,
        level: i32,
        _name: i32,
        _value: &[u8],
    ) -> Option<Result<(), Errno>> {
        // Groups, extended acknowledgements, strict checking: nothing comes of them.
        (level == SOL_NETLINK).then_some(Ok(()))
    }

    fn pending_in(&self) -> Result<usize, Errno> {
        Err(Errno::ENOTTY)
    }

    fn pending_out(&self) -> Result<usize, Errno> {
        Err(Errno::ENOTTY)
    }

    fn proc_line(&self) -> String {
        let state = self.state.lock();
        let (id, rmem, ino) = (state.id, state.queue.cost(), self.common.ino);
        let protocol = self.common.protocol;
        format!(
            "0000000000000000 {protocol:<3} {id:<10} 00000000 {rmem:<8} 0        0     2        0        {ino}"
        )
    }

    fn ioctl(&self, mm: &crate::mm::Mm, cmd: u32, arg: u64) -> Option<Result<u64, Errno>> {
        super::inet::ioctl(mm, cmd, arg)
    }

    fn close(&self) {
        let state = std::mem::take(&mut *self.state.lock());
        if let Some(kernel) = &state.release {
            kernel.net.netlink.0.lock().remove(&state.id);
        }
    }
}
