//! Sending and receiving on unix sockets.

use super::{MAX_DATAGRAMS, Role, State, UnixSocket, control_of, unblock};
use crate::net::queue::{Charge, OVERHEAD, Taken, check_budget};
use crate::net::{Kind, Outgoing, Packet, Received, Taking, Urgent, sender_cred};
use crate::task::Task;
use crate::vfs::{File, IoDst, IoSrc};
use crate::wait::Events;
use chitin_abi::Errno;
use chitin_abi::socket::*;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// Where a message goes.
enum Goal {
    Peer(Arc<UnixSocket>),
    Named(Arc<UnixSocket>),
}

impl UnixSocket {
    /// A packet of this socket, charged to it.
    fn packet(&self, data: Vec<u8>, cred: Ucred, from: Option<Arc<[u8]>>) -> Packet {
        let mut packet = Packet { data, cred, from, ..Packet::default() };
        let cost = packet.cost();
        self.sent.fetch_add(cost, Ordering::SeqCst);
        packet.charge = Some(Charge { sender: self.me.clone(), cost });
        packet
    }

    /// Sends on a stream.
    pub(super) fn send_stream(
        &self,
        task: &Arc<Task>,
        src: &mut IoSrc<'_>,
        to: &[u8],
        control: &mut Outgoing,
        flags: u32,
    ) -> Result<usize, Errno> {
        let before = src.done();
        let (peer, shut) = {
            let mut state = self.state.lock();
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            match &state.role {
                Role::Connected { .. } if !to.is_empty() => return Err(Errno::EISCONN),
                Role::Connected { .. } => {}
                _ if !to.is_empty() => return Err(Errno::EOPNOTSUPP),
                _ => return Err(Errno::ENOTCONN),
            }
            (state.peer(), state.shut.write)
        };
        if flags & MSG_OOB != 0 && src.remaining() == 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let Some(peer) = peer.filter(|_| !shut) else { return Err(Errno::EPIPE) };
        if src.remaining() == 0 {
            return Ok(0);
        }
        let cred = control.cred.unwrap_or_else(|| sender_cred(task));
        let mut rights = control.rights.take();
        let like = rights.is_none().then_some(cred);
        let from = self.address();
        let limit = self.common.options.sndbuf();
        let mut state = peer.state.lock();
        if state.shut.read || state.closed {
            drop(state);
            return Err(Errno::EPIPE);
        }
        let result = state.queue.write(src, limit, like, |data| {
            let mut packet = self.packet(data, cred, from.clone());
            packet.rights = rights.take();
            packet
        });
        let urgent = flags & MSG_OOB != 0 && result.is_ok();
        if urgent {
            let State { queue, urgent, .. } = &mut *state;
            urgent.mark(queue);
        }
        drop(state);
        // Not sent yet: they go with the first byte.
        control.rights = rights;
        let done = src.done() - before;
        if done > 0 {
            peer.tell(Events::READABLE);
        }
        if urgent {
            peer.tell(Events::PRI);
        }
        match result {
            Ok(()) => Ok(done),
            Err(Errno::EAGAIN) if done > 0 && flags & MSG_DONTWAIT != 0 => Ok(done),
            Err(Errno::EAGAIN) => Err(Errno::EAGAIN),
            Err(_) if done > 0 => Ok(done),
            Err(e) => Err(e),
        }
    }

    fn goal(&self, task: &Arc<Task>, to: &[u8]) -> Result<Goal, Errno> {
        let connected = {
            let mut state = self.state.lock();
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            match (&state.role, self.common.kind) {
                (Role::Connected { .. }, _) => true,
                (_, Kind::SeqPacket) => return Err(Errno::ENOTCONN),
                _ => false,
            }
        };
        if !to.is_empty() && self.common.kind == Kind::Datagram {
            let found = self.find(task, to)?;
            self.may_send(&found)?;
            return Ok(Goal::Named(found));
        }
        if !connected {
            return Err(Errno::ENOTCONN);
        }
        if self.state.lock().shut.write {
            return Err(Errno::EPIPE);
        }
        let peer = self.state.lock().peer();
        match (peer, self.common.kind) {
            (Some(peer), _) => Ok(Goal::Peer(peer)),
            (None, Kind::SeqPacket) => Err(Errno::EPIPE),
            (None, _) => Err(Errno::ECONNREFUSED),
        }
    }

    /// Sends a message.
    pub(super) fn send_message(
        &self,
        task: &Arc<Task>,
        src: &mut IoSrc<'_>,
        to: &[u8],
        control: &mut Outgoing,
        _flags: u32,
    ) -> Result<usize, Errno> {
        self.bind_automatically(task)?;
        if src.remaining() + OVERHEAD > self.common.options.sndbuf() {
            return Err(Errno::EMSGSIZE);
        }
        let (peer, named) = match self.goal(task, to)? {
            Goal::Peer(peer) => (peer, false),
            Goal::Named(peer) => (peer, true),
        };
        if self.state.lock().shut.write {
            return Err(Errno::EPIPE);
        }
        if self.sent.load(Ordering::SeqCst) >= self.common.options.sndbuf() {
            return Err(Errno::EAGAIN);
        }
        check_budget()?;
        let mut data = vec![0; src.remaining()];
        if src.peek(&mut data)? < data.len() {
            return Err(Errno::EFAULT);
        }
        let cred = control.cred.unwrap_or_else(|| sender_cred(task));
        let from = self.address();
        let mut state = peer.state.lock();
        if state.closed {
            let refused = named || self.common.kind == Kind::Datagram;
            return Err(if refused { Errno::ECONNREFUSED } else { Errno::EPIPE });
        }
        if state.shut.read {
            return Err(Errno::EPIPE);
        }
        let mutual = matches!(&state.role, Role::Connected { peer, .. } if peer.ptr_eq(&self.me));
        if !mutual && state.queue.len() > MAX_DATAGRAMS {
            state.block(&self.me);
            return Err(Errno::EAGAIN);
        }
        let n = data.len();
        let mut packet = self.packet(data, cred, from);
        packet.rights = control.rights.take();
        state.queue.push(packet);
        drop(state);
        src.advance(n);
        peer.tell(Events::READABLE);
        Ok(n)
    }

    fn ended(&self, state: &mut State) -> Result<(), Errno> {
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        if state.shut.read { Ok(()) } else { Err(Errno::EAGAIN) }
    }

    /// Receives from a stream.
    pub(super) fn recv_stream(&self, dst: &mut IoDst<'_>, flags: u32) -> Result<Received, Errno> {
        let creds = self.common.options.flag(SO_PASSCRED);
        // Dropped behind the lock.
        let mut passed = Vec::new();
        let mut state = self.state.lock();
        let State { queue, urgent, role, .. } = &mut *state;
        let inline = urgent.is_some() && self.common.options.flag(SO_OOBINLINE);
        if flags & MSG_OOB != 0 {
            let mut none = Urgent::default();
            let urgent = if inline { &mut none } else { urgent };
            return urgent.receive(queue, dst, flags, Taking::Removes, &mut passed);
        }
        if !matches!(role, Role::Connected { .. }) {
            return Err(Errno::EINVAL);
        }
        let span = urgent.span(queue, inline, flags, &mut passed);
        if queue.bytes() <= span.skip {
            self.ended(&mut state)?;
            return Ok(Received { last: true, ..Received::default() });
        }
        let (taken, looked) = if flags & MSG_PEEK != 0 {
            let looked = looked_at(&state);
            (state.queue.peek(dst, creds, span)?, looked)
        } else {
            (state.queue.read(dst, creds, span.most)?, Vec::new())
        };
        let mut taken = taken;
        taken.border |= flags & MSG_PEEK == 0 && state.urgent.passed(taken.len);
        drop(state);
        Ok(self.received(taken, looked))
    }

    fn received(&self, taken: Taken, looked: Vec<Arc<File>>) -> Received {
        let control = control_of(&self.common.options, taken.cred, taken.rights, looked);
        drop(taken.packets);
        let from = taken.from.map(|f| f.to_vec()).unwrap_or_default();
        Received { len: taken.len, from, control, last: taken.border, ..Received::default() }
    }

    /// Receives a message.
    pub(super) fn recv_message(&self, dst: &mut IoDst<'_>, flags: u32) -> Result<Received, Errno> {
        let mut state = self.state.lock();
        if self.common.kind == Kind::SeqPacket && !matches!(state.role, Role::Connected { .. }) {
            return Err(Errno::ENOTCONN);
        }
        let Some(front) = state.queue.front() else {
            self.ended(&mut state)?;
            return Ok(Received { last: true, ..Received::default() });
        };
        let len = front.data.len();
        let before = dst.done();
        if len > 0 && dst.remaining() > 0 {
            let n = dst.put(&front.data)?;
            if n < len.min(n + dst.remaining()) {
                return Err(Errno::EFAULT);
            }
        }
        let stored = dst.done() - before;
        let (cred, from) = (front.cred, front.from.clone());
        let looked = if flags & MSG_PEEK != 0 { looked_at(&state) } else { Vec::new() };
        let was_full = state.queue.len() > MAX_DATAGRAMS;
        let packet = if flags & MSG_PEEK != 0 { None } else { state.queue.pop() };
        let full = state.queue.len() > MAX_DATAGRAMS;
        let blocked: Vec<Weak<Self>> = match was_full && !full {
            true => std::mem::take(&mut state.blocked),
            false => Vec::new(),
        };
        drop(state);
        let mut packet = packet;
        let rights = packet.as_mut().and_then(|p| p.rights.take());
        drop(packet);
        unblock(blocked);
        let mut control = control_of(&self.common.options, cred, rights, looked);
        control.extra.extend(self.common.options.stamp());
        let from = from.map(|f| f.to_vec()).unwrap_or_default();
        let mut received = Received { len: stored, from, control, last: true, flags: 0 };
        if stored < len {
            received.flags |= MSG_TRUNC;
        }
        if self.common.kind == Kind::SeqPacket {
            received.flags |= MSG_EOR;
        }
        if flags & MSG_TRUNC != 0 {
            received.len = len;
        }
        Ok(received)
    }
}

/// The descriptors that the first packet carries, for somebody who only looks.
fn looked_at(state: &State) -> Vec<Arc<File>> {
    let rights = state.queue.front().and_then(|p| p.rights.as_ref());
    rights.map(|r| r.duplicate()).unwrap_or_default()
}
