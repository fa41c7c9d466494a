//! The count of changes of files and names: what published answers are valid for
//! ([`crate::published`]).
//!
//! Whoever changes an attribute or a name holds a [`Changing`] from before the change can be
//! seen until it is complete. The low bits count those who hold one now, the others how often
//! one was taken: an answer that was looked up while nobody held one, under a value that the
//! word still has, is as good as a new one. Platforms show the word to guests, read-only.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Adds one change and one who is at it.
const BEGIN: u64 = (1 << 16) + 1;
/// Those who are at it.
const BUSY: u64 = 0xffff;

static SHOWN: OnceLock<&'static AtomicU64> = OnceLock::new();
static HIDDEN: AtomicU64 = AtomicU64::new(0);

fn word() -> &'static AtomicU64 {
    SHOWN.get().copied().unwrap_or(&HIDDEN)
}

/// Counts in the platform's word from now on. There is one platform in a process.
pub(crate) fn count_in(word: &'static AtomicU64) {
    let _ = SHOWN.set(word);
}

/// Something is being changed.
#[must_use = "the change ends with it"]
pub struct Changing(&'static AtomicU64);

/// Begins a change.
pub fn begin() -> Changing {
    let word = word();
    word.fetch_add(BEGIN, Ordering::SeqCst);
    Changing(word)
}

impl Drop for Changing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The count, for an answer that is looked up after this; `None` while something changes.
#[must_use]
pub fn settled() -> Option<u64> {
    let now = word().load(Ordering::SeqCst);
    (now & BUSY == 0).then_some(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_from_its_beginning() {
        // Other tests change things, too: values are only ever different.
        let first = word().load(Ordering::SeqCst);
        let change = begin();
        assert_eq!(settled(), None);
        assert_ne!(word().load(Ordering::SeqCst) & !BUSY, first & !BUSY);
        drop(change);
    }
}
