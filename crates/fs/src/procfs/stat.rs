//! `/proc/PID/stat`, `statm`, `status` and `schedstat`.
//!
//! The host knows the CPU time of a process, not that of its threads or how it divides
//! between program and kernel: all of it is user time, shown for every thread.

use super::facts::TICK;
use super::pid::{Who, may_look};
use chitin_abi::Errno;
use chitin_abi::fs::makedev;
use chitin_abi::task::{RLIM_INFINITY, RLIMIT_RSS, RLIMIT_SIGPENDING};
use chitin_kernel::cred::Cred;
use chitin_kernel::mm::{Landmarks, MmSizes};
use chitin_kernel::task::Task;
use chitin_kernel::tty::PTY_MAJOR;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Letter and name of what it does.
fn state(who: &Who) -> (char, &'static str) {
    let life = *who.process.life.lock();
    let task = who.task();
    match task {
        _ if life.zombie.is_some() => ('Z', "zombie"),
        Err(_) => ('Z', "zombie"),
        Ok(_) if life.stopped.is_some() => ('T', "stopped"),
        Ok(task) if task.is_running() => ('R', "running"),
        Ok(_) => ('S', "sleeping"),
    }
}

/// What of its memory is there, in bytes.
#[derive(Default)]
struct Resident {
    anonymous: u64,
    file: u64,
    shared: u64,
}

impl Resident {
    fn all(&self) -> u64 {
        self.anonymous + self.file + self.shared
    }
}

fn sizes(who: &Who) -> (MmSizes, Resident, Landmarks) {
    let Some(mm) = who.mm() else { return Default::default() };
    let sizes = mm.sizes();
    let (anonymous, shared) = mm.memory_used();
    let marks = mm.landmarks.read().clone();
    (sizes, Resident { anonymous, file: sizes.of_file, shared }, marks)
}

/// All 52 fields.
pub(super) fn stat(who: &Who, viewer: &Arc<Task>) -> Result<Vec<u8>, Errno> {
    let p = &who.process;
    let (pgid, sid) = p.group();
    let parent = p.parent().map_or(0, |p| p.pid);
    let (sizes, resident, marks) = sizes(who);
    let start = p.started.saturating_sub(viewer.kernel.started) / TICK;
    let terminal = p.family.lock().tty.clone();
    let tty = terminal.as_ref().map_or(0, |t| makedev(PTY_MAJOR, t.index()));
    let foreground = terminal.map_or(-1, |t| t.job().foreground().unwrap_or(-1));
    let children = *p.children_usage.lock();
    let (user, system) = p.cpu_times();
    let secret = may_look(viewer, who).is_err();
    let addr = |n: u64| if secret { 0 } else { n };
    let signals = signals(who);
    // The fields have room for the standard signals only.
    let low = |set: u64| set & 0x7fff_ffff;
    let limit = p.limit(RLIMIT_RSS);
    let exit = p.life.lock().zombie.map_or(0, |s| s.wait_status());
    let exit_signal = p.life.lock().exit_signal;
    let scheduling = who.task().map(|t| *t.scheduling.lock()).unwrap_or_default();
    let mut out = format!(
        "{} ({}) {} {parent} {pgid} {sid} {tty} {foreground} 4194304 0 0 0 0 {} {} {} {} {} {} {} 0 {start} {} {} {limit} ",
        who.id(),
        String::from_utf8_lossy(&who.comm()),
        state(who).0,
        user / TICK,
        system / TICK,
        children.user / TICK,
        children.system / TICK,
        scheduling.shown_priority(),
        scheduling.nice,
        p.tasks().len().max(1),
        sizes.total,
        resident.all() / 4096,
    );
    let _ = writeln!(
        out,
        "{} {} {} 0 0 {} {} {} {} 0 0 0 {exit_signal} {} {} {} 0 0 0 {} {} {} {} {} {} {} {}",
        addr(marks.code.start),
        addr(marks.code.end),
        addr(marks.stack),
        low(signals.own),
        low(signals.blocked),
        low(signals.ignored),
        low(signals.caught),
        scheduling.cpu(),
        scheduling.priority,
        scheduling.policy,
        addr(marks.data.start),
        addr(marks.data.end),
        addr(sizes.heap),
        addr(marks.args.start),
        addr(marks.args.end),
        addr(marks.env.start),
        addr(marks.env.end),
        if secret { 0 } else { exit },
    );
    Ok(out.into_bytes())
}

pub(super) fn statm(who: &Who) -> Vec<u8> {
    let (sizes, resident, marks) = sizes(who);
    let pages = |bytes: u64| bytes / 4096;
    let text = marks.code.end.saturating_sub(marks.code.start).next_multiple_of(4096);
    format!(
        "{} {} {} {} 0 {} 0\n",
        pages(sizes.total),
        pages(resident.all()),
        pages(resident.file + resident.shared),
        pages(text),
        pages(sizes.data)
    )
    .into_bytes()
}

/// CPU time, waiting time, time slices.
pub(super) fn schedstat(who: &Who) -> Vec<u8> {
    format!("{} 0 0\n", who.process.cpu_time()).into_bytes()
}

/// Sets of signals, bit n is signal n + 1.
#[derive(Default)]
struct Signals {
    own: u64,
    shared: u64,
    blocked: u64,
    ignored: u64,
    caught: u64,
}

fn signals(who: &Who) -> Signals {
    let shared = who.process.signals.lock().pending.set().0;
    let Ok(task) = who.task() else { return Signals { shared, ..Signals::default() } };
    let (own, blocked) = {
        let signals = task.signals.lock();
        (signals.pending.set().0, signals.mask().0)
    };
    let mut sets = Signals { own, shared, blocked, ..Signals::default() };
    let handlers = task.handlers();
    for signo in 1..=64 {
        match handlers.get(signo).handler {
            0 => {}
            1 => sets.ignored |= 1 << (signo - 1),
            _ => sets.caught |= 1 << (signo - 1),
        }
    }
    sets
}

pub(super) fn status(who: &Who, viewer: &Arc<Task>) -> Result<Vec<u8>, Errno> {
    let p = &who.process;
    let (letter, name) = state(who);
    let parent = p.parent().map_or(0, |p| p.pid);
    let mut out = String::new();
    let task = who.task().ok();
    let _ = writeln!(out, "Name:\t{}", escaped(&who.comm()));
    if let Some(task) = &task {
        let _ = writeln!(out, "Umask:\t{:04o}", task.fs().umask.load(Ordering::Relaxed));
    }
    let _ = write!(
        out,
        "State:\t{letter} ({name})\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{parent}\nTracerPid:\t0\n",
        p.pid,
        who.id()
    );
    let cred = who.cred().ok_or(Errno::ESRCH)?;
    let files = task.as_ref().map_or(0, |t| t.files().list().last().map_or(0, |(fd, _)| *fd + 1));
    identity(&mut out, &cred, files);
    let (pgid, sid) = p.group();
    let _ = write!(
        out,
        "NStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{pgid}\nNSsid:\t{sid}\nKthread:\t0\n",
        p.pid,
        who.id()
    );
    if who.mm().is_some() {
        memory(&mut out, who);
    }
    signal_rows(&mut out, who, viewer.kernel.signal_counts.of(cred.uid));
    capability_rows(&mut out, &cred);
    let (mode, filters) = task.as_ref().map_or((0, 0), |t| (t.seccomp.mode(), t.seccomp.count()));
    let _ = writeln!(out, "Seccomp:\t{mode}\nSeccomp_filters:\t{filters}");
    if let Some(task) = &task {
        cpu_rows(&mut out, task);
    }
    out.push_str("voluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n");
    Ok(out.into_bytes())
}

/// A name without what would end its line.
fn escaped(name: &[u8]) -> String {
    String::from_utf8_lossy(name).replace('\\', "\\\\").replace('\n', "\\n")
}

fn identity(out: &mut String, c: &Cred, files: i32) {
    let _ = write!(
        out,
        "Uid:\t{}\t{}\t{}\t{}\nGid:\t{}\t{}\t{}\t{}\n",
        c.uid, c.euid, c.suid, c.fsuid, c.gid, c.egid, c.sgid, c.fsgid
    );
    let groups: String = c.groups.iter().map(|g| format!("{g} ")).collect();
    let groups = if groups.is_empty() { " ".to_owned() } else { groups };
    // The table grows by powers of two.
    let table = u32::try_from(files).unwrap_or(0).next_power_of_two().max(64);
    let _ = write!(out, "FDSize:\t{table}\nGroups:\t{groups}\n");
}

fn memory(out: &mut String, who: &Who) {
    let (sizes, resident, marks) = sizes(who);
    let code = marks.code.end.saturating_sub(marks.code.start).next_multiple_of(4096);
    let rows = [
        ("VmPeak", sizes.total),
        ("VmSize", sizes.total),
        ("VmLck", sizes.locked),
        ("VmPin", 0),
        ("VmHWM", resident.all()),
        ("VmRSS", resident.all()),
        ("RssAnon", resident.anonymous),
        ("RssFile", resident.file),
        ("RssShmem", resident.shared),
        ("VmData", sizes.data.saturating_sub(sizes.stack)),
        ("VmStk", sizes.stack),
        ("VmExe", code),
        ("VmLib", sizes.text.saturating_sub(code)),
        ("VmPTE", 0),
        ("VmSwap", 0),
        ("HugetlbPages", 0),
    ];
    for (name, bytes) in rows {
        let _ = writeln!(out, "{name}:\t{:8} kB", bytes >> 10);
    }
    out.push_str("CoreDumping:\t0\nTHP_enabled:\t0\n");
}

fn signal_rows(out: &mut String, who: &Who, queued: u64) {
    let s = signals(who);
    let limit = who.process.limit(RLIMIT_SIGPENDING);
    let limit = if limit == RLIM_INFINITY { u64::from(u32::MAX) } else { limit };
    let _ = write!(
        out,
        "Threads:\t{}\nSigQ:\t{queued}/{limit}\nSigPnd:\t{:016x}\nShdPnd:\t{:016x}\nSigBlk:\t{:016x}\nSigIgn:\t{:016x}\nSigCgt:\t{:016x}\n",
        who.process.tasks().len().max(1),
        s.own,
        s.shared,
        s.blocked,
        s.ignored,
        s.caught
    );
}

fn capability_rows(out: &mut String, c: &Cred) {
    let _ = write!(
        out,
        "CapInh:\t{:016x}\nCapPrm:\t{:016x}\nCapEff:\t{:016x}\nCapBnd:\t{:016x}\nCapAmb:\t{:016x}\nNoNewPrivs:\t{}\n",
        c.inheritable.0,
        c.permitted.0,
        c.effective.0,
        c.bounding.0,
        c.ambient.0,
        u8::from(c.no_new_privs)
    );
}

fn cpu_rows(out: &mut String, task: &Task) {
    let cpus = task.kernel.cpus;
    let set = task.scheduling.lock().affinity;
    let (mask, list) = crate::sysfs::cpu_set(cpus, |cpu| set.is_none_or(|set| set.has(cpu)));
    let _ = write!(
        out,
        "Cpus_allowed:\t{mask}\nCpus_allowed_list:\t{list}\nMems_allowed:\t1\nMems_allowed_list:\t0\n"
    );
}
