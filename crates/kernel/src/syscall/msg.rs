//! Messages of System V: `msgget(2)`, `msgsnd(2)`, `msgrcv(2)`, `msgctl(2)`.

use crate::error::{Restart, SysError, SysResult};
use crate::ipc::{Message, MsgStat, Receiving, Wanted, limit};
use crate::task::CurrentTask;
use crate::wait::Events;
use chitin_abi::Errno;
use chitin_abi::ipc::*;
use chitin_usermem::{UserAddr, UserMemory, UserPtr, UserSlice};

/// Bytes of a message's type, before its text.
const TYPE: u64 = 8;

fn number(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// `msgget(2)`.
pub fn msgget(cur: &mut CurrentTask, key: i32, flags: u32) -> SysResult {
    let task = cur.task();
    let id = task.kernel.ipc.msg.open(key, flags, &task.cred())?;
    Ok(u64::from(id.unsigned_abs()))
}

/// `msgsnd(2)`.
pub async fn msgsnd(
    cur: &mut CurrentTask,
    id: i32,
    message: UserAddr,
    size: usize,
    flags: u32,
) -> SysResult {
    let kind = UserPtr::<i64>::new(message).read(&**cur.mm())?;
    if size > limit::MSGMAX || id < 0 || kind < 1 {
        return Err(Errno::EINVAL.into());
    }
    let text = UserPtr::<u8>::new(message.offset(TYPE)?);
    let text = UserSlice::new(text, size).read(&**cur.mm())?;
    let task = cur.task().clone();
    let (msg, cred, pid) = (&task.kernel.ipc.msg, task.cred(), task.process.pid);
    let waits = flags & IPC_NOWAIT == 0;
    let Some(waiting) = msg.send(id, Message { kind, text }, waits, &cred, pid)? else {
        return Ok(0);
    };
    let waited = cur.block_on(waiting.waiter().event(), Events::ALL, None, |_| {
        waiting.waiter().take().ok_or(Errno::EAGAIN)
    });
    let outcome = waited.await.ok().or_else(|| waiting.give_up());
    outcome.ok_or(SysError::Restart(Restart::NoHand))??;
    Ok(0)
}

/// `msgrcv(2)`.
pub async fn msgrcv(
    cur: &mut CurrentTask,
    id: i32,
    buf: UserAddr,
    size: usize,
    kind: i64,
    flags: u32,
) -> SysResult {
    let room = isize::try_from(size).map(isize::unsigned_abs).map_err(|_| Errno::EINVAL)?;
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let waits = flags & IPC_NOWAIT == 0;
    let wanted = match kind {
        0 => Wanted::Any,
        kind if kind < 0 => Wanted::UpTo(kind.checked_neg().unwrap_or(i64::MAX)),
        kind if flags & MSG_EXCEPT != 0 => Wanted::Except(kind),
        kind => Wanted::Kind(kind),
    };
    let how = Receiving { wanted, room, cuts: flags & MSG_NOERROR != 0 };
    let task = cur.task().clone();
    let (msg, cred, pid) = (&task.kernel.ipc.msg, task.cred(), task.process.pid);
    if flags & MSG_COPY != 0 {
        if flags & MSG_EXCEPT != 0 || waits {
            return Err(Errno::EINVAL.into());
        }
        return store(cur, &msg.copy(id, kind, how, &cred)?, buf, room);
    }
    let waiting = match msg.receive(id, how, waits, &cred, pid)? {
        Ok(message) => return store(cur, &message, buf, room),
        Err(waiting) => waiting,
    };
    let waited = cur.block_on(waiting.waiter().event(), Events::ALL, None, |_| {
        waiting.waiter().take().ok_or(Errno::EAGAIN)
    });
    let outcome = waited.await.ok().or_else(|| waiting.give_up());
    let message = outcome.ok_or(SysError::Restart(Restart::NoHand))??;
    store(cur, &message, buf, room)
}

/// Hands a message over. As in Linux it is lost where there is no memory.
fn store(cur: &CurrentTask, message: &Message, buf: UserAddr, room: usize) -> SysResult {
    let text = message.text.get(..room).unwrap_or(&message.text);
    UserPtr::new(buf).write(&**cur.mm(), &message.kind)?;
    cur.mm().write(buf.offset(TYPE)?, text)?;
    Ok(text.len() as u64)
}

/// `msgctl(2)`.
pub fn msgctl(cur: &mut CurrentTask, id: i32, cmd: i32, buf: UserAddr) -> SysResult {
    if id < 0 || cmd < 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = cur.task();
    let (msg, cred) = (&task.kernel.ipc.msg, task.cred());
    let tell = |stat: &MsgStat| UserPtr::new(buf).write(&**cur.mm(), &stat.ds);
    match cmd {
        IPC_INFO | MSG_INFO => return info(cur, cmd, buf),
        IPC_STAT => tell(&msg.stat(id, &cred)?)?,
        MSG_STAT | MSG_STAT_ANY => {
            let stat = msg.stat_at(id, (cmd == MSG_STAT).then_some(&*cred))?;
            tell(&stat)?;
            return Ok(u64::from(stat.id.unsigned_abs()));
        }
        IPC_SET => msg.set(id, &UserPtr::<MsqidDs>::new(buf).read(&**cur.mm())?, &cred)?,
        IPC_RMID => msg.remove(id, &cred)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

fn info(cur: &CurrentTask, cmd: i32, buf: UserAddr) -> SysResult {
    /// Bytes of a segment of messages, and most segments, as Linux says.
    const SEGMENTS: (i32, u16) = (16, 0xffff);
    let (queues, messages, bytes, highest) = cur.task().kernel.ipc.msg.sums();
    let (msgpool, msgmap, msgtql) = match cmd {
        MSG_INFO => (number(queues), number(messages), number(bytes)),
        _ => {
            let pool = limit::MSGMNI * limit::MSGMNB / 1024;
            (number(pool), number(limit::MSGMNB), number(limit::MSGMNB))
        }
    };
    let info = Msginfo {
        msgpool,
        msgmap,
        msgmax: number(limit::MSGMAX),
        msgmnb: number(limit::MSGMNB),
        msgmni: number(limit::MSGMNI),
        msgssz: SEGMENTS.0,
        msgtql,
        msgseg: SEGMENTS.1,
        pad: 0,
    };
    UserPtr::new(buf).write(&**cur.mm(), &info)?;
    Ok(highest)
}
