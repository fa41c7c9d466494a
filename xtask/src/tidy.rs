//! The house rules that neither rustc nor clippy checks.
//!
//! Each rule is a function over one tracked file; a finding is printed with file and line, and any finding fails the
//! run. Long files between the aim and the limit are counted, not refused.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Files aim at this many lines.
const AIM_LINES: usize = 400;
/// No Rust file is longer than this.
const MAX_LINES: usize = 800;
/// Path components in which `unsafe` may stand.
const UNSAFE_ROOMS: [&str; 8] =
    ["hostsys", "usermem", "platform", "stub", "vdso", "tests", "fuzz", "benches"];
/// Crates that must forbid `unsafe` outright.
const SAFE_CRATES: [&str; 3] =
    ["crates/abi/src/lib.rs", "crates/kernel/src/lib.rs", "crates/fs/src/lib.rs"];
/// How far above an `unsafe` block its SAFETY comment may begin.
const SAFETY_REACH: usize = 12;

/// One broken rule.
struct Finding {
    path: String,
    line: usize,
    what: String,
}

/// Checks every tracked file and fails if any rule is broken.
pub fn run(top: &Path) -> Result<()> {
    let words = forbidden_words();
    let mut findings = Vec::new();
    let mut long = 0;
    for path in tracked(top)? {
        let Ok(text) = std::fs::read_to_string(top.join(&path)) else { continue };
        if path != "Cargo.lock" {
            check_words(&path, &text, &words, &mut findings);
        }
        if path.ends_with(".rs") {
            long += usize::from(check_rust(&path, &text, &mut findings));
        }
    }
    for f in &findings {
        eprintln!("{}:{}: {}", f.path, f.line, f.what);
    }
    if !findings.is_empty() {
        bail!("{} house rule(s) broken; CONTRIBUTING.md says why they exist", findings.len());
    }
    println!("tidy: ok ({long} Rust files over the aim of {AIM_LINES} lines)");
    Ok(())
}

/// Files that git tracks, so that build output and editors' leftovers are not judged.
fn tracked(top: &Path) -> Result<Vec<String>> {
    let out = Command::new("git").arg("-C").arg(top).args(["ls-files", "-z"]).output();
    let out = out.context("cannot run git; tidy looks at tracked files only")?;
    if !out.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(String::from_utf8_lossy(&out.stdout)
        .split('\0')
        .filter(|p| !p.is_empty())
        .map(str::to_owned)
        .collect())
}

/// Words that say something about a machine or a day instead of the project. Joined here so that this file passes.
fn forbidden_words() -> Vec<String> {
    [
        ["/wo", "rk/"],
        ["/fa", "rm/"],
        ["this ses", "sion"],
        ["sub", "agent"],
        ["deb.deb", "ian.org"],
        ["index.cra", "tes.io"],
        ["static.cra", "tes.io"],
    ]
    .iter()
    .map(|p| p.concat())
    .collect()
}

fn check_words(path: &str, text: &str, words: &[String], findings: &mut Vec<Finding>) {
    for (n, line) in text.lines().enumerate() {
        for word in words {
            if line.contains(word.as_str()) {
                let what = format!("{word:?} does not belong in the project");
                findings.push(Finding { path: path.to_owned(), line: n + 1, what });
            }
        }
    }
}

/// The rules for one Rust file; true if it is longer than the aim.
fn check_rust(path: &str, text: &str, findings: &mut Vec<Finding>) -> bool {
    let mut add = |line: usize, what: &str| {
        findings.push(Finding { path: path.to_owned(), line, what: what.to_owned() });
    };
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() > MAX_LINES {
        add(lines.len(), &format!("{} lines; the limit is {MAX_LINES}", lines.len()));
    }
    let opens = lines.iter().find(|l| !l.trim().is_empty() && !l.starts_with("#!["));
    if opens.is_some_and(|l| !l.starts_with("//!")) {
        add(1, "the module does not open with a //! comment: what it is, key types, locks");
    }
    if SAFE_CRATES.contains(&path) && !text.contains("#![forbid(unsafe_code)]") {
        add(1, "this crate must say #![forbid(unsafe_code)]");
    }
    let room = path.split('/').any(|c| UNSAFE_ROOMS.contains(&c));
    for (n, line) in lines.iter().enumerate() {
        let code = line.split("//").next().unwrap_or(line);
        if ["todo", "unimplemented"].iter().any(|m| code.contains(&format!("{m}!("))) {
            add(n + 1, "a stub; return the right errno and log it once");
        }
        if code.contains(concat!("#[ig", "nore]")) {
            add(n + 1, "an ignored test needs its reason: #[ignore = \"…\"]");
        }
        if !opens_unsafe(code) {
            continue;
        }
        if !room {
            add(n + 1, "unsafe outside hostsys, usermem, platform and stub");
        }
        if code.contains("unsafe {") && !has_safety(&lines, n) {
            add(n + 1, "an unsafe block without a SAFETY comment above it");
        }
    }
    lines.len() > AIM_LINES
}

fn opens_unsafe(code: &str) -> bool {
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait"]
        .iter()
        .any(|k| code.match_indices(k).any(|(at, _)| !in_string(code, at)))
}

/// An odd number of quotes before a place means that it is inside a string (good enough for one line).
fn in_string(code: &str, at: usize) -> bool {
    code[..at].matches('"').count() % 2 == 1
}

fn has_safety(lines: &[&str], at: usize) -> bool {
    let from = at.saturating_sub(SAFETY_REACH);
    lines[from..=at].iter().any(|l| l.contains("SAFETY:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        check_rust(path, text, &mut out);
        out.into_iter().map(|f| f.what).collect()
    }

    #[test]
    fn accepts_a_clean_file() {
        assert!(findings("crates/fs/src/a.rs", "//! What it is.\nfn f() {}\n").is_empty());
    }

    #[test]
    fn refuses_unsafe_outside_its_rooms() {
        let text = "//! x\nfn f() {\n    // SAFETY: none needed.\n    unsafe { g() }\n}\n";
        assert_eq!(findings("crates/kernel/src/a.rs", text).len(), 1);
        assert!(findings("crates/hostsys/src/a.rs", text).is_empty());
    }

    #[test]
    fn wants_safety_comments_and_module_comments() {
        let found = findings("crates/hostsys/src/a.rs", "fn f() { unsafe { g() } }\n");
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn refuses_stubs_and_long_files() {
        let stub = format!("//! x\nfn f() {{ {}!() }}\n", "todo");
        assert_eq!(findings("crates/fs/src/a.rs", &stub).len(), 1);
        let long = format!("//! x\n{}", "\n".repeat(MAX_LINES));
        assert_eq!(findings("crates/fs/src/a.rs", &long).len(), 1);
    }

    #[test]
    fn finds_words_of_a_machine() {
        let mut out = Vec::new();
        let text = format!("see {}\n", forbidden_words()[0]);
        check_words("README.md", &text, &forbidden_words(), &mut out);
        assert_eq!(out.len(), 1);
    }
}
