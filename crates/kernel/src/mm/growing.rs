//! Large areas whose pages are touched in order get huge ones. Only their first part is mapped
//! at once: when all of that has been used, the access behind it, a fault, has as much again mapped
//! with huge pages. The same from the end downwards. An access anywhere else maps the rest as it is
//! (`docs/adr/areas-that-fill-up.md`).

use super::Mm;
use super::map::{MapRequest, Placement};
use super::vma::{Sharing, Source, Vma};
use chitin_executor::Executor;
use chitin_platform::{Backing, MapOp, Populate, Prot};
use chitin_usermem::HUGE_PAGE;
use std::ops::Range;

/// Shortest area of this kind, in bytes.
pub(super) const LEAST: u64 = 2 * HUGE_PAGE;
/// Most that is mapped at a time, in bytes.
const MOST: u64 = 4 << 20;
/// Longest time for a page's share of the filling of huge ones: those that cost more are not
/// worth it. In nanoseconds.
const SLOW: u64 = 1_500;

/// How many pages of huge ones are looked at for what was stored there, and how much of each, in bytes.
const SAMPLES: u64 = 32;
const SAMPLE: usize = 64;

/// An area that is not mapped whole.
#[derive(Debug)]
pub(super) struct Growing {
    area: Range<u64>,
    /// What is not mapped.
    rest: Range<u64>,
    /// What was mapped last on both sides of it; above there may be nothing yet.
    below: Range<u64>,
    above: Range<u64>,
    /// Where the area is in the memory file.
    offset: u64,
    prot: Prot,
    /// When huge pages were mapped last, and how much (time as the executor counts it).
    huge: Option<(u64, u64)>,
}

impl Growing {
    fn map(&self, range: &Range<u64>) -> MapOp {
        MapOp::Map {
            addr: range.start,
            len: range.end - range.start,
            prot: self.prot,
            backing: Backing::Memory(self.offset_of(range.start)),
            populate: Populate::Lazy,
        }
    }

    /// The part of the area that is mapped at once.
    pub(super) fn first_part(&self, vma: &Vma) -> Vma {
        vma.part(vma.start, self.rest.start)
    }

    fn offset_of(&self, addr: u64) -> u64 {
        self.offset + (addr - self.area.start)
    }
}

/// The addresses whose mappings an operation changes.
fn ranges(op: &MapOp) -> [Range<u64>; 2] {
    match *op {
        MapOp::Map { addr, len, .. }
        | MapOp::Unmap { addr, len }
        | MapOp::Protect { addr, len, .. }
        | MapOp::Touch { addr, len }
        | MapOp::Huge { addr, len } => [addr..addr + len, 0..0],
        MapOp::Move { from, to, len } => [from..from + len, to..to + len],
    }
}

impl Mm {
    /// What of a new area is to be mapped at once; the rest is kept in mind when that is done.
    pub(super) fn begin_growing(&self, request: &MapRequest, vma: &Vma) -> Option<Growing> {
        let Source::Anon { block, at: 0, .. } = &vma.source else { return None };
        let offset = block.offset();
        let fits = vma.len() >= LEAST
            && (vma.start | offset).is_multiple_of(HUGE_PAGE)
            && request.file.is_none()
            && matches!(request.place, Placement::Hint(_))
            && vma.sharing == Sharing::Private
            && vma.prot == Prot::RW
            && vma.flags == 0
            && request.populate == Populate::Lazy
            && block.ready() == 0
            && self.memory.has_huge_pages()
            && self.memory.makes_huge_pages(Executor::now())
            && !self.memory.is_limited()
            && self.deferred.lock().is_none();
        let first = vma.start + HUGE_PAGE;
        fits.then_some(Growing {
            area: vma.start..vma.end,
            rest: first..vma.end,
            below: vma.start..first,
            above: vma.end..vma.end,
            offset,
            prot: vma.prot,
            huge: None,
        })
    }

    /// Keeps in mind that an area is not mapped whole; maps the one of before.
    pub(super) fn keep_growing(&self, growing: Growing, ops: &mut Vec<MapOp>) {
        if let Some(before) = self.growing.lock().replace(growing) {
            ops.insert(0, before.map(&before.rest));
        }
    }

    /// What maps an address that is not mapped yet, if that is why it was a fault.
    pub(super) fn grow(&self, page: u64) -> Option<Vec<MapOp>> {
        self.grow_at(page, Executor::now())
    }

    fn grow_at(&self, page: u64, now: u64) -> Option<Vec<MapOp>> {
        let mut slot = self.growing.lock();
        let growing = slot.as_mut().filter(|growing| growing.rest.contains(&page))?;
        let (area, rest) = (growing.area.clone(), growing.rest.clone());
        if growing
            .huge
            .take()
            .is_some_and(|(at, len)| now.saturating_sub(at) > len / super::PAGE * SLOW)
        {
            self.memory.avoid_huge_pages(now);
        }
        let is_huge = self.memory.makes_huge_pages(now);
        // The last part of at least a huge page's length.
        let end = rest.end.saturating_sub(HUGE_PAGE).max(rest.start) & !(HUGE_PAGE - 1);
        let (part, goes_on) =
            if is_huge && page - rest.start < HUGE_PAGE && self.is_used(growing, &growing.below) {
                let by = (rest.start - area.start).min(MOST);
                (rest.start..rest.end.min(rest.start + by), true)
            } else if page >= end && growing.above.is_empty() {
                (end..rest.end, false)
            } else if is_huge && page >= end && self.is_used(growing, &growing.above) {
                let by = (area.end - rest.end).min(MOST) & !(HUGE_PAGE - 1);
                (rest.start.max(rest.end - by)..rest.end, true)
            } else {
                (rest.clone(), false)
            };
        let mut ops = vec![growing.map(&part)];
        if goes_on {
            let len = part.end - part.start;
            ops.push(MapOp::Huge { addr: part.start, len });
            growing.huge = Some((now, len));
        }
        if part == rest {
            *slot = None;
        } else if part.start == rest.start {
            growing.rest.start = part.end;
            growing.below = part;
        } else {
            growing.rest.end = part.start;
            growing.above = part;
        }
        Some(ops)
    }

    /// Whether a part that was mapped has been used, but for an eighth at its ends. One access makes
    /// a huge page: of those the content has to show it.
    fn is_used(&self, growing: &Growing, part: &Range<u64>) -> bool {
        let (from, to) = (growing.offset_of(part.start), growing.offset_of(part.end));
        let is_first = part.start == growing.area.start || part.end == growing.area.end;
        self.memory.next_data(from, to).is_some_and(|(_, len)| len >= (to - from) / 8 * 7)
            && (is_first || self.is_stored_to(from..to))
    }

    /// Whether half of some pages of a range (in the memory file) do not begin with zeroes.
    fn is_stored_to(&self, range: Range<u64>) -> bool {
        let step = (range.end - range.start) / SAMPLES;
        let is_stored = |at: &u64| {
            let mut bytes = [0; SAMPLE];
            self.memory.read(*at, &mut bytes).is_ok() && bytes != [0; SAMPLE]
        };
        let samples = (0..SAMPLES).map(|i| (range.start + i * step) & !(super::PAGE - 1));
        samples.filter(is_stored).count() as u64 >= SAMPLES / 2
    }

    /// What has to be mapped before these operations are done.
    pub(super) fn mapped_before(&self, ops: &[MapOp]) -> Option<MapOp> {
        let mut slot = self.growing.lock();
        let rest = slot.as_ref()?.rest.clone();
        let meets = |range: &Range<u64>| range.start < rest.end && rest.start < range.end;
        let first = ops.iter().find(|op| ranges(op).iter().any(meets))?;
        let growing = slot.take()?;
        let replaced = match *first {
            MapOp::Map { addr, len, .. } | MapOp::Unmap { addr, len } => {
                addr <= rest.start && rest.end <= addr + len
            }
            _ => false,
        };
        (!replaced).then(|| growing.map(&rest))
    }

    /// Whether an area is not mapped whole.
    pub(super) fn is_growing(&self) -> bool {
        self.growing.lock().is_some()
    }

    /// What maps the area that is not mapped whole.
    pub(super) fn take_growing(&self) -> Option<MapOp> {
        self.growing.lock().take().map(|growing| growing.map(&growing.rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;
    use chitin_usermem::{GuestMemory, UserAddr, UserMemory};
    use std::sync::Arc;

    const LEN: u64 = 16 * HUGE_PAGE;

    /// An address space with such an area, and where that is.
    fn begun() -> (Guest, Arc<Mm>, u64) {
        let guest = Guest::new();
        let fd = chitin_hostsys::memfd_create(c"huge").unwrap();
        let memory = Arc::new(GuestMemory::with_huge_pages(fd).unwrap());
        let (space, texts) = (guest.cur.mm().space().clone(), guest.cur.mm().texts.clone());
        let mm = Mm::new(space, texts, memory, HUGE_PAGE..64 * LEN);
        let request = MapRequest::anonymous(Placement::Hint(0), LEN, Prot::RW);
        let start = mm.map(&request, u64::MAX).unwrap();
        assert!(start.is_multiple_of(HUGE_PAGE));
        (guest, mm, start)
    }

    fn places(ops: Option<Vec<MapOp>>) -> Vec<(bool, u64)> {
        let place = |op: &MapOp| match op {
            MapOp::Map { len, .. } => (false, len / HUGE_PAGE),
            MapOp::Huge { len, .. } => (true, len / HUGE_PAGE),
            other => unreachable!("{other:?}"),
        };
        ops.unwrap_or_default().iter().map(place).collect()
    }

    #[test]
    fn what_is_used_in_order_gets_as_much_again() {
        let (_guest, mm, start) = begun();
        let used = vec![1; 2 * HUGE_PAGE as usize];
        for (at, len) in [(1, 1), (2, 2), (4, 2), (6, 2)] {
            mm.write(UserAddr(start + (at - at.min(2)) * HUGE_PAGE), &used).unwrap();
            let ops = mm.grow_at(start + at * HUGE_PAGE + 4096, 0);
            assert_eq!(places(ops), [(false, len), (true, len)]);
        }
        assert!(mm.is_growing());
    }

    #[test]
    fn the_same_from_the_end() {
        let (_guest, mm, start) = begun();
        let used = vec![1; 2 * HUGE_PAGE as usize];
        for (at, len) in [(0, 1), (1, 1), (2, 2), (4, 2)] {
            let ops = mm.grow_at(start + LEN - at * HUGE_PAGE - 4096, 0);
            assert_eq!(places(ops).first(), Some(&(false, len)));
            mm.write(UserAddr(start + LEN - (at + 2) * HUGE_PAGE), &used).unwrap();
        }
        assert!(mm.is_growing());
    }

    #[test]
    fn huge_pages_that_cost_too_much_are_not_asked_for() {
        let (_guest, mm, start) = begun();
        let used = vec![1; 2 * HUGE_PAGE as usize];
        let grow = |at: u64, now| {
            mm.write(UserAddr(start + (at - at.min(2)) * HUGE_PAGE), &used).unwrap();
            places(mm.grow_at(start + at * HUGE_PAGE, now))
        };
        assert_eq!(grow(1, 0), [(false, 1), (true, 1)]);
        assert_eq!(grow(2, 500_000), [(false, 2), (true, 2)]);
        assert_eq!(grow(4, 3_000_000), [(false, 12)]);
        assert!(!mm.memory.makes_huge_pages(10_000_000_000));
        assert!(mm.memory.makes_huge_pages(20_000_000_000));
    }

    #[test]
    fn all_is_mapped_where_it_is_not_used_in_order() {
        let (_guest, mm, start) = begun();
        mm.write(UserAddr(start), &vec![1; HUGE_PAGE as usize / 4 * 3]).unwrap();
        assert_eq!(places(mm.grow(start + HUGE_PAGE)), [(false, 15)]);
        let (_guest, mm, start) = begun();
        mm.write(UserAddr(start), &vec![1; HUGE_PAGE as usize]).unwrap();
        assert_eq!(places(mm.grow(start + LEN - 4096)), [(false, 1)]);
        assert_eq!(places(mm.grow(start + HUGE_PAGE)), [(false, 1), (true, 1)]);
        assert_eq!(places(mm.grow(start + LEN - HUGE_PAGE - 4096)), [(false, 13)]);
        let (_guest, mm, start) = begun();
        mm.write(UserAddr(start), &vec![1; HUGE_PAGE as usize]).unwrap();
        assert_eq!(places(mm.grow(start + 2 * HUGE_PAGE)), [(false, 15)]);
        assert_eq!(places(mm.grow(start)), []);
    }

    #[test]
    fn it_is_mapped_before_it_is_changed() {
        let rest = |mm: &Mm, op: MapOp| places(mm.mapped_before(&[op]).map(|op| vec![op]));
        let (_guest, mm, start) = begun();
        let first = MapOp::Touch { addr: start, len: HUGE_PAGE };
        assert_eq!(rest(&mm, first), []);
        assert!(mm.is_growing());
        let part = MapOp::Unmap { addr: start + 3 * HUGE_PAGE, len: HUGE_PAGE };
        assert_eq!(rest(&mm, part), [(false, 15)]);
        assert!(!mm.is_growing());
        let (_guest, mm, start) = begun();
        assert_eq!(rest(&mm, MapOp::Unmap { addr: start, len: LEN }), []);
        assert!(!mm.is_growing());
        let (_guest, mm, _) = begun();
        let another = MapRequest::anonymous(Placement::Hint(0), LEN, Prot::RW);
        mm.map(&another, u64::MAX).unwrap();
        assert!(mm.is_growing());
        mm.settle().unwrap();
        assert!(!mm.is_growing());
    }
}
