//! Descriptors that the caller gives to the program: standard streams, the terminal.
//!
//! They stay as the caller has them, blocking or not, so that nothing is read or
//! written before the host says that it will not wait. A [`Watcher`] thread waits for
//! the rest.

use chitin_abi::fs::O_APPEND;
use chitin_abi::signal::{SIGTTIN, SIGTTOU};
use chitin_abi::tty::*;
use chitin_abi::{Errno, Pod};
use chitin_hostsys::events::Epoll;
use chitin_hostsys::{files, tty};
use chitin_kernel::sync::Mutex;
use chitin_kernel::task::Task;
use chitin_kernel::tty::{JobControl, NodeAttr, PtyTable, Speeds, Terminal, check_job, job_ioctl};
use chitin_kernel::vfs::{
    Attr, FileCx, FileOps, FileType, IoDst, IoSrc, OWN_POSITION, OpenRequest,
};
use chitin_kernel::wait::{Events, Pollable, WaitQueue};
use chitin_usermem::{UserAddr, UserMemory, UserPtr};
use std::collections::HashMap;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// What a pipe takes without waiting once it is writable (`PIPE_BUF`).
const WRITE_MAX: usize = 4096;
/// Bytes that are read at once.
const READ_MAX: usize = 64 << 10;

/// `lseek(2)`.
const SEEK_CUR: i32 = 1;
const SEEK_END: i32 = 2;

/// Waits for host descriptors on a thread of its own.
pub(crate) struct Watcher {
    epoll: Epoll,
    streams: Mutex<HashMap<u64, Weak<Stream>>>,
    next: AtomicU64,
    /// Held from the look at a stream to the transfer: a second reader who saw the same
    /// bytes would block its worker. Streams may be one file, so there is one lock each.
    reading: Mutex<()>,
    writing: Mutex<()>,
}

impl Watcher {
    pub(crate) fn start() -> std::io::Result<Arc<Self>> {
        let this = Arc::new(Self {
            epoll: Epoll::new()?,
            streams: Mutex::default(),
            next: AtomicU64::new(1),
            reading: Mutex::default(),
            writing: Mutex::default(),
        });
        let watcher = this.clone();
        let work = move || {
            while let Ok(events) = watcher.epoll.wait() {
                for (token, events) in events {
                    let stream = watcher.streams.lock().get(&token).and_then(Weak::upgrade);
                    if let Some(stream) = stream {
                        stream.queue.notify(Events(events & 0xffff));
                    }
                }
            }
        };
        std::thread::Builder::new().name("watcher".into()).stack_size(128 << 10).spawn(work)?;
        Ok(this)
    }
}

/// The terminal of the caller as the sandbox sees it: one more below `/dev/pts`, and the
/// controlling one of the first session.
pub(crate) struct CallerTerminal {
    index: u32,
    job: JobControl,
    node: Mutex<NodeAttr>,
    /// What every opening of it by name shares: a host descriptor is watched once.
    stream: Arc<Stream>,
    /// Where the launcher is told that the program waits for input.
    control: Mutex<UnixStream>,
}

impl CallerTerminal {
    /// Adds the host terminal behind `fd` to the table, controlling the first session if
    /// it controls the caller's.
    pub(crate) fn add(
        table: &PtyTable,
        fd: OwnedFd,
        owner: &files::Stat,
        watcher: &Arc<Watcher>,
        control: UnixStream,
    ) -> Result<Arc<Self>, Errno> {
        let control = Mutex::new(control);
        let job = match tty::controls_us(fd.as_fd()) {
            true => JobControl::of_session(1, 1),
            false => JobControl::new(),
        };
        let mut node = NodeAttr::of_user(owner.uid);
        (node.gid, node.perm) = (owner.gid, owner.mode & 0o7777);
        let node = Mutex::new(node);
        table.add(|index| {
            Arc::new_cyclic(|this| {
                let stream = Stream::new(fd, Kind::Terminal, watcher, Some(this.clone()));
                Self { index, job, node, stream, control }
            })
        })
    }

    /// Tells the launcher that input is waited for: the host stops a job in the
    /// background that reads, and only the launcher can be asked whether it is one.
    fn wants_input(&self) {
        if self.controls_caller() {
            // A launcher that is gone has no jobs, and one that is stopped is told later:
            // nothing here may wait for it.
            let control = self.control.lock();
            let _ = files::send(control.as_fd(), &crate::launch::READS_TERMINAL);
        }
    }

    /// Whether it controls the first session.
    pub(crate) fn controls_caller(&self) -> bool {
        self.job.session() == Some(1)
    }
}

impl Terminal for CallerTerminal {
    fn job(&self) -> &JobControl {
        &self.job
    }

    fn index(&self) -> u32 {
        self.index
    }

    fn node(&self) -> &Mutex<NodeAttr> {
        &self.node
    }

    fn open(self: Arc<Self>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        Ok(Box::new(StreamFile(self.stream.clone())))
    }
}

/// What a host descriptor is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Terminal,
    Regular,
    /// Regular, and the host puts all writes at its end.
    Appended,
    Other,
}

impl Kind {
    fn is_regular(self) -> bool {
        matches!(self, Self::Regular | Self::Appended)
    }
}

/// A descriptor of the caller.
pub(crate) struct Stream {
    fd: OwnedFd,
    kind: Kind,
    watcher: Arc<Watcher>,
    terminal: Option<Weak<CallerTerminal>>,
    token: u64,
    queue: WaitQueue,
}

/// An open file description over a [`Stream`].
pub(crate) struct StreamFile(Arc<Stream>);

fn errno(e: &std::io::Error) -> Errno {
    e.raw_os_error().and_then(Errno::from_raw).unwrap_or(Errno::EIO)
}

impl Stream {
    /// A stream of the caller; `terminal` is what it is if it is a terminal.
    pub(crate) fn open(
        fd: OwnedFd,
        watcher: &Arc<Watcher>,
        terminal: Option<&Arc<CallerTerminal>>,
    ) -> std::io::Result<Box<dyn FileOps>> {
        let stat = files::statx(fd.as_fd(), b"")?;
        let appends = files::status_flags(fd.as_fd())? & O_APPEND != 0;
        let kind = match FileType::from_mode(stat.mode) {
            Some(FileType::Regular) if appends => Kind::Appended,
            Some(FileType::Regular) => Kind::Regular,
            _ if tty::get(fd.as_fd()).is_ok() => Kind::Terminal,
            _ => Kind::Other,
        };
        Ok(Box::new(StreamFile(Self::new(fd, kind, watcher, terminal.map(Arc::downgrade)))))
    }

    fn new(
        fd: OwnedFd,
        kind: Kind,
        watcher: &Arc<Watcher>,
        terminal: Option<Weak<CallerTerminal>>,
    ) -> Arc<Self> {
        let token = watcher.next.fetch_add(1, Ordering::Relaxed);
        let watcher = watcher.clone();
        let queue = WaitQueue::new();
        let stream = Arc::new(Self { fd, kind, watcher, terminal, token, queue });
        stream.watcher.streams.lock().insert(token, Arc::downgrade(&stream));
        stream
    }

    /// Which of `wanted` holds now; the rest will be announced.
    fn ready(&self, wanted: Events) -> Events {
        if self.kind.is_regular() {
            return wanted;
        }
        let bits = i16::try_from(wanted.0 & 0x7fff).unwrap_or(0);
        let now = files::poll_now(self.fd.as_fd(), bits).unwrap_or(0);
        let now = Events(u32::from(now.cast_unsigned()));
        if !now.contains(wanted) {
            // A file that cannot be watched is always ready.
            let armed = self.watcher.epoll.arm(self.fd.as_fd(), wanted.0 & !now.0, self.token);
            if armed.is_err() {
                return wanted;
            }
        }
        now
    }

    /// Reads from a file that the caller shares, at `pos` or where it stands.
    fn read_regular(&self, dst: &mut IoDst<'_>, pos: u64) -> Result<usize, Errno> {
        let mut buf = vec![0; dst.remaining().min(READ_MAX)];
        let mut done = 0;
        while dst.remaining() > 0 {
            let want = buf.len().min(dst.remaining());
            let piece = buf.get_mut(..want).unwrap_or_default();
            let read = match pos {
                OWN_POSITION => files::read(self.fd.as_fd(), piece),
                _ => files::preadv(
                    self.fd.as_fd(),
                    &mut [IoSliceMut::new(piece)],
                    pos.checked_add(done as u64).ok_or(Errno::EINVAL)?,
                ),
            };
            let n = read.map_err(|e| errno(&e))?;
            let put = dst.put(buf.get(..n).unwrap_or_default());
            match put {
                Ok(put) => done += put,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
            if n < want {
                break;
            }
        }
        Ok(done)
    }

    /// Writes as much as the host takes now; at `pos` if it is a file and that is no
    /// [`OWN_POSITION`].
    fn write_at(&self, src: &mut IoSrc<'_>, pos: u64) -> Result<usize, Errno> {
        let before = src.done();
        let regular = self.kind.is_regular();
        let most = if regular { READ_MAX } else { WRITE_MAX };
        let mut buf = vec![0; src.remaining().min(most)];
        while src.remaining() > 0 {
            let n = src.peek(&mut buf)?;
            let _turn = self.watcher.writing.lock();
            if self.ready(Events::OUT).is_empty() {
                return Err(Errno::EAGAIN);
            }
            let piece = buf.get(..n).unwrap_or_default();
            let at = pos.checked_add((src.done() - before) as u64);
            let written = match at.filter(|_| regular && pos != OWN_POSITION) {
                Some(at) => files::pwrite_from(self.fd.as_fd(), piece.as_ptr(), n, at),
                None => files::write(self.fd.as_fd(), piece),
            };
            match written {
                Ok(written) => src.advance(written),
                Err(e) if src.done() == before => return Err(errno(&e)),
                Err(_) => break,
            }
        }
        Ok(src.done() - before)
    }

    fn check_job(&self, task: &Arc<Task>, signo: i32) -> Result<(), Errno> {
        let terminal = self.terminal.as_ref().and_then(Weak::upgrade);
        terminal.map_or(Ok(()), |tty| check_job(task, &*tty, signo))
    }

    /// The settings, if it is a terminal.
    fn termios(&self) -> Option<Termios> {
        let is_terminal = self.kind == Kind::Terminal;
        let bytes = is_terminal.then(|| tty::get(self.fd.as_fd()).ok())??;
        Termios::from_bytes(&bytes)
    }

    /// What a request of a terminal does, job control apart.
    fn terminal_ioctl(&self, cx: FileCx<'_>, cmd: u32, arg: u64) -> Result<u64, Errno> {
        let (fd, at) = (self.fd.as_fd(), UserAddr(arg));
        let mm = cx.task.mm().ok_or(Errno::EFAULT)?;
        match cmd {
            TCGETS => mm.write(at, &tty::get(fd).map_err(|e| errno(&e))?)?,
            TCGETS2 => {
                let termios = self.termios().ok_or(Errno::EIO)?;
                let speeds = Speeds::of_cflag(termios.c_cflag);
                let speeds = speeds.unwrap_or(Speeds { input: 38400, output: 38400 });
                let (c_ispeed, c_ospeed) = (speeds.input, speeds.output);
                UserPtr::new(at).write(&*mm, &Termios2 { termios, c_ispeed, c_ospeed })?;
            }
            TCSETS | TCSETSW | TCSETSF | TCSETS2 | TCSETSW2 | TCSETSF2 => {
                let mut termios = [0; tty::TERMIOS_LEN];
                mm.read(at, &mut termios)?;
                self.check_job(cx.task, SIGTTOU)?;
                let old = match cmd {
                    TCSETS2 => TCSETS,
                    TCSETSW2 => TCSETSW,
                    TCSETSF2 => TCSETSF,
                    other => other,
                };
                tty::set(fd, old, &termios).map_err(|e| errno(&e))?;
            }
            TIOCGWINSZ => {
                UserPtr::new(at).write(&*mm, &tty::window(fd).map_err(|e| errno(&e))?)?;
            }
            TIOCSWINSZ => {
                let size = UserPtr::<[u16; 4]>::new(at).read(&*mm)?;
                tty::set_window(fd, &size).map_err(|e| errno(&e))?;
            }
            TCFLSH => {
                self.check_job(cx.task, SIGTTOU)?;
                let queue = i32::try_from(arg).map_err(|_| Errno::EINVAL)?;
                tty::flush(fd, queue).map_err(|e| errno(&e))?;
            }
            // The host's terminal has shown what was written; flow is its own affair.
            TCSBRK | TCSBRKP | TIOCSBRK | TIOCCBRK | TCXONC => self.check_job(cx.task, SIGTTOU)?,
            TIOCOUTQ | TIOCGETD => UserPtr::new(at).write(&*mm, &0_i32)?,
            // Typing for whoever reads after the sandbox is an attack.
            TIOCSTI => return Err(Errno::EIO),
            other => {
                cx.task.kernel.gap(&format!("ioctl {other:#x} of a terminal"));
                return Err(Errno::ENOTTY);
            }
        }
        Ok(0)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.watcher.streams.lock().remove(&self.token);
    }
}

impl Pollable for Stream {
    fn readiness(&self) -> Events {
        self.ready(Events::READABLE | Events::WRITABLE | Events(Events::PRI.0))
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        (!self.kind.is_regular()).then_some(&self.queue)
    }
}

/// `VMIN` and `VTIME`.
fn timing(termios: &Termios) -> (u8, u8) {
    let at = |index: usize| termios.c_cc.get(index).copied().unwrap_or(0);
    (at(VMIN), at(VTIME))
}

impl FileOps for StreamFile {
    fn read(&self, cx: FileCx<'_>, dst: &mut IoDst<'_>, pos: u64) -> Result<usize, Errno> {
        let stream = &self.0;
        if stream.kind.is_regular() {
            return stream.read_regular(dst, pos);
        }
        stream.check_job(cx.task, SIGTTIN)?;
        if dst.remaining() == 0 {
            return Ok(0);
        }
        let turn = stream.watcher.reading.lock();
        if stream.ready(Events::IN).is_empty() {
            let raw = |t: &Termios| t.c_lflag & ICANON == 0;
            let at_once = stream.termios().filter(raw).is_some_and(|t| timing(&t) == (0, 0));
            if at_once {
                return Ok(0);
            }
            if let Some(terminal) = stream.terminal.as_ref().and_then(Weak::upgrade) {
                terminal.wants_input();
            }
            return Err(Errno::EAGAIN);
        }
        let mut buf = vec![0; dst.remaining().min(READ_MAX)];
        let n = files::read(stream.fd.as_fd(), &mut buf).map_err(|e| errno(&e))?;
        drop(turn);
        dst.put(buf.get(..n).unwrap_or_default())
    }

    fn write(&self, _cx: FileCx<'_>, src: &mut IoSrc<'_>, pos: u64) -> Result<usize, Errno> {
        self.0.write_at(src, pos)
    }

    fn write_append(&self, _cx: FileCx<'_>, src: &mut IoSrc<'_>) -> Result<(u64, usize), Errno> {
        let stream = &self.0;
        if stream.kind == Kind::Regular {
            files::lseek(stream.fd.as_fd(), 0, SEEK_END).map_err(|e| errno(&e))?;
        }
        let n = stream.write_at(src, OWN_POSITION)?;
        Ok((files::lseek(stream.fd.as_fd(), 0, SEEK_CUR).unwrap_or(0), n))
    }

    fn seekable(&self) -> bool {
        self.0.kind.is_regular()
    }

    fn shares_position(&self) -> bool {
        self.0.kind.is_regular()
    }

    fn seek(&self, _cx: FileCx<'_>, offset: i64, whence: u32) -> Option<Result<u64, Errno>> {
        const HIGHEST: u32 = 4;
        let whence = i32::try_from(whence).ok().filter(|_| whence <= HIGHEST);
        let Some(whence) = whence else { return Some(Err(Errno::EINVAL)) };
        Some(files::lseek(self.0.fd.as_fd(), offset, whence).map_err(|e| errno(&e)))
    }

    fn read_patience(&self, done: usize) -> Option<u64> {
        const TENTH: u64 = 100_000_000;
        let termios = self.0.termios().filter(|t| t.c_lflag & ICANON == 0)?;
        let (min, time) = timing(&termios);
        (time > 0 && (min == 0 || done > 0)).then(|| u64::from(time) * TENTH)
    }

    fn ioctl(&self, cx: FileCx<'_>, cmd: u32, arg: u64) -> Result<u64, Errno> {
        let stream = &self.0;
        if cmd == FIONREAD {
            let n = tty::readable_bytes(stream.fd.as_fd()).map_err(|e| errno(&e))?;
            let mm = cx.task.mm().ok_or(Errno::EFAULT)?;
            UserPtr::new(UserAddr(arg)).write(&*mm, &n)?;
            return Ok(0);
        }
        if stream.kind != Kind::Terminal {
            return Err(Errno::ENOTTY);
        }
        let job = self.terminal().and_then(|tty| job_ioctl(cx.task, &tty, cmd, arg));
        job.unwrap_or_else(|| stream.terminal_ioctl(cx, cmd, arg))
    }

    fn terminal(&self) -> Option<Arc<dyn Terminal>> {
        let terminal = self.0.terminal.as_ref()?.upgrade()?;
        Some(terminal)
    }

    fn attr(&self) -> Attr {
        let Ok(s) = files::statx(self.0.fd.as_fd(), b"") else {
            return Attr::unnamed(FileType::Fifo);
        };
        let kind = FileType::from_mode(s.mode).unwrap_or(FileType::Fifo);
        let dev = |d: (u32, u32)| u64::from(chitin_abi::fs::makedev(d.0, d.1));
        Attr {
            dev: dev(s.dev),
            ino: s.ino,
            perm: s.mode & 0o7777,
            nlink: s.nlink,
            uid: s.uid,
            gid: s.gid,
            rdev: dev(s.rdev),
            size: s.size,
            blocks: s.blocks,
            ..Attr::unnamed(kind)
        }
    }

    fn pollable(&self) -> Option<&dyn Pollable> {
        (!self.0.kind.is_regular()).then_some(&*self.0)
    }

    fn fsync(&self, _cx: FileCx<'_>) -> Result<(), Errno> {
        match self.0.kind {
            Kind::Regular | Kind::Appended => {
                files::fsync(self.0.fd.as_fd()).map_err(|e| errno(&e))
            }
            _ => Err(Errno::EINVAL),
        }
    }
}
