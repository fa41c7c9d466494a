//! What a running sentry and its stubs have given up, as /proc and ptrace(2) show it: capabilities, namespaces, root,
//! descriptors, mappings, what a C library registers with the kernel, and the host calls that their filters allow.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chitin_abi::sysno;
use chitin_tests::{Place, Scratch, is_root, run, top};

use crate::filter::{Instruction, allowed};
use crate::processes::{Running, children, sentry_of};

/// Host calls of the default mode, at most.
const MOST_CALLS: usize = 79;
/// What no thread of a sandbox may ever make.
const NEVER: &[&str] = &[
    "execve",
    "execveat",
    "fork",
    "vfork",
    "clone3",
    "socket",
    "socketpair",
    "connect",
    "bind",
    "open",
    "openat",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "bpf",
    "io_uring_setup",
    "userfaultfd",
    "perf_event_open",
    "unshare",
    "setns",
    "mount",
    "chroot",
    "pkey_mprotect",
    "personality",
    "shmat",
    "keyctl",
    "memfd_create",
];
/// What a guest thread may make, by the stub's text and with the arguments that the stub uses.
const GUEST_CALLS: &[&str] = &["arch_prctl", "futex", "rt_sigreturn", "sched_yield"];
const NAMESPACES: &[&str] = &["user", "pid", "mnt", "net", "ipc", "uts"];

/// A sandbox that sleeps: the sentry and its stubs.
struct Sandbox {
    _running: Running,
    sentry: u32,
    stubs: Vec<u32>,
}

/// Starts one; `stray` is open for writing in its caller.
fn start(place: &Place, stray: &Path, namespaces: bool) -> Result<Sandbox, String> {
    let chitin = place.command(&["/bin/sleep", "60"], Path::new("/"));
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" 7>>\"$STRAY\"", "sh"]).arg(chitin.get_program());
    command.args(chitin.get_args()).env("STRAY", stray);
    if !namespaces {
        command.env("CHITIN_NO_NAMESPACES", "1");
    }
    let quiet = Stdio::null;
    let child = command.stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
    let running = Running(child.map_err(|e| e.to_string())?);
    let begin = Instant::now();
    loop {
        let sentry = sentry_of(running.0.id());
        let stubs = sentry.and_then(|s| children().remove(&s)).unwrap_or_default();
        // The program runs when there is a stub beside the zygote.
        if let (Some(sentry), 2..) = (sentry, stubs.len()) {
            std::thread::sleep(Duration::from_millis(300));
            return Ok(Sandbox { _running: running, sentry, stubs });
        }
        if begin.elapsed() > Duration::from_secs(10) {
            return Err("no sentry with stubs after 10 s".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The whole check; the second run is on a host that forbids namespaces.
pub(crate) fn confined(place: &Place, inspect: &Path, namespaces: bool) -> Result<(), String> {
    let scratch = Scratch::new("confined")?;
    let stray = scratch.path().join("stray");
    let sandbox = start(place, &stray, namespaces)?;
    let mut wrong = Vec::new();
    for pid in std::iter::once(sandbox.sentry).chain(sandbox.stubs.iter().copied()) {
        privileges(pid, &mut wrong)?;
        descriptors(pid, &mut wrong)?;
        if namespaces {
            own_namespaces(pid, &mut wrong)?;
            empty_root(pid, &mut wrong)?;
        }
    }
    for &stub in &sandbox.stubs {
        mappings(stub, &mut wrong)?;
    }
    if is_root() {
        filters(&sandbox, inspect, &mut wrong)?;
    } else {
        println!("not tested: filters, rseq and robust lists of the sandbox: ptrace wants root");
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

/// Capabilities, `no_new_privs` and seccomp of every thread.
fn privileges(pid: u32, wrong: &mut Vec<String>) -> Result<(), String> {
    let none =
        ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|c| format!("{c}:\t{:016x}", 0));
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).map_err(|e| e.to_string())?;
    for task in tasks.flatten() {
        let text = read(&task.path().join("status").to_string_lossy())?;
        let wanted = none.iter().map(String::as_str).chain(["NoNewPrivs:\t1", "Seccomp:\t2"]);
        for line in wanted.filter(|w| !text.lines().any(|l| l == *w)) {
            // Who has no capability at all cannot change what it must not have.
            if line.starts_with("CapBnd") && !is_root() {
                continue;
            }
            wrong.push(format!("process {pid} thread {:?}: not {line}", task.file_name()));
        }
    }
    Ok(())
}

fn own_namespaces(pid: u32, wrong: &mut Vec<String>) -> Result<(), String> {
    for name in NAMESPACES {
        let of = |who: &str| {
            std::fs::read_link(format!("/proc/{who}/ns/{name}")).map_err(|e| e.to_string())
        };
        if of(&pid.to_string())? == of("self")? {
            wrong.push(format!("process {pid} has no {name} namespace of its own"));
        }
    }
    Ok(())
}

fn empty_root(pid: u32, wrong: &mut Vec<String>) -> Result<(), String> {
    let root = std::fs::read_dir(format!("/proc/{pid}/root")).map_err(|e| e.to_string())?;
    let seen: Vec<_> = root.flatten().map(|e| e.file_name()).collect();
    if !seen.is_empty() {
        wrong.push(format!("the root of {pid} is not empty: {seen:?}"));
    }
    let mounts = read(&format!("/proc/{pid}/mountinfo"))?;
    let options = mounts.split_whitespace().nth(5).unwrap_or_default();
    let has = |o| options.split(',').any(|has| has == o);
    if mounts.lines().count() != 1 || !["ro", "nosuid", "nodev", "noexec"].into_iter().all(has) {
        wrong.push(format!("the mounts of {pid}:\n{mounts}"));
    }
    Ok(())
}

/// Nothing of the caller's but standard streams; no host file is open for writing.
fn descriptors(pid: u32, wrong: &mut Vec<String>) -> Result<(), String> {
    const OURS: [&str; 7] = [
        "anon_inode:",
        "socket:",
        "pipe:",
        "/memfd:chitin-memory",
        // The same in a file system of its own.
        "/chitin-memory",
        "/memfd:chitin-control",
        "/dev/null",
    ];
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).map_err(|e| e.to_string())?;
    for fd in fds.flatten() {
        let target = std::fs::read_link(fd.path()).unwrap_or_default();
        let target = target.to_string_lossy();
        let info = read(&format!("/proc/{pid}/fdinfo/{}", fd.file_name().to_string_lossy()));
        let flags = info.ok().and_then(|i| {
            let flags = i.lines().find_map(|l| l.strip_prefix("flags:"))?.trim().to_owned();
            u32::from_str_radix(&flags, 8).ok()
        });
        // Closed meanwhile.
        let Some(flags) = flags else { continue };
        if !OURS.iter().any(|o| target.starts_with(o)) && flags & 3 != 0 {
            wrong.push(format!("process {pid} has {target} open for writing"));
        }
        if target.contains("stray") {
            wrong.push(format!("process {pid} has the caller's {target}"));
        }
    }
    Ok(())
}

/// No memory of the sentry is left in a stub: all that it maps is the sandbox's, a host file, or the kernel's.
fn mappings(stub: u32, wrong: &mut Vec<String>) -> Result<(), String> {
    for line in read(&format!("/proc/{stub}/maps"))?.lines() {
        let name = line.split_whitespace().nth(5).unwrap_or("nothing");
        let fine = matches!(name, "[vdso]" | "[vvar]" | "[vvar_vclock]" | "[vsyscall]");
        if !fine && (!name.starts_with('/') || name.ends_with("/chitin")) {
            wrong.push(format!("stub {stub} maps {name}: {line}"));
        }
    }
    Ok(())
}

/// What `inspect` says of one thread.
#[derive(Default)]
struct Inspected {
    rseq: Option<String>,
    robust: Option<String>,
    filters: Vec<Vec<Instruction>>,
}

fn inspect_process(inspect: &Path, pid: u32) -> Result<BTreeMap<u32, Inspected>, String> {
    let out = run(Command::new(inspect).arg(pid.to_string()), b"", Duration::from_secs(20))?;
    if out.status != 0 {
        return Err(format!("inspect {pid}: {out}"));
    }
    let mut threads: BTreeMap<u32, Inspected> = BTreeMap::new();
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        let mut words = line.split(' ');
        let tid = words.next().and_then(|w| w.parse().ok()).ok_or(line)?;
        let thread = threads.entry(tid).or_default();
        match words.next() {
            Some("rseq") => thread.rseq = words.next().map(str::to_owned),
            Some("robust") => thread.robust = words.next().map(str::to_owned),
            Some("filter") => {
                let numbers: Vec<u32> = words.filter_map(|w| w.parse().ok()).collect();
                thread
                    .filters
                    .push(numbers.chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]).collect());
            }
            _ => return Err(format!("inspect {pid}: {line}")),
        }
    }
    Ok(threads)
}

/// The calls that a policy file names, but for those that it refuses.
fn policy(path: &str) -> Result<Vec<String>, String> {
    let text = read(&top().join(path).to_string_lossy())?;
    let lines = text.lines().filter(|l| !l.starts_with(['#', '!']));
    let mut names: Vec<_> =
        lines.filter_map(|l| l.split_whitespace().next().map(str::to_owned)).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// New threads and stubs get nothing of the caller's: no word that the kernel clears at their end, no segment base. Their
/// flags are fixed by the policy.
fn clones(wrong: &mut Vec<String>) -> Result<(), String> {
    const SETTLS_CHILD_CLEARTID_SETTID: u64 = 0x8_0000 | 0x20_0000 | 0x100_0000;
    let text = read(&top().join("crates/platform/systrap/src/stub.policy").to_string_lossy())?;
    for line in text.lines().filter(|l| l.starts_with("clone")) {
        let flags = line.split_whitespace().nth(1).and_then(|c| c.strip_prefix("a0==0x"));
        let flags = flags.and_then(|f| u64::from_str_radix(f, 16).ok());
        if flags.is_none_or(|f| f & SETTLS_CHILD_CLEARTID_SETTID != 0) {
            wrong.push(format!("a stub may {line}"));
        }
    }
    Ok(())
}

fn names(filters: &[Vec<Instruction>]) -> Result<Vec<String>, String> {
    let name = |nr: u32| sysno::name(u64::from(nr)).map_or_else(|| nr.to_string(), str::to_owned);
    let mut names: Vec<_> = allowed(filters)?.into_iter().map(name).collect();
    names.sort();
    Ok(names)
}

/// Lists the host calls that each kind of thread can make, and compares them with the policies.
fn filters(sandbox: &Sandbox, inspect: &Path, wrong: &mut Vec<String>) -> Result<(), String> {
    let sentry = policy("crates/hostsys/src/sentry.policy")?;
    let mapper = policy("crates/platform/systrap/src/stub.policy")?;
    for thread in inspect_process(inspect, sandbox.sentry)?.values() {
        let calls = names(&thread.filters)?;
        if calls != sentry || calls.len() > MOST_CALLS {
            wrong.push(format!("a thread of the sentry can make {calls:?}, not {sentry:?}"));
        }
    }
    println!("the sentry can make {} host calls: {}", sentry.len(), sentry.join(" "));
    let mut guests = 0;
    for &stub in &sandbox.stubs {
        for (tid, thread) in inspect_process(inspect, stub)? {
            let calls = names(&thread.filters)?;
            let guest = thread.filters.len() > 1;
            guests += usize::from(guest);
            let fine = if guest { calls == GUEST_CALLS } else { calls == mapper };
            if !fine {
                wrong.push(format!("thread {tid} of stub {stub} can make {calls:?}"));
            }
            let nothing =
                |what: &Option<String>| matches!(what.as_deref(), Some("0" | "0x0" | "(nil)"));
            if !nothing(&thread.rseq) || !nothing(&thread.robust) {
                let (rseq, robust) = (&thread.rseq, &thread.robust);
                wrong
                    .push(format!("thread {tid} of stub {stub}: rseq {rseq:?}, robust {robust:?}"));
            }
        }
    }
    println!("a mapper can make {} host calls: {}", mapper.len(), mapper.join(" "));
    println!("a guest thread can make {}: {}", GUEST_CALLS.len(), GUEST_CALLS.join(" "));
    if guests == 0 {
        wrong.push("no guest thread was seen".into());
    }
    clones(wrong)?;
    for name in NEVER.iter().filter(|n| sentry.iter().chain(&mapper).any(|s| s == *n)) {
        wrong.push(format!("{name} is allowed"));
    }
    Ok(())
}
