//! `/sys/devices/system`: CPUs with their topology and caches, and the memory node.
//!
//! The CPUs of a sandbox are the cores of one package without threads of their own. Their
//! caches are those that `cpuid` tells of; the outermost level above 2 is shared. How the
//! host mitigates weaknesses of the CPU holds inside too.

use super::line;
use crate::hostfacts::HostFacts;
use crate::synth::{Dir, Fixed, Node};
use chitin_hostsys::cpu::{self, Cache};
use chitin_kernel::task::Task;
use chitin_kernel::vfs::FileType;
use std::fmt::Write;
use std::sync::Arc;

const VULNERABILITIES: &str = "sys/devices/system/cpu/vulnerabilities";

/// CPUs from 0 on as a list, such as `0-3`.
pub(crate) fn cpu_list(cpus: usize) -> String {
    cpu_set(cpus, |_| true).1
}

/// The same as a mask of hexadecimal words of 32 bits.
fn cpu_mask(cpus: usize) -> String {
    cpu_set(cpus, |_| true).0
}

/// Some of the CPUs as a mask, as wide as all of them need, and as a list.
pub(crate) fn cpu_set(cpus: usize, has: impl Fn(usize) -> bool) -> (String, String) {
    let cpus = cpus.max(1);
    let words = cpus.div_ceil(32);
    let mut mask = String::new();
    for word in (0..words).rev() {
        let here = |n: usize| word * 32 + n < cpus && has(word * 32 + n);
        let bits: u32 = (0..32).map(|n| u32::from(here(n)) << n).sum();
        let width = (cpus - word * 32).min(32).div_ceil(4);
        let _ = write!(mask, "{bits:0width$x}{}", if word > 0 { "," } else { "" });
    }
    let mut list: Vec<String> = Vec::new();
    let mut first = 0;
    for cpu in 0..cpus {
        if !has(cpu) {
            first = cpu + 1;
        } else if cpu + 1 == cpus || !has(cpu + 1) {
            list.push(if first == cpu { format!("{cpu}") } else { format!("{first}-{cpu}") });
        }
    }
    (mask, list.join(","))
}

/// The mask of one CPU.
fn only(n: usize, cpus: usize) -> String {
    cpu_set(cpus, |cpu| cpu == n).0
}

pub(super) fn system(host: &Arc<HostFacts>, cpus: usize) -> Node {
    Node::dir(vec![
        ("cpu", Node::Dir(Arc::new(Cpus::new(host, cpus)))),
        ("node", Node::Dir(Arc::new(Nodes { cpus }))),
    ])
}

/// A directory of links to the CPUs, which are below `to`.
pub(super) fn links(to: &'static str, cpus: usize) -> Node {
    Node::Dir(Arc::new(Links { to, cpus }))
}

pub(super) fn node_link() -> Node {
    Node::dir(vec![("node0", Node::link("../../../devices/system/node/node0"))])
}

/// The number in `cpuN`.
fn number(name: &[u8], cpus: usize) -> Option<usize> {
    let text = std::str::from_utf8(name).ok()?.strip_prefix("cpu")?;
    let n: usize = text.parse().ok()?;
    (n < cpus && n.to_string() == text).then_some(n)
}

fn cpu_names(cpus: usize, kind: FileType) -> impl Iterator<Item = (Vec<u8>, FileType)> {
    (0..cpus).map(move |n| (format!("cpu{n}").into_bytes(), kind))
}

struct Links {
    to: &'static str,
    cpus: usize,
}

impl Dir for Links {
    fn get(&self, _task: Option<&Arc<Task>>, name: &[u8]) -> Option<Node> {
        let n = number(name, self.cpus)?;
        Some(Node::link(format!("{}/cpu{n}", self.to)))
    }
    fn names(&self, _task: &Arc<Task>) -> Vec<(Vec<u8>, FileType)> {
        cpu_names(self.cpus, FileType::Symlink).collect()
    }
}

/// `cpu`.
struct Cpus {
    cpus: usize,
    fixed: Fixed,
}

impl Cpus {
    fn new(host: &Arc<HostFacts>, cpus: usize) -> Self {
        /// `NR_CPUS` - 1 of common kernels.
        const KERNEL_MAX: usize = 8191;
        let fixed = vec![
            ("isolated", line("")),
            ("kernel_max", line(KERNEL_MAX)),
            ("offline", line("")),
            ("online", line(cpu_list(cpus))),
            ("possible", line(cpu_list(cpus))),
            ("present", line(cpu_list(cpus))),
            ("smt", Node::dir(vec![("active", line(0)), ("control", line("notsupported"))])),
            ("vulnerabilities", Node::Dir(Arc::new(Vulnerabilities(host.clone())))),
        ];
        Self { cpus, fixed: Fixed(fixed) }
    }
}

impl Dir for Cpus {
    fn get(&self, task: Option<&Arc<Task>>, name: &[u8]) -> Option<Node> {
        match number(name, self.cpus) {
            Some(n) => Some(one_cpu(n, self.cpus)),
            None => self.fixed.get(task, name),
        }
    }
    fn names(&self, task: &Arc<Task>) -> Vec<(Vec<u8>, FileType)> {
        let mut names: Vec<_> = cpu_names(self.cpus, FileType::Directory).collect();
        names.extend(self.fixed.names(task));
        names
    }
}

/// The host's own words, as far as they can be read.
struct Vulnerabilities(Arc<HostFacts>);

impl Dir for Vulnerabilities {
    fn get(&self, _task: Option<&Arc<Task>>, name: &[u8]) -> Option<Node> {
        let name = self.0.names(VULNERABILITIES).into_iter().find(|n| n == name)?;
        let path = format!("{VULNERABILITIES}/{}", String::from_utf8(name).ok()?);
        let text = self.0.read(&path)?;
        Some(Node::text(text))
    }
    fn names(&self, _task: &Arc<Task>) -> Vec<(Vec<u8>, FileType)> {
        let names = self.0.names(VULNERABILITIES);
        names.into_iter().map(|name| (name, FileType::Regular)).collect()
    }
}

fn one_cpu(n: usize, cpus: usize) -> Node {
    Node::dir(vec![
        ("cache", Node::Dir(Arc::new(Caches { cpu: n, cpus }))),
        ("node0", Node::link("../../node/node0")),
        ("online", line(1)),
        ("subsystem", Node::link("../../../../bus/cpu")),
        ("topology", topology(n, cpus)),
    ])
}

fn topology(n: usize, cpus: usize) -> Node {
    let own = || (line(only(n, cpus)), line(n));
    let all = || (line(cpu_mask(cpus)), line(cpu_list(cpus)));
    let mut entries =
        vec![("core_id", line(n)), ("die_id", line(0)), ("physical_package_id", line(0))];
    for (mask_name, list_name, (mask, list)) in [
        ("core_cpus", "core_cpus_list", own()),
        ("thread_siblings", "thread_siblings_list", own()),
        ("core_siblings", "core_siblings_list", all()),
        ("die_cpus", "die_cpus_list", all()),
        ("package_cpus", "package_cpus_list", all()),
    ] {
        entries.extend([(mask_name, mask), (list_name, list)]);
    }
    Node::dir(entries)
}

/// `cpuN/cache`.
struct Caches {
    cpu: usize,
    cpus: usize,
}

impl Dir for Caches {
    fn get(&self, _task: Option<&Arc<Task>>, name: &[u8]) -> Option<Node> {
        let text = std::str::from_utf8(name).ok()?.strip_prefix("index")?;
        let index: usize = text.parse().ok()?;
        let caches = cpu::caches();
        let cache = caches.get(index)?;
        let shared = cache.level > 2;
        Some(one_cache(cache, self.cpu, self.cpus, if shared { Reach::All } else { Reach::One }))
    }
    fn names(&self, _task: &Arc<Task>) -> Vec<(Vec<u8>, FileType)> {
        let names = (0..cpu::caches().len()).map(|n| format!("index{n}").into_bytes());
        names.map(|name| (name, FileType::Directory)).collect()
    }
}

/// Who uses a cache.
#[derive(Clone, Copy)]
enum Reach {
    One,
    All,
}

fn one_cache(cache: &Cache, n: usize, cpus: usize, reach: Reach) -> Node {
    let (id, set, list) = match reach {
        Reach::One => (n, only(n, cpus), n.to_string()),
        Reach::All => (0, cpu_mask(cpus), cpu_list(cpus)),
    };
    Node::dir(vec![
        ("coherency_line_size", line(cache.line)),
        ("id", line(id)),
        ("level", line(cache.level)),
        ("number_of_sets", line(cache.sets)),
        ("physical_line_partition", line(cache.partitions)),
        ("shared_cpu_list", line(list)),
        ("shared_cpu_map", line(set)),
        ("size", line(format!("{}K", cache.size() >> 10))),
        ("type", line(cache.kind)),
        ("ways_of_associativity", line(cache.ways)),
    ])
}

/// `node`: all memory is one node.
struct Nodes {
    cpus: usize,
}

impl Nodes {
    fn fixed() -> Fixed {
        let zero = || line(0);
        Fixed(vec![
            ("has_cpu", zero()),
            ("has_memory", zero()),
            ("has_normal_memory", zero()),
            ("online", zero()),
            ("possible", zero()),
        ])
    }
}

impl Dir for Nodes {
    fn get(&self, task: Option<&Arc<Task>>, name: &[u8]) -> Option<Node> {
        match name {
            b"node0" => Some(Node::Dir(Arc::new(NodeZero::new(self.cpus)))),
            _ => Self::fixed().get(task, name),
        }
    }
    fn names(&self, task: &Arc<Task>) -> Vec<(Vec<u8>, FileType)> {
        let mut names = Self::fixed().names(task);
        names.push((b"node0".to_vec(), FileType::Directory));
        names
    }
}

/// `node0`.
struct NodeZero {
    cpus: usize,
    fixed: Fixed,
}

impl NodeZero {
    fn new(cpus: usize) -> Self {
        let counters =
            ["numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node"];
        let numastat: String = counters.iter().map(|name| format!("{name} 0\n")).collect();
        let fixed = vec![
            ("cpulist", line(cpu_list(cpus))),
            ("cpumap", line(cpu_mask(cpus))),
            ("distance", line(10)),
            ("hugepages", Node::dir(Vec::new())),
            ("meminfo", Node::file(|task| Ok(meminfo(task)))),
            ("numastat", Node::text(numastat)),
            ("subsystem", Node::link("../../../../bus/node")),
        ];
        Self { cpus, fixed: Fixed(fixed) }
    }
}

impl Dir for NodeZero {
    fn get(&self, task: Option<&Arc<Task>>, name: &[u8]) -> Option<Node> {
        match number(name, self.cpus) {
            Some(n) => Some(Node::link(format!("../../cpu/cpu{n}"))),
            None => self.fixed.get(task, name),
        }
    }
    fn names(&self, task: &Arc<Task>) -> Vec<(Vec<u8>, FileType)> {
        let mut names = self.fixed.names(task);
        names.extend(cpu_names(self.cpus, FileType::Symlink));
        names
    }
}

fn meminfo(task: &Arc<Task>) -> Vec<u8> {
    let rows = crate::procfs::memory_rows(task);
    let (total, free) = task.kernel.memory_sizes();
    let mut out = String::new();
    let shown = rows.iter().filter(|(name, _)| *name != "MemAvailable");
    for (i, (name, bytes)) in shown.enumerate() {
        if i == 2 {
            let used = total.saturating_sub(free) >> 10;
            let _ = writeln!(out, "Node 0 {:<16}{used:>8} kB", "MemUsed:");
        }
        let _ = writeln!(out, "Node 0 {:<16}{:>8} kB", format!("{name}:"), bytes >> 10);
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_as_wide_as_the_cpus_need() {
        assert_eq!(cpu_mask(1), "1");
        assert_eq!(cpu_mask(2), "3");
        assert_eq!(cpu_mask(8), "ff");
        assert_eq!(cpu_mask(12), "fff");
        assert_eq!(cpu_mask(32), "ffffffff");
        assert_eq!(cpu_mask(40), "ff,ffffffff");
        assert_eq!(only(1, 12), "002");
        assert_eq!(only(33, 64), "00000002,00000000");
        assert_eq!(cpu_set(8, |cpu| cpu != 3), ("f7".into(), "0-2,4-7".into()));
        assert_eq!(cpu_list(1), "0");
        assert_eq!(cpu_list(16), "0-15");
    }

    #[test]
    fn the_cpu_tells_of_its_caches() {
        let caches = cpu::caches();
        assert!(caches.iter().all(|c| c.size() > 0 && c.level > 0), "{caches:?}");
    }
}
