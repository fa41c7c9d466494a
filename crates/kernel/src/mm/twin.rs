//! [`Twin`]: what is left of a child that has ended, for the next fork of its parent.
//!
//! Shells fork the same address space again and again. What a child had mapped is what the
//! next one needs, so it is kept as it is, its page tables included; the next fork maps what
//! is different, and copies the content of private memory (`docs/adr/twins.md`).

use super::fork::{MOST_MAPPED, is_copied};
use super::heap::Remains;
use super::patch::{Rooms, room_of};
use super::vma::{Hold, Sharing, Source, Vma, flag};
use super::{Areas, Mm, State};
use crate::sync::Mutex;
use chitin_platform::{AddressSpace, MapOp};
use chitin_usermem::GuestMemory;
use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

/// Most twins of one parent: children run at the same time in a pipeline.
const MOST_OF_ONE: usize = 2;
/// Most parents that have some.
const MOST_PARENTS: usize = 4;
/// Most bytes of addresses, of one area and of all, whose private memory a twin may keep.
const MOST_KEPT: (u64, u64) = (1 << 20, 16 << 20);

/// See the module. Dropping it gives the host process back.
pub(super) struct Twin(Option<Left>);

/// What a child has left.
pub(super) struct Left {
    pub(super) space: Arc<dyn AddressSpace>,
    pub(super) areas: Areas,
    pub(super) rooms: Rooms,
    /// Behind its heap.
    pub(super) behind: Remains,
}

impl Twin {
    pub(super) fn left(&mut self) -> &Left {
        match &self.0 {
            Some(left) => left,
            None => unreachable!("only taken by value"),
        }
    }

    /// For the child that it becomes. What the areas hold must be held until what was to be
    /// changed has been.
    pub(super) fn into_left(mut self) -> Left {
        match self.0.take() {
            Some(left) => left,
            None => unreachable!("only taken by value"),
        }
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        if let Some(left) = self.0.take() {
            retire(&*left.space, left.areas);
        }
    }
}

/// Gives a host process back. The pages are given to others when nothing of them is mapped
/// there any more, which may be later. Files are closed now: who waits for the end of the
/// process sees that.
pub(super) fn retire(space: &dyn AddressSpace, areas: Areas) {
    let held: Vec<Hold> = areas.into_iter().map(|vma| vma.source.into()).collect();
    space.retire(Box::new(held));
}

/// Which address spaces of the sandbox have twins, the one that got one last at the end.
#[derive(Default)]
pub(super) struct Parents(Mutex<VecDeque<Weak<Mm>>>);

impl Parents {
    fn note(&self, parent: &Arc<Mm>) {
        let mut parents = self.0.lock();
        parents.retain(|p| p.strong_count() > 0 && !std::ptr::eq(p.as_ptr(), Arc::as_ptr(parent)));
        parents.push_back(Arc::downgrade(parent));
        let surplus = if parents.len() > MOST_PARENTS { parents.pop_front() } else { None };
        drop(parents);
        if let Some(parent) = surplus.and_then(|p| p.upgrade()) {
            let twins = std::mem::take(&mut *parent.twins.lock());
            drop(twins);
        }
    }
}

impl Left {
    /// The area that is mapped as one of the parent's is to be.
    pub(super) fn mapped_as(&self, wanted: &Vma, parent: &State) -> Option<&Vma> {
        let had = self.areas.at(wanted.start)?;
        (is_mapped_as(had, wanted) && self.has_room_of(wanted, parent)).then_some(had)
    }

    /// Whether the room of a text, where there is one, is the same: threads of the parent may
    /// be in it.
    fn has_room_of(&self, vma: &Vma, parent: &State) -> bool {
        let Some((_, base)) = room_of(vma) else { return true };
        match (self.rooms.get(&base), parent.rooms.get(&base)) {
            (None, None) | (Some(None), Some(None)) => true,
            (Some(Some(own)), Some(Some(of_parent))) => own.is_of(of_parent),
            _ => false,
        }
    }

    /// Appends what unmaps the areas that the parent's next child is not to have as they are.
    pub(super) fn unmap_others(&self, parent: &State, ops: &mut Vec<MapOp>) {
        for had in self.areas.iter() {
            let wanted = parent.areas.at(had.start).filter(|v| v.flags & flag::DONTFORK == 0);
            if wanted.and_then(|wanted| self.mapped_as(wanted, parent)).is_none() {
                ops.push(MapOp::Unmap { addr: had.start, len: had.len() });
            }
        }
    }
}

/// Whether the area of a twin is mapped as `wanted` is to be.
fn is_mapped_as(had: &Vma, wanted: &Vma) -> bool {
    let place = |v: &Vma| (v.start, v.end, v.prot, v.may_write, v.sharing);
    place(had) == place(wanted)
        && (had.flags ^ wanted.flags) & !flag::LOCKED == 0
        && match (&had.source, &wanted.source) {
            (Source::Reserved, Source::Reserved) => true,
            (Source::File(had), Source::File(wanted)) => {
                Arc::ptr_eq(&had.map, &wanted.map) && had.offset == wanted.offset
            }
            _ if is_copied(had) && is_copied(wanted) => true,
            (
                Source::Anon { block: had, at: here, copies: None, .. },
                Source::Anon { block: wanted, at, copies: None, .. },
            ) => had.offset() == wanted.offset() && here == at,
            _ => false,
        }
}

/// Whose copy an address space is.
pub(super) struct Parent {
    mm: Weak<Mm>,
    /// Of the parts of files that it had at first.
    files: u64,
}

impl Parent {
    pub(super) fn of(parent: &Arc<Mm>, child: &State) -> Self {
        Self { mm: Arc::downgrade(parent), files: files(&child.areas) }
    }
}

/// Tells apart which files are mapped where.
fn files(areas: &Areas) -> u64 {
    let mut hash = DefaultHasher::new();
    for vma in areas.iter() {
        if let Source::File(part) = &vma.source {
            let map = Arc::as_ptr(&part.map).cast::<()>();
            (vma.start, vma.end, map as usize, part.offset).hash(&mut hash);
        }
    }
    hash.finish()
}

impl Mm {
    /// A twin that can become a child's address space.
    pub(super) fn take_twin(&self) -> Option<Twin> {
        loop {
            let mut twin = self.twins.lock().pop()?;
            if !self.is_foreign() && twin.left().space.renew() {
                return Some(twin);
            }
        }
    }

    /// At the end of a child: keeps it for its parent, if that is worth it.
    pub(super) fn become_twin(&mut self) -> bool {
        let parent = self.parent.take().and_then(|p| Some((p.mm.upgrade()?, p.files)));
        let Some((parent, files_at_first)) = parent else { return false };
        let waits = self.waiting.lock().is_some() || self.deferred.lock().is_some();
        if waits || self.is_growing() || self.is_foreign() || parent.is_foreign() {
            return false;
        }
        let state = self.state.get_mut();
        if files(&state.areas) != files_at_first
            || !state.areas.iter().all(stays_as_it_is)
            || !is_small(&state.areas, &self.memory)
            || !self.space.renew()
        {
            return false;
        }
        // Its end wipes what is published: not what the next child has by then.
        drop(self.published.take());
        let (space, areas) = (self.space.clone(), std::mem::take(&mut state.areas));
        let rooms = std::mem::take(&mut state.rooms);
        let left = Left { space, areas, rooms, behind: std::mem::take(&mut state.heap.left) };
        let mut twins = parent.twins.lock();
        twins.push(Twin(Some(left)));
        let surplus = if twins.len() > MOST_OF_ONE { Some(twins.remove(0)) } else { None };
        drop(twins);
        drop(surplus);
        parent.texts.parents().note(&parent);
        true
    }
}

/// Whether what an area shows is changed by nobody but who has mapped it: files of the
/// sandbox's own can be cut off, and their pages given to others, who look at the address
/// spaces of living processes only.
fn stays_as_it_is(vma: &Vma) -> bool {
    match &vma.source {
        Source::File(part) => part.map.version().is_some(),
        _ => true,
    }
}

/// Whether so little memory is behind the areas that it may wait for the next fork.
fn is_small(areas: &Areas, memory: &GuestMemory) -> bool {
    let mut sum = 0;
    let few = areas.count() <= MOST_MAPPED;
    few && !memory.is_limited()
        && areas.iter().all(|vma| match &vma.source {
            Source::Anon { copies: Some(_), .. } => false,
            Source::Anon { block, at, .. } if vma.sharing == Sharing::Private => {
                if vma.len() <= MOST_KEPT.0 {
                    sum += vma.len();
                    return sum <= MOST_KEPT.1;
                }
                !memory.has_pages(block.offset() + at, vma.len(), MOST_KEPT.0)
            }
            _ => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cred::Cred;
    use crate::mm::{Company, Heirs, MapRequest, PAGE, Placement};
    use crate::testing::Guest;
    use chitin_platform::Prot;
    use chitin_usermem::{UserAddr, UserMemory};

    const AT: u64 = 0x1000_0000;

    fn parent() -> (Guest, Arc<Mm>) {
        let guest = Guest::new();
        let mm = guest.cur.mm().clone();
        mm.map(&MapRequest::anonymous(Placement::Fixed(AT), 40 * PAGE, Prot::RW), u64::MAX)
            .unwrap();
        (guest, mm)
    }

    fn fork(mm: &Arc<Mm>) -> Arc<Mm> {
        mm.fork(Company::Alone, Heirs::Twins).unwrap()
    }

    /// Where the memory of an area is.
    fn place(mm: &Mm) -> u64 {
        match &mm.state.read().areas.at(AT).unwrap().source {
            Source::Anon { block, .. } => block.offset(),
            _ => unreachable!("anonymous"),
        }
    }

    fn byte(mm: &Mm, page: u64) -> u8 {
        let mut byte = [0];
        mm.read(UserAddr(AT + page * PAGE), &mut byte).unwrap();
        byte[0]
    }

    #[test]
    fn the_next_child_has_the_same_memory_with_its_parent_s_content() {
        let (_guest, mm) = parent();
        mm.write(UserAddr(AT), &[1]).unwrap();
        let child = fork(&mm);
        let first = place(&child);
        for page in [0, 1, 30] {
            child.write(UserAddr(AT + page * PAGE), &[9]).unwrap();
        }
        drop(child);
        mm.write(UserAddr(AT), &[2]).unwrap();
        mm.write(UserAddr(AT + 20 * PAGE), &[3]).unwrap();
        let child = fork(&mm);
        assert_eq!(place(&child), first);
        assert_eq!([0, 1, 20, 30].map(|page| byte(&child, page)), [2, 0, 3, 0]);
        // One that is still used is not given to another.
        assert_ne!(place(&fork(&mm)), first);
        assert_eq!([0, 1, 20, 30].map(|page| byte(&mm, page)), [2, 0, 3, 0]);
    }

    #[test]
    fn areas_that_are_not_the_same_are_made_anew() {
        let (_guest, mm) = parent();
        mm.write(UserAddr(AT), &[1]).unwrap();
        let child = fork(&mm);
        child.unmap(AT + 8 * PAGE, PAGE).unwrap();
        child.write(UserAddr(AT + 9 * PAGE), &[9]).unwrap();
        drop(child);
        let child = fork(&mm);
        assert_eq!([0, 8, 9].map(|page| byte(&child, page)), [1, 0, 0]);
        drop(child);
        mm.protect(AT, PAGE, Prot::R).unwrap();
        mm.unmap(AT + PAGE, PAGE).unwrap();
        let child = fork(&mm);
        assert_eq!(byte(&child, 0), 1);
        assert!(child.write(UserAddr(AT), &[1]).is_err());
        assert!(child.write(UserAddr(AT + PAGE), &[1]).is_err());
    }

    #[test]
    fn nobody_gets_what_another_user_had() {
        let has_twin = |mm: &Arc<Mm>| !mm.twins.lock().is_empty();
        let (guest, _) = parent();
        // Its patched text is root's.
        let root = guest.cur.task().cred();
        let texts = guest.cur.task().kernel.texts.shared_by(&root);
        let space = guest.cur.mm().space().clone();
        let memory = guest.cur.mm().memory().clone();
        let mm = Mm::new(space, texts, memory, AT..2 * AT);
        drop(fork(&mm));
        assert!(has_twin(&mm));
        drop(mm.fork(Company::Alone, Heirs::No).unwrap());
        let child = fork(&mm);
        assert!(!has_twin(&mm));
        child.note_cred(&Cred::for_user(1000, 1000, Vec::new()));
        let grandchild = fork(&child);
        drop(grandchild);
        assert!(!has_twin(&child));
        drop(child);
        assert!(!has_twin(&mm));
        drop(fork(&mm));
        mm.note_cred(&Cred::for_user(1000, 1000, Vec::new()));
        drop(fork(&mm));
        assert!(!has_twin(&mm));
    }

    #[test]
    fn few_are_kept() {
        let (first, _) = parent();
        let texts = first.cur.mm().texts.clone();
        let mms: Vec<Arc<Mm>> = (0..2 * MOST_PARENTS)
            .map(|_| {
                let (space, memory) = (first.cur.mm().space(), first.cur.mm().memory());
                Mm::new(space.clone(), texts.clone(), memory.clone(), AT..2 * AT)
            })
            .collect();
        for mm in &mms {
            let children: Vec<_> = (0..2 * MOST_OF_ONE).map(|_| fork(mm)).collect();
            drop(children);
            assert_eq!(mm.twins.lock().len(), MOST_OF_ONE);
        }
        let with = mms.iter().filter(|mm| !mm.twins.lock().is_empty()).count();
        assert_eq!(with, MOST_PARENTS);
    }
}
