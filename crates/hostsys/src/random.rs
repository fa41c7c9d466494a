//! Randomness of the host.

/// Fills `buf` (`getrandom(2)`).
pub fn fill(buf: &mut [u8]) {
    let mut done = 0;
    while done < buf.len() {
        let rest = &mut buf[done..];
        // SAFETY: `rest` is as long as the call is told.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        done += usize::try_from(n).unwrap_or(0);
    }
}
