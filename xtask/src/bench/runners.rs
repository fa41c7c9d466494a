//! [`Runner`]: the ways to run a program that are compared, each as the command line of its tool. The OCI runtimes get
//! the host's root read-only with an empty `/tmp` in memory, as the others do. No locks.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

/// A way to run a program.
#[derive(Clone, Debug)]
pub struct Runner {
    /// Name for `--runners` and in tables.
    pub name: &'static str,
    tool: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Native,
    Bwrap,
    Chitin,
    /// crun and runc.
    Oci,
    Runsc,
}

/// All names, in the order of tables.
pub const NAMES: [&str; 7] = ["native", "bwrap", "crun", "runc", "runsc", "runsc-new", "chitin"];

/// Where the runners' files are.
pub struct Site {
    /// The compiled benchmark programs.
    pub programs: PathBuf,
    /// Scratch directory of this run on a file system in memory.
    pub memory: PathBuf,
    /// Scratch directory for bundles.
    pub scratch: PathBuf,
    /// The binary under test.
    pub chitin: PathBuf,
}

/// A command to measure, and what to do when it is over or was killed.
pub struct Job {
    /// To be started.
    pub command: Command,
    cleanup: Option<(PathBuf, Vec<String>)>,
    bundle: Option<PathBuf>,
}

impl Job {
    /// Removes what the runner may have left behind.
    pub fn clean(self) {
        if let Some((tool, args)) = &self.cleanup {
            let quiet = Stdio::null;
            let _ = Command::new(tool).args(args).stdout(quiet()).stderr(quiet()).status();
        }
        if let Some(bundle) = &self.bundle {
            let _ = std::fs::remove_dir(bundle.join("rootfs"));
            let _ = std::fs::remove_file(bundle.join("config.json"));
            let _ = std::fs::remove_dir(bundle);
        }
    }
}

impl Runner {
    /// Finds a runner, or says why it cannot be used.
    pub fn find(name: &str, site: &Site) -> std::result::Result<Runner, String> {
        let known = NAMES.into_iter().find(|n| *n == name);
        let name = known.ok_or_else(|| format!("not one of {}", NAMES.join(", ")))?;
        let (kind, tool) = match name {
            "native" => return Ok(Runner { name, tool: PathBuf::new(), kind: Kind::Native }),
            "chitin" => (Kind::Chitin, site.chitin.clone()),
            "runsc-new" => match std::env::var_os("CHITIN_BENCH_RUNSC") {
                Some(path) => (Kind::Runsc, path.into()),
                None => return Err("CHITIN_BENCH_RUNSC does not name another runsc".into()),
            },
            _ => {
                let tool = which(name).ok_or("not installed")?;
                let kind = match name {
                    "bwrap" => Kind::Bwrap,
                    "runsc" => Kind::Runsc,
                    _ => Kind::Oci,
                };
                (kind, tool)
            }
        };
        let runner = Runner { name, tool, kind };
        let mut job = runner.job(site, &["/bin/true".into()]).map_err(|e| e.to_string())?;
        let out = job.command.stdin(Stdio::null()).output();
        job.clean();
        let out = out.map_err(|e| e.to_string())?;
        if out.status.success() {
            return Ok(runner);
        }
        let said = String::from_utf8_lossy(&out.stderr);
        Err(format!("cannot run /bin/true: {}", said.lines().next().unwrap_or("it says nothing")))
    }

    /// True if it needs the mounts that root alone can make.
    pub fn wants_root(name: &str) -> bool {
        ["crun", "runc", "runsc", "runsc-new"].contains(&name)
    }

    /// A directory in memory as the program sees it.
    pub fn memory_dir(&self, site: &Site) -> PathBuf {
        if self.kind == Kind::Native { site.memory.clone() } else { PathBuf::from("/tmp") }
    }

    /// The tool's version, for the report.
    pub fn version(&self) -> String {
        if self.kind == Kind::Native {
            return String::new();
        }
        let out = Command::new(&self.tool).arg("--version").output();
        let text = out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        text.lines().next().unwrap_or("").to_owned()
    }

    /// Prepares to run `argv`.
    pub fn job(&self, site: &Site, argv: &[String]) -> Result<Job> {
        let mut command = Command::new(&self.tool);
        let (mut cleanup, mut bundle) = (None, None);
        match self.kind {
            Kind::Native => {
                command = Command::new(&argv[0]);
                command.args(&argv[1..]);
            }
            Kind::Bwrap => {
                command.args(["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]);
                command.args(["--tmpfs", "/tmp", "--unshare-all", "--"]).args(argv);
            }
            Kind::Chitin => {
                command.args(["do", "--"]).args(argv);
            }
            Kind::Oci | Kind::Runsc => {
                let (id, place) = make_bundle(site, argv)?;
                let mut args: Vec<String> = Vec::new();
                if self.kind == Kind::Runsc {
                    args.extend(["--ignore-cgroups".into(), "--network=none".into()]);
                    if self.name == "runsc-new" {
                        args.push("--platform=systrap".into());
                    }
                }
                let force = if self.kind == Kind::Runsc { "--force" } else { "-f" };
                let mut delete = args.clone();
                delete.extend(["delete".into(), force.into(), id.clone()]);
                cleanup = Some((self.tool.clone(), delete));
                command.args(args).args(["run", "--bundle"]).arg(&place).arg(id);
                bundle = Some(place);
            }
        }
        command.env_clear().current_dir("/");
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        Ok(Job { command, cleanup, bundle })
    }
}

/// The tool on the usual path.
fn which(name: &str) -> Option<PathBuf> {
    let dirs = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"];
    dirs.iter().map(|d| Path::new(d).join(name)).find(|p| p.exists())
}

/// An OCI bundle over the host's root.
fn make_bundle(site: &Site, argv: &[String]) -> Result<(String, PathBuf)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = format!("chitin-bench-{}-{n}", std::process::id());
    let place = site.scratch.join(&id);
    std::fs::create_dir_all(&place).context("no directory for a bundle")?;
    let mount = |destination: &str, kind: &str, mode: &str| {
        let options = if kind == "tmpfs" { vec![mode, "nosuid"] } else { vec!["nosuid"] };
        serde_json::json!({"destination": destination, "type": kind, "source": kind, "options": options})
    };
    let spaces = ["pid", "ipc", "uts", "mount", "network"];
    let spaces: Vec<_> = spaces.iter().map(|t| serde_json::json!({"type": t})).collect();
    let caps =
        ["CAP_KILL", "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER", "CAP_SETUID", "CAP_SETGID"];
    let config = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": {"uid": 0, "gid": 0}, "args": argv, "cwd": "/",
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "noNewPrivileges": true,
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        },
        "root": {"path": site.scratch.join("root"), "readonly": true},
        "hostname": "bench",
        "mounts": [
            mount("/proc", "proc", ""), mount("/dev", "tmpfs", "mode=755"),
            mount("/dev/shm", "tmpfs", "mode=1777"), mount("/tmp", "tmpfs", "mode=1777"),
        ],
        "linux": {"namespaces": spaces},
    });
    std::fs::write(place.join("config.json"), config.to_string())?;
    Ok((id, place))
}
