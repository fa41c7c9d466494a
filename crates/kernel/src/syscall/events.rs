//! `eventfd(2)`, `timerfd_create(2)` and what belongs to it, `epoll(7)`, `inotify(7)`.

use super::arg::{Flags, UserPath};
use super::fd::install;
use super::path_of;
use super::signals::mask_arg;
use super::time::{nanos, timespec};
use crate::error::SysResult;
use crate::events::{Epoll, EventFd, Inotify, Taking, TimerFd};
use crate::task::CurrentTask;
use crate::time::{Clock, Deadline};
use crate::vfs::access::{Want, permitted};
use crate::vfs::lookup::{Last, lookup};
use crate::vfs::{File, FileOps, FileType};
use crate::wait::{Events, WaitError};
use chitin_abi::Errno;
use chitin_abi::fs::{
    AT_FDCWD, IN_ALL_EVENTS, IN_CLOEXEC, IN_DONT_FOLLOW, IN_MASK_ADD, IN_MASK_CREATE, IN_NONBLOCK,
    IN_ONLYDIR, O_CLOEXEC, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR,
};
use chitin_abi::poll::*;
use chitin_abi::time::*;
use chitin_usermem::UserPtr;

/// `CAP_WAKE_ALARM`.
const CAP_WAKE_ALARM: u32 = 35;
/// Most events that one call may ask for (`EP_MAX_EVENTS`).
const MAX_EVENTS: i32 = i32::MAX / 12;

fn open(cur: &CurrentTask, ops: Box<dyn FileOps>, flags: u32) -> SysResult {
    let file = File::new(ops, None, O_RDWR | (flags & O_NONBLOCK));
    let fd = install(cur, file, flags & O_CLOEXEC != 0)?;
    Ok(u64::from(fd.unsigned_abs()))
}

/// `eventfd(2)` without flags.
pub fn eventfd(cur: &mut CurrentTask, count: u32) -> SysResult {
    eventfd2(cur, count, 0)
}

/// `eventfd(2)`.
pub fn eventfd2(cur: &mut CurrentTask, count: u32, flags: u32) -> SysResult {
    if flags & !(EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let taking = if flags & EFD_SEMAPHORE != 0 { Taking::One } else { Taking::All };
    open(cur, Box::new(EventFd::new(count, taking)), flags)
}

/// `timerfd_create(2)`.
pub fn timerfd_create(cur: &mut CurrentTask, clock: i32, flags: u32) -> SysResult {
    if flags & !(TFD_CLOEXEC | TFD_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    match clock {
        CLOCK_REALTIME | CLOCK_MONOTONIC | CLOCK_BOOTTIME => {}
        CLOCK_REALTIME_ALARM | CLOCK_BOOTTIME_ALARM => {
            if !cur.task().cred().has_cap(CAP_WAKE_ALARM) {
                return Err(Errno::EPERM.into());
            }
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    let executor = cur.task().kernel.executor.clone();
    open(cur, Box::new(TimerFd::new(Clock::of(clock)?, executor)), flags)
}

fn timer<T>(
    cur: &CurrentTask,
    fd: i32,
    f: impl FnOnce(&TimerFd) -> Result<T, Errno>,
) -> Result<T, Errno> {
    let file = cur.file(fd)?;
    f(file.ops_as::<TimerFd>().ok_or(Errno::EINVAL)?)
}

fn setting((value, interval): (u64, u64)) -> Itimerspec {
    Itimerspec { it_interval: timespec(interval), it_value: timespec(value) }
}

/// `timerfd_settime(2)`. The guest's clock is never set, so nothing is cancelled by it.
pub fn timerfd_settime(
    cur: &mut CurrentTask,
    fd: i32,
    flags: u32,
    new: UserPtr<Itimerspec>,
    old: UserPtr<Itimerspec>,
) -> SysResult {
    let new = new.read(&**cur.mm())?;
    if flags & !(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (value, interval) = (nanos(new.it_value)?, nanos(new.it_interval)?);
    let before = timer(cur, fd, |timer| {
        let next = match (value, flags & TFD_TIMER_ABSTIME) {
            (0, _) => None,
            (_, 0) => Some(Deadline::after(value)),
            _ => Some(timer.clock().deadline(value)),
        };
        Ok(timer.set(next, interval))
    })?;
    old.write_opt(&**cur.mm(), &setting(before))?;
    Ok(0)
}

/// `timerfd_gettime(2)`.
pub fn timerfd_gettime(cur: &mut CurrentTask, fd: i32, out: UserPtr<Itimerspec>) -> SysResult {
    let now = timer(cur, fd, |timer| Ok(timer.get()))?;
    out.write(&**cur.mm(), &setting(now))?;
    Ok(0)
}

/// `epoll_create(2)`: the size is of no use, but checked.
pub fn epoll_create(cur: &mut CurrentTask, size: i32) -> SysResult {
    if size <= 0 {
        return Err(Errno::EINVAL.into());
    }
    epoll_create1(cur, 0)
}

/// `epoll_create1(2)`.
pub fn epoll_create1(cur: &mut CurrentTask, flags: u32) -> SysResult {
    if flags & !EPOLL_CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    open(cur, Box::<Epoll>::default(), flags)
}

/// `epoll_ctl(2)`.
pub fn epoll_ctl(
    cur: &mut CurrentTask,
    epfd: i32,
    op: i32,
    fd: i32,
    event: UserPtr<EpollEvent>,
) -> SysResult {
    const EXCLUSIVE_OK: u32 =
        POLLIN | POLLOUT | POLLERR | POLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;
    let event = match op {
        EPOLL_CTL_DEL => EpollEvent::default(),
        _ => event.read(&**cur.mm())?,
    };
    let (set, file) = (cur.file(epfd)?, cur.file(fd)?);
    if (set.flags() | file.flags()) & O_PATH != 0 {
        return Err(Errno::EBADF.into());
    }
    if file.ops().pollable().is_none() {
        return Err(Errno::EPERM.into());
    }
    let epoll = set.ops_as::<Epoll>().ok_or(Errno::EINVAL)?;
    if std::sync::Arc::ptr_eq(&set, &file) {
        return Err(Errno::EINVAL.into());
    }
    let events = event.events;
    if events & EPOLLEXCLUSIVE != 0 {
        let nested = file.ops_as::<Epoll>().is_some();
        if op == EPOLL_CTL_MOD || nested || events & !EXCLUSIVE_OK != 0 {
            return Err(Errno::EINVAL.into());
        }
    }
    match op {
        EPOLL_CTL_ADD => epoll.add(fd, &file, event)?,
        EPOLL_CTL_MOD => epoll.modify(fd, &file, event)?,
        EPOLL_CTL_DEL => epoll.remove(fd, &file)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

async fn wait(
    cur: &mut CurrentTask,
    epfd: i32,
    out: UserPtr<EpollEvent>,
    most: i32,
    deadline: Option<Deadline>,
) -> SysResult {
    let Some(most) = usize::try_from(most).ok().filter(|&n| n > 0) else {
        return Err(Errno::EINVAL.into());
    };
    if most > MAX_EVENTS.unsigned_abs() as usize {
        return Err(Errno::EINVAL.into());
    }
    let file = cur.file(epfd)?;
    let epoll = file.ops_as::<Epoll>().ok_or(Errno::EINVAL)?;
    let waited = cur.block_on(epoll, Events::READABLE, deadline, |_| epoll.collect(most)).await;
    let events = match waited {
        Ok(events) => events,
        Err(WaitError::TimedOut) => return Ok(0),
        // Never restarted, see signal(7).
        Err(WaitError::Interrupted) => return Err(Errno::EINTR.into()),
        Err(e) => return Err(e.into()),
    };
    let mm = cur.mm();
    for (i, event) in (0..).zip(&events) {
        match out.at(i).and_then(|at| at.write(&**mm, event)) {
            Ok(()) => {}
            Err(_) if i > 0 => return Ok(i),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(events.len() as u64)
}

fn millis(timeout: i32) -> Option<Deadline> {
    u64::try_from(timeout).ok().map(|ms| Deadline::after(ms * 1_000_000))
}

/// `epoll_wait(2)`.
pub async fn epoll_wait(
    cur: &mut CurrentTask,
    epfd: i32,
    events: UserPtr<EpollEvent>,
    most: i32,
    timeout: i32,
) -> SysResult {
    wait(cur, epfd, events, most, millis(timeout)).await
}

/// `epoll_pwait(2)`.
pub async fn epoll_pwait(
    cur: &mut CurrentTask,
    epfd: i32,
    events: UserPtr<EpollEvent>,
    most: i32,
    timeout: i32,
    mask: UserPtr<u64>,
    size: usize,
) -> SysResult {
    mask_arg(cur, mask, size)?;
    wait(cur, epfd, events, most, millis(timeout)).await
}

/// `epoll_pwait2(2)`.
pub async fn epoll_pwait2(
    cur: &mut CurrentTask,
    epfd: i32,
    events: UserPtr<EpollEvent>,
    most: i32,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<u64>,
    size: usize,
) -> SysResult {
    let deadline = match timeout.read_opt(&**cur.mm())? {
        Some(t) => Some(Deadline::after(nanos(t)?)),
        None => None,
    };
    mask_arg(cur, mask, size)?;
    wait(cur, epfd, events, most, deadline).await
}

/// `inotify_init(2)`.
pub fn inotify_init(cur: &mut CurrentTask) -> SysResult {
    inotify_init1(cur, 0)
}

/// `inotify_init1(2)`.
pub fn inotify_init1(cur: &mut CurrentTask, flags: u32) -> SysResult {
    if flags & !(IN_CLOEXEC | IN_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = File::new(
        Box::new(Inotify::new(&cur.task().kernel.settings)?),
        None,
        O_RDONLY | flags & O_NONBLOCK,
    );
    let fd = install(cur, file, flags & O_CLOEXEC != 0)?;
    Ok(u64::from(fd.unsigned_abs()))
}

/// `inotify_add_watch(2)`.
pub fn inotify_add_watch(cur: &mut CurrentTask, fd: i32, path: UserPath, mask: Flags) -> SysResult {
    let mask = mask.0;
    if mask & IN_ALL_EVENTS == 0
        || mask & (IN_MASK_ADD | IN_MASK_CREATE) == IN_MASK_ADD | IN_MASK_CREATE
    {
        return Err(Errno::EINVAL.into());
    }
    let file = cur.file(fd)?;
    let inotify = file.ops_as::<Inotify>().ok_or(Errno::EINVAL)?;
    let path = path_of(cur, path)?;
    let last = if mask & IN_DONT_FOLLOW != 0 { Last::NoFollow } else { Last::Follow };
    let place = lookup(cur.task(), AT_FDCWD, &path, last)?;
    let inode = place.dentry.inode().ok_or(Errno::ENOENT)?;
    if mask & IN_ONLYDIR != 0 && inode.file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    permitted(&cur.task().cred(), &inode.attr()?, Want::READ)?;
    let most = cur.task().kernel.settings.inotify_watches.count();
    Ok(u64::from(inotify.add(inode, mask, most)?.unsigned_abs()))
}

/// `inotify_rm_watch(2)`.
pub fn inotify_rm_watch(cur: &mut CurrentTask, fd: i32, wd: i32) -> SysResult {
    let file = cur.file(fd)?;
    file.ops_as::<Inotify>().ok_or(Errno::EINVAL)?.remove(wd)?;
    Ok(0)
}
