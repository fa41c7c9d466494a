//! Descriptors of processes and of signals: `pidfd_open(2)`, `pidfd_send_signal(2)`,
//! `pidfd_getfd(2)`, `signalfd(2)`.

use super::fd::install;
use crate::error::SysResult;
use crate::signal::{
    SigInfo, SigSet, SignalFd, group_members, may_signal, try_send_to_process, try_send_to_task,
    valid,
};
use crate::task::{CurrentTask, LooksBy, PidFd, Process, Task, may_inspect};
use crate::vfs::{File, FileOps};
use chitin_abi::Errno;
use chitin_abi::fs::O_RDWR;
use chitin_abi::signal::*;
use chitin_usermem::UserPtr;
use std::sync::Arc;

#[allow(clippy::cast_sign_loss)]
fn number(fd: i32) -> u64 {
    fd as u64
}

fn open(cur: &CurrentTask, ops: Box<dyn FileOps>, nonblock: u32) -> Result<i32, Errno> {
    install(cur, File::new(ops, None, O_RDWR | nonblock), true)
}

/// `pidfd_open(2)`. The descriptor is closed by `execve(2)`.
pub fn pidfd_open(cur: &mut CurrentTask, pid: i32, flags: u32) -> SysResult {
    if flags & !(PIDFD_NONBLOCK | PIDFD_THREAD) != 0 || pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let kernel = cur.task().kernel.clone();
    let ops = if flags & PIDFD_THREAD != 0 {
        PidFd::of_thread(&kernel.pids.get(pid).ok_or(Errno::ESRCH)?)
    } else {
        match kernel.pids.process(pid) {
            Some(process) => PidFd::of_process(&kernel, process),
            None if kernel.pids.get(pid).is_some() => return Err(Errno::ENOENT.into()),
            None => return Err(Errno::ESRCH.into()),
        }
    };
    Ok(number(open(cur, Box::new(ops), flags & PIDFD_NONBLOCK)?))
}

fn pidfd<T>(
    cur: &CurrentTask,
    fd: i32,
    f: impl FnOnce(&PidFd) -> Result<T, Errno>,
) -> Result<T, Errno> {
    let file = cur.file(fd)?;
    f(file.ops_as::<PidFd>().ok_or(Errno::EBADF)?)
}

/// What a signal is sent through: a directory of `/proc` stands for its process too.
fn signalled<T>(
    cur: &CurrentTask,
    fd: i32,
    f: impl FnOnce(&PidFd) -> Result<T, Errno>,
) -> Result<T, Errno> {
    match cur.file(fd)?.ops().process() {
        Some(process) => f(&PidFd::of_process(&cur.task().kernel, process)),
        None => pidfd(cur, fd, f),
    }
}

/// The signal of the call: as the caller describes it, or from `kill(2)`.
fn described(
    cur: &CurrentTask,
    signo: i32,
    info: UserPtr<Siginfo>,
    to_itself: bool,
) -> Result<SigInfo, Errno> {
    let Some(info) = info.read_opt(&**cur.mm())? else {
        let task = cur.task();
        return Ok(SigInfo::user(signo, SI_USER, task.process.pid, task.cred().uid));
    };
    if info.si_signo != signo {
        return Err(Errno::EINVAL);
    }
    // Nobody can pretend to others to be the kernel, kill(2) or tgkill(2).
    if !to_itself && (info.si_code >= 0 || info.si_code == SI_TKILL) {
        return Err(Errno::EPERM);
    }
    Ok(SigInfo(info))
}

fn send(from: &Task, process: &Arc<Process>, info: SigInfo) -> Result<(), Errno> {
    may_signal(from, process, info.signo())?;
    if info.signo() == 0 { Ok(()) } else { try_send_to_process(process, info) }
}

fn send_to_group(from: &Task, process: &Process, info: SigInfo) -> Result<(), Errno> {
    let members = group_members(&from.kernel, process.group().0);
    let results: Vec<_> = members.iter().map(|p| send(from, p, info)).collect();
    if results.is_empty() {
        return Err(Errno::ESRCH);
    }
    if results.iter().any(Result::is_ok) { Ok(()) } else { Err(Errno::EPERM) }
}

/// `pidfd_send_signal(2)`.
pub fn pidfd_send_signal(
    cur: &mut CurrentTask,
    fd: i32,
    signo: i32,
    info: UserPtr<Siginfo>,
    flags: u32,
) -> SysResult {
    let known = PIDFD_SIGNAL_THREAD | PIDFD_SIGNAL_THREAD_GROUP | PIDFD_SIGNAL_PROCESS_GROUP;
    if flags & !known != 0 || flags.count_ones() > 1 {
        return Err(Errno::EINVAL.into());
    }
    let cur = &*cur;
    let task = cur.task();
    signalled(cur, fd, |target| {
        let process = target.process();
        let info = described(cur, signo, info, Arc::ptr_eq(process, &task.process))?;
        if target.is_gone() {
            return Err(Errno::ESRCH);
        }
        if signo != 0 && !valid(signo) {
            return Err(Errno::EINVAL);
        }
        let to_thread = match flags {
            PIDFD_SIGNAL_PROCESS_GROUP => return send_to_group(task, process, info),
            PIDFD_SIGNAL_THREAD => true,
            0 => target.is_thread(),
            _ => false,
        };
        if !to_thread {
            return send(task, process, info);
        }
        let thread = match target.thread() {
            Some(thread) => thread,
            None => task.kernel.pids.get(process.pid).ok_or(Errno::ESRCH)?,
        };
        may_signal(task, process, signo)?;
        if signo == 0 { Ok(()) } else { try_send_to_task(&thread, info) }
    })?;
    Ok(0)
}

/// `pidfd_getfd(2)`.
pub fn pidfd_getfd(cur: &mut CurrentTask, fd: i32, target: i32, flags: u32) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let cur = &*cur;
    let file = pidfd(cur, fd, |of| {
        let first = of.process().tasks().into_iter().next();
        let task = of.thread().or(first).ok_or(Errno::ESRCH)?;
        may_inspect(cur.task(), of.process(), task.mm().as_deref(), &task.cred(), LooksBy::Call)?;
        task.files().get(target)
    })?;
    Ok(number(install(cur, file, true)?))
}

/// `signalfd4(2)`. The flags count only for a new descriptor.
pub fn signalfd4(
    cur: &mut CurrentTask,
    fd: i32,
    mask: UserPtr<u64>,
    size: usize,
    flags: u32,
) -> SysResult {
    if size != size_of::<u64>() {
        return Err(Errno::EINVAL.into());
    }
    let wanted = SigSet(mask.read(&**cur.mm())?);
    if flags & !(SFD_CLOEXEC | SFD_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if fd == -1 {
        let ops = Box::new(SignalFd::new(cur.task(), wanted));
        let file = File::new(ops, None, O_RDWR | flags & SFD_NONBLOCK);
        return Ok(number(install(cur, file, flags & SFD_CLOEXEC != 0)?));
    }
    let file = cur.file(fd)?;
    file.ops_as::<SignalFd>().ok_or(Errno::EINVAL)?.set(wanted);
    Ok(number(fd))
}

/// `signalfd(2)`, the older call.
pub fn signalfd(cur: &mut CurrentTask, fd: i32, mask: UserPtr<u64>, size: usize) -> SysResult {
    signalfd4(cur, fd, mask, size, 0)
}
