//! A process that has given up what a sentry gives up tries what it must not be able to do. Each try is a child of its
//! own that confines itself, as `sentry::confine` does, and then makes one host call; the filter must kill it, or the
//! call must fail. A program of its own without a harness, because only a process with one thread may fork.

use chitin_hostsys::landlock::{self, Beneath};
use chitin_hostsys::process::{self, Ended, Fork, Namespaces, fork_into, wait_pidfd};
use chitin_hostsys::{ns, policy};
use std::ffi::CStr;
use std::os::fd::AsFd;

/// What a child says by its exit status: the call worked, the call failed, it could not be prepared.
const WORKED: i32 = 0;
const FAILED: i32 = 1;
const UNPREPARED: i32 = 2;

/// Runs `child` in new namespaces and tells how it ended.
fn in_child(namespaces: Namespaces, child: impl FnOnce() -> i32) -> Ended {
    match fork_into(namespaces).expect("fork") {
        Fork::Child => {
            let status = child();
            // SAFETY: ends this process without running what its parent registered.
            unsafe { libc::_exit(status) }
        }
        Fork::Parent(_, pidfd) => wait_pidfd(pidfd.as_fd()).expect("wait"),
    }
}

/// Installs the sentry's filter on this process.
fn filter(more: &str) -> bool {
    let mut rules = policy::parse(policy::SENTRY_POLICY).expect("the policy");
    rules.extend(policy::parse(more).expect("the policy"));
    process::set_no_new_privs().is_ok()
        && policy::install(&policy::compile(&rules, policy::KILL)).is_ok()
}

/// Makes a host call under the sentry's filter.
fn under_filter(more: &str, nr: i64, args: [u64; 6]) -> Ended {
    in_child(Namespaces::NONE, || {
        if !filter(more) {
            return UNPREPARED;
        }
        // SAFETY: refused by the filter, or harmless: the pointers are null or to literals.
        let r = unsafe { libc::syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]) };
        if r == -1 { FAILED } else { WORKED }
    })
}

fn expect(what: &str, ended: Ended, wanted: &[Ended]) {
    assert!(wanted.contains(&ended), "{what}: {ended:?}, not one of {wanted:?}");
    println!("ok {what}");
}

fn address(text: &'static CStr) -> u64 {
    text.as_ptr() as u64
}

/// Calls that end a sentry that is made to try them.
fn deadly_calls() -> Vec<(&'static str, i64, [u64; 6])> {
    let path = address(c"/bin/true");
    let (rwx, anonymous) = (7, (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64);
    let at_fdcwd = libc::AT_FDCWD as u64;
    vec![
        ("execve", libc::SYS_execve, [path, 0, 0, 0, 0, 0]),
        ("execveat", libc::SYS_execveat, [at_fdcwd, path, 0, 0, 0, 0]),
        ("fork", libc::SYS_fork, [0; 6]),
        ("clone", libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]),
        ("clone3", libc::SYS_clone3, [0; 6]),
        ("socket", libc::SYS_socket, [2, 1, 0, 0, 0, 0]),
        ("socketpair", libc::SYS_socketpair, [1, 1, 0, 0, 0, 0]),
        ("connect", libc::SYS_connect, [0; 6]),
        ("bind", libc::SYS_bind, [0; 6]),
        ("open", libc::SYS_open, [path, 0, 0, 0, 0, 0]),
        ("creat", libc::SYS_creat, [path, 0, 0, 0, 0, 0]),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, [0; 6]),
        ("executable mmap", libc::SYS_mmap, [0, 4096, rwx, anonymous, u64::MAX, 0]),
        ("executable mprotect", libc::SYS_mprotect, [0, 4096, 5, 0, 0, 0]),
        ("pkey_mprotect", libc::SYS_pkey_mprotect, [0, 4096, 5, 0, 0, 0]),
        ("personality", libc::SYS_personality, [0x0040_0000, 0, 0, 0, 0, 0]),
        ("shmat", libc::SYS_shmat, [0; 6]),
        ("ptrace", libc::SYS_ptrace, [0; 6]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [1, 0, 0, 0, 0, 0]),
        ("process_vm_writev", libc::SYS_process_vm_writev, [1, 0, 0, 0, 0, 0]),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, [0; 6]),
        ("SIGTERM", libc::SYS_kill, [1, 15, 0, 0, 0, 0]),
        ("SIGSTOP to a thread", libc::SYS_tgkill, [1, 1, 19, 0, 0, 0]),
        ("prlimit64", libc::SYS_prlimit64, [0; 6]),
        ("setuid", libc::SYS_setuid, [0; 6]),
        ("capset", libc::SYS_capset, [0; 6]),
        ("PR_SET_DUMPABLE", libc::SYS_prctl, [4, 1, 0, 0, 0, 0]),
        ("seccomp", libc::SYS_seccomp, [0; 6]),
        ("unshare", libc::SYS_unshare, [0; 6]),
        ("setns", libc::SYS_setns, [0; 6]),
        ("mount", libc::SYS_mount, [0; 6]),
        ("umount2", libc::SYS_umount2, [path, 0, 0, 0, 0, 0]),
        ("open_tree", libc::SYS_open_tree, [at_fdcwd, path, 1, 0, 0, 0]),
        ("move_mount", libc::SYS_move_mount, [0; 6]),
        ("pivot_root", libc::SYS_pivot_root, [0; 6]),
        ("chroot", libc::SYS_chroot, [path, 0, 0, 0, 0, 0]),
        ("chdir", libc::SYS_chdir, [path, 0, 0, 0, 0, 0]),
        ("bpf", libc::SYS_bpf, [0; 6]),
        ("perf_event_open", libc::SYS_perf_event_open, [0; 6]),
        ("userfaultfd", libc::SYS_userfaultfd, [0; 6]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]),
        ("memfd_create", libc::SYS_memfd_create, [path, 0, 0, 0, 0, 0]),
        ("keyctl", libc::SYS_keyctl, [0; 6]),
        ("init_module", libc::SYS_init_module, [0; 6]),
        ("kexec_load", libc::SYS_kexec_load, [0; 6]),
        ("reboot", libc::SYS_reboot, [0; 6]),
        ("sethostname", libc::SYS_sethostname, [path, 1, 0, 0, 0, 0]),
        ("TIOCSTI", libc::SYS_ioctl, [0, 0x5412, path, 0, 0, 0]),
        ("F_SETOWN", libc::SYS_fcntl, [0, 8, 1, 0, 0, 0]),
        ("modify_ldt", libc::SYS_modify_ldt, [0; 6]),
        ("unlinkat", libc::SYS_unlinkat, [at_fdcwd, path, 0, 0, 0, 0]),
        ("ftruncate", libc::SYS_ftruncate, [0; 6]),
        ("arch_prctl", libc::SYS_arch_prctl, [0x1002, 0, 0, 0, 0, 0]),
        ("no call", 9999, [0; 6]),
    ]
}

fn calls() {
    let killed = [Ended::Signaled(libc::SIGSYS)];
    for (name, nr, args) in deadly_calls() {
        expect(name, under_filter("", nr, args), &killed);
    }
    let path = address(c"/bin/true");
    let openat = under_filter("", libc::SYS_openat, [libc::AT_FDCWD as u64, path, 0, 0, 0, 0]);
    expect("openat fails", openat, &[Ended::Exited(FAILED)]);
    // What is needed works, or the test proves nothing.
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let mmap = under_filter("", libc::SYS_mmap, [0, 4096, 3, anonymous, u64::MAX, 0]);
    expect("mmap works", mmap, &[Ended::Exited(WORKED)]);
    let gettid = under_filter("", libc::SYS_gettid, [0; 6]);
    expect("gettid works", gettid, &[Ended::Exited(WORKED)]);
    let mkdir = under_filter(policy::WRITING_POLICY, libc::SYS_mkdirat, [u64::MAX, 0, 0, 0, 0, 0]);
    expect("mkdirat with --rw is tried", mkdir, &[Ended::Exited(FAILED)]);
    // 32-bit calls have other numbers.
    let compat = in_child(Namespaces::NONE, || {
        if !filter("") {
            return UNPREPARED;
        }
        // SAFETY: getpid of the 32-bit table; killed or harmless.
        unsafe { std::arch::asm!("int 0x80", inout("eax") 20 => _, options(nostack)) };
        WORKED
    });
    // A host without 32-bit calls faults.
    expect("int 0x80", compat, &[killed[0], Ended::Signaled(libc::SIGSEGV)]);
}

/// Descriptors: only standard streams and what is kept.
fn descriptors() {
    let kept = std::fs::File::open("/").expect("/");
    let _stray = std::fs::File::open("/").expect("/");
    let ended = in_child(Namespaces::NONE, || {
        if process::close_others(&[kept.as_fd()]).is_err() {
            return UNPREPARED;
        }
        // SAFETY: F_GETFD of numbers, open or not.
        let open = |fd: &i32| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0;
        let wanted = (0..3).filter(open).count() + 1;
        if (0..4096).filter(open).count() == wanted { WORKED } else { FAILED }
    });
    expect("stray descriptors are closed", ended, &[Ended::Exited(WORKED)]);
}

/// The empty root and the lost capabilities.
fn namespaces() {
    let isolated = Namespaces::USER.and(Namespaces::ISOLATED);
    if let Ended::Exited(UNPREPARED) = in_child(Namespaces::NONE, || {
        // SAFETY: integers only.
        let r = unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER) };
        if r == 0 { WORKED } else { UNPREPARED }
    }) {
        println!("skipped: the empty root: this host forbids user namespaces");
        return;
    }
    let ended = in_child(isolated, || {
        if ns::make_mounts_private().is_err()
            || ns::enter_empty_root().is_err()
            || process::drop_capabilities().is_err()
        {
            return UNPREPARED;
        }
        let empty = std::fs::read_dir("/").is_ok_and(|mut d| d.next().is_none());
        let writable = std::fs::write("/x", "x").is_ok();
        let named = ns::make_mounts_private().is_ok();
        if empty && !writable && !named { WORKED } else { FAILED }
    });
    expect("an empty root that cannot be written", ended, &[Ended::Exited(WORKED)]);
}

/// Landlock: reading below one tree, changing below another.
fn trees() {
    if landlock::version() == 0 {
        println!("skipped: Landlock: this host has none");
        return;
    }
    let top = std::env::temp_dir().join(format!("chitin-landlock-{}", std::process::id()));
    let (seen, given) = (top.join("seen"), top.join("given"));
    for dir in [&seen, &given] {
        std::fs::create_dir_all(dir).expect("scratch");
        std::fs::write(dir.join("file"), "x").expect("scratch");
    }
    let ended = in_child(Namespaces::NONE, || {
        let open = |path| std::fs::File::open(path).ok();
        let (Some(a), Some(b)) = (open(&seen), open(&given)) else { return UNPREPARED };
        let rules = [(a.as_fd(), Beneath::Read), (b.as_fd(), Beneath::Change)];
        if process::set_no_new_privs().is_err() || !landlock::restrict_to(&rules).unwrap_or(false) {
            return UNPREPARED;
        }
        let reads = |path| std::fs::read(path).is_ok();
        let writes = |path| std::fs::write(path, "y").is_ok();
        let checks = [
            reads(seen.join("file")),
            !writes(seen.join("file")),
            !writes(seen.join("new")),
            std::fs::remove_file(seen.join("file")).is_err(),
            std::fs::rename(given.join("file"), seen.join("moved")).is_err(),
            std::fs::rename(seen.join("file"), given.join("moved")).is_err(),
            writes(given.join("file")),
            writes(given.join("new")),
            std::fs::create_dir(given.join("d")).is_ok(),
            std::fs::rename(given.join("new"), given.join("d/new")).is_ok(),
            !reads("/etc/passwd".into()),
            std::fs::read_dir("/etc").is_err(),
            std::process::Command::new("/bin/true").status().is_err(),
        ];
        // What failed, by its place above.
        checks.iter().position(|ok| !ok).map_or(WORKED, |i| 10 + i as i32)
    });
    let _ = std::fs::remove_dir_all(&top);
    expect("Landlock keeps to the trees", ended, &[Ended::Exited(WORKED)]);
}

fn main() {
    calls();
    descriptors();
    namespaces();
    trees();
}
