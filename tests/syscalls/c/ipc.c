/* System V shared memory and semaphores. What is made is removed, by failing cases too where they can. */
#include "t.h"
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>

enum { PAGE = 4096 };

/* A failed check leaves by _exit: a parent that waits removes what there is. */
static void guard(int kind, int id) {
    pid_t p = fork();
    if (p == 0) return;
    int st = 0;
    while (waitpid(p, &st, 0) == -1 && errno == EINTR) { }
    if (kind == 0) shmctl(id, IPC_RMID, 0);
    if (kind == 1) semctl(id, 0, IPC_RMID);
    _exit(!WIFEXITED(st) || WEXITSTATUS(st) != 0);
}
static int segment(size_t size) {
    int id = (int)OK(shmget(IPC_PRIVATE, size, IPC_CREAT | 0600));
    guard(0, id);
    return id;
}
static int set_of(int count) {
    int id = (int)OK(semget(IPC_PRIVATE, count, IPC_CREAT | 0600));
    guard(1, id);
    return id;
}
static int own_key(int n) { return 0x43000000 | (getpid() & 0xffff) << 4 | n; }
static long attached(int id) {
    struct shmid_ds ds;
    OK(shmctl(id, IPC_STAT, &ds));
    return (long)ds.shm_nattch;
}
static int op(int id, int num, int n, int flags) {
    struct sembuf b = {(unsigned short)num, (short)n, (short)flags};
    return semop(id, &b, 1);
}
/* Until as many wait for a semaphore. */
static void until(int id, int num, int cmd, int count) {
    for (int i = 0; i < 500 && semctl(id, num, cmd) != count; i++) nap_ms(5);
    EQ(semctl(id, num, cmd), count);
}

CASE(shm_is_shared_and_counted) {
    int id = segment(3 * PAGE - 10);
    struct shmid_ds ds;
    OK(shmctl(id, IPC_STAT, &ds));
    EQ(ds.shm_segsz, 3 * PAGE - 10);
    EQ(ds.shm_nattch, 0);
    EQ(ds.shm_atime, 0);
    EQ(ds.shm_cpid, getppid());
    EQ(ds.shm_perm.mode, 0600);
    EQ(ds.shm_perm.uid, geteuid());
    TRUE(ds.shm_ctime > 0);
    char *at = (char *)OK(shmat(id, 0, 0));
    EQ(at[2 * PAGE], 0);
    EQ(at[3 * PAGE - 1], 0);
    EQ(attached(id), 1);
    char *again = (char *)OK(shmat(id, 0, SHM_RDONLY));
    EQ(attached(id), 2);
    strcpy(at, "seen");
    STREQ(again, "seen");
    pid_t p = CHILD({
        EQ(attached(id), 4);
        OK(shmdt(again));
        EQ(attached(id), 3);
        strcpy(at + PAGE, "child");
    });
    REAP(p, 0);
    EQ(attached(id), 2);
    STREQ(again + PAGE, "child");
    OK(shmdt(at));
    ERR(EINVAL, shmdt(at));
    ERR(EINVAL, shmdt(again + PAGE));
    EQ(attached(id), 1);
    OK(munmap(again, 3 * PAGE));
    EQ(attached(id), 0);
    OK(shmctl(id, IPC_STAT, &ds));
    EQ(ds.shm_lpid, getpid());
    TRUE(ds.shm_dtime >= ds.shm_atime && ds.shm_atime > 0);
}
CASE(shm_goes_with_its_last_attachment) {
    int id = segment(PAGE);
    char *at = (char *)OK(shmat(id, 0, 0));
    *at = 5;
    OK(shmctl(id, IPC_RMID, 0));
    struct shmid_ds ds;
    OK(shmctl(id, IPC_STAT, &ds));
    EQ(ds.shm_perm.mode, 01600);
    EQ(ds.shm_perm.__key, IPC_PRIVATE);
    /* It can still be attached. */
    char *again = (char *)OK(shmat(id, 0, 0));
    EQ(*again, 5);
    OK(shmdt(again));
    pid_t p = CHILD({
        EQ(attached(id), 2);
        EQ(*at, 5);
        execl("/bin/true", "true", (char *)0);
    });
    REAP(p, 0);
    EQ(attached(id), 1);
    OK(shmdt(at));
    ERR(EINVAL, shmctl(id, IPC_STAT, &ds));
    ERR(EINVAL, shmat(id, 0, 0));
}
CASE(shm_places) {
    int id = segment(2 * PAGE);
    char *room = (char *)OK(mmap(0, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    OK(munmap(room + 4 * PAGE, 4 * PAGE));
    ERR(EINVAL, shmat(id, room, 0));
    ERR(EINVAL, shmat(id, room + 4 * PAGE + 8, 0));
    ERR(EINVAL, shmat(id, 0, SHM_REMAP));
    ERR(EINVAL, shmat(id, (void *)8, SHM_REMAP | SHM_RND));
    EQ(OK(shmat(id, room + 4 * PAGE + 8, SHM_RND)), (long)(room + 4 * PAGE));
    ERR(EINVAL, shmat(id, room + 3 * PAGE, 0));
    EQ(OK(shmat(id, room + PAGE, SHM_REMAP)), (long)(room + PAGE));
    EQ(attached(id), 2);
    room[4 * PAGE] = 7;
    EQ(room[PAGE], 7);
    /* The areas that are left of it. */
    OK(munmap(room + 4 * PAGE, PAGE));
    EQ(attached(id), 2);
    ERR(EINVAL, shmdt(room + 5 * PAGE));
    OK(shmdt(room + 4 * PAGE));
    EQ(attached(id), 1);
    char *ro = (char *)OK(shmat(id, 0, SHM_RDONLY));
    ERR(EACCES, mprotect(ro, PAGE, PROT_READ | PROT_WRITE));
    if (getuid()) ERR(EACCES, shmat(id, 0, SHM_EXEC));
    struct shmid_ds ds;
    OK(shmctl(id, IPC_STAT, &ds));
    ds.shm_perm.mode = 0700;
    OK(shmctl(id, IPC_SET, &ds));
    OK(shmat(id, 0, SHM_EXEC));
    char line[40];
    snprintf(line, sizeof line, "/SYSV00000000 (deleted)");
    TRUE(strstr(get("/proc/self/maps"), line));
}
CASE(shm_keys) {
    int key = own_key(1);
    ERR(ENOENT, shmget(key, PAGE, 0));
    ERR(EINVAL, shmget(key, 0, IPC_CREAT | 0600));
    int id = (int)OK(shmget(key, PAGE, IPC_CREAT | 0640));
    guard(0, id);
    EQ(shmget(key, 100, 0), id);
    EQ(shmget(key, 0, IPC_CREAT), id);
    ERR(EINVAL, shmget(key, PAGE + 1, 0));
    ERR(EEXIST, shmget(key, PAGE, IPC_CREAT | IPC_EXCL));
    struct shmid_ds ds;
    OK(shmctl(id, IPC_STAT, &ds));
    EQ(ds.shm_perm.__key, key);
    ds.shm_perm.mode = 0400;
    OK(shmctl(id, IPC_SET, &ds));
    OK(shmctl(id, IPC_STAT, &ds));
    EQ(ds.shm_perm.mode, 0400);
    if (getuid() == 0) {
        pid_t p = CHILD({
            OK(setresgid(1000, 1000, 1000));
            OK(setresuid(1000, 1000, 1000));
            ERR(EACCES, shmat(id, 0, SHM_RDONLY));
            ERR(EACCES, shmctl(id, IPC_STAT, &ds));
            ERR(EPERM, shmctl(id, IPC_SET, &ds));
            ERR(EPERM, shmctl(id, IPC_RMID, 0));
            ERR(EACCES, shmget(key, 0, 0600));
            EQ(shmget(key, 0, 0), id);
        });
        REAP(p, 0);
    } else {
        ERR(EACCES, shmat(id, 0, 0));
        OK(shmat(id, 0, SHM_RDONLY));
    }
    OK(shmctl(id, IPC_RMID, 0));
    ERR(ENOENT, shmget(key, 0, 0));
}
CASE(shm_bad_arguments) {
    struct shmid_ds ds;
    int id = segment(PAGE);
    ERR(EINVAL, shmat(-1, 0, 0));
    ERR(EINVAL, shmctl(-1, IPC_STAT, &ds));
    ERR(EINVAL, shmctl(id, 99, &ds));
    ERR(EFAULT, shmctl(id, IPC_STAT, BAD_PTR));
    ERR(EFAULT, shmctl(id, IPC_SET, BAD_PTR));
    ERR(EINVAL, shmdt((void *)8));
    ERR(EINVAL, shmdt((void *)(long)PAGE));
    struct shminfo info;
    TRUE(OK(shmctl(0, IPC_INFO, (struct shmid_ds *)&info)) >= 0);
    EQ(info.shmmin, 1);
    EQ(info.shmmni, 4096);
    EQ(info.shmmax, 18446744073692774399ul);
    struct shm_info used;
    long highest = OK(shmctl(0, SHM_INFO, (struct shmid_ds *)&used));
    TRUE(used.used_ids >= 1 && used.shm_tot >= 1);
    int found = 0;
    for (int i = 0; i <= highest; i++) found |= shmctl(i, SHM_STAT, &ds) == id;
    TRUE(found);
    OK(shmctl(id, SHM_LOCK, 0));
    OK(shmctl(id, IPC_STAT, &ds));
    EQ(ds.shm_perm.mode, 02600);
    OK(shmctl(id, SHM_UNLOCK, 0));
    OK(shmctl(id, IPC_STAT, &ds));
    EQ(ds.shm_perm.mode, 0600);
}
CASE(shm_futex) {
    /* A word of a segment is the same to all. */
    int id = segment(PAGE);
    volatile int *a = (int *)OK(shmat(id, 0, 0)), *b = (int *)OK(shmat(id, 0, 0));
    pid_t p = CHILD({
        nap_ms(30);
        *b = 1;
        for (int i = 0; i < 400 && syscall(SYS_futex, b, 1, 1, 0, 0, 0) == 0; i++) nap_ms(5);
    });
    while (*a == 0) syscall(SYS_futex, a, 0, 0, 0, 0, 0);
    REAP(p, 0);
}

CASE(sem_values) {
    int id = set_of(3);
    struct semid_ds ds;
    OK(semctl(id, 0, IPC_STAT, &ds));
    EQ(ds.sem_nsems, 3);
    EQ(ds.sem_otime, 0);
    OK(semctl(id, 1, SETVAL, 7));
    EQ(semctl(id, 1, GETVAL), 7);
    EQ(semctl(id, 1, GETPID), getpid());
    ERR(EINVAL, semctl(id, 3, GETVAL));
    ERR(EINVAL, semctl(id, -1, SETVAL, 1));
    ERR(ERANGE, semctl(id, 0, SETVAL, 32768));
    ERR(ERANGE, semctl(id, 0, SETVAL, -1));
    unsigned short in[3] = {1, 2, 3}, out[3];
    OK(semctl(id, 0, SETALL, in));
    OK(semctl(id, 0, GETALL, out));
    EQ(memcmp(in, out, sizeof in), 0);
    in[2] = 40000;
    ERR(ERANGE, semctl(id, 0, SETALL, in));
    ERR(EFAULT, semctl(id, 0, SETALL, BAD_PTR));
    ERR(EFAULT, semctl(id, 0, GETALL, BAD_PTR));
    ERR(EINVAL, semctl(id, 0, 99, 0));
    struct seminfo info;
    OK(semctl(0, 0, IPC_INFO, &info));
    EQ(info.semvmx, 32767);
    EQ(info.semopm, 500);
    long highest = OK(semctl(0, 0, SEM_INFO, &info));
    TRUE(info.semusz >= 1 && info.semaem >= 3);
    int found = 0;
    for (int i = 0; i <= highest; i++) found |= semctl(i, 0, SEM_STAT, &ds) == id;
    TRUE(found);
    ds.sem_perm.mode = 0200;
    OK(semctl(id, 0, IPC_SET, &ds));
    if (getuid()) ERR(EACCES, semctl(id, 0, GETVAL));
    OK(op(id, 0, 1, 0));
    OK(semctl(id, 0, IPC_RMID));
    ERR(EINVAL, semctl(id, 0, GETVAL));
    ERR(EINVAL, op(id, 0, 1, 0));
}
CASE(sem_keys) {
    int key = own_key(2);
    ERR(ENOENT, semget(key, 1, 0));
    ERR(EINVAL, semget(key, 0, IPC_CREAT | 0600));
    ERR(EINVAL, semget(key, -1, IPC_CREAT | 0600));
    ERR(EINVAL, semget(key, 32001, IPC_CREAT | 0600));
    int id = (int)OK(semget(key, 2, IPC_CREAT | 0600));
    guard(1, id);
    EQ(semget(key, 0, 0), id);
    EQ(semget(key, 2, IPC_CREAT), id);
    ERR(EINVAL, semget(key, 3, 0));
    ERR(EEXIST, semget(key, 2, IPC_CREAT | IPC_EXCL));
    OK(semctl(id, 0, IPC_RMID));
    ERR(ENOENT, semget(key, 0, 0));
}
CASE(sem_operations_are_atomic) {
    int id = set_of(2);
    OK(op(id, 0, 2, 0));
    struct sembuf both[2] = {{0, -1, IPC_NOWAIT}, {1, -1, IPC_NOWAIT}};
    ERR(EAGAIN, semop(id, both, 2));
    EQ(semctl(id, 0, GETVAL), 2);
    ERR(EAGAIN, op(id, 0, 0, IPC_NOWAIT));
    ERR(ERANGE, op(id, 0, 32766, 0));
    ERR(EFBIG, op(id, 2, 1, 0));
    ERR(EINVAL, semop(id, both, 0));
    ERR(E2BIG, semop(id, both, 501));
    ERR(EFAULT, semop(id, BAD_PTR, 1));
    ERR(EINVAL, semop(-1, both, 1));
    struct timespec bad = {0, 1000000000}, soon = {0, 20000000};
    ERR(EINVAL, semtimedop(id, both, 1, &bad));
    ERR(EFAULT, semtimedop(id, both, 1, BAD_PTR));
    struct sembuf wait = {1, -1, 0};
    int64_t before = now_ms();
    ERR(EAGAIN, semtimedop(id, &wait, 1, &soon));
    TRUE(now_ms() - before >= 20);
    EQ(semctl(id, 1, GETNCNT), 0);
}
CASE(sem_waiters_in_order) {
    int id = set_of(3);
    pid_t big = CHILD({
        struct sembuf b[2] = {{0, -3, 0}, {1, 1, 0}};
        OK(semop(id, b, 2));
    });
    until(id, 0, GETNCNT, 1);
    pid_t zero = CHILD(OK(op(id, 1, 0, 0)); OK(op(id, 2, -1, 0)); OK(op(id, 1, 0, 0)));
    until(id, 2, GETNCNT, 1);
    OK(op(id, 0, 2, 0));
    EQ(semctl(id, 0, GETVAL), 2);
    OK(op(id, 0, 1, 0));
    REAP(big, 0);
    EQ(semctl(id, 0, GETVAL), 0);
    EQ(semctl(id, 1, GETVAL), 1);
    OK(op(id, 2, 1, 0));
    until(id, 1, GETZCNT, 1);
    EQ(semctl(id, 1, GETPID), big);
    OK(semctl(id, 1, SETVAL, 0));
    REAP(zero, 0);
}
static void on_alarm(int s) { (void)s; }
CASE(sem_waits_end) {
    int id = set_of(1);
    pid_t p = CHILD(ERR(EIDRM, op(id, 0, -1, 0)));
    pid_t killed = CHILD(op(id, 0, -1, 0));
    pid_t q = CHILD({
        struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
        OK(sigaction(SIGUSR1, &sa, 0));
        ERR(EINTR, op(id, 0, -1, 0));
    });
    until(id, 0, GETNCNT, 3);
    OK(kill(killed, SIGKILL));
    REAP_SIG(killed, SIGKILL);
    until(id, 0, GETNCNT, 2);
    OK(kill(q, SIGUSR1));
    REAP(q, 0);
    until(id, 0, GETNCNT, 1);
    OK(semctl(id, 0, IPC_RMID));
    REAP(p, 0);
}
static void *take_two(void *arg) {
    OK(op(*(int *)arg, 1, -2, SEM_UNDO));
    return 0;
}
CASE(sem_undo) {
    int id = set_of(3);
    unsigned short all[3] = {5, 5, 5};
    OK(semctl(id, 0, SETALL, all));
    pid_t p = CHILD({
        OK(op(id, 0, -2, SEM_UNDO));
        OK(op(id, 0, 1, SEM_UNDO));
        /* What a thread has done is undone with the process. */
        pthread_t t;
        pthread_create(&t, 0, take_two, &id);
        pthread_join(t, 0);
        EQ(semctl(id, 1, GETVAL), 3);
        OK(op(id, 2, -1, SEM_UNDO));
        OK(semctl(id, 2, SETVAL, 9));
        /* A child has nothing to undo. */
        pid_t c = CHILD((void)0);
        REAP(c, 0);
        EQ(semctl(id, 0, GETVAL), 4);
        execl("/bin/sleep", "sleep", "0.05", (char *)0);
    });
    nap_ms(20);
    REAP(p, 0);
    OK(semctl(id, 0, GETALL, all));
    EQ(all[0], 5);
    EQ(all[1], 5);
    EQ(all[2], 9);
    EQ(semctl(id, 0, GETPID), p);
    /* The end of a process lets others go on. */
    OK(semctl(id, 0, SETVAL, 1));
    p = CHILD(OK(op(id, 0, -1, SEM_UNDO)); nap_ms(40));
    for (int i = 0; i < 500 && semctl(id, 0, GETVAL); i++) nap_ms(2);
    OK(op(id, 0, -1, 0));
    REAP(p, 0);
    EQ(semctl(id, 0, GETVAL), 0);
    /* And so does leaving the list. */
    OK(op(id, 0, 3, SEM_UNDO));
    OK(syscall(SYS_unshare, 0x40000));
    EQ(semctl(id, 0, GETVAL), 0);
}
