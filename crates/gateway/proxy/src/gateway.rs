//! The gateway: its clients, how they come and go, and the two ways to run it.
//!
//! The map of clients is behind one async lock; it is never held while a client is removed.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;

use crate::audit::Audit;
use crate::cgroup::{self, Budget, Cgroup};
use crate::client::{Client, Shared};
use crate::config::{ClientConfig, Config, socket_path};
use crate::engine::Engine;
use crate::front;
use crate::learn::Learnt;
use crate::metrics::{Gauge, Metrics};
use crate::origins::Origins;
use crate::pins::Pins;
use crate::store::{EVERYBODY, Found, Left, Place, Store};
use crate::sweep::{self, Known};
use crate::{admin, watch as background};

/// How long an engine may take to come up before the gateway gives up starting.
const ENGINE_WAIT: Duration = Duration::from_secs(60);
/// How long operations that are under way may take when their client is removed.
const IN_FLIGHT_WAIT: Duration = Duration::from_secs(60);

/// A client with its socket.
struct Running {
    client: Arc<Client>,
    closing: watch::Sender<bool>,
    cgroup: Option<Cgroup>,
    from_file: Option<ClientConfig>,
    expiry: Option<AbortHandle>,
}

/// The gateway.
pub struct Gateway {
    /// What all clients share.
    pub(crate) shared: Arc<Shared>,
    clients: Mutex<BTreeMap<String, Running>>,
    /// Names of clients that are being removed: nobody else has them meanwhile.
    leaving: std::sync::Mutex<BTreeSet<String>>,
    sockets: PathBuf,
    info: Mutex<Value>,
}

/// How to run for one client.
#[derive(Clone, Debug, Default)]
pub struct Single {
    /// The client.
    pub client: ClientConfig,
    /// The engine's socket.
    pub docker: String,
    /// The directory of the store.
    pub state: Option<PathBuf>,
    /// The audit log.
    pub audit: Option<PathBuf>,
    /// A socket for metrics.
    pub admin: Option<String>,
    /// Print the policy that the client would need.
    pub dry_run: DryRun,
}

/// Whether to learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DryRun {
    /// Refuse what the policy refuses.
    #[default]
    Off,
    /// Lift refusals that a policy key would lift, and print the keys.
    On,
}

impl Gateway {
    async fn open(
        docker: &str,
        store: &Path,
        sockets: PathBuf,
        audit: Option<&Path>,
        dry_run: DryRun,
    ) -> Result<(Arc<Self>, Found)> {
        raise_descriptor_limit();
        let audit = Audit::open(audit).context("cannot open the audit log")?;
        let (store, found) = Store::open(store)?;
        let shared = Arc::new(Shared {
            engine: Engine::new(socket_path(docker)?),
            store,
            audit,
            metrics: Metrics::default(),
            origins: Origins::default(),
            dry_run: (dry_run == DryRun::On).then(Learnt::default),
        });
        let (everybody, found): (Found, Found) =
            found.into_iter().partition(|left| left.name == EVERYBODY);
        for (_, thing) in everybody.iter().flat_map(|left| &left.things) {
            shared.origins.note(&thing.id, &thing.name);
        }
        let gateway = Arc::new(Self {
            shared,
            clients: Mutex::default(),
            leaving: std::sync::Mutex::default(),
            sockets,
            info: Mutex::new(Value::Null),
        });
        gateway.wait_for_engine().await?;
        Ok((gateway, found))
    }

    async fn wait_for_engine(&self) -> Result<()> {
        let started = tokio::time::Instant::now();
        let mut told = false;
        while let Err(e) = self.shared.engine.negotiate().await {
            if started.elapsed() > ENGINE_WAIT {
                bail!("{e}");
            }
            if !std::mem::replace(&mut told, true) {
                let seconds = ENGINE_WAIT.as_secs();
                eprintln!("{e} Waiting for it up to {seconds} s; --docker says where it is.");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let info = self.shared.engine.json(crate::engine::Request::get(&["info"])).await?.1;
        if self.shared.origins.learn(&info) {
            eprintln!(
                "chitin gateway: the engine keeps images in containerd's store, which does not tell what came from a \
                 registry: clients may use what is pulled through the gateway, and local_images"
            );
        }
        *self.info.lock().await = info;
        Ok(())
    }

    /// All clients.
    pub(crate) async fn clients(&self) -> Vec<Arc<Client>> {
        self.clients.lock().await.values().map(|r| r.client.clone()).collect()
    }

    /// Gauges for the metrics.
    pub(crate) async fn metrics(&self) -> String {
        let gauges: Vec<Gauge> = self
            .clients()
            .await
            .iter()
            .map(|c| {
                let i = c.index();
                let counts =
                    [i.containers.count(), i.networks.count(), i.volumes.count(), i.tags.count()];
                Gauge { client: c.name.clone(), counts }
            })
            .collect();
        self.shared.metrics.render(&gauges)
    }

    /// The policy learnt so far.
    pub(crate) fn learnt(&self) -> Option<String> {
        self.shared.dry_run.as_ref().map(Learnt::render)
    }

    /// Clients as JSON.
    pub(crate) async fn list(&self) -> Value {
        let clients = self.clients.lock().await;
        let one = |r: &Running| {
            let index = r.client.index();
            serde_json::json!({
                "name": r.client.name, "listen": format!("unix:{}", r.client.socket.display()),
                "containers": index.containers.count(), "networks": index.networks.count(),
                "volumes": index.volumes.count(), "images": index.tags.count(),
                "cgroup": r.cgroup.as_ref().map(|c| c.parent.clone()),
            })
        };
        clients.values().map(one).collect()
    }

    /// Adds a client: its record, its cgroup, its socket.
    pub(crate) async fn add(
        self: &Arc<Self>,
        config: ClientConfig,
        from_file: Option<ClientConfig>,
    ) -> Result<PathBuf> {
        config.check()?;
        let name = config.name.clone();
        let socket = config.socket(&self.sockets)?;
        let mut clients = self.clients.lock().await;
        if clients.contains_key(&name) {
            bail!("there is a client called {name:?} already; remove it first");
        }
        if self.leaving().contains(&name) {
            bail!("the client called {name:?} is still being removed; try again in a moment");
        }
        let info = self.info.lock().await.clone();
        let cgroup = make_cgroup(&config, &info)?;
        let runtime = choose_runtime(&config, &info)?;
        let parent = cgroup.as_ref().map(|c| c.parent.clone());
        let place = Place { cgroup: parent.clone(), socket: socket.clone() };
        let policy = config.policy(runtime, parent);
        self.shared.store.add_client(&name, &place).await.map_err(anyhow::Error::msg)?;
        let listener = front::bind(&socket, &config)?;
        let client = Client::new(config, policy, socket.clone(), self.shared.clone());
        let (closing, closed) = watch::channel(false);
        tokio::spawn(front::accept(listener, client.clone(), closed));
        let expiry = self.arm(&client, &closing);
        clients.insert(name, Running { client, closing, cgroup, from_file, expiry });
        Ok(socket)
    }

    fn leaving(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that a client with a timeout, counted from when it came, is removed then.
    fn arm(
        self: &Arc<Self>,
        client: &Client,
        closing: &watch::Sender<bool>,
    ) -> Option<AbortHandle> {
        let timeout = Duration::from_secs(client.config().timeout?);
        let left = timeout.saturating_sub(client.created.elapsed().unwrap_or_default());
        let expire = self.clone().expire(client.name.clone(), left, closing.subscribe());
        Some(tokio::spawn(expire).abort_handle())
    }

    async fn expire(
        self: Arc<Self>,
        name: String,
        left: Duration,
        mut closed: watch::Receiver<bool>,
    ) {
        tokio::select! {
            () = tokio::time::sleep(left) => {
                eprintln!("chitin gateway: client {name} timed out and is removed");
                if let Err(e) = self.remove(&name).await {
                    eprintln!("chitin gateway: client {name}: {e:#}");
                }
            }
            _ = closed.changed() => {}
        }
    }

    /// Removes a client and everything it made.
    pub(crate) async fn remove(self: &Arc<Self>, name: &str) -> Result<()> {
        let running = {
            let mut clients = self.clients.lock().await;
            let running = clients.remove(name);
            let running = running.with_context(|| format!("there is no client called {name:?}"))?;
            self.leaving().insert(name.to_owned());
            running
        };
        let removed = self.remove_all_of(&running).await;
        self.leaving().remove(name);
        self.shared.metrics.forget(name);
        removed
    }

    async fn remove_all_of(&self, running: &Running) -> Result<()> {
        let name = running.client.name.as_str();
        running.client.closing.store(true, Ordering::Release);
        let _ = std::fs::remove_file(&running.client.socket);
        let _ = running.closing.send(true);
        // What is being made is waited for, so that it is known.
        let idle = running.client.in_flight.write();
        let _ = tokio::time::timeout(IN_FLIGHT_WAIT, idle).await;
        let known = Known::of(&running.client);
        let swept = sweep::sweep(&self.shared, &known).await;
        let client = running.client.clone();
        let _ = tokio::task::spawn_blocking(move || client.unpin()).await;
        if let Some(cgroup) = &running.cgroup {
            cgroup::remove(&cgroup.parent);
        }
        // On failure the record stays, so that the next start tries again.
        swept.map_err(|e| anyhow::anyhow!("client {name}: {e}"))?;
        self.shared.store.forget_client(name).await.map_err(anyhow::Error::msg)
    }

    /// Removes what clients left behind when a gateway before this one ended without removing it. What fails for one
    /// is told and holds up no other; its name is not given again before the next start, which tries again.
    async fn recover(&self, found: Found) {
        for left in found {
            let (name, n) = (&left.name, left.things.len());
            eprintln!("chitin gateway: removing what client {name} left ({n} entries on record)");
            if let Err(e) = self.recover_one(&left).await {
                eprintln!(
                    "chitin gateway: client {name}: {e:#}; remove what is in the way and start the gateway again: \
                     until then the name is not given"
                );
                self.leaving().insert(name.clone());
            }
        }
    }

    async fn recover_one(&self, left: &Left) -> Result<()> {
        let name = &left.name;
        let swept = sweep::sweep(&self.shared, &Known::new(left)).await;
        swept.map_err(anyhow::Error::msg)?;
        Pins::new(name).clear(&self.shared.engine);
        if let Some(parent) = &left.place.cgroup {
            cgroup::remove(parent);
        }
        front::remove_dead(&left.place.socket);
        self.shared.store.forget_client(name).await.map_err(anyhow::Error::msg)
    }

    async fn remove_all(self: &Arc<Self>) -> Result<()> {
        let names: Vec<String> = self.clients.lock().await.keys().cloned().collect();
        let mut failed = Ok(());
        for name in names {
            if let Err(e) = self.remove(&name).await {
                failed = Err(e);
            }
        }
        failed
    }

    fn start_background(self: &Arc<Self>) {
        tokio::spawn(background::events(self.clone()));
        tokio::spawn(background::storage(self.clone()));
    }

    /// Makes the clients those of a configuration: new ones come, vanished ones go, changed ones get their policy. What
    /// fails for one client is told and holds up no other.
    async fn apply(self: &Arc<Self>, config: &Config) -> Result<()> {
        let wanted: BTreeMap<String, ClientConfig> =
            config.clients().map(|c| (c.name.clone(), c)).collect();
        let have: Vec<(String, ClientConfig)> = {
            let clients = self.clients.lock().await;
            let file = clients.iter().filter_map(|(n, r)| Some((n.clone(), r.from_file.clone()?)));
            file.collect()
        };
        let mut failed = 0_usize;
        let mut note = |name: &str, result: Result<()>| {
            if let Err(e) = result {
                eprintln!("chitin gateway: client {name}: {e:#}");
                failed += 1;
            }
        };
        for (name, old) in have {
            match wanted.get(&name) {
                None => note(&name, self.remove(&name).await),
                Some(new) if *new != old => note(&name, self.change(&name, new.clone()).await),
                Some(_) => {}
            }
        }
        for (name, new) in wanted {
            let known = self.clients.lock().await.contains_key(&name);
            if !known {
                note(&name, self.add(new.clone(), Some(new)).await.map(|_| ()));
            }
        }
        match failed {
            0 => Ok(()),
            n => bail!("{n} of the file's clients are not as it says; see above"),
        }
    }

    /// A changed client keeps what it made; its policy, limits and budget are the new ones from now on.
    async fn change(self: &Arc<Self>, name: &str, new: ClientConfig) -> Result<()> {
        let info = self.info.lock().await.clone();
        let mut clients = self.clients.lock().await;
        let Some(running) = clients.get_mut(name) else { return Ok(()) };
        let mut now = new.clone();
        // Its containers are in the one and its users hold the other, so these two cannot be exchanged.
        let old = running.client.config();
        if new.socket(&self.sockets)? != running.client.socket || new.cgroup != old.cgroup {
            eprintln!(
                "chitin gateway: client {name}: its socket and its cgroup stay; remove and add it to change them"
            );
            now.listen = Some(format!("unix:{}", running.client.socket.display()));
            now.cgroup.clone_from(&old.cgroup);
        }
        front::dress(&running.client.socket, &now)?;
        running.cgroup = make_cgroup(&now, &info)?;
        let runtime = choose_runtime(&now, &info)?;
        let parent = running.cgroup.as_ref().map(|c| c.parent.clone());
        let policy = now.policy(runtime, parent);
        running.client.change(now, policy);
        if let Some(expiry) = running.expiry.take() {
            expiry.abort();
        }
        running.expiry = self.arm(&running.client, &running.closing);
        running.from_file = Some(new);
        Ok(())
    }

    /// The engine's directory, as this process finds it; nothing where it may not look.
    pub(crate) async fn engine_root(&self) -> Option<PathBuf> {
        let info = self.info.lock().await;
        let root = info.get("DockerRootDir").and_then(Value::as_str)?.trim_start_matches('/');
        let pid = self.shared.engine.process().ok()?;
        Some(PathBuf::from(format!("/proc/{pid}/root")).join(root))
    }
}

/// Ten thousand streams need twenty thousand descriptors.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
}

fn default_cgroup(name: &str) -> String {
    format!("/chitin-gateway/{name}")
}

/// The client's cgroup, unless the operator goes without.
fn make_cgroup(config: &ClientConfig, info: &Value) -> Result<Option<Cgroup>> {
    let budget = Budget { memory: config.memory, nano_cpus: config.nano_cpus(), pids: config.pids };
    let parent = match config.cgroup.as_deref() {
        Some("none") => return Ok(None),
        Some(parent) => parent.to_owned(),
        None if budget.memory.or(budget.nano_cpus).or(budget.pids).is_none()
            && !rustix::process::geteuid().is_root() =>
        {
            return Ok(None);
        }
        None => default_cgroup(&config.name),
    };
    let driver = info.get("CgroupDriver").and_then(Value::as_str).unwrap_or("cgroupfs");
    Cgroup::create(&parent, driver, budget).map(Some)
}

/// The configured runtime; else `chitin` if the engine has it, else the engine's default.
fn choose_runtime(config: &ClientConfig, info: &Value) -> Result<Option<String>> {
    let has = |name: &str| info.get("Runtimes").is_some_and(|r| r.get(name).is_some());
    match &config.runtime {
        Some(name) if has(name) => Ok(Some(name.clone())),
        Some(name) => bail!("the engine has no runtime {name:?}; see `docker info`"),
        None => Ok(has("chitin").then(|| "chitin".to_owned())),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().min(8)))
        .max_blocking_threads(1024)
        .build()
        .context("cannot start the runtime")
}

/// Runs the gateway for one client until a signal or its timeout; then everything that it made is removed.
pub fn run_single(options: Single) -> Result<()> {
    runtime()?.block_on(single(options))
}

fn default_state() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return "/var/lib/chitin-gateway".into();
    }
    let base = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".local/state")));
    base.unwrap_or_else(std::env::temp_dir).join("chitin-gateway")
}

async fn single(options: Single) -> Result<()> {
    options.client.check()?;
    let state = options.state.clone().unwrap_or_else(default_state);
    let store = state.join(format!("{}.redb", options.client.name));
    let (gateway, found) =
        Gateway::open(&options.docker, &store, state, options.audit.as_deref(), options.dry_run)
            .await?;
    gateway.recover(found).await;
    gateway.start_background();
    let name = options.client.name.clone();
    let socket = gateway.add(options.client, None).await?;
    if let Some(address) = &options.admin {
        admin::listen(&gateway, &socket_path(address)?, &Arc::new(ClientConfig::default()))?;
    }
    eprintln!("chitin gateway: client {name} at unix:{}", socket.display());
    let ended = async {
        // Its timeout removes the client from the map.
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if gateway.clients.lock().await.is_empty() {
                return;
            }
        }
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let stop = async {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => if let Some(audit) = &options.audit {
                    gateway.shared.audit.reopen(audit);
                },
            }
        }
    };
    tokio::select! {
        () = ended => {}
        () = stop => {}
    }
    let removed = gateway.remove_all().await;
    if let Some(policy) = gateway.learnt() {
        print!("{policy}");
    }
    removed
}

/// Runs the gateway for the clients of a file and those added at run time.
pub fn run_serve(path: &Path) -> Result<()> {
    let config = Config::load(path)?;
    runtime()?.block_on(serve(path, config))
}

async fn serve(path: &Path, mut config: Config) -> Result<()> {
    let store = config.state.join("serve.redb");
    let sockets = config.sockets.clone();
    let (gateway, found) =
        Gateway::open(&config.docker, &store, sockets, config.audit.as_deref(), DryRun::Off)
            .await?;
    gateway.recover(found).await;
    gateway.start_background();
    let defaults = Arc::new(config.defaults.clone());
    admin::listen(&gateway, &socket_path(&config.admin)?, &defaults)?;
    gateway.apply(&config).await?;
    let n = config.clients().count();
    eprintln!("chitin gateway: {n} clients, admin at {}", config.admin);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let stopping = AtomicBool::new(false);
    while !stopping.load(Ordering::Relaxed) {
        tokio::select! {
            _ = terminate.recv() => stopping.store(true, Ordering::Relaxed),
            _ = interrupt.recv() => stopping.store(true, Ordering::Relaxed),
            _ = hangup.recv() => {
                match Config::load(path) {
                    Ok(new) => {
                        config = new;
                        if let Some(audit) = &config.audit {
                            gateway.shared.audit.reopen(audit);
                        }
                        if let Err(e) = gateway.apply(&config).await {
                            eprintln!("chitin gateway: reload: {e:#}");
                        }
                    }
                    Err(e) => eprintln!("chitin gateway: the old configuration stays: {e:#}"),
                }
            }
        }
    }
    let _ = std::fs::remove_file(socket_path(&config.admin)?);
    gateway.remove_all().await
}
