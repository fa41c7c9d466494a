// Filters of system calls: seccomp(2), prctl(PR_SET_SECCOMP).
#include "t.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <ucontext.h>

#define NR offsetof(struct seccomp_data, nr)
#define ARG(i) offsetof(struct seccomp_data, args[i])
#define LOAD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (at))
#define RET(k) BPF_STMT(BPF_RET | BPF_K, (k))
#define FPROG(name, ...)                                                                                \
    struct sock_filter name##_code[] = {__VA_ARGS__};                                                   \
    struct sock_fprog name = {sizeof name##_code / sizeof *name##_code, name##_code}
/* Answers one call with an action and allows all others. */
#define ONLY(name, nr, action)                                                                          \
    FPROG(name, LOAD(NR), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), RET(action), RET(SECCOMP_RET_ALLOW))
#define ERRNO(e) (SECCOMP_RET_ERRNO | (e))

static long seccomp(unsigned op, unsigned flags, void *args) { return syscall(SYS_seccomp, op, flags, args); }
static void restrict_(void) { OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }
static long install(struct sock_fprog *p) {
    restrict_();
    return seccomp(SECCOMP_SET_MODE_FILTER, 0, p);
}
/* A call by one site, so that it is served in every way that there is for a site. */
static long by_site(long nr, long a, long b, long c) {
    long r;
    register long r10 __asm__("r10") = 0;
    __asm__ volatile("syscall" : "=a"(r) : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return r;
}
static long status_row(const char *row) {
    const char *p = strstr(get("/proc/thread-self/status"), row);
    TRUE(p);
    return atol(p + strlen(row));
}

CASE(actions_and_sizes) {
    unsigned known[] = {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO,
                        SECCOMP_RET_TRACE,        SECCOMP_RET_LOG,         SECCOMP_RET_ALLOW};
    for (int i = 0; i < 7; i++) EQ(OK(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &known[i])), 0);
    unsigned bad = 0x00010000;
    ERR(EOPNOTSUPP, seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &bad));
    bad = SECCOMP_RET_ERRNO | 1;
    ERR(EOPNOTSUPP, seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &bad));
    ERR(EINVAL, seccomp(SECCOMP_GET_ACTION_AVAIL, 1, &bad));
    ERR(EFAULT, seccomp(SECCOMP_GET_ACTION_AVAIL, 0, BAD_PTR));
    struct seccomp_notif_sizes sizes;
    OK(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, &sizes));
    EQ(sizes.seccomp_notif, sizeof(struct seccomp_notif));
    EQ(sizes.seccomp_notif_resp, sizeof(struct seccomp_notif_resp));
    EQ(sizes.seccomp_data, sizeof(struct seccomp_data));
    ERR(EFAULT, seccomp(SECCOMP_GET_NOTIF_SIZES, 0, BAD_PTR));
    ERR(EINVAL, seccomp(SECCOMP_GET_NOTIF_SIZES, 1, &sizes));
    ERR(EINVAL, seccomp(99, 0, 0));
    TRUE(strstr(get("/proc/sys/kernel/seccomp/actions_avail"), "kill_process kill_thread trap errno"));
    EQ(prctl(PR_GET_SECCOMP), 0);
    EQ(status_row("Seccomp:"), 0);
}

CASE(what_is_refused) {
    FPROG(fine, RET(SECCOMP_RET_ALLOW));
    ERR(EINVAL, seccomp(SECCOMP_SET_MODE_STRICT, 1, 0));
    ERR(EINVAL, seccomp(SECCOMP_SET_MODE_STRICT, 0, &fine));
    ERR(EINVAL, seccomp(SECCOMP_SET_MODE_FILTER, 1u << 20, &fine));
    ERR(EFAULT, seccomp(SECCOMP_SET_MODE_FILTER, 0, BAD_PTR));
    ERR(EFAULT, seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, 0));
    ERR(EFAULT, seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, 0));
    ERR(EFAULT, seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0));
    ERR(EINVAL, prctl(PR_SET_SECCOMP, 0, 0, 0, 0));
    ERR(EINVAL, prctl(PR_SET_SECCOMP, 7, 0, 0, 0));
    ERR(EFAULT, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 0, 0, 0));
    struct sock_fprog empty = {0, fine.filter}, large = {4097, fine.filter};
    ERR(EINVAL, seccomp(SECCOMP_SET_MODE_FILTER, 0, &empty));
    ERR(EINVAL, seccomp(SECCOMP_SET_MODE_FILTER, 0, &large));
    if (geteuid()) ERR(EACCES, seccomp(SECCOMP_SET_MODE_FILTER, 0, &fine));
    restrict_();
    struct sock_fprog nowhere = {1, BAD_PTR};
    ERR(EFAULT, seccomp(SECCOMP_SET_MODE_FILTER, 0, &nowhere));
#define BAD(...)                                                                                        \
    do {                                                                                                \
        FPROG(bad, __VA_ARGS__);                                                                        \
        ERR(EINVAL, seccomp(SECCOMP_SET_MODE_FILTER, 0, &bad));                                         \
    } while (0)
    BAD(LOAD(0));
    BAD(LOAD(1), RET(0));
    BAD(LOAD(64), RET(0));
    BAD(BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0), RET(0));
    BAD(BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0), RET(0));
    BAD(BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), RET(0));
    BAD(BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 3), RET(0));
    BAD(BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), RET(0));
    BAD(BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), RET(0));
    BAD(BPF_STMT(BPF_ST, 16), RET(0));
    BAD(BPF_STMT(BPF_LD | BPF_MEM, 0), RET(0));
    BAD(BPF_STMT(BPF_RET | BPF_X, 0), RET(0));
    BAD(BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0), RET(0));
    BAD(BPF_JUMP(BPF_JMP | BPF_JA, 0xffffffff, 0, 0), RET(0));
    BAD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), RET(0));
    BAD(BPF_STMT(0x1000, 0), RET(0));
    EQ(prctl(PR_GET_SECCOMP), 0);
}

CASE(errnos) {
    ONLY(getppid_, SYS_getppid, ERRNO(123));
    ONLY(zero, SYS_getpgrp, ERRNO(0));
    ONLY(large, SYS_getsid, ERRNO(0xffff));
    OK(install(&getppid_));
    OK(install(&zero));
    OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &large, 0, 0));
    EQ(by_site(SYS_getppid, 0, 0, 0), -123);
    EQ(by_site(SYS_getpgrp, 0, 0, 0), 0);
    EQ(by_site(SYS_getsid, 0, 0, 0), -4095);
    EQ(by_site(SYS_getpid, 0, 0, 0), getpid());
    EQ(prctl(PR_GET_SECCOMP), 2);
    EQ(status_row("Seccomp:"), 2);
    EQ(status_row("Seccomp_filters:"), 3);
    EQ(status_row("NoNewPrivs:"), 1);
    ERR(EINVAL, prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0));
}

/* What a platform may answer by itself, or from what it was told before. */
static void often(long nr, long a, long b, long c, int times, long want) {
    for (int i = 0; i < times; i++) EQ(by_site(nr, a, b, c), want);
}
CASE(calls_that_come_often_are_seen) {
    struct stat st;
    uint64_t set = 0;
    int word = 1;
    struct { long nr, a, b, c; } calls[] = {
        {SYS_getpid},
        {SYS_gettid},
        {SYS_getppid},
        {SYS_getuid},
        {SYS_geteuid},
        {SYS_getgid},
        {SYS_getegid},
        {SYS_getpgrp},
        {SYS_sched_yield},
        {SYS_fstat, 0, (long)&st},
        {SYS_stat, (long)"/etc", (long)&st},
        {SYS_lstat, (long)"/etc", (long)&st},
        {SYS_access, (long)"/etc", R_OK},
        {SYS_readlink, (long)"/etc/none", (long)&st, 8},
        {SYS_futex, (long)&word, 129, 1},
        {SYS_set_robust_list, 0, 24},
        {SYS_set_tid_address, (long)&word},
        {SYS_rseq, 0, 1, 2},
        {SYS_arch_prctl, 1, 2},
        {SYS_brk, 0},
        {SYS_madvise, 0, 0},
    };
    int n = sizeof calls / sizeof *calls;
    // Patched, published, before there are filters.
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < n; i++) by_site(calls[i].nr, calls[i].a, calls[i].b, calls[i].c);
    for (int i = 0; i < n; i++) {
        pid_t c = CHILD({
            ONLY(this_one, calls[i].nr, ERRNO(99));
            OK(install(&this_one));
            often(calls[i].nr, calls[i].a, calls[i].b, calls[i].c, 20, -99);
            // Its child has it, too.
            pid_t grandchild = CHILD(often(calls[i].nr, calls[i].a, calls[i].b, calls[i].c, 20, -99));
            REAP(grandchild, 0);
        });
        REAP(c, 0);
        TRUE(by_site(calls[i].nr, calls[i].a, calls[i].b, calls[i].c) != -99);
    }
}

CASE(masks_and_exit_words_are_seen) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    for (int i = 0; i < 20; i++) {
        OK(sigprocmask(SIG_BLOCK, &set, 0));
        OK(sigprocmask(SIG_UNBLOCK, &set, 0));
    }
    OK(sigprocmask(SIG_BLOCK, &set, 0));
    FPROG(no_unblock, LOAD(NR), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigprocmask, 0, 3), LOAD(ARG(0)),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SIG_UNBLOCK, 0, 1), RET(ERRNO(99)), RET(SECCOMP_RET_ALLOW));
    OK(install(&no_unblock));
    raise(SIGUSR1);
    for (int i = 0; i < 20; i++) ERR(99, sigprocmask(SIG_UNBLOCK, &set, 0));
    sigset_t now;
    OK(sigpending(&now));
    EQ(sigismember(&now, SIGUSR1), 1);
    OK(sigprocmask(SIG_BLOCK, 0, &now));
    EQ(sigismember(&now, SIGUSR1), 1);
    sigaddset(&set, SIGUSR2);
    OK(sigprocmask(SIG_BLOCK, &set, &now));
    EQ(sigismember(&now, SIGUSR2), 0);
    OK(sigprocmask(SIG_BLOCK, 0, &now));
    EQ(sigismember(&now, SIGUSR2), 1);
    // The words that its end changes are still those of before: joining works.
    pthread_t t;
    EQ(pthread_create(&t, 0, (void *(*)(void *))sched_yield, 0), 0);
    EQ(pthread_join(t, 0), 0);
}

CASE(arguments_and_the_instruction_pointer) {
    extern char here[], behind[];
    uint64_t want = (uint64_t)behind;
    // getpriority(1, 0x2_0000_0003) from there only.
    FPROG(p, LOAD(NR), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpriority, 0, 12),
          LOAD(offsetof(struct seccomp_data, instruction_pointer)),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)want, 0, 9),
          LOAD(offsetof(struct seccomp_data, instruction_pointer) + 4),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, want >> 32, 0, 7), LOAD(ARG(0)),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 5), LOAD(ARG(1)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 3, 0, 3),
          LOAD(ARG(1) + 4), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 2, 0, 1), RET(ERRNO(77)),
          RET(SECCOMP_RET_ALLOW), RET(SECCOMP_RET_ALLOW));
    restrict_();
    // Also where the site is patched before there is a filter.
    for (int i = 0; i < 40; i++) {
        long r;
        if (i == 20) OK(install(&p));
        __asm__ volatile("here: syscall\nbehind: cmp $-4095, %%rax"
                         : "=a"(r)
                         : "0"(SYS_getpriority), "D"(1l), "S"(0x200000003l)
                         : "rcx", "r11", "memory", "cc");
        if (i >= 20) EQ(r, -77);
    }
    EQ(by_site(SYS_getpriority, 0, 0, 0), 20);
    TRUE(by_site(SYS_getpriority, 1, 0x200000003l, 0) != -77);
}

static volatile siginfo_t seen;
static volatile uint64_t seen_rax, seen_rip;
static volatile int traps;
static void trapped(int signo, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    *(siginfo_t *)&seen = *info;
    seen_rax = uc->uc_mcontext.gregs[REG_RAX];
    seen_rip = uc->uc_mcontext.gregs[REG_RIP];
    uc->uc_mcontext.gregs[REG_RAX] = 4242;
    traps++;
}
static void on_sigsys(void) {
    struct sigaction sa = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
    OK(sigaction(SIGSYS, &sa, 0));
}
CASE(traps) {
    ONLY(p, SYS_getppid, SECCOMP_RET_TRAP | 0x1234);
    on_sigsys();
    for (int i = 0; i < 20; i++) by_site(SYS_getppid, 0, 0, 0);
    OK(install(&p));
    for (int i = 1; i <= 20; i++) {
        EQ(by_site(SYS_getppid, 0, 0, 0), 4242);
        EQ(traps, i);
        EQ(seen.si_signo, SIGSYS);
        EQ(seen.si_code, 1);
        EQ(seen.si_errno, 0x1234);
        EQ(seen.si_syscall, SYS_getppid);
        EQ(seen.si_arch, AUDIT_ARCH_X86_64);
        EQ(seen_rax, SYS_getppid);
        EQ(seen.si_call_addr, seen_rip);
        const unsigned char *code = (void *)(seen_rip - 2);
        TRUE(code[0] == 0x0f && code[1] == 0x05);
    }
    // Blocked or ignored it kills.
    pid_t c = CHILD({
        sigset_t set;
        sigfillset(&set);
        OK(sigprocmask(SIG_BLOCK, &set, 0));
        by_site(SYS_getppid, 0, 0, 0);
    });
    REAP_SIG(c, SIGSYS);
    c = CHILD({
        signal(SIGSYS, SIG_IGN);
        by_site(SYS_getppid, 0, 0, 0);
    });
    REAP_SIG(c, SIGSYS);
}

CASE(what_kills) {
    unsigned kills[] = {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, 0x00010000};
    for (int i = 0; i < 3; i++) {
        pid_t c = CHILD({
            on_sigsys();
            ONLY(p, SYS_getppid, kills[i]);
            OK(install(&p));
            by_site(SYS_getppid, 0, 0, 0);
        });
        REAP_SIG(c, SIGSYS);
    }
    ONLY(traced, SYS_getppid, SECCOMP_RET_TRACE | 5);
    ONLY(logged, SYS_getpgrp, SECCOMP_RET_LOG);
    OK(install(&traced));
    EQ(by_site(SYS_getppid, 0, 0, 0), -ENOSYS);
    OK(install(&logged));
    TRUE(by_site(SYS_getpgrp, 0, 0, 0) >= 0);
}

static void *calls_getppid(void *arg) {
    by_site(SYS_getppid, 0, 0, 0);
    return (void *)1;
}
CASE(a_killed_thread_leaves_the_others) {
    ONLY(p, SYS_getppid, SECCOMP_RET_KILL_THREAD);
    OK(install(&p));
    pthread_t t;
    void *left = 0;
    EQ(pthread_create(&t, 0, calls_getppid, 0), 0);
    EQ(pthread_join(t, &left), 0);
    TRUE(left != (void *)1);
    pid_t c = CHILD({
        ONLY(all, SYS_getppid, SECCOMP_RET_KILL_PROCESS);
        OK(install(&all));
        EQ(pthread_create(&t, 0, calls_getppid, 0), 0);
        pthread_join(t, &left);
    });
    REAP_SIG(c, SIGSYS);
}

CASE(strict_mode) {
    pid_t c = CHILD({
        int fd = (int)OK(open("/dev/null", O_RDWR));
        OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0));
        char byte = 1;
        if (by_site(SYS_write, fd, (long)&byte, 1) != 1 || by_site(SYS_read, fd, (long)&byte, 1) != 0)
            by_site(SYS_exit, 1, 0, 0);
        by_site(SYS_exit, 44, 0, 0);
    });
    REAP(c, 44);
    long others[] = {SYS_getpid, SYS_exit_group, SYS_sched_yield, SYS_close, SYS_prctl, 100000};
    for (int i = 0; i < 6; i++) {
        c = CHILD({
            for (int n = 0; n < 20; n++) by_site(SYS_getpid, 0, 0, 0);
            OK(seccomp(SECCOMP_SET_MODE_STRICT, 0, 0));
            by_site(others[i], PR_GET_SECCOMP, 0, 0);
            by_site(SYS_exit, 1, 0, 0);
        });
        REAP_SIG(c, SIGKILL);
    }
}

CASE(the_strictest_wins_then_the_newest) {
    ONLY(first, SYS_getppid, ERRNO(1));
    ONLY(second, SYS_getppid, ERRNO(2));
    ONLY(weak, SYS_getppid, SECCOMP_RET_TRACE);
    OK(install(&first));
    OK(install(&second));
    OK(install(&weak));
    EQ(by_site(SYS_getppid, 0, 0, 0), -2);
    ONLY(kill_, SYS_getppid, SECCOMP_RET_KILL_PROCESS);
    pid_t c = CHILD({
        OK(install(&kill_));
        OK(install(&second));
        by_site(SYS_getppid, 0, 0, 0);
    });
    REAP_SIG(c, SIGSYS);
}

CASE(as_many_as_there_may_be) {
    static struct sock_filter code[4096];
    for (int i = 0; i < 4096; i++) code[i] = (struct sock_filter)RET(SECCOMP_RET_ALLOW);
    struct sock_fprog p = {4096, code};
    restrict_();
    // Linux counts the instructions that it makes of them.
    int added = 0;
    while (seccomp(SECCOMP_SET_MODE_FILTER, 0, &p) == 0) added++;
    EQ(errno, ENOMEM);
    TRUE(added >= 3 && added <= 7);
    EQ(status_row("Seccomp_filters:"), added);
    p.len = 8;
    OK(seccomp(SECCOMP_SET_MODE_FILTER, 0, &p));
}

CASE(kept_over_exec) {
    ONLY(p, SYS_getppid, ERRNO(5));
    OK(install(&p));
    pid_t c = CHILD({
        int out[2];
        int fd = (int)OK(open("row", O_RDWR | O_CREAT, 0644));
        OK(dup2(fd, 1));
        execl("/bin/grep", "grep", "^Seccomp", "/proc/self/status", (char *)0);
    });
    REAP(c, 0);
    STREQ(get("row"), "Seccomp:\t2\nSeccomp_filters:\t1\n");
    pid_t v = vfork();
    if (v == 0) _exit(by_site(SYS_getppid, 0, 0, 0) == -5 ? 3 : 4);
    REAP(v, 3);
}

static volatile int stage;
static volatile long told, own_filters;
static void *follower(void *arg) {
    for (int i = 0; i < 20; i++) by_site(SYS_getppid, 0, 0, 0);
    if (arg) OK(install(arg));
    stage = 1;
    while (stage == 1) __asm__ volatile("pause");
    told = by_site(SYS_getppid, 0, 0, 0);
    own_filters = status_row("Seccomp_filters:");
    return 0;
}
static pthread_t follow(void *arg) {
    pthread_t t;
    stage = 0;
    EQ(pthread_create(&t, 0, follower, arg), 0);
    while (!stage) sched_yield();
    return t;
}
CASE(threads_follow) {
    ONLY(p, SYS_getppid, ERRNO(5));
    ONLY(other, SYS_getppid, ERRNO(6));
    restrict_();
    pthread_t t = follow(0);
    EQ(OK(seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &p)), 0);
    stage = 2;
    EQ(pthread_join(t, 0), 0);
    EQ(told, -5);
    EQ(own_filters, 1);
    // One that has another filter does not.
    t = follow(&other);
    long r = seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &p);
    TRUE(r > 0 && r != getpid());
    ERR(ESRCH, seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH, &p));
    EQ(status_row("Seccomp_filters:"), 1);
    stage = 2;
    EQ(pthread_join(t, 0), 0);
    EQ(told, -6);
    EQ(own_filters, 2);
}
CASE(others_do_not_follow_unasked) {
    pthread_t t = follow(0);
    ONLY(p, SYS_getppid, ERRNO(5));
    OK(install(&p));
    stage = 2;
    EQ(pthread_join(t, 0), 0);
    TRUE(told >= 0);
    EQ(own_filters, 0);
    EQ(by_site(SYS_getppid, 0, 0, 0), -5);
}

CASE(interrupted_calls_are_seen_again) {
    // A pause that was stopped and continued is the same call.
    ONLY(p, SYS_getppid, ERRNO(5));
    pid_t c = CHILD({
        OK(install(&p));
        nap_ms(300);
    });
    nap_ms(50);
    OK(kill(c, SIGSTOP));
    nap_ms(20);
    OK(kill(c, SIGCONT));
    REAP(c, 0);
}
