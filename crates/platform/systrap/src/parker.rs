//! [`Workers`]: the executor's workers wait until guest code of theirs has stopped,
//! one state word per running guest thread: asleep, or polling.
//!
//! A worker shares its CPU with the guest threads that it resumes, so that sleeping
//! and waking is a switch on one CPU. One worker at most polls instead, and keeps its
//! threads on another CPU: while they stop often, no more threads run than CPUs are
//! left, and nothing else wants its CPU.

use crate::context::Shared;
use crate::layout::STATE_ASLEEP;
use crate::stub::lock;
use crate::sys::{self, FutexWaitV};
use crate::zygote::Zygote;
use chitin_executor::{Executor, Parker, current_worker};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// `FUTEX_WAITV_MAX`.
const MAX_WORDS: usize = 128;
/// How long one of several running guest threads of a worker computes before an idle worker
/// gets it, in nanoseconds.
const SHARE_AFTER: u64 = 1_000_000;
/// How long the calls of a thread have not waited for anything before it counts as busy, in
/// nanoseconds. Two such need a CPU each; two ends of a pipe wait for each other sooner.
const BUSY: u64 = 2_000_000;
/// How long a guest thread computes before the host may move it, in nanoseconds.
const FREE_AFTER: u64 = 4_000_000;
/// Longest sleep when some words cannot be waited for, in nanoseconds.
const BLIND: u64 = 500_000;
/// Longest poll without a stop, in nanoseconds: many times what waking a halted CPU takes, since programs
/// that load others (`import`) compute as long between two calls.
const POLL_LIMIT: u64 = 1_000_000;
/// How long nothing has stopped before a polling worker does what it has put off, in nanoseconds.
const LULL: u64 = 15_000;
/// A look that took this long was not on the CPU, in nanoseconds.
const LOST_CPU: u64 = 100_000;
/// A sleep of less speaks for polling, in nanoseconds: two switches, and a mapping between
/// them.
const SHORT_SLEEP: u64 = 50_000;
/// Score from which a worker begins to poll, below which it stops, and the highest.
const POLL_SCORE: i32 = 16;
const STOP_SCORE: i32 = 4;
const MAX_SCORE: i32 = 64;
/// What a wait that was not short takes from it.
const LONG_WAIT: i32 = 4;
/// Looks for the stop of a thread that was just resumed, before its task gives way.
const CATCH_LOOKS: u32 = 400;
/// Stops that are caught so in a row, before the worker looks after everything else.
const MOST_CAUGHT: u32 = 256;
/// How long one of several threads that share a CPU with a polling worker's others may go
/// without a stop, in nanoseconds.
const CROWD_LIMIT: u64 = 4_000_000;
/// How long a worker does not poll after it lost the CPU: at first, at most.
const BACK_OFF: (u64, u64) = (10_000_000, 1_000_000_000);
/// Looks of a stub for its answer while its worker polls: when nobody else may want its CPU but
/// a mapper, for which it makes room ([`make_room`]), and otherwise.
const LOOKS_ALONE: u32 = 20_000;
const LOOKS: u32 = 2000;

thread_local! {
    static CPU: Cell<Option<usize>> = const { Cell::new(None) };
    /// Stops that the worker has caught in a row, and its CPU time before the first.
    static CAUGHT: Cell<u32> = const { Cell::new(0) };
    /// Whether the worker polls, and whose stop it has seen last then.
    static POLLS: Cell<bool> = const { Cell::new(false) };
    static SERVED: RefCell<Weak<Shared>> = const { RefCell::new(Weak::new()) };
    /// A thread that looks for an answer which does not come, so that its CPU does not halt.
    static LINGERS: RefCell<Weak<Shared>> = const { RefCell::new(Weak::new()) };
}

/// The CPU that the calling worker is bound to.
pub(crate) fn current_cpu() -> Option<usize> {
    CPU.get()
}

/// Whether the calling worker polls.
pub(crate) fn polls_now() -> bool {
    POLLS.get()
}

/// The calling worker is going to serve a thread.
pub(crate) fn serves(context: &Weak<Shared>) {
    if POLLS.get() {
        SERVED.with_borrow_mut(|served| {
            if !served.ptr_eq(context) {
                served.clone_from(context);
            }
        });
    }
}

/// The calling worker is going to wait for a mapper: the thread that it serves leaves it the CPU.
pub(crate) fn make_room() {
    if POLLS.get() {
        SERVED.with_borrow(stop_looking);
        dismiss();
    }
}

fn stop_looking(thread: &Weak<Shared>) {
    if let Some(thread) = thread.upgrade() {
        thread.set_looks(0);
    }
}

/// Nobody needs any more that a CPU does not halt.
pub(crate) fn dismiss() {
    LINGERS.with_borrow_mut(|lingers| {
        if lingers.strong_count() > 0 {
            stop_looking(&std::mem::take(lingers));
        }
    });
}

#[derive(Default)]
struct Worker {
    /// 1 when an unpark is pending.
    unpark: AtomicU32,
    running: Mutex<Vec<Arc<Shared>>>,
    count: AtomicUsize,
    /// How many of them compute, or never wait.
    busy: AtomicUsize,
    asleep: AtomicBool,
    /// How much speaks for polling.
    score: AtomicI32,
    polls: AtomicBool,
    /// No polling before this time, and how long the last ban was.
    banned: AtomicU64,
    ban: AtomicU64,
    /// The same for polling while its threads share a CPU.
    crowd_banned: AtomicU64,
    crowd_ban: AtomicU64,
}

/// All workers.
pub struct Workers {
    workers: Vec<Worker>,
    zygote: Arc<Zygote>,
    cpus: Vec<usize>,
    no_waitv: AtomicBool,
    /// A worker polls.
    polled: AtomicBool,
}

impl Workers {
    pub(crate) fn new(count: usize, zygote: &Arc<Zygote>) -> Arc<Self> {
        Arc::new(Self {
            workers: (0..count.max(1)).map(|_| Worker::default()).collect(),
            zygote: zygote.clone(),
            cpus: sys::cpus(),
            no_waitv: AtomicBool::new(false),
            polled: AtomicBool::new(false),
        })
    }

    fn cpu_of(&self, worker: usize) -> Option<usize> {
        (self.cpus.len() >= self.workers.len()).then(|| self.cpus.get(worker).copied()).flatten()
    }

    /// The CPU next to that of a worker.
    fn next_cpu(&self, worker: usize) -> Option<usize> {
        self.cpu_of(worker)?;
        self.cpus.get((worker + 1) % self.cpus.len()).copied()
    }

    /// Puts a thread that the calling worker is about to resume where it belongs.
    pub(crate) fn prepare(&self, context: &Shared) {
        let Some(index) = current_worker().filter(|&i| i < self.workers.len()) else { return };
        let polls = self.workers[index].polls.load(Ordering::Relaxed);
        let (cpu, looks) = match polls {
            true if self.running() == 0 => (self.next_cpu(index), LOOKS_ALONE),
            true => (self.next_cpu(index), LOOKS),
            false => (current_cpu(), 0),
        };
        if let Some(cpu) = cpu {
            context.move_to(cpu);
        }
        LINGERS.with_borrow_mut(|lingers| {
            if lingers.ptr_eq(context.this()) {
                *lingers = Weak::new();
            }
        });
        context.is_resumed(chitin_executor::current_poll());
        context.set_looks(looks);
    }

    /// No answer for a thread comes soon: it leaves the CPU to others. While nothing else runs,
    /// when the next one has been woken: waking a CPU that has halted takes longer.
    pub(crate) fn leaves(&self, context: &Weak<Shared>) {
        if LINGERS.with_borrow(|lingers| lingers.ptr_eq(context)) {
            return;
        }
        dismiss();
        if POLLS.get() && self.running() == 0 {
            LINGERS.with_borrow_mut(|lingers| lingers.clone_from(context));
        } else {
            stop_looking(context);
        }
    }

    /// Looks a while for the stop of a thread that the calling worker has just resumed, if
    /// it polls and has nothing else to do; true if it has stopped.
    pub(crate) fn catch(&self, context: &Shared) -> bool {
        let Some(index) = current_worker().filter(|&i| i < self.workers.len()) else {
            return false;
        };
        let worker = &self.workers[index];
        let busy = !worker.polls.load(Ordering::Relaxed)
            || worker.count.load(Ordering::Relaxed) != 0
            || chitin_executor::has_backlog();
        let caught = CAUGHT.get();
        if busy || caught >= MOST_CAUGHT {
            CAUGHT.set(0);
            return false;
        }
        for look in 0..CATCH_LOOKS {
            if context.has_stopped() {
                CAUGHT.set(caught + 1);
                return true;
            }
            if worker.unpark.load(Ordering::Relaxed) == 1 {
                break;
            }
            if look >= 16 {
                std::hint::spin_loop();
            }
        }
        CAUGHT.set(0);
        false
    }

    /// Makes the calling worker (or the first) wait for a context that was resumed.
    pub(crate) fn watch(&self, context: &Arc<Shared>) {
        let here = current_worker();
        let index = here.unwrap_or(0).min(self.workers.len() - 1);
        self.add(index, context);
        if here.is_none() {
            self.unpark(index);
        }
    }

    fn add(&self, index: usize, context: &Arc<Shared>) {
        let worker = &self.workers[index];
        let mut running = lock(&worker.running);
        if !running.iter().any(|c| Arc::ptr_eq(c, context)) {
            running.push(context.clone());
        }
        worker.count.store(running.len(), Ordering::Relaxed);
    }

    /// Takes out the contexts that have stopped and wakes their tasks.
    fn collect(&self, index: usize) -> bool {
        let worker = &self.workers[index];
        let mut running = lock(&worker.running);
        let mut any = false;
        let mut i = 0;
        while i < running.len() {
            if running[i].has_stopped() {
                let context = running.swap_remove(i);
                context.wake();
                any = true;
            } else {
                i += 1;
            }
        }
        worker.count.store(running.len(), Ordering::Relaxed);
        any
    }

    /// Guest threads compute: lets them use all CPUs.
    fn spread(&self, index: usize) {
        for context in lock(&self.workers[index].running).iter() {
            context.free(&self.cpus);
        }
    }

    /// Counts the running contexts of a worker that compute, or never wait, and gives one of
    /// several to a worker that has none.
    fn share(&self, index: usize, now: u64) {
        let worker = &self.workers[index];
        let (context, idle) = {
            let mut running = lock(&worker.running);
            let busy = running.iter().filter(|c| c.is_busy_for(now) > BUSY).count();
            worker.busy.store(busy, Ordering::Relaxed);
            if running.len() < 2 {
                return;
            }
            // All are looked at: the time of the first look counts.
            let longest = running.iter().map(|c| c.has_run(now)).enumerate().max_by_key(|r| r.1);
            let Some((at, _)) = longest.filter(|r| r.1 > SHARE_AFTER || busy > 1) else { return };
            let Some(idle) = self.idle() else { return };
            let context = running.swap_remove(at);
            worker.count.store(running.len(), Ordering::Relaxed);
            (context, idle)
        };
        if let Some(cpu) = self.cpu_of(idle) {
            context.move_to(cpu);
        }
        self.add(idle, &context);
        self.unpark(idle);
    }

    /// A worker that sleeps and waits for no guest thread.
    fn idle(&self) -> Option<usize> {
        self.workers
            .iter()
            .position(|w| w.count.load(Ordering::Relaxed) == 0 && w.asleep.load(Ordering::Relaxed))
    }

    fn running(&self) -> usize {
        self.workers.iter().map(|w| w.count.load(Ordering::Relaxed)).sum()
    }

    fn busy(&self) -> usize {
        self.workers.iter().map(|w| w.busy.load(Ordering::Relaxed)).sum()
    }

    /// Whether a worker may poll now; if so it is the one that does.
    fn begin_poll(&self, index: usize, now: u64) -> bool {
        let worker = &self.workers[index];
        let polls = worker.polls.load(Ordering::Relaxed);
        let enough = if polls { STOP_SCORE } else { POLL_SCORE };
        if worker.score.load(Ordering::Relaxed) < enough
            || now < worker.banned.load(Ordering::Relaxed)
            || self.cpu_of(index).is_none()
            || self.cpus.len() < 2
        {
            return false;
        }
        let running = self.running();
        let crowd = running >= self.cpus.len()
            && (!polls || now < worker.crowd_banned.load(Ordering::Relaxed));
        if crowd || self.busy() >= self.cpus.len() {
            return false;
        }
        if !polls {
            if self.polled.swap(true, Ordering::Relaxed) {
                return false;
            }
            worker.polls.store(true, Ordering::Relaxed);
            POLLS.set(true);
        }
        true
    }

    fn end_poll(&self, index: usize) {
        let worker = &self.workers[index];
        if worker.polls.swap(false, Ordering::Relaxed) {
            POLLS.set(false);
            self.polled.store(false, Ordering::Relaxed);
            self.zygote.cleaner.hand_over_all(&self.zygote);
        }
    }

    /// Looks for a stop, an unpark or the deadline without sleeping; false if none came.
    fn poll(&self, index: usize, deadline: Option<u64>, start: u64) -> bool {
        let worker = &self.workers[index];
        let contexts: Vec<Arc<Shared>> = lock(&worker.running).clone();
        if self.running() >= self.cpus.len()
            && contexts.iter().any(|c| c.has_run(start) > CROWD_LIMIT)
        {
            // One of several computes: it needs the CPU that polling takes.
            let ban = back_off(&worker.crowd_ban);
            worker.crowd_banned.store(start + ban, Ordering::Relaxed);
            return false;
        }
        let mut before = start;
        loop {
            for _ in 0..32 {
                let stopped = contexts.iter().any(|c| c.has_stopped());
                if stopped || worker.unpark.load(Ordering::Acquire) == 1 {
                    return true;
                }
                std::hint::spin_loop();
            }
            let now = Executor::now();
            if now - before > LOST_CPU {
                let ban = back_off(&worker.ban);
                worker.banned.store(now + ban, Ordering::Relaxed);
                return false;
            }
            if now - start > POLL_LIMIT || deadline.is_some_and(|d| now >= d) {
                return false;
            }
            before = now;
            if now - start > LULL && self.zygote.cleaner.has_put_off() {
                SERVED.set(Weak::new());
                self.zygote.cleaner.empty_one(&self.zygote);
                before = Executor::now();
            }
        }
    }

    fn sleep(&self, index: usize, deadline: Option<u64>, now: u64) {
        let worker = &self.workers[index];
        let contexts: Vec<Arc<Shared>> = lock(&worker.running).clone();
        if !contexts.iter().all(|c| c.ask_for_wake()) {
            return;
        }
        let mut words = Vec::with_capacity(contexts.len() + 1);
        words.push(FutexWaitV::new(&worker.unpark, 0));
        words.extend(contexts.iter().map(|c| FutexWaitV::new(c.state(), STATE_ASLEEP)));
        let mut until = deadline;
        let mut at_most = |ns: u64| until = Some(until.unwrap_or(u64::MAX).min(now + ns));
        if contexts.len() > 1 && self.idle().is_some() {
            at_most(SHARE_AFTER);
        } else if contexts.len() > 1 || contexts.iter().any(|c| c.is_bound()) {
            at_most(FREE_AFTER);
        }
        if words.len() > MAX_WORDS {
            words.truncate(MAX_WORDS);
            at_most(BLIND);
        }
        if !self.no_waitv.load(Ordering::Relaxed) {
            if sys::futex_waitv(&words, until) {
                return;
            }
            self.no_waitv.store(true, Ordering::Relaxed);
        }
        // Hosts before 5.16: one word at a time, and a look at the others.
        let rest = until.map(|d| d.saturating_sub(now));
        match contexts.first() {
            None => sys::futex_wait(&worker.unpark, 0, rest),
            Some(first) => {
                let rest = rest.unwrap_or(u64::MAX).min(BLIND);
                sys::futex_wait(first.state(), STATE_ASLEEP, Some(rest));
            }
        }
    }

    /// Moves the score by how long a wait for running threads took.
    fn judge(&self, index: usize, waited: u64, limit: u64) {
        let worker = &self.workers[index];
        let score = worker.score.load(Ordering::Relaxed);
        let by = if waited < limit { 1 } else { -LONG_WAIT };
        worker.score.store((score + by).clamp(0, MAX_SCORE), Ordering::Relaxed);
    }
}

/// The next ban: twice as long as the last one.
fn back_off(ban: &AtomicU64) -> u64 {
    let (first, most) = BACK_OFF;
    let next = (ban.load(Ordering::Relaxed) * 2).clamp(first, most);
    ban.store(next, Ordering::Relaxed);
    next
}

impl Parker for Workers {
    fn park(&self, index: usize, deadline: Option<u64>) {
        dismiss();
        let worker = &self.workers[index];
        let waits = worker.count.load(Ordering::Relaxed) > 0;
        if worker.polls.load(Ordering::Relaxed) && self.zygote.cleaner.is_overdue() {
            self.zygote.cleaner.empty_one(&self.zygote);
        }
        if self.collect(index) {
            self.judge(index, 0, 1);
            if !worker.polls.load(Ordering::Relaxed) {
                // It ran on this CPU, and has stopped already: as the next one is going to.
                self.begin_poll(index, Executor::now());
            }
            return;
        }
        if worker.unpark.swap(0, Ordering::AcqRel) == 1 {
            return;
        }
        let start = Executor::now();
        self.share(index, start);
        if waits && self.begin_poll(index, start) {
            let found = self.poll(index, deadline, start);
            if found {
                worker.unpark.store(0, Ordering::Release);
                if self.collect(index) {
                    self.judge(index, 0, 1);
                }
                return;
            }
        }
        // Another worker may while this one sleeps.
        self.end_poll(index);
        worker.asleep.store(true, Ordering::Relaxed);
        self.sleep(index, deadline, start);
        worker.asleep.store(false, Ordering::Relaxed);
        worker.unpark.store(0, Ordering::Release);
        if self.collect(index) {
            if waits {
                self.judge(index, Executor::now() - start, SHORT_SLEEP);
            }
        } else if Executor::now() - start >= FREE_AFTER {
            self.spread(index);
        }
    }

    fn glance(&self, index: usize) {
        self.collect(index);
    }

    fn unpark(&self, index: usize) {
        let word = &self.workers[index].unpark;
        if word.swap(1, Ordering::AcqRel) == 0 {
            sys::futex_wake(word);
        }
    }

    fn stop(&self, index: usize) {
        dismiss();
        self.end_poll(index);
    }

    fn start(&self, index: usize) {
        let cpu = self.cpu_of(index);
        if let Some(cpu) = cpu {
            sys::set_cpu(0, &[cpu]);
        }
        CPU.set(cpu);
    }
}
