/* Clocks and the vDSO: what it answers is what the system calls answer. */
#include "t.h"
#include <elf.h>
#include <sys/auxv.h>

static const int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE,
                             CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, CLOCK_TAI, CLOCK_PROCESS_CPUTIME_ID,
                             CLOCK_THREAD_CPUTIME_ID};
#define CLOCKS (sizeof clocks / sizeof *clocks)

static int64_t ns(struct timespec t) { return t.tv_sec * 1000000000ll + t.tv_nsec; }
static int64_t by_library(int clock) {
    struct timespec t;
    OK(clock_gettime(clock, &t));
    return ns(t);
}
static int64_t by_call(int clock) {
    struct timespec t;
    OK(syscall(SYS_clock_gettime, clock, &t));
    return ns(t);
}

/* A function of the vDSO by its name, as a dynamic linker finds it. */
static void *find(const char *name) {
    char *base = (char *)getauxval(AT_SYSINFO_EHDR);
    if (!base) SKIP("there is no vDSO here");
    Elf64_Ehdr *e = (void *)base;
    TRUE(!memcmp(e->e_ident, ELFMAG, SELFMAG));
    Elf64_Phdr *p = (void *)(base + e->e_phoff);
    char *bias = 0;
    Elf64_Dyn *d = 0;
    for (int i = 0; i < e->e_phnum; i++) {
        if (p[i].p_type == PT_LOAD && !bias) bias = base + p[i].p_offset - p[i].p_vaddr;
        if (p[i].p_type == PT_DYNAMIC) d = (void *)(base + p[i].p_offset);
    }
    Elf64_Sym *symbols = 0;
    const char *names = 0;
    TRUE(bias && d);
    for (; d->d_tag; d++) {
        if (d->d_tag == DT_SYMTAB) symbols = (void *)(bias + d->d_un.d_ptr);
        if (d->d_tag == DT_STRTAB) names = bias + d->d_un.d_ptr;
    }
    TRUE(symbols && names);
    /* The names lie behind the symbols in every vDSO there was. */
    for (Elf64_Sym *s = symbols; (char *)(s + 1) <= names; s++)
        if (!strcmp(names + s->st_name, name) && ELF64_ST_TYPE(s->st_info) == STT_FUNC) return bias + s->st_value;
    t_fail(__LINE__, "no %s", name);
}
typedef int (*gettime)(int, struct timespec *);

static void agree(void) {
    for (int i = 0; i < CLOCKS; i++) {
        for (int round = 0; round < 50; round++) {
            int64_t a = by_call(clocks[i]), b = by_library(clocks[i]), c = by_call(clocks[i]);
            if (a > b || b > c) t_fail(__LINE__, "clock %d: %lld, %lld, %lld", clocks[i], (long long)a, (long long)b, (long long)c);
        }
    }
}
CASE(library_and_calls_agree) { agree(); }
CASE(functions_agree_with_calls) {
    gettime f = find("__vdso_clock_gettime");
    int (*day)(struct timeval *, struct timezone *) = find("__vdso_gettimeofday");
    time_t (*seconds)(time_t *) = find("__vdso_time");
    int (*cpu)(unsigned *, unsigned *, void *) = find("__vdso_getcpu");
    for (int i = 0; i < CLOCKS; i++) {
        struct timespec t;
        int64_t before = by_call(clocks[i]);
        EQ(f(clocks[i], &t), 0);
        TRUE(ns(t) >= before);
        TRUE(by_call(clocks[i]) >= ns(t));
    }
    struct timespec t;
    EQ(f(77, &t), -EINVAL);
    EQ(f(-1000000, &t), -EINVAL);
    struct timeval v;
    struct timezone z = {7, 7};
    int64_t before = by_call(CLOCK_REALTIME) / 1000;
    EQ(day(&v, &z), 0);
    TRUE(v.tv_sec * 1000000ll + v.tv_usec >= before);
    TRUE(v.tv_sec * 1000000ll + v.tv_usec <= by_call(CLOCK_REALTIME) / 1000);
    EQ(z.tz_dsttime, 0);
    time_t now = -1, at = time(0);
    time_t got = seconds(&now);
    EQ(got, now);
    TRUE(got >= at && got <= at + 1);
    unsigned on = 77777, node = 77777;
    EQ(cpu(&on, &node, 0), 0);
    TRUE(on < 77777 && node < 77777);
    EQ(cpu(0, 0, 0), 0);
}
CASE(resolutions_agree_with_calls) {
    gettime f = find("__vdso_clock_getres");
    for (int i = 0; i < CLOCKS; i++) {
        struct timespec a = {9, 9}, b = {8, 8};
        EQ(f(clocks[i], &a), 0);
        OK(syscall(SYS_clock_getres, clocks[i], &b));
        EQ(ns(a), ns(b));
        TRUE(ns(a) > 0);
    }
    EQ(f(CLOCK_MONOTONIC, 0), 0);
    EQ(f(77, 0), -EINVAL);
}
CASE(monotonic_does_not_go_back) {
    int64_t last = 0;
    for (int i = 0; i < 300000; i++) {
        int64_t now = by_library(CLOCK_MONOTONIC);
        TRUE(now >= last);
        last = now;
    }
}
static volatile int64_t newest;
static void *racer(void *unused) {
    for (int i = 0; i < 50000; i++) {
        int64_t before = newest, now = by_library(CLOCK_MONOTONIC);
        TRUE(now >= before);
        while (before < now && !__sync_bool_compare_and_swap(&newest, before, now)) before = newest;
    }
    return 0;
}
CASE(monotonic_for_all_threads) {
    pthread_t t[8];
    for (int i = 0; i < 8; i++) EQ(pthread_create(&t[i], 0, racer, 0), 0);
    for (int i = 0; i < 8; i++) EQ(pthread_join(t[i], 0), 0);
}
CASE(after_fork) {
    int64_t before = by_library(CLOCK_MONOTONIC);
    for (int i = 0; i < 5; i++) {
        pid_t c = CHILD(TRUE(by_library(CLOCK_MONOTONIC) >= before); agree();
                        pid_t g = CHILD(TRUE(by_library(CLOCK_MONOTONIC) >= before)); REAP(g, 0));
        REAP(c, 0);
    }
    TRUE(by_library(CLOCK_MONOTONIC) - before < 20000000000ll);
}
CASE(after_exec) {
    char self[PATH_MAX];
    self[OK(readlink("/proc/self/exe", self, sizeof self - 1))] = 0;
    pid_t c = CHILD(OK(dup2(OK(open("/dev/null", O_WRONLY)), 1)); execl(self, self, "library_and_calls_agree", NULL));
    REAP(c, 0);
}
static volatile int64_t in_handler, handled;
static void look(int s) {
    in_handler = by_library(CLOCK_MONOTONIC);
    handled++;
}
CASE(in_signal_handlers) {
    signal(SIGALRM, look);
    struct itimerval v = {{0, 2000}, {0, 2000}}, none = {{0}};
    OK(setitimer(ITIMER_REAL, &v, 0));
    int64_t start = by_library(CLOCK_MONOTONIC), last = start;
    while (handled < 20) {
        int64_t now = by_library(CLOCK_MONOTONIC);
        TRUE(now >= last);
        TRUE(now - start < 20000000000ll);
        last = now;
    }
    OK(setitimer(ITIMER_REAL, &none, 0));
    TRUE(in_handler >= start && in_handler <= by_library(CLOCK_MONOTONIC));
}
static int line_of_vdso(unsigned long *from, unsigned long *to, char *prot) {
    FILE *f = fopen("/proc/self/maps", "r");
    TRUE(f);
    char line[600];
    int found = 0;
    while (fgets(line, sizeof line, f))
        if (strstr(line, "[vdso]")) found = sscanf(line, "%lx-%lx %4s", from, to, prot) == 3;
    fclose(f);
    return found;
}
CASE(it_is_in_maps_and_readable) {
    unsigned long from, to, base = getauxval(AT_SYSINFO_EHDR);
    char prot[5];
    if (!base) SKIP("there is no vDSO here");
    TRUE(line_of_vdso(&from, &to, prot));
    EQ(from, base);
    STREQ(prot, "r-xp");
    TRUE(to - from < 1 << 20);
    /* The kernel reads it as any memory. */
    int p[2];
    OK(pipe(p));
    char b[4];
    EQ(OK(write(p[1], (void *)base, 4)), 4);
    EQ(OK(read(p[0], b, 4)), 4);
    TRUE(!memcmp(b, ELFMAG, 4));
    ERR(EFAULT, pread(open("/proc/self/exe", O_RDONLY), (void *)base, 16, 0));
}
CASE(a_bad_pointer_is_a_fault) {
    gettime f = find("__vdso_clock_gettime");
    pid_t c = CHILD(f(CLOCK_MONOTONIC, BAD_PTR));
    REAP_SIG(c, SIGSEGV);
}
CASE(unmapped) {
    unsigned long from, to;
    char prot[5];
    find("__vdso_clock_gettime");
    TRUE(line_of_vdso(&from, &to, prot));
    pid_t c = CHILD(OK(munmap((void *)from, to - from)); by_call(CLOCK_MONOTONIC); by_call(CLOCK_PROCESS_CPUTIME_ID);
                    TRUE(!line_of_vdso(&from, &to, prot)); pid_t g = CHILD(by_call(CLOCK_MONOTONIC)); REAP(g, 0);
                    /* Whatever its C library does now, it does it to itself. */
                    g = CHILD(by_library(CLOCK_MONOTONIC); _exit(0));
                    int st; OK(waitpid(g, &st, 0)));
    REAP(c, 0);
    agree();
}
CASE(written_to_changes_only_ones_own) {
    unsigned long from, to;
    char prot[5];
    char *f = find("__vdso_clock_gettime");
    TRUE(line_of_vdso(&from, &to, prot));
    pid_t c = CHILD(if (mprotect((void *)from, to - from, PROT_READ | PROT_WRITE | PROT_EXEC)) _exit(5);
                    /* mov $7, %eax; ret */
                    memcpy(f, "\xb8\7\0\0\0\xc3", 6); EQ(((gettime)f)(CLOCK_MONOTONIC, 0), 7));
    int st;
    OK(waitpid(c, &st, 0));
    TRUE(WIFEXITED(st) && (WEXITSTATUS(st) == 0 || WEXITSTATUS(st) == 5));
    agree();
    char self[PATH_MAX];
    self[OK(readlink("/proc/self/exe", self, sizeof self - 1))] = 0;
    c = CHILD(OK(dup2(OK(open("/dev/null", O_WRONLY)), 1)); execl(self, self, "functions_agree_with_calls", NULL));
    REAP(c, 0);
}
