//! Memory: `mmap(2)`, `munmap(2)`, `mprotect(2)`, `brk(2)`, `mremap(2)`, `madvise(2)`.

use super::memfd::Seals;
use crate::error::SysResult;
use crate::mm::vma::flag;
use crate::mm::{Advice, FilePart, MapRequest, Moving, PAGE, Placement, Sharing, Toggle};
use crate::task::CurrentTask;
use crate::vfs::open::{MS_NOEXEC, SharedMaps};
use chitin_abi::mm::*;
use chitin_abi::task::{RLIMIT_AS, RLIMIT_DATA};
use chitin_abi::{Errno, fs};
use chitin_platform::{Populate, Prot};
use chitin_usermem::{UserAddr, UserMemory};

fn prot_of(bits: u32) -> Result<Prot, Errno> {
    if bits & !(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Prot {
        // On x86-64 memory that can be written can be read.
        read: bits & (PROT_READ | PROT_WRITE) != 0,
        write: bits & PROT_WRITE != 0,
        exec: bits & PROT_EXEC != 0,
    })
}

/// What `MAP_SHARED_VALIDATE` lets pass: `LEGACY_MAP_MASK`, the sizes of huge pages
/// included, and `MAP_FIXED_NOREPLACE`.
const LEGACY_FLAGS: u32 = 0x7_ffff | MAP_FIXED_NOREPLACE | 0xfc00_0000;

/// `mmap(2)`.
pub fn mmap(
    cur: &mut CurrentTask,
    addr: u64,
    len: u64,
    prot: u32,
    flags: u32,
    fd: i32,
    offset: u64,
) -> SysResult {
    if !offset.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    if flags & MAP_ANONYMOUS == 0 {
        cur.file(fd)?;
    }
    if len == 0 {
        return Err(Errno::EINVAL.into());
    }
    let prot = prot_of(prot)?;
    let sharing = match flags & MAP_TYPE {
        MAP_SHARED_VALIDATE if flags & !LEGACY_FLAGS != 0 => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        MAP_SHARED | MAP_SHARED_VALIDATE => Sharing::Shared,
        MAP_PRIVATE => Sharing::Private,
        _ => return Err(Errno::EINVAL.into()),
    };
    if flags & MAP_HUGETLB != 0 {
        cur.task().kernel.gap("huge pages (MAP_HUGETLB)");
        return Err(Errno::ENOMEM.into());
    }
    let place = match () {
        () if flags & MAP_FIXED_NOREPLACE != 0 => Placement::FixedNoReplace(addr),
        () if flags & MAP_FIXED != 0 => Placement::Fixed(addr),
        () => Placement::Hint(addr),
    };
    let mut may_write = true;
    let file = if flags & MAP_ANONYMOUS != 0 {
        None
    } else {
        let file = cur.file(fd)?;
        if !file.readable() || file.flags() & fs::O_PATH != 0 {
            return Err(
                if file.flags() & fs::O_PATH != 0 { Errno::EBADF } else { Errno::EACCES }.into()
            );
        }
        if sharing == Sharing::Shared {
            may_write = file.writable();
            if prot.write && !may_write {
                return Err(Errno::EACCES.into());
            }
        }
        let noexec = file.path().is_some_and(|p| p.mount.flags() & MS_NOEXEC != 0);
        if prot.exec && noexec {
            return Err(Errno::EPERM.into());
        }
        if offset.checked_add(len).is_none() {
            return Err(Errno::EOVERFLOW.into());
        }
        match file.ops().mappable() {
            None if file.ops().maps_zeroes() => None,
            None => return Err(Errno::ENODEV.into()),
            Some(map) => {
                let mut writer = None;
                if sharing == Sharing::Shared
                    && let Some(inode) = file.path().and_then(|p| p.dentry.inode())
                {
                    (may_write, writer) = Seals::map_shared(&inode, prot, may_write)?;
                    inode.vfs_state().get_or_default::<SharedMaps>();
                }
                Some(FilePart { file, map, offset, writer })
            }
        }
    };
    let limit = cur.task().process.limit(RLIMIT_AS);
    let populate = if flags & MAP_POPULATE != 0 { Populate::Now } else { Populate::Lazy };
    let flags = if flags & MAP_LOCKED != 0 { flag::LOCKED } else { 0 };
    let request = MapRequest { place, len, prot, may_write, sharing, file, populate, flags };
    Ok(cur.mm().map(&request, limit)?)
}

/// `munmap(2)`.
pub fn munmap(cur: &mut CurrentTask, addr: u64, len: u64) -> SysResult {
    cur.mm().unmap(addr, len)?;
    Ok(0)
}

/// `mprotect(2)`.
pub fn mprotect(cur: &mut CurrentTask, addr: u64, len: u64, prot: u32) -> SysResult {
    if prot & (PROT_GROWSDOWN | PROT_GROWSUP) == PROT_GROWSDOWN | PROT_GROWSUP {
        return Err(Errno::EINVAL.into());
    }
    // The stack is mapped whole: it does not grow.
    let prot = prot_of(prot & !(PROT_GROWSDOWN | PROT_GROWSUP))?;
    if len == 0 {
        return if addr.is_multiple_of(PAGE) { Ok(0) } else { Err(Errno::EINVAL.into()) };
    }
    cur.mm().protect(addr, len, prot)?;
    Ok(0)
}

/// `brk(2)`.
pub fn brk(cur: &mut CurrentTask, addr: u64) -> SysResult {
    let limit = cur.task().process.limit(RLIMIT_DATA);
    Ok(cur.mm().brk(addr, limit))
}

/// `mremap(2)`.
pub fn mremap(
    cur: &mut CurrentTask,
    old: u64,
    old_len: u64,
    new_len: u64,
    flags: u32,
    new: u64,
) -> SysResult {
    if flags & !(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) != 0
        || (flags & MREMAP_FIXED != 0 && flags & MREMAP_MAYMOVE == 0)
    {
        return Err(Errno::EINVAL.into());
    }
    if flags & MREMAP_DONTUNMAP != 0 {
        cur.task().kernel.gap("mremap(MREMAP_DONTUNMAP)");
        return Err(Errno::EINVAL.into());
    }
    let moving = match () {
        () if flags & MREMAP_FIXED != 0 => Moving::To(new),
        () if flags & MREMAP_MAYMOVE != 0 => Moving::Anywhere,
        () => Moving::Never,
    };
    let limit = cur.task().process.limit(RLIMIT_AS);
    Ok(cur.mm().remap(old, old_len, new_len, moving, limit)?)
}

/// `madvise(2)`.
pub fn madvise(cur: &mut CurrentTask, addr: u64, len: u64, advice: u32) -> SysResult {
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    let advice = match advice {
        MADV_DONTNEED => Advice::DontNeed,
        MADV_REMOVE => Advice::Remove,
        MADV_DONTFORK => Advice::Flag(flag::DONTFORK, Toggle::On),
        MADV_DOFORK => Advice::Flag(flag::DONTFORK, Toggle::Off),
        MADV_WIPEONFORK => Advice::Flag(flag::WIPEONFORK, Toggle::On),
        MADV_KEEPONFORK => Advice::Flag(flag::WIPEONFORK, Toggle::Off),
        MADV_DONTDUMP => Advice::Flag(flag::DONTDUMP, Toggle::On),
        MADV_DODUMP => Advice::Flag(flag::DONTDUMP, Toggle::Off),
        MADV_NORMAL..=MADV_WILLNEED
        | MADV_FREE
        | MADV_MERGEABLE..=MADV_NOHUGEPAGE
        | MADV_COLD..=MADV_POPULATE_WRITE => {
            let covered = len == 0 || cur.mm().covers(addr, len);
            return if covered { Ok(0) } else { Err(Errno::ENOMEM.into()) };
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    if len != 0 {
        cur.mm().advise(addr, len, advice)?;
    }
    Ok(0)
}

/// `msync(2)`.
pub fn msync(cur: &mut CurrentTask, addr: u64, len: u64, flags: u32) -> SysResult {
    let both = MS_ASYNC | MS_SYNC;
    if flags & !(both | MS_INVALIDATE) != 0 || flags & both == both || !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    cur.mm().sync(addr, len)?;
    Ok(0)
}

/// `mincore(2)`: all mapped pages count as resident.
pub fn mincore(cur: &mut CurrentTask, addr: u64, len: u64, out: UserAddr) -> SysResult {
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    if !cur.mm().covers(addr, len) {
        return Err(Errno::ENOMEM.into());
    }
    let ones = [1_u8; 4096];
    let mut done = 0;
    let pages = len.div_ceil(PAGE);
    while done < pages {
        let n = (pages - done).min(4096);
        let piece = ones.get(..usize::try_from(n).unwrap_or(0)).unwrap_or_default();
        cur.mm().write(out.offset(done)?, piece)?;
        done += n;
    }
    Ok(0)
}

fn lock(cur: &CurrentTask, addr: u64, len: u64, toggle: Toggle) -> SysResult {
    let start = addr & !(PAGE - 1);
    let len = len.checked_add(addr - start).ok_or(Errno::EINVAL)?;
    if len != 0 {
        cur.mm().lock_pages(start, len, toggle)?;
    }
    Ok(0)
}

/// `mlock(2)`: accounted; guest memory is not pinned on the host.
pub fn mlock(cur: &mut CurrentTask, addr: u64, len: u64) -> SysResult {
    lock(cur, addr, len, Toggle::On)
}

/// `mlock2(2)`.
pub fn mlock2(cur: &mut CurrentTask, addr: u64, len: u64, flags: u32) -> SysResult {
    if flags & !MLOCK_ONFAULT != 0 {
        return Err(Errno::EINVAL.into());
    }
    lock(cur, addr, len, Toggle::On)
}

/// `munlock(2)`.
pub fn munlock(cur: &mut CurrentTask, addr: u64, len: u64) -> SysResult {
    lock(cur, addr, len, Toggle::Off)
}

/// `mlockall(2)`.
pub fn mlockall(_cur: &mut CurrentTask, flags: u32) -> SysResult {
    let known = MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT;
    if flags == 0 || flags & !known != 0 { Err(Errno::EINVAL.into()) } else { Ok(0) }
}

/// `munlockall(2)`.
pub fn munlockall(_cur: &mut CurrentTask) -> SysResult {
    Ok(0)
}
