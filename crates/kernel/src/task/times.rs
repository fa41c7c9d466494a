//! CPU times of a process, user and system (`times(2)`, `getrusage(2)`).
//!
//! The sum is the exact clock of the host process that runs the guest. Its system part is what the
//! host's kernel took there, by the host's ticks, and what the sentry took to serve calls while the
//! guest's thread spun: one call in [`SAMPLE`] is timed and stands for them all. No locks of its own.

use super::{CurrentTask, Process};
use crate::error::SysResult;
use crate::mm::Mm;
use crate::syscall;
use chitin_executor::Executor;
use chitin_platform::Entry;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One of so many calls of a thread is timed. A power of two.
const SAMPLE: u32 = 256;
/// The longest that others are assumed to take as well, in nanoseconds.
const USUAL: u64 = 4_000;
/// CPU time of an address space below which the host's ticks say nothing, in nanoseconds.
const TICK: u64 = 4_000_000;

/// CPU time in an address space, and what of it was the host's kernel's.
fn times_in(mm: &Mm) -> Option<(u64, u64)> {
    let all = mm.space().cpu_time()?;
    let system = if all < TICK { 0 } else { mm.space().system_time().unwrap_or(0) };
    Some((all, system))
}

/// Counts a call; whether it is one of those to be timed. The thread of a call that came by a
/// trap sleeps meanwhile, and uses no time.
pub(super) fn is_sample(cur: &mut CurrentTask) -> bool {
    cur.calls = cur.calls.wrapping_add(1);
    cur.calls.is_multiple_of(SAMPLE) && cur.ctx.entry() == Entry::Patched
}

/// The same as [`syscall::dispatch`], timed but for its waits.
pub(super) async fn sampled(cur: &mut CurrentTask, nr: u64, args: [u64; 6]) -> SysResult {
    let process = cur.task().process.clone();
    let mut nanos: u64 = 0;
    let mut call = pin!(syscall::dispatch(cur, nr, args));
    let result = std::future::poll_fn(|cx| {
        let begun = Executor::now();
        let result = call.as_mut().poll(cx);
        nanos = nanos.saturating_add(Executor::now().saturating_sub(begun));
        result
    });
    let result = result.await;
    process.served.fetch_add(stands_for(nanos), Ordering::Relaxed);
    result
}

/// What a call that took so long and those around it took; a long one stands for itself only.
fn stands_for(nanos: u64) -> u64 {
    let usual = nanos.min(USUAL);
    (usual * u64::from(SAMPLE)).saturating_add(nanos - usual)
}

/// Divides `all` by a guess of its system part so that neither part is less than `told` before.
fn divide(told: (u64, u64), all: u64, system: u64) -> (u64, u64) {
    let (user_before, system_before) = told;
    let most = all.saturating_sub(user_before);
    if most < system_before {
        return told;
    }
    let system = system.clamp(system_before, most);
    (all - system, system)
}

impl Process {
    pub(super) fn mm(&self) -> Option<Arc<Mm>> {
        self.tasks().iter().find_map(|t| t.mm())
    }

    /// CPU time in user mode and in the kernel, in nanoseconds. Neither ever goes back, and both
    /// together are [`Process::cpu_time`].
    #[must_use]
    pub fn cpu_times(&self) -> (u64, u64) {
        let mut told = self.told_times.lock();
        let (all, system) = self.mm().and_then(|mm| times_in(&mm)).unwrap_or((0, 0));
        let all = self.cpu_before.load(Ordering::Relaxed).saturating_add(all);
        let system = system
            .saturating_add(self.system_before.load(Ordering::Relaxed))
            .saturating_add(self.served.load(Ordering::Relaxed));
        *told = divide(*told, all, system);
        *told
    }

    /// The process leaves an address space by `leave`, but not the time that it used there.
    pub(super) fn keep_times(&self, mm: &Mm, leave: impl FnOnce()) {
        let (all, system) = times_in(mm).unwrap_or((0, 0));
        // Nobody counts it twice.
        let _told = self.told_times.lock();
        leave();
        self.cpu_before.fetch_add(all, Ordering::Relaxed);
        self.system_before.fetch_add(system, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_divided_and_never_go_back() {
        assert_eq!(divide((0, 0), 100, 30), (70, 30));
        assert_eq!(divide((0, 0), 100, 130), (0, 100));
        assert_eq!(divide((70, 30), 110, 60), (70, 40), "user time stays");
        assert_eq!(divide((70, 30), 110, 10), (80, 30), "system time stays");
        assert_eq!(divide((70, 30), 90, 10), (70, 30), "both stay");
    }

    #[test]
    fn long_calls_stand_for_themselves() {
        assert_eq!(stands_for(10), 10 * u64::from(SAMPLE));
        assert_eq!(stands_for(USUAL + 5), USUAL * u64::from(SAMPLE) + 5);
    }
}
