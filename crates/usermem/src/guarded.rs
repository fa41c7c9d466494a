//! Accesses to guest memory that fail where the host has no page for them: the file system
//! of the memory file is full, and an ordinary access would be a `SIGBUS` that ends the
//! sentry.
//!
//! The functions below are written in assembly, in one piece of text, and may stop at any
//! of their instructions: the handler of `SIGBUS` then has them return that they have
//! failed. Some of their work may have been done by then. They have no stack, and change
//! registers only that calls may change.

use std::sync::Once;

core::arch::global_asm!(
    r#"
    .pushsection .text.chitin_guarded, "ax", @progbits
    .globl  chitin_guarded_begin
chitin_guarded_begin:

    // (rdi: to, rsi: from, rdx: length) -> 0
    .globl  chitin_guarded_copy
chitin_guarded_copy:
    cmp     rdx, 512
    ja      3f
    cmp     rdx, 16
    jb      2f
    // Blocks of 16 bytes; the last one, which may overlap them, is read first.
    movups  xmm0, [rsi + rdx - 16]
    lea     r8, [rdi + rdx - 16]
    lea     rcx, [rdx - 1]
    and     rcx, -16
1:
    movups  xmm1, [rsi]
    movups  [rdi], xmm1
    add     rsi, 16
    add     rdi, 16
    sub     rcx, 16
    jg      1b
    movups  [r8], xmm0
    xor     eax, eax
    ret
2:
    cmp     rdx, 8
    jne     3f
    mov     rax, [rsi]
    mov     [rdi], rax
    xor     eax, eax
    ret
3:
    mov     rcx, rdx
    rep movsb
    xor     eax, eax
    ret

    // (rdi: to, rsi: length) -> 0
    .globl  chitin_guarded_zero
chitin_guarded_zero:
    mov     rcx, rsi
    xor     eax, eax
    rep stosb
    ret

    // (rdi: word) -> its value
    .globl  chitin_guarded_load
chitin_guarded_load:
    mov     eax, [rdi]
    ret

    // (rdi: word, esi: old, edx: new) -> what it was
    .globl  chitin_guarded_exchange
chitin_guarded_exchange:
    mov     eax, esi
    lock cmpxchg [rdi], edx
    mov     eax, eax
    ret

    .globl  chitin_guarded_end
chitin_guarded_end:
    .globl  chitin_guarded_failed
chitin_guarded_failed:
    mov     rax, -1
    ret
    .popsection
"#
);

unsafe extern "C" {
    fn chitin_guarded_copy(to: *mut u8, from: *const u8, len: usize) -> i64;
    fn chitin_guarded_zero(to: *mut u8, len: usize) -> i64;
    fn chitin_guarded_load(word: *const u32) -> i64;
    fn chitin_guarded_exchange(word: *mut u32, old: u32, new: u32) -> i64;
    static chitin_guarded_begin: u8;
    static chitin_guarded_end: u8;
    static chitin_guarded_failed: u8;
}

/// The host has no page for an access.
#[derive(Debug)]
pub(crate) struct NoPage;

fn done(result: i64) -> Result<u32, NoPage> {
    u32::try_from(result).map_err(|_| NoPage)
}

/// Copies `len` bytes; where the ranges overlap, what is copied is unspecified.
///
/// # Safety
///
/// Both ranges are mapped, and nothing relies on what is in the one written to.
pub(crate) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) -> Result<(), NoPage> {
    // SAFETY: as promised by the caller.
    done(unsafe { chitin_guarded_copy(to, from, len) }).map(drop)
}

/// Stores zeroes.
///
/// # Safety
///
/// The range is mapped, and nothing relies on what is in it.
pub(crate) unsafe fn zero(to: *mut u8, len: usize) -> Result<(), NoPage> {
    // SAFETY: as promised by the caller.
    done(unsafe { chitin_guarded_zero(to, len) }).map(drop)
}

/// Reads an aligned word atomically.
///
/// # Safety
///
/// It is mapped.
pub(crate) unsafe fn load(word: *const u32) -> Result<u32, NoPage> {
    // SAFETY: as promised by the caller.
    done(unsafe { chitin_guarded_load(word) })
}

/// Replaces a word by `new` if it is `old`, atomically; returns what it was.
///
/// # Safety
///
/// It is mapped, and nothing relies on what is in it.
pub(crate) unsafe fn exchange(word: *mut u32, old: u32, new: u32) -> Result<u32, NoPage> {
    // SAFETY: as promised by the caller.
    done(unsafe { chitin_guarded_exchange(word, old, new) })
}

extern "C" fn on_bus_error(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let context = context.cast::<libc::ucontext_t>();
    let text = (&raw const chitin_guarded_begin) as i64..(&raw const chitin_guarded_end) as i64;
    // SAFETY: what the host gives to a handler with SA_SIGINFO; nobody else has it.
    let registers = unsafe { &mut (*context).uc_mcontext.gregs };
    let Some(rip) = registers.get_mut(libc::REG_RIP as usize) else { return };
    if text.contains(rip) {
        *rip = (&raw const chitin_guarded_failed) as i64;
        return;
    }
    let message = b"chitin: the host has no memory for the sentry itself (SIGBUS)\n";
    // SAFETY: a static message; both calls may be made in a handler.
    unsafe { libc::write(libc::STDERR_FILENO, message.as_ptr().cast(), message.len()) };
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(70) };
}

/// Installs the handler, once in a process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: plain data, valid when zero.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_bus_error as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: a valid action; without one a full file system ends the process, as before.
        unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) };
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lengths_are_copied() {
        let from: Vec<u8> = (0..5000_u32).map(|i| (i * 7 + i / 256) as u8).collect();
        for len in (0..600).chain([4095, 4096, 4097]) {
            let mut to = vec![0; len + 1];
            // SAFETY: both are long enough.
            unsafe { copy(to.as_mut_ptr(), from[3..].as_ptr(), len) }.unwrap();
            assert_eq!(to[..len], from[3..3 + len]);
            assert_eq!(to[len], 0);
        }
    }

    #[test]
    fn accesses_without_a_page_fail() {
        install();
        let file = chitin_hostsys::memfd_create(c"guarded").unwrap();
        let file = std::os::fd::AsFd::as_fd(&file);
        // Pages beyond the end of a file are a SIGBUS.
        chitin_hostsys::ftruncate(file, 4096).unwrap();
        let base = chitin_hostsys::mmap_shared(file, 8192).unwrap();
        // SAFETY: inside the mapping.
        let beyond = unsafe { base.add(4096) };
        let (word, buf) = (beyond.cast::<u32>(), &mut [0; 4096]);
        for len in [1, 8, 16, 100, 4096] {
            // SAFETY: mapped.
            assert!(unsafe { copy(beyond, buf.as_ptr(), len) }.is_err());
            // SAFETY: mapped.
            assert!(unsafe { copy(buf.as_mut_ptr(), beyond, len) }.is_err());
            // SAFETY: mapped.
            assert!(unsafe { zero(beyond, len) }.is_err());
        }
        // SAFETY: mapped.
        assert!(unsafe { load(word) }.is_err());
        // SAFETY: mapped.
        assert!(unsafe { exchange(word, 0, 1) }.is_err());
        // SAFETY: mapped.
        unsafe { copy(base, [7; 4].as_ptr(), 4) }.unwrap();
        // SAFETY: mapped.
        assert_eq!(unsafe { exchange(base.cast(), 0x0707_0707, u32::MAX) }.unwrap(), 0x0707_0707);
        // SAFETY: mapped.
        assert_eq!(unsafe { load(base.cast()) }.unwrap(), u32::MAX);
        // SAFETY: its own mapping.
        unsafe { chitin_hostsys::munmap(base, 8192) }.unwrap();
    }
}
