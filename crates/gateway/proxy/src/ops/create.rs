//! Container create: the image and the default network are looked up, the policy rebuilds the body, volumes without
//! a label are made labelled ones, and what the engine made is on record before the client is told.

use chitin_gateway_policy::{Denied, OWNER_LABEL, create as policy, things};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::answer::good_json;
use crate::body::json_response;
use crate::call::{Call, Reply};
use crate::client::Client;
use crate::engine::Request;
use crate::fault::Fault;
use crate::ops::{images, volumes};
use crate::store::Kind;
use crate::world::Snapshot;

/// `/containers/create`.
pub async fn create(mut call: Call) -> Result<Reply, Fault> {
    let client = call.client.clone();
    call.need_room()?;
    let body = call.json().await?;
    let asked_name = match call.target.get("name").filter(|n| !n.is_empty()) {
        Some(n) => Some(things::good_name(n.strip_prefix('/').unwrap_or(n))?.to_owned()),
        None => None,
    };
    let name = asked_name.clone().unwrap_or_else(|| fresh_name(&client));
    let image = body.get("Image").and_then(Value::as_str).unwrap_or_default().to_owned();
    let found = images::resolve(&client, &image).await?;
    if uses_default_network(&body) {
        client.ensure_default_network().await?;
    }
    let judged = judge(&client, &body, &name, &image, &found).map_err(no_pull)?;
    let room = client.reserve(Kind::Container)?;
    for volume in &judged.volumes {
        volumes::ensure(&client, volume).await?;
    }
    let mut out = judged.body;
    let anonymous = label_volumes(&client, &mut out, &found.config).await?;
    let engine_name = client.engine_name(&name);
    client.intend(&engine_name).await?;
    let mut request =
        call.request(Method::POST, &["containers", "create"]).query("name", engine_name.clone());
    if let Some(platform) = call.target.get("platform") {
        request = request.query("platform", platform);
    }
    let answer = client.engine().json(request.json(&out)).await;
    let made = answer.and_then(|a| good_json(&client, a, None));
    let made = client.unless_made(&engine_name, made).await?;
    let id = made.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned();
    client.fulfil(&engine_name, Kind::Container, &id, &name).await?;
    drop(room);
    if anonymous {
        record_volumes(&client, &id).await?;
    }
    if found.public {
        client.record(Kind::Pulled, &found.reference, "").await?;
    }
    let out = json!({ "Id": id, "Warnings": made.get("Warnings").cloned().unwrap_or(json!([])) });
    Ok(json_response(StatusCode::CREATED, &out).into())
}

/// Clients take "404" here for a missing image and pull; what is missing at this point is something else.
fn no_pull(denied: Denied) -> Denied {
    if denied.status == 404 { Denied { status: 400, ..denied } } else { denied }
}

fn judge(
    client: &Arc<Client>,
    body: &Value,
    name: &str,
    asked: &str,
    found: &images::Found,
) -> Result<policy::Create, Denied> {
    let world = Snapshot::new(client).with_image(asked, &found.reference, &found.config);
    client.judged(|rules| policy::judge(body, Some(name), rules, &world).forward())
}

/// Whether the container would be on the engine's default network.
fn uses_default_network(body: &Value) -> bool {
    let mode = body.pointer("/HostConfig/NetworkMode").and_then(Value::as_str).unwrap_or_default();
    matches!(mode, "" | "default" | "bridge")
}

/// A name for a container that got none.
fn fresh_name(client: &Client) -> String {
    use std::hash::{BuildHasher, RandomState};
    const FIRST: [&str; 16] = [
        "amber", "brisk", "calm", "deft", "eager", "fleet", "grand", "hardy", "jolly", "keen",
        "lucid", "merry", "noble", "quiet", "swift", "witty",
    ];
    const SECOND: [&str; 16] = [
        "ant",
        "beetle",
        "cicada",
        "dragonfly",
        "earwig",
        "firefly",
        "gnat",
        "hornet",
        "katydid",
        "ladybird",
        "mantis",
        "moth",
        "scarab",
        "termite",
        "wasp",
        "weevil",
    ];
    loop {
        let n = RandomState::new().hash_one(client.name.as_str());
        let pick = |words: [&'static str; 16], shift: u32| {
            words.get(usize::try_from((n >> shift) & 15).unwrap_or(0)).copied().unwrap_or("ant")
        };
        let name = format!("{}_{}_{:04x}", pick(FIRST, 0), pick(SECOND, 4), (n >> 8) & 0xffff);
        if client.index().containers.id(&name).is_none() {
            return name;
        }
    }
}

fn string_set<'a>(v: Option<&'a Value>) -> impl Iterator<Item = String> + 'a {
    v.and_then(Value::as_object).into_iter().flat_map(|o| o.keys().cloned())
}

/// Gives every anonymous volume (of the request and of the image) the owner's label, by asking for it as a mount.
/// Returns whether the container will have anonymous volumes.
async fn label_volumes(client: &Client, body: &mut Value, image: &Value) -> Result<bool, Fault> {
    let mut wanted: BTreeSet<String> = string_set(body.get("Volumes")).collect();
    wanted.extend(string_set(image.get("Volumes")));
    let clean = |t: &str| format!("/{}", t.trim_matches('/'));
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut anonymous = false;
    let host = body.get("HostConfig");
    for m in host.and_then(|h| h.get("Mounts")).and_then(Value::as_array).into_iter().flatten() {
        taken.extend(m.get("Target").and_then(Value::as_str).map(clean));
        anonymous |= m.get("Type").and_then(Value::as_str) == Some("volume")
            && m.get("Source").and_then(Value::as_str).unwrap_or_default().is_empty();
    }
    for b in host.and_then(|h| h.get("Binds")).and_then(Value::as_array).into_iter().flatten() {
        taken.extend(b.as_str().and_then(|b| b.split(':').nth(1)).map(clean));
    }
    taken.extend(string_set(host.and_then(|h| h.get("Tmpfs"))).map(|t| clean(&t)));
    let from = host.and_then(|h| h.get("VolumesFrom")).and_then(Value::as_array);
    for id in from.into_iter().flatten().filter_map(Value::as_str) {
        let id = id.split(':').next().unwrap_or_default();
        let other = client.engine().json(Request::get(&["containers", id, "json"])).await?;
        let mounts = other.1.get("Mounts").and_then(Value::as_array).cloned();
        taken.extend(
            mounts
                .into_iter()
                .flatten()
                .filter_map(|m| m.get("Destination").and_then(Value::as_str).map(clean)),
        );
    }
    let mut added: Vec<Value> = Vec::new();
    for target in wanted {
        if taken.insert(clean(&target)) {
            added.push(json!({
                "Type": "volume", "Target": clean(&target),
                "VolumeOptions": { "Labels": { OWNER_LABEL: client.name } },
            }));
        }
    }
    anonymous |= !added.is_empty();
    if let Some(host) = body.get_mut("HostConfig").and_then(Value::as_object_mut) {
        let mounts = host.entry("Mounts").or_insert_with(|| json!([]));
        if let Some(list) = mounts.as_array_mut() {
            list.extend(added);
        }
    }
    Ok(anonymous)
}

/// Puts a new container's anonymous volumes on record.
async fn record_volumes(client: &Client, id: &str) -> Result<(), Fault> {
    let (_, v) = client.engine().json(Request::get(&["containers", id, "json"])).await?;
    for m in v.get("Mounts").and_then(Value::as_array).into_iter().flatten() {
        let name = m.get("Name").and_then(Value::as_str).unwrap_or_default();
        let volume = m.get("Type").and_then(Value::as_str) == Some("volume");
        let known = client.index().volumes.name(name).is_some();
        if volume && !known && !name.is_empty() {
            client.record(Kind::Volume, name, name).await?;
        }
    }
    Ok(())
}
