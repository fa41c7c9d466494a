//! [`Waiter`]: a thread whose operation somebody else completes.

use crate::sync::Mutex;
use crate::wait::{Events, WaitQueue};
use chitin_abi::Errno;

/// Lock: one for the outcome, innermost.
pub struct Waiter<T> {
    outcome: Mutex<Option<Result<T, Errno>>>,
    event: WaitQueue,
}

impl<T> Default for Waiter<T> {
    fn default() -> Self {
        Self { outcome: Mutex::default(), event: WaitQueue::new() }
    }
}

impl<T> Waiter<T> {
    /// Says how its operation has ended; it is to be woken when no lock is held.
    pub fn settle(&self, outcome: Result<T, Errno>) {
        *self.outcome.lock() = Some(outcome);
    }

    /// Has it look.
    pub fn wake(&self) {
        self.event.notify(Events::ALL);
    }

    /// How the operation has ended; `None` if it has not.
    pub fn take(&self) -> Option<Result<T, Errno>> {
        self.outcome.lock().take()
    }

    /// What announces the outcome.
    pub fn event(&self) -> &WaitQueue {
        &self.event
    }
}
