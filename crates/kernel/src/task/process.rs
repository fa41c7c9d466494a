//! [`Process`]: a thread group, its family, and its end.

use super::{Pid, Task, work};
use crate::cred::Cred;
use crate::sync::Mutex;
use crate::vfs::Running;
use crate::wait::WaitQueue;
use chitin_abi::signal::SIGKILL;
use chitin_abi::task::{RLIM_INFINITY, RLIM_NLIMITS, Rlimit};
use chitin_abi::task::{
    RLIMIT_CORE, RLIMIT_MEMLOCK, RLIMIT_MSGQUEUE, RLIMIT_NICE, RLIMIT_NOFILE, RLIMIT_NPROC,
    RLIMIT_RTPRIO, RLIMIT_SIGPENDING, RLIMIT_STACK,
};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// How a thread or a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitStatus {
    /// By `exit(2)` with this status.
    Exited(u8),
    /// By this signal.
    Signaled {
        /// The signal's number.
        signo: i32,
        /// It left a core file (`core(5)`).
        core: bool,
    },
}

/// What `WCOREDUMP` looks at.
const WCOREFLAG: i32 = 0x80;

impl ExitStatus {
    /// The status word of `wait(2)`.
    #[must_use]
    pub fn wait_status(self) -> i32 {
        match self {
            Self::Exited(status) => i32::from(status) << 8,
            Self::Signaled { signo, core } => signo | if core { WCOREFLAG } else { 0 },
        }
    }
}

/// Relations of a process. All of them are changed under the kernel's tree lock.
#[derive(Default)]
pub struct Family {
    /// Who is told of its end; nobody for the first process.
    pub parent: Weak<Process>,
    /// Living and zombie children.
    pub children: Vec<Arc<Process>>,
    /// Process group.
    pub pgid: Pid,
    /// Session.
    pub sid: Pid,
    /// The controlling terminal.
    pub tty: Option<Arc<dyn crate::tty::Terminal>>,
    /// Of a session leader whose terminal was hung up: what was its foreground group.
    pub lost_foreground: Option<Pid>,
    /// `PR_SET_CHILD_SUBREAPER`.
    pub subreaper: bool,
    /// It has called `execve(2)`: `setpgid(2)` by its parent is `EACCES`.
    pub execed: bool,
}

/// Where a process is on its way to its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Life {
    /// `exit_group(2)` or a deadly signal: all threads are on their way out.
    pub group_exit: Option<ExitStatus>,
    /// Status of the first thread, if it has ended before the others.
    pub leader_exit: Option<ExitStatus>,
    /// No thread is left; waits for its parent.
    pub zombie: Option<ExitStatus>,
    /// Signal for the parent at the end (`clone(2)`); 0 is none.
    pub exit_signal: i32,
    /// Stopped by this signal.
    pub stopped: Option<i32>,
    /// The stop was not yet waited for.
    pub stop_news: bool,
    /// It was continued, which was not yet waited for.
    pub continue_news: bool,
    /// Threads that must not exist any more because one of them calls `execve(2)`.
    pub exec_by: Option<Pid>,
}

/// Consumed resources (`getrusage(2)`), in nanoseconds and counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// CPU time in guest code.
    pub user: u64,
    /// CPU time in the kernel.
    pub system: u64,
    /// Most resident memory, in KiB.
    pub max_rss: u64,
}

/// What is still known of a process without threads.
#[derive(Clone, Debug)]
pub struct Remains {
    /// Name of the thread that ended last.
    pub comm: Vec<u8>,
    /// Who it was.
    pub cred: Arc<Cred>,
}

/// A thread group.
pub struct Process {
    /// The thread group's number.
    pub pid: Pid,
    /// Its threads.
    pub threads: Mutex<Vec<Weak<Task>>>,
    /// Its relations.
    pub family: Mutex<Family>,
    /// Its end, and stops.
    pub life: Mutex<Life>,
    /// Told when a child ends, stops or continues.
    pub child_event: WaitQueue,
    /// Told when the process is continued, or loses a thread.
    pub life_event: WaitQueue,
    /// `getrlimit(2)`.
    pub limits: Mutex<[Rlimit; RLIM_NLIMITS]>,
    /// The executable.
    pub exe: Mutex<Option<Arc<Running>>>,
    /// Resources of waited-for children.
    pub children_usage: Mutex<Usage>,
    /// Signals for the process.
    pub signals: Mutex<crate::signal::ProcessSignals>,
    /// Timers that send signals.
    pub timers: Mutex<crate::time::timers::ProcessTimers>,
    /// Watches `RLIMIT_CPU`, if there is one.
    pub cpu_limit: Mutex<Option<Arc<crate::time::cpu_limit::CpuLimit>>>,
    /// CPU time in address spaces that it has left, in nanoseconds.
    pub cpu_before: AtomicU64,
    /// What of it was the host's kernel's.
    pub system_before: AtomicU64,
    /// What its calls took of the sentry's time, by samples, in nanoseconds.
    pub served: AtomicU64,
    /// User and system time as they were told last, in nanoseconds: neither goes back.
    pub told_times: Mutex<(u64, u64)>,
    /// Memory that it had in an address space that it has left, the most, in KiB.
    pub peak_memory: AtomicU64,
    /// When it was made: nanoseconds of `CLOCK_MONOTONIC`.
    pub started: u64,
    /// `/proc/PID/oom_score_adj`, -1000 to 1000.
    pub oom_score_adj: AtomicI32,
    /// `PR_SET_THP_DISABLE`; there are none.
    pub no_huge_pages: AtomicBool,
    /// Its core file, while that is written.
    pub dump: Mutex<Option<Arc<crate::dump::Dump>>>,
    /// Set when it has ended.
    pub remains: Mutex<Option<Remains>>,
}

/// Limits of the first process, those of a Linux system with defaults.
#[must_use]
pub fn default_limits() -> [Rlimit; RLIM_NLIMITS] {
    let mut limits = [Rlimit { cur: RLIM_INFINITY, max: RLIM_INFINITY }; RLIM_NLIMITS];
    let special = [
        (RLIMIT_STACK, 8 << 20, RLIM_INFINITY),
        (RLIMIT_CORE, 0, RLIM_INFINITY),
        (RLIMIT_NOFILE, 1024, 1_048_576),
        (RLIMIT_NPROC, 1 << 15, 1 << 15),
        (RLIMIT_MEMLOCK, 8 << 20, 8 << 20),
        (RLIMIT_SIGPENDING, 1 << 15, 1 << 15),
        (RLIMIT_MSGQUEUE, 819_200, 819_200),
        (RLIMIT_NICE, 0, 0),
        (RLIMIT_RTPRIO, 0, 0),
    ];
    for (which, cur, max) in special {
        if let Some(limit) = limits.get_mut(which) {
            *limit = Rlimit { cur, max };
        }
    }
    limits
}

impl Usage {
    /// CPU time of both kinds.
    #[must_use]
    pub fn cpu(&self) -> u64 {
        self.user.saturating_add(self.system)
    }
}

impl Process {
    /// A process without threads.
    #[must_use]
    pub fn new(pid: Pid, exit_signal: i32, limits: [Rlimit; RLIM_NLIMITS]) -> Arc<Self> {
        Arc::new(Self {
            pid,
            threads: Mutex::default(),
            family: Mutex::new(Family { pgid: pid, sid: pid, ..Family::default() }),
            life: Mutex::new(Life { exit_signal, ..Life::default() }),
            child_event: WaitQueue::new(),
            life_event: WaitQueue::new(),
            limits: Mutex::new(limits),
            exe: Mutex::default(),
            children_usage: Mutex::default(),
            signals: Mutex::default(),
            timers: Mutex::default(),
            cpu_limit: Mutex::default(),
            cpu_before: AtomicU64::new(0),
            system_before: AtomicU64::new(0),
            served: AtomicU64::new(0),
            told_times: Mutex::default(),
            peak_memory: AtomicU64::new(0),
            started: chitin_executor::Executor::now(),
            oom_score_adj: AtomicI32::new(0),
            no_huge_pages: AtomicBool::new(false),
            dump: Mutex::default(),
            remains: Mutex::default(),
        })
    }

    /// Its living threads.
    #[must_use]
    pub fn tasks(&self) -> Vec<Arc<Task>> {
        self.threads.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// CPU time that it has used, in nanoseconds, as far as the platform can tell.
    #[must_use]
    pub fn cpu_time(&self) -> u64 {
        let now = self.mm().and_then(|mm| mm.space().cpu_time()).unwrap_or(0);
        self.cpu_before.load(Ordering::Relaxed).saturating_add(now)
    }

    /// What it and the children that it has waited for have used.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let children = *self.children_usage.lock();
        let max_rss = children.max_rss.max(self.peak_memory.load(Ordering::Relaxed));
        let (user, system) = self.cpu_times();
        Usage {
            user: user.saturating_add(children.user),
            system: system.saturating_add(children.system),
            max_rss,
        }
    }

    /// Its real user; of a zombie, who it was.
    #[must_use]
    pub fn uid(&self) -> u32 {
        let alive = self.tasks().first().map(|t| t.cred().uid);
        alive.or_else(|| self.remains.lock().as_ref().map(|r| r.cred.uid)).unwrap_or(0)
    }

    /// The current soft limit of a resource.
    #[must_use]
    pub fn limit(&self, resource: usize) -> u64 {
        self.limits.lock().get(resource).map_or(RLIM_INFINITY, |l| l.cur)
    }

    /// Process group and session.
    #[must_use]
    pub fn group(&self) -> (Pid, Pid) {
        let family = self.family.lock();
        (family.pgid, family.sid)
    }

    /// The parent.
    #[must_use]
    pub fn parent(&self) -> Option<Arc<Process>> {
        self.family.lock().parent.upgrade()
    }

    /// Tells the platform again who its threads are.
    pub(crate) fn publish_identity(&self) {
        for task in self.tasks() {
            task.publish_identity();
        }
    }

    /// Sends all threads on their way out, with this status unless there is one.
    pub fn exit_group(&self, status: ExitStatus) {
        self.life.lock().group_exit.get_or_insert(status);
        if status == (ExitStatus::Signaled { signo: SIGKILL, core: false })
            && let Some(dump) = &*self.dump.lock()
        {
            dump.cancel();
        }
        for task in self.tasks() {
            task.add_work(work::EXIT);
        }
        self.life_event.notify(crate::wait::Events::ALL);
    }
}
