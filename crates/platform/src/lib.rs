//! How guest code is run and stopped.
//!
//! [`Platform`] hides the mechanism (seccomp traps in stub processes, `ptrace`,
//! a virtual machine) from the kernel. The kernel sees three things:
//!
//! * an [`AddressSpace`], changed by **batches** of [`MapOp`];
//! * a [`Context`], one per guest thread, which is resumed and comes back with an
//!   [`Exit`] reason; between exits its registers belong to the kernel;
//! * a [`Kicker`], by which anybody stops a running context.
//!
//! Guest memory is one memory file per sandbox, created by the kernel's
//! `usermem` and known to the platform from its construction; mappings name
//! offsets into it, or host files registered by [`Platform::register_file`].
//!
//! Nothing read from a guest is trusted: a context whose shared state makes no
//! sense yields [`Exit::Killed`], never a panic.

mod patch;
mod regs;

pub mod fake;

pub use patch::{Patch, ROOM_LEN, Room, Trapping};
pub use regs::Regs;

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context as TaskContext, Poll};

/// Page size of the guest, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// Memory protection of a mapping (`PROT_READ`, `PROT_WRITE`, `PROT_EXEC`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Prot {
    /// Loads are allowed.
    pub read: bool,
    /// Stores are allowed.
    pub write: bool,
    /// Instruction fetches are allowed.
    pub exec: bool,
}

impl Prot {
    /// No access.
    pub const NONE: Self = Self { read: false, write: false, exec: false };
    /// Read only.
    pub const R: Self = Self { read: true, write: false, exec: false };
    /// Read and write.
    pub const RW: Self = Self { read: true, write: true, exec: false };
    /// Read and execute.
    pub const RX: Self = Self { read: true, write: false, exec: true };
}

/// A host file made known to the platform; the platform forgets it on drop of
/// the last clone.
pub type FileHandle = Arc<dyn RegisteredFile>;

/// See [`Platform::register_file`].
pub trait RegisteredFile: Send + Sync + fmt::Debug {
    /// Descriptor number (or other key) private to the platform.
    fn key(&self) -> u64;
}

/// What stands behind a mapping.
#[derive(Clone, Debug)]
pub enum Backing {
    /// The sandbox's memory file, shared, from this byte offset on.
    Memory(u64),
    /// A registered host file, from this byte offset on. Mapped `MAP_SHARED` if
    /// `shared`, else `MAP_PRIVATE`; never mapped writable when private: the
    /// kernel moves written private pages to the memory file itself.
    File {
        /// The file.
        file: FileHandle,
        /// Byte offset, a multiple of the page size.
        offset: u64,
        /// `MAP_SHARED` (true) or `MAP_PRIVATE`.
        shared: bool,
    },
}

/// Whether the pages of a new mapping are touched at once (`MAP_POPULATE`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Populate {
    /// Demand paging.
    #[default]
    Lazy,
    /// The pages are certain to be touched and exist already.
    Now,
}

/// One change of an address space. All addresses and lengths are multiples of
/// the page size and inside [`Platform::user_range`].
#[derive(Clone, Debug)]
pub enum MapOp {
    /// Maps `len` bytes at `addr`, replacing what was there.
    Map {
        /// First address.
        addr: u64,
        /// Length in bytes.
        len: u64,
        /// Protection.
        prot: Prot,
        /// Source of the pages.
        backing: Backing,
        /// Touch now or on demand.
        populate: Populate,
    },
    /// Removes mappings.
    Unmap {
        /// First address.
        addr: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Changes the protection of mapped pages.
    Protect {
        /// First address.
        addr: u64,
        /// Length in bytes.
        len: u64,
        /// New protection.
        prot: Prot,
    },
    /// Touches writable pages that are certain to be used soon; a hint.
    Touch {
        /// First address.
        addr: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Lets pages of a mapping of memory be huge ones, where addresses and offsets agree; a hint.
    Huge {
        /// First address.
        addr: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Moves `len` bytes of mappings from `from` to `to`, replacing what was there.
    Move {
        /// Old first address.
        from: u64,
        /// New first address.
        to: u64,
        /// Length in bytes.
        len: u64,
    },
}

/// Why a host-side operation of the platform failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlatformError {
    /// The guest process behind this address space is dead.
    Dead,
    /// The host is out of memory, mappings, processes or threads (`ENOMEM`, `EAGAIN`).
    Exhausted,
    /// The host refused with this errno, which the kernel did not expect.
    Host(i32),
}

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dead => write!(f, "the guest process is dead"),
            Self::Exhausted => write!(f, "the host is out of memory, mappings or processes"),
            Self::Host(e) => write!(f, "the host refused a mapping or process call with errno {e}"),
        }
    }
}

impl std::error::Error for PlatformError {}

/// Why a context came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// A system call: `orig_rax` holds the number, `rax` is -ENOSYS as under
    /// `ptrace(2)`, `rip` is behind the instruction. `rcx` and `r11` are as the
    /// `syscall` instruction leaves them.
    Syscall,
    /// A 32-bit (`int $0x80`) or otherwise foreign system call entry.
    ForeignSyscall,
    /// A memory access failed (`SIGSEGV` or `SIGBUS` of the host).
    Fault(Fault),
    /// Another synchronous exception, to be delivered as `signo` with `code`.
    Exception {
        /// `SIGILL`, `SIGFPE`, `SIGTRAP`, …
        signo: i32,
        /// `si_code`.
        code: i32,
        /// `si_addr`.
        addr: u64,
        /// Hardware trap number (`REG_TRAPNO`).
        trapno: u64,
        /// Hardware error code (`REG_ERR`).
        error: u64,
    },
    /// Stopped by [`Kicker::kick`]; nothing happened.
    Interrupted,
    /// The platform had to kill the guest process, or found it dead.
    Killed(KillReason),
}

/// A failed memory access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Faulting address (`si_addr`).
    pub addr: u64,
    /// The access was a store.
    pub write: bool,
    /// The access was an instruction fetch.
    pub fetch: bool,
    /// `SIGSEGV` or `SIGBUS`.
    pub signo: i32,
    /// `si_code` as the host gave it (`SEGV_MAPERR`, `SEGV_ACCERR`, `SI_KERNEL`, …).
    pub code: i32,
    /// Hardware trap number (`REG_TRAPNO`); 13 is a general protection fault, whose
    /// address is meaningless.
    pub trapno: u64,
    /// Hardware error code (`REG_ERR`).
    pub error: u64,
}

/// Why the platform killed a guest process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KillReason {
    /// Shared state that the stub can write made no sense.
    Hostile(&'static str),
    /// The host killed it (out of memory, or a signal from outside).
    Host {
        /// Signal that ended the stub, if known.
        signo: i32,
    },
    /// It did not answer a kick in time.
    Unresponsive,
}

/// One way of running guest code.
pub trait Platform: Send + Sync + 'static {
    /// Name as `--platform` takes it.
    fn name(&self) -> &'static str;

    /// Addresses that the guest may use.
    fn user_range(&self) -> Range<u64>;

    /// Makes an empty address space (taken from a pool where there is one).
    fn new_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError>;

    /// Makes a host file mappable. `fd` is duplicated as needed; the caller may
    /// close its own.
    fn register_file(&self, fd: BorrowedFd<'_>) -> Result<FileHandle, PlatformError>;

    /// The guest's vDSO (`vdso(7)`), an ELF image for the kernel to map anywhere, if time
    /// is served without a trap.
    fn vdso(&self) -> Option<&'static [u8]> {
        None
    }

    /// The word that counts changes of files and names where the platform gives published
    /// answers: they are valid while it has the value that they were published with.
    fn changes(&self) -> Option<&'static AtomicU64> {
        None
    }

    /// Plans how an instruction that would trap is replaced. `page` is the page that it begins
    /// in, `at` its byte offset there, and `distance` how many bytes it is behind the beginning of the
    /// room for trampolines. `None` where that cannot be.
    fn patch(
        &self,
        _what: Trapping,
        _page: &[u8],
        _at: u64,
        _distance: u64,
        _room: &mut Room,
    ) -> Option<Patch> {
        None
    }

    /// What `cpuid` tells guests: eax, ebx, ecx, edx for a leaf and subleaf. `None` if it
    /// always runs as it is.
    fn cpuid(&self, _leaf: u32, _subleaf: u32) -> Option<[u32; 4]> {
        None
    }

    /// Whether it can be made to trap ([`Context::trap_cpuid`]). Elsewhere it runs as it is
    /// where no patch is.
    fn cpuid_traps(&self) -> bool {
        false
    }

    /// Byte offsets of the instructions of a kind in a function that begins with the first
    /// byte; those that are known for sure.
    fn sites(&self, _what: Trapping, _function: &[u8]) -> Vec<usize> {
        Vec::new()
    }
}

/// The memory of one guest process.
pub trait AddressSpace: Send + Sync {
    /// Applies `ops` in order and returns when all have been done. On an error an
    /// unknown prefix has been applied.
    fn apply(&self, ops: &[MapOp]) -> Result<(), PlatformError>;

    /// The same for a change that no guest code needs before the context goes on whose call
    /// makes it: it may be applied as late as that, or with the next change. `held` is
    /// dropped when it has been. If it fails then, the process is killed.
    fn apply_later(&self, ops: &[MapOp], held: Box<dyn Any + Send>) -> Result<(), PlatformError> {
        let result = self.apply(ops);
        drop(held);
        result
    }

    /// Makes a copy of this address space with the same mappings (all of them
    /// shared with the original: the caller remaps what must be private), and
    /// no contexts.
    fn fork(&self) -> Result<Arc<dyn AddressSpace>, PlatformError>;

    /// Removes every mapping of the guest (`execve`). No context may be running.
    fn clear(&self) -> Result<(), PlatformError>;

    /// Makes a context for a new guest thread of this address space.
    fn new_context(self: Arc<Self>) -> Result<Box<dyn Context>, PlatformError>;

    /// Has this address space serve another process, with the mappings that it has: its CPU
    /// time begins anew, and its published answers are gone. False if it cannot. No context of
    /// it may exist. Who ran in it before may still do, so the two must be allowed to do to
    /// each other what they like.
    fn renew(&self) -> bool {
        false
    }

    /// The process has ended, and no context of it exists any more: drops `memory` when
    /// nothing of this address space is mapped any more, now or later. The platform may use
    /// the host process again.
    fn retire(&self, memory: Box<dyn Any + Send>);

    /// Where answers are published for its process; `None` where that cannot be.
    fn answers(&self) -> Option<Arc<dyn Answers>> {
        None
    }

    /// Kills all host threads of this address space at once; its contexts come
    /// back with [`Exit::Killed`]. Dropping the last reference does the same.
    fn kill(&self);

    /// Host CPU time consumed by this guest process in user mode, in
    /// nanoseconds, if the platform can tell.
    fn cpu_time(&self) -> Option<u64> {
        None
    }

    /// How much of [`AddressSpace::cpu_time`] the host's kernel took, by the host's ticks.
    fn system_time(&self) -> Option<u64> {
        None
    }
}

/// A guest thread as the platform sees it. Dropping it ends or recycles the
/// host thread.
pub trait Context: Send {
    /// Runs the guest until its next exit. Ready immediately with
    /// [`Exit::Interrupted`] if a kick is pending.
    ///
    /// The first poll resumes the guest with [`Context::regs`]; the waker is called
    /// once when the guest has stopped. The future that polls this must not be
    /// dropped while the guest runs, except to kill the process.
    fn poll_run(&mut self, cx: &mut TaskContext<'_>) -> Poll<Exit>;

    /// Registers at the user boundary: those of the guest after an exit, those to
    /// resume with before the next run.
    fn regs(&mut self) -> &mut Regs;

    /// Number and arguments of the current system call, without the other registers.
    fn call(&mut self) -> (u64, [u64; 6]) {
        let regs = self.regs();
        (regs.orig_rax, regs.syscall_args())
    }

    /// The result of the current system call, the same as storing it in `rax`.
    fn set_result(&mut self, value: u64) {
        self.regs().rax = value;
    }

    /// Says that the current system call is going to wait, so that the host thread
    /// sleeps and does not spin for the reply.
    fn park(&mut self) {}

    /// The vector and floating-point state in the format of the `XSAVE` area that
    /// a signal frame holds (with the legacy region's `sw_reserved` describing
    /// it). May cost an additional trap.
    fn fp_state(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Vec<u8>, PlatformError>>;

    /// Replaces that state, sanitised; an empty slice means the initial state, as
    /// after `execve(2)`. Returns an error if the format is not acceptable.
    fn set_fp_state(&mut self, state: &[u8]) -> Result<(), PlatformError>;

    /// Makes `cpuid` trap ([`Platform::cpuid`]; a general protection fault at it) from the
    /// next run on, or no longer. A hint.
    fn trap_cpuid(&mut self, _traps: Cpuid) {}

    /// A handle to stop this context from elsewhere.
    fn kicker(&self) -> Arc<dyn Kicker>;

    /// Whether the last system call came by a patched site or a trap, for `--stats`.
    fn entry(&self) -> Entry {
        Entry::Trap
    }
}

/// What the `cpuid` instruction does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cpuid {
    /// It traps.
    Traps,
    /// The CPU answers.
    Runs,
}

/// How a system call reached the sentry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Through a hardware or seccomp trap.
    Trap,
    /// Through a patched call site.
    Patched,
}

/// Stops a context.
pub trait Kicker: Send + Sync {
    /// Makes a running context exit soon with [`Exit::Interrupted`] (or another
    /// reason, if that came first). If the context is not running, its next run
    /// returns at once. Kicks do not add up.
    fn kick(&self);

    /// Tells the answer of a call that the platform may then give without asking;
    /// `None` takes it back. Platforms that always ask ignore it.
    fn publish(&self, _call: LocalCall, _answer: Option<u32>) {}

    /// Says by which view this thread may have published answers; 0: by none.
    fn set_view(&self, _view: u64) {}

    /// The mask of blocked signals as the thread has it, if the platform changes it without
    /// asking ([`LocalCall::Sigprocmask`]); anything else may be in it.
    fn mask(&self) -> Option<u64> {
        None
    }

    /// Sets it; the context is not running.
    fn set_mask(&self, _mask: u64) {}

    /// Says whether signals are pending: then the platform asks. To be said before
    /// [`Kicker::mask`] is looked at.
    fn set_pending(&self, _whose: Whose, _pending: bool) {}

    /// What the thread has set by `set_tid_address(2)` and `set_robust_list(2)`, if the platform
    /// answers these without asking ([`LocalCall::Futex`]); anything else may be in it.
    fn exit_words(&self) -> Option<[u64; 2]> {
        None
    }

    /// Sets it; the context is not running.
    fn set_exit_words(&self, _words: [u64; 2]) {}

    /// How many calls were answered that way.
    fn answered(&self) -> u64 {
        0
    }
}

/// Who has pending signals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// The thread.
    Thread = 1,
    /// Its process.
    Process = 2,
}

/// For how long and for whom a published answer is good.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// View of the threads that may have it.
    pub view: u64,
    /// What [`Platform::changes`] was before anything was looked at.
    pub changes: u64,
    /// Nanoseconds of the host's `CLOCK_MONOTONIC` until which it is good; `None`: as long
    /// as nothing changes.
    pub until: Option<u64>,
}

/// A question about a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathAsk {
    /// `stat(2)`.
    Stat,
    /// `lstat(2)`.
    Lstat,
    /// `access(2)` with this mode, at most 7.
    Access(u32),
    /// `readlink(2)` with room for a target, if it fails.
    Readlink,
}

/// Answers that the platform gives without asking, to threads with the right view. They can
/// be read by the process, and written by the sentry only. Platforms may forget them.
pub trait Answers: Send + Sync {
    /// How many descriptors can have one.
    fn files(&self) -> usize;

    /// Longest path that can have one, in bytes.
    fn path_max(&self) -> usize;

    /// `fstat(2)` of a descriptor: a `struct stat`.
    fn put_file(&self, fd: usize, stamp: Stamp, stat: &[u8]);

    /// Takes that answer back: it is not given any more when this returns.
    fn drop_file(&self, fd: usize);

    /// The result of a question about a path relative to the working directory: 0 or a
    /// negated errno; with a `struct stat` where that belongs to it.
    fn put_path(&self, ask: PathAsk, path: &[u8], stamp: Stamp, result: i32, stat: &[u8]);

    /// A thread is going to wait for the word of memory at this address: to be called
    /// before it looks at the word. Who wakes it while nobody waits need not ask.
    fn waits(&self, addr: u64);

    /// It waits no more.
    fn waits_no_more(&self, addr: u64);

    /// Wipes all answers.
    fn clear(&self);
}

/// Calls whose answer is the caller's own affair and changes rarely.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum LocalCall {
    SchedYield = 1,
    Getpid,
    Gettid,
    Getppid,
    Getuid,
    Geteuid,
    Getgid,
    Getegid,
    Getpgrp,
    /// Waiting threads are counted ([`Answers::waits`]).
    Futex,
    /// The mask is kept by the platform ([`Kicker::mask`]).
    Sigprocmask,
}
