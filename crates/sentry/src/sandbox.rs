//! The sentry process, from the fork to the end of the guest.

use crate::SandboxConfig;
use crate::confine;
use crate::hostio::Watcher;
use crate::launch::{Isolation, Outcome};
use crate::masks::Masks;
use crate::outside::{Host, Sink};
use crate::{limits, program, streams, view};
use anyhow::{Context, Result, anyhow};
use chitin_executor::Executor;
use chitin_fs::HostFacts;
use chitin_fs::hostfs::{HostFs, HostFsOptions, Unmapped};
use chitin_fs::tmpfs::{Tmpfs, TmpfsOptions};
use chitin_hostsys::inherited::{self, Inherited};
use chitin_hostsys::{cpu, process, tty};
use chitin_kernel::sync::Mutex;
use chitin_kernel::syscall::stats::Stats;
use chitin_kernel::syscall::trace::Tracer;
use chitin_kernel::tty::PtyTable;
use chitin_kernel::{Kernel, KernelConfig};
use chitin_platform::Platform;
use chitin_systrap::Systrap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Exit status of a sandbox that could not be set up.
const SETUP_FAILED: u8 = 125;
/// Memory that programs are told of when there is no limit and the host does not tell.
const DEFAULT_MEMORY: u64 = 4 << 30;

/// Runs as the sentry; never returns to the caller's code.
pub(crate) fn sentry_main(
    config: &SandboxConfig,
    isolation: Isolation,
    inherited: &Inherited,
    mut control: UnixStream,
) -> ! {
    let status = match run(config, isolation, inherited, &mut control) {
        Ok(()) => SETUP_FAILED,
        Err(failure) => {
            eprintln!("chitin: {:#}", failure.error);
            failure.status
        }
    };
    // The launcher that is gone already has nobody to tell.
    let _ = control.write_all(&Outcome::Exited(status).encode());
    std::process::exit(i32::from(status))
}

/// Why there is no sandbox, and its exit status.
pub(crate) struct Failure {
    pub(crate) error: anyhow::Error,
    pub(crate) status: u8,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { error, status: SETUP_FAILED }
    }
}

fn run(
    config: &SandboxConfig,
    isolation: Isolation,
    inherited: &Inherited,
    control: &mut UnixStream,
) -> Result<(), Failure> {
    process::die_with_parent().context("PR_SET_PDEATHSIG")?;
    chitin_hostsys::tune_allocator();
    let mut go = [0];
    control.read_exact(&mut go).context("the launcher is gone")?;
    inherited::lift_limits();
    let log = config.log.as_ref().map(Sink::open).transpose()?.map(Mutex::new);
    let trace = config.strace.as_ref().map(Sink::open).transpose()?;
    let namespaces = isolation;
    let (root, isolation) = match confine::root_tree(config, isolation) {
        // Some hosts give namespaces without the right to mount (AppArmor): then as if
        // there were none.
        Err(_) if isolation != Isolation::Nothing => {
            let root = confine::root_tree(config, Isolation::Nothing)?;
            (root, Isolation::Nothing)
        }
        other => (other?, isolation),
    };
    let binds: Vec<OwnedFd> = config
        .binds
        .iter()
        .map(|bind| confine::bind_tree(bind, isolation))
        .collect::<Result<_>>()?;
    let files = view::open_files(config)?;
    let masks = Masks::new(config);
    let own_terminal = tty::controlling().ok();
    let hostname = config.hostname.clone().unwrap_or_else(host_name);
    let cpus = cpu::count();
    let (memory, mount) = limits::memory_file(config.memory, isolation)?;
    let memory = Arc::new(memory);
    let physical_memory = cpu::physical_memory();
    let workers = cpus.min(2);
    let systrap = Systrap::new(memory.fd(), workers)
        .context("the systrap platform does not start; seccomp and FSGSBASE are needed")?;
    drop(mount);
    confine::give_up(config, isolation, root.as_fd(), &binds)?;
    systrap.start().map_err(|e| anyhow!("the first stub does not run: {e}"))?;
    let watcher = Watcher::start().context("no thread to watch descriptors")?;
    let executor = Executor::new(systrap.workers(), workers);
    let stats = config.stats.then(|| Arc::new(Stats::default()));
    let host = Host::new(control.try_clone().context("the control socket")?, log, stats.clone());
    let platform: Arc<dyn Platform> = systrap;
    let kernel = Kernel::new(KernelConfig {
        platform: platform.clone(),
        executor: executor.clone(),
        memory: memory.clone(),
        outside: Box::new(host),
        trace: trace.map(|sink| {
            let sink = Mutex::new(sink);
            Tracer::new(Box::new(move |line| sink.lock().line(line)))
        }),
        stats,
        max_tasks: config.pids.map_or(32_768, |n| n as usize),
        hostname: hostname.into_bytes(),
        cpu: cpu::info(),
        cpus,
        memory_limit: config.memory.or(physical_memory).unwrap_or(DEFAULT_MEMORY),
    });
    chitin_fs::tmpfs::register(&kernel, memory.clone());
    let unmapped = match namespaces {
        Isolation::Full if process::ids().0 != 0 => Unmapped::Root,
        _ => Unmapped::Overflow,
    };
    let options = HostFsOptions { unmapped, masks: masks.root, ..HostFsOptions::default() };
    // With another root the host's own files are out of sight.
    let seen = if config.root.is_none() { root.try_clone().ok() } else { None };
    let facts = Arc::new(HostFacts::new(seen));
    let lower = HostFs::new(root, platform.clone(), options).context("the root cannot be read")?;
    let ptys = Arc::new(PtyTable::default());
    let (root, pts) = view::mount_tree(config, &kernel, &memory, lower, &facts, &ptys)
        .map_err(|e| anyhow!("the file systems could not be set up: {e:?}"))?;
    let binds = binds.into_iter().zip(masks.binds);
    view::mount_binds(&kernel, &root, config, binds, unmapped)?;
    view::mount_files(&kernel, &root, config, files, unmapped)?;
    for place in &config.tmpfs {
        let fs = Tmpfs::new(memory.clone(), TmpfsOptions::default());
        view::mount_at(&kernel, &root, place, fs, "tmpfs", 0)?;
    }
    if let Some(limit) = config.timeout {
        limits::end_after(limit, control.try_clone().context("the control socket")?)?;
    }
    if let Some(limit) = config.memory {
        limits::guard_memory(kernel.clone(), limit)?;
    }
    let told = control.try_clone().context("the control socket")?;
    limits::guard_heap(kernel.clone(), config.memory, told)?;
    let reads = control.try_clone().context("the control socket")?;
    let terminal = streams::caller_terminal(own_terminal, &ptys, &watcher, reads)?;
    let open = streams::standard_files(&watcher, inherited, terminal.as_ref(), &pts)?;
    program::start(config, &kernel, root, open, inherited, terminal.as_ref())?;
    let signals = control.try_clone().context("the control socket")?;
    program::forward_signals(kernel, signals, terminal)?;
    let mut confined = Ok(());
    executor.run_after(|| {
        confined = confine::filter(config);
        if confined.is_err() {
            // Nothing runs unconfined.
            executor.shutdown();
        }
    });
    confined.map_err(Failure::from)
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "chitin".into(), |s| s.trim().to_owned())
}
