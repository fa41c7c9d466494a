//! The life of a guest thread: run, serve, deliver, end.

use super::{CurrentTask, ExitStatus, exit, work};
use crate::error::SysError;
use crate::seccomp;
use crate::signal;
use crate::syscall;
use chitin_abi::Errno;
use chitin_abi::signal::{SIGILL, SIGKILL};
use chitin_abi::sysno;
use chitin_platform::{Cpuid, Entry, Exit, Regs, Trapping};
use std::sync::atomic::Ordering;
use std::task::Poll;

/// Hardware number of the general protection fault.
const GENERAL_PROTECTION: u64 = 13;

/// How long an access waits that found no memory left, in nanoseconds, before it is repeated:
/// who watches the limit kills a process meanwhile.
const OUT_OF_MEMORY: u64 = 5_000_000;

/// Runs a guest thread to its end.
pub(super) async fn run(mut cur: CurrentTask) {
    let waker = std::future::poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    *cur.task().waker.lock() = Some(waker);
    let status = loop {
        if let Some(status) = boundary(&mut cur).await {
            break status;
        }
        match resume(&mut cur).await {
            Exit::Syscall => {
                if cur.learning > 0 {
                    cur.learning -= 1;
                    if cur.learning == 0 {
                        cur.ctx.trap_cpuid(Cpuid::Runs);
                    }
                }
                if cur.ctx.entry() == Entry::Trap && patches(&mut cur).is_err() {
                    continue;
                }
                serve(&mut cur).await;
            }
            // There is no 32-bit personality.
            Exit::ForeignSyscall => cur.regs().rax = errno_value(Errno::ENOSYS),
            Exit::Fault(fault) if fault.trapno == GENERAL_PROTECTION && cpuid(&mut cur) => {}
            Exit::Fault(fault) if cur.mm().lacks_memory(&fault) => cur.pause(OUT_OF_MEMORY).await,
            Exit::Fault(fault) => {
                let mm = cur.mm().clone();
                if let Err((signo, code)) = mm.fault(&fault) {
                    let info = signal::SigInfo::fault(signo, code, fault.addr);
                    signal::force(&mut cur, info, (fault.trapno, fault.error));
                }
            }
            Exit::Exception { signo, code, addr, trapno, error } => {
                let rip = cur.regs().rip;
                if signo == SIGILL
                    && let Some(rip) = cur.mm().behind_patch(rip)
                {
                    cur.regs().rip = rip;
                    continue;
                }
                let info = signal::SigInfo::fault(signo, code, addr);
                signal::force(&mut cur, info, (trapno, error));
            }
            Exit::Interrupted => {}
            Exit::Killed(reason) => {
                cur.task().kernel.log(&format!(
                    "process {} was killed by the platform: {reason:?}",
                    cur.task().process.pid
                ));
                let killed = ExitStatus::Signaled { signo: SIGKILL, core: false };
                cur.task().process.exit_group(killed);
            }
        }
    };
    if cur.task().process.dump.lock().is_some() {
        Box::pin(crate::dump::leave(&mut cur)).await;
    }
    exit::finish(cur, status);
}

/// Runs guest code until its next exit.
async fn resume(cur: &mut CurrentTask) -> Exit {
    cur.task().kernel.activity.note();
    std::future::poll_fn(|cx| cur.ctx.poll_run(cx)).await
}

/// What `rax` holds after a failure.
#[allow(clippy::cast_sign_loss)]
fn errno_value(e: Errno) -> u64 {
    -i64::from(e.raw()) as u64
}

/// A call has come by a trap: its site may be patched now. `rt_sigreturn(2)` needs the
/// frame that a trap brings.
fn patches(cur: &mut CurrentTask) -> Result<(), Errno> {
    let (nr, _) = cur.ctx.call();
    if nr == sysno::RT_SIGRETURN || !may_patch(cur) {
        return Ok(());
    }
    let site = cur.regs().rip.wrapping_sub(2);
    cur.mm().trapped(Trapping::Call, site)
}

/// Whether it may have text patched that others share: one with filters could change what others
/// do who have none.
fn may_patch(cur: &CurrentTask) -> bool {
    !cur.task().seccomp.is_on() && cur.mm().may_patch(&cur.task().cred())
}

/// Answers a `cpuid` that trapped, and patches it; false if it is another instruction.
fn cpuid(cur: &mut CurrentTask) -> bool {
    let Regs { rip, rax, rcx, .. } = *cur.regs();
    let mm = cur.mm().clone();
    if !mm.is_cpuid(rip) {
        return false;
    }
    let answer = cur.task().kernel.platform.cpuid(low(rax), low(rcx));
    let Some([eax, ebx, ecx, edx]) = answer else { return false };
    // Where that fails the process ends at its next call.
    if may_patch(cur) {
        let _ = mm.trapped(Trapping::Cpuid, rip);
    }
    let regs = cur.regs();
    (regs.rax, regs.rbx) = (eax.into(), ebx.into());
    (regs.rcx, regs.rdx) = (ecx.into(), edx.into());
    regs.rip = rip + 2;
    if let Some(rip) = mm.behind_patch(rip + 2) {
        cur.regs().rip = rip;
    }
    true
}

#[allow(clippy::cast_possible_truncation)]
fn low(register: u64) -> u32 {
    register as u32
}

async fn serve(cur: &mut CurrentTask) {
    let (nr, args) = cur.ctx.call();
    if cur.task().seccomp.is_on() && !seccomp::screen(cur, nr, args) {
        return;
    }
    let kernel = &cur.task().kernel;
    let watched = kernel.trace.is_some() || kernel.stats.is_some();
    let result = if watched {
        observed(cur, nr, args).await
    } else if super::times::is_sample(cur) {
        Box::pin(super::times::sampled(cur, nr, args)).await
    } else {
        syscall::dispatch(cur, nr, args).await
    };
    match result {
        Ok(value) => cur.ctx.set_result(value),
        Err(SysError::Errno(e)) => cur.ctx.set_result(errno_value(e)),
        Err(SysError::Restart(kind)) => cur.restart = Some((kind, nr)),
        Err(SysError::KeepRegisters) => {}
    }
}

/// The same as [`syscall::dispatch`]; the log and the statistics are told of it.
async fn observed(cur: &mut CurrentTask, nr: u64, args: [u64; 6]) -> crate::error::SysResult {
    let kernel = cur.task().kernel.clone();
    let trace = kernel.trace.as_ref().map(|t| t.enter(cur, nr, args));
    let begun = kernel.stats.as_ref().map(|stats| stats.begin(cur.ctx.entry()));
    let result = Box::pin(syscall::dispatch(cur, nr, args)).await;
    if let (Some(stats), Some(begun)) = (&kernel.stats, begun) {
        stats.end(nr, begun, &result);
    }
    if let (Some(tracer), Some(entered)) = (&kernel.trace, trace) {
        tracer.leave(cur, nr, args, entered, &result);
    }
    result
}

/// Does what is to be done before guest code goes on; its end, if that is it.
async fn boundary(cur: &mut CurrentTask) -> Option<ExitStatus> {
    if let Some(status) = cur.exit {
        return Some(status);
    }
    let nothing = cur.restart.is_none() && cur.saved_mask.is_none();
    if nothing && cur.task().work.load(Ordering::SeqCst) == 0 {
        return None;
    }
    // Apart, so that the ordinary case costs no room and no set-up.
    Box::pin(settle(cur)).await
}

/// The same when there is something.
async fn settle(cur: &mut CurrentTask) -> Option<ExitStatus> {
    loop {
        let task = cur.task().clone();
        let todo = task.work.load(Ordering::SeqCst);
        if todo == 0 && cur.restart.is_none() && cur.saved_mask.is_none() {
            return None;
        }
        if todo & work::EXIT != 0 {
            let killed = ExitStatus::Signaled { signo: SIGKILL, core: false };
            return Some(task.process.life.lock().group_exit.unwrap_or(killed));
        }
        task.work.fetch_and(!(work::SIGNAL | work::STOP), Ordering::SeqCst);
        if task.process.life.lock().stopped.is_some() {
            let process = task.process.clone();
            let continued = cur.block_killable(&process.life_event, |_| {
                if process.life.lock().stopped.is_some() { Err(Errno::EAGAIN) } else { Ok(()) }
            });
            let _ = continued.await;
            continue;
        }
        if signal::deliver(cur).await == signal::Delivery::Nothing {
            signal::settle(cur);
            if task.work.load(Ordering::SeqCst) == 0 {
                return None;
            }
        }
    }
}
