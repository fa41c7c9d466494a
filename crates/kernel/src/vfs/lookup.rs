//! Path resolution (`path_resolution(7)`, `openat2(2)`).
//!
//! [`resolve`] walks a path to its last component and tells what is there;
//! [`lookup`] wants a file there, [`lookup_parent`] a place for a new one.

use super::access::{Want, admitted};
use super::quick::{self, Advance};
use super::{Attr, Caching, Dentry, FileType, InodeRef, Kept, Mount, Path};
use crate::task::Task;
use chitin_abi::Errno;
use chitin_abi::fs::{
    AT_FDCWD, MAXSYMLINKS, RESOLVE_BENEATH, RESOLVE_CACHED, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Longest path in bytes, terminator included.
pub const PATH_MAX: usize = 4096;
/// Longest name in bytes.
pub const NAME_MAX: usize = 255;
/// `MS_NOSYMFOLLOW` of a mount.
const MS_NOSYMFOLLOW: u32 = 0x100;
/// Known entries of a directory from which on absent ones are forgotten when its table
/// would have to grow.
const CHILDREN_MAX: usize = 3000;

/// How the last component is treated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last {
    /// A symbolic link is followed.
    Follow,
    /// A symbolic link is the result, unless a slash behind it asks for a directory.
    NoFollow,
    /// The name itself is wanted: a symbolic link is the result in any case, and a
    /// slash behind it is the caller's affair (`mkdir(2)`, `unlink(2)`, `rename(2)`).
    Entry,
}

/// What a walk found.
pub struct Resolved {
    /// Directory of the last component.
    pub parent: Path,
    /// Last component; empty if the path ends with `.`, `..` or at the root.
    pub name: Vec<u8>,
    /// What is there.
    pub target: Option<Path>,
    /// The path ended with a slash: only a directory will do.
    pub slash: bool,
    /// Everything on the way stays as it is until something changes ([`crate::changes`]),
    /// or as long as the host is believed.
    pub steady: bool,
    /// Attributes of what is there, without a target: only [`look`] gives them.
    glance: Option<(Attr, Kept)>,
}

/// What [`look`] found.
pub enum Look {
    /// A file.
    At(Path),
    /// Attributes of one, how long they may be told again, and the mount it is in.
    Attr(Attr, Kept, Arc<Mount>),
    /// Nothing.
    Absent,
}

impl Resolved {
    /// Nothing is there.
    fn nothing(parent: Path, name: Vec<u8>, slash: bool, steady: bool) -> Self {
        Self { parent, name, target: None, slash, steady, glance: None }
    }
}

pub(super) struct Walk<'a> {
    task: &'a Arc<Task>,
    /// Where it may not lead out of; `None` until somebody asks for the task's own.
    root: Option<Path>,
    resolve: u64,
    links: u32,
    steady: bool,
    /// Attributes are all that is wanted.
    glances: bool,
}

/// Where a walk begins: `dirfd` (`AT_FDCWD`, or a directory) unless the path is absolute.
pub fn base(task: &Arc<Task>, dirfd: i32, path: &[u8]) -> Result<Path, Errno> {
    let fs = task.fs();
    if path.first() == Some(&b'/') {
        return Ok(fs.root.read().clone());
    }
    if dirfd == AT_FDCWD {
        return Ok(fs.cwd.read().clone());
    }
    let file = task.files().get(dirfd)?;
    let path = file.path().ok_or(Errno::ENOTDIR)?;
    let directory = path.dentry.inode_ref().is_some_and(|i| i.file_type() == FileType::Directory);
    if directory { Ok(path.clone()) } else { Err(Errno::ENOTDIR) }
}

/// The dentry of an entry if the cache may answer; it may be negative.
pub(super) fn cached(dir: &Path, name: &[u8]) -> Option<Arc<Dentry>> {
    if dir.mount.fs.caching() != Caching::Always {
        return None;
    }
    dir.dentry.known(name)
}

/// The dentry of an entry, from the cache or the file system; negative if absent.
pub fn child(task: &Arc<Task>, dir: &Path, name: &[u8]) -> Result<Arc<Dentry>, Errno> {
    if let Some(known) = cached(dir, name) {
        return Ok(known);
    }
    let _changes = dir.dentry.changes.lock();
    child_locked(task, dir, name)
}

/// The same for a caller that holds the directory's [`Dentry::changes`].
pub fn child_locked(task: &Arc<Task>, dir: &Path, name: &[u8]) -> Result<Arc<Dentry>, Errno> {
    if let Some(known) = cached(dir, name) {
        return Ok(known);
    }
    let inode = dir.dentry.inode_ref().ok_or(Errno::ENOENT)?;
    let found = match inode.as_dir().ok_or(Errno::ENOTDIR)?.lookup(task, name) {
        Ok(inode) => Some(inode),
        Err(Errno::ENOENT) => None,
        Err(e) => return Err(e),
    };
    let caches = dir.mount.fs.caching() == Caching::Always;
    let mut children = dir.dentry.children.write();
    // A link that comes and goes by itself may lead elsewhere now (`/proc/self/fd/3`).
    if let (Some(known), Some(found)) = (children.get(name), &found)
        && found.file_type() != FileType::Symlink
        && known.inode_ref().is_some_and(|old| same_inode(old, found))
    {
        return Ok(known.clone());
    }
    // Only when the table would grow: looking at all of them each time would cost more
    // than it spares.
    if children.len() >= CHILDREN_MAX && children.len() == children.capacity() {
        // What is absent, or can be found again and is in nobody's hands, is forgotten.
        let keeps = |d: &Arc<Dentry>| caches && d.inode_ref().is_some();
        children.retain(|_, d| keeps(d) || Arc::strong_count(d) > 1);
    }
    task.fs().glances.looked_up(dir, name);
    let dentry = Dentry::new(Some(dir.dentry.clone()), name, found);
    if caches || dentry.inode_ref().is_some() {
        children.insert(name.into(), dentry.clone());
        drop(children);
        task.kernel.dentries.entered(&dentry);
    }
    Ok(dentry)
}

/// Whether both are the same file.
#[must_use]
pub fn same_inode(a: &InodeRef, b: &InodeRef) -> bool {
    if Arc::ptr_eq(a, b) {
        return true;
    }
    match (a.attr(), b.attr()) {
        (Ok(a), Ok(b)) => (a.dev, a.ino) == (b.dev, b.ino) && a.kind == b.kind,
        _ => false,
    }
}

/// What is left of a path to walk: its text, and the texts of links on the way.
pub(super) struct Rest<'a> {
    pub(super) path: &'a [u8],
    pub(super) links: Vec<(Vec<u8>, usize)>,
}

/// The first component of `text` from `at` on, and where it ends.
pub(super) fn component(text: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let start = at + text.get(at..)?.iter().position(|&b| b != b'/')?;
    let rest = text.get(start..)?;
    let len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
    Some((rest.get(..len)?, start + len))
}

impl Rest<'_> {
    /// Moves the next component to `out`; false at the end, when `out` stays.
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        while let Some((text, at)) = self.links.last_mut() {
            if let Some((part, end)) = component(text, *at) {
                out.clear();
                out.extend_from_slice(part);
                *at = end;
                return true;
            }
            self.links.pop();
        }
        let Some((part, end)) = component(self.path, 0) else { return false };
        out.clear();
        out.extend_from_slice(part);
        self.path = self.path.get(end..).unwrap_or_default();
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        component(self.path, 0).is_none()
            && self.links.iter().all(|(text, at)| component(text, *at).is_none())
    }
}

enum LinkTarget {
    Place(Path),
    Text(Vec<u8>),
}

impl Walk<'_> {
    fn has(&self, flag: u64) -> bool {
        self.resolve & flag != 0
    }

    /// Where the walk may not lead out of.
    fn root(&mut self) -> &Path {
        self.root.get_or_insert_with(|| self.task.fs().root.read().clone())
    }

    /// One step up, not beyond the root.
    fn up(&mut self, from: &Path) -> Result<Path, Errno> {
        let mut at = from.clone();
        loop {
            if at.same(self.root()) {
                return if self.has(RESOLVE_BENEATH) { Err(Errno::EXDEV) } else { Ok(at) };
            }
            if let Some(parent) = at.dentry.parent()
                && !Arc::ptr_eq(&at.dentry, &at.mount.root)
            {
                return self.enter(&at.mount.clone(), parent);
            }
            match self.task.kernel.mounts.place_of(&at.mount) {
                Some(_) if self.has(RESOLVE_NO_XDEV) => return Err(Errno::EXDEV),
                Some(place) => at = place,
                None => return Ok(at),
            }
        }
    }

    /// The place of a dentry, or the root of what is mounted there.
    fn enter(&self, mount: &Arc<Mount>, dentry: Arc<Dentry>) -> Result<Path, Errno> {
        let path = Path { mount: mount.clone(), dentry };
        if path.dentry.mounted.load(Ordering::SeqCst) == 0 {
            return Ok(path);
        }
        let crossed = self.task.kernel.mounts.cross(path);
        if self.has(RESOLVE_NO_XDEV) && !Arc::ptr_eq(&crossed.mount, mount) {
            return Err(Errno::EXDEV);
        }
        Ok(crossed)
    }

    fn child(&self, dir: &Path, name: &[u8]) -> Result<Arc<Dentry>, Errno> {
        if self.has(RESOLVE_CACHED) {
            return cached(dir, name).ok_or(Errno::EAGAIN);
        }
        child(self.task, dir, name)
    }

    /// Attributes of the last entry, if that is all that is needed of it.
    fn glance(&self, dir: &Path, name: &[u8], slash: bool, last: Last) -> Option<(Attr, Kept)> {
        if slash || dir.dentry.known(name).is_some() {
            return None;
        }
        self.task.fs().glances.at(dir, name, last == Last::Follow)
    }

    /// What a symbolic link in `dir` leads to: a place, or text to be walked.
    fn follow(&mut self, dir: &Path, inode: &InodeRef) -> Result<LinkTarget, Errno> {
        self.links += 1;
        let refused = dir.mount.flags() & MS_NOSYMFOLLOW != 0 || self.has(RESOLVE_NO_SYMLINKS);
        if self.links > MAXSYMLINKS || refused {
            return Err(Errno::ELOOP);
        }
        if let Some(jump) = inode.magic_link(self.task) {
            self.steady = false;
            if self.has(RESOLVE_NO_MAGICLINKS) {
                return Err(Errno::ELOOP);
            }
            let jump = jump?;
            let elsewhere = !Arc::ptr_eq(&jump.mount, &dir.mount);
            if self.has(RESOLVE_BENEATH | RESOLVE_IN_ROOT)
                || (elsewhere && self.has(RESOLVE_NO_XDEV))
            {
                return Err(Errno::EXDEV);
            }
            return Ok(LinkTarget::Place(jump));
        }
        let text = inode.read_link(self.task)?;
        if text.is_empty() { Err(Errno::ENOENT) } else { Ok(LinkTarget::Text(text)) }
    }

    /// Where an absolute link in `dir` starts.
    fn restart(&mut self, dir: &Path) -> Result<Path, Errno> {
        let elsewhere = !Arc::ptr_eq(&self.root().mount, &dir.mount);
        if self.has(RESOLVE_BENEATH) || (elsewhere && self.has(RESOLVE_NO_XDEV)) {
            return Err(Errno::EXDEV);
        }
        Ok(self.root().clone())
    }
}

/// Walks `path` from `dirfd` with the `RESOLVE_*` flags of `openat2(2)`.
pub fn resolve(
    task: &Arc<Task>,
    dirfd: i32,
    path: &[u8],
    last: Last,
    flags: u64,
) -> Result<Resolved, Errno> {
    walk(task, dirfd, path, last, flags, false)
}

/// Walks `path` for somebody who wants to know attributes; also says whether the way is
/// steady, as [`Resolved::steady`].
pub fn look(task: &Arc<Task>, dirfd: i32, path: &[u8], last: Last) -> Result<(Look, bool), Errno> {
    let found = walk(task, dirfd, path, last, 0, true)?;
    let what = match (found.target, found.glance) {
        (Some(path), _) => Look::At(path),
        (None, Some((attr, kept))) => Look::Attr(attr, kept, found.parent.mount),
        (None, None) => Look::Absent,
    };
    Ok((what, found.steady))
}

fn walk(
    task: &Arc<Task>,
    dirfd: i32,
    path: &[u8],
    last: Last,
    flags: u64,
    glances: bool,
) -> Result<Resolved, Errno> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    if path.len() >= PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    let scoped = flags & (RESOLVE_BENEATH | RESOLVE_IN_ROOT) != 0;
    if flags & RESOLVE_BENEATH != 0 && path.first() == Some(&b'/') {
        return Err(Errno::EXDEV);
    }
    let start = base(task, dirfd, if scoped { b"." } else { path })?;
    let root = scoped.then(|| start.clone());
    Walk { task, root, resolve: flags, links: 0, steady: true, glances }.run(start, path, last)
}

impl Walk<'_> {
    fn run(mut self, start: Path, path: &[u8], last: Last) -> Result<Resolved, Errno> {
        let cred = self.task.cred();
        let mut slash = path.last() == Some(&b'/');
        let mut rest = Rest { path, links: Vec::new() };
        let mut at = start;
        let mut name = Vec::new();
        let mut parent = match quick::advance(&cred, &mut at, &mut rest, last) {
            Advance::Absent(name) => {
                // Only known entries of steady file systems bring it here.
                return Ok(Resolved::nothing(at, name, slash, true));
            }
            Advance::Stopped(parent) => Path { mount: at.mount.clone(), dentry: parent },
            Advance::Done(parent, last) => {
                name = last;
                Path { mount: at.mount.clone(), dentry: parent }
            }
        };
        while rest.next(&mut name) {
            let inode = at.dentry.inode_ref().ok_or(Errno::ENOENT)?;
            if inode.file_type() != FileType::Directory {
                return Err(Errno::ENOTDIR);
            }
            let attr = inode.access_attr()?;
            admitted(self.task, &cred, (&**inode, &attr), Want::EXEC)?;
            match &*name {
                b"." => {
                    name.clear();
                    continue;
                }
                b".." => {
                    at = self.up(&at)?;
                    name.clear();
                    continue;
                }
                long if long.len() > NAME_MAX => return Err(Errno::ENAMETOOLONG),
                _ => {}
            }
            self.steady &= at.mount.fs.caching() == Caching::Always;
            let is_last = rest.is_empty();
            if self.glances
                && is_last
                && let Some(glance) = self.glance(&at, &name, slash, last)
            {
                let nothing = Resolved::nothing(at, name, slash, self.steady);
                return Ok(Resolved { glance: Some(glance), ..nothing });
            }
            let dentry = self.child(&at, &name)?;
            let Some(inode) = dentry.inode_ref() else {
                return match is_last {
                    true => Ok(Resolved::nothing(at, name, slash, self.steady)),
                    false => Err(Errno::ENOENT),
                };
            };
            let follows = match last {
                _ if !is_last => true,
                Last::Follow => true,
                Last::NoFollow => slash,
                Last::Entry => false,
            };
            if inode.file_type() == FileType::Symlink && follows {
                match self.follow(&at, inode)? {
                    LinkTarget::Place(place) => {
                        parent = at;
                        at = place;
                    }
                    LinkTarget::Text(text) => {
                        if text.first() == Some(&b'/') {
                            at = self.restart(&at)?;
                        }
                        slash |= is_last && text.last() == Some(&b'/');
                        rest.links.push((text, 0));
                    }
                }
                name.clear();
                continue;
            }
            let next = self.enter(&at.mount, dentry)?;
            parent = std::mem::replace(&mut at, next);
        }
        let inode = at.dentry.inode_ref().ok_or(Errno::ENOENT)?;
        if slash && last != Last::Entry && inode.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let steady = self.steady;
        Ok(Resolved { parent, name, target: Some(at), slash, steady, glance: None })
    }
}

/// The file at a path.
pub fn lookup(task: &Arc<Task>, dirfd: i32, path: &[u8], last: Last) -> Result<Path, Errno> {
    resolve(task, dirfd, path, last, 0)?.target.ok_or(Errno::ENOENT)
}

/// The same; with `empty`, an empty path is the descriptor itself (`AT_EMPTY_PATH`).
pub fn lookup_at(
    task: &Arc<Task>,
    dirfd: i32,
    path: &[u8],
    last: Last,
    empty: Empty,
) -> Result<Path, Errno> {
    if path.is_empty() && empty == Empty::Allowed {
        if dirfd == AT_FDCWD {
            return Ok(task.fs().cwd.read().clone());
        }
        let file = task.files().get(dirfd)?;
        return file.path().cloned().ok_or(Errno::EBADF);
    }
    lookup(task, dirfd, path, last)
}

/// Whether a path may be empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Empty {
    Allowed,
    Refused,
}

/// The place of an entry to make, remove or move: its directory and name.
pub fn lookup_parent(task: &Arc<Task>, dirfd: i32, path: &[u8]) -> Result<Resolved, Errno> {
    resolve(task, dirfd, path, Last::Entry, 0)
}

/// The path of a place as a task sees it from `root`; with ` (deleted)` if it is
/// gone. `None` if it is not below that root.
#[must_use]
pub fn name_of(task: &Arc<Task>, path: &Path, root: &Path) -> Option<Vec<u8>> {
    let (name, reachable) = name_from(task, path, root);
    reachable.then_some(name)
}

/// The same for places that need not be below that root, from the first directory that there
/// is above them, and whether they are.
#[must_use]
pub fn name_from(task: &Arc<Task>, path: &Path, root: &Path) -> (Vec<u8>, bool) {
    let mut parts: Vec<Box<[u8]>> = Vec::new();
    let mut at = path.clone();
    let mut deleted = false;
    let reachable = loop {
        if at.same(root) {
            break true;
        }
        deleted |= at.dentry.unlinked.load(Ordering::Relaxed);
        if Arc::ptr_eq(&at.dentry, &at.mount.root) {
            match task.kernel.mounts.place_of(&at.mount) {
                Some(place) => at = place,
                None => break false,
            }
            continue;
        }
        let (parent, name) = at.dentry.place.read().clone();
        parts.push(name);
        match parent {
            Some(parent) => at.dentry = parent,
            None => break false,
        }
    };
    let mut out = Vec::new();
    for part in parts.iter().rev() {
        out.push(b'/');
        out.extend_from_slice(part);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    if deleted {
        out.extend_from_slice(b" (deleted)");
    }
    (out, reachable)
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
