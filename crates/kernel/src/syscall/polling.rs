//! Waiting for several files: `poll(2)`, `select(2)`.

use super::signals::mask_arg;
use crate::error::{Restart, SysError, SysResult};
use crate::task::{CurrentTask, RestartBlock};
use crate::time::Deadline;
use crate::vfs::File;
use crate::wait::{Events, Pollable, WaitError};
use chitin_abi::Errno;
use chitin_abi::poll::PollFd;
use chitin_abi::task::RLIMIT_NOFILE;
use chitin_abi::time::{Timespec, Timeval};
use chitin_usermem::{UserAddr, UserMemory, UserPtr};
use std::sync::Arc;

/// Most descriptors of `select(2)`.
const FD_SETSIZE: i32 = 1024;

/// A file and what is waited for; `None` for a descriptor that is not open.
type Watched = (Option<Arc<File>>, Events);

/// Waits until one of the files is ready; how many are, with what. Nobody is after the
/// deadline.
async fn wait_any(
    cur: &mut CurrentTask,
    watched: &[Watched],
    deadline: Option<Deadline>,
) -> Result<Vec<Events>, WaitError> {
    let check = |_: &mut CurrentTask| {
        let ready: Vec<Events> = watched
            .iter()
            .map(|(file, interest)| match file {
                Some(file) => file.readiness() & (*interest | Events::ERR | Events::HUP),
                None => Events::NVAL,
            })
            .collect();
        if ready.iter().any(|e| !e.is_empty()) { Ok(ready) } else { Err(Errno::EAGAIN) }
    };
    let queues = watched.iter().filter_map(|(file, interest)| {
        file.as_ref().and_then(|f| f.wait_queue()).map(|q| (q, *interest))
    });
    let queues: Vec<_> = queues.collect();
    match cur.block_on_any(&queues, deadline, check).await {
        Err(WaitError::TimedOut) => Ok(vec![Events::NONE; watched.len()]),
        other => other,
    }
}

/// `poll(2)` with a deadline.
pub(super) async fn poll_until(
    cur: &mut CurrentTask,
    fds: UserAddr,
    count: u32,
    deadline: Option<Deadline>,
) -> SysResult {
    if u64::from(count) > cur.task().process.limit(RLIMIT_NOFILE) {
        return Err(Errno::EINVAL.into());
    }
    let mm = cur.mm().clone();
    let base = UserPtr::<PollFd>::new(fds);
    let mut entries = Vec::new();
    for i in 0..u64::from(count) {
        entries.push(base.at(i)?.read(&*mm)?);
    }
    // A negative descriptor is skipped: it watches nothing and is never ready.
    let chosen: Vec<usize> =
        entries.iter().enumerate().filter(|(_, e)| e.fd >= 0).map(|(i, _)| i).collect();
    let watched: Vec<Watched> = chosen
        .iter()
        .filter_map(|&i| entries.get(i))
        .map(|e| (cur.file(e.fd).ok(), Events(u32::from(e.events))))
        .collect();
    let ready = match wait_any(cur, &watched, deadline).await {
        Ok(ready) => ready,
        Err(WaitError::Interrupted) => {
            cur.restart_block = Some(RestartBlock::Poll(deadline, fds, count));
            return Err(SysError::Restart(Restart::Block));
        }
        Err(e) => return Err(e.into()),
    };
    entries.iter_mut().for_each(|e| e.revents = 0);
    for (&i, events) in chosen.iter().zip(&ready) {
        if let Some(entry) = entries.get_mut(i) {
            entry.revents = u16::try_from(events.0 & 0xffff).unwrap_or(0);
        }
    }
    for (i, entry) in (0..).zip(&entries) {
        base.at(i)?.write(&*mm, entry)?;
    }
    Ok(entries.iter().filter(|e| e.revents != 0).count() as u64)
}

/// `poll(2)`.
pub async fn poll(cur: &mut CurrentTask, fds: UserAddr, count: u32, timeout: i32) -> SysResult {
    let deadline = u64::try_from(timeout).ok().map(|ms| Deadline::after(ms * 1_000_000));
    poll_until(cur, fds, count, deadline).await
}

fn no_restart(result: SysResult) -> SysResult {
    match result {
        Err(SysError::Restart(Restart::Block)) => Err(SysError::Restart(Restart::NoHand)),
        other => other,
    }
}

/// `ppoll(2)`; what is left of the timeout is stored.
pub async fn ppoll(
    cur: &mut CurrentTask,
    fds: UserAddr,
    count: u32,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<u64>,
    size: usize,
) -> SysResult {
    let deadline = match timeout.read_opt(&**cur.mm())? {
        Some(t) => Some(Deadline::after(super::time::nanos(t)?)),
        None => None,
    };
    mask_arg(cur, mask, size)?;
    let result = no_restart(poll_until(cur, fds, count, deadline).await);
    if let Some(deadline) = deadline {
        // As in Linux a timeout in read-only memory is no error.
        let _ = timeout.write(&**cur.mm(), &super::time::timespec(deadline.remaining()));
    }
    result
}

/// The three sets of `select(2)`.
struct Sets {
    addrs: [UserAddr; 3],
    bits: [Vec<u8>; 3],
}

const INTEREST: [Events; 3] = [
    Events(0x001 | 0x040 | 0x080 | 0x010 | 0x008),
    Events(0x004 | 0x100 | 0x200 | 0x008),
    Events(0x002),
];

fn has(bits: &[u8], fd: usize) -> bool {
    bits.get(fd / 8).is_some_and(|b| b & 1 << (fd % 8) != 0)
}

impl Sets {
    fn read(cur: &CurrentTask, n: i32, addrs: [UserAddr; 3]) -> Result<Self, Errno> {
        let n = usize::try_from(n).map_err(|_| Errno::EINVAL)?;
        let len = n.min(FD_SETSIZE.unsigned_abs() as usize).div_ceil(64) * 8;
        let mut bits = [vec![0; len], vec![0; len], vec![0; len]];
        for (addr, bits) in addrs.iter().zip(&mut bits) {
            if !addr.is_null() {
                cur.mm().read(*addr, bits)?;
            }
        }
        Ok(Self { addrs, bits })
    }

    fn interest(&self, fd: usize) -> Events {
        let sets = self.bits.iter().zip(INTEREST).filter(|(bits, _)| has(bits, fd));
        sets.fold(Events::NONE, |all, (_, e)| all | e)
    }

    /// Leaves only what is ready; returns how many bits are set.
    fn answer(&mut self, cur: &CurrentTask, ready: &[(usize, Events)]) -> Result<u64, Errno> {
        let mut count = 0;
        for ((addr, bits), interest) in self.addrs.iter().zip(&mut self.bits).zip(INTEREST) {
            let mut out = vec![0_u8; bits.len()];
            for &(fd, events) in ready {
                if has(bits, fd)
                    && events.intersects(interest)
                    && let Some(byte) = out.get_mut(fd / 8)
                {
                    *byte |= 1 << (fd % 8);
                    count += 1;
                }
            }
            if !addr.is_null() {
                cur.mm().write(*addr, &out)?;
            }
        }
        Ok(count)
    }
}

async fn do_select(
    cur: &mut CurrentTask,
    n: i32,
    addrs: [UserAddr; 3],
    deadline: Option<Deadline>,
) -> SysResult {
    let mut sets = Sets::read(cur, n, addrs)?;
    let n = usize::try_from(n).unwrap_or(0).min(FD_SETSIZE.unsigned_abs() as usize);
    let mut fds = Vec::new();
    let mut watched: Vec<Watched> = Vec::new();
    for fd in 0..n {
        let interest = sets.interest(fd);
        if !interest.is_empty() {
            let file = cur.file(i32::try_from(fd).unwrap_or(-1))?;
            fds.push(fd);
            watched.push((Some(file), interest));
        }
    }
    let ready = wait_any(cur, &watched, deadline).await.map_err(|e| match e {
        WaitError::Interrupted => SysError::Restart(Restart::NoHand),
        other => other.into(),
    })?;
    let ready: Vec<_> = fds.into_iter().zip(ready).collect();
    Ok(sets.answer(cur, &ready)?)
}

/// `select(2)`; what is left of the timeout is stored.
pub async fn select(
    cur: &mut CurrentTask,
    n: i32,
    read: UserAddr,
    write: UserAddr,
    except: UserAddr,
    timeout: UserPtr<Timeval>,
) -> SysResult {
    let deadline = match timeout.read_opt(&**cur.mm())? {
        Some(t) => {
            let sec = t.tv_sec.checked_add(t.tv_usec / 1_000_000).ok_or(Errno::EINVAL)?;
            let time = Timespec { tv_sec: sec, tv_nsec: t.tv_usec % 1_000_000 * 1000 };
            Some(Deadline::after(super::time::nanos(time)?))
        }
        None => None,
    };
    let result = do_select(cur, n, [read, write, except], deadline).await;
    if let Some(deadline) = deadline {
        let left = super::time::timespec(deadline.remaining());
        let left = Timeval { tv_sec: left.tv_sec, tv_usec: left.tv_nsec / 1000 };
        let _ = timeout.write(&**cur.mm(), &left);
    }
    result
}

/// `pselect6(2)`.
pub async fn pselect6(
    cur: &mut CurrentTask,
    n: i32,
    read: UserAddr,
    write: UserAddr,
    except: UserAddr,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<[u64; 2]>,
) -> SysResult {
    let deadline = match timeout.read_opt(&**cur.mm())? {
        Some(t) => Some(Deadline::after(super::time::nanos(t)?)),
        None => None,
    };
    if let Some([addr, size]) = mask.read_opt(&**cur.mm())? {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        mask_arg(cur, UserPtr::new(UserAddr(addr)), size)?;
    }
    let result = do_select(cur, n, [read, write, except], deadline).await;
    if let Some(deadline) = deadline {
        let _ = timeout.write(&**cur.mm(), &super::time::timespec(deadline.remaining()));
    }
    result
}
