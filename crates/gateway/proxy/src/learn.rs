//! The learning mode: a refusal that a policy key would lift is lifted for this client, and the key is noted, so
//! that the policy that a build needs can be printed at its end. Refusals without a key stay refusals.

use chitin_gateway_policy::{Denied, Policy, Workspace};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use crate::client::Client;

/// What was learnt, for each client: key and value as TOML.
#[derive(Default)]
pub struct Learnt {
    found: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
}

impl Learnt {
    fn note(&self, client: &str, key: &str, value: String) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.entry(client.to_owned()).or_default().insert(key.to_owned(), value);
    }

    /// Lifts a refusal if a key would; false means that it stays.
    pub fn learn(&self, client: &Client, denied: &Denied, body: &Value) -> bool {
        let mut policy = Policy::clone(&client.policy());
        let number =
            |key: &str| body.pointer(&format!("/HostConfig/{key}")).and_then(Value::as_u64);
        let raise = |key: &str, field: &str, limit: &mut Option<u64>| match number(field) {
            Some(n) if limit.is_some_and(|l| n > l) => {
                *limit = Some(n);
                self.note(&client.name, key, n.to_string());
                true
            }
            _ => false,
        };
        let lifted = match denied.key {
            Some("memory") => raise("memory", "Memory", &mut policy.memory),
            Some("pids") => raise("pids", "PidsLimit", &mut policy.pids),
            Some("shm") => raise("shm", "ShmSize", &mut policy.shm),
            Some("nano_cpus") => match number("NanoCpus") {
                Some(n) if policy.nano_cpus.is_some_and(|l| n > l) => {
                    policy.nano_cpus = Some(n);
                    self.note(&client.name, "cpus", format!("{:.2}", n as f64 / 1e9));
                    true
                }
                _ => false,
            },
            Some("publish_ports") if !policy.publish_ports => {
                policy.publish_ports = true;
                self.note(&client.name, "publish_ports", "true".into());
                true
            }
            Some("workspaces") => self.learn_workspaces(client, body, &mut policy),
            _ => false,
        };
        if lifted {
            client.set_policy(policy);
        }
        lifted
    }

    /// Every absolute bind source becomes a writable workspace.
    fn learn_workspaces(&self, client: &Client, body: &Value, policy: &mut Policy) -> bool {
        let list = |key: &str| {
            let list = body.pointer(&format!("/HostConfig/{key}")).and_then(Value::as_array);
            list.cloned().unwrap_or_default()
        };
        let binds = list("Binds");
        let binds = binds.iter().filter_map(Value::as_str).filter_map(|b| b.split(':').next());
        let mounts = list("Mounts");
        let mounts = mounts
            .iter()
            .filter(|m| m.get("Type").and_then(Value::as_str) == Some("bind"))
            .filter_map(|m| m.get("Source").and_then(Value::as_str));
        let mut grown = false;
        for source in binds.chain(mounts).filter(|s| s.starts_with('/') && s.len() > 1) {
            if policy.workspaces.iter().all(|w| w.path != source) {
                // In front, since the first root that a source is below decides.
                let w = Workspace { path: source.to_owned(), host: None, writable: true };
                policy.workspaces.insert(0, w);
                grown = true;
            }
        }
        if grown {
            let all = policy.workspaces.iter();
            let shown: Vec<String> = all
                .map(|w| format!("{{ path = {:?}, writable = {} }}", w.path, w.writable))
                .collect();
            self.note(&client.name, "workspaces", format!("[{}]", shown.join(", ")));
        }
        grown
    }

    /// Lets an image be pulled.
    pub fn learn_pull(&self, client: &Client, name: &str) -> bool {
        let mut policy = Policy::clone(&client.policy());
        policy.pull.push(name.to_owned());
        self.note(&client.name, "pull", format!("{:?}", policy.pull));
        client.set_policy(policy);
        true
    }

    /// The policy as TOML.
    pub fn render(&self) -> String {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::from("# What the clients needed beyond their policies.\n");
        for (client, keys) in found.iter() {
            let _ = writeln!(out, "[[client]]\nname = {client:?}");
            for (k, v) in keys {
                let _ = writeln!(out, "{k} = {v}");
            }
        }
        out
    }
}
