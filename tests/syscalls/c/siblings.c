// Children one after the other: each begins as its parent is then, whatever those before it did.
#include "t.h"
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum { PAGE = 4096, TIMES = 12 };

static int value;
static char sparse[64 * PAGE], dense[16 * PAGE];
static sigjmp_buf back;
static void jump(int signo) { siglongjmp(back, signo); }
/* The signal that a load from there is, or 0. */
static int fault(const volatile char *p) {
    signal(SIGSEGV, jump);
    signal(SIGBUS, jump);
    int signo = sigsetjmp(back, 1);
    if (!signo) (void)*p;
    return signo;
}
static int store_fault(volatile char *p) {
    signal(SIGSEGV, jump);
    signal(SIGBUS, jump);
    int signo = sigsetjmp(back, 1);
    if (!signo) *p = 1;
    return signo;
}
static bool is_all(const char *p, size_t len, char c) {
    for (size_t i = 0; i < len; i++)
        if (p[i] != c) return false;
    return true;
}
CASE(each_begins_as_its_parent_is) {
    char *heap = malloc(8 * PAGE), stack[PAGE];
    for (int i = 1; i <= TIMES; i++) {
        value = i;
        memset(dense, i, sizeof dense);
        memset(heap, i, 8 * PAGE);
        memset(stack, i, sizeof stack);
        pid_t c = CHILD({
            EQ(value, i);
            TRUE(is_all(dense, sizeof dense, i));
            TRUE(is_all(heap, 8 * PAGE, i));
            TRUE(is_all(stack, sizeof stack, i));
            TRUE(is_all(sparse, sizeof sparse, 0));
            memset(dense, 77, sizeof dense);
            memset(heap, 77, 8 * PAGE);
            memset(stack, 77, sizeof stack);
            memset(sparse + (i & 7) * PAGE, 77, (size_t)(64 - (i & 7)) * PAGE);
            value = 77;
        });
        REAP(c, 0);
        EQ(value, i);
        TRUE(is_all(dense, sizeof dense, i));
        TRUE(is_all(sparse, sizeof sparse, 0));
    }
}
CASE(what_one_maps_the_next_has_not) {
    char *own = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *gap = mmap(NULL, 8 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TRUE(own != MAP_FAILED && gap != MAP_FAILED);
    OK(munmap(gap, 8 * PAGE));
    strcpy(own, "own");
    for (int i = 0; i < TIMES; i++) {
        char *end = sbrk(0);
        pid_t c = CHILD({
            EQ(fault(gap), SIGSEGV);
            EQ(fault(gap + 4 * PAGE), SIGSEGV);
            EQ(sbrk(0), end);
            EQ(fault(own), 0);
            STREQ(own, "own");
            EQ(store_fault(own + PAGE), 0);
            int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
            if (i % 4 == 0) OK(mmap(gap, 8 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0) == gap ? 0 : -1);
            if (i % 4 == 1) OK(munmap(own, 4 * PAGE));
            if (i % 4 == 2) OK(mprotect(own, 2 * PAGE, PROT_NONE));
            if (i % 4 == 3) OK(sbrk(16 * PAGE));
        });
        REAP(c, 0);
    }
}
CASE(what_the_parent_maps_the_next_has) {
    char *p = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *common = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    TRUE(p != MAP_FAILED && common != MAP_FAILED);
    for (int i = 1; i <= 3 * TIMES; i++) {
        char *q = p + (i % 8) * PAGE;
        int state = i / 8 % 3;
        if (state == 0) {
            TRUE(mmap(q, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == q);
            *q = (char)i;
        }
        if (state == 1) OK(mprotect(q, PAGE, PROT_READ));
        if (state == 2) OK(munmap(q, PAGE));
        *common = (char)i;
        pid_t c = CHILD({
            EQ(fault(q), state == 2 ? SIGSEGV : 0);
            EQ(store_fault(q), state == 0 ? 0 : SIGSEGV);
            EQ(*common, i);
            *common = 99;
        });
        REAP(c, 0);
        EQ(*common, 99);
    }
}
CASE(files_that_are_mapped) {
    char path[] = "/tmp/siblings-XXXXXX";
    int fd = (int)OK(mkstemp(path));
    OK(unlink(path));
    OK(ftruncate(fd, 4 * PAGE));
    char *common = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *own = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    TRUE(common != MAP_FAILED && own != MAP_FAILED);
    for (int i = 1; i <= TIMES; i++) {
        bool cut = i % 3 == 0;
        OK(ftruncate(fd, (cut ? 2 : 4) * PAGE));
        common[0] = (char)i;
        own[PAGE] = (char)i;
        pid_t c = CHILD({
            EQ(common[0], i);
            EQ(own[PAGE], i);
            EQ(fault(common + 3 * PAGE), cut ? SIGBUS : 0);
            own[PAGE] = 77;
            common[0] = 79;
        });
        REAP(c, 0);
        EQ(common[0], 79);
        EQ(own[PAGE], i);
        /* Pages of the file that it no longer has are nobody's. */
        char *other = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        TRUE(is_all(other, 8 * PAGE, 0));
        memset(other, 5, 8 * PAGE);
        c = CHILD(EQ(common[PAGE], 0));
        REAP(c, 0);
        OK(munmap(other, 8 * PAGE));
    }
}
CASE(registers_are_the_parent_s) {
    for (long i = 1; i <= TIMES; i++) {
        long pid, seen, kept = i * 1000;
        double in = (double)i, out = 0;
        /* fork(): the child comes back with the same vector and callee-saved registers, and flags. */
        asm volatile("movsd %[in], %%xmm9\n mov %[kept], %%r12\n mov $57, %%eax\n stc\n syscall\n"
                     "setc %%cl\n movzbl %%cl, %%ecx\n mov %%r12, %[seen]\n add %%rcx, %[seen]\n movsd %%xmm9, %[out]"
                     : "=&a"(pid), [seen] "=&r"(seen), [out] "=m"(out)
                     : [in] "m"(in), [kept] "r"(kept)
                     : "rcx", "r11", "r12", "xmm9", "memory", "cc");
        if (pid == 0) {
            if (seen != kept + 1 || out != in) _exit(1);
            asm volatile("mov $0x1234, %%r12\n pxor %%xmm9, %%xmm9" ::: "r12", "xmm9");
            _exit(0);
        }
        TRUE(pid > 0);
        EQ(seen, kept + 1);
        TRUE(out == in);
        REAP((pid_t)pid, 0);
    }
}
static void *nothing(void *arg) { return arg; }
CASE(whatever_way_the_last_one_ended) {
    for (int i = 0; i < 3 * TIMES; i++) {
        value = i;
        pid_t c = CHILD({
            EQ(value, i);
            value = -1;
            pthread_t t;
            switch (i % 6) {
            case 0: raise(SIGKILL); break;
            case 1: abort(); break;
            case 2: for (;;) value--; break;
            case 3:
                EQ(pthread_create(&t, NULL, nothing, NULL), 0);
                EQ(pthread_join(t, NULL), 0);
                break;
            case 4: execl("/bin/true", "true", NULL); break;
            }
        });
        if (i % 6 == 2) OK(kill(c, SIGKILL));
        if (i % 6 == 0 || i % 6 == 2) REAP_SIG(c, SIGKILL);
        else if (i % 6 == 1) REAP_SIG(c, SIGABRT);
        else REAP(c, 0);
        EQ(value, i);
    }
}
CASE(many_at_once) {
    for (int round = 0; round < 4; round++) {
        int go[2];
        pid_t c[6];
        OK(pipe(go));
        for (int i = 0; i < 6; i++) {
            value = round * 10 + i;
            c[i] = CHILD({
                char b;
                OK(close(go[1]));
                if (read(go[0], &b, 1)) _exit(1);
                EQ(value, round * 10 + i);
                memset(sparse, i + 1, sizeof sparse);
            });
        }
        OK(close(go[1]));
        OK(close(go[0]));
        for (int i = 0; i < 6; i++) REAP(c[i], 0);
        TRUE(is_all(sparse, sizeof sparse, 0));
    }
}
CASE(answers_are_about_its_own) {
    char path[] = "/tmp/siblings-XXXXXX";
    OK(close((int)OK(mkstemp(path))));
    for (int i = 1; i <= TIMES; i++) {
        OK(truncate(path, i));
        pid_t c = CHILD({
            struct stat st;
            int fd = (int)OK(open(i % 2 ? path : "/dev/null", O_RDONLY));
            for (int k = 0; k < 6; k++) {
                OK(fstat(fd, &st));
                EQ(st.st_size, i % 2 ? i : 0);
                OK(stat(path, &st));
                EQ(st.st_size, i);
                EQ(getpid(), syscall(SYS_gettid));
            }
            OK(chdir(i % 3 ? "/" : "/tmp"));
            EQ(access("tmp", F_OK), i % 3 ? 0 : -1);
            EQ(access("tmp", F_OK), i % 3 ? 0 : -1);
        });
        REAP(c, 0);
    }
    OK(unlink(path));
}
CASE(its_processor_time_is_its_own) {
    struct timespec t;
    for (int i = 0; i < 3; i++) {
        pid_t c = CHILD({
            OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t));
            TRUE(t.tv_sec == 0 && t.tv_nsec < 100000000);
            do OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t));
            while (t.tv_sec == 0 && t.tv_nsec < 150000000);
        });
        REAP(c, 0);
    }
}
CASE(users_change_in_between) {
    if (getuid()) return;
    OK(close((int)OK(open("secret", O_CREAT | O_WRONLY, 0600))));
    for (int i = 1; i <= TIMES; i++) {
        value = i;
        pid_t c = CHILD({
            EQ(getuid(), 0);
            EQ(value, i);
            if (i % 3 == 0) {
                OK(syscall(SYS_setresuid, 1000, 1000, 1000));
                ERR(EACCES, open("secret", O_RDONLY));
            }
            value = 0;
        });
        REAP(c, 0);
    }
    /* Whom nobody may look into has children, too. */
    OK(prctl(PR_SET_DUMPABLE, 0));
    for (int i = 1; i <= TIMES; i++) {
        value = i;
        pid_t c = CHILD(EQ(value, i); value = 0);
        REAP(c, 0);
    }
}
CASE(grandchildren) {
    for (int i = 1; i <= TIMES; i++) {
        value = i;
        pid_t c = CHILD({
            for (int k = 1; k <= 4; k++) {
                value = i * 10 + k;
                pid_t d = CHILD(EQ(value, i * 10 + k); memset(sparse, 3, sizeof sparse));
                REAP(d, 0);
                TRUE(is_all(sparse, sizeof sparse, 0));
            }
        });
        REAP(c, 0);
        EQ(value, i);
    }
}
