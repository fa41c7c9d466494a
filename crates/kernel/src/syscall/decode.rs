//! How the log of system calls shows arguments whose type in the table is a bare number
//! or address: by the names that the table has for the call and the argument.
//!
//! Key function: [`show`]. No locks.

use chitin_abi::Errno;
use chitin_usermem::{UserAddr, UserMemory};
use std::fmt::Write;

/// Bytes of a buffer that are shown (`strace -s`).
const SHOWN_BYTES: usize = 32;
/// Strings of a list that are shown.
const SHOWN_STRINGS: usize = 16;
/// Elements of an I/O vector that are shown.
const SHOWN_SEGMENTS: usize = 4;

type Names = &'static [(u64, &'static str)];

const ACCESS_MODES: Names = &[(0, "O_RDONLY"), (1, "O_WRONLY"), (2, "O_RDWR"), (3, "O_ACCMODE")];
/// Longer ones first: they contain the bits of others.
const OPEN: Names = &[
    (0o20_200_000, "O_TMPFILE"),
    (0o4_010_000, "O_SYNC"),
    (0o100, "O_CREAT"),
    (0o200, "O_EXCL"),
    (0o400, "O_NOCTTY"),
    (0o1000, "O_TRUNC"),
    (0o2000, "O_APPEND"),
    (0o4000, "O_NONBLOCK"),
    (0o10_000, "O_DSYNC"),
    (0o20_000, "O_ASYNC"),
    (0o40_000, "O_DIRECT"),
    (0o100_000, "O_LARGEFILE"),
    (0o200_000, "O_DIRECTORY"),
    (0o400_000, "O_NOFOLLOW"),
    (0o1_000_000, "O_NOATIME"),
    (0o2_000_000, "O_CLOEXEC"),
    (0o10_000_000, "O_PATH"),
];
const AT: Names = &[
    (0x100, "AT_SYMLINK_NOFOLLOW"),
    (0x400, "AT_SYMLINK_FOLLOW"),
    (0x800, "AT_NO_AUTOMOUNT"),
    (0x1000, "AT_EMPTY_PATH"),
];
const UNLINK: Names = &[(0x200, "AT_REMOVEDIR")];
const FACCESS: Names =
    &[(0x100, "AT_SYMLINK_NOFOLLOW"), (0x200, "AT_EACCESS"), (0x1000, "AT_EMPTY_PATH")];
const ACCESS: Names = &[(1, "X_OK"), (2, "W_OK"), (4, "R_OK")];
const PROT: Names = &[(1, "PROT_READ"), (2, "PROT_WRITE"), (4, "PROT_EXEC")];
const MAP: Names = &[
    (3, "MAP_SHARED_VALIDATE"),
    (1, "MAP_SHARED"),
    (2, "MAP_PRIVATE"),
    (0x10, "MAP_FIXED"),
    (0x20, "MAP_ANONYMOUS"),
    (0x100, "MAP_GROWSDOWN"),
    (0x800, "MAP_DENYWRITE"),
    (0x4000, "MAP_NORESERVE"),
    (0x8000, "MAP_POPULATE"),
    (0x2_0000, "MAP_STACK"),
    (0x10_0000, "MAP_FIXED_NOREPLACE"),
];
const CLONE: Names = &[
    (0x100, "CLONE_VM"),
    (0x200, "CLONE_FS"),
    (0x400, "CLONE_FILES"),
    (0x800, "CLONE_SIGHAND"),
    (0x1000, "CLONE_PIDFD"),
    (0x4000, "CLONE_VFORK"),
    (0x8000, "CLONE_PARENT"),
    (0x1_0000, "CLONE_THREAD"),
    (0x4_0000, "CLONE_SYSVSEM"),
    (0x8_0000, "CLONE_SETTLS"),
    (0x10_0000, "CLONE_PARENT_SETTID"),
    (0x20_0000, "CLONE_CHILD_CLEARTID"),
    (0x100_0000, "CLONE_CHILD_SETTID"),
    (17, "SIGCHLD"),
];
const WAIT: Names =
    &[(1, "WNOHANG"), (2, "WUNTRACED"), (4, "WEXITED"), (8, "WCONTINUED"), (0x100_0000, "WNOWAIT")];
const PIPE: Names = &[(0o4000, "O_NONBLOCK"), (0o40_000, "O_DIRECT"), (0o2_000_000, "O_CLOEXEC")];
const WHENCE: Names =
    &[(0, "SEEK_SET"), (1, "SEEK_CUR"), (2, "SEEK_END"), (3, "SEEK_DATA"), (4, "SEEK_HOLE")];
const MASK_HOW: Names = &[(0, "SIG_BLOCK"), (1, "SIG_UNBLOCK"), (2, "SIG_SETMASK")];
const FCNTL: Names = &[
    (0, "F_DUPFD"),
    (1, "F_GETFD"),
    (2, "F_SETFD"),
    (3, "F_GETFL"),
    (4, "F_SETFL"),
    (5, "F_GETLK"),
    (6, "F_SETLK"),
    (7, "F_SETLKW"),
    (8, "F_SETOWN"),
    (9, "F_GETOWN"),
    (1024, "F_SETLEASE"),
    (1030, "F_DUPFD_CLOEXEC"),
    (1031, "F_SETPIPE_SZ"),
    (1032, "F_GETPIPE_SZ"),
    (1033, "F_ADD_SEALS"),
    (1034, "F_GET_SEALS"),
];
const FUTEX: Names = &[
    (0, "FUTEX_WAIT"),
    (1, "FUTEX_WAKE"),
    (3, "FUTEX_REQUEUE"),
    (4, "FUTEX_CMP_REQUEUE"),
    (5, "FUTEX_WAKE_OP"),
    (9, "FUTEX_WAIT_BITSET"),
    (10, "FUTEX_WAKE_BITSET"),
];
const IOCTL: Names = &[
    (0x5401, "TCGETS"),
    (0x5402, "TCSETS"),
    (0x5403, "TCSETSW"),
    (0x5404, "TCSETSF"),
    (0x540e, "TIOCSCTTY"),
    (0x540f, "TIOCGPGRP"),
    (0x5410, "TIOCSPGRP"),
    (0x5413, "TIOCGWINSZ"),
    (0x5414, "TIOCSWINSZ"),
    (0x541b, "FIONREAD"),
    (0x5421, "FIONBIO"),
    (0x5429, "TIOCGSID"),
    (0x5450, "FIONCLEX"),
    (0x5451, "FIOCLEX"),
];
const FAMILY: Names =
    &[(0, "AF_UNSPEC"), (1, "AF_UNIX"), (2, "AF_INET"), (10, "AF_INET6"), (16, "AF_NETLINK")];
const SOCKET: Names = &[
    (0o2_000_000, "SOCK_CLOEXEC"),
    (0o4000, "SOCK_NONBLOCK"),
    (5, "SOCK_SEQPACKET"),
    (3, "SOCK_RAW"),
    (2, "SOCK_DGRAM"),
    (1, "SOCK_STREAM"),
];
const CLOCK: Names = &[
    (0, "CLOCK_REALTIME"),
    (1, "CLOCK_MONOTONIC"),
    (2, "CLOCK_PROCESS_CPUTIME_ID"),
    (3, "CLOCK_THREAD_CPUTIME_ID"),
    (4, "CLOCK_MONOTONIC_RAW"),
    (7, "CLOCK_BOOTTIME"),
];
const LIMIT: Names = &[
    (0, "RLIMIT_CPU"),
    (1, "RLIMIT_FSIZE"),
    (2, "RLIMIT_DATA"),
    (3, "RLIMIT_STACK"),
    (4, "RLIMIT_CORE"),
    (6, "RLIMIT_NPROC"),
    (7, "RLIMIT_NOFILE"),
    (8, "RLIMIT_MEMLOCK"),
    (9, "RLIMIT_AS"),
];
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The name of a signal.
#[must_use]
pub fn signal(signo: i32) -> String {
    let known = usize::try_from(signo - 1).ok().and_then(|i| SIGNALS.get(i));
    known.map_or_else(|| format!("SIGRT_{}", signo - 32), |name| format!("SIG{name}"))
}

/// One of several values.
fn one(value: u64, names: Names, out: &mut String) {
    match names.iter().find(|(v, _)| *v == value) {
        Some((_, name)) => out.push_str(name),
        None => drop(write!(out, "{value:#x}")),
    }
}

/// Bits, joined by `|`.
fn bits(mut value: u64, names: Names, out: &mut String) {
    let start = out.len();
    for &(bit, name) in names.iter().filter(|(bit, _)| *bit != 0) {
        if value & bit == bit {
            let _ = write!(out, "{}{name}", if out.len() > start { "|" } else { "" });
            value &= !bit;
        }
    }
    if value != 0 || out.len() == start {
        let sep = if out.len() > start { "|" } else { "" };
        let _ = if value == 0 { write!(out, "0") } else { write!(out, "{sep}{value:#x}") };
    }
}

fn open_flags(value: u64, out: &mut String) {
    one(value & 3, ACCESS_MODES, out);
    if value & !3 != 0 {
        out.push('|');
        bits(value & !3, OPEN, out);
    }
}

fn quoted(bytes: &[u8], whole: usize, out: &mut String) {
    out.push('"');
    for &b in bytes {
        match b {
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\r' => out.push_str("\\r"),
            b'"' | b'\\' => drop(write!(out, "\\{}", b as char)),
            0x20..0x7f => out.push(b as char),
            _ => drop(write!(out, "\\{b:o}")),
        }
    }
    out.push_str(if whole > bytes.len() { "\"..." } else { "\"" });
}

fn buffer(at: u64, len: usize, mem: &dyn UserMemory, out: &mut String) {
    let mut bytes = vec![0; len.min(SHOWN_BYTES)];
    match mem.read(UserAddr(at), &mut bytes) {
        Ok(()) => quoted(&bytes, len, out),
        Err(_) => drop(write!(out, "{at:#x}")),
    }
}

fn words(at: u64, mem: &dyn UserMemory) -> impl Iterator<Item = u64> + '_ {
    (0..).map_while(move |i: u64| {
        let mut word = [0; 8];
        let at = UserAddr(at).offset(8 * i).ok()?;
        mem.read(at, &mut word).ok()?;
        Some(u64::from_ne_bytes(word))
    })
}

fn strings(at: u64, mem: &dyn UserMemory, out: &mut String) {
    out.push('[');
    for (i, text) in words(at, mem).take_while(|&w| w != 0).enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        if i == SHOWN_STRINGS {
            out.push_str("...");
            break;
        }
        let bytes = mem.read_cstr(UserAddr(text), 4096).unwrap_or_default();
        quoted(bytes.get(..SHOWN_BYTES).unwrap_or(&bytes), bytes.len(), out);
    }
    out.push(']');
}

fn segments(at: u64, n: u64, left: u64, mem: &dyn UserMemory, out: &mut String) {
    let (mut words, mut left) = (words(at, mem), usize::try_from(left).unwrap_or(usize::MAX));
    out.push('[');
    for i in 0..usize::try_from(n).unwrap_or(0).min(SHOWN_SEGMENTS) {
        let (Some(base), Some(len)) = (words.next(), words.next()) else { break };
        let take = usize::try_from(len).unwrap_or(usize::MAX).min(left);
        left -= take;
        out.push_str(if i > 0 { ", {iov_base=" } else { "{iov_base=" });
        buffer(base, take, mem, out);
        let _ = write!(out, ", iov_len={len}}}");
    }
    out.push(']');
}

/// What an argument is part of.
pub struct Call<'a> {
    /// Name of the call.
    pub name: &'a str,
    /// Its arguments.
    pub args: [u64; 6],
    /// Which of them is shown.
    pub index: usize,
    /// What the call returned, after it.
    pub result: Option<u64>,
}

impl Call<'_> {
    fn next(&self) -> u64 {
        self.args.get(self.index + 1).copied().unwrap_or(0)
    }
}

/// Whether a buffer is filled by the call, so that it is shown after it.
#[must_use]
pub fn filled(call: &str, argument: &str) -> bool {
    matches!(
        (call, argument),
        ("read" | "pread64" | "readlink" | "readlinkat" | "getcwd" | "recvfrom", "buf")
            | ("readv" | "preadv" | "preadv2", "iov")
            | ("pipe" | "pipe2", "fds")
            | ("wait4", "status")
    )
}

/// Appends an argument; false if the type in the table says it all.
pub fn show(call: &Call<'_>, argument: &str, mem: &dyn UserMemory, out: &mut String) -> bool {
    let raw = call.args.get(call.index).copied().unwrap_or(0);
    let low = raw & 0xffff_ffff;
    match (call.name, argument) {
        (_, "dirfd" | "olddirfd" | "newdirfd") if low == 0xffff_ff9c => out.push_str("AT_FDCWD"),
        ("open" | "openat", "flags") => open_flags(low, out),
        ("pipe2" | "dup3", "flags") => bits(low, PIPE, out),
        ("unlinkat", "flags") => bits(low, UNLINK, out),
        ("faccessat2", "flags") => bits(low, FACCESS, out),
        (name, "flags") if name.ends_with("at") || name == "statx" => bits(low, AT, out),
        ("mmap", "flags") => bits(low, MAP, out),
        ("clone", "flags") => bits(raw, CLONE, out),
        ("access" | "faccessat" | "faccessat2", "mode") if low == 0 => out.push_str("F_OK"),
        ("access" | "faccessat" | "faccessat2", "mode") => bits(low, ACCESS, out),
        (_, "mode") => drop(write!(out, "{:#o}", low & 0o177_7777)),
        (_, "prot") if low == 0 => out.push_str("PROT_NONE"),
        (_, "prot") => bits(low, PROT, out),
        ("wait4" | "waitid", "options") => bits(low, WAIT, out),
        (_, "whence") => one(low, WHENCE, out),
        ("rt_sigprocmask", "how") => one(low, MASK_HOW, out),
        ("fcntl", "cmd") => one(low, FCNTL, out),
        ("ioctl", "request") => one(low, IOCTL, out),
        ("futex", "op") => {
            one(low & 0x7f, FUTEX, out);
            out.push_str(if low & 0x80 != 0 { "_PRIVATE" } else { "" });
        }
        ("socket" | "socketpair", "domain") => one(low, FAMILY, out),
        ("socket" | "socketpair", "kind") => bits(low, SOCKET, out),
        (name, "clock") if name.starts_with("clock") => one(low, CLOCK, out),
        (_, "resource") => one(low, LIMIT, out),
        (_, "sig" | "signum") if raw != 0 => {
            out.push_str(&signal(i32::try_from(low).unwrap_or(0)));
        }
        (_, "argv") => strings(raw, mem, out),
        (_, "envp") => {
            let n = words(raw, mem).take_while(|&w| w != 0).count();
            let _ = write!(out, "{raw:#x} /* {n} vars */");
        }
        ("write" | "pwrite64" | "sendto", "buf") => {
            buffer(raw, usize::try_from(call.next()).unwrap_or(0), mem, out);
        }
        ("writev" | "pwritev" | "pwritev2", "iov") => {
            segments(raw, call.next(), u64::MAX, mem, out);
        }
        (name, "buf" | "iov") if filled(name, argument) => match (call.result, argument) {
            (Some(n), "iov") => segments(raw, call.next(), n, mem, out),
            (Some(n), _) => buffer(raw, usize::try_from(n).unwrap_or(0), mem, out),
            (None, _) => return false,
        },
        ("pipe" | "pipe2", "fds") if call.result.is_some() => {
            let both = words(raw, mem).next().unwrap_or(0);
            let _ = write!(out, "[{}, {}]", both & 0xffff_ffff, both >> 32);
        }
        ("wait4", "status") if raw != 0 && call.result.is_some_and(|pid| pid != 0) => {
            let status = words(raw, mem).next().unwrap_or(0);
            let (signo, code) = (status & 0x7f, (status >> 8) & 0xff);
            let _ = match signo {
                0 => write!(out, "[exited {code}]"),
                0x7f => write!(out, "[stopped by {}]", signal(i32::try_from(code).unwrap_or(0))),
                _ => write!(out, "[killed by {}]", signal(i32::try_from(signo).unwrap_or(0))),
            };
        }
        _ => return false,
    }
    true
}

/// A result that failed.
pub fn failure(e: Errno, out: &mut String) {
    let _ = write!(out, "-1 {e:?} ({})", e.description());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_names() {
        let mut out = String::new();
        open_flags(0o2_000_102, &mut out);
        assert_eq!(out, "O_RDWR|O_CREAT|O_CLOEXEC");
        out.clear();
        bits(0x8000_0022, MAP, &mut out);
        assert_eq!(out, "MAP_PRIVATE|MAP_ANONYMOUS|0x80000000");
        out.clear();
        bits(0, AT, &mut out);
        assert_eq!(out, "0");
        out.clear();
        quoted(b"a\"\n\x01", 9, &mut out);
        assert_eq!(out, "\"a\\\"\\n\\1\"...");
        assert_eq!((signal(9).as_str(), signal(34).as_str()), ("SIGKILL", "SIGRT_2"));
    }
}
