//! Numbers of tasks and processes.

use super::{Pid, Process, Task};
use crate::sync::RwLock;
use chitin_abi::Errno;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// `kernel.pid_max`.
pub const PID_MAX: Pid = 4_194_304;
/// Numbers below are not used again after the first round.
const RESERVED: Pid = 300;

/// Tasks by thread number, processes by number (zombies too). Lock: one, a leaf of
/// the process tree.
#[derive(Default)]
pub struct PidTable {
    tables: RwLock<Tables>,
    /// CPU time of processes that nobody has waited for, in nanoseconds.
    forgotten: AtomicU64,
}

#[derive(Default)]
struct Tables {
    tasks: BTreeMap<Pid, Weak<Task>>,
    processes: BTreeMap<Pid, Arc<Process>>,
    last: Pid,
    /// Tasks that exist or are being made.
    count: usize,
}

impl PidTable {
    /// The task with this number.
    pub fn get(&self, tid: Pid) -> Option<Arc<Task>> {
        self.tables.read().tasks.get(&tid)?.upgrade()
    }

    /// The process with this number.
    pub fn process(&self, pid: Pid) -> Option<Arc<Process>> {
        self.tables.read().processes.get(&pid).cloned()
    }

    /// All processes in ascending order.
    #[must_use]
    pub fn processes(&self) -> Vec<Arc<Process>> {
        self.tables.read().processes.values().cloned().collect()
    }

    /// Counts the CPU time of a process that is gone.
    pub(super) fn forget_time(&self, nanos: u64) {
        self.forgotten.fetch_add(nanos, Ordering::Relaxed);
    }

    /// CPU time of all processes that there are and were, in nanoseconds.
    #[must_use]
    pub fn cpu_time(&self) -> u64 {
        let used: u64 = self.processes().iter().map(|p| p.usage().cpu()).sum();
        used.saturating_add(self.forgotten.load(Ordering::Relaxed))
    }

    /// Number of tasks.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tables.read().count
    }

    /// The number given out last (`/proc/loadavg`).
    #[must_use]
    pub fn last(&self) -> Pid {
        self.tables.read().last
    }

    /// Takes a number below `most` for a new task; `EAGAIN` if there are `limit` tasks already.
    pub(super) fn reserve(&self, limit: usize, most: Pid) -> Result<Pid, Errno> {
        let mut tables = self.tables.write();
        if tables.count >= limit {
            return Err(Errno::EAGAIN);
        }
        let mut pid = tables.last;
        for _ in 0..most {
            pid = if pid >= most - 1 { RESERVED } else { pid + 1 };
            if !tables.tasks.contains_key(&pid) && !tables.processes.contains_key(&pid) {
                tables.last = pid;
                tables.count += 1;
                tables.tasks.insert(pid, Weak::new());
                return Ok(pid);
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Makes a task known under its number.
    pub(super) fn publish(&self, task: &Arc<Task>) {
        let mut tables = self.tables.write();
        tables.tasks.insert(task.tid(), Arc::downgrade(task));
        if task.tid() == task.process.pid {
            tables.processes.insert(task.process.pid, task.process.clone());
        }
    }

    /// Forgets a task, or the number reserved for one.
    pub(super) fn remove_task(&self, tid: Pid) {
        let mut tables = self.tables.write();
        if tables.tasks.remove(&tid).is_some() {
            tables.count -= 1;
        }
    }

    /// The task `tid` goes on as the first thread `pid`, which has ended.
    pub(super) fn rename_task(&self, tid: Pid, pid: Pid) {
        let mut tables = self.tables.write();
        if let Some(task) = tables.tasks.remove(&tid) {
            tables.tasks.insert(pid, task);
        }
    }

    /// Forgets a process that was waited for.
    pub(super) fn remove_process(&self, pid: Pid) {
        self.tables.write().processes.remove(&pid);
    }
}
