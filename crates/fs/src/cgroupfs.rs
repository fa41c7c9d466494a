//! `/sys/fs/cgroup` (`cgroups(7)`): version 2 as a container sees it, its own group as
//! the root. Runtimes read their limits here; nothing can be changed and there are no
//! groups below, so it is mounted read-only.

use crate::synth::{Kind, Node, SynthFs};
use chitin_kernel::task::Task;
use chitin_kernel::vfs::{Caching, FileSystem};
use std::sync::Arc;

const CGROUP2_MAGIC: u64 = 0x6367_7270;
/// What can be limited.
pub(crate) const CONTROLLERS: [&str; 4] = ["cpuset", "cpu", "memory", "pids"];

/// Limits of the sandbox; `None` is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Tasks.
    pub pids: Option<u64>,
    /// CPUs.
    pub cpus: usize,
}

/// A new instance.
#[must_use]
pub fn cgroupfs(limits: Limits) -> Arc<dyn FileSystem> {
    let Node::Dir(root) = Node::dir(entries(limits)) else { unreachable!("made in this line") };
    let caching = Caching::Always;
    SynthFs::new(Kind { name: "cgroup2", magic: CGROUP2_MAGIC, file_size: 0, caching }, root)
}

fn line(text: impl std::fmt::Display) -> Node {
    Node::text(format!("{text}\n"))
}

fn limit(n: Option<u64>) -> Node {
    n.map_or_else(|| line("max"), line)
}

fn number(f: impl Fn(&Arc<Task>) -> u64 + Send + Sync + 'static) -> Node {
    Node::file(move |task| Ok(format!("{}\n", f(task)).into_bytes()))
}

fn members(task: &Arc<Task>) -> Vec<u8> {
    let processes = task.kernel.pids.processes();
    processes.iter().map(|p| format!("{}\n", p.pid)).collect::<String>().into_bytes()
}

fn threads(task: &Arc<Task>) -> Vec<u8> {
    let processes = task.kernel.pids.processes();
    let tasks = processes.iter().flat_map(|p| p.tasks());
    tasks.map(|t| format!("{}\n", t.tid())).collect::<String>().into_bytes()
}

fn cpu_stat(task: &Arc<Task>) -> Vec<u8> {
    let user = task.kernel.pids.cpu_time() / 1000;
    let system = chitin_hostsys::clock::process_cpu() / 1000;
    format!(
        "usage_usec {}\nuser_usec {user}\nsystem_usec {system}\nnr_periods 0\nnr_throttled 0\n\
         throttled_usec 0\n",
        user + system
    )
    .into_bytes()
}

/// Bytes in use: the sandbox's memory is one file, which is shared memory to the host and
/// anonymous memory to the guests.
fn used(task: &Arc<Task>) -> u64 {
    task.kernel.memory.resident()
}

fn memory_stat(task: &Arc<Task>) -> Vec<u8> {
    let zeroes = ["file", "kernel", "kernel_stack", "pagetables", "sock", "shmem", "file_mapped"];
    let mut out = format!("anon {}\n", used(task));
    out.extend(zeroes.map(|name| format!("{name} 0\n")));
    for name in [
        "inactive_anon 0",
        "inactive_file 0",
        "active_file 0",
        "unevictable 0",
        "pgfault 0",
        "pgmajfault 0",
    ] {
        out.push_str(name);
        out.push('\n');
    }
    out.into_bytes()
}

fn entries(limits: Limits) -> Vec<(&'static str, Node)> {
    let controllers = line(CONTROLLERS.join(" "));
    let cpus = crate::sysfs::cpu_list(limits.cpus);
    vec![
        ("cgroup.controllers", controllers),
        ("cgroup.events", Node::text("populated 1\nfrozen 0\n")),
        ("cgroup.freeze", line(0)),
        ("cgroup.max.depth", line("max")),
        ("cgroup.max.descendants", line("max")),
        ("cgroup.procs", Node::file(|task| Ok(members(task)))),
        ("cgroup.stat", Node::text("nr_descendants 0\nnr_dying_descendants 0\n")),
        ("cgroup.subtree_control", line("")),
        ("cgroup.threads", Node::file(|task| Ok(threads(task)))),
        ("cgroup.type", line("domain")),
        ("cpu.max", line("max 100000")),
        ("cpu.max.burst", line(0)),
        ("cpu.stat", Node::file(|task| Ok(cpu_stat(task)))),
        ("cpu.weight", line(100)),
        ("cpuset.cpus", line("")),
        ("cpuset.cpus.effective", line(cpus)),
        ("cpuset.mems", line("")),
        ("cpuset.mems.effective", line(0)),
        ("memory.current", number(used)),
        (
            "memory.events",
            Node::text("low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n"),
        ),
        ("memory.high", line("max")),
        ("memory.low", line(0)),
        ("memory.max", limit(limits.memory)),
        ("memory.min", line(0)),
        ("memory.stat", Node::file(|task| Ok(memory_stat(task)))),
        ("memory.swap.current", line(0)),
        ("memory.swap.max", line(0)),
        ("pids.current", number(|task| task.kernel.pids.count() as u64)),
        ("pids.events", Node::text("max 0\n")),
        ("pids.max", limit(limits.pids)),
    ]
}
