/* stat, statx, chmod, chown, utimensat, access, xattr, statfs and permission checks. */
#include "t.h"
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

CASE(stat_fields) {
    struct stat a, b;
    putc_("f", "hello");
    OK(stat("f", &a));
    EQ(a.st_mode, S_IFREG | 0644);
    EQ(a.st_size, 5);
    EQ(a.st_nlink, 1);
    EQ(a.st_uid, geteuid());
    EQ(a.st_gid, getegid());
    TRUE(a.st_blksize >= 512);
    int fd = OK(open("f", O_RDONLY));
    OK(fstat(fd, &b));
    EQ(a.st_ino, b.st_ino);
    EQ(a.st_dev, b.st_dev);
    ERR(ENOENT, stat("no", &a));
    ERR(EFAULT, stat("f", BAD_PTR));
    ERR(EFAULT, stat(BAD_PTR, &a));
    ERR(EBADF, fstat(99, &a));
    ERR(ENOTDIR, stat("f/x", &a));
    ERR(ENOENT, stat("", &a));
}
CASE(statx_fields) {
    struct statx x;
    struct stat s;
    putc_("f", "hello");
    OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x));
    OK(stat("f", &s));
    EQ(x.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
    EQ(x.stx_size, 5);
    EQ(x.stx_ino, s.st_ino);
    EQ(x.stx_mode, s.st_mode);
    EQ(makedev(x.stx_dev_major, x.stx_dev_minor), s.st_dev);
    EQ(x.stx_mtime.tv_sec, s.st_mtim.tv_sec);
    EQ(x.stx_mtime.tv_nsec, s.st_mtim.tv_nsec);
    ERR(EINVAL, statx(AT_FDCWD, "f", 0x40000, STATX_ALL, &x));
    ERR(EINVAL, statx(AT_FDCWD, "f", 0, 0x80000000u, &x));
    ERR(EINVAL, statx(AT_FDCWD, "f", 0x6000, STATX_ALL, &x));
    ERR(EFAULT, statx(AT_FDCWD, "f", 0, STATX_ALL, BAD_PTR));
    OK(symlink("f", "l"));
    OK(statx(AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &x));
    TRUE(S_ISLNK(x.stx_mode));
    OK(statx(OK(open("f", O_RDONLY)), "", AT_EMPTY_PATH, STATX_SIZE, &x));
    EQ(x.stx_size, 5);
}
CASE(special_file_types) {
    struct stat st;
    int p[2];
    OK(pipe(p));
    OK(fstat(p[0], &st));
    TRUE(S_ISFIFO(st.st_mode));
    OK(fstat(OK(socket(AF_UNIX, SOCK_STREAM, 0)), &st));
    TRUE(S_ISSOCK(st.st_mode));
    OK(stat("/dev/null", &st));
    TRUE(S_ISCHR(st.st_mode));
    OK(stat("/proc/self", &st));
    TRUE(S_ISDIR(st.st_mode));
    OK(mkfifo("p", 0640));
    OK(stat("p", &st));
    EQ(st.st_mode, S_IFIFO | 0640);
    ERR(EEXIST, mkfifo("p", 0600));
    OK(mknod("reg", S_IFREG | 0600, 0));
    ERR(EPERM, mknod("dir", S_IFDIR | 0600, 0));
    ERR(EINVAL, mknod("odd", 0170000 | 0600, 0));
}
CASE(chmod_family) {
    struct stat st;
    int fd = put("f", "");
    OK(chmod("f", 0));
    OK(stat("f", &st));
    EQ(st.st_mode & 07777, 0);
    OK(fchmod(fd, 04711));
    OK(stat("f", &st));
    EQ(st.st_mode & 07777, 04711);
    OK(fchmodat(AT_FDCWD, "f", 0600, 0));
    ERR(ENOENT, chmod("no", 0600));
    ERR(EBADF, fchmod(99, 0600));
    ERR(EINVAL, fchmodat(AT_FDCWD, "f", 0600, 0x40000));
}
CASE(setuid_bit_drops_on_write) {
    struct stat st;
    if (geteuid() == 0) SKIP("root keeps the bits on write");
    int fd = put("f", "x");
    OK(fchmod(fd, 06755));
    OK(write(fd, "y", 1));
    OK(fstat(fd, &st));
    EQ(st.st_mode & 06000, 0);
}
CASE(chown_as_root) {
    if (geteuid() != 0) SKIP("needs root");
    struct stat st;
    int fd = put("f", "");
    if (chown("f", 12, 34) == -1 && errno == EINVAL) SKIP("user namespace without these ids");
    OK(stat("f", &st));
    EQ(st.st_uid, 12);
    EQ(st.st_gid, 34);
    OK(fchown(fd, -1, 56));
    OK(stat("f", &st));
    EQ(st.st_uid, 12);
    EQ(st.st_gid, 56);
    OK(chmod("f", 06755));
    OK(chown("f", 1, -1));
    OK(stat("f", &st));
    EQ(st.st_mode & 06000, 0);
    OK(symlink("f", "l"));
    OK(lchown("l", 7, 7));
    OK(lstat("l", &st));
    EQ(st.st_uid, 7);
    OK(fchownat(AT_FDCWD, "l", 9, 9, 0));
    OK(stat("f", &st));
    EQ(st.st_uid, 9);
}
CASE(chown_as_user) {
    if (geteuid() == 0) SKIP("needs an unprivileged user");
    putc_("f", "");
    OK(chown("f", geteuid(), getegid()));
    OK(chown("f", -1, -1));
    ERR(EPERM, chown("f", 0, -1));
    ERR(EPERM, chown("f", -1, 12345));
    ERR(EPERM, chown("/", geteuid(), -1));
    ERR(EPERM, chmod("/", 0777));
}
CASE(permission_checks) {
    if (geteuid() == 0) {
        if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)) SKIP("cannot change ids");
        OK(chdir("/tmp"));
        char d[] = "perm.XXXXXX";
        TRUE(mkdtemp(d));
        OK(chdir(d));
    }
    putc_("f", "x");
    OK(chmod("f", 0));
    ERR(EACCES, open("f", O_RDONLY));
    ERR(EACCES, access("f", R_OK));
    OK(access("f", F_OK));
    OK(chmod("f", 0400));
    OK(close(OK(open("f", O_RDONLY))));
    ERR(EACCES, open("f", O_WRONLY));
    ERR(EACCES, open("f", O_RDONLY | O_TRUNC));
    OK(mkdir("d", 0700));
    putc_("d/f", "x");
    OK(chmod("d", 0600));
    ERR(EACCES, open("d/f", O_RDONLY));
    OK(chmod("d", 0500));
    ERR(EACCES, unlink("d/f"));
    ERR(EACCES, open("d/new", O_CREAT | O_WRONLY, 0600));
    ERR(EACCES, mkdir("d/new", 0700));
    ERR(EACCES, rename("d/f", "d/g"));
    ERR(EACCES, rename("f", "d/g"));
    OK(chmod("d", 0300));
    ERR(EACCES, open("d", O_RDONLY));
    OK(close(OK(open("d/f", O_RDONLY))));
    OK(chmod("d", 0700));
    ERR(EACCES, open("/root/none", O_RDONLY));
    ERR(EACCES, open("/usr/new-file", O_CREAT | O_WRONLY, 0600));
    ERR(EACCES, execl("f", "f", (char *)0));
    char cwd[PATH_MAX];
    if (strstr(getcwd(cwd, sizeof cwd), "/perm.")) {
        unlink("d/f");
        rmdir("d");
        unlink("f");
        OK(chdir(".."));
        rmdir(cwd);
    }
}
CASE(sticky_directory) {
    if (geteuid() != 0) SKIP("needs root");
    OK(mkdir("d", 0777));
    OK(chmod("d", 01777));
    OK(chmod(".", 0755));
    putc_("d/f", "");
    pid_t p = CHILD({
        if (setresuid(65534, 65534, 65534)) _exit(0);
        ERR(EPERM, unlink("d/f"));
        ERR(EPERM, rename("d/f", "d/g"));
    });
    REAP(p, 0);
}
CASE(access_modes) {
    putc_("f", "");
    OK(chmod("f", 0644));
    OK(access("f", R_OK | W_OK));
    ERR(EACCES, access("f", X_OK));
    ERR(EINVAL, access("f", 8));
    ERR(ENOENT, access("no", F_OK));
    ERR(EINVAL, syscall(439 /* faccessat2 */, AT_FDCWD, "f", R_OK, 0x40000));
    OK(syscall(439, AT_FDCWD, "f", R_OK, AT_EACCESS));
}
CASE(utimens) {
    struct stat st;
    int fd = put("f", "");
    struct timespec t[2] = {{1000, 5}, {2000, 7}};
    OK(utimensat(AT_FDCWD, "f", t, 0));
    OK(stat("f", &st));
    EQ(st.st_atim.tv_sec, 1000);
    EQ(st.st_mtim.tv_sec, 2000);
    EQ(st.st_mtim.tv_nsec, 7);
    t[0].tv_nsec = UTIME_OMIT;
    t[1].tv_nsec = UTIME_NOW;
    OK(futimens(fd, t));
    OK(stat("f", &st));
    EQ(st.st_atim.tv_sec, 1000);
    TRUE(st.st_mtim.tv_sec > 1000000000);
    t[0].tv_nsec = 1000000000;
    ERR(EINVAL, utimensat(AT_FDCWD, "f", t, 0));
    ERR(ENOENT, utimensat(AT_FDCWD, "no", 0, 0));
    ERR(EFAULT, utimensat(AT_FDCWD, "f", BAD_PTR, 0));
    OK(symlink("f", "l"));
    t[0] = t[1] = (struct timespec){3000, 0};
    OK(utimensat(AT_FDCWD, "l", t, AT_SYMLINK_NOFOLLOW));
    OK(lstat("l", &st));
    EQ(st.st_mtim.tv_sec, 3000);
    OK(stat("f", &st));
    TRUE(st.st_mtim.tv_sec > 3000);
}
CASE(times_move) {
    struct stat a, b;
    struct timespec old[2] = {{1000, 0}, {1000, 0}};
    int fd = put("f", "x");
    OK(futimens(fd, old));
    OK(fstat(fd, &a));
    OK(write(fd, "y", 1));
    OK(fstat(fd, &b));
    TRUE(b.st_mtim.tv_sec > a.st_mtim.tv_sec);
    OK(mkdir("d", 0755));
    OK(utimensat(AT_FDCWD, "d", old, 0));
    putc_("d/f", "");
    OK(stat("d", &b));
    TRUE(b.st_mtim.tv_sec > 1000);
    OK(utimensat(AT_FDCWD, "d", old, 0));
    OK(unlink("d/f"));
    OK(stat("d", &b));
    TRUE(b.st_mtim.tv_sec > 1000);
    OK(futimens(fd, old));
    OK(fstat(fd, &a));
    nap_ms(20);
    OK(chmod("f", 0600));
    OK(fstat(fd, &b));
    EQ(b.st_mtim.tv_sec, 1000);
    TRUE(b.st_ctim.tv_sec > a.st_ctim.tv_sec || b.st_ctim.tv_nsec != a.st_ctim.tv_nsec);
}
CASE(statfs_fields) {
    struct statfs s;
    OK(statfs(".", &s));
    TRUE(s.f_bsize > 0 && s.f_namelen == 255);
    OK(statfs("/proc", &s));
    EQ(s.f_type, 0x9fa0);
    int fd = OK(open(".", O_RDONLY));
    OK(fstatfs(fd, &s));
    ERR(ENOENT, statfs("no", &s));
    ERR(EBADF, fstatfs(99, &s));
    ERR(EFAULT, statfs(".", BAD_PTR));
}
CASE(xattr_family) {
    char b[64];
    int fd = put("f", "");
    if (setxattr("f", "user.a", "value", 5, 0) == -1 && errno == EOPNOTSUPP) SKIP("file system without xattrs");
    EQ(OK(getxattr("f", "user.a", b, sizeof b)), 5);
    TRUE(!memcmp(b, "value", 5));
    EQ(OK(getxattr("f", "user.a", b, 0)), 5);
    ERR(ERANGE, getxattr("f", "user.a", b, 2));
    ERR(ENODATA, getxattr("f", "user.b", b, sizeof b));
    ERR(EEXIST, setxattr("f", "user.a", "v", 1, XATTR_CREATE));
    ERR(ENODATA, setxattr("f", "user.b", "v", 1, XATTR_REPLACE));
    OK(fsetxattr(fd, "user.b", "", 0, 0));
    EQ(OK(flistxattr(fd, b, sizeof b)), 14);
    ERR(ERANGE, listxattr("f", b, 3));
    OK(removexattr("f", "user.a"));
    ERR(ENODATA, removexattr("f", "user.a"));
    EQ(OK(listxattr("f", b, sizeof b)), 7);
    ERR(EOPNOTSUPP, setxattr("f", "nonsense", "v", 1, 0));
    ERR(EINVAL, setxattr("f", "user.c", "v", 1, 99));
    ERR(ERANGE, setxattr("f", "", "v", 1, 0));
    ERR(ENOENT, getxattr("no", "user.a", b, 1));
    OK(symlink("f", "l"));
    ERR(EPERM, lsetxattr("l", "user.a", "v", 1, 0));
    ERR(E2BIG, setxattr("f", "user.big", b, 65537, 0));
}
CASE(xattrs_at_a_directory) {
    struct { uint64_t value; uint32_t size, flags; } v = {(uintptr_t)"value", 5, 0}, got;
    char text[64] = "";
    int dir = OK(open(".", O_RDONLY)), fd = OK(open("f", O_CREAT | O_RDWR, 0600));
    OK(symlink("f", "l"));
    if (syscall(463, dir, "f", 0, "user.a", &v, sizeof v) < 0 && (errno == ENOSYS || errno == EOPNOTSUPP))
        SKIP("no setxattrat, or no attributes of files");
    got.value = (uintptr_t)text, got.size = sizeof text, got.flags = 0;
    EQ(OK(syscall(464, dir, "l", 0, "user.a", &got, sizeof got)), 5);
    EQ(memcmp(text, "value", 5), 0);
    ERR(ENODATA, syscall(464, dir, "l", AT_SYMLINK_NOFOLLOW, "user.a", &got, sizeof got));
    EQ(OK(syscall(464, fd, "", AT_EMPTY_PATH, "user.a", &got, sizeof got)), 5);
    EQ(OK(syscall(464, fd, NULL, AT_EMPTY_PATH, "user.a", &got, sizeof got)), 5);
    ERR(ENOENT, syscall(464, fd, "", 0, "user.a", &got, sizeof got));
    ERR(ENOTDIR, syscall(464, fd, "f", 0, "user.a", &got, sizeof got));
    ERR(EINVAL, syscall(464, dir, "f", AT_REMOVEDIR, "user.a", &got, sizeof got));
    ERR(EINVAL, syscall(464, dir, "f", 0, "user.a", &got, 8));
    ERR(E2BIG, syscall(464, dir, "f", 0, "user.a", &got, 5000));
    got.flags = XATTR_CREATE;
    ERR(EINVAL, syscall(464, dir, "f", 0, "user.a", &got, sizeof got));
    v.flags = XATTR_CREATE;
    ERR(EEXIST, syscall(463, dir, "f", 0, "user.a", &v, sizeof v));
    long n = OK(syscall(465, dir, "f", 0, text, sizeof text));
    TRUE(n >= 7 && memmem(text, n, "user.a", 7));
    ERR(EBADF, syscall(465, 99, "f", 0, text, sizeof text));
    OK(syscall(466, fd, "", AT_EMPTY_PATH, "user.a"));
    ERR(ENODATA, syscall(466, dir, "f", 0, "user.a"));
}
