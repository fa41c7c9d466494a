//! `/proc/sys` (`proc_sys(5)`): the parameters of this kernel. Few can be changed: the
//! host name, and limits of this kernel's own ([`Settings`]).

use super::net;
use crate::synth::Node;
use chitin_abi::Errno;
use chitin_kernel::task::Task;
use chitin_kernel::{Setting, Settings};
use std::sync::Arc;

/// `CAP_SYS_ADMIN`.
const CAP_SYS_ADMIN: u32 = 21;
/// Longest host or domain name in bytes.
const NAME_MAX: usize = 64;

fn number(n: u64) -> Node {
    Node::text(format!("{n}\n"))
}

/// What was written as one number.
fn parsed(text: &[u8]) -> Result<u64, Errno> {
    let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    text.trim_end_matches('\0').trim().parse().map_err(|_| Errno::EINVAL)
}

/// A number that its owner may change, `rounded` to one that is possible.
fn rounded(which: fn(&Settings) -> &Setting, round: fn(u64) -> u64) -> Node {
    let show = Node::file(move |t| Ok(format!("{}\n", which(&t.kernel.settings).get()).into()));
    show.stored_by(move |task, text| which(&task.kernel.settings).set(round(parsed(text)?)))
}

/// A number that may be changed as it is.
pub(super) fn setting(which: fn(&Settings) -> &Setting) -> Node {
    rounded(which, |n| n)
}

/// `vm.drop_caches`: which caches there are is the host's matter, and what is dropped here
/// nobody could tell but by a clock. Programs write it before they measure.
fn drop_caches() -> Node {
    let show = Node::text("0\n");
    let stored = show.stored_by(|_, text| match parsed(text)? {
        1..=4 => Ok(()),
        _ => Err(Errno::EINVAL),
    });
    stored.with_perm(0o200)
}

#[derive(Clone, Copy)]
enum Name {
    Host,
    Domain,
}

/// A name of `uname(2)`, which may be set by who may call `sethostname(2)`.
fn name(which: Name) -> Node {
    let show = Node::file(move |t| {
        let names = t.kernel.names.read();
        let name = match which {
            Name::Host => &names.0,
            Name::Domain => &names.1,
        };
        Ok([&name[..], b"\n"].concat())
    });
    show.stored_by(move |task, text| set_name(task, which, text))
}

fn set_name(task: &Arc<Task>, which: Name, text: &[u8]) -> Result<(), Errno> {
    if !task.cred().has_cap(CAP_SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let end = text.iter().position(|&b| b == b'\n' || b == 0).unwrap_or(text.len());
    let text: Vec<u8> = text.iter().copied().take(end.min(NAME_MAX)).collect();
    let mut names = task.kernel.names.write();
    match which {
        Name::Host => names.0 = text,
        Name::Domain => names.1 = text,
    }
    Ok(())
}

/// A number as `kstrtouint()` reads it: hexadecimal behind `0x`, octal behind `0`.
pub(super) fn unsigned(text: &[u8]) -> Result<u32, Errno> {
    let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_prefix('+').unwrap_or(text);
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return Err(Errno::EINVAL);
    }
    u32::from_str_radix(digits, radix).map_err(|e| match e.kind() {
        std::num::IntErrorKind::PosOverflow => Errno::ERANGE,
        _ => Errno::EINVAL,
    })
}

/// Who may change what is everybody's in the sandbox.
fn is_admin(task: &Task) -> Result<(), Errno> {
    if task.cred().has_cap(CAP_SYS_ADMIN) { Ok(()) } else { Err(Errno::EPERM) }
}

/// What core files are called (`core(5)`).
fn core_pattern() -> Node {
    let show = Node::file(|t| Ok([&t.kernel.core_files.pattern()[..], b"\n"].concat()));
    show.stored_by(|task, text| {
        is_admin(task)?;
        let end = text.iter().position(|&b| b == b'\n' || b == 0).unwrap_or(text.len());
        task.kernel.core_files.set_pattern(text.get(..end).unwrap_or(text))
    })
}

fn core_uses_pid() -> Node {
    let show = Node::file(|t| Ok(format!("{}\n", u8::from(t.kernel.core_files.uses_pid())).into()));
    show.stored_by(|task, text| {
        is_admin(task)?;
        task.kernel.core_files.set_uses_pid(unsigned(text)? != 0);
        Ok(())
    })
}

fn uuid() -> Vec<u8> {
    let mut b = [0_u8; 16];
    chitin_hostsys::random::fill(&mut b);
    let n = u128::from_le_bytes(b) & !(0xf << 76) & !(0x3 << 62) | 4 << 76 | 2 << 62;
    let hex = format!("{n:032x}");
    let part = |r: std::ops::Range<usize>| hex.get(r).unwrap_or_default();
    format!("{}-{}-{}-{}-{}\n", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
        .into_bytes()
}

fn kernel() -> Node {
    let mut entries = super::sysvipc::limits();
    entries.extend([
        ("cap_last_cap", number(40)),
        ("core_pattern", core_pattern()),
        ("core_uses_pid", core_uses_pid()),
        ("domainname", name(Name::Domain)),
        ("hostname", name(Name::Host)),
        ("ngroups_max", number(65_536)),
        ("osrelease", Node::text(format!("{}\n", chitin_kernel::RELEASE))),
        ("ostype", Node::text("Linux\n")),
        ("overflowgid", number(65_534)),
        ("overflowuid", number(65_534)),
        ("pid_max", setting(|s| &s.pid_max)),
        (
            "random",
            Node::dir(vec![
                ("boot_id", Node::text(uuid())),
                ("entropy_avail", number(256)),
                ("poolsize", number(256)),
                ("uuid", Node::file(|_| Ok(uuid()))),
            ]),
        ),
        ("randomize_va_space", number(2)),
        (
            "seccomp",
            Node::dir(vec![(
                "actions_avail",
                Node::text("kill_process kill_thread trap errno trace log allow\n"),
            )]),
        ),
        ("tainted", number(0)),
        ("threads-max", Node::file(|t| Ok(format!("{}\n", t.kernel.max_tasks).into()))),
        ("version", Node::text(format!("{}\n", chitin_kernel::VERSION))),
    ]);
    Node::dir(entries)
}

fn vm() -> Node {
    Node::dir(vec![
        ("drop_caches", drop_caches()),
        ("legacy_va_layout", number(0)),
        ("max_map_count", number(65_000)),
        ("mmap_min_addr", number(65_536)),
        ("nr_hugepages", number(0)),
        // Memory is given when it is touched, whatever was mapped.
        ("overcommit_kbytes", number(0)),
        ("overcommit_memory", number(1)),
        ("overcommit_ratio", number(50)),
    ])
}

fn fs() -> Node {
    Node::dir(vec![
        ("aio-max-nr", number(chitin_kernel::aio::MOST_EVENTS)),
        ("aio-nr", Node::file(|t| Ok(format!("{}\n", t.kernel.aio.events()).into()))),
        ("file-max", number(1_048_576)),
        ("file-nr", Node::text("0\t0\t1048576\n")),
        ("inotify", net::sys_inotify()),
        ("nr_open", setting(|s| &s.nr_open)),
        ("overflowgid", number(65_534)),
        ("overflowuid", number(65_534)),
        // A power of two pages, as in Linux.
        (
            "pipe-max-size",
            rounded(|s| &s.pipe_max_size, |n| n.max(4096).checked_next_power_of_two().unwrap_or(n)),
        ),
        ("protected_hardlinks", number(0)),
        ("protected_symlinks", number(0)),
        ("suid_dumpable", number(0)),
    ])
}

/// `/proc/sys`.
pub(super) fn sys() -> Node {
    Node::dir(vec![("fs", fs()), ("kernel", kernel()), ("net", net::sys_net()), ("vm", vm())])
}
