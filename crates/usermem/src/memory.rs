//! The memory file of a sandbox, mapped whole into the sentry, and the allocator of
//! its pages.

use chitin_abi::Errno;
use chitin_hostsys::files;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a sandbox has no memory file.
pub type MemoryError = std::io::Error;

/// Bytes of address space that the memory file spans (it is sparse), the first that the
/// host grants.
const SPANS: [u64; 4] = [1 << 44, 1 << 42, 1 << 40, 1 << 38];
/// Unit of allocation, in bytes.
const PAGE: u64 = 4096;
/// Most bytes of pages that are kept, zeroed, for the next who asks: that saves the host
/// from making them again.
const MOST_KEPT: u64 = 64 << 20;
/// Most bytes that are zeroed by one host call.
const ZEROES: usize = 256 << 10;

/// The memory file and the sentry's view of it. Offsets are byte offsets into
/// the file. All copies are plain stores and loads that race with the guest;
/// none of them forms a reference to guest memory.
#[derive(Debug)]
pub struct GuestMemory {
    fd: OwnedFd,
    base: *mut u8,
    span: u64,
    free: Mutex<Free>,
    full: AtomicBool,
    /// What guests may use, and what is charged besides the file, in bytes; 0 is no limit.
    limit: AtomicU64,
    charged: AtomicU64,
}

/// Free ranges: recycled ones by exact length, and all from `next` on.
#[derive(Debug, Default)]
struct Free {
    bins: HashMap<u64, Vec<Range>>,
    next: u64,
    /// Bytes of pages that recycled ranges have.
    kept: u64,
}

/// A free range, whose first bytes may have pages, all zero.
#[derive(Clone, Copy, Debug)]
struct Range {
    offset: u64,
    ready: u64,
}

// SAFETY: the mapping lives as long as the value, and is only accessed by raw
// copies that tolerate concurrent change.
unsafe impl Send for GuestMemory {}
// SAFETY: as above.
unsafe impl Sync for GuestMemory {}

/// A contiguous range of the memory file; its pages are zero at first and are given
/// back on drop, when nothing maps them any more.
#[derive(Debug)]
pub struct Block {
    memory: Arc<GuestMemory>,
    offset: u64,
    len: u64,
    ready: u64,
}

impl Block {
    /// Byte offset in the memory file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Length in bytes, at least what was asked for.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// How many of its first bytes had pages when it was allocated.
    #[must_use]
    pub fn ready(&self) -> u64 {
        self.ready
    }

    /// Whether it has no bytes; never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// See [`GuestMemory::charge`].
#[derive(Debug)]
pub struct Charge {
    memory: Arc<GuestMemory>,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.memory.charged.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        // SAFETY: blocks hold the memory, and nothing else refers to the mapping.
        let _ = unsafe { chitin_hostsys::munmap(self.base, self.span) };
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let Self { memory, offset, len, .. } = self;
        // Pages that the host does not take back must not be given to another guest.
        let Some(ready) = memory.recycle(*offset, *len) else { return };
        let mut free = memory.free();
        free.kept += ready;
        free.bins.entry(*len).or_default().push(Range { offset: *offset, ready });
    }
}

/// A range of at most this length is taken to have all pages if it has one: to ask for each
/// takes longer than to make them.
const SMALL: u64 = 32 << 10;

/// The length that is allocated for `len`: the memory is sparse, so that few different
/// lengths cost nothing and are found again.
fn size_class(len: u64) -> Option<u64> {
    let len = len.max(1).checked_next_multiple_of(PAGE)?;
    let step = (len.checked_next_power_of_two()? / 16).max(PAGE);
    len.checked_next_multiple_of(step)
}

impl GuestMemory {
    /// Creates an empty memory file of [`GuestMemory::span`] sparse bytes.
    pub fn new() -> Result<Self, MemoryError> {
        Self::over(chitin_hostsys::memfd_create(c"chitin-memory")?)
    }

    /// The same over an empty file of the host's memory.
    pub fn over(fd: OwnedFd) -> Result<Self, MemoryError> {
        let mut refused = None;
        for span in SPANS {
            let mapped = chitin_hostsys::ftruncate(fd.as_fd(), span)
                .and_then(|()| chitin_hostsys::mmap_shared(fd.as_fd(), span));
            match mapped {
                Ok(base) => {
                    let (free, full) = (Mutex::default(), AtomicBool::new(false));
                    let (limit, charged) = (AtomicU64::new(0), AtomicU64::new(0));
                    return Ok(Self { fd, base, span, free, full, limit, charged });
                }
                Err(e) => refused = Some(e),
            }
        }
        Err(refused.unwrap_or_else(|| std::io::Error::other("no span")))
    }

    /// The memory file itself, for the platform.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Length in bytes.
    #[must_use]
    pub fn span(&self) -> u64 {
        self.span
    }

    /// Allocates at least `len` contiguous bytes of zeroes. `ENOMEM` when the span is
    /// used up.
    pub fn alloc(self: &Arc<Self>, len: u64) -> Result<Arc<Block>, Errno> {
        let len = size_class(len).ok_or(Errno::ENOMEM)?;
        let mut free = self.free();
        let recycled = free.bins.get_mut(&len).and_then(Vec::pop);
        let Range { offset, ready } = match recycled {
            Some(range) => range,
            None => {
                let end = free.next.checked_add(len).filter(|&end| end <= self.span);
                let offset = std::mem::replace(&mut free.next, end.ok_or(Errno::ENOMEM)?);
                Range { offset, ready: 0 }
            }
        };
        free.kept -= ready;
        Ok(Arc::new(Block { memory: self.clone(), offset, len, ready }))
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a range that nobody maps any more read as zeroes. Returns how many of its first
    /// bytes keep their pages; `None` if the host does not take the others back.
    fn recycle(&self, offset: u64, len: u64) -> Option<u64> {
        let end = offset + len;
        let data = if len <= SMALL {
            self.first_data(offset, end).map(|_| (offset, len))
        } else {
            self.next_data(offset, end)
        };
        let Some((start, ready)) = data else { return Some(0) };
        let whole = start == offset && self.next_data(offset + ready, end).is_none();
        let fits = self.free().kept + ready <= MOST_KEPT;
        if whole && fits && self.zero_pages(offset, ready).is_ok() {
            return Some(ready);
        }
        self.discard(offset, len).ok().map(|()| 0)
    }

    /// Stores zeroes without a fault for each page.
    fn zero_pages(&self, offset: u64, len: u64) -> Result<(), Errno> {
        static ZERO: [u8; ZEROES] = [0; ZEROES];
        let mut done = 0;
        while done < len {
            let n = usize::try_from(len - done).unwrap_or(ZEROES).min(ZEROES);
            self.write_fresh(offset + done, ZERO.get(..n).unwrap_or_default())?;
            done += n as u64;
        }
        Ok(())
    }

    /// Gives the pages of free ranges back to the host.
    pub fn trim(&self) {
        let mut free = self.free();
        let mut kept = std::mem::take(&mut free.kept);
        for range in free.bins.values_mut().flatten().filter(|r| r.ready > 0) {
            // Where that fails they stay zero.
            if self.discard(range.offset, range.ready).is_ok() {
                kept -= std::mem::take(&mut range.ready);
            }
        }
        free.kept = kept;
    }

    /// Gives the pages of a range back to the host: it reads as zeroes.
    pub fn discard(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let mode = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) as u32;
        files::fallocate(self.fd(), mode, offset, len).map_err(|_| Errno::ENOMEM)
    }

    /// Sets what all guests may use together, in bytes.
    pub fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Whether the file holds more than that.
    #[must_use]
    pub fn is_beyond_limit(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        limit != 0 && self.resident() > limit
    }

    /// Counts memory of the host that is not in the file, until the value is dropped.
    /// `ENOMEM` if there is a limit and that is beyond it.
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Result<Charge, Errno> {
        let limit = self.limit.load(Ordering::Relaxed);
        let charged = self.charged.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let charge = Charge { memory: self.clone(), bytes };
        if limit != 0 && charged.saturating_add(self.resident()) > limit {
            return Err(Errno::ENOMEM);
        }
        Ok(charge)
    }

    /// Says whether files in memory may still grow.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// Whether the rest of the memory is not for files.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Bytes of host memory in use, free ranges that keep their pages included.
    #[must_use]
    pub fn held(&self) -> u64 {
        files::statx(self.fd(), b"").map_or(0, |s| s.blocks * 512)
    }

    /// Bytes of memory in use by guests.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.held().saturating_sub(self.free().kept)
    }

    /// The part of a range, beginning at `from`, that has pages: (offset, length).
    #[must_use]
    pub fn next_data(&self, from: u64, end: u64) -> Option<(u64, u64)> {
        let start = self.first_data(from, end)?;
        let stop = files::lseek(self.fd(), start.cast_signed(), libc::SEEK_HOLE).unwrap_or(end);
        Some((start, stop.min(end) - start))
    }

    /// Where the first page in a range is.
    fn first_data(&self, from: u64, end: u64) -> Option<u64> {
        if from >= end {
            return None;
        }
        let start = files::lseek(self.fd(), from.cast_signed(), libc::SEEK_DATA).ok()?;
        Some(start).filter(|&start| start < end)
    }

    /// Whether a range has more than `most` bytes of pages.
    #[must_use]
    pub fn has_pages(&self, offset: u64, len: u64, most: u64) -> bool {
        let (mut at, end, mut sum) = (offset, offset.saturating_add(len), 0);
        while let Some((data, n)) = self.next_data(at, end) {
            sum += n;
            if sum > most {
                return true;
            }
            at = data + n;
        }
        false
    }

    /// Copies what `len` bytes at `from` have in pages to the fresh range at `to`; tells
    /// which parts (offset and length) those were.
    pub fn copy_pages(
        &self,
        from: u64,
        to: u64,
        len: u64,
        mut copied: impl FnMut(u64, u64),
    ) -> Result<(), Errno> {
        let end = from.checked_add(len).ok_or(Errno::EFAULT)?;
        let mut at = from;
        if len <= SMALL && self.first_data(from, end) == Some(from) {
            self.copy_fresh(from, to, usize::try_from(len).map_err(|_| Errno::EFAULT)?)?;
            copied(from, len);
            return Ok(());
        }
        while let Some((data, n)) = self.next_data(at, end) {
            let len = usize::try_from(n).map_err(|_| Errno::EFAULT)?;
            self.copy_fresh(data, to + (data - from), len)?;
            copied(data, n);
            at = data + n;
        }
        Ok(())
    }

    fn check(&self, offset: u64, len: usize) -> Result<*mut u8, Errno> {
        let end = offset.checked_add(len as u64).ok_or(Errno::EFAULT)?;
        if end > self.span {
            return Err(Errno::EFAULT);
        }
        let offset = usize::try_from(offset).map_err(|_| Errno::EFAULT)?;
        // SAFETY: `offset` is inside the mapping.
        Ok(unsafe { self.base.add(offset) })
    }

    /// Copies out of the file.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let from = self.check(offset, buf.len())?;
        // SAFETY: both ranges are valid for `buf.len()` bytes and disjoint.
        unsafe { std::ptr::copy_nonoverlapping(from, buf.as_mut_ptr(), buf.len()) };
        Ok(())
    }

    /// Copies into the file.
    pub fn write(&self, offset: u64, buf: &[u8]) -> Result<(), Errno> {
        let to = self.check(offset, buf.len())?;
        // SAFETY: both ranges are valid for `buf.len()` bytes and disjoint.
        unsafe { std::ptr::copy_nonoverlapping(buf.as_ptr(), to, buf.len()) };
        Ok(())
    }

    /// Changes 5 bytes of code that guests may be executing: the first two become an
    /// endless jump to themselves until the others are there. The bytes must lie in one
    /// cache line (`EINVAL`).
    pub fn patch_code(&self, offset: u64, bytes: [u8; 5]) -> Result<(), Errno> {
        if offset % 64 > 64 - 6 {
            return Err(Errno::EINVAL);
        }
        let at = self.check(offset, 5)?;
        let [a, b, tail @ ..] = bytes;
        let store = |by: usize, bytes: &[u8]| {
            for (i, &byte) in bytes.iter().enumerate() {
                // SAFETY: inside the 5 bytes checked above.
                unsafe { at.add(by + i).write_volatile(byte) };
            }
        };
        let head = |bytes: [u8; 2]| {
            // SAFETY: as above; one store that does not cross a cache line.
            unsafe { at.cast::<u16>().write_unaligned(u16::from_le_bytes(bytes)) };
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        };
        head([0xeb, 0xfe]);
        store(2, &tail);
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        head([a, b]);
        Ok(())
    }

    /// Copies within the file; the ranges may overlap.
    pub fn copy(&self, from: u64, to: u64, len: usize) -> Result<(), Errno> {
        let (source, dest) = (self.check(from, len)?, self.check(to, len)?);
        // SAFETY: both ranges are inside the mapping.
        unsafe { std::ptr::copy(source, dest, len) };
        Ok(())
    }

    /// Fills a range from `at` of another file on; returns how much there was.
    pub fn fill_from(
        &self,
        file: BorrowedFd<'_>,
        at: u64,
        to: u64,
        len: usize,
    ) -> Result<usize, MemoryError> {
        let dest = self.check(to, len).map_err(|_| MemoryError::from_raw_os_error(libc::EFAULT))?;
        // SAFETY: inside the mapping, on whose content nothing relies.
        unsafe { files::pread_to(file, dest, len, at) }
    }

    /// Writes a range to another file at `at`; returns how much was written.
    pub fn store_to(
        &self,
        file: BorrowedFd<'_>,
        at: u64,
        from: u64,
        len: usize,
    ) -> Result<usize, MemoryError> {
        let source =
            self.check(from, len).map_err(|_| MemoryError::from_raw_os_error(libc::EFAULT))?;
        files::pwrite_from(file, source, len, at)
    }

    /// Copies to a range without pages: the host makes them without zeroing them first
    /// and without a fault each.
    pub fn copy_fresh(&self, from: u64, to: u64, len: usize) -> Result<(), Errno> {
        let source = self.check(from, len)?;
        self.check(to, len)?;
        match files::pwrite_from(self.fd(), source, len, to) {
            Ok(n) if n == len => Ok(()),
            _ => Err(Errno::ENOSPC),
        }
    }

    /// The same from a buffer.
    pub fn write_fresh(&self, offset: u64, buf: &[u8]) -> Result<(), Errno> {
        self.check(offset, buf.len())?;
        match files::pwrite_from(self.fd(), buf.as_ptr(), buf.len(), offset) {
            Ok(n) if n == buf.len() => Ok(()),
            _ => Err(Errno::ENOSPC),
        }
    }

    /// Stores zeroes.
    pub fn zero(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let len = usize::try_from(len).map_err(|_| Errno::EFAULT)?;
        let to = self.check(offset, len)?;
        // SAFETY: the range is inside the mapping.
        unsafe { std::ptr::write_bytes(to, 0, len) };
        Ok(())
    }

    /// Reads the word at `offset` atomically; compares and exchanges for futexes are
    /// done through [`GuestMemory::atomic`].
    pub fn load_u32(&self, offset: u64) -> Result<u32, Errno> {
        Ok(self.atomic(offset)?.load(std::sync::atomic::Ordering::SeqCst))
    }

    /// The aligned word at `offset`, which guests change at any time.
    pub fn atomic(&self, offset: u64) -> Result<&std::sync::atomic::AtomicU32, Errno> {
        let at = self.check(offset, 4)?;
        if !offset.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        // SAFETY: aligned, inside the mapping, which lives as long as `self`.
        Ok(unsafe { &*at.cast::<std::sync::atomic::AtomicU32>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_blocks_come_back_zeroed() {
        let memory = Arc::new(GuestMemory::new().unwrap());
        let block = memory.alloc(5000).unwrap();
        assert_eq!(block.len(), 8192);
        let offset = block.offset();
        memory.write(offset, b"secret").unwrap();
        drop(block);
        let block = memory.alloc(8192).unwrap();
        assert_eq!(block.offset(), offset);
        let mut buf = [1; 6];
        memory.read(offset, &mut buf).unwrap();
        assert_eq!(buf, [0; 6]);
    }

    #[test]
    fn only_pages_that_exist_are_copied() {
        let memory = Arc::new(GuestMemory::new().unwrap());
        let (a, b) = (memory.alloc(1 << 30).unwrap(), memory.alloc(1 << 30).unwrap());
        memory.write(a.offset() + (700 << 20), b"x").unwrap();
        memory.copy_pages(a.offset(), b.offset(), 1 << 30, |_, _| ()).unwrap();
        let mut buf = [0; 1];
        memory.read(b.offset() + (700 << 20), &mut buf).unwrap();
        assert_eq!(&buf, b"x");
        assert!(memory.resident() <= 64 << 10, "{}", memory.resident());
        assert_eq!(memory.alloc(u64::MAX).unwrap_err(), Errno::ENOMEM);
    }
}
