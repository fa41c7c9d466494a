//! Kicks have a deadline: guest code that returned through a host frame of its own making
//! runs with the kick's signal blocked, and only death stops it.
//!
//! Time is counted in naps of the watching thread, so that a sandbox which was frozen as a
//! whole is not late when it goes on.
//!
//! One lock, innermost: the list of kicked threads.

use crate::context::Shared;
use crate::stub::lock;
use std::sync::{Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

const NAP: Duration = Duration::from_millis(250);
/// How many naps a kicked thread may go on for.
const PATIENCE: u32 = 12;

struct Kicked {
    thread: Weak<Shared>,
    run: u64,
    naps: u32,
}

static KICKED: Mutex<Vec<Kicked>> = Mutex::new(Vec::new());
static MORE: Condvar = Condvar::new();

/// Kills the thread's process unless it stops soon. A process has one platform, so there
/// is one list.
pub(crate) fn expect_stop(thread: &Weak<Shared>, run: u64) {
    let mut kicked = lock(&KICKED);
    if kicked.iter().any(|k| k.run == run && k.thread.ptr_eq(thread)) {
        return;
    }
    kicked.push(Kicked { thread: thread.clone(), run, naps: 0 });
    if kicked.len() == 1 {
        MORE.notify_one();
    }
}

fn watch() {
    loop {
        let mut kicked = lock(&KICKED);
        while kicked.is_empty() {
            kicked = MORE.wait(kicked).unwrap_or_else(PoisonError::into_inner);
        }
        drop(kicked);
        std::thread::sleep(NAP);
        let mut late = Vec::new();
        lock(&KICKED).retain_mut(|k| {
            let Some(thread) = k.thread.upgrade().filter(|t| t.is_still_in(k.run)) else {
                return false;
            };
            k.naps += 1;
            thread.look_again();
            if k.naps > PATIENCE {
                late.push(thread);
                return false;
            }
            true
        });
        late.iter().for_each(|thread| thread.kill());
    }
}

/// Starts the watching thread.
pub(crate) fn spawn() {
    let thread = std::thread::Builder::new().name("watchdog".into()).stack_size(128 << 10);
    let _ = thread.spawn(watch);
}
