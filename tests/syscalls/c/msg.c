/* System V messages, and what /proc says of IPC. */
#include "t.h"
#include <sys/ipc.h>
#include <sys/msg.h>

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

struct message { long type; char text[64]; };

/* A failed check leaves by _exit: a parent that waits removes the queue. */
static int queue(void) {
    int id = (int)OK(msgget(IPC_PRIVATE, IPC_CREAT | 0600));
    pid_t p = fork();
    if (p == 0) return id;
    int st = 0;
    while (waitpid(p, &st, 0) == -1 && errno == EINTR) { }
    msgctl(id, IPC_RMID, 0);
    _exit(!WIFEXITED(st) || WEXITSTATUS(st) != 0);
}
static int post(int id, long type, const char *text, int flags) {
    struct message m = {.type = type};
    snprintf(m.text, sizeof m.text, "%s", text);
    return msgsnd(id, &m, strlen(text), flags);
}
static struct message got;
static long receive(int id, long type, int flags) {
    memset(&got, 0, sizeof got);
    return msgrcv(id, &got, sizeof got.text, type, flags);
}
static struct msqid_ds stat_of(int id) {
    struct msqid_ds ds;
    OK(msgctl(id, IPC_STAT, &ds));
    return ds;
}

CASE(messages_by_type) {
    int id = queue();
    OK(post(id, 3, "three", 0));
    OK(post(id, 1, "one", 0));
    OK(post(id, 2, "", 0));
    OK(post(id, 1, "uno", 0));
    struct msqid_ds ds = stat_of(id);
    EQ(ds.msg_qnum, 4);
    EQ(ds.__msg_cbytes, 11);
    EQ(ds.msg_lspid, getpid());
    EQ(ds.msg_lrpid, 0);
    TRUE(ds.msg_stime > 0 && ds.msg_rtime == 0);
    EQ(OK(receive(id, 2, 0)), 0);
    EQ(got.type, 2);
    EQ(OK(receive(id, -2, 0)), 3);
    STREQ(got.text, "one");
    EQ(OK(receive(id, 3, MSG_EXCEPT)), 3);
    STREQ(got.text, "uno");
    ERR(ENOMSG, receive(id, 7, IPC_NOWAIT));
    ERR(ENOMSG, receive(id, -2, IPC_NOWAIT));
    ERR(E2BIG, msgrcv(id, &got, 2, 0, 0));
    EQ(OK(msgrcv(id, &got, 2, 0, MSG_NOERROR)), 2);
    EQ(got.type, 3);
    ds = stat_of(id);
    EQ(ds.msg_qnum, 0);
    EQ(ds.__msg_cbytes, 0);
    EQ(ds.msg_lrpid, getpid());
    ERR(ENOMSG, receive(id, LONG_MIN, IPC_NOWAIT));
}
CASE(messages_are_copied) {
    int id = queue();
    OK(post(id, 3, "three", 0));
    OK(post(id, 1, "one", 0));
    errno = 0;
    long n = receive(id, 1, MSG_COPY | IPC_NOWAIT);
    if (n < 0 && errno == ENOSYS) SKIP("no MSG_COPY");
    EQ(n, 3);
    STREQ(got.text, "one");
    ERR(ENOMSG, receive(id, 2, MSG_COPY | IPC_NOWAIT));
    ERR(EINVAL, receive(id, 0, MSG_COPY));
    ERR(EINVAL, receive(id, 0, MSG_COPY | IPC_NOWAIT | MSG_EXCEPT));
    EQ(stat_of(id).msg_qnum, 2);
}
CASE(message_arguments) {
    int id = queue();
    static struct { long type; char text[9000]; } big;
    ERR(EINVAL, post(id, 0, "x", 0));
    ERR(EINVAL, post(id, -1, "x", 0));
    ERR(EINVAL, post(-1, 1, "x", 0));
    ERR(EINVAL, msgsnd(id, &big, 8193, 0));
    big.type = 1;
    ERR(EINVAL, msgsnd(id, &big, 8193, 0));
    ERR(EINVAL, msgsnd(id, &big, -1, 0));
    ERR(EFAULT, msgsnd(id, BAD_PTR, 1, 0));
    ERR(EINVAL, msgrcv(id, &big, -1, 0, 0));
    OK(msgsnd(id, &big, 8192, 0));
    OK(msgsnd(id, &big, 8192, 0));
    ERR(EAGAIN, post(id, 1, "x", IPC_NOWAIT));
    OK(post(id, 1, "", IPC_NOWAIT));
    ERR(EFAULT, msgrcv(id, BAD_PTR, 9000, 0, 0));
    EQ(stat_of(id).msg_qnum, 2);
    struct msqid_ds ds = stat_of(id);
    EQ(ds.msg_qbytes, 16384);
    ds.msg_qbytes = 100;
    ds.msg_perm.mode = 0400;
    OK(msgctl(id, IPC_SET, &ds));
    EQ(stat_of(id).msg_qbytes, 100);
    EQ(stat_of(id).msg_perm.mode, 0400);
    ds.msg_qbytes = 16385;
    if (geteuid()) {
        ERR(EPERM, msgctl(id, IPC_SET, &ds));
        ERR(EACCES, post(id, 1, "x", IPC_NOWAIT));
    } else {
        /* Not every root has the capability. */
        TRUE(msgctl(id, IPC_SET, &ds) == 0 || errno == EPERM);
    }
    ERR(EINVAL, msgctl(id, 99, &ds));
    ERR(EFAULT, msgctl(id, IPC_STAT, BAD_PTR));
    ERR(EINVAL, msgctl(-1, IPC_STAT, &ds));
    struct msginfo info;
    long highest = OK(msgctl(0, MSG_INFO, (struct msqid_ds *)&info));
    TRUE(info.msgpool >= 1 && info.msgmap >= 2);
    int found = 0;
    for (int i = 0; i <= highest; i++) found |= msgctl(i, MSG_STAT, &ds) == id;
    TRUE(found);
    OK(msgctl(0, IPC_INFO, (struct msqid_ds *)&info));
    EQ(info.msgmax, 8192);
    EQ(info.msgmnb, 16384);
    OK(msgctl(id, IPC_RMID, 0));
    ERR(EINVAL, post(id, 1, "x", 0));
}
CASE(message_keys) {
    int key = 0x44000000 | getpid();
    ERR(ENOENT, msgget(key, 0));
    int id = (int)OK(msgget(key, IPC_CREAT | IPC_EXCL | 0600));
    int again = msgget(key, 0600), excl = msgget(key, IPC_CREAT | IPC_EXCL), why = errno;
    OK(msgctl(id, IPC_RMID, 0));
    EQ(again, id);
    TRUE(excl == -1 && why == EEXIST);
    ERR(ENOENT, msgget(key, 0));
}
static void on_signal(int s) { (void)s; }
CASE(receivers_wait) {
    int id = queue();
    pid_t two = CHILD(EQ(OK(receive(id, 2, 0)), 5); STREQ(got.text, "later"));
    pid_t one = CHILD(EQ(OK(receive(id, -1, 0)), 5); STREQ(got.text, "first"));
    pid_t small = CHILD({
        struct message m;
        ERR(E2BIG, msgrcv(id, &m, 1, 3, 0));
        EQ(OK(msgrcv(id, &m, 4, 3, 0)), 4);
    });
    nap_ms(60);
    OK(post(id, 1, "first", 0));
    OK(post(id, 2, "later", 0));
    OK(post(id, 3, "long", 0));
    REAP(one, 0);
    REAP(two, 0);
    REAP(small, 0);
    EQ(stat_of(id).msg_qnum, 0);
    pid_t p = CHILD({
        struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
        OK(sigaction(SIGUSR1, &sa, 0));
        ERR(EINTR, receive(id, 0, 0));
        ERR(EIDRM, receive(id, 0, 0));
    });
    nap_ms(60);
    OK(kill(p, SIGSTOP));
    nap_ms(20);
    OK(kill(p, SIGCONT));
    nap_ms(20);
    OK(kill(p, SIGUSR1));
    nap_ms(60);
    OK(msgctl(id, IPC_RMID, 0));
    REAP(p, 0);
}
CASE(senders_wait) {
    int id = queue();
    struct msqid_ds ds = stat_of(id);
    ds.msg_qbytes = 6;
    OK(msgctl(id, IPC_SET, &ds));
    OK(post(id, 1, "12345", 0));
    pid_t p = CHILD(OK(post(id, 2, "abc", 0)));
    nap_ms(40);
    EQ(stat_of(id).msg_qnum, 1);
    OK(receive(id, 0, 0));
    REAP(p, 0);
    EQ(OK(receive(id, 0, 0)), 3);
    OK(post(id, 1, "12345", 0));
    p = CHILD(OK(post(id, 2, "abc", 0)));
    /* Whoever of them came first. */
    pid_t q = CHILD(ERR(EIDRM, post(id, 2, "abcdefgh", 0)));
    nap_ms(40);
    ds.msg_qbytes = 10;
    OK(msgctl(id, IPC_SET, &ds));
    REAP(p, 0);
    OK(msgctl(id, IPC_RMID, 0));
    REAP(q, 0);
}
CASE(proc_tells) {
    int id = queue();
    OK(post(id, 1, "12345", 0));
    TRUE(strstr(get("/proc/sysvipc/msg"), "       key      msqid perms      cbytes       qnum lspid lrpid   uid"));
    char want[100];
    snprintf(want, sizeof want, "         0 %10d   600           5          1 %5d     0 ", id, getpid());
    TRUE(strstr(get("/proc/sysvipc/msg"), want));
    TRUE(strstr(get("/proc/sysvipc/shm"), "       key      shmid perms                  size  cpid"));
    TRUE(strstr(get("/proc/sysvipc/sem"), "       key      semid perms      nsems   uid"));
    STREQ(get("/proc/sys/kernel/msgmax"), "8192\n");
    STREQ(get("/proc/sys/kernel/msgmnb"), "16384\n");
    STREQ(get("/proc/sys/kernel/shmmax"), "18446744073692774399\n");
    STREQ(get("/proc/sys/kernel/shmmni"), "4096\n");
    STREQ(get("/proc/sys/kernel/shm_rmid_forced"), "0\n");
    int a = 0, b = 0, c = 0, d = 0;
    EQ(sscanf(get("/proc/sys/kernel/sem"), "%d\t%d\t%d\t%d", &a, &b, &c, &d), 4);
    EQ(a, 32000);
    EQ(c, 500);
}
