/* Timers that send signals: setitimer, alarm, timer_create. */
#include "t.h"
#include <sys/times.h>

static volatile sig_atomic_t count, code, overrun;
static volatile long value;
static void note(int s, siginfo_t *i, void *u) {
    count++;
    code = i->si_code;
    overrun = i->si_overrun;
    value = i->si_value.sival_int;
}
static void on(int s) {
    struct sigaction a = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};
    OK(sigaction(s, &a, 0));
}
static void nap(int ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&t, &t)) { }
}
static void block(int s, int how) {
    sigset_t m;
    sigemptyset(&m);
    sigaddset(&m, s);
    OK(sigprocmask(how, &m, 0));
}

static int64_t us(struct timeval t) { return t.tv_sec * 1000000ll + t.tv_usec; }
static int64_t cpu_us(int clock) {
    struct timespec t;
    OK(clock_gettime(clock, &t));
    return t.tv_sec * 1000000ll + t.tv_nsec / 1000;
}
/* Has the kernel work for so many microseconds of CPU time. */
static void ask(int64_t much) {
    static char buf[65536];
    int fd = OK(open("/dev/zero", O_RDONLY));
    int64_t end = cpu_us(CLOCK_PROCESS_CPUTIME_ID) + much;
    while (cpu_us(CLOCK_PROCESS_CPUTIME_ID) < end)
        for (int i = 0; i < 500; i++) EQ(read(fd, buf, i % 8 ? 1 : sizeof buf), i % 8 ? 1 : sizeof buf);
    OK(close(fd));
}
static void compute(int64_t much) {
    int64_t end = cpu_us(CLOCK_PROCESS_CPUTIME_ID) + much;
    while (cpu_us(CLOCK_PROCESS_CPUTIME_ID) < end)
        for (volatile int i = 0; i < 1000000; i++) { }
}
CASE(cpu_time_has_a_user_and_a_system_part) {
    struct rusage r, last = {0};
    for (int round = 0; round < 20; round++) {
        round % 2 ? compute(15000) : ask(15000);
        int64_t before = cpu_us(CLOCK_PROCESS_CPUTIME_ID);
        OK(getrusage(RUSAGE_SELF, &r));
        int64_t after = cpu_us(CLOCK_PROCESS_CPUTIME_ID), both = us(r.ru_utime) + us(r.ru_stime);
        TRUE(both >= before - 20000 && both <= after + 20000);
        TRUE(us(r.ru_utime) >= us(last.ru_utime) && us(r.ru_stime) >= us(last.ru_stime));
        last = r;
    }
    TRUE(us(r.ru_stime) > 0 && us(r.ru_utime) > 30000);
    struct tms t;
    times(&t);
    TRUE(t.tms_stime + 2 >= us(r.ru_stime) / 10000 && t.tms_utime + 2 >= us(r.ru_utime) / 10000);
    unsigned long user, system;
    EQ(sscanf(strrchr(get("/proc/self/stat"), ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system), 2);
    TRUE(user + 2 >= us(r.ru_utime) / 10000 && system + 2 >= us(r.ru_stime) / 10000);
}
CASE(parents_get_both_parts_of_what_children_used) {
    pid_t c = CHILD(ask(100000); compute(50000));
    struct rusage r, all;
    int st;
    EQ(wait4(c, &st, 0, &r), c);
    EQ(st, 0);
    TRUE(us(r.ru_stime) > 0 && us(r.ru_utime) > 0);
    TRUE(us(r.ru_stime) + us(r.ru_utime) >= 140000);
    OK(getrusage(RUSAGE_CHILDREN, &all));
    EQ(us(all.ru_stime), us(r.ru_stime));
    EQ(us(all.ru_utime), us(r.ru_utime));
}
CASE(alarm_fires_once) {
    on(SIGALRM);
    EQ(alarm(0), 0);
    EQ(alarm(100), 0);
    EQ(alarm(1), 100);
    long start = now_ms();
    ERR(EINTR, pause());
    long took = now_ms() - start;
    TRUE(took >= 990 && took < 3000);
    EQ(count, 1);
    EQ(code, SI_KERNEL);
    EQ(alarm(0), 0);
}
CASE(itimer_repeats) {
    on(SIGALRM);
    struct itimerval v = {{0, 10000}, {0, 20000}}, o;
    OK(setitimer(ITIMER_REAL, &v, 0));
    OK(getitimer(ITIMER_REAL, &o));
    EQ(o.it_interval.tv_usec, 10000);
    TRUE(o.it_value.tv_usec > 0 && o.it_value.tv_usec <= 20000);
    long start = now_ms();
    while (count < 5) pause();
    TRUE(now_ms() - start >= 50);
    memset(&v, 0, sizeof v);
    OK(setitimer(ITIMER_REAL, &v, &o));
    EQ(o.it_interval.tv_usec, 10000);
    TRUE(o.it_value.tv_usec <= 10000);
    int before = count;
    nap(40);
    EQ(count, before);
}
CASE(itimer_errors) {
    struct itimerval v = {{0, 0}, {0, 1000000}}, o;
    ERR(EINVAL, setitimer(ITIMER_REAL, &v, 0));
    v.it_value = (struct timeval){-1, 0};
    ERR(EINVAL, setitimer(ITIMER_REAL, &v, 0));
    v.it_value = (struct timeval){0, 0};
    v.it_interval = (struct timeval){0, -1};
    ERR(EINVAL, setitimer(ITIMER_REAL, &v, 0));
    memset(&v, 0, sizeof v);
    ERR(EINVAL, setitimer(3, &v, 0));
    ERR(EINVAL, setitimer(-1, &v, 0));
    ERR(EINVAL, getitimer(3, &o));
    ERR(EFAULT, syscall(SYS_getitimer, ITIMER_REAL, BAD_PTR));
    ERR(EFAULT, syscall(SYS_setitimer, ITIMER_REAL, BAD_PTR, 0));
    ERR(EFAULT, syscall(SYS_setitimer, ITIMER_REAL, &v, BAD_PTR));
    for (int w = 0; w < 3; w++) {
        OK(getitimer(w, &o));
        EQ(o.it_value.tv_sec + o.it_value.tv_usec + o.it_interval.tv_sec + o.it_interval.tv_usec, 0);
    }
}
CASE(itimer_is_not_inherited) {
    struct itimerval v = {{0, 0}, {100, 0}}, o;
    OK(setitimer(ITIMER_REAL, &v, 0));
    pid_t c = CHILD(if (getitimer(ITIMER_REAL, &o) || o.it_value.tv_sec || o.it_value.tv_usec) _exit(1));
    REAP(c, 0);
    OK(getitimer(ITIMER_REAL, &o));
    TRUE(o.it_value.tv_sec == 99 || o.it_value.tv_sec == 100);
}
CASE(itimer_interrupts_computing) {
    on(SIGALRM);
    struct itimerval v = {{0, 5000}, {0, 5000}};
    OK(setitimer(ITIMER_REAL, &v, 0));
    while (count < 10) { }
}
CASE(cpu_itimer) {
    on(SIGPROF);
    struct itimerval v = {{0, 20000}, {0, 20000}};
    OK(setitimer(ITIMER_PROF, &v, 0));
    nap(100);
    TRUE(count <= 2);
    long start = now_ms();
    while (count < 5 && now_ms() - start < 10000) { }
    TRUE(count >= 5);
}
CASE(timer_signal) {
    timer_t t;
    on(SIGRTMIN);
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 9};
    OK(timer_create(CLOCK_MONOTONIC, &e, &t));
    struct itimerspec v = {{0, 0}, {0, 20000000}}, o;
    OK(timer_gettime(t, &o));
    EQ(o.it_value.tv_nsec, 0);
    OK(timer_settime(t, 0, &v, &o));
    EQ(o.it_value.tv_nsec, 0);
    OK(timer_gettime(t, &o));
    TRUE(o.it_value.tv_nsec > 0 && o.it_value.tv_nsec <= 20000000);
    ERR(EINTR, pause());
    EQ(count, 1);
    EQ(code, SI_TIMER);
    EQ(value, 9);
    EQ(overrun, 0);
    EQ(OK(timer_getoverrun(t)), 0);
    OK(timer_gettime(t, &o));
    EQ(o.it_value.tv_nsec, 0);
    OK(timer_delete(t));
    int id = (int)(long)t;
    ERR(EINVAL, syscall(SYS_timer_delete, id));
    ERR(EINVAL, syscall(SYS_timer_gettime, id, &o));
    ERR(EINVAL, syscall(SYS_timer_getoverrun, id));
    ERR(EINVAL, syscall(SYS_timer_settime, id, 0, &v, 0));
}
CASE(timer_overrun) {
    timer_t t;
    on(SIGRTMIN);
    block(SIGRTMIN, SIG_BLOCK);
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    OK(timer_create(CLOCK_MONOTONIC, &e, &t));
    struct itimerspec v = {{0, 1000000}, {0, 1000000}};
    OK(timer_settime(t, 0, &v, 0));
    nap(50);
    block(SIGRTMIN, SIG_UNBLOCK);
    TRUE(count >= 1);
    struct itimerspec off = {0};
    OK(timer_settime(t, 0, &off, 0));
    /* The first signal told of all the others. */
    EQ(OK(timer_getoverrun(t)), 0);
}
CASE(timer_overrun_is_told) {
    timer_t t;
    block(SIGRTMIN, SIG_BLOCK);
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    OK(timer_create(CLOCK_MONOTONIC, &e, &t));
    struct itimerspec v = {{0, 10000000}, {0, 10000000}};
    OK(timer_settime(t, 0, &v, 0));
    nap(105);
    sigset_t m;
    sigemptyset(&m);
    sigaddset(&m, SIGRTMIN);
    siginfo_t i;
    EQ(OK(sigwaitinfo(&m, &i)), SIGRTMIN);
    TRUE(i.si_overrun >= 9 && i.si_overrun < 100);
    EQ(OK(timer_getoverrun(t)), i.si_overrun);
    EQ(OK(sigwaitinfo(&m, &i)), SIGRTMIN);
    TRUE(i.si_overrun < 3);
}
CASE(timer_absolute) {
    timer_t t;
    on(SIGALRM);
    OK(timer_create(CLOCK_REALTIME, 0, &t));
    struct itimerspec v = {0};
    clock_gettime(CLOCK_REALTIME, &v.it_value);
    v.it_value.tv_sec -= 5;
    OK(timer_settime(t, TIMER_ABSTIME, &v, 0));
    nap(20);
    EQ(count, 1);
    EQ(value, (int)(long)t);
    clock_gettime(CLOCK_REALTIME, &v.it_value);
    v.it_value.tv_sec += 1;
    long start = now_ms();
    OK(timer_settime(t, TIMER_ABSTIME, &v, 0));
    ERR(EINTR, pause());
    TRUE(now_ms() - start >= 900);
}
CASE(timer_none) {
    timer_t t;
    struct sigevent e = {.sigev_notify = SIGEV_NONE};
    OK(timer_create(CLOCK_MONOTONIC, &e, &t));
    struct itimerspec v = {{0, 0}, {0, 30000000}}, o;
    OK(timer_settime(t, 0, &v, 0));
    OK(timer_gettime(t, &o));
    TRUE(o.it_value.tv_nsec > 0);
    nap(50);
    OK(timer_gettime(t, &o));
    EQ(o.it_value.tv_nsec, 0);
}
CASE(timer_errors) {
    int id;
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    ERR(EINVAL, syscall(SYS_timer_create, 99, &e, &id));
    ERR(EOPNOTSUPP, syscall(SYS_timer_create, CLOCK_MONOTONIC_RAW, &e, &id));
    ERR(EOPNOTSUPP, syscall(SYS_timer_create, CLOCK_REALTIME_COARSE, &e, &id));
    ERR(EFAULT, syscall(SYS_timer_create, CLOCK_MONOTONIC, BAD_PTR, &id));
    ERR(EFAULT, syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, BAD_PTR));
    e.sigev_signo = 0;
    ERR(EINVAL, syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &id));
    e.sigev_signo = 65;
    ERR(EINVAL, syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &id));
    e.sigev_signo = SIGUSR1;
    e.sigev_notify = 7;
    ERR(EINVAL, syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &id));
    e.sigev_notify = SIGEV_THREAD_ID;
    ERR(EINVAL, syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &id));
    OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, 0, &id));
    struct itimerspec v = {{0, 0}, {0, 1000000000}};
    ERR(EINVAL, syscall(SYS_timer_settime, id, 0, &v, 0));
    ERR(EINVAL, syscall(SYS_timer_settime, id, 0, 0, 0));
    ERR(EFAULT, syscall(SYS_timer_settime, id, 0, BAD_PTR, 0));
    ERR(EFAULT, syscall(SYS_timer_gettime, id, BAD_PTR));
}
static volatile pid_t who;
static void which(int s) { who = syscall(SYS_gettid); }
static void *thread(void *p) {
    int id;
    struct sigevent e = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    ((int *)&e)[4] = syscall(SYS_gettid);
    OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &id));
    struct itimerspec v = {{0, 0}, {0, 20000000}};
    OK(syscall(SYS_timer_settime, id, 0, &v, 0));
    while (!who) nap(2);
    return (void *)(long)syscall(SYS_gettid);
}
CASE(timer_of_a_thread) {
    pthread_t t;
    void *tid;
    signal(SIGUSR1, which);
    EQ(pthread_create(&t, 0, thread, 0), 0);
    pthread_join(t, &tid);
    EQ(who, (long)tid);
}
CASE(timers_and_exec) {
    struct itimerval v = {{0, 0}, {0, 200000}};
    pid_t c = CHILD(OK(setitimer(ITIMER_REAL, &v, 0)); execl("/bin/sleep", "sleep", "5", NULL); _exit(1));
    REAP_SIG(c, SIGALRM);
}
static volatile int *told;
static void tell(int signo) { ++*told; }
CASE(limits_of_cpu_time) {
    told = OK(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    struct rlimit limit = {1, 2};
    pid_t c = CHILD({
        signal(SIGXCPU, tell);
        OK(setrlimit(RLIMIT_CPU, &limit));
        while (!*told) { }
        struct rlimit now;
        OK(getrlimit(RLIMIT_CPU, &now));
        EQ(now.rlim_cur, 2);
        EQ(now.rlim_max, 2);
        for (;;) { }
    });
    /* A child has the limit, and its own time. */
    pid_t d = CHILD({
        OK(setrlimit(RLIMIT_CPU, &limit));
        pid_t e = CHILD(for (;;) { });
        REAP_SIG(e, SIGXCPU);
    });
    REAP_SIG(c, SIGKILL);
    EQ(*told, 1);
    REAP(d, 0);
}
