/* futex: waits, wakes, and that none gets lost. */
#include "t.h"
#include <linux/futex.h>
#include <stdatomic.h>

static long ftx(void *word, int op, int value, void *timeout, void *other, int bits) {
    return syscall(SYS_futex, word, op, value, timeout, other, bits);
}
static void *waits(void *word) {
    long r = ftx(word, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0);
    return (void *)(r ? (long)errno : 0);
}
static int asleep(int tid) {
    char path[64], line[400];
    sprintf(path, "/proc/self/task/%d/stat", tid);
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    char *ok = fgets(line, sizeof line, f);
    fclose(f);
    return ok && strstr(line, ") S");
}
struct sleeper {
    atomic_int *word;
    atomic_int tid;
    int op;
    pthread_t t;
};
static void *sleeps(void *p) {
    struct sleeper *s = p;
    s->tid = syscall(SYS_gettid);
    long r = ftx(s->word, s->op, 0, 0, 0, -1);
    return (void *)(r ? (long)errno : 0);
}
static void lay_down(struct sleeper *s, atomic_int *word, int op) {
    s->word = word;
    s->op = op;
    s->tid = 0;
    EQ(pthread_create(&s->t, 0, sleeps, s), 0);
    while (!s->tid || !asleep(s->tid)) nap_ms(1);
    nap_ms(5);
}
static long got_up(struct sleeper *s) {
    void *r;
    EQ(pthread_join(s->t, &r), 0);
    return (long)r;
}

CASE(values_and_arguments) {
    atomic_int word = 5;
    for (int i = 0; i < 20; i++) {
        ERR(EAGAIN, ftx(&word, FUTEX_WAIT_PRIVATE, 4, 0, 0, 0));
        ERR(EAGAIN, ftx(&word, FUTEX_WAIT, 4, 0, 0, 0));
        ERR(EAGAIN, ftx(&word, FUTEX_WAIT_BITSET_PRIVATE, 4, 0, 0, -1));
        ERR(EAGAIN, ftx(&word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 4, 0, 0, 1));
        ERR(EINVAL, ftx(&word, FUTEX_WAIT_BITSET_PRIVATE, 4, 0, 0, 0));
        ERR(EINVAL, ftx((char *)&word + 1, FUTEX_WAIT_PRIVATE, 4, 0, 0, 0));
        ERR(EINVAL, ftx((char *)&word + 2, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
        ERR(EFAULT, ftx(BAD_PTR, FUTEX_WAIT_PRIVATE, 4, 0, 0, 0));
        ERR(EFAULT, ftx((void *)-4096, FUTEX_WAIT_PRIVATE, 4, 0, 0, 0));
        ERR(EFAULT, ftx((void *)0x8000000000000000, FUTEX_WAIT_PRIVATE, 4, 0, 0, 0));
        ERR(EFAULT, ftx((void *)0x8000000000000000, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
        struct timespec bad = {0, 1000000000}, none = {0, 0};
        ERR(EINVAL, ftx(&word, FUTEX_WAIT_PRIVATE, 4, &bad, 0, 0));
        ERR(EFAULT, ftx(&word, FUTEX_WAIT_PRIVATE, 4, BAD_PTR, 0, 0));
        ERR(EAGAIN, ftx(&word, FUTEX_WAIT_PRIVATE, 4, &none, 0, 0));
        ERR(ETIMEDOUT, ftx(&word, FUTEX_WAIT_PRIVATE, 5, &none, 0, 0));
        EQ(ftx(&word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0), 0);
        EQ(ftx(&word, FUTEX_WAKE_PRIVATE, INT_MAX, 0, 0, 0), 0);
        EQ(ftx(&word, FUTEX_WAKE, 1, 0, 0, 0), 0);
        ERR(ENOSYS, ftx(&word, 99, 1, 0, 0, 0));
    }
}
CASE(wakes_are_counted) {
    static atomic_int word;
    struct sleeper s[3];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 20; i++) EQ(ftx(&word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0), 0);
        for (int i = 0; i < 3; i++)
            lay_down(&s[i], &word, i == 1 ? FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME : FUTEX_WAIT_PRIVATE);
        EQ(ftx(&word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0), 1);
        EQ(ftx(&word, FUTEX_WAKE_PRIVATE, 10, 0, 0, 0), 2);
        EQ(ftx(&word, FUTEX_WAKE_PRIVATE, 10, 0, 0, 0), 0);
        for (int i = 0; i < 3; i++) EQ(got_up(&s[i]), 0);
    }
}
CASE(requeued_waiters_are_woken) {
    static atomic_int word, other;
    struct sleeper s[3];
    for (int i = 0; i < 20; i++) EQ(ftx(&other, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0), 0);
    for (int i = 0; i < 3; i++) lay_down(&s[i], &word, FUTEX_WAIT_PRIVATE);
    EQ(ftx(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)5, &other, 0), 3);
    EQ(ftx(&word, FUTEX_WAKE_PRIVATE, 10, 0, 0, 0), 0);
    EQ(ftx(&other, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0), 1);
    EQ(ftx(&other, FUTEX_WAKE_PRIVATE, 10, 0, 0, 0), 1);
    for (int i = 0; i < 3; i++) EQ(got_up(&s[i]), 0);
}
static void nothing(int x) { }
CASE(interrupted_waiters_are_gone) {
    static atomic_int word;
    struct sleeper s;
    struct sigaction a = {.sa_handler = nothing};
    OK(sigaction(SIGUSR1, &a, 0));
    for (int i = 0; i < 5; i++) {
        lay_down(&s, &word, FUTEX_WAIT_PRIVATE);
        EQ(pthread_kill(s.t, SIGUSR1), 0);
        EQ(got_up(&s), EINTR);
        EQ(ftx(&word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0), 0);
        lay_down(&s, &word, FUTEX_WAIT_PRIVATE);
        EQ(ftx(&word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0), 1);
        EQ(got_up(&s), 0);
    }
}

/* A lock whose every hand-over needs the wake that is not lost. */
static atomic_int lock_word;
static long guarded;
static void take(void) {
    int c = 0;
    if (atomic_compare_exchange_strong(&lock_word, &c, 1)) return;
    if (c != 2) c = atomic_exchange(&lock_word, 2);
    while (c) {
        ftx(&lock_word, FUTEX_WAIT_PRIVATE, 2, 0, 0, 0);
        c = atomic_exchange(&lock_word, 2);
    }
}
static void give(void) {
    if (atomic_exchange(&lock_word, 0) == 2) ftx(&lock_word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}
static void *locks(void *n) {
    for (long i = 0; i < (long)n; i++) {
        take();
        guarded++;
        give();
    }
    return 0;
}
CASE(no_wake_is_lost_by_a_lock) {
    pthread_t t[4];
    for (int i = 0; i < 4; i++) EQ(pthread_create(&t[i], 0, locks, (void *)20000), 0);
    for (int i = 0; i < 4; i++) EQ(pthread_join(t[i], 0), 0);
    EQ(guarded, 80000);
}
/* Each side changes the word and wakes, whether the other waits yet or not. */
static atomic_int turn;
static void *plays(void *me) {
    for (int i = 0; i < 20000; i++) {
        int now;
        while ((now = atomic_load(&turn)) % 2 != (long)me) ftx(&turn, FUTEX_WAIT_PRIVATE, now, 0, 0, 0);
        atomic_store(&turn, now + 1);
        ftx(&turn, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
    }
    return 0;
}
CASE(no_wake_is_lost_between_two) {
    pthread_t t[2];
    for (long i = 0; i < 2; i++) EQ(pthread_create(&t[i], 0, plays, (void *)i), 0);
    for (int i = 0; i < 2; i++) EQ(pthread_join(t[i], 0), 0);
    EQ(turn, 40000);
}
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static int queued, taken, over;
static void *consumes(void *unused) {
    pthread_mutex_lock(&m);
    for (;;) {
        while (!queued && !over) pthread_cond_wait(&c, &m);
        if (!queued) break;
        queued--;
        taken++;
    }
    pthread_mutex_unlock(&m);
    return 0;
}
CASE(no_wake_is_lost_by_conditions) {
    pthread_t t[3];
    for (int i = 0; i < 3; i++) EQ(pthread_create(&t[i], 0, consumes, 0), 0);
    for (int i = 0; i < 20000; i++) {
        pthread_mutex_lock(&m);
        queued++;
        pthread_mutex_unlock(&m);
        pthread_cond_signal(&c);
    }
    pthread_mutex_lock(&m);
    over = 1;
    pthread_cond_broadcast(&c);
    pthread_mutex_unlock(&m);
    for (int i = 0; i < 3; i++) EQ(pthread_join(t[i], 0), 0);
    EQ(taken, 20000);
}
CASE(words_between_processes) {
    atomic_int *w = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    TRUE(w != MAP_FAILED);
    pid_t p = CHILD(for (int i = 0; i < 3000; i++) {
        int now;
        while ((now = atomic_load(w)) % 2 == 0) ftx(w, FUTEX_WAIT, now, 0, 0, 0);
        atomic_store(w, now + 1);
        ftx(w, FUTEX_WAKE, 1, 0, 0, 0);
    });
    for (int i = 0; i < 3000; i++) {
        int now;
        while ((now = atomic_load(w)) % 2) ftx(w, FUTEX_WAIT, now, 0, 0, 0);
        atomic_store(w, now + 1);
        ftx(w, FUTEX_WAKE, 1, 0, 0, 0);
    }
    REAP(p, 0);
}
CASE(requeue_of_negative_numbers) {
    uint32_t a = 1, b = 1;
    ERR(EINVAL, syscall(SYS_futex, &a, FUTEX_CMP_REQUEUE, -1, (void *)1, &b, 1));
    ERR(EINVAL, syscall(SYS_futex, &a, FUTEX_CMP_REQUEUE, 1, (void *)-1, &b, 1));
    ERR(EINVAL, syscall(SYS_futex, &a, FUTEX_REQUEUE, 1, (void *)-1, &b, 0));
    EQ(OK(syscall(SYS_futex, &a, FUTEX_CMP_REQUEUE, 1, (void *)1, &b, 1)), 0);
}
/* Words that the end of a thread changes, told again and again. */
static int tid_words[2];
static struct robust_list_head lists[2];
static void *ends_with_words(void *arg) {
    long tid = syscall(SYS_gettid);
    for (int i = 0; i < 20; i++) {
        EQ(syscall(SYS_set_tid_address, tid_words + 1), tid);
        OK(syscall(SYS_set_robust_list, lists + 1, sizeof *lists));
        ERR(EINVAL, syscall(SYS_set_robust_list, lists, sizeof *lists - 1));
        EQ(syscall(SYS_set_tid_address, tid_words + i % 2), tid);
        OK(syscall(SYS_set_robust_list, lists + i % 2, sizeof *lists));
        struct robust_list_head *head;
        size_t len;
        OK(syscall(SYS_get_robust_list, 0, &head, &len));
        EQ(head, lists + i % 2);
    }
    EQ(syscall(SYS_set_tid_address, tid_words), tid);
    *(long *)arg = tid;
    syscall(SYS_exit, 0);
    return NULL;
}
CASE(words_of_the_end) {
    for (int i = 0; i < 8; i++) {
        pid_t c = CHILD({
            static char stack[65536] __attribute__((aligned(16)));
            static long tid;
            tid_words[0] = tid_words[1] = 77;
            lists[0].list.next = &lists[0].list;
            lists[1].list.next = &lists[1].list;
            int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
            OK(clone((int (*)(void *))(void *)ends_with_words, stack + sizeof stack, flags, &tid));
            while (__atomic_load_n(tid_words, __ATOMIC_SEQ_CST) == 77)
                syscall(SYS_futex, tid_words, 0, 77, NULL, NULL, 0);
            EQ(tid_words[0], 0);
            EQ(tid_words[1], 77);
        });
        REAP(c, 0);
    }
}
