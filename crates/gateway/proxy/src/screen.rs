//! The strict reader of request heads, in front of the HTTP library: a pure function over the bytes of one head.
//!
//! A connection carries one request. What two parsers could read differently (two lengths, a length beside chunks,
//! bare line feeds, folded lines, other protocols) is refused here, before anything else looks at it.

use chitin_gateway_policy::Denied;

/// The longest head, in bytes; a `filters` parameter may be 64 KiB before it is escaped.
pub const MAX_HEAD_BYTES: usize = 256 * 1024;
/// The longest target, in bytes: the HTTP library takes no longer one.
const MAX_TARGET_BYTES: usize = 65_000;
/// The most header lines.
const MAX_HEADERS: usize = 100;

/// What the connection has to know about a request before the HTTP library reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The method.
    pub method: String,
    /// The request target as it was sent.
    pub target: String,
    /// `Content-Length`.
    pub length: Option<u64>,
    /// Whether the body comes in chunks.
    pub chunked: bool,
    /// Whether the client asked for `Upgrade: tcp`.
    pub upgrade: bool,
    /// The content type.
    pub content_type: Option<String>,
    /// How many content types were given: some clients name two for an archive, where none matters.
    pub content_types: usize,
}

impl Head {
    /// Refuses a body whose type is not clear; for endpoints whose body has one.
    pub fn one_type(&self) -> Result<(), Denied> {
        one_type(self.content_types)
    }
}

/// Refuses more than one content type.
pub fn one_type(given: usize) -> Result<(), Denied> {
    if given > 1 {
        return Err(Denied::bad("header content-type", "given more than once"));
    }
    Ok(())
}

/// Where the head ends, if it does.
#[must_use]
pub fn end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

/// Checks one complete head, including its empty line.
pub fn check(bytes: &[u8]) -> Result<Head, Denied> {
    let bad = |why: &str| Denied::bad("request head", why);
    let body = bytes.strip_suffix(b"\r\n\r\n").ok_or_else(|| bad("is not complete"))?;
    let text = std::str::from_utf8(body).map_err(|_| bad("has bytes outside ASCII"))?;
    if text.bytes().any(|b| !matches!(b, b'\t' | b'\r' | b'\n' | b' '..=b'~')) {
        return Err(bad("has a byte that does not belong in it"));
    }
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let mut head = request_line(first)?;
    let old = first.ends_with("HTTP/1.0");
    let mut seen = Seen::default();
    for (n, line) in lines.enumerate() {
        if n >= MAX_HEADERS {
            return Err(bad("has too many lines"));
        }
        if line.contains(['\r', '\n']) {
            return Err(bad("has a bare carriage return or line feed"));
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| bad("has a line without a colon"))?;
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            return Err(bad(
                "has a header name that is none (folded line, space before the colon?)",
            ));
        }
        header(&name.to_ascii_lowercase(), value.trim_matches([' ', '\t']), &mut head, &mut seen)?;
    }
    if head.length.is_some() && head.chunked {
        return Err(bad("has both a Content-Length and a Transfer-Encoding"));
    }
    if head.chunked && old {
        return Err(bad("has a Transfer-Encoding in HTTP/1.0"));
    }
    if let Some(protocol) = seen.upgrade {
        if !protocol.eq_ignore_ascii_case("tcp") {
            return Err(Denied::policy(
                format!("header Upgrade: {protocol}"),
                "only tcp is spoken here (no HTTP/2, no websockets)",
            ));
        }
        head.upgrade = seen.connection_upgrade && !old;
    }
    Ok(head)
}

#[derive(Default)]
struct Seen {
    host: bool,
    connection_upgrade: bool,
    upgrade: Option<String>,
}

fn request_line(line: &str) -> Result<Head, Denied> {
    let bad = |why: &str| Denied::bad("request line", why);
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad("must be method, target and version"));
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(Denied { status: 505, ..bad("only HTTP/1.1 is spoken here") });
    }
    if method.is_empty() || method.len() > 16 || !method.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(bad("has no method"));
    }
    // The HTTP library would cut a fragment off, and what is judged is what was sent.
    if !target.starts_with('/') || target.contains(['\t', '\r', '\n', '#']) {
        return Err(bad("the target must be a path"));
    }
    if target.len() > MAX_TARGET_BYTES {
        return Err(Denied { status: 414, ..bad("the target is too long") });
    }
    Ok(Head {
        method: method.into(),
        target: target.into(),
        length: None,
        chunked: false,
        upgrade: false,
        content_type: None,
        content_types: 0,
    })
}

/// The headers that change how the rest is read; the others are not forwarded, so they cannot matter.
fn header(name: &str, value: &str, head: &mut Head, seen: &mut Seen) -> Result<(), Denied> {
    let bad = |why: &str| Denied::bad(format!("header {name}"), why);
    match name {
        "content-length" => {
            if head.length.is_some() {
                return Err(bad("given more than once"));
            }
            if value.is_empty() || value.len() > 18 || !value.bytes().all(|b| b.is_ascii_digit()) {
                return Err(bad("must be a number"));
            }
            head.length = value.parse().ok();
        }
        "transfer-encoding" => {
            if head.chunked || !value.eq_ignore_ascii_case("chunked") {
                return Err(bad("must be chunked, once"));
            }
            head.chunked = true;
        }
        "host" if std::mem::replace(&mut seen.host, true) => {
            return Err(bad("given more than once"));
        }
        "connection" => {
            seen.connection_upgrade |=
                value.split(',').any(|v| v.trim().eq_ignore_ascii_case("upgrade"));
        }
        "upgrade" if seen.upgrade.replace(value.to_owned()).is_some() => {
            return Err(bad("given more than once"));
        }
        "http2-settings" => return Err(bad("HTTP/2 is not spoken here")),
        "expect" if !value.eq_ignore_ascii_case("100-continue") => {
            return Err(bad("only 100-continue is known"));
        }
        "content-encoding" if !value.eq_ignore_ascii_case("identity") => {
            return Err(bad("send the body as it is"));
        }
        "content-type" => {
            head.content_types += 1;
            let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            if kind.starts_with("multipart/") || kind == "application/x-www-form-urlencoded" {
                return Err(Denied { status: 415, ..bad("form bodies are refused") });
            }
            head.content_type.get_or_insert(kind);
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        for bad in [
            "GET /info HTTP/1.1\n\n",
            "GET /info HTTP/1.1\r\nA: b\nC: d\r\n\r\n",
            "GET /info HTTP/1.1\r\nA: b\rC: d\r\n\r\n",
            "GET /info HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "GET /info HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /info HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "GET /info HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
            "GET /info HTTP/1.1\r\nContent-Length:\r\n\r\n",
            "GET /info HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            "GET /info HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            "GET /info HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /info HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /info HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "GET /info HTTP/1.1\r\nA : b\r\n\r\n",
            "GET /info HTTP/1.1\r\nA\r\n\r\n",
            "GET /info HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET /info HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
            "GET /info HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            "GET /info HTTP/1.1\r\nHTTP2-Settings: x\r\n\r\n",
            "GET /info HTTP/1.1\r\nExpect: 200-ok\r\n\r\n",
            "GET /info HTTP/1.1\r\nContent-Encoding: gzip\r\n\r\n",
            "GET /info HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n",
            "GET /info HTTP/1.1\r\nContent-Type: Multipart/form-data; boundary=x\r\n\r\n",
            "GET  /info HTTP/1.1\r\n\r\n",
            "GET http://d/info HTTP/1.1\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\n\r\n",
            "get /info HTTP/1.1\r\n\r\n",
            "GET /info#x HTTP/1.1\r\n\r\n",
            "GET /info HTTP/1.2\r\n\r\n",
            "GET /info\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\n",
            "GET /\u{e4} HTTP/1.1\r\n\r\n",
            "GET /info HTTP/1.1\r\nA: \0\r\n\r\n",
        ] {
            assert!(check(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reads_heads() {
        let h = check(
            b"POST /exec/a/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
              Content-Length: 2\r\nContent-Type: application/json; charset=utf-8\r\n\r\n",
        )
        .expect("fine");
        assert!(h.upgrade && !h.chunked && h.length == Some(2));
        assert_eq!(h.content_type.as_deref(), Some("application/json"));
        assert!(h.one_type().is_ok());
        let two = b"POST /build HTTP/1.1\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\n";
        assert!(check(two).expect("for endpoints to judge").one_type().is_err());
        assert_eq!(end(b"GET / HTTP/1.1\r\n\r\nbody"), Some(18));
    }
}
