//! `/proc` (`proc(5)`): processes and facts of the kernel.
//!
//! * `facts` are the files about the whole sandbox, `sysctl` is `/proc/sys`, `net` the
//!   sockets.
//! * `pid` is the directory of a process or thread; `stat`, `memory`, `fds`, `mounts`
//!   and `ns` make what is in it.
//!
//! No locks of its own.

mod facts;
mod fds;
mod memory;
mod mounts;
mod net;
mod ns;
mod pid;
mod stat;
mod sysctl;
mod sysvipc;

pub(crate) use facts::memory_rows;

use crate::hostfacts::HostFacts;
use crate::synth::{Dir, Fixed, Kind, Node, SynthFs};
use chitin_kernel::task::Task;
use chitin_kernel::vfs::{Caching, FileSystem, FileType};
use pid::PidDir;
use std::sync::Arc;

const PROC_MAGIC: u64 = 0x9fa0;

/// A new instance, which may look at these facts of the host.
#[must_use]
pub fn procfs(host: &Arc<HostFacts>) -> Arc<dyn FileSystem> {
    let kind = Kind { name: "proc", magic: PROC_MAGIC, file_size: 0, caching: Caching::Never };
    SynthFs::new(kind, Arc::new(Root { fixed: Fixed(facts::entries(host)) }))
}

struct Root {
    fixed: Fixed,
}

fn parse_pid(name: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(name).ok()?;
    let pid: i32 = text.parse().ok()?;
    (pid > 0 && pid.to_string() == text).then_some(pid)
}

impl Dir for Root {
    fn get(&self, task: Option<&Arc<Task>>, name: &[u8]) -> Option<Node> {
        if let Some(pid) = parse_pid(name) {
            let kernel = &task?.kernel;
            let process = kernel.pids.process(pid);
            let process = match process {
                Some(process) => process,
                // Threads can be named though they are not listed.
                None => kernel.pids.get(pid)?.process.clone(),
            };
            return Some(Node::Dir(Arc::new(PidDir::of_process(process))));
        }
        self.fixed.get(task, name)
    }

    fn names(&self, task: &Arc<Task>) -> Vec<(Vec<u8>, FileType)> {
        let mut out = self.fixed.names(task);
        let pids = task.kernel.pids.processes();
        let dirs = pids.iter().map(|p| (p.pid.to_string().into_bytes(), FileType::Directory));
        out.extend(dirs);
        out
    }
}
