//! [`Space`]: the address space of a guest process, over a stub.

use crate::cleaner::Used;
use crate::context::{HostThread, Thread};
use crate::frame::{self, Layout};
use crate::layout::*;
use crate::parker::Workers;
use crate::publish::Region;
use crate::stub::{Op, Stub, lock};
use crate::zygote::{CALIBRATE, Waiting, Zygote};
use chitin_platform::{
    AddressSpace, Answers, Backing, Context, MapOp, PlatformError, Populate, Prot,
};
use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// Flags of the clone of a guest thread.
const THREAD_FLAGS: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM) as u64;

/// Nanoseconds until the wait for the first frame sleeps, and until it gives up; how
/// long it sleeps at a time.
const CALIBRATION_SPIN: u64 = 100_000;
const CALIBRATION_MAX: u64 = 5_000_000_000;
const CALIBRATION_NAP: std::time::Duration = std::time::Duration::from_micros(20);

/// An address space.
pub(crate) struct Space {
    zygote: Arc<Zygote>,
    workers: Arc<Workers>,
    stub: Arc<Stub>,
    areas: AtomicU64,
    /// Host threads without a guest thread.
    idle: Mutex<Vec<HostThread>>,
    /// CPU time of the stub before this space, in nanoseconds.
    time_before: AtomicU64,
    /// The stub belongs to another space now.
    retired: AtomicBool,
    /// It is to die.
    killed: AtomicBool,
    /// Its published answers, if there ever were any.
    region: OnceLock<Arc<Region>>,
}

/// Since Linux 5.14.
const MADV_POPULATE_WRITE: u64 = 23;

fn prot_bits(prot: Prot) -> u64 {
    u64::from(prot.read) | u64::from(prot.write) << 1 | u64::from(prot.exec) << 2
}

fn check(addr: u64, len: u64) -> Result<(), PlatformError> {
    let end = addr.checked_add(len);
    let inside = end.is_some_and(|end| end <= GUEST_END) && len > 0;
    if inside && (addr | len).is_multiple_of(4096) {
        Ok(())
    } else {
        Err(PlatformError::Host(libc::EINVAL))
    }
}

fn translate(op: &MapOp) -> Result<Op, PlatformError> {
    Ok(match op {
        MapOp::Map { addr, len, prot, backing, populate } => {
            check(*addr, *len)?;
            let (fd, offset, shared) = match backing {
                Backing::Memory(offset) => (FD_MEMORY, *offset, true),
                Backing::File { file, offset, shared } => (file.key(), *offset, *shared),
            };
            let mut flags = libc::MAP_FIXED | libc::MAP_NORESERVE;
            flags |= if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
            if *populate == Populate::Now {
                flags |= libc::MAP_POPULATE;
            }
            let args = [*addr, *len, prot_bits(*prot), flags as u64, fd, offset];
            Op::call(libc::SYS_mmap, args)
        }
        MapOp::Unmap { addr, len } => {
            check(*addr, *len)?;
            Op::call(libc::SYS_munmap, [*addr, *len, 0, 0, 0, 0])
        }
        MapOp::Protect { addr, len, prot } => {
            check(*addr, *len)?;
            Op::call(libc::SYS_mprotect, [*addr, *len, prot_bits(*prot), 0, 0, 0])
        }
        MapOp::Touch { addr, len } => {
            check(*addr, *len)?;
            let args = [*addr, *len, MADV_POPULATE_WRITE, 0, 0, 0];
            Op::of_kind(OP_HINT, libc::SYS_madvise, args)
        }
        MapOp::Huge { addr, len } => {
            check(*addr, *len)?;
            let args = [*addr, *len, libc::MADV_HUGEPAGE as u64, 0, 0, 0];
            Op::of_kind(OP_HINT, libc::SYS_madvise, args)
        }
        MapOp::Move { from, to, len } => {
            check(*from, *len)?;
            check(*to, *len)?;
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            Op::call(libc::SYS_mremap, [*from, *len, *len, flags as u64, *to, 0])
        }
    })
}

impl Space {
    pub(crate) fn new(
        zygote: &Arc<Zygote>,
        workers: &Arc<Workers>,
    ) -> Result<Arc<Self>, PlatformError> {
        let layout = *lock(&zygote.frames);
        if let Some(waiting) = layout.and_then(|layout| zygote.pooled(&layout)) {
            let Waiting { stub, host, time } = waiting;
            let space = Self::over(stub, zygote, workers, time);
            space.areas.store(1, Ordering::Relaxed);
            space.recycle(host);
            return Ok(space);
        }
        Ok(Self::over(zygote.clone_stub(None)?, zygote, workers, 0))
    }

    fn over(
        stub: Arc<Stub>,
        zygote: &Arc<Zygote>,
        workers: &Arc<Workers>,
        time_before: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            zygote: zygote.clone(),
            workers: workers.clone(),
            stub,
            areas: AtomicU64::new(0),
            idle: Mutex::default(),
            time_before: AtomicU64::new(time_before),
            retired: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            region: OnceLock::new(),
        })
    }

    /// Takes back the host thread of a guest thread that has ended.
    pub(crate) fn recycle(&self, host: HostThread) {
        lock(&self.idle).push(host);
    }

    /// Whether the stub can serve another process: one that ever had several threads could
    /// still run guest code in one that seems to wait.
    fn had_one_thread(&self) -> bool {
        self.areas.load(Ordering::Relaxed) == 1
            && !self.killed.load(Ordering::SeqCst)
            && !self.stub.is_dead()
    }

    /// Its host thread, if so.
    fn reusable(&self) -> Option<(HostThread, Layout)> {
        let layout = (*lock(&self.zygote.frames))?;
        if !self.had_one_thread() {
            return None;
        }
        let host = lock(&self.idle).pop()?;
        Some((host, layout))
    }

    /// Starts a host thread.
    fn host_thread(&self) -> Result<HostThread, PlatformError> {
        if let Some(host) = lock(&self.idle).pop() {
            return Ok(host);
        }
        let index = self.areas.fetch_add(1, Ordering::Relaxed);
        if index >= MAX_AREAS {
            self.areas.fetch_sub(1, Ordering::Relaxed);
            return Err(PlatformError::Exhausted);
        }
        let base = AREAS + index * AREA_LEN;
        let slot = self.zygote.control.slot().ok_or(PlatformError::Exhausted)?;
        let area = slot.block();
        let altstack = [base + AREA_ALTSTACK, 0, AREA_LEN - AREA_ALTSTACK];
        frame::prepare(&area, AREA_FIRST_FRAME, altstack);
        area.u32(AREA_STATE).store(STATE_EVENT, Ordering::Relaxed);
        let map = [
            base,
            AREA_LEN,
            (libc::PROT_READ | libc::PROT_WRITE) as u64,
            (libc::MAP_SHARED | libc::MAP_FIXED) as u64,
            FD_CONTROL,
            slot.offset(),
        ];
        self.stub.keep(slot);
        let clone = [THREAD_FLAGS, 0, 0, 0, base, 0];
        let tid = self.stub.mapper().request(&[
            Op::call(libc::SYS_mmap, map),
            Op::of_kind(OP_THREAD, libc::SYS_clone, clone),
        ])?;
        Ok(HostThread::new(&self.stub, tid, area, base))
    }

    fn thread(self: Arc<Self>, layout: Layout) -> Result<Thread, PlatformError> {
        let host = self.host_thread()?;
        let workers = self.workers.clone();
        Ok(Thread::new(host, self, workers, layout))
    }

    /// Learns where frames lie from a thread that faults in the stub's own text.
    pub(crate) fn calibrate(
        zygote: &Arc<Zygote>,
        workers: &Arc<Workers>,
    ) -> Result<(), PlatformError> {
        let space = Self::new(zygote, workers)?;
        let unknown = Layout::default();
        let mut thread = space.clone().thread(unknown)?;
        thread.regs().rip = CALIBRATE;
        let waker = std::task::Waker::noop();
        let mut cx = std::task::Context::from_waker(waker);
        let start = chitin_executor::Executor::now();
        while thread.poll_run(&mut cx).is_pending() {
            // Yielding does not make room for a thread on this CPU for long: sleep soon.
            match chitin_executor::Executor::now() - start {
                0..CALIBRATION_SPIN => std::thread::yield_now(),
                CALIBRATION_SPIN..CALIBRATION_MAX => std::thread::sleep(CALIBRATION_NAP),
                _ => return Err(PlatformError::Host(libc::ETIMEDOUT)),
            }
        }
        let layout = thread.learn().ok_or(PlatformError::Host(libc::ENOTSUP))?;
        *lock(&zygote.frames) = Some(layout);
        drop(thread);
        space.retire(Box::new(()));
        Ok(())
    }
}

impl AddressSpace for Space {
    fn apply(&self, ops: &[MapOp]) -> Result<(), PlatformError> {
        let ops: Result<Vec<Op>, _> = ops.iter().map(translate).collect();
        self.stub.perform(&ops?)
    }

    fn apply_later(&self, ops: &[MapOp], held: Box<dyn Any + Send>) -> Result<(), PlatformError> {
        let ops: Result<Vec<Op>, _> = ops.iter().map(translate).collect();
        self.stub.later(&ops?, Some(held));
        Ok(())
    }

    fn fork(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        let stub = self.zygote.clone_stub(Some(&self.stub))?;
        Ok(Self::over(stub, &self.zygote, &self.workers, 0))
    }

    fn clear(&self) -> Result<(), PlatformError> {
        self.stub.perform(&[Op::unmap_all()])
    }

    fn new_context(self: Arc<Self>) -> Result<Box<dyn Context>, PlatformError> {
        let layout = (*lock(&self.zygote.frames)).ok_or(PlatformError::Host(libc::ENOTSUP))?;
        Ok(Box::new(self.thread(layout)?))
    }

    fn renew(&self) -> bool {
        if !self.had_one_thread() || lock(&self.idle).is_empty() {
            return false;
        }
        self.time_before.store(self.stub.begin_process(), Ordering::Relaxed);
        if let Some(region) = self.region.get() {
            region.clear();
        }
        true
    }

    fn retire(&self, memory: Box<dyn Any + Send>) {
        let Some((host, layout)) = self.reusable() else {
            self.stub.kill_holding(memory);
            return;
        };
        self.retired.store(true, Ordering::SeqCst);
        let (stub, region) = (self.stub.clone(), self.region.get().cloned());
        let used = Used { stub, host, layout, region, memory };
        self.zygote.cleaner.take(used, &self.zygote);
    }

    fn answers(&self) -> Option<Arc<dyn Answers>> {
        Some(self.region.get_or_init(|| Arc::new(Region::new(self.stub.clone()))).clone())
    }

    fn kill(&self) {
        if !self.retired.load(Ordering::SeqCst) {
            self.killed.store(true, Ordering::SeqCst);
            self.stub.kill();
        }
    }

    fn cpu_time(&self) -> Option<u64> {
        let before = self.time_before.load(Ordering::Relaxed);
        self.stub.cpu_time().map(|time| time.saturating_sub(before))
    }

    fn system_time(&self) -> Option<u64> {
        self.stub.system_time()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.kill();
    }
}
