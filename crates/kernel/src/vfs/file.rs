//! Open file descriptions ([`File`]) and what stands behind them ([`FileOps`]).

use super::{IoDst, IoSrc, Path};
use crate::sync::Mutex;
use crate::task::Task;
use crate::wait::{Events, Pollable, WaitQueue};
use chitin_abi::Errno;
use chitin_platform::FileHandle;
use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// Who does an operation, and on what.
#[derive(Clone, Copy)]
pub struct FileCx<'a> {
    /// The calling task.
    pub task: &'a Arc<Task>,
    /// The open file description.
    pub file: &'a File,
}

/// Takes directory entries.
pub trait DirSink {
    /// One entry: inode number, the offset of the entry that follows (the
    /// `d_off`), `d_type`, name. `false`: full, the entry was not taken.
    fn entry(&mut self, ino: u64, next: u64, d_type: u8, name: &[u8]) -> bool;
}

/// What `read(2)` and `write(2)` of a file are bound by.
#[derive(Clone, Copy, Debug)]
pub struct IoRules {
    /// Longest wait of a read, in nanoseconds (`SO_RCVTIMEO`).
    pub read_timeout: Option<u64>,
    /// Longest wait of a write (`SO_SNDTIMEO`).
    pub write_timeout: Option<u64>,
    /// `EPIPE` comes with `SIGPIPE`.
    pub sigpipe: bool,
}

impl Default for IoRules {
    fn default() -> Self {
        Self { read_timeout: None, write_timeout: None, sigpipe: true }
    }
}

/// Stands for the position that the file keeps itself.
pub const OWN_POSITION: u64 = u64::MAX;

/// What can be done with an open file. Defaults return the documented errno.
/// Nothing here waits: `EAGAIN` means "wait for [`FileOps::pollable`]".
pub trait FileOps: Any + Send + Sync {
    /// Reads at `pos` (ignored by streams); 0 is end of file.
    fn read(&self, _cx: FileCx<'_>, _dst: &mut IoDst<'_>, _pos: u64) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Writes at `pos` (ignored by streams). With `O_APPEND` the file chooses the
    /// position itself and returns it by [`FileOps::write_append`].
    fn write(&self, _cx: FileCx<'_>, _src: &mut IoSrc<'_>, _pos: u64) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Appends atomically; returns the position after the written bytes and their
    /// number.
    fn write_append(&self, cx: FileCx<'_>, src: &mut IoSrc<'_>) -> Result<(u64, usize), Errno> {
        self.write(cx, src, 0).map(|n| (0, n))
    }

    /// Whether there is a file position (`ESPIPE` otherwise).
    fn seekable(&self) -> bool {
        false
    }

    /// Whether others outside move the file position: it is kept by [`FileOps::seek`],
    /// and transfers at it are asked for at [`OWN_POSITION`].
    fn shares_position(&self) -> bool {
        false
    }

    /// `lseek(2)` where it is not arithmetic on position and size: `SEEK_DATA`,
    /// `SEEK_HOLE`, directories. `None`: the VFS computes it.
    fn seek(&self, _cx: FileCx<'_>, _offset: i64, _whence: u32) -> Option<Result<u64, Errno>> {
        None
    }

    /// Lists a directory from offset `pos` on into `sink`; returns the offset of
    /// the first entry not taken.
    fn read_dir(&self, _cx: FileCx<'_>, _pos: u64, _sink: &mut dyn DirSink) -> Result<u64, Errno> {
        Err(Errno::ENOTDIR)
    }

    /// `ioctl(2)`.
    fn ioctl(&self, _cx: FileCx<'_>, _cmd: u32, _arg: u64) -> Result<u64, Errno> {
        Err(Errno::ENOTTY)
    }

    /// The terminal that this is, if opening it may make it the controlling one.
    fn terminal(&self) -> Option<Arc<dyn crate::tty::Terminal>> {
        None
    }

    /// The process that this directory of `/proc` is about.
    fn process(&self) -> Option<Arc<crate::task::Process>> {
        None
    }

    /// How long a read that has `done` bytes may wait (`VTIME` in `termios(3)`), in
    /// nanoseconds; `None`: for ever.
    fn read_patience(&self, _done: usize) -> Option<u64> {
        None
    }

    /// Attributes of a file that has no inode.
    fn attr(&self) -> super::Attr {
        super::Attr::unnamed(super::FileType::Fifo)
    }

    /// Readiness; `None`: always readable and writable, and not for `epoll`.
    fn pollable(&self) -> Option<&dyn Pollable> {
        None
    }

    /// What `mmap(2)` needs; `None`: `ENODEV`.
    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        None
    }

    /// Whether a mapping of it is memory of its own, all zeroes (`/dev/zero`).
    fn maps_zeroes(&self) -> bool {
        false
    }

    /// `fsync(2)`, `fdatasync(2)`.
    fn fsync(&self, _cx: FileCx<'_>) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// `fallocate(2)`.
    fn fallocate(&self, _cx: FileCx<'_>, _mode: u32, _at: u64, _len: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Whether `O_ASYNC` has an effect.
    fn tells_by_signals(&self) -> bool {
        false
    }

    /// Whether its owner is told of urgent data (`SIGURG`).
    fn has_urgent(&self) -> bool {
        false
    }

    /// Whether `splice(2)` reads from it and writes to it.
    fn takes_splice(&self) -> bool {
        true
    }

    /// Called at every `close(2)` of a descriptor of it.
    fn flush(&self, _cx: FileCx<'_>) -> Result<(), Errno> {
        Ok(())
    }

    /// Status flags were changed by `fcntl(F_SETFL)`; refuse with an errno.
    fn set_flags(&self, _flags: u32) -> Result<(), Errno> {
        Ok(())
    }

    /// What waiting for it is bound by.
    fn io_rules(&self) -> IoRules {
        IoRules::default()
    }

    /// The last line of `/proc/PID/fdinfo/N`, if there is more than pos and flags.
    fn fdinfo(&self) -> String {
        String::new()
    }
}

/// Where the pages of a mapped file are.
#[derive(Clone, Debug)]
pub enum MapSource {
    /// In the sandbox's memory file, from this byte offset on, for at least
    /// `len` bytes.
    Memory {
        /// Byte offset in the memory file.
        offset: u64,
        /// Contiguous bytes there.
        len: u64,
    },
    /// In a host file.
    Host {
        /// The file for the platform.
        file: FileHandle,
        /// Byte offset in the host file.
        offset: u64,
        /// Contiguous bytes (rounded up to pages).
        len: u64,
    },
}

/// A file that can be mapped. Identity for sharing (futexes, patched text) is
/// [`Mappable::id`].
pub trait Mappable: Send + Sync {
    /// (device, inode) of the file.
    fn id(&self) -> (u64, u64);

    /// Changes whenever the content may have changed; `None` where nobody can tell.
    /// Text of a file with a version gets its calls patched.
    fn version(&self) -> Option<u64> {
        None
    }

    /// Whether nobody changes its content but who has it open for writing by its name, which
    /// keeps it from being executed.
    fn has_known_writers(&self) -> bool {
        false
    }

    /// Where the page at byte `offset` is, and how many bytes are contiguous from
    /// there, at most `len`. `writable` tells that the mapping is shared and may be
    /// stored to. Pages wholly beyond the end of the file are `EFAULT` (`SIGBUS`).
    fn locate(&self, offset: u64, len: u64, writable: bool) -> Result<MapSource, Errno>;

    /// Size of the file now, in bytes.
    fn size(&self) -> u64;

    /// Reads from the file, not through a mapping; for private copies and for
    /// system calls whose buffers lie in the mapping. Short at end of file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno>;

    /// Writes to a shared host mapping from the sentry.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize, Errno>;

    /// `msync(2)`.
    fn sync(&self, _offset: u64, _len: u64) -> Result<(), Errno> {
        Ok(())
    }
}

/// An open file description (`open(2)`): shared by `dup(2)` and `fork(2)`.
pub struct File {
    /// What stands behind it.
    ops: Box<dyn FileOps>,
    /// Where it was opened; `None` for pipes, sockets and other unnamed files.
    path: Option<Path>,
    /// `O_ACCMODE` and status flags.
    flags: AtomicU32,
    created: AtomicBool,
    /// Of a regular file that is open for writing.
    writing: OnceLock<super::Writing>,
    /// The file position, locked for the length of a transfer (`f_pos_lock`).
    pub pos: Mutex<u64>,
    /// Owner for `SIGIO` (`F_SETOWN`) and similar rare state.
    pub rare: Mutex<super::FileRare>,
    /// Who watches it by `epoll(7)`.
    pub(crate) watchers: crate::events::Watchers,
}

impl File {
    /// A new description.
    #[must_use]
    pub fn new(ops: Box<dyn FileOps>, path: Option<Path>, flags: u32) -> Arc<Self> {
        Arc::new(Self {
            ops,
            path,
            flags: AtomicU32::new(flags),
            created: AtomicBool::new(false),
            writing: OnceLock::new(),
            pos: Mutex::new(0),
            rare: Mutex::default(),
            watchers: crate::events::Watchers::default(),
        })
    }

    /// What stands behind it.
    #[must_use]
    pub fn ops(&self) -> &dyn FileOps {
        &*self.ops
    }

    /// The operations as their own type, if they are a `T`.
    #[must_use]
    pub fn ops_as<T: FileOps>(&self) -> Option<&T> {
        let any: &dyn Any = &*self.ops;
        any.downcast_ref()
    }

    /// The position for a transfer, when [`File::pos`] has this value.
    #[must_use]
    pub fn transfer_position(&self, pos: u64) -> u64 {
        if self.ops.shares_position() { OWN_POSITION } else { pos }
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_ref()
    }

    /// `O_ACCMODE` and status flags.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Replaces the flags (`F_SETFL`; the caller keeps what may not change).
    pub fn store_flags(&self, flags: u32) {
        self.flags.store(flags, Ordering::Relaxed);
    }

    /// Says that opening it has made it.
    pub(crate) fn set_created(&self) {
        self.created.store(true, Ordering::Relaxed);
    }

    /// Says who is told by signals, as this thread.
    pub(crate) fn set_owner(self: &Arc<Self>, task: &Task, owner: super::async_io::Owner) {
        let cred = task.cred();
        super::async_io::tell_of_urgent(task, self);
        let mut rare = self.rare.lock();
        (rare.owner, rare.set_by) = (owner, (cred.uid, cred.euid));
    }

    /// Has it keep the right to write.
    pub(crate) fn set_writing(&self, writing: super::Writing) {
        let _ = self.writing.set(writing);
    }

    /// Whether opening it has made it (`F_CREATED_QUERY`).
    #[must_use]
    pub fn created(&self) -> bool {
        self.created.load(Ordering::Relaxed)
    }

    /// Whether it is open for reading.
    #[must_use]
    pub fn readable(&self) -> bool {
        self.flags() & 3 != 1
    }

    /// Whether it is open for writing.
    #[must_use]
    pub fn writable(&self) -> bool {
        matches!(self.flags() & 3, 1 | 2)
    }

    /// Whether `O_NONBLOCK` is set.
    #[must_use]
    pub fn nonblocking(&self) -> bool {
        self.flags() & chitin_abi::fs::O_NONBLOCK != 0
    }
}

impl Pollable for File {
    fn readiness(&self) -> Events {
        match self.ops.pollable() {
            Some(p) => p.readiness(),
            None => Events::READABLE | Events::WRITABLE,
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        self.ops.pollable().and_then(Pollable::wait_queue)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        crate::syscall::locks::released(self);
        super::async_io::released(self);
        super::notify::closed(self);
        self.watchers.file_gone(&*self.ops);
    }
}
