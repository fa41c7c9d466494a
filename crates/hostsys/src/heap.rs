//! How much the sentry itself has allocated, whatever for: the last limit of all. What a
//! guest can have the sentry keep is bounded table by table; this bounds their sum.
//!
//! [`Counted`] is the allocator; each thread counts for itself and tells the others of
//! [`STEP`] bytes at a time, so that counting costs an addition. No locks.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU32, Ordering};

/// Bytes by which a thread's count may be wrong.
const STEP: isize = 64 << 10;

static HELD: AtomicIsize = AtomicIsize::new(0);
static LIMIT: AtomicIsize = AtomicIsize::new(isize::MAX);
static WAS_SHORT: AtomicBool = AtomicBool::new(false);
/// 1 while more is held than the limit: what [`wait_above`] sleeps on.
static ABOVE: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static OWN: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counted.
#[derive(Debug)]
pub struct Counted;

fn count(bytes: isize) {
    // A thread that is ending counts nothing any more.
    let _ = OWN.try_with(|own| {
        let now = own.get() + bytes;
        if now.abs() < STEP {
            own.set(now);
            return;
        }
        own.set(0);
        let held = HELD.fetch_add(now, Ordering::Relaxed) + now;
        let above = u32::from(held > LIMIT.load(Ordering::Relaxed));
        if ABOVE.swap(above, Ordering::SeqCst) < above {
            // SAFETY: the word is static.
            unsafe { libc::syscall(libc::SYS_futex, ABOVE.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
        }
    });
}

fn size(layout: Layout) -> isize {
    layout.size().cast_signed()
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: as promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-size(layout));
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        count(new.cast_signed() - size(layout));
        // SAFETY: as promised by the caller.
        unsafe { System.realloc(at, layout, new) }
    }
}

/// Bytes that are allocated, to within a step for each thread; 0 where [`Counted`] is not
/// the allocator.
#[must_use]
pub fn held() -> u64 {
    u64::try_from(HELD.load(Ordering::Relaxed)).unwrap_or(0)
}

/// Sets the limit of [`wait_above`], in bytes.
pub fn set_limit(bytes: u64) {
    LIMIT.store(isize::try_from(bytes).unwrap_or(isize::MAX), Ordering::Relaxed);
}

/// Whether [`is_short`] may have been true at any time.
#[must_use]
pub fn was_short() -> bool {
    WAS_SHORT.load(Ordering::Relaxed)
}

/// Whether three quarters of the limit are used: what a guest wants kept then is refused,
/// before anybody is killed for it.
#[must_use]
pub fn is_short() -> bool {
    let short = HELD.load(Ordering::Relaxed) > LIMIT.load(Ordering::Relaxed) / 4 * 3;
    if short {
        WAS_SHORT.store(true, Ordering::Relaxed);
    }
    short
}

/// Whether half of the limit is used: what stays when its process has ended, files above
/// all, is refused then, so that there is room for processes that remove it.
#[must_use]
pub fn is_filling() -> bool {
    HELD.load(Ordering::Relaxed) > LIMIT.load(Ordering::Relaxed) / 2
}

/// Sleeps until more is held than the limit. Costs nothing until then.
pub fn wait_above() {
    while ABOVE.load(Ordering::SeqCst) == 0 {
        // SAFETY: the word is static; no timeout.
        unsafe {
            libc::syscall(libc::SYS_futex, ABOVE.as_ptr(), libc::FUTEX_WAIT, 0, 0_usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_wakes_the_waiting() {
        let before = held();
        set_limit(before + (1 << 20));
        assert!(!is_short());
        let waiting = std::thread::spawn(wait_above);
        let layout = Layout::from_size_align(4 << 20, 16).unwrap();
        // SAFETY: a size that is not 0, and the same layout for both.
        unsafe {
            let at = Counted.alloc(layout);
            assert!(held() >= before + (4 << 20));
            assert!(is_short());
            waiting.join().unwrap();
            Counted.dealloc(at, layout);
        }
        assert!(held() < before + (1 << 20));
        assert_eq!(ABOVE.load(Ordering::SeqCst), 0);
        set_limit(u64::MAX);
    }
}
