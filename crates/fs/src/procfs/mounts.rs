//! `/proc/PID/mounts`, `mountinfo` and `mountstats`: the one table of mounts, as far as
//! its reader sees it from its root.

use chitin_kernel::task::Task;
use chitin_kernel::vfs::lookup::name_of;
use chitin_kernel::vfs::{Mount, Path};
use std::fmt::Write;
use std::sync::Arc;

/// A path as the tables show it: what separates fields is written in octal.
fn escaped(path: &[u8]) -> String {
    let mut out = Vec::with_capacity(path.len());
    for &b in path {
        match b {
            b' ' | b'\t' | b'\n' | b'\\' => out.extend(format!("\\{b:03o}").bytes()),
            _ => out.push(b),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What of its file system a mount shows.
fn part_of(mount: &Mount) -> String {
    let mut names = Vec::new();
    let mut at = Some(mount.root.clone());
    while let Some(dentry) = at {
        at = dentry.parent();
        if at.is_some() {
            names.push(dentry.name());
        }
    }
    let path: Vec<u8> = names.iter().rev().flat_map(|n| [&b"/"[..], n].concat()).collect();
    if path.is_empty() { "/".into() } else { escaped(&path) }
}

/// Mounts with their places as the viewer sees them, and options.
fn mount_rows(viewer: &Arc<Task>) -> Vec<(Arc<Mount>, String, String)> {
    let root = viewer.fs().root.read().clone();
    let mut rows = Vec::new();
    for mount in viewer.kernel.mounts.list() {
        let path = Path { mount: mount.clone(), dentry: mount.root.clone() };
        let Some(place) = name_of(viewer, &path, &root) else { continue };
        let mut options = String::from(if mount.flags() & 1 != 0 { "ro" } else { "rw" });
        for (bit, name) in [(2, ",nosuid"), (4, ",nodev"), (8, ",noexec"), (0x400, ",noatime")] {
            if mount.flags() & bit != 0 {
                options.push_str(name);
            }
        }
        if mount.flags() & 0x400 == 0 {
            options.push_str(",relatime");
        }
        rows.push((mount, escaped(&place), options));
    }
    rows
}

pub(super) fn mounts(viewer: &Arc<Task>) -> Vec<u8> {
    let mut out = String::new();
    for (mount, place, options) in mount_rows(viewer) {
        let more = mount.fs.options();
        let more = if more.is_empty() { more } else { format!(",{more}") };
        let _ = writeln!(out, "{} {place} {} {options}{more} 0 0", mount.source, mount.fs.name());
    }
    out.into_bytes()
}

pub(super) fn mountinfo(viewer: &Arc<Task>) -> Vec<u8> {
    let mut out = String::new();
    for (mount, place, options) in mount_rows(viewer) {
        let above = viewer.kernel.mounts.place_of(&mount).map_or(mount.id, |p| p.mount.id);
        let more = mount.fs.options();
        let dev = u32::try_from(mount.fs.dev()).unwrap_or(0);
        let (major, minor) = (chitin_abi::fs::major(dev), chitin_abi::fs::minor(dev));
        let _ = writeln!(
            out,
            "{} {above} {major}:{minor} {} {place} {options} - {} {} {}",
            mount.id,
            part_of(&mount),
            mount.fs.name(),
            mount.source,
            if more.is_empty() { "rw".to_owned() } else { format!("rw,{more}") }
        );
    }
    out.into_bytes()
}

pub(super) fn mountstats(viewer: &Arc<Task>) -> Vec<u8> {
    let mut out = String::new();
    for (mount, place, _) in mount_rows(viewer) {
        let _ = writeln!(
            out,
            "device {} mounted on {place} with fstype {}",
            mount.source,
            mount.fs.name()
        );
    }
    out.into_bytes()
}
