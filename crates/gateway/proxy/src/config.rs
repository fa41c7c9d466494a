//! What an operator writes: [`Config`] for `gateway serve`, [`ClientConfig`] for one client, and their units.
//!
//! A mistake is told with its line: the TOML reader knows where each value stands.

use anyhow::{Context, Result, bail};
use chitin_gateway_policy::{Policy, Workspace};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the engine listens when nothing else is said.
pub const DEFAULT_DOCKER: &str = "unix:/var/run/docker.sock";
/// Where `gateway serve` listens for `gateway client …`.
pub const DEFAULT_ADMIN: &str = "unix:/run/chitin-gateway/admin.sock";

/// The configuration of `gateway serve`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The engine's socket.
    #[serde(default = "default_docker")]
    pub docker: String,
    /// Where `gateway client …` and metrics are served.
    #[serde(default = "default_admin")]
    pub admin: String,
    /// The directory of the durable store.
    #[serde(default = "default_state")]
    pub state: PathBuf,
    /// The directory of sockets of clients that name none.
    #[serde(default = "default_sockets")]
    pub sockets: PathBuf,
    /// The audit log; standard error if absent.
    #[serde(default)]
    pub audit: Option<PathBuf>,
    /// What holds for every client that does not say otherwise.
    #[serde(default)]
    pub defaults: ClientConfig,
    /// The clients that exist from the start.
    #[serde(default, rename = "client")]
    pub clients: Vec<ClientConfig>,
}

fn default_docker() -> String {
    DEFAULT_DOCKER.into()
}
fn default_admin() -> String {
    DEFAULT_ADMIN.into()
}
fn default_state() -> PathBuf {
    "/var/lib/chitin-gateway".into()
}
fn default_sockets() -> PathBuf {
    "/run/chitin-gateway".into()
}

/// What one client may do. Everything may be left out.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ClientConfig {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// Its socket (`unix:/path`).
    pub listen: Option<String>,
    /// The socket's mode, in octal digits; 0660 if absent.
    pub mode: Option<String>,
    /// The socket's owner, `uid` or `uid:gid`.
    pub owner: Option<String>,
    /// The user ids that may connect; everyone who can open the socket if empty.
    pub peer_uids: Vec<u32>,
    /// The runtime of all containers; `chitin` if the engine has it, else the engine's default.
    pub runtime: Option<String>,
    /// The cgroup of the client: a path, or `none` for no budget of its own.
    pub cgroup: Option<String>,
    /// Memory of everything together, e.g. `2g`.
    #[serde(deserialize_with = "size")]
    pub memory: Option<u64>,
    /// CPUs of everything together.
    pub cpus: Option<f64>,
    /// Processes of everything together.
    pub pids: Option<u64>,
    /// Bytes on disk of everything together.
    #[serde(deserialize_with = "size")]
    pub storage: Option<u64>,
    /// Most bytes of /dev/shm of one container.
    #[serde(deserialize_with = "size")]
    pub shm: Option<u64>,
    /// Most containers.
    pub max_containers: Option<usize>,
    /// Most networks.
    pub max_networks: Option<usize>,
    /// Most volumes.
    pub max_volumes: Option<usize>,
    /// Most private image tags.
    pub max_images: Option<usize>,
    /// Most connections at a time.
    pub max_connections: Option<usize>,
    /// How long the client lives, e.g. `1h`; for ever if absent.
    #[serde(deserialize_with = "duration")]
    pub timeout: Option<u64>,
    /// Where bind mounts may come from.
    pub workspaces: Vec<WorkspaceConfig>,
    /// Whether ports may be published (on 127.0.0.1, dynamic ports).
    pub publish_ports: Option<bool>,
    /// Image names that may be pulled; everything from Docker Hub if empty.
    pub pull: Vec<String>,
    /// Names of images that were made on this host and may be used, besides what came from a registry.
    pub local_images: Vec<String>,
    /// Whether a build context or `ADD` may be a URL that the engine fetches.
    pub remote_build: Option<bool>,
}

/// A workspace root.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceConfig {
    /// The path as the client names it.
    pub path: String,
    /// The same directory on the engine's host.
    #[serde(default)]
    pub host: Option<String>,
    /// Whether mounts may be written to.
    #[serde(default)]
    pub writable: bool,
    /// Whether nobody untrusted can write below it: then sources are named to the engine instead of being pinned,
    /// which needs root.
    #[serde(default)]
    pub trusted: bool,
}

/// What a client may have at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Containers.
    pub containers: usize,
    /// Networks.
    pub networks: usize,
    /// Volumes.
    pub volumes: usize,
    /// Private image tags.
    pub images: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Bytes on disk.
    pub storage: Option<u64>,
}

impl ClientConfig {
    /// Fills in what is absent from `defaults`.
    #[must_use]
    pub fn with_defaults(mut self, d: &Self) -> Self {
        let list = |own: &mut Vec<String>, other: &[String]| {
            if own.is_empty() {
                own.extend_from_slice(other);
            }
        };
        list(&mut self.pull, &d.pull);
        list(&mut self.local_images, &d.local_images);
        if self.peer_uids.is_empty() {
            self.peer_uids.clone_from(&d.peer_uids);
        }
        if self.workspaces.is_empty() {
            self.workspaces.clone_from(&d.workspaces);
        }
        self.mode = self.mode.or_else(|| d.mode.clone());
        self.owner = self.owner.or_else(|| d.owner.clone());
        self.runtime = self.runtime.or_else(|| d.runtime.clone());
        self.cgroup = self.cgroup.or_else(|| d.cgroup.clone());
        self.memory = self.memory.or(d.memory);
        self.cpus = self.cpus.or(d.cpus);
        self.pids = self.pids.or(d.pids);
        self.storage = self.storage.or(d.storage);
        self.shm = self.shm.or(d.shm);
        self.max_containers = self.max_containers.or(d.max_containers);
        self.max_networks = self.max_networks.or(d.max_networks);
        self.max_volumes = self.max_volumes.or(d.max_volumes);
        self.max_images = self.max_images.or(d.max_images);
        self.max_connections = self.max_connections.or(d.max_connections);
        self.timeout = self.timeout.or(d.timeout);
        self.publish_ports = self.publish_ports.or(d.publish_ports);
        self.remote_build = self.remote_build.or(d.remote_build);
        self
    }

    /// Checks what the types do not.
    pub fn check(&self) -> Result<()> {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        let first = self.name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !first || self.name.len() > 40 || !self.name.chars().all(word) {
            bail!(
                "client name {:?}: use at most 40 lower-case letters, digits, '-' and '_'",
                self.name
            );
        }
        if self.cpus.is_some_and(|c| !c.is_finite() || !(0.01..=4096.0).contains(&c)) {
            bail!("client {}: cpus must be between 0.01 and 4096", self.name);
        }
        if self.memory.is_some_and(|m| m < 8 << 20) {
            bail!("client {}: memory must be at least 8m", self.name);
        }
        if let Some(mode) = &self.mode {
            u32::from_str_radix(mode, 8)
                .ok()
                .filter(|m| *m <= 0o777)
                .with_context(|| format!("mode {mode:?} must be octal digits such as 0660"))?;
        }
        if let Some(owner) = &self.owner {
            owner_ids(owner)?;
        }
        if let Some(listen) = &self.listen {
            socket_path(listen)?;
        }
        if let Some(cgroup) = self.cgroup.as_deref().filter(|c| *c != "none") {
            let plain = cgroup.starts_with('/')
                && cgroup.len() > 1
                && !cgroup.contains("//")
                && cgroup.split('/').all(|s| s != "..");
            if !plain && !cgroup.ends_with(".slice") {
                bail!("cgroup {cgroup:?} must be a path below / or the name of a slice");
            }
        }
        for w in &self.workspaces {
            for path in [Some(&w.path), w.host.as_ref()].into_iter().flatten() {
                if !path.starts_with('/') || path.trim_matches('/').is_empty() {
                    bail!("workspace {path:?} must be an absolute path below /");
                }
            }
        }
        Ok(())
    }

    /// The limits on numbers.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            containers: self.max_containers.unwrap_or(512),
            networks: self.max_networks.unwrap_or(32),
            volumes: self.max_volumes.unwrap_or(256),
            images: self.max_images.unwrap_or(256),
            connections: self.max_connections.unwrap_or(16_384),
            storage: self.storage,
        }
    }

    /// The policy for one container.
    #[must_use]
    pub fn policy(&self, runtime: Option<String>, cgroup: Option<String>) -> Policy {
        Policy {
            runtime,
            cgroup_parent: cgroup,
            workspaces: self
                .workspaces
                .iter()
                .map(|w| Workspace {
                    path: w.path.clone(),
                    host: w.host.clone(),
                    writable: w.writable,
                })
                .collect(),
            memory: self.memory,
            nano_cpus: self.nano_cpus(),
            pids: self.pids,
            shm: self.shm.or(self.memory),
            publish_ports: self.publish_ports.unwrap_or(false),
            pull: self.pull.clone(),
            remote_build: self.remote_build.unwrap_or(false),
            ..Policy::default()
        }
    }

    /// CPUs in billionths.
    #[must_use]
    pub fn nano_cpus(&self) -> Option<u64> {
        // Checked to be between 0.01 and 4096, so the cast cannot lose anything but a fraction.
        self.cpus.map(|c| (c * 1e9) as u64)
    }
}

impl Config {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text)?;
        socket_path(&config.docker)?;
        socket_path(&config.admin)?;
        let mut names: Vec<&str> = Vec::new();
        for (n, client) in config.clients.iter().enumerate() {
            let line = nth_client_line(text, n);
            client.check().with_context(|| format!("line {line}"))?;
            if names.contains(&client.name.as_str()) {
                bail!("line {line}: there are two clients called {:?}", client.name);
            }
            names.push(&client.name);
        }
        let named = ClientConfig { name: "defaults".into(), ..config.defaults.clone() };
        named.check().context("in [defaults]")?;
        Ok(config)
    }
}

/// The line of the n-th `[[client]]`, counted from 1.
fn nth_client_line(text: &str, n: usize) -> usize {
    text.lines().enumerate().filter(|(_, l)| l.trim() == "[[client]]").nth(n).map_or(0, |l| l.0 + 1)
}

/// The path of `unix:/path` (also `unix:///path` and a bare path).
pub fn socket_path(address: &str) -> Result<PathBuf> {
    let path = address.strip_prefix("unix://").or_else(|| address.strip_prefix("unix:"));
    let path = path.unwrap_or(address);
    if !path.starts_with('/') || path.len() > 107 {
        bail!("{address:?} is no address of a unix socket; write unix:/absolute/path");
    }
    Ok(PathBuf::from(path))
}

/// `uid` or `uid:gid`.
pub fn owner_ids(owner: &str) -> Result<(u32, Option<u32>)> {
    let (uid, gid) = owner.split_once(':').map_or((owner, None), |(u, g)| (u, Some(g)));
    let number = |s: &str| s.parse::<u32>().with_context(|| format!("owner {owner:?} must be ids"));
    Ok((number(uid)?, gid.map(number).transpose()?))
}

/// `512`, `64k`, `200m`, `2g`, `1t`, also with `b` or `ib` behind.
pub fn parse_size(text: &str) -> Result<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let bare = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let digits = bare.trim_end_matches(['k', 'm', 'g', 't']);
    let shift = match bare.strip_prefix(digits).unwrap_or_default() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => bail!("size {text:?} must be a number with k, m, g or t"),
    };
    let n: u64 = digits.parse().with_context(|| format!("size {text:?} must be a number"))?;
    n.checked_shl(shift).filter(|v| v >> shift == n).with_context(|| format!("size {text:?}"))
}

/// `90`, `90s`, `15m`, `2h`, `1d` in seconds.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let t = text.trim();
    let digits = t.trim_end_matches(['s', 'm', 'h', 'd']);
    let n: u64 = digits.parse().with_context(|| format!("duration {text:?} must be a number"))?;
    let unit = match t.strip_prefix(digits).unwrap_or_default() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => bail!("duration {text:?} must be a number with s, m, h or d"),
    };
    Ok(Duration::from_secs(n.saturating_mul(unit)))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

fn size<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    Ok(match Option::<NumberOrText>::deserialize(d)? {
        None => None,
        Some(NumberOrText::Number(n)) => Some(n),
        Some(NumberOrText::Text(t)) => Some(parse_size(&t).map_err(D::Error::custom)?),
    })
}

fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    Ok(match Option::<NumberOrText>::deserialize(d)? {
        None => None,
        Some(NumberOrText::Number(n)) => Some(n),
        Some(NumberOrText::Text(t)) => {
            Some(parse_duration(&t).map_err(D::Error::custom)?.as_secs())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_file() {
        let c = Config::parse(
            "docker = \"unix:/var/run/docker.sock\"\n[defaults]\nmemory = \"2g\"\ncpus = 1.5\n\
             [[client]]\nname = \"a\"\ntimeout = \"1h\"\nworkspaces = [{ path = \"/builds/a\" }]\n",
        )
        .expect("fine");
        let a = c.clients.first().cloned().expect("one").with_defaults(&c.defaults);
        assert_eq!(
            (a.memory, a.nano_cpus(), a.timeout),
            (Some(2 << 30), Some(1_500_000_000), Some(3600))
        );
    }

    #[test]
    fn tells_the_line() {
        for (text, line) in [
            ("docker = \"unix:/x\"\nfoo = 1\n", "line 2"),
            ("[[client]]\nname = \"a\"\nmemroy = 1\n", "line 3"),
            ("[[client]]\nname = \"a\"\nmemory = \"2x\"\n", "line 3"),
            ("[[client]]\nname = \"a\"\n[[client]]\nname = \"A\"\n", "line 3"),
            ("[[client]]\nname = \"a\"\n[[client]]\nname = \"a\"\n", "line 3"),
        ] {
            let e = format!("{:#}", Config::parse(text).expect_err(text));
            assert!(e.contains(line), "{text}: {e}");
        }
    }

    #[test]
    fn reads_units() {
        assert_eq!(parse_size("64KiB").expect("fine"), 65_536);
        assert!(parse_size("99999999999t").is_err() && parse_size("-1").is_err());
        assert_eq!(parse_duration("2h").expect("fine").as_secs(), 7200);
        assert!(socket_path("tcp://x").is_err());
    }
}
