//! `/proc/PID/fd` and `/proc/PID/fdinfo`.

use super::pid::{Who, may_look, shown};
use crate::reopen;
use crate::synth::{Dir, Node};
use chitin_abi::Errno;
use chitin_abi::fs::O_CLOEXEC;
use chitin_kernel::task::Task;
use chitin_kernel::vfs::{File, FileType};
use std::sync::{Arc, Weak};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    Link,
    Info,
}

/// `/proc/PID/fd` and `/proc/PID/fdinfo`.
pub(super) struct FdDir(pub(super) Who, pub(super) Shows);

impl Dir for FdDir {
    fn get(&self, viewer: Option<&Arc<Task>>, name: &[u8]) -> Option<Node> {
        may_look(viewer?, &self.0).ok()?;
        let fd: i32 = std::str::from_utf8(name).ok()?.parse().ok()?;
        let file = self.0.task().ok()?.files().get(fd).ok()?;
        Some(match self.1 {
            Shows::Link => {
                // What is looked at stays no longer open for that: names are remembered.
                let (jump, text) = (Arc::downgrade(&file), Arc::downgrade(&file));
                let here = |file: &Weak<File>| file.upgrade().ok_or(Errno::ENOENT);
                // The bits tell what the descriptor is open for.
                let bit = |on: bool, bits: u32| if on { bits } else { 0 };
                let perm = bit(file.readable(), 0o500) | bit(file.writable(), 0o300);
                Node::Magic(
                    perm,
                    Arc::new(move |viewer| Ok(name_of_file(viewer, &here(&text)?))),
                    Arc::new(move |viewer| reopen::place_of(viewer, &here(&jump)?)),
                )
            }
            Shows::Info => {
                let who = self.0.clone();
                Node::file(move |_| info(&who, fd))
            }
        })
    }

    fn names(&self, _task: &Arc<Task>) -> Vec<(Vec<u8>, FileType)> {
        let kind = if self.1 == Shows::Link { FileType::Symlink } else { FileType::Regular };
        let files = self.0.task().map(|t| t.files().list()).unwrap_or_default();
        files.iter().map(|(fd, _)| (fd.to_string().into_bytes(), kind)).collect()
    }

    fn owner(&self) -> (u32, u32) {
        if self.1 == Shows::Link { self.0.owner() } else { self.0.ids() }
    }

    fn owner_of_files(&self) -> (u32, u32) {
        self.0.owner()
    }

    fn admits(&self, task: &Task) -> bool {
        // Its own descriptors: `proc_pid_fd(5)`.
        std::ptr::eq(&*task.process, &*self.0.process)
    }

    fn perm(&self) -> u32 {
        if self.1 == Shows::Link { 0o500 } else { 0o555 }
    }
}

fn info(who: &Who, fd: i32) -> Result<Vec<u8>, Errno> {
    let entry = who.task()?.files().entry(fd).map_err(|_| Errno::ENOENT)?;
    let file = entry.file;
    let attr = file.path().and_then(|p| p.dentry.inode()?.attr().ok());
    let flags = file.flags() | if entry.cloexec { O_CLOEXEC } else { 0 };
    let pos = *file.pos.lock();
    Ok(format!(
        "pos:\t{pos}\nflags:\t0{flags:o}\nmnt_id:\t{}\nino:\t{}\n{}",
        file.path().map_or(15, |p| p.mount.id),
        attr.map_or_else(|| file.ops().attr().ino, |a| a.ino),
        file.ops().fdinfo()
    )
    .into_bytes())
}

pub(super) fn name_of_file(viewer: &Arc<Task>, file: &Arc<File>) -> Vec<u8> {
    if let Some(path) = file.path() {
        return shown(viewer, path);
    }
    let attr = file.ops().attr();
    let kind = match attr.kind {
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        FileType::CharDevice => return b"/dev/tty".to_vec(),
        _ => "anon_inode",
    };
    format!("{kind}:[{}]", attr.ino).into_bytes()
}
