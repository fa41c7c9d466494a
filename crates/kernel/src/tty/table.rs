//! [`PtyTable`]: the terminals below `/dev/pts`.

use super::Terminal;
use super::pty::Pty;
use crate::sync::Mutex;
use crate::task::Task;
use chitin_abi::Errno;
use chitin_abi::time::Timespec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most terminals (`kernel.pty.max`).
const PTYS_MAX: usize = 4096;
/// Group that owns new terminals, and their permission (`gid=5,mode=620` of Debian).
const TTY_GROUP: u32 = 5;
const TTY_PERM: u32 = 0o620;
/// Major device number of what is below `/dev/pts`.
pub const PTY_MAJOR: u32 = 136;

/// What can be changed of a terminal's inode.
#[derive(Clone, Copy, Debug)]
pub struct NodeAttr {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub perm: u32,
    /// Last access.
    pub atime: Timespec,
    /// Last modification.
    pub mtime: Timespec,
    /// Last change of this.
    pub ctime: Timespec,
}

impl NodeAttr {
    /// A new terminal of this user.
    #[must_use]
    pub fn of_user(uid: u32) -> Self {
        let now = crate::time::now();
        let times = (now, now, now);
        let (atime, mtime, ctime) = times;
        Self { uid, gid: TTY_GROUP, perm: TTY_PERM, atime, mtime, ctime }
    }
}

/// Terminals by number. Lock: one.
#[derive(Default)]
pub struct PtyTable(Mutex<BTreeMap<u32, Arc<dyn Terminal>>>);

impl PtyTable {
    /// The terminal with this number.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<Arc<dyn Terminal>> {
        self.0.lock().get(&index).cloned()
    }

    /// All numbers in use.
    #[must_use]
    pub fn numbers(&self) -> Vec<u32> {
        self.0.lock().keys().copied().collect()
    }

    /// Adds the terminal that `make` makes of its number.
    pub fn add<T: Terminal + 'static>(
        &self,
        make: impl FnOnce(u32) -> Arc<T>,
    ) -> Result<Arc<T>, Errno> {
        let mut table = self.0.lock();
        if table.len() >= PTYS_MAX {
            return Err(Errno::ENOSPC);
        }
        let index = (0..).find(|i| !table.contains_key(i)).ok_or(Errno::ENOSPC)?;
        let terminal = make(index);
        table.insert(index, terminal.clone());
        Ok(terminal)
    }

    /// A new pseudoterminal (`/dev/ptmx`).
    pub fn open_pair(self: &Arc<Self>, task: &Arc<Task>) -> Result<Arc<Pty>, Errno> {
        let uid = task.cred().fsuid;
        self.add(|index| Pty::new(index, &task.kernel, self, uid))
    }

    pub(super) fn remove(&self, index: u32) {
        let gone = self.0.lock().remove(&index);
        drop(gone);
    }
}
