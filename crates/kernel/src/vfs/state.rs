//! State that the VFS attaches to inodes and open file descriptions.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::sync::Mutex;

type Parts = Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>;

/// What the VFS keeps per inode: FIFO buffer, bound socket, record locks, inotify
/// watches. Empty and small for most inodes, which are asked without a lock: each part is
/// a value of its own type, made on first use.
#[derive(Default)]
pub struct InodeState(OnceLock<Box<Parts>>);

impl InodeState {
    /// The part of type `T`, made by `T::default()` on first use.
    pub fn get_or_default<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut parts = self.0.get_or_init(Box::default).lock();
        let part = parts
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Arc::new(T::default()) as Arc<dyn Any + Send + Sync>)
            .clone();
        part.downcast::<T>().unwrap_or_else(|_| Arc::new(T::default()))
    }

    /// Whether nothing was ever attached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    /// The part of type `T` if there is one.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let part = self.0.get()?.lock().get(&TypeId::of::<T>())?.clone();
        part.downcast::<T>().ok()
    }
}

/// Rarely used state of an open file description (`fcntl(2)`: `F_SETOWN`,
/// `F_SETSIG`, leases).
#[derive(Clone, Copy, Debug, Default)]
pub struct FileRare {
    /// Process (> 0) or negated process group that gets `SIGIO`.
    pub owner: i32,
    /// Signal instead of `SIGIO`; 0 is the default.
    pub signal: i32,
    /// It has been locked by `flock(2)`.
    pub locked: bool,
}
