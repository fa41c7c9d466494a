//! [`CurrentTask`]: the exclusive half of a guest thread, and its only way to wait.

use super::{ExitStatus, Task, work};
use crate::error::Restart;
use crate::mm::Mm;
use crate::time::Deadline;
use crate::vfs::{File, FileCx};
use crate::wait::{Events, Pollable, Registration, WaitError, WaitQueue};
use chitin_abi::Errno;
use chitin_platform::{Context, Regs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

/// How `restart_syscall(2)` goes on with an interrupted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartBlock {
    /// `nanosleep(2)` until this deadline; the remaining time is stored at an address.
    Sleep(Deadline, chitin_usermem::UserAddr),
    /// `poll(2)` with this deadline and its arguments.
    Poll(Option<Deadline>, chitin_usermem::UserAddr, u32),
    /// `futex(2)` wait: address, value, bit set, deadline.
    Futex(chitin_usermem::UserAddr, u32, u32, Deadline, u32),
}

/// The running side of a guest thread; owned by its future.
pub struct CurrentTask {
    task: Arc<Task>,
    /// The thread's address space, the same as [`Task::mm`] without the lock.
    mm: Arc<Mm>,
    /// Runs its guest code.
    pub ctx: Box<dyn Context>,
    /// The interrupted call that is to be restarted: how, and its number.
    pub(crate) restart: Option<(Restart, u64)>,
    /// For `restart_syscall(2)`.
    pub restart_block: Option<RestartBlock>,
    /// `exit(2)` was called.
    pub(crate) exit: Option<ExitStatus>,
    /// Mask to go back to after a call that waits with another one (`sigsuspend(2)`,
    /// `ppoll(2)`), unless a handler runs, whose frame keeps it.
    pub(crate) saved_mask: Option<crate::signal::SigSet>,
    /// How many calls `cpuid` still traps for.
    pub(crate) learning: u32,
    /// How many calls it has made, for [`super::times`].
    pub(super) calls: u32,
}

impl CurrentTask {
    /// Joins both halves.
    #[must_use]
    pub fn new(task: Arc<Task>, mm: Arc<Mm>, ctx: Box<dyn Context>) -> Self {
        task.attach(Some(ctx.kicker()));
        Self {
            task,
            mm,
            ctx,
            restart: None,
            restart_block: None,
            exit: None,
            saved_mask: None,
            learning: 0,
            calls: 0,
        }
    }

    /// The shared half.
    #[must_use]
    pub fn task(&self) -> &Arc<Task> {
        &self.task
    }

    /// The thread's address space.
    #[must_use]
    pub fn mm(&self) -> &Arc<Mm> {
        &self.mm
    }

    /// Goes on in another address space (`execve(2)`).
    pub(crate) fn replace_mm(&mut self, mm: Arc<Mm>, ctx: Box<dyn Context>) {
        self.task.attach(Some(ctx.kicker()));
        let old = std::mem::replace(&mut self.mm, mm.clone());
        self.task.process.keep_times(&old, || *self.task.mm.write() = Some(mm));
        // The old context ends before its address space.
        self.ctx = ctx;
        drop(old);
    }

    /// Has `cpuid` trap while the program starts, so that the sites are patched.
    pub(crate) fn learn_cpuid(&mut self) {
        /// Calls that a program makes until it has started.
        const STARTING: u32 = 48;
        self.ctx.trap_cpuid(chitin_platform::Cpuid::Traps);
        self.learning = STARTING;
    }

    /// Both halves apart, for the end of the thread.
    pub(super) fn into_parts(self) -> (Arc<Task>, Arc<Mm>, Box<dyn Context>) {
        (self.task, self.mm, self.ctx)
    }

    /// Registers at the user boundary.
    pub fn regs(&mut self) -> &mut Regs {
        self.ctx.regs()
    }

    /// The vector state.
    pub(crate) async fn fp_state(&mut self) -> Result<Vec<u8>, Errno> {
        let ctx = &mut self.ctx;
        let state = std::future::poll_fn(|cx| ctx.fp_state(cx)).await;
        state.map_err(crate::mm::host_error)
    }

    /// The open file description behind a descriptor.
    pub fn file(&self, fd: i32) -> Result<Arc<File>, Errno> {
        self.task.files.read().get(fd)
    }

    /// The context of an operation on `file`.
    #[must_use]
    pub fn file_cx<'a>(&'a self, file: &'a File) -> FileCx<'a> {
        FileCx { task: &self.task, file }
    }

    /// Waits until `op` yields something other than `EAGAIN`, a signal interrupts,
    /// or the deadline passes. `op` is tried at once, again after registration with
    /// `source`, and after every announcement of one of `interest` there.
    ///
    /// This is the only way to wait in the kernel. The future may be dropped at any
    /// time (a killed task, a checkpoint): nothing but the registration is lost.
    pub async fn block_on<T, S: Pollable + ?Sized>(
        &mut self,
        source: &S,
        interest: Events,
        deadline: Option<Deadline>,
        op: impl FnMut(&mut Self) -> Result<T, Errno>,
    ) -> Result<T, WaitError> {
        self.block_until(source, interest, deadline, u32::MAX, op).await
    }

    /// The same, but only its own end interrupts (`TASK_KILLABLE`).
    pub async fn block_killable<T>(
        &mut self,
        source: &WaitQueue,
        op: impl FnMut(&mut Self) -> Result<T, Errno>,
    ) -> Result<T, WaitError> {
        self.block_until(source, Events::ALL, None, work::EXIT, op).await
    }

    /// The same for a thread that is on its way out: nothing interrupts.
    pub(crate) async fn block_on_end<T>(
        &mut self,
        source: &WaitQueue,
        op: impl FnMut(&mut Self) -> Result<T, Errno>,
    ) -> Result<T, WaitError> {
        self.block_until(source, Events::ALL, None, 0, op).await
    }

    /// Waits for a while; only its own end interrupts.
    pub(crate) async fn pause(&mut self, nanoseconds: u64) {
        let deadline = Deadline::after(nanoseconds);
        let never = WaitQueue::new();
        let op = |_: &mut Self| Err::<(), _>(Errno::EAGAIN);
        let _ = self.block_until(&never, Events::NONE, Some(deadline), work::EXIT, op).await;
    }

    /// Waits for several queues at once, otherwise as [`CurrentTask::block_on`].
    pub async fn block_on_any<T>(
        &mut self,
        sources: &[(&WaitQueue, Events)],
        deadline: Option<Deadline>,
        mut op: impl FnMut(&mut Self) -> Result<T, Errno>,
    ) -> Result<T, WaitError> {
        match op(self) {
            Err(Errno::EAGAIN) => {}
            other => return other.map_err(WaitError::Errno),
        }
        let mut registrations: Vec<Registration<'_>> = Vec::new();
        let waker = std::future::poll_fn(|cx| Poll::Ready(Arc::new(cx.waker().clone()))).await;
        for &(queue, interest) in sources {
            registrations.push(Registration::new(queue, interest, waker.clone()));
        }
        let never = WaitQueue::new();
        self.block_until(&never, Events::NONE, deadline, u32::MAX, op).await
    }

    async fn block_until<T, S: Pollable + ?Sized>(
        &mut self,
        source: &S,
        interest: Events,
        deadline: Option<Deadline>,
        interrupts: u32,
        mut op: impl FnMut(&mut Self) -> Result<T, Errno>,
    ) -> Result<T, WaitError> {
        match op(self) {
            Err(Errno::EAGAIN) => {}
            other => return other.map_err(WaitError::Errno),
        }
        self.ctx.park();
        self.task.asleep.store(true, Ordering::Relaxed);
        let mut registration: Option<Registration<'_>> = None;
        let mut timer = None;
        let result = std::future::poll_fn(|cx| {
            if registration.is_none()
                && let Some(queue) = source.wait_queue()
            {
                let waker = Arc::new(cx.waker().clone());
                registration = Some(Registration::new(queue, interest, waker));
            }
            if timer.is_none()
                && let Some(deadline) = deadline
            {
                let executor = &self.task.kernel.executor;
                timer = Some(executor.timer(deadline.0, cx.waker().clone()));
            }
            match op(self) {
                Err(Errno::EAGAIN) => {}
                other => return Poll::Ready(other.map_err(WaitError::Errno)),
            }
            if self.task.work.load(Ordering::SeqCst) & interrupts != 0 {
                return Poll::Ready(Err(WaitError::Interrupted));
            }
            if deadline.is_some_and(|d| d.remaining() == 0) {
                return Poll::Ready(Err(WaitError::TimedOut));
            }
            Poll::Pending
        })
        .await;
        self.task.asleep.store(false, Ordering::Relaxed);
        result
    }
}
