//! Bytes of a TCP connection.

use super::tcp::{Role, TcpSocket};
use crate::net::queue::Charge;
use crate::net::{Packet, Received, Shutdown};
use crate::vfs::{IoDst, IoSrc};
use crate::wait::Events;
use chitin_abi::Errno;
use chitin_abi::socket::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl TcpSocket {
    /// The other end, if something can be sent to it; `None` if it is gone.
    fn receiver(&self) -> Result<Option<Arc<Self>>, Errno> {
        let mut state = self.state.lock();
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        match &state.role {
            _ if state.shut.write => Err(Errno::EPIPE),
            Role::Connecting { .. } => Err(Errno::EAGAIN),
            Role::Connected { .. } => Ok(state.peer()),
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
    pub(super) fn send_bytes(&self, src: &mut IoSrc<'_>, flags: u32) -> Result<usize, Errno> {
        if flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let before = src.done();
        let receiver = self.receiver()?;
        if src.remaining() == 0 {
            return Ok(0);
        }
        let Some(peer) = receiver else { return Ok(self.answered_by_reset(src)) };
        let limit = self.limit();
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
        drop(state);
        let done = src.done() - before;
        if done > 0 {
            peer.tell(Events::READABLE);
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
        // There is no urgent data (`recv(2)`).
        if flags & MSG_OOB != 0 {
            return Err(Errno::EINVAL);
        }
        if flags & MSG_ERRQUEUE != 0 {
            return Err(Errno::EAGAIN);
        }
        let mut state = self.state.lock();
        if state.queue.is_empty() {
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
            state.queue.peek(dst, false)?
        } else if flags & MSG_TRUNC != 0 {
            state.queue.skip(dst)
        } else {
            state.queue.read(dst, false)?
        };
        drop(state);
        Ok(Received { len: taken.len, ..Received::default() })
    }
}
