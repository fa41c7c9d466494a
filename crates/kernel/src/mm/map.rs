//! `mmap(2)`, `munmap(2)`.

use super::areas::MAX_AREAS;
use super::growing;
use super::images::Found;
use super::patch::ROOM_BELOW;
use super::vma::{FilePart, Sharing, Source, Vma, flag};
use super::{COPY_AT_ONCE, COPY_WINDOW, HEAP_ROOM, LAZY_RESERVATION, Mm, PAGE, State};
use chitin_abi::Errno;
use chitin_platform::{MapOp, Populate, Prot};
use chitin_usermem::{Block, GuestMemory, HUGE_PAGE};
use std::ops::Range;
use std::sync::Arc;

/// How the address of a mapping is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// Anywhere, at this address if it is free.
    Hint(u64),
    /// Exactly here, replacing what is there (`MAP_FIXED`).
    Fixed(u64),
    /// Exactly here, `EEXIST` if something is there (`MAP_FIXED_NOREPLACE`).
    FixedNoReplace(u64),
}

/// What `mmap(2)` asks for, validated as far as flags and descriptors go.
#[derive(Clone)]
pub struct MapRequest {
    /// Address.
    pub place: Placement,
    /// Length in bytes, rounded up to pages.
    pub len: u64,
    /// Protection.
    pub prot: Prot,
    /// `mprotect(2)` may allow stores later.
    pub may_write: bool,
    /// Shared or private.
    pub sharing: Sharing,
    /// The file; `None` for anonymous memory.
    pub file: Option<FilePart>,
    /// `MAP_POPULATE`, or memory that is certain to be touched.
    pub populate: Populate,
    /// [`flag`] bits.
    pub flags: u32,
}

impl MapRequest {
    /// Private anonymous memory.
    #[must_use]
    pub fn anonymous(place: Placement, len: u64, prot: Prot) -> Self {
        Self {
            place,
            len,
            prot,
            may_write: true,
            sharing: Sharing::Private,
            file: None,
            populate: Populate::Lazy,
            flags: 0,
        }
    }
}

/// Page-aligned range from `addr` on; `None` if it leaves the address space.
pub(super) fn pages(addr: u64, len: u64) -> Option<Range<u64>> {
    let len = len.checked_next_multiple_of(PAGE)?;
    let end = addr.checked_add(len)?;
    (addr.is_multiple_of(PAGE) && end <= super::map::USER_END).then_some(addr..end)
}

/// End of guest addresses (the platform's own lie behind).
pub const USER_END: u64 = 0x7fff_0000_0000;
/// Lowest address of a mapping (`vm.mmap_min_addr`).
pub const USER_START: u64 = 0x1_0000;

impl Mm {
    /// Maps memory; returns its address. `limit` is `RLIMIT_AS` in bytes.
    pub fn map(&self, request: &MapRequest, limit: u64) -> Result<u64, Errno> {
        let len = request.len.checked_next_multiple_of(PAGE).ok_or(Errno::ENOMEM)?;
        if len == 0 || len > USER_END {
            return Err(if len == 0 { Errno::EINVAL } else { Errno::ENOMEM });
        }
        let mut state = self.state.write();
        let part = request.file.as_ref().filter(|p| p.offset == 0);
        let room = part.is_some() && request.sharing == Sharing::Private;
        let start = match request.place {
            Placement::Hint(0) if room => {
                let within = state.within.clone();
                state.areas.find_free(len.saturating_add(ROOM_BELOW), within)? + ROOM_BELOW
            }
            Placement::Hint(0) if request.file.is_none() && len >= growing::LEAST => {
                let within = state.within.clone();
                match state.areas.find_free(len.saturating_add(HUGE_PAGE), within.clone()) {
                    Ok(start) => start.next_multiple_of(HUGE_PAGE),
                    Err(_) => state.areas.find_free(len, within)?,
                }
            }
            place => state.place(place, len)?,
        };
        if state.areas.total().saturating_add(len) > limit {
            return Err(Errno::ENOMEM);
        }
        if state.areas.count() >= MAX_AREAS {
            return Err(Errno::ENOMEM);
        }
        let vma = Vma {
            start,
            end: start + len,
            prot: request.prot,
            may_write: request.may_write,
            sharing: request.sharing,
            flags: request.flags & !flag::PARTS
                | if room { flag::ROOM } else { 0 }
                | self.future_flags(),
            source: self.source(request, len)?,
        };
        let mut ops = Vec::new();
        state.evict_rooms(start..start + len, &mut ops);
        // Pages that exist already cost little now, and a fault each later.
        let ready = vma.ready();
        let populate = if ready >= len { Populate::Now } else { request.populate };
        // Nothing else is to be changed where only a part is mapped.
        let growing = if ops.is_empty() { self.begin_growing(request, &vma) } else { None };
        match &growing {
            Some(growing) => growing.first_part(&vma).map_ops(&mut ops, populate),
            None => self.emit(&mut state, &vma, &mut ops, populate),
        }
        if (1..len).contains(&ready) {
            ops.push(MapOp::Touch { addr: start, len: ready });
        }
        if let Some(growing) = growing {
            self.keep_growing(growing, &mut ops);
        }
        let mut replaced = state.areas.remove(start..start + len);
        drop(super::attach::detach(&mut replaced));
        let ops = self.wait(request, vma.start..vma.end, &vma.source, ops);
        state.areas.insert(vma);
        match ops {
            Ok(()) => Ok(start),
            Err(ops) => self.apply_later(&ops, replaced).map(|()| start),
        }
    }

    /// Pages of memory that are certain to be used soon; a hint.
    pub(crate) fn touch(&self, addr: u64, len: u64) {
        let start = addr & !(PAGE - 1);
        let len = (addr - start + len).next_multiple_of(PAGE);
        let _ = self.apply(&[MapOp::Touch { addr: start, len }]);
    }

    fn source(&self, request: &MapRequest, len: u64) -> Result<Source, Errno> {
        let copied = |part: &FilePart| -> Result<Source, Errno> {
            let block = self.copy_of(part, len)?;
            Ok(Source::Anon { block, at: 0, origin: Some(part.clone()), copies: None })
        };
        match &request.file {
            Some(part) => {
                let at_once = request.sharing == Sharing::Private
                    && request.prot.write
                    && len <= COPY_AT_ONCE
                    && part.offset.saturating_add(len) <= part.map.size().next_multiple_of(PAGE);
                if at_once { copied(part) } else { Ok(Source::File(part.clone())) }
            }
            None if request.prot == Prot::NONE && len > LAZY_RESERVATION => Ok(Source::Reserved),
            None => {
                let room = if request.flags & flag::HEAP != 0 { HEAP_ROOM.max(len) } else { len };
                Source::fresh(&self.memory, room)
            }
        }
    }

    /// Memory with a file's content.
    fn copy_of(&self, part: &FilePart, len: u64) -> Result<Arc<Block>, Errno> {
        let images = self.texts.images();
        let found = images.find(part, len);
        if let Found::Kept(image) = &found {
            let mut copy = self.memory.fill(len)?;
            copy.write(0, image)?;
            return copy.finish();
        }
        let window = if matches!(found, Found::Again(_)) { len } else { COPY_WINDOW.min(len) };
        let mut buf = vec![0_u8; usize::try_from(window).map_err(|_| Errno::ENOMEM)?];
        let mut copy = self.memory.fill(len)?;
        let (mut done, mut reads) = (0, 0);
        while done < len {
            let want = usize::try_from(len - done).unwrap_or(usize::MAX).min(buf.len());
            let piece = buf.get_mut(..want).unwrap_or_default();
            let n = part.map.read_at(part.offset + done, piece)?;
            if n == 0 {
                break;
            }
            let piece = piece.get(..n).unwrap_or_default();
            copy.write(done, piece)?;
            done += n as u64;
            reads += 1;
        }
        if let (Found::Again(key), 1) = (found, reads) {
            // All that there is: behind the end of the file is zero.
            let len = usize::try_from(done).unwrap_or(0);
            images.keep(key, buf.get(..len).unwrap_or_default());
        }
        copy.finish()
    }

    /// Gives the private pages around `page`, which are a file's or also others', memory of
    /// their own.
    pub(super) fn own(&self, state: &mut State, page: u64) -> Result<(), Errno> {
        let vma = state.areas.find(page).ok_or(Errno::EFAULT)?;
        let start = (page & !(COPY_WINDOW - 1)).max(vma.start);
        let end = (start + COPY_WINDOW).min(vma.end);
        let mut ops = Vec::new();
        let vma = match &vma.source {
            Source::Anon { copies: Some(side), .. } if side.is_alone() => {
                let mut vma = vma.clone();
                if let Source::Anon { copies, .. } = &mut vma.source {
                    *copies = None;
                }
                vma.protect_ops(&mut ops);
                vma
            }
            Source::Anon { block, at, origin: _, copies: Some(_) } => {
                let from = block.offset() + at + (start - vma.start);
                let mut fresh = self.memory.fill(end - start)?;
                fresh.copy_pages(from, end - start, |_, _| ())?;
                let fresh = fresh.finish()?;
                let mut vma = vma.part(start, end);
                if let Source::Anon { block, at, copies, .. } = &mut vma.source {
                    (*block, *at, *copies) = (fresh, 0, None);
                }
                vma.map_ops(&mut ops, Populate::Now);
                vma
            }
            _ => {
                let vma = self.own_file(vma, page, start..end)?;
                vma.map_ops(&mut ops, Populate::Now);
                vma
            }
        };
        let replaced = state.areas.remove(vma.start..vma.end);
        state.areas.insert(vma);
        self.apply_later(&ops, replaced)
    }

    /// The part of a private file mapping around `page` with a copy of its pages.
    fn own_file(&self, vma: &Vma, page: u64, window: Range<u64>) -> Result<Vma, Errno> {
        let (part, _) = vma.file_offset(page)?;
        let file_end = vma
            .start
            .saturating_add(part.map.size().next_multiple_of(PAGE).saturating_sub(part.offset));
        let end = window.end.min(file_end).max(page + PAGE);
        let mut vma = vma.part(window.start, end);
        let Source::File(part) = &vma.source else { return Err(Errno::EFAULT) };
        let block = self.copy_of(part, vma.len())?;
        vma.source = Source::Anon { block, at: 0, origin: Some(part.clone()), copies: None };
        Ok(vma)
    }

    /// `munmap(2)`.
    pub fn unmap(&self, addr: u64, len: u64) -> Result<(), Errno> {
        let range = pages(addr, len).filter(|r| !r.is_empty()).ok_or(Errno::EINVAL)?;
        let mut state = self.state.write();
        let middle = |v: &Vma| v.start < range.start && range.end < v.end;
        if state.areas.count() >= MAX_AREAS && state.areas.find(range.start).is_some_and(middle) {
            return Err(Errno::ENOMEM);
        }
        let mut removed = state.areas.remove(range.clone());
        drop(super::attach::detach(&mut removed));
        if removed.is_empty() {
            return Ok(());
        }
        let unmap = MapOp::Unmap { addr, len: range.end - range.start };
        self.apply_later(&[unmap], self.removed(removed))
    }

    /// Areas whose pages are to be given back when they are no longer mapped.
    pub(super) fn removed(&self, areas: Vec<Vma>) -> Removed {
        Removed { memory: self.memory.clone(), areas }
    }
}

/// Areas that are no longer mapped when this is dropped.
pub(super) struct Removed {
    memory: Arc<GuestMemory>,
    areas: Vec<Vma>,
}

impl Drop for Removed {
    /// Gives back their pages where their block lives on in other areas.
    fn drop(&mut self) {
        for vma in &self.areas {
            if let Source::Anon { block, at, copies, .. } = &vma.source
                && vma.sharing == Sharing::Private
                && copies.as_ref().is_none_or(|side| side.is_alone())
                && Arc::strong_count(block) > 1
            {
                let _ = self.memory.discard(block.offset() + at, vma.len());
            }
        }
    }
}

impl State {
    /// The address for a new mapping.
    pub(super) fn place(&mut self, place: Placement, len: u64) -> Result<u64, Errno> {
        let fixed = |addr: u64| {
            if !addr.is_multiple_of(PAGE) {
                return Err(Errno::EINVAL);
            }
            let range = pages(addr, len).ok_or(Errno::ENOMEM)?;
            if addr < USER_START { Err(Errno::EPERM) } else { Ok(range) }
        };
        match place {
            Placement::Fixed(addr) => fixed(addr).map(|r| r.start),
            Placement::FixedNoReplace(addr) => {
                let range = fixed(addr)?;
                if self.areas.is_free(range) { Ok(addr) } else { Err(Errno::EEXIST) }
            }
            Placement::Hint(addr) => {
                let wanted = pages(addr & !(PAGE - 1), len);
                if let Some(range) = wanted.filter(|r| r.start >= USER_START)
                    && self.areas.is_free(range.clone())
                {
                    return Ok(range.start);
                }
                self.areas.find_free(len, self.within.clone())
            }
        }
    }
}
