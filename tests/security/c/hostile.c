// Guest code that attacks the stub it runs in. `hostile CASE` runs one attack in child processes, beside a witness
// process that must not notice anything; prints `ok CASE`. `hostile --list` prints the cases, `hostile --explain` what each
// tries and what Linux makes of the same code, where there is no stub. To be run in a sandbox only.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

typedef uint64_t u64;
// Where the pages of a stub are; crates/stub/layout.rs. A guest can learn this.
static const u64 TEXT = 0x7fff80000000, REQUEST = 0x7fff90000000, SCRATCH = 0x7fff91000000;
static const u64 AREAS = 0x7fffa0000000, AREA_LEN = 0x10000, TOP = 0x7fffffff0000;

static void fail(const char *what) {
  printf("FAIL: %s (%s)\n", what, strerror(errno));
  fflush(stdout);
  syscall(SYS_kill, 0, SIGKILL);
  _exit(1);
}
static u64 now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}
static void nap(int ms) { usleep(ms * 1000); }
static u64 seed = 88172645463325252ull;
static u64 rnd(void) {
  u64 x = __atomic_load_n(&seed, __ATOMIC_RELAXED);
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  __atomic_store_n(&seed, x, __ATOMIC_RELAXED);
  return x;
}

static __thread sigjmp_buf jump;
static __thread volatile int armed;
static void caught(int s) {
  if (armed) siglongjmp(jump, s);
  _exit(50);
}
static void arm(void) {
  char *stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  stack_t st = {.ss_sp = stack, .ss_size = 65536};
  sigaltstack(&st, NULL);
  struct sigaction a = {.sa_handler = caught, .sa_flags = SA_NODEFER | SA_ONSTACK};
  int all[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
  for (unsigned i = 0; i < 6; i++) sigaction(all[i], &a, NULL);
}
static int readable(u64 at) {
  if (sigsetjmp(jump, 1)) {
    armed = 0;
    return 0;
  }
  armed = 1;
  (void)*(volatile char *)at;
  armed = 0;
  return 1;
}
static int put(u64 at, u64 value) {
  if (sigsetjmp(jump, 1)) {
    armed = 0;
    return 0;
  }
  armed = 1;
  *(volatile u64 *)at = value;
  armed = 0;
  return 1;
}

// Bytes in the stub's text.
static u64 text_len(void) {
  u64 len = 0;
  while (len < 0x40000 && readable(TEXT + len)) len += 4096;
  if (!len) fail("the stub's text is not where it should be");
  return len;
}
static u64 find(const char *bytes, int n, int which) {
  u64 len = text_len();
  for (u64 i = 0; i + n <= len; i++)
    if (!memcmp((void *)(TEXT + i), bytes, n) && which-- == 0) return TEXT + i;
  return 0;
}

static void *in_thread(void (*f)(void)) {
  arm();
  f();
  return NULL;
}
static void start(void (*f)(void)) {
  pthread_t t;
  pthread_create(&t, NULL, (void *(*)(void *))in_thread, (void *)f);
}

// ---- attacks; each runs in a process of its own and may do with it what it likes ----

static void write_pages(u64 from, u64 pages, u64 value) {
  for (u64 p = from; p < from + pages * 4096; p += 4096)
    if (put(p, value))
      for (u64 w = 0; w < 4096; w += 8) put(p + w, value == 1 ? rnd() : value);
}
static void write_stub(void) {
  u64 values[] = {0, ~0ull, 1, 0x8000000000000000ull, 0x4141414141414141ull};
  u64 value = values[rnd() % 5], vdso = getauxval(AT_SYSINFO_EHDR) & ~0xfffull;
  write_pages(TEXT, 8, value);
  write_pages(REQUEST, 6, value);
  write_pages(SCRATCH, 4, value);
  write_pages(AREAS, 48, value);
  if (vdso) write_pages(vdso - 8 * 4096, 12, value);
  for (u64 p = TEXT; p < TOP; p += 32 << 20) write_pages(p, 1, value);
  for (int i = 0; i < 100; i++) syscall(SYS_getppid);
  _exit(0);
}
static void calls(void) {
  for (;;) {
    syscall(SYS_getppid);
    char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p != MAP_FAILED) munmap(p, 8192);
    syscall(SYS_write, -1, p, rnd() % 4096);
    sched_yield();
  }
}
static void scribble(void) {
  for (;;) {
    u64 area = AREAS + AREA_LEN * (rnd() % 4);
    if (!readable(area)) continue;
    for (int i = 0; i < 200; i++) {
      u64 at = rnd() % 3 ? 0xd000 + rnd() % 0x3000 : rnd() % AREA_LEN;
      put(area + (at & ~7ull), rnd() % 2 ? rnd() : *(u64 *)(area + (rnd() % AREA_LEN & ~7ull)));
    }
  }
}
static void race_frames(void) {
  start(calls);
  start(scribble);
  calls();
}
static void flip(void) {
  for (;;)
    for (int i = 0; i < 4; i++) {
      volatile uint32_t *state = (uint32_t *)(AREAS + AREA_LEN * i);
      if (!readable((u64)state)) continue;
      for (int n = 0; n < 50; n++) *state = rnd() % 8 ? 1 + rnd() % 2 : rnd();
    }
}
static void flip_states(void) {
  start(calls);
  start(flip);
  calls();
}
// How threads go on and their park words, beside threads whose mappings change at every call.
static void open_gates(void) {
  for (;;)
    for (int i = 0; i < 4; i++) {
      volatile uint32_t *area = (uint32_t *)(AREAS + AREA_LEN * i);
      if (!readable((u64)area)) continue;
      for (int n = 0; n < 50; n++) {
        area[164 / 4] = rnd() % 4 ? 1 : 0;
        if (rnd() % 4 == 0) area[1] = rnd() % 2 ? area[1] ^ 0x100 : rnd() % 8;
      }
    }
}
static void map_much(void) {
  for (;;) {
    char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) continue;
    p[rnd() % 65536] = 1;
    mprotect(p, 4096 * (1 + rnd() % 16), PROT_READ);
    munmap(p, 65536);
    // What is gone is looked at once more: a fault, or what this process left there.
    if (rnd() % 16 == 0 && !readable((u64)p)) sched_yield();
  }
}
static void pass_gates(void) {
  start(map_much);
  start(open_gates);
  map_much();
}
static void flip_and_exit(void) {
  start(calls);
  start(flip);
  nap(rnd() % 20);
  syscall(SYS_exit_group, 3);
}

static char frame[8192] __attribute__((aligned(64)));
static char spare[65536] __attribute__((aligned(65536)));
static void deaf(void) {
  for (;;) __asm__ volatile("pause");
}
static void call_deaf(void) {
  syscall(SYS_getppid);
  deaf();
}
// Returns through a host frame of its own making, by the stub's own gadget.
static void host_sigreturn(void (*to)(void), u64 mask, u64 cs_ss, u64 flags, u64 rip_xor, int move_stack) {
  u64 gadget = find("\xb8\x0f\x00\x00\x00\x0f\x05", 7, 0);
  if (!gadget) _exit(0);
  memset(frame, 0, sizeof frame);
  u64 *uc = (u64 *)frame;
  uc[0] = 6;
  if (move_stack) uc[2] = (u64)spare, uc[4] = sizeof spare;
  else uc[3] = 2;
  u64 *g = uc + 5;
  g[15] = ((u64)frame + sizeof frame - 256) & ~15ull;
  g[15] -= 8;
  g[16] = (u64)to ^ rip_xor;
  g[17] = flags;
  g[18] = cs_ss;
  uc[37] = mask;
  __asm__ volatile("mov %0, %%rsp; jmp *%1" ::"r"(frame), "r"(gadget) : "memory");
}
static const u64 CS_SS = 0x002b000000000033ull;
static void go_deaf(void) { host_sigreturn(deaf, ~0ull, CS_SS, 0x202, 0, 0); }
static void go_deaf_and_call(void) { host_sigreturn(call_deaf, ~0ull, CS_SS, 0x202, 0, 0); }
static void move_frames(void) { host_sigreturn(call_deaf, 0, CS_SS, 0x202, 0, 1); }
static void no_altstack(void) { host_sigreturn(call_deaf, 0, CS_SS, 0x202, 0, 0); }
static void forged_frames(void) {
  u64 cs[] = {CS_SS, 0x23, 0, ~0ull, 0x002b000000000010ull, 0x0018000000000033ull};
  host_sigreturn(call_deaf, rnd() % 2 ? 0 : rnd(), cs[rnd() % 6], rnd(), rnd() % 2 ? 0 : 1ull << (rnd() % 64), rnd() % 2);
}
static void deaf_thread_exit(void) {
  start(go_deaf);
  nap(20);
  syscall(SYS_exit_group, 3);
}
// The guest's own rt_sigreturn, with nonsense.
static void own_sigreturn(void) {
  memset(frame, 0, sizeof frame);
  u64 *uc = (u64 *)frame;
  if (rnd() % 2) {
    for (int i = 0; i < 100; i++) uc[i] = rnd() % 3 ? rnd() : rnd() % 3 ? (u64)frame : TEXT + rnd() % 4096;
    uc[5 + 15] = (u64)frame + 4096;
    if (rnd() % 2) uc[5 + 16] = (u64)call_deaf;
  } else {
    uc[5 + 15] = (u64)frame + 4096 - 8;
    uc[5 + 16] = rnd() % 2 ? 0x8000000000000000ull : (u64)call_deaf;
    uc[5 + 17] = rnd();
    uc[5 + 18] = rnd();
    uc[37] = ~0ull;
  }
  __asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall; ud2" ::"r"(frame) : "memory");
}
static void jump_into(void) {
  u64 to = TEXT + rnd() % text_len();
  u64 word[] = {REQUEST, AREAS, AREAS + AREA_LEN, SCRATCH, (u64)spare, rnd()};
  u64 *fake = (u64 *)spare;
  // A request block that asks for the memory file.
  fake[0] = 5 | 1ull << 32;
  u64 op[] = {SYS_mmap, 0x100000000, 4096, 3, 0x11, 4, 0, 0};
  memcpy(spare + 1024, op, sizeof op);
  u64 rbx = word[rnd() % 6], r15 = word[rnd() % 6], rax = rnd() % 2 ? rnd() % 400 : rnd();
  __asm__ volatile("mov %1, %%rbx; mov %2, %%r15; mov %3, %%rax; mov %1, %%rdi; mov %2, %%rsi; jmp *%0" ::"r"(to),
                   "r"(rbx), "r"(r15), "r"(rax)
                   : "memory", "rbx", "r15", "rax", "rdi", "rsi");
}
static u64 gadget_args[7];
static void by_gadget(void) {
  u64 gadget = find("\x0f\x05", 2, rnd() % 8);
  if (!gadget) gadget = find("\x0f\x05", 2, 0);
  u64 *a = gadget_args;
  register u64 r10 __asm__("r10") = a[4], r8 __asm__("r8") = a[5], r9 __asm__("r9") = a[6];
  __asm__ volatile("jmp *%0" ::"r"(gadget), "a"(a[0]), "D"(a[1]), "S"(a[2]), "d"(a[3]), "r"(r10), "r"(r8), "r"(r9)
                   : "memory");
}
static void steal_wakes(void) {
  u64 words[] = {REQUEST, AREAS, AREAS + AREA_LEN};
  u64 word = words[rnd() % 3];
  u64 args[] = {SYS_futex, word, rnd() % 2 ? 0 : 128, readable(word) ? *(uint32_t *)word : 0, 0, 0, 0};
  memcpy(gadget_args, args, sizeof args);
  for (int i = 0; i < 4; i++) start(by_gadget);
  for (int i = 0; i < 300; i++) {
    char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p != MAP_FAILED) munmap(p, 4096);
  }
  _exit(0);
}
static void map_by_gadget(void) {
  u64 at = 0x200000000;
  u64 args[] = {SYS_mmap, at, 4096, 3, 0x11, 3 + rnd() % 5, 0};
  memcpy(gadget_args, args, sizeof args);
  start(by_gadget);
  nap(30);
  _exit(readable(at) ? 99 : 0);
}
static void unmap_by_gadget(void) {
  u64 at[] = {AREAS, REQUEST, TEXT};
  u64 args[] = {SYS_munmap, at[rnd() % 3], 0x4000, 0, 0, 0, 0};
  memcpy(gadget_args, args, sizeof args);
  start(by_gadget);
  nap(30);
  _exit(readable(args[1]) ? 0 : 99);
}
// The words that a call through a trampoline and its answer are in: state, registers, bases, flags, published answers.
static void scribble_head(void) {
  static const u64 offsets[] = {0, 4, 8, 16, 24, 64, 80, 120, 128, 132, 136, 144, 152, 160, 168, 256, 264, 272, 280};
  u64 values[] = {0, 1, 2, 3, 4, ~0ull, 0x8000000000000000ull, TEXT, AREAS, REQUEST, 1ull << 63 | 7};
  for (;;) {
    u64 area = AREAS + AREA_LEN * (rnd() % 4);
    if (!readable(area)) continue;
    for (int i = 0; i < 100; i++) {
      u64 at = area + offsets[rnd() % (sizeof offsets / sizeof *offsets)], value = rnd() % 4 ? values[rnd() % 11] : rnd();
      if (rnd() % 2) put(at & ~7ull, value);
      else *(volatile uint32_t *)at = value;
    }
  }
}
static void race_calls(void) {
  start(calls);
  start(scribble_head);
  calls();
}

// Every call that takes an address, with the stub's addresses.
static void must_fail(const char *what, u64 at, long r) {
  if (r == -1) return;
  printf("FAIL: %s of %#lx: %ld\n", what, (long)at, r);
  fflush(stdout);
  _exit(99);
}
static u64 text_sum(u64 len) {
  u64 sum = 0;
  for (u64 i = 0; i < len; i += 8) sum = sum * 31 + *(volatile u64 *)(TEXT + i);
  return sum;
}
static void remap_stub(void) {
  u64 places[] = {TEXT, REQUEST, SCRATCH, AREAS, AREAS + AREA_LEN, 0x7fff00000000, TOP - 4096}, len = text_len(), sum = text_sum(len);
  char *own = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  int mem = open("/proc/self/mem", O_RDWR), null = open("/dev/zero", O_RDWR);
  long anon = MAP_PRIVATE | MAP_ANONYMOUS, fixed = MREMAP_MAYMOVE | MREMAP_FIXED;
  for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
    u64 at = places[i], own_at = (u64)own;
    must_fail("mmap", at, syscall(SYS_mmap, at, 4096, 7, anon | MAP_FIXED, -1, 0));
    must_fail("mmap without replacing", at, syscall(SYS_mmap, at, 4096, 7, anon | 0x100000, -1, 0));
    must_fail("mmap up to it", at, syscall(SYS_mmap, 0x7ffeffff0000, at - 0x7ffeffff0000 + 4096, 7, anon | MAP_FIXED, -1, 0));
    must_fail("mprotect", at, syscall(SYS_mprotect, at, 4096, 7));
    must_fail("pkey_mprotect", at, syscall(SYS_pkey_mprotect, at, 4096, 7, -1));
    must_fail("mremap to it", at, syscall(SYS_mremap, own_at, 4096, 4096, fixed, at));
    must_fail("mremap a copy to it", at, syscall(SYS_mremap, own_at, 4096, 4096, fixed | 4, at));
    must_fail("mremap from it", at, syscall(SYS_mremap, at, 4096, 4096, fixed, own_at + 65536));
    must_fail("mremap of nothing from it", at, syscall(SYS_mremap, at, 0, 4096, MREMAP_MAYMOVE, 0));
    must_fail("mremap to grow it", at, syscall(SYS_mremap, at, 4096, 8192, MREMAP_MAYMOVE, 0));
    for (int advice = 0; advice < 26; advice++) must_fail("madvise", at, syscall(SYS_madvise, at, 4096, advice) ? -1 : 0);
    must_fail("remap_file_pages", at, syscall(SYS_remap_file_pages, at, 4096, 0, 0, 0));
    must_fail("mlock", at, syscall(SYS_mlock, at, 4096));
    must_fail("msync", at, syscall(SYS_msync, at, 4096, MS_SYNC));
    if ((u64)syscall(SYS_brk, at) == at) must_fail("brk", at, 0);
    must_fail("read", at, read(null, (void *)at, 8));
    must_fail("pread of own memory", at, pread(mem, own, 8, at));
    must_fail("pwrite of own memory", at, pwrite(mem, own, 8, at));
    struct iovec here = {own, 8}, there = {(void *)at, 8};
    must_fail("process_vm_readv", at, process_vm_readv(getpid(), &here, 1, &there, 1, 0));
    must_fail("process_vm_writev", at, process_vm_writev(getpid(), &here, 1, &there, 1, 0));
    must_fail("futex", at, syscall(SYS_futex, at, FUTEX_WAIT, *own + 1, &(struct timespec){0, 1000}, 0, 0));
  }
  // Ranges that end beyond, wrap around, overlap themselves.
  must_fail("munmap beyond the end", 0, syscall(SYS_munmap, own, TOP));
  must_fail("munmap around", 0, syscall(SYS_munmap, own, -(u64)own));
  must_fail("mremap around", 0, syscall(SYS_mremap, own, 4096, ~0ull << 12, MREMAP_MAYMOVE));
  must_fail("mremap of all", 0, syscall(SYS_mremap, own, 4096, 1ull << 47, MREMAP_MAYMOVE));
  must_fail("mremap onto itself", 0, syscall(SYS_mremap, own, 8192, 8192, fixed, own + 4096));
  // What Linux permits for free addresses: nothing is mapped there for the guest.
  for (unsigned i = 0; i < 5; i++) syscall(SYS_munmap, places[i], 4096);
  if (text_sum(len) != sum) _exit(99);
  for (int i = 0; i < 50; i++) {
    char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, anon, -1, 0);
    if (p == MAP_FAILED || *p) _exit(99);
    *p = 1;
    munmap(p, 4096);
  }
  _exit(0);
}

// What the kernel writes by itself for a thread, aimed at the stub: ends of threads, robust futexes, signal frames.
static void *short_thread(void *arg) {
  static __thread u64 list[3];
  u64 where = (u64)arg;
  syscall(SYS_set_tid_address, where);
  list[0] = (u64)list, list[1] = where - (u64)list;
  syscall(SYS_set_robust_list, list, 24);
  return NULL;
}
static void kernel_writes(void) {
  u64 places[] = {AREAS, AREAS + 4, AREAS + AREA_LEN, REQUEST, TEXT};
  for (int i = 0; i < 40; i++) {
    pthread_t t;
    pthread_create(&t, NULL, short_thread, (void *)places[rnd() % 5]);
    usleep(500);
  }
  syscall(SYS_rseq, AREAS + 0x2000, 32, 0, 0x53053053);
  stack_t st = {.ss_sp = (void *)(AREAS + AREA_LEN * (rnd() % 3) + 0x1000), .ss_size = 0x3000};
  sigaltstack(&st, NULL);
  raise(SIGTRAP);
  for (int i = 0; i < 20; i++) syscall(SYS_getppid);
  _exit(0);
}
static void stack_in_stub(void) {
  u64 at = AREAS + AREA_LEN * (rnd() % 2) + 0x4000 - 128;
  stack_t none = {.ss_flags = SS_DISABLE};
  sigaltstack(&none, NULL);
  __asm__ volatile("mov %0, %%rsp; mov $39, %%eax; syscall; mov %%eax, %%edi; mov $5, %%esi; mov $62, %%eax; syscall; ud2" ::"r"(at) : "memory");
}

// The mapper's answer: eight bytes of the stub's text to a descriptor that says "done".
static void forge_replies(void) {
  u64 done = find("\0\0\0\0\0\1\0\0", 8, 0);
  for (u64 fd = 3; fd < 40; fd += 1 + rnd() % 3) {
    u64 args[] = {SYS_write, fd, done ? done : TEXT, 8, 0, 0, 0};
    memcpy(gadget_args, args, sizeof args);
    start(by_gadget);
  }
  for (int i = 0; i < 200; i++) {
    char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) continue;
    for (int j = 0; j < 65536; j += 4096) {
      if (p[j]) _exit(99);
      p[j] = 1;
    }
    munmap(p, 65536);
  }
  _exit(0);
}
// Any call at all from the stub's text: but for three it is served as the guest's own.
static void any_call(void) {
  u64 nr = rnd() % 470;
  if (nr == SYS_exit_group || nr == SYS_kill) nr = SYS_getppid;
  u64 args[] = {nr, AREAS, rnd() % 3 ? rnd() % 16 : AREAS, rnd() % 3 ? 0 : rnd(), AREAS + AREA_LEN, rnd() % 8, 0};
  if (nr == SYS_futex && rnd() % 2) args[2] = 2 + rnd() % 12;
  memcpy(gadget_args, args, sizeof args);
  by_gadget();
}
static void bases(void) {
  u64 values[] = {0, AREAS, TEXT, REQUEST, 0x7fffffffe000, (u64)spare, 0x8000000000000000ull};
  // Nothing of the C library works from here on.
  for (int i = 0; i < 60; i++) {
    u64 v = values[rnd() % 7], back;
    if (i < 59 && v >> 47) continue;
    long r;
    __asm__ volatile("wrgsbase %0" ::"r"(v));
    __asm__ volatile("wrfsbase %0" ::"r"(v));
    __asm__ volatile("syscall" : "=a"(r) : "a"(SYS_getppid) : "rcx", "r11", "memory");
    __asm__ volatile("rdgsbase %0" : "=r"(back));
    // A base of 0 is the platform's to use.
    if (v == 0 && back >> 28 == AREAS >> 28) continue;
    if (back != v) __asm__ volatile("syscall" ::"a"(SYS_exit_group), "D"(99) : "memory");
  }
  __asm__ volatile("syscall" ::"a"(SYS_exit_group), "D"(0) : "memory");
}
static void flags(void) {
  u64 bits[] = {0x100, 0x400, 0x40000, 0x200000, 0x4000, 0x240dd5, 0x500};
  for (int i = 0; i < 7; i++) {
    if (sigsetjmp(jump, 1)) continue;
    armed = 1;
    __asm__ volatile("sub $128, %%rsp; pushfq; or %0, (%%rsp); popfq; mov $110, %%eax; syscall; nop; mov $39, %%eax; syscall;"
                     "pushfq; andq $-0x244501, (%%rsp); popfq; add $128, %%rsp" ::"r"(bits[i])
                     : "rax", "rcx", "r11", "memory", "cc");
  }
  armed = 0;
  // Single steps through everything that a call does.
  struct sigaction a = {.sa_handler = SIG_IGN};
  sigaction(SIGTRAP, &a, NULL);
  __asm__ volatile("sub $128, %%rsp; pushfq; orq $0x100, (%%rsp); popfq; mov $110, %%eax; syscall; nop" ::: "rax", "memory");
  _exit(0);
}
static void mxcsr(void) {
  for (int i = 0; i < 20; i++) {
    unsigned v = (unsigned)rnd() & 0xffff;
    if (sigsetjmp(jump, 1)) continue;
    armed = 1;
    __asm__ volatile("ldmxcsr %0" ::"m"(v));
    syscall(SYS_getppid);
    volatile float x = 1, y = 0, z = x / y;
    (void)z;
    unsigned back;
    __asm__ volatile("stmxcsr %0" : "=m"(back));
    if ((back ^ v) & 0xffc0) _exit(99);
  }
  _exit(0);
}
static void int80(void) {
  long r;
  __asm__ volatile("int $0x80" : "=a"(r) : "a"(20), "b"(0), "c"(0), "d"(0) : "memory", "r8", "r9", "r10", "r11");
  __asm__ volatile("int $0x80" : "=a"(r) : "a"(192), "b"(0x10000000), "c"(4096), "d"(3), "S"(0x32), "D"(-1) : "memory", "r8", "r9", "r10", "r11");
  _exit(readable(0x10000000) ? 99 : 0);
}
static void sysenter(void) {
  __asm__ volatile("mov %%rsp, %%rbp; mov $20, %%eax; sysenter" ::: "rax", "memory");
  _exit(0);
}
static void vsyscalls(void) {
  for (u64 i = 0; i < 3; i++) {
    if (sigsetjmp(jump, 1)) continue;
    armed = 1;
    ((long (*)(void *, void *))(0xffffffffff600000ull + i * 1024))(NULL, NULL);
  }
  _exit(0);
}
static void far_call(void) {
  // Code and stack where 32-bit code reaches them: getpid by int 0x80, sysenter, then a loop.
  unsigned char code[] = {0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xb8, 1, 0, 0, 0, 0xbb, 0, 0, 0, 0, rnd() % 2 ? 0x90 : 0xcd, 0x80, 0xeb, 0xfe};
  if (rnd() % 3 == 0) memcpy(code, "\x0f\x34", 2);
  if (rnd() % 3 == 0) memcpy(code, "\xeb\xfe", 2);
  char *low = mmap((void *)0x20000000, 65536, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (low == MAP_FAILED) _exit(0);
  memcpy(low, code, sizeof code);
  __asm__ volatile("mov %0, %%rsp; push $0x23; push %1; lretq" ::"r"(low + 32768), "r"((u64)low) : "memory");
}
static void far_selectors(void) {
  u64 ds = rnd() % 0x100;
  if (sigsetjmp(jump, 1) == 0) {
    armed = 1;
    __asm__ volatile("mov %0, %%ds; mov %0, %%es" ::"r"((int)ds));
    __asm__ volatile("mov %0, %%gs" ::"r"((int)ds));
  }
  for (int i = 0; i < 10; i++) syscall(SYS_getppid);
  __asm__ volatile("mov %0, %%fs; mov $110, %%eax; syscall; mov $231, %%eax; xor %%edi, %%edi; syscall" ::"r"(0x2b) : "memory");
}
static void xcomp(void) {
  if (syscall(SYS_arch_prctl, 0x1023, 18) == 0) _exit(99);
  _exit(0);
}

// Patched text is shared. What is a call to who jumps into the middle of an instruction must stay the instruction for
// processes of other users.
__attribute__((naked, noinline)) static u64 constant(void) {
  // movabs $0x9090c3c08948050f, %rax; ret: two bytes behind its beginning are syscall; mov %rax, %rax; ret.
  __asm__(".byte 0x48, 0xb8, 0x0f, 0x05, 0x48, 0x89, 0xc0, 0xc3, 0x90, 0x90, 0xc3");
}
static int call_inside(void) {
  for (int i = 0; i < 500; i++) {
    u64 r;
    __asm__ volatile("call *%1" : "=a"(r) : "r"((char *)constant + 2), "a"(SYS_getppid) : "rcx", "r11", "memory");
  }
  return 0;
}
static int patched_victim(void) {
  for (int i = 0; i < 50; i++)
    if (constant() != 0x9090c3c08948050full) return 1;
  return 0;
}
static int run_self(const char *what, int uid) {
  pid_t c = fork();
  int status = -1;
  if (c == 0) {
    if (uid && setresuid(uid, uid, uid)) _exit(0);
    execl("/proc/self/exe", "hostile", what, NULL);
    _exit(0);
  }
  waitpid(c, &status, 0);
  return status;
}
static void patch_inside(void) {
  if (getuid()) _exit(0);
  for (int i = 0; i < 3; i++) {
    run_self("--call-inside", 65534);
    if (run_self("--patched-victim", 0)) _exit(99);
  }
  // Nor by what began as another user's process.
  pid_t c = fork();
  if (c == 0) {
    if (setresuid(65534, 65534, 65534)) _exit(0);
    call_inside();
    _exit(0);
  }
  waitpid(c, NULL, 0);
  if (run_self("--patched-victim", 0)) _exit(99);
  _exit(0);
}

// ---- a child that seems to have ended, and the next one ----

static volatile u64 next_secret;
static void run_on(void) {
  if (getuid()) _exit(0);
  volatile u64 *told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (told == MAP_FAILED) _exit(1);
  for (int i = 0; i < 20; i++) {
    next_secret = 0;
    pid_t c = fork();
    if (c == 0) {
      if (setresuid(65534, 65534, 65534)) _exit(0);
      // What a call of exit_group leaves, but for the wait.
      volatile uint32_t *area = (uint32_t *)AREAS;
      *(volatile u64 *)(AREAS + 8) = SYS_exit_group;
      area[1] = 1;
      __atomic_store_n((uint32_t *)area, 1 /* EVENT */, __ATOMIC_SEQ_CST);
      for (;;)
        if (next_secret) *told = next_secret;
    }
    nap(20);
    // It may have been too quick for that.
    kill(c, SIGKILL);
    waitpid(c, NULL, 0);
    next_secret = 0x5ec5ec5ec5ec5ec5ull + (u64)i;
    if ((c = fork()) == 0) {
      nap(10);
      _exit(0);
    }
    nap(20);
    // Whoever runs there may not end.
    kill(c, SIGKILL);
    waitpid(c, NULL, 0);
    if (*told) _exit(99);
  }
  _exit(0);
}

// ---- a process with a filter, and what its stub says of it ----

/* Has a call fail from now on. */
static int forbid(int nr) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 99),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {4, code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}
static void unblocked(int signo) { _exit(99); }
static void forge_answers(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  signal(SIGUSR1, unblocked);
  sigprocmask(SIG_BLOCK, &set, NULL);
  if (forbid(SYS_rt_sigprocmask)) _exit(0);
  for (int i = 0; i < 50; i++) {
    // All answers are there, nothing is blocked, nothing is pending.
    for (u64 at = 0; at < 16; at++) *(volatile u64 *)(AREAS + 256 + 8 * at) = 1ull << 63 | 4242;
    *(volatile u64 *)(AREAS + 208) = 0;
    *(volatile uint32_t *)(AREAS + 224) = 0;
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    kill((pid_t)syscall(SYS_getpid), SIGUSR1);
    raise(SIGUSR1);
    getpriority(PRIO_PROCESS, 0);
  }
}
static void past_filter(void) {
  volatile u64 *told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (told == MAP_FAILED) _exit(1);
  for (int i = 0; i < 20; i++) {
    next_secret = 0;
    pid_t c = fork();
    if (c == 0) {
      if (forbid(SYS_getpriority)) _exit(0);
      // As in run_on: the next child has no filter.
      *(volatile u64 *)(AREAS + 8) = SYS_exit_group;
      ((volatile uint32_t *)AREAS)[1] = 1;
      __atomic_store_n((uint32_t *)AREAS, 1 /* EVENT */, __ATOMIC_SEQ_CST);
      for (;;)
        if (next_secret) *told = next_secret;
    }
    nap(20);
    kill(c, SIGKILL);
    waitpid(c, NULL, 0);
    next_secret = 0x5ec5ec5ec5ec5ec5ull + (u64)i;
    if ((c = fork()) == 0) {
      nap(10);
      _exit(0);
    }
    nap(20);
    kill(c, SIGKILL);
    waitpid(c, NULL, 0);
    if (*told) _exit(99);
  }
  forge_answers();
  _exit(0);
}

// ---- pages of another process ----

static volatile u64 *shared_page;
static void keep_writing(void) {
  for (;;) {
    u64 p = *shared_page;
    if (p) put(p + (rnd() % 16) * 4096 + 128, 0x5ec5ec5ec5ec5ec5ull);
  }
}
static void keep_unmapping(void) {
  for (;;) {
    char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) continue;
    for (int i = 0; i < 65536; i += 8) *(u64 *)(p + i) = 0x5ec5ec5ec5ec5ec5ull;
    *shared_page = (u64)p;
    if (rnd() % 2) munmap(p, 65536);
    else mmap(p, 65536, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), munmap(p, 65536);
    if (rnd() % 8 == 0) {
      pid_t c = fork();
      if (c == 0) _exit(0);
      waitpid(c, NULL, 0);
    }
  }
}
static void secrets(void) {
  static u64 word;
  shared_page = &word;
  start(keep_writing);
  keep_unmapping();
}
static void look_for_secrets(void) {
  u64 end = now_ms() + 2500;
  while (now_ms() < end) {
    char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) continue;
    for (int pass = 0; pass < 3; pass++)
      for (int i = 0; i < 1 << 20; i += 64)
        if (*(volatile u64 *)(p + i)) _exit(99);
    munmap(p, 1 << 20);
  }
  _exit(0);
}

// Moves that find no memory, over pages that stay mapped: those must not become anybody else's.
static void others_write(int value) {
  pid_t c = fork();
  if (c == 0) {
    for (int i = 0; i < 64; i++) {
      char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (p != MAP_FAILED) memset(p, value, 65536);
    }
    _exit(0);
  }
  waitpid(c, NULL, 0);
}
static void failed_moves(void) {
  long anon = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  int both = PROT_READ | PROT_WRITE, null = open("/dev/null", O_WRONLY);
  u64 len = 1ull << 46;
  char *large, *to, *kept;
  // Most of what is left of the memory file: there is no room for as much again.
  while ((large = mmap(NULL, len, both, anon, -1, 0)) == MAP_FAILED && len > 1 << 30) len /= 2;
  to = mmap(NULL, len, PROT_NONE, anon, -1, 0);
  kept = mmap(to + (1 << 20), 65536, both, anon | MAP_FIXED, -1, 0);
  if (large == MAP_FAILED || to == MAP_FAILED || kept == MAP_FAILED) _exit(97);
  for (int i = 0; i < 8; i++) {
    memset(kept, 0x33, 65536);
    strcpy(large, "large");
    // One that leaves a mapping behind (MREMAP_DONTUNMAP), or one that makes its pages more.
    u64 part = i % 2 ? len : 65536;
    if (syscall(SYS_mremap, large, part, len, MREMAP_MAYMOVE | MREMAP_FIXED | (i % 2 ? 4 : 0), to) != -1 || errno != ENOMEM) _exit(98);
    others_write(0x44);
    for (int at = 0; at < 65536; at++)
      if (kept[at] != 0x33) _exit(99);
    // The kernel sees the same.
    if (write(null, kept, 65536) != 65536 || write(null, large, 6) != 6 || strcmp(large, "large")) _exit(99);
  }
  _exit(0);
}

// A process that has a thread which the sentry believes to have stopped, writes to its end.
static void die_writing(void) {
  for (;;) {
    pid_t c = fork();
    if (c == 0) {
      static u64 word;
      shared_page = &word;
      word = (u64)mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      start(keep_writing);
      usleep(500 + rnd() % 3000);
      for (int i = 0; i < 3; i++) put(AREAS + AREA_LEN * i, 1 | 0ull << 32);
      syscall(SYS_exit_group, 0);
    }
    waitpid(c, NULL, 0);
  }
}
// Threads that leave something in the pages they share with the sentry.
static const u64 MARK = 0x5ec5ec5ec5ec5ec5ull;
static void mark_areas(void) {
  for (;;) {
    pid_t c = fork();
    if (c == 0) {
      for (int i = 0; i < 3; i++) start(deaf);
      usleep(1000);
      for (u64 a = AREAS; a < AREAS + 4 * AREA_LEN; a += AREA_LEN)
        if (readable(a))
          for (u64 at = 0x400; at < 0x4000; at += 8) put(a + at, MARK);
      syscall(SYS_exit_group, 0);
    }
    waitpid(c, NULL, 0);
  }
}
static void nothing_for_long(void) { nap(50); }
static void look_at_areas(void) {
  u64 end = now_ms() + 2000;
  while (now_ms() < end) {
    pid_t c = fork();
    if (c == 0) {
      for (int i = 0; i < 3; i++) start(nothing_for_long);
      usleep(1000);
      for (u64 a = AREAS; a < AREAS + 4 * AREA_LEN; a += AREA_LEN)
        if (readable(a))
          for (u64 at = 0x400; at < 0x4000; at += 8)
            // Not the whole value: it would be in a register, and so in a frame.
            if (*(volatile u64 *)(a + at) >> 24 == MARK >> 24) _exit(99);
      _exit(0);
    }
    int status;
    waitpid(c, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 99) _exit(99);
  }
  _exit(0);
}

// ---- the judge ----

static int ask[2], answer[2];
static void witness(void) {
  char *secret = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), c;
  memset(secret, 0x77, 65536);
  pid_t me = getpid();
  while (read(ask[0], &c, 1) == 1) {
    c = 'y';
    for (int i = 0; i < 65536; i++)
      if (secret[i] != 0x77) c = 's';
    if (getpid() != me || (pid_t)syscall(SYS_getpid) != me) c = 'p';
    char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; p != MAP_FAILED && i < 65536; i += 512)
      if (p[i]) c = 'z';
    munmap(p, 65536);
    if (write(answer[1], &c, 1) != 1) break;
  }
  _exit(0);
}
static void question(const char *after) {
  struct pollfd p = {.fd = answer[0], .events = POLLIN};
  char c = 0;
  if (write(ask[1], "?", 1) != 1 || poll(&p, 1, 15000) != 1) fail("the witness is stuck");
  if (read(answer[0], &c, 1) != 1 || c != 'y') {
    printf("the witness says %c after %s\n", c, after);
    fail("the witness was changed");
  }
}

struct attack {
  const char *name;
  void (*f)(void);
  int rounds, limit_ms;
  // Runs in a process of its own at the same time.
  void (*beside)(void);
  // What is tried; what becomes of it natively, where there is no stub.
  const char *what, *natively;
};
#define CANNOT "there is no such memory: SIGSEGV"
static const struct attack attacks[] = {
    {"write-stub", write_stub, 5, 4000, NULL, "writes all that can be written above the guest's addresses", CANNOT},
    {"race-frames", race_frames, 12, 200, NULL, "rewrites signal frames and vector state while calls are served", CANNOT},
    {"race-calls", race_calls, 12, 200, NULL, "rewrites registers, bases, flags and answers of calls in flight", CANNOT},
    {"pass-gates", pass_gates, 12, 200, NULL, "lets threads go on before their mappings have changed", CANNOT},
    {"flip-states", flip_states, 12, 200, NULL, "says of running threads that they stopped, and the reverse", CANNOT},
    {"flip-and-exit", flip_and_exit, 20, 500, NULL, "the same, and exits meanwhile", CANNOT},
    {"go-deaf", go_deaf, 2, 100, NULL, "blocks all host signals by a frame of its own and loops", "blocks its signals, dies of SIGKILL"},
    {"go-deaf-and-call", go_deaf_and_call, 5, 100, NULL, "the same with a call that should trap", "the call works"},
    {"deaf-thread-exit", deaf_thread_exit, 1, 12000, NULL, "exits while another thread cannot be stopped", "exits"},
    {"move-frames", move_frames, 5, 100, NULL, "moves the host's alternate stack", "the stack moves"},
    {"no-altstack", no_altstack, 3, 100, NULL, "disables the host's alternate stack", "it is disabled"},
    {"forged-frames", forged_frames, 60, 50, NULL, "returns through frames with random segments, flags and addresses", "SIGSEGV or a jump"},
    {"own-sigreturn", own_sigreturn, 60, 50, NULL, "runs rt_sigreturn itself on a random frame", "SIGSEGV or a jump"},
    {"jump-into", jump_into, 200, 30, NULL, "jumps to any byte of the stub's text with registers of its choice", CANNOT},
    {"any-call", any_call, 150, 30, NULL, "makes any call by an instruction of the stub", CANNOT},
    {"steal-wakes", steal_wakes, 10, 2000, NULL, "waits on the words on which mapper and threads wait", CANNOT},
    {"forge-replies", forge_replies, 10, 2000, NULL, "writes the mapper's answer to every descriptor", "EBADF"},
    {"map-by-gadget", map_by_gadget, 10, 300, NULL, "maps the memory file by an instruction of the stub", CANNOT},
    {"unmap-by-gadget", unmap_by_gadget, 10, 300, NULL, "unmaps the stub by an instruction of the stub", CANNOT},
    {"remap-stub", remap_stub, 2, 3000, NULL, "maps, moves, protects, reads and writes the stub by calls", "free addresses: some of it works"},
    {"kernel-writes", kernel_writes, 5, 500, NULL, "has ends of threads and signal frames written to the stub", "EFAULT or SIGSEGV"},
    {"stack-in-stub", stack_in_stub, 5, 300, NULL, "takes a signal with the stack pointer in the stub", CANNOT},
    {"bases", bases, 10, 1000, NULL, "sets fs and gs base to the stub's and other addresses", "they are kept"},
    {"flags", flags, 3, 1000, NULL, "calls with TF, DF, AC, NT and ID set", "SIGTRAP where TF is set, else the flags are kept"},
    {"mxcsr", mxcsr, 5, 500, NULL, "unmasks floating-point exceptions", "they are kept"},
    {"patch-inside", patch_inside, 2, 5000, NULL, "has the middle of an instruction patched that other users run", "a call"},
    {"int80", int80, 1, 500, NULL, "makes 32-bit calls from 64-bit code", "the calls work"},
    {"sysenter", sysenter, 1, 200, NULL, "enters by sysenter", "a 32-bit call, or SIGILL"},
    {"vsyscalls", vsyscalls, 1, 500, NULL, "calls the vsyscall page", "emulated or SIGSEGV"},
    {"far-call", far_call, 12, 60, NULL, "runs 32-bit code, with calls in it", "it runs"},
    {"far-selectors", far_selectors, 20, 200, NULL, "loads every selector", "SIGSEGV or it is loaded"},
    {"xcomp", xcomp, 1, 200, NULL, "asks for AMX, whose state fits no frame", "it is granted where there is AMX"},
    {"run-on", run_on, 2, 5000, NULL, "runs on as another user after it seems to have ended, while its parent's next child runs", CANNOT},
    {"past-filter", past_filter, 2, 5000, NULL, "runs on without its filter in its parent's next child, forges what its stub may answer", CANNOT},
    {"page-leak", look_for_secrets, 1, 20000, secrets, "looks for what another process wrote to unmapped pages", "zeroes"},
    {"failed-moves", failed_moves, 1, 20000, NULL, "moves memory over mapped pages where there is none for it", "it is moved"},
    {"dying-writer", look_for_secrets, 1, 20000, die_writing, "looks for what a process wrote that is being killed", "zeroes"},
    {"area-leak", look_at_areas, 1, 20000, mark_areas, "looks for what another process left in its thread areas", CANNOT},
};

static void attack(const struct attack *a) {
  int deaf = strstr(a->name, "deaf") != NULL;
  for (int round = 0; round < a->rounds; round++) {
    rnd();
    u64 next = rnd() + (u64)round * 7919;
    pid_t other = 0;
    if (a->beside && (other = fork()) == 0) {
      arm();
      a->beside();
      _exit(0);
    }
    pid_t p = fork();
    if (p < 0) fail("fork");
    if (p == 0) {
      seed = next ^ ((u64)getpid() << 32);
      arm();
      a->f();
      _exit(0);
    }
    u64 end = now_ms() + a->limit_ms;
    int status, killed = 0;
    while (waitpid(p, &status, WNOHANG) == 0) {
      if (now_ms() > end) {
        if (killed) fail("an attacker cannot be killed");
        kill(p, SIGKILL);
        killed = 1;
        end = now_ms() + (deaf ? 12000 : 12000);
      }
      nap(2);
    }
    if (!killed && WIFEXITED(status) && WEXITSTATUS(status) == 99) fail("the attack worked");
    if ((a->f == remap_stub || a->f == failed_moves) && (!WIFEXITED(status) || WEXITSTATUS(status))) fail("it did not come to its end");
    if (other) {
      kill(other, SIGKILL);
      waitpid(other, &status, 0);
    }
    question(a->name);
  }
}

int main(int argc, char **argv) {
  unsigned n = sizeof attacks / sizeof *attacks;
  if (argc == 2 && !strcmp(argv[1], "--list")) {
    for (unsigned i = 0; i < n; i++) puts(attacks[i].name);
    return 0;
  }
  if (argc == 2 && !strcmp(argv[1], "--explain")) {
    for (unsigned i = 0; i < n; i++) printf("%s: %s. On Linux: %s.\n", attacks[i].name, attacks[i].what, attacks[i].natively);
    return 0;
  }
  if (argc < 2) return 2;
  if (!strcmp(argv[1], "--call-inside")) return call_inside();
  if (!strcmp(argv[1], "--patched-victim")) return patched_victim();
  if (argc > 2) seed ^= strtoull(argv[2], NULL, 10) * 0x9e3779b97f4a7c15ull;
  // Not on a host: its address space has no stub.
  if (getpid() != 1) {
    puts("to be run as the first process of a sandbox");
    return 3;
  }
  if (pipe(ask) || pipe(answer)) fail("pipe");
  pid_t w = fork();
  if (w == 0) witness();
  question("nothing");
  for (unsigned i = 0; i < n; i++)
    if (!strcmp(argv[1], attacks[i].name)) {
      attack(&attacks[i]);
      for (int q = 0; q < 20; q++) question("all");
      kill(w, SIGKILL);
      waitpid(w, NULL, 0);
      printf("ok %s\n", argv[1]);
      return 0;
    }
  return 2;
}
