//! [`Scheduling`]: what a thread has asked of the scheduler (`sched(7)`). The host schedules
//! as it likes; guests read back what they have set.

use chitin_abi::sched::{SCHED_FIFO, SCHED_OTHER, SCHED_RESET_ON_FORK, SCHED_RR};

/// Most CPUs of a set, those of `cpu_set_t`.
pub const CPUS_MAX: usize = 1024;

/// A set of CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuSet(pub [u64; CPUS_MAX / 64]);

impl CpuSet {
    /// The first `n` CPUs.
    #[must_use]
    pub fn first(n: usize) -> Self {
        Self(std::array::from_fn(|word| match n.saturating_sub(word * 64) {
            left @ 0..64 => (1 << left) - 1,
            _ => u64::MAX,
        }))
    }

    /// Those that are in `other` too.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let mut both = self;
        both.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= other);
        both
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// The one with the lowest number.
    #[must_use]
    pub fn lowest(self) -> Option<usize> {
        let word = self.0.iter().position(|&word| word != 0)?;
        Some(word * 64 + self.0.get(word)?.trailing_zeros() as usize)
    }

    /// Whether this CPU is in it.
    #[must_use]
    pub fn has(self, cpu: usize) -> bool {
        self.0.get(cpu / 64).is_some_and(|word| word & 1 << (cpu % 64) != 0)
    }
}

/// What a thread has asked for.
#[derive(Clone, Copy, Debug)]
pub struct Scheduling {
    /// -20 to 19.
    pub nice: i32,
    /// `SCHED_*`, without [`SCHED_RESET_ON_FORK`].
    pub policy: i32,
    /// Real-time priority, 1 to 99, or 0.
    pub priority: i32,
    /// Children begin anew.
    pub reset_on_fork: bool,
    /// Where it may run; `None` is everywhere.
    pub affinity: Option<CpuSet>,
    /// `ioprio_set(2)`.
    pub io_priority: i32,
}

impl Default for Scheduling {
    fn default() -> Self {
        Self {
            nice: 0,
            policy: SCHED_OTHER,
            priority: 0,
            reset_on_fork: false,
            affinity: None,
            io_priority: 0,
        }
    }
}

impl Scheduling {
    /// The CPU that the thread is said to run on: the first of those allowed.
    #[must_use]
    pub fn cpu(&self) -> usize {
        self.affinity.and_then(CpuSet::lowest).unwrap_or(0)
    }

    /// What a child begins with.
    #[must_use]
    pub fn for_child(&self) -> Self {
        if !self.reset_on_fork {
            return *self;
        }
        // Only what was raised is reset.
        let (policy, nice) = match self.policy {
            SCHED_FIFO | SCHED_RR => (SCHED_OTHER, 0),
            other => (other, self.nice.max(0)),
        };
        Self { policy, nice, priority: 0, reset_on_fork: false, ..*self }
    }

    /// The policy as `sched_getscheduler(2)` tells it.
    #[must_use]
    pub fn told_policy(&self) -> i32 {
        self.policy | if self.reset_on_fork { SCHED_RESET_ON_FORK } else { 0 }
    }

    /// The priority of `/proc/PID/stat`: 0 to 39 for nice values, negative ones for
    /// real time.
    #[must_use]
    pub fn shown_priority(&self) -> i32 {
        if self.priority > 0 { -1 - self.priority } else { 20 + self.nice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_cpus() {
        assert!(CpuSet::first(0).is_empty());
        assert!(CpuSet::first(64).has(63) && !CpuSet::first(64).has(64));
        assert!(CpuSet::first(65).has(64));
        assert_eq!(CpuSet::first(3).and(CpuSet::first(2)), CpuSet::first(2));
        assert!(!CpuSet::first(CPUS_MAX).has(CPUS_MAX));
    }
}
