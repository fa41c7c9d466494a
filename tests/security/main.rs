//! Hostile programs under `chitin do`: attacks on the stub (`c/hostile.c`), random system calls (`c/fuzz.c`), programs
//! that want everything there is (`c/grow.c`), and what the sentry has given up. Nothing here runs on the host itself: the programs are only safe in a sandbox.
//!
//! Knobs: `CHITIN_FUZZ_SECONDS` (0: no fuzzing; a long run is 600), `CHITIN_FUZZ_SEED`, `CHITIN_HOSTILE_SEED`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use chitin_tests::{Outcome, Place, Scratch, knob, platforms, required, run, top};
use libtest_mimic::{Arguments, Failed, Trial};

mod confined;
mod filter;
mod processes;
mod sentry;

/// No attack takes longer than this.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match trials() {
        Ok((bin, trials)) => {
            let conclusion = libtest_mimic::run(&arguments, trials);
            drop(bin);
            conclusion.exit_code()
        }
        Err(why) => {
            eprintln!("security tests: {why}");
            ExitCode::FAILURE
        }
    }
}

fn trials() -> Result<(Scratch, Vec<Trial>), String> {
    let bin = Scratch::new("hostile")?;
    let compile = |name: &str| -> Result<PathBuf, String> {
        let source = top().join("tests/security/c").join(format!("{name}.c"));
        let output = bin.path().join(name);
        let mut cc = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()));
        cc.args(["-std=gnu11", "-O1", "-w", "-static", "-pthread", "-mfsgsbase", "-o"]);
        match run(cc.arg(&output).arg(&source), b"", LIMIT)? {
            out if out.status == 0 => Ok(output),
            out => Err(format!("cannot compile {}: {out}", source.display())),
        }
    };
    let (hostile, fuzz, inspect) = (compile("hostile")?, compile("fuzz")?, compile("inspect")?);
    let grow = compile("grow")?;
    let (cases, growing) = (list(&hostile)?, list(&grow)?);
    let mut trials = Vec::new();
    for (platform, usable) in platforms() {
        if let Err(why) = &usable {
            println!("{platform}: not tested: {why}");
        }
        let skip = usable.is_err() && !required();
        let mut add = |name: String, body: Box<dyn Fn(&Place) -> Result<(), String> + Send>| {
            let (place, usable) = (Place::Chitin(platform.clone()), usable.clone());
            let body = move || {
                usable?;
                body(&place).map_err(Failed::from)
            };
            let name = format!("{platform}::{name}");
            trials.push(Trial::test(name, body).with_ignored_flag(skip));
        };
        for case in &cases {
            let (hostile, case) = (hostile.clone(), case.clone());
            add(format!("hostile::{case}"), Box::new(move |place| attack(place, &hostile, &case)));
        }
        for case in &growing {
            let name = format!("grow::{case}");
            let (grow, case) = (grow.clone(), case.clone());
            add(name, Box::new(move |place| sentry::grow(place, &grow, &case)));
        }
        let fuzz = fuzz.clone();
        if knob("CHITIN_FUZZ_SECONDS", sentry::FUZZ_SECONDS) > 0 {
            add("fuzz".into(), Box::new(move |place| sentry::fuzz(place, &fuzz)));
        }
        for (name, namespaces) in [("confined", true), ("confined-without-namespaces", false)] {
            let inspect = inspect.clone();
            let body = move |place: &Place| confined::confined(place, &inspect, namespaces);
            add(name.into(), Box::new(body));
        }
    }
    Ok((bin, trials))
}

/// The cases of a program.
fn list(program: &Path) -> Result<Vec<String>, String> {
    let listed = run(Command::new(program).arg("--list"), b"", LIMIT)?;
    Ok(String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect())
}

/// Runs one attack; the program judges itself and the witness beside it.
fn attack(place: &Place, program: &Path, case: &str) -> Result<(), String> {
    let scratch = Scratch::new("attack")?;
    let seed = knob("CHITIN_HOSTILE_SEED", seconds()).to_string();
    let program = program.to_string_lossy();
    let argv = [&*program, case, &seed];
    let mut command = place.command_with(&["--log", "-"], &argv, scratch.path());
    let out = run(&mut command, b"", LIMIT)?;
    sane(&out).map_err(|e| format!("seed {seed}: {e}"))?;
    match out.status == 0 && out.stdout == format!("ok {case}\n").as_bytes() {
        true => Ok(()),
        false => Err(format!("seed {seed}: {out}")),
    }
}

/// A seed of the day.
fn seconds() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_secs())
}

/// That the sentry neither panicked nor hung.
fn sane(out: &Outcome) -> Result<(), String> {
    let said = String::from_utf8_lossy(&out.stderr);
    if out.timed_out || said.contains("panicked") || said.contains("sentry was killed") {
        return Err(out.to_string());
    }
    Ok(())
}
