//! Filters of system calls (`seccomp(2)`).
//!
//! * [`Filter`] is a program and those that were there before it; threads share what they
//!   inherited. [`Seccomp`] is what a thread has.
//! * [`screen`] asks them about a call before it is served.
//!
//! A thread with filters has none of its calls answered by the platform: nothing is published
//! for it ([`Seccomp::is_on`]), and what the platform keeps for others (the signal mask, the words
//! of its exit) is kept here: of the calling thread at once, of those that follow it from their
//! next call on. What others share by being alike (patched text, address spaces of earlier
//! children) a process with filters does not change.
//!
//! Lock: one for the filters of a thread, a leaf; inside `Kernel::tree` where threads are
//! brought to the same filters.

mod bpf;

pub use bpf::Program;

use crate::signal::{self, SigInfo};
use crate::sync::Mutex;
use crate::task::{CurrentTask, ExitStatus, Pid, Task};
use chitin_abi::seccomp::*;
use chitin_abi::signal::{SIGKILL, SIGSYS};
use chitin_abi::{Errno, sysno};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Most instructions of all filters of a thread (`MAX_INSNS_PER_PATH`).
const INSNS_MAX: usize = (1 << 18) / size_of::<SockFilter>();
/// What each filter but the newest counts for in addition.
const OVERHEAD: usize = 4;
/// `MAX_ERRNO`.
const ERRNO_MAX: u32 = 4095;

/// A filter and those before it.
#[derive(Debug)]
pub struct Filter {
    before: Option<Arc<Filter>>,
    program: Program,
}

impl Filter {
    /// From the newest on.
    fn chain(newest: Option<&Arc<Self>>) -> impl Iterator<Item = &Arc<Self>> {
        std::iter::successors(newest, |f| f.before.as_ref())
    }

    /// The strictest that they say of a call; of the strictest ones the newest.
    fn judge(newest: Option<&Arc<Self>>, data: &SeccompData) -> u32 {
        let rank = |told: u32| (told & SECCOMP_RET_ACTION_FULL).cast_signed();
        Self::chain(newest).fold(SECCOMP_RET_ALLOW, |strictest, filter| {
            let told = filter.program.run(data);
            if rank(told) < rank(strictest) { told } else { strictest }
        })
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // One after the other: there may be thousands.
        let mut next = self.before.take();
        while let Some(filter) = next {
            next = Arc::into_inner(filter).and_then(|mut last| last.before.take());
        }
    }
}

/// What a thread may not call.
#[derive(Debug, Default)]
pub struct Seccomp {
    mode: AtomicU32,
    /// 1 once nothing is kept by the platform.
    alone: AtomicU32,
    filter: Mutex<Option<Arc<Filter>>>,
}

impl Seccomp {
    /// Whether every call is to be screened.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.mode.load(Ordering::SeqCst) != SECCOMP_MODE_DISABLED
    }

    /// `SECCOMP_MODE_*`.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.mode.load(Ordering::SeqCst)
    }

    /// How many filters there are.
    #[must_use]
    pub fn count(&self) -> usize {
        Filter::chain(self.newest().as_ref()).count()
    }

    /// Whether the platform keeps nothing for the thread.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone.load(Ordering::SeqCst) != 0
    }

    pub(crate) fn set_alone(&self) {
        self.alone.store(1, Ordering::SeqCst);
    }

    fn newest(&self) -> Option<Arc<Filter>> {
        self.filter.lock().clone()
    }

    /// A new thread begins with what its parent has.
    pub(crate) fn inherit(&self, parent: &Self) {
        self.put(parent.mode(), parent.newest());
    }

    fn put(&self, mode: u32, filter: Option<Arc<Filter>>) {
        *self.filter.lock() = filter;
        self.mode.store(mode, Ordering::SeqCst);
    }

    /// A mode stays once it was chosen.
    fn may_become(&self, mode: u32) -> Result<(), Errno> {
        let now = self.mode();
        if now == SECCOMP_MODE_DISABLED || now == mode { Ok(()) } else { Err(Errno::EINVAL) }
    }
}

/// What becomes of the process's other threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Others {
    /// They keep what they have.
    Keep,
    /// They get the same filters (`SECCOMP_FILTER_FLAG_TSYNC`).
    Follow,
}

/// Allows the calling thread four calls from now on.
pub fn set_strict(cur: &CurrentTask) -> Result<(), Errno> {
    cur.task().seccomp.may_become(SECCOMP_MODE_STRICT)?;
    cur.task().keep_alone();
    cur.task().seccomp.put(SECCOMP_MODE_STRICT, None);
    switch_off_answers(cur.task());
    Ok(())
}

/// Adds a filter. The number of a thread that cannot follow is a result, too.
pub fn add(cur: &CurrentTask, program: Program, others: Others) -> Result<Option<Pid>, Errno> {
    let task = cur.task();
    let _tree = task.kernel.tree.lock();
    task.seccomp.may_become(SECCOMP_MODE_FILTER)?;
    let before = task.seccomp.newest();
    let counted = Filter::chain(before.as_ref()).map(|f| f.program.len() + OVERHEAD);
    if program.len() + counted.sum::<usize>() > INSNS_MAX || chitin_hostsys::heap::is_short() {
        return Err(Errno::ENOMEM);
    }
    let threads = match others {
        Others::Keep => Vec::new(),
        Others::Follow => task.process.tasks(),
    };
    let others: Vec<_> = threads.iter().filter(|t| !Arc::ptr_eq(t, task) && !t.exiting()).collect();
    if let Some(stray) = others.iter().find(|t| !can_follow(&t.seccomp, before.as_ref())) {
        return Ok(Some(stray.tid()));
    }
    let filter = Arc::new(Filter { before, program });
    let restricted = task.cred().no_new_privs;
    for other in others {
        other.seccomp.put(SECCOMP_MODE_FILTER, Some(filter.clone()));
        if restricted && !other.cred().no_new_privs {
            let mut cred = (*other.cred()).clone();
            cred.no_new_privs = true;
            other.set_cred(cred);
        }
        switch_off_answers(other);
    }
    // What the platform says of the others is believed until their next call.
    task.keep_alone();
    task.seccomp.put(SECCOMP_MODE_FILTER, Some(filter));
    switch_off_answers(task);
    Ok(None)
}

/// Whether all filters of a thread are among these.
fn can_follow(of: &Seccomp, newest: Option<&Arc<Filter>>) -> bool {
    let own = of.newest();
    match (of.mode(), &own) {
        (SECCOMP_MODE_STRICT, _) => false,
        (_, None) => true,
        (_, Some(own)) => Filter::chain(newest).any(|f| Arc::ptr_eq(f, own)),
    }
}

/// A thread has filters now: the platform asks about everything.
fn switch_off_answers(task: &Task) {
    task.set_view(0);
    task.publish_identity();
    if let Some(mm) = task.mm() {
        mm.set_foreign();
    }
}

/// Asks the filters about a call; false if it is not to be served. Then its result is there, or
/// the thread ends.
pub fn screen(cur: &mut CurrentTask, nr: u64, args: [u64; 6]) -> bool {
    let task = cur.task().clone();
    task.keep_alone();
    if task.seccomp.mode() == SECCOMP_MODE_STRICT {
        let allowed = [sysno::READ, sysno::WRITE, sysno::EXIT, sysno::RT_SIGRETURN].contains(&nr);
        if !allowed {
            cur.exit = Some(ExitStatus::Signaled { signo: SIGKILL, core: false });
        }
        return allowed;
    }
    let rip = cur.regs().rip;
    let instruction_pointer = cur.mm().visible_rip(rip);
    let nr = low(nr);
    let data = SeccompData { nr, arch: AUDIT_ARCH_X86_64, instruction_pointer, args };
    let told = Filter::judge(task.seccomp.newest().as_ref(), &data);
    act(cur, told, &data)
}

#[allow(clippy::cast_possible_truncation)]
fn low(nr: u64) -> u32 {
    nr as u32
}

fn act(cur: &mut CurrentTask, told: u32, data: &SeccompData) -> bool {
    let task = cur.task().clone();
    let value = told & SECCOMP_RET_DATA;
    match told & SECCOMP_RET_ACTION_FULL {
        SECCOMP_RET_ALLOW => return true,
        SECCOMP_RET_LOG => {
            task.kernel.log(&format!(
                "seccomp: process {} calls {} at {:#x}",
                task.process.pid, data.nr, data.instruction_pointer
            ));
            return true;
        }
        SECCOMP_RET_ERRNO => {
            let errno = i64::from(value.min(ERRNO_MAX));
            cur.ctx.set_result((-errno).cast_unsigned());
        }
        // There is no tracer, and nobody who is notified.
        SECCOMP_RET_TRACE | SECCOMP_RET_USER_NOTIF => {
            cur.ctx.set_result((-i64::from(Errno::ENOSYS.raw())).cast_unsigned());
        }
        SECCOMP_RET_TRAP => {
            cur.ctx.set_result(data.nr.into());
            let trap = task.signals.lock().trap;
            signal::force(cur, SigInfo::seccomp(data, value.cast_signed()), (trap.0, trap.1));
            task.signals.lock().trap = trap;
        }
        SECCOMP_RET_KILL_THREAD if task.process.tasks().len() > 1 => {
            cur.exit = Some(ExitStatus::Signaled { signo: SIGSYS, core: false });
        }
        _ => task.process.exit_group(ExitStatus::Signaled { signo: SIGSYS, core: true }),
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(told: u32, before: Option<Arc<Filter>>) -> Option<Arc<Filter>> {
        let ret = SockFilter { code: BPF_RET, jt: 0, jf: 0, k: told };
        Some(Arc::new(Filter { before, program: Program::new(vec![ret]).unwrap() }))
    }

    #[test]
    fn the_strictest_action_wins_and_then_the_newest() {
        let judge = |oldest_first: &[u32]| {
            let newest = oldest_first.iter().fold(None, |before, &told| filter(told, before));
            Filter::judge(newest.as_ref(), &SeccompData::default())
        };
        let errno = SECCOMP_RET_ERRNO;
        assert_eq!(judge(&[]), SECCOMP_RET_ALLOW);
        assert_eq!(judge(&[SECCOMP_RET_ALLOW | 7]), SECCOMP_RET_ALLOW);
        assert_eq!(judge(&[errno | 1, errno | 2]), errno | 2);
        assert_eq!(judge(&[SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD]), 1 << 31);
        let mut rising = [
            SECCOMP_RET_KILL_PROCESS,
            SECCOMP_RET_KILL_THREAD,
            SECCOMP_RET_TRAP,
            errno,
            SECCOMP_RET_USER_NOTIF,
            SECCOMP_RET_TRACE,
            SECCOMP_RET_LOG,
            SECCOMP_RET_ALLOW,
        ];
        for at in 0..rising.len() {
            assert_eq!(judge(&rising[at..]), rising[at]);
        }
        rising.reverse();
        assert_eq!(judge(&rising), SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn a_long_chain_ends_without_recursion() {
        let newest = (0..100_000).fold(None, |before, _| filter(SECCOMP_RET_ALLOW, before));
        drop(newest);
    }

    #[test]
    fn threads_with_other_filters_do_not_follow() {
        let first = filter(SECCOMP_RET_ALLOW, None);
        let second = filter(SECCOMP_RET_ALLOW, first.clone());
        let of = |mode, filter: &Option<Arc<Filter>>| {
            let seccomp = Seccomp::default();
            seccomp.put(mode, filter.clone());
            seccomp
        };
        let (off, on) = (SECCOMP_MODE_DISABLED, SECCOMP_MODE_FILTER);
        assert!(can_follow(&of(off, &None), second.as_ref()));
        assert!(can_follow(&of(on, &first), second.as_ref()));
        assert!(can_follow(&of(on, &second), second.as_ref()));
        assert!(!can_follow(&of(on, &second), first.as_ref()));
        assert!(!can_follow(&of(on, &first), None));
        assert!(!can_follow(&of(SECCOMP_MODE_STRICT, &None), second.as_ref()));
        assert_eq!(of(on, &second).count(), 2);
    }
}
