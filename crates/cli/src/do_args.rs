//! Flags of `chitin do` and what they mean.

use anyhow::{Context, Result, bail, ensure};
use chitin_sentry::{Bind, BindMode, LogTo, SandboxConfig};
use clap::Args;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `chitin do`.
#[derive(Args, Debug)]
pub struct DoArgs {
    /// Use this host directory as the root instead of the host's own root
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Show a host path read-only, without the overlay
    #[arg(long, value_name = "HOST[:GUEST]")]
    ro: Vec<OsString>,
    /// Give a host path for writing: changes there are real
    #[arg(long, value_name = "HOST[:GUEST]")]
    rw: Vec<OsString>,
    /// Mount an empty file system in memory
    #[arg(long, value_name = "PATH")]
    tmpfs: Vec<PathBuf>,
    /// Show a well-known credential place that is masked by default; `all` shows all
    #[arg(long, value_name = "PATH")]
    unmask: Vec<PathBuf>,
    /// Working directory (default: the current one)
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set an environment variable; KEY alone passes the current value on
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<OsString>,
    /// Start with an empty environment
    #[arg(long)]
    clear_env: bool,
    /// Run as this user and group, by number or name, as seen inside (default: the caller)
    #[arg(long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Host name inside
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Memory limit: bytes, or with a suffix k, m, g
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Limit on the number of tasks
    #[arg(long, value_name = "N")]
    pids: Option<u32>,
    /// Kill the program after this time: seconds, or with a suffix ms, s, m, h
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// How guest code is run
    #[arg(long, value_name = "NAME", default_value = "systrap")]
    platform: String,
    /// Log system calls to stderr or FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    strace: Option<Option<PathBuf>>,
    /// Print counts and times of system calls to stderr at the end
    #[arg(long)]
    stats: bool,
    /// Log what the kernel does not support, and more, to FILE (`-` is stderr)
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Bytes of a host name (`sethostname(2)`).
const HOSTNAME_MAX: usize = 64;
/// The least that `--memory` takes: less than the C library needs to start.
const MEMORY_MIN: u64 = 1 << 20;

/// `HOST[:GUEST]`.
fn parse_bind(spec: &OsString, mode: BindMode) -> Result<Bind> {
    let bytes = spec.as_bytes();
    let (host, guest) = match bytes.iter().position(|&b| b == b':') {
        Some(i) => (&bytes[..i], &bytes[i + 1..]),
        None => (bytes, bytes),
    };
    let path = |b: &[u8]| PathBuf::from(OsString::from_vec(b.to_vec()));
    let host = std::path::absolute(path(host))
        .with_context(|| format!("{} is not a path", spec.display()))?;
    let host = host.canonicalize().with_context(|| {
        format!("{} does not exist on the host; create it or name another path", host.display())
    })?;
    let guest = std::path::absolute(path(guest))
        .with_context(|| format!("{} names no guest path", spec.display()))?;
    let kind = host.metadata().with_context(|| format!("{} cannot be seen", host.display()))?;
    ensure!(
        kind.is_dir() || kind.is_file(),
        "{} is neither a directory nor a regular file; only these can be shown",
        host.display()
    );
    Ok(Bind { host, guest, mode })
}

/// Bytes with an optional binary suffix.
fn parse_size(text: &str) -> Result<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    ensure!(!digits.is_empty(), "{text:?} is not a size, like 512m");
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        other => bail!("{other:?} is not a size suffix; use k, m, g or t"),
    };
    let n: u64 = digits.parse().with_context(|| format!("{text:?} is not a size, like 512m"))?;
    n.checked_mul(1 << shift).with_context(|| format!("{text:?} is too large"))
}

/// A time with an optional suffix.
fn parse_time(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    ensure!(!digits.is_empty(), "{text:?} is not a time, like 30s");
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        other => bail!("{other:?} is not a time suffix; use ms, s, m or h"),
    };
    let n: f64 = digits.parse().with_context(|| format!("{text:?} is not a time, like 30s"))?;
    Duration::try_from_secs_f64(n * unit).with_context(|| format!("{text:?} is out of range"))
}

/// The ids of a name in a file like `passwd(5)`: name, password, user id, group id.
fn ids_of(database: &str, name: &str) -> Option<(u32, u32)> {
    let line = database.lines().find(|l| l.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let first = fields.next()?.parse().ok()?;
    Some((first, fields.next().and_then(|f| f.parse().ok()).unwrap_or(first)))
}

/// `USER[:GROUP]`, by number or by the names of the root directory's `/etc`.
fn parse_user(text: &str, root: &Path) -> Result<(u32, u32)> {
    let (user, group) = text.split_once(':').map_or((text, None), |(u, g)| (u, Some(g)));
    let find = |name: &str, file: &str| {
        if let Ok(id) = name.parse() {
            return Ok((id, id));
        }
        let path = root.join(file);
        let database = std::fs::read_to_string(&path).unwrap_or_default();
        ids_of(&database, name).with_context(|| {
            format!("{name:?} is not in {}; give a number or another name", path.display())
        })
    };
    let (uid, own_group) = find(user, "etc/passwd")?;
    let gid = group.map_or(Ok(own_group), |name| find(name, "etc/group").map(|ids| ids.0))?;
    Ok((uid, gid))
}

impl DoArgs {
    fn environment(&self) -> Result<Vec<Vec<u8>>> {
        let mut vars: Vec<(OsString, OsString)> =
            if self.clear_env { Vec::new() } else { std::env::vars_os().collect() };
        for spec in &self.env {
            let bytes = spec.as_bytes();
            let (key, value) = match bytes.iter().position(|&b| b == b'=') {
                Some(i) => (
                    OsString::from_vec(bytes[..i].to_vec()),
                    Some(OsString::from_vec(bytes[i + 1..].to_vec())),
                ),
                None => (spec.clone(), std::env::var_os(spec)),
            };
            ensure!(!key.is_empty(), "--env {} has no name before `=`", spec.display());
            vars.retain(|(k, _)| *k != key);
            vars.extend(value.map(|v| (key, v)));
        }
        Ok(vars.into_iter().map(|(k, v)| [k.as_bytes(), b"=", v.as_bytes()].concat()).collect())
    }

    /// Checks the flags against each other and the host.
    pub fn into_config(self) -> Result<SandboxConfig> {
        ensure!(
            self.platform == "systrap",
            "--platform {} is not known; systrap is the only one",
            self.platform
        );
        let (mut binds, mut files) = (Vec::new(), Vec::new());
        let specs =
            [("--ro", &self.ro, BindMode::ReadOnly), ("--rw", &self.rw, BindMode::ReadWrite)];
        for (option, specs, mode) in specs {
            for spec in specs {
                let bind = parse_bind(spec, mode).context(option)?;
                let list = if bind.host.is_dir() { &mut binds } else { &mut files };
                list.push(bind);
            }
        }
        if let Some(path) = self.unmask.iter().find(|p| !chitin_sentry::is_masked(p)) {
            let path = path.display();
            bail!("--unmask {path}: nothing is masked there; `chitin masks` lists the places");
        }
        if let Some(name) = &self.hostname {
            ensure!(
                (1..=HOSTNAME_MAX).contains(&name.len()),
                "--hostname has {} bytes; give 1 to {HOSTNAME_MAX}",
                name.len()
            );
        }
        let env = self.environment()?;
        let cwd = match (&self.cwd, &self.root) {
            (Some(dir), _) => dir.clone(),
            (None, Some(_)) => PathBuf::from("/"),
            (None, None) => std::env::current_dir()
                .context("the current directory is gone; cd elsewhere or give --cwd")?,
        };
        let names = self.root.as_deref().unwrap_or(Path::new("/"));
        let user = self.user.as_deref().map(|user| parse_user(user, names));
        let user = user.transpose().context("--user")?;
        let root = match &self.root {
            Some(dir) => Some(dir.canonicalize().with_context(|| {
                format!("--root {} is not there; give an existing directory", dir.display())
            })?),
            None => None,
        };
        ensure!(
            root.as_ref().is_none_or(|r| r.is_dir()),
            "--root {} is not a directory",
            self.root.as_deref().unwrap_or(Path::new("")).display()
        );
        let memory = self.memory.as_deref().map(parse_size).transpose().context("--memory")?;
        ensure!(
            memory.is_none_or(|m| m >= MEMORY_MIN),
            "--memory is less than 1m, which no program starts in"
        );
        ensure!(self.pids != Some(0), "--pids 0 leaves no task for the program; use 1 or more");
        Ok(SandboxConfig {
            command: self.command.iter().map(|a| a.as_bytes().to_vec()).collect(),
            env,
            cwd,
            root,
            binds,
            files,
            tmpfs: self.tmpfs,
            unmask: self.unmask,
            user,
            hostname: self.hostname,
            memory,
            pids: self.pids,
            timeout: self.timeout.as_deref().map(parse_time).transpose().context("--timeout")?,
            platform: self.platform,
            strace: self.strace.map(|f| f.map_or(LogTo::Stderr, LogTo::File)),
            stats: self.stats,
            log: self.log.map(
                |f| {
                    if f.as_os_str() == "-" { LogTo::Stderr } else { LogTo::File(f) }
                },
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_suffixes() {
        assert_eq!(parse_size("64k").unwrap(), 65536);
        assert_eq!(parse_size("2G").unwrap(), 2 << 30);
        assert!(parse_size("2x").is_err());
        assert!(parse_size("99999999999g").is_err());
        assert_eq!(parse_time("1500ms").unwrap(), Duration::from_millis(1500));
        assert_eq!(parse_time("2m").unwrap(), Duration::from_secs(120));
        assert!(parse_time("-1").is_err());
    }

    #[test]
    fn users_are_numbers_or_names() {
        let none = Path::new("/nonexistent");
        assert_eq!(parse_user("7", none).unwrap(), (7, 7));
        assert_eq!(parse_user("7:8", none).unwrap(), (7, 8));
        assert!(parse_user("root", none).is_err());
        assert_eq!(parse_user("root", Path::new("/")).unwrap(), (0, 0));
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:5:6::/:/bin/sh\n";
        assert_eq!(ids_of(passwd, "ann"), Some((5, 6)));
        assert_eq!(ids_of(passwd, "an"), None);
    }
}
