//! Descriptors in unread messages (`SCM_RIGHTS`, `unix(7)`).
//!
//! [`Rights`] are the descriptors of one message. [`InFlight`] counts, for every socket
//! file among them, how often it is in flight. A file that is only in flight, in messages
//! that only such files lead to, can never be read again: [`InFlight::collect`] finds
//! these circles and empties them.
//!
//! Lock: one for the table, outside the locks of sockets. A socket's unread messages are
//! looked at under it; nothing is dropped under it.

use super::{SocketFile, socket_of};
use crate::sync::Mutex;
use crate::vfs::File;
use chitin_abi::Errno;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

/// Most descriptors in flight in a sandbox.
const MOST: usize = 1 << 16;
/// Sockets in flight below which circles are not looked for when a message is sent.
const QUIET: usize = 32;
/// What a close earns, in sockets looked at.
const EARNED: usize = 8;

struct Entry {
    file: Weak<File>,
    count: usize,
}

#[derive(Default)]
struct Table {
    /// Socket files in flight, by address.
    sockets: HashMap<usize, Entry>,
    /// All descriptors in flight.
    total: usize,
    /// Number of sockets at which circles are looked for again.
    threshold: usize,
    /// Earned by every close, spent by looking for circles: looking is linear.
    credit: usize,
}

/// The table of descriptors in flight.
#[derive(Default)]
pub struct InFlight {
    table: Mutex<Table>,
}

/// The descriptors that a message carries.
pub struct Rights {
    files: Vec<Arc<File>>,
    owner: Arc<InFlight>,
}

thread_local! {
    /// Files to be dropped by whoever further up the stack is dropping some: a chain of
    /// sockets in each other's messages may be long, and the stack is not.
    static GRAVE: RefCell<Option<Vec<Arc<File>>>> = const { RefCell::new(None) };
    /// Circles are being emptied further up the stack.
    static COLLECTING: Cell<bool> = const { Cell::new(false) };
}

fn bury(files: Vec<Arc<File>>) {
    let nested = GRAVE.with_borrow_mut(|grave| match grave {
        Some(waiting) => {
            waiting.extend(files);
            None
        }
        None => {
            *grave = Some(Vec::new());
            Some(files)
        }
    });
    let Some(mut files) = nested else { return };
    while !files.is_empty() {
        drop(files);
        files =
            GRAVE.with_borrow_mut(|grave| grave.as_mut().map(std::mem::take)).unwrap_or_default();
    }
    GRAVE.set(None);
}

fn key(file: &File) -> usize {
    std::ptr::from_ref(file).addr()
}

fn is_unix(file: &File) -> bool {
    socket_of(file).is_ok_and(|s| s.common().family == chitin_abi::socket::AF_UNIX)
}

impl Rights {
    /// Puts files in flight; `ETOOMANYREFS` if there are too many.
    pub fn new(owner: &Arc<InFlight>, files: Vec<Arc<File>>) -> Result<Self, Errno> {
        let mut table = owner.table.lock();
        if table.total + files.len() > MOST {
            return Err(Errno::ETOOMANYREFS);
        }
        table.total += files.len();
        for file in files.iter().filter(|f| is_unix(f)) {
            let new = || Entry { file: Arc::downgrade(file), count: 0 };
            table.sockets.entry(key(file)).or_insert_with(new).count += 1;
        }
        let many = table.sockets.len() > table.threshold.max(QUIET);
        drop(table);
        let rights = Self { files, owner: owner.clone() };
        if many {
            owner.table.lock().credit = usize::MAX / 2;
            owner.collect(None);
            let mut table = owner.table.lock();
            table.threshold = table.sockets.len() * 2;
        }
        Ok(rights)
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &[Arc<File>] {
        &self.files
    }

    /// The same files for somebody who only looks (`MSG_PEEK`).
    #[must_use]
    pub fn duplicate(&self) -> Vec<Arc<File>> {
        self.files.clone()
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        let mut left = false;
        let mut table = self.owner.table.lock();
        table.total -= self.files.len();
        for file in self.files.iter().filter(|f| is_unix(f)) {
            if let Some(entry) = table.sockets.get_mut(&key(file)) {
                entry.count -= 1;
                left |= entry.count > 0;
                if entry.count == 0 {
                    table.sockets.remove(&key(file));
                }
            }
        }
        drop(table);
        bury(std::mem::take(&mut self.files));
        if left {
            self.owner.collect(None);
        }
    }
}

impl InFlight {
    /// Empties the circles that nobody can reach. `closing` is a file whose caller holds
    /// a descriptor that is about to go.
    pub fn collect(&self, closing: Option<&File>) {
        let mut table = self.table.lock();
        table.credit += EARNED;
        let many = table.sockets.len() > QUIET && table.credit < table.sockets.len();
        if table.sockets.is_empty() || many || COLLECTING.replace(true) {
            return;
        }
        table.credit = 0;
        let garbage = unreachable(&table, closing.map(key));
        let packets: Vec<_> = garbage
            .iter()
            .filter_map(|file| file.ops_as::<SocketFile>())
            .map(|socket| socket.0.purge())
            .collect();
        drop(table);
        drop(packets);
        drop(garbage);
        COLLECTING.set(false);
    }

    /// Sockets in flight.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.table.lock().sockets.len()
    }
}

/// The files that are in flight only, and only in messages of such files.
fn unreachable(table: &Table, closing: Option<usize>) -> Vec<Arc<File>> {
    let mut candidates: HashMap<usize, (Arc<File>, usize)> = HashMap::new();
    for (&key, entry) in &table.sockets {
        let Some(file) = entry.file.upgrade() else { continue };
        let closing = usize::from(closing == Some(key));
        // One is the file that was just asked for.
        if Arc::strong_count(&file) == entry.count + 1 + closing {
            candidates.insert(key, (file, entry.count));
        }
    }
    // What messages of candidates do not account for is held from outside.
    let mut inside: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut outside: HashMap<usize, usize> = candidates.iter().map(|(&k, c)| (k, c.1)).collect();
    for (&from, (file, _)) in &candidates {
        let Ok(socket) = socket_of(file) else { continue };
        socket.held(&mut |held| {
            let to = key(held);
            if let Some(left) = outside.get_mut(&to) {
                *left = left.saturating_sub(1);
                inside.entry(from).or_default().push(to);
            }
        });
    }
    let mut live: HashSet<usize> = HashSet::new();
    let mut todo: Vec<usize> = outside.iter().filter(|o| *o.1 > 0).map(|o| *o.0).collect();
    while let Some(key) = todo.pop() {
        if live.insert(key)
            && let Some(to) = inside.get(&key)
        {
            todo.extend(to);
        }
    }
    candidates.retain(|key, _| !live.contains(key));
    candidates.into_values().map(|c| c.0).collect()
}
