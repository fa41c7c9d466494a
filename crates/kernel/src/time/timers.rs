//! Timers that send signals: `setitimer(2)` and `timer_create(2)`.
//!
//! A [`Timer`] waits on the executor for its next expiry and then sends its signal. As
//! in Linux it goes on only when that signal is taken from its queue, so that a blocked
//! signal costs nothing, and the expiries in between are its overrun. CPU clocks cannot
//! wake anybody: they are looked at when the time that is left can have been used up.
//!
//! Locks: one per timer, inside those of signals; one per process for the set of timers,
//! outside.

use crate::kernel::Kernel;
use crate::signal::{Charge, Sent, SigInfo, Source, send_timer_to_process, send_timer_to_task};
use crate::sync::Mutex;
use crate::task::{Process, Task};
use chitin_abi::Errno;
use chitin_abi::signal::{SIGALRM, SIGPROF, SIGVTALRM};
use chitin_executor::{Executor, TimerHandle};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

/// Shortest time between two expiries whose signal is ignored, in nanoseconds.
const IGNORED_MIN: u64 = 1_000_000;
/// Times between two looks at a CPU clock that stands still, in nanoseconds.
const CPU_LOOK_MIN: u64 = 1_000_000;
const CPU_LOOK_MAX: u64 = 64_000_000;
/// Most timers of a process, besides `RLIMIT_SIGPENDING`.
const TIMERS_MAX: usize = 1 << 14;

/// What a timer counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimerClock {
    /// `CLOCK_MONOTONIC`, and `CLOCK_BOOTTIME` as long as the host does not sleep.
    Monotonic,
    /// `CLOCK_REALTIME`.
    Realtime,
    /// CPU time of the process.
    Cpu,
    /// What of it the process spent in user mode.
    User,
}

/// Who gets the signal.
#[derive(Debug)]
pub enum TimerTarget {
    /// Nobody (`SIGEV_NONE`).
    Nobody,
    /// Any thread of the process.
    Process,
    /// One thread (`SIGEV_THREAD_ID`).
    Task(Weak<Task>),
}

/// Time to the next expiry and between expiries, in nanoseconds; 0 is never.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TimerSetting {
    /// To the next expiry.
    pub value: u64,
    /// From then on.
    pub interval: u64,
}

/// What restarts an interval timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// `setitimer(2)`: at most one signal is pending, and nobody asks for overruns.
    Interval,
    /// `timer_create(2)`.
    Posix,
}

#[derive(Default)]
struct State {
    /// Next expiry on the timer's clock.
    deadline: Option<u64>,
    interval: u64,
    /// The setting that the signal in the queue belongs to.
    queued: Option<u64>,
    /// Changes with every setting.
    generation: u64,
    /// Expiries that nobody has been told of, and those told of last.
    missed: u64,
    last_overrun: i32,
    wait: Option<TimerHandle>,
    /// Last look at a CPU clock: its value, and the time until the next look.
    cpu_look: (u64, u64),
}

/// A timer of a process.
pub struct Timer {
    me: Weak<Timer>,
    kernel: Weak<Kernel>,
    process: Weak<Process>,
    clock: TimerClock,
    kind: Kind,
    target: TimerTarget,
    info: SigInfo,
    state: Mutex<State>,
    _charge: Option<Charge>,
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timer").field("clock", &self.clock).field("info", &self.info).finish()
    }
}

/// Wakes a timer for one of its settings.
struct Expiry {
    timer: Weak<Timer>,
    generation: u64,
}

impl Wake for Expiry {
    fn wake(self: Arc<Self>) {
        if let Some(timer) = self.timer.upgrade() {
            timer.expire(self.generation);
        }
    }
}

/// The first expiry after `now`, and how many there were up to then; `interval` is not 0.
fn forward(deadline: u64, interval: u64, now: u64) -> (u64, u64) {
    if deadline > now {
        return (deadline, 0);
    }
    let passed = (now - deadline) / interval + 1;
    (deadline.saturating_add(passed.saturating_mul(interval)), passed)
}

fn clamp(overrun: u64) -> i32 {
    i32::try_from(overrun).unwrap_or(i32::MAX)
}

impl Timer {
    fn now(&self) -> u64 {
        match self.clock {
            TimerClock::Monotonic => chitin_hostsys::clock::monotonic(),
            TimerClock::Realtime => chitin_hostsys::clock::realtime_nanos(),
            TimerClock::Cpu => self.process.upgrade().map_or(0, |p| p.cpu_time()),
            TimerClock::User => self.process.upgrade().map_or(0, |p| p.cpu_times().0),
        }
    }

    /// Waits for the next expiry, at least for `least` nanoseconds.
    fn arm(&self, state: &mut State, least: u64) {
        state.wait = None;
        let (Some(deadline), Some(kernel)) = (state.deadline, self.kernel.upgrade()) else {
            return;
        };
        if matches!(self.target, TimerTarget::Nobody) {
            return;
        }
        let now = self.now();
        let mut left = deadline.saturating_sub(now).max(least);
        if matches!(self.clock, TimerClock::Cpu | TimerClock::User) {
            left = cpu_look(&mut state.cpu_look, now, left, kernel.cpus);
        }
        let at = Executor::now().saturating_add(left);
        let expiry = Expiry { timer: self.me.clone(), generation: state.generation };
        state.wait = Some(kernel.executor.timer(at, Waker::from(Arc::new(expiry))));
    }

    /// The time may have come.
    fn expire(&self, generation: u64) {
        {
            let mut state = self.state.lock();
            let due = state.deadline.filter(|_| state.generation == generation);
            let Some(deadline) = due else { return };
            if deadline > self.now() {
                return self.arm(&mut state, 0);
            }
            state.wait = None;
            state.queued = Some(generation);
            if state.interval == 0 {
                state.deadline = None;
            }
        }
        if self.send() == Sent::Ignored {
            let mut state = self.state.lock();
            if state.generation == generation {
                state.queued = None;
                let passed = self.restart(&mut state, IGNORED_MIN);
                state.missed = state.missed.saturating_add(passed);
            }
        }
    }

    fn send(&self) -> Sent {
        let source: Weak<dyn Source> = self.me.clone();
        let Some(process) = self.process.upgrade() else { return Sent::Ignored };
        match &self.target {
            TimerTarget::Nobody => Sent::Ignored,
            TimerTarget::Process => {
                let signo = self.info.signo();
                let pending = process.signals.lock().pending.set();
                if self.kind == Kind::Interval && pending.has(signo) {
                    return Sent::Ignored;
                }
                send_timer_to_process(&process, self.info, source)
            }
            TimerTarget::Task(task) => match task.upgrade() {
                Some(task) => send_timer_to_task(&task, self.info, source),
                None => Sent::Ignored,
            },
        }
    }

    /// Goes on to the next expiry; returns how many have passed, that which was told of
    /// included.
    fn restart(&self, state: &mut State, least: u64) -> u64 {
        let Some(deadline) = state.deadline.filter(|_| state.interval != 0) else { return 0 };
        let (next, passed) = forward(deadline, state.interval, self.now());
        state.deadline = Some(next);
        self.arm(state, least);
        passed
    }

    fn left(&self, state: &State) -> TimerSetting {
        let interval = state.interval;
        let Some(deadline) = state.deadline else {
            return TimerSetting { value: 0, interval };
        };
        let now = self.now();
        let nobody = matches!(self.target, TimerTarget::Nobody);
        let value = match deadline.checked_sub(now).filter(|&left| left > 0) {
            Some(left) => left,
            None if interval != 0 => forward(deadline, interval, now).0.saturating_sub(now),
            None if nobody => 0,
            // Not yet noticed: a timer that runs never shows 0.
            None => 1,
        };
        TimerSetting { value, interval }
    }

    /// Time to the next expiry (`timer_gettime(2)`).
    #[must_use]
    pub fn get(&self) -> TimerSetting {
        self.left(&self.state.lock())
    }

    /// Sets the timer; `absolute` tells that the value is a time of its clock. Returns
    /// the old setting. A signal that is still queued is dropped.
    pub fn set(&self, new: TimerSetting, absolute: Absolute) -> TimerSetting {
        let mut state = self.state.lock();
        let old = self.left(&state);
        state.generation += 1;
        (state.queued, state.wait) = (None, None);
        (state.missed, state.last_overrun) = (0, 0);
        (state.deadline, state.interval) = (None, 0);
        if new.value != 0 {
            state.interval = new.interval;
            state.deadline = Some(match absolute {
                Absolute::Yes => new.value,
                Absolute::No => self.now().saturating_add(new.value),
            });
            state.cpu_look = (0, 0);
            self.arm(&mut state, 0);
        }
        old
    }

    /// Expiries beyond the one whose signal was taken last (`timer_getoverrun(2)`).
    #[must_use]
    pub fn overrun(&self) -> i32 {
        self.state.lock().last_overrun
    }
}

/// Whether a setting's value is a point in time (`TIMER_ABSTIME`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Absolute {
    Yes,
    No,
}

impl Source for Timer {
    fn taken(&self, info: &mut SigInfo) -> bool {
        let mut state = self.state.lock();
        if state.queued.take() != Some(state.generation) {
            return false;
        }
        let passed = self.restart(&mut state, 0).saturating_sub(1);
        let overrun = clamp(std::mem::take(&mut state.missed).saturating_add(passed));
        state.last_overrun = overrun;
        if self.kind == Kind::Posix {
            info.set_overrun(overrun);
        }
        true
    }
}

/// How long to wait before looking at a CPU clock again: as long as all CPUs need for
/// what is left, and longer and longer while nothing is used.
pub(super) fn cpu_look(look: &mut (u64, u64), now: u64, left: u64, cpus: usize) -> u64 {
    let (before, waited) = *look;
    let cpus = u64::try_from(cpus.max(1)).unwrap_or(1);
    let needed = (left / cpus).max(CPU_LOOK_MIN);
    let idle = before == now && waited != 0;
    let wait = if idle { needed.max(waited.saturating_mul(2).min(CPU_LOOK_MAX)) } else { needed };
    *look = (now, wait);
    wait
}

/// The timers of a process.
#[derive(Default, Debug)]
pub struct ProcessTimers {
    intervals: [Option<Arc<Timer>>; 3],
    posix: BTreeMap<i32, Arc<Timer>>,
    next: i32,
}

fn make(
    task: &Arc<Task>,
    (kind, clock): (Kind, TimerClock),
    target: TimerTarget,
    info: SigInfo,
    charge: Option<Charge>,
) -> Arc<Timer> {
    Arc::new_cyclic(|me| Timer {
        me: me.clone(),
        kernel: Arc::downgrade(&task.kernel),
        process: Arc::downgrade(&task.process),
        clock,
        kind,
        target,
        info,
        state: Mutex::default(),
        _charge: charge,
    })
}

impl ProcessTimers {
    /// The interval timer `which` (`ITIMER_REAL`, `ITIMER_VIRTUAL`, `ITIMER_PROF`), if it
    /// was ever set; `EINVAL` if there is none of that number.
    pub fn interval(&self, which: i32) -> Result<Option<Arc<Timer>>, Errno> {
        let slot = usize::try_from(which).ok().and_then(|i| self.intervals.get(i));
        slot.cloned().ok_or(Errno::EINVAL)
    }

    /// The same, made if it was not there.
    pub fn make_interval(&mut self, task: &Arc<Task>, which: i32) -> Result<Arc<Timer>, Errno> {
        let slot = usize::try_from(which).ok().and_then(|i| self.intervals.get_mut(i));
        let slot = slot.ok_or(Errno::EINVAL)?;
        let (clock, signo) = match which {
            0 => (TimerClock::Monotonic, SIGALRM),
            1 => (TimerClock::User, SIGVTALRM),
            _ => (TimerClock::Cpu, SIGPROF),
        };
        let new = || {
            let info = SigInfo::kernel(signo);
            make(task, (Kind::Interval, clock), TimerTarget::Process, info, None)
        };
        Ok(slot.get_or_insert_with(new).clone())
    }

    /// Makes a timer; `info` tells its signal by its number. `EAGAIN` if there are too
    /// many. Returns the number.
    pub fn create(
        &mut self,
        task: &Arc<Task>,
        clock: TimerClock,
        target: TimerTarget,
        info: impl FnOnce(i32) -> SigInfo,
        charge: Charge,
    ) -> Result<i32, Errno> {
        if self.posix.len() >= TIMERS_MAX {
            return Err(Errno::EAGAIN);
        }
        while self.posix.contains_key(&self.next) {
            self.next = self.next.checked_add(1).unwrap_or(0);
        }
        let id = self.next;
        self.next = self.next.checked_add(1).unwrap_or(0);
        let timer = make(task, (Kind::Posix, clock), target, info(id), Some(charge));
        self.posix.insert(id, timer);
        Ok(id)
    }

    /// The timer of that number, or `EINVAL`.
    pub fn get(&self, id: i32) -> Result<Arc<Timer>, Errno> {
        self.posix.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// Deletes a timer, and its signal if that is queued; `EINVAL` if there is none.
    pub fn delete(&mut self, id: i32) -> Result<(), Errno> {
        self.posix.remove(&id).map(drop).ok_or(Errno::EINVAL)
    }

    /// `execve(2)` deletes the timers of `timer_create(2)`; those of `setitimer(2)` stay.
    pub fn exec(&mut self) {
        self.posix.clear();
    }

    /// The process has ended.
    pub fn end(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiries_up_to_now_are_counted_and_the_next_is_later() {
        assert_eq!(forward(100, 10, 99), (100, 0));
        assert_eq!(forward(100, 10, 100), (110, 1));
        assert_eq!(forward(100, 10, 109), (110, 1));
        assert_eq!(forward(100, 10, 110), (120, 2));
        assert_eq!(forward(0, 1, u64::MAX - 1).0, u64::MAX);
        assert_eq!(clamp(u64::MAX), i32::MAX);
    }

    #[test]
    fn a_cpu_clock_that_stands_still_is_looked_at_less_and_less() {
        let mut look = (0, 0);
        let wait = |look: &mut (u64, u64), now| cpu_look(look, now, 4_000_000, 2);
        assert_eq!(wait(&mut look, 5), 2_000_000);
        assert_eq!(wait(&mut look, 5), 4_000_000);
        assert_eq!(wait(&mut look, 5), 8_000_000);
        for _ in 0..10 {
            wait(&mut look, 5);
        }
        assert_eq!(wait(&mut look, 5), CPU_LOOK_MAX);
        assert_eq!(wait(&mut look, 6), 2_000_000, "it goes on");
        assert_eq!(cpu_look(&mut look, 7, 1, 64), CPU_LOOK_MIN);
    }
}
