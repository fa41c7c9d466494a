//! [`TimerFd`]: a timer that can be waited for (`timerfd_create(2)`).
//!
//! As in Linux a periodic timer rings once and is wound again when it is read or
//! asked: expirations are counted from the time that has passed. Lock: one for the
//! setting, taken before the executor's timers.

use crate::sync::Mutex;
use crate::time::{Clock, Deadline};
use crate::vfs::{FileCx, FileOps, IoDst};
use crate::wait::{Events, Pollable, WaitQueue};
use chitin_abi::Errno;
use chitin_executor::{Executor, TimerHandle};
use std::sync::Arc;
use std::task::{Wake, Waker};

#[derive(Default)]
struct State {
    /// When it expires next.
    next: Option<Deadline>,
    /// Nanoseconds between expirations; 0 expires once.
    interval: u64,
    /// Expirations not yet read, up to the last look at the clock.
    ticks: u64,
    handle: Option<TimerHandle>,
}

#[derive(Default)]
struct Bell(WaitQueue);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify(Events::READABLE);
    }
}

/// A timer of one clock.
pub struct TimerFd {
    clock: Clock,
    executor: Arc<Executor>,
    state: Mutex<State>,
    bell: Arc<Bell>,
}

impl State {
    /// Counts what has expired by now and winds the timer again.
    fn advance(&mut self, now: u64) {
        let Some(next) = self.next.filter(|d| d.0 <= now) else { return };
        let Some(more) = (now - next.0).checked_div(self.interval) else {
            self.ticks = 1;
            self.next = None;
            return;
        };
        self.ticks = self.ticks.saturating_add(more).saturating_add(1);
        let passed = more.saturating_add(1).saturating_mul(self.interval);
        self.next = Some(Deadline(next.0.saturating_add(passed)));
    }

    fn expired(&self, now: u64) -> bool {
        self.ticks > 0 || self.next.is_some_and(|d| d.0 <= now)
    }
}

impl TimerFd {
    /// A timer that does not run.
    #[must_use]
    pub fn new(clock: Clock, executor: Arc<Executor>) -> Self {
        Self { clock, executor, state: Mutex::default(), bell: Arc::default() }
    }

    /// The clock it goes by.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    fn wind(&self, state: &mut State) {
        let ring = |d: Deadline| self.executor.timer(d.0, Waker::from(self.bell.clone()));
        state.handle = state.next.map(ring);
    }

    /// Nanoseconds until the next expiration (0: stopped) and between expirations.
    pub fn get(&self) -> (u64, u64) {
        let mut state = self.state.lock();
        let now = Executor::now();
        if state.next.is_some_and(|d| d.0 <= now) {
            state.advance(now);
            self.wind(&mut state);
        }
        (state.next.map_or(0, |d| d.0.saturating_sub(now).max(1)), state.interval)
    }

    /// Starts it, or stops it with `None`; what [`TimerFd::get`] would have told before.
    pub fn set(&self, next: Option<Deadline>, interval: u64) -> (u64, u64) {
        let before = self.get();
        let mut state = self.state.lock();
        state.handle = None;
        (state.next, state.interval, state.ticks) = (next, interval, 0);
        self.wind(&mut state);
        before
    }

    fn take(&self) -> Result<u64, Errno> {
        let mut state = self.state.lock();
        let now = Executor::now();
        if !state.expired(now) {
            return Err(Errno::EAGAIN);
        }
        state.advance(now);
        self.wind(&mut state);
        Ok(std::mem::take(&mut state.ticks))
    }
}

impl FileOps for TimerFd {
    fn takes_splice(&self) -> bool {
        false
    }

    fn read(&self, _cx: FileCx<'_>, dst: &mut IoDst<'_>, _pos: u64) -> Result<usize, Errno> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let n = self.take()?;
        match dst.put(&n.to_ne_bytes())? {
            8 => Ok(8),
            _ => Err(Errno::EFAULT),
        }
    }

    fn pollable(&self) -> Option<&dyn Pollable> {
        Some(self)
    }
}

impl Pollable for TimerFd {
    fn readiness(&self) -> Events {
        let expired = self.state.lock().expired(Executor::now());
        if expired { Events::IN } else { Events::NONE }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.bell.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_periodic_timer_counts_every_period() {
        let mut s = State { next: Some(Deadline(100)), interval: 10, ..State::default() };
        s.advance(99);
        assert_eq!((s.ticks, s.next), (0, Some(Deadline(100))));
        s.advance(100);
        assert_eq!((s.ticks, s.next), (1, Some(Deadline(110))));
        s.advance(139);
        assert_eq!((s.ticks, s.next), (4, Some(Deadline(140))));
    }

    #[test]
    fn a_single_timer_expires_once() {
        let mut s = State { next: Some(Deadline(100)), ..State::default() };
        assert!(s.expired(100));
        s.advance(1000);
        assert_eq!((s.ticks, s.next), (1, None));
        s.advance(2000);
        assert_eq!(s.ticks, 1);
    }
}
