//! [`Text`]: the patched text of one version of a file, as processes map it.
//!
//! A page that is patched lies alone in memory, in front of the file's own. Where many
//! processes map many such pages, all of the text from the first to the last is copied, to be
//! mapped at once: a mapping takes longer than what it saves.

use super::PAGE;
use super::patch::ROOM_BELOW;
use crate::sync::Mutex;
use crate::vfs::Mappable;
use chitin_abi::Errno;
use chitin_platform::{Backing, MapOp, Populate, Prot, ROOM_LEN, Room, Trapping};
use chitin_usermem::{Block, GuestMemory};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most patched pages of a file.
const MAX_PAGES: usize = 512;
/// Times that a text was mapped since its last change, and pages that lie alone, before a long
/// one is copied.
const CALM: u32 = 6;
const FEW_PAGES: usize = 3;
/// A text of at most this length is copied for one page, in bytes.
const SHORT: u64 = 512 << 10;
/// Longest copy of a text, and all copies of a sandbox, in bytes.
const COPY_MAX: u64 = 2 << 20;
const COPIES_MAX: u64 = 64 << 20;

/// A patched instruction.
#[derive(Clone, Copy)]
pub(super) struct Site {
    pub(super) what: Trapping,
    /// Byte offset in the file.
    pub(super) offset: u64,
    /// Byte offset in the room where the thread goes on.
    pub(super) after: u64,
    /// Bytes of the instructions that are there.
    pub(super) moved: u64,
    /// Bytes of the one in front, if that is what was replaced: the site still traps.
    pub(super) before: u64,
}

impl Site {
    /// The bytes of the file that are not executed there any more, or only by who jumps there.
    pub(super) fn range(&self) -> Range<u64> {
        self.offset - self.before..self.offset + 2 + self.moved
    }
}

/// Patched text of one version of a file.
pub(super) struct Text {
    pub(super) file: (u64, u64),
    pub(super) version: u64,
    pub(super) code: Arc<Block>,
    pub(super) state: Mutex<TextState>,
    /// Bytes of the copies of all texts.
    copied: Arc<AtomicU64>,
}

#[derive(Default)]
pub(super) struct TextState {
    pub(super) room: Room,
    /// Pages that lie alone, by byte offset in the file.
    pages: BTreeMap<u64, Arc<Block>>,
    /// Byte offsets in the file between which areas show it as text.
    shown: Range<u64>,
    /// Byte offsets in the file of what was copied, and the copy.
    copy: Option<(Range<u64>, Arc<Block>)>,
    /// Pages and copies that have been replaced; processes may still map them.
    old: Vec<Arc<Block>>,
    /// Bytes of its copies.
    copied: u64,
    /// How often it was mapped since its last change.
    calm: u32,
    /// By where their trampolines begin.
    pub(super) sites: BTreeMap<u64, Site>,
    /// Traps by byte offset in the file.
    pub(super) traps: HashMap<u64, u32>,
}

impl TextState {
    /// Whether no page can be patched that is not yet.
    pub(super) fn is_full(&self) -> bool {
        self.pages.len() + self.old.len() >= MAX_PAGES
    }

    /// Where in memory the page at this byte offset of the file is.
    fn place(&self, page: u64) -> Option<u64> {
        if let Some(block) = self.pages.get(&page) {
            return Some(block.offset());
        }
        let (range, block) = self.copy.as_ref().filter(|(range, _)| range.contains(&page))?;
        Some(block.offset() + (page - range.start))
    }

    /// Changes a page that guests may be executing, or makes a new one for those who map
    /// it from now on. `bytes` are the file's own.
    pub(super) fn change(
        &mut self,
        memory: &Arc<GuestMemory>,
        page: u64,
        at: u64,
        text: [u8; 5],
        bytes: &mut [u8],
    ) -> Result<(), Errno> {
        self.calm = 0;
        if let Some(place) = self.place(page) {
            // The five bytes change at once only within a cache line.
            if memory.patch_code(place + at, text).is_ok() {
                return Ok(());
            }
            memory.read(place, bytes)?;
        }
        let at = usize::try_from(at).map_err(|_| Errno::EINVAL)?;
        bytes.get_mut(at..at + text.len()).ok_or(Errno::EINVAL)?.copy_from_slice(&text);
        let block = memory.alloc(PAGE)?;
        memory.write(block.offset(), bytes)?;
        self.old.extend(self.pages.insert(page, block));
        Ok(())
    }

    /// Copies the text from the first to the last patched page.
    fn copy(
        &mut self,
        memory: &Arc<GuestMemory>,
        map: &dyn Mappable,
        copied: &AtomicU64,
    ) -> Result<(), Errno> {
        let lone = self.pages.first_key_value().zip(self.pages.last_key_value());
        let Some(((&first, _), (&last, _))) = lone else { return Ok(()) };
        let mut range = first..last + PAGE;
        if let Some((old, _)) = &self.copy {
            range = old.start.min(range.start)..old.end.max(range.end);
        }
        // All of it, so that an area needs one mapping, if that is not too much.
        let shown = self.shown.start.min(range.start)..self.shown.end.max(range.end);
        if shown.end - shown.start <= COPY_MAX {
            range = shown;
        }
        let len = range.end - range.start;
        if len > COPY_MAX || copied.load(Ordering::Relaxed) + len > COPIES_MAX {
            return Ok(());
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| Errno::ENOMEM)?];
        let n = map.read_at(range.start, &mut bytes)? as u64;
        if n + PAGE <= len {
            // It has become shorter: where it ends now, an access is a fault.
            return Ok(());
        }
        let page_len = usize::try_from(PAGE).unwrap_or(0);
        for (page, bytes) in (range.start..).step_by(page_len).zip(bytes.chunks_mut(page_len)) {
            if let Some(place) = self.place(page) {
                memory.read(place, bytes)?;
            }
        }
        let block = memory.alloc(len)?;
        memory.write(block.offset(), &bytes)?;
        copied.fetch_add(len, Ordering::Relaxed);
        self.copied += len;
        self.old.extend(std::mem::take(&mut self.pages).into_values());
        self.old.extend(self.copy.replace((range, block)).map(|(_, block)| block));
        Ok(())
    }
}

impl Text {
    /// Nothing is patched yet; `None` if there is no memory.
    /// `copied` counts the bytes of the copies of all texts.
    pub(super) fn new(
        file: (u64, u64),
        version: u64,
        memory: &Arc<GuestMemory>,
        copied: &Arc<AtomicU64>,
    ) -> Option<Self> {
        let code = memory.alloc(ROOM_LEN).ok()?;
        Some(Self { file, version, code, state: Mutex::default(), copied: copied.clone() })
    }

    /// Counts a mapping of this part of the file; copies it when that is worth it.
    pub(super) fn mapped(&self, memory: &Arc<GuestMemory>, map: &dyn Mappable, range: &Range<u64>) {
        let mut state = self.state.lock();
        let shown = &mut state.shown;
        *shown = match shown.is_empty() {
            true => range.clone(),
            false => shown.start.min(range.start)..shown.end.max(range.end),
        };
        state.calm = state.calm.saturating_add(1);
        let is_short = state.shown.end - state.shown.start <= SHORT && !state.pages.is_empty();
        if state.calm == CALM && (is_short || state.pages.len() > FEW_PAGES) {
            // Without it every page is mapped alone.
            let _ = state.copy(memory, map, &self.copied);
        }
    }

    /// Whether all of this range of the file is copied.
    pub(super) fn is_copied(&self, range: &Range<u64>) -> bool {
        let state = self.state.lock();
        let copied = state.copy.as_ref().map(|(copied, _)| copied);
        copied.is_some_and(|copied| copied.start <= range.start && range.end <= copied.end)
    }

    /// Whether something is patched in this range of the file.
    pub(super) fn is_patched_in(&self, range: &Range<u64>) -> bool {
        let state = self.state.lock();
        let overlaps = |copied: &Range<u64>| copied.start < range.end && range.start < copied.end;
        state.copy.as_ref().is_some_and(|(copied, _)| overlaps(copied))
            || state.pages.range(range.clone()).next().is_some()
    }

    /// Appends what maps the room at `base` and what is patched in this range of the file.
    pub(super) fn ops(&self, base: u64, range: Range<u64>, ops: &mut Vec<MapOp>) {
        let mut map = |addr, len, offset, populate| {
            let backing = Backing::Memory(offset);
            ops.push(MapOp::Map { addr, len, prot: Prot::RX, backing, populate });
        };
        let state = self.state.lock();
        let copy = state.copy.as_ref().map(|(copied, block)| {
            let start = copied.start.max(range.start);
            (start..copied.end.min(range.end), block.offset() + (start - copied.start))
        });
        let copy = copy.filter(|(part, _)| !part.is_empty());
        let pages = state.pages.range(range);
        map(base, ROOM_LEN, self.code.offset(), Populate::Lazy);
        let place = base + ROOM_BELOW;
        if let Some((part, offset)) = copy {
            map(place + part.start, part.end - part.start, offset, Populate::Lazy);
        }
        for (offset, block) in pages {
            map(place + offset, PAGE, block.offset(), Populate::Now);
        }
    }

    /// The patched instruction whose trampoline holds this byte of the room, and where the
    /// trampoline begins.
    pub(super) fn site_at(&self, at: u64) -> Option<(u64, Site)> {
        self.state.lock().sites.range(..=at).next_back().map(|(start, site)| (*start, *site))
    }

    /// Where in the room a moved instruction of the file is.
    pub(super) fn moved(&self, offset: u64) -> Option<u64> {
        let state = self.state.lock();
        state.sites.values().find_map(|s| {
            let by = offset.checked_sub(s.offset + 2).filter(|&by| by < s.moved)?;
            Some(s.after + by)
        })
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.copied.fetch_sub(self.state.lock().copied, Ordering::Relaxed);
    }
}
