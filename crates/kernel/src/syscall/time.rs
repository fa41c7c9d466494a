//! Time: `clock_gettime(2)`, `nanosleep(2)`, `restart_syscall(2)`.

use crate::error::{Restart, SysError, SysResult};
use crate::task::{CurrentTask, RestartBlock};
use crate::time::{Clock, Deadline};
use crate::wait::{Events, WaitError, WaitQueue};
use chitin_abi::Errno;
use chitin_abi::time::*;
use chitin_usermem::{UserAddr, UserPtr};

const SECOND: u64 = 1_000_000_000;

/// A time span in nanoseconds; `EINVAL` if it is none. Saturates.
pub(crate) fn nanos(t: Timespec) -> Result<u64, Errno> {
    let sec = u64::try_from(t.tv_sec).map_err(|_| Errno::EINVAL)?;
    let nsec = u64::try_from(t.tv_nsec).ok().filter(|&n| n < SECOND).ok_or(Errno::EINVAL)?;
    Ok(sec.saturating_mul(SECOND).saturating_add(nsec))
}

/// Nanoseconds as seconds and nanoseconds.
pub(crate) fn timespec(nanos: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(nanos / SECOND).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanos % SECOND).unwrap_or(0),
    }
}

/// The deadline that a `struct timespec` argument means; null is none.
pub(crate) fn deadline_arg(
    cur: &CurrentTask,
    timeout: UserAddr,
    absolute: bool,
    realtime: bool,
) -> Result<Option<Deadline>, Errno> {
    let Some(time) = UserPtr::<Timespec>::new(timeout).read_opt(&**cur.mm())? else {
        return Ok(None);
    };
    let time = nanos(time)?;
    if !absolute {
        return Ok(Some(Deadline::after(time)));
    }
    let clock = if realtime { Clock::Realtime } else { Clock::Monotonic };
    Ok(Some(clock.deadline(time)))
}

/// CPU time of a process or thread, whose number is in the clock's
/// (`clock_getcpuclockid(3)`); `None` for clocks with fixed numbers.
fn cpu_clock(cur: &CurrentTask, clock: i32) -> Option<Result<u64, Errno>> {
    const OF_THREAD: i32 = 4;
    const USER: i32 = 1;
    /// The kinds of CPU time; 3 is a descriptor.
    const KINDS: std::ops::Range<i32> = 0..3;
    if clock >= 0 || !KINDS.contains(&(clock & 3)) {
        return None;
    }
    let (own, pids) = (cur.task(), &cur.task().kernel.pids);
    let process = match !(clock >> 3) {
        0 => Some(own.process.clone()),
        tid if clock & OF_THREAD != 0 => {
            let thread = pids.get(tid).map(|t| t.process.clone());
            thread.filter(|p| std::sync::Arc::ptr_eq(p, &own.process))
        }
        pid => pids.process(pid),
    };
    let time = |p: std::sync::Arc<crate::task::Process>| match clock & 3 {
        USER => p.cpu_times().0,
        _ => p.cpu_time(),
    };
    Some(process.map(time).ok_or(Errno::EINVAL))
}

/// `clock_gettime(2)`.
pub fn clock_gettime(cur: &mut CurrentTask, clock: i32, out: UserPtr<Timespec>) -> SysResult {
    let now = match cpu_clock(cur, clock) {
        Some(time) => time?,
        None => Clock::of(clock)?.now(cur.task()),
    };
    out.write(&**cur.mm(), &timespec(now))?;
    Ok(0)
}

/// `clock_getres(2)`.
pub fn clock_getres(cur: &mut CurrentTask, clock: i32, out: UserPtr<Timespec>) -> SysResult {
    if let Some(time) = cpu_clock(cur, clock) {
        time?;
        out.write_opt(&**cur.mm(), &timespec(1))?;
        return Ok(0);
    }
    let coarse = matches!(Clock::of(clock)?, Clock::RealtimeCoarse | Clock::MonotonicCoarse);
    let resolution = if coarse { chitin_hostsys::clock::coarse_resolution() } else { 1 };
    out.write_opt(&**cur.mm(), &timespec(resolution))?;
    Ok(0)
}

/// `clock_settime(2)`: the clocks are the host's.
pub fn clock_settime(cur: &mut CurrentTask, clock: i32, time: UserPtr<Timespec>) -> SysResult {
    if clock != CLOCK_REALTIME {
        return Err(Errno::EINVAL.into());
    }
    nanos(time.read(&**cur.mm())?)?;
    Err(Errno::EPERM.into())
}

/// `gettimeofday(2)`.
pub fn gettimeofday(
    cur: &mut CurrentTask,
    time: UserPtr<Timeval>,
    zone: UserPtr<Timezone>,
) -> SysResult {
    let now = timespec(Clock::Realtime.now(cur.task()));
    let value = Timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1000 };
    time.write_opt(&**cur.mm(), &value)?;
    zone.write_opt(&**cur.mm(), &Timezone { tz_minuteswest: 0, tz_dsttime: 0 })?;
    Ok(0)
}

/// `time(2)`.
pub fn time(cur: &mut CurrentTask, out: UserPtr<i64>) -> SysResult {
    let now = timespec(Clock::Realtime.now(cur.task())).tv_sec;
    out.write_opt(&**cur.mm(), &now)?;
    Ok(now.cast_unsigned())
}

async fn sleep(cur: &mut CurrentTask, deadline: Deadline) -> Result<(), WaitError> {
    let never = WaitQueue::new();
    let sleep = cur.block_on(&never, Events::NONE, Some(deadline), |_| Err::<(), _>(Errno::EAGAIN));
    match sleep.await {
        Err(WaitError::TimedOut) => Ok(()),
        other => other,
    }
}

/// Sleeps; on an interruption stores what is left and prepares to go on.
async fn relative_sleep(cur: &mut CurrentTask, deadline: Deadline, left: UserAddr) -> SysResult {
    match sleep(cur, deadline).await {
        Ok(()) => Ok(0),
        Err(WaitError::Interrupted) => {
            let rest = timespec(deadline.remaining());
            UserPtr::new(left).write_opt(&**cur.mm(), &rest)?;
            cur.restart_block = Some(RestartBlock::Sleep(deadline, left));
            Err(SysError::Restart(Restart::Block))
        }
        Err(e) => Err(e.into()),
    }
}

/// `nanosleep(2)`.
pub async fn nanosleep(
    cur: &mut CurrentTask,
    time: UserPtr<Timespec>,
    left: UserAddr,
) -> SysResult {
    let span = nanos(time.read(&**cur.mm())?)?;
    relative_sleep(cur, Deadline::after(span), left).await
}

/// `clock_nanosleep(2)`.
pub async fn clock_nanosleep(
    cur: &mut CurrentTask,
    clock: i32,
    flags: u32,
    time: UserPtr<Timespec>,
    left: UserAddr,
) -> SysResult {
    let known = match clock {
        CLOCK_THREAD_CPUTIME_ID
        | CLOCK_MONOTONIC_RAW
        | CLOCK_REALTIME_COARSE
        | CLOCK_MONOTONIC_COARSE => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        other => Clock::of(other)?,
    };
    let span = nanos(time.read(&**cur.mm())?)?;
    if flags & TIMER_ABSTIME == 0 {
        return relative_sleep(cur, Deadline::after(span), left).await;
    }
    match sleep(cur, known.deadline(span)).await {
        Ok(()) => Ok(0),
        Err(WaitError::Interrupted) => Err(SysError::Restart(Restart::NoHand)),
        Err(e) => Err(e.into()),
    }
}

/// `restart_syscall(2)`.
pub async fn restart_syscall(cur: &mut CurrentTask) -> SysResult {
    match cur.restart_block.take() {
        Some(RestartBlock::Sleep(deadline, left)) => relative_sleep(cur, deadline, left).await,
        Some(RestartBlock::Futex(addr, value, bits, deadline, op)) => {
            let wait = crate::futex::wait(cur, addr, value, bits, Some(deadline)).await;
            if wait == Err(SysError::Restart(Restart::Block)) {
                cur.restart_block = Some(RestartBlock::Futex(addr, value, bits, deadline, op));
            }
            wait.map(|()| 0)
        }
        Some(RestartBlock::Poll(deadline, fds, count)) => {
            super::polling::poll_until(cur, fds, count, deadline).await
        }
        None => Err(Errno::EINTR.into()),
    }
}

/// `times(2)`.
pub fn times(cur: &mut CurrentTask, out: UserPtr<Tms>) -> SysResult {
    const TICK: u64 = 10_000_000;
    let ticks = |ns: u64| i64::try_from(ns / TICK).unwrap_or(0);
    let (user, system) = cur.task().process.cpu_times();
    let children = *cur.task().process.children_usage.lock();
    let tms = Tms {
        tms_utime: ticks(user),
        tms_stime: ticks(system),
        tms_cutime: ticks(children.user),
        tms_cstime: ticks(children.system),
    };
    out.write_opt(&**cur.mm(), &tms)?;
    Ok(Clock::Monotonic.now(cur.task()) / TICK)
}
