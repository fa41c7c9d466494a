//! The two ends of a pseudoterminal as files.

use super::ioctl;
use super::pty::Pty;
use super::{Terminal, check_job};
use crate::vfs::{Attr, FileCx, FileOps, FileType, IoDst, IoSrc};
use crate::wait::{Events, Pollable, WaitQueue};
use chitin_abi::Errno;
use chitin_abi::fs::makedev;
use chitin_abi::signal::{SIGTTIN, SIGTTOU};
use chitin_abi::tty::{ICANON, TIOCPKT_FLUSHREAD, TOSTOP, VMIN, VTIME};
use std::sync::Arc;

/// Bytes of one transfer.
const TRANSFER: usize = 4096;
/// Nanoseconds of one unit of `VTIME`.
const TENTH: u64 = 100_000_000;

/// What the program at the other end of the terminal holds (`/dev/ptmx`).
pub struct Master(pub(super) Arc<Pty>);

/// What programs in the terminal hold (`/dev/pts/N`).
pub struct Slave(pub(super) Arc<Pty>);

fn attr(rdev: u32) -> Attr {
    Attr { rdev: u64::from(rdev), perm: 0o620, ..Attr::unnamed(FileType::CharDevice) }
}

impl Master {
    fn read_packet(&self, dst: &mut IoDst<'_>) -> Result<Option<usize>, Errno> {
        let (status, data) = {
            let mut state = self.0.state.lock();
            if !state.packets {
                state.discipline.news = 0;
                return Ok(None);
            }
            match std::mem::take(&mut state.discipline.news) {
                0 => {
                    let most = dst.remaining().saturating_sub(1).min(TRANSFER);
                    (0, state.discipline.take_output(most))
                }
                news => (news, Vec::new()),
            }
        };
        if status == 0 && data.is_empty() {
            return self.nothing().map(Some);
        }
        let mut n = dst.put(&[status])?;
        if !data.is_empty() {
            n += dst.put(&data)?;
        }
        Ok(Some(n))
    }

    /// Why there is nothing to read.
    fn nothing(&self) -> Result<usize, Errno> {
        let left = self.0.state.lock().slave_left;
        Err(if left { Errno::EIO } else { Errno::EAGAIN })
    }
}

impl FileOps for Master {
    fn read(&self, _cx: FileCx<'_>, dst: &mut IoDst<'_>, _pos: u64) -> Result<usize, Errno> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        if let Some(n) = self.read_packet(dst)? {
            self.0.slave_queue.notify(Events::WRITABLE);
            return Ok(n);
        }
        let data = self.0.state.lock().discipline.take_output(dst.remaining().min(TRANSFER));
        if data.is_empty() {
            return self.nothing();
        }
        let n = dst.put(&data)?;
        self.0.slave_queue.notify(Events::WRITABLE);
        Ok(n)
    }

    fn write(&self, _cx: FileCx<'_>, src: &mut IoSrc<'_>, _pos: u64) -> Result<usize, Errno> {
        let before = src.done();
        let mut buf = vec![0; src.remaining().min(TRANSFER)];
        while src.remaining() > 0 {
            let n = src.peek(&mut buf)?;
            let taken = self.0.type_in(buf.get(..n).unwrap_or_default());
            src.advance(taken);
            if taken < n {
                return Err(Errno::EAGAIN);
            }
        }
        Ok(src.done() - before)
    }

    fn ioctl(&self, cx: FileCx<'_>, cmd: u32, arg: u64) -> Result<u64, Errno> {
        ioctl::master(&self.0, cx, cmd, arg)
    }

    fn attr(&self) -> Attr {
        attr(makedev(5, 2))
    }

    fn pollable(&self) -> Option<&dyn Pollable> {
        Some(self)
    }

    fn fdinfo(&self) -> String {
        format!("tty-index:\t{}\n", self.0.index())
    }
}

impl Pollable for Master {
    fn readiness(&self) -> Events {
        let state = self.0.state.lock();
        let mut events = Events::NONE;
        let news = state.packets && state.discipline.news != 0;
        if state.discipline.shown() > 0 || news {
            events |= Events::READABLE;
        }
        if news {
            events |= Events::PRI;
        }
        if state.slave_left {
            events |= Events::HUP;
        }
        if state.discipline.has_room() {
            events |= Events::WRITABLE;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.master_queue)
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.0.master_left();
    }
}

impl Slave {
    fn terminal(&self) -> Arc<dyn Terminal> {
        self.0.clone()
    }
}

impl FileOps for Slave {
    fn read(&self, cx: FileCx<'_>, dst: &mut IoDst<'_>, _pos: u64) -> Result<usize, Errno> {
        if !self.0.state.lock().master {
            return Ok(0);
        }
        check_job(cx.task, &*self.0, SIGTTIN)?;
        if dst.remaining() == 0 {
            return Ok(0);
        }
        let (data, least) = {
            let mut state = self.0.state.lock();
            let discipline = &mut state.discipline;
            let canonical = discipline.lflag(ICANON);
            if discipline.readable() == 0 {
                let (min, time) = (discipline.control(VMIN), discipline.control(VTIME));
                let at_once = !canonical && min == 0 && time == 0;
                return if at_once { Ok(0) } else { Err(Errno::EAGAIN) };
            }
            let least = if canonical { 0 } else { usize::from(discipline.control(VMIN)) };
            (discipline.take(dst.remaining().min(TRANSFER)), least)
        };
        self.0.state.lock().discipline.news &= !TIOCPKT_FLUSHREAD;
        self.0.master_queue.notify(Events::WRITABLE);
        let n = dst.put(&data)?;
        let enough = dst.remaining() == 0 || dst.done() >= least;
        if enough { Ok(n) } else { Err(Errno::EAGAIN) }
    }

    fn read_patience(&self, done: usize) -> Option<u64> {
        let state = self.0.state.lock();
        let discipline = &state.discipline;
        let (min, time) = (discipline.control(VMIN), discipline.control(VTIME));
        let counts = !discipline.lflag(ICANON) && time > 0 && (min == 0 || done > 0);
        counts.then(|| u64::from(time) * TENTH)
    }

    fn write(&self, cx: FileCx<'_>, src: &mut IoSrc<'_>, _pos: u64) -> Result<usize, Errno> {
        if !self.0.state.lock().master {
            return Err(Errno::EIO);
        }
        if self.0.state.lock().discipline.lflag(TOSTOP) {
            check_job(cx.task, &*self.0, SIGTTOU)?;
        }
        let before = src.done();
        let mut buf = vec![0; src.remaining().min(TRANSFER)];
        while src.remaining() > 0 {
            let n = src.peek(&mut buf)?;
            let taken = {
                let mut state = self.0.state.lock();
                if !state.master {
                    return Err(Errno::EIO);
                }
                state.discipline.write(buf.get(..n).unwrap_or_default())
            };
            src.advance(taken);
            self.0.master_queue.notify(Events::READABLE);
            if taken < n {
                return Err(Errno::EAGAIN);
            }
        }
        Ok(src.done() - before)
    }

    fn ioctl(&self, cx: FileCx<'_>, cmd: u32, arg: u64) -> Result<u64, Errno> {
        if !self.0.state.lock().master {
            return Err(Errno::EIO);
        }
        ioctl::slave(&self.0, cx, cmd, arg)
    }

    fn attr(&self) -> Attr {
        attr(makedev(super::PTY_MAJOR, self.0.index()))
    }

    fn pollable(&self) -> Option<&dyn Pollable> {
        Some(self)
    }

    fn terminal(&self) -> Option<Arc<dyn Terminal>> {
        Some(Slave::terminal(self))
    }
}

impl Pollable for Slave {
    fn readiness(&self) -> Events {
        let state = self.0.state.lock();
        if !state.master {
            return Events::READABLE | Events::WRITABLE | Events::ERR | Events::HUP;
        }
        let discipline = &state.discipline;
        let least = match discipline.lflag(ICANON) || discipline.control(VTIME) > 0 {
            true => 1,
            false => usize::from(discipline.control(VMIN)).max(1),
        };
        let mut events = Events::NONE;
        if discipline.readable() >= least {
            events |= Events::READABLE;
        }
        if discipline.writable() {
            events |= Events::WRITABLE;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.slave_queue)
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        self.0.slave_left();
    }
}
