/* Requests to terminals. */
#include "t.h"
#include <asm/termbits.h>
struct short_termio {
    unsigned short iflag, oflag, cflag, lflag;
    unsigned char line, cc[8];
};
CASE(short_termio) {
    int master = OK(posix_openpt(O_RDWR | O_NOCTTY));
    int unlock = 0;
    OK(ioctl(master, TIOCSPTLCK, &unlock));
    int fd = OK(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY));
    struct short_termio t;
    struct termios full, again;
    OK(ioctl(fd, TCGETS, &full));
    OK(ioctl(fd, TCGETA, &t));
    EQ(t.iflag, full.c_iflag & 0xffff);
    EQ(t.oflag, full.c_oflag & 0xffff);
    EQ(t.cflag, full.c_cflag & 0xffff);
    EQ(t.lflag, full.c_lflag & 0xffff);
    EQ(memcmp(t.cc, full.c_cc, 8), 0);
    t.lflag &= ~ECHO;
    t.cc[VINTR] = 7;
    OK(ioctl(fd, TCSETA, &t));
    OK(ioctl(fd, TCGETS, &again));
    EQ(again.c_lflag, full.c_lflag & ~ECHO);
    EQ(again.c_cc[VINTR], 7);
    EQ(memcmp(again.c_cc + 8, full.c_cc + 8, 11), 0);
    OK(write(master, "x\n", 2));
    struct pollfd ready = {fd, POLLIN};
    EQ(OK(poll(&ready, 1, 5000)), 1);
    OK(ioctl(fd, TCSETAW, &t));
    int left = -1;
    OK(ioctl(fd, FIONREAD, &left));
    EQ(left, 2);
    OK(ioctl(fd, TCSETAF, &t));
    OK(ioctl(fd, FIONREAD, &left));
    EQ(left, 0);
    ERR(EFAULT, ioctl(fd, TCGETA, BAD_PTR));
    ERR(EFAULT, ioctl(fd, TCSETA, NULL));
    ERR(ENOTTY, ioctl(OK(open(".", O_RDONLY)), TCGETA, &t));
}
CASE(breaks_are_sent_to_nobody) {
    int master = OK(posix_openpt(O_RDWR | O_NOCTTY));
    int unlock = 0;
    OK(ioctl(master, TIOCSPTLCK, &unlock));
    int ends[] = {master, OK(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY))};
    for (int i = 0; i < 2; i++) {
        EQ(OK(ioctl(ends[i], TCSBRK, 0)), 0);
        EQ(OK(ioctl(ends[i], TCSBRK, 1)), 0);
        EQ(OK(ioctl(ends[i], TCSBRKP, 3)), 0);
        EQ(OK(ioctl(ends[i], TIOCSBRK, 0)), 0);
        EQ(OK(ioctl(ends[i], TIOCCBRK, 0)), 0);
    }
    ERR(ENOTTY, ioctl(OK(open(".", O_RDONLY)), TCSBRKP, 0));
}
