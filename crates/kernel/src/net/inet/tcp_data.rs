//! Bytes of a TCP connection.

use super::tcp::{Role, State, TcpSocket};
use crate::net::queue::Charge;
use crate::net::{Packet, Received, Shutdown, Taking, Urgent};
use crate::task::Task;
use crate::vfs::{IoDst, IoSrc};
use crate::wait::Events;
use chitin_abi::Errno;
use chitin_abi::socket::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl TcpSocket {
    /// The other end, if something can be sent to it, and whether a cork is in; `None` if it is
    /// gone.
    fn receiver(&self) -> Result<(Option<Arc<Self>>, bool), Errno> {
        let mut state = self.state.lock();
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        match &state.role {
            _ if state.shut.write => Err(Errno::EPIPE),
            Role::Connecting { .. } => Err(Errno::EAGAIN),
            Role::Connected { .. } => Ok((state.peer(), state.cork.corked)),
            _ => Err(Errno::EPIPE),
        }
    }

    /// What was sent to an end that is gone is answered by a reset: the next call tells.
    fn answered_by_reset(&self, src: &mut IoSrc<'_>) -> usize {
        let n = src.remaining();
        src.advance(n);
        let mut state = self.state.lock();
        let finished = state.finished;
        state.error = Some(if finished { Errno::EPIPE } else { Errno::ECONNRESET });
        state.shut = Shutdown::BOTH;
        state.role = Role::Failed;
        drop(state);
        self.tell(Events::ALL);
        n
    }

    /// Sends; see [`crate::net::Socket::send`].
    pub(super) fn send_bytes(
        &self,
        task: &Task,
        src: &mut IoSrc<'_>,
        flags: u32,
    ) -> Result<usize, Errno> {
        let before = src.done();
        let (receiver, corked) = self.receiver()?;
        if src.remaining() == 0 {
            return Ok(0);
        }
        let Some(peer) = receiver else { return Ok(self.answered_by_reset(src)) };
        let limit = self.limit();
        let mut passed = Vec::new();
        let mut state = peer.state.lock();
        if state.closed || matches!(state.role, Role::Failed) {
            drop(state);
            return Ok(self.answered_by_reset(src));
        }
        let result = state.queue.write(src, limit, Some(Ucred::default()), |data| {
            let mut packet = Packet { data, ..Packet::default() };
            let cost = packet.cost();
            self.sent.fetch_add(cost, Ordering::SeqCst);
            packet.charge = Some(Charge { sender: self.me.clone(), cost });
            packet
        });
        let done = src.done() - before;
        let urgent = flags & MSG_OOB != 0 && done > 0;
        if urgent {
            let inline = peer.inline(&state);
            let State { queue, urgent, .. } = &mut *state;
            urgent.make_way(queue, inline, &mut passed);
            urgent.mark(queue);
        }
        let holds = (corked || flags & MSG_MORE != 0) && !urgent && done > 0;
        let held = if holds { state.cork.hold(done) } else { state.cork.release() };
        drop(state);
        if held.first {
            self.pull_later(&task.kernel);
        }
        if done > 0 && held.full {
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

    /// Receives.
    pub(super) fn recv_bytes(&self, dst: &mut IoDst<'_>, flags: u32) -> Result<Received, Errno> {
        if flags & MSG_ERRQUEUE != 0 {
            return Err(Errno::EAGAIN);
        }
        // Dropped behind the lock.
        let mut passed = Vec::new();
        let mut state = self.state.lock();
        let inline = self.inline(&state);
        if flags & MSG_OOB != 0 {
            let State { queue, urgent, .. } = &mut *state;
            let mut none = Urgent::default();
            let urgent = if inline { &mut none } else { urgent };
            return urgent.receive(queue, dst, flags, Taking::Leaves, &mut passed);
        }
        let State { queue, urgent, .. } = &mut *state;
        let mut span = urgent.span(queue, inline, flags, &mut passed);
        span.most = span.most.min(state.readable(inline));
        if span.most == 0 {
            let end = Received { last: true, ..Received::default() };
            if state.finished {
                return Ok(end);
            }
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            return match &state.role {
                _ if state.shut.read => Ok(end),
                Role::Connected { .. } | Role::Connecting { .. } => Err(Errno::EAGAIN),
                Role::Failed => Ok(end),
                _ => Err(Errno::ENOTCONN),
            };
        }
        let taken = if flags & MSG_PEEK != 0 {
            state.queue.peek(dst, false, span)?
        } else if flags & MSG_TRUNC != 0 {
            let taken = state.queue.skip(span.most.min(dst.remaining()));
            dst.advance(taken.len);
            taken
        } else {
            state.queue.read(dst, false, span.most)?
        };
        let last = flags & MSG_PEEK == 0 && state.urgent.passed(taken.len);
        drop(state);
        Ok(Received { len: taken.len, last, ..Received::default() })
    }
}
