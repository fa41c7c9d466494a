/* Sockets: urgent data, corks, groups, times of messages, errors of making one. */
#include "t.h"
#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

static int told;
static void count(int sig) {
    (void)sig;
    told++;
}
static struct sockaddr_in at(const char *ip, int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, ip, &a.sin_addr);
    return a;
}
static int bound(int type, const char *ip, struct sockaddr_in *name) {
    socklen_t len = sizeof *name;
    int s = OK(socket(AF_INET, type, 0));
    *name = at(ip, 0);
    OK(bind(s, (void *)name, sizeof *name));
    OK(getsockname(s, (void *)name, &len));
    return s;
}
static void tcp(int s[2]) {
    struct sockaddr_in a;
    int l = bound(SOCK_STREAM, "127.0.0.1", &a), one = 1;
    OK(listen(l, 1));
    s[0] = OK(socket(AF_INET, SOCK_STREAM, 0));
    OK(connect(s[0], (void *)&a, sizeof a));
    OK(setsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    s[1] = OK(accept(l, 0, 0));
    OK(close(l));
}
static int ready(int fd, int events, int wait) {
    struct pollfd p = {fd, events, 0};
    OK(poll(&p, 1, wait));
    return p.revents;
}
static int marked(int fd) {
    int mark = -1;
    OK(ioctl(fd, SIOCATMARK, &mark));
    return mark;
}
#define SEND(fd, text, flags) EQ(OK(send(fd, text, strlen(text), flags)), strlen(text))
#define RECV(fd, want, flags)                                                                           \
    do {                                                                                                \
        char got[64] = "";                                                                              \
        OK(recv(fd, got, sizeof got - 1, (flags) | MSG_DONTWAIT));                                      \
        STREQ(got, want);                                                                               \
    } while (0)
#define NOTHING(fd, flags)                                                                              \
    do {                                                                                                \
        char got[64];                                                                                   \
        ERR(EAGAIN, recv(fd, got, sizeof got, (flags) | MSG_DONTWAIT));                                 \
    } while (0)
#define NO_URGENT(fd)                                                                                   \
    do {                                                                                                \
        char got[64];                                                                                   \
        ERR(EINVAL, recv(fd, got, sizeof got, MSG_OOB | MSG_DONTWAIT));                                 \
    } while (0)

/* What TCP and unix streams have in common. */
static void urgent(int s[2]) {
    int one = 1;
    signal(SIGURG, count);
    OK(fcntl(s[1], F_SETOWN, getpid()));
    NO_URGENT(s[1]);
    SEND(s[0], "abX", MSG_OOB);
    SEND(s[0], "cd", 0);
    EQ(ready(s[1], POLLPRI, 3000), POLLPRI);
    EQ(told, 1);
    EQ(marked(s[1]), 0);
    RECV(s[1], "X", MSG_OOB | MSG_PEEK);
    char byte[2];
    struct iovec v = {byte, 2};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    EQ(OK(recvmsg(s[1], &m, MSG_OOB)), 1);
    EQ(m.msg_flags & (MSG_OOB | MSG_TRUNC), MSG_OOB);
    EQ(byte[0], 'X');
    NO_URGENT(s[1]);
    EQ(ready(s[1], POLLPRI, 0), 0);
    /* A read ends at the mark, the next one begins behind it. */
    RECV(s[1], "ab", MSG_PEEK);
    RECV(s[1], "ab", 0);
    EQ(marked(s[1]), 1);
    EQ(ready(s[1], POLLIN, 3000), POLLIN);
    RECV(s[1], "cd", MSG_PEEK);
    RECV(s[1], "cd", 0);
    EQ(marked(s[1]), 0);
    /* Who passes the mark loses the byte, who wants it inline gets it. */
    SEND(s[0], "aX", MSG_OOB);
    SEND(s[0], "b", 0);
    EQ(ready(s[1], POLLPRI, 3000), POLLPRI);
    RECV(s[1], "a", 0);
    RECV(s[1], "b", 0);
    NO_URGENT(s[1]);
    OK(setsockopt(s[1], SOL_SOCKET, SO_OOBINLINE, &one, sizeof one));
    SEND(s[0], "aX", MSG_OOB);
    SEND(s[0], "b", 0);
    EQ(ready(s[1], POLLPRI, 3000), POLLPRI);
    NO_URGENT(s[1]);
    RECV(s[1], "a", 0);
    EQ(marked(s[1]), 1);
    RECV(s[1], "Xb", 0);
    EQ(marked(s[1]), 0);
    NOTHING(s[1], 0);
    EQ(told, 3);
    /* The latest counts. */
    SEND(s[0], "aX", MSG_OOB);
    SEND(s[0], "bY", MSG_OOB);
    EQ(ready(s[1], POLLPRI, 3000), POLLPRI);
    usleep(10000);
    RECV(s[1], "aXb", 0);
    RECV(s[1], "Y", 0);
}

CASE(urgent_data_of_tcp) {
    int s[2], n;
    tcp(s);
    urgent(s);
    tcp(s);
    SEND(s[0], "X", MSG_OOB);
    EQ(ready(s[1], POLLIN | POLLPRI, 3000), POLLPRI);
    OK(ioctl(s[1], FIONREAD, &n));
    EQ(n, 0);
    EQ(marked(s[1]), 1);
    NOTHING(s[1], 0);
    NO_URGENT(s[1]);
    /* A reset is what unread urgent data lead to, too. */
    SEND(s[0], "X", MSG_OOB);
    EQ(ready(s[1], POLLPRI, 3000), POLLPRI);
    RECV(s[1], "X", MSG_OOB);
    OK(close(s[1]));
    char c;
    ERR(ECONNRESET, recv(s[0], &c, 1, 0));
}

CASE(urgent_data_of_unix_streams) {
    int s[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    ERR(EOPNOTSUPP, send(s[0], "", 0, MSG_OOB));
    urgent(s);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    SEND(s[0], "X", MSG_OOB);
    RECV(s[1], "X", MSG_OOB);
    OK(close(s[1]));
    char c;
    EQ(OK(recv(s[0], &c, 1, 0)), 0);
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    ERR(EOPNOTSUPP, send(s[0], "X", 1, MSG_OOB));
    ERR(EOPNOTSUPP, recv(s[1], &c, 1, MSG_OOB));
}

CASE(a_waiter_for_all_waits_for_urgent_bytes_no_longer_than_for_others) {
    int s[2];
    tcp(s);
    SEND(s[0], "abX", MSG_OOB);
    EQ(ready(s[1], POLLPRI, 3000), POLLPRI);
    char got[9] = "";
    EQ(OK(recv(s[1], got, 4, MSG_WAITALL)), 2);
    STREQ(got, "ab");
}

CASE(udp_corks) {
    struct sockaddr_in a, b;
    int r = bound(SOCK_DGRAM, "127.0.0.1", &a), other = bound(SOCK_DGRAM, "127.0.0.1", &b);
    int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), one = 1, zero = 0, v = -1;
    socklen_t len = sizeof v;
    OK(connect(s, (void *)&a, sizeof a));
    SEND(s, "a", MSG_MORE);
    NOTHING(r, 0);
    SEND(s, "b", MSG_MORE);
    /* Where it goes the first piece has said. */
    EQ(OK(sendto(s, "c", 1, 0, (void *)&b, sizeof b)), 1);
    RECV(r, "abc", 0);
    NOTHING(other, 0);
    OK(setsockopt(s, IPPROTO_UDP, UDP_CORK, &one, sizeof one));
    OK(getsockopt(s, IPPROTO_UDP, UDP_CORK, &v, &len));
    EQ(v, 1);
    SEND(s, "d", 0);
    SEND(s, "e", 0);
    NOTHING(r, 0);
    OK(setsockopt(s, IPPROTO_UDP, UDP_CORK, &zero, sizeof zero));
    RECV(r, "de", 0);
    static char much[40000];
    EQ(OK(send(s, much, sizeof much, MSG_MORE)), sizeof much);
    ERR(EMSGSIZE, send(s, much, sizeof much, MSG_MORE));
    SEND(s, "f", 0);
    RECV(r, "f", 0);
    EQ(OK(send(s, "", 0, MSG_MORE)), 0);
    NOTHING(r, 0);
    EQ(OK(send(s, "", 0, 0)), 0);
    RECV(r, "", 0);
    struct iovec io[2] = {{"g", 1}, {"h", 1}};
    struct mmsghdr m[2] = {{.msg_hdr = {.msg_iov = &io[0], .msg_iovlen = 1}},
                           {.msg_hdr = {.msg_iov = &io[1], .msg_iovlen = 1}}};
    EQ(OK(sendmmsg(s, m, 2, MSG_MORE)), 2);
    SEND(s, "i", 0);
    RECV(r, "ghi", 0);
}

CASE(tcp_corks) {
    int s[2], one = 1, zero = 0;
    tcp(s);
    OK(setsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &zero, sizeof zero));
    SEND(s[0], "ab", MSG_MORE);
    NOTHING(s[1], 0);
    EQ(ready(s[1], POLLIN, 0), 0);
    SEND(s[0], "cd", 0);
    EQ(ready(s[1], POLLIN, 3000), POLLIN);
    RECV(s[1], "abcd", 0);
    OK(setsockopt(s[0], IPPROTO_TCP, TCP_CORK, &one, sizeof one));
    SEND(s[0], "ef", 0);
    NOTHING(s[1], 0);
    OK(setsockopt(s[0], IPPROTO_TCP, TCP_CORK, &zero, sizeof zero));
    EQ(ready(s[1], POLLIN, 3000), POLLIN);
    RECV(s[1], "ef", 0);
    /* It gives way in the end, and to the end. */
    SEND(s[0], "gh", MSG_MORE);
    EQ(ready(s[1], POLLIN, 3000), POLLIN);
    RECV(s[1], "gh", 0);
    SEND(s[0], "ij", MSG_MORE);
    OK(shutdown(s[0], SHUT_WR));
    EQ(ready(s[1], POLLIN, 3000), POLLIN);
    RECV(s[1], "ij", 0);
    usleep(10000);
    RECV(s[1], "", 0);
}

CASE(much_goes_through_a_cork) {
    int s[2], one = 1;
    tcp(s);
    OK(setsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &(int){0}, sizeof one));
    OK(setsockopt(s[0], IPPROTO_TCP, TCP_CORK, &one, sizeof one));
    static char piece[100000];
    pid_t p = CHILD({
        close(s[1]);
        for (int i = 0; i < 50; i++) EQ(OK(send(s[0], piece, sizeof piece, MSG_MORE)), sizeof piece);
    });
    OK(close(s[0]));
    long all = 0, n;
    while ((n = OK(recv(s[1], piece, sizeof piece, 0)))) all += n;
    EQ(all, 50 * sizeof piece);
    REAP(p, 0);
}

CASE(groups_on_loopback) {
    int one = 1, zero = 0;
    struct sockaddr_in a;
    int r = OK(socket(AF_INET, SOCK_DGRAM, 0)), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
    socklen_t len = sizeof a;
    OK(setsockopt(r, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    a = at("0.0.0.0", 0);
    OK(bind(r, (void *)&a, sizeof a));
    OK(getsockname(r, (void *)&a, &len));
    struct sockaddr_in group = at("239.86.3.1", ntohs(a.sin_port));
    struct ip_mreqn by_number = {group.sin_addr, {0}, 1};
    struct ip_mreq by_address = {group.sin_addr, {htonl(INADDR_LOOPBACK)}};
    struct ip_mreq none = {{htonl(INADDR_LOOPBACK)}, {htonl(INADDR_LOOPBACK)}};
    ERR(EINVAL, setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &none, sizeof none));
    ERR(EINVAL, setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &none, 4));
    ERR(EADDRNOTAVAIL, setsockopt(r, IPPROTO_IP, IP_DROP_MEMBERSHIP, &by_address, sizeof by_address));
    OK(setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_number, sizeof by_number));
    ERR(EADDRINUSE, setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_address, sizeof by_address));
    OK(setsockopt(r, IPPROTO_IP, IP_PKTINFO, &one, sizeof one));
    OK(setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &by_address.imr_interface, 4));
    struct in_addr through;
    len = sizeof through;
    OK(getsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &through, &len));
    EQ(through.s_addr, htonl(INADDR_LOOPBACK));
    EQ(OK(sendto(s, "m", 1, 0, (void *)&group, sizeof group)), 1);
    char byte, control[128];
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 128};
    EQ(ready(r, POLLIN, 3000), POLLIN);
    EQ(OK(recvmsg(r, &m, 0)), 1);
    struct in_pktinfo info;
    memcpy(&info, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof info);
    EQ(info.ipi_ifindex, 1);
    EQ(info.ipi_addr.s_addr, group.sin_addr.s_addr);
    EQ(info.ipi_spec_dst.s_addr, htonl(INADDR_LOOPBACK));
    /* Another socket of the port takes it as long as it says so. */
    int r2 = OK(socket(AF_INET, SOCK_DGRAM, 0));
    OK(setsockopt(r2, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    OK(bind(r2, (void *)&a, sizeof a));
    EQ(OK(sendto(s, "n", 1, 0, (void *)&group, sizeof group)), 1);
    RECV(r, "n", 0);
    RECV(r2, "n", 0);
    OK(setsockopt(r2, IPPROTO_IP, IP_MULTICAST_ALL, &zero, sizeof zero));
    EQ(OK(sendto(s, "o", 1, 0, (void *)&group, sizeof group)), 1);
    RECV(r, "o", 0);
    NOTHING(r2, 0);
    OK(setsockopt(r, IPPROTO_IP, IP_DROP_MEMBERSHIP, &by_address, sizeof by_address));
    EQ(OK(sendto(s, "p", 1, 0, (void *)&group, sizeof group)), 1);
    NOTHING(r, 0);
    /* struct group_req; a connection that is accepted is in no group. */
    struct group_req wish = {.gr_interface = 1};
    memcpy(&wish.gr_group, &group, sizeof group);
    struct sockaddr_in to;
    int l = bound(SOCK_STREAM, "127.0.0.1", &to), c = OK(socket(AF_INET, SOCK_STREAM, 0));
    OK(setsockopt(l, IPPROTO_IP, MCAST_JOIN_GROUP, &wish, sizeof wish));
    OK(listen(l, 1));
    OK(connect(c, (void *)&to, sizeof to));
    int e = OK(accept(l, 0, 0));
    ERR(EADDRNOTAVAIL, setsockopt(e, IPPROTO_IP, MCAST_LEAVE_GROUP, &wish, sizeof wish));
    OK(setsockopt(l, IPPROTO_IP, MCAST_LEAVE_GROUP, &wish, sizeof wish));
    /* All of the loopback network. */
    struct sockaddr_in all = at("127.255.255.255", ntohs(a.sin_port));
    ERR(EACCES, sendto(s, "b", 1, 0, (void *)&all, sizeof all));
    OK(setsockopt(s, SOL_SOCKET, SO_BROADCAST, &one, sizeof one));
    EQ(OK(sendto(s, "b", 1, 0, (void *)&all, sizeof all)), 1);
    RECV(r, "b", 0);
    RECV(r2, "b", 0);
}

static void stamped(int from, int to, int option, int ns) {
    int one = 1;
    OK(setsockopt(to, SOL_SOCKET, option, &one, sizeof one));
    SEND(from, "t", 0);
    char byte, control[64];
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 64};
    EQ(OK(recvmsg(to, &m, 0)), 1);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    TRUE(h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == option && h->cmsg_len == CMSG_LEN(16));
    long when[2];
    memcpy(when, CMSG_DATA(h), 16);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    TRUE(when[0] >= now.tv_sec - 20 && when[0] <= now.tv_sec && when[1] < (ns ? 1000000000 : 1000000));
}

CASE(times_of_messages) {
    struct sockaddr_in a;
    int s[2] = {OK(socket(AF_INET, SOCK_DGRAM, 0)), bound(SOCK_DGRAM, "127.0.0.1", &a)};
    OK(connect(s[0], (void *)&a, sizeof a));
    for (int unix_too = 0; unix_too < 2; unix_too++) {
        stamped(s[0], s[1], SO_TIMESTAMP, 0);
        stamped(s[0], s[1], SO_TIMESTAMPNS, 1);
        int v = -1;
        socklen_t len = sizeof v;
        OK(getsockopt(s[1], SOL_SOCKET, SO_TIMESTAMP, &v, &len));
        EQ(v, 0);
        OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    }
}

CASE(errors_of_making_sockets) {
    int s[2];
    ERR(EAFNOSUPPORT, socket(0, SOCK_STREAM, 0));
    ERR(EAFNOSUPPORT, socket(100, SOCK_STREAM, 0));
    ERR(EINVAL, socket(AF_INET, 75, 0));
    ERR(ESOCKTNOSUPPORT, socket(AF_INET, 4, 0));
    ERR(EINVAL, socket(AF_INET, SOCK_STREAM, 300));
    ERR(EINVAL, socket(AF_INET, SOCK_STREAM, -1));
    ERR(EPROTONOSUPPORT, socket(AF_INET, SOCK_RAW, 0));
    ERR(EPROTONOSUPPORT, socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
    ERR(EPROTONOSUPPORT, socket(AF_UNIX, 4, 7));
    ERR(EPROTONOSUPPORT, socket(AF_NETLINK, SOCK_RAW, 77));
    ERR(EAFNOSUPPORT, socketpair(0, SOCK_STREAM, 0, s));
    ERR(EPROTONOSUPPORT, socketpair(AF_INET, SOCK_DGRAM, IPPROTO_TCP, s));
    ERR(EPROTONOSUPPORT, socketpair(AF_INET, SOCK_STREAM, IPPROTO_ICMP, s));
    ERR(EOPNOTSUPP, socketpair(AF_INET, SOCK_DGRAM, 0, s));
    ERR(EOPNOTSUPP, socketpair(AF_INET6, SOCK_STREAM, 0, s));
    int t = OK(socket(AF_INET, SOCK_STREAM, 0)), one = 1;
    ERR(EOPNOTSUPP, setsockopt(t, SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
    struct {
        int pid, uid, gid;
    } peer;
    socklen_t len = sizeof peer;
    OK(getsockopt(t, SOL_SOCKET, SO_PEERCRED, &peer, &len));
    EQ(peer.pid, 0);
    EQ(peer.uid, -1);
}

CASE(a_monitor_of_devices_waits) {
    int s = OK(socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
    struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = 2};
    OK(bind(s, (void *)&a, sizeof a));
    EQ(ready(s, POLLIN, 0), 0);
    NOTHING(s, 0);
}

static void refused(int s, void *to, socklen_t len, int level, int option, int origin, int type, int code) {
    int one = 1;
    char data[64], control[128];
    struct sockaddr_in6 from;
    struct iovec v = {data, sizeof data};
    struct msghdr m = {&from, sizeof from, &v, 1, control, sizeof control, 0};
    OK(setsockopt(s, level, option, &one, sizeof one));
    ERR(EAGAIN, recvmsg(s, &m, MSG_ERRQUEUE));
    EQ(OK(sendto(s, "hallo", 5, 0, to, len)), 5);
    EQ(ready(s, POLLIN, 3000), POLLERR);
    EQ(OK(recvmsg(s, &m, MSG_ERRQUEUE)), 5);
    EQ(m.msg_flags & MSG_ERRQUEUE, MSG_ERRQUEUE);
    EQ(memcmp(data, "hallo", 5), 0);
    EQ(m.msg_namelen, len);
    EQ(memcmp(&from, to, 8), 0);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    TRUE(h && h->cmsg_level == level && h->cmsg_type == option);
    EQ(h->cmsg_len, CMSG_LEN(16 + len));
    struct sock_extended_err e;
    memcpy(&e, CMSG_DATA(h), sizeof e);
    EQ(e.ee_errno, ECONNREFUSED);
    EQ(e.ee_origin, origin);
    EQ(e.ee_type, type);
    EQ(e.ee_code, code);
    /* Who has read of it all is not told again. */
    EQ(ready(s, POLLIN, 0), 0);
    NOTHING(s, 0);
    ERR(EAGAIN, recvmsg(s, &m, MSG_ERRQUEUE));
    /* Who is told by errno can still ask. */
    EQ(OK(sendto(s, "hallo", 5, 0, to, len)), 5);
    EQ(ready(s, POLLIN, 3000), POLLERR);
    ERR(ECONNREFUSED, recv(s, data, 1, MSG_DONTWAIT));
    EQ(ready(s, POLLIN, 0), POLLERR);
    m.msg_controllen = sizeof control;
    EQ(OK(recvmsg(s, &m, MSG_ERRQUEUE)), 5);
}

CASE(errors_of_datagrams) {
    struct sockaddr_in a;
    OK(close(bound(SOCK_DGRAM, "127.0.0.1", &a)));
    int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
    refused(s, &a, sizeof a, IPPROTO_IP, IP_RECVERR, SO_EE_ORIGIN_ICMP, 3, 3);
    struct sockaddr_in6 b = {.sin6_family = AF_INET6, .sin6_port = a.sin_port, .sin6_addr = in6addr_loopback};
    s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
    refused(s, &b, sizeof b, IPPROTO_IPV6, IPV6_RECVERR, SO_EE_ORIGIN_ICMP6, 1, 4);
}

CASE(routes_of_loopback) {
    int s = OK(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    struct {
        struct nlmsghdr h;
        struct rtmsg r;
        struct rtattr a;
        unsigned char to[4];
    } ask = {{sizeof ask, RTM_GETROUTE, NLM_F_REQUEST, 7, 0}, {AF_INET, 32}, {8, RTA_DST}, {127, 0, 0, 1}};
    EQ(OK(send(s, &ask, sizeof ask, 0)), sizeof ask);
    char answer[8192];
    struct nlmsghdr *h = (void *)answer;
    OK(recv(s, answer, sizeof answer, 0));
    EQ(h->nlmsg_type, RTM_NEWROUTE);
    struct rtmsg *r = NLMSG_DATA(h);
    EQ(r->rtm_type, RTN_LOCAL);
    int left = RTM_PAYLOAD(h), device = 0;
    for (struct rtattr *a = RTM_RTA(r); RTA_OK(a, left); a = RTA_NEXT(a, left))
        if (a->rta_type == RTA_OIF) memcpy(&device, RTA_DATA(a), 4);
    EQ(device, 1);
    ask.h.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    ask.h.nlmsg_len = NLMSG_LENGTH(sizeof ask.r);
    ask.r.rtm_dst_len = 0;
    OK(send(s, &ask, ask.h.nlmsg_len, 0));
    for (int found = 0, done = 0; !done;) {
        int n = OK(recv(s, answer, sizeof answer, 0));
        for (h = (void *)answer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
            done = h->nlmsg_type == NLMSG_DONE;
            r = NLMSG_DATA(h);
            if (!done && r->rtm_type == RTN_LOCAL && r->rtm_dst_len == 8) found++;
        }
        if (done) TRUE(found);
    }
}

/* Lines in pairs: names, and as many values. */
CASE(tables_of_counters) {
    const char *paths[] = {"/proc/net/snmp", "/proc/net/netstat"};
    for (int i = 0; i < 2; i++) {
        FILE *f = fopen(paths[i], "r");
        static char line[2][8192];
        int lines = 0, words[2] = {0};
        while (fgets(line[lines % 2], 8192, f)) {
            words[lines % 2] = 0;
            for (char *w = strtok(line[lines % 2], " \n"); w; w = strtok(0, " \n")) words[lines % 2]++;
            if (lines++ % 2) EQ(words[0], words[1]);
        }
        TRUE(lines >= 4 && lines % 2 == 0);
    }
    OK(socket(AF_INET, SOCK_DGRAM, 0));
    int used = 0, inuse = -1;
    FILE *f = fopen("/proc/net/sockstat", "r");
    EQ(fscanf(f, "sockets: used %d TCP: inuse %d", &used, &inuse), 2);
    TRUE(used > 0 && inuse >= 0);
}

/* What an RTM_GETLINK or RTM_NEWLINK about a device of this name leads to. */
static int about(const char *name, int type, int flags) {
    int s = OK(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    struct {
        struct nlmsghdr h;
        struct ifinfomsg i;
        struct rtattr a;
        char name[16];
    } ask = {{sizeof ask, type, NLM_F_REQUEST | NLM_F_ACK, 7, 0}, {.ifi_flags = flags, .ifi_change = flags}};
    ask.a = (struct rtattr){RTA_LENGTH(strlen(name) + 1), IFLA_IFNAME};
    strcpy(ask.name, name);
    ask.h.nlmsg_len = NLMSG_LENGTH(sizeof ask.i) + RTA_SPACE(strlen(name) + 1);
    OK(send(s, &ask, ask.h.nlmsg_len, 0));
    char answer[8192];
    struct nlmsghdr *h = (void *)answer;
    OK(recv(s, answer, sizeof answer, 0));
    OK(close(s));
    if (h->nlmsg_type != NLMSG_ERROR) return 0;
    return -((struct nlmsgerr *)NLMSG_DATA(h))->error;
}

CASE(devices_by_name) {
    EQ(about("lo", RTM_GETLINK, 0), 0);
    EQ(about("nosuch", RTM_GETLINK, 0), ENODEV);
    struct ifreq r = {.ifr_name = "lo"};
    OK(ioctl(OK(socket(AF_INET, SOCK_DGRAM, 0)), SIOCGIFFLAGS, &r));
    /* It is up already. */
    if (r.ifr_flags & IFF_UP) EQ(about("lo", RTM_NEWLINK, 1), geteuid() ? EPERM : 0);
}

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* A descriptor of the process that was at the other end. */
CASE(the_process_of_a_peer) {
    int s[2], fd = -1, t = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    socklen_t len = sizeof fd;
    if (getsockopt(t, SOL_SOCKET, SO_PEERPIDFD, &fd, &len) && errno == ENOPROTOOPT) SKIP("SO_PEERPIDFD");
    ERR(ENODATA, getsockopt(t, SOL_SOCKET, SO_PEERPIDFD, &fd, &len));
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    len = 8;
    OK(getsockopt(s[0], SOL_SOCKET, SO_PEERPIDFD, &fd, &len));
    EQ(len, sizeof fd);
    EQ(OK(fcntl(fd, F_GETFD)), FD_CLOEXEC);
    EQ(OK(syscall(SYS_pidfd_send_signal, fd, 0, 0, 0)), 0);
    pid_t p = CHILD(EQ(ready(fd, POLLIN, 0), 0));
    REAP(p, 0);
}
