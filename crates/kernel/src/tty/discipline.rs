//! [`Discipline`]: what stands between the two ends of a terminal (`termios(3)`).
//!
//! Input is one queue. In canonical mode its end is the line that is being edited; a
//! line is complete with its delimiter, which is marked.

use super::control::{Setting, Speeds, initial};
use chitin_abi::signal::{SIGINT, SIGQUIT, SIGTSTP};
use chitin_abi::tty::*;
use std::collections::VecDeque;

/// Bytes of input that are kept (`_POSIX_MAX_CANON` and more).
pub(super) const INPUT_MAX: usize = 4096;
/// Bytes of output that wait for the master.
pub(super) const OUTPUT_MAX: usize = 32 << 10;
/// Marks the last byte of a line.
pub(super) const LINE_END: u16 = 0x100;
/// Stands for an end of file; is not read itself.
pub(super) const END_OF_FILE: u16 = 0x200;

/// Settings and queues of a terminal.
pub struct Discipline {
    pub(super) termios: Termios,
    pub(super) speeds: Speeds,
    /// What was typed: complete lines, then the line being edited.
    pub(super) input: VecDeque<u16>,
    /// Entries of the line being edited.
    pub(super) editing: usize,
    /// Column where it begins on the screen.
    pub(super) edit_column: usize,
    /// `VLNEXT` was typed.
    literal_next: bool,
    /// `VSTOP` was typed, or `TCOOFF`.
    stopped: bool,
    /// What the master reads.
    pub(super) output: VecDeque<u8>,
    /// Echoes held back while stopped.
    pub(super) held: VecDeque<u8>,
    /// Column of the cursor.
    pub(super) column: usize,
    /// Status bits for packet mode (`TIOCPKT`).
    pub(super) news: u8,
}

impl Default for Discipline {
    fn default() -> Self {
        Self {
            termios: initial(),
            speeds: Speeds { input: 38400, output: 38400 },
            input: VecDeque::new(),
            editing: 0,
            edit_column: 0,
            literal_next: false,
            stopped: false,
            output: VecDeque::new(),
            held: VecDeque::new(),
            column: 0,
            news: 0,
        }
    }
}

impl Discipline {
    pub(super) fn iflag(&self, bit: u32) -> bool {
        self.termios.c_iflag & bit != 0
    }
    pub(super) fn oflag(&self, bit: u32) -> bool {
        self.termios.c_oflag & bit != 0
    }
    pub(super) fn lflag(&self, bit: u32) -> bool {
        self.termios.c_lflag & bit != 0
    }

    /// A control character's value, or 0 (`_POSIX_VDISABLE`).
    pub(super) fn control(&self, index: usize) -> u8 {
        self.termios.c_cc.get(index).copied().unwrap_or(0)
    }

    /// Whether `byte` is this control character.
    pub(super) fn is(&self, byte: u8, index: usize) -> bool {
        byte != 0 && self.control(index) == byte
    }

    /// The settings.
    #[must_use]
    pub fn termios(&self) -> &Termios {
        &self.termios
    }

    /// Whether output is stopped.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Stops output.
    pub fn stop(&mut self) {
        if !self.stopped {
            self.stopped = true;
            self.news = self.news & !TIOCPKT_START | TIOCPKT_STOP;
        }
    }

    /// Lets output go on.
    pub fn start(&mut self) {
        if self.stopped {
            self.stopped = false;
            self.news = self.news & !TIOCPKT_STOP | TIOCPKT_START;
            self.output.extend(self.held.drain(..));
        }
    }

    /// Changes the settings.
    pub fn set(&mut self, new: &Termios, speeds: Option<Speeds>, how: Setting) {
        let canonical = self.lflag(ICANON);
        let flow = self.flow();
        let mut new = *new;
        // Pseudoterminals have eight bits and no parity.
        new.c_cflag = new.c_cflag & !(CSIZE | PARENB) | CS8 | CREAD;
        self.termios = new;
        if let Some(speeds) = speeds.or_else(|| Speeds::of_cflag(new.c_cflag)) {
            self.speeds = speeds;
        }
        if how == Setting::Flush {
            self.flush_input();
        }
        match (canonical, self.lflag(ICANON)) {
            (true, false) => {
                for entry in &mut self.input {
                    // As in Linux an end of file turns into a NUL.
                    *entry = if *entry & END_OF_FILE != 0 { 0 } else { *entry & 0xff };
                }
                self.editing = 0;
            }
            (false, true) => {
                // All that waits is one line.
                if let Some(last) = self.input.back_mut() {
                    *last |= LINE_END;
                }
                self.editing = 0;
            }
            _ => {}
        }
        if !self.iflag(IXON) {
            self.start();
        }
        if flow != self.flow() {
            let (on, off) = (TIOCPKT_DOSTOP, TIOCPKT_NOSTOP);
            self.news &= !(on | off);
            self.news |= if self.flow() { on } else { off };
        }
    }

    /// Whether the master may leave flow control to this side (`TIOCPKT_DOSTOP`).
    fn flow(&self) -> bool {
        self.iflag(IXON) && self.control(VSTART) == 0o21 && self.control(VSTOP) == 0o23
    }

    /// Throws away what was typed.
    pub fn flush_input(&mut self) {
        self.input.clear();
        self.editing = 0;
        self.literal_next = false;
        self.news |= TIOCPKT_FLUSHREAD;
    }

    /// Throws away what was written and not yet read by the master.
    pub fn flush_output(&mut self) {
        self.output.clear();
        self.held.clear();
        self.news |= TIOCPKT_FLUSHWRITE;
    }

    /// Bytes that can be read now.
    #[must_use]
    pub fn readable(&self) -> usize {
        self.input.len() - self.editing.min(self.input.len())
    }

    /// Whether the master may type more.
    #[must_use]
    pub fn has_room(&self) -> bool {
        // A line that is too long loses its end, so that it can be completed.
        self.input.len() < INPUT_MAX || (self.lflag(ICANON) && self.readable() == 0)
    }

    /// Something was typed; the signal that it raises.
    pub fn receive(&mut self, byte: u8) -> Option<i32> {
        let mut byte = if self.iflag(ISTRIP) { byte & 0x7f } else { byte };
        if self.iflag(IUCLC) && self.lflag(IEXTEN) {
            byte = byte.to_ascii_lowercase();
        }
        if std::mem::take(&mut self.literal_next) {
            self.typed(byte);
            return None;
        }
        if self.iflag(IXON) {
            if self.is(byte, VSTART) {
                self.start();
                return None;
            }
            if self.is(byte, VSTOP) {
                self.stop();
                return None;
            }
            if self.stopped && self.iflag(IXANY) {
                self.start();
            }
        }
        if self.lflag(ISIG) {
            let signals = [(VINTR, SIGINT), (VQUIT, SIGQUIT), (VSUSP, SIGTSTP)];
            let raised = signals.iter().find(|(index, _)| self.is(byte, *index));
            if let Some(&(_, signo)) = raised {
                self.raise(byte);
                return Some(signo);
            }
        }
        match byte {
            b'\r' if self.iflag(IGNCR) => return None,
            b'\r' if self.iflag(ICRNL) => byte = b'\n',
            b'\n' if self.iflag(INLCR) => byte = b'\r',
            _ => {}
        }
        if !self.lflag(ICANON) || !self.edit(byte) {
            self.typed(byte);
        }
        None
    }

    /// A character that raises a signal.
    fn raise(&mut self, byte: u8) {
        if !self.lflag(NOFLSH) {
            self.flush_input();
            self.flush_output();
        }
        if self.iflag(IXON) {
            self.start();
        }
        if self.lflag(ECHO) {
            self.echo(byte);
        }
    }

    /// The next character is to be taken as it is.
    pub(super) fn expect_literal(&mut self) {
        self.literal_next = true;
    }

    /// A character that means itself.
    fn typed(&mut self, byte: u8) {
        let full = self.input.len() + 1 >= INPUT_MAX;
        if full {
            if self.iflag(IMAXBEL) {
                self.put_echo(7);
            }
            return;
        }
        if self.lflag(ECHO) {
            if self.editing == 0 {
                self.edit_column = self.column;
            }
            if byte == b'\n' { self.echo_raw(byte) } else { self.echo(byte) }
        }
        self.input.push_back(u16::from(byte));
        if self.lflag(ICANON) {
            self.editing += 1;
        }
    }

    /// Completes the line.
    pub(super) fn complete(&mut self, last: u16) {
        if self.input.len() < INPUT_MAX + 1 {
            self.input.push_back(last);
        }
        self.editing = 0;
    }

    /// Takes at most `most` bytes of what can be read; at most a line in canonical mode.
    pub fn take(&mut self, most: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let canonical = self.lflag(ICANON);
        let mut available = self.readable();
        while available > 0 {
            let Some(&entry) = self.input.front() else { break };
            let end_of_file = entry & END_OF_FILE != 0;
            // The mark behind a full read goes with it.
            let goes_along = end_of_file && !out.is_empty();
            if out.len() >= most && !goes_along {
                break;
            }
            self.input.pop_front();
            available -= 1;
            if end_of_file {
                break;
            }
            out.push((entry & 0xff) as u8);
            if canonical && entry & LINE_END != 0 {
                break;
            }
        }
        out
    }
}
