//! Shared memory of System V: `shmget(2)`, `shmat(2)`, `shmctl(2)`.

use crate::error::SysResult;
use crate::ipc::{Room, ShmStat, limit};
use crate::mm::{FilePart, MapRequest, PAGE, Placement, Sharing};
use crate::task::{CurrentTask, Task};
use crate::vfs::open::resize;
use crate::vfs::{File, OpenRequest};
use chitin_abi::Errno;
use chitin_abi::fs::{O_LARGEFILE, O_RDWR};
use chitin_abi::ipc::*;
use chitin_abi::task::RLIMIT_AS;
use chitin_platform::{Populate, Prot};
use chitin_usermem::{UserAddr, UserPtr};
use std::sync::Arc;

/// `shmget(2)`.
pub fn shmget(cur: &mut CurrentTask, key: i32, size: u64, flags: u32) -> SysResult {
    let task = cur.task();
    let (shm, cred, pid) = (&task.kernel.ipc.shm, task.cred(), task.process.pid);
    let id = match shm.look_up(key, size, flags, &cred)? {
        Some(id) => id,
        None if flags & SHM_HUGETLB != 0 => {
            task.kernel.gap("huge pages (SHM_HUGETLB)");
            return Err(Errno::ENOMEM.into());
        }
        None => shm.add(room(task, key, size)?, key, flags, &cred, pid)?,
    };
    Ok(u64::from(id.unsigned_abs()))
}

/// The memory of a new segment.
fn room(task: &Arc<Task>, key: i32, size: u64) -> Result<Room, Errno> {
    let name = format!("SYSV{key:08x}");
    let path = task.kernel.filesystems.memory_file(task, name.as_bytes(), 0o777)?;
    let inode = path.dentry.inode().ok_or(Errno::ENOENT)?;
    resize(task, &inode, size).map_err(|_| Errno::ENOMEM)?;
    let flags = O_RDWR | O_LARGEFILE;
    let ops = inode.open(&OpenRequest { task, flags })?;
    let file = File::new(ops, Some(path), flags);
    let map = file.ops().mappable().ok_or(Errno::ENOSYS)?;
    Ok(Room { file, map, size })
}

/// `shmat(2)`.
pub fn shmat(cur: &mut CurrentTask, id: i32, addr: u64, flags: u32) -> SysResult {
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let replaces = flags & SHM_REMAP != 0;
    let at = match addr {
        addr if addr.is_multiple_of(PAGE) => addr,
        addr if flags & SHM_RND != 0 => addr - addr % PAGE,
        _ => return Err(Errno::EINVAL.into()),
    };
    // An address that is rounded down to 0 is one that was asked for.
    let place = match () {
        () if at == 0 && replaces => return Err(Errno::EINVAL.into()),
        () if at == 0 => Placement::Hint(0),
        () if replaces => Placement::Fixed(at),
        () => Placement::FixedNoReplace(at),
    };
    let prot = Prot { read: true, write: flags & SHM_RDONLY == 0, exec: flags & SHM_EXEC != 0 };
    let mode = 0o444 | if prot.write { 0o222 } else { 0 } | if prot.exec { 0o111 } else { 0 };
    let task = cur.task();
    let (cred, pid) = (task.cred(), task.process.pid);
    let (room, attached) = task.kernel.ipc.shm.attach(id, mode, &cred, pid)?;
    let (Room { file, map, size }, limit) = (room, task.process.limit(RLIMIT_AS));
    let request = MapRequest {
        place,
        len: size,
        prot,
        may_write: prot.write,
        sharing: Sharing::Shared,
        file: Some(FilePart { file, map, offset: 0, writer: None, attached: Some(attached) }),
        populate: Populate::Lazy,
        flags: 0,
    };
    Ok(cur.mm().map(&request, limit).map_err(|e| match e {
        Errno::EEXIST => Errno::EINVAL,
        other => other,
    })?)
}

/// `shmdt(2)`.
pub fn shmdt(cur: &mut CurrentTask, addr: u64) -> SysResult {
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    let (id, ranges) = cur.mm().attached_at(addr).ok_or(Errno::EINVAL)?;
    for range in ranges {
        cur.mm().unmap(range.start, range.end - range.start)?;
    }
    let task = cur.task();
    task.kernel.ipc.shm.detached_by(id, task.process.pid);
    Ok(0)
}

/// `shmctl(2)`.
pub fn shmctl(cur: &mut CurrentTask, id: i32, cmd: i32, buf: UserAddr) -> SysResult {
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = cur.task();
    let (shm, cred) = (&task.kernel.ipc.shm, task.cred());
    let tell = |stat: &ShmStat| UserPtr::new(buf).write(&**cur.mm(), &stat.ds);
    match cmd {
        IPC_INFO => {
            let info = Shminfo {
                shmmax: limit::SHMMAX,
                shmmin: 1,
                shmmni: limit::SHMMNI as u64,
                shmseg: limit::SHMMNI as u64,
                shmall: limit::SHMMAX,
                ..Shminfo::default()
            };
            UserPtr::new(buf).write(&**cur.mm(), &info)?;
            return Ok(shm.sums().1);
        }
        SHM_INFO => {
            let (used, highest, pages) = shm.sums();
            let info = ShmInfo {
                used_ids: i32::try_from(used).unwrap_or(i32::MAX),
                shm_tot: pages,
                shm_rss: shm.all().iter().map(|s| s.resident / PAGE).sum(),
                ..ShmInfo::default()
            };
            UserPtr::new(buf).write(&**cur.mm(), &info)?;
            return Ok(highest);
        }
        IPC_STAT => tell(&shm.stat(id, &cred)?)?,
        SHM_STAT | SHM_STAT_ANY => {
            let stat = shm.stat_at(id, (cmd == SHM_STAT).then_some(&*cred))?;
            tell(&stat)?;
            return Ok(u64::from(stat.id.unsigned_abs()));
        }
        IPC_SET => {
            let to = UserPtr::<ShmidDs>::new(buf).read(&**cur.mm())?;
            shm.set(id, &to.shm_perm, &cred)?;
        }
        SHM_LOCK | SHM_UNLOCK => shm.lock(id, cmd == SHM_LOCK, &cred, task.lock_limit())?,
        IPC_RMID => shm.remove(id, &cred)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
