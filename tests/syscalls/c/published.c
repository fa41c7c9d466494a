/* Questions that are asked again and again: the answer is right after every change. */
#include "t.h"
#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>

/* Often enough for any cache to believe it. */
#define AGAIN 12

static struct stat s;
static int times_stat(const char *path) {
    int r = 0;
    for (int i = 0; i < AGAIN; i++) r = stat(path, &s) ? errno : 0;
    return r;
}
static int times_lstat(const char *path) {
    int r = 0;
    for (int i = 0; i < AGAIN; i++) r = lstat(path, &s) ? errno : 0;
    return r;
}
static int times_fstat(int fd) {
    int r = 0;
    for (int i = 0; i < AGAIN; i++) r = syscall(SYS_fstat, fd, &s) ? errno : 0;
    return r;
}
static int times_access(const char *path, int mode) {
    int r = 0;
    for (int i = 0; i < AGAIN; i++) r = access(path, mode) ? errno : 0;
    return r;
}
static int times_readlink(const char *path) {
    int r = 0;
    char to[8];
    for (int i = 0; i < AGAIN; i++) r = readlink(path, to, sizeof to) < 0 ? errno : 0;
    return r;
}
static long long mtime(void) { return s.st_mtim.tv_sec * 1000000000ll + s.st_mtim.tv_nsec; }

CASE(writes_are_seen) {
    int fd = put("f", "1234");
    EQ(times_stat("f"), 0);
    EQ(s.st_size, 4);
    EQ(times_fstat(fd), 0);
    EQ(s.st_size, 4);
    for (int i = 0; i < 50; i++) {
        OK(write(fd, "x", 1));
        OK(stat("f", &s));
        EQ(s.st_size, 5 + i);
        OK(syscall(SYS_fstat, fd, &s));
        EQ(s.st_size, 5 + i);
    }
    EQ(times_stat("f"), 0);
    OK(pwrite(fd, "y", 1, 99));
    OK(stat("f", &s));
    EQ(s.st_size, 100);
    EQ(times_fstat(fd), 0);
    OK(ftruncate(fd, 7));
    OK(syscall(SYS_fstat, fd, &s));
    EQ(s.st_size, 7);
    EQ(times_stat("f"), 0);
    OK(truncate("f", 3));
    OK(stat("f", &s));
    EQ(s.st_size, 3);
    EQ(times_stat("f"), 0);
    OK(close(open("f", O_WRONLY | O_TRUNC)));
    OK(stat("f", &s));
    EQ(s.st_size, 0);
    EQ(times_fstat(fd), 0);
    OK(posix_fallocate(fd, 0, 5000) ? -1 : 0);
    OK(syscall(SYS_fstat, fd, &s));
    EQ(s.st_size, 5000);
    TRUE(s.st_blocks >= 8);
}
CASE(attributes_are_seen) {
    int fd = put("f", "1234");
    EQ(times_stat("f"), 0);
    EQ(s.st_mode & 07777, 0644);
    OK(chmod("f", 0600));
    OK(stat("f", &s));
    EQ(s.st_mode & 07777, 0600);
    EQ(times_fstat(fd), 0);
    OK(fchmod(fd, 0640));
    OK(syscall(SYS_fstat, fd, &s));
    EQ(s.st_mode & 07777, 0640);
    EQ(times_stat("f"), 0);
    struct timespec t[2] = {{1000, 7}, {2000, 9}};
    OK(utimensat(AT_FDCWD, "f", t, 0));
    OK(stat("f", &s));
    EQ(mtime(), 2000000000009ll);
    EQ(s.st_atim.tv_sec, 1000);
    EQ(times_fstat(fd), 0);
    t[1].tv_sec = 3000;
    OK(futimens(fd, t));
    OK(syscall(SYS_fstat, fd, &s));
    EQ(mtime(), 3000000000009ll);
    EQ(times_stat("f"), 0);
    OK(link("f", "g"));
    OK(stat("f", &s));
    EQ(s.st_nlink, 2);
    EQ(times_fstat(fd), 0);
    OK(unlink("g"));
    OK(syscall(SYS_fstat, fd, &s));
    EQ(s.st_nlink, 1);
    EQ(times_fstat(fd), 0);
    OK(unlink("f"));
    OK(syscall(SYS_fstat, fd, &s));
    EQ(s.st_nlink, 0);
    if (geteuid() == 0) {
        EQ(times_fstat(fd), 0);
        OK(fchown(fd, 12, 13));
        OK(syscall(SYS_fstat, fd, &s));
        EQ(s.st_uid, 12);
        EQ(s.st_gid, 13);
    }
}
CASE(links_come_and_go) {
    char to[8] = "";
    for (int i = 0; i < 20; i++) {
        EQ(times_readlink("f"), ENOENT);
        putc_("f", "1");
        EQ(times_readlink("f"), EINVAL);
        ERR(EINVAL, readlink("f", to, 0));
        ERR(EINVAL, syscall(SYS_readlink, "f", to, -1));
        ERR(EINVAL, readlinkat(AT_FDCWD, "f", to, sizeof to));
        OK(unlink("f"));
        ERR(ENOENT, readlinkat(AT_FDCWD, "f", to, sizeof to));
        EQ(times_readlink("f"), ENOENT);
        OK(symlink("abc", "f"));
        EQ(OK(readlink("f", to, sizeof to)), 3);
        TRUE(!memcmp(to, "abc", 3));
        EQ(times_readlink("f"), 0);
        OK(unlink("f"));
        OK(mkdir("f", 0755));
        EQ(times_readlink("f"), EINVAL);
        EQ(times_readlink("f/none"), ENOENT);
        OK(rmdir("f"));
    }
}
CASE(directories_are_seen) {
    OK(mkdir("d", 0755));
    EQ(times_stat("d"), 0);
    long links = s.st_nlink;
    long long before = mtime();
    nap_ms(20);
    OK(mkdir("d/e", 0755));
    OK(stat("d", &s));
    TRUE(mtime() > before);
    TRUE(s.st_nlink == links + 1 || s.st_nlink == links);
    before = mtime();
    EQ(times_stat("d"), 0);
    nap_ms(20);
    OK(rmdir("d/e"));
    OK(stat("d", &s));
    TRUE(mtime() > before);
    EQ(s.st_nlink, links);
}
CASE(names_come_and_go) {
    for (int i = 0; i < 20; i++) {
        EQ(times_stat("f"), ENOENT);
        EQ(times_access("f", F_OK), ENOENT);
        putc_("f", "1");
        OK(stat("f", &s));
        OK(access("f", F_OK));
        EQ(times_stat("f"), 0);
        EQ(times_access("f", R_OK), 0);
        OK(unlink("f"));
        ERR(ENOENT, stat("f", &s));
        ERR(ENOENT, access("f", R_OK));
        EQ(times_lstat("f"), ENOENT);
        OK(mkdir("f", 0700));
        OK(lstat("f", &s));
        TRUE(S_ISDIR(s.st_mode));
        EQ(times_stat("f"), 0);
        OK(rmdir("f"));
        ERR(ENOENT, stat("f", &s));
        EQ(times_stat("f"), ENOENT);
        OK(symlink("nowhere", "f"));
        ERR(ENOENT, stat("f", &s));
        OK(lstat("f", &s));
        TRUE(S_ISLNK(s.st_mode));
        EQ(times_stat("f"), ENOENT);
        EQ(times_lstat("f"), 0);
        putc_("nowhere", "12");
        OK(stat("f", &s));
        EQ(s.st_size, 2);
        OK(unlink("f"));
        OK(unlink("nowhere"));
        ERR(ENOENT, lstat("f", &s));
        OK(mknod("f", S_IFIFO | 0600, 0));
        OK(stat("f", &s));
        TRUE(S_ISFIFO(s.st_mode));
        EQ(times_stat("f"), 0);
        OK(unlink("f"));
    }
}
CASE(renames_are_seen) {
    OK(mkdir("a", 0755));
    OK(mkdir("b", 0755));
    putc_("a/f", "1");
    putc_("b/f", "22");
    EQ(times_stat("a/f"), 0);
    EQ(s.st_size, 1);
    OK(rename("b/f", "a/f"));
    OK(stat("a/f", &s));
    EQ(s.st_size, 2);
    ERR(ENOENT, stat("b/f", &s));
    EQ(times_stat("a/f"), 0);
    EQ(times_stat("c/f"), ENOENT);
    OK(rename("a", "c"));
    ERR(ENOENT, stat("a/f", &s));
    OK(stat("c/f", &s));
    EQ(times_stat("b"), 0);
    EQ(times_stat("c"), 0);
    ino_t c = s.st_ino;
    OK(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "c", 2));
    OK(stat("b", &s));
    EQ(s.st_ino, c);
    ERR(ENOENT, stat("c/f", &s));
    OK(symlink("b", "l"));
    EQ(times_stat("l/f"), 0);
    OK(unlink("l"));
    ERR(ENOENT, stat("l/f", &s));
    EQ(times_stat("l/f"), ENOENT);
    OK(symlink("b", "l"));
    OK(stat("l/f", &s));
}
CASE(descriptors_are_reused) {
    int a = put("a", "1"), b = put("b", "22");
    for (int i = 0; i < 20; i++) {
        EQ(times_fstat(a), 0);
        EQ(s.st_size, 1);
        int keep = OK(dup(a));
        OK(dup2(b, a));
        OK(syscall(SYS_fstat, a, &s));
        EQ(s.st_size, 2);
        EQ(times_fstat(a), 0);
        OK(close(a));
        ERR(EBADF, syscall(SYS_fstat, a, &s));
        EQ(times_fstat(a), EBADF);
        EQ(OK(open(i % 2 ? "a" : "b", O_RDONLY)), a);
        OK(syscall(SYS_fstat, a, &s));
        EQ(s.st_size, i % 2 ? 1 : 2);
        EQ(times_fstat(a), 0);
        OK(syscall(SYS_close_range, a, a, 0));
        ERR(EBADF, syscall(SYS_fstat, a, &s));
        OK(dup3(keep, a, O_CLOEXEC));
        OK(syscall(SYS_fstat, a, &s));
        EQ(s.st_size, 1);
        OK(close(keep));
    }
    EQ(times_fstat(9999), EBADF);
    EQ(times_fstat(-1), EBADF);
    int p[2];
    OK(pipe(p));
    EQ(times_fstat(p[0]), 0);
    TRUE(S_ISFIFO(s.st_mode));
    /* With an empty path, too. */
    for (int i = 0; i < AGAIN; i++) OK(syscall(SYS_newfstatat, a, "", &s, AT_EMPTY_PATH));
    EQ(s.st_size, 1);
    OK(dup2(b, a));
    OK(syscall(SYS_newfstatat, a, "", &s, AT_EMPTY_PATH));
    EQ(s.st_size, 2);
    ERR(ENOTDIR, syscall(SYS_newfstatat, a, "x", &s, AT_EMPTY_PATH));
    ERR(ENOENT, syscall(SYS_newfstatat, a, "", &s, 0));
}
CASE(descriptors_of_a_vfork_child_are_its_own) {
    int a = put("a", "1"), b = put("b", "22");
    EQ(times_fstat(a), 0);
    for (int i = 0; i < 5; i++) {
        pid_t c = vfork();
        if (c == 0) {
            struct stat t;
            syscall(SYS_dup3, b, a, 0);
            for (int j = 0; j < AGAIN; j++) syscall(SYS_fstat, a, &t);
            _exit(t.st_size == 2 ? 0 : 1);
        }
        REAP(c, 0);
        OK(syscall(SYS_fstat, a, &s));
        EQ(s.st_size, 1);
        EQ(times_fstat(a), 0);
        EQ(s.st_size, 1);
    }
}
CASE(working_directories_change) {
    OK(mkdir("d", 0755));
    putc_("f", "1");
    putc_("d/f", "22");
    int top = OK(open(".", O_RDONLY | O_DIRECTORY));
    for (int i = 0; i < 5; i++) {
        EQ(times_stat("f"), 0);
        EQ(s.st_size, 1);
        OK(chdir("d"));
        OK(stat("f", &s));
        EQ(s.st_size, 2);
        EQ(times_stat("f"), 0);
        OK(fchdir(top));
        OK(stat("f", &s));
        EQ(s.st_size, 1);
    }
}
static void *walker(void *go) {
    while (!atomic_load((atomic_int *)go)) nap_ms(1);
    OK(chdir("d"));
    return 0;
}
CASE(a_thread_changes_the_directory) {
    OK(mkdir("d", 0755));
    putc_("f", "1");
    putc_("d/f", "22");
    atomic_int go = 0;
    pthread_t t;
    EQ(pthread_create(&t, 0, walker, &go), 0);
    EQ(times_stat("f"), 0);
    EQ(s.st_size, 1);
    atomic_store(&go, 1);
    pthread_join(t, 0);
    OK(stat("f", &s));
    EQ(s.st_size, 2);
}
CASE(roots_change) {
    if (geteuid() != 0) SKIP("only root may chroot");
    OK(mkdir("d", 0755));
    OK(mkdir("d/etc", 0755));
    EQ(times_stat("/etc/passwd"), 0);
    EQ(times_stat("/only-here"), ENOENT);
    pid_t c = CHILD(EQ(times_stat("/etc/passwd"), 0); EQ(times_stat("/only-here"), ENOENT); OK(chroot("d"));
                    ERR(ENOENT, stat("/etc/passwd", &s)); putc_("/only-here", "123"); OK(stat("/only-here", &s));
                    EQ(s.st_size, 3));
    REAP(c, 0);
    OK(stat("/etc/passwd", &s));
    ERR(ENOENT, stat("/only-here", &s));
}
CASE(credentials_change) {
    if (geteuid() != 0) SKIP("only root may change who it is");
    OK(chmod(".", 0755));
    OK(mkdir("d", 0700));
    putc_("d/f", "1");
    putc_("g", "1");
    OK(chmod("g", 0600));
    pid_t c = CHILD(EQ(times_stat("d/f"), 0); EQ(times_access("g", R_OK), 0);
                    OK(syscall(SYS_setresuid, 1234, 1234, 0)); ERR(EACCES, stat("d/f", &s));
                    ERR(EACCES, access("g", R_OK)); EQ(times_stat("d/f"), EACCES);
                    OK(syscall(SYS_setresuid, 0, 0, 0)); OK(stat("d/f", &s)); OK(access("g", R_OK));
                    EQ(times_stat("d/f"), 0); OK(syscall(SYS_setfsuid, 1234)); ERR(EACCES, stat("d/f", &s)));
    REAP(c, 0);
    c = CHILD(EQ(times_stat("d/f"), 0); OK(syscall(SYS_setresgid, 5, 5, 5)); OK(syscall(SYS_setgroups, 0, 0));
              OK(chmod("d", 0)); OK(syscall(SYS_setresuid, 1234, 1234, 1234)); ERR(EACCES, stat("d/f", &s)));
    REAP(c, 0);
}
CASE(permission_of_a_directory_changes) {
    if (geteuid() == 0) {
        /* Root may search every directory. */
        OK(chown(".", 1234, 1234));
        OK(syscall(SYS_setresuid, 1234, 1234, 1234));
    }
    OK(mkdir("d", 0700));
    putc_("d/f", "1");
    for (int i = 0; i < 5; i++) {
        EQ(times_stat("d/f"), 0);
        EQ(times_stat("d/g"), ENOENT);
        EQ(times_access("d/f", R_OK), 0);
        OK(chmod("d", 0));
        ERR(EACCES, stat("d/f", &s));
        ERR(EACCES, stat("d/g", &s));
        ERR(EACCES, access("d/f", R_OK));
        OK(chmod("d", 0700));
        OK(stat("d/f", &s));
    }
    EQ(times_access("d/f", W_OK), 0);
    OK(chmod("d/f", 0400));
    ERR(EACCES, access("d/f", W_OK));
}
CASE(mounts_are_seen) {
    OK(mkdir("m", 0755));
    putc_("m/f", "1");
    EQ(times_stat("m/f"), 0);
    EQ(times_stat("m/g"), ENOENT);
    pid_t c = fork();
    if (c == 0) {
        /* Refused where there is one namespace for all: then its own mounts are all there are. */
        unshare(CLONE_NEWNS);
        EQ(times_stat("m/f"), 0);
        if (mount("none", "m", "tmpfs", 0, 0)) _exit(77);
        ERR(ENOENT, stat("m/f", &s));
        putc_("m/g", "22");
        OK(stat("m/g", &s));
        EQ(times_stat("m/g"), 0);
        EQ(times_access("m/g", W_OK), 0);
        OK(mount("none", "m", "tmpfs", MS_REMOUNT | MS_RDONLY, 0));
        ERR(EROFS, access("m/g", W_OK));
        EQ(times_stat("m/g"), 0);
        OK(umount2("m", 0));
        ERR(ENOENT, stat("m/g", &s));
        OK(stat("m/f", &s));
        _exit(0);
    }
    int st;
    OK(waitpid(c, &st, 0));
    if (WIFEXITED(st) && WEXITSTATUS(st) == 77) SKIP("this user may not mount");
    TRUE(WIFEXITED(st) && WEXITSTATUS(st) == 0);
}
CASE(other_processes_change_files) {
    int fd = put("f", "1"), to[2], from[2];
    char b;
    OK(pipe(to));
    OK(pipe(from));
    pid_t c = CHILD(for (int i = 0; i < 30; i++) {
        EQ(OK(read(to[0], &b, 1)), 1);
        if (i % 3 == 0) OK(write(fd, "x", 1));
        if (i % 3 == 1) OK(unlink("f"));
        if (i % 3 == 2) OK(link("/proc/self/exe", "nowhere") ? -errno ? 0 : 0 : 0), putc_("f", "1");
        OK(write(from[1], "x", 1));
    });
    long size = 1;
    for (int i = 0; i < 30; i++) {
        EQ(times_fstat(fd), 0);
        EQ(s.st_size, size);
        times_stat("f");
        OK(write(to[1], "x", 1));
        EQ(OK(read(from[0], &b, 1)), 1);
        if (i % 3 == 0) size++;
        OK(syscall(SYS_fstat, fd, &s));
        EQ(s.st_size, size);
        if (i % 3 == 1) ERR(ENOENT, stat("f", &s));
        if (i % 3 == 2) {
            OK(stat("f", &s));
            EQ(s.st_size, 1);
        }
    }
    REAP(c, 0);
}
CASE(bad_pointers_are_faults) {
    int fd = put("f", "1");
    EQ(times_stat("f"), 0);
    EQ(times_access("f", R_OK), 0);
    EQ(times_fstat(fd), 0);
    for (int i = 0; i < 3; i++) {
        ERR(EFAULT, stat(BAD_PTR, &s));
        ERR(EFAULT, access(BAD_PTR, R_OK));
        ERR(EFAULT, syscall(SYS_newfstatat, AT_FDCWD, "f", BAD_PTR, 0));
        ERR(EFAULT, syscall(SYS_newfstatat, AT_FDCWD, "f", (void *)-4096, 0));
        ERR(EFAULT, syscall(SYS_newfstatat, AT_FDCWD, "f", (void *)0x8000000000000000, 0));
        ERR(EFAULT, syscall(SYS_fstat, fd, BAD_PTR));
        ERR(EFAULT, syscall(SYS_stat, "f", BAD_PTR));
        ERR(EFAULT, syscall(SYS_newfstatat, fd, (void *)0x8000000000000000, &s, AT_EMPTY_PATH));
    }
    char *p = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TRUE(p != MAP_FAILED);
    OK(munmap(p + 4096, 4096));
    /* A path that ends with its page, and a result that does not fit into it. */
    strcpy(p + 4096 - 2, "f");
    EQ(times_stat(p + 4096 - 2), 0);
    EQ(s.st_size, 1);
    memcpy(p + 4096 - 1, "f", 1);
    ERR(EFAULT, stat(p + 4096 - 1, &s));
    for (int i = 0; i < AGAIN; i++) OK(syscall(SYS_fstat, fd, p + 4096 - sizeof s));
    ERR(EFAULT, syscall(SYS_fstat, fd, p + 4096 - sizeof s + 8));
    ERR(EFAULT, syscall(SYS_fstat, fd, p + 8192 - 8));
    OK(mprotect(p, 4096, PROT_READ));
    ERR(EFAULT, syscall(SYS_fstat, fd, p));
    ERR(EFAULT, syscall(SYS_newfstatat, AT_FDCWD, "f", p, 0));
    /* Pages of a file that are copied when they are written. */
    char *q = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    TRUE(q != MAP_FAILED);
    OK(syscall(SYS_fstat, fd, q));
    EQ(((struct stat *)q)->st_size, 1);
}
CASE(paths_of_all_lengths) {
    char path[200];
    for (int n = 1; n < 150; n++) {
        memset(path, '/', n);
        path[n - 1] = 'f';
        memmove(path + 1, path, n);
        path[0] = '.';
        path[n + 1] = 0;
        EQ(times_stat(path), ENOENT);
    }
    putc_("f", "1");
    for (int n = 1; n < 150; n++) {
        memset(path, '/', n + 1);
        path[0] = '.';
        path[n] = n == 1 ? '/' : 'f';
        path[n + 1] = 0;
        EQ(times_stat(path), 0);
        if (n > 1) EQ(s.st_size, 1);
        path[n + 1] = '/', path[n + 2] = 0;
        if (n > 1) EQ(times_stat(path), ENOTDIR);
    }
    EQ(times_stat(""), ENOENT);
    EQ(times_stat("f/."), ENOTDIR);
    EQ(times_stat("."), 0);
    EQ(times_stat("./."), 0);
    EQ(times_access("", F_OK), ENOENT);
    for (int mode = 0; mode < 8; mode++) EQ(times_access(".", mode), 0);
    EQ(times_access(".", 8), EINVAL);
    EQ(times_access(".", -1), EINVAL);
    for (int i = 0; i < AGAIN; i++) OK(syscall(SYS_faccessat, AT_FDCWD, ".", R_OK));
    for (int i = 0; i < AGAIN; i++) ERR(EBADF, syscall(SYS_faccessat, 9999, ".", R_OK));
    for (int i = 0; i < AGAIN; i++) ERR(EINVAL, syscall(SYS_newfstatat, AT_FDCWD, ".", &s, 0x40000));
}
CASE(many_paths) {
    char path[40];
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 400; i++) {
            sprintf(path, "file-%d", i);
            int r = stat(path, &s) ? errno : 0;
            EQ(r, round && i % 2 ? 0 : ENOENT);
            if (r == 0) EQ(s.st_size, i % 7);
            if (!round && i % 2) {
                int fd = put(path, "");
                OK(ftruncate(fd, i % 7));
                OK(close(fd));
            }
        }
        for (int i = 0; i < 400; i++) {
            sprintf(path, "file-%d", i);
            EQ(times_stat(path), i % 2 ? 0 : ENOENT);
            if (i % 2) EQ(s.st_size, i % 7);
        }
    }
}

/* Races: what happened before the question was asked is in the answer. */
struct shared {
    atomic_long size, epoch;
    atomic_int stop, fd;
};
static struct shared *sh;
static void *reads_size(void *unused) {
    struct stat t;
    while (!atomic_load(&sh->stop)) {
        long least = atomic_load(&sh->size);
        OK(syscall(SYS_fstat, sh->fd, &t));
        if (t.st_size < least) t_fail(__LINE__, "fstat: %ld after %ld", (long)t.st_size, least);
        least = atomic_load(&sh->size);
        OK(stat("f", &t));
        if (t.st_size < least) t_fail(__LINE__, "stat: %ld after %ld", (long)t.st_size, least);
    }
    return 0;
}
static void *reads_names(void *unused) {
    struct stat t;
    while (!atomic_load(&sh->stop)) {
        long before = atomic_load(&sh->epoch);
        int r = stat("g", &t) ? errno : 0;
        /* 4n: absent, 4n + 2: there; odd while it changes. */
        if (atomic_load(&sh->epoch) != before || before & 1) continue;
        if (r != (before & 2 ? 0 : ENOENT)) t_fail(__LINE__, "epoch %ld: %s", before, t_err(r));
    }
    return 0;
}
static void *reads_descriptor(void *unused) {
    struct stat t;
    while (!atomic_load(&sh->stop)) {
        long before = atomic_load(&sh->epoch);
        OK(syscall(SYS_fstat, 40, &t));
        if (atomic_load(&sh->epoch) != before || before & 1) continue;
        EQ(t.st_size, before & 2 ? 2 : 1);
    }
    return 0;
}
static void race(void *(*reader)(void *), void (*change)(int), int processes) {
    sh = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    TRUE(sh != MAP_FAILED);
    sh->fd = put("f", "");
    int a = put("a", "1");
    OK(dup2(a, 40));
    pthread_t t[3];
    pid_t c[3];
    for (int i = 0; i < 3; i++) {
        if (processes) c[i] = CHILD(reader(0));
        else EQ(pthread_create(&t[i], 0, reader, 0), 0);
    }
    int64_t end = now_ns() + 1000000000;
    for (int i = 0; now_ns() < end; i++) {
        change(i);
        if (i % 5 == 0) usleep(300);
    }
    atomic_store(&sh->stop, 1);
    for (int i = 0; i < 3; i++) {
        if (processes) REAP(c[i], 0);
        else EQ(pthread_join(t[i], 0), 0);
    }
}
static void grow(int i) {
    OK(write(sh->fd, "x", 1));
    atomic_fetch_add(&sh->size, 1);
}
static void come_and_go(int i) {
    atomic_fetch_add(&sh->epoch, 1);
    if (i % 2 == 0) OK(close(open("g", O_CREAT | O_WRONLY, 0600)));
    else OK(unlink("g"));
    atomic_fetch_add(&sh->epoch, 1);
}
static void replace(int i) {
    static int a, b;
    atomic_fetch_add(&sh->epoch, 1);
    if (!a) a = put("a", "1"), b = put("b", "22");
    OK(dup2(i % 2 == 0 ? b : a, 40));
    atomic_fetch_add(&sh->epoch, 1);
}
CASE(race_of_threads_for_size) { race(reads_size, grow, 0); }
CASE(race_of_processes_for_size) { race(reads_size, grow, 1); }
CASE(race_of_threads_for_names) { race(reads_names, come_and_go, 0); }
CASE(race_of_processes_for_names) { race(reads_names, come_and_go, 1); }
CASE(race_of_threads_for_a_descriptor) { race(reads_descriptor, replace, 0); }

/* Interrupted anywhere, the call gives its answer and changes no register. */
static volatile int ticks;
static void tick(int x) {
    struct stat t;
    stat("f", &t);
    ticks++;
}
CASE(interrupted_anywhere) {
    int fd = put("f", "1");
    signal(SIGALRM, tick);
    struct itimerval v = {{0, 200}, {0, 200}}, none = {{0}};
    OK(setitimer(ITIMER_REAL, &v, 0));
    int64_t end = now_ns() + 1500000000;
    const char *path = "f";
    while (ticks < 300 && now_ns() < end) {
        for (int i = 0; i < 200; i++) {
            long r, a = 0x1111, b = 0x2222, c = 0x3333;
            struct stat t = {0};
            register long r10 asm("r10") = 0, r8 asm("r8") = 0x8888, r9 asm("r9") = 0x9999;
            asm volatile("syscall" : "=a"(r), "+r"(r10), "+r"(r8), "+r"(r9), "+b"(a), "+D"((long){AT_FDCWD}), "+S"(path)
                         : "0"(SYS_newfstatat), "d"(&t) : "rcx", "r11", "memory");
            EQ(r, 0);
            EQ(t.st_size, 1);
            EQ(r8, 0x8888);
            EQ(r9, 0x9999);
            EQ(r10, 0);
            EQ(a, 0x1111);
            TRUE(path[0] == 'f' && path[1] == 0);
        }
    }
    OK(setitimer(ITIMER_REAL, &none, 0));
    TRUE(ticks > 0);
    OK(close(fd));
}
CASE(after_exec) {
    char self[PATH_MAX];
    self[OK(readlink("/proc/self/exe", self, sizeof self - 1))] = 0;
    int fd = put("f", "1");
    EQ(times_fstat(fd), 0);
    OK(fcntl(fd, F_SETFD, FD_CLOEXEC));
    pid_t c = CHILD(EQ(times_fstat(fd), 0); OK(dup2(OK(open("/dev/null", O_WRONLY)), 1));
                    execl(self, self, "descriptors_are_reused", NULL));
    REAP(c, 0);
    EQ(times_fstat(fd), 0);
}

/* A directory whose entries are asked for in the order in which they are read. */
#define MANY 60
static char listed[MANY + 8][32];
static int list_in(int dir) {
    char buf[8192];
    int n = 0;
    long len;
    OK(lseek(dir, 0, SEEK_SET));
    while ((len = OK(syscall(SYS_getdents64, dir, buf, sizeof buf))) > 0)
        for (long at = 0; at < len; at += *(unsigned short *)(buf + at + 16))
            if (buf[at + 19] != '.') strcpy(listed[n++], buf + at + 19);
    return n;
}
static int size_in(int dir, const char *name) {
    if (syscall(SYS_newfstatat, dir, name, &s, AT_SYMLINK_NOFOLLOW)) return -errno;
    return s.st_size;
}
static int number(const char *name) { return atoi(name + 1); }
static void fill(const char *dir, int extra) {
    char path[64];
    OK(mkdir(dir, 0755));
    for (int i = 0; i < MANY; i++) {
        snprintf(path, sizeof path, "%s/f%d", dir, i);
        int fd = OK(open(path, O_CREAT | O_WRONLY, 0644));
        OK(ftruncate(fd, 100 + i + extra));
        OK(close(fd));
    }
}
CASE(entries_in_order) {
    fill("d", 0);
    OK(mkdir("d/d1000", 0700));
    OK(symlink("nowhere", "d/l1001"));
    int dir = OK(open("d", O_RDONLY | O_DIRECTORY));
    for (int round = 0; round < 5; round++) {
        int n = list_in(dir);
        EQ(n, MANY + 2);
        for (int i = 0; i < n; i++) {
            int size = size_in(dir, listed[i]);
            if (listed[i][0] == 'f') EQ(size, 100 + number(listed[i]));
            if (listed[i][0] == 'l') TRUE(size == 7 && S_ISLNK(s.st_mode));
            if (listed[i][0] == 'd') {
                TRUE(S_ISDIR(s.st_mode));
                EQ(size_in(dir, listed[i]), size);
            }
        }
    }
    EQ(size_in(dir, "f1000"), -ENOENT);
    EQ(size_in(dir, ""), -ENOENT);
}
CASE(entries_change_meanwhile) {
    fill("d", 0);
    int dir = OK(open("d", O_RDONLY | O_DIRECTORY)), n = list_in(dir);
    EQ(n, MANY);
    for (int i = 0; i < n; i++) {
        /* What may have been looked up already goes, grows or gets another mode. */
        if (i % 5 == 0 && i + 4 < n) {
            OK(unlinkat(dir, listed[i + 1], 0));
            int fd = OK(openat(dir, listed[i + 2], O_WRONLY));
            OK(ftruncate(fd, 5000));
            OK(close(fd));
            OK(fchmodat(dir, listed[i + 3], 0600, 0));
        }
        int size = size_in(dir, listed[i]);
        switch (i + 4 - i % 5 < n ? i % 5 : 0) {
        case 1: EQ(size, -ENOENT); break;
        case 2: EQ(size, 5000); break;
        case 3: EQ(s.st_mode & 0777, 0600); break;
        default: EQ(size, 100 + number(listed[i]));
        }
    }
}
CASE(entries_of_another_directory) {
    fill("d", 0);
    fill("e", 1000);
    int dir = OK(open("d", O_RDONLY | O_DIRECTORY));
    for (int round = 0; round < 6; round++) {
        int n = list_in(dir);
        for (int i = 0; i < n / 2; i++) EQ(size_in(dir, listed[i]), 100 + number(listed[i]));
        /* The same descriptor, names and order, another directory. */
        int other = OK(open("e", O_RDONLY | O_DIRECTORY));
        if (round % 2) {
            OK(dup2(other, dir));
            OK(close(other));
        } else {
            OK(close(dir));
            EQ(dup2(other, dir), dir);
            OK(close(other));
        }
        for (int i = n / 2; i < n; i++) EQ(size_in(dir, listed[i]), 1100 + number(listed[i]));
        OK(close(dir));
        EQ(size_in(dir, listed[n - 1]), -EBADF);
        EQ(OK(open("d", O_RDONLY | O_DIRECTORY)), dir);
    }
}
CASE(entries_of_two_directories) {
    fill("d", 0);
    fill("e", 1000);
    int d = OK(open("d", O_RDONLY | O_DIRECTORY)), e = OK(open("e", O_RDONLY | O_DIRECTORY));
    EQ(list_in(e), MANY);
    EQ(list_in(d), MANY);
    for (int i = 0; i < MANY; i++) {
        EQ(size_in(d, listed[i]), 100 + number(listed[i]));
        EQ(size_in(e, listed[i]), 1100 + number(listed[i]));
        if (i == MANY / 2) {
            OK(rename("d", "x"));
            OK(rename("e", "d"));
        }
        pid_t c = i % 20 ? 0 : CHILD(EQ(size_in(e, listed[i]), 1100 + number(listed[i])); OK(dup2(d, e));
                                    EQ(size_in(e, listed[i]), 100 + number(listed[i])));
        if (c) REAP(c, 0);
    }
}
CASE(entries_without_search_permission) {
    fill("d", 0);
    int dir = OK(open("d", O_RDONLY | O_DIRECTORY)), n = list_in(dir);
    /* Root may search everything. */
    if (geteuid() == 0) {
        if (fchown(dir, 1000, -1) == -1 && errno == EINVAL) SKIP("user namespace without this id");
        OK(setresuid(-1, 1000, -1));
    }
    for (int i = 0; i < n / 2; i++) EQ(size_in(dir, listed[i]), 100 + number(listed[i]));
    OK(fchmod(dir, 0600));
    for (int i = n / 2; i < n; i++) EQ(size_in(dir, listed[i]), -EACCES);
    OK(fchmod(dir, 0700));
    for (int i = n / 2; i < n; i++) EQ(size_in(dir, listed[i]), 100 + number(listed[i]));
}
/* The same by paths, in the order of their bytes, as a sorted index has them. */
static int by_bytes(const void *a, const void *b) { return strcmp(a, b); }
static int sorted_in(const char *dir) {
    int fd = OK(open(dir, O_RDONLY | O_DIRECTORY)), n = list_in(fd);
    OK(close(fd));
    qsort(listed, n, sizeof *listed, by_bytes);
    return n;
}
static int size_of(const char *dir, const char *name, int follow) {
    char path[64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (follow ? stat(path, &s) : lstat(path, &s)) return -errno;
    return s.st_size;
}
CASE(paths_in_order) {
    fill("d", 0);
    fill("e", 1000);
    OK(mkdir("d/d1000", 0700));
    OK(symlink("nowhere", "d/l1001"));
    OK(symlink("f3", "d/l1002"));
    for (int round = 0; round < 6; round++) {
        int n = sorted_in("d"), follow = round % 2;
        EQ(n, MANY + 3);
        for (int i = 0; i < n; i++) {
            int size = size_of("d", listed[i], follow);
            if (listed[i][0] == 'f') {
                EQ(size, 100 + number(listed[i]));
                EQ(size_of("e", listed[i], follow), 1100 + number(listed[i]));
            } else if (listed[i][0] == 'd') {
                TRUE(S_ISDIR(s.st_mode));
            } else if (follow) {
                EQ(size, number(listed[i]) == 1001 ? -ENOENT : 103);
            } else {
                TRUE(S_ISLNK(s.st_mode));
            }
            /* Every few names are left out. */
            if (round > 3) i += i % 3;
        }
    }
    EQ(size_of("d", "f1000", 0), -ENOENT);
}
CASE(paths_change_meanwhile) {
    fill("d", 0);
    int dir = OK(open("d", O_RDONLY | O_DIRECTORY)), n = sorted_in("d");
    for (int i = 0; i < n; i++) {
        /* First nothing changes for a while. */
        if (i > n / 2 && i % 5 == 0 && i + 4 < n) {
            OK(unlinkat(dir, listed[i + 1], 0));
            int fd = OK(openat(dir, listed[i + 2], O_WRONLY));
            OK(ftruncate(fd, 5000));
            OK(close(fd));
            OK(fchmodat(dir, listed[i + 3], 0600, 0));
        }
        int size = size_of("d", listed[i], 0);
        switch (i - i % 5 > n / 2 && i + 4 - i % 5 < n ? i % 5 : 0) {
        case 1: EQ(size, -ENOENT); break;
        case 2: EQ(size, 5000); break;
        case 3: EQ(s.st_mode & 0777, 0600); break;
        default: EQ(size, 100 + number(listed[i]));
        }
    }
    fill("x", 1000);
    n = sorted_in("x");
    for (int i = 0; i < n; i++) {
        /* Another directory, another working directory, no way there any more. */
        if (i == n / 4) {
            OK(rename("d", "y"));
            OK(rename("x", "d"));
        }
        if (i == n / 2) OK(chdir("d"));
        EQ(size_of(i < n / 4 ? "x" : i < n / 2 ? "d" : ".", listed[i], 0), 1100 + number(listed[i]));
    }
    OK(chdir(".."));
    if (geteuid() == 0) {
        OK(chmod(".", 0755));
        if (chown("d", 1000, -1) == -1 && errno == EINVAL) SKIP("user namespace without this id");
    }
    pid_t c = CHILD({
        if (geteuid() == 0) OK(setresuid(-1, 1000, -1));
        for (int i = 0; i < n; i++) {
            if (i == n / 2) OK(chmod("d", 0600));
            EQ(size_of("d", listed[i], 0), i < n / 2 ? 1100 + number(listed[i]) : -EACCES);
        }
        OK(chmod("d", 0700));
    });
    REAP(c, 0);
}
static void *walks(void *dir) {
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < MANY; i++) {
            char path[64];
            struct stat own;
            snprintf(path, sizeof path, "%s/%s", (char *)dir, listed[i]);
            OK(lstat(path, &own));
            EQ(own.st_size, number(listed[i]) + (*(char *)dir == 'd' ? 100 : 1100));
        }
    return NULL;
}
CASE(threads_walk_in_order) {
    pthread_t t[4];
    fill("d", 0);
    fill("e", 1000);
    EQ(sorted_in("d"), MANY);
    for (int i = 0; i < 4; i++) EQ(pthread_create(t + i, NULL, walks, i % 2 ? "d" : "e"), 0);
    for (int i = 0; i < 300; i++) OK(close(put("f", "x")));
    for (int i = 0; i < 4; i++) EQ(pthread_join(t[i], NULL), 0);
}
CASE(what_is_opened_is_looked_at) {
    for (int i = 1; i <= 40; i++) {
        int fd = put("f", "1234");
        OK(close(fd));
        EQ(OK(open("f", O_RDWR | (i % 4 == 0 ? O_TRUNC : 0))), fd);
        if (i % 4 == 1) OK(truncate("f", i));
        if (i % 4 == 2) OK(write(fd, "123456789", 9));
        if (i % 4 == 3) {
            /* Another file under the same number. */
            OK(close(fd));
            EQ(OK(open("/dev/null", O_RDONLY)), fd);
        }
        OK(syscall(SYS_fstat, fd, &s));
        int sizes[] = {0, i, 9, 0};
        EQ(s.st_size, sizes[i % 4]);
        EQ(S_ISCHR(s.st_mode), i % 4 == 3);
        OK(close(fd));
        ERR(EBADF, syscall(SYS_fstat, fd, &s));
    }
}
