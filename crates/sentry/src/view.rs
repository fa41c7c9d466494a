//! The file systems that a program sees, and where.

use crate::{Bind, BindMode, SandboxConfig};
use anyhow::{Context, Result, anyhow};
use chitin_abi::Errno;
use chitin_abi::fs::{MS_NODEV, MS_NOEXEC, MS_NOSUID};
use chitin_fs::HostFacts;
use chitin_fs::cgroupfs::{Limits, cgroupfs};
use chitin_fs::devpts::DevPts;
use chitin_fs::hostfs::{Access, HostFs, HostFsOptions, Unmapped};
use chitin_fs::layered::Layered;
use chitin_fs::tmpfs::{Tmpfs, TmpfsOptions};
use chitin_kernel::Kernel;
use chitin_kernel::tty::PtyTable;
use chitin_kernel::vfs::{FileSystem, FileType, Mount, NewNode, Path};
use chitin_usermem::GuestMemory;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// `mount(2)`.
const MS_RDONLY: u32 = 1;

/// Mounts the default view; returns its root and the mount of the terminals.
pub(crate) fn mount_tree(
    config: &SandboxConfig,
    kernel: &Arc<Kernel>,
    memory: &Arc<GuestMemory>,
    lower: Arc<dyn FileSystem>,
    facts: &Arc<HostFacts>,
    ptys: &Arc<PtyTable>,
) -> Result<(Path, Arc<Mount>), Errno> {
    let upper = Tmpfs::new(memory.clone(), TmpfsOptions::default());
    let overlay = Layered::new(lower, upper)?;
    let root = kernel.mounts.set_root(kernel.mounts.detached(overlay, "overlay", 0));
    let dev = chitin_fs::devices::devtmpfs(kernel, memory.clone())?;
    let proc = chitin_fs::procfs::procfs(facts);
    let sys = chitin_fs::sysfs::sysfs(facts, kernel.cpus);
    let quiet = (MS_NOSUID | MS_NODEV | MS_NOEXEC) as u32;
    let read_only = quiet | MS_RDONLY;
    for (name, fs, source, flags) in [
        ("dev", dev, "dev", MS_NOSUID as u32),
        ("proc", proc, "proc", quiet),
        ("sys", sys, "sysfs", read_only),
    ] {
        let place = directory(&root, name)?;
        kernel.mounts.attach(kernel.mounts.detached(fs, source, flags), &place)?;
    }
    let cgroup = cgroupfs(Limits {
        memory: config.memory,
        pids: config.pids.map(u64::from),
        cpus: kernel.cpus,
    });
    let mut at = kernel.mounts.cross(directory(&root, "sys")?);
    for name in ["fs", "cgroup"] {
        at = directory(&at, name)?;
    }
    kernel.mounts.attach(kernel.mounts.detached(cgroup, "cgroup", read_only), &at)?;
    chitin_fs::devpts::register(kernel, ptys);
    let pts = kernel.mounts.detached(DevPts::new(ptys.clone()), "devpts", 0);
    let dev = kernel.mounts.cross(directory(&root, "dev")?);
    kernel.mounts.attach(pts.clone(), &directory(&dev, "pts")?)?;
    Ok((root, pts))
}

/// Puts a file system at an absolute path; what is not there is made in the overlay.
pub(crate) fn mount_at(
    kernel: &Arc<Kernel>,
    root: &Path,
    place: &std::path::Path,
    fs: Arc<dyn FileSystem>,
    source: &str,
    flags: u32,
) -> Result<()> {
    let explain = |e: Errno| {
        let why = e.description();
        anyhow!("nothing can be shown at {}: {why}; choose another place", place.display())
    };
    let parts: Vec<&[u8]> = place
        .components()
        .filter_map(|part| match part {
            std::path::Component::Normal(name) => Some(name.as_bytes()),
            _ => None,
        })
        .collect();
    let mut at = root.clone();
    for (i, name) in parts.iter().enumerate() {
        let kind = if i + 1 < parts.len() { FileType::Directory } else { fs.root().file_type() };
        at = kernel.mounts.cross(entry(&at, name, kind).map_err(explain)?);
    }
    if parts.is_empty() {
        return Err(anyhow!("nothing can be shown at /; give the root by --root"));
    }
    kernel.mounts.attach(kernel.mounts.detached(fs, source, flags), &at).map_err(explain)
}

fn access_of(mode: BindMode) -> (Access, u32) {
    match mode {
        BindMode::ReadOnly => (Access::ReadOnly, MS_RDONLY),
        BindMode::ReadWrite => (Access::ReadWrite, 0),
    }
}

/// Shows the directories of `--ro` and `--rw`.
pub(crate) fn mount_binds(
    kernel: &Arc<Kernel>,
    root: &Path,
    config: &SandboxConfig,
    trees: impl Iterator<Item = (OwnedFd, Vec<Vec<u8>>)>,
    unmapped: Unmapped,
) -> Result<()> {
    for (bind, (fd, masks)) in config.binds.iter().zip(trees) {
        let (access, flags) = access_of(bind.mode);
        let options = HostFsOptions { unmapped, access, masks, ..HostFsOptions::default() };
        let fs = HostFs::new(fd, kernel.platform.clone(), options)
            .with_context(|| format!("{} cannot be read", bind.host.display()))?;
        mount_at(kernel, root, &bind.guest, fs, &bind.host.to_string_lossy(), flags)?;
    }
    Ok(())
}

/// A file of `--ro` or `--rw`, opened before the sentry gives up the right to.
pub(crate) struct BoundFile {
    read: OwnedFd,
    write: Option<OwnedFd>,
}

/// Opens the files of `--ro` and `--rw`.
pub(crate) fn open_files(config: &SandboxConfig) -> Result<Vec<BoundFile>> {
    let open = |bind: &Bind| {
        let name = bind.host.display();
        let read = std::fs::File::open(&bind.host)
            .with_context(|| format!("{name} cannot be read; check its owner and mode"))?;
        let write = match bind.mode {
            BindMode::ReadOnly => None,
            BindMode::ReadWrite => {
                let file = std::fs::File::options().read(true).write(true).open(&bind.host);
                let explain = || format!("{name} cannot be written; give it with --ro");
                Some(file.with_context(explain)?.into())
            }
        };
        Ok(BoundFile { read: read.into(), write })
    };
    config.files.iter().map(open).collect()
}

/// Shows the files of `--ro` and `--rw`.
pub(crate) fn mount_files(
    kernel: &Arc<Kernel>,
    root: &Path,
    config: &SandboxConfig,
    files: Vec<BoundFile>,
    unmapped: Unmapped,
) -> Result<()> {
    for (bind, file) in config.files.iter().zip(files) {
        let (access, flags) = access_of(bind.mode);
        let options = HostFsOptions { unmapped, access, ..HostFsOptions::default() };
        let fs = HostFs::of_file(file.read, file.write, kernel.platform.clone(), options)
            .with_context(|| format!("{} cannot be read", bind.host.display()))?;
        mount_at(kernel, root, &bind.guest, fs, &bind.host.to_string_lossy(), flags)?;
    }
    Ok(())
}

/// A directory of the root, made if it is not there.
fn directory(root: &Path, name: &str) -> Result<Path, Errno> {
    entry(root, name.as_bytes(), FileType::Directory)
}

/// An entry of a directory, made if it is not there.
fn entry(root: &Path, name: &[u8], kind: FileType) -> Result<Path, Errno> {
    // What was found before stays: something may be mounted there.
    if let Some(dentry) = root.dentry.known(name)
        && dentry.inode().is_some()
    {
        return Ok(Path { mount: root.mount.clone(), dentry });
    }
    let dir = root.dentry.inode().ok_or(Errno::ENOENT)?;
    let ops = dir.as_dir().ok_or(Errno::ENOTDIR)?;
    let inode = match ops.find(name) {
        Err(Errno::ENOENT) => {
            let perm = if kind == FileType::Directory { 0o755 } else { 0o644 };
            let kind = if kind == FileType::Directory { kind } else { FileType::Regular };
            ops.create(name, &NewNode { kind, perm, uid: 0, gid: 0, rdev: 0 })?
        }
        other => other?,
    };
    let dentry = chitin_kernel::vfs::open::instantiate(&root.dentry, name, inode);
    Ok(Path { mount: root.mount.clone(), dentry })
}
