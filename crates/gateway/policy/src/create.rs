//! Container create: the whole body, rebuilt.

use crate::fields::{self, Rule, is_zero, string};
use crate::mounts::{good_target, labels};
use crate::things::good_name;
use crate::{Denied, Policy, Verdict, World, hostconfig};
use Rule::{Bool, Default, Drop, Int, Judged, Line, Lines, List, Set, Str};
use serde_json::{Map, Value, json};

/// The fields beside HostConfig.
#[rustfmt::skip]
pub const CONFIG: &[(&str, Rule)] = &[
    ("Hostname", Line), ("Domainname", Line), ("User", Str), ("AttachStdin", Bool), ("AttachStdout", Bool),
    ("AttachStderr", Bool), ("ExposedPorts", Set), ("Tty", Bool), ("OpenStdin", Bool), ("StdinOnce", Bool),
    ("Env", List), ("Cmd", List), ("Healthcheck", Judged("allowed; an interval is at least 50 ms")), ("ArgsEscaped", Drop), ("Image", Judged("own and pulled images; pinned")),
    ("Volumes", Set), ("WorkingDir", Str), ("Entrypoint", List), ("NetworkDisabled", Bool), ("MacAddress", Default("")),
    ("OnBuild", Default("")), ("Labels", Judged("the gateway's own cannot be set; the owner's is forced")), ("StopSignal", Str), ("StopTimeout", Int(0, 3600)), ("Shell", List),
    ("HostConfig", Judged("see above")), ("NetworkingConfig", Judged("own networks only")),
];

/// A rebuilt create request.
#[derive(Debug, PartialEq)]
pub struct Create {
    /// The body to send.
    pub body: Value,
    /// Volumes, by the client's names, to be made (labelled) first.
    pub volumes: Vec<String>,
}

/// Judges a create body. `name` is the client's name for the container, which becomes an alias.
pub fn judge(body: &Value, name: Option<&str>, policy: &Policy, w: &dyn World) -> Verdict<Create> {
    match rebuild(body, name, policy, w) {
        Ok(c) => Verdict::Rewrite(c),
        Err(d) => Verdict::Deny(d),
    }
}

fn rebuild(
    body: &Value,
    name: Option<&str>,
    policy: &Policy,
    w: &dyn World,
) -> Result<Create, Denied> {
    let from = fields::object(body, "body")?;
    let mut out = fields::copy(from, CONFIG, "")?;
    if let Some(name) = name {
        good_name(name)?;
    }
    let asked = string(from.get("Image").unwrap_or(&Value::Null), "Image")?;
    let image = w.image(&asked).ok_or_else(|| Denied::absent("image", &asked))?;
    out.insert("Image".into(), image.into());
    out.insert("Labels".into(), labels(from.get("Labels"), w.client(), "Labels")?.into());
    if let Some(v) = from.get("Healthcheck").filter(|v| !v.is_null()) {
        out.insert("Healthcheck".into(), healthcheck(v)?.into());
    }
    for target in keys(&out, "Volumes") {
        good_target(&target, "Volumes")?;
    }
    let mut ports = keys(&out, "ExposedPorts");
    for port in w.image_ports(&asked) {
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    let (host, side) =
        hostconfig::judge(from.get("HostConfig").unwrap_or(&Value::Null), &ports, policy, w)?;
    let mode = host.get("NetworkMode").and_then(Value::as_str).unwrap_or("none").to_owned();
    let endpoints =
        endpoints(from.get("NetworkingConfig").unwrap_or(&Value::Null), &mode, name, w)?;
    if mode.starts_with("container:") {
        // The engine refuses these together with a shared network namespace.
        for key in ["ExposedPorts", "Hostname"] {
            if out.get(key).is_some_and(is_zero) {
                out.remove(key);
            }
        }
    }
    out.insert("HostConfig".into(), host.into());
    out.insert("NetworkingConfig".into(), json!({ "EndpointsConfig": endpoints }));
    Ok(Create { body: Value::Object(out), volumes: side.volumes })
}

/// Nanoseconds between two checks: each one makes the engine work.
const MIN_INTERVAL: i64 = 50_000_000;

fn healthcheck(v: &Value) -> Result<Map<String, Value>, Denied> {
    let time = Int(0, i64::MAX);
    let rules = [
        ("Test", List),
        ("Interval", time),
        ("Timeout", time),
        ("Retries", Int(0, 1000)),
        ("StartPeriod", time),
        ("StartInterval", time),
    ];
    let out = fields::copy(fields::object(v, "Healthcheck")?, &rules, "Healthcheck")?;
    for key in ["Interval", "StartInterval"] {
        let n = out.get(key).and_then(Value::as_i64).unwrap_or(0);
        if n != 0 && n < MIN_INTERVAL {
            return Err(Denied::policy(format!("Healthcheck.{key}"), "is shorter than 50 ms"));
        }
    }
    Ok(out)
}

/// The keys of a set.
fn keys(of: &Map<String, Value>, field: &str) -> Vec<String> {
    let set = of.get(field).and_then(Value::as_object);
    set.map(|s| s.keys().cloned().collect()).unwrap_or_default()
}

fn endpoints(
    v: &Value,
    mode: &str,
    name: Option<&str>,
    w: &dyn World,
) -> Result<Map<String, Value>, Denied> {
    let at = "NetworkingConfig";
    let mut out = Map::new();
    if !v.is_null() {
        let top = fields::object(v, at)?;
        fields::copy(top, &[("EndpointsConfig", Judged(""))], at)?;
        if let Some(map) = top.get("EndpointsConfig").filter(|v| !v.is_null()) {
            for (key, ep) in fields::object(map, at)? {
                let id = match key.as_str() {
                    "default" | "bridge" if w.default_network().is_none() => continue,
                    "default" | "bridge" => w.default_network(),
                    // Nothing to set up, so nothing to forward.
                    "none" => continue,
                    key => w.network(key),
                };
                let id = id.ok_or_else(|| Denied::absent("network", key))?;
                if out.insert(id, endpoint(ep, w)?).is_some() {
                    return Err(Denied::bad(at, "the same network twice"));
                }
            }
        }
    }
    if mode != "none" && !mode.starts_with("container:") {
        // The engine's name has a prefix; the client's own name is what its neighbours look up.
        let ep = out.entry(mode.to_owned()).or_insert_with(|| json!({}));
        if let (Some(name), Some(ep)) = (name, ep.as_object_mut()) {
            let aliases = ep.entry("Aliases").or_insert_with(|| json!([]));
            if let Some(list) = aliases.as_array_mut().filter(|l| !l.iter().any(|a| a == name)) {
                list.push(name.into());
            }
        }
    }
    Ok(out)
}

/// One endpoint's settings, also for network connect.
pub(crate) fn endpoint(v: &Value, w: &dyn World) -> Result<Value, Denied> {
    let at = "EndpointsConfig";
    if v.is_null() {
        return Ok(json!({}));
    }
    #[rustfmt::skip]
    let rules = [
        ("IPAMConfig", Judged("")), ("Links", Judged("")), ("Aliases", Lines), ("NetworkID", Drop), ("EndpointID", Drop),
        ("Gateway", Drop), ("IPAddress", Drop), ("IPPrefixLen", Drop), ("IPv6Gateway", Drop),
        ("GlobalIPv6Address", Drop), ("GlobalIPv6PrefixLen", Drop), ("MacAddress", Default("")),
        ("DriverOpts", Default("")), ("DNSNames", Drop), ("GwPriority", Int(-1000, 1000)),
    ];
    let from = fields::object(v, at)?;
    let mut out = fields::copy(from, &rules, at)?;
    if let Some(v) = from.get("IPAMConfig").filter(|v| !is_zero(v)) {
        let rules = [("IPv4Address", Str), ("IPv6Address", Str), ("LinkLocalIPs", Default(""))];
        out.insert("IPAMConfig".into(), fields::copy(fields::object(v, at)?, &rules, at)?.into());
    }
    let mut links = Vec::new();
    for l in fields::strings(from.get("Links").unwrap_or(&Value::Null), at)? {
        let (name, alias) = l.split_once(':').unwrap_or((&l, &l));
        good_name(alias)?;
        let id = w.container(name).ok_or_else(|| Denied::absent("container", name))?;
        links.push(format!("{id}:{alias}"));
    }
    if !links.is_empty() {
        out.insert("Links".into(), links.into());
    }
    Ok(Value::Object(out))
}
