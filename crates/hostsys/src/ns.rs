//! Namespaces and mounts of the launcher: detached read-only trees, an empty root.

use crate::{Result, check};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const OPEN_TREE_CLONE: u32 = 1;
const AT_RECURSIVE: u32 = 0x8000;
const AT_EMPTY_PATH: u32 = 0x1000;
const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_NOSUID: u64 = 2;
const MOUNT_ATTR_NODEV: u64 = 4;
const MOUNT_ATTR_NOEXEC: u64 = 8;

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Whether a tree may be written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Made read-only, all of it.
    ReadOnly,
    /// As it is.
    ReadWrite,
}

/// Stops mount events from leaving this mount namespace (`MS_PRIVATE`).
pub fn make_mounts_private() -> Result<()> {
    // SAFETY: all strings are literals.
    let r = unsafe {
        libc::mount(
            std::ptr::null(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        )
    };
    check(i64::from(r)).map(drop)
}

/// A detached copy of the mounts at and below `path` (`open_tree(2)`), without
/// devices and set-user-ID, read-only if asked for.
pub fn clone_tree(path: &CStr, access: Access) -> Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | AT_RECURSIVE | libc::O_CLOEXEC as u32;
    // SAFETY: `path` is a valid C string.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })?;
    // SAFETY: a fresh descriptor.
    restricted(unsafe { OwnedFd::from_raw_fd(fd as i32) }, access, 0)
}

/// A detached tree without devices and set-user-ID, with this kind of propagation (0: as it
/// is), read-only if asked for (`mount_setattr(2)`).
fn restricted(tree: OwnedFd, access: Access, propagation: u64) -> Result<OwnedFd> {
    let set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    let mut attr = MountAttr { set, propagation, ..Default::default() };
    if access == Access::ReadOnly {
        attr.set |= MOUNT_ATTR_RDONLY;
    }
    // SAFETY: `attr` is as long as the call is told.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH | AT_RECURSIVE,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(tree)
}

/// Replaces the root of this mount namespace by an empty read-only tmpfs; the old
/// mounts are gone, detached trees stay usable.
pub fn enter_empty_root() -> Result<()> {
    // SAFETY: string literals and integers only, in all of these calls.
    let fs = check(unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 1) })?;
    // SAFETY: a fresh descriptor.
    let fs = unsafe { OwnedFd::from_raw_fd(fs as i32) };
    // SAFETY: as above. 6 is FSCONFIG_CMD_CREATE.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), 6, 0_usize, 0_usize, 0) })?;
    let attrs = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    // SAFETY: as above.
    let mount = check(unsafe { libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), 1, attrs) })?;
    // SAFETY: a fresh descriptor.
    let mount = unsafe { OwnedFd::from_raw_fd(mount as i32) };
    // SAFETY: as above. 4 is MOVE_MOUNT_F_EMPTY_PATH.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            c"/".as_ptr(),
            4,
        )
    })?;
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_fchdir, mount.as_raw_fd()) })?;
    // SAFETY: as above; `.` is the new mount, which sits on the old root.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_umount2, c".".as_ptr(), libc::MNT_DETACH) })?;
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_chdir, c"/".as_ptr()) }).map(drop)
}

/// Opens a directory as `O_PATH`.
pub fn open_path(path: &CStr) -> Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: `path` is a valid C string.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags) })?;
    // SAFETY: a fresh descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The directory behind a descriptor becomes the working directory.
pub fn fchdir(dir: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_fchdir, dir.as_raw_fd()) }).map(drop)
}

/// A detached copy of the mount behind a descriptor, cut down to what the descriptor is of, with its submounts; without
/// devices and set-user-ID, and out of reach of mount events.
pub fn clone_tree_of(of: BorrowedFd<'_>, access: Access) -> Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH | libc::O_CLOEXEC as u32;
    // SAFETY: a literal and integers.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_open_tree, of.as_raw_fd(), c"".as_ptr(), flags) })?;
    // SAFETY: a fresh descriptor.
    restricted(unsafe { OwnedFd::from_raw_fd(fd as i32) }, access, libc::MS_PRIVATE)
}

/// Runs a function on a thread of its own that has entered a mount namespace, with `root` (a directory in it) as its
/// working directory. Needs root.
pub fn in_mount_namespace<T: Send>(
    namespace: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    f: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let enter = || {
        // SAFETY: integers only; this thread stops sharing its working directory with the others.
        check(i64::from(unsafe { libc::unshare(libc::CLONE_FS) }))?;
        // SAFETY: integers only; a namespace is a thread's own.
        check(i64::from(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) }))?;
        fchdir(root)?;
        f()
    };
    std::thread::scope(|scope| {
        let ended = scope.spawn(enter).join();
        ended.unwrap_or_else(|_| Err(std::io::Error::other("the thread in the namespace ended")))
    })
}

/// Mounts a detached tree on `path`, which may be relative to the working directory.
pub fn attach_tree(tree: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    // SAFETY: `path` is a valid C string; 4 is MOVE_MOUNT_F_EMPTY_PATH.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            4,
        )
    })
    .map(drop)
}

/// Takes away what is mounted on `path`, which is not followed if it is a link.
pub fn detach(path: &CStr) -> Result<()> {
    let flags = libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW;
    // SAFETY: `path` is a valid C string.
    check(i64::from(unsafe { libc::umount2(path.as_ptr(), flags) })).map(drop)
}
