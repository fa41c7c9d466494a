//! The part of a walk that the dentry cache answers: plain names of known entries, in one
//! mount, through directories that may be searched. It copies no names and counts few
//! references; what is not so simple is left to [`super::lookup`], which goes on where
//! this stopped.
//!
//! A worker remembers the directories that it came to last by several names ([`Way`]). A
//! way is good as long as nothing happened that could make it lead elsewhere or be closed
//! to somebody ([`ways_changed`]), and not longer than the host is believed. No locks: the
//! ways are the worker's own.

use super::access::{Want, permitted};
use super::lookup::{Last, NAME_MAX, Rest, cached, component};
use super::names::QuickState;
use super::{Dentry, FileType, Mount, Path};
use crate::cred::Cred;
use chitin_hostsys::clock;
use std::cell::RefCell;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Weak};

/// Ways that a worker remembers.
const WAYS: usize = 64;
/// Longest text of one, in bytes.
const WAY_MAX: usize = 256;
/// How long one is good, in nanoseconds: the host may change modes of its directories.
const WAY_LIFE: u64 = 500_000_000;

/// How often something happened that invalidates ways.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// Says that a directory was moved, removed or protected otherwise, or that mounts have
/// changed. To be called when that is visible and before the call that did it returns.
pub fn ways_changed() {
    CHANGES.fetch_add(1, Ordering::SeqCst);
}

/// The way to a directory by two names or more, for somebody.
struct Way {
    start: Weak<Dentry>,
    mount: Weak<Mount>,
    cred: Weak<Cred>,
    text: Box<[u8]>,
    dentry: Weak<Dentry>,
    changes: u64,
    until: u64,
}

thread_local! {
    static KNOWN: RefCell<[Option<Way>; WAYS]> = const { RefCell::new([const { None }; WAYS]) };
}

/// How far it got. `at` is there and `rest` is what is left.
pub(super) enum Advance {
    /// To a component that needs more; what it came through last.
    Stopped(Arc<Dentry>),
    /// To the end: what it came through last, and the last name.
    Done(Arc<Dentry>, Vec<u8>),
    /// To a last component, of this name, that `at` does not have.
    Absent(Vec<u8>),
}

/// The part of a path before its last component, if it has at least two and is not long.
fn head(path: &[u8]) -> Option<&[u8]> {
    let end = path.iter().rposition(|&b| b != b'/')?;
    let slash = path.get(..end)?.iter().rposition(|&b| b == b'/')?;
    let head = path.get(..=slash).filter(|head| head.len() <= WAY_MAX)?;
    let (_, first) = component(head, 0)?;
    component(head, first)?;
    Some(head)
}

fn slot(head: &[u8]) -> usize {
    let hash = QuickState::default().hash_one(head);
    usize::try_from(hash % WAYS as u64).unwrap_or_default()
}

/// The directory that `head` leads to from a place, if that is known.
fn known_way(cred: &Arc<Cred>, at: &Path, head: &[u8]) -> Option<Arc<Dentry>> {
    let dentry = KNOWN.with_borrow(|ways| {
        let way = ways.get(slot(head))?.as_ref()?;
        let same = std::ptr::eq(way.start.as_ptr(), Arc::as_ptr(&at.dentry))
            && std::ptr::eq(way.mount.as_ptr(), Arc::as_ptr(&at.mount))
            && std::ptr::eq(way.cred.as_ptr(), Arc::as_ptr(cred))
            && *way.text == *head;
        let good = same
            && way.changes == CHANGES.load(Ordering::SeqCst)
            && way.until > clock::monotonic_coarse();
        if good { way.dentry.upgrade() } else { None }
    })?;
    // Who takes a dentry out of its table says so before looking whether anybody has it.
    fence(Ordering::SeqCst);
    (!dentry.gone()).then_some(dentry)
}

fn remember(cred: &Arc<Cred>, start: &Arc<Dentry>, at: &Path, head: &[u8], changes: u64) {
    let way = Way {
        start: Arc::downgrade(start),
        mount: Arc::downgrade(&at.mount),
        cred: Arc::downgrade(cred),
        text: head.into(),
        dentry: Arc::downgrade(&at.dentry),
        changes,
        until: clock::monotonic_coarse().saturating_add(WAY_LIFE),
    };
    KNOWN.with_borrow_mut(|ways| {
        if let Some(slot) = ways.get_mut(slot(head)) {
            *slot = Some(way);
        }
    });
}

/// Walks from `at` on as far as that is simple.
pub(super) fn advance(cred: &Arc<Cred>, at: &mut Path, rest: &mut Rest<'_>, last: Last) -> Advance {
    let slash = rest.path.last() == Some(&b'/');
    let changes = CHANGES.load(Ordering::SeqCst);
    // What it came through last; asked for only where it stops at the end of a way.
    let mut parent = None;
    let mut new = None;
    if let Some(head) = head(rest.path) {
        match known_way(cred, at, head) {
            Some(dentry) => {
                at.dentry = dentry;
                rest.path = rest.path.get(head.len()..).unwrap_or_default();
            }
            None => {
                new = Some((head, at.dentry.clone()));
                parent = Some(at.dentry.clone());
            }
        }
    } else {
        parent = Some(at.dentry.clone());
    }
    let above = |at: &Path, parent: Option<Arc<Dentry>>| {
        parent.or_else(|| at.dentry.parent()).unwrap_or_else(|| at.dentry.clone())
    };
    loop {
        let Some((name, end)) = component(rest.path, 0) else {
            return Advance::Stopped(above(at, parent));
        };
        let behind = rest.path.get(end..).unwrap_or_default();
        let is_last = component(behind, 0).is_none();
        let plain = !matches!(name, b"." | b"..") && name.len() <= NAME_MAX;
        if !plain || !searchable(cred, at) {
            return Advance::Stopped(above(at, parent));
        }
        if is_last && let Some((head, start)) = new.take() {
            remember(cred, &start, at, head, changes);
        }
        let Some(dentry) = cached(at, name) else { return Advance::Stopped(above(at, parent)) };
        let Some(inode) = dentry.inode_ref() else {
            return match is_last {
                true => Advance::Absent(name.to_vec()),
                false => Advance::Stopped(above(at, parent)),
            };
        };
        let follows = !is_last || last == Last::Follow || (slash && last == Last::NoFollow);
        let link = follows && inode.file_type() == FileType::Symlink;
        if link || dentry.mounted.load(Ordering::SeqCst) != 0 {
            return Advance::Stopped(above(at, parent));
        }
        let from = std::mem::replace(&mut at.dentry, dentry);
        rest.path = behind;
        if is_last {
            return Advance::Done(from, name.to_vec());
        }
        parent = Some(from);
    }
}

/// Whether a place is a directory that may be searched.
fn searchable(cred: &Cred, at: &Path) -> bool {
    at.dentry.inode_ref().is_some_and(|inode| {
        inode.file_type() == FileType::Directory
            && inode.access_attr().is_ok_and(|a| permitted(cred, &a, Want::EXEC).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::head;

    #[test]
    fn heads() {
        assert_eq!(head(b"/usr/lib/file"), Some(&b"/usr/lib/"[..]));
        assert_eq!(head(b"usr/lib//file//"), Some(&b"usr/lib//"[..]));
        assert_eq!(head(b"/etc/passwd"), None);
        assert_eq!(head(b"//etc//passwd"), None);
        assert_eq!(head(b"/"), None);
        assert_eq!(head(b""), None);
        assert_eq!(head(&[b"a/b/".as_slice(), &[b'/'; 300], b"c"].concat()), None);
    }
}
