//! Memory: `mmap(2)`, `munmap(2)`, `mprotect(2)`, `brk(2)`, `mremap(2)`, `madvise(2)`.

use super::memfd::Seals;
use crate::error::SysResult;
use crate::mm::vma::flag;
use crate::mm::{
    Advice, FilePart, Left, Lock, MapRequest, Moving, PAGE, Placement, Sharing, Span, Toggle, Vma,
};
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
        read: bits & PROT_READ != 0,
        write: bits & PROT_WRITE != 0,
        exec: bits & PROT_EXEC != 0,
    })
}

/// What `MAP_SHARED_VALIDATE` lets pass: `LEGACY_MAP_MASK`, the sizes of huge pages
/// included, and `MAP_FIXED_NOREPLACE`.
const LEGACY_FLAGS: u32 = 0x7_f9ff | MAP_FIXED_NOREPLACE | 0xfc00_0000;

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
    let locked = flags & MAP_LOCKED != 0;
    if locked || cur.mm().locks_future() {
        let limit = cur.task().lock_limit();
        if locked && limit == 0 {
            return Err(Errno::EPERM.into());
        }
        if cur.mm().locked(0..0).0.saturating_add(len) > limit {
            return Err(Errno::EAGAIN.into());
        }
    }
    let sharing = match flags & MAP_TYPE {
        MAP_SHARED_VALIDATE if flags & MAP_ANONYMOUS != 0 => return Err(Errno::EINVAL.into()),
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
                Some(FilePart { file, map, offset, writer, attached: None })
            }
        }
    };
    let limit = cur.task().process.limit(RLIMIT_AS);
    let populate = match flags & (MAP_POPULATE | MAP_LOCKED) {
        0 => cur.mm().future_populate(),
        _ => Populate::Now,
    };
    let grows = flags & MAP_GROWSDOWN != 0 && file.is_none() && sharing == Sharing::Private;
    if grows {
        cur.mm().set_growth(cur.task().memory_limits());
    }
    let parts = flags & MAP_DENYWRITE != 0;
    let flags = if locked { flag::LOCKED } else { 0 }
        | if grows { flag::GROWS } else { 0 }
        | if parts { flag::PARTS } else { 0 };
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

/// `pkey_mprotect(2)`, of a processor without protection keys: no key but -1, which is `mprotect(2)`.
pub fn pkey_mprotect(cur: &mut CurrentTask, addr: u64, len: u64, prot: u32, key: i32) -> SysResult {
    if key == -1 {
        return mprotect(cur, addr, len, prot);
    }
    let both = PROT_GROWSDOWN | PROT_GROWSUP;
    if prot & both == both || !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    match len.checked_next_multiple_of(PAGE).and_then(|len| addr.checked_add(len)) {
        None => Err(Errno::ENOMEM.into()),
        Some(_) => Err(Errno::EINVAL.into()),
    }
}

/// `pkey_alloc(2)`, of a processor without protection keys.
pub fn pkey_alloc(_cur: &mut CurrentTask, _flags: u64, _rights: u64) -> SysResult {
    Err(Errno::EINVAL.into())
}

/// `pkey_free(2)`: no key was ever allocated.
pub fn pkey_free(_cur: &mut CurrentTask, _key: i32) -> SysResult {
    Err(Errno::EINVAL.into())
}

/// `brk(2)`.
pub fn brk(cur: &mut CurrentTask, addr: u64) -> SysResult {
    let limit = cur.task().process.limit(RLIMIT_DATA);
    let mm = cur.mm();
    if mm.locks_future() {
        let more = addr.saturating_sub(mm.brk_range().end);
        if mm.locked(0..0).0.saturating_add(more) > cur.task().lock_limit() {
            return Ok(mm.brk_range().end);
        }
    }
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
    let keeps = flags & MREMAP_DONTUNMAP != 0;
    if keeps && (flags & MREMAP_MAYMOVE == 0 || old_len != new_len || !new.is_multiple_of(PAGE)) {
        return Err(Errno::EINVAL.into());
    }
    let left = if keeps { Left::Mapped } else { Left::Nothing };
    let moving = match () {
        () if flags & MREMAP_FIXED != 0 => Moving::To(new),
        () if flags & MREMAP_MAYMOVE != 0 => Moving::Anywhere,
        () => Moving::Never,
    };
    let limits = cur.task().memory_limits();
    Ok(cur.mm().remap(old, old_len, new_len, moving, left, &limits)?)
}

/// `madvise(2)`. Equal pages are not merged: `MADV_MERGEABLE` is refused, as by a kernel
/// without KSM.
pub fn madvise(cur: &mut CurrentTask, addr: u64, len: u64, advice: u32) -> SysResult {
    let whole = len.checked_next_multiple_of(PAGE).and_then(|len| addr.checked_add(len));
    if !addr.is_multiple_of(PAGE) || whole.is_none() {
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
        MADV_FREE => Advice::Free,
        MADV_POPULATE_READ => {
            cur.mm().populate(addr, len, Vma::readable)?;
            return Ok(0);
        }
        MADV_POPULATE_WRITE => {
            cur.mm().populate(addr, len, |vma| vma.prot.write)?;
            return Ok(0);
        }
        MADV_COLD | MADV_PAGEOUT if cur.mm().locked(addr..addr.saturating_add(len)).1 != 0 => {
            return Err(Errno::EINVAL.into());
        }
        MADV_NORMAL..=MADV_WILLNEED
        | MADV_HUGEPAGE..=MADV_NOHUGEPAGE
        | MADV_COLD..=MADV_PAGEOUT => {
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
    cur.mm().sync(addr, len, flags & MS_INVALIDATE != 0)?;
    Ok(0)
}

/// `mincore(2)`: pages of files count as resident.
pub fn mincore(cur: &mut CurrentTask, addr: u64, len: u64, out: UserAddr) -> SysResult {
    /// Pages that are asked for at once.
    const PIECE: u64 = 4096;
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    let count = len.div_ceil(PAGE);
    if !cur.mm().covers(addr, len) {
        return Err(Errno::ENOMEM.into());
    }
    let mut done = 0;
    while done < count {
        let n = (count - done).min(PIECE);
        let from = addr + done * PAGE;
        let mut set = vec![0_u8; usize::try_from(n).unwrap_or(0)];
        cur.mm().resident(from, n * PAGE, |there| {
            for page in (there.start - from) / PAGE..(there.end - from).div_ceil(PAGE) {
                if let Some(byte) = usize::try_from(page).ok().and_then(|p| set.get_mut(p)) {
                    *byte = 1;
                }
            }
        })?;
        cur.mm().write(out.offset(done)?, &set)?;
        done += n;
    }
    Ok(0)
}

/// Whole pages around a range.
fn page_range(addr: u64, len: u64) -> Result<(u64, u64), Errno> {
    let start = addr & !(PAGE - 1);
    let len = len.checked_add(addr - start).ok_or(Errno::EINVAL)?;
    Ok((start, len.checked_next_multiple_of(PAGE).ok_or(Errno::EINVAL)?))
}

fn lock(cur: &CurrentTask, addr: u64, len: u64, how: Lock) -> SysResult {
    let limit = cur.task().lock_limit();
    if limit == 0 {
        return Err(Errno::EPERM.into());
    }
    let (start, len) = page_range(addr, len)?;
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    let (all, part) = cur.mm().locked(start..end);
    if all.saturating_sub(part).saturating_add(len) > limit {
        return Err(Errno::ENOMEM.into());
    }
    if len != 0 {
        cur.mm().lock(Span::Part(start, len), how)?;
    }
    Ok(0)
}

/// `mlock(2)`: accounted; guest memory is not pinned on the host.
pub fn mlock(cur: &mut CurrentTask, addr: u64, len: u64) -> SysResult {
    lock(cur, addr, len, Lock::NOW)
}

/// `mlock2(2)`.
pub fn mlock2(cur: &mut CurrentTask, addr: u64, len: u64, flags: u32) -> SysResult {
    if flags & !MLOCK_ONFAULT != 0 {
        return Err(Errno::EINVAL.into());
    }
    lock(cur, addr, len, if flags == 0 { Lock::NOW } else { Lock::ON_FAULT })
}

/// `munlock(2)`.
pub fn munlock(cur: &mut CurrentTask, addr: u64, len: u64) -> SysResult {
    let (start, len) = page_range(addr, len)?;
    if len != 0 {
        cur.mm().unlock(Span::Part(start, len))?;
    }
    Ok(0)
}

/// `mlockall(2)`.
pub fn mlockall(cur: &mut CurrentTask, flags: u32) -> SysResult {
    let known = MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT;
    if flags == 0 || flags & !known != 0 || flags == MCL_ONFAULT {
        return Err(Errno::EINVAL.into());
    }
    let limit = cur.task().lock_limit();
    if limit == 0 {
        return Err(Errno::EPERM.into());
    }
    let mm = cur.mm();
    let current = flags & MCL_CURRENT != 0;
    if current && mm.sizes().total > limit {
        return Err(Errno::ENOMEM.into());
    }
    let how = if flags & MCL_ONFAULT != 0 { Lock::ON_FAULT } else { Lock::NOW };
    mm.set_future(if flags & MCL_FUTURE != 0 { how } else { Lock::NONE });
    if current {
        mm.lock(Span::All, how)?;
    }
    Ok(0)
}

/// `munlockall(2)`.
pub fn munlockall(cur: &mut CurrentTask) -> SysResult {
    cur.mm().set_future(Lock::NONE);
    cur.mm().unlock(Span::All)?;
    Ok(0)
}
