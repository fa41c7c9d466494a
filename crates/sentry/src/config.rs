//! What a sandbox is made from.

use std::path::PathBuf;
use std::time::Duration;

/// How a host path appears in the sandbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindMode {
    /// Reads go to the host, writes fail with `EROFS`.
    ReadOnly,
    /// Reads and writes go to the host.
    ReadWrite,
}

/// A host path shown in the sandbox.
#[derive(Clone, Debug)]
pub struct Bind {
    /// Canonical path on the host.
    pub host: PathBuf,
    /// Absolute path in the sandbox.
    pub guest: PathBuf,
    /// Read-only or not.
    pub mode: BindMode,
}

/// Where a log goes.
#[derive(Clone, Debug)]
pub enum LogTo {
    /// The standard error of the caller.
    Stderr,
    /// A file of the host, opened before confinement.
    File(PathBuf),
}

/// Everything about a sandbox that its caller chooses.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Program and arguments.
    pub command: Vec<Vec<u8>>,
    /// Environment, `KEY=VALUE`.
    pub env: Vec<Vec<u8>>,
    /// Working directory inside.
    pub cwd: PathBuf,
    /// Host directory that is the root; `None` is the host's own root.
    pub root: Option<PathBuf>,
    /// Host directories shown besides.
    pub binds: Vec<Bind>,
    /// Host files shown besides.
    pub files: Vec<Bind>,
    /// Places of empty in-memory file systems.
    pub tmpfs: Vec<PathBuf>,
    /// Masked places to show after all.
    pub unmask: Vec<PathBuf>,
    /// User and group inside; `None` is the caller's.
    pub user: Option<(u32, u32)>,
    /// Host name inside; `None` is the host's.
    pub hostname: Option<String>,
    /// Memory limit in bytes.
    pub memory: Option<u64>,
    /// Limit on the number of tasks.
    pub pids: Option<u32>,
    /// Life time.
    pub timeout: Option<Duration>,
    /// Name of the platform.
    pub platform: String,
    /// Log of system calls.
    pub strace: Option<LogTo>,
    /// Statistics at the end.
    pub stats: bool,
    /// Kernel log.
    pub log: Option<LogTo>,
}
