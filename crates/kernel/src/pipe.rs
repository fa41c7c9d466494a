//! Pipes and FIFOs (`pipe(7)`, `fifo(7)`).
//!
//! A [`Pipe`] is a queue of page-sized buffers, shared by its ends ([`PipeEnd`]).
//! A FIFO is a pipe kept in the [`InodeState`] of its inode while it is open.
//!
//! Locks: one per pipe, never held while the wait queue is told; guest memory is
//! copied under it.

use crate::error::{Restart, SysError};
use crate::sync::Mutex;
use crate::task::{CurrentTask, Task};
use crate::vfs::{File, FileCx, FileOps, InodeState, IoDst, IoSrc};
use crate::wait::{Events, Pollable, WaitError, WaitQueue};
use chitin_abi::Errno;
use chitin_abi::fs::{O_DIRECT, O_NONBLOCK};
use chitin_hostsys::heap;
use chitin_usermem::{UserAddr, UserMemory};
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of one buffer; also `PIPE_BUF`, up to which a write is atomic.
pub const PIPE_BUF: usize = 4096;
/// Buffers of a new pipe.
const DEFAULT_SLOTS: usize = 16;
/// Most bytes of a pipe, unless `/proc/sys/fs/pipe-max-size` says otherwise.
pub const PIPE_MAX_SIZE: usize = 1 << 20;
/// `CAP_SYS_RESOURCE`.
const CAP_SYS_RESOURCE: u32 = 24;
/// Buffers kept for reuse.
const SPARE_SLOTS: usize = 2;

struct Buffer {
    data: Vec<u8>,
    /// Bytes already read.
    at: usize,
    /// Written in packet mode: one read takes at most this buffer and discards the rest.
    packet: bool,
}

#[derive(Default)]
struct State {
    buffers: VecDeque<Buffer>,
    spare: Vec<Vec<u8>>,
    slots: usize,
    readers: usize,
    writers: usize,
    /// How often it was opened for reading and writing; the opening of a FIFO waits
    /// for the other one to change.
    reader_opens: u64,
    writer_opens: u64,
}

impl State {
    fn page(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| Vec::with_capacity(PIPE_BUF))
    }

    fn recycle(&mut self, mut page: Vec<u8>) {
        if self.spare.len() < SPARE_SLOTS {
            page.clear();
            self.spare.push(page);
        }
    }

    /// Where the sentry keeps too much already, a pipe has room for one buffer.
    fn full(&self) -> bool {
        let slots = if heap::is_short() { self.slots.min(1) } else { self.slots };
        self.buffers.len() >= slots
    }

    /// The room of a new pipe, where it may have `most` bytes.
    fn start_with(&mut self, most: usize) {
        self.slots = self.slots.min(most / PIPE_BUF);
    }

    fn bytes(&self) -> usize {
        self.buffers.iter().map(|b| b.data.len() - b.at).sum()
    }
}

/// Inode numbers of pipes.
static NEXT_INO: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1000);

/// The shared middle of a pipe.
pub struct Pipe {
    ino: u64,
    /// User and group that made it.
    owner: (u32, u32),
    state: Mutex<State>,
    queue: WaitQueue,
}

impl Default for Pipe {
    fn default() -> Self {
        let state = State { slots: DEFAULT_SLOTS, ..State::default() };
        let ino = NEXT_INO.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self { ino, owner: (0, 0), state: Mutex::new(state), queue: WaitQueue::new() }
    }
}

/// Which ends a description has, from `O_ACCMODE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ends {
    Read,
    Write,
    Both,
}

impl Ends {
    fn of(flags: u32) -> Self {
        match flags & 3 {
            0 => Self::Read,
            1 => Self::Write,
            _ => Self::Both,
        }
    }
    fn reads(self) -> bool {
        self != Self::Write
    }
    fn writes(self) -> bool {
        self != Self::Read
    }
}

/// What stands behind a description of a pipe.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    ends: Ends,
}

impl PipeEnd {
    fn new(pipe: Arc<Pipe>, ends: Ends) -> Self {
        let mut state = pipe.state.lock();
        if ends.reads() {
            state.readers += 1;
            state.reader_opens += 1;
        }
        if ends.writes() {
            state.writers += 1;
            state.writer_opens += 1;
        }
        drop(state);
        Self { pipe, ends }
    }

    /// `F_GETPIPE_SZ`.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.pipe.state.lock().slots * PIPE_BUF
    }

    /// `F_SETPIPE_SZ`: rounds up to a power of two pages; returns the new size. It grows to no
    /// more than `most` bytes.
    pub fn set_capacity(&self, bytes: usize, most: usize) -> Result<usize, Errno> {
        if bytes > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let slots = bytes.max(PIPE_BUF).div_ceil(PIPE_BUF).next_power_of_two();
        let mut state = self.pipe.state.lock();
        if slots > state.slots && slots * PIPE_BUF > most {
            return Err(Errno::EPERM);
        }
        if state.buffers.len() > slots {
            return Err(Errno::EBUSY);
        }
        state.slots = slots;
        drop(state);
        self.pipe.queue.notify(Events::WRITABLE);
        Ok(slots * PIPE_BUF)
    }
}

/// For transfers between descriptors (`splice(2)`, `tee(2)`).
impl PipeEnd {
    /// Whether both are ends of one pipe.
    #[must_use]
    pub fn same_pipe(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pipe, &other.pipe)
    }

    /// Bytes that a write takes without waiting; `EAGAIN` if none, `EPIPE` without a
    /// reader.
    pub fn room(&self) -> Result<usize, Errno> {
        let state = self.pipe.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        if state.full() {
            return Err(Errno::EAGAIN);
        }
        Ok(state.slots.saturating_sub(state.buffers.len()) * PIPE_BUF)
    }

    /// Copies up to `max` bytes from the front; empty at the end of file, `EAGAIN` if
    /// nothing is there yet.
    pub fn peek(&self, max: usize) -> Result<Vec<u8>, Errno> {
        let state = self.pipe.state.lock();
        if state.buffers.is_empty() && state.writers > 0 {
            return Err(Errno::EAGAIN);
        }
        let mut out = Vec::new();
        for buffer in &state.buffers {
            let bytes = buffer.data.get(buffer.at..).unwrap_or_default();
            let n = bytes.len().min(max - out.len());
            out.extend_from_slice(bytes.get(..n).unwrap_or_default());
        }
        Ok(out)
    }

    /// Puts bytes that were read back to the front. The pipe may be fuller than it
    /// should be until they are read again.
    pub fn give_back(&self, bytes: &[u8]) {
        let mut state = self.pipe.state.lock();
        for page in bytes.rchunks(PIPE_BUF) {
            let buffer = Buffer { data: page.to_vec(), at: 0, packet: false };
            state.buffers.push_front(buffer);
        }
        drop(state);
        self.pipe.queue.notify(Events::READABLE);
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let mut state = self.pipe.state.lock();
        state.readers -= usize::from(self.ends.reads());
        state.writers -= usize::from(self.ends.writes());
        if state.readers == 0 && state.writers == 0 {
            state.buffers.clear();
        }
        drop(state);
        self.pipe.queue.notify(Events::ALL);
    }
}

impl Pipe {
    fn read(&self, dst: &mut IoDst<'_>) -> Result<usize, Errno> {
        let mut state = self.state.lock();
        // Full when the writer looked, perhaps, and not any more.
        let was_full = state.full() || heap::was_short();
        let before = dst.done();
        while dst.remaining() > 0 {
            let Some(mut buffer) = state.buffers.pop_front() else { break };
            match dst.put(buffer.data.get(buffer.at..).unwrap_or_default()) {
                Ok(n) => buffer.at += n,
                Err(e) => {
                    state.buffers.push_front(buffer);
                    if dst.done() == before {
                        return Err(e);
                    }
                    break;
                }
            }
            let packet = buffer.packet;
            if buffer.at >= buffer.data.len() || packet {
                state.recycle(buffer.data);
            } else {
                state.buffers.push_front(buffer);
            }
            if packet {
                break;
            }
        }
        let done = dst.done() - before;
        if done == 0 && dst.remaining() > 0 && state.writers > 0 {
            return Err(Errno::EAGAIN);
        }
        let room = was_full && !state.full();
        drop(state);
        if room {
            self.queue.notify(Events::WRITABLE);
        }
        Ok(done)
    }

    fn write(&self, src: &mut IoSrc<'_>, flags: u32) -> Result<usize, Errno> {
        let before = src.done();
        if src.remaining() == 0 {
            return Ok(0);
        }
        let mut state = self.state.lock();
        let result = fill(&mut state, src, flags & O_DIRECT != 0);
        drop(state);
        let done = src.done() - before;
        if done > 0 {
            self.queue.notify(Events::READABLE);
        }
        match result {
            // All or nothing is left to do for somebody who may wait; see `FileOps::write`.
            Err(Errno::EAGAIN) if done > 0 && flags & O_NONBLOCK != 0 => Ok(done),
            Err(Errno::EAGAIN) => Err(Errno::EAGAIN),
            Err(_) if done > 0 => Ok(done),
            Err(e) => Err(e),
            Ok(()) => Ok(done),
        }
    }
}

/// Moves all of `src` into the pipe, or fails with `EAGAIN` when it is full.
fn fill(state: &mut State, src: &mut IoSrc<'_>, packet: bool) -> Result<(), Errno> {
    if state.readers == 0 {
        return Err(Errno::EPIPE);
    }
    // Linux merges the odd bytes of a write into the last buffer if they fit whole.
    let odd = src.remaining() % PIPE_BUF;
    if odd > 0
        && !packet
        && let Some(last) = state.buffers.back_mut()
        && !last.packet
        && last.data.len() + odd <= PIPE_BUF
    {
        let start = last.data.len();
        last.data.resize(start + odd, 0);
        let taken = src.take(last.data.get_mut(start..).unwrap_or_default());
        last.data.truncate(start + *taken.as_ref().unwrap_or(&0));
        taken?;
    }
    while src.remaining() > 0 {
        if state.full() {
            return Err(Errno::EAGAIN);
        }
        let mut page = state.page();
        page.resize(src.remaining().min(PIPE_BUF), 0);
        match src.take(&mut page) {
            Ok(n) => page.truncate(n),
            Err(e) => {
                state.recycle(page);
                return Err(e);
            }
        }
        state.buffers.push_back(Buffer { data: page, at: 0, packet });
    }
    Ok(())
}

impl FileOps for PipeEnd {
    fn tells_by_signals(&self) -> bool {
        true
    }

    fn attr(&self) -> crate::vfs::Attr {
        let fifo = crate::vfs::FileType::Fifo;
        let (uid, gid) = self.pipe.owner;
        crate::vfs::Attr { ino: self.pipe.ino, uid, gid, ..crate::vfs::Attr::unnamed(fifo) }
    }

    fn read(&self, _cx: FileCx<'_>, dst: &mut IoDst<'_>, _pos: u64) -> Result<usize, Errno> {
        self.pipe.read(dst)
    }

    fn write(&self, cx: FileCx<'_>, src: &mut IoSrc<'_>, _pos: u64) -> Result<usize, Errno> {
        self.pipe.write(src, cx.file.flags())
    }

    fn ioctl(&self, cx: FileCx<'_>, cmd: u32, arg: u64) -> Result<u64, Errno> {
        if cmd != chitin_abi::tty::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes = i32::try_from(self.pipe.state.lock().bytes()).unwrap_or(i32::MAX);
        cx.task.mm().ok_or(Errno::EFAULT)?.write(UserAddr(arg), &bytes.to_ne_bytes())?;
        Ok(0)
    }

    fn pollable(&self) -> Option<&dyn Pollable> {
        Some(self)
    }
}

impl Pollable for PipeEnd {
    fn readiness(&self) -> Events {
        let state = self.pipe.state.lock();
        let mut events = Events::NONE;
        if self.ends.reads() {
            if !state.buffers.is_empty() {
                events |= Events::READABLE;
            }
            // A FIFO that never had a writer has no hang-up yet.
            if state.writers == 0 && state.writer_opens > 0 {
                events |= Events::HUP;
            }
        }
        if self.ends.writes() {
            if !state.full() {
                events |= Events::WRITABLE;
            }
            if state.readers == 0 {
                events |= Events::ERR;
            }
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.queue)
    }
}

/// Most bytes of a pipe that `task` makes.
#[must_use]
pub fn limit(task: &Task) -> usize {
    match task.cred().has_cap(CAP_SYS_RESOURCE) {
        true => usize::MAX,
        false => task.kernel.settings.pipe_max_size.count(),
    }
}

/// Both descriptions of a new pipe of no more than `most` bytes: for reading, for writing.
/// `flags` are status flags (`O_NONBLOCK`, `O_DIRECT`).
#[must_use]
pub fn pipe(flags: u32, owner: (u32, u32), most: usize) -> (Arc<File>, Arc<File>) {
    let pipe = Pipe { owner, ..Pipe::default() };
    pipe.state.lock().start_with(most);
    let pipe = Arc::new(pipe);
    let read = PipeEnd::new(pipe.clone(), Ends::Read);
    let write = PipeEnd::new(pipe, Ends::Write);
    (File::new(Box::new(read), None, flags), File::new(Box::new(write), None, flags | 1))
}

/// Opens a FIFO (`fifo(7)`): waits for the other side unless `O_NONBLOCK` or
/// `O_RDWR`; `ENXIO` for a non-blocking writer without a reader.
pub async fn open_fifo(
    cur: &mut CurrentTask,
    inode: &InodeState,
    flags: u32,
) -> Result<Box<dyn FileOps>, SysError> {
    let pipe = inode.get_or_default::<Pipe>();
    let ends = Ends::of(flags);
    let (readers, reader_opens, writers, writer_opens) = {
        let mut s = pipe.state.lock();
        if s.reader_opens == 0 && s.writer_opens == 0 {
            s.start_with(limit(cur.task()));
        }
        (s.readers, s.reader_opens, s.writers, s.writer_opens)
    };
    let nonblocking = flags & O_NONBLOCK != 0;
    if ends == Ends::Write && readers == 0 && nonblocking {
        return Err(Errno::ENXIO.into());
    }
    let end = PipeEnd::new(pipe.clone(), ends);
    pipe.queue.notify(Events::ALL);
    let waits = match ends {
        Ends::Read => writers == 0 && !nonblocking,
        Ends::Write => readers == 0,
        Ends::Both => false,
    };
    if waits {
        let opened = |s: &State| match ends {
            Ends::Read => s.writer_opens != writer_opens,
            _ => s.reader_opens != reader_opens,
        };
        let wait = cur.block_on(&pipe.queue, Events::ALL, None, |_| {
            if opened(&pipe.state.lock()) { Ok(()) } else { Err(Errno::EAGAIN) }
        });
        match wait.await {
            Ok(()) => {}
            Err(WaitError::Interrupted) => return Err(SysError::Restart(Restart::Sys)),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(Box::new(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(pipe: &Pipe, bytes: &[u8], flags: u32) -> Result<usize, Errno> {
        pipe.write(&mut IoSrc::kernel(bytes), flags)
    }

    fn read(pipe: &Pipe, len: usize) -> Result<Vec<u8>, Errno> {
        let mut buf = vec![0; len];
        let n = pipe.read(&mut IoDst::kernel(&mut buf))?;
        buf.truncate(n);
        Ok(buf)
    }

    fn ends() -> (Arc<Pipe>, PipeEnd, PipeEnd) {
        let pipe = Arc::new(Pipe::default());
        let read = PipeEnd::new(pipe.clone(), Ends::Read);
        let write = PipeEnd::new(pipe.clone(), Ends::Write);
        (pipe, read, write)
    }

    #[test]
    fn bytes_come_out_in_order_and_end_with_the_writer() {
        let (pipe, r, w) = ends();
        assert_eq!(read(&pipe, 1), Err(Errno::EAGAIN));
        assert_eq!(r.readiness(), Events::NONE);
        assert_eq!(write(&pipe, b"hello", 0), Ok(5));
        assert_eq!(write(&pipe, b" world", 0), Ok(6));
        assert_eq!(pipe.state.lock().buffers.len(), 1, "small writes share a buffer");
        assert_eq!(r.readiness(), Events::READABLE);
        assert_eq!(read(&pipe, 7).unwrap(), b"hello w");
        drop(w);
        assert_eq!(r.readiness(), Events::READABLE | Events::HUP);
        assert_eq!(read(&pipe, 100).unwrap(), b"orld");
        assert_eq!(read(&pipe, 100).unwrap(), b"");
        assert_eq!(r.readiness(), Events::HUP);
    }

    #[test]
    fn a_full_pipe_takes_nothing_and_a_read_makes_room() {
        let (pipe, _r, w) = ends();
        let much = vec![1; 70_000];
        assert_eq!(write(&pipe, &much, O_NONBLOCK), Ok(65_536));
        assert_eq!(write(&pipe, b"x", O_NONBLOCK), Err(Errno::EAGAIN));
        assert_eq!(w.readiness(), Events::NONE);
        assert_eq!(read(&pipe, 4095).unwrap().len(), 4095);
        assert_eq!(w.readiness(), Events::NONE, "a buffer is free when it is empty");
        assert_eq!(read(&pipe, 1).unwrap().len(), 1);
        assert_eq!(w.readiness(), Events::WRITABLE);
    }

    #[test]
    fn a_blocking_write_remembers_what_it_has_written() {
        let (pipe, _r, _w) = ends();
        let much = vec![7; 65_536 + 10];
        let mut src = IoSrc::kernel(&much);
        assert_eq!(pipe.write(&mut src, 0), Err(Errno::EAGAIN));
        assert!(src.done() >= 65_536 - PIPE_BUF);
        while src.remaining() > 0 {
            assert!(!read(&pipe, 8192).unwrap().is_empty());
            let _ = pipe.write(&mut src, 0);
        }
        assert_eq!(src.done(), much.len());
    }

    #[test]
    fn without_readers_writing_is_a_broken_pipe() {
        let (pipe, r, w) = ends();
        drop(r);
        assert_eq!(write(&pipe, b"x", 0), Err(Errno::EPIPE));
        assert_eq!(w.readiness(), Events::WRITABLE | Events::ERR);
    }

    #[test]
    fn packets_keep_their_borders() {
        let (pipe, _r, _w) = ends();
        write(&pipe, b"one", O_DIRECT).unwrap();
        write(&pipe, b"two", O_DIRECT).unwrap();
        assert_eq!(read(&pipe, 100).unwrap(), b"one");
        assert_eq!(read(&pipe, 1).unwrap(), b"t");
        assert_eq!(read(&pipe, 100), Err(Errno::EAGAIN), "the rest of a packet is lost");
    }

    #[test]
    fn the_capacity_can_be_changed() {
        let (pipe, r, _w) = ends();
        assert_eq!(r.capacity(), 65_536);
        assert_eq!(r.set_capacity(5000, PIPE_MAX_SIZE), Ok(8192));
        assert_eq!(write(&pipe, &[0; 10_000], O_NONBLOCK), Ok(8192));
        assert_eq!(r.set_capacity(1, PIPE_MAX_SIZE), Err(Errno::EBUSY));
        assert_eq!(r.set_capacity(2 << 20, PIPE_MAX_SIZE), Err(Errno::EPERM));
    }
}
