//! Settings of a terminal: the initial ones, speeds, and how they are changed.

use chitin_abi::tty::*;

/// Whether a change of settings throws input away (`TCSETSF`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    /// `TCSETS`, `TCSETSW`.
    Keep,
    /// `TCSETSF`.
    Flush,
}

/// Speeds in bits per second; they mean nothing to a pseudoterminal but are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Speeds {
    /// `c_ispeed`.
    pub input: u32,
    /// `c_ospeed`.
    pub output: u32,
}

/// Speeds by their number in `c_cflag` (`termios(3)`).
const BAUD: [u32; 16] =
    [0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400];
/// Those whose number has the bit `BOTHER`, from its number 1 on.
const HIGH_BAUD: [u32; 15] = [
    57_600, 115_200, 230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000, 1_500_000,
    2_000_000, 2_500_000, 3_000_000, 3_500_000, 4_000_000,
];

impl Speeds {
    /// The speeds that `c_cflag` tells; `None` if they are given as numbers.
    #[must_use]
    pub fn of_cflag(cflag: u32) -> Option<Self> {
        let code = cflag & CBAUD;
        let table: &[u32] = if code & BOTHER == 0 { &BAUD } else { &HIGH_BAUD };
        let index = match code & BOTHER {
            0 => Some(code),
            _ => (code & 0o17).checked_sub(1),
        };
        let speed = table.get(usize::try_from(index?).ok()?)?;
        Some(Self { input: *speed, output: *speed })
    }
}

/// The settings of a new pseudoterminal.
#[must_use]
pub(super) fn initial() -> Termios {
    let mut c_cc = [0; 19];
    let chars = [
        (VINTR, 0o3),
        (VQUIT, 0o34),
        (VERASE, 0o177),
        (VKILL, 0o25),
        (VEOF, 0o4),
        (VMIN, 1),
        (VSTART, 0o21),
        (VSTOP, 0o23),
        (VSUSP, 0o32),
        (VREPRINT, 0o22),
        (VDISCARD, 0o17),
        (VWERASE, 0o27),
        (VLNEXT, 0o26),
    ];
    for (index, char) in chars {
        if let Some(slot) = c_cc.get_mut(index) {
            *slot = char;
        }
    }
    Termios {
        c_iflag: ICRNL | IXON,
        c_oflag: OPOST | ONLCR,
        c_cflag: B38400 | CS8 | CREAD,
        c_lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
        c_line: 0,
        c_cc,
    }
}
