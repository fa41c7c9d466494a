//! One client: its policy, what it owns, its execs and pinned bind sources; and what all clients share.
//!
//! Locks are leaves: each guards one table, none is held across an await or while another is taken.

use chitin_gateway_policy::{Denied, Policy, engine_name, name_prefix, private_repo};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use crate::audit::Audit;
use crate::config::{ClientConfig, Limits};
use crate::engine::{Engine, Request};
use crate::fault::Fault;
use crate::index::Index;
use crate::metrics::Metrics;
use crate::pins::{self, Pins};
use crate::store::{Kind, Store, Thing};

/// Execs that are remembered for one client; the oldest are forgotten.
const MAX_EXECS: usize = 65_536;
/// Names of anonymous volumes whose events may still come.
const MAX_SEEN_VOLUMES: usize = 4096;

/// What all clients of a gateway share.
pub struct Shared {
    /// The engine.
    pub engine: Engine,
    /// The durable store.
    pub store: Store,
    /// The audit log.
    pub audit: Audit,
    /// Counters.
    pub metrics: Metrics,
    /// Whether refusals that a policy key would lift are lifted, and noted.
    pub dry_run: Option<crate::learn::Learnt>,
}

/// One client.
pub struct Client {
    /// Its name.
    pub name: String,
    /// What all clients share.
    pub shared: Arc<Shared>,
    /// What the operator wrote.
    pub config: ClientConfig,
    /// The most it may have of each thing.
    pub limits: Limits,
    /// Its socket.
    pub socket: PathBuf,
    /// When it was made; older events are not its own.
    pub created: SystemTime,
    /// Whether it has used up its storage.
    pub full: AtomicBool,
    /// Whether it is being removed; nothing new is made then.
    pub closing: AtomicBool,
    /// Held for reading by operations that make or remove things, for writing by the removal of the client.
    pub in_flight: Arc<tokio::sync::RwLock<()>>,
    /// Makes the default network once.
    pub default_network: tokio::sync::Mutex<()>,
    policy: RwLock<Arc<Policy>>,
    index: Mutex<Index>,
    execs: Mutex<Execs>,
    pins: Mutex<Pins>,
    seen_volumes: Mutex<BTreeSet<String>>,
}

#[derive(Default)]
struct Execs {
    of: BTreeMap<String, String>,
    order: VecDeque<String>,
}

/// A lock whose holder panicked is still good: every change under these locks is one insertion or removal.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// A client that owns nothing yet.
    pub fn new(
        config: ClientConfig,
        policy: Policy,
        socket: PathBuf,
        shared: Arc<Shared>,
    ) -> Arc<Self> {
        let config_name = config.name.clone();
        Arc::new(Self {
            name: config.name.clone(),
            shared,
            limits: config.limits(),
            config,
            socket,
            created: SystemTime::now(),
            full: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            in_flight: Arc::default(),
            default_network: tokio::sync::Mutex::new(()),
            policy: RwLock::new(Arc::new(policy)),
            index: Mutex::default(),
            execs: Mutex::default(),
            pins: Mutex::new(Pins::new(&config_name)),
            seen_volumes: Mutex::default(),
        })
    }

    /// The policy as it is now.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the policy.
    pub fn set_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    /// What it owns.
    pub fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// The full id of an own container.
    pub fn container(&self, reference: &str) -> Result<String, Denied> {
        let found = self.index().containers.resolve(reference).map(str::to_owned);
        found.ok_or_else(|| Denied::absent("container", reference))
    }

    /// The full id of an own network.
    pub fn network(&self, reference: &str) -> Result<String, Denied> {
        let reference = if reference == "default" { DEFAULT_NETWORK } else { reference };
        let found = self.index().networks.resolve(reference).map(str::to_owned);
        found.ok_or_else(|| Denied::absent("network", reference))
    }

    /// The engine's name of an own volume.
    pub fn volume(&self, name: &str) -> Result<String, Denied> {
        let index = self.index();
        let known = index.volumes.id(name).map(str::to_owned);
        known.ok_or_else(|| Denied::absent("volume", name))
    }

    /// Remembers an exec.
    pub fn add_exec(&self, exec: &str, container: &str) {
        let mut execs = lock(&self.execs);
        if execs.of.insert(exec.into(), container.into()).is_none() {
            execs.order.push_back(exec.into());
        }
        if execs.order.len() > MAX_EXECS
            && let Some(old) = execs.order.pop_front()
        {
            execs.of.remove(&old);
        }
    }

    /// Whether an exec is the client's, by its full id or a name the engine would take.
    pub fn exec(&self, id: &str) -> Result<String, Denied> {
        let known = lock(&self.execs).of.contains_key(id);
        if known { Ok(id.to_owned()) } else { Err(Denied::absent("exec", id)) }
    }

    /// Records something, durably, and puts it into the index.
    pub async fn record(&self, kind: Kind, id: &str, name: &str) -> Result<(), Fault> {
        let thing = Thing { id: id.into(), name: name.into() };
        self.shared.store.put(&self.name, &[(kind, &thing)]).await.map_err(Fault::Internal)?;
        self.note(kind, &thing);
        Ok(())
    }

    /// Records that the engine is about to be asked for something.
    pub async fn intend(&self, engine_name: &str) -> Result<(), Fault> {
        let thing = Thing { id: engine_name.into(), name: String::new() };
        let things = [(Kind::Intent, &thing)];
        self.shared.store.put(&self.name, &things).await.map_err(Fault::Internal)
    }

    /// The intended thing is there.
    pub async fn fulfil(
        &self,
        intent: &str,
        kind: Kind,
        id: &str,
        name: &str,
    ) -> Result<(), Fault> {
        let thing = Thing { id: id.into(), name: name.into() };
        let done = self.shared.store.fulfil(&self.name, intent, kind, &thing).await;
        self.note(kind, &thing);
        done.map_err(Fault::Internal)
    }

    /// The intended thing is not there.
    pub async fn give_up(&self, intent: &str) {
        let _ = self.shared.store.delete(&self.name, Kind::Intent, intent).await;
    }

    fn note(&self, kind: Kind, thing: &Thing) {
        if kind == Kind::Volume {
            let mut seen = lock(&self.seen_volumes);
            if seen.len() < MAX_SEEN_VOLUMES {
                seen.insert(thing.id.clone());
            }
        }
        let mut index = self.index();
        match kind {
            Kind::Container => index.containers.insert(&thing.id, &thing.name),
            Kind::Network => index.networks.insert(&thing.id, &thing.name),
            Kind::Volume => index.volumes.insert(&thing.id, &thing.name),
            Kind::Tag => index.tags.insert(&thing.id, &thing.name),
            Kind::Pulled => {
                index.pulled.insert(thing.id.clone());
            }
            Kind::Intent | Kind::Build => {}
        }
    }

    /// Something is gone.
    pub async fn forget(&self, kind: Kind, id: &str) {
        let known = {
            let mut index = self.index();
            match kind {
                Kind::Container => index.containers.remove(id).is_some(),
                Kind::Network => index.networks.remove(id).is_some(),
                Kind::Volume => index.volumes.remove(id).is_some(),
                Kind::Tag => index.tags.remove(id).is_some(),
                Kind::Pulled => index.pulled.remove(id),
                Kind::Intent | Kind::Build => true,
            }
        };
        if known {
            let _ = self.shared.store.delete(&self.name, kind, id).await;
        }
    }

    /// Whether a volume is or was the client's (for events that come after its end).
    pub fn had_volume(&self, name: &str) -> bool {
        name.starts_with(&self.prefix()) || lock(&self.seen_volumes).contains(name)
    }

    /// What the engine's names of its things begin with.
    pub fn prefix(&self) -> String {
        name_prefix(&self.name)
    }

    /// The engine's name for the client's `name`.
    pub fn engine_name(&self, name: &str) -> String {
        engine_name(&self.name, name)
    }

    /// A text of the engine as the client may see it: own names as the client knows them, no ids of others.
    pub fn scrub(&self, text: &str) -> String {
        let text = text.replace(&self.prefix(), "").replace(&private_repo(&self.name), "");
        let mut out = String::with_capacity(text.len());
        let mut word = String::new();
        for c in text.chars().chain(['\0']) {
            if c.is_ascii_hexdigit() {
                word.push(c);
                continue;
            }
            let foreign = word.len() == 64 && {
                let index = self.index();
                index.containers.name(&word).is_none() && index.networks.name(&word).is_none()
            };
            out.push_str(if foreign { "<hidden>" } else { &word });
            word.clear();
            if c != '\0' {
                out.push(c);
            }
        }
        out
    }

    /// The engine's path for a bind source below a root, following no link out of it.
    pub fn bind_source(&self, root: &str, relative: &str, shown: &str) -> Result<String, String> {
        let found = pins::open(root, relative, shown)?;
        let mut pins = lock(&self.pins);
        let trusted =
            |w: &&crate::config::WorkspaceConfig| w.trusted && pins::below(shown, &w.path);
        if self.config.workspaces.iter().any(|w| trusted(&w)) {
            return pins.by_name(found, shown);
        }
        pins.pin(self.engine(), found, shown)
    }

    /// Gives the pins back to an engine that has lost them.
    pub fn repin(&self) {
        lock(&self.pins).restore(self.engine());
    }

    /// Takes all pins away.
    pub fn unpin(&self) {
        lock(&self.pins).clear(self.engine());
    }

    /// The client's path of a bind source of the engine's.
    pub fn shown_source(&self, source: &str) -> Option<String> {
        if source == self.socket.to_string_lossy() {
            return Some("/var/run/docker.sock".into());
        }
        lock(&self.pins).shown(source)
    }

    /// Makes the network that stands for the engine's default one, if it is not there.
    pub async fn ensure_default_network(self: &Arc<Self>) -> Result<String, Fault> {
        let _one = self.default_network.lock().await;
        if let Ok(id) = self.network(DEFAULT_NETWORK) {
            return Ok(id);
        }
        let name = self.engine_name(DEFAULT_NETWORK);
        self.intend(&name).await?;
        let body = serde_json::json!({
            "Name": name, "Driver": "bridge", "CheckDuplicate": true,
            "Labels": { chitin_gateway_policy::OWNER_LABEL: self.name },
        });
        let made = self.engine().json(Request::post(&["networks", "create"]).json(&body)).await;
        match made {
            Ok((status, v)) if status.is_success() => {
                let id = v.get("Id").and_then(serde_json::Value::as_str).unwrap_or_default();
                self.fulfil(&name, Kind::Network, id, DEFAULT_NETWORK).await?;
                Ok(id.to_owned())
            }
            other => {
                self.give_up(&name).await;
                let (status, v) = other?;
                Err(Fault::Engine(status, self.scrub(&crate::answer::message(&v))))
            }
        }
    }
}

/// The client's name for its default network.
pub const DEFAULT_NETWORK: &str = "bridge";
