//! Limits and destruction: what a program does to itself stays inside, and it is told what happened.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Case, LIMIT, expect};
use chitin_tests::{Place, Scratch, chitin_path, run};

/// How far the memory of the guests may be above `--memory`: the slack of the memory file, and a margin for what the
/// sentry itself needs.
const SLACK_KIB: u64 = (32 + 16) << 10;

/// name, options, program, what must be said.
type Hog = (&'static str, &'static [&'static str], &'static str, &'static str);

const HOGS: &[Hog] = &[
    (
        "anonymous",
        &["--memory", "100m"],
        "import time\na = []\nwhile True: a.append(bytearray(1 << 20))",
        "out of memory: killed process",
    ),
    (
        "threads",
        &["--memory", "100m"],
        "import mmap\nm = mmap.mmap(-1, 2 << 30)\nfor i in range(0, 2 << 30, 4096): m[i] = 1",
        "out of memory: killed process",
    ),
    (
        "many_processes",
        &["--memory", "100m", "--pids", "300"],
        "import os, time\nfor i in range(200):\n    if os.fork() == 0:\n        a = bytearray(4 << 20)\n        time.sleep(3)\n        os._exit(0)\ntime.sleep(3)",
        "out of memory: killed process",
    ),
    (
        "page_tables",
        &["--memory", "100m", "--pids", "300"],
        "import mmap, os, time\nm = mmap.mmap(-1, 4 << 30)\nfor i in range(200):\n    if os.fork() == 0:\n        for a in range(0, 4 << 30, 2 << 20): m[a]\n        time.sleep(4)\n        os._exit(0)\ntime.sleep(4)",
        "Cannot allocate memory",
    ),
    (
        "files",
        &["--memory", "100m"],
        "f = open('/tmp/big', 'wb')\ntry:\n    while True: f.write(b'x' * (1 << 20))\nexcept OSError as e: print(e.strerror, flush=True)\nimport time; time.sleep(0.3)",
        "No space left on device",
    ),
];

/// Every parameter that may be changed below `/proc/sys` is changed, and what it limits is seen.
const SETTINGS: &str = r#"$CHITIN do --user 0 -- python3 - <<'END'
import ctypes, errno, fcntl, os, resource
libc = ctypes.CDLL(None, use_errno=True)
def put(name, value):
    with open('/proc/sys/' + name, 'wb', 0) as f: f.write(b'%d' % value)
def told(what, *args):
    try: return what(*args)
    except OSError as e: return errno.errorcode[e.errno]
def call(name, *args):
    value = getattr(libc, name)(*args)
    return value if value >= 0 else errno.errorcode[ctypes.get_errno()]
def child(what):
    pid = os.fork()
    if pid == 0:
        what()
        os._exit(0)
    os.waitpid(pid, 0)
    return pid
def unprivileged():
    os.setuid(1000)
    r, w = os.pipe()
    os.mkfifo('/tmp/fifo')
    f = os.open('/tmp/fifo', os.O_RDWR)
    sizes = [fcntl.fcntl(fd, 1032) for fd in (r, f)]
    print('pipes', *sizes, told(fcntl.fcntl, r, 1031, 16384), told(put, 'fs/pipe-max-size', 4096), flush=True)
put('fs/pipe-max-size', 8000)
print('size', open('/proc/sys/fs/pipe-max-size').read(), end='', flush=True)
child(unprivileged)
put('fs/nr_open', 2000)
try: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 2001))
except ValueError: print('no 2001 files', flush=True)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 2000))
put('kernel/pid_max', 320)
numbers = [child(lambda: None) for i in range(340)]
print("below", max(numbers) == 319, min(numbers[-20:]) >= 300)
put('fs/inotify/max_queued_events', 2)
put('fs/inotify/max_user_instances', 2)
put('fs/inotify/max_user_watches', 1)
one, two = call('inotify_init'), call('inotify_init')
print('instances', call('inotify_init'))
os.mkdir('/tmp/a')
print('watches', call('inotify_add_watch', one, b'/tmp/a', 0x100), call('inotify_add_watch', one, b'/tmp', 0x100))
for name in 'abcd': os.mkdir('/tmp/a/' + name)
print('events', len(os.read(one, 4096)) // 16)
print(told(put, 'kernel/pid_max', 9), told(put, 'vm/drop_caches', 3), told(put, 'vm/drop_caches', 9), told(put, 'fs/nr_open', 10))
END"#;
const SETTINGS_SAID: &[&str] = &[
    "size 8192\npipes 8192 8192 EPERM EACCES\n",
    "no 2001 files\nbelow True True\n",
    "instances EMFILE\nwatches 1 ENOSPC\nevents 5\n",
    "EINVAL None EINVAL EINVAL\n",
];

/// Host memory of a process tree: its share of all pages, and page tables, in KiB.
fn memory_of(root: u32) -> u64 {
    let mut sum = 0;
    let mut pids = vec![root];
    while let Some(pid) = pids.pop() {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        pids.extend(
            children.unwrap_or_default().split_whitespace().filter_map(|c| c.parse::<u32>().ok()),
        );
        let field = |file: &str, name: &str| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
        };
        sum += field("smaps_rollup", "Pss_Shmem:") + field("smaps_rollup", "Pss_Anon:");
        sum += field("status", "VmPTE:");
    }
    sum
}

fn hog(&(_, options, program, said): &Hog) -> Result<(), String> {
    let scratch = Scratch::new("hog")?;
    let limit_kib = 100 << 10;
    let output = scratch.path().join("out");
    let file = std::fs::File::create(&output).map_err(|e| e.to_string())?;
    let mut command = Command::new(chitin_path());
    command.arg("do").args(options).args(["--timeout", "60", "--", "python3", "-c", program]);
    command.current_dir(scratch.path()).stdin(Stdio::null());
    command.stderr(file.try_clone().map_err(|e| e.to_string())?).stdout(file);
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let (mut most, start) = (0, Instant::now());
    while child.try_wait().map_err(|e| e.to_string())?.is_none() && start.elapsed() < LIMIT {
        most = most.max(memory_of(child.id()));
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let text = std::fs::read_to_string(&output).unwrap_or_default();
    if !text.contains(said) || most > limit_kib + SLACK_KIB {
        return Err(format!("{most} KiB of {limit_kib}; expected {said:?} in:\n{text}"));
    }
    Ok(())
}

/// Everything is removed, and the host has all of it. The tree of the test stands for what a mistake would remove.
fn remove_everything() -> Result<(), String> {
    let scratch = Scratch::new("remove")?;
    let kept = scratch.path().join("kept");
    std::fs::write(&kept, "kept").map_err(|e| e.to_string())?;
    let place = Place::Chitin("systrap".into());
    // As a user of the host, so that a mistake of ours is not one of root's.
    let mut command = Command::new(chitin_path());
    if chitin_tests::is_root() && chitin_tests::has("setpriv") {
        let chitin = scratch.path().join("chitin");
        std::fs::copy(chitin_path(), &chitin).map_err(|e| e.to_string())?;
        command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&chitin);
    }
    command.args(["do", "--user", "0", "--", "sh", "-c"]);
    command.arg("rm -rf --no-preserve-root / 2>/dev/null; echo /* | cut -c1-60; echo alive");
    let out = run(command.current_dir(scratch.path()), b"", LIMIT)?;
    let after = std::fs::read_to_string(&kept).unwrap_or_default();
    let host = place.name() == "systrap" && Path::new("/bin/sh").exists();
    match after == "kept" && host && !out.timed_out && out.stdout.ends_with(b"alive\n") {
        true => Ok(()),
        false => Err(format!("the host has {after:?}; {out}")),
    }
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for row in HOGS {
        let body = Box::new(move || hog(row));
        cases.push((format!("limits::{}", row.0), "python3".into(), body));
    }
    cases.push(("limits::remove_everything".into(), String::new(), Box::new(remove_everything)));
    let settings = Box::new(|| expect(SETTINGS, 0, SETTINGS_SAID));
    cases.push(("limits::settings".into(), "python3".into(), settings));
    let bomb = "$CHITIN do --pids 40 --timeout 4 -- bash -c 'f() { f | f & }; f; sleep 30' 2>&1 | sort | uniq -c | sort -rn | head -5; echo ${PIPESTATUS[0]}";
    cases.push((
        "limits::fork_bomb".into(),
        String::new(),
        Box::new(move || {
            expect(bomb, 0, &["fork: retry: Resource temporarily unavailable", "124\n"])
        }),
    ));
    let writes = "mkdir ro; echo a > ro/f; for p in ro/f ro/new /proc/version /sys/kernel/x /proc/sys/kernel/hostname /dev/x /proc/1/mem; do $CHITIN do --ro ro -- sh -c \"echo x > $p\" 2>&1 | sed 's/.*: //'; done; ls ro; cat ro/f; ls -l /dev/x 2>/dev/null | wc -l";
    cases.push((
        "limits::forbidden_writes".into(),
        String::new(),
        Box::new(move || {
            expect(writes, 0, &["Read-only file system\nRead-only file system\n", "f\na\n0\n"])
        }),
    ));
    cases
}
