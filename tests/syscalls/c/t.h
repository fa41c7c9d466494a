/*
 * The guest tests' own small harness. A program is a list of CASEs; `prog --list` names them, `prog NAME` runs one
 * in a fresh directory, and `prog` alone runs each in a child. Every case leaves by `ok NAME` and status 0, by a
 * message and status 1, or by `skip NAME: why` and status 77.
 */
#ifndef T_H
#define T_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef void (*t_case)(void);
static struct { const char *name; t_case run; } t_cases[256];
static int t_count;
static const char *t_now = "?";
static pid_t t_owner;

#define CASE(n)                                                                                         \
    static void case_##n(void);                                                                         \
    __attribute__((constructor)) static void reg_##n(void) {                                            \
        t_cases[t_count].name = #n;                                                                     \
        t_cases[t_count++].run = case_##n;                                                              \
    }                                                                                                   \
    static void case_##n(void)

__attribute__((format(printf, 2, 3), noreturn, unused)) static void t_fail(int line, const char *fmt, ...) {
    char text[700];
    va_list ap;
    va_start(ap, fmt);
    int n = snprintf(text, sizeof text, "FAIL %s line %d: ", t_now, line);
    n += vsnprintf(text + n, sizeof text - n - 2, fmt, ap);
    va_end(ap);
    if (n > (int)sizeof text - 2) n = sizeof text - 2;
    text[n++] = '\n';
    if (write(2, text, n) < 0) { }
    _exit(1);
}

__attribute__((unused)) static const char *t_err(int e) {
    const char *s = strerrorname_np(e);
    return s ? s : "?";
}

/* The call succeeds; its value is the macro's value. */
#define OK(e)                                                                                           \
    ({                                                                                                  \
        errno = 0;                                                                                      \
        long r_ = (long)(e);                                                                            \
        if (r_ == -1) t_fail(__LINE__, "%s: %s", #e, t_err(errno));                                     \
        r_;                                                                                             \
    })
/* The call fails with this errno. */
#define ERR(want, e)                                                                                    \
    do {                                                                                                \
        errno = 0;                                                                                      \
        long r_ = (long)(e);                                                                            \
        int got_ = errno;                                                                               \
        if (r_ != -1) t_fail(__LINE__, "%s: returned %ld, wanted %s", #e, r_, t_err(want));             \
        if (got_ != (want)) t_fail(__LINE__, "%s: %s, wanted %s", #e, t_err(got_), t_err(want));        \
    } while (0)
#define EQ(a, b)                                                                                        \
    do {                                                                                                \
        long long a_ = (long long)(a), b_ = (long long)(b);                                             \
        if (a_ != b_) t_fail(__LINE__, "%s is %lld (%#llx), wanted %s = %lld", #a, a_, a_, #b, b_);     \
    } while (0)
#define TRUE(c)                                                                                         \
    do {                                                                                                \
        if (!(c)) t_fail(__LINE__, "not true: %s", #c);                                                 \
    } while (0)
#define STREQ(a, b)                                                                                     \
    do {                                                                                                \
        const char *a_ = (a), *b_ = (b);                                                                \
        if (strcmp(a_, b_)) t_fail(__LINE__, "%s is \"%s\", wanted \"%s\"", #a, a_, b_);                \
    } while (0)
#define SKIP(why)                                                                                       \
    do {                                                                                                \
        printf("skip %s: %s\n", t_now, why);                                                            \
        fflush(stdout);                                                                                 \
        _exit(77);                                                                                      \
    } while (0)
#define BAD_PTR ((void *)16)

/* A child that runs a block and leaves by status 0 (a failed check leaves by 1). */
#define CHILD(...)                                                                                      \
    ({                                                                                                  \
        pid_t p_ = (pid_t)OK(fork());                                                                   \
        if (p_ == 0) {                                                                                  \
            __VA_ARGS__;                                                                                \
            _exit(0);                                                                                   \
        }                                                                                               \
        p_;                                                                                             \
    })
/* The child left by this exit status. */
#define REAP(pid, want)                                                                                 \
    do {                                                                                                \
        int st_ = 0;                                                                                    \
        EQ(OK(waitpid((pid), &st_, 0)), (pid));                                                         \
        if (!WIFEXITED(st_) || WEXITSTATUS(st_) != (want))                                              \
            t_fail(__LINE__, "child: wait status %#x, wanted exit %d", st_, (int)(want));               \
    } while (0)
/* The child was killed by this signal. */
#define REAP_SIG(pid, sig)                                                                              \
    do {                                                                                                \
        int st_ = 0;                                                                                    \
        EQ(OK(waitpid((pid), &st_, 0)), (pid));                                                         \
        if (!WIFSIGNALED(st_) || WTERMSIG(st_) != (sig))                                                \
            t_fail(__LINE__, "child: wait status %#x, wanted signal %d", st_, (int)(sig));              \
    } while (0)

__attribute__((unused)) static int put(const char *path, const char *text) {
    int fd = (int)OK(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644));
    size_t n = strlen(text);
    EQ(OK(write(fd, text, n)), n);
    return fd;
}
__attribute__((unused)) static void putc_(const char *path, const char *text) { OK(close(put(path, text))); }
__attribute__((unused)) static const char *get(const char *path) {
    static char buf[65536];
    int fd = (int)OK(open(path, O_RDONLY));
    size_t n = 0;
    for (;;) {
        ssize_t r = (ssize_t)OK(read(fd, buf + n, sizeof buf - 1 - n));
        if (r == 0) break;
        n += r;
    }
    buf[n] = 0;
    OK(close(fd));
    return buf;
}
__attribute__((unused)) static int64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}
__attribute__((unused)) static int64_t now_ms(void) { return now_ns() / 1000000; }
__attribute__((unused)) static void nap_ms(int ms) {
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000l};
    while (nanosleep(&ts, &ts) == -1 && errno == EINTR) { }
}

static void t_tidy(void) {
    if (getpid() != t_owner) return;
    char cmd[PATH_MAX + 32], cwd[PATH_MAX];
    if (getcwd(cwd, sizeof cwd) && strstr(cwd, "/t.")) {
        pid_t p = fork();
        if (p == 0) {
            snprintf(cmd, sizeof cmd, "%s", cwd);
            execl("/bin/rm", "rm", "-rf", cmd, (char *)0);
            _exit(0);
        }
        if (p > 0) waitpid(p, 0, 0);
    }
}

static int t_run(int i) {
    char dir[] = "t.XXXXXX";
    t_now = t_cases[i].name;
    umask(022);
    if (!mkdtemp(dir) || chdir(dir)) {
        perror("fresh directory");
        return 1;
    }
    t_cases[i].run();
    printf("ok %s\n", t_now);
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv) {
    t_owner = getpid();
    if (argc > 1 && !strcmp(argv[1], "--list")) {
        for (int i = 0; i < t_count; i++) puts(t_cases[i].name);
        return 0;
    }
    // Whoever started the tests in the background may have had some ignored.
    signal(SIGHUP, SIG_DFL), signal(SIGINT, SIG_DFL), signal(SIGQUIT, SIG_DFL);
    int bad = 0, found = 0;
    for (int i = 0; i < t_count; i++) {
        if (argc > 1 && strcmp(argv[1], t_cases[i].name)) continue;
        found = 1;
        if (argc > 1) return t_run(i);
        pid_t p = fork();
        if (p == 0) {
            t_owner = getpid();
            int r = t_run(i);
            t_tidy();
            _exit(r);
        }
        int st = 0;
        waitpid(p, &st, 0);
        bad |= st != 0 && !(WIFEXITED(st) && WEXITSTATUS(st) == 77);
    }
    if (!found) fprintf(stderr, "no case %s\n", argc > 1 ? argv[1] : "");
    return bad || !found;
}
#endif
