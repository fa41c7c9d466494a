//! Properties of the policy: whatever a client asks for, what is sent to the engine is inside the allowed set
//! ([`chitin_tests::attacks::allowed`], written independently of the policy); targets that parse survive being built.

use chitin_gateway_policy::target::{Target, encode_query};
use chitin_gateway_policy::{HOST_CONFIG, Policy, Workspace, create, json, things};
use chitin_tests::attacks::{Names, judge_create, policy};
use proptest::prelude::{
    BoxedStrategy, Just, ProptestConfig, Strategy, TestCaseError, any, prop_assert, prop_assert_eq,
    prop_oneof, proptest,
};
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};
use std::cell::Cell;

/// How many inputs each property is tried with.
const CASES: u32 = 20_000;

/// Strings that mean something somewhere.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "", "host", "private", "none", "shareable", "default", "bridge", "net", "foreign", "mine", "c0ffee", "container:mine",
    "container:c0ffee", "container:foreign", "container:", "ns:/proc/1/ns/net", "/", "/ws", "/ws/a", "/ws/../etc", "/ws:/h",
    "/ws/a:/h:ro", "/ws/a:/h:rw,rprivate", "/:/h", "vol", "vol:/v", "fresh:/v:nocopy", "fresh", "/etc:/h",
    "/var/run/docker.sock:/var/run/docker.sock", "/run/chitin-gateway/a.sock:/s:ro", "/proc", "/sys/x", "//proc", "/h", "h",
    "ALL", "SYS_ADMIN", "NET_RAW", "cap_chown", "CAP_KILL", "no-new-privileges", "no-new-privileges:true",
    "no-new-privileges:false", "seccomp=unconfined", "bind", "volume", "tmpfs", "image", "npipe", "rprivate", "rshared",
    "local", "nfs", "json-file", "syslog", "no", "always", "on-failure", "unless-stopped", "busybox:test", "foreign-image:1",
    "127.0.0.1", "0.0.0.0", "80", "80/tcp", "chitin", "runc", "/chitin-attacks/a", "max-size", "max-file", "tag", "10m",
    "net.core.somaxconn", "kernel.core_pattern", "nofile", "nproc", "x:host-gateway", "x:1.2.3.4", "a\nb", "\0", "size=1",
    "dev", "exec", "mine:x", "mine:ro", "chitin.gateway.client", "Chitin.Gateway.Client", "a", "b", "hyperv",
];

/// Keys below the fields of HostConfig and of the body.
#[rustfmt::skip]
const KEYS: &[&str] = &[
    "Type", "Source", "Target", "ReadOnly", "BindOptions", "VolumeOptions", "TmpfsOptions", "Propagation", "NonRecursive",
    "Labels", "DriverConfig", "Name", "Options", "NoCopy", "Subpath", "SizeBytes", "Mode", "Config", "MaximumRetryCount",
    "Soft", "Hard", "HostIp", "HostPort", "EndpointsConfig", "Aliases", "Links", "IPAMConfig", "IPv4Address", "MacAddress",
    "Test", "Interval", "Retries", "80/tcp", "net", "bridge", "/h", "/proc", "net.core.somaxconn", "kernel.shmmax", "x",
    "chitin.gateway.client", "type", "source", "max-size",
];

/// Fields of the body beside HostConfig.
#[rustfmt::skip]
const TOP: &[&str] = &[
    "Hostname", "User", "Env", "Cmd", "Entrypoint", "ExposedPorts", "Volumes", "Labels", "Healthcheck", "NetworkingConfig",
    "StopTimeout", "Tty", "OnBuild", "MacAddress", "Shell", "WorkingDir", "NetworkDisabled", "privileged", "HostConfigs",
];

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![-2_i64..5, any::<i64>(), Just(1 << 29), Just(1_000_000_000)]
            .prop_map(Value::from),
        Just(json!(1.5)),
        proptest::sample::select(WORDS).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((proptest::sample::select(KEYS), inner), 0..6)
                .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

/// Values of the right shape, so that many requests get through and are held against the allowed set.
fn shaped(field: &'static str) -> BoxedStrategy<Value> {
    let words =
        || proptest::collection::vec(proptest::sample::select(WORDS), 0..3).prop_map(|w| json!(w));
    let word = || proptest::sample::select(WORDS).prop_map(Value::from);
    match field {
        "Binds" | "CapAdd" | "CapDrop" | "SecurityOpt" | "VolumesFrom" | "Links" | "ExtraHosts"
        | "Dns" => words().boxed(),
        "NetworkMode" | "IpcMode" | "PidMode" | "UTSMode" | "UsernsMode" | "CgroupnsMode"
        | "CgroupParent" | "Runtime" | "VolumeDriver" | "Isolation" | "Cgroup" => word().boxed(),
        "Mounts" => {
            let one = (word(), word(), word(), any::<bool>()).prop_map(
                |(t, s, d, ro)| json!({"Type": t, "Source": s, "Target": d, "ReadOnly": ro}),
            );
            proptest::collection::vec(one, 0..3).prop_map(Value::from).boxed()
        }
        "RestartPolicy" => {
            (word(), 0_i64..3).prop_map(|(n, c)| json!({"Name": n, "MaximumRetryCount": c})).boxed()
        }
        "LogConfig" => (word(), word())
            .prop_map(|(t, v)| json!({"Type": t, "Config": {"max-size": v}}))
            .boxed(),
        "Tmpfs" | "Sysctls" => {
            (proptest::sample::select(WORDS), word()).prop_map(|(k, v)| json!({k: v})).boxed()
        }
        "Ulimits" => word().prop_map(|n| json!([{"Name": n, "Soft": 1, "Hard": 2}])).boxed(),
        "PortBindings" => (word(), word())
            .prop_map(|(ip, port)| json!({"80/tcp": [{"HostIp": ip, "HostPort": port}]}))
            .boxed(),
        "Privileged" | "AutoRemove" | "ReadonlyRootfs" | "Init" | "PublishAllPorts"
        | "OomKillDisable" => any::<bool>().prop_map(Value::from).boxed(),
        _ => prop_oneof![-1_i64..2, Just(1000), Just(1 << 29), Just(1 << 31), Just(200_000)]
            .prop_map(Value::from)
            .boxed(),
    }
}

/// A body: mostly well shaped, sometimes anything.
fn body() -> impl Strategy<Value = Value> {
    let names: Vec<&'static str> = HOST_CONFIG.iter().map(|(name, _)| *name).collect();
    let field = proptest::sample::select(names)
        .prop_flat_map(|f| (Just(f), prop_oneof![6 => shaped(f), 1 => value().boxed()]));
    let host = proptest::collection::vec(field, 0..4);
    let top = proptest::collection::vec((proptest::sample::select(TOP), value()), 0..2);
    let image = prop_oneof![9 => Just(json!("busybox:test")), 1 => value()];
    (host, top, image).prop_map(|(host, top, image)| {
        let host: Map<String, Value> = host.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let mut out: Map<String, Value> = top.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        out.insert("Image".into(), image);
        out.insert("HostConfig".into(), host.into());
        Value::Object(out)
    })
}

/// Policies from closed to as open as they get.
fn policies() -> impl Strategy<Value = Policy> {
    let limits =
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    limits.prop_map(|(memory, cpus, pids, ports, writable, runtime)| {
        let base = policy(&Names::invented());
        let workspace = Workspace { path: "/ws".into(), host: None, writable };
        Policy {
            memory: memory.then_some(1 << 30),
            nano_cpus: cpus.then_some(2_000_000_000),
            pids: pids.then_some(100),
            shm: memory.then_some(1 << 25),
            publish_ports: ports,
            workspaces: vec![workspace],
            runtime: runtime.then(|| "chitin".into()),
            ..base
        }
    })
}

#[test]
fn rebuilt_creates_are_in_the_allowed_set() {
    let config =
        ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let accepted = Cell::new(0);
    let run = TestRunner::new(config).run(&(body(), policies()), |(body, policy)| {
        match judge_create(&body, &policy) {
            Ok(let_through) => accepted.set(accepted.get() + u32::from(let_through)),
            Err(why) => return Err(TestCaseError::fail(why)),
        }
        Ok(())
    });
    if let Err(e) = run {
        panic!("{e}");
    }
    // A property of requests that are all refused would say nothing.
    assert!(accepted.get() > CASES / 20, "only {} of {CASES} got through", accepted.get());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn updates_stay_within_the_budget(v in value(), field in "(Memory|CpuQuota|CpuPeriod|NanoCpus|PidsLimit|MemorySwap)", n in any::<i64>()) {
        let policy = policy(&Names::invented());
        let mut body = v.as_object().cloned().unwrap_or_default();
        body.insert(field, n.into());
        if let Ok(out) = things::update(&body.into(), &policy) {
            let number = |k: &str| out.get(k).and_then(Value::as_i64);
            prop_assert!(number("Memory").is_none_or(|m| m > 0 && m <= 1 << 30), "{out}");
            prop_assert!(number("NanoCpus").is_none_or(|c| c > 0 && c <= 2_000_000_000), "{out}");
            prop_assert!(number("PidsLimit").is_none_or(|p| p > 0 && p <= 100), "{out}");
            prop_assert!(number("MemorySwap").is_none_or(|s| s > 0 && s <= 2 << 30), "{out}");
            let quota = number("CpuQuota").map(|q| (i128::from(q), i128::from(number("CpuPeriod").unwrap_or(0))));
            prop_assert!(quota.is_none_or(|(q, p)| q > 0 && p > 0 && q <= 2 * p), "{out}");
            prop_assert!(quota.is_some() || number("CpuPeriod").is_none(), "{out}");
        }
    }

    #[test]
    fn targets_survive_being_built(raw in "/(v1\\.[0-9]{2}/)?[a-z%2e./]{0,12}(\\?[a-z]{1,3}=[ -~]{0,8})?") {
        if let Ok(t) = Target::parse(&raw) {
            for segment in &t.path {
                prop_assert!(!segment.is_empty() && segment != "." && segment != ".." && !segment.contains('/'));
            }
            // With a version, or a first segment such as v2 would be read as one.
            let built = format!("/v1.41/{}?{}", t.path.join("/"), encode_query(&t.query));
            let again = Target::parse(&built).map_err(|d| TestCaseError::fail(d.to_string()))?;
            prop_assert_eq!((again.path, again.query), (t.path, t.query));
        }
    }

    #[test]
    fn strict_json_never_panics_and_is_stable(text in "[\\[\\]{}:,\"a-cA-C0-9ſK \\\\u]{0,40}") {
        if let Ok(v) = json::parse(text.as_bytes()) {
            let again = json::parse(v.to_string().as_bytes());
            prop_assert_eq!(again.ok(), Some(v.clone()));
            let _ = create::judge(&v, None, &Policy::default(), &chitin_tests::attacks::Own);
        }
    }
}
