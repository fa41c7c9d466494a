//! [`Ids`]: the identifiers of a family of objects.
//!
//! An identifier is an index and, above it, how often the indices have come round, so that
//! one that is gone is not soon that of another object.

use super::Perm;
use crate::cred::Cred;
use chitin_abi::Errno;
use chitin_abi::ipc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE};
use std::collections::{BTreeMap, HashMap};

/// Bits of an identifier that are the index.
pub(crate) const INDEX_BITS: u32 = 15;
const INDEX_MASK: i32 = (1 << INDEX_BITS) - 1;
/// As many indices at least are used in turn.
const LEAST_ROUND: usize = 64;
/// Rounds before the identifiers begin anew.
const ROUNDS: i32 = 1 << 16;

/// One object.
#[derive(Debug)]
pub struct Object<T> {
    /// Its identifier.
    pub id: i32,
    /// Whose it is.
    pub perm: Perm,
    /// What it is.
    pub body: T,
}

/// All objects of a family.
#[derive(Debug)]
pub struct Ids<T> {
    objects: BTreeMap<i32, Object<T>>,
    keys: HashMap<i32, i32>,
    last: i32,
    round: i32,
    most: usize,
}

impl<T> Ids<T> {
    /// Room for as many objects.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { objects: BTreeMap::new(), keys: HashMap::new(), last: -1, round: 0, most }
    }

    /// The object of a key as `*get(2)` asks for it, or `None` if it is to be made. `check` is
    /// what the family says to one that is there.
    pub fn look_up(
        &self,
        key: i32,
        flags: u32,
        cred: &Cred,
        check: impl FnOnce(&T) -> Result<(), Errno>,
    ) -> Result<Option<i32>, Errno> {
        let there = self.keys.get(&key).and_then(|index| self.objects.get(index));
        let Some(object) = there else {
            let makes = key == IPC_PRIVATE || flags & IPC_CREAT != 0;
            return if makes { Ok(None) } else { Err(Errno::ENOENT) };
        };
        if flags & IPC_CREAT != 0 && flags & IPC_EXCL != 0 {
            return Err(Errno::EEXIST);
        }
        check(&object.body)?;
        object.perm.allow(cred, flags)?;
        Ok(Some(object.id))
    }

    /// Adds an object; `ENOSPC` if there are too many.
    pub fn add(&mut self, perm: Perm, body: T) -> Result<i32, Errno> {
        if self.objects.len() >= self.most {
            return Err(Errno::ENOSPC);
        }
        let round = (self.objects.len() * 3 / 2).max(LEAST_ROUND).min(self.most);
        let round = i32::try_from(round).unwrap_or(INDEX_MASK);
        let free = |index: &i32| !self.objects.contains_key(index);
        let index = (self.last + 1..round).chain(0..round).find(free).ok_or(Errno::ENOSPC)?;
        if index <= self.last {
            self.round = (self.round + 1) % ROUNDS;
        }
        self.last = index;
        let id = self.round << INDEX_BITS | index;
        if perm.key != IPC_PRIVATE {
            self.keys.insert(perm.key, index);
        }
        self.objects.insert(index, Object { id, perm, body });
        Ok(id)
    }

    /// The object with an identifier; `EINVAL` if there is none.
    pub fn get(&self, id: i32) -> Result<&Object<T>, Errno> {
        self.at(id).ok().filter(|o| o.id == id).ok_or(Errno::EINVAL)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: i32) -> Result<&mut Object<T>, Errno> {
        let object = self.objects.get_mut(&(id & INDEX_MASK));
        object.filter(|o| o.id == id).ok_or(Errno::EINVAL)
    }

    /// The object with an index; `EINVAL` if there is none.
    pub fn at(&self, index: i32) -> Result<&Object<T>, Errno> {
        if index < 0 {
            return Err(Errno::EINVAL);
        }
        self.objects.get(&(index & INDEX_MASK)).ok_or(Errno::EINVAL)
    }

    /// Takes the key from an object: it is only found by its identifier.
    pub fn hide(&mut self, id: i32) {
        if let Ok(object) = self.get_mut(id) {
            let key = std::mem::replace(&mut object.perm.key, IPC_PRIVATE);
            self.keys.remove(&key);
        }
    }

    /// Takes an object out.
    pub fn remove(&mut self, id: i32) -> Option<Object<T>> {
        self.hide(id);
        self.get(id).ok()?;
        self.objects.remove(&(id & INDEX_MASK))
    }

    /// All objects, by index.
    pub fn iter(&self) -> impl Iterator<Item = &Object<T>> {
        self.objects.values()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.objects.len()
    }

    /// The highest index that is used, or 0.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.objects.last_key_value().map_or(0, |(index, _)| u64::from(index.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(ids: &mut Ids<u8>, key: i32) -> Result<i32, Errno> {
        ids.add(Perm { key, mode: 0o600, ..Perm::default() }, 7)
    }

    #[test]
    fn identifiers_are_not_soon_used_again() {
        let mut ids = Ids::new(100);
        let first = add(&mut ids, 1).unwrap();
        assert_eq!(ids.get(first).unwrap().body, 7);
        assert!(ids.remove(first).is_some() && ids.remove(first).is_none());
        let mut seen = std::collections::HashSet::from([first]);
        for _ in 0..1000 {
            let id = add(&mut ids, 1).unwrap();
            assert!(seen.insert(id) && id >= 0);
            ids.remove(id);
        }
        assert_eq!(ids.get(first).map(|_| ()), Err(Errno::EINVAL));
        assert_eq!(ids.count(), 0);
    }

    #[test]
    fn there_is_a_limit() {
        let mut ids = Ids::new(100);
        let all: Vec<i32> = (0..100).map(|_| add(&mut ids, IPC_PRIVATE).unwrap()).collect();
        assert_eq!(add(&mut ids, IPC_PRIVATE), Err(Errno::ENOSPC));
        assert_eq!(ids.highest(), 99);
        ids.remove(all[40]);
        assert_eq!(add(&mut ids, IPC_PRIVATE).map(|id| id & INDEX_MASK), Ok(40));
    }

    #[test]
    fn keys_find_what_they_made() {
        let mut ids = Ids::new(100);
        let root = Cred::for_user(0, 0, Vec::new());
        let find = |ids: &Ids<u8>, flags| ids.look_up(5, flags, &root, |_| Ok(()));
        assert_eq!(find(&ids, 0), Err(Errno::ENOENT));
        assert_eq!(find(&ids, IPC_CREAT), Ok(None));
        let id = add(&mut ids, 5).unwrap();
        assert_eq!(find(&ids, IPC_CREAT), Ok(Some(id)));
        assert_eq!(find(&ids, IPC_CREAT | IPC_EXCL), Err(Errno::EEXIST));
        assert_eq!(ids.look_up(5, 0, &root, |_| Err(Errno::EINVAL)), Err(Errno::EINVAL));
        let user = Cred::for_user(9, 9, Vec::new());
        assert_eq!(ids.look_up(5, 0o400, &user, |_| Ok(())), Err(Errno::EACCES));
        ids.hide(id);
        assert_eq!(find(&ids, 0), Err(Errno::ENOENT));
        assert!(ids.get(id).is_ok());
    }
}
