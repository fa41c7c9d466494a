//! Directories of an overlay: finding and listing.

use super::OPAQUE;
use super::node::{Id, Node, is_whiteout, origin, upper_ino};
use chitin_abi::Errno;
use chitin_kernel::sync::Mutex;
use chitin_kernel::vfs::{Attr, DirSink, FileCx, FileOps, FileType, Inode, InodeRef, IoDst, Kept};
use std::collections::HashSet;
use std::sync::Arc;

const DT_CHR: u8 = 2;
/// Names that a directory remembers not to be in the lower one.
const ABSENT_MAX: usize = 8;

/// One entry of a listing.
struct Entry {
    ino: u64,
    kind: u8,
    name: Box<[u8]>,
}

/// Collects entries but for `.` and `..`.
#[derive(Default)]
struct Collect(Vec<Entry>);

impl DirSink for Collect {
    fn entry(&mut self, ino: u64, _next: u64, kind: u8, name: &[u8]) -> bool {
        if !matches!(name, b"." | b"..") {
            self.0.push(Entry { ino, kind, name: name.into() });
        }
        true
    }
}

fn collect(dir: &InodeRef) -> Result<Vec<Entry>, Errno> {
    let mut all = Collect::default();
    dir.as_dir().ok_or(Errno::ENOTDIR)?.list(0, &mut all)?;
    Ok(all.0)
}

/// The entry of a directory, `None` if there is none.
pub(super) fn entry_of(dir: &InodeRef, name: &[u8]) -> Result<Option<InodeRef>, Errno> {
    match dir.as_dir().ok_or(Errno::ENOTDIR)?.find(name) {
        Ok(inode) => Ok(Some(inode)),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

impl Node {
    /// What the upper directory has under a name, whiteouts included.
    pub(super) fn upper_entry(&self, name: &[u8]) -> Result<Option<InodeRef>, Errno> {
        self.upper().map_or(Ok(None), |dir| entry_of(dir, name))
    }

    /// What the lower directory has under a name.
    pub(super) fn lower_entry(&self, name: &[u8]) -> Result<Option<InodeRef>, Errno> {
        let Some(dir) = &self.lower else { return Ok(None) };
        if self.is_absent(name) {
            return Ok(None);
        }
        let found = entry_of(dir, name)?;
        if found.is_none() {
            self.is_now_absent(name);
        }
        Ok(found)
    }

    fn is_absent(&self, name: &[u8]) -> bool {
        self.absent.lock().iter().any(|known| **known == *name)
    }

    /// Temporary files come and go under few names; the lower tree stays as it is.
    fn is_now_absent(&self, name: &[u8]) {
        let mut absent = self.absent.lock();
        absent.push_back(name.into());
        if absent.len() > ABSENT_MAX {
            absent.pop_front();
        }
    }

    /// Attributes of a lower file that no node stands for; the entries are locked.
    pub(super) fn glance_locked(&self, name: &[u8]) -> Result<Option<(Attr, Kept)>, Errno> {
        let Some(lower) = self.lower.as_ref().and_then(|dir| dir.as_dir()) else {
            return Ok(None);
        };
        if self.upper_entry(name)?.is_some() || self.sup.has_links() || self.is_absent(name) {
            return Ok(None);
        }
        match lower.glance(name) {
            Ok(Some((attr, kept))) => {
                let id = Id::Lower(attr.dev, attr.ino);
                let known = self.sup.nodes.lock().get(&id).is_some_and(|n| n.strong_count() > 0);
                Ok((!known).then_some((attr, kept)))
            }
            Err(Errno::ENOENT) => {
                self.is_now_absent(name);
                Err(Errno::ENOENT)
            }
            other => other,
        }
    }

    /// Finds an entry; the entries are locked.
    pub(super) fn find_locked(&self, name: &[u8]) -> Result<Arc<Self>, Errno> {
        let Some(upper) = self.upper_entry(name)? else {
            let lower = self.lower_entry(name)?.ok_or(Errno::ENOENT)?;
            return self.adopt(name, Some(lower), None);
        };
        if is_whiteout(&upper) {
            return Err(Errno::ENOENT);
        }
        if upper.file_type() != FileType::Directory || upper.xattr_get(OPAQUE).is_ok() {
            return self.adopt(name, None, Some(upper));
        }
        let ino = upper.number()?;
        let moved = self.sup.redirects.lock().get(&ino).cloned();
        let lower = match moved {
            Some(lower) => Some(lower),
            None => self.lower_entry(name)?.filter(|l| l.file_type() == FileType::Directory),
        };
        self.adopt(name, lower, Some(upper))
    }

    /// All entries but `.` and `..`.
    fn merged(&self) -> Result<Vec<Entry>, Errno> {
        let _entries = self.entries.read();
        let Some(upper) = self.upper() else {
            return self.lower.as_ref().map_or(Ok(Vec::new()), collect);
        };
        let dir = upper.as_dir().ok_or(Errno::ENOTDIR)?;
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        for mut entry in collect(upper)? {
            if let Ok(inode) = dir.find(&entry.name) {
                if entry.kind == DT_CHR && is_whiteout(&inode) {
                    seen.insert(entry.name);
                    continue;
                }
                entry.ino = origin(&inode).map_or(upper_ino(entry.ino), |id| id.1);
            }
            if self.lower.is_some() {
                seen.insert(entry.name.clone());
            }
            all.push(entry);
        }
        if let Some(lower) = &self.lower {
            all.extend(collect(lower)?.into_iter().filter(|e| !seen.contains(&e.name)));
        }
        Ok(all)
    }

    /// Whether it has no entries.
    pub(super) fn is_empty(&self) -> Result<bool, Errno> {
        Ok(self.merged()?.is_empty())
    }

    /// Lists everything, with `.` and `..`.
    fn listing(&self) -> Result<Vec<Entry>, Errno> {
        let kind = FileType::Directory.dirent_type();
        let parent = self.place.lock().as_ref().map_or(self.id.1, |(p, _)| p.id.1);
        let dots = [(self.id.1, &b"."[..]), (parent, b"..")];
        let dots = dots.map(|(ino, name)| Entry { ino, kind, name: name.into() });
        let mut all = Vec::from(dots);
        all.extend(self.merged()?);
        Ok(all)
    }

    pub(super) fn list_from(&self, pos: u64, sink: &mut dyn DirSink) -> Result<u64, Errno> {
        Ok(pass_on(&self.listing()?, pos, sink))
    }
}

/// Passes entries on from `pos`, their index, on.
fn pass_on(all: &[Entry], pos: u64, sink: &mut dyn DirSink) -> u64 {
    let from = usize::try_from(pos).unwrap_or(usize::MAX);
    let mut at = pos;
    for entry in all.get(from..).unwrap_or_default() {
        if !sink.entry(entry.ino, at + 1, entry.kind, &entry.name) {
            break;
        }
        at += 1;
    }
    at
}

/// An open directory: lists what there was when it was read from its beginning, or goes
/// on reading the lower one if that was all there was. Lock: one.
pub(super) struct OpenDir {
    node: Arc<Node>,
    state: Mutex<Reading>,
}

struct Reading {
    /// The lower directory, open.
    stream: Option<Box<dyn FileOps>>,
    listing: Option<Vec<Entry>>,
    /// The listing is of the lower directory alone.
    lower: bool,
}

impl OpenDir {
    pub(super) fn new(node: Arc<Node>, stream: Option<Box<dyn FileOps>>) -> Self {
        let lower = stream.is_some();
        Self { node, state: Mutex::new(Reading { stream, listing: None, lower }) }
    }
}

impl FileOps for OpenDir {
    fn read(&self, _cx: FileCx<'_>, _dst: &mut IoDst<'_>, _pos: u64) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_dir(&self, cx: FileCx<'_>, pos: u64, sink: &mut dyn DirSink) -> Result<u64, Errno> {
        let mut state = self.state.lock();
        if pos == 0 {
            state.listing = None;
            state.lower = state.stream.is_some() && self.node.upper().is_none();
        }
        if state.lower
            && let Some(stream) = &state.stream
        {
            return stream.read_dir(cx, pos, sink);
        }
        let all = match &mut state.listing {
            Some(all) => all,
            none => none.insert(self.node.listing()?),
        };
        Ok(pass_on(all, pos, sink))
    }

    fn fsync(&self, _cx: FileCx<'_>) -> Result<(), Errno> {
        Ok(())
    }
}

impl Node {
    /// Whether `self` is a directory at all.
    pub(super) fn must_be_dir(&self) -> Result<(), Errno> {
        if self.file_type() == FileType::Directory { Ok(()) } else { Err(Errno::ENOTDIR) }
    }
}
