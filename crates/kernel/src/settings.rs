//! [`Settings`]: parameters below `/proc/sys` that a program may change (`proc_sys(5)`), each
//! for the whole sandbox and within limits of its own. No locks: words that stand alone.

use chitin_abi::Errno;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

/// One parameter.
pub struct Setting {
    value: AtomicU64,
    range: RangeInclusive<u64>,
}

impl Setting {
    fn new(value: u64, range: RangeInclusive<u64>) -> Self {
        Self { value: AtomicU64::new(value), range }
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// The value now, as a number of things in memory.
    #[must_use]
    pub fn count(&self) -> usize {
        usize::try_from(self.get()).unwrap_or(usize::MAX)
    }

    /// Changes it; `EINVAL` where that is not allowed.
    pub fn set(&self, value: u64) -> Result<(), Errno> {
        if !self.range.contains(&value) {
            return Err(Errno::EINVAL);
        }
        self.value.store(value, Ordering::Relaxed);
        Ok(())
    }
}

/// All of them.
pub struct Settings {
    /// Process numbers are smaller (`kernel.pid_max`).
    pub pid_max: Setting,
    /// Most bytes of a pipe for who has no privilege (`fs.pipe-max-size`).
    pub pipe_max_size: Setting,
    /// Highest limit of open files (`fs.nr_open`).
    pub nr_open: Setting,
    /// Most events of a new inotify instance (`fs.inotify.max_queued_events`).
    pub inotify_events: Setting,
    /// Most inotify instances of the sandbox (`fs.inotify.max_user_instances`).
    pub inotify_instances: Setting,
    /// Most inotify watches of the sandbox (`fs.inotify.max_user_watches`).
    pub inotify_watches: Setting,
}

impl Default for Settings {
    fn default() -> Self {
        let pid_max = u64::from(crate::task::PID_MAX.unsigned_abs());
        let pipe = crate::pipe::PIPE_MAX_SIZE as u64;
        Self {
            pid_max: Setting::new(pid_max, 301..=pid_max),
            pipe_max_size: Setting::new(pipe, crate::pipe::PIPE_BUF as u64..=1 << 31),
            nr_open: Setting::new(1 << 20, 64..=1 << 20),
            inotify_events: Setting::new(1 << 14, 0..=1 << 16),
            inotify_instances: Setting::new(128, 0..=1024),
            inotify_watches: Setting::new(1 << 16, 0..=1 << 20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_changes_nothing() {
        let setting = Setting::new(5, 1..=10);
        assert_eq!(setting.set(11), Err(Errno::EINVAL));
        assert_eq!(setting.get(), 5);
        assert_eq!(setting.set(10), Ok(()));
        assert_eq!(setting.count(), 10);
    }
}
