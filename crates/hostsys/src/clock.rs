//! Host clocks.

fn read(clock: libc::clockid_t) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` outlives the call.
    unsafe { libc::clock_gettime(clock, &raw mut t) };
    (t.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(t.tv_nsec as u64)
}

/// Nanoseconds of `CLOCK_MONOTONIC` (`clock_gettime(2)`).
#[must_use]
pub fn monotonic() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds of `CLOCK_REALTIME`.
#[must_use]
pub fn realtime_nanos() -> u64 {
    read(libc::CLOCK_REALTIME)
}

/// Nanoseconds of `CLOCK_BOOTTIME`.
#[must_use]
pub fn boottime() -> u64 {
    read(libc::CLOCK_BOOTTIME)
}

/// Nanoseconds of `CLOCK_TAI`.
#[must_use]
pub fn tai() -> u64 {
    read(libc::CLOCK_TAI)
}

/// Nanoseconds of `CLOCK_MONOTONIC_RAW`.
#[must_use]
pub fn monotonic_raw() -> u64 {
    read(libc::CLOCK_MONOTONIC_RAW)
}

/// Nanoseconds of `CLOCK_REALTIME_COARSE`.
#[must_use]
pub fn realtime_coarse() -> u64 {
    read(libc::CLOCK_REALTIME_COARSE)
}

/// Nanoseconds of `CLOCK_MONOTONIC_COARSE`.
#[must_use]
pub fn monotonic_coarse() -> u64 {
    read(libc::CLOCK_MONOTONIC_COARSE)
}

/// Nanoseconds between two times of the coarse clocks.
#[must_use]
pub fn coarse_resolution() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` outlives the call.
    unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut t) };
    t.tv_nsec as u64
}

/// Seconds and nanoseconds of `CLOCK_REALTIME`.
#[must_use]
pub fn realtime() -> (i64, u32) {
    let nanos = realtime_nanos();
    ((nanos / 1_000_000_000) as i64, (nanos % 1_000_000_000) as u32)
}

/// Nanoseconds of CPU time that this process has used.
#[must_use]
pub fn process_cpu() -> u64 {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}
