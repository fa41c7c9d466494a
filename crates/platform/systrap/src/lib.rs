//! The systrap platform: guest code runs natively in stub processes, whose system
//! calls a seccomp filter turns into `SIGSYS` (DESIGN §4).
//!
//! * [`Systrap`] is the platform: zygote, pool of reply descriptors, reaper.
//! * `Control` is the memory shared with stubs: request blocks and thread areas.
//! * `Stub` is a stub process with its mapper; `Space` the address space over it.
//! * `Thread` is a guest thread's host side; [`Workers`] wait for their events.
//!
//! Nothing a stub can write is trusted: words are read once and checked; nonsense
//! kills that stub alone.
//!
//! Locks, innermost last: stub table, mapper of a stub, what it is to do later, descriptor
//! pool, slots.

mod cleaner;
mod context;
mod control;
mod cpuid;
mod decode;
mod frame;
#[allow(dead_code)]
#[path = "../../../stub/layout.rs"]
mod layout;
mod parker;
mod patch;
mod publish;
mod space;
mod stub;
mod sys;
mod vdso;
mod watchdog;
mod zygote;

pub use parker::Workers;

use chitin_platform::{
    AddressSpace, FileHandle, Patch, Platform, PlatformError, RegisteredFile, Room, Trapping,
};
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use zygote::Zygote;

/// Lowest address of a guest; the host reserves what is below (`vm.mmap_min_addr`).
const GUEST_START: u64 = 0x1_0000;

/// The platform.
pub struct Systrap {
    zygote: Arc<Zygote>,
    workers: Arc<Workers>,
    cpuid: cpuid::Known,
    /// `cpuid` can be made to trap.
    cpuid_traps: bool,
}

impl Systrap {
    /// Starts the zygote over this memory file. To be called by a process with a
    /// single thread before it is confined; that thread must live as long as the
    /// sandbox.
    pub fn new(memory: BorrowedFd<'_>, workers: usize) -> std::io::Result<Arc<Self>> {
        sys::require_fsgsbase()?;
        let zygote = Zygote::start(memory)?;
        let cpuid = cpuid::Known::new(&zygote.control);
        let workers = Workers::new(workers, &zygote);
        Ok(Arc::new(Self { zygote, workers, cpuid, cpuid_traps: sys::can_trap_cpuid() }))
    }

    /// Starts the threads and settles the frame layout; after confinement or before.
    pub fn start(self: &Arc<Self>) -> Result<(), PlatformError> {
        zygote::spawn_reaper(self.zygote.clone());
        watchdog::spawn();
        self.zygote.set_up()?;
        space::Space::calibrate(&self.zygote, &self.workers)?;
        if sys::cpus().len() > 1 {
            self.zygote.cleaner.start(&self.zygote);
        }
        Ok(())
    }

    /// How the executor's workers sleep.
    #[must_use]
    pub fn workers(&self) -> Arc<Workers> {
        self.workers.clone()
    }
}

impl Platform for Systrap {
    fn name(&self) -> &'static str {
        "systrap"
    }

    fn user_range(&self) -> Range<u64> {
        GUEST_START..layout::GUEST_END
    }

    fn new_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(space::Space::new(&self.zygote, &self.workers)?)
    }

    fn register_file(&self, fd: BorrowedFd<'_>) -> Result<FileHandle, PlatformError> {
        let number = self.zygote.give(&[fd])?.first().copied();
        let number = number.ok_or(PlatformError::Exhausted)?;
        Ok(Arc::new(StubFile { number, zygote: self.zygote.clone() }))
    }

    fn vdso(&self) -> Option<&'static [u8]> {
        Some(vdso::IMAGE)
    }

    fn changes(&self) -> Option<&'static AtomicU64> {
        Some(self.zygote.changes())
    }

    fn patch(
        &self,
        what: Trapping,
        page: &[u8],
        at: u64,
        distance: u64,
        room: &mut Room,
    ) -> Option<Patch> {
        patch::plan(what, page, at, distance, room)
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
        Some(self.cpuid.get(leaf, subleaf))
    }

    fn cpuid_traps(&self) -> bool {
        self.cpuid_traps
    }

    fn sites(&self, what: Trapping, function: &[u8]) -> Vec<usize> {
        if what == Trapping::Cpuid {
            self.cpuid.ask_usual();
        }
        decode::sites(what, function)
    }
}

/// A host file in the descriptor table of the stubs.
struct StubFile {
    number: i32,
    zygote: Arc<Zygote>,
}

impl std::fmt::Debug for StubFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StubFile({})", self.number)
    }
}

impl RegisteredFile for StubFile {
    fn key(&self) -> u64 {
        self.number as u64
    }
}

impl Drop for StubFile {
    fn drop(&mut self) {
        self.zygote.close(self.number);
    }
}

/// An eventfd of ours and its number in the stubs.
struct Reply {
    ours: OwnedFd,
    theirs: i32,
}
