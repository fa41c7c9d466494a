//! [`Images`]: the initial data of programs and libraries that are mapped again and again.

use super::vma::FilePart;
use crate::sync::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Longest image that is kept, and all of them, in bytes.
const MOST: (usize, usize) = (256 << 10, 2 << 20);
/// Most parts of files that are known.
const MOST_KNOWN: usize = 512;

/// File, version, byte offset, length.
type Key = ((u64, u64), u64, u64, u64);

/// Parts of files as private writable mappings begin with them, of files that have a version
/// ([`crate::vfs::Mappable::version`]). Kept from the second time on: most programs run once.
#[derive(Default)]
pub(super) struct Images(Mutex<Known>);

#[derive(Default)]
struct Known {
    images: HashMap<Key, Option<Arc<[u8]>>>,
    /// Bytes of images.
    kept: usize,
}

/// What is known of a part.
pub(super) enum Found {
    /// Its content.
    Kept(Arc<[u8]>),
    /// It was asked for before: it is to be kept.
    Again(Key),
    /// Nothing.
    New,
}

impl Images {
    pub(super) fn find(&self, part: &FilePart, len: u64) -> Found {
        let short = usize::try_from(len).is_ok_and(|len| len <= MOST.0);
        let Some(version) = part.map.version().filter(|_| short) else { return Found::New };
        let key = (part.map.id(), version, part.offset, len);
        let mut known = self.0.lock();
        match known.images.get(&key) {
            Some(Some(image)) => Found::Kept(image.clone()),
            Some(None) => Found::Again(key),
            None => {
                if known.images.len() >= MOST_KNOWN {
                    *known = Known::default();
                }
                known.images.insert(key, None);
                Found::New
            }
        }
    }

    pub(super) fn keep(&self, key: Key, image: &[u8]) {
        let mut known = self.0.lock();
        if known.kept + image.len() > MOST.1 {
            *known = Known::default();
        }
        if known.images.insert(key, Some(image.into())).flatten().is_none() {
            known.kept += image.len();
        }
    }
}
