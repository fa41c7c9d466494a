//! Prune, done by the gateway: it lists what is the client's own and unused, and removes that piece by piece.

use chitin_gateway_policy::Denied;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::body::json_response;
use crate::call::{Call, Reply};
use crate::client::DEFAULT_NETWORK;
use crate::fault::Fault;
use crate::filters;
use crate::ops::{images, system};
use crate::store::Kind;

/// The filters that a prune takes; `until` would need the engine's reading of times.
fn only_labels(call: &Call) -> Result<Vec<(String, Vec<String>)>, Denied> {
    let filters = call.filters()?;
    match filters.iter().find(|(k, _)| !matches!(k.as_str(), "label" | "all" | "dangling")) {
        Some((key, _)) => Err(Denied::policy(
            format!("filters {key}"),
            "prune through the gateway takes label filters only",
        )),
        None => Ok(filters),
    }
}

fn wanted(filters: &[(String, Vec<String>)], key: &str) -> Vec<String> {
    filters.iter().filter(|(k, _)| k == key).flat_map(|(_, v)| v.clone()).collect()
}

fn text<'a>(v: &'a Value, key: &str) -> &'a str {
    v.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// `/containers/prune`.
pub async fn containers(call: Call) -> Result<Reply, Fault> {
    let labels = wanted(&only_labels(&call)?, "label");
    let client = &call.client;
    let (mut deleted, mut reclaimed) = (Vec::new(), 0);
    for c in system::own_containers(&call, true).await? {
        let stopped = matches!(text(&c, "State"), "created" | "exited" | "dead");
        if !stopped || !filters::labels_match(c.get("Labels"), &labels) {
            continue;
        }
        let id = text(&c, "Id").to_owned();
        // One that was started meanwhile is refused by the engine, and stays.
        let request = call.request(Method::DELETE, &["containers", &id]);
        if client.engine().send(request).await?.status().is_success() {
            client.forget(Kind::Container, &id).await;
            reclaimed += c.get("SizeRw").and_then(Value::as_u64).unwrap_or(0);
            deleted.push(id);
        }
    }
    let out = json!({ "ContainersDeleted": deleted, "SpaceReclaimed": reclaimed });
    Ok(json_response(StatusCode::OK, &out).into())
}

/// `/networks/prune`.
pub async fn networks(call: Call) -> Result<Reply, Fault> {
    let labels = wanted(&only_labels(&call)?, "label");
    let client = &call.client;
    let mut deleted = Vec::new();
    let unused = vec![("dangling".to_owned(), vec!["true".to_owned()])];
    for n in filters::own(&call, Kind::Network, unused).await? {
        let id = text(&n, "Id").to_owned();
        let name = client.index().networks.name(&id).map(str::to_owned).unwrap_or_default();
        if name == DEFAULT_NETWORK || !filters::labels_match(n.get("Labels"), &labels) {
            continue;
        }
        let request = call.request(Method::DELETE, &["networks", &id]);
        if client.engine().send(request).await?.status().is_success() {
            client.forget(Kind::Network, &id).await;
            deleted.push(name);
        }
    }
    Ok(json_response(StatusCode::OK, &json!({ "NetworksDeleted": deleted })).into())
}

/// `/volumes/prune`.
pub async fn volumes(call: Call) -> Result<Reply, Fault> {
    let filters = only_labels(&call)?;
    let labels = wanted(&filters, "label");
    // Since API 1.42 named volumes stay unless all are asked for.
    let all = call.version() < (1, 42)
        || wanted(&filters, "all").iter().any(|v| chitin_gateway_policy::target::truthy(v));
    let client = &call.client;
    let mut deleted = Vec::new();
    let unused = vec![("dangling".to_owned(), vec!["true".to_owned()])];
    for v in filters::own(&call, Kind::Volume, unused).await? {
        let id = text(&v, "Name").to_owned();
        let named = id.starts_with(&client.prefix());
        if (named && !all) || !filters::labels_match(v.get("Labels"), &labels) {
            continue;
        }
        let request = call.request(Method::DELETE, &["volumes", &id]);
        if client.engine().send(request).await?.status().is_success() {
            client.forget(Kind::Volume, &id).await;
            deleted.push(client.shown(&id));
        }
    }
    let out = json!({ "VolumesDeleted": deleted, "SpaceReclaimed": 0 });
    Ok(json_response(StatusCode::OK, &out).into())
}

/// `/images/prune`: own images without a tag, and with `dangling=false` own tags as well.
pub async fn images(call: Call) -> Result<Reply, Fault> {
    let filters = only_labels(&call)?;
    let labels = wanted(&filters, "label");
    let tags_too = wanted(&filters, "dangling").iter().any(|v| matches!(v.as_str(), "false" | "0"));
    let client = &call.client;
    let mut deleted: Vec<Value> = Vec::new();
    let mut reclaimed = 0;
    for i in images::raw_own(client).await? {
        if !filters::labels_match(i.get("Labels"), &labels) {
            continue;
        }
        let own = images::own_tags(client, &i);
        let victims = match own.is_empty() {
            true => vec![text(&i, "Id").to_owned()],
            false if tags_too => own,
            false => continue,
        };
        for victim in victims {
            // One that a container uses is refused by the engine, and stays.
            let request = call.request(Method::DELETE, &["images", &victim]);
            let (status, v) = client.engine().json(request).await?;
            if status.is_success() {
                client.forget(Kind::Tag, &victim).await;
                reclaimed += i.get("Size").and_then(Value::as_u64).unwrap_or(0);
                deleted.extend(images::shown_deletions(client, v));
            }
        }
    }
    let out = json!({ "ImagesDeleted": deleted, "SpaceReclaimed": reclaimed });
    Ok(json_response(StatusCode::OK, &out).into())
}

/// `/build/prune`: the classic builder's cache is images, and other clients' cache is not for this one to remove.
pub async fn builds(_call: Call) -> Result<Reply, Fault> {
    let out = json!({ "CachesDeleted": [], "SpaceReclaimed": 0 });
    Ok(json_response(StatusCode::OK, &out).into())
}
