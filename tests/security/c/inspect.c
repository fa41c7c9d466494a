// `inspect PID`, on the host as root: what the kernel knows of each thread of a process. Lines: `TID rseq ADDRESS`,
// `TID robust ADDRESS`, `TID filter CODE JT JF K ...` (one for each seccomp filter, the newest first), `TID error WHAT`.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GET_FILTER = 0x420c, GET_RSEQ = 0x420f };
struct rseq { uint64_t pointer; uint32_t size, signature, flags, pad; };

static void filters(int tid) {
  for (long i = 0;; i++) {
    long n = ptrace(GET_FILTER, tid, i, NULL);
    if (n < 0) {
      if (errno != ENOENT || i == 0) printf("%d error filter %s\n", tid, strerror(errno));
      return;
    }
    struct sock_filter *code = calloc(n, sizeof *code);
    if (!code || ptrace(GET_FILTER, tid, i, code) != n) exit(1);
    printf("%d filter", tid);
    for (long j = 0; j < n; j++) printf(" %u %u %u %u", code[j].code, code[j].jt, code[j].jf, code[j].k);
    puts("");
    free(code);
  }
}

static void thread(int tid) {
  void *head = NULL;
  size_t len = 0;
  if (syscall(SYS_get_robust_list, tid, &head, &len)) printf("%d error robust %s\n", tid, strerror(errno));
  else printf("%d robust %p\n", tid, head);
  if (ptrace(PTRACE_SEIZE, tid, 0, 0) || ptrace(PTRACE_INTERRUPT, tid, 0, 0) || waitpid(tid, NULL, __WALL) != tid) {
    printf("%d error ptrace %s\n", tid, strerror(errno));
    return;
  }
  struct rseq rseq = {0};
  if (ptrace(GET_RSEQ, tid, sizeof rseq, &rseq) < 0) printf("%d error rseq %s\n", tid, strerror(errno));
  else printf("%d rseq %#lx\n", tid, (unsigned long)rseq.pointer);
  filters(tid);
  ptrace(PTRACE_DETACH, tid, 0, 0);
}

int main(int argc, char **argv) {
  char path[64];
  if (argc != 2) return 2;
  snprintf(path, sizeof path, "/proc/%d/task", atoi(argv[1]));
  DIR *dir = opendir(path);
  if (!dir) return 1;
  for (struct dirent *e; (e = readdir(dir));)
    if (e->d_name[0] != '.') thread(atoi(e->d_name));
  return 0;
}
