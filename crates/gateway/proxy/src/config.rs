//! What an operator writes: [`Config`] for `gateway serve`, [`ClientConfig`] for one client.
//!
//! A mistake is told with its line: each value is checked while it is read, and the TOML reader knows where it stands.

use anyhow::{Context, Result, bail};
use chitin_gateway_policy::{Policy, Workspace};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::Spanned;

use crate::values::{self, check_cgroup, check_cpus, check_memory, check_name, check_root};
pub use crate::values::{owner_ids, parse_duration, parse_size, socket_mode, socket_path};

/// Where the engine listens when nothing else is said.
pub const DEFAULT_DOCKER: &str = "unix:/var/run/docker.sock";
/// Where `gateway serve` listens for `gateway client …`.
pub const DEFAULT_ADMIN: &str = "unix:/run/chitin-gateway/admin.sock";

/// The configuration of `gateway serve`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The engine's socket.
    #[serde(default = "default_docker", deserialize_with = "values::address")]
    pub docker: String,
    /// Where `gateway client …` and metrics are served.
    #[serde(default = "default_admin", deserialize_with = "values::address")]
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
    clients: Vec<Spanned<ClientConfig>>,
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
    #[serde(deserialize_with = "values::name")]
    pub name: String,
    /// Its socket (`unix:/path`).
    #[serde(deserialize_with = "values::some_address")]
    pub listen: Option<String>,
    /// The socket's mode, in octal digits; 0660 if absent.
    #[serde(deserialize_with = "values::mode")]
    pub mode: Option<String>,
    /// The socket's owner, `uid` or `uid:gid`.
    #[serde(deserialize_with = "values::owner")]
    pub owner: Option<String>,
    /// The user ids that may connect; everyone who can open the socket if empty.
    pub peer_uids: Vec<u32>,
    /// The runtime of all containers; `chitin` if the engine has it, else the engine's default.
    pub runtime: Option<String>,
    /// The cgroup of the client: a path, or `none` for no budget of its own.
    #[serde(deserialize_with = "values::cgroup")]
    pub cgroup: Option<String>,
    /// Memory of everything together, e.g. `2g`.
    #[serde(deserialize_with = "values::memory")]
    pub memory: Option<u64>,
    /// CPUs of everything together.
    #[serde(deserialize_with = "values::cpus")]
    pub cpus: Option<f64>,
    /// Processes of everything together.
    pub pids: Option<u64>,
    /// Bytes on disk of everything together.
    #[serde(deserialize_with = "values::size")]
    pub storage: Option<u64>,
    /// Most bytes of /dev/shm of one container.
    #[serde(deserialize_with = "values::size")]
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
    #[serde(deserialize_with = "values::duration")]
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
    #[serde(deserialize_with = "values::root")]
    pub path: String,
    /// The same directory on the engine's host.
    #[serde(default, deserialize_with = "values::some_root")]
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

    /// Checks what the types do not, for descriptions that were not read from a text.
    pub fn check(&self) -> Result<()> {
        let all = || -> Result<()> {
            check_name(&self.name)?;
            self.cpus.map_or(Ok(()), check_cpus)?;
            self.memory.map_or(Ok(()), check_memory)?;
            self.mode.as_deref().map_or(Ok(()), |m| socket_mode(m).map(|_| ()))?;
            self.owner.as_deref().map_or(Ok(()), |o| owner_ids(o).map(|_| ()))?;
            self.listen.as_deref().map_or(Ok(()), |l| socket_path(l).map(|_| ()))?;
            self.cgroup.as_deref().map_or(Ok(()), check_cgroup)?;
            self.workspaces
                .iter()
                .flat_map(|w| [Some(&w.path), w.host.as_ref()])
                .flatten()
                .try_for_each(|p| check_root(p))
        };
        all().with_context(|| format!("client {}", self.name))
    }

    /// Where it listens: where it says, else in the directory for sockets.
    pub fn socket(&self, dir: &Path) -> Result<PathBuf> {
        match &self.listen {
            Some(listen) => socket_path(listen),
            None => Ok(dir.join(format!("{}.sock", self.name))),
        }
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
        let mut names = BTreeSet::new();
        let mut sockets = BTreeSet::from([socket_path(&config.admin)?]);
        for client in &config.clients {
            let before = text.get(..client.span().start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let client = client.get_ref();
            if client.name.is_empty() {
                bail!("line {line}: this client has no name");
            }
            if !names.insert(client.name.as_str()) {
                bail!("line {line}: there are two clients called {:?}", client.name);
            }
            let socket = config.socket(client)?;
            if !sockets.insert(socket.clone()) {
                bail!("line {line}: {} is another one's socket already", socket.display());
            }
        }
        Ok(config)
    }

    /// The clients of the file, with the defaults filled in.
    pub fn clients(&self) -> impl Iterator<Item = ClientConfig> {
        self.clients.iter().map(|c| c.get_ref().clone().with_defaults(&self.defaults))
    }

    /// Where a client listens.
    pub fn socket(&self, client: &ClientConfig) -> Result<PathBuf> {
        client.socket(&self.sockets)
    }
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
        let a = c.clients().next().expect("one");
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
            ("[[client]]\nname = \"a\"\n[[client]] # x\nname = \"A\"\n", "line 4"),
            ("[[client]]\nname = \"a\"\n[[client]] # x\nname = \"a\"\n", "line 3"),
            ("\n[[client]] # x\nmemory = \"1g\"\n", "line 2"),
            ("\ndocker = \"tcp://x:1\"\n", "line 2"),
            ("[defaults]\nmemory = \"1g\"\ncpus = 0.0\n", "line 3"),
            ("[defaults]\nmemory = \"1k\"\n", "line 2"),
            ("[defaults]\nworkspaces = [\n{ path = \"/a\" },\n{ path = \"b\" }]\n", "line 4"),
            ("[[client]]\nname = \"a\"\n\nmode = \"999\"\n", "line 4"),
            ("[[client]]\nname = \"a\"\nowner = \"root\"\n", "line 3"),
            ("[[client]]\nname = \"a\"\ncgroup = \"x\"\n", "line 3"),
            (
                "[[client]]\nname = \"a\"\n[[client]]\nname = \"b\"\n\
                 listen = \"unix:/run/chitin-gateway/a.sock\"\n",
                "line 3",
            ),
        ] {
            let e = format!("{:#}", Config::parse(text).expect_err(text));
            assert!(e.contains(line), "{text}: {e}");
        }
    }
}
