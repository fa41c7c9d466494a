//! Counts and times of system calls (`--stats`): how often each was made, how it reached
//! the sentry, how long it took.
//!
//! Key type: [`Stats`]. No locks.

use super::TABLE;
use crate::error::{SysError, SysResult};
use chitin_platform::Entry;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that are counted one by one; what is above is counted together.
const NUMBERS: usize = 512;

#[derive(Default)]
struct Row {
    trapped: AtomicU64,
    patched: AtomicU64,
    failed: AtomicU64,
    nanos: AtomicU64,
}

/// Counters of a sandbox.
pub struct Stats {
    rows: Vec<Row>,
    local: AtomicU64,
    started: u64,
}

/// A call that has begun.
#[derive(Clone, Copy)]
pub struct Begun {
    entry: Entry,
    at: u64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            rows: (0..=NUMBERS).map(|_| Row::default()).collect(),
            local: AtomicU64::new(0),
            started: chitin_executor::Executor::now(),
        }
    }
}

fn count(cell: &AtomicU64, by: u64) {
    cell.fetch_add(by, Ordering::Relaxed);
}

impl Stats {
    /// A call begins.
    #[must_use]
    pub fn begin(&self, entry: Entry) -> Begun {
        Begun { entry, at: chitin_executor::Executor::now() }
    }

    /// It has ended.
    pub fn end(&self, nr: u64, begun: Begun, result: &SysResult) {
        let index = usize::try_from(nr).unwrap_or(NUMBERS).min(NUMBERS);
        let Some(row) = self.rows.get(index) else { return };
        match begun.entry {
            Entry::Trap => count(&row.trapped, 1),
            Entry::Patched => count(&row.patched, 1),
        }
        if matches!(result, Err(SysError::Errno(_))) {
            count(&row.failed, 1);
        }
        count(&row.nanos, chitin_executor::Executor::now().saturating_sub(begun.at));
    }

    /// Calls that were answered inside the guest.
    pub fn answered(&self, calls: u64) {
        count(&self.local, calls);
    }

    /// The table as text, the longest in sum first.
    #[must_use]
    pub fn report(&self) -> String {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let mut lines: Vec<(u64, [u64; 3], String)> = Vec::new();
        for (nr, row) in self.rows.iter().enumerate() {
            let counts = [get(&row.trapped), get(&row.patched), get(&row.failed)];
            let known = TABLE.iter().find(|r| r.nr == nr as u64);
            let name = known.map_or_else(|| format!("number {nr}"), |r| r.name.to_owned());
            if counts != [0; 3] {
                lines.push((get(&row.nanos), counts, name));
            }
        }
        lines.sort_by_key(|line| std::cmp::Reverse(line.0));
        let mut out = String::from(
            "     calls   trapped   patched    failed       total ms   \u{b5}s/call  system call\n",
        );
        let (mut sum, mut time) = ([0; 3], 0);
        for (nanos, counts, name) in &lines {
            line(&mut out, *nanos, *counts, name);
            time += nanos;
            sum.iter_mut().zip(counts).for_each(|(s, n)| *s += n);
        }
        line(&mut out, time, sum, "in all; waiting is part of the time");
        let wall = chitin_executor::Executor::now().saturating_sub(self.started);
        let _ = writeln!(
            out,
            "{:10} answered inside the guest (local); the sandbox ran {:.3} s",
            get(&self.local),
            wall as f64 / 1e9
        );
        out
    }
}

fn line(out: &mut String, nanos: u64, [trapped, patched, failed]: [u64; 3], name: &str) {
    let calls = trapped + patched;
    let (total, each) = (nanos as f64 / 1e6, nanos as f64 / 1e3 / calls.max(1) as f64);
    let _ = writeln!(
        out,
        "{calls:10}{trapped:10}{patched:10}{failed:10}{total:15.3}{each:10.1}  {name}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use chitin_abi::Errno;
    use chitin_abi::sysno;

    #[test]
    fn calls_are_counted_by_entry_and_result() {
        let stats = Stats::default();
        stats.end(sysno::READ, stats.begin(Entry::Trap), &Ok(1));
        stats.end(sysno::READ, stats.begin(Entry::Patched), &Err(SysError::Errno(Errno::EIO)));
        stats.end(1 << 40, stats.begin(Entry::Trap), &Ok(0));
        stats.answered(7);
        let report = stats.report();
        let read = report.lines().find(|l| l.ends_with(" read")).unwrap();
        let words: Vec<&str> = read.split_whitespace().collect();
        assert_eq!(words[..4], ["2", "1", "1", "1"]);
        assert!(report.contains("         7 answered"), "{report}");
        assert!(report.contains("number 512"), "{report}");
    }
}
