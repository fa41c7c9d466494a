//! Output processing and echo.

use super::discipline::{Discipline, OUTPUT_MAX};
use chitin_abi::tty::*;

/// Most bytes that one byte turns into (a tab).
const EXPANSION: usize = 8;
/// Echoes beyond this are lost, as nobody reads them.
const ECHO_MAX: usize = OUTPUT_MAX + 4096;

/// What one byte turns into.
#[derive(Clone, Copy)]
struct Shown {
    bytes: [u8; EXPANSION],
    len: usize,
}

impl Shown {
    fn one(byte: u8) -> Self {
        Self { bytes: [byte, 0, 0, 0, 0, 0, 0, 0], len: 1 }
    }

    fn iter(&self) -> impl Iterator<Item = u8> {
        self.bytes.into_iter().take(self.len)
    }
}

impl Discipline {
    /// Whether a program may write.
    #[must_use]
    pub fn writable(&self) -> bool {
        !self.stopped() && self.output.len() + EXPANSION <= OUTPUT_MAX
    }

    /// A program writes: how many bytes were taken.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        for &byte in bytes {
            if !self.writable() {
                break;
            }
            let shown = self.process(byte);
            self.output.extend(shown.iter());
            taken += 1;
        }
        taken
    }

    /// A byte as it goes to the screen.
    fn process(&mut self, byte: u8) -> Shown {
        if !self.oflag(OPOST) {
            return Shown::one(byte);
        }
        match byte {
            b'\n' => {
                if self.oflag(ONLCR) {
                    self.column = 0;
                    return Shown { bytes: *b"\r\n\0\0\0\0\0\0", len: 2 };
                }
                if self.oflag(ONLRET) {
                    self.column = 0;
                }
            }
            b'\r' => {
                if self.oflag(ONOCR) && self.column == 0 {
                    return Shown { bytes: [0; EXPANSION], len: 0 };
                }
                if self.oflag(OCRNL) {
                    if self.oflag(ONLRET) {
                        self.column = 0;
                    }
                    return Shown::one(b'\n');
                }
                self.column = 0;
            }
            b'\t' => {
                let spaces = 8 - self.column % 8;
                self.column += spaces;
                if self.termios.c_oflag & TABDLY == TABDLY {
                    return Shown { bytes: [b' '; EXPANSION], len: spaces };
                }
            }
            8 => self.column = self.column.saturating_sub(1),
            0..32 | 127 => {}
            _ if byte & 0xc0 == 0x80 && self.iflag(IUTF8) => {}
            _ => {
                self.column += 1;
                if self.oflag(OLCUC) {
                    return Shown::one(byte.to_ascii_uppercase());
                }
            }
        }
        Shown::one(byte)
    }

    /// Shows a typed byte; control characters as `^X` if so wished.
    pub(super) fn echo(&mut self, byte: u8) {
        let control = (byte < 32 && byte != b'\t') || byte == 127;
        if control && self.lflag(ECHOCTL) {
            self.echo_raw(b'^');
            self.echo_raw(byte ^ 0o100);
        } else {
            self.echo_raw(byte);
        }
    }

    /// Shows a byte as a program would write it.
    pub(super) fn echo_raw(&mut self, byte: u8) {
        let shown = self.process(byte);
        shown.iter().for_each(|byte| self.put_echo(byte));
    }

    /// Sends a byte to the screen whatever the settings.
    pub(super) fn put_echo(&mut self, byte: u8) {
        if self.output.len() + self.held.len() >= ECHO_MAX {
            return;
        }
        if self.stopped() { self.held.push_back(byte) } else { self.output.push_back(byte) }
    }

    /// Bytes that the master can read.
    #[must_use]
    pub fn shown(&self) -> usize {
        self.output.len()
    }

    /// Takes at most `most` bytes for the master.
    pub fn take_output(&mut self, most: usize) -> Vec<u8> {
        let n = most.min(self.output.len());
        self.output.drain(..n).collect()
    }
}
