//! New threads and processes (`clone(2)`), and the first one.

use super::{
    CurrentTask, ExitWords, FsContext, PID_MAX, Pid, PidFd, Process, Task, Vfork, run, work,
};
use crate::cred::Cred;
use crate::error::SysError;
use crate::fd::{FdEntry, FdTable};
use crate::kernel::Kernel;
use crate::mm::{Company, Heirs, Mm, host_error};
use crate::seccomp::Seccomp;
use crate::signal::{SigHandlers, SigSet, TaskSignals};
use crate::sync::{Mutex, RwLock};
use crate::time::cpu_limit::CpuLimit;
use crate::vfs::File;
use chitin_abi::Errno;
use chitin_abi::fs::O_RDWR;
use chitin_abi::task::{
    CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, CLONE_CLEAR_SIGHAND, CLONE_FILES, CLONE_FS,
    CLONE_PARENT, CLONE_PARENT_SETTID, CLONE_PIDFD, CLONE_SETTLS, CLONE_SIGHAND, CLONE_SYSVSEM,
    CLONE_THREAD, CLONE_VFORK, CLONE_VM, RLIM_NLIMITS, RLIMIT_NOFILE, Rlimit,
};
use chitin_platform::{Context, Regs};
use chitin_usermem::{UserAddr, UserMemory};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

/// What `clone(2)` asks for, validated.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneRequest {
    /// `CLONE_*`.
    pub flags: u64,
    /// Stack pointer of the child; 0 keeps the parent's.
    pub stack: u64,
    /// `CLONE_PARENT_SETTID`.
    pub parent_tid: UserAddr,
    /// `CLONE_CHILD_SETTID`, `CLONE_CHILD_CLEARTID`.
    pub child_tid: UserAddr,
    /// `CLONE_SETTLS`.
    pub tls: u64,
    /// `CLONE_PIDFD`: where the descriptor's number goes.
    pub pidfd: UserAddr,
    /// Signal for the parent at the end.
    pub exit_signal: i32,
}

impl CloneRequest {
    fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }
}

/// A number for a task that is given back unless the task comes to be.
struct Number {
    kernel: Arc<Kernel>,
    pid: Pid,
    used: bool,
}

impl Drop for Number {
    fn drop(&mut self) {
        if !self.used {
            self.kernel.pids.remove_task(self.pid);
        }
    }
}

/// Makes a new task of the calling one; returns its number.
pub async fn clone_task(cur: &mut CurrentTask, request: CloneRequest) -> Result<Pid, SysError> {
    let parent = cur.task().clone();
    let kernel = parent.kernel.clone();
    if chitin_hostsys::heap::is_short() {
        return Err(Errno::ENOMEM.into());
    }
    let most = Pid::try_from(kernel.settings.pid_max.get()).unwrap_or(PID_MAX);
    let pid = kernel.pids.reserve(kernel.max_tasks, most)?;
    let mut number = Number { kernel: kernel.clone(), pid, used: false };
    let fp = cur.fp_state().await?;
    let mm = if request.has(CLONE_VM) {
        cur.mm().clone()
    } else {
        // The task and its current half hold it.
        let alone = Arc::strong_count(cur.mm()) <= 2;
        cur.mm().fork(
            if alone { Company::Alone } else { Company::Others },
            if cur.mm().is_dumpable() { Heirs::Twins } else { Heirs::No },
        )?
    };
    let mut ctx = mm.space().clone().new_context().map_err(|e| match host_error(e) {
        Errno::ENOMEM => Errno::EAGAIN,
        other => other,
    })?;
    ctx.set_fp_state(&fp).map_err(host_error)?;
    *ctx.regs() = Regs { rax: 0, ..*cur.regs() };
    if request.stack != 0 {
        ctx.regs().rsp = request.stack;
    }
    if request.has(CLONE_SETTLS) {
        ctx.regs().fs_base = request.tls;
    }
    let vfork = request.has(CLONE_VFORK).then(Arc::<Vfork>::default);
    let task = child_task(&parent, &request, pid, &mm, vfork.clone());
    let tid = pid.to_le_bytes();
    if request.has(CLONE_PARENT_SETTID) {
        cur.mm().write(request.parent_tid, &tid)?;
    }
    if request.has(CLONE_CHILD_SETTID) {
        // As in Linux a bad address is the child's own affair.
        let _ = mm.write(request.child_tid, &tid);
    }
    if request.has(CLONE_PIDFD) {
        store_pidfd(&parent, cur.mm(), &task, request.pidfd)?;
    }
    {
        let _tree = kernel.tree.lock();
        if parent.exiting() {
            return Err(SysError::Restart(crate::Restart::NoIntr));
        }
        if !request.has(CLONE_THREAD) {
            join_family(&parent, &task.process, &request);
        }
        // From here on other threads find it that change what all have.
        task.seccomp.inherit(&parent.seccomp);
        task.process.threads.lock().push(Arc::downgrade(&task));
        number.used = true;
        kernel.pids.publish(&task);
    }
    if request.has(CLONE_THREAD) {
        // Who ends or stops all threads may have looked for them before.
        let life = *parent.process.life.lock();
        if life.group_exit.is_some() || life.exec_by.is_some() {
            task.add_work(work::EXIT);
        }
        if life.stopped.is_some() {
            task.add_work(work::STOP);
        }
    }
    start(task, mm, ctx);
    if let Some(vfork) = vfork {
        let done = cur.block_killable(&vfork.event, |_| {
            let done = vfork.done.load(std::sync::atomic::Ordering::SeqCst);
            if done { Ok(()) } else { Err(Errno::EAGAIN) }
        });
        // Only its own end keeps the parent from waiting.
        let _ = done.await;
    }
    Ok(pid)
}

/// Opens a descriptor of a new process and tells its number.
fn store_pidfd(parent: &Arc<Task>, mm: &Mm, child: &Arc<Task>, at: UserAddr) -> Result<(), Errno> {
    let ops = PidFd::of_process(&parent.kernel, child.process.clone());
    let file = File::new(Box::new(ops), None, O_RDWR);
    let limit = parent.process.limit(RLIMIT_NOFILE);
    let files = parent.files();
    let fd = files.install(FdEntry { file, cloexec: true }, 0, limit)?;
    let stored = mm.write(at, &fd.to_le_bytes());
    if stored.is_err() {
        drop(files.remove(fd));
    }
    stored
}

fn start(task: Arc<Task>, mm: Arc<Mm>, ctx: Box<dyn Context>) {
    let executor = task.kernel.executor.clone();
    executor.spawn(run::run(CurrentTask::new(task, mm, ctx)));
}

fn join_family(parent: &Arc<Task>, child: &Arc<Process>, request: &CloneRequest) {
    let real_parent = match request.has(CLONE_PARENT) {
        true => parent.process.parent().unwrap_or_else(|| parent.process.clone()),
        false => parent.process.clone(),
    };
    let (pgid, sid) = parent.process.group();
    let tty = parent.process.family.lock().tty.clone();
    {
        let mut family = child.family.lock();
        family.tty = tty;
        family.parent = Arc::downgrade(&real_parent);
        (family.pgid, family.sid) = (pgid, sid);
    }
    real_parent.family.lock().children.push(child.clone());
}

fn child_task(
    parent: &Arc<Task>,
    request: &CloneRequest,
    pid: Pid,
    mm: &Arc<Mm>,
    vfork: Option<Arc<Vfork>>,
) -> Arc<Task> {
    let process = if request.has(CLONE_THREAD) {
        parent.process.clone()
    } else {
        let limits = *parent.process.limits.lock();
        // A sibling tells the common parent as its creator does: nobody chooses a signal
        // for somebody else's parent.
        let exit_signal = match request.has(CLONE_PARENT) {
            true => parent.process.life.lock().exit_signal,
            false => request.exit_signal,
        };
        let process = Process::new(pid, exit_signal, limits);
        *process.exe.lock() = parent.process.exe.lock().clone();
        let adjusted = parent.process.oom_score_adj.load(Ordering::Relaxed);
        process.oom_score_adj.store(adjusted, Ordering::Relaxed);
        CpuLimit::watch(&process, &parent.kernel);
        let no_huge_pages = parent.process.no_huge_pages.load(Ordering::Relaxed);
        process.no_huge_pages.store(no_huge_pages, Ordering::Relaxed);
        process
    };
    let handlers = parent.handlers();
    let handlers = match (request.has(CLONE_SIGHAND), request.has(CLONE_CLEAR_SIGHAND)) {
        (true, _) => handlers,
        (false, true) => Arc::new(SigHandlers::default()),
        (false, false) => Arc::new(handlers.duplicate()),
    };
    let keeps_stack = !request.has(CLONE_VM) || request.has(CLONE_VFORK);
    let signals = parent.signals.lock().for_clone(keeps_stack);
    let clear = if request.has(CLONE_CHILD_CLEARTID) { request.child_tid } else { UserAddr::NULL };
    let files = parent.files();
    let fs = parent.fs();
    Arc::new(Task {
        tid: AtomicI32::new(pid),
        process,
        kernel: parent.kernel.clone(),
        mm: RwLock::new(Some(mm.clone())),
        files: RwLock::new(match request.has(CLONE_FILES) {
            true => files,
            false => Arc::new(files.duplicate()),
        }),
        fs: RwLock::new(if request.has(CLONE_FS) { fs } else { Arc::new(fs.duplicate()) }),
        cred: RwLock::new(parent.cred()),
        handlers: RwLock::new(handlers),
        signals: Mutex::new(signals),
        comm: Mutex::new(parent.comm.lock().clone()),
        exit_words: Mutex::new(ExitWords { clear_child_tid: clear, robust_list: UserAddr::NULL }),
        vfork: Mutex::new(vfork),
        parent_death_signal: AtomicI32::new(0),
        work: AtomicU32::new(0),
        waker: Mutex::default(),
        kicker: Mutex::default(),
        publishing: Mutex::default(),
        undo: Mutex::new(request.has(CLONE_SYSVSEM).then(|| parent.undo_list())),
        scheduling: Mutex::new(parent.scheduling.lock().for_child()),
        traits: Mutex::new(parent.traits.lock().for_child()),
        seccomp: Seccomp::default(),
        asleep: AtomicBool::new(false),
    })
}

/// What the first process begins with.
pub struct InitConfig {
    /// Its credentials.
    pub cred: Cred,
    /// Its root and working directory.
    pub fs: FsContext,
    /// Its descriptors.
    pub files: FdTable,
    /// Its limits (`getrlimit(2)`).
    pub limits: [Rlimit; RLIM_NLIMITS],
    /// Signals that it ignores.
    pub ignored: SigSet,
    /// Signals that it blocks.
    pub blocked: SigSet,
}

/// Makes the first process, which begins with executing a program: `exec` is called
/// with the task before it has any memory and returns that memory and its context.
/// Its failure is the reason why there is no process.
pub fn spawn_init<E>(
    kernel: &Arc<Kernel>,
    config: InitConfig,
    exec: impl FnOnce(&Arc<Task>) -> Result<(Arc<Mm>, Box<dyn Context>), E>,
) -> Result<Arc<Task>, E> {
    let pid = kernel.pids.reserve(usize::MAX, PID_MAX).unwrap_or(1);
    let process = Process::new(pid, 0, config.limits);
    let signals = TaskSignals::blocking(config.blocked);
    let task = Arc::new(Task {
        tid: AtomicI32::new(pid),
        process,
        kernel: kernel.clone(),
        mm: RwLock::default(),
        files: RwLock::new(Arc::new(config.files)),
        fs: RwLock::new(Arc::new(config.fs)),
        cred: RwLock::new(Arc::new(config.cred)),
        handlers: RwLock::new(Arc::new(SigHandlers::ignoring(config.ignored))),
        signals: Mutex::new(signals),
        comm: Mutex::default(),
        exit_words: Mutex::default(),
        vfork: Mutex::default(),
        parent_death_signal: AtomicI32::new(0),
        work: AtomicU32::new(0),
        waker: Mutex::default(),
        kicker: Mutex::default(),
        publishing: Mutex::default(),
        undo: Mutex::default(),
        scheduling: Mutex::default(),
        traits: Mutex::default(),
        seccomp: Seccomp::default(),
        asleep: AtomicBool::new(false),
    });
    let (mm, ctx) = exec(&task)?;
    *task.mm.write() = Some(mm.clone());
    task.process.threads.lock().push(Arc::downgrade(&task));
    kernel.pids.publish(&task);
    CpuLimit::watch(&task.process, kernel);
    start(task.clone(), mm, ctx);
    Ok(task)
}
