//! Developer tasks: `cargo xtask bench | tidy | docs | fuzz-gateway`.
//!
//! Every task works from the top of the checkout, wherever it is called from.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

mod bench;
mod docs;
mod fuzz;
mod tidy;

/// Tasks of the people who work on Chitin.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure Chitin beside native and container runtimes
    Bench(bench::Options),
    /// Check the house rules that the compiler and clippy do not know
    Tidy,
    /// Write the generated documents (docs/syscalls.md, docs/gateway-api.md)
    Docs(docs::Options),
    /// Fuzz the gateway's policy and its reader of requests
    FuzzGateway(fuzz::Options),
}

fn main() -> Result<()> {
    let top = top()?;
    match Args::parse().task {
        Task::Bench(options) => bench::run(&top, &options),
        Task::Tidy => tidy::run(&top),
        Task::Docs(options) => docs::run(&top, &options),
        Task::FuzzGateway(options) => fuzz::run(&top, &options),
    }
}

/// The top of the checkout: the parent of this crate's directory.
fn top() -> Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("the xtask crate has no parent directory")?.to_path_buf())
}
