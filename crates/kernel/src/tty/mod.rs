//! Terminals: pseudoterminals (`pty(7)`) with their line discipline (`termios(3)`), and
//! job control for these and for the terminal of the caller.
//!
//! * [`Terminal`] is what can be the controlling terminal of a session; [`JobControl`]
//!   is its side of that, [`crate::task::Family::tty`] the other.
//! * [`Discipline`] turns what is typed into what is read, and what is written into what
//!   is shown. It knows neither tasks nor files.
//! * [`Pty`] is a pair of ends with a discipline between them; [`PtyTable`] numbers them.
//!
//! Locks: of a terminal its state, then its [`JobControl`]; both are leaves. Signals are
//! sent, and queues notified, after they are released.

mod control;
mod discipline;
mod edit;
mod end;
mod ioctl;
mod job;
mod output;
mod pty;
mod table;
#[cfg(test)]
mod tests;

pub use control::{Setting, Speeds};
pub use discipline::Discipline;
pub use end::{Master, Slave};
pub use job::{
    JobControl, Leaving, adopt, check_job, claim, controls, disassociate, foreground, job_ioctl,
    leave, set_foreground, signal_foreground,
};
pub use pty::Pty;
pub use table::{NodeAttr, PTY_MAJOR, PtyTable};

use crate::sync::Mutex;
use crate::vfs::{FileOps, OpenRequest};
use chitin_abi::Errno;
use std::sync::Arc;

/// What can be a controlling terminal.
pub trait Terminal: Send + Sync {
    /// Its session and foreground process group.
    fn job(&self) -> &JobControl;

    /// Its number below `/dev/pts`.
    fn index(&self) -> u32;

    /// What can be changed of its inode.
    fn node(&self) -> &Mutex<NodeAttr>;

    /// Opens it.
    fn open(self: Arc<Self>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno>;

    /// Whether both are the same.
    fn is(&self, other: &dyn Terminal) -> bool {
        std::ptr::addr_eq(self.job(), other.job())
    }
}

impl std::fmt::Debug for dyn Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Terminal({})", self.index())
    }
}
