/* Many threads do random things with the same sockets: none of it may hang or end the kernel. */
#include "t.h"
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/un.h>

enum { FILES = 64, THREADS = 4, SECONDS = 2 };
static int files[FILES];
static volatile long done;
static volatile int stop;

static void keep(unsigned *seed, int fd) {
    if (fd < 0) return;
    int old = __atomic_exchange_n(&files[rand_r(seed) % FILES], fd, __ATOMIC_SEQ_CST);
    if (old > 2) close(old);
}
static struct sockaddr_in inet_name(unsigned *seed) {
    return (struct sockaddr_in){AF_INET, htons(20000 + rand_r(seed) % 8), {htonl(INADDR_LOOPBACK)}};
}
static struct sockaddr_un unix_name(unsigned *seed) {
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    snprintf(u.sun_path + 1, 20, "netstress%d.%d", getpid(), rand_r(seed) % 8);
    return u;
}
static void send_two(int s, int a) {
    char c[CMSG_SPACE(8)] = {0};
    struct iovec v = {"x", 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    *h = (struct cmsghdr){CMSG_LEN(8), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(h), (int[]){a, s}, 8);
    sendmsg(s, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}
static void receive_some(unsigned *seed, int s) {
    char c[CMSG_SPACE(64)], b[100];
    struct iovec v = {b, sizeof b};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
    if (recvmsg(s, &m, MSG_DONTWAIT | (rand_r(seed) % 4 ? 0 : MSG_PEEK)) < 0) return;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
        for (int i = 0; h->cmsg_type == SCM_RIGHTS && i < (int)(h->cmsg_len - CMSG_LEN(0)) / 4; i++)
            keep(seed, ((int *)CMSG_DATA(h))[i]);
}
static void step(unsigned *seed, int ep) {
    static char big[70000];
    int a = files[rand_r(seed) % FILES], b = files[rand_r(seed) % FILES], q[2], n = rand_r(seed);
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    struct sockaddr_in in = inet_name(seed);
    struct sockaddr_un un = unix_name(seed);
    struct sockaddr none = {AF_UNSPEC};
    struct linger hard = {1, 0};
    struct epoll_event e = {EPOLLIN | EPOLLOUT | EPOLLET, {.fd = a}}, got[8];
    struct pollfd p[2] = {{a, 7}, {b, 7}};
    switch (rand_r(seed) % 20) {
    case 0:
        if (socketpair(AF_UNIX, types[n % 3] | SOCK_NONBLOCK, 0, q) == 0) keep(seed, q[0]), keep(seed, q[1]);
        break;
    case 1: keep(seed, socket(n & 1 ? AF_INET : AF_UNIX, types[n / 2 % 2] | SOCK_NONBLOCK, 0)); break;
    case 2: bind(a, (void *)&in, sizeof in); break;
    case 3: bind(a, (void *)&un, 24); break;
    case 4: listen(a, n % 3); break;
    case 5: connect(a, (void *)&in, sizeof in); break;
    case 6: connect(a, (void *)&un, 24); break;
    case 7: keep(seed, accept4(a, 0, 0, SOCK_NONBLOCK)); break;
    case 8: send(a, big, n % sizeof big, MSG_DONTWAIT | MSG_NOSIGNAL); break;
    case 9: {
        char mine[40000];
        recv(a, mine, n % sizeof mine, MSG_DONTWAIT);
        break;
    }
    case 10: send_two(a, b); break;
    case 11: receive_some(seed, a); break;
    case 12: shutdown(a, n % 3); break;
    case 13: epoll_ctl(ep, EPOLL_CTL_ADD, a, &e); break;
    case 14: epoll_wait(ep, got, 8, 0); break;
    case 15: poll(p, 2, n % 3); break;
    case 16: {
        int old = __atomic_exchange_n(&files[n % FILES], 0, __ATOMIC_SEQ_CST);
        if (old > 2) close(old);
        break;
    }
    case 17: connect(a, &none, sizeof none); break;
    case 18: setsockopt(a, SOL_SOCKET, SO_LINGER, &hard, sizeof hard); break;
    case 19: keep(seed, dup(a)); break;
    }
}
static void *work(void *arg) {
    unsigned seed = (long)arg * 7919 + getpid();
    int ep = epoll_create1(0);
    for (; !stop; done++) step(&seed, ep);
    return 0;
}
CASE(random_calls_from_many_threads) {
    pthread_t t[THREADS];
    signal(SIGPIPE, SIG_IGN);
    for (long i = 0; i < FILES; i++) files[i] = -1;
    for (long i = 0; i < THREADS; i++) EQ(pthread_create(&t[i], 0, work, (void *)i), 0);
    for (int i = 0; i < SECONDS; i++) {
        long before = done;
        nap_ms(1000);
        TRUE(done > before);
    }
    stop = 1;
    for (int i = 0; i < THREADS; i++) EQ(pthread_join(t[i], 0), 0);
    for (int i = 0; i < FILES; i++) close(files[i] > 2 ? files[i] : -1);
}
