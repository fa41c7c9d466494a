//! [`Perm`]: whose an object is (`struct ipc_perm`).

use super::CAP_SYS_ADMIN;
use crate::cred::Cred;
use chitin_abi::Errno;
use chitin_abi::ipc::IpcPerm;

/// `CAP_IPC_OWNER`.
const CAP_IPC_OWNER: u32 = 15;
/// To read, for everybody, as a mode.
pub(crate) const READ: u32 = 0o444;
/// To write, for everybody, as a mode.
pub(crate) const WRITE: u32 = 0o222;

/// Owner, creator and mode of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct Perm {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
}

impl Perm {
    /// Those of a new object.
    #[must_use]
    pub fn new(key: i32, cred: &Cred, flags: u32) -> Self {
        let (uid, gid) = (cred.euid, cred.egid);
        Self { key, uid, gid, cuid: uid, cgid: gid, mode: flags & 0o777 }
    }

    /// `EACCES` unless all accesses of a mode, whoever's, are allowed.
    pub fn allow(&self, cred: &Cred, mode: u32) -> Result<(), Errno> {
        let wanted = (mode >> 6 | mode >> 3 | mode) & 7;
        let granted = match () {
            () if cred.euid == self.cuid || cred.euid == self.uid => self.mode >> 6,
            () if cred.in_group(self.cgid) || cred.in_group(self.gid) => self.mode >> 3,
            () => self.mode,
        };
        match wanted & !granted == 0 || cred.has_cap(CAP_IPC_OWNER) {
            true => Ok(()),
            false => Err(Errno::EACCES),
        }
    }

    /// Whether this is the owner or the creator.
    #[must_use]
    pub fn is_owner(&self, cred: &Cred) -> bool {
        cred.euid == self.cuid || cred.euid == self.uid
    }

    /// `EPERM` for who may not change or remove the object.
    pub fn allow_control(&self, cred: &Cred) -> Result<(), Errno> {
        let may = self.is_owner(cred) || cred.has_cap(CAP_SYS_ADMIN);
        if may { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// `IPC_SET`.
    pub fn change(&mut self, to: &IpcPerm) -> Result<(), Errno> {
        if to.uid == u32::MAX || to.gid == u32::MAX {
            return Err(Errno::EINVAL);
        }
        (self.uid, self.gid) = (to.uid, to.gid);
        self.mode = self.mode & !0o777 | to.mode & 0o777;
        Ok(())
    }

    /// As calls tell it.
    #[must_use]
    pub fn told(&self, id: i32) -> IpcPerm {
        IpcPerm {
            key: self.key,
            uid: self.uid,
            gid: self.gid,
            cuid: self.cuid,
            cgid: self.cgid,
            mode: self.mode,
            seq: u16::try_from(id >> super::ids::INDEX_BITS).unwrap_or(u16::MAX),
            ..IpcPerm::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_asked_first() {
        let owner = Cred::for_user(1000, 1000, Vec::new());
        let perm = Perm::new(1, &owner, 0o1046);
        assert_eq!(perm.mode, 0o046);
        assert_eq!(perm.allow(&owner, READ), Err(Errno::EACCES));
        let group = Cred::for_user(1001, 5, vec![1000]);
        assert_eq!(
            (perm.allow(&group, READ), perm.allow(&group, 0o600)),
            (Ok(()), Err(Errno::EACCES))
        );
        let other = Cred::for_user(1001, 5, Vec::new());
        assert_eq!(perm.allow(&other, READ | WRITE), Ok(()));
        assert_eq!(perm.allow_control(&other), Err(Errno::EPERM));
        assert_eq!(perm.allow(&Cred::for_user(0, 0, Vec::new()), READ), Ok(()));
    }
}
