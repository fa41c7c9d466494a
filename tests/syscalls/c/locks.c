/* POSIX record locks, open file description locks, flock, leases' errors. */
#include "t.h"
#include <sys/file.h>

static int lock(int fd, int cmd, int type, off_t start, off_t len) {
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    return fcntl(fd, cmd, &l);
}

CASE(record_locks_conflict) {
    int fd = put("f", "0123456789");
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 5));
    pid_t p = CHILD({
        int c = OK(open("f", O_RDWR));
        ERR(EAGAIN, lock(c, F_SETLK, F_WRLCK, 4, 1));
        ERR(EAGAIN, lock(c, F_SETLK, F_RDLCK, 0, 1));
        OK(lock(c, F_SETLK, F_WRLCK, 5, 5));
        struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 1};
        OK(fcntl(c, F_GETLK, &l));
        EQ(l.l_type, F_WRLCK);
        EQ(l.l_start, 0);
        EQ(l.l_len, 5);
        EQ(l.l_pid, getppid());
    });
    REAP(p, 0);
    OK(lock(fd, F_SETLK, F_WRLCK, 5, 5));
}
CASE(record_locks_shared) {
    int fd = put("f", "0123456789");
    OK(lock(fd, F_SETLK, F_RDLCK, 0, 0));
    pid_t p = CHILD({
        OK(lock(fd, F_SETLK, F_RDLCK, 0, 0));
        ERR(EAGAIN, lock(fd, F_SETLK, F_WRLCK, 0, 1));
    });
    REAP(p, 0);
}
CASE(record_lock_split_and_close) {
    int fd = put("f", "0123456789");
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    OK(lock(fd, F_SETLK, F_UNLCK, 3, 2));
    pid_t p = CHILD({
        OK(lock(fd, F_SETLK, F_WRLCK, 3, 2));
        ERR(EAGAIN, lock(fd, F_SETLK, F_WRLCK, 2, 1));
        ERR(EAGAIN, lock(fd, F_SETLK, F_WRLCK, 5, 1));
    });
    REAP(p, 0);
    OK(close(OK(open("f", O_RDONLY))));
    p = CHILD(OK(lock(fd, F_SETLK, F_WRLCK, 0, 0)));
    REAP(p, 0);
}
CASE(record_lock_waits) {
    int fd = put("f", "0");
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 1));
    pid_t p = CHILD({
        OK(lock(fd, F_SETLKW, F_WRLCK, 0, 1));
        OK(write(fd, "c", 1));
    });
    nap_ms(50);
    OK(write(fd, "p", 1));
    OK(lock(fd, F_SETLK, F_UNLCK, 0, 1));
    REAP(p, 0);
    STREQ(get("f"), "0pc");
}
CASE(record_lock_deadlock) {
    int fd = put("f", "01");
    int s[2];
    OK(pipe(s));
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 1));
    pid_t p = CHILD({
        OK(lock(fd, F_SETLK, F_WRLCK, 1, 1));
        OK(write(s[1], "x", 1));
        OK(lock(fd, F_SETLKW, F_WRLCK, 0, 1));
    });
    char c;
    OK(read(s[0], &c, 1));
    nap_ms(50);
    ERR(EDEADLK, lock(fd, F_SETLKW, F_WRLCK, 1, 1));
    OK(lock(fd, F_SETLK, F_UNLCK, 0, 1));
    REAP(p, 0);
}
CASE(record_lock_interrupted) {
    int fd = put("f", "0");
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 1));
    pid_t p = CHILD({
        struct sigaction sa = {.sa_handler = (void (*)(int))_exit};
        (void)sa;
        OK(lock(fd, F_SETLKW, F_WRLCK, 0, 1));
    });
    nap_ms(30);
    OK(kill(p, SIGTERM));
    REAP_SIG(p, SIGTERM);
}
CASE(record_lock_errors) {
    int fd = put("f", "0"), r = OK(open("f", O_RDONLY)), p[2];
    ERR(EBADF, lock(r, F_SETLK, F_WRLCK, 0, 1));
    ERR(EINVAL, lock(fd, F_SETLK, 99, 0, 1));
    ERR(EINVAL, lock(fd, F_SETLK, F_WRLCK, -1, 1));
    ERR(EBADF, lock(99, F_SETLK, F_WRLCK, 0, 1));
    ERR(EFAULT, fcntl(fd, F_SETLK, BAD_PTR));
    OK(pipe(p));
    struct flock l = {.l_type = F_UNLCK};
    ERR(EINVAL, fcntl(fd, F_GETLK, &l));
}
CASE(ofd_locks) {
    int a = put("f", "0123"), b = OK(open("f", O_RDWR));
    OK(lock(a, F_OFD_SETLK, F_WRLCK, 0, 2));
    ERR(EAGAIN, lock(b, F_OFD_SETLK, F_WRLCK, 1, 1));
    OK(lock(b, F_OFD_SETLK, F_WRLCK, 2, 2));
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    OK(fcntl(b, F_OFD_GETLK, &l));
    EQ(l.l_pid, -1);
    int d = OK(dup(a));
    OK(close(a));
    ERR(EAGAIN, lock(b, F_OFD_SETLK, F_WRLCK, 0, 1));
    OK(close(d));
    OK(lock(b, F_OFD_SETLK, F_WRLCK, 0, 1));
    struct flock bad = {.l_type = F_WRLCK, .l_pid = 5};
    ERR(EINVAL, fcntl(b, F_OFD_SETLK, &bad));
}
CASE(flock_family) {
    int a = put("f", ""), b = OK(open("f", O_RDWR));
    OK(flock(a, LOCK_EX));
    ERR(EWOULDBLOCK, flock(b, LOCK_SH | LOCK_NB));
    OK(flock(a, LOCK_SH));
    OK(flock(b, LOCK_SH | LOCK_NB));
    ERR(EWOULDBLOCK, flock(a, LOCK_EX | LOCK_NB));
    OK(flock(b, LOCK_UN));
    OK(flock(a, LOCK_EX | LOCK_NB));
    int d = OK(dup(a));
    OK(close(a));
    ERR(EWOULDBLOCK, flock(b, LOCK_EX | LOCK_NB));
    OK(flock(d, LOCK_UN));
    OK(flock(b, LOCK_EX | LOCK_NB));
    ERR(EINVAL, flock(b, 3));
    ERR(EBADF, flock(99, LOCK_SH));
}
CASE(flock_across_fork) {
    int a = put("f", "");
    OK(flock(a, LOCK_EX));
    pid_t p = CHILD({
        int b = OK(open("f", O_RDWR));
        ERR(EWOULDBLOCK, flock(b, LOCK_SH | LOCK_NB));
        OK(flock(a, LOCK_UN));
        OK(flock(b, LOCK_SH | LOCK_NB));
    });
    REAP(p, 0);
    OK(flock(a, LOCK_EX | LOCK_NB));
}
CASE(lock_released_at_exit) {
    int fd = put("f", "0");
    pid_t p = CHILD(OK(lock(fd, F_SETLK, F_WRLCK, 0, 0)));
    REAP(p, 0);
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
}
