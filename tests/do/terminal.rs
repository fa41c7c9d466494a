//! Terminals: `terminal.py` types into programs and shows what it saw; both must show the same.

use std::process::Command;

use crate::{Case, LIMIT, prefix};
use chitin_tests::{Place, has, run, top};

fn driver() -> String {
    top().join("tests/do/terminal.py").display().to_string()
}

/// One for each scenario of the driver.
pub(crate) fn cases() -> Vec<Case> {
    if !has("python3") {
        println!("terminal: skipped: python3 is not installed");
        return Vec::new();
    }
    let listed = run(Command::new("python3").args([&driver(), "list"]), b"", LIMIT);
    let names = match listed {
        Ok(out) if out.status == 0 => String::from_utf8_lossy(&out.stdout).into_owned(),
        other => {
            let message = format!("{other:?}");
            let failed = Box::new(move || Err(message.clone()));
            return vec![("terminal".into(), String::new(), failed)];
        }
    };
    let pairs = names.lines().filter_map(|line| line.split_once(' '));
    let case = |(name, needs): (&str, &str)| -> Case {
        let scenario = name.to_owned();
        let body = Box::new(move || compare(&scenario));
        (format!("terminal::{name}"), needs.to_owned(), body)
    };
    pairs.map(case).collect()
}

fn compare(scenario: &str) -> Result<(), String> {
    let drive = |prefix: &str| {
        let (driver, scratch) = (driver(), chitin_tests::Scratch::new("terminal")?);
        let mut argv = vec!["python3", &driver, "run", scenario];
        argv.extend(prefix.split_whitespace());
        run(&mut Place::Native.command(&argv, scratch.path()), b"", LIMIT)
    };
    let (native, chitin) = (drive("")?, drive(&prefix())?);
    match native.status == 0 && native == chitin {
        true => Ok(()),
        false => Err(format!("native: {native}\nunder Chitin: {chitin}")),
    }
}
