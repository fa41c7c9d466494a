/* inotify: what is told of files and directories, and how. */
#include "t.h"
#include <sys/epoll.h>
#include <sys/inotify.h>

static int in;
/* The next events as text: "mask:name;" with masks in hexadecimal. */
static const char *events(void) {
    static char out[8192];
    char b[8192] __attribute__((aligned(8)));
    out[0] = 0;
    ssize_t len = read(in, b, sizeof b);
    if (len == -1 && errno == EAGAIN) return out;
    OK(len);
    for (char *p = b; p < b + len;) {
        struct inotify_event *e = (void *)p;
        snprintf(out + strlen(out), 200, "%x:%s;", e->mask, e->len ? e->name : "");
        p += sizeof *e + e->len;
    }
    return out;
}
static int watch(const char *path, uint32_t mask) {
    if (!in) in = OK(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    return OK(inotify_add_watch(in, path, mask));
}

CASE(files_of_a_directory) {
    watch(".", IN_ALL_EVENTS);
    int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
    OK(write(fd, "abc", 3));
    char b[10];
    OK(pread(fd, b, 3, 0));
    OK(ftruncate(fd, 1));
    OK(fchmod(fd, 0600));
    OK(close(fd));
    STREQ(events(), "100:f;20:f;2:f;1:f;2:f;4:f;8:f;");
    OK(close(OK(open("f", O_RDONLY))));
    STREQ(events(), "20:f;10:f;");
    OK(close(OK(open("f", O_WRONLY | O_TRUNC))));
    STREQ(events(), "20:f;2:f;8:f;");
    OK(symlink("f", "s"));
    OK(link("f", "l"));
    OK(mkdir("d", 0755));
    OK(mkfifo("p", 0644));
    STREQ(events(), "100:s;100:l;40000100:d;100:p;");
    OK(truncate("f", 5));
    OK(utimensat(AT_FDCWD, "f", 0, 0));
    OK(unlink("l"));
    OK(rmdir("d"));
    STREQ(events(), "2:f;4:f;200:l;40000200:d;");
}
CASE(moves) {
    OK(mkdir("a", 0755));
    OK(mkdir("b", 0755));
    putc_("a/x", "");
    putc_("b/y", "");
    int wa = watch("a", IN_MOVE), wb = watch("b", IN_MOVE | IN_DELETE);
    TRUE(wa != wb);
    watch("a/x", IN_MOVE_SELF);
    watch("b/y", IN_ATTRIB | IN_DELETE_SELF);
    OK(rename("a/x", "b/y"));
    STREQ(events(), "40:x;80:y;4:;800:;400:;8000:;");
    OK(mkdir("a/d", 0755));
    OK(rename("a/d", "b/d"));
    STREQ(events(), "40000040:d;40000080:d;");
}
CASE(cookies_tie_moves) {
    watch(".", IN_MOVE);
    putc_("a", "");
    putc_("b", "");
    OK(rename("a", "c"));
    OK(rename("b", "d"));
    char b[4096] __attribute__((aligned(8)));
    ssize_t len = OK(read(in, b, sizeof b));
    uint32_t cookie[4];
    int n = 0;
    for (char *p = b; p < b + len; n++) {
        struct inotify_event *e = (void *)p;
        TRUE(n < 4);
        cookie[n] = e->cookie;
        p += sizeof *e + e->len;
    }
    EQ(n, 4);
    TRUE(cookie[0] && cookie[0] == cookie[1] && cookie[2] == cookie[3] && cookie[0] != cookie[2]);
}
CASE(a_watched_file_goes) {
    putc_("f", "");
    OK(link("f", "g"));
    watch("f", IN_ALL_EVENTS);
    OK(unlink("f"));
    STREQ(events(), "4:;");
    int fd = OK(open("g", O_RDONLY));
    OK(unlink("g"));
    STREQ(events(), "20:;4:;");
    OK(close(fd));
    STREQ(events(), "10:;400:;8000:;");
    OK(mkdir("d", 0755));
    watch("d", IN_ALL_EVENTS);
    OK(rmdir("d"));
    STREQ(events(), "400:;8000:;");
}
CASE(oneshot_and_masks) {
    putc_("f", "");
    int w = watch("f", IN_OPEN | IN_ONESHOT);
    OK(close(OK(open("f", O_RDONLY))));
    STREQ(events(), "20:;8000:;");
    ERR(EINVAL, inotify_rm_watch(in, w));
    w = watch("f", IN_OPEN);
    EQ(watch("f", IN_CLOSE_NOWRITE | IN_MASK_ADD), w);
    OK(close(OK(open("f", O_RDONLY))));
    STREQ(events(), "20:;10:;");
    EQ(watch("f", IN_ATTRIB), w);
    OK(close(OK(open("f", O_RDONLY))));
    OK(chmod("f", 0600));
    STREQ(events(), "4:;");
    ERR(EEXIST, inotify_add_watch(in, "f", IN_ATTRIB | IN_MASK_CREATE));
    ERR(EINVAL, inotify_add_watch(in, "f", IN_ATTRIB | IN_MASK_CREATE | IN_MASK_ADD));
    ERR(ENOTDIR, inotify_add_watch(in, "f", IN_ATTRIB | IN_ONLYDIR));
    OK(symlink("f", "s"));
    EQ(watch("s", IN_ATTRIB), w);
    TRUE(watch("s", IN_ATTRIB | IN_DONT_FOLLOW) != w);
    ERR(EBADF, inotify_add_watch(99, "f", IN_ATTRIB));
}
CASE(repetitions_are_told_once) {
    watch(".", IN_MODIFY);
    int fd = put("f", "");
    for (int i = 0; i < 10; i++) OK(write(fd, "x", 1));
    STREQ(events(), "2:f;");
}
CASE(short_buffers) {
    watch(".", IN_CREATE);
    putc_("f", "");
    putc_("g", "");
    char b[40] __attribute__((aligned(8)));
    int n = 0;
    OK(ioctl(in, FIONREAD, &n));
    EQ(n, 64);
    ERR(EINVAL, read(in, b, 31));
    EQ(OK(read(in, b, 40)), 32);
    EQ(OK(read(in, b, 40)), 32);
    ERR(EAGAIN, read(in, b, 40));
}
CASE(overflow) {
    watch(".", IN_CREATE | IN_DELETE);
    for (int i = 0; i < 9000; i++) {
        char n[20];
        sprintf(n, "%d", i);
        OK(close(OK(open(n, O_CREAT | O_WRONLY, 0600))));
        OK(unlink(n));
    }
    char b[65536] __attribute__((aligned(8)));
    ssize_t len;
    int total = 0, overflows = 0;
    while ((len = read(in, b, sizeof b)) > 0)
        for (char *p = b; p < b + len; total++) {
            struct inotify_event *e = (void *)p;
            if (e->mask == IN_Q_OVERFLOW) {
                overflows++;
                EQ(e->wd, -1);
            }
            p += sizeof *e + e->len;
        }
    EQ(overflows, 1);
    TRUE(total > 1000 && total < 18000);
}
CASE(waiting) {
    watch(".", IN_CREATE);
    int ep = OK(epoll_create1(0));
    struct epoll_event e = {EPOLLIN, {.u32 = 1}};
    OK(epoll_ctl(ep, EPOLL_CTL_ADD, in, &e));
    EQ(OK(epoll_wait(ep, &e, 1, 0)), 0);
    OK(fcntl(in, F_SETFL, 0));
    pid_t p = CHILD({
        nap_ms(30);
        putc_("f", "");
    });
    STREQ(events(), "100:f;");
    REAP(p, 0);
    putc_("g", "");
    EQ(OK(epoll_wait(ep, &e, 1, 1000)), 1);
}
CASE(too_many_instances) {
    int n = 0;
    while (n < 2000 && inotify_init() >= 0) n++;
    TRUE(n == 2000 || errno == EMFILE);
    TRUE(n > 5);
}
