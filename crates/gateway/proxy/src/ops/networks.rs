//! Networks: own ones only; `bridge` is the client's own default network.

use chitin_gateway_policy::{Denied, things};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::answer::{good, good_json, relay};
use crate::body::json_response;
use crate::call::{Call, Reply};
use crate::client::DEFAULT_NETWORK;
use crate::fault::Fault;
use crate::filters::{self, Filters};
use crate::names;
use crate::store::Kind;
use crate::world::Snapshot;

/// Own networks as the engine lists them, not yet renamed, and what is left of the filters.
pub async fn own(
    call: &Call,
    given: Vec<(String, Vec<String>)>,
) -> Result<(Vec<Value>, Filters), Fault> {
    let client = &call.client;
    let split = filters::split(client, given, |_, v| Some(v.to_owned()))?;
    let request = call.request(Method::GET, &["networks"]).query("filters", split.engine.clone());
    let v = good_json(client, client.engine().json(request).await?, None)?;
    let mut list = match v {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    let index = client.index();
    list.retain(|n| {
        let id = n.get("Id").and_then(Value::as_str).unwrap_or_default();
        index.networks.name(id).is_some_and(|name| split.name_passes(name))
    });
    drop(index);
    Ok((list, split))
}

/// `/networks`.
pub async fn list(call: Call) -> Result<Reply, Fault> {
    let (mut list, _) = own(&call, call.filters()?).await?;
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
    if !client.index().networks.reserve(client.limits.networks) {
        let most = client.limits.networks;
        return Err(Fault::Budget(format!(
            "the client has {most} networks already (policy key: max_networks)"
        )));
    }
    let engine_name = client.engine_name(&name);
    let made = async {
        client.intend(&engine_name).await?;
        let request = call.request(Method::POST, &["networks", "create"]).json(&body);
        let made = client.engine().json(request).await;
        let made = made.and_then(|a| good_json(&client, a, None));
        if matches!(&made, Err(e) if !matches!(e, Fault::Unreachable(_))) {
            client.give_up(&engine_name).await;
        }
        let made = made?;
        let id = made.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned();
        client.fulfil(&engine_name, Kind::Network, &id, &name).await?;
        Ok::<_, Fault>(json!({ "Id": id, "Warning": made.get("Warning") }))
    };
    let made = made.await;
    client.index().networks.release();
    Ok(json_response(StatusCode::CREATED, &made?).into())
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
