//! The gateway in front of a real engine, used as its users use it: the docker CLI, docker-compose, bollard.
//!
//! The tests of one kind of engine share an engine ([`gate::Site`]) and run one after the other; after each of them the
//! engine must be as empty as before, and one that fails gets the next a new engine. Where there can be no engine,
//! each test says why.

mod api;
mod cli;
mod gate;
mod pair;
mod raw;
mod serve;
mod storm;

use std::process::ExitCode;
use std::sync::Mutex;

use chitin_tests::engine::Kind;
use chitin_tests::required;
use libtest_mimic::{Arguments, Failed, Trial};

/// One test: its name and what it does with a site.
type Case = (&'static str, fn(&mut gate::Site) -> Result<(), String>);

const CASES: &[Case] = &[
    ("run_and_streams", cli::run_and_streams),
    ("files_and_volumes", cli::files_and_volumes),
    ("networks", cli::networks),
    ("builds", cli::builds),
    ("lists_and_events", cli::lists_and_events),
    ("compose", cli::compose),
    ("budget", cli::budget),
    ("storage", cli::storage),
    ("bind_mounts", cli::bind_mounts),
    ("bollard", api::bollard),
    ("two_clients", pair::two_clients),
    ("names_and_labels", pair::names_and_labels),
    ("images_in_containerds_store", pair::images_in_containerds_store),
    ("raw_connections", raw::connections),
    ("serve_and_admin", serve::serve_and_admin),
    ("dry_run", storm::dry_run),
    ("two_hundred_containers", storm::two_hundred_containers),
    ("engine_restarts", storm::engine_restarts),
    ("killed_gateway", storm::killed_gateway),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One engine at a time.
    arguments.test_threads = Some(1);
    let trials = Kind::all().into_iter().flat_map(|kind| {
        CASES.iter().map(move |(name, run)| {
            Trial::test(format!("{}_{name}", kind.name()), move || case(kind, *run))
        })
    });
    let code = libtest_mimic::run(&arguments, trials.collect()).exit_code();
    drop(SITE.lock().map(|mut site| site.take()));
    code
}

/// The engine that the last test left as it was, if it did.
static SITE: Mutex<Option<gate::Site>> = Mutex::new(None);

/// Engines that could not be started, and why.
static FAILED: Mutex<Vec<(Kind, String)>> = Mutex::new(Vec::new());

/// That engine if it is of the right kind, or a new one.
fn site(kind: Kind) -> Result<gate::Site, String> {
    let kept = SITE.lock().map_err(|e| e.to_string())?.take();
    if let Some(site) = kept.filter(|s| s.engine.kind() == kind) {
        return Ok(site);
    }
    // What could not be started once is not tried again for every test.
    let mut failed = FAILED.lock().map_err(|e| e.to_string())?;
    if let Some((_, why)) = failed.iter().find(|(k, _)| *k == kind) {
        return Err(why.clone());
    }
    let started = gate::Site::start(kind);
    failed.extend(started.as_ref().err().map(|why| (kind, why.clone())));
    started
}

fn case(kind: Kind, run: fn(&mut gate::Site) -> Result<(), String>) -> Result<(), Failed> {
    let mut site = match site(kind) {
        Ok(site) => site,
        Err(why) if !required() => {
            eprintln!("skipped: {why}");
            return Ok(());
        }
        Err(why) => return Err(why.into()),
    };
    run(&mut site).map_err(|e| format!("{e}\n{}", site.logs()))?;
    site.nothing_left()?;
    *SITE.lock().map_err(|e| e.to_string())? = Some(site);
    Ok(())
}
