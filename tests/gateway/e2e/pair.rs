//! Two clients side by side: under every list, filter, prefix, name and event each sees its own things only, and a
//! foreign thing answers exactly like an absent one.

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
    // The CLI cuts the end of the time span to a whole second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let seen = b.run(&["events", "--since", "10m", "--until", "0s"])?;
    let id = a.run(&["inspect", "-f", "{{.Id}}", "web"])?;
    lacks("events", &seen, &id)?;
    contains("events", &seen, "name=web")?;
    lacks("network inspect", &b.run(&["network", "inspect", "net"])?, &id)?;
    // The name is the client's own.
    b.refused(&["run", "--name", "web", "app", "true"], "already in use")?;
    // One ends; the other keeps everything.
    a.end()?;
    b.expect(&["exec", "web", "cat", "/v/mark"], "of-b")?;
    b.end()?;
    Ok(())
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
