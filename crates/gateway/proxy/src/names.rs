//! Names on their way back to the client: the engine's names and ids become what the client knows, host paths and
//! the gateway's labels go.

use chitin_gateway_policy::{OWNER_LABEL, private_repo};
use serde_json::{Map, Value, json};

use crate::client::{Client, DEFAULT_NETWORK};

impl Client {
    /// The client's name for a name of the engine's.
    pub fn shown(&self, name: &str) -> String {
        name.strip_prefix(&self.prefix()).unwrap_or(name).to_owned()
    }

    /// As [`Client::shown`], for names that begin with a slash (and may go on with an alias).
    pub fn shown_container(&self, name: &str) -> String {
        match name.strip_prefix('/') {
            Some(bare) => format!("/{}", self.shown(bare)),
            None => self.shown(name),
        }
    }

    /// The client's name of a network that the engine names by id or name.
    pub fn shown_network(&self, key: &str) -> String {
        let known = self.index().networks.name(key).map(str::to_owned);
        known.unwrap_or_else(|| self.shown(key))
    }

    /// The client's name for an image reference of the engine's.
    pub fn shown_image(&self, reference: &str) -> String {
        if let Some(name) = self.index().tags.name(reference) {
            return name.to_owned();
        }
        reference.strip_prefix(&private_repo(&self.name)).unwrap_or(reference).to_owned()
    }

    /// `container:<id>`, a network's id or a plain mode.
    fn shown_mode(&self, mode: &str) -> String {
        let shown = self.shown_network(mode);
        if shown == DEFAULT_NETWORK { "default".into() } else { shown }
    }
}

/// Removes the gateway's labels.
pub fn labels(v: Option<&mut Value>) {
    if let Some(map) = v.and_then(Value::as_object_mut) {
        map.remove(OWNER_LABEL);
    }
}

/// Changes a string in place.
fn change(v: Option<&mut Value>, f: impl Fn(&str) -> String) {
    if let Some(v) = v
        && let Some(s) = v.as_str()
    {
        *v = f(s).into();
    }
}

fn each(v: Option<&mut Value>, f: impl FnMut(&mut Value)) {
    v.and_then(Value::as_array_mut).into_iter().flatten().for_each(f);
}

/// Renames the keys of `Networks`.
fn networks(v: Option<&mut Value>, client: &Client) {
    if let Some(map) = v.and_then(Value::as_object_mut) {
        let renamed = std::mem::take(map).into_iter();
        *map = renamed.map(|(k, v)| (client.shown_network(&k), v)).collect();
        for network in map.values_mut() {
            // Newer engines also tell the name that they know the container by.
            if let Some(Value::Array(names)) = network.get_mut("DNSNames") {
                names.retain(|n| !n.as_str().is_some_and(|n| n.starts_with("ct-")));
            }
        }
    }
}

/// The mount points of a container.
fn mounts(v: Option<&mut Value>, client: &Client) {
    each(v, |m| {
        let kind = m.get("Type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if kind == "volume" {
            change(m.get_mut("Name"), |n| client.shown(n));
            let name = m.get("Name").and_then(Value::as_str).unwrap_or_default();
            let source = volume_path(name);
            if m.get("Source").is_some() {
                m["Source"] = source.into();
            }
        } else {
            change(m.get_mut("Source"), |s| client.shown_source(s).unwrap_or_default());
        }
    });
}

/// What is shown as a volume's place.
pub fn volume_path(name: &str) -> String {
    format!("/var/lib/docker/volumes/{name}/_data")
}

/// One entry of the list of containers.
pub fn container_summary(v: &mut Value, client: &Client) {
    each(v.get_mut("Names"), |n| {
        change(Some(n), |s| client.shown_container(s));
    });
    change(v.get_mut("Image"), |s| client.shown_image(s));
    labels(v.get_mut("Labels"));
    change(v.pointer_mut("/HostConfig/NetworkMode"), |s| client.shown_mode(s));
    networks(v.pointer_mut("/NetworkSettings/Networks"), client);
    mounts(v.get_mut("Mounts"), client);
}

/// Fields of a container that name host paths.
const HOST_PATHS: [&str; 4] = ["ResolvConfPath", "HostnamePath", "HostsPath", "LogPath"];

/// What `inspect` says of a container.
pub fn container(v: &mut Value, client: &Client) {
    change(v.get_mut("Name"), |s| client.shown_container(s));
    for key in HOST_PATHS {
        change(v.get_mut(key), |_| String::new());
    }
    if let Some(state) = v.get_mut("State").and_then(Value::as_object_mut)
        && state.get("Pid").and_then(Value::as_u64).is_some_and(|p| p > 0)
    {
        // A process id of the host means nothing to the client; one shows that there is a process.
        state.insert("Pid".into(), json!(1));
    }
    graph_driver(v);
    change(v.pointer_mut("/Config/Image"), |s| client.shown_image(s));
    labels(v.pointer_mut("/Config/Labels"));
    if let Some(host) = v.get_mut("HostConfig") {
        host_config(host, client);
    }
    mounts(v.get_mut("Mounts"), client);
    for key in ["SandboxKey", "SandboxID"] {
        change(v.pointer_mut(&format!("/NetworkSettings/{key}")), |_| String::new());
    }
    networks(v.pointer_mut("/NetworkSettings/Networks"), client);
}

fn host_config(v: &mut Value, client: &Client) {
    change(v.get_mut("CgroupParent"), |_| String::new());
    change(v.get_mut("NetworkMode"), |s| client.shown_mode(s));
    each(v.get_mut("Binds"), |b| {
        change(Some(b), |s| {
            let (source, rest) = s.split_once(':').unwrap_or((s, ""));
            let shown = client.shown_source(source).unwrap_or_else(|| client.shown(source));
            format!("{shown}:{rest}")
        });
    });
    each(v.get_mut("Mounts"), |m| {
        change(m.get_mut("Source"), |s| client.shown_source(s).unwrap_or_else(|| client.shown(s)));
        labels(m.pointer_mut("/VolumeOptions/Labels"));
    });
    each(v.get_mut("Links"), |l| change(Some(l), |s| links(s, client)));
}

/// `/ct-a.db:/ct-a.web/alias`.
fn links(link: &str, client: &Client) -> String {
    let parts: Vec<String> = link.split(':').map(|p| client.shown_container(p)).collect();
    parts.join(":")
}

/// Hides where the layers are.
pub fn graph_driver(v: &mut Value) {
    if let Some(driver) = v.get_mut("GraphDriver").and_then(Value::as_object_mut) {
        driver.insert("Data".into(), Value::Null);
    }
}

/// A network as the client sees it, with its own members only.
pub fn network(v: &mut Value, client: &Client) {
    change(v.get_mut("Name"), |s| client.shown(s));
    labels(v.get_mut("Labels"));
    if let Some(map) = v.get_mut("Containers").and_then(Value::as_object_mut) {
        let all: Map<String, Value> = std::mem::take(map);
        for (id, mut member) in all {
            let name = client.index().containers.name(&id).map(str::to_owned);
            if let Some(name) = name {
                member["Name"] = name.into();
                map.insert(id, member);
            }
        }
    }
}

/// A volume as the client sees it.
pub fn volume(v: &mut Value, client: &Client) {
    change(v.get_mut("Name"), |s| client.shown(s));
    let name = v.get("Name").and_then(Value::as_str).unwrap_or_default();
    v["Mountpoint"] = volume_path(name).into();
    labels(v.get_mut("Labels"));
}
