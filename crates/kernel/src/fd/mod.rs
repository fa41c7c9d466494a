//! Descriptor tables.
//!
//! [`FdTable`] is shared by threads (`CLONE_FILES`) and copied by `fork(2)`.
//! Lock: one per table; no file operation runs under it, and a file dropped by
//! `close(2)` or `dup2(2)` is returned to the caller to be dropped outside.

use crate::published::Published;
use crate::sync::RwLock;
use crate::syscall::locks::closed;
use crate::vfs::File;
use chitin_abi::Errno;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// One descriptor.
#[derive(Clone)]
pub struct FdEntry {
    /// The open file description.
    pub file: Arc<File>,
    /// `FD_CLOEXEC`.
    pub cloexec: bool,
}

/// Places that every table may have.
const SMALL_TABLE: usize = 64;

/// A table of descriptors.
pub struct FdTable {
    slots: RwLock<Slots>,
    /// Tells tables apart, as owners of record locks.
    id: u64,
}

impl Default for FdTable {
    fn default() -> Self {
        Self::with(Slots::default())
    }
}

/// Record locks on a file end when its owner closes any descriptor of the file.
impl Drop for FdTable {
    fn drop(&mut self) {
        self.remove_if(|_, _| true);
    }
}

#[derive(Default, Clone)]
struct Slots {
    entries: Vec<Option<FdEntry>>,
    /// No descriptor below this one is free.
    first_free: usize,
    /// Who has published answers about descriptors.
    published: Vec<Weak<Published>>,
}

impl Slots {
    /// Before a descriptor stands for something else, or for nothing.
    fn unpublish(&self, at: usize) {
        for published in self.published.iter().filter_map(Weak::upgrade) {
            published.drop_file(at);
        }
    }
}

impl Slots {
    /// Makes room up to `len`; `ENFILE` if that is much and the sentry keeps too much already.
    fn grow(&mut self, len: usize) -> Result<(), Errno> {
        if len > SMALL_TABLE && chitin_hostsys::heap::is_short() {
            return Err(Errno::ENFILE);
        }
        self.entries.resize(len, None);
        Ok(())
    }
}

fn index(fd: i32) -> Result<usize, Errno> {
    usize::try_from(fd).map_err(|_| Errno::EBADF)
}

impl FdTable {
    fn with(slots: Slots) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { slots: RwLock::new(slots), id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// A number that no other table has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The description behind `fd`, or `EBADF`.
    pub fn get(&self, fd: i32) -> Result<Arc<File>, Errno> {
        self.entry(fd).map(|e| e.file)
    }

    /// The entry of `fd`, or `EBADF`.
    pub fn entry(&self, fd: i32) -> Result<FdEntry, Errno> {
        let slots = self.slots.read();
        slots.entries.get(index(fd)?).and_then(Clone::clone).ok_or(Errno::EBADF)
    }

    /// Puts `entry` at the lowest free number from `from` on that is below `limit`
    /// (`RLIMIT_NOFILE`); `EMFILE` if there is none.
    pub fn install(&self, entry: FdEntry, from: u32, limit: u64) -> Result<i32, Errno> {
        let mut slots = self.slots.write();
        let start = slots.first_free.max(from as usize);
        let mut at = start;
        while slots.entries.get(at).is_some_and(Option::is_some) {
            at += 1;
        }
        if at as u64 >= limit {
            return Err(Errno::EMFILE);
        }
        if slots.entries.len() <= at {
            slots.grow(at + 1)?;
        }
        if let Some(slot) = slots.entries.get_mut(at) {
            *slot = Some(entry);
        }
        if start == slots.first_free {
            slots.first_free = at + 1;
        }
        i32::try_from(at).map_err(|_| Errno::EMFILE)
    }

    /// `EMFILE` if there is no free number below `limit`: asked before a file is made.
    pub fn has_room(&self, limit: u64) -> Result<(), Errno> {
        let slots = self.slots.read();
        let tail = slots.entries.get(slots.first_free..).unwrap_or_default();
        let free = tail.iter().position(Option::is_none).unwrap_or(tail.len());
        let at = slots.first_free.saturating_add(free);
        if at as u64 >= limit { Err(Errno::EMFILE) } else { Ok(()) }
    }

    /// Whether one more descriptor fits; `EMFILE` if not.
    pub fn check_room(&self, limit: u64) -> Result<(), Errno> {
        let slots = self.slots.read();
        let mut at = slots.first_free;
        while slots.entries.get(at).is_some_and(Option::is_some) {
            at += 1;
        }
        if at as u64 >= limit { Err(Errno::EMFILE) } else { Ok(()) }
    }

    /// Puts `entry` at `fd` and returns what was there (`dup2(2)`).
    pub fn replace(&self, fd: i32, entry: FdEntry, limit: u64) -> Result<Option<FdEntry>, Errno> {
        let at = index(fd)?;
        if at as u64 >= limit {
            return Err(Errno::EBADF);
        }
        let mut slots = self.slots.write();
        if slots.entries.len() <= at {
            slots.grow(at + 1)?;
        }
        slots.unpublish(at);
        let old = slots.entries.get_mut(at).and_then(|slot| slot.replace(entry));
        drop(slots);
        if let Some(old) = &old {
            closed(self.id, &old.file);
        }
        Ok(old)
    }

    /// Removes `fd` and returns what was there.
    pub fn remove(&self, fd: i32) -> Result<FdEntry, Errno> {
        let at = index(fd)?;
        let mut slots = self.slots.write();
        slots.unpublish(at);
        let entry = slots.entries.get_mut(at).and_then(Option::take).ok_or(Errno::EBADF)?;
        slots.first_free = slots.first_free.min(at);
        drop(slots);
        closed(self.id, &entry.file);
        Ok(entry)
    }

    /// Sets or clears `FD_CLOEXEC`.
    pub fn set_cloexec(&self, fd: i32, cloexec: bool) -> Result<(), Errno> {
        let at = index(fd)?;
        let mut slots = self.slots.write();
        let entry = slots.entries.get_mut(at).and_then(Option::as_mut).ok_or(Errno::EBADF)?;
        entry.cloexec = cloexec;
        Ok(())
    }

    /// How many descriptors the table has room for.
    #[must_use]
    pub fn room(&self) -> usize {
        self.slots.read().entries.len()
    }

    /// A copy for `fork(2)`.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let mut slots = self.slots.read().clone();
        slots.published.clear();
        Self::with(slots)
    }

    /// Removes and returns every entry for which `pred` holds: all of them at exit,
    /// the close-on-exec ones at `execve(2)`, a range at `close_range(2)`.
    pub fn remove_if(&self, mut pred: impl FnMut(i32, &FdEntry) -> bool) -> Vec<(i32, FdEntry)> {
        let mut guard = self.slots.write();
        let slots = &mut *guard;
        let mut removed = Vec::new();
        let published = std::mem::take(&mut slots.published);
        let told: Vec<_> = published.iter().filter_map(Weak::upgrade).collect();
        for (at, slot) in slots.entries.iter_mut().enumerate() {
            let Ok(fd) = i32::try_from(at) else { break };
            if slot.as_ref().is_some_and(|e| pred(fd, e)) {
                told.iter().for_each(|p| p.drop_file(at));
                removed.extend(slot.take().map(|e| (fd, e)));
            }
        }
        if let Some((first, _)) = removed.first() {
            slots.first_free = slots.first_free.min(usize::try_from(*first).unwrap_or(0));
        }
        slots.published = published;
        drop(guard);
        for (_, entry) in &removed {
            closed(self.id, &entry.file);
        }
        removed
    }

    /// Calls `put`, which publishes an answer about a descriptor, if it still stands for
    /// this file; the answer is taken back before it does no more.
    pub(crate) fn publish(
        &self,
        fd: i32,
        file: &Arc<File>,
        published: &Arc<Published>,
        put: impl FnOnce(),
    ) {
        let mut slots = self.slots.write();
        let entry = index(fd).ok().and_then(|at| slots.entries.get(at)?.as_ref());
        if !entry.is_some_and(|e| Arc::ptr_eq(&e.file, file)) {
            return;
        }
        slots.published.retain(|p| p.strong_count() > 0);
        let weak = Arc::downgrade(published);
        if !slots.published.iter().any(|p| p.ptr_eq(&weak)) {
            slots.published.push(weak);
        }
        put();
    }

    /// The open descriptors in ascending order.
    #[must_use]
    pub fn list(&self) -> Vec<(i32, FdEntry)> {
        let slots = self.slots.read();
        let each = slots.entries.iter().enumerate();
        each.filter_map(|(i, e)| Some((i32::try_from(i).ok()?, e.clone()?))).collect()
    }
}

/// Ends a descriptor that was taken out of its table (`close(2)`); the file's own error,
/// if it has one.
pub fn close_entry(task: &Arc<crate::task::Task>, entry: FdEntry) -> Result<(), Errno> {
    let file = entry.file;
    file.ops().flush(crate::vfs::FileCx { task, file: &file })
}
