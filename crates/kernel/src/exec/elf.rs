//! ELF executables (`elf(5)`): headers checked, segments mapped.

use super::{functions, random_pages};
use crate::mm::{FilePart, MapRequest, Mm, PAGE, Placement, Sharing, USER_END};
use crate::sync::Mutex;
use crate::vfs::{File, Mappable};
use chitin_abi::elf::*;
use chitin_abi::{Errno, Pod};
use chitin_platform::{Platform, Populate, Prot};
use chitin_usermem::UserAddr;
use std::collections::HashMap;
use std::sync::Arc;

/// Most program headers.
const PHNUM_MAX: u16 = 128;
/// Where position-independent programs lie, before randomisation.
const PIE_BASE: u64 = 0x5555_5555_4000;

/// Bytes at the beginning of a file that are read at once, with all its headers as a rule.
const HEAD: usize = 4096;
/// Uninitialised data of at most this length is made with its pages.
const SMALL_BSS: u64 = 64 << 10;

/// A file and its beginning.
struct Head {
    map: Arc<dyn Mappable>,
    bytes: Vec<u8>,
}

impl Head {
    fn read(map: Arc<dyn Mappable>) -> Result<Self, Errno> {
        let mut bytes = vec![0; HEAD];
        let n = map.read_at(0, &mut bytes)?;
        bytes.truncate(n);
        Ok(Self { map, bytes })
    }

    /// Fills `buf`, or `ENOEXEC`.
    fn get(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let end = offset.checked_add(buf.len() as u64).ok_or(Errno::ENOEXEC)?;
        let range =
            usize::try_from(offset).unwrap_or(HEAD)..usize::try_from(end).unwrap_or(HEAD + 1);
        if let Some(known) = self.bytes.get(range) {
            buf.copy_from_slice(known);
            return Ok(());
        }
        if self.map.read_at(offset, buf)? == buf.len() { Ok(()) } else { Err(Errno::ENOEXEC) }
    }
}

/// What a file is mapped as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Program,
    Interpreter,
}

/// The parts of an executable that matter.
pub(super) struct Executable {
    headers: Arc<Headers>,
    map: Arc<dyn Mappable>,
}

struct Headers {
    header: Ehdr,
    segments: Vec<Phdr>,
    /// Path of the dynamic linker.
    interpreter: Option<Vec<u8>>,
}

/// Headers of files that were executed, by file and version: they are not read again.
#[derive(Default)]
pub struct Known(Mutex<HashMap<((u64, u64), u64), Arc<Headers>>>);

/// Most files whose headers are known.
const MAX_KNOWN: usize = 64;

/// Where it came to lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapped {
    /// Difference between addresses in memory and in the file.
    pub(super) bias: u64,
    pub(super) entry: u64,
    /// Address of the program headers.
    pub(super) headers: u64,
    pub(super) count: u16,
    /// First address behind.
    pub(super) end: u64,
}

fn page_down(addr: u64) -> u64 {
    addr & !(PAGE - 1)
}

impl Headers {
    fn read(map: &Arc<dyn Mappable>) -> Result<Self, Errno> {
        let head = Head::read(map.clone())?;
        let mut header = Ehdr::zeroed();
        head.get(0, header.as_bytes_mut())?;
        let [m0, m1, m2, m3, class, data, ..] = header.e_ident;
        let good = [m0, m1, m2, m3] == ELFMAG
            && class == ELFCLASS64
            && data == ELFDATA2LSB
            && header.e_machine == EM_X86_64
            && matches!(header.e_type, ET_EXEC | ET_DYN)
            && usize::from(header.e_phentsize) == size_of::<Phdr>()
            && (1..=PHNUM_MAX).contains(&header.e_phnum);
        if !good {
            return Err(Errno::ENOEXEC);
        }
        let mut all = vec![Phdr::zeroed(); usize::from(header.e_phnum)];
        for (i, phdr) in (0_u64..).zip(&mut all) {
            let at = header.e_phoff.checked_add(i * size_of::<Phdr>() as u64);
            head.get(at.ok_or(Errno::ENOEXEC)?, phdr.as_bytes_mut())?;
        }
        let interpreter = match all.iter().find(|p| p.p_type == PT_INTERP) {
            Some(p) => Some(read_interpreter(&head, p)?),
            None => None,
        };
        let segments: Vec<Phdr> = all.into_iter().filter(|p| p.p_type == PT_LOAD).collect();
        let this = Self { header, segments, interpreter };
        this.check()?;
        Ok(this)
    }

    /// Segments are in order, do not overlap, and lie where a guest may have memory.
    fn check(&self) -> Result<(), Errno> {
        let mut end = 0;
        for p in &self.segments {
            let behind = p.p_vaddr.checked_add(p.p_memsz).filter(|&e| e < USER_END);
            let ordered = p.p_vaddr >= end
                && p.p_filesz <= p.p_memsz
                && p.p_vaddr % PAGE == p.p_offset % PAGE
                && p.p_offset.checked_add(p.p_filesz).is_some();
            match behind {
                Some(behind) if ordered => end = behind,
                _ => return Err(Errno::ENOEXEC),
            }
        }
        if self.segments.is_empty() { Err(Errno::ENOEXEC) } else { Ok(()) }
    }
}

impl Executable {
    /// Reads and checks the headers of a file, or finds them.
    pub(super) fn read(known: &Known, map: Arc<dyn Mappable>) -> Result<Self, Errno> {
        let key = map.version().map(|version| (map.id(), version));
        if let Some(headers) = key.and_then(|key| known.0.lock().get(&key).cloned()) {
            return Ok(Self { headers, map });
        }
        let headers = Arc::new(Headers::read(&map)?);
        if let Some(key) = key {
            let mut known = known.0.lock();
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            known.insert(key, headers.clone());
        }
        Ok(Self { headers, map })
    }

    /// Path of the dynamic linker.
    pub(super) fn interpreter(&self) -> Option<&[u8]> {
        self.headers.interpreter.as_deref()
    }

    /// The file.
    pub(super) fn pages(&self) -> &Arc<dyn Mappable> {
        &self.map
    }

    /// Byte offsets of `cpuid` instructions in the file.
    pub(super) fn cpuid_sites(&self, platform: &dyn Platform) -> Vec<u64> {
        functions::cpuid_sites(&*self.map, &self.headers.header, &self.headers.segments, platform)
    }

    fn bias(&self, mm: &Mm, role: Role, span: (u64, u64)) -> Result<u64, Errno> {
        if self.headers.header.e_type == ET_EXEC {
            return Ok(0);
        }
        let base = match role {
            Role::Program if self.headers.interpreter.is_some() => PIE_BASE + random_pages(28),
            // A static PIE, or a linker that is run by hand, leaves that place free.
            _ => mm.choose(span.1 - span.0)?,
        };
        Ok(base.wrapping_sub(span.0))
    }

    /// Maps the segments.
    pub(super) fn map(&self, mm: &Mm, file: &Arc<File>, role: Role) -> Result<Mapped, Errno> {
        let (Some(first), Some(last)) =
            (self.headers.segments.first(), self.headers.segments.last())
        else {
            return Err(Errno::ENOEXEC);
        };
        let start = page_down(first.p_vaddr);
        let end = (last.p_vaddr + last.p_memsz).next_multiple_of(PAGE);
        let bias = self.bias(mm, role, (start, end))?;
        let mut headers = 0;
        for p in &self.headers.segments {
            self.map_segment(mm, file, p, bias)?;
            let holds = p.p_offset <= self.headers.header.e_phoff
                && self.headers.header.e_phoff < p.p_offset + p.p_filesz;
            if holds {
                headers = bias.wrapping_add(p.p_vaddr + (self.headers.header.e_phoff - p.p_offset));
            }
        }
        if role == Role::Program {
            let mut marks = mm.landmarks.write();
            marks.code = bias.wrapping_add(start)..bias.wrapping_add(end);
            marks.data = marks.code.clone();
        }
        Ok(Mapped {
            bias,
            entry: bias.wrapping_add(self.headers.header.e_entry),
            headers,
            count: self.headers.header.e_phnum,
            end: bias.wrapping_add(end),
        })
    }

    fn map_segment(&self, mm: &Mm, file: &Arc<File>, p: &Phdr, bias: u64) -> Result<(), Errno> {
        let prot = Prot {
            read: p.p_flags & PF_R != 0,
            write: p.p_flags & PF_W != 0,
            exec: p.p_flags & PF_X != 0,
        };
        let addr = bias.checked_add(p.p_vaddr).or(Some(bias.wrapping_add(p.p_vaddr)));
        let addr = addr.filter(|&a| a < USER_END).ok_or(Errno::ENOEXEC)?;
        let start = page_down(addr);
        let file_end = addr + p.p_filesz;
        let mut mapped_to = start;
        if p.p_filesz > 0 {
            mapped_to = file_end.next_multiple_of(PAGE);
            let part = FilePart {
                file: file.clone(),
                map: self.map.clone(),
                offset: page_down(p.p_offset),
                writer: None,
                attached: None,
            };
            mm.map(
                &MapRequest {
                    place: Placement::Fixed(start),
                    len: mapped_to - start,
                    prot,
                    may_write: true,
                    sharing: Sharing::Private,
                    file: Some(part),
                    populate: if prot.write { Populate::Now } else { Populate::Lazy },
                    flags: 0,
                },
                u64::MAX,
            )?;
        }
        let memory_end = addr + p.p_memsz;
        if p.p_memsz > p.p_filesz && mapped_to > file_end && prot.write {
            let n = usize::try_from(mapped_to - file_end).unwrap_or(0);
            mm.poke(UserAddr(file_end), &vec![0; n])?;
        }
        let rest = memory_end.next_multiple_of(PAGE).saturating_sub(mapped_to);
        if rest > 0 {
            let mut request = MapRequest::anonymous(Placement::Fixed(mapped_to), rest, prot);
            if rest <= SMALL_BSS && prot.write {
                request.populate = Populate::Now;
            }
            mm.map(&request, u64::MAX)?;
        }
        Ok(())
    }
}

fn read_interpreter(head: &Head, p: &Phdr) -> Result<Vec<u8>, Errno> {
    let len = usize::try_from(p.p_filesz).ok().filter(|n| (2..=4096).contains(n));
    let mut path = vec![0; len.ok_or(Errno::ENOEXEC)?];
    head.get(p.p_offset, &mut path)?;
    if path.pop() != Some(0) { Err(Errno::ENOEXEC) } else { Ok(path) }
}
