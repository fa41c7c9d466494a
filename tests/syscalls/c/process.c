/* What a process asks of the kernel about itself and others: prctl, capabilities, robust lists, memory of others. */
#include "t.h"
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>

CASE(capabilities_of_nobody) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, -1};
    struct __user_cap_data_struct data[2];
    ERR(EINVAL, syscall(SYS_capget, &header, data));
    header.pid = 0x3ffffff;
    ERR(ESRCH, syscall(SYS_capget, &header, data));
    header.pid = 0;
    OK(syscall(SYS_capget, &header, data));
}
CASE(slack_of_timers) {
    int before = (int)OK(prctl(PR_GET_TIMERSLACK));
    TRUE(before > 0);
    OK(prctl(PR_SET_TIMERSLACK, 70000));
    EQ(OK(prctl(PR_GET_TIMERSLACK)), 70000);
    EQ(atoi(get("/proc/self/timerslack_ns")), 70000);
    pid_t c = CHILD({
        EQ(OK(prctl(PR_GET_TIMERSLACK)), 70000);
        OK(prctl(PR_SET_TIMERSLACK, 1));
        EQ(OK(prctl(PR_GET_TIMERSLACK)), 1);
        /* A child's own default is what its parent had. */
        OK(prctl(PR_SET_TIMERSLACK, 0));
        EQ(OK(prctl(PR_GET_TIMERSLACK)), 70000);
    });
    REAP(c, 0);
    OK(prctl(PR_SET_TIMERSLACK, 0));
    EQ(OK(prctl(PR_GET_TIMERSLACK)), before);
}
CASE(arguments_that_are_not_used) {
    ERR(EINVAL, prctl(PR_SET_THP_DISABLE, 1, 1, 0, 0));
    ERR(EINVAL, prctl(PR_SET_THP_DISABLE, 1, 0, 0, 1));
    ERR(EINVAL, prctl(PR_GET_THP_DISABLE, 1, 0, 0, 0));
    EQ(OK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)), 0);
    OK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    EQ(OK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)), 1);
    OK(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
    ERR(EINVAL, prctl(PR_CAP_AMBIENT, 77, 0, 0, 0));
    ERR(EINVAL, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 1, 0, 0));
    ERR(EINVAL, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 1, 0));
    ERR(EINVAL, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 1));
    EQ(OK(prctl(PR_GET_TIMING)), PR_TIMING_STATISTICAL);
    ERR(EINVAL, prctl(PR_SET_TIMING, PR_TIMING_TIMESTAMP, 0, 0, 0));
    OK(prctl(PR_SET_TIMING, PR_TIMING_STATISTICAL, 0, 0, 0));
}
CASE(dumpable) {
    EQ(OK(prctl(PR_GET_DUMPABLE)), 1);
    ERR(EINVAL, prctl(PR_SET_DUMPABLE, 2));
    OK(prctl(PR_SET_DUMPABLE, 0));
    EQ(OK(prctl(PR_GET_DUMPABLE)), 0);
    pid_t c = CHILD(EQ(OK(prctl(PR_GET_DUMPABLE)), 0));
    REAP(c, 0);
    OK(prctl(PR_SET_DUMPABLE, 1));
    EQ(OK(prctl(PR_GET_DUMPABLE)), 1);
    // It is the memory's: who borrows that changes it for its owner, too.
    c = vfork();
    if (c == 0) _exit(prctl(PR_SET_DUMPABLE, 0) != 0);
    REAP(OK(c), 0);
    EQ(OK(prctl(PR_GET_DUMPABLE)), 0);
    OK(prctl(PR_SET_DUMPABLE, 1));
    c = vfork();
    if (c == 0) {
        execl("/bin/true", "true", (char *)0);
        _exit(99);
    }
    REAP(OK(c), 0);
    EQ(OK(prctl(PR_GET_DUMPABLE)), 1);
    if (getuid()) return;
    c = vfork();
    if (c == 0) _exit(syscall(SYS_setresuid, 1000, 1000, 1000) != 0);
    REAP(OK(c), 0);
    EQ(OK(prctl(PR_GET_DUMPABLE)), 0);
}
CASE(what_is_of_an_ended_process_is_root_s) {
    if (getuid()) return;
    char path[64];
    struct stat st;
    siginfo_t info;
    pid_t c = CHILD({
        OK(syscall(SYS_setresuid, 1000, 1000, 1000));
        OK(prctl(PR_SET_DUMPABLE, 1));
    });
    OK(waitid(P_PID, c, &info, WEXITED | WNOWAIT));
    snprintf(path, sizeof path, "/proc/%d/status", c);
    OK(stat(path, &st));
    EQ(st.st_uid, 0);
    snprintf(path, sizeof path, "/proc/%d", c);
    OK(stat(path, &st));
    EQ(st.st_uid, 1000);
    REAP(c, 0);
}
static long other_euid(void) { return syscall(SYS_setresuid, -1, 1000, -1); }
static long other_egid(void) { return syscall(SYS_setresgid, -1, 1000, -1); }
static long other_fsuid(void) { return syscall(SYS_setfsuid, 1000); }
static long other_fsgid(void) { return syscall(SYS_setfsgid, 1000); }
static long other_uid(void) { return syscall(SYS_setresuid, 1000, -1, -1); }
static long other_suid(void) { return syscall(SYS_setresuid, -1, -1, 1000); }
static long other_groups(void) { return syscall(SYS_setgroups, 1, (gid_t[]){1000}); }
static long other_user(void) { return syscall(SYS_setresuid, 1000, 1000, 1000); }
static long same_user(void) { return syscall(SYS_setresuid, 0, 0, 0); }
static long without_caps(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {0};
    return syscall(SYS_capset, &header, none);
}
CASE(dumpable_as_executed) {
    const char *wanted = getenv("DUMPABLE");
    if (wanted) EQ(OK(prctl(PR_GET_DUMPABLE)), atoi(wanted));
}
CASE(a_change_of_user_ends_dumpable) {
    if (getuid()) return;
    /* What a change leaves in the process, and in a program that it executes. */
    struct { long (*change)(void); int ends, ends_by_exec; } changes[] = {
        {other_euid, 1, 1}, {other_egid, 1, 1}, {other_fsuid, 1, 1}, {other_fsgid, 1, 1}, {other_uid, 0, 1},
        {other_suid, 0, 0}, {other_groups, 0, 0}, {same_user, 0, 0}, {other_user, 1, 0}, {without_caps, 0, 1},
    };
    int suid = atoi(get("/proc/sys/fs/suid_dumpable"));
    char want[8];
    OK(chmod(".", 0777));
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        pid_t c = CHILD({
            int told = 0;
            OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
            OK(changes[i].change());
            EQ(OK(prctl(PR_GET_DUMPABLE)), changes[i].ends ? suid : 1);
            OK(prctl(PR_GET_PDEATHSIG, &told));
            EQ(told, changes[i].ends ? 0 : SIGUSR1);
        });
        REAP(c, 0);
        c = CHILD({
            OK(changes[i].change());
            snprintf(want, sizeof want, "%d", changes[i].ends_by_exec ? suid : 1);
            setenv("DUMPABLE", want, 1);
            OK(dup2(OK(open("/dev/null", O_WRONLY)), 1));
            OK(execl("/proc/self/exe", "process", "dumpable_as_executed", NULL));
        });
        REAP(c, 0);
    }
}
CASE(what_is_not_dumpable_is_root_s) {
    if (getuid()) return;
    struct stat st;
    int go[2], ready[2];
    char path[64], b;
    OK(pipe(go));
    OK(pipe(ready));
    pid_t c = CHILD({
        OK(close(go[1]));
        OK(syscall(SYS_setresgid, 1000, 1000, 1000));
        OK(other_user());
        /* Its directory is its own, what is in it is not, but for its descriptors. */
        OK(stat("/proc/self", &st));
        EQ(st.st_uid, 1000);
        OK(stat("/proc/self/task", &st));
        EQ(st.st_uid, 1000);
        OK(stat("/proc/self/fd", &st));
        EQ(st.st_uid, 0);
        OK(stat("/proc/self/environ", &st));
        EQ(st.st_uid, 0);
        ERR(EACCES, open("/proc/self/environ", O_RDONLY));
        OK(open("/proc/self/fd", O_RDONLY | O_DIRECTORY));
        OK(access("/proc/self/fd", R_OK | X_OK));
        snprintf(path, sizeof path, "/proc/self/fd/%d", go[0]);
        OK(readlink(path, path, sizeof path));
        OK(write(ready[1], "x", 1));
        if (read(go[0], &b, 1)) { }
    });
    OK(read(ready[0], &b, 1));
    pid_t like = CHILD({
        OK(syscall(SYS_setresgid, 1000, 1000, 1000));
        OK(other_user());
        struct iovec local = {&b, 1}, remote = {&st, 1};
        ERR(EPERM, process_vm_readv(c, &local, 1, &remote, 1, 0));
        snprintf(path, sizeof path, "/proc/%d/cwd", c);
        ERR(EACCES, readlink(path, path, sizeof path));
        snprintf(path, sizeof path, "/proc/%d/fd", c);
        ERR(EACCES, open(path, O_RDONLY | O_DIRECTORY));
    });
    REAP(like, 0);
    OK(close(go[1]));
    REAP(c, 0);
}
CASE(keeping_capabilities_is_a_secure_bit) {
    enum { KEEP = 16, LOCKED = 32 };
    EQ(OK(prctl(PR_GET_KEEPCAPS)), 0);
    ERR(EINVAL, prctl(PR_SET_KEEPCAPS, 2));
    OK(prctl(PR_SET_KEEPCAPS, 1));
    EQ(OK(prctl(PR_GET_SECUREBITS)) & KEEP, KEEP);
    OK(prctl(PR_SET_KEEPCAPS, 0));
    EQ(OK(prctl(PR_GET_SECUREBITS)) & KEEP, 0);
    if (getuid()) return;
    OK(prctl(PR_SET_SECUREBITS, KEEP));
    EQ(OK(prctl(PR_GET_KEEPCAPS)), 1);
    OK(prctl(PR_SET_SECUREBITS, LOCKED));
    ERR(EPERM, prctl(PR_SET_KEEPCAPS, 1));
    EQ(OK(prctl(PR_GET_KEEPCAPS)), 0);
}
CASE(secure_bits) {
    enum { NOROOT = 1, NO_SETUID_FIXUP = 4, LOCKED = 8, NO_RAISE = 64 };
    if (getuid()) {
        ERR(EPERM, prctl(PR_SET_SECUREBITS, NOROOT));
        return;
    }
    OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    OK(prctl(PR_SET_SECUREBITS, NO_RAISE | NO_SETUID_FIXUP));
    EQ(OK(prctl(PR_GET_SECUREBITS)), NO_RAISE | NO_SETUID_FIXUP);
    ERR(EPERM, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
    OK(setresuid(1000, 1000, 1000));
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    OK(syscall(SYS_capget, &header, data));
    TRUE(data[0].effective & 1 << CAP_SETUID);
    OK(setresuid(0, 0, 0));
    /* What is locked stays. */
    OK(prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP | LOCKED));
    ERR(EPERM, prctl(PR_SET_SECUREBITS, 0));
    ERR(EPERM, prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP));
    ERR(EPERM, prctl(PR_SET_SECUREBITS, 1 << 20 | NO_SETUID_FIXUP | LOCKED));
    OK(prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP | LOCKED | NOROOT));
}
CASE(robust_lists_of_others) {
    struct robust_list_head *head;
    size_t len;
    OK(syscall(SYS_get_robust_list, 0, &head, &len));
    EQ(len, sizeof *head);
    OK(syscall(SYS_get_robust_list, getpid(), &head, &len));
    ERR(ESRCH, syscall(SYS_get_robust_list, 0x3ffffff, &head, &len));
    ERR(EFAULT, syscall(SYS_get_robust_list, 0, &head, BAD_PTR));
    if (getuid()) {
        ERR(EPERM, syscall(SYS_get_robust_list, 1, &head, &len));
        return;
    }
    int go[2];
    OK(pipe(go));
    pid_t other = CHILD({
        char b;
        close(go[1]);
        if (read(go[0], &b, 1)) { }
    });
    pid_t c = CHILD({
        OK(setresgid(1000, 1000, 1000));
        OK(setresuid(1000, 1000, 1000));
        ERR(EPERM, syscall(SYS_get_robust_list, other, &head, &len));
    });
    REAP(c, 0);
    OK(close(go[1]));
    REAP(other, 0);
}
CASE(the_cpu_is_one_of_those_allowed) {
    cpu_set_t all, one;
    OK(sched_getaffinity(0, sizeof all, &all));
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all)) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        OK(sched_setaffinity(0, sizeof one, &one));
        unsigned got = 12345, node = 12345;
        OK(syscall(SYS_getcpu, &got, &node, 0));
        EQ(got, cpu);
        TRUE(node != 12345);
        EQ(sched_getcpu(), cpu);
        /* Field 39, counted from behind the name. */
        char *at = strrchr(get("/proc/self/stat"), ')') + 1;
        for (int field = 3; field <= 39 && at; field++) at = strchr(at + 1, ' ');
        TRUE(at);
        while (at[-1] != ' ') at--;
        EQ(atoi(at), cpu);
    }
    ERR(EFAULT, syscall(SYS_getcpu, BAD_PTR, 0, 0));
}
CASE(personalities) {
    EQ(OK(personality(0xffffffff)), 0);
    EQ(OK(personality(ADDR_NO_RANDOMIZE)), 0);
    EQ(OK(personality(0xffffffff)), ADDR_NO_RANDOMIZE);
    EQ(strtol(get("/proc/self/personality"), 0, 16), ADDR_NO_RANDOMIZE);
    pid_t c = CHILD(EQ(personality(0xffffffff), ADDR_NO_RANDOMIZE));
    REAP(c, 0);
    OK(personality(0));
    EQ(OK(personality(0xffffffff)), 0);
}
CASE(memory_of_others) {
    int ready[2], go[2];
    char *text = OK(mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    char *own = OK(mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    OK(pipe(ready));
    OK(pipe(go));
    strcpy(own, "the parent's");
    pid_t c = CHILD({
        char b;
        strcpy(own, "the child's");
        strcpy(own + 4096, "second");
        OK(munmap(own + 2 * 4096, 4096));
        OK(write(ready[1], "x", 1));
        OK(read(go[0], &b, 1));
        STREQ(own + 100, "written");
    });
    char b, to[64] = "";
    OK(read(ready[0], &b, 1));
    struct iovec local[2] = {{to, 12}, {to + 12, 40}};
    struct iovec remote[3] = {{own, 12}, {own + 4096, 7}, {own + 2 * 4096, 10}};
    EQ(OK(process_vm_readv(c, local, 2, remote, 2, 0)), 19);
    STREQ(to, "the child's");
    STREQ(to + 12, "second");
    /* What comes before a bad address counts. */
    EQ(OK(process_vm_readv(c, local, 2, remote, 3, 0)), 19);
    ERR(EFAULT, process_vm_readv(c, local, 1, remote + 2, 1, 0));
    struct iovec bad = {BAD_PTR, 10};
    ERR(EFAULT, process_vm_readv(c, &bad, 1, remote, 1, 0));
    ERR(EINVAL, process_vm_readv(c, local, 1, remote, 1, 1));
    ERR(EINVAL, process_vm_readv(c, local, 1025, remote, 1, 0));
    EQ(OK(process_vm_readv(c, local, 0, remote, 1, 0)), 0);
    EQ(OK(process_vm_readv(c, local, 1, remote, 0, 0)), 0);
    ERR(ESRCH, process_vm_readv(0x3ffffff, local, 1, remote, 1, 0));
    /* A transfer goes up to where memory ends. */
    struct iovec over = {own + 4096, 2 * 4096}, room = {text, 2 * 4096};
    EQ(OK(process_vm_readv(c, &room, 1, &over, 1, 0)), 4096);
    STREQ(text, "second");
    struct iovec from = {"written", 8}, at = {own + 100, 8};
    EQ(OK(process_vm_writev(c, &from, 1, &at, 1, 0)), 8);
    EQ(own[100], 0);
    OK(write(go[1], "x", 1));
    REAP(c, 0);
    /* Its own memory too. */
    struct iovec mine = {own, 13}, whole = {to, 13};
    EQ(OK(process_vm_readv(getpid(), &whole, 1, &mine, 1, 0)), 13);
    STREQ(to, "the parent's");
    if (getuid() == 0) {
        pid_t weak = CHILD({
            OK(setresgid(1000, 1000, 1000));
            OK(setresuid(1000, 1000, 1000));
            ERR(EPERM, process_vm_readv(getppid(), local, 1, &mine, 1, 0));
        });
        REAP(weak, 0);
    }
}
/* The child waits for a byte of its own memory and makes no call meanwhile. */
static void becomes_one(volatile char *byte, int how) {
    char path[64], b;
    int p[2];
    OK(pipe(p));
    pid_t c = CHILD({
        TRUE(*byte == 0);
        OK(write(p[1], "x", 1));
        while (*byte == 0) { }
        EQ(*byte, 1);
    });
    OK(read(p[0], &b, 1));
    nap_ms(20);
    struct iovec local = {"\1", 1}, remote = {(void *)byte, 1};
    if (how == 0) {
        EQ(OK(process_vm_writev(c, &local, 1, &remote, 1, 0)), 1);
    } else {
        snprintf(path, sizeof path, "/proc/%d/mem", c);
        int fd = (int)OK(open(path, O_RDWR));
        EQ(OK(pwrite(fd, "\1", 1, (off_t)(uintptr_t)byte)), 1);
        OK(close(fd));
    }
    int status = -1, n = 0;
    while (OK(waitpid(c, &status, WNOHANG)) == 0 && n++ < 500) nap_ms(10);
    if (n >= 500) kill(c, SIGKILL);
    EQ(status, 0);
    EQ(*byte, 0);
}
CASE(what_is_written_to_others_is_seen_at_once) {
    enum { LEN = 4 << 20 };
    /* Pages that a fork leaves to both, and those of a file. */
    char *dirty = (char *)OK(mmap(0, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (int i = 0; i < LEN; i += 4096) dirty[i + 1] = 1;
    int fd = put("f", "text");
    OK(ftruncate(fd, LEN));
    char *file = (char *)OK(mmap(0, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    for (int how = 0; how < 2; how++) {
        becomes_one(dirty + 100 * 4096, how);
        becomes_one(file + 100 * 4096, how);
        becomes_one(file + 500 * 4096 - 1, how);
    }
}
CASE(calls_look_by_real_ids_and_files_by_theirs) {
    if (getuid()) return;
    /* Who looks, by real and effective ids: one of them is that of the child, who is an ordinary user. */
    for (int real = 0; real < 2; real++) {
        pid_t viewer = CHILD({
            char b, to[64], path[64];
            static char word[] = "word";
            struct robust_list_head *head;
            size_t len;
            int go[2], ready[2];
            OK(pipe(go));
            OK(pipe(ready));
            pid_t c = CHILD({
                OK(close(go[1]));
                OK(syscall(SYS_setresgid, 1000, 1000, 1000));
                OK(other_user());
                OK(prctl(PR_SET_DUMPABLE, 1));
                OK(write(ready[1], "x", 1));
                if (read(go[0], &b, 1)) { }
            });
            OK(read(ready[0], &b, 1));
            struct iovec local = {to, 4}, remote = {word, 4};
            snprintf(path, sizeof path, "/proc/%d/cwd", c);
            int pidfd = (int)OK(syscall(SYS_pidfd_open, c, 0)), other = real ? 1001 : 1000;
            OK(syscall(SYS_setresgid, 2001 - other, other, other));
            OK(syscall(SYS_setresuid, 2001 - other, other, other));
            if (real) {
                EQ(OK(process_vm_readv(c, &local, 1, &remote, 1, 0)), 4);
                EQ(OK(syscall(SYS_kcmp, c, c, KCMP_VM, 0, 0)), 0);
                OK(syscall(SYS_get_robust_list, c, &head, &len));
                OK(syscall(SYS_pidfd_getfd, pidfd, go[0], 0));
                ERR(EACCES, readlink(path, to, sizeof to));
            } else {
                ERR(EPERM, process_vm_readv(c, &local, 1, &remote, 1, 0));
                ERR(EPERM, syscall(SYS_kcmp, c, c, KCMP_VM, 0, 0));
                ERR(EPERM, syscall(SYS_get_robust_list, c, &head, &len));
                ERR(EPERM, syscall(SYS_pidfd_getfd, pidfd, go[0], 0));
                OK(readlink(path, to, sizeof to));
            }
            OK(close(go[1]));
            REAP(c, 0);
        });
        REAP(viewer, 0);
    }
}
static long same(pid_t a, pid_t b, int kind, long x, long y) { return syscall(SYS_kcmp, a, b, kind, x, y); }
CASE(what_processes_have_in_common) {
    int fd = (int)OK(open("/dev/null", O_RDONLY)), other = (int)OK(open("/dev/null", O_RDONLY));
    int copy = (int)OK(dup(fd)), me = getpid(), p[2];
    EQ(OK(same(me, me, KCMP_FILE, fd, copy)), 0);
    long order = OK(same(me, me, KCMP_FILE, fd, other));
    TRUE(order == 1 || order == 2);
    EQ(OK(same(me, me, KCMP_FILE, other, fd)), 3 - order);
    ERR(EBADF, same(me, me, KCMP_FILE, fd, 999));
    ERR(EINVAL, same(me, me, 999, 0, 0));
    ERR(ESRCH, same(me, 0x3ffffff, KCMP_VM, 0, 0));
    OK(pipe(p));
    pid_t c = CHILD({
        char b;
        close(p[1]);
        if (read(p[0], &b, 1)) { }
    });
    EQ(OK(same(me, c, KCMP_FILE, fd, copy)), 0);
    TRUE(OK(same(me, c, KCMP_VM, 0, 0)) != 0);
    TRUE(OK(same(me, c, KCMP_FILES, 0, 0)) != 0);
    TRUE(OK(same(me, c, KCMP_FS, 0, 0)) != 0);
    TRUE(OK(same(me, c, KCMP_SIGHAND, 0, 0)) != 0);
    EQ(OK(same(me, me, KCMP_VM, 0, 0)), 0);
    OK(close(p[1]));
    REAP(c, 0);
}
static int shares(void *p) { return chdir("/") || close(*(int *)p); }
CASE(parts_can_be_left) {
    static char stack[65536] __attribute__((aligned(16)));
    int fd = (int)OK(open("/dev/null", O_RDONLY));
    ERR(EINVAL, unshare(0x40));
    OK(unshare(0));
    OK(unshare(CLONE_FS | CLONE_FILES | CLONE_SYSVSEM));
    pid_t c = (pid_t)OK(clone(shares, stack + sizeof stack, CLONE_FS | CLONE_FILES | SIGCHLD, &fd));
    REAP(c, 0);
    ERR(EBADF, fcntl(fd, F_GETFD));
    char cwd[100];
    STREQ((getcwd(cwd, sizeof cwd), cwd), "/");
}
static unsigned long fs_base(void) {
    unsigned long fs;
    OK(syscall(SYS_arch_prctl, 0x1003, &fs));
    return fs;
}
CASE(bases_of_segments_again_and_again) {
    unsigned long own = fs_base();
    for (int i = 0; i < 20; i++) {
        /* No access to thread-local variables in between. */
        long set, far, kernel, back;
        unsigned long got = 0;
        asm volatile("syscall" : "=a"(set) : "0"(SYS_arch_prctl), "D"(0x1002), "S"(0x12345000 + i) : "rcx", "r11", "memory");
        asm volatile("syscall" : "=a"(back) : "0"(SYS_arch_prctl), "D"(0x1003), "S"(&got) : "rcx", "r11", "memory");
        asm volatile("syscall" : "=a"(far) : "0"(SYS_arch_prctl), "D"(0x1002), "S"(0x7ffffffff000) : "rcx", "r11", "memory");
        asm volatile("syscall" : "=a"(kernel) : "0"(SYS_arch_prctl), "D"(0x1002), "S"(-4096l) : "rcx", "r11", "memory");
        asm volatile("syscall" : "=a"(back) : "0"(SYS_arch_prctl), "D"(0x1002), "S"(own) : "rcx", "r11", "memory");
        EQ(set, 0);
        EQ(got, 0x12345000 + i);
        EQ(far, -EPERM);
        EQ(kernel, -EPERM);
        EQ(back, 0);
        EQ(fs_base(), own);
    }
}
