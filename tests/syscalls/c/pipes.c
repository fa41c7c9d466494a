/* Pipes, FIFOs, splice, tee, vmsplice, sendfile, copy_file_range. */
#include "t.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

CASE(pipe_basic) {
    int p[2];
    char b[16];
    OK(pipe(p));
    EQ(OK(write(p[1], "hello", 5)), 5);
    EQ(OK(read(p[0], b, 2)), 2);
    EQ(OK(read(p[0], b, 16)), 3);
    OK(close(p[1]));
    EQ(OK(read(p[0], b, 16)), 0);
    ERR(EBADF, write(p[0], "x", 1));
    ERR(EFAULT, pipe(BAD_PTR));
}
CASE(pipe2_flags) {
    int p[2];
    char c;
    OK(pipe2(p, O_NONBLOCK | O_CLOEXEC));
    EQ(OK(fcntl(p[0], F_GETFD)), FD_CLOEXEC);
    EQ(OK(fcntl(p[1], F_GETFL)) & O_NONBLOCK, O_NONBLOCK);
    ERR(EAGAIN, read(p[0], &c, 1));
    ERR(EINVAL, pipe2(p, O_APPEND));
    ERR(EINVAL, pipe2(p, -1));
}
CASE(pipe_capacity) {
    int p[2];
    static char b[65536];
    OK(pipe2(p, O_NONBLOCK));
    EQ(OK(fcntl(p[0], F_GETPIPE_SZ)), 65536);
    EQ(OK(write(p[1], b, 65536)), 65536);
    ERR(EAGAIN, write(p[1], b, 1));
    int n;
    OK(ioctl(p[0], FIONREAD, &n));
    EQ(n, 65536);
    OK(read(p[0], b, 4096));
    EQ(OK(write(p[1], b, 4096)), 4096);
    OK(close(p[1]));
    OK(pipe(p));
    TRUE(OK(fcntl(p[1], F_SETPIPE_SZ, 5000)) >= 5000);
    EQ(OK(fcntl(p[1], F_GETPIPE_SZ)), 8192);
    EQ(OK(fcntl(p[1], F_SETPIPE_SZ, 131072)), 131072);
    EQ(OK(fcntl(p[1], F_SETPIPE_SZ, 0)), 4096);
}
CASE(pipe_partial_write) {
    int p[2];
    static char b[100000];
    OK(pipe2(p, O_NONBLOCK));
    EQ(OK(write(p[1], b, 60000)), 60000);
    /* What does not fit behind the last byte needs buffers of its own: one of two is left. */
    EQ(OK(write(p[1], b, 4096 + 3000)), 4096);
    ERR(EAGAIN, write(p[1], b, 50000));
}
CASE(pipe_sigpipe) {
    int p[2];
    OK(pipe(p));
    OK(close(p[0]));
    pid_t c = CHILD(if (write(p[1], "x", 1)) _exit(5));
    REAP_SIG(c, SIGPIPE);
    signal(SIGPIPE, SIG_IGN);
    ERR(EPIPE, write(p[1], "x", 1));
}
CASE(pipe_blocks_and_wakes) {
    int p[2];
    OK(pipe(p));
    int64_t t = now_ns();
    pid_t c = CHILD({
        nap_ms(60);
        OK(write(p[1], "x", 1));
    });
    char b;
    EQ(OK(read(p[0], &b, 1)), 1);
    TRUE(now_ns() - t > 50000000);
    REAP(c, 0);
}
CASE(pipe_big_transfer) {
    int p[2];
    static char b[30000];
    OK(pipe(p));
    pid_t c = CHILD({
        OK(close(p[0]));
        for (int i = 0; i < 200; i++) {
            memset(b, i, sizeof b);
            EQ(OK(write(p[1], b, sizeof b)), sizeof b);
        }
    });
    OK(close(p[1]));
    long total = 0;
    for (ssize_t n; (n = OK(read(p[0], b, sizeof b))) > 0; total += n)
        for (ssize_t i = 0; i < n; i++) EQ((unsigned char)b[i], (total + i) / 30000 & 255);
    EQ(total, 6000000);
    REAP(c, 0);
}
CASE(pipe_atomic_writes) {
    int p[2];
    OK(pipe(p));
    pid_t kids[4];
    for (int k = 0; k < 4; k++)
        kids[k] = CHILD({
            char b[1000];
            memset(b, 'a' + k, sizeof b);
            for (int i = 0; i < 100; i++) EQ(OK(write(p[1], b, sizeof b)), 1000);
        });
    OK(close(p[1]));
    char b[1000];
    int n = 0;
    for (;;) {
        int got = 0;
        while (got < 1000) {
            ssize_t r = OK(read(p[0], b + got, 1000 - got));
            if (r == 0) break;
            got += r;
        }
        if (got == 0) break;
        for (int i = 1; i < 1000; i++) EQ(b[i], b[0]);
        n++;
    }
    EQ(n, 400);
    for (int k = 0; k < 4; k++) REAP(kids[k], 0);
}
CASE(pipe_packets) {
    int p[2];
    char b[16];
    OK(pipe2(p, O_DIRECT));
    OK(write(p[1], "abc", 3));
    OK(write(p[1], "de", 2));
    EQ(OK(read(p[0], b, 16)), 3);
    EQ(OK(read(p[0], b, 1)), 1);
    OK(close(p[1]));
    EQ(OK(read(p[0], b, 16)), 0);
}
CASE(fifo_open_rules) {
    OK(mkfifo("p", 0600));
    ERR(ENXIO, open("p", O_WRONLY | O_NONBLOCK));
    int r = OK(open("p", O_RDONLY | O_NONBLOCK));
    char c;
    EQ(OK(read(r, &c, 1)), 0);
    int w = OK(open("p", O_WRONLY | O_NONBLOCK));
    ERR(EAGAIN, read(r, &c, 1));
    OK(write(w, "x", 1));
    EQ(OK(read(r, &c, 1)), 1);
    OK(close(w));
    EQ(OK(read(r, &c, 1)), 0);
    int rw = OK(open("p", O_RDWR));
    OK(write(rw, "y", 1));
    EQ(OK(read(rw, &c, 1)), 1);
    ERR(ESPIPE, lseek(rw, 0, SEEK_SET));
}
CASE(fifo_open_waits) {
    OK(mkfifo("p", 0600));
    pid_t c = CHILD({
        int w = OK(open("p", O_WRONLY));
        OK(write(w, "hi", 2));
    });
    int r = OK(open("p", O_RDONLY));
    char b[4];
    EQ(OK(read(r, b, 4)), 2);
    EQ(OK(read(r, b, 4)), 0);
    REAP(c, 0);
}
CASE(splice_file_to_pipe) {
    int f = put("f", "0123456789"), p[2];
    char b[16];
    OK(pipe(p));
    loff_t off = 2;
    EQ(OK(splice(f, &off, p[1], 0, 5, 0)), 5);
    EQ(off, 7);
    EQ(OK(read(p[0], b, 16)), 5);
    TRUE(!memcmp(b, "23456", 5));
    OK(write(p[1], "xyz", 3));
    int g = OK(open("g", O_CREAT | O_RDWR, 0600));
    EQ(OK(splice(p[0], 0, g, 0, 10, 0)), 3);
    STREQ(get("g"), "xyz");
    ERR(EINVAL, splice(f, 0, g, 0, 5, 0));
    ERR(ESPIPE, splice(p[0], &off, g, 0, 5, 0));
    ERR(EBADF, splice(99, 0, p[1], 0, 5, 0));
    EQ(OK(splice(f, 0, p[1], 0, 0, 0)), 0);
    ERR(EINVAL, splice(f, 0, p[1], 0, 5, 0x100));
}
CASE(tee_duplicates) {
    int p[2], q[2];
    char b[16];
    OK(pipe(p));
    OK(pipe(q));
    OK(write(p[1], "hello", 5));
    EQ(OK(tee(p[0], q[1], 3, 0)), 3);
    EQ(OK(read(q[0], b, 16)), 3);
    EQ(OK(read(p[0], b, 16)), 5);
    ERR(EINVAL, tee(p[0], p[1], 3, 0));
    ERR(EAGAIN, tee(p[0], q[1], 3, SPLICE_F_NONBLOCK));
    int f = put("f", "x");
    ERR(EINVAL, tee(f, q[1], 3, 0));
}
CASE(vmsplice_copies) {
    int p[2];
    char b[8], text[] = "mapped";
    struct iovec v = {text, 6};
    OK(pipe(p));
    EQ(OK(vmsplice(p[1], &v, 1, 0)), 6);
    EQ(OK(read(p[0], b, 8)), 6);
    TRUE(!memcmp(b, "mapped", 6));
    ERR(EBADF, vmsplice(99, &v, 1, 0));
}
CASE(sendfile_family) {
    int f = put("f", "0123456789"), p[2];
    char b[16];
    int g = OK(open("g", O_CREAT | O_RDWR, 0600));
    OK(lseek(f, 0, SEEK_SET));
    EQ(OK(sendfile(g, f, 0, 4)), 4);
    EQ(OK(lseek(f, 0, SEEK_CUR)), 4);
    off_t off = 8;
    EQ(OK(sendfile(g, f, &off, 100)), 2);
    EQ(off, 10);
    EQ(OK(lseek(f, 0, SEEK_CUR)), 4);
    STREQ(get("g"), "012389");
    OK(pipe(p));
    off = 0;
    EQ(OK(sendfile(p[1], f, &off, 3)), 3);
    EQ(OK(read(p[0], b, 16)), 3);
    ERR(EINVAL, sendfile(g, p[0], 0, 3));
    ERR(EBADF, sendfile(g, 99, 0, 3));
    int r = OK(open("g", O_RDONLY)), a = OK(open("g", O_WRONLY | O_APPEND));
    ERR(EBADF, sendfile(r, f, 0, 3));
    ERR(EINVAL, sendfile(a, f, 0, 3));
    off = -1;
    ERR(EINVAL, sendfile(g, f, &off, 3));
}
CASE(copy_file_range_) {
    int f = put("f", "0123456789");
    int g = OK(open("g", O_CREAT | O_RDWR, 0600));
    loff_t in = 3, out = 1;
    EQ(OK(copy_file_range(f, &in, g, &out, 4, 0)), 4);
    EQ(in, 7);
    EQ(out, 5);
    char b[8];
    EQ(OK(pread(g, b, 8, 0)), 5);
    TRUE(!memcmp(b, "\0003456", 5));
    EQ(OK(copy_file_range(f, &(loff_t){100}, g, 0, 4, 0)), 0);
    ERR(EINVAL, copy_file_range(f, 0, g, 0, 4, 1));
    int a = OK(open("g", O_WRONLY | O_APPEND)), r = OK(open("g", O_RDONLY));
    ERR(EBADF, copy_file_range(f, 0, a, 0, 4, 0));
    ERR(EBADF, copy_file_range(f, 0, r, 0, 4, 0));
    int p[2];
    OK(pipe(p));
    ERR(EINVAL, copy_file_range(p[0], 0, g, 0, 4, 0));
    ERR(EINVAL, copy_file_range(f, &(loff_t){0}, f, &(loff_t){2}, 4, 0));
    int d = OK(open(".", O_RDONLY));
    ERR(EISDIR, copy_file_range(d, 0, g, 0, 4, 0));
}
CASE(vmsplice_waits_for_room_only) {
    int p[2];
    OK(pipe(p));
    int room = OK(fcntl(p[1], F_GETPIPE_SZ));
    struct iovec v = {mmap(0, 2 * room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 2 * room};
    EQ(vmsplice(p[1], &v, 1, 0), room);
    ERR(EAGAIN, vmsplice(p[1], &v, 1, SPLICE_F_NONBLOCK));
}
CASE(a_sealed_file_is_not_truncated_by_opening) {
    int fd = OK(memfd_create("m", MFD_ALLOW_SEALING));
    OK(ftruncate(fd, 100));
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ERR(EPERM, open(path, O_RDWR | O_TRUNC));
    OK(open(path, O_RDWR));
}
CASE(zeroes_can_be_mapped) {
    int fd = OK(open("/dev/zero", O_RDWR));
    char *a = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *b = mmap(0, 8192, PROT_READ, MAP_PRIVATE, fd, 4096);
    TRUE(a != MAP_FAILED && b != MAP_FAILED);
    EQ(a[8191], 0);
    pid_t child = CHILD(a[5] = 7);
    REAP(child, 0);
    EQ(a[5], 7);
    EQ(b[5], 0);
    ERR(ENODEV, mmap(0, 4096, PROT_READ, MAP_SHARED, OK(open("/dev/null", O_RDWR)), 0));
    int entropy = -1;
    OK(ioctl(OK(open("/dev/random", O_RDONLY)), 0x80045200, &entropy));
    TRUE(entropy >= 0);
}
CASE(splice_into_what_takes_none) {
    int p[2], q[2];
    OK(pipe2(p, O_NONBLOCK));
    int epoll = (int)OK(epoll_create1(0)), event = (int)OK(eventfd(0, 0)), notify = (int)OK(inotify_init());
    int timer = (int)OK(timerfd_create(CLOCK_MONOTONIC, 0)), self = (int)OK(syscall(SYS_pidfd_open, getpid(), 0));
    sigset_t set;
    sigemptyset(&set);
    int signals = (int)OK(signalfd(-1, &set, 0));
    int all[] = {epoll, event, timer, self, signals};
    for (int written = 0; written < 2; written++) {
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) ERR(EINVAL, splice(p[0], 0, all[i], 0, 16, 0));
        /* It is not open for writing. */
        ERR(EBADF, splice(p[0], 0, notify, 0, 16, 0));
        OK(write(p[1], "text", 4));
    }
    /* An ordinary file, while nothing is there. */
    OK(pipe2(q, O_NONBLOCK));
    int fd = put("f", "");
    ERR(EAGAIN, splice(q[0], 0, fd, 0, 16, 0));
}
CASE(splice_from_what_gives_none) {
    int p[2];
    OK(pipe2(p, O_NONBLOCK));
    int event = (int)OK(eventfd(1, 0)), notify = (int)OK(inotify_init()), epoll = (int)OK(epoll_create1(0));
    int timer = (int)OK(timerfd_create(CLOCK_MONOTONIC, 0)), self = (int)OK(syscall(SYS_pidfd_open, getpid(), 0));
    sigset_t set;
    sigemptyset(&set);
    int signals = (int)OK(signalfd(-1, &set, 0)), root = (int)OK(open("/", O_RDONLY));
    int all[] = {event, notify, epoll, timer, self, signals, root};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        ERR(EINVAL, splice(all[i], 0, p[1], 0, 16, 0));
        ERR(EINVAL, tee(all[i], p[1], 16, 0));
    }
    ERR(EBADF, splice(OK(open("/", O_PATH)), 0, p[1], 0, 16, 0));
}
CASE(sync_file_range_is_for_files) {
    int p[2];
    OK(pipe(p));
    ERR(ESPIPE, sync_file_range(p[0], 0, 1, 0));
    ERR(ESPIPE, sync_file_range(OK(open("/dev/null", O_RDWR)), 0, 1, 0));
    ERR(ESPIPE, sync_file_range(OK(eventfd(0, 0)), 0, 1, 0));
    ERR(EINVAL, sync_file_range(p[0], 0, 1, 8));
    OK(sync_file_range(put("f", "x"), 0, 1, SYNC_FILE_RANGE_WRITE));
    OK(sync_file_range(OK(memfd_create("m", 0)), 0, 1, 0));
    OK(sync_file_range(OK(open(".", O_RDONLY)), 0, 1, 0));
}
