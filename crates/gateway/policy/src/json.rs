//! Strict JSON: one value, whole numbers, UTF-8 without a byte order mark, no duplicate keys (also not after case folding
//! as Go does it), bounded size and depth.

use crate::Denied;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fmt;

/// The largest JSON body.
pub const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting.
const MAX_DEPTH: usize = 32;

/// Parses one JSON value strictly.
pub fn parse(bytes: &[u8]) -> Result<Value, Denied> {
    if bytes.len() > MAX_BYTES {
        return Err(Denied { status: 413, ..Denied::bad("body", "larger than 1 MiB") });
    }
    let mut de = serde_json::Deserializer::from_slice(bytes);
    let value = Strict(0).deserialize(&mut de).map_err(|e| Denied::bad("body", e.to_string()))?;
    de.end().map_err(|_| Denied::bad("body", "data after the JSON value"))?;
    Ok(value)
}

/// Go's folding for keys: ASCII case, and the two letters that Unicode folds into ASCII.
#[must_use]
pub fn fold(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

struct Strict(usize);

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        if self.0 > MAX_DEPTH {
            return Err(D::Error::custom("nested too deeply"));
        }
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        // No field takes one, and two readers need not agree on its last digit.
        Err(E::custom(format!("{v} is not a whole number that fits")))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(v) = seq.next_element_seed(Strict(self.0 + 1))? {
            out.push(v);
        }
        Ok(Value::Array(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            // Maps whose keys are data (labels, sysctls) may differ in case only; fields may not, and a key that
            // folds to another one is refused in both, since no client needs it.
            if !seen.insert(fold(&key)) {
                return Err(A::Error::custom(format!("duplicate key {key:?}")));
            }
            out.insert(key, map.next_value_seed(Strict(self.0 + 1))?);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_go_would_forgive() {
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"A":2}"#,
            "{\"HostConfig\":{},\"Ho\u{17f}tConfig\":{}}",
            r#"{"x":{"b":1,"B":2}}"#,
            r#"{} {}"#,
            r#"{"a":1.5}"#,
            r#"{"a":109951161099511627776}"#,
            r#"{}x"#,
            "\u{feff}{}",
            "",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(&vec![b' '; MAX_BYTES + 1]).is_err());
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(parse(deep.as_bytes()).is_err());
        assert!(parse(b"\xff").is_err());
    }

    #[test]
    fn reads_ordinary_values() {
        let v = parse(br#"{"a":[1,-2,"x",null,true]}"#).expect("plain JSON");
        assert_eq!(v["a"][1], -2);
    }
}
