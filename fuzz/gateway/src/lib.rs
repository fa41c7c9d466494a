//! Fuzz targets of the gateway: any input may be refused, none may panic, and what is let through must be what another
//! reader reads too ([`front`]) and inside the allowed set ([`policy`]).
//!
//! No locks; each target is a function over bytes, for cargo-fuzz and for the random driver in `main.rs`.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use chitin_gateway::screen;
use chitin_gateway_policy::table::{self, Op};
use chitin_gateway_policy::target::{Target, encode_query};
use chitin_gateway_policy::{Policy, build, json, things};
use chitin_tests::attacks::{Names, Own, judge, judge_create, policy as client_policy};

fn closed() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(|| client_policy(&Names::invented()))
}

fn open() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(|| Policy {
        publish_ports: true,
        remote_build: true,
        runtime: Some("chitin".into()),
        ..client_policy(&Names::invented())
    })
}

/// Bodies: the first byte chooses what the rest is judged as.
///
/// # Panics
/// If something outside the allowed set would be sent to an engine.
pub fn policy(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let p = if choice & 0x80 == 0 { closed() } else { open() };
    if choice & 0x7f == 7 {
        return build_query(body, p);
    }
    let Ok(value) = json::parse(body) else { return };
    let again = json::parse(value.to_string().as_bytes());
    assert_eq!(again.as_ref(), Ok(&value), "strict JSON does not survive serialisation");
    match choice & 0x7f {
        1 => drop(things::network(&value, &Own)),
        2 => drop(things::volume(&value, &Own)),
        3 => drop(things::connect(&value, true, &Own)),
        4 => drop(things::update(&value, p)),
        5 => drop(things::exec(&value)),
        6 => drop(things::exec_start(&value)),
        8 => drop(things::filters(std::str::from_utf8(body).ok())),
        _ => {
            if let Err(why) = judge_create(&value, p) {
                panic!("outside the allowed set: {why}");
            }
        }
    }
}

fn build_query(query: &[u8], p: &Policy) {
    let Ok(query) = std::str::from_utf8(query) else { return };
    let Ok(target) = Target::parse(&format!("/build?{query}")) else { return };
    if table::find("POST", &target).is_err() {
        return;
    }
    let Ok((pairs, _)) = build::judge(&target, p, &Own) else { return };
    let get = |key: &str| {
        pairs.iter().filter(|(k, _)| k == key).map(|(_, v)| v.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(get("version"), ["1"]);
    assert_eq!(get("cgroupparent"), [p.cgroup_parent.as_deref().unwrap_or_default()]);
    assert!(matches!(get("networkmode").as_slice(), ["d00d" | "beef" | "none"]), "{pairs:?}");
    let labels = get("labels");
    assert!(labels.len() == 1 && labels[0].contains(r#""chitin.gateway.client":"a""#), "{pairs:?}");
    for key in
        ["securityopt", "outputs", "session", "ulimits", "cachefrom", "isolation", "cpusetmems"]
    {
        assert!(get(key).is_empty(), "{pairs:?}");
    }
    let ours = get("t").iter().all(|t| t.starts_with("chitin.invalid/a/"));
    assert!(
        ours && !get("extrahosts").iter().any(|h| h.to_lowercase().contains("host-gateway")),
        "{pairs:?}"
    );
}

/// Whole requests: the strict reader against an ordinary one, then the target, the table and the policy.
///
/// # Panics
/// If the two readers disagree, or if something is let through that does not survive being built again.
pub fn front(data: &[u8]) {
    if let Some(end) = screen::end(data).filter(|end| *end <= screen::MAX_HEAD_BYTES) {
        let (bytes, _) = data.split_at(end);
        if let Ok(head) = screen::check(bytes) {
            agree(bytes, &head);
            if let Ok(target) = Target::parse(&head.target) {
                survives(&target);
                if let Ok((endpoint, _)) = table::find(&head.method, &target) {
                    assert_ne!(endpoint.op, Op::Denied, "a refused endpoint was found");
                }
            }
        }
    }
    // Head and body together, as a connection would bring them.
    let _ = judge(data, &Names::invented());
}

/// The strict reader understood what any reader would understand.
fn agree(bytes: &[u8], head: &screen::Head) {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    let read = request.parse(bytes);
    let Ok(httparse::Status::Complete(length)) = read else {
        panic!("only the strict reader takes {:?}: {read:?}", String::from_utf8_lossy(bytes));
    };
    assert_eq!(length, bytes.len(), "the head ends elsewhere");
    assert_eq!(request.method, Some(head.method.as_str()));
    assert_eq!(request.path, Some(head.target.as_str()));
    let values = |name: &str| {
        let same = request.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name));
        same.map(|h| String::from_utf8_lossy(h.value).into_owned()).collect::<Vec<_>>()
    };
    let lengths: Vec<u64> =
        values("content-length").iter().filter_map(|v| v.trim().parse().ok()).collect();
    assert_eq!(lengths, head.length.into_iter().collect::<Vec<_>>());
    let coded = values("transfer-encoding");
    assert_eq!(coded.len(), usize::from(head.chunked));
    assert!(!(head.chunked && head.length.is_some()));
}

/// What was parsed means the same when it is built and parsed again.
fn survives(target: &Target) {
    let plain =
        |s: &String| !s.is_empty() && s != "." && s != ".." && !s.contains(['/', '%', '\\', '\0']);
    assert!(target.path.iter().all(plain), "{target:?}");
    // With a version, or a first segment such as v2 would be read as one.
    let built = format!("/v1.41/{}?{}", target.path.join("/"), encode_query(&target.query));
    match Target::parse(&built) {
        Ok(again) => assert_eq!((&again.path, &again.query), (&target.path, &target.query)),
        // Escapes make it longer.
        Err(denied) => assert_eq!(denied.status, 414, "cannot be built: {target:?}"),
    }
}
