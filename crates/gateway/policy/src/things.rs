//! The smaller bodies: networks, volumes, exec, update; and the filters of lists.

use crate::fields::{self, Rule, is_zero, string};
use crate::mounts::labels;
use crate::{Denied, Policy, World, create, engine_name, hostconfig};
use Rule::{Bool, Default, Drop, Judged, List, Str};
use serde_json::{Map, Value, json};

/// A name that a client may give to something.
pub fn good_name(name: &str) -> Result<&str, Denied> {
    let ok = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 128
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if ok { Ok(name) } else { Err(Denied::bad("name", format!("{name:?} is not a name"))) }
}

/// Rebuilds a network create body; also returns the client's name.
pub fn network(body: &Value, w: &dyn World) -> Result<(Value, String), Denied> {
    let from = fields::object(body, "body")?;
    #[rustfmt::skip]
    let rules = [
        ("Name", Judged("")), ("CheckDuplicate", Drop), ("Driver", Default("bridge")), ("Scope", Default("local")),
        ("Internal", Bool), ("Attachable", Drop), ("Ingress", Default("")), ("ConfigOnly", Default("")),
        ("ConfigFrom", Judged("")), ("IPAM", Judged("")), ("EnableIPv6", Bool), ("EnableIPv4", Bool),
        ("Options", Judged("")), ("Labels", Judged("")),
    ];
    let mut out = fields::copy(from, &rules, "")?;
    let get = |k: &str| from.get(k).unwrap_or(&Value::Null);
    let name = good_name(&string(get("Name"), "Name")?)?.to_owned();
    if ["host", "none", "bridge", "default"].contains(&name.to_ascii_lowercase().as_str()) {
        return Err(Denied::policy("Name", "this name is the engine's"));
    }
    out.insert("Name".into(), engine_name(w.client(), &name).into());
    out.insert("Driver".into(), "bridge".into());
    // Go sends an empty ConfigFrom with an empty network name inside.
    if get("ConfigFrom").as_object().is_some_and(|o| o.values().any(|v| !is_zero(v))) {
        return Err(Denied::policy("ConfigFrom", "only the default is allowed"));
    }
    if let Some(options) = get("Options").as_object() {
        for (k, v) in options {
            let mtu = k == "com.docker.network.driver.mtu"
                && v.as_str().is_some_and(|v| v.parse::<u16>().is_ok());
            let icc = k == "com.docker.network.bridge.enable_icc"
                && matches!(v.as_str(), Some("true" | "false"));
            if !mtu && !icc {
                return Err(Denied::policy(format!("Options {k}"), "refused"));
            }
        }
        out.insert("Options".into(), options.clone().into());
    } else if !get("Options").is_null() {
        return Err(Denied::bad("Options", "must be an object"));
    }
    if !is_zero(get("IPAM")) {
        let rules =
            [("Driver", Default("default")), ("Options", Default("")), ("Config", Judged(""))];
        let ipam = fields::object(get("IPAM"), "IPAM")?;
        fields::copy(ipam, &rules, "IPAM")?;
        let config = ipam.get("Config").unwrap_or(&Value::Null);
        // An explicit subnet could shadow an address of the host or of a neighbour's network.
        if config.as_array().is_some_and(|a| a.iter().any(|c| !is_zero(c)))
            || !(config.is_array() || config.is_null())
        {
            return Err(Denied::policy("IPAM.Config", "the engine chooses the subnet"));
        }
    }
    out.insert("Labels".into(), labels(from.get("Labels"), w.client(), "Labels")?.into());
    Ok((Value::Object(out), name))
}

/// Rebuilds connect and disconnect.
pub fn connect(body: &Value, connect: bool, w: &dyn World) -> Result<Value, Denied> {
    let from = fields::object(body, "body")?;
    let rules = [("Container", Judged("")), ("EndpointConfig", Judged("")), ("Force", Bool)];
    let mut out = fields::copy(from, &rules, "")?;
    let name = string(from.get("Container").unwrap_or(&Value::Null), "Container")?;
    let id = w.container(&name).ok_or_else(|| Denied::absent("container", &name))?;
    out.insert("Container".into(), id.into());
    if connect {
        out.remove("Force");
        let ep = create::endpoint(from.get("EndpointConfig").unwrap_or(&Value::Null), w)?;
        out.insert("EndpointConfig".into(), ep);
    }
    Ok(Value::Object(out))
}

/// Rebuilds a volume create body; also returns the client's name if it gave one.
pub fn volume(body: &Value, w: &dyn World) -> Result<(Value, Option<String>), Denied> {
    let from = fields::object(body, "body")?;
    let rules = [
        ("Name", Judged("")),
        ("Driver", Default("local")),
        ("DriverOpts", Default("")),
        ("Labels", Judged("")),
        ("ClusterVolumeSpec", Default("")),
    ];
    let mut out = fields::copy(from, &rules, "")?;
    let name = string(from.get("Name").unwrap_or(&Value::Null), "Name")?;
    let name = if name.is_empty() { None } else { Some(good_name(&name)?.to_owned()) };
    if let Some(name) = &name {
        out.insert("Name".into(), engine_name(w.client(), name).into());
    }
    out.insert("Driver".into(), "local".into());
    out.insert("Labels".into(), labels(from.get("Labels"), w.client(), "Labels")?.into());
    Ok((Value::Object(out), name))
}

/// Rebuilds an exec create body.
pub fn exec(body: &Value) -> Result<Value, Denied> {
    #[rustfmt::skip]
    let rules = [
        ("User", Str), ("Privileged", Default("")), ("Tty", Bool), ("AttachStdin", Bool), ("AttachStderr", Bool),
        ("AttachStdout", Bool), ("Detach", Bool), ("DetachKeys", Str), ("Env", List), ("WorkingDir", Str), ("Cmd", List),
        ("ConsoleSize", Judged("")), ("Container", Drop),
    ];
    sized(body, &rules)
}

/// Copies by the rules, and the terminal's size.
fn sized(body: &Value, rules: &[(&str, Rule)]) -> Result<Value, Denied> {
    let from = fields::object(body, "body")?;
    let mut out = fields::copy(from, rules, "")?;
    let size = from.get("ConsoleSize").unwrap_or(&Value::Null);
    if let Some(size) = fields::console_size(size, "ConsoleSize")? {
        out.insert("ConsoleSize".into(), size);
    }
    Ok(Value::Object(out))
}

/// Rebuilds an exec start body.
pub fn exec_start(body: &Value) -> Result<Value, Denied> {
    let rules =
        [("Detach", Bool), ("Tty", Bool), ("ConsoleSize", Judged("")), ("OutputCapacity", Drop)];
    sized(body, &rules)
}

/// Rebuilds a container update body: limits within the budget.
pub fn update(body: &Value, policy: &Policy) -> Result<Value, Denied> {
    let from = fields::object(body, "body")?;
    #[rustfmt::skip]
    let allowed = [
        "CpuShares", "Memory", "BlkioWeight", "CpuPeriod", "CpuQuota", "CpusetCpus", "MemoryReservation", "MemorySwap",
        "NanoCpus", "PidsLimit",
    ];
    for (key, v) in from {
        let known = hostconfig::HOST_CONFIG.iter().any(|(k, _)| k == key);
        // The CLI always sends every field; the empty ones change nothing.
        let ours = allowed.contains(&key.as_str()) || key == "RestartPolicy";
        if !known || !(ours || is_zero(v)) {
            return Err(Denied::policy(key, "cannot be updated"));
        }
    }
    let get = |k: &str| match from.get(k) {
        Some(v) if allowed.contains(&k) => v,
        _ => &Value::Null,
    };
    let asked = |k: &str| !is_zero(get(k));
    let named: Vec<_> =
        hostconfig::HOST_CONFIG.iter().filter(|(k, _)| allowed.contains(k)).copied().collect();
    let kept = from.iter().filter(|(k, _)| allowed.contains(&k.as_str()));
    let kept: Map<_, _> = kept.map(|(k, v)| (k.clone(), v.clone())).collect();
    let mut out = fields::copy(&kept, &named, "")?;
    let mut bounded = Map::new();
    hostconfig::limits(&get, policy, &mut bounded)?;
    for (k, v) in bounded {
        // Swap follows memory: the engine refuses one above the other.
        if asked(&k) || (k == "MemorySwap" && asked("Memory")) {
            out.insert(k, v);
        }
    }
    if asked("CpuQuota") && policy.nano_cpus.is_some() {
        if get("CpuQuota").as_i64().is_none_or(|n| n < 0) {
            return Err(Denied::policy("CpuQuota", "unlimited").key("cpus"));
        }
        // A quota alone would be read with the period that is there already.
        if !asked("CpuPeriod") {
            out.insert("CpuPeriod".into(), 100_000.into());
        }
    }
    out.retain(|_, v| !is_zero(v));
    let restart = from.get("RestartPolicy").unwrap_or(&Value::Null);
    if let Some(p) = hostconfig::restart_policy(restart)? {
        out.insert("RestartPolicy".into(), p);
    }
    Ok(Value::Object(out))
}

/// Parses the `filters` parameter in both of its forms.
pub fn filters(raw: Option<&str>) -> Result<Vec<(String, Vec<String>)>, Denied> {
    let Some(raw) = raw.filter(|r| !r.is_empty()) else { return Ok(Vec::new()) };
    if raw.len() > 64 * 1024 {
        return Err(Denied::bad("filters", "larger than 64 KiB"));
    }
    let value = crate::json::parse(raw.as_bytes())?;
    let mut out = Vec::new();
    for (key, v) in fields::object(&value, "filters")? {
        let values = match v {
            Value::Object(o) => {
                if o.values().any(|v| !v.is_boolean()) {
                    return Err(Denied::bad("filters", "values must be booleans"));
                }
                o.iter()
                    .filter(|(_, on)| **on == Value::Bool(true))
                    .map(|(k, _)| k.clone())
                    .collect()
            }
            v => fields::strings(v, "filters")?,
        };
        if values.iter().any(|v| v.to_ascii_lowercase().contains("chitin.gateway.")) {
            return Err(Denied::policy("filters", "this label belongs to the gateway"));
        }
        out.push((key.clone(), values));
    }
    Ok(out)
}

/// Serialises filters in the form that every engine reads.
#[must_use]
pub fn filters_json(filters: &[(String, Vec<String>)]) -> String {
    let map: Map<String, Value> = filters.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
    Value::Object(map).to_string()
}
