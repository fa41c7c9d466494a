//! System V IPC (`sysvipc(7)`): one namespace for the sandbox.
//!
//! * [`Ids`] gives the objects of a family their identifiers and keeps who may use them.
//! * [`ShmTable`] has the segments, [`Attachment`] is one that an address space has mapped.
//! * [`SemTable`] has the sets of semaphores, [`UndoList`] what a process leaves to be undone.
//! * [`MsgTable`] has the queues of messages.
//!
//! Locks: one for each table, behind that of an address space. Who waits is told of its
//! outcome when that is settled, in the order in which Linux would, and only looks it up.

mod ids;
mod msg;
mod perm;
mod sem;
mod sem_queue;
mod shm;
mod waiter;

pub use ids::{Ids, Object};
pub use msg::{Message, MsgStat, MsgTable, Receiving, Wanted};
pub use perm::Perm;
pub use sem::{Cell, SemStat, SemTable, UndoList};
pub use shm::{Attachment, Room, ShmStat, ShmTable};
pub use waiter::Waiter;

use std::sync::Arc;

/// Limits, as `/proc/sys/kernel` tells them. All of it is memory of the sentry, but for the
/// content of segments.
pub mod limit {
    /// Segments of the sandbox (`shmmni`).
    pub const SHMMNI: usize = 4096;
    /// Bytes of a segment (`shmmax`), and pages of all of them (`shmall`): the sandbox's memory
    /// is what limits them.
    pub const SHMMAX: u64 = u64::MAX - (1 << 24);
    /// Sets of semaphores of the sandbox (`SEMMNI`).
    pub const SEMMNI: usize = 32_000;
    /// Semaphores of a set (`SEMMSL`).
    pub const SEMMSL: usize = 32_000;
    /// Semaphores of the sandbox (`SEMMNS`).
    pub const SEMMNS: usize = 1_024_000;
    /// Operations of a call (`SEMOPM`).
    pub const SEMOPM: usize = 500;
    /// Largest value of a semaphore, and of what is to be undone (`SEMVMX`, `SEMAEM`).
    pub const SEMVMX: u16 = 32_767;
    /// Semaphores that are to be changed at the end of processes, of the sandbox (`SEMMNU`).
    pub const SEMMNU: usize = 32_000;
    /// Queues of the sandbox (`msgmni`).
    pub const MSGMNI: usize = 32_000;
    /// Bytes of a message (`msgmax`).
    pub const MSGMAX: usize = 8192;
    /// Bytes, and messages, of a queue, unless it was given more (`msgmnb`).
    pub const MSGMNB: usize = 16_384;
    /// Messages of the sandbox.
    pub const MESSAGES: usize = 65_536;
    /// Bytes of all messages of the sandbox.
    pub const MESSAGE_BYTES: usize = 32 << 20;
}

/// `CAP_SYS_ADMIN`.
pub const CAP_SYS_ADMIN: u32 = 21;
/// `CAP_IPC_LOCK`.
pub const CAP_IPC_LOCK: u32 = 14;

/// All objects.
#[derive(Default)]
pub struct IpcState {
    /// Segments of shared memory.
    pub shm: Arc<ShmTable>,
    /// Sets of semaphores.
    pub sem: Arc<SemTable>,
    /// Queues of messages.
    pub msg: MsgTable,
}

/// The time of day in seconds.
fn seconds() -> i64 {
    crate::time::now().tv_sec
}
