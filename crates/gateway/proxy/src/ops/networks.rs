//! Networks: own ones only; `bridge` is the client's own default network.

use chitin_gateway_policy::{Denied, things};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::answer::{good, good_json, relay};
use crate::body::json_response;
use crate::call::{Call, Reply};
use crate::client::DEFAULT_NETWORK;
use crate::fault::Fault;
use crate::filters;
use crate::names;
use crate::store::Kind;
use crate::world::Snapshot;

/// `/networks`.
pub async fn list(call: Call) -> Result<Reply, Fault> {
    let mut list = filters::own(&call, Kind::Network, call.filters()?).await?;
    for n in &mut list {
        names::network(n, &call.client);
    }
    Ok(json_response(StatusCode::OK, &list.into()).into())
}

/// `/networks/{id}`.
pub async fn inspect(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let id = client.network(&call.reference)?;
    let request = call.request_with_query(Method::GET, &["networks", &id]);
    let asked = Some(("network", call.reference.as_str()));
    let mut v = good_json(client, client.engine().json(request).await?, asked)?;
    names::network(&mut v, client);
    Ok(json_response(StatusCode::OK, &v).into())
}

/// `/networks/create`.
pub async fn create(mut call: Call) -> Result<Reply, Fault> {
    let client = call.client.clone();
    let (mut body, name) = things::network(&call.json().await?, &Snapshot::new(&client))?;
    // Old engines allow two networks of a name when not told otherwise.
    body["CheckDuplicate"] = true.into();
    let _room = client.reserve(Kind::Network)?;
    let engine_name = client.engine_name(&name);
    client.intend(&engine_name).await?;
    let request = call.request(Method::POST, &["networks", "create"]).json(&body);
    let made = client.engine().json(request).await;
    let made = client.unless_made(&engine_name, made.and_then(|a| good_json(&client, a, None)));
    let made = made.await?;
    let id = made.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned();
    client.fulfil(&engine_name, Kind::Network, &id, &name).await?;
    let made = json!({ "Id": id, "Warning": made.get("Warning") });
    Ok(json_response(StatusCode::CREATED, &made).into())
}

/// Connect and disconnect.
pub async fn connect(mut call: Call) -> Result<Reply, Fault> {
    let client = call.client.clone();
    let id = client.network(&call.reference)?;
    let verb = call.endpoint.path.rsplit('/').next().unwrap_or_default();
    let world = Snapshot::new(&client);
    let mut body = things::connect(&call.json().await?, verb == "connect", &world)?;
    if verb == "connect" {
        add_alias(&call, &mut body);
    }
    let request = call.request(Method::POST, &["networks", &id, verb]).json(&body);
    let asked = Some(("network", call.reference.as_str()));
    Ok(relay(good(&client, client.engine().send(request).await?, asked).await?).into())
}

/// The container's own name is what its neighbours look up.
fn add_alias(call: &Call, body: &mut Value) {
    let container = body.get("Container").and_then(Value::as_str).unwrap_or_default();
    let name = call.client.index().containers.name(container).map(str::to_owned);
    let Some(name) = name else { return };
    let aliases = &mut body["EndpointConfig"]["Aliases"];
    match aliases.as_array_mut() {
        Some(list) if list.iter().any(|a| a == name.as_str()) => {}
        Some(list) => list.push(name.into()),
        None => *aliases = json!([name]),
    }
}

/// `DELETE /networks/{id}`.
pub async fn delete(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let id = client.network(&call.reference)?;
    if client.index().networks.name(&id) == Some(DEFAULT_NETWORK) {
        let why = "bridge is a pre-defined network and cannot be removed";
        return Err(Denied::policy("network", why).into());
    }
    let request = call.request(Method::DELETE, &["networks", &id]);
    let asked = Some(("network", call.reference.as_str()));
    let answer = good(client, client.engine().send(request).await?, asked).await?;
    client.forget(Kind::Network, &id).await;
    Ok(relay(answer).into())
}
