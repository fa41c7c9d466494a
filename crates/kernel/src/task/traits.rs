//! [`Traits`]: what a thread has set for itself that is kept and told, and [`may_inspect`].

use super::{Process, Task};
use crate::cred::Cred;
use chitin_abi::Errno;
use std::sync::atomic::Ordering;

/// `CAP_SYS_PTRACE`.
const CAP_SYS_PTRACE: u32 = 19;

/// Properties of a thread that its children begin with.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// `personality(2)`.
    pub persona: u32,
    /// How late its timers may be (`PR_SET_TIMERSLACK`), in nanoseconds; they never are later than
    /// the host makes them.
    pub slack: u64,
    /// What a slack of 0 asks for.
    pub default_slack: u64,
}

impl Default for Traits {
    fn default() -> Self {
        Self { persona: 0, slack: 50_000, default_slack: 50_000 }
    }
}

impl Traits {
    /// What a child begins with.
    #[must_use]
    pub fn for_child(&self) -> Self {
        Self { default_slack: self.slack, ..*self }
    }

    /// Another slack; what is not positive asks for the default.
    pub fn set_slack(&mut self, nanos: i64) {
        let wanted = u64::try_from(nanos).ok().filter(|&n| n > 0);
        self.slack = wanted.unwrap_or(self.default_slack);
    }
}

/// Whether `viewer` may see what is a process's own affair (`ptrace(2)`, "access mode
/// checking"); `EPERM` if not. `cred` are those of the looked-at thread.
pub fn may_inspect(viewer: &Task, process: &Process, cred: &Cred) -> Result<(), Errno> {
    if std::ptr::eq(&*viewer.process, process) {
        return Ok(());
    }
    let own = viewer.cred();
    let same = [cred.uid, cred.euid, cred.suid].iter().all(|&id| id == own.fsuid)
        && [cred.gid, cred.egid, cred.sgid].iter().all(|&id| id == own.fsgid)
        && cred.permitted.0 & !own.permitted.0 == 0
        && process.dumpable.load(Ordering::Relaxed);
    if same || own.has_cap(CAP_SYS_PTRACE) { Ok(()) } else { Err(Errno::EPERM) }
}
