//! The request target, strictly: no normalisation is done, what would need it is refused.

use crate::Denied;

/// A parsed request target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The API version of the path prefix.
    pub version: Option<(u32, u32)>,
    /// Decoded path segments after the version.
    pub path: Vec<String>,
    /// Decoded query pairs in their order.
    pub query: Vec<(String, String)>,
}

/// The oldest API version that is served; older ones have laxer defaults.
pub const OLDEST: (u32, u32) = (1, 24);
/// The newest API version that this table knows.
pub const NEWEST: (u32, u32) = (1, 51);

impl Target {
    /// Parses the target of a request line.
    pub fn parse(raw: &str) -> Result<Self, Denied> {
        let bad = |why: &str| Denied::bad("path", why);
        if raw.len() > 128 * 1024 {
            return Err(Denied { status: 414, ..bad("too long") });
        }
        let (path, query) = raw.split_once('?').unwrap_or((raw, ""));
        let rest = path.strip_prefix('/').ok_or_else(|| bad("must begin with a slash"))?;
        let mut segments = Vec::new();
        for raw in rest.split('/') {
            let seg = decode(raw, false).map_err(bad)?;
            if seg.is_empty() || seg == "." || seg == ".." {
                return Err(bad("empty segments, '.' and '..' are refused"));
            }
            if seg.chars().any(|c| !(c.is_ascii_alphanumeric() || "-_.:@+".contains(c))) {
                return Err(bad("has a character that no endpoint uses"));
            }
            segments.push(seg);
        }
        let version = match segments.first().and_then(|s| s.strip_prefix('v')) {
            Some(v) if v.starts_with(|c: char| c.is_ascii_digit()) => {
                let v = version(v).ok_or_else(|| bad("no API version"))?;
                segments.remove(0);
                Some(v)
            }
            _ => None,
        };
        if segments.is_empty() {
            return Err(bad("names no endpoint"));
        }
        Ok(Self { version, path: segments, query: parse_query(query)? })
    }

    /// The value of a query parameter.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Whether a query parameter is true as Docker reads it.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(truthy)
    }
}

/// Docker's reading of a boolean parameter.
#[must_use]
pub fn truthy(v: &str) -> bool {
    !matches!(v.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
}

fn version(v: &str) -> Option<(u32, u32)> {
    let (major, minor) = v.split_once('.')?;
    let digits = |s: &str| !s.is_empty() && s.len() < 4 && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(major) || !digits(minor) || (minor.len() > 1 && minor.starts_with('0')) {
        return None;
    }
    let v = (major.parse().ok()?, minor.parse().ok()?);
    (OLDEST..=NEWEST).contains(&v).then_some(v)
}

/// Parses a query; `;`, NUL and broken escapes are refused.
pub fn parse_query(query: &str) -> Result<Vec<(String, String)>, Denied> {
    let mut out = Vec::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (k, v) = pair.split_once('=').unwrap_or((pair, ""));
        let k = decode(k, true).map_err(|w| Denied::bad("query", w))?;
        let v = decode(v, true).map_err(|w| Denied::bad(format!("query {k}"), w))?;
        out.push((k, v));
    }
    Ok(out)
}

fn decode(s: &str, query: bool) -> Result<String, &'static str> {
    let mut out = Vec::with_capacity(s.len());
    let mut bytes = s.bytes();
    while let Some(b) = bytes.next() {
        let decoded = match b {
            b'%' => {
                let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
                let (Some(hi), Some(lo)) = (hex(bytes.next()), hex(bytes.next())) else {
                    return Err("has a broken escape");
                };
                let c = u8::try_from(hi * 16 + lo).unwrap_or(0);
                if !query && matches!(c, b'/' | b'.' | b'%' | b'\\') {
                    return Err("has an escaped slash, dot or percent sign");
                }
                c
            }
            b'+' if query => b' ',
            b';' if query => return Err("has a semicolon"),
            b'#' | b'\\' | 0..=b' ' | 127.. => return Err("has a byte that must be escaped"),
            b => b,
        };
        if decoded == 0 {
            return Err("has a NUL");
        }
        out.push(decoded);
    }
    String::from_utf8(out).map_err(|_| "is not UTF-8")
}

/// Builds a query string from pairs.
#[must_use]
pub fn encode_query(pairs: &[(String, String)]) -> String {
    let escape = |s: &str| {
        s.bytes().fold(String::new(), |mut o, b| {
            if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
                o.push(char::from(b));
            } else {
                o.push_str(&format!("%{b:02X}"));
            }
            o
        })
    };
    pairs.iter().map(|(k, v)| format!("{}={}", escape(k), escape(v))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_every_path_trick() {
        for bad in [
            "/v1.41/../containers/json",
            "//containers/json",
            "/./info",
            "/%2e%2e/info",
            "/a%2Fb",
            "/a%252Fb",
            "/networks/",
            "/v9.99/info",
            "/v1..41/info",
            "/v1.23/info",
            "http://x/info",
            "*",
            "",
            "/",
            "/v1.41",
            "/v1.041/info",
            "/info#x",
            "/info%00",
            "/info?a;b=1",
            "/info?a=%00",
            "/info?a=%zz",
            "/in fo",
            "/containers/a\\b/json",
            "/v1.52/info",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_targets() {
        let t = Target::parse("/v1.41/images/a/b%3Ac/json?x=1+2&filters=%7B%7D").expect("fine");
        assert_eq!(t.version, Some((1, 41)));
        assert_eq!(t.path, ["images", "a", "b:c", "json"]);
        assert_eq!(t.get("x"), Some("1 2"));
        assert_eq!(encode_query(&t.query), "x=1%202&filters=%7B%7D");
        // No version, and a name that begins with v.
        assert_eq!(Target::parse("/volumes/v1").expect("fine").path, ["volumes", "v1"]);
    }
}
