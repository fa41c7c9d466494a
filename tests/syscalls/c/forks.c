// Forks of processes with much memory: what one side does to a page, the other must not see.
#include "t.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGE = 4096, PAGES = 2048, LEN = PAGE * PAGES };

static char *dirty(void) {
    char *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TRUE(p != MAP_FAILED);
    for (int i = 0; i < PAGES; i++) *(int *)(p + i * PAGE) = i;
    return p;
}
static bool is_whole(const char *p) {
    for (int i = 0; i < PAGES; i++)
        if (*(const int *)(p + i * PAGE) != i) return false;
    return true;
}
static void fill(char *p, int value) {
    for (int i = 0; i < PAGES; i++) *(int *)(p + i * PAGE) = value;
}
CASE(a_child_changes_its_own) {
    char *p = dirty();
    pid_t c = CHILD(
        if (!is_whole(p)) _exit(1);
        for (int i = 0; i < PAGES; i += 7) *(int *)(p + i * PAGE) = -i;
        for (int i = 0; i < PAGES; i++) if (*(int *)(p + i * PAGE) != (i % 7 ? i : -i)) _exit(2);
    );
    REAP(c, 0);
    TRUE(is_whole(p));
    fill(p, 5);
    EQ(*(int *)(p + 77 * PAGE), 5);
}
CASE(a_parent_changes_its_own) {
    char *p = dirty();
    int go[2];
    char b;
    OK(pipe(go));
    pid_t c = CHILD(
        if (read(go[0], &b, 1) != 1) _exit(1);
        if (!is_whole(p)) _exit(2);
        fill(p, 9);
    );
    fill(p, 3);
    EQ(OK(write(go[1], "x", 1)), 1);
    REAP(c, 0);
    for (int i = 0; i < PAGES; i++) EQ(*(int *)(p + i * PAGE), 3);
}
CASE(generations) {
    char *p = dirty();
    pid_t c = CHILD(
        fill(p, 1);
        pid_t d = fork();
        if (d == 0) {
            if (*(int *)(p + 100 * PAGE) != 1) _exit(3);
            fill(p, 2);
            pid_t e = fork();
            if (e == 0) _exit(*(int *)(p + 200 * PAGE) == 2 ? 0 : 4);
            int s;
            waitpid(e, &s, 0);
            _exit(s ? 5 : 0);
        }
        int s;
        if (waitpid(d, &s, 0) != d || s) _exit(6);
        if (*(int *)(p + 300 * PAGE) != 1) _exit(7);
    );
    REAP(c, 0);
    TRUE(is_whole(p));
}
CASE(calls_store_there_too) {
    char *p = dirty();
    int fds[2];
    OK(pipe(fds));
    pid_t c = CHILD(
        if (write(fds[1], "abcd", 4) != 4 || read(fds[0], p + 5 * PAGE, 4) != 4) _exit(1);
        if (memcmp(p + 5 * PAGE, "abcd", 4)) _exit(2);
        struct stat st;
        if (fstat(0, (struct stat *)(p + 9 * PAGE)) != 0 || fstat(0, &st) != 0) _exit(3);
        if (((struct stat *)(p + 9 * PAGE))->st_ino != st.st_ino) _exit(4);
    );
    REAP(c, 0);
    TRUE(is_whole(p));
}
CASE(areas_change) {
    char *p = dirty();
    pid_t c = CHILD(
        if (munmap(p + 100 * PAGE, 100 * PAGE)) _exit(1);
        if (madvise(p + 300 * PAGE, 100 * PAGE, MADV_DONTNEED)) _exit(2);
        if (*(int *)(p + 350 * PAGE) != 0) _exit(3);
        if (mprotect(p + 500 * PAGE, 10 * PAGE, PROT_READ)) _exit(4);
        if (*(int *)(p + 505 * PAGE) != 505) _exit(5);
        if (mprotect(p + 500 * PAGE, 10 * PAGE, PROT_READ | PROT_WRITE)) _exit(6);
        *(int *)(p + 505 * PAGE) = 1;
        char *q = mremap(p + 1000 * PAGE, 100 * PAGE, 300 * PAGE, MREMAP_MAYMOVE);
        if (q == MAP_FAILED || *(int *)(q + 50 * PAGE) != 1050 || *(int *)(q + 250 * PAGE) != 0) _exit(7);
        memset(q, 7, 300 * PAGE);
    );
    REAP(c, 0);
    TRUE(is_whole(p));
    // Its own turn, when nobody else has the pages any more.
    OK(madvise(p + 300 * PAGE, 100 * PAGE, MADV_DONTNEED));
    EQ(*(int *)(p + 350 * PAGE), 0);
    EQ(*(int *)(p + 299 * PAGE), 299);
    OK(munmap(p + 100 * PAGE, 100 * PAGE));
    EQ(*(int *)(p + 99 * PAGE), 99);
}
CASE(heaps_grow_apart) {
    char *old = sbrk(0);
    char *heap = sbrk(LEN);
    TRUE(heap == old);
    for (int i = 0; i < PAGES; i++) heap[i * PAGE] = 1;
    int go[2];
    char b;
    OK(pipe(go));
    pid_t c = CHILD(
        char *more = sbrk(64 * PAGE);
        memset(more, 2, 64 * PAGE);
        if (read(go[0], &b, 1) != 1) _exit(1);
        for (int i = 0; i < 64 * PAGE; i++) if (more[i] != 2) _exit(2);
        for (int i = 0; i < PAGES; i++) if (heap[i * PAGE] != 1) _exit(3);
    );
    char *more = sbrk(64 * PAGE);
    for (int i = 0; i < 64 * PAGE; i++) TRUE(more[i] == 0);
    memset(more, 4, 64 * PAGE);
    for (int i = 0; i < PAGES; i++) heap[i * PAGE] = 6;
    EQ(OK(write(go[1], "x", 1)), 1);
    REAP(c, 0);
    for (int i = 0; i < 64 * PAGE; i++) TRUE(more[i] == 4);
}
CASE(advice_for_forks) {
    char *p = dirty();
    OK(madvise(p, 16 * PAGE, MADV_WIPEONFORK));
    OK(madvise(p + 16 * PAGE, 16 * PAGE, MADV_DONTFORK));
    pid_t c = CHILD(
        for (int i = 0; i < 16; i++) if (*(int *)(p + i * PAGE) != 0) _exit(1);
        char v[1];
        if (mincore(p + 20 * PAGE, PAGE, (void *)v) != -1 || errno != ENOMEM) _exit(2);
        if (*(int *)(p + 32 * PAGE) != 32) _exit(3);
    );
    REAP(c, 0);
    TRUE(is_whole(p));
}
static char *words;
static void *waits(void *arg) {
    (void)arg;
    syscall(SYS_futex, words, 0 | 128, 0, NULL, NULL, 0);
    return NULL;
}
CASE(waiters_are_found_after_a_fork) {
    words = dirty();
    pthread_t t;
    EQ(pthread_create(&t, NULL, waits, NULL), 0);
    usleep(50000);
    pid_t c = CHILD(words[8] = 1);
    REAP(c, 0);
    __atomic_store_n((int *)words, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, words, 1 | 128, 1, NULL, NULL, 0);
    EQ(pthread_join(t, NULL), 0);
}
static void *ends_at_once(void *none) { return none; }
static void *makes_threads(void *none) {
    for (pthread_t t;;)
        if (!pthread_create(&t, 0, ends_at_once, 0)) pthread_join(t, 0);
    return none;
}
/* Whatever a thread makes while its process ends, or executes a program, ends, too. */
CASE(ends_with_threads_in_the_making) {
    for (int i = 0; i < 150; i++) {
        pid_t c = CHILD({
            pthread_t t;
            for (int k = 0; k < 3; k++) EQ(pthread_create(&t, 0, makes_threads, 0), 0);
            usleep(200 + i * 37 % 900);
            if (i % 3 == 2) execl("/bin/sh", "sh", "-c", "exit 7", (char *)0);
            if (i % 3 == 1) raise(SIGUSR1);
            _exit(7);
        });
        int status = 0;
        EQ(waitpid(c, &status, 0), c);
        EQ(status, i % 3 == 1 ? SIGUSR1 : 7 << 8);
    }
}
