//! Randomness of the host.

use std::cell::RefCell;

/// Bytes that a thread asks the host for at once: it gives so many without interruption.
const AHEAD: usize = 256;
/// Most bytes of a request that are taken from those.
const SHORT: usize = 32;

thread_local! {
    /// Bytes that have not been given to anybody.
    static POOL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Fills `buf` (`getrandom(2)`). A process that has been forked must not go on with what its
/// parent had asked for ahead: none that uses this forks.
pub fn fill(buf: &mut [u8]) {
    if buf.len() > SHORT {
        return ask(buf);
    }
    POOL.with_borrow_mut(|pool| {
        if pool.len() < buf.len() {
            pool.resize(AHEAD, 0);
            ask(pool);
        }
        let rest = pool.len() - buf.len();
        let given = &mut pool[rest..];
        buf.copy_from_slice(given);
        given.fill(0);
        pool.truncate(rest);
    });
}

fn ask(buf: &mut [u8]) {
    let mut done = 0;
    while done < buf.len() {
        let rest = &mut buf[done..];
        // SAFETY: `rest` is as long as the call is told.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        done += usize::try_from(n).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn nothing_is_given_twice() {
        let mut seen = std::collections::HashSet::new();
        for len in [16, 32, 8, 64].into_iter().cycle().take(400) {
            let mut bytes = vec![0; len];
            fill(&mut bytes);
            assert!(bytes.iter().any(|&b| b != 0));
            assert!(seen.insert(bytes[..8].to_vec()));
        }
    }
}
