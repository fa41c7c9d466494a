"""Drives programs through a pseudoterminal and prints what it saw, for terminal.rs.

    terminal.py list                    names of the scenarios, with the programs they need
    terminal.py run NAME PREFIX...      runs one; PREFIX is put in front of the program

In a scenario a string is typed, a pair is typed and then its pattern awaited, a number
is waited (in seconds), and a tuple of two numbers is a new window size (rows, columns).
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

BASH = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
P = r"\$ $"
INTERRUPT, SUSPEND, END, QUIT = "\x03", "\x1a", "\x04", "\x1c"

JOBS = [
    ("", P),
    ("sleep 100\n", r"sleep 100\r\n"), 0.5, (SUSPEND, r"Stopped[^$]*" + P),
    ("jobs\n", r"Stopped[^$]*" + P), ("bg\n", P), ("jobs\n", r"Running[^$]*" + P),
    ("fg\n", r"fg\r\nsleep 100 *\r\n"), 0.5, (INTERRUPT, P), ("echo $?\n", r"130[^$]*" + P),
    ("sleep 0.2 &\n", P), ("wait\n", P),
    ("cat\n", "cat\r\n"), 0.3, ("hello\n", "hello\r\nhello\r\n"), (END, P),
    ("sleep 100 | cat\n", "cat\r\n"), 0.5, (SUSPEND, r"Stopped[^$]*" + P), ("fg\n", r"fg\r\n.*cat\r\n"), 0.3, (INTERRUPT, P),
    ("exit 3\n", None),
]
# What runs outside of the sandbox is $RUN away from the program.
OUTER = [
    ("", P), ("set +H\n", P),
    ("$RUN sleep 100\n", r"100\r\n"), 1, (SUSPEND, r"Stopped[^$]*\$RUN[^$]*" + P),
    ("fg\n", r"fg\r\n.*sleep 100\r\n"), 0.5, (INTERRUPT, P), ("echo $?\n", r"130[^$]*" + P),
    # It reads the terminal when the prompt is there: else either may come first.
    ("$RUN sh -c 'sleep 0.5; cat' &\n", P), 2, ("\n", r"Stopped[^$]*\$RUN[^$]*" + P), ("fg\n", r"cat'\r\n"),
    0.3, ("line\n", r"line\r\nline\r\n"), (END, P),
    ("$RUN sh -c 'sleep 100; echo no'\n", r"no'\r\n"), 1, (INTERRUPT, P),
    ("echo $?\n", r"130[^$]*" + P),
    ("$RUN sleep 100\n", r"100\r\n"), 1, (QUIT, r"Quit.*\r\n.*" + P), ("echo $?\n", r"131[^$]*" + P),
    ("$RUN bash -c 'trap \"echo caught\" INT; sleep 1; echo end'\n", r"end'\r\n"), 0.6,
    (INTERRUPT, r"end\r\n.*" + P),
    ("$RUN sleep 1 & wait\n", r"Done[^$]*\$RUN[^$]*" + P),
    ("exit\n", None),
]
PYTHON_PTYS = r"""
import os, pty, select, termios, tty
ends = [pty.openpty() for _ in range(5)]
print(len({os.ttyname(s) for _, s in ends}), all(os.isatty(s) for _, s in ends))
for i, (m, s) in enumerate(ends):
    os.write(m, b"line %d\n" % i); assert os.read(s, 99) == b"line %d\n" % i
    assert os.read(m, 99) == b"line %d\r\n" % i
    tty.setraw(s); os.write(m, b"x"); assert os.read(s, 9) == b"x"
    os.write(s, b"a\nb"); assert os.read(m, 9) == b"a\nb"
pid, fd = pty.fork()
if pid == 0: os.execvp("sh", ["sh", "-c", "test -t 0 && tty >/dev/null && read x && echo got $x"])
os.write(fd, b"word\n"); out = b""
while b"got" not in out: out += os.read(fd, 99)
print(out.decode().split(), os.waitpid(pid, 0)[1])
for m, s in ends: os.close(m); os.close(s)
print(sorted(n for n in os.listdir("/dev/pts") if n == "ptmx"))
""".strip()

# name: (program, what it needs, steps)
SCENARIOS = {
    "bash_jobs": (BASH, "bash", JOBS),
    "dash_jobs": (["dash", "-i"], "dash", [
        ("", P), ("sleep 100\n", r"100\r\n"), 0.5, (SUSPEND, r"Stopped[^$]*" + P),
        ("jobs\n", r"Stopped[^$]*" + P), ("bg\n", P), ("fg\n", r"fg\r\nsleep 100\r\n"), 0.5,
        (INTERRUPT, P), ("echo $?\n", r"130[^$]*" + P), ("exit 4\n", None)]),
    "outer_jobs": (BASH, "bash", OUTER),
    "window": (BASH, "bash", [
        ("", P), ("stty size\n", r"24 80\r\n.*" + P),
        ("trap 'stty size' WINCH; echo set\n", r"set\r\n.*" + P), (40, 100), 0.5,
        ("\n", r"40 100\r\n(.*\n)*.*" + P), ("tput cols; tput lines; tput colors\n", P),
        ("exit\n", None)]),
    "modes": (BASH, "bash", [
        ("", P), ("stty -a | sed 's/speed.*baud;//'\n", r"extproc\r\n.*" + P),
        ("old=$(stty -g); stty raw -echo; dd bs=1 count=3 2>/dev/null | od -c; stty $old; echo ok\n",
         r"echo ok\r\n"), 0.5, ("a\x03b", r"ok\r\n.*" + P),
        ("stty -echo; read x; stty echo; echo \"<$x>\"\n", r">\"\r\n"), 0.3, ("unseen\n", r"<unseen>\r\n.*" + P),
        ("read -t 0.2 x; echo $?\n", r"142\r\n.*" + P),
        ("stty intr ^A\n", P), ("sleep 50\n", "50\r\n"), 0.4, ("\x01", P), ("exit\n", None)]),
    "script": (BASH, "script", [
        ("", P), ("script -qc 'test -t 0 && stty size && echo inside' /dev/null\n", r"inside\r\n.*" + P),
        ("exit\n", None)]),
    "less": (BASH, "less", [
        ("", P), ("seq 1000 | LESS= less\n", r":$|:\x1b\[K$"), (" ", r"46\r\n(.*\n)*.*:\x1b\[K$|46\r\n:$"),
        ("/777\n", r"777(.|\n)*:\x1b\[K$"), ("q", P), ("exit\n", None)]),
    "vim": (["vim", "-u", "NONE", "-i", "NONE", "-N", "/tmp/chitin-vim-test"], "vim", [
        1.0, ("ihello", "hello"), ("\x1b", None), 0.3, (":q!\n", None)]),
    "tmux": (["sh"], "tmux", [
        ("", r"[$#] $"),
        ("TMUX_TMPDIR=/tmp tmux -L chitin-$$ -f /dev/null new-session 'echo in-$((6*7)); read x; echo got-$x; sleep 0.5'\n",
         r"in-42"), ("word\n", r"got-word"), ("", r"exited\]\r\n"), ("exit\n", None)]),
    "python_ptys": (["python3", "-c", PYTHON_PTYS], "python3", [("", None)]),
}
LIMIT = 15.0
# Screens are redrawn as time goes: only that the patterns came is compared.
UNSTEADY = {"less", "vim", "tmux"}


def drive(name, prefix):
    argv, _, steps = SCENARIOS[name]
    outer = name == "outer_jobs"
    os.environ.update(PS1="$ ", PS2="> ", RUN=" ".join(prefix) if outer else "", TERM="xterm")
    argv = argv if outer else prefix + argv
    pid, fd = pty.fork()
    if pid == 0:
        # Whoever started the tests in the background may have had these ignored.
        for signo in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
            signal.signal(signo, signal.SIG_DFL)
        os.execvp(argv[0], argv)
    set_size(fd, 24, 80)
    seen, mark, failed = "", 0, None
    for step in steps:
        if isinstance(step, (int, float)):
            seen += read_for(fd, step)
            continue
        if isinstance(step[0], int):
            set_size(fd, *step)
            continue
        typed, pattern = step
        mark = len(seen)
        if typed:
            os.write(fd, typed.encode())
        if pattern is None:
            seen += read_for(fd, 0.1)
            continue
        end = time.monotonic() + LIMIT
        while not re.search(pattern, seen[mark:]):
            more = read_for(fd, 0.05)
            seen += more
            if time.monotonic() > end or (more == "" and ended(pid)):
                failed = f"after {typed!r} no {pattern!r}"
                break
        if failed:
            break
    end = time.monotonic() + LIMIT
    while failed is None and time.monotonic() < end:
        more = read_for(fd, 0.1)
        seen += more
        if not more and ended(pid):
            break
    status = STATUS.get(pid)
    if status is None:
        os.kill(pid, signal.SIGKILL)
        failed = failed or "it did not end"
    # Numbers of jobs' processes differ.
    seen = re.sub(r"\[(\d)\] \d+", r"[\1] PID", seen)
    if name not in UNSTEADY or failed:
        sys.stdout.write(seen.replace("\r\n", "\n").replace("\x1b", "^["))
    print(f"\n{name}: {failed or 'seen to the end'}, status {status}")
    return 1 if failed else 0


STATUS = {}


def ended(pid):
    if pid not in STATUS:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            STATUS[pid] = os.waitstatus_to_exitcode(status)
    return pid in STATUS


def set_size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def read_for(fd, seconds):
    out, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if not select.select([fd], [], [], left)[0]:
            break
        try:
            more = os.read(fd, 65536)
        except OSError:
            more = b""
        if not more:
            time.sleep(min(left, 0.02))
            break
        out += more
    return out.decode(errors="replace")


if __name__ == "__main__":
    if sys.argv[1] == "list":
        for name, (_, needs, _) in SCENARIOS.items():
            print(name, needs)
    else:
        sys.exit(drive(sys.argv[2], sys.argv[3:]))
