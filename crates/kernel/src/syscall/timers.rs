//! Timers that send signals: `setitimer(2)`, `alarm(2)`, `timer_create(2)` and what
//! belongs to them.

use crate::error::SysResult;
use crate::signal::{SigInfo, valid};
use crate::task::CurrentTask;
use crate::time::timers::{Absolute, TimerClock, TimerSetting, TimerTarget};
use chitin_abi::Errno;
use chitin_abi::signal::SIGALRM;
use chitin_abi::task::RLIMIT_SIGPENDING;
use chitin_abi::time::*;
use chitin_usermem::UserPtr;
use std::sync::Arc;

const SECOND: u64 = 1_000_000_000;
/// More seconds than a timer can wait, as in Linux (`KTIME_SEC_MAX`).
const SECONDS_MAX: u64 = u64::MAX / 2 / SECOND;

fn from_timeval(t: Timeval) -> Result<u64, Errno> {
    let sec = u64::try_from(t.tv_sec).map_err(|_| Errno::EINVAL)?;
    let usec = u64::try_from(t.tv_usec).ok().filter(|&u| u < 1_000_000).ok_or(Errno::EINVAL)?;
    Ok(sec.min(SECONDS_MAX) * SECOND + usec * 1000)
}

fn from_timespec(t: Timespec) -> Result<u64, Errno> {
    let sec = u64::try_from(t.tv_sec).map_err(|_| Errno::EINVAL)?;
    let nsec = u64::try_from(t.tv_nsec).ok().filter(|&n| n < SECOND).ok_or(Errno::EINVAL)?;
    Ok(sec.min(SECONDS_MAX) * SECOND + nsec)
}

fn to_timeval(nanos: u64) -> Timeval {
    // A timer that runs never shows 0.
    let micros = if nanos == 0 { 0 } else { (nanos / 1000).max(1) };
    Timeval {
        tv_sec: (micros / 1_000_000).cast_signed(),
        tv_usec: (micros % 1_000_000).cast_signed(),
    }
}

fn to_timespec(nanos: u64) -> Timespec {
    Timespec { tv_sec: (nanos / SECOND).cast_signed(), tv_nsec: (nanos % SECOND).cast_signed() }
}

fn to_itimerval(s: TimerSetting) -> Itimerval {
    Itimerval { it_interval: to_timeval(s.interval), it_value: to_timeval(s.value) }
}

fn to_itimerspec(s: TimerSetting) -> Itimerspec {
    Itimerspec { it_interval: to_timespec(s.interval), it_value: to_timespec(s.value) }
}

/// Says that CPU clocks stand still where the platform cannot read them.
fn check_cpu_clock(cur: &CurrentTask, clock: TimerClock) {
    if clock == TimerClock::Cpu && cur.mm().space().cpu_time().is_none() {
        cur.task().kernel.gap("timers of CPU time: the platform cannot tell it, they never expire");
    }
}

fn set_interval(
    cur: &mut CurrentTask,
    which: i32,
    new: TimerSetting,
) -> Result<TimerSetting, Errno> {
    if which != ITIMER_REAL && new.value != 0 {
        check_cpu_clock(cur, TimerClock::Cpu);
    }
    let task = cur.task();
    let timer = {
        let mut timers = task.process.timers.lock();
        match timers.interval(which)? {
            None if new.value == 0 => return Ok(TimerSetting::default()),
            _ => timers.make_interval(task, which)?,
        }
    };
    Ok(timer.set(new, Absolute::No))
}

/// `setitimer(2)`. As in Linux a null value is that of a stopped timer.
pub fn setitimer(
    cur: &mut CurrentTask,
    which: i32,
    new: UserPtr<Itimerval>,
    old: UserPtr<Itimerval>,
) -> SysResult {
    let setting = match new.read_opt(&**cur.mm())? {
        Some(t) => {
            let value = from_timeval(t.it_value)?;
            TimerSetting { value, interval: from_timeval(t.it_interval)? }
        }
        None => TimerSetting::default(),
    };
    let before = set_interval(cur, which, setting)?;
    old.write_opt(&**cur.mm(), &to_itimerval(before))?;
    Ok(0)
}

/// `getitimer(2)`.
pub fn getitimer(cur: &mut CurrentTask, which: i32, out: UserPtr<Itimerval>) -> SysResult {
    let timer = cur.task().process.timers.lock().interval(which)?;
    let setting = timer.map(|t| t.get()).unwrap_or_default();
    out.write(&**cur.mm(), &to_itimerval(setting))?;
    Ok(0)
}

/// `alarm(2)`: returns the seconds that were left, rounded, but not down to 0.
pub fn alarm(cur: &mut CurrentTask, seconds: u32) -> SysResult {
    let new = TimerSetting { value: u64::from(seconds) * SECOND, interval: 0 };
    let before = set_interval(cur, ITIMER_REAL, new)?.value;
    let (sec, rest) = (before / SECOND, before % SECOND);
    let up = rest >= SECOND / 2 || (sec == 0 && rest > 0);
    Ok(sec + u64::from(up))
}

fn timer_clock(clock: i32) -> Result<TimerClock, Errno> {
    match clock {
        CLOCK_REALTIME | CLOCK_TAI => Ok(TimerClock::Realtime),
        CLOCK_MONOTONIC | CLOCK_BOOTTIME => Ok(TimerClock::Monotonic),
        CLOCK_PROCESS_CPUTIME_ID | CLOCK_THREAD_CPUTIME_ID => Ok(TimerClock::Cpu),
        // There is no real-time clock to wake the system.
        CLOCK_MONOTONIC_RAW
        | CLOCK_REALTIME_COARSE
        | CLOCK_MONOTONIC_COARSE
        | CLOCK_REALTIME_ALARM
        | CLOCK_BOOTTIME_ALARM => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::EINVAL),
    }
}

fn timer_target(cur: &CurrentTask, event: &Sigevent) -> Result<TimerTarget, Errno> {
    let target = match event.sigev_notify {
        SIGEV_NONE => return Ok(TimerTarget::Nobody),
        SIGEV_SIGNAL | SIGEV_THREAD => TimerTarget::Process,
        SIGEV_THREAD_ID => {
            let task = cur.task().kernel.pids.get(event.sigev_tid).ok_or(Errno::EINVAL)?;
            if !Arc::ptr_eq(&task.process, &cur.task().process) {
                return Err(Errno::EINVAL);
            }
            TimerTarget::Task(Arc::downgrade(&task))
        }
        _ => return Err(Errno::EINVAL),
    };
    if valid(event.sigev_signo) { Ok(target) } else { Err(Errno::EINVAL) }
}

/// `timer_create(2)`.
pub fn timer_create(
    cur: &mut CurrentTask,
    clock: i32,
    event: UserPtr<Sigevent>,
    id: UserPtr<i32>,
) -> SysResult {
    let event = event.read_opt(&**cur.mm())?;
    let clock = timer_clock(clock)?;
    check_cpu_clock(cur, clock);
    let task = cur.task().clone();
    let limit = task.process.limit(RLIMIT_SIGPENDING);
    let charge = task.kernel.signal_counts.charge(task.cred.read().uid, limit);
    let charge = charge.ok_or(Errno::EAGAIN)?;
    let target = match &event {
        Some(event) => timer_target(cur, event)?,
        None => TimerTarget::Process,
    };
    let info = |id: i32| match &event {
        Some(e) => SigInfo::timer(e.sigev_signo, id, e.sigev_value),
        None => SigInfo::timer(SIGALRM, id, u64::from(id.cast_unsigned())),
    };
    let made = task.process.timers.lock().create(&task, clock, target, info, charge)?;
    let stored = id.write(&**cur.mm(), &made);
    if stored.is_err() {
        task.process.timers.lock().delete(made)?;
    }
    stored?;
    Ok(0)
}

/// `timer_settime(2)`. Linux knows no other flag than `TIMER_ABSTIME` and ignores others.
pub fn timer_settime(
    cur: &mut CurrentTask,
    id: i32,
    flags: u32,
    new: UserPtr<Itimerspec>,
    old: UserPtr<Itimerspec>,
) -> SysResult {
    if new.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let new = new.read(&**cur.mm())?;
    let interval = from_timespec(new.it_interval)?;
    let setting = TimerSetting { value: from_timespec(new.it_value)?, interval };
    let timer = cur.task().process.timers.lock().get(id)?;
    let absolute = if flags & TIMER_ABSTIME != 0 { Absolute::Yes } else { Absolute::No };
    let before = timer.set(setting, absolute);
    old.write_opt(&**cur.mm(), &to_itimerspec(before))?;
    Ok(0)
}

/// `timer_gettime(2)`.
pub fn timer_gettime(cur: &mut CurrentTask, id: i32, out: UserPtr<Itimerspec>) -> SysResult {
    let setting = cur.task().process.timers.lock().get(id)?.get();
    out.write(&**cur.mm(), &to_itimerspec(setting))?;
    Ok(0)
}

/// `timer_getoverrun(2)`.
pub fn timer_getoverrun(cur: &mut CurrentTask, id: i32) -> SysResult {
    let overrun = cur.task().process.timers.lock().get(id)?.overrun();
    Ok(u64::from(overrun.cast_unsigned()))
}

/// `timer_delete(2)`.
pub fn timer_delete(cur: &mut CurrentTask, id: i32) -> SysResult {
    cur.task().process.timers.lock().delete(id)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_out_of_range_are_refused_and_long_ones_are_cut() {
        let spec = |tv_sec, tv_nsec| from_timespec(Timespec { tv_sec, tv_nsec });
        assert_eq!(spec(1, 5), Ok(SECOND + 5));
        for (sec, nsec) in [(-1, 0), (0, -1), (0, 1_000_000_000)] {
            assert_eq!(spec(sec, nsec), Err(Errno::EINVAL));
        }
        assert!(spec(i64::MAX, 0).is_ok());
        let val = |tv_sec, tv_usec| from_timeval(Timeval { tv_sec, tv_usec });
        assert_eq!(val(1, 5), Ok(SECOND + 5000));
        assert_eq!(val(0, 1_000_000), Err(Errno::EINVAL));
        assert_eq!(to_timeval(1), Timeval { tv_sec: 0, tv_usec: 1 });
        assert_eq!(to_timeval(0), Timeval::default());
    }
}
