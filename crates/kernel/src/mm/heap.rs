//! `brk(2)`. Programs give a piece of the heap back and ask for it again all the time: what was
//! mapped there is kept for a while, and zeroed before it is mapped again, which costs less than
//! a fault for each page.

use super::map::{MapRequest, Placement};
use super::vma::{Source, Vma, flag};
use super::{Mm, PAGE, State, USER_END};
use chitin_abi::Errno;
use chitin_platform::{MapOp, Populate, Prot};
use chitin_usermem::Block;
use std::ops::Range;
use std::sync::{Arc, Weak};

/// Most bytes behind the end of the heap whose pages are kept.
const MOST_KEPT: u64 = 1 << 20;

/// The heap of an address space.
#[derive(Default)]
pub(super) struct Heap {
    /// From its beginning to where `brk(2)` has put its end.
    pub(super) range: Range<u64>,
    pub(super) left: Remains,
}

/// Memory behind what is mapped of the heap, that may still have what was there: offsets in the
/// memory file, in a block.
#[derive(Clone, Default)]
pub(super) struct Remains {
    block: Weak<Block>,
    range: Range<u64>,
}

/// Where in the memory file the addresses are that follow an area up to `end`, if its block
/// has them.
fn behind(vma: &Vma, end: u64) -> Option<(&Arc<Block>, Range<u64>)> {
    let Source::Anon { block, at, copies: None, .. } = &vma.source else { return None };
    let may_go_on = vma.flags & (flag::HEAP | flag::COMMON) == flag::HEAP;
    let fits = may_go_on && at + (end - vma.start) <= block.len();
    let offset = |addr: u64| block.offset() + at + (addr - vma.start);
    fits.then(|| (block, offset(vma.end)..offset(end)))
}

impl Mm {
    /// Sets where the heap begins; it is empty.
    pub fn set_brk_start(&self, start: u64) {
        self.state.write().heap.range = start..start;
    }

    /// The heap (`brk(2)`).
    #[must_use]
    pub fn brk_range(&self) -> Range<u64> {
        self.state.read().heap.range.clone()
    }

    /// `brk(2)`: moves the end of the heap; returns where it is. `limit` is
    /// `RLIMIT_DATA` in bytes.
    pub fn brk(&self, to: u64, limit: u64) -> u64 {
        let heap = self.brk_range();
        if to < heap.start || to - heap.start > limit || to >= USER_END {
            return heap.end;
        }
        let old = heap.end.next_multiple_of(PAGE);
        let new = to.next_multiple_of(PAGE);
        let result = match new.cmp(&old) {
            std::cmp::Ordering::Less => self.shrink_heap(new, old),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => self.grow_heap(old, new),
        };
        if result.is_err() {
            return heap.end;
        }
        self.state.write().heap.range.end = to;
        to
    }

    fn shrink_heap(&self, new: u64, old: u64) -> Result<(), Errno> {
        let mut state = self.state.write();
        if state.areas.overlapping(new..old).next().is_none() {
            // As Linux has it: somebody else has taken away what was there.
            return Err(Errno::ENOMEM);
        }
        let rest = state.areas.find(new).filter(|vma| vma.start < new && vma.end == old);
        let rest =
            rest.filter(|vma| vma.flags & flag::LOCKED == 0).map(|vma| vma.part(vma.start, new));
        let behind = rest.as_ref().and_then(|rest| behind(rest, old));
        let Some((block, left)) = behind.filter(|_| !self.memory.is_limited()) else {
            drop(state);
            return self.unmap(new, old - new);
        };
        // What the area that stays holds, nobody else gets.
        drop(state.areas.remove(new..old));
        let now = Remains { block: Arc::downgrade(block), range: left };
        let before = std::mem::replace(&mut state.heap.left, now);
        let left = &mut state.heap.left;
        if before.block.ptr_eq(&left.block) && before.range.start == left.range.end {
            left.range.end = before.range.end;
        } else {
            self.forget(before);
        }
        let kept = left.range.end.min(left.range.start + MOST_KEPT);
        let range = kept..std::mem::replace(&mut left.range.end, kept);
        self.forget(Remains { block: left.block.clone(), range });
        self.apply_later(&[MapOp::Unmap { addr: new, len: old - new }], ())
    }

    /// Gives the pages back to the host.
    fn forget(&self, left: Remains) {
        // Those of a block that is no more are somebody else's.
        let Some(_held) = left.block.upgrade() else { return };
        let (start, len) = (left.range.start, left.range.end - left.range.start);
        if len > 0 && self.memory.discard(start, len).is_err() {
            let _ = self.memory.zero(start, len);
        }
    }

    /// Keeps nothing in a block that another address space has, too: nobody goes on with it.
    pub(super) fn forget_what_is_shared(&self, state: &mut State) {
        let left = &state.heap.left;
        let is_shared = |vma: &Vma| match &vma.source {
            Source::Anon { block, copies: Some(_), .. } => {
                left.block.as_ptr() == Arc::as_ptr(block)
            }
            _ => false,
        };
        if !left.range.is_empty() && state.areas.iter().any(is_shared) {
            self.forget(std::mem::take(&mut state.heap.left));
        }
    }

    fn grow_heap(&self, old: u64, new: u64) -> Result<(), Errno> {
        {
            let state = &mut *self.state.write();
            if !state.areas.is_free(old..new) {
                return Err(Errno::ENOMEM);
            }
            let heap = state.areas.find(old - 1).cloned();
            if let Some(vma) = heap
                && let Some((block, more)) = behind(&vma, new)
                && !state.is_mapped_elsewhere(&vma, block, &more)
            {
                // This may fail: before anything is taken out of a table.
                let there = self.zero_left(&mut state.heap.left, &more)?;
                let grown = Vma { end: new, ..vma.clone() };
                let mut part = grown.part(old, new);
                part.prot = Prot::RW;
                part.flags = flag::HEAP | self.future_flags();
                let mut ops = Vec::new();
                state.evict_rooms(old..new, &mut ops);
                part.map_ops(&mut ops, Populate::Lazy);
                if there > 0 {
                    ops.push(MapOp::Touch { addr: old, len: there });
                }
                state.areas.insert(part);
                state.areas.join(old..new);
                return self.apply_later(&ops, ());
            }
        }
        let mut request =
            MapRequest::anonymous(Placement::FixedNoReplace(old), new - old, Prot::RW);
        request.flags = flag::HEAP;
        request.populate = self.future_populate();
        self.map(&request, u64::MAX).map(drop)
    }

    /// Zeroes what was left in memory that is going to be mapped again; tells how much of it, from
    /// its beginning on, has pages.
    fn zero_left(&self, left: &mut Remains, more: &Range<u64>) -> Result<u64, Errno> {
        let part = left.range.start.max(more.start)..left.range.end.min(more.end);
        if part.is_empty() {
            return Ok(0);
        }
        let (mut at, mut there) = (part.start, 0);
        while let Some((data, len)) = self.memory.next_data(at, part.end) {
            self.memory.zero(data, len)?;
            if data == more.start {
                there = len;
            }
            at = data + len;
        }
        left.range.start = part.end;
        Ok(there)
    }
}

impl State {
    /// Whether an area other than `vma` has some of this memory: one that was moved away from it.
    fn is_mapped_elsewhere(&self, vma: &Vma, of: &Arc<Block>, range: &Range<u64>) -> bool {
        let has = |other: &Vma| match &other.source {
            Source::Anon { block, at, .. } if Arc::ptr_eq(block, of) => {
                let start = block.offset() + at;
                start < range.end && range.start < start + other.len()
            }
            _ => false,
        };
        // The area has the block, and so has its copy that the caller looks at.
        Arc::strong_count(of) > 2
            && self.areas.iter().any(|other| other.start != vma.start && has(other))
    }
}
