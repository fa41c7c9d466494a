//! Timers: deadlines with wakers, ordered by time.

use crate::{Executor, lock};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Weak};
use std::task::Waker;

type Key = (u64, u64);

#[derive(Default)]
pub(crate) struct Timers {
    /// Wakers by (deadline, sequence number).
    wakers: Mutex<BTreeMap<Key, Waker>>,
    /// The earliest deadline, 0 if none: read without the lock.
    earliest: AtomicU64,
    sequence: AtomicU64,
}

/// Cancels its timer on drop.
pub struct TimerHandle {
    executor: Weak<Executor>,
    key: Key,
}

impl Drop for TimerHandle {
    fn drop(&mut self) {
        if let Some(executor) = self.executor.upgrade() {
            executor.timers.remove(self.key);
        }
    }
}

impl Timers {
    /// Adds a timer; tells whether it is the earliest now.
    pub(crate) fn add(
        &self,
        executor: Weak<Executor>,
        deadline: u64,
        waker: Waker,
    ) -> (TimerHandle, bool) {
        let key = (deadline, self.sequence.fetch_add(1, Ordering::Relaxed));
        let mut wakers = lock(&self.wakers);
        wakers.insert(key, waker);
        self.publish(&wakers);
        let earliest = wakers.first_key_value().is_some_and(|(k, _)| *k == key);
        (TimerHandle { executor, key }, earliest)
    }

    fn remove(&self, key: Key) {
        let mut wakers = lock(&self.wakers);
        wakers.remove(&key);
        self.publish(&wakers);
    }

    /// 0 means none, so that the default is right.
    fn publish(&self, wakers: &BTreeMap<Key, Waker>) {
        let first = wakers.first_key_value().map_or(0, |(k, _)| k.0.max(1));
        self.earliest.store(first, Ordering::SeqCst);
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<u64> {
        Some(self.earliest.load(Ordering::SeqCst)).filter(|&d| d != 0)
    }

    /// Wakes whatever is due.
    pub(crate) fn expire(&self) {
        let Some(first) = self.next() else { return };
        let time = chitin_hostsys::clock::monotonic();
        if first > time {
            return;
        }
        let due = {
            let mut wakers = lock(&self.wakers);
            let later = wakers.split_off(&(time, u64::MAX));
            let due = std::mem::replace(&mut *wakers, later);
            self.publish(&wakers);
            due
        };
        for waker in due.into_values() {
            waker.wake();
        }
    }
}
