//! Binds, Mounts and Tmpfs: what may be mounted into a container.

use crate::fields::{self, Rule, is_zero, string, strings};
use crate::hostconfig::Side;
use crate::{Denied, OWNER_LABEL, Policy, World, engine_name};
use serde_json::{Map, Value, json};

/// Judges all three and writes what is left as Binds, Mounts and Tmpfs.
pub fn judge<'a>(
    get: &dyn Fn(&str) -> &'a Value,
    policy: &Policy,
    w: &dyn World,
    out: &mut Map<String, Value>,
    side: &mut Side,
) -> Result<(), Denied> {
    let mut binds = Vec::new();
    for bind in strings(get("Binds"), "HostConfig.Binds")? {
        binds.push(one_bind(&bind, policy, w, side)?);
    }
    let mut mounts = Vec::new();
    match get("Mounts") {
        Value::Null => {}
        Value::Array(list) => {
            for m in list {
                mounts.push(one_mount(fields::object(m, "HostConfig.Mounts")?, policy, w, side)?);
            }
        }
        _ => return Err(Denied::bad("HostConfig.Mounts", "must be a list")),
    }
    if !binds.is_empty() {
        out.insert("Binds".into(), binds.into());
    }
    if !mounts.is_empty() {
        out.insert("Mounts".into(), mounts.into());
    }
    tmpfs(get("Tmpfs"), out)
}

fn tmpfs(v: &Value, out: &mut Map<String, Value>) -> Result<(), Denied> {
    let at = "HostConfig.Tmpfs";
    if is_zero(v) {
        return Ok(());
    }
    for (target, options) in fields::object(v, at)? {
        good_target(target, at)?;
        for o in string(options, at)?.split(',').filter(|o| !o.is_empty()) {
            let flag = ["rw", "ro", "noexec", "exec", "nosuid", "nodev", "noatime"].contains(&o);
            let value = ["size", "mode", "uid", "gid", "nr_inodes"].iter().any(|k| {
                let v = o.strip_prefix(k).and_then(|v| v.strip_prefix('='));
                v.is_some_and(|v| v.chars().all(|c| c.is_ascii_alphanumeric() || c == '%'))
            });
            if !flag && !value {
                return Err(Denied::policy(at, format!("option {o} is refused")));
            }
        }
    }
    out.insert("Tmpfs".into(), v.clone());
    Ok(())
}

/// A mount point inside the container: absolute, plain, not over what the runtime protects.
pub(crate) fn good_target(target: &str, at: &str) -> Result<(), Denied> {
    let plain = target.starts_with('/')
        && !target.chars().any(|c| c.is_control() || c == ':')
        && !target.split('/').any(|s| s == ".." || s == ".");
    let trimmed = target.trim_matches('/');
    let first = trimmed.split('/').find(|s| !s.is_empty()).unwrap_or_default();
    if !plain || trimmed.is_empty() || ["proc", "sys"].contains(&first) {
        return Err(Denied::policy(at, format!("target {target:?} is refused")));
    }
    Ok(())
}

/// The host path of a bind source.
fn host_path(
    source: &str,
    read_only: bool,
    policy: &Policy,
    w: &dyn World,
    at: &str,
) -> Result<String, Denied> {
    if matches!(source, "/var/run/docker.sock" | "/run/docker.sock") {
        return w.socket().ok_or_else(|| Denied::policy(at, "the gateway has no socket to mount"));
    }
    // Clients that find the engine by DOCKER_HOST mount what that names.
    if let Some(own) = w.socket().filter(|own| own == source) {
        return Ok(own);
    }
    let refused = |why: String| Denied::policy(at, why).key("workspaces");
    let plain = source.starts_with('/')
        && !source.contains("//")
        && !source.contains('\\')
        && !source.split('/').any(|s| s == ".." || s == ".");
    if !plain {
        return Err(refused(format!("source {source:?} is not a plain absolute path")));
    }
    let below = |root: &str| {
        let root = root.trim_end_matches('/');
        !root.is_empty()
            && source.strip_prefix(root).is_some_and(|r| r.is_empty() || r.starts_with('/'))
    };
    let Some(ws) = policy.workspaces.iter().find(|ws| below(&ws.path)) else {
        return Err(refused(format!("source {source:?} is not below a workspace")).needs(source));
    };
    if !ws.writable && !read_only {
        return Err(Denied::policy(
            at,
            format!("workspace {:?} is read-only; mount it :ro", ws.path),
        )
        .key("workspaces")
        .needs(source));
    }
    let path = w.bind(ws, source).map_err(refused)?;
    // The engine splits binds at colons.
    if path.contains(':') { Err(refused("the path has a colon".into())) } else { Ok(path) }
}

fn volume_name(name: &str, w: &dyn World, side: &mut Side, at: &str) -> Result<String, Denied> {
    let ok = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() < 128
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if !ok {
        return Err(Denied::policy(
            at,
            format!("{name:?} is neither an absolute path nor a volume name"),
        ));
    }
    Ok(w.volume(name).unwrap_or_else(|| {
        if !side.volumes.iter().any(|v| v == name) {
            side.volumes.push(name.to_owned());
        }
        engine_name(w.client(), name)
    }))
}

fn one_bind(bind: &str, policy: &Policy, w: &dyn World, side: &mut Side) -> Result<String, Denied> {
    let at = "HostConfig.Binds";
    let parts: Vec<&str> = bind.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [s, t] => (*s, *t, ""),
        [s, t, o] => (*s, *t, *o),
        _ => return Err(Denied::policy(at, format!("{bind:?} is not source:target[:options]"))),
    };
    good_target(target, at)?;
    let mut read_only = None;
    for o in options.split(',').filter(|o| !o.is_empty()) {
        match o {
            "ro" | "rw" if read_only.is_some() => {
                return Err(Denied::policy(at, "ro and rw exclude each other"));
            }
            "ro" | "rw" => read_only = Some(o == "ro"),
            "nocopy" | "rprivate" | "private" => {}
            _ => return Err(Denied::policy(at, format!("option {o} is refused"))),
        }
    }
    let read_only = read_only.unwrap_or(false);
    let from = if source.contains('/') {
        host_path(source, read_only, policy, w, at)?
    } else {
        volume_name(source, w, side, at)?
    };
    Ok(format!("{from}:{target}:{}", if options.is_empty() { "rw" } else { options }))
}

fn one_mount(
    m: &Map<String, Value>,
    policy: &Policy,
    w: &dyn World,
    side: &mut Side,
) -> Result<Value, Denied> {
    let at = "HostConfig.Mounts";
    let rules = [
        ("Type", Rule::Str),
        ("Source", Rule::Str),
        ("Target", Rule::Str),
        ("ReadOnly", Rule::Bool),
        ("Consistency", Rule::Drop),
        ("BindOptions", Rule::Judged("")),
        ("VolumeOptions", Rule::Judged("")),
        ("TmpfsOptions", Rule::Judged("")),
        ("ImageOptions", Rule::Default("")),
        ("ClusterOptions", Rule::Default("")),
    ];
    let mut out = fields::copy(m, &rules, at)?;
    let text = |k: &str| m.get(k).and_then(Value::as_str).unwrap_or_default().to_owned();
    let options = |k: &str, rules: &[(&str, Rule)]| match m.get(k) {
        None | Some(Value::Null) => Ok(None),
        Some(v) => fields::copy(fields::object(v, at)?, rules, &format!("{at}.{k}")).map(Some),
    };
    good_target(&text("Target"), at)?;
    let kind = text("Type");
    for (key, of) in
        [("BindOptions", "bind"), ("VolumeOptions", "volume"), ("TmpfsOptions", "tmpfs")]
    {
        if kind != of && m.get(key).is_some_and(|v| !is_zero(v)) {
            return Err(Denied::policy(format!("{at}.{key}"), format!("not for type {kind:?}")));
        }
    }
    match kind.as_str() {
        "bind" => {
            let read_only = m.get("ReadOnly").and_then(Value::as_bool).unwrap_or(false);
            let o = options(
                "BindOptions",
                &[
                    ("Propagation", Rule::Default("rprivate")),
                    ("NonRecursive", Rule::Bool),
                    ("CreateMountpoint", Rule::Default("")),
                    ("ReadOnlyNonRecursive", Rule::Default("")),
                    ("ReadOnlyForceRecursive", Rule::Bool),
                ],
            )?;
            if let Some(o) = o {
                out.insert("BindOptions".into(), o.into());
            }
            out.insert(
                "Source".into(),
                host_path(&text("Source"), read_only, policy, w, at)?.into(),
            );
        }
        "volume" => {
            let o = options(
                "VolumeOptions",
                &[
                    ("NoCopy", Rule::Bool),
                    ("Labels", Rule::StrMap),
                    ("DriverConfig", Rule::Judged("")),
                    ("Subpath", Rule::Default("")),
                ],
            )?;
            let driver =
                m.get("VolumeOptions").and_then(|o| o.get("DriverConfig")).unwrap_or(&Value::Null);
            if !driver.is_null() {
                let rules = [("Name", Rule::Default("local")), ("Options", Rule::Default(""))];
                fields::copy(
                    fields::object(driver, at)?,
                    &rules,
                    &format!("{at}.VolumeOptions.DriverConfig"),
                )?;
            }
            let mut o = o.unwrap_or_default();
            o.insert("Labels".into(), labels(o.get("Labels"), w.client(), at)?.into());
            out.insert("VolumeOptions".into(), o.into());
            if !text("Source").is_empty() {
                out.insert("Source".into(), volume_name(&text("Source"), w, side, at)?.into());
            }
        }
        "tmpfs" => {
            let o = options(
                "TmpfsOptions",
                &[
                    ("SizeBytes", Rule::Int(0, i64::MAX)),
                    ("Mode", Rule::Int(0, 0o1777)),
                    ("Options", Rule::Default("")),
                ],
            )?;
            if !text("Source").is_empty() {
                return Err(Denied::policy(at, "a tmpfs has no source"));
            }
            if let Some(o) = o {
                out.insert("TmpfsOptions".into(), o.into());
            }
        }
        other => return Err(Denied::policy(format!("{at}.Type"), format!("{other:?} is refused"))),
    }
    Ok(Value::Object(out))
}

/// The client's labels with the owner's forced.
pub fn labels(v: Option<&Value>, client: &str, at: &str) -> Result<Map<String, Value>, Denied> {
    let mut out = Map::new();
    if let Some(v) = v.filter(|v| !v.is_null()) {
        for (k, v) in fields::object(v, at)? {
            if k.to_ascii_lowercase().starts_with("chitin.gateway.") {
                return Err(Denied::policy(
                    format!("{at} {k}"),
                    "this label belongs to the gateway",
                ));
            }
            out.insert(k.clone(), string(v, at)?.into());
        }
    }
    out.insert(OWNER_LABEL.into(), json!(client));
    Ok(out)
}
