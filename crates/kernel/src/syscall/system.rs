//! Credentials, limits and facts of the system: `getuid(2)`, `setresuid(2)`,
//! `prlimit(2)`, `uname(2)`, `sysinfo(2)`, `getrandom(2)`, scheduling.

use crate::cred::{Cred, SECBIT_KEEP_CAPS};
use crate::error::SysResult;
use crate::task::{CurrentTask, Process, Usage};
use chitin_abi::task::*;
use chitin_abi::{Errno, Pod};
use chitin_usermem::{UserAddr, UserMemory, UserPtr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SYS_RESOURCE: u32 = 24;
const CAP_SYS_ADMIN: u32 = 21;
/// An argument that leaves an id as it is.
const KEEP: u32 = u32::MAX;

macro_rules! id {
    ($(#[$doc:meta] $name:ident: $field:ident;)*) => {$(
        #[$doc]
        pub fn $name(cur: &mut CurrentTask) -> SysResult {
            Ok(u64::from(cur.task().cred().$field))
        }
    )*};
}

id! {
    /// `getuid(2)`.
    getuid: uid;
    /// `geteuid(2)`.
    geteuid: euid;
    /// `getgid(2)`.
    getgid: gid;
    /// `getegid(2)`.
    getegid: egid;
}

/// What of a personality is a number.
const PER_MASK: u32 = 0xff;
/// A machine of 32 bits, in name.
const PER_LINUX32: u32 = 8;
/// `SECBIT_NO_SETUID_FIXUP`.
const SECBIT_NO_SETUID_FIXUP: u32 = 4;
/// `CAP_CHOWN`, `DAC_OVERRIDE`, `DAC_READ_SEARCH`, `FOWNER`, `FSETID`, `LINUX_IMMUTABLE`, `MKNOD`
/// and `MAC_OVERRIDE`.
const FS_CAPS: u64 = 0x1f | 1 << 9 | 1 << 27 | 1 << 32;

fn change(cur: &CurrentTask, f: impl FnOnce(&mut Cred) -> Result<(), Errno>) -> SysResult {
    let task = cur.task();
    let old = task.cred();
    let mut cred = (*old).clone();
    f(&mut cred)?;
    settle_caps(&old, &mut cred);
    task.set_cred(cred);
    Ok(0)
}

/// What changing users does to capabilities (`capabilities(7)`).
fn settle_caps(old: &Cred, new: &mut Cred) {
    if old.securebits & SECBIT_NO_SETUID_FIXUP != 0 {
        return;
    }
    let had_root = [old.uid, old.euid, old.suid].contains(&0);
    let has_root = [new.uid, new.euid, new.suid].contains(&0);
    if had_root && !has_root {
        if new.securebits & SECBIT_KEEP_CAPS == 0 {
            new.permitted.0 = 0;
            new.effective.0 = 0;
        }
        new.ambient.0 = 0;
    }
    match (old.euid == 0, new.euid == 0) {
        (true, false) => new.effective.0 = 0,
        (false, true) => new.effective = new.permitted,
        _ => {}
    }
}

/// `setresuid(2)`.
pub fn setresuid(cur: &mut CurrentTask, real: u32, effective: u32, saved: u32) -> SysResult {
    change(cur, |c| {
        let known = [c.uid, c.euid, c.suid];
        let may = |id: u32| id == KEEP || known.contains(&id);
        if !c.has_cap(CAP_SETUID) && ![real, effective, saved].into_iter().all(may) {
            return Err(Errno::EPERM);
        }
        let set = |to: &mut u32, id: u32| {
            if id != KEEP {
                *to = id;
            }
        };
        set(&mut c.uid, real);
        set(&mut c.euid, effective);
        set(&mut c.suid, saved);
        c.fsuid = c.euid;
        Ok(())
    })
}

/// `setresgid(2)`.
pub fn setresgid(cur: &mut CurrentTask, real: u32, effective: u32, saved: u32) -> SysResult {
    change(cur, |c| {
        let known = [c.gid, c.egid, c.sgid];
        let may = |id: u32| id == KEEP || known.contains(&id);
        if !c.has_cap(CAP_SETGID) && ![real, effective, saved].into_iter().all(may) {
            return Err(Errno::EPERM);
        }
        let set = |to: &mut u32, id: u32| {
            if id != KEEP {
                *to = id;
            }
        };
        set(&mut c.gid, real);
        set(&mut c.egid, effective);
        set(&mut c.sgid, saved);
        c.fsgid = c.egid;
        Ok(())
    })
}

/// `setreuid(2)`.
pub fn setreuid(cur: &mut CurrentTask, real: u32, effective: u32) -> SysResult {
    let c = cur.task().cred();
    let saved = if real != KEEP || effective != KEEP && effective != c.uid {
        if effective == KEEP { c.euid } else { effective }
    } else {
        KEEP
    };
    // The saved id follows without a right of its own.
    let privileged = c.has_cap(CAP_SETUID);
    let may_real = real == KEEP || [c.uid, c.euid].contains(&real);
    if !privileged && !may_real {
        return Err(Errno::EPERM.into());
    }
    setresuid(cur, real, effective, saved)
}

/// `setregid(2)`.
pub fn setregid(cur: &mut CurrentTask, real: u32, effective: u32) -> SysResult {
    let c = cur.task().cred();
    let saved = if real != KEEP || effective != KEEP && effective != c.gid {
        if effective == KEEP { c.egid } else { effective }
    } else {
        KEEP
    };
    let may_real = real == KEEP || [c.gid, c.egid].contains(&real);
    if !c.has_cap(CAP_SETGID) && !may_real {
        return Err(Errno::EPERM.into());
    }
    setresgid(cur, real, effective, saved)
}

/// `setuid(2)`.
pub fn setuid(cur: &mut CurrentTask, uid: u32) -> SysResult {
    if uid == KEEP {
        return Err(Errno::EINVAL.into());
    }
    match cur.task().cred().has_cap(CAP_SETUID) {
        true => setresuid(cur, uid, uid, uid),
        false => setresuid(cur, KEEP, uid, KEEP),
    }
}

/// `setgid(2)`.
pub fn setgid(cur: &mut CurrentTask, gid: u32) -> SysResult {
    if gid == KEEP {
        return Err(Errno::EINVAL.into());
    }
    match cur.task().cred().has_cap(CAP_SETGID) {
        true => setresgid(cur, gid, gid, gid),
        false => setresgid(cur, KEEP, gid, KEEP),
    }
}

/// `getresuid(2)`.
pub fn getresuid(
    cur: &mut CurrentTask,
    real: UserPtr<u32>,
    effective: UserPtr<u32>,
    saved: UserPtr<u32>,
) -> SysResult {
    let c = cur.task().cred();
    real.write(&**cur.mm(), &c.uid)?;
    effective.write(&**cur.mm(), &c.euid)?;
    saved.write(&**cur.mm(), &c.suid)?;
    Ok(0)
}

/// `getresgid(2)`.
pub fn getresgid(
    cur: &mut CurrentTask,
    real: UserPtr<u32>,
    effective: UserPtr<u32>,
    saved: UserPtr<u32>,
) -> SysResult {
    let c = cur.task().cred();
    real.write(&**cur.mm(), &c.gid)?;
    effective.write(&**cur.mm(), &c.egid)?;
    saved.write(&**cur.mm(), &c.sgid)?;
    Ok(0)
}

/// `setfsuid(2)`: returns the old id, changed or not.
pub fn setfsuid(cur: &mut CurrentTask, uid: u32) -> SysResult {
    let old = cur.task().cred();
    let may = old.has_cap(CAP_SETUID) || [old.uid, old.euid, old.suid, old.fsuid].contains(&uid);
    if may && uid != KEEP {
        change(cur, |c| {
            // The privileges over files follow (`capabilities(7)`).
            if c.securebits & SECBIT_NO_SETUID_FIXUP == 0 {
                match (c.fsuid == 0, uid == 0) {
                    (true, false) => c.effective.0 &= !FS_CAPS,
                    (false, true) => c.effective.0 |= c.permitted.0 & FS_CAPS,
                    _ => {}
                }
            }
            c.fsuid = uid;
            Ok(())
        })?;
    }
    Ok(u64::from(old.fsuid))
}

/// `setfsgid(2)`.
pub fn setfsgid(cur: &mut CurrentTask, gid: u32) -> SysResult {
    let old = cur.task().cred();
    let may = old.has_cap(CAP_SETGID) || [old.gid, old.egid, old.sgid, old.fsgid].contains(&gid);
    if may && gid != KEEP {
        change(cur, |c| {
            c.fsgid = gid;
            Ok(())
        })?;
    }
    Ok(u64::from(old.fsgid))
}

/// `getgroups(2)`.
pub fn getgroups(cur: &mut CurrentTask, size: i32, list: UserAddr) -> SysResult {
    let groups = cur.task().cred().groups.clone();
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    if size != 0 {
        if size < groups.len() {
            return Err(Errno::EINVAL.into());
        }
        cur.mm().write(list, chitin_abi::slice_as_bytes(&groups))?;
    }
    Ok(groups.len() as u64)
}

/// `setgroups(2)`.
pub fn setgroups(cur: &mut CurrentTask, size: usize, list: UserAddr) -> SysResult {
    const NGROUPS_MAX: usize = 65536;
    if !cur.task().cred().has_cap(CAP_SETGID) {
        return Err(Errno::EPERM.into());
    }
    if size > NGROUPS_MAX {
        return Err(Errno::EINVAL.into());
    }
    if size > 0 && chitin_hostsys::heap::is_short() {
        return Err(Errno::ENOMEM.into());
    }
    let mut groups = vec![0_u32; size];
    cur.mm().read(list, chitin_abi::slice_as_bytes_mut(&mut groups))?;
    change(cur, |c| {
        c.groups = groups;
        Ok(())
    })
}

const CAP_VERSION_1: u32 = 0x1998_0330;
const CAP_VERSION_3: u32 = 0x2008_0522;

/// Number of words of each set in a version of the capability calls.
fn cap_words(cur: &CurrentTask, header: UserPtr<CapHeader>) -> Result<(usize, i32), Errno> {
    let h = header.read(&**cur.mm())?;
    match h.version {
        CAP_VERSION_1 => Ok((1, h.pid)),
        0x2007_1026 | CAP_VERSION_3 => Ok((2, h.pid)),
        _ => {
            header.write(&**cur.mm(), &CapHeader { version: CAP_VERSION_3, ..h })?;
            Err(Errno::EINVAL)
        }
    }
}

/// `capget(2)`.
pub fn capget(
    cur: &mut CurrentTask,
    header: UserPtr<CapHeader>,
    data: UserPtr<CapData>,
) -> SysResult {
    let (words, pid) = match cap_words(cur, header) {
        Err(Errno::EINVAL) if data.is_null() => return Ok(0),
        other => other?,
    };
    let task = match pid {
        ..0 => return Err(Errno::EINVAL.into()),
        0 => cur.task().clone(),
        pid => cur.task().kernel.pids.get(pid).ok_or(Errno::ESRCH)?,
    };
    let c = task.cred();
    for i in 0..words {
        let word = |set: u64| (set >> (32 * i) & 0xffff_ffff) as u32;
        let value = CapData {
            effective: word(c.effective.0),
            permitted: word(c.permitted.0),
            inheritable: word(c.inheritable.0),
        };
        data.at(i as u64)?.write(&**cur.mm(), &value)?;
    }
    Ok(0)
}

/// `capset(2)`.
pub fn capset(
    cur: &mut CurrentTask,
    header: UserPtr<CapHeader>,
    data: UserPtr<CapData>,
) -> SysResult {
    let (words, pid) = cap_words(cur, header)?;
    if pid != 0 && pid != cur.task().tid() {
        return Err(Errno::EPERM.into());
    }
    let (mut effective, mut permitted, mut inheritable) = (0, 0, 0);
    for i in 0..words {
        let value = data.at(i as u64)?.read(&**cur.mm())?;
        effective |= u64::from(value.effective) << (32 * i);
        permitted |= u64::from(value.permitted) << (32 * i);
        inheritable |= u64::from(value.inheritable) << (32 * i);
    }
    let old = cur.task().cred();
    const CAP_SETPCAP: u32 = 8;
    let more = inheritable & !(old.inheritable.0 | old.permitted.0);
    if permitted & !old.permitted.0 != 0
        || effective & !permitted != 0
        || more != 0 && !old.has_cap(CAP_SETPCAP)
        || inheritable & !(old.inheritable.0 | old.bounding.0) != 0
    {
        return Err(Errno::EPERM.into());
    }
    let mut cred = (*old).clone();
    (cred.effective.0, cred.permitted.0, cred.inheritable.0) = (effective, permitted, inheritable);
    cred.ambient.0 &= permitted & inheritable;
    cur.task().set_cred(cred);
    Ok(0)
}

/// `prlimit64(2)`.
pub fn prlimit64(
    cur: &mut CurrentTask,
    pid: i32,
    resource: usize,
    new: UserPtr<Rlimit>,
    old: UserPtr<Rlimit>,
) -> SysResult {
    let target: Arc<Process> = match pid {
        0 => cur.task().process.clone(),
        pid => cur.task().kernel.pids.get(pid).ok_or(Errno::ESRCH)?.process.clone(),
    };
    let wanted = new.read_opt(&**cur.mm())?;
    let privileged = cur.task().cred().has_cap(CAP_SYS_RESOURCE);
    let before = {
        let mut limits = target.limits.lock();
        let slot = limits.get_mut(resource).ok_or(Errno::EINVAL)?;
        let before = *slot;
        if let Some(wanted) = wanted {
            if wanted.cur > wanted.max {
                return Err(Errno::EINVAL.into());
            }
            if wanted.max > before.max && !privileged {
                return Err(Errno::EPERM.into());
            }
            if resource == RLIMIT_NOFILE && wanted.max > cur.task().kernel.settings.nr_open.get() {
                return Err(Errno::EPERM.into());
            }
            *slot = wanted;
        }
        before
    };
    if resource == RLIMIT_CPU && wanted.is_some() {
        crate::time::cpu_limit::CpuLimit::watch(&target, &cur.task().kernel);
    }
    if wanted.is_some() && [RLIMIT_STACK, RLIMIT_AS, RLIMIT_MEMLOCK].contains(&resource) {
        target.tasks().iter().for_each(|task| task.limit_growth());
    }
    old.write_opt(&**cur.mm(), &before)?;
    Ok(0)
}

/// `getrlimit(2)`.
pub fn getrlimit(cur: &mut CurrentTask, resource: usize, out: UserPtr<Rlimit>) -> SysResult {
    if out.is_null() {
        return Err(Errno::EFAULT.into());
    }
    prlimit64(cur, 0, resource, UserPtr::new(UserAddr::NULL), out)
}

/// `setrlimit(2)`.
pub fn setrlimit(cur: &mut CurrentTask, resource: usize, new: UserPtr<Rlimit>) -> SysResult {
    if new.is_null() {
        return Err(Errno::EFAULT.into());
    }
    prlimit64(cur, 0, resource, new, UserPtr::new(UserAddr::NULL))
}

/// `getrusage(2)`: CPU time of the process; other resources are not counted.
pub fn getrusage(cur: &mut CurrentTask, who: i32, out: UserPtr<Rusage>) -> SysResult {
    let process = &cur.task().process;
    let usage = match who {
        RUSAGE_SELF | RUSAGE_THREAD => {
            let peak = process.peak_memory.load(Ordering::Relaxed);
            let (user, system) = process.cpu_times();
            Usage { user, system, max_rss: peak.max(cur.mm().sizes().anonymous >> 10) }
        }
        RUSAGE_CHILDREN => *process.children_usage.lock(),
        _ => return Err(Errno::EINVAL.into()),
    };
    out.write(&**cur.mm(), &rusage(usage))?;
    Ok(0)
}

/// What is known of consumed resources, as calls tell it.
pub(super) fn rusage(usage: Usage) -> Rusage {
    let mut out = Rusage::zeroed();
    for (to, nanos) in [(&mut out.ru_utime, usage.user), (&mut out.ru_stime, usage.system)] {
        let time = super::time::timespec(nanos);
        (to.tv_sec, to.tv_usec) = (time.tv_sec, time.tv_nsec / 1000);
    }
    out.ru_maxrss = usage.max_rss.cast_signed();
    out
}

fn field(text: &[u8]) -> [u8; 65] {
    let mut out = [0; 65];
    out.iter_mut().take(64).zip(text).for_each(|(to, from)| *to = *from);
    out
}

/// `uname(2)`.
pub fn uname(cur: &mut CurrentTask, out: UserPtr<Utsname>) -> SysResult {
    let names = cur.task().kernel.names.read().clone();
    let linux32 = cur.task().traits.lock().persona & PER_MASK == PER_LINUX32;
    let value = Utsname {
        sysname: field(b"Linux"),
        nodename: field(&names.0),
        release: field(crate::RELEASE.as_bytes()),
        version: field(crate::VERSION.as_bytes()),
        machine: field(if linux32 { b"i686" } else { b"x86_64" }),
        domainname: field(&names.1),
    };
    out.write(&**cur.mm(), &value)?;
    Ok(0)
}

fn set_name(cur: &CurrentTask, name: UserAddr, len: i32) -> Result<Vec<u8>, Errno> {
    if !cur.task().cred().has_cap(CAP_SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let len = usize::try_from(len).ok().filter(|&n| n <= 64).ok_or(Errno::EINVAL)?;
    let mut text = vec![0; len];
    cur.mm().read(name, &mut text)?;
    Ok(text)
}

/// `sethostname(2)`.
pub fn sethostname(cur: &mut CurrentTask, name: UserAddr, len: i32) -> SysResult {
    let name = set_name(cur, name, len)?;
    cur.task().kernel.names.write().0 = name;
    Ok(0)
}

/// `setdomainname(2)`.
pub fn setdomainname(cur: &mut CurrentTask, name: UserAddr, len: i32) -> SysResult {
    let name = set_name(cur, name, len)?;
    cur.task().kernel.names.write().1 = name;
    Ok(0)
}

/// `sysinfo(2)`.
pub fn sysinfo(cur: &mut CurrentTask, out: UserPtr<Sysinfo>) -> SysResult {
    let kernel = &cur.task().kernel;
    let (total, free) = kernel.memory_sizes();
    let mut info = Sysinfo::zeroed();
    let up = chitin_executor::Executor::now().saturating_sub(kernel.started) / 1_000_000_000;
    info.uptime = up.cast_signed();
    (info.totalram, info.freeram, info.mem_unit) = (total, free, 1);
    info.procs = u16::try_from(kernel.pids.count()).unwrap_or(u16::MAX);
    out.write(&**cur.mm(), &info)?;
    Ok(0)
}

/// `getrandom(2)`.
pub fn getrandom(cur: &mut CurrentTask, buf: UserAddr, len: usize, flags: u32) -> SysResult {
    const GRND_RANDOM: u32 = 2;
    const GRND_INSECURE: u32 = 4;
    if flags & !7 != 0 || flags & (GRND_RANDOM | GRND_INSECURE) == GRND_RANDOM | GRND_INSECURE {
        return Err(Errno::EINVAL.into());
    }
    let len = len.min(super::rw::RW_MAX);
    let mut piece = [0; 4096];
    let mut done = 0;
    while done < len {
        let n = (len - done).min(piece.len());
        let bytes = piece.get_mut(..n).unwrap_or_default();
        chitin_hostsys::random::fill(bytes);
        match cur.mm().write(buf.offset(done as u64)?, bytes) {
            Ok(()) => done += n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(done as u64)
}

/// `getcpu(2)`: one on which the thread may run.
pub fn getcpu(cur: &mut CurrentTask, cpu: UserPtr<u32>, node: UserPtr<u32>) -> SysResult {
    let first = cur.task().scheduling.lock().cpu();
    cpu.write_opt(&**cur.mm(), &u32::try_from(first).unwrap_or(0))?;
    node.write_opt(&**cur.mm(), &0)?;
    Ok(0)
}

/// `personality(2)`.
pub fn personality(cur: &mut CurrentTask, persona: u32) -> SysResult {
    const ASK: u32 = u32::MAX;
    let mut traits = cur.task().traits.lock();
    let before = traits.persona;
    if persona != ASK {
        traits.persona = persona;
    }
    Ok(before.into())
}

/// `sched_yield(2)`.
pub async fn sched_yield(_cur: &mut CurrentTask) -> SysResult {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
    Ok(0)
}
