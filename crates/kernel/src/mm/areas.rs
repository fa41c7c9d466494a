//! [`Areas`]: the table of an address space's areas, without any effect on the host.

use super::vma::Vma;
use chitin_abi::Errno;
use std::collections::BTreeMap;
use std::ops::Range;

/// Most areas of an address space (`vm.max_map_count`).
pub(super) const MAX_AREAS: usize = 65_000;

/// Areas by first address; they do not overlap.
#[derive(Default)]
pub(super) struct Areas {
    map: BTreeMap<u64, Vma>,
    /// Sum of lengths in bytes.
    total: u64,
    /// Where the search for free addresses goes on, downwards; 0 before the first.
    hint: u64,
}

impl Areas {
    /// The area that begins at `start`.
    pub(super) fn at(&self, start: u64) -> Option<&Vma> {
        self.map.get(&start)
    }

    /// The area that holds `addr`.
    pub(super) fn find(&self, addr: u64) -> Option<&Vma> {
        self.map.range(..=addr).next_back().map(|(_, v)| v).filter(|v| addr < v.end)
    }

    /// The first area that begins behind `addr`.
    pub(super) fn above(&self, addr: u64) -> Option<&Vma> {
        self.map.range(addr..).next().map(|(_, v)| v)
    }

    /// The last area that begins before `addr`.
    pub(super) fn below(&self, addr: u64) -> Option<&Vma> {
        self.map.range(..addr).next_back().map(|(_, v)| v)
    }

    /// Areas that overlap the range, in ascending order.
    pub(super) fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = &Vma> {
        let first = self.find(range.start).map_or(range.start, |v| v.start);
        self.map.range(first..range.end.max(first)).map(|(_, v)| v)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Vma> {
        self.map.values()
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = Vma> {
        self.map.into_values()
    }

    pub(super) fn count(&self) -> usize {
        self.map.len()
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The part of the range before the first page that is in no area.
    pub(super) fn before_gap(&self, range: Range<u64>) -> Range<u64> {
        let mut at = range.start;
        for vma in self.overlapping(range.clone()) {
            if vma.start > at {
                break;
            }
            at = vma.end;
        }
        range.start..at.min(range.end)
    }

    /// Whether every page of the range is in some area.
    pub(super) fn covers(&self, range: Range<u64>) -> bool {
        self.before_gap(range.clone()) == range
    }

    pub(super) fn insert(&mut self, vma: Vma) {
        self.total += vma.len();
        self.map.insert(vma.start, vma);
    }

    fn take(&mut self, start: u64) -> Option<Vma> {
        let vma = self.map.remove(&start)?;
        self.total -= vma.len();
        Some(vma)
    }

    /// Whether areas may be split at both ends of the range, as far as their number goes;
    /// `ENOMEM` if not.
    pub(super) fn may_split(&self, range: Range<u64>) -> Result<(), Errno> {
        let inside = |at| self.find(at).is_some_and(|vma| vma.start < at);
        let more = usize::from(inside(range.start)) + usize::from(inside(range.end));
        if self.count() + more > MAX_AREAS { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Makes one of areas in the range, or at its ends, that follow each other in all regards.
    pub(super) fn join(&mut self, range: Range<u64>) {
        let starts: Vec<u64> = self.map.range(range.start..=range.end).map(|(s, _)| *s).collect();
        for start in starts {
            let pair = self.below(start).zip(self.map.get(&start));
            let Some((before, vma)) = pair.filter(|(before, vma)| before.goes_on_in(vma)) else {
                continue;
            };
            let whole = Vma { end: vma.end, ..before.clone() };
            self.take(start);
            self.take(whole.start);
            self.insert(whole);
        }
    }

    fn split(&mut self, at: u64) {
        let Some(vma) = self.find(at) else { return };
        if vma.start == at {
            return;
        }
        let (low, high) = (vma.part(vma.start, at), vma.part(at, vma.end));
        self.take(low.start);
        self.insert(low);
        self.insert(high);
    }

    /// Takes out all areas in the range, splitting those at its ends.
    pub(super) fn remove(&mut self, range: Range<u64>) -> Vec<Vma> {
        self.split(range.start);
        self.split(range.end);
        let starts: Vec<u64> = self.map.range(range.clone()).map(|(s, _)| *s).collect();
        if self.hint != 0 && range.end > self.hint {
            self.hint = range.end;
        }
        starts.into_iter().filter_map(|s| self.take(s)).collect()
    }

    /// Free addresses for `len` bytes inside `within`, as high as possible and not where
    /// there is room for trampolines.
    pub(super) fn find_free(&mut self, len: u64, within: Range<u64>) -> Result<u64, Errno> {
        let top = if self.hint == 0 { within.end } else { self.hint };
        let top = top.clamp(within.start, within.end);
        let found = self.search_down(len, within.start..top);
        let start = match found {
            Some(start) => start,
            None => self.search_down(len, within).ok_or(Errno::ENOMEM)?,
        };
        self.hint = start;
        Ok(start)
    }

    fn search_down(&self, len: u64, within: Range<u64>) -> Option<u64> {
        let mut top = within.end;
        if let Some(vma) = self.find(top.wrapping_sub(1)) {
            top = vma.start;
        }
        if let Some((_, vma)) = self.map.range(top..).next() {
            top = top.min(vma.low());
        }
        for vma in self.map.range(..top).rev().map(|(_, v)| v) {
            if top.saturating_sub(vma.end) >= len || vma.end <= within.start {
                break;
            }
            top = top.min(vma.low());
        }
        top.checked_sub(len).filter(|&start| start >= within.start)
    }

    /// Whether no area overlaps the range.
    pub(super) fn is_free(&self, range: Range<u64>) -> bool {
        self.overlapping(range).next().is_none()
    }
}
