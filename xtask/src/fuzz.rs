//! Fuzzing the gateway on a stable toolchain: the random driver over the fuzz targets, one after the other.
//!
//! With a nightly toolchain and cargo-fuzz the same targets run under `cargo fuzz run policy` and `… front` in `fuzz/`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

/// The targets.
const TARGETS: [&str; 2] = ["policy", "front"];

/// What `cargo xtask fuzz-gateway` takes.
#[derive(Args)]
pub struct Options {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where randomness begins; the same seed gives the same inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this target
    #[arg(long)]
    target: Option<String>,
}

/// Runs the targets; a crash fails, and its input is printed and kept.
pub fn run(top: &Path, options: &Options) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    for target in TARGETS.iter().filter(|t| options.target.as_deref().is_none_or(|o| o == **t)) {
        // Unoptimised arithmetic checks find more: the profile is the one of the tests.
        let mut command = Command::new(&cargo);
        command.current_dir(top).args(["run", "--quiet", "--package", "chitin-fuzz-gateway", "--"]);
        command.args(["--target", target, "--seconds", &options.seconds.to_string()]);
        command.args(["--seed", &options.seed.to_string()]);
        let status = command.status().context("cannot run cargo")?;
        if !status.success() {
            bail!("{target} crashed; make a test of the input that is printed above");
        }
    }
    Ok(())
}
