//! Extended attributes (`xattr(7)`).

use super::arg::UserPath;
use super::attr::{empty, inode_of, last, path_arg, place_of};
use super::path_of;
use crate::error::SysResult;
use crate::task::CurrentTask;
use crate::vfs::access::{Want, owns, permitted};
use crate::vfs::lookup::{Last, lookup, lookup_at};
use crate::vfs::open::writable_mount;
use crate::vfs::{FileType, InodeRef, Path, notify};
use chitin_abi::Errno;
use chitin_abi::fs::*;
use chitin_usermem::{UserAddr, UserMemory, UserPtr};

/// Whose attributes a call of the xattr family means.
#[derive(Clone, Copy)]
enum Target {
    Path(UserPath, Last),
    Fd(i32),
    /// Descriptor, path and flags of `openat(2)`'s kin.
    At(i32, UserPath, u32),
}

/// A descriptor is looked at before the name of the attribute, a path after it.
fn check_fd(cur: &CurrentTask, target: Target) -> Result<(), Errno> {
    if let Target::Fd(fd) = target { place_of(cur, fd).map(drop) } else { Ok(()) }
}

fn target(cur: &CurrentTask, target: Target) -> Result<Path, Errno> {
    match target {
        Target::At(dirfd, path, flags) => {
            let path = path_arg(cur, path, flags)?;
            if path.is_empty() && dirfd >= 0 && flags & AT_EMPTY_PATH != 0 {
                return place_of(cur, dirfd);
            }
            lookup_at(cur.task(), dirfd, &path, last(flags), empty(flags))
        }
        Target::Path(path, last) => lookup(cur.task(), AT_FDCWD, &path_of(cur, path)?, last),
        Target::Fd(fd) => place_of(cur, fd),
    }
}

fn xattr_name(cur: &CurrentTask, name: UserPath) -> Result<Vec<u8>, Errno> {
    let name = cur.mm().read_cstr(name.0, XATTR_NAME_MAX).map_err(|e| match e {
        Errno::ENAMETOOLONG => Errno::ERANGE,
        other => other,
    })?;
    if name.is_empty() {
        return Err(Errno::ERANGE);
    }
    let known: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];
    if known.iter().any(|p| name.starts_with(p)) { Ok(name) } else { Err(Errno::EOPNOTSUPP) }
}

/// Answers with as many bytes as fit; a size of 0 asks for the length.
fn answer(cur: &CurrentTask, bytes: &[u8], out: UserAddr, size: usize) -> SysResult {
    if size != 0 {
        if bytes.len() > size {
            return Err(Errno::ERANGE.into());
        }
        cur.mm().write(out, bytes)?;
    }
    Ok(bytes.len() as u64)
}

fn get(cur: &CurrentTask, t: Target, name: UserPath, out: UserAddr, size: usize) -> SysResult {
    check_fd(cur, t)?;
    let name = xattr_name(cur, name)?;
    let value = inode_of(&target(cur, t)?)?.xattr_get(&name)?;
    answer(cur, &value, out, size)
}

fn list(cur: &CurrentTask, t: Target, out: UserAddr, size: usize) -> SysResult {
    let names = inode_of(&target(cur, t)?)?.xattr_list()?;
    let mut bytes = Vec::new();
    for name in names {
        bytes.extend(name);
        bytes.push(0);
    }
    answer(cur, &bytes, out, size)
}

fn may_change_xattr(cur: &CurrentTask, place: &Path, name: &[u8]) -> Result<InodeRef, Errno> {
    writable_mount(place)?;
    let inode = inode_of(place)?;
    let attr = inode.attr()?;
    let cred = cur.task().cred();
    if name.starts_with(b"user.") {
        if !matches!(attr.kind, FileType::Regular | FileType::Directory) {
            return Err(Errno::EPERM);
        }
        permitted(&cred, &attr, Want::WRITE)?;
    } else if name.starts_with(b"trusted.") || !owns(&cred, &attr) {
        const CAP_SYS_ADMIN: u32 = 21;
        if !cred.has_cap(CAP_SYS_ADMIN) {
            return Err(Errno::EPERM);
        }
    }
    Ok(inode.clone())
}

fn set(
    cur: &CurrentTask,
    t: Target,
    name: UserPath,
    value: UserAddr,
    size: usize,
    flags: u32,
) -> SysResult {
    if flags & !(XATTR_CREATE | XATTR_REPLACE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    check_fd(cur, t)?;
    let name = xattr_name(cur, name)?;
    if size > XATTR_SIZE_MAX {
        return Err(Errno::E2BIG.into());
    }
    let mut bytes = vec![0; size];
    cur.mm().read(value, &mut bytes)?;
    let place = target(cur, t)?;
    may_change_xattr(cur, &place, &name)?.xattr_set(&name, &bytes, flags)?;
    notify::file_event(&place.dentry, IN_ATTRIB);
    Ok(0)
}

fn remove(cur: &CurrentTask, t: Target, name: UserPath) -> SysResult {
    check_fd(cur, t)?;
    let name = xattr_name(cur, name)?;
    let place = target(cur, t)?;
    may_change_xattr(cur, &place, &name)?.xattr_remove(&name)?;
    notify::file_event(&place.dentry, IN_ATTRIB);
    Ok(0)
}

macro_rules! xattr_family {
    ($get:ident $set:ident $list:ident $remove:ident, $who:ident: $ty:ty => $target:expr) => {
        /// `getxattr(2)` and its kin.
        pub fn $get(
            cur: &mut CurrentTask,
            $who: $ty,
            name: UserPath,
            value: UserAddr,
            size: usize,
        ) -> SysResult {
            get(cur, $target, name, value, size)
        }
        /// `setxattr(2)` and its kin.
        pub fn $set(
            cur: &mut CurrentTask,
            $who: $ty,
            name: UserPath,
            value: UserAddr,
            size: usize,
            flags: u32,
        ) -> SysResult {
            set(cur, $target, name, value, size, flags)
        }
        /// `listxattr(2)` and its kin.
        pub fn $list(cur: &mut CurrentTask, $who: $ty, out: UserAddr, size: usize) -> SysResult {
            list(cur, $target, out, size)
        }
        /// `removexattr(2)` and its kin.
        pub fn $remove(cur: &mut CurrentTask, $who: $ty, name: UserPath) -> SysResult {
            remove(cur, $target, name)
        }
    };
}

xattr_family!(getxattr setxattr listxattr removexattr,
    path: UserPath => Target::Path(path, Last::Follow));
xattr_family!(lgetxattr lsetxattr llistxattr lremovexattr,
    path: UserPath => Target::Path(path, Last::NoFollow));
xattr_family!(fgetxattr fsetxattr flistxattr fremovexattr, fd: i32 => Target::Fd(fd));

fn at(dirfd: i32, path: UserPath, flags: u32) -> Result<Target, Errno> {
    match flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) {
        0 => Ok(Target::At(dirfd, path, flags)),
        _ => Err(Errno::EINVAL),
    }
}

/// `struct xattr_args`, of a size that the caller says.
fn arguments(cur: &CurrentTask, args: UserAddr, size: usize) -> Result<XattrArgs, Errno> {
    let known = size_of::<XattrArgs>();
    if size < known {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let mut rest = vec![0; size - known];
    cur.mm().read(args.offset(known as u64)?, &mut rest)?;
    if rest.iter().any(|&b| b != 0) {
        return Err(Errno::E2BIG);
    }
    UserPtr::new(args).read(&**cur.mm())
}

/// `setxattrat(2)`.
pub fn setxattrat(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    flags: u32,
    name: UserPath,
    args: UserAddr,
    size: usize,
) -> SysResult {
    let args = arguments(cur, args, size)?;
    let target = at(dirfd, path, flags)?;
    set(cur, target, name, UserAddr(args.value), args.size as usize, args.flags)
}

/// `getxattrat(2)`.
pub fn getxattrat(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    flags: u32,
    name: UserPath,
    args: UserAddr,
    size: usize,
) -> SysResult {
    let args = arguments(cur, args, size)?;
    if args.flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    get(cur, at(dirfd, path, flags)?, name, UserAddr(args.value), args.size as usize)
}

/// `listxattrat(2)`.
pub fn listxattrat(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    flags: u32,
    out: UserAddr,
    size: usize,
) -> SysResult {
    list(cur, at(dirfd, path, flags)?, out, size)
}

/// `removexattrat(2)`.
pub fn removexattrat(
    cur: &mut CurrentTask,
    dirfd: i32,
    path: UserPath,
    flags: u32,
    name: UserPath,
) -> SysResult {
    remove(cur, at(dirfd, path, flags)?, name)
}
