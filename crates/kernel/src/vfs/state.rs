//! State that the VFS attaches to inodes and open file descriptions.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::async_io::Owner;
use super::{InodeRef, MapSource, Mappable, Path};
use crate::sync::Mutex;
use chitin_abi::Errno;

type Parts = Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>;

/// What the VFS keeps per inode: FIFO buffer, bound socket, record locks, inotify
/// watches. Empty and small for most inodes, which are asked without a lock: each part is
/// a value of its own type, made on first use.
#[derive(Default)]
pub struct InodeState {
    parts: OnceLock<Box<Parts>>,
    /// How often it is open for writing, or, below 0, is a program that runs.
    writers: AtomicI32,
    /// Tells its content from all others that were executed; 0 if it may have changed since.
    content: AtomicU64,
}

impl InodeState {
    /// The part of type `T`, made by `T::default()` on first use.
    pub fn get_or_default<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut parts = self.parts.get_or_init(Box::default).lock();
        let part = parts
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Arc::new(T::default()) as Arc<dyn Any + Send + Sync>)
            .clone();
        part.downcast::<T>().unwrap_or_else(|_| Arc::new(T::default()))
    }

    /// Whether nothing was ever attached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.get().is_none()
    }

    /// The part of type `T` if there is one.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let part = self.parts.get()?.lock().get(&TypeId::of::<T>())?.clone();
        part.downcast::<T>().ok()
    }
}

/// The right to write to a file, which keeps it from being executed.
pub struct Writing(InodeRef);

impl Writing {
    /// `ETXTBSY` while it is executed.
    pub fn begin(inode: &InodeRef) -> Result<Self, Errno> {
        let more = |n: i32| (n >= 0).then_some(n.saturating_add(1));
        let writers = &inode.vfs_state().writers;
        let begun = writers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        begun.map_err(|_| Errno::ETXTBSY)?;
        inode.vfs_state().content.store(0, Ordering::SeqCst);
        Ok(Self(inode.clone()))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.vfs_state().writers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A program that runs: nobody may write to its file.
pub struct Running {
    path: Path,
    inode: InodeRef,
}

impl Running {
    /// `ETXTBSY` while it is open for writing.
    pub fn begin(path: &Path) -> Result<Arc<Self>, Errno> {
        let inode = path.dentry.inode_ref().ok_or(Errno::ENOENT)?.clone();
        let less = |n: i32| (n <= 0).then_some(n.saturating_sub(1));
        let writers = &inode.vfs_state().writers;
        let begun = writers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        begun.map_err(|_| Errno::ETXTBSY)?;
        Ok(Arc::new(Self { path: path.clone(), inode }))
    }

    /// Its pages, for as long as it runs: nothing changes them meanwhile if only who opens a
    /// file for writing can.
    pub(crate) fn pages(&self, map: Arc<dyn Mappable>) -> Arc<dyn Mappable> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        if map.version().is_some() || !map.has_known_writers() {
            return map;
        }
        let content = &self.inode.vfs_state().content;
        let _ = content.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |known| {
            (known == 0).then(|| NEXT.fetch_add(1, Ordering::Relaxed))
        });
        Arc::new(Pages { map, version: content.load(Ordering::SeqCst) })
    }

    /// Where the program is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.inode.vfs_state().writers.fetch_add(1, Ordering::SeqCst);
    }
}

/// A program's pages.
struct Pages {
    map: Arc<dyn Mappable>,
    version: u64,
}

impl Mappable for Pages {
    fn id(&self) -> (u64, u64) {
        self.map.id()
    }

    fn version(&self) -> Option<u64> {
        Some(self.version)
    }

    fn locate(&self, offset: u64, len: u64, writable: bool) -> Result<MapSource, Errno> {
        self.map.locate(offset, len, writable)
    }

    fn size(&self) -> u64 {
        self.map.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        self.map.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize, Errno> {
        self.map.write_at(offset, buf)
    }
}

/// Rarely used state of an open file description (`fcntl(2)`: `F_SETOWN`, `F_SETSIG`).
#[derive(Clone, Copy, Debug, Default)]
pub struct FileRare {
    /// Who gets `SIGIO`.
    pub owner: Owner,
    /// Real and effective user of who has said so.
    pub set_by: (u32, u32),
    /// Signal instead of `SIGIO`; 0 is the default.
    pub signal: i32,
    /// Key of the listener that sends it, with `O_ASYNC`.
    pub teller: Option<u64>,
    /// Key of the listener that sends `SIGURG`, once somebody is its owner.
    pub urgent_teller: Option<u64>,
    /// It has been locked by `flock(2)`.
    pub locked: bool,
}
