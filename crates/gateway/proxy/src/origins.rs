//! Where the images of the engine came from: a registry, or this host. What was made on the host is somebody's, and for
//! clients only if the operator says so.
//!
//! In the engine's own store an image has a digest of its repository if, and only if, it came from a registry. In
//! containerd's store every image has one: there only what was pulled through a gateway is known to be public.
//!
//! Lock: the table is a leaf.

use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ops::images::texts;

/// Pulled images that are remembered; others have to be pulled again.
const MAX_PULLED: usize = 4096;

/// What is known of where images came from.
#[derive(Default)]
pub struct Origins {
    /// Whether digests say nothing.
    silent: AtomicBool,
    /// What was pulled through a gateway: the familiar name, and the id that it had then.
    pulled: Mutex<BTreeMap<String, String>>,
}

impl Origins {
    /// Looks at what the engine says of its store; true if its digests say nothing.
    pub fn learn(&self, info: &Value) -> bool {
        let status = info.get("DriverStatus").and_then(Value::as_array).into_iter().flatten();
        let containerd = status
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(Value::as_str)
            .any(|s| s.starts_with("io.containerd.snapshotter"));
        self.silent.store(containerd, Ordering::Relaxed);
        containerd
    }

    fn pulled(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.pulled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An image was pulled.
    pub fn note(&self, name: &str, id: &str) {
        let mut pulled = self.pulled();
        if pulled.len() < MAX_PULLED || pulled.contains_key(name) {
            pulled.insert(name.to_owned(), id.to_owned());
        }
    }

    /// Whether an image came from a registry under a familiar name (`same` tells of two references whether they are of
    /// one repository).
    pub fn public(&self, image: &Value, name: &str, same: impl Fn(&str, &str) -> bool) -> bool {
        if self.silent.load(Ordering::Relaxed) {
            let id = image.get("Id").and_then(Value::as_str).unwrap_or_default();
            return self.pulled().get(name).is_some_and(|known| known == id);
        }
        texts(image, "RepoDigests").any(|d| d.split_once('@').is_some_and(|(r, _)| same(r, name)))
    }

    /// Whether an image without names may have been made here, as far as its digests tell.
    pub fn local(&self, image: &Value) -> bool {
        self.silent.load(Ordering::Relaxed)
            || texts(image, "RepoDigests").all(|d| d == "<none>@<none>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn believes_digests_only_where_they_tell() {
        let o = Origins::default();
        let same = |repo: &str, name: &str| name.starts_with(repo);
        let image = json!({ "Id": "sha256:1", "RepoDigests": ["app@sha256:1"] });
        assert!(!o.learn(&json!({ "DriverStatus": [["Backing Filesystem", "extfs"]] })));
        assert!(o.public(&image, "app:1", same) && !o.local(&image));
        assert!(!o.public(&json!({ "Id": "sha256:1" }), "app:1", same));
        assert!(
            o.learn(&json!({ "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]] }))
        );
        assert!(!o.public(&image, "app:1", same) && o.local(&image));
        o.note("app:1", "sha256:1");
        assert!(o.public(&image, "app:1", same));
        o.note("app:1", "sha256:2");
        assert!(!o.public(&image, "app:1", same), "the name was given to another image since");
    }
}
