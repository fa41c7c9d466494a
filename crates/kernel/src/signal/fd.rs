//! Descriptors of signals: `signalfd(2)`.
//!
//! A [`SignalFd`] has only a set; whose signals it reads is decided by who reads. Its
//! readiness is asked for without a reader, so it holds for the thread that made it, as
//! long as that lives. Lock: one for the set, a leaf.

use super::{SigInfo, SigSet, UNBLOCKABLE};
use crate::kernel::Kernel;
use crate::sync::Mutex;
use crate::task::Task;
use crate::vfs::{FileCx, FileOps, IoDst};
use crate::wait::{Events, Pollable, WaitQueue};
use chitin_abi::signal::*;
use chitin_abi::{Errno, Pod};
use std::sync::{Arc, Weak};

/// What stands behind a descriptor of `signalfd(2)`.
pub struct SignalFd {
    kernel: Arc<Kernel>,
    maker: Weak<Task>,
    wanted: Mutex<SigSet>,
}

impl SignalFd {
    /// One for these signals, but for `SIGKILL` and `SIGSTOP`.
    #[must_use]
    pub fn new(maker: &Arc<Task>, wanted: SigSet) -> Self {
        Self {
            kernel: maker.kernel.clone(),
            maker: Arc::downgrade(maker),
            wanted: Mutex::new(wanted.without(UNBLOCKABLE)),
        }
    }

    /// Changes the set.
    pub fn set(&self, wanted: SigSet) {
        *self.wanted.lock() = wanted.without(UNBLOCKABLE);
        self.kernel.signal_event.notify(Events::READABLE);
    }
}

/// Takes a pending signal of `wanted` for a thread: its own first, then its process's.
pub fn take(task: &Task, wanted: SigSet) -> Option<SigInfo> {
    let own = task.signals.lock().pending.take(wanted);
    own.or_else(|| task.process.signals.lock().pending.take(wanted))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// The signal as a read of the descriptor shows it.
fn encode(info: &SigInfo) -> SignalfdSiginfo {
    let [first, second, third, ..] = info.0.fields;
    let mut out = SignalfdSiginfo {
        ssi_signo: info.0.si_signo.cast_unsigned(),
        ssi_errno: info.0.si_errno,
        ssi_code: info.0.si_code,
        ..SignalfdSiginfo::default()
    };
    let (low, high) = halves(first);
    let value = |out: &mut SignalfdSiginfo| {
        out.ssi_ptr = second;
        out.ssi_int = halves(second).0.cast_signed();
    };
    let from_kernel = info.0.si_code > SI_USER && info.0.si_code != SI_KERNEL;
    match info.0.si_signo {
        _ if info.0.si_code == SI_TIMER => {
            (out.ssi_tid, out.ssi_overrun) = (low, high);
            value(&mut out);
        }
        SIGCHLD if from_kernel => {
            (out.ssi_pid, out.ssi_uid) = (low, high);
            out.ssi_status = halves(second).0.cast_signed();
            // Counted in clock ticks, from the fourth word on as `siginfo_t` has them.
            out.ssi_utime = third;
            out.ssi_stime = info.0.fields.get(3).copied().unwrap_or(0);
        }
        SIGIO if from_kernel || info.0.si_code == SI_SIGIO => {
            out.ssi_band = low;
            out.ssi_fd = halves(second).0.cast_signed();
        }
        SIGSEGV | SIGBUS | SIGILL | SIGFPE | SIGTRAP if from_kernel => out.ssi_addr = first,
        _ => {
            (out.ssi_pid, out.ssi_uid) = (low, high);
            if info.0.si_code < SI_USER && info.0.si_code != SI_TKILL {
                value(&mut out);
            }
        }
    }
    out
}

impl FileOps for SignalFd {
    fn takes_splice(&self) -> bool {
        false
    }

    fn read(&self, cx: FileCx<'_>, dst: &mut IoDst<'_>, _pos: u64) -> Result<usize, Errno> {
        let size = size_of::<SignalfdSiginfo>();
        if dst.remaining() < size {
            return Err(Errno::EINVAL);
        }
        let wanted = *self.wanted.lock();
        let mut done = 0;
        while dst.remaining() >= size {
            let Some(info) = take(cx.task, wanted) else { break };
            let stored = dst.put(encode(&info).as_bytes());
            match stored {
                Ok(n) if n == size => done += n,
                Ok(_) | Err(_) if done > 0 => break,
                Ok(_) => return Err(Errno::EFAULT),
                Err(e) => return Err(e),
            }
        }
        if done == 0 { Err(Errno::EAGAIN) } else { Ok(done) }
    }

    fn pollable(&self) -> Option<&dyn Pollable> {
        Some(self)
    }

    fn fdinfo(&self) -> String {
        format!("sigmask:\t{:016x}\n", self.wanted.lock().0)
    }
}

impl Pollable for SignalFd {
    fn readiness(&self) -> Events {
        let Some(task) = self.maker.upgrade() else { return Events::NONE };
        let own = task.signals.lock().pending.set();
        let all = own.with(task.process.signals.lock().pending.set());
        if all.and(*self.wanted.lock()).is_empty() { Events::NONE } else { Events::READABLE }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.kernel.signal_event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_128_bytes_and_the_fields_of_its_kind() {
        assert_eq!(size_of::<SignalfdSiginfo>(), 128);
        let sent = encode(&SigInfo::user(SIGUSR1, SI_USER, 7, 8));
        assert_eq!((sent.ssi_signo, sent.ssi_pid, sent.ssi_uid, sent.ssi_ptr), (10, 7, 8, 0));
        let mut timer = SigInfo::timer(40, 3, 0x1_0000_0002);
        timer.set_overrun(5);
        let timer = encode(&timer);
        assert_eq!((timer.ssi_tid, timer.ssi_overrun), (3, 5));
        assert_eq!((timer.ssi_int, timer.ssi_ptr, timer.ssi_pid), (2, 0x1_0000_0002, 0));
        let fault = encode(&SigInfo::fault(SIGSEGV, SEGV_MAPERR, 0xdead_0000));
        assert_eq!((fault.ssi_addr, fault.ssi_pid), (0xdead_0000, 0));
        let mut queued = SigInfo::user(41, SI_QUEUE, 9, 1);
        queued.0.fields[1] = 77;
        assert_eq!((encode(&queued).ssi_int, encode(&queued).ssi_pid), (77, 9));
    }
}
