//! Connections by hand: what a library would not send, and what it would not show.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::gate::{BUSYBOX, Gate, Site, contains, same};

/// Sends bytes and reads until the end.
fn ask(gate: &Gate, bytes: &[u8]) -> Result<String, String> {
    let mut s = open(gate)?;
    s.write_all(bytes).map_err(|e| e.to_string())?;
    read(&mut s)
}

fn open(gate: &Gate) -> Result<UnixStream, String> {
    let s = UnixStream::connect(&gate.socket).map_err(|e| e.to_string())?;
    s.set_read_timeout(Some(Duration::from_secs(20))).map_err(|e| e.to_string())?;
    Ok(s)
}

fn read(s: &mut UnixStream) -> Result<String, String> {
    let mut out = Vec::new();
    s.read_to_end(&mut out).map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Makes an exec and returns its id.
fn exec(gate: &Gate, container: &str, command: &str) -> Result<String, String> {
    let body = format!(
        "{{\"AttachStdin\":true,\"AttachStdout\":true,\"AttachStderr\":true,\"Cmd\":[\"sh\",\"-c\",\"{command}\"]}}"
    );
    let answer = ask(
        gate,
        format!(
            "POST /v1.41/containers/{container}/exec HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    )?;
    let id = answer.split("\"Id\":\"").nth(1).and_then(|r| r.split('"').next());
    Ok(id.ok_or(format!("no exec: {answer}"))?.to_owned())
}

/// Smuggling, preludes, odd framing; both forms of hijacked streams.
pub fn connections(site: &mut Site) -> Result<(), String> {
    let a = site.gate("a", &[])?;
    a.run(&["run", "-d", "--name", "c", BUSYBOX, "sleep", "1000"])?;
    let second = "GET /v1.41/info HTTP/1.1\r\nHost: d\r\n\r\n";
    // What follows a request is never a second one: neither after a good one, nor after one that was refused before its
    // body was read, nor after an upgrade that did not come about.
    let upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
    for (line, more) in [
        ("GET /_ping", String::new()),
        ("POST /v1.41/containers/c/kill", "Content-Length: 0\r\n\r\n{}".to_owned()),
        (
            "POST /v1.41/swarm/init",
            "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".into(),
        ),
        (
            "POST /v1.41/containers/create",
            "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".into(),
        ),
        (
            "POST /v1.41/build?remote=http://x",
            "Content-Type: application/x-tar\r\nContent-Length: 4\r\n\r\nxxxx".into(),
        ),
        (
            "POST /v1.41/build",
            "Content-Type: application/x-tar\r\nContent-Length: 4\r\n\r\nxxxx".into(),
        ),
        ("POST /v1.41/containers/nosuch/attach", format!("{upgrade}Content-Length: 0\r\n\r\n")),
        ("POST /v1.41/containers/nosuch/attach", "Content-Length: 0\r\n\r\n".into()),
        (
            "POST /v1.41/exec/nosuch/start",
            format!("{upgrade}Content-Length: 2\r\nContent-Type: application/json\r\n\r\n{{}}"),
        ),
        ("POST /v1.41/session", format!("{upgrade}Content-Length: 0\r\n\r\n")),
    ] {
        let end = if more.is_empty() { "\r\n" } else { "" };
        let request = format!("{line} HTTP/1.1\r\nHost: d\r\n{more}{end}{second}");
        let answer = ask(&a, request.as_bytes())?;
        same(line, &answer.matches("HTTP/1.1 ").count().to_string(), "1")?;
    }
    a.run(&["start", "c"])?;
    for (request, status) in [
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
        (
            "GET /info HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400",
        ),
        ("GET /info HTTP/1.1\r\nHost: d\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "403"),
        ("GET //info HTTP/1.1\r\nHost: d\r\n\r\n", "400"),
        ("GET /v1.41/../info HTTP/1.1\r\nHost: d\r\n\r\n", "400"),
        ("GET /networks/ HTTP/1.1\r\nHost: d\r\n\r\n", "400"),
        ("GET http://d/info HTTP/1.1\r\nHost: d\r\n\r\n", "400"),
        (
            "POST /containers/prune HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\nfilters=x",
            "415",
        ),
        (
            "POST /v1.41/containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
            "415",
        ),
        ("OPTIONS /info HTTP/1.1\r\nHost: d\r\n\r\n", "403"),
        ("POST /session HTTP/1.1\r\nHost: d\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "403"),
        ("POST /grpc HTTP/1.1\r\nHost: d\r\n\r\n", "403"),
    ] {
        let answer = ask(&a, request.as_bytes())?;
        contains(request, &answer, &format!("HTTP/1.1 {status} "))?;
        contains(request, &answer, "\"message\"")?;
    }
    streams(&a)
}

fn streams(a: &Gate) -> Result<(), String> {
    // With an upgrade: 101, bytes that came with the head are not lost, the sending half may be closed.
    for (upgrade, status) in [("Connection: Upgrade\r\nUpgrade: tcp\r\n", "101"), ("", "200")] {
        let id = exec(a, "c", "cat; echo end")?;
        let mut s = open(a)?;
        let body = "{\"Detach\":false,\"Tty\":false}";
        let request = format!(
            "POST /v1.41/exec/{id}/start HTTP/1.1\r\nHost: d\r\n{upgrade}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}early bytes ",
            body.len()
        );
        s.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
        s.write_all(b"GET /v1.41/info HTTP/1.1\r\nHost: d\r\n\r\n").map_err(|e| e.to_string())?;
        s.shutdown(Shutdown::Write).map_err(|e| e.to_string())?;
        let answer = read(&mut s)?;
        contains("start", &answer, &format!("HTTP/1.1 {status} "))?;
        contains("stream", &answer, "early bytes GET /v1.41/info HTTP/1.1")?;
        contains("stream", &answer, "end\n")?;
        same("answers", &answer.matches("\r\nContent-Type:").count().max(1).to_string(), "1")?;
        // An exec starts once.
        let again = ask(a, request.as_bytes())?;
        contains("second start", &again, "already run")?;
    }
    // A slow reader holds the writer up instead of losing bytes.
    let id = exec(a, "c", "yes | head -c 20000000")?;
    let mut s = open(a)?;
    let request = format!(
        "POST /v1.41/exec/{id}/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{{\"Tty\":true}}"
    );
    s.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
    std::thread::sleep(Duration::from_secs(2));
    let answer = read(&mut s)?;
    let payload: usize = answer.matches('y').count();
    if payload < 10_000_000 {
        return Err(format!("a slow reader got {payload} of 10000000 lines"));
    }
    Ok(())
}
