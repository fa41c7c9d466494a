/* What mmap, mlock, mincore, madvise, mremap and msync refuse, and what is told of memory. */
#include "t.h"

#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 3
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

enum { PAGE = 4096 };

static char *anonymous(int pages, int prot, int flags) {
    return (char *)OK(mmap(0, pages * PAGE, prot, MAP_ANONYMOUS | flags, -1, 0));
}
static int resident(void *at, int pages) {
    unsigned char set[64];
    int n = 0;
    OK(mincore(at, pages * PAGE, set));
    for (int i = 0; i < pages; i++) n += set[i] & 1;
    return n;
}
/* What a line of /proc/self/status says, in KiB. */
static long status(const char *name) {
    const char *line = strstr(get("/proc/self/status"), name);
    TRUE(line);
    return atol(line + strlen(name));
}
/* Without the privilege to lock what it wants. */
static void become_ordinary(void) {
    if (getuid()) return;
    OK(setresgid(1000, 1000, 1000));
    OK(setresuid(1000, 1000, 1000));
}
static void limit_locked(rlim_t bytes) {
    struct rlimit limit = {bytes, bytes};
    OK(setrlimit(RLIMIT_MEMLOCK, &limit));
}

CASE(flags_that_are_validated) {
    int fd = put("f", "text");
    OK(mmap(0, PAGE, PROT_READ, MAP_SHARED_VALIDATE, fd, 0));
    OK(mmap(0, PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_POPULATE | MAP_NORESERVE, fd, 0));
    ERR(EOPNOTSUPP, mmap(0, PAGE, PROT_READ, MAP_SHARED_VALIDATE | 0x200, fd, 0));
    ERR(EOPNOTSUPP, mmap(0, PAGE, PROT_READ, MAP_SHARED_VALIDATE | 0x400, fd, 0));
    /* The others do not mind. */
    OK(mmap(0, PAGE, PROT_READ, MAP_SHARED | 0x200, fd, 0));
    ERR(EINVAL, mmap(0, PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0));
}
CASE(protection_as_it_was_asked_for) {
    struct { int prot, flags; const char *shown; } wanted[] = {
        {PROT_WRITE, MAP_PRIVATE, "-w-p"},
        {PROT_WRITE, MAP_SHARED, "-w-s"},
        {PROT_WRITE | PROT_EXEC, MAP_PRIVATE, "-wxp"},
        {PROT_EXEC, MAP_PRIVATE, "--xp"},
        {PROT_READ | PROT_WRITE, MAP_PRIVATE, "rw-p"},
        {PROT_NONE, MAP_PRIVATE, "---p"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        char *p = anonymous(3, PROT_NONE, MAP_PRIVATE);
        OK(mmap(p + PAGE, PAGE, wanted[i].prot, MAP_FIXED | MAP_ANONYMOUS | wanted[i].flags, -1, 0));
        char start[40];
        snprintf(start, sizeof start, "%lx-", (long)p + PAGE);
        const char *line = strstr(get("/proc/self/maps"), start);
        if (!line && wanted[i].prot == PROT_NONE) continue;
        TRUE(line);
        char shown[5] = "";
        memcpy(shown, strchr(line, ' ') + 1, 4);
        STREQ(shown, wanted[i].shown);
    }
    /* What can be written can be read all the same. */
    char *p = anonymous(1, PROT_WRITE, MAP_PRIVATE);
    p[5] = 7;
    EQ(p[5], 7);
}
CASE(pages_that_are_there) {
    char *p = anonymous(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    p[0] = p[3 * PAGE] = 1;
    TRUE(resident(p, 8) >= 2);
    /* Nobody has touched most of this. */
    char *large = anonymous(64 * 256, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE);
    static unsigned char sets[64 * 256];
    int there = 0;
    OK(mincore(large, 64 * 256 * PAGE, sets));
    for (size_t i = 0; i < sizeof sets; i++) there += sets[i] & 1;
    TRUE(there < 64 * 128);
    char *q = anonymous(8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE);
    EQ(resident(q, 8), 8);
    ERR(EINVAL, mincore(p + 1, PAGE, (void *)p));
    ERR(EFAULT, mincore(p, PAGE, BAD_PTR));
    OK(munmap(p + PAGE, PAGE));
    unsigned char set[8];
    ERR(ENOMEM, mincore(p, 3 * PAGE, set));
    ERR(ENOMEM, mincore((void *)(-PAGE & ~(1l << 63)), 2 * PAGE, set));
}
CASE(locked_pages) {
    long before = status("VmLck:");
    char *p = anonymous(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    OK(mlock(p + 1, PAGE));
    EQ(status("VmLck:"), before + 8);
    EQ(resident(p, 2), 2);
    OK(mlock(p, 8 * PAGE));
    EQ(resident(p, 8), 8);
    EQ(status("VmLck:"), before + 32);
    OK(munlock(p + 2 * PAGE, PAGE));
    EQ(status("VmLck:"), before + 28);
    OK(munmap(p, 8 * PAGE));
    EQ(status("VmLck:"), before);
    char *q = anonymous(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    OK(syscall(SYS_mlock2, q, 8 * PAGE, MLOCK_ONFAULT));
    q[PAGE] = 1;
    TRUE(resident(q, 8) >= 1);
    ERR(EINVAL, syscall(SYS_mlock2, q, 8 * PAGE, 2));
    OK(munmap(q + PAGE, PAGE));
    ERR(ENOMEM, mlock(q, 8 * PAGE));
    ERR(ENOMEM, munlock(q, 8 * PAGE));
}
CASE(limits_of_locked_pages) {
    pid_t c = CHILD({
        limit_locked(4 * PAGE);
        become_ordinary();
        char *p = anonymous(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
        OK(mlock(p, 4 * PAGE));
        /* What is locked already does not count twice. */
        OK(mlock(p, 4 * PAGE));
        OK(mlock(p + PAGE, 2 * PAGE));
        ERR(ENOMEM, mlock(p, 5 * PAGE));
        ERR(ENOMEM, mlock(p + 4 * PAGE, PAGE));
        ERR(ENOMEM, mlockall(MCL_CURRENT));
        ERR(EAGAIN, mmap(0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));
        OK(munlock(p, 4 * PAGE));
        OK(mmap(0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));
    });
    REAP(c, 0);
    c = CHILD({
        limit_locked(0);
        become_ordinary();
        char *p = anonymous(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
        ERR(EPERM, mlock(p, PAGE));
        ERR(EPERM, mlockall(MCL_CURRENT));
        ERR(EPERM, mlockall(MCL_FUTURE));
        ERR(EINVAL, mlockall(0));
        ERR(EINVAL, mlockall(MCL_ONFAULT));
        ERR(EINVAL, mlockall(8));
        ERR(EPERM, mmap(0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));
        OK(munlock(p, PAGE));
        OK(munlockall());
    });
    REAP(c, 0);
}
CASE(all_is_locked) {
    struct rlimit limit;
    OK(getrlimit(RLIMIT_MEMLOCK, &limit));
    if (getuid() && limit.rlim_cur < 16 << 20) SKIP("may not lock that much");
    OK(mlockall(MCL_CURRENT));
    TRUE(status("VmLck:") > 0);
    OK(munlockall());
    EQ(status("VmLck:"), 0);
    OK(mlockall(MCL_FUTURE));
    EQ(status("VmLck:"), 0);
    char *p = anonymous(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    EQ(status("VmLck:"), 32);
    EQ(resident(p, 8), 8);
    /* Locks are not inherited. */
    pid_t c = CHILD({
        EQ(status("VmLck:"), 0);
        anonymous(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
        EQ(status("VmLck:"), 0);
    });
    REAP(c, 0);
    OK(munlockall());
    EQ(status("VmLck:"), 0);
    anonymous(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    EQ(status("VmLck:"), 0);
}
CASE(advice_that_is_refused) {
    int fd = put("f", "text");
    OK(ftruncate(fd, 4 * PAGE));
    int reader = (int)OK(open("f", O_RDONLY));
    char *shared = (char *)OK(mmap(0, 4 * PAGE, PROT_READ, MAP_SHARED, reader, 0));
    char *writable = (char *)OK(mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    char *private = (char *)OK(mmap(0, 4 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0));
    char *common = anonymous(4, PROT_READ | PROT_WRITE, MAP_SHARED);
    char *own = anonymous(4, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    ERR(EINVAL, madvise(shared, PAGE, MADV_FREE));
    ERR(EINVAL, madvise(private, PAGE, MADV_FREE));
    ERR(EINVAL, madvise(common, PAGE, MADV_FREE));
    OK(madvise(own, PAGE, MADV_FREE));
    ERR(EINVAL, madvise(shared, PAGE, MADV_WIPEONFORK));
    ERR(EINVAL, madvise(private, PAGE, MADV_WIPEONFORK));
    ERR(EINVAL, madvise(common, PAGE, MADV_WIPEONFORK));
    OK(madvise(own, PAGE, MADV_WIPEONFORK));
    ERR(EINVAL, madvise(own, PAGE, MADV_REMOVE));
    ERR(EACCES, madvise(shared, PAGE, MADV_REMOVE));
    ERR(EINVAL, madvise(own + 1, PAGE, MADV_NORMAL));
    ERR(EINVAL, madvise(own, PAGE, 1212));
    if (getuid() == 0) {
        OK(mlock(own, PAGE));
        OK(mlock(writable, PAGE));
        ERR(EINVAL, madvise(own, PAGE, MADV_DONTNEED));
        ERR(EINVAL, madvise(writable, PAGE, MADV_REMOVE));
        OK(munlock(own, PAGE));
    }
    OK(madvise(own, PAGE, MADV_DONTNEED));
    OK(munmap(own + PAGE, PAGE));
    ERR(ENOMEM, madvise(own, 3 * PAGE, MADV_NORMAL));
    ERR(ENOMEM, madvise(own, 3 * PAGE, MADV_WILLNEED));
    ERR(ENOMEM, madvise(own, 3 * PAGE, MADV_FREE));
}
CASE(advice_about_locked_pages) {
    char *p = anonymous(3, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    OK(mlock(p + PAGE, PAGE));
    for (int advice = 20; advice <= 21; advice++) { /* MADV_COLD, MADV_PAGEOUT */
        OK(madvise(p, PAGE, advice));
        ERR(EINVAL, madvise(p, 2 * PAGE, advice));
    }
    ERR(EINVAL, madvise(p, 2 * PAGE, MADV_FREE));
    OK(munmap(p + 2 * PAGE, PAGE));
    ERR(EINVAL, madvise(p, 3 * PAGE, 20));
    ERR(EINVAL, madvise(p, 3 * PAGE, MADV_FREE));
    OK(munlock(p + PAGE, PAGE));
    ERR(ENOMEM, madvise(p, 3 * PAGE, 20));
    OK(madvise(p, 0, MADV_NORMAL));
    ERR(EINVAL, madvise(p, -1, MADV_NORMAL));
    ERR(EINVAL, madvise(p, -PAGE, MADV_WILLNEED));
}
/* What holds with protection keys and without. */
CASE(protection_keys) {
    char *p = anonymous(1, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    ERR(EINVAL, syscall(SYS_pkey_alloc, 1, 0));
    ERR(EINVAL, syscall(SYS_pkey_alloc, 0, 4));
    ERR(EINVAL, syscall(SYS_pkey_free, -1));
    ERR(EINVAL, syscall(SYS_pkey_free, 15));
    ERR(EINVAL, syscall(SYS_pkey_mprotect, p, PAGE, PROT_READ, 15));
    ERR(EINVAL, syscall(SYS_pkey_mprotect, p + 1, 0, PROT_READ, 15));
    ERR(ENOMEM, syscall(SYS_pkey_mprotect, p, -1L, PROT_READ, 15));
    OK(syscall(SYS_pkey_mprotect, p, 0, PROT_READ, 15));
    OK(syscall(SYS_pkey_mprotect, p, PAGE, PROT_READ, -1));
}
CASE(pages_are_made_on_advice) {
    char *p = anonymous(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    OK(madvise(p, 4 * PAGE, MADV_POPULATE_WRITE));
    EQ(resident(p, 4), 4);
    OK(madvise(p, 8 * PAGE, MADV_POPULATE_READ));
    OK(mprotect(p, PAGE, PROT_READ));
    OK(madvise(p, PAGE, MADV_POPULATE_READ));
    ERR(EINVAL, madvise(p, PAGE, MADV_POPULATE_WRITE));
    OK(mprotect(p, PAGE, PROT_NONE));
    ERR(EINVAL, madvise(p, PAGE, MADV_POPULATE_READ));
    OK(munmap(p + 2 * PAGE, PAGE));
    ERR(ENOMEM, madvise(p + PAGE, 3 * PAGE, MADV_POPULATE_READ));
}
CASE(msync_of_locked_pages) {
    if (getuid()) SKIP("may not lock");
    int fd = put("f", "text");
    char *p = (char *)OK(mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    OK(msync(p, PAGE, MS_SYNC | MS_INVALIDATE));
    OK(mlock(p, PAGE));
    ERR(EBUSY, msync(p, PAGE, MS_SYNC | MS_INVALIDATE));
    OK(msync(p, PAGE, MS_SYNC));
}
CASE(moved_and_left_mapped) {
    char *p = anonymous(4, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    strcpy(p, "first");
    strcpy(p + 3 * PAGE, "last");
    char *q = (char *)OK(mremap(p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0));
    TRUE(q != p);
    STREQ(q, "first");
    STREQ(q + 3 * PAGE, "last");
    EQ(p[0], 0);
    EQ(p[3 * PAGE], 0);
    p[0] = 'x';
    EQ(q[0], 'f');
    char *to = anonymous(4, PROT_READ, MAP_PRIVATE);
    EQ(OK(mremap(q, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to)), to);
    STREQ(to, "first");
    EQ(q[0], 0);
    ERR(EINVAL, mremap(p, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0));
    ERR(EINVAL, mremap(p, 4 * PAGE, 4 * PAGE, MREMAP_DONTUNMAP, 0));
    int fd = put("f", "text");
    char *f = (char *)OK(mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, 0));
    char *g = (char *)OK(mremap(f, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0));
    STREQ(f, "text");
    STREQ(g, "text");
}
static char *low;
static void touch_down(char *from, int pages) {
    for (int i = 1; i <= pages; i++) {
        from[-i * PAGE] = i;
        EQ(from[-i * PAGE], i);
    }
}
CASE(areas_that_grow_down) {
    /* Free addresses, the last of which becomes a stack. */
    char *p = anonymous(2048, PROT_NONE, MAP_PRIVATE);
    OK(munmap(p, 2048 * PAGE));
    char *top = p + 2047 * PAGE;
    OK(mmap(top, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0));
    touch_down(top, 100);
    /* Far below at once. */
    top[-200 * PAGE] = 1;
    EQ(top[-150 * PAGE], 0);
    /* Not near to what is mapped below. */
    OK(mmap(top - 600 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    top[-300 * PAGE] = 1;
    pid_t c = CHILD(top[-400 * PAGE] = 1);
    REAP_SIG(c, SIGSEGV);
    /* A kernel's store makes it grow too. */
    int zero = (int)OK(open("/dev/zero", O_RDONLY));
    EQ(OK(read(zero, top - 310 * PAGE, 10)), 10);
    /* An ordinary area does not grow. */
    char *q = anonymous(1024, PROT_NONE, MAP_PRIVATE);
    OK(munmap(q, 1024 * PAGE));
    OK(mmap(q + 1023 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    c = CHILD(q[1022 * PAGE] = 1);
    REAP_SIG(c, SIGSEGV);
    /* Not beyond the limit of stacks. */
    struct rlimit limit = {4 << 20, 4 << 20};
    c = CHILD({
        OK(setrlimit(RLIMIT_STACK, &limit));
        OK(munmap(top - 600 * PAGE, PAGE));
        top[-900 * PAGE] = 1;
        top[-1100 * PAGE] = 1;
    });
    REAP_SIG(c, SIGSEGV);
}
static char *stack_of_a_page(int flags) {
    char *p = anonymous(1024, PROT_NONE, MAP_PRIVATE);
    OK(munmap(p, 1024 * PAGE));
    flags |= MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN;
    return (char *)OK(mmap(p + 1023 * PAGE, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0));
}
CASE(areas_grow_down_within_limits) {
    int zero = (int)OK(open("/dev/zero", O_RDONLY));
    /* Of the address space. */
    pid_t c = CHILD({
        char *top = stack_of_a_page(0);
        touch_down(top, 10);
        struct rlimit limit = {(status("VmSize:") << 10) + 20 * PAGE, RLIM_INFINITY};
        OK(setrlimit(RLIMIT_AS, &limit));
        touch_down(top, 20);
        ERR(EFAULT, read(zero, top - 100 * PAGE, 1));
        top[-100 * PAGE] = 1;
    });
    REAP_SIG(c, SIGSEGV);
    /* Of locked pages: what has grown by is locked too. */
    c = CHILD({
        limit_locked(4 * PAGE);
        become_ordinary();
        char *top = stack_of_a_page(MAP_LOCKED);
        touch_down(top, 3);
        EQ(status("VmLck:"), 16);
        ERR(EFAULT, read(zero, top - 4 * PAGE, 1));
        top[-4 * PAGE] = 1;
    });
    REAP_SIG(c, SIGSEGV);
    /* Whose limits they are may change. */
    c = CHILD({
        limit_locked(4 * PAGE);
        char *top = stack_of_a_page(0);
        become_ordinary();
        OK(mlock(top, PAGE));
        touch_down(top, 3);
        top[-4 * PAGE] = 1;
    });
    REAP_SIG(c, SIGSEGV);
}
CASE(locks_end_before_gaps) {
    long before = status("VmLck:");
    char *p = anonymous(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    OK(munmap(p + 3 * PAGE, PAGE));
    ERR(ENOMEM, mlock(p, 8 * PAGE));
    EQ(status("VmLck:"), before + 12);
    ERR(ENOMEM, mlock(p + 3 * PAGE, 5 * PAGE));
    EQ(status("VmLck:"), before + 12);
    OK(mlock(p + 4 * PAGE, 4 * PAGE));
    ERR(ENOMEM, munlock(p, 8 * PAGE));
    EQ(status("VmLck:"), before + 16);
    ERR(ENOMEM, munlock(p + 3 * PAGE, 5 * PAGE));
    EQ(status("VmLck:"), before + 16);
}
CASE(locked_areas_become_longer_within_limits) {
    pid_t c = CHILD({
        limit_locked(4 * PAGE);
        become_ordinary();
        char *p = anonymous(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
        OK(munmap(p + 2 * PAGE, 6 * PAGE));
        OK(mlock(p, 2 * PAGE));
        strcpy(p, "locked");
        EQ(OK(mremap(p, 2 * PAGE, 4 * PAGE, 0)), p);
        EQ(status("VmLck:"), 16);
        ERR(EAGAIN, mremap(p, 4 * PAGE, 5 * PAGE, 0));
        ERR(EAGAIN, mremap(p, 4 * PAGE, 5 * PAGE, MREMAP_MAYMOVE));
        OK(p = (char *)mremap(p, 4 * PAGE, 3 * PAGE, 0));
        STREQ(p, "locked");
        /* What is not locked does not count. */
        char *q = anonymous(1, PROT_READ | PROT_WRITE, MAP_PRIVATE);
        OK(mremap(q, PAGE, 8 * PAGE, MREMAP_MAYMOVE));
        EQ(status("VmLck:"), 12);
    });
    REAP(c, 0);
}
CASE(refused_advice_takes_nothing_away) {
    char *p = anonymous(6, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    OK(mprotect(p + 2 * PAGE, 2 * PAGE, PROT_READ));
    strcpy(p + 4 * PAGE, "kept");
    ERR(EINVAL, madvise(p, 6 * PAGE, MADV_REMOVE));
    int zero = (int)OK(open("/dev/zero", O_RDONLY)), null = (int)OK(open("/dev/null", O_WRONLY));
    EQ(OK(read(zero, p + 5 * PAGE, PAGE)), PAGE);
    EQ(OK(write(null, p + 2 * PAGE, 2 * PAGE)), 2 * PAGE);
    OK(mprotect(p, 6 * PAGE, PROT_READ | PROT_WRITE));
    anonymous(64, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE);
    STREQ(p + 4 * PAGE, "kept");
}
CASE(splitting_ends_at_the_limit_of_areas) {
    enum { MOST = 70000 };
    char *p = anonymous(2 * MOST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE);
    int i = 0;
    while (i < MOST && !mprotect(p + (2 * i + 1) * PAGE, PAGE, PROT_READ)) i++;
    EQ(errno, ENOMEM);
    TRUE(i > 30000 && i < 34000);
    ERR(ENOMEM, mprotect(p + (2 * i + 1) * PAGE, PAGE, PROT_READ));
    ERR(EAGAIN, madvise(p + (2 * i + 1) * PAGE, PAGE, MADV_DONTFORK));
    /* Ends of areas go, and whole ones become alike again. */
    OK(munmap(p, PAGE));
    OK(mprotect(p + PAGE, (2 * MOST - 1) * PAGE, PROT_READ | PROT_WRITE));
    OK(mprotect(p + (2 * i + 1) * PAGE, PAGE, PROT_READ));
    OK(munmap(p + PAGE, (2 * MOST - 1) * PAGE));
}
