//! [`Data`]: the content of a regular file, in the sandbox's memory file.
//!
//! A file is divided into extents whose places and lengths follow from the offset
//! alone: 64 KiB, then doubling, then 1 GiB each. An extent is a contiguous range of
//! the memory file, allocated when it is first touched; its pages take memory when
//! they are written. So a file of any size has few extents, and they never move: a
//! mapping stays valid as the file grows.
//!
//! Locks: one, for the extents; nothing else is locked below it but the allocator.

use super::pages::PageSet;
use crate::util::PAGE;
use chitin_abi::Errno;
use chitin_kernel::changes;
use chitin_kernel::sync::RwLock;
use chitin_usermem::{Block, GuestMemory};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Length of the first extent, in bytes.
const FIRST: u64 = 64 << 10;
/// Longest extent, in bytes.
const LONGEST: u64 = 1 << 30;
/// New pages from which on it pays to let the host make and fill them in one call.
const FRESH_MIN: u64 = 2;
/// Largest file, in bytes (`MAX_LFS_FILESIZE`).
pub(super) const SIZE_MAX: u64 = i64::MAX as u64;

/// Pages and inodes that a file system may use.
#[derive(Debug)]
pub(super) struct Budget {
    /// Most pages; `u64::MAX` is no limit.
    pub(super) pages_max: AtomicU64,
    /// Most inodes; `u64::MAX` is no limit.
    pub(super) inodes_max: AtomicU64,
    pub(super) pages: AtomicU64,
    pub(super) inodes: AtomicU64,
}

impl Budget {
    fn take(used: &AtomicU64, n: u64, max: u64) -> Result<(), Errno> {
        let add = |u: u64| u.checked_add(n).filter(|&sum| sum <= max);
        let taken = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        taken.map(drop).map_err(|_| Errno::ENOSPC)
    }

    pub(super) fn take_pages(&self, n: u64) -> Result<(), Errno> {
        Self::take(&self.pages, n, self.pages_max.load(Ordering::Relaxed))
    }

    pub(super) fn take_inode(&self) -> Result<(), Errno> {
        if chitin_hostsys::heap::is_filling() {
            return Err(Errno::ENOSPC);
        }
        Self::take(&self.inodes, 1, self.inodes_max.load(Ordering::Relaxed))
    }
}

/// Whether a range that is written has pages already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pages {
    /// Most are still to be made.
    Fresh,
    /// At least some are there.
    Some,
}

#[derive(Debug, Default)]
struct Inner {
    size: u64,
    /// By offset in the file.
    extents: BTreeMap<u64, Arc<Block>>,
    /// Pages that are charged.
    present: PageSet,
    /// Mapped pages between the size and here may have been written by guests.
    stale_to: u64,
}

/// The content of a regular file.
#[derive(Debug)]
pub(super) struct Data {
    memory: Arc<GuestMemory>,
    budget: Arc<Budget>,
    /// Somebody has mapped it: extents must stay where they are.
    mapped: AtomicBool,
    inner: RwLock<Inner>,
}

/// The extent that holds `offset`: start and length.
fn extent_of(offset: u64) -> (u64, u64) {
    if offset < FIRST {
        (0, FIRST)
    } else if offset < LONGEST {
        let len = 1 << (63 - offset.leading_zeros());
        (len, len)
    } else {
        (offset & !(LONGEST - 1), LONGEST)
    }
}

fn pages_of(range: Range<u64>) -> Range<u64> {
    range.start / PAGE..range.end.div_ceil(PAGE)
}

/// Number of `usize` bytes in a range that is known to be short.
fn short(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl Inner {
    /// Where `offset` is in the memory file, and how many bytes follow in the extent.
    fn place(&self, offset: u64) -> (Option<u64>, u64) {
        let (start, len) = extent_of(offset);
        let at = offset - start;
        (self.extents.get(&start).map(|b| b.offset() + at), len - at)
    }

    fn place_or_alloc(
        &mut self,
        memory: &Arc<GuestMemory>,
        offset: u64,
    ) -> Result<(u64, u64), Errno> {
        if let (Some(at), left) = self.place(offset) {
            return Ok((at, left));
        }
        let (start, len) = extent_of(offset);
        if chitin_hostsys::heap::is_filling() {
            return Err(Errno::ENOSPC);
        }
        let block = memory.alloc(len)?;
        let at = block.offset() + (offset - start);
        self.extents.insert(start, block);
        Ok((at, len - (offset - start)))
    }

    /// Calls `f` with each piece (place in the memory file, length) of a range that
    /// has an extent.
    fn each(
        &self,
        range: Range<u64>,
        mut f: impl FnMut(u64, u64) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        for (&start, block) in self.extents.range(extent_of(range.start).0..range.end) {
            let from = range.start.max(start);
            let to = range.end.min(start + extent_of(start).1);
            if from < to {
                f(block.offset() + (from - start), to - from)?;
            }
        }
        Ok(())
    }
}

impl Data {
    pub(super) fn new(memory: Arc<GuestMemory>, budget: Arc<Budget>) -> Self {
        Self { memory, budget, mapped: AtomicBool::new(false), inner: RwLock::default() }
    }

    pub(super) fn size(&self) -> u64 {
        self.inner.read().size
    }

    /// Whether it is or was mapped: guests make pages unseen.
    pub(super) fn is_mapped(&self) -> bool {
        self.mapped.load(Ordering::Relaxed)
    }

    /// Size, and pages in use.
    pub(super) fn extent(&self) -> (u64, u64) {
        self.refresh();
        let inner = self.inner.read();
        (inner.size, inner.present.count())
    }

    /// Finds the pages that guests made through mappings.
    fn refresh(&self) {
        if !self.mapped.load(Ordering::Relaxed) {
            return;
        }
        let mut guard = self.inner.write();
        let inner = &mut *guard;
        let mut new = 0;
        for (&start, block) in &inner.extents {
            let end = block.offset() + block.len();
            let mut at = block.offset();
            while let Some((data, n)) = self.memory.next_data(at, end) {
                let from = start + (data - block.offset());
                let to = (from + n).min(inner.size);
                if from < to {
                    new += inner.present.insert(pages_of(from..to));
                }
                at = data + n;
            }
        }
        self.budget.pages.fetch_add(new, Ordering::Relaxed);
    }

    /// Reads; short at the end of the file.
    pub(super) fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let len = buf.len();
        self.read_pieces(offset, len, |done, n, place| {
            let piece = buf.get_mut(done..done + n).ok_or(Errno::EFAULT)?;
            match place {
                Some(at) => self.memory.read(at, piece),
                None => {
                    piece.fill(0);
                    Ok(())
                }
            }
        })
    }

    /// Reads to a range of the memory file.
    pub(super) fn read_to(&self, offset: u64, to: u64, len: usize) -> Result<usize, Errno> {
        self.read_pieces(offset, len, |done, n, place| match place {
            Some(at) => self.memory.copy(at, to + done as u64, n),
            None => self.memory.zero(to + done as u64, n as u64),
        })
    }

    /// Calls `f` with each piece of a range up to the end of the file: how much was done
    /// before, its length, and where it is in the memory file unless it is a hole.
    fn read_pieces(
        &self,
        offset: u64,
        len: usize,
        mut f: impl FnMut(usize, usize, Option<u64>) -> Result<(), Errno>,
    ) -> Result<usize, Errno> {
        let inner = self.inner.read();
        let len = short(inner.size.saturating_sub(offset)).min(len);
        // A load from a hole would make a page of it. What guests made through mappings
        // is not known here.
        let mapped = self.mapped.load(Ordering::Relaxed);
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let (mut place, mut left) = inner.place(at);
            if !mapped {
                let page = at / PAGE;
                let stop = match inner.present.next_in(page) {
                    Some(next) if next == page => inner.present.next_out(page),
                    next => {
                        place = None;
                        next.unwrap_or(u64::MAX)
                    }
                };
                left = left.min(stop.saturating_mul(PAGE) - at);
            }
            let n = (len - done).min(short(left));
            f(done, n, place)?;
            done += n;
        }
        Ok(len)
    }

    /// Writes, growing the file; short if the file system is full.
    pub(super) fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize, Errno> {
        self.write_pieces(offset, buf.len(), |done, n, at, pages| {
            let piece = buf.get(done..done + n).ok_or(Errno::EFAULT)?;
            match pages {
                Pages::Fresh => self.memory.write_fresh(at, piece),
                Pages::Some => self.memory.write(at, piece),
            }
        })
    }

    /// Writes what is in a range of the memory file.
    pub(super) fn write_from(&self, offset: u64, from: u64, len: usize) -> Result<usize, Errno> {
        self.write_pieces(offset, len, |done, n, at, pages| match pages {
            Pages::Fresh => self.memory.copy_fresh(from + done as u64, at, n),
            Pages::Some => self.memory.copy(from + done as u64, at, n),
        })
    }

    /// Calls `f` with each piece of a range that is written: how much was done before,
    /// its length, and where it is in the memory file.
    fn write_pieces(
        &self,
        offset: u64,
        len: usize,
        f: impl Fn(usize, usize, u64, Pages) -> Result<(), Errno>,
    ) -> Result<usize, Errno> {
        if len == 0 {
            return Ok(0);
        }
        if offset >= SIZE_MAX {
            return Err(Errno::EFBIG);
        }
        let mut len = len.min(short(SIZE_MAX - offset));
        let kind;
        let _changing = changes::begin();
        let mut guard = self.inner.write();
        let inner = &mut *guard;
        loop {
            let pages = pages_of(offset..offset + len as u64);
            let new = inner.present.missing(&pages);
            if new > 0 && self.memory.is_full() {
                return Err(Errno::ENOSPC);
            }
            if new == 0 || self.budget.take_pages(new).is_ok() {
                kind = if new >= FRESH_MIN { Pages::Fresh } else { Pages::Some };
                inner.present.insert(pages);
                break;
            }
            // Page by page, as far as there is room.
            let cut = short((pages.end - 1) * PAGE).saturating_sub(short(offset));
            if cut == 0 || pages.end - pages.start == 1 {
                return Err(Errno::ENOSPC);
            }
            len = cut.min(len - 1);
        }
        let end = offset + len as u64;
        if end > inner.size {
            self.clear_stale(inner, end)?;
        }
        let mut done = 0;
        while done < len {
            let (at, left) = inner.place_or_alloc(&self.memory, offset + done as u64)?;
            let n = (len - done).min(short(left));
            f(done, n, at, kind)?;
            done += n;
        }
        inner.size = inner.size.max(end);
        Ok(len)
    }

    /// Before growth to `end`: what guests wrote behind the end of the file is zero.
    fn clear_stale(&self, inner: &mut Inner, end: u64) -> Result<(), Errno> {
        if inner.stale_to > inner.size {
            let range = inner.size..inner.stale_to.min(end.next_multiple_of(PAGE));
            self.clear(inner, range)?;
            if end >= inner.stale_to {
                inner.stale_to = 0;
            }
        }
        Ok(())
    }

    /// Makes a range read as zeroes: whole pages are given back.
    fn clear(&self, inner: &mut Inner, range: Range<u64>) -> Result<(), Errno> {
        if range.is_empty() {
            return Ok(());
        }
        let first = range.start.next_multiple_of(PAGE).min(range.end);
        let last = (range.end & !(PAGE - 1)).max(first);
        inner.each(range.start..first, |at, n| self.memory.zero(at, n))?;
        inner.each(first..last, |at, n| self.memory.discard(at, n))?;
        inner.each(last..range.end, |at, n| self.memory.zero(at, n))?;
        let gone = inner.present.remove(first / PAGE..last / PAGE);
        self.budget.pages.fetch_sub(gone, Ordering::Relaxed);
        Ok(())
    }

    /// `ftruncate(2)`.
    pub(super) fn set_size(&self, size: u64) -> Result<(), Errno> {
        if size > SIZE_MAX {
            return Err(Errno::EFBIG);
        }
        self.refresh();
        let _changing = changes::begin();
        let mut guard = self.inner.write();
        let inner = &mut *guard;
        if size >= inner.size {
            self.clear_stale(inner, size)?;
            inner.size = size;
            return Ok(());
        }
        let old_end = inner.size.next_multiple_of(PAGE);
        if self.mapped.load(Ordering::Relaxed) {
            self.clear(inner, size..old_end)?;
            inner.stale_to = inner.stale_to.max(old_end);
        } else {
            let keep = extent_of(size);
            let behind = if keep.0 == size { size } else { keep.0 + keep.1 };
            self.clear(inner, size..old_end.min(behind.max(size)))?;
            drop(inner.extents.split_off(&behind));
            let gone = inner.present.remove(behind / PAGE..old_end / PAGE);
            self.budget.pages.fetch_sub(gone, Ordering::Relaxed);
        }
        inner.size = size;
        Ok(())
    }

    /// `fallocate(2)` without a mode, of a valid range: charges the pages.
    pub(super) fn reserve(&self, range: Range<u64>, grow: bool) -> Result<(), Errno> {
        let _changing = changes::begin();
        let mut guard = self.inner.write();
        let inner = &mut *guard;
        let pages = pages_of(range.clone());
        self.budget.take_pages(inner.present.missing(&pages))?;
        inner.present.insert(pages);
        if grow && range.end > inner.size {
            self.clear_stale(inner, range.end)?;
            inner.size = range.end;
        }
        Ok(())
    }

    /// `FALLOC_FL_PUNCH_HOLE`.
    pub(super) fn punch(&self, range: Range<u64>) -> Result<(), Errno> {
        self.refresh();
        let _changing = changes::begin();
        let mut inner = self.inner.write();
        let end = range.end.min(inner.size.next_multiple_of(PAGE));
        self.clear(&mut inner, range.start..end.max(range.start))
    }

    /// `SEEK_DATA`.
    pub(super) fn next_data(&self, offset: u64) -> Result<u64, Errno> {
        self.refresh();
        let inner = self.inner.read();
        let page = inner.present.next_in(offset / PAGE).ok_or(Errno::ENXIO)?;
        let at = offset.max(page.saturating_mul(PAGE));
        if at < inner.size { Ok(at) } else { Err(Errno::ENXIO) }
    }

    /// `SEEK_HOLE`; there is one at the end of every file.
    pub(super) fn next_hole(&self, offset: u64) -> Result<u64, Errno> {
        self.refresh();
        let inner = self.inner.read();
        if offset >= inner.size {
            return Err(Errno::ENXIO);
        }
        let page = inner.present.next_out(offset / PAGE);
        Ok(offset.max(page.saturating_mul(PAGE)).min(inner.size))
    }

    /// Where the page at `offset` is in the memory file, and how many bytes follow, at
    /// most `len` and to the end of the file. The place stays valid as long as `self`.
    pub(super) fn locate(&self, offset: u64, len: u64) -> Result<(u64, u64), Errno> {
        if !self.mapped.load(Ordering::Relaxed) {
            // From now on nobody is told of pages that guests make.
            let _changing = changes::begin();
            self.mapped.store(true, Ordering::Relaxed);
        }
        let inner = self.inner.read();
        let end = inner.size.checked_next_multiple_of(PAGE).ok_or(Errno::EFAULT)?;
        if offset >= end {
            return Err(Errno::EFAULT);
        }
        let len = len.min(end - offset);
        if let (Some(at), left) = inner.place(offset) {
            return Ok((at, left.min(len)));
        }
        drop(inner);
        let (at, left) = self.inner.write().place_or_alloc(&self.memory, offset)?;
        Ok((at, left.min(len)))
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let pages = self.inner.read().present.count();
        self.budget.pages.fetch_sub(pages, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pages_max: u64) -> Data {
        let budget = Budget {
            pages_max: AtomicU64::new(pages_max),
            inodes_max: AtomicU64::new(u64::MAX),
            pages: AtomicU64::new(0),
            inodes: AtomicU64::new(0),
        };
        Data::new(Arc::new(GuestMemory::new().unwrap()), Arc::new(budget))
    }

    #[test]
    fn extents_are_contiguous_and_cover_everything() {
        let mut at = 0;
        while at < 5 * LONGEST {
            let (start, len) = extent_of(at);
            assert_eq!(start, at);
            assert_eq!(extent_of(at + len - 1), (start, len));
            at += len;
        }
    }

    #[test]
    fn content_survives_extents_and_holes() {
        let d = data(u64::MAX);
        let text: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
        assert_eq!(d.write_at(5000, &text).unwrap(), text.len());
        d.write_at(3 << 30, b"far").unwrap();
        assert_eq!(d.size(), (3 << 30) + 3);
        let mut back = vec![9; text.len() + 5000];
        assert_eq!(d.read_at(0, &mut back).unwrap(), back.len());
        assert!(back[..5000].iter().all(|&b| b == 0));
        assert_eq!(&back[5000..], &text[..]);
        assert_eq!(d.extent().1, 305_000_u64.div_ceil(PAGE) - 1 + 1);
        assert_eq!(d.next_data(0).unwrap(), 4096);
        let hole = d.next_hole(4096).unwrap();
        assert_eq!(hole, 305_000_u64.next_multiple_of(PAGE));
        assert_eq!(d.next_data(hole).unwrap(), 3 << 30);
        assert_eq!(d.next_hole(3 << 30).unwrap(), d.size());
        assert_eq!(d.next_data(d.size()), Err(Errno::ENXIO));
    }

    #[test]
    fn truncation_zeroes_and_gives_back() {
        let d = data(u64::MAX);
        d.write_at(0, &[7; 200_000]).unwrap();
        d.set_size(100).unwrap();
        assert_eq!(d.extent().1, 1);
        d.set_size(200_000).unwrap();
        let mut back = vec![1; 200_000];
        d.read_at(0, &mut back).unwrap();
        assert!(back[..100].iter().all(|&b| b == 7) && back[100..].iter().all(|&b| b == 0));
        d.punch(10..50).unwrap();
        d.read_at(0, &mut back).unwrap();
        assert_eq!((back[9], back[10], back[49], back[50]), (7, 0, 0, 7));
        d.set_size(0).unwrap();
        assert_eq!((d.extent().1, d.memory.resident()), (0, 0));
    }

    #[test]
    fn a_mapping_sees_writes_and_survives_truncation() {
        let d = data(u64::MAX);
        d.write_at(0, b"abc").unwrap();
        let (at, len) = d.locate(0, 1 << 20).unwrap();
        assert_eq!(len, PAGE);
        d.write_at(1, b"X").unwrap();
        let mut back = [0; 4];
        d.memory.read(at, &mut back).unwrap();
        assert_eq!(&back, b"aXc\0");
        assert_eq!(d.locate(PAGE, 1), Err(Errno::EFAULT));
        d.set_size(0).unwrap();
        // A guest that still has the mapping stores behind the end.
        d.memory.write(at, b"zzzz").unwrap();
        d.set_size(2).unwrap();
        assert_eq!(d.locate(0, 1).unwrap().0, at);
        let mut back = [1; 2];
        d.read_at(0, &mut back).unwrap();
        assert_eq!(back, [0; 2]);
        // A page made by the guest alone is found.
        d.set_size(10 * PAGE).unwrap();
        let (at, _) = d.locate(4 * PAGE, PAGE).unwrap();
        d.memory.write(at, b"q").unwrap();
        assert_eq!(d.next_data(PAGE).unwrap(), 4 * PAGE);
    }

    #[test]
    fn a_full_file_system_writes_short() {
        let d = data(3);
        assert_eq!(d.write_at(100, &[1; 5 * 4096]).unwrap(), 3 * 4096 - 100);
        assert_eq!(d.write_at(3 * 4096, b"x"), Err(Errno::ENOSPC));
        assert_eq!(d.write_at(0, b"x").unwrap(), 1);
        d.set_size(0).unwrap();
        assert_eq!(d.reserve(0..4 * 4096, true), Err(Errno::ENOSPC));
        d.reserve(0..3 * 4096, true).unwrap();
        assert_eq!(d.size(), 3 * 4096);
        assert_eq!(d.write_at(SIZE_MAX, b"x"), Err(Errno::EFBIG));
    }
}
