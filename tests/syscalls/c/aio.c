/* Asynchronous requests: io_setup, io_submit, io_getevents, io_pgetevents, io_cancel, io_destroy. */
#include "t.h"
#include <linux/aio_abi.h>
#include <sys/eventfd.h>

static long setup(unsigned n, aio_context_t *c) { return syscall(SYS_io_setup, n, c); }
static long destroy(aio_context_t c) { return syscall(SYS_io_destroy, c); }
static long submit(aio_context_t c, long n, struct iocb **v) { return syscall(SYS_io_submit, c, n, v); }
static long submit1(aio_context_t c, struct iocb *one) { return submit(c, 1, &one); }
static long cancel(aio_context_t c, struct iocb *one) {
    struct io_event e;
    return syscall(SYS_io_cancel, c, one, &e);
}
static long events(aio_context_t c, long least, long most, struct io_event *e, int ms) {
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000l};
    return syscall(SYS_io_getevents, c, least, most, e, ms < 0 ? 0 : &ts);
}
static aio_context_t fresh(unsigned n) {
    aio_context_t c = 0;
    if (setup(n, &c)) {
        if (errno == ENOSYS) SKIP("no asynchronous requests");
        t_fail(__LINE__, "io_setup: %s", t_err(errno));
    }
    return c;
}
static struct iocb cb(int op, int fd, const void *buf, size_t n, long long at) {
    struct iocb b;
    memset(&b, 0, sizeof b);
    b.aio_lio_opcode = op, b.aio_fildes = fd, b.aio_buf = (uintptr_t)buf, b.aio_nbytes = n, b.aio_offset = at;
    b.aio_key = 77;
    return b;
}
/* One request and the result of its event. */
static long long done(aio_context_t c, struct iocb b) {
    static unsigned long long data;
    struct io_event e = {0};
    b.aio_data = ++data;
    if (submit1(c, &b) != 1) return -10000 - errno;
    EQ(b.aio_key, 0);
    EQ(OK(events(c, 1, 1, &e, 5000)), 1);
    EQ(e.data, data);
    EQ(e.obj, (uintptr_t)&b);
    EQ(e.res2, 0);
    return e.res;
}
static void on_alarm(int sig) { (void)sig; }
static void alarm_in(int ms) {
    struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval it = {{0, 0}, {0, ms * 1000}};
    OK(sigaction(SIGALRM, &sa, 0));
    OK(setitimer(ITIMER_REAL, &it, 0));
}

CASE(contexts_are_made_and_ended) {
    aio_context_t c = fresh(10), d = 0, old = c;
    ERR(EINVAL, setup(10, &c));
    ERR(EINVAL, setup(0, &d));
    ERR(EINVAL, setup(-1, &d));
    ERR(EFAULT, setup(1, BAD_PTR));
    OK(setup(1, &d));
    TRUE(c && d && c != d);
    OK(destroy(c));
    ERR(EINVAL, destroy(c));
    ERR(EINVAL, destroy(0));
    ERR(EINVAL, destroy(~0ul));
    ERR(EINVAL, events(old, 0, 0, 0, 0));
    ERR(EINVAL, submit(old, 0, 0));
    EQ(OK(submit(d, 0, 0)), 0);
    OK(destroy(d));
}
CASE(a_context_shows_in_maps) {
    aio_context_t c = fresh(10);
    char line[64];
    snprintf(line, sizeof line, "%lx-", (unsigned long)c);
    const char *at = strstr(get("/proc/self/maps"), line);
    TRUE(at);
    TRUE(strstr(at, "rw-s"));
    char *end = strchr(at, '\n');
    *end = 0;
    TRUE(strstr(at, "/[aio] (deleted)"));
    OK(destroy(c));
    TRUE(!strstr(get("/proc/self/maps"), "/[aio] (deleted)"));
}
CASE(sysctls_tell_how_many) {
    aio_context_t c = fresh(1000);
    long most = atol(get("/proc/sys/fs/aio-max-nr")), now = atol(get("/proc/sys/fs/aio-nr"));
    TRUE(most >= 1000);
    TRUE(now >= 1000 && now <= most);
    aio_context_t d = 0;
    ERR(EAGAIN, setup(most + 1, &d));
    EQ(d, 0);
    OK(destroy(c));
}
CASE(files_are_read_and_written) {
    aio_context_t c = fresh(8);
    int fd = (int)OK(open("f", O_RDWR | O_CREAT, 0644));
    char buf[32] = {0};
    EQ(done(c, cb(IOCB_CMD_PWRITE, fd, "hello world", 11, 5)), 11);
    EQ(done(c, cb(IOCB_CMD_PREAD, fd, buf, 32, 0)), 16);
    TRUE(!memcmp(buf, "\0\0\0\0\0hello world", 16));
    EQ(done(c, cb(IOCB_CMD_PREAD, fd, buf, 32, 16)), 0);
    struct iovec v[2] = {{"ab", 2}, {"cde", 3}};
    EQ(done(c, cb(IOCB_CMD_PWRITEV, fd, v, 2, 0)), 5);
    char a[3] = {0}, b[9] = {0};
    struct iovec r[2] = {{a, 2}, {b, 8}};
    EQ(done(c, cb(IOCB_CMD_PREADV, fd, r, 2, 0)), 10);
    STREQ(a, "ab");
    STREQ(b, "cdehello");
    EQ(OK(lseek(fd, 0, SEEK_CUR)), 0);
    EQ(done(c, cb(IOCB_CMD_FSYNC, fd, 0, 0, 0)), 0);
    EQ(done(c, cb(IOCB_CMD_FDSYNC, fd, 0, 0, 0)), 0);
    EQ(done(c, cb(IOCB_CMD_PREAD, fd, BAD_PTR, 4, 0)), -EFAULT);
    struct iocb append = cb(IOCB_CMD_PWRITE, fd, "!", 1, 0);
    append.aio_rw_flags = RWF_APPEND;
    EQ(done(c, append), 1);
    EQ(OK(lseek(fd, 0, SEEK_END)), 17);
}
CASE(requests_are_checked) {
    aio_context_t c = fresh(8);
    int fd = put("f", "text"), ro = (int)OK(open("f", O_RDONLY)), wo = (int)OK(open("f", O_WRONLY));
    int dir = (int)OK(open(".", O_RDONLY)), path = (int)OK(open("f", O_PATH));
    char buf[8];
    struct iocb b = cb(IOCB_CMD_PREAD, fd, buf, 4, 0), *none[1] = {0}, *bad[2];
    ERR(EINVAL, submit(c, -1, none));
    ERR(EFAULT, submit(c, 1, BAD_PTR));
    ERR(EFAULT, submit(c, 1, none));
    ERR(EINVAL, submit(0, 1, none));
#define REFUSED(e, ...)                                                                                 \
    do {                                                                                                \
        b = cb(IOCB_CMD_PREAD, fd, buf, 4, 0);                                                          \
        __VA_ARGS__;                                                                                    \
        ERR(e, submit1(c, &b));                                                                         \
    } while (0)
    REFUSED(EBADF, b.aio_fildes = -1);
    REFUSED(EBADF, b.aio_fildes = path);
    REFUSED(EBADF, b.aio_fildes = wo);
    REFUSED(EBADF, b.aio_fildes = ro, b.aio_lio_opcode = IOCB_CMD_PWRITE);
    REFUSED(EINVAL, b.aio_fildes = dir);
    REFUSED(EINVAL, b.aio_reserved2 = 1);
    REFUSED(EINVAL, b.aio_nbytes = 1ull << 63);
    REFUSED(EINVAL, b.aio_offset = -1);
    REFUSED(EINVAL, b.aio_lio_opcode = IOCB_CMD_NOOP);
    REFUSED(EINVAL, b.aio_lio_opcode = 99);
    REFUSED(EOPNOTSUPP, b.aio_rw_flags = 1 << 30);
    REFUSED(EFAULT, b.aio_buf = ~0ull - 1);
    REFUSED(EINVAL, b.aio_lio_opcode = IOCB_CMD_PREADV, b.aio_nbytes = 1025);
    REFUSED(EFAULT, b.aio_lio_opcode = IOCB_CMD_PREADV, b.aio_buf = 16, b.aio_nbytes = 1);
    REFUSED(EINVAL, b.aio_lio_opcode = IOCB_CMD_FSYNC);
    REFUSED(EBADF, b.aio_flags = IOCB_FLAG_RESFD, b.aio_resfd = -1);
    REFUSED(EINVAL, b.aio_flags = IOCB_FLAG_RESFD, b.aio_resfd = fd);
    REFUSED(EINVAL, b.aio_lio_opcode = IOCB_CMD_POLL, b.aio_buf = POLLIN);
    REFUSED(EINVAL, b.aio_lio_opcode = IOCB_CMD_POLL, b.aio_buf = 0x10001, b.aio_nbytes = 0);
    // What comes before the first that is refused is done.
    b = cb(IOCB_CMD_PREAD, fd, buf, 4, 0);
    bad[0] = &b, bad[1] = 0;
    EQ(OK(submit(c, 2, bad)), 1);
    struct io_event e[2];
    EQ(OK(events(c, 1, 2, e, 100)), 1);
    EQ(e[0].res, 4);
}
CASE(places_are_bounded) {
    aio_context_t c = fresh(4);
    int fd = put("f", "text");
    char buf[4];
    struct iocb b = cb(IOCB_CMD_PREAD, fd, buf, 4, 0);
    int n = 0;
    while (n < 100000 && submit1(c, &b) == 1) n++;
    EQ(errno, EAGAIN);
    TRUE(n >= 4 && n < 100000);
    struct io_event e[4];
    EQ(OK(events(c, 4, 4, e, 0)), 4);
    int left = n - 4, r;
    while ((r = OK(events(c, 0, 4, e, 0))) > 0) left -= r;
    EQ(left, 0);
    EQ(OK(submit1(c, &b)), 1);
}
CASE(waits_have_rules) {
    aio_context_t c = fresh(4);
    struct io_event e[4];
    ERR(EINVAL, events(c, -1, 4, e, 0));
    ERR(EINVAL, events(c, 2, 1, e, 0));
    ERR(EINVAL, events(c, 0, -1, e, 0));
    ERR(EFAULT, syscall(SYS_io_getevents, c, 1, 1, e, BAD_PTR));
    EQ(OK(events(c, 0, 4, e, -1)), 0);
    EQ(OK(events(c, 1, 4, e, 0)), 0);
    int64_t t = now_ms();
    EQ(OK(events(c, 1, 4, e, 50)), 0);
    TRUE(now_ms() - t >= 49);
    int fd = put("f", "text");
    char buf[4];
    struct iocb b = cb(IOCB_CMD_PREAD, fd, buf, 4, 0);
    OK(submit1(c, &b));
    // Fewer than are waited for come with the end of the time.
    EQ(OK(events(c, 2, 4, e, 30)), 1);
    OK(submit1(c, &b));
    ERR(EFAULT, events(c, 1, 1, BAD_PTR, 0));
    EQ(OK(events(c, 1, 1, e, 0)), 1);
}
CASE(signals_interrupt_waits) {
    aio_context_t c = fresh(4);
    struct io_event e[4];
    alarm_in(50);
    ERR(EINTR, events(c, 1, 4, e, -1));
    int fd = put("f", "text");
    char buf[4];
    struct iocb b = cb(IOCB_CMD_PREAD, fd, buf, 4, 0);
    OK(submit1(c, &b));
    alarm_in(50);
    EQ(OK(events(c, 2, 4, e, -1)), 1);
    sigset_t all, before;
    sigfillset(&all);
    struct { const void *mask; size_t size; } set = {&all, 8};
    struct timespec ts = {0, 100000000};
    alarm_in(30);
    EQ(OK(syscall(SYS_io_pgetevents, c, 1, 4, e, &ts, &set)), 0);
    OK(sigprocmask(SIG_BLOCK, 0, &before));
    EQ(sigismember(&before, SIGUSR1), 0);
    set.size = 7;
    ERR(EINVAL, syscall(SYS_io_pgetevents, c, 1, 4, e, &ts, &set));
    ERR(EFAULT, syscall(SYS_io_pgetevents, c, 1, 4, e, &ts, BAD_PTR));
    sigemptyset(&all);
    set.size = 8;
    alarm_in(30);
    ERR(EINTR, syscall(SYS_io_pgetevents, c, 1, 4, e, 0, &set));
}
CASE(eventfds_count_events) {
    aio_context_t c = fresh(4);
    int efd = (int)OK(eventfd(0, EFD_NONBLOCK)), fd = put("f", "text");
    char buf[4];
    struct iocb b = cb(IOCB_CMD_PREAD, fd, buf, 4, 0), *two[2] = {&b, &b};
    b.aio_flags = IOCB_FLAG_RESFD, b.aio_resfd = efd;
    EQ(OK(submit(c, 2, two)), 2);
    struct pollfd p = {efd, POLLIN, 0};
    EQ(OK(poll(&p, 1, 1000)), 1);
    struct io_event e[2];
    EQ(OK(events(c, 2, 2, e, 1000)), 2);
    uint64_t n = 0;
    EQ(OK(read(efd, &n, 8)), 8);
    EQ(n, 2);
}
CASE(readiness_is_waited_for) {
    aio_context_t c = fresh(4);
    int p[2];
    OK(pipe(p));
    struct iocb b = cb(IOCB_CMD_POLL, p[0], (void *)POLLIN, 0, 0);
    b.aio_data = 7;
    struct io_event e;
    EQ(OK(submit1(c, &b)), 1);
    EQ(OK(events(c, 1, 1, &e, 20)), 0);
    EQ(OK(write(p[1], "x", 1)), 1);
    EQ(OK(events(c, 1, 1, &e, 5000)), 1);
    EQ(e.data, 7);
    // Others of what is ready may be told, too.
    TRUE(e.res & POLLIN);
    EQ(done(c, b), POLLIN);
    EQ(done(c, cb(IOCB_CMD_POLL, p[1], (void *)(POLLOUT | POLLIN), 0, 0)), POLLOUT);
    EQ(OK(read(p[0], &e, 1)), 1);
    EQ(OK(submit1(c, &b)), 1);
    OK(close(p[1]));
    EQ(OK(events(c, 1, 1, &e, 5000)), 1);
    TRUE(e.res & POLLHUP);
    int fd = put("f", "text");
    EQ(done(c, cb(IOCB_CMD_POLL, fd, (void *)POLLIN, 0, 0)), POLLIN);
    b = cb(IOCB_CMD_POLL, fd, (void *)POLLPRI, 0, 0);
    ERR(EINVAL, submit1(c, &b));
}
CASE(waits_for_readiness_are_cancelled) {
    aio_context_t c = fresh(4);
    int p[2];
    OK(pipe(p));
    struct iocb b = cb(IOCB_CMD_POLL, p[0], (void *)POLLIN, 0, 0), other = b;
    struct io_event e;
    ERR(EFAULT, cancel(c, BAD_PTR));
    ERR(EINVAL, cancel(c, &b));
    other.aio_key = 0;
    OK(submit1(c, &b));
    ERR(EINVAL, cancel(c, &other));
    ERR(EINVAL, cancel(0, &b));
    ERR(EINPROGRESS, cancel(c, &b));
    EQ(OK(events(c, 1, 1, &e, 5000)), 1);
    EQ(e.obj, (uintptr_t)&b);
    EQ(e.res, 0);
    ERR(EINVAL, cancel(c, &b));
}
CASE(streams_are_read_and_written) {
    aio_context_t c = fresh(4);
    int p[2], s[2];
    char buf[8] = {0};
    OK(pipe(p));
    EQ(done(c, cb(IOCB_CMD_PWRITE, p[1], "abc", 3, 0)), 3);
    EQ(done(c, cb(IOCB_CMD_PREAD, p[0], buf, 8, 0)), 3);
    STREQ(buf, "abc");
    OK(fcntl(p[0], F_SETFL, O_NONBLOCK));
    EQ(done(c, cb(IOCB_CMD_PREAD, p[0], buf, 8, 0)), -EAGAIN);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    EQ(done(c, cb(IOCB_CMD_PWRITE, s[1], "defg", 4, 0)), 4);
    EQ(done(c, cb(IOCB_CMD_PREAD, s[0], buf, 8, 0)), 4);
    TRUE(!memcmp(buf, "defg", 4));
    signal(SIGPIPE, SIG_IGN);
    OK(close(p[0]));
    EQ(done(c, cb(IOCB_CMD_PWRITE, p[1], "abc", 3, 0)), -EPIPE);
}
static aio_context_t shared_context;
static int reader_fd;
static char reader_buf[8];
static struct iocb reader;
static void *read_later(void *arg) {
    reader = cb(IOCB_CMD_PREAD, reader_fd, reader_buf, 8, 0);
    return (void *)(OK(submit1(shared_context, &reader)) + (char *)arg);
}
CASE(reads_of_empty_pipes_complete_later) {
    int p[2];
    OK(pipe(p));
    shared_context = fresh(4), reader_fd = p[0];
    pthread_t t;
    EQ(pthread_create(&t, 0, read_later, 0), 0);
    struct io_event e;
    EQ(OK(events(shared_context, 1, 1, &e, 30)), 0);
    EQ(OK(write(p[1], "late", 4)), 4);
    EQ(OK(events(shared_context, 1, 1, &e, 5000)), 1);
    EQ(e.res, 4);
    STREQ(reader_buf, "late");
    pthread_join(t, 0);
}
CASE(contexts_end_with_what_waits) {
    int p[2];
    OK(pipe(p));
    for (int i = 0; i < 50; i++) {
        aio_context_t c = fresh(4);
        struct iocb b = cb(IOCB_CMD_POLL, p[0], (void *)POLLIN, 0, 0);
        OK(submit1(c, &b));
        OK(destroy(c));
    }
    pid_t pid = CHILD({
        aio_context_t c = fresh(4);
        static struct iocb b;
        b = cb(IOCB_CMD_POLL, p[0], (void *)POLLIN, 0, 0);
        OK(submit1(c, &b));
    });
    REAP(pid, 0);
    pid = CHILD({
        aio_context_t c = fresh(4);
        static struct iocb b;
        b = cb(IOCB_CMD_POLL, p[0], (void *)POLLIN, 0, 0);
        OK(submit1(c, &b));
        execl("/bin/true", "true", (char *)0);
    });
    REAP(pid, 0);
    EQ(OK(write(p[1], "x", 1)), 1);
}
static void *wait_long(void *arg) {
    struct io_event e;
    long r = events(shared_context, 1, 1, &e, 5000);
    *(int *)arg = r == -1 ? errno : 0;
    return 0;
}
CASE(waiters_learn_of_the_end) {
    shared_context = fresh(4);
    pthread_t t;
    int why = -1;
    EQ(pthread_create(&t, 0, wait_long, &why), 0);
    nap_ms(50);
    OK(destroy(shared_context));
    pthread_join(t, 0);
    EQ(why, EINVAL);
}
CASE(children_do_not_inherit_contexts) {
    aio_context_t c = fresh(4);
    pid_t pid = CHILD({
        struct io_event e;
        ERR(EINVAL, events(c, 0, 1, &e, 0));
        ERR(EINVAL, destroy(c));
        aio_context_t own = fresh(4);
        OK(destroy(own));
    });
    REAP(pid, 0);
    struct io_event e;
    EQ(OK(events(c, 0, 1, &e, 0)), 0);
}
CASE(an_unmapped_context_is_unknown) {
    aio_context_t c = fresh(4), d = 0;
    OK(munmap((void *)c, 4096));
    ERR(EINVAL, destroy(c));
    OK(setup(4, &d));
    OK(destroy(d));
}
