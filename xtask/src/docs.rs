//! Generated documents. `docs/syscalls.md` comes from the kernel's own system call table and `docs/gateway-api.md`
//! from the gateway's endpoint table, so they cannot drift.
//!
//! The system call table is asked from the built binary (`chitin syscalls --markdown`), which keeps the kernel's
//! crates out of this one; the gateway's policy crate is small and linked.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

/// What `cargo xtask docs` takes.
#[derive(Args)]
pub struct Options {
    /// Write nothing; fail if a document is out of date
    #[arg(long)]
    check: bool,
}

/// Writes or checks the generated documents.
pub fn run(top: &Path, options: &Options) -> Result<()> {
    put(top, "docs/gateway-api.md", &chitin_gateway_policy::markdown::markdown(), options)?;
    match syscalls(top)? {
        Some(text) => put(top, "docs/syscalls.md", &text, options),
        None => {
            println!("docs: this chitin has no system call table yet");
            Ok(())
        }
    }
}

/// Writes one document, or checks that it is what would be written.
fn put(top: &Path, name: &str, text: &str, options: &Options) -> Result<()> {
    let path = top.join(name);
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    if old == text {
        println!("docs: {name} is up to date");
        return Ok(());
    }
    if options.check {
        bail!("{name} is out of date; run `cargo xtask docs` and commit it");
    }
    std::fs::create_dir_all(top.join("docs"))?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("docs: wrote {name}");
    Ok(())
}

/// The table as Markdown, or nothing where the binary cannot print it.
fn syscalls(top: &Path) -> Result<Option<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let out = Command::new(cargo)
        .current_dir(top)
        .args(["run", "--quiet", "--package", "chitin", "--", "syscalls", "--markdown"])
        .output()
        .context("cannot run cargo")?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    Ok((out.status.success() && text.starts_with('#')).then_some(text))
}
