//! The first stack of a program: strings, auxiliary vector, environment, arguments
//! (System V ABI for x86-64, "Process Initialization").

use super::elf::Mapped;
use super::{ARG_MAX, ARG_STRLEN_MAX, Program};
use crate::cred::Cred;
use crate::kernel::Kernel;
use crate::mm::vma::flag;
use crate::mm::{MapRequest, Mm, PAGE, Placement};
use chitin_abi::Errno;
use chitin_abi::elf::*;
use chitin_platform::Prot;
use chitin_usermem::UserAddr;
use std::sync::Arc;

/// Bytes of the stack below its first pointer that every program uses.
const STACK_BEGIN: u64 = 2 * PAGE;

/// Bytes that grow downwards from an address.
struct Downward {
    top: u64,
    bytes: Vec<u8>,
}

impl Downward {
    /// Puts bytes below all others; returns their address. They are kept reversed.
    fn push(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.extend(bytes.iter().rev());
        self.at()
    }

    fn push_cstr(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.push(0);
        self.push(bytes)
    }

    fn at(&self) -> u64 {
        self.top - self.bytes.len() as u64
    }

    fn align(&mut self, to: u64) {
        while !self.at().is_multiple_of(to) {
            self.bytes.push(0);
        }
    }
}

/// Where things are that the program is told of.
pub(super) struct Addresses {
    /// The interpreter; 0 without one.
    pub(super) base: u64,
    pub(super) vdso: Option<u64>,
    /// End of the stack, and its length in bytes.
    pub(super) top: u64,
    pub(super) len: u64,
}

/// Maps and fills the stack; returns the stack pointer.
pub(super) fn build(
    kernel: &Arc<Kernel>,
    cred: &Cred,
    mm: &Arc<Mm>,
    program: &Program,
    main: &Mapped,
    at: Addresses,
) -> Result<u64, Errno> {
    let Addresses { top, len, .. } = at;
    let strings = || program.argv.iter().chain(&program.envp);
    let total: usize = strings().map(|s| s.len() + 1 + 8).sum();
    if total > ARG_MAX || total as u64 > len / 4 * 3 || strings().any(|s| s.len() >= ARG_STRLEN_MAX)
    {
        return Err(Errno::E2BIG);
    }
    let mut request = MapRequest::anonymous(Placement::Fixed(top - len), len, Prot::RW);
    request.flags = flag::STACK;
    mm.map(&request, u64::MAX)?;
    let mut out = Downward { top, bytes: Vec::with_capacity(total + 1024) };
    out.push(&[0; 8]);
    let execfn = out.push_cstr(&program.path);
    let env_end = execfn;
    let env: Vec<u64> = program.envp.iter().rev().map(|s| out.push_cstr(s)).collect();
    let args_end = out.at();
    let args: Vec<u64> = program.argv.iter().rev().map(|s| out.push_cstr(s)).collect();
    let args_start = out.at();
    let platform = out.push_cstr(b"x86_64");
    let mut random = [0; 16];
    chitin_hostsys::random::fill(&mut random);
    out.align(16);
    let random = out.push(&random);
    let mut auxv = vec![
        (AT_HWCAP, kernel.cpu.hwcap),
        (AT_PAGESZ, PAGE),
        (AT_CLKTCK, 100),
        (AT_PHDR, main.headers),
        (AT_PHENT, size_of::<Phdr>() as u64),
        (AT_PHNUM, u64::from(main.count)),
        (AT_BASE, at.base),
        (AT_FLAGS, 0),
        (AT_ENTRY, main.entry),
        (AT_UID, u64::from(cred.uid)),
        (AT_EUID, u64::from(cred.euid)),
        (AT_GID, u64::from(cred.gid)),
        (AT_EGID, u64::from(cred.egid)),
        (AT_SECURE, u64::from(cred.uid != cred.euid || cred.gid != cred.egid)),
        (AT_RANDOM, random),
        (AT_HWCAP2, kernel.cpu.hwcap2),
        (AT_EXECFN, execfn),
        (AT_PLATFORM, platform),
        (AT_MINSIGSTKSZ, kernel.cpu.min_sigstack),
    ];
    if let Some(vdso) = at.vdso {
        auxv.insert(0, (AT_SYSINFO_EHDR, vdso));
    }
    auxv.push((AT_NULL, 0));
    let words = 1 + args.len() + 1 + env.len() + 1 + 2 * auxv.len();
    out.align(8);
    if !(out.at() - 8 * words as u64).is_multiple_of(16) {
        out.push(&[0; 8]);
    }
    let mut table: Vec<u64> = vec![args.len() as u64];
    table.extend(args.iter().rev());
    table.push(0);
    table.extend(env.iter().rev());
    table.push(0);
    table.extend(auxv.iter().flat_map(|&(kind, value)| [kind, value]));
    let table: Vec<u8> = table.iter().flat_map(|w| w.to_le_bytes()).collect();
    let rsp = out.push(&table);
    out.bytes.reverse();
    mm.poke(UserAddr(rsp), &out.bytes)?;
    mm.touch(rsp - STACK_BEGIN, top - rsp + STACK_BEGIN);
    let mut marks = mm.landmarks.write();
    marks.stack = rsp;
    marks.args = args_start..args_end;
    marks.env = args_end..env_end;
    marks.auxv = auxv;
    Ok(rsp)
}
