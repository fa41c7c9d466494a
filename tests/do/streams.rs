//! Streams, signals, statuses and what else a program inherits: as if `chitin do --` were not there.

use crate::{Case, same};

const SCRIPTS: &[(&str, &str)] = &[
    (
        "position_is_shared",
        "seq 9 > f; (chitin=1; $RUN head -n2; echo -; cat) < f; $RUN sh -c 'head -n1; echo -; tail -n2' < f",
    ),
    (
        "position_of_output",
        "($RUN echo a; echo b; $RUN sh -c 'echo c; echo d'; echo e) > o; cat o; echo x >> o; $RUN sh -c 'echo y; echo z >&2' >> o 2>&1; cat o",
    ),
    (
        "seeks",
        "seq 1000 > f; $RUN python3 -c 'import os; os.lseek(0, 100, 0); print(os.read(0, 4), os.pread(0, 4, 0), os.lseek(0, 0, 1)); os.lseek(1, 0, 2)' < f > o; cat o; $RUN dd bs=1 skip=10 count=5 status=none < f; echo abcdef > g; printf XY | $RUN dd of=/dev/stdout conv=notrunc status=none 1<> g; cat g",
    ),
    (
        "closed",
        "$RUN sh -c 'cat' <&-; echo $?; $RUN sh -c 'echo hi' >&-; echo $?; $RUN sh -c 'echo hi >&2; exit 4' 2>&-; echo $?; $RUN sh -c 'for i in 0 1 2; do test -e /proc/self/fd/$i && echo $i; done >out; cat out' <&- 2>&-",
    ),
    (
        "kinds",
        "echo > f; k() { $RUN stat -L -c %F /dev/stdin; }; k < f; k < /dev/null; k < /dev/zero; true | k; k < /; $RUN sh -c 'readlink /proc/self/fd/0' < /dev/null; $RUN test -t 0 < /dev/null; echo $?",
    ),
    (
        "devices",
        "$RUN head -c4 < /dev/zero | od -c; $RUN cat < /dev/null; $RUN sh -c 'echo x' > /dev/full; echo $?; $RUN sh -c 'cat /dev/stdin' < /dev/null; echo in | $RUN cat /dev/stdin /dev/fd/0; echo in | $RUN sh -c 'cat < /dev/stdin > /dev/stdout' | cat",
    ),
    (
        "sockets",
        "python3 -c 'import socket, subprocess, os\na, b = socket.socketpair()\na.send(b\"ping\\n\")\np = subprocess.run(os.environ[\"RUN\"].split() + [\"sh\", \"-c\", \"read x; echo got $x\"], stdin=b, stdout=b)\nprint(a.recv(99), p.returncode)'",
    ),
    (
        "broken_pipe",
        "$RUN yes | head -1; echo ${PIPESTATUS[0]}; trap '' PIPE; $RUN yes 2>&1 >&3 3>&- | head -2 3>&- ; (trap '' PIPE; $RUN sh -c 'yes 2>e; cat e' | head -1; echo ${PIPESTATUS[0]})",
    ),
    (
        "statuses",
        "exec 2>/dev/null; for s in 0 1 42 255; do $RUN sh -c \"exit $s\"; echo $?; done; for s in HUP INT KILL TERM USR1 SEGV ABRT ALRM PIPE 34 64; do $RUN sh -c \"kill -$s \\$\\$\" 2>/dev/null; echo $?; done",
    ),
    (
        "signals_from_outside",
        "for s in TERM HUP USR1 ALRM ABRT 35; do $RUN sleep 9 & sleep 0.3; kill -$s $!; wait $! 2>/dev/null; echo $?; done",
    ),
    (
        "caught_signals",
        "for s in TERM HUP USR2 WINCH 35 INT; do $RUN bash -c \"trap 'echo got $s; exit 3' $s; for i in {1..60}; do sleep 0.05; done\" & sleep 0.4; kill -$s $!; wait $!; echo $?; done",
    ),
    (
        "stop_and_continue",
        "state() { sed 's/.*) //' /proc/$1/stat | cut -c1; }; for s in TSTP STOP; do $RUN sh -c 'sleep 1; echo end; exit 5' & sleep 0.3; [ $s = STOP ] || kill -$s $!; sleep 0.3; [ $s = STOP ] || state $!; kill -CONT $!; wait $!; echo $?; done",
    ),
    (
        "ignored_and_blocked",
        "trap '' HUP TERM USR1 CHLD; $RUN grep -E 'Sig(Ign|Blk)' /proc/self/status; $RUN sh -c 'kill -TERM $$; echo alive'; python3 -c 'import signal, os\nsignal.pthread_sigmask(signal.SIG_BLOCK, [10, 15])\nsignal.signal(2, signal.SIG_IGN)\nsignal.signal(13, signal.SIG_DFL)\nos.execvp(\"sh\", [\"sh\", \"-c\", \"$RUN grep -E \\\"Sig(Ign|Blk)\\\" /proc/self/status\"])'",
    ),
    (
        "umask_and_limits",
        "umask 027; ulimit -Sn 300; ulimit -c 0; ulimit -Ss 4096; ulimit -Sf 2000; ulimit -t 99; $RUN bash -c 'umask; ulimit -Sn; ulimit -c; ulimit -Ss; ulimit -f; ulimit -t; ulimit -d; ulimit -v'; $RUN sh -c 'dd if=/dev/zero of=big bs=1M count=3 2>/dev/null; echo $?; stat -c %s big 2>/dev/null'",
    ),
    (
        "environment",
        "export A='b c' B=; $RUN env | grep -v '^\\(_\\|RUN\\|CHITIN\\|PWD\\)=' | sort; cd /usr/lib; $RUN pwd; $RUN sh -c 'echo $PWD $0'",
    ),
    (
        "search",
        "mkdir bin; printf '#!/bin/sh\\necho found $*\\n' > bin/prog; chmod +x bin/prog; PATH=$PWD/bin:$PATH; $RUN prog a 'b  c'; $RUN bin/prog; $RUN ./bin/prog x",
    ),
    (
        "many_bytes",
        "head -c 20000000 /dev/zero | $RUN cat | wc -c; $RUN head -c 20000000 /dev/zero | wc -c; head -c 3000000 /dev/zero > f; $RUN wc -c < f; $RUN cat f > g; wc -c < g; $RUN cat < f | $RUN cat | wc -c",
    ),
    (
        "nonblocking",
        "python3 -c 'import os, subprocess, time\nr, w = os.pipe()\nos.set_blocking(r, False)\np = subprocess.Popen(os.environ[\"RUN\"].split() + [\"python3\", \"-c\", \"import os\\ntry: os.read(0, 1)\\nexcept BlockingIOError: print(1)\"], stdin=r)\np.wait()'",
    ),
];

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let case = |&(name, text): &(&str, &'static str)| -> Case {
        let needs = if text.contains("python3") { "python3" } else { "bash" };
        (format!("streams::{name}"), needs.to_owned(), Box::new(move || same(text)))
    };
    SCRIPTS.iter().map(case).collect()
}
