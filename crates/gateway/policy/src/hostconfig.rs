//! HostConfig: the class of every field, and the fields that are judged one by one.

use crate::fields::{self, Rule, is_zero, string, strings};
use crate::{Denied, Policy, World, mounts, things};
use Rule::{Bool, Default, Drop, Int, Judged, Lines, List, StrMap};
use serde_json::{Map, Value, json};

/// The capabilities that Docker gives by default; no others can be added.
const CAPS: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Sysctls that are namespaced and harmless.
const SYSCTLS: [&str; 3] =
    ["net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.core.somaxconn"];
/// Ulimits that bound the container alone.
const ULIMITS: [&str; 6] = ["nofile", "core", "stack", "fsize", "cpu", "memlock"];
const BIG: i64 = i64::MAX;
/// Bytes of /dev/shm that the engine gives when nothing is asked for.
const DEFAULT_SHM: i64 = 64 << 20;

/// Every HostConfig field and its class.
#[rustfmt::skip]
pub const HOST_CONFIG: &[(&str, Rule)] = &[
    ("CpuShares", Int(0, 262_144)), ("Memory", Judged("bounded by `memory`, which is also its default")),
    ("CgroupParent", Judged("refused unless the client's own; forced")), ("BlkioWeight", Int(0, 1000)),
    ("BlkioWeightDevice", Default("")), ("BlkioDeviceReadBps", Default("")), ("BlkioDeviceWriteBps", Default("")),
    ("BlkioDeviceReadIOps", Default("")), ("BlkioDeviceWriteIOps", Default("")), ("CpuPeriod", Int(0, 1_000_000)),
    ("CpuQuota", Int(-1, BIG)), ("CpuRealtimePeriod", Default("")), ("CpuRealtimeRuntime", Default("")),
    ("CpusetCpus", Judged("allowed (a list of CPUs)")), ("CpusetMems", Default("")), ("Devices", Default("")),
    ("DeviceCgroupRules", Default("")), ("DeviceRequests", Default("")), ("KernelMemory", Default("")),
    ("KernelMemoryTCP", Default("")), ("MemoryReservation", Int(0, BIG)),
    ("MemorySwap", Judged("not unlimited; forced to Memory when there is a limit")),
    ("MemorySwappiness", Int(-1, 100)), ("NanoCpus", Judged("bounded by `cpus`, which is also its default")),
    ("OomKillDisable", Default("")), ("PidsLimit", Judged("bounded by `pids`, which is also its default")),
    ("Ulimits", Judged("allowed for limits of the container alone")), ("CpuCount", Default("")), ("CpuPercent", Default("")),
    ("IOMaximumIOps", Default("")), ("IOMaximumBandwidth", Default("")),
    ("Binds", Judged("below workspaces, or own volumes; the engine's socket becomes the client's own")),
    ("ContainerIDFile", Drop), ("LogConfig", Judged("json-file, local or none, with bounded options")),
    ("NetworkMode", Judged("own networks, own containers, none")),
    ("PortBindings", Judged("refused unless `publish_ports`; 127.0.0.1 and dynamic ports")),
    ("RestartPolicy", Judged("no or on-failure")), ("AutoRemove", Bool), ("VolumeDriver", Default("local")),
    ("VolumesFrom", Judged("own containers")), ("ConsoleSize", Judged("two numbers")), ("Annotations", Default("")),
    ("CapAdd", Judged("Docker's default set only")), ("CapDrop", List), ("Capabilities", Default("")),
    ("CgroupnsMode", Default("private")), ("Dns", Lines), ("DnsOptions", Lines), ("DnsSearch", Lines),
    ("ExtraHosts", Judged("allowed except host-gateway")), ("GroupAdd", Lines),
    ("IpcMode", Judged("private, none, shareable, own containers")), ("Cgroup", Default("")),
    ("Links", Judged("own containers")), ("OomScoreAdj", Int(0, 1000)), ("PidMode", Judged("private or own containers")),
    ("Privileged", Default("")), ("PublishAllPorts", Judged("refused unless `publish_ports`; becomes PortBindings of the exposed ports")),
    ("ReadonlyRootfs", Bool), ("SecurityOpt", Judged("no-new-privileges only")), ("StorageOpt", Default("")),
    ("Tmpfs", Judged("not over system directories; no dev, suid")), ("UTSMode", Default("")),
    ("UsernsMode", Default("")), ("ShmSize", Judged("bounded by `shm`")),
    ("Sysctls", Judged("a few harmless network ones")), ("Runtime", Judged("refused unless the configured one; forced")),
    ("Isolation", Default("default")), ("Mounts", Judged("bind below workspaces, volume, tmpfs")),
    ("MaskedPaths", Judged("left out when null, else refused")),
    ("ReadonlyPaths", Judged("left out when null, else refused")), ("Init", Bool),
];

/// What the rebuilt HostConfig needs besides itself.
#[derive(Debug, Default)]
pub struct Side {
    /// Volumes, by the client's names, that must exist (labelled) first.
    pub volumes: Vec<String>,
}

/// Rebuilds a HostConfig; `exposed` are the ports that PublishAllPorts is about.
pub fn judge(
    from: &Value,
    exposed: &[String],
    policy: &Policy,
    w: &dyn World,
) -> Result<(Map<String, Value>, Side), Denied> {
    let empty = Map::new();
    let from = if from.is_null() { &empty } else { fields::object(from, "HostConfig")? };
    let mut out = fields::copy(from, HOST_CONFIG, "HostConfig")?;
    let mut side = Side::default();
    let get = |key: &str| from.get(key).unwrap_or(&Value::Null);
    limits(&get, policy, &mut out)?;
    namespaces(&get, w, &mut out)?;
    security(&get, &mut out)?;
    ports(&get, exposed, policy, &mut out)?;
    own_parts(&get, w, &mut out)?;
    mounts::judge(&get, policy, w, &mut out, &mut side)?;
    log_config(get("LogConfig"), &mut out)?;
    forced(&get, policy, &mut out)?;
    Ok((out, side))
}

type Get<'a> = dyn Fn(&str) -> &'a Value + 'a;

fn no(field: &str, why: &str) -> Denied {
    Denied::policy(format!("HostConfig.{field}"), why)
}

/// Memory, CPU and process limits; also used by container update.
pub fn limits<'a>(
    get: &dyn Fn(&str) -> &'a Value,
    policy: &Policy,
    out: &mut Map<String, Value>,
) -> Result<(), Denied> {
    let number = |key: &str| match get(key) {
        Value::Null => Ok(0),
        v => v
            .as_i64()
            .ok_or_else(|| Denied::bad(format!("HostConfig.{key}"), "must be a whole number")),
    };
    let bounded =
        |key: &str, cap: Option<u64>, config: &'static str| -> Result<Option<i64>, Denied> {
            let asked = number(key)?;
            let cap = cap.map(|c| i64::try_from(c).unwrap_or(BIG));
            match (asked, cap) {
                (0, cap) => Ok(cap),
                (-1, Some(cap)) if key == "PidsLimit" => Ok(Some(cap)),
                (n, Some(cap)) if n > cap => {
                    Err(no(key, &format!("{n} is above the client's {cap}")).key(config).needs(n))
                }
                (-1, None) if key == "PidsLimit" => Ok(None),
                (n, _) if n < 0 => Err(no(key, "negative")),
                (n, _) => Ok(Some(n)),
            }
        };
    let memory = bounded("Memory", policy.memory, "memory")?;
    let swap = number("MemorySwap")?;
    if swap < 0 {
        return Err(no("MemorySwap", "unlimited swap"));
    }
    match memory {
        Some(m) if swap > m.saturating_mul(2) => {
            return Err(no("MemorySwap", "above twice the memory"));
        }
        Some(m) if m > 0 => {
            out.insert("Memory".into(), m.into());
            out.insert("MemorySwap".into(), swap.max(m).into());
        }
        _ if swap > 0 => return Err(no("MemorySwap", "needs Memory beside it")),
        _ => {}
    }
    let quota = number("CpuQuota")?;
    if quota > 0 || number("CpuPeriod")? > 0 {
        // NanoCpus and quota exclude each other in the engine, so the quota is held to the same bound here.
        let period = match number("CpuPeriod")? {
            0 => 100_000,
            p => p,
        };
        let cap = policy.nano_cpus.map(|c| i128::from(c) * i128::from(period) / 1_000_000_000);
        match cap {
            // A period alone would be read with whatever quota is there already.
            Some(cap) if quota <= 0 || i128::from(quota) > cap => {
                let nano = i128::from(quota) * 1_000_000_000 / i128::from(period);
                let denied = no("CpuQuota", "above the client's CPUs").key("cpus");
                return Err(if nano > 0 { denied.needs(nano) } else { denied });
            }
            _ if number("NanoCpus")? != 0 => return Err(no("NanoCpus", "conflicts with CpuQuota")),
            _ => {}
        }
    } else if let Some(n) = bounded("NanoCpus", policy.nano_cpus, "cpus")? {
        out.insert("NanoCpus".into(), n.into());
        out.remove("CpuQuota");
        out.remove("CpuPeriod");
    }
    if let Some(n) = bounded("PidsLimit", policy.pids, "pids")? {
        out.insert("PidsLimit".into(), n.into());
    }
    // Where nothing is asked for, the engine's default stays, unless it is above the client's.
    let shm = bounded("ShmSize", policy.shm, "shm")?;
    if let Some(n) = shm.filter(|n| number("ShmSize").is_ok_and(|n| n > 0) || *n < DEFAULT_SHM) {
        out.insert("ShmSize".into(), n.into());
    }
    let cpus = string(get("CpusetCpus"), "HostConfig.CpusetCpus")?;
    if cpus.chars().any(|c| !(c.is_ascii_digit() || ",-".contains(c))) {
        return Err(no("CpusetCpus", "must be a list of CPUs such as 0-2,4"));
    }
    if !cpus.is_empty() {
        out.insert("CpusetCpus".into(), cpus.into());
    }
    Ok(())
}

/// `container:<own>` with the id pinned.
fn own_container(field: &str, mode: &str, w: &dyn World) -> Result<String, Denied> {
    let name = mode
        .strip_prefix("container:")
        .ok_or_else(|| no(field, &format!("mode {mode:?} is refused")))?;
    let id = w.container(name).ok_or_else(|| Denied::absent("container", name))?;
    Ok(format!("container:{id}"))
}

fn namespaces<'a>(
    get: &Get<'a>,
    w: &dyn World,
    out: &mut Map<String, Value>,
) -> Result<(), Denied> {
    let mode = |key: &str| string(get(key), &format!("HostConfig.{key}"));
    let net = match mode("NetworkMode")?.as_str() {
        "" | "default" | "bridge" => w.default_network().unwrap_or_else(|| "none".into()),
        "none" => "none".into(),
        m if m.starts_with("container:") => own_container("NetworkMode", m, w)?,
        m if m.eq_ignore_ascii_case("host") || m.contains(':') => {
            return Err(no("NetworkMode", &format!("mode {m:?} is refused")));
        }
        m => w.network(m).ok_or_else(|| Denied::absent("network", m))?,
    };
    out.insert("NetworkMode".into(), net.into());
    let ipc = match mode("IpcMode")?.as_str() {
        "" | "private" => "private".to_owned(),
        m @ ("none" | "shareable") => m.to_owned(),
        m => own_container("IpcMode", m, w)?,
    };
    out.insert("IpcMode".into(), ipc.into());
    match mode("PidMode")?.as_str() {
        "" | "private" => {}
        m => {
            out.insert("PidMode".into(), own_container("PidMode", m, w)?.into());
        }
    }
    out.insert("CgroupnsMode".into(), "private".into());
    Ok(())
}

fn security<'a>(get: &Get<'a>, out: &mut Map<String, Value>) -> Result<(), Denied> {
    let caps = strings(get("CapAdd"), "HostConfig.CapAdd")?;
    for cap in &caps {
        let upper = cap.to_ascii_uppercase();
        if !CAPS.contains(&upper.strip_prefix("CAP_").unwrap_or(&upper)) {
            return Err(no("CapAdd", &format!("{cap} is not in the default set")));
        }
    }
    out.insert("CapAdd".into(), caps.into());
    let opts = strings(get("SecurityOpt"), "HostConfig.SecurityOpt")?;
    for opt in &opts {
        if !matches!(
            opt.as_str(),
            "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true"
        ) {
            return Err(no("SecurityOpt", &format!("{opt:?} is refused")));
        }
    }
    out.insert("SecurityOpt".into(), opts.into());
    let sysctls = match get("Sysctls") {
        Value::Null => Map::new(),
        v => fields::object(v, "HostConfig.Sysctls")?.clone(),
    };
    let container_net =
        string(get("NetworkMode"), "HostConfig.NetworkMode")?.starts_with("container:");
    for (key, v) in &sysctls {
        string(v, "HostConfig.Sysctls")?;
        if container_net || !SYSCTLS.contains(&key.as_str()) {
            return Err(no("Sysctls", &format!("{key} is refused")));
        }
    }
    if !sysctls.is_empty() {
        out.insert("Sysctls".into(), Value::Object(sysctls));
    }
    for key in ["MaskedPaths", "ReadonlyPaths"] {
        // An empty list means "mask nothing", so only null is the default.
        if !get(key).is_null() {
            return Err(no(key, "the default cannot be changed"));
        }
    }
    ulimits(get("Ulimits"), out)
}

fn ulimits(v: &Value, out: &mut Map<String, Value>) -> Result<(), Denied> {
    let Some(list) = v.as_array() else {
        return if v.is_null() { Ok(()) } else { Err(no("Ulimits", "must be a list")) };
    };
    let rules = [("Name", Rule::Str), ("Soft", Int(-1, BIG)), ("Hard", Int(-1, BIG))];
    let mut copied = Vec::new();
    for u in list {
        let u =
            fields::copy(fields::object(u, "HostConfig.Ulimits")?, &rules, "HostConfig.Ulimits")?;
        let name = u.get("Name").and_then(Value::as_str).unwrap_or_default();
        if !ULIMITS.contains(&name) {
            return Err(no("Ulimits", &format!("{name} is refused")));
        }
        copied.push(Value::Object(u));
    }
    out.insert("Ulimits".into(), copied.into());
    Ok(())
}

fn ports<'a>(
    get: &Get<'a>,
    exposed: &[String],
    policy: &Policy,
    out: &mut Map<String, Value>,
) -> Result<(), Denied> {
    let (all, v) = (get("PublishAllPorts"), get("PortBindings"));
    if !(all.is_null() || all.is_boolean()) {
        return Err(Denied::bad("HostConfig.PublishAllPorts", "must be a boolean"));
    }
    for (key, v) in [("PublishAllPorts", all), ("PortBindings", v)] {
        if !is_zero(v) && !policy.publish_ports {
            return Err(no(key, "publishing is off").key("publish_ports").needs(true));
        }
    }
    let dynamic = || json!({"HostIp": "127.0.0.1", "HostPort": ""});
    let mut copied = Map::new();
    // The engine would bind every address for PublishAllPorts: the exposed ports are asked for one by one instead.
    for port in exposed.iter().filter(|_| all == &Value::Bool(true)) {
        copied.insert(port.clone(), json!([dynamic()]));
    }
    let at = "HostConfig.PortBindings";
    let empty = Map::new();
    let asked = if v.is_null() { &empty } else { fields::object(v, at)? };
    for (port, list) in asked {
        let list = match list {
            Value::Null => &[],
            Value::Array(list) => list.as_slice(),
            _ => return Err(Denied::bad(at, "must be a map of lists")),
        };
        for b in list {
            let rules = [("HostIp", Rule::Str), ("HostPort", Rule::Str)];
            let b = fields::copy(fields::object(b, at)?, &rules, at)?;
            let text = |k: &str| b.get(k).and_then(Value::as_str).unwrap_or_default();
            if !matches!(text("HostIp"), "" | "127.0.0.1") || !matches!(text("HostPort"), "" | "0")
            {
                return Err(no("PortBindings", "only dynamic ports on 127.0.0.1"));
            }
        }
        let bindings: Vec<Value> = list.iter().map(|_| dynamic()).collect();
        copied.insert(port.clone(), bindings.into());
    }
    if !copied.is_empty() {
        out.insert("PortBindings".into(), copied.into());
    }
    Ok(())
}

fn own_parts<'a>(get: &Get<'a>, w: &dyn World, out: &mut Map<String, Value>) -> Result<(), Denied> {
    let mut from = Vec::new();
    for entry in strings(get("VolumesFrom"), "HostConfig.VolumesFrom")? {
        let (name, mode) = entry.split_once(':').unwrap_or((&entry, "rw"));
        if !matches!(mode, "ro" | "rw") {
            return Err(no("VolumesFrom", "the mode must be ro or rw"));
        }
        let id = w.container(name).ok_or_else(|| Denied::absent("container", name))?;
        from.push(format!("{id}:{mode}"));
    }
    if !from.is_empty() {
        out.insert("VolumesFrom".into(), from.into());
    }
    let mut links = Vec::new();
    for entry in strings(get("Links"), "HostConfig.Links")? {
        let (name, alias) = entry.split_once(':').unwrap_or((&entry, &entry));
        things::good_name(alias)?;
        let id = w.container(name).ok_or_else(|| Denied::absent("container", name))?;
        links.push(format!("{id}:{alias}"));
    }
    if !links.is_empty() {
        out.insert("Links".into(), links.into());
    }
    let hosts = strings(get("ExtraHosts"), "HostConfig.ExtraHosts")?;
    if hosts.iter().any(|h| h.chars().any(char::is_control)) {
        return Err(Denied::bad("HostConfig.ExtraHosts", "has a control character"));
    }
    if hosts.iter().any(|h| h.to_ascii_lowercase().contains("host-gateway")) {
        return Err(no("ExtraHosts", "host-gateway is refused"));
    }
    out.insert("ExtraHosts".into(), hosts.into());
    Ok(())
}

fn log_config(v: &Value, out: &mut Map<String, Value>) -> Result<(), Denied> {
    let rules = [("Type", Rule::Str), ("Config", StrMap)];
    let empty = Map::new();
    let from = if v.is_null() { &empty } else { fields::object(v, "HostConfig.LogConfig")? };
    let copied = fields::copy(from, &rules, "HostConfig.LogConfig")?;
    let driver = copied.get("Type").and_then(Value::as_str).unwrap_or_default();
    if !matches!(driver, "" | "json-file" | "local" | "none") {
        return Err(no("LogConfig.Type", &format!("{driver} writes elsewhere")));
    }
    let options = copied.get("Config").and_then(Value::as_object);
    if let Some(key) =
        options.and_then(|o| o.keys().find(|k| !matches!(k.as_str(), "max-size" | "max-file")))
    {
        return Err(no("LogConfig.Config", &format!("option {key} is refused")));
    }
    // An engine whose default driver writes elsewhere must not matter.
    let kind = if driver.is_empty() { "json-file" } else { driver };
    let config = options.cloned().unwrap_or_default();
    out.insert("LogConfig".into(), json!({"Type": kind, "Config": config}));
    Ok(())
}

fn forced<'a>(get: &Get<'a>, policy: &Policy, out: &mut Map<String, Value>) -> Result<(), Denied> {
    for (key, own) in [("CgroupParent", &policy.cgroup_parent), ("Runtime", &policy.runtime)] {
        let asked = string(get(key), &format!("HostConfig.{key}"))?;
        if !asked.is_empty() && Some(&asked) != own.as_ref() {
            return Err(no(key, "only the gateway chooses it"));
        }
        if let Some(own) = own {
            out.insert(key.into(), own.clone().into());
        }
    }
    if let Some(p) = restart_policy(get("RestartPolicy"))? {
        out.insert("RestartPolicy".into(), p);
    }
    if let Some(size) = fields::console_size(get("ConsoleSize"), "HostConfig.ConsoleSize")? {
        out.insert("ConsoleSize".into(), size);
    }
    out.insert("Privileged".into(), false.into());
    Ok(())
}

/// A restart policy that ends with the client; nothing where none was asked for. Also for container update.
pub fn restart_policy(v: &Value) -> Result<Option<Value>, Denied> {
    if v.is_null() {
        return Ok(None);
    }
    let at = "HostConfig.RestartPolicy";
    let rules = [("Name", Rule::Str), ("MaximumRetryCount", Int(0, 100))];
    let p = fields::copy(fields::object(v, at)?, &rules, at)?;
    let retries = p.get("MaximumRetryCount").is_some_and(|n| !is_zero(n));
    match p.get("Name").and_then(Value::as_str).unwrap_or_default() {
        "" | "no" if retries => Err(no("RestartPolicy", "retries are for on-failure")),
        "" => Ok(None),
        "no" | "on-failure" => Ok(Some(Value::Object(p))),
        name => Err(no("RestartPolicy", &format!("{name} would outlive the client"))),
    }
}
