//! The allowed set of rebuilt create requests, written down a second time and the other way round: not what is refused,
//! but everything that may ever be sent to an engine. Property tests and fuzzers hold the policy's output against it.

use chitin_gateway_policy::{OWNER_LABEL, Policy, json as strict};
use serde_json::{Map, Value};

/// What the client of [`super::alone`] may be given.
pub struct Bounds<'a> {
    /// The policy that the request was judged by.
    pub policy: &'a Policy,
    /// The client's name.
    pub client: &'a str,
    /// Full ids of its containers.
    pub containers: &'a [&'a str],
    /// Full ids of its networks.
    pub networks: &'a [&'a str],
    /// Engine references of the images that it may use.
    pub images: &'a [&'a str],
    /// The client's own gateway socket.
    pub socket: &'a str,
}

/// Fields that may stand in a rebuilt body.
#[rustfmt::skip]
const TOP: [&str; 24] = [
    "Hostname", "Domainname", "User", "AttachStdin", "AttachStdout", "AttachStderr", "ExposedPorts", "Tty", "OpenStdin",
    "StdinOnce", "Env", "Cmd", "Healthcheck", "Image", "Volumes", "WorkingDir", "Entrypoint", "NetworkDisabled",
    "Labels", "StopSignal", "StopTimeout", "Shell", "HostConfig", "NetworkingConfig",
];
/// Fields that may stand in a rebuilt HostConfig.
#[rustfmt::skip]
const HOST: [&str; 42] = [
    "CpuShares", "Memory", "CgroupParent", "BlkioWeight", "CpuPeriod", "CpuQuota", "CpusetCpus", "MemoryReservation",
    "MemorySwap", "MemorySwappiness", "NanoCpus", "PidsLimit", "Ulimits", "Binds", "LogConfig", "NetworkMode",
    "PortBindings", "RestartPolicy", "AutoRemove", "VolumesFrom", "ConsoleSize", "CapAdd", "CapDrop", "CgroupnsMode",
    "Dns", "DnsOptions", "DnsSearch", "ExtraHosts", "GroupAdd", "IpcMode", "Links", "OomScoreAdj", "PidMode",
    "Privileged", "ReadonlyRootfs", "SecurityOpt", "Tmpfs", "ShmSize", "Sysctls", "Runtime", "Mounts", "Init",
];
/// The capabilities that the engine gives anyway.
#[rustfmt::skip]
const CAPS: [&str; 14] = [
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
];

type Check = Result<(), String>;

fn ensure(good: bool, what: &str, v: &Value) -> Check {
    if good { Ok(()) } else { Err(format!("{what}: {v}")) }
}

fn each<'a>(v: &'a Value, what: &str, f: impl Fn(&'a str) -> bool) -> Check {
    let list = v.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().try_for_each(|s| ensure(s.as_str().is_some_and(&f), what, s))
}

/// Whether a rebuilt body is inside the allowed set, or what is outside.
pub fn create(body: &Value, b: &Bounds<'_>) -> Check {
    let again =
        strict::parse(body.to_string().as_bytes()).map_err(|d| format!("not strict: {d}"))?;
    ensure(&again == body, "does not survive serialisation", body)?;
    let top = body.as_object().ok_or("is no object")?;
    known(top, &TOP)?;
    let image = &body["Image"];
    ensure(image.as_str().is_some_and(|i| b.images.contains(&i)), "image", image)?;
    labels(&body["Labels"], b)?;
    let host = body["HostConfig"].as_object().ok_or("has no HostConfig")?;
    known(host, &HOST)?;
    let host = &body["HostConfig"];
    namespaces(host, b)?;
    limits(host, b)?;
    privileges(host, b)?;
    mounts(host, b)?;
    let endpoints = body["NetworkingConfig"]["EndpointsConfig"].as_object();
    for (key, ep) in endpoints.into_iter().flatten() {
        ensure(b.networks.contains(&key.as_str()), "endpoint", &key.as_str().into())?;
        let fields = ["IPAMConfig", "Links", "Aliases", "GwPriority"];
        known(ep.as_object().ok_or("endpoint is no object")?, &fields)?;
        each(&ep["Links"], "endpoint link", |l| own_link(l, b))?;
    }
    Ok(())
}

fn known(map: &Map<String, Value>, fields: &[&str]) -> Check {
    match map.keys().find(|k| !fields.contains(&k.as_str())) {
        Some(key) => Err(format!("field {key:?} must never be sent")),
        None => Ok(()),
    }
}

fn labels(v: &Value, b: &Bounds<'_>) -> Check {
    let map = v.as_object().ok_or("has no labels")?;
    ensure(v[OWNER_LABEL] == b.client, "owner label", v)?;
    let ours = map.keys().filter(|k| k.to_lowercase().starts_with("chitin.gateway.")).count();
    ensure(ours == 1, "labels of the gateway", v)
}

fn own_link(link: &str, b: &Bounds<'_>) -> bool {
    link.split_once(':').is_some_and(|(id, _)| b.containers.contains(&id))
}

fn own_container(mode: &str, b: &Bounds<'_>) -> bool {
    mode.strip_prefix("container:").is_some_and(|id| b.containers.contains(&id))
}

fn namespaces(host: &Value, b: &Bounds<'_>) -> Check {
    let mode = |k: &str| host[k].as_str().unwrap_or_default();
    let net = mode("NetworkMode");
    let good = net == "none" || b.networks.contains(&net) || own_container(net, b);
    ensure(good, "NetworkMode", &host["NetworkMode"])?;
    let ipc = mode("IpcMode");
    let good = ["private", "none", "shareable"].contains(&ipc) || own_container(ipc, b);
    ensure(good, "IpcMode", &host["IpcMode"])?;
    ensure(
        mode("PidMode").is_empty() || own_container(mode("PidMode"), b),
        "PidMode",
        &host["PidMode"],
    )?;
    ensure(mode("CgroupnsMode") == "private", "CgroupnsMode", &host["CgroupnsMode"])
}

fn limits(host: &Value, b: &Bounds<'_>) -> Check {
    let number = |k: &str| host[k].as_i64().unwrap_or(0);
    let within = |k: &str, cap: Option<u64>| match cap {
        None => Ok(()),
        Some(cap) => {
            let n = number(k);
            ensure(n > 0 && u64::try_from(n).is_ok_and(|n| n <= cap), k, &host[k])
        }
    };
    within("Memory", b.policy.memory)?;
    within("PidsLimit", b.policy.pids)?;
    if b.policy.memory.is_some() {
        let swap = number("MemorySwap");
        let memory = number("Memory");
        ensure(
            swap >= memory && swap <= memory.saturating_mul(2),
            "MemorySwap",
            &host["MemorySwap"],
        )?;
    }
    if let Some(cap) = b.policy.nano_cpus {
        let quota = i128::from(number("CpuQuota"));
        if quota == 0 {
            within("NanoCpus", b.policy.nano_cpus)?;
        } else {
            let period = match number("CpuPeriod") {
                0 => 100_000,
                p => i128::from(p),
            };
            let used = quota.saturating_mul(1_000_000_000);
            ensure(quota > 0 && period > 0 && used <= i128::from(cap) * period, "CpuQuota", host)?;
        }
    }
    if let Some(cap) = b.policy.shm {
        let shm = number("ShmSize");
        let default = u64::try_from(shm).is_ok_and(|n| n <= cap) && (shm > 0 || cap >= 64 << 20);
        ensure(default, "ShmSize", &host["ShmSize"])?;
    }
    ensure((0..=1000).contains(&number("OomScoreAdj")), "OomScoreAdj", &host["OomScoreAdj"])
}

fn privileges(host: &Value, b: &Bounds<'_>) -> Check {
    ensure(host["Privileged"] == false, "Privileged", &host["Privileged"])?;
    let parent = host["CgroupParent"].as_str();
    ensure(parent == b.policy.cgroup_parent.as_deref(), "CgroupParent", &host["CgroupParent"])?;
    ensure(host["Runtime"].as_str() == b.policy.runtime.as_deref(), "Runtime", &host["Runtime"])?;
    each(&host["CapAdd"], "CapAdd", |c| {
        let upper = c.to_uppercase();
        CAPS.contains(&upper.strip_prefix("CAP_").unwrap_or(&upper))
    })?;
    each(&host["SecurityOpt"], "SecurityOpt", |o| {
        o.starts_with("no-new-privileges") && !o.ends_with("false")
    })?;
    for (key, _) in host["Sysctls"].as_object().into_iter().flatten() {
        let good = key.starts_with("net.")
            && !own_container(host["NetworkMode"].as_str().unwrap_or(""), b);
        ensure(good, "Sysctls", &host["Sysctls"])?;
    }
    for ulimit in host["Ulimits"].as_array().into_iter().flatten() {
        ensure(
            ulimit["Name"] != "nproc" && ulimit["Name"] != "rtprio" && ulimit["Name"] != "nice",
            "Ulimits",
            ulimit,
        )?;
    }
    let restart = host["RestartPolicy"]["Name"].as_str().unwrap_or("no");
    ensure(["no", "on-failure"].contains(&restart), "RestartPolicy", &host["RestartPolicy"])?;
    let log = host["LogConfig"]["Type"].as_str().unwrap_or_default();
    ensure(["json-file", "local", "none"].contains(&log), "LogConfig", &host["LogConfig"])?;
    each(&host["ExtraHosts"], "ExtraHosts", |h| {
        !h.to_lowercase().contains("host-gateway") && !h.contains('\n')
    })?;
    each(&host["Links"], "Links", |l| own_link(l, b))?;
    each(&host["VolumesFrom"], "VolumesFrom", |v| own_link(v, b))?;
    for (_, bindings) in host["PortBindings"].as_object().into_iter().flatten() {
        for binding in bindings.as_array().into_iter().flatten() {
            let good = b.policy.publish_ports
                && binding["HostIp"] == "127.0.0.1"
                && binding["HostPort"] == "";
            ensure(good, "PortBindings", binding)?;
        }
    }
    Ok(())
}

/// A place that may be mounted: the host side of a workspace, the client's socket, or its volume.
fn source(s: &str, kind: &str, b: &Bounds<'_>) -> bool {
    let below = |root: &str| {
        let root = root.trim_end_matches('/');
        s.strip_prefix(root).is_some_and(|r| r.is_empty() || r.starts_with('/'))
    };
    let workspace = b.policy.workspaces.iter().any(|w| below(w.host.as_deref().unwrap_or(&w.path)));
    let plain = !s.split('/').any(|p| p == ".." || p == ".") && !s.contains("//");
    match kind {
        "bind" => plain && (s == b.socket || workspace),
        _ => !s.contains('/') && s.starts_with(&format!("ct-{}.", b.client)),
    }
}

fn target(t: &str) -> bool {
    let first = t.split('/').find(|p| !p.is_empty()).unwrap_or_default();
    t.starts_with('/')
        && !["", "proc", "sys", "..", "."].contains(&first)
        && !t.split('/').any(|p| p == "..")
}

fn mounts(host: &Value, b: &Bounds<'_>) -> Check {
    each(&host["Binds"], "Binds", |bind| {
        let parts: Vec<&str> = bind.split(':').collect();
        let [from, to, options] = parts.as_slice() else { return false };
        let kind = if from.contains('/') { "bind" } else { "volume" };
        let known = ["ro", "rw", "nocopy", "rprivate", "private", ""];
        source(from, kind, b) && target(to) && options.split(',').all(|o| known.contains(&o))
    })?;
    for m in host["Mounts"].as_array().into_iter().flatten() {
        let kind = m["Type"].as_str().unwrap_or_default();
        let fields = [
            "Type",
            "Source",
            "Target",
            "ReadOnly",
            "BindOptions",
            "VolumeOptions",
            "TmpfsOptions",
        ];
        known(m.as_object().ok_or("a mount is no object")?, &fields)?;
        ensure(m["Target"].as_str().is_some_and(target), "mount target", m)?;
        let from = m["Source"].as_str().unwrap_or_default();
        let good = match kind {
            "bind" => source(from, kind, b) && m["BindOptions"].get("Propagation").is_none(),
            "volume" => {
                let options = &m["VolumeOptions"];
                labels(&options["Labels"], b)?;
                let plain =
                    options.get("DriverConfig").is_none() && options.get("Subpath").is_none();
                plain && (from.is_empty() || source(from, kind, b))
            }
            "tmpfs" => from.is_empty() && m["TmpfsOptions"].get("Options").is_none(),
            _ => false,
        };
        ensure(good, "mount", m)?;
    }
    for (to, options) in host["Tmpfs"].as_object().into_iter().flatten() {
        let refused = ["dev", "suid", "remount", "bind"];
        let good = options.as_str().is_some_and(|o| !o.split(',').any(|o| refused.contains(&o)));
        ensure(good && target(to), "Tmpfs", options)?;
    }
    Ok(())
}
