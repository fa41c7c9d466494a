//! [`Region`]: the published answers of a process, behind the request block of its stub,
//! which can read them and never write. The code in the stub that gives them begins at its
//! label `published`.
//!
//! An entry changes under a count that is odd meanwhile; who reads it looks at the count
//! before and after. There is one writer at a time: the kernel sees to that.

use crate::control::Block;
use crate::layout::*;
use crate::stub::Stub;
use chitin_platform::{Answers, PathAsk, Stamp};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

/// How long the time stamp counter is compared with the clock before its rate is known, in
/// nanoseconds.
const LEARN: u64 = 20_000_000;

/// See the module.
pub(crate) struct Region {
    stub: Arc<Stub>,
    /// A bit for each page that was written.
    used: AtomicU64,
}

impl Region {
    pub(crate) fn new(stub: Arc<Stub>) -> Self {
        ticks_until(0);
        Self { stub, used: AtomicU64::new(0) }
    }

    fn block(&self) -> &Block {
        self.stub.readable()
    }

    /// Marks an entry as changing and takes it from everybody.
    fn open(&self, at: u64) {
        let block = self.block();
        let seq = block.u32(at + ENTRY_SEQ);
        seq.store(seq.load(Ordering::Relaxed) | 1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        block.set(at + ENTRY_VIEW, 0);
        fence(Ordering::SeqCst);
    }

    fn close(&self, at: u64) {
        fence(Ordering::SeqCst);
        self.block().u32(at + ENTRY_SEQ).fetch_add(1, Ordering::Release);
    }

    fn put(&self, at: u64, kind: u64, stamp: Stamp, result: i32, stat: &[u8], path: &[u8]) {
        let Some((since, window)) = ticks(stamp.until) else { return };
        self.used.fetch_or(1 << (at >> 12), Ordering::Relaxed);
        self.open(at);
        let block = self.block();
        block.u32(at + ENTRY_KIND).store(kind as u32, Ordering::Relaxed);
        block.set(at + ENTRY_CHANGES, stamp.changes);
        block.set(at + ENTRY_SINCE, since);
        block.set(at + ENTRY_WINDOW, window);
        block.set(at + ENTRY_RESULT, i64::from(result) as u64);
        let stat = stat.get(..STAT_LEN as usize).unwrap_or_default();
        block.write(at + ENTRY_STAT, stat);
        if !path.is_empty() {
            let mut padded = [0; PATH_MAX as usize];
            padded[..path.len()].copy_from_slice(path);
            block.write(at + ENTRY_PATH, &padded);
        }
        block.set(at + ENTRY_VIEW, stamp.view);
        self.close(at);
    }
}

/// Where the entry of a path is, and the question as the stub knows it.
fn place(ask: PathAsk, path: &[u8]) -> (u64, u64) {
    let kind = match ask {
        PathAsk::Stat => ASK_STAT,
        PathAsk::Lstat => ASK_LSTAT,
        PathAsk::Readlink => ASK_READLINK,
        PathAsk::Access(mode) => ASK_ACCESS + u64::from(mode & 7),
    };
    let mut hash = kind;
    let mut words = path.chunks(8).map(|c| {
        let mut word = [0; 8];
        word[..c.len()].copy_from_slice(c);
        u64::from_le_bytes(word)
    });
    // A path of whole words has its zero byte in one more.
    let last = if path.len().is_multiple_of(8) { Some(0) } else { None };
    for word in words.by_ref().chain(last) {
        hash = (hash ^ word).wrapping_mul(HASH_FACTOR);
    }
    (PATHS_AT + (hash >> (64 - PATHS_BITS)) * PATH_LEN, kind)
}

/// Where the threads that wait for a word are counted.
fn waiters(addr: u64) -> u64 {
    let hash = (addr as u32).wrapping_mul(WAITERS_FACTOR as u32) >> (32 - WAITERS_BITS);
    WAITERS_AT + 4 * u64::from(hash)
}

impl Answers for Region {
    fn files(&self) -> usize {
        FILES as usize
    }

    fn path_max(&self) -> usize {
        PATH_MAX as usize - 1
    }

    fn put_file(&self, fd: usize, stamp: Stamp, stat: &[u8]) {
        if (fd as u64) < FILES {
            self.put(FILES_AT + fd as u64 * FILE_LEN, ASK_STAT, stamp, 0, stat, b"");
        }
    }

    fn drop_file(&self, fd: usize) {
        let at = FILES_AT + fd as u64 * FILE_LEN;
        let used = self.used.load(Ordering::Relaxed) >> (at >> 12 & 63) & 1 == 1;
        if (fd as u64) < FILES && used && self.block().get(at + ENTRY_VIEW) != 0 {
            self.open(at);
            self.close(at);
        }
    }

    fn put_path(&self, ask: PathAsk, path: &[u8], stamp: Stamp, result: i32, stat: &[u8]) {
        if (1..PATH_MAX as usize).contains(&path.len()) && !path.contains(&0) {
            let (at, kind) = place(ask, path);
            self.put(at, kind, stamp, result, stat, path);
        }
    }

    fn waits(&self, addr: u64) {
        let at = waiters(addr);
        self.used.fetch_or(1 << (at >> 12), Ordering::Relaxed);
        self.block().u32(at).fetch_add(1, Ordering::SeqCst);
    }

    fn waits_no_more(&self, addr: u64) {
        let at = waiters(addr);
        // Not after all have been wiped.
        if self.used.load(Ordering::Relaxed) >> (at >> 12) & 1 == 1 {
            self.block().u32(at).fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn clear(&self) {
        let files = (0..FILES).map(|i| (FILES_AT + i * FILE_LEN, FILE_LEN));
        let paths = (0..1 << PATHS_BITS).map(|i| (PATHS_AT + i * PATH_LEN, PATH_LEN));
        let used = self.used.swap(0, Ordering::Relaxed);
        if used >> (WAITERS_AT >> 12) & 1 == 1 {
            self.block().write(WAITERS_AT, &[0; 4 << WAITERS_BITS]);
        }
        for (at, len) in files.chain(paths).filter(|(at, _)| used >> (at >> 12) & 1 == 1) {
            if self.block().u32(at + ENTRY_SEQ).load(Ordering::Relaxed) != 0 {
                self.open(at);
                self.block().write(at + ENTRY_VIEW, &[0; PATH_LEN as usize][8..len as usize]);
                self.close(at);
            }
        }
    }
}

/// The time stamp counter.
fn counter() -> u64 {
    // SAFETY: an instruction that every x86-64 CPU has.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Whether that counter runs evenly.
fn is_even() -> bool {
    // CPUID 8000_0007: bit 8 of edx is the invariant counter (Intel SDM 3, "Invariant TSC").
    let most = std::arch::x86_64::__cpuid(0x8000_0000).eax;
    most >= 0x8000_0007 && std::arch::x86_64::__cpuid(0x8000_0007).edx >> 8 & 1 == 1
}

/// Counter and how many of its ticks there are until a time; `None` if that is not known.
fn ticks(until: Option<u64>) -> Option<(u64, u64)> {
    match until {
        None => Some((0, u64::MAX)),
        Some(until) => ticks_until(until),
    }
}

fn ticks_until(until: u64) -> Option<(u64, u64)> {
    static START: OnceLock<Option<(u64, u64)>> = OnceLock::new();
    let now = || (counter(), chitin_hostsys::clock::monotonic());
    let (start, began) = (*START.get_or_init(|| is_even().then(now)))?;
    let (count, time) = now();
    let (spent, passed) = (count.checked_sub(start)?, time.checked_sub(began)?);
    let left = until.checked_sub(time)?;
    if passed < LEARN {
        return None;
    }
    let window = u128::from(left) * u128::from(spent) / u128::from(passed);
    Some((count, u64::try_from(window).ok().filter(|&w| w < 1 << 62)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_inside_the_slot() {
        for path in [&b"/"[..], b"/etc/passwd", b"12345678", b"1234567", &[b'x'; 63]] {
            for ask in [PathAsk::Stat, PathAsk::Lstat, PathAsk::Access(7)] {
                let (at, _) = place(ask, path);
                assert!(at >= PATHS_AT && at + PATH_LEN <= REQUEST_SPAN);
            }
        }
        const { assert!(FILES_AT + FILES * FILE_LEN <= WAITERS_AT) };
        const { assert!(WAITERS_AT + (4 << WAITERS_BITS) <= PATHS_AT) };
        assert!(waiters(u64::MAX - 3) < PATHS_AT && waiters(0) == WAITERS_AT);
        const { assert!(ENTRY_STAT + STAT_LEN <= FILE_LEN) };
        const { assert!(ENTRY_PATH + PATH_MAX <= PATH_LEN) };
    }

    #[test]
    fn time_passes_in_ticks() {
        let soon = || chitin_hostsys::clock::monotonic() + 1_000_000_000;
        ticks_until(0);
        std::thread::sleep(std::time::Duration::from_nanos(2 * LEARN));
        if !is_even() {
            println!("skipped: the counter of this machine does not run evenly");
            return;
        }
        let (_, window) = ticks_until(soon()).unwrap();
        // Between 0.5 and 8 GHz.
        assert!((500_000_000..8_000_000_000).contains(&window), "{window}");
        assert_eq!(ticks_until(1), None);
    }
}
