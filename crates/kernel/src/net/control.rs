//! Control messages (`cmsg(3)`): what a sender gives ([`Outgoing`]), what a receiver
//! gets ([`Control`]).

use super::{Rights, sender_cred};
use crate::fd::FdEntry;
use crate::task::CurrentTask;
use chitin_abi::socket::*;
use chitin_abi::task::RLIMIT_NOFILE;
use chitin_abi::{Errno, Pod};
use chitin_usermem::{UserAddr, UserMemory};
use std::sync::Arc;

/// `CAP_SETGID`, `CAP_SETUID`, `CAP_SYS_ADMIN`.
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SYS_ADMIN: u32 = 21;
/// Most bytes of control messages (`net.core.optmem_max`).
const OPTMEM_MAX: u64 = 131_072;
const HEADER: usize = size_of::<Cmsghdr>();

/// What goes with the bytes of a message.
#[derive(Default)]
pub struct Outgoing {
    /// Descriptors.
    pub rights: Option<Rights>,
    /// Sender as it names itself.
    pub cred: Option<Ucred>,
    /// Of the levels of protocols: level, type, value.
    pub extra: Vec<(i32, i32, i32)>,
}

/// What comes with the bytes of a message.
#[derive(Default)]
pub struct Control {
    /// Descriptors.
    pub files: Vec<Arc<crate::vfs::File>>,
    /// The message that owned them; they are in flight until it is dropped.
    pub rights: Option<Rights>,
    /// Sender, if asked for.
    pub cred: Option<Ucred>,
    /// Others: level, type, data.
    pub extra: Vec<(i32, i32, Vec<u8>)>,
}

fn aligned(len: usize) -> usize {
    len.next_multiple_of(8)
}

fn files_of(cur: &CurrentTask, data: &[u8]) -> Result<Vec<Arc<crate::vfs::File>>, Errno> {
    if data.len() / 4 > SCM_MAX_FD {
        return Err(Errno::EINVAL);
    }
    data.chunks_exact(4).map(|fd| cur.file(i32::from_bytes(fd).ok_or(Errno::EBADF)?)).collect()
}

/// Whether a task may say that it is `cred` (`unix(7)`).
fn may_claim(cur: &CurrentTask, claim: Ucred) -> Result<(), Errno> {
    let cred = cur.task().cred();
    let pid = claim.pid == cur.task().process.pid || cred.has_cap(CAP_SYS_ADMIN);
    let uid = [cred.uid, cred.euid, cred.suid].contains(&claim.uid) || cred.has_cap(CAP_SETUID);
    let gid = [cred.gid, cred.egid, cred.sgid].contains(&claim.gid) || cred.has_cap(CAP_SETGID);
    if pid && uid && gid { Ok(()) } else { Err(Errno::EPERM) }
}

/// Reads the control messages of `sendmsg(2)`.
pub fn parse_control(cur: &CurrentTask, at: UserAddr, len: u64) -> Result<Outgoing, Errno> {
    let mut out = Outgoing::default();
    if at.is_null() || len == 0 {
        return Ok(out);
    }
    if len > OPTMEM_MAX {
        return Err(Errno::ENOBUFS);
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| Errno::ENOBUFS)?];
    cur.mm().read(at, &mut bytes)?;
    let mut files = Vec::new();
    let mut rest = &*bytes;
    while let Some(header) = Cmsghdr::from_bytes(rest) {
        let len = usize::try_from(header.len).map_err(|_| Errno::EINVAL)?;
        let data = rest.get(HEADER..len).ok_or(Errno::EINVAL)?;
        match (header.level, header.kind) {
            (SOL_SOCKET, SCM_RIGHTS) => {
                files.extend(files_of(cur, data)?);
                if files.len() > SCM_MAX_FD {
                    return Err(Errno::EINVAL);
                }
            }
            (SOL_SOCKET, SCM_CREDENTIALS) => {
                let claim = Ucred::from_bytes(data).filter(|_| data.len() == 12);
                let claim = claim.ok_or(Errno::EINVAL)?;
                may_claim(cur, claim)?;
                out.cred = Some(claim);
            }
            (SOL_SOCKET, _) => return Err(Errno::EINVAL),
            (SOL_IP | SOL_IPV6, kind) => {
                if let Some(value) = i32::from_bytes(data) {
                    out.extra.push((header.level, kind, value));
                }
            }
            // Of other protocols: nothing here heeds them.
            _ => {}
        }
        rest = rest.get(aligned(len)..).unwrap_or_default();
    }
    if !files.is_empty() {
        let limit = usize::try_from(cur.task().process.limit(RLIMIT_NOFILE)).unwrap_or(usize::MAX);
        let inflight = &cur.task().kernel.net.inflight;
        if inflight.sockets() > limit && !cur.task().cred().has_cap(CAP_SYS_ADMIN) {
            return Err(Errno::ETOOMANYREFS);
        }
        out.rights = Some(Rights::new(inflight, files)?);
    }
    if out.cred.is_none() {
        out.cred = Some(sender_cred(cur.task()));
    }
    Ok(out)
}

/// Where control messages go.
struct Writer<'a> {
    cur: &'a CurrentTask,
    at: UserAddr,
    room: usize,
    done: usize,
    truncated: bool,
}

impl Writer<'_> {
    /// Stores as much of a message as fits.
    fn put(&mut self, level: i32, kind: i32, data: &[u8]) -> Result<(), Errno> {
        let left = self.room - self.done;
        if left < HEADER {
            self.truncated = true;
            return Ok(());
        }
        let len = (HEADER + data.len()).min(left);
        self.truncated |= len < HEADER + data.len();
        let header = Cmsghdr { len: len as u64, level, kind };
        let at = self.at.offset(self.done as u64)?;
        self.cur.mm().write(at, header.as_bytes())?;
        let data = data.get(..len - HEADER).unwrap_or_default();
        self.cur.mm().write(at.offset(HEADER as u64)?, data)?;
        self.done += aligned(len).min(left);
        Ok(())
    }
}

impl Control {
    /// Puts descriptors into the receiver's table, as many as fit; their numbers.
    fn install(&self, cur: &CurrentTask, most: usize, cloexec: bool) -> Vec<i32> {
        let limit = cur.task().process.limit(RLIMIT_NOFILE);
        let table = cur.task().files();
        let mut numbers = Vec::new();
        for file in self.files.iter().take(most) {
            let entry = FdEntry { file: file.clone(), cloexec };
            let Ok(fd) = table.install(entry, 0, limit) else { break };
            numbers.push(fd);
        }
        numbers
    }

    /// Stores the messages at `at`; the bytes used and `MSG_CTRUNC` if not all fit.
    pub fn deliver(
        self,
        cur: &CurrentTask,
        at: UserAddr,
        room: u64,
        flags: u32,
    ) -> Result<(u64, u32), Errno> {
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(1 << 20);
        let room = if at.is_null() { 0 } else { room };
        let mut out = Writer { cur, at, room, done: 0, truncated: false };
        for (level, kind, data) in &self.extra {
            out.put(*level, *kind, data)?;
        }
        if let Some(cred) = self.cred {
            out.put(SOL_SOCKET, SCM_CREDENTIALS, cred.as_bytes())?;
        }
        if !self.files.is_empty() {
            let fit = (out.room - out.done).saturating_sub(HEADER) / 4;
            let cloexec = flags & MSG_CMSG_CLOEXEC != 0;
            let numbers = self.install(cur, fit, cloexec);
            out.truncated |= numbers.len() < self.files.len();
            if !numbers.is_empty() {
                out.put(SOL_SOCKET, SCM_RIGHTS, chitin_abi::slice_as_bytes(&numbers))?;
            }
        }
        let flags = if out.truncated { MSG_CTRUNC } else { 0 };
        Ok((out.done as u64, flags))
    }
}
