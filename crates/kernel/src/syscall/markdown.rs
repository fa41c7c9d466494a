//! The table as a document, `docs/syscalls.md`.

use super::{Level, TABLE};
use chitin_abi::sysno;
use std::fmt::Write;

/// All system calls of x86-64 and how far they are served, as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(
        "# System calls\n\n\
         Generated from the system call table by `cargo xtask docs`; do not edit.\n\n\
         - **full**: all of the documented behaviour, but for the note\n\
         - **partial**: a part of it; the note says which, or what is missing\n\
         - **refused**: fails on purpose with the errno in the note\n\
         - **absent**: fails with `ENOSYS`\n\n",
    );
    let count = |level| TABLE.iter().filter(|row| row.level == level).count();
    let (full, partial, refused) =
        (count(Level::Full), count(Level::Partial), count(Level::Refused));
    let absent = sysno::ALL.len().saturating_sub(TABLE.len());
    let _ = writeln!(
        out,
        "{full} are full, {partial} partial, {refused} refused and {absent} absent.\n\n\
         | number | call | level | note |\n| ---: | --- | --- | --- |"
    );
    for &(nr, name) in sysno::ALL {
        let row = TABLE.iter().find(|row| row.nr == nr);
        let (level, note) = match row {
            None => ("absent", ""),
            Some(row) => match row.level {
                Level::Full => ("full", row.note),
                Level::Partial => ("partial", row.note),
                Level::Refused => ("refused", row.note),
            },
        };
        let _ = writeln!(out, "| {nr} | `{name}` | {level} | {note} |");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_call_once_under_its_own_number() {
        for (i, row) in TABLE.iter().enumerate() {
            assert_eq!(sysno::name(row.nr), Some(row.name), "number {}", row.nr);
            assert!(TABLE.iter().skip(i + 1).all(|other| other.nr != row.nr), "{}", row.name);
            assert!(row.args.len() <= 6, "{}", row.name);
            assert!(
                row.level != Level::Partial || !row.note.is_empty(),
                "{} has no note",
                row.name
            );
        }
    }

    #[test]
    fn every_call_of_linux_is_listed() {
        let text = markdown();
        assert!(text.contains("| 0 | `read` | full |"));
        let rows = text.lines().filter(|l| l.starts_with("| ") && l.contains("`")).count();
        assert_eq!(rows, sysno::ALL.len());
    }
}
