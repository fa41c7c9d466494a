//! Typed copying of fields from a parsed body into a fresh one.

use crate::Denied;
use serde_json::{Map, Value};

/// What may stand in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A boolean.
    Bool,
    /// A whole number within bounds.
    Int(i64, i64),
    /// A string.
    Str,
    /// A string on one line: what ends in a file such as /etc/hosts must not begin a line of its own.
    Line,
    /// A list of strings (a single string is made one, as Go clients' older bodies do).
    List,
    /// A list of strings on one line each.
    Lines,
    /// A map from strings to strings.
    StrMap,
    /// A map from strings to empty objects.
    Set,
    /// Accepted and left out.
    Drop,
    /// Left out when it has its zero value or the given harmless one, else refused.
    Default(&'static str),
    /// Judged by a function of its own.
    Judged(&'static str),
}

impl Rule {
    /// For the documentation.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Bool => "allowed (boolean)".into(),
            Self::Int(lo, i64::MAX) => format!("allowed (number from {lo})"),
            Self::Int(lo, hi) => format!("allowed (number, {lo} to {hi})"),
            Self::Str | Self::Line => "allowed (string)".into(),
            Self::List | Self::Lines => "allowed (list of strings)".into(),
            Self::StrMap => "allowed (map of strings)".into(),
            Self::Set => "allowed (set)".into(),
            Self::Drop => "left out".into(),
            Self::Default(_) => "refused unless it has its default".into(),
            Self::Judged(what) => what.into(),
        }
    }
}

/// An absent value, or one that means the same.
pub fn is_zero(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

/// The object in `v`.
pub fn object<'a>(v: &'a Value, at: &str) -> Result<&'a Map<String, Value>, Denied> {
    v.as_object().ok_or_else(|| Denied::bad(at, "must be an object"))
}

/// Reads a list of strings.
pub fn strings(v: &Value, at: &str) -> Result<Vec<String>, Denied> {
    match v {
        Value::Null => Ok(Vec::new()),
        Value::Array(a) => a.iter().map(|s| string(s, at)).collect(),
        _ => Err(Denied::bad(at, "must be a list of strings")),
    }
}

/// Reads a string.
pub fn string(v: &Value, at: &str) -> Result<String, Denied> {
    match v {
        Value::Null => Ok(String::new()),
        Value::String(s) if s.contains('\0') => Err(Denied::bad(at, "has a NUL")),
        Value::String(s) => Ok(s.clone()),
        _ => Err(Denied::bad(at, "must be a string")),
    }
}

/// Height and width of a terminal, if they are given.
pub fn console_size(v: &Value, at: &str) -> Result<Option<Value>, Denied> {
    let small = |n: &Value| n.as_u64().is_some_and(|n| n <= 10_000);
    match v {
        Value::Null => Ok(None),
        Value::Array(a) if a.len() == 2 && a.iter().all(small) => Ok(Some(v.clone())),
        _ => Err(Denied::bad(at, "must be two small numbers")),
    }
}

/// Refuses control characters.
pub fn line(s: String, at: &str) -> Result<String, Denied> {
    if s.chars().any(char::is_control) {
        return Err(Denied::bad(at, "has a control character"));
    }
    Ok(s)
}

/// Copies every field of `from` by the rules; unknown fields are refused. Judged fields are left to the caller.
pub fn copy(
    from: &Map<String, Value>,
    rules: &[(&str, Rule)],
    at: &str,
) -> Result<Map<String, Value>, Denied> {
    let mut out = Map::new();
    for (key, v) in from {
        let place = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        let Some((_, rule)) = rules.iter().find(|(name, _)| name == key) else {
            return Err(Denied::policy(place, "unknown field (names are case-sensitive here)"));
        };
        if let Some(v) = field(v, *rule, &place)? {
            out.insert(key.clone(), v);
        }
    }
    Ok(out)
}

fn field(v: &Value, rule: Rule, at: &str) -> Result<Option<Value>, Denied> {
    let typed = |what: &str| Denied::bad(at, format!("must be {what}"));
    if v.is_null() && !matches!(rule, Rule::Judged(_)) {
        return Ok(None);
    }
    Ok(Some(match rule {
        Rule::Drop | Rule::Judged(_) => return Ok(None),
        Rule::Default(also) => {
            if is_zero(v)
                || v.as_str() == Some(also)
                || v.as_i64().is_some_and(|n| n.to_string() == also)
            {
                return Ok(None);
            }
            return Err(Denied::policy(at, "only the default is allowed"));
        }
        Rule::Bool => Value::Bool(v.as_bool().ok_or_else(|| typed("a boolean"))?),
        Rule::Int(lo, hi) => {
            let n = v.as_i64().ok_or_else(|| typed("a whole number"))?;
            if !(lo..=hi).contains(&n) {
                return Err(Denied::policy(at, format!("{n} is outside {lo} to {hi}")));
            }
            n.into()
        }
        Rule::Str => string(v, at)?.into(),
        Rule::Line => line(string(v, at)?, at)?.into(),
        Rule::Lines => {
            let lines = strings(v, at)?.into_iter().map(|s| line(s, at));
            lines.collect::<Result<Vec<_>, _>>()?.into()
        }
        Rule::List => match v {
            Value::String(_) => vec![string(v, at)?].into(),
            v => strings(v, at)?.into(),
        },
        Rule::StrMap => {
            let map = object(v, at)?;
            let copied = map.iter().map(|(k, v)| Ok((k.clone(), string(v, at)?.into())));
            Value::Object(copied.collect::<Result<_, Denied>>()?)
        }
        Rule::Set => {
            let map = object(v, at)?;
            if map.values().any(|v| !is_zero(v)) {
                return Err(typed("a set (a map to empty objects)"));
            }
            Value::Object(map.keys().map(|k| (k.clone(), Value::Object(Map::new()))).collect())
        }
    }))
}
