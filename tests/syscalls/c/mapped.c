/* Files in memory and their mappings: seals, truncation under a mapping, transfers between mappings and files. */
#include "t.h"
#include <setjmp.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/sysmacros.h>

#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_GET_SEALS 1034
#define F_SEAL_SEAL 1
#define F_SEAL_SHRINK 2
#define F_SEAL_GROW 4
#define F_SEAL_WRITE 8
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 16
#endif
#ifndef RENAME_WHITEOUT
#define RENAME_WHITEOUT 4
#endif

static char text_area[64];
static sigjmp_buf jump;
static volatile sig_atomic_t got;
static void on_fault(int signo) {
    got = signo;
    siglongjmp(jump, 1);
}

/* The signal that touching an address raises, 0 if none. */
static int touch(volatile char *p, bool write) {
    struct sigaction sa = {.sa_handler = on_fault}, bus, segv;
    OK(sigaction(SIGBUS, &sa, &bus));
    OK(sigaction(SIGSEGV, &sa, &segv));
    got = 0;
    if (!sigsetjmp(jump, 1)) {
        if (write) *p = 1; else (void)*p;
    }
    OK(sigaction(SIGBUS, &bus, 0));
    OK(sigaction(SIGSEGV, &segv, 0));
    return got;
}

CASE(seals_and_shared_mappings) {
    int fd = OK(memfd_create("sealed", MFD_ALLOW_SEALING));
    OK(ftruncate(fd, 8192));
    char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EQ(p != MAP_FAILED, 1);
    ERR(EBUSY, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    EQ(OK(fcntl(fd, F_GET_SEALS)), 0);
    /* A part of the mapping is enough, and so is one that is not writable now. */
    OK(munmap(p, 4096));
    ERR(EBUSY, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    OK(mprotect(p + 4096, 4096, PROT_READ));
    ERR(EBUSY, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    OK(munmap(p + 4096, 4096));
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    ERR(EPERM, write(fd, "x", 1));
    EQ(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED, 1);
    EQ(errno, EPERM);
    p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    EQ(p != MAP_FAILED, 1);
    *p = 1;
}

CASE(seal_future_write_keeps_mappings) {
    int fd = OK(memfd_create("sealed", MFD_ALLOW_SEALING));
    OK(ftruncate(fd, 4096));
    char *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EQ(p != MAP_FAILED, 1);
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
    p[7] = 'x';
    char c;
    EQ(OK(pread(fd, &c, 1, 7)), 1);
    EQ(c, 'x');
    ERR(EPERM, pwrite(fd, "y", 1, 0));
    EQ(mmap(0, 4096, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED, 1);
    EQ(errno, EPERM);
}

CASE(truncation_under_a_mapping) {
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    char text[12288];
    memset(text, 'a', sizeof text);
    EQ(OK(write(fd, text, sizeof text)), (long)sizeof text);
    char *p = mmap(0, sizeof text, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EQ(p != MAP_FAILED, 1);
    EQ(p[8192], 'a');
    OK(ftruncate(fd, 5000));
    EQ(touch(p + 8192, false), SIGBUS);
    EQ(touch(p + 8192, true), SIGBUS);
    EQ(touch(p + 4999, false), 0);
    EQ(p[4999], 'a');
    EQ(p[5000], 0);
    /* A system call is told so. */
    int other = OK(open("other", O_RDWR | O_CREAT, 0600));
    ERR(EFAULT, write(other, p + 8192, 10));
    OK(ftruncate(fd, 12288));
    EQ(touch(p + 8192, false), 0);
    EQ(p[8192], 0);
    close(OK(open("file", O_WRONLY | O_TRUNC)));
    EQ(touch(p, false), SIGBUS);
}

CASE(write_from_a_mapping_of_the_same_file) {
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    char text[16384];
    for (int i = 0; i < (int)sizeof text; i++) text[i] = i / 7;
    EQ(OK(write(fd, text, sizeof text)), (long)sizeof text);
    char *p = mmap(0, sizeof text, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EQ(p != MAP_FAILED, 1);
    EQ(OK(pwrite(fd, p, 8000, 16384)), 8000);
    EQ(OK(pread(fd, p + 4096, 4096, 16384)), 4096);
    EQ(memcmp(p + 4096, text, 4096), 0);
    char back[8000];
    EQ(OK(pread(fd, back, sizeof back, 16384)), (long)sizeof back);
    EQ(memcmp(back, text, sizeof back), 0);
}

CASE(transfers_stop_at_bad_memory) {
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    char *p = mmap(0, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EQ(p != MAP_FAILED, 1);
    memset(p, 'z', 12288);
    OK(munmap(p + 8192, 4096));
    EQ(OK(write(fd, p + 4096, 8192)), 4096);
    EQ(OK(lseek(fd, 0, SEEK_CUR)), 4096);
    ERR(EFAULT, write(fd, p + 8192, 10));
    OK(ftruncate(fd, 12288));
    EQ(OK(pread(fd, p + 4096, 8192, 0)), 4096);
    OK(mprotect(p, 4096, PROT_READ));
    ERR(EFAULT, pread(fd, p, 10, 0));
    EQ(OK(write(fd, p, 4096)), 4096);
}

CASE(holes_and_zero_range) {
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    char text[20000], back[20000];
    memset(text, 'q', sizeof text);
    EQ(OK(write(fd, text, sizeof text)), (long)sizeof text);
    if (fallocate(fd, FALLOC_FL_ZERO_RANGE, 4000, 5000) == -1 && errno == EOPNOTSUPP) SKIP("no FALLOC_FL_ZERO_RANGE");
    memset(text + 4000, 0, 5000);
    OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 12000, 3000));
    memset(text + 12000, 0, 3000);
    EQ(OK(pread(fd, back, sizeof back, 0)), (long)sizeof back);
    EQ(memcmp(back, text, sizeof text), 0);
    OK(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 19000, 9000));
    struct stat st;
    OK(fstat(fd, &st));
    EQ(st.st_size, 20000);
    OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 19000, 9000));
    OK(fstat(fd, &st));
    EQ(st.st_size, 28000);
}

CASE(a_file_is_not_made_without_a_descriptor) {
    struct rlimit lim;
    OK(getrlimit(RLIMIT_NOFILE, &lim));
    int fd = OK(open(".", O_RDONLY));
    lim.rlim_cur = fd + 1;
    OK(setrlimit(RLIMIT_NOFILE, &lim));
    ERR(EMFILE, open("new", O_CREAT | O_WRONLY, 0600));
    ERR(ENOENT, access("new", F_OK));
}

CASE(a_reader_sees_later_writes) {
    int w = OK(open("file", O_WRONLY | O_CREAT, 0600));
    int r = OK(open("file", O_RDONLY));
    char c = 0;
    for (int i = 0; i < 3; i++) {
        char x = 'a' + i;
        EQ(OK(pwrite(w, &x, 1, 0)), 1);
        EQ(OK(pread(r, &c, 1, 0)), 1);
        EQ(c, x);
    }
}

CASE(rename_leaves_a_whiteout) {
    if (geteuid()) SKIP("needs CAP_MKNOD");
    char dir[64];
    snprintf(dir, sizeof dir, "/dev/shm/t%d", getpid());
    OK(mkdir(dir, 0700));
    OK(chdir(dir));
    close(OK(open("a", O_CREAT | O_WRONLY, 0600)));
    if (syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", RENAME_WHITEOUT) == -1)
        t_fail(__LINE__, "RENAME_WHITEOUT: %s", t_err(errno));
    struct stat st;
    OK(stat("a", &st));
    EQ(S_ISCHR(st.st_mode), 1);
    EQ(st.st_rdev, 0);
    OK(stat("b", &st));
    EQ(S_ISREG(st.st_mode), 1);
    ERR(EINVAL, syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", RENAME_WHITEOUT | 2));
    OK(unlink("a"));
    OK(unlink("b"));
    OK(rmdir(dir));
}

CASE(a_descriptor_link_leads_to_what_is_open_now) {
    char text[8];
    for (int i = 0; i < 3; i++) {
        int fd = open(".", O_TMPFILE | O_RDWR, 0600);
        if (fd == -1 && errno == EOPNOTSUPP) SKIP("no O_TMPFILE");
        OK(fd);
        char name[8] = "file0", link[32];
        name[4] += i;
        EQ(OK(write(fd, name, 5)), 5);
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        OK(linkat(AT_FDCWD, link, AT_FDCWD, name, AT_SYMLINK_FOLLOW));
        OK(close(fd));
        fd = OK(open(name, O_RDONLY));
        EQ(OK(read(fd, text, sizeof text)), 5);
        EQ(memcmp(text, name, 5), 0);
        OK(close(fd));
    }
}

CASE(the_first_lock_in_the_way_is_told) {
    int fd = OK(open("file", O_CREAT | O_RDWR, 0600));
    int other = OK(open("file", O_RDWR));
    struct flock late = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5};
    struct flock early = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 5};
    OK(fcntl(fd, F_OFD_SETLK, &late));
    OK(fcntl(fd, F_OFD_SETLK, &early));
    struct flock found = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    OK(fcntl(other, F_OFD_GETLK, &found));
    EQ(found.l_type, F_RDLCK);
    EQ(found.l_start, 1);
    EQ(found.l_len, 5);
}

CASE(order_of_errors) {
    int ends[2];
    OK(pipe(ends));
    ERR(ESPIPE, pwrite(ends[0], "x", 1, 0));
    char c;
    ERR(ESPIPE, pread(ends[1], &c, 1, 0));
    int dir = OK(open(".", O_RDONLY));
    ERR(EINVAL, splice(dir, 0, ends[1], 0, 1, 0));
    int fd = OK(open("file", O_CREAT | O_WRONLY, 0600));
    struct flock fl = {.l_type = F_RDLCK, .l_whence = 9};
    ERR(EINVAL, fcntl(fd, F_SETLK, &fl));
    fl.l_whence = SEEK_SET;
    ERR(EBADF, fcntl(fd, F_SETLK, &fl));
    OK(close(fd));
    EQ(mmap(0, 0, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED, 1);
    EQ(errno, EBADF);
    fd = OK(open("file", O_RDWR));
    OK(ftruncate(fd, 4096));
    EQ(mmap(0, 4096, PROT_READ, 3 | 0x800000, fd, 0) == MAP_FAILED, 1);
    EQ(errno, EOPNOTSUPP);
    fd = OK(open("file", O_PATH));
    ERR(EBADF, syscall(SYS_fgetxattr, fd, "user.x", text_area, 10));
}

/* Mapped as the dynamic loader does it: whole, then its parts over that. */
static char *whole(int fd, size_t pages) {
    char *at = mmap(0, pages * 4096, PROT_READ, MAP_PRIVATE | MAP_DENYWRITE, fd, 0);
    TRUE(at != MAP_FAILED);
    return at;
}
static void part(char *at, int fd, size_t page, size_t pages, int prot, size_t from) {
    void *want = at + page * 4096;
    int flags = MAP_PRIVATE | MAP_FIXED | MAP_DENYWRITE;
    EQ(mmap(want, pages * 4096, prot, flags, fd, from * 4096), want);
}
static int numbered(size_t pages) {
    int fd = OK(open("numbered", O_RDWR | O_CREAT | O_TRUNC, 0755));
    char page[4096];
    for (size_t i = 0; i < pages; i++) {
        memset(page, 'a' + i, sizeof page);
        EQ(write(fd, page, sizeof page), sizeof page);
    }
    return fd;
}
CASE(parts_over_the_whole) {
    int fd = numbered(16);
    for (int first = 0; first < 16; first++) {
        char *at = whole(fd, 16);
        if (first == 3) EQ(at[5 * 4096], 'f');
        part(at, fd, 2, 6, PROT_READ | PROT_EXEC, 4);
        if (first == 5) EQ(at[2 * 4096], 'e');
        part(at, fd, 8, 2, PROT_READ, 0);
        part(at, fd, 4, 1, PROT_READ, 9);
        const char *expect = "abefjhijabklmnop";
        /* The first access is somewhere else each time. */
        EQ(at[first * 4096 + first], expect[first]);
        for (int i = 0; i < 16; i++) EQ(at[i * 4096 + 4095], expect[i]);
        part(at, fd, 10, 2, PROT_READ | PROT_WRITE, 1);
        EQ(at[10 * 4096], 'b');
        at[11 * 4096] = 'x';
        EQ(at[12 * 4096], 'm');
        OK(munmap(at, 16 * 4096));
    }
}
CASE(parts_and_other_changes) {
    int fd = numbered(8), p[2], status;
    OK(pipe(p));
    /* The kernel reads it first. */
    char *at = whole(fd, 8), buf[8];
    part(at, fd, 1, 2, PROT_READ, 5);
    EQ(write(p[1], at + 4096, 4), 4);
    EQ(read(p[0], buf, 4), 4);
    EQ(buf[0], 'f');
    EQ(at[2 * 4096], 'g');
    OK(munmap(at, 8 * 4096));
    /* A child looks first. */
    at = whole(fd, 8);
    part(at, fd, 1, 2, PROT_READ, 5);
    pid_t child = fork();
    if (!child) _exit(at[0] != 'a' || at[4096] != 'f' || at[7 * 4096] != 'h');
    EQ(at[2 * 4096], 'g');
    EQ(waitpid(child, &status, 0), child);
    EQ(status, 0);
    OK(munmap(at, 8 * 4096));
    /* A protection, a hole, a move, other memory over it. */
    at = whole(fd, 8);
    part(at, fd, 1, 2, PROT_READ, 5);
    OK(mprotect(at + 4096, 4096, PROT_NONE));
    EQ(at[2 * 4096], 'g');
    ERR(EFAULT, write(p[1], at + 4096, 1));
    OK(munmap(at + 3 * 4096, 4096));
    ERR(EFAULT, write(p[1], at + 3 * 4096, 1));
    EQ(at[4 * 4096], 'e');
    OK(munmap(at, 8 * 4096));
    at = whole(fd, 8);
    char *to = mmap(0, 8 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EQ(mremap(at, 8 * 4096, 8 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
    for (int i = 0; i < 8; i++) EQ(to[i * 4096], 'a' + i);
    at = whole(fd, 8);
    EQ(mmap(at + 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), at + 4096);
    at[4096] = 'z';
    EQ(at[0], 'a');
    EQ(at[2 * 4096], 'c');
    /* Two of them, and a store where none is allowed. */
    char *a = whole(fd, 8), *b = whole(fd, 8);
    part(a, fd, 0, 1, PROT_READ, 7);
    part(b, fd, 0, 1, PROT_READ, 6);
    EQ(a[0] + b[0] + a[4096] + b[4096], 'h' + 'g' + 'b' + 'b');
    child = fork();
    if (!child) {
        b = whole(fd, 8);
        *(volatile char *)b = 1;
        _exit(0);
    }
    EQ(waitpid(child, &status, 0), child);
    EQ(WTERMSIG(status), SIGSEGV);
}
