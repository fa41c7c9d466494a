//! `/proc/PID/ns` (`namespaces(7)`): one namespace of each kind, which all processes
//! share.

use super::pid::{Who, may_look};
use crate::reopen;
use crate::synth::{Dir, Node};
use chitin_kernel::task::Task;
use chitin_kernel::vfs::FileType;
use std::sync::Arc;

/// Name of the entry, kind, and inode number, those of Linux's first namespaces.
const KINDS: [(&str, &str, u64); 10] = [
    ("cgroup", "cgroup", 0xefff_fffb),
    ("ipc", "ipc", 0xefff_ffff),
    ("mnt", "mnt", 0xefff_fff8),
    ("net", "net", 0xefff_fff9),
    ("pid", "pid", 0xefff_fffc),
    ("pid_for_children", "pid", 0xefff_fffc),
    ("time", "time", 0xefff_fffa),
    ("time_for_children", "time", 0xefff_fffa),
    ("user", "user", 0xefff_fffd),
    ("uts", "uts", 0xefff_fffe),
];

struct NsDir(Who);

/// The directory.
pub(super) fn dir(who: &Who) -> Node {
    Node::Dir(Arc::new(NsDir(who.clone())))
}

impl Dir for NsDir {
    fn get(&self, _task: Option<&Arc<Task>>, name: &[u8]) -> Option<Node> {
        let &(_, kind, ino) = KINDS.iter().find(|(n, ..)| n.as_bytes() == name)?;
        let (who, other) = (self.0.clone(), self.0.clone());
        Some(Node::Magic(
            0o777,
            Arc::new(move |viewer| {
                may_look(viewer, &who)?;
                Ok(format!("{kind}:[{ino}]").into_bytes())
            }),
            Arc::new(move |viewer| {
                may_look(viewer, &other)?;
                reopen::namespace(viewer, ino)
            }),
        ))
    }
    fn names(&self, _task: &Arc<Task>) -> Vec<(Vec<u8>, FileType)> {
        KINDS.iter().map(|(name, ..)| (name.as_bytes().to_vec(), FileType::Symlink)).collect()
    }
    fn owner(&self) -> (u32, u32) {
        self.0.owner()
    }
    fn perm(&self) -> u32 {
        0o511
    }
}
