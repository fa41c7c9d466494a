//! The cases against a running gateway in front of a real engine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chitin_gateway_policy::table;
use chitin_gateway_policy::target::Target;
use chitin_tests::attacks::mutate::{self, Random};
use chitin_tests::attacks::{self, Case, Names, Refusal};
use chitin_tests::engine::{Engine, IMAGE, Kind};
use chitin_tests::{chitin_path, knob, required};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::tap::Tap;
use crate::wire::{self, Answer};

/// How long the gateway may take to come up or go down.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the gateway asks the engine by itself, now and then.
const BACKGROUND: [&str; 4] = ["/events", "/system/df", "/_ping", "/version"];

/// Runs every case against one engine.
pub fn run(kind: Kind) -> Result<(), Failed> {
    let engine = match Engine::start(kind) {
        Ok(_) if !chitin_path().exists() && !required() => {
            let why = format!("{} is not built", chitin_path().display());
            println!("skipped: {why} (cargo build --release -p chitin)");
            return Ok(());
        }
        Ok(engine) => engine,
        Err(why) if !required() => {
            println!("skipped: no {} engine: {why}", kind.name());
            return Ok(());
        }
        Err(why) => return Err(why.into()),
    };
    let site = Site::new(&engine)?;
    let cases = attacks::all();
    let mut failures = Vec::new();
    let mut before = site.state()?;
    for case in &cases {
        if let Err(why) = site.attack(case) {
            failures.push(format!("{}: {why}", case.name));
        }
        let now = site.state()?;
        if now != before {
            failures.push(format!(
                "{}: changed something: {}",
                case.name,
                difference(&before, &now)
            ));
            before = now;
        }
    }
    println!("{} attacks were sent to the gateway of the {} engine", cases.len(), kind.name());
    failures.extend(site.storm()?);
    failures.extend(site.end()?);
    crate::report(failures)
}

/// Where two states differ, shortly.
fn difference(a: &Value, b: &Value) -> String {
    let keys = a.as_object().into_iter().flatten().filter(|(k, v)| b.get(k) != Some(v));
    keys.map(|(k, v)| format!("{k}: {v} became {}", b.get(k).unwrap_or(&Value::Null))).collect()
}

/// An engine, what is in it, and the gateway in front of it.
struct Site<'a> {
    engine: &'a Engine,
    gateway: Gateway,
    tap: Tap,
    names: Names,
}

/// The gateway's process; it is stopped when dropped.
struct Gateway {
    child: Child,
    socket: PathBuf,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl<'a> Site<'a> {
    fn new(engine: &'a Engine) -> Result<Site<'a>, String> {
        let dir = engine.dir();
        foreign(engine)?;
        let workspace = dir.join("workspace");
        let io = |e: std::io::Error| format!("{}: {e}", workspace.display());
        std::fs::create_dir_all(workspace.join("inside")).map_err(io)?;
        std::os::unix::fs::symlink("/", workspace.join("link")).map_err(io)?;
        let tap = Tap::start(&dir.join("tap.sock"), engine.socket())?;
        let gateway = Gateway::start(engine, &workspace)?;
        for command in [
            vec!["network", "create", "net"],
            vec!["volume", "create", "vol"],
            vec!["run", "-d", "--name", "mine", IMAGE, "sleep", "1000000"],
        ] {
            gateway.docker(engine, &command)?;
        }
        let inspect = |what: &str, of: &str| engine.run(&[what, "inspect", "-f", "{{.Id}}", of]);
        let names = Names {
            foreign: inspect("container", "foreign")?,
            foreign_net: inspect("network", "foreign-net")?,
            foreign_image: inspect("image", "foreign-image:1")?,
            workspace: workspace.display().to_string(),
        };
        Ok(Site { engine, gateway, tap, names })
    }

    /// Everything that an attack might change, as the engine tells it.
    fn state(&self) -> Result<Value, String> {
        let ask = |target: &str| -> Result<Value, String> {
            let answer = wire::get(&self.engine.socket(), target)?;
            serde_json::from_str(&answer.body).map_err(|e| format!("{target}: {e}: {answer:?}"))
        };
        let pick = |list: Value, keys: &[&str]| -> Value {
            let list = list.as_array().cloned().unwrap_or_default();
            let mut kept: Vec<String> =
                list.iter().map(|v| keys.iter().map(|k| format!("{} ", v[k])).collect()).collect();
            kept.sort();
            json!(kept)
        };
        let mut own = Vec::new();
        for name in ["foreign", "ct-attacker.mine"] {
            let v = ask(&format!("/containers/{name}/json"))?;
            own.push(json!([
                v["Id"],
                v["Name"],
                v["State"],
                v["HostConfig"],
                v["NetworkSettings"]["Networks"]
            ]));
        }
        let volumes = ask("/volumes")?;
        Ok(json!({
            "containers": pick(ask("/containers/json?all=1")?, &["Id", "Names", "State", "Labels"]),
            "networks": pick(ask("/networks")?, &["Id", "Name", "Labels"]),
            "volumes": pick(volumes["Volumes"].clone(), &["Name", "Labels", "Options"]),
            "images": pick(ask("/images/json?all=1")?, &["Id", "RepoTags"]),
            "inspected": own,
        }))
    }

    /// Sends a case and looks at what comes back and at what went on to the engine.
    fn attack(&self, case: &Case) -> Result<(), String> {
        self.tap.take();
        let answer = wire::send(&self.gateway.socket, &case.filled(&self.names))?;
        let asked = self.asked();
        let question = |l: &&String| l.starts_with("GET ") || l.starts_with("HEAD ");
        let stream = |l: &&String| {
            case.refusal == Refusal::Streamed && (l.contains("/archive?") || l.contains("/build?"))
        };
        if let Some(line) = asked.iter().find(|l| !question(l) && !stream(l)) {
            return Err(format!("the engine was sent {line:?}; the answer was {answer:?}"));
        }
        let refused = (400..500).contains(&answer.status) || matches!(answer.status, 0 | 505);
        if !refused {
            return Err(format!("not refused: {answer:?}"));
        }
        match case.refusal {
            Refusal::Client | Refusal::Streamed if answer.status == 0 || is_message(&answer) => {
                Ok(())
            }
            Refusal::Client if case.bytes.starts_with("HEAD ") => Ok(()),
            Refusal::Client | Refusal::Streamed => Err(format!("no message: {answer:?}")),
            Refusal::Absent(absent) => self.like_absent(case, absent, &answer, &asked),
        }
    }

    /// Throws mutated requests at the gateway. Some are fine, and make things of the client's own; whatever comes, the
    /// gateway stays, the engine gets nothing that the table does not know, and what is somebody else's stays as it is.
    fn storm(&self) -> Result<Vec<String>, String> {
        let foreign = || -> Result<Value, String> {
            let state = self.state()?;
            let own = |v: &&Value| {
                !v.to_string().contains("ct-attacker.") && !v.to_string().contains("chitin.")
            };
            let keep = |key: &str| -> Vec<Value> {
                state[key].as_array().into_iter().flatten().filter(own).cloned().collect()
            };
            Ok(json!([
                keep("containers"),
                keep("networks"),
                keep("volumes"),
                state["inspected"][0]
            ]))
        };
        let before = foreign()?;
        let seeds = mutate::requests();
        let mut random = Random::new(knob("CHITIN_FUZZ_SEED", 1));
        let limit = Duration::from_secs(knob("CHITIN_FUZZ_SECONDS", 5));
        let (start, mut count) = (Instant::now(), 0_u64);
        let mut failures = Vec::new();
        while start.elapsed() < limit && failures.len() < 10 {
            let bytes = mutate::mutated(&seeds, &mut random);
            count += 1;
            if let Err(why) = wire::throw(&self.gateway.socket, &bytes) {
                failures.push(format!("storm: {why} after {:?}", String::from_utf8_lossy(&bytes)));
            }
            let strange = self.tap.take().into_iter().find(|line| !in_table(line));
            if let Some(line) = strange {
                let sent = String::from_utf8_lossy(&bytes).into_owned();
                failures.push(format!("storm: the engine was sent {line:?} for {sent:?}"));
            }
        }
        println!("{count} mutated requests were thrown at the gateway");
        let now = foreign()?;
        if now != before {
            failures.push(format!("storm: somebody else's things changed: {before} became {now}"));
        }
        Ok(failures)
    }

    /// Compares with the answer for something that nobody has: status, text, and what the engine was asked.
    fn like_absent(
        &self,
        case: &Case,
        absent: &str,
        answer: &Answer,
        asked: &[String],
    ) -> Result<(), String> {
        let (twin, reference) = case.twin().ok_or("has no twin")?;
        let reference = self.names.fill(&reference);
        let other = wire::send(&self.gateway.socket, &twin.filled(&self.names))?;
        let rename = |text: &str| text.replace(&reference, absent);
        if answer.status != 404 || other.status != 404 {
            return Err(format!("not 404: {answer:?}, absent: {other:?}"));
        }
        if rename(&answer.body) != other.body {
            return Err(format!(
                "{:?} differs from {:?} for an absent one",
                answer.body, other.body
            ));
        }
        let asked: Vec<String> = asked.iter().map(|l| rename(l)).collect();
        let of_absent = self.asked();
        match asked.len() == of_absent.len() {
            true => Ok(()),
            false => {
                Err(format!("the engine was asked {asked:?}, for an absent one {of_absent:?}"))
            }
        }
    }

    /// What the gateway asked the engine for the last request.
    fn asked(&self) -> Vec<String> {
        let own = |l: &String| !BACKGROUND.iter().any(|b| l.contains(b));
        self.tap.take().into_iter().filter(own).collect()
    }

    /// Stops the gateway: what the client made is gone, what others made is there.
    fn end(self) -> Result<Vec<String>, String> {
        let Site { engine, gateway, .. } = self;
        drop(gateway);
        let mut failures = Vec::new();
        let names = |arguments: &[&str]| engine.run(arguments);
        let containers = names(&["ps", "-a", "--format", "{{.Names}} {{.State}}"])?;
        if containers != "foreign running" {
            failures.push(format!("containers at the end: {containers:?}"));
        }
        let volumes = names(&["volume", "ls", "-q"])?;
        if volumes != "ct-b.vol\nforeign-vol" {
            failures.push(format!("volumes at the end: {volumes:?}"));
        }
        let networks = names(&["network", "ls", "--format", "{{.Name}}"])?;
        if networks.lines().any(|n| n.starts_with("ct-attacker."))
            || !networks.contains("foreign-net")
        {
            failures.push(format!("networks at the end: {networks:?}"));
        }
        Ok(failures)
    }
}

/// Whether a request line to the engine is one that the table lets through.
fn in_table(line: &str) -> bool {
    let Some((method, target)) = line.split_once(' ') else { return false };
    let Ok(target) = Target::parse(target) else { return false };
    // The proxy adds parameters of its own; the endpoint is what counts.
    let bare = Target { query: Vec::new(), ..target };
    table::find(method, &bare).is_ok()
}

/// Somebody else's things.
fn foreign(engine: &Engine) -> Result<(), String> {
    engine.run(&["network", "create", "foreign-net"])?;
    engine.run(&["volume", "create", "foreign-vol"])?;
    engine.run(&["volume", "create", "ct-b.vol"])?;
    let context = engine.dir().join("context");
    std::fs::create_dir_all(&context).map_err(|e| e.to_string())?;
    let dockerfile = format!("FROM {IMAGE}\nENV SECRET=x\n");
    std::fs::write(context.join("Dockerfile"), dockerfile).map_err(|e| e.to_string())?;
    engine.run(&["build", "-q", "-t", "foreign-image:1", &context.display().to_string()])?;
    let run =
        ["run", "-d", "--name", "foreign", "--network", "foreign-net", "-v", "foreign-vol:/v"];
    engine.run(&[&run[..], &["foreign-image:1", "sleep", "1000000"]].concat())?;
    Ok(())
}

impl Gateway {
    fn start(engine: &Engine, workspace: &Path) -> Result<Gateway, String> {
        let dir = engine.dir();
        let socket = dir.join("gateway.sock");
        let log = std::fs::File::create(dir.join("gateway.log")).map_err(|e| e.to_string())?;
        let mut command = Command::new(chitin_path());
        command.arg("gateway").arg("--listen").arg(format!("unix:{}", socket.display()));
        command.arg("--docker").arg(format!("unix:{}", dir.join("tap.sock").display()));
        command.arg("--state").arg(dir.join("state"));
        command.arg("--workspace").arg(format!("{}:rw", workspace.display()));
        command.arg("--cgroup").arg(format!("{}/attacker", engine.cgroup()));
        command.args(["--name", "attacker", "--memory", "1g", "--cpus", "2", "--pids", "100"]);
        // Nothing may be pulled: what is not there is absent, and no registry is asked.
        command.args(["--local-image", IMAGE, "--pull", "registry.invalid/*"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().map_err(|e| format!("cannot run chitin: {e}"))?;
        let mut gateway = Gateway { child, socket };
        let start = Instant::now();
        while wire::get(&gateway.socket, "/_ping").is_err() {
            if start.elapsed() > PATIENCE || gateway.child.try_wait().is_ok_and(|s| s.is_some()) {
                let log = std::fs::read_to_string(dir.join("gateway.log")).unwrap_or_default();
                return Err(format!("the gateway does not come up: {log}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(gateway)
    }

    fn docker(&self, engine: &Engine, arguments: &[&str]) -> Result<(), String> {
        let mut command = engine.docker(arguments);
        command.env("DOCKER_HOST", format!("unix://{}", self.socket.display()));
        let out = command.stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
        match out.status.success() {
            true => Ok(()),
            false => Err(format!("docker {arguments:?}: {}", String::from_utf8_lossy(&out.stderr))),
        }
    }
}

/// An error as Docker's clients expect it.
fn is_message(answer: &Answer) -> bool {
    let body: Result<Value, _> = serde_json::from_str(&answer.body);
    body.is_ok_and(|v| v["message"].as_str().is_some_and(|m| !m.is_empty()))
}
