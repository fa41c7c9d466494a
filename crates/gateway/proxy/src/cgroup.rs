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
    dirs: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes it. `driver` is the engine's: with systemd the parent is a slice, which systemd makes.
    pub fn create(parent: &str, driver: &str, budget: Budget) -> Result<Self> {
        if driver == "systemd" {
            return Self::slice(parent, budget);
        }
        let relative = parent.trim_start_matches('/');
        let dirs = if Path::new(ROOT).join("cgroup.controllers").exists() {
            vec![version2(relative, budget)?]
        } else {
            version1(relative, budget)?
        };
        Ok(Self { parent: format!("/{relative}"), dirs })
    }

    /// With the systemd driver: a slice whose limits systemd keeps.
    fn slice(parent: &str, budget: Budget) -> Result<Self> {
        let name = match parent.strip_suffix(".slice") {
            Some(_) => parent.to_owned(),
            None => {
                format!("{}.slice", parent.trim_matches('/').replace('-', "_").replace('/', "-"))
            }
        };
        let mut properties = Vec::new();
        properties.extend(budget.memory.map(|m| format!("MemoryMax={m}")));
        properties.extend(budget.memory.map(|_| "MemorySwapMax=0".to_owned()));
        properties.extend(budget.nano_cpus.map(|n| format!("CPUQuota={}%", n / 10_000_000)));
        properties.extend(budget.pids.map(|p| format!("TasksMax={p}")));
        for args in [vec!["start", &name], {
            let mut set = vec!["set-property", "--runtime", &name];
            set.extend(properties.iter().map(String::as_str));
            set
        }] {
            if args.len() == 3 {
                continue;
            }
            let status = std::process::Command::new("systemctl").args(&args).status();
            if !status.context("cannot run systemctl, which makes the client's slice")?.success() {
                bail!("systemctl {} failed; choose --cgroup none to go without", args.join(" "));
            }
        }
        Ok(Self { parent: name, dirs: vec![] })
    }

    /// Removes it; what is still in use stays.
    pub fn remove(&self) {
        if self.parent.ends_with(".slice") {
            let _ = std::process::Command::new("systemctl").args(["stop", &self.parent]).status();
        }
        self.dirs.iter().for_each(|d| remove_tree(d));
    }
}

/// Removes the directories of a parent in every hierarchy (after a crash, when no [`Cgroup`] is left).
pub fn remove_parent(parent: &str) {
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

fn version2(relative: &str, budget: Budget) -> Result<PathBuf> {
    let dir = Path::new(ROOT).join(relative);
    make(&dir)?;
    // Controllers are handed down one level at a time.
    let mut at = PathBuf::from(ROOT);
    for part in relative.split('/') {
        let _ = fs::write(at.join("cgroup.subtree_control"), "+memory +cpu +pids");
        at.push(part);
    }
    if let Some(memory) = budget.memory {
        put(&dir, "memory.max", &memory.to_string())?;
        if dir.join("memory.swap.max").exists() {
            put(&dir, "memory.swap.max", "0")?;
        }
    }
    if let Some(quota) = budget.nano_cpus.map(quota) {
        put(&dir, "cpu.max", &format!("{quota} {CPU_PERIOD_US}"))?;
    }
    if let Some(pids) = budget.pids {
        put(&dir, "pids.max", &pids.to_string())?;
    }
    Ok(dir)
}

fn quota(nano: u64) -> u64 {
    (nano / (1_000_000_000 / CPU_PERIOD_US)).max(1000)
}

fn version1(relative: &str, budget: Budget) -> Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    // Every hierarchy, so that what the engine makes below can be removed with it.
    for entry in fs::read_dir(ROOT).context("cannot read /sys/fs/cgroup")?.flatten() {
        let path = entry.path();
        let link = entry.file_type().is_ok_and(|t| t.is_symlink());
        if !link && path.join("cgroup.procs").exists() {
            dirs.push(path.join(relative));
        }
    }
    let find = |controller: &str| {
        let dir = [controller, "cpu,cpuacct"]
            .iter()
            .map(|name| Path::new(ROOT).join(name))
            .find(|d| d.join("cgroup.procs").exists());
        dir.map(|d| d.join(relative))
            .with_context(|| format!("the host has no {controller} cgroup; choose --cgroup none"))
    };
    if let Some(memory) = budget.memory {
        let dir = find("memory")?;
        make(&dir)?;
        put(&dir, "memory.limit_in_bytes", &memory.to_string())?;
        if dir.join("memory.memsw.limit_in_bytes").exists() {
            put(&dir, "memory.memsw.limit_in_bytes", &memory.to_string())?;
        }
    }
    if let Some(quota) = budget.nano_cpus.map(quota) {
        let dir = find("cpu")?;
        make(&dir)?;
        put(&dir, "cpu.cfs_period_us", &CPU_PERIOD_US.to_string())?;
        put(&dir, "cpu.cfs_quota_us", &quota.to_string())?;
    }
    if let Some(pids) = budget.pids {
        let dir = find("pids")?;
        make(&dir)?;
        put(&dir, "pids.max", &pids.to_string())?;
    }
    Ok(dirs)
}
