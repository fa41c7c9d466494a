//! Executing programs (`execve(2)`): [`Program`] in, an address space and registers
//! out.
//!
//! `script` resolves `#!` lines, `elf` maps an executable and its interpreter, `functions`
//! finds instructions that are worth patching before they run, `stack` lays out the first
//! stack, `vdso` maps the vDSO. No locks of its own.

mod elf;
mod functions;
mod script;
mod stack;
mod vdso;

pub use elf::Known;
pub use vdso::Vdso;

use crate::cred::Cred;
use crate::kernel::Kernel;
use crate::mm::{Mm, PAGE, USER_END, USER_START, host_error};
use crate::vfs::{File, Mappable, Running};
use chitin_abi::Errno;
use chitin_platform::{Context, Regs};
use std::sync::Arc;

/// Most bytes of arguments and environment together, strings and pointers (`ARG_MAX`
/// with the default stack limit).
pub const ARG_MAX: usize = 2 << 20;
/// Most bytes of one argument (`MAX_ARG_STRLEN`).
pub const ARG_STRLEN_MAX: usize = 32 * 4096;

/// Executions of a program before the one that its `cpuid` instructions are patched in: that
/// one is slow, and worth it for programs that run often.
const LEARNS_AT: u32 = 2;

/// Opens a program for execution by its path, as the calling task sees it.
pub type Opener<'a> = dyn Fn(&[u8]) -> Result<Arc<File>, Errno> + 'a;

/// What is to be executed.
pub struct Program {
    /// The file, opened for execution.
    pub file: Arc<File>,
    /// Its path as the caller gave it (`AT_EXECFN`, `$0` of scripts).
    pub path: Vec<u8>,
    /// Arguments.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
}

/// A program in memory, ready to run.
pub struct Image {
    /// Its address space.
    pub mm: Arc<Mm>,
    /// Its thread.
    pub ctx: Box<dyn Context>,
    /// The file that was mapped: the interpreter of a script.
    pub file: Arc<File>,
    /// Keeps that from being written to.
    pub running: Option<Arc<Running>>,
    /// It has been executed often enough for its `cpuid` instructions to be worth patching.
    pub learns: bool,
    /// Name of the thread: the last part of the path, at most 15 bytes.
    pub comm: Vec<u8>,
}

/// A random number of pages, at most `bits` bits.
fn random_pages(bits: u32) -> u64 {
    let mut bytes = [0; 8];
    chitin_hostsys::random::fill(&mut bytes);
    (u64::from_le_bytes(bytes) & ((1 << bits) - 1)) * PAGE
}

/// The name that a thread gets from a path.
#[must_use]
pub fn comm_of(path: &[u8]) -> Vec<u8> {
    let last = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
    last.iter().copied().take(15).collect()
}

/// Counts an execution of a program by those who share its patches. When there were enough of
/// them the `cpuid` instructions of what starts it are patched: now, or where the platform can
/// make them trap as they run, and then the result is true.
fn learns(
    kernel: &Kernel,
    program: &elf::Executable,
    interpreter: Option<&elf::Executable>,
    mm: &Mm,
) -> bool {
    let platform = &kernel.platform;
    if platform.cpuid_traps() {
        return mm.texts().count_exec(&**program.pages()) == LEARNS_AT;
    }
    let starter = interpreter.unwrap_or(program);
    if mm.texts().count_exec(&**starter.pages()) == LEARNS_AT {
        mm.patch_found(starter.pages(), &starter.cpuid_sites(&**platform));
    }
    false
}

fn pages_of(file: &File) -> Result<Arc<dyn Mappable>, Errno> {
    file.ops().mappable().ok_or(Errno::EACCES)
}

/// Loads a program into a new address space. `stack_limit` is `RLIMIT_STACK`.
pub fn load(
    kernel: &Arc<Kernel>,
    cred: &Cred,
    program: Program,
    stack_limit: u64,
    open: &Opener<'_>,
) -> Result<Image, Errno> {
    let comm = comm_of(&program.path);
    let program = script::resolve(program, open)?;
    let known = &kernel.executables;
    let running = program.file.path().map(Running::begin).transpose()?;
    let pages = pages_of(&program.file)?;
    let pages = match &running {
        Some(running) => running.pages(pages),
        None => pages,
    };
    let executable = elf::Executable::read(known, pages)?;
    let interpreter = match executable.interpreter() {
        Some(path) => {
            let file = open(path)?;
            let found = elf::Executable::read(known, pages_of(&file)?).map_err(|e| match e {
                Errno::ENOEXEC => Errno::ELIBBAD,
                other => other,
            })?;
            Some((file, found))
        }
        None => None,
    };
    let space = kernel.platform.new_space().map_err(host_error)?;
    let stack_top = USER_END - PAGE - random_pages(22);
    let stack_len = stack_limit.clamp(128 << 10, 64 << 20).next_multiple_of(PAGE);
    let mmap_top = stack_top - stack_len - (1 << 20) - random_pages(16);
    let texts = kernel.texts.shared_by(cred);
    let mm = Mm::new(space, texts, kernel.memory.clone(), USER_START..mmap_top);
    mm.defer();
    let learns = learns(kernel, &executable, interpreter.as_ref().map(|(_, found)| found), &mm);
    let main = executable.map(&mm, &program.file, elf::Role::Program)?;
    mm.set_brk_start(main.end.next_multiple_of(PAGE) + random_pages(13));
    let (entry, base) = match &interpreter {
        Some((file, found)) => {
            let mapped = found.map(&mm, file, elf::Role::Interpreter)?;
            (mapped.entry, mapped.bias)
        }
        None => (main.entry, 0),
    };
    let vdso = kernel.vdso.as_ref().map(|v| v.map(&mm)).transpose()?;
    let at = stack::Addresses { base, vdso, top: stack_top, len: stack_len };
    let rsp = stack::build(kernel, cred, &mm, &program, &main, at)?;
    mm.flush()?;
    let mut ctx = mm.space().clone().new_context().map_err(host_error)?;
    *ctx.regs() = Regs { rip: entry, rsp, eflags: 0x202, orig_rax: u64::MAX, ..Regs::default() };
    ctx.set_fp_state(&[]).map_err(host_error)?;
    Ok(Image { mm, ctx, file: program.file, running, learns, comm })
}
