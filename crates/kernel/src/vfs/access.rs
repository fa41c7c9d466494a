//! Permission checks (`path_resolution(7)`, `capabilities(7)`).

use super::{Attr, FileType, Inode};
use crate::cred::Cred;
use crate::task::Task;
use chitin_abi::Errno;

/// `CAP_CHOWN`.
pub const CAP_CHOWN: u32 = 0;
/// `CAP_DAC_OVERRIDE`.
pub const CAP_DAC_OVERRIDE: u32 = 1;
/// `CAP_DAC_READ_SEARCH`.
pub const CAP_DAC_READ_SEARCH: u32 = 2;
/// `CAP_FOWNER`.
pub const CAP_FOWNER: u32 = 3;
/// `CAP_FSETID`.
pub const CAP_FSETID: u32 = 4;

/// Wanted access, as in `access(2)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want(pub u32);

impl Want {
    /// `R_OK`.
    pub const READ: Self = Self(4);
    /// `W_OK`.
    pub const WRITE: Self = Self(2);
    /// `X_OK`: execute, or search a directory.
    pub const EXEC: Self = Self(1);

    fn has(self, bit: Self) -> bool {
        self.0 & bit.0 != 0
    }
}

/// Whether `cred` may access a file; `EACCES` if not.
pub fn permitted(cred: &Cred, attr: &Attr, want: Want) -> Result<(), Errno> {
    let bits = match () {
        () if attr.uid == cred.fsuid => attr.perm >> 6,
        () if cred.in_group(attr.gid) => attr.perm >> 3,
        () => attr.perm,
    };
    if want.0 & !(bits & 7) == 0 {
        return Ok(());
    }
    let directory = attr.kind == FileType::Directory;
    let runnable = directory || attr.perm & 0o111 != 0;
    if cred.has_cap(CAP_DAC_OVERRIDE) && (!want.has(Want::EXEC) || runnable) {
        return Ok(());
    }
    let reads = !want.has(Want::WRITE) && (directory || !want.has(Want::EXEC));
    if cred.has_cap(CAP_DAC_READ_SEARCH) && reads {
        return Ok(());
    }
    Err(Errno::EACCES)
}

/// The same for a task that the file may admit whatever its bits say.
pub fn admitted(
    task: &Task,
    cred: &Cred,
    (inode, attr): (&dyn Inode, &Attr),
    want: Want,
) -> Result<(), Errno> {
    let by_bits = permitted(cred, attr, want);
    if by_bits.is_err() && inode.admits(task) { Ok(()) } else { by_bits }
}

/// Whether `cred` is the owner of a file or may act as one.
#[must_use]
pub fn owns(cred: &Cred, attr: &Attr) -> bool {
    cred.fsuid == attr.uid || cred.has_cap(CAP_FOWNER)
}

/// Whether the entry of a file may be removed from a directory: write and search
/// permission, and in a sticky directory ownership.
pub fn may_remove(cred: &Cred, dir: &Attr, file: &Attr) -> Result<(), Errno> {
    permitted(cred, dir, Want(Want::WRITE.0 | Want::EXEC.0))?;
    let sticky = dir.perm & 0o1000 != 0;
    let mine = cred.fsuid == file.uid || cred.fsuid == dir.uid || cred.has_cap(CAP_FOWNER);
    if sticky && !mine { Err(Errno::EPERM) } else { Ok(()) }
}
