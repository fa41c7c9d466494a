//! Guest memory as the kernel sees it: the sandbox's memory file and typed,
//! distrusted user pointers.
//!
//! [`GuestMemory`] is the memory file of one sandbox, mapped whole into the
//! sentry. [`UserMemory`] is what an address space offers to copy from and to
//! guest addresses; [`UserAddr`], [`UserPtr`] and [`UserSlice`] are allegations
//! about such addresses that only its methods can turn into data. Nothing here
//! hands out a reference into guest memory: guests change it at any time.

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

mod guarded;
mod memory;
mod user;

pub use memory::{Block, Charge, Filling, GuestMemory, HUGE_PAGE, MemoryError};
pub use user::{UserAddr, UserMemory, UserPtr, UserSlice};
