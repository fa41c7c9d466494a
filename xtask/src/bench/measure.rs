//! Running jobs with a deadline, and what the harness reads from `/proc` itself: start times, memory, idle CPU time.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::rows::{Kind, PRELUDE, Row, Session};
use super::runners::{Job, Runner, Site};

/// Longest run of one micro-benchmark.
const MICRO_LIMIT: Duration = Duration::from_secs(90);
/// Longest run of a session.
const SESSION_LIMIT: Duration = Duration::from_secs(900);
/// How many starts make one measurement.
const STARTS: usize = 20;
/// How many sandboxes run at once when memory is measured.
const CROWD: usize = 20;
/// How long idle sandboxes get before they are looked at.
const SETTLE: Duration = Duration::from_secs(4);

/// What one run measured: rows and values.
pub type Values = Vec<(String, f64)>;

/// Median of values.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A CPU hog that ends with the value.
pub struct Hog(Child);

impl Hog {
    /// Starts one.
    pub fn start(site: &Site) -> Result<Hog> {
        let hog = Command::new(site.programs.join("micro")).arg("hog").spawn();
        Ok(Hog(hog.context("cannot start the CPU hog")?))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a job; kills its process group at the deadline. Returns what it printed.
fn run(mut job: Job, site: &Site, limit: Duration) -> Result<String> {
    let path = site.scratch.join("output");
    let out = File::create(&path).context("no file for the output")?;
    let err = out.try_clone()?;
    job.command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
    let child = job.command.spawn().context("cannot start it");
    let status = child.and_then(|mut child| {
        let (done, over) = mpsc::channel::<()>();
        let group = format!("-{}", child.id());
        let watchdog = std::thread::spawn(move || {
            let late = over.recv_timeout(limit).is_err();
            if late {
                let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            }
            late
        });
        let status = child.wait();
        let _ = done.send(());
        let late = watchdog.join().unwrap_or(false);
        if late {
            bail!("no end after {} s", limit.as_secs());
        }
        Ok(status?)
    });
    job.clean();
    let mut text = String::new();
    File::open(&path)?.read_to_string(&mut text).unwrap_or(0);
    let status = status?;
    if !status.success() {
        let last = text.lines().rev().find(|l| !l.is_empty()).unwrap_or("");
        bail!("{status}: {last}");
    }
    Ok(text)
}

/// The `NAME NUMBER` lines of an output.
fn values(text: &str) -> Values {
    let pairs = text.lines().filter_map(|l| l.split_once(' '));
    pairs.filter_map(|(name, v)| Some((name.to_owned(), v.trim().parse().ok()?))).collect()
}

/// Measures one row of `micro` or of the harness itself.
pub fn single(row: &Row, runner: &Runner, site: &Site, idle: Duration) -> Result<Values> {
    let one = |value: f64| vec![(row.name.to_owned(), value)];
    match row.kind {
        Kind::Micro | Kind::MicroTmp => {
            let dir = match row.kind {
                Kind::MicroTmp => "/tmp".into(),
                _ => runner.memory_dir(site),
            };
            let micro = site.programs.join("micro").display().to_string();
            let argv = [micro, row.name.into(), dir.display().to_string()];
            Ok(values(&run(runner.job(site, &argv)?, site, MICRO_LIMIT)?))
        }
        Kind::Start => Ok(one(starts(runner, site)?)),
        Kind::Memory => Ok(one(memory(runner, site)?)),
        Kind::Idle => Ok(one(idle_time(runner, site, idle)?)),
        Kind::Session(_) => bail!("a session's row is measured by its session"),
    }
}

/// Measures the rows of a session.
pub fn session(session: &Session, runner: &Runner, site: &Site) -> Result<Values> {
    let dir = runner.memory_dir(site).join("session");
    let micro = site.programs.join("micro");
    let (dir, micro) = (dir.display(), micro.display());
    let script = format!("D='{dir}'; M='{micro}'; mkdir \"$D\"\n{PRELUDE}{}", session.script);
    let argv = ["/bin/sh".into(), "-c".into(), script];
    let out = run(runner.job(site, &argv)?, site, SESSION_LIMIT);
    let _ = std::fs::remove_dir_all(site.memory.join("session"));
    Ok(values(&out?))
}

fn starts(runner: &Runner, site: &Site) -> Result<f64> {
    let mut took = Vec::new();
    for _ in 0..STARTS {
        let mut job = runner.job(site, &["/bin/true".into()])?;
        job.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let status = job.command.status();
        took.push(start.elapsed().as_secs_f64() * 1e9);
        job.clean();
        if !status?.success() {
            bail!("/bin/true failed");
        }
    }
    Ok(median(&took))
}

/// Sandboxes that run `sleep`, ended when dropped.
struct Sleepers(Vec<(Child, Option<Job>)>);

impl Sleepers {
    fn start(count: usize, runner: &Runner, site: &Site) -> Result<Sleepers> {
        let mut this = Sleepers(Vec::new());
        for _ in 0..count {
            let mut job = runner.job(site, &["/bin/sleep".into(), "1000".into()])?;
            job.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            this.0.push((job.command.process_group(0).spawn()?, Some(job)));
        }
        std::thread::sleep(SETTLE);
        Ok(this)
    }

    fn processes(&self) -> Vec<u32> {
        let mut all = Vec::new();
        let children = children_by_parent();
        let mut todo: Vec<u32> = self.0.iter().map(|(c, _)| c.id()).collect();
        while let Some(pid) = todo.pop() {
            all.push(pid);
            todo.extend(children.get(&pid).into_iter().flatten());
        }
        all
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for pid in self.processes().iter().rev() {
            let _ = Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .stderr(Stdio::null())
                .status();
        }
        for (child, job) in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
            if let Some(job) = job.take() {
                job.clean();
            }
        }
    }
}

/// The children of every process.
fn children_by_parent() -> HashMap<u32, Vec<u32>> {
    let mut map: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may hold anything.
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        if let Some(parent) = rest.split(' ').nth(1).and_then(|p| p.parse().ok()) {
            map.entry(parent).or_default().push(pid);
        }
    }
    map
}

/// Proportional set size of processes, in bytes.
fn pss(pids: &[u32]) -> f64 {
    let of = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("Pss:"));
        let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(0.0) * 1024.0
    };
    pids.iter().map(of).sum()
}

/// Memory of each sandbox beyond that of the program alone.
fn memory(runner: &Runner, site: &Site) -> Result<f64> {
    let native = {
        let native = Runner::find("native", site).map_err(anyhow::Error::msg)?;
        pss(&Sleepers::start(CROWD, &native, site)?.processes())
    };
    let sleepers = Sleepers::start(CROWD, runner, site)?;
    let mine = pss(&sleepers.processes());
    Ok(((mine - native) / CROWD as f64).max(0.0))
}

/// CPU time of processes, in nanoseconds, as the scheduler counts it.
fn cpu_time(pids: &[u32]) -> f64 {
    let tasks = pids.iter().flat_map(|pid| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        tasks.into_iter().flatten().flatten().map(|t| t.path())
    });
    let time = tasks.filter_map(|t| {
        let text = std::fs::read_to_string(t.join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    time.sum()
}

fn idle_time(runner: &Runner, site: &Site, long: Duration) -> Result<f64> {
    let sleepers = Sleepers::start(1, runner, site)?;
    let pids = sleepers.processes();
    let before = cpu_time(&pids);
    std::thread::sleep(long);
    Ok(cpu_time(&pids) - before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert!(median(&[]).is_nan());
        let found = values("# a failed\nfind 12.5\n\nls-lR 7\nnoise here\n");
        assert_eq!(found, [("find".to_owned(), 12.5), ("ls-lR".to_owned(), 7.0)]);
    }

    #[test]
    fn sees_itself() {
        let me = std::process::id();
        assert!(children_by_parent().values().flatten().any(|&p| p == me));
        assert!(pss(&[me]) > 0.0);
    }
}
