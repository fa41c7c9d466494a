//! What belongs to whom, durably: a redb file written by one thread that commits whatever is waiting as one transaction.
//!
//! Reads go to each client's own index in memory; the file is read once, after a crash, to know what to remove. An
//! entry is durable before the engine is asked to make the thing it is about.

use anyhow::{Context, Result};
use redb::{Database, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use tokio::sync::oneshot;

/// Keys are `client NUL kind NUL id`; values are a [`Thing`] as JSON.
const THINGS: TableDefinition<&str, &str> = TableDefinition::new("things");
/// Clients that have or had a socket; values are a [`Place`] as JSON.
const CLIENTS: TableDefinition<&str, &str> = TableDefinition::new("clients");
/// Changes that are committed together at most.
const MAX_BATCH: usize = 512;

/// No client's name: what is known for all of them, and stays when they go.
pub const EVERYBODY: &str = "";

/// What sort of thing an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A container, by full id.
    Container,
    /// A network, by full id.
    Network,
    /// A volume, by the engine's name.
    Volume,
    /// A private tag, by the engine's reference.
    Tag,
    /// A public image that the client pulled or used, by reference.
    Pulled,
    /// Something that the engine was asked to make; the id is its name at the engine.
    Intent,
    /// A build that runs.
    Build,
}

impl Kind {
    fn key(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Tag => "tag",
            Self::Pulled => "pulled",
            Self::Intent => "intent",
            Self::Build => "build",
        }
    }

    fn from_key(key: &str) -> Option<Self> {
        let all = [
            Self::Container,
            Self::Network,
            Self::Volume,
            Self::Tag,
            Self::Pulled,
            Self::Intent,
            Self::Build,
        ];
        all.into_iter().find(|k| k.key() == key)
    }
}

/// Something of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thing {
    /// What the engine calls it for certain.
    pub id: String,
    /// What the client calls it.
    pub name: String,
}

/// Where a client was, beside the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The parent of its control groups.
    pub cgroup: Option<String>,
    /// Its socket.
    pub socket: PathBuf,
}

/// What the store held of one client.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// The client.
    pub name: String,
    /// Where it was.
    pub place: Place,
    /// What it made.
    pub things: Vec<(Kind, Thing)>,
}

enum Change {
    Put(String, String),
    Delete(String),
    Client(String, String),
    Forget(String),
}

type Request = (Vec<Change>, oneshot::Sender<Result<(), String>>);

/// The durable store.
pub struct Store {
    queue: mpsc::Sender<Request>,
}

/// What the store held when it was opened.
pub type Found = Vec<Left>;

fn key(client: &str, kind: Kind, id: &str) -> String {
    format!("{client}\0{}\0{id}", kind.key())
}

impl Store {
    /// Opens or makes the file; also returns what is in it.
    pub fn open(path: &Path) -> Result<(Self, Found)> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot make {}; choose --state", dir.display()))?;
        }
        let db = Database::create(path).with_context(|| {
            format!("cannot open the store {}; is another gateway using it?", path.display())
        })?;
        let found = load(&db).context("cannot read the store; remove it to start anew")?;
        let (queue, requests) = mpsc::channel();
        std::thread::Builder::new()
            .name("gateway-store".into())
            .spawn(move || write_loop(&db, &requests))
            .context("cannot start the store's thread")?;
        Ok((Self { queue }, found))
    }

    async fn change(&self, changes: Vec<Change>) -> Result<(), String> {
        let (done, result) = oneshot::channel();
        self.queue.send((changes, done)).map_err(|_| "the store is closed".to_owned())?;
        result.await.map_err(|_| "the store is closed".to_owned())?
    }

    /// Records things, durably when this returns.
    pub async fn put(&self, client: &str, things: &[(Kind, &Thing)]) -> Result<(), String> {
        let encode = |(kind, thing): &(Kind, &Thing)| {
            let value = serde_json::to_string(thing).unwrap_or_default();
            Change::Put(key(client, *kind, &thing.id), value)
        };
        self.change(things.iter().map(encode).collect()).await
    }

    /// Turns an intent into a thing.
    pub async fn fulfil(
        &self,
        client: &str,
        intent: &str,
        kind: Kind,
        thing: &Thing,
    ) -> Result<(), String> {
        let value = serde_json::to_string(thing).unwrap_or_default();
        let put = Change::Put(key(client, kind, &thing.id), value);
        self.change(vec![put, Change::Delete(key(client, Kind::Intent, intent))]).await
    }

    /// Removes an entry.
    pub async fn delete(&self, client: &str, kind: Kind, id: &str) -> Result<(), String> {
        self.change(vec![Change::Delete(key(client, kind, id))]).await
    }

    /// Records that a client exists.
    pub async fn add_client(&self, client: &str, place: &Place) -> Result<(), String> {
        let value = serde_json::to_string(place).map_err(|e| e.to_string())?;
        self.change(vec![Change::Client(client.into(), value)]).await
    }

    /// Forgets a client and everything about it.
    pub async fn forget_client(&self, client: &str) -> Result<(), String> {
        self.change(vec![Change::Forget(client.into())]).await
    }
}

fn load(db: &Database) -> Result<Found> {
    let setup = db.begin_write()?;
    setup.open_table(THINGS)?;
    setup.open_table(CLIENTS)?;
    setup.commit()?;
    let read = db.begin_read()?;
    let mut found: Found = Vec::new();
    for row in read.open_table(CLIENTS)?.iter()? {
        let (name, place) = row?;
        let place = serde_json::from_str(place.value()).unwrap_or_default();
        found.push(Left { name: name.value().to_owned(), place, things: Vec::new() });
    }
    for row in read.open_table(THINGS)?.iter()? {
        let (k, v) = row?;
        let mut parts = k.value().split('\0');
        let (Some(client), Some(kind)) = (parts.next(), parts.next().and_then(Kind::from_key))
        else {
            continue;
        };
        let thing: Thing = serde_json::from_str(v.value())?;
        match found.iter_mut().find(|left| left.name == client) {
            Some(left) => left.things.push((kind, thing)),
            None => found.push(Left {
                name: client.to_owned(),
                things: vec![(kind, thing)],
                ..Left::default()
            }),
        }
    }
    Ok(found)
}

fn write_loop(db: &Database, requests: &mpsc::Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH {
            match requests.try_recv() {
                Ok(next) => batch.push(next),
                Err(_) => break,
            }
        }
        let changes = batch.iter().flat_map(|(changes, _)| changes);
        let result = commit(db, changes).map_err(|e| format!("the store cannot be written: {e:#}"));
        for (_, done) in batch {
            let _ = done.send(result.clone());
        }
    }
}

fn commit<'a>(db: &Database, changes: impl Iterator<Item = &'a Change>) -> Result<()> {
    let write = db.begin_write()?;
    {
        let mut things = write.open_table(THINGS)?;
        let mut clients = write.open_table(CLIENTS)?;
        for change in changes {
            match change {
                Change::Put(k, v) => {
                    things.insert(k.as_str(), v.as_str())?;
                }
                Change::Delete(k) => {
                    things.remove(k.as_str())?;
                }
                Change::Client(name, place) => {
                    clients.insert(name.as_str(), place.as_str())?;
                }
                Change::Forget(name) => {
                    clients.remove(name.as_str())?;
                    let from = format!("{name}\0");
                    let to = format!("{name}\u{1}");
                    things.retain_in(from.as_str()..to.as_str(), |_, _| false)?;
                }
            }
        }
    }
    write.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn remembers_what_was_put() {
        let dir = std::env::temp_dir().join(format!("chitin-store-{}", std::process::id()));
        let path = dir.join("a.redb");
        let place = Place { cgroup: Some("/a".into()), socket: "/run/a.sock".into() };
        let thing = |id: &str| Thing { id: id.into(), name: "web".into() };
        {
            let (store, found) = Store::open(&path).expect("open");
            assert!(found.is_empty());
            store.add_client("a", &place).await.expect("add");
            store.put("a", &[(Kind::Intent, &thing("ct-a.web"))]).await.expect("put");
            store.fulfil("a", "ct-a.web", Kind::Container, &thing("1")).await.expect("fulfil");
            store.put("ab", &[(Kind::Volume, &thing("v"))]).await.expect("put");
            store.put("b", &[(Kind::Tag, &thing("t"))]).await.expect("put");
            store.delete("b", Kind::Tag, "t").await.expect("delete");
            store.put("c", &[(Kind::Tag, &thing("t"))]).await.expect("put");
            store.forget_client("c").await.expect("forget");
        }
        // The thread closes the file when its queue is gone.
        let mut again = Store::open(&path);
        for _ in 0..100 {
            if again.is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            again = Store::open(&path);
        }
        let (_, found) = again.expect("open again");
        assert_eq!(
            found,
            vec![
                Left { name: "a".into(), place, things: vec![(Kind::Container, thing("1"))] },
                Left {
                    name: "ab".into(),
                    things: vec![(Kind::Volume, thing("v"))],
                    ..Left::default()
                },
            ]
        );
        std::fs::remove_dir_all(dir).expect("remove");
    }
}
