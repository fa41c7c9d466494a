//! Job control: controlling terminals, foreground and background.

use super::Terminal;
use crate::kernel::Kernel;
use crate::signal::{SigInfo, group_members, is_orphaned, send_to_process};
use crate::sync::Mutex;
use crate::task::{Pid, Process, Task, work};
use chitin_abi::Errno;
use chitin_abi::signal::{SIG_IGN, SIGCONT, SIGHUP, SIGTTIN, SIGTTOU};
use chitin_abi::tty::{TIOCGPGRP, TIOCGSID, TIOCNOTTY, TIOCSCTTY, TIOCSPGRP};
use chitin_usermem::{UserAddr, UserPtr};
use std::sync::Arc;

/// `CAP_SYS_ADMIN`.
pub(super) const CAP_SYS_ADMIN: u32 = 21;

/// The session and the foreground process group of a terminal. Lock: one, a leaf.
#[derive(Debug, Default)]
pub struct JobControl(Mutex<Jobs>);

#[derive(Clone, Copy, Debug, Default)]
struct Jobs {
    session: Option<Pid>,
    foreground: Option<Pid>,
}

impl JobControl {
    /// A terminal that nobody controls.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The controlling terminal of a session, with this foreground group.
    #[must_use]
    pub fn of_session(session: Pid, foreground: Pid) -> Self {
        let jobs = Jobs { session: Some(session), foreground: Some(foreground) };
        Self(Mutex::new(jobs))
    }

    /// The session that it controls.
    #[must_use]
    pub fn session(&self) -> Option<Pid> {
        self.0.lock().session
    }

    /// The foreground process group.
    #[must_use]
    pub fn foreground(&self) -> Option<Pid> {
        self.0.lock().foreground
    }

    fn set(&self, session: Option<Pid>, foreground: Option<Pid>) {
        *self.0.lock() = Jobs { session, foreground };
    }
}

/// Whether this is the caller's controlling terminal.
#[must_use]
pub fn controls(task: &Task, terminal: &dyn Terminal) -> bool {
    let family = task.process.family.lock();
    family.tty.as_ref().is_some_and(|tty| tty.is(terminal))
}

/// Sends a signal to the foreground process group.
pub fn signal_foreground(kernel: &Kernel, terminal: &dyn Terminal, signo: i32) {
    if let Some(group) = terminal.job().foreground() {
        signal_group(kernel, group, signo);
    }
}

fn signal_group(kernel: &Kernel, group: Pid, signo: i32) {
    for member in group_members(kernel, group) {
        send_to_process(&member, SigInfo::kernel(signo));
    }
}

/// Processes of a session.
fn session_members(kernel: &Kernel, session: Pid) -> Vec<Arc<Process>> {
    let mut all = kernel.pids.processes();
    all.retain(|p| p.group().1 == session);
    all
}

/// Makes it the controlling terminal of a session leader that has none, if it is free:
/// what `open(2)` without `O_NOCTTY` does.
pub fn adopt(task: &Arc<Task>, terminal: &Arc<dyn Terminal>) {
    let process = &task.process;
    let (pgid, sid) = process.group();
    if sid != process.pid || terminal.job().session().is_some() {
        return;
    }
    let mut family = process.family.lock();
    if family.tty.is_none() {
        family.tty = Some(terminal.clone());
        terminal.job().set(Some(sid), Some(pgid));
    }
}

/// `TIOCSCTTY`; with `steal` 1 the superuser takes it away from another session.
pub fn claim(task: &Arc<Task>, terminal: &Arc<dyn Terminal>, steal: u64) -> Result<(), Errno> {
    let process = &task.process;
    let (pgid, sid) = process.group();
    let leads = sid == process.pid;
    if leads && terminal.job().session() == Some(sid) {
        return Ok(());
    }
    if !leads || process.family.lock().tty.is_some() {
        return Err(Errno::EPERM);
    }
    if let Some(other) = terminal.job().session() {
        if steal != 1 || !task.cred().has_cap(CAP_SYS_ADMIN) {
            return Err(Errno::EPERM);
        }
        forget(&task.kernel, other, &**terminal);
    }
    process.family.lock().tty = Some(terminal.clone());
    terminal.job().set(Some(sid), Some(pgid));
    Ok(())
}

/// Takes the terminal away from all processes of its session.
fn forget(kernel: &Kernel, session: Pid, terminal: &dyn Terminal) {
    for process in session_members(kernel, session) {
        let mut family = process.family.lock();
        if family.tty.as_ref().is_some_and(|t| t.is(terminal)) {
            family.tty = None;
        }
    }
}

/// Why a session leader loses its terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaving {
    /// It has ended.
    End,
    /// `TIOCNOTTY`.
    Request,
}

/// A session leader gives its terminal up; the foreground is hung up.
pub fn disassociate(kernel: &Kernel, leader: &Arc<Process>, why: Leaving) {
    let (terminal, lost) = {
        let mut family = leader.family.lock();
        (family.tty.take(), family.lost_foreground.take())
    };
    let Some(terminal) = terminal else {
        if let (Some(group), Leaving::End) = (lost, why) {
            signal_group(kernel, group, SIGHUP);
            signal_group(kernel, group, SIGCONT);
        }
        return;
    };
    let foreground = terminal.job().foreground();
    terminal.job().set(None, None);
    forget(kernel, leader.group().1, &*terminal);
    if let Some(group) = foreground {
        signal_group(kernel, group, SIGHUP);
        if why == Leaving::Request {
            signal_group(kernel, group, SIGCONT);
        }
    }
}

/// `TIOCNOTTY`.
pub fn leave(task: &Arc<Task>, terminal: &dyn Terminal) -> Result<(), Errno> {
    if !controls(task, terminal) {
        return Err(Errno::ENOTTY);
    }
    if task.process.group().1 == task.process.pid {
        disassociate(&task.kernel, &task.process, Leaving::Request);
    } else {
        task.process.family.lock().tty = None;
    }
    Ok(())
}

/// The terminal is gone: its session loses it, the leader is told.
pub(super) fn hang_up(kernel: &Kernel, terminal: &dyn Terminal) {
    let Some(session) = terminal.job().session() else { return };
    let foreground = terminal.job().foreground();
    terminal.job().set(None, None);
    for process in session_members(kernel, session) {
        {
            let mut family = process.family.lock();
            if family.tty.as_ref().is_some_and(|t| t.is(terminal)) {
                family.tty = None;
            }
            if process.pid == session {
                family.lost_foreground = foreground;
            }
        }
        if process.pid == session {
            send_to_process(&process, SigInfo::kernel(SIGHUP));
            send_to_process(&process, SigInfo::kernel(SIGCONT));
        }
    }
}

/// Refuses a process of the background (`SIGTTIN`, `SIGTTOU`): stops its group and
/// returns `EAGAIN`, which the signal turns into a restart, or `EIO` where nobody could
/// continue it.
pub fn check_job(task: &Arc<Task>, terminal: &dyn Terminal, signo: i32) -> Result<(), Errno> {
    let (group, _) = task.process.group();
    let foreground = terminal.job().foreground();
    if foreground.is_none() || foreground == Some(group) || !controls(task, terminal) {
        return Ok(());
    }
    let ignored =
        task.signals.lock().mask().has(signo) || task.handlers().get(signo).handler == SIG_IGN;
    if ignored {
        return if signo == SIGTTIN { Err(Errno::EIO) } else { Ok(()) };
    }
    if is_orphaned(&task.kernel, group, None) {
        return Err(Errno::EIO);
    }
    signal_group(&task.kernel, group, signo);
    // Whichever thread takes the signal: this call ends.
    task.add_work(work::SIGNAL);
    Err(Errno::EAGAIN)
}

/// The foreground process group as `tcgetpgrp(3)` tells it; 0 if there is none.
pub fn foreground(task: &Task, terminal: &dyn Terminal) -> Result<Pid, Errno> {
    if controls(task, terminal) {
        Ok(terminal.job().foreground().unwrap_or(0))
    } else {
        Err(Errno::ENOTTY)
    }
}

/// `tcsetpgrp(3)`.
pub fn set_foreground(task: &Arc<Task>, terminal: &dyn Terminal, group: Pid) -> Result<(), Errno> {
    match check_job(task, terminal, SIGTTOU) {
        Err(Errno::EIO) => return Err(Errno::ENOTTY),
        other => other?,
    }
    let sid = task.process.group().1;
    if !controls(task, terminal) || terminal.job().session() != Some(sid) {
        return Err(Errno::ENOTTY);
    }
    if group < 0 {
        return Err(Errno::EINVAL);
    }
    let mut members = task.kernel.pids.processes();
    members.retain(|p| p.group().0 == group);
    let first = members.first().ok_or(Errno::ESRCH)?;
    if first.group().1 != sid {
        return Err(Errno::EPERM);
    }
    terminal.job().set(Some(sid), Some(group));
    Ok(())
}

/// The requests of `ioctl_tty(2)` that are about job control; `None` for others.
pub fn job_ioctl(
    task: &Arc<Task>,
    terminal: &Arc<dyn Terminal>,
    cmd: u32,
    arg: u64,
) -> Option<Result<u64, Errno>> {
    let store = |value: Result<Pid, Errno>| {
        let mm = task.mm().ok_or(Errno::EFAULT)?;
        UserPtr::new(UserAddr(arg)).write(&*mm, &value?).map(|()| 0)
    };
    Some(match cmd {
        TIOCGPGRP => store(foreground(task, &**terminal)),
        TIOCGSID => store(match terminal.job().session() {
            Some(session) if controls(task, &**terminal) => Ok(session),
            _ => Err(Errno::ENOTTY),
        }),
        TIOCSPGRP => {
            let fetch = || {
                let mm = task.mm().ok_or(Errno::EFAULT)?;
                let group = UserPtr::<Pid>::new(UserAddr(arg)).read(&*mm)?;
                set_foreground(task, &**terminal, group).map(|()| 0)
            };
            fetch()
        }
        TIOCSCTTY => claim(task, terminal, arg).map(|()| 0),
        TIOCNOTTY => leave(task, &**terminal).map(|()| 0),
        _ => return None,
    })
}
