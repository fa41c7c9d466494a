/* TCP and UDP over loopback, netlink's answers about the device. */
#include "t.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>

static struct sockaddr_in in4(const char *ip, int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, ip, &a.sin_addr);
    return a;
}
static int port_of(int s) {
    struct sockaddr_in6 a;
    socklen_t l = sizeof a;
    OK(getsockname(s, (void *)&a, &l));
    return ntohs(a.sin6_port);
}
static int bound(int type, const char *ip, int port) {
    struct sockaddr_in a = in4(ip, port);
    int s = OK(socket(AF_INET, type, 0));
    OK(bind(s, (void *)&a, sizeof a));
    return s;
}
static int listener(int backlog) {
    int s = bound(SOCK_STREAM, "127.0.0.1", 0);
    OK(listen(s, backlog));
    return s;
}
static int conn(int port) {
    struct sockaddr_in a = in4("127.0.0.1", port);
    int s = OK(socket(AF_INET, SOCK_STREAM, 0));
    OK(connect(s, (void *)&a, sizeof a));
    return s;
}
static void tcp_pair(int s[2]) {
    int l = listener(1);
    s[0] = conn(port_of(l));
    s[1] = OK(accept(l, 0, 0));
    OK(close(l));
}
static int ready(int fd, int events) {
    struct pollfd p = {fd, events, 0};
    OK(poll(&p, 1, 0));
    return p.revents;
}
static int wait_for(int fd, int events) {
    struct pollfd p = {fd, events, 0};
    OK(poll(&p, 1, 3000));
    return p.revents;
}
static int error_of(int s) {
    int e = -1;
    socklen_t l = sizeof e;
    OK(getsockopt(s, SOL_SOCKET, SO_ERROR, &e, &l));
    return e;
}

CASE(connect_and_talk) {
    int l = listener(5), s = conn(port_of(l));
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    int c = OK(accept(l, (void *)&a, &n));
    EQ(n, sizeof a);
    EQ(a.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    EQ(ntohs(a.sin_port), port_of(s));
    EQ(port_of(c), port_of(l));
    OK(getpeername(s, (void *)&a, &n));
    EQ(ntohs(a.sin_port), port_of(l));
    char b[100];
    OK(send(s, "hello", 5, 0));
    OK(write(c, "back", 4));
    EQ(OK(recv(c, b, 100, 0)), 5);
    EQ(OK(read(s, b, 100)), 4);
    int q = -1;
    OK(send(s, "12345678", 8, 0));
    EQ(wait_for(c, POLLIN), POLLIN);
    OK(ioctl(c, FIONREAD, &q));
    EQ(q, 8);
    EQ(OK(recv(c, b, 4, MSG_PEEK)), 4);
    EQ(OK(recv(c, b, 3, MSG_TRUNC)), 3);
    EQ(OK(recv(c, b, 100, 0)), 5);
    TRUE(!memcmp(b, "45678", 5));
    ERR(EAGAIN, recv(c, b, 1, MSG_DONTWAIT));
    ERR(EISCONN, connect(s, (void *)&a, sizeof a));
    OK(shutdown(s, SHUT_WR));
    EQ(OK(read(c, b, 1)), 0);
    EQ(ready(c, POLLIN | POLLOUT | POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP);
    OK(write(c, "late", 4));
    EQ(OK(read(s, b, 100)), 4);
    OK(close(c));
    EQ(OK(read(s, b, 1)), 0);
    EQ(wait_for(s, POLLHUP), POLLHUP);
}
CASE(refused_and_unreachable) {
    int l = listener(1), port = port_of(l);
    OK(close(l));
    struct sockaddr_in a = in4("127.0.0.1", port);
    int s = OK(socket(AF_INET, SOCK_STREAM, 0));
    ERR(ECONNREFUSED, connect(s, (void *)&a, sizeof a));
    ERR(ECONNREFUSED, connect(s, (void *)&a, sizeof a));
    s = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    ERR(EINPROGRESS, connect(s, (void *)&a, sizeof a));
    TRUE(wait_for(s, POLLOUT) & POLLERR);
    EQ(error_of(s), ECONNREFUSED);
    EQ(error_of(s), 0);
    ERR(ECONNABORTED, connect(s, (void *)&a, sizeof a));
    ERR(EINVAL, connect(OK(socket(AF_INET, SOCK_STREAM, 0)), (void *)&a, 4));
    a = in4("8.8.8.8", 0);
    ERR(EADDRNOTAVAIL, bind(OK(socket(AF_INET, SOCK_STREAM, 0)), (void *)&a, sizeof a));
    ERR(ENOTCONN, recv(OK(socket(AF_INET, SOCK_STREAM, 0)), &a, 1, 0));
    ERR(ENOTCONN, shutdown(OK(socket(AF_INET, SOCK_STREAM, 0)), SHUT_RD));
    EQ(ready(OK(socket(AF_INET, SOCK_STREAM, 0)), POLLIN | POLLOUT), POLLOUT | POLLHUP);
    ERR(EPROTONOSUPPORT, socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
}
CASE(nonblocking_connect) {
    int l = listener(5);
    struct sockaddr_in a = in4("127.0.0.1", port_of(l));
    int s = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    ERR(EINPROGRESS, connect(s, (void *)&a, sizeof a));
    EQ(wait_for(s, POLLOUT), POLLOUT);
    EQ(error_of(s), 0);
    EQ(OK(connect(s, (void *)&a, sizeof a)), 0);
    ERR(EISCONN, connect(s, (void *)&a, sizeof a));
    OK(accept(l, 0, 0));
    ERR(EAGAIN, ({
        OK(fcntl(l, F_SETFL, O_NONBLOCK));
        accept(l, 0, 0);
    }));
}
CASE(reset) {
    int s[2];
    char b[10];
    signal(SIGPIPE, SIG_IGN);
    tcp_pair(s);
    OK(write(s[0], "unread", 6));
    EQ(wait_for(s[1], POLLIN), POLLIN);
    OK(close(s[1]));
    TRUE(wait_for(s[0], POLLIN) & POLLERR);
    ERR(ECONNRESET, read(s[0], b, 10));
    EQ(OK(read(s[0], b, 10)), 0);
    ERR(EPIPE, write(s[0], "x", 1));
    ERR(ENOTCONN, getpeername(s[0], (void *)b, &(socklen_t){10}));
    tcp_pair(s);
    struct linger li = {1, 0};
    OK(setsockopt(s[1], SOL_SOCKET, SO_LINGER, &li, sizeof li));
    OK(close(s[1]));
    TRUE(wait_for(s[0], POLLIN) & POLLERR);
    EQ(error_of(s[0]), ECONNRESET);
    tcp_pair(s);
    OK(close(s[1]));
    EQ(wait_for(s[0], POLLIN | POLLRDHUP), POLLIN | POLLRDHUP);
    OK(write(s[0], "x", 1));
    nap_ms(20);
    ERR(EPIPE, write(s[0], "x", 1));
    EQ(OK(read(s[0], b, 10)), 0);
}
CASE(a_closed_listener_resets_those_who_wait) {
    int l = listener(5), s = conn(port_of(l));
    OK(close(l));
    TRUE(wait_for(s, POLLIN) & POLLERR);
    char b;
    ERR(ECONNRESET, read(s, &b, 1));
}
CASE(much_data) {
    int s[2];
    tcp_pair(s);
    enum { N = 8 << 20 };
    pid_t p = CHILD({
        OK(close(s[1]));
        char *b = malloc(N);
        for (int i = 0; i < N; i++) b[i] = i * 7 + (i >> 12);
        EQ(OK(send(s[0], b, N, 0)), N);
    });
    OK(close(s[0]));
    static char b[100000];
    long all = 0, n;
    while ((n = OK(recv(s[1], b, sizeof b, all % 3 ? MSG_WAITALL : 0))) > 0) {
        for (int i = 0; i < n; i++, all++)
            if (b[i] != (char)(all * 7 + (all >> 12))) t_fail(__LINE__, "byte %ld", all);
    }
    EQ(all, N);
    REAP(p, 0);
    tcp_pair(s);
    OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
    all = 0;
    while ((n = write(s[0], b, sizeof b)) > 0) all += n;
    EQ(errno, EAGAIN);
    TRUE(all > 50000 && all < 64 << 20);
    EQ(ready(s[0], POLLOUT), 0);
    while (all > 0) all -= OK(read(s[1], b, sizeof b));
    EQ(wait_for(s[0], POLLOUT), POLLOUT);
}
CASE(ports) {
    int l = listener(5), port = port_of(l);
    TRUE(port >= 1024);
    struct sockaddr_in a = in4("127.0.0.1", port);
    int s = OK(socket(AF_INET, SOCK_STREAM, 0)), on = 1;
    ERR(EADDRINUSE, bind(s, (void *)&a, sizeof a));
    OK(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    ERR(EADDRINUSE, bind(s, (void *)&a, sizeof a));
    a = in4("127.0.0.2", port);
    OK(bind(s, (void *)&a, sizeof a));
    ERR(EINVAL, bind(s, (void *)&a, sizeof a));
    a = in4("0.0.0.0", port);
    ERR(EADDRINUSE, bind(OK(socket(AF_INET, SOCK_STREAM, 0)), (void *)&a, sizeof a));
    /* A restarted server gets its port back. */
    OK(close(l));
    OK(close(s));
    l = OK(socket(AF_INET, SOCK_STREAM, 0));
    OK(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    a = in4("127.0.0.1", port);
    OK(bind(l, (void *)&a, sizeof a));
    OK(listen(l, 5));
    int c = conn(port), d = OK(accept(l, 0, 0));
    OK(close(d));
    OK(close(l));
    s = OK(socket(AF_INET, SOCK_STREAM, 0));
    a = in4("127.0.0.1", port);
    OK(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    OK(bind(s, (void *)&a, sizeof a));
    OK(close(c));
    int t[2];
    for (int i = 0; i < 2; i++) {
        t[i] = OK(socket(AF_INET, SOCK_STREAM, 0));
        OK(setsockopt(t[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
        if (i == 0) a = in4("127.0.0.1", 0);
        OK(bind(t[i], (void *)&a, sizeof a));
        OK(listen(t[i], 5));
        a = in4("127.0.0.1", port_of(t[0]));
    }
    conn(port_of(t[0]));
    struct pollfd v[2] = {{t[0], POLLIN}, {t[1], POLLIN}};
    EQ(OK(poll(v, 2, 1000)), 1);
    int u = OK(socket(AF_INET, SOCK_STREAM, 0));
    OK(listen(u, 5));
    TRUE(port_of(u) > 0);
    conn(port_of(u));
    OK(accept(u, 0, 0));
}
CASE(options) {
    int s[2], v, on = 1;
    socklen_t l = sizeof v;
    tcp_pair(s);
    OK(setsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    OK(getsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &v, &l));
    EQ(v, 1);
    OK(setsockopt(s[0], SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on));
    OK(getsockopt(s[0], SOL_SOCKET, SO_KEEPALIVE, &v, &l));
    EQ(v, 1);
    int idle = 30;
    OK(setsockopt(s[0], IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle));
    OK(getsockopt(s[0], IPPROTO_TCP, TCP_KEEPIDLE, &v, &l));
    EQ(v, 30);
    OK(getsockopt(s[0], IPPROTO_IP, IP_TTL, &v, &l));
    EQ(v, 64);
    OK(getsockopt(s[0], SOL_SOCKET, SO_PROTOCOL, &v, &l));
    EQ(v, IPPROTO_TCP);
    struct tcp_info ti;
    l = sizeof ti;
    OK(getsockopt(s[0], IPPROTO_TCP, TCP_INFO, &ti, &l));
    EQ(ti.tcpi_state, TCP_ESTABLISHED);
    l = sizeof v;
    ERR(ENOPROTOOPT, getsockopt(s[0], IPPROTO_TCP, 999, &v, &l));
    ERR(ENOPROTOOPT, setsockopt(s[0], SOL_SOCKET, 999, &v, sizeof v));
    int size = 10000;
    OK(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    OK(getsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, &l));
    EQ(v, 20000);
    OK(setsockopt(s[0], SOL_SOCKET, SO_RCVBUF, &size, sizeof size));
    OK(getsockopt(s[0], SOL_SOCKET, SO_RCVBUF, &v, &l));
    EQ(v, 20000);
    ERR(EINVAL, setsockopt(s[0], SOL_SOCKET, SO_KEEPALIVE, &on, 1));
    ERR(EFAULT, setsockopt(s[0], SOL_SOCKET, SO_KEEPALIVE, BAD_PTR, 4));
}
CASE(backlog_and_late_accept) {
    int l = listener(0);
    int a = conn(port_of(l));
    pid_t p = CHILD({
        for (int i = 0; i < 3; i++) conn(port_of(l));
    });
    nap_ms(50);
    for (int i = 0; i < 4; i++) OK(accept(l, 0, 0));
    REAP(p, 0);
    OK(close(a));
}
CASE(udp) {
    int r = bound(SOCK_DGRAM, "127.0.0.1", 0), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
    struct sockaddr_in to = in4("127.0.0.1", port_of(r)), from;
    socklen_t l = sizeof from;
    char b[100];
    ERR(EDESTADDRREQ, send(s, "x", 1, 0));
    EQ(OK(sendto(s, "hello", 5, 0, (void *)&to, sizeof to)), 5);
    EQ(OK(sendto(s, "", 0, 0, (void *)&to, sizeof to)), 0);
    EQ(wait_for(r, POLLIN), POLLIN);
    int q = 0;
    OK(ioctl(r, FIONREAD, &q));
    EQ(q, 5);
    EQ(OK(recvfrom(r, b, 3, MSG_TRUNC, (void *)&from, &l)), 5);
    EQ(ntohs(from.sin_port), port_of(s));
    EQ(OK(recv(r, b, 100, 0)), 0);
    ERR(EAGAIN, recv(r, b, 100, MSG_DONTWAIT));
    OK(connect(s, (void *)&to, sizeof to));
    OK(send(s, "c", 1, 0));
    EQ(OK(recv(r, b, 100, 0)), 1);
    OK(connect(r, (void *)&from, sizeof from));
    int t = OK(socket(AF_INET, SOCK_DGRAM, 0));
    OK(sendto(t, "other", 5, 0, (void *)&to, sizeof to));
    nap_ms(10);
    ERR(EAGAIN, recv(r, b, 100, MSG_DONTWAIT));
    OK(close(r));
    OK(send(s, "gone", 4, 0));
    nap_ms(10);
    ERR(ECONNREFUSED, send(s, "again", 5, 0));
    to.sin_family = AF_UNSPEC;
    OK(connect(s, (void *)&to, sizeof to));
    ERR(EDESTADDRREQ, send(s, "x", 1, 0));
    to.sin_family = AF_INET;
    ERR(EMSGSIZE, sendto(s, malloc(70000), 70000, 0, (void *)&to, sizeof to));
    ERR(EOPNOTSUPP, listen(s, 1));
    ERR(EADDRINUSE, bind(OK(socket(AF_INET, SOCK_DGRAM, 0)), ({
        to = in4("127.0.0.1", port_of(t));
        (void *)&to;
    }), sizeof to));
}
CASE(udp_pktinfo) {
    int r = bound(SOCK_DGRAM, "0.0.0.0", 0), s = OK(socket(AF_INET, SOCK_DGRAM, 0)), on = 1;
    OK(setsockopt(r, IPPROTO_IP, IP_PKTINFO, &on, sizeof on));
    struct sockaddr_in to = in4("127.0.0.9", port_of(r));
    OK(sendto(s, "x", 1, 0, (void *)&to, sizeof to));
    char b[10], c[100];
    struct iovec v = {b, 10};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
    EQ(OK(recvmsg(r, &m, 0)), 1);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    TRUE(h && h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_PKTINFO);
    struct in_pktinfo *i = (void *)CMSG_DATA(h);
    EQ(i->ipi_addr.s_addr, to.sin_addr.s_addr);
}
CASE(both_families) {
    int s = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    if (s == -1 || bind(s, (void *)&a, sizeof a)) SKIP("no IPv6");
    OK(listen(s, 5));
    int c = OK(socket(AF_INET6, SOCK_STREAM, 0));
    a.sin6_port = htons(port_of(s));
    OK(connect(c, (void *)&a, sizeof a));
    socklen_t l = sizeof a;
    OK(accept(s, (void *)&a, &l));
    EQ(l, sizeof a);
    TRUE(IN6_IS_ADDR_LOOPBACK(&a.sin6_addr));
    int d = OK(socket(AF_INET6, SOCK_STREAM, 0));
    a = (struct sockaddr_in6){.sin6_family = AF_INET6};
    OK(bind(d, (void *)&a, sizeof a));
    OK(listen(d, 5));
    conn(port_of(d));
    l = sizeof a;
    OK(accept(d, (void *)&a, &l));
    TRUE(IN6_IS_ADDR_V4MAPPED(&a.sin6_addr));
    int o = OK(socket(AF_INET6, SOCK_STREAM, 0)), on = 1;
    OK(setsockopt(o, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
    a = (struct sockaddr_in6){.sin6_family = AF_INET6};
    OK(bind(o, (void *)&a, sizeof a));
    OK(listen(o, 5));
    struct sockaddr_in b = in4("127.0.0.1", port_of(o));
    ERR(ECONNREFUSED, connect(OK(socket(AF_INET, SOCK_STREAM, 0)), (void *)&b, sizeof b));
}
CASE(epoll_server) {
    int l = listener(50), ep = OK(epoll_create1(0)), port = port_of(l);
    struct epoll_event e = {EPOLLIN, {.fd = l}}, got[8];
    OK(epoll_ctl(ep, EPOLL_CTL_ADD, l, &e));
    pid_t p = CHILD({
        int s[20];
        char b[10];
        for (int i = 0; i < 20; i++) s[i] = conn(port);
        for (int r = 0; r < 50; r++)
            for (int i = 0; i < 20; i++) {
                OK(write(s[i], "ping", 4));
                EQ(OK(recv(s[i], b, 4, MSG_WAITALL)), 4);
            }
    });
    int open = 0, seen = 0;
    while (seen < 20 || open > 0) {
        int n = OK(epoll_wait(ep, got, 8, 5000));
        TRUE(n > 0);
        for (int i = 0; i < n; i++) {
            if (got[i].data.fd == l) {
                e.data.fd = OK(accept4(l, 0, 0, SOCK_NONBLOCK));
                e.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
                OK(epoll_ctl(ep, EPOLL_CTL_ADD, e.data.fd, &e));
                open++, seen++;
                continue;
            }
            char b[100];
            ssize_t k;
            while ((k = read(got[i].data.fd, b, 100)) > 0) EQ(OK(write(got[i].data.fd, b, k)), k);
            if (k == 0) {
                OK(close(got[i].data.fd));
                open--;
            }
        }
    }
    REAP(p, 0);
}
CASE(devices) {
    EQ(if_nametoindex("lo"), 1);
    char name[IF_NAMESIZE];
    STREQ(if_indextoname(1, name), "lo");
    struct ifaddrs *all;
    OK(getifaddrs(&all));
    int found = 0;
    for (struct ifaddrs *i = all; i; i = i->ifa_next)
        if (!strcmp(i->ifa_name, "lo") && i->ifa_addr && i->ifa_addr->sa_family == AF_INET) {
            found++;
            EQ(((struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
            EQ(((struct sockaddr_in *)i->ifa_netmask)->sin_addr.s_addr, htonl(0xff000000));
            TRUE(i->ifa_flags & IFF_LOOPBACK);
        }
    EQ(found, 1);
    int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
    struct ifreq r = {.ifr_name = "lo"};
    OK(ioctl(s, SIOCGIFFLAGS, &r));
    TRUE((r.ifr_flags & (IFF_UP | IFF_LOOPBACK | IFF_RUNNING)) == (IFF_UP | IFF_LOOPBACK | IFF_RUNNING));
    OK(ioctl(s, SIOCGIFMTU, &r));
    EQ(r.ifr_mtu, 65536);
    strcpy(r.ifr_name, "nope");
    ERR(ENODEV, ioctl(s, SIOCGIFFLAGS, &r));
    struct ifconf c = {.ifc_len = 0};
    OK(ioctl(s, SIOCGIFCONF, &c));
    TRUE(c.ifc_len >= (int)sizeof r);
}
CASE(proc_tables) {
    int l = listener(5);
    struct stat st;
    OK(fstat(l, &st));
    char want[100], ino[40];
    snprintf(want, sizeof want, "0100007F:%04X 00000000:0000 0A", port_of(l));
    snprintf(ino, sizeof ino, " %lu ", (unsigned long)st.st_ino);
    FILE *f = fopen("/proc/net/tcp", "r");
    TRUE(f);
    char line[300];
    int found = 0;
    while (fgets(line, sizeof line, f))
        if (strstr(line, want) && strstr(line, ino)) found++;
    EQ(found, 1);
    char link[100] = "", path[50];
    snprintf(path, sizeof path, "/proc/self/fd/%d", l);
    OK(readlink(path, link, sizeof link - 1));
    snprintf(want, sizeof want, "socket:[%lu]", (unsigned long)st.st_ino);
    STREQ(link, want);
}
CASE(hops_and_traffic_class) {
    int r = socket(AF_INET6, SOCK_DGRAM, 0), on = 1;
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    if (r == -1 || bind(r, (void *)&a, sizeof a)) SKIP("no IPv6");
    a.sin6_port = htons(port_of(r));
    OK(setsockopt(r, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof on));
    int s = OK(socket(AF_INET6, SOCK_DGRAM, 0)), hops = 7;
    char b[10], c[100] = {0};
    struct iovec v = {b, 1};
    struct msghdr m = {&a, sizeof a, &v, 1, c, CMSG_SPACE(sizeof hops)};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    *h = (struct cmsghdr){CMSG_LEN(sizeof hops), IPPROTO_IPV6, IPV6_HOPLIMIT};
    memcpy(CMSG_DATA(h), &hops, sizeof hops);
    OK(sendmsg(s, &m, 0));
    m = (struct msghdr){.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
    OK(recvmsg(r, &m, 0));
    h = CMSG_FIRSTHDR(&m);
    TRUE(h && h->cmsg_type == IPV6_HOPLIMIT);
    memcpy(&hops, CMSG_DATA(h), sizeof hops);
    EQ(hops, 7);
}
CASE(a_disconnected_udp_socket_forgets_its_address) {
    struct sockaddr_in r = in4("127.0.0.1", 9), a;
    socklen_t l = sizeof a;
    int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
    OK(connect(s, (void *)&r, sizeof r));
    OK(getsockname(s, (void *)&a, &l));
    EQ(a.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    r.sin_family = AF_UNSPEC;
    OK(connect(s, (void *)&r, sizeof r));
    OK(getsockname(s, (void *)&a, &l));
    EQ(a.sin_addr.s_addr, 0);
    EQ(a.sin_port, 0);
}
CASE(options_of_unknown_levels) {
    int stream = (int)OK(socket(AF_INET, SOCK_STREAM, 0)), datagram = (int)OK(socket(AF_INET, SOCK_DGRAM, 0));
    int local = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0)), value = 1;
    socklen_t len = sizeof value;
    ERR(EOPNOTSUPP, getsockopt(stream, 500, 1, &value, &len));
    ERR(EOPNOTSUPP, getsockopt(stream, IPPROTO_UDP, 1, &value, &len));
    ERR(EOPNOTSUPP, getsockopt(datagram, IPPROTO_TCP, 1, &value, &len));
    ERR(EOPNOTSUPP, getsockopt(local, IPPROTO_TCP, 1, &value, &len));
    ERR(ENOPROTOOPT, getsockopt(stream, IPPROTO_TCP, -1, &value, &len));
    ERR(ENOPROTOOPT, getsockopt(stream, IPPROTO_IP, -1, &value, &len));
    ERR(ENOPROTOOPT, getsockopt(datagram, IPPROTO_UDP, -1, &value, &len));
    ERR(ENOPROTOOPT, setsockopt(stream, 500, 1, &value, sizeof value));
}
