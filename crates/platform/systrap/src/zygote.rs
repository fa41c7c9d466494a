//! [`Zygote`]: the first stub, which runs no guest code; the others are cloned from
//! it. Also the descriptors that stubs share, and the reaper of dead stubs.

use crate::cleaner::Cleaner;
use crate::context::HostThread;
use crate::control::{Block, Control};
use crate::frame::Layout;
use crate::layout::*;
use crate::stub::{Op, Stub, lock};
use crate::{Reply, sys};
use chitin_hostsys::policy;
use chitin_hostsys::process::{Fork, Namespaces, fork_into};
use chitin_platform::PlatformError;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{Error, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

include!(concat!(env!("OUT_DIR"), "/symbols.rs"));

static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stub.elf"));
/// What mapper threads may do; guest threads get a second filter.
const STUB_POLICY: &str = include_str!("stub.policy");
/// Reply eventfds made at once.
const REPLY_BATCH: usize = 16;
/// Most stubs that wait to be used again.
const MOST_POOLED: usize = 16;
/// Flags of the clone of a stub.
const FORK_FLAGS: u64 = (libc::CLONE_FILES | libc::CLONE_PARENT | libc::SIGCHLD) as u64;

/// The zygote and what all stubs share.
pub(crate) struct Zygote {
    pub(crate) control: Arc<Control>,
    stub: Arc<Stub>,
    socket: UnixStream,
    replies: Mutex<Vec<Reply>>,
    stubs: Mutex<Stubs>,
    /// Stubs without a process, the longest waiting first.
    pool: Mutex<VecDeque<Waiting>>,
    pub(crate) cleaner: Cleaner,
    pub(crate) frames: Mutex<Option<crate::frame::Layout>>,
    changes: &'static AtomicU64,
}

/// A stub that waits for a process.
pub(crate) struct Waiting {
    pub(crate) stub: Arc<Stub>,
    pub(crate) host: HostThread,
    /// CPU time that it has used, in nanoseconds.
    pub(crate) time: u64,
}

#[derive(Default)]
struct Stubs {
    alive: HashMap<i32, Arc<Stub>>,
    /// Dead before they were registered.
    early: HashSet<i32>,
    /// How many are being cloned.
    cloning: usize,
    /// Clones of stubs that died meanwhile: told to end, and their memory never reused.
    orphans: Vec<Arc<Stub>>,
}

impl Zygote {
    /// Forks and executes the stub image.
    pub(crate) fn start(memory: BorrowedFd<'_>) -> Result<Arc<Self>> {
        let control = Control::new()?;
        let image = chitin_hostsys::memfd_create(c"chitin-stub")?;
        std::io::Write::write_all(&mut std::fs::File::from(image.try_clone()?), IMAGE)?;
        let (socket, theirs) = UnixStream::pair()?;
        let reply = Reply { ours: sys::eventfd()?, theirs: FD_REPLY as i32 };
        let fds = [control.fd(), memory, theirs.as_fd(), reply.ours.as_fd()].map(|f| f.as_raw_fd());
        let stub = Stub::new(control.block(0), None, reply)?;
        let parent = std::process::id() as i32;
        let pid = match fork_into(Namespaces::NONE)? {
            Fork::Child => {
                sys::become_stub(image.as_raw_fd(), &fds, parent);
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(127) }
            }
            Fork::Parent(pid, _) => pid,
        };
        stub.set_pid(pid);
        // Its users outlive the sandbox: it stays mapped.
        let changes = Box::leak(Box::new(control.block(VDSO_TABLE_AT))).u64(CHANGES_AT);
        let stubs = Stubs { alive: HashMap::from([(pid, stub.clone())]), ..Stubs::default() };
        Ok(Arc::new(Self {
            control,
            stub,
            socket,
            replies: Mutex::default(),
            stubs: Mutex::new(stubs),
            pool: Mutex::default(),
            cleaner: Cleaner::default(),
            frames: Mutex::default(),
            changes,
        }))
    }

    /// The word that counts changes, which stubs can read.
    pub(crate) fn changes(&self) -> &'static AtomicU64 {
        self.changes
    }

    fn scratch(&self) -> Block {
        self.control.block(REQUEST_LEN)
    }

    /// Signal handlers and the filter, which all stubs inherit.
    pub(crate) fn set_up(&self) -> std::result::Result<(), PlatformError> {
        // An empty request: when it is answered, the zygote has told what it found.
        self.stub.mapper().request(&[])?;
        let scratch = self.scratch();
        let (vdso, stack) = (scratch.get(SCRATCH_VDSO), scratch.get(SCRATCH_STACK) & !0xfff);
        // Where the host randomises whatever it is asked (Docker's seccomp profile refuses
        // `personality(2)`), the vDSO may lie where guests or the stub have their memory.
        let vdso = if vdso < VDSO_FLOOR { 0 } else { vdso };
        let table = self.control.block(VDSO_TABLE_AT);
        for (i, function) in crate::vdso::table(vdso).into_iter().enumerate() {
            table.set(8 * i as u64, function);
        }
        let (from, to) = if vdso < STACK_FLOOR {
            (STACK_FLOOR, STACK_TOP)
        } else {
            (stack - (1 << 20), stack + 0x1000)
        };
        let shared = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
        let read = libc::PROT_READ as u64;
        let map = [VDSO_TABLE, VDSO_TABLE_LEN, read, shared, FD_CONTROL, VDSO_TABLE_AT];
        let mut ops = vec![
            Op::call(libc::SYS_munmap, [from, to - from, 0, 0, 0, 0]),
            Op::unmap_all(),
            Op::call(libc::SYS_mmap, map),
        ];
        // struct sigaction of the kernel: handler, flags, restorer, mask.
        let flags = libc::SA_ONSTACK | libc::SA_SIGINFO | 0x0400_0000;
        for (i, v) in [HANDLER, flags as u64, SIGRETURN, u64::MAX].into_iter().enumerate() {
            scratch.set(64 + 8 * i as u64, v);
        }
        for signo in crate::frame::SIGNALS {
            let args = [signo as u64, SCRATCH + 64, 0, 8, 0, 0];
            ops.push(Op::call(libc::SYS_rt_sigaction, args));
        }
        let rules = policy::parse(STUB_POLICY).map_err(|_| PlatformError::Host(libc::EINVAL))?;
        let filter = policy::compile(&rules, libc::SECCOMP_RET_TRAP);
        scratch.set(128, filter.len() as u64);
        scratch.set(136, SCRATCH + 1024);
        for (i, f) in filter.iter().enumerate() {
            scratch.set(1024 + 8 * i as u64, crate::frame::instruction(f));
        }
        ops.push(Op::call(libc::SYS_seccomp, [1, 0, SCRATCH + 128, 0, 0, 0]));
        self.stub.perform(&ops)
    }

    /// Puts descriptors into the table of the stubs; returns their numbers there.
    pub(crate) fn give(
        &self,
        fds: &[BorrowedFd<'_>],
    ) -> std::result::Result<Vec<i32>, PlatformError> {
        let host = |e: Error| PlatformError::Host(e.raw_os_error().unwrap_or(libc::EIO));
        let mut mapper = self.stub.mapper();
        sys::send_fds(self.socket.as_fd(), fds).map_err(host)?;
        let scratch = self.scratch();
        // struct msghdr: name, namelen, iov, iovlen, control, controllen, flags; then
        // the iovec, the byte, the control message.
        let at = 8192;
        let control_len = 16 + 4 * fds.len() as u64;
        let words = [
            0,
            0,
            SCRATCH + at + 64,
            1,
            SCRATCH + at + 128,
            control_len,
            0,
            0,
            SCRATCH + at + 96,
            1,
        ];
        for (i, &v) in words.iter().enumerate() {
            scratch.set(at + 8 * i as u64, v);
        }
        let recv = Op::of_kind(OP_RESULT, libc::SYS_recvmsg, [FD_SOCKET, SCRATCH + at, 0, 0, 0, 0]);
        mapper.request(&[recv])?;
        if scratch.get(at + 40) < control_len {
            return Err(PlatformError::Exhausted);
        }
        let numbers = (0..fds.len() as u64)
            .map(|i| scratch.u32(at + 128 + 16 + 4 * i).load(Ordering::Relaxed) as i32);
        Ok(numbers.collect())
    }

    /// Closes a descriptor of the stubs.
    pub(crate) fn close(&self, number: i32) {
        let _ = self.stub.perform(&[Op::call(libc::SYS_close, [number as u64, 0, 0, 0, 0, 0])]);
    }

    fn reply(&self) -> std::result::Result<Reply, PlatformError> {
        if let Some(reply) = lock(&self.replies).pop() {
            return Ok(reply);
        }
        let made: Result<Vec<_>> = (0..REPLY_BATCH).map(|_| sys::eventfd()).collect();
        let made = made.map_err(|_| PlatformError::Exhausted)?;
        let numbers = self.give(&made.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
        let mut replies = lock(&self.replies);
        replies.extend(made.into_iter().zip(numbers).map(|(ours, theirs)| Reply { ours, theirs }));
        replies.pop().ok_or(PlatformError::Exhausted)
    }

    /// Makes a clone known to the reaper.
    fn register(&self, pid: i32, child: &Arc<Stub>) -> std::result::Result<(), PlatformError> {
        child.set_pid(pid);
        let mut stubs = lock(&self.stubs);
        if stubs.early.remove(&pid) {
            drop(stubs);
            child.mark_dead();
            return Err(PlatformError::Dead);
        }
        stubs.alive.insert(pid, child.clone());
        Ok(())
    }

    /// Clones a stub from `parent`, or from the zygote.
    pub(crate) fn clone_stub(
        &self,
        parent: Option<&Stub>,
    ) -> std::result::Result<Arc<Stub>, PlatformError> {
        let reply = self.reply()?;
        let slot = self.control.slot().ok_or(PlatformError::Exhausted)?;
        let (block, offset) = (slot.block(), slot.offset());
        let child = Stub::new(block, Some(slot), reply).map_err(|_| PlatformError::Exhausted)?;
        let parent = parent.unwrap_or(&self.stub);
        lock(&self.stubs).cloning += 1;
        let sentry = u64::from(std::process::id());
        let clone = [FORK_FLAGS, 0, 0, 0, offset, sentry];
        let cloned = parent.mapper().request(&[Op::of_kind(OP_FORK, libc::SYS_clone, clone)]);
        let registered = cloned.and_then(|pid| self.register(pid, &child));
        {
            let mut stubs = lock(&self.stubs);
            stubs.cloning -= 1;
            if stubs.cloning == 0 {
                stubs.early.clear();
            }
            if cloned == Err(PlatformError::Dead) {
                // The parent was killed, perhaps between the clone and its reply. A child
                // that nobody knows waits on this request block then, so the block must
                // never be another stub's.
                child.post(&[Op::call(libc::SYS_exit_group, [127, 0, 0, 0, 0, 0])]);
                stubs.orphans.push(child.clone());
            }
        }
        registered?;
        // What belongs to the parent must be gone before guest code runs.
        let foreign = [
            Op::call(libc::SYS_munmap, [SCRATCH, SCRATCH_LEN, 0, 0, 0, 0]),
            Op::call(libc::SYS_munmap, [AREAS, MAX_AREAS * AREA_LEN, 0, 0, 0, 0]),
        ];
        child.later(&foreign, None);
        Ok(child)
    }

    /// Keeps a stub that has lost its process, and the host thread that it has.
    pub(crate) fn keep(&self, waiting: Waiting) {
        let mut pool = lock(&self.pool);
        pool.push_back(waiting);
        let surplus = if pool.len() > MOST_POOLED { pool.pop_front() } else { None };
        drop(pool);
        if let Some(Waiting { stub, .. }) = surplus {
            stub.kill();
        }
    }

    /// A stub that waits for a process.
    pub(crate) fn pooled(&self, layout: &Layout) -> Option<Waiting> {
        let mut pool = lock(&self.pool);
        pool.retain(|waiting| !waiting.stub.is_dead());
        let ready = pool.iter().position(|waiting| waiting.host.is_back(layout))?;
        pool.remove(ready)
    }
}

/// Below are the addresses of guests and of the stub itself.
const VDSO_FLOOR: u64 = 0x7fff_f000_0000;
/// Where the initial stack of the zygote lies when the vDSO is below it.
const STACK_FLOOR: u64 = 0x7fff_f800_0000;
const STACK_TOP: u64 = 0x7fff_ffff_f000;

/// Starts the thread that notices dead stubs.
pub(crate) fn spawn_reaper(zygote: Arc<Zygote>) {
    let work = move || {
        while let Some(pid) = sys::wait_any() {
            let stub = {
                let mut stubs = lock(&zygote.stubs);
                let stub = stubs.alive.remove(&pid);
                if stub.is_none() && stubs.cloning > 0 {
                    stubs.early.insert(pid);
                }
                stub
            };
            if let Some(stub) = &stub {
                stub.mark_dead();
            }
            sys::reap(pid);
            if let Some(reply) = stub.and_then(|s| s.take_reply()) {
                // Nobody writes to it any more. The dead bit may have been read by a
                // request: one more, so that this cannot wait.
                sys::eventfd_add(reply.ours.as_fd(), 1);
                sys::eventfd_read(reply.ours.as_fd());
                lock(&zygote.replies).push(reply);
            }
        }
    };
    let _ = std::thread::Builder::new().name("reaper".into()).stack_size(128 << 10).spawn(work);
}
