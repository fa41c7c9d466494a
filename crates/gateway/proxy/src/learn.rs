//! The learning mode: a refusal that a policy key would lift is lifted for this client, and the key is noted, so
//! that the policy that a build needs can be printed at its end. Refusals without a key stay refusals.

use chitin_gateway_policy::{Denied, Policy, Workspace};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use crate::cgroup::{Budget, Cgroup};
use crate::client::Client;

/// What was learnt, for each client: key and value as TOML.
#[derive(Default)]
pub struct Learnt {
    found: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
}

/// Raises a limit to what is needed; the new one.
fn raise(limit: &mut Option<u64>, needs: &str) -> Option<String> {
    let n: u64 = needs.parse().ok()?;
    limit.is_some_and(|l| n > l).then(|| limit.insert(n).to_string())
}

/// Allows what was not allowed.
fn allow(flag: &mut bool) -> Option<String> {
    (!std::mem::replace(flag, true)).then(|| "true".to_owned())
}

/// A writable workspace more, in front, since the first root that a source is below decides.
fn add_workspace(all: &mut Vec<Workspace>, path: &str) -> Option<String> {
    let plain = path.starts_with('/') && path.len() > 1;
    if !plain || all.iter().any(|w| w.path == path && w.writable) {
        return None;
    }
    all.insert(0, Workspace { path: path.to_owned(), host: None, writable: true });
    let shown: Vec<String> = all
        .iter()
        .map(|w| format!("{{ path = {:?}, writable = {} }}", w.path, w.writable))
        .collect();
    Some(format!("[{}]", shown.join(", ")))
}

impl Learnt {
    /// Notes what a client needs.
    pub fn note(&self, client: &str, key: &str, value: String) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.entry(client.to_owned()).or_default().insert(key.to_owned(), value);
    }

    /// Notes the highest number that a client needs.
    pub fn note_count(&self, client: &str, key: &str, n: usize) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = found.entry(client.to_owned()).or_default().entry(key.to_owned()).or_default();
        if noted.parse().unwrap_or(0) < n {
            *noted = n.to_string();
        }
    }

    /// Lifts a refusal if a key would; false means that it stays.
    pub fn learn(&self, client: &Client, denied: &Denied) -> bool {
        let (Some(key), Some(needs)) = (denied.key, denied.needs.as_deref()) else { return false };
        let mut policy = Policy::clone(&client.policy());
        let value = match key {
            "memory" => raise(&mut policy.memory, needs),
            "pids" => raise(&mut policy.pids, needs),
            "shm" => raise(&mut policy.shm, needs),
            "cpus" => raise(&mut policy.nano_cpus, needs)
                .and_then(|nano| Some(format!("{:.2}", nano.parse::<f64>().ok()? / 1e9))),
            "publish_ports" => allow(&mut policy.publish_ports),
            "remote_build" => allow(&mut policy.remote_build),
            "workspaces" => add_workspace(&mut policy.workspaces, needs),
            "pull" => {
                policy.pull.push(needs.to_owned());
                Some(format!("{:?}", policy.pull))
            }
            _ => None,
        };
        let Some(value) = value else { return false };
        self.note(&client.name, key, value);
        if let Some(parent) = policy.cgroup_parent.as_deref() {
            // What one container may have, all of them together must be able to have.
            let budget =
                Budget { memory: policy.memory, nano_cpus: policy.nano_cpus, pids: policy.pids };
            if let Err(e) = Cgroup::again(parent, budget) {
                eprintln!("chitin gateway: client {}: {e:#}", client.name);
            }
        }
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
