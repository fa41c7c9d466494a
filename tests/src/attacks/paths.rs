//! Targets: paths that a cleaning server would read as another one, endpoints that are refused, parameters that are
//! unknown, repeated or malformed.

use super::Case;

const SUBJECT: &str = "target";

/// Endpoints and parameters that must be refused whatever the body.
#[rustfmt::skip]
const BARE: &[&str] = &[
    "GET /v1.41/../info", "GET /v1.41/./info", "GET //info", "GET /v1.41//info", "GET /./info", "GET /../info",
    "GET /%2e%2e/info", "GET /%2E/info", "GET /containers%2Fjson", "GET /containers%252Fjson", "GET /info/",
    "GET /networks/", "GET /networks/FOREIGN_NET_ID/", "GET /containers/..%2f..%2finfo", "GET /v9.99/info",
    "GET /v1.52/info", "GET /v1..41/info", "GET /v1.041/info", "GET /v1/info", "GET /v1.23/info", "GET /v0.1/info",
    "GET /v2.0/info", "GET /V1.41/info", "GET /v1.41", "GET /", "GET /info%00", "GET /info%0a", "GET /info#x",
    "GET /Info", "GET /Containers/json", "GET /containers/JSON", "GET /info;x=1", "GET /info?a;b", "GET /info?a=%00",
    "GET /info?a=%zz", "GET /info?x=1", "GET /containers\\json", "GET /containers/json?all=1&all=0",
    "GET /containers/json?All=1", "GET /containers/json?all=maybe", "GET /containers/json?limit=x",
    "GET /containers/json?filters=%7B%22label%22%3A%5B%22chitin.gateway.client%3Db%22%5D%7D",
    "GET /containers/json?filters=%7B%22label%22%3A%7B%22chitin.gateway.client%3Db%22%3Atrue%7D%7D",
    "GET /containers/json?filters=%7B%22label%21%22%3A%5B%22chitin.gateway.client%3Da%22%5D%7D",
    "GET /containers/json?filters=%7B%22label%22%3A%5B%5D%2C%22Label%22%3A%5B%5D%7D",
    "GET /containers/json?filters=%5B%5D", "GET /containers/json?filters=x", "GET /events?filters=%7B%22a%22%3A1%7D",
    "HEAD /info", "HEAD /containers/json", "PUT /containers/json", "PATCH /containers/mine", "DELETE /containers",
    "GET /containers", "GET /containers/mine", "POST /containers/mine", "POST /containers/mine/json",
    "POST /containers/mine/start?checkpoint=x", "POST /containers/mine/start?checkpoint-dir=/tmp",
    "POST /containers/mine/start?checkpoint=x&checkpoint-dir=/tmp", "GET /containers/mine/checkpoints",
    "POST /containers/mine/checkpoints", "DELETE /containers/mine/checkpoints/x", "GET /containers/mine/attach/ws",
    "GET /containers/mine/top?ps_args=%24(id)", "POST /containers/mine/resize?h=-1&w=1",
    "POST /containers/mine/kill?signal=%3B", "DELETE /containers/mine?force=1&x=1", "POST /containers/mine/copy",
    "GET /exec", "POST /auth", "GET /images/search?term=x", "POST /images/load", "GET /images/get?names=foreign-image:1",
    "GET /images/get?names=busybox:test&names=foreign-image:1", "POST /images/busybox:test/push",
    "POST /images/create?fromSrc=-", "POST /images/create?fromSrc=http://169.254.169.254/&repo=x",
    "POST /images/create?fromImage=busybox&repo=x", "POST /images/create?fromImage=busybox&changes=LABEL%20a%3Db",
    "POST /images/create", "GET /distribution/busybox/json", "GET /images/busybox:test/attestations",
    "POST /commit?container=foreign", "POST /commit?container=mine&repo=alpine&tag=latest",
    "POST /build/cancel?id=x", "POST /session", "POST /grpc", "GET /session", "GET /grpc",
    "PUT /volumes/vol?version=1", "POST /networks/net", "GET /networks/net/x", "GET /volumes/vol/x",
    "GET /swarm", "POST /swarm/init", "POST /swarm/join", "POST /swarm/leave?force=1", "GET /swarm/unlockkey",
    "POST /swarm/update", "GET /nodes", "GET /nodes/x", "GET /services", "POST /services/create", "GET /tasks",
    "GET /secrets", "POST /secrets/create", "GET /configs", "POST /configs/create", "GET /plugins",
    "GET /plugins/privileges?remote=x", "POST /plugins/pull?remote=vieux/sshfs", "POST /plugins/create?name=x",
    "POST /plugins/vieux/sshfs/enable", "DELETE /plugins/x", "GET /debug/pprof/profile", "GET /debug/vars",
    "GET /debug/pprof/goroutine", "GET /metrics", "GET /libpod/info", "GET /v4.0.0/libpod/info", "POST /libpod/play/kube",
];

pub(super) fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for line in BARE {
        if let Some((method, target)) = line.split_once(' ') {
            out.push(Case::bare(SUBJECT, method, target));
        }
    }
    let filters = format!("GET /containers/json?filters={}", "%7B".repeat(70 * 1024 / 3));
    let long = format!("GET /info?a={}", "a".repeat(140 * 1024));
    for (what, line) in [("filters of 70 KiB", filters), ("a target of 140 KiB", long)] {
        out.push(Case::raw(SUBJECT, what, format!("{line} HTTP/1.1\r\nHost: d\r\n\r\n")));
    }
    out
}
