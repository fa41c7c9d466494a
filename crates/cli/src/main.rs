//! The `chitin` command.

mod do_args;
mod gateway;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Counted, so that a guest cannot make the sentry grow without end.
#[global_allocator]
static HEAP: chitin_sentry::heap::Counted = chitin_sentry::heap::Counted;

/// Runs untrusted Linux programs on a virtual kernel in user space.
#[derive(Parser)]
#[command(name = "chitin", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one program in a sandbox: the host's files are read-only underneath,
    /// writes land in memory, there is no network.
    Do(Box<do_args::DoArgs>),
    /// Lists the places with credentials that `chitin do` hides; `~` is every home directory
    Masks,
    /// Gives untrusted builds a Docker socket of their own.
    Gateway(Box<gateway::GatewayArgs>),
    /// Lists the system calls and how far they are served.
    Syscalls {
        /// As a Markdown document
        #[arg(long)]
        markdown: bool,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Do(args) => match args.into_config().and_then(chitin_sentry::run) {
            Ok(ended) => ended.exit(),
            Err(e) => {
                eprintln!("chitin do: {e:#}");
                ExitCode::from(125)
            }
        },
        Command::Masks => {
            chitin_sentry::masks().for_each(|place| println!("{place}"));
            ExitCode::SUCCESS
        }
        Command::Gateway(args) => match args.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("chitin gateway: {e:#}");
                ExitCode::FAILURE
            }
        },
        Command::Syscalls { markdown } => {
            let text = chitin_sentry::syscalls_markdown();
            // Without the frame of the document only its table is left.
            for line in text.lines().filter(|l| markdown || l.starts_with('|')) {
                println!("{line}");
            }
            ExitCode::SUCCESS
        }
    }
}
