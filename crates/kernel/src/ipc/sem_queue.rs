//! The values of a set of semaphores, and the operations that wait for them (`semop(2)`).
//!
//! Operations are tried in the order in which they came, and those that are complete are
//! settled for whoever waits: nobody overtakes who waited for less.

use super::{Waiter, limit};
use crate::task::Pid;
use chitin_abi::Errno;
use chitin_abi::ipc::{IPC_NOWAIT, SEM_UNDO, Sembuf};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A semaphore.
#[derive(Clone, Copy, Default, Debug)]
pub struct Cell {
    /// Its value.
    pub value: u16,
    /// The process that changed it last.
    pub pid: Pid,
}

/// What the end of processes adds to semaphores: by list, set and semaphore.
pub(super) type Undos = BTreeMap<(u64, i32, u16), i16>;

/// Operations to be done at once or not at all, and for whom.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) set: i32,
    pub(super) ops: Vec<Sembuf>,
    /// Where `SEM_UNDO` is kept.
    pub(super) list: u64,
    pub(super) pid: Pid,
}

/// A request that waits.
pub(super) struct Pending {
    pub(super) request: Request,
    /// The first operation that cannot be done.
    pub(super) blocked_at: Sembuf,
    pub(super) waiter: Arc<Waiter<()>>,
}

/// How an attempt has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attempt {
    /// Done; whether a value has changed.
    Done(bool),
    /// This operation must wait.
    Blocks(Sembuf),
    /// It is never going to be done.
    Fails(Errno),
}

fn has(op: Sembuf, flag: u32) -> bool {
    u32::from(op.sem_flg.cast_unsigned()) & flag != 0
}

/// What is kept for `SEM_UNDO` after an operation.
fn keep(undos: &mut Undos, request: &Request, op: Sembuf) -> Result<(), Errno> {
    let key = (request.list, request.set, op.sem_num);
    let old = undos.get(&key).copied();
    if old.is_none() && undos.len() >= limit::SEMMNU {
        return Err(Errno::ENOMEM);
    }
    let new = old.unwrap_or(0).checked_sub(op.sem_op).ok_or(Errno::ERANGE)?;
    if new == 0 {
        undos.remove(&key)
    } else {
        undos.insert(key, new)
    };
    Ok(())
}

fn step(
    cells: &mut [Cell],
    undos: &mut Undos,
    request: &Request,
    op: Sembuf,
) -> Result<(), Attempt> {
    let cell = cells.get_mut(usize::from(op.sem_num)).ok_or(Attempt::Fails(Errno::EFBIG))?;
    let new = i32::from(cell.value) + i32::from(op.sem_op);
    if new < 0 || op.sem_op == 0 && new != 0 {
        let waits = !has(op, IPC_NOWAIT);
        return Err(if waits { Attempt::Blocks(op) } else { Attempt::Fails(Errno::EAGAIN) });
    }
    let new = u16::try_from(new).ok().filter(|&n| n <= limit::SEMVMX);
    let new = new.ok_or(Attempt::Fails(Errno::ERANGE))?;
    if op.sem_op != 0 && has(op, SEM_UNDO) {
        keep(undos, request, op).map_err(Attempt::Fails)?;
    }
    cell.value = new;
    Ok(())
}

/// Does all operations of a request, or none.
pub(super) fn attempt(cells: &mut [Cell], undos: &mut Undos, request: &Request) -> Attempt {
    for (done, &op) in request.ops.iter().enumerate() {
        let Err(why) = step(cells, undos, request, op) else { continue };
        for &op in request.ops.iter().take(done).rev() {
            let back = Sembuf { sem_op: op.sem_op.wrapping_neg(), ..op };
            if let Some(cell) = cells.get_mut(usize::from(op.sem_num)) {
                cell.value = cell.value.wrapping_sub(op.sem_op.cast_unsigned());
            }
            if op.sem_op != 0 && has(op, SEM_UNDO) {
                // What was there before has room.
                let _ = keep(undos, request, back);
            }
        }
        return why;
    }
    for op in &request.ops {
        if let Some(cell) = cells.get_mut(usize::from(op.sem_num)) {
            cell.pid = request.pid;
        }
    }
    Attempt::Done(request.ops.iter().any(|op| op.sem_op != 0))
}

/// Settles what can be done now; returns whom to wake.
pub(super) fn settle(
    cells: &mut [Cell],
    undos: &mut Undos,
    pending: &mut Vec<Pending>,
) -> Vec<Arc<Waiter<()>>> {
    let mut woken = Vec::new();
    let mut at = 0;
    while let Some(next) = pending.get_mut(at) {
        let outcome = match attempt(cells, undos, &next.request) {
            Attempt::Blocks(op) => {
                next.blocked_at = op;
                at += 1;
                continue;
            }
            Attempt::Fails(e) => Err(e),
            Attempt::Done(changed) => {
                if changed {
                    // Those before may have waited for this.
                    let waiter = pending.remove(at).waiter;
                    waiter.settle(Ok(()));
                    woken.push(waiter);
                    at = 0;
                    continue;
                }
                Ok(())
            }
        };
        let waiter = pending.remove(at).waiter;
        waiter.settle(outcome);
        woken.push(waiter);
    }
    woken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(list: u64, ops: &[(u16, i16, u32)]) -> Request {
        let op = |&(sem_num, sem_op, flags): &(u16, i16, u32)| Sembuf {
            sem_num,
            sem_op,
            sem_flg: flags as i16,
        };
        Request { set: 1, ops: ops.iter().map(op).collect(), list, pid: 5 }
    }

    #[test]
    fn all_or_nothing() {
        let (mut cells, mut undos) = ([Cell::default(); 3], Undos::new());
        let mut on = |r: &Request| (attempt(&mut cells, &mut undos, r), undos.clone());
        let first = request(1, &[(0, 2, SEM_UNDO), (1, 1, 0)]);
        let (done, kept) = on(&first);
        assert_eq!(done, Attempt::Done(true));
        assert_eq!(kept.get(&(1, 1, 0)), Some(&-2));
        let blocked = request(1, &[(0, -1, SEM_UNDO), (1, -2, 0)]);
        let (why, kept) = on(&blocked);
        assert_eq!(why, Attempt::Blocks(blocked.ops[1]));
        assert_eq!(kept.get(&(1, 1, 0)), Some(&-2));
        assert_eq!(on(&request(1, &[(1, 0, IPC_NOWAIT)])).0, Attempt::Fails(Errno::EAGAIN));
        assert_eq!(on(&request(1, &[(0, 1, 0), (0, 32767, 0)])).0, Attempt::Fails(Errno::ERANGE));
        let back = on(&request(1, &[(0, -2, SEM_UNDO)]));
        assert!(back.0 == Attempt::Done(true) && back.1.is_empty());
        assert_eq!(on(&request(1, &[(2, 0, 0), (2, 1, 0), (2, -1, 0)])).0, Attempt::Done(true));
        assert_eq!(cells.map(|c| (c.value, c.pid)), [(0, 5), (1, 5), (0, 5)]);
    }

    #[test]
    fn what_is_to_be_undone_is_limited() {
        let (mut cells, mut undos) = ([Cell::default(); 1], Undos::new());
        for list in 0..limit::SEMMNU as u64 {
            undos.insert((list, 7, 0), 1);
        }
        let more = request(1, &[(0, 1, SEM_UNDO)]);
        assert_eq!(attempt(&mut cells, &mut undos, &more), Attempt::Fails(Errno::ENOMEM));
        assert_eq!((cells[0].value, undos.len()), (0, limit::SEMMNU));
    }

    #[test]
    fn those_who_wait_are_served_in_order() {
        let (mut cells, mut undos) = ([Cell::default(); 2], Undos::new());
        let wait = |ops: &[(u16, i16, u32)]| Pending {
            request: request(1, ops),
            blocked_at: Sembuf::default(),
            waiter: Arc::default(),
        };
        let mut pending =
            vec![wait(&[(0, -3, 0)]), wait(&[(0, -1, 0), (1, 1, 0)]), wait(&[(1, -1, 0)])];
        let waiters: Vec<_> = pending.iter().map(|p| p.waiter.clone()).collect();
        cells[0].value = 2;
        assert_eq!(settle(&mut cells, &mut undos, &mut pending).len(), 2);
        assert_eq!(pending.len(), 1);
        assert_eq!(pending[0].blocked_at.sem_op, -3);
        assert_eq!(waiters.iter().filter(|w| w.take() == Some(Ok(()))).count(), 2);
        cells[0].value = 3;
        settle(&mut cells, &mut undos, &mut pending);
        assert!(pending.is_empty() && cells[0].value == 0);
    }
}
