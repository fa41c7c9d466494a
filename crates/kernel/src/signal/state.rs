//! What threads and processes know of signals: pending ones, dispositions, masks.

use super::{Pending, SigSet, UNBLOCKABLE};
use crate::sync::Mutex;
use chitin_abi::signal::{SIG_DFL, SIG_IGN, SS_DISABLE, SigStack, Sigaction};
use chitin_platform::{Kicker, Whose};
use std::sync::Arc;

/// The signals that a thread blocks. While it runs, the platform may keep them.
#[derive(Default)]
struct Mask {
    set: SigSet,
    thread: Option<Arc<dyn Kicker>>,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.set.fmt(f)
    }
}

/// A thread's own signals.
#[derive(Debug)]
pub struct TaskSignals {
    /// Directed at the thread.
    pub pending: Pending,
    /// Blocked ones.
    mask: Mask,
    /// `sigaltstack(2)`.
    pub altstack: SigStack,
    /// Trap number, error code and address of the last fault, as frames show them.
    pub trap: (u64, u64, u64),
}

/// No alternate stack.
pub const NO_STACK: SigStack = SigStack { ss_sp: 0, ss_flags: SS_DISABLE, pad: 0, ss_size: 0 };

impl Default for TaskSignals {
    fn default() -> Self {
        Self {
            pending: Pending::default(),
            mask: Mask::default(),
            // As in Linux `SS_DISABLE` shows in frames only once a stack was taken away.
            altstack: SigStack { ss_flags: 0, ..NO_STACK },
            trap: (0, 0, 0),
        }
    }
}

impl TaskSignals {
    /// Those of a new task: the mask stays, the alternate stack only if asked for.
    #[must_use]
    pub fn for_clone(&self, keep_stack: bool) -> Self {
        let altstack = if keep_stack { self.altstack } else { NO_STACK };
        Self { altstack, ..Self::blocking(self.mask()) }
    }

    /// Those of a task that blocks some, and has nothing else.
    #[must_use]
    pub fn blocking(set: SigSet) -> Self {
        Self { mask: Mask { set, thread: None }, ..Self::default() }
    }

    /// Those of a task that executes another program: what is pending stays, and the mask.
    pub fn exec(&mut self) {
        let Self { pending, mask, .. } = std::mem::take(self);
        *self = Self { pending, mask, ..Self::default() };
    }

    /// The signals that are blocked.
    #[must_use]
    pub fn mask(&self) -> SigSet {
        let kept = self.mask.thread.as_ref().and_then(|thread| thread.mask());
        kept.map_or(self.mask.set, |kept| SigSet(kept).without(UNBLOCKABLE))
    }

    /// Blocks these and no others; to be called by the task itself.
    pub fn set_mask(&mut self, mask: SigSet) {
        self.mask.set = mask.without(UNBLOCKABLE);
        if let Some(thread) = &self.mask.thread {
            thread.set_mask(self.mask.set.0);
        }
    }

    /// Lets the platform keep the mask for this thread, or nobody any more.
    pub fn keep_by(&mut self, thread: Option<Arc<dyn Kicker>>) {
        let mask = self.mask();
        self.mask.thread = thread;
        self.set_mask(mask);
    }

    /// Tells the platform whether something is pending.
    pub fn tell_pending(&self, whose: Whose, pending: bool) {
        if let Some(thread) = &self.mask.thread {
            thread.set_pending(whose, pending);
        }
    }
}

/// Signals for a process.
#[derive(Default, Debug)]
pub struct ProcessSignals {
    /// For any of its threads.
    pub pending: Pending,
}

impl ProcessSignals {
    /// The process has ended.
    pub fn end(&mut self) {
        self.pending = Pending::default();
    }
}

/// What a process does on signals (`sigaction(2)`).
#[derive(Debug)]
pub struct SigHandlers {
    actions: Mutex<[Sigaction; 64]>,
}

const DEFAULT: Sigaction = Sigaction { handler: SIG_DFL, flags: 0, restorer: 0, mask: 0 };

impl Default for SigHandlers {
    fn default() -> Self {
        Self { actions: Mutex::new([DEFAULT; 64]) }
    }
}

fn index(signo: i32) -> usize {
    usize::try_from(signo - 1).unwrap_or(usize::MAX)
}

impl SigHandlers {
    /// All by default, but for those that are ignored.
    #[must_use]
    pub fn ignoring(ignored: SigSet) -> Self {
        let mut actions = [DEFAULT; 64];
        for (signo, action) in (1..).zip(&mut actions) {
            if ignored.has(signo) {
                action.handler = SIG_IGN;
            }
        }
        Self { actions: Mutex::new(actions) }
    }

    /// The action for a signal.
    #[must_use]
    pub fn get(&self, signo: i32) -> Sigaction {
        self.actions.lock().get(index(signo)).copied().unwrap_or(DEFAULT)
    }

    /// Changes it; returns the old one.
    pub fn set(&self, signo: i32, action: Sigaction) -> Sigaction {
        match self.actions.lock().get_mut(index(signo)) {
            Some(slot) => std::mem::replace(slot, action),
            None => DEFAULT,
        }
    }

    /// A copy for `fork(2)`.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self { actions: Mutex::new(*self.actions.lock()) }
    }

    /// A copy for `execve(2)`: handlers become defaults, ignored stay ignored.
    #[must_use]
    pub fn for_exec(&self) -> Self {
        let mut actions = *self.actions.lock();
        for action in &mut actions {
            let ignored = action.handler == SIG_IGN;
            *action = if ignored { Sigaction { handler: SIG_IGN, ..DEFAULT } } else { DEFAULT };
        }
        Self { actions: Mutex::new(actions) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chitin_abi::signal::{SIGINT, SIGTERM, SIGUSR1};

    #[test]
    fn exec_keeps_only_what_is_ignored() {
        let handlers = SigHandlers::default();
        let caught = Sigaction { handler: 0x1000, flags: 4, restorer: 8, mask: 16 };
        assert_eq!(handlers.set(SIGUSR1, caught).handler, SIG_DFL);
        handlers.set(SIGTERM, Sigaction { handler: SIG_IGN, ..caught });
        let copy = handlers.duplicate();
        copy.set(SIGINT, caught);
        assert_eq!(copy.get(SIGUSR1), caught);
        assert_eq!(handlers.get(SIGINT), DEFAULT, "a copy is a copy");
        let after = copy.for_exec();
        assert_eq!(after.get(SIGUSR1), DEFAULT);
        assert_eq!(after.get(SIGTERM), Sigaction { handler: SIG_IGN, ..DEFAULT });
        assert_eq!(after.set(65, caught), DEFAULT, "no such signal");
    }
}
