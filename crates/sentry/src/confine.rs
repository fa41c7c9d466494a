//! Self-confinement of the sentry: what is left of the host is given up in steps, each
//! of which is undone by none.

use crate::config::Bind;
use crate::launch::Isolation;
use crate::{BindMode, SandboxConfig};
use anyhow::{Context, Result, bail};
use chitin_hostsys::landlock::{self, Beneath};
use chitin_hostsys::ns::{self, Access};
use chitin_hostsys::{policy, process};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Opens the tree that is the program's root: read-only on the host's side too, where
/// there is a mount namespace.
pub(crate) fn root_tree(config: &SandboxConfig, isolation: Isolation) -> Result<OwnedFd> {
    let path = config.root.as_deref().unwrap_or(Path::new("/"));
    let name = CString::new(path.as_os_str().as_bytes()).context("a NUL byte in --root")?;
    let explain = || format!("{} cannot be opened; is it a directory?", path.display());
    if isolation == Isolation::Nothing {
        return ns::open_path(&name).with_context(explain);
    }
    ns::make_mounts_private().context("mounts could not be made private")?;
    ns::clone_tree(&name, Access::ReadOnly).with_context(explain)
}

/// Opens a directory that is shown besides the root.
pub(crate) fn bind_tree(bind: &Bind, isolation: Isolation) -> Result<OwnedFd> {
    let name = CString::new(bind.host.as_os_str().as_bytes()).context("a NUL byte in a path")?;
    let access = match bind.mode {
        BindMode::ReadOnly => Access::ReadOnly,
        BindMode::ReadWrite => Access::ReadWrite,
    };
    let opened = match isolation {
        Isolation::Nothing => ns::open_path(&name),
        _ => ns::clone_tree(&name, access),
    };
    opened.with_context(|| format!("{} cannot be opened", bind.host.display()))
}

/// Gives up the file system but for the given trees, all capabilities, and the way to get
/// any. The process has one thread yet.
pub(crate) fn give_up(
    config: &SandboxConfig,
    isolation: Isolation,
    root: BorrowedFd<'_>,
    binds: &[OwnedFd],
) -> Result<()> {
    if isolation != Isolation::Nothing {
        ns::enter_empty_root().context("no empty root for the sentry")?;
    }
    process::forbid_core_files().context("core files could not be forbidden")?;
    process::drop_capabilities().context("capabilities could not be dropped")?;
    process::set_no_new_privs().context("no_new_privs could not be set")?;
    let mut trees = vec![(root, Beneath::Read)];
    trees.extend(config.binds.iter().zip(binds).map(|(bind, fd)| match bind.mode {
        BindMode::ReadOnly => (fd.as_fd(), Beneath::Read),
        BindMode::ReadWrite => (fd.as_fd(), Beneath::Change),
    }));
    let restricted =
        landlock::restrict_to(&trees).context("Landlock refused the sentry's rules")?;
    if isolation == Isolation::Nothing {
        let rest = if restricted { "seccomp and Landlock" } else { "seccomp" };
        eprintln!(
            "chitin: this host permits no namespaces: only {rest} confine the sentry, and changes \
             of the host's files are kept out by the sentry itself (SECURITY.md tells what that \
             means; `sysctl user.max_user_namespaces` and the container's seccomp profile decide)"
        );
    }
    Ok(())
}

/// Installs the seccomp filter for all threads.
pub(crate) fn filter(config: &SandboxConfig) -> Result<()> {
    let mut shown = config.binds.iter().chain(&config.files);
    let writes = shown.any(|b| b.mode == BindMode::ReadWrite);
    let more = if writes { policy::WRITING_POLICY } else { "" };
    let parsed =
        policy::parse(policy::SENTRY_POLICY).and_then(|rules| Ok((rules, policy::parse(more)?)));
    let rules = match parsed {
        Ok((mut rules, more)) => {
            rules.extend(more);
            rules
        }
        Err(e) => bail!("the sentry's policy is broken: {e}"),
    };
    let program = policy::compile(&rules, policy::KILL);
    policy::install(&program).context("the seccomp filter was refused")
}
