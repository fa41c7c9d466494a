//! Semaphores of System V: `semget(2)`, `semop(2)`, `semctl(2)`.

use super::time::nanos;
use crate::error::{SysError, SysResult};
use crate::ipc::{SemStat, limit};
use crate::task::CurrentTask;
use crate::time::Deadline;
use crate::wait::{Events, WaitError};
use chitin_abi::Errno;
use chitin_abi::ipc::*;
use chitin_abi::time::Timespec;
use chitin_usermem::{UserAddr, UserPtr, UserSlice};

fn number(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// `semget(2)`.
pub fn semget(cur: &mut CurrentTask, key: i32, count: i32, flags: u32) -> SysResult {
    let count = usize::try_from(count).ok().filter(|&n| n <= limit::SEMMSL);
    let count = count.ok_or(Errno::EINVAL)?;
    let task = cur.task();
    let id = task.kernel.ipc.sem.open(key, count, flags, &task.cred())?;
    Ok(u64::from(id.unsigned_abs()))
}

/// `semop(2)`.
pub async fn semop(cur: &mut CurrentTask, id: i32, ops: UserPtr<Sembuf>, count: u32) -> SysResult {
    operate(cur, id, ops, count, None).await
}

/// `semtimedop(2)`.
pub async fn semtimedop(
    cur: &mut CurrentTask,
    id: i32,
    ops: UserPtr<Sembuf>,
    count: u32,
    timeout: UserPtr<Timespec>,
) -> SysResult {
    let timeout = timeout.read_opt(&**cur.mm())?;
    operate(cur, id, ops, count, timeout).await
}

async fn operate(
    cur: &mut CurrentTask,
    id: i32,
    ops: UserPtr<Sembuf>,
    count: u32,
    timeout: Option<Timespec>,
) -> SysResult {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count == 0 || id < 0 {
        return Err(Errno::EINVAL.into());
    }
    if count > limit::SEMOPM {
        return Err(Errno::E2BIG.into());
    }
    let ops = UserSlice::new(ops, count).read(&**cur.mm())?;
    let deadline = timeout.map(nanos).transpose()?.map(Deadline::after);
    let task = cur.task().clone();
    let undoes = ops.iter().any(|op| u32::from(op.sem_flg.cast_unsigned()) & SEM_UNDO != 0);
    let undo = undoes.then(|| task.undo_list());
    let (sem, cred, pid) = (&task.kernel.ipc.sem, task.cred(), task.process.pid);
    let Some(waiting) = sem.operate(id, ops, undo.as_deref(), &cred, pid)? else { return Ok(0) };
    // The list is the thread's: it must not outlive that here.
    drop(undo);
    let waited = cur.block_on(waiting.waiter().event(), Events::ALL, deadline, |_| {
        waiting.waiter().take().ok_or(Errno::EAGAIN)
    });
    let waited = waited.await;
    let outcome = match waited {
        Ok(outcome) => Some(outcome),
        // Nobody settles it any more when that is dropped.
        Err(_) => waiting.give_up(),
    };
    match (outcome, waited) {
        (Some(outcome), _) => Ok(outcome.map(|()| 0)?),
        (None, Err(WaitError::TimedOut)) => Err(Errno::EAGAIN.into()),
        // Never restarted (`signal(7)`).
        (None, _) => Err(SysError::Errno(Errno::EINTR)),
    }
}

/// `semctl(2)`.
pub fn semctl(cur: &mut CurrentTask, id: i32, num: i32, cmd: i32, arg: u64) -> SysResult {
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = cur.task().clone();
    let (sem, cred, pid) = (&task.kernel.ipc.sem, task.cred(), task.process.pid);
    let tell = |stat: &SemStat| UserPtr::new(UserAddr(arg)).write(&**cur.mm(), &stat.ds);
    match cmd {
        IPC_INFO | SEM_INFO => return info(cur, cmd, arg),
        IPC_STAT => tell(&sem.stat(id, &cred)?)?,
        SEM_STAT | SEM_STAT_ANY => {
            let stat = sem.stat_at(id, (cmd == SEM_STAT).then_some(&*cred))?;
            tell(&stat)?;
            return Ok(u64::from(stat.id.unsigned_abs()));
        }
        GETVAL => return Ok(u64::from(sem.cell(id, num, &cred)?.value)),
        GETPID => return Ok(u64::from(sem.cell(id, num, &cred)?.pid.unsigned_abs())),
        GETNCNT | GETZCNT => return Ok(sem.waiting(id, num, cmd == GETZCNT, &cred)? as u64),
        GETALL => {
            let values: Vec<u16> = sem.cells(id, &cred)?.iter().map(|c| c.value).collect();
            let out = UserPtr::<u16>::new(UserAddr(arg));
            UserSlice::new(out, values.len()).write(&**cur.mm(), &values)?;
        }
        SETALL => {
            let count = sem.settable(id, &cred)?;
            let values = UserPtr::<u16>::new(UserAddr(arg));
            let values = UserSlice::new(values, count).read(&**cur.mm())?;
            sem.set_all(id, &values, pid)?;
        }
        SETVAL => {
            // The union's `int`.
            let [a, b, c, d, ..] = arg.to_le_bytes();
            sem.set_value(id, num, i32::from_le_bytes([a, b, c, d]), &cred, pid)?;
        }
        IPC_SET => {
            let to = UserPtr::<SemidDs>::new(UserAddr(arg)).read(&**cur.mm())?;
            sem.set(id, &to.sem_perm, &cred)?;
        }
        IPC_RMID => sem.remove(id, &cred)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

fn info(cur: &CurrentTask, cmd: i32, arg: u64) -> SysResult {
    /// Bytes of a list entry (`SEMUSZ`), as Linux says.
    const SEMUSZ: i32 = 20;
    let (sets, cells, highest) = cur.task().kernel.ipc.sem.sums();
    let used = cmd == SEM_INFO;
    let info = Seminfo {
        semmap: number(limit::SEMMNS),
        semmni: number(limit::SEMMNI),
        semmns: number(limit::SEMMNS),
        semmnu: number(limit::SEMMNU),
        semmsl: number(limit::SEMMSL),
        semopm: number(limit::SEMOPM),
        semume: number(limit::SEMOPM),
        semusz: if used { number(sets) } else { SEMUSZ },
        semvmx: limit::SEMVMX.into(),
        semaem: if used { number(cells) } else { limit::SEMVMX.into() },
    };
    UserPtr::new(UserAddr(arg)).write(&**cur.mm(), &info)?;
    Ok(highest)
}
