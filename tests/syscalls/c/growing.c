// Large areas, filled in order and otherwise, and changed before they are full.
#define _GNU_SOURCE
#include "t.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define MB (1UL << 20)
enum { PAGE = 4096 };
static const size_t LEN = 40 * MB;

static sigjmp_buf back;
static void jump(int signo) { siglongjmp(back, signo); }
static int fault(char *p, bool store) {
    signal(SIGSEGV, jump);
    int signo = sigsetjmp(back, 1);
    if (!signo) {
        if (store) *(volatile char *)p = 1;
        else (void)*(volatile char *)p;
    }
    return signo;
}
static char *area(size_t len) {
    char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TRUE(p != MAP_FAILED);
    return p;
}
/* Each page has its own number, where `fill` was; zero elsewhere. */
static void fill(char *p, size_t from, size_t to) {
    for (size_t at = from; at < to; at += PAGE) {
        TRUE(*(long *)(p + at) == 0);
        *(long *)(p + at) = at / PAGE + 1;
    }
}
static void check(const char *p, size_t from, size_t to, bool filled) {
    for (size_t at = from; at < to; at += PAGE) TRUE(*(const long *)(p + at) == (filled ? (long)(at / PAGE + 1) : 0));
}
CASE(in_order) {
    for (int turn = 0; turn < 3; turn++) {
        char *p = area(LEN);
        fill(p, 0, LEN);
        check(p, 0, LEN, true);
        OK(munmap(p, LEN));
        EQ(fault(p + 3 * MB, false), SIGSEGV);
    }
}
CASE(several_at_a_time) {
    char *p[4];
    for (int i = 0; i < 4; i++) p[i] = area(LEN);
    for (size_t at = 0; at < 20 * MB; at += MB)
        for (int i = 0; i < 4; i++) fill(p[i], at, at + MB);
    for (int i = 0; i < 4; i++) {
        check(p[i], 0, 20 * MB, true);
        check(p[i], 20 * MB, LEN, false);
        OK(munmap(p[i], LEN));
    }
}
CASE(from_the_end_and_here_and_there) {
    char *p = area(LEN);
    for (size_t at = LEN; at > LEN - 10 * MB; at -= MB) fill(p, at - MB, at);
    fill(p, 0, 5 * MB);
    check(p, 5 * MB, LEN - 10 * MB, false);
    check(p, LEN - 10 * MB, LEN, true);
    char *q = area(LEN);
    unsigned x = 1;
    for (int i = 0; i < 2000; i++) {
        x = x * 1103515245 + 12345;
        q[(size_t)(x >> 8) * 16 % LEN] = 7;
    }
    size_t n = 0;
    for (size_t at = 0; at < LEN; at++) n += q[at] == 7;
    TRUE(n > 1900 && n <= 2000);
}
CASE(protected_before_it_is_full) {
    char *p = area(LEN);
    fill(p, 0, 3 * MB);
    OK(mprotect(p + 10 * MB, 10 * MB, PROT_READ));
    EQ(fault(p + 10 * MB, true), SIGSEGV);
    EQ(fault(p + 15 * MB, false), 0);
    fill(p, 3 * MB, 10 * MB);
    OK(mprotect(p + 1 * MB, 30 * MB, PROT_NONE));
    EQ(fault(p + 5 * MB, false), SIGSEGV);
    EQ(fault(p + 30 * MB, false), SIGSEGV);
    OK(mprotect(p, LEN, PROT_READ | PROT_WRITE));
    fill(p, 10 * MB, LEN);
    check(p, 0, LEN, true);
    char *q = area(LEN);
    OK(mprotect(q, LEN, PROT_READ));
    EQ(fault(q + 20 * MB, true), SIGSEGV);
    check(q, 0, LEN, false);
}
CASE(unmapped_in_part) {
    char *p = area(LEN);
    fill(p, 0, 5 * MB);
    OK(munmap(p + 10 * MB, 2 * MB));
    EQ(fault(p + 10 * MB, true), SIGSEGV);
    EQ(fault(p + 12 * MB - 1, true), SIGSEGV);
    fill(p, 5 * MB, 10 * MB);
    fill(p, 12 * MB, LEN);
    check(p, 0, 10 * MB, true);
    OK(munmap(p, LEN));
    p = area(LEN);
    fill(p, 0, 2 * MB);
    OK(munmap(p + 2 * MB, LEN - 2 * MB));
    EQ(fault(p + 2 * MB, true), SIGSEGV);
    EQ(fault(p + 3 * MB, true), SIGSEGV);
    check(p, 0, 2 * MB, true);
    p = area(LEN);
    fill(p, 0, 9 * MB);
    OK(munmap(p, 8 * MB));
    fill(p, 9 * MB, LEN);
    check(p, 8 * MB, LEN, true);
}
CASE(others_mapped_over_it) {
    char *p = area(LEN);
    fill(p, 0, 4 * MB);
    TRUE(mmap(p + 6 * MB, MB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + 6 * MB);
    EQ(fault(p + 6 * MB, true), SIGSEGV);
    EQ(fault(p + 7 * MB, false), 0);
    fill(p, 4 * MB, 6 * MB);
    fill(p, 7 * MB, LEN);
    check(p, 6 * MB, 7 * MB, false);
    TRUE(mmap(p, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
    fill(p, 0, LEN);
}
CASE(moved) {
    char *p = area(LEN);
    fill(p, 0, 6 * MB);
    char *q = mremap(p, LEN, 2 * LEN, MREMAP_MAYMOVE);
    TRUE(q != MAP_FAILED);
    check(q, 0, 6 * MB, true);
    fill(q, 6 * MB, 2 * LEN);
    check(q, 0, 2 * LEN, true);
    p = area(LEN);
    fill(p, 0, 6 * MB);
    char *to = area(LEN + MB) + MB / 2;
    TRUE(mremap(p, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
    EQ(fault(p, false), SIGSEGV);
    EQ(fault(p + 20 * MB, false), SIGSEGV);
    check(to, 0, 6 * MB, true);
    fill(to, 6 * MB, LEN);
    TRUE(mremap(to, LEN, MB, 0) == to);
    EQ(fault(to + MB, false), SIGSEGV);
    check(to, 0, MB, true);
}
CASE(given_back_in_part) {
    char *p = area(LEN);
    fill(p, 0, 20 * MB);
    OK(madvise(p + 5 * MB + PAGE, 3 * PAGE, MADV_DONTNEED));
    OK(madvise(p + 8 * MB, 4 * MB, MADV_DONTNEED));
    OK(madvise(p + 30 * MB, 4 * MB, MADV_DONTNEED));
    check(p, 0, 5 * MB + PAGE, true);
    check(p, 5 * MB + PAGE, 5 * MB + 4 * PAGE, false);
    check(p, 5 * MB + 4 * PAGE, 8 * MB, true);
    check(p, 8 * MB, 12 * MB, false);
    check(p, 12 * MB, 20 * MB, true);
    fill(p, 8 * MB, 12 * MB);
    fill(p, 20 * MB, LEN);
}
static void forked(void) {
    char *p = area(LEN);
    fill(p, 0, 7 * MB);
    for (int turn = 0; turn < 3; turn++) {
        pid_t child = fork();
        if (!child) {
            check(p, 0, 7 * MB, true);
            OK(mprotect(p + 20 * MB, MB, PROT_READ));
            EQ(fault(p + 20 * MB, true), SIGSEGV);
            OK(mprotect(p + 20 * MB, MB, PROT_READ | PROT_WRITE));
            fill(p, 7 * MB, LEN);
            memset(p, 1, 2 * MB);
            char *q = area(LEN);
            fill(q, 0, LEN);
            check(q, 0, LEN, true);
            _exit(0);
        }
        int status;
        EQ(waitpid(child, &status, 0), child);
        EQ(status, 0);
        check(p, 0, 7 * MB, true);
        check(p, 7 * MB, LEN, false);
    }
    pid_t child = fork();
    if (!child) {
        pause();
        _exit(0);
    }
    fill(p, 7 * MB, LEN);
    check(p, 0, LEN, true);
    kill(child, SIGKILL);
    EQ(waitpid(child, NULL, 0), child);
}
CASE(forks) { forked(); }
CASE(forks_with_many_areas) {
    char *many = area(4000UL * PAGE);
    for (int i = 0; i < 4000; i += 2) OK(mprotect(many + (size_t)i * PAGE, PAGE, PROT_READ));
    forked();
}
CASE(the_kernel_stores_to_it) {
    char *p = area(LEN);
    fill(p, 0, 3 * MB);
    int fds[2];
    OK(pipe(fds));
    EQ(write(fds[1], "abc", 3), 3);
    EQ(read(fds[0], p + 25 * MB, 3), 3);
    TRUE(!memcmp(p + 25 * MB, "abc", 4));
    EQ(write(fds[1], p + 30 * MB, 3), 3);
    char got[3];
    EQ(read(fds[0], got, 3), 3);
    TRUE(!memcmp(got, "\0\0", 3));
    struct iovec here = {"xyz", 3}, there = {p + 2 * MB - 1, 3};
    p[2 * MB - 1] = 0;
    EQ(process_vm_writev(getpid(), &here, 1, &there, 1, 0), 3);
    TRUE(!memcmp(p + 2 * MB - 1, "xyz", 3));
}
static char *common;
static void *touch(void *from) {
    fill(common, (size_t)from, (size_t)from + 10 * MB);
    return NULL;
}
CASE(threads) {
    for (int turn = 0; turn < 5; turn++) {
        common = area(LEN);
        pthread_t threads[4];
        for (size_t i = 0; i < 4; i++) EQ(pthread_create(&threads[i], NULL, touch, (void *)(i * 10 * MB)), 0);
        for (int i = 0; i < 4; i++) EQ(pthread_join(threads[i], NULL), 0);
        check(common, 0, LEN, true);
        OK(munmap(common, LEN));
    }
}
CASE(locked_and_populated) {
    char *p = area(LEN);
    fill(p, 0, 3 * MB);
    OK(madvise(p + 3 * MB, 20 * MB, 23 /* MADV_POPULATE_WRITE */));
    fill(p, 3 * MB, LEN);
    p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    fill(p, 0, LEN);
    OK(madvise(p, LEN, MADV_HUGEPAGE));
    check(p, 0, LEN, true);
}
