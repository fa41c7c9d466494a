//! Clocks and deadlines.
//!
//! The guest's `CLOCK_MONOTONIC` and `CLOCK_REALTIME` are the host's (its vDSO reads
//! them without a system call), so a deadline on either turns into a
//! [`Deadline`] on the host's monotonic clock.

pub mod cpu_limit;
pub mod timers;

use crate::task::Task;
use chitin_abi::Errno;
use chitin_abi::time::*;

/// A point on the host's `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Deadline(pub u64);

impl Deadline {
    /// `nanos` from now; saturates.
    #[must_use]
    pub fn after(nanos: u64) -> Self {
        Self(chitin_executor::Executor::now().saturating_add(nanos))
    }

    /// Nanoseconds left; 0 if passed.
    #[must_use]
    pub fn remaining(self) -> u64 {
        self.0.saturating_sub(chitin_executor::Executor::now())
    }
}

/// A clock of `clock_gettime(2)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Clock {
    Realtime,
    RealtimeCoarse,
    Tai,
    Monotonic,
    MonotonicCoarse,
    MonotonicRaw,
    Boottime,
    ProcessCpu,
    ThreadCpu,
}

/// The current time of day.
#[must_use]
pub fn now() -> Timespec {
    let nanos = chitin_hostsys::clock::realtime_nanos();
    Timespec {
        tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or(0),
    }
}

impl Clock {
    /// The clock with this number; `EINVAL` if there is none.
    pub fn of(clock: i32) -> Result<Self, Errno> {
        Ok(match clock {
            CLOCK_REALTIME | CLOCK_REALTIME_ALARM => Self::Realtime,
            CLOCK_REALTIME_COARSE => Self::RealtimeCoarse,
            CLOCK_TAI => Self::Tai,
            CLOCK_MONOTONIC => Self::Monotonic,
            CLOCK_MONOTONIC_COARSE => Self::MonotonicCoarse,
            CLOCK_MONOTONIC_RAW => Self::MonotonicRaw,
            CLOCK_BOOTTIME | CLOCK_BOOTTIME_ALARM => Self::Boottime,
            CLOCK_PROCESS_CPUTIME_ID => Self::ProcessCpu,
            CLOCK_THREAD_CPUTIME_ID => Self::ThreadCpu,
            _ => return Err(Errno::EINVAL),
        })
    }

    /// Its time in nanoseconds.
    #[must_use]
    pub fn now(self, task: &Task) -> u64 {
        match self {
            Self::Realtime => chitin_hostsys::clock::realtime_nanos(),
            Self::RealtimeCoarse => chitin_hostsys::clock::realtime_coarse(),
            Self::Tai => chitin_hostsys::clock::tai(),
            Self::Monotonic => chitin_hostsys::clock::monotonic(),
            Self::MonotonicCoarse => chitin_hostsys::clock::monotonic_coarse(),
            Self::MonotonicRaw => chitin_hostsys::clock::monotonic_raw(),
            Self::Boottime => chitin_hostsys::clock::boottime(),
            Self::ProcessCpu | Self::ThreadCpu => task.process.cpu_time(),
        }
    }

    /// The deadline at this time of the clock.
    #[must_use]
    pub fn deadline(self, at: u64) -> Deadline {
        let now = match self {
            Self::Realtime | Self::RealtimeCoarse => chitin_hostsys::clock::realtime_nanos(),
            Self::Tai => chitin_hostsys::clock::tai(),
            Self::Boottime => chitin_hostsys::clock::boottime(),
            _ => return Deadline(at),
        };
        Deadline::after(at.saturating_sub(now))
    }
}
