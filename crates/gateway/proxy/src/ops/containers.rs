//! Containers: lists, inspect, and everything that is addressed by an own container.

use chitin_gateway_policy::things;
use chitin_gateway_policy::{Denied, target};
use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::answer::{good, good_json, relay as relay_answer, relay_with};
use crate::body::{self, json_response};
use crate::call::{Call, Reply};
use crate::client::Client;
use crate::fault::Fault;
use crate::filters;
use crate::lines;
use crate::names;
use crate::ops::images;
use crate::store::Kind;

/// The engine's value of a filter of `ps`.
fn translate(client: &Client, key: &str, value: &str) -> Result<Option<String>, Denied> {
    Ok(match key {
        "network" => client.network(value).ok(),
        "volume" if !value.starts_with('/') => client.volume(value).ok(),
        "before" | "since" => Some(client.container(value)?),
        "ancestor" => Some(images::own_tag(client, value).unwrap_or_else(|| value.to_owned())),
        _ => Some(value.to_owned()),
    })
}

/// `/containers/json`.
pub async fn list(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let split = filters::split(client, call.filters()?, |k, v| translate(client, k, v))?;
    let pairs = call.target.query.iter().filter(|(k, _)| k != "filters" && k != "trunc_cmd");
    let pairs = pairs.cloned();
    let request = call
        .request(Method::GET, &["containers", "json"])
        .queries(pairs)
        .query("filters", split.engine.clone());
    let mut v = good_json(client, client.engine().json(request).await?, None)?;
    if let Some(list) = v.as_array_mut() {
        list.retain_mut(|c| {
            let id = c.get("Id").and_then(Value::as_str).unwrap_or_default();
            let name = client.index().containers.name(id).map(str::to_owned);
            let Some(name) = name.filter(|n| split.name_passes(n)) else { return false };
            names::container_summary(c, client);
            // Names through legacy links aside, there is one.
            if c.get("Names").and_then(Value::as_array).is_none_or(Vec::is_empty) {
                c["Names"] = vec![format!("/{name}")].into();
            }
            true
        });
    }
    Ok(json_response(StatusCode::OK, &v).into())
}

/// `/containers/{id}/json`.
pub async fn inspect(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let id = client.container(&call.reference)?;
    let request = call.request_with_query(Method::GET, &["containers", &id, "json"]);
    let asked = Some(("container", call.reference.as_str()));
    let mut v = good_json(client, client.engine().json(request).await?, asked)?;
    names::container(&mut v, client);
    Ok(json_response(StatusCode::OK, &v).into())
}

/// Operations without a body whose answers pass as they are (or as a stream).
pub async fn relay(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let id = client.container(&call.reference)?;
    let verb = call.endpoint.path.rsplit('/').next().unwrap_or_default();
    if matches!(verb, "start" | "restart" | "unpause") {
        call.need_room()?;
    }
    let method = Method::from_bytes(call.endpoint.method.as_bytes())
        .map_err(|e| Fault::Internal(e.to_string()))?;
    let request = call.request_with_query(method, &["containers", &id, verb]);
    let asked = Some(("container", call.reference.as_str()));
    let answer = good(client, client.engine().send(request).await?, asked).await?;
    if verb == "stats" {
        let client = client.clone();
        let (head, body) = answer.into_parts();
        let head = hyper::Response::from_parts(head, body::empty());
        let renamed = lines::map(body, move |mut v| {
            if let Some(name) = v.get("name").and_then(Value::as_str) {
                let shown = client.shown_container(name);
                v["name"] = shown.into();
            }
            Some(v)
        });
        return Ok(relay_with(&head, renamed).into());
    }
    Ok(relay_answer(answer).into())
}

/// `/containers/{id}/rename`.
pub async fn rename(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let id = client.container(&call.reference)?;
    let name = call.target.get("name").unwrap_or_default();
    let name = things::good_name(name.strip_prefix('/').unwrap_or(name))?;
    let request = call
        .request(Method::POST, &["containers", &id, "rename"])
        .query("name", client.engine_name(name));
    let asked = Some(("container", call.reference.as_str()));
    let answer = good(client, client.engine().send(request).await?, asked).await?;
    client.record(Kind::Container, &id, name).await?;
    Ok(relay_answer(answer).into())
}

/// `/containers/{id}/update`.
pub async fn update(mut call: Call) -> Result<Reply, Fault> {
    let client = call.client.clone();
    let id = client.container(&call.reference)?;
    let asked = call.json().await?;
    let body = client.judged(|rules| things::update(&asked, rules))?;
    let request = call.request(Method::POST, &["containers", &id, "update"]).json(&body);
    let asked = Some(("container", call.reference.as_str()));
    Ok(relay_answer(good(&client, client.engine().send(request).await?, asked).await?).into())
}

/// `DELETE /containers/{id}`.
pub async fn delete(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    if call.target.get("link").is_some_and(target::truthy) {
        return Err(Denied::policy("query link", "remove the container instead of its link").into());
    }
    let id = client.container(&call.reference)?;
    let request = call.request_with_query(Method::DELETE, &["containers", &id]);
    let asked = Some(("container", call.reference.as_str()));
    let answer = good(client, client.engine().send(request).await?, asked).await;
    match answer {
        Ok(answer) => {
            client.forget(Kind::Container, &id).await;
            Ok(relay_answer(answer).into())
        }
        Err(Fault::Denied(d)) if d.status == 404 => {
            client.forget(Kind::Container, &id).await;
            Err(d.into())
        }
        Err(e) => Err(e),
    }
}
