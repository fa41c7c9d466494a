/* poll, ppoll, select, pselect, epoll, eventfd, timerfd, signalfd, inotify. */
#include "t.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static void nothing(int s) { (void)s; }

CASE(poll_basic) {
    int p[2];
    OK(pipe(p));
    struct pollfd v[3] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}, {-1, POLLIN, 7}};
    EQ(OK(poll(v, 3, 0)), 1);
    EQ(v[0].revents, 0);
    EQ(v[1].revents, POLLOUT);
    EQ(v[2].revents, 0);
    OK(write(p[1], "x", 1));
    EQ(OK(poll(v, 3, 1000)), 2);
    EQ(v[0].revents, POLLIN);
    OK(close(p[1]));
    v[1].fd = 99;
    EQ(OK(poll(v, 2, 0)), 2);
    EQ(v[0].revents, POLLIN | POLLHUP);
    EQ(v[1].revents, POLLNVAL);
    ERR(EFAULT, poll(BAD_PTR, 1, 0));
    struct rlimit r;
    OK(getrlimit(RLIMIT_NOFILE, &r));
    if (r.rlim_cur < 1u << 30) ERR(EINVAL, poll(v, r.rlim_cur + 1, 0));
}
CASE(poll_write_end_error) {
    int p[2];
    OK(pipe(p));
    OK(close(p[0]));
    struct pollfd v = {p[1], POLLOUT, 0};
    EQ(OK(poll(&v, 1, 0)), 1);
    EQ(v.revents, POLLOUT | POLLERR);
}
CASE(poll_timeouts) {
    int p[2];
    OK(pipe(p));
    struct pollfd v = {p[0], POLLIN, 0};
    int64_t t = now_ns();
    EQ(OK(poll(&v, 1, 60)), 0);
    int64_t d = now_ns() - t;
    TRUE(d >= 59000000 && d < 1500000000);
    t = now_ns();
    EQ(OK(poll(0, 0, 30)), 0);
    TRUE(now_ns() - t >= 29000000);
    struct timespec ts = {0, 20000000}, bad = {0, 1000000000};
    EQ(OK(ppoll(&v, 1, &ts, 0)), 0);
    ERR(EINVAL, ppoll(&v, 1, &bad, 0));
}
CASE(poll_interrupted) {
    struct sigaction sa = {.sa_handler = nothing, .sa_flags = SA_RESTART};
    OK(sigaction(SIGALRM, &sa, 0));
    struct itimerval it = {{0, 0}, {0, 50000}};
    OK(setitimer(ITIMER_REAL, &it, 0));
    ERR(EINTR, poll(0, 0, 5000));
    sigset_t all;
    sigemptyset(&all);
    sigaddset(&all, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &all, 0));
    OK(sigaction(SIGUSR1, &sa, 0));
    OK(raise(SIGUSR1));
    sigemptyset(&all);
    struct timespec ts = {5, 0};
    ERR(EINTR, ppoll(0, 0, &ts, &all));
    sigset_t now;
    OK(sigprocmask(SIG_BLOCK, 0, &now));
    TRUE(sigismember(&now, SIGUSR1));
}
CASE(poll_regular_file) {
    int fd = put("f", "");
    struct pollfd v = {fd, POLLIN | POLLOUT | POLLPRI, 0};
    EQ(OK(poll(&v, 1, 0)), 1);
    EQ(v.revents, POLLIN | POLLOUT);
}
CASE(select_basic) {
    int p[2];
    OK(pipe(p));
    fd_set r, w;
    FD_ZERO(&r);
    FD_ZERO(&w);
    FD_SET(p[0], &r);
    FD_SET(p[1], &w);
    struct timeval tv = {0, 0};
    EQ(OK(select(p[1] + 1, &r, &w, 0, &tv)), 1);
    TRUE(!FD_ISSET(p[0], &r) && FD_ISSET(p[1], &w));
    FD_ZERO(&r);
    FD_SET(p[0], &r);
    tv = (struct timeval){0, 40000};
    int64_t t = now_ns();
    EQ(OK(select(p[0] + 1, &r, 0, 0, &tv)), 0);
    TRUE(now_ns() - t >= 39000000);
    EQ(tv.tv_sec + tv.tv_usec, 0);
    FD_ZERO(&r);
    FD_SET(500, &r);
    tv = (struct timeval){0, 0};
    ERR(EINVAL, select(-1, 0, 0, 0, &tv));
    tv.tv_sec = -1;
    ERR(EINVAL, select(0, 0, 0, 0, &tv));
    ERR(EFAULT, select(5, BAD_PTR, 0, 0, 0));
}
CASE(pselect_mask) {
    struct sigaction sa = {.sa_handler = nothing};
    OK(sigaction(SIGUSR1, &sa, 0));
    sigset_t s, none;
    sigemptyset(&none);
    sigemptyset(&s);
    sigaddset(&s, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &s, 0));
    OK(raise(SIGUSR1));
    struct timespec ts = {5, 0};
    ERR(EINTR, pselect(0, 0, 0, 0, &ts, &none));
    ts = (struct timespec){0, 1000};
    EQ(OK(pselect(0, 0, 0, 0, &ts, &s)), 0);
}
CASE(epoll_level) {
    int p[2], e = OK(epoll_create1(EPOLL_CLOEXEC));
    OK(pipe(p));
    struct epoll_event ev = {EPOLLIN, {.u64 = 0x1234567890abcdefull}}, out[4];
    OK(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev));
    EQ(OK(epoll_wait(e, out, 4, 0)), 0);
    OK(write(p[1], "x", 1));
    for (int i = 0; i < 2; i++) {
        EQ(OK(epoll_wait(e, out, 4, 1000)), 1);
        EQ(out[0].events, EPOLLIN);
        TRUE(out[0].data.u64 == 0x1234567890abcdefull);
    }
    OK(close(p[1]));
    EQ(OK(epoll_wait(e, out, 4, 0)), 1);
    EQ(out[0].events, EPOLLIN | EPOLLHUP);
    OK(epoll_ctl(e, EPOLL_CTL_DEL, p[0], 0));
    EQ(OK(epoll_wait(e, out, 4, 0)), 0);
}
CASE(epoll_edge_and_oneshot) {
    int p[2], q[2], e = OK(epoll_create1(0));
    OK(pipe(p));
    OK(pipe(q));
    struct epoll_event ev = {EPOLLIN | EPOLLET, {.fd = 1}}, out[4];
    OK(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev));
    OK(write(p[1], "x", 1));
    EQ(OK(epoll_wait(e, out, 4, 0)), 1);
    EQ(OK(epoll_wait(e, out, 4, 0)), 0);
    OK(write(p[1], "y", 1));
    EQ(OK(epoll_wait(e, out, 4, 0)), 1);
    ev = (struct epoll_event){EPOLLIN | EPOLLONESHOT, {.fd = 2}};
    OK(epoll_ctl(e, EPOLL_CTL_ADD, q[0], &ev));
    OK(write(q[1], "x", 1));
    EQ(OK(epoll_wait(e, out, 4, 0)), 1);
    EQ(OK(epoll_wait(e, out, 4, 0)), 0);
    OK(epoll_ctl(e, EPOLL_CTL_MOD, q[0], &ev));
    EQ(OK(epoll_wait(e, out, 4, 0)), 1);
}
CASE(epoll_errors) {
    int p[2], e = OK(epoll_create1(0)), f = put("f", "");
    OK(pipe(p));
    struct epoll_event ev = {EPOLLIN, {.fd = 0}};
    ERR(EPERM, epoll_ctl(e, EPOLL_CTL_ADD, f, &ev));
    ERR(EINVAL, epoll_ctl(e, EPOLL_CTL_ADD, e, &ev));
    ERR(EBADF, epoll_ctl(e, EPOLL_CTL_ADD, 99, &ev));
    ERR(EBADF, epoll_ctl(99, EPOLL_CTL_ADD, p[0], &ev));
    ERR(EINVAL, epoll_ctl(p[0], EPOLL_CTL_ADD, p[1], &ev));
    ERR(ENOENT, epoll_ctl(e, EPOLL_CTL_MOD, p[0], &ev));
    ERR(ENOENT, epoll_ctl(e, EPOLL_CTL_DEL, p[0], &ev));
    OK(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev));
    ERR(EEXIST, epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev));
    ERR(EFAULT, epoll_ctl(e, EPOLL_CTL_ADD, p[1], BAD_PTR));
    ERR(EINVAL, epoll_ctl(e, 99, p[1], &ev));
    ERR(EINVAL, epoll_wait(e, &ev, 0, 0));
    ERR(EINVAL, epoll_wait(p[0], &ev, 1, 0));
    ERR(EINVAL, epoll_create1(99));
    ERR(EINVAL, epoll_create(0));
}
CASE(epoll_nested) {
    int p[2], a = OK(epoll_create1(0)), b = OK(epoll_create1(0));
    OK(pipe(p));
    struct epoll_event ev = {EPOLLIN, {.fd = 5}}, out;
    OK(epoll_ctl(a, EPOLL_CTL_ADD, p[0], &ev));
    OK(epoll_ctl(b, EPOLL_CTL_ADD, a, &ev));
    ERR(ELOOP, epoll_ctl(a, EPOLL_CTL_ADD, b, &ev));
    EQ(OK(epoll_wait(b, &out, 1, 0)), 0);
    OK(write(p[1], "x", 1));
    EQ(OK(epoll_wait(b, &out, 1, 1000)), 1);
    struct pollfd v = {b, POLLIN, 0};
    EQ(OK(poll(&v, 1, 0)), 1);
}
CASE(epoll_closed_descriptor) {
    int p[2], e = OK(epoll_create1(0));
    OK(pipe(p));
    struct epoll_event ev = {EPOLLIN, {.fd = 5}}, out;
    OK(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev));
    int d = OK(dup(p[0]));
    OK(close(p[0]));
    OK(write(p[1], "x", 1));
    EQ(OK(epoll_wait(e, &out, 1, 0)), 1);
    OK(close(d));
    EQ(OK(epoll_wait(e, &out, 1, 0)), 0);
}
static void *writer(void *a) {
    nap_ms(50);
    OK(write(*(int *)a, "x", 1));
    return 0;
}
CASE(epoll_wakes_thread) {
    int p[2], e = OK(epoll_create1(0));
    OK(pipe(p));
    struct epoll_event ev = {EPOLLIN, {.fd = 5}}, out;
    OK(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev));
    pthread_t t;
    EQ(pthread_create(&t, 0, writer, &p[1]), 0);
    int64_t s = now_ns();
    EQ(OK(epoll_wait(e, &out, 1, 5000)), 1);
    TRUE(now_ns() - s < 3000000000ll);
    pthread_join(t, 0);
    struct timespec ts = {0, 10000000};
    char c;
    OK(read(p[0], &c, 1));
    EQ(OK(syscall(441 /* epoll_pwait2 */, e, &out, 1, &ts, 0, 8)), 0);
}
CASE(eventfd_counter) {
    uint64_t v = 5;
    int e = OK(eventfd(3, EFD_NONBLOCK));
    OK(write(e, &v, 8));
    EQ(OK(read(e, &v, 8)), 8);
    EQ(v, 8);
    ERR(EAGAIN, read(e, &v, 8));
    ERR(EINVAL, read(e, &v, 4));
    ERR(EINVAL, write(e, &v, 4));
    v = UINT64_MAX;
    ERR(EINVAL, write(e, &v, 8));
    v = UINT64_MAX - 1;
    OK(write(e, &v, 8));
    v = 1;
    ERR(EAGAIN, write(e, &v, 8));
    struct pollfd p = {e, POLLIN | POLLOUT, 0};
    EQ(OK(poll(&p, 1, 0)), 1);
    EQ(p.revents, POLLIN);
    ERR(EINVAL, eventfd(0, 0x100));
    int s = OK(eventfd(2, EFD_SEMAPHORE));
    OK(read(s, &v, 8));
    EQ(v, 1);
    OK(read(s, &v, 8));
    EQ(v, 1);
}
/* Sets that nobody waits for do not take an event from those that somebody waits for. */
CASE(exclusive_events_wake_who_waits) {
    int p[2], idle = OK(epoll_create1(0)), busy = OK(epoll_create1(0));
    OK(pipe(p));
    struct epoll_event e = {EPOLLIN | EPOLLET | EPOLLEXCLUSIVE, {.u32 = 1}};
    OK(epoll_ctl(idle, EPOLL_CTL_ADD, p[0], &e));
    OK(epoll_ctl(busy, EPOLL_CTL_ADD, p[0], &e));
    pid_t c = CHILD({
        struct timespec t = {0, 100000000};
        nanosleep(&t, 0);
        OK(write(p[1], "x", 1));
    });
    EQ(epoll_wait(busy, &e, 1, 10000), 1);
    EQ(e.events, EPOLLIN);
    REAP(c, 0);
}
CASE(timerfd_expires) {
    int t = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    struct itimerspec its = {{0, 20000000}, {0, 20000000}}, cur;
    uint64_t n;
    ERR(EAGAIN, read(t, &n, 8));
    OK(timerfd_settime(t, 0, &its, 0));
    struct pollfd p = {t, POLLIN, 0};
    EQ(OK(poll(&p, 1, 2000)), 1);
    EQ(OK(read(t, &n, 8)), 8);
    TRUE(n >= 1);
    nap_ms(90);
    OK(read(t, &n, 8));
    TRUE(n >= 3);
    OK(timerfd_gettime(t, &cur));
    EQ(cur.it_interval.tv_nsec, 20000000);
    TRUE(cur.it_value.tv_nsec <= 20000000);
    its = (struct itimerspec){{0, 0}, {0, 0}};
    OK(timerfd_settime(t, 0, &its, &cur));
    OK(timerfd_gettime(t, &cur));
    EQ(cur.it_value.tv_nsec, 0);
    ERR(EINVAL, timerfd_create(99, 0));
    ERR(EINVAL, timerfd_create(CLOCK_MONOTONIC, 0x100));
    its.it_value.tv_nsec = 1000000000;
    ERR(EINVAL, timerfd_settime(t, 0, &its, 0));
    ERR(EINVAL, timerfd_settime(0 + put("f", ""), 0, &(struct itimerspec){0}, 0));
    ERR(EINVAL, read(t, &n, 4));
}
CASE(timerfd_absolute) {
    int t = OK(timerfd_create(CLOCK_REALTIME, 0));
    struct itimerspec its = {{0, 0}, {0, 0}};
    OK(clock_gettime(CLOCK_REALTIME, &its.it_value));
    its.it_value.tv_sec -= 10;
    OK(timerfd_settime(t, TFD_TIMER_ABSTIME, &its, 0));
    uint64_t n;
    OK(read(t, &n, 8));
    EQ(n, 1);
}
CASE(signalfd_reads) {
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGUSR1);
    sigaddset(&s, SIGRTMIN);
    OK(sigprocmask(SIG_BLOCK, &s, 0));
    int fd = OK(signalfd(-1, &s, SFD_NONBLOCK));
    struct signalfd_siginfo si[4];
    ERR(EAGAIN, read(fd, si, sizeof si));
    OK(kill(getpid(), SIGUSR1));
    OK(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 77}));
    struct pollfd p = {fd, POLLIN, 0};
    EQ(OK(poll(&p, 1, 0)), 1);
    EQ(OK(read(fd, si, sizeof si)), 2 * sizeof si[0]);
    EQ(si[0].ssi_signo, SIGUSR1);
    EQ(si[0].ssi_pid, getpid());
    EQ(si[1].ssi_signo, SIGRTMIN);
    EQ(si[1].ssi_int, 77);
    ERR(EINVAL, read(fd, si, 8));
    ERR(EINVAL, signalfd(put("f", ""), &s, 0));
    ERR(EINVAL, signalfd(-1, &s, 0x100));
}
CASE(inotify_events) {
    int n = OK(inotify_init1(IN_NONBLOCK));
    int w = OK(inotify_add_watch(n, ".", IN_CREATE | IN_DELETE | IN_MOVE | IN_MODIFY | IN_CLOSE_WRITE));
    char b[4096] __attribute__((aligned(8)));
    ERR(EAGAIN, read(n, b, sizeof b));
    putc_("f", "x");
    OK(rename("f", "g"));
    OK(unlink("g"));
    OK(mkdir("d", 0755));
    ssize_t len = OK(read(n, b, sizeof b));
    uint32_t want[] = {IN_CREATE, IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_DELETE, IN_CREATE | IN_ISDIR};
    const char *names[] = {"f", "f", "f", "f", "g", "g", "d"};
    int i = 0;
    uint32_t cookie = 0;
    for (char *p = b; p < b + len; i++) {
        struct inotify_event *e = (void *)p;
        TRUE(i < 7);
        EQ(e->wd, w);
        EQ(e->mask, want[i]);
        STREQ(e->name, names[i]);
        if (e->mask == IN_MOVED_FROM) cookie = e->cookie;
        if (e->mask == IN_MOVED_TO) TRUE(cookie && e->cookie == cookie);
        p += sizeof *e + e->len;
    }
    EQ(i, 7);
    OK(inotify_rm_watch(n, w));
    OK(read(n, b, sizeof b));
    EQ(((struct inotify_event *)b)->mask, IN_IGNORED);
    ERR(EINVAL, inotify_rm_watch(n, w));
    ERR(ENOENT, inotify_add_watch(n, "no", IN_CREATE));
    ERR(EINVAL, inotify_add_watch(n, ".", 0));
    ERR(EINVAL, inotify_add_watch(put("x", ""), ".", IN_CREATE));
    ERR(EINVAL, inotify_init1(99));
}
CASE(inotify_on_file) {
    int n = OK(inotify_init1(IN_NONBLOCK));
    int fd = put("f", "x");
    OK(inotify_add_watch(n, "f", IN_ATTRIB | IN_DELETE_SELF | IN_OPEN));
    OK(chmod("f", 0600));
    char b[512] __attribute__((aligned(8)));
    struct inotify_event *e = (void *)b;
    OK(read(n, b, sizeof b));
    EQ(e->mask, IN_ATTRIB);
    EQ(e->len, 0);
    OK(close(OK(open("f", O_RDONLY))));
    OK(read(n, b, sizeof b));
    EQ(e->mask, IN_OPEN);
    OK(close(fd));
    OK(unlink("f"));
    ssize_t len = OK(read(n, b, sizeof b));
    uint32_t seen = 0;
    for (char *p = b; p < b + len; p += sizeof *e + ((struct inotify_event *)p)->len)
        seen |= ((struct inotify_event *)p)->mask;
    EQ(seen, IN_ATTRIB | IN_DELETE_SELF | IN_IGNORED);
}
