//! Bind sources that cannot be swapped: what was opened safely is mounted, by descriptor, at a place of the gateway's
//! own in the engine's mount namespace, and the engine is told that place.
//!
//! A path that was checked and is then named to the engine could be exchanged for a link in between, or before a
//! later start of the container. What is mounted cannot. Needs root; see `trusted` in the configuration without.

use chitin_hostsys::ns::{Access, attach_tree, clone_tree_of, detach, in_mount_namespace};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::engine::Engine;

/// Where the places are, below the engine's root.
const PLACES: &str = "run/chitin-gateway/binds";
/// Most different bind sources of one client.
const MAX_PINS: usize = 1024;

/// The pins of one client.
pub struct Pins {
    client: String,
    all: Vec<Pin>,
    /// Sources that are named: the host's path and the client's.
    named: Vec<(String, String)>,
}

struct Pin {
    fd: OwnedFd,
    device: u64,
    inode: u64,
    directory: bool,
    shown: String,
}

/// Whether `path` is `root` or below it.
pub fn below(path: &str, root: &str) -> bool {
    let root = root.trim_end_matches('/');
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Opens a source below a root; links may be followed as long as they stay below.
pub fn open(root: &str, relative: &str, shown: &str) -> Result<OwnedFd, String> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let dir = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty())
        .map_err(|e| format!("the workspace {root:?} cannot be opened: {e}"))?;
    let relative = if relative.is_empty() { "." } else { relative };
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(&dir, relative, flags, Mode::empty(), how)
        .map_err(|e| format!("the source {shown:?} cannot be opened within its workspace: {e}"))
}

impl Pins {
    /// No pins yet.
    pub fn new(client: &str) -> Self {
        Self { client: client.into(), all: vec![], named: vec![] }
    }

    fn dir(&self) -> String {
        format!("{PLACES}/{}", self.client)
    }

    fn place(&self, n: usize) -> String {
        format!("{}/{n}", self.dir())
    }

    /// Pins a source; the same source gets the same place.
    pub fn pin(&mut self, engine: &Engine, fd: OwnedFd, shown: &str) -> Result<String, String> {
        let stat = rustix::fs::fstat(&fd).map_err(|e| e.to_string())?;
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        let directory = kind == rustix::fs::FileType::Directory;
        if !directory && kind != rustix::fs::FileType::RegularFile {
            return Err(format!("the source {shown:?} is neither a directory nor a plain file"));
        }
        let (device, inode) = (stat.st_dev, stat.st_ino);
        let same = |p: &Pin| (p.device, p.inode, p.shown.as_str()) == (device, inode, shown);
        if let Some(n) = self.all.iter().position(same) {
            return Ok(format!("/{}", self.place(n)));
        }
        if self.all.len() >= MAX_PINS {
            return Err(format!("more than {MAX_PINS} different bind sources"));
        }
        let n = self.all.len();
        let place = self.place(n);
        let pin = Pin { fd, device, inode, directory, shown: shown.to_owned() };
        mount(engine, &[(&pin, place.clone())]).map_err(|e| {
            format!("the source {shown:?} cannot be pinned ({e}); run as root, or set trusted = true for its workspace")
        })?;
        self.all.push(pin);
        Ok(format!("/{place}"))
    }

    /// Names a source instead, with its links resolved.
    pub fn by_name(&mut self, fd: OwnedFd, shown: &str) -> Result<String, String> {
        let path = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let path = path.map_err(|e| e.to_string())?;
        let path = path.to_str().ok_or("the path is not UTF-8")?.to_owned();
        if self.named.len() < MAX_PINS && !self.named.iter().any(|(p, s)| *p == path && s == shown)
        {
            self.named.push((path.clone(), shown.to_owned()));
        }
        Ok(path)
    }

    /// The client's path for a source of the engine's.
    pub fn shown(&self, source: &str) -> Option<String> {
        let named = self.named.iter().find(|(path, _)| path == source).map(|(_, s)| s.clone());
        let number = || source.strip_prefix(&format!("/{}/", self.dir()))?.parse::<usize>().ok();
        named.or_else(|| self.all.get(number()?).map(|p| p.shown.clone()))
    }

    /// Mounts all pins again where the engine has lost them (it was started anew in another namespace).
    pub fn restore(&self, engine: &Engine) {
        let all: Vec<_> = self.all.iter().enumerate().map(|(n, p)| (p, self.place(n))).collect();
        if all.is_empty() {
            return;
        }
        if let Err(e) = mount(engine, &all) {
            eprintln!("chitin gateway: the bind sources of {} are not back: {e}", self.client);
        }
    }

    /// Takes every pin of the client away, also those of a gateway before this one.
    pub fn clear(&mut self, engine: &Engine) {
        let dir = self.dir();
        let clear = || {
            let entries = match std::fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(_) => return Ok(()),
            };
            for entry in entries.flatten() {
                let path = entry.path();
                if let Some(c) = path.to_str().and_then(|p| CString::new(p).ok()) {
                    // More than one mount may be there after a restart; a place without any is an error.
                    while detach(&c).is_ok() {}
                }
                let _ = std::fs::remove_dir(&path).or_else(|_| std::fs::remove_file(&path));
            }
            let _ = std::fs::remove_dir(&dir);
            Ok(())
        };
        let _ = inside(engine, clear);
        self.all.clear();
        self.named.clear();
    }
}

/// Runs something in the engine's mount namespace, in its root.
fn inside<T: Send>(engine: &Engine, f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let pid = engine.process().map_err(io::Error::other)?;
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty())?;
    in_mount_namespace(namespace.as_fd(), root.as_fd(), f)
}

fn mount(engine: &Engine, pins: &[(&Pin, String)]) -> io::Result<()> {
    let mut trees = Vec::new();
    for (pin, place) in pins {
        trees.push((clone_tree_of(pin.fd.as_fd(), Access::ReadWrite)?, *pin, place));
    }
    inside(engine, move || {
        for (tree, pin, place) in trees {
            let parent = place.rsplit_once('/').map_or(PLACES, |(parent, _)| parent);
            std::fs::create_dir_all(parent)?;
            match rustix::fs::stat(place.as_str()) {
                Ok(s) if (s.st_dev, s.st_ino) == (pin.device, pin.inode) => continue,
                Ok(_) => {}
                Err(_) if pin.directory => std::fs::create_dir(place)?,
                Err(_) => drop(File::create_new(place)?),
            }
            let place = CString::new(place.as_str()).map_err(io::Error::other)?;
            attach_tree(tree.as_fd(), &place)?;
        }
        Ok(())
    })
}
