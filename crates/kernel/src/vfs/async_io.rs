//! Signals that tell of input and output (`O_ASYNC`): whom, which, and the listener that sends
//! them. Lock: the description's [`super::FileRare`], a leaf.

use super::File;
use crate::kernel::Kernel;
use crate::signal::{SigInfo, group_members, send_to_process, send_to_task};
use crate::task::{Pid, Process, Task};
use crate::wait::{Events, Listener, Pollable, Wakeup};
use chitin_abi::Errno;
use chitin_abi::signal::{POLL_IN, POLL_OUT, SIGIO, SIGURG};
use std::sync::{Arc, Weak};

/// Who is told (`F_SETOWN_EX`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Owner {
    /// Nobody.
    #[default]
    None,
    /// A thread.
    Thread(Pid),
    /// A process.
    Process(Pid),
    /// A process group.
    Group(Pid),
}

impl Owner {
    /// As `F_SETOWN` has it; `ESRCH` if there is none such.
    pub fn from_number(kernel: &Kernel, number: i32) -> Result<Self, Errno> {
        match number {
            0 => Ok(Self::None),
            1.. => Self::Process(number).existing(kernel),
            _ => Self::Group(number.checked_neg().ok_or(Errno::EINVAL)?).existing(kernel),
        }
    }

    /// The same unless it does not exist.
    pub fn existing(self, kernel: &Kernel) -> Result<Self, Errno> {
        let there = match self {
            Self::None => true,
            Self::Thread(tid) => kernel.pids.get(tid).is_some(),
            Self::Process(pid) => kernel.pids.process(pid).is_some(),
            Self::Group(pgid) => !group_members(kernel, pgid).is_empty(),
        };
        if there { Ok(self) } else { Err(Errno::ESRCH) }
    }

    /// As `F_GETOWN` tells it.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::None => 0,
            Self::Thread(id) | Self::Process(id) => id,
            Self::Group(id) => -id,
        }
    }
}

/// Sends a description's signals.
struct Teller {
    file: Weak<File>,
    fd: i32,
    kernel: Weak<Kernel>,
}

impl Listener for Teller {
    fn notify(&self, events: Events) {
        let (Some(file), Some(kernel)) = (self.file.upgrade(), self.kernel.upgrade()) else {
            return;
        };
        let (code, band) = match file.readable() && events.intersects(Events::READABLE) {
            true => (POLL_IN, Events::READABLE),
            false => (POLL_OUT, Events(Events::WRITABLE.0 | Events::WRBAND.0)),
        };
        let rare = *file.rare.lock();
        let info = match rare.signal {
            0 => SigInfo::kernel(SIGIO),
            signal => SigInfo::io(signal, code, band.0, self.fd),
        };
        tell_owner(&file, &kernel, info);
    }
}

/// Sends the signal of urgent data (`SIGURG`).
struct UrgentTeller {
    file: Weak<File>,
    kernel: Weak<Kernel>,
}

impl Listener for UrgentTeller {
    fn notify(&self, events: Events) {
        // Whatever else is told, as all events at once, is none of its business.
        if let (Events::PRI, Some(file), Some(kernel)) =
            (events, self.file.upgrade(), self.kernel.upgrade())
        {
            tell_owner(&file, &kernel, SigInfo::kernel(SIGURG));
        }
    }
}

/// Signals the owner of a description.
fn tell_owner(file: &File, kernel: &Arc<Kernel>, info: SigInfo) {
    let rare = *file.rare.lock();
    // Who has set the owner must have the right to signal it.
    let may = |task: &Task| {
        let (cred, (uid, euid)) = (task.cred(), rare.set_by);
        euid == 0 || [uid, euid].iter().any(|id| [cred.uid, cred.suid].contains(id))
    };
    let may_tell = |process: &Arc<Process>| process.tasks().first().is_some_and(|t| may(t));
    match rare.owner {
        Owner::None => {}
        Owner::Thread(tid) => {
            if let Some(task) = kernel.pids.get(tid).filter(|t| may(t)) {
                send_to_task(&task, info);
            }
        }
        Owner::Process(pid) => {
            if let Some(process) = kernel.pids.process(pid).filter(may_tell) {
                send_to_process(&process, info);
            }
        }
        Owner::Group(pgid) => {
            for process in group_members(kernel, pgid).iter().filter(|p| may_tell(p)) {
                send_to_process(process, info);
            }
        }
    }
}

/// A description gets an owner, who is told of urgent data from now on.
pub(super) fn tell_of_urgent(task: &Task, file: &Arc<File>) {
    let Some(queue) = file.wait_queue().filter(|_| file.ops().has_urgent()) else { return };
    if file.rare.lock().urgent_teller.is_some() {
        return;
    }
    let teller = UrgentTeller { file: Arc::downgrade(file), kernel: Arc::downgrade(&task.kernel) };
    let teller = queue.add(Events::PRI, Wakeup::Shared, Arc::new(teller));
    let before = file.rare.lock().urgent_teller.replace(teller);
    // Another thread was faster.
    if let Some(before) = before {
        queue.remove(before);
    }
}

/// Begins or ends telling, as the description's flags are about to say.
pub fn set_async(task: &Arc<Task>, file: &Arc<File>, fd: i32, on: bool) {
    let Some(queue) = file.wait_queue().filter(|_| file.ops().tells_by_signals()) else { return };
    let teller = on.then(|| {
        let kernel = Arc::downgrade(&task.kernel);
        let interest = if file.readable() { Events::READABLE } else { Events::WRITABLE };
        let teller = Teller { file: Arc::downgrade(file), fd, kernel };
        queue.add(interest, Wakeup::Shared, Arc::new(teller))
    });
    let before = std::mem::replace(&mut file.rare.lock().teller, teller);
    if let Some(before) = before {
        queue.remove(before);
    }
}

/// A description goes.
pub(super) fn released(file: &File) {
    let mut rare = file.rare.lock();
    let tellers = [rare.teller.take(), rare.urgent_teller.take()];
    drop(rare);
    if tellers.iter().any(Option::is_some)
        && let Some(queue) = file.wait_queue()
    {
        tellers.into_iter().flatten().for_each(|teller| queue.remove(teller));
    }
}
