//! The budget: one cgroup for everything of a client, version 1 or 2, made before its first container and removed
//! after its last.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Where cgroups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// Microseconds of a CPU period.
const CPU_PERIOD_US: u64 = 100_000;

/// What the whole of a client may use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Bytes of memory (and no swap).
    pub memory: Option<u64>,
    /// Billionths of a CPU.
    pub nano_cpus: Option<u64>,
    /// Processes.
    pub pids: Option<u64>,
}

/// A client's cgroup.
#[derive(Debug)]
pub struct Cgroup {
    /// What the engine is told as the parent.
    pub parent: String,
}

impl Cgroup {
    /// Makes it. `driver` is the engine's: with systemd the parent is a slice, which systemd makes.
    pub fn create(parent: &str, driver: &str, budget: Budget) -> Result<Self> {
        if driver == "systemd" {
            return Self::slice(parent, budget);
        }
        let relative = parent.trim_start_matches('/');
        if Path::new(ROOT).join("cgroup.controllers").exists() {
            version2(relative, budget)?;
        } else {
            version1(relative, budget)?;
        }
        Ok(Self { parent: format!("/{relative}") })
    }

    /// Changes the budget of one that is there, known by what the engine is told.
    pub fn again(parent: &str, budget: Budget) -> Result<Self> {
        let driver = if parent.ends_with(".slice") { "systemd" } else { "cgroupfs" };
        Self::create(parent, driver, budget)
    }

    /// With the systemd driver: a slice whose limits systemd keeps.
    fn slice(parent: &str, budget: Budget) -> Result<Self> {
        let name = match parent.strip_suffix(".slice") {
            Some(_) => parent.to_owned(),
            None => {
                format!("{}.slice", parent.trim_matches('/').replace('-', "_").replace('/', "-"))
            }
        };
        // Also what has no limit (any more): the slice may be there already.
        let memory = budget.memory.map_or("infinity".into(), |m| m.to_string());
        let swap = if budget.memory.is_some() { "0" } else { "infinity" };
        let cpus = budget.nano_cpus.map(|n| format!("{}%", n / 10_000_000)).unwrap_or_default();
        let pids = budget.pids.map_or("infinity".into(), |p| p.to_string());
        let properties = [
            format!("MemoryMax={memory}"),
            format!("MemorySwapMax={swap}"),
            format!("CPUQuota={cpus}"),
            format!("TasksMax={pids}"),
        ];
        let mut set = vec!["set-property", "--runtime", &name];
        set.extend(properties.iter().map(String::as_str));
        for args in [vec!["start", &name], set] {
            let status = std::process::Command::new("systemctl").args(&args).status();
            if !status.context("cannot run systemctl, which makes the client's slice")?.success() {
                bail!("systemctl {} failed; choose --cgroup none to go without", args.join(" "));
            }
        }
        Ok(Self { parent: name })
    }
}

/// Removes what is known by its parent only, so also after a crash: its directories in every hierarchy, or its slice.
/// What is still in use stays.
pub fn remove(parent: &str) {
    if parent.ends_with(".slice") {
        let _ = std::process::Command::new("systemctl").args(["stop", parent]).status();
        return;
    }
    let relative = parent.trim_start_matches('/');
    if relative.is_empty() || relative.split('/').any(|s| s == "..") {
        return;
    }
    remove_tree(&Path::new(ROOT).join(relative));
    for hierarchy in fs::read_dir(ROOT).into_iter().flatten().flatten() {
        let dir = hierarchy.path().join(relative);
        if hierarchy.path().join("tasks").exists() || hierarchy.path().join("cgroup.procs").exists()
        {
            remove_tree(&dir);
        }
    }
}

fn remove_tree(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

fn put(dir: &Path, file: &str, value: &str) -> Result<()> {
    let path = dir.join(file);
    fs::write(&path, value).with_context(|| {
        format!("cannot write {value} to {}; choose --cgroup none to go without", path.display())
    })
}

fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| {
        format!(
            "cannot make the cgroup {}; run as root, or choose --cgroup none for limits on each container only",
            dir.display()
        )
    })
}

/// Sets a limit. Where there is none (any more), the file may be missing and is told so if it is there.
fn limit<T>(dir: &Path, file: &str, value: Option<T>, none: &str) -> Result<()>
where
    T: ToString,
{
    match value {
        Some(value) => put(dir, file, &value.to_string()),
        None if dir.join(file).exists() => put(dir, file, none),
        None => Ok(()),
    }
}

fn version2(relative: &str, budget: Budget) -> Result<()> {
    let dir = Path::new(ROOT).join(relative);
    make(&dir)?;
    // Controllers are handed down one level at a time.
    let mut at = PathBuf::from(ROOT);
    for part in relative.split('/') {
        let _ = fs::write(at.join("cgroup.subtree_control"), "+memory +cpu +pids");
        at.push(part);
    }
    limit(&dir, "memory.max", budget.memory, "max")?;
    if dir.join("memory.swap.max").exists() {
        limit(&dir, "memory.swap.max", budget.memory.map(|_| 0), "max")?;
    }
    let cpu = budget.nano_cpus.map(|n| format!("{} {CPU_PERIOD_US}", quota(n)));
    limit(&dir, "cpu.max", cpu, "max")?;
    limit(&dir, "pids.max", budget.pids, "max")
}

fn quota(nano: u64) -> u64 {
    (nano / (1_000_000_000 / CPU_PERIOD_US)).max(1000)
}

fn version1(relative: &str, budget: Budget) -> Result<()> {
    let find = |controller: &str, wanted: bool| {
        let all = [controller, "cpu,cpuacct"];
        let dir = all
            .iter()
            .map(|name| Path::new(ROOT).join(name))
            .find(|d| d.join("cgroup.procs").exists())
            .map(|d| d.join(relative));
        match dir {
            Some(dir) if wanted => make(&dir).map(|()| Some(dir)),
            None if wanted => {
                bail!("the host has no {controller} cgroup; choose --cgroup none to go without")
            }
            dir => Ok(dir),
        }
    };
    if let Some(dir) = find("memory", budget.memory.is_some())? {
        // The limit with swap is never below the one without.
        let swap = "memory.memsw.limit_in_bytes";
        if dir.join(swap).exists() {
            put(&dir, swap, "-1")?;
        }
        limit(&dir, "memory.limit_in_bytes", budget.memory, "-1")?;
        if dir.join(swap).exists() {
            limit(&dir, swap, budget.memory, "-1")?;
        }
    }
    if let Some(dir) = find("cpu", budget.nano_cpus.is_some())? {
        let period = budget.nano_cpus.map(|_| CPU_PERIOD_US);
        limit(&dir, "cpu.cfs_period_us", period, &CPU_PERIOD_US.to_string())?;
        limit(&dir, "cpu.cfs_quota_us", budget.nano_cpus.map(quota), "-1")?;
    }
    if let Some(dir) = find("pids", budget.pids.is_some())? {
        limit(&dir, "pids.max", budget.pids, "max")?;
    }
    Ok(())
}
