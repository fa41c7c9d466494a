//! The virtual kernel: tasks, memory, files, signals, time and the system calls
//! of a Linux system, without any host mechanism. How guest code runs is behind
//! [`chitin_platform::Platform`]; who polls the tasks is
//! [`chitin_executor::Executor`]; where files come from is behind the traits of
//! [`vfs`].
//!
//! There is one [`Kernel`] per sandbox. A guest thread is a future made by
//! [`task::spawn`]; all code here is synchronous and non-blocking except for
//! [`task::CurrentTask::block_on`].
//!
//! Lock order (outermost first): process tree, process, task, file table, mm,
//! mount table, dentry, inode, file position, wait queue.

#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

mod activity;
pub mod aio;
pub mod changes;
pub mod cred;
pub mod dump;
pub mod error;
pub mod events;
pub mod exec;
pub mod fd;
pub mod futex;
pub mod ipc;
mod kernel;
pub mod mm;
pub mod net;
pub mod pipe;
pub mod published;
pub mod seccomp;
mod settings;
pub mod signal;
pub mod sync;
pub mod syscall;
pub mod task;
#[cfg(test)]
mod testing;
pub mod time;
pub mod tty;
pub mod vfs;
pub mod wait;

pub use activity::Activity;
pub use error::{Restart, SysError, SysResult};
pub use kernel::{Kernel, KernelConfig, Outside};
pub use settings::{Setting, Settings};

/// Kernel release that programs are told (`uname(2)`).
pub const RELEASE: &str = "6.12.0-chitin";
/// Kernel version that programs are told.
pub const VERSION: &str = concat!("#1 SMP Chitin ", env!("CARGO_PKG_VERSION"));
