//! `gateway serve`: clients of a file and of the admin socket, reload, metrics, timeouts, the audit log.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use chitin_tests::chitin_path;
use chitin_tests::engine::Engine;

use crate::gate::{BUSYBOX, Site, contains, same};

/// What one service needs: its files are in the engine's directory.
struct Service<'a> {
    engine: &'a Engine,
    child: Option<Child>,
}

impl Service<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.engine.dir().join(name)
    }

    fn admin(&self) -> String {
        format!("unix:{}", self.path("admin.sock").display())
    }

    /// A file with one client.
    fn text(&self, name: &str, more: &str) -> String {
        format!(
            "docker = \"{}\"\nadmin = \"{}\"\nstate = {:?}\nsockets = {:?}\naudit = {:?}\n\
             [defaults]\nlocal_images = [\"busybox\"]\n\
             [[client]]\nname = \"{name}\"\ncgroup = \"{}/{name}\"\n{more}",
            self.engine.host(),
            self.admin(),
            self.path("serve-state"),
            self.engine.dir(),
            self.path("serve.audit"),
            self.engine.cgroup(),
        )
    }

    fn write(&self, text: &str) -> Result<(), String> {
        std::fs::write(self.path("gateway.toml"), text).map_err(|e| e.to_string())
    }

    /// Writes the file and has it read.
    fn reload(&self, text: &str) -> Result<(), String> {
        self.write(text)?;
        let pid = self.child.as_ref().map_or(0, Child::id).to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status();
        sent.map(|_| ()).map_err(|e| e.to_string())
    }

    /// Runs `chitin gateway`; its output, or what it complains about.
    fn chitin(&self, arguments: &[&str]) -> Result<String, String> {
        let out = Command::new(chitin_path()).arg("gateway").args(arguments).output();
        let out = out.map_err(|e| e.to_string())?;
        match out.status.success() {
            true => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
        }
    }

    /// Runs `chitin gateway client`.
    fn client(&self, arguments: &[&str]) -> Result<String, String> {
        self.chitin(&[&["client", "--admin", &self.admin()], arguments].concat())
    }

    /// Whether docker works for a client.
    fn docker(&self, name: &str, arguments: &[&str]) -> bool {
        let socket = self.path(&format!("{name}.sock"));
        let mut docker = Command::new("docker");
        docker.args(arguments).env("DOCKER_HOST", format!("unix://{}", socket.display()));
        docker.output().is_ok_and(|o| o.status.success())
    }

    /// Whether the engine has no container of a client.
    fn nothing_of(&self, name: &str) -> bool {
        let filter = format!("name=ct-{name}.");
        self.engine.run(&["ps", "-aq", "--filter", &filter]).is_ok_and(|l| l.is_empty())
    }

    fn start(&mut self) -> Result<(), String> {
        let config = self.path("gateway.toml");
        let log = std::fs::File::create(self.path("serve.log")).map_err(|e| e.to_string())?;
        let mut serve = Command::new(chitin_path());
        serve.args(["gateway", "serve", "--config"]).arg(config).stderr(log);
        self.child = Some(serve.spawn().map_err(|e| e.to_string())?);
        wait_for(|| self.client(&["list"]).is_ok_and(|l| l.contains("one")))
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        let ended = child.wait().map_err(|e| e.to_string())?;
        if ended.success() { Ok(()) } else { Err(format!("serve: {ended}")) }
    }
}

/// `gateway serve`, clients added and removed at run time, reload, metrics, timeouts.
pub fn serve_and_admin(site: &mut Site) -> Result<(), String> {
    let mut service = Service { engine: &site.engine, child: None };
    service.write(&service.text("one", "memroy = 1\n"))?;
    let config = service.path("gateway.toml");
    let wrong = service.chitin(&["serve", "--check", "--config", &config.to_string_lossy()]);
    contains("check", &wrong.err().unwrap_or_default(), "line 11")?;
    service.write(&service.text("one", ""))?;
    let result = service
        .start()
        .and_then(|()| added_and_removed(&service))
        .and_then(|()| reloaded(&service));
    service.end()?;
    result
}

/// Clients that come and go at run time.
fn added_and_removed(service: &Service<'_>) -> Result<(), String> {
    let cgroup = format!("{}/two", service.engine.cgroup());
    let add = ["add", "--name", "two", "--cgroup", &cgroup, "--timeout", "600"];
    let added = service.client(&add)?;
    same("socket", &added, &format!("unix:{}", service.path("two.sock").display()))?;
    let again = service.client(&add).err().unwrap_or_default();
    contains("the same name", &again, "already; remove it first")?;
    for name in ["one", "two"] {
        if !service.docker(name, &["run", "-d", "--name", "c", BUSYBOX, "sleep", "1000"]) {
            return Err(format!("client {name} cannot run a container"));
        }
    }
    let metrics = http(&service.path("admin.sock"), "/metrics")?;
    for line in [
        "chitin_gateway_things{client=\"two\",kind=\"container\"} 1",
        "chitin_gateway_requests_total{client=\"one\",verdict=\"rewrite\"}",
    ] {
        contains("metrics", &metrics, line)?;
    }
    service.client(&["remove", "two"])?;
    same("nothing of two", &service.nothing_of("two").to_string(), "true")?;
    let metrics = http(&service.path("admin.sock"), "/metrics")?;
    crate::gate::lacks("metrics", &metrics, "client=\"two\"")?;
    let audit = std::fs::read_to_string(service.path("serve.audit")).unwrap_or_default();
    contains("audit", &audit, "\"client\":\"two\"")
}

/// A reload brings a client, takes another and changes one; a wrong file changes nothing.
fn reloaded(service: &Service<'_>) -> Result<(), String> {
    service.reload("nonsense = 1\n")?;
    std::thread::sleep(Duration::from_millis(300));
    service.reload(&service.text("three", "timeout = 60\n"))?;
    wait_for(|| {
        service.client(&["list"]).is_ok_and(|l| l.contains("three") && !l.contains("one"))
    })?;
    same("nothing of one", &service.nothing_of("one").to_string(), "true")?;
    if !service.docker("three", &["run", "-d", BUSYBOX, "sleep", "1000"]) {
        return Err("client three cannot run a container".into());
    }
    // A changed client keeps what it has, and is held to what the file says now.
    service.reload(&service.text("three", "max_containers = 1\nmode = \"0600\"\n"))?;
    wait_for(|| !service.docker("three", &["create", BUSYBOX, "true"]))?;
    let socket = std::fs::metadata(service.path("three.sock")).map_err(|e| e.to_string())?;
    same("mode", &format!("{:o}", socket.permissions().mode() & 0o777), "600")?;
    service.reload(&service.text("three", "peer_uids = [12345]\n"))?;
    wait_for(|| !service.docker("three", &["ps"]))?;
    let audit = || std::fs::read_to_string(service.path("serve.audit")).unwrap_or_default();
    contains("audit", &audit(), "user 0 may not connect")?;
    service.reload(&service.text("three", ""))?;
    wait_for(|| service.docker("three", &["ps"]))?;
    // A timeout takes everything with it.
    service.reload(&service.text("three", "timeout = 3\n"))?;
    wait_for(|| service.nothing_of("three"))
}

fn wait_for(mut what: impl FnMut() -> bool) -> Result<(), String> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        if what() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("it does not come about".into())
}

fn http(socket: &std::path::Path, path: &str) -> Result<String, String> {
    use std::io::{Read, Write};
    let mut s = std::os::unix::net::UnixStream::connect(socket).map_err(|e| e.to_string())?;
    write!(s, "GET {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
        .map_err(|e| e.to_string())?;
    let mut out = String::new();
    s.read_to_string(&mut out).map_err(|e| e.to_string())?;
    Ok(out)
}
