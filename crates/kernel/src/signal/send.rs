//! Sending signals, stopping and continuing processes.

use super::{Charge, DefaultAction, STOP_SIGNALS, SigInfo, SigSet, Source, default_action};
use crate::kernel::Kernel;
use crate::task::{ExitStatus, Pid, Process, Task, work};
use crate::wait::Events;
use chitin_abi::Errno;
use chitin_abi::signal::*;
use chitin_abi::task::RLIMIT_SIGPENDING;
use chitin_platform::Whose;
use std::sync::{Arc, Weak};

/// Gives a task work if one of its pending signals can be delivered.
pub fn recheck(task: &Arc<Task>) {
    let shared = {
        let signals = task.process.signals.lock();
        let pending = signals.pending.set();
        task.tell_pending(Whose::Process, !pending.is_empty());
        pending
    };
    let (own, mask) = {
        let signals = task.signals.lock();
        let pending = signals.pending.set();
        signals.tell_pending(Whose::Thread, !pending.is_empty());
        (pending, signals.mask())
    };
    if !own.with(shared).without(mask).is_empty() {
        task.add_work(work::SIGNAL);
    }
}

fn is_ignored(task: &Task, signo: i32) -> bool {
    // A blocked one stays pending: its action may change before it is unblocked.
    if task.signals.lock().mask().has(signo) {
        return false;
    }
    match task.handlers().get(signo).handler {
        SIG_IGN => true,
        SIG_DFL => default_action(signo) == DefaultAction::Ignore,
        _ => false,
    }
}

/// What sending does to the process at once, whatever its handlers.
fn prepare(kernel: &Arc<Kernel>, process: &Arc<Process>, signo: i32) {
    let opposite = match signo {
        SIGCONT => STOP_SIGNALS,
        _ if STOP_SIGNALS.has(signo) => SigSet::of(SIGCONT),
        _ => return,
    };
    process.signals.lock().pending.discard(opposite);
    for task in process.tasks() {
        task.signals.lock().pending.discard(opposite);
    }
    if signo == SIGCONT {
        continue_process(kernel, process);
    }
}

/// `CAP_KILL`.
const CAP_KILL: u32 = 5;

/// Whether a thread may send this signal to a process (`kill(2)`), or `EPERM`.
pub fn may_signal(from: &Task, process: &Arc<Process>, signo: i32) -> Result<(), Errno> {
    let own = from.cred();
    if Arc::ptr_eq(process, &from.process) || own.has_cap(CAP_KILL) {
        return Ok(());
    }
    // A zombie can be signalled by anybody, without effect.
    let tasks = process.tasks();
    let Some(task) = tasks.first() else { return Ok(()) };
    let other = task.cred();
    let same = [own.uid, own.euid].iter().any(|u| [other.uid, other.suid].contains(u));
    let session = signo == SIGCONT && process.group().1 == from.process.group().1;
    if same || session { Ok(()) } else { Err(Errno::EPERM) }
}

/// Charges a signal to the receiver's user. Standard signals that do not come from
/// `sigqueue(3)` or `tgkill(2)` are always charged (`RLIMIT_SIGPENDING` in `getrlimit(2)`).
fn charge(task: &Task, info: &SigInfo) -> Option<Charge> {
    let free = info.signo() < SIGRTMIN && info.0.si_code >= 0;
    let limit = if free { u64::MAX } else { task.process.limit(RLIMIT_SIGPENDING) };
    task.kernel.signal_counts.charge(task.cred.read().uid, limit)
}

/// Sends a signal to a process; whichever thread does not block it gets it. `EAGAIN`
/// when too many are queued.
pub fn try_send_to_process(process: &Arc<Process>, info: SigInfo) -> Result<(), Errno> {
    let signo = info.signo();
    let tasks = process.tasks();
    let Some(first) = tasks.first() else { return Ok(()) };
    let kernel = first.kernel.clone();
    prepare(&kernel, process, signo);
    if signo == SIGKILL {
        process.exit_group(ExitStatus::Signaled { signo, core: false });
        return Ok(());
    }
    if tasks.iter().all(|t| is_ignored(t, signo)) {
        return Ok(());
    }
    process.signals.lock().pending.push_charged(info, || charge(first, &info))?;
    announce(process, &tasks, signo);
    Ok(())
}

/// Gives the signal to a thread that does not block it, and tells those who wait for it.
fn announce(process: &Process, tasks: &[Arc<Task>], signo: i32) {
    // Before their masks are looked at.
    tasks.iter().for_each(|t| t.tell_pending(Whose::Process, true));
    let open = |t: &&Arc<Task>| !t.signals.lock().mask().has(signo) && !t.exiting();
    let main = tasks.iter().find(|t| t.tid() == process.pid).filter(open);
    if let Some(task) = main.or_else(|| tasks.iter().find(open)) {
        task.add_work(work::SIGNAL);
    }
    if let Some(task) = tasks.first() {
        task.kernel.signal_event.notify(Events::READABLE);
    }
}

/// Whether a timer's signal was queued: otherwise it is ignored, or nobody is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// Its source will be told when it is taken.
    Queued,
    /// Its source will hear nothing.
    Ignored,
}

/// Sends the signal of a timer to a process.
pub fn send_timer_to_process(
    process: &Arc<Process>,
    info: SigInfo,
    source: Weak<dyn Source>,
) -> Sent {
    let signo = info.signo();
    let tasks = process.tasks();
    let Some(first) = tasks.first() else { return Sent::Ignored };
    prepare(&first.kernel, process, signo);
    if signo == SIGKILL {
        process.exit_group(ExitStatus::Signaled { signo, core: false });
        return Sent::Ignored;
    }
    if tasks.iter().all(|t| is_ignored(t, signo)) {
        return Sent::Ignored;
    }
    process.signals.lock().pending.push_from(info, source);
    announce(process, &tasks, signo);
    Sent::Queued
}

/// Sends the signal of a timer to one thread (`SIGEV_THREAD_ID`).
pub fn send_timer_to_task(task: &Arc<Task>, info: SigInfo, source: Weak<dyn Source>) -> Sent {
    let signo = info.signo();
    prepare(&task.kernel, &task.process, signo);
    if signo == SIGKILL {
        task.process.exit_group(ExitStatus::Signaled { signo, core: false });
        return Sent::Ignored;
    }
    if is_ignored(task, signo) {
        return Sent::Ignored;
    }
    task.signals.lock().pending.push_from(info, source);
    recheck(task);
    task.kernel.signal_event.notify(Events::READABLE);
    Sent::Queued
}

/// Sends a signal to a process; one that does not fit its queue is lost.
pub fn send_to_process(process: &Arc<Process>, info: SigInfo) {
    let _ = try_send_to_process(process, info);
}

/// Sends a signal to one thread. `EAGAIN` when too many are queued.
pub fn try_send_to_task(task: &Arc<Task>, info: SigInfo) -> Result<(), Errno> {
    let signo = info.signo();
    prepare(&task.kernel, &task.process, signo);
    if signo == SIGKILL {
        task.process.exit_group(ExitStatus::Signaled { signo, core: false });
        return Ok(());
    }
    if is_ignored(task, signo) {
        return Ok(());
    }
    task.signals.lock().pending.push_charged(info, || charge(task, &info))?;
    recheck(task);
    task.kernel.signal_event.notify(Events::READABLE);
    Ok(())
}

/// Sends a signal to one thread; one that does not fit its queue is lost.
pub fn send_to_task(task: &Arc<Task>, info: SigInfo) {
    let _ = try_send_to_task(task, info);
}

/// Living members of a process group.
#[must_use]
pub fn group_members(kernel: &Kernel, pgid: Pid) -> Vec<Arc<Process>> {
    let mut all = kernel.pids.processes();
    all.retain(|p| p.group().0 == pgid && p.life.lock().zombie.is_none());
    all
}

/// Whether nobody in the session but outside the group is a parent of one of its
/// members, so that nobody could continue it. The group of the first process has the
/// caller of the sandbox as its parent.
#[must_use]
pub fn is_orphaned(kernel: &Kernel, pgid: Pid, except: Option<&Arc<Process>>) -> bool {
    for member in group_members(kernel, pgid) {
        if except.is_some_and(|e| Arc::ptr_eq(e, &member)) {
            continue;
        }
        if member.pid == 1 {
            return false;
        }
        let Some(parent) = member.parent() else { continue };
        let (parent_group, parent_session) = parent.group();
        if parent_group != pgid && parent_session == member.group().1 {
            return false;
        }
    }
    true
}

/// Whether a process does not want zombies (`SIGCHLD` ignored, `SA_NOCLDWAIT`).
#[must_use]
pub fn ignores_children(parent: &Process) -> bool {
    let Some(task) = parent.tasks().into_iter().next() else { return false };
    let action = task.handlers().get(SIGCHLD);
    action.handler == SIG_IGN || action.flags & SA_NOCLDWAIT != 0
}

/// Tells the parent of a stop or a continuation.
fn tell_parent(process: &Arc<Process>, code: i32, signo: i32) {
    let Some(parent) = process.parent() else { return };
    let quiet =
        parent.tasks().first().is_some_and(|t| t.handlers().get(SIGCHLD).flags & SA_NOCLDSTOP != 0);
    if !quiet {
        send_to_process(&parent, SigInfo::child(SIGCHLD, process, code, signo));
    }
    parent.child_event.notify(Events::ALL);
}

/// Stops all threads of a process.
pub fn stop_process(kernel: &Arc<Kernel>, process: &Arc<Process>, signo: i32) {
    {
        let mut life = process.life.lock();
        if life.stopped.is_some() || life.group_exit.is_some() {
            return;
        }
        life.stopped = Some(signo);
        life.stop_news = true;
        life.continue_news = false;
    }
    for task in process.tasks() {
        task.add_work(work::STOP);
    }
    if process.pid == 1 {
        kernel.init_stopped(signo);
    }
    tell_parent(process, CLD_STOPPED, signo);
}

/// Lets a stopped process go on.
pub fn continue_process(_kernel: &Arc<Kernel>, process: &Arc<Process>) {
    {
        let mut life = process.life.lock();
        if life.stopped.take().is_none() {
            return;
        }
        life.stop_news = false;
        life.continue_news = true;
    }
    process.life_event.notify(Events::ALL);
    tell_parent(process, CLD_CONTINUED, SIGCONT);
}
