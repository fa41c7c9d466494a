//! The memory file of a sandbox, mapped whole into the sentry, and the allocator of
//! its pages.

use crate::guarded;
use chitin_abi::Errno;
use chitin_hostsys::files;
use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a sandbox has no memory file.
pub type MemoryError = std::io::Error;

/// Bytes of address space that the memory file spans (it is sparse), the first that the
/// host grants.
const SPANS: [u64; 4] = [1 << 44, 1 << 42, 1 << 40, 1 << 38];
/// Length of a huge page in bytes. What is as long begins with one.
pub const HUGE_PAGE: u64 = 2 << 20;
/// How long huge pages are not asked for after one has cost too much, in nanoseconds.
const AVOIDED: u64 = 10_000_000_000;
/// Unit of allocation, in bytes.
const PAGE: u64 = 4096;
/// Most bytes of pages that are kept for the next who asks: that saves the host from making
/// them again.
const MOST_KEPT: u64 = 64 << 20;
/// The same for a range that does not begin with them.
const MOST_KEPT_INSIDE: u64 = 64 << 10;
/// Most bytes of short ranges that may keep pages and are not counted.
const MOST_UNCOUNTED: u64 = 4 << 20;

/// The memory file and the sentry's view of it. Offsets are byte offsets into
/// the file. All copies are plain stores and loads that race with the guest;
/// none of them forms a reference to guest memory. They are `EFAULT` where the host has
/// no page left.
#[derive(Debug)]
pub struct GuestMemory {
    fd: OwnedFd,
    base: *mut u8,
    span: u64,
    free: Mutex<Free>,
    full: AtomicBool,
    huge: bool,
    /// They cost too much before this time, in nanoseconds.
    no_huge_before: AtomicU64,
    /// What guests may use, and what is charged besides the file, in bytes; 0 is no limit.
    limit: AtomicU64,
    charged: AtomicU64,
}

/// Free ranges: recycled ones by exact length, and all from `next` on.
#[derive(Debug, Default)]
struct Free {
    bins: HashMap<u64, Vec<Recycled>>,
    next: u64,
    /// Bytes of pages that recycled ranges have; most that others may have.
    kept: u64,
    uncounted: u64,
}

/// A free range. Its pages are in one part (offsets into the file), with what its last owner
/// has left in them.
#[derive(Debug)]
struct Recycled {
    offset: u64,
    pages: Range<u64>,
    /// All of that part is in pages.
    counted: bool,
}

impl Recycled {
    fn len(&self) -> u64 {
        self.pages.end - self.pages.start
    }
}

impl Free {
    /// Where its pages are counted.
    fn count(&mut self, range: &Recycled) -> &mut u64 {
        if range.counted { &mut self.kept } else { &mut self.uncounted }
    }
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

/// A block whose content is being made, in ascending order; what is left out is zero. Blocks
/// that are used again are not zeroed first.
#[derive(Debug)]
pub struct Filling {
    block: Block,
    /// What is left of its last owner's.
    stale: Range<u64>,
}

impl Filling {
    /// Says that what is up to `from` is zero and that up to `to` follows; both are offsets
    /// into the file.
    fn reach(&mut self, from: u64, to: u64) -> Result<(), Errno> {
        let gap = self.stale.start..from.min(self.stale.end);
        if gap.start < gap.end {
            self.block.memory.zero(gap.start, gap.end - gap.start)?;
        }
        self.stale.start = self.stale.start.max(to);
        Ok(())
    }

    /// Whether what begins at `start` in the file has pages already.
    fn is_stale(&self, start: u64) -> bool {
        self.stale.contains(&start)
    }

    /// Appends bytes at `at` in the block.
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        let start = self.block.offset + at;
        let stale = self.is_stale(start);
        self.reach(start, start + bytes.len() as u64)?;
        let memory = &self.block.memory;
        if stale { memory.write(start, bytes) } else { memory.write_fresh(start, bytes) }
    }

    /// Appends, from the block's beginning on, what `len` bytes at `from` in the file have in
    /// pages; tells which parts (offset and length) those were.
    pub fn copy_pages(
        &mut self,
        from: u64,
        len: u64,
        mut copied: impl FnMut(u64, u64),
    ) -> Result<(), Errno> {
        let memory = self.block.memory.clone();
        memory.pages(from, len, |data, n| {
            let to = self.block.offset + (data - from);
            let (stale, len) = (self.is_stale(to), usize::try_from(n).map_err(|_| Errno::EFAULT)?);
            self.reach(to, to + n)?;
            if stale {
                memory.copy(data, to, len)?
            } else {
                memory.copy_fresh(data, to, len)?
            }
            copied(data, n);
            Ok(())
        })
    }

    /// The block.
    pub fn finish(mut self) -> Result<Arc<Block>, Errno> {
        let end = self.stale.end;
        self.reach(end, end)?;
        Ok(Arc::new(self.block))
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
        // Pages that the host does not take back are not used again.
        let Some(range) = memory.recycle(*offset, *len) else { return };
        let mut free = memory.free();
        *free.count(&range) += range.len();
        free.bins.entry(*len).or_default().push(range);
    }
}

/// A range of at most this length is taken to have all pages if it has one: to ask for each
/// takes longer than to make them.
const SMALL: u64 = 64 << 10;

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
        guarded::install();
        let mut refused = None;
        for span in SPANS {
            let mapped = chitin_hostsys::ftruncate(fd.as_fd(), span)
                .and_then(|()| chitin_hostsys::mmap_shared(fd.as_fd(), span));
            match mapped {
                Ok(base) => {
                    let (free, full) = (Mutex::default(), AtomicBool::new(false));
                    let (limit, charged) = (AtomicU64::new(0), AtomicU64::new(0));
                    let no_huge_before = AtomicU64::new(0);
                    return Ok(Self {
                        fd,
                        base,
                        span,
                        free,
                        full,
                        huge: false,
                        no_huge_before,
                        limit,
                        charged,
                    });
                }
                Err(e) => refused = Some(e),
            }
        }
        Err(refused.unwrap_or_else(|| std::io::Error::other("no span")))
    }

    /// The same where the host may use huge pages for mappings that ask for them.
    pub fn with_huge_pages(fd: OwnedFd) -> Result<Self, MemoryError> {
        let mut memory = Self::over(fd)?;
        memory.huge = true;
        Ok(memory)
    }

    /// Whether it may.
    #[must_use]
    pub fn has_huge_pages(&self) -> bool {
        self.huge
    }

    /// Says that huge pages have cost too much just now: they come from memory that a virtual machine
    /// has never used, as a rule.
    pub fn avoid_huge_pages(&self, now: u64) {
        self.no_huge_before.store(now + AVOIDED, Ordering::Relaxed);
    }

    /// Whether mappings should ask for them.
    #[must_use]
    pub fn makes_huge_pages(&self, now: u64) -> bool {
        now >= self.no_huge_before.load(Ordering::Relaxed)
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
        self.fill(len)?.finish()
    }

    /// Allocates at least `len` contiguous bytes, whose content follows. `ENOMEM` when the
    /// span is used up.
    pub fn fill(self: &Arc<Self>, len: u64) -> Result<Filling, Errno> {
        let len = size_class(len).ok_or(Errno::ENOMEM)?;
        let mut free = self.free();
        let recycled = free.bins.get_mut(&len).and_then(Vec::pop);
        let range = match recycled {
            Some(range) => range,
            None => {
                let unit = if len >= HUGE_PAGE { HUGE_PAGE } else { PAGE };
                let offset = free.next.checked_next_multiple_of(unit).ok_or(Errno::ENOMEM)?;
                let end = offset.checked_add(len).filter(|&end| end <= self.span);
                free.next = end.ok_or(Errno::ENOMEM)?;
                Recycled { offset, pages: offset..offset, counted: true }
            }
        };
        *free.count(&range) -= range.len();
        let Recycled { offset, pages: stale, .. } = range;
        let ready = if stale.start == offset { stale.end - offset } else { 0 };
        Ok(Filling { block: Block { memory: self.clone(), offset, len, ready }, stale })
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a range that nobody maps any more; `None` if the host does not take back the
    /// pages that it shall not keep.
    fn recycle(&self, offset: u64, len: u64) -> Option<Recycled> {
        let end = offset + len;
        let keep = |pages, counted| Some(Recycled { offset, pages, counted });
        let Some(start) = self.first_data(offset, end) else { return keep(offset..offset, true) };
        if len <= SMALL && self.free().uncounted + len <= MOST_UNCOUNTED {
            return keep(offset..end, false);
        }
        let pages = start..self.end_of_data(start, end);
        let n = pages.end - start;
        if (start == offset || n <= MOST_KEPT_INSIDE)
            && self.free().kept + n <= MOST_KEPT
            && self.next_data(pages.end, end).is_none()
        {
            return keep(pages, true);
        }
        self.discard(offset, len).ok()?;
        keep(offset..offset, true)
    }

    /// Gives the pages of free ranges back to the host.
    pub fn trim(&self) {
        let mut free = self.free();
        let Free { bins, kept, uncounted, .. } = &mut *free;
        for range in bins.values_mut().flatten().filter(|range| range.len() > 0) {
            if self.discard(range.pages.start, range.len()).is_ok() {
                *(if range.counted { &mut *kept } else { &mut *uncounted }) -= range.len();
                range.pages = range.offset..range.offset;
            }
        }
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

    /// Whether there is a limit.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.limit.load(Ordering::Relaxed) != 0
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
        let mut free = self.free();
        if free.uncounted > 0 {
            self.count_pages(&mut free);
        }
        self.held().saturating_sub(free.kept)
    }

    /// Counts the pages of the ranges whose pages were not: short ones, most of them freed
    /// last.
    fn count_pages(&self, free: &mut Free) {
        let Free { bins, kept, uncounted, .. } = free;
        let short = bins.iter_mut().filter(|(len, _)| **len <= SMALL);
        for range in short.flat_map(|(_, bin)| bin.iter_mut().rev()) {
            if *uncounted == 0 {
                break;
            }
            if range.counted {
                continue;
            }
            let end = range.pages.end;
            let (start, n) = self.next_data(range.offset, end).unwrap_or((range.offset, 0));
            let pages = start..start + n;
            if self.next_data(pages.end, end).is_some() {
                if self.discard(range.offset, range.len()).is_err() {
                    continue;
                }
                range.pages = range.offset..range.offset;
            } else {
                range.pages = pages;
            }
            *uncounted -= end - range.offset;
            *kept += range.len();
            range.counted = true;
        }
    }

    /// The part of a range, beginning at `from`, that has pages: (offset, length).
    #[must_use]
    pub fn next_data(&self, from: u64, end: u64) -> Option<(u64, u64)> {
        let start = self.first_data(from, end)?;
        Some((start, self.end_of_data(start, end) - start))
    }

    /// Where the pages end, at most, of which there is one at `from`.
    fn end_of_data(&self, from: u64, end: u64) -> u64 {
        let hole = files::lseek(self.fd(), from.cast_signed(), libc::SEEK_HOLE);
        hole.unwrap_or(end).min(end)
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

    /// Calls `each` with the parts (offset and length) of a range that have pages.
    fn pages(
        &self,
        from: u64,
        len: u64,
        mut each: impl FnMut(u64, u64) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let end = from.checked_add(len).ok_or(Errno::EFAULT)?;
        if len <= SMALL && self.first_data(from, end) == Some(from) {
            return each(from, len);
        }
        let mut at = from;
        while let Some((data, n)) = self.next_data(at, end) {
            each(data, n)?;
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
        // SAFETY: both ranges are valid for `buf.len()` bytes.
        unsafe { guarded::copy(buf.as_mut_ptr(), from, buf.len()) }.map_err(|_| Errno::EFAULT)
    }

    /// Copies into the file.
    pub fn write(&self, offset: u64, buf: &[u8]) -> Result<(), Errno> {
        let to = self.check(offset, buf.len())?;
        // SAFETY: both ranges are valid for `buf.len()` bytes.
        unsafe { guarded::copy(to, buf.as_ptr(), buf.len()) }.map_err(|_| Errno::EFAULT)
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

    /// Copies within the file. What comes of ranges that overlap is unspecified.
    pub fn copy(&self, from: u64, to: u64, len: usize) -> Result<(), Errno> {
        let (source, dest) = (self.check(from, len)?, self.check(to, len)?);
        // SAFETY: both ranges are inside the mapping.
        unsafe { guarded::copy(dest, source, len) }.map_err(|_| Errno::EFAULT)
    }

    /// Makes a range of `room` bytes at `to` what `len` bytes at `from` are, and zero behind.
    pub fn renew(&self, from: u64, to: u64, len: u64, room: u64) -> Result<(), Errno> {
        let mut done = 0;
        self.pages(from, len, |data, n| {
            let at = data - from;
            self.wipe(to + done, at - done)?;
            self.copy(data, to + at, usize::try_from(n).map_err(|_| Errno::EFAULT)?)?;
            done = at + n;
            Ok(())
        })?;
        self.wipe(to + done, room - done)
    }

    /// Zeroes the pages that a range has.
    fn wipe(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let (mut at, end) = (offset, offset.saturating_add(len));
        while let Some((data, n)) = self.next_data(at, end) {
            // To take them back costs more than to zero a few.
            if n > SMALL {
                self.discard(data, n)?
            } else {
                self.zero(data, n)?
            }
            at = data + n;
        }
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
        unsafe { guarded::zero(to, len) }.map_err(|_| Errno::EFAULT)
    }

    /// The aligned word at `offset`, which guests change at any time.
    pub fn load_u32(&self, offset: u64) -> Result<u32, Errno> {
        let at = self.word(offset)?;
        // SAFETY: inside the mapping.
        unsafe { guarded::load(at) }.map_err(|_| Errno::EFAULT)
    }

    /// Replaces the aligned word at `offset` by `new` if it is `old`, atomically; returns
    /// what it was.
    pub fn compare_exchange(&self, offset: u64, old: u32, new: u32) -> Result<u32, Errno> {
        let at = self.word(offset)?;
        // SAFETY: inside the mapping.
        unsafe { guarded::exchange(at, old, new) }.map_err(|_| Errno::EFAULT)
    }

    fn word(&self, offset: u64) -> Result<*mut u32, Errno> {
        let at = self.check(offset, 4)?;
        if !offset.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        Ok(at.cast())
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
    fn a_recycled_block_keeps_nothing_but_what_is_filled_in() {
        let memory = Arc::new(GuestMemory::new().unwrap());
        for (len, dirty) in [(3 * PAGE, 0..3), (64 * PAGE, 0..40), (64 * PAGE, 50..60)] {
            let block = memory.alloc(len).unwrap();
            let offset = block.offset();
            let from = dirty.start * PAGE;
            memory
                .write(offset + from, &vec![7; ((dirty.end - dirty.start) * PAGE) as usize])
                .unwrap();
            drop(block);
            let mut filling = memory.fill(len).unwrap();
            filling.write(5, b"abc").unwrap();
            filling.write(2 * PAGE, b"d").unwrap();
            let block = filling.finish().unwrap();
            assert_eq!(block.offset(), offset);
            let mut content = vec![1; len as usize];
            memory.read(offset, &mut content).unwrap();
            let mut expected = vec![0; len as usize];
            expected[5..8].copy_from_slice(b"abc");
            expected[2 * PAGE as usize] = b'd';
            assert!(content == expected);
        }
    }

    #[test]
    fn a_range_is_renewed_by_another() {
        let memory = Arc::new(GuestMemory::new().unwrap());
        let (len, page) = (100 * PAGE, vec![7; PAGE as usize]);
        let (from, to) = (memory.alloc(len).unwrap(), memory.alloc(len).unwrap());
        for at in [0, 1, 50] {
            memory.write(from.offset() + at * PAGE, &page).unwrap();
        }
        for at in (0..100).step_by(3).chain(60..90) {
            memory.write(to.offset() + at * PAGE, &vec![9; PAGE as usize]).unwrap();
        }
        memory.renew(from.offset(), to.offset(), 80 * PAGE, len).unwrap();
        let mut content = vec![1; len as usize];
        memory.read(to.offset(), &mut content).unwrap();
        for (at, found) in content.chunks(PAGE as usize).enumerate() {
            let expected = if [0, 1, 50].contains(&at) { 7 } else { 0 };
            assert!(found.iter().all(|&b| b == expected), "page {at}");
        }
    }

    #[test]
    fn only_pages_that_exist_are_copied() {
        let memory = Arc::new(GuestMemory::new().unwrap());
        let a = memory.alloc(1 << 30).unwrap();
        memory.write(a.offset() + (700 << 20), b"x").unwrap();
        let mut copy = memory.fill(1 << 30).unwrap();
        copy.copy_pages(a.offset(), 1 << 30, |_, _| ()).unwrap();
        let b = copy.finish().unwrap();
        let mut buf = [0; 1];
        memory.read(b.offset() + (700 << 20), &mut buf).unwrap();
        assert_eq!(&buf, b"x");
        assert!(memory.resident() <= 64 << 10, "{}", memory.resident());
        assert_eq!(memory.alloc(u64::MAX).unwrap_err(), Errno::ENOMEM);
    }
}
