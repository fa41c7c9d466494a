//! Mounts and whole file systems: `mount(2)`, `umount2(2)`, `sync(2)`.
//!
//! There is one namespace of mounts, in which all are private.

use super::arg::UserPath;
use super::path_of;
use crate::error::SysResult;
use crate::task::CurrentTask;
use crate::vfs::lookup::{Last, lookup};
use crate::vfs::{FileType, MountRequest, Path};
use chitin_abi::Errno;
use chitin_abi::fs::*;
use chitin_usermem::{UserAddr, UserMemory};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const CAP_SYS_ADMIN: u32 = 21;
/// What a mount remembers of the flags.
const KEPT: u64 = MS_RDONLY
    | MS_NOSUID
    | MS_NODEV
    | MS_NOEXEC
    | MS_NOSYMFOLLOW
    | MS_NOATIME
    | MS_NODIRATIME
    | MS_RELATIME;
const PROPAGATION: u64 = MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE;
/// Longest options in bytes, a page.
const OPTIONS_MAX: usize = 4096;

/// A string argument that may be missing.
fn text(cur: &CurrentTask, at: UserPath) -> Result<Option<Vec<u8>>, Errno> {
    if at.0.is_null() { Ok(None) } else { path_of(cur, at).map(Some) }
}

/// Options end at a NUL or at the end of the page.
fn options(cur: &CurrentTask, at: UserAddr) -> Result<Vec<u8>, Errno> {
    if at.is_null() {
        return Ok(Vec::new());
    }
    cur.mm().read_cstr(at, OPTIONS_MAX - 1).map_err(|e| match e {
        Errno::ENAMETOOLONG => Errno::EINVAL,
        other => other,
    })
}

fn is_dir(path: &Path) -> bool {
    path.dentry.inode().is_some_and(|i| i.file_type() == FileType::Directory)
}

fn is_mount_root(path: &Path) -> bool {
    Arc::ptr_eq(&path.dentry, &path.mount.root)
}

/// `mount(2)`.
pub fn mount(
    cur: &mut CurrentTask,
    source: UserPath,
    target: UserPath,
    fs_type: UserPath,
    flags: u64,
    data: UserAddr,
) -> SysResult {
    let fs_type = text(cur, fs_type)?;
    let source = text(cur, source)?;
    let options = options(cur, data)?;
    let target = path_of(cur, target)?;
    let at = lookup(cur.task(), AT_FDCWD, &target, Last::Follow)?;
    if !cur.task().cred().has_cap(CAP_SYS_ADMIN) {
        return Err(Errno::EPERM.into());
    }
    let flags = match flags & MS_MGC_MSK {
        MS_MGC_VAL => flags & !MS_MGC_MSK,
        _ => flags,
    };
    let kept = u32::try_from(flags & KEPT).map_err(|_| Errno::EINVAL)?;
    if flags & MS_REMOUNT != 0 {
        return remount(cur, &at, kept, &options);
    }
    if flags & MS_BIND != 0 {
        let source = source.filter(|s| !s.is_empty()).ok_or(Errno::EINVAL)?;
        let from = lookup(cur.task(), AT_FDCWD, &source, Last::Follow)?;
        return bind(cur, &from, &at, flags);
    }
    if flags & PROPAGATION != 0 {
        return propagation(cur, &at, flags);
    }
    if flags & MS_MOVE != 0 {
        let source = source.filter(|s| !s.is_empty()).ok_or(Errno::EINVAL)?;
        let from = lookup(cur.task(), AT_FDCWD, &source, Last::Follow)?;
        return move_mount(cur, &from, &at);
    }
    let fs_type = fs_type.ok_or(Errno::EINVAL)?;
    let task = cur.task();
    let source = source.unwrap_or_else(|| b"none".to_vec());
    let request = MountRequest { task, source: &source, options: &options, flags: kept };
    let fs = task.kernel.filesystems.make(&fs_type, &request)?;
    if !is_dir(&at) {
        return Err(Errno::ENOTDIR.into());
    }
    let mounts = &task.kernel.mounts;
    let mount = mounts.detached(fs, &String::from_utf8_lossy(&source), kept);
    mounts.attach(mount, &at)?;
    Ok(0)
}

fn remount(cur: &CurrentTask, at: &Path, kept: u32, options: &[u8]) -> SysResult {
    if !is_mount_root(at) {
        return Err(Errno::EINVAL.into());
    }
    at.mount.fs.reconfigure(options, cur.task().kernel.memory_sizes().0)?;
    let _changing = crate::changes::begin();
    at.mount.flags.store(kept, Ordering::Relaxed);
    Ok(0)
}

fn bind(cur: &CurrentTask, from: &Path, at: &Path, flags: u64) -> SysResult {
    if is_dir(from) != is_dir(at) {
        return Err(Errno::ENOTDIR.into());
    }
    let mounts = &cur.task().kernel.mounts;
    let below = match flags & MS_REC != 0 {
        true => mounts.below(&from.mount, &from.dentry),
        false => Vec::new(),
    };
    let copy = mounts.bind(&from.mount, from.dentry.clone());
    mounts.attach(copy.clone(), at)?;
    // Parents come before their children.
    let mut copies = vec![(from.mount.clone(), copy)];
    for mount in below {
        let Some(place) = mounts.place_of(&mount) else { continue };
        let parent = copies.iter().find(|(old, _)| Arc::ptr_eq(old, &place.mount));
        let Some((_, parent)) = parent else { continue };
        let place = Path { mount: parent.clone(), dentry: place.dentry };
        let copy = mounts.bind(&mount, mount.root.clone());
        mounts.attach(copy.clone(), &place)?;
        copies.push((mount, copy));
    }
    Ok(0)
}

/// Nothing spreads between the mounts of one namespace; only sharing would be seen.
fn propagation(cur: &CurrentTask, at: &Path, flags: u64) -> SysResult {
    let kind = flags & PROPAGATION;
    if !is_mount_root(at)
        || !kind.is_power_of_two()
        || flags & !(PROPAGATION | MS_REC | MS_SILENT) != 0
    {
        return Err(Errno::EINVAL.into());
    }
    if kind == MS_SHARED {
        cur.task().kernel.gap("propagation of mounts (MS_SHARED)");
    }
    Ok(0)
}

fn move_mount(cur: &CurrentTask, from: &Path, at: &Path) -> SysResult {
    let mounts = &cur.task().kernel.mounts;
    if !is_mount_root(from) || mounts.place_of(&from.mount).is_none() {
        return Err(Errno::EINVAL.into());
    }
    if is_dir(from) != is_dir(at) {
        return Err(Errno::ENOTDIR.into());
    }
    let mut above = Some(at.clone());
    while let Some(path) = above {
        if Arc::ptr_eq(&path.mount, &from.mount) {
            return Err(Errno::ELOOP.into());
        }
        above = mounts.place_of(&path.mount);
    }
    mounts.relocate(&from.mount, at);
    Ok(0)
}

/// `umount2(2)`.
pub fn umount2(cur: &mut CurrentTask, target: UserPath, flags: u32) -> SysResult {
    let expire = flags & MNT_EXPIRE != 0;
    if flags & !(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW) != 0
        || (expire && flags & (MNT_FORCE | MNT_DETACH) != 0)
    {
        return Err(Errno::EINVAL.into());
    }
    let last = if flags & UMOUNT_NOFOLLOW != 0 { Last::NoFollow } else { Last::Follow };
    let target = path_of(cur, target)?;
    let at = lookup(cur.task(), AT_FDCWD, &target, last)?;
    if !cur.task().cred().has_cap(CAP_SYS_ADMIN) {
        return Err(Errno::EPERM.into());
    }
    let mounts = &cur.task().kernel.mounts;
    if !is_mount_root(&at) || mounts.place_of(&at.mount).is_none() {
        return Err(Errno::EINVAL.into());
    }
    let mount = at.mount;
    if flags & MNT_DETACH != 0 {
        for child in mounts.below(&mount, &mount.root).iter().rev() {
            mounts.detach(child)?;
        }
        mounts.detach(&mount)?;
        return Ok(0);
    }
    // The table and this call hold it; whoever else does has a file or directory there.
    if Arc::strong_count(&mount) > 2 {
        return Err(Errno::EBUSY.into());
    }
    if expire {
        cur.task().kernel.gap("umount2(MNT_EXPIRE)");
        return Err(Errno::EAGAIN.into());
    }
    mounts.detach(&mount)?;
    Ok(0)
}

/// `sync(2)`: has no error to tell.
pub fn sync(cur: &mut CurrentTask) -> SysResult {
    for mount in cur.task().kernel.mounts.list() {
        let _ = mount.fs.sync();
    }
    Ok(0)
}

/// `syncfs(2)`.
pub fn syncfs(cur: &mut CurrentTask, fd: i32) -> SysResult {
    let file = cur.file(fd)?;
    if file.flags() & O_PATH != 0 {
        return Err(Errno::EBADF.into());
    }
    if let Some(path) = file.path() {
        path.mount.fs.sync()?;
    }
    Ok(0)
}

/// `name_to_handle_at(2)`: no file system here has handles.
pub fn name_to_handle_at(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    _handle: UserAddr,
    _mount_id: UserAddr,
    flags: u32,
) -> SysResult {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH | AT_HANDLE_FID | AT_HANDLE_MNT_ID_UNIQUE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = path_of(cur, path)?;
    if !path.is_empty() || flags & AT_EMPTY_PATH == 0 {
        lookup(cur.task(), dirfd, &path, Last::NoFollow)?;
    }
    Err(Errno::EOPNOTSUPP.into())
}
