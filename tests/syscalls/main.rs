//! The guest tests: every `c/*.c` is a program of named cases. Each case first passes on the host (as the caller and,
//! for root, as an unprivileged user) and then under every platform of `chitin do`, one process per case.
//!
//! A case that is skipped (exit status 77) says why on stdout. Linux is the oracle: a case that fails natively is a
//! wrong test.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use chitin_tests::{Known, Place, Scratch, is_root, platforms, required, run, top};
use libtest_mimic::{Arguments, Failed, Trial};

/// A case that cannot run here exits with this.
const SKIPPED: i32 = 77;
/// No case takes longer than this.
const LIMIT: Duration = Duration::from_secs(30);

/// One compiled test program.
struct Program {
    name: String,
    path: PathBuf,
    cases: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match programs() {
        Ok((bin, programs)) => {
            let conclusion = libtest_mimic::run(&arguments, trials(&programs));
            drop(bin);
            conclusion.exit_code()
        }
        Err(why) => {
            eprintln!("guest tests: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Compiles what changed and asks each program for its cases. The copies that run live where every user reaches them.
fn programs() -> Result<(Scratch, Vec<Program>), String> {
    let source = top().join("tests/syscalls/c");
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("syscalls");
    std::fs::create_dir_all(&cache).map_err(|e| format!("cannot make {}: {e}", cache.display()))?;
    let listing = std::fs::read_dir(&source).map_err(|e| format!("{}: {e}", source.display()))?;
    let mut files: Vec<PathBuf> = listing.filter_map(|e| Some(e.ok()?.path())).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "c"));
    files.sort();
    let built = std::thread::scope(|scope| {
        let halves: Vec<_> = files
            .chunks(files.len().div_ceil(2).max(1))
            .map(|part| scope.spawn(|| part.iter().map(|f| compile(f, &cache)).collect::<Vec<_>>()))
            .collect();
        halves.into_iter().flat_map(|h| h.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    let bin = Scratch::new("bin")?;
    let mut programs = Vec::new();
    for result in built {
        let (name, built) = result?;
        let path = bin.path().join(&name);
        std::fs::copy(&built, &path).map_err(|e| format!("cannot copy {name}: {e}"))?;
        let out = run(Command::new(&path).arg("--list"), b"", LIMIT)?;
        let cases = String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect();
        programs.push(Program { name, path, cases });
    }
    Ok((bin, programs))
}

fn compile(source: &Path, cache: &Path) -> Result<(String, PathBuf), String> {
    let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let output = cache.join(&name);
    let header = source.with_file_name("t.h");
    let changed =
        |p: &Path| p.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    if output.exists() && changed(&output) > changed(source).max(changed(&header)) {
        return Ok((name, output));
    }
    let mut cc = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()));
    // Bad arguments are the point of many checks, so the compiler's view of them is not asked for.
    cc.args(["-std=gnu11", "-O1", "-w", "-static", "-pthread", "-o"]);
    let out = run(cc.arg(&output).arg(source).arg("-lrt"), b"", Duration::from_secs(120))?;
    match out.status {
        0 => Ok((name, output)),
        _ => Err(format!("cannot compile {}: {out}", source.display())),
    }
}

fn trials(programs: &[Program]) -> Vec<Trial> {
    let known = Known::read(&top().join("tests/syscalls/known-failures.txt"));
    let mut places = vec![(Place::Native, Ok(()))];
    if is_root() {
        places.push((Place::NativeUser, Ok(())));
    }
    for (platform, usable) in platforms() {
        if let Err(why) = &usable {
            println!("{platform}: not tested: {why}");
        }
        places.push((Place::Chitin(platform), usable));
    }
    let mut trials = Vec::new();
    for (place, usable) in places {
        let skip_all = usable.is_err() && !required();
        for program in programs {
            for case in &program.cases {
                let test = format!("{}::{case}", program.name);
                let name = format!("{}::{test}", place.name());
                let reason = known.reason(&place, &test);
                if let Some(why) = reason {
                    println!("{name}: known failure: {why}");
                }
                let skip = skip_all || reason.is_some();
                let (place, path, case) = (place.clone(), program.path.clone(), case.clone());
                let usable = usable.clone();
                let body = move || {
                    usable.clone()?;
                    judge(&place, &path, &case).map_err(Failed::from)
                };
                trials.push(Trial::test(name, body).with_ignored_flag(skip));
            }
        }
    }
    trials
}

/// Runs one case and says what is wrong with what it did.
fn judge(place: &Place, path: &Path, case: &str) -> Result<(), String> {
    let scratch = Scratch::new("case")?;
    let program = path.to_string_lossy();
    let out = run(&mut place.command(&[&program, case], scratch.path()), b"", LIMIT)?;
    let left = std::fs::read_dir(scratch.path()).map_err(|e| e.to_string())?.count();
    if matches!(place, Place::Chitin(_)) && left > 0 {
        return Err(format!("{left} file(s) reached the host"));
    }
    let expected = format!("ok {case}\n");
    match out.status {
        0 if out.stdout == expected.as_bytes() && !out.timed_out => Ok(()),
        SKIPPED if out.stdout.starts_with(b"skip") && !matches!(place, Place::Chitin(_)) => {
            print!("{}: {}", place.name(), String::from_utf8_lossy(&out.stdout));
            Ok(())
        }
        _ => Err(out.to_string()),
    }
}
