// The shapes of code around the system call instruction: each works as often as it is run, from the first time, when it
// traps, to the last, when its site has been replaced; with every way out of it and into it.
#include "t.h"

// Calls of each shape: more than a site traps before it is replaced.
enum { RUNS = 40 };

long leaves_at_once(long nr, long a);
long leaves_after_one(long nr, long a);
long branches(long nr, long a);
long branches_far(long nr, long a);
long branches_on_failure(long nr, long a);
long keeps_on_stack(long nr, long a);
long entered_behind(long nr, long a, long skip);
long entered_at_branch(long nr, long a, long skip);
__asm__(".text\n"
        "leaves_at_once: mov %rdi, %rax; mov %rsi, %rdi; syscall; ret\n"
        ".balign 16\n"
        "leaves_after_one: mov %rdi, %rax; mov %rsi, %rdi; syscall; mov %eax, %eax; ret\n"
        ".balign 16\n"
        "branches: mov %rdi, %rax; mov %rsi, %rdi; syscall; test %eax, %eax; je 1f; ret\n"
        "1: mov $-1000, %rax; ret\n"
        ".balign 16\n"
        "branches_far: mov %rdi, %rax; mov %rsi, %rdi; syscall; test %rax, %rax; jne 2f; mov $-2000, %rax; ret\n"
        ".fill 300, 1, 0x90\n"
        "2: ret\n"
        ".balign 16\n"
        "branches_on_failure: mov %rdi, %rax; mov %rsi, %rdi; syscall; cmp $-4095, %rax; jae 3f; ret\n"
        "3: neg %rax; ret\n"
        ".balign 16\n"
        "keeps_on_stack: pop %rdx; mov %rdi, %rax; mov %rsi, %rdi; syscall; push %rdx; cmp $-4095, %eax; ret\n"
        ".balign 16\n"
        "entered_behind: mov %rdi, %rax; mov %rsi, %rdi; test %rdx, %rdx; jne 4f; syscall\n"
        "4: mov %eax, %eax; ret\n"
        ".balign 16\n"
        "entered_at_branch: mov %rdi, %rax; mov %rsi, %rdi; test %rdx, %rdx; jne 5f; syscall\n"
        "test %eax, %eax\n"
        "5: je 6f; ret\n"
        "6: mov $-3000, %rax; ret\n");

// Calls at the last bytes of a page, of which the last is on the next one: nothing behind them can be replaced.
long ends_page_4(long a);
long ends_page_3(long a);
long ends_page_2(long a);
long crosses_page(long a);
long entered_at_end(long nr, long a, long skip);
long reads_at_end(long fd, void *buf, size_t len);
#define ENDS_PAGE(name, left, nr) \
    ".balign 4096\n.skip 4096 - 5 - " #left ", 0x90\n" \
    #name ": mov $" #nr ", %eax; syscall; cmp $-4095, %rax; jae 7f; ret\n" \
    "7: neg %rax; ret\n"
__asm__(".text\n"
        // close(2), read(2), getppid(2)
        ENDS_PAGE(ends_page_4, 4, 3) ENDS_PAGE(ends_page_3, 3, 3) ENDS_PAGE(ends_page_2, 2, 3)
        ENDS_PAGE(crosses_page, 1, 3) ENDS_PAGE(reads_at_end, 1, 0)
        ".balign 4096\n.skip 4096 - 16, 0x90\n"
        "entered_at_end: mov %rdi, %rax; mov %rsi, %rdi; test %edx, %edx; jne 8f; mov $110, %eax\n"
        "8: syscall; ret\n");

// Says a number that is part of its text.
long says(void);
__asm__(".balign 16\nsays: mov $110, %eax; syscall; mov $0x11223344, %eax; ret\n");

static long wanted(long fd, long good, long bad) {
    return fd < 0 ? bad : good;
}
CASE(ways_out) {
    int fd = OK(open("/dev/null", O_RDONLY));
    for (int i = 0; i < RUNS; i++)
        for (long a = fd; a >= -1; a -= fd + 1) {
            // F_GETFD of a descriptor is 0 or EBADF: dup(2) and close(2) have more answers.
            long copy = leaves_at_once(SYS_dup, a);
            EQ(copy >= 0, a >= 0);
            EQ(leaves_after_one(SYS_close, copy), (long)(uint32_t)wanted(a, 0, -EBADF));
            EQ(branches(SYS_close, a < 0 ? a : OK(dup(fd))), wanted(a, -1000, -EBADF));
            EQ(branches_far(SYS_close, a < 0 ? a : OK(dup(fd))), wanted(a, -2000, -EBADF));
            EQ(branches_on_failure(SYS_close, a < 0 ? a : OK(dup(fd))), wanted(a, 0, EBADF));
            EQ(keeps_on_stack(SYS_close, a < 0 ? a : OK(dup(fd))), wanted(a, 0, -EBADF));
        }
}
CASE(ways_in) {
    for (int i = 0; i < RUNS; i++) {
        EQ(entered_behind(SYS_getpid, 0, 0), getpid());
        EQ(entered_behind(4711, 0, 1), 4711);
        EQ(entered_at_branch(SYS_getpid, 0, 0), getpid());
        EQ(entered_at_branch(4711, 0, 1), 4711);
        EQ(entered_at_branch(SYS_close, OK(dup(0)), 0), -3000);
    }
}
static volatile sig_atomic_t handled;
static void count(int s) {
    handled += s > 0;
}
CASE(with_signals) {
    signal(SIGALRM, count);
    struct itimerval v = {{0, 1000}, {0, 1000}}, none = {{0}};
    OK(setitimer(ITIMER_REAL, &v, 0));
    for (int64_t start = now_ms(); now_ms() - start < 300 || handled < 20;) {
        EQ(branches(SYS_close, -1), -EBADF);
        EQ(keeps_on_stack(SYS_close, -1), -EBADF);
        EQ(leaves_after_one(SYS_getppid, 0), getppid());
        EQ(entered_behind(4711, 0, 1), 4711);
    }
    OK(setitimer(ITIMER_REAL, &none, 0));
}
CASE(ends_of_pages) {
    long (*const closes[])(long) = {ends_page_4, ends_page_3, ends_page_2, crosses_page};
    for (int i = 0; i < RUNS; i++)
        for (int k = 0; k < 4; k++) {
            EQ(closes[k](OK(dup(0))), 0);
            EQ(closes[k](-1), EBADF);
        }
    for (int i = 0; i < RUNS; i++) {
        EQ(entered_at_end(0, 0, 0), getppid());
        EQ(entered_at_end(SYS_getpid, 0, 1), getpid());
        EQ(entered_at_end(SYS_close, -1, 1), -EBADF);
    }
}
static int filled[2];
static volatile sig_atomic_t outside;
static void fill(int s, siginfo_t *i, void *c) {
    (void)s, (void)i;
    // The program never sees where else it runs.
    char *rip = (char *)((ucontext_t *)c)->uc_mcontext.gregs[REG_RIP], *start = (char *)reads_at_end;
    outside += rip < start || rip > start + 32;
    if (++handled % 3 == 0) OK(write(filled[1], "x", 1));
}
CASE(ends_of_pages_with_signals) {
    OK(pipe(filled));
    struct sigaction a = {.sa_sigaction = fill, .sa_flags = SA_SIGINFO | SA_RESTART};
    OK(sigaction(SIGALRM, &a, 0));
    struct itimerval v = {{0, 2000}, {0, 2000}}, none = {{0}};
    for (int i = 0; i < RUNS; i++) {
        // Where the timer ends once in the program itself, the next read waits for another.
        OK(setitimer(ITIMER_REAL, &v, 0));
        char c = 0;
        EQ(reads_at_end(filled[0], &c, 1), 1);
        EQ(c, 'x');
        OK(setitimer(ITIMER_REAL, &none, 0));
    }
    TRUE(handled >= 3 * RUNS);
    TRUE(outside < handled / 2);
    a.sa_flags = SA_SIGINFO;
    OK(sigaction(SIGALRM, &a, 0));
    handled = 0;
    OK(setitimer(ITIMER_REAL, &v, 0));
    char c;
    for (int interrupted = 0, got = 0; interrupted < RUNS || got < 3;) {
        long n = reads_at_end(filled[0], &c, 1);
        TRUE(n == 1 || n == EINTR);
        if (n == EINTR) interrupted++;
        else got++;
    }
    OK(setitimer(ITIMER_REAL, &none, 0));
}
CASE(vforks) {
    for (int i = 0; i < RUNS; i++) {
        pid_t c = vfork();
        if (c == 0) _exit(i);
        OK(c);
        int status;
        EQ(waitpid(c, &status, 0), c);
        EQ(WEXITSTATUS(status), i);
    }
}
static int run(const char *prog, const char *test) {
    pid_t c = CHILD({
        OK(dup2(OK(open("/dev/null", O_WRONLY)), 1));
        execl(prog, prog, test, (char *)0);
        _exit(99);
    });
    int status;
    EQ(waitpid(c, &status, 0), c);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
CASE(programs_made_here) {
    if (getenv("SAYS")) {
        long said = 0;
        for (int i = 0; i < RUNS; i++) said = says();
        _exit(said & 0xff);
    }
    struct stat st;
    int self = OK(open("/proc/self/exe", O_RDONLY));
    OK(fstat(self, &st));
    char *image = malloc(st.st_size);
    EQ(read(self, image, st.st_size), st.st_size);
    int fd = OK(open("prog", O_WRONLY | O_CREAT, 0755));
    EQ(write(fd, image, st.st_size), st.st_size);
    OK(close(fd));
    const char *shapes[] = {"ways_out", "ways_in", "with_signals", "ends_of_pages", "ends_of_pages_with_signals", "vforks"};
    for (int i = 0; i < 6; i++) EQ(run("./prog", shapes[i]), 0);
    // Changed where it is, by its name and by a link, and made anew: what runs is what was written last.
    volatile uint32_t number = 0x11223343;
    number++;
    char *at = memmem(image, st.st_size, (void *)&number, 4);
    TRUE(at);
    OK(setenv("SAYS", "1", 1));
    OK(link("prog", "other"));
    for (int i = 0; i < 6; i++) {
        unsigned char low = 100 + i;
        if (i == 4) {
            OK(unlink("prog"));
            fd = OK(open("prog", O_WRONLY | O_CREAT, 0755));
            EQ(write(fd, image, st.st_size), st.st_size);
        } else {
            fd = OK(open(i % 2 ? "other" : "prog", O_WRONLY));
        }
        EQ(pwrite(fd, &low, 1, at - image), 1);
        OK(close(fd));
        for (int k = 0; k < 4; k++) EQ(run(i % 2 && i < 4 ? "./prog" : i == 5 ? "./other" : "./prog", "programs_made_here"), low);
    }
    // Those of memfd_create(2) may be open for writing.
    fd = OK(memfd_create("prog", 0));
    EQ(write(fd, image, st.st_size), st.st_size);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    for (int i = 0; i < 4; i++) {
        unsigned char low = 120 + i;
        EQ(pwrite(fd, &low, 1, at - image), 1);
        for (int k = 0; k < 4; k++) EQ(run(path, "programs_made_here"), low);
    }
}
