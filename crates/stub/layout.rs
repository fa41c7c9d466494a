//! Layout of a stub process: addresses, and the fields of the pages it shares with
//! the sentry. A module of the stub and of the systrap platform, so that there is
//! one truth.

/// End of the addresses a guest may use.
pub const GUEST_END: u64 = 0x7fff_0000_0000;
/// Link address of the stub image.
pub const STUB_TEXT: u64 = 0x7fff_8000_0000;
/// The request block, read-only in the stub.
pub const REQUEST: u64 = 0x7fff_9000_0000;
/// Length of a request block in bytes.
pub const REQUEST_LEN: u64 = 0x4000;
/// Scratch memory of the zygote, which runs no guest code.
pub const SCRATCH: u64 = 0x7fff_9100_0000;
/// u64 in the scratch memory: address of the host's vDSO (`AT_SYSINFO_EHDR`).
pub const SCRATCH_VDSO: u64 = 0;
/// u64 in the scratch memory: initial stack pointer of the zygote.
pub const SCRATCH_STACK: u64 = 8;
/// Length of the scratch memory in bytes.
pub const SCRATCH_LEN: u64 = 0x10000;
/// A page that is read-only in every stub: u64 each, addresses of functions of the host's
/// vDSO by the indices below; 0 where it has none.
pub const VDSO_TABLE: u64 = 0x7fff_9200_0000;
/// Its offset in the control file, in memory of the zygote.
pub const VDSO_TABLE_AT: u64 = REQUEST_LEN + SCRATCH_LEN;
/// Its length in bytes.
pub const VDSO_TABLE_LEN: u64 = 0x1000;
/// On the same page, u64: counts changes of files and names; the generation that published
/// answers are valid for.
pub const CHANGES: u64 = VDSO_TABLE + CHANGES_AT;
/// Its byte offset in the page.
pub const CHANGES_AT: u64 = 0x80;
/// Index of `__vdso_clock_gettime`.
pub const VDSO_CLOCK_GETTIME: u64 = 0;
/// Index of `__vdso_clock_getres`.
pub const VDSO_CLOCK_GETRES: u64 = 1;
/// Index of `__vdso_gettimeofday`.
pub const VDSO_GETTIMEOFDAY: u64 = 2;
/// Index of `__vdso_time`.
pub const VDSO_TIME: u64 = 3;
/// What is known of `cpuid`, behind the addresses on the same page: entries of
/// `CPUID_ENTRY` bytes, the end is an entry of kind 0. Fields: u32 leaf, u32 kind (CPUID_*),
/// u32 subleaf, u32 unused, u32 each eax, ebx, ecx, edx.
pub const CPUID_TABLE: u64 = VDSO_TABLE + 0x100;
/// Length of an entry in bytes.
pub const CPUID_ENTRY: u64 = 32;
/// Most entries, without the end.
pub const CPUID_ENTRIES: u64 = (VDSO_TABLE_LEN - 0x100) / CPUID_ENTRY - 1;
/// Kind of an entry that is right for any subleaf.
pub const CPUID_ANY: u32 = 1;
/// Kind of an entry that is right for its subleaf only.
pub const CPUID_EXACT: u32 = 2;
/// Thread areas: one for each guest thread, readable and writable in its stub only.
pub const AREAS: u64 = 0x7fff_a000_0000;
/// Length and alignment of a thread area. The filter of guest threads knows the first
/// address, alignment and total length of the areas.
pub const AREA_LEN: u64 = 0x10000;
/// Most threads of a stub.
pub const MAX_AREAS: u64 = 4096;

// Behind a request block, up to the end of its slot, lie the published answers of the
// process: an entry each for the first descriptors, and a table of paths by their hash.
/// Bytes from the beginning of a request block to the end of its slot.
pub const REQUEST_SPAN: u64 = AREA_LEN;
/// Byte offset of the entries of descriptors.
pub const FILES_AT: u64 = REQUEST_LEN;
/// How many.
pub const FILES: u64 = 64;
/// Length of one in bytes.
pub const FILE_LEN: u64 = 192;
/// Byte offset of u32 each: how many threads wait for the words of memory with this hash of
/// their address (`futex(2)`).
pub const WAITERS_AT: u64 = 0x7000;
/// Binary logarithm of how many.
pub const WAITERS_BITS: u64 = 10;
/// Factor of the hash of an address.
pub const WAITERS_FACTOR: u64 = 0x9e37_79b1;
/// Index in AREA_LOCALS of what says that the stub may change the mask of blocked signals.
pub const LOCAL_SIGMASK: u64 = 11;
/// Signals that cannot be blocked: `SIGKILL`, `SIGSTOP`.
pub const UNBLOCKABLE: u64 = 1 << 8 | 1 << 18;
/// Index in AREA_LOCALS of the thread's number.
pub const LOCAL_GETTID: u64 = 3;
/// Index in AREA_LOCALS of what says that they are counted.
pub const LOCAL_FUTEX: u64 = 10;
/// Byte offset of the entries of paths.
pub const PATHS_AT: u64 = 0x8000;
/// Binary logarithm of how many.
pub const PATHS_BITS: u64 = 7;
/// Length of one in bytes.
pub const PATH_LEN: u64 = 256;
/// Factor of the hash of a path.
pub const HASH_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// u32: odd while the entry changes.
pub const ENTRY_SEQ: u64 = 0;
/// u32: question that is answered (ASK_*).
pub const ENTRY_KIND: u64 = 4;
/// u64: view of the threads it is for.
pub const ENTRY_VIEW: u64 = 8;
/// u64: value of the changes that it is valid for.
pub const ENTRY_CHANGES: u64 = 16;
/// u64: time stamp counter from which on it is valid.
pub const ENTRY_SINCE: u64 = 24;
/// u64: for how long; all ones: no end.
pub const ENTRY_WINDOW: u64 = 32;
/// i64: result of the call.
pub const ENTRY_RESULT: u64 = 40;
/// `struct stat`.
pub const ENTRY_STAT: u64 = 48;
/// Its length in bytes.
pub const STAT_LEN: u64 = 144;
/// The path, padded with zeroes.
pub const ENTRY_PATH: u64 = 192;
/// Most bytes of a path, the zero at its end included.
pub const PATH_MAX: u64 = 64;
/// `stat(2)` of a path.
pub const ASK_STAT: u64 = 1;
/// `lstat(2)`.
pub const ASK_LSTAT: u64 = 2;
/// `access(2)`, plus the mode.
pub const ASK_ACCESS: u64 = 16;
/// `readlink(2)` that fails. Answers from `ASK_ACCESS` on are a result only.
pub const ASK_READLINK: u64 = 24;

// Request block.
/// u32: number of the request; the mapper's futex word.
pub const REQ_SEQ: u64 = 0;
/// u32: how many operations.
pub const REQ_COUNT: u64 = 4;
/// u32: descriptor of the eventfd to reply to.
pub const REQ_REPLY_FD: u64 = 8;
/// u64: address of the area of the thread that goes on when the batch has been done; 0 for
/// none.
pub const REQ_CHAIN: u64 = 16;
/// The operations, OP_LEN bytes each.
pub const REQ_OPS: u64 = 64;
/// Length of an operation: number, six arguments, kind; u64 each.
pub const OP_LEN: u64 = 64;
/// Most operations of one request.
pub const MAX_OPS: u64 = (REQUEST_LEN - REQ_OPS) / OP_LEN;

/// A system call, the batch ends at an error.
pub const OP_CALL: u64 = 0;
/// `clone` of a guest thread, whose area is the fifth argument; the result is the thread
/// number.
pub const OP_THREAD: u64 = 1;
/// `clone` of a stub, whose request block is at the offset in the control file that the
/// fifth argument is; the sixth is the sentry's process number (`clone` takes five); the
/// result is the process number.
pub const OP_FORK: u64 = 2;
/// A system call whose result is of interest; must be the last of its batch.
pub const OP_RESULT: u64 = 3;
/// A system call whose failure does not matter.
pub const OP_HINT: u64 = 4;

/// Bit of a reply that says the request is done; below it is the result's low
/// 32 bits.
pub const REPLY_DONE_SHIFT: u64 = 40;

// Thread area. Line 0 is all that an ordinary call through a trampoline and its answer move
// between the CPUs of guest and sentry.
/// u32: state word, the futex both sides wait on.
pub const AREA_STATE: u64 = 0;
/// u32: how the thread stopped (HOW_*), and how it is to go on (REPLY_*).
pub const AREA_HOW: u64 = 4;
/// u64: number of the call, then its result.
pub const AREA_RAX: u64 = 8;
/// u64: the arguments, in order: rdi, rsi, rdx, r10, r8, r9.
pub const AREA_ARGS: u64 = 16;
/// u64: rbx, rbp, rsp, r12, r13, r14, r15.
pub const AREA_REST: u64 = 64;
/// u64: where the trampoline goes on.
pub const AREA_AFTER: u64 = 120;
/// u16: low byte 1 if the overflow flag is set, high byte as `lahf` has it.
pub const AREA_FLAGS: u64 = 128;
/// u32: a kick came before the trampoline looked.
pub const AREA_KICKED: u64 = 132;
/// u64: address behind the return address of the signal frame (rt_sigreturn's rsp).
pub const AREA_FRAME: u64 = 136;
/// u64: fs base.
pub const AREA_FSBASE: u64 = 144;
/// u64: gs base; the area's own address while the guest has not set one.
pub const AREA_GSBASE: u64 = 152;
/// u32: how often the stub looks for the answer before it sleeps.
pub const AREA_SPIN: u64 = 160;
/// u32: the futex that the stub sleeps on, 0 until it is to go on: set by the sentry, or by
/// the mapper of a batch that comes before. The filter of guest threads knows it.
pub const AREA_PARK: u64 = 164;
/// u64: where the vector state is kept when the sentry asks for it, in `XSAVE` format.
pub const AREA_VECTOR: u64 = 176;
/// u64: its components.
pub const AREA_COMPONENTS: u64 = 184;
/// u32: whether `cpuid` is to trap from the next return from a frame on (CPUID_TRAPS,
/// CPUID_RUNS); 0 leaves it as it is.
pub const AREA_CPUID: u64 = 192;
/// It traps.
pub const CPUID_TRAPS: u32 = 1;
/// It does not.
pub const CPUID_RUNS: u32 = 2;
/// u64: calls that were answered from AREA_LOCALS.
pub const AREA_LOCAL_COUNT: u64 = 168;
/// u64: the view by which published answers are for this thread; 0 if none are.
pub const AREA_VIEW: u64 = 200;
/// u64: the mask of blocked signals, which the stub changes itself while AREA_PENDING is 0.
pub const AREA_MASK: u64 = 208;
/// u64: what it was before a change that can still be taken back.
pub const AREA_OLD_MASK: u64 = 216;
/// u32: bits of what is pending: a signal of the thread (1), of its process (2).
pub const AREA_PENDING: u64 = 224;
/// u64 each: what `set_tid_address` and `set_robust_list` were told.
pub const AREA_EXIT_WORDS: u64 = 232;
/// u64 each: answers that need no sentry, by the index that `local_index` gives a call; bit 63
/// says that there is one. Index 0 has none.
pub const AREA_LOCALS: u64 = 256;
/// How many.
pub const LOCALS: u64 = 16;
/// Where the sentry builds the first frame of a thread.
pub const AREA_FIRST_FRAME: u64 = 0x1000;
/// Where the alternate signal stack begins; it ends with the area.
pub const AREA_ALTSTACK: u64 = 0x4000;

/// The stub has stopped and looks for the answer.
pub const STATE_EVENT: u32 = 1;
/// The stub runs, or may go on.
pub const STATE_RESUME: u32 = 2;
/// The same, and the sentry sleeps: wake it.
pub const STATE_ASLEEP: u32 = 3;
/// The stub has stopped and sleeps: wake it.
pub const STATE_PARKED: u32 = 4;

/// Stopped by a signal: the frame tells.
pub const HOW_FRAME: u32 = 0;
/// Stopped in a trampoline: the area tells.
pub const HOW_CALL: u32 = 1;

/// Go on behind the call; only the result has changed.
pub const REPLY_RESULT: u32 = 2;
/// Go on with the registers of the area.
pub const REPLY_ALL: u32 = 3;
/// Trap, for a frame with everything in it.
pub const REPLY_TRAP: u32 = 4;
/// Store the vector state and stop again.
pub const REPLY_SAVE: u32 = 5;
/// Go on with the registers of the area and the vector state there.
pub const REPLY_VECTOR: u32 = 6;
/// Bit beside one of these: first the mapper does the batch in the request block.
pub const REPLY_GATED: u32 = 0x100;

/// The signal of a kick (`SIGUSR1`).
pub const SIGNAL_KICK: u32 = 10;

// Descriptors of the zygote, and so of all stubs.
/// The control file.
pub const FD_CONTROL: u64 = 3;
/// The sandbox's memory file.
pub const FD_MEMORY: u64 = 4;
/// Where descriptors arrive.
pub const FD_SOCKET: u64 = 5;
/// The zygote's reply eventfd.
pub const FD_REPLY: u64 = 6;
