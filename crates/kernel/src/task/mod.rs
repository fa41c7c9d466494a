//! Guest threads and processes.
//!
//! * [`Task`] is a thread, shared with everybody who can see it; [`CurrentTask`] is
//!   the exclusive half that only the thread's own future has: the platform
//!   context, registers, restart state. Neither dereferences to the other.
//! * [`Process`] is a thread group (`clone(2)`, `CLONE_THREAD`).
//! * [`FsContext`] is what `CLONE_FS` shares.
//!
//! Locks: see the crate's order; each field group of [`Task`] and [`Process`] has
//! its own. What relates processes is changed under [`Kernel::tree`].

mod clone;
mod current;
mod exit;
mod pidfd;
mod pids;
mod process;
mod run;
mod sched;
mod times;
mod traits;
mod wait;

pub use clone::{CloneRequest, InitConfig, clone_task, spawn_init};
pub use current::{CurrentTask, RestartBlock};
pub(crate) use exit::become_only_thread;
pub use pidfd::PidFd;
pub use pids::{PID_MAX, PidTable};
pub use process::{ExitStatus, Family, Life, Process, Remains, Usage, default_limits};
pub use sched::{CPUS_MAX, CpuSet, Scheduling};
pub use traits::{LooksBy, Traits, may_inspect};
pub use wait::{ChildEvent, WaitWhom, Waited, wait_child};

use crate::cred::Cred;
use crate::fd::FdTable;
use crate::ipc::UndoList;
use crate::kernel::Kernel;
use crate::mm::{Limits, Mm};
use crate::seccomp::Seccomp;
use crate::signal::{SigHandlers, TaskSignals};
use crate::sync::{Mutex, RwLock};
use crate::vfs::{Glances, Path};
use crate::wait::{Events, WaitQueue};
use chitin_abi::task::{RLIMIT_AS, RLIMIT_MEMLOCK, RLIMIT_STACK};
use chitin_platform::{Kicker, LocalCall, Whose};
use chitin_usermem::UserAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::task::Waker;

/// A process or thread number.
pub type Pid = i32;

/// What `CLONE_FS` shares: root, working directory, umask.
pub struct FsContext {
    /// `chroot(2)`.
    pub root: RwLock<Path>,
    /// `chdir(2)`.
    pub cwd: RwLock<Path>,
    /// `umask(2)`.
    pub umask: AtomicU32,
    /// Whether its users look at files only.
    pub glances: Glances,
}

impl FsContext {
    /// A copy for `fork(2)`.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            root: RwLock::new(self.root.read().clone()),
            cwd: RwLock::new(self.cwd.read().clone()),
            umask: AtomicU32::new(self.umask.load(Ordering::Relaxed)),
            glances: Glances::default(),
        }
    }
}

/// Things a task must do before it goes on in the guest (bits of [`Task::work`]).
pub mod work {
    /// A signal may be deliverable.
    pub const SIGNAL: u32 = 1;
    /// The task must exit (`exit_group(2)`, `SIGKILL`, `execve(2)` of a sibling).
    pub const EXIT: u32 = 2;
    /// The thread group is being stopped.
    pub const STOP: u32 = 4;
}

/// What a parent in `vfork(2)` waits for.
#[derive(Default)]
pub struct Vfork {
    done: AtomicBool,
    event: WaitQueue,
}

impl Vfork {
    fn finish(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.event.notify(Events::ALL);
    }
}

/// Words in the memory of a thread that its end changes.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExitWords {
    /// `set_tid_address(2)`.
    pub clear_child_tid: UserAddr,
    /// `set_robust_list(2)`: head.
    pub robust_list: UserAddr,
}

impl From<[u64; 2]> for ExitWords {
    fn from([tid, list]: [u64; 2]) -> Self {
        Self { clear_child_tid: UserAddr(tid), robust_list: UserAddr(list) }
    }
}

impl From<ExitWords> for [u64; 2] {
    fn from(words: ExitWords) -> Self {
        [words.clear_child_tid.0, words.robust_list.0]
    }
}

/// A guest thread.
pub struct Task {
    /// The thread's number; changes only when `execve(2)` makes it the first thread.
    tid: AtomicI32,
    /// Its thread group.
    pub process: Arc<Process>,
    /// The kernel it lives in.
    pub kernel: Arc<Kernel>,
    /// Its address space (`CLONE_VM`); `None` once it has ended.
    mm: RwLock<Option<Arc<Mm>>>,
    /// Its descriptors (`CLONE_FILES`).
    pub files: RwLock<Arc<FdTable>>,
    /// Its root, working directory and umask (`CLONE_FS`).
    pub fs: RwLock<Arc<FsContext>>,
    /// Its credentials.
    pub cred: RwLock<Arc<Cred>>,
    /// What it does on signals (`CLONE_SIGHAND`).
    pub handlers: RwLock<Arc<SigHandlers>>,
    /// Its own signals: pending, mask, alternate stack.
    pub signals: Mutex<TaskSignals>,
    /// Name (`PR_SET_NAME`), at most 15 bytes.
    pub comm: Mutex<Vec<u8>>,
    /// Words that its end changes.
    exit_words: Mutex<ExitWords>,
    /// Whom to tell when it stops using its parent's memory.
    vfork: Mutex<Option<Arc<Vfork>>>,
    /// `PR_SET_PDEATHSIG`.
    pub parent_death_signal: AtomicI32,
    /// Pending [`work`] bits.
    pub work: AtomicU32,
    /// Wakes the task's future.
    pub waker: Mutex<Option<Waker>>,
    /// Stops its guest code.
    pub kicker: Mutex<Option<Arc<dyn Kicker>>>,
    /// Held while the platform is told who the thread is, before all other locks.
    pub publishing: Mutex<()>,
    /// What its end does to semaphores (`CLONE_SYSVSEM`), once there can be anything.
    pub(crate) undo: Mutex<Option<Arc<UndoList>>>,
    /// What it has asked of the scheduler.
    pub scheduling: Mutex<Scheduling>,
    /// What it has set for itself.
    pub traits: Mutex<Traits>,
    /// What it may not call.
    pub seccomp: Seccomp,
    /// It waits for something (`/proc/PID/stat` tells).
    pub(crate) asleep: AtomicBool,
}

impl Task {
    /// The thread's number.
    #[must_use]
    pub fn tid(&self) -> Pid {
        self.tid.load(Ordering::Relaxed)
    }

    /// Its address space, unless it has ended.
    #[must_use]
    pub fn mm(&self) -> Option<Arc<Mm>> {
        self.mm.read().clone()
    }

    /// Its descriptors.
    #[must_use]
    pub fn files(&self) -> Arc<FdTable> {
        self.files.read().clone()
    }

    /// Its credentials.
    #[must_use]
    pub fn cred(&self) -> Arc<Cred> {
        self.cred.read().clone()
    }

    /// Its root, working directory and umask.
    #[must_use]
    pub fn fs(&self) -> Arc<FsContext> {
        self.fs.read().clone()
    }

    /// What it does on signals.
    #[must_use]
    pub fn handlers(&self) -> Arc<SigHandlers> {
        self.handlers.read().clone()
    }

    /// Whether it runs or could run.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.asleep.load(Ordering::Relaxed)
    }

    /// Whether a wait must end.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.work.load(Ordering::SeqCst) != 0
    }

    /// Whether the task is on its way out.
    #[must_use]
    pub fn exiting(&self) -> bool {
        self.work.load(Ordering::SeqCst) & work::EXIT != 0
    }

    /// Says by which view the thread may have published answers; 0: by none. To be called
    /// before its credentials, descriptors, root or working directory become others.
    pub(crate) fn set_view(&self, view: u64) {
        let kicker = self.kicker.lock().clone();
        if let Some(kicker) = kicker {
            kicker.set_view(view);
            // Filters may have come from another thread meanwhile.
            if view != 0 && self.seccomp.is_on() {
                kicker.set_view(0);
            }
        }
    }

    /// Changes the credentials. With other ids for access, or more capabilities, nobody may
    /// look into the process any more (`PR_SET_DUMPABLE(2const)`, `suid_dumpable` is 0), and
    /// the thread hears no more of its parent's end (`PR_SET_PDEATHSIG(2const)`).
    pub fn set_cred(&self, cred: Cred) {
        self.set_view(0);
        let ids = |c: &Cred| (c.euid, c.egid, c.fsuid, c.fsgid);
        let old = self.cred();
        let more = ids(&old) != ids(&cred) || cred.permitted.0 & !old.permitted.0 != 0;
        if more {
            self.parent_death_signal.store(0, Ordering::Relaxed);
        }
        if let Some(mm) = self.mm() {
            if more {
                // Before: who sees the new ones sees this too.
                mm.set_dumpable(false);
            }
            mm.note_cred(&cred);
        }
        *self.cred.write() = Arc::new(cred);
        self.limit_growth();
        self.publish_identity();
    }

    /// How much memory it may lock, in bytes.
    pub(crate) fn lock_limit(&self) -> u64 {
        const CAP_IPC_LOCK: u32 = 14;
        match self.cred().has_cap(CAP_IPC_LOCK) {
            true => u64::MAX,
            false => self.process.limit(RLIMIT_MEMLOCK),
        }
    }

    /// How much memory it may have.
    pub(crate) fn memory_limits(&self) -> Limits {
        Limits {
            space: self.process.limit(RLIMIT_AS),
            locked: self.lock_limit(),
            stack: self.process.limit(RLIMIT_STACK),
        }
    }

    /// Tells its memory what areas may grow down to, if there are such. To be called when
    /// that has changed.
    pub(crate) fn limit_growth(&self) {
        if let Some(mm) = self.mm().filter(|mm| mm.grows()) {
            mm.set_growth(self.memory_limits());
        }
    }

    /// Gives the task another thread of the platform, or none.
    pub(crate) fn attach(&self, thread: Option<Arc<dyn Kicker>>) {
        if self.seccomp.is_on() {
            self.keep_alone();
        } else {
            self.signals.lock().keep_by(thread.clone());
        }
        if let Some(thread) = &thread {
            thread.set_exit_words(self.exit_words().into());
        }
        *self.kicker.lock() = thread;
        self.publish_identity();
    }

    /// The platform keeps nothing more for it, which has filters: what it changes it changes by
    /// calls. To be called while it is not running.
    pub(crate) fn keep_alone(&self) {
        if !self.seccomp.is_alone() {
            self.signals.lock().keep_by(None);
            let words = self.exit_words();
            *self.exit_words.lock() = words;
            self.seccomp.set_alone();
        }
    }

    /// Words that its end changes. Its memory, or the platform, may say anything.
    pub(crate) fn exit_words(&self) -> ExitWords {
        if self.seccomp.is_alone() {
            return *self.exit_words.lock();
        }
        let kicker = self.kicker.lock().clone();
        let kept = kicker.and_then(|kicker| kicker.exit_words());
        kept.map_or_else(|| *self.exit_words.lock(), ExitWords::from)
    }

    /// Sets them; it is not running.
    pub(crate) fn set_exit_words(&self, words: ExitWords) {
        if let Some(kicker) = &*self.kicker.lock() {
            kicker.set_exit_words(words.into());
        }
        *self.exit_words.lock() = words;
    }

    /// Tells the platform whether signals of its process are pending.
    pub(crate) fn tell_pending(&self, whose: Whose, pending: bool) {
        if let Some(kicker) = &*self.kicker.lock() {
            kicker.set_pending(whose, pending);
        }
    }

    /// Tells the platform what it may answer by itself: who the thread is. To be called
    /// whenever that has changed. A traced sandbox wants to see every call.
    pub(crate) fn publish_identity(&self) {
        let _order = self.publishing.lock();
        let kicker = self.kicker.lock().clone();
        let Some(kicker) = kicker.filter(|_| self.kernel.trace.is_none()) else { return };
        let (cred, process) = (self.cred(), &self.process);
        let id = |n: i32| u32::try_from(n).ok();
        let parent = process.parent().map_or(0, |p| p.pid);
        for (call, answer) in [
            (LocalCall::SchedYield, Some(0)),
            (LocalCall::Futex, Some(0)),
            (LocalCall::Sigprocmask, Some(0)),
            (LocalCall::Getpid, id(process.pid)),
            (LocalCall::Gettid, id(self.tid.load(Ordering::Relaxed))),
            (LocalCall::Getppid, id(parent)),
            (LocalCall::Getuid, Some(cred.uid)),
            (LocalCall::Geteuid, Some(cred.euid)),
            (LocalCall::Getgid, Some(cred.gid)),
            (LocalCall::Getegid, Some(cred.egid)),
            (LocalCall::Getpgrp, id(process.group().0)),
        ] {
            kicker.publish(call, answer.filter(|_| !self.seccomp.is_on()));
        }
    }

    /// Counts what the platform has answered by itself.
    pub(crate) fn count_answered(&self) {
        if let (Some(stats), Some(kicker)) = (&self.kernel.stats, &*self.kicker.lock()) {
            stats.answered(kicker.answered());
        }
    }

    /// Gives the task work: ends its wait, or makes it leave guest code.
    pub fn add_work(&self, bits: u32) {
        self.work.fetch_or(bits, Ordering::SeqCst);
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
        let kicker = self.kicker.lock().clone();
        if let Some(kicker) = kicker {
            kicker.kick();
        }
    }

    /// Its list of what is to be undone, which begins now at the latest.
    pub(crate) fn undo_list(&self) -> Arc<UndoList> {
        let new = || self.kernel.ipc.sem.new_list(self.process.pid);
        self.undo.lock().get_or_insert_with(new).clone()
    }

    /// Shares it no longer; the last one has it undone.
    pub(crate) fn leave_undo_list(&self) {
        let list = self.undo.lock().take();
        drop(list);
    }

    /// Tells a parent in `vfork(2)` that its memory is its own again.
    pub(crate) fn finish_vfork(&self) {
        let vfork = self.vfork.lock().take();
        if let Some(vfork) = vfork {
            vfork.finish();
        }
    }
}
