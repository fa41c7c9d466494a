//! Futexes (`futex(2)`): threads that wait for a word of guest memory to change.
//!
//! A [`Waiter`] sits in the [`FutexTable`] under the identity of its word, which is
//! the same for all address spaces that map it. Lock: one for the table; a word is
//! compared and its waiter added under it, so that no wake-up is lost.

use crate::error::{Restart, SysError};
use crate::kernel::Kernel;
use crate::mm::{Mm, WordKey};
use crate::published::Waits;
use crate::sync::Mutex;
use crate::task::{CurrentTask, Task};
use crate::time::Deadline;
use crate::wait::{Events, WaitError, WaitQueue};
use chitin_abi::Errno;
use chitin_abi::task::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, ROBUST_LIST_LIMIT};
use chitin_usermem::{UserAddr, UserPtr};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

struct Waiter {
    bits: u32,
    woken: AtomicBool,
    event: WaitQueue,
}

/// All waiting threads.
#[derive(Default)]
pub struct FutexTable {
    waiters: Mutex<HashMap<WordKey, Vec<Arc<Waiter>>>>,
}

/// Takes a waiter out on drop, wherever it was moved to.
struct Waiting<'a> {
    table: &'a FutexTable,
    key: WordKey,
    waiter: Arc<Waiter>,
    /// Those who wake ask the kernel as long as somebody is counted.
    _counted: Option<Waits>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.waiter.woken.load(Ordering::SeqCst) {
            return;
        }
        let mut waiters = self.table.waiters.lock();
        let is_me = |w: &Arc<Waiter>| Arc::ptr_eq(w, &self.waiter);
        let at = match waiters.get(&self.key).is_some_and(|list| list.iter().any(is_me)) {
            true => Some(self.key),
            false => waiters.iter().find(|(_, list)| list.iter().any(is_me)).map(|(k, _)| *k),
        };
        if let Some(key) = at
            && let Some(list) = waiters.get_mut(&key)
        {
            list.retain(|w| !is_me(w));
            if list.is_empty() {
                waiters.remove(&key);
            }
        }
    }
}

/// Waits while the word is `value`, until one of `bits` is woken.
pub async fn wait(
    cur: &mut CurrentTask,
    addr: UserAddr,
    value: u32,
    bits: u32,
    deadline: Option<Deadline>,
) -> Result<(), SysError> {
    if bits == 0 {
        return Err(Errno::EINVAL.into());
    }
    let kernel = cur.task().kernel.clone();
    let waiter = Arc::new(Waiter { bits, woken: AtomicBool::new(false), event: WaitQueue::new() });
    let key = cur.mm().word(addr)?.0;
    let _counted = cur.mm().published().map(|p| Waits::new(p, addr.0));
    {
        let mut waiters = kernel.futexes.waiters.lock();
        if cur.mm().word(addr)?.1 != value {
            return Err(Errno::EAGAIN.into());
        }
        waiters.entry(key).or_default().push(waiter.clone());
    }
    let waiting = Waiting { table: &kernel.futexes, key, waiter, _counted };
    let woken = cur.block_on(&waiting.waiter.event, Events::ALL, deadline, |_| {
        let woken = waiting.waiter.woken.load(Ordering::SeqCst);
        if woken { Ok(()) } else { Err(Errno::EAGAIN) }
    });
    match woken.await {
        Err(WaitError::Interrupted) if deadline.is_some() => Err(SysError::Restart(Restart::Block)),
        other => other.map_err(SysError::from),
    }
}

/// Wakes at most `count` waiters with one of `bits`; returns how many.
pub fn wake(kernel: &Kernel, mm: &Mm, addr: UserAddr, count: u32, bits: u32) -> Result<u32, Errno> {
    if bits == 0 {
        return Err(Errno::EINVAL);
    }
    let (key, _) = mm.word(addr)?;
    Ok(wake_key(kernel, key, count, bits))
}

fn wake_key(kernel: &Kernel, key: WordKey, count: u32, bits: u32) -> u32 {
    let mut woken = Vec::new();
    {
        let mut waiters = kernel.futexes.waiters.lock();
        let Some(list) = waiters.get_mut(&key) else { return 0 };
        list.retain(|w| {
            let take = woken.len() < count as usize && w.bits & bits != 0;
            if take {
                w.woken.store(true, Ordering::SeqCst);
                woken.push(w.clone());
            }
            !take
        });
        if list.is_empty() {
            waiters.remove(&key);
        }
    }
    woken.iter().for_each(|w| w.event.notify(Events::ALL));
    u32::try_from(woken.len()).unwrap_or(u32::MAX)
}

/// Wakes `wake` waiters and moves `moved` others to wait for another word; `expected`
/// is what the first word must be. Returns how many were woken, and moved.
pub fn requeue(
    cur: &CurrentTask,
    from: UserAddr,
    to: UserAddr,
    wake: u32,
    moved: u32,
    expected: Option<u32>,
) -> Result<(u32, u32), Errno> {
    let mm = cur.mm();
    let kernel = &cur.task().kernel;
    let (from, value) = mm.word(from)?;
    let to_addr = to;
    let (to, _) = mm.word(to)?;
    if expected.is_some_and(|e| e != value) {
        return Err(Errno::EAGAIN);
    }
    if let Some(published) = mm.published().filter(|_| moved > 0) {
        // Nobody knows who comes to wait there: it is asked about from now on.
        published.always_waits(to_addr.0);
    }
    let woken = wake_key(kernel, from, wake, u32::MAX);
    let mut waiters = kernel.futexes.waiters.lock();
    let Some(mut list) = waiters.remove(&from) else { return Ok((woken, 0)) };
    let rest = list.split_off(list.len().min(moved as usize));
    let count = u32::try_from(list.len()).unwrap_or(u32::MAX);
    waiters.entry(to).or_default().extend(list);
    if !rest.is_empty() {
        waiters.entry(from).or_default().extend(rest);
    }
    Ok((woken, count))
}

/// `FUTEX_WAKE_OP`: changes the second word as `op` says, wakes `count` waiters of the
/// first and, if the second was as compared, `second` of the second.
pub fn wake_op(
    cur: &CurrentTask,
    first: UserAddr,
    other: UserAddr,
    count: u32,
    second: u32,
    op: u32,
) -> Result<u32, Errno> {
    let mut operand = op >> 12 & 0xfff;
    if op & 1 << 31 != 0 {
        operand = 1_u32.checked_shl(operand).unwrap_or(0);
    }
    let change = |old: u32| match op >> 28 & 7 {
        0 => operand,
        1 => old.wrapping_add(operand),
        2 => old | operand,
        3 => old & !operand,
        _ => old ^ operand,
    };
    if op >> 28 & 7 > 4 || op >> 24 & 0xf > 5 {
        return Err(Errno::ENOSYS);
    }
    let old = cur.mm().update_word(other, change)?.cast_signed();
    let against = (op & 0xfff).cast_signed();
    let holds = match op >> 24 & 0xf {
        0 => old == against,
        1 => old != against,
        2 => old < against,
        3 => old <= against,
        4 => old > against,
        _ => old >= against,
    };
    let kernel = &cur.task().kernel;
    let mut woken = wake(kernel, cur.mm(), first, count, u32::MAX)?;
    if holds {
        woken += wake(kernel, cur.mm(), other, second, u32::MAX)?;
    }
    Ok(woken)
}

/// Marks the robust futexes of a thread that ends as ownerless (`set_robust_list(2)`).
/// The list is the guest's word: whatever is wrong with it ends the walk.
pub fn exit_robust_list(task: &Arc<Task>, mm: &Mm, head: UserAddr) {
    if !head.is_null() {
        let _ = walk_robust_list(task, mm, head);
    }
}

fn walk_robust_list(task: &Arc<Task>, mm: &Mm, head: UserAddr) -> Result<(), Errno> {
    let word = |at: UserAddr| UserPtr::<u64>::new(at).read(mm);
    let offset = word(head.offset(8)?)?;
    let pending = word(head.offset(16)?)?;
    let mut entry = word(head)?;
    for _ in 0..ROBUST_LIST_LIMIT {
        if entry & !1 == head.0 {
            break;
        }
        let next = word(UserAddr(entry & !1))?;
        if entry != pending {
            abandon(task, mm, UserAddr((entry & !1).wrapping_add(offset)))?;
        }
        entry = next;
    }
    if pending != 0 {
        abandon(task, mm, UserAddr((pending & !1).wrapping_add(offset)))?;
    }
    Ok(())
}

fn abandon(task: &Arc<Task>, mm: &Mm, addr: UserAddr) -> Result<(), Errno> {
    let tid = task.tid().cast_unsigned();
    let (_, value) = mm.word(addr)?;
    if value & FUTEX_TID_MASK != tid {
        return Ok(());
    }
    let old = mm.exchange_word(addr, value, value & FUTEX_WAITERS | FUTEX_OWNER_DIED)?;
    if old & FUTEX_WAITERS != 0 {
        wake(&task.kernel, mm, addr, 1, u32::MAX)?;
    }
    Ok(())
}
