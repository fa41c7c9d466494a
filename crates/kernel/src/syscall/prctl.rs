//! `prctl(2)`: what a thread or process may set for itself.

use crate::cred::{Cred, SECBIT_KEEP_CAPS, SECBIT_KEEP_CAPS_LOCKED};
use crate::error::SysResult;
use crate::signal::valid;
use crate::task::CurrentTask;
use chitin_abi::Errno;
use chitin_abi::task::*;
use chitin_usermem::{UserAddr, UserMemory, UserPtr};

const CAP_SETPCAP: u32 = 8;
/// `SECBIT_NO_CAP_AMBIENT_RAISE`.
const SECBIT_NO_CAP_AMBIENT_RAISE: u32 = 64;

/// `prctl(2)`.
pub fn prctl(cur: &mut CurrentTask, option: i32, a: u64, b: u64, c: u64, d: u64) -> SysResult {
    use std::sync::atomic::Ordering::Relaxed;
    let task = cur.task().clone();
    let mm = cur.mm().clone();
    let change = |f: &dyn Fn(&mut Cred)| {
        let mut cred = (*task.cred()).clone();
        f(&mut cred);
        task.set_cred(cred);
    };
    let cred = task.cred();
    match option {
        PR_SET_NAME => {
            let name = mm.read_cstr(UserAddr(a), 15).or_else(|e| match e {
                Errno::ENAMETOOLONG => {
                    let mut name = vec![0; 15];
                    mm.read(UserAddr(a), &mut name).map(|()| name)
                }
                other => Err(other),
            })?;
            *task.comm.lock() = name;
        }
        PR_GET_NAME => {
            let mut name = task.comm.lock().clone();
            name.resize(16, 0);
            mm.write(UserAddr(a), &name)?;
        }
        PR_SET_PDEATHSIG => {
            let signo = i32::try_from(a).ok().filter(|&n| n == 0 || valid(n));
            task.parent_death_signal.store(signo.ok_or(Errno::EINVAL)?, Relaxed);
        }
        PR_GET_PDEATHSIG => {
            let signo = task.parent_death_signal.load(Relaxed);
            UserPtr::<i32>::new(UserAddr(a)).write(&*mm, &signo)?;
        }
        PR_GET_DUMPABLE => return Ok(mm.is_dumpable().into()),
        PR_SET_DUMPABLE if a <= 1 => mm.set_dumpable(a == 1),
        PR_GET_KEEPCAPS => return Ok(u64::from(cred.securebits & SECBIT_KEEP_CAPS != 0)),
        PR_SET_KEEPCAPS if a > 1 => return Err(Errno::EINVAL.into()),
        PR_SET_KEEPCAPS if cred.securebits & SECBIT_KEEP_CAPS_LOCKED != 0 => {
            return Err(Errno::EPERM.into());
        }
        PR_SET_KEEPCAPS if a == 1 => change(&|c| c.securebits |= SECBIT_KEEP_CAPS),
        PR_SET_KEEPCAPS => change(&|c| c.securebits &= !SECBIT_KEEP_CAPS),
        PR_SET_NO_NEW_PRIVS if (a, b, c, d) == (1, 0, 0, 0) => change(&|c| c.no_new_privs = true),
        PR_GET_NO_NEW_PRIVS if (a, b, c, d) == (0, 0, 0, 0) => {
            return Ok(u64::from(cred.no_new_privs));
        }
        PR_CAPBSET_READ if a <= 40 => {
            return Ok(u64::from(cred.bounding.has(u32::try_from(a).unwrap_or(64))));
        }
        PR_CAPBSET_DROP if a <= 40 => {
            if !cred.has_cap(CAP_SETPCAP) {
                return Err(Errno::EPERM.into());
            }
            change(&|c| c.bounding.0 &= !(1 << a));
        }
        PR_GET_SECUREBITS => return Ok(u64::from(cred.securebits)),
        PR_SET_SECUREBITS => {
            let bits = secure_bits(&cred, a)?;
            change(&|c| c.securebits = bits);
        }
        PR_SET_CHILD_SUBREAPER => task.process.family.lock().subreaper = a != 0,
        PR_GET_CHILD_SUBREAPER => {
            let on = i32::from(task.process.family.lock().subreaper);
            UserPtr::<i32>::new(UserAddr(a)).write(&*mm, &on)?;
        }
        PR_SET_TIMERSLACK => task.traits.lock().set_slack(a.cast_signed()),
        PR_GET_TIMERSLACK => return Ok(task.traits.lock().slack),
        // Time is told by statistics only.
        PR_GET_TIMING => return Ok(0),
        PR_SET_TIMING if a == 0 => {}
        PR_SET_THP_DISABLE if (b, c, d) == (0, 0, 0) => {
            task.process.no_huge_pages.store(a != 0, Relaxed);
        }
        PR_GET_THP_DISABLE if (a, b, c, d) == (0, 0, 0, 0) => {
            return Ok(task.process.no_huge_pages.load(Relaxed).into());
        }
        PR_SET_THP_DISABLE | PR_GET_THP_DISABLE => return Err(Errno::EINVAL.into()),
        // That the counter traps would be the business of the host's thread.
        PR_SET_TSC if a == PR_TSC_ENABLE => {}
        PR_GET_TSC => UserPtr::<i32>::new(UserAddr(a)).write(&*mm, &1)?,
        PR_GET_TID_ADDRESS => {
            let at = task.exit_words().clear_child_tid.0;
            UserPtr::<u64>::new(UserAddr(a)).write(&*mm, &at)?;
        }
        PR_GET_SECCOMP => return Ok(task.seccomp.mode().into()),
        PR_SET_SECCOMP => return super::seccomp::set_mode(cur, a, UserAddr(b)),
        PR_CAP_AMBIENT if (c, d) == (0, 0) => return ambient(cur, a, b),
        PR_CAP_AMBIENT => return Err(Errno::EINVAL.into()),
        other => {
            task.kernel.gap(&format!("prctl option {other}"));
            return Err(Errno::EINVAL.into());
        }
    }
    Ok(0)
}

/// `prctl(PR_CAP_AMBIENT)`.
fn ambient(cur: &CurrentTask, command: u64, cap: u64) -> SysResult {
    const IS_SET: u64 = 1;
    const RAISE: u64 = 2;
    const LOWER: u64 = 3;
    const CLEAR_ALL: u64 = 4;
    let task = cur.task();
    let mut cred = (*task.cred()).clone();
    let bit = match (command, cap) {
        (CLEAR_ALL, 0) => u64::MAX,
        (IS_SET | RAISE | LOWER, 0..=40) => 1 << cap,
        _ => return Err(Errno::EINVAL.into()),
    };
    match command {
        IS_SET => return Ok(u64::from(cred.ambient.0 & bit != 0)),
        RAISE
            if cred.permitted.0 & cred.inheritable.0 & bit == 0
                || cred.securebits & SECBIT_NO_CAP_AMBIENT_RAISE != 0 =>
        {
            return Err(Errno::EPERM.into());
        }
        RAISE => cred.ambient.0 |= bit,
        _ => cred.ambient.0 &= !bit,
    }
    task.set_cred(cred);
    Ok(0)
}

/// The bits that `prctl(PR_SET_SECUREBITS)` leaves: each even one has its lock beside it.
fn secure_bits(cred: &Cred, wanted: u64) -> Result<u32, Errno> {
    const ALL: u32 = 0xff;
    const LOCKS: u32 = 0xaa;
    let wanted = u32::try_from(wanted).ok().filter(|w| w & !ALL == 0).ok_or(Errno::EPERM)?;
    let locked = cred.securebits & LOCKS;
    let changed = wanted ^ cred.securebits;
    if (locked >> 1) & changed != 0 || locked & !wanted != 0 || !cred.has_cap(CAP_SETPCAP) {
        return Err(Errno::EPERM);
    }
    Ok(wanted)
}
