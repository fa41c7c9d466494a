//! [`Stub`]: a stub process and its mapper thread, which makes system calls for the
//! sentry by requests that the stub can only read.

use crate::control::{Block, Slot};
use crate::layout::*;
use crate::{Reply, sys};
use chitin_executor::Executor;
use chitin_platform::PlatformError;
use std::any::Any;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Added to a reply eventfd when the process is dead.
const DEAD: u64 = 1 << 48;
const DONE: u64 = 1 << REPLY_DONE_SHIFT;

/// A system call for a mapper.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    nr: i64,
    args: [u64; 6],
    kind: u64,
}

impl Op {
    /// A call that ends the batch if it fails.
    pub(crate) fn call(nr: i64, args: [u64; 6]) -> Self {
        Self { nr, args, kind: OP_CALL }
    }

    /// A call of another kind.
    pub(crate) fn of_kind(kind: u64, nr: i64, args: [u64; 6]) -> Self {
        Self { nr, args, kind }
    }
}

/// What wakes when the stub dies.
pub(crate) trait OnDeath: Send + Sync {
    /// The process is dead.
    fn died(&self);
}

/// A stub process.
pub(crate) struct Stub {
    /// Process number; 0 until known.
    pid: AtomicI32,
    request: Block,
    reply: Mutex<Option<Reply>>,
    /// A second handle for the reaper, who must not wait for the mapper's lock.
    poke: std::os::fd::OwnedFd,
    dead: AtomicBool,
    cpu: AtomicUsize,
    /// Slots that live as long as the process.
    slots: Mutex<Vec<Slot>>,
    threads: Mutex<Vec<Weak<dyn OnDeath>>>,
    /// What it still maps, until it is dead.
    held: Mutex<Option<Box<dyn Any + Send>>>,
    /// To be done before the next request.
    first: Mutex<Vec<Op>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stub {
    /// The host side of a stub that will use this request block and reply eventfd.
    pub(crate) fn new(
        request: Block,
        slot: Option<Slot>,
        reply: Reply,
    ) -> std::io::Result<Arc<Self>> {
        request.u32(REQ_REPLY_FD).store(reply.theirs as u32, Ordering::Relaxed);
        let poke = reply.ours.try_clone()?;
        Ok(Arc::new(Self {
            pid: AtomicI32::new(0),
            request,
            reply: Mutex::new(Some(reply)),
            poke,
            dead: AtomicBool::new(false),
            cpu: AtomicUsize::new(usize::MAX),
            slots: Mutex::new(slot.into_iter().collect()),
            threads: Mutex::default(),
            held: Mutex::default(),
            first: Mutex::default(),
        }))
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.load(Ordering::Relaxed)
    }

    pub(crate) fn set_pid(&self, pid: i32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    pub(crate) fn keep(&self, slot: Slot) {
        lock(&self.slots).push(slot);
    }

    pub(crate) fn watch(&self, thread: Weak<dyn OnDeath>) {
        let mut threads = lock(&self.threads);
        threads.retain(|t| t.strong_count() > 0);
        threads.push(thread);
    }

    /// CPU time of the process while it lives, in nanoseconds.
    pub(crate) fn cpu_time(&self) -> Option<u64> {
        let pid = Some(self.pid()).filter(|&pid| pid > 0)?;
        let time = sys::process_cpu_time(pid)?;
        // Once it is reaped another process may have its number.
        (!self.is_dead()).then_some(time)
    }

    pub(crate) fn kill(&self) {
        if !self.is_dead() && self.pid() > 0 {
            sys::kill(self.pid());
        }
    }

    /// The same; `memory` is dropped when the process is dead.
    pub(crate) fn kill_holding(&self, memory: Box<dyn Any + Send>) {
        *lock(&self.held) = Some(memory);
        self.kill();
        if self.is_dead() {
            drop(lock(&self.held).take());
        }
    }

    /// Makes operations part of the next request.
    pub(crate) fn first(&self, ops: &[Op]) {
        lock(&self.first).extend_from_slice(ops);
    }

    /// The reaper says that the process is a zombie.
    pub(crate) fn mark_dead(&self) {
        self.dead.store(true, Ordering::SeqCst);
        drop(lock(&self.held).take());
        sys::eventfd_add(self.poke.as_fd(), DEAD);
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads.iter().filter_map(Weak::upgrade) {
            thread.died();
        }
    }

    /// The reply eventfd for another stub, once this one is gone.
    pub(crate) fn take_reply(&self) -> Option<Reply> {
        lock(&self.reply).take()
    }

    /// Holds the mapper for a request whose fields outside the operations the caller
    /// fills in.
    pub(crate) fn mapper(&self) -> Mapper<'_> {
        Mapper { stub: self, reply: lock(&self.reply) }
    }

    /// The slot of its request block: what is behind the block it can read, too.
    pub(crate) fn readable(&self) -> &Block {
        &self.request
    }

    fn write_ops(&self, ops: &[Op]) {
        let block = &self.request;
        for (i, op) in ops.iter().enumerate() {
            let at = REQ_OPS + i as u64 * OP_LEN;
            block.set(at, op.nr as u64);
            for (j, &arg) in op.args.iter().enumerate() {
                block.set(at + 8 + 8 * j as u64, arg);
            }
            block.set(at + 56, op.kind);
        }
        block.u32(REQ_COUNT).store(ops.len() as u32, Ordering::Relaxed);
    }

    fn ring(&self) {
        let seq = self.request.u32(REQ_SEQ);
        seq.fetch_add(1, Ordering::Release);
        sys::futex_wake(seq);
    }

    /// Leaves a request for a process that may not be there, and waits for nothing.
    pub(crate) fn post(&self, ops: &[Op]) {
        self.write_ops(ops);
        self.ring();
    }

    /// Performs a batch (of any length).
    pub(crate) fn perform(&self, ops: &[Op]) -> Result<(), PlatformError> {
        let mut mapper = self.mapper();
        ops.chunks(MAX_OPS as usize).try_for_each(|ops| mapper.request(ops).map(drop))
    }
}

/// Exclusive use of a stub's mapper.
pub(crate) struct Mapper<'a> {
    stub: &'a Stub,
    reply: MutexGuard<'a, Option<Reply>>,
}

impl Mapper<'_> {
    /// Performs one request of at most `MAX_OPS` operations and returns the last result.
    pub(crate) fn request(&mut self, ops: &[Op]) -> Result<i32, PlatformError> {
        let stub = self.stub;
        if stub.is_dead() {
            return Err(PlatformError::Dead);
        }
        let first = std::mem::take(&mut *lock(&stub.first));
        if first.is_empty() {
            stub.write_ops(ops);
        } else {
            let all = [&first, ops].concat();
            if all.len() as u64 > MAX_OPS {
                self.send(&first)?;
                stub.write_ops(ops);
            } else {
                stub.write_ops(&all);
            }
        }
        self.ask()
    }

    fn send(&mut self, ops: &[Op]) -> Result<i32, PlatformError> {
        self.stub.write_ops(ops);
        self.ask()
    }

    /// Has the mapper do what is in the request block.
    fn ask(&mut self) -> Result<i32, PlatformError> {
        let stub = self.stub;
        let Some(reply) = self.reply.as_ref() else { return Err(PlatformError::Dead) };
        let start = crate::parker::polls_now().then(Executor::now);
        if let Some(cpu) = crate::parker::current_cpu()
            && stub.pid() > 0
            && stub.cpu.swap(cpu, Ordering::Relaxed) != cpu
        {
            sys::set_cpu(stub.pid(), &[cpu]);
        }
        stub.ring();
        let mut sum = 0_u64;
        while sum & (DONE | DEAD) == 0 {
            sum = sum.wrapping_add(sys::eventfd_read(reply.ours.as_fd()));
        }
        if sum & DEAD != 0 {
            return Err(PlatformError::Dead);
        }
        if let Some(start) = start {
            crate::parker::request_took(Executor::now() - start);
        }
        match sum as u32 as i32 {
            result @ 0.. => Ok(result),
            result => Err(match -result {
                libc::ENOMEM | libc::EAGAIN => PlatformError::Exhausted,
                errno => PlatformError::Host(errno),
            }),
        }
    }
}
