//! Record locks of `fcntl(2)` and whole-file locks of `flock(2)`.
//!
//! Locks are kept with the inode ([`FileLocks`] in its VFS state). An owner is a
//! descriptor table (POSIX locks) or an open file description (OFD locks, `flock`).

use crate::error::SysResult;
use crate::sync::Mutex;
use crate::task::CurrentTask;
use crate::vfs::{File, InodeRef};
use crate::wait::{Events, WaitQueue};
use chitin_abi::Errno;
use chitin_abi::fs::*;
use chitin_usermem::UserPtr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const F_RDLCK: i16 = 0;
const F_WRLCK: i16 = 1;
const F_UNLCK: i16 = 2;
/// Most locks of one file.
const LOCKS_MAX: usize = 10_000;

/// Whose a record lock is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    /// A descriptor table, by [`crate::fd::FdTable::id`].
    Table(u64),
    /// An open file description, by its address.
    File(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Lock {
    owner: Owner,
    pid: i32,
    write: bool,
    start: u64,
    /// Last byte.
    end: u64,
}

/// Locks of one file.
#[derive(Default)]
pub struct FileLocks {
    records: Mutex<Vec<Lock>>,
    whole: Mutex<Vec<(usize, bool)>>,
    event: WaitQueue,
}

fn conflict(locks: &[Lock], wanted: &Lock) -> Option<Lock> {
    let clash = |l: &&Lock| {
        l.owner != wanted.owner
            && l.start <= wanted.end
            && wanted.start <= l.end
            && (l.write || wanted.write)
    };
    // The first of them by position, as in Linux, whose lists are sorted.
    locks.iter().filter(clash).min_by_key(|l| l.start).copied()
}

/// Takes the range away from an owner's locks.
fn carve(locks: &mut Vec<Lock>, owner: Owner, start: u64, end: u64) {
    let mut kept = Vec::with_capacity(locks.len() + 1);
    for l in locks.drain(..) {
        if l.owner != owner || l.end < start || end < l.start {
            kept.push(l);
            continue;
        }
        if l.start < start {
            kept.push(Lock { end: start - 1, ..l });
        }
        if l.end > end {
            kept.push(Lock { start: end + 1, ..l });
        }
    }
    *locks = kept;
}

/// A lock together with those of its owner and kind that touch it, which go.
fn merged(locks: &mut Vec<Lock>, mut lock: Lock) -> Lock {
    locks.retain(|l| {
        let touches =
            l.start <= lock.end.saturating_add(1) && lock.start <= l.end.saturating_add(1);
        let same = l.owner == lock.owner && l.write == lock.write && touches;
        if same {
            (lock.start, lock.end) = (lock.start.min(l.start), lock.end.max(l.end));
        }
        !same
    });
    lock
}

/// Which table waits for a lock of which other one. Lock: one, outside those of
/// files.
#[derive(Default)]
pub struct LockWaits(Mutex<Vec<(u64, Owner, Owner)>>);

/// Longest chain of waiting owners that is looked at, as in Linux.
const CHAIN_MAX: usize = 10;

/// A place in [`LockWaits`], given up on drop.
struct Waiting<'a> {
    waits: &'a LockWaits,
    id: u64,
}

impl<'a> Waiting<'a> {
    fn new(waits: &'a LockWaits) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { waits, id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// Takes the lock, or notes who is waited for; `EDEADLK` if that one waits for us.
    fn attempt(&self, locks: &FileLocks, wanted: Lock) -> Result<(), Errno> {
        let mut waits = self.waits.0.lock();
        waits.retain(|w| w.0 != self.id);
        let mut result = locks.set(wanted);
        if result == Err(Errno::EAGAIN)
            && let Some(found) = conflict(&locks.records.lock(), &wanted)
        {
            let mut at = Some(found.owner);
            for _ in 0..CHAIN_MAX {
                let Some(owner) = at else { break };
                if owner == wanted.owner {
                    return Err(Errno::EDEADLK);
                }
                at = waits.iter().find(|w| w.1 == owner).map(|w| w.2);
            }
            waits.push((self.id, wanted.owner, found.owner));
            result = Err(Errno::EAGAIN);
        }
        result
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waits.0.lock().retain(|w| w.0 != self.id);
    }
}

impl FileLocks {
    fn set(&self, wanted: Lock) -> Result<(), Errno> {
        let mut locks = self.records.lock();
        if conflict(&locks, &wanted).is_some() {
            return Err(Errno::EAGAIN);
        }
        if locks.len() >= LOCKS_MAX {
            return Err(Errno::ENOLCK);
        }
        carve(&mut locks, wanted.owner, wanted.start, wanted.end);
        let wanted = merged(&mut locks, wanted);
        locks.push(wanted);
        drop(locks);
        // A write lock may have become a read lock.
        self.event.notify(Events::ALL);
        Ok(())
    }

    fn unlock(&self, owner: Owner, start: u64, end: u64) {
        let mut locks = self.records.lock();
        if !locks.iter().any(|l| l.owner == owner) {
            return;
        }
        carve(&mut locks, owner, start, end);
        drop(locks);
        self.event.notify(Events::ALL);
    }

    fn set_whole(&self, owner: usize, write: bool) -> Result<(), Errno> {
        let mut whole = self.whole.lock();
        if whole.iter().any(|&(o, w)| o != owner && (w || write)) {
            return Err(Errno::EAGAIN);
        }
        whole.retain(|&(o, _)| o != owner);
        whole.push((owner, write));
        drop(whole);
        self.event.notify(Events::ALL);
        Ok(())
    }

    fn unlock_whole(&self, owner: usize) {
        self.whole.lock().retain(|&(o, _)| o != owner);
        self.event.notify(Events::ALL);
    }
}

fn inode_of(file: &File) -> Result<&InodeRef, Errno> {
    file.path().and_then(|p| p.dentry.inode_ref()).ok_or(Errno::EBADF)
}

/// The identity of an open file description as an owner of locks.
fn file_owner(file: &File) -> usize {
    std::ptr::from_ref(file) as usize
}

/// First and last byte of a `struct flock`.
fn range(file: &File, inode: &InodeRef, lock: &Flock) -> Result<(u64, u64), Errno> {
    let base = match lock.l_whence {
        0 => 0,
        1 => file.pos.lock().cast_signed(),
        2 => inode.attr()?.size.cast_signed(),
        _ => return Err(Errno::EINVAL),
    };
    let mut start = base.checked_add(lock.l_start).ok_or(Errno::EOVERFLOW)?;
    let mut len = lock.l_len;
    if len < 0 {
        start = start.checked_add(len).ok_or(Errno::EINVAL)?;
        len = -len;
    }
    let start = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
    match len {
        0 => Ok((start, u64::MAX)),
        _ => {
            let end = start.checked_add(len.unsigned_abs() - 1).ok_or(Errno::EOVERFLOW)?;
            Ok((start, end))
        }
    }
}

/// The lock commands of `fcntl(2)`.
pub async fn fcntl(
    cur: &mut CurrentTask,
    file: &Arc<File>,
    cmd: u32,
    arg: UserPtr<Flock>,
) -> SysResult {
    let mut lock = arg.read(&**cur.mm())?;
    if !(0..=2).contains(&lock.l_whence) {
        return Err(Errno::EINVAL.into());
    }
    let inode = inode_of(file)?;
    let (start, end) = range(file, inode, &lock)?;
    let ofd = matches!(cmd, F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW);
    if ofd && lock.l_pid != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (owner, pid) = match ofd {
        true => (Owner::File(file_owner(file)), -1),
        false => (Owner::Table(cur.task().files().id()), cur.task().process.pid),
    };
    let locks = inode.vfs_state().get_or_default::<FileLocks>();
    let wanted = Lock { owner, pid, write: lock.l_type == F_WRLCK, start, end };
    if matches!(cmd, F_GETLK | F_OFD_GETLK) {
        if !matches!(lock.l_type, F_RDLCK | F_WRLCK) {
            return Err(Errno::EINVAL.into());
        }
        match conflict(&locks.records.lock(), &wanted) {
            None => lock.l_type = F_UNLCK,
            Some(found) => {
                lock.l_type = if found.write { F_WRLCK } else { F_RDLCK };
                lock.l_whence = 0;
                lock.l_start = found.start.cast_signed();
                lock.l_len = match found.end {
                    u64::MAX => 0,
                    end => (end - found.start + 1).cast_signed(),
                };
                lock.l_pid = found.pid;
            }
        }
        arg.write(&**cur.mm(), &lock)?;
        return Ok(0);
    }
    match lock.l_type {
        F_UNLCK => {
            locks.unlock(owner, start, end);
            return Ok(0);
        }
        F_RDLCK if !file.readable() => return Err(Errno::EBADF.into()),
        F_WRLCK if !file.writable() => return Err(Errno::EBADF.into()),
        F_RDLCK | F_WRLCK => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    if matches!(cmd, F_SETLK | F_OFD_SETLK) {
        locks.set(wanted)?;
        return Ok(0);
    }
    if ofd {
        // As in Linux nobody looks for deadlocks of these.
        cur.block_on(&locks.event, Events::ALL, None, |_| locks.set(wanted)).await?;
        return Ok(0);
    }
    let kernel = cur.task().kernel.clone();
    let waiting = Waiting::new(&kernel.lock_waits);
    let attempt = |_: &mut CurrentTask| waiting.attempt(&locks, wanted);
    cur.block_on(&locks.event, Events::ALL, None, attempt).await?;
    Ok(0)
}

/// `flock(2)`.
pub async fn flock(cur: &mut CurrentTask, fd: i32, operation: u32) -> SysResult {
    const LOCK_SH: u32 = 1;
    const LOCK_EX: u32 = 2;
    const LOCK_NB: u32 = 4;
    const LOCK_UN: u32 = 8;
    const LOCK_MAND: u32 = 32;
    // Mandatory locks are gone from Linux, which does nothing here.
    if operation & LOCK_MAND != 0 {
        return Ok(0);
    }
    if !matches!(operation & !LOCK_NB, LOCK_SH | LOCK_EX | LOCK_UN) {
        return Err(Errno::EINVAL.into());
    }
    let file = cur.file(fd)?;
    if file.flags() & O_PATH != 0 {
        return Err(Errno::EBADF.into());
    }
    let inode = inode_of(&file)?;
    let locks = inode.vfs_state().get_or_default::<FileLocks>();
    let owner = file_owner(&file);
    let write = match operation & !LOCK_NB {
        LOCK_SH => false,
        LOCK_EX => true,
        LOCK_UN => {
            locks.unlock_whole(owner);
            return Ok(0);
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    file.rare.lock().locked = true;
    if operation & LOCK_NB != 0 {
        locks.set_whole(owner, write)?;
        return Ok(0);
    }
    cur.block_on(&locks.event, Events::ALL, None, |_| locks.set_whole(owner, write)).await?;
    Ok(0)
}

/// A descriptor of `file` was taken out of a table: the table's record locks on the file are
/// gone, whatever descriptor they were made by.
pub(crate) fn closed(table: u64, file: &File) {
    let Ok(inode) = inode_of(file) else { return };
    if let Some(locks) = inode.vfs_state().get::<FileLocks>() {
        locks.unlock(Owner::Table(table), 0, u64::MAX);
    }
}

/// The last descriptor of an open file description is gone.
pub(crate) fn released(file: &File) {
    let Ok(inode) = inode_of(file) else { return };
    if let Some(locks) = inode.vfs_state().get::<FileLocks>() {
        let owner = file_owner(file);
        locks.unlock(Owner::File(owner), 0, u64::MAX);
        locks.unlock_whole(owner);
    }
}
