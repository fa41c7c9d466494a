//! One client: its policy, what it owns, its execs and pinned bind sources; and what all clients share.
//!
//! Locks are leaves: each guards one table, none is held across an await or while another is taken.

use chitin_gateway_policy::{Denied, Policy, engine_name, name_prefix, private_repo};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::audit::Audit;
use crate::config::{ClientConfig, Limits};
use crate::engine::{Engine, Request};
use crate::fault::Fault;
use crate::index::Index;
use crate::metrics::Metrics;
use crate::origins::Origins;
use crate::pins::{self, Pins};
use crate::pulls::Pulls;
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
    /// Where images came from.
    pub origins: Origins,
    /// Whether refusals that a policy key would lift are lifted, and noted.
    pub dry_run: Option<crate::learn::Learnt>,
}

/// One client.
pub struct Client {
    /// Its name.
    pub name: String,
    /// What all clients share.
    pub shared: Arc<Shared>,
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
    settings: RwLock<Settings>,
    open: AtomicUsize,
    pulls: Mutex<Pulls>,
    index: Mutex<Index>,
    execs: Mutex<Execs>,
    pins: Mutex<Pins>,
    seen_volumes: Mutex<BTreeSet<String>>,
}

/// What the operator wrote, and what follows from it; a reload exchanges it.
struct Settings {
    config: Arc<ClientConfig>,
    limits: Limits,
    policy: Arc<Policy>,
}

impl Settings {
    fn new(config: ClientConfig, policy: Policy) -> Self {
        Self { limits: config.limits(), config: Arc::new(config), policy: Arc::new(policy) }
    }
}

/// A place among the client's things, counted until what it was reserved for is on record.
pub struct Room<'a> {
    client: &'a Client,
    kind: Kind,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if let Some(table) = self.client.index().table(self.kind) {
            table.release();
        }
    }
}

/// An open connection.
pub struct Connected(Arc<Client>);

impl Connected {
    /// Counts one more, if the client may have it.
    pub fn new(client: &Arc<Client>) -> Option<Self> {
        let connected = Self(client.clone());
        let before = client.open.fetch_add(1, Ordering::Relaxed);
        (before < client.limits().connections).then_some(connected)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
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

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Client {
    /// A client that owns nothing yet.
    pub fn new(
        config: ClientConfig,
        policy: Policy,
        socket: PathBuf,
        shared: Arc<Shared>,
    ) -> Arc<Self> {
        let name = config.name.clone();
        Arc::new(Self {
            pins: Mutex::new(Pins::new(&name)),
            name,
            shared,
            settings: RwLock::new(Settings::new(config, policy)),
            open: AtomicUsize::new(0),
            pulls: Mutex::default(),
            socket,
            created: SystemTime::now(),
            full: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            in_flight: Arc::default(),
            default_network: tokio::sync::Mutex::new(()),
            index: Mutex::default(),
            execs: Mutex::default(),
            seen_volumes: Mutex::default(),
        })
    }

    /// The policy as it is now.
    pub fn policy(&self) -> Arc<Policy> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).policy.clone()
    }

    /// What the operator wrote last.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// The most it may have of each thing.
    pub fn limits(&self) -> Limits {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).limits
    }

    /// Replaces the policy.
    pub fn set_policy(&self, policy: Policy) {
        self.settings.write().unwrap_or_else(PoisonError::into_inner).policy = Arc::new(policy);
    }

    /// Replaces everything that the operator says.
    pub fn change(&self, config: ClientConfig, policy: Policy) {
        let new = Settings::new(config, policy);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// Judges by the policy. In a dry run, what a policy key would allow is learnt and judged again.
    pub fn judged<T>(&self, judge: impl Fn(&Policy) -> Result<T, Denied>) -> Result<T, Denied> {
        loop {
            match judge(&self.policy()) {
                Err(denied) => match &self.shared.dry_run {
                    Some(learnt) if learnt.learn(self, &denied) => {}
                    _ => return Err(denied),
                },
                good => return good,
            }
        }
    }

    /// Reserves a place for one more, if the client may have it.
    pub fn reserve(&self, kind: Kind) -> Result<Room<'_>, Fault> {
        let limits = self.limits();
        let (what, key, most) = match kind {
            Kind::Container => ("containers", "max_containers", limits.containers),
            Kind::Network => ("networks", "max_networks", limits.networks),
            Kind::Volume => ("volumes", "max_volumes", limits.volumes),
            _ => ("image tags", "max_images", limits.images),
        };
        let mut index = self.index();
        let Some(table) = index.table(kind) else {
            return Err(Fault::Internal(format!("{what} are not counted")));
        };
        let wanted = table.count() + 1;
        let learnt = self.shared.dry_run.as_ref().filter(|_| wanted > most);
        if !table.reserve(if learnt.is_some() { wanted } else { most }) {
            return Err(Fault::Budget(format!(
                "the client has {most} {what} already; remove some (policy key that allows more: {key})"
            )));
        }
        drop(index);
        if let Some(learnt) = learnt {
            learnt.note_count(&self.name, key, wanted);
        }
        Ok(Room { client: self, kind })
    }

    /// A pull of a public image begins.
    pub fn pull_begins(&self, image: &str) {
        lock(&self.pulls).begin(image, now());
    }

    /// It has ended. The engine tells of it in the same moment.
    pub fn pull_ended(&self, image: &str) {
        lock(&self.pulls).end(image, now() + 1);
    }

    /// Whether the client was pulling an image at that time, in seconds since the epoch.
    pub fn was_pulling(&self, image: &str, time: u64) -> bool {
        lock(&self.pulls).cover(image, time)
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

    /// The intended thing is not there, if the engine said so. An answer that never came may still have made it: then
    /// the intent stays for the removal of the client.
    pub async fn unless_made(
        &self,
        intent: &str,
        answer: Result<Value, Fault>,
    ) -> Result<Value, Fault> {
        if matches!(&answer, Err(e) if !matches!(e, Fault::Unreachable(_))) {
            let _ = self.shared.store.delete(&self.name, Kind::Intent, intent).await;
        }
        answer
    }

    fn note(&self, kind: Kind, thing: &Thing) {
        if kind == Kind::Volume {
            let mut seen = lock(&self.seen_volumes);
            if seen.len() < MAX_SEEN_VOLUMES {
                seen.insert(thing.id.clone());
            }
        }
        let mut index = self.index();
        if let Some(table) = index.table(kind) {
            table.insert(&thing.id, &thing.name);
        } else if kind == Kind::Pulled {
            index.pulled.insert(thing.id.clone());
        }
    }

    /// Something is gone.
    pub async fn forget(&self, kind: Kind, id: &str) {
        let known = {
            let mut index = self.index();
            match index.table(kind) {
                Some(table) => table.remove(id).is_some(),
                None => kind != Kind::Pulled || index.pulled.remove(id),
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
        if self.config().workspaces.iter().any(|w| trusted(&w)) {
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
        let made = made.and_then(|a| crate::answer::good_json(self, a, None));
        let made = self.unless_made(&name, made).await?;
        let id = made.get("Id").and_then(Value::as_str).unwrap_or_default();
        self.fulfil(&name, Kind::Network, id, DEFAULT_NETWORK).await?;
        Ok(id.to_owned())
    }
}

/// The client's name for its default network.
pub const DEFAULT_NETWORK: &str = "bridge";
