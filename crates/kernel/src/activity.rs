//! [`Activity`]: lets a thread sleep for as long as no guest code runs.
//!
//! Lock: one, innermost.

use crate::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

/// Whether somebody sleeps until a guest thread goes on.
#[derive(Default)]
pub struct Activity {
    asleep: AtomicBool,
    sleeper: Mutex<Option<Thread>>,
}

impl Activity {
    /// A guest thread is about to run: one load, unless somebody sleeps.
    pub(crate) fn note(&self) {
        if self.asleep.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = &*self.sleeper.lock()
        {
            thread.unpark();
        }
    }

    /// Sleeps until a guest thread is about to run. `quiet` is asked once more when such
    /// a thread would be noticed: one that went on before must not be missed. For one
    /// thread only.
    pub fn sleep(&self, quiet: impl FnOnce() -> bool) {
        *self.sleeper.lock() = Some(std::thread::current());
        self.asleep.store(true, Ordering::SeqCst);
        if !quiet() {
            self.asleep.store(false, Ordering::SeqCst);
            return;
        }
        while self.asleep.load(Ordering::SeqCst) {
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_sleeper_wakes_when_a_guest_runs() {
        let activity = Arc::new(Activity::default());
        activity.sleep(|| false);
        let other = activity.clone();
        let noter = std::thread::spawn(move || {
            while !other.asleep.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            other.note();
        });
        activity.sleep(|| true);
        noter.join().expect("the noting thread");
    }
}
