//! Landlock (`landlock(7)`): whatever descriptor of a directory the sentry holds or
//! gets, it can open files below the given trees only, and change none but below those
//! that were given for writing. No TCP, no abstract sockets of others, where the host's
//! Landlock knows of them.
//!
//! A domain is its thread's and those that this creates: it must be entered while the
//! process has one thread.

use crate::{Result, check};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Execute and truncate apart, the rights of the first version: write, read a file, read
/// a directory, remove, make.
const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ: u64 = 3 << 2;
const REMOVE_AND_MAKE: u64 = 0x1ff0;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// Binding and connecting of TCP sockets.
const TCP: u64 = 3;
/// Connecting to abstract unix sockets outside of the domain. Not signals: the zygote is
/// older than the domain.
const SCOPE_SOCKETS: u64 = 1;
const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: i32 = 1;

/// `struct landlock_ruleset_attr`; older hosts take its beginning.
#[repr(C)]
#[derive(Default)]
struct Ruleset {
    files: u64,
    net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`, packed.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// What stays possible below a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beneath {
    /// Opening for reading.
    Read,
    /// Everything but executing.
    Change,
}

/// The version of the host's Landlock; 0: it has none.
#[must_use]
pub fn version() -> i64 {
    // SAFETY: a null attribute with the version flag only asks for the ABI.
    let abi = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, 0_usize, 0, CREATE_RULESET_VERSION)
    };
    abi.max(0)
}

/// What a version can handle, and how many bytes of the attribute it knows.
fn handled(version: i64) -> (Ruleset, usize) {
    let mut set =
        Ruleset { files: EXECUTE | WRITE_FILE | READ | REMOVE_AND_MAKE, net: 0, scoped: 0 };
    for (since, right) in [(2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)] {
        if version >= since {
            set.files |= right;
        }
    }
    let len = match version {
        ..4 => 8,
        4 | 5 => 16,
        _ => 24,
    };
    if version >= 4 {
        set.net = TCP;
    }
    if version >= 6 {
        set.scoped = SCOPE_SOCKETS;
    }
    (set, len)
}

/// Restricts this thread and those that it will create, for good, to these trees.
/// `Ok(false)`: the host has no Landlock. `no_new_privs` is set already.
pub fn restrict_to(trees: &[(BorrowedFd<'_>, Beneath)]) -> Result<bool> {
    let version = version();
    if version < 1 {
        return Ok(false);
    }
    let (attr, len) = handled(version);
    // SAFETY: `attr` is at least as long as the call is told.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, len, 0)
    })?;
    // SAFETY: a fresh descriptor.
    let ruleset = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    for (dir, beneath) in trees {
        let allowed = match beneath {
            Beneath::Read => READ,
            Beneath::Change => attr.files & !(EXECUTE | IOCTL_DEV),
        };
        let rule = PathBeneath { allowed, parent: dir.as_raw_fd() };
        // SAFETY: `rule` has the layout the call expects.
        check(unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                ruleset.as_raw_fd(),
                RULE_PATH_BENEATH,
                &raw const rule,
                0,
            )
        })?;
    }
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_asked_for_what_it_knows() {
        let (first, len) = handled(1);
        assert_eq!((first.files, first.net, first.scoped, len), (0x1fff, 0, 0, 8));
        let (new, len) = handled(7);
        assert_eq!((new.files, new.net, new.scoped, len), (0xffff, 3, 1, 24));
        assert_eq!(handled(3).0.files, 0x7fff);
    }
}
