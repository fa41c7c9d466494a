//! Memory devices (`null(4)`, `full(4)`, `random(4)`) and the tree below `/dev`.

use crate::devpts;
use crate::tmpfs::{Tmpfs, TmpfsOptions};
use chitin_abi::Errno;
use chitin_abi::fs::makedev;
use chitin_kernel::Kernel;
use chitin_kernel::vfs::{FileCx, FileOps, FileSystem, FileType, IoDst, IoSrc, NewNode};
use chitin_usermem::{GuestMemory, UserAddr, UserPtr};
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Zero,
    Full,
    Random,
}

/// `ioctl(2)` of `random(4)`.
const RNDGETENTCNT: u32 = 0x8004_5200;

/// A memory device.
struct Device(Kind);

impl FileOps for Device {
    fn read(&self, _cx: FileCx<'_>, dst: &mut IoDst<'_>, _pos: u64) -> Result<usize, Errno> {
        if self.0 == Kind::Null {
            return Ok(0);
        }
        let before = dst.done();
        let mut buf = vec![0; dst.remaining().min(64 << 10)];
        while dst.remaining() > 0 {
            let n = dst.remaining().min(buf.len());
            let piece = buf.get_mut(..n).unwrap_or_default();
            if self.0 == Kind::Random {
                chitin_hostsys::random::fill(piece);
            }
            match dst.put(piece) {
                Err(e) if dst.done() == before => return Err(e),
                Ok(stored) if stored == n => {}
                _ => break,
            }
        }
        Ok(dst.done() - before)
    }

    fn write(&self, _cx: FileCx<'_>, src: &mut IoSrc<'_>, _pos: u64) -> Result<usize, Errno> {
        if self.0 == Kind::Full {
            return Err(Errno::ENOSPC);
        }
        let n = src.remaining();
        src.advance(n);
        Ok(n)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _cx: FileCx<'_>, _offset: i64, _whence: u32) -> Option<Result<u64, Errno>> {
        Some(Ok(0))
    }

    fn maps_zeroes(&self) -> bool {
        self.0 == Kind::Zero
    }

    fn ioctl(&self, cx: FileCx<'_>, cmd: u32, arg: u64) -> Result<u64, Errno> {
        /// What the pool holds once it is filled, in bits.
        const ENTROPY: i32 = 256;
        match (self.0, cmd) {
            (Kind::Random, RNDGETENTCNT) => {
                let mm = cx.task.mm().ok_or(Errno::EFAULT)?;
                UserPtr::<i32>::new(UserAddr(arg)).write(&*mm, &ENTROPY)?;
                Ok(0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }
}

/// Name, minor number and behaviour of the devices of major number 1.
const MEMORY_DEVICES: [(&[u8], u32, Kind); 5] = [
    (b"null", 3, Kind::Null),
    (b"zero", 5, Kind::Zero),
    (b"full", 7, Kind::Full),
    (b"random", 8, Kind::Random),
    (b"urandom", 9, Kind::Random),
];

/// Makes the tree below `/dev` and registers its devices.
pub fn devtmpfs(kernel: &Kernel, memory: Arc<GuestMemory>) -> Result<Arc<dyn FileSystem>, Errno> {
    let fs = Tmpfs::new(memory, TmpfsOptions { perm: 0o755, ..TmpfsOptions::default() });
    let root = fs.root();
    let dir = root.as_dir().ok_or(Errno::ENOTDIR)?;
    let node = |kind, perm, rdev| NewNode { kind, perm, uid: 0, gid: 0, rdev };
    for (name, minor, kind) in MEMORY_DEVICES {
        let rdev = u64::from(makedev(1, minor));
        dir.create(name, &node(FileType::CharDevice, 0o666, rdev))?;
        kernel.devices.register(rdev, Box::new(move |_, _| Ok(Box::new(Device(kind)))));
    }
    for (name, rdev) in [(&b"tty"[..], devpts::tty_rdev()), (b"ptmx", devpts::ptmx_rdev())] {
        dir.create(name, &node(FileType::CharDevice, 0o666, rdev))?;
    }
    dir.create(b"shm", &node(FileType::Directory, 0o1777, 0))?;
    dir.create(b"pts", &node(FileType::Directory, 0o755, 0))?;
    let links: [(&[u8], &[u8]); 4] = [
        (b"fd", b"/proc/self/fd"),
        (b"stdin", b"/proc/self/fd/0"),
        (b"stdout", b"/proc/self/fd/1"),
        (b"stderr", b"/proc/self/fd/2"),
    ];
    for (name, target) in links {
        dir.symlink(name, target, (0, 0))?;
    }
    Ok(fs)
}
