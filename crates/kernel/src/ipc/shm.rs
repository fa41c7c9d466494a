//! [`ShmTable`]: segments of shared memory (`shmget(2)`, `shmat(2)`).
//!
//! A segment is a file in memory without a name. [`Attachment`]s are kept with the areas that
//! show it and count them; the last one takes a removed segment with it.

use super::{CAP_IPC_LOCK, Ids, Object, Perm, limit, perm, seconds};
use crate::cred::Cred;
use crate::mm::PAGE;
use crate::sync::Mutex;
use crate::task::Pid;
use crate::vfs::{File, Mappable};
use chitin_abi::Errno;
use chitin_abi::ipc::*;
use std::sync::Arc;

/// The memory of a segment.
#[derive(Clone)]
pub struct Room {
    /// The file, open for reading and writing.
    pub file: Arc<File>,
    /// Its pages.
    pub map: Arc<dyn Mappable>,
    /// Bytes.
    pub size: u64,
}

impl Room {
    fn pages(&self) -> u64 {
        self.size.div_ceil(PAGE)
    }

    /// Pages that have memory.
    fn resident(&self) -> u64 {
        let inode = self.file.path().and_then(|p| p.dentry.inode());
        inode.and_then(|i| i.attr().ok()).map_or(0, |a| a.blocks.div_ceil(PAGE / 512))
    }
}

struct Segment {
    room: Room,
    atime: i64,
    dtime: i64,
    ctime: i64,
    cpid: Pid,
    lpid: Pid,
    attached: u64,
}

struct State {
    ids: Ids<Segment>,
    /// Of all segments.
    pages: u64,
}

/// All segments.
pub struct ShmTable(Mutex<State>);

impl Default for ShmTable {
    fn default() -> Self {
        Self(Mutex::new(State { ids: Ids::new(limit::SHMMNI), pages: 0 }))
    }
}

/// What is told of a segment.
pub struct ShmStat {
    /// Its identifier.
    pub id: i32,
    /// What `IPC_STAT` tells.
    pub ds: ShmidDs,
    /// Bytes that have memory.
    pub resident: u64,
}

impl ShmStat {
    fn of(object: &Object<Segment>) -> Self {
        let segment = &object.body;
        let ds = ShmidDs {
            shm_perm: object.perm.told(object.id),
            shm_segsz: segment.room.size,
            shm_atime: segment.atime,
            shm_dtime: segment.dtime,
            shm_ctime: segment.ctime,
            shm_cpid: segment.cpid,
            shm_lpid: segment.lpid,
            shm_nattch: segment.attached,
            ..ShmidDs::default()
        };
        Self { id: object.id, ds, resident: segment.room.resident() * PAGE }
    }
}

/// A segment that an address space has mapped.
pub struct Attachment {
    table: Arc<ShmTable>,
    id: i32,
    pid: Pid,
}

impl Attachment {
    /// The same in another address space, or a second time.
    #[must_use]
    pub fn another(&self) -> Arc<Self> {
        self.table.count(self.id, self.pid);
        Arc::new(Self { table: self.table.clone(), id: self.id, pid: self.pid })
    }

    /// The segment.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.id
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut state = self.table.0.lock();
        let Ok(object) = state.ids.get_mut(self.id) else { return };
        object.body.attached = object.body.attached.saturating_sub(1);
        object.body.dtime = seconds();
        object.body.lpid = self.pid;
        let ends = object.body.attached == 0 && object.perm.mode & SHM_DEST != 0;
        let gone = if ends { state.take(self.id) } else { None };
        drop(state);
        drop(gone);
    }
}

impl State {
    fn look_up(&self, key: i32, size: u64, flags: u32, cred: &Cred) -> Result<Option<i32>, Errno> {
        let found = self.ids.look_up(key, flags, cred, |segment| {
            if segment.room.size < size { Err(Errno::EINVAL) } else { Ok(()) }
        })?;
        if found.is_none() {
            if size == 0 || size > limit::SHMMAX {
                return Err(Errno::EINVAL);
            }
            if self.ids.count() >= limit::SHMMNI {
                return Err(Errno::ENOSPC);
            }
        }
        Ok(found)
    }

    fn take(&mut self, id: i32) -> Option<Object<Segment>> {
        let gone = self.ids.remove(id)?;
        self.pages = self.pages.saturating_sub(gone.body.room.pages());
        Some(gone)
    }
}

impl ShmTable {
    /// The segment of a key as `shmget(2)` asks for it, or `None` if it is to be made.
    pub fn look_up(
        &self,
        key: i32,
        size: u64,
        flags: u32,
        cred: &Cred,
    ) -> Result<Option<i32>, Errno> {
        self.0.lock().look_up(key, size, flags, cred)
    }

    /// Adds a segment unless another thread has made one of that key meanwhile.
    pub fn add(
        &self,
        room: Room,
        key: i32,
        flags: u32,
        cred: &Cred,
        pid: Pid,
    ) -> Result<i32, Errno> {
        let mut state = self.0.lock();
        if let Some(id) = state.look_up(key, room.size, flags, cred)? {
            return Ok(id);
        }
        let pages = room.pages();
        let segment =
            Segment { room, atime: 0, dtime: 0, ctime: seconds(), cpid: pid, lpid: 0, attached: 0 };
        let id = state.ids.add(Perm::new(key, cred, flags), segment)?;
        state.pages = state.pages.saturating_add(pages);
        Ok(id)
    }

    /// Attaches a segment: its memory, and what counts it.
    pub fn attach(
        self: &Arc<Self>,
        id: i32,
        mode: u32,
        cred: &Cred,
        pid: Pid,
    ) -> Result<(Room, Arc<Attachment>), Errno> {
        let mut state = self.0.lock();
        let object = state.ids.get_mut(id)?;
        object.perm.allow(cred, mode)?;
        let room = object.body.room.clone();
        object.body.attached += 1;
        object.body.atime = seconds();
        object.body.lpid = pid;
        Ok((room, Arc::new(Attachment { table: self.clone(), id, pid })))
    }

    fn count(&self, id: i32, pid: Pid) {
        if let Ok(object) = self.0.lock().ids.get_mut(id) {
            object.body.attached += 1;
            object.body.atime = seconds();
            object.body.lpid = pid;
        }
    }

    /// A process has detached the segment by `shmdt(2)`.
    pub fn detached_by(&self, id: i32, pid: Pid) {
        if let Ok(object) = self.0.lock().ids.get_mut(id) {
            object.body.lpid = pid;
        }
    }

    /// `IPC_STAT`.
    pub fn stat(&self, id: i32, cred: &Cred) -> Result<ShmStat, Errno> {
        let state = self.0.lock();
        let object = state.ids.get(id)?;
        object.perm.allow(cred, perm::READ)?;
        Ok(ShmStat::of(object))
    }

    /// `SHM_STAT` of an index; without `cred` `SHM_STAT_ANY`.
    pub fn stat_at(&self, index: i32, cred: Option<&Cred>) -> Result<ShmStat, Errno> {
        let state = self.0.lock();
        let object = state.ids.at(index)?;
        cred.map_or(Ok(()), |cred| object.perm.allow(cred, perm::READ))?;
        Ok(ShmStat::of(object))
    }

    /// All segments.
    #[must_use]
    pub fn all(&self) -> Vec<ShmStat> {
        self.0.lock().ids.iter().map(ShmStat::of).collect()
    }

    /// How many there are, the highest index, and their pages.
    #[must_use]
    pub fn sums(&self) -> (usize, u64, u64) {
        let state = self.0.lock();
        (state.ids.count(), state.ids.highest(), state.pages)
    }

    /// `IPC_SET`.
    pub fn set(&self, id: i32, to: &IpcPerm, cred: &Cred) -> Result<(), Errno> {
        let mut state = self.0.lock();
        let object = state.ids.get_mut(id)?;
        object.perm.allow_control(cred)?;
        object.perm.change(to)?;
        object.body.ctime = seconds();
        Ok(())
    }

    /// `SHM_LOCK`, `SHM_UNLOCK`: `limit` is how many bytes the caller may lock.
    pub fn lock(&self, id: i32, on: bool, cred: &Cred, limit: u64) -> Result<(), Errno> {
        let mut state = self.0.lock();
        let object = state.ids.get_mut(id)?;
        if !cred.has_cap(CAP_IPC_LOCK) {
            if !object.perm.is_owner(cred) {
                return Err(Errno::EPERM);
            }
            if on && limit == 0 {
                return Err(Errno::EPERM);
            }
            if on && object.body.room.size > limit {
                return Err(Errno::ENOMEM);
            }
        }
        match on {
            true => object.perm.mode |= SHM_LOCKED,
            false => object.perm.mode &= !SHM_LOCKED,
        }
        Ok(())
    }

    /// `IPC_RMID`: the segment goes with its last attachment.
    pub fn remove(&self, id: i32, cred: &Cred) -> Result<(), Errno> {
        let mut state = self.0.lock();
        let object = state.ids.get_mut(id)?;
        object.perm.allow_control(cred)?;
        object.perm.mode |= SHM_DEST;
        let used = object.body.attached > 0;
        if used {
            state.ids.hide(id);
        }
        let gone = if used { None } else { state.take(id) };
        drop(state);
        drop(gone);
        Ok(())
    }
}
