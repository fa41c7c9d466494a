//! Attach and exec: judged as requests, then the sockets are joined.

use chitin_gateway_policy::things;
use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::answer::{good, good_json, relay};
use crate::body::json_response;
use crate::call::{Call, Reply};
use crate::engine::{Hijacked, Request};
use crate::fault::Fault;

async fn hijack(call: &Call, request: Request, asked: (&str, &str)) -> Result<Reply, Fault> {
    let client = &call.client;
    match client.engine().hijack(request).await? {
        Hijacked::Yes(end, kind) => Ok(Reply::Hijack(end, kind)),
        Hijacked::No(answer) => Ok(relay(good(client, answer, Some(asked)).await?).into()),
    }
}

/// `/containers/{id}/attach`.
pub async fn attach(call: Call) -> Result<Reply, Fault> {
    let id = call.client.container(&call.reference)?;
    let request = call.request_with_query(Method::POST, &["containers", &id, "attach"]);
    hijack(&call, request, ("container", &call.reference)).await
}

/// `/containers/{id}/exec`.
pub async fn exec_create(mut call: Call) -> Result<Reply, Fault> {
    let client = call.client.clone();
    let id = client.container(&call.reference)?;
    let body = things::exec(&call.json().await?)?;
    let request = call.request(Method::POST, &["containers", &id, "exec"]).json(&body);
    let asked = Some(("container", call.reference.as_str()));
    let v = good_json(&client, client.engine().json(request).await?, asked)?;
    let exec = v.get("Id").and_then(Value::as_str).unwrap_or_default();
    client.add_exec(exec, &id);
    Ok(json_response(StatusCode::CREATED, &v).into())
}

/// `/exec/{id}/json`.
pub async fn exec_inspect(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let id = client.exec(&call.reference)?;
    let request = call.request(Method::GET, &["exec", &id, "json"]);
    let asked = Some(("exec", call.reference.as_str()));
    let mut v = good_json(client, client.engine().json(request).await?, asked)?;
    if v.get("Pid").and_then(Value::as_u64).is_some_and(|p| p > 0) {
        v["Pid"] = 1.into();
    }
    Ok(json_response(StatusCode::OK, &v).into())
}

/// `/exec/{id}/start`.
pub async fn exec_start(mut call: Call) -> Result<Reply, Fault> {
    let client = call.client.clone();
    let id = client.exec(&call.reference)?;
    let body = call.json().await?;
    let body = if body.is_null() { serde_json::json!({}) } else { things::exec_start(&body)? };
    let detach = body.get("Detach").and_then(Value::as_bool).unwrap_or(false);
    let request = call.request(Method::POST, &["exec", &id, "start"]).json(&body);
    let asked = ("exec", call.reference.as_str());
    if detach {
        let answer = client.engine().send(request).await?;
        return Ok(relay(good(&client, answer, Some(asked)).await?).into());
    }
    hijack(&call, request, asked).await
}

/// `/exec/{id}/resize`.
pub async fn exec_resize(call: Call) -> Result<Reply, Fault> {
    let client = &call.client;
    let id = client.exec(&call.reference)?;
    let request = call.request_with_query(Method::POST, &["exec", &id, "resize"]);
    let asked = Some(("exec", call.reference.as_str()));
    Ok(relay(good(client, client.engine().send(request).await?, asked).await?).into())
}
