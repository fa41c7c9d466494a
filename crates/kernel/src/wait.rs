//! Waiting: readiness [`Events`], [`WaitQueue`]s that announce changes of them,
//! and [`Pollable`], what can be waited for.
//!
//! A task waits only by [`crate::task::CurrentTask::block_on`]: try, register,
//! retry, sleep, interrupted? `epoll` registers a [`Listener`] instead of a waker.
//!
//! Lock: each queue has one, innermost of all; no listener is called under it.

use crate::sync::Mutex;
use chitin_abi::Errno;
use std::ops::{BitAnd, BitOr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

/// A set of `poll(2)` event bits (`POLLIN`, `POLLOUT`, …).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Events(pub u32);

#[allow(missing_docs)]
impl Events {
    pub const NONE: Self = Self(0);
    pub const IN: Self = Self(0x001);
    pub const PRI: Self = Self(0x002);
    pub const OUT: Self = Self(0x004);
    pub const ERR: Self = Self(0x008);
    pub const HUP: Self = Self(0x010);
    pub const NVAL: Self = Self(0x020);
    pub const RDNORM: Self = Self(0x040);
    pub const RDBAND: Self = Self(0x080);
    pub const WRNORM: Self = Self(0x100);
    pub const WRBAND: Self = Self(0x200);
    pub const RDHUP: Self = Self(0x2000);
    /// Everything a reader can wait for.
    pub const READABLE: Self = Self(0x041);
    /// Everything a writer can wait for.
    pub const WRITABLE: Self = Self(0x104);
    pub const ALL: Self = Self(u32::MAX);

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
    #[must_use]
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Events {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
impl std::ops::BitOrAssign for Events {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
impl BitAnd for Events {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// Something whose readiness can be asked for and waited for.
pub trait Pollable: Send + Sync {
    /// The events that hold now. Must not block.
    fn readiness(&self) -> Events;

    /// Where changes of [`Pollable::readiness`] are announced; `None` if they never
    /// change (a regular file is always ready).
    fn wait_queue(&self) -> Option<&WaitQueue>;
}

/// Gets told of events on a queue, outside any lock of the queue. Must be quick
/// and must not block.
pub trait Listener: Send + Sync {
    /// `events` may hold now; a hint.
    fn notify(&self, events: Events);

    /// Whether somebody waits who would be woken by it; asked of exclusive listeners.
    fn would_wake(&self, _events: Events) -> bool {
        true
    }
}

impl Listener for Waker {
    fn notify(&self, _events: Events) {
        self.wake_by_ref();
    }
}

/// Why a wait ended without a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitError {
    /// The operation failed.
    Errno(Errno),
    /// A signal, stop or kill is pending for the task.
    Interrupted,
    /// The deadline passed.
    TimedOut,
}

impl From<Errno> for WaitError {
    fn from(e: Errno) -> Self {
        Self::Errno(e)
    }
}

struct Entry {
    id: u64,
    interest: Events,
    exclusive: bool,
    listener: Arc<dyn Listener>,
}

/// A list of listeners. `ERR` and `HUP` are always of interest.
#[derive(Default)]
pub struct WaitQueue {
    count: AtomicUsize,
    entries: Mutex<Vec<Entry>>,
}

impl std::fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WaitQueue({})", self.count.load(Ordering::Relaxed))
    }
}

/// Whether [`WaitQueue::notify`] stops at this listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wakeup {
    /// Told of every event.
    Shared,
    /// Exclusive listeners are told of an event until one wakes somebody (`EPOLLEXCLUSIVE`).
    Exclusive,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl WaitQueue {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self { count: AtomicUsize::new(0), entries: Mutex::new(Vec::new()) }
    }

    /// Adds a listener; returns the key to [`WaitQueue::remove`] it by.
    pub fn add(&self, interest: Events, mode: Wakeup, listener: Arc<dyn Listener>) -> u64 {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let interest = interest | Events::ERR | Events::HUP;
        let mut entries = self.entries.lock();
        entries.push(Entry { id, interest, exclusive: mode == Wakeup::Exclusive, listener });
        self.count.store(entries.len(), Ordering::SeqCst);
        id
    }

    /// Removes a listener; nothing happens if it is gone.
    pub fn remove(&self, id: u64) {
        let mut entries = self.entries.lock();
        entries.retain(|e| e.id != id);
        self.count.store(entries.len(), Ordering::SeqCst);
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Tells the listeners that `events` may hold now. The caller has made the
    /// change visible before.
    pub fn notify(&self, events: Events) {
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.is_empty() {
            return;
        }
        let mut told: Vec<(bool, Arc<dyn Listener>)> = Vec::new();
        for e in self.entries.lock().iter() {
            if e.interest.intersects(events) {
                told.push((e.exclusive, e.listener.clone()));
            }
        }
        let mut woken = false;
        for (exclusive, listener) in told {
            if exclusive && woken {
                continue;
            }
            woken |= exclusive && listener.would_wake(events);
            listener.notify(events);
        }
    }
}

/// A queue alone can be waited for by things whose readiness is only known to
/// the operation that is retried.
impl Pollable for WaitQueue {
    fn readiness(&self) -> Events {
        Events::NONE
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self)
    }
}

/// Keeps a listener registered while it lives.
pub struct Registration<'a> {
    queue: &'a WaitQueue,
    id: u64,
}

impl<'a> Registration<'a> {
    /// Registers `listener`.
    pub fn new(queue: &'a WaitQueue, interest: Events, listener: Arc<dyn Listener>) -> Self {
        Self { queue, id: queue.add(interest, Wakeup::Shared, listener) }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.queue.remove(self.id);
    }
}
