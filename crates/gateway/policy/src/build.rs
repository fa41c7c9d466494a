//! The classic build's parameters, each one classed.

use crate::target::{Target, truthy};
use crate::things::good_name;
use crate::{Denied, OWNER_LABEL, Policy, World, is_private_image, json as strict, private_repo};
use serde_json::{Map, Value, json};

/// Every known parameter of /build.
pub const QUERY: &[&str] = &[
    "dockerfile",
    "t*",
    "extrahosts*",
    "remote",
    "q",
    "nocache",
    "cachefrom",
    "pull",
    "rm",
    "forcerm",
    "memory",
    "memswap",
    "cpushares",
    "cpusetcpus",
    "cpusetmems",
    "cpuperiod",
    "cpuquota",
    "buildargs",
    "shmsize",
    "squash",
    "labels",
    "networkmode",
    "platform",
    "target",
    "outputs",
    "version",
    "cgroupparent",
    "securityopt",
    "isolation",
    "ulimits",
    "session",
    "buildid",
];

/// How each is treated, for the documentation.
#[rustfmt::skip]
pub const NOTES: &[(&str, &str)] = &[
    ("dockerfile", "within the context"), ("t", "private to the client"), ("extrahosts", "allowed except host-gateway"),
    ("remote", "refused unless `remote_build`"), ("q", "allowed"), ("nocache", "allowed"),
    ("cachefrom", "refused unless it has its default"), ("pull", "allowed"), ("rm", "allowed"), ("forcerm", "allowed"),
    ("memory", "bounded by `memory`, which is also its default"), ("memswap", "not unlimited; forced to memory"),
    ("cpushares", "allowed"), ("cpusetcpus", "refused unless it has its default"),
    ("cpusetmems", "refused unless it has its default"), ("cpuperiod", "with cpuquota"),
    ("cpuquota", "bounded by `cpus`, which is also its default"), ("buildargs", "allowed except BUILDKIT_SYNTAX"),
    ("shmsize", "bounded by `shm`"), ("squash", "refused"),
    ("labels", "the gateway's own cannot be set; the owner's is forced"), ("networkmode", "own networks, none"),
    ("platform", "allowed"), ("target", "allowed"), ("outputs", "refused unless it has its default"),
    ("version", "1 (the classic builder); forced"), ("cgroupparent", "refused unless the client's own; forced"),
    ("securityopt", "refused unless it has its default"), ("isolation", "refused unless it has its default"),
    ("ulimits", "refused unless it has its default"), ("session", "refused"), ("buildid", "left out"),
];

/// Rebuilds the query of a build; also returns the tags, as the client wrote them.
pub fn judge(
    t: &Target,
    policy: &Policy,
    w: &dyn World,
) -> Result<(Vec<(String, String)>, Vec<String>), Denied> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut tags = Vec::new();
    let mut labels = Map::new();
    labels.insert(OWNER_LABEL.into(), json!(w.client()));
    for (k, v) in &t.query {
        match k.as_str() {
            "t" => {
                let (repo, tag) = split_tag(v)?;
                out.push(("t".into(), format!("{}{repo}:{tag}", private_repo(w.client()))));
                tags.push(v.clone());
            }
            "labels" if !v.is_empty() => {
                let asked = strict::parse(v.as_bytes())?;
                labels = crate::mounts::labels(Some(&asked), w.client(), "query labels")?;
            }
            "networkmode" | "memory" | "memswap" | "cpuperiod" | "cpuquota" | "shmsize" => {}
            _ => {
                if let Some(v) = one(k, v, policy)? {
                    out.push((k.clone(), v));
                }
            }
        }
    }
    network(t, w, &mut out)?;
    limits(t, policy, &mut out)?;
    out.push(("labels".into(), Value::Object(labels).to_string()));
    if let Some(parent) = &policy.cgroup_parent {
        out.push(("cgroupparent".into(), parent.clone()));
    }
    out.push(("version".into(), "1".into()));
    Ok((out, tags))
}

fn refuse(k: &str, why: &str) -> Denied {
    Denied::policy(format!("query {k}"), why)
}

/// A parameter that depends on nothing else: what it becomes, if anything.
fn one(k: &str, v: &str, policy: &Policy) -> Result<Option<String>, Denied> {
    let kept = Ok(Some(v.to_owned()));
    if v.chars().any(char::is_control) {
        return Err(Denied::bad(format!("query {k}"), "has a control character"));
    }
    match k {
        "q" | "nocache" | "pull" | "rm" | "forcerm" => Ok(Some(u8::from(truthy(v)).to_string())),
        "cpushares" => Ok(Some(number(k, v)?.max(0).to_string())),
        "target" | "platform" => kept,
        "dockerfile" if v.split('/').any(|s| s == "..") => Err(refuse(k, "leaves the context")),
        "dockerfile" => kept,
        "buildargs" if !v.is_empty() => build_args(k, v).map(Some),
        "remote" if v.is_empty() => Ok(None),
        "remote" if policy.remote_build && http(v) => kept,
        "remote" if policy.remote_build => Err(refuse(k, "must begin with http:// or https://")),
        "remote" => {
            Err(refuse(k, "the engine would fetch the context").key("remote_build").needs(true))
        }
        "version" if matches!(v, "" | "1") => Ok(None),
        "version" => Err(refuse(k, "BuildKit is refused; set DOCKER_BUILDKIT=0")),
        "cgroupparent" if v.is_empty() || Some(v) == policy.cgroup_parent.as_deref() => Ok(None),
        "squash" if !truthy(v) => Ok(None),
        // A session is BuildKit's; the classic builder works without.
        "session" if v.is_empty() => Ok(None),
        "extrahosts" if v.to_ascii_lowercase().contains("host-gateway") => {
            Err(refuse(k, "host-gateway is refused"))
        }
        "extrahosts" => kept,
        // Only names the build for a cancellation, which is refused.
        "buildid" => Ok(None),
        _ if matches!(v, "" | "[]" | "{}" | "null" | "default") => Ok(None),
        _ => Err(refuse(k, "only the default is allowed")),
    }
}

fn http(v: &str) -> bool {
    v.starts_with("http://") || v.starts_with("https://")
}

fn build_args(k: &str, v: &str) -> Result<String, Denied> {
    let args = strict::parse(v.as_bytes())?;
    let good = args.as_object().is_some_and(|o| o.values().all(|v| v.is_string() || v.is_null()));
    if !good && !args.is_null() {
        return Err(Denied::bad(format!("query {k}"), "must be a map of strings"));
    }
    if args.get("BUILDKIT_SYNTAX").is_some() {
        return Err(refuse(k, "BUILDKIT_SYNTAX is refused"));
    }
    Ok(args.to_string())
}

/// Limits of the build's own containers: what was asked for, within the client's, which are also the default.
fn limits(t: &Target, policy: &Policy, out: &mut Vec<(String, String)>) -> Result<(), Denied> {
    let asked = |k: &str| number(k, t.get(k).unwrap_or_default()).map(|n| u64::try_from(n).ok());
    let above = |k: &str, key, n: u128| refuse(k, "is above the client's").key(key).needs(n);
    let memory = match (asked("memory")?.filter(|n| *n > 0), policy.memory) {
        (Some(n), Some(cap)) if n > cap => return Err(above("memory", "memory", n.into())),
        (asked, cap) => asked.or(cap),
    };
    let swap = number("memswap", t.get("memswap").unwrap_or_default())?;
    if let Some(memory) = memory {
        let swap = u64::try_from(swap).map_err(|_| refuse("memswap", "unlimited swap"))?;
        if swap > memory.saturating_mul(2) {
            return Err(refuse("memswap", "above twice the memory"));
        }
        out.push(("memory".into(), memory.to_string()));
        out.push(("memswap".into(), swap.max(memory).to_string()));
    } else if swap != 0 {
        return Err(refuse("memswap", "needs memory beside it"));
    }
    let period = asked("cpuperiod")?.filter(|n| *n > 0).unwrap_or(100_000);
    let cap = policy.nano_cpus.map(|c| u128::from(c) * u128::from(period) / 1_000_000_000);
    let quota = match (asked("cpuquota")?.filter(|n| *n > 0), cap) {
        (Some(n), Some(cap)) if u128::from(n) > cap => {
            let nano = u128::from(n) * 1_000_000_000 / u128::from(period);
            return Err(above("cpuquota", "cpus", nano));
        }
        (asked, cap) => asked.map(u128::from).or(cap),
    };
    if let Some(quota) = quota {
        out.push(("cpuperiod".into(), period.to_string()));
        out.push(("cpuquota".into(), quota.to_string()));
    }
    match (asked("shmsize")?.filter(|n| *n > 0), policy.shm) {
        (Some(n), Some(cap)) if n > cap => Err(above("shmsize", "shm", n.into())),
        (Some(n), _) => {
            out.push(("shmsize".into(), n.to_string()));
            Ok(())
        }
        (None, _) => Ok(()),
    }
}

fn network(t: &Target, w: &dyn World, out: &mut Vec<(String, String)>) -> Result<(), Denied> {
    let mode = match t.get("networkmode").unwrap_or_default() {
        "" | "default" | "bridge" => w.default_network().unwrap_or_else(|| "none".into()),
        "none" => "none".into(),
        m if m.contains(':') || m.eq_ignore_ascii_case("host") => {
            return Err(Denied::policy("query networkmode", format!("{m} is refused")));
        }
        m => w.network(m).ok_or_else(|| Denied::absent("network", m))?,
    };
    out.push(("networkmode".into(), mode));
    Ok(())
}

fn number(k: &str, v: &str) -> Result<i64, Denied> {
    if v.is_empty() {
        return Ok(0);
    }
    v.parse()
        .ok()
        .filter(|n| *n >= -1)
        .ok_or_else(|| Denied::bad(format!("query {k}"), "must be a number"))
}

/// Splits a client's tag into repository and tag; both are checked.
pub fn split_tag(v: &str) -> Result<(String, String), Denied> {
    let (repo, tag) = match v.rsplit_once(':') {
        Some((r, t)) if !t.contains('/') => (r, t),
        _ => (v, "latest"),
    };
    let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let word = |s: &str| {
        s.starts_with(alnum)
            && s.ends_with(alnum)
            && s.chars().all(|c| alnum(c) || "_.-:".contains(c))
    };
    if !repo.split('/').all(word) || is_private_image(repo) || repo.contains('@') {
        return Err(Denied::bad("tag", format!("{v:?} is not an image name")));
    }
    // A registry's port has no place in a path component of the private repository.
    Ok((repo.replace(':', "_"), good_name(tag)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{NOTES, QUERY};

    #[test]
    fn notes_every_parameter() {
        let plain: Vec<_> = QUERY.iter().map(|q| q.trim_end_matches('*')).collect();
        assert_eq!(plain, NOTES.iter().map(|(n, _)| *n).collect::<Vec<_>>());
    }
}
