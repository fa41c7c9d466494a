//! The stub: what runs beside guest code in its process.
//!
//! Everything here is reachable by hostile guest code in the same address space, so
//! nothing trusts memory that the stub can write: the zygote and the mapper keep
//! their state in registers and take their orders from the request block, which is
//! read-only here. There is no stack but the signal stack of guest threads.
//!
//! * `_start`: the zygote maps its request block and becomes a mapper.
//! * `mapper`: waits for a request, makes its system calls, replies by adding to an
//!   eventfd constants that lie in this read-only image: bytes of the result, then
//!   the done bit. A reply cannot be forged by memory writes.
//! * `thread`: sets a new guest thread up and hands it to the sentry.
//! * `handler`: every signal of a guest thread: stop, tell the sentry, wait, return
//!   through the frame that the sentry edited.
//! * `common`: what patched call sites come to: answers from the thread's area, or from
//!   what the sentry has published for the process (`published`), or stops without a
//!   signal. gs points to the area. The guest's registers stay in the area from the post
//!   to the last instruction, so that a kick is lost nowhere.

#![no_std]
#![no_main]

#[allow(dead_code)]
#[path = "layout.rs"]
mod layout;
#[path = "published.rs"]
mod published;
use layout::*;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

core::arch::global_asm!(
    r#"
    // write(reply fd, rsi, 8)
    .macro call_write
    mov     eax, 1
    mov     edi, [rbx + {REQ_REPLY_FD}]
    mov     edx, 8
    syscall
    .endm

    // futex(rdi, FUTEX_WAKE, INT_MAX)
    .macro call_wake
    mov     eax, 202
    mov     esi, 1
    mov     edx, 0x7fffffff
    xor     r10d, r10d
    syscall
    .endm

    // futex(rdi, FUTEX_WAIT, 0, NULL)
    .macro call_park
    mov     eax, 202
    xor     esi, esi
    xor     edx, edx
    xor     r10d, r10d
    syscall
    .endm

    // Waits until the mapper has done the batch, for the thread of the area r15.
    .macro pass_gate
7:
    cmp     dword ptr [r15 + {AREA_PARK}], 0
    jne     8f
    movabs  rdi, {REQUEST} + {REQ_SEQ}
    call_wake
    lea     rdi, [r15 + {AREA_PARK}]
    call_park
    jmp     7b
8:
    .endm

    .section .text.stub, "ax"
    .globl _start
_start:
    // mmap(REQUEST, len, PROT_READ, MAP_SHARED | MAP_FIXED, FD_CONTROL, 0)
    mov     eax, 9
    movabs  rdi, {REQUEST}
    mov     esi, {REQUEST_LEN}
    mov     edx, 1
    mov     r10d, 0x11
    mov     r8d, {FD_CONTROL}
    xor     r9d, r9d
    syscall
    test    rax, rax
    js      die
    // mmap(SCRATCH, len, PROT_READ | PROT_WRITE, same, FD_CONTROL, REQUEST_LEN)
    mov     eax, 9
    movabs  rdi, {SCRATCH}
    mov     esi, {SCRATCH_LEN}
    mov     edx, 3
    mov     r10d, 0x11
    mov     r8d, {FD_CONTROL}
    mov     r9d, {REQUEST_LEN}
    syscall
    test    rax, rax
    js      die
    // Tells where the stack and the vDSO are: argc, argv, NULL, envp, NULL, auxv.
    movabs  rbx, {SCRATCH}
    mov     [rbx + {SCRATCH_STACK}], rsp
    mov     rax, [rsp]
    lea     rsi, [rsp + rax * 8 + 16]
1:
    lodsq
    test    rax, rax
    jnz     1b
1:
    lodsq
    mov     rdx, rax
    lodsq
    cmp     rdx, 33
    je      2f
    test    rdx, rdx
    jnz     1b
    xor     eax, eax
2:
    mov     [rbx + {SCRATCH_VDSO}], rax
    movabs  rbx, {REQUEST}
    xor     r12d, r12d

    // rbx: request block, r12d: number of the last request done.
mapper:
    mov     eax, [rbx + {REQ_SEQ}]
    cmp     eax, r12d
    jne     2f
    // futex(&seq, FUTEX_WAIT, r12d, NULL)
    mov     eax, 202
    lea     rdi, [rbx + {REQ_SEQ}]
    xor     esi, esi
    mov     edx, r12d
    xor     r10d, r10d
    syscall
    jmp     mapper
2:
    mov     r12d, eax
    mov     r13d, [rbx + {REQ_COUNT}]
    lea     r14, [rbx + {REQ_OPS}]
    xor     eax, eax
3:
    test    r13d, r13d
    jz      5f
    mov     rax, [r14]
    mov     rdi, [r14 + 8]
    mov     rsi, [r14 + 16]
    mov     rdx, [r14 + 24]
    mov     r10, [r14 + 32]
    mov     r8, [r14 + 40]
    mov     r9, [r14 + 48]
    mov     r15, [r14 + 56]
    syscall
    test    r15, r15
    jnz     6f
    cmp     rax, -4095
    jae     7f
4:
    add     r14, {OP_LEN}
    dec     r13d
    jmp     3b
5:
    xor     ebp, ebp
    jmp     reply
6:
    // Not a plain call: clones come back twice.
    cmp     r15, {OP_HINT}
    je      4b
    test    rax, rax
    jnz     7f
    cmp     r15, {OP_THREAD}
    je      thread
    cmp     r15, {OP_FORK}
    je      forked
7:
    mov     ebp, eax
    // ebp: result. Adds its four bytes and the done bit to the eventfd. Once that is done the
    // block may hold the next request.
reply:
    mov     r14, [rbx + {REQ_CHAIN}]
    movzx   eax, bpl
    lea     rsi, [rip + table]
    test    eax, eax
    jz      1f
    lea     rsi, [rsi + rax * 8]
    call_write
1:
    mov     eax, ebp
    shr     eax, 8
    movzx   eax, al
    test    eax, eax
    jz      1f
    lea     rsi, [rip + table + 2048]
    lea     rsi, [rsi + rax * 8]
    call_write
1:
    mov     eax, ebp
    shr     eax, 16
    movzx   eax, al
    test    eax, eax
    jz      1f
    lea     rsi, [rip + table + 4096]
    lea     rsi, [rsi + rax * 8]
    call_write
1:
    mov     eax, ebp
    shr     eax, 24
    test    eax, eax
    jz      1f
    lea     rsi, [rip + table + 6144]
    lea     rsi, [rsi + rax * 8]
    call_write
1:
    lea     rsi, [rip + done]
    call_write
    test    r14, r14
    jz      mapper
    test    ebp, ebp
    js      1f
    // The thread that waits for this goes on: futex(&park, FUTEX_WAKE, INT_MAX)
    mov     dword ptr [r14 + {AREA_PARK}], 1
    lea     rdi, [r14 + {AREA_PARK}]
    jmp     2f
1:
    // It never does: for the sentry it has stopped.
    mov     eax, {STATE_EVENT}
    xchg    eax, [r14 + {AREA_STATE}]
    cmp     eax, {STATE_ASLEEP}
    jne     mapper
    lea     rdi, [r14 + {AREA_STATE}]
2:
    call_wake
    jmp     mapper

    // The child of OP_FORK: takes its own request block, whose offset is in r8. r9: the
    // sentry's process number. The parent and all of its memory may be gone already.
forked:
    mov     r15, r8
    // prctl(PR_SET_PDEATHSIG, SIGKILL), then the sentry must still be there.
    mov     eax, 157
    mov     edi, 1
    mov     esi, 9
    xor     edx, edx
    xor     r10d, r10d
    xor     r8d, r8d
    syscall
    mov     eax, 110
    syscall
    cmp     eax, r9d
    jne     die
    mov     eax, 9
    movabs  rdi, {REQUEST}
    mov     esi, {REQUEST_SPAN}
    mov     edx, 1
    mov     r10d, 0x11
    mov     r8d, {FD_CONTROL}
    mov     r9, r15
    syscall
    test    rax, rax
    js      die
    xor     r12d, r12d
    jmp     mapper

    // A new guest thread, whose area is in r8 (the next request may be there already).
thread:
    mov     r15, r8
    // sigaltstack(&altstack, NULL); who changes it in between gets killed by its frame.
    lea     rax, [r15 + {AREA_ALTSTACK}]
    mov     [r15 + {AREA_FIRST_FRAME}], rax
    mov     qword ptr [r15 + {AREA_FIRST_FRAME} + 8], 0
    mov     qword ptr [r15 + {AREA_FIRST_FRAME} + 16], {AREA_LEN} - {AREA_ALTSTACK}
    mov     eax, 131
    lea     rdi, [r15 + {AREA_FIRST_FRAME}]
    xor     esi, esi
    syscall
    test    rax, rax
    js      die
    // seccomp(SECCOMP_SET_MODE_FILTER, 0, &fprog)
    mov     eax, 317
    mov     edi, 1
    xor     esi, esi
    lea     rdx, [rip + program]
    syscall
    test    rax, rax
    js      die
    jmp     await

die:
    mov     eax, 231
    mov     edi, 127
    syscall
    ud2

    // A signal of a guest thread, on its alternate stack, which lies in its area.
    .globl handler
handler:
    mov     r15, rsp
    and     r15, -{AREA_LEN}
    mov     rax, [rdx + 168]
    cmp     edi, {SIGNAL_KICK}
    je      1f
    // A fault while guest memory was read or written for a published answer (or a kick
    // there): the sentry is asked, and tells what is wrong.
    cmp     edi, 11
    je      9f
    cmp     edi, 7
    jne     2f
9:
    lea     rcx, [rip + published]
    cmp     rax, rcx
    jb      2f
    lea     rcx, [rip + taken]
    cmp     rax, rcx
    jb      4f
    lea     rcx, [rip + given]
    cmp     rax, rcx
    jae     2f
8:
    lea     rcx, [rip + masked]
    cmp     rax, rcx
    jb      3f
    lea     rcx, [rip + unmasked]
    cmp     rax, rcx
    jae     3f
    // The mask is as it was: the sentry does it.
    mov     rcx, [r15 + {AREA_OLD_MASK}]
    mov     [r15 + {AREA_MASK}], rcx
3:
    lea     rcx, [rip + ungiven]
    mov     [rdx + 168], rcx
    jmp     5f
1:
    lea     rcx, [rip + published]
    cmp     rax, rcx
    jb      1f
    lea     rcx, [rip + taken]
    cmp     rax, rcx
    jb      4f
    lea     rcx, [rip + published_end]
    cmp     rax, rcx
    jb      8b
1:
    // A kick of the code below. Before the call is posted it comes to the sentry anyway.
    lea     rcx, [rip + common]
    cmp     rax, rcx
    jb      2f
    lea     rcx, [rip + saved]
    cmp     rax, rcx
    jb      3f
    lea     rcx, [rip + slow]
    cmp     rax, rcx
    jb      4f
    lea     rcx, [rip + posted]
    cmp     rax, rcx
    jb      5f
    lea     rcx, [rip + resumed]
    cmp     rax, rcx
    jae     2f
    // Posted: whoever answers sees the kick, unless the answer is there already.
    cmp     dword ptr [r15 + {AREA_STATE}], {STATE_EVENT}
    je      5f
    cmp     dword ptr [r15 + {AREA_STATE}], {STATE_PARKED}
    je      5f
2:
    // On its way through the gate: the mapper goes on with the park word.
    test    dword ptr [r15 + {AREA_HOW}], {REPLY_GATED}
    jz      1f
    pass_gate
1:
    lea     rax, [rsp + 8]
    mov     [r15 + {AREA_FRAME}], rax
    rdfsbase rax
    mov     [r15 + {AREA_FSBASE}], rax
    rdgsbase rax
    mov     [r15 + {AREA_GSBASE}], rax
    mov     dword ptr [r15 + {AREA_HOW}], {HOW_FRAME}
    mov     dword ptr [r15 + {AREA_PARK}], 0
    // r15: thread area.
    mov     eax, {STATE_EVENT}
    xchg    eax, [r15 + {AREA_STATE}]
    cmp     eax, {STATE_ASLEEP}
    jne     await
    lea     rdi, [r15 + {AREA_STATE}]
    call_wake
await:
    mov     ecx, [r15 + {AREA_SPIN}]
1:
    cmp     dword ptr [r15 + {AREA_STATE}], {STATE_EVENT}
    jne     1f
    cmp     dword ptr [r15 + {AREA_SPIN}], 0
    je      6f
    pause
    sub     ecx, 1
    jg      1b
6:
    mov     eax, {STATE_EVENT}
    mov     ecx, {STATE_PARKED}
    lock cmpxchg [r15 + {AREA_STATE}], ecx
    jne     1f
6:
    lea     rdi, [r15 + {AREA_PARK}]
    call_park
    cmp     dword ptr [r15 + {AREA_STATE}], {STATE_PARKED}
    je      6b
1:
    test    dword ptr [r15 + {AREA_HOW}], {REPLY_GATED}
    jz      1f
    pass_gate
    and     dword ptr [r15 + {AREA_HOW}], ~{REPLY_GATED}
1:
    mov     esi, [r15 + {AREA_CPUID}]
    test    esi, esi
    jz      1f
    // arch_prctl(ARCH_SET_CPUID, 0 or 1)
    mov     dword ptr [r15 + {AREA_CPUID}], 0
    dec     esi
    mov     eax, 158
    mov     edi, 0x1012
    syscall
1:
    mov     rax, [r15 + {AREA_FSBASE}]
    wrfsbase rax
    mov     rax, [r15 + {AREA_GSBASE}]
    wrgsbase rax
    mov     rsp, [r15 + {AREA_FRAME}]
    .globl sigreturn
sigreturn:
    mov     eax, 15
    syscall
    ud2
3:
    // Not yet at the look.
    mov     dword ptr [r15 + {AREA_KICKED}], 1
    jmp     5f
4:
    // An answer of its own: ask the sentry instead, nothing has happened yet.
    lea     rcx, [rip + slow]
    mov     [rdx + 168], rcx
5:
    add     rsp, 8
    jmp     sigreturn

    // Where trampolines jump to. r11: where to go on, 2 bytes behind a system call
    // instruction of the trampoline; rcx is free, all else is the guest's.
    .balign 64
    .globl common
common:
    // The area, if gs has not been changed, is in the 4 GiB below the end of user
    // addresses; flags must not change yet.
    rdgsbase rcx
    bswap   rcx
    lea     ecx, [rcx + 0x810000]
    jrcxz   1f
    lea     rcx, [r11 - 2]
    jmp     rcx
1:
    mov     gs:[{AREA_RAX}], rax
    mov     gs:[{AREA_AFTER}], r11
    lahf
    seto    al
    mov     gs:[{AREA_FLAGS}], ax
saved:
    cmp     dword ptr gs:[{AREA_KICKED}], 0
    jne     slow
    mov     rcx, gs:[{AREA_RAX}]
    cmp     rcx, 336
    jae     slow
    lea     r11, [rip + local_index]
    movzx   ecx, byte ptr [r11 + rcx]
    cmp     ecx, {LOCALS}
    jae     published
    mov     r11, gs:[{AREA_LOCALS} + rcx * 8]
    test    r11, r11
    jns     slow
    cmp     ecx, 1
    je      3f
2:
    inc     qword ptr gs:[{AREA_LOCAL_COUNT}]
    movzx   eax, word ptr gs:[{AREA_FLAGS}]
    add     al, 0x7f
    sahf
    mov     eax, r11d
    jmp     qword ptr gs:[{AREA_AFTER}]
3:
    // sched_yield()
    mov     eax, 24
    syscall
    xor     r11d, r11d
    jmp     2b

    .globl slow
slow:
    mov     dword ptr gs:[{AREA_KICKED}], 0
    mov     gs:[{AREA_ARGS}], rdi
    mov     gs:[{AREA_ARGS} + 8], rsi
    mov     gs:[{AREA_ARGS} + 16], rdx
    mov     gs:[{AREA_ARGS} + 24], r10
    mov     gs:[{AREA_ARGS} + 32], r8
    mov     gs:[{AREA_ARGS} + 40], r9
    mov     gs:[{AREA_REST}], rbx
    mov     gs:[{AREA_REST} + 8], rbp
    mov     gs:[{AREA_REST} + 16], rsp
    mov     gs:[{AREA_REST} + 24], r12
    mov     gs:[{AREA_REST} + 32], r13
    mov     gs:[{AREA_REST} + 40], r14
    mov     gs:[{AREA_REST} + 48], r15
    rdfsbase rax
    mov     gs:[{AREA_FSBASE}], rax
    jmp     post
save:
    mov     eax, gs:[{AREA_COMPONENTS}]
    mov     edx, gs:[{AREA_COMPONENTS} + 4]
    mov     rcx, gs:[{AREA_VECTOR}]
    xsave64 [rcx]
post:
    mov     dword ptr gs:[{AREA_HOW}], {HOW_CALL}
    mov     dword ptr gs:[{AREA_PARK}], 0
    mov     eax, {STATE_EVENT}
    xchg    eax, gs:[{AREA_STATE}]
    .globl posted
posted:
    cmp     eax, {STATE_ASLEEP}
    jne     1f
    rdgsbase rdi
    call_wake
1:
    mov     ecx, gs:[{AREA_SPIN}]
1:
    cmp     dword ptr gs:[{AREA_STATE}], {STATE_EVENT}
    jne     resumed
    cmp     dword ptr gs:[{AREA_SPIN}], 0
    je      2f
    pause
    sub     ecx, 1
    jg      1b
2:
    mov     eax, {STATE_EVENT}
    mov     ecx, {STATE_PARKED}
    lock cmpxchg gs:[{AREA_STATE}], ecx
    jne     resumed
3:
    rdgsbase rdi
    add     rdi, {AREA_PARK}
    call_park
    cmp     dword ptr gs:[{AREA_STATE}], {STATE_PARKED}
    je      3b
    jmp     resumed
gate:
    rdgsbase r15
    pass_gate
    and     dword ptr [r15 + {AREA_HOW}], ~{REPLY_GATED}
    mov     r15, [r15 + {AREA_REST} + 48]
    .globl resumed
resumed:
    mov     eax, gs:[{AREA_HOW}]
    test    eax, {REPLY_GATED}
    jnz     gate
    cmp     eax, {REPLY_RESULT}
    je      4f
    cmp     eax, {REPLY_ALL}
    je      5f
    cmp     eax, {REPLY_SAVE}
    je      save
    cmp     eax, {REPLY_VECTOR}
    jne     trap
    mov     eax, gs:[{AREA_COMPONENTS}]
    mov     edx, gs:[{AREA_COMPONENTS} + 4]
    mov     rcx, gs:[{AREA_VECTOR}]
    xrstor64 [rcx]
    .globl restored
restored:
5:
    mov     rax, gs:[{AREA_FSBASE}]
    wrfsbase rax
    mov     r8, gs:[{AREA_ARGS} + 32]
    mov     r9, gs:[{AREA_ARGS} + 40]
    mov     rbx, gs:[{AREA_REST}]
    mov     rbp, gs:[{AREA_REST} + 8]
    mov     rsp, gs:[{AREA_REST} + 16]
    mov     r12, gs:[{AREA_REST} + 24]
    mov     r13, gs:[{AREA_REST} + 32]
    mov     r14, gs:[{AREA_REST} + 40]
    mov     r15, gs:[{AREA_REST} + 48]
4:
    mov     rdi, gs:[{AREA_ARGS}]
    mov     rsi, gs:[{AREA_ARGS} + 8]
    mov     rdx, gs:[{AREA_ARGS} + 16]
    mov     r10, gs:[{AREA_ARGS} + 24]
    movzx   eax, word ptr gs:[{AREA_FLAGS}]
    add     al, 0x7f
    sahf
    mov     rax, gs:[{AREA_RAX}]
    jmp     qword ptr gs:[{AREA_AFTER}]
    .globl trap
trap:
    mov     eax, -1
    syscall
    .globl trapped
trapped:
    ud2

    // The first context of a sandbox traps here, to learn where frames lie.
    .globl calibrate
calibrate:
    ud2

    // struct sock_fprog of guest threads.
    .balign 8
program:
    .quad   23
    .quad   filter
    // What a guest thread may do: resume, yield, have cpuid trap, wait for the sentry and
    // wake it by the state and park words of an area, wake the mapper; everything else traps. By the stub's own text
    // only: a guest's rt_sigreturn is about its own frames.
    .macro bpf code, jt, jf, k
    .short  \code
    .byte   \jt
    .byte   \jf
    .long   \k
    .endm
filter:
    bpf     0x20, 0, 0, 12
    bpf     0x15, 0, 19, {STUB_TEXT} >> 32
    bpf     0x20, 0, 0, 0
    bpf     0x15, 18, 0, 15
    bpf     0x15, 17, 0, 24
    bpf     0x15, 13, 0, 158
    bpf     0x15, 0, 14, 202
    bpf     0x20, 0, 0, 20
    bpf     0x15, 0, 12, {AREAS} >> 32
    bpf     0x20, 0, 0, 16
    bpf     0x15, 6, 0, ({REQUEST} + {REQ_SEQ}) & 0xffffffff
    bpf     0x54, 0, 0, 0xf000ffff
    bpf     0x15, 1, 0, ({AREAS} + {AREA_STATE}) & 0xffffffff
    bpf     0x15, 0, 7, ({AREAS} + {AREA_PARK}) & 0xffffffff
    bpf     0x20, 0, 0, 24
    bpf     0x15, 6, 0, 0
    bpf     0x15, 5, 4, 1
    bpf     0x20, 0, 0, 24
    bpf     0x15, 3, 2, 1
    bpf     0x20, 0, 0, 16
    bpf     0x15, 1, 0, 0x1012
    bpf     0x06, 0, 0, 0x30000
    bpf     0x06, 0, 0, 0x7fff0000

    // Which of AREA_LOCALS answers a call; 0: none; from {LOCALS} on: published answers.
local_index:
    .set    i, 0
    .rept   336
    .set    v, 0
    .if i == 24
    .set    v, 1
    .elseif i == 39
    .set    v, 2
    .elseif i == 186
    .set    v, 3
    .elseif i == 110
    .set    v, 4
    .elseif i == 102
    .set    v, 5
    .elseif i == 107
    .set    v, 6
    .elseif i == 104
    .set    v, 7
    .elseif i == 108
    .set    v, 8
    .elseif i == 111
    .set    v, 9
    .elseif i == 5
    .set    v, {LOCALS}
    .elseif i == 4
    .set    v, {LOCALS} + 1
    .elseif i == 6
    .set    v, {LOCALS} + 2
    .elseif i == 262
    .set    v, {LOCALS} + 3
    .elseif i == 21
    .set    v, {LOCALS} + 4
    .elseif i == 269
    .set    v, {LOCALS} + 5
    .elseif i == 202
    .set    v, {LOCALS} + 6
    .elseif i == 89
    .set    v, {LOCALS} + 7
    .elseif i == 267
    .set    v, {LOCALS} + 8
    .elseif i == 14
    .set    v, {LOCALS} + 9
    .elseif i == 158
    .set    v, {LOCALS} + 10
    .elseif i == 334
    .set    v, {LOCALS} + 11
    .elseif i == 218
    .set    v, {LOCALS} + 12
    .elseif i == 273
    .set    v, {LOCALS} + 13
    .endif
    .byte   v
    .set    i, i + 1
    .endr

    // eventfd addends: byte b of the result at each of its four places, and done.
    .balign 8
    .globl table
table:
    .set    i, 0
    .rept   256
    .quad   i
    .set    i, i + 1
    .endr
    .set    i, 0
    .rept   256
    .quad   i << 8
    .set    i, i + 1
    .endr
    .set    i, 0
    .rept   256
    .quad   i << 16
    .set    i, i + 1
    .endr
    .set    i, 0
    .rept   256
    .quad   i << 24
    .set    i, i + 1
    .endr
done:
    .quad   1 << {REPLY_DONE_SHIFT}
"#,
    REQUEST = const REQUEST,
    REQUEST_LEN = const REQUEST_LEN,
    REQUEST_SPAN = const REQUEST_SPAN,
    LOCALS = const LOCALS,
    SCRATCH = const SCRATCH,
    SCRATCH_LEN = const SCRATCH_LEN,
    SCRATCH_VDSO = const SCRATCH_VDSO,
    SCRATCH_STACK = const SCRATCH_STACK,
    FD_CONTROL = const FD_CONTROL,
    REQ_SEQ = const REQ_SEQ,
    REQ_COUNT = const REQ_COUNT,
    REQ_OPS = const REQ_OPS,
    REQ_REPLY_FD = const REQ_REPLY_FD,
    REQ_CHAIN = const REQ_CHAIN,
    STUB_TEXT = const STUB_TEXT,
    AREAS = const AREAS,
    AREA_ALTSTACK = const AREA_ALTSTACK,
    AREA_FIRST_FRAME = const AREA_FIRST_FRAME,
    OP_LEN = const OP_LEN,
    OP_THREAD = const OP_THREAD,
    OP_FORK = const OP_FORK,
    OP_HINT = const OP_HINT,
    AREA_LEN = const AREA_LEN,
    AREA_STATE = const AREA_STATE,
    AREA_PARK = const AREA_PARK,
    AREA_MASK = const AREA_MASK,
    AREA_OLD_MASK = const AREA_OLD_MASK,
    REPLY_GATED = const REPLY_GATED,
    AREA_FRAME = const AREA_FRAME,
    AREA_FSBASE = const AREA_FSBASE,
    AREA_GSBASE = const AREA_GSBASE,
    AREA_HOW = const AREA_HOW,
    AREA_RAX = const AREA_RAX,
    AREA_ARGS = const AREA_ARGS,
    AREA_REST = const AREA_REST,
    AREA_AFTER = const AREA_AFTER,
    AREA_FLAGS = const AREA_FLAGS,
    AREA_KICKED = const AREA_KICKED,
    AREA_SPIN = const AREA_SPIN,
    AREA_LOCAL_COUNT = const AREA_LOCAL_COUNT,
    AREA_LOCALS = const AREA_LOCALS,
    AREA_VECTOR = const AREA_VECTOR,
    AREA_CPUID = const AREA_CPUID,
    AREA_COMPONENTS = const AREA_COMPONENTS,
    STATE_EVENT = const STATE_EVENT,
    STATE_ASLEEP = const STATE_ASLEEP,
    STATE_PARKED = const STATE_PARKED,
    HOW_FRAME = const HOW_FRAME,
    HOW_CALL = const HOW_CALL,
    REPLY_RESULT = const REPLY_RESULT,
    REPLY_ALL = const REPLY_ALL,
    REPLY_SAVE = const REPLY_SAVE,
    REPLY_VECTOR = const REPLY_VECTOR,
    SIGNAL_KICK = const SIGNAL_KICK,
    REPLY_DONE_SHIFT = const REPLY_DONE_SHIFT,
);
