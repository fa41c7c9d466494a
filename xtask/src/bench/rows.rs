//! What is measured: one [`Row`] for each figure, with the bars it is judged by, and the [`Session`]s, shell scripts
//! that measure several workloads in one sandbox. No locks.

/// A limit of a row. Ratios are to native.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// At most this many times the native value.
    Ratio(f64),
    /// At most this value, in the row's unit.
    Value(f64),
    /// At most what this runner takes, plus so much.
    Than(&'static str, f64),
}

impl Bar {
    /// For tables.
    pub fn text(self, unit: Unit) -> String {
        match self {
            Bar::Ratio(r) => format!("≤ {r}×"),
            Bar::Value(v) => format!("≤ {}", unit.show(v)),
            Bar::Than(runner, 0.0) => format!("≤ {runner}"),
            Bar::Than(runner, more) => format!("≤ {runner} + {}", unit.show(more)),
        }
    }

    /// Whether a value keeps it; `None` where there is nothing to compare with.
    pub fn kept(self, value: f64, of: impl Fn(&str) -> Option<f64>) -> Option<bool> {
        match self {
            Bar::Ratio(r) => Some(value <= r * of("native")?),
            Bar::Value(v) => Some(value <= v),
            Bar::Than(runner, more) => Some(value <= of(runner)? + more),
        }
    }
}

/// Unit of a row's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Nanos,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// A value with three digits.
    pub fn show(self, v: f64) -> String {
        let steps: &[(f64, &str)] = match self {
            Unit::Nanos => &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")],
            Unit::Bytes => &[(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")],
        };
        let step = steps.iter().find(|(size, _)| v.abs() >= *size);
        let (size, name) =
            step.copied().unwrap_or((1.0, if self == Unit::Nanos { "ns" } else { "B" }));
        let v = v / size;
        let digits = if v.abs() >= 100.0 || v == 0.0 {
            0
        } else if v.abs() >= 10.0 {
            1
        } else {
            2
        };
        format!("{v:.digits$} {name}")
    }
}

/// How a row is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `micro ROW DIR`, DIR in memory.
    Micro,
    /// `micro ROW /tmp`: on the host's own file system natively, where a sandbox puts its changes inside one.
    MicroTmp,
    /// By the session of this name.
    Session(&'static str),
    /// Wall time of `/bin/true`, with the runner's start and end.
    Start,
    /// Memory of each of 20 idle sandboxes beyond the program's own.
    Memory,
    /// CPU time of an idle sandbox.
    Idle,
}

/// One figure.
#[derive(Debug)]
pub struct Row {
    /// Name for `--only`.
    pub name: &'static str,
    /// What it is.
    pub title: &'static str,
    /// How it is measured.
    pub kind: Kind,
    /// The bar that must be kept.
    pub must: Bar,
    /// The bar that is aimed at.
    pub aim: Bar,
}

impl Row {
    /// Unit of its values.
    pub fn unit(&self) -> Unit {
        if self.kind == Kind::Memory { Unit::Bytes } else { Unit::Nanos }
    }
}

/// A script that prepares and measures several rows.
pub struct Session {
    /// Name.
    pub name: &'static str,
    /// For `sh`; `t ROW COMMAND` measures a command, `$M` is the micro program, `$D` an empty directory in memory.
    pub script: &'static str,
}

use Bar::{Ratio, Than, Value};
use Kind::{Idle, Memory, Micro, MicroTmp, Start};

const fn row(name: &'static str, title: &'static str, kind: Kind, must: Bar, aim: Bar) -> Row {
    Row { name, title, kind, must, aim }
}

/// All rows, in the order of the report.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("start", "/bin/true, wall", Start, Than("crun", 0.0), Than("bwrap", 2e6)),
    row("memory", "memory of an idle sandbox, 20 running", Memory, Value(4e6), Value(1.5e6)),
    row("idle", "CPU time of an idle sandbox", Idle, Value(0.0), Value(0.0)),
    row("getppid", "getppid", Micro, Ratio(0.5), Ratio(0.2)),
    row("clock_gettime", "clock_gettime", Micro, Ratio(1.3), Ratio(1.05)),
    row("read-zero", "1-byte read of /dev/zero", Micro, Value(700.0), Ratio(3.0)),
    row("pread-4k", "4 KiB pread of a cached file", Micro, Value(700.0), Ratio(3.0)),
    row("fstat", "fstat", Micro, Value(700.0), Ratio(0.5)),
    row("stat", "stat", Micro, Ratio(3.0), Ratio(0.7)),
    row("stat-missing", "stat of a missing file", Micro, Ratio(3.0), Ratio(0.7)),
    row("open-close", "open+close", Micro, Ratio(3.0), Ratio(1.2)),
    row("create-unlink", "create+unlink in /tmp", MicroTmp, Ratio(1.0), Ratio(0.5)),
    row("pipe-ping-pong", "pipe ping-pong, two processes", Micro, Ratio(1.2), Ratio(0.5)),
    row("futex-ping-pong", "futex ping-pong, two threads", Micro, Ratio(1.2), Ratio(0.5)),
    row("pipe-self", "write+read of a pipe, one thread", Micro, Ratio(6.0), Ratio(3.0)),
    row("eventfd-epoll", "eventfd+epoll", Micro, Ratio(6.0), Ratio(3.0)),
    row("mmap-munmap", "mmap+munmap of a page", Micro, Ratio(6.0), Ratio(3.0)),
    row("mprotect", "mprotect pair", Micro, Ratio(6.0), Ratio(3.0)),
    row("signal", "signal to oneself", Micro, Ratio(6.0), Ratio(3.0)),
    row("fork-wait", "fork+exit+wait", Micro, Ratio(2.0), Ratio(1.2)),
    row("vfork-exec-static", "vfork+exec, static", Micro, Ratio(1.0), Ratio(0.5)),
    row("fork-exec-dynamic", "fork+exec, dynamic", Micro, Ratio(1.5), Ratio(0.8)),
    row("vfork-exec-dynamic", "vfork+exec, dynamic", Micro, Ratio(1.5), Ratio(0.8)),
    row("pthread", "pthread create+join", Micro, Ratio(3.0), Ratio(1.5)),
    row("touch-fresh", "first touch of a page, fresh", Micro, Ratio(1.5), Ratio(1.0)),
    row("touch-recycled", "first touch of a page, recycled", Micro, Ratio(1.0), Ratio(0.5)),
    row("read-64m", "sequential read of 64 MB", Micro, Ratio(1.3), Ratio(1.0)),
    row("write-64m", "sequential write of 64 MB", Micro, Ratio(1.3), Ratio(1.0)),
    row("shell-bash", "bash loop, 200 × /bin/true", Kind::Session("shell"), Ratio(1.5), Ratio(0.8)),
    row("shell-dash", "dash loop, 200 × /bin/true", Kind::Session("shell"), Ratio(1.5), Ratio(0.8)),
    row("find", "find over the system directories", Kind::Session("walk"), Ratio(2.0), Ratio(1.2)),
    row("ls-lR", "ls -lR /usr", Kind::Session("walk"), Ratio(2.0), Ratio(1.2)),
    row("du", "du -s /usr", Kind::Session("walk"), Ratio(2.0), Ratio(1.2)),
    row("tar-read", "tar of 2,000 files", Kind::Session("tree"), Ratio(2.0), Ratio(1.2)),
    row("tar-extract", "tar x of 2,000 files", Kind::Session("tree"), Ratio(2.0), Ratio(1.2)),
    row("cp-r", "cp -r of 2,000 files", Kind::Session("tree"), Ratio(2.0), Ratio(1.2)),
    row("git-add", "git add of 2,000 files", Kind::Session("tree"), Ratio(2.0), Ratio(1.2)),
    row("git-status", "git status", Kind::Session("tree"), Ratio(2.0), Ratio(1.2)),
    row("git-log", "git log --stat, 200 commits", Kind::Session("tree"), Ratio(2.0), Ratio(1.2)),
    row("python-imports", "python3 imports", Kind::Session("python"), Ratio(1.5), Ratio(1.1)),
    row("compileall", "python3 -m compileall", Kind::Session("python"), Ratio(1.5), Ratio(1.1)),
    row("gcc-large", "gcc of a large file", Kind::Session("compile"), Ratio(1.5), Ratio(1.1)),
    row("make-j2", "make -j2, 30 files", Kind::Session("compile"), Ratio(1.5), Ratio(1.1)),
];

/// What every session begins with.
pub const PRELUDE: &str = r#"
set -e
export HOME="$D" LC_ALL=C GIT_CONFIG_NOSYSTEM=1
t() { "$M" time "$1" "$2"; }
cd "$D"
"#;

/// All sessions.
pub const SESSIONS: &[Session] = &[
    Session {
        name: "shell",
        script: r#"
t shell-bash 'exec bash -c "i=0; while [ \$i -lt 200 ]; do /bin/true; i=\$((i+1)); done"'
t shell-dash 'exec dash -c "i=0; while [ \$i -lt 200 ]; do /bin/true; i=\$((i+1)); done"'
"#,
    },
    Session {
        name: "walk",
        script: r#"
# 1: something could not be read. A walk that fails has no figure; the others go on.
t find 'find /bin /etc /lib /opt /usr /var -xdev 2>/dev/null || [ $? -eq 1 ]' || :
t ls-lR 'ls -lR /usr 2>/dev/null || [ $? -eq 1 ]' || :
t du 'du -s /usr 2>/dev/null || [ $? -eq 1 ]' || :
"#,
    },
    Session {
        name: "tree",
        script: r#"
"$M" tree tree 2000
t tar-read 'tar cf - tree | cat'
tar cf tree.tar tree
mkdir out
t tar-extract 'tar xf tree.tar -C out'
t cp-r 'cp -r tree copy'
cd tree
# Older than the index: git reads again what may have changed in the second in which it wrote the index.
find . -type f -exec touch -d 2024-01-01 {} +
git init -q .
git config user.name a
git config user.email a@b
t git-add 'git add -A'
git commit -q -m all
t git-status 'git status'
i=0
while [ $i -lt 200 ]; do
  printf 'commit refs/heads/log\ncommitter a <a@b> %d +0000\ndata 2\nc\n\nM 644 inline f%d\ndata 5\n%04d\n\n' \
    $((1700000000 + i)) $((i % 20)) $i
  i=$((i+1))
done | git fast-import --quiet
t git-log 'git log --stat log'
"#,
    },
    Session {
        name: "python",
        script: r#"
t python-imports '/usr/bin/python3 -c "import json, asyncio, http.client, email.message, xml.etree.ElementTree
import decimal, unittest, argparse, concurrent.futures, multiprocessing, logging.config, urllib.request, sqlite3, ctypes"'
mkdir lib
lib=$(/usr/bin/python3 -c 'import os; print(os.path.dirname(os.__file__))')
for part in asyncio email json unittest xml http; do cp -r "$lib/$part" lib; done
find lib -name __pycache__ | xargs rm -rf
t compileall '/usr/bin/python3 -m compileall -q lib'
"#,
    },
    Session {
        name: "compile",
        script: r#"
"$M" source big.c 500 0
t gcc-large 'gcc -O1 -c big.c'
objects=
for n in $(seq 30); do "$M" source m$n.c 12 $n; objects="$objects m$n.o"; done
echo 'int main(void) { return 0; }' > main.c
printf 'all: main.o %s\n\tcc -o all main.o %s\n%%.o: %%.c\n\tcc -O1 -c $<\n' "$objects" "$objects" > Makefile
t make-j2 'make -s -j2'
"#,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_row_is_measured_by_its_session() {
        for row in ROWS {
            if let Kind::Session(name) = row.kind {
                let session = SESSIONS.iter().find(|s| s.name == name).expect(name);
                assert!(session.script.contains(&format!("\nt {} ", row.name)), "{}", row.name);
            }
        }
    }

    #[test]
    fn bars_compare() {
        let of = |name: &str| (name == "native").then_some(100.0);
        assert_eq!(Bar::Ratio(2.0).kept(200.0, of), Some(true));
        assert_eq!(Bar::Ratio(2.0).kept(201.0, of), Some(false));
        assert_eq!(Bar::Than("crun", 0.0).kept(1.0, of), None);
        assert_eq!(Bar::Value(3.0).text(Unit::Nanos), "≤ 3.00 ns");
        assert_eq!(Unit::Nanos.show(12_345.0), "12.3 µs");
        assert_eq!(Unit::Bytes.show(1.5e6), "1.50 MB");
    }
}
