//! [`QuickMap`]: a table whose keys are names or numbers, with a hash that costs a
//! multiplication per word. Its seed is random, so that nobody can prepare names that
//! collide; who finds some all the same slows down their own sandbox only.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

/// A table with [`QuickState`].
pub type QuickMap<K, V> = HashMap<K, V, QuickState>;

/// Makes [`QuickHasher`]s, all with the same seed.
#[derive(Clone, Copy, Debug)]
pub struct QuickState(u64);

impl Default for QuickState {
    fn default() -> Self {
        static SEED: OnceLock<u64> = OnceLock::new();
        Self(*SEED.get_or_init(|| {
            let mut bytes = [0; 8];
            chitin_hostsys::random::fill(&mut bytes);
            u64::from_le_bytes(bytes)
        }))
    }
}

impl BuildHasher for QuickState {
    type Hasher = QuickHasher;

    fn build_hasher(&self) -> QuickHasher {
        QuickHasher(self.0)
    }
}

/// Folds a word after the other into its state.
#[derive(Debug)]
pub struct QuickHasher(u64);

/// An odd constant without a pattern (from the digits of the golden ratio).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

impl QuickHasher {
    fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(MIX);
        // Both halves of the product: each bit of the word reaches all of the state.
        #[allow(clippy::cast_possible_truncation)]
        let (low, high) = (product as u64, (product >> 64) as u64);
        self.0 = low ^ high ^ word.rotate_left(32);
    }
}

impl Hasher for QuickHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            self.word(u64::from_le_bytes(last));
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.word(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.word(n as u64);
    }

    fn finish(&self) -> u64 {
        let product = u128::from(self.0) * u128::from(MIX);
        #[allow(clippy::cast_possible_truncation)]
        let (low, high) = (product as u64, (product >> 64) as u64);
        low ^ high
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_spread() {
        let state = QuickState::default();
        let mut whole = HashSet::new();
        let mut buckets = vec![0; 1024];
        for i in 0..20_000 {
            let hash = state.hash_one(format!("file-{i}.txt").as_bytes());
            whole.insert(hash);
            buckets[usize::try_from(hash % 1024).unwrap()] += 1;
        }
        assert_eq!(whole.len(), 20_000);
        assert!(buckets.iter().all(|&n| n < 60), "{:?}", buckets.iter().max());
    }

    #[test]
    fn length_counts() {
        let state = QuickState::default();
        assert_ne!(state.hash_one(&b"a"[..]), state.hash_one(&b"a\0"[..]));
    }
}
