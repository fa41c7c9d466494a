//! `fork(2)`: a copy of an address space.
//!
//! A process with few areas is copied by mapping them all into a host process that the
//! platform has ready; one with many by the host's own `fork(2)`. Private memory is copied at
//! once where it is little, else its pages are left to both until one of them stores there.

use super::heap::Heap;
use super::twin::{Parent, Twin};
use super::vma::{Sharing, Side, Source, Vma, flag};
use super::{Mm, PAGE, State, host_error};
use crate::mm::areas::Areas;
use crate::sync::RwLock;
use chitin_abi::Errno;
use chitin_platform::{MapOp, Populate};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};

/// Most areas that are mapped anew.
pub(super) const MOST_MAPPED: usize = 192;
/// Most bytes of one area that the child is given with its page tables: it may soon execute
/// another program.
const MOST_TOUCHED: u64 = 64 << 10;
/// Longest area of a file's data whose mapping is left to a fault: programs have many that
/// they seldom look at, like those of a locale.
const MOST_LEFT: u64 = 16 << 10;

/// Areas with more bytes of pages than this are copied page by page when they are stored to.
const COPIED_AT_ONCE: u64 = 1 << 20;

/// Who else runs in the address space that is copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Company {
    /// Only the thread that forks.
    Alone,
    /// Other threads, who may wait for words whose place must not change.
    Others,
}

/// Whether a child may have what is left of one that has ended, and leave that itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heirs {
    /// The parent's children may do to each other what they like (`ptrace(2)`).
    Twins,
    /// They may not.
    No,
}

/// How the child comes to its mappings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Mapped,
    Cloned,
}

impl Mm {
    /// A copy: shared areas are shared, private memory is copied (pages that were never
    /// touched cost nothing).
    pub fn fork(self: &Arc<Self>, company: Company, heirs: Heirs) -> Result<Arc<Self>, Errno> {
        let mut state = self.state.write();
        if company == Company::Alone {
            self.leave_to_both(&mut state)?;
            self.forget_what_is_shared(&mut state);
        }
        let charge = self.memory.charge(host_cost(&state.areas))?;
        let few = state.areas.count() <= MOST_MAPPED;
        let how = if few { How::Mapped } else { How::Cloned };
        if how == How::Cloned {
            // The clone has what the host has mapped here.
            self.settle()?;
        }
        let heirs = if few { heirs } else { Heirs::No };
        let mut twin = if heirs == Heirs::Twins { self.take_twin() } else { None };
        let had = twin.as_mut().map(Twin::left);
        let mut ops = Vec::new();
        let mut child = State {
            areas: Areas::default(),
            heap: Heap {
                range: state.heap.range.clone(),
                left: had.as_ref().map(|had| had.behind.clone()).unwrap_or_default(),
            },
            within: state.within.clone(),
            rooms: had.as_ref().map_or_else(|| state.rooms.clone(), |had| had.rooms.clone()),
        };
        if let Some(had) = &had {
            had.unmap_others(&state, &mut ops);
        }
        let mut unmapped = Vec::new();
        for vma in state.areas.iter() {
            if vma.flags & flag::DONTFORK != 0 {
                if how == How::Cloned {
                    ops.push(MapOp::Unmap { addr: vma.start, len: vma.len() });
                }
                continue;
            }
            let copy = match had.as_ref().and_then(|had| had.mapped_as(vma, &state)) {
                Some(there) => self.renew_area(vma, there)?,
                None => {
                    let copy = self.copy_area(vma, how, &mut ops)?;
                    unmapped.push(copy.clone());
                    copy
                }
            };
            child.areas.insert(copy);
        }
        drop(state);
        if how == How::Mapped {
            for vma in unmapped {
                if twin.is_some() {
                    child.evict_rooms(vma.start..vma.end, &mut ops);
                }
                if !is_copied(&vma) && !self.is_for_later(&vma) {
                    self.emit(&mut child, &vma, &mut ops, Populate::Lazy);
                }
            }
        }
        let (space, held) = match (twin.map(Twin::into_left), how) {
            (Some(left), _) => (Ok(left.space), Some(left.areas)),
            (None, How::Mapped) => (self.texts.platform().new_space(), None),
            (None, How::Cloned) => (self.space.fork(), None),
        };
        let space = space.map_err(|e| match host_error(e) {
            Errno::ENOMEM => Errno::EAGAIN,
            other => other,
        })?;
        let parent = (heirs == Heirs::Twins).then(|| Parent::of(self, &child));
        let child = Arc::new(Self {
            space,
            memory: self.memory.clone(),
            texts: self.texts.clone(),
            state: RwLock::new(child),
            deferred: crate::sync::Mutex::default(),
            waiting: crate::sync::Mutex::default(),
            growing: crate::sync::Mutex::default(),
            landmarks: RwLock::new(self.landmarks.read().clone()),
            published: std::sync::OnceLock::new(),
            future: AtomicU32::new(0),
            grows: AtomicBool::new(self.grows()),
            growth: crate::sync::Mutex::new(*self.growth.lock()),
            parent,
            twins: crate::sync::Mutex::default(),
            foreign: AtomicBool::new(self.is_foreign()),
            dumpable: AtomicBool::new(self.is_dumpable()),
            dump_filter: AtomicU32::new(self.dump_filter()),
            aio: std::sync::OnceLock::new(),
            _charge: Some(charge),
        });
        child.apply_later(&ops, held)?;
        Ok(child)
    }

    /// The child's area where the one that a twin has is mapped as it is to be.
    fn renew_area(&self, vma: &Vma, there: &Vma) -> Result<Vma, Errno> {
        let mut copy = vma.clone();
        copy.flags &= !flag::LOCKED;
        let both = (&vma.source, &there.source, &mut copy.source);
        if let (
            Source::Anon { block, at, .. },
            Source::Anon { block: own, at: place, .. },
            Source::Anon { block: to, at: to_at, copies, .. },
        ) = both
            && is_copied(vma)
        {
            let len = if vma.flags & flag::WIPEONFORK == 0 { vma.len() } else { 0 };
            self.memory.renew(block.offset() + at, own.offset() + place, len, vma.len())?;
            (*to, *to_at, *copies) = (own.clone(), *place, None);
        }
        Ok(copy)
    }

    /// Marks the areas whose pages parent and child have together from now on.
    fn leave_to_both(&self, state: &mut State) -> Result<(), Errno> {
        let is_large = |vma: &Vma| match &vma.source {
            Source::Anon { block, at, copies: None, .. } => {
                vma.sharing == Sharing::Private
                    && vma.flags & (flag::DONTFORK | flag::WIPEONFORK) == 0
                    && vma.len() > COPIED_AT_ONCE
                    && self.memory.has_pages(block.offset() + at, vma.len(), COPIED_AT_ONCE)
            }
            _ => false,
        };
        let large: Vec<Vma> = state.areas.iter().filter(|v| is_large(v)).cloned().collect();
        let mut ops = Vec::new();
        for mut vma in large {
            if let Source::Anon { copies, .. } = &mut vma.source {
                *copies = Some(Side::first());
            }
            vma.flags |= flag::COMMON;
            vma.protect_ops(&mut ops);
            drop(state.areas.remove(vma.start..vma.end));
            state.areas.insert(vma);
        }
        self.apply(&ops)
    }

    /// Whether the area of a child that is soon to execute another program may be mapped by
    /// the first access.
    fn is_for_later(&self, vma: &Vma) -> bool {
        let Source::File(part) = &vma.source else { return false };
        let only_read = !vma.prot.write && !vma.prot.exec;
        only_read && vma.len() <= MOST_LEFT && self.texts.find(part).is_none()
    }

    /// The child's area; appends what maps the memory that it has of its own.
    fn copy_area(&self, vma: &Vma, how: How, ops: &mut Vec<MapOp>) -> Result<Vma, Errno> {
        let mut copy = vma.clone();
        copy.flags &= !flag::LOCKED;
        if let Source::Anon { copies: Some(side), .. } = &mut copy.source {
            *side = side.another();
        }
        super::attach::attach_again(&mut copy);
        let Source::Anon { block, at, origin, .. } = &vma.source else { return Ok(copy) };
        if !is_copied(vma) {
            return Ok(copy);
        }
        let heap = vma.flags & flag::HEAP != 0;
        let room = if heap { block.len() - at } else { vma.len() };
        let mut fresh = self.memory.fill(room)?;
        let mut touch = Vec::new();
        if vma.flags & flag::WIPEONFORK == 0 {
            let from = block.offset() + at;
            fresh.copy_pages(from, vma.len(), |offset, len| {
                touch.push((vma.start + (offset - from), len));
            })?;
        }
        let (fresh, origin) = (fresh.finish()?, origin.clone());
        copy.source = Source::Anon { block: fresh, at: 0, origin, copies: None };
        copy.map_ops(ops, Populate::Lazy);
        if copy.flags & flag::STACK != 0 && how == How::Mapped {
            let few = touch.iter().map(|t| t.1).sum::<u64>() <= MOST_TOUCHED;
            let touch = touch.into_iter().filter(|_| few);
            ops.extend(touch.map(|(addr, len)| MapOp::Touch { addr, len }));
        }
        Ok(copy)
    }
}

/// What the host needs for another process with these areas, in bytes: its own bookkeeping,
/// and page tables for what it has together with others.
fn host_cost(areas: &Areas) -> u64 {
    const PROCESS: u64 = 128 << 10;
    const TABLE_SPAN: u64 = 2 << 20;
    let common = |vma: &&Vma| vma.sharing == Sharing::Shared || vma.copies_on_write();
    let tables = areas.iter().filter(common).map(|vma| vma.len() / TABLE_SPAN * PAGE);
    PROCESS + tables.sum::<u64>()
}

/// Whether a child gets memory of its own for the area at once.
pub(super) fn is_copied(vma: &Vma) -> bool {
    let own = matches!(vma.source, Source::Anon { copies: None, .. });
    (own || vma.flags & flag::WIPEONFORK != 0 && !matches!(vma.source, Source::File(_)))
        && vma.sharing == Sharing::Private
}
