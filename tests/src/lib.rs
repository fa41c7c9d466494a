//! What the guest tests and the comparison tests share: finding `chitin`, running a command with a deadline and
//! collecting what it did.
//!
//! Key types: [`Place`] (where a command runs), [`Outcome`] (what it did). No locks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub mod attacks;
pub mod engine;
mod run;

pub use run::{Outcome, Scratch, run};

/// The top of the checkout.
pub fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// A number from the environment, or its default: the knobs that scale the long tests.
pub fn knob(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Where a command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the host, as the caller.
    Native,
    /// On the host, as uid 65534 without groups or capabilities (only where the caller is root).
    NativeUser,
    /// Under `chitin do --platform NAME`.
    Chitin(String),
}

impl Place {
    /// The name that test names begin with.
    pub fn name(&self) -> &str {
        match self {
            Place::Native => "native",
            Place::NativeUser => "native-user",
            Place::Chitin(platform) => platform,
        }
    }

    /// The command that runs `argv` in this place, in directory `cwd`.
    pub fn command(&self, argv: &[&str], cwd: &Path) -> Command {
        self.command_with(&[], argv, cwd)
    }

    /// The same with options for `chitin do`; the native places ignore them.
    pub fn command_with(&self, options: &[&str], argv: &[&str], cwd: &Path) -> Command {
        let mut command = match self {
            Place::Native => Command::new(argv[0]),
            Place::NativeUser => {
                let mut c = Command::new("setpriv");
                c.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]);
                c.args(["--inh-caps=-all", "--", argv[0]]);
                c
            }
            Place::Chitin(platform) => {
                let mut c = Command::new(chitin_path());
                c.args(["do", "--platform", platform]).args(options).args(["--", argv[0]]);
                c
            }
        };
        command.args(&argv[1..]).current_dir(cwd).env_clear();
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        command.envs([("PATH", path), ("LANG", "C"), ("LC_ALL", "C"), ("TZ", "UTC0")]);
        command.envs([("TERM", "xterm"), ("HOME", "/tmp"), ("USER", "guest")]);
        command
    }
}

/// The binary under test: `$CHITIN`, or the release build of this workspace.
pub fn chitin_path() -> PathBuf {
    if let Some(path) = std::env::var_os("CHITIN") {
        return path.into();
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| top().join("target"));
    target.join("x86_64-unknown-linux-gnu/release/chitin")
}

/// The platforms to test (`$CHITIN_PLATFORMS`, by default systrap), each with the reason why it cannot run here, if so.
pub fn platforms() -> Vec<(String, Result<(), String>)> {
    let names = std::env::var("CHITIN_PLATFORMS").unwrap_or_else(|_| "systrap".into());
    names.split([',', ' ']).filter(|n| !n.is_empty()).map(|n| (n.into(), probe(n))).collect()
}

/// Whether a platform runs `/bin/true`.
fn probe(platform: &str) -> Result<(), String> {
    let chitin = chitin_path();
    if !chitin.exists() {
        return Err(format!("{} is not built (cargo build --release)", chitin.display()));
    }
    let place = Place::Chitin(platform.into());
    let mut command = place.command(&["/bin/sh", "-c", "echo up"], Path::new("/"));
    let out = run(&mut command, b"", Duration::from_secs(20))?;
    match out.status == 0 && out.stdout == b"up\n" {
        true => Ok(()),
        false => Err(format!("`chitin do --platform {platform} -- sh -c 'echo up'`: {out}")),
    }
}

/// True where tests that cannot run must fail instead of being skipped (`CHITIN_REQUIRE=1`).
pub fn required() -> bool {
    knob("CHITIN_REQUIRE", 0) != 0
}

/// True if this process runs as root, by the owner of its own /proc entry.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// Whether a program is on the usual path.
pub fn has(program: &str) -> bool {
    ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        .iter()
        .any(|dir| Path::new(dir).join(program).exists())
}

/// Failures that are known and wait for their cause to be mended: `PLATFORM TEST reason`, one a line.
pub struct Known(Vec<(String, String, String)>);

impl Known {
    /// Reads a list; a file that is not there is an empty list. `CHITIN_KNOWN=run` ignores it.
    pub fn read(path: &Path) -> Known {
        if std::env::var("CHITIN_KNOWN").is_ok_and(|v| v == "run") {
            return Known(Vec::new());
        }
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        Known(
            lines
                .filter_map(|l| {
                    let mut words = l.splitn(3, ' ');
                    let (platform, test) = (words.next()?, words.next()?);
                    Some((platform.into(), test.into(), words.next().unwrap_or("").into()))
                })
                .collect(),
        )
    }

    /// The reason why this test is known to fail in this place.
    pub fn reason(&self, place: &Place, test: &str) -> Option<&str> {
        let mut entries = self.0.iter();
        entries.find(|(p, t, _)| p == place.name() && t == test).map(|(_, _, r)| r.as_str())
    }
}
