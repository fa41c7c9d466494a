//! Two clients side by side: under every list, filter, prefix, name and event each sees its own things only, and a
//! foreign thing answers exactly like an absent one.

use std::time::Duration;

use chitin_tests::engine::Kind;
use chitin_tests::run;

use crate::gate::{BUSYBOX, Gate, Site, contains, lacks, same};

/// An id that nothing has.
const ABSENT: &str = "feedfacefeedfacefeedfacefeedfacefeedfacefeedfacefeedfacefeedface";

/// Two clients with the same names for everything.
pub fn two_clients(site: &mut Site) -> Result<(), String> {
    let a = site.gate("a", &[])?;
    let b = site.gate("b", &[])?;
    let context = site.engine.dir().join("context");
    std::fs::create_dir_all(&context).map_err(|e| e.to_string())?;
    let context = context.to_string_lossy().into_owned();
    let file = format!("{context}/Dockerfile");
    for (client, mark) in [(&a, "of-a"), (&b, "of-b")] {
        std::fs::write(&file, format!("FROM {BUSYBOX}\nENV MARK={mark}\n"))
            .map_err(|e| e.to_string())?;
        client.run(&["build", "-t", "app", &context])?;
        client.run(&["network", "create", "net"])?;
        client.run(&["volume", "create", "vol"])?;
        client.run(&[
            "run",
            "-d",
            "--name",
            "web",
            "--network",
            "net",
            "-v",
            "vol:/v",
            "-v",
            "/anon",
            "app",
            "sleep",
            "1000",
        ])?;
        client.run(&["exec", "web", "sh", "-c", "echo $MARK > /v/mark"])?;
    }
    for (client, mark) in [(&a, "of-a"), (&b, "of-b")] {
        client.expect(&["exec", "web", "cat", "/v/mark"], mark)?;
        client.expect(&["run", "--rm", "app", "sh", "-c", "echo $MARK"], mark)?;
        client.expect(&["ps", "-a", "--format", "{{.Names}}"], "web")?;
        client
            .expect(&["network", "ls", "--format", "{{.Name}}", "--filter", "name=net"], "net")?;
        let volumes = client.run(&["volume", "ls", "-q"])?;
        same("volumes", &volumes.lines().count().to_string(), "2")?;
    }
    foreign_is_absent(&a, &b)?;
    filters_show_own(&a, &b)?;
    cannot_be_reached(&a, &b)?;
    // The CLI cuts the end of the time span to a whole second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let seen = b.run(&["events", "--since", "10m", "--until", "0s"])?;
    let id = a.run(&["inspect", "-f", "{{.Id}}", "web"])?;
    lacks("events", &seen, &id)?;
    contains("events", &seen, "name=web")?;
    for secret in [
        a.run(&["network", "inspect", "-f", "{{.Id}}", "net"])?,
        a.run(&["inspect", "-f", "{{.Image}}", "web"])?,
        anonymous_volume(&a)?,
    ] {
        lacks("events", &seen, &secret)?;
    }
    lacks("network inspect", &b.run(&["network", "inspect", "net"])?, &id)?;
    // The name is the client's own.
    b.refused(&["run", "--name", "web", "app", "true"], "already in use")?;
    // One ends; the other keeps everything.
    a.end()?;
    b.expect(&["exec", "web", "cat", "/v/mark"], "of-b")?;
    b.end()?;
    Ok(())
}

/// The one volume of a client that has no name of its own.
fn anonymous_volume(client: &Gate) -> Result<String, String> {
    let volumes = client.run(&["volume", "ls", "-q"])?;
    Ok(volumes.lines().find(|v| v.len() == 64).ok_or("no anonymous volume")?.to_owned())
}

/// Every filter that could name or describe a foreign thing finds nothing, or the client's own thing of that name.
fn filters_show_own(a: &Gate, b: &Gate) -> Result<(), String> {
    let id = |what: &[&str]| a.run(what);
    let container = id(&["inspect", "-f", "{{.Id}}", "web"])?;
    let network = id(&["network", "inspect", "-f", "{{.Id}}", "net"])?;
    let image = id(&["inspect", "-f", "{{.Id}}", "app"])?;
    let own = b.run(&["inspect", "-f", "{{.Id}}", "web"])?;
    let anonymous = anonymous_volume(a)?;
    let short = |s: &str| s.chars().take(12).collect::<String>();
    for filter in [
        format!("id={container}"),
        format!("id={}", short(&container)),
        format!("network={network}"),
        format!("volume={anonymous}"),
        format!("ancestor={image}"),
        "name=ct-".to_owned(),
        "name=ct-a.web".to_owned(),
        "label=chitin".to_owned(),
        "ancestor=chitin.invalid/a/app".to_owned(),
    ] {
        b.expect(&["ps", "-aq", "--filter", &filter], "")?;
    }
    for filter in
        ["name=web", "name=.*", "network=net", "volume=vol", "ancestor=app", "status=running"]
    {
        b.expect(&["ps", "-aq", "--no-trunc", "--filter", filter], &own)?;
    }
    for filter in ["since", "before"] {
        let ask = |value: &str| {
            failure(b, &["ps", "-aq", "--filter", &format!("{filter}={value}")], value)
        };
        same(filter, &ask(&container)?, &ask(ABSENT)?)?;
    }
    b.expect(&["network", "ls", "-q", "--filter", &format!("id={network}")], "")?;
    b.expect(&["network", "ls", "-q", "--filter", "name=ct-a"], "")?;
    b.expect(&["network", "ls", "--format", "{{.Name}}", "--filter", "driver=host"], "")?;
    b.expect(&["volume", "ls", "-q", "--filter", &format!("name={anonymous}")], "")?;
    b.expect(&["volume", "ls", "-q", "--filter", "name=ct-a"], "")?;
    b.expect(&["images", "-q", "chitin.invalid/a/app"], "")?;
    lacks("images", &b.run(&["images", "-aq", "--no-trunc"])?, &image)?;
    for (kind, value) in [
        ("container", &container),
        ("network", &network),
        ("volume", &anonymous),
        ("image", &image),
    ] {
        let filter = format!("{kind}={value}");
        b.expect(&["events", "--since", "10m", "--until", "0s", "--filter", &filter], "")?;
    }
    Ok(())
}

/// Containers of two clients have no way to each other: no name, no address.
fn cannot_be_reached(a: &Gate, b: &Gate) -> Result<(), String> {
    let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = a.run(&["inspect", "-f", address, "web"])?;
    a.run(&["run", "--rm", "--network", "net", "app", "ping", "-c1", "-w5", &address])?;
    b.refused(&["exec", "web", "ping", "-c1", "-w3", &address], "status 1")?;
    b.refused(&["run", "--rm", "app", "ping", "-c1", "-w3", &address], "status 1")?;
    let both = b.run(&["exec", "web", "nslookup", "web"]).unwrap_or_default();
    lacks("the name of a neighbour", &both, &address)
}

/// What a build makes cannot stand for what a neighbour, or the host, uses; names of endpoints are ordinary names; a
/// label of an image makes nothing anybody's.
pub fn names_and_labels(site: &mut Site) -> Result<(), String> {
    let a = site.gate("a", &[])?;
    let b = site.gate("b", &[])?;
    let before = site.engine.run(&["inspect", "-f", "{{.Id}}", BUSYBOX])?;
    let build = |gate: &Gate, tag: &str, label: &str| {
        let text = format!("FROM {BUSYBOX}\nLABEL chitin.gateway.client={label}\nENV EVIL=1\n");
        gate.run_with(&["build", "-t", tag, "-"], text.as_bytes())
    };
    // The name of what everybody uses: for the client itself only.
    build(&a, BUSYBOX, "b")?;
    a.expect(&["run", "--rm", BUSYBOX, "sh", "-c", "echo $EVIL"], "1")?;
    b.expect(&["run", "--rm", BUSYBOX, "sh", "-c", "echo $EVIL"], "")?;
    same("the host's image", &site.engine.run(&["inspect", "-f", "{{.Id}}", BUSYBOX])?, &before)?;
    a.run(&["rmi", BUSYBOX])?;
    a.expect(&["run", "--rm", BUSYBOX, "sh", "-c", "echo $EVIL"], "")?;
    // A build that fails makes no tag, and hides none.
    let failing = format!("FROM {BUSYBOX}\nRUN exit 1\n");
    if a.run_with(&["build", "-t", BUSYBOX, "-"], failing.as_bytes()).is_ok() {
        return Err("a failing build succeeded".into());
    }
    a.run(&["run", "--rm", BUSYBOX, "true"])?;
    build(&a, "labelled", "b")?;
    for list in [&["images", "-aq"][..], &["ps", "-aq"]] {
        let listed = b.run(list)?;
        lacks("images by a forged label", &listed, &a.run(&["images", "-q", "labelled"])?)?;
    }
    for name in ["json", "create", "prune"] {
        a.run(&["run", "-d", "--name", name, BUSYBOX, "sleep", "1000"])?;
        a.run(&["network", "create", name])?;
        a.run(&["volume", "create", name])?;
        a.expect(&["inspect", "-f", "{{.Name}}", name], &format!("/{name}"))?;
        a.expect(&["network", "inspect", "-f", "{{.Name}}", name], name)?;
        a.expect(&["volume", "inspect", "-f", "{{.Name}}", name], name)?;
        b.refused(&["rm", name], "No such container")?;
        b.refused(&["network", "rm", name], "not found")?;
    }
    // A volume that somebody else made under the name that the engine would be told is not handed out.
    site.engine.run(&["volume", "create", "ct-b.planted"])?;
    b.refused(&["volume", "create", "planted"], "not the client's")?;
    b.refused(&["run", "--rm", "-v", "planted:/v", BUSYBOX, "true"], "not the client's")?;
    site.engine.run(&["volume", "rm", "ct-b.planted"])?;
    // What the host's operator runs from an image of the client inherits its label, and is not the client's.
    let image = a.run(&["inspect", "-f", "{{.Id}}", "labelled"])?;
    site.engine.run(&["run", "-d", "--name", "inherits", &image, "sleep", "1000"])?;
    a.expect(&["ps", "-aq", "--filter", "name=inherits"], "")?;
    a.end()?;
    b.end()?;
    let still = site.engine.run(&["inspect", "-f", "{{.State.Running}}", "inherits"])?;
    site.engine.run(&["rm", "-fv", "inherits"])?;
    site.engine.run(&["image", "prune", "-f"])?;
    same("what is not the client's", &still, "true")
}

/// In containerd's store every image has a digest, also one that never was in a registry: it is the host's all the same.
pub fn images_in_containerds_store(site: &mut Site) -> Result<(), String> {
    if site.engine.kind() != Kind::Newest {
        return Ok(());
    }
    let mut site = Site::start_with(Kind::Newest, &["--feature", "containerd-snapshotter=true"])?;
    let text = format!("FROM {BUSYBOX}\nENV SECRET=1\n");
    let mut build = site.engine.docker(&["build", "-q", "-t", "secret:1", "-"]);
    let built = run(&mut build, text.as_bytes(), Duration::from_secs(60))?;
    let digest = ["inspect", "-f", "{{index .RepoDigests 0}}", "secret:1"];
    let digest = site.engine.run(&digest).map_err(|e| format!("{e} {built}"))?;
    let a = site.gate("a", &[])?;
    for name in ["secret:1", &digest] {
        a.refused(&["image", "inspect", name], "No such image")?;
        a.refused(&["run", "--rm", name, "true"], "Unable to find image")?;
    }
    lacks("images", &a.run(&["images", "-a", "--digests"])?, "secret")?;
    a.expect(&["run", "--rm", BUSYBOX, "echo", "hi"], "hi")?;
    let text = format!("FROM {BUSYBOX}\nRUN echo mine > /mine\n");
    a.run_with(&["build", "-t", "own", "-"], text.as_bytes())?;
    a.run_with(&["build", "-"], text.replace("mine", "untagged").as_bytes())?;
    a.expect(&["run", "--rm", "own", "cat", "/mine"], "mine")?;
    a.end()?;
    site.engine.run(&["rmi", "secret:1"])?;
    site.nothing_left()
}

/// The client's own words for a failure, with the reference taken out.
fn failure(client: &Gate, arguments: &[&str], reference: &str) -> Result<String, String> {
    match client.run(arguments) {
        Ok(out) => Err(format!("docker {arguments:?} went through: {out}")),
        // After the command itself, which `run` puts in front.
        Err(e) => Ok(e.split_once("]: ").map_or("", |(_, e)| e).replace(reference, "REF")),
    }
}

fn foreign_is_absent(a: &Gate, b: &Gate) -> Result<(), String> {
    let container = a.run(&["inspect", "-f", "{{.Id}}", "web"])?;
    let network = a.run(&["network", "inspect", "-f", "{{.Id}}", "net"])?;
    let image = a.run(&["inspect", "-f", "{{.Id}}", "app"])?;
    let image = image.trim_start_matches("sha256:").to_owned();
    let volumes = a.run(&["volume", "ls", "-q"])?;
    let anonymous =
        volumes.lines().find(|v| v.len() == 64).ok_or("no anonymous volume")?.to_owned();
    let short = |s: &str| s.chars().take(12).collect::<String>();
    let commands: &[(&[&str], &str)] = &[
        (&["inspect", "REF"], &container),
        (&["logs", "REF"], &container),
        (&["exec", "REF", "true"], &container),
        (&["attach", "REF"], &container),
        (&["start", "REF"], &container),
        (&["stop", "REF"], &container),
        (&["kill", "REF"], &container),
        (&["rm", "REF"], &container),
        (&["rename", "REF", "x"], &container),
        (&["update", "--cpus", "1", "REF"], &container),
        (&["pause", "REF"], &container),
        (&["wait", "REF"], &container),
        (&["top", "REF"], &container),
        (&["diff", "REF"], &container),
        (&["export", "-o", "/dev/null", "REF"], &container),
        (&["port", "REF"], &container),
        (&["cp", "REF:/v/mark", "-"], &container),
        (&["stats", "--no-stream", "REF"], &container),
        (&["run", "--rm", "--network", "container:REF", BUSYBOX, "true"], &container),
        (&["run", "--rm", "--pid", "container:REF", BUSYBOX, "true"], &container),
        (&["run", "--rm", "--ipc", "container:REF", BUSYBOX, "true"], &container),
        (&["run", "--rm", "--volumes-from", "REF", BUSYBOX, "true"], &container),
        (&["run", "--rm", "--link", "REF:x", BUSYBOX, "true"], &container),
        (&["network", "connect", "net", "REF"], &container),
        (&["network", "inspect", "REF"], &network),
        (&["network", "rm", "REF"], &network),
        (&["network", "connect", "REF", "web"], &network),
        (&["run", "--rm", "--network", "REF", BUSYBOX, "true"], &network),
        (&["volume", "inspect", "REF"], &anonymous),
        (&["volume", "rm", "REF"], &anonymous),
        (&["image", "inspect", "REF"], &image),
        (&["image", "history", "REF"], &image),
        (&["image", "rm", "REF"], &image),
        (&["tag", "REF", "mine"], &image),
        (&["save", "-o", "/dev/null", "REF"], &image),
    ];
    for (command, id) in commands {
        let volume = command.first() == Some(&"volume");
        let forms = if volume { vec![(*id).to_owned()] } else { vec![(*id).to_owned(), short(id)] };
        for form in forms {
            let absent = if form.len() == 64 { ABSENT.to_owned() } else { short(ABSENT) };
            let words =
                |r: &str| -> Vec<String> { command.iter().map(|w| w.replace("REF", r)).collect() };
            let (foreign, none) = (words(&form), words(&absent));
            let f: Vec<&str> = foreign.iter().map(String::as_str).collect();
            let n: Vec<&str> = none.iter().map(String::as_str).collect();
            let got = failure(b, &f, &form)?;
            let wanted = failure(b, &n, &absent)?;
            same(&format!("{command:?} of a foreign thing"), &got, &wanted)?;
        }
    }
    Ok(())
}
