//! Signal frames of x86-64 (`rt_sigframe`), and the way back from them.

use super::stack::{change_stack, contains, is_free, on_stack};
use super::{NO_STACK, SigInfo, SigSet, recheck};
use crate::error::{SysError, SysResult};
use crate::task::CurrentTask;
use chitin_abi::signal::*;
use chitin_abi::{Errno, Pod};
use chitin_platform::Regs;
use chitin_usermem::{UserAddr, UserMemory, UserPtr};

/// Bytes below the stack pointer that a handler must not touch.
const RED_ZONE: u64 = 128;
/// Trap, direction and resume flags, which a handler starts without.
const CLEARED_FLAGS: u64 = 0x1_0500;
/// Flags that `rt_sigreturn(2)` may change: AC, RF, OF, DF, TF, SF, ZF, AF, PF, CF.
const SETTABLE_FLAGS: u64 = 0x0005_0dd5;
/// Offset of the software-reserved bytes in the vector state: magic, size.
const SW_RESERVED: usize = 464;
/// `FP_XSTATE_MAGIC1` in those bytes, `FP_XSTATE_MAGIC2` in the last four.
const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;
/// Bytes of the legacy part of the vector state; the header follows.
const LEGACY_LEN: usize = 512;
/// Components of the legacy part in the header's first byte.
const X87_AND_SSE: u8 = 3;

/// What a frame is made from, besides the registers.
pub(super) struct Entry<'a> {
    pub(super) info: &'a SigInfo,
    pub(super) action: &'a Sigaction,
    /// The mask to go back to.
    pub(super) mask: SigSet,
    pub(super) stack: &'a SigStack,
    /// Trap number, error code and address of the last fault.
    pub(super) trap: (u64, u64, u64),
    /// The vector state; empty if there is none.
    pub(super) fp: &'a [u8],
}

/// Writes the frame of a handler and makes the registers enter it.
pub(super) fn build(regs: &mut Regs, mem: &dyn UserMemory, e: &Entry<'_>) -> Result<(), Errno> {
    // The x86-64 kernel refuses handlers without one.
    if e.action.flags & SA_RESTORER == 0 {
        return Err(Errno::EFAULT);
    }
    let (stack, mut sp) = (e.stack, regs.rsp.wrapping_sub(RED_ZONE));
    let enters = e.action.flags & SA_ONSTACK != 0 && is_free(stack, sp);
    if enters {
        sp = stack.ss_sp.wrapping_add(stack.ss_size);
    }
    let mut fp_at = 0;
    if !e.fp.is_empty() {
        sp = sp.wrapping_sub(e.fp.len() as u64) & !63;
        fp_at = sp;
    }
    let at = (sp.wrapping_sub(size_of::<RtSigframe>() as u64) & !15).wrapping_sub(8);
    if (enters || on_stack(stack, regs.rsp)) && !contains(stack, at) {
        return Err(Errno::EFAULT);
    }
    let mut uc_flags = UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
    if fp_at != 0 {
        uc_flags |= UC_FP_XSTATE;
        mem.write(UserAddr(fp_at), e.fp)?;
    }
    let frame = RtSigframe {
        pretcode: e.action.restorer,
        uc: Ucontext {
            uc_flags,
            uc_link: 0,
            uc_stack: *stack,
            uc_mcontext: context(regs, e.trap, e.mask, fp_at),
            uc_sigmask: e.mask.0,
        },
        info: e.info.0,
    };
    mem.write(UserAddr(at), frame.as_bytes())?;
    regs.rdi = u64::from(e.info.signo().cast_unsigned());
    regs.rsi = at + std::mem::offset_of!(RtSigframe, info) as u64;
    regs.rdx = at + std::mem::offset_of!(RtSigframe, uc) as u64;
    (regs.rax, regs.rsp, regs.rip) = (0, at, e.action.handler);
    regs.eflags &= !CLEARED_FLAGS;
    regs.orig_rax = u64::MAX;
    Ok(())
}

/// Makes the thread enter a handler, with its mask, stack and initial vector state.
pub(super) async fn push(
    cur: &mut CurrentTask,
    info: &SigInfo,
    action: &Sigaction,
) -> Result<(), Errno> {
    let fp = cur.fp_state().await?;
    let task = cur.task().clone();
    let (mask, stack, trap) = {
        let signals = task.signals.lock();
        (signals.mask(), signals.altstack, signals.trap)
    };
    let old_mask = cur.saved_mask.unwrap_or(mask);
    let entry = Entry { info, action, mask: old_mask, stack: &stack, trap, fp: &fp };
    let mm = cur.mm().clone();
    cur.regs().rip = mm.visible_rip(cur.regs().rip);
    build(cur.regs(), &*mm, &entry)?;
    cur.saved_mask = None;
    if !fp.is_empty() {
        cur.ctx.set_fp_state(&[]).map_err(crate::mm::host_error)?;
    }
    let mut signals = task.signals.lock();
    let mut mask = signals.mask().with(SigSet(action.mask));
    if action.flags & SA_NODEFER == 0 {
        mask = mask.with(SigSet::of(info.signo()));
    }
    signals.set_mask(mask);
    if stack.ss_flags & SS_AUTODISARM != 0 {
        signals.altstack = NO_STACK;
    }
    Ok(())
}

fn context(regs: &Regs, trap: (u64, u64, u64), mask: SigSet, fpstate: u64) -> SigContext {
    SigContext {
        r8: regs.r8,
        r9: regs.r9,
        r10: regs.r10,
        r11: regs.r11,
        r12: regs.r12,
        r13: regs.r13,
        r14: regs.r14,
        r15: regs.r15,
        rdi: regs.rdi,
        rsi: regs.rsi,
        rbp: regs.rbp,
        rbx: regs.rbx,
        rdx: regs.rdx,
        rax: regs.rax,
        rcx: regs.rcx,
        rsp: regs.rsp,
        rip: regs.rip,
        eflags: regs.eflags,
        cs: 0x33,
        gs: 0,
        fs: 0,
        ss: 0x2b,
        err: trap.1,
        trapno: trap.0,
        oldmask: mask.0,
        cr2: trap.2,
        fpstate,
        reserved: [0; 8],
    }
}

fn restore(regs: &mut Regs, c: &SigContext) {
    *regs = Regs {
        r8: c.r8,
        r9: c.r9,
        r10: c.r10,
        r11: c.r11,
        r12: c.r12,
        r13: c.r13,
        r14: c.r14,
        r15: c.r15,
        rdi: c.rdi,
        rsi: c.rsi,
        rbp: c.rbp,
        rbx: c.rbx,
        rdx: c.rdx,
        rax: c.rax,
        rcx: c.rcx,
        rsp: c.rsp,
        rip: c.rip,
        eflags: regs.eflags & !SETTABLE_FLAGS | c.eflags & SETTABLE_FLAGS,
        orig_rax: u64::MAX,
        ..*regs
    };
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    four.map_or(0, u32::from_le_bytes)
}

/// The vector state at `at` in the format that the platform takes, of `len` bytes. As
/// in Linux, without both magic words only the x87 and SSE state counts.
fn read_fp(mem: &dyn UserMemory, at: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let mut state = vec![0; len];
    let legacy = state.get_mut(..LEGACY_LEN).ok_or(Errno::EINVAL)?;
    mem.read(UserAddr(at), legacy)?;
    let extended =
        word(legacy, SW_RESERVED) == MAGIC1 && word(legacy, SW_RESERVED + 4) as usize == len;
    if extended {
        mem.read(UserAddr(at), &mut state)?;
    }
    if !extended || word(&state, len - 4) != MAGIC2 {
        if let Some(rest) = state.get_mut(LEGACY_LEN..) {
            rest.fill(0);
        }
        if let Some(features) = state.get_mut(LEGACY_LEN) {
            *features = X87_AND_SSE;
        }
    }
    Ok(state)
}

/// `rt_sigreturn(2)`: back to where the signal came. A frame that cannot be read ends
/// the process, as a fault would.
pub async fn sigreturn(cur: &mut CurrentTask) -> SysResult {
    cur.restart_block = None;
    if try_sigreturn(cur).await.is_err() {
        super::force(cur, SigInfo::kernel(SIGSEGV), (0, 0));
    }
    Err(SysError::KeepRegisters)
}

async fn try_sigreturn(cur: &mut CurrentTask) -> Result<(), Errno> {
    let mm = cur.mm().clone();
    let at = UserAddr(cur.regs().rsp.wrapping_sub(8));
    let frame = UserPtr::<RtSigframe>::new(at).read(&*mm)?;
    let task = cur.task().clone();
    task.signals.lock().set_mask(SigSet(frame.uc.uc_sigmask));
    recheck(&task);
    let fpstate = frame.uc.uc_mcontext.fpstate;
    let state = if fpstate == 0 {
        Vec::new()
    } else {
        let len = cur.fp_state().await?.len();
        read_fp(&*mm, fpstate, len)?
    };
    cur.ctx.set_fp_state(&state).map_err(crate::mm::host_error)?;
    restore(cur.regs(), &frame.uc.uc_mcontext);
    if let Some(rip) = cur.mm().clone().behind_patch(cur.regs().rip) {
        cur.regs().rip = rip;
    }
    let rsp = cur.regs().rsp;
    // Linux does not care either whether the stack can be changed.
    let _ = change_stack(&mut task.signals.lock().altstack, &frame.uc.uc_stack, rsp);
    Ok(())
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
