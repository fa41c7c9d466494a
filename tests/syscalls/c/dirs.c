/* mkdir, rmdir, getdents, chdir, getcwd, rename, link, symlink, unlink and their *at forms. */
#include "t.h"
#include <dirent.h>
#ifndef RENAME_EXCHANGE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

static ino_t ino(const char *p) {
    struct stat st;
    OK(lstat(p, &st));
    return st.st_ino;
}
static int nlink(const char *p) {
    struct stat st;
    OK(lstat(p, &st));
    return st.st_nlink;
}

CASE(mkdir_rmdir) {
    OK(mkdir("d", 0755));
    ERR(EEXIST, mkdir("d", 0755));
    ERR(ENOENT, mkdir("x/y", 0755));
    OK(mkdir("d/e", 0755));
    ERR(ENOTEMPTY, rmdir("d"));
    OK(rmdir("d/e/"));
    ERR(EINVAL, rmdir("d/."));
    ERR(ENOTEMPTY, rmdir("d/.."));
    OK(rmdir("d"));
    ERR(ENOENT, rmdir("d"));
    putc_("f", "");
    ERR(ENOTDIR, rmdir("f"));
    ERR(ENOTDIR, mkdir("f/d", 0755));
    ERR(EEXIST, mkdir("f", 0755));
    ERR(EFAULT, mkdir(BAD_PTR, 0755));
    TRUE(rmdir("/") == -1 && errno == EBUSY);
}
CASE(mkdir_setgid_and_sticky) {
    struct stat st;
    OK(mkdir("d", 01777));
    OK(stat("d", &st));
    EQ(st.st_mode & 07777, 01755);
}
CASE(getdents_lists_all) {
    char name[16];
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "f%03d", i);
        OK(close(OK(open(name, O_CREAT | O_WRONLY, 0600))));
    }
    DIR *d = opendir(".");
    TRUE(d);
    int seen = 0, dots = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') {
            dots++;
            EQ(e->d_type, DT_DIR);
        } else {
            seen++;
            EQ(e->d_ino, ino(e->d_name));
        }
    }
    EQ(seen, 500);
    EQ(dots, 2);
    rewinddir(d);
    seen = 0;
    while (readdir(d)) seen++;
    EQ(seen, 502);
    closedir(d);
}
CASE(getdents_errors) {
    char b[1024];
    int fd = OK(open(".", O_RDONLY | O_DIRECTORY)), f = put("f", "");
    ERR(EINVAL, syscall(SYS_getdents64, fd, b, 1));
    ERR(ENOTDIR, syscall(SYS_getdents64, f, b, sizeof b));
    ERR(EBADF, syscall(SYS_getdents64, 99, b, sizeof b));
    ERR(EFAULT, syscall(SYS_getdents64, fd, BAD_PTR, sizeof b));
    OK(mkdir("gone", 0755));
    int g = OK(open("gone", O_RDONLY));
    OK(rmdir("gone"));
    ERR(ENOENT, syscall(SYS_getdents64, g, b, sizeof b));
}
CASE(readdir_while_deleting) {
    char name[16];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "f%03d", i);
        putc_(name, "");
    }
    DIR *d = opendir(".");
    int n = 0;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') {
            OK(unlink(e->d_name));
            n++;
        }
    closedir(d);
    EQ(n, 300);
}
CASE(seekdir_tells) {
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%d", i);
        putc_(name, "");
    }
    DIR *d = opendir(".");
    for (int i = 0; i < 5; i++) readdir(d);
    long at = telldir(d);
    char next[256];
    strcpy(next, readdir(d)->d_name);
    while (readdir(d)) { }
    seekdir(d, at);
    STREQ(readdir(d)->d_name, next);
    closedir(d);
}
CASE(chdir_getcwd) {
    char a[PATH_MAX], b[PATH_MAX];
    TRUE(getcwd(a, sizeof a));
    OK(mkdir("d", 0755));
    OK(chdir("d"));
    TRUE(getcwd(b, sizeof b));
    strcat(a, "/d");
    STREQ(b, a);
    ERR(ERANGE, syscall(SYS_getcwd, b, 3));
    ERR(EFAULT, syscall(SYS_getcwd, BAD_PTR, 4096));
    int fd = OK(open("..", O_RDONLY));
    OK(fchdir(fd));
    ERR(ENOENT, chdir("nope"));
    putc_("f", "");
    ERR(ENOTDIR, chdir("f"));
    int f = OK(open("f", O_RDONLY));
    ERR(ENOTDIR, fchdir(f));
    ERR(EBADF, fchdir(99));
    OK(chdir("d"));
    OK(rmdir("../d"));
    ERR(ENOENT, syscall(SYS_getcwd, b, 4096));
    ERR(ENOENT, open("x", O_CREAT | O_WRONLY, 0600));
    OK(chdir(".."));
}
CASE(rename_basic) {
    putc_("a", "A");
    putc_("b", "B");
    ino_t i = ino("a");
    OK(rename("a", "b"));
    ERR(ENOENT, access("a", F_OK));
    STREQ(get("b"), "A");
    EQ(ino("b"), i);
    OK(rename("b", "b"));
    ERR(ENOENT, rename("nope", "x"));
    ERR(ENOENT, rename("b", "no/x"));
    ERR(EFAULT, rename(BAD_PTR, "x"));
    OK(link("b", "c"));
    OK(rename("b", "c"));
    OK(access("b", F_OK));
}
CASE(rename_directories) {
    OK(mkdir("a", 0755));
    OK(mkdir("a/in", 0755));
    OK(mkdir("b", 0755));
    putc_("f", "");
    ERR(EISDIR, rename("f", "a"));
    ERR(ENOTDIR, rename("a", "f"));
    ERR(EINVAL, rename("a", "a/in/x"));
    ERR(ENOTEMPTY, rename("b", "a"));
    OK(rename("a", "b"));
    OK(access("b/in", F_OK));
    ERR(EBUSY, rename("b/.", "c"));
    ERR(EBUSY, rename("b", "b/.."));
    ERR(ENOTDIR, rename("f/", "g"));
    EQ(nlink("b"), 3);
    OK(rename("b/in", "out"));
    EQ(nlink("b"), 2);
}
CASE(renameat2_flags) {
    putc_("a", "A");
    putc_("b", "B");
    ERR(EEXIST, renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE));
    OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE));
    STREQ(get("a"), "B");
    STREQ(get("b"), "A");
    ERR(ENOENT, renameat2(AT_FDCWD, "a", AT_FDCWD, "no", RENAME_EXCHANGE));
    OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
    ERR(EINVAL, renameat2(AT_FDCWD, "c", AT_FDCWD, "b", RENAME_NOREPLACE | RENAME_EXCHANGE));
    ERR(EINVAL, renameat2(AT_FDCWD, "c", AT_FDCWD, "b", 0x100));
}
CASE(rename_open_files) {
    int fd = put("a", "A");
    int b = put("b", "B");
    OK(rename("a", "b"));
    OK(write(fd, "2", 1));
    STREQ(get("b"), "A2");
    char c;
    EQ(OK(pread(b, &c, 1, 0)), 1);
    EQ(c, 'B');
}
CASE(links) {
    putc_("a", "x");
    OK(link("a", "b"));
    EQ(ino("a"), ino("b"));
    EQ(nlink("a"), 2);
    ERR(EEXIST, link("a", "b"));
    ERR(ENOENT, link("no", "c"));
    OK(mkdir("d", 0755));
    ERR(EPERM, link("d", "e"));
    OK(unlink("a"));
    EQ(nlink("b"), 1);
    STREQ(get("b"), "x");
    OK(symlink("b", "s"));
    OK(link("s", "hard-s"));
    EQ(ino("s"), ino("hard-s"));
    OK(linkat(AT_FDCWD, "s", AT_FDCWD, "hard-b", AT_SYMLINK_FOLLOW));
    EQ(ino("b"), ino("hard-b"));
    ERR(EINVAL, linkat(AT_FDCWD, "b", AT_FDCWD, "z", 0x8000));
    ERR(ENOENT, linkat(AT_FDCWD, "", AT_FDCWD, "z", 0));
}
CASE(unlink_errors) {
    OK(mkdir("d", 0755));
    ERR(EISDIR, unlink("d"));
    ERR(ENOENT, unlink("no"));
    putc_("f", "");
    ERR(ENOTDIR, unlink("f/"));
    ERR(ENOTDIR, unlink("f/x"));
    ERR(EINVAL, unlinkat(AT_FDCWD, "f", 0x1));
    ERR(ENOTDIR, unlinkat(AT_FDCWD, "f", AT_REMOVEDIR));
    OK(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
    OK(unlink("f"));
    ERR(ENOENT, unlink(""));
}
CASE(symlinks) {
    char b[64];
    OK(symlink("some/where", "l"));
    EQ(OK(readlink("l", b, sizeof b)), 10);
    TRUE(!memcmp(b, "some/where", 10));
    EQ(OK(readlink("l", b, 4)), 4);
    ERR(EINVAL, readlink("l", b, 0));
    ERR(EINVAL, readlink(".", b, 4));
    ERR(EEXIST, symlink("x", "l"));
    ERR(ENOENT, symlink("", "m"));
    ERR(EFAULT, readlink("l", BAD_PTR, 10));
    struct stat st;
    OK(lstat("l", &st));
    EQ(st.st_size, 10);
    EQ(st.st_mode, S_IFLNK | 0777);
    ERR(ENOENT, stat("l", &st));
    int fd = OK(open("l", O_PATH | O_NOFOLLOW));
    EQ(OK(readlinkat(fd, "", b, sizeof b)), 10);
    ERR(EOPNOTSUPP, fchmodat(AT_FDCWD, "l", 0600, AT_SYMLINK_NOFOLLOW));
}
CASE(symlink_depth) {
    char from[8], to[8];
    putc_("l0", "end");
    for (int i = 1; i <= 41; i++) {
        snprintf(from, 8, "l%d", i);
        snprintf(to, 8, "l%d", i - 1);
        OK(symlink(to, from));
    }
    OK(access("l40", F_OK));
    ERR(ELOOP, access("l41", F_OK));
}
CASE(symlink_in_path) {
    OK(mkdir("d", 0755));
    putc_("d/f", "x");
    OK(symlink("d", "l"));
    STREQ(get("l/f"), "x");
    STREQ(get("l/../d/f"), "x");
    OK(mkdir("l/e", 0755));
    OK(access("d/e", F_OK));
    ERR(ENOTDIR, rmdir("l"));
    OK(unlink("l"));
    OK(access("d/f", F_OK));
}
CASE(at_family) {
    OK(mkdir("d", 0755));
    int d = OK(open("d", O_RDONLY | O_DIRECTORY)), f = put("f", "x");
    OK(close(OK(openat(d, "x", O_CREAT | O_WRONLY, 0600))));
    OK(access("d/x", F_OK));
    OK(mkdirat(d, "sub", 0755));
    OK(symlinkat("x", d, "s"));
    OK(linkat(d, "x", d, "y", 0));
    OK(renameat(d, "y", AT_FDCWD, "y"));
    OK(unlinkat(d, "x", 0));
    OK(unlinkat(d, "sub", AT_REMOVEDIR));
    struct stat st;
    OK(fstatat(d, "s", &st, AT_SYMLINK_NOFOLLOW));
    ERR(ENOENT, fstatat(d, "s", &st, 0));
    ERR(ENOTDIR, openat(f, "x", O_RDONLY));
    ERR(EBADF, openat(99, "x", O_RDONLY));
    OK(close(OK(openat(99, "/dev/null", O_RDONLY))));
    OK(fstatat(f, "", &st, AT_EMPTY_PATH));
    EQ(st.st_size, 1);
    ERR(ENOENT, fstatat(f, "", &st, 0));
    ERR(EINVAL, fstatat(f, "", &st, 0x40000));
    OK(mknodat(d, "fifo", S_IFIFO | 0600, 0));
    OK(fstatat(d, "fifo", &st, 0));
    TRUE(S_ISFIFO(st.st_mode));
    OK(faccessat(d, "fifo", R_OK, 0));
}
CASE(openat2_resolve) {
    struct { uint64_t flags, mode, resolve; } how = {O_RDONLY, 0, 8 /* RESOLVE_BENEATH */};
    OK(mkdir("d", 0755));
    putc_("d/f", "x");
    putc_("out", "x");
    OK(symlink("../out", "d/l"));
    int d = OK(open("d", O_RDONLY));
    OK(close(OK(syscall(SYS_openat2, d, "f", &how, sizeof how))));
    ERR(EXDEV, syscall(SYS_openat2, d, "../out", &how, sizeof how));
    ERR(EXDEV, syscall(SYS_openat2, d, "l", &how, sizeof how));
    ERR(EXDEV, syscall(SYS_openat2, d, "/etc", &how, sizeof how));
    how.resolve = 4; /* RESOLVE_NO_SYMLINKS */
    ERR(ELOOP, syscall(SYS_openat2, d, "l", &how, sizeof how));
    how.resolve = 1ull << 40;
    ERR(EINVAL, syscall(SYS_openat2, d, "f", &how, sizeof how));
    how.resolve = 0;
    how.mode = 0600;
    ERR(EINVAL, syscall(SYS_openat2, d, "f", &how, sizeof how));
    ERR(EINVAL, syscall(SYS_openat2, d, "f", &how, 8));
}
CASE(dot_dot_at_root) {
    struct stat a, b;
    OK(stat("/", &a));
    OK(stat("/../../..", &b));
    EQ(a.st_ino, b.st_ino);
    EQ(a.st_dev, b.st_dev);
}
CASE(trailing_slashes) {
    OK(mkdir("d/", 0755));
    OK(access("d///", F_OK));
    putc_("f", "");
    ERR(ENOTDIR, access("f/", F_OK));
    ERR(EISDIR, open("new/", O_CREAT | O_WRONLY, 0600));
    OK(rename("d/", "e/"));
    OK(access("e", F_OK));
    ERR(ENOENT, link("f", "g/"));
}
CASE(deep_tree) {
    for (int i = 0; i < 200; i++) {
        OK(mkdir("deeper-directory", 0755));
        OK(chdir("deeper-directory"));
    }
    char b[8192];
    TRUE(syscall(SYS_getcwd, b, sizeof b) > 3000);
    putc_("f", "bottom");
    STREQ(get("f"), "bottom");
    for (int i = 0; i < 200; i++) OK(chdir(".."));
}
