//! What a system call can end with besides a value.

use crate::wait::WaitError;
use chitin_abi::Errno;

/// Value of a successful call as it goes into `rax`.
pub type SysResult = Result<u64, SysError>;

/// A failed or interrupted call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SysError {
    /// Fails with this errno.
    Errno(Errno),
    /// Was interrupted by a signal; what the guest sees depends on the kind and on
    /// the handler's `SA_RESTART` (`signal(7)`).
    Restart(Restart),
    /// The registers have been set by the call itself (`execve`, `rt_sigreturn`):
    /// leave them alone.
    KeepRegisters,
}

/// How an interrupted call goes on, in the names of the Linux kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restart {
    /// Restarted if no handler runs or the handler has `SA_RESTART`, else `EINTR`.
    Sys,
    /// Always restarted.
    NoIntr,
    /// Restarted if no handler runs, else `EINTR`.
    NoHand,
    /// Restarted with `restart_syscall(2)` semantics (remaining time kept in
    /// [`crate::task::CurrentTask::restart_block`]) if no handler runs, else `EINTR`.
    Block,
}

impl From<Errno> for SysError {
    fn from(e: Errno) -> Self {
        Self::Errno(e)
    }
}

impl From<WaitError> for SysError {
    /// The usual mapping: an interruption is [`Restart::Sys`], a timeout `ETIMEDOUT`.
    fn from(e: WaitError) -> Self {
        match e {
            WaitError::Errno(e) => Self::Errno(e),
            WaitError::Interrupted => Self::Restart(Restart::Sys),
            WaitError::TimedOut => Self::Errno(Errno::ETIMEDOUT),
        }
    }
}
