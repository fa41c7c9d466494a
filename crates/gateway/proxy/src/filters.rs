//! The `filters` of lists: translated into the engine's names, with the owner's label added. What compares names is
//! done here, since the engine's names are not the client's.

use chitin_gateway_policy::{Denied, OWNER_LABEL, things};
use regex_lite::Regex;
use serde_json::Value;

use crate::client::Client;

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

/// Splits filters. `translate` gives the engine's value for a filter's value; `None` means that nothing has it.
pub fn split(
    client: &Client,
    filters: Vec<(String, Vec<String>)>,
    translate: impl Fn(&str, &str) -> Option<String>,
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
                    .map(|v| translate(&key, v).unwrap_or_else(|| NOTHING.to_owned()))
                    .collect();
                out.push((key, told));
            }
        }
    }
    out.push(("label".into(), labels));
    Ok(Filters { engine: things::filters_json(&out), names })
}

/// Whether labels match a `label` filter's values, all of them.
pub fn labels_match(labels: Option<&Value>, wanted: &[String]) -> bool {
    wanted.iter().all(|w| {
        let (key, value) = w.split_once('=').map_or((w.as_str(), None), |(k, v)| (k, Some(v)));
        let have = labels.and_then(|l| l.get(key)).and_then(Value::as_str);
        have.is_some_and(|h| value.is_none_or(|v| v == h))
    })
}
