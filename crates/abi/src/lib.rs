//! The user-space ABI of Linux on x86-64: types and constants, no logic.
//!
//! Names and values are Linux's own. Every struct has the layout the kernel gives it (not the C
//! library's) and is [`Pod`], so that it can be read from and written to user memory byte by byte.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    reason = "constants and fields carry the names of Linux; the sections cite the man pages"
)]

pub mod aio;
pub mod elf;
pub mod errno;
pub mod fs;
pub mod ipc;
pub mod mm;
pub mod pod;
pub mod poll;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod sysno;
pub mod task;
pub mod time;
pub mod tty;

pub use errno::Errno;
pub use pod::{Pod, slice_as_bytes, slice_as_bytes_mut};
