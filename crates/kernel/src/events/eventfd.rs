//! [`EventFd`]: a counter that can be waited for (`eventfd(2)`).
//!
//! Lock: one for the counter, a leaf.

use crate::sync::Mutex;
use crate::vfs::{FileCx, FileOps, IoDst, IoSrc};
use crate::wait::{Events, Pollable, WaitQueue};
use chitin_abi::Errno;

/// What a read takes from the counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taking {
    /// All of it.
    All,
    /// One (`EFD_SEMAPHORE`).
    One,
}

/// A counter from 0 to 2^64 - 2.
pub struct EventFd {
    count: Mutex<u64>,
    taking: Taking,
    queue: WaitQueue,
}

impl EventFd {
    /// A counter that begins at `count`.
    #[must_use]
    pub fn new(count: u32, taking: Taking) -> Self {
        Self { count: Mutex::new(count.into()), taking, queue: WaitQueue::new() }
    }

    /// Adds to the counter, as far as it can go.
    pub fn signal(&self, n: u64) {
        let mut count = self.count.lock();
        *count = count.saturating_add(n);
        drop(count);
        self.queue.notify(Events::READABLE);
    }

    fn take(&self) -> Result<u64, Errno> {
        let mut count = self.count.lock();
        let n = match (self.taking, *count) {
            (_, 0) => return Err(Errno::EAGAIN),
            (Taking::One, _) => 1,
            (Taking::All, n) => n,
        };
        *count -= n;
        drop(count);
        self.queue.notify(Events::WRITABLE);
        Ok(n)
    }

    fn add(&self, n: u64) -> Result<(), Errno> {
        if n == u64::MAX {
            return Err(Errno::EINVAL);
        }
        let mut count = self.count.lock();
        if u64::MAX - *count <= n {
            return Err(Errno::EAGAIN);
        }
        *count += n;
        drop(count);
        self.queue.notify(Events::READABLE);
        Ok(())
    }
}

impl FileOps for EventFd {
    fn takes_splice(&self) -> bool {
        false
    }

    fn read(&self, _cx: FileCx<'_>, dst: &mut IoDst<'_>, _pos: u64) -> Result<usize, Errno> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let n = self.take()?;
        match dst.put(&n.to_ne_bytes())? {
            8 => Ok(8),
            _ => Err(Errno::EFAULT),
        }
    }

    fn write(&self, _cx: FileCx<'_>, src: &mut IoSrc<'_>, _pos: u64) -> Result<usize, Errno> {
        let mut bytes = [0; 8];
        if src.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        if src.peek(&mut bytes)? < 8 {
            return Err(Errno::EFAULT);
        }
        self.add(u64::from_ne_bytes(bytes))?;
        src.advance(8);
        Ok(8)
    }

    fn pollable(&self) -> Option<&dyn Pollable> {
        Some(self)
    }

    fn fdinfo(&self) -> String {
        let semaphore = u8::from(self.taking == Taking::One);
        format!("eventfd-count: {:16x}\neventfd-semaphore: {semaphore}\n", *self.count.lock())
    }
}

impl Pollable for EventFd {
    fn readiness(&self) -> Events {
        let count = *self.count.lock();
        let mut events = Events::NONE;
        if count > 0 {
            events |= Events::IN;
        }
        if count == u64::MAX {
            events |= Events::ERR;
        }
        if count < u64::MAX - 1 {
            events |= Events::OUT;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_takes_all_or_one() {
        let all = EventFd::new(3, Taking::All);
        assert_eq!(all.take(), Ok(3));
        assert_eq!(all.take(), Err(Errno::EAGAIN));
        assert_eq!(all.readiness(), Events::OUT);
        let one = EventFd::new(2, Taking::One);
        assert_eq!((one.take(), one.take()), (Ok(1), Ok(1)));
        assert_eq!(one.take(), Err(Errno::EAGAIN));
    }

    #[test]
    fn the_counter_has_a_limit() {
        let fd = EventFd::new(0, Taking::All);
        assert_eq!(fd.add(u64::MAX), Err(Errno::EINVAL));
        assert_eq!(fd.add(u64::MAX - 1), Ok(()));
        assert_eq!(fd.readiness(), Events::IN);
        assert_eq!(fd.add(1), Err(Errno::EAGAIN));
        assert_eq!(fd.add(0), Ok(()), "nothing always fits below the limit");
    }
}
