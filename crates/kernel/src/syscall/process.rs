//! Processes and threads: identity, `clone`, `execve`, `exit`, `wait`.

use super::arg::UserPath;
use super::path_of;
use crate::cred::{Cred, SECBIT_KEEP_CAPS};
use crate::error::{SysError, SysResult};
use crate::exec::{self, ARG_MAX, ARG_STRLEN_MAX, Program};
use crate::fd::close_entry;
use crate::signal::valid;
use crate::task::ExitWords;
use crate::task::{
    ChildEvent, CloneRequest, CurrentTask, ExitStatus, Pid, PidFd, Process, WaitWhom, Waited,
    become_only_thread, clone_task, wait_child,
};
use crate::vfs::File;
use crate::vfs::access::{Want, permitted};
use crate::vfs::lookup::Last;
use crate::vfs::open::{exec_file, open_exec};
use chitin_abi::fs::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW};
use chitin_abi::signal::{
    CLD_CONTINUED, CLD_DUMPED, CLD_EXITED, CLD_KILLED, CLD_STOPPED, SIGCHLD, SIGCONT,
};
use chitin_abi::task::*;
use chitin_abi::{Errno, Pod};
use chitin_usermem::{UserAddr, UserMemory, UserPtr};
use std::sync::Arc;

#[allow(clippy::cast_sign_loss)]
fn number(pid: i32) -> u64 {
    pid as u64
}

/// `getpid(2)`.
pub fn getpid(cur: &mut CurrentTask) -> SysResult {
    Ok(number(cur.task().process.pid))
}

/// `gettid(2)`.
pub fn gettid(cur: &mut CurrentTask) -> SysResult {
    Ok(number(cur.task().tid()))
}

/// `getppid(2)`: 0 for the first process.
pub fn getppid(cur: &mut CurrentTask) -> SysResult {
    Ok(number(cur.task().process.parent().map_or(0, |p| p.pid)))
}

fn process_of(cur: &CurrentTask, pid: Pid) -> Result<Arc<Process>, Errno> {
    match pid {
        0 => Ok(cur.task().process.clone()),
        pid => cur.task().kernel.pids.process(pid).ok_or(Errno::ESRCH),
    }
}

/// `getpgid(2)`.
pub fn getpgid(cur: &mut CurrentTask, pid: i32) -> SysResult {
    Ok(number(process_of(cur, pid)?.group().0))
}

/// `getpgrp(2)`.
pub fn getpgrp(cur: &mut CurrentTask) -> SysResult {
    getpgid(cur, 0)
}

/// `getsid(2)`.
pub fn getsid(cur: &mut CurrentTask, pid: i32) -> SysResult {
    Ok(number(process_of(cur, pid)?.group().1))
}

/// `setpgid(2)`.
pub fn setpgid(cur: &mut CurrentTask, pid: i32, pgid: i32) -> SysResult {
    if pgid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = cur.task();
    let kernel = &task.kernel;
    let target = process_of(cur, pid)?;
    let pgid = if pgid == 0 { target.pid } else { pgid };
    let _tree = kernel.tree.lock();
    let own_sid = task.process.group().1;
    if !Arc::ptr_eq(&target, &task.process) {
        let child = target.parent().is_some_and(|p| Arc::ptr_eq(&p, &task.process));
        if !child {
            return Err(Errno::ESRCH.into());
        }
        if target.group().1 != own_sid {
            return Err(Errno::EPERM.into());
        }
        if target.family.lock().execed {
            return Err(Errno::EACCES.into());
        }
    }
    if target.group().1 == target.pid {
        return Err(Errno::EPERM.into());
    }
    if pgid != target.pid {
        let members = crate::signal::group_members(kernel, pgid);
        if !members.iter().any(|m| m.group().1 == own_sid) {
            return Err(Errno::EPERM.into());
        }
    }
    target.family.lock().pgid = pgid;
    target.publish_identity();
    Ok(0)
}

/// `setsid(2)`.
pub fn setsid(cur: &mut CurrentTask) -> SysResult {
    let task = cur.task();
    let pid = task.process.pid;
    let _tree = task.kernel.tree.lock();
    if !crate::signal::group_members(&task.kernel, pid).is_empty() {
        return Err(Errno::EPERM.into());
    }
    {
        let mut family = task.process.family.lock();
        (family.pgid, family.sid) = (pid, pid);
        family.tty = None;
        family.lost_foreground = None;
    }
    task.process.publish_identity();
    Ok(number(pid))
}

/// Checks the flags of `clone(2)` and `clone3(2)`.
fn check_clone(cur: &CurrentTask, request: &CloneRequest) -> Result<(), Errno> {
    let flags = request.flags;
    let has = |flag: u64| flags & flag != 0;
    if has(CLONE_SIGHAND) && !has(CLONE_VM)
        || has(CLONE_THREAD) && !has(CLONE_SIGHAND)
        || has(CLONE_SIGHAND) && has(CLONE_CLEAR_SIGHAND)
        || has(CLONE_NEWNS) && has(CLONE_FS)
        || request.exit_signal != 0 && !valid(request.exit_signal)
        || has(CLONE_PARENT) && cur.task().process.pid == 1
    {
        return Err(Errno::EINVAL);
    }
    let namespaces = CLONE_NEWNS
        | CLONE_NEWCGROUP
        | CLONE_NEWUTS
        | CLONE_NEWIPC
        | CLONE_NEWUSER
        | CLONE_NEWPID
        | CLONE_NEWNET
        | CLONE_INTO_CGROUP;
    if flags & namespaces != 0 {
        cur.task().kernel.gap("namespaces (clone with CLONE_NEW*)");
        return Err(Errno::EPERM);
    }
    if has(CLONE_PIDFD) && has(CLONE_THREAD) {
        cur.task()
            .kernel
            .gap("descriptors of new threads (clone with CLONE_PIDFD and CLONE_THREAD)");
        return Err(Errno::EINVAL);
    }
    Ok(())
}

async fn do_clone(cur: &mut CurrentTask, request: CloneRequest) -> SysResult {
    check_clone(cur, &request)?;
    clone_task(cur, request).await.map(number)
}

/// `clone(2)`.
pub async fn clone(
    cur: &mut CurrentTask,
    flags: u64,
    stack: u64,
    parent_tid: UserAddr,
    child_tid: UserAddr,
    tls: u64,
) -> SysResult {
    let exit_signal = i32::try_from(flags & CSIGNAL).unwrap_or(0);
    // Both would store to the same address.
    if flags & CLONE_PIDFD != 0 && flags & (CLONE_PARENT_SETTID | CLONE_DETACHED) != 0 {
        return Err(Errno::EINVAL.into());
    }
    // Only 32 bits are looked at here.
    let flags = flags & 0xffff_ffff & !CSIGNAL & !CLONE_DETACHED;
    let pidfd = parent_tid;
    let request = CloneRequest { flags, stack, parent_tid, child_tid, tls, pidfd, exit_signal };
    do_clone(cur, request).await
}

/// `clone3(2)`.
pub async fn clone3(cur: &mut CurrentTask, args: UserAddr, size: usize) -> SysResult {
    const FIRST_SIZE: usize = 64;
    if size < FIRST_SIZE {
        return Err(Errno::EINVAL.into());
    }
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    let mut bytes = vec![0; size];
    cur.mm().read(args, &mut bytes)?;
    let known = size_of::<CloneArgs>().min(size);
    let (head, rest) = bytes.split_at(known);
    if rest.iter().any(|&b| b != 0) {
        return Err(Errno::E2BIG.into());
    }
    let mut a = CloneArgs::zeroed();
    if let Some(to) = a.as_bytes_mut().get_mut(..known) {
        to.copy_from_slice(head);
    }
    let sound = (a.stack == 0) == (a.stack_size == 0);
    if a.flags & (CSIGNAL | CLONE_DETACHED) != 0
        || !sound
        || a.exit_signal > 64
        || a.flags & (CLONE_THREAD | CLONE_PARENT) != 0 && a.exit_signal != 0
    {
        return Err(Errno::EINVAL.into());
    }
    if a.set_tid_size != 0 {
        return Err(Errno::EPERM.into());
    }
    let stack = a.stack.checked_add(a.stack_size).ok_or(Errno::EINVAL)?;
    let request = CloneRequest {
        flags: a.flags,
        stack,
        parent_tid: UserAddr(a.parent_tid),
        child_tid: UserAddr(a.child_tid),
        tls: a.tls,
        pidfd: UserAddr(a.pidfd),
        exit_signal: i32::try_from(a.exit_signal).unwrap_or(0),
    };
    do_clone(cur, request).await
}

/// `fork(2)`.
pub async fn fork(cur: &mut CurrentTask) -> SysResult {
    do_clone(cur, CloneRequest { exit_signal: SIGCHLD, ..CloneRequest::default() }).await
}

/// `vfork(2)`.
pub async fn vfork(cur: &mut CurrentTask) -> SysResult {
    let flags = CLONE_VFORK | CLONE_VM;
    do_clone(cur, CloneRequest { flags, exit_signal: SIGCHLD, ..CloneRequest::default() }).await
}

/// `exit(2)`.
pub fn exit(cur: &mut CurrentTask, status: i32) -> SysResult {
    cur.exit = Some(ExitStatus::Exited(status.to_le_bytes()[0]));
    Err(SysError::KeepRegisters)
}

/// `exit_group(2)`.
pub fn exit_group(cur: &mut CurrentTask, status: i32) -> SysResult {
    let status = ExitStatus::Exited(status.to_le_bytes()[0]);
    cur.task().process.exit_group(status);
    Err(SysError::KeepRegisters)
}

/// A vector of strings for a new program.
fn strings(cur: &CurrentTask, vector: UserAddr, total: &mut usize) -> Result<Vec<Vec<u8>>, Errno> {
    let mut out = Vec::new();
    if vector.is_null() {
        return Ok(out);
    }
    let mm = cur.mm();
    for i in 0.. {
        let at = UserPtr::<u64>::new(vector).at(i)?.read(&**mm)?;
        if at == 0 {
            break;
        }
        let text = mm.read_cstr(UserAddr(at), ARG_STRLEN_MAX).map_err(|e| match e {
            Errno::ENAMETOOLONG => Errno::E2BIG,
            other => other,
        })?;
        *total += text.len() + 1 + 8;
        if *total > ARG_MAX {
            return Err(Errno::E2BIG);
        }
        out.push(text);
    }
    Ok(out)
}

/// Credentials after executing a program as this user (`capabilities(7)`): set-user-ID
/// bits have no effect, as with `no_new_privs`.
fn exec_cred(old: &Cred) -> Cred {
    let mut cred = old.clone();
    let root = cred.euid == 0 || cred.uid == 0;
    if root && cred.securebits & 1 == 0 {
        cred.permitted.0 = cred.inheritable.0 | cred.bounding.0;
        if cred.euid == 0 {
            cred.effective = cred.permitted;
        }
    } else {
        cred.permitted.0 = cred.ambient.0;
        cred.effective = cred.permitted;
    }
    cred.suid = cred.euid;
    cred.fsuid = cred.euid;
    cred.sgid = cred.egid;
    cred.fsgid = cred.egid;
    cred.securebits &= !SECBIT_KEEP_CAPS;
    cred
}

/// Whether a program that was just executed may be looked into by its like: not by who could
/// not read it, nor while its user is not the one it acts for (`PR_SET_DUMPABLE(2const)`).
fn is_dumpable(by: &Cred, file: &File) -> bool {
    let inode = file.path().and_then(|p| p.dentry.inode());
    let readable = inode.is_none_or(|inode| {
        inode.access_attr().is_ok_and(|attr| permitted(by, &attr, Want::READ).is_ok())
    });
    readable && by.uid == by.euid && by.gid == by.egid
}

async fn do_execve(
    cur: &mut CurrentTask,
    file: Arc<File>,
    path: Vec<u8>,
    argv: UserAddr,
    envp: UserAddr,
) -> SysResult {
    let mut total = path.len();
    let mut argv = strings(cur, argv, &mut total)?;
    let envp = strings(cur, envp, &mut total)?;
    if argv.is_empty() {
        // As Linux does since 5.18.
        argv.push(Vec::new());
    }
    let task = cur.task().clone();
    let before = task.cred();
    let cred = exec_cred(&before);
    let program = Program { file, path, argv, envp };
    let stack_limit = task.process.limit(RLIMIT_STACK);
    let open = |path: &[u8]| open_exec(&task, AT_FDCWD, path, Last::Follow);
    let image = exec::load(&task.kernel, &cred, program, stack_limit, &open)?;
    become_only_thread(cur).await?;
    let old_mm = cur.mm().clone();
    image.mm.set_dumpable(is_dumpable(&before, &image.file));
    image.mm.set_dump_filter(old_mm.dump_filter());
    cur.replace_mm(image.mm, image.ctx);
    cur.learning = 0;
    if image.learns {
        cur.learn_cpuid();
    }
    drop(old_mm);
    task.finish_vfork();
    task.set_cred(cred);
    *task.comm.lock() = image.comm;
    task.set_exit_words(ExitWords::default());
    let before = std::mem::replace(&mut *task.process.exe.lock(), image.running);
    drop(before);
    task.process.family.lock().execed = true;
    task.process.timers.lock().exec();
    let handlers = Arc::new(task.handlers().for_exec());
    *task.handlers.write() = handlers;
    task.signals.lock().exec();
    close_on_exec(cur);
    Err(SysError::KeepRegisters)
}

fn close_on_exec(cur: &CurrentTask) {
    let task = cur.task();
    let files = task.files();
    if Arc::strong_count(&files) > 2 {
        // Shared with another task: this one gets its own.
        task.set_view(0);
        *task.files.write() = Arc::new(files.duplicate());
    }
    let files = task.files();
    for (_, entry) in files.remove_if(|_, e| e.cloexec) {
        let _ = close_entry(task, entry);
    }
}

/// Opens a program. What a process had mapped that has just ended lets go of its files a
/// little later: whoever waited for its end must not find them busy.
async fn patiently(
    cur: &mut CurrentTask,
    open: impl Fn() -> Result<Arc<File>, Errno>,
) -> Result<Arc<File>, Errno> {
    const ATTEMPTS: u32 = 20;
    /// Nanoseconds.
    const PAUSE: u64 = 1_000_000;
    for _ in 0..ATTEMPTS {
        match open() {
            Err(Errno::ETXTBSY) => cur.pause(PAUSE).await,
            other => return other,
        }
    }
    open()
}

/// `execve(2)`.
pub async fn execve(
    cur: &mut CurrentTask,
    path: UserPath,
    argv: UserAddr,
    envp: UserAddr,
) -> SysResult {
    execveat(cur, AT_FDCWD, path, argv, envp, 0).await
}

/// `execveat(2)`.
pub async fn execveat(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    argv: UserAddr,
    envp: UserAddr,
    flags: u32,
) -> SysResult {
    if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut path = path_of(cur, path)?;
    let task = cur.task().clone();
    let file = if path.is_empty() && flags & AT_EMPTY_PATH != 0 {
        let place = cur.file(dirfd)?.path().cloned().ok_or(Errno::EACCES)?;
        path = format!("/dev/fd/{dirfd}").into_bytes();
        patiently(cur, || exec_file(&task, place.clone())).await?
    } else {
        let last = if flags & AT_SYMLINK_NOFOLLOW != 0 { Last::NoFollow } else { Last::Follow };
        let file = patiently(cur, || open_exec(&task, dirfd, &path, last)).await?;
        if dirfd != AT_FDCWD && path.first() != Some(&b'/') {
            path = [format!("/dev/fd/{dirfd}/").as_bytes(), &path].concat();
        }
        file
    };
    do_execve(cur, file, path, argv, envp).await
}

fn wait_status(event: ChildEvent) -> i32 {
    match event {
        ChildEvent::Ended(status) => status.wait_status(),
        ChildEvent::Stopped(signo) => signo << 8 | 0x7f,
        ChildEvent::Continued => 0xffff,
    }
}

/// `wait4(2)`.
pub async fn wait4(
    cur: &mut CurrentTask,
    pid: i32,
    status: UserPtr<i32>,
    options: u32,
    rusage: UserPtr<Rusage>,
) -> SysResult {
    let known = WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE;
    if options & !known != 0 {
        return Err(Errno::EINVAL.into());
    }
    let whom = match pid {
        i32::MIN => return Err(Errno::ESRCH.into()),
        -1 => WaitWhom::Any,
        0 => WaitWhom::Group(cur.task().process.group().0),
        pid if pid < 0 => WaitWhom::Group(-pid),
        pid => WaitWhom::Pid(pid),
    };
    let Some(waited) = wait_child(cur, whom, options | WEXITED).await? else { return Ok(0) };
    status.write_opt(&**cur.mm(), &wait_status(waited.event))?;
    rusage.write_opt(&**cur.mm(), &super::system::rusage(waited.usage))?;
    Ok(number(waited.pid))
}

/// Stores what `waitid(2)` tells.
fn store_waited(cur: &CurrentTask, info: UserAddr, waited: Option<Waited>) -> Result<(), Errno> {
    if info.is_null() {
        return Ok(());
    }
    let mut words = [0_i32; 32];
    if let Some(w) = waited {
        let (code, status) = match w.event {
            ChildEvent::Ended(ExitStatus::Exited(status)) => (CLD_EXITED, i32::from(status)),
            ChildEvent::Ended(ExitStatus::Signaled { signo, core: false }) => (CLD_KILLED, signo),
            ChildEvent::Ended(ExitStatus::Signaled { signo, core: true }) => (CLD_DUMPED, signo),
            ChildEvent::Stopped(signo) => (CLD_STOPPED, signo),
            ChildEvent::Continued => (CLD_CONTINUED, SIGCONT),
        };
        // si_signo, si_errno, si_code, padding, si_pid, si_uid, si_status.
        let head = [SIGCHLD, 0, code, 0, w.pid, w.uid.cast_signed(), status];
        words.iter_mut().zip(head).for_each(|(to, from)| *to = from);
    }
    cur.mm().write(info, words.as_bytes())
}

/// `waitid(2)`.
pub async fn waitid(
    cur: &mut CurrentTask,
    idtype: i32,
    id: i32,
    info: UserAddr,
    options: u32,
    rusage: UserPtr<Rusage>,
) -> SysResult {
    let events = WEXITED | WSTOPPED | WCONTINUED;
    let known = events | WNOHANG | WNOWAIT | WNOTHREAD | WALL | WCLONE;
    if options & !known != 0 || options & events == 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut nonblocking = false;
    let whom = match (idtype, id) {
        (P_ALL, _) => WaitWhom::Any,
        (P_PID, 1..) => WaitWhom::Pid(id),
        (P_PGID, 0) => WaitWhom::Group(cur.task().process.group().0),
        (P_PGID, 1..) => WaitWhom::Group(id),
        (P_PIDFD, 0..) => {
            let file = cur.file(id)?;
            nonblocking = file.nonblocking();
            let target = file.ops_as::<PidFd>().ok_or(Errno::EBADF)?;
            if target.is_gone() {
                return Err(Errno::ECHILD.into());
            }
            WaitWhom::Pid(target.process().pid)
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let wait = if nonblocking { options | WNOHANG } else { options };
    let waited = wait_child(cur, whom, wait).await?;
    if waited.is_none() && nonblocking && options & WNOHANG == 0 {
        return Err(Errno::EAGAIN.into());
    }
    store_waited(cur, info, waited)?;
    if let Some(waited) = waited {
        rusage.write_opt(&**cur.mm(), &super::system::rusage(waited.usage))?;
    }
    Ok(0)
}

/// `set_tid_address(2)`.
pub fn set_tid_address(cur: &mut CurrentTask, addr: UserAddr) -> SysResult {
    let task = cur.task();
    task.set_exit_words(ExitWords { clear_child_tid: addr, ..task.exit_words() });
    Ok(number(task.tid()))
}

/// `set_robust_list(2)`.
pub fn set_robust_list(cur: &mut CurrentTask, head: UserAddr, len: usize) -> SysResult {
    if len != 24 {
        return Err(Errno::EINVAL.into());
    }
    let task = cur.task();
    task.set_exit_words(ExitWords { robust_list: head, ..task.exit_words() });
    Ok(0)
}

/// `arch_prctl(2)`.
pub fn arch_prctl(cur: &mut CurrentTask, code: i32, addr: u64) -> SysResult {
    let mm = cur.mm().clone();
    let regs = cur.regs();
    let valid = addr < crate::mm::USER_END;
    match code {
        ARCH_SET_FS if valid => regs.fs_base = addr,
        ARCH_SET_GS if valid => regs.gs_base = addr,
        ARCH_SET_FS | ARCH_SET_GS => return Err(Errno::EPERM.into()),
        ARCH_GET_FS => UserPtr::<u64>::new(UserAddr(addr)).write(&*mm, &regs.fs_base)?,
        ARCH_GET_GS => UserPtr::<u64>::new(UserAddr(addr)).write(&*mm, &regs.gs_base)?,
        ARCH_GET_CPUID => return Ok(1),
        ARCH_SET_CPUID => return Err(Errno::ENODEV.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// `futex(2)`.
pub async fn futex(
    cur: &mut CurrentTask,
    addr: UserAddr,
    op: u32,
    value: u32,
    timeout: u64,
    other: UserAddr,
    value3: u32,
) -> SysResult {
    use crate::futex::{requeue, wait, wake, wake_op};
    let kernel = cur.task().kernel.clone();
    let realtime = op & FUTEX_CLOCK_REALTIME != 0;
    let second = u32::try_from(timeout & 0xffff_ffff).unwrap_or(0);
    match op & !(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME) {
        command @ (FUTEX_WAIT | FUTEX_WAIT_BITSET) => {
            let absolute = command == FUTEX_WAIT_BITSET;
            let time = super::time::deadline_arg(cur, UserAddr(timeout), absolute, realtime)?;
            let bits = if absolute { value3 } else { FUTEX_BITSET_MATCH_ANY };
            wait(cur, addr, value, bits, time).await.map(|()| 0).inspect_err(|e| {
                let block = SysError::Restart(crate::Restart::Block);
                if *e == block
                    && let Some(deadline) = time
                {
                    cur.restart_block =
                        Some(crate::task::RestartBlock::Futex(addr, value, bits, deadline, op));
                }
            })
        }
        FUTEX_WAKE => Ok(u64::from(wake(&kernel, cur.mm(), addr, value, u32::MAX)?)),
        FUTEX_WAKE_BITSET => Ok(u64::from(wake(&kernel, cur.mm(), addr, value, value3)?)),
        FUTEX_REQUEUE | FUTEX_CMP_REQUEUE if value.max(second) > i32::MAX.unsigned_abs() => {
            Err(Errno::EINVAL.into())
        }
        FUTEX_REQUEUE => {
            let (woken, _) = requeue(cur, addr, other, value, second, None)?;
            Ok(u64::from(woken))
        }
        FUTEX_CMP_REQUEUE => {
            let (woken, moved) = requeue(cur, addr, other, value, second, Some(value3))?;
            Ok(u64::from(woken + moved))
        }
        FUTEX_WAKE_OP => Ok(u64::from(wake_op(cur, addr, other, value, second, value3)?)),
        command => {
            kernel.gap(&format!("futex operation {command}"));
            Err(Errno::ENOSYS.into())
        }
    }
}
