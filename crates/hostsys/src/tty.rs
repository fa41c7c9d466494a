//! Host terminals (`ioctl_tty(2)`).

use crate::{Result, check};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of the kernel's `struct termios`.
pub const TERMIOS_LEN: usize = 36;

/// `TCGETS`; fails with `ENOTTY` if it is no terminal.
pub fn get(fd: BorrowedFd<'_>) -> Result<[u8; TERMIOS_LEN]> {
    let mut out = [0_u8; TERMIOS_LEN];
    // SAFETY: the kernel's struct has this length.
    check(i64::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TCGETS, out.as_mut_ptr()) }))?;
    Ok(out)
}

/// `TCSETS`, `TCSETSW`, `TCSETSF`.
pub fn set(fd: BorrowedFd<'_>, command: u32, termios: &[u8; TERMIOS_LEN]) -> Result<()> {
    let allowed = [libc::TCSETS, libc::TCSETSW, libc::TCSETSF];
    if !allowed.contains(&libc::Ioctl::from(command)) {
        return Err(std::io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: one of the commands that read a struct of this length.
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), command.into(), termios.as_ptr()) };
    check(i64::from(r)).map(drop)
}

/// Whether it is the controlling terminal of this process.
pub fn controls_us(fd: BorrowedFd<'_>) -> bool {
    let mut session = 0;
    // SAFETY: the kernel stores a pid_t.
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGSID, &raw mut session) };
    r == 0
}

/// The controlling terminal of this process.
pub fn controlling() -> Result<std::os::fd::OwnedFd> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).open("/dev/tty")?;
    Ok(file.into())
}

/// Whether another process group than ours is in the foreground of our terminal.
pub fn in_background() -> bool {
    let Ok(terminal) = controlling() else { return false };
    let mut group = 0;
    // SAFETY: the kernel stores a pid_t.
    let r = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGPGRP, &raw mut group) };
    // SAFETY: cannot fail.
    r == 0 && group != unsafe { libc::getpgrp() }
}

/// `TIOCGWINSZ`: rows, columns, pixels.
pub fn window(fd: BorrowedFd<'_>) -> Result<[u16; 4]> {
    let mut out = [0_u16; 4];
    // SAFETY: `struct winsize` is four words.
    check(i64::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, out.as_mut_ptr()) }))?;
    Ok(out)
}

/// `TIOCSWINSZ`.
pub fn set_window(fd: BorrowedFd<'_>, size: &[u16; 4]) -> Result<()> {
    // SAFETY: as above.
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, size.as_ptr()) };
    check(i64::from(r)).map(drop)
}

/// `FIONREAD`: bytes that can be read at once.
pub fn readable_bytes(fd: BorrowedFd<'_>) -> Result<i32> {
    let mut n = 0;
    // SAFETY: the kernel stores an int.
    check(i64::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut n) }))?;
    Ok(n)
}

/// `TCFLSH`: discards queued input or output (`TCIFLUSH`, …).
pub fn flush(fd: BorrowedFd<'_>, queue: i32) -> Result<()> {
    // SAFETY: integers only.
    check(i64::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TCFLSH, queue) })).map(drop)
}
