//! The sentry's own seccomp filter, made from one data file with a reason per rule
//! (`seccomp(2)`, `sentry.policy`).
//!
//! A line is `CALL CONDITION REASON…`; the condition is `-` (any arguments) or
//! terms joined by `,` of the forms `aN==VALUE` and `aN&MASK==VALUE`, on the whole
//! 64 bits of argument N. Several lines for one call are alternatives. A `!` before the
//! name refuses the call with `ENOENT`. What no line names kills the process.

use crate::{Result, check};
use chitin_abi::sysno;

/// The default action of the sentry's filter.
pub const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// The rules of the sentry.
pub const SENTRY_POLICY: &str = include_str!("sentry.policy");

/// More rules, for a sentry that writes to host files.
pub const WRITING_POLICY: &str = include_str!("sentry-rw.policy");

/// A comparison of one argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Term {
    arg: u32,
    mask: u64,
    value: u64,
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is made.
    Allow,
    /// It fails with `ENOENT`: the C library tries it and does without.
    Refuse,
}

/// One call that does not kill.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Name of the call.
    pub name: String,
    /// Its number.
    pub nr: u32,
    /// All must hold.
    terms: Vec<Term>,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn parse_term(text: &str) -> Option<Term> {
    let (left, value) = text.split_once("==")?;
    let (arg, mask) = match left.split_once('&') {
        Some((arg, mask)) => (arg, number(mask)?),
        None => (left, u64::MAX),
    };
    let arg = arg.strip_prefix('a')?.parse().ok().filter(|&n| n < 6)?;
    Some(Term { arg, mask, value: number(value)? })
}

/// Parses a policy; an error names the line.
pub fn parse(policy: &str) -> std::result::Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    for (i, line) in policy.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |what: &str| format!("policy line {}: {what}: {line}", i + 1);
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let (name, verdict) = match name.strip_prefix('!') {
            Some(name) => (name.to_owned(), Verdict::Refuse),
            None => (name.to_owned(), Verdict::Allow),
        };
        let condition = words.next().ok_or_else(|| bad("no condition"))?;
        let reason = words.collect::<Vec<_>>().join(" ");
        if reason.is_empty() {
            return Err(bad("no reason"));
        }
        let nr = sysno::number(&name).ok_or_else(|| bad("no such system call"))?;
        let terms = match condition {
            "-" => Some(Vec::new()),
            terms => terms.split(',').map(parse_term).collect(),
        };
        let terms = terms.ok_or_else(|| bad("condition not understood"))?;
        rules.push(Rule { name, nr: nr as u32, terms, verdict, reason });
    }
    Ok(rules)
}

const LD_W_ABS: u16 = 0x20;
const JEQ_K: u16 = 0x15;
const AND_K: u16 = 0x54;
const RET_K: u16 = 0x06;
const ARCH_X86_64: u32 = 0xc000_003e;
const OFFSET_ARCH: u32 = 4;

fn op(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Appends a comparison of half an argument; `skip` is how many instructions to
/// jump over if it fails.
fn compare_half(out: &mut Vec<libc::sock_filter>, offset: u32, mask: u32, value: u32, skip: u8) {
    out.push(op(LD_W_ABS, 0, 0, offset));
    if mask != u32::MAX {
        out.push(op(AND_K, 0, 0, mask));
    }
    out.push(op(JEQ_K, 0, skip, value));
}

/// Instructions of the body of a rule: its verdict, or fall through behind it.
fn body(rule: &Rule) -> Vec<libc::sock_filter> {
    let mut halves = Vec::new();
    for t in &rule.terms {
        let low = 16 + 8 * t.arg;
        for (offset, shift) in [(low, 0), (low + 4, 32)] {
            let (mask, value) = ((t.mask >> shift) as u32, (t.value >> shift) as u32);
            if mask != 0 || value != 0 {
                halves.push((offset, mask, value));
            }
        }
    }
    let len = |h: &(u32, u32, u32)| if h.1 == u32::MAX { 2 } else { 3 };
    let mut left: usize = halves.iter().map(len).sum::<usize>() + 1;
    let mut out = Vec::new();
    for h in &halves {
        left -= len(h);
        compare_half(&mut out, h.0, h.1, h.2, left as u8);
    }
    out.push(op(
        RET_K,
        0,
        0,
        match rule.verdict {
            Verdict::Allow => libc::SECCOMP_RET_ALLOW,
            Verdict::Refuse => libc::SECCOMP_RET_ERRNO | libc::ENOENT as u32,
        },
    ));
    out
}

/// Compiles rules into a filter program with this default action.
#[must_use]
pub fn compile(rules: &[Rule], otherwise: u32) -> Vec<libc::sock_filter> {
    let mut out = vec![
        op(LD_W_ABS, 0, 0, OFFSET_ARCH),
        op(JEQ_K, 1, 0, ARCH_X86_64),
        op(RET_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    for rule in rules {
        let body = body(rule);
        out.push(op(LD_W_ABS, 0, 0, 0));
        out.push(op(JEQ_K, 0, body.len() as u8, rule.nr));
        out.extend(body);
    }
    out.push(op(RET_K, 0, 0, otherwise));
    out
}

/// Installs a filter for all threads of this process, for good. `no_new_privs` is
/// set already.
pub fn install(filter: &[libc::sock_filter]) -> Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the program outlives the call, which copies it.
    let r = check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        )
    })?;
    // A positive result is a thread that could not be synchronised.
    if r == 0 { Ok(()) } else { Err(std::io::Error::other("a thread refused the filter")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets a program on (nr, args).
    fn run(filter: &[libc::sock_filter], nr: u32, args: [u64; 6]) -> u32 {
        let mut data = vec![nr, ARCH_X86_64, 0, 0];
        for a in args {
            data.extend([a as u32, (a >> 32) as u32]);
        }
        let (mut pc, mut acc) = (0, 0);
        loop {
            let i = &filter[pc];
            pc += 1;
            match i.code {
                LD_W_ABS => acc = data[i.k as usize / 4],
                AND_K => acc &= i.k,
                JEQ_K => pc += usize::from(if acc == i.k { i.jt } else { i.jf }),
                RET_K => return i.k,
                other => panic!("instruction {other}"),
            }
        }
    }

    #[test]
    fn the_sentrys_policy_parses_and_is_small() {
        let mut rules = parse(SENTRY_POLICY).unwrap();
        rules.extend(parse(WRITING_POLICY).unwrap());
        let mut names: Vec<_> = rules.iter().map(|r| &r.name).collect();
        names.sort();
        names.dedup();
        assert!(names.len() < 80, "{} host calls", names.len());
        for forbidden in ["execve", "execveat", "socket", "ptrace", "process_vm_writev", "bpf"] {
            assert!(rules.iter().all(|r| r.name != forbidden), "{forbidden} is allowed");
        }
        let open = rules.iter().filter(|r| r.name == "openat" && r.verdict == Verdict::Allow);
        assert_eq!(open.count(), 0, "openat is not confined to a directory");
    }

    #[test]
    fn conditions_are_checked_on_all_64_bits() {
        let policy = "mmap a2&4==0,a3==0x1 not executable\nmmap a2==7 rare\nread - data\n";
        let filter = compile(&parse(policy).unwrap(), libc::SECCOMP_RET_KILL_PROCESS);
        let allow = libc::SECCOMP_RET_ALLOW;
        assert_eq!(run(&filter, 9, [0, 0, 3, 1, 0, 0]), allow);
        assert_eq!(run(&filter, 9, [0, 0, 7, 1, 0, 0]), allow);
        assert_ne!(run(&filter, 9, [0, 0, 6, 1, 0, 0]), allow);
        assert_ne!(run(&filter, 9, [0, 0, 3, 1 << 32 | 1, 0, 0]), allow);
        assert_eq!(run(&filter, 0, [9; 6]), allow);
        assert_ne!(run(&filter, 59, [0; 6]), allow);
    }

    #[test]
    fn a_refused_call_fails() {
        let filter = compile(&parse("!openat - tried\n").unwrap(), KILL);
        assert_eq!(run(&filter, 257, [0; 6]), libc::SECCOMP_RET_ERRNO | libc::ENOENT as u32);
        assert_eq!(run(&filter, 2, [0; 6]), KILL);
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        assert!(parse("read -").unwrap_err().contains("line 1"));
        assert!(parse("\nfrobnicate - x").unwrap_err().contains("line 2"));
        assert!(parse("read a9==1 x").is_err());
    }
}
