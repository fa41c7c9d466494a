// brk(2): what was given back and asked for again is zero, whoever had it before.
#include "t.h"
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PAGE = 4096 };

static char *heap;
static sigjmp_buf back;
static void jump(int signo) { siglongjmp(back, signo); }
static int fault(const volatile char *p) {
    signal(SIGSEGV, jump);
    int signo = sigsetjmp(back, 1);
    if (!signo) (void)*p;
    return signo;
}
/* Puts the end of the heap so many pages behind `heap`. */
static void end_at(long pages) {
    char *to = heap + pages * PAGE;
    TRUE((char *)syscall(SYS_brk, to) == to);
}
static void begin(long pages) {
    heap = (char *)(((unsigned long)syscall(SYS_brk, 0) + PAGE - 1) & -(unsigned long)PAGE);
    end_at(pages);
}
static bool is_all(const char *p, size_t len, char c) {
    for (size_t i = 0; i < len; i++)
        if (p[i] != c) return false;
    return true;
}
/* Grows to so many pages from so many, all of which are zero, and stores to them. */
static void grow(long from, long to) {
    end_at(to);
    TRUE(is_all(heap + from * PAGE, (to - from) * PAGE, 0));
    memset(heap + from * PAGE, 9, (to - from) * PAGE);
}
CASE(comes_back_zeroed) {
    begin(0);
    long ends[] = {64, 32, 48, 47, 96, 1, 40, 33, 34, 800, 10, 500, 900, 300, 301, 20, 1000, 2, 64}, at = 0;
    for (unsigned i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (ends[i] > at) {
            grow(at, ends[i]);
        } else {
            end_at(ends[i]);
            EQ(fault(heap + ends[i] * PAGE), SIGSEGV);
            EQ(fault(heap + at * PAGE - 1), SIGSEGV);
        }
        at = ends[i];
        TRUE(is_all(heap, at * PAGE, 9));
    }
    end_at(0);
    grow(0, 100);
}
CASE(parts_of_pages) {
    begin(4);
    memset(heap, 7, 4 * PAGE);
    TRUE(syscall(SYS_brk, heap + PAGE + 10) == (long)(heap + PAGE + 10));
    TRUE(syscall(SYS_brk, heap + 3 * PAGE) == (long)(heap + 3 * PAGE));
    // A page of which a part was left is as it was.
    TRUE(is_all(heap, 2 * PAGE, 7));
    TRUE(is_all(heap + 2 * PAGE, PAGE, 0));
}
CASE(sparse_ones_too) {
    begin(0);
    for (int turn = 0; turn < 20; turn++) {
        end_at(200);
        TRUE(is_all(heap + 10 * PAGE, 190 * PAGE, 0));
        for (int i = 10 + turn; i < 200; i += 7 + turn) heap[i * PAGE + turn] = 1;
        end_at(10);
    }
}
CASE(what_was_moved_away_stays) {
    begin(16);
    memset(heap, 1, 16 * PAGE);
    char *to = mmap(0, 8 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TRUE(to != MAP_FAILED);
    TRUE(mremap(heap + 8 * PAGE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
    // Nothing is there to be given back.
    TRUE((char *)syscall(SYS_brk, heap + 8 * PAGE) == heap + 16 * PAGE);
    end_at(7);
    grow(7, 16);
    TRUE(is_all(to, 8 * PAGE, 1));
    memset(to, 2, 8 * PAGE);
    TRUE(is_all(heap + 7 * PAGE, 9 * PAGE, 9));
    end_at(4);
    grow(4, 24);
    TRUE(is_all(to, 8 * PAGE, 2));
}
CASE(what_was_unmapped_or_protected_comes_back) {
    begin(16);
    memset(heap, 1, 16 * PAGE);
    end_at(12);
    OK(munmap(heap + 8 * PAGE, 4 * PAGE));
    end_at(6);
    grow(6, 16);
    OK(mprotect(heap + 4 * PAGE, 12 * PAGE, PROT_READ));
    end_at(6);
    grow(6, 16);
    EQ(fault(heap + 5 * PAGE), 0);
}
CASE(children_have_their_own) {
    begin(8);
    memset(heap, 1, 8 * PAGE);
    // One after the other may get the memory of the one before.
    for (int turn = 0; turn < 12; turn++) {
        pid_t c = CHILD({
            if (!is_all(heap, 8 * PAGE, 1)) _exit(2);
            long to = 16 + turn % 3 * 20;
            end_at(to);
            if (!is_all(heap + 8 * PAGE, (to - 8) * PAGE, 0)) _exit(3);
            memset(heap + 8 * PAGE, 5, (to - 8) * PAGE);
            end_at(8 + turn % 2);
        });
        REAP(c, 0);
        if (turn % 4 == 1) {
            end_at(40);
            memset(heap + 8 * PAGE, 6, 32 * PAGE);
            end_at(8);
        }
    }
    end_at(64);
    TRUE(is_all(heap + 8 * PAGE, 56 * PAGE, 0));
}
CASE(large_ones_of_parent_and_child) {
    enum { LARGE = 1024 };
    begin(LARGE + 64);
    memset(heap, 1, (LARGE + 64) * PAGE);
    end_at(LARGE);
    for (int turn = 0; turn < 3; turn++) {
        int go[2];
        char b;
        OK(pipe(go));
        pid_t c = CHILD({
            if (read(go[0], &b, 1) != 1) _exit(1);
            // Alone with the pages by now, perhaps.
            memset(heap, 3, LARGE * PAGE);
            end_at(LARGE + 32);
            if (!is_all(heap + LARGE * PAGE, 32 * PAGE, 0)) _exit(3);
            memset(heap + LARGE * PAGE, 4, 32 * PAGE);
            if (read(go[0], &b, 1) != 1) _exit(4);
            if (!is_all(heap + LARGE * PAGE, 32 * PAGE, 4)) _exit(5);
        });
        memset(heap, 1, LARGE * PAGE);
        EQ(OK(write(go[1], "x", 1)), 1);
        end_at(LARGE + 64);
        TRUE(is_all(heap + LARGE * PAGE, 64 * PAGE, 0));
        memset(heap + LARGE * PAGE, 2, 64 * PAGE);
        end_at(LARGE);
        end_at(LARGE - 300);
        EQ(OK(write(go[1], "x", 1)), 1);
        REAP(c, 0);
        end_at(LARGE);
        TRUE(is_all(heap + (LARGE - 300) * PAGE, 300 * PAGE, 0));
        TRUE(is_all(heap, (LARGE - 300) * PAGE, 1));
        memset(heap, 1, LARGE * PAGE);
    }
}
CASE(what_a_child_had_is_not_seen) {
    enum { LARGE = 1024 };
    for (int whose = 0; whose < 2; whose++) {
        begin(LARGE);
        memset(heap, 1, LARGE * PAGE);
        int go[2], ready[2];
        char b;
        OK(pipe(go)), OK(pipe(ready));
        pid_t c = CHILD({
            // As the parent does, when that is not there any more.
            if (whose == 1) end_at(LARGE - 100);
            if (write(ready[1], "x", 1) != 1 || read(go[0], &b, 1) != 1) _exit(1);
            if (whose == 0) _exit(is_all(heap, LARGE * PAGE, 1) ? 0 : 2);
            heap[0] = 2;
            end_at(LARGE);
            if (!is_all(heap + (LARGE - 100) * PAGE, 100 * PAGE, 0)) _exit(3);
        });
        EQ(OK(read(ready[0], &b, 1)), 1);
        if (whose == 0) end_at(LARGE - 100);
        // All that the child has is its own now, if it is its turn.
        if (whose == 1) OK(munmap(heap, LARGE * PAGE));
        EQ(OK(write(go[1], "x", 1)), 1);
        REAP(c, 0);
        if (whose == 1) return;
        heap[0] = 2;
        end_at(LARGE);
        TRUE(is_all(heap + (LARGE - 100) * PAGE, 100 * PAGE, 0));
    }
}
