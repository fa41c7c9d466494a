//! Volumes: own ones only, always labelled, never with driver options.

use chitin_gateway_policy::{OWNER_LABEL, things};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::answer::{good, good_json, relay};
use crate::body::json_response;
use crate::call::{Call, Reply};
use crate::client::Client;
use crate::engine::Request;
use crate::fault::Fault;
use crate::filters;
use crate::names;
use crate::store::Kind;
use crate::world::Snapshot;

/// Renames one entry of a list, if it is the client's.
pub fn show(client: &Client, v: &mut Value) -> bool {
    let name = v.get("Name").and_then(Value::as_str).unwrap_or_default();
    let own = client.index().volumes.name(name).is_some();
    if own {
        names::volume(v, client);
    }
    own
}

/// `/volumes`.
pub async fn list(call: Call) -> Result<Reply, Fault> {
    let mut list = filters::own(&call, Kind::Volume, call.filters()?).await?;
    for v in &mut list {
        names::volume(v, &call.client);
    }
    Ok(json_response(StatusCode::OK, &json!({ "Volumes": list, "Warnings": null })).into())
}

/// `/volumes/{name}`.
pub async fn inspect(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let id = client.volume(&call.reference)?;
    let request = call.request(Method::GET, &["volumes", &id]);
    let asked = Some(("volume", call.reference.as_str()));
    let mut v = good_json(client, client.engine().json(request).await?, asked)?;
    names::volume(&mut v, client);
    Ok(json_response(StatusCode::OK, &v).into())
}

/// `/volumes/create`.
pub async fn create(mut call: Call) -> Result<Reply, Fault> {
    let client = call.client.clone();
    call.need_room()?;
    let body = call.json().await?;
    let body = if body.is_null() { json!({}) } else { body };
    let (body, name) = things::volume(&body, &Snapshot::new(&client))?;
    let mut v = make(&client, &body, name.as_deref()).await?;
    names::volume(&mut v, &client);
    Ok(json_response(StatusCode::CREATED, &v).into())
}

/// Makes the volume that the client calls `name`, labelled, unless it is there.
pub async fn ensure(client: &Client, name: &str) -> Result<(), Fault> {
    let body = json!({
        "Name": client.engine_name(name), "Driver": "local", "Labels": { OWNER_LABEL: client.name },
    });
    make(client, &body, Some(name)).await.map(|_| ())
}

async fn make(client: &Client, body: &Value, name: Option<&str>) -> Result<Value, Fault> {
    let exists = name.is_some_and(|n| client.index().volumes.id(n).is_some());
    let _room = (!exists).then(|| client.reserve(Kind::Volume)).transpose()?;
    let engine_name = name.map(|n| client.engine_name(n));
    if let Some(engine_name) = &engine_name {
        client.intend(engine_name).await?;
    }
    let made = client.engine().json(Request::post(&["volumes", "create"]).json(body)).await;
    let made = made.and_then(|a| good_json(client, a, None)).and_then(|v| owned(client, v));
    let v = match &engine_name {
        Some(intent) => client.unless_made(intent, made).await?,
        None => made?,
    };
    let id = v.get("Name").and_then(Value::as_str).unwrap_or_default().to_owned();
    match (&engine_name, name) {
        (Some(intent), Some(name)) => client.fulfil(intent, Kind::Volume, &id, name).await?,
        _ => client.record(Kind::Volume, &id, &id).await?,
    }
    Ok(v)
}

/// The engine answers with a volume that is there already as if it had made it: somebody else's is not handed out.
fn owned(client: &Client, v: Value) -> Result<Value, Fault> {
    let owner = v.get("Labels").and_then(|l| l.get(OWNER_LABEL)).and_then(Value::as_str);
    if owner == Some(client.name.as_str()) {
        return Ok(v);
    }
    let why = "a volume of this name is there already, and not the client's; choose another name";
    Err(Fault::Engine(StatusCode::CONFLICT, why.into()))
}

/// `DELETE /volumes/{name}`.
pub async fn delete(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let id = match client.volume(&call.reference) {
        Ok(id) => id,
        // As the engine: removing an absent volume by force is no error.
        Err(_) if call.target.flag("force") => {
            return Ok(crate::body::no_content(StatusCode::NO_CONTENT).into());
        }
        Err(e) => return Err(e.into()),
    };
    let request = call.request_with_query(Method::DELETE, &["volumes", &id]);
    let asked = Some(("volume", call.reference.as_str()));
    let answer = good(client, client.engine().send(request).await?, asked).await?;
    client.forget(Kind::Volume, &id).await;
    Ok(relay(answer).into())
}
