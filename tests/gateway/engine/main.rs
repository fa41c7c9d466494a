//! The engines that the gateway is tested with start, run a container, survive a restart and leave nothing behind.

use std::path::Path;
use std::process::ExitCode;

use chitin_tests::engine::{Engine, IMAGE, Kind};
use chitin_tests::required;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trial = |k: Kind| Trial::test(format!("{}_engine", k.name()), move || whole_life(k));
    let trials = Kind::all().into_iter().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn whole_life(kind: Kind) -> Result<(), Failed> {
    let mut engine = match Engine::start(kind) {
        Ok(e) => e,
        Err(why) if !required() => {
            eprintln!("skipped: no {} engine: {why}", kind.name());
            return Ok(());
        }
        Err(why) => return Err(why.into()),
    };
    let version = engine.run(&["version", "-f", "{{.Server.APIVersion}}"])?;
    eprintln!("the {} engine has API {version}", kind.name());
    let shared = engine.dir().join("shared");
    std::fs::create_dir(&shared)?;
    let bind = format!("{}:/shared", shared.display());
    engine.run(&["run", "--rm", "-v", &bind, IMAGE, "sh", "-c", "echo seen > /shared/file"])?;
    if std::fs::read_to_string(shared.join("file"))? != "seen\n" {
        return Err("the engine does not share the directory".into());
    }
    engine.run(&["run", "-d", "--name", "stays", IMAGE, "sleep", "1000"])?;
    runs(&engine)?;
    engine.stop()?;
    engine.up()?;
    engine.run(&["start", "stays"])?;
    runs(&engine)?;
    engine.kill()?;
    engine.up()?;
    engine.run(&["start", "stays"])?;
    runs(&engine)?;
    if engine.pid().is_none() {
        return Err("the daemon's pid is unknown".into());
    }
    let (dir, cgroup) = (engine.dir().to_owned(), engine.cgroup());
    drop(engine);
    let left = [dir, Path::new(&format!("/sys/fs/cgroup/pids{cgroup}")).to_owned()];
    match left.iter().find(|p| p.exists()) {
        Some(path) => Err(format!("{} is left", path.display()).into()),
        None => Ok(()),
    }
}

/// The container is up.
fn runs(engine: &Engine) -> Result<(), Failed> {
    let state = engine.run(&["inspect", "-f", "{{.State.Status}}", "stays"])?;
    if state == "running" { Ok(()) } else { Err(format!("the container is {state}").into()) }
}
