//! Core files (`core(5)`): what is left of a process that ends by a signal.
//!
//! * [`Dump`] is a dump under way. The thread with the signal makes it and asks the others to end;
//!   each leaves its registers in it and waits before it does.
//! * [`Settings`] are those of `/proc/sys/kernel`.
//! * `image` makes the file's headers and notes, `name` its name, `file` the file itself.
//!
//! Locks: [`Process::dump`](crate::task::Process::dump) is taken by itself; that of the threads in
//! a [`Dump`] while those of the process are locked.

mod file;
mod image;
mod name;

pub use name::Settings;

use crate::signal::SigInfo;
use crate::task::{CurrentTask, ExitStatus, Pid};
use crate::wait::Events;
use chitin_abi::Errno;
use chitin_abi::task::{RLIMIT_CORE, RLIMIT_FSIZE};
use chitin_platform::Regs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The least limit in bytes for which there is a file.
const LEAST: u64 = crate::mm::PAGE;
/// Threads whose vector state is kept; that of others is left out.
const VECTOR_STATES: usize = 1000;

/// A thread as it was.
struct Stopped {
    tid: Pid,
    regs: Regs,
    pending: u64,
    blocked: u64,
    fp: Vec<u8>,
}

/// A dump under way.
#[derive(Default)]
pub struct Dump {
    threads: crate::sync::Mutex<Vec<Stopped>>,
    over: AtomicBool,
}

impl Dump {
    /// Ends it early (`SIGKILL`).
    pub(crate) fn cancel(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

/// A thread's registers as a program is to see them.
async fn stopped(cur: &mut CurrentTask, with_vectors: bool) -> Stopped {
    let fp = if with_vectors { cur.fp_state().await.unwrap_or_default() } else { Vec::new() };
    let mut regs = *cur.regs();
    regs.rip = cur.mm().visible_rip(regs.rip);
    let task = cur.task();
    let signals = task.signals.lock();
    let (pending, blocked) = (signals.pending.set().0, signals.mask().0);
    Stopped { tid: task.tid(), regs, pending, blocked, fp }
}

/// What a thread does before it ends: if its process is being dumped, it leaves its registers and
/// waits until that is over.
pub(crate) async fn leave(cur: &mut CurrentTask) {
    let process = cur.task().process.clone();
    let Some(dump) = process.dump.lock().clone() else { return };
    if dump.is_over() {
        return;
    }
    let some = dump.threads.lock().len() < VECTOR_STATES;
    let own = stopped(cur, some).await;
    dump.threads.lock().push(own);
    process.life_event.notify(Events::ALL);
    let over = |_: &mut CurrentTask| if dump.is_over() { Ok(()) } else { Err(Errno::EAGAIN) };
    let _ = cur.block_on_end(&process.life_event, over).await;
}

/// Ends the process by a signal; leaves a core file if there is to be one.
pub(crate) async fn end_by(cur: &mut CurrentTask, info: &SigInfo) {
    let process = cur.task().process.clone();
    let signo = info.signo();
    let core = match begin(cur, signo) {
        Some(dump) => {
            process.exit_group(ExitStatus::Signaled { signo, core: false });
            let made = Box::pin(make(cur, info, &dump)).await;
            // Threads that come later need not wait for it.
            dump.cancel();
            made
        }
        None => false,
    };
    if core {
        process.life.lock().group_exit = Some(ExitStatus::Signaled { signo, core });
    }
    process.exit_group(ExitStatus::Signaled { signo, core: false });
}

/// How long the file may be, in bytes; `None` if there must be none.
fn limit(cur: &CurrentTask) -> Option<u64> {
    let process = &cur.task().process;
    let core = process.limit(RLIMIT_CORE);
    (core >= LEAST && cur.mm().is_dumpable()).then(|| core.min(process.limit(RLIMIT_FSIZE)))
}

/// Begins a dump, unless there is none to be made or the process ends already.
fn begin(cur: &CurrentTask, signo: i32) -> Option<Arc<Dump>> {
    limit(cur)?;
    let process = &cur.task().process;
    let dump = Arc::new(Dump::default());
    let mut life = process.life.lock();
    if life.group_exit.is_some() || life.exec_by.is_some() {
        return None;
    }
    *process.dump.lock() = Some(dump.clone());
    life.group_exit = Some(ExitStatus::Signaled { signo, core: false });
    Some(dump)
}

/// Waits for the other threads and writes the file; tells whether there is one.
async fn make(cur: &mut CurrentTask, info: &SigInfo, dump: &Dump) -> bool {
    let Some(limit) = limit(cur) else { return false };
    let own = stopped(cur, true).await;
    let process = cur.task().process.clone();
    let all = |_: &mut CurrentTask| {
        let threads = process.threads.lock().len();
        match dump.threads.lock().len() + 1 >= threads {
            true => Ok(()),
            false if dump.is_over() => Err(Errno::EINTR),
            false => Err(Errno::EAGAIN),
        }
    };
    if cur.block_on_end(&process.life_event, all).await.is_err() {
        return false;
    }
    let mut threads = vec![own];
    threads.append(&mut dump.threads.lock());
    let Ok(mut out) = file::Core::create(cur.task(), info.signo(), limit) else { return false };
    // What there is of it is there, however far it came.
    let _ = out.write(cur, info, &threads, dump).await;
    let _ = out.finish(cur.task());
    true
}
