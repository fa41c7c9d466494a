//! Places with credentials that are hidden by default (`masks.list`).

use crate::SandboxConfig;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

static LIST: &str = include_str!("masks.list");
/// Users below it are the system's and have no secrets of a person.
const FIRST_PERSON: u32 = 1000;

/// The masked places, `~` for every home directory.
pub fn list() -> impl Iterator<Item = &'static str> {
    LIST.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'))
}

/// Home directories of the host, as far as they can be seen.
fn homes() -> Vec<PathBuf> {
    let mut out = vec![PathBuf::from("/root")];
    out.extend(std::env::var_os("HOME").map(PathBuf::from));
    let users = std::fs::read_dir("/home").into_iter().flatten().flatten();
    out.extend(users.map(|entry| entry.path()));
    // name:password:uid:gid:comment:home:shell
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    for line in passwd.split(|&b| b == b'\n') {
        let fields: Vec<&[u8]> = line.split(|&b| b == b':').collect();
        let uid = fields.get(2).and_then(|f| std::str::from_utf8(f).ok()?.parse::<u32>().ok());
        if let (Some(home), Some(FIRST_PERSON..)) = (fields.get(5), uid) {
            out.push(PathBuf::from(OsString::from_vec(home.to_vec())));
        }
    }
    out.retain(|p| p.is_absolute() && p != Path::new("/"));
    out.sort();
    out.dedup();
    out
}

/// Absolute host paths of all masked places, and where links among them lead.
fn places() -> Vec<PathBuf> {
    let homes = homes();
    let mut out: Vec<PathBuf> = Vec::new();
    for entry in list() {
        match entry.strip_prefix("~/") {
            Some(rest) => out.extend(homes.iter().map(|home| home.join(rest))),
            None => out.push(PathBuf::from(entry)),
        }
    }
    // Many accounts have no home: nothing needs to be looked up below those.
    let missing: Vec<_> = homes.iter().filter(|p| p.symlink_metadata().is_err()).collect();
    let known = |p: &&PathBuf| !missing.iter().any(|home| p.starts_with(home));
    let there = out.iter().filter(known).filter(|p| p.symlink_metadata().is_ok());
    let real: Vec<_> = there.filter_map(|p| p.canonicalize().ok()).collect();
    // A link to nothing in particular must not hide it.
    let harmless = |p: &PathBuf| p.starts_with("/dev") || p.starts_with("/proc");
    out.extend(real.into_iter().filter(|p| !harmless(p)));
    out.sort();
    out.dedup();
    out
}

fn shows(config: &SandboxConfig, path: &Path) -> bool {
    let named = |shown: &PathBuf| {
        shown == Path::new("all")
            || path.starts_with(shown)
            || shown.canonicalize().is_ok_and(|real| path.starts_with(real))
    };
    config.unmask.iter().any(named)
}

/// Whether a path of `--unmask` lifts anything.
#[must_use]
pub fn is_masked(path: &Path) -> bool {
    path == Path::new("all")
        || places().iter().any(|p| {
            p.starts_with(path) || path.canonicalize().is_ok_and(|real| p.starts_with(real))
        })
}

fn below(config: &SandboxConfig, places: &[PathBuf], top: &Path) -> Vec<Vec<u8>> {
    let inside =
        places.iter().filter(|p| !shows(config, p)).filter_map(|p| p.strip_prefix(top).ok());
    // What is named itself is meant.
    let inside = inside.filter(|p| !p.as_os_str().is_empty());
    inside.map(|p| p.as_os_str().as_bytes().to_vec()).collect()
}

/// What is hidden, as paths below what is shown.
pub(crate) struct Masks {
    /// Below the root.
    pub(crate) root: Vec<Vec<u8>>,
    /// Below each of the directories that are shown besides.
    pub(crate) binds: Vec<Vec<Vec<u8>>>,
}

impl Masks {
    /// To be called while the host's files can be seen. A root of its own (`--root`) is no
    /// place of the host's users, but the host's directories below it are.
    pub(crate) fn new(config: &SandboxConfig) -> Self {
        let places = places();
        Self {
            root: below(config, &places, config.root.as_deref().unwrap_or(Path::new("/"))),
            binds: config.binds.iter().map(|bind| below(config, &places, &bind.host)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_documented() {
        let document = include_str!("../../../docs/masks.md");
        for place in list() {
            assert!(
                document.contains(&format!("- `{place}`\n")),
                "{place} is not in docs/masks.md"
            );
        }
        let documented =
            document.lines().filter(|l| l.starts_with("- `/") || l.starts_with("- `~"));
        assert_eq!(documented.count(), list().count());
    }
}
