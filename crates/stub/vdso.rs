//! The guest's vDSO (`vdso(7)`): a shared object in guest memory, the same under every host.
//!
//! Its clock functions jump into the host's vDSO, which is mapped in every stub, through
//! addresses on a page that is read-only there (`VDSO_TABLE`). The clocks of the sandbox
//! are the host's: nothing is added. What the host's vDSO does not serve, and all of it
//! where the host has none (an address is 0), becomes a system call here, at a site that
//! can be patched; the host's own fallback could not.

#![no_std]
#![no_main]

#[allow(dead_code)]
#[path = "layout.rs"]
mod layout;
use layout::*;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

core::arch::global_asm!(
    r#"
    .macro function name
    .balign 16
    .globl  __vdso_\name
    .type   __vdso_\name, @function
    .weak   \name
    .type   \name, @function
    .set    \name, __vdso_\name
__vdso_\name:
    .endm

    .macro finish name
    .size   __vdso_\name, . - __vdso_\name
    .size   \name, . - __vdso_\name
    .endm

    // Tail call of the function whose address is in the table; 1: there is none.
    .macro host index
    movabs  rax, [{VDSO_TABLE} + 8 * \index]
    test    rax, rax
    jz      1f
    jmp     rax
    .endm

    // The padding is what makes the site one that can be patched.
    .macro ask number
1:
    mov     eax, \number
    syscall
    ret
    nop
    nop
    .endm

    // The host's vDSO has CLOCK_REALTIME, MONOTONIC, MONOTONIC_RAW, both COARSE, BOOTTIME, TAI.
    .macro known_clock
    cmp     edi, 11
    ja      1f
    mov     eax, 0x8f3
    bt      eax, edi
    jnc     1f
    .endm

    .section .text.vdso, "ax"
    function clock_gettime
    known_clock
    host    {VDSO_CLOCK_GETTIME}
    ask     228
    finish  clock_gettime

    function clock_getres
    known_clock
    host    {VDSO_CLOCK_GETRES}
    ask     229
    finish  clock_getres

    function gettimeofday
    host    {VDSO_GETTIMEOFDAY}
    ask     96
    finish  gettimeofday

    function time
    host    {VDSO_TIME}
    ask     201
    finish  time

    // getcpu(cpu, node, unused): which CPUs a thread may run on is not known here.
    function getcpu
    ask     309
    finish  getcpu
"#,
    VDSO_TABLE = const VDSO_TABLE,
    VDSO_CLOCK_GETTIME = const VDSO_CLOCK_GETTIME,
    VDSO_CLOCK_GETRES = const VDSO_CLOCK_GETRES,
    VDSO_GETTIMEOFDAY = const VDSO_GETTIMEOFDAY,
    VDSO_TIME = const VDSO_TIME,
);
