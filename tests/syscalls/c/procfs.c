/* /proc and scheduling: directories that change while they are read, memory files, names, priorities, CPU clocks. */
#include "t.h"
#include <dirent.h>
#include <sched.h>

static int text(const char *path, char *out, int size) {
    int fd = OK(open(path, O_RDONLY)), n = 0, got;
    while (n < size - 1 && (got = OK(read(fd, out + n, size - 1 - n))) > 0) n += got;
    close(fd);
    out[n] = 0;
    return n;
}

CASE(descriptors_can_be_closed_while_they_are_listed) {
    for (int i = 100; i < 160; i++) OK(dup2(1, i));
    int dir = OK(open("/proc/self/fd", O_RDONLY | O_DIRECTORY));
    char buf[128];
    long n;
    while ((n = OK(syscall(SYS_getdents64, dir, buf, sizeof buf))) > 0) {
        for (long at = 0; at < n;) {
            unsigned short len = *(unsigned short *)(buf + at + 16);
            int fd = atoi(buf + at + 19);
            if (fd > 99 && fd != dir) OK(close(fd));
            at += len;
        }
    }
    for (int i = 100; i < 160; i++) ERR(EBADF, fcntl(i, F_GETFD));
    /* Back at the beginning the same is listed again. */
    OK(lseek(dir, 0, SEEK_SET));
    TRUE(OK(syscall(SYS_getdents64, dir, buf, sizeof buf)) > 0);
}
CASE(texts_are_made_again_at_their_beginning) {
    char a[64] = {0}, b[64] = {0};
    int fd = OK(open("/proc/self/comm", O_RDWR));
    OK(pread(fd, a, 63, 0));
    OK(write(fd, "other", 5));
    OK(lseek(fd, 0, SEEK_SET));
    OK(read(fd, b, 63));
    STREQ(b, "other\n");
    TRUE(strcmp(a, b));
    OK(pread(fd, a, 2, 3));
    TRUE(!memcmp(a, "er", 2));
    ERR(EINVAL, lseek(fd, -1, SEEK_SET));
}
CASE(memory_of_a_process) {
    static char word[] = "memory";
    char buf[8] = {0};
    int fd = OK(open("/proc/self/mem", O_RDWR));
    EQ(pread(fd, buf, 6, (off_t)(uintptr_t)word), 6);
    STREQ(buf, "memory");
    EQ(pwrite(fd, "MEM", 3, (off_t)(uintptr_t)word), 3);
    STREQ(word, "MEMory");
    ERR(EIO, pread(fd, buf, 6, 4096));
    /* What is there is moved before what is not. */
    char *two = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *out = malloc(8192);
    TRUE(two != MAP_FAILED);
    OK(munmap(two + 4096, 4096));
    EQ(pread(fd, out, 8192, (off_t)(uintptr_t)two), 4096);
    pid_t child = CHILD(pause());
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", child);
    int other = OK(open(path, O_RDWR));
    EQ(pwrite(other, "child", 5, (off_t)(uintptr_t)word), 5);
    EQ(pread(other, buf, 6, (off_t)(uintptr_t)word), 6);
    TRUE(!memcmp(buf, "childy", 6));
    STREQ(word, "MEMory");
    OK(kill(child, SIGKILL));
    OK(waitpid(child, 0, 0));
}
CASE(what_is_looked_at_is_not_kept_open) {
    int p[2];
    char buf[64], path[64];
    OK(pipe(p));
    snprintf(path, sizeof path, "/proc/self/fd/%d", p[1]);
    struct stat st;
    TRUE(OK(readlink(path, buf, sizeof buf)) > 6);
    OK(stat(path, &st));
    int again = OK(open(path, O_WRONLY));
    OK(close(p[1]));
    OK(close(again));
    EQ(read(p[0], buf, 1), 0);
    /* Another file has the same number now. */
    EQ(dup2(OK(open("/dev/null", O_WRONLY)), p[1]), p[1]);
    EQ(readlink(path, buf, sizeof buf), 9);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", p[1]);
    char a[256], b[256];
    int f = put("f", "text");
    EQ(dup2(f, p[1]), p[1]);
    text(path, a, sizeof a);
    OK(lseek(f, 1, SEEK_SET));
    text(path, b, sizeof b);
    TRUE(strstr(a, "pos:\t4\n") && strstr(b, "pos:\t1\n"));
}
CASE(what_is_told_of_a_zombie) {
    pid_t child = CHILD(_exit(3));
    siginfo_t info;
    OK(waitid(P_PID, child, &info, WEXITED | WNOWAIT));
    EQ(info.si_uid, getuid());
    char path[64], out[4096];
    snprintf(path, sizeof path, "/proc/%d/stat", child);
    text(path, out, sizeof out);
    TRUE(strstr(out, ") Z "));
    TRUE(strstr(out, "(procfs) "));
    snprintf(path, sizeof path, "/proc/%d/status", child);
    text(path, out, sizeof out);
    TRUE(strstr(out, "State:\tZ (zombie)\n"));
    TRUE(!strstr(out, "VmSize"));
    snprintf(path, sizeof path, "/proc/%d/cmdline", child);
    EQ(text(path, out, sizeof out), 0);
    snprintf(path, sizeof path, "/proc/%d/exe", child);
    ERR(ENOENT, readlink(path, out, sizeof out));
    OK(waitpid(child, 0, 0));
    snprintf(path, sizeof path, "/proc/%d", child);
    ERR(ENOENT, access(path, F_OK));
}
CASE(adjusting_for_want_of_memory) {
    char out[32];
    int fd = OK(open("/proc/self/oom_score_adj", O_WRONLY));
    OK(write(fd, "500", 3));
    ERR(EINVAL, write(fd, "1001", 4));
    ERR(EINVAL, write(fd, "x", 1));
    pid_t child = CHILD({
        text("/proc/self/oom_score_adj", out, sizeof out);
        STREQ(out, "500\n");
    });
    REAP(child, 0);
}
CASE(nice_values) {
    // Whoever runs the tests may have a priority of their own.
    TRUE(getpriority(PRIO_PROCESS, 0) <= 5);
    OK(setpriority(PRIO_PROCESS, 0, 5));
    EQ(getpriority(PRIO_PROCESS, 0), 5);
    EQ(getpriority(PRIO_PROCESS, getpid()), 5);
    pid_t child = CHILD(EQ(getpriority(PRIO_PROCESS, 0), 5); OK(setpriority(PRIO_PROCESS, 0, 99));
                        EQ(getpriority(PRIO_PROCESS, 0), 19));
    REAP(child, 0);
    char out[1024];
    text("/proc/self/stat", out, sizeof out);
    TRUE(strstr(out, " 25 5 1 "));
    ERR(EINVAL, getpriority(3, 0));
    ERR(EINVAL, setpriority(-1, 0, 0));
    ERR(ESRCH, getpriority(PRIO_PROCESS, 4194303));
    ERR(ESRCH, setpriority(PRIO_PROCESS, 4194303, 1));
    if (geteuid() != 0) ERR(EACCES, setpriority(PRIO_PROCESS, 0, 4));
}
CASE(policies) {
    struct sched_param p = {0};
    EQ(OK(sched_getscheduler(0)), SCHED_OTHER);
    EQ(sched_get_priority_max(SCHED_FIFO), 99);
    EQ(sched_get_priority_min(SCHED_RR), 1);
    EQ(sched_get_priority_max(SCHED_BATCH), 0);
    ERR(EINVAL, sched_get_priority_max(77));
    OK(sched_setscheduler(0, SCHED_BATCH, &p));
    EQ(sched_getscheduler(getpid()), SCHED_BATCH);
    p.sched_priority = 1;
    ERR(EINVAL, sched_setscheduler(0, SCHED_OTHER, &p));
    ERR(EINVAL, sched_setscheduler(0, 77, &p));
    ERR(EINVAL, sched_setscheduler(0, SCHED_OTHER, NULL));
    ERR(EFAULT, sched_setscheduler(0, SCHED_OTHER, BAD_PTR));
    ERR(ESRCH, sched_setscheduler(4194303, SCHED_RR, &p));
    ERR(EINVAL, sched_setscheduler(-1, SCHED_RR, &p));
    if (geteuid() != 0) ERR(EPERM, sched_setscheduler(0, SCHED_RR, &p));
    p.sched_priority = 0;
    OK(sched_setscheduler(0, SCHED_IDLE | 0x40000000, &p));
    EQ(sched_getscheduler(0), SCHED_IDLE | 0x40000000);
    pid_t child = CHILD(EQ(sched_getscheduler(0), SCHED_IDLE));
    REAP(child, 0);
    struct timespec slice;
    OK(sched_rr_get_interval(0, &slice));
    struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t rest[3]; } attr;
    OK(syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0));
    EQ(attr.policy, SCHED_IDLE);
    EQ(attr.flags, 1);
    ERR(EINVAL, syscall(SYS_sched_getattr, 0, &attr, 8, 0));
}
CASE(sets_of_cpus) {
    cpu_set_t all, one, now;
    OK(sched_getaffinity(0, sizeof all, &all));
    TRUE(CPU_COUNT(&all) >= 1);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &all)) cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    OK(sched_setaffinity(0, sizeof one, &one));
    OK(sched_getaffinity(getpid(), sizeof now, &now));
    TRUE(CPU_EQUAL(&now, &one));
    pid_t child = CHILD(OK(sched_getaffinity(0, sizeof now, &now)); TRUE(CPU_EQUAL(&now, &one)));
    REAP(child, 0);
    CPU_ZERO(&one);
    ERR(EINVAL, sched_setaffinity(0, sizeof one, &one));
    ERR(ESRCH, sched_getaffinity(4194303, sizeof now, &now));
    ERR(EFAULT, sched_getaffinity(0, sizeof now, BAD_PTR));
    ERR(EINVAL, syscall(SYS_sched_getaffinity, 0, 3, &now));
}
static void burn(int ms) {
    struct timespec t;
    do clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    while (t.tv_sec * 1000 + t.tv_nsec / 1000000 < ms);
}
CASE(what_children_used) {
    pid_t child = CHILD(burn(60));
    int status;
    struct rusage used, sum;
    EQ(wait4(child, &status, 0, &used), child);
    long ms = used.ru_utime.tv_sec * 1000 + used.ru_utime.tv_usec / 1000 + used.ru_stime.tv_sec * 1000 + used.ru_stime.tv_usec / 1000;
    TRUE(ms >= 50 && ms < 5000);
    TRUE(used.ru_maxrss > 0);
    OK(getrusage(RUSAGE_CHILDREN, &sum));
    TRUE(sum.ru_utime.tv_sec * 1000000 + sum.ru_utime.tv_usec >= used.ru_utime.tv_sec * 1000000 + used.ru_utime.tv_usec);
}
CASE(cpu_clocks_of_processes) {
    clockid_t id;
    struct timespec t, again;
    EQ(clock_getcpuclockid(0, &id), 0);
    burn(10);
    OK(clock_gettime(id, &t));
    TRUE(t.tv_sec > 0 || t.tv_nsec > 9000000);
    EQ(pthread_getcpuclockid(pthread_self(), &id), 0);
    OK(clock_gettime(id, &t));
    burn(30);
    OK(clock_gettime(id, &again));
    TRUE(again.tv_sec > t.tv_sec || again.tv_nsec > t.tv_nsec);
    OK(clock_getres(id, &t));
    ERR(EINVAL, clock_gettime((clockid_t)((~4194303u) << 3 | 2), &t));
}
CASE(a_directory_of_proc_stands_for_its_process) {
    pid_t child = CHILD(pause());
    char path[64];
    snprintf(path, sizeof path, "/proc/%d", child);
    int dir = OK(open(path, O_RDONLY | O_DIRECTORY));
    OK(syscall(SYS_pidfd_send_signal, dir, 0, NULL, 0));
    OK(syscall(SYS_pidfd_send_signal, dir, SIGKILL, NULL, 0));
    int status;
    OK(waitpid(child, &status, 0));
    EQ(WTERMSIG(status), SIGKILL);
    ERR(ESRCH, syscall(SYS_pidfd_send_signal, dir, SIGKILL, NULL, 0));
    ERR(EBADF, syscall(SYS_pidfd_send_signal, OK(open("/proc", O_RDONLY)), 0, NULL, 0));
}
