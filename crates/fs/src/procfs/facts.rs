//! The files of `/proc` about the whole sandbox (`proc(5)`).
//!
//! Times: guest code counts as user time, the sentry's own as system time. What the
//! host alone does (faults, interrupts, context switches) is counted as 0.

use super::{net, sysctl, sysvipc};
use crate::hostfacts::HostFacts;
use crate::synth::Node;
use chitin_hostsys::{clock, cpu};
use chitin_kernel::task::Task;
use std::fmt::Write;
use std::sync::Arc;

/// Nanoseconds of a clock tick (`USER_HZ` is 100).
pub(super) const TICK: u64 = 10_000_000;

pub(super) fn entries(host: &Arc<HostFacts>) -> Vec<(&'static str, Node)> {
    let cpuinfo = host.clone();
    vec![
        ("self", Node::Link(Arc::new(|t| Ok(t.process.pid.to_string().into_bytes())))),
        (
            "thread-self",
            Node::Link(Arc::new(
                |t| Ok(format!("{}/task/{}", t.process.pid, t.tid()).into_bytes()),
            )),
        ),
        ("mounts", Node::link("self/mounts")),
        ("net", Node::link("self/net")),
        ("cgroups", Node::file(|_| Ok(cgroups()))),
        ("cmdline", Node::text("chitin\n")),
        ("cpuinfo", Node::file(move |t| Ok(cpu_info(t, &cpuinfo)))),
        (
            "devices",
            Node::text(
                "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/ptmx\n128 ptm\n136 pts\n\nBlock devices:\n",
            ),
        ),
        ("diskstats", Node::text("")),
        ("filesystems", Node::file(|t| Ok(filesystems(t)))),
        ("interrupts", Node::file(|t| Ok(interrupts(t)))),
        ("loadavg", Node::file(|t| Ok(loadavg(t)))),
        ("meminfo", Node::file(|t| Ok(meminfo(t)))),
        ("misc", Node::text("")),
        ("modules", Node::text("")),
        ("partitions", Node::text("major minor  #blocks  name\n\n")),
        ("stat", Node::file(|t| Ok(stat(t)))),
        ("swaps", Node::text("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")),
        ("sys", sysctl::sys()),
        ("sysvipc", sysvipc::sysvipc()),
        (
            "tty",
            Node::dir(vec![
                ("drivers", Node::text(TTY_DRIVERS)),
                ("ldiscs", Node::text("n_tty       0\n")),
            ]),
        ),
        ("uptime", Node::file(|t| Ok(uptime(t)))),
        ("version", Node::text(version())),
        ("vmstat", Node::file(|t| Ok(vmstat(t)))),
    ]
}

const TTY_DRIVERS: &str = "\
/dev/tty             /dev/tty        5       0 system:/dev/tty
/dev/ptmx            /dev/ptmx       5       2 system
pty_slave            /dev/pts      136 0-1048575 pty:slave
pty_master           /dev/ptm      128 0-1048575 pty:master
";

pub(super) fn net_of() -> Node {
    net::net()
}

fn version() -> String {
    format!("Linux version {} (chitin) {}\n", chitin_kernel::RELEASE, chitin_kernel::VERSION)
}

/// The controllers that `/sys/fs/cgroup` shows; hierarchy 0 is that of version 2.
fn cgroups() -> Vec<u8> {
    let mut out = String::from("#subsys_name\thierarchy\tnum_cgroups\tenabled\n");
    for name in crate::cgroupfs::CONTROLLERS {
        let _ = writeln!(out, "{name}\t0\t1\t1");
    }
    out.into_bytes()
}

fn filesystems(task: &Arc<Task>) -> Vec<u8> {
    let mut names = vec!["proc", "sysfs", "cgroup2", "devpts", "overlay"];
    names.extend(task.kernel.filesystems.names());
    names.iter().map(|name| format!("nodev\t{name}\n")).collect::<String>().into_bytes()
}

/// What `cpuid` tells where the host's own text is out of reach.
fn cpu_from_cpuid() -> Vec<u8> {
    let name = cpu::name();
    let [family, model, stepping] = name.version;
    format!(
        "processor\t: 0\nvendor_id\t: {}\ncpu family\t: {family}\nmodel\t\t: {model}\n\
         model name\t: {}\nstepping\t: {stepping}\nphysical id\t: 0\nsiblings\t: 1\ncore id\t\t: 0\n\
         cpu cores\t: 1\nflags\t\t: fpu tsc cx8 cmov mmx fxsr sse sse2 syscall lm\n\n",
        name.vendor, name.brand
    )
    .into_bytes()
}

/// The host's first CPU for every CPU of the sandbox, which are the cores of one package.
fn cpu_info(task: &Arc<Task>, host: &HostFacts) -> Vec<u8> {
    let text = host.read("proc/cpuinfo").unwrap_or_else(cpu_from_cpuid);
    let text = String::from_utf8_lossy(&text);
    let first: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
    let cpus = task.kernel.cpus;
    let mut out = String::new();
    for cpu in 0..cpus {
        for line in &first {
            let key = line.split('\t').next().unwrap_or_default();
            let own = match key {
                "processor" | "core id" | "apicid" | "initial apicid" => Some(cpu),
                "physical id" => Some(0),
                "siblings" | "cpu cores" => Some(cpus),
                _ => None,
            };
            let _ = match (own, key, line.split_once(": ")) {
                (Some(n), _, Some((head, _))) => writeln!(out, "{head}: {n}"),
                // Guests are refused the tiles of AMX.
                (None, "flags", Some((head, flags))) => {
                    let shown: Vec<&str> =
                        flags.split(' ').filter(|f| !f.starts_with("amx_")).collect();
                    writeln!(out, "{head}: {}", shown.join(" "))
                }
                _ => writeln!(out, "{line}"),
            };
        }
        out.push('\n');
    }
    out.into_bytes()
}

fn interrupts(task: &Arc<Task>) -> Vec<u8> {
    let cpus: String =
        (0..task.kernel.cpus).map(|n| format!("{:<11}", format!("CPU{n}"))).collect();
    format!("           {cpus}\n").into_bytes()
}

fn running(task: &Arc<Task>) -> usize {
    let processes = task.kernel.pids.processes();
    processes.iter().flat_map(|p| p.tasks()).filter(|t| t.is_running()).count()
}

fn loadavg(task: &Arc<Task>) -> Vec<u8> {
    let pids = &task.kernel.pids;
    format!("0.00 0.00 0.00 {}/{} {}\n", running(task), pids.count(), pids.last()).into_bytes()
}

/// The rows of `/proc/meminfo` in bytes. All memory of the sandbox is one memory file:
/// what anonymous mappings and in-memory files hold cannot be told apart at once.
pub(crate) fn memory_rows(task: &Arc<Task>) -> Vec<(&'static str, u64)> {
    let (total, free) = task.kernel.memory_sizes();
    let used = total.saturating_sub(free);
    let names = "Buffers Cached SwapCached Active Inactive Active(anon) Inactive(anon) Active(file) \
                 Inactive(file) Unevictable Mlocked SwapTotal SwapFree Dirty Writeback AnonPages \
                 Mapped Shmem KReclaimable Slab SReclaimable SUnreclaim KernelStack PageTables \
                 NFS_Unstable Bounce WritebackTmp CommitLimit Committed_AS VmallocTotal VmallocUsed \
                 VmallocChunk Percpu AnonHugePages ShmemHugePages ShmemPmdMapped FileHugePages \
                 FilePmdMapped";
    let mut rows = vec![("MemTotal", total), ("MemFree", free), ("MemAvailable", free)];
    rows.extend(names.split_whitespace().map(|name| {
        let bytes = match name {
            "Active" | "Active(anon)" | "AnonPages" | "Committed_AS" => used,
            "CommitLimit" => total,
            _ => 0,
        };
        (name, bytes)
    }));
    rows
}

fn meminfo(task: &Arc<Task>) -> Vec<u8> {
    let mut out = String::new();
    for (name, bytes) in memory_rows(task) {
        let _ = writeln!(out, "{:<16}{:>8} kB", format!("{name}:"), bytes >> 10);
    }
    for name in ["HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp"] {
        let _ = writeln!(out, "{:<16}{:>8}", format!("{name}:"), 0);
    }
    out.push_str("Hugepagesize:       2048 kB\nHugetlb:               0 kB\n");
    out.into_bytes()
}

fn vmstat(task: &Arc<Task>) -> Vec<u8> {
    let (total, free) = task.kernel.memory_sizes();
    let used = total.saturating_sub(free) / 4096;
    let mut out =
        format!("nr_free_pages {}\nnr_active_anon {used}\nnr_anon_pages {used}\n", free / 4096);
    let zeroes = "nr_inactive_anon nr_inactive_file nr_active_file nr_unevictable nr_mlock nr_mapped \
                  nr_file_pages nr_dirty nr_writeback nr_shmem nr_slab_reclaimable \
                  nr_slab_unreclaimable nr_kernel_stack nr_page_table_pages pgpgin pgpgout pswpin \
                  pswpout pgfree pgactivate pgdeactivate pgfault pgmajfault oom_kill";
    for name in zeroes.split_whitespace() {
        let _ = writeln!(out, "{name} 0");
    }
    out.into_bytes()
}

/// CPU time in ticks: of guests, of the sentry, and what is left.
struct CpuTimes {
    user: u64,
    system: u64,
    idle: u64,
}

fn cpu_times(task: &Arc<Task>) -> CpuTimes {
    let kernel = &task.kernel;
    let user = kernel.pids.cpu_time();
    let system = clock::process_cpu();
    let all = age(task).saturating_mul(kernel.cpus as u64);
    let idle = all.saturating_sub(user).saturating_sub(system);
    CpuTimes { user: user / TICK, system: system / TICK, idle: idle / TICK }
}

fn stat(task: &Arc<Task>) -> Vec<u8> {
    let kernel = &task.kernel;
    let boot = clock::realtime_nanos().saturating_sub(age(task)) / 1_000_000_000;
    let times = cpu_times(task);
    let mut out = format!("cpu  {} 0 {} {} 0 0 0 0 0 0\n", times.user, times.system, times.idle);
    let n = kernel.cpus.max(1) as u64;
    for cpu in 0..kernel.cpus {
        let _ = writeln!(
            out,
            "cpu{cpu} {} 0 {} {} 0 0 0 0 0 0",
            times.user / n,
            times.system / n,
            times.idle / n
        );
    }
    let _ = write!(
        out,
        "intr 0\nctxt 0\nbtime {boot}\nprocesses {}\nprocs_running {}\nprocs_blocked 0\n\
         softirq 0 0 0 0 0 0 0 0 0 0 0\n",
        kernel.pids.last(),
        running(task)
    );
    out.into_bytes()
}

/// Nanoseconds since the kernel began.
fn age(task: &Arc<Task>) -> u64 {
    clock::monotonic().saturating_sub(task.kernel.started)
}

fn uptime(task: &Arc<Task>) -> Vec<u8> {
    let (up, idle) = (age(task) / TICK, cpu_times(task).idle);
    format!("{}.{:02} {}.{:02}\n", up / 100, up % 100, idle / 100, idle % 100).into_bytes()
}
