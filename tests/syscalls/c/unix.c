/* Unix sockets: socketpair, streams, datagrams, names, descriptors and credentials in messages. */
#include "t.h"
#include <sys/epoll.h>
#include <sys/un.h>

static struct sockaddr_un un(const char *path) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path, path);
    return a;
}
static int bound(int type, const char *path) {
    struct sockaddr_un a = un(path);
    int s = OK(socket(AF_UNIX, type, 0));
    OK(bind(s, (void *)&a, sizeof a));
    return s;
}
static int listener(int type, const char *path, int backlog) {
    int s = bound(type, path);
    OK(listen(s, backlog));
    return s;
}
static int conn(int type, const char *path) {
    struct sockaddr_un a = un(path);
    int s = OK(socket(AF_UNIX, type, 0));
    OK(connect(s, (void *)&a, sizeof a));
    return s;
}
static int ready(int fd, int events) {
    struct pollfd p = {fd, events, 0};
    OK(poll(&p, 1, 0));
    return p.revents;
}
static int can_read(int fd) { return ready(fd, POLLIN | POLLRDHUP); }
static int send_fds(int s, const int *fds, int n, const char *text) {
    char c[CMSG_SPACE(sizeof(int) * 16)] = {0};
    struct iovec v = {(void *)text, strlen(text)};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_SPACE(n * sizeof(int))};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(h), fds, n * sizeof(int));
    return sendmsg(s, &m, 0);
}
/* Receives; the number of descriptors goes to *n, msg_flags is returned. */
static int recv_fds(int s, int *fds, int *n, char *buf, int len, int *got, int flags, int room) {
    char c[CMSG_SPACE(sizeof(int) * 16)];
    struct iovec v = {buf, len};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = room ? room : sizeof c};
    *got = OK(recvmsg(s, &m, flags));
    *n = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
        if (h->cmsg_type == SCM_RIGHTS) {
            *n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(h), *n * sizeof(int));
        }
    return m.msg_flags;
}

CASE(pair_stream) {
    int s[2];
    char b[100];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    ERR(EAGAIN, recv(s[0], b, 1, MSG_DONTWAIT));
    EQ(OK(write(s[0], "hello", 5)), 5);
    EQ(OK(send(s[0], " world", 6, 0)), 6);
    EQ(OK(recv(s[1], b, 3, MSG_PEEK)), 3);
    int n = 0;
    OK(ioctl(s[1], FIONREAD, &n));
    EQ(n, 11);
    EQ(OK(read(s[1], b, sizeof b)), 11);
    TRUE(!memcmp(b, "hello world", 11));
    OK(close(s[0]));
    EQ(OK(read(s[1], b, sizeof b)), 0);
    signal(SIGPIPE, SIG_IGN);
    ERR(EPIPE, write(s[1], "x", 1));
    struct stat st;
    OK(fstat(s[1], &st));
    TRUE(S_ISSOCK(st.st_mode));
    ERR(ESPIPE, lseek(s[1], 0, SEEK_CUR));
    ERR(ESPIPE, pread(s[1], b, 1, 0));
}
CASE(pair_types_and_flags) {
    int s[2];
    OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s));
    EQ(OK(fcntl(s[0], F_GETFD)), FD_CLOEXEC);
    EQ(OK(fcntl(s[1], F_GETFL)), O_RDWR | O_NONBLOCK);
    int v;
    socklen_t l = sizeof v;
    OK(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &v, &l));
    EQ(v, SOCK_SEQPACKET);
    OK(getsockopt(s[0], SOL_SOCKET, SO_DOMAIN, &v, &l));
    EQ(v, AF_UNIX);
    OK(getsockopt(s[0], SOL_SOCKET, SO_ACCEPTCONN, &v, &l));
    EQ(v, 0);
    ERR(EAGAIN, read(s[0], &v, 4));
    ERR(EINVAL, socket(AF_UNIX, 77, 0));
    ERR(EPROTONOSUPPORT, socket(AF_UNIX, SOCK_STREAM, 5));
    ERR(EAFNOSUPPORT, socket(999, SOCK_STREAM, 0));
    ERR(EINVAL, socket(AF_UNIX, SOCK_STREAM | 0x100000, 0));
    ERR(EFAULT, socketpair(AF_UNIX, SOCK_STREAM, 0, BAD_PTR));
    ERR(ENOTSOCK, listen(put("f", ""), 1));
    ERR(EBADF, listen(99, 1));
    int p[2];
    OK(pipe(p));
    ERR(ENOTSOCK, send(p[1], "x", 1, 0));
}
CASE(messages_keep_their_borders) {
    for (int type = SOCK_DGRAM; type <= SOCK_SEQPACKET; type += SOCK_SEQPACKET - SOCK_DGRAM) {
        int s[2];
        char b[100];
        OK(socketpair(AF_UNIX, type, 0, s));
        OK(send(s[0], "one", 3, 0));
        OK(send(s[0], "", 0, 0));
        OK(send(s[0], "three", 5, 0));
        EQ(OK(recv(s[1], b, 2, MSG_PEEK | MSG_TRUNC)), 3);
        struct iovec v = {b, 2};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
        EQ(OK(recvmsg(s[1], &m, 0)), 2);
        TRUE(m.msg_flags & MSG_TRUNC);
        EQ(OK(recv(s[1], b, 100, 0)), 0);
        EQ(OK(recv(s[1], b, 100, 0)), 5);
        ERR(EAGAIN, recv(s[1], b, 100, MSG_DONTWAIT));
        ERR(EMSGSIZE, send(s[0], malloc(1 << 20), 1 << 20, 0));
        OK(close(s[0]));
        if (type == SOCK_SEQPACKET) {
            EQ(OK(recv(s[1], b, 100, 0)), 0);
            ERR(EPIPE, send(s[1], "x", 1, 0));
        } else {
            ERR(ECONNREFUSED, send(s[1], "x", 1, 0));
        }
    }
}
CASE(names) {
    struct sockaddr_un a;
    socklen_t l = sizeof a;
    int s = listener(SOCK_STREAM, "sock", 5);
    OK(getsockname(s, (void *)&a, &l));
    EQ(l, 2 + 4 + 1);
    STREQ(a.sun_path, "sock");
    struct stat st;
    OK(stat("sock", &st));
    TRUE(S_ISSOCK(st.st_mode));
    EQ(st.st_mode & 0777, 0755);
    ERR(ENXIO, open("sock", O_RDWR));
    int t = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    struct sockaddr_un b = un("sock");
    ERR(EADDRINUSE, bind(t, (void *)&b, sizeof b));
    b = un("no/sock");
    ERR(ENOENT, bind(t, (void *)&b, sizeof b));
    b = un("second");
    ERR(EINVAL, bind(s, (void *)&b, sizeof b));
    ERR(EINVAL, listen(t, 1));
    b = un("nobody");
    ERR(ENOENT, connect(t, (void *)&b, sizeof b));
    putc_("file", "");
    b = un("file");
    ERR(ECONNREFUSED, connect(t, (void *)&b, sizeof b));
    b = un("sock");
    int d = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    ERR(EPROTOTYPE, connect(d, (void *)&b, sizeof b));
    OK(connect(t, (void *)&b, sizeof b));
    ERR(EISCONN, connect(t, (void *)&b, sizeof b));
    l = sizeof a;
    OK(getpeername(t, (void *)&a, &l));
    STREQ(a.sun_path, "sock");
    l = sizeof a;
    OK(getsockname(t, (void *)&a, &l));
    EQ(l, 2);
    EQ(a.sun_family, AF_UNIX);
    int c = OK(accept4(s, (void *)&a, &l, SOCK_CLOEXEC));
    EQ(l, 2);
    l = sizeof a;
    OK(getsockname(c, (void *)&a, &l));
    STREQ(a.sun_path, "sock");
    OK(close(s));
    ERR(ECONNREFUSED, connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (void *)&b, sizeof b));
    OK(unlink("sock"));
    ERR(ENOENT, connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (void *)&b, sizeof b));
    OK(write(c, "x", 1));
    l = sizeof a;
    ERR(ENOTCONN, getpeername(d, (void *)&a, &l));
    b.sun_family = AF_INET;
    ERR(EINVAL, bind(d, (void *)&b, sizeof b));
}
CASE(mknod_socket) {
    OK(mknod("s", S_IFSOCK | 0644, 0));
    struct stat st;
    OK(stat("s", &st));
    TRUE(S_ISSOCK(st.st_mode));
    struct sockaddr_un a = un("s");
    ERR(ECONNREFUSED, connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (void *)&a, sizeof a));
    ERR(EADDRINUSE, bind(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (void *)&a, sizeof a));
}
CASE(renamed_socket_still_takes_connections) {
    int s = listener(SOCK_STREAM, "a", 5);
    OK(rename("a", "b"));
    OK(link("b", "c"));
    int c = conn(SOCK_STREAM, "b"), d = conn(SOCK_STREAM, "c");
    OK(accept(s, 0, 0));
    OK(accept(s, 0, 0));
    OK(close(c));
    OK(close(d));
}
CASE(abstract_names) {
    struct sockaddr_un a = {.sun_family = AF_UNIX}, b;
    int n = snprintf(a.sun_path + 1, 100, "t.%d.%d", getpid(), (int)time(0));
    int s = OK(socket(AF_UNIX, SOCK_STREAM, 0)), t = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    OK(bind(s, (void *)&a, 3 + n));
    ERR(EADDRINUSE, bind(t, (void *)&a, 3 + n));
    OK(listen(s, 1));
    OK(connect(t, (void *)&a, 3 + n));
    socklen_t l = sizeof b;
    OK(getpeername(t, (void *)&b, &l));
    EQ(l, 3 + n);
    TRUE(!memcmp(&a, &b, l));
    ERR(ECONNREFUSED, connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (void *)&a, 4 + n));
    OK(close(s));
    ERR(ECONNREFUSED, connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (void *)&a, 3 + n));
    int u = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    OK(bind(u, (void *)&a, 2));
    l = sizeof b;
    OK(getsockname(u, (void *)&b, &l));
    EQ(l, 8);
    EQ(b.sun_path[0], 0);
    OK(bind(OK(socket(AF_UNIX, SOCK_DGRAM, 0)), (void *)&a, 3 + n));
}
CASE(datagrams) {
    int r = bound(SOCK_DGRAM, "r"), s = bound(SOCK_DGRAM, "s"), u = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    struct sockaddr_un a = un("r"), f;
    char b[100];
    EQ(OK(sendto(s, "hi", 2, 0, (void *)&a, sizeof a)), 2);
    EQ(OK(sendto(u, "you", 3, 0, (void *)&a, sizeof a)), 3);
    socklen_t l = sizeof f;
    EQ(OK(recvfrom(r, b, 100, 0, (void *)&f, &l)), 2);
    EQ(l, 4);
    STREQ(f.sun_path, "s");
    l = sizeof f;
    EQ(OK(recvfrom(r, b, 100, 0, (void *)&f, &l)), 3);
    EQ(l, 0);
    ERR(ENOTCONN, send(s, "x", 1, 0));
    OK(connect(s, (void *)&a, sizeof a));
    OK(send(s, "x", 1, 0));
    EQ(OK(read(r, b, 10)), 1);
    a = un("s");
    OK(connect(r, (void *)&a, sizeof a));
    ERR(EPERM, sendto(u, "x", 1, 0, (void *)&(struct sockaddr_un){AF_UNIX, "r"}, sizeof a));
    OK(close(r));
    ERR(ECONNREFUSED, send(s, "x", 1, 0));
    a.sun_family = AF_UNSPEC;
    OK(connect(s, (void *)&a, sizeof a));
    ERR(ENOTCONN, send(s, "x", 1, 0));
    a = un("nobody");
    ERR(ENOENT, sendto(u, "x", 1, 0, (void *)&a, sizeof a));
    ERR(EOPNOTSUPP, listen(s, 1));
    ERR(EOPNOTSUPP, accept(s, 0, 0));
}
CASE(full_datagram_queue) {
    int r = bound(SOCK_DGRAM, "r"), s = conn(SOCK_DGRAM, "r");
    int n = 0;
    char b;
    while (send(s, "x", 1, MSG_DONTWAIT) == 1) n++;
    EQ(errno, EAGAIN);
    TRUE(n >= 5 && n < 2000);
    EQ(ready(s, POLLOUT), 0);
    int ep = OK(epoll_create1(0));
    struct epoll_event e = {EPOLLOUT | EPOLLET, {.u32 = 7}};
    OK(epoll_ctl(ep, EPOLL_CTL_ADD, s, &e));
    EQ(OK(epoll_wait(ep, &e, 1, 0)), 0);
    pid_t p = CHILD(EQ(OK(send(s, "y", 1, 0)), 1));
    nap_ms(50);
    for (int i = 0; i < n; i++) OK(read(r, &b, 1));
    REAP(p, 0);
    EQ(OK(read(r, &b, 1)), 1);
    EQ(b, 'y');
    EQ(OK(epoll_wait(ep, &e, 1, 1000)), 1);
    EQ(ready(s, POLLOUT), POLLOUT);
}
CASE(stream_fills_and_drains) {
    int s[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    static char b[65536];
    long sent = 0, n;
    while ((n = send(s[0], b, sizeof b, MSG_DONTWAIT)) > 0) sent += n;
    EQ(errno, EAGAIN);
    TRUE(sent >= 65536 && sent < 4 << 20);
    EQ(ready(s[0], POLLOUT), 0);
    int q = 0;
    OK(ioctl(s[0], TIOCOUTQ, &q));
    TRUE(q >= sent);
    pid_t p = CHILD({
        for (int i = 0; i < 100; i++) EQ(OK(send(s[0], b, sizeof b, 0)), sizeof b);
    });
    OK(close(s[0]));
    long all = 0;
    while ((n = OK(read(s[1], b, sizeof b))) > 0) all += n;
    EQ(all, sent + 100 * 65536);
    REAP(p, 0);
}
CASE(waitall) {
    int s[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    pid_t p = CHILD({
        OK(write(s[1], "ab", 2));
        nap_ms(30);
        OK(write(s[1], "cd", 2));
        nap_ms(30);
        OK(write(s[1], "e", 1));
    });
    OK(close(s[1]));
    char b[10];
    EQ(OK(recv(s[0], b, 4, MSG_WAITALL)), 4);
    EQ(OK(recv(s[0], b, 4, MSG_WAITALL)), 1);
    REAP(p, 0);
}
CASE(poll_events) {
    int s[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    EQ(ready(s[0], POLLIN | POLLOUT | POLLRDHUP), POLLOUT);
    OK(write(s[1], "x", 1));
    EQ(ready(s[0], POLLIN | POLLOUT | POLLRDHUP), POLLIN | POLLOUT);
    OK(shutdown(s[1], SHUT_WR));
    EQ(ready(s[0], POLLIN | POLLOUT | POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP);
    OK(close(s[1]));
    EQ(ready(s[0], POLLIN | POLLOUT | POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
    int u = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EQ(ready(u, POLLIN | POLLOUT), POLLOUT | POLLHUP);
    int l = listener(SOCK_STREAM, "l", 2);
    EQ(ready(l, POLLIN | POLLOUT), 0);
    int c = conn(SOCK_STREAM, "l");
    EQ(ready(l, POLLIN | POLLOUT), POLLIN);
    int d = OK(accept(l, 0, 0));
    EQ(ready(l, POLLIN | POLLOUT), 0);
    OK(write(c, "unread", 6));
    OK(close(d));
    EQ(ready(c, POLLIN | POLLOUT), POLLIN | POLLOUT | POLLHUP | POLLERR);
    int e = 0;
    socklen_t n = sizeof e;
    OK(getsockopt(c, SOL_SOCKET, SO_ERROR, &e, &n));
    EQ(e, ECONNRESET);
    OK(getsockopt(c, SOL_SOCKET, SO_ERROR, &e, &n));
    EQ(e, 0);
}
CASE(shutdown_directions) {
    int s[2];
    char b[10];
    signal(SIGPIPE, SIG_IGN);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    OK(write(s[0], "abc", 3));
    OK(shutdown(s[0], SHUT_WR));
    ERR(EPIPE, write(s[0], "x", 1));
    EQ(OK(read(s[1], b, 10)), 3);
    EQ(OK(read(s[1], b, 10)), 0);
    OK(write(s[1], "back", 4));
    EQ(OK(read(s[0], b, 10)), 4);
    OK(shutdown(s[0], SHUT_RD));
    EQ(OK(read(s[0], b, 10)), 0);
    ERR(EPIPE, write(s[1], "x", 1));
    ERR(EINVAL, shutdown(s[0], 3));
    int u = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    ERR(EINVAL, read(u, b, 1));
    ERR(ENOTCONN, write(u, "x", 1));
}
static volatile int pipes;
static void on_pipe(int s) { pipes++; }
CASE(sigpipe) {
    int s[2];
    signal(SIGPIPE, on_pipe);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    OK(close(s[1]));
    ERR(EPIPE, send(s[0], "x", 1, MSG_NOSIGNAL));
    EQ(pipes, 0);
    ERR(EPIPE, send(s[0], "x", 1, 0));
    EQ(pipes, 1);
    ERR(EPIPE, write(s[0], "x", 1));
    EQ(pipes, 2);
    OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
    OK(close(s[1]));
    ERR(EPIPE, send(s[0], "x", 1, 0));
    EQ(pipes, 2);
}
CASE(backlog) {
    int l = listener(SOCK_STREAM, "l", 1);
    struct sockaddr_un a = un("l");
    conn(SOCK_STREAM, "l");
    conn(SOCK_STREAM, "l");
    int c = OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    ERR(EAGAIN, connect(c, (void *)&a, sizeof a));
    pid_t p = CHILD(conn(SOCK_STREAM, "l"));
    nap_ms(50);
    OK(accept(l, 0, 0));
    REAP(p, 0);
    p = CHILD({
        int s = OK(socket(AF_UNIX, SOCK_STREAM, 0));
        OK(close(l));
        ERR(ECONNREFUSED, connect(s, (void *)&a, sizeof a));
    });
    nap_ms(50);
    OK(close(l));
    REAP(p, 0);
}
CASE(accept_without_a_descriptor) {
    int l = listener(SOCK_STREAM, "l", 5), c = conn(SOCK_STREAM, "l");
    struct rlimit old, r;
    OK(getrlimit(RLIMIT_NOFILE, &old));
    r = old;
    r.rlim_cur = c + 1;
    OK(setrlimit(RLIMIT_NOFILE, &r));
    ERR(EMFILE, accept(l, 0, 0));
    OK(setrlimit(RLIMIT_NOFILE, &old));
    OK(accept(l, 0, 0));
}
CASE(accept_waits) {
    int l = listener(SOCK_SEQPACKET, "l", 5);
    ERR(EAGAIN, ({
        int n = OK(fcntl(l, F_SETFL, O_NONBLOCK));
        accept(l, 0, 0);
    }));
    OK(fcntl(l, F_SETFL, 0));
    pid_t p = CHILD({
        nap_ms(40);
        int c = conn(SOCK_SEQPACKET, "l");
        OK(send(c, "one", 3, 0));
    });
    char b[10];
    int c = OK(accept(l, 0, 0));
    EQ(OK(read(c, b, 10)), 3);
    EQ(OK(read(c, b, 10)), 0);
    REAP(p, 0);
    struct timeval tv = {0, 30000};
    OK(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
    ERR(EAGAIN, accept(l, 0, 0));
}
CASE(timeouts) {
    int s[2];
    char b[10];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    struct timeval tv = {0, 50000}, back;
    OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
    socklen_t l = sizeof back;
    OK(getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &back, &l));
    EQ(back.tv_usec, 52000 - (back.tv_usec == 50000 ? 2000 : 0));
    int64_t t = now_ns();
    ERR(EAGAIN, recv(s[0], b, 10, 0));
    ERR(EAGAIN, read(s[0], b, 10));
    TRUE(now_ns() - t > 95000000);
    tv.tv_usec = 1000000;
    ERR(EDOM, setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
    ERR(EINVAL, setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, 4));
}
CASE(rights) {
    int s[2], p[2], fds[16], n, got;
    char b[100];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    OK(pipe(p));
    OK(write(s[0], "before", 6));
    EQ(OK(send_fds(s[0], p, 2, "with")), 4);
    OK(write(s[0], "after", 5));
    OK(close(p[0]));
    OK(close(p[1]));
    /* The bytes that come with descriptors end a read. */
    recv_fds(s[1], fds, &n, b, 100, &got, MSG_CMSG_CLOEXEC, 0);
    EQ(got, 10);
    EQ(n, 2);
    EQ(OK(fcntl(fds[0], F_GETFD)), FD_CLOEXEC);
    OK(write(fds[1], "through", 7));
    EQ(OK(read(fds[0], b, 100)), 7);
    recv_fds(s[1], fds + 2, &n, b, 100, &got, 0, 0);
    EQ(got, 5);
    EQ(n, 0);
}
CASE(rights_truncated_and_dropped) {
    int s[2], p[2], fds[16], n, got;
    char b[100];
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    OK(pipe(p));
    OK(send_fds(s[0], (int[]){p[1], p[1], p[1]}, 3, "x"));
    OK(close(p[1]));
    int flags = recv_fds(s[1], fds, &n, b, 100, &got, 0, CMSG_LEN(sizeof(int)));
    EQ(n, 1);
    TRUE(flags & MSG_CTRUNC);
    OK(close(fds[0]));
    EQ(OK(read(p[0], b, 1)), 0);
    OK(pipe(p));
    OK(send_fds(s[0], p + 1, 1, "x"));
    OK(close(p[1]));
    OK(recv(s[1], b, 1, 0));
    EQ(OK(read(p[0], b, 1)), 0);
    OK(pipe(p));
    OK(send_fds(s[0], p + 1, 1, "x"));
    OK(close(p[1]));
    OK(close(s[1]));
    EQ(OK(read(p[0], b, 1)), 0);
    ERR(EBADF, send_fds(s[0], (int[]){99}, 1, "x"));
}
CASE(rights_peek) {
    int s[2], p[2], fds[16], n, got;
    char b[100];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    OK(pipe(p));
    OK(send_fds(s[0], p + 1, 1, "x"));
    recv_fds(s[1], fds, &n, b, 100, &got, MSG_PEEK, 0);
    EQ(n, 1);
    recv_fds(s[1], fds + 1, &n, b, 100, &got, 0, 0);
    EQ(n, 1);
    TRUE(fds[0] != fds[1]);
    OK(write(fds[0], "a", 1));
    OK(write(fds[1], "b", 1));
    EQ(OK(read(p[0], b, 10)), 2);
}
CASE(rights_in_a_circle_are_dropped) {
    /* A socket that is only in its own unread messages: what it carries besides is closed. */
    int p[2];
    OK(pipe(p));
    for (int i = 0; i < 300; i++) {
        int s[2];
        OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
        OK(send_fds(s[0], (int[]){s[1], p[1]}, 2, "x"));
        OK(close(s[0]));
        OK(close(s[1]));
    }
    int a[2], b[2];
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, a));
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, b));
    OK(send_fds(a[0], (int[]){b[0], b[1]}, 2, "x"));
    OK(send_fds(b[0], (int[]){a[0], a[1], p[1]}, 3, "x"));
    for (int i = 0; i < 2; i++) {
        OK(close(a[i]));
        OK(close(b[i]));
    }
    OK(close(p[1]));
    struct pollfd v = {p[0], POLLIN, 0};
    EQ(OK(poll(&v, 1, 5000)), 1);
    EQ(v.revents, POLLHUP);
}
CASE(a_long_chain_of_rights_ends) {
    int last[2], next[2];
    struct rlimit r = {100, 100};
    OK(setrlimit(RLIMIT_NOFILE, &r));
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, last));
    int i;
    for (i = 0; i < 5000; i++) {
        OK(socketpair(AF_UNIX, SOCK_STREAM, 0, next));
        if (send_fds(next[0], last, 2, "x") != 1) {
            EQ(errno, ETOOMANYREFS);
            break;
        }
        OK(close(last[0]));
        OK(close(last[1]));
        last[0] = next[0];
        last[1] = next[1];
    }
    OK(close(last[0]));
    OK(close(last[1]));
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, last));
    EQ(OK(write(last[0], "x", 1)), 1);
}
CASE(credentials) {
    int s[2], on = 1;
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    struct ucred u;
    socklen_t l = sizeof u;
    OK(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &u, &l));
    EQ(u.pid, getpid());
    EQ(u.uid, geteuid());
    OK(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    pid_t p = CHILD(OK(write(s[0], "x", 1)));
    REAP(p, 0);
    char b[10], c[200];
    struct iovec v = {b, 10};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
    EQ(OK(recvmsg(s[1], &m, 0)), 1);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    TRUE(h);
    EQ(h->cmsg_type, SCM_CREDENTIALS);
    memcpy(&u, CMSG_DATA(h), sizeof u);
    EQ(u.pid, p);
    EQ(u.uid, getuid());
    EQ(u.gid, getgid());
    struct ucred claim = {getpid(), getuid(), getgid()};
    m.msg_control = c;
    m.msg_controllen = CMSG_SPACE(sizeof claim);
    h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_CREDENTIALS;
    h->cmsg_len = CMSG_LEN(sizeof claim);
    memcpy(CMSG_DATA(h), &claim, sizeof claim);
    OK(sendmsg(s[0], &m, 0));
    if (geteuid() != 0) {
        claim.uid = 1;
        memcpy(CMSG_DATA(h), &claim, sizeof claim);
        ERR(EPERM, sendmsg(s[0], &m, 0));
    }
    int li = listener(SOCK_STREAM, "l", 5);
    p = CHILD({
        int c = conn(SOCK_STREAM, "l");
        OK(getsockopt(c, SOL_SOCKET, SO_PEERCRED, &u, &l));
        EQ(u.pid, getppid());
        char x;
        OK(read(c, &x, 1));
    });
    int a = OK(accept(li, 0, 0));
    OK(getsockopt(a, SOL_SOCKET, SO_PEERCRED, &u, &l));
    EQ(u.pid, p);
    OK(write(a, "x", 1));
    REAP(p, 0);
    int n = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    OK(getsockopt(n, SOL_SOCKET, SO_PEERCRED, &u, &l));
    EQ(u.pid, 0);
    EQ(u.uid, (uid_t)-1);
}
CASE(many_messages) {
    int s[2];
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    struct iovec v[3] = {{"a", 1}, {"bb", 2}, {"ccc", 3}};
    struct mmsghdr m[3] = {0};
    for (int i = 0; i < 3; i++) m[i].msg_hdr.msg_iov = &v[i], m[i].msg_hdr.msg_iovlen = 1;
    EQ(OK(sendmmsg(s[0], m, 3, 0)), 3);
    EQ(m[2].msg_len, 3);
    char b[4][10];
    struct iovec w[4];
    struct mmsghdr r[4] = {0};
    for (int i = 0; i < 4; i++) {
        w[i] = (struct iovec){b[i], 10};
        r[i].msg_hdr.msg_iov = &w[i];
        r[i].msg_hdr.msg_iovlen = 1;
    }
    EQ(OK(recvmmsg(s[1], r, 4, MSG_WAITFORONE, 0)), 3);
    EQ(r[0].msg_len, 1);
    EQ(r[2].msg_len, 3);
    TRUE(!memcmp(b[2], "ccc", 3));
    ERR(EAGAIN, recvmmsg(s[1], r, 4, MSG_DONTWAIT, 0));
}
CASE(epoll_edges) {
    int s[2];
    char b[10];
    OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
    int ep = OK(epoll_create1(0));
    struct epoll_event e = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.fd = s[0]}};
    OK(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &e));
    EQ(OK(epoll_wait(ep, &e, 1, 0)), 1);
    EQ(e.events, EPOLLOUT);
    EQ(OK(epoll_wait(ep, &e, 1, 0)), 0);
    OK(write(s[1], "x", 1));
    EQ(OK(epoll_wait(ep, &e, 1, 1000)), 1);
    EQ(e.events, EPOLLIN | EPOLLOUT);
    OK(read(s[0], b, 10));
    OK(close(s[1]));
    EQ(OK(epoll_wait(ep, &e, 1, 1000)), 1);
    EQ(e.events, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP);
}
CASE(interrupted_receive) {
    int s[2];
    char b[10];
    struct sigaction sa = {.sa_handler = on_pipe};
    OK(sigaction(SIGALRM, &sa, 0));
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    struct itimerval it = {{0, 0}, {0, 30000}};
    OK(setitimer(ITIMER_REAL, &it, 0));
    ERR(EINTR, recv(s[0], b, 10, 0));
    struct timeval tv = {5, 0};
    OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
    sa.sa_flags = SA_RESTART;
    OK(sigaction(SIGALRM, &sa, 0));
    OK(setitimer(ITIMER_REAL, &it, 0));
    ERR(EINTR, recv(s[0], b, 10, 0));
}
