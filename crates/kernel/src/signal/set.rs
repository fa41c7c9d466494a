//! [`SigSet`], and what signals do by default (`signal(7)`).

use chitin_abi::signal::*;

/// A set of signals; bit n-1 is signal n.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SigSet(pub u64);

/// Signals that stop a process.
pub const STOP_SIGNALS: SigSet =
    SigSet(1 << (SIGSTOP - 1) | 1 << (SIGTSTP - 1) | 1 << (SIGTTIN - 1) | 1 << (SIGTTOU - 1));
/// Signals of an instruction.
pub const SYNCHRONOUS: SigSet = SigSet(
    1 << (SIGSEGV - 1)
        | 1 << (SIGBUS - 1)
        | 1 << (SIGILL - 1)
        | 1 << (SIGTRAP - 1)
        | 1 << (SIGFPE - 1)
        | 1 << (SIGSYS - 1),
);
/// Signals that cannot be blocked.
pub const UNBLOCKABLE: SigSet = SigSet(1 << (SIGKILL - 1) | 1 << (SIGSTOP - 1));

/// Whether `signo` is the number of a signal.
#[must_use]
pub fn valid(signo: i32) -> bool {
    (1..=SIGRTMAX).contains(&signo)
}

impl SigSet {
    /// The set of one signal; empty if it is none.
    #[must_use]
    pub fn of(signo: i32) -> Self {
        if valid(signo) { Self(1 << (signo - 1)) } else { Self(0) }
    }

    /// Whether `signo` is in.
    #[must_use]
    pub fn has(self, signo: i32) -> bool {
        self.0 & Self::of(signo).0 != 0
    }

    /// Both sets.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The part of it that is in the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The lowest signal, synchronous ones first.
    #[must_use]
    pub fn next(self) -> Option<i32> {
        let first = self.and(SYNCHRONOUS);
        let from = if first.is_empty() { self } else { first };
        (from.0 != 0).then(|| from.0.trailing_zeros().cast_signed() + 1)
    }
}

/// Default action of a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultAction {
    /// Ends the process.
    Terminate,
    /// Ends the process with a core dump.
    Core,
    /// Nothing.
    Ignore,
    /// Stops the process.
    Stop,
    /// Continues the process.
    Continue,
}

/// What `signo` does by default.
#[must_use]
pub fn default_action(signo: i32) -> DefaultAction {
    match signo {
        SIGCHLD | SIGURG | SIGWINCH => DefaultAction::Ignore,
        SIGCONT => DefaultAction::Continue,
        SIGSTOP | SIGTSTP | SIGTTIN | SIGTTOU => DefaultAction::Stop,
        SIGQUIT | SIGILL | SIGTRAP | SIGABRT | SIGFPE | SIGSEGV | SIGBUS | SIGSYS | SIGXCPU
        | SIGXFSZ => DefaultAction::Core,
        _ => DefaultAction::Terminate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_n_minus_1_is_signal_n_and_no_other_number_is_a_signal() {
        assert_eq!((SigSet::of(1).0, SigSet::of(64).0), (1, 1 << 63));
        for none in [0, -1, 65, i32::MIN, i32::MAX] {
            assert!(SigSet::of(none).is_empty() && !SigSet(u64::MAX).has(none));
        }
    }

    #[test]
    fn defaults_are_those_of_signal_7() {
        let core = [3, 4, 5, 6, 7, 8, 11, 24, 25, 31];
        for signo in 1..=SIGRTMAX {
            let wanted = match signo {
                17 | 23 | 28 => DefaultAction::Ignore,
                18 => DefaultAction::Continue,
                19..=22 => DefaultAction::Stop,
                n if core.contains(&n) => DefaultAction::Core,
                _ => DefaultAction::Terminate,
            };
            assert_eq!(default_action(signo), wanted, "signal {signo}");
        }
    }
}
