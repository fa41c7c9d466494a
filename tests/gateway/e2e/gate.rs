//! What the tests stand on: [`Site`] is an engine with a directory, [`Gate`] a running gateway of one client.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chitin_tests::engine::{Engine, IMAGE, Kind};
use chitin_tests::{chitin_path, run};

/// How long one command of a test may take.
const LIMIT: Duration = Duration::from_secs(120);

/// An engine and what was there before the test.
pub struct Site {
    /// The engine.
    pub engine: Engine,
    before: BTreeSet<String>,
    gates: usize,
}

/// A gateway of one client; dropping it ends it as a service manager would.
pub struct Gate {
    /// The client's name.
    pub name: String,
    /// The client's socket.
    pub socket: PathBuf,
    child: Child,
    dir: PathBuf,
}

impl Site {
    /// Starts an engine; the error says why there can be none.
    pub fn start(kind: Kind) -> Result<Self, String> {
        Self::start_with(kind, &[])
    }

    /// The same with more arguments for dockerd.
    pub fn start_with(kind: Kind, arguments: &[&str]) -> Result<Self, String> {
        if !chitin_path().exists() {
            return Err(format!(
                "{} is not built (cargo build --release)",
                chitin_path().display()
            ));
        }
        let engine = Engine::start_with(kind, arguments)?;
        let before = inventory(&engine)?;
        Ok(Self { engine, before, gates: 0 })
    }

    /// Starts a gateway with more arguments.
    pub fn gate(&mut self, name: &str, more: &[&str]) -> Result<Gate, String> {
        self.gates += 1;
        let dir = self.engine.dir().to_owned();
        let socket = dir.join(format!("{name}.sock"));
        let mut command = Command::new(chitin_path());
        command.arg("gateway").arg("--listen").arg(format!("unix:{}", socket.display()));
        command.args(["--docker", &self.engine.host(), "--name", name, "--local-image", "busybox"]);
        command.arg("--state").arg(dir.join("state"));
        command.arg("--audit").arg(dir.join(format!("{name}.audit")));
        command.arg("--cgroup").arg(format!("{}/{name}", self.engine.cgroup()));
        command.args(more).stdin(Stdio::null());
        let log = dir.join(format!("{name}.log"));
        let open =
            || File::options().create(true).append(true).open(&log).map_err(|e| e.to_string());
        command.stdout(open()?).stderr(open()?);
        let child = command.spawn().map_err(|e| format!("cannot run the gateway: {e}"))?;
        let mut gate = Gate { name: name.into(), socket, child, dir };
        gate.wait_until_up()?;
        Ok(gate)
    }

    /// The logs of all gateways and of the engine.
    pub fn logs(&self) -> String {
        let mut out = String::new();
        for entry in std::fs::read_dir(self.engine.dir()).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|e| e == "log") {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                out += &format!("--- {}\n{text}", entry.path().display());
            }
        }
        out + &format!("--- engine\n{}", self.engine.log())
    }

    /// Fails if the engine has anything that was not there before.
    pub fn nothing_left(&self) -> Result<(), String> {
        let now = inventory(&self.engine)?;
        let left: Vec<&String> = now.difference(&self.before).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("left behind: {left:?}\n{}", self.logs()))
        }
    }
}

/// Everything that an engine has.
fn inventory(engine: &Engine) -> Result<BTreeSet<String>, String> {
    let mut all = BTreeSet::new();
    for (kind, arguments) in [
        ("container", &["ps", "-aq", "--no-trunc"][..]),
        ("network", &["network", "ls", "--format", "{{.Name}}"]),
        ("volume", &["volume", "ls", "-q"]),
        ("image", &["images", "-aq", "--no-trunc"]),
    ] {
        all.extend(engine.run(arguments)?.lines().map(|l| format!("{kind} {l}")));
    }
    Ok(all)
}

impl Gate {
    fn wait_until_up(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(90) {
            if let Ok(Some(status)) = self.child.try_wait() {
                let log = std::fs::read_to_string(self.dir.join(format!("{}.log", self.name)));
                return Err(format!("the gateway ended: {status}\n{}", log.unwrap_or_default()));
            }
            if std::os::unix::net::UnixStream::connect(&self.socket).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("the gateway does not come up".into())
    }

    /// The docker CLI through the gateway.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        self.tool("docker", arguments)
    }

    /// Another tool through the gateway.
    pub fn tool(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("DOCKER_HOST", format!("unix://{}", self.socket.display()));
        command.env("DOCKER_BUILDKIT", "0").env("DOCKER_CONFIG", self.dir.join("docker-config"));
        command.env_remove("DOCKER_CONTEXT");
        command
    }

    /// Runs docker; its trimmed output, or what went wrong.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        self.run_with(arguments, b"")
    }

    /// The same with standard input.
    pub fn run_with(&self, arguments: &[&str], input: &[u8]) -> Result<String, String> {
        let out = run(&mut self.docker(arguments), input, LIMIT)?;
        match out.status {
            0 => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
            _ => Err(format!("docker {arguments:?}: {out}")),
        }
    }

    /// Runs docker, which must fail with a message that contains `wanted`.
    pub fn refused(&self, arguments: &[&str], wanted: &str) -> Result<(), String> {
        match self.run(arguments) {
            Ok(out) => Err(format!("docker {arguments:?} went through: {out}")),
            Err(e) if e.contains(wanted) => Ok(()),
            Err(e) => Err(format!("expected {wanted:?}: {e}")),
        }
    }

    /// Runs docker and compares its output.
    pub fn expect(&self, arguments: &[&str], wanted: &str) -> Result<(), String> {
        same(&format!("docker {arguments:?}"), &self.run(arguments)?, wanted)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it at once.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::mem::forget(self);
    }

    /// Ends it and waits until everything of its client is removed; its standard output and error.
    pub fn end(mut self) -> Result<String, String> {
        self.terminate()?;
        let log = self.dir.join(format!("{}.log", self.name));
        Ok(std::fs::read_to_string(log).unwrap_or_default())
    }

    fn terminate(&mut self) -> Result<(), String> {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(format!("the gateway of {} failed: {status}", self.name));
                }
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        let _ = self.child.kill();
        Err(format!("the gateway of {} does not end", self.name))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let running = matches!(self.child.try_wait(), Ok(None));
        if let Err(e) = if running { self.terminate() } else { Ok(()) } {
            eprintln!("{e}");
        }
    }
}

/// Compares two texts.
pub fn same(what: &str, got: &str, wanted: &str) -> Result<(), String> {
    if got == wanted { Ok(()) } else { Err(format!("{what}: got {got:?}, expected {wanted:?}")) }
}

/// Fails unless `text` contains `part`.
pub fn contains(what: &str, text: &str, part: &str) -> Result<(), String> {
    if text.contains(part) { Ok(()) } else { Err(format!("{what}: no {part:?} in {text:?}")) }
}

/// Fails if `text` contains `part`.
pub fn lacks(what: &str, text: &str, part: &str) -> Result<(), String> {
    if text.contains(part) { Err(format!("{what}: {part:?} in {text:?}")) } else { Ok(()) }
}

/// The image of the tests.
pub const BUSYBOX: &str = IMAGE;
