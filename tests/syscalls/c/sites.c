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
