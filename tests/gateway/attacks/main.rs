//! The attack suite of the gateway: every case of [`chitin_tests::attacks`] is refused by the pure crates alone, and by
//! a running gateway in front of each real engine. There, no case may change anything, no case may make the gateway
//! send the engine more than questions, and somebody else's things must look exactly like absent ones.

use std::process::ExitCode;

use chitin_tests::attacks::{self, Names};
use chitin_tests::engine::Kind;
use libtest_mimic::{Arguments, Failed, Trial};

mod real;
mod tap;
mod wire;

/// The fewest cases that the table must have.
const MIN_CASES: usize = 150;
/// How many failures a message shows.
const SHOWN: usize = 40;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = vec![Trial::test("alone", alone)];
    for kind in Kind::all() {
        trials.push(Trial::test(format!("{}_engine", kind.name()), move || real::run(kind)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The pure crates refuse every case, and say why.
fn alone() -> Result<(), Failed> {
    let names = Names::invented();
    let cases = attacks::all();
    if cases.len() < MIN_CASES {
        return Err(format!("only {} cases", cases.len()).into());
    }
    let mut failures = Vec::new();
    for case in &cases {
        match attacks::judge(&case.filled(&names), &names) {
            Ok(()) => failures.push(format!("{}: let through", case.name)),
            Err(denied) if !(400..=599).contains(&denied.status) || denied.reason.is_empty() => {
                failures.push(format!("{}: refused without a reason: {denied:?}", case.name));
            }
            Err(_) => {}
        }
    }
    println!("{} attacks were judged by the policy alone", cases.len());
    report(failures)
}

/// A failed trial, if there are failures.
fn report(failures: Vec<String>) -> Result<(), Failed> {
    if failures.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> =
        failures.iter().take(SHOWN).map(|f| f.chars().take(600).collect()).collect();
    Err(format!("{} failures:\n{}", failures.len(), shown.join("\n")).into())
}
