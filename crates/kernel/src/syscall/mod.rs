//! System calls: the table, typed arguments, and one file of thin handlers per
//! family. A handler validates in Linux's order and calls its subsystem.

pub mod aio;
pub mod arg;
pub mod attr;
pub mod decode;
pub mod dir;
pub mod events;
pub mod fd;
pub mod locks;
mod markdown;
pub mod memfd;
pub mod memory;
pub mod message;
pub mod mount;
pub mod msg;
pub mod others;
pub mod pidfd;
pub mod polling;
pub mod prctl;
pub mod process;
pub mod rw;
pub mod sched;
pub mod seccomp;
pub mod sem;
pub mod shm;
pub mod signals;
pub mod socket;
pub mod splice;
pub mod stats;
pub mod system;
mod table;
pub mod time;
pub mod timers;
pub mod trace;
pub mod xattr;

pub use markdown::markdown;
pub use table::{TABLE, dispatch};

/// How much of a call's documented behaviour there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// All of it, but for the noted.
    Full,
    /// A part; the note says which.
    Partial,
    /// Fails with the noted errno, on purpose.
    Refused,
}

/// A row of the table.
#[derive(Debug)]
pub struct Syscall {
    /// Number on x86-64.
    pub nr: u64,
    /// Name as in `syscalls(2)`.
    pub name: &'static str,
    /// Arguments in order.
    pub args: &'static [ArgInfo],
    /// Support.
    pub level: Level,
    /// What a user should know.
    pub note: &'static str,
}

/// Name and decoder of an argument.
#[derive(Debug)]
pub struct ArgInfo {
    /// Name as in the man page.
    pub name: &'static str,
    /// Appends the decoded value to the log line.
    pub show: fn(u64, &dyn chitin_usermem::UserMemory, &mut String),
    /// Whether it can only be decoded after the call.
    pub out: bool,
}

/// The path that an argument points to.
pub(crate) fn path_of(
    cur: &crate::task::CurrentTask,
    path: arg::UserPath,
) -> Result<Vec<u8>, chitin_abi::Errno> {
    use chitin_usermem::UserMemory;
    cur.mm().read_cstr(path.0, crate::vfs::lookup::PATH_MAX - 1)
}

#[cfg(test)]
mod file_tests;
