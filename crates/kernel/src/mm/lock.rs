//! Pages that are locked or made ahead of need (`mlock(2)`, `mincore(2)`), and areas that grow
//! down. Locking is accounted, and makes pages; guest memory is not pinned on the host.

use super::areas::MAX_AREAS;
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

/// What may be in an address space, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// All of it (`RLIMIT_AS`).
    pub space: u64,
    /// Locked (`RLIMIT_MEMLOCK`).
    pub locked: u64,
    /// An area that grows down (`RLIMIT_STACK`).
    pub stack: u64,
}

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
        self.state.read().locked(of)
    }

    /// `mlock(2)`: what is before the first page that is not mapped is locked, and the page
    /// is `ENOMEM`.
    pub fn lock(&self, span: Span, lock: Lock) -> Result<(), Errno> {
        let mut state = self.state.write();
        let (range, end) = reached(&state, span)?;
        let mut ops = Vec::new();
        state.each(range, |state, vma| {
            vma.flags |= flag::LOCKED;
            if lock == Lock::NOW && end.is_ok() {
                self.make(state, vma, &mut ops);
            }
            Ok(())
        })?;
        self.apply_later(&ops, ())?;
        end
    }

    /// `munlock(2)`, likewise.
    pub fn unlock(&self, span: Span) -> Result<(), Errno> {
        let mut state = self.state.write();
        let (range, end) = reached(&state, span)?;
        state.each(range, |_, vma| {
            vma.flags &= !flag::LOCKED;
            Ok(())
        })?;
        end
    }

    /// Makes the pages of a range (`MADV_POPULATE_READ`, `MADV_POPULATE_WRITE`).
    pub fn populate(&self, addr: u64, len: u64, allowed: fn(&Vma) -> bool) -> Result<(), Errno> {
        let mut state = self.state.write();
        let (range, end) = reached(&state, Span::Part(addr, len))?;
        let cut = |v: &Vma| v.part(v.start.max(range.start), v.end.min(range.end));
        let parts: Vec<Vma> = state.areas.overlapping(range.clone()).map(cut).collect();
        let mut ops = Vec::new();
        for vma in parts {
            if !allowed(&vma) {
                return Err(Errno::EINVAL);
            }
            self.make(&mut state, &vma, &mut ops);
        }
        self.apply_later(&ops, ())?;
        end
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

    /// Lets areas grow down within these limits.
    pub fn set_growth(&self, limits: Limits) {
        *self.growth.lock() = limits;
        self.grows.store(true, Ordering::Release);
    }

    /// Whether there may be areas that grow.
    #[must_use]
    pub fn grows(&self) -> bool {
        self.grows.load(Ordering::Acquire)
    }

    /// Nothing is at `page`: makes the area above longer if it grows down.
    pub(super) fn grow_down(&self, state: &mut State, page: u64) -> Result<(), Errno> {
        if !self.grows() || page < super::USER_START {
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
        let (limits, by) = (*self.growth.lock(), above.start - page);
        let locked = if above.flags & flag::LOCKED != 0 { state.locked(0..0).0 + by } else { 0 };
        if top - page > limits.stack
            || locked > limits.locked
            || state.areas.total().saturating_add(by) > limits.space
            || state.areas.count() >= MAX_AREAS
            || below.is_some_and(|v| page - v.end < GUARD)
        {
            return Err(Errno::EFAULT);
        }
        let source = Source::fresh(&self.memory, by)?;
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

impl State {
    /// Bytes that are locked, and those of a range among them.
    pub(super) fn locked(&self, of: Range<u64>) -> (u64, u64) {
        let (mut all, mut part) = (0, 0);
        for vma in self.areas.iter().filter(|v| v.flags & flag::LOCKED != 0) {
            all += vma.len();
            part += vma.end.min(of.end).saturating_sub(vma.start.max(of.start));
        }
        (all, part)
    }
}

/// What is meant up to the first page that is not mapped, and whether that is all of it:
/// `ENOMEM` if not.
fn reached(state: &State, span: Span) -> Result<(Range<u64>, Result<(), Errno>), Errno> {
    Ok(match span {
        Span::Part(addr, len) => {
            let range = pages(addr, len).ok_or(Errno::EINVAL)?;
            let there = state.areas.before_gap(range.clone());
            let end = if there == range { Ok(()) } else { Err(Errno::ENOMEM) };
            (there, end)
        }
        Span::All => (0..state.areas.iter().last().map_or(0, |v| v.end), Ok(())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::{MapRequest, Placement};
    use crate::testing::Guest;

    #[test]
    fn what_grows_counts_as_areas() {
        let guest = Guest::new();
        let mm = guest.cur.mm();
        let area = |at| MapRequest::anonymous(Placement::Fixed(at), PAGE, Prot::RW);
        let top = 0x7000_0000_0000;
        mm.map(&MapRequest { flags: flag::GROWS, ..area(top) }, u64::MAX).unwrap();
        mm.set_growth(Limits { space: u64::MAX, locked: u64::MAX, stack: u64::MAX });
        for at in (0x1000_0000..).step_by(2 * PAGE as usize) {
            if mm.state.read().areas.count() + 1 == MAX_AREAS {
                break;
            }
            mm.map(&area(at), u64::MAX).unwrap();
        }
        assert_eq!(mm.reach(top - PAGE), Ok(()));
        assert_eq!(mm.reach(top - 2 * PAGE), Err(Errno::EFAULT));
    }
}
