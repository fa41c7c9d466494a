//! Patched call sites: text pages of files whose system calls enter without a trap.
//!
//! * [`Texts`] knows, for the whole sandbox, the patched pages of each file ([`Text`])
//!   and the room with their trampolines. A page is patched once; whoever maps the file
//!   then gets the patched one in place of the file's own.
//! * A room is mapped at a fixed distance below the file's mapping, so that one page is
//!   right for all processes. Addresses below mappings of files are left free for it.
//!
//! The areas of a process know nothing of this: copies from and to guest memory see the
//! file. Lock: one for all texts, innermost.

use super::images::Images;
use super::map::USER_START;
use super::text::{Site, Text};
use super::twin::Parents;
use super::vma::{FilePart, Sharing, Source, Vma};
use super::{Mm, PAGE, State};
use crate::cred::Cred;
use crate::sync::Mutex;
use crate::vfs::Mappable;
use chitin_abi::Errno;
use chitin_platform::{MapOp, Platform, Populate, Prot, ROOM_LEN, Trapping};
use chitin_usermem::{GuestMemory, UserAddr, UserMemory};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// How far below the beginning of a file's mapping its room begins, in bytes: text may
/// lie some pages off its place in the file.
pub(super) const ROOM_BELOW: u64 = 2 * ROOM_LEN;
/// Traps of a site before it is patched.
const TRAPS: u32 = 6;
/// Traps of a site that was patched in front of it before no more is done about them.
const PAST_TRAPS: u32 = 1000;
/// Most files with patched text.
const MAX_TEXTS: usize = 256;
/// Most programs whose executions are counted.
const MAX_EXECS: usize = 1024;
/// Most sites that are counted.
const MAX_COUNTS: usize = 4096;

/// Whose patches they are. A process has any two bytes of a text patched that it runs as a
/// call, also in the middle of an instruction. So patched text is shared by those only who
/// may do to each other what they like (`ptrace(2)`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Owner {
    ids: [u32; 6],
    caps: [u64; 2],
}

impl Owner {
    fn of(cred: &Cred) -> Self {
        Self {
            ids: [cred.uid, cred.euid, cred.suid, cred.gid, cred.egid, cred.sgid],
            caps: [cred.effective.0, cred.permitted.0],
        }
    }
}

/// Most owners whose processes share patched text; those of others have their own.
const MAX_OWNERS: usize = 16;

/// Patched text of all files.
pub struct Texts {
    platform: Arc<dyn Platform>,
    memory: Arc<GuestMemory>,
    owner: Option<Owner>,
    owners: Mutex<HashMap<Owner, Arc<Texts>>>,
    texts: Mutex<HashMap<((u64, u64), u64), Arc<Text>>>,
    common: Arc<Common>,
    /// How often its owner's processes have executed a program, by file and version.
    execs: Mutex<HashMap<((u64, u64), u64), u32>>,
}

/// What is of all owners.
#[derive(Default)]
struct Common {
    /// Bytes of copies of text.
    copied: Arc<AtomicU64>,
    /// Who has twins.
    parents: Parents,
    /// Initial data of files.
    images: Images,
}

/// The rooms of a process, by first address; `None` where something is in the way.
pub(super) type Rooms = BTreeMap<u64, Option<Arc<TextRef>>>;

/// A text as a process has it.
pub(super) struct TextRef(Arc<Text>);

impl TextRef {
    pub(super) fn is_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Texts {
    /// None yet.
    #[must_use]
    pub fn new(platform: Arc<dyn Platform>, memory: Arc<GuestMemory>) -> Arc<Self> {
        Self::owned(platform, memory, None, Arc::default())
    }

    fn owned(
        platform: Arc<dyn Platform>,
        memory: Arc<GuestMemory>,
        owner: Option<Owner>,
        common: Arc<Common>,
    ) -> Arc<Self> {
        Arc::new(Self {
            platform,
            memory,
            owner,
            owners: Mutex::default(),
            texts: Mutex::default(),
            common,
            execs: Mutex::default(),
        })
    }

    /// Those that processes with these credentials share.
    #[must_use]
    pub fn shared_by(&self, cred: &Cred) -> Arc<Self> {
        let owner = Owner::of(cred);
        let mut owners = self.owners.lock();
        if let Some(texts) = owners.get(&owner) {
            return texts.clone();
        }
        let (platform, memory) = (self.platform.clone(), self.memory.clone());
        let texts = Self::owned(platform, memory, Some(owner), self.common.clone());
        if owners.len() < MAX_OWNERS {
            owners.insert(owner, texts.clone());
        }
        texts
    }

    /// Who has twins.
    pub(super) fn parents(&self) -> &Parents {
        &self.common.parents
    }

    /// Initial data of files.
    pub(super) fn images(&self) -> &Images {
        &self.common.images
    }

    /// What runs the guests.
    pub(super) fn platform(&self) -> &Arc<dyn Platform> {
        &self.platform
    }

    /// How often this version of a file was executed before.
    pub(crate) fn count_exec(&self, map: &dyn Mappable) -> u32 {
        let Some(version) = map.version() else { return 0 };
        let mut execs = self.execs.lock();
        if execs.len() >= MAX_EXECS {
            execs.clear();
        }
        let count = execs.entry((map.id(), version)).or_default();
        let before = *count;
        *count = count.saturating_add(1);
        before
    }

    pub(super) fn find(&self, part: &FilePart) -> Option<Arc<Text>> {
        let texts = self.texts.lock();
        let id = part.map.id();
        // Most files have none; the version costs a question to the host.
        if !texts.keys().any(|(file, _)| *file == id) {
            return None;
        }
        texts.get(&(id, part.map.version()?)).cloned()
    }

    fn find_or_add(&self, map: &dyn Mappable) -> Option<Arc<Text>> {
        let (file, version) = (map.id(), map.version()?);
        let mut texts = self.texts.lock();
        if let Some(text) = texts.get(&(file, version)) {
            return Some(text.clone());
        }
        // An older version is no longer mapped by newcomers.
        texts.retain(|_, t| t.file != file || t.version == version);
        if texts.len() >= MAX_TEXTS {
            // Those that nobody has mapped can be made again.
            texts.retain(|_, t| Arc::strong_count(t) > 1);
        }
        if texts.len() >= MAX_TEXTS {
            return None;
        }
        let text = Arc::new(Text::new(file, version, &self.memory, &self.common.copied)?);
        texts.insert((file, version), text.clone());
        Some(text)
    }

    /// Patches the instruction at `offset` of the file; true if its page has (now) a patch
    /// there.
    fn patch(&self, text: &Text, map: &dyn Mappable, what: Trapping, offset: u64) -> bool {
        let mut guard = text.state.lock();
        let state = &mut *guard;
        if let Some(site) = state.sites.values().find(|s| s.offset == offset) {
            // Who has its page and jumps past what is in front of it needs no other.
            let traps = state.traps.entry(offset).or_default();
            *traps = traps.saturating_add(1);
            return site.before == 0 || *traps < PAST_TRAPS;
        }
        if state.traps.len() >= MAX_COUNTS {
            return false;
        }
        let traps = state.traps.entry(offset).or_default();
        *traps = traps.saturating_add(1);
        if *traps != if what == Trapping::Call { TRAPS } else { 1 } {
            return false;
        }
        let (page, at) = (offset & !(PAGE - 1), offset % PAGE);
        if state.is_full() {
            return false;
        }
        let mut bytes = vec![0; usize::try_from(PAGE).unwrap_or(0)];
        if map.read_at(page, &mut bytes).is_err() {
            return false;
        }
        let distance = offset + ROOM_BELOW;
        let plan = self.platform.patch(what, &bytes, at, distance, &mut state.room);
        let Some(plan) = plan else { return false };
        let (after, moved, before) = (plan.after, plan.moved, plan.before);
        let site = Site { what, offset, after, moved, before };
        let (at, range) = (at - before, site.range());
        let overlaps = |s: &Site| s.range().start < range.end && range.start < s.range().end;
        if state.sites.values().any(overlaps) {
            return false;
        }
        if self.memory.write(text.code.offset() + plan.at, &plan.code).is_err() {
            return false;
        }
        if state.change(&self.memory, page, at, plan.text, &mut bytes).is_err() {
            return false;
        }
        state.sites.insert(plan.at, site);
        true
    }
}

/// Where the room of a file's mapping begins, if it can have one.
pub(super) fn room_of(vma: &Vma) -> Option<(&FilePart, u64)> {
    let Source::File(part) = &vma.source else { return None };
    if vma.sharing != Sharing::Private || vma.prot != Prot::RX {
        return None;
    }
    let base = vma.start.checked_sub(part.offset)?.checked_sub(ROOM_BELOW)?;
    (base >= USER_START).then_some((part, base))
}

impl State {
    /// The text behind a room, if the room can be at `base` in this process.
    fn enter(&mut self, text: &Arc<Text>, base: u64) -> bool {
        if let Some(known) = self.rooms.get(&base) {
            let same = known.as_ref().is_some_and(|t| Arc::ptr_eq(&t.0, text));
            if same || known.is_none() {
                return same;
            }
        }
        let free = self.areas.is_free(base..base + ROOM_LEN);
        let entry = free.then(|| Arc::new(TextRef(text.clone())));
        self.rooms.insert(base, entry);
        free
    }

    fn room_at(&self, addr: u64) -> Option<(u64, &Arc<Text>)> {
        let (base, text) = self.rooms.range(..=addr).next_back()?;
        let text = text.as_ref().filter(|_| addr - base < ROOM_LEN)?;
        Some((*base, &text.0))
    }

    /// Rooms in a range that is about to be mapped go away: first the text that jumps there.
    pub(super) fn evict_rooms(&mut self, range: Range<u64>, ops: &mut Vec<MapOp>) {
        let from = range.start.saturating_sub(ROOM_LEN - 1);
        let hit: Vec<u64> = self.rooms.range(from..range.end.max(from)).map(|(b, _)| *b).collect();
        for base in hit {
            if let Some(Some(_)) = self.rooms.insert(base, None) {
                for vma in self.areas.iter().filter(|v| room_of(v).is_some_and(|r| r.1 == base)) {
                    vma.map_ops(ops, Populate::Lazy);
                }
            }
        }
    }
}

impl Mm {
    /// Appends what maps an area, with the patches that its text has.
    pub(super) fn emit(&self, state: &mut State, vma: &Vma, ops: &mut Vec<MapOp>, how: Populate) {
        let patched = self.patched(vma).filter(|(text, base, range)| {
            // A room is in the table if it is mapped.
            text.is_patched_in(range) && state.enter(text, *base)
        });
        let Some((text, base, range)) = patched else { return vma.map_ops(ops, how) };
        if !text.is_copied(&range) {
            vma.map_ops(ops, how);
        }
        text.ops(base, range, ops);
    }

    /// The text that an area shows, where its room begins, and which part of the file it is.
    fn patched(&self, vma: &Vma) -> Option<(Arc<Text>, u64, Range<u64>)> {
        let (part, base) = room_of(vma)?;
        let text = self.texts.find(part)?;
        let range = part.offset..part.offset + vma.len();
        text.mapped(&self.memory, &*part.map, &range);
        Some((text, base, range))
    }

    /// Whether a thread with these credentials may have this address space's text patched:
    /// not when it has others than the program began with.
    #[must_use]
    pub fn may_patch(&self, cred: &Cred) -> bool {
        self.texts.owner.is_none_or(|owner| owner == Owner::of(cred))
    }

    /// An instruction has trapped at `site`: patches it, a call when that has happened often
    /// enough.
    pub fn trapped(&self, what: Trapping, site: u64) -> Result<(), Errno> {
        let mut state = self.state.write();
        let Some(vma) = state.areas.find(site).cloned() else { return Ok(()) };
        let Some((part, base)) = room_of(&vma) else { return Ok(()) };
        if matches!(state.rooms.get(&base), Some(None)) {
            return Ok(());
        }
        let offset = part.offset + (site - vma.start);
        let Some(text) = self.texts.find_or_add(&*part.map) else { return Ok(()) };
        if !self.texts.patch(&text, &*part.map, what, offset) || !state.enter(&text, base) {
            return Ok(());
        }
        let page = offset & !(PAGE - 1);
        let mut ops = Vec::new();
        text.ops(base, page..page + PAGE, &mut ops);
        self.apply(&ops)
    }

    /// Patches `cpuid` instructions that were found in a file, at these byte offsets, for
    /// those who map it from now on.
    pub(crate) fn patch_found(&self, map: &Arc<dyn Mappable>, sites: &[u64]) {
        if sites.is_empty() {
            return;
        }
        let Some(text) = self.texts.find_or_add(&**map) else { return };
        for &site in sites {
            self.texts.patch(&text, &**map, Trapping::Cpuid, site);
        }
    }

    /// Where a thread goes on that came to an instruction which a patch has moved.
    #[must_use]
    pub fn behind_patch(&self, rip: u64) -> Option<u64> {
        let state = self.state.read();
        let vma = state.areas.find(rip)?;
        let (part, base) = room_of(vma)?;
        let known = state.rooms.get(&base)?.as_ref()?;
        let at = known.0.moved(part.offset + (rip - vma.start))?;
        Some(base + at)
    }

    /// What the program takes for its instruction pointer where it is in a trampoline. That
    /// of `cpuid` cannot be begun again from within, and is shown.
    #[must_use]
    pub fn visible_rip(&self, rip: u64) -> u64 {
        let state = self.state.read();
        let found = state.room_at(rip).and_then(|(base, text)| {
            let (start, site) = text.site_at(rip - base)?;
            let place = base + ROOM_BELOW + site.offset;
            Some(match (rip - base).checked_sub(site.after) {
                None if site.what == Trapping::Cpuid && rip != base + start => rip,
                // What was in front of it is the first instruction there.
                None if rip == base + start => place - site.before,
                None => place,
                Some(by) => place + 2 + by.min(site.moved),
            })
        });
        found.unwrap_or(rip)
    }

    /// Whether `cpuid` is at this address.
    #[must_use]
    pub fn is_cpuid(&self, rip: u64) -> bool {
        let mut code = [0; 2];
        let at = UserAddr(rip);
        let known = self.read(at, &mut code).is_ok() || self.read_room(rip, &mut code).is_some();
        known && code == [0x0f, 0xa2]
    }

    /// Reads a trampoline.
    fn read_room(&self, rip: u64, code: &mut [u8]) -> Option<()> {
        let state = self.state.read();
        let (base, text) = state.room_at(rip)?;
        self.memory.read(text.code.offset() + (rip - base), code).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;
    use crate::vfs::MapSource;

    struct Program;

    impl Mappable for Program {
        fn id(&self) -> (u64, u64) {
            (1, 2)
        }
        fn version(&self) -> Option<u64> {
            Some(3)
        }
        fn locate(&self, _offset: u64, _len: u64, _writable: bool) -> Result<MapSource, Errno> {
            Err(Errno::EFAULT)
        }
        fn size(&self) -> u64 {
            0
        }
        fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Result<usize, Errno> {
            Ok(0)
        }
        fn write_at(&self, _offset: u64, _buf: &[u8]) -> Result<usize, Errno> {
            Err(Errno::EFAULT)
        }
    }

    #[test]
    fn executions_are_counted_by_owner() {
        let guest = Guest::new();
        let texts = &guest.cur.task().kernel.texts;
        let before = |uid| {
            let cred = Cred::for_user(uid, uid, Vec::new());
            texts.shared_by(&cred).count_exec(&Program)
        };
        assert_eq!([0, 0, 1, 0, 1].map(before), [0, 1, 0, 2, 1]);
    }
}
