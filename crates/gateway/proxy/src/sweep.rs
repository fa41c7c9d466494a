//! Removal: everything that a client made goes, in the order in which things let go of each other, and again until
//! nothing is left. Works from the store and the labels alone, so also after a crash.

use chitin_gateway_policy::{OWNER_LABEL, name_prefix, private_repo};
use hyper::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::client::Shared;
use crate::engine::Request;
use crate::fault::Fault;
use crate::store::{Kind, Left};

/// Removals at a time.
const AT_ONCE: usize = 8;
/// How often the lists are gone through before what is left is given up.
const ROUNDS: u32 = 40;

/// What is known of a client's things.
pub struct Known {
    client: String,
    containers: BTreeSet<String>,
    volumes: BTreeSet<String>,
    built: bool,
    cgroup: Option<String>,
}

impl Known {
    /// From the store's entries.
    pub fn new(left: &Left) -> Self {
        let ids = |kind: Kind| {
            left.things.iter().filter(|(k, _)| *k == kind).map(|(_, t)| t.id.clone()).collect()
        };
        Self {
            client: left.name.clone(),
            containers: ids(Kind::Container),
            volumes: ids(Kind::Volume),
            built: left.things.iter().any(|(k, _)| *k == Kind::Build),
            cgroup: left.place.cgroup.clone(),
        }
    }

    /// From a client that is still there.
    pub fn of(client: &crate::client::Client) -> Self {
        let index = client.index();
        Self {
            client: client.name.clone(),
            containers: index.containers.iter().map(|(id, _)| id.to_owned()).collect(),
            volumes: index.volumes.iter().map(|(id, _)| id.to_owned()).collect(),
            // A build that was just cut off may leave containers for a moment.
            built: true,
            cgroup: client.policy().cgroup_parent.clone(),
        }
    }
}

fn text<'a>(v: &'a Value, key: &str) -> &'a str {
    v.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn label_filter(client: &str) -> String {
    json!({ "label": [format!("{OWNER_LABEL}={client}")] }).to_string()
}

/// Removes everything; returns what could not be removed.
pub async fn sweep(shared: &Arc<Shared>, known: &Known) -> Result<(), String> {
    let mut wait = Duration::from_millis(50);
    let mut last = String::new();
    for round in 0..ROUNDS {
        match once(shared, known).await {
            Ok(0) => return Ok(()),
            Ok(left) => last = format!("{left} things are still there"),
            Err(e) => last = e.to_string(),
        }
        if round > 0 {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }
    Err(last)
}

async fn list(shared: &Shared, request: Request, field: Option<&str>) -> Result<Vec<Value>, Fault> {
    let (status, mut v) = shared.engine.json(request).await?;
    if !status.is_success() {
        return Err(Fault::Engine(status, crate::answer::message(&v)));
    }
    let v = match field {
        Some(field) => v.get_mut(field).map(Value::take).unwrap_or_default(),
        None => v,
    };
    Ok(match v {
        Value::Array(list) => list,
        _ => Vec::new(),
    })
}

/// What it means that the engine refuses a removal because of a conflict.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Conflict {
    /// What is in the way goes as well; it is tried again.
    Again,
    /// When nothing of the client is in the way any more, somebody else's is: it stays.
    Stays,
}

/// Deletes by path segments, several at a time; returns how many have to be looked at again.
async fn delete_all(shared: &Arc<Shared>, requests: Vec<Request>, conflict: Conflict) -> usize {
    let mut n = 0;
    let room = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut tasks = tokio::task::JoinSet::new();
    for request in requests {
        let (shared, room) = (shared.clone(), room.clone());
        tasks.spawn(async move {
            let _permit = room.acquire_owned().await;
            let status = shared.engine.json(request).await.map(|(status, _)| status);
            if status.as_ref().is_ok_and(StatusCode::is_success) {
                shared.metrics.removed.fetch_add(1, Ordering::Relaxed);
            }
            !(conflict == Conflict::Stays && status.is_ok_and(|s| s == StatusCode::CONFLICT))
        });
    }
    while let Some(again) = tasks.join_next().await {
        n += usize::from(again.unwrap_or(true));
    }
    n
}

/// One round; returns how many things there were to remove.
async fn once(shared: &Arc<Shared>, known: &Known) -> Result<usize, Fault> {
    let prefix = name_prefix(&known.client);
    let filter = label_filter(&known.client);
    let request = Request::get(&["containers", "json"]).query("all", "1");
    let containers = list(shared, request.query("filters", filter.clone()), None).await?;
    let mut doomed = Vec::new();
    for c in &containers {
        let id = text(c, "Id");
        let named = c.get("Names").and_then(Value::as_array).is_some_and(|names| {
            names
                .iter()
                .filter_map(Value::as_str)
                .any(|n| n.trim_start_matches('/').starts_with(&prefix))
        });
        if named
            || known.containers.contains(id)
            || (known.built && of_build(shared, known, id).await?)
        {
            let request = Request::delete(&["containers", id]);
            doomed.push(request.query("force", "1").query("v", "1"));
        }
    }
    let mut n = delete_all(shared, doomed, Conflict::Again).await;

    let request = Request::get(&["networks"]).query("filters", filter.clone());
    let networks = list(shared, request, None).await?;
    let doomed = networks.iter().filter(|v| text(v, "Name").starts_with(&prefix));
    let doomed = doomed.map(|v| Request::delete(&["networks", text(v, "Id")]));
    n += delete_all(shared, doomed.collect(), Conflict::Again).await;

    let request = Request::get(&["volumes"]).query("filters", filter.clone());
    let volumes = list(shared, request, Some("Volumes")).await?;
    let name = |v: &Value| text(v, "Name").to_owned();
    // Labels of volumes come from requests only, never from images.
    let doomed: BTreeSet<String> = volumes.iter().map(name).collect();
    let doomed = doomed.iter().map(|v| Request::delete(&["volumes", v]));
    n += delete_all(shared, doomed.collect(), Conflict::Again).await;
    n += stray_volumes(shared, known).await?;

    n += images(shared, known).await?;
    Ok(n)
}

/// Whether a container with the client's label, but a name of the engine's, is one of a cut-off build. It may also be
/// somebody else's from an image of the client, which gave it the label: builds are below the client's control group.
async fn of_build(shared: &Shared, known: &Known, id: &str) -> Result<bool, Fault> {
    let Some(cgroup) = &known.cgroup else { return Ok(true) };
    let (status, v) = shared.engine.json(Request::get(&["containers", id, "json"])).await?;
    let parent = v.pointer("/HostConfig/CgroupParent").and_then(Value::as_str);
    Ok(status.is_success() && parent == Some(cgroup))
}

/// Volumes on record that carry no label (an engine that lost it, a race).
async fn stray_volumes(shared: &Arc<Shared>, known: &Known) -> Result<usize, Fault> {
    let prefix = name_prefix(&known.client);
    let volumes = list(shared, Request::get(&["volumes"]), Some("Volumes")).await?;
    let doomed = volumes.iter().map(|v| text(v, "Name")).filter(|name| {
        name.starts_with(&prefix) || (known.volumes.contains(*name) && name.len() == 64)
    });
    let doomed = doomed.map(|v| Request::delete(&["volumes", v])).collect();
    Ok(delete_all(shared, doomed, Conflict::Again).await)
}

async fn images(shared: &Arc<Shared>, known: &Known) -> Result<usize, Fault> {
    let repo = private_repo(&known.client);
    let all = list(shared, Request::get(&["images", "json"]), None).await?;
    let tags = all
        .iter()
        .flat_map(|i| i.get("RepoTags").and_then(Value::as_array).into_iter().flatten())
        .filter_map(Value::as_str)
        .filter(|t| t.starts_with(&repo));
    // The name goes even if somebody runs the image.
    let doomed = tags.map(|t| Request::delete(&["images", t]).query("force", "1"));
    let mut n = delete_all(shared, doomed.collect(), Conflict::Again).await;
    let filter = json!({
        "dangling": ["true"], "label": [format!("{OWNER_LABEL}={}", known.client)],
    });
    let request = Request::get(&["images", "json"]).query("filters", filter.to_string());
    let dangling = list(shared, request, None).await?;
    // What came from a registry has its label from there.
    let built = |i: &&Value| shared.origins.local(i);
    let doomed = dangling.iter().filter(built).map(|i| Request::delete(&["images", text(i, "Id")]));
    n += delete_all(shared, doomed.collect(), Conflict::Stays).await;
    Ok(n)
}
