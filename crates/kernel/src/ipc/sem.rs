//! [`SemTable`]: sets of semaphores (`semget(2)`, `semctl(2)`).

use super::sem_queue::{Attempt, Pending, Request, Undos, attempt, settle};
use super::{Ids, Object, Perm, Waiter, limit, perm, seconds};
use crate::cred::Cred;
use crate::sync::Mutex;
use crate::task::Pid;
use chitin_abi::Errno;
use chitin_abi::ipc::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use super::sem_queue::Cell;

struct Set {
    cells: Vec<Cell>,
    pending: Vec<Pending>,
    otime: i64,
    ctime: i64,
}

struct State {
    ids: Ids<Set>,
    /// Of all sets.
    cells: usize,
    undos: Undos,
}

type Woken = Vec<Arc<Waiter<()>>>;

/// All sets.
pub struct SemTable {
    state: Mutex<State>,
    lists: AtomicU64,
}

impl Default for SemTable {
    fn default() -> Self {
        let state = State { ids: Ids::new(limit::SEMMNI), cells: 0, undos: Undos::new() };
        Self { state: Mutex::new(state), lists: AtomicU64::new(0) }
    }
}

/// What is told of a set.
pub struct SemStat {
    /// Its identifier.
    pub id: i32,
    /// What `IPC_STAT` tells.
    pub ds: SemidDs,
}

impl SemStat {
    fn of(object: &Object<Set>) -> Self {
        let set = &object.body;
        let ds = SemidDs {
            sem_perm: object.perm.told(object.id),
            sem_otime: set.otime,
            sem_ctime: set.ctime,
            sem_nsems: set.cells.len() as u64,
            ..SemidDs::default()
        };
        Self { id: object.id, ds }
    }
}

/// What is to be undone for the threads that share it (`CLONE_SYSVSEM`), when the last of them
/// has ended.
pub struct UndoList {
    table: Arc<SemTable>,
    id: u64,
    pid: Pid,
}

impl Drop for UndoList {
    fn drop(&mut self) {
        self.table.undo(self.id, self.pid);
    }
}

/// A request that waits; dropping it gives it up.
pub struct WaitingOp<'a> {
    table: &'a SemTable,
    set: i32,
    waiter: Arc<Waiter<()>>,
}

impl WaitingOp<'_> {
    /// Who waits.
    #[must_use]
    pub fn waiter(&self) -> &Waiter<()> {
        &self.waiter
    }

    /// No longer waits; the outcome if there is one meanwhile.
    pub fn give_up(self) -> Option<Result<(), Errno>> {
        let waiter = self.waiter.clone();
        drop(self);
        waiter.take()
    }
}

impl Drop for WaitingOp<'_> {
    fn drop(&mut self) {
        let mut state = self.table.state.lock();
        if let Ok(object) = state.ids.get_mut(self.set) {
            object.body.pending.retain(|p| !Arc::ptr_eq(&p.waiter, &self.waiter));
        }
    }
}

fn wake(woken: &Woken) {
    woken.iter().for_each(|w| w.wake());
}

impl State {
    /// Settles what can be done now in a set.
    fn settle(&mut self, id: i32) -> Woken {
        let Ok(object) = self.ids.get_mut(id) else { return Vec::new() };
        let set = &mut object.body;
        let woken = settle(&mut set.cells, &mut self.undos, &mut set.pending);
        if !woken.is_empty() {
            set.otime = seconds();
        }
        woken
    }

    /// Nothing of these semaphores of a set is to be undone any more.
    fn forget(&mut self, id: i32, which: Option<u16>) {
        self.undos.retain(|&(_, set, num), _| set != id || which.is_some_and(|w| w != num));
    }
}

impl SemTable {
    /// `semget(2)`.
    pub fn open(&self, key: i32, count: usize, flags: u32, cred: &Cred) -> Result<i32, Errno> {
        let mut state = self.state.lock();
        let found = state.ids.look_up(key, flags, cred, |set| {
            if count > set.cells.len() { Err(Errno::EINVAL) } else { Ok(()) }
        })?;
        if let Some(id) = found {
            return Ok(id);
        }
        if count == 0 {
            return Err(Errno::EINVAL);
        }
        if state.cells + count > limit::SEMMNS || state.ids.count() >= limit::SEMMNI {
            return Err(Errno::ENOSPC);
        }
        let cells = vec![Cell::default(); count];
        let set = Set { cells, pending: Vec::new(), otime: 0, ctime: seconds() };
        let id = state.ids.add(Perm::new(key, cred, flags), set)?;
        state.cells += count;
        Ok(id)
    }

    /// An empty list for a process.
    pub fn new_list(self: &Arc<Self>, pid: Pid) -> Arc<UndoList> {
        let id = self.lists.fetch_add(1, Ordering::Relaxed);
        Arc::new(UndoList { table: self.clone(), id, pid })
    }

    /// `semop(2)`: `None` if all is done, else what waits for it. `undo` is there if an
    /// operation has `SEM_UNDO`.
    pub fn operate(
        &self,
        set: i32,
        ops: Vec<Sembuf>,
        undo: Option<&UndoList>,
        cred: &Cred,
        pid: Pid,
    ) -> Result<Option<WaitingOp<'_>>, Errno> {
        let mut state = self.state.lock();
        let State { ids, undos, .. } = &mut *state;
        let object = ids.get_mut(set)?;
        if ops.iter().any(|op| usize::from(op.sem_num) >= object.body.cells.len()) {
            return Err(Errno::EFBIG);
        }
        let changes = ops.iter().any(|op| op.sem_op != 0);
        object.perm.allow(cred, if changes { perm::WRITE } else { perm::READ })?;
        let request = Request { set, ops, list: undo.map_or(u64::MAX, |u| u.id), pid };
        match attempt(&mut object.body.cells, undos, &request) {
            Attempt::Fails(e) => Err(e),
            Attempt::Done(changed) => {
                object.body.otime = seconds();
                let waits = changed && !object.body.pending.is_empty();
                let woken = if waits { state.settle(set) } else { Vec::new() };
                drop(state);
                wake(&woken);
                Ok(None)
            }
            Attempt::Blocks(blocked_at) => {
                let waiter = Arc::<Waiter<()>>::default();
                let pending = Pending { request, blocked_at, waiter: waiter.clone() };
                object.body.pending.push(pending);
                Ok(Some(WaitingOp { table: self, set, waiter }))
            }
        }
    }

    /// The last thread that shared a list has ended.
    fn undo(&self, list: u64, pid: Pid) {
        let mut state = self.state.lock();
        let all = (list, i32::MIN, 0)..=(list, i32::MAX, u16::MAX);
        let entries: Vec<_> = state.undos.range(all).map(|(k, v)| (*k, *v)).collect();
        let mut changed = Vec::new();
        for (key, adjustment) in entries {
            state.undos.remove(&key);
            let (_, id, num) = key;
            let Ok(object) = state.ids.get_mut(id) else { continue };
            let Some(cell) = object.body.cells.get_mut(usize::from(num)) else { continue };
            let value = i32::from(cell.value) + i32::from(adjustment);
            let value = value.clamp(0, i32::from(limit::SEMVMX));
            (cell.value, cell.pid) = (u16::try_from(value).unwrap_or(0), pid);
            object.body.otime = seconds();
            changed.push(id);
        }
        changed.dedup();
        let woken: Woken = changed.into_iter().flat_map(|id| state.settle(id)).collect();
        drop(state);
        wake(&woken);
    }

    /// The semaphores of a set (`GETALL`).
    pub fn cells(&self, id: i32, cred: &Cred) -> Result<Vec<Cell>, Errno> {
        let state = self.state.lock();
        let object = state.ids.get(id)?;
        object.perm.allow(cred, perm::READ)?;
        Ok(object.body.cells.clone())
    }

    /// One semaphore (`GETVAL`, `GETPID`).
    pub fn cell(&self, id: i32, num: i32, cred: &Cred) -> Result<Cell, Errno> {
        let state = self.state.lock();
        let object = state.ids.get(id)?;
        object.perm.allow(cred, perm::READ)?;
        let num = usize::try_from(num).map_err(|_| Errno::EINVAL)?;
        object.body.cells.get(num).copied().ok_or(Errno::EINVAL)
    }

    /// How many wait for a semaphore to be 0, or else to grow (`GETZCNT`, `GETNCNT`).
    pub fn waiting(&self, id: i32, num: i32, zero: bool, cred: &Cred) -> Result<usize, Errno> {
        let state = self.state.lock();
        let object = state.ids.get(id)?;
        object.perm.allow(cred, perm::READ)?;
        let num = u16::try_from(num).map_err(|_| Errno::EINVAL)?;
        if usize::from(num) >= object.body.cells.len() {
            return Err(Errno::EINVAL);
        }
        let here = |op: &Sembuf| op.sem_num == num && (op.sem_op == 0) == zero;
        Ok(object.body.pending.iter().filter(|p| here(&p.blocked_at)).count())
    }

    /// How many semaphores may be set by `SETALL`.
    pub fn settable(&self, id: i32, cred: &Cred) -> Result<usize, Errno> {
        let state = self.state.lock();
        let object = state.ids.get(id)?;
        object.perm.allow(cred, perm::WRITE)?;
        Ok(object.body.cells.len())
    }

    /// `SETALL`: as many values as there are semaphores.
    pub fn set_all(&self, id: i32, values: &[u16], pid: Pid) -> Result<(), Errno> {
        if values.iter().any(|&v| v > limit::SEMVMX) {
            return Err(Errno::ERANGE);
        }
        let mut state = self.state.lock();
        let object = state.ids.get_mut(id).map_err(|_| Errno::EIDRM)?;
        for (cell, &value) in object.body.cells.iter_mut().zip(values) {
            *cell = Cell { value, pid };
        }
        object.body.ctime = seconds();
        state.forget(id, None);
        let woken = state.settle(id);
        drop(state);
        wake(&woken);
        Ok(())
    }

    /// `SETVAL`.
    pub fn set_value(
        &self,
        id: i32,
        num: i32,
        value: i32,
        cred: &Cred,
        pid: Pid,
    ) -> Result<(), Errno> {
        let value = u16::try_from(value).ok().filter(|&v| v <= limit::SEMVMX);
        let value = value.ok_or(Errno::ERANGE)?;
        let mut state = self.state.lock();
        let object = state.ids.get_mut(id)?;
        let num = u16::try_from(num).map_err(|_| Errno::EINVAL)?;
        let cell = object.body.cells.get_mut(usize::from(num)).ok_or(Errno::EINVAL)?;
        object.perm.allow(cred, perm::WRITE)?;
        *cell = Cell { value, pid };
        object.body.ctime = seconds();
        state.forget(id, Some(num));
        let woken = state.settle(id);
        drop(state);
        wake(&woken);
        Ok(())
    }

    /// `IPC_STAT`.
    pub fn stat(&self, id: i32, cred: &Cred) -> Result<SemStat, Errno> {
        let state = self.state.lock();
        let object = state.ids.get(id)?;
        object.perm.allow(cred, perm::READ)?;
        Ok(SemStat::of(object))
    }

    /// `SEM_STAT` of an index; without `cred` `SEM_STAT_ANY`.
    pub fn stat_at(&self, index: i32, cred: Option<&Cred>) -> Result<SemStat, Errno> {
        let state = self.state.lock();
        let object = state.ids.at(index)?;
        cred.map_or(Ok(()), |cred| object.perm.allow(cred, perm::READ))?;
        Ok(SemStat::of(object))
    }

    /// All sets.
    #[must_use]
    pub fn all(&self) -> Vec<SemStat> {
        self.state.lock().ids.iter().map(SemStat::of).collect()
    }

    /// How many sets and semaphores there are, and the highest index.
    #[must_use]
    pub fn sums(&self) -> (usize, usize, u64) {
        let state = self.state.lock();
        (state.ids.count(), state.cells, state.ids.highest())
    }

    /// `IPC_SET`.
    pub fn set(&self, id: i32, to: &IpcPerm, cred: &Cred) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let object = state.ids.get_mut(id)?;
        object.perm.allow_control(cred)?;
        object.perm.change(to)?;
        object.body.ctime = seconds();
        Ok(())
    }

    /// `IPC_RMID`: who waits is told that the set is gone.
    pub fn remove(&self, id: i32, cred: &Cred) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.ids.get(id)?.perm.allow_control(cred)?;
        let Some(gone) = state.ids.remove(id) else { return Err(Errno::EINVAL) };
        state.cells = state.cells.saturating_sub(gone.body.cells.len());
        state.forget(id, None);
        drop(state);
        for pending in &gone.body.pending {
            pending.waiter.settle(Err(Errno::EIDRM));
            pending.waiter.wake();
        }
        Ok(())
    }
}
