//! Which parts of an address space are in a core file (`core(5)`, "Controlling which mappings are
//! written to the core dump").

use super::vma::{Sharing, Source, flag};
use super::{Mm, PAGE, Vma};
use chitin_platform::Prot;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Bits of `/proc/PID/coredump_filter`.
mod filter {
    pub(super) const ANON_PRIVATE: u32 = 1;
    pub(super) const ANON_SHARED: u32 = 2;
    pub(super) const FILE_PRIVATE: u32 = 4;
    pub(super) const FILE_SHARED: u32 = 8;
    pub(super) const ELF_HEADERS: u32 = 16;
    pub(super) const ALL: u32 = 0x1ff;
}

/// What a program begins with: anonymous memory, headers and huge pages of its own.
pub(super) const DEFAULT_FILTER: u32 = 0x33;

/// A part of a core file.
#[derive(Clone, Debug)]
pub struct DumpPart {
    /// Addresses.
    pub range: Range<u64>,
    /// Protection.
    pub prot: Prot,
    /// How many bytes are in the file.
    pub written: u64,
}

/// What is at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stretch {
    /// Nothing but zeroes, so many bytes.
    Hole(u64),
    /// So many bytes, in the buffer.
    Bytes(usize),
}

impl Mm {
    /// `/proc/PID/coredump_filter`.
    #[must_use]
    pub fn dump_filter(&self) -> u32 {
        self.dump_filter.load(Ordering::Relaxed)
    }

    /// Changes it; unknown bits are left out.
    pub fn set_dump_filter(&self, bits: u32) {
        self.dump_filter.store(bits & filter::ALL, Ordering::Relaxed);
    }

    /// All areas in ascending order, adjacent ones that are wholly written or not at all joined.
    #[must_use]
    pub fn dump_parts(&self) -> Vec<DumpPart> {
        let bits = self.dump_filter();
        let mut out: Vec<DumpPart> = Vec::new();
        for vma in self.state.read().areas.iter() {
            let written = dumped(vma, bits);
            match out.last_mut() {
                Some(last)
                    if last.range.end == vma.start
                        && last.prot == vma.prot
                        && last.written == last.range.end - last.range.start
                        && written == vma.len() =>
                {
                    last.range.end = vma.end;
                    last.written += written;
                }
                _ => out.push(DumpPart { range: vma.start..vma.end, prot: vma.prot, written }),
            }
        }
        out
    }

    /// What is at `addr`, up to `end`; bytes go to `buf`. Nobody's rights matter here.
    pub fn dump_stretch(&self, addr: u64, end: u64, buf: &mut [u8]) -> Stretch {
        let state = self.state.read();
        let page = (addr & !(PAGE - 1)) + PAGE;
        let Some(vma) = state.areas.find(addr) else { return Stretch::Hole(page.min(end) - addr) };
        let end = end.min(vma.end);
        let all = usize::try_from(end - addr).unwrap_or(usize::MAX).min(buf.len());
        match &vma.source {
            Source::Reserved => Stretch::Hole(end - addr),
            Source::Anon { block, at, .. } => {
                let from = block.offset() + at + (addr - vma.start);
                let to = from + (end - addr);
                let (start, len) = self.memory.next_data(from, to).unwrap_or((to, 0));
                if start > from {
                    return Stretch::Hole(start - from);
                }
                let len = usize::try_from(len).unwrap_or(usize::MAX).min(all);
                let piece = buf.get_mut(..len).unwrap_or_default();
                match self.memory.read(from, piece) {
                    Ok(()) if len > 0 => Stretch::Bytes(len),
                    _ => Stretch::Hole(page.min(end) - addr),
                }
            }
            Source::File(part) => {
                let piece = buf.get_mut(..all).unwrap_or_default();
                match part.map.read_at(part.offset + (addr - vma.start), piece) {
                    Ok(n) if n > 0 => Stretch::Bytes(n),
                    _ => Stretch::Hole(end - addr),
                }
            }
        }
    }
}

/// How much of an area is written, in bytes.
fn dumped(vma: &Vma, bits: u32) -> u64 {
    let whole = |bit: u32| if bits & bit != 0 { vma.len() } else { 0 };
    if vma.flags & flag::VDSO != 0 {
        return vma.len();
    }
    if vma.flags & flag::DONTDUMP != 0 {
        return 0;
    }
    match (&vma.source, vma.sharing) {
        // There is nothing in it.
        (Source::Reserved, _) => 0,
        (Source::Anon { .. }, Sharing::Private) => whole(filter::ANON_PRIVATE),
        (Source::Anon { .. }, Sharing::Shared) => whole(filter::ANON_SHARED),
        (Source::File(part), Sharing::Shared) => {
            let path = part.file.path();
            let gone = path.is_none_or(|p| p.dentry.unlinked.load(Ordering::Relaxed));
            whole(if gone { filter::ANON_SHARED } else { filter::FILE_SHARED })
        }
        (Source::File(_), Sharing::Private) if bits & filter::FILE_PRIVATE != 0 => vma.len(),
        (Source::File(part), Sharing::Private) => {
            let mut magic = [0; 4];
            let elf = bits & filter::ELF_HEADERS != 0
                && (part.offset == 0 && vma.prot.read)
                && part.map.read_at(0, &mut magic) == Ok(4)
                && magic == chitin_abi::elf::ELFMAG;
            if elf { PAGE } else { 0 }
        }
    }
}
