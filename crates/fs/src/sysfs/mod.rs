//! `/sys` (`sysfs(5)`): the CPUs, the one memory node, the loopback device, and what
//! runtimes ask before they choose their sizes. There are no other devices.
//!
//! `cpu` makes what is below `devices/system`. No locks.

mod cpu;

pub(crate) use cpu::{cpu_list, cpu_set};

use crate::hostfacts::HostFacts;
use crate::synth::{Kind, Node, SynthFs};
use chitin_kernel::net::inet::LOOPBACK;
use chitin_kernel::vfs::{Caching, FileSystem};
use std::sync::Arc;

const SYSFS_MAGIC: u64 = 0x6265_6572;
/// What every file claims as its size.
const FILE_SIZE: u64 = 4096;

/// A new instance for a sandbox with so many CPUs.
#[must_use]
pub fn sysfs(host: &Arc<HostFacts>, cpus: usize) -> Arc<dyn FileSystem> {
    let empty = || Node::dir(Vec::new());
    let root = vec![
        ("block", empty()),
        (
            "bus",
            Node::dir(vec![
                (
                    "cpu",
                    Node::dir(vec![("devices", cpu::links("../../../devices/system/cpu", cpus))]),
                ),
                ("node", Node::dir(vec![("devices", cpu::node_link())])),
            ]),
        ),
        (
            "class",
            Node::dir(vec![
                ("block", empty()),
                (
                    "net",
                    Node::dir(vec![(LOOPBACK.name, Node::link("../../devices/virtual/net/lo"))]),
                ),
            ]),
        ),
        ("dev", Node::dir(vec![("block", empty()), ("char", empty())])),
        (
            "devices",
            Node::dir(vec![
                ("system", cpu::system(host, cpus)),
                ("virtual", Node::dir(vec![("net", Node::dir(vec![(LOOPBACK.name, loopback())]))])),
            ]),
        ),
        ("firmware", empty()),
        ("fs", Node::dir(vec![("cgroup", empty())])),
        ("kernel", kernel()),
        ("module", empty()),
    ];
    let Node::Dir(root) = Node::dir(root) else { unreachable!("made one line above") };
    let caching = Caching::Always;
    SynthFs::new(Kind { name: "sysfs", magic: SYSFS_MAGIC, file_size: FILE_SIZE, caching }, root)
}

/// A line of text.
fn line(text: impl std::fmt::Display) -> Node {
    Node::text(format!("{text}\n"))
}

/// All memory is shared memory to the host, which gives it no huge pages by itself.
fn kernel() -> Node {
    Node::dir(vec![
        ("address_bits", line(64)),
        ("cpu_byteorder", line("little")),
        (
            "mm",
            Node::dir(vec![
                ("hugepages", Node::dir(Vec::new())),
                (
                    "transparent_hugepage",
                    Node::dir(vec![
                        ("defrag", line("always defer defer+madvise madvise [never]")),
                        ("enabled", line("always madvise [never]")),
                        ("hpage_pmd_size", line(2 << 20)),
                        ("shmem_enabled", line("always within_size advise [never] deny force")),
                        ("use_zero_page", line(0)),
                    ]),
                ),
            ]),
        ),
    ])
}

fn loopback() -> Node {
    let counters = [
        "collisions",
        "multicast",
        "rx_bytes",
        "rx_dropped",
        "rx_errors",
        "rx_packets",
        "tx_bytes",
        "tx_dropped",
        "tx_errors",
        "tx_packets",
    ];
    Node::dir(vec![
        ("addr_len", line(6)),
        ("address", line("00:00:00:00:00:00")),
        ("broadcast", line("00:00:00:00:00:00")),
        ("carrier", line(1)),
        ("dev_id", line("0x0")),
        ("flags", line(format!("{:#x}", LOOPBACK.flags & 0xff & !0x40))),
        ("ifindex", line(LOOPBACK.index)),
        ("iflink", line(LOOPBACK.index)),
        ("link_mode", line(0)),
        ("mtu", line(LOOPBACK.mtu)),
        ("operstate", line("unknown")),
        ("statistics", Node::dir(counters.map(|name| (name, line(0))).to_vec())),
        ("subsystem", Node::link("../../../../class/net")),
        ("tx_queue_len", line(LOOPBACK.queue)),
        // ARPHRD_LOOPBACK.
        ("type", line(772)),
        (
            "uevent",
            Node::text(format!("INTERFACE={}\nIFINDEX={}\n", LOOPBACK.name, LOOPBACK.index)),
        ),
    ])
}
