//! Looking at others, and at what is shared with them: `process_vm_readv(2)`, `kcmp(2)`,
//! `get_robust_list(2)`, `unshare(2)`.

use super::rw::{count, segments};
use crate::error::SysResult;
use crate::mm::PAGE;
use crate::task::{CurrentTask, LooksBy, Task, may_inspect};
use crate::vfs::UserSegment;
use chitin_abi::Errno;
use chitin_abi::task::*;
use chitin_usermem::{UserAddr, UserMemory, UserPtr};
use std::cmp::Ordering;
use std::sync::Arc;

/// A thread that the caller may look into.
fn inspected(cur: &CurrentTask, tid: i32) -> Result<Arc<Task>, Errno> {
    let task = match tid {
        0 => cur.task().clone(),
        tid => cur.task().kernel.pids.get(tid).ok_or(Errno::ESRCH)?,
    };
    may_inspect(cur.task(), &task.process, task.mm().as_deref(), &task.cred(), LooksBy::Call)?;
    Ok(task)
}

/// `get_robust_list(2)`.
pub fn get_robust_list(
    cur: &mut CurrentTask,
    tid: i32,
    head: UserPtr<u64>,
    len: UserPtr<u64>,
) -> SysResult {
    let list = inspected(cur, tid)?.exit_words().robust_list;
    len.write(&**cur.mm(), &24)?;
    head.write(&**cur.mm(), &list.0)?;
    Ok(0)
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Toward {
    Caller,
    Other,
}

/// `process_vm_readv(2)`.
pub fn process_vm_readv(
    cur: &mut CurrentTask,
    pid: i32,
    local: UserAddr,
    locals: u64,
    remote: UserAddr,
    remotes: u64,
    flags: u64,
) -> SysResult {
    between(cur, pid, (local, locals), (remote, remotes), flags, Toward::Caller)
}

/// `process_vm_writev(2)`.
pub fn process_vm_writev(
    cur: &mut CurrentTask,
    pid: i32,
    local: UserAddr,
    locals: u64,
    remote: UserAddr,
    remotes: u64,
    flags: u64,
) -> SysResult {
    between(cur, pid, (local, locals), (remote, remotes), flags, Toward::Other)
}

fn between(
    cur: &CurrentTask,
    pid: i32,
    local: (UserAddr, u64),
    remote: (UserAddr, u64),
    flags: u64,
    toward: Toward,
) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let local = segments(cur, local.0, local.1)?;
    let remote = segments(cur, remote.0, remote.1)?;
    if local.iter().all(|s| s.1 == 0) || remote.iter().all(|s| s.1 == 0) {
        return Ok(0);
    }
    let task = match pid {
        0 => return Err(Errno::ESRCH.into()),
        pid => inspected(cur, pid)?,
    };
    let other = task.mm().ok_or(Errno::ESRCH)?;
    let (mut near, mut far) = (Pieces::new(&local), Pieces::new(&remote));
    let mut buf = [0; 4096];
    let mut done = 0;
    // The other side's pages one by one: what comes before one that is not there has moved.
    while let (Some((here, n)), Some((there, m))) = (near.next(), far.next()) {
        let page = usize::try_from(PAGE - (there.0 & (PAGE - 1))).unwrap_or(1);
        let n = n.min(m).min(page);
        let piece = buf.get_mut(..n).unwrap_or_default();
        let moved = match toward {
            Toward::Caller => other.read(there, piece).and_then(|()| cur.mm().write(here, piece)),
            Toward::Other => {
                cur.mm().read(here, piece).and_then(|()| other.write_beside(there, piece))
            }
        };
        match moved {
            Ok(()) => done += n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e.into()),
        }
        near.advance(n);
        far.advance(n);
    }
    count(done)
}

/// Segments, and how far a transfer has got in them.
struct Pieces<'a> {
    rest: &'a [UserSegment],
    done: usize,
}

impl<'a> Pieces<'a> {
    fn new(segments: &'a [UserSegment]) -> Self {
        Self { rest: segments, done: 0 }
    }

    /// The next address and how many bytes follow there.
    fn next(&mut self) -> Option<(UserAddr, usize)> {
        while let Some((first, rest)) = self.rest.split_first() {
            if self.done < first.1 {
                return Some((
                    UserAddr(first.0.0.wrapping_add(self.done as u64)),
                    first.1 - self.done,
                ));
            }
            (self.rest, self.done) = (rest, 0);
        }
        None
    }

    fn advance(&mut self, n: usize) {
        self.done += n;
    }
}

/// The order in which `kcmp(2)` tells things of a sandbox: a random one, for where they are in
/// the sentry is nobody's business.
pub struct Order {
    mask: u64,
    /// Odd, so that different addresses stay different.
    factor: u64,
}

impl Default for Order {
    fn default() -> Self {
        let (mut mask, mut factor) = ([0; 8], [0; 8]);
        chitin_hostsys::random::fill(&mut mask);
        chitin_hostsys::random::fill(&mut factor);
        let factor = u64::from_le_bytes(factor) | 1 << 63 | 1;
        Self { mask: u64::from_le_bytes(mask), factor }
    }
}

impl Order {
    fn of<T: ?Sized>(&self, a: &Arc<T>, b: &Arc<T>) -> u64 {
        let place = |of: &Arc<T>| {
            let addr = Arc::as_ptr(of).cast::<()>().addr() as u64;
            (addr ^ self.mask).wrapping_mul(self.factor)
        };
        match place(a).cmp(&place(b)) {
            Ordering::Equal => 0,
            Ordering::Less => 1,
            Ordering::Greater => 2,
        }
    }
}

/// `kcmp(2)`.
pub fn kcmp(cur: &mut CurrentTask, a: i32, b: i32, kind: i32, x: u64, y: u64) -> SysResult {
    let known = |tid: i32| cur.task().kernel.pids.get(tid).ok_or(Errno::ESRCH);
    let (a, b) = (known(a)?, known(b)?);
    for task in [&a, &b] {
        may_inspect(cur.task(), &task.process, task.mm().as_deref(), &task.cred(), LooksBy::Call)?;
    }
    let file =
        |task: &Task, fd: u64| task.files().get(i32::try_from(fd).map_err(|_| Errno::EBADF)?);
    let order = &cur.task().kernel.order;
    Ok(match kind {
        KCMP_FILE => order.of(&file(&a, x)?, &file(&b, y)?),
        KCMP_VM => match (a.mm(), b.mm()) {
            (Some(a), Some(b)) => order.of(&a, &b),
            _ => return Err(Errno::ESRCH.into()),
        },
        KCMP_FILES => order.of(&a.files(), &b.files()),
        KCMP_FS => order.of(&a.fs(), &b.fs()),
        KCMP_SIGHAND => order.of(&a.handlers(), &b.handlers()),
        KCMP_SYSVSEM => {
            let (a, b) = (a.undo.lock().clone(), b.undo.lock().clone());
            match (&a, &b) {
                (Some(a), Some(b)) => order.of(a, b),
                (None, None) => 0,
                (None, Some(_)) => 1,
                (Some(_), None) => 2,
            }
        }
        // Nobody has any.
        KCMP_IO => 0,
        _ => return Err(Errno::EINVAL.into()),
    })
}

/// `unshare(2)`.
pub fn unshare(cur: &mut CurrentTask, flags: u64) -> SysResult {
    let task = cur.task().clone();
    let whole = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
    if flags & !(whole | CLONE_FILES | CLONE_FS | CLONE_SYSVSEM | CLONE_NEW_ALL) != 0 {
        return Err(Errno::EINVAL.into());
    }
    // Nobody can leave what others have for good.
    if flags & whole != 0 && task.process.tasks().len() > 1 {
        return Err(Errno::EINVAL.into());
    }
    if flags & CLONE_NEW_ALL != 0 {
        task.kernel.gap("namespaces (unshare with CLONE_NEW*)");
        return Err(Errno::EPERM.into());
    }
    if flags & CLONE_SYSVSEM != 0 {
        task.leave_undo_list();
    }
    task.set_view(0);
    if flags & CLONE_FS != 0 {
        let own = task.fs().duplicate();
        *task.fs.write() = Arc::new(own);
    }
    if flags & CLONE_FILES != 0 {
        let files = task.files();
        if Arc::strong_count(&files) > 2 {
            *task.files.write() = Arc::new(files.duplicate());
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_one_of_many() {
        let things: Vec<Arc<u32>> = (0..8).map(Arc::new).collect();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..64 {
            let order = Order::default();
            for (a, b) in things.iter().zip(things.iter().skip(1)) {
                assert_eq!(order.of(a, a), 0);
                assert_eq!(order.of(a, b) + order.of(b, a), 3);
            }
            seen.insert(things.iter().map(|t| order.of(&things[0], t)).collect::<Vec<_>>());
        }
        assert!(seen.len() > 1);
    }
}
