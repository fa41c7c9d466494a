/* Core files (core(5)): when there is one, what is in it, what the parent learns. */
#include "t.h"
#include <elf.h>
#include <sys/prctl.h>
#include <sys/procfs.h>

static char *marked;

/* Lets core files be written, if they are where these cases look. */
static void cores(void) {
    if (strcmp(get("/proc/sys/kernel/core_pattern"), "core\n") || strcmp(get("/proc/sys/kernel/core_uses_pid"), "0\n"))
        SKIP("core files are elsewhere");
    struct rlimit all;
    OK(getrlimit(RLIMIT_CORE, &all));
    if (all.rlim_max != RLIM_INFINITY) SKIP("RLIMIT_CORE");
    all.rlim_cur = RLIM_INFINITY;
    OK(setrlimit(RLIMIT_CORE, &all));
}
static void limit_to(rlim_t bytes) {
    struct rlimit few = {bytes, RLIM_INFINITY};
    OK(setrlimit(RLIMIT_CORE, &few));
}
static int ends(pid_t child) {
    int status;
    EQ(waitpid(child, &status, 0), child);
    TRUE(WIFSIGNALED(status));
    return status;
}
static const char *map_core(size_t *len) {
    struct stat st;
    int fd = OK(open("core", O_RDONLY));
    OK(fstat(fd, &st));
    *len = st.st_size;
    const char *at = mmap(0, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    TRUE(at != MAP_FAILED);
    OK(close(fd));
    return at;
}
static const Elf64_Phdr *headers(const char *core, int *n) {
    const Elf64_Ehdr *e = (const void *)core;
    TRUE(!memcmp(e->e_ident, ELFMAG, SELFMAG));
    EQ(e->e_type, ET_CORE);
    EQ(e->e_machine, EM_X86_64);
    *n = e->e_phnum;
    return (const void *)(core + e->e_phoff);
}
/* The nth note of a kind. */
static const void *note(const char *core, unsigned type, int nth, size_t *len) {
    int n;
    const Elf64_Phdr *ph = headers(core, &n);
    EQ(ph->p_type, PT_NOTE);
    const char *at = core + ph->p_offset, *end = at + ph->p_filesz;
    while (at < end) {
        const Elf64_Nhdr *note = (const void *)at;
        const char *desc = at + sizeof *note + ((note->n_namesz + 3) & ~3);
        if (note->n_type == type && nth-- == 0) {
            if (len) *len = note->n_descsz;
            return desc;
        }
        at = desc + ((note->n_descsz + 3) & ~3);
    }
    return 0;
}
/* What the file has for an address. */
static const char *memory(const char *core, const void *where) {
    int n;
    const Elf64_Phdr *ph = headers(core, &n);
    for (int i = 1; i < n; i++) {
        uint64_t by = (uint64_t)where - ph[i].p_vaddr;
        if ((uint64_t)where >= ph[i].p_vaddr && by < ph[i].p_filesz) return core + ph[i].p_offset + by;
    }
    return 0;
}

CASE(a_core_file_is_left_and_told_of) {
    cores();
    siginfo_t info = {0};
    pid_t child = CHILD(abort());
    OK(waitid(P_PID, child, &info, WEXITED | WNOWAIT));
    EQ(info.si_code, CLD_DUMPED);
    EQ(info.si_status, SIGABRT);
    int status = ends(child);
    TRUE(WCOREDUMP(status));
    EQ(WTERMSIG(status), SIGABRT);
    struct stat st;
    OK(stat("core", &st));
    EQ(st.st_mode, S_IFREG | 0600);
    EQ(st.st_uid, geteuid());
}
CASE(without_a_limit_there_is_none) {
    cores();
    limit_to(0);
    TRUE(!WCOREDUMP(ends(CHILD(abort()))));
    limit_to(4095);
    TRUE(!WCOREDUMP(ends(CHILD(abort()))));
    ERR(ENOENT, access("core", F_OK));
    limit_to(20000);
    TRUE(WCOREDUMP(ends(CHILD(abort()))));
    struct stat st;
    OK(stat("core", &st));
    TRUE(st.st_size > 0);
    TRUE(st.st_blocks * 512 <= 24576);
}
CASE(who_is_not_dumpable_leaves_none) {
    cores();
    TRUE(!WCOREDUMP(ends(CHILD(OK(prctl(PR_SET_DUMPABLE, 0)); abort()))));
    ERR(ENOENT, access("core", F_OK));
}
CASE(only_some_signals_dump) {
    cores();
    TRUE(!WCOREDUMP(ends(CHILD(raise(SIGTERM)))));
    TRUE(!WCOREDUMP(ends(CHILD(raise(SIGKILL)))));
    ERR(ENOENT, access("core", F_OK));
    int sigs[] = {SIGQUIT, SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS};
    for (unsigned i = 0; i < sizeof sigs / sizeof *sigs; i++) {
        int status = ends(CHILD(signal(sigs[i], SIG_DFL); raise(sigs[i])));
        EQ(WTERMSIG(status), sigs[i]);
        TRUE(WCOREDUMP(status));
        OK(unlink("core"));
    }
}
CASE(links_are_not_followed) {
    cores();
    putc_("mine", "kept");
    OK(symlink("mine", "core"));
    TRUE(WCOREDUMP(ends(CHILD(abort()))));
    STREQ(get("mine"), "kept");
    struct stat st;
    OK(lstat("core", &st));
    TRUE(S_ISREG(st.st_mode));
    OK(unlink("core"));
    OK(link("mine", "core"));
    TRUE(WCOREDUMP(ends(CHILD(abort()))));
    STREQ(get("mine"), "kept");
    OK(unlink("core"));
    OK(mkdir("core", 0755));
    TRUE(!WCOREDUMP(ends(CHILD(abort()))));
}
CASE(it_has_registers_and_memory) {
    cores();
    marked = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(marked, "written memory");
    OK(mprotect(marked, 4096, PROT_READ));
    char *hidden = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(hidden, "a secret");
    OK(madvise(hidden, 4096, MADV_DONTDUMP));
    pid_t child = CHILD(OK(prctl(PR_SET_NAME, "dumper")); *(volatile int *)16 = 1);
    int status = ends(child);
    EQ(WTERMSIG(status), SIGSEGV);
    TRUE(WCOREDUMP(status));
    size_t len;
    const char *core = map_core(&len);
    const prstatus_t *st = note(core, NT_PRSTATUS, 0, &len);
    TRUE(st);
    EQ(len, sizeof *st);
    EQ(st->pr_pid, child);
    EQ(st->pr_ppid, getpid());
    EQ(st->pr_cursig, SIGSEGV);
    const prpsinfo_t *ps = note(core, NT_PRPSINFO, 0, &len);
    TRUE(ps);
    EQ(len, sizeof *ps);
    EQ(ps->pr_pid, child);
    STREQ(ps->pr_fname, "dumper");
    EQ(ps->pr_uid, getuid());
    const siginfo_t *info = note(core, NT_SIGINFO, 0, &len);
    TRUE(info);
    EQ(info->si_signo, SIGSEGV);
    EQ(info->si_code, SEGV_MAPERR);
    TRUE(info->si_addr == (void *)16);
    TRUE(note(core, NT_AUXV, 0, &len));
    TRUE(note(core, NT_FILE, 0, &len));
    TRUE(note(core, NT_PRFPREG, 0, &len));
    EQ(len, 512);
    TRUE(!note(core, NT_PRSTATUS, 1, &len));
    STREQ(memory(core, marked), "written memory");
    TRUE(!memory(core, hidden));
    TRUE(memory(core, (void *)st->pr_reg[19]));
    OK(madvise(hidden, 4096, MADV_DODUMP));
    EQ(WTERMSIG(ends(CHILD(abort()))), SIGABRT);
    STREQ(memory(map_core(&len), hidden), "a secret");
}
static pthread_barrier_t all_there;
static _Atomic int tids[4];
static void *waits(void *n) {
    tids[(long)n] = gettid();
    pthread_barrier_wait(&all_there);
    while ((long)n & 1) pause();
    for (;;) asm volatile("");
    return 0;
}
CASE(all_threads_are_in_it) {
    cores();
    volatile int *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (!child) {
        pthread_barrier_init(&all_there, 0, 5);
        for (long i = 0; i < 4; i++) {
            pthread_t t;
            pthread_create(&t, 0, waits, (void *)i);
        }
        pthread_barrier_wait(&all_there);
        for (int i = 0; i < 4; i++) shared[i] = tids[i];
        abort();
    }
    TRUE(WCOREDUMP(ends(child)));
    size_t len;
    const char *core = map_core(&len);
    const prstatus_t *st = note(core, NT_PRSTATUS, 0, &len);
    EQ(st->pr_pid, child);
    int seen = 0;
    for (int i = 1; (st = note(core, NT_PRSTATUS, i, &len)); i++)
        for (int k = 0; k < 4; k++)
            if (st->pr_pid == shared[k] && memory(core, (void *)st->pr_reg[19])) seen |= 1 << k;
    EQ(seen, 15);
    TRUE(!note(core, NT_PRSTATUS, 5, &len));
}
CASE(the_filter_is_inherited_and_has_an_effect) {
    cores();
    STREQ(get("/proc/self/coredump_filter"), "00000033\n");
    char *private = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    strcpy(private, "private");
    strcpy(shared, "shared");
    int fd = OK(open("/proc/self/coredump_filter", O_RDWR));
    ERR(EINVAL, write(fd, "many", 4));
    EQ(write(fd, "0x2\n", 4), 4);
    OK(close(fd));
    STREQ(get("/proc/self/coredump_filter"), "00000002\n");
    pid_t child = CHILD(STREQ(get("/proc/self/coredump_filter"), "00000002\n"));
    REAP(child, 0);
    EQ(system("read f < /proc/self/coredump_filter; test $f = 00000002"), 0);
    TRUE(WCOREDUMP(ends(CHILD(abort()))));
    size_t len;
    const char *core = map_core(&len);
    TRUE(!memory(core, private));
    STREQ(memory(core, shared), "shared");
}
CASE(memory_that_was_never_touched_is_a_hole) {
    cores();
    size_t big = 256 << 20;
    char *at = mmap(0, big, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    strcpy(at + big / 2, "in the middle");
    TRUE(WCOREDUMP(ends(CHILD(abort()))));
    struct stat st;
    OK(stat("core", &st));
    TRUE(st.st_size >= (off_t)big);
    TRUE(st.st_blocks * 512 < 32 << 20);
    size_t len;
    STREQ(memory(map_core(&len), at + big / 2), "in the middle");
}
CASE(sigkill_ends_a_dump) {
    cores();
    size_t big = 48 << 20;
    char *at = mmap(0, big, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(at, 1, big);
    for (int i = 0; i < 4; i++) {
        pid_t child = CHILD(pthread_barrier_init(&all_there, 0, 2); pthread_t t;
                            pthread_create(&t, 0, waits, (void *)(long)(i & 1)); pthread_barrier_wait(&all_there);
                            abort());
        nap_ms(2 + 3 * i);
        OK(kill(child, SIGKILL));
        int sig = WTERMSIG(ends(child));
        TRUE(sig == SIGABRT || sig == SIGKILL);
    }
}
static void *crashes(void *nothing) {
    pthread_barrier_wait(&all_there);
    *(volatile int *)16 = 1;
    return nothing;
}
CASE(threads_that_crash_at_a_time_leave_one_file) {
    cores();
    for (int i = 0; i < 5; i++) {
        pid_t child = fork();
        if (!child) {
            pthread_barrier_init(&all_there, 0, 4);
            for (int k = 0; k < 4; k++) {
                pthread_t t;
                pthread_create(&t, 0, crashes, 0);
            }
            for (;;) pause();
        }
        int status = ends(child);
        EQ(WTERMSIG(status), SIGSEGV);
        TRUE(WCOREDUMP(status));
        size_t len;
        TRUE(note(map_core(&len), NT_PRSTATUS, 4, &len));
    }
}
