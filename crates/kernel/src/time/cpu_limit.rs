//! [`CpuLimit`]: watches the CPU time of a process against `RLIMIT_CPU` (`getrlimit(2)`).
//! Lock: one per watch, held while the executor takes a timer.

use super::timers::cpu_look;
use crate::kernel::Kernel;
use crate::signal::{SigInfo, send_to_process};
use crate::sync::Mutex;
use crate::task::Process;
use chitin_abi::signal::{SIGKILL, SIGXCPU};
use chitin_abi::task::{RLIM_INFINITY, RLIMIT_CPU, Rlimit};
use chitin_executor::{Executor, TimerHandle};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

const SECOND: u64 = 1_000_000_000;

#[derive(Default)]
struct State {
    wait: Option<TimerHandle>,
    ended: bool,
    /// As in [`cpu_look`].
    look: (u64, u64),
}

/// Looks at a process's CPU time when it may have reached a limit.
pub struct CpuLimit {
    process: Weak<Process>,
    kernel: Weak<Kernel>,
    state: Mutex<State>,
}

impl CpuLimit {
    /// Watches a process whose limit is not infinite.
    pub fn watch(process: &Arc<Process>, kernel: &Arc<Kernel>) {
        let limit = process.limits.lock().get(RLIMIT_CPU).copied();
        let none = limit.is_none_or(|l| l.cur == RLIM_INFINITY && l.max == RLIM_INFINITY);
        let watch = (!none).then(|| {
            Arc::new(Self {
                process: Arc::downgrade(process),
                kernel: Arc::downgrade(kernel),
                state: Mutex::default(),
            })
        });
        let before = std::mem::replace(&mut *process.cpu_limit.lock(), watch.clone());
        if let Some(before) = before {
            before.end();
        }
        if let Some(watch) = watch {
            watch.look();
        }
    }

    /// Watches no longer.
    pub fn end(&self) {
        let wait = {
            let mut state = self.state.lock();
            state.ended = true;
            state.wait.take()
        };
        drop(wait);
    }

    /// Sends what is due, and waits for what comes next.
    fn look(self: Arc<Self>) {
        let (Some(process), Some(kernel)) = (self.process.upgrade(), self.kernel.upgrade()) else {
            return;
        };
        let now = process.cpu_time();
        let (due, next) = {
            let mut limits = process.limits.lock();
            let Some(limit) = limits.get_mut(RLIMIT_CPU) else { return };
            judge(limit, now)
        };
        if let Some(signal) = due {
            send_to_process(&process, SigInfo::kernel(signal));
        }
        let Some(next) = next else { return };
        let mut state = self.state.lock();
        if state.ended {
            return;
        }
        let left = cpu_look(&mut state.look, now, next.saturating_sub(now).max(1), kernel.cpus);
        let at = Executor::now().saturating_add(left);
        state.wait = Some(kernel.executor.timer(at, Waker::from(self.clone())));
    }
}

impl Wake for CpuLimit {
    fn wake(self: Arc<Self>) {
        self.look();
    }
}

/// What is due at this CPU time, and the next time at which something is. A soft limit that was
/// told of moves on by a second.
fn judge(limit: &mut Rlimit, now: u64) -> (Option<i32>, Option<u64>) {
    let at = |seconds: u64| match seconds {
        RLIM_INFINITY => u64::MAX,
        // Less than a second cannot be had.
        seconds => seconds.max(1).saturating_mul(SECOND),
    };
    if now >= at(limit.max) {
        return (Some(SIGKILL), None);
    }
    let mut due = None;
    if now >= at(limit.cur) {
        due = Some(SIGXCPU);
        limit.cur = (now / SECOND).saturating_add(1);
    }
    let next = at(limit.cur).min(at(limit.max));
    (due, (next != u64::MAX).then_some(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_limits_move_on_and_hard_ones_kill() {
        let mut limit = Rlimit { cur: 1, max: 3 };
        assert_eq!(judge(&mut limit, 0), (None, Some(SECOND)));
        assert_eq!(judge(&mut limit, SECOND), (Some(SIGXCPU), Some(2 * SECOND)));
        assert_eq!(limit.cur, 2);
        assert_eq!(judge(&mut limit, 3 * SECOND), (Some(SIGKILL), None));
        let mut limit = Rlimit { cur: RLIM_INFINITY, max: RLIM_INFINITY };
        assert_eq!(judge(&mut limit, 5 * SECOND), (None, None));
        let mut limit = Rlimit { cur: 0, max: RLIM_INFINITY };
        assert_eq!(judge(&mut limit, 1), (None, Some(SECOND)));
    }
}
