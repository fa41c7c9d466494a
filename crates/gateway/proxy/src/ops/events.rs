//! Events: the engine's stream, of which a client gets what is about its own things.
//!
//! Container events carry the owner's label and the prefixed name; those of networks and volumes carry no labels, so
//! they are known by their prefixed names and by the store.

use chitin_gateway_policy::{OWNER_LABEL, private_repo, things};
use hyper::Method;
use serde_json::Value;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::answer::{good, relay_with};
use crate::body;
use crate::call::{Call, Reply};
use crate::client::Client;
use crate::fault::Fault;
use crate::filters::labels_match;
use crate::lines;
use crate::ops::images;

/// Filters that the engine can apply; the others compare names.
const ENGINE_FILTERS: [&str; 4] = ["type", "event", "action", "scope"];

/// `/events`.
pub async fn events(call: Call) -> Result<Reply, Fault> {
    let client = call.client.clone();
    let (engine, own): (Vec<_>, Vec<_>) =
        call.filters()?.into_iter().partition(|(k, _)| ENGINE_FILTERS.contains(&k.as_str()));
    let mut request = call.request(Method::GET, &["events"]);
    for key in ["since", "until"] {
        if let Some(v) = call.target.get(key) {
            request = request.query(key, v);
        }
    }
    let request = request.query("filters", things::filters_json(&engine));
    let answer = good(&client, client.engine().send(request).await?, None).await?;
    let (head, from) = answer.into_parts();
    let head = hyper::Response::from_parts(head, body::empty());
    let mapped = lines::map(from, move |event| show(&client, event, &own));
    Ok(relay_with(&head, mapped).into())
}

fn text<'a>(v: &'a Value, at: &str) -> &'a str {
    v.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

/// The event as the client sees it, if it is about its own things and passes its filters.
fn show(
    client: &Arc<Client>,
    mut event: Value,
    filters: &[(String, Vec<String>)],
) -> Option<Value> {
    let born = client.created.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = event.get("time").and_then(Value::as_u64).filter(|t| *t >= born)?;
    let prefix = client.prefix();
    let kind = text(&event, "/Type").to_owned();
    let id = text(&event, "/Actor/ID").to_owned();
    let name = text(&event, "/Actor/Attributes/name").to_owned();
    let own = match kind.as_str() {
        "container" => {
            event.pointer("/Actor/Attributes").and_then(|a| a.get(OWNER_LABEL))
                == Some(&Value::from(client.name.as_str()))
                && name.starts_with(&prefix)
        }
        "network" => name.starts_with(&prefix),
        "volume" => client.had_volume(&id),
        "image" => {
            let pulled = text(&event, "/Action") == "pull"
                && client.was_pulling(&images::familiar(&id), time);
            name.starts_with(&private_repo(&client.name)) || pulled
        }
        _ => false,
    };
    if !own {
        return None;
    }
    if let Some(attributes) = event.pointer_mut("/Actor/Attributes").and_then(Value::as_object_mut)
    {
        attributes.remove(OWNER_LABEL);
        for (key, v) in attributes.iter_mut() {
            let shown = match (key.as_str(), v.as_str()) {
                ("name", Some(s)) if kind == "image" => client.shown_image(s),
                ("image", Some(s)) => client.shown_image(s),
                ("name", Some(s)) => client.shown(s),
                _ => continue,
            };
            *v = shown.into();
        }
    }
    if let Some(from) = event.get("from").and_then(Value::as_str).map(|f| client.shown_image(f)) {
        event["from"] = from.into();
    }
    if kind == "volume" {
        event["Actor"]["ID"] = client.shown(&id).into();
    }
    passes(&event, &kind, filters).then_some(event)
}

/// The client's filters, compared with its own names. Values of one key are alternatives, keys must all match.
fn passes(event: &Value, kind: &str, filters: &[(String, Vec<String>)]) -> bool {
    filters.iter().all(|(key, values)| {
        let attributes = event.pointer("/Actor/Attributes");
        if key == "label" {
            return labels_match(attributes, values);
        }
        let id = text(event, "/Actor/ID");
        let name = text(event, "/Actor/Attributes/name");
        let of = |attribute: &str| text(event, &format!("/Actor/Attributes/{attribute}"));
        values.iter().any(|v| match (key.as_str(), kind) {
            ("container", "container") => {
                id == v || name == v || (v.len() >= 12 && id.starts_with(v))
            }
            ("container", _) => of("container") == v,
            ("network", "network") | ("volume", "volume") => id == v || name == v,
            ("image", "container") => of("image") == v || of("image").split(':').next() == Some(v),
            ("image", "image") => name == v || name.split(':').next() == Some(v) || id == v,
            _ => false,
        })
    })
}
