//! The size of the sentry, seen from outside while it is fuzzed.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chitin_tests::{Place, Scratch, knob, run};

use crate::processes::{sentry_of, status_line};

/// How much of each a sentry may have while it is fuzzed.
const MOST_FDS: usize = 4096;
const MOST_THREADS: usize = 64;
/// Heap and page tables, in KiB; the guest's memory is limited to less.
const MOST_KIB: u64 = 300 << 10;
/// The same where the sandbox has [`LITTLE`] memory: what the sentry keeps for its guests at most is a quarter of that,
/// the rest is what the allocator and its arenas waste.
const MOST_KIB_OF_LITTLE: u64 = 192 << 10;
const LITTLE: &str = "256m";
/// How long the fuzzer runs where nobody says.
pub(crate) const FUZZ_SECONDS: u64 = 20;

/// A process as /proc shows it.
#[derive(Debug, Default, Clone, Copy)]
struct Size {
    anonymous_kib: u64,
    fds: usize,
    threads: usize,
}

fn count(pid: u32, dir: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/{dir}")).map_or(0, Iterator::count)
}

fn size(pid: u32) -> Size {
    let kib = status_line(pid, "RssAnon").and_then(|l| l.split(' ').next()?.parse().ok());
    Size { anonymous_kib: kib.unwrap_or(0), fds: count(pid, "fd"), threads: count(pid, "task") }
}

/// A launcher that is looked for by its arguments, as `run` does not tell its number.
fn find_launcher(mark: &str) -> Option<u32> {
    let entries = std::fs::read_dir("/proc").ok()?.flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<u32> = pids
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(mark)
        })
        .collect();
    found.sort_unstable();
    found.first().copied()
}

/// A program that has the kernel keep what it can: the sentry stays small, and goes on to serve.
pub(crate) fn grow(place: &Place, program: &Path, case: &str) -> Result<(), String> {
    let scratch = Scratch::new("grow")?;
    let mark = format!("GROW={}", scratch.path().display());
    let options = ["--log", "-", "--memory", LITTLE, "--pids", "300", "--env", &mark];
    let program = program.to_string_lossy();
    let mut command = place.command_with(&options, &[&program, case], scratch.path());
    let (out, most) = watched(&mark, &mut command, Duration::from_secs(60))?;
    super::sane(&out).map_err(|_| format!("the sentry panicked or hung: {most:?}\n{out}"))?;
    if out.status != 0 || out.stdout != format!("ok {case}\n").as_bytes() {
        return Err(format!("nothing works afterwards: {most:?}\n{out}"));
    }
    if most.fds > MOST_FDS || most.threads > MOST_THREADS || most.anonymous_kib > MOST_KIB_OF_LITTLE
    {
        return Err(format!("the sentry grew: {most:?}\n{out}"));
    }
    Ok(())
}

/// Runs a command that has `mark` among its arguments, and looks at its sentry meanwhile.
fn watched(
    mark: &str,
    command: &mut Command,
    limit: Duration,
) -> Result<(chitin_tests::Outcome, Size), String> {
    let over = Arc::new(AtomicBool::new(false));
    let watcher = {
        let (over, mark) = (over.clone(), mark.to_owned());
        std::thread::spawn(move || watch(&mark, &over))
    };
    let out = run(command, b"", limit);
    over.store(true, Ordering::Relaxed);
    let most = watcher.join().map_err(|_| "the watcher failed".to_owned())?;
    Ok((out?, most))
}

/// Random system calls for a while; the sentry neither panics, hangs nor grows.
pub(crate) fn fuzz(place: &Place, program: &Path) -> Result<(), String> {
    let seconds = knob("CHITIN_FUZZ_SECONDS", FUZZ_SECONDS);
    let seed = knob("CHITIN_FUZZ_SEED", super::seconds());
    println!("fuzz: {seconds} s with CHITIN_FUZZ_SEED={seed}");
    let scratch = Scratch::new("fuzz")?;
    let mark = format!("FUZZ={}", scratch.path().display());
    let (long, seed_text) = (seconds.to_string(), seed.to_string());
    let program = program.to_string_lossy();
    let options = ["--log", "-", "--memory", "1g", "--pids", "256", "--env", &mark];
    let argv = [&*program, &long, &seed_text];
    let mut command = place.command_with(&options, &argv, scratch.path());
    let (out, most) = watched(&mark, &mut command, Duration::from_secs(seconds + 60))?;
    let explain = |what: &str| format!("seed {seed}: {what}; the sentry's most: {most:?}\n{out}");
    super::sane(&out).map_err(|_| explain("the sentry panicked or hung"))?;
    if out.status != 0 || !out.stdout.ends_with(b" workers\n") {
        return Err(explain("the watching process failed"));
    }
    if most.fds > MOST_FDS || most.threads > MOST_THREADS || most.anonymous_kib > MOST_KIB {
        return Err(explain("the sentry grew"));
    }
    println!("fuzz: the sentry's most: {most:?}");
    Ok(())
}

fn watch(mark: &str, over: &AtomicBool) -> Size {
    let mut most = Size::default();
    while !over.load(Ordering::Relaxed) {
        if let Some(pid) = find_launcher(mark).and_then(sentry_of) {
            let now = size(pid);
            most.anonymous_kib = most.anonymous_kib.max(now.anonymous_kib);
            most.fds = most.fds.max(now.fds);
            most.threads = most.threads.max(now.threads);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    most
}
