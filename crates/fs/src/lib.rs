//! File systems of the virtual kernel.
//!
//! * [`hostfs`] shows a directory tree of the host.
//! * [`layered`] puts a tree that takes the changes over one that stays as it is.
//! * [`tmpfs`] keeps files in the sandbox's memory file.
//! * [`procfs`], [`sysfs`] and [`cgroupfs`] tell of the sandbox; [`synth`] is the kit that
//!   they are made with.
//! * `util` is what they share: time stamps, device numbers, extended
//!   attributes.
//!
//! Lock order within a file system: structure of the tree, transfers of a file,
//! entries of a directory, attributes, data. A transfer lock alone may be held while
//! guest memory is copied: a fault there asks for data again.
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

pub mod cgroupfs;
pub mod devices;
pub mod devpts;
mod hostfacts;
pub mod hostfs;
pub mod layered;
pub mod procfs;
mod reopen;
pub mod synth;
pub mod sysfs;
pub mod tmpfs;
mod util;

pub use hostfacts::HostFacts;
