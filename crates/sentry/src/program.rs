//! The first process of a sandbox, and the signals that its caller sends it.

use crate::SandboxConfig;
use crate::hostio::CallerTerminal;
use crate::sandbox::Failure;
use crate::streams::{self, DeviceStream};
use anyhow::{Context, Result, anyhow};
use chitin_abi::Errno;
use chitin_abi::fs::AT_FDCWD;
use chitin_abi::signal::{SIGCONT, SIGINT, SIGQUIT, SIGTSTP, SIGWINCH};
use chitin_abi::task::{RLIM_NLIMITS, RLIMIT_NOFILE, RLIMIT_NPROC, Rlimit};
use chitin_hostsys::inherited::Inherited;
use chitin_hostsys::process;
use chitin_kernel::Kernel;
use chitin_kernel::cred::Cred;
use chitin_kernel::exec::{self, Program};
use chitin_kernel::fd::FdTable;
use chitin_kernel::signal::{SigInfo, SigSet, send_to_process};
use chitin_kernel::sync::RwLock;
use chitin_kernel::task::{FsContext, InitConfig, Task, default_limits, spawn_init};
use chitin_kernel::tty::signal_foreground;
use chitin_kernel::vfs::lookup::{Last, lookup};
use chitin_kernel::vfs::open::open_exec;
use chitin_kernel::vfs::{File, Glances, Path};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// The file of a command, searched for in `PATH` if it has no slash.
fn find_program(
    task: &Arc<Task>,
    command: &[u8],
    env: &[Vec<u8>],
) -> Result<(Arc<File>, Vec<u8>), Errno> {
    let open = |path: &[u8]| open_exec(task, AT_FDCWD, path, Last::Follow);
    if command.contains(&b'/') {
        return Ok((open(command)?, command.to_vec()));
    }
    let path = env.iter().find_map(|e| e.strip_prefix(b"PATH=".as_slice()));
    let path = path.unwrap_or(b"/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    let mut last = Errno::ENOENT;
    for dir in path.split(|&b| b == b':') {
        let dir = if dir.is_empty() { b".".as_slice() } else { dir };
        let candidate = [dir, b"/", command].concat();
        match open(&candidate) {
            Ok(file) => return Ok((file, candidate)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Why a program does not run, with the status that shells have for it.
fn explain(name: &str, e: Errno) -> Failure {
    const NOT_FOUND: u8 = 127;
    const NOT_EXECUTABLE: u8 = 126;
    let (what, status) = match e {
        Errno::ENOENT if name.contains('/') => {
            ("; it, its interpreter or a directory above is not there (--ro shows more)", NOT_FOUND)
        }
        Errno::ENOENT => ("; no directory of PATH has it", NOT_FOUND),
        Errno::EACCES => ("; it must be a file that may be executed (chmod +x)", NOT_EXECUTABLE),
        Errno::ENOEXEC => ("; programs are x86-64 ELF files or begin with #!", NOT_EXECUTABLE),
        _ => ("", NOT_EXECUTABLE),
    };
    Failure { error: anyhow!("{name}: {}{what}", e.description()), status }
}

/// The caller's limits, as far as the sandbox has as much.
fn limits_of(kernel: &Kernel, inherited: &Inherited) -> [Rlimit; RLIM_NLIMITS] {
    const MOST_FILES: u64 = 1 << 20;
    let mut limits = default_limits();
    for (limit, &(cur, max)) in limits.iter_mut().zip(&inherited.limits) {
        *limit = Rlimit { cur, max };
    }
    for (which, most) in [(RLIMIT_NOFILE, MOST_FILES), (RLIMIT_NPROC, kernel.max_tasks as u64)] {
        if let Some(limit) = limits.get_mut(which) {
            *limit = Rlimit { cur: limit.cur.min(most), max: limit.max.min(most) };
        }
    }
    limits
}

pub(crate) fn start(
    config: &SandboxConfig,
    kernel: &Arc<Kernel>,
    root: Path,
    (files, devices): (FdTable, Vec<DeviceStream>),
    inherited: &Inherited,
    terminal: Option<&Arc<CallerTerminal>>,
) -> Result<(), Failure> {
    let (uid, gid) = config.user.unwrap_or_else(process::ids);
    let groups = if config.user.is_some() { Vec::new() } else { process::groups() };
    let init = InitConfig {
        cred: Cred::for_user(uid, gid, groups),
        fs: FsContext {
            root: RwLock::new(root.clone()),
            cwd: RwLock::new(root),
            umask: AtomicU32::new(inherited.umask),
            glances: Glances::default(),
        },
        files,
        limits: limits_of(kernel, inherited),
        ignored: SigSet(inherited.ignored),
        blocked: SigSet(inherited.blocked),
    };
    let command = config.command.first().cloned().unwrap_or_default();
    let name = String::from_utf8_lossy(&command).into_owned();
    spawn_init(kernel, init, |task| {
        let cwd = config.cwd.as_os_str().as_bytes();
        match lookup(task, AT_FDCWD, cwd, Last::Follow) {
            Ok(place) => *task.fs().cwd.write() = place,
            Err(e) => {
                let error = anyhow!(
                    "the directory {} cannot be entered: {}; choose one with --cwd",
                    config.cwd.display(),
                    e.description()
                );
                return Err(Failure::from(error));
            }
        }
        streams::open_devices(task, &devices)?;
        let failed = |e: Errno| explain(&name, e);
        let (file, path) = find_program(task, &command, &config.env).map_err(failed)?;
        if let Some(trace) = &task.kernel.trace {
            trace.first(task.tid(), &path, &config.command, config.env.len());
        }
        let open = |path: &[u8]| open_exec(task, AT_FDCWD, path, Last::Follow);
        let program =
            Program { file, path, argv: config.command.clone(), envp: config.env.clone() };
        let limit = task.process.limit(chitin_abi::task::RLIMIT_STACK);
        let image =
            exec::load(&task.kernel, &task.cred(), program, limit, &open).map_err(failed)?;
        if let Some(terminal) = terminal.filter(|t| t.controls_caller()) {
            task.process.family.lock().tty = Some(terminal.clone());
        }
        task.scheduling.lock().nice = inherited.nice;
        *task.comm.lock() = image.comm;
        *task.process.exe.lock() = image.running;
        Ok((image.mm, image.ctx))
    })?;
    Ok(())
}

/// Passes the launcher's signals on: those of the terminal to the foreground, others to
/// the first process.
pub(crate) fn forward_signals(
    kernel: Arc<Kernel>,
    mut control: UnixStream,
    terminal: Option<Arc<CallerTerminal>>,
) -> Result<()> {
    let work = move || {
        let mut message = [0; 2];
        while control.read_exact(&mut message).is_ok() {
            let (signo, from_terminal) = (i32::from(message[0]), message[1] != 0);
            let whole_group = matches!(signo, SIGINT | SIGQUIT | SIGTSTP | SIGWINCH);
            let info = SigInfo::kernel(signo);
            if from_terminal && whole_group {
                if let Some(terminal) = &terminal {
                    signal_foreground(&kernel, &**terminal, signo);
                }
            } else if let Some(init) = kernel.pids.process(1) {
                send_to_process(&init, info);
                if let (SIGCONT, Some(terminal)) = (signo, &terminal) {
                    signal_foreground(&kernel, &**terminal, signo);
                }
            }
        }
        // The launcher is gone: so is the sandbox.
        std::process::exit(0)
    };
    let thread = std::thread::Builder::new().name("control".into()).stack_size(256 << 10);
    thread.spawn(work).context("no thread for the control socket")?;
    Ok(())
}
