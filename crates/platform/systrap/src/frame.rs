//! The signal frame of a stopped guest thread (`rt_sigframe` of x86-64 Linux), as it
//! lies in the thread's area. Everything read here is the guest's word.

use crate::control::Block;
use crate::layout::*;
use crate::zygote::TRAPPED;
use chitin_platform::{Exit, Fault, KillReason, PlatformError, Regs};
use std::sync::atomic::Ordering;

/// Signals that stop a guest thread; the last one is the kick.
pub(crate) const SIGNALS: [i32; 7] =
    [libc::SIGSYS, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, KICK];
/// The signal of a kick.
pub(crate) const KICK: i32 = crate::layout::SIGNAL_KICK as i32;

const UC_FLAGS: u64 = 8;
const GREGS: u64 = 48;
const FPSTATE: u64 = GREGS + 184;
const SIGMASK: u64 = 304;
const SIGINFO: u64 = 312;
const CS_GS_FS_SS: u64 = 0x002b_0000_0000_0033;
const ARCH_X86_64: u64 = 0xc000_003e;
/// Flags that a guest may set in eflags, as `ptrace(2)` lets through.
const EFLAGS: u64 = 0x0024_4dd5;
const SW_RESERVED: usize = 464;
const XSTATE_HEADER: usize = 512;
const MAGIC1: u32 = 0x4650_5853;

/// Where the host puts frames, the same in every thread area; learnt once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    /// Offset of the frame in the area.
    pub(crate) frame: u64,
    /// Offset of the floating-point state in the area, and its length in bytes.
    pub(crate) fp: u64,
    pub(crate) fp_len: u64,
    /// Components that the state has.
    features: u64,
}

impl Layout {
    /// Learns the layout from the first frame of the first thread, before it has run
    /// guest code.
    pub(crate) fn learn(area: &Block, base: u64, rsp: u64) -> Option<Self> {
        let frame = rsp.checked_sub(8)?.checked_sub(base)?;
        let inside = |at: u64| (AREA_ALTSTACK..AREA_LEN).contains(&at);
        if !inside(frame) || !inside(frame + SIGINFO + 128) {
            return None;
        }
        let fp = area.get(frame + FPSTATE).checked_sub(base).filter(|&at| inside(at + 1024))?;
        let mut sw = [0_u8; 48];
        area.read(fp + SW_RESERVED as u64, &mut sw);
        let word = |i: usize| u32::from_le_bytes([sw[i], sw[i + 1], sw[i + 2], sw[i + 3]]);
        if word(0) != MAGIC1 {
            return None;
        }
        let features = u64::from(word(8)) | u64::from(word(12)) << 32;
        let fp_len = u64::from(word(4));
        inside(fp + fp_len - 1).then_some(Self { frame, fp, fp_len, features })
    }

    /// Tells an area where its stub stores the vector state, and which components.
    pub(crate) fn announce(&self, area: &Block, base: u64) {
        area.set(AREA_VECTOR, base + self.fp);
        area.set(AREA_COMPONENTS, self.features);
    }
}

/// A BPF instruction as the word that the host reads.
pub(crate) fn instruction(f: &libc::sock_filter) -> u64 {
    u64::from(f.code) | u64::from(f.jt) << 16 | u64::from(f.jf) << 24 | u64::from(f.k) << 32
}

/// General registers in the order of `gregs`.
fn slots(regs: &mut Regs) -> [&mut u64; 18] {
    [
        &mut regs.r8,
        &mut regs.r9,
        &mut regs.r10,
        &mut regs.r11,
        &mut regs.r12,
        &mut regs.r13,
        &mut regs.r14,
        &mut regs.r15,
        &mut regs.rdi,
        &mut regs.rsi,
        &mut regs.rbp,
        &mut regs.rbx,
        &mut regs.rdx,
        &mut regs.rax,
        &mut regs.rcx,
        &mut regs.rsp,
        &mut regs.rip,
        &mut regs.eflags,
    ]
}

/// Reads the registers of a frame in the area that the stub has at `base`.
pub(crate) fn load(area: &Block, base: u64, frame: u64, regs: &mut Regs) {
    for (i, slot) in slots(regs).into_iter().enumerate() {
        *slot = area.get(frame + GREGS + 8 * i as u64);
    }
    regs.fs_base = area.get(AREA_FSBASE);
    // Ours, while the guest has none.
    regs.gs_base = Some(area.get(AREA_GSBASE)).filter(|&gs| gs != base).unwrap_or(0);
    regs.cs = 0x33;
    regs.ss = 0x2b;
}

/// Writes them, with everything else that decides how the thread goes on.
pub(crate) fn store(area: &Block, base: u64, frame: u64, regs: &Regs) {
    let mut copy = *regs;
    copy.eflags = copy.eflags & EFLAGS | 0x202;
    for (i, slot) in slots(&mut copy).into_iter().enumerate() {
        area.set(frame + GREGS + 8 * i as u64, *slot);
    }
    area.set(frame + GREGS + 8 * 18, CS_GS_FS_SS);
    area.set(frame + SIGMASK, 0);
    area.set(AREA_FSBASE, regs.fs_base);
    area.set(AREA_GSBASE, if regs.gs_base == 0 { base } else { regs.gs_base });
}

/// The registers that a trampoline keeps in the area: arguments first, then the rest.
fn call_slots(regs: &mut Regs) -> [(u64, &mut u64); 14] {
    let (arg, rest) = (|i: u64| AREA_ARGS + 8 * i, |i: u64| AREA_REST + 8 * i);
    [
        (arg(0), &mut regs.rdi),
        (arg(1), &mut regs.rsi),
        (arg(2), &mut regs.rdx),
        (arg(3), &mut regs.r10),
        (arg(4), &mut regs.r8),
        (arg(5), &mut regs.r9),
        (rest(0), &mut regs.rbx),
        (rest(1), &mut regs.rbp),
        (rest(2), &mut regs.rsp),
        (rest(3), &mut regs.r12),
        (rest(4), &mut regs.r13),
        (rest(5), &mut regs.r14),
        (rest(6), &mut regs.r15),
        (AREA_AFTER, &mut regs.rip),
    ]
}

/// Reads the registers of a thread that waits in a trampoline.
pub(crate) fn load_call(area: &Block, regs: &mut Regs) {
    for (at, slot) in call_slots(regs) {
        *slot = area.get(at);
    }
    regs.rax = area.get(AREA_RAX);
    let flags = area.u32(AREA_FLAGS).load(Ordering::Relaxed);
    regs.eflags = u64::from(flags >> 8 & 0xd5 | (flags & 1) << 11 | 0x202);
    regs.rcx = regs.rip;
    regs.r11 = regs.eflags;
    regs.fs_base = area.get(AREA_FSBASE);
    regs.gs_base = 0;
    regs.cs = 0x33;
    regs.ss = 0x2b;
    regs.orig_rax = u64::MAX;
}

/// Writes them, but for those that only a frame can set ([`needs_frame`]).
pub(crate) fn store_call(area: &Block, regs: &Regs) {
    let mut copy = *regs;
    for (at, slot) in call_slots(&mut copy) {
        area.set(at, *slot);
    }
    area.set(AREA_RAX, regs.rax);
    area.set(AREA_FSBASE, regs.fs_base);
}

/// Flags that a trampoline keeps: those of `lahf`, and the overflow flag.
const CALL_FLAGS: u64 = 0x8d5;

/// Whether a trampoline cannot make this change of registers.
pub(crate) fn needs_frame(old: &Regs, new: &Regs) -> bool {
    old.rcx != new.rcx
        || old.r11 != new.r11
        || old.eflags != new.eflags
        || old.gs_base != new.gs_base
}

/// Whether the registers are such as a system call leaves behind, so that a trampoline can
/// make all of them; sets the flags that it is to make then.
pub(crate) fn store_flags(area: &Block, regs: &Regs) -> bool {
    let after_call = regs.rcx == regs.rip && regs.r11 == regs.eflags && regs.gs_base == 0;
    if !after_call || regs.eflags & !CALL_FLAGS != 0x202 {
        return false;
    }
    let flags = (regs.eflags as u32 & 0xd5 | 2) << 8 | regs.eflags as u32 >> 11 & 1;
    area.u32(AREA_FLAGS).store(flags, Ordering::Relaxed);
    true
}

/// Writes an empty frame for a thread that has not run: initial vector state.
/// `altstack` is the `stack_t` of the thread.
pub(crate) fn prepare(area: &Block, frame: u64, altstack: [u64; 3]) {
    // UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS.
    area.set(frame + UC_FLAGS, 7);
    for (i, word) in altstack.into_iter().enumerate() {
        area.set(frame + 24 + 8 * i as u64, word);
    }
    area.set(frame + FPSTATE, 0);
}

/// Whether a thread that was sent to the stub's trap has come to its assigned frame.
pub(crate) fn is_of_trap(area: &Block, layout: &Layout, base: u64) -> bool {
    area.u32(AREA_HOW).load(Ordering::Relaxed) == HOW_FRAME
        && area.get(AREA_FRAME) == base + layout.frame + 8
        && area.get(layout.frame + SIGINFO) as i32 == libc::SIGSYS
        && area.get(layout.frame + GREGS + 8 * 16) == TRAPPED
}

/// Why the thread stopped, by its frame.
pub(crate) fn exit(area: &Block, frame: u64, regs: &mut Regs) -> Exit {
    let info = frame + SIGINFO;
    let (signo, code) = (area.get(info) as i32, area.get(info + 8) as i32);
    let (error, trapno) = (area.get(frame + GREGS + 8 * 19), area.get(frame + GREGS + 8 * 20));
    regs.orig_rax = u64::MAX;
    match signo {
        libc::SIGSYS => {
            if area.get(info + 24) >> 32 != ARCH_X86_64 {
                return Exit::ForeignSyscall;
            }
            regs.orig_rax = regs.rax;
            regs.rax = (-i64::from(libc::ENOSYS)) as u64;
            Exit::Syscall
        }
        libc::SIGSEGV | libc::SIGBUS => Exit::Fault(Fault {
            addr: area.get(info + 16),
            write: error & 2 != 0,
            fetch: error & 16 != 0,
            signo,
            code,
            trapno,
            error,
        }),
        libc::SIGILL | libc::SIGFPE | libc::SIGTRAP => {
            Exit::Exception { signo, code, addr: area.get(info + 16), trapno, error }
        }
        KICK => Exit::Interrupted,
        _ => Exit::Killed(KillReason::Hostile("a signal that cannot have come")),
    }
}

/// The vector state as a signal frame holds it.
pub(crate) fn fp_load(area: &Block, layout: &Layout) -> Vec<u8> {
    let mut state = vec![0; layout.fp_len as usize];
    area.read(layout.fp, &mut state);
    state
}

/// The vector state as the stub stored it, which has only what the CPU writes.
pub(crate) fn fp_saved(area: &Block, layout: &Layout) -> Vec<u8> {
    let mut state = fp_load(area, layout);
    stamp(&mut state, layout);
    state
}

/// Makes all of a state that is not a component's what the host expects.
fn stamp(bytes: &mut [u8], layout: &Layout) {
    let mxcsr = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]) & 0xffff;
    bytes[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    let mut wanted = [0; 8];
    wanted.copy_from_slice(&bytes[XSTATE_HEADER..XSTATE_HEADER + 8]);
    let wanted = u64::from_le_bytes(wanted) & layout.features;
    bytes[XSTATE_HEADER..XSTATE_HEADER + 64].fill(0);
    bytes[XSTATE_HEADER..XSTATE_HEADER + 8].copy_from_slice(&wanted.to_le_bytes());
    let xstate_len = layout.fp_len as u32 - 4;
    let sw = &mut bytes[SW_RESERVED..XSTATE_HEADER];
    sw.fill(0);
    sw[..4].copy_from_slice(&MAGIC1.to_le_bytes());
    sw[4..8].copy_from_slice(&(layout.fp_len as u32).to_le_bytes());
    sw[8..16].copy_from_slice(&layout.features.to_le_bytes());
    sw[16..20].copy_from_slice(&xstate_len.to_le_bytes());
    bytes[xstate_len as usize..].copy_from_slice(&0x4650_5845_u32.to_le_bytes());
}

/// A vector state as it can be set; an empty one is the initial state.
pub(crate) fn fp_image(layout: &Layout, state: &[u8]) -> Result<Vec<u8>, PlatformError> {
    let mut bytes = vec![0_u8; layout.fp_len as usize];
    if state.is_empty() {
        // Initial x87 control word and MXCSR, should a component be asked for.
        bytes[..2].copy_from_slice(&0x37f_u16.to_le_bytes());
        bytes[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
    } else if state.len() == bytes.len() {
        bytes.copy_from_slice(state);
    } else {
        return Err(PlatformError::Host(libc::EINVAL));
    }
    stamp(&mut bytes, layout);
    Ok(bytes)
}

/// Replaces the vector state.
pub(crate) fn fp_store(
    area: &Block,
    frame: u64,
    base: u64,
    layout: &Layout,
    state: &[u8],
) -> Result<(), PlatformError> {
    let bytes = fp_image(layout, state)?;
    area.write(layout.fp, &bytes);
    area.set(frame + FPSTATE, base + layout.fp);
    Ok(())
}
