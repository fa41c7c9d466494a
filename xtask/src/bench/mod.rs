//! `cargo xtask bench`: the same programs natively, under container runtimes and under Chitin, in turn.
//!
//! The harness compiles the programs of `benches/`, finds the runners, and measures round by round: every row under
//! every runner, idle and beside a CPU hog. Medians go to the terminal, and for a whole run to `docs/benchmarks`.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

mod measure;
mod report;
mod rows;
mod runners;
mod svg;

use measure::Hog;
use report::Results;
use rows::{Kind, ROWS, Row, SESSIONS};
use runners::{NAMES, Runner, Site};

/// Set in the copy of the harness that has a mount namespace of its own.
const INSIDE: &str = "CHITIN_BENCH_INSIDE";

/// What `cargo xtask bench` takes.
#[derive(Args)]
pub struct Options {
    /// One idle round of native and Chitin only; nothing is written
    #[arg(long)]
    quick: bool,
    /// Only these rows (or sessions: shell, walk, tree, python, compile; or `micro`), separated by commas
    #[arg(long, value_delimiter = ',', value_name = "ROW")]
    only: Vec<String>,
    /// Only these runners, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    runners: Vec<String>,
    /// How many rounds (default 5; with --quick 1)
    #[arg(long)]
    rounds: Option<usize>,
    /// Leave the runs beside a CPU hog out
    #[arg(long)]
    no_hog: bool,
    /// Write the report to this directory (default for a whole run: docs/benchmarks)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// List the rows and end
    #[arg(long)]
    list: bool,
}

/// Runs the benchmarks.
pub fn run(top: &Path, options: &Options) -> Result<()> {
    if options.list {
        for row in ROWS {
            println!("{:<20} {}", row.name, row.title);
        }
        return Ok(());
    }
    let rows = chosen(&options.only)?;
    let names: Vec<&str> = match (options.runners.is_empty(), options.quick) {
        (false, _) => options.runners.iter().map(String::as_str).collect(),
        (true, true) => vec!["native", "chitin"],
        (true, false) => NAMES.to_vec(),
    };
    let inside = std::env::var_os(INSIDE).is_some();
    if !inside {
        build(top)?;
        if names.iter().any(|n| Runner::wants_root(n)) && is_root() {
            return enter_mount_namespace();
        }
    }
    let scratch = Scratch::new(top, inside)?;
    let mut results = Results::default();
    let runners = find_runners(&names, &scratch.site, &mut results);
    ensure!(!runners.is_empty(), "none of the runners can be used");
    results.rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 5 }).max(1);
    let hogs: &[bool] = if options.quick || options.no_hog { &[false] } else { &[false, true] };
    for round in 0..results.rounds {
        for &hog in hogs {
            let busy = if hog { Some(Hog::start(&scratch.site)?) } else { None };
            let what = if hog { "with a CPU hog" } else { "idle" };
            eprintln!("bench: round {} of {}, {what}", round + 1, results.rounds);
            let idle =
                if options.quick { Duration::from_secs(10) } else { Duration::from_secs(60) };
            measure_round(&rows, &runners, &scratch.site, (round, hog, idle), &mut results);
            drop(busy);
        }
    }
    println!("{}", results.terminal());
    for ((row, runner), why) in &results.failures {
        println!("{row} under {runner}: {why}");
    }
    let whole = !options.quick && options.only.is_empty() && options.runners.is_empty();
    let out = options.out.clone().or_else(|| whole.then(|| top.join("docs/benchmarks")));
    if let Some(dir) = out {
        results.write(&dir)?;
        println!("bench: wrote {}", dir.display());
    }
    Ok(())
}

/// The rows that `--only` names.
fn chosen(only: &[String]) -> Result<Vec<&'static Row>> {
    let fits = |row: &Row, word: &str| match row.kind {
        _ if row.name == word => true,
        Kind::Session(session) => session == word,
        Kind::Micro | Kind::MicroTmp => word == "micro",
        Kind::Start | Kind::Memory | Kind::Idle => false,
    };
    for word in only {
        ensure!(
            ROWS.iter().any(|r| fits(r, word)),
            "no row {word:?}; `cargo xtask bench --list` shows them"
        );
    }
    Ok(ROWS.iter().filter(|r| only.is_empty() || only.iter().any(|w| fits(r, w))).collect())
}

fn measure_round(
    rows: &[&'static Row],
    runners: &[Runner],
    site: &Site,
    (round, hog, idle): (usize, bool, Duration),
    results: &mut Results,
) {
    for row in rows {
        // One look is enough, and a hog changes nothing about memory.
        let once = matches!(row.kind, Kind::Memory | Kind::Idle);
        if matches!(row.kind, Kind::Session(_)) || once && (hog || round > 0) {
            continue;
        }
        for runner in runners {
            let key = (row.name.to_owned(), runner.name.to_owned());
            if results.failures.contains_key(&key) {
                continue;
            }
            match measure::single(row, runner, site, idle) {
                Ok(values) => {
                    for (name, value) in values {
                        results.add(&name, runner.name, hog, value);
                    }
                }
                Err(e) => fail(results, row.name, runner.name, &e),
            }
        }
    }
    for session in SESSIONS {
        let mine: Vec<_> = rows.iter().filter(|r| r.kind == Kind::Session(session.name)).collect();
        let Some(first) = mine.first() else { continue };
        for runner in runners {
            let key = (first.name.to_owned(), runner.name.to_owned());
            if results.failures.contains_key(&key) {
                continue;
            }
            match measure::session(session, runner, site) {
                Ok(values) => {
                    for (name, value) in values {
                        if mine.iter().any(|r| r.name == name) {
                            results.add(&name, runner.name, hog, value);
                        }
                    }
                }
                Err(e) => mine.iter().for_each(|row| fail(results, row.name, runner.name, &e)),
            }
        }
    }
}

fn fail(results: &mut Results, row: &str, runner: &str, e: &anyhow::Error) {
    eprintln!("bench: {row} under {runner}: {e:#}");
    results.failures.insert((row.to_owned(), runner.to_owned()), format!("{e:#}"));
}

fn find_runners(names: &[&str], site: &Site, results: &mut Results) -> Vec<Runner> {
    let mut found = Vec::new();
    for name in names {
        match Runner::find(name, site) {
            Ok(runner) => {
                results.runners.push((runner.name, runner.version()));
                found.push(runner);
            }
            Err(why) => {
                eprintln!("bench: {name} is left out: {why}");
                results.missing.push(((*name).to_owned(), why));
            }
        }
    }
    found
}

fn target_dir(top: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top.join("target"), PathBuf::from)
}

fn programs_dir(top: &Path) -> PathBuf {
    target_dir(top).join("benches")
}

/// Builds Chitin (unless `CHITIN` names a binary) and the programs.
fn build(top: &Path) -> Result<()> {
    if std::env::var_os("CHITIN").is_none() {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let args = ["build", "--release", "--package", "chitin"];
        run_tool(Command::new(cargo).current_dir(top).args(args))?;
    }
    let programs = programs_dir(top);
    std::fs::create_dir_all(&programs)?;
    let source = |name: &str| top.join("benches").join(name);
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-static", "-pthread", "-o"])
        .arg(programs.join("micro"))
        .arg(source("micro.c"));
    run_tool(&mut cc)?;
    let mut cc = Command::new("cc");
    run_tool(cc.args(["-O2", "-o"]).arg(programs.join("dyn")).arg(source("dyn.c")))
}

fn run_tool(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_owned();
    let status = command.status().with_context(|| format!("cannot run {}", name.display()))?;
    if !status.success() {
        bail!("{} failed", name.display());
    }
    Ok(())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// Goes on in a mount namespace of its own, so that nothing stays mounted whatever happens.
fn enter_mount_namespace() -> Result<()> {
    let me = std::env::current_exe().context("where is this program?")?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]).arg(me);
    let error = command.args(std::env::args_os().skip(1)).env(INSIDE, "1").exec();
    Err(error).context("cannot run unshare; it is in util-linux")
}

/// The directories of one run, removed at its end.
struct Scratch {
    site: Site,
}

impl Scratch {
    fn new(top: &Path, inside: bool) -> Result<Scratch> {
        let name = format!("chitin-bench-{}", std::process::id());
        let memory = Path::new("/dev/shm").join(&name);
        // Sandboxes have a /tmp of their own, and must see this one.
        let scratch = target_dir(top).join(&name);
        for dir in [&memory, &scratch, &scratch.join("root")] {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let chitin = std::env::var_os("CHITIN").map(PathBuf::from);
        let chitin = chitin
            .unwrap_or_else(|| target_dir(top).join("x86_64-unknown-linux-gnu/release/chitin"));
        let site = Site { programs: programs_dir(top), memory, scratch, chitin };
        let this = Scratch { site };
        if inside {
            let root = this.site.scratch.join("root");
            run_tool(Command::new("mount").args(["--bind", "/"]).arg(root))?;
            // crun refuses a cgroup2 tree beside the others; here nobody else misses it.
            let unified = Path::new("/sys/fs/cgroup/unified");
            if unified.exists() {
                let _ = Command::new("umount").arg("-l").arg(unified).status();
            }
        }
        Ok(this)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let root = self.site.scratch.join("root");
        let _ = Command::new("umount")
            .arg("-l")
            .arg(&root)
            .stderr(std::process::Stdio::null())
            .status();
        // Only what is empty or ours: never through a mount that could not be removed.
        if std::fs::remove_dir(&root).is_ok() {
            let _ = std::fs::remove_dir_all(&self.site.scratch);
        }
        let _ = std::fs::remove_dir_all(&self.site.memory);
    }
}
