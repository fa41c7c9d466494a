//! Assembles the virtual kernel into the sandbox process.
//!
//! [`run`] is called in the process of the `chitin` command. It forks the sentry
//! into namespaces of its own ([`launch`]), which prepares itself, confines itself
//! ([`confine`]) and runs the program, while the caller forwards signals and waits.

#![forbid(unsafe_code)]

mod config;
mod confine;
mod hostio;
mod launch;
mod limits;
mod masks;
mod outside;
mod program;
mod sandbox;
mod streams;
mod view;

pub use chitin_hostsys::heap;
pub use chitin_kernel::syscall::markdown as syscalls_markdown;
pub use config::{Bind, BindMode, LogTo, SandboxConfig};
pub use launch::{Outcome, run};
pub use masks::{is_masked, list as masks};
