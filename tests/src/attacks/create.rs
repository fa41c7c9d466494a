//! Container create: every field that could give away the host, in every spelling.

use super::{Case, spellings};

const SUBJECT: &str = "create";
const TARGET: &str = "/v1.41/containers/create";

/// HostConfig fields with a value that must be refused.
#[rustfmt::skip]
const HOST: &[(&str, &[&str])] = &[
    ("Privileged", &["true", "1", "\"true\""]),
    ("CapAdd", &[r#"["ALL"]"#, r#"["all"]"#, r#"["SYS_ADMIN"]"#, r#"["cap_sys_admin"]"#, r#"["CAP_SYS_ADMIN"]"#, r#"["NET_ADMIN"]"#, r#"["SYS_PTRACE"]"#, r#"["\u017fys_admin"]"#, r#""ALL""#]),
    ("Capabilities", &[r#"["SYS_PTRACE"]"#]),
    ("Devices", &[r#"[{"PathOnHost":"/dev/sda","PathInContainer":"/dev/x","CgroupPermissions":"rwm"}]"#, "[null]"]),
    ("DeviceCgroupRules", &[r#"["a *:* rwm"]"#, r#"["c 1:1 r"]"#]),
    ("DeviceRequests", &[r#"[{"Driver":"nvidia","Count":-1}]"#, r#"[{"Driver":"cdi","DeviceIDs":["x/y=z"]}]"#]),
    ("SecurityOpt", &[r#"["seccomp=unconfined"]"#, r#"["seccomp={}"]"#, r#"["seccomp:unconfined"]"#, r#"["apparmor=unconfined"]"#, r#"["label=disable"]"#, r#"["label:disable"]"#, r#"["label=type:spc_t"]"#, r#"["systempaths=unconfined"]"#, r#"["no-new-privileges:false"]"#, r#"["no-new-privileges=false"]"#, r#"["writable-cgroups=true"]"#, r#"["no-new-privileges","seccomp=unconfined"]"#]),
    ("MaskedPaths", &["[]", r#"["/x"]"#, r#""""#]),
    ("ReadonlyPaths", &["[]", r#"["/x"]"#]),
    ("Runtime", &[r#""runc""#, r#""io.containerd.runc.v2""#, r#""other""#]),
    ("OomScoreAdj", &["-1000", "-1", "1001"]),
    ("OomKillDisable", &["true"]),
    ("CgroupParent", &[r#""/""#, r#""../x""#, r#""system.slice""#, r#""/docker""#, r#""/chitin-gateway""#]),
    ("CgroupnsMode", &[r#""host""#, r#""HOST""#]),
    ("Cgroup", &[r#""container:mine""#, r#""container:foreign""#]),
    ("UsernsMode", &[r#""host""#]),
    ("UTSMode", &[r#""host""#]),
    ("PidMode", &[r#""host""#, r#""HOST""#, r#""container:foreign""#, r#""container:FOREIGN_ID""#, r#""container:FOREIGN_PREFIX""#, r#""container:""#]),
    ("IpcMode", &[r#""host""#, r#""container:foreign""#, r#""container:FOREIGN_ID""#, r#""container:FOREIGN_SHORT""#]),
    ("NetworkMode", &[r#""host""#, r#""HOST""#, r#""container:foreign""#, r#""container:FOREIGN_ID""#, r#""container:FOREIGN_SHORT""#, r#""ns:/proc/1/ns/net""#, r#""foreign-net""#, r#""FOREIGN_NET_ID""#, r#""FOREIGN_NET_SHORT""#, r#""ingress""#, r#""docker_gwbridge""#]),
    ("LogConfig", &[r#"{"Type":"syslog","Config":{"syslog-address":"unix:///x"}}"#, r#"{"Type":"fluentd"}"#, r#"{"Type":"awslogs"}"#, r#"{"Type":"gelf","Config":{"gelf-address":"udp://1.2.3.4:1"}}"#, r#"{"Type":"journald"}"#, r#"{"Type":"json-file","Config":{"tag":"x"}}"#, r#"{"type":"syslog"}"#, r#"{"Type":"SYSLOG"}"#]),
    ("RestartPolicy", &[r#"{"Name":"always"}"#, r#"{"Name":"unless-stopped"}"#, r#"{"name":"always"}"#, r#"{"Name":"on-failure","MaximumRetryCount":-1}"#]),
    ("Links", &[r#"["foreign:x"]"#, r#"["FOREIGN_ID:x"]"#]),
    ("StorageOpt", &[r#"{"size":"900G"}"#]),
    ("Annotations", &[r#"{"cdi.k8s.io/x":"y"}"#, r#"{"io.x":"y"}"#]),
    ("CpuRealtimeRuntime", &["95000"]),
    ("CpuRealtimePeriod", &["95000"]),
    ("Sysctls", &[r#"{"kernel.core_pattern":"|/x"}"#, r#"{"kernel.shmmax":"1"}"#, r#"{"net.ipv4.ip_forward":"1"}"#, r#"{"net.ipv4/ip_forward":"1"}"#, r#"{"fs.mqueue.msg_max":"1"}"#]),
    ("VolumeDriver", &[r#""nfs""#, r#""vieux/sshfs""#]),
    ("VolumesFrom", &[r#"["foreign"]"#, r#"["FOREIGN_ID"]"#, r#"["FOREIGN_PREFIX:ro"]"#, r#"["mine:z"]"#]),
    ("PortBindings", &[r#"{"22/tcp":[{"HostPort":"22"}]}"#, r#"{"80/tcp":[{"HostIp":"0.0.0.0"}]}"#, r#"{"80/tcp":[{"HostIp":"::"}]}"#, r#"{"80/tcp":[{}]}"#]),
    ("PublishAllPorts", &["true"]),
    ("ExtraHosts", &[r#"["x:host-gateway"]"#, r#"["x:HOST-GATEWAY"]"#, r#"["x=host-gateway"]"#, r#"["x:1.2.3.4\n5.6.7.8 y"]"#]),
    ("Memory", &["-1", "1099511627776", "\"1\"", "1.5", "1e30"]),
    ("MemorySwap", &["-1", "1099511627776"]),
    ("NanoCpus", &["3000000000000", "-1"]),
    ("CpuQuota", &["300000000"]),
    ("PidsLimit", &["1000000", "-5"]),
    ("ShmSize", &["1099511627776", "-1"]),
    ("KernelMemory", &["1"]),
    ("KernelMemoryTCP", &["1"]),
    ("BlkioWeightDevice", &[r#"[{"Path":"/dev/sda","Weight":1}]"#]),
    ("BlkioDeviceReadBps", &[r#"[{"Path":"/dev/sda","Rate":1}]"#]),
    ("BlkioDeviceWriteBps", &[r#"[{"Path":"/dev/sda","Rate":1}]"#]),
    ("BlkioDeviceReadIOps", &[r#"[{"Path":"/dev/sda","Rate":1}]"#]),
    ("BlkioDeviceWriteIOps", &[r#"[{"Path":"/dev/sda","Rate":1}]"#]),
    ("CpusetMems", &[r#""0""#]),
    ("CpusetCpus", &[r#""0;1""#]),
    ("Ulimits", &[r#"[{"Name":"rtprio","Hard":99}]"#, r#"[{"Name":"nproc","Hard":1}]"#, r#"[{"Name":"nofile","Hard":1,"X":1}]"#]),
    ("CpuCount", &["1"]),
    ("CpuPercent", &["1"]),
    ("IOMaximumIOps", &["1"]),
    ("IOMaximumBandwidth", &["1"]),
    ("Isolation", &[r#""hyperv""#, r#""process""#]),
    ("ConsoleSize", &["[1]", "[100000,1]", "\"x\""]),
    ("Dns", &[r#"["1.1.1.1\nnameserver 127.0.0.1"]"#]),
    ("DnsOptions", &[r#"["x\nnameserver 127.0.0.1"]"#]),
    ("DnsSearch", &[r#"["x\nnameserver 127.0.0.1"]"#]),
    ("Binds", &[
        r#"["/:/h"]"#, r#"["//:/h"]"#, r#"["WORKSPACE/../:/h"]"#, r#"["WORKSPACE/..:/h"]"#, r#"["WORKSPACE/./:/h"]"#,
        r#"["WORKSPACE/link:/h"]"#, r#"["WORKSPACE/link/etc:/h"]"#, r#"["WORKSPACE/absent:/h"]"#, r#"["ws/x:/h"]"#,
        r#"["./x:/h"]"#, r#"["../:/h"]"#, r#"["/proc:/h"]"#, r#"["/proc/self/root:/h"]"#, r#"["WORKSPACEx:/h"]"#,
        r#"["/run/chitin-gateway:/h"]"#, r#"["/var/run:/h"]"#, r#"["/run:/h"]"#, r#"["/var/lib/docker:/h"]"#,
        r#"["C:\\x:/h"]"#, r#"["WORKSPACE:/h:ro,z"]"#, r#"["WORKSPACE:/h:Z"]"#, r#"["WORKSPACE:/h:rshared"]"#,
        r#"["WORKSPACE:/h:shared"]"#, r#"["WORKSPACE:/h:rslave"]"#, r#"["WORKSPACE:/h:ro,rw"]"#, r#"["WORKSPACE:/proc"]"#,
        r#"["WORKSPACE:/sys/fs"]"#, r#"["WORKSPACE://proc"]"#, r#"["WORKSPACE:/a/../proc"]"#, r#"["WORKSPACE:/"]"#,
        r#"["WORKSPACE"]"#, r#""/:/h""#, r#"["/var/run/docker.sock/:/h"]"#, r#"["/var/run/../run/docker.sock:/h"]"#,
        r#"["WORKSPACE\\..\\..:/h"]"#, r#"["ct-b.vol/:/h"]"#, r#"["vol:/h:volume-nocopy,exec"]"#, r#"["/dev:/dev"]"#,
        r#"["/sys/fs/cgroup:/c"]"#, r#"["WORKSPACE:/h\u0000"]"#, r#"["/etc/passwd:/h:ro"]"#,
    ]),
    ("Mounts", &[
        r#"[{"Type":"bind","Source":"/","Target":"/h"}]"#, r#"[{"Type":"BIND","Source":"/","Target":"/h"}]"#,
        r#"[{"Type":"bind","Source":"WORKSPACE/link","Target":"/h"}]"#,
        r#"[{"Type":"bind","Source":"WORKSPACE/../..","Target":"/h"}]"#,
        r#"[{"Type":"bind","Source":"WORKSPACE","Target":"/h","BindOptions":{"Propagation":"rshared"}}]"#,
        r#"[{"Type":"bind","Source":"WORKSPACE","Target":"/h","BindOptions":{"Propagation":"rslave"}}]"#,
        r#"[{"Type":"bind","Source":"WORKSPACE","Target":"/h","BindOptions":{"CreateMountpoint":true}}]"#,
        r#"[{"Type":"bind","Source":"WORKSPACE","Target":"/h","ReadOnly":true,"BindOptions":{"ReadOnlyNonRecursive":true}}]"#,
        r#"[{"Type":"npipe","Source":"x","Target":"/h"}]"#, r#"[{"Type":"cluster","Source":"x","Target":"/h"}]"#,
        r#"[{"Type":"image","Source":"foreign-image:1","Target":"/h"}]"#, r#"[{"Type":"","Source":"/","Target":"/h"}]"#,
        r#"[{"Source":"/","Target":"/h"}]"#, r#"[{"type":"bind","Source":"/","Target":"/h"}]"#,
        r#"[{"Type":"volume","Source":"/","Type":"bind","Target":"/h"}]"#,
        r#"[{"Type":"volume","Target":"/h","VolumeOptions":{"DriverConfig":{"Name":"local","Options":{"type":"none","o":"bind","device":"/"}}}}]"#,
        r#"[{"Type":"volume","Target":"/h","VolumeOptions":{"DriverConfig":{"Options":{"type":"ext4","device":"/dev/sda1"}}}}]"#,
        r#"[{"Type":"volume","Target":"/h","VolumeOptions":{"DriverConfig":{"Options":{"type":"nfs","o":"addr=1.2.3.4","device":":/"}}}}]"#,
        r#"[{"Type":"volume","Target":"/h","VolumeOptions":{"DriverConfig":{"Options":{"type":"overlay","o":"lowerdir=/,upperdir=/tmp,workdir=/tmp/w","device":"overlay"}}}}]"#,
        r#"[{"Type":"volume","Target":"/h","VolumeOptions":{"driverconfig":{"Options":{"device":"/"}}}}]"#,
        r#"[{"Type":"volume","Target":"/h","VolumeOptions":{"DriverConfig":{"Name":"nfs"}}}]"#,
        r#"[{"Type":"volume","Source":"vol","Target":"/h","VolumeOptions":{"Subpath":"../x"}}]"#,
        r#"[{"Type":"volume","Source":"vol","Target":"/h","VolumeOptions":{"Labels":{"chitin.gateway.client":"b"}}}]"#,
        r#"[{"Type":"volume","Source":"/etc","Target":"/h"}]"#, r#"[{"Type":"volume","Source":"../x","Target":"/h"}]"#,
        r#"[{"Type":"tmpfs","Source":"/","Target":"/h"}]"#,
        r#"[{"Type":"volume","Source":"vol","Target":"/h","BindOptions":{"Propagation":"shared"}}]"#,
        r#"[{"Type":"tmpfs","Target":"/proc"}]"#, r#"[{"Type":"tmpfs","Target":"/h","TmpfsOptions":{"Options":[["exec"]]}}]"#,
        r#"[{"Type":"volume","Source":"vol","Target":"/"}]"#, r#"[{"Type":"volume","Source":"vol","Target":"h"}]"#,
        r#"[{"Type":"volume","Source":"vol","Target":"/sys"}]"#, r#"[["bind"]]"#, r#"{"Type":"bind"}"#,
    ]),
    ("Tmpfs", &[r#"{"/proc":""}"#, r#"{"/sys":""}"#, r#"{"/t":"dev"}"#, r#"{"/t":"suid"}"#, r#"{"/t":"size=1 dev"}"#, r#"{"/":""}"#, r#"{"t":""}"#]),
    ("Unknown", &["1", "null"]),
];

/// Fields of the body beside HostConfig.
#[rustfmt::skip]
const TOP: &[&str] = &[
    r#""Image":"foreign-image:1""#, r#""Image":"FOREIGN_IMAGE_ID""#, r#""Image":"sha256:FOREIGN_IMAGE_ID""#,
    r#""Image":"FOREIGN_IMAGE_SHORT""#, r#""Image":"chitin.invalid/b/x""#, r#""Image":"""#, r#""Image":1"#,
    r#""Image":"busybox:test","image":"foreign-image:1""#,
    r#""Image":"busybox:test","MacAddress":"02:00:00:00:00:01""#,
    r#""Image":"busybox:test","Labels":{"chitin.gateway.client":"b"}"#,
    r#""Image":"busybox:test","Labels":{"Chitin.Gateway.Client":"b"}"#,
    r#""Image":"busybox:test","Labels":{"chitin.gateway.other":"b"}"#,
    r#""Image":"busybox:test","labels":{"chitin.gateway.client":"b"}"#,
    r#""Image":"busybox:test","ExposedPorts":{"80/tcp":{"a":1}}"#,
    r#""Image":"busybox:test","Volumes":{"/proc":{}}"#, r#""Image":"busybox:test","Volumes":{"/":{}}"#,
    r#""Image":"busybox:test","Volumes":{"/etc:/h":{}}"#, r#""Image":"busybox:test","OnBuild":["RUN x"]"#,
    r#""Image":"busybox:test","Hostname":"a\nb""#, r#""Image":"busybox:test","Domainname":"a\u0000b""#,
    r#""Image":"busybox:test","StopTimeout":-1"#, r#""Image":"busybox:test","Healthcheck":{"Test":["CMD","x"],"Interval":1}"#,
    r#""Image":"busybox:test","Healthcheck":{"test":["CMD","x"]}"#, r#""Image":"busybox:test","Platform":"x""#,
    r#""Image":"busybox:test","NetworkingConfig":{"EndpointsConfig":{"foreign-net":{}}}"#,
    r#""Image":"busybox:test","NetworkingConfig":{"EndpointsConfig":{"FOREIGN_NET_ID":{}}}"#,
    r#""Image":"busybox:test","NetworkingConfig":{"EndpointsConfig":{"host":{}}}"#,
    r#""Image":"busybox:test","NetworkingConfig":{"endpointsconfig":{"net":{}}}"#,
    r#""Image":"busybox:test","NetworkingConfig":{"EndpointsConfig":{"net":{"DriverOpts":{"a":"b"}}}}"#,
    r#""Image":"busybox:test","NetworkingConfig":{"EndpointsConfig":{"net":{"Links":["foreign"]}}}"#,
    r#""Image":"busybox:test","NetworkingConfig":{"EndpointsConfig":{"net":{"MacAddress":"02:00:00:00:00:01"}}}"#,
    r#""Image":"busybox:test","NetworkingConfig":{"EndpointsConfig":{"net":{"Aliases":["a\nb"]}}}"#,
    r#""Image":"busybox:test","NetworkingConfig":{"EndpointsConfig":{"net":{"IPAMConfig":{"LinkLocalIPs":["1.2.3.4"]}}}}"#,
    r#""Image":"busybox:test","HostConfig":{},"HostConfig":{"Privileged":true}"#,
    r#""Image":"busybox:test","HostConfig":{"Privileged":true},"HostConfig":{}"#,
    r#""Image":"busybox:test","HostConfig":{"Privileged":false,"Privileged":true}"#,
    r#""Image":"busybox:test","HostConfig":{"Privileged":false,"privileged":true}"#,
    r#""Image":"busybox:test","HostConfig":{},"hostconfig":{"Privileged":true}"#,
    r#""Image":"busybox:test","HostConfig":{"NetworkMode":"container:mine","Sysctls":{"net.core.somaxconn":"1"}}"#,
    r#""Image":"busybox:test","HostConfig":{"CpuPeriod":1000,"CpuQuota":-1}"#,
    r#""Image":"busybox:test","HostConfig":{"NanoCpus":1000,"CpuQuota":1000}"#,
    r#""Image":"busybox:test","HostConfig":[]"#, r#""Image":"busybox:test","HostConfig":"x""#,
];

/// Whole bodies.
const BODIES: &[(&str, &str)] = &[
    ("no object", "[]"),
    ("nothing", ""),
    ("null", "null"),
    ("an empty object", "{}"),
    (
        "two values",
        r#"{"Image":"busybox:test"}{"Image":"busybox:test","HostConfig":{"Privileged":true}}"#,
    ),
    ("rubbish at the end", r#"{"Image":"busybox:test"} x"#),
    ("a byte order mark", "\u{feff}{\"Image\":\"busybox:test\"}"),
    ("a comment", r#"{"Image":"busybox:test"/* */}"#),
    ("a lone surrogate", r#"{"Image":"busybox:test","User":"\ud800"}"#),
    ("a trailing comma", r#"{"Image":"busybox:test",}"#),
    ("single quotes", "{'Image':'busybox:test'}"),
    ("not a number", r#"{"Image":"busybox:test","HostConfig":{"Memory":NaN}}"#),
];

pub(super) fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let case = |body: &str| Case::json(SUBJECT, TARGET, body);
    for (field, values) in HOST {
        for (n, value) in values.iter().enumerate() {
            let host = |name: &str| {
                case(&format!(r#"{{"Image":"busybox:test","HostConfig":{{"{name}":{value}}}}}"#))
            };
            out.push(host(field));
            if n > 0 {
                continue;
            }
            out.extend(spellings(field).iter().map(|s| host(s)));
            // Engines up to 26 take the fields of HostConfig at the top as well.
            out.push(case(&format!(r#"{{"Image":"busybox:test","{field}":{value}}}"#)));
        }
    }
    for name in spellings("HostConfig") {
        out.push(case(&format!(r#"{{"Image":"busybox:test","{name}":{{"Privileged":true}}}}"#)));
    }
    out.extend(TOP.iter().map(|fields| case(&format!("{{{fields}}}"))));
    for (what, body) in BODIES {
        out.push(Case::with(SUBJECT, what, "POST", TARGET, "application/json", body));
    }
    let deep = format!(
        r#"{{"Image":"busybox:test","Labels":{}1{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    out.push(Case::with(SUBJECT, "10,000 levels", "POST", TARGET, "application/json", &deep));
    let long = format!(r#"{{"Image":"busybox:test"{}}}"#, " ".repeat(1 << 20));
    out.push(Case::with(SUBJECT, "1 MiB and more", "POST", TARGET, "application/json", &long));
    for version in ["/v1.24", "/v1.39", "/v1.40"] {
        // Old versions share ipc and cgroup namespaces by default; asking for it must not work either.
        for field in [r#""IpcMode":"host""#, r#""CgroupnsMode":"host""#, r#""Privileged":true"#] {
            let body = format!(r#"{{"Image":"busybox:test","HostConfig":{{{field}}}}}"#);
            out.push(Case::json(SUBJECT, &format!("{version}/containers/create"), &body));
        }
    }
    for name in ["..%2Fx", "a%20b", "-x", "a%00b", "a%0Ab", "%C3%A4"] {
        let target = format!("{TARGET}?name={name}");
        out.push(Case::json(SUBJECT, &target, r#"{"Image":"busybox:test"}"#));
    }
    let twice = format!("{TARGET}?name=a&name=b");
    out.push(Case::json(SUBJECT, &twice, r#"{"Image":"busybox:test"}"#));
    out
}
