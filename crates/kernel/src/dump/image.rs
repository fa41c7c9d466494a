//! The beginning of a core file: ELF header, program headers and notes (`elf(5)`), with the
//! structures of `<sys/procfs.h>`.

use super::Stopped;
use crate::mm::{Detail, DumpPart, Mm, PAGE};
use crate::signal::SigInfo;
use crate::task::Task;
use crate::vfs::lookup::name_of;
use chitin_abi::Pod;
use chitin_abi::elf::*;
use chitin_usermem::{UserAddr, UserMemory};
use std::sync::Arc;

/// Most bytes of the list of mapped files; a longer one is left out.
const FILES_MAX: usize = 4 << 20;
/// Bytes of a vector state that `NT_PRFPREG` shows.
const LEGACY_LEN: usize = 512;
/// Where a frame's vector state says which components there are, and where a note does.
const FEATURES_IN_FRAME: std::ops::Range<usize> = 472..480;
const FEATURES: usize = 464;
/// Where it says how many bytes there are.
const LENGTH_IN_FRAME: std::ops::Range<usize> = 480..484;

/// All notes, as they are written.
#[derive(Default)]
struct Notes(Vec<u8>);

impl Notes {
    fn add(&mut self, owner: &[u8], kind: u32, content: &[u8]) {
        let len = |n: usize| u32::try_from(n).unwrap_or(0);
        for word in [len(owner.len() + 1), len(content.len()), kind] {
            self.0.extend(word.to_le_bytes());
        }
        self.0.extend(owner);
        self.0.push(0);
        self.align();
        self.0.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn core(&mut self, kind: u32, content: &[u8]) {
        self.add(b"CORE", kind, content);
    }
}

/// Everything before the memory, up to a page's end.
pub(super) fn head(
    task: &Arc<Task>,
    mm: &Mm,
    info: &SigInfo,
    threads: &[Stopped],
    parts: &[DumpPart],
) -> Vec<u8> {
    let notes = notes(task, mm, info, threads);
    // There are at most `vm.max_map_count` areas, fewer than the field can say.
    let count = u16::try_from(parts.len() + 1).unwrap_or(u16::MAX);
    let mut e_ident = [0; 16];
    let [a, b, c, d] = ELFMAG;
    e_ident.iter_mut().zip([a, b, c, d, ELFCLASS64, ELFDATA2LSB, 1]).for_each(|(to, b)| *to = b);
    let header = Ehdr {
        e_ident,
        e_type: ET_CORE,
        e_machine: EM_X86_64,
        e_version: 1,
        e_phoff: size_of::<Ehdr>() as u64,
        e_ehsize: 64,
        e_phentsize: 56,
        e_phnum: count,
        ..Ehdr::default()
    };
    let notes_at = (size_of::<Ehdr>() + size_of::<Phdr>() * usize::from(count)) as u64;
    let mut out = header.as_bytes().to_vec();
    let note = Phdr {
        p_type: PT_NOTE,
        p_offset: notes_at,
        p_filesz: notes.len() as u64,
        p_align: 4,
        ..Phdr::default()
    };
    out.extend(note.as_bytes());
    let mut at = (notes_at + notes.len() as u64).next_multiple_of(PAGE);
    for part in parts.iter().take(usize::from(count) - 1) {
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        let load = Phdr {
            p_type: PT_LOAD,
            p_flags: bit(part.prot.read, PF_R)
                | bit(part.prot.write, PF_W)
                | bit(part.prot.exec, PF_X),
            p_offset: at,
            p_vaddr: part.range.start,
            p_paddr: 0,
            p_filesz: part.written,
            p_memsz: part.range.end - part.range.start,
            p_align: PAGE,
        };
        out.extend(load.as_bytes());
        at = at.saturating_add(part.written);
    }
    out.extend(notes);
    out.resize(out.len().next_multiple_of(usize::try_from(PAGE).unwrap_or(4096)), 0);
    out
}

fn notes(task: &Arc<Task>, mm: &Mm, info: &SigInfo, threads: &[Stopped]) -> Vec<u8> {
    let mut notes = Notes::default();
    for (nth, thread) in threads.iter().enumerate() {
        notes.core(NT_PRSTATUS, status(task, info, thread).as_bytes());
        if nth == 0 {
            notes.core(NT_PRPSINFO, about(task, mm).as_bytes());
            notes.core(NT_SIGINFO, info.0.as_bytes());
            let auxv = mm.landmarks.read().auxv.clone();
            let auxv: Vec<u8> =
                auxv.iter().flat_map(|&(k, v)| [k, v]).flat_map(u64::to_le_bytes).collect();
            notes.core(NT_AUXV, &auxv);
            if let Some(files) = files(task, mm) {
                notes.core(NT_FILE, &files);
            }
        }
        if let Some(legacy) = thread.fp.get(..LEGACY_LEN) {
            notes.core(NT_PRFPREG, legacy);
        }
        if let Some(state) = vectors(&thread.fp) {
            notes.add(b"LINUX", NT_X86_XSTATE, &state);
        }
    }
    notes.0
}

/// A frame's vector state as debuggers expect it: the components at another place, and without
/// what only frames have.
fn vectors(fp: &[u8]) -> Option<Vec<u8>> {
    let features = fp.get(FEATURES_IN_FRAME)?;
    let len = fp.get(LENGTH_IN_FRAME)?.try_into().ok().map(u32::from_le_bytes)?;
    let mut out = fp.get(..usize::try_from(len).ok()?)?.to_vec();
    let reserved = out.get_mut(FEATURES..LEGACY_LEN)?;
    reserved.fill(0);
    reserved.iter_mut().zip(features).for_each(|(to, from)| *to = *from);
    Some(out)
}

fn status(task: &Arc<Task>, info: &SigInfo, thread: &Stopped) -> PrStatus {
    let process = &task.process;
    let (pgrp, sid) = process.group();
    let r = &thread.regs;
    let user = process.cpu_time();
    let time = [user / 1_000_000_000, user % 1_000_000_000 / 1000];
    PrStatus {
        si_signo: info.signo(),
        si_code: info.0.si_code,
        si_errno: info.0.si_errno,
        pr_cursig: i16::try_from(info.signo()).unwrap_or(0),
        pad: 0,
        pr_sigpend: thread.pending,
        pr_sighold: thread.blocked,
        pr_pid: thread.tid,
        pr_ppid: process.parent().map_or(0, |p| p.pid),
        pr_pgrp: pgrp,
        pr_sid: sid,
        pr_utime: time,
        pr_reg: [
            r.r15, r.r14, r.r13, r.r12, r.rbp, r.rbx, r.r11, r.r10, r.r9, r.r8, r.rax, r.rcx,
            r.rdx, r.rsi, r.rdi, r.orig_rax, r.rip, r.cs, r.eflags, r.rsp, r.ss, r.fs_base,
            r.gs_base, r.ds, r.es, r.fs, r.gs,
        ],
        pr_fpvalid: i32::from(!thread.fp.is_empty()),
        ..PrStatus::default()
    }
}

fn about(task: &Arc<Task>, mm: &Mm) -> PrPsInfo {
    let process = &task.process;
    let (pgrp, sid) = process.group();
    let cred = task.cred();
    let mut fname = [0; 16];
    fname.iter_mut().zip(task.comm.lock().iter()).for_each(|(to, from)| *to = *from);
    let mut psargs = [0; 80];
    let args = mm.landmarks.read().args.clone();
    let len = usize::try_from(args.end.saturating_sub(args.start)).unwrap_or(0).min(79);
    if let Some(text) = psargs.get_mut(..len)
        && mm.read(UserAddr(args.start), text).is_ok()
    {
        text.iter_mut().filter(|b| **b == 0).for_each(|b| *b = b' ');
    }
    PrPsInfo {
        pr_sname: b'R',
        pr_uid: cred.uid,
        pr_gid: cred.gid,
        pr_pid: process.pid,
        pr_ppid: process.parent().map_or(0, |p| p.pid),
        pr_pgrp: pgrp,
        pr_sid: sid,
        pr_fname: fname,
        pr_psargs: psargs,
        ..PrPsInfo::default()
    }
}

/// Mapped files: where, and their names.
fn files(task: &Arc<Task>, mm: &Mm) -> Option<Vec<u8>> {
    let root = task.fs().root.read().clone();
    let (mut places, mut names, mut count) = (Vec::new(), Vec::new(), 0_u64);
    for line in mm.lines(Detail::Places) {
        let Some((file, _, offset)) = line.file else { continue };
        let Some(name) = file.path().and_then(|path| name_of(task, path, &root)) else { continue };
        for word in [line.range.start, line.range.end, offset / PAGE] {
            places.extend(word.to_le_bytes());
        }
        names.extend(name);
        names.push(0);
        count += 1;
        if places.len() + names.len() > FILES_MAX {
            return None;
        }
    }
    let mut out = [count.to_le_bytes(), PAGE.to_le_bytes()].concat();
    out.append(&mut places);
    out.append(&mut names);
    Some(out)
}
