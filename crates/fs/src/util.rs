//! What the file systems share: the time, device numbers and [`Xattrs`].

use chitin_abi::Errno;
use chitin_abi::fs::{XATTR_CREATE, XATTR_REPLACE, makedev};
use chitin_abi::time::Timespec;
use chitin_kernel::sync::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;
/// Most bytes of extended attributes that one inode holds.
const XATTRS_MAX: usize = 1 << 20;

/// The current time as of the last tick, as Linux stamps files.
pub(crate) fn now() -> Timespec {
    const SECOND: u64 = 1_000_000_000;
    let nanos = chitin_hostsys::clock::realtime_coarse();
    let part = |n: u64| i64::try_from(n).unwrap_or_default();
    Timespec { tv_sec: part(nanos / SECOND), tv_nsec: part(nanos % SECOND) }
}

/// A device number for a new file system without a device. The first ones are
/// left to the kernel's own unnamed files.
pub(crate) fn anonymous_dev() -> u64 {
    static NEXT: AtomicU32 = AtomicU32::new(40);
    u64::from(makedev(0, NEXT.fetch_add(1, Ordering::Relaxed) & 0xf_ffff))
}

/// The guest's errno for a failed host call.
pub(crate) fn errno(e: &std::io::Error) -> Errno {
    e.raw_os_error().and_then(Errno::from_raw).unwrap_or(Errno::EIO)
}

/// Copies what `bytes` has from `offset` on; returns how much.
pub(crate) fn copy_from(bytes: &[u8], offset: u64, buf: &mut [u8]) -> usize {
    let from = usize::try_from(offset).ok().and_then(|o| bytes.get(o..)).unwrap_or_default();
    let n = from.len().min(buf.len());
    if let (Some(to), Some(from)) = (buf.get_mut(..n), from.get(..n)) {
        to.copy_from_slice(from);
    }
    n
}

/// Extended attributes kept in memory (`xattr(7)`). Lock: one.
#[derive(Debug, Default)]
pub(crate) struct Xattrs(Mutex<Option<Box<BTreeMap<Vec<u8>, Vec<u8>>>>>);

impl Xattrs {
    /// Whether a name is of a namespace that is kept; `user.` is for regular files
    /// and directories.
    fn check(name: &[u8], user: bool) -> Result<(), Errno> {
        let known = [&b"trusted."[..], b"security.", b"user."];
        let prefix = known.iter().find(|p| name.starts_with(p)).ok_or(Errno::EOPNOTSUPP)?;
        if name.len() == prefix.len() {
            return Err(Errno::EINVAL);
        }
        if *prefix == b"user." && !user { Err(Errno::EPERM) } else { Ok(()) }
    }

    pub(crate) fn get(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        Self::check(name, true)?;
        let map = self.0.lock();
        map.as_ref().and_then(|m| m.get(name)).cloned().ok_or(Errno::ENODATA)
    }

    pub(crate) fn set(
        &self,
        name: &[u8],
        value: &[u8],
        flags: u32,
        user: bool,
    ) -> Result<(), Errno> {
        Self::check(name, user)?;
        let mut guard = self.0.lock();
        let map = guard.get_or_insert_with(Box::default);
        let known = map.contains_key(name);
        if known && flags & XATTR_CREATE != 0 {
            return Err(Errno::EEXIST);
        }
        if !known && flags & XATTR_REPLACE != 0 {
            return Err(Errno::ENODATA);
        }
        let held: usize = map.iter().map(|(n, v)| n.len() + v.len()).sum();
        let short = chitin_hostsys::heap::is_filling();
        if short || held + name.len() + value.len() > XATTRS_MAX {
            return Err(Errno::ENOSPC);
        }
        map.insert(name.to_vec(), value.to_vec());
        Ok(())
    }

    pub(crate) fn remove(&self, name: &[u8]) -> Result<(), Errno> {
        Self::check(name, true)?;
        let mut map = self.0.lock();
        map.as_mut().and_then(|m| m.remove(name)).map(drop).ok_or(Errno::ENODATA)
    }

    pub(crate) fn list(&self) -> Vec<Vec<u8>> {
        self.0.lock().as_ref().map(|m| m.keys().cloned().collect()).unwrap_or_default()
    }
}
