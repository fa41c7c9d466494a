//! Answers that the sentry has published for the process: behind the request block, which is
//! read-only here. `common` comes here with a question that may have one.

use super::layout::*;

core::arch::global_asm!(
    r#"
    // The arguments are what they were.
    .macro put_back
    mov     rdi, gs:[{AREA_ARGS}]
    mov     rsi, gs:[{AREA_ARGS} + 8]
    mov     rdx, gs:[{AREA_ARGS} + 16]
    mov     r10, gs:[{AREA_ARGS} + 24]
    mov     r8, gs:[{AREA_ARGS} + 32]
    mov     r9, gs:[{AREA_ARGS} + 40]
    .endm

    // Back to the guest, with the result r11.
    .macro answer
    movzx   eax, word ptr gs:[{AREA_FLAGS}]
    add     al, 0x7f
    sahf
    mov     rax, r11
    jmp     qword ptr gs:[{AREA_AFTER}]
    .endm

    // The same for who has kept the arguments.
    .macro give
    put_back
    inc     qword ptr gs:[{AREA_LOCAL_COUNT}]
    answer
    .endm

    .section .text.stub, "ax"
    // Answers that the sentry has published. ecx: {LOCALS} fstat, then stat, lstat, newfstatat,
    // access, faccessat, futex, readlink, readlinkat, rt_sigprocmask, arch_prctl, rseq,
    // set_tid_address, set_robust_list.
    // The registers that are used here are kept where `slow` puts them; who is interrupted
    // from `taken` on goes on at `ungiven`.
    .globl published
published:
    cmp     ecx, {LOCALS} + 6
    je      futex
    ja      1f
2:
    cmp     qword ptr gs:[{AREA_VIEW}], 0
    je      slow
3:
    mov     gs:[{AREA_ARGS}], rdi
    mov     gs:[{AREA_ARGS} + 8], rsi
    mov     gs:[{AREA_ARGS} + 16], rdx
    mov     gs:[{AREA_ARGS} + 24], r10
    mov     gs:[{AREA_ARGS} + 32], r8
    mov     gs:[{AREA_ARGS} + 40], r9
    jmp     taken
1:
    cmp     ecx, {LOCALS} + 9
    jb      2b
    ja      own
    cmp     qword ptr gs:[{AREA_LOCALS} + 8 * {LOCAL_SIGMASK}], 0
    je      slow
    cmp     r10, 8
    je      3b
    jmp     slow

    // What concerns nobody but the thread. It may be done twice: who is interrupted goes on at
    // `slow`.
own:
    cmp     qword ptr gs:[{AREA_LOCALS} + 8 * {LOCAL_FUTEX}], 0
    je      slow
    cmp     ecx, {LOCALS} + 12
    je      4f
    ja      5f
    cmp     ecx, {LOCALS} + 10
    jne     1f
    // arch_prctl(ARCH_SET_FS, address)
    cmp     edi, 0x1002
    jne     slow
    movabs  rcx, {GUEST_END}
    cmp     rsi, rcx
    jae     slow
    wrfsbase rsi
    xor     r11d, r11d
    jmp     3f
1:
    // rseq: there is none.
    mov     r11, -38
3:
    inc     qword ptr gs:[{AREA_LOCAL_COUNT}]
    answer

4:
    // set_tid_address(address): the result is the thread's number.
    mov     r11, gs:[{AREA_LOCALS} + 8 * {LOCAL_GETTID}]
    test    r11, r11
    jns     slow
    mov     gs:[{AREA_EXIT_WORDS}], rdi
    mov     r11d, r11d
    jmp     3b
5:
    // set_robust_list(head, 24)
    cmp     rsi, 24
    jne     slow
    mov     gs:[{AREA_EXIT_WORDS} + 8], rdi
    xor     r11d, r11d
    jmp     3b

    // futex(address, operation, value, timeout, -, bits), private ones only. Nothing but
    // rcx, r11 and the flags is used: who is interrupted goes on at `slow`.
futex:
    cmp     qword ptr gs:[{AREA_LOCALS} + 8 * {LOCAL_FUTEX}], 0
    je      slow
    test    edi, 3
    jnz     slow
    movabs  rcx, {GUEST_END}
    cmp     rdi, rcx
    jae     slow
    cmp     esi, 0x81
    je      1f
    // FUTEX_WAIT, FUTEX_WAIT_BITSET with either clock: the word has changed already.
    cmp     esi, 0x80
    je      2f
    cmp     esi, 0x189
    je      3f
    cmp     esi, 0x89
    jne     slow
3:
    test    r9d, r9d
    jz      slow
2:
    // A time may be none, which comes first.
    test    r10, r10
    jnz     slow
    mov     ecx, [rdi]
    cmp     ecx, edx
    je      slow
    inc     qword ptr gs:[{AREA_LOCAL_COUNT}]
    mov     r11, -11
    jmp     2f
1:
    // FUTEX_WAKE. The word was changed before; who waits is counted before it looks at the
    // word. In between both must see to it that others see it: here by the locked count.
    lock inc qword ptr gs:[{AREA_LOCAL_COUNT}]
    imul    ecx, edi, {WAITERS_FACTOR}
    shr     ecx, 32 - {WAITERS_BITS}
    movabs  r11, {REQUEST} + {WAITERS_AT}
    cmp     dword ptr [r11 + rcx * 4], 0
    jne     1f
    xor     r11d, r11d
2:
    answer
1:
    dec     qword ptr gs:[{AREA_LOCAL_COUNT}]
    jmp     slow

    .globl taken
taken:
    sub     ecx, {LOCALS} + 1
    jb      of_file
    je      1f
    cmp     ecx, 2
    jb      2f
    je      3f
    cmp     ecx, 4
    jb      4f
    cmp     ecx, 7
    jb      7f
    je      8f
    jmp     sigmask
6:
    // faccessat(AT_FDCWD, path, mode)
    cmp     edi, -100
    jne     ungiven
    mov     ecx, edx
    jmp     5f
7:
    // readlink(path, buf, size)
    mov     rsi, rdi
    jmp     9f
8:
    // readlinkat(AT_FDCWD, path, buf, size)
    cmp     edi, -100
    jne     ungiven
    mov     edx, r10d
9:
    test    edx, edx
    jle     ungiven
    mov     ecx, {ASK_READLINK}
    jmp     of_path
4:
    // access(path, mode)
    mov     ecx, esi
    mov     rsi, rdi
5:
    cmp     ecx, 7
    ja      ungiven
    add     ecx, {ASK_ACCESS}
    jmp     of_path
1:
    // stat(path, buf)
    mov     rdx, rsi
    mov     rsi, rdi
    mov     ecx, {ASK_STAT}
    jmp     of_path
2:
    // lstat(path, buf)
    mov     rdx, rsi
    mov     rsi, rdi
    mov     ecx, {ASK_LSTAT}
    jmp     of_path
3:
    // newfstatat(fd, path, buf, flags)
    cmp     r10d, 0x1000
    je      6f
    cmp     edi, -100
    jne     ungiven
    mov     ecx, {ASK_STAT}
    test    r10d, r10d
    jz      of_path
    mov     ecx, {ASK_LSTAT}
    cmp     r10d, 0x100
    je      of_path
    jmp     ungiven
6:
    // AT_EMPTY_PATH
    cmp     byte ptr [rsi], 0
    jne     ungiven
    mov     rsi, rdx
of_file:
    // edi: descriptor, rsi: where to.
    cmp     edi, {FILES}
    jae     ungiven
    imul    edi, edi, {FILE_LEN}
    movabs  r8, {REQUEST} + {FILES_AT}
    add     r8, rdi
    mov     rdi, rsi
    mov     r9d, [r8 + {ENTRY_SEQ}]
    mov     ecx, {ASK_STAT}
    jmp     check

    // rt_sigprocmask(how, set, old set, 8). Until the mask is changed nothing has happened;
    // who is interrupted from `masked` on takes the change back. Whoever sends a signal says
    // that it is pending before he looks at the mask: here it is the other way round.
sigmask:
    movabs  rcx, {GUEST_END} - 8
    mov     r8, gs:[{AREA_MASK}]
    mov     r9, r8
    test    rsi, rsi
    jz      4f
    cmp     rsi, rcx
    ja      ungiven
    // The sets may not overlap.
    mov     r10, rdx
    sub     r10, rsi
    add     r10, 7
    cmp     r10, 15
    jb      ungiven
    mov     r10, [rsi]
    cmp     edi, 1
    jb      1f
    je      2f
    cmp     edi, 2
    jne     ungiven
    mov     r9, r10
    jmp     3f
1:
    or      r9, r10
    jmp     3f
2:
    not     r10
    and     r9, r10
3:
    and     r9, ~{UNBLOCKABLE}
4:
    test    rdx, rdx
    jz      5f
    cmp     rdx, rcx
    ja      ungiven
    mov     [rdx], r8
5:
    mov     gs:[{AREA_OLD_MASK}], r8
    xchg    gs:[{AREA_MASK}], r9
    .globl masked
masked:
    cmp     dword ptr gs:[{AREA_PENDING}], 0
    jne     6f
    xor     r11d, r11d
    give
6:
    mov     r8, gs:[{AREA_OLD_MASK}]
    xchg    gs:[{AREA_MASK}], r8
    .globl unmasked
unmasked:
    jmp     ungiven

of_path:
    // rsi: path, rdx: where to, ecx: question. The hash goes over words, the last one
    // without what is behind its zero byte.
    mov     eax, ecx
    xor     r10d, r10d
    movabs  r9, 0x0101010101010101
1:
    mov     r8, [rsi + r10]
    mov     r11, r8
    sub     r11, r9
    mov     rdi, r8
    not     rdi
    and     r11, rdi
    mov     rdi, r9
    shl     rdi, 7
    and     r11, rdi
    jnz     2f
    xor     rax, r8
    movabs  rdi, {HASH_FACTOR}
    imul    rax, rdi
    add     r10d, 8
    cmp     r10d, {PATH_MAX}
    jb      1b
    jmp     ungiven
2:
    mov     rdi, r11
    neg     rdi
    and     rdi, r11
    dec     rdi
    and     rdi, r8
    mov     r11, rdi
    xor     rax, rdi
    movabs  rdi, {HASH_FACTOR}
    imul    rax, rdi
    shr     rax, 64 - {PATHS_BITS}
    shl     eax, 8
    movabs  r8, {REQUEST} + {PATHS_AT}
    add     r8, rax
    mov     r9d, [r8 + {ENTRY_SEQ}]
    cmp     [r8 + {ENTRY_KIND}], ecx
    jne     ungiven
    cmp     r11, [r8 + r10 + {ENTRY_PATH}]
    jne     ungiven
1:
    test    r10d, r10d
    jz      1f
    sub     r10d, 8
    mov     r11, [rsi + r10]
    cmp     r11, [r8 + r10 + {ENTRY_PATH}]
    je      1b
    jmp     ungiven
1:
    mov     rdi, rdx
check:
    // r8: entry, r9d: its count, rdi: where to, ecx: question.
    test    r9d, 1
    jnz     ungiven
    mov     rax, gs:[{AREA_VIEW}]
    cmp     [r8 + {ENTRY_VIEW}], rax
    jne     ungiven
    movabs  rax, [{CHANGES}]
    cmp     [r8 + {ENTRY_CHANGES}], rax
    jne     ungiven
    cmp     qword ptr [r8 + {ENTRY_WINDOW}], -1
    je      1f
    rdtsc
    shl     rdx, 32
    or      rax, rdx
    sub     rax, [r8 + {ENTRY_SINCE}]
    cmp     rax, [r8 + {ENTRY_WINDOW}]
    ja      ungiven
1:
    mov     r11, [r8 + {ENTRY_RESULT}]
    cmp     ecx, {ASK_ACCESS}
    jae     2f
    test    r11, r11
    jnz     2f
    .set    i, 0
    .rept   {STAT_LEN} / 16
    mov     rax, [r8 + {ENTRY_STAT} + i]
    mov     rdx, [r8 + {ENTRY_STAT} + i + 8]
    mov     [rdi + i], rax
    mov     [rdi + i + 8], rdx
    .set    i, i + 16
    .endr
2:
    cmp     r9d, [r8 + {ENTRY_SEQ}]
    jne     ungiven
    give
    .globl given
given:
    .globl ungiven
ungiven:
    put_back
    jmp     slow
    .globl published_end
published_end:
"#,
    REQUEST = const REQUEST,
    GUEST_END = const GUEST_END,
    AREA_LOCALS = const AREA_LOCALS,
    LOCAL_FUTEX = const LOCAL_FUTEX,
    LOCAL_GETTID = const LOCAL_GETTID,
    AREA_EXIT_WORDS = const AREA_EXIT_WORDS,
    WAITERS_AT = const WAITERS_AT,
    WAITERS_BITS = const WAITERS_BITS,
    WAITERS_FACTOR = const WAITERS_FACTOR,
    LOCALS = const LOCALS,
    AREA_ARGS = const AREA_ARGS,
    AREA_LOCAL_COUNT = const AREA_LOCAL_COUNT,
    AREA_FLAGS = const AREA_FLAGS,
    AREA_AFTER = const AREA_AFTER,
    FILES_AT = const FILES_AT,
    FILES = const FILES,
    FILE_LEN = const FILE_LEN,
    PATHS_AT = const PATHS_AT,
    PATHS_BITS = const PATHS_BITS,
    PATH_MAX = const PATH_MAX,
    HASH_FACTOR = const HASH_FACTOR,
    CHANGES = const CHANGES,
    ENTRY_SEQ = const ENTRY_SEQ,
    ENTRY_KIND = const ENTRY_KIND,
    ENTRY_VIEW = const ENTRY_VIEW,
    ENTRY_CHANGES = const ENTRY_CHANGES,
    ENTRY_SINCE = const ENTRY_SINCE,
    ENTRY_WINDOW = const ENTRY_WINDOW,
    ENTRY_RESULT = const ENTRY_RESULT,
    ENTRY_STAT = const ENTRY_STAT,
    ENTRY_PATH = const ENTRY_PATH,
    STAT_LEN = const STAT_LEN,
    ASK_STAT = const ASK_STAT,
    ASK_LSTAT = const ASK_LSTAT,
    ASK_ACCESS = const ASK_ACCESS,
    ASK_READLINK = const ASK_READLINK,
    AREA_VIEW = const AREA_VIEW,
    AREA_MASK = const AREA_MASK,
    AREA_OLD_MASK = const AREA_OLD_MASK,
    AREA_PENDING = const AREA_PENDING,
    LOCAL_SIGMASK = const LOCAL_SIGMASK,
    UNBLOCKABLE = const UNBLOCKABLE,
);
