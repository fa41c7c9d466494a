//! The attack table: what a hostile create, exec, network, volume, update or build request may try. Every case is
//! refused, also with its field name in other letter cases.

use chitin_gateway_policy::target::Target;
use chitin_gateway_policy::{
    Policy, Verdict, Workspace, World, build, create, engine_name, json, things,
};
use serde_json::{Value, json};

struct Fake;

impl World for Fake {
    fn client(&self) -> &str {
        "a"
    }
    fn container(&self, r: &str) -> Option<String> {
        (r == "mine" || r == "c0ffee").then(|| "c0ffee".into())
    }
    fn network(&self, r: &str) -> Option<String> {
        (r == "net").then(|| "beef".into())
    }
    fn volume(&self, n: &str) -> Option<String> {
        (n == "vol").then(|| engine_name("a", n))
    }
    fn image(&self, r: &str) -> Option<String> {
        r.starts_with("busybox").then(|| r.into())
    }
    fn default_network(&self) -> Option<String> {
        Some("d00d".into())
    }
    fn bind(&self, w: &Workspace, path: &str) -> Result<String, String> {
        if path.contains("link") {
            Err("leaves the workspace".into())
        } else {
            Ok(path.replacen(&w.path, "/host/ws", 1))
        }
    }
    fn socket(&self) -> Option<String> {
        Some("/run/chitin/a.sock".into())
    }
}

fn policy() -> Policy {
    Policy {
        runtime: Some("chitin".into()),
        cgroup_parent: Some("/chitin/a".into()),
        workspaces: vec![Workspace { path: "/ws".into(), host: None, writable: true }],
        memory: Some(1 << 30),
        nano_cpus: Some(2_000_000_000),
        pids: Some(100),
        ..Policy::default()
    }
}

fn judge(text: &str) -> Result<Value, String> {
    let body = json::parse(text.as_bytes()).map_err(|d| d.to_string())?;
    match create::judge(&body, Some("web"), &policy(), &Fake) {
        Verdict::Deny(d) => Err(d.to_string()),
        v => v.forward().map(|c| c.body).map_err(|d| d.to_string()),
    }
}

/// HostConfig fragments that are refused.
const HOST: &[&str] = &[
    r#""Privileged":true"#,
    r#""CapAdd":["ALL"]"#,
    r#""CapAdd":["SYS_ADMIN"]"#,
    r#""CapAdd":["cap_sys_admin"]"#,
    r#""CapAdd":["NET_ADMIN"]"#,
    r#""Capabilities":["SYS_PTRACE"]"#,
    r#""Devices":[{"PathOnHost":"/dev/sda"}]"#,
    r#""DeviceCgroupRules":["a *:* rwm"]"#,
    r#""DeviceRequests":[{"Driver":"nvidia","Count":-1}]"#,
    r#""DeviceRequests":[{"Driver":"cdi","DeviceIDs":["x/y=z"]}]"#,
    r#""SecurityOpt":["seccomp=unconfined"]"#,
    r#""SecurityOpt":["seccomp={}"]"#,
    r#""SecurityOpt":["apparmor=unconfined"]"#,
    r#""SecurityOpt":["label=disable"]"#,
    r#""SecurityOpt":["label:disable"]"#,
    r#""SecurityOpt":["systempaths=unconfined"]"#,
    r#""SecurityOpt":["no-new-privileges:false"]"#,
    r#""SecurityOpt":["writable-cgroups=true"]"#,
    r#""MaskedPaths":[]"#,
    r#""MaskedPaths":["/x"]"#,
    r#""ReadonlyPaths":[]"#,
    r#""Runtime":"runc"#,
    r#""Runtime":"runc""#,
    r#""Runtime":"io.containerd.runc.v2""#,
    r#""OomScoreAdj":-1000"#,
    r#""OomKillDisable":true"#,
    r#""CgroupParent":"/""#,
    r#""CgroupParent":"../x""#,
    r#""CgroupParent":"system.slice""#,
    r#""CgroupnsMode":"host""#,
    r#""Cgroup":"container:mine""#,
    r#""UsernsMode":"host""#,
    r#""UTSMode":"host""#,
    r#""PidMode":"host""#,
    r#""PidMode":"container:foreign""#,
    r#""IpcMode":"host""#,
    r#""IpcMode":"container:foreign""#,
    r#""NetworkMode":"host""#,
    r#""NetworkMode":"HOST""#,
    r#""NetworkMode":"container:foreign""#,
    r#""NetworkMode":"ns:/proc/1/ns/net""#,
    r#""NetworkMode":"foreign""#,
    r#""NetworkMode":"ingress""#,
    r#""LogConfig":{"Type":"syslog","Config":{"syslog-address":"unix:///x"}}"#,
    r#""LogConfig":{"Type":"fluentd"}"#,
    r#""LogConfig":{"Type":"awslogs"}"#,
    r#""LogConfig":{"Type":"gelf"}"#,
    r#""LogConfig":{"Type":"json-file","Config":{"tag":"x"}}"#,
    r#""LogConfig":{"type":"syslog"}"#,
    r#""RestartPolicy":{"Name":"always"}"#,
    r#""RestartPolicy":{"Name":"unless-stopped"}"#,
    r#""Links":["foreign:x"]"#,
    r#""StorageOpt":{"size":"900G"}"#,
    r#""Annotations":{"cdi.k8s.io/x":"y"}"#,
    r#""CpuRealtimeRuntime":95000"#,
    r#""CpuRealtimePeriod":95000"#,
    r#""Sysctls":{"kernel.core_pattern":"|/x"}"#,
    r#""Sysctls":{"net.ipv4.ip_forward":"1"}"#,
    r#""NetworkMode":"container:mine","Sysctls":{"net.core.somaxconn":"1"}"#,
    r#""VolumeDriver":"nfs""#,
    r#""VolumesFrom":["foreign"]"#,
    r#""VolumesFrom":["c0"]"#,
    r#""VolumesFrom":["mine:z"]"#,
    r#""PortBindings":{"22/tcp":[{"HostPort":"22"}]}"#,
    r#""PublishAllPorts":true"#,
    r#""ExtraHosts":["x:host-gateway"]"#,
    r#""ExtraHosts":["x:HOST-GATEWAY"]"#,
    r#""Memory":-1"#,
    r#""Memory":2147483648"#,
    r#""Memory":"1""#,
    r#""Memory":1.5"#,
    r#""MemorySwap":-1"#,
    r#""NanoCpus":3000000000"#,
    r#""CpuQuota":300000"#,
    r#""CpuPeriod":1000,"CpuQuota":-1"#,
    r#""PidsLimit":1000"#,
    r#""KernelMemory":1"#,
    r#""BlkioWeightDevice":[{"Path":"/dev/sda","Weight":1}]"#,
    r#""BlkioDeviceReadBps":[{"Path":"/dev/sda","Rate":1}]"#,
    r#""CpusetMems":"0""#,
    r#""Ulimits":[{"Name":"rtprio","Hard":99}]"#,
    r#""Ulimits":[{"Name":"nproc","Hard":1}]"#,
    r#""Binds":["/:/h"]"#,
    r#""Binds":["//:/h"]"#,
    r#""Binds":["/ws/../:/h"]"#,
    r#""Binds":["/ws/link:/h"]"#,
    r#""Binds":["ws/x:/h"]"#,
    r#""Binds":["./x:/h"]"#,
    r#""Binds":["/proc:/h"]"#,
    r#""Binds":["/wsx:/h"]"#,
    r#""Binds":["/run/chitin:/h"]"#,
    r#""Binds":["C:\\x:/h"]"#,
    r#""Binds":["/ws:/h:ro,z"]"#,
    r#""Binds":["/ws:/h:rshared"]"#,
    r#""Binds":["/ws:/proc"]"#,
    r#""Binds":["/ws:/sys/fs"]"#,
    r#""Binds":["/ws://proc"]"#,
    r#""Binds":["/ws:/a/../proc"]"#,
    r#""Binds":["/ws:/"]"#,
    r#""Binds":["/var/lib/docker:/h"]"#,
    r#""Binds":["../:/h"]"#,
    r#""Binds":["/ws"]"#,
    r#""Binds":"/:/h""#,
    r#""Mounts":[{"Type":"bind","Source":"/","Target":"/h"}]"#,
    r#""Mounts":[{"Type":"bind","Source":"/ws","Target":"/h","BindOptions":{"Propagation":"rshared"}}]"#,
    r#""Mounts":[{"Type":"bind","Source":"/ws","Target":"/h","BindOptions":{"CreateMountpoint":true}}]"#,
    r#""Mounts":[{"Type":"npipe","Source":"x","Target":"/h"}]"#,
    r#""Mounts":[{"Type":"cluster","Source":"x","Target":"/h"}]"#,
    r#""Mounts":[{"Type":"image","Source":"x","Target":"/h"}]"#,
    r#""Mounts":[{"Type":"","Source":"/","Target":"/h"}]"#,
    r#""Mounts":[{"type":"bind","Source":"/","Target":"/h"}]"#,
    r#""Mounts":[{"Type":"volume","Target":"/h","VolumeOptions":{"DriverConfig":{"Name":"local","Options":{"o":"bind","device":"/"}}}}]"#,
    r#""Mounts":[{"Type":"volume","Target":"/h","VolumeOptions":{"DriverConfig":{"Options":{"type":"ext4","device":"/dev/sda1"}}}}]"#,
    r#""Mounts":[{"Type":"volume","Target":"/h","VolumeOptions":{"DriverConfig":{"Name":"nfs"}}}]"#,
    r#""Mounts":[{"Type":"volume","Source":"vol","Target":"/h","VolumeOptions":{"Subpath":"../x"}}]"#,
    r#""Mounts":[{"Type":"volume","Source":"/etc","Target":"/h"}]"#,
    r#""Mounts":[{"Type":"tmpfs","Source":"/","Target":"/h"}]"#,
    r#""Mounts":[{"Type":"volume","Source":"vol","Target":"/h","BindOptions":{"Propagation":"shared"}}]"#,
    r#""Mounts":[{"Type":"tmpfs","Target":"/proc"}]"#,
    r#""Mounts":[{"Type":"tmpfs","Target":"/h","TmpfsOptions":{"Options":[["exec"]]}}]"#,
    r#""Tmpfs":{"/proc":""}"#,
    r#""Tmpfs":{"/sys":""}"#,
    r#""Tmpfs":{"/t":"dev"}"#,
    r#""Tmpfs":{"/t":"suid"}"#,
    r#""Unknown":1"#,
];

#[test]
fn refuses_every_host_config_attack() {
    for case in HOST {
        let text = format!(r#"{{"Image":"busybox","HostConfig":{{{case}}}}}"#);
        assert!(judge(&text).is_err(), "accepted {case}");
    }
}

#[test]
fn refuses_every_field_in_other_letter_cases() {
    for (field, _) in chitin_gateway_policy::HOST_CONFIG {
        for name in [field.to_lowercase(), field.to_uppercase(), field.replacen('s', "\u{17f}", 1)]
        {
            if name == *field {
                continue;
            }
            let text = format!(r#"{{"Image":"busybox","HostConfig":{{"{name}":null}}}}"#);
            assert!(judge(&text).is_err(), "accepted {name}");
        }
        // Old engines take HostConfig's fields at the top level.
        assert!(
            judge(&format!(r#"{{"Image":"busybox","{field}":null}}"#)).is_err(),
            "accepted top-level {field}"
        );
    }
}

#[test]
fn refuses_top_level_attacks() {
    for text in [
        r#"{"Image":"busybox","hostconfig":{"Privileged":true}}"#,
        r#"{"Image":"busybox","HOSTCONFIG":{}}"#,
        r#"{"Image":"busybox","HostConfig":{},"HostConfig":{"Privileged":true}}"#,
        r#"{"Image":"foreign"}"#,
        r#"[]"#,
        r#"{}"#,
        r#"{"Image":"busybox","MacAddress":"02:00:00:00:00:01"}"#,
        r#"{"Image":"busybox","Labels":{"chitin.gateway.client":"b"}}"#,
        r#"{"Image":"busybox","Labels":{"Chitin.Gateway.Client":"b"}}"#,
        r#"{"Image":"busybox","ExposedPorts":{"80/tcp":{"a":1}}}"#,
        r#"{"Image":"busybox","NetworkingConfig":{"EndpointsConfig":{"foreign":{}}}}"#,
        r#"{"Image":"busybox","NetworkingConfig":{"EndpointsConfig":{"host":{}}}}"#,
        r#"{"Image":"busybox","NetworkingConfig":{"EndpointsConfig":{"net":{"DriverOpts":{"a":"b"}}}}}"#,
        r#"{"Image":"busybox","NetworkingConfig":{"EndpointsConfig":{"net":{"Links":["foreign"]}}}}"#,
        r#"{"Image":"busybox","NetworkingConfig":{"EndpointsConfig":{"net":{"MacAddress":"02:00:00:00:00:01"}}}}"#,
    ] {
        assert!(judge(text).is_err(), "accepted {text}");
    }
}

#[test]
fn forces_what_it_must() {
    let body = judge(r#"{"Image":"busybox","Cmd":"ls","HostConfig":{"Binds":["/ws/src:/src:ro","cache:/c","/var/run/docker.sock:/var/run/docker.sock"],"PidMode":"container:mine","MaskedPaths":null,"MemorySwappiness":-1,"CgroupnsMode":"private","RestartPolicy":{"Name":"no","MaximumRetryCount":0}},"NetworkingConfig":{"EndpointsConfig":{"default":{"Aliases":null}}}}"#)
        .expect("an ordinary request");
    let host = &body["HostConfig"];
    assert_eq!(host["CgroupParent"], "/chitin/a");
    assert_eq!(host["Runtime"], "chitin");
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["IpcMode"], "private");
    assert_eq!(host["CgroupnsMode"], "private");
    assert_eq!(host["PidMode"], "container:c0ffee");
    assert_eq!(host["NetworkMode"], "d00d");
    assert_eq!(host["Memory"], 1 << 30);
    assert_eq!(host["PidsLimit"], 100);
    assert_eq!(
        host["Binds"],
        json!([
            "/host/ws/src:/src:ro",
            "ct-a.cache:/c:rw",
            "/run/chitin/a.sock:/var/run/docker.sock:rw"
        ])
    );
    assert_eq!(body["Labels"]["chitin.gateway.client"], "a");
    assert_eq!(body["Cmd"], json!(["ls"]));
    assert_eq!(body["NetworkingConfig"]["EndpointsConfig"]["d00d"]["Aliases"], json!(["web"]));
}

#[test]
fn refuses_other_bodies() {
    for b in [
        json!({"Privileged": true}),
        json!({"privileged": false}),
        json!({"Cmd": [1]}),
        json!({"X": 1}),
        json!(null),
    ] {
        assert!(things::exec(&b).is_err(), "accepted {b}");
    }
    for b in [
        json!({"Name": "n", "Driver": "macvlan"}),
        json!({"Name": "host"}),
        json!({"Name": "n", "Ingress": true}),
        json!({"Name": "n", "Options": {"com.docker.network.bridge.name": "docker0"}}),
        json!({"Name": "n", "Scope": "swarm"}),
        json!({"Name": "n", "Options": {"com.docker.network.bridge.host_binding_ipv4": "0.0.0.0"}}),
        json!({"Name": "../x"}),
        json!({"Name": "n", "IPAM": {"Config": [{"Subnet": "0.0.0.0/0"}]}}),
        json!({"Name": "n", "ConfigFrom": {"Network": "x"}}),
        json!({"Name": "n", "IPAM": {"Driver": "x"}}),
        json!({"Name": "n", "Labels": {"chitin.gateway.client": "b"}}),
    ] {
        assert!(things::network(&b, &Fake).is_err(), "accepted {b}");
    }
    for b in [
        json!({"Name": "v", "Driver": "nfs"}),
        json!({"Name": "v", "DriverOpts": {"o": "bind", "device": "/"}}),
        json!({"Name": "/etc"}),
        json!({"name": "v"}),
        json!({"Name": "v", "ClusterVolumeSpec": {"Group": "x"}}),
    ] {
        assert!(things::volume(&b, &Fake).is_err(), "accepted {b}");
    }
    for b in [
        json!({"Memory": 2_147_483_648_u64}),
        json!({"CgroupParent": "/x"}),
        json!({"RestartPolicy": {"Name": "always"}}),
        json!({"Devices": [{"PathOnHost": "/dev/sda"}]}),
        json!({"X": 0}),
        json!({"PidsLimit": 1000}),
    ] {
        assert!(things::update(&b, &policy()).is_err(), "accepted {b}");
    }
    assert!(things::connect(&json!({"Container": "foreign"}), true, &Fake).is_err());
    assert!(things::filters(Some(r#"{"label":["chitin.gateway.client=b"]}"#)).is_err());
    assert!(things::filters(Some(r#"{"label":{"a":true},"Label":{}}"#)).is_err());
    assert_eq!(
        things::filters(Some(r#"{"label":{"a":true}}"#)),
        Ok(vec![("label".into(), vec!["a".into()])])
    );
}

#[test]
fn refuses_build_attacks() {
    for q in [
        "networkmode=host",
        "networkmode=container:x",
        "networkmode=foreign",
        "cgroupparent=/x",
        "version=2",
        "remote=http://169.254.169.254/",
        "remote=git://x",
        "remote=file:///etc",
        "dockerfile=../x",
        "securityopt=[\"x\"]",
        "buildargs={\"BUILDKIT_SYNTAX\":\"x\"}",
        "buildargs={\"a\":1}",
        "cachefrom=[\"foreign\"]",
        "outputs=[{}]",
        "extrahosts=x:host-gateway",
        "squash=1",
        "session=abc",
        "isolation=hyperv",
        "cpusetmems=0",
        "ulimits=[1]",
        "labels={\"chitin.gateway.client\":\"b\"}",
        "t=chitin.invalid/b/x",
        "t=a b",
        "t=a@b",
        "memory=x",
    ] {
        let raw = q.replace(['"', '{', '}', ' '], "~");
        let mut t = Target::parse(&format!("/build?{raw}")).expect("a target");
        let (k, v) = q.split_once('=').expect("a pair");
        t.query = vec![(k.into(), v.into())];
        assert!(build::judge(&t, &policy(), &Fake).is_err(), "accepted {q}");
    }
    let t = Target::parse("/build?t=alpine:latest&networkmode=default&rm=1&version=1")
        .expect("a target");
    let (q, tags) = build::judge(&t, &policy(), &Fake).expect("an ordinary build");
    assert!(q.contains(&("t".into(), "chitin.invalid/a/alpine:latest".into())), "{q:?}");
    assert!(q.contains(&("cgroupparent".into(), "/chitin/a".into())));
    assert!(q.contains(&("networkmode".into(), "d00d".into())));
    assert_eq!(tags, ["alpine:latest"]);
}
