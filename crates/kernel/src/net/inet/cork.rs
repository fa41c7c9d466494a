//! Corks (`TCP_CORK`, `MSG_MORE` of `tcp(7)`): what was sent behind one lies in the other end's
//! queue, and no read gives it until the cork is pulled, a segment is full, or time has passed.

use super::tcp::TcpSocket;
use crate::kernel::Kernel;
use crate::wait::Events;
use chitin_abi::socket::TCP_CORK;
use chitin_executor::{Executor, TimerHandle};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

/// Nanoseconds after which a cork gives way.
const PATIENCE: u64 = 200_000_000;
/// Bytes of a full segment on `lo`.
const SEGMENT: usize = 65_483;

/// What is held back in a queue, and what holds back in others'.
#[derive(Default)]
pub(super) struct Cork {
    /// Bytes at the end of this socket's queue that its peer holds back.
    pub(super) held: usize,
    /// `TCP_CORK`.
    pub(super) corked: bool,
    /// Until what this socket holds back is let go.
    timer: Option<TimerHandle>,
}

/// What holding bytes back has led to.
pub(super) struct Held {
    /// Nothing was held back before.
    pub(super) first: bool,
    /// There is something to read.
    pub(super) full: bool,
}

impl Cork {
    /// Holds the last `n` bytes of the queue back, too.
    pub(super) fn hold(&mut self, n: usize) -> Held {
        let (before, all) = (self.held, self.held + n);
        self.held = all % SEGMENT;
        Held { first: before == 0 && self.held > 0, full: all >= SEGMENT }
    }

    /// Holds nothing back.
    pub(super) fn release(&mut self) -> Held {
        self.held = 0;
        Held { first: false, full: true }
    }
}

/// Pulls the cork of a socket when its time has come.
struct Pull(Weak<TcpSocket>);

impl Wake for Pull {
    fn wake(self: Arc<Self>) {
        if let Some(socket) = self.0.upgrade() {
            socket.pull();
        }
    }
}

impl TcpSocket {
    /// What this socket has held back until now can be read.
    fn pull(&self) {
        let mut state = self.state.lock();
        let (timer, peer) = (state.cork.timer.take(), state.peer());
        drop(state);
        drop(timer);
        let Some(peer) = peer else { return };
        let held = std::mem::take(&mut peer.state.lock().cork.held);
        if held > 0 {
            peer.tell(Events::READABLE);
        }
    }

    /// Pulls it in a while at the latest.
    pub(super) fn pull_later(&self, kernel: &Kernel) {
        let pull = Waker::from(Arc::new(Pull(self.me.clone())));
        let timer = kernel.executor.timer(Executor::now().saturating_add(PATIENCE), pull);
        let before = self.state.lock().cork.timer.replace(timer);
        drop(before);
    }

    /// `TCP_CORK` or `TCP_NODELAY` was set or cleared.
    pub(super) fn cork_changed(&self, name: i32, on: bool) {
        let cork = name == TCP_CORK;
        if cork {
            self.state.lock().cork.corked = on;
        }
        if cork != on {
            self.pull();
        }
    }
}
