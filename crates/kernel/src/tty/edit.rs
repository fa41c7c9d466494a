//! Editing of a line in canonical mode.

use super::discipline::{Discipline, END_OF_FILE, LINE_END};
use chitin_abi::tty::*;

/// How much of the line goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Erase {
    Char,
    Word,
    Line,
}

fn continues(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

fn is_control(byte: u8) -> bool {
    byte < 32 || byte == 127
}

impl Discipline {
    /// A character in canonical mode; whether it was one that edits or delimits.
    pub(super) fn edit(&mut self, byte: u8) -> bool {
        let extended = self.lflag(IEXTEN);
        if self.is(byte, VERASE) {
            self.erase(byte, Erase::Char);
        } else if self.is(byte, VKILL) {
            self.erase(byte, Erase::Line);
        } else if extended && self.is(byte, VWERASE) {
            self.erase(byte, Erase::Word);
        } else if extended && self.is(byte, VLNEXT) {
            self.expect_literal();
            if self.lflag(ECHO) && self.lflag(ECHOCTL) {
                self.echo_raw(b'^');
                self.echo_raw(8);
            }
        } else if extended && self.is(byte, VREPRINT) && self.lflag(ECHO) {
            self.reprint(byte);
        } else if byte == b'\n' {
            if self.lflag(ECHO) || self.lflag(ECHONL) {
                self.echo_raw(byte);
            }
            self.complete(u16::from(byte) | LINE_END);
        } else if self.is(byte, VEOF) {
            self.complete(END_OF_FILE | LINE_END);
        } else if self.is(byte, VEOL) || (extended && self.is(byte, VEOL2)) {
            if self.lflag(ECHO) {
                self.echo(byte);
            }
            self.complete(u16::from(byte) | LINE_END);
        } else {
            return false;
        }
        true
    }

    fn reprint(&mut self, byte: u8) {
        self.echo(byte);
        self.echo_raw(b'\n');
        self.edit_column = self.column;
        for byte in self.line() {
            self.echo(byte);
        }
    }

    /// The line being edited.
    fn line(&self) -> Vec<u8> {
        let from = self.input.len() - self.editing.min(self.input.len());
        self.input.iter().skip(from).map(|e| (e & 0xff) as u8).collect()
    }

    /// Columns that a line takes from the column where it begins.
    fn width(&self, line: &[u8]) -> usize {
        let mut column = self.edit_column;
        for &byte in line {
            column += match byte {
                b'\t' => 8 - column % 8,
                _ if is_control(byte) && self.lflag(ECHOCTL) => 2,
                _ if is_control(byte) => 0,
                _ if continues(byte) && self.iflag(IUTF8) => 0,
                _ => 1,
            };
        }
        column - self.edit_column
    }

    fn erase(&mut self, byte: u8, what: Erase) {
        let line = self.line();
        if line.is_empty() {
            return;
        }
        let kept = self.kept(&line, what);
        let before = self.width(&line);
        let rest = line.get(..kept).unwrap_or_default();
        let after = self.width(rest);
        let gone = line.len() - kept;
        self.input.truncate(self.input.len() - gone.min(self.input.len()));
        self.editing = kept;
        if !self.lflag(ECHO) {
            return;
        }
        let visual = match what {
            Erase::Line => self.lflag(ECHOK) && self.lflag(ECHOKE) && self.lflag(ECHOE),
            _ => self.lflag(ECHOE),
        };
        if !visual {
            self.echo(byte);
            if what == Erase::Line && self.lflag(ECHOK) {
                self.echo_raw(b'\n');
            }
            return;
        }
        let tab = gone == 1 && line.last() == Some(&b'\t');
        for _ in after..before {
            self.echo_raw(8);
            if !tab {
                self.echo_raw(b' ');
                self.echo_raw(8);
            }
        }
    }

    /// How many bytes of the line stay.
    fn kept(&self, line: &[u8], what: Erase) -> usize {
        let mut kept = line.len();
        let mut in_word = false;
        while kept > 0 && what != Erase::Line {
            let mut start = kept - 1;
            while self.iflag(IUTF8) && start > 0 && line.get(start).is_some_and(|&b| continues(b)) {
                start -= 1;
            }
            let first = line.get(start).copied().unwrap_or(0);
            if what == Erase::Char {
                return start;
            }
            let word = first.is_ascii_alphanumeric() || first == b'_' || first >= 0x80;
            if in_word && !word {
                return kept;
            }
            in_word |= word;
            kept = start;
        }
        0
    }
}
