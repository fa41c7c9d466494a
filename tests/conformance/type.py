"""Runs a program in a pseudoterminal of 24 lines and 80 columns: waits for what must appear, types, and so on.

type.py EXPECT TYPE EXPECT ... -- PROGRAM ARGUMENT...

What is typed has Python's escapes; an expectation is a regular expression that is looked for in what came since the
last typing; an empty one waits for a moment of silence. The exit status is 0 if all appeared and the program ended.
"""

import codecs
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

PATIENCE = 30.0
SILENCE = 0.3

split = sys.argv.index("--")
steps, program = sys.argv[1:split], sys.argv[split + 1 :]
pid, master = pty.fork()
if pid == 0:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)
    os.environ["TERM"] = "xterm"
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.execvp(program[0], program)

seen = b""
everything = b""


def read(wait):
    """Reads what comes; false at the end of the program, None if nothing came in time."""
    global seen, everything
    ready, _, _ = select.select([master], [], [], max(wait, 0))
    if not ready:
        return None
    try:
        data = os.read(master, 65536)
    except OSError:
        return False
    seen += data
    everything += data
    return bool(data)


def plain(data):
    """What is shown, without the sequences that move the cursor and set colours."""
    return re.sub(rb"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[()][A-Z0-9]|[=>78M])", b"", data)


def expect(pattern):
    end = time.monotonic() + PATIENCE
    while True:
        if pattern and re.search(pattern.encode(), plain(seen), re.S):
            return True
        got = read(SILENCE if not pattern else end - time.monotonic())
        if got is None or got is False:
            return not pattern or bool(re.search(pattern.encode(), plain(seen), re.S))


def give_up(why):
    print(f"{why}; the terminal showed {everything[-1500:]!r}")
    os.kill(pid, 9)
    sys.exit(1)


for number, step in enumerate(steps):
    if number % 2:
        seen = b""
        os.write(master, codecs.decode(step, "unicode_escape").encode("latin-1"))
    elif not expect(step):
        give_up(f"step {number}: {step!r} did not appear")

end = time.monotonic() + PATIENCE
while read(min(end - time.monotonic(), 1)) is not False:
    if time.monotonic() > end:
        give_up("the program does not end")
_, status = os.waitpid(pid, 0)
print("as expected, status", os.waitstatus_to_exitcode(status))
