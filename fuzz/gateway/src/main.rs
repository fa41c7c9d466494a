//! A random driver for the fuzz targets on a stable toolchain: `--target policy|front --seconds N [--seed N]`.
//!
//! Inputs are the attack table's requests, mutated byte by byte and word by word. The input of a panic is written to
//! a file and printed, so that it can become a test. Lock: the current input, a leaf.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chitin_tests::attacks::mutate::{self, Random, mutated};
use clap::Parser;

/// How many inputs between two looks at the clock.
const BATCH: u64 = 256;

/// What is being judged, for the panic hook.
static CURRENT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

#[derive(Parser)]
struct Args {
    /// policy or front
    #[arg(long)]
    target: String,
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where randomness begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run one input from a file instead
    #[arg(long)]
    input: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let run: fn(&[u8]) = match args.target.as_str() {
        "policy" => chitin_fuzz_gateway::policy,
        "front" => chitin_fuzz_gateway::front,
        other => bail!("there is no target {other:?}; use policy or front"),
    };
    if let Some(path) = args.input {
        let data =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        run(&data);
        return Ok(());
    }
    let file =
        std::env::temp_dir().join(format!("chitin-fuzz-{}-{}", args.target, std::process::id()));
    save_on_panic(file);
    let seeds = match args.target.as_str() {
        "policy" => mutate::bodies(),
        _ => mutate::requests(),
    };
    let mut random = Random::new(args.seed);
    let start = Instant::now();
    let mut count = 0_u64;
    while start.elapsed() < Duration::from_secs(args.seconds) {
        for _ in 0..BATCH {
            let input = mutated(&seeds, &mut random);
            CURRENT.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&input);
            run(&input);
        }
        count += BATCH;
    }
    println!(
        "{}: {count} inputs from {} seeds in {} s, seed {}, no crash",
        args.target,
        seeds.len(),
        start.elapsed().as_secs(),
        args.seed
    );
    Ok(())
}

/// Before the process aborts, keeps the input.
fn save_on_panic(file: PathBuf) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        let input = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = std::fs::write(&file, &*input);
        eprintln!("input: {:?}\nkept in {}", String::from_utf8_lossy(&input), file.display());
    }));
}
