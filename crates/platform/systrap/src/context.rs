//! [`Thread`]: a guest thread's host thread, as the sentry drives it by the state
//! word in the thread's area. It stops in a signal frame or in a trampoline.

use crate::control::Block;
use crate::frame::{self, Layout};
use crate::layout::*;
use crate::parker::Workers;
use crate::space::Space;
use crate::stub::{OnDeath, Stub, lock};
use crate::sys;
use crate::zygote::{POSTED, RESTORED, RESUMED, TRAP, TRAPPED};
use chitin_platform::{
    Context, Cpuid, Entry, Exit, Kicker, KillReason, LocalCall, PlatformError, Regs, Whose,
};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context as TaskContext, Poll, Waker};

/// What `rax` holds before a call is served: -ENOSYS.
const NO_RESULT: u64 = (-(libc::ENOSYS as i64)) as u64;
/// Bit of a published answer that says that it is one.
const ANSWER: u64 = 1 << 63;

/// What the thread's task, its worker, and kickers share.
pub(crate) struct Shared {
    stub: Arc<Stub>,
    tid: i32,
    area: Block,
    running: AtomicBool,
    kicked: AtomicBool,
    /// How often it was resumed.
    runs: AtomicU64,
    this: Weak<Shared>,
    cpu: AtomicUsize,
    /// What the area says of it, which the stub's CPU has in its cache.
    looks: AtomicU32,
    /// When its worker saw it run first since it was resumed; 0 if it has not.
    seen: AtomicU64,
    /// In which poll of a task it was seen to stop, and since when none of its calls has waited
    /// for anything, as far as somebody looked; 0 if nobody has.
    stopped_in: AtomicU64,
    busy: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Shared {
    pub(crate) fn state(&self) -> &AtomicU32 {
        self.area.u32(AREA_STATE)
    }

    pub(crate) fn this(&self) -> &Weak<Shared> {
        &self.this
    }

    fn word(&self, at: u64) -> &AtomicU32 {
        self.area.u32(at)
    }

    /// Says how often the stub looks for an answer before it sleeps.
    pub(crate) fn set_looks(&self, looks: u32) {
        if self.looks.load(Ordering::Relaxed) != looks {
            self.looks.store(looks, Ordering::Relaxed);
            self.word(AREA_SPIN).store(looks, Ordering::Relaxed);
        }
    }

    pub(crate) fn has_stopped(&self) -> bool {
        let state = self.state().load(Ordering::Acquire);
        !matches!(state, STATE_RESUME | STATE_ASLEEP) || self.stub.is_dead()
    }

    /// Says that the caller is going to sleep until the thread stops; false if it has.
    pub(crate) fn ask_for_wake(&self) -> bool {
        let state = self.state();
        let asleep = |old| (old == STATE_RESUME).then_some(STATE_ASLEEP);
        match state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, asleep) {
            Ok(_) => !self.stub.is_dead(),
            Err(old) => old == STATE_ASLEEP && !self.stub.is_dead(),
        }
    }

    pub(crate) fn wake(&self) {
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn interrupt(&self) {
        if !sys::tgkill(self.stub.pid(), self.tid, frame::KICK) {
            self.stub.kill();
        }
    }

    /// Whether the sentry has not seen it stop since that run began. What the state word
    /// says does not count: others of its process may write it.
    pub(crate) fn is_still_in(&self, run: u64) -> bool {
        self.runs.load(Ordering::SeqCst) == run && self.running.load(Ordering::SeqCst)
    }

    /// Makes its worker look at it again: a word that was forged and put right woke nobody.
    pub(crate) fn look_again(&self) {
        sys::futex_wake(self.state());
        self.wake();
    }

    /// Kills its process.
    pub(crate) fn kill(&self) {
        self.stub.kill();
    }

    /// Binds the host thread to a CPU.
    pub(crate) fn move_to(&self, cpu: usize) {
        if self.cpu.swap(cpu, Ordering::Relaxed) != cpu {
            sys::set_cpu(self.tid, &[cpu]);
        }
    }

    /// For how long its worker has seen it run, in nanoseconds.
    pub(crate) fn has_run(&self, now: u64) -> u64 {
        since(&self.seen, now)
    }

    /// For how long its worker has seen that it runs, or is served at once, in nanoseconds.
    pub(crate) fn is_busy_for(&self, now: u64) -> u64 {
        since(&self.busy, now)
    }

    /// Forgets the one, and the other if its task had to wait: another poll of it resumes the
    /// thread than saw it stop.
    pub(crate) fn is_resumed(&self, poll: u64) {
        self.seen.store(0, Ordering::Relaxed);
        if self.stopped_in.load(Ordering::Relaxed) != poll {
            self.busy.store(0, Ordering::Relaxed);
        }
    }

    /// Whether it must run on one CPU.
    pub(crate) fn is_bound(&self) -> bool {
        self.cpu.load(Ordering::Relaxed) != usize::MAX
    }

    /// Lets the host thread run on any of these CPUs.
    pub(crate) fn free(&self, cpus: &[usize]) {
        if self.cpu.swap(usize::MAX, Ordering::Relaxed) != usize::MAX {
            sys::set_cpu(self.tid, cpus);
        }
    }

    /// Lets the thread go on, to stop by itself at once.
    fn step(&self) {
        if self.state().swap(STATE_RESUME, Ordering::SeqCst) == STATE_PARKED {
            let park = self.word(AREA_PARK);
            park.store(1, Ordering::SeqCst);
            sys::futex_wake(park);
        }
    }

    /// Lets the thread go on once the mapper has done what is to be done before; true if its
    /// answer is to be taken.
    fn go_after_mapper(&self, base: u64) -> bool {
        let mut mapper = self.stub.mapper();
        let cpu = Some(self.cpu.load(Ordering::Relaxed)).filter(|&cpu| cpu != usize::MAX);
        if !mapper.send_before(base, cpu) {
            if mapper.request(&[]).is_err() {
                self.stub.kill();
            }
            self.go();
            return false;
        }
        self.word(AREA_HOW).fetch_or(REPLY_GATED, Ordering::Relaxed);
        if self.state().swap(STATE_RESUME, Ordering::SeqCst) == STATE_PARKED {
            // It sleeps until the mapper wakes it.
            self.stub.ring();
        }
        if self.kicked.load(Ordering::SeqCst) {
            self.interrupt();
        }
        true
    }

    /// Lets the thread go on.
    fn go(&self) {
        self.step();
        // A kick that came before the swap may have been dismissed.
        if self.kicked.load(Ordering::SeqCst) {
            self.interrupt();
        }
    }
}

impl OnDeath for Shared {
    fn died(&self) {
        // Also ends the sleep of the worker that waits for the state word.
        self.state().store(STATE_EVENT, Ordering::Release);
        sys::futex_wake(self.state());
        self.wake();
    }
}

impl Kicker for Shared {
    fn kick(&self) {
        self.kicked.store(true, Ordering::SeqCst);
        let run = self.runs.load(Ordering::SeqCst);
        if self.running.load(Ordering::SeqCst) {
            self.interrupt();
            crate::watchdog::expect_stop(&self.this, run);
        }
    }

    fn publish(&self, call: LocalCall, answer: Option<u32>) {
        let word = answer.map_or(0, |a| ANSWER | u64::from(a));
        self.area.set(AREA_LOCALS + 8 * call as u64, word);
    }

    fn mask(&self) -> Option<u64> {
        Some(self.area.u64(AREA_MASK).load(Ordering::SeqCst))
    }

    fn set_mask(&self, mask: u64) {
        self.area.u64(AREA_MASK).store(mask, Ordering::SeqCst);
    }

    fn set_pending(&self, whose: Whose, pending: bool) {
        let word = self.area.u32(AREA_PENDING);
        match pending {
            true => word.fetch_or(whose as u32, Ordering::SeqCst),
            false => word.fetch_and(!(whose as u32), Ordering::SeqCst),
        };
    }

    fn exit_words(&self) -> Option<[u64; 2]> {
        Some([self.area.get(AREA_EXIT_WORDS), self.area.get(AREA_EXIT_WORDS + 8)])
    }

    fn set_exit_words(&self, [tid, list]: [u64; 2]) {
        self.area.set(AREA_EXIT_WORDS, tid);
        self.area.set(AREA_EXIT_WORDS + 8, list);
    }

    fn set_view(&self, view: u64) {
        self.area.set(AREA_VIEW, view);
    }

    fn answered(&self) -> u64 {
        self.area.get(AREA_LOCAL_COUNT)
    }
}

/// Where a host thread waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    /// In the frame that the sentry built for a new thread.
    First,
    /// In the frame of a signal.
    Frame,
    /// In a trampoline, without a frame.
    Call,
}

/// A host thread that waits in the stub for a guest thread to be.
pub(crate) struct HostThread {
    shared: Arc<Shared>,
    /// Address of its area in the stub.
    base: u64,
    stop: Stop,
    /// `cpuid` traps in it.
    traps_cpuid: bool,
}

impl HostThread {
    /// A new host thread that waits in its area.
    pub(crate) fn new(stub: &Arc<Stub>, tid: i32, area: Block, base: u64) -> Self {
        let shared = Arc::new_cyclic(|this| Shared {
            stub: stub.clone(),
            tid,
            area,
            running: AtomicBool::new(false),
            kicked: AtomicBool::new(false),
            runs: AtomicU64::new(0),
            this: this.clone(),
            cpu: AtomicUsize::new(usize::MAX),
            looks: AtomicU32::new(0),
            seen: AtomicU64::new(0),
            stopped_in: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            waker: Mutex::default(),
        });
        let weak: Weak<Shared> = Arc::downgrade(&shared);
        stub.watch(weak);
        Self { shared, base, stop: Stop::First, traps_cpuid: false }
    }

    /// Sends it to the stub's trap, to be used again for another process: what comes of a
    /// guest thread that only seemed to wait here shows there, by its frame or its death.
    /// Nothing of the guest may be mapped any more.
    pub(crate) fn send_back(&mut self, layout: &Layout) {
        let (shared, base) = (&self.shared, self.base);
        let area = &shared.area;
        if self.stop != Stop::Call {
            let frame = self.frame(layout);
            let regs = Regs { rip: TRAP, ..Regs::default() };
            frame::store(area, base, frame, &regs);
            area.set(AREA_FRAME, base + frame + 8);
        }
        if std::mem::take(&mut self.traps_cpuid) {
            area.u32(AREA_CPUID).store(CPUID_RUNS, Ordering::Relaxed);
        }
        area.u32(AREA_HOW).store(REPLY_TRAP, Ordering::Relaxed);
        shared.set_looks(0);
        shared.kicked.store(false, Ordering::SeqCst);
        shared.step();
        self.stop = Stop::Frame;
    }

    /// Binds it to a CPU.
    pub(crate) fn move_to(&self, cpu: usize) {
        self.shared.move_to(cpu);
    }

    /// The CPU that it is bound to.
    pub(crate) fn cpu(&self) -> Option<usize> {
        Some(self.shared.cpu.load(Ordering::Relaxed)).filter(|&cpu| cpu != usize::MAX)
    }

    /// Whether it has come there.
    pub(crate) fn is_back(&self, layout: &Layout) -> bool {
        self.shared.has_stopped()
            && !self.shared.stub.is_dead()
            && frame::is_of_trap(&self.shared.area, layout, self.base)
    }

    /// Offset of the frame it waits in.
    fn frame(&self, layout: &Layout) -> u64 {
        if self.stop == Stop::First { AREA_FIRST_FRAME } else { layout.frame }
    }
}

/// How long ago the time is that a word holds; sets it if it holds none.
fn since(word: &AtomicU64, now: u64) -> u64 {
    match word.load(Ordering::Relaxed) {
        0 => {
            word.store(now, Ordering::Relaxed);
            0
        }
        since => now.saturating_sub(since),
    }
}

/// What the host thread does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Stopped,
    Running,
    /// On its way from a trampoline into a frame.
    Trapping,
    /// Storing its vector state, on the way to the same trampoline.
    Saving,
}

/// A guest thread.
pub(crate) struct Thread {
    /// `None` only while being dropped.
    host: Option<HostThread>,
    space: Arc<Space>,
    workers: Arc<Workers>,
    layout: Layout,
    regs: Regs,
    /// `regs` as they were read, if they were since the stop; before, those of a call
    /// through a trampoline are in the area only.
    read: Option<Regs>,
    /// Number of the call through a trampoline, and its result to be.
    number: u64,
    result: u64,
    /// Vector state to be set when the thread goes on.
    fp: Option<Vec<u8>>,
    /// Whether `cpuid` is to trap, if that is to change.
    cpuid: Option<bool>,
    phase: Phase,
    /// The mapper's answer to what came before it went on is to be taken.
    gated: bool,
}

impl Thread {
    pub(crate) fn new(
        host: HostThread,
        space: Arc<Space>,
        workers: Arc<Workers>,
        layout: Layout,
    ) -> Self {
        let area = &host.shared.area;
        for i in 0..LOCALS {
            area.set(AREA_LOCALS + 8 * i, 0);
        }
        area.set(AREA_LOCAL_COUNT, 0);
        // Until the kernel says that there is nothing.
        area.u32(AREA_PENDING)
            .store(Whose::Thread as u32 | Whose::Process as u32, Ordering::Relaxed);
        area.u32(AREA_KICKED).store(0, Ordering::Relaxed);
        if layout.fp_len != 0 {
            layout.announce(area, host.base);
        }
        host.shared.area.set(AREA_VIEW, 0);
        let mut this = Self {
            host: Some(host),
            space,
            workers,
            layout,
            regs: Regs::default(),
            read: Some(Regs::default()),
            number: 0,
            result: 0,
            fp: None,
            cpuid: None,
            phase: Phase::Stopped,
            gated: false,
        };
        let _ = this.set_fp_state(&[]);
        this
    }

    fn host(&self) -> &HostThread {
        match &self.host {
            Some(host) => host,
            None => unreachable!("only taken by drop"),
        }
    }

    fn set_stop(&mut self, stop: Stop) {
        if let Some(host) = &mut self.host {
            host.stop = stop;
        }
    }

    /// Frame address that the handler saw, for calibration.
    pub(crate) fn learn(&self) -> Option<Layout> {
        let host = self.host();
        Layout::learn(&host.shared.area, host.base, host.shared.area.get(AREA_FRAME))
    }

    /// Lets the host thread go on as its area says; ready if it has stopped again
    /// meanwhile, else its next stop wakes.
    fn go(&mut self, cx: &TaskContext<'_>, phase: Phase) -> Poll<()> {
        self.phase = phase;
        let host = self.host();
        let shared = &host.shared;
        self.workers.prepare(shared);
        let mut gated = false;
        match phase {
            Phase::Running if shared.stub.has_later() => {
                gated = shared.go_after_mapper(host.base);
            }
            Phase::Running => shared.go(),
            // A kick is for later: it stops by itself.
            _ => shared.step(),
        }
        crate::parker::dismiss();
        self.gated = gated;
        let shared = &self.host().shared;
        if self.workers.catch(shared) {
            return Poll::Ready(());
        }
        *lock(&shared.waker) = Some(cx.waker().clone());
        self.workers.watch(shared);
        Poll::Pending
    }

    /// What comes of a stop.
    fn look(&mut self, cx: &TaskContext<'_>) -> Poll<Exit> {
        let framed = match self.phase {
            Phase::Running => return Poll::Ready(self.stopped()),
            Phase::Saving => {
                let dead = Exit::Killed(KillReason::Host { signo: libc::SIGKILL });
                self.saved().map(drop).map_err(|_| dead)
            }
            _ => self.framed(),
        };
        match framed {
            Ok(()) => self.resume(cx),
            Err(exit) => Poll::Ready(exit),
        }
    }

    fn resume(&mut self, cx: &TaskContext<'_>) -> Poll<Exit> {
        let host = self.host();
        let shared = host.shared.clone();
        if shared.stub.is_dead() {
            return Poll::Ready(Exit::Killed(KillReason::Host { signo: libc::SIGKILL }));
        }
        shared.runs.fetch_add(1, Ordering::SeqCst);
        shared.running.store(true, Ordering::SeqCst);
        if shared.kicked.swap(false, Ordering::SeqCst) {
            shared.running.store(false, Ordering::SeqCst);
            return Poll::Ready(Exit::Interrupted);
        }
        let area = &shared.area;
        if host.stop == Stop::Call {
            if self.fp.is_some() || self.cpuid.is_some() {
                self.load();
            }
            let host = self.host();
            let reply = match (&self.read, &self.fp) {
                (None, _) => {
                    area.set(AREA_RAX, self.result);
                    REPLY_RESULT
                }
                (Some(old), _)
                    if self.cpuid.is_some()
                        || frame::needs_frame(old, &self.regs)
                            && !frame::store_flags(area, &self.regs) =>
                {
                    REPLY_TRAP
                }
                (Some(_), fp) => {
                    frame::store_call(area, &self.regs);
                    match fp {
                        None => REPLY_ALL,
                        Some(fp) => {
                            let (frame, layout) = (self.layout.frame, &self.layout);
                            let _ = frame::fp_store(area, frame, host.base, layout, fp);
                            REPLY_VECTOR
                        }
                    }
                }
            };
            area.u32(AREA_HOW).store(reply, Ordering::Relaxed);
            let phase = if reply == REPLY_TRAP { Phase::Trapping } else { Phase::Running };
            if phase == Phase::Trapping {
                self.load();
            }
            return match self.go(cx, phase) {
                Poll::Ready(()) => self.look(cx),
                Poll::Pending => Poll::Pending,
            };
        }
        if let Some(traps) = self.cpuid.take()
            && let Some(host) = &mut self.host
        {
            host.traps_cpuid = traps;
            let word = if traps { CPUID_TRAPS } else { CPUID_RUNS };
            area.u32(AREA_CPUID).store(word, Ordering::Relaxed);
        }
        let host = self.host();
        let frame = host.frame(&self.layout);
        frame::store(area, host.base, frame, &self.regs);
        area.set(AREA_FRAME, host.base + frame + 8);
        match self.go(cx, Phase::Running) {
            Poll::Ready(()) => self.look(cx),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The frame that a thread came to on its way out of a trampoline takes what
    /// `regs` and `fp` hold.
    fn framed(&mut self) -> Result<(), Exit> {
        self.phase = Phase::Stopped;
        let host = self.host();
        let shared = host.shared.clone();
        shared.running.store(false, Ordering::SeqCst);
        if shared.stub.is_dead() {
            return Err(Exit::Killed(KillReason::Host { signo: libc::SIGKILL }));
        }
        let at = host.base + self.layout.frame + 8;
        let how = shared.area.u32(AREA_HOW).load(Ordering::Relaxed);
        if how != HOW_FRAME || shared.area.get(AREA_FRAME) != at {
            shared.stub.kill();
            return Err(Exit::Killed(KillReason::Hostile("it did not trap when told to")));
        }
        self.set_stop(Stop::Frame);
        self.settle_fp();
        Ok(())
    }

    /// Puts the vector state to be set into the frame that there is now.
    fn settle_fp(&mut self) {
        if let Some(state) = self.fp.take() {
            let _ = self.set_fp_state(&state);
        }
    }

    /// The vector state, when the thread has come back from storing it: to the trampoline,
    /// or into the frame of a kick.
    fn saved(&mut self) -> Result<Vec<u8>, PlatformError> {
        let shared = self.host().shared.clone();
        let how = shared.area.u32(AREA_HOW).load(Ordering::Relaxed);
        if how == HOW_CALL && !shared.stub.is_dead() {
            self.phase = Phase::Stopped;
            shared.running.store(false, Ordering::SeqCst);
            return Ok(frame::fp_saved(&shared.area, &self.layout));
        }
        self.framed().map_err(|_| PlatformError::Dead)?;
        Ok(frame::fp_load(&shared.area, &self.layout))
    }

    fn stopped(&mut self) -> Exit {
        let layout = self.layout;
        self.phase = Phase::Stopped;
        let (shared, base) = (self.host().shared.clone(), self.host().base);
        shared.running.store(false, Ordering::SeqCst);
        shared.stopped_in.store(chitin_executor::current_poll(), Ordering::Relaxed);
        crate::parker::serves(shared.this());
        if std::mem::take(&mut self.gated) && shared.stub.mapper().settle().is_err() {
            shared.stub.kill();
            return Exit::Killed(KillReason::Host { signo: libc::SIGKILL });
        }
        if shared.stub.is_dead() {
            return Exit::Killed(KillReason::Host { signo: libc::SIGKILL });
        }
        let area = &shared.area;
        if area.u32(AREA_HOW).load(Ordering::Relaxed) == HOW_CALL && layout.fp_len != 0 {
            self.set_stop(Stop::Call);
            self.read = None;
            self.fp = None;
            self.number = area.get(AREA_RAX);
            // As ptrace(2) shows it; also what it is if nobody answers. The area is written
            // once, with the answer: the stub looks at the same line meanwhile.
            self.result = NO_RESULT;
            return Exit::Syscall;
        }
        self.set_stop(Stop::Frame);
        let frame = layout.frame;
        if layout.fp_len != 0 && area.get(AREA_FRAME) != base + frame + 8 {
            shared.stub.kill();
            return Exit::Killed(KillReason::Hostile("its signal frame moved"));
        }
        if layout.fp_len != 0 {
            frame::load(area, base, frame, &mut self.regs);
        }
        let exit = frame::exit(area, frame, &mut self.regs);
        if exit == Exit::Interrupted {
            shared.kicked.store(false, Ordering::SeqCst);
            let rip = self.regs.rip;
            if (POSTED..TRAPPED).contains(&rip) {
                // It had not left the trampoline.
                frame::load_call(area, &mut self.regs);
            }
            if (RESUMED..RESTORED).contains(&rip) {
                self.settle_fp();
            }
        }
        self.fp = None;
        self.read = Some(self.regs);
        exit
    }

    /// Reads the registers of a call through a trampoline.
    fn load(&mut self) {
        if self.read.is_none() {
            let Some(host) = &self.host else { unreachable!("only taken by drop") };
            frame::load_call(&host.shared.area, &mut self.regs);
            self.regs.rax = self.result;
            self.regs.orig_rax = self.number;
            self.read = Some(self.regs);
        }
    }
}

impl Context for Thread {
    fn poll_run(&mut self, cx: &mut TaskContext<'_>) -> Poll<Exit> {
        if self.phase == Phase::Stopped {
            return self.resume(cx);
        }
        let shared = &self.host().shared;
        *lock(&shared.waker) = Some(cx.waker().clone());
        if !shared.has_stopped() {
            return Poll::Pending;
        }
        self.look(cx)
    }

    fn regs(&mut self) -> &mut Regs {
        self.load();
        &mut self.regs
    }

    fn call(&mut self) -> (u64, [u64; 6]) {
        let host = self.host();
        if self.read.is_some() || host.stop != Stop::Call {
            return (self.regs.orig_rax, self.regs.syscall_args());
        }
        let arg = |i: u64| host.shared.area.get(AREA_ARGS + 8 * i);
        (self.number, [arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)])
    }

    fn set_result(&mut self, value: u64) {
        match self.read {
            None => self.result = value,
            Some(_) => self.regs.rax = value,
        }
    }

    fn park(&mut self) {
        self.workers.leaves(self.host().shared.this());
    }

    fn fp_state(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Vec<u8>, PlatformError>> {
        match (self.host().stop, self.phase) {
            (Stop::First, _) => return Poll::Ready(Ok(Vec::new())),
            (Stop::Call, Phase::Stopped) => {
                if let Some(state) = &self.fp {
                    // What was set and is not there yet.
                    return Poll::Ready(frame::fp_image(&self.layout, state));
                }
                self.load();
                let shared = &self.host().shared;
                if shared.stub.is_dead() {
                    return Poll::Ready(Err(PlatformError::Dead));
                }
                shared.area.u32(AREA_HOW).store(REPLY_SAVE, Ordering::Relaxed);
                if self.go(cx, Phase::Saving).is_pending() {
                    return Poll::Pending;
                }
                return Poll::Ready(self.saved());
            }
            (_, Phase::Stopped) => {}
            _ => {
                let shared = &self.host().shared;
                *lock(&shared.waker) = Some(cx.waker().clone());
                if !shared.has_stopped() {
                    return Poll::Pending;
                }
                return Poll::Ready(self.saved());
            }
        }
        // A stop in a frame leaves it there.
        Poll::Ready(Ok(frame::fp_load(&self.host().shared.area, &self.layout)))
    }

    fn set_fp_state(&mut self, state: &[u8]) -> Result<(), PlatformError> {
        let layout = &self.layout;
        if layout.fp_len == 0 {
            return Ok(());
        }
        if !state.is_empty() && state.len() as u64 != layout.fp_len {
            return Err(PlatformError::Host(libc::EINVAL));
        }
        let host = self.host();
        if host.stop == Stop::Call {
            self.fp = Some(state.to_vec());
            return Ok(());
        }
        frame::fp_store(&host.shared.area, host.frame(layout), host.base, layout, state)
    }

    fn trap_cpuid(&mut self, traps: Cpuid) {
        let traps = traps == Cpuid::Traps;
        self.cpuid = (self.host().traps_cpuid != traps).then_some(traps);
    }

    fn kicker(&self) -> Arc<dyn Kicker> {
        self.host().shared.clone()
    }

    fn entry(&self) -> Entry {
        if self.host().stop == Stop::Call { Entry::Patched } else { Entry::Trap }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let Some(host) = self.host.take() else { return };
        if self.phase != Phase::Stopped {
            // Only a killed process is left running.
            host.shared.stub.kill();
        } else if !host.shared.stub.is_dead() {
            host.shared.kicked.store(false, Ordering::SeqCst);
            self.workers.leaves(host.shared.this());
            self.space.recycle(host);
        }
    }
}
