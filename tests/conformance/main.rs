//! Comparison tests: the same shell script gives the same output and exit status on the host and under `chitin do`,
//! and under Chitin nothing of what it writes reaches the host.
//!
//! `scripts` are short ones, `facts` ask what is known of the system, `workloads` are whole jobs of real programs,
//! `trees` list the host's own directories, `pty` types into programs at a terminal.

use std::process::ExitCode;
use std::time::Duration;

use chitin_tests::{Outcome, Place, Scratch, has, is_root, knob, platforms, required, run};
use libtest_mimic::{Arguments, Failed, Trial};

mod facts;
mod pty;
mod scripts;
mod trees;
mod workloads;

/// No script takes longer than this.
const LIMIT: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, trials()).exit_code()
}

/// Who runs a script.
#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    Caller,
    /// Uid 65534 without groups, where the caller is root.
    Nobody,
}

type Body = Box<dyn FnOnce() -> Result<(), Failed> + Send>;

/// A test that is not yet bound to a platform: its name, the programs it needs, and what it does.
struct Case {
    name: String,
    needs: &'static str,
    body: Box<dyn Fn(Place) -> Body>,
}

impl Case {
    fn new(
        name: &str,
        needs: &'static str,
        test: impl Fn(&Place) -> Result<(), String> + Clone + Send + 'static,
    ) -> Self {
        let body = move |place: Place| -> Body {
            let test = test.clone();
            Box::new(move || test(&place).map_err(Failed::from))
        };
        Self { name: name.into(), needs, body: Box::new(body) }
    }

    fn script(name: &str, needs: &'static str, script: &'static str, user: User) -> Self {
        Self::new(name, needs, move |place| compare(place, script, user))
    }

    /// The first of its programs that is not installed.
    fn missing(&self) -> Option<&'static str> {
        self.needs.split(' ').find(|program| !has(program))
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(name, needs, script) in scripts::SCRIPTS {
        cases.push(Case::script(name, needs, script, User::Caller));
    }
    for &(name, needs, script) in facts::SCRIPTS {
        cases.push(Case::script(name, needs, script, User::Caller));
    }
    let heavy = knob("CHITIN_HEAVY", 0) != 0;
    for &(name, needs, light, full, script) in workloads::SCRIPTS {
        let script = format!("N={}; {script}", if heavy { full } else { light });
        let test = move |place: &Place| compare(place, &script, User::Caller);
        cases.push(Case::new(name, needs, test));
    }
    if is_root() {
        for &(name, needs, script) in workloads::AS_NOBODY {
            cases.push(Case::script(&format!("nobody_{name}"), needs, script, User::Nobody));
        }
    } else {
        println!(
            "nobody_*: skipped: only root can become another user; all other tests run as one"
        );
    }
    cases.extend(trees::cases(heavy));
    cases.extend(pty::cases());
    cases
}

fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (platform, usable) in platforms() {
        if let Err(why) = &usable {
            println!("{platform}: not tested: {why}");
        }
        for case in cases() {
            let name = &case.name;
            let missing = case.missing();
            if let Some(program) = missing {
                println!("{platform}::{name}: skipped: {program} is not installed");
            }
            let skip = (usable.is_err() || missing.is_some()) && !required();
            let body = (case.body)(Place::Chitin(platform.clone()));
            trials.push(Trial::test(format!("{platform}::{name}"), body).with_ignored_flag(skip));
        }
    }
    trials
}

/// Runs a script in one place, in an empty directory, where nothing may be left by Chitin.
fn run_script(place: &Place, script: &str, user: User) -> Result<Outcome, String> {
    let scratch = Scratch::new("compare")?;
    let shell = ["/bin/bash", "-c", script];
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let argv = match user {
        User::Caller => shell.to_vec(),
        User::Nobody => [&as_nobody[..], &shell].concat(),
    };
    let out = run(&mut place.command(&argv, scratch.path()), b"", LIMIT)?;
    let left = std::fs::read_dir(scratch.path()).map_err(|e| e.to_string())?.count();
    if matches!(place, Place::Chitin(_)) && left > 0 {
        return Err(format!("{left} file(s) reached the host"));
    }
    Ok(out)
}

/// Runs a script in both places and says what differs.
fn compare(place: &Place, script: &str, user: User) -> Result<(), String> {
    let native = run_script(&Place::Native, script, user)?;
    if native.timed_out {
        return Err(format!("the script takes too long natively: {native}"));
    }
    let chitin = run_script(place, script, user)?;
    match native.status == chitin.status && native.stdout == chitin.stdout && !chitin.timed_out {
        true => Ok(()),
        false => Err(format!("native: {native}\nunder Chitin: {chitin}")),
    }
}
