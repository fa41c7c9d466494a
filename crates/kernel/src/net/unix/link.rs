//! Connecting unix sockets, accepting, shutting down, closing.

use super::{PeerCred, Role, State, UnixSocket, unblock};
use crate::net::{Common, Kind, Shutdown, Socket};
use crate::task::Task;
use crate::wait::Events;
use chitin_abi::Errno;
use chitin_abi::socket::{AF_UNIX, AF_UNSPEC, SO_PASSCRED};
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// Both ends of a new pair (`socketpair(2)`).
pub fn pair(task: &Task, kind: Kind, protocol: i32) -> Result<[Arc<UnixSocket>; 2], Errno> {
    let ends = [UnixSocket::new(task, kind, protocol)?, UnixSocket::new(task, kind, protocol)?];
    let [a, b] = &ends;
    for (end, other) in [(a, b), (b, a)] {
        let (peer, cred) = (Arc::downgrade(other), PeerCred::of(task));
        end.state.lock().role = Role::Connected { peer, address: None, cred };
    }
    Ok(ends)
}

impl UnixSocket {
    /// `listen(2)`.
    pub(super) fn do_listen(&self, task: &Arc<Task>, backlog: u32) -> Result<(), Errno> {
        if !self.stream_like() {
            return Err(Errno::EOPNOTSUPP);
        }
        let backlog = usize::try_from(backlog).unwrap_or(usize::MAX);
        let mut state = self.state.lock();
        if state.binding.is_none() {
            return Err(Errno::EINVAL);
        }
        let more = match &mut state.role {
            Role::Connected { .. } => return Err(Errno::EINVAL),
            Role::Listening { backlog: old, cred, .. } => {
                *cred = PeerCred::of(task);
                let more = backlog > *old;
                *old = backlog;
                more
            }
            role @ Role::Idle => {
                let (waiting, cred) = (VecDeque::new(), PeerCred::of(task));
                *role = Role::Listening { backlog, waiting, cred };
                false
            }
        };
        let blocked = if more { std::mem::take(&mut state.blocked) } else { Vec::new() };
        drop(state);
        unblock(blocked);
        Ok(())
    }

    /// `connect(2)`.
    pub(super) fn do_connect(&self, task: &Arc<Task>, addr: &[u8]) -> Result<(), Errno> {
        if self.stream_like() { self.call(task, addr) } else { self.set_peer(task, addr) }
    }

    /// Connects a datagram socket to another, or to nobody (`AF_UNSPEC`).
    fn set_peer(&self, task: &Arc<Task>, addr: &[u8]) -> Result<(), Errno> {
        let role = if addr.get(..2) == Some(&AF_UNSPEC.to_ne_bytes()) {
            Role::Idle
        } else {
            let peer = self.find(task, addr)?;
            self.may_send(&peer)?;
            self.bind_automatically(task)?;
            let address = peer.address();
            Role::Connected { peer: Arc::downgrade(&peer), address, cred: PeerCred::default() }
        };
        let old = std::mem::replace(&mut self.state.lock().role, role);
        if let Role::Connected { peer, .. } = old
            && let Some(old) = peer.upgrade()
        {
            // It no longer has this one as its peer: messages it would refuse may come.
            old.tell(Events::WRITABLE);
        }
        self.tell(Events::WRITABLE);
        Ok(())
    }

    /// A sender whose credentials are to be told needs a name.
    pub(super) fn bind_automatically(&self, task: &Arc<Task>) -> Result<(), Errno> {
        let named = self.state.lock().binding.is_some();
        if self.common.options.flag(SO_PASSCRED) && !named {
            self.do_bind(task, &AF_UNIX.to_ne_bytes())?;
        }
        Ok(())
    }

    /// A connected datagram socket takes messages of its peer only.
    pub(super) fn may_send(&self, to: &Arc<Self>) -> Result<(), Errno> {
        let state = to.state.lock();
        match &state.role {
            Role::Connected { peer, .. } if !peer.ptr_eq(&self.me) => Err(Errno::EPERM),
            _ => Ok(()),
        }
    }

    /// Connects a stream to a listener.
    fn call(&self, task: &Arc<Task>, addr: &[u8]) -> Result<(), Errno> {
        match &self.state.lock().role {
            Role::Idle => {}
            Role::Connected { .. } => return Err(Errno::EISCONN),
            Role::Listening { .. } => return Err(Errno::EINVAL),
        }
        self.bind_automatically(task)?;
        let listener = self.find(task, addr)?;
        let server = Self::with(Common {
            options: listener.common.options.duplicate(),
            ..Common::with_owner(self.common.owner, AF_UNIX, self.common.kind, 0)
        });
        let own_address = self.address();
        let mut state = listener.state.lock();
        let address = state.binding.as_ref().map(|b| b.address.clone());
        let shut = state.shut.read || state.closed;
        let Role::Listening { backlog, waiting, cred } = &mut state.role else {
            return Err(Errno::ECONNREFUSED);
        };
        if shut {
            return Err(Errno::ECONNREFUSED);
        }
        if waiting.len() > *backlog {
            state.block(&self.me);
            return Err(Errno::EAGAIN);
        }
        // Nobody else knows the new socket yet.
        *server.state.lock() = State {
            binding: address.clone().map(super::Binding::shared),
            role: Role::Connected {
                peer: self.me.clone(),
                address: own_address,
                cred: PeerCred::of(task),
            },
            ..State::default()
        };
        let cred = cred.clone();
        let peer = Arc::downgrade(&server);
        waiting.push_back(server);
        drop(state);
        let mut state = self.state.lock();
        if !matches!(state.role, Role::Idle) {
            return Err(Errno::EISCONN);
        }
        state.role = Role::Connected { peer, address, cred };
        drop(state);
        listener.tell(Events::READABLE);
        self.tell(Events::WRITABLE);
        Ok(())
    }

    /// `accept(2)`.
    pub(super) fn do_accept(&self) -> Result<Arc<Self>, Errno> {
        if !self.stream_like() {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut state = self.state.lock();
        let shut = state.shut.read;
        let Role::Listening { waiting, .. } = &mut state.role else {
            return Err(Errno::EINVAL);
        };
        let Some(socket) = waiting.pop_front() else {
            return Err(if shut { Errno::EINVAL } else { Errno::EAGAIN });
        };
        let blocked = std::mem::take(&mut state.blocked);
        drop(state);
        unblock(blocked);
        Ok(socket)
    }

    /// `shutdown(2)`.
    pub(super) fn do_shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.shut.add(how);
        let peer = state.peer().filter(|_| self.stream_like());
        let blocked = std::mem::take(&mut state.blocked);
        drop(state);
        if let Some(peer) = peer {
            peer.state.lock().shut.add(Shutdown { read: how.write, write: how.read });
            peer.tell(Events::ALL);
        }
        self.tell(Events::ALL);
        unblock(blocked);
        Ok(())
    }

    /// The last descriptor is gone, or a connection was never accepted.
    pub(super) fn do_close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.shut = Shutdown::BOTH;
        let unread = state.queue.take();
        let role = std::mem::take(&mut state.role);
        let binding = state.binding.take();
        let blocked = std::mem::take(&mut state.blocked);
        drop(state);
        if let Some(binding) = binding {
            binding.release(self.common.kind);
        }
        match role {
            Role::Idle => {}
            Role::Listening { waiting, .. } => {
                // They see a connection that was reset.
                waiting.iter().for_each(|embryo| embryo.hang_up(Some(Errno::ECONNRESET)));
                waiting.iter().for_each(|embryo| embryo.close());
            }
            Role::Connected { peer, .. } => {
                if let Some(peer) = peer.upgrade() {
                    let reset = (!unread.is_empty()).then_some(Errno::ECONNRESET);
                    if self.stream_like() {
                        peer.end(&self.me, reset);
                    } else {
                        peer.lose(&self.me);
                    }
                }
            }
        }
        drop(unread);
        unblock(blocked);
        self.tell(Events::ALL);
    }

    /// Tells the other end of a connection that it is over.
    fn hang_up(&self, error: Option<Errno>) {
        let peer = self.state.lock().peer();
        if let Some(peer) = peer {
            peer.end(&self.me, error);
        }
    }

    /// The other end has gone.
    fn end(&self, who: &Weak<Self>, error: Option<Errno>) {
        let mut state = self.state.lock();
        if !matches!(&state.role, Role::Connected { peer, .. } if peer.ptr_eq(who)) {
            return;
        }
        state.shut = Shutdown::BOTH;
        state.error = state.error.or(error);
        drop(state);
        self.tell(Events::ALL);
    }

    /// The socket that a datagram socket sends to has gone; it was told of this one.
    fn lose(&self, who: &Weak<Self>) {
        let state = self.state.lock();
        let mine = matches!(&state.role, Role::Connected { peer, .. } if peer.ptr_eq(who));
        drop(state);
        if mine {
            self.tell(Events::WRITABLE);
        }
    }
}
