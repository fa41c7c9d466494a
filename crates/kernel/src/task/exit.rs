//! The end of threads and processes.

use super::{CurrentTask, ExitStatus, Process, Remains, Task, work};
use crate::fd::FdTable;
use crate::futex;
use crate::kernel::Kernel;
use crate::mm::Mm;
use crate::signal::{self, SigInfo};
use crate::wait::Events;
use chitin_abi::signal::{SIGCHLD, SIGCONT, SIGHUP};
use chitin_platform::Context;
use chitin_usermem::UserMemory;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Ends a thread.
pub(super) fn finish(cur: CurrentTask, status: ExitStatus) {
    let (task, mm, ctx): (Arc<Task>, _, Box<dyn Context>) = cur.into_parts();
    if let Some(trace) = &task.kernel.trace {
        trace.ended(task.tid(), status);
    }
    let words = task.exit_words();
    // Nobody else is told of words in memory that goes away with this thread.
    if Arc::strong_count(&mm) > 2 {
        futex::exit_robust_list(&task, &mm, words.robust_list);
        if !words.clear_child_tid.is_null() && mm.write(words.clear_child_tid, &[0; 4]).is_ok() {
            let _ = futex::wake(&task.kernel, &mm, words.clear_child_tid, 1, u32::MAX);
        }
    }
    task.count_answered();
    task.attach(None);
    leave_memory(&task, &mm);
    drop(ctx);
    drop(mm);
    task.finish_vfork();
    task.leave_undo_list();
    let files = std::mem::replace(&mut *task.files.write(), Arc::new(FdTable::default()));
    release_files(&task, files);
    leave_process(&task, status);
}

/// The thread leaves its address space; the last one of a process keeps the time used.
fn leave_memory(task: &Arc<Task>, mm: &Mm) {
    let process = &task.process;
    if process.threads.lock().len() <= 1 {
        process.keep_times(mm, || *task.mm.write() = None);
        process.peak_memory.fetch_max(mm.sizes().anonymous >> 10, Ordering::Relaxed);
    } else {
        *task.mm.write() = None;
    }
}

/// Drops a thread's hold on its descriptors; the last one closes them.
fn release_files(task: &Arc<Task>, files: Arc<FdTable>) {
    if let Some(table) = Arc::into_inner(files) {
        for (_, entry) in table.remove_if(|_, _| true) {
            // As in Linux nobody learns of an error here.
            let _ = crate::fd::close_entry(task, entry);
        }
    }
}

fn leave_process(task: &Arc<Task>, status: ExitStatus) {
    let process = &task.process;
    let tid = task.tid();
    let remains = Remains { comm: task.comm.lock().clone(), cred: task.cred() };
    let last = {
        let mut threads = process.threads.lock();
        threads.retain(|t| t.upgrade().is_some_and(|t| !Arc::ptr_eq(&t, task)));
        if threads.is_empty() {
            // Set before it can be seen that there is none.
            *process.remains.lock() = Some(remains);
        }
        threads.is_empty()
    };
    if last {
        // Whoever learns of the end may write to the program.
        drop(process.exe.lock().take());
    }
    let mut life = process.life.lock();
    if tid == process.pid {
        life.leader_exit = Some(status);
    }
    let end = life.group_exit.or(life.leader_exit).unwrap_or(status);
    drop(life);
    task.kernel.pids.remove_task(tid);
    process.life_event.notify(Events::ALL);
    if last {
        end_process(&task.kernel, process, end);
    }
}

/// The process has lost its last thread.
fn end_process(kernel: &Arc<Kernel>, process: &Arc<Process>, status: ExitStatus) {
    process.timers.lock().end();
    let watch = process.cpu_limit.lock().take();
    if let Some(watch) = watch {
        watch.end();
    }
    process.signals.lock().end();
    if process.pid == 1 {
        kernel.end(status);
        return;
    }
    let guard = kernel.tree.lock();
    let orphaned_groups = reparent_children(kernel, process);
    process.life.lock().zombie = Some(status);
    let session_leader = process.group().1 == process.pid;
    let parent = process.parent();
    let group_before = signal::is_orphaned(kernel, process.group().0, None);
    drop(guard);
    if session_leader {
        kernel.session_ended(process);
    }
    if let Some(parent) = &parent {
        notify_parent(kernel, process, parent, status);
    }
    process.life_event.notify(Events::ALL);
    let mut groups = orphaned_groups;
    if !group_before {
        groups.push(process.group().0);
    }
    for pgid in groups {
        hang_up_if_orphaned(kernel, pgid);
    }
}

/// Gives the children to the nearest subreaper or the first process; returns their
/// process groups.
fn reparent_children(kernel: &Arc<Kernel>, process: &Arc<Process>) -> Vec<i32> {
    let children = std::mem::take(&mut process.family.lock().children);
    let mut groups = Vec::new();
    let mut reaper = process.parent();
    while let Some(candidate) = reaper.clone() {
        let alive = candidate.life.lock().zombie.is_none();
        let family = candidate.family.lock();
        if candidate.pid == 1 || (family.subreaper && alive) {
            break;
        }
        reaper = family.parent.upgrade();
    }
    let reaper = reaper.or_else(|| kernel.pids.process(1));
    let Some(reaper) = reaper else { return groups };
    for child in children {
        child.family.lock().parent = Arc::downgrade(&reaper);
        child.life.lock().exit_signal = SIGCHLD;
        groups.push(child.group().0);
        child.publish_identity();
        for task in child.tasks() {
            let signo = task.parent_death_signal.load(std::sync::atomic::Ordering::Relaxed);
            if signo != 0 {
                signal::send_to_task(&task, SigInfo::kernel(signo));
            }
        }
        let dead = child.life.lock().zombie;
        reaper.family.lock().children.push(child.clone());
        if let Some(status) = dead {
            notify_parent(kernel, &child, &reaper, status);
        }
    }
    groups
}

/// Tells the parent; a parent that does not care makes the zombie go at once.
fn notify_parent(
    kernel: &Arc<Kernel>,
    process: &Arc<Process>,
    parent: &Arc<Process>,
    status: ExitStatus,
) {
    let signo = process.life.lock().exit_signal;
    let ignored = signo == SIGCHLD && signal::ignores_children(parent);
    if ignored {
        release(kernel, process, parent, Counted::Nowhere);
    }
    if signo != 0 {
        signal::send_to_process(parent, SigInfo::child_exit(signo, process, status));
    }
    parent.child_event.notify(Events::ALL);
}

/// Where it is counted what a process has used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Counted {
    /// With the parent that has waited for it.
    Parent,
    /// With nobody, as nobody has.
    Nowhere,
}

/// Removes a zombie.
pub(super) fn release(
    kernel: &Arc<Kernel>,
    process: &Arc<Process>,
    parent: &Arc<Process>,
    counted: Counted,
) {
    parent.family.lock().children.retain(|c| !Arc::ptr_eq(c, process));
    let usage = process.usage();
    match counted {
        Counted::Parent => {
            let mut sum = parent.children_usage.lock();
            sum.user += usage.user;
            sum.system += usage.system;
            sum.max_rss = sum.max_rss.max(usage.max_rss);
        }
        Counted::Nowhere => kernel.pids.forget_time(usage.cpu()),
    }
    kernel.pids.remove_process(process.pid);
    // Descriptors of it are hung up now.
    process.life_event.notify(Events::ALL);
}

/// A process group without anybody to continue it, and with a stopped member, is
/// hung up (`setpgid(2)`, POSIX "orphaned process group").
fn hang_up_if_orphaned(kernel: &Arc<Kernel>, pgid: i32) {
    let members = signal::group_members(kernel, pgid);
    let stopped = members.iter().any(|p| p.life.lock().stopped.is_some());
    if stopped && signal::is_orphaned(kernel, pgid, None) {
        for member in members {
            signal::send_to_process(&member, SigInfo::kernel(SIGHUP));
            signal::send_to_process(&member, SigInfo::kernel(SIGCONT));
        }
    }
}

/// Ends all threads but the calling one and waits until they are gone
/// (`execve(2)`). The caller is the first thread afterwards.
pub(crate) async fn become_only_thread(cur: &mut CurrentTask) -> Result<(), crate::SysError> {
    let task = cur.task().clone();
    let process = task.process.clone();
    let others = || process.tasks().into_iter().filter(|t| !Arc::ptr_eq(t, &task));
    if process.threads.lock().len() <= 1 {
        return rename_to_leader(&task);
    }
    {
        let mut life = process.life.lock();
        if life.exec_by.is_some() || life.group_exit.is_some() {
            return Err(crate::SysError::Restart(crate::Restart::NoIntr));
        }
        life.exec_by = Some(task.tid());
    }
    others().for_each(|t| t.add_work(work::EXIT));
    let alone = cur.block_killable(&process.life_event, |_| {
        let count = process.threads.lock().len();
        if count <= 1 { Ok(()) } else { Err(chitin_abi::Errno::EAGAIN) }
    });
    let result = alone.await;
    process.life.lock().exec_by = None;
    result.map_err(crate::SysError::from)?;
    rename_to_leader(&task)
}

fn rename_to_leader(task: &Arc<Task>) -> Result<(), crate::SysError> {
    let pid = task.process.pid;
    let tid = task.tid();
    if tid != pid {
        task.kernel.pids.rename_task(tid, pid);
        task.tid.store(pid, std::sync::atomic::Ordering::Relaxed);
        task.process.life.lock().leader_exit = None;
    }
    Ok(())
}
