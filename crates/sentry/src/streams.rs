//! Standard streams of the program, made from the caller's.

use crate::hostio::{CallerTerminal, Stream, Watcher};
use anyhow::{Context, Result, anyhow};
use chitin_abi::Errno;
use chitin_abi::fs::{AT_FDCWD, O_ACCMODE, O_APPEND, O_LARGEFILE, O_NONBLOCK};
use chitin_hostsys::inherited::Inherited;
use chitin_hostsys::{files, tty};
use chitin_kernel::fd::{FdEntry, FdTable};
use chitin_kernel::task::Task;
use chitin_kernel::tty::{PtyTable, Terminal};
use chitin_kernel::vfs::lookup::{Last, lookup};
use chitin_kernel::vfs::{Dentry, File, FileType, Mount, OpenRequest, Path};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// What a description of the caller's keeps in the sandbox.
const KEPT_FLAGS: u32 = O_ACCMODE | O_APPEND | O_NONBLOCK | O_LARGEFILE;

/// The caller's terminal: the controlling one, or else the first among its standard
/// streams. A read of it that waits is announced on `control`.
pub(crate) fn caller_terminal(
    own: Option<OwnedFd>,
    ptys: &PtyTable,
    watcher: &Arc<Watcher>,
    control: UnixStream,
) -> Result<Option<Arc<CallerTerminal>>> {
    let streams = [
        std::io::stdin().as_fd().try_clone_to_owned(),
        std::io::stdout().as_fd().try_clone_to_owned(),
        std::io::stderr().as_fd().try_clone_to_owned(),
    ];
    let mut terminals = streams.into_iter().flatten().filter(|fd| tty::get(fd.as_fd()).is_ok());
    // Among the streams it has a name and an owner.
    let named = terminals.find(|fd| own.is_none() || tty::controls_us(fd.as_fd()));
    let owner = named.as_ref().or(own.as_ref()).map(|fd| files::statx(fd.as_fd(), b""));
    let Some(owner) = owner.transpose().context("the terminal")? else { return Ok(None) };
    let Some(fd) = own.or(named) else { return Ok(None) };
    let added = CallerTerminal::add(ptys, fd, &owner, watcher, control);
    added.map(Some).map_err(|e| anyhow!("the terminal: {}", e.description()))
}

/// Memory devices by minor number: the program gets the sandbox's own.
const DEVICES: [(u32, &str); 5] =
    [(3, "/dev/null"), (5, "/dev/zero"), (7, "/dev/full"), (8, "/dev/random"), (9, "/dev/urandom")];
const MEMORY_MAJOR: u32 = 1;

/// A standard stream that is a device of the sandbox: descriptor, path, flags.
pub(crate) type DeviceStream = (i32, &'static str, u32);

/// The standard streams as the caller has them; devices are to be opened by the program.
pub(crate) fn standard_files(
    watcher: &Arc<Watcher>,
    inherited: &Inherited,
    terminal: Option<&Arc<CallerTerminal>>,
    pts: &Arc<Mount>,
) -> Result<(FdTable, Vec<DeviceStream>)> {
    let (table, mut devices) = (FdTable::default(), Vec::new());
    let ours = [
        (0, std::io::stdin().as_fd().try_clone_to_owned()),
        (1, std::io::stdout().as_fd().try_clone_to_owned()),
        (2, std::io::stderr().as_fd().try_clone_to_owned()),
    ];
    let path = terminal.map(|tty| {
        let name = tty.index().to_string().into_bytes();
        let root = pts.root.inode();
        let inode = root.as_ref().and_then(|r| r.as_dir()?.find(&name).ok());
        let dentry = Dentry::new(Some(pts.root.clone()), &name, inode);
        Path { mount: pts.clone(), dentry }
    });
    for ((number, fd), closed) in ours.into_iter().zip(inherited.closed) {
        // What the caller has closed stays closed.
        let Some(fd) = fd.ok().filter(|_| !closed) else { continue };
        let flags = files::status_flags(fd.as_fd()).context("a standard stream")? & KEPT_FLAGS;
        if let Some(device) = device_of(&fd) {
            devices.push((number, device, flags));
            continue;
        }
        let same = |tty: &&Arc<CallerTerminal>| {
            tty::get(fd.as_fd()).is_ok() && tty::controls_us(fd.as_fd()) == tty.controls_caller()
        };
        let terminal = terminal.filter(same);
        let path = terminal.and(path.clone());
        let ops = Stream::open(fd, watcher, terminal).context("a standard stream")?;
        put(&table, number, File::new(ops, path, flags))?;
    }
    Ok((table, devices))
}

fn put(table: &FdTable, number: i32, file: Arc<File>) -> Result<()> {
    const ROOM: u64 = 3;
    table
        .replace(number, FdEntry { file, cloexec: false }, ROOM)
        .map(drop)
        .map_err(|e| anyhow!("descriptor {number}: {}", e.description()))
}

fn device_of(fd: &OwnedFd) -> Option<&'static str> {
    let stat = files::statx(fd.as_fd(), b"").ok()?;
    let device = FileType::from_mode(stat.mode) == Some(FileType::CharDevice);
    let known = DEVICES.iter().find(|(minor, _)| stat.rdev == (MEMORY_MAJOR, *minor));
    known.filter(|_| device).map(|(_, path)| *path)
}

/// Opens the standard streams that are devices.
pub(crate) fn open_devices(task: &Arc<Task>, devices: &[DeviceStream]) -> Result<()> {
    for &(number, path, flags) in devices {
        let explain = |e: Errno| anyhow!("{path} cannot be opened: {}", e.description());
        let place = lookup(task, AT_FDCWD, path.as_bytes(), Last::Follow).map_err(explain)?;
        let inode = place.dentry.inode().context("a device without an inode")?;
        let attr = inode.attr().map_err(explain)?;
        let request = OpenRequest { task, flags };
        let ops = task.kernel.devices.open(attr.kind, attr.rdev, &request).map_err(explain)?;
        put(&task.files(), number, File::new(ops, Some(place), flags))?;
    }
    Ok(())
}
