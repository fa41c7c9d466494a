// The cpuid instruction: the same answers however often a program has run, whatever was done to its text.
#include "t.h"
#include <cpuid.h>
#include <sys/mman.h>

// Leaves whose answers are the same on all CPUs and at all times, without what sandboxes hide (AMX).
static uint32_t sum_of_leaves(void) {
    uint32_t sum = 0;
    for (uint32_t leaf = 0; leaf < 0x1d; leaf++)
        for (uint32_t sub = 0; sub < 3; sub++) {
            uint32_t a, b, c, d;
            __cpuid_count(leaf, sub, a, b, c, d);
            if (leaf == 1) b &= 0xffffff;
            if (leaf == 0xb) d = 0;
            if (leaf == 7 && sub == 0) d &= ~(1u << 22 | 1u << 24 | 1u << 25);
            if (leaf == 0xd) a = b = c = d = 0;
            sum = (((sum * 31 + a) * 31 + b) * 31 + c) * 31 + d;
        }
    return sum;
}
// Every site has the flags, and registers that are no results, as they were.
static int keeps_registers(void) {
    uint64_t before = 0x0123456789abcdef, after = before, flags_in, flags_out;
    uint32_t a = 0, b, c = 0, d;
    __asm__ volatile("stc\n\tpushfq\n\tpopq %[in]\n\tcpuid\n\tmovl %%eax, %%eax\n\tmovl %%ebx, %%ebx\n\tpushfq\n\tpopq %[out]"
                     : [in] "=&r"(flags_in), [out] "=&r"(flags_out), "+a"(a), "=b"(b), "+c"(c), "=d"(d), "+r"(after)
                     :
                     : "cc", "memory");
    return flags_in == flags_out && after == before && a != 0;
}
CASE(one_run) {
    const char *wanted = getenv("SUM");
    uint32_t sum = sum_of_leaves();
    if (wanted) EQ(sum, (uint32_t)strtoul(wanted, NULL, 16));
    for (int i = 0; i < 4; i++) TRUE(keeps_registers());
    EQ(sum_of_leaves(), sum);
}
CASE(many_runs) {
    char self[PATH_MAX], sum[16];
    self[OK(readlink("/proc/self/exe", self, sizeof self - 1))] = 0;
    snprintf(sum, sizeof sum, "%x", sum_of_leaves());
    setenv("SUM", sum, 1);
    for (int i = 0; i < 8; i++) {
        pid_t c = CHILD(OK(dup2(OK(open("/dev/null", O_WRONLY)), 1)); execl(self, self, "one_run", NULL));
        REAP(c, 0);
    }
}
static volatile sig_atomic_t handled;
static void count(int s) {
    handled += s > 0;
}
CASE(with_signals) {
    signal(SIGALRM, count);
    struct itimerval v = {{0, 500}, {0, 500}}, none = {{0}};
    uint32_t sum = sum_of_leaves();
    OK(setitimer(ITIMER_REAL, &v, 0));
    for (int64_t start = now_ms(); now_ms() - start < 300;) EQ(sum_of_leaves(), sum);
    OK(setitimer(ITIMER_REAL, &none, 0));
    TRUE(handled > 10);
}
CASE(signals_in_many_runs) {
    char self[PATH_MAX];
    self[OK(readlink("/proc/self/exe", self, sizeof self - 1))] = 0;
    for (int i = 0; i < 4; i++) {
        pid_t c = CHILD(OK(dup2(OK(open("/dev/null", O_WRONLY)), 1)); execl(self, self, "with_signals", NULL));
        REAP(c, 0);
    }
}
CASE(in_a_forked_child) {
    uint32_t sum = sum_of_leaves();
    pid_t c = CHILD(if (sum_of_leaves() != sum) _exit(1));
    REAP(c, 0);
}
