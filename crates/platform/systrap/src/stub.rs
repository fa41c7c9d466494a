//! [`Stub`]: a stub process and its mapper thread, which makes system calls for the
//! sentry by requests that the stub can only read.

use crate::control::{Block, Slot};
use crate::layout::*;
use crate::sys::CpuClock;
use crate::{Reply, sys};
use chitin_platform::PlatformError;
use std::any::Any;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
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

    /// Unmaps all that a guest can have.
    pub(crate) fn unmap_all() -> Self {
        Self::call(libc::SYS_munmap, [0, GUEST_END, 0, 0, 0, 0])
    }

    /// A call of another kind.
    pub(crate) fn of_kind(kind: u64, nr: i64, args: [u64; 6]) -> Self {
        Self { nr, args, kind }
    }
}

/// Operations whose result nobody waits for, and what must outlive them.
#[derive(Default)]
struct Later {
    ops: Vec<Op>,
    held: Vec<Box<dyn Any + Send>>,
}

/// How the mapper answers.
struct Line {
    reply: Option<Reply>,
    /// A request has not been answered yet; what must outlive it.
    sent: Option<Vec<Box<dyn Any + Send>>>,
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
    line: Mutex<Line>,
    /// A second handle for the reaper, who must not wait for the mapper's lock.
    poke: std::os::fd::OwnedFd,
    dead: AtomicBool,
    cpu: AtomicUsize,
    /// Slots that live as long as the process.
    slots: Mutex<Vec<Slot>>,
    threads: Mutex<Vec<Weak<dyn OnDeath>>>,
    /// What it still maps, until it is dead.
    held: Mutex<Vec<Box<dyn Any + Send>>>,
    /// To be done before the next request, and before a thread that asked for it goes on.
    later: Mutex<Later>,
    /// There is something.
    has_later: AtomicBool,
    /// CPU time, and what of it was in the host's kernel, when its process began, in nanoseconds.
    counted: AtomicU64,
    system_before: AtomicU64,
}

/// No host's tick is longer by much, in nanoseconds.
const TICK: u64 = 4_000_000;

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
            line: Mutex::new(Line { reply: Some(reply), sent: None }),
            poke,
            dead: AtomicBool::new(false),
            cpu: AtomicUsize::new(usize::MAX),
            slots: Mutex::new(slot.into_iter().collect()),
            threads: Mutex::default(),
            held: Mutex::default(),
            later: Mutex::default(),
            has_later: AtomicBool::new(false),
            counted: AtomicU64::new(0),
            system_before: AtomicU64::new(0),
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
        let time = sys::process_cpu_time(pid, CpuClock::Sched)?;
        // Once it is reaped another process may have its number.
        (!self.is_dead()).then_some(time)
    }

    /// What its process has spent in the host's kernel, by the host's ticks.
    pub(crate) fn system_time(&self) -> Option<u64> {
        let before = self.system_before.load(Ordering::Relaxed);
        self.whole_system_time().map(|time| time.saturating_sub(before))
    }

    /// Another process begins in it; returns the CPU time that it has used before.
    pub(crate) fn begin_process(&self) -> u64 {
        let time = self.cpu_time().unwrap_or(0);
        // The clocks of ticks need not be asked where hardly any can have passed.
        if time.saturating_sub(self.counted.load(Ordering::Relaxed)) >= TICK {
            self.counted.store(time, Ordering::Relaxed);
            let system = self.whole_system_time().unwrap_or(0);
            self.system_before.store(system, Ordering::Relaxed);
        }
        time
    }

    fn whole_system_time(&self) -> Option<u64> {
        let pid = Some(self.pid()).filter(|&pid| pid > 0)?;
        let user = sys::process_cpu_time(pid, CpuClock::Virt)?;
        let both = sys::process_cpu_time(pid, CpuClock::Prof)?;
        (!self.is_dead()).then_some(both.saturating_sub(user))
    }

    pub(crate) fn kill(&self) {
        if !self.is_dead() && self.pid() > 0 {
            sys::kill(self.pid());
        }
    }

    /// The same; `memory` is dropped when the process is dead.
    pub(crate) fn kill_holding(&self, memory: Box<dyn Any + Send>) {
        self.kill_holding_all(vec![memory]);
    }

    fn kill_holding_all(&self, memory: Vec<Box<dyn Any + Send>>) {
        lock(&self.held).extend(memory);
        self.kill();
        if self.is_dead() {
            drop(std::mem::take(&mut *lock(&self.held)));
        }
    }

    /// Makes operations part of the next request; `held` outlives them.
    pub(crate) fn later(&self, ops: &[Op], held: Option<Box<dyn Any + Send>>) {
        let mut later = lock(&self.later);
        later.ops.extend_from_slice(ops);
        later.held.extend(held);
        self.has_later.store(true, Ordering::Release);
    }

    /// Whether there are such operations.
    pub(crate) fn has_later(&self) -> bool {
        self.has_later.load(Ordering::Acquire)
    }

    /// The reaper says that the process is a zombie.
    pub(crate) fn mark_dead(&self) {
        self.dead.store(true, Ordering::SeqCst);
        drop(std::mem::take(&mut *lock(&self.held)));
        drop(std::mem::take(&mut *lock(&self.later)));
        sys::eventfd_add(self.poke.as_fd(), DEAD);
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads.iter().filter_map(Weak::upgrade) {
            thread.died();
        }
    }

    /// The reply eventfd for another stub, once this one is gone.
    pub(crate) fn take_reply(&self) -> Option<Reply> {
        let mut line = lock(&self.line);
        let sent = line.sent.take();
        let reply = line.reply.take();
        drop(line);
        drop(sent);
        reply
    }

    /// Holds the mapper for a request whose fields outside the operations the caller
    /// fills in.
    pub(crate) fn mapper(&self) -> Mapper<'_> {
        Mapper { stub: self, line: lock(&self.line) }
    }

    /// The slot of its request block: what is behind the block it can read, too.
    pub(crate) fn readable(&self) -> &Block {
        &self.request
    }

    /// Writes a request; `chain` is the address of the area of the thread that goes on when
    /// it has been done, or 0.
    fn write_ops(&self, ops: &[Op], chain: u64) {
        let block = &self.request;
        block.set(REQ_CHAIN, chain);
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

    /// Hands a written request over; the mapper may sleep.
    fn hand_over(&self) {
        self.request.u32(REQ_SEQ).fetch_add(1, Ordering::SeqCst);
    }

    /// Wakes the mapper.
    pub(crate) fn ring(&self) {
        sys::futex_wake(self.request.u32(REQ_SEQ));
    }

    /// Binds the mapper to a CPU.
    pub(crate) fn move_to(&self, cpu: usize) {
        if self.pid() > 0 && self.cpu.swap(cpu, Ordering::Relaxed) != cpu {
            sys::set_cpu(self.pid(), &[cpu]);
        }
    }

    /// Leaves a request for a process that may not be there, and waits for nothing.
    pub(crate) fn post(&self, ops: &[Op]) {
        self.write_ops(ops, 0);
        self.hand_over();
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
    line: MutexGuard<'a, Line>,
}

impl Mapper<'_> {
    /// Performs one request of at most `MAX_OPS` operations and returns the last result.
    pub(crate) fn request(&mut self, ops: &[Op]) -> Result<i32, PlatformError> {
        let stub = self.stub;
        self.settle()?;
        if stub.is_dead() {
            return Err(PlatformError::Dead);
        }
        let later = self.take_later();
        let fits = later.ops.len() + ops.len() <= MAX_OPS as usize;
        let result = if fits {
            self.send(&[&later.ops, ops].concat())
        } else {
            let mut chunks = later.ops.chunks(MAX_OPS as usize);
            chunks.try_for_each(|some| self.send(some).map(drop)).and_then(|()| self.send(ops))
        };
        if result.is_err() && !later.held.is_empty() {
            // What was to be unmapped may still be mapped.
            stub.kill_holding_all(later.held);
        }
        result
    }

    fn take_later(&mut self) -> Later {
        if !self.stub.has_later() {
            return Later::default();
        }
        let mut later = lock(&self.stub.later);
        self.stub.has_later.store(false, Ordering::Release);
        std::mem::take(&mut later)
    }

    /// Has the mapper do what is to be done later, and then let the thread go on whose area
    /// is at `chain` in the stub, bound to this CPU: it wakes the mapper. False if that is
    /// too much for one request.
    pub(crate) fn send_before(&mut self, chain: u64, cpu: Option<usize>) -> bool {
        let fits = lock(&self.stub.later).ops.len() <= MAX_OPS as usize;
        if !fits || self.settle().is_err() || self.stub.is_dead() {
            return false;
        }
        let later = self.take_later();
        if let Some(cpu) = cpu {
            self.stub.move_to(cpu);
        }
        self.stub.write_ops(&later.ops, chain);
        self.line.sent = Some(later.held);
        self.stub.hand_over();
        true
    }

    /// Waits for the answer to what was sent before a thread, if there is one to come.
    pub(crate) fn settle(&mut self) -> Result<(), PlatformError> {
        let Some(held) = self.line.sent.take() else { return Ok(()) };
        let mut sum = self.line.reply.as_ref().map_or(0, |r| sys::eventfd_try_read(r.ours.as_fd()));
        if sum & (DONE | DEAD) == 0 {
            // The thread that was to wake it may not have come to that.
            self.stub.ring();
            sum = self.rest_of_answer(sum);
        }
        let result = outcome(sum);
        if result.is_err() {
            // What was to be unmapped may still be mapped.
            self.stub.kill_holding_all(held);
        }
        result.map(drop)
    }

    /// Has the mapper do some operations.
    fn send(&mut self, ops: &[Op]) -> Result<i32, PlatformError> {
        crate::parker::make_room();
        if let Some(cpu) = crate::parker::current_cpu() {
            self.stub.move_to(cpu);
        }
        self.stub.write_ops(ops, 0);
        self.stub.hand_over();
        self.stub.ring();
        self.answer()
    }

    fn answer(&mut self) -> Result<i32, PlatformError> {
        outcome(self.rest_of_answer(0))
    }

    /// Waits for what is missing of an answer.
    fn rest_of_answer(&self, mut sum: u64) -> u64 {
        let Some(reply) = self.line.reply.as_ref() else { return DEAD };
        while sum & (DONE | DEAD) == 0 {
            sum = sum.wrapping_add(sys::eventfd_read(reply.ours.as_fd()));
        }
        sum
    }
}

/// What a whole answer says.
fn outcome(sum: u64) -> Result<i32, PlatformError> {
    if sum & DEAD != 0 {
        return Err(PlatformError::Dead);
    }
    match sum as u32 as i32 {
        result @ 0.. => Ok(result),
        result => Err(match -result {
            libc::ENOMEM | libc::EAGAIN => PlatformError::Exhausted,
            errno => PlatformError::Host(errno),
        }),
    }
}
