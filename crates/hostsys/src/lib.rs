//! The only crate that makes host system calls. Thin, safe wrappers; each returns
//! the host's errno as an [`std::io::Error`].

pub mod clock;
pub mod cpu;
pub mod events;
pub mod files;
pub mod heap;
pub mod inherited;
pub mod landlock;
pub mod memory;
pub mod ns;
pub mod policy;
pub mod process;
pub mod random;
pub mod signals;
pub mod tty;

pub use memory::{
    ftruncate, memfd_create, memory_file_system, mmap_shared, munmap, tune_allocator,
};

/// Result of a host system call.
pub type Result<T> = std::io::Result<T>;

/// Turns the C convention (-1 and `errno`) into a result.
pub fn check(value: i64) -> Result<i64> {
    if value == -1 { Err(std::io::Error::last_os_error()) } else { Ok(value) }
}
