//! Descriptors of processes: `pidfd_open(2)`.

use super::{Pid, Process, Task};
use crate::kernel::Kernel;
use crate::vfs::FileOps;
use crate::wait::{Events, Pollable, WaitQueue};
use std::sync::{Arc, Weak};

/// What a descriptor stands for.
enum Of {
    Process(Arc<Process>),
    /// One thread (`PIDFD_THREAD`).
    Thread(Arc<Process>, Weak<Task>),
}

/// What stands behind a descriptor of a process; readable once that has ended, hung up
/// once it was waited for.
pub struct PidFd {
    kernel: Arc<Kernel>,
    of: Of,
    tid: Pid,
}

impl PidFd {
    /// One for a process.
    #[must_use]
    pub fn of_process(kernel: &Arc<Kernel>, process: Arc<Process>) -> Self {
        Self { kernel: kernel.clone(), tid: process.pid, of: Of::Process(process) }
    }

    /// One for a thread.
    #[must_use]
    pub fn of_thread(task: &Arc<Task>) -> Self {
        let of = Of::Thread(task.process.clone(), Arc::downgrade(task));
        Self { kernel: task.kernel.clone(), tid: task.tid(), of }
    }

    /// The process, or that of the thread.
    #[must_use]
    pub fn process(&self) -> &Arc<Process> {
        match &self.of {
            Of::Process(process) | Of::Thread(process, _) => process,
        }
    }

    /// The thread, if it stands for a living one alone.
    #[must_use]
    pub fn thread(&self) -> Option<Arc<Task>> {
        match &self.of {
            Of::Process(_) => None,
            Of::Thread(_, task) => task.upgrade().filter(|t| t.mm().is_some()),
        }
    }

    /// Whether it stands for a thread.
    #[must_use]
    pub fn is_thread(&self) -> bool {
        matches!(self.of, Of::Thread(..))
    }

    /// Whether nothing is left of what it stands for, not even a zombie.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match &self.of {
            Of::Process(process) => {
                let known = self.kernel.pids.process(process.pid);
                !known.is_some_and(|p| Arc::ptr_eq(&p, process))
            }
            Of::Thread(..) => self.thread().is_none(),
        }
    }

    fn has_ended(&self) -> bool {
        match &self.of {
            Of::Process(process) => process.life.lock().zombie.is_some(),
            Of::Thread(..) => self.thread().is_none(),
        }
    }
}

impl FileOps for PidFd {
    fn takes_splice(&self) -> bool {
        false
    }

    fn pollable(&self) -> Option<&dyn Pollable> {
        Some(self)
    }

    fn fdinfo(&self) -> String {
        let pid = if self.is_gone() { -1 } else { self.tid };
        format!("Pid:\t{pid}\nNSpid:\t{pid}\n")
    }
}

impl Pollable for PidFd {
    fn readiness(&self) -> Events {
        match (self.has_ended(), self.is_gone()) {
            (false, _) => Events::NONE,
            (true, false) => Events::READABLE,
            (true, true) => Events::READABLE | Events::HUP,
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.process().life_event)
    }
}
