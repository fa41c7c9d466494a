//! What one client owns, in memory: names and ids, looked up among its own things only.
//!
//! What is not here is absent, whoever else may have it; so a foreign thing and an absent one take the same path.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::store::Kind;

/// Things with an id and a name of the client's.
#[derive(Debug, Default)]
pub struct Table {
    by_id: BTreeMap<String, String>,
    by_name: HashMap<String, String>,
    /// Being made: counted, not yet there.
    pending: usize,
}

impl Table {
    /// Adds or renames.
    pub fn insert(&mut self, id: &str, name: &str) {
        if let Some(old) = self.by_id.insert(id.into(), name.into())
            && self.by_name.get(&old).is_some_and(|i| i == id)
        {
            self.by_name.remove(&old);
        }
        self.by_name.insert(name.into(), id.into());
    }

    /// Removes by id.
    pub fn remove(&mut self, id: &str) -> Option<String> {
        let name = self.by_id.remove(id)?;
        if self.by_name.get(&name).is_some_and(|i| i == id) {
            self.by_name.remove(&name);
        }
        Some(name)
    }

    /// The client's name of an id.
    #[must_use]
    pub fn name(&self, id: &str) -> Option<&str> {
        self.by_id.get(id).map(String::as_str)
    }

    /// The id of a name.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).map(String::as_str)
    }

    /// Finds by full id, name or unambiguous prefix of an id, in the engine's order.
    #[must_use]
    pub fn resolve(&self, reference: &str) -> Option<&str> {
        if let Some((id, _)) = self.by_id.get_key_value(reference) {
            return Some(id);
        }
        if let Some(id) = self.id(reference.strip_prefix('/').unwrap_or(reference)) {
            return Some(id);
        }
        let hex = !reference.is_empty() && reference.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex {
            return None;
        }
        let mut range = self.by_id.range(reference.to_owned()..);
        let (first, _) = range.next().filter(|(id, _)| id.starts_with(reference))?;
        let second = range.next().filter(|(id, _)| id.starts_with(reference));
        second.is_none().then_some(first.as_str())
    }

    /// How many there are, those being made included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_id.len() + self.pending
    }

    /// Counts one that is being made, if there is room.
    pub fn reserve(&mut self, limit: usize) -> bool {
        let room = self.count() < limit;
        self.pending += usize::from(room);
        room
    }

    /// It is made, or will not be.
    pub fn release(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }

    /// All ids and names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_id.iter().map(|(i, n)| (i.as_str(), n.as_str()))
    }
}

/// Everything of one client.
#[derive(Debug, Default)]
pub struct Index {
    /// Containers by full id.
    pub containers: Table,
    /// Networks by full id.
    pub networks: Table,
    /// Volumes by the engine's name.
    pub volumes: Table,
    /// Private tags: the engine's reference and the client's name.
    pub tags: Table,
    /// Public images that were pulled or used.
    pub pulled: BTreeSet<String>,
}

impl Index {
    /// The table of a kind of things, if they have one.
    pub fn table(&mut self, kind: Kind) -> Option<&mut Table> {
        match kind {
            Kind::Container => Some(&mut self.containers),
            Kind::Network => Some(&mut self.networks),
            Kind::Volume => Some(&mut self.volumes),
            Kind::Tag => Some(&mut self.tags),
            Kind::Pulled | Kind::Intent | Kind::Build => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_as_the_engine_does() {
        let mut t = Table::default();
        t.insert("abc1", "web");
        t.insert("abd2", "abc");
        assert_eq!(t.resolve("abc"), Some("abd2"), "a name wins over a prefix");
        assert_eq!(t.resolve("abc1"), Some("abc1"));
        assert_eq!(t.resolve("ab"), None, "ambiguous");
        assert_eq!(t.resolve("abd"), Some("abd2"));
        assert_eq!(t.resolve("/web"), Some("abc1"));
        assert_eq!(t.resolve(""), None);
        t.insert("abc1", "db");
        assert_eq!((t.resolve("web"), t.resolve("db")), (None, Some("abc1")));
        t.insert("f00", "db");
        t.remove("abc1");
        assert_eq!(t.resolve("db"), Some("f00"), "an old owner of a name takes nothing with it");
    }

    #[test]
    fn counts_what_is_being_made() {
        let mut t = Table::default();
        assert!(t.reserve(1) && !t.reserve(1));
        t.release();
        assert!(t.reserve(1));
    }
}
