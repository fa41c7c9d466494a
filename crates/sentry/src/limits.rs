//! Limits of a whole sandbox: life time and memory.
//!
//! The memory of a sandbox is what its memory file holds (anonymous memory, files in
//! memory) and what the host needs for its processes: their bookkeeping and the page
//! tables of what they share. A thread of its own looks at the sum, the more often the
//! nearer it is to the limit, and kills the largest process beyond it. It sleeps while no
//! guest code runs. A fork that would pass the limit by what the host needs for it fails.
//! What the memory file holds has a second, hard limit, where mounts are
//! possible: the file system that it is in ends [`SLACK`] behind.

use crate::launch::{Isolation, Outcome};
use anyhow::{Context, Result};
use chitin_hostsys::heap;
use chitin_kernel::Kernel;
use chitin_kernel::task::{ExitStatus, Process};
use chitin_usermem::GuestMemory;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How far the memory file may grow beyond the limit, in bytes.
const SLACK: u64 = 32 << 20;
/// What guests can touch in a millisecond at most, in bytes.
const TOUCHED_PER_MS: u64 = 4 << 20;
/// The shortest and the longest time between two looks, in milliseconds.
const LOOK_MS: (u64, u64) = (1, 100);
/// How long the host may take until it begins to give the memory of a killed process back: first
/// it unmaps all of it.
const DEATH: Duration = Duration::from_millis(250);
/// How long the memory of processes that have ended may take. Meanwhile nobody is killed who has
/// less than this part of the limit.
const DEATHS: Duration = Duration::from_secs(2);
const SMALL: u64 = 256;
/// What the host needs for a process, in bytes: stacks, tables, descriptors.
const PROCESS: u64 = 128 << 10;
/// Bytes of address space that one page of page tables covers, and that page.
const TABLE_SPAN: u64 = 2 << 20;
const TABLE: u64 = 4096;
/// How long the sum over all processes is believed.
const PROCESSES_TTL: Duration = Duration::from_millis(20);
/// Files in memory leave this part of the limit to programs.
const RESERVE: u64 = 16;

/// Ends the sandbox after its life time.
pub(crate) fn end_after(limit: Duration, mut control: UnixStream) -> Result<()> {
    let work = move || {
        std::thread::sleep(limit);
        eprintln!("chitin: {} s are over: the program was killed (--timeout)", limit.as_secs_f64());
        let _ = control.write_all(&Outcome::TimedOut.encode());
        std::process::exit(0)
    };
    let thread = std::thread::Builder::new().name("timeout".into()).stack_size(128 << 10);
    thread.spawn(work).map(drop).context("no thread for --timeout")
}

/// Most bytes that the sentry keeps for guests besides their own memory.
const MOST_HEAP: u64 = 512 << 20;
/// The least that it may keep where `--memory` is small, in bytes.
const LEAST_HEAP: u64 = 64 << 20;
/// What the sentry keeps for one descriptor and one area of memory, about, in bytes.
const DESCRIPTOR: u64 = 1024;
const AREA: u64 = 256;
/// And for a place in a table of descriptors, used or not.
const SLOT: u64 = 16;

/// What a process costs the sentry itself, about, in bytes.
fn weight(process: &Arc<Process>) -> u64 {
    process.tasks().first().map_or(0, |task| {
        let areas = task.mm().map_or(0, |mm| mm.areas() as u64);
        areas * AREA
            + task.files().list().len() as u64 * DESCRIPTOR
            + task.files().room() as u64 * SLOT
    })
}

/// Bounds what the sentry keeps for guests: whoever makes it keep too much is killed, and
/// where that does not help the sandbox ends. The thread sleeps until there is too much.
pub(crate) fn guard_heap(
    kernel: Arc<Kernel>,
    memory: Option<u64>,
    mut control: UnixStream,
) -> Result<()> {
    // What a killed process gave back is seen after so long.
    const PATIENCE: std::time::Duration = std::time::Duration::from_millis(20);
    // So many killed processes in a row did not help.
    const MOST_KILLED: u32 = 256;
    let limit = memory.map_or(MOST_HEAP, |m| (m / 4).clamp(LEAST_HEAP, MOST_HEAP));
    heap::set_limit(limit);
    let work = move || {
        let mut killed = 0;
        loop {
            heap::wait_above();
            let processes = kernel.pids.processes();
            let heaviest = processes.iter().max_by_key(|p| weight(p));
            if let Some(heaviest) = heaviest.filter(|_| killed < MOST_KILLED) {
                let pid = heaviest.pid;
                kernel.log(&format!(
                    "killed process {pid}: the sandbox's files, areas and queues take {} bytes",
                    heap::held()
                ));
                let signo = chitin_abi::signal::SIGKILL;
                heaviest.exit_group(ExitStatus::Signaled { signo, core: false });
            } else {
                eprintln!(
                    "chitin: the sandbox was ended: its files and queues take more than {limit} \
                     bytes of the sentry's own memory (a larger --memory allows for more)"
                );
                let _ = control.write_all(&Outcome::Signaled(9).encode());
                std::process::exit(0)
            }
            drop(processes);
            std::thread::sleep(PATIENCE);
            killed = if heap::held() > limit { killed + 1 } else { 0 };
        }
    };
    let thread = std::thread::Builder::new().name("heap".into()).stack_size(128 << 10);
    thread.spawn(work).map(drop).context("no thread to bound the sentry's memory")
}

/// The memory file, in a file system that ends where the limit does if there is one, and has huge
/// pages if there is none; and what is to be closed when the first stub has been forked, which
/// takes the time that it needs.
pub(crate) fn memory_file(
    limit: Option<u64>,
    isolation: Isolation,
) -> Result<(GuestMemory, Option<OwnedFd>)> {
    let made = match limit {
        Some(limit) if isolation != Isolation::Nothing => {
            chitin_hostsys::memory_file_system(Some(limit.saturating_add(SLACK)))
                .and_then(|(file, mount)| Ok((GuestMemory::over(file)?, Some(mount))))
        }
        None if isolation != Isolation::Nothing => chitin_hostsys::memory_file_system(None)
            .and_then(|(file, mount)| Ok((GuestMemory::with_huge_pages(file)?, Some(mount))))
            .or_else(|_| Ok((GuestMemory::new()?, None))),
        _ => GuestMemory::new().map(|memory| (memory, None)),
    };
    made.context("no memory file; raise the limits of file size and address space (ulimit -f, -v)")
}

/// Watches the memory of a sandbox.
struct Guard {
    kernel: Arc<Kernel>,
    limit: u64,
    /// What all processes need of the host, and when that was summed up.
    processes: (u64, Instant),
    /// Who was killed last, and when.
    killed: (Weak<Process>, Instant),
}

/// Starts the thread that keeps the memory below the limit.
pub(crate) fn guard_memory(kernel: Arc<Kernel>, limit: u64) -> Result<()> {
    kernel.memory.set_limit(limit);
    let processes = (0, Instant::now());
    let mut guard = Guard { kernel, limit, processes, killed: (Weak::new(), Instant::now()) };
    let thread = std::thread::Builder::new().name("memory".into()).stack_size(128 << 10);
    thread.spawn(move || guard.run()).map(drop).context("no thread for --memory")
}

/// Page tables for what a process shares with others; its own pages are as many as the
/// memory file has, and so are their tables at most.
fn tables(process: &Process) -> u64 {
    let Some(mm) = process.tasks().first().and_then(|t| t.mm()) else { return 0 };
    let shared = |line: &chitin_kernel::mm::MapLine| {
        line.file.is_some() || line.sharing == chitin_kernel::mm::Sharing::Shared
    };
    let lines = mm.lines(chitin_kernel::mm::Detail::Places).into_iter().filter(shared);
    lines.map(|line| (line.range.end - line.range.start) / TABLE_SPAN * TABLE).sum()
}

fn size(process: &Arc<Process>) -> u64 {
    let mm = process.tasks().first().and_then(|t| t.mm());
    mm.map_or(0, |mm| mm.sizes().anonymous) + tables(process)
}

impl Guard {
    fn run(&mut self) {
        loop {
            let before = (self.kernel.memory.resident(), self.cpu());
            let used = self.used();
            self.kernel.memory.set_full(used > self.limit - self.limit / RESERVE);
            if used > self.limit {
                self.kill_largest(used);
                continue;
            }
            // Pages that wait to be used again are not needed so badly.
            let waiting = self.kernel.memory.held().saturating_sub(self.kernel.memory.resident());
            let left = self.limit - used;
            if waiting > left / 2 {
                self.kernel.memory.trim();
            }
            let nap = left / TOUCHED_PER_MS;
            std::thread::sleep(Duration::from_millis(nap.clamp(LOOK_MS.0, LOOK_MS.1)));
            let quiet = || (self.kernel.memory.resident(), self.cpu()) == before;
            if quiet() {
                self.kernel.activity.sleep(|| {
                    std::thread::sleep(Duration::from_millis(LOOK_MS.0));
                    quiet()
                });
            }
        }
    }

    /// CPU time of all guest code.
    fn cpu(&self) -> u64 {
        let processes = self.kernel.pids.processes();
        let time = |p: &Arc<Process>| p.tasks().first()?.mm()?.space().cpu_time();
        processes.iter().filter_map(time).sum()
    }

    /// What the sandbox uses, in bytes.
    fn used(&mut self) -> u64 {
        let (sum, at) = self.processes;
        let count = self.kernel.pids.count() as u64;
        if at.elapsed() > PROCESSES_TTL || sum < count * PROCESS {
            let processes = self.kernel.pids.processes();
            let sum = processes.iter().map(|p| tables(p)).sum::<u64>() + count * PROCESS;
            self.processes = (sum, Instant::now());
        }
        self.kernel.memory.resident() + self.processes.0
    }

    fn kill_largest(&mut self, used: u64) {
        let processes = self.kernel.pids.processes();
        let Some(largest) = processes.iter().max_by_key(|p| size(p)) else { return };
        let (killed, at) = &self.killed;
        let is_small = size(largest) < self.limit / SMALL && at.elapsed() < DEATHS;
        if is_small || std::ptr::eq(killed.as_ptr(), Arc::as_ptr(largest)) {
            // Who has the memory has not come to its end yet.
            std::thread::sleep(Duration::from_millis(LOOK_MS.0));
            return;
        }
        self.killed = (Arc::downgrade(largest), Instant::now());
        let name = largest.tasks().first().map(|t| t.comm.lock().clone()).unwrap_or_default();
        let line = format!(
            "out of memory: killed process {} ({}); the sandbox used {} MiB of the {} MiB that \
             --memory gives it",
            largest.pid,
            String::from_utf8_lossy(&name),
            used >> 20,
            self.limit >> 20
        );
        eprintln!("chitin: {line}");
        self.kernel.log(&line);
        let signo = chitin_abi::signal::SIGKILL;
        largest.exit_group(ExitStatus::Signaled { signo, core: false });
        // The hard limit is nearer by what waits to be used again.
        self.kernel.memory.trim();
        let (mut since, mut least) = (Instant::now(), used);
        while since.elapsed() < DEATH {
            let now = self.used();
            if now <= self.limit {
                break;
            }
            if now < least {
                (since, least) = (Instant::now(), now);
            }
            std::thread::sleep(Duration::from_millis(LOOK_MS.0));
        }
    }
}
