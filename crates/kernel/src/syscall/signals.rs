//! Signals: `sigaction(2)`, `sigprocmask(2)`, `kill(2)`, `sigaltstack(2)`.

use crate::error::{Restart, SysError, SysResult};
use crate::signal::{
    self, SigInfo, SigSet, UNBLOCKABLE, change_stack, default_action, may_signal, recheck,
    report_stack, try_send_to_process, try_send_to_task, valid,
};
use crate::task::{CurrentTask, Process, Task};
use crate::time::Deadline;
use crate::wait::{Events, WaitError};
use chitin_abi::Errno;
use chitin_abi::signal::*;
use chitin_abi::time::Timespec;
use chitin_usermem::{UserAddr, UserMemory, UserPtr};
use std::sync::Arc;

/// What is left of the flags, so that programs can probe for support (`SA_UNSUPPORTED`).
const SA_KNOWN: u64 = SA_NOCLDSTOP
    | SA_NOCLDWAIT
    | SA_SIGINFO
    | SA_EXPOSE_TAGBITS
    | SA_RESTORER
    | SA_ONSTACK
    | SA_RESTART
    | SA_NODEFER
    | SA_RESETHAND;

fn check_size(size: usize) -> Result<(), Errno> {
    if size == 8 { Ok(()) } else { Err(Errno::EINVAL) }
}

/// `rt_sigaction(2)`.
pub fn rt_sigaction(
    cur: &mut CurrentTask,
    signo: i32,
    new: UserPtr<Sigaction>,
    old: UserPtr<Sigaction>,
    size: usize,
) -> SysResult {
    check_size(size)?;
    let wanted = new.read_opt(&**cur.mm())?;
    if !valid(signo) || (UNBLOCKABLE.has(signo) && wanted.is_some()) {
        return Err(Errno::EINVAL.into());
    }
    let handlers = cur.task().handlers();
    let before = match wanted {
        Some(mut action) => {
            action.mask &= !UNBLOCKABLE.0;
            action.flags &= SA_KNOWN;
            let before = handlers.set(signo, action);
            let ignored = action.handler == SIG_IGN
                || action.handler == SIG_DFL
                    && default_action(signo) == signal::DefaultAction::Ignore;
            if ignored {
                // Pending ones are dropped at once, blocked or not.
                let set = SigSet::of(signo);
                cur.task().process.signals.lock().pending.discard(set);
                for task in cur.task().process.tasks() {
                    task.signals.lock().pending.discard(set);
                }
            }
            before
        }
        None => handlers.get(signo),
    };
    old.write_opt(&**cur.mm(), &before)?;
    Ok(0)
}

/// Replaces the mask of the calling thread.
pub(crate) fn set_mask(cur: &CurrentTask, mask: SigSet) {
    cur.task().signals.lock().set_mask(mask);
    recheck(cur.task());
}

/// Waits with another mask (`ppoll(2)`, `sigsuspend(2)`): the old one comes back at the
/// user boundary.
pub(crate) fn set_temporary_mask(cur: &mut CurrentTask, mask: SigSet) {
    let old = cur.task().signals.lock().mask();
    cur.saved_mask.get_or_insert(old);
    set_mask(cur, mask);
}

/// The mask that calls like `ppoll(2)` are given; null means none.
pub(crate) fn mask_arg(
    cur: &mut CurrentTask,
    mask: UserPtr<u64>,
    size: usize,
) -> Result<(), Errno> {
    if !mask.is_null() {
        check_size(size)?;
        let mask = mask.read(&**cur.mm())?;
        set_temporary_mask(cur, SigSet(mask));
    }
    Ok(())
}

/// `rt_sigprocmask(2)`.
pub fn rt_sigprocmask(
    cur: &mut CurrentTask,
    how: i32,
    set: UserPtr<u64>,
    old: UserPtr<u64>,
    size: usize,
) -> SysResult {
    check_size(size)?;
    let before = cur.task().signals.lock().mask();
    if let Some(set) = set.read_opt(&**cur.mm())?.map(SigSet) {
        let mask = match how {
            SIG_BLOCK => before.with(set),
            SIG_UNBLOCK => before.without(set),
            SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL.into()),
        };
        set_mask(cur, mask);
    }
    old.write_opt(&**cur.mm(), &before.0)?;
    Ok(0)
}

/// `rt_sigpending(2)`: as many bytes of the set as are asked for.
pub fn rt_sigpending(cur: &mut CurrentTask, set: UserAddr, size: usize) -> SysResult {
    let task = cur.task();
    let shared = task.process.signals.lock().pending.set();
    let pending = {
        let signals = task.signals.lock();
        signals.pending.set().with(shared).and(signals.mask())
    };
    let bytes = pending.0.to_le_bytes();
    cur.mm().write(set, bytes.get(..size).ok_or(Errno::EINVAL)?)?;
    Ok(0)
}

/// `rt_sigsuspend(2)`.
pub async fn rt_sigsuspend(cur: &mut CurrentTask, mask: UserPtr<u64>, size: usize) -> SysResult {
    check_size(size)?;
    let mask = mask.read(&**cur.mm())?;
    set_temporary_mask(cur, SigSet(mask));
    pause(cur).await
}

/// `pause(2)`.
pub async fn pause(cur: &mut CurrentTask) -> SysResult {
    let never = crate::wait::WaitQueue::new();
    let wait = cur.block_on::<(), _>(&never, Events::NONE, None, |_| Err::<(), _>(Errno::EAGAIN));
    let _ = wait.await;
    Err(SysError::Restart(Restart::NoHand))
}

/// `rt_sigtimedwait(2)`.
pub async fn rt_sigtimedwait(
    cur: &mut CurrentTask,
    set: UserPtr<u64>,
    info: UserPtr<Siginfo>,
    timeout: UserPtr<Timespec>,
    size: usize,
) -> SysResult {
    check_size(size)?;
    let wanted = SigSet(set.read(&**cur.mm())?).without(UNBLOCKABLE);
    let deadline = match timeout.read_opt(&**cur.mm())? {
        Some(t) => Some(Deadline::after(super::time::nanos(t)?)),
        None => None,
    };
    let kernel = cur.task().kernel.clone();
    let take = |cur: &mut CurrentTask| signal::take(cur.task(), wanted).ok_or(Errno::EAGAIN);
    let found = match cur.block_on(&kernel.signal_event, Events::ALL, deadline, take).await {
        Ok(found) => found,
        Err(WaitError::TimedOut) => return Err(Errno::EAGAIN.into()),
        Err(WaitError::Interrupted) => return Err(Errno::EINTR.into()),
        Err(WaitError::Errno(e)) => return Err(e.into()),
    };
    info.write_opt(&**cur.mm(), &found.0)?;
    Ok(u64::from(found.signo().cast_unsigned()))
}

/// `rt_sigreturn(2)`.
pub async fn rt_sigreturn(cur: &mut CurrentTask) -> SysResult {
    signal::sigreturn(cur).await
}

/// `sigaltstack(2)`.
pub fn sigaltstack(
    cur: &mut CurrentTask,
    new: UserPtr<SigStack>,
    old: UserPtr<SigStack>,
) -> SysResult {
    let rsp = cur.regs().rsp;
    let wanted = new.read_opt(&**cur.mm())?;
    let before = {
        let mut signals = cur.task().signals.lock();
        let before = report_stack(&signals.altstack, rsp);
        if let Some(stack) = wanted {
            change_stack(&mut signals.altstack, &stack, rsp)?;
        }
        before
    };
    old.write_opt(&**cur.mm(), &before)?;
    Ok(0)
}

/// Sends to a process, or only checks if `signo` is 0.
fn send(cur: &CurrentTask, process: &Arc<Process>, signo: i32, info: SigInfo) -> Result<(), Errno> {
    check_signo(signo)?;
    may_signal(cur.task(), process, signo)?;
    if signo != 0 {
        try_send_to_process(process, info)?;
    }
    Ok(())
}

fn user_info(cur: &CurrentTask, signo: i32, code: i32) -> SigInfo {
    SigInfo::user(signo, code, cur.task().process.pid, cur.task().cred().uid)
}

fn check_signo(signo: i32) -> Result<(), Errno> {
    if signo == 0 || valid(signo) { Ok(()) } else { Err(Errno::EINVAL) }
}

/// `kill(2)`.
pub fn kill(cur: &mut CurrentTask, pid: i32, signo: i32) -> SysResult {
    let info = user_info(cur, signo, SI_USER);
    let kernel = cur.task().kernel.clone();
    let me = cur.task().process.clone();
    let many: Vec<Arc<Process>> = match pid {
        1.. => {
            send(cur, &process_of(cur, pid)?, signo, info)?;
            return Ok(0);
        }
        0 => signal::group_members(&kernel, me.group().0),
        -1 => {
            let mut all = kernel.pids.processes();
            all.retain(|p| p.pid != 1 && !Arc::ptr_eq(p, &me));
            all
        }
        i32::MIN => return Err(Errno::ESRCH.into()),
        group => signal::group_members(&kernel, -group),
    };
    if many.is_empty() {
        return Err(Errno::ESRCH.into());
    }
    let results: Vec<_> = many.iter().map(|p| send(cur, p, signo, info)).collect();
    let done = results.iter().find(|r| r.is_ok()).or(results.first());
    done.copied().unwrap_or(Err(Errno::ESRCH))?;
    Ok(0)
}

fn thread(cur: &CurrentTask, tgid: Option<i32>, tid: i32) -> Result<Arc<Task>, Errno> {
    let task = cur.task().kernel.pids.get(tid).ok_or(Errno::ESRCH)?;
    if tgid.is_some_and(|g| g != task.process.pid) { Err(Errno::ESRCH) } else { Ok(task) }
}

fn send_thread(cur: &CurrentTask, task: &Arc<Task>, signo: i32, info: SigInfo) -> SysResult {
    check_signo(signo)?;
    may_signal(cur.task(), &task.process, signo)?;
    if signo != 0 {
        try_send_to_task(task, info)?;
    }
    Ok(0)
}

/// `tgkill(2)`.
pub fn tgkill(cur: &mut CurrentTask, tgid: i32, tid: i32, signo: i32) -> SysResult {
    if tgid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = thread(cur, Some(tgid), tid)?;
    let info = user_info(cur, signo, SI_TKILL);
    send_thread(cur, &task, signo, info)
}

/// `tkill(2)`.
pub fn tkill(cur: &mut CurrentTask, tid: i32, signo: i32) -> SysResult {
    if tid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = thread(cur, None, tid)?;
    let info = user_info(cur, signo, SI_TKILL);
    send_thread(cur, &task, signo, info)
}

/// The signal that a caller describes itself; only kernel codes are refused.
fn own_info(
    cur: &CurrentTask,
    target: i32,
    signo: i32,
    mut info: Siginfo,
) -> Result<SigInfo, Errno> {
    let forged = info.si_code >= 0 || info.si_code == SI_TKILL;
    let own = target == cur.task().tid() || target == cur.task().process.pid;
    if forged && !own {
        return Err(Errno::EPERM);
    }
    info.si_signo = signo;
    Ok(SigInfo(info))
}

/// `rt_sigqueueinfo(2)`.
pub fn rt_sigqueueinfo(
    cur: &mut CurrentTask,
    pid: i32,
    signo: i32,
    info: UserPtr<Siginfo>,
) -> SysResult {
    let info = info.read(&**cur.mm())?;
    let info = own_info(cur, pid, signo, info)?;
    send(cur, &process_of(cur, pid)?, signo, info)?;
    Ok(0)
}

/// The process with this number, or that of the thread with it.
fn process_of(cur: &CurrentTask, pid: i32) -> Result<Arc<Process>, Errno> {
    let pids = &cur.task().kernel.pids;
    let thread = || pids.get(pid).map(|thread| thread.process.clone());
    pids.process(pid).or_else(thread).ok_or(Errno::ESRCH)
}

/// `rt_tgsigqueueinfo(2)`.
pub fn rt_tgsigqueueinfo(
    cur: &mut CurrentTask,
    tgid: i32,
    tid: i32,
    signo: i32,
    info: UserPtr<Siginfo>,
) -> SysResult {
    let raw = info.read(&**cur.mm())?;
    if tgid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let info = own_info(cur, tid, signo, raw)?;
    let task = thread(cur, Some(tgid), tid)?;
    send_thread(cur, &task, signo, info)
}
