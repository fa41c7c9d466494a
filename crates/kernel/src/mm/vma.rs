//! [`Vma`]: a range of addresses with one source and one protection.

use crate::ipc::Attachment;
use crate::syscall::memfd::SharedWriter;
use crate::vfs::{File, MapSource, Mappable};
use chitin_abi::Errno;
use chitin_platform::{Backing, MapOp, Populate, Prot};
use chitin_usermem::{Block, GuestMemory};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What stands behind an area. Pages of a private file mapping that were written are
/// areas of their own, anonymous with the file as their `origin`.
#[derive(Clone)]
pub enum Source {
    /// Address space only; memory is allocated when access is allowed.
    Reserved,
    /// Memory of the sandbox.
    Anon {
        /// The allocation.
        block: Arc<Block>,
        /// Byte offset of the area's first page in it.
        at: u64,
        /// The file that its pages were copied from.
        origin: Option<FilePart>,
        /// Since a fork others have the same pages: a store must copy them first.
        copies: Option<Arc<Side>>,
    },
    /// A file's own pages.
    File(FilePart),
}

/// A part of a file.
#[derive(Clone)]
pub struct FilePart {
    /// The open file description (`/proc/PID/maps` shows its path).
    pub file: Arc<File>,
    /// Its pages.
    pub map: Arc<dyn Mappable>,
    /// Byte offset of the area's first page.
    pub offset: u64,
    /// It can be written through this mapping, which keeps it from being sealed.
    pub writer: Option<Arc<SharedWriter>>,
    /// It shows a segment of shared memory.
    pub attached: Option<Arc<Attachment>>,
}

impl Source {
    /// At least `len` bytes of fresh memory.
    pub(super) fn fresh(memory: &Arc<GuestMemory>, len: u64) -> Result<Self, Errno> {
        Ok(Self::Anon { block: memory.alloc(len)?, at: 0, origin: None, copies: None })
    }
}

/// What keeps the pages of an area from being given to others.
pub(super) type Hold = (Option<Arc<Block>>, Option<Arc<Side>>, Option<Arc<dyn Mappable>>);

impl From<Source> for Hold {
    fn from(source: Source) -> Self {
        match source {
            Source::Reserved => (None, None, None),
            Source::Anon { block, copies, .. } => (Some(block), copies, None),
            Source::File(part) => (None, None, Some(part.map)),
        }
    }
}

impl FilePart {
    fn shifted(&self, by: u64) -> Self {
        Self { offset: self.offset.saturating_add(by), ..self.clone() }
    }
}

/// The hold of one address space on pages that forks have left to several.
#[derive(Debug)]
pub struct Side(Arc<AtomicUsize>);

impl Side {
    /// Of pages that nobody else has.
    #[must_use]
    pub fn first() -> Arc<Self> {
        Arc::new(Self(Arc::new(AtomicUsize::new(1))))
    }

    /// That of another address space on the same pages.
    #[must_use]
    pub fn another(&self) -> Arc<Self> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Arc::new(Self(self.0.clone()))
    }

    /// Whether no other address space has the pages any more.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 1
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// `MAP_SHARED` or `MAP_PRIVATE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Sharing {
    Shared,
    Private,
}

/// Rare properties of an area, as bits.
pub mod flag {
    /// The heap: its block has room to grow in place.
    pub const HEAP: u32 = 1;
    /// The stack of the first thread.
    pub const STACK: u32 = 2;
    /// `MADV_DONTFORK`.
    pub const DONTFORK: u32 = 4;
    /// `MADV_WIPEONFORK`.
    pub const WIPEONFORK: u32 = 8;
    /// `mlock(2)`.
    pub const LOCKED: u32 = 16;
    /// `MADV_DONTDUMP`.
    pub const DONTDUMP: u32 = 32;
    /// Begins with the first page of a file: below it is room for trampolines.
    pub const ROOM: u32 = 64;
    /// Of a request: other parts of the file are going to be mapped over this before anything
    /// of it is used, as the dynamic loader says by `MAP_DENYWRITE`.
    pub const PARTS: u32 = 512;
    /// The vDSO.
    pub const VDSO: u32 = 128;
    /// `MAP_GROWSDOWN`: an access below makes it longer.
    pub const GROWS: u32 = 256;
    /// Stands for a context of asynchronous requests (`io_setup(2)`).
    pub const AIO: u32 = 2048;
    /// Was left to both by a fork: neither may go on with what is behind it in its block.
    pub const COMMON: u32 = 1024;
}

/// One area.
#[derive(Clone)]
pub struct Vma {
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
    /// Protection as the guest asked for it.
    pub prot: Prot,
    /// `mprotect(2)` may allow stores.
    pub may_write: bool,
    /// Shared or private.
    pub sharing: Sharing,
    /// [`flag`] bits.
    pub flags: u32,
    /// What stands behind it.
    pub source: Source,
}

impl Vma {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// First address that other mappings are kept away from, if they can be elsewhere.
    #[must_use]
    pub fn low(&self) -> u64 {
        let room = if self.flags & flag::ROOM != 0 { super::patch::ROOM_BELOW } else { 0 };
        self.start.saturating_sub(room)
    }

    /// Whether it has no pages; never in a table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Whether the guest may load from it (on x86-64 any access implies that).
    #[must_use]
    pub fn readable(&self) -> bool {
        self.prot != Prot::NONE
    }

    /// The part from `from` to `to`, which are page addresses inside.
    #[must_use]
    pub fn part(&self, from: u64, to: u64) -> Self {
        let by = from - self.start;
        let source = match &self.source {
            Source::Reserved => Source::Reserved,
            Source::Anon { block, at, origin, copies } => Source::Anon {
                block: block.clone(),
                at: at + by,
                origin: origin.as_ref().map(|o| o.shifted(by)),
                copies: copies.clone(),
            },
            Source::File(part) => Source::File(part.shifted(by)),
        };
        Self { start: from, end: to, source, ..*self }
    }

    /// Whether `next` could be a part of the same area.
    pub(super) fn goes_on_in(&self, next: &Self) -> bool {
        let follows = self.end == next.start
            && (self.prot, self.may_write, self.sharing)
                == (next.prot, next.may_write, next.sharing)
            && self.flags == next.flags;
        follows
            && match (&self.source, &next.source) {
                (Source::Reserved, Source::Reserved) => true,
                (Source::File(part), Source::File(other)) => {
                    Arc::ptr_eq(&part.file, &other.file)
                        && part.offset.checked_add(self.len()) == Some(other.offset)
                }
                (
                    Source::Anon { block, at, origin: None, copies: None },
                    Source::Anon { block: other, at: behind, origin: None, copies: None },
                ) => Arc::ptr_eq(block, other) && at + self.len() == *behind,
                _ => false,
            }
    }

    /// The same area somewhere else.
    #[must_use]
    pub fn moved_to(&self, start: u64) -> Self {
        Self { start, end: start + self.len(), ..self.clone() }
    }

    /// The file it shows or was copied from.
    #[must_use]
    pub fn file_part(&self) -> Option<&FilePart> {
        match &self.source {
            Source::File(part) => Some(part),
            Source::Anon { origin, .. } => origin.as_ref(),
            Source::Reserved => None,
        }
    }

    /// How many of its first bytes have pages already, if they may be stored to.
    #[must_use]
    pub fn ready(&self) -> u64 {
        match &self.source {
            Source::Anon { block, at: 0, origin: None, copies: None } if self.prot.write => {
                block.ready()
            }
            _ => 0,
        }
    }

    /// Whether its pages are a file's own, or others' too since a fork, and a store must copy
    /// them first.
    #[must_use]
    pub fn copies_on_write(&self) -> bool {
        let common = matches!(self.source, Source::File(_) | Source::Anon { copies: Some(_), .. });
        self.sharing == Sharing::Private && common
    }

    /// The protection that its host mapping has.
    fn host_prot(&self) -> Prot {
        Prot {
            // On x86-64 memory that can be written can be read.
            read: self.prot.read || self.prot.write,
            write: self.prot.write && !self.copies_on_write(),
            exec: self.prot.exec,
        }
    }

    /// Appends what maps it.
    pub fn map_ops(&self, out: &mut Vec<MapOp>, populate: Populate) {
        let prot = self.host_prot();
        let map = |addr, len, backing| MapOp::Map { addr, len, prot, backing, populate };
        match &self.source {
            Source::Reserved => out.push(MapOp::Unmap { addr: self.start, len: self.len() }),
            Source::Anon { block, at, .. } => {
                out.push(map(self.start, self.len(), Backing::Memory(block.offset() + at)));
            }
            Source::File(part) => {
                let shared = self.sharing == Sharing::Shared;
                let mut at = self.start;
                while at < self.end {
                    let offset = part.offset + (at - self.start);
                    let located = part.map.locate(offset, self.end - at, shared && self.may_write);
                    let Ok(source) = located else { break };
                    let (backing, len) = match source {
                        MapSource::Memory { offset, len } => (Backing::Memory(offset), len),
                        MapSource::Host { file, offset, len } => {
                            (Backing::File { file, offset, shared }, len)
                        }
                    };
                    let len = len.next_multiple_of(super::PAGE).min(self.end - at);
                    if len == 0 {
                        break;
                    }
                    out.push(map(at, len, backing));
                    at += len;
                }
                if at < self.end {
                    // Behind the end of the file: an access is a fault.
                    out.push(MapOp::Unmap { addr: at, len: self.end - at });
                }
            }
        }
    }

    /// Appends what gives the host mapping of memory the area's protection.
    pub fn protect_ops(&self, out: &mut Vec<MapOp>) {
        if !matches!(self.source, Source::Reserved) {
            let (addr, len, prot) = (self.start, self.len(), self.host_prot());
            out.push(MapOp::Protect { addr, len, prot });
        }
    }

    /// The file offset behind an address inside, or `EFAULT` for other sources.
    pub(super) fn file_offset(&self, addr: u64) -> Result<(&FilePart, u64), Errno> {
        match &self.source {
            Source::File(part) => Ok((part, part.offset + (addr - self.start))),
            _ => Err(Errno::EFAULT),
        }
    }
}
