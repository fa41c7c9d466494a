//! What `/proc/PID/maps`, `statm` and `status` tell of an address space.

use super::Mm;
use super::vma::{Sharing, Source, flag};
use crate::vfs::File;
use chitin_platform::Prot;
use std::sync::Arc;

/// A line of `/proc/PID/maps`.
#[derive(Clone)]
pub struct MapLine {
    /// First address and first behind.
    pub range: std::ops::Range<u64>,
    /// Protection.
    pub prot: Prot,
    /// Shared or private.
    pub sharing: Sharing,
    /// The file, its (device, inode), and the byte offset.
    pub file: Option<(Arc<File>, (u64, u64), u64)>,
    /// `[heap]`, `[stack]`, `[vdso]`.
    pub name: Option<&'static str>,
    /// Bytes of the sandbox's memory behind it, if that was asked for.
    pub anonymous: u64,
    /// Bytes of a file's own pages; all that are mapped count as resident.
    pub of_file: u64,
    /// `mlock(2)`.
    pub locked: bool,
}

/// What [`Mm::lines`] is to find out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// Addresses and files.
    Places,
    /// How much memory there is behind them too.
    Memory,
}

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct MmSizes {
    /// All areas.
    pub total: u64,
    /// Writable private ones.
    pub data: u64,
    /// The stack.
    pub stack: u64,
    /// File text.
    pub text: u64,
    /// Memory that is not a file's.
    pub anonymous: u64,
    /// Pages of files.
    pub of_file: u64,
    /// `mlock(2)`.
    pub locked: u64,
    /// First address of the heap (`brk(2)`).
    pub heap: u64,
}

impl Mm {
    /// How much of an area has memory of the sandbox.
    fn backed(&self, vma: &super::Vma) -> u64 {
        let Source::Anon { block, at, .. } = &vma.source else { return 0 };
        let (mut from, mut sum) = (block.offset() + at, 0);
        let end = from + vma.len();
        while let Some((start, len)) = self.memory.next_data(from, end) {
            sum += len;
            from = start + len;
        }
        sum
    }

    /// Bytes of the sandbox's memory behind private areas and, apart, the shared ones.
    #[must_use]
    pub fn memory_used(&self) -> (u64, u64) {
        let (mut private, mut shared) = (0, 0);
        for vma in self.state.read().areas.iter() {
            match vma.sharing {
                Sharing::Private => private += self.backed(vma),
                Sharing::Shared => shared += self.backed(vma),
            }
        }
        (private, shared)
    }

    /// All areas in ascending order, adjacent ones that look the same joined.
    #[must_use]
    pub fn lines(&self, detail: Detail) -> Vec<MapLine> {
        let mut out: Vec<MapLine> = Vec::new();
        for vma in self.state.read().areas.iter() {
            let name = match vma.flags {
                f if f & flag::HEAP != 0 => Some("[heap]"),
                f if f & flag::STACK != 0 => Some("[stack]"),
                f if f & flag::VDSO != 0 => Some("[vdso]"),
                f if f & flag::AIO != 0 => Some("/[aio] (deleted)"),
                _ => None,
            };
            let file = vma
                .file_part()
                .filter(|_| vma.flags & flag::VDSO == 0)
                .map(|p| (p.file.clone(), p.map.id(), p.offset));
            let line = MapLine {
                range: vma.start..vma.end,
                prot: vma.prot,
                sharing: vma.sharing,
                file,
                name,
                anonymous: if detail == Detail::Memory { self.backed(vma) } else { 0 },
                of_file: if matches!(vma.source, Source::File(_)) { vma.len() } else { 0 },
                locked: vma.flags & flag::LOCKED != 0,
            };
            match out.last_mut() {
                Some(last) if joins(last, &line) => {
                    last.range.end = line.range.end;
                    last.anonymous += line.anonymous;
                    last.of_file += line.of_file;
                }
                _ => out.push(line),
            }
        }
        out
    }

    /// How many areas there are.
    #[must_use]
    pub fn areas(&self) -> usize {
        self.state.read().areas.count()
    }

    /// Sizes for `statm` and `status`.
    #[must_use]
    pub fn sizes(&self) -> MmSizes {
        let state = self.state.read();
        let mut sizes = MmSizes { heap: state.heap.range.start, ..MmSizes::default() };
        for vma in state.areas.iter() {
            sizes.total += vma.len();
            if vma.prot.write && vma.sharing == Sharing::Private {
                sizes.data += vma.len();
            }
            if vma.flags & flag::STACK != 0 {
                sizes.stack += vma.len();
            }
            if vma.flags & flag::LOCKED != 0 {
                sizes.locked += vma.len();
            }
            if matches!(vma.source, Source::File(_)) {
                sizes.of_file += vma.len();
            }
            match &vma.source {
                Source::File(_) if vma.prot.exec => sizes.text += vma.len(),
                Source::Anon { .. } => sizes.anonymous += vma.len(),
                _ => {}
            }
        }
        sizes
    }
}

fn joins(a: &MapLine, b: &MapLine) -> bool {
    let files = match (&a.file, &b.file) {
        (None, None) => true,
        (Some((_, id, at)), Some((_, other, next))) => {
            id == other && at + (a.range.end - a.range.start) == *next
        }
        _ => false,
    };
    a.range.end == b.range.start
        && a.prot == b.prot
        && a.sharing == b.sharing
        && a.name == b.name
        && a.locked == b.locked
        && files
}
