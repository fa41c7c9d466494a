//! Options of `chitin do`, and what its errors say.

use crate::{Case, expect};

/// name, script, status, what must be said.
type Row = (&'static str, &'static str, i32, &'static [&'static str]);

const ROWS: &[Row] = &[
    (
        "root",
        "mkdir -p r/bin r/etc; cp -r /lib /lib64 /usr r/ 2>/dev/null & wait; true; mkdir -p x/sub; echo in > x/sub/f; $CHITIN do --root x --ro /usr --ro /lib --ro /lib64 --ro /bin -- /bin/sh -c 'pwd; cat /sub/f; ls /'",
        0,
        &["/\n", "in\n", "sub\n"],
    ),
    (
        "root_missing",
        "$CHITIN do --root nowhere -- true",
        125,
        &["--root nowhere is not there; give an existing directory"],
    ),
    (
        "ro_directory",
        "mkdir d; echo a > d/f; $CHITIN do --ro d:/shown -- sh -c 'cat /shown/f; echo b > /shown/f; touch /shown/g; rm /shown/f'; cat d/f; ls d",
        0,
        &["a\na\nf\n", "Read-only file system"],
    ),
    (
        "ro_file",
        "echo a > f; $CHITIN do --ro f:/deep/er/shown -- sh -c 'cat /deep/er/shown; stat -c %F /deep/er/shown; echo b > /deep/er/shown; rm -f /deep/er/shown'; cat f",
        0,
        &["a\nregular file\na\n", "Read-only file system"],
    ),
    (
        "rw_directory",
        "mkdir d; $CHITIN do --rw d -- sh -c 'echo made > d/f; mkdir d/s; mv d/f d/s/g; ln -s s d/l'; cat d/l/g",
        0,
        &["made\n"],
    ),
    (
        "rw_file",
        "echo a > f; echo other > o; $CHITIN do --rw f -- sh -c 'echo b > f; echo c >> f; chmod 600 f; cat f; echo lost > o'; cat f o; stat -c %a f",
        0,
        &["b\nc\nb\nc\nother\n600\n"],
    ),
    (
        "rw_file_mapped",
        "head -c 8192 /dev/zero > f; $CHITIN do --rw f -- python3 -c 'import mmap; f=open(\"f\",\"r+b\"); m=mmap.mmap(f.fileno(),0); m[5000:5005]=b\"hello\"; m.flush(); f.truncate(6000)'; stat -c %s f; tail -c +5001 f | head -c5",
        0,
        &["6000\nhello"],
    ),
    (
        "bind_missing",
        "$CHITIN do --ro nope:/x -- true",
        125,
        &["--ro", "does not exist on the host; create it or name another path"],
    ),
    ("bind_device", "$CHITIN do --rw /dev/null:/x -- true", 125, &["only these can be shown"]),
    (
        "tmpfs",
        "$CHITIN do --tmpfs /scratch/new -- sh -c 'stat -f -c %T /scratch/new; echo x > /scratch/new/f; ls /scratch/new'; test -e /scratch; echo $?",
        0,
        &["tmpfs\nf\n1\n"],
    ),
    (
        "cwd",
        "$CHITIN do --cwd /usr/lib -- pwd; $CHITIN do --cwd /nowhere -- true",
        125,
        &[
            "/usr/lib\n",
            "/nowhere cannot be entered: No such file or directory; choose one with --cwd",
        ],
    ),
    (
        "env",
        "A=1 B=2 $CHITIN do --clear-env --env A --env C=3 --env D= -- /usr/bin/env",
        0,
        &["A=1\nC=3\nD=\n"],
    ),
    ("env_bad", "$CHITIN do --env =x -- true", 125, &["--env =x has no name before `=`"]),
    (
        "user",
        "$CHITIN do --user 12:34 -- id; $CHITIN do --user daemon -- sh -c 'id -un; touch /root/x'",
        1,
        &["uid=12", "gid=34", "daemon\n", "Permission denied"],
    ),
    (
        "user_bad",
        "$CHITIN do --user nobodyatall -- true",
        125,
        &["is not in /etc/passwd; give a number or another name"],
    ),
    (
        "hostname",
        "$CHITIN do --hostname box -- sh -c 'uname -n; hostname 2>/dev/null'",
        0,
        &["box\n"],
    ),
    ("hostname_bad", "$CHITIN do --hostname '' -- true", 125, &["give 1 to 64"]),
    ("memory_bad", "$CHITIN do --memory 3q -- true", 125, &["--memory", "use k, m, g or t"]),
    ("memory_small", "$CHITIN do --memory 1k -- true", 125, &["less than 1m"]),
    ("pids_bad", "$CHITIN do --pids 0 -- true", 125, &["use 1 or more"]),
    (
        "timeout",
        "$CHITIN do --timeout 300ms -- sleep 9",
        124,
        &["0.3 s are over: the program was killed (--timeout)"],
    ),
    ("timeout_bad", "$CHITIN do --timeout soon -- true", 125, &["is not a time, like 30s"]),
    ("platform_bad", "$CHITIN do --platform magic -- true", 125, &["systrap is the only one"]),
    (
        "not_found",
        "$CHITIN do -- nosuchprogram",
        127,
        &["nosuchprogram: No such file or directory; no directory of PATH has it"],
    ),
    (
        "not_executable",
        "$CHITIN do -- /etc/passwd",
        126,
        &["it must be a file that may be executed (chmod +x)"],
    ),
    (
        "no_interpreter",
        "printf '#!/nowhere/sh\\n' > s; chmod +x s; $CHITIN do -- ./s",
        127,
        &["its interpreter or a directory above is not there"],
    ),
    (
        "strace",
        "$CHITIN do --strace -- cat /etc/hostname",
        0,
        &[
            "execve(\"",
            "openat(AT_FDCWD, \"/etc/hostname\", O_RDONLY",
            "exit_group(0)",
            "= -1 ENOENT (No such file or directory)",
        ],
    ),
    (
        "strace_file",
        "$CHITIN do --strace=log -- sh -c 'echo hi; kill -USR1 $$'; echo $?; grep -c write log; cat log",
        0,
        &["138\n", "write(1, \"hi\\n\", 3) = 3", "--- SIGUSR1"],
    ),
    (
        "strace_unwritable",
        "$CHITIN do --strace=/nowhere/log -- true",
        125,
        &["/nowhere/log cannot be written; name a file in a directory of yours"],
    ),
    (
        "stats",
        "$CHITIN do --stats -- sh -c 'for i in 1 2 3; do /bin/true; done; echo x > /nowhere/y' 2>&1 | grep -E 'calls|in all|local|wait4|openat|execve'",
        0,
        &["trapped   patched    failed", "in all", "answered inside the guest (local)", "execve"],
    ),
    (
        // A program that was made inside is patched like those of the host.
        "stats_of_what_was_made_inside",
        r#"printf '#include <unistd.h>\nint main() { for (int i = 0; i < 500; i++) lseek(0, 0, 9); }' > p.c; gcc -static -o p p.c; $CHITIN do --stats -- sh -c 'cp p q; ./q' 2>&1 | awk '$NF == "lseek" { print ($2 < 20 && $3 > 480) ? "patched" : $0 }'"#,
        0,
        &["patched\n"],
    ),
    (
        "log",
        "$CHITIN do --log - -- python3 -c 'import ctypes; print(ctypes.CDLL(None).syscall(175, 0, 0, 0))'",
        0,
        &["-1\n"],
    ),
    ("masks", "$CHITIN masks", 0, &["~/.ssh\n", "/etc/shadow\n"]),
    (
        "masked",
        "export HOME=$PWD; mkdir .ssh; echo secret > .ssh/id; echo secret > .netrc; cat > t <<'E'\nls -a .ssh; cat .ssh/id .netrc /etc/shadow; echo new > .ssh/x && cat .ssh/x\nE\n$CHITIN do -- sh t; ls .ssh",
        0,
        &["No such file", "new\n", "id\n"],
    ),
    (
        "masked_below_rw",
        "export HOME=$PWD; mkdir .ssh; echo secret > .ssh/id; echo secret > .netrc; $CHITIN do --rw $PWD -- sh -c 'cat .ssh/id .netrc; echo x > .ssh/new; echo over > .netrc; rm -rf .ssh; mv .ssh b; ls -a'; cat .ssh/id .netrc; ls .ssh",
        0,
        &["secret\nsecret\nid\n"],
    ),
    (
        "masked_by_link",
        "export HOME=$PWD; mkdir keys; echo secret > keys/id; ln -s keys .ssh; $CHITIN do -- sh -c 'cat .ssh/id keys/id'; echo $?",
        0,
        &["1\n"],
    ),
    (
        "unmask",
        "export HOME=$PWD; mkdir .ssh .aws; echo key1 > .ssh/id; echo key2 > .aws/c; $CHITIN do --unmask $PWD/.ssh -- cat .ssh/id; $CHITIN do --unmask all -- cat .aws/c; $CHITIN do --unmask $PWD/.ssh -- cat .aws/c; $CHITIN do --ro $PWD/.ssh -- cat .ssh/id",
        0,
        &["key1\nkey2\nkey1\n", "No such file"],
    ),
    (
        "unmask_bad",
        "$CHITIN do --unmask /usr/share/doc -- true",
        125,
        &["nothing is masked there; `chitin masks` lists the places"],
    ),
];

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let case = |&(name, text, status, said): &Row| -> Case {
        let needs = if text.contains("python3") { "python3" } else { "" };
        let body = Box::new(move || expect(text, status, said));
        (format!("options::{name}"), needs.to_owned(), body)
    };
    ROWS.iter().map(case).collect()
}
