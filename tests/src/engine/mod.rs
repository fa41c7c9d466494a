//! Real Docker engines for the tests of the gateway: each test starts its own dockerd and leaves nothing behind.
//!
//! Key types: [`Kind`] (which engine), [`Engine`] (a running one). A supervising shell script holds the daemon in
//! namespaces of its own and cleans up when its input ends, so that a killed test leaves nothing either. No locks.

mod apt;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Scratch, has, is_root};

/// How long a daemon may take until it answers.
const START: Duration = Duration::from_secs(90);
/// The script that keeps the daemon.
const SUPERVISE: &str = include_str!("supervise.sh");
/// The script that makes the newest engine's tree.
const NEWEST: &str = include_str!("newest.sh");
/// The image that every engine has: busybox's applets, `sh` as command, nothing else.
pub const IMAGE: &str = "busybox:test";

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Debian stable's docker.io, as it is installed on this host.
    Stable,
    /// The docker.io of Debian's unstable suite, in a tree of its own.
    Newest,
}

impl Kind {
    /// The engines to test: `$CHITIN_ENGINES` (`stable,newest` by default).
    pub fn all() -> Vec<Kind> {
        let names = std::env::var("CHITIN_ENGINES").unwrap_or_else(|_| "stable,newest".into());
        let of = |n: &str| match n {
            "stable" => Some(Kind::Stable),
            "newest" => Some(Kind::Newest),
            _ => None,
        };
        names.split([',', ' ']).filter_map(of).collect()
    }

    /// The name that test names begin with.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Stable => "stable",
            Kind::Newest => "newest",
        }
    }

    /// The tree that the engine runs in, made first if need be; "-" is the host itself.
    fn tree(self) -> Result<PathBuf, String> {
        match self {
            Kind::Stable => {
                let need = ["dockerd", "containerd", "runc", "iptables"];
                match need.iter().find(|p| !has(p)) {
                    Some(p) => Err(format!("{p} is missing; apt-get install docker.io iptables")),
                    None => Ok("-".into()),
                }
            }
            Kind::Newest => newest_tree(),
        }
    }
}

/// The newest engine's tree: `$CHITIN_ENGINE_TREE`, or one made with debootstrap and kept for the next run.
fn newest_tree() -> Result<PathBuf, String> {
    if let Some(tree) = std::env::var_os("CHITIN_ENGINE_TREE") {
        return Ok(tree.into());
    }
    let tree = PathBuf::from("/var/cache/chitin-tests/sid");
    if tree.join("usr/sbin/dockerd").exists() {
        return Ok(tree);
    }
    if !has("debootstrap") {
        return Err("debootstrap is missing; apt-get install debootstrap".into());
    }
    let mirror = apt::mirror()?;
    let mut make = Command::new("sh");
    make.args(["-c", NEWEST, "newest"]).arg(&tree).arg(&mirror).stdin(Stdio::null());
    let out = make.output().map_err(|e| format!("cannot run sh: {e}"))?;
    match out.status.success() {
        true => Ok(tree),
        false => Err(format!("debootstrap failed: {}", String::from_utf8_lossy(&out.stderr))),
    }
}

/// A running engine; dropping it removes the daemon, its containers, files and control groups.
pub struct Engine {
    kind: Kind,
    dir: PathBuf,
    cgroup: String,
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Engine {
    /// Starts an engine with [`IMAGE`] in it; the error says why there can be none here (skip the test then).
    pub fn start(kind: Kind) -> Result<Engine, String> {
        Engine::start_with(kind, &[])
    }

    /// The same with more arguments for dockerd, such as `--add-runtime`.
    pub fn start_with(kind: Kind, arguments: &[&str]) -> Result<Engine, String> {
        if !is_root() {
            return Err("an engine needs root".into());
        }
        for (program, package) in [("ip", "iproute2"), ("unshare", "util-linux")] {
            if !has(program) {
                return Err(format!("{program} is missing; apt-get install {package}"));
            }
        }
        if !has("docker") {
            return Err("docker is missing; apt-get install docker.io".into());
        }
        let tree = kind.tree()?;
        // The supervisor removes the directory, also when this process is killed.
        let dir = Scratch::new("engine")?.keep();
        let cgroup = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISE, "supervise"]).arg(&dir).arg(&cgroup).arg(tree);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Out of reach of what the terminal sends to the test, so that it lives to clean up.
        command.process_group(0);
        let mut child = command.spawn().map_err(|e| format!("cannot run sh: {e}"))?;
        let orders = child.stdin.take();
        let answers = child.stdout.take().ok_or("the supervisor has no output")?;
        let answers = BufReader::new(answers);
        let mut engine = Engine { kind, dir, cgroup, child, orders, answers };
        engine.up()?;
        engine.import()?;
        Ok(engine)
    }

    /// Which engine this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// A directory that the engine sees under the same path: for sockets and workspaces of the test.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The engine's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }

    /// The engine's socket as `DOCKER_HOST` and `--docker` want it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A control group, below `/` of every hierarchy, under which tests may make theirs: all below is removed.
    pub fn cgroup(&self) -> String {
        format!("/{}", self.cgroup)
    }

    /// The pid of the daemon, whose network namespace has the published ports.
    pub fn pid(&self) -> Option<u32> {
        std::fs::read_to_string(self.dir.join("pid")).ok()?.trim().parse().ok()
    }

    /// The docker CLI, talking to the engine itself.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(arguments).env("DOCKER_HOST", self.host()).env("DOCKER_BUILDKIT", "0");
        command.env("DOCKER_CONFIG", self.dir.join("docker-config"));
        command.env_remove("DOCKER_CONTEXT");
        command
    }

    /// Runs the docker CLI against the engine itself; the trimmed output, or what went wrong.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let out = self.docker(arguments).stdin(Stdio::null()).output();
        let out = out.map_err(|e| format!("cannot run docker: {e}"))?;
        match out.status.success() {
            true => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
            false => Err(format!("docker {arguments:?}: {}", String::from_utf8_lossy(&out.stderr))),
        }
    }

    /// Ends the daemon as a service manager would; its containers stop.
    pub fn stop(&mut self) -> Result<(), String> {
        self.order("stop")
    }

    /// Kills the daemon and everything of it at once.
    pub fn kill(&mut self) -> Result<(), String> {
        self.order("kill")
    }

    /// Starts a daemon again that was stopped or killed, over the same data, and waits for it.
    pub fn up(&mut self) -> Result<(), String> {
        self.order("start")?;
        let start = Instant::now();
        while start.elapsed() < START {
            if self.answers_ping() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!(
            "the {} engine does not answer; its log ends:\n{}",
            self.kind.name(),
            self.log()
        ))
    }

    fn order(&mut self, order: &str) -> Result<(), String> {
        let say = |e: std::io::Error| format!("the engine's supervisor is gone: {e}");
        let pipe = self.orders.as_mut().ok_or("the engine was dropped")?;
        writeln!(pipe, "{order}").map_err(say)?;
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(say)?;
        match line.trim() {
            "done" => Ok(()),
            other => Err(format!("the engine's supervisor says {other:?}")),
        }
    }

    fn answers_ping(&self) -> bool {
        let Ok(mut stream) = UnixStream::connect(self.socket()) else { return false };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let sent = stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: d\r\n\r\n");
        let mut answer = String::new();
        sent.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.contains(" 200 OK")
    }

    /// The end of the daemon's log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Makes [`IMAGE`] without any registry.
    fn import(&self) -> Result<(), String> {
        let script = include_str!("image.sh");
        let mut command = Command::new("sh");
        command.args(["-c", script, "import"]).arg(&self.dir).arg(IMAGE);
        command.env("DOCKER_HOST", self.host()).env_remove("DOCKER_CONTEXT");
        let out = command.output().map_err(|e| format!("cannot run sh: {e}"))?;
        match out.status.success() {
            true => Ok(()),
            false => Err(format!("docker import: {}", String::from_utf8_lossy(&out.stderr))),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}
