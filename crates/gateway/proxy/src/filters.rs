//! The `filters` of lists: translated into the engine's names, with the owner's label added. What compares names is
//! done here, since the engine's names are not the client's.

use chitin_gateway_policy::{Denied, OWNER_LABEL, things};
use hyper::Method;
use regex_lite::Regex;
use serde_json::Value;

use crate::answer::good_json;
use crate::call::Call;
use crate::client::Client;
use crate::fault::Fault;
use crate::store::Kind;

/// A filter whose value no thing has.
const NOTHING: &str = "chitin.gateway.nothing";

/// Filters split between the engine and the gateway.
pub struct Filters {
    /// For the engine, as JSON.
    pub engine: String,
    /// Patterns that one of a thing's names must match.
    names: Option<Vec<Regex>>,
}

impl Filters {
    /// Whether a thing with this name passes.
    #[must_use]
    pub fn name_passes(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|all| {
            all.iter().any(|r| r.is_match(name) || r.is_match(&format!("/{name}")))
        })
    }
}

/// Splits filters. `translate` gives the engine's value for a filter's value; `None` means that nothing has it, an error
/// that the filter names something that must be there.
pub fn split(
    client: &Client,
    filters: Vec<(String, Vec<String>)>,
    translate: impl Fn(&str, &str) -> Result<Option<String>, Denied>,
) -> Result<Filters, Denied> {
    let mut names = None;
    let mut out: Vec<(String, Vec<String>)> = Vec::new();
    let owner = format!("{OWNER_LABEL}={}", client.name);
    let mut labels = vec![owner];
    for (key, values) in filters {
        match key.as_str() {
            "name" => {
                let compile = |v: &String| {
                    Regex::new(v).map_err(|_| Denied::bad("filters", format!("name {v:?}")))
                };
                names = Some(values.iter().map(compile).collect::<Result<_, _>>()?);
            }
            "label" => labels.extend(values),
            _ => {
                let told = values
                    .iter()
                    .map(|v| Ok(translate(&key, v)?.unwrap_or_else(|| NOTHING.to_owned())))
                    .collect::<Result<_, Denied>>()?;
                out.push((key, told));
            }
        }
    }
    out.push(("label".into(), labels));
    Ok(Filters { engine: things::filters_json(&out), names })
}

/// Own networks or volumes as the engine lists them, not yet renamed.
pub async fn own(
    call: &Call,
    kind: Kind,
    given: Vec<(String, Vec<String>)>,
) -> Result<Vec<Value>, Fault> {
    let client = &call.client;
    let (path, key) = if kind == Kind::Network { ("networks", "Id") } else { ("volumes", "Name") };
    let split = split(client, given, |_, v| Ok(Some(v.to_owned())))?;
    let request = call.request(Method::GET, &[path]).query("filters", split.engine.clone());
    let mut v = good_json(client, client.engine().json(request).await?, None)?;
    // Networks are a list, volumes a list in an object.
    let list = v.get_mut("Volumes").map(Value::take).unwrap_or(v);
    let Value::Array(mut list) = list else { return Ok(Vec::new()) };
    let mut index = client.index();
    let Some(table) = index.table(kind) else { return Ok(Vec::new()) };
    list.retain(|v| {
        let id = v.get(key).and_then(Value::as_str).unwrap_or_default();
        table.name(id).is_some_and(|name| split.name_passes(name))
    });
    Ok(list)
}

/// Whether labels match a `label` filter's values, all of them.
pub fn labels_match(labels: Option<&Value>, wanted: &[String]) -> bool {
    wanted.iter().all(|w| {
        let (key, value) = w.split_once('=').map_or((w.as_str(), None), |(k, v)| (k, Some(v)));
        let have = labels.and_then(|l| l.get(key)).and_then(Value::as_str);
        have.is_some_and(|h| value.is_none_or(|v| v == h))
    })
}
