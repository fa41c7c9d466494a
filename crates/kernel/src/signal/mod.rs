//! Signals (`signal(7)`): sending, delivery, stops.
//!
//! * [`SigInfo`] is a signal with its cause; [`Pending`] a queue of them, in each
//!   [`TaskSignals`] and [`ProcessSignals`].
//! * [`SigHandlers`] is what `CLONE_SIGHAND` shares.
//! * [`deliver`] runs at the user boundary and either builds a handler's frame or
//!   acts by default.
//!
//! Locks: those of a task's and of a process's signals; never both at once.

mod fd;
mod frame;
mod queue;
mod restart;
mod send;
mod set;
mod stack;
mod state;

pub use fd::{SignalFd, take};
pub use frame::sigreturn;
pub use queue::{Charge, Pending, SignalCounts, Source};
pub use send::{
    Sent, continue_process, group_members, ignores_children, is_orphaned, may_signal, recheck,
    send_timer_to_process, send_timer_to_task, send_to_process, send_to_task, stop_process,
    try_send_to_process, try_send_to_task,
};
pub use set::{DefaultAction, STOP_SIGNALS, SigSet, UNBLOCKABLE, default_action, valid};
pub use stack::{change_stack, on_stack, report_stack};
pub use state::{NO_STACK, ProcessSignals, SigHandlers, TaskSignals};

use crate::dump;
use crate::task::{CurrentTask, ExitStatus, Process};
use chitin_abi::signal::*;

/// A signal and its cause.
#[derive(Clone, Copy, Debug)]
pub struct SigInfo(pub Siginfo);

#[allow(clippy::cast_sign_loss)]
fn words(low: i32, high: u32) -> u64 {
    u64::from(low as u32) | u64::from(high) << 32
}

impl SigInfo {
    fn new(signo: i32, code: i32, fields: &[u64]) -> Self {
        let mut all = [0; 14];
        all.iter_mut().zip(fields).for_each(|(to, from)| *to = *from);
        Self(Siginfo { si_signo: signo, si_errno: 0, si_code: code, pad: 0, fields: all })
    }

    /// Number of the signal.
    #[must_use]
    pub fn signo(&self) -> i32 {
        self.0.si_signo
    }

    /// Raised by the kernel itself.
    #[must_use]
    pub fn kernel(signo: i32) -> Self {
        Self::new(signo, SI_KERNEL, &[])
    }

    /// Raised by an instruction that touched `addr`.
    #[must_use]
    pub fn fault(signo: i32, code: i32, addr: u64) -> Self {
        Self::new(signo, code, &[addr])
    }

    /// Raised by a filter of system calls (`SECCOMP_RET_TRAP`), with what it told.
    #[must_use]
    pub fn seccomp(data: &chitin_abi::seccomp::SeccompData, told: i32) -> Self {
        let call = words(data.nr.cast_signed(), data.arch);
        let code = chitin_abi::seccomp::SYS_SECCOMP;
        let mut info = Self::new(SIGSYS, code, &[data.instruction_pointer, call]);
        info.0.si_errno = told;
        info
    }

    /// Sent by a process (`SI_USER`, `SI_TKILL`).
    #[must_use]
    pub fn user(signo: i32, code: i32, pid: i32, uid: u32) -> Self {
        Self::new(signo, code, &[words(pid, uid)])
    }

    /// News of a descriptor (`si_band`, `si_fd`).
    #[must_use]
    pub fn io(signo: i32, code: i32, band: u32, fd: i32) -> Self {
        Self::new(signo, code, &[band.into(), words(fd, 0)])
    }

    /// Of a timer, with its value (`si_timerid`, `si_value`); the overrun is known when it
    /// is taken.
    #[must_use]
    pub fn timer(signo: i32, id: i32, value: u64) -> Self {
        Self::new(signo, SI_TIMER, &[words(id, 0), value])
    }

    /// Sets how often the timer has expired since its signal was queued (`si_overrun`).
    pub fn set_overrun(&mut self, overrun: i32) {
        let [first, ..] = &mut self.0.fields;
        *first = *first & 0xffff_ffff | u64::from(overrun.cast_unsigned()) << 32;
    }

    /// The end of a child.
    #[must_use]
    pub fn child_exit(signo: i32, child: &Process, status: ExitStatus) -> Self {
        let (code, value) = match status {
            ExitStatus::Exited(status) => (CLD_EXITED, i32::from(status)),
            ExitStatus::Signaled { signo, core: false } => (CLD_KILLED, signo),
            ExitStatus::Signaled { signo, core: true } => (CLD_DUMPED, signo),
        };
        Self::child(signo, child, code, value)
    }

    /// News of a child: `CLD_*` and a status or signal.
    #[must_use]
    pub fn child(signo: i32, child: &Process, code: i32, value: i32) -> Self {
        Self::new(signo, code, &[words(child.pid, 0), words(value, 0)])
    }
}

/// What [`deliver`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// There was nothing to deliver.
    Nothing,
    /// Something happened; there may be more.
    Something,
}

/// Raises a signal of the current instruction: it cannot be blocked or ignored.
pub fn force(cur: &mut CurrentTask, info: SigInfo, trap: (u64, u64)) {
    let task = cur.task();
    let signo = info.signo();
    let handlers = task.handlers();
    let blocked = task.signals.lock().mask().has(signo);
    if blocked || handlers.get(signo).handler == SIG_IGN {
        handlers.set(signo, Sigaction { handler: SIG_DFL, flags: 0, restorer: 0, mask: 0 });
    }
    {
        let mut signals = task.signals.lock();
        let mask = signals.mask().without(SigSet::of(signo));
        signals.set_mask(mask);
        signals.trap = (trap.0, trap.1, info.0.fields[0]);
        signals.pending.push(info);
    }
    recheck(task);
}

/// Delivers the next signal at the user boundary.
pub async fn deliver(cur: &mut CurrentTask) -> Delivery {
    let task = cur.task().clone();
    let mask = task.signals.lock().mask();
    let Some(info) = take(&task, SigSet(!mask.0)) else {
        return Delivery::Nothing;
    };
    recheck(&task);
    let signo = info.signo();
    let handlers = task.handlers();
    let action = handlers.get(signo);
    if let Some(trace) = &task.kernel.trace {
        trace.signal(task.tid(), &info);
    }
    match action.handler {
        SIG_IGN => {}
        SIG_DFL => act_by_default(cur, &info).await,
        _ => {
            settle_for_handler(cur, action.flags);
            if action.flags & SA_RESETHAND != 0 {
                handlers.set(signo, Sigaction { handler: SIG_DFL, ..action });
            }
            if frame::push(cur, &info, &action).await.is_err() {
                let trap = (0, 0);
                if signo == SIGSEGV {
                    handlers.set(SIGSEGV, Sigaction { handler: SIG_DFL, ..action });
                }
                force(cur, SigInfo::kernel(SIGSEGV), trap);
            }
        }
    }
    Delivery::Something
}

async fn act_by_default(cur: &mut CurrentTask, info: &SigInfo) {
    let (signo, process) = (info.signo(), &cur.task().process);
    match default_action(signo) {
        DefaultAction::Ignore | DefaultAction::Continue => {}
        DefaultAction::Stop => {
            let kernel = &cur.task().kernel;
            if signo == SIGSTOP || !is_orphaned(kernel, process.group().0, None) {
                stop_process(kernel, process, signo);
            }
        }
        DefaultAction::Terminate => {
            process.exit_group(ExitStatus::Signaled { signo, core: false });
        }
        DefaultAction::Core => Box::pin(dump::end_by(cur, info)).await,
    }
}

/// Settles an interrupted call before a handler runs.
fn settle_for_handler(cur: &mut CurrentTask, flags: u64) {
    let Some((kind, nr)) = cur.restart.take() else { return };
    restart::before_handler(cur.regs(), kind, nr, flags);
}

/// Settles an interrupted call when no handler runs, and goes back to the mask that
/// the call had replaced.
pub fn settle(cur: &mut CurrentTask) {
    if let Some((kind, nr)) = cur.restart.take() {
        restart::without_handler(cur.regs(), kind, nr);
    }
    if let Some(mask) = cur.saved_mask.take() {
        cur.task().signals.lock().set_mask(mask);
        recheck(cur.task());
    }
}
