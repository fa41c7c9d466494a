// A guest that has the kernel keep as much for it as it can: `grow CASE`, as the first process of a sandbox with little
// memory. `grow --list` prints the cases. Whoever asks for too much may get errors or be killed; this process and a child
// of it go on.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { SECONDS = 3 };
static uint64_t end_ms;
static char bytes[65536];
static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}
static int more(void) { return now_ms() < end_ms; }
static void hold(void) {
  while (more()) usleep(10000);
}
static void all_descriptors(void) {
  struct rlimit l;
  getrlimit(RLIMIT_NOFILE, &l);
  l.rlim_cur = l.rlim_max;
  setrlimit(RLIMIT_NOFILE, &l);
}
static void fill(int fd) {
  fcntl(fd, F_SETFL, O_NONBLOCK);
  while (more() && write(fd, bytes, sizeof bytes) > 0) {}
}

static void pipes(int me) {
  int p[2];
  all_descriptors();
  while (more() && !pipe(p)) {
    if (me % 2) fcntl(p[1], F_SETPIPE_SZ, 64 << 20);
    fill(p[1]);
  }
}
static void unix_sockets(int me) {
  int p[2], size = 1 << 30;
  all_descriptors();
  while (more() && !socketpair(AF_UNIX, me % 2 ? SOCK_STREAM : SOCK_DGRAM, 0, p)) {
    setsockopt(p[0], SOL_SOCKET, me % 3 ? SO_SNDBUF : SO_SNDBUFFORCE, &size, sizeof size);
    fill(p[0]);
  }
}
static void inet_sockets(int me) {
  all_descriptors();
  while (more()) {
    int s = socket(AF_INET, me % 2 ? SOCK_STREAM : SOCK_DGRAM, 0), c = socket(AF_INET, me % 2 ? SOCK_STREAM : SOCK_DGRAM, 0);
    if (s < 0 || c < 0) return;
    struct {
      uint16_t family, port;
      uint32_t address;
      char rest[8];
    } at = {AF_INET, 0, 0x0100007f, {0}};
    socklen_t len = sizeof at;
    if (bind(s, (void *)&at, len)) return;
    if (me % 2) listen(s, 4096);
    getsockname(s, (void *)&at, &len);
    if (connect(c, (void *)&at, len)) return;
    fcntl(c, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 1000 && send(c, bytes, 60000, 0) > 0; i++) {}
  }
}
static void passed_files(int me) {
  int p[2];
  all_descriptors();
  union {
    struct cmsghdr h;
    char space[CMSG_SPACE(200 * sizeof(int))];
  } control;
  while (more() && !socketpair(AF_UNIX, SOCK_DGRAM, 0, p)) {
    int *fds = (int *)CMSG_DATA(&control.h);
    control.h = (struct cmsghdr){.cmsg_len = CMSG_LEN(200 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    for (int i = 0; i < 200; i++) fds[i] = eventfd(0, 0);
    struct iovec v = {bytes, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    while (more() && sendmsg(p[0], &m, MSG_DONTWAIT) > 0) {}
    for (int i = 0; i < 200; i++) close(fds[i]);
  }
}
static void epolls(int me) {
  all_descriptors();
  int fds[2000], n = 0;
  while (n < 2000 && (fds[n] = eventfd(0, 0)) >= 0) n++;
  for (int e; more() && (e = epoll_create1(0)) >= 0;)
    for (int i = 0; i < n && more(); i++) {
      struct epoll_event v = {.events = EPOLLIN};
      if (epoll_ctl(e, EPOLL_CTL_ADD, fds[i], &v)) break;
    }
}
static void inotifies(int me) {
  char name[64];
  all_descriptors();
  sprintf(name, "/tmp/i%d", me);
  mkdir(name, 0777);
  for (int i; more() && (i = inotify_init1(IN_NONBLOCK)) >= 0;) inotify_add_watch(i, name, IN_ALL_EVENTS), inotify_add_watch(i, "/tmp", IN_ALL_EVENTS);
  for (int i = 0; more(); i++) {
    sprintf(name, "/tmp/i%d/%032d", me, i);
    close(open(name, O_CREAT | O_RDWR, 0666));
    unlink(name);
  }
}
static void timers(int me) {
  struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1};
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, NULL);
  int id;
  while (more() && !syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &id)) {
    struct itimerspec t = {{0, 1000000}, {0, 1000000}};
    syscall(SYS_timer_settime, id, 0, &t, NULL);
  }
}
static void areas(int me) {
  for (int i = 0; more(); i++)
    if (mmap(NULL, 4096, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) break;
}
static void *wait_for_ever(void *word) {
  syscall(SYS_futex, word, 0, 0, NULL);
  return NULL;
}
static void threads(int me) {
  static int word;
  pthread_attr_t a;
  pthread_attr_init(&a);
  pthread_attr_setstacksize(&a, 16384);
  pthread_t t;
  while (more() && !pthread_create(&t, &a, wait_for_ever, &word)) {}
}
static void directories(int me) {
  char name[300];
  sprintf(name, "/tmp/d%d", me);
  mkdir(name, 0777);
  if (chdir(name)) return;
  memset(name, 'x', 240);
  for (int i = 0; more(); i++) {
    sprintf(name + 200, "%d", i);
    if (mkdir(name, 0777) || symlink(bytes, name + 1)) break;
    if (i % 50 == 0 && chdir(name)) break;
  }
}
static void names(int me) {
  char name[300];
  struct stat s;
  for (int i = 0; more(); i++) sprintf(name, "/tmp/%d/../%d-%0200d", me, me, i), stat(name, &s), sprintf(name, "/usr/%d-%0200d", me, i), stat(name, &s);
}
static void attributes(int me) {
  char name[64];
  for (int i = 0; more(); i++) {
    sprintf(name, "/tmp/x%d-%d", me, i);
    int fd = open(name, O_CREAT | O_RDWR, 0666);
    for (int j = 0; j < 200 && more(); j++) {
      sprintf(name, "user.%d", j);
      if (fsetxattr(fd, name, bytes, 65000, 0)) break;
    }
    close(fd);
  }
}
static void locks(int me) {
  char name[64];
  for (int i = 0; more(); i++) {
    sprintf(name, "/tmp/l%d-%d", me, i);
    int fd = open(name, O_CREAT | O_RDWR, 0666);
    if (fd < 0) return;
    for (int j = 0; more(); j++) {
      struct flock l = {.l_type = F_WRLCK, .l_start = j * 2ll, .l_len = 1};
      if (fcntl(fd, F_SETLK, &l)) break;
    }
  }
}
static void signals(int me) {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, NULL);
  while (more())
    if (sigqueue(getpid(), SIGRTMIN + 1 + rand() % 20, (union sigval){.sival_int = 1})) break;
}
static void high_descriptors(int me) {
  struct rlimit l;
  all_descriptors();
  getrlimit(RLIMIT_NOFILE, &l);
  dup2(0, (int)l.rlim_cur - 1);
  while (more() && fork() >= 0) {}
}
static void memory_files(int me) {
  all_descriptors();
  for (int i = 0, fd; more() && (fd = syscall(SYS_memfd_create, "grow", 0)) >= 0; i++) {
    if (ftruncate(fd, 1ll << 40)) break;
    pwrite(fd, bytes, 1, (off_t)rand() << 8);
  }
}
static void groups(int me) {
  static gid_t list[65536];
  for (int i = 0; i < 65536; i++) list[i] = i;
  setgroups(65536, list);
  while (more() && fork() >= 0) setgroups(65536, list);
}
static void terminals(int me) {
  all_descriptors();
  for (int m; more() && (m = open("/dev/ptmx", O_RDWR | O_NONBLOCK)) >= 0;) {
    int no = 0, n;
    ioctl(m, 0x40045431, &no);
    fill(m);
    if (ioctl(m, 0x80045430, &n)) continue;
    char name[32];
    sprintf(name, "/dev/pts/%d", n);
    int s = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (s >= 0) fill(s);
  }
}
static void mounts(int me) {
  char name[64];
  for (int i = 0; more(); i++) {
    sprintf(name, "/tmp/m%d-%d", me, i);
    if (mkdir(name, 0777) || mount("none", name, "tmpfs", 0, "")) break;
    if (chdir(name)) break;
    for (int j = 0; j < 100; j++) sprintf(name, "%d", j), close(open(name, O_CREAT | O_RDWR, 0666));
  }
}

static const struct {
  const char *name;
  void (*f)(int);
  int processes;
} cases[] = {{"pipes", pipes, 16},         {"unix-sockets", unix_sockets, 16}, {"inet-sockets", inet_sockets, 8},
             {"passed-files", passed_files, 8}, {"epolls", epolls, 16},        {"inotifies", inotifies, 4},
             {"timers", timers, 16},       {"areas", areas, 16},               {"threads", threads, 4},
             {"directories", directories, 4}, {"names", names, 4},             {"attributes", attributes, 4},
             {"locks", locks, 8},          {"signals", signals, 16},           {"high-descriptors", high_descriptors, 4},
             {"memory-files", memory_files, 8}, {"groups", groups, 4},         {"terminals", terminals, 8},
             {"mounts", mounts, 2}};

static void fail(const char *what) {
  printf("FAIL: %s (%s)\n", what, strerror(errno));
  exit(1);
}
int main(int argc, char **argv) {
  unsigned n = sizeof cases / sizeof *cases;
  if (argc == 2 && !strcmp(argv[1], "--list")) {
    for (unsigned i = 0; i < n; i++) puts(cases[i].name);
    return 0;
  }
  if (argc != 2 || getpid() != 1) {
    puts("usage: grow CASE, as the first process of a sandbox");
    return 2;
  }
  memset(bytes, 'b', sizeof bytes - 1);
  bytes[4000] = 0;
  end_ms = now_ms() + 1000 * SECONDS;
  for (unsigned i = 0; i < n; i++)
    if (!strcmp(argv[1], cases[i].name))
      for (int p = 0; p < cases[i].processes; p++)
        if (fork() == 0) {
          srand(p);
          cases[i].f(p);
          hold();
          _exit(0);
        }
  // Those that fork make it hard to count: all go at the end.
  usleep(SECONDS * 1000000 + 500000);
  while (kill(-1, SIGKILL) == 0 || waitpid(-1, NULL, WNOHANG | __WALL) > 0)
    while (waitpid(-1, NULL, WNOHANG | __WALL) > 0) {}
  while (waitpid(-1, NULL, __WALL) > 0) {}
  // What everybody needs works still.
  int p[2], status;
  char c = 0;
  if (pipe(p)) fail("pipe");
  pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) _exit(write(p[1], "y", 1) != 1);
  if (read(p[0], &c, 1) != 1 || c != 'y' || waitpid(child, &status, 0) != child || status) fail("a child");
  char *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (m == MAP_FAILED || m[12345]) fail("mmap");
  printf("ok %s\n", argv[1]);
  return 0;
}
