//! Mount options of `tmpfs(5)`.

use super::{Tmpfs, TmpfsOptions};
use chitin_abi::Errno;
use chitin_kernel::Kernel;
use chitin_kernel::vfs::MountRequest;
use chitin_usermem::GuestMemory;
use std::sync::Arc;

/// Lets programs mount `tmpfs` and make files in memory (`memfd_create(2)`).
pub fn register(kernel: &Kernel, memory: Arc<GuestMemory>) {
    let make = move |request: &MountRequest<'_>| {
        let cred = request.task.cred();
        let own = TmpfsOptions { uid: cred.fsuid, gid: cred.fsgid, ..TmpfsOptions::default() };
        let total = request.task.kernel.memory_sizes().0;
        Ok(Tmpfs::new(memory.clone(), parse(own, request.options, total)?))
    };
    kernel.filesystems.register("tmpfs", Box::new(make));
}

/// A number with the suffix k, m, g, or % of the memory.
fn size(text: &str, total: u64) -> Result<u64, Errno> {
    let (digits, factor) = match text.as_bytes().last().map(u8::to_ascii_lowercase) {
        Some(b'k') => (text.len() - 1, 1 << 10),
        Some(b'm') => (text.len() - 1, 1 << 20),
        Some(b'g') => (text.len() - 1, 1 << 30),
        Some(b'%') => (text.len() - 1, total / 100),
        _ => (text.len(), 1),
    };
    let number: u64 = text.get(..digits).and_then(|d| d.parse().ok()).ok_or(Errno::EINVAL)?;
    number.checked_mul(factor).ok_or(Errno::EINVAL)
}

pub(super) fn parse(
    mut options: TmpfsOptions,
    text: &[u8],
    total: u64,
) -> Result<TmpfsOptions, Errno> {
    let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    for option in text.split(',').filter(|o| !o.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let id = || value.parse().map_err(|_| Errno::EINVAL);
        // A limit of 0 is none.
        match name {
            "size" => options.size = Some(size(value, total)?).filter(|&n| n > 0),
            "nr_blocks" => {
                let blocks = size(value, total)?;
                let bytes = blocks.checked_mul(4096).ok_or(Errno::EINVAL)?;
                options.size = Some(bytes).filter(|&n| n > 0);
            }
            "nr_inodes" => options.inodes = Some(size(value, total)?).filter(|&n| n > 0),
            "mode" => {
                let mode = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)?;
                options.perm = mode & 0o7777;
            }
            "uid" => options.uid = id()?,
            "gid" => options.gid = id()?,
            // How memory is allotted and inodes are numbered has no effect here.
            "mpol" | "huge" | "inode32" | "inode64" | "noswap" => {}
            _ => return Err(Errno::EINVAL),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<TmpfsOptions, Errno> {
        parse(TmpfsOptions::default(), text.as_bytes(), 1000)
    }

    #[test]
    fn options_are_read_as_linux_reads_them() {
        let all = parsed("size=2m,nr_inodes=1k,mode=0755,uid=5,gid=6,,huge=never").unwrap();
        assert_eq!((all.size, all.inodes), (Some(2 << 20), Some(1024)));
        assert_eq!((all.perm, all.uid, all.gid), (0o755, 5, 6));
        assert_eq!(parsed("size=50%").unwrap().size, Some(500));
        assert_eq!(parsed("size=0").unwrap().size, None);
        assert_eq!(parsed("").unwrap().perm, 0o1777);
        for bad in ["size=", "size=x", "mode=9", "uid=-1", "strange", "size=99999999999g"] {
            assert_eq!(parsed(bad).err(), Some(Errno::EINVAL), "{bad}");
        }
    }
}
