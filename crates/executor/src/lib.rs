//! Polls the futures of guest threads on a few worker threads, and keeps timers.
//!
//! A task that is woken on a worker goes to that worker's own queue: what one
//! guest thread wakes usually runs next on the same CPU. A worker without work
//! steals, then parks in its [`Parker`], which the platform provides: it also waits
//! for guest code to stop. An idle executor uses no CPU.
//!
//! Locks: one per queue, one for the timers; none is held while a future is polled
//! or a waker called.

mod task;
mod timers;

pub use timers::TimerHandle;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use task::TaskCell;
use timers::Timers;

/// How a worker sleeps.
pub trait Parker: Send + Sync {
    /// Sleeps until [`Parker::unpark`] is called for `worker` (also before: it is
    /// remembered), guest code that this worker waits for has stopped, or the
    /// deadline (nanoseconds of `CLOCK_MONOTONIC`) has passed. May return early.
    fn park(&self, worker: usize, deadline: Option<u64>);

    /// Looks for guest code that has stopped, without sleeping: a worker that has always
    /// something to do never parks.
    fn glance(&self, _worker: usize) {}

    /// Ends the current or next sleep of `worker`.
    fn unpark(&self, worker: usize);

    /// Called once by each worker on its own thread before its first task.
    fn start(&self, _worker: usize) {}

    /// The same after its last task.
    fn stop(&self, _worker: usize) {}
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many tasks are polled in a row before guest code that has stopped gets its turn.
const MOST_IN_A_ROW: u32 = 16;

thread_local! {
    /// Number of the worker that this thread is.
    static WORKER: Cell<Option<usize>> = const { Cell::new(None) };
    /// How many tasks it has polled.
    static POLLS: Cell<u64> = const { Cell::new(0) };
    /// How many tasks wait in its queue.
    static BACKLOG: RefCell<Arc<AtomicUsize>> = RefCell::default();
}

/// Number of the worker that the calling thread is, if it is one.
#[must_use]
pub fn current_worker() -> Option<usize> {
    WORKER.get()
}

/// A number that tells a poll of a task from others of the calling worker.
#[must_use]
pub fn current_poll() -> u64 {
    POLLS.get()
}

/// Whether a task waits in the queue of the worker that the calling thread is.
#[must_use]
pub fn has_backlog() -> bool {
    BACKLOG.with_borrow(|backlog| backlog.load(Ordering::Relaxed) != 0)
}

#[derive(Default)]
struct Worker {
    queue: Mutex<VecDeque<Arc<TaskCell>>>,
    /// Length of the queue.
    backlog: Arc<AtomicUsize>,
    parked: AtomicBool,
}

/// Workers, their queues, and timers.
pub struct Executor {
    parker: Arc<dyn Parker>,
    workers: Vec<Worker>,
    timers: Timers,
    stopping: AtomicBool,
}

impl Executor {
    /// An executor with `workers` (at least one) workers, not running yet.
    #[must_use]
    pub fn new(parker: Arc<dyn Parker>, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            parker,
            workers: (0..workers.max(1)).map(|_| Worker::default()).collect(),
            timers: Timers::default(),
            stopping: AtomicBool::new(false),
        })
    }

    /// Nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn now() -> u64 {
        chitin_hostsys::clock::monotonic()
    }

    /// Adds a task; it is polled soon.
    pub fn spawn(self: &Arc<Self>, future: impl Future<Output = ()> + Send + 'static) {
        let cell = TaskCell::new(Arc::downgrade(self), Box::pin(future));
        self.push(cell);
    }

    /// Calls `waker` once `deadline` (nanoseconds of `CLOCK_MONOTONIC`) has passed,
    /// unless the handle is dropped before.
    pub fn timer(self: &Arc<Self>, deadline: u64, waker: Waker) -> TimerHandle {
        let (handle, earliest) = self.timers.add(Arc::downgrade(self), deadline, waker);
        // A parked worker may sleep past the new deadline.
        if earliest && let Some(i) = self.parked_worker() {
            self.parker.unpark(i);
        }
        handle
    }

    /// Runs the workers: worker 0 on this thread, the others on new ones. Returns
    /// after [`Executor::shutdown`], when all have stopped.
    pub fn run(self: &Arc<Self>) {
        self.run_after(|| ());
    }

    /// The same; `prepare` is called on this thread when all others have been started, and
    /// before any task is polled: it confines them all.
    pub fn run_after(self: &Arc<Self>, prepare: impl FnOnce()) {
        let gate = Arc::new(Mutex::new(()));
        let closed = lock(&gate);
        let others: Vec<_> = (1..self.workers.len())
            .filter_map(|i| {
                let (this, gate) = (self.clone(), gate.clone());
                let work = move || {
                    drop(lock(&gate));
                    this.work(i);
                };
                let builder = std::thread::Builder::new().name(format!("worker-{i}"));
                builder.stack_size(256 << 10).spawn(work).ok()
            })
            .collect();
        prepare();
        drop(closed);
        self.work(0);
        for thread in others {
            let _ = thread.join();
        }
    }

    /// Makes [`Executor::run`] return. Tasks that are not done are not polled again.
    pub fn shutdown(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for i in 0..self.workers.len() {
            self.parker.unpark(i);
        }
    }

    fn parked_worker(&self) -> Option<usize> {
        self.workers.iter().position(|w| w.parked.load(Ordering::SeqCst))
    }

    fn push(&self, cell: Arc<TaskCell>) {
        let here = WORKER.get();
        let target = here.unwrap_or_else(|| cell.home()).min(self.workers.len() - 1);
        let backlog = {
            let mut queue = lock(&self.workers[target].queue);
            queue.push_back(cell);
            self.workers[target].backlog.store(queue.len(), Ordering::Relaxed);
            queue.len()
        };
        if here.is_none() {
            self.parker.unpark(target);
        } else if backlog > 1
            && let Some(i) = self.parked_worker()
        {
            self.parker.unpark(i);
        }
    }

    fn pop(&self, worker: usize) -> Option<Arc<TaskCell>> {
        let n = self.workers.len();
        (0..n).find_map(|d| {
            let from = &self.workers[(worker + d) % n];
            if d > 0 && from.backlog.load(Ordering::Relaxed) == 0 {
                return None;
            }
            let mut queue = lock(&from.queue);
            let cell = queue.pop_front();
            from.backlog.store(queue.len(), Ordering::Relaxed);
            cell
        })
    }

    fn work(self: &Arc<Self>, worker: usize) {
        WORKER.set(Some(worker));
        self.parker.start(worker);
        let me = &self.workers[worker];
        BACKLOG.replace(me.backlog.clone());
        let mut in_a_row = 0;
        while !self.stopping.load(Ordering::SeqCst) {
            self.timers.expire();
            if let Some(cell) = self.pop(worker) {
                cell.run(worker);
                in_a_row += 1;
                if in_a_row >= MOST_IN_A_ROW {
                    in_a_row = 0;
                    self.parker.glance(worker);
                }
                continue;
            }
            in_a_row = 0;
            me.parked.store(true, Ordering::SeqCst);
            // Whoever pushes after this look sees `parked` and unparks.
            if let Some(cell) = self.pop(worker) {
                me.parked.store(false, Ordering::SeqCst);
                cell.run(worker);
                continue;
            }
            if !self.stopping.load(Ordering::SeqCst) {
                self.parker.park(worker, self.timers.next());
            }
            me.parked.store(false, Ordering::SeqCst);
        }
        self.parker.stop(worker);
        WORKER.set(None);
    }
}

/// A [`Parker`] without guest code, for tests.
#[derive(Default)]
pub struct CondvarParker {
    woken: Mutex<Vec<usize>>,
    changed: Condvar,
}

impl Parker for CondvarParker {
    fn park(&self, worker: usize, deadline: Option<u64>) {
        let mut woken = lock(&self.woken);
        loop {
            if let Some(i) = woken.iter().position(|&w| w == worker) {
                woken.swap_remove(i);
                return;
            }
            let left = deadline.map(|d| d.saturating_sub(chitin_hostsys::clock::monotonic()));
            if left == Some(0) {
                return;
            }
            let left = std::time::Duration::from_nanos(left.unwrap_or(u64::MAX >> 4));
            let result = self.changed.wait_timeout(woken, left);
            woken = result.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn unpark(&self, worker: usize) {
        let mut woken = lock(&self.woken);
        if !woken.contains(&worker) {
            woken.push(worker);
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::AtomicU32;
    use std::task::Poll;

    fn sleep(executor: &Arc<Executor>, nanos: u64) -> impl Future<Output = ()> + Send + 'static {
        let executor = executor.clone();
        let deadline = Executor::now() + nanos;
        let mut timer = None;
        poll_fn(move |cx| {
            if Executor::now() >= deadline {
                return Poll::Ready(());
            }
            timer.get_or_insert_with(|| executor.timer(deadline, cx.waker().clone()));
            Poll::Pending
        })
    }

    #[test]
    fn tasks_sleep_and_the_executor_stops() {
        let executor = Executor::new(Arc::new(CondvarParker::default()), 2);
        let left = Arc::new(AtomicU32::new(10));
        for i in 0..10 {
            let (executor, left) = (executor.clone(), left.clone());
            executor.clone().spawn(async move {
                sleep(&executor, 1_000_000 * (10 - i)).await;
                if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                    executor.shutdown();
                }
            });
        }
        executor.run();
        assert_eq!(left.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_waker_called_from_elsewhere_is_not_lost() {
        let executor = Executor::new(Arc::new(CondvarParker::default()), 1);
        let slot: Arc<Mutex<Option<Waker>>> = Arc::default();
        let flag = Arc::new(AtomicBool::new(false));
        let (s, f, e) = (slot.clone(), flag.clone(), executor.clone());
        executor.spawn(async move {
            poll_fn(|cx| {
                *lock(&s) = Some(cx.waker().clone());
                if f.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            e.shutdown();
        });
        let other = std::thread::spawn(move || {
            loop {
                if let Some(waker) = lock(&slot).take() {
                    flag.store(true, Ordering::SeqCst);
                    waker.wake();
                    return;
                }
                std::thread::yield_now();
            }
        });
        executor.run();
        other.join().unwrap();
    }
}
