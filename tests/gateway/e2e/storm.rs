//! Many things at once, and things that end at the wrong moment.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::gate::{BUSYBOX, Site, contains, same};

/// Threads that ask at the same time.
const AT_ONCE: usize = 12;

/// 200 containers made and removed, twelve at a time.
pub fn two_hundred_containers(site: &mut Site) -> Result<(), String> {
    let a = site.gate("a", &["--max-containers", "300"])?;
    let next = AtomicUsize::new(0);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= 200 {
                        return;
                    }
                    let name = format!("c{n}");
                    let made = a.run(&["create", "--name", &name, "-v", "/x", BUSYBOX, "true"]);
                    // Every fourth stays for the removal of the client.
                    let done = made.and_then(|_| match n % 4 {
                        0 => Ok(String::new()),
                        _ => a.run(&["rm", "-fv", &name]),
                    });
                    if let (Err(e), Ok(mut failed)) = (done, failed.lock()) {
                        failed.push(e);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    if let Some(first) = failed.first() {
        return Err(format!("{} of 200 failed, the first: {first}", failed.len()));
    }
    let left = a.run(&["ps", "-aq"])?;
    same("left", &left.lines().count().to_string(), "50")?;
    same("volumes", &a.run(&["volume", "ls", "-q"])?.lines().count().to_string(), "50")?;
    a.end().map(|_| ())
}

/// The engine ends and comes back while containers are made; the gateway goes on and knows what is there.
pub fn engine_restarts(site: &mut Site) -> Result<(), String> {
    let a = site.gate("a", &[])?;
    a.run(&["run", "-d", "--name", "long", BUSYBOX, "sleep", "1000"])?;
    let mut attached = a.docker(&["attach", "long"]);
    let mut attached = attached.stdin(Stdio::null()).spawn().map_err(|e| e.to_string())?;
    let done = std::sync::atomic::AtomicBool::new(false);
    let (mut worked, mut before) = (0, 0);
    let restarted: Result<(), String> = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (mut n, mut good) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                n += 1;
                let name = format!("load{n}");
                good += usize::from(a.run(&["run", "--name", &name, BUSYBOX, "true"]).is_ok());
            }
            good
        });
        std::thread::sleep(Duration::from_secs(2));
        let restarted = site.engine.stop().and_then(|()| site.engine.up());
        std::thread::sleep(Duration::from_secs(2));
        let killed = restarted.and_then(|()| site.engine.kill()).and_then(|()| site.engine.up());
        std::thread::sleep(Duration::from_secs(2));
        done.store(true, Ordering::Relaxed);
        worked = load.join().unwrap_or(0);
        killed
    });
    let ended = attached.try_wait().map_err(|e| e.to_string())?;
    if ended.is_none() {
        let _ = attached.kill();
        return Err("a stream goes on after its engine was killed".into());
    }
    restarted?;
    if worked < 3 {
        return Err(format!("only {worked} containers ran"));
    }
    // The gateway's list is the engine's.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        let through = a.run(&["ps", "-aq", "--no-trunc"])?;
        let direct = site.engine.run(&["ps", "-aq", "--no-trunc", "--filter", "name=ct-a."])?;
        before = direct.lines().count();
        if through.lines().count() == before {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    same("listed", &a.run(&["ps", "-aq"])?.lines().count().to_string(), &before.to_string())?;
    a.run(&["run", "--rm", BUSYBOX, "true"])?;
    a.end().map(|_| ())
}

/// SIGKILL during 50 operations; the next gateway finds everything that the last one was making.
pub fn killed_gateway(site: &mut Site) -> Result<(), String> {
    let foreign = site.engine.run(&["run", "-d", "--name", "foreign", BUSYBOX, "sleep", "1000"])?;
    let a = site.gate("a", &[])?;
    a.run(&["run", "-d", "--name", "runs", BUSYBOX, "sleep", "1000"])?;
    let pid = a.pid();
    let (socket, cgroup) = (a.socket.clone(), format!("{}/a", site.engine.cgroup()));
    let (done, cut) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let before = std::thread::scope(|scope| {
        for n in 0..50 {
            let (a, done, cut) = (&a, &done, &cut);
            scope.spawn(move || {
                let name = format!("x{n}");
                let result = match n % 5 {
                    0 => a.run(&["network", "create", &name]),
                    1 => a.run(&["volume", "create", &name]),
                    2 => a.run(&[
                        "run", "-d", "-v", "/anon", "--name", &name, BUSYBOX, "sleep", "1000",
                    ]),
                    3 => a.run(&["tag", BUSYBOX, &name]),
                    _ => a.run_with(
                        &["build", "-t", &name, "-"],
                        format!("FROM {BUSYBOX}\nRUN sleep 1\n").as_bytes(),
                    ),
                };
                let which = if result.is_ok() { done } else { cut };
                which.fetch_add(1, Ordering::Relaxed);
            });
        }
        std::thread::sleep(Duration::from_millis(1500));
        let before = done.load(Ordering::Relaxed);
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        before
    });
    a.kill();
    let cut = cut.into_inner();
    eprintln!(
        "{before} of 50 operations were done when the gateway was killed, {cut} were cut off"
    );
    let left = site.engine.run(&["ps", "-aq", "--filter", "name=ct-a."])?;
    if left.is_empty() || cut == 0 {
        return Err("the killed gateway left nothing, so nothing was tested".into());
    }
    let again = site.gate("a", &[])?;
    again.expect(&["ps", "-aq"], "")?;
    again.expect(&["volume", "ls", "-q"], "")?;
    again.expect(&["network", "ls", "--format", "{{.Name}}"], "")?;
    again.expect(&["images", "-q", "x*"], "")?;
    again.end()?;
    for left in [
        socket,
        format!("/sys/fs/cgroup{cgroup}").into(),
        format!("/sys/fs/cgroup/pids{cgroup}").into(),
    ] {
        if left.exists() {
            return Err(format!("{} is left", left.display()));
        }
    }
    let still = site.engine.run(&["inspect", "-f", "{{.State.Running}}", &foreign])?;
    same("foreign container", &still, "true")?;
    site.engine.run(&["rm", "-fv", "foreign"])?;
    Ok(())
}

/// The learning mode prints the keys that the client needed, and lifts nothing else.
pub fn dry_run(site: &mut Site) -> Result<(), String> {
    let dir = site.engine.dir().join("learn");
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let a = site.gate(
        "a",
        &[
            "--dry-run",
            "--memory",
            "64m",
            "--cpus",
            "0.5",
            "--max-volumes",
            "1",
            "--max-images",
            "1",
        ],
    )?;
    a.run(&["run", "--rm", "-m", "100m", "-v", &format!("{}:/m", dir.display()), BUSYBOX, "true"])?;
    a.run(&["run", "--rm", "-p", "80", BUSYBOX, "true"])?;
    a.run(&["run", "-d", "--name", "more", "--cpus", "1", BUSYBOX, "sleep", "1000"])?;
    a.run(&["update", "--memory", "200m", "--memory-swap", "200m", "more"])?;
    for name in ["one", "two", "three"] {
        a.run(&["volume", "create", name])?;
    }
    let text = format!("FROM {BUSYBOX}\nADD http://192.0.2.1/x /x\n");
    if a.run_with(&["build", "-t", "x", "-"], text.as_bytes()).is_ok() {
        return Err("the engine fetched what nobody serves".into());
    }
    a.run(&["tag", BUSYBOX, "y"])?;
    a.run(&["tag", BUSYBOX, "z"])?;
    a.refused(&["run", "--rm", "--privileged", BUSYBOX, "true"], "Privileged")?;
    let out = a.end()?;
    for line in [
        "memory = 209715200",
        "cpus = 1.00",
        "max_volumes = 3",
        "max_images = 2",
        "remote_build = true",
        "publish_ports = true",
        &format!("path = \"{}\"", dir.display()),
    ] {
        contains("learnt", &out, line)?;
    }
    Ok(())
}
