//! Networks, volumes, execs, updates and tags; and everything that is addressed by a reference, with references of
//! somebody else.

use super::{Case, Refusal, spellings};

/// Target and JSON body.
#[rustfmt::skip]
const JSON: &[(&str, &str, &str)] = &[
    ("exec", "/containers/mine/exec", r#"{"Privileged":true,"Cmd":["id"]}"#),
    ("exec", "/containers/mine/exec", r#"{"privileged":true,"Cmd":["id"]}"#),
    ("exec", "/containers/mine/exec", r#"{"PRIVILEGED":true,"Cmd":["id"]}"#),
    ("exec", "/containers/mine/exec", r#"{"Privileged":false,"Privileged":true,"Cmd":["id"]}"#),
    ("exec", "/containers/mine/exec", r#"{"Privileged":1,"Cmd":["id"]}"#),
    ("exec", "/containers/mine/exec", r#"{"Cmd":[1]}"#),
    ("exec", "/containers/mine/exec", r#"{"Cmd":["id"],"Unknown":1}"#),
    ("exec", "/containers/mine/exec", r#"{"Cmd":["id"],"ConsoleSize":"x"}"#),
    ("exec", "/containers/mine/exec", "null"),
    ("exec", "/exec/FOREIGN_ID/start", "{}"),
    ("update", "/containers/mine/update", r#"{"Memory":1099511627776}"#),
    ("update", "/containers/mine/update", r#"{"Memory":-1}"#),
    ("update", "/containers/mine/update", r#"{"memory":1}"#),
    ("update", "/containers/mine/update", r#"{"MemorySwap":-1}"#),
    ("update", "/containers/mine/update", r#"{"CpuQuota":-1}"#),
    ("update", "/containers/mine/update", r#"{"CpuQuota":100000000}"#),
    ("update", "/containers/mine/update", r#"{"CpuPeriod":1000}"#),
    ("update", "/containers/mine/update", r#"{"NanoCpus":1000000000000}"#),
    ("update", "/containers/mine/update", r#"{"PidsLimit":1000000}"#),
    ("update", "/containers/mine/update", r#"{"CgroupParent":"/x"}"#),
    ("update", "/containers/mine/update", r#"{"RestartPolicy":{"Name":"always"}}"#),
    ("update", "/containers/mine/update", r#"{"RestartPolicy":{"Name":"unless-stopped"}}"#),
    ("update", "/containers/mine/update", r#"{"Devices":[{"PathOnHost":"/dev/sda"}]}"#),
    ("update", "/containers/mine/update", r#"{"CpusetMems":"0"}"#),
    ("update", "/containers/mine/update", r#"{"CpuRealtimeRuntime":1}"#),
    ("update", "/containers/mine/update", r#"{"BlkioDeviceReadBps":[{"Path":"/dev/sda","Rate":1}]}"#),
    ("update", "/containers/mine/update", r#"{"Privileged":true}"#),
    ("update", "/containers/mine/update", r#"{"X":0}"#),
    ("network", "/networks/create", r#"{"Name":"n","Driver":"macvlan"}"#),
    ("network", "/networks/create", r#"{"Name":"n","Driver":"ipvlan","Options":{"parent":"eth0"}}"#),
    ("network", "/networks/create", r#"{"Name":"n","Driver":"overlay"}"#),
    ("network", "/networks/create", r#"{"Name":"n","Driver":"host"}"#),
    ("network", "/networks/create", r#"{"Name":"n","driver":"macvlan"}"#),
    ("network", "/networks/create", r#"{"Name":"host"}"#),
    ("network", "/networks/create", r#"{"Name":"Host"}"#),
    ("network", "/networks/create", r#"{"Name":"bridge"}"#),
    ("network", "/networks/create", r#"{"Name":""}"#),
    ("network", "/networks/create", r#"{"Name":"../x"}"#),
    ("network", "/networks/create", r#"{"Name":"n","Ingress":true}"#),
    ("network", "/networks/create", r#"{"Name":"n","Scope":"swarm"}"#),
    ("network", "/networks/create", r#"{"Name":"n","ConfigOnly":true}"#),
    ("network", "/networks/create", r#"{"Name":"n","ConfigFrom":{"Network":"foreign-net"}}"#),
    ("network", "/networks/create", r#"{"Name":"n","IPAM":{"Driver":"x"}}"#),
    ("network", "/networks/create", r#"{"Name":"n","IPAM":{"Config":[{"Subnet":"0.0.0.0/0"}]}}"#),
    ("network", "/networks/create", r#"{"Name":"n","IPAM":{"Config":[{"Subnet":"169.254.169.0/24"}]}}"#),
    ("network", "/networks/create", r#"{"Name":"n","IPAM":{"Options":{"a":"b"}}}"#),
    ("network", "/networks/create", r#"{"Name":"n","Options":{"com.docker.network.bridge.name":"docker0"}}"#),
    ("network", "/networks/create", r#"{"Name":"n","Options":{"com.docker.network.bridge.host_binding_ipv4":"0.0.0.0"}}"#),
    ("network", "/networks/create", r#"{"Name":"n","Options":{"com.docker.network.bridge.gateway_mode_ipv4":"routed"}}"#),
    ("network", "/networks/create", r#"{"Name":"n","Options":{"com.docker.network.bridge.enable_ip_masquerade":"false"}}"#),
    ("network", "/networks/create", r#"{"Name":"n","Labels":{"chitin.gateway.client":"b"}}"#),
    ("network", "/networks/create", r#"{"Name":"n","Unknown":1}"#),
    ("network", "/networks/net/connect", r#"{"Container":"mine","EndpointConfig":{"DriverOpts":{"a":"b"}}}"#),
    ("network", "/networks/net/connect", r#"{"Container":"mine","EndpointConfig":{"MacAddress":"02:00:00:00:00:01"}}"#),
    ("network", "/networks/net/connect", r#"{"Container":"mine","EndpointConfig":{"Links":["foreign"]}}"#),
    ("network", "/networks/net/connect", r#"{"Container":"foreign"}"#),
    ("network", "/networks/net/connect", r#"{"Container":"FOREIGN_ID"}"#),
    ("network", "/networks/net/connect", r#"{"container":"foreign"}"#),
    ("network", "/networks/net/disconnect", r#"{"Container":"foreign","Force":true}"#),
    ("network", "/networks/foreign-net/connect", r#"{"Container":"mine"}"#),
    ("network", "/networks/FOREIGN_NET_ID/connect", r#"{"Container":"mine"}"#),
    ("network", "/networks/FOREIGN_NET_ID/disconnect", r#"{"Container":"foreign"}"#),
    ("volume", "/volumes/create", r#"{"Name":"v","Driver":"nfs"}"#),
    ("volume", "/volumes/create", r#"{"Name":"v","driver":"nfs"}"#),
    ("volume", "/volumes/create", r#"{"Name":"v","DriverOpts":{"type":"none","o":"bind","device":"/"}}"#),
    ("volume", "/volumes/create", r#"{"Name":"v","DriverOpts":{"type":"ext4","device":"/dev/sda1"}}"#),
    ("volume", "/volumes/create", r#"{"Name":"v","DriverOpts":{"type":"nfs","o":"addr=1.2.3.4","device":":/"}}"#),
    ("volume", "/volumes/create", r#"{"Name":"v","DriverOpts":{"type":"cifs","device":"//x/y"}}"#),
    ("volume", "/volumes/create", r#"{"Name":"v","DriverOpts":{"type":"overlay","o":"lowerdir=/","device":"overlay"}}"#),
    ("volume", "/volumes/create", r#"{"Name":"v","driveropts":{"device":"/"}}"#),
    ("volume", "/volumes/create", r#"{"Name":"/etc"}"#),
    ("volume", "/volumes/create", r#"{"Name":"../x"}"#),
    ("volume", "/volumes/create", r#"{"name":"v"}"#),
    ("volume", "/volumes/create", r#"{"Name":"v","Labels":{"chitin.gateway.client":"b"}}"#),
    ("volume", "/volumes/create", r#"{"Name":"v","ClusterVolumeSpec":{"Group":"x"}}"#),
    ("volume", "/volumes/create", r#"{"Name":"v","Unknown":1}"#),
];

/// What is addressed by a container, with `{}` for the reference.
#[rustfmt::skip]
const CONTAINER: &[&str] = &[
    "GET /containers/{}/json", "GET /containers/{}/top", "GET /containers/{}/logs?stdout=1", "GET /containers/{}/changes",
    "GET /containers/{}/export", "GET /containers/{}/stats?stream=0", "POST /containers/{}/resize?h=1&w=1",
    "POST /containers/{}/start", "POST /containers/{}/stop?t=0", "POST /containers/{}/restart?t=0",
    "POST /containers/{}/kill", "POST /containers/{}/pause", "POST /containers/{}/unpause", "POST /containers/{}/wait",
    "POST /containers/{}/rename?name=taken", "POST /containers/{}/attach?stream=1&stdout=1", "DELETE /containers/{}?force=1",
    "GET /containers/{}/archive?path=/etc", "HEAD /containers/{}/archive?path=/etc",
];
const NETWORK: &[&str] = &["GET /networks/{}", "DELETE /networks/{}"];
const VOLUME: &[&str] = &["GET /volumes/{}", "DELETE /volumes/{}"];
const IMAGE: &[&str] = &[
    "GET /images/{}/json",
    "GET /images/{}/history",
    "GET /images/{}/get",
    "POST /images/{}/tag?repo=x",
    "DELETE /images/{}?force=1",
];
const EXEC: &[&str] = &["GET /exec/{}/json", "POST /exec/{}/resize?h=1&w=1"];

/// Kind, its requests, somebody else's references, and one that nothing has.
#[rustfmt::skip]
const FOREIGN: &[(&str, &[&str], &[&str], &str)] = &[
    ("container", CONTAINER, &["foreign", "FOREIGN_ID", "FOREIGN_SHORT", "FOREIGN_PREFIX"], "nosuch"),
    ("network", NETWORK, &["foreign-net", "FOREIGN_NET_ID", "FOREIGN_NET_SHORT", "host", "none", "docker_gwbridge"], "nosuch"),
    ("volume", VOLUME, &["foreign-vol", "ct-b.vol"], "nosuch"),
    ("image", IMAGE, &["foreign-image:1"], "nosuch:1"),
    ("image", IMAGE, &["FOREIGN_IMAGE_ID", "FOREIGN_IMAGE_SHORT"], "nosuch"),
    ("image", IMAGE, &["sha256:FOREIGN_IMAGE_ID"], "sha256:0000000000000000000000000000000000000000000000000000000000000000"),
    ("exec", EXEC, &["FOREIGN_ID"], "0000000000000000000000000000000000000000000000000000000000000000"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut out: Vec<Case> =
        JSON.iter().map(|(subject, target, body)| Case::json(subject, target, body)).collect();
    for name in spellings("Privileged").into_iter().chain(spellings("Container")) {
        let body = format!(r#"{{"Cmd":["id"],"{name}":true}}"#);
        out.push(Case::json("exec", "/containers/mine/exec", &body));
    }
    for (kind, requests, references, absent) in FOREIGN {
        for line in *requests {
            let Some((method, target)) = line.split_once(' ') else { continue };
            for reference in *references {
                let mut case = Case::bare(kind, method, &target.replace("{}", reference));
                case.refusal = Refusal::Absent(absent);
                out.push(case);
            }
        }
    }
    out
}

/// The same request for something that does not exist.
#[must_use]
pub(super) fn absent_twin(bytes: &str, absent: &str) -> Option<(String, String)> {
    let references = FOREIGN.iter().flat_map(|(_, _, references, _)| references.iter());
    // The longest that fits: `foreign` is a part of `foreign-net`.
    let found = references.filter(|r| {
        let line = bytes.lines().next().unwrap_or_default();
        line.contains(&format!("/{r}/"))
            || line.contains(&format!("/{r}?"))
            || line.contains(&format!("/{r} "))
    });
    let found = found.max_by_key(|r| r.len())?;
    Some((bytes.replacen(&format!("/{found}"), &format!("/{absent}"), 1), (*found).to_owned()))
}
