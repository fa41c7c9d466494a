//! [`Pending`]: a request that waits for its file.

use super::{Context, Share, Token, What};
use crate::mm::Mm;
use crate::sync::Mutex;
use crate::syscall::rw::{broken_pipe, read_once, write_once};
use crate::task::{CurrentTask, Task};
use crate::vfs::{File, IoDst, IoSrc, UserSegment, notify};
use crate::wait::{Events, Pollable, Registration, WaitQueue};
use chitin_abi::Errno;
use chitin_abi::fs::{IN_ACCESS, IN_MODIFY};
use std::sync::{Arc, Weak};
use std::task::Poll;

/// What a request that may wait does.
pub(crate) enum Operation {
    /// Reads a stream.
    Read(Vec<UserSegment>),
    /// Writes all to a stream.
    Write(Vec<UserSegment>),
    /// Waits for one of these (`IOCB_CMD_POLL`).
    Poll(Events),
}

struct Progress {
    /// `None`: it has ended.
    token: Option<Token>,
    /// Bytes written.
    done: usize,
}

/// See the module.
pub(crate) struct Pending {
    id: u64,
    obj: u64,
    context: Arc<Context>,
    task: Arc<Task>,
    /// The context ends with it, and with the context this.
    mm: Weak<Mm>,
    file: Arc<File>,
    operation: Operation,
    progress: Mutex<Progress>,
    /// Told when it is ended by others.
    stop: WaitQueue,
    _share: Share,
}

impl Pending {
    /// Begins a request, which may complete at once; `patient` ones wait where they cannot.
    /// `EAGAIN` if too much waits already.
    pub(crate) fn submit(
        cur: &CurrentTask,
        token: Token,
        file: Arc<File>,
        operation: Operation,
        patience: Patience,
    ) -> Result<(), Errno> {
        let segments = match &operation {
            Operation::Read(segments) | Operation::Write(segments) => segments.len(),
            Operation::Poll(_) => 0,
        };
        // What it takes itself, with its future and what it registers, and its segments.
        let bytes = 1024 + (segments * size_of::<UserSegment>()) as u64;
        let context = token.context.clone();
        let share = Share::take(&context.usage, What::Waiting, bytes)?;
        let mut state = context.state.lock();
        let id = state.next;
        state.next += 1;
        let pending = Arc::new(Self {
            id,
            obj: token.obj,
            context: context.clone(),
            task: cur.task().clone(),
            mm: Arc::downgrade(cur.mm()),
            file,
            operation,
            progress: Mutex::new(Progress { token: Some(token), done: 0 }),
            stop: WaitQueue::new(),
            _share: share,
        });
        if state.dead {
            drop(state);
            pending.end();
            return Ok(());
        }
        state.waiting.insert(id, pending.clone());
        drop(state);
        if pending.attempt() {
            return Ok(());
        }
        match patience {
            Patience::None => pending.give_up(),
            Patience::Endless => cur.task().kernel.executor.spawn(pending.carry()),
        }
        Ok(())
    }

    fn interest(&self) -> Events {
        match &self.operation {
            Operation::Read(_) => Events::READABLE,
            Operation::Write(_) => Events::WRITABLE,
            Operation::Poll(events) => *events,
        }
    }

    /// Waits until it has ended.
    async fn carry(self: Arc<Self>) {
        let waker = std::future::poll_fn(|cx| Poll::Ready(Arc::new(cx.waker().clone()))).await;
        let _stop = Registration::new(&self.stop, Events::ALL, waker.clone());
        let queue = self.file.wait_queue();
        let _ready = queue.map(|q| Registration::new(q, self.interest(), waker.clone()));
        let attempt = |_: &mut std::task::Context<'_>| {
            if self.attempt() { Poll::Ready(()) } else { Poll::Pending }
        };
        std::future::poll_fn(attempt).await;
    }

    /// Tries it; whether it has ended.
    fn attempt(&self) -> bool {
        // Let go after the lock: with the last hold on it goes the context.
        let Some(mm) = self.mm.upgrade() else { return true };
        let mut progress = self.progress.lock();
        if progress.token.is_none() {
            return true;
        }
        let result = match self.try_once(&mm, &mut progress.done) {
            Err(Errno::EAGAIN) => return false,
            other => other,
        };
        let token = progress.token.take();
        drop(progress);
        self.finish(token, result);
        true
    }

    fn try_once(&self, mm: &Mm, done: &mut usize) -> Result<u64, Errno> {
        match &self.operation {
            Operation::Poll(events) => {
                let ready = self.file.readiness() & *events;
                if ready.is_empty() { Err(Errno::EAGAIN) } else { Ok(ready.0.into()) }
            }
            Operation::Read(segments) => {
                let mut dst = IoDst::user(mm, segments);
                let result = read_once(&self.task, &self.file, &mut dst, None);
                if dst.done() > 0 {
                    notify::open_file_event(&self.file, IN_ACCESS);
                    return Ok(dst.done() as u64);
                }
                result.map(|n| n as u64)
            }
            Operation::Write(segments) => {
                let (mut src, before) = (IoSrc::user(mm, segments), *done);
                src.advance(before);
                let result = write_once(&self.task, &self.file, &mut src, None, false);
                *done = src.done();
                if *done > before {
                    notify::open_file_event(&self.file, IN_MODIFY);
                }
                match result {
                    Err(Errno::EAGAIN) => Err(Errno::EAGAIN),
                    Err(_) if *done > 0 => Ok(*done as u64),
                    Err(Errno::EPIPE) if self.file.ops().io_rules().sigpipe => {
                        broken_pipe(&self.task);
                        Err(Errno::EPIPE)
                    }
                    other => other.map(|n| n.max(*done) as u64),
                }
            }
        }
    }

    fn finish(&self, token: Option<Token>, result: Result<u64, Errno>) {
        self.context.state.lock().waiting.remove(&self.id);
        if let Some(token) = token {
            token.finish(result);
        }
    }

    /// Completes with what was done so far.
    fn give_up(&self) {
        let mut progress = self.progress.lock();
        let (token, done) = (progress.token.take(), progress.done);
        drop(progress);
        self.finish(token, if done > 0 { Ok(done as u64) } else { Err(Errno::EAGAIN) });
    }

    /// Whether `io_cancel(2)` of this request ends it: only waiting for readiness is.
    pub(super) fn is_cancelled_by(&self, obj: u64) -> bool {
        self.obj == obj && matches!(self.operation, Operation::Poll(_))
    }

    /// Completes without readiness; whether it had not completed before.
    pub(super) fn cancel(&self) -> bool {
        let token = self.progress.lock().token.take();
        let found = token.is_some();
        self.finish(token, Ok(0));
        self.stop.notify(Events::ALL);
        found
    }

    /// Ends without an event.
    pub(super) fn end(&self) {
        let token = self.progress.lock().token.take();
        drop(token);
        self.stop.notify(Events::ALL);
    }
}

/// What a request does where it would have to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Patience {
    /// It completes with `EAGAIN`.
    None,
    /// It waits.
    Endless,
}
