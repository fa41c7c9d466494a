//! Nothing of the Engine API is left without a class: every documented endpoint from API 1.41 to 1.55, those that no
//! document names, and every field of HostConfig.

use chitin_gateway_policy::HOST_CONFIG;
use chitin_gateway_policy::table::{Class, ENDPOINTS, find};
use chitin_gateway_policy::target::Target;

/// The documented endpoints.
const DOCUMENTED: &str = "
    GET /_ping
    HEAD /_ping
    POST /auth
    POST /build
    POST /build/prune
    POST /commit
    GET /configs
    POST /configs/create
    DELETE /configs/{id}
    GET /configs/{id}
    POST /configs/{id}/update
    POST /containers/create
    GET /containers/json
    POST /containers/prune
    DELETE /containers/{id}
    GET /containers/{id}/archive
    HEAD /containers/{id}/archive
    PUT /containers/{id}/archive
    POST /containers/{id}/attach
    GET /containers/{id}/attach/ws
    GET /containers/{id}/changes
    POST /containers/{id}/exec
    GET /containers/{id}/export
    GET /containers/{id}/json
    POST /containers/{id}/kill
    GET /containers/{id}/logs
    POST /containers/{id}/pause
    POST /containers/{id}/rename
    POST /containers/{id}/resize
    POST /containers/{id}/restart
    POST /containers/{id}/start
    GET /containers/{id}/stats
    POST /containers/{id}/stop
    GET /containers/{id}/top
    POST /containers/{id}/unpause
    POST /containers/{id}/update
    POST /containers/{id}/wait
    GET /distribution/{name}/json
    GET /events
    GET /exec/{id}/json
    POST /exec/{id}/resize
    POST /exec/{id}/start
    POST /images/create
    GET /images/get
    GET /images/json
    POST /images/load
    POST /images/prune
    GET /images/search
    DELETE /images/{name}
    GET /images/{name}/attestations
    GET /images/{name}/get
    GET /images/{name}/history
    GET /images/{name}/json
    POST /images/{name}/push
    POST /images/{name}/tag
    GET /info
    GET /networks
    POST /networks/create
    POST /networks/prune
    DELETE /networks/{id}
    GET /networks/{id}
    POST /networks/{id}/connect
    POST /networks/{id}/disconnect
    GET /nodes
    DELETE /nodes/{id}
    GET /nodes/{id}
    POST /nodes/{id}/update
    GET /plugins
    POST /plugins/create
    GET /plugins/privileges
    POST /plugins/pull
    DELETE /plugins/{name}
    POST /plugins/{name}/disable
    POST /plugins/{name}/enable
    GET /plugins/{name}/json
    POST /plugins/{name}/push
    POST /plugins/{name}/set
    POST /plugins/{name}/upgrade
    GET /secrets
    POST /secrets/create
    DELETE /secrets/{id}
    GET /secrets/{id}
    POST /secrets/{id}/update
    GET /services
    POST /services/create
    DELETE /services/{id}
    GET /services/{id}
    GET /services/{id}/logs
    POST /services/{id}/update
    POST /session
    GET /swarm
    POST /swarm/init
    POST /swarm/join
    POST /swarm/leave
    POST /swarm/unlock
    GET /swarm/unlockkey
    POST /swarm/update
    GET /system/df
    GET /tasks
    GET /tasks/{id}
    GET /tasks/{id}/logs
    GET /version
    GET /volumes
    POST /volumes/create
    POST /volumes/prune
    DELETE /volumes/{name}
    GET /volumes/{name}
    PUT /volumes/{name}
";

/// What the engine serves without a document.
const UNDOCUMENTED: &str = "
    POST /build/cancel
    POST /grpc
    GET /containers/{id}/checkpoints
    POST /containers/{id}/checkpoints
    DELETE /containers/{id}/checkpoints/{checkpoint}
    GET /debug/pprof/profile
    GET /debug/vars
";

/// The fields of HostConfig as engines from 20.10 on read them.
const FIELDS: &str = "
    Binds ContainerIDFile LogConfig NetworkMode PortBindings RestartPolicy AutoRemove VolumeDriver VolumesFrom
    ConsoleSize Annotations CapAdd CapDrop CgroupnsMode Dns DnsOptions DnsSearch ExtraHosts GroupAdd IpcMode
    Cgroup Links OomScoreAdj PidMode Privileged PublishAllPorts ReadonlyRootfs SecurityOpt StorageOpt Tmpfs
    UTSMode UsernsMode ShmSize Sysctls Runtime Isolation CpuShares Memory NanoCpus CgroupParent BlkioWeight
    BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps
    CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems Devices DeviceCgroupRules
    DeviceRequests MemoryReservation MemorySwap MemorySwappiness OomKillDisable PidsLimit Ulimits CpuCount
    CpuPercent IOMaximumIOps IOMaximumBandwidth Mounts MaskedPaths ReadonlyPaths Init
";

/// Fields that only older engines have.
const OLD_FIELDS: [&str; 3] = ["KernelMemory", "KernelMemoryTCP", "Capabilities"];

#[test]
fn classes_every_endpoint() {
    let lines = DOCUMENTED.lines().chain(UNDOCUMENTED.lines()).map(str::trim);
    let mut count = 0;
    for line in lines.filter(|l| !l.is_empty()) {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let path = path.replace(['{', '}'], "");
        let target = Target::parse(&path).expect("a plain path");
        if let Err(denied) = find(method, &target) {
            let known = ENDPOINTS.iter().any(|e| {
                e.method == method && e.class == Class::Deny && denied.reason.contains(e.note)
            });
            assert!(known, "{line}: {denied}");
        }
        count += 1;
    }
    assert_eq!(count, 115);
}

#[test]
fn classes_every_host_config_field() {
    let mut expected: Vec<&str> = FIELDS.split_whitespace().collect();
    assert_eq!(expected.len(), 69);
    expected.extend(OLD_FIELDS);
    expected.sort_unstable();
    let mut classed: Vec<&str> = HOST_CONFIG.iter().map(|(name, _)| *name).collect();
    classed.sort_unstable();
    assert_eq!(classed, expected);
}

#[test]
fn says_what_a_refused_endpoint_is_refused_for() {
    for e in ENDPOINTS.iter().filter(|e| e.class == Class::Deny) {
        assert!(!e.note.is_empty(), "{} {}", e.method, e.path);
    }
}
