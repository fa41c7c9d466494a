// Random system calls with half-plausible arguments from many threads: `fuzz SECONDS SEED`. The first process only
// watches: it replaces the workers that die and ends those that hang. To be run in a sandbox only.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t u64;
enum { WORKERS = 4, THREADS = 4, ARENA = 1 << 20, LIFE_MS = 1500 };

static char *arena;
static __thread u64 state;
static u64 rnd(void) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}
static u64 pick(u64 n) { return rnd() % n; }
static u64 now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static const char *paths[] = {
    "/tmp/fuzz/a", "/tmp/fuzz/b", "/tmp/fuzz/d", "/tmp/fuzz/d/x", "/tmp/fuzz", "/tmp/fuzz/link", "/proc/self/maps", "/proc/self/fd/3",
    "/proc/self/stat", "/proc/1/status", "/proc/self/task", "/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/tty",
    "/dev/ptmx", "/dev/shm/f", "/etc/passwd", "/bin/true", "/", ".", "..", "", "/nonexistent/x", "/proc/self/mem", "/sys",
    "/proc/self/exe", "/usr/bin", "/dev/stdin", "/proc/sys/kernel/hostname", "/tmp/fuzz/fifo", "/tmp/fuzz/../fuzz/d/./x",
};
static u64 address(void) {
  switch (pick(12)) {
    case 0: return 0;
    case 1: return rnd();
    case 2: return 0x7fff00000000 - 4096 + pick(8192);
    case 3: return 0x7fff80000000 + pick(0x30000000);
    case 4: return (u64)arena + ARENA - pick(64);
    case 5: return (u64)arena & ~0xfffull;
    default: return (u64)arena + (pick(ARENA - 4096) & ~7ull);
  }
}
static u64 a_path(void) {
  char *at = arena + (pick(ARENA - 8192) & ~7ull);
  strcpy(at, paths[pick(sizeof paths / sizeof *paths)]);
  return (u64)at;
}
// A page whose words look like sizes, addresses, descriptors and flags.
static u64 a_struct(void) {
  u64 *at = (u64 *)(arena + (pick(ARENA - 8192) & ~7ull));
  for (unsigned i = 0; i < 40; i++) switch (pick(6)) {
      case 0: at[i] = 0; break;
      case 1: at[i] = address(); break;
      case 2: at[i] = pick(64); break;
      case 3: at[i] = 1ull << pick(64); break;
      case 4: at[i] = rnd(); break;
      default: at[i] = pick(4096) | pick(16) << 32;
    }
  return (u64)at;
}
static u64 argument(void) {
  switch (pick(14)) {
    case 0: return 0;
    case 1: return ~0ull;
    case 2: return pick(32);
    case 3: return 3 + pick(24);
    case 4: return 1ull << pick(64);
    case 5: return rnd();
    case 6: return pick(ARENA);
    case 7: return pick(16) * 4096;
    case 8: return (u64)-100;
    case 9: case 10: return a_path();
    case 11: return a_struct();
    default: return address();
  }
}

static void nothing(int s) { (void)s; }
static int skipped(long nr) {
  switch (nr) {
    case SYS_exit_group: case SYS_exit: return pick(200) != 0;
    case SYS_pause: case SYS_rt_sigsuspend: return pick(20) != 0;
    case SYS_vfork: return 1;
    case SYS_munmap: case SYS_mremap: return pick(4) != 0;
  }
  return 0;
}
static void one(void) {
  long nr = pick(24) == 0 ? (long)rnd() : (long)pick(470);
  if (skipped(nr)) return;
  u64 a[6];
  for (int i = 0; i < 6; i++) a[i] = argument();
  switch (nr) {
    case SYS_clone:
      // A child that shares our stack would be our own fault.
      a[0] &= ~(u64)(CLONE_VM | CLONE_VFORK), a[1] = 0;
      break;
    case SYS_clone3: {
      u64 *c = (u64 *)a_struct();
      memset(c, 0, 88);
      c[0] = rnd() & ~(u64)(CLONE_VM | CLONE_VFORK), c[4] = pick(65);
      a[0] = (u64)c, a[1] = pick(3) ? 64 : pick(100);
      break;
    }
    case SYS_mmap:
      if (pick(4)) a[0] = pick(3) ? 0 : (u64)arena + pick(ARENA), a[1] = pick(64) * 4096, a[3] = 0x22 | 1ull << pick(20);
      a[3] &= ~0x8000ull;
      break;
    case SYS_close: case SYS_dup2: case SYS_dup3: case SYS_close_range:
      if (pick(2)) a[0] = 3 + pick(40);
      break;
    case SYS_execve: case SYS_execveat:
      if (pick(50)) return;
      break;
    case SYS_kill: case SYS_tkill: case SYS_tgkill: case SYS_rt_sigqueueinfo: case SYS_rt_tgsigqueueinfo:
    case SYS_prlimit64: case SYS_ptrace: case SYS_process_vm_writev: case SYS_pidfd_open:
      if (pick(2)) a[0] = getpid();
      // The watching process is not to be hurt: unlike a host's first one, a sandbox's dies of signals.
      if ((int)a[0] == 1 || (int)a[0] == -1 || (int)a[1] == 1) return;
      break;
    case SYS_nanosleep: case SYS_clock_nanosleep:
      if (pick(8)) return;
  }
  long r = syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
  if ((nr == SYS_fork || nr == SYS_clone || nr == SYS_clone3) && r == 0) {
    for (int i = 0; i < 20 && nr != SYS_fork; i++) sched_yield();
    _exit(0);
  }
}
static void *worker_thread(void *arg) {
  state = (u64)arg | 1;
  for (int i = 0; i < 8; i++) rnd();
  for (;;) one();
  return NULL;
}
static void worker(u64 seed, int null) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  state = seed | 1;
  for (int i = 0; i < 3; i++)
    if (dup2(null, i) != i) _exit(1);
  close(null);
  mkdir("/tmp/fuzz", 0777);
  mkdir("/tmp/fuzz/d", 0777);
  mkfifo("/tmp/fuzz/fifo", 0666);
  symlink("d/x", "/tmp/fuzz/link");
  int p[2];
  if (pipe(p)) _exit(1);
  open("/tmp/fuzz/a", O_RDWR | O_CREAT, 0666);
  open("/tmp/fuzz/d", O_RDONLY | O_DIRECTORY);
  open("/proc/self", O_RDONLY | O_DIRECTORY);
  open("/usr/bin/env", O_RDONLY);
  eventfd(3, 0);
  epoll_create1(0);
  socketpair(AF_UNIX, SOCK_STREAM, 0, p);
  syscall(SYS_memfd_create, "m", 0);
  syscall(SYS_timerfd_create, 1, 0);
  struct sigaction a = {.sa_handler = nothing};
  for (int s = 1; s < 32; s++)
    if (s != SIGSEGV && s != SIGBUS && s != SIGILL && s != SIGTRAP && s != SIGABRT) sigaction(s, &a, NULL);
  setsid();
  if (seed & 64) setresuid(65534, 65534, 65534);
  struct rlimit files = {256, 256}, size = {64 << 20, 64 << 20}, memory = {512 << 20, 512 << 20};
  setrlimit(RLIMIT_NOFILE, &files);
  setrlimit(RLIMIT_FSIZE, &size);
  setrlimit(RLIMIT_AS, &memory);
  for (long i = 0; i < THREADS; i++) {
    pthread_t t;
    pthread_create(&t, NULL, worker_thread, (void *)(rnd() | 1));
  }
  worker_thread((void *)rnd());
}

int main(int argc, char **argv) {
  if (argc != 3 || getpid() != 1) {
    puts("usage: fuzz SECONDS SEED, as the first process of a sandbox");
    return 2;
  }
  // Workers may remove the file.
  int null = open("/dev/null", O_RDWR);
  u64 end = now_ms() + 1000 * strtoull(argv[1], NULL, 10), births[WORKERS] = {0};
  state = strtoull(argv[2], NULL, 10) * 0x9e3779b97f4a7c15ull | 1;
  // All but SIGCHLD, also those that the C library keeps to itself. Workers have handlers of their own.
  u64 ignore[4] = {(u64)SIG_IGN};
  for (int s = 1; s <= 64; s++)
    if (s != SIGCHLD) syscall(SYS_rt_sigaction, s, ignore, NULL, 8);
  pid_t pids[WORKERS] = {0};
  long started = 0;
  while (now_ms() < end) {
    for (int i = 0; i < WORKERS; i++) {
      if (pids[i] && now_ms() - births[i] > LIFE_MS) kill(pids[i], SIGKILL);
      if (pids[i]) continue;
      u64 seed = rnd();
      pid_t p = fork();
      if (p == 0) worker(seed, null);
      if (p > 0) pids[i] = p, births[i] = now_ms(), started++;
    }
    pid_t gone;
    while ((gone = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
      for (int i = 0; i < WORKERS; i++)
        if (pids[i] == gone) pids[i] = 0;
    usleep(20000);
  }
  // Everybody must go when told to.
  u64 last = now_ms() + 20000;
  for (;;) {
    kill(-1, SIGKILL);
    pid_t gone = waitpid(-1, NULL, WNOHANG | __WALL);
    if (gone < 0 && errno == ECHILD) break;
    if (gone == 0) usleep(5000);
    if (now_ms() > last) {
      printf("FAIL: processes that cannot be killed\n");
      return 1;
    }
  }
  printf("ok %ld workers\n", started);
  return 0;
}
