//! `seccomp(2)`, and the same by `prctl(2)`.

use crate::error::SysResult;
use crate::seccomp::{self, Others, Program};
use crate::task::CurrentTask;
use chitin_abi::Errno;
use chitin_abi::seccomp::*;
use chitin_usermem::{UserAddr, UserMemory, UserPtr};

const CAP_SYS_ADMIN: u32 = 21;

/// `seccomp(2)`.
pub fn seccomp(cur: &mut CurrentTask, operation: u32, flags: u32, args: UserAddr) -> SysResult {
    match operation {
        SECCOMP_SET_MODE_STRICT if flags == 0 && args.is_null() => {
            seccomp::set_strict(cur)?;
            Ok(0)
        }
        SECCOMP_SET_MODE_FILTER => set_filter(cur, flags, args),
        SECCOMP_GET_ACTION_AVAIL if flags == 0 => {
            let action = UserPtr::<u32>::new(args).read(&**cur.mm())?;
            if is_available(action) { Ok(0) } else { Err(Errno::EOPNOTSUPP.into()) }
        }
        SECCOMP_GET_NOTIF_SIZES if flags == 0 => {
            let sizes =
                SeccompNotifSizes { seccomp_notif: 80, seccomp_notif_resp: 24, seccomp_data: 64 };
            UserPtr::new(args).write(&**cur.mm(), &sizes)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `prctl(PR_SET_SECCOMP)`.
pub(super) fn set_mode(cur: &mut CurrentTask, mode: u64, program: UserAddr) -> SysResult {
    match u32::try_from(mode) {
        Ok(SECCOMP_MODE_STRICT) => seccomp(cur, SECCOMP_SET_MODE_STRICT, 0, UserAddr::NULL),
        Ok(SECCOMP_MODE_FILTER) => seccomp(cur, SECCOMP_SET_MODE_FILTER, 0, program),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn is_available(action: u32) -> bool {
    matches!(
        action,
        SECCOMP_RET_KILL_PROCESS
            | SECCOMP_RET_KILL_THREAD
            | SECCOMP_RET_TRAP
            | SECCOMP_RET_ERRNO
            | SECCOMP_RET_TRACE
            | SECCOMP_RET_LOG
            | SECCOMP_RET_ALLOW
    )
}

/// `SECCOMP_SET_MODE_FILTER`. What is allowed is not logged anyway, and speculation is the host's
/// affair: two of the flags have no effect.
fn set_filter(cur: &mut CurrentTask, flags: u32, at: UserAddr) -> SysResult {
    const KNOWN: u32 = SECCOMP_FILTER_FLAG_TSYNC
        | SECCOMP_FILTER_FLAG_LOG
        | SECCOMP_FILTER_FLAG_SPEC_ALLOW
        | SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
    if flags & !KNOWN != 0 {
        cur.task().kernel.gap(&format!("seccomp flags {:#x}", flags & !KNOWN));
        return Err(Errno::EINVAL.into());
    }
    let mm = cur.mm().clone();
    let given = UserPtr::<SockFprog>::new(at).read(&*mm)?;
    let len = usize::from(given.len);
    if len == 0 || len > BPF_MAXINSNS {
        return Err(Errno::EINVAL.into());
    }
    let cred = cur.task().cred();
    if !cred.no_new_privs && !cred.has_cap(CAP_SYS_ADMIN) {
        return Err(Errno::EACCES.into());
    }
    let mut code = vec![SockFilter::default(); len];
    mm.read(UserAddr(given.filter), chitin_abi::pod::slice_as_bytes_mut(&mut code))?;
    let follow = flags & SECCOMP_FILTER_FLAG_TSYNC != 0;
    let others = if follow { Others::Follow } else { Others::Keep };
    match seccomp::add(cur, Program::new(code)?, others)? {
        None => Ok(0),
        Some(_) if flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH != 0 => Err(Errno::ESRCH.into()),
        Some(stray) => Ok(u64::try_from(stray).unwrap_or_default()),
    }
}
