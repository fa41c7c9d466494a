//! [`Mask`]: paths that are hidden, as a tree of names.

use std::collections::HashMap;
use std::sync::Arc;

/// What is hidden below a directory.
#[derive(Debug, Default)]
pub(super) struct Mask {
    /// This path itself is hidden.
    pub(super) hidden: bool,
    below: HashMap<Vec<u8>, Arc<Mask>>,
}

impl Mask {
    /// From absolute paths; `None` if there are none.
    pub(super) fn new(paths: &[Vec<u8>]) -> Option<Arc<Self>> {
        let split = |p: &Vec<u8>| -> Vec<Vec<u8>> {
            let parts = p.split(|&b| b == b'/').filter(|c| !c.is_empty() && *c != b".");
            parts.map(<[u8]>::to_vec).collect()
        };
        let paths: Vec<_> = paths.iter().map(split).collect();
        (!paths.is_empty()).then(|| Arc::new(Self::build(&paths, 0)))
    }

    fn build(paths: &[Vec<Vec<u8>>], depth: usize) -> Self {
        let mut groups: HashMap<Vec<u8>, Vec<Vec<Vec<u8>>>> = HashMap::new();
        let mut hidden = false;
        for path in paths {
            match path.get(depth) {
                None => hidden = true,
                Some(name) => groups.entry(name.clone()).or_default().push(path.clone()),
            }
        }
        let below = groups.into_iter().map(|(n, g)| (n, Arc::new(Self::build(&g, depth + 1))));
        Self { hidden, below: below.collect() }
    }

    /// What is hidden at and below an entry.
    pub(super) fn entry(&self, name: &[u8]) -> Option<Arc<Self>> {
        self.below.get(name).cloned()
    }
}
