//! For unit tests: a kernel on a platform that runs nothing, with a root file system
//! in memory and one task, whose system calls are called as functions.
//!
//! [`Guest`] is that task with some pages of guest memory; [`memfs`] is the file
//! system.

mod memfs;

pub use memfs::MemFs;

use crate::cred::Cred;
use crate::error::{SysError, SysResult};
use crate::fd::FdTable;
use crate::kernel::{Kernel, KernelConfig, Outside};
use crate::mm::{MapRequest, Mm, PAGE, Placement, USER_END, USER_START};
use crate::signal::SigSet;
use crate::sync::RwLock;
use crate::syscall::arg::UserPath;
use crate::task::{CurrentTask, ExitStatus, FsContext, InitConfig, default_limits, spawn_init};
use chitin_abi::{Errno, Pod};
use chitin_executor::{Executor, Parker};
use chitin_platform::{
    AddressSpace, Context, Exit, FileHandle, Kicker, MapOp, Platform, PlatformError, Prot, Regs,
};
use chitin_usermem::{GuestMemory, UserAddr, UserMemory, UserPtr};
use std::future::Future;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context as TaskContext, Poll, Waker};

struct NoPlatform;
struct NoSpace;
struct NoContext(Regs);
struct NoKicker;
struct NoParker;
struct NoOutside;

impl Platform for NoPlatform {
    fn name(&self) -> &'static str {
        "none"
    }
    fn user_range(&self) -> std::ops::Range<u64> {
        USER_START..USER_END
    }
    fn new_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(Arc::new(NoSpace))
    }
    fn register_file(&self, _fd: BorrowedFd<'_>) -> Result<FileHandle, PlatformError> {
        Err(PlatformError::Host(1))
    }
}

impl AddressSpace for NoSpace {
    fn apply(&self, _ops: &[MapOp]) -> Result<(), PlatformError> {
        Ok(())
    }
    fn fork(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(Arc::new(Self))
    }
    fn clear(&self) -> Result<(), PlatformError> {
        Ok(())
    }
    fn new_context(self: Arc<Self>) -> Result<Box<dyn Context>, PlatformError> {
        Ok(Box::new(NoContext(Regs::default())))
    }
    fn renew(&self) -> bool {
        true
    }
    fn retire(&self, _memory: Box<dyn std::any::Any + Send>) {}
    fn kill(&self) {}
}

impl Context for NoContext {
    fn poll_run(&mut self, _cx: &mut TaskContext<'_>) -> Poll<Exit> {
        Poll::Ready(Exit::Interrupted)
    }
    fn regs(&mut self) -> &mut Regs {
        &mut self.0
    }
    fn fp_state(&mut self, _cx: &mut TaskContext<'_>) -> Poll<Result<Vec<u8>, PlatformError>> {
        Poll::Ready(Ok(Vec::new()))
    }
    fn set_fp_state(&mut self, _state: &[u8]) -> Result<(), PlatformError> {
        Ok(())
    }
    fn kicker(&self) -> Arc<dyn Kicker> {
        Arc::new(NoKicker)
    }
}

impl Kicker for NoKicker {
    fn kick(&self) {}
}

impl Parker for NoParker {
    fn park(&self, _worker: usize, _deadline: Option<u64>) {}
    fn unpark(&self, _worker: usize) {}
}

impl Outside for NoOutside {
    fn ended(&self, _status: ExitStatus) {}
    fn stopped(&self, _signo: i32) {}
    fn log(&self, _line: &str) {}
}

/// One for all tests: each reserves much of the address space.
fn memory() -> Arc<GuestMemory> {
    static MEMORY: std::sync::OnceLock<Arc<GuestMemory>> = std::sync::OnceLock::new();
    MEMORY.get_or_init(|| Arc::new(GuestMemory::new().expect("a memory file"))).clone()
}

fn kernel() -> Arc<Kernel> {
    Kernel::new(KernelConfig {
        platform: Arc::new(NoPlatform),
        executor: Executor::new(Arc::new(NoParker), 1),
        memory: memory(),
        outside: Box::new(NoOutside),
        trace: None,
        stats: None,
        max_tasks: 100,
        hostname: b"test".to_vec(),
        cpu: chitin_hostsys::cpu::CpuInfo::default(),
        cpus: 1,
        memory_limit: 1 << 30,
    })
}

/// A task whose system calls are called as functions.
pub struct Guest {
    /// The running side of the task.
    pub cur: CurrentTask,
    base: u64,
    used: u64,
}

/// Bytes of guest memory for arguments.
const ROOM: u64 = 256 * PAGE;

impl Guest {
    /// A privileged task in the root of an empty [`MemFs`].
    pub fn new() -> Self {
        Self::with_cred(Cred::for_user(0, 0, Vec::new()))
    }

    /// A task with these credentials; the root directory belongs to root and has mode 0755.
    pub fn with_cred(cred: Cred) -> Self {
        let kernel = kernel();
        let mount = kernel.mounts.detached(MemFs::new(), "mem", 0);
        let root = kernel.mounts.set_root(mount);
        let fs = FsContext {
            root: RwLock::new(root.clone()),
            cwd: RwLock::new(root),
            umask: AtomicU32::new(0o022),
            glances: crate::vfs::Glances::default(),
        };
        let init = InitConfig {
            cred,
            fs,
            files: FdTable::default(),
            limits: default_limits(),
            ignored: SigSet::default(),
            blocked: SigSet::default(),
        };
        let mut made = None;
        let task = spawn_init::<()>(&kernel, init, |_| {
            let range = USER_START..USER_END;
            let texts = kernel.texts.clone();
            let mm = Mm::new(Arc::new(NoSpace), texts, kernel.memory.clone(), range);
            made = Some(mm.clone());
            Ok((mm, Box::new(NoContext(Regs::default()))))
        });
        let (task, mm) = (task.expect("a task"), made.expect("memory"));
        let request = MapRequest::anonymous(Placement::Hint(0), ROOM, Prot::RW);
        let base = mm.map(&request, u64::MAX).expect("guest memory");
        let cur = CurrentTask::new(task, mm, Box::new(NoContext(Regs::default())));
        Self { cur, base, used: 0 }
    }

    /// Replaces the credentials of the task.
    pub fn become_user(&self, uid: u32) {
        self.cur.task().set_cred(Cred::for_user(uid, uid, Vec::new()));
    }

    /// Fresh guest memory, zeroed. What was given out before becomes invalid after 1 MiB.
    pub fn alloc(&mut self, len: usize) -> UserAddr {
        let len = (len as u64).next_multiple_of(16);
        if self.used + len > ROOM {
            self.used = 0;
        }
        let at = UserAddr(self.base + self.used);
        self.used += len;
        self.cur.mm().zero(at, len).expect("guest memory");
        at
    }

    /// The first address behind the guest memory.
    pub fn end(&self) -> u64 {
        self.base + ROOM
    }

    /// Bytes in guest memory.
    pub fn put(&mut self, bytes: &[u8]) -> UserAddr {
        let at = self.alloc(bytes.len());
        self.cur.mm().write(at, bytes).expect("guest memory");
        at
    }

    /// A value in guest memory.
    pub fn value<T: Pod>(&mut self, value: &T) -> UserPtr<T> {
        self.put(value.as_bytes()).cast()
    }

    /// A path in guest memory.
    pub fn path(&mut self, path: &str) -> UserPath {
        let mut bytes = path.as_bytes().to_vec();
        bytes.push(0);
        UserPath(self.put(&bytes))
    }

    /// What guest memory holds.
    pub fn bytes(&self, at: UserAddr, len: usize) -> Vec<u8> {
        let mut buf = vec![0; len];
        self.cur.mm().read(at, &mut buf).expect("guest memory");
        buf
    }
}

/// What a call that does not have to wait ends with.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(out) => out,
        Poll::Pending => panic!("the call waits"),
    }
}

/// Whether a call has to wait.
pub fn waits<T>(future: impl Future<Output = T>) -> bool {
    let mut future = std::pin::pin!(future);
    future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending()
}

/// The errno that a call failed with.
#[track_caller]
pub fn errno(result: SysResult) -> Errno {
    match result {
        Err(SysError::Errno(e)) => e,
        other => panic!("no errno: {other:?}"),
    }
}

/// The descriptor that a call returned.
#[track_caller]
pub fn fd(result: SysResult) -> i32 {
    i32::try_from(result.expect("a descriptor")).expect("a descriptor")
}
