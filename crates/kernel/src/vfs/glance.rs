//! Attributes of files that are looked at and then left alone: `ls -l`, `du` and their
//! like need no inodes and dentries that stay.
//!
//! [`Glances`] tells whether somebody is of that kind: a file that is looked at and then
//! used costs the file system two questions instead of one. No locks.

use super::names::QuickState;
use super::{Attr, Caching, FileType, Kept, Path};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// What is taken off the score by a glance that was for nothing: while it is below 0,
/// files are looked up as ever.
const COST: i32 = 16;
/// Highest score.
const MOST: i32 = 32;

/// How glances turned out lately.
#[derive(Debug, Default)]
pub struct Glances {
    /// Hash of the name that was glanced at last; 0 for none.
    last: AtomicU64,
    score: AtomicI32,
}

fn hash(dir: &Path, name: &[u8]) -> u64 {
    QuickState::default().hash_one((Arc::as_ptr(&dir.dentry).addr(), name)) | 1
}

impl Glances {
    /// Attributes of an entry that the cache does not know, if that is all that is needed:
    /// directories are going to be entered, and links that are followed are read.
    pub(super) fn at(&self, dir: &Path, name: &[u8], follows: bool) -> Option<(Attr, Kept)> {
        let score = self.score.load(Ordering::Relaxed);
        if score < MOST {
            self.score.store(score + 1, Ordering::Relaxed);
        }
        if score < 0 || dir.mount.fs.caching() != Caching::Always {
            return None;
        }
        let inode = dir.dentry.inode_ref()?;
        let (attr, kept) = inode.as_dir()?.glance(name).ok()??;
        if attr.kind == FileType::Directory || (follows && attr.kind == FileType::Symlink) {
            return None;
        }
        self.last.store(hash(dir, name), Ordering::Relaxed);
        Some((attr, kept))
    }

    /// An entry is looked up after all.
    pub(super) fn looked_up(&self, dir: &Path, name: &[u8]) {
        let last = self.last.load(Ordering::Relaxed);
        if last != 0 && last == hash(dir, name) {
            self.last.store(0, Ordering::Relaxed);
            self.score.fetch_sub(COST, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;

    #[test]
    fn who_uses_what_it_looks_at_glances_no_more() {
        let g = Guest::new();
        let root = g.cur.task().fs().root.read().clone();
        let glances = Glances::default();
        let wanted = || glances.score.load(Ordering::Relaxed) >= 0;
        for _ in 0..2 * MOST {
            // The file system of the tests has no glances: only the score is of interest.
            assert!(glances.at(&root, b"file", false).is_none());
        }
        assert_eq!(glances.score.load(Ordering::Relaxed), MOST);
        let mut uses = 0;
        while wanted() {
            glances.last.store(hash(&root, b"file"), Ordering::Relaxed);
            glances.looked_up(&root, b"other");
            assert!(wanted());
            glances.looked_up(&root, b"file");
            uses += 1;
        }
        assert_eq!(uses, MOST / COST + 1);
        for _ in 0..COST {
            glances.at(&root, b"file", false);
        }
        assert!(wanted(), "it is tried again");
    }
}
