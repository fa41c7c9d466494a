//! Pages that are locked or made ahead of need (`mlock(2)`, `mincore(2)`), and areas that grow
//! down. Locking is accounted, and makes pages; guest memory is not pinned on the host.

use super::map::pages;
use super::vma::{Source, Vma, flag};
use super::{Mm, PAGE, State};
use chitin_abi::Errno;
use chitin_platform::{MapOp, Populate, Prot};
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Bits of what `mlockall(2)` asks for new areas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lock(u32);

impl Lock {
    /// They are not locked.
    pub const NONE: Self = Self(0);
    /// They are, and their pages are made at once.
    pub const NOW: Self = Self(flag::LOCKED);
    /// They are; pages are made when they are touched.
    pub const ON_FAULT: Self = Self(flag::LOCKED | ON_FAULT);
}

/// Next to [`flag::LOCKED`] in [`Mm::future`].
const ON_FAULT: u32 = 1 << 31;
/// Free pages below an area that grows down (`stack_guard_gap`).
const GUARD: u64 = 256 * PAGE;

/// Pages, for calls that are about a range or all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Span {
    /// Address and length in bytes.
    Part(u64, u64),
    /// All areas.
    All,
}

impl Mm {
    /// Flags of new areas.
    pub(super) fn future_flags(&self) -> u32 {
        self.future.load(Ordering::Relaxed) & flag::LOCKED
    }

    /// Whether new areas are locked.
    #[must_use]
    pub fn locks_future(&self) -> bool {
        self.future_flags() != 0
    }

    /// When pages of new areas are made.
    #[must_use]
    pub fn future_populate(&self) -> Populate {
        match self.future.load(Ordering::Relaxed) {
            flag::LOCKED => Populate::Now,
            _ => Populate::Lazy,
        }
    }

    /// `mlockall(MCL_FUTURE)`.
    pub fn set_future(&self, lock: Lock) {
        self.future.store(lock.0, Ordering::Relaxed);
    }

    /// Bytes that are locked, and those of a range among them.
    #[must_use]
    pub fn locked(&self, of: Range<u64>) -> (u64, u64) {
        let (mut all, mut part) = (0, 0);
        for vma in self.state.read().areas.iter().filter(|v| v.flags & flag::LOCKED != 0) {
            all += vma.len();
            part += vma.end.min(of.end).saturating_sub(vma.start.max(of.start));
        }
        (all, part)
    }

    /// `mlock(2)`: with `ENOMEM` for pages that are not mapped.
    pub fn lock(&self, span: Span, lock: Lock) -> Result<(), Errno> {
        let mut state = self.state.write();
        let range = range_of(&state, span)?;
        let complete = span == Span::All || state.areas.covers(range.clone());
        let starts: Vec<Range<u64>> = parts(&state, range);
        let mut ops = Vec::new();
        for part in starts {
            for mut vma in state.areas.remove(part) {
                vma.flags |= flag::LOCKED;
                if lock == Lock::NOW {
                    self.make(&mut state, &vma, &mut ops);
                }
                state.areas.insert(vma);
            }
        }
        self.apply_later(&ops, ())?;
        if complete { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// `munlock(2)`, likewise.
    pub fn unlock(&self, span: Span) -> Result<(), Errno> {
        let mut state = self.state.write();
        let range = range_of(&state, span)?;
        let complete = span == Span::All || state.areas.covers(range.clone());
        let locked = parts(&state, range);
        for part in locked {
            for mut vma in state.areas.remove(part) {
                vma.flags &= !flag::LOCKED;
                state.areas.insert(vma);
            }
        }
        if complete { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Makes the pages of a range (`MADV_POPULATE_READ`, `MADV_POPULATE_WRITE`).
    pub fn populate(&self, addr: u64, len: u64, allowed: fn(&Vma) -> bool) -> Result<(), Errno> {
        let range = pages(addr, len).ok_or(Errno::EINVAL)?;
        let mut state = self.state.write();
        let mut ops = Vec::new();
        let mut at = range.start;
        for part in parts(&state, range.clone()) {
            let Some(vma) = state.areas.find(part.start).filter(|_| part.start == at) else {
                break;
            };
            if !allowed(vma) {
                return Err(Errno::EINVAL);
            }
            let vma = vma.part(part.start, part.end);
            self.make(&mut state, &vma, &mut ops);
            at = part.end;
        }
        self.apply_later(&ops, ())?;
        if at >= range.end { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Has the pages of an area made that may be accessed; those of files count as there.
    fn make(&self, state: &mut State, vma: &Vma, ops: &mut Vec<MapOp>) {
        match &vma.source {
            Source::Anon { .. } if vma.prot == Prot::NONE => {}
            Source::Anon { .. } if vma.prot.write && !vma.copies_on_write() => {
                ops.push(MapOp::Touch { addr: vma.start, len: vma.len() });
            }
            Source::Anon { .. } => self.emit(state, vma, ops, Populate::Now),
            _ => {}
        }
    }

    /// Calls `told` with ranges of pages that are there (`mincore(2)`), in ascending order;
    /// `ENOMEM` if some are not mapped.
    pub fn resident(
        &self,
        addr: u64,
        len: u64,
        mut told: impl FnMut(Range<u64>),
    ) -> Result<(), Errno> {
        let range = pages(addr, len).ok_or(Errno::ENOMEM)?;
        let state = self.state.read();
        if !state.areas.covers(range.clone()) {
            return Err(Errno::ENOMEM);
        }
        for vma in state.areas.overlapping(range.clone()) {
            let (start, end) = (vma.start.max(range.start), vma.end.min(range.end));
            match &vma.source {
                Source::Reserved => {}
                Source::File(_) => told(start..end),
                Source::Anon { block, at, .. } => {
                    let base = block.offset() + at;
                    let (mut from, stop) = (base + (start - vma.start), base + (end - vma.start));
                    while let Some((data, n)) = self.memory.next_data(from, stop) {
                        let first = vma.start + (data - base);
                        told(first..first + n);
                        from = data + n;
                    }
                }
            }
        }
        Ok(())
    }

    /// Lets areas grow down to this length (`RLIMIT_STACK`), in bytes, once there are such.
    pub fn set_growth(&self, limit: u64) {
        self.growth.store(limit, Ordering::Relaxed);
    }

    /// Whether there may be areas that grow.
    #[must_use]
    pub fn grows(&self) -> bool {
        self.growth.load(Ordering::Relaxed) != 0
    }

    /// Nothing is at `page`: makes the area above longer if it grows down.
    pub(super) fn grow_down(&self, state: &mut State, page: u64) -> Result<(), Errno> {
        let limit = self.growth.load(Ordering::Relaxed);
        if limit == 0 || page < super::USER_START {
            return Err(Errno::EFAULT);
        }
        let above = state.areas.above(page).filter(|v| v.flags & flag::GROWS != 0);
        let above = above.ok_or(Errno::EFAULT)?.clone();
        // What it has grown by are areas of their own.
        let mut top = above.end;
        while let Some(next) = state.areas.find(top).filter(|v| v.flags & flag::GROWS != 0) {
            top = next.end;
        }
        let below = state.areas.below(page).filter(|v| v.prot != Prot::NONE);
        if top - page > limit || below.is_some_and(|v| page - v.end < GUARD) {
            return Err(Errno::EFAULT);
        }
        let source = Source::fresh(&self.memory, above.start - page)?;
        let vma = Vma { start: page, end: above.start, source, ..above };
        let mut ops = Vec::new();
        state.evict_rooms(vma.start..vma.end, &mut ops);
        self.emit(state, &vma, &mut ops, Populate::Lazy);
        state.areas.insert(vma);
        self.apply_later(&ops, ())
    }

    /// The same for an access by the kernel.
    pub(super) fn reach(&self, addr: u64) -> Result<(), Errno> {
        if !self.grows() {
            return Err(Errno::EFAULT);
        }
        let mut state = self.state.write();
        match state.areas.find(addr) {
            Some(_) => Ok(()),
            None => self.grow_down(&mut state, addr & !(PAGE - 1)),
        }
    }
}

fn range_of(state: &State, span: Span) -> Result<Range<u64>, Errno> {
    match span {
        Span::Part(addr, len) => pages(addr, len).ok_or(Errno::EINVAL),
        Span::All => {
            let end = state.areas.iter().last().map_or(0, |v| v.end);
            Ok(0..end)
        }
    }
}

/// What areas there are in a range, up to the first gap unless all are meant.
fn parts(state: &State, range: Range<u64>) -> Vec<Range<u64>> {
    let cut = |v: &Vma| v.start.max(range.start)..v.end.min(range.end);
    state.areas.overlapping(range.clone()).map(cut).collect()
}
