//! Changes of existing areas: `mprotect(2)`, `mremap(2)`, `madvise(2)`, `msync(2)`.

use super::areas::MAX_AREAS;
use super::map::pages;
use super::vma::{Sharing, Source, Vma, flag};
use super::{Limits, Mm, PAGE, Placement, State};
use crate::vfs::InodeRef;
use chitin_abi::Errno;
use chitin_platform::{MapOp, Populate, Prot};
use std::ops::Range;

/// By how many areas a move can make a table longer: both ends of where pages are and go, and
/// what is left or added.
const MOST_MORE: usize = 5;

/// What `madvise(2)` can change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// The content is not needed any more: zeroes, or the file's, come back.
    DontNeed,
    /// A hole is punched into a shared mapping.
    Remove,
    /// The content of private memory may be forgotten; it is not.
    Free,
    /// Sets or clears a [`flag`].
    Flag(u32, Toggle),
}

/// Whether a flag is set or cleared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Toggle {
    On,
    Off,
}

/// How `mremap(2)` may move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moving {
    /// Not at all.
    Never,
    /// If it must.
    Anywhere,
    /// To this address, replacing what is there.
    To(u64),
}

/// What is left where `mremap(2)` has moved pages away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// Free addresses.
    Nothing,
    /// A mapping without these pages (`MREMAP_DONTUNMAP`).
    Mapped,
}

fn is_of_file(source: &Source) -> bool {
    matches!(source, Source::File(_) | Source::Anon { origin: Some(_), .. })
}

impl State {
    /// Changes the areas in a range one by one. Where that fails the others stay as they are;
    /// `ENOMEM` if there were too many then.
    pub(super) fn each(
        &mut self,
        range: Range<u64>,
        mut change: impl FnMut(&mut Self, &mut Vma) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        self.areas.may_split(range.clone())?;
        let mut result = Ok(());
        for mut vma in self.areas.remove(range.clone()) {
            if result.is_ok() {
                result = change(self, &mut vma);
            }
            self.areas.insert(vma);
        }
        self.areas.join(range);
        result
    }
}

impl Mm {
    /// `mprotect(2)`: as Linux does, areas before an unmapped gap are changed and the
    /// gap is `ENOMEM`.
    pub fn protect(&self, addr: u64, len: u64, prot: Prot) -> Result<(), Errno> {
        if !addr.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        let range = pages(addr, len).ok_or(Errno::ENOMEM)?;
        let mut state = self.state.write();
        let mut end = range.start;
        for vma in state.areas.overlapping(range.clone()) {
            if vma.start > end {
                break;
            }
            if prot.write && !vma.may_write {
                return Err(Errno::EACCES);
            }
            end = vma.end;
        }
        let complete = end >= range.end;
        let range = range.start..end.min(range.end);
        let mut ops = Vec::new();
        let result = state.each(range, |state, vma| {
            let reserved = matches!(vma.source, Source::Reserved);
            if reserved && prot != Prot::NONE {
                vma.source = Source::fresh(&self.memory, vma.len())?;
            }
            vma.prot = prot;
            if reserved && prot != Prot::NONE {
                vma.map_ops(&mut ops, Populate::Lazy);
            } else if matches!(vma.source, Source::File(_)) {
                // What lies behind the end of the file has no mapping to change.
                self.emit(state, vma, &mut ops, Populate::Lazy);
            } else {
                vma.protect_ops(&mut ops);
            }
            Ok(())
        });
        merge_protects(&mut ops);
        self.apply_later(&ops, ())?;
        result?;
        if complete { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// A file has become shorter: an access to what was mapped behind its end is a fault.
    pub fn shrunk(&self, inode: &InodeRef) -> Result<(), Errno> {
        let of = |vma: &Vma| match &vma.source {
            Source::File(part) => {
                let mapped = part.file.path().and_then(|p| p.dentry.inode());
                mapped.is_some_and(|mapped| std::sync::Arc::ptr_eq(&mapped, inode))
            }
            _ => false,
        };
        let state = self.state.write();
        let mut ops = Vec::new();
        for vma in state.areas.iter().filter(|vma| of(vma)) {
            vma.map_ops(&mut ops, Populate::Lazy);
        }
        if ops.is_empty() { Ok(()) } else { self.apply(&ops) }
    }

    /// `madvise(2)` for advice that has an effect.
    pub fn advise(&self, addr: u64, len: u64, advice: Advice) -> Result<(), Errno> {
        let range = pages(addr, len).ok_or(Errno::EINVAL)?;
        let mut state = self.state.write();
        let complete = state.areas.covers(range.clone());
        state.areas.may_split(range.clone()).map_err(|_| Errno::EAGAIN)?;
        let mut ops = Vec::new();
        let mut dropped = Vec::new();
        let result = state.each(range, |_, vma| {
            let locked = vma.flags & flag::LOCKED != 0;
            match (advice, &vma.source, vma.sharing) {
                (Advice::DontNeed | Advice::Remove | Advice::Free, ..) if locked => {
                    return Err(Errno::EINVAL);
                }
                (
                    Advice::Free,
                    Source::Anon { origin: None, .. } | Source::Reserved,
                    Sharing::Private,
                ) => {}
                (Advice::Free, ..) => return Err(Errno::EINVAL),
                (Advice::Flag(flag::WIPEONFORK, Toggle::On), source, sharing)
                    if sharing == Sharing::Shared || is_of_file(source) =>
                {
                    return Err(Errno::EINVAL);
                }
                (Advice::Flag(bits, toggle), _, _) => match toggle {
                    Toggle::On => vma.flags |= bits,
                    Toggle::Off => vma.flags &= !bits,
                },
                (Advice::DontNeed, Source::Anon { origin: Some(part), .. }, Sharing::Private) => {
                    let part = part.clone();
                    dropped.push(std::mem::replace(&mut vma.source, Source::File(part)));
                    vma.map_ops(&mut ops, Populate::Lazy);
                }
                (Advice::DontNeed, Source::Anon { copies: Some(_), .. }, Sharing::Private) => {
                    let fresh = Source::fresh(&self.memory, vma.len())?;
                    dropped.push(std::mem::replace(&mut vma.source, fresh));
                    vma.map_ops(&mut ops, Populate::Lazy);
                }
                (Advice::Remove, source, _) if !vma.may_write && is_of_file(source) => {
                    return Err(Errno::EACCES);
                }
                (Advice::DontNeed, Source::Anon { block, at, .. }, Sharing::Private)
                | (Advice::Remove, Source::Anon { block, at, .. }, Sharing::Shared) => {
                    self.memory.discard(block.offset() + at, vma.len())?;
                }
                (Advice::Remove, ..) => return Err(Errno::EINVAL),
                (Advice::DontNeed, ..) => {}
            }
            Ok(())
        });
        self.apply_later(&ops, dropped)?;
        result?;
        if complete { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// `mremap(2)`: `EAGAIN` for a locked area that may not become so long.
    pub fn remap(
        &self,
        addr: u64,
        old_len: u64,
        new_len: u64,
        moving: Moving,
        left: Left,
        limits: &Limits,
    ) -> Result<u64, Errno> {
        let new_len = new_len.checked_next_multiple_of(PAGE).filter(|&n| n > 0);
        let new_len = new_len.ok_or(Errno::EINVAL)?;
        let old = pages(addr, old_len).ok_or(Errno::EINVAL)?;
        let old_len = old.end - old.start;
        if old_len == 0 {
            return self.duplicate(addr, new_len, moving);
        }
        {
            let state = self.state.read();
            if !state.areas.covers(old.clone()) {
                return Err(Errno::EFAULT);
            }
            let longer = new_len.saturating_sub(old_len);
            let last = state.areas.find(old.end - 1);
            if longer > 0
                && last.is_some_and(|v| v.flags & flag::LOCKED != 0)
                && state.locked(0..0).0.saturating_add(longer) > limits.locked
            {
                return Err(Errno::EAGAIN);
            }
            let more = if left == Left::Mapped { new_len } else { longer };
            if state.areas.total().saturating_add(more) > limits.space {
                return Err(Errno::ENOMEM);
            }
        }
        if let Moving::To(to) = moving {
            let target = pages(to, new_len).ok_or(Errno::EINVAL)?;
            if target.start < old.end && old.start < target.end {
                return Err(Errno::EINVAL);
            }
            if new_len < old_len {
                self.unmap(addr + new_len, old_len - new_len)?;
            }
            return self.relocate(addr..addr + old_len.min(new_len), to, new_len, left);
        }
        if left == Left::Mapped {
            let within = self.state.read().within.clone();
            let to = self.state.write().areas.find_free(new_len, within)?;
            return self.relocate(old, to, new_len, left);
        }
        if new_len <= old_len {
            if new_len < old_len {
                self.unmap(addr + new_len, old_len - new_len)?;
            }
            return Ok(addr);
        }
        let grown = old.end..addr.checked_add(new_len).ok_or(Errno::ENOMEM)?;
        let fits =
            grown.end <= super::map::USER_END && self.state.read().areas.is_free(grown.clone());
        if fits {
            return self.extend(old.end, new_len - old_len).map(|()| addr);
        }
        match moving {
            Moving::Anywhere => {
                let within = self.state.read().within.clone();
                let to = self.state.write().areas.find_free(new_len, within)?;
                self.relocate(old, to, new_len, left)
            }
            _ => Err(Errno::ENOMEM),
        }
    }

    /// Continues the area that ends at `end` by `by` bytes.
    fn extend(&self, end: u64, by: u64) -> Result<(), Errno> {
        let mut state = self.state.write();
        if state.areas.count() >= MAX_AREAS {
            return Err(Errno::ENOMEM);
        }
        let vma = self.continued(&state, end, by)?;
        let mut ops = Vec::new();
        state.evict_rooms(end..end + by, &mut ops);
        self.emit(&mut state, &vma, &mut ops, Populate::Lazy);
        state.areas.insert(vma);
        self.apply_later(&ops, ())
    }

    /// The area by which the one that ends at `end` becomes `by` bytes longer.
    fn continued(&self, state: &State, end: u64, by: u64) -> Result<Vma, Errno> {
        let last = state.areas.find(end - 1).ok_or(Errno::EFAULT)?;
        let source = match &last.source {
            Source::File(part) => {
                let mut part = part.clone();
                part.offset += end - last.start;
                Source::File(part)
            }
            Source::Reserved => Source::Reserved,
            Source::Anon { .. } => Source::fresh(&self.memory, by)?,
        };
        Ok(Vma { start: end, end: end + by, source, ..*last })
    }

    /// Moves what is at `old` to `to`, where it may grow to `new_len`.
    fn relocate(&self, old: Range<u64>, to: u64, new_len: u64, left: Left) -> Result<u64, Errno> {
        let len = old.end - old.start;
        let mut state = self.state.write();
        state.place(Placement::Fixed(to), new_len)?;
        if state.areas.count() + MOST_MORE > MAX_AREAS {
            return Err(Errno::ENOMEM);
        }
        // These may fail: before anything is taken out of the table, and its memory freed.
        let more = match new_len > len {
            true => Some(self.continued(&state, old.end, new_len - len)?),
            false => None,
        };
        let rest = match left {
            Left::Nothing => Vec::new(),
            Left::Mapped => self.left_behind(&state, old.clone())?,
        };
        let mut ops = vec![MapOp::Unmap { addr: old.start, len }];
        state.evict_rooms(to..to + new_len, &mut ops);
        let replaced = state.areas.remove(to..to + new_len);
        if !replaced.is_empty() {
            ops.push(MapOp::Unmap { addr: to, len: new_len });
        }
        let moved = state.areas.remove(old.clone()).into_iter().chain(more);
        let moved = moved.map(|vma| vma.moved_to(to + (vma.start - old.start)));
        for vma in moved.chain(rest) {
            self.emit(&mut state, &vma, &mut ops, Populate::Lazy);
            state.areas.insert(vma);
        }
        self.apply_later(&ops, self.removed(replaced))?;
        Ok(to)
    }

    /// What is where pages have moved away: the file's, the shared ones, or fresh memory.
    fn left_behind(&self, state: &State, old: Range<u64>) -> Result<Vec<Vma>, Errno> {
        let mut out = Vec::new();
        for vma in state.areas.overlapping(old.clone()) {
            let mut vma = vma.part(vma.start.max(old.start), vma.end.min(old.end));
            vma.flags &= !flag::LOCKED;
            if let (Source::Anon { origin, .. }, Sharing::Private) = (&vma.source, vma.sharing) {
                vma.source = match origin {
                    Some(part) => Source::File(part.clone()),
                    None => Source::fresh(&self.memory, vma.len())?,
                };
            }
            out.push(vma);
        }
        Ok(out)
    }

    /// `mremap(2)` with an old length of 0: a second mapping of shared pages.
    fn duplicate(&self, addr: u64, len: u64, moving: Moving) -> Result<u64, Errno> {
        let mut state = self.state.write();
        let vma = state.areas.find(addr).ok_or(Errno::EFAULT)?;
        if vma.sharing != Sharing::Shared || moving == Moving::Never || vma.end - addr < len {
            return Err(Errno::EINVAL);
        }
        let part = vma.part(addr, addr + len);
        let to = match moving {
            Moving::To(to) => state.place(Placement::Fixed(to), len)?,
            _ => state.place(Placement::Hint(0), len)?,
        };
        let copy = part.moved_to(to);
        let mut ops = Vec::new();
        state.evict_rooms(to..to + len, &mut ops);
        copy.map_ops(&mut ops, Populate::Lazy);
        let replaced = state.areas.remove(to..to + len);
        state.areas.insert(copy);
        self.apply_later(&ops, self.removed(replaced)).map(|()| to)
    }

    /// `msync(2)`: writes shared file mappings back. `ENOMEM` for unmapped pages.
    /// `EBUSY` for locked ones that are to be read anew.
    pub fn sync(&self, addr: u64, len: u64, invalidate: bool) -> Result<(), Errno> {
        let range = pages(addr, len).ok_or(Errno::ENOMEM)?;
        let state = self.state.read();
        for vma in state.areas.overlapping(range.clone()) {
            if invalidate && vma.flags & flag::LOCKED != 0 {
                return Err(Errno::EBUSY);
            }
            if let (Source::File(part), Sharing::Shared) = (&vma.source, vma.sharing) {
                let from = vma.start.max(range.start);
                let to = vma.end.min(range.end);
                part.map.sync(part.offset + (from - vma.start), to - from)?;
            }
        }
        if state.areas.covers(range) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Whether all pages of a range are mapped (`mincore(2)`, `mlock(2)`).
    #[must_use]
    pub fn covers(&self, addr: u64, len: u64) -> bool {
        pages(addr, len).is_some_and(|range| self.state.read().areas.covers(range))
    }
}

/// Joins adjacent changes of protection into one.
fn merge_protects(ops: &mut Vec<MapOp>) {
    ops.dedup_by(|next, prev| match (prev, next) {
        (
            MapOp::Protect { addr, len, prot },
            MapOp::Protect { addr: next, len: more, prot: same },
        ) if *addr + *len == *next && prot == same => {
            *len += *more;
            true
        }
        _ => false,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::MapRequest;
    use crate::testing::Guest;
    use chitin_usermem::{UserAddr, UserMemory};

    const AT: u64 = 0x1000_0000;

    #[test]
    fn areas_that_are_alike_again_become_one() {
        let guest = Guest::new();
        let mm = guest.cur.mm();
        let before = mm.state.read().areas.count();
        let request = MapRequest::anonymous(Placement::Fixed(AT), 64 * PAGE, Prot::NONE);
        mm.map(&request, u64::MAX).unwrap();
        // As a heap of the C library grows.
        for page in 0..64 {
            mm.protect(AT + page * PAGE, PAGE, Prot::RW).unwrap();
            let rest = usize::from(page < 63);
            assert_eq!(mm.state.read().areas.count(), before + 1 + rest);
        }
        mm.lock(crate::mm::Span::Part(AT + PAGE, PAGE), crate::mm::Lock::ON_FAULT).unwrap();
        assert_eq!(mm.state.read().areas.count(), before + 3);
        mm.unlock(crate::mm::Span::Part(AT, 64 * PAGE)).unwrap();
        assert_eq!(mm.state.read().areas.count(), before + 1);
        let (mut bytes, at) = ([0; 2], UserAddr(AT + PAGE - 1));
        mm.write(at, &[1, 2]).unwrap();
        mm.read(at, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2]);
    }

    #[test]
    fn no_change_makes_too_many_areas() {
        let guest = Guest::new();
        let mm = guest.cur.mm();
        let len = 2 * MAX_AREAS as u64 * PAGE;
        mm.map(&MapRequest::anonymous(Placement::Fixed(AT), len, Prot::RW), u64::MAX).unwrap();
        let every_second = (AT + PAGE..AT + len - PAGE).step_by(2 * PAGE as usize);
        let failed = every_second.clone().find(|&at| mm.protect(at, PAGE, Prot::R).is_err());
        let at = failed.expect("there is a limit");
        let full = mm.state.read().areas.count();
        assert!(MAX_AREAS - full < 2, "{full} areas");
        let no_memory = Err(Errno::ENOMEM);
        assert_eq!(mm.protect(at, PAGE, Prot::R), no_memory);
        let advice = Advice::Flag(flag::DONTFORK, Toggle::On);
        assert_eq!(mm.advise(at, PAGE, advice), Err(Errno::EAGAIN));
        let limits = Limits { space: u64::MAX, locked: u64::MAX, stack: u64::MAX };
        let moved = mm.remap(at, PAGE, PAGE, Moving::To(0x7000_0000_0000), Left::Nothing, &limits);
        assert_eq!(moved.map(drop), no_memory);
        assert_eq!(mm.state.read().areas.count(), full);
        // Whole areas, and ends of them, go.
        mm.unmap(AT, PAGE).unwrap();
        mm.unmap(AT + PAGE, PAGE).unwrap();
        assert_eq!(mm.unmap(at, PAGE), Ok(()));
    }
}
