//! [`Traits`]: what a thread has set for itself that is kept and told, and [`may_inspect`].

use super::{Process, Task};
use crate::cred::Cred;
use crate::mm::Mm;
use chitin_abi::Errno;

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

/// By which ids, and which capabilities, a task looks at another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LooksBy {
    /// A call that names it (`PTRACE_MODE_REALCREDS`): real ids, permitted capabilities.
    Call,
    /// A file of it (`PTRACE_MODE_FSCREDS`): ids for files, effective capabilities.
    File,
}

/// Whether `viewer` may see what is a process's own affair (`ptrace(2)`, "access mode
/// checking"); `EPERM` if not. `mm` and `cred` are those of the looked-at thread.
pub fn may_inspect(
    viewer: &Task,
    process: &Process,
    mm: Option<&Mm>,
    cred: &Cred,
    by: LooksBy,
) -> Result<(), Errno> {
    if std::ptr::eq(&*viewer.process, process) {
        return Ok(());
    }
    let own = viewer.cred();
    let (uid, gid, caps) = match by {
        LooksBy::Call => (own.uid, own.gid, own.permitted),
        LooksBy::File => (own.fsuid, own.fsgid, own.effective),
    };
    let same = [cred.uid, cred.euid, cred.suid].iter().all(|&id| id == uid)
        && [cred.gid, cred.egid, cred.sgid].iter().all(|&id| id == gid)
        && cred.permitted.0 & !caps.0 == 0
        && mm.is_none_or(Mm::is_dumpable);
    if same || own.has_cap(CAP_SYS_PTRACE) { Ok(()) } else { Err(Errno::EPERM) }
}
