//! What becomes of an interrupted system call (`signal(7)`), in the registers.

use crate::error::Restart;
use chitin_abi::signal::SA_RESTART;
use chitin_abi::{Errno, sysno};
use chitin_platform::Regs;

/// Bytes of the `syscall` instruction.
const SYSCALL_LEN: u64 = 2;

fn repeat(regs: &mut Regs, nr: u64) {
    regs.rax = nr;
    regs.rip = regs.rip.wrapping_sub(SYSCALL_LEN);
}

/// Settles a call before a handler with these `SA_*` flags runs.
pub(super) fn before_handler(regs: &mut Regs, kind: Restart, nr: u64, flags: u64) {
    match kind {
        Restart::NoIntr => repeat(regs, nr),
        Restart::Sys if flags & SA_RESTART != 0 => repeat(regs, nr),
        Restart::Sys | Restart::NoHand | Restart::Block => {
            regs.rax = (-i64::from(Errno::EINTR.raw())).cast_unsigned();
        }
    }
}

/// Settles a call when no handler runs: it goes on.
pub(super) fn without_handler(regs: &mut Regs, kind: Restart, nr: u64) {
    let restart = sysno::number("restart_syscall").unwrap_or(nr);
    repeat(regs, if kind == Restart::Block { restart } else { nr });
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: u64 = 0;
    const RESTART_SYSCALL: u64 = 219;
    const EINTR: u64 = (-4_i64).cast_unsigned();

    fn settled(act: impl Fn(&mut Regs)) -> (u64, u64) {
        let mut regs = Regs { rax: 0xdead, rip: 0x1002, ..Regs::default() };
        act(&mut regs);
        (regs.rax, regs.rip)
    }

    #[test]
    fn a_handler_decides_by_its_flags() {
        let with = |kind, flags| settled(|r| before_handler(r, kind, READ, flags));
        assert_eq!(with(Restart::Sys, 0), (EINTR, 0x1002));
        assert_eq!(with(Restart::Sys, SA_RESTART), (READ, 0x1000));
        assert_eq!(with(Restart::NoIntr, 0), (READ, 0x1000));
        assert_eq!(with(Restart::NoHand, SA_RESTART), (EINTR, 0x1002));
        assert_eq!(with(Restart::Block, SA_RESTART), (EINTR, 0x1002));
    }

    #[test]
    fn without_a_handler_the_call_goes_on() {
        let without = |kind| settled(|r| without_handler(r, kind, READ));
        for kind in [Restart::Sys, Restart::NoIntr, Restart::NoHand] {
            assert_eq!(without(kind), (READ, 0x1000));
        }
        assert_eq!(without(Restart::Block), (RESTART_SYSCALL, 0x1000));
    }
}
