//! The engine about itself: what a client may know, taken field by field; counts are its own.

use chitin_gateway_policy::target::{NEWEST, OLDEST};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::answer::{good, good_json, relay_with};
use crate::body::{empty, full, json_response};
use crate::call::{Call, Reply};
use crate::engine::Request;
use crate::fault::Fault;
use crate::names;
use crate::ops::{images, volumes};

/// Fields of `/version`.
const VERSION: [&str; 4] = ["Version", "Os", "Arch", "GoVersion"];
/// Fields of `/info` that say nothing of the host that a container could not see itself.
const INFO: [&str; 26] = [
    "Driver",
    "MemoryLimit",
    "SwapLimit",
    "KernelMemory",
    "KernelMemoryTCP",
    "CpuCfsPeriod",
    "CpuCfsQuota",
    "CPUShares",
    "CPUSet",
    "PidsLimit",
    "IPv4Forwarding",
    "BridgeNfIptables",
    "BridgeNfIp6tables",
    "OomKillDisable",
    "SystemTime",
    "CgroupVersion",
    "OSType",
    "Architecture",
    "IndexServerAddress",
    "NCPU",
    "MemTotal",
    "ServerVersion",
    "ExperimentalBuild",
    "Isolation",
    "InitBinary",
    "SecurityOptions",
];

fn api_text((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

/// `/_ping`: the API version capped, the classic builder announced.
pub async fn ping(call: Call) -> Result<Reply, Fault> {
    let answer = call.client.engine().send(Request::get(&["_ping"])).await?;
    let answer = good(&call.client, answer, None).await?;
    let head = call.endpoint.method == "HEAD";
    let mut out = relay_with(&answer, if head { empty() } else { full("OK") });
    let version = api_text(call.client.engine().api());
    let headers = out.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Ok(version) = HeaderValue::from_str(&version) {
        headers.insert(HeaderName::from_static("api-version"), version);
    }
    headers.insert(HeaderName::from_static("builder-version"), HeaderValue::from_static("1"));
    Ok(out.into())
}

/// `/version`.
pub async fn version(call: Call) -> Result<Reply, Fault> {
    let v = call.client.engine().negotiate().await?;
    let mut out: Map<String, Value> = copy(&v, &VERSION);
    let api = api_text(call.client.engine().api().min(NEWEST));
    let oldest = v.get("MinAPIVersion").and_then(Value::as_str).unwrap_or_default();
    let min = |text: &str| {
        text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)))
    };
    let oldest = api_text(min(oldest).unwrap_or(OLDEST).max(OLDEST));
    let details = json!({
        "ApiVersion": api, "MinAPIVersion": oldest, "Os": v.get("Os"), "Arch": v.get("Arch"),
        "GoVersion": v.get("GoVersion"), "Experimental": "false",
        "GitCommit": "", "BuildTime": "", "KernelVersion": "",
    });
    out.insert("Platform".into(), json!({ "Name": "Docker Engine behind chitin gateway" }));
    out.insert("ApiVersion".into(), api.into());
    out.insert("MinAPIVersion".into(), oldest.into());
    for key in ["GitCommit", "BuildTime", "KernelVersion"] {
        out.insert(key.into(), "".into());
    }
    out.insert(
        "Components".into(),
        json!([{ "Name": "Engine", "Version": v.get("Version"), "Details": details }]),
    );
    Ok(json_response(StatusCode::OK, &Value::Object(out)).into())
}

fn copy(from: &Value, keys: &[&str]) -> Map<String, Value> {
    keys.iter().filter_map(|k| Some(((*k).to_owned(), from.get(k)?.clone()))).collect()
}

/// `/info`.
pub async fn info(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let answer = client.engine().json(call.request(hyper::Method::GET, &["info"])).await?;
    let v = good_json(client, answer, None)?;
    let mut out = copy(&v, &INFO);
    let containers = own_containers(&call, false).await?;
    let state = |s: &str| {
        containers.iter().filter(|c| c.get("State").and_then(Value::as_str) == Some(s)).count()
    };
    let (running, paused) = (state("running"), state("paused"));
    out.insert("Containers".into(), containers.len().into());
    out.insert("ContainersRunning".into(), running.into());
    out.insert("ContainersPaused".into(), paused.into());
    out.insert("ContainersStopped".into(), (containers.len() - running - paused).into());
    out.insert("Images".into(), images::visible(client, &[]).await?.len().into());
    out.insert("ID".into(), client.name.clone().into());
    out.insert("Name".into(), format!("chitin-gateway-{}", client.name).into());
    out.insert("OperatingSystem".into(), "chitin gateway".into());
    out.insert("KernelVersion".into(), "".into());
    out.insert("DockerRootDir".into(), "/var/lib/docker".into());
    out.insert("LoggingDriver".into(), "json-file".into());
    out.insert("CgroupDriver".into(), v.get("CgroupDriver").cloned().unwrap_or_default());
    let runtime = client.policy().runtime.clone();
    let runtime = runtime
        .or_else(|| v.get("DefaultRuntime").and_then(Value::as_str).map(str::to_owned))
        .unwrap_or_default();
    out.insert("DefaultRuntime".into(), runtime.clone().into());
    out.insert("Runtimes".into(), json!({ runtime: { "path": "" } }));
    out.insert(
        "Plugins".into(),
        json!({ "Volume": ["local"], "Network": ["bridge", "null"], "Authorization": null,
                "Log": ["json-file", "local", "none"] }),
    );
    out.insert("Swarm".into(), json!({ "LocalNodeState": "inactive", "NodeID": "" }));
    out.insert(
        "RegistryConfig".into(),
        json!({ "InsecureRegistryCIDRs": [], "IndexConfigs": {}, "Mirrors": [] }),
    );
    // The client's budget is what it has, not the host's memory.
    let policy = client.policy();
    if let (Some(memory), Some(total)) = (policy.memory, v.get("MemTotal").and_then(Value::as_u64))
    {
        out.insert("MemTotal".into(), memory.min(total).into());
    }
    if let (Some(nano), Some(total)) = (policy.nano_cpus, v.get("NCPU").and_then(Value::as_u64)) {
        out.insert("NCPU".into(), nano.div_ceil(1_000_000_000).min(total).into());
    }
    out.insert("Warnings".into(), Value::Null);
    Ok(json_response(StatusCode::OK, &Value::Object(out)).into())
}

/// Own containers as the engine lists them, not yet renamed.
pub async fn own_containers(call: &Call, size: bool) -> Result<Vec<Value>, Fault> {
    let client = &call.client;
    let filters = crate::filters::split(client, vec![], |_, v| Ok(Some(v.to_owned())))?.engine;
    let mut request = call
        .request(hyper::Method::GET, &["containers", "json"])
        .query("all", "1")
        .query("filters", filters);
    if size {
        request = request.query("size", "1");
    }
    let v = good_json(client, client.engine().json(request).await?, None)?;
    let mut list = match v {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    let index = client.index();
    list.retain(|c| {
        let id = c.get("Id").and_then(Value::as_str).unwrap_or_default();
        index.containers.name(id).is_some()
    });
    Ok(list)
}

/// `/system/df`.
pub async fn df(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let v = client.engine().json(call.request(hyper::Method::GET, &["system", "df"])).await?;
    let mut v = good_json(client, v, None)?;
    let take = |v: &mut Value, key: &str| match v.get_mut(key).map(Value::take) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let mut images = take(&mut v, "Images");
    images.retain_mut(|i| images::show(client, i));
    let mut containers = take(&mut v, "Containers");
    containers.retain_mut(|c| {
        let id = c.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let own = client.index().containers.name(&id).is_some();
        if own {
            names::container_summary(c, client);
        }
        own
    });
    let mut volumes = take(&mut v, "Volumes");
    volumes.retain_mut(|vol| volumes::show(client, vol));
    let size: u64 = images.iter().filter_map(|i| i.get("Size").and_then(Value::as_u64)).sum();
    let out = json!({
        "LayersSize": size, "Images": images, "Containers": containers, "Volumes": volumes,
        "BuildCache": [], "BuilderSize": 0,
    });
    Ok(json_response(StatusCode::OK, &out).into())
}
