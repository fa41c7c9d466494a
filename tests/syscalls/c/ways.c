/* Paths of several names: a way that was gone before must not lead where it led when something on it has changed. */
#include "t.h"
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

static void tree(const char *top, const char *text) {
    char path[200];
    OK(mkdir(top, 0755));
    snprintf(path, sizeof path, "%s/b", top);
    OK(mkdir(path, 0755));
    snprintf(path, sizeof path, "%s/b/c", top);
    OK(mkdir(path, 0755));
    snprintf(path, sizeof path, "%s/b/c/f", top);
    OK(close(put(path, text)));
}
static void reads(const char *path, const char *want) {
    char text[100] = "";
    int fd = (int)OK(open(path, O_RDONLY));
    OK(read(fd, text, sizeof text - 1));
    OK(close(fd));
    STREQ(text, want);
}
static int there(const char *path) {
    struct stat st;
    if (stat(path, &st) == 0) return 1;
    EQ(errno, ENOENT);
    return 0;
}

CASE(moved_away) {
    tree("a", "old");
    for (int i = 0; i < 3; i++) reads("a/b/c/f", "old");
    OK(rename("a/b", "a/x"));
    TRUE(!there("a/b/c/f"));
    OK(mkdir("a/b", 0755));
    TRUE(!there("a/b/c/f"));
    OK(mkdir("a/b/c", 0755));
    TRUE(!there("a/b/c/f"));
    OK(close(put("a/b/c/f", "new")));
    reads("a/b/c/f", "new");
    reads("a/x/c/f", "old");
}
CASE(moved_above) {
    tree("a", "old");
    reads("a/b/c/f", "old");
    OK(rename("a", "z"));
    TRUE(!there("a/b/c/f"));
    tree("a", "new");
    reads("a/b/c/f", "new");
    reads("z/b/c/f", "old");
}
CASE(exchanged) {
    tree("a", "first");
    tree("z", "second");
    reads("a/b/c/f", "first");
    reads("z/b/c/f", "second");
    OK(syscall(SYS_renameat2, AT_FDCWD, "a/b", AT_FDCWD, "z/b", RENAME_EXCHANGE));
    reads("a/b/c/f", "second");
    reads("z/b/c/f", "first");
}
CASE(removed_and_made_again) {
    tree("a", "old");
    TRUE(there("a/b/c/f"));
    OK(unlink("a/b/c/f"));
    OK(rmdir("a/b/c"));
    TRUE(!there("a/b/c/f"));
    OK(mkdir("a/b/c", 0755));
    OK(close(put("a/b/c/g", "new")));
    reads("a/b/c/g", "new");
    TRUE(!there("a/b/c/f"));
    OK(unlink("a/b/c/g"));
    OK(rmdir("a/b/c"));
    OK(close(put("a/b/c", "a file")));
    ERR(ENOTDIR, access("a/b/c/g", F_OK));
}
CASE(replaced_by_a_link) {
    tree("a", "old");
    tree("z", "elsewhere");
    reads("a/b/c/f", "old");
    OK(rename("a/b", "a/x"));
    OK(symlink("../z/b", "a/b"));
    reads("a/b/c/f", "elsewhere");
    OK(unlink("a/b"));
    OK(rename("a/x", "a/b"));
    reads("a/b/c/f", "old");
}
CASE(closed) {
    tree("a", "x");
    TRUE(there("a/b/c/f"));
    if (geteuid() == 0) {
        OK(chmod(".", 0755));
        OK(chmod("a/b", 0700));
        TRUE(there("a/b/c/f"));
        pid_t child = CHILD({
            OK(setgid(12345));
            OK(setuid(12345));
            ERR(EACCES, access("a/b/c/f", F_OK));
        });
        REAP(child, 0);
        OK(chmod("a/b", 0755));
        child = CHILD({
            OK(setgid(12345));
            OK(setuid(12345));
            OK(access("a/b/c/f", F_OK));
        });
        REAP(child, 0);
    } else {
        OK(chmod("a/b", 0600));
        ERR(EACCES, access("a/b/c/f", F_OK));
        OK(chmod("a/b", 0700));
        OK(access("a/b/c/f", F_OK));
    }
}
CASE(another_directory_to_start_from) {
    tree("a", "first");
    OK(mkdir("in", 0755));
    tree("in/a", "second");
    for (int i = 0; i < 3; i++) {
        reads("a/b/c/f", "first");
        OK(chdir("in"));
        reads("a/b/c/f", "second");
        OK(chdir(".."));
    }
    int fd = (int)OK(open("in", O_RDONLY | O_DIRECTORY));
    int f = (int)OK(openat(fd, "a/b/c/f", O_RDONLY));
    char text[100] = "";
    OK(read(f, text, sizeof text - 1));
    STREQ(text, "second");
}

static pthread_barrier_t step;
enum { ROUNDS = 300, SPINS = 3000 };
static void *maker(void *arg) {
    for (int i = 0; i < ROUNDS; i++) {
        pthread_barrier_wait(&step);
        OK(close(put("a/b/c/made", "x")));
        pthread_barrier_wait(&step);
        pthread_barrier_wait(&step);
        OK(unlink("a/b/c/made"));
        pthread_barrier_wait(&step);
    }
    return arg;
}
CASE(what_another_thread_makes_is_seen) {
    tree("a", "x");
    OK(pthread_barrier_init(&step, NULL, 2));
    pthread_t t;
    EQ(pthread_create(&t, NULL, maker, NULL), 0);
    for (int i = 0; i < ROUNDS; i++) {
        TRUE(!there("a/b/c/made"));
        pthread_barrier_wait(&step);
        pthread_barrier_wait(&step);
        TRUE(there("a/b/c/made"));
        pthread_barrier_wait(&step);
        pthread_barrier_wait(&step);
    }
    EQ(pthread_join(t, NULL), 0);
}

static volatile int stop;
static void *mover(void *arg) {
    while (!stop) {
        OK(rename("d/one/s", "d/two/s"));
        OK(rename("d/two/s", "d/one/s"));
    }
    return arg;
}
static void *remover(void *arg) {
    while (!stop) {
        OK(mkdir("d/own/r", 0755));
        OK(close(put("d/own/r/f", "x")));
        reads("d/own/r/f", "x");
        OK(unlink("d/own/r/f"));
        OK(rmdir("d/own/r"));
        TRUE(!there("d/own/r/f"));
    }
    return arg;
}
static void *looker(void *arg) {
    while (!stop) {
        struct stat st;
        if (stat("d/one/s/mark", &st) == 0) EQ(st.st_size, 4);
        if (stat("d/two/s/mark", &st) == 0) EQ(st.st_size, 4);
        there("d/own/r/f");
    }
    return arg;
}
CASE(many_threads) {
    OK(mkdir("d", 0755));
    OK(mkdir("d/one", 0755));
    OK(mkdir("d/two", 0755));
    OK(mkdir("d/own", 0755));
    OK(mkdir("d/one/s", 0755));
    OK(close(put("d/one/s/mark", "mark")));
    void *(*const work[])(void *) = {mover, remover, looker, looker};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) EQ(pthread_create(&threads[i], NULL, work[i], NULL), 0);
    char name[40];
    for (int i = 0; i < SPINS; i++) {
        snprintf(name, sizeof name, "d/own/n%d", i % 50);
        OK(close(put(name, "mine")));
        reads(name, "mine");
        OK(unlink(name));
        TRUE(!there(name));
    }
    stop = 1;
    for (int i = 0; i < 4; i++) EQ(pthread_join(threads[i], NULL), 0);
    EQ(there("d/one/s/mark"), 1);
    EQ(there("d/two/s/mark"), 0);
}
