//! The docker CLI and docker-compose through the gateway.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use chitin_tests::{has, run};

use crate::gate::{BUSYBOX, Gate, Site, contains, lacks, same};

/// run, exec, logs, attach, wait, stats, top; both directions of streams, half-closed ends, exit codes.
pub fn run_and_streams(site: &mut Site) -> Result<(), String> {
    let a = site.gate("a", &[])?;
    a.expect(&["run", "--rm", BUSYBOX, "echo", "hi"], "hi")?;
    same("run -i", &a.run_with(&["run", "-i", "--rm", BUSYBOX, "sort"], b"b\na\n")?, "a\nb")?;
    a.refused(&["run", "--rm", BUSYBOX, "sh", "-c", "exit 42"], "status 42")?;
    a.run(&[
        "run",
        "-d",
        "--name",
        "web",
        BUSYBOX,
        "sh",
        "-c",
        "echo one; sleep 1; echo two; sleep 1000",
    ])?;
    same("exec -i", &a.run_with(&["exec", "-i", "web", "wc", "-c"], &[b'x'; 300_000])?, "300000")?;
    a.refused(&["exec", "web", "sh", "-c", "exit 7"], "status 7")?;
    let log = a.run(&["exec", "web", "sh", "-c", "yes | head -c 50000000 | md5sum"])?;
    let through = a.run(&["exec", "web", "sh", "-c", "yes | head -c 50000000"])?;
    // What `run` trims is the last line's end.
    same("bytes through exec", &(through.len() + 1).to_string(), "50000000")?;
    contains("md5sum", &log, "-")?;
    let out = run(&mut a.docker(&["logs", "-f", "web"]), b"", Duration::from_secs(4))?;
    same("logs -f", &String::from_utf8_lossy(&out.stdout), "one\ntwo\n")?;
    match a.run(&["top", "web"]) {
        Ok(top) => contains("top", &top, "sleep 1000")?,
        // The engine runs the ps of its own root.
        Err(e) if e.contains("\"ps\": executable file not found") => {
            eprintln!("skipped: docker top, since the engine's tree has no ps");
        }
        Err(e) => return Err(e),
    }
    contains("stats", &a.run(&["stats", "--no-stream", "--format", "{{.Name}}"])?, "web")?;
    same("tty", a.run(&["run", "--rm", "-t", BUSYBOX, "tty"])?.trim(), "/dev/pts/0")?;
    a.expect(&["stop", "-t", "0", "web"], "web")?;
    a.expect(&["wait", "web"], "137")?;
    a.run(&["start", "web"])?;
    a.run(&["rename", "web", "www"])?;
    a.expect(&["ps", "--format", "{{.Names}} {{.Image}}"], &format!("www {BUSYBOX}"))?;
    a.expect(&["ps", "-q", "--filter", "name=^web$"], "")?;
    a.run(&["update", "--cpus", "0.5", "www"])?;
    // A silent minute would only cost time here; the pump has no clock at all.
    let inspect = a.run(&["inspect", "www"])?;
    for secret in ["/docker/containers/", "ct-a.", "chitin.gateway.client", "overlay2/", "/engine"]
    {
        lacks("inspect", &inspect, secret)?;
    }
    Ok(())
}

/// cp both ways, volumes of every kind and their labels.
pub fn files_and_volumes(site: &mut Site) -> Result<(), String> {
    let a = site.gate("a", &[])?;
    a.run(&[
        "run",
        "-d",
        "--name",
        "c",
        "-v",
        "data:/data",
        "-v",
        "/anon",
        BUSYBOX,
        "sleep",
        "1000",
    ])?;
    let dir = site.engine.dir().join("send");
    std::fs::create_dir_all(dir.join("sub")).map_err(|e| e.to_string())?;
    std::fs::write(dir.join("sub/file"), "content").map_err(|e| e.to_string())?;
    let from = dir.to_string_lossy().into_owned();
    a.run(&["cp", &from, "c:/data/"])?;
    a.expect(&["exec", "c", "cat", "/data/send/sub/file"], "content")?;
    let back = site.engine.dir().join("back");
    a.run(&["cp", "c:/data/send/sub/file", &back.to_string_lossy()])?;
    same("cp", &std::fs::read_to_string(back).map_err(|e| e.to_string())?, "content")?;
    std::os::unix::fs::symlink("/etc", dir.join("out")).map_err(|e| e.to_string())?;
    a.refused(&["cp", &from, "c:/tmp/"], "leads outside")?;
    a.refused(&["cp", "c:/nowhere", "-"], "/nowhere")?;
    let volumes = a.run(&["volume", "ls", "-q"])?;
    same("volumes", &volumes.lines().count().to_string(), "2")?;
    contains("volumes", &volumes, "data")?;
    // The engine has a label on all of them, also on the anonymous one.
    let labelled =
        site.engine.run(&["volume", "ls", "-q", "--filter", "label=chitin.gateway.client=a"])?;
    same("labelled", &labelled.lines().count().to_string(), "2")?;
    a.run(&["rm", "-fv", "c"])?;
    a.expect(&["volume", "ls", "-q"], "data")?;
    a.expect(&["run", "--rm", "-v", "data:/d:ro", BUSYBOX, "cat", "/d/send/sub/file"], "content")?;
    a.refused(&["volume", "inspect", "other"], "no such volume")?;
    a.refused(
        &["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/", "x"],
        "DriverOpts",
    )?;
    a.run(&["volume", "rm", "data"])?;
    Ok(())
}

/// Own networks, names as aliases, the client's own default network.
pub fn networks(site: &mut Site) -> Result<(), String> {
    let a = site.gate("a", &[])?;
    a.run(&["network", "create", "front"])?;
    a.run(&["run", "-d", "--name", "db", "--network", "front", BUSYBOX, "sleep", "1000"])?;
    let ping = ["run", "--rm", "--network", "front", BUSYBOX, "ping", "-c1", "-w5", "db"];
    contains("ping", &a.run(&ping)?, "1 packets received")?;
    a.run(&["run", "-d", "--name", "other", BUSYBOX, "sleep", "1000"])?;
    a.refused(&["exec", "other", "ping", "-c1", "-w2", "db"], "db")?;
    a.run(&["network", "connect", "front", "other"])?;
    contains(
        "ping",
        &a.run(&["exec", "other", "ping", "-c1", "-w5", "db"])?,
        "1 packets received",
    )?;
    let names = "{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{end}}";
    same("networks", a.run(&["inspect", "-f", names, "other"])?.trim(), "bridge front")?;
    a.run(&["network", "disconnect", "front", "other"])?;
    a.refused(&["network", "rm", "front"], "active endpoints")?;
    a.refused(&["network", "create", "front"], "already exists")?;
    a.refused(&["run", "--rm", "--network", "host", BUSYBOX, "true"], "refused")?;
    a.refused(&["network", "rm", "bridge"], "pre-defined")?;
    a.refused(&["network", "create", "--driver", "macvlan", "x"], "Driver")?;
    Ok(())
}

/// The classic builder: stages, own images as bases, what is refused.
pub fn builds(site: &mut Site) -> Result<(), String> {
    let a = site.gate("a", &[])?;
    let dir = site.engine.dir().join("context");
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let write =
        |name: &str, text: &str| std::fs::write(dir.join(name), text).map_err(|e| e.to_string());
    write("file", "from the context\n")?;
    write(
        "Dockerfile",
        &format!(
            "ARG BASE={BUSYBOX}\nFROM $BASE AS one\nARG WORD=none\nRUN echo $WORD \\\n  > /word\n\
             FROM {BUSYBOX}\nCOPY --from=one /word /word\nCOPY file /\nVOLUME /data\n\
             CMD [\"cat\", \"/word\", \"/file\"]\n"
        ),
    )?;
    let context = dir.to_string_lossy().into_owned();
    let out = a.run(&["build", "-t", "app:1", "--build-arg", "WORD=given", &context])?;
    contains("build", &out, "Successfully tagged app:1")?;
    a.expect(&["run", "--rm", "app:1"], "given\nfrom the context")?;
    // Some clients pack the context.
    let packed =
        a.run(&["build", "--compress", "-t", "app:1", "--build-arg", "WORD=given", &context])?;
    contains("build", &packed, "Successfully tagged app:1")?;
    a.expect(&["images", "--format", "{{.Repository}}:{{.Tag}}", "app"], "app:1")?;
    write("Dockerfile", "FROM app:1\nRUN test -e /word\n")?;
    a.run(&["build", "-t", "next", &context])?;
    a.run(&["tag", "next", "again:2"])?;
    a.run(&["rmi", "again:2"])?;
    a.refused(&["run", "--rm", "again:2"], "again:2")?;
    for (text, why) in [
        ("FROM app:1\nADD http://192.0.2.1/x /x\n", "remote_build"),
        ("FROM chitin.invalid/a/app:1\n", "No such image"),
        ("FROM app:1\nRUN --mount=type=cache,target=/c true\n", "BuildKit"),
        ("FROM app:1\nRUN exit 3\n", "returned a non-zero code: 3"),
    ] {
        write("Dockerfile", text)?;
        a.refused(&["build", &context], why)?;
    }
    a.refused(&["build", "--network", "host", &context], "refused")?;
    let mut kit = a.docker(&["build", &context]);
    let kit = run(kit.env("DOCKER_BUILDKIT", "1"), b"", Duration::from_secs(60))?;
    if kit.status == 0 {
        return Err("a BuildKit build went through".into());
    }
    Ok(())
}

/// ps, images, events, info, df, prune.
pub fn lists_and_events(site: &mut Site) -> Result<(), String> {
    let foreign = site.engine.run(&["run", "-d", "--name", "foreign", BUSYBOX, "sleep", "1000"])?;
    site.engine.run(&["volume", "create", "foreign"])?;
    site.engine.run(&["network", "create", "foreign"])?;
    let dangling = format!("FROM {BUSYBOX}\nENV FOREIGN=1\n");
    let mut build = site.engine.docker(&["build", "-q", "-"]);
    let dangling = run(&mut build, dangling.as_bytes(), Duration::from_secs(60))?;
    let dangling = String::from_utf8_lossy(&dangling.stdout).trim().to_owned();
    let a = site.gate("a", &["--memory", "1g"])?;
    a.run(&["run", "-d", "--name", "web", "--label", "tier=front", BUSYBOX, "sleep", "1000"])?;
    a.run(&["run", "--name", "done", "-v", "/x", BUSYBOX, "true"])?;
    a.expect(&["ps", "-a", "--format", "{{.Names}}", "--filter", "label=tier=front"], "web")?;
    a.expect(&["ps", "-a", "--format", "{{.Names}}", "--filter", "status=exited"], "done")?;
    a.expect(&["ps", "-aq", "--filter", "label=chitin.gateway.client"], "")
        .err()
        .ok_or("a filter by the gateway's label went through")?;
    a.refused(&["inspect", &foreign], "No such")?;
    a.refused(&["logs", &foreign[..12]], "No such container")?;
    let info =
        a.run(&["info", "--format", "{{.Containers}} {{.ContainersRunning}} {{.MemTotal}}"])?;
    same("info", &info, "2 1 1073741824")?;
    let df = a.run(&["system", "df", "--format", "{{.Type}} {{.TotalCount}}"])?;
    contains("df", &df, "Containers 2")?;
    contains("df", &df, "Local Volumes 1")?;
    // The CLI cuts the end of the time span to a whole second.
    std::thread::sleep(Duration::from_millis(1100));
    let events = a.run(&["events", "--since", "10m", "--until", "0s"])?;
    for part in ["container start", "name=web", "volume create", "network connect"] {
        contains("events", &events, part)?;
    }
    for part in ["foreign", "ct-a.", "chitin.gateway"] {
        lacks("events", &events, part)?;
    }
    let pruned = a.run(&["container", "prune", "-f"])?;
    contains("prune", &pruned, "Deleted Containers")?;
    a.expect(&["ps", "-a", "--format", "{{.Names}}"], "web")?;
    a.run(&["system", "prune", "-f", "--volumes"])?;
    for kind in ["container", "network", "volume", "image", "builder"] {
        a.run(&[kind, "prune", "-f"])?;
    }
    a.run(&["image", "prune", "-af"])?;
    drop(a);
    site.engine.run(&["rmi", &dangling])?;
    site.engine.run(&["rm", "-fv", "foreign"])?;
    site.engine.run(&["volume", "rm", "foreign"])?;
    site.engine.run(&["network", "rm", "foreign"])?;
    Ok(())
}

/// docker-compose up, exec, down.
pub fn compose(site: &mut Site) -> Result<(), String> {
    if !has("docker-compose") {
        return match chitin_tests::required() {
            true => Err("docker-compose is missing".into()),
            false => {
                eprintln!("skipped: docker-compose is missing; apt-get install docker-compose");
                Ok(())
            }
        };
    }
    let a = site.gate("a", &[])?;
    let dir = site.engine.dir().join("project");
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let file = format!(
        "version: '2.4'\nservices:\n  db:\n    image: {BUSYBOX}\n    command: sleep 1000\n    volumes: ['data:/data']\n\
         \x20 web:\n    image: {BUSYBOX}\n    command: sh -c 'ping -c1 -w10 db && sleep 1000'\n    depends_on: [db]\n\
         volumes:\n  data:\n"
    );
    std::fs::write(dir.join("docker-compose.yml"), file).map_err(|e| e.to_string())?;
    let compose = |arguments: &[&str]| {
        let mut command = a.tool("docker-compose", arguments);
        let out = run(command.current_dir(&dir), b"", Duration::from_secs(120))?;
        match out.status {
            0 => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
            _ => Err(format!("docker-compose {arguments:?}: {out}")),
        }
    };
    compose(&["up", "-d"])?;
    contains(
        "exec",
        &compose(&["exec", "-T", "web", "ping", "-c1", "-w10", "db"])?,
        "1 packets received",
    )?;
    contains("ps", &compose(&["ps"])?, "web")?;
    contains("logs", &compose(&["logs", "web"])?, "db")?;
    compose(&["down", "-v", "-t", "0"])?;
    a.expect(&["ps", "-aq"], "")?;
    a.expect(&["volume", "ls", "-q"], "")
}

/// The cgroup holds all containers together; counts are kept.
pub fn budget(site: &mut Site) -> Result<(), String> {
    let more = ["--memory", "256m", "--cpus", "1", "--pids", "100", "--max-containers", "4"];
    let a = site.gate("a", &more)?;
    let limit = |hierarchy: &str, file: &str| {
        let path = format!("/sys/fs/cgroup/{hierarchy}{}/a/{file}", site.engine.cgroup());
        std::fs::read_to_string(&path)
            .map(|t| t.trim().to_owned())
            .map_err(|e| format!("{path}: {e}"))
    };
    match std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => same("memory", &limit("", "memory.max")?, "268435456")?,
        false => {
            same("memory", &limit("memory", "memory.limit_in_bytes")?, "268435456")?;
            same("pids", &limit("pids", "pids.max")?, "100")?;
            same("cpu", &limit("cpu", "cpu.cfs_quota_us")?, "100000")?;
        }
    }
    a.refused(
        &["run", "--rm", "--memory", "512m", BUSYBOX, "true"],
        "policy key that allows it: memory",
    )?;
    // Three containers, each within its own limit, are not within the budget together.
    // They must all be there at the same time, however long it takes to start them.
    let eat = "head -c 120000000 /dev/zero | tail -c 110000000 | sleep 300";
    let names = ["e1", "e2", "e3"];
    for name in names {
        a.run(&["run", "-d", "--name", name, BUSYBOX, "sh", "-c", &format!("{eat}; true")])?;
    }
    let mut killed = 0;
    let start = Instant::now();
    while killed == 0 && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(200));
        killed = oom_kills(site)?;
    }
    if killed == 0 {
        return Err("three containers of 110 MB each fit into 256 MB".into());
    }
    a.run(&["run", "-d", "--name", "four", BUSYBOX, "sleep", "1000"])?;
    a.refused(&["run", "-d", BUSYBOX, "true"], "max_containers")?;
    a.run(&["rm", "-f", "e1", "e2", "e3"])?;
    builds_are_within(site, &a)
}

/// What a build runs is below the client's control group too.
fn builds_are_within(site: &Site, a: &Gate) -> Result<(), String> {
    let top = site.engine.cgroup();
    let tops = [format!("/sys/fs/cgroup{top}/a"), format!("/sys/fs/cgroup/pids{top}/a")];
    let groups = || {
        let dirs = tops.iter().filter_map(|t| std::fs::read_dir(t).ok());
        let entries = dirs.flatten().flatten().map(|e| e.path());
        entries.filter(|path| path.is_dir()).collect::<HashSet<_>>()
    };
    // Those of containers that have ended may go meanwhile.
    let before = groups();
    let text = format!("FROM {BUSYBOX}\nRUN sleep 4\n");
    std::thread::scope(|scope| {
        let build = scope.spawn(|| a.run_with(&["build", "-"], text.as_bytes()));
        let mut new = false;
        while !build.is_finished() {
            new |= !groups().is_subset(&before);
            std::thread::sleep(Duration::from_millis(20));
        }
        build.join().map_err(|_| "the build's thread panicked")??;
        match new {
            true => Ok(()),
            false => Err(format!("no control group but {before:?} during a build")),
        }
    })
}

/// Whoever has used up the storage is stopped and makes nothing more, until something is removed. Logs count.
pub fn storage(site: &mut Site) -> Result<(), String> {
    let a = site.gate("a", &["--storage", "40m"])?;
    let state = |name: &str| a.run(&["inspect", "-f", "{{.State.Running}}", name]);
    let over = |name: &str| {
        let start = Instant::now();
        while state(name)? == "true" {
            if start.elapsed() > Duration::from_secs(60) {
                return Err(format!("{name} is over the limit and runs on"));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    };
    for (name, command) in [
        ("layer", "head -c 60000000 /dev/zero > /file; sleep 1000"),
        ("log", "x=$(head -c 8000 /dev/zero | tr '\\0' x); yes $x | head -c 60000000; sleep 1000"),
    ] {
        a.run(&["run", "-d", "--name", name, BUSYBOX, "sh", "-c", command])?;
        over(name)?;
        for refused in [
            &["start", name][..],
            &["run", "--rm", BUSYBOX, "true"],
            &["cp", "/etc/hostname", &format!("{name}:/tmp/")],
        ] {
            a.refused(refused, "policy key: storage")?;
        }
        a.run(&["rm", "-f", name])?;
        // It is measured again within some seconds.
        let start = Instant::now();
        while let Err(e) = a.run(&["run", "--rm", BUSYBOX, "true"]) {
            if start.elapsed() > Duration::from_secs(60) {
                return Err(e);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    Ok(())
}

/// How often the client's cgroup ran out of memory.
fn oom_kills(site: &Site) -> Result<u64, String> {
    let top = site.engine.cgroup();
    let paths =
        [format!("/sys/fs/cgroup{top}/a/memory.events"), format!("/sys/fs/cgroup/memory{top}/a")];
    if let Ok(text) = std::fs::read_to_string(&paths[0]) {
        let line = text.lines().find_map(|l| l.strip_prefix("oom_kill "));
        return Ok(line.and_then(|n| n.parse().ok()).unwrap_or(0));
    }
    // Version 1 counts at the cgroup whose limit was hit, and kills in a child.
    let count = |path: &std::path::Path| -> u64 {
        let text = std::fs::read_to_string(path.join("memory.oom_control")).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("oom_kill ").map(str::to_owned));
        line.and_then(|n| n.parse().ok()).unwrap_or(0)
    };
    let dir = std::path::Path::new(&paths[1]);
    let children = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    Ok(count(dir) + children.filter(|p| p.is_dir()).map(|p| count(&p)).sum::<u64>())
}

/// Bind mounts: below a workspace only, pinned against swapped links, the engine's socket replaced by the own one.
pub fn bind_mounts(site: &mut Site) -> Result<(), String> {
    let ws = site.engine.dir().join("ws");
    std::fs::create_dir_all(ws.join("sub")).map_err(|e| e.to_string())?;
    std::fs::write(ws.join("sub/file"), "mine\n").map_err(|e| e.to_string())?;
    std::os::unix::fs::symlink("/", ws.join("out")).map_err(|e| e.to_string())?;
    let root = ws.to_string_lossy().into_owned();
    let a = site.gate("a", &["--workspace", &format!("{root}:rw")])?;
    let bind = |what: &str| format!("{root}/{what}:/m");
    a.expect(&["run", "--rm", "-v", &bind("sub"), BUSYBOX, "cat", "/m/file"], "mine")?;
    a.run(&["run", "--rm", "-v", &bind("sub"), BUSYBOX, "sh", "-c", "echo new > /m/new"])?;
    same("written", &std::fs::read_to_string(ws.join("sub/new")).unwrap_or_default(), "new\n")?;
    a.refused(
        &["run", "--rm", "-v", &bind("out"), BUSYBOX, "ls", "/m"],
        "cannot be opened within",
    )?;
    a.refused(
        &["run", "--rm", "-v", &bind("out/etc"), BUSYBOX, "ls", "/m"],
        "cannot be opened within",
    )?;
    a.refused(&["run", "--rm", "-v", "/etc:/m", BUSYBOX, "ls", "/m"], "workspaces")?;
    a.refused(
        &["run", "--rm", "-v", &format!("{root}/../..:/m"), BUSYBOX, "ls", "/m"],
        "HostConfig",
    )?;
    // Swapped for a link after it was checked: what was checked stays mounted, also at a later start.
    a.run(&["create", "--name", "later", "-v", &bind("sub"), BUSYBOX, "ls", "/m"])?;
    std::fs::rename(ws.join("sub"), ws.join("gone")).map_err(|e| e.to_string())?;
    std::os::unix::fs::symlink("/", ws.join("sub")).map_err(|e| e.to_string())?;
    a.expect(&["start", "-a", "later"], "file\nnew")?;
    let source = a.run(&["inspect", "-f", "{{(index .Mounts 0).Source}}", "later"])?;
    same("source", &source, &format!("{root}/sub"))?;
    let own = ["run", "--rm", "-v", "/var/run/docker.sock:/s", BUSYBOX, "sh", "-c"];
    let ask = "printf 'GET /info HTTP/1.0\\r\\n\\r\\n' | nc local:/s | tail -n1";
    let mut arguments = own.to_vec();
    arguments.push(ask);
    // Busybox's nc may not know unix sockets; then only the kind of the file is looked at.
    match a.run(&arguments) {
        Ok(out) if out.contains("chitin-gateway-a") => Ok(()),
        _ => {
            let mut arguments = own.to_vec();
            arguments.push("test -S /s && echo socket");
            a.expect(&arguments, "socket")
        }
    }
}
