//! Scheduling: `sched_setscheduler(2)`, `sched_setaffinity(2)`, `setpriority(2)`,
//! `ioprio_set(2)`. What is set is kept and checked as Linux checks it; the host schedules
//! as it likes.

use crate::error::SysResult;
use crate::signal::group_members;
use crate::task::{CPUS_MAX, CpuSet, CurrentTask, Scheduling, Task};
use chitin_abi::Errno;
use chitin_abi::sched::*;
use chitin_abi::task::{RLIMIT_NICE, RLIMIT_RTPRIO};
use chitin_abi::time::Timespec;
use chitin_abi::{Pod, slice_as_bytes, slice_as_bytes_mut};
use chitin_usermem::{UserAddr, UserMemory, UserPtr};
use std::sync::Arc;

/// Length of the structure, in bytes.
#[allow(clippy::cast_possible_truncation)]
const SIZE: u32 = size_of::<SchedAttr>() as u32;

const CAP_SYS_NICE: u32 = 23;
const CAP_SYS_ADMIN: u32 = 21;
/// Time slices of `SCHED_RR` and of the other policies, in nanoseconds.
const RR_SLICE: i64 = 100_000_000;
const SLICE: i64 = 3_000_000;

fn find(cur: &CurrentTask, pid: i32) -> Result<Arc<Task>, Errno> {
    match pid {
        0 => Ok(cur.task().clone()),
        pid => cur.task().kernel.pids.get(pid).ok_or(Errno::ESRCH),
    }
}

/// Whether the caller may change what another thread has asked for.
fn may_change(cur: &CurrentTask, task: &Task) -> bool {
    let (own, other) = (cur.task().cred(), task.cred());
    own.has_cap(CAP_SYS_NICE) || [other.uid, other.euid].contains(&own.euid)
}

/// The lowest nice value that a thread may give itself.
fn nice_floor(task: &Task) -> i32 {
    let limit = i32::try_from(task.process.limit(RLIMIT_NICE).min(40)).unwrap_or(40);
    20 - limit
}

/// Threads by process, process group or user, as three families of calls name them.
fn chosen(cur: &CurrentTask, kind: i32, who: i32) -> Result<Vec<Arc<Task>>, Errno> {
    let kernel = &cur.task().kernel;
    match kind {
        PRIO_PROCESS => Ok(vec![find(cur, who)?]),
        PRIO_PGRP => {
            let group = if who == 0 { cur.task().process.group().0 } else { who };
            Ok(group_members(kernel, group).iter().flat_map(|p| p.tasks()).collect())
        }
        PRIO_USER => {
            let uid = if who == 0 { cur.task().cred().uid } else { who.cast_unsigned() };
            let all = kernel.pids.processes();
            Ok(all.iter().flat_map(|p| p.tasks()).filter(|t| t.cred().uid == uid).collect())
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `getpriority(2)`: the highest, as 20 minus nice.
pub fn getpriority(cur: &mut CurrentTask, which: i32, who: i32) -> SysResult {
    let tasks = chosen(cur, which, who)?;
    let highest = tasks.iter().map(|t| 20 - t.scheduling.lock().nice).max();
    Ok(u64::try_from(highest.ok_or(Errno::ESRCH)?).unwrap_or(0))
}

/// `setpriority(2)`.
pub fn setpriority(cur: &mut CurrentTask, which: i32, who: i32, nice: i32) -> SysResult {
    let nice = nice.clamp(-20, 19);
    let mut result = Err(Errno::ESRCH);
    for task in chosen(cur, which, who)? {
        let lower = nice < task.scheduling.lock().nice;
        if !may_change(cur, &task) {
            result = Err(Errno::EPERM);
        } else if lower && nice < nice_floor(&task) && !cur.task().cred().has_cap(CAP_SYS_NICE) {
            result = Err(Errno::EACCES);
        } else {
            task.scheduling.lock().nice = nice;
            result = result.or_else(|e| if e == Errno::ESRCH { Ok(0) } else { Err(e) });
        }
    }
    Ok(result?)
}

/// Lowest and highest priority of a policy.
fn range(policy: i32) -> Result<(i32, i32), Errno> {
    match policy {
        SCHED_FIFO | SCHED_RR => Ok((1, 99)),
        SCHED_OTHER | SCHED_BATCH | SCHED_IDLE | SCHED_DEADLINE => Ok((0, 0)),
        _ => Err(Errno::EINVAL),
    }
}

/// `sched_get_priority_max(2)`.
pub fn sched_get_priority_max(_cur: &mut CurrentTask, policy: i32) -> SysResult {
    Ok(u64::from(range(policy)?.1.cast_unsigned()))
}

/// `sched_get_priority_min(2)`.
pub fn sched_get_priority_min(_cur: &mut CurrentTask, policy: i32) -> SysResult {
    Ok(u64::from(range(policy)?.0.cast_unsigned()))
}

/// Gives a thread a policy.
fn change(cur: &CurrentTask, task: &Task, new: Scheduling) -> Result<(), Errno> {
    let (low, high) = range(new.policy)?;
    if new.policy == SCHED_DEADLINE {
        // It promises what nobody here can keep.
        cur.task().kernel.gap("SCHED_DEADLINE");
        return Err(Errno::EPERM);
    }
    if !(low..=high).contains(&new.priority) {
        return Err(Errno::EINVAL);
    }
    if !cur.task().cred().has_cap(CAP_SYS_NICE) {
        let old = *task.scheduling.lock();
        let limit = task.process.limit(RLIMIT_RTPRIO);
        let allowed = |priority: i32| u64::try_from(priority).is_ok_and(|p| p <= limit);
        let real_time = new.priority > 0;
        let refused = (real_time && new.policy != old.policy && limit == 0)
            || (real_time && new.priority > old.priority && !allowed(new.priority))
            || (old.policy == SCHED_IDLE
                && new.policy != SCHED_IDLE
                && old.nice < nice_floor(task))
            || (new.nice < old.nice && new.nice < nice_floor(task))
            || (old.reset_on_fork && !new.reset_on_fork)
            || !may_change(cur, task);
        if refused {
            return Err(Errno::EPERM);
        }
    }
    *task.scheduling.lock() = new;
    Ok(())
}

/// `sched_setscheduler(2)`.
pub fn sched_setscheduler(
    cur: &mut CurrentTask,
    pid: i32,
    policy: i32,
    param: UserPtr<i32>,
) -> SysResult {
    if policy < 0 {
        return Err(Errno::EINVAL.into());
    }
    let reset_on_fork = policy & SCHED_RESET_ON_FORK != 0;
    set_policy(cur, pid, param, |_| (policy & !SCHED_RESET_ON_FORK, reset_on_fork))
}

/// `sched_setparam(2)`.
pub fn sched_setparam(cur: &mut CurrentTask, pid: i32, param: UserPtr<i32>) -> SysResult {
    set_policy(cur, pid, param, |old| (old.policy, old.reset_on_fork))
}

fn set_policy(
    cur: &CurrentTask,
    pid: i32,
    param: UserPtr<i32>,
    policy: impl Fn(&Scheduling) -> (i32, bool),
) -> SysResult {
    if pid < 0 || param.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let priority = param.read(&**cur.mm())?;
    let task = find(cur, pid)?;
    let old = *task.scheduling.lock();
    let (policy, reset_on_fork) = policy(&old);
    change(cur, &task, Scheduling { policy, priority, reset_on_fork, ..old })?;
    Ok(0)
}

/// `sched_getscheduler(2)`.
pub fn sched_getscheduler(cur: &mut CurrentTask, pid: i32) -> SysResult {
    if pid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let policy = find(cur, pid)?.scheduling.lock().told_policy();
    Ok(u64::from(policy.cast_unsigned()))
}

/// `sched_getparam(2)`.
pub fn sched_getparam(cur: &mut CurrentTask, pid: i32, out: UserPtr<i32>) -> SysResult {
    if pid < 0 || out.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let priority = find(cur, pid)?.scheduling.lock().priority;
    out.write(&**cur.mm(), &priority)?;
    Ok(0)
}

/// `sched_rr_get_interval(2)`.
pub fn sched_rr_get_interval(cur: &mut CurrentTask, pid: i32, out: UserPtr<Timespec>) -> SysResult {
    if pid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let tv_nsec = match find(cur, pid)?.scheduling.lock().policy {
        SCHED_FIFO => 0,
        SCHED_RR => RR_SLICE,
        _ => SLICE,
    };
    out.write(&**cur.mm(), &Timespec { tv_sec: 0, tv_nsec })?;
    Ok(0)
}

/// `sched_setattr(2)`.
pub fn sched_setattr(
    cur: &mut CurrentTask,
    pid: i32,
    attr: UserPtr<SchedAttr>,
    flags: u32,
) -> SysResult {
    const PAGE: u32 = 4096;
    const KNOWN: u64 = SCHED_FLAG_RESET_ON_FORK
        | SCHED_FLAG_RECLAIM
        | SCHED_FLAG_DL_OVERRUN
        | SCHED_FLAG_KEEP_POLICY
        | SCHED_FLAG_KEEP_PARAMS;
    if attr.is_null() || pid < 0 || flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let size = UserPtr::<u32>::new(attr.addr()).read(&**cur.mm())?;
    if size != 0 && !(SIZE..=PAGE).contains(&size) {
        UserPtr::<u32>::new(attr.addr()).write(&**cur.mm(), &SIZE)?;
        return Err(Errno::E2BIG.into());
    }
    let new = attr.read(&**cur.mm())?;
    let mut rest = vec![0_u8; size.saturating_sub(SIZE) as usize];
    cur.mm().read(attr.addr().offset(u64::from(SIZE))?, &mut rest)?;
    if rest.iter().any(|&b| b != 0) {
        return Err(Errno::E2BIG.into());
    }
    if new.flags & !KNOWN != 0 {
        return Err(Errno::EINVAL.into());
    }
    let policy = i32::try_from(new.policy).map_err(|_| Errno::EINVAL)?;
    let task = find(cur, pid)?;
    let mut wanted = *task.scheduling.lock();
    wanted.reset_on_fork = new.flags & SCHED_FLAG_RESET_ON_FORK != 0;
    if new.flags & SCHED_FLAG_KEEP_POLICY == 0 {
        wanted.policy = policy;
    }
    if new.flags & SCHED_FLAG_KEEP_PARAMS == 0 {
        wanted.priority = i32::try_from(new.priority).map_err(|_| Errno::EINVAL)?;
        if [SCHED_OTHER, SCHED_BATCH].contains(&wanted.policy) {
            wanted.nice = new.nice.clamp(-20, 19);
        }
    }
    change(cur, &task, wanted)?;
    Ok(0)
}

/// `sched_getattr(2)`.
pub fn sched_getattr(
    cur: &mut CurrentTask,
    pid: i32,
    out: UserPtr<SchedAttr>,
    size: u32,
    flags: u32,
) -> SysResult {
    if out.is_null() || pid < 0 || flags != 0 || !(SIZE..=4096).contains(&size) {
        return Err(Errno::EINVAL.into());
    }
    let s = *find(cur, pid)?.scheduling.lock();
    let mut attr = SchedAttr::zeroed();
    (attr.size, attr.policy) = (SIZE, s.policy.cast_unsigned());
    attr.flags = if s.reset_on_fork { SCHED_FLAG_RESET_ON_FORK } else { 0 };
    if s.priority > 0 {
        attr.priority = s.priority.cast_unsigned();
    } else {
        attr.nice = s.nice;
    }
    out.write(&**cur.mm(), &attr)?;
    Ok(0)
}

/// `sched_getaffinity(2)`.
pub fn sched_getaffinity(
    cur: &mut CurrentTask,
    pid: i32,
    size: usize,
    mask: UserAddr,
) -> SysResult {
    let cpus = cur.task().kernel.cpus;
    if size.saturating_mul(8) < cpus || !size.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    let set = find(cur, pid)?.scheduling.lock().affinity.unwrap_or(CpuSet::first(cpus));
    let words = cpus.div_ceil(64).max(1);
    let set = set.0.get(..words).unwrap_or_default();
    cur.mm().write(mask, slice_as_bytes(set))?;
    Ok(words as u64 * 8)
}

/// `sched_setaffinity(2)`.
pub fn sched_setaffinity(
    cur: &mut CurrentTask,
    pid: i32,
    size: usize,
    mask: UserAddr,
) -> SysResult {
    let mut set = CpuSet([0; CPUS_MAX / 64]);
    let bytes = slice_as_bytes_mut(&mut set.0);
    let len = size.min(bytes.len());
    cur.mm().read(mask, bytes.get_mut(..len).unwrap_or_default())?;
    let task = find(cur, pid)?;
    if !may_change(cur, &task) {
        return Err(Errno::EPERM.into());
    }
    let set = set.and(CpuSet::first(cur.task().kernel.cpus));
    if set.is_empty() {
        return Err(Errno::EINVAL.into());
    }
    task.scheduling.lock().affinity = Some(set);
    Ok(0)
}

/// `ioprio_set(2)` numbers its kinds from 1.
fn io_chosen(cur: &CurrentTask, which: i32, who: i32) -> Result<Vec<Arc<Task>>, Errno> {
    match which {
        IOPRIO_WHO_PROCESS => chosen(cur, PRIO_PROCESS, who),
        IOPRIO_WHO_PGRP => chosen(cur, PRIO_PGRP, who),
        IOPRIO_WHO_USER => chosen(cur, PRIO_USER, who),
        _ => Err(Errno::EINVAL),
    }
}

/// Whether the caller may use this priority of input and output.
pub(super) fn check_io_priority(cur: &CurrentTask, priority: i32) -> Result<(), Errno> {
    let (class, level) = (priority >> 13, priority & 0x1fff);
    match class {
        IOPRIO_CLASS_RT if !cur.task().cred().has_cap(CAP_SYS_ADMIN) => Err(Errno::EPERM),
        IOPRIO_CLASS_RT | IOPRIO_CLASS_BE if level < 8 => Ok(()),
        IOPRIO_CLASS_IDLE => Ok(()),
        IOPRIO_CLASS_NONE if level == 0 => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

/// `ioprio_set(2)`.
pub fn ioprio_set(cur: &mut CurrentTask, which: i32, who: i32, priority: i32) -> SysResult {
    check_io_priority(cur, priority)?;
    let tasks = io_chosen(cur, which, who)?;
    if tasks.is_empty() {
        return Err(Errno::ESRCH.into());
    }
    for task in tasks {
        if !may_change(cur, &task) {
            return Err(Errno::EPERM.into());
        }
        task.scheduling.lock().io_priority = priority;
    }
    Ok(0)
}

/// `ioprio_get(2)`: the best, whose number is the lowest; 0 for one that was not set.
pub fn ioprio_get(cur: &mut CurrentTask, which: i32, who: i32) -> SysResult {
    let tasks = io_chosen(cur, which, who)?;
    let best = tasks.iter().map(|t| t.scheduling.lock().io_priority).min();
    Ok(u64::from(best.ok_or(Errno::ESRCH)?.cast_unsigned()))
}
