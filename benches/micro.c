// Micro-benchmarks: `micro ROW [DIR]` measures one row in this process and prints `ROW nanoseconds-per-operation`.
// DIR is where rows that need files make them. Further subcommands help the workloads: see the end of the file.
// Linked statically; `dyn.c` is the dynamic program that the exec rows start.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what) {
  fprintf(stderr, "micro: %s: %s\n", what, strerror(errno));
  exit(1);
}
#define CHECK(x) \
  do { \
    if ((x) < 0) die(#x); \
  } while (0)

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static const char *dir, *self, *dyn;
static char path[4096];
static int fd;
static char *buf;
static const size_t BIG = 64 << 20;
static const size_t CHUNK = 256 << 10;

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

// Runs `f(n)` with more and more operations until a batch takes 40 ms, then takes the median of five batches.
static double measure(void (*f)(long)) {
  long n = 1;
  for (;;) {
    double t = now();
    f(n);
    t = now() - t;
    if (t > 40e6) break;
    n = t < 1e6 ? n * 8 : (long)(n * 60e6 / t) + 1;
  }
  double batch[5];
  for (int i = 0; i < 5; i++) {
    double t = now();
    f(n);
    batch[i] = (now() - t) / n;
  }
  qsort(batch, 5, sizeof *batch, by_size);
  return batch[2];
}

static void getppids(long n) {
  while (n--) syscall(SYS_getppid);
}
static void clocks(long n) {
  struct timespec t;
  while (n--) clock_gettime(CLOCK_MONOTONIC, &t);
}
static void reads(long n) {
  char c;
  while (n--) CHECK(read(fd, &c, 1));
}
static void preads(long n) {
  while (n--) CHECK(pread(fd, buf, 4096, 8192));
}
static void fstats(long n) {
  struct stat s;
  while (n--) CHECK(fstat(fd, &s));
}
static void stats(long n) {
  struct stat s;
  while (n--) CHECK(stat("/etc/passwd", &s));
}
static void misses(long n) {
  struct stat s;
  while (n--)
    if (stat("/etc/no-such-file", &s) == 0) die("/etc/no-such-file exists");
}
static void opens(long n) {
  while (n--) {
    int f = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    CHECK(f);
    close(f);
  }
}
static void creates(long n) {
  while (n--) {
    int f = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(f);
    close(f);
    CHECK(unlink(path));
  }
}

static int to[2], from[2];
static void echo_pipe(void) {
  char c;
  close(to[1]);
  close(from[0]);
  while (read(to[0], &c, 1) == 1)
    if (write(from[1], &c, 1) != 1) break;
  _exit(0);
}
static void pings(long n) {
  char c = 1;
  while (n--) {
    CHECK(write(to[1], &c, 1));
    CHECK(read(from[0], &c, 1));
  }
}

static int *words;
static void futex_wait(int *w, int v) { syscall(SYS_futex, w, FUTEX_WAIT_PRIVATE, v, NULL, NULL, 0); }
static void futex_wake(int *w) { syscall(SYS_futex, w, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0); }
static void take(int *w) {
  while (__atomic_exchange_n(w, 0, __ATOMIC_ACQUIRE) == 0) futex_wait(w, 0);
}
static void give(int *w) {
  __atomic_store_n(w, 1, __ATOMIC_RELEASE);
  futex_wake(w);
}
static void *echo_futex(void *arg) {
  for (;;) {
    take(&words[0]);
    give(&words[64]);
  }
  return arg;
}
static void futexes(long n) {
  while (n--) {
    give(&words[0]);
    take(&words[64]);
  }
}

static void pipe_self(long n) {
  char c = 1;
  while (n--) {
    CHECK(write(to[1], &c, 1));
    CHECK(read(to[0], &c, 1));
  }
}
static int epoll;
static void events(long n) {
  unsigned long one = 1;
  struct epoll_event e;
  while (n--) {
    CHECK(write(fd, &one, 8));
    if (epoll_wait(epoll, &e, 1, -1) != 1) die("epoll_wait");
    CHECK(read(fd, &one, 8));
  }
}
static void maps(long n) {
  while (n--) {
    char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) die("mmap");
    munmap(p, 4096);
  }
}
static void protects(long n) {
  while (n--) {
    CHECK(mprotect(buf, 4096, PROT_READ));
    CHECK(mprotect(buf, 4096, PROT_READ | PROT_WRITE));
  }
}
static volatile long caught;
static void catch(int s) { caught += s > 0; }
static void signals(long n) {
  pid_t me = getpid();
  while (n--) CHECK(kill(me, SIGUSR1));
}
static void wait_for(pid_t p) {
  int status;
  CHECK(p);
  CHECK(waitpid(p, &status, 0));
  if (status) {
    errno = 0;
    die("the child failed");
  }
}
static void forks(long n) {
  while (n--) {
    pid_t p = fork();
    if (p == 0) _exit(0);
    wait_for(p);
  }
}
static void vfork_static(long n) {
  while (n--) {
    pid_t p = vfork();
    if (p == 0) {
      execl(self, self, "nop", NULL);
      _exit(1);
    }
    wait_for(p);
  }
}
static void fork_dynamic(long n) {
  while (n--) {
    pid_t p = fork();
    if (p == 0) {
      execl(dyn, dyn, NULL);
      _exit(1);
    }
    wait_for(p);
  }
}
static void vfork_dynamic(long n) {
  while (n--) {
    pid_t p = vfork();
    if (p == 0) {
      execl(dyn, dyn, NULL);
      _exit(1);
    }
    wait_for(p);
  }
}
static void *nothing(void *arg) { return arg; }
static void threads(long n) {
  while (n--) {
    pthread_t t;
    if (pthread_create(&t, NULL, nothing, NULL)) die("pthread_create");
    pthread_join(t, NULL);
  }
}
static char *map_big(void) {
  char *p = mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) die("mmap");
  // Small pages everywhere, or the rows would compare the hosts' huge page policies.
  madvise(p, BIG, MADV_NOHUGEPAGE);
  return p;
}
static void touch(char *p) {
  for (size_t i = 0; i < BIG; i += 4096) p[i] = 1;
}
static double touch_fresh(void) {
  char *p = map_big();
  double t = now();
  touch(p);
  return (now() - t) / (BIG / 4096);
}
// Memory that the program has given back and asks for again.
static double touch_recycled(void) {
  double took[5];
  for (int i = -1; i < 5; i++) {
    char *p = map_big();
    double t = now();
    touch(p);
    if (i >= 0) took[i] = (now() - t) / (BIG / 4096);
    munmap(p, BIG);
  }
  qsort(took, 5, sizeof *took, by_size);
  return took[2];
}
static void write_big(long n) {
  while (n--) {
    CHECK(lseek(fd, 0, SEEK_SET));
    for (size_t i = 0; i < BIG; i += CHUNK)
      if (write(fd, buf, CHUNK) != (ssize_t)CHUNK) die("write");
  }
}
static void read_big(long n) {
  while (n--) {
    CHECK(lseek(fd, 0, SEEK_SET));
    for (size_t i = 0; i < BIG; i += CHUNK)
      if (read(fd, buf, CHUNK) != (ssize_t)CHUNK) die("read");
  }
}
static void temp(const char *name, int flags) {
  snprintf(path, sizeof path, "%s/micro-%s-%d", dir, name, getpid());
  unlink(path);
  if (flags) CHECK(fd = open(path, flags, 0600));
}

static double row(const char *name) {
#define IS(x) (!strcmp(name, x))
  buf = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (buf == MAP_FAILED) die("mmap");
  memset(buf, 1, 4096);
  if (IS("getppid")) return measure(getppids);
  if (IS("clock_gettime")) return measure(clocks);
  if (IS("read-zero")) {
    CHECK(fd = open("/dev/zero", O_RDONLY));
    return measure(reads);
  }
  if (IS("pread-4k")) {
    CHECK(fd = open(self, O_RDONLY));
    return measure(preads);
  }
  if (IS("fstat")) {
    CHECK(fd = open("/etc/passwd", O_RDONLY));
    return measure(fstats);
  }
  if (IS("stat")) return measure(stats);
  if (IS("stat-missing")) return measure(misses);
  if (IS("open-close")) return measure(opens);
  if (IS("create-unlink")) {
    temp("create", 0);
    return measure(creates);
  }
  if (IS("pipe-ping-pong")) {
    CHECK(pipe(to));
    CHECK(pipe(from));
    pid_t p = fork();
    CHECK(p);
    if (p == 0) echo_pipe();
    double t = measure(pings);
    kill(p, SIGKILL);
    waitpid(p, NULL, 0);
    return t;
  }
  if (IS("futex-ping-pong")) {
    words = (int *)buf;
    memset(buf, 0, 4096);
    pthread_t t;
    if (pthread_create(&t, NULL, echo_futex, NULL)) die("pthread_create");
    return measure(futexes);
  }
  if (IS("pipe-self")) {
    CHECK(pipe(to));
    return measure(pipe_self);
  }
  if (IS("eventfd-epoll")) {
    CHECK(fd = eventfd(0, 0));
    CHECK(epoll = epoll_create1(0));
    struct epoll_event e = {.events = EPOLLIN};
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e));
    return measure(events);
  }
  if (IS("mmap-munmap")) return measure(maps);
  if (IS("mprotect")) return measure(protects);
  if (IS("signal")) {
    struct sigaction a = {.sa_handler = catch};
    CHECK(sigaction(SIGUSR1, &a, NULL));
    return measure(signals);
  }
  if (IS("fork-wait")) return measure(forks);
  if (IS("vfork-exec-static")) return measure(vfork_static);
  if (IS("fork-exec-dynamic")) return measure(fork_dynamic);
  if (IS("vfork-exec-dynamic")) return measure(vfork_dynamic);
  if (IS("pthread")) return measure(threads);
  if (IS("touch-fresh")) return touch_fresh();
  if (IS("touch-recycled")) return touch_recycled();
  if (IS("write-64m") || IS("read-64m")) {
    memset(buf, 1, CHUNK);
    temp("big", O_RDWR | O_CREAT | O_TRUNC);
    write_big(1);
    double t = measure(IS("write-64m") ? write_big : read_big);
    unlink(path);
    return t;
  }
  fprintf(stderr, "micro: no row %s\n", name);
  exit(2);
}

// `micro time NAME SHELL-COMMAND`: runs it with its output thrown away, prints the wall time.
static int timed(char **argv) {
  double t = now();
  pid_t p = vfork();
  if (p == 0) {
    int null = open("/dev/null", O_WRONLY);
    dup2(null, 1);
    execl("/bin/sh", "sh", "-c", argv[1], NULL);
    _exit(127);
  }
  int status;
  waitpid(p, &status, 0);
  t = now() - t;
  if (status) {
    printf("# %s failed with wait status %#x\n", argv[0], status);
    return 1;
  }
  printf("%s %.0f\n", argv[0], t);
  return 0;
}

// `micro tree DIR FILES`: a directory tree of text files of different lengths, the same every time.
static int tree(const char *top, int files) {
  unsigned x = 1;
  char name[4096];
  mkdir(top, 0755);
  for (int i = 0; i < files; i++) {
    if (i % 50 == 0) {
      snprintf(name, sizeof name, "%s/d%d", top, i / 50);
      CHECK(mkdir(name, 0755));
    }
    snprintf(name, sizeof name, "%s/d%d/file-%d.txt", top, i / 50, i);
    FILE *f = fopen(name, "w");
    if (!f) die(name);
    x = x * 1103515245 + 12345;
    for (int lines = (x >> 16) % 200 + 1; lines; lines--) {
      x = x * 1103515245 + 12345;
      fprintf(f, "line %d of file %d says %u\n", lines, i, x);
    }
    if (fclose(f)) die(name);
  }
  return 0;
}

// `micro source FILE FUNCTIONS NUMBER`: a C file with that many functions.
static int source(const char *name, int functions, const char *number) {
  FILE *f = fopen(name, "w");
  if (!f) die(name);
  fprintf(f, "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/types.h>\n");
  for (int i = 0; i < functions; i++)
    fprintf(f,
            "int f%s_%d(int *a, int n) {\n  int s = %d;\n  for (int i = 0; i < n; i++) {\n"
            "    if (a[i] > s) s += a[i] * %d; else s ^= a[i] + i;\n    switch (s & 7) {\n"
            "    case 0: s += 3; break;\n    case 1: s *= 5; break;\n    case 2: printf(\"%%d\", s); break;\n"
            "    default: a[i] = s;\n    }\n  }\n  return s;\n}\n",
            number, i, i, i + 3);
  return fclose(f) ? 1 : 0;
}

int main(int argc, char **argv) {
  self = argv[0];
  if (argc >= 2 && !strcmp(argv[1], "nop")) return 0;
  if (argc >= 2 && !strcmp(argv[1], "hog"))
    for (volatile long i = 0;; i++) {
    }
  if (argc == 4 && !strcmp(argv[1], "time")) return timed(argv + 2);
  if (argc == 4 && !strcmp(argv[1], "tree")) return tree(argv[2], atoi(argv[3]));
  if (argc == 5 && !strcmp(argv[1], "source")) return source(argv[2], atoi(argv[3]), argv[4]);
  if (argc < 2 || argc > 3) {
    fprintf(stderr, "usage: micro ROW [DIR]\n");
    return 2;
  }
  dir = argc > 2 ? argv[2] : "/tmp";
  static char other[4096];
  const char *slash = strrchr(self, '/');
  snprintf(other, sizeof other, "%.*s/dyn", slash ? (int)(slash - self) : 1, slash ? self : ".");
  dyn = other;
  printf("%s %.1f\n", argv[1], row(argv[1]));
  return 0;
}
