/* Sending, blocking, catching and waiting for signals; alternate stacks; restarts; descriptors of signals and processes. */
#include "t.h"
#include <sys/signalfd.h>
#include <sys/prctl.h>
#include <setjmp.h>
#include <sched.h>
#include <ucontext.h>
#include <fenv.h>

static volatile sig_atomic_t count, last, code;
static volatile pid_t sender;
static volatile long value;
static void note(int s, siginfo_t *i, void *u) {
    count++;
    last = s;
    code = i->si_code;
    sender = i->si_pid;
    value = i->si_value.sival_int;
}
static void on(int s, int flags) {
    struct sigaction a = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | flags};
    OK(sigaction(s, &a, 0));
}
static void block(int s) {
    sigset_t m;
    sigemptyset(&m);
    sigaddset(&m, s);
    OK(sigprocmask(SIG_BLOCK, &m, 0));
}
static void unblock(int s) {
    sigset_t m;
    sigemptyset(&m);
    sigaddset(&m, s);
    OK(sigprocmask(SIG_UNBLOCK, &m, 0));
}
static bool pending(int s) {
    sigset_t m;
    OK(sigpending(&m));
    return sigismember(&m, s);
}
static bool blocked(int s) {
    sigset_t m;
    OK(sigprocmask(SIG_BLOCK, 0, &m));
    return sigismember(&m, s);
}
static void nap(int ms) { usleep(ms * 1000); }

CASE(kill_self) {
    on(SIGUSR1, 0);
    OK(kill(getpid(), SIGUSR1));
    EQ(count, 1);
    EQ(last, SIGUSR1);
    EQ(code, SI_USER);
    EQ(sender, getpid());
    OK(raise(SIGUSR1));
    EQ(count, 2);
    EQ(code, SI_TKILL);
}
CASE(kill_errors) {
    ERR(EINVAL, kill(getpid(), 65));
    ERR(EINVAL, kill(getpid(), -1));
    ERR(ESRCH, kill(4000000, 0));
    ERR(ESRCH, kill(4000000, 65));
    OK(kill(getpid(), 0));
    OK(kill(0, 0));
    ERR(EINVAL, syscall(SYS_tgkill, 0, getpid(), 0));
    ERR(EINVAL, syscall(SYS_tgkill, getpid(), 0, 0));
    ERR(EINVAL, syscall(SYS_tgkill, getpid(), getpid(), 65));
    ERR(ESRCH, syscall(SYS_tgkill, getpid(), 4000000, 0));
    ERR(EINVAL, syscall(SYS_tkill, 0, 0));
    ERR(ESRCH, syscall(SYS_tkill, 4000000, 0));
    ERR(ESRCH, kill(INT_MIN, 0));
}
CASE(default_actions) {
    static const int kills[] = {SIGHUP, SIGINT, SIGKILL, SIGUSR1, SIGPIPE, SIGALRM, SIGTERM, SIGSTKFLT, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, 34, 64};
    for (unsigned i = 0; i < sizeof kills / sizeof *kills; i++) {
        pid_t c = CHILD(kill(getpid(), kills[i]); _exit(9));
        REAP_SIG(c, kills[i]);
    }
    static const int cores[] = {SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS};
    struct rlimit none = {0, 0};
    OK(setrlimit(RLIMIT_CORE, &none));
    for (unsigned i = 0; i < sizeof cores / sizeof *cores; i++) {
        pid_t c = CHILD(kill(getpid(), cores[i]); _exit(9));
        REAP_SIG(c, cores[i]);
    }
    static const int ignored[] = {SIGCHLD, SIGCONT, SIGURG, SIGWINCH};
    for (unsigned i = 0; i < sizeof ignored / sizeof *ignored; i++) OK(kill(getpid(), ignored[i]));
}
CASE(sigaction_raw) {
    char b[64];
    ERR(EINVAL, syscall(SYS_rt_sigaction, SIGUSR1, 0, 0, 4));
    ERR(EINVAL, syscall(SYS_rt_sigaction, 0, 0, 0, 8));
    ERR(EINVAL, syscall(SYS_rt_sigaction, 65, 0, 0, 8));
    OK(syscall(SYS_rt_sigaction, SIGKILL, 0, b, 8));
    memset(b, 0, sizeof b);
    ERR(EINVAL, syscall(SYS_rt_sigaction, SIGKILL, b, 0, 8));
    ERR(EINVAL, syscall(SYS_rt_sigaction, SIGSTOP, b, 0, 8));
    ERR(EFAULT, syscall(SYS_rt_sigaction, SIGUSR1, BAD_PTR, 0, 8));
    ERR(EFAULT, syscall(SYS_rt_sigaction, SIGUSR1, 0, BAD_PTR, 8));
    /* Unknown flags are dropped, so that SA_UNSUPPORTED can be probed for. */
    struct { uint64_t handler, flags, restorer, mask; } a = {(uint64_t)note, 0x400 | SA_SIGINFO, 0, ~0ull}, o;
    OK(syscall(SYS_rt_sigaction, SIGUSR1, &a, 0, 8));
    OK(syscall(SYS_rt_sigaction, SIGUSR1, 0, &o, 8));
    EQ(o.flags & 0x400, 0);
    EQ(o.handler, (uint64_t)note);
    EQ(o.mask, ~(1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1)));
}
CASE(mask_raw) {
    uint64_t m = 0, o = 0;
    ERR(EINVAL, syscall(SYS_rt_sigprocmask, SIG_BLOCK, &m, 0, 4));
    ERR(EINVAL, syscall(SYS_rt_sigprocmask, 9, &m, 0, 8));
    OK(syscall(SYS_rt_sigprocmask, 9, 0, 0, 8));
    ERR(EFAULT, syscall(SYS_rt_sigprocmask, SIG_BLOCK, BAD_PTR, 0, 8));
    ERR(EFAULT, syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, BAD_PTR, 8));
    m = ~0ull;
    OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &m, 0, 8));
    OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, 0, &o, 8));
    EQ(o, ~(1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1)));
    ERR(EINVAL, syscall(SYS_rt_sigpending, &o, 9));
    o = ~0ull;
    OK(syscall(SYS_rt_sigpending, &o, 4));
    EQ(o, 0xffffffff00000000ull);
    ERR(EFAULT, syscall(SYS_rt_sigpending, BAD_PTR, 8));
    ERR(EINVAL, syscall(SYS_rt_sigsuspend, &m, 4));
    ERR(EFAULT, syscall(SYS_rt_sigsuspend, BAD_PTR, 8));
}
CASE(blocked_stays_pending) {
    on(SIGUSR1, 0);
    block(SIGUSR1);
    for (int i = 0; i < 3; i++) OK(kill(getpid(), SIGUSR1));
    EQ(count, 0);
    TRUE(pending(SIGUSR1));
    unblock(SIGUSR1);
    EQ(count, 1);
    TRUE(!pending(SIGUSR1));
}
CASE(ignoring_discards_pending) {
    block(SIGUSR1);
    OK(kill(getpid(), SIGUSR1));
    TRUE(pending(SIGUSR1));
    signal(SIGUSR1, SIG_IGN);
    TRUE(!pending(SIGUSR1));
    on(SIGUSR1, 0);
    unblock(SIGUSR1);
    EQ(count, 0);
}
static int order[16], orders;
static void in_order(int s, siginfo_t *i, void *u) { order[orders++] = s * 100 + i->si_value.sival_int; }
CASE(realtime_are_queued_in_order) {
    struct sigaction a = {.sa_sigaction = in_order, .sa_flags = SA_SIGINFO};
    sigfillset(&a.sa_mask);
    int rt = SIGRTMIN;
    for (int s = rt; s < rt + 2; s++) OK(sigaction(s, &a, 0)), block(s);
    OK(sigqueue(getpid(), rt + 1, (union sigval){.sival_int = 1}));
    for (int i = 1; i < 4; i++) OK(sigqueue(getpid(), rt, (union sigval){.sival_int = i}));
    sigset_t m;
    sigemptyset(&m);
    OK(sigprocmask(SIG_SETMASK, &m, 0));
    /* A frame is built for the lower numbers first; the last frame built runs first. But the mask keeps others out. */
    EQ(orders, 4);
    EQ(order[0], rt * 100 + 1);
    EQ(order[1], rt * 100 + 2);
    EQ(order[2], rt * 100 + 3);
    EQ(order[3], (rt + 1) * 100 + 1);
}
CASE(queue_limit) {
    struct rlimit l = {3, 3};
    block(SIGRTMIN);
    block(SIGUSR1);
    OK(setrlimit(RLIMIT_SIGPENDING, &l));
    int n = 0;
    while (n < 10 && sigqueue(getpid(), SIGRTMIN, (union sigval){0}) == 0) n++;
    TRUE(n <= 3);
    EQ(errno, EAGAIN);
    /* kill(2) never fails for that. */
    OK(kill(getpid(), SIGRTMIN));
    OK(kill(getpid(), SIGUSR1));
    TRUE(pending(SIGUSR1));
}
CASE(sigqueue_checks) {
    siginfo_t i = {.si_code = SI_QUEUE};
    ERR(EFAULT, syscall(SYS_rt_sigqueueinfo, getpid(), 10, BAD_PTR));
    ERR(EINVAL, syscall(SYS_rt_sigqueueinfo, getpid(), 65, &i));
    ERR(ESRCH, syscall(SYS_rt_sigqueueinfo, 4000000, 0, &i));
    i.si_code = SI_USER;
    ERR(EPERM, syscall(SYS_rt_sigqueueinfo, 4000000, 0, &i));
    i.si_code = SI_TKILL;
    ERR(EPERM, syscall(SYS_rt_sigqueueinfo, getppid(), 0, &i));
    OK(syscall(SYS_rt_sigqueueinfo, getpid(), 0, &i));
    ERR(EINVAL, syscall(SYS_rt_tgsigqueueinfo, 0, getpid(), 0, &i));
    on(SIGUSR1, 0);
    i.si_code = -77;
    i.si_value.sival_int = 5;
    OK(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGUSR1, &i));
    EQ(code, -77);
    EQ(value, 5);
}
CASE(handler_mask_and_flags) {
    static volatile int inside, other;
    void h(int s) { inside = blocked(SIGUSR1); other = blocked(SIGUSR2); }
    struct sigaction a = {.sa_handler = h}, o;
    sigaddset(&a.sa_mask, SIGUSR2);
    OK(sigaction(SIGUSR1, &a, 0));
    raise(SIGUSR1);
    EQ(inside, 1);
    EQ(other, 1);
    TRUE(!blocked(SIGUSR1) && !blocked(SIGUSR2));
    a.sa_flags = SA_NODEFER | SA_RESETHAND;
    OK(sigaction(SIGUSR1, &a, 0));
    raise(SIGUSR1);
    EQ(inside, 0);
    OK(sigaction(SIGUSR1, 0, &o));
    TRUE(o.sa_handler == SIG_DFL);
}
CASE(registers_survive) {
    on(SIGUSR1, 0);
    register long rbx __asm__("rbx") = 0x1234, r12 __asm__("r12") = 0x5678, r15 __asm__("r15") = -9;
    double x = 1.5;
    long flags, ret;
    pid_t me = getpid();
    __asm__ volatile("movq %[x], %%xmm7\n\tstc\n\tsyscall\n\tpushfq\n\tpopq %[f]\n\tmovq %%xmm7, %[x]"
                     : "=a"(ret), [f] "=r"(flags), [x] "+r"(x), "+r"(rbx), "+r"(r12), "+r"(r15)
                     : "a"(SYS_kill), "D"(me), "S"(SIGUSR1)
                     : "rcx", "r11", "memory", "xmm7");
    EQ(ret, 0);
    EQ(count, 1);
    EQ(rbx, 0x1234);
    EQ(r12, 0x5678);
    EQ(r15, -9);
    TRUE(x == 1.5);
    EQ(flags & 1, 1);
}
CASE(handler_starts_with_clean_vector_state) {
    static volatile unsigned seen, after;
    static volatile unsigned short word;
    void h(int s) {
        unsigned m;
        unsigned short c;
        __asm__ volatile("stmxcsr %0" : "=m"(m));
        __asm__ volatile("fnstcw %0" : "=m"(c));
        seen = m;
        word = c;
    }
    signal(SIGUSR1, h);
    unsigned m = 0x7f80;
    __asm__ volatile("ldmxcsr %0" ::"m"(m));
    raise(SIGUSR1);
    __asm__ volatile("stmxcsr %0" : "=m"(m));
    EQ(seen, 0x1f80);
    EQ(word, 0x37f);
    EQ(m & 0x7f80, 0x7f80);
}
CASE(handler_may_change_the_context) {
    void h(int s, siginfo_t *i, void *u) {
        ucontext_t *c = u;
        c->uc_mcontext.gregs[REG_RAX] = 77;
        sigaddset(&c->uc_sigmask, SIGUSR2);
        sigaddset(&c->uc_sigmask, SIGKILL);
    }
    struct sigaction a = {.sa_sigaction = h, .sa_flags = SA_SIGINFO};
    OK(sigaction(SIGUSR1, &a, 0));
    EQ(syscall(SYS_kill, getpid(), SIGUSR1), 77);
    TRUE(blocked(SIGUSR2) && !blocked(SIGKILL));
}
CASE(faults) {
    static volatile long addr, where, trap, err;
    static sigjmp_buf back;
    void h(int s, siginfo_t *i, void *u) {
        ucontext_t *c = u;
        last = s;
        code = i->si_code;
        addr = (long)i->si_addr;
        trap = c->uc_mcontext.gregs[REG_TRAPNO];
        err = c->uc_mcontext.gregs[REG_ERR];
        where = c->uc_mcontext.gregs[REG_CR2];
        siglongjmp(back, 1);
    }
    struct sigaction a = {.sa_sigaction = h, .sa_flags = SA_SIGINFO};
    OK(sigaction(SIGSEGV, &a, 0));
    OK(sigaction(SIGFPE, &a, 0));
    OK(sigaction(SIGILL, &a, 0));
    OK(sigaction(SIGTRAP, &a, 0));
    char *p = mmap(0, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!sigsetjmp(back, 1)) *(volatile char *)(p + 5) = 1;
    EQ(last, SIGSEGV);
    EQ(code, SEGV_ACCERR);
    EQ(addr, (long)p + 5);
    EQ(where, (long)p + 5);
    EQ(trap, 14);
    EQ(err & 6, 6);
    OK(munmap(p, 8192));
    if (!sigsetjmp(back, 1)) *(volatile char *)p;
    EQ(code, SEGV_MAPERR);
    if (!sigsetjmp(back, 1)) *(volatile char *)0x8000000000001000;
    EQ(code, SI_KERNEL);
    EQ(addr, 0);
    EQ(trap, 13);
    volatile int zero = 0;
    if (!sigsetjmp(back, 1)) __asm__ volatile("movl $1, %%eax; cltd; idivl %0" ::"m"(zero) : "eax", "edx");
    EQ(last, SIGFPE);
    EQ(code, FPE_INTDIV);
    EQ(trap, 0);
    if (!sigsetjmp(back, 1)) __asm__ volatile("ud2");
    EQ(last, SIGILL);
    EQ(code, ILL_ILLOPN);
    EQ(trap, 6);
    if (!sigsetjmp(back, 1)) __asm__ volatile("int3");
    EQ(last, SIGTRAP);
    EQ(code, SI_KERNEL);
    EQ(trap, 3);
}
CASE(fault_ignored_or_blocked_kills) {
    pid_t c = CHILD(signal(SIGSEGV, SIG_IGN); *(volatile int *)8 = 1);
    REAP_SIG(c, SIGSEGV);
    c = CHILD(on(SIGSEGV, 0); block(SIGSEGV); *(volatile int *)8 = 1);
    REAP_SIG(c, SIGSEGV);
    /* But a sent one can be ignored. */
    c = CHILD(signal(SIGSEGV, SIG_IGN); kill(getpid(), SIGSEGV));
    REAP(c, 0);
}
CASE(altstack) {
    static volatile long sp;
    static stack_t inside;
    void h(int s) {
        sp = (long)&s;
        OK(syscall(SYS_sigaltstack, 0, &inside));
    }
    stack_t ss = {0}, o;
    OK(sigaltstack(0, &o));
    EQ(o.ss_flags, SS_DISABLE);
    char *p = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ss.ss_sp = p;
    ss.ss_size = 2047;
    ERR(ENOMEM, sigaltstack(&ss, 0));
    ss.ss_size = 65536;
    ss.ss_flags = 4;
    ERR(EINVAL, sigaltstack(&ss, 0));
    ss.ss_flags = 3;
    ERR(EINVAL, sigaltstack(&ss, 0));
    ERR(EFAULT, sigaltstack(BAD_PTR, 0));
    ERR(EFAULT, sigaltstack(0, BAD_PTR));
    ss.ss_flags = 0;
    OK(sigaltstack(&ss, 0));
    struct sigaction a = {.sa_handler = h, .sa_flags = SA_ONSTACK};
    OK(sigaction(SIGUSR1, &a, 0));
    raise(SIGUSR1);
    TRUE(sp > (long)p && sp < (long)p + 65536);
    EQ(inside.ss_flags, SS_ONSTACK);
    OK(sigaltstack(0, &o));
    EQ(o.ss_flags, 0);
    ss.ss_flags = 1 << 31;
    OK(sigaltstack(&ss, 0));
    sp = 0;
    raise(SIGUSR1);
    TRUE(sp > (long)p && sp < (long)p + 65536);
    EQ(inside.ss_flags, SS_DISABLE);
    OK(sigaltstack(0, &o));
    EQ(o.ss_flags, 1 << 31);
    TRUE(o.ss_sp == p);
    a.sa_flags = 0;
    OK(sigaction(SIGUSR1, &a, 0));
    raise(SIGUSR1);
    TRUE(sp < (long)p || sp >= (long)p + 65536);
}
CASE(altstack_in_use) {
    static volatile int result;
    void h(int s) {
        stack_t off = {.ss_flags = SS_DISABLE};
        result = sigaltstack(&off, 0) == -1 ? errno : 0;
    }
    stack_t ss = {.ss_size = 65536};
    ss.ss_sp = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    OK(sigaltstack(&ss, 0));
    struct sigaction a = {.sa_handler = h, .sa_flags = SA_ONSTACK};
    OK(sigaction(SIGUSR1, &a, 0));
    raise(SIGUSR1);
    EQ(result, EPERM);
}
CASE(stack_overflow_is_caught_on_the_altstack) {
    pid_t c = CHILD(
        void h(int s) { _exit(3); }
        int deep(int n) { volatile char b[4096]; b[0] = n; return deep(n + 1) + b[0]; }
        struct rlimit l = {1 << 20, 1 << 20};
        setrlimit(RLIMIT_STACK, &l);
        stack_t ss = {.ss_size = 65536};
        ss.ss_sp = malloc(65536);
        sigaltstack(&ss, 0);
        struct sigaction a = {.sa_handler = h, .sa_flags = SA_ONSTACK};
        sigaction(SIGSEGV, &a, 0);
        deep(0));
    REAP(c, 3);
}
CASE(no_room_for_a_frame_kills) {
    pid_t c = CHILD(
        on(SIGUSR1, 0);
        pid_t me = getpid();
        __asm__ volatile("movq $0x1000, %%rsp\n\tsyscall" ::"a"(SYS_kill), "D"(me), "S"(SIGUSR1) : "rcx", "r11"));
    REAP_SIG(c, SIGSEGV);
}
CASE(bad_sigreturn_kills) {
    pid_t c = CHILD(__asm__ volatile("movq $0x1000, %%rsp\n\tsyscall" ::"a"(SYS_rt_sigreturn) : "rcx", "r11"));
    REAP_SIG(c, SIGSEGV);
}
static pid_t later(int s, int ms) {
    pid_t me = getpid();
    return CHILD(nap(ms); kill(me, s));
}
CASE(restart_or_eintr) {
    int p[2];
    char b;
    OK(pipe(p));
    on(SIGUSR1, 0);
    pid_t c = later(SIGUSR1, 50);
    ERR(EINTR, read(p[0], &b, 1));
    REAP(c, 0);
    on(SIGUSR1, SA_RESTART);
    pid_t me = getpid();
    c = CHILD(nap(50); kill(me, SIGUSR1); nap(50); if (write(p[1], "x", 1) != 1) _exit(1));
    EQ(OK(read(p[0], &b, 1)), 1);
    EQ(count, 2);
    REAP(c, 0);
    /* Never restarted, whatever the flag. */
    c = later(SIGUSR1, 50);
    struct pollfd f = {p[0], POLLIN, 0};
    ERR(EINTR, poll(&f, 1, 2000));
    REAP(c, 0);
    c = later(SIGUSR1, 50);
    struct timespec t = {2, 0}, left = {0, 0};
    ERR(EINTR, nanosleep(&t, &left));
    TRUE(left.tv_sec == 1 && left.tv_nsec > 500000000);
    REAP(c, 0);
}
CASE(ignored_signals_interrupt_nothing) {
    signal(SIGUSR1, SIG_IGN);
    pid_t c = later(SIGUSR1, 30);
    int64_t start = now_ms();
    struct timespec t = {0, 150000000};
    OK(nanosleep(&t, 0));
    TRUE(now_ms() - start >= 149);
    REAP(c, 0);
}
CASE(stop_and_continue_interrupt_nothing) {
    int p[2];
    char b = 0;
    OK(pipe(p));
    pid_t c = CHILD(
        struct timespec t = {0, 200000000};
        if (nanosleep(&t, 0)) _exit(2);
        if (read(p[0], &b, 1) != 1 || b != 'x') _exit(3));
    nap(50);
    OK(kill(c, SIGSTOP));
    int st;
    EQ(OK(waitpid(c, &st, WUNTRACED)), c);
    TRUE(WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP);
    OK(kill(c, SIGCONT));
    EQ(OK(waitpid(c, &st, WCONTINUED)), c);
    TRUE(WIFCONTINUED(st));
    nap(250);
    OK(kill(c, SIGTSTP));
    EQ(OK(waitpid(c, &st, WUNTRACED)), c);
    OK(kill(c, SIGCONT));
    EQ(OK(write(p[1], "x", 1)), 1);
    REAP(c, 0);
}
CASE(stopped_is_killed) {
    pid_t c = CHILD(pause());
    OK(kill(c, SIGSTOP));
    int st;
    EQ(OK(waitpid(c, &st, WUNTRACED)), c);
    OK(kill(c, SIGTERM));
    nap(20);
    EQ(OK(waitpid(c, &st, WNOHANG)), 0);
    OK(kill(c, SIGKILL));
    REAP_SIG(c, SIGKILL);
}
CASE(sigchld) {
    static volatile int status, uid;
    void h(int s, siginfo_t *i, void *u) {
        count++;
        code = i->si_code;
        sender = i->si_pid;
        status = i->si_status;
        uid = i->si_uid;
    }
    struct sigaction a = {.sa_sigaction = h, .sa_flags = SA_SIGINFO};
    OK(sigaction(SIGCHLD, &a, 0));
    block(SIGCHLD);
    sigset_t none;
    sigemptyset(&none);
    pid_t c = CHILD(_exit(7));
    ERR(EINTR, sigsuspend(&none));
    EQ(code, CLD_EXITED);
    EQ(sender, c);
    EQ(status, 7);
    EQ(uid, getuid());
    REAP(c, 7);
    c = CHILD(pause());
    OK(kill(c, SIGSTOP));
    ERR(EINTR, sigsuspend(&none));
    EQ(code, CLD_STOPPED);
    EQ(status, SIGSTOP);
    OK(kill(c, SIGCONT));
    ERR(EINTR, sigsuspend(&none));
    EQ(code, CLD_CONTINUED);
    EQ(status, SIGCONT);
    OK(kill(c, SIGTERM));
    ERR(EINTR, sigsuspend(&none));
    EQ(code, CLD_KILLED);
    EQ(status, SIGTERM);
    REAP_SIG(c, SIGTERM);
    a.sa_flags |= SA_NOCLDSTOP | SA_NOCLDWAIT;
    OK(sigaction(SIGCHLD, &a, 0));
    c = CHILD(_exit(0));
    ERR(EINTR, sigsuspend(&none));
    ERR(ECHILD, waitpid(c, 0, 0));
}
CASE(sigsuspend_restores_the_mask) {
    on(SIGUSR1, 0);
    block(SIGUSR1);
    OK(kill(getpid(), SIGUSR1));
    sigset_t none;
    sigemptyset(&none);
    sigaddset(&none, SIGUSR2);
    ERR(EINTR, sigsuspend(&none));
    EQ(count, 1);
    TRUE(blocked(SIGUSR1) && !blocked(SIGUSR2));
}
CASE(pselect_mask) {
    on(SIGUSR1, 0);
    block(SIGUSR1);
    OK(kill(getpid(), SIGUSR1));
    sigset_t none;
    sigemptyset(&none);
    struct timespec t = {1, 0};
    ERR(EINTR, ppoll(0, 0, &t, &none));
    EQ(count, 1);
    TRUE(blocked(SIGUSR1));
}
CASE(sigtimedwait_takes) {
    sigset_t m;
    sigemptyset(&m);
    sigaddset(&m, SIGUSR1);
    sigaddset(&m, SIGRTMIN);
    struct timespec t = {0, 0}, bad = {0, -1};
    block(SIGUSR1);
    block(SIGRTMIN);
    siginfo_t i;
    ERR(EAGAIN, sigtimedwait(&m, &i, &t));
    ERR(EINVAL, sigtimedwait(&m, &i, &bad));
    ERR(EFAULT, syscall(SYS_rt_sigtimedwait, BAD_PTR, 0, 0, 8));
    ERR(EINVAL, syscall(SYS_rt_sigtimedwait, &m, 0, 0, 4));
    OK(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 42}));
    EQ(OK(sigtimedwait(&m, &i, 0)), SIGRTMIN);
    EQ(i.si_value.sival_int, 42);
    EQ(i.si_code, SI_QUEUE);
    EQ(i.si_pid, getpid());
    pid_t c = later(SIGUSR1, 30);
    EQ(OK(sigwaitinfo(&m, &i)), SIGUSR1);
    EQ(i.si_pid, c);
    REAP(c, 0);
    on(SIGUSR2, SA_RESTART);
    c = later(SIGUSR2, 30);
    ERR(EINTR, sigwaitinfo(&m, &i));
    REAP(c, 0);
    int64_t start = now_ms();
    t.tv_nsec = 50000000;
    ERR(EAGAIN, sigtimedwait(&m, &i, &t));
    TRUE(now_ms() - start >= 49);
}
static void *waiter(void *p) {
    sigset_t m;
    sigemptyset(&m);
    sigaddset(&m, SIGUSR1);
    int s;
    sigwait(&m, &s);
    return (void *)(long)s;
}
CASE(process_signal_goes_to_a_thread_that_wants_it) {
    block(SIGUSR1);
    pthread_t t;
    void *r;
    EQ(pthread_create(&t, 0, waiter, 0), 0);
    nap(30);
    OK(kill(getpid(), SIGUSR1));
    EQ(pthread_join(t, &r), 0);
    EQ((long)r, SIGUSR1);
}
static volatile pid_t who;
static void which(int s) { who = syscall(SYS_gettid); }
static void *sleeper(void *p) {
    *(pid_t *)p = syscall(SYS_gettid);
    while (!who) nap(5);
    return 0;
}
CASE(thread_signal_goes_to_that_thread) {
    pthread_t t;
    static volatile pid_t tid;
    signal(SIGUSR1, which);
    EQ(pthread_create(&t, 0, sleeper, (void *)&tid), 0);
    while (!tid) nap(1);
    OK(syscall(SYS_tgkill, getpid(), tid, SIGUSR1));
    pthread_join(t, 0);
    EQ(who, tid);
}
static void *spin(void *p) {
    *(volatile int *)p = 1;
    for (;;) { }
}
CASE(a_computing_thread_is_interrupted) {
    static volatile int up;
    on(SIGALRM, 0);
    alarm(1);
    while (!count) { }
    pid_t c = CHILD(pthread_t t; pthread_create(&t, 0, spin, (void *)&up); while (!up) { } kill(getpid(), SIGTERM); for (;;) { });
    REAP_SIG(c, SIGTERM);
}
CASE(fork_and_exec_state) {
    on(SIGUSR1, 0);
    signal(SIGUSR2, SIG_IGN);
    block(SIGTERM);
    OK(kill(getpid(), SIGTERM));
    pid_t c = CHILD(
        if (pending(SIGTERM)) _exit(1);
        if (!blocked(SIGTERM)) _exit(2);
        kill(getpid(), SIGUSR1);
        if (count != 1) _exit(3));
    REAP(c, 0);
}
CASE(group_signals) {
    int p[2];
    OK(pipe(p));
    pid_t c = CHILD(
        setpgid(0, 0);
        signal(SIGUSR1, SIG_IGN);
        pid_t g = CHILD(signal(SIGUSR1, SIG_DFL); if (write(p[1], "x", 1) < 0) _exit(1); pause());
        REAP_SIG(g, SIGUSR1));
    char b;
    EQ(OK(read(p[0], &b, 1)), 1);
    OK(kill(-c, 0));
    OK(kill(-c, SIGUSR1));
    REAP(c, 0);
    ERR(ESRCH, kill(-c, 0));
}
CASE(permission) {
    if (getuid() != 0) SKIP("not root");
    pid_t me = getpid();
    pid_t c = CHILD(
        if (setgid(65534) || setuid(65534)) _exit(9);
        if (kill(me, 0) != -1 || errno != EPERM) _exit(1);
        if (kill(me, SIGCONT) != 0) _exit(2);
        siginfo_t i = {.si_code = SI_QUEUE};
        if (syscall(SYS_rt_sigqueueinfo, me, SIGTERM, &i) != -1 || errno != EPERM) _exit(3));
    REAP(c, 0);
}
CASE(parent_death_signal) {
    int p[2], s = -1;
    char b = 0;
    OK(pipe(p));
    OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
    OK(prctl(PR_GET_PDEATHSIG, &s));
    EQ(s, SIGUSR1);
    ERR(EINVAL, prctl(PR_SET_PDEATHSIG, 65));
    pid_t c = CHILD(
        int q[2];
        if (pipe(q)) _exit(1);
        CHILD(
            prctl(PR_GET_PDEATHSIG, &s);
            if (s != 0) _exit(1);
            on(SIGUSR2, 0);
            block(SIGUSR2);
            prctl(PR_SET_PDEATHSIG, SIGUSR2);
            if (write(q[1], "x", 1) < 0) _exit(1);
            sigset_t m;
            sigemptyset(&m);
            sigaddset(&m, SIGUSR2);
            struct timespec t = {5, 0};
            int got = sigtimedwait(&m, 0, &t);
            if (write(p[1], got == SIGUSR2 ? "y" : "n", 1) < 0) _exit(1));
        if (read(q[0], &b, 1) < 0) _exit(1));
    REAP(c, 0);
    EQ(OK(read(p[0], &b, 1)), 1);
    EQ(b, 'y');
}
CASE(signalfd_reads) {
    sigset_t m;
    sigemptyset(&m);
    sigaddset(&m, SIGUSR1);
    sigaddset(&m, SIGRTMIN);
    OK(sigprocmask(SIG_BLOCK, &m, 0));
    int fd = OK(signalfd(-1, &m, SFD_NONBLOCK | SFD_CLOEXEC));
    EQ(OK(fcntl(fd, F_GETFD)), FD_CLOEXEC);
    struct signalfd_siginfo i[2];
    ERR(EAGAIN, read(fd, i, sizeof i));
    ERR(EINVAL, read(fd, i, sizeof *i - 1));
    ERR(EINVAL, write(fd, i, sizeof i));
    struct pollfd f = {fd, POLLIN, 0};
    EQ(OK(poll(&f, 1, 0)), 0);
    OK(kill(getpid(), SIGUSR1));
    OK(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 7}));
    EQ(OK(poll(&f, 1, 0)), 1);
    EQ(f.revents, POLLIN);
    EQ(OK(read(fd, i, sizeof i)), 256);
    EQ(i[0].ssi_signo, SIGUSR1);
    EQ(i[0].ssi_pid, getpid());
    EQ(i[0].ssi_uid, getuid());
    EQ(i[1].ssi_signo, SIGRTMIN);
    EQ(i[1].ssi_int, 7);
    EQ(i[1].ssi_code, SI_QUEUE);
    ERR(EAGAIN, read(fd, i, sizeof i));
    OK(fcntl(fd, F_SETFL, 0));
    pid_t c = later(SIGUSR1, 30);
    EQ(OK(read(fd, i, sizeof i)), 128);
    EQ(i[0].ssi_pid, c);
    REAP(c, 0);
    sigemptyset(&m);
    EQ(OK(signalfd(fd, &m, 0)), fd);
    OK(kill(getpid(), SIGUSR1));
    EQ(OK(poll(&f, 1, 20)), 0);
    ERR(EINVAL, signalfd(0, &m, 0));
    ERR(EBADF, signalfd(99, &m, 0));
    ERR(EBADF, signalfd(-2, &m, 0));
    ERR(EINVAL, signalfd(-1, &m, 1));
    ERR(EINVAL, syscall(SYS_signalfd4, -1, &m, 4, 0));
    ERR(EFAULT, syscall(SYS_signalfd4, -1, BAD_PTR, 8, 0));
}
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
CASE(pidfd) {
    ERR(EINVAL, syscall(SYS_pidfd_open, getpid(), 1));
    ERR(EINVAL, syscall(SYS_pidfd_open, 0, 0));
    ERR(EINVAL, syscall(SYS_pidfd_open, -1, 0));
    ERR(ESRCH, syscall(SYS_pidfd_open, 4000000, 0));
    int p[2];
    char b;
    OK(pipe(p));
    pid_t c = CHILD(if (read(p[0], &b, 1) != 1) _exit(1); _exit(3));
    int fd = OK(syscall(SYS_pidfd_open, c, 0));
    EQ(OK(fcntl(fd, F_GETFD)), FD_CLOEXEC);
    ERR(EINVAL, read(fd, &b, 1));
    struct pollfd f = {fd, POLLIN, 0};
    EQ(OK(poll(&f, 1, 0)), 0);
    OK(syscall(424, fd, 0, 0, 0));
    ERR(EINVAL, syscall(424, fd, 65, 0, 0));
    ERR(EINVAL, syscall(424, fd, 0, 0, 8));
    ERR(EINVAL, syscall(424, fd, 0, 0, 3));
    ERR(EBADF, syscall(424, p[0], 0, 0, 0));
    ERR(EBADF, syscall(424, 99, 0, 0, 0));
    ERR(EFAULT, syscall(424, fd, 0, BAD_PTR, 0));
    siginfo_t i = {.si_signo = SIGUSR1, .si_code = SI_QUEUE};
    ERR(EINVAL, syscall(424, fd, SIGUSR2, &i, 0));
    i.si_code = SI_USER;
    ERR(EPERM, syscall(424, fd, SIGUSR1, &i, 0));
    EQ(OK(write(p[1], "x", 1)), 1);
    EQ(OK(poll(&f, 1, 5000)), 1);
    EQ(f.revents, POLLIN);
    OK(syscall(424, fd, SIGTERM, 0, 0));
    memset(&i, 0, sizeof i);
    OK(waitid(P_PIDFD, fd, &i, WEXITED));
    EQ(i.si_pid, c);
    EQ(i.si_status, 3);
    EQ(OK(poll(&f, 1, 0)), 1);
    EQ(f.revents, POLLIN | POLLHUP);
    ERR(ESRCH, syscall(424, fd, 0, 0, 0));
    ERR(ECHILD, waitid(P_PIDFD, fd, &i, WEXITED));
}
CASE(pidfd_signals_and_getfd) {
    on(SIGUSR1, 0);
    int fd = OK(syscall(SYS_pidfd_open, getpid(), 0));
    siginfo_t i = {.si_signo = SIGUSR1, .si_code = SI_USER};
    i.si_pid = 12;
    OK(syscall(424, fd, SIGUSR1, &i, 0));
    EQ(count, 1);
    EQ(sender, 12);
    int other = OK(syscall(438, fd, 1, 0));
    EQ(OK(fcntl(other, F_GETFD)), FD_CLOEXEC);
    ERR(EBADF, syscall(438, fd, 99, 0));
    ERR(EINVAL, syscall(438, fd, 1, 1));
}
CASE(clone_pidfd) {
    int fd = -1;
    struct { uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls; } a = {0x1000, (uint64_t)&fd, 0, 0, SIGCHLD};
    pid_t c = OK(syscall(435, &a, sizeof a));
    if (c == 0) _exit(fcntl(fd, F_GETFD) == -1 ? 4 : 5);
    TRUE(fd >= 3);
    EQ(OK(fcntl(fd, F_GETFD)), FD_CLOEXEC);
    siginfo_t i;
    OK(waitid(P_PIDFD, fd, &i, WEXITED));
    EQ(i.si_pid, c);
    EQ(i.si_status, 4);
    a.pidfd = 16;
    ERR(EFAULT, syscall(435, &a, sizeof a));
    ERR(EINVAL, syscall(SYS_clone, 0x1000 | CLONE_PARENT_SETTID | SIGCHLD, 0, &fd, 0, 0));
}
CASE(pidfd_nonblocking_wait) {
    int p[2];
    char b;
    OK(pipe(p));
    pid_t c = CHILD(if (read(p[0], &b, 1) != 1) _exit(1));
    int fd = OK(syscall(SYS_pidfd_open, c, O_NONBLOCK));
    siginfo_t i;
    ERR(EAGAIN, waitid(P_PIDFD, fd, &i, WEXITED));
    OK(waitid(P_PIDFD, fd, &i, WEXITED | WNOHANG));
    ERR(EBADF, waitid(P_PIDFD, p[0], &i, WEXITED));
    ERR(EINVAL, waitid(P_PIDFD, -1, &i, WEXITED));
    EQ(OK(write(p[1], "x", 1)), 1);
    REAP(c, 0);
}
static volatile int siblings_signal;
static void sibling_ended(int s) { siblings_signal = s; }
// A sibling's end is told to the common parent as the creator's own, whatever signal was asked for.
CASE(clone_of_a_sibling_chooses_no_signal) {
    struct sigaction a = {.sa_handler = sibling_ended};
    OK(sigaction(SIGUSR1, &a, NULL));
    pid_t c = CHILD(if (syscall(SYS_clone, CLONE_PARENT | SIGUSR1, 0, 0, 0, 0) < 0) _exit(1));
    int st, mine = 0, others = 0;
    for (int i = 0; i < 2; i++) {
        pid_t p = OK(waitpid(-1, &st, __WALL));
        EQ(st, 0);
        *(p == c ? &mine : &others) += 1;
    }
    EQ(mine, 1);
    EQ(others, 1);
    EQ(siblings_signal, 0);
}
CASE(children_use_cpu_time) {
    struct rusage r;
    struct timespec used;
    // By its own clock: other programs may have the CPUs.
    pid_t c = CHILD(do clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used); while (used.tv_sec == 0 && used.tv_nsec < 60000000));
    REAP(c, 0);
    OK(getrusage(RUSAGE_CHILDREN, &r));
    long ms = r.ru_utime.tv_sec * 1000 + r.ru_utime.tv_usec / 1000 + r.ru_stime.tv_sec * 1000 + r.ru_stime.tv_usec / 1000;
    TRUE(ms >= 30 && ms < 5000);
}
/* Takes one of the signals within half a second; 0 if none comes. */
static int come(const sigset_t *set, siginfo_t *info) {
    struct timespec t = {0, 500000000};
    int got = sigtimedwait(set, info, &t);
    return got < 0 ? 0 : got;
}
static int comes_not(const sigset_t *set) {
    struct timespec t = {0, 20000000};
    return sigtimedwait(set, 0, &t) < 0;
}
CASE(input_is_told_by_signals) {
    int p[2], pair[2];
    siginfo_t info;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigaddset(&set, SIGRTMIN + 3);
    OK(sigprocmask(SIG_BLOCK, &set, 0));
    OK(pipe(p));
    EQ(OK(fcntl(p[0], F_GETOWN)), 0);
    OK(fcntl(p[0], F_SETOWN, getpid()));
    EQ(OK(fcntl(p[0], F_GETOWN)), getpid());
    OK(write(p[1], "x", 1));
    TRUE(comes_not(&set));
    OK(fcntl(p[0], F_SETFL, O_ASYNC));
    TRUE(OK(fcntl(p[0], F_GETFL)) & O_ASYNC);
    OK(write(p[1], "x", 1));
    EQ(come(&set, &info), SIGIO);
    EQ(info.si_code, SI_KERNEL);
    EQ(OK(fcntl(p[0], F_GETSIG)), 0);
    OK(fcntl(p[0], F_SETSIG, SIGRTMIN + 3));
    EQ(OK(fcntl(p[0], F_GETSIG)), SIGRTMIN + 3);
    ERR(EINVAL, fcntl(p[0], F_SETSIG, 65));
    OK(write(p[1], "x", 1));
    EQ(come(&set, &info), SIGRTMIN + 3);
    EQ(info.si_code, POLL_IN);
    EQ(info.si_fd, p[0]);
    EQ(info.si_band, POLLIN | POLLRDNORM);
    OK(fcntl(p[0], F_SETFL, 0));
    OK(write(p[1], "x", 1));
    TRUE(comes_not(&set));
    /* A copy is the same description; it lives on when the first is closed. */
    int copy = (int)OK(dup(p[0])), on = 1;
    OK(ioctl(copy, FIOASYNC, &on));
    OK(close(p[0]));
    OK(write(p[1], "x", 1));
    EQ(come(&set, &info), SIGRTMIN + 3);
    EQ(info.si_fd, copy);
    /* The end of writers is news. */
    OK(close(p[1]));
    EQ(come(&set, &info), SIGRTMIN + 3);
    OK(close(copy));
    TRUE(comes_not(&set));
    /* Sockets. */
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    OK(fcntl(pair[0], F_SETOWN, getpid()));
    OK(fcntl(pair[0], F_SETSIG, SIGRTMIN + 3));
    OK(fcntl(pair[0], F_SETFL, O_ASYNC | O_NONBLOCK));
    OK(write(pair[1], "x", 1));
    EQ(come(&set, &info), SIGRTMIN + 3);
    EQ(info.si_code, POLL_IN);
    EQ(info.si_fd, pair[0]);
}
static void *waits_for_input(void *arg) {
    sigset_t *set = arg;
    siginfo_t info;
    EQ(come(set, &info), SIGIO);
    return (void *)1;
}
static int own_user_ready[2], own_user_go[2];
static void *of_another_user(void *set) {
    pid_t tid = (pid_t)syscall(SYS_gettid);
    siginfo_t info;
    char b;
    /* Of this thread alone. */
    OK(syscall(SYS_setresuid, 1000, 1000, 1000));
    OK(write(own_user_ready[1], &tid, sizeof tid));
    OK(read(own_user_go[0], &b, 1));
    EQ(come(set, &info), SIGIO);
    return 0;
}
CASE(a_thread_that_is_told_counts_itself) {
    int p[2];
    sigset_t set;
    pid_t tid;
    pthread_t t;
    if (getuid()) return;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    OK(sigprocmask(SIG_BLOCK, &set, 0));
    OK(pipe(p));
    OK(pipe(own_user_ready));
    OK(pipe(own_user_go));
    OK(pthread_create(&t, 0, of_another_user, &set));
    OK(read(own_user_ready[0], &tid, sizeof tid));
    pid_t c = CHILD({
        OK(setresgid(1000, 1000, 1000));
        OK(setresuid(1000, 1000, 1000));
        struct f_owner_ex owner = {F_OWNER_TID, getppid()};
        OK(fcntl(p[0], F_SETFL, O_ASYNC));
        /* The first thread is root's. */
        OK(fcntl(p[0], F_SETOWN_EX, &owner));
        OK(write(p[1], "x", 1));
        owner.pid = tid;
        OK(fcntl(p[0], F_SETOWN_EX, &owner));
        OK(write(p[1], "x", 1));
    });
    REAP(c, 0);
    TRUE(comes_not(&set));
    OK(write(own_user_go[1], "x", 1));
    OK(pthread_join(t, 0));
}
CASE(owners_of_input) {
    int p[2];
    struct f_owner_ex owner;
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    OK(sigprocmask(SIG_BLOCK, &set, 0));
    OK(pipe(p));
    ERR(ESRCH, fcntl(p[0], F_SETOWN, 0x3ffffff));
    ERR(EINVAL, fcntl(p[0], F_SETOWN, INT_MIN));
    owner.type = 9, owner.pid = 0;
    ERR(EINVAL, fcntl(p[0], F_SETOWN_EX, &owner));
    /* A thread. */
    owner.type = F_OWNER_TID, owner.pid = (int)syscall(SYS_gettid);
    OK(fcntl(p[0], F_SETOWN_EX, &owner));
    memset(&owner, 0, sizeof owner);
    OK(fcntl(p[0], F_GETOWN_EX, &owner));
    EQ(owner.type, F_OWNER_TID);
    EQ(owner.pid, syscall(SYS_gettid));
    OK(fcntl(p[0], F_SETFL, O_ASYNC));
    OK(write(p[1], "x", 1));
    EQ(come(&set, &info), SIGIO);
    /* A process group. */
    pid_t c = CHILD({
        OK(setpgid(0, 0));
        OK(fcntl(p[0], F_SETOWN, -getpid()));
        EQ(OK(fcntl(p[0], F_GETOWN)), -getpid());
        OK(write(p[1], "x", 1));
        EQ(come(&set, &info), SIGIO);
    });
    REAP(c, 0);
    TRUE(comes_not(&set));
    /* Nobody. */
    OK(fcntl(p[0], F_SETOWN, 0));
    OK(write(p[1], "x", 1));
    TRUE(comes_not(&set));
    if (getuid()) return;
    /* Somebody else's process is not told by who has no right to signal it. */
    c = CHILD({
        OK(setresgid(1000, 1000, 1000));
        OK(setresuid(1000, 1000, 1000));
        OK(fcntl(p[0], F_SETOWN, getppid()));
        OK(write(p[1], "x", 1));
    });
    REAP(c, 0);
    TRUE(comes_not(&set));
}

/* Masks that are changed so often that nobody asks any more who keeps them. */
static void mask_to(int how, unsigned long set, unsigned long before) {
    unsigned long old = 77;
    OK(syscall(SYS_rt_sigprocmask, how, &set, &old, 8));
    EQ(old, before);
}
CASE(mask_arguments_again_and_again) {
    const unsigned long kill_stop = 1ul << (SIGKILL - 1) | 1ul << (SIGSTOP - 1);
    char *end = (char *)mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 4096;
    OK(munmap(end - 4096, 4096));
    for (int i = 0; i < 20; i++) {
        unsigned long set = 0x3ff000, old, *same;
        mask_to(SIG_SETMASK, 0xff00, 0);
        mask_to(SIG_BLOCK, 0xf, 0xff00 & ~kill_stop);
        mask_to(SIG_UNBLOCK, 0xff, (0xff00 & ~kill_stop) | 0xf);
        mask_to(SIG_SETMASK, ~0ul, 0xff00 & ~kill_stop);
        OK(syscall(SYS_rt_sigprocmask, 99, 0, &old, 8));
        EQ(old, ~kill_stop);
        OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &set, 0, 8));
        /* The same memory for both. */
        same = &set;
        *same = 0x1000;
        OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, same, same, 8));
        EQ(set, 0x3ff000 & ~kill_stop);
        char both[12] = {0, 0x20};
        OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, both, both + 4, 8));
        memcpy(&old, both + 4, 8);
        EQ(old, 0x1000);
        OK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, &old, 8));
        EQ(old, 0x2000);
        ERR(EINVAL, syscall(SYS_rt_sigprocmask, SIG_SETMASK, &set, 0, 4));
        ERR(EINVAL, syscall(SYS_rt_sigprocmask, 3, &set, 0, 8));
        ERR(EFAULT, syscall(SYS_rt_sigprocmask, SIG_SETMASK, end - 4096, 0, 8));
        ERR(EFAULT, syscall(SYS_rt_sigprocmask, SIG_SETMASK, -8l, 0, 8));
        OK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, &old, 8));
        EQ(old, 0x2000);
        /* The mask has changed when the old one cannot be told. */
        ERR(EFAULT, syscall(SYS_rt_sigprocmask, SIG_SETMASK, &set, end - 4096, 8));
        mask_to(SIG_SETMASK, 0, 0x3ff000 & ~kill_stop);
        OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, 0, 0, 8));
    }
}
static volatile long counted, wrongly;
static volatile int may_come;
static void counts(int s) {
    counted++;
    if (!may_come) wrongly++;
}
static void *sends(void *to) {
    union sigval v = {0};
    for (long sent = 0; sent < 3000; sent++) {
        while (sent - counted > 20) sched_yield();
        if (sent % 3)
            while (sigqueue(getpid(), SIGRTMIN + 1, v)) sched_yield();
        else
            while (pthread_sigqueue(*(pthread_t *)to, SIGRTMIN + 1, v)) sched_yield();
    }
    return 0;
}
CASE(signals_come_while_the_mask_changes) {
    sigset_t rt, old;
    sigemptyset(&rt);
    sigaddset(&rt, SIGRTMIN + 1);
    signal(SIGRTMIN + 1, counts);
    OK(sigprocmask(SIG_BLOCK, &rt, 0));
    pthread_t self = pthread_self(), t;
    EQ(pthread_create(&t, 0, sends, &self), 0);
    for (long rounds = 0; counted < 3000; rounds++) {
        /* Nobody else can have it: every one comes in here. */
        may_come = 1;
        OK(sigprocmask(SIG_UNBLOCK, &rt, &old));
        EQ(sigismember(&old, SIGRTMIN + 1), 1);
        if (rounds % 7 == 0) sched_yield();
        OK(sigprocmask(SIG_BLOCK, &rt, &old));
        may_come = 0;
        EQ(sigismember(&old, SIGRTMIN + 1), 0);
        for (int i = 0; i < (int)(rounds % 50); i++) asm volatile("");
    }
    EQ(pthread_join(t, 0), 0);
    EQ(counted, 3000);
    EQ(wrongly, 0);
}
CASE(a_blocked_signal_waits_until_the_mask_lets_it_through) {
    on(SIGUSR1, 0);
    for (int i = 1; i <= 50; i++) {
        block(SIGUSR1);
        block(SIGUSR2);
        OK(kill(getpid(), SIGUSR1));
        EQ(count, i - 1);
        EQ(pending(SIGUSR1), 1);
        unblock(SIGUSR2);
        EQ(count, i - 1);
        unblock(SIGUSR1);
        EQ(count, i);
    }
}
CASE(masks_are_inherited_after_many_changes) {
    for (int i = 0; i < 20; i++) {
        block(SIGUSR1);
        unblock(SIGUSR1);
    }
    block(SIGUSR2);
    pid_t child = fork();
    if (!child) _exit(!blocked(SIGUSR2) || blocked(SIGUSR1));
    int status;
    EQ(waitpid(child, &status, 0), child);
    EQ(status, 0);
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    unsigned long shown = 0;
    while (fgets(line, sizeof line, f)) sscanf(line, "SigBlk: %lx", &shown);
    EQ(shown, 1ul << (SIGUSR2 - 1));
}
