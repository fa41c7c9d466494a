/* open, close, read, write, lseek, truncate, dup, positional and vector I/O. */
#include "t.h"

CASE(open_flags) {
    ERR(ENOENT, open("missing", O_RDONLY));
    int fd = OK(open("f", O_CREAT | O_EXCL | O_RDWR, 0600));
    EQ(OK(fcntl(fd, F_GETFL)) & O_ACCMODE, O_RDWR);
    ERR(EEXIST, open("f", O_CREAT | O_EXCL | O_RDWR, 0600));
    ERR(ENOTDIR, open("f", O_RDONLY | O_DIRECTORY));
    ERR(ENOTDIR, open("f/x", O_RDONLY));
    ERR(EISDIR, open(".", O_WRONLY));
    ERR(EISDIR, open(".", O_RDWR));
    ERR(EISDIR, open("d/", O_CREAT | O_RDWR, 0600));
    ERR(ENOENT, open("", O_RDONLY));
    ERR(EFAULT, open(BAD_PTR, O_RDONLY));
    OK(close(fd));
    ERR(EBADF, close(fd));
    ERR(EBADF, close(-1));
}
CASE(open_name_limits) {
    char name[300];
    memset(name, 'a', 299);
    name[299] = 0;
    ERR(ENAMETOOLONG, open(name, O_CREAT | O_RDWR, 0600));
    name[255] = 0;
    OK(close(OK(open(name, O_CREAT | O_RDWR, 0600))));
    char path[5000];
    for (int i = 0; i < 4998; i += 2) memcpy(path + i, "./", 2);
    path[4998] = 0;
    ERR(ENAMETOOLONG, open(path, O_RDONLY));
    path[4090] = 0;
    OK(close(OK(open(path, O_RDONLY))));
}
CASE(open_creat_directory) {
    OK(mkdir("d", 0755));
    ERR(EISDIR, open("d", O_CREAT | O_RDONLY, 0600));
    ERR(EEXIST, open("d", O_CREAT | O_EXCL | O_RDONLY, 0600));
    int fd = OK(open("d", O_RDONLY | O_DIRECTORY));
    char c;
    ERR(EISDIR, read(fd, &c, 1));
    ERR(EBADF, write(fd, &c, 1));
    ERR(EINVAL, ftruncate(fd, 0));
}
CASE(open_modes) {
    putc_("f", "abc");
    int r = OK(open("f", O_RDONLY)), w = OK(open("f", O_WRONLY));
    char c;
    ERR(EBADF, write(r, "x", 1));
    ERR(EBADF, read(w, &c, 1));
    ERR(EINVAL, ftruncate(r, 1));
}
CASE(open_trunc_append) {
    putc_("f", "hello");
    int fd = OK(open("f", O_WRONLY | O_APPEND));
    EQ(OK(lseek(fd, 0, SEEK_CUR)), 0);
    EQ(OK(write(fd, " you", 4)), 4);
    EQ(OK(lseek(fd, 0, SEEK_CUR)), 9);
    OK(lseek(fd, 0, SEEK_SET));
    OK(write(fd, "!", 1));
    STREQ(get("f"), "hello you!");
    OK(close(OK(open("f", O_WRONLY | O_TRUNC))));
    STREQ(get("f"), "");
}
CASE(open_path_fd) {
    putc_("f", "abc");
    int fd = OK(open("f", O_PATH));
    char c;
    ERR(EBADF, read(fd, &c, 1));
    ERR(EBADF, write(fd, &c, 1));
    ERR(EBADF, lseek(fd, 0, SEEK_SET));
    ERR(EBADF, fchmod(fd, 0600));
    struct stat st;
    OK(fstat(fd, &st));
    EQ(st.st_size, 3);
    EQ(OK(fcntl(fd, F_GETFL)) & O_PATH, O_PATH);
}
CASE(open_nofollow) {
    putc_("f", "x");
    OK(symlink("f", "l"));
    ERR(ELOOP, open("l", O_RDONLY | O_NOFOLLOW));
    int fd = OK(open("l", O_PATH | O_NOFOLLOW));
    struct stat st;
    OK(fstat(fd, &st));
    TRUE(S_ISLNK(st.st_mode));
    OK(symlink("loop", "loop"));
    ERR(ELOOP, open("loop", O_RDONLY));
    OK(symlink("gone", "dangling"));
    ERR(ENOENT, open("dangling", O_RDONLY));
    ERR(EEXIST, open("dangling", O_CREAT | O_EXCL | O_WRONLY, 0600));
    OK(close(OK(open("dangling", O_CREAT | O_WRONLY, 0600))));
    OK(access("gone", F_OK));
}
CASE(open_tmpfile) {
    int fd = open(".", O_TMPFILE | O_RDWR, 0600);
    if (fd == -1 && errno == EOPNOTSUPP) SKIP("file system without O_TMPFILE");
    TRUE(fd >= 0);
    struct stat st;
    OK(write(fd, "abc", 3));
    OK(fstat(fd, &st));
    EQ(st.st_nlink, 0);
    EQ(st.st_size, 3);
    ERR(EINVAL, open(".", O_TMPFILE | O_RDONLY, 0600));
}
CASE(umask_applies) {
    struct stat st;
    EQ(umask(027), 022);
    OK(close(OK(open("f", O_CREAT | O_WRONLY, 0666))));
    OK(stat("f", &st));
    EQ(st.st_mode & 07777, 0640);
    OK(mkdir("d", 0777));
    OK(stat("d", &st));
    EQ(st.st_mode & 07777, 0750);
    EQ(umask(0777777), 027);
    EQ(umask(0), 0777);
}
CASE(lowest_descriptor) {
    int a = OK(open(".", O_RDONLY)), b = OK(open(".", O_RDONLY)), c = OK(open(".", O_RDONLY));
    EQ(b, a + 1);
    EQ(c, a + 2);
    OK(close(b));
    EQ(OK(open(".", O_RDONLY)), b);
    OK(close(a));
    OK(close(c));
    EQ(OK(dup(b)), a);
}
CASE(dup_family) {
    int fd = put("f", "abcdef");
    OK(lseek(fd, 0, SEEK_SET));
    int d = OK(dup(fd));
    char c;
    OK(read(fd, &c, 1));
    OK(read(d, &c, 1));
    EQ(c, 'b');
    EQ(OK(dup2(fd, fd)), fd);
    EQ(OK(dup2(fd, 50)), 50);
    EQ(OK(dup3(fd, 51, O_CLOEXEC)), 51);
    EQ(OK(fcntl(51, F_GETFD)), FD_CLOEXEC);
    EQ(OK(fcntl(50, F_GETFD)), 0);
    ERR(EINVAL, dup3(fd, fd, 0));
    ERR(EINVAL, dup3(fd, 52, O_APPEND));
    ERR(EBADF, dup2(fd, -1));
    ERR(EBADF, dup2(99, 3));
    ERR(EBADF, dup(-1));
    EQ(OK(fcntl(fd, F_DUPFD, 60)), 60);
    EQ(OK(fcntl(fd, F_DUPFD_CLOEXEC, 60)), 61);
    EQ(OK(fcntl(61, F_GETFD)), FD_CLOEXEC);
    ERR(EINVAL, fcntl(fd, F_DUPFD, -1));
    ERR(EINVAL, fcntl(fd, F_DUPFD, 1 << 30));
    ERR(EBADF, fcntl(99, F_GETFD));
    ERR(EINVAL, fcntl(fd, 9999, 0));
}
CASE(seek) {
    int fd = put("f", "0123456789");
    EQ(OK(lseek(fd, 2, SEEK_SET)), 2);
    EQ(OK(lseek(fd, 3, SEEK_CUR)), 5);
    EQ(OK(lseek(fd, -1, SEEK_END)), 9);
    ERR(EINVAL, lseek(fd, -1, SEEK_SET));
    ERR(EINVAL, lseek(fd, 0, 99));
    EQ(OK(lseek(fd, 100, SEEK_SET)), 100);
    char c;
    EQ(OK(read(fd, &c, 1)), 0);
    OK(write(fd, "x", 1));
    struct stat st;
    OK(fstat(fd, &st));
    EQ(st.st_size, 101);
    EQ(OK(pread(fd, &c, 1, 50)), 1);
    EQ(c, 0);
    int p[2];
    OK(pipe(p));
    ERR(ESPIPE, lseek(p[0], 0, SEEK_SET));
    ERR(ESPIPE, pread(p[0], &c, 1, 0));
    ERR(EBADF, lseek(99, 0, SEEK_SET));
}
CASE(seek_data_hole) {
    int fd = put("f", "data");
    EQ(OK(lseek(fd, 0, SEEK_DATA)), 0);
    EQ(OK(lseek(fd, 0, SEEK_HOLE)), 4);
    ERR(ENXIO, lseek(fd, 4, SEEK_DATA));
    ERR(ENXIO, lseek(fd, 5, SEEK_HOLE));
}
CASE(pread_pwrite) {
    int fd = put("f", "0123456789");
    char b[5] = {0};
    OK(lseek(fd, 1, SEEK_SET));
    EQ(OK(pread(fd, b, 4, 6)), 4);
    TRUE(!memcmp(b, "6789", 4));
    EQ(OK(pwrite(fd, "ab", 2, 4)), 2);
    EQ(OK(lseek(fd, 0, SEEK_CUR)), 1);
    ERR(EINVAL, pread(fd, b, 1, -1));
    ERR(EINVAL, pwrite(fd, b, 1, -1));
    EQ(OK(pread(fd, b, 4, 100)), 0);
    ERR(EFAULT, pread(fd, BAD_PTR, 4, 0));
    STREQ(get("f"), "0123ab6789");
}
CASE(read_write_faults) {
    int fd = put("f", "0123456789");
    OK(lseek(fd, 0, SEEK_SET));
    ERR(EFAULT, read(fd, BAD_PTR, 4));
    ERR(EFAULT, write(fd, BAD_PTR, 4));
    EQ(OK(lseek(fd, 0, SEEK_CUR)), 0);
    char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    OK(munmap(p + 4096, 4096));
    EQ(OK(read(fd, p + 4096 - 4, 10)), 4);
    TRUE(!memcmp(p + 4092, "0123", 4));
    ERR(EBADF, read(99, p, 1));
    ERR(EBADF, write(99, p, 1));
    EQ(OK(read(fd, p, 0)), 0);
    EQ(OK(write(fd, p, 0)), 0);
}
CASE(vectors) {
    int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
    struct iovec v[3] = {{"ab", 2}, {"", 0}, {"cde", 3}};
    EQ(OK(writev(fd, v, 3)), 5);
    char x[2], y[10];
    struct iovec r[2] = {{x, 2}, {y, 10}};
    OK(lseek(fd, 0, SEEK_SET));
    EQ(OK(readv(fd, r, 2)), 5);
    TRUE(!memcmp(x, "ab", 2) && !memcmp(y, "cde", 3));
    EQ(OK(preadv(fd, r, 2, 1)), 4);
    EQ(OK(pwritev(fd, v, 3, 5)), 5);
    ERR(EINVAL, writev(fd, v, -1));
    ERR(EINVAL, writev(fd, v, 1025));
    EQ(OK(writev(fd, v, 0)), 0);
    ERR(EFAULT, writev(fd, BAD_PTR, 1));
    struct iovec big[2] = {{x, -1}, {y, 10}};
    ERR(EINVAL, readv(fd, big, 2));
    ERR(EINVAL, preadv(fd, r, 2, -5));
    EQ(OK(preadv2(fd, r, 2, 0, 0)), 10);
    ERR(EOPNOTSUPP, preadv2(fd, r, 2, 0, 0x4000));
}
CASE(truncate_family) {
    putc_("f", "0123456789");
    OK(truncate("f", 4));
    STREQ(get("f"), "0123");
    int fd = OK(open("f", O_RDWR));
    OK(ftruncate(fd, 6));
    char b[6];
    EQ(OK(pread(fd, b, 6, 0)), 6);
    TRUE(b[4] == 0 && b[5] == 0);
    ERR(EINVAL, truncate("f", -1));
    ERR(EINVAL, ftruncate(fd, -1));
    ERR(ENOENT, truncate("missing", 1));
    ERR(EISDIR, truncate(".", 1));
    ERR(EBADF, ftruncate(99, 1));
    int p[2];
    OK(pipe(p));
    ERR(EINVAL, ftruncate(p[1], 1));
}
CASE(fallocate_family) {
    int fd = put("f", "0123456789");
    if (fallocate(fd, 0, 0, 20) == -1 && errno == EOPNOTSUPP) SKIP("file system without fallocate");
    struct stat st;
    OK(fstat(fd, &st));
    EQ(st.st_size, 20);
    OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 20, 100));
    OK(fstat(fd, &st));
    EQ(st.st_size, 20);
    OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2, 3));
    char b[6];
    OK(pread(fd, b, 6, 0));
    TRUE(!memcmp(b, "01\0\0\0"
                    "5",
                 6));
    ERR(EINVAL, fallocate(fd, 0, 0, 0));
    ERR(EINVAL, fallocate(fd, 0, -1, 5));
    ERR(EOPNOTSUPP, fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 5));
    ERR(EBADF, fallocate(99, 0, 0, 5));
    int r = OK(open("f", O_RDONLY));
    ERR(EBADF, fallocate(r, 0, 0, 5));
}
CASE(cloexec) {
    int fd = OK(open(".", O_RDONLY | O_CLOEXEC));
    EQ(OK(fcntl(fd, F_GETFD)), FD_CLOEXEC);
    OK(fcntl(fd, F_SETFD, 0));
    EQ(OK(fcntl(fd, F_GETFD)), 0);
    OK(fcntl(fd, F_SETFD, FD_CLOEXEC));
    EQ(OK(fcntl(fd, F_GETFD)), FD_CLOEXEC);
}
CASE(close_range_) {
    for (int i = 20; i < 30; i++) EQ(OK(dup2(0, i)), i);
    OK(syscall(SYS_close_range, 22, 25, 0));
    OK(fcntl(21, F_GETFD));
    ERR(EBADF, fcntl(22, F_GETFD));
    ERR(EBADF, fcntl(25, F_GETFD));
    OK(fcntl(26, F_GETFD));
    OK(syscall(SYS_close_range, 26, ~0u, 4));
    EQ(OK(fcntl(28, F_GETFD)), FD_CLOEXEC);
    ERR(EINVAL, syscall(SYS_close_range, 5, 4, 0));
    ERR(EINVAL, syscall(SYS_close_range, 5, 6, 99));
}
CASE(unlinked_file_lives) {
    int fd = put("f", "abc");
    OK(unlink("f"));
    ERR(ENOENT, access("f", F_OK));
    struct stat st;
    OK(fstat(fd, &st));
    EQ(st.st_nlink, 0);
    OK(write(fd, "def", 3));
    char b[6];
    EQ(OK(pread(fd, b, 6, 0)), 6);
    TRUE(!memcmp(b, "abcdef", 6));
}
CASE(fsync_family) {
    int fd = put("f", "abc"), p[2];
    OK(fsync(fd));
    OK(fdatasync(fd));
    OK(syncfs(fd));
    ERR(EBADF, fsync(99));
    OK(pipe(p));
    ERR(EINVAL, fsync(p[0]));
    OK(sync_file_range(fd, 0, 0, 0));
    ERR(EINVAL, sync_file_range(fd, 0, 0, 0x100));
    OK(readahead(fd, 0, 10));
    EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    EQ(posix_fadvise(fd, 0, 0, 99), EINVAL);
    EQ(posix_fadvise(p[0], 0, 0, 0), ESPIPE);
}
CASE(dev_files) {
    char b[16];
    int z = OK(open("/dev/zero", O_RDWR)), n = OK(open("/dev/null", O_RDWR)), f = OK(open("/dev/full", O_RDWR));
    memset(b, 1, 16);
    EQ(OK(read(z, b, 16)), 16);
    for (int i = 0; i < 16; i++) EQ(b[i], 0);
    EQ(OK(write(z, b, 16)), 16);
    EQ(OK(read(n, b, 16)), 0);
    EQ(OK(write(n, b, 16)), 16);
    EQ(OK(read(f, b, 16)), 16);
    ERR(ENOSPC, write(f, b, 16));
    int u = OK(open("/dev/urandom", O_RDONLY));
    EQ(OK(read(u, b, 16)), 16);
    EQ(OK(lseek(z, 5, SEEK_SET)), 0);
    struct stat st;
    OK(stat("/dev/null", &st));
    TRUE(S_ISCHR(st.st_mode));
    EQ(st.st_rdev, 0x103);
    OK(stat("/dev/full", &st));
    EQ(st.st_rdev, 0x107);
}
CASE(dev_fd) {
    int fd = put("f", "abc");
    char path[32], b[4] = {0};
    snprintf(path, sizeof path, "/dev/fd/%d", fd);
    int d = OK(open(path, O_RDONLY));
    EQ(OK(read(d, b, 3)), 3);
    STREQ(b, "abc");
    ERR(ENOENT, open("/dev/fd/99", O_RDONLY));
}
CASE(rlimit_nofile) {
    struct rlimit r = {20, 20};
    OK(setrlimit(RLIMIT_NOFILE, &r));
    ERR(EBADF, dup2(0, 20));
    ERR(EINVAL, fcntl(0, F_DUPFD, 20));
    int last = -1, fd;
    while ((fd = open(".", O_RDONLY)) >= 0) last = fd;
    EQ(errno, EMFILE);
    EQ(last, 19);
    int p[2];
    ERR(EMFILE, pipe(p));
}
CASE(rlimit_fsize) {
    struct rlimit r = {4096, 4096};
    OK(setrlimit(RLIMIT_FSIZE, &r));
    signal(SIGXFSZ, SIG_IGN);
    int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
    OK(lseek(fd, 4086, SEEK_SET));
    EQ(OK(write(fd, "0123456789abcdef", 16)), 10);
    ERR(EFBIG, write(fd, "x", 1));
    ERR(EFBIG, ftruncate(fd, 4097));
    signal(SIGXFSZ, SIG_DFL);
    pid_t p = CHILD(if (write(fd, "x", 1) < 0) _exit(3));
    REAP_SIG(p, SIGXFSZ);
}
static void copy_self(const char *to) {
    char buf[65536];
    int from = (int)OK(open("/proc/self/exe", O_RDONLY)), fd = (int)OK(open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755));
    for (ssize_t n; (n = OK(read(from, buf, sizeof buf))) > 0;) EQ(OK(write(fd, buf, n)), n);
    OK(close(from));
    OK(close(fd));
}
/* Runs `prog --list`, which ends with status 0. */
static int starts(const char *prog) {
    int error = 0, p[2];
    OK(pipe2(p, O_CLOEXEC));
    pid_t c = CHILD({
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 1);
        execl(prog, prog, "--list", (char *)0);
        if (write(p[1], &errno, sizeof errno)) { }
        _exit(1);
    });
    OK(close(p[1]));
    int told = read(p[0], &error, sizeof error) == sizeof error;
    OK(close(p[0]));
    REAP(c, told);
    return error;
}
CASE(what_is_written_to_is_not_executed) {
    copy_self("prog");
    EQ(starts("./prog"), 0);
    int fd = (int)OK(open("prog", O_WRONLY));
    EQ(starts("./prog"), ETXTBSY);
    int other = (int)OK(dup(fd));
    OK(close(fd));
    EQ(starts("./prog"), ETXTBSY);
    OK(close(other));
    EQ(starts("./prog"), 0);
    /* Being open for reading does not matter, nor for whom it is open by its path only. */
    fd = (int)OK(open("prog", O_RDONLY));
    EQ(starts("./prog"), 0);
    OK(close(fd));
    fd = (int)OK(open("prog", O_PATH));
    EQ(starts("./prog"), 0);
    OK(close(fd));
    /* A mapping keeps it open. */
    fd = (int)OK(open("prog", O_RDWR));
    char *p = (char *)OK(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    OK(close(fd));
    EQ(starts("./prog"), ETXTBSY);
    OK(munmap(p, 4096));
    EQ(starts("./prog"), 0);
    /* Scripts are no different. */
    fd = put("script", "#!/bin/true\n");
    OK(fchmod(fd, 0755));
    EQ(starts("./script"), ETXTBSY);
    OK(close(fd));
    EQ(starts("./script"), 0);
}
CASE(what_is_executed_is_not_written_to) {
    int go[2], up[2];
    copy_self("prog");
    OK(pipe(go));
    OK(pipe2(up, O_CLOEXEC));
    pid_t c = CHILD({
        /* It lists its cases into a pipe that is full, and waits. */
        static char junk[65536];
        OK(close(go[0] + 0 * write(go[1], junk, sizeof junk)));
        OK(dup2(go[1], 1));
        execl("./prog", "prog", "--list", (char *)0);
        _exit(9);
    });
    char b;
    OK(close(up[1]));
    EQ(OK(read(up[0], &b, 1)), 0);
    ERR(ETXTBSY, open("prog", O_WRONLY));
    ERR(ETXTBSY, open("prog", O_RDWR));
    ERR(ETXTBSY, open("prog", O_RDONLY | O_TRUNC));
    ERR(ETXTBSY, truncate("prog", 0));
    OK(close(OK(open("prog", O_RDONLY))));
    OK(chmod("prog", 0700));
    OK(rename("prog", "prog2"));
    ERR(ETXTBSY, open("prog2", O_WRONLY));
    OK(kill(c, SIGKILL));
    REAP_SIG(c, SIGKILL);
    OK(close(OK(open("prog2", O_WRONLY))));
    EQ(starts("./prog2"), 0);
}
