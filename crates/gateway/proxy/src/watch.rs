//! Background work of a gateway: what vanished at the engine is forgotten, and storage is measured.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::body::Body;
use crate::client::Client;
use crate::engine::{Lines, Request};
use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::ops::images;
use crate::store::Kind;

/// How often storage is measured.
const STORAGE_CHECK: Duration = Duration::from_secs(15);

fn text<'a>(v: &'a Value, at: &str) -> &'a str {
    v.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

/// Follows the engine's events for ever.
pub async fn events(gateway: Arc<Gateway>) {
    loop {
        if let Ok(body) = open(&gateway).await {
            // What went while nobody listened is found by its absence.
            for client in gateway.clients().await {
                let _ = reconcile(&client).await;
                let again = client.clone();
                let _ = tokio::task::spawn_blocking(move || again.repin()).await;
            }
            follow(&gateway, body).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn open(gateway: &Gateway) -> Result<Body, Fault> {
    let filters = serde_json::json!({ "event": ["destroy"] }).to_string();
    let request = Request::get(&["events"]).query("filters", filters);
    Ok(gateway.shared.engine.send(request).await?.into_body())
}

async fn follow(gateway: &Gateway, mut body: Body) {
    use http_body_util::BodyExt;
    let mut lines = Lines::default();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let Ok(lines) = lines.push(&data) else { return };
        for line in lines {
            let Ok(event) = serde_json::from_slice::<Value>(&line) else { continue };
            let kind = match text(&event, "/Type") {
                "container" => Kind::Container,
                "network" => Kind::Network,
                "volume" => Kind::Volume,
                _ => continue,
            };
            let id = text(&event, "/Actor/ID");
            for client in gateway.clients().await {
                client.forget(kind, id).await;
            }
        }
    }
}

/// Forgets what the engine no longer has.
pub async fn reconcile(client: &Client) -> Result<(), Fault> {
    let known = |kind: Kind| -> Vec<String> {
        let mut index = client.index();
        let ids = index.table(kind).map(|t| t.iter().map(|(id, _)| id.to_owned()).collect());
        ids.unwrap_or_default()
    };
    for (kind, path) in
        [(Kind::Container, "containers"), (Kind::Network, "networks"), (Kind::Volume, "volumes")]
    {
        for id in known(kind) {
            let request = match kind {
                Kind::Container => Request::get(&[path, &id, "json"]),
                _ => Request::get(&[path, &id]),
            };
            let (status, _) = client.engine().json(request).await?;
            if status == hyper::StatusCode::NOT_FOUND {
                client.forget(kind, &id).await;
            }
        }
    }
    Ok(())
}

/// Measures the storage of clients that have a limit, for ever.
pub async fn storage(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(STORAGE_CHECK).await;
        let mut clients = gateway.clients().await;
        clients.retain(|c| c.limits().storage.is_some());
        if clients.is_empty() {
            continue;
        }
        let df = gateway.shared.engine.json(Request::get(&["system", "df"])).await;
        let Ok((status, df)) = df else { continue };
        if !status.is_success() {
            continue;
        }
        let root = gateway.engine_root().await;
        for client in clients {
            let Some(limit) = client.limits().storage else { continue };
            let used = used(&client, &df) + logs(&client, root.clone()).await;
            let full = used > limit;
            let before = client.full.swap(full, Ordering::Relaxed);
            if full && !before {
                eprintln!("chitin gateway: client {} uses {used} of {limit} bytes", client.name);
            }
            if full {
                // Every time: one may have been under way when the others were stopped.
                stop_containers(&client).await;
            }
        }
    }
}

/// Bytes in the logs of a client's containers, which the engine does not count.
async fn logs(client: &Client, root: Option<PathBuf>) -> u64 {
    let Some(root) = root else { return 0 };
    let dirs: Vec<PathBuf> =
        client.index().containers.iter().map(|(id, _)| root.join("containers").join(id)).collect();
    let sum = move || dirs.iter().map(|dir| files(dir)).sum();
    tokio::task::spawn_blocking(sum).await.unwrap_or(0)
}

/// Bytes of the files in a directory and in those directly below it.
fn files(dir: &Path) -> u64 {
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |e: std::fs::DirEntry| e.metadata().ok().filter(std::fs::Metadata::is_file);
    let plain = |dir: &Path| entries(dir).filter_map(size).map(|m| m.len()).sum::<u64>();
    let below = entries(dir).filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    plain(dir) + below.map(|e| plain(&e.path())).sum::<u64>()
}

/// Bytes in writable layers, volumes and own images.
fn used(client: &Client, df: &Value) -> u64 {
    let list = |key: &str| df.get(key).and_then(Value::as_array).into_iter().flatten();
    let number = |v: &Value, at: &str| {
        v.pointer(at).and_then(Value::as_i64).and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
    };
    // Looked at one by one, as each look takes the index for itself.
    let images: u64 = list("Images")
        .filter(|i| !images::own_tags(client, i).is_empty() || images::own_untagged(client, i))
        .map(|i| number(i, "/Size").saturating_sub(number(i, "/SharedSize")))
        .sum();
    let index = client.index();
    let containers = list("Containers")
        .filter(|c| index.containers.name(text(c, "/Id")).is_some())
        .map(|c| number(c, "/SizeRw"));
    let volumes = list("Volumes")
        .filter(|v| index.volumes.name(text(v, "/Name")).is_some())
        .map(|v| number(v, "/UsageData/Size"));
    containers.chain(volumes).sum::<u64>() + images
}

/// A client over its limit writes no more.
async fn stop_containers(client: &Client) {
    let ids: Vec<String> = client.index().containers.iter().map(|(id, _)| id.to_owned()).collect();
    for id in ids {
        let request = Request::post(&["containers", &id, "kill"]);
        let _ = client.engine().json(request).await;
    }
}
