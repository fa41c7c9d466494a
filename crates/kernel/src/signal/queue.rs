//! Pending signals ([`Pending`]) and how many of them a user may have.
//!
//! Standard signals are pending once, real-time ones as often as they are sent, in
//! order (`signal(7)`). What is queued is charged to the receiver's user up to
//! `RLIMIT_SIGPENDING`. Locks: one for the counts of all users, a leaf; a [`Pending`]
//! is under the lock of its owner, and a [`Source`] is told under it.

use super::{SigInfo, SigSet};
use crate::sync::Mutex;
use chitin_abi::Errno;
use chitin_abi::signal::{SI_USER, SIGRTMIN};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Most queued signals of one user, whatever `RLIMIT_SIGPENDING` says.
const QUEUE_MAX: u64 = 1 << 16;
/// Users that are counted apart from each other before idle ones are forgotten.
const USERS_MAX: usize = 1024;

/// Queued signals and timers by user.
#[derive(Default, Debug)]
pub struct SignalCounts {
    users: Mutex<HashMap<u32, Arc<AtomicU64>>>,
}

/// One queued signal or timer of a user, as long as it lives.
#[derive(Debug)]
pub struct Charge(Arc<AtomicU64>);

impl Drop for Charge {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SignalCounts {
    fn counter(&self, uid: u32) -> Arc<AtomicU64> {
        let mut users = self.users.lock();
        if users.len() > USERS_MAX {
            users.retain(|_, count| Arc::strong_count(count) > 1);
        }
        users.entry(uid).or_default().clone()
    }

    /// Charges one to a user; `None` if it has `limit` already.
    #[must_use]
    pub fn charge(&self, uid: u32, limit: u64) -> Option<Charge> {
        let charge = Charge(self.counter(uid));
        let before = charge.0.fetch_add(1, Ordering::Relaxed);
        // A refused charge is taken back by its drop.
        (before < limit.min(QUEUE_MAX)).then_some(charge)
    }

    /// How many a user has (`SigQ` of `/proc/PID/status`).
    #[must_use]
    pub fn of(&self, uid: u32) -> u64 {
        self.users.lock().get(&uid).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

/// Who is told that its queued signal was taken, and may complete it (timers).
pub trait Source: Send + Sync + std::fmt::Debug {
    /// The signal leaves its queue; `false` drops it, because it is out of date.
    fn taken(&self, info: &mut SigInfo) -> bool;
}

#[derive(Debug)]
struct Queued {
    info: SigInfo,
    source: Option<Weak<dyn Source>>,
    _charge: Option<Charge>,
}

/// Signals that wait to be delivered.
#[derive(Default, Debug)]
pub struct Pending {
    set: SigSet,
    queue: VecDeque<Queued>,
}

impl Pending {
    /// Which signals.
    #[must_use]
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// Adds a signal of the kernel itself, which costs nobody anything; a standard one
    /// that is there already is not added.
    pub fn push(&mut self, info: SigInfo) {
        if info.signo() >= SIGRTMIN || !self.set.has(info.signo()) {
            self.add(info, None, None);
        }
    }

    /// Adds a signal with what `charge` yields. Without a charge a standard signal
    /// stays without its cause, as does one sent by `kill(2)`; others are `EAGAIN`.
    pub fn push_charged(
        &mut self,
        info: SigInfo,
        charge: impl FnOnce() -> Option<Charge>,
    ) -> Result<(), Errno> {
        let signo = info.signo();
        if signo < SIGRTMIN && self.set.has(signo) {
            return Ok(());
        }
        let charge = charge();
        if charge.is_some() {
            self.add(info, charge, None);
        } else if signo < SIGRTMIN || info.0.si_code == SI_USER {
            self.set = self.set.with(SigSet::of(signo));
        } else {
            return Err(Errno::EAGAIN);
        }
        Ok(())
    }

    /// Adds a timer's signal, even a standard one that is there already: the timer has
    /// at most one in the queue and was charged when it was made.
    pub fn push_from(&mut self, info: SigInfo, source: Weak<dyn Source>) {
        self.add(info, None, Some(source));
    }

    fn add(&mut self, info: SigInfo, charge: Option<Charge>, source: Option<Weak<dyn Source>>) {
        self.set = self.set.with(SigSet::of(info.signo()));
        self.queue.push_back(Queued { info, source, _charge: charge });
    }

    /// Takes the next one of `wanted`.
    pub fn take(&mut self, wanted: SigSet) -> Option<SigInfo> {
        loop {
            let signo = self.set.and(wanted).next()?;
            let is_it = |q: &Queued| q.info.signo() == signo;
            let at = self.queue.iter().position(is_it);
            let queued = at.and_then(|at| self.queue.remove(at));
            if !self.queue.iter().any(is_it) {
                self.set = self.set.without(SigSet::of(signo));
            }
            // Queued without its cause.
            let Some(Queued { mut info, source, .. }) = queued else {
                return Some(SigInfo::user(signo, SI_USER, 0, 0));
            };
            let deliver = match source.map(|s| s.upgrade()) {
                Some(Some(source)) => source.taken(&mut info),
                // The timer was deleted.
                Some(None) => false,
                None => true,
            };
            if deliver {
                return Some(info);
            }
        }
    }

    /// Forgets all of `set`. Timers whose signal is forgotten go on.
    pub fn discard(&mut self, set: SigSet) {
        if self.set.and(set).is_empty() {
            return;
        }
        self.set = self.set.without(set);
        self.queue.retain(|q| {
            let keep = !set.has(q.info.signo());
            if !keep && let Some(source) = q.source.as_ref().and_then(Weak::upgrade) {
                source.taken(&mut q.info.clone());
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chitin_abi::signal::{SI_QUEUE, SIGHUP, SIGSEGV, SIGTERM, SIGUSR1};

    const ALL: SigSet = SigSet(u64::MAX);

    fn info(signo: i32, pid: i32) -> SigInfo {
        SigInfo::user(signo, SI_QUEUE, pid, 0)
    }

    fn drain(pending: &mut Pending) -> Vec<(i32, u64)> {
        std::iter::from_fn(|| pending.take(ALL)).map(|i| (i.signo(), i.0.fields[0])).collect()
    }

    #[test]
    fn standard_signals_are_pending_once_and_real_time_ones_in_order() {
        let mut pending = Pending::default();
        for (signo, pid) in [(40, 1), (SIGTERM, 2), (34, 3), (40, 4), (SIGTERM, 5), (SIGHUP, 6)] {
            pending.push(info(signo, pid));
        }
        assert_eq!(drain(&mut pending), [(SIGHUP, 6), (SIGTERM, 2), (34, 3), (40, 1), (40, 4)]);
        assert!(pending.set().is_empty());
    }

    #[test]
    fn synchronous_signals_come_first() {
        let mut pending = Pending::default();
        for signo in [SIGHUP, SIGSEGV, SIGUSR1] {
            pending.push(info(signo, 0));
        }
        let order: Vec<_> = drain(&mut pending).into_iter().map(|(signo, _)| signo).collect();
        assert_eq!(order, [SIGSEGV, SIGHUP, SIGUSR1]);
    }

    #[test]
    fn only_wanted_signals_are_taken_and_discarded_ones_are_gone() {
        let mut pending = Pending::default();
        for signo in [SIGHUP, 40, 41] {
            pending.push(info(signo, 0));
        }
        assert_eq!(pending.take(SigSet::of(41)).map(|i| i.signo()), Some(41));
        assert!(pending.take(SigSet::of(41)).is_none());
        pending.discard(SigSet::of(SIGHUP));
        assert_eq!(pending.set(), SigSet::of(40));
    }

    #[test]
    fn the_limit_counts_what_is_queued() {
        let counts = SignalCounts::default();
        let mut pending = Pending::default();
        let push = |pending: &mut Pending, info| pending.push_charged(info, || counts.charge(7, 2));
        assert_eq!(push(&mut pending, info(40, 1)), Ok(()));
        assert_eq!(push(&mut pending, info(40, 2)), Ok(()));
        assert_eq!(push(&mut pending, info(40, 3)), Err(Errno::EAGAIN));
        assert_eq!(counts.of(7), 2);
        // A standard signal and one of kill(2) lose only their cause.
        assert_eq!(push(&mut pending, info(SIGTERM, 4)), Ok(()));
        assert_eq!(push(&mut pending, SigInfo::user(41, SI_USER, 5, 0)), Ok(()));
        assert_eq!(drain(&mut pending), [(SIGTERM, 0), (40, 1), (40, 2), (41, 0)]);
        assert_eq!(counts.of(7), 0);
    }

    #[derive(Debug)]
    struct Stamp;

    impl Source for Stamp {
        fn taken(&self, info: &mut SigInfo) -> bool {
            info.0.fields[0] = 99;
            true
        }
    }

    #[test]
    fn a_timer_queues_beside_a_pending_standard_signal_and_completes_its_own() {
        let mut pending = Pending::default();
        let timer: Arc<dyn Source> = Arc::new(Stamp);
        pending.push(info(SIGUSR1, 1));
        pending.push_from(info(SIGUSR1, 2), Arc::downgrade(&timer));
        assert_eq!(drain(&mut pending), [(SIGUSR1, 1), (SIGUSR1, 99)]);
        pending.push_from(info(SIGUSR1, 3), Arc::downgrade(&timer));
        drop(timer);
        assert_eq!(drain(&mut pending), [], "the timer is gone");
        assert!(pending.set().is_empty());
    }
}
