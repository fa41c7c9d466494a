//! Memory of a guest process: areas, backing pages, faults, and the copies between
//! kernel and guest.
//!
//! * [`Mm`] is one address space (`CLONE_VM` shares it).
//! * [`Vma`] is an area of it; the table of areas is private to this module.
//! * [`MapRequest`] is what `mmap(2)` asks for.
//!
//! The whole of an area is mapped on the host when the guest maps it, so that
//! ordinary memory never faults into the kernel. The exception is a private mapping
//! of a file: its pages are the file's until the first store.
//!
//! Locks: one for the areas, held while the platform maps; copies from and to guest
//! memory take it for reading.

mod areas;
mod attach;
mod change;
mod copy;
mod dumped;
mod fork;
mod growing;
mod heap;
mod images;
mod lock;
mod map;
mod patch;
mod report;
mod text;
mod twin;
pub mod vma;
mod waiting;

pub use change::{Advice, Left, Moving, Toggle};
pub use copy::{Direction, WordKey};
pub use dumped::{DumpPart, Stretch};
pub use fork::{Company, Heirs};
pub use lock::{Limits, Lock, Span};
pub use map::{MapRequest, Placement, USER_END, USER_START};
pub use patch::Texts;
pub use report::{Detail, MapLine, MmSizes};
pub use vma::{FilePart, Sharing, Side, Source, Vma};

use crate::published::Published;
use crate::sync::RwLock;
use areas::Areas;
use chitin_abi::Errno;
use chitin_platform::{AddressSpace, MapOp, PlatformError};
use chitin_usermem::GuestMemory;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// Bytes of a page.
pub const PAGE: u64 = chitin_platform::PAGE_SIZE;

/// Bytes that a private file mapping copies around a faulting store.
const COPY_WINDOW: u64 = 16 * PAGE;
/// Writable private file mappings of at most this length are copied at once.
const COPY_AT_ONCE: u64 = 64 * PAGE;
/// Reservations (`PROT_NONE`) above this length get memory only where access is allowed.
const LAZY_RESERVATION: u64 = 4 << 30;
/// What the heap's allocation has room for, in bytes.
const HEAP_ROOM: u64 = 256 << 20;

/// Where things are that `/proc/PID/stat` and `prctl(PR_SET_MM)` know.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Landmarks {
    pub code: Range<u64>,
    pub data: Range<u64>,
    pub stack: u64,
    pub args: Range<u64>,
    pub env: Range<u64>,
    pub auxv: Vec<(u64, u64)>,
}

struct State {
    areas: Areas,
    heap: heap::Heap,
    /// Addresses that `mmap(2)` may choose.
    within: Range<u64>,
    /// Where trampolines of patched text are.
    rooms: patch::Rooms,
}

/// An address space and its areas (`mmap(2)`).
pub struct Mm {
    space: Arc<dyn AddressSpace>,
    memory: Arc<GuestMemory>,
    texts: Arc<Texts>,
    state: RwLock<State>,
    /// Changes that wait for [`Mm::flush`], while a program is loaded.
    deferred: crate::sync::Mutex<Option<Vec<MapOp>>>,
    /// Mappings of a library whose other parts follow.
    waiting: crate::sync::Mutex<Option<waiting::Waiting>>,
    /// A large area of which only the beginning is mapped.
    growing: crate::sync::Mutex<Option<growing::Growing>>,
    /// Set by the loader.
    pub landmarks: RwLock<Landmarks>,
    /// Made by the first question whose answer can be published.
    published: OnceLock<Option<Arc<Published>>>,
    /// What new areas begin with (`mlockall(MCL_FUTURE)`): bits of [`Lock`].
    future: AtomicU32,
    /// There are, or were, areas that grow down.
    grows: AtomicBool,
    /// Up to where they may.
    growth: crate::sync::Mutex<Limits>,
    /// Whose copy it is, if it may be its twin when it has ended.
    parent: Option<twin::Parent>,
    /// Children that have ended, for the next ones.
    twins: crate::sync::Mutex<Vec<twin::Twin>>,
    /// A thread has, or had, other rights than the program began with.
    foreign: AtomicBool,
    /// `PR_SET_DUMPABLE`: its like may look into it.
    dumpable: AtomicBool,
    /// Which areas a core file has.
    dump_filter: AtomicU32,
    /// Contexts of asynchronous requests, which end with it.
    pub(crate) aio: OnceLock<crate::aio::Contexts>,
    /// What the host needs for it, if it is a copy.
    _charge: Option<chitin_usermem::Charge>,
}

/// What the platform's failure means to the guest.
pub(crate) fn host_error(e: PlatformError) -> Errno {
    match e {
        PlatformError::Exhausted => Errno::ENOMEM,
        PlatformError::Dead => Errno::EFAULT,
        PlatformError::Host(_) => Errno::EINVAL,
    }
}

impl Mm {
    /// An empty address space whose `mmap(2)` chooses from `within`.
    #[must_use]
    pub fn new(
        space: Arc<dyn AddressSpace>,
        texts: Arc<Texts>,
        memory: Arc<GuestMemory>,
        within: Range<u64>,
    ) -> Arc<Self> {
        let state = State {
            areas: Areas::default(),
            heap: heap::Heap::default(),
            within,
            rooms: patch::Rooms::default(),
        };
        Arc::new(Self {
            space,
            memory,
            texts,
            state: RwLock::new(state),
            deferred: crate::sync::Mutex::default(),
            waiting: crate::sync::Mutex::default(),
            growing: crate::sync::Mutex::default(),
            landmarks: RwLock::default(),
            future: AtomicU32::new(0),
            grows: AtomicBool::new(false),
            growth: crate::sync::Mutex::default(),
            parent: None,
            twins: crate::sync::Mutex::default(),
            foreign: AtomicBool::new(false),
            dumpable: AtomicBool::new(true),
            dump_filter: AtomicU32::new(dumped::DEFAULT_FILTER),
            aio: OnceLock::new(),
            _charge: None,
            published: OnceLock::new(),
        })
    }

    /// The platform's side.
    #[must_use]
    pub fn space(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }

    /// What it has published, if the platform can do that.
    pub(crate) fn published(&self) -> Option<&Arc<Published>> {
        self.published.get_or_init(|| Published::new(&*self.space)).as_ref()
    }

    /// Patched text, as those who may do to each other what they like share it.
    pub(crate) fn texts(&self) -> &Texts {
        &self.texts
    }

    /// Says that a thread has these credentials.
    pub(crate) fn note_cred(&self, cred: &crate::cred::Cred) {
        if !self.may_patch(cred) {
            self.set_foreign();
        }
    }

    /// Says that a thread has other rights than the program began with.
    pub(crate) fn set_foreign(&self) {
        self.foreign.store(true, Ordering::SeqCst);
    }

    /// Whether others of the same user may look into it (`PR_SET_DUMPABLE(2const)`).
    pub fn is_dumpable(&self) -> bool {
        self.dumpable.load(Ordering::SeqCst)
    }

    /// Says whether they may.
    pub fn set_dumpable(&self, dumpable: bool) {
        self.dumpable.store(dumpable, Ordering::SeqCst);
    }

    /// Whether a thread has, or had, other rights than the program began with.
    fn is_foreign(&self) -> bool {
        self.foreign.load(Ordering::SeqCst)
    }

    /// The sandbox's memory file.
    #[must_use]
    pub fn memory(&self) -> &Arc<GuestMemory> {
        &self.memory
    }

    /// Changes the host's mappings. Where that fails the process cannot go on: what
    /// it maps is unknown, and its pages may be given to others.
    fn apply(&self, ops: &[MapOp]) -> Result<(), Errno> {
        if ops.is_empty() {
            return Ok(());
        }
        if let Some(deferred) = &mut *self.deferred.lock() {
            deferred.extend_from_slice(ops);
            return Ok(());
        }
        let before = self.before(ops);
        let all = if before.is_empty() { ops } else { &[&before, ops].concat() };
        self.space.apply(all).map_err(|e| {
            self.space.kill();
            host_error(e)
        })
    }

    /// The same for a change that must be there when the calling task goes on in the guest,
    /// and not before; `held` is what the platform may still have mapped until then.
    fn apply_later(&self, ops: &[MapOp], held: impl Send + 'static) -> Result<(), Errno> {
        if ops.is_empty() || self.deferred.lock().is_some() {
            let result = self.apply(ops);
            drop(held);
            return result;
        }
        let before = self.before(ops);
        let all = if before.is_empty() { ops } else { &[&before, ops].concat() };
        self.space.apply_later(all, Box::new(held)).map_err(|e| {
            self.space.kill();
            host_error(e)
        })
    }

    /// What has been left for later, and is to be done before these.
    fn before(&self, ops: &[MapOp]) -> Vec<MapOp> {
        let mut before = self.take_waiting();
        before.extend(self.mapped_before(ops));
        before
    }

    /// Does what has been left for later.
    fn settle(&self) -> Result<(), Errno> {
        let mut ops = self.take_waiting();
        ops.extend(self.take_growing());
        self.apply(&ops)
    }

    /// Collects changes until [`Mm::flush`]; nothing runs here yet.
    pub(crate) fn defer(&self) {
        self.deferred.lock().get_or_insert_default();
    }

    /// Applies the collected changes in one batch.
    pub(crate) fn flush(&self) -> Result<(), Errno> {
        let deferred = self.deferred.lock().take();
        self.apply_later(&deferred.unwrap_or_default(), ())
    }

    /// Free addresses for `len` bytes, for a mapping that follows at once.
    pub(crate) fn choose(&self, len: u64) -> Result<u64, Errno> {
        let state = &mut *self.state.write();
        state.areas.find_free(len + patch::ROOM_BELOW, state.within.clone()).map(|at| {
            // Below is room for trampolines.
            at + patch::ROOM_BELOW
        })
    }

    /// Whether the host had no page for this access because the sandbox has used up its
    /// memory: somebody is going to be killed for that.
    pub(crate) fn lacks_memory(&self, fault: &chitin_platform::Fault) -> bool {
        let anonymous = |vma: &Vma| matches!(vma.source, Source::Anon { .. });
        fault.signo == chitin_abi::signal::SIGBUS
            && self.memory.is_beyond_limit()
            && self.state.read().areas.find(fault.addr & !(PAGE - 1)).is_some_and(anonymous)
    }

    /// A fault of the guest: `Ok` if the access works when it is repeated, else the
    /// signal's number and `si_code`.
    pub fn fault(&self, fault: &chitin_platform::Fault) -> Result<(), (i32, i32)> {
        use chitin_abi::signal::{BUS_ADRERR, SEGV_ACCERR, SEGV_MAPERR, SIGBUS, SIGSEGV};
        const SI_KERNEL: i32 = 0x80;
        if fault.trapno == 13 {
            return Err((SIGSEGV, SI_KERNEL));
        }
        let mut state = self.state.write();
        let page = fault.addr & !(PAGE - 1);
        if state.areas.find(page).is_none() {
            return self.grow_down(&mut state, page).map_err(|_| (SIGSEGV, SEGV_MAPERR));
        }
        let Some(vma) = state.areas.find(page) else { return Err((SIGSEGV, SEGV_MAPERR)) };
        let allowed = match (fault.write, fault.fetch) {
            (true, _) => vma.prot.write,
            (_, true) => vma.prot.exec,
            _ => vma.readable(),
        };
        if !allowed {
            return Err((SIGSEGV, SEGV_ACCERR));
        }
        if let Ok((part, offset)) = vma.file_offset(page)
            && offset >= part.map.size()
        {
            return Err((SIGBUS, BUS_ADRERR));
        }
        if fault.signo == SIGBUS {
            return Err((SIGBUS, BUS_ADRERR));
        }
        if fault.write && vma.copies_on_write() {
            return self.own(&mut state, page).map_err(|_| (SIGBUS, BUS_ADRERR));
        }
        if let Some(ops) = self.grow(page) {
            return self.apply_later(&ops, ()).map_err(|_| (SIGBUS, BUS_ADRERR));
        }
        // The file has grown, or another thread has changed the mapping meanwhile.
        let (mut ops, vma) = (Vec::new(), vma.clone());
        self.emit(&mut state, &vma, &mut ops, chitin_platform::Populate::Lazy);
        self.apply_later(&ops, ()).map_err(|_| (SIGBUS, BUS_ADRERR))
    }
}

impl Drop for Mm {
    fn drop(&mut self) {
        if self.become_twin() {
            return;
        }
        let mut areas = std::mem::take(&mut self.state.get_mut().areas);
        if self.memory.is_limited() && self.space.clear().is_ok() {
            areas = Areas::default();
        }
        twin::retire(&*self.space, areas);
    }
}
