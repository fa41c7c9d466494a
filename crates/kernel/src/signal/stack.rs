//! The alternate signal stack of a thread (`sigaltstack(2)`).

use super::NO_STACK;
use chitin_abi::Errno;
use chitin_abi::signal::{MINSIGSTKSZ, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, SigStack};

/// Whether the address lies on the stack, whatever its flags.
pub(super) fn contains(stack: &SigStack, rsp: u64) -> bool {
    rsp > stack.ss_sp && rsp - stack.ss_sp <= stack.ss_size
}

/// Whether the thread runs on the alternate stack; one that disarms itself is never
/// in use.
#[must_use]
pub fn on_stack(stack: &SigStack, rsp: u64) -> bool {
    stack.ss_flags & SS_AUTODISARM == 0 && contains(stack, rsp)
}

/// Whether a handler with `SA_ONSTACK` moves to the stack.
pub(super) fn is_free(stack: &SigStack, rsp: u64) -> bool {
    stack.ss_size != 0 && !on_stack(stack, rsp)
}

/// What `sigaltstack(2)` tells of the stack.
#[must_use]
pub fn report_stack(stack: &SigStack, rsp: u64) -> SigStack {
    let state = match stack.ss_size {
        0 => SS_DISABLE,
        _ if on_stack(stack, rsp) => SS_ONSTACK,
        _ => 0,
    };
    SigStack { ss_flags: state | stack.ss_flags & SS_AUTODISARM, pad: 0, ..*stack }
}

/// Changes the stack as `sigaltstack(2)` and the return from a handler do: `EPERM`
/// while it is in use, `EINVAL` for unknown flags, `ENOMEM` if it is too small.
pub fn change_stack(stack: &mut SigStack, new: &SigStack, rsp: u64) -> Result<(), Errno> {
    if on_stack(stack, rsp) {
        return Err(Errno::EPERM);
    }
    let mode = new.ss_flags & !SS_AUTODISARM;
    *stack = match mode {
        SS_DISABLE => SigStack { ss_flags: new.ss_flags, ..NO_STACK },
        0 | SS_ONSTACK if new.ss_size < MINSIGSTKSZ => return Err(Errno::ENOMEM),
        0 | SS_ONSTACK => SigStack { pad: 0, ..*new },
        _ => return Err(Errno::EINVAL),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: SigStack = SigStack { ss_sp: 0x1000, ss_flags: 0, pad: 0, ss_size: 0x2000 };

    #[test]
    fn the_top_belongs_to_the_stack_and_the_bottom_does_not() {
        assert!(on_stack(&STACK, 0x3000) && on_stack(&STACK, 0x1001));
        assert!(!on_stack(&STACK, 0x1000) && !on_stack(&STACK, 0x3001));
        assert!(!is_free(&STACK, 0x2000) && is_free(&STACK, 0x8000));
        let disarming = SigStack { ss_flags: SS_AUTODISARM, ..STACK };
        assert!(!on_stack(&disarming, 0x2000) && is_free(&disarming, 0x2000));
        assert!(!is_free(&NO_STACK, 0x2000));
    }

    #[test]
    fn a_stack_in_use_or_too_small_or_with_unknown_flags_is_refused() {
        let mut stack = NO_STACK;
        let small = SigStack { ss_size: MINSIGSTKSZ - 1, ..STACK };
        assert_eq!(change_stack(&mut stack, &small, 0), Err(Errno::ENOMEM));
        let odd = SigStack { ss_flags: 4, ..STACK };
        assert_eq!(change_stack(&mut stack, &odd, 0), Err(Errno::EINVAL));
        let both = SigStack { ss_flags: SS_DISABLE | SS_ONSTACK, ..STACK };
        assert_eq!(change_stack(&mut stack, &both, 0), Err(Errno::EINVAL));
        assert_eq!(report_stack(&stack, 0).ss_flags, SS_DISABLE);
        assert_eq!(change_stack(&mut stack, &STACK, 0), Ok(()));
        assert_eq!(report_stack(&stack, 0x2000).ss_flags, SS_ONSTACK);
        let off = SigStack { ss_flags: SS_DISABLE, ..STACK };
        assert_eq!(change_stack(&mut stack, &off, 0x2000), Err(Errno::EPERM));
        assert_eq!(change_stack(&mut stack, &off, 0x9000), Ok(()));
        assert_eq!((stack.ss_sp, stack.ss_size), (0, 0));
    }
}
