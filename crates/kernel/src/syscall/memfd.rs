//! Files in memory and their seals: `memfd_create(2)`, `fcntl(F_ADD_SEALS)`.
//!
//! [`Seals`] are kept with the inode; who writes or resizes a file asks them.

use super::arg::UserPath;
use super::fd::install;
use crate::error::SysResult;
use crate::sync::Mutex;
use crate::task::CurrentTask;
use crate::vfs::{File, InodeRef, OpenRequest};
use chitin_abi::Errno;
use chitin_abi::fs::*;
use chitin_platform::Prot;
use chitin_usermem::UserMemory;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const ALL: u32 =
    F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_EXEC;

/// `F_SEAL_*` of a file in memory. Lock: one, held while a mapping is made and while
/// writing is sealed.
#[derive(Default)]
pub struct Seals {
    bits: AtomicU32,
    mapping: Mutex<Arc<SharedWriter>>,
}

/// Held by each shared mapping through which the file may be written.
#[derive(Default)]
pub struct SharedWriter;

impl Seals {
    /// For a new shared mapping of a file: whether it may be written, and what it holds
    /// as long as it is there. `EPERM` if it is to be writable at once and must not be.
    pub(super) fn map_shared(
        inode: &InodeRef,
        prot: Prot,
        may_write: bool,
    ) -> Result<(bool, Option<Arc<SharedWriter>>), Errno> {
        let Some(seals) = inode.vfs_state().get::<Self>() else { return Ok((may_write, None)) };
        let mapping = seals.mapping.lock();
        if seals.bits.load(Ordering::SeqCst) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0 {
            return if prot.write { Err(Errno::EPERM) } else { Ok((false, None)) };
        }
        Ok((may_write, may_write.then(|| mapping.clone())))
    }

    /// The seals of an inode; `None` if it cannot be sealed.
    pub fn of(inode: &InodeRef) -> Option<u32> {
        let seals = inode.vfs_state().get::<Self>()?;
        Some(seals.bits.load(Ordering::SeqCst))
    }

    /// `EPERM` if a seal forbids to write from `at` on, `len` bytes.
    pub fn allow_write(inode: &InodeRef, at: u64, len: u64) -> Result<(), Errno> {
        let Some(seals) = Self::of(inode) else { return Ok(()) };
        if seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        if seals & F_SEAL_GROW != 0 && at.saturating_add(len) > inode.attr()?.size {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// `EPERM` if a seal forbids this size.
    pub fn allow_size(inode: &InodeRef, size: u64) -> Result<(), Errno> {
        let Some(seals) = Self::of(inode) else { return Ok(()) };
        let old = inode.attr()?.size;
        let forbidden =
            (seals & F_SEAL_SHRINK != 0 && size < old) || (seals & F_SEAL_GROW != 0 && size > old);
        if forbidden { Err(Errno::EPERM) } else { Ok(()) }
    }
}

fn inode_of(file: &File) -> Result<&InodeRef, Errno> {
    file.path().and_then(|p| p.dentry.inode_ref()).ok_or(Errno::EINVAL)
}

/// `F_GET_SEALS`.
pub(super) fn get_seals(file: &File) -> SysResult {
    Ok(u64::from(Seals::of(inode_of(file)?).ok_or(Errno::EINVAL)?))
}

/// `F_ADD_SEALS`.
pub(super) fn add_seals(file: &File, arg: u64) -> SysResult {
    if !file.writable() {
        return Err(Errno::EPERM.into());
    }
    let new = u32::try_from(arg).ok().filter(|s| s & !ALL == 0).ok_or(Errno::EINVAL)?;
    let inode = inode_of(file)?;
    let seals = inode.vfs_state().get::<Seals>().ok_or(Errno::EINVAL)?;
    let mapping = seals.mapping.lock();
    let sealed = seals.bits.load(Ordering::SeqCst);
    if new & !sealed & F_SEAL_WRITE != 0
        && sealed & F_SEAL_SEAL == 0
        && Arc::strong_count(&mapping) > 1
    {
        return Err(Errno::EBUSY.into());
    }
    let update = seals.bits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| {
        (old & F_SEAL_SEAL == 0).then_some(old | new)
    });
    update.map(|_| 0).map_err(|_| Errno::EPERM.into())
}

/// `memfd_create(2)`.
pub fn memfd_create(cur: &mut CurrentTask, name: UserPath, flags: u32) -> SysResult {
    let known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC;
    let both = MFD_NOEXEC_SEAL | MFD_EXEC;
    if flags & !known != 0 || flags & both == both {
        if flags & MFD_HUGETLB != 0 {
            cur.task().kernel.gap("memfd_create(MFD_HUGETLB)");
        }
        return Err(Errno::EINVAL.into());
    }
    let given = cur.mm().read_cstr(name.0, MFD_NAME_MAX).map_err(|e| match e {
        Errno::ENAMETOOLONG => Errno::EINVAL,
        other => other,
    })?;
    let noexec = flags & MFD_NOEXEC_SEAL != 0;
    let perm = if noexec { 0o666 } else { 0o777 };
    let task = cur.task().clone();
    let path = task.kernel.filesystems.memory_file(&task, &[b"memfd:", &*given].concat(), perm)?;
    let inode = path.dentry.inode().ok_or(Errno::ENOENT)?;
    let mut seals = F_SEAL_SEAL;
    if flags & MFD_ALLOW_SEALING != 0 || noexec {
        seals = 0;
    }
    if noexec {
        seals |= F_SEAL_EXEC;
    }
    inode.vfs_state().get_or_default::<Seals>().bits.store(seals, Ordering::SeqCst);
    let flags_of_file = O_RDWR | O_LARGEFILE;
    let ops = inode.open(&OpenRequest { task: &task, flags: flags_of_file })?;
    let file = File::new(ops, Some(path), flags_of_file);
    let fd = install(cur, file, flags & MFD_CLOEXEC != 0)?;
    Ok(u64::from(fd.unsigned_abs()))
}
