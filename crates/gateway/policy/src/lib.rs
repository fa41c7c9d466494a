//! The gateway's policy: pure functions from typed requests to verdicts.
//!
//! Nothing here touches a socket, a file or a clock. [`target::Target`] is the strictly parsed request line,
//! [`table`] says what an endpoint is and which parameters it has, [`json`] reads bodies without Go's leniencies,
//! and [`create`], [`things`] and [`build`] rebuild bodies field by field from what they understood. What only the
//! proxy can know (who owns what) is asked through [`World`].
#![forbid(unsafe_code)]

pub mod build;
pub mod create;
mod fields;
mod hostconfig;
pub mod json;
pub mod markdown;
mod mounts;
mod params;
pub mod table;
pub mod target;
pub mod things;
mod verdict;

pub use hostconfig::HOST_CONFIG;
pub use verdict::{Denied, Verdict};

use serde::Deserialize;

/// The label that every labelled thing of a client carries.
pub const OWNER_LABEL: &str = "chitin.gateway.client";

/// A directory tree from which a client may bind-mount.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    /// The path as the client names it.
    pub path: String,
    /// The same directory as the engine's host names it; the same path if absent.
    #[serde(default)]
    pub host: Option<String>,
    /// Whether mounts may be written to.
    #[serde(default)]
    pub writable: bool,
}

/// What one client may do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// The OCI runtime that all containers are forced onto; the engine's default if absent.
    pub runtime: Option<String>,
    /// The cgroup that everything of this client lives under.
    pub cgroup_parent: Option<String>,
    /// Where bind mounts may come from.
    pub workspaces: Vec<Workspace>,
    /// Most bytes of memory for one container, and what it gets when it asks for nothing.
    pub memory: Option<u64>,
    /// Most billionths of a CPU for one container.
    pub nano_cpus: Option<u64>,
    /// Most processes of one container.
    pub pids: Option<u64>,
    /// Most bytes of /dev/shm of one container.
    pub shm: Option<u64>,
    /// Whether ports may be published (on 127.0.0.1, dynamic ports).
    pub publish_ports: bool,
    /// Patterns (`*` at the end) of image names that may be pulled; everything if empty.
    pub pull: Vec<String>,
    /// Whether a build context may be a URL that the engine fetches.
    pub remote_build: bool,
}

/// What the policy has to ask about the world: names are resolved among the client's own things only.
pub trait World {
    /// The client's name, the value of the owner label.
    fn client(&self) -> &str;
    /// The full id of an own container.
    fn container(&self, reference: &str) -> Option<String>;
    /// The full id of an own network.
    fn network(&self, reference: &str) -> Option<String>;
    /// The engine's name of an own volume.
    fn volume(&self, name: &str) -> Option<String>;
    /// The engine's reference of an image that the client may use.
    fn image(&self, reference: &str) -> Option<String>;
    /// The ports that an image exposes (`80/tcp`), for PublishAllPorts.
    fn image_ports(&self, _reference: &str) -> Vec<String> {
        Vec::new()
    }
    /// The network that stands for "default".
    fn default_network(&self) -> Option<String>;
    /// The host path of a bind source below `workspace`, with no symbolic link left in it, or why there is none.
    ///
    /// The client can write to its workspaces, and the engine resolves the path again each time the container starts:
    /// the path must mean the same file then (a descriptor that is kept open, or a bind mount of it), whatever the
    /// client puts in its place meanwhile.
    fn bind(&self, workspace: &Workspace, path: &str) -> Result<String, String>;
    /// The host path of the client's own gateway socket.
    fn socket(&self) -> Option<String>;
}

/// The engine's name for something that the client calls `name`.
#[must_use]
pub fn engine_name(client: &str, name: &str) -> String {
    format!("{}{name}", name_prefix(client))
}

/// What the engine's names of a client's things begin with.
#[must_use]
pub fn name_prefix(client: &str) -> String {
    format!("ct-{client}.")
}

/// The repository that holds a client's private tags.
#[must_use]
pub fn private_repo(client: &str) -> String {
    format!("chitin.invalid/{client}/")
}

/// Whether an image name lies in some client's private space.
#[must_use]
pub fn is_private_image(name: &str) -> bool {
    name.to_ascii_lowercase().starts_with("chitin.invalid/")
}
