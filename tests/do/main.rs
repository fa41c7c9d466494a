//! What `chitin do` does to the program it runs, seen from outside: its options, the streams, signals and terminals that
//! it passes on, the places it runs in, what it leaves behind, and its limits. Where Linux is the oracle the same shell
//! script runs twice, `$RUN` being empty and `chitin do --`.
//!
//! Knobs: `CHITIN_LIFE_RUNS` (50; the full number is 1000), `CHITIN_LIFE_KILLS` (30; 300).

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use chitin_tests::{Outcome, Place, Scratch, chitin_path, has, platforms, required, run};
use libtest_mimic::{Arguments, Failed, Trial};

mod life;
mod limits;
mod options;
mod places;
mod streams;
mod terminal;

/// No script takes longer than this.
const LIMIT: Duration = Duration::from_secs(120);

/// A test: its name, and the program that it needs besides a shell.
type Case = (String, String, Box<dyn Fn() -> Result<(), String> + Send>);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let usable = platforms().into_iter().find(|(name, _)| name == "systrap").map(|(_, u)| u);
    let usable = usable.unwrap_or_else(|| Err("systrap is not among CHITIN_PLATFORMS".into()));
    if let Err(why) = &usable {
        println!("not tested: {why}");
    }
    let families = [options::cases, streams::cases, terminal::cases, places::cases];
    let families = families.into_iter().chain([life::cases, limits::cases]);
    let cases = families.flat_map(|cases: fn() -> Vec<Case>| cases());
    for (name, needs, body) in cases {
        let missing = !needs.is_empty() && !has(&needs);
        if missing {
            println!("{name}: skipped: {needs} is not installed");
        }
        let skip = (usable.is_err() || missing) && !required();
        let body = move || body().map_err(Failed::from);
        trials.push(Trial::test(name, body).with_ignored_flag(skip));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// `chitin do --`, for `$RUN`.
fn prefix() -> String {
    format!("{} do --", chitin_path().display())
}

/// Runs a bash script in an empty directory; `$RUN` is what stands before programs.
fn script(text: &str, run_with: &str) -> Result<Outcome, String> {
    let scratch = Scratch::new("do")?;
    let mut command = shell(text, scratch.path());
    run(command.env("RUN", run_with), b"", LIMIT)
}

/// Bash with the environment of the tests.
fn shell(text: &str, cwd: &Path) -> Command {
    let mut command = Place::Native.command(&["/bin/bash", "-c", text], cwd);
    command.env("CHITIN", chitin_path());
    command
}

/// The same natively and under Chitin.
fn same(text: &str) -> Result<(), String> {
    let (native, chitin) = (script(text, "")?, script(text, &prefix())?);
    match native == chitin && !chitin.timed_out {
        true => Ok(()),
        false => Err(format!("native: {native}\nunder Chitin: {chitin}")),
    }
}

/// Runs a script and expects its status and that each of `said` is in its output or error.
fn expect(text: &str, status: i32, said: &[&str]) -> Result<(), String> {
    let out = script(text, &prefix())?;
    let all = [out.stdout.as_slice(), &out.stderr].concat();
    let all = String::from_utf8_lossy(&all);
    let missing: Vec<_> = said.iter().filter(|s| !all.contains(**s)).collect();
    match out.status == status && missing.is_empty() {
        true => Ok(()),
        false => Err(format!("expected status {status}; not said: {missing:?}; {out}")),
    }
}
