//! A spawned future and its scheduling state.

use crate::{Executor, POLLS, lock};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake};

/// Not queued; a wake queues it.
const IDLE: u8 = 0;
/// In a queue.
const QUEUED: u8 = 1;
/// Being polled.
const RUNNING: u8 = 2;
/// Being polled, and woken since.
const WOKEN: u8 = 3;

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A spawned future.
pub(crate) struct TaskCell {
    executor: Weak<Executor>,
    state: AtomicU8,
    /// The worker that polled it last.
    home: AtomicUsize,
    /// `None` once done. Only the worker that made the state RUNNING locks it.
    future: Mutex<Option<Boxed>>,
}

impl TaskCell {
    /// A cell in state QUEUED: the caller queues it.
    pub(crate) fn new(executor: Weak<Executor>, future: Boxed) -> Arc<Self> {
        Arc::new(Self {
            executor,
            state: AtomicU8::new(QUEUED),
            home: AtomicUsize::new(0),
            future: Mutex::new(Some(future)),
        })
    }

    pub(crate) fn home(&self) -> usize {
        self.home.load(Ordering::Relaxed)
    }

    /// Polls the future once.
    pub(crate) fn run(self: Arc<Self>, worker: usize) {
        self.home.store(worker, Ordering::Relaxed);
        POLLS.set(POLLS.get() + 1);
        self.state.store(RUNNING, Ordering::SeqCst);
        let waker = self.clone().into();
        let done = {
            let mut slot = lock(&self.future);
            let Some(future) = slot.as_mut() else { return };
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            // A finished future is dropped outside the lock.
            if polled == Poll::Ready(()) { slot.take() } else { None }
        };
        if done.is_some() {
            return;
        }
        let idle = self.state.compare_exchange(RUNNING, IDLE, Ordering::SeqCst, Ordering::SeqCst);
        if idle.is_err() {
            self.state.store(QUEUED, Ordering::SeqCst);
            self.requeue();
        }
    }

    fn requeue(self: Arc<Self>) {
        if let Some(executor) = self.executor.upgrade() {
            executor.push(self);
        }
    }
}

impl Wake for TaskCell {
    fn wake(self: Arc<Self>) {
        loop {
            let state = self.state.load(Ordering::SeqCst);
            let next = match state {
                IDLE => QUEUED,
                RUNNING => WOKEN,
                _ => return,
            };
            let swapped =
                self.state.compare_exchange(state, next, Ordering::SeqCst, Ordering::SeqCst);
            if swapped.is_ok() {
                if next == QUEUED {
                    self.requeue();
                }
                return;
            }
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // The common case of a wake that is not needed costs no reference count.
        if matches!(self.state.load(Ordering::SeqCst), IDLE | RUNNING) {
            self.clone().wake();
        }
    }
}
