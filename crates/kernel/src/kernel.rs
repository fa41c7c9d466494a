//! [`Kernel`]: what all tasks of a sandbox share.

use crate::futex::FutexTable;
use crate::sync::{Mutex, RwLock};
use crate::syscall::stats::Stats;
use crate::syscall::trace::Tracer;
use crate::task::{ExitStatus, PidTable, Process};
use crate::wait::WaitQueue;
use chitin_executor::Executor;
use chitin_hostsys::cpu::CpuInfo;
use chitin_platform::Platform;
use chitin_usermem::GuestMemory;
use std::collections::HashSet;
use std::sync::Arc;

/// What the world outside is told.
pub trait Outside: Send + Sync {
    /// The first process has ended, and with it the sandbox.
    fn ended(&self, status: ExitStatus);

    /// The first process was stopped by this signal.
    fn stopped(&self, signo: i32);

    /// A line for the kernel's log.
    fn log(&self, line: &str);
}

/// What the kernel is made from.
pub struct KernelConfig {
    /// Runs guest code.
    pub platform: Arc<dyn Platform>,
    /// Polls the tasks.
    pub executor: Arc<Executor>,
    /// The sandbox's memory file.
    pub memory: Arc<GuestMemory>,
    /// The world outside.
    pub outside: Box<dyn Outside>,
    /// Log of system calls.
    pub trace: Option<Tracer>,
    /// Counters of system calls.
    pub stats: Option<Arc<Stats>>,
    /// Most tasks.
    pub max_tasks: usize,
    /// Host name (`uname(2)`).
    pub hostname: Vec<u8>,
    /// What programs are told of the CPU.
    pub cpu: CpuInfo,
    /// CPUs that programs are told of.
    pub cpus: usize,
    /// Memory that programs are told of, in bytes.
    pub memory_limit: u64,
}

/// One virtual kernel.
pub struct Kernel {
    /// Runs guest code.
    pub platform: Arc<dyn Platform>,
    /// Polls the tasks.
    pub executor: Arc<Executor>,
    /// The sandbox's memory file.
    pub memory: Arc<GuestMemory>,
    /// Patched call sites.
    pub texts: Arc<crate::mm::Texts>,
    /// Headers of programs.
    pub(crate) executables: crate::exec::Known,
    /// What every program has mapped to read clocks.
    pub vdso: Option<crate::exec::Vdso>,
    /// All tasks and processes by number.
    pub pids: PidTable,
    /// Held while relations of processes change.
    pub tree: Mutex<()>,
    /// All mounts.
    pub mounts: crate::vfs::MountTable,
    /// Character devices.
    pub devices: crate::vfs::DeviceTable,
    /// Kinds of file systems.
    pub filesystems: crate::vfs::FsTypes,
    /// Who waits for whose record lock.
    pub lock_waits: crate::syscall::locks::LockWaits,
    /// Held while a directory entry moves (`rename(2)`).
    pub rename: Mutex<()>,
    /// Which names are remembered.
    pub dentries: crate::vfs::DentryCache,
    /// Threads that wait for words of memory.
    pub futexes: FutexTable,
    /// What contexts of asynchronous requests use.
    pub aio: Arc<crate::aio::Usage>,
    /// What sockets share.
    pub net: crate::net::NetState,
    /// Objects of System V IPC.
    pub ipc: crate::ipc::IpcState,
    /// Told of every signal that becomes pending (`sigtimedwait(2)`, `signalfd(2)`).
    pub signal_event: WaitQueue,
    /// Queued signals by user (`RLIMIT_SIGPENDING`).
    pub signal_counts: crate::signal::SignalCounts,
    /// Log of system calls.
    pub trace: Option<Tracer>,
    /// Counters of system calls.
    pub stats: Option<Arc<Stats>>,
    /// Most tasks.
    pub max_tasks: usize,
    /// Host and domain name (`uname(2)`).
    pub names: RwLock<(Vec<u8>, Vec<u8>)>,
    /// What programs are told of the CPU.
    pub cpu: CpuInfo,
    /// CPUs that programs are told of.
    pub cpus: usize,
    /// Memory that programs are told of, in bytes.
    pub memory_limit: u64,
    /// When it began: nanoseconds of `CLOCK_MONOTONIC`.
    pub started: u64,
    /// In which order things are told.
    pub order: crate::syscall::others::Order,
    /// How core files are named.
    pub core_files: crate::dump::Settings,
    /// Whether guest code runs.
    pub activity: crate::Activity,
    /// What programs change below `/proc/sys`.
    pub settings: crate::Settings,
    outside: Box<dyn Outside>,
    /// What was logged once.
    gaps: Mutex<HashSet<String>>,
}

impl Kernel {
    /// A kernel without tasks.
    #[must_use]
    pub fn new(config: KernelConfig) -> Arc<Self> {
        if let Some(word) = config.platform.changes() {
            crate::changes::count_in(word);
        }
        let texts = crate::mm::Texts::new(config.platform.clone(), config.memory.clone());
        Arc::new(Self {
            texts,
            executables: crate::exec::Known::default(),
            vdso: crate::exec::Vdso::new(&*config.platform, &config.memory),
            platform: config.platform,
            executor: config.executor,
            memory: config.memory,
            pids: PidTable::default(),
            tree: Mutex::default(),
            mounts: crate::vfs::MountTable::default(),
            devices: crate::vfs::DeviceTable::default(),
            filesystems: crate::vfs::FsTypes::default(),
            lock_waits: crate::syscall::locks::LockWaits::default(),
            rename: Mutex::default(),
            dentries: crate::vfs::DentryCache::default(),
            futexes: FutexTable::default(),
            aio: Arc::default(),
            net: crate::net::NetState::default(),
            ipc: crate::ipc::IpcState::default(),
            signal_event: WaitQueue::new(),
            signal_counts: crate::signal::SignalCounts::default(),
            trace: config.trace,
            stats: config.stats,
            max_tasks: config.max_tasks,
            names: RwLock::new((config.hostname, b"(none)".to_vec())),
            cpu: config.cpu,
            cpus: config.cpus,
            memory_limit: config.memory_limit,
            started: Executor::now(),
            order: crate::syscall::others::Order::default(),
            core_files: crate::dump::Settings::default(),
            activity: crate::Activity::default(),
            settings: crate::Settings::default(),
            outside: config.outside,
            gaps: Mutex::default(),
        })
    }

    /// Total and free memory of the sandbox in bytes.
    #[must_use]
    pub fn memory_sizes(&self) -> (u64, u64) {
        (self.memory_limit, self.memory_limit.saturating_sub(self.memory.resident()))
    }

    /// Logs a line.
    pub fn log(&self, line: &str) {
        self.outside.log(line);
    }

    /// Logs that something is not supported, once for each text.
    pub fn gap(&self, what: &str) {
        const MOST: usize = 1000;
        let mut gaps = self.gaps.lock();
        if gaps.len() < MOST && gaps.insert(what.to_owned()) {
            self.outside.log(&format!("not supported: {what}"));
        }
    }

    /// The first process has ended: so does everything.
    pub(crate) fn end(&self, status: ExitStatus) {
        for process in self.pids.processes() {
            process.tasks().iter().for_each(|task| task.count_answered());
            process.exit_group(ExitStatus::Signaled {
                signo: chitin_abi::signal::SIGKILL,
                core: false,
            });
        }
        self.outside.ended(status);
    }

    /// The first process was stopped.
    pub(crate) fn init_stopped(&self, signo: i32) {
        self.outside.stopped(signo);
    }

    /// A task has opened a file: a session leader without a terminal may get one.
    pub(crate) fn opened(
        &self,
        task: &Arc<crate::task::Task>,
        file: &Arc<crate::vfs::File>,
        flags: u32,
    ) {
        if flags & (chitin_abi::fs::O_NOCTTY | chitin_abi::fs::O_PATH) == 0
            && let Some(terminal) = file.ops().terminal()
        {
            crate::tty::adopt(task, &terminal);
        }
    }

    /// The leader of a session has ended.
    pub(crate) fn session_ended(&self, leader: &Arc<Process>) {
        crate::tty::disassociate(self, leader, crate::tty::Leaving::End);
    }
}
