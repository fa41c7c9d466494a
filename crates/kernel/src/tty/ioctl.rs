//! `ioctl_tty(2)` of pseudoterminals.

use super::control::{Setting, Speeds};
use super::pty::{Lock, Pty};
use super::{PTY_MAJOR, Terminal, check_job, job_ioctl, signal_foreground};
use crate::fd::FdEntry;
use crate::vfs::{File, FileCx};
use chitin_abi::fs::{AT_FDCWD, O_ACCMODE, O_CLOEXEC, O_NONBLOCK, makedev};
use chitin_abi::signal::{SIGINT, SIGQUIT, SIGTSTP, SIGTTOU};
use chitin_abi::task::RLIMIT_NOFILE;
use chitin_abi::tty::*;
use chitin_abi::{Errno, Pod};
use chitin_usermem::{UserAddr, UserPtr};
use std::sync::Arc;

// tcflush(3), tcflow(3)
const TCIFLUSH: u64 = 0;
const TCOFLUSH: u64 = 1;
const TCIOFLUSH: u64 = 2;
const TCOOFF: u64 = 0;
const TCOON: u64 = 1;
const TCIOFF: u64 = 2;
const TCION: u64 = 3;

fn fetch<T: Pod>(cx: FileCx<'_>, arg: u64) -> Result<T, Errno> {
    let mm = cx.task.mm().ok_or(Errno::EFAULT)?;
    UserPtr::<T>::new(UserAddr(arg)).read(&*mm)
}

fn store<T: Pod>(cx: FileCx<'_>, arg: u64, value: &T) -> Result<u64, Errno> {
    let mm = cx.task.mm().ok_or(Errno::EFAULT)?;
    UserPtr::<T>::new(UserAddr(arg)).write(&*mm, value).map(|()| 0)
}

fn int(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Requests of the master.
pub(super) fn master(pty: &Arc<Pty>, cx: FileCx<'_>, cmd: u32, arg: u64) -> Result<u64, Errno> {
    match cmd {
        TIOCGPTN => store(cx, arg, &pty.index()),
        TIOCSPTLCK => {
            let lock = if fetch::<i32>(cx, arg)? != 0 { Lock::Locked } else { Lock::Open };
            pty.state.lock().lock = lock;
            Ok(0)
        }
        TIOCGPTLCK => {
            let locked = pty.state.lock().lock == Lock::Locked;
            store(cx, arg, &i32::from(locked))
        }
        TIOCGPTPEER => open_peer(pty, cx, arg),
        TIOCPKT => {
            let on = fetch::<i32>(cx, arg)? != 0;
            let mut state = pty.state.lock();
            if on && !state.packets {
                state.discipline.news = 0;
            }
            state.packets = on;
            Ok(0)
        }
        TIOCGPKT => {
            let on = pty.state.lock().packets;
            store(cx, arg, &i32::from(on))
        }
        TIOCSIG => {
            let signo = i32::try_from(arg).map_err(|_| Errno::EINVAL)?;
            if ![SIGINT, SIGQUIT, SIGTSTP].contains(&signo) {
                return Err(Errno::EINVAL);
            }
            signal_foreground(&cx.task.kernel, &**pty, signo);
            Ok(0)
        }
        FIONREAD => {
            let n = pty.state.lock().discipline.shown();
            store(cx, arg, &int(n))
        }
        TIOCOUTQ => store(cx, arg, &0_i32),
        TIOCGDEV => store(cx, arg, &makedev(5, 2)),
        // The master asks for the slave's.
        TIOCGPGRP => store(cx, arg, &pty.job().foreground().unwrap_or(0)),
        TIOCGSID => store(cx, arg, &pty.job().session().ok_or(Errno::ENOTTY)?),
        TIOCSCTTY | TIOCNOTTY => Err(Errno::ENOTTY),
        TCFLSH => flush(
            pty,
            match arg {
                TCIFLUSH => TCOFLUSH,
                TCOFLUSH => TCIFLUSH,
                other => other,
            },
        ),
        _ => common(pty, cx, cmd, arg),
    }
}

/// Requests of the slave.
pub(super) fn slave(pty: &Arc<Pty>, cx: FileCx<'_>, cmd: u32, arg: u64) -> Result<u64, Errno> {
    match cmd {
        TCSETS | TCSETSW | TCSETSF | TCSETS2 | TCSETSW2 | TCSETSF2 | TCSETA | TCSETAW | TCSETAF
        | TCFLSH | TCXONC | TCSBRK | TCSBRKP | TIOCSBRK | TIOCCBRK | TIOCSETD => {
            check_job(cx.task, &**pty, SIGTTOU)?
        }
        _ => {}
    }
    match cmd {
        FIONREAD => {
            let n = pty.state.lock().discipline.readable();
            store(cx, arg, &int(n))
        }
        TIOCOUTQ => {
            // What was written is with the master at once.
            store(cx, arg, &0_i32)
        }
        TIOCGDEV => store(cx, arg, &makedev(PTY_MAJOR, pty.index())),
        TCFLSH => flush(pty, arg),
        TCXONC => flow(pty, arg),
        _ => {
            let terminal: Arc<dyn Terminal> = pty.clone();
            job_ioctl(cx.task, &terminal, cmd, arg).unwrap_or_else(|| common(pty, cx, cmd, arg))
        }
    }
}

/// Requests that mean the same at both ends.
fn common(pty: &Arc<Pty>, cx: FileCx<'_>, cmd: u32, arg: u64) -> Result<u64, Errno> {
    match cmd {
        TCGETS => {
            let termios = *pty.state.lock().discipline.termios();
            store(cx, arg, &termios)
        }
        TCGETS2 => {
            let both = {
                let state = pty.state.lock();
                let speeds = state.discipline.speeds;
                let termios = *state.discipline.termios();
                Termios2 { termios, c_ispeed: speeds.input, c_ospeed: speeds.output }
            };
            store(cx, arg, &both)
        }
        TCSETS | TCSETSW | TCSETSF => {
            let termios = fetch::<Termios>(cx, arg)?;
            let how = if cmd == TCSETSF { Setting::Flush } else { Setting::Keep };
            pty.state.lock().discipline.set(&termios, None, how);
            pty.announce();
            Ok(0)
        }
        TCSETS2 | TCSETSW2 | TCSETSF2 => {
            let both = fetch::<Termios2>(cx, arg)?;
            let how = if cmd == TCSETSF2 { Setting::Flush } else { Setting::Keep };
            let given = both.termios.c_cflag & CBAUD == BOTHER;
            let speeds = given.then_some(Speeds { input: both.c_ispeed, output: both.c_ospeed });
            pty.state.lock().discipline.set(&both.termios, speeds, how);
            pty.announce();
            Ok(0)
        }
        TCGETA => {
            let termios = *pty.state.lock().discipline.termios();
            store(cx, arg, &short(&termios))
        }
        TCSETA | TCSETAW | TCSETAF => {
            let wanted = fetch::<Termio>(cx, arg)?;
            let how = if cmd == TCSETAF { Setting::Flush } else { Setting::Keep };
            {
                let mut state = pty.state.lock();
                let termios = merged(state.discipline.termios(), &wanted);
                state.discipline.set(&termios, None, how);
            }
            pty.announce();
            Ok(0)
        }
        TIOCGWINSZ => {
            let window = pty.state.lock().window;
            store(cx, arg, &window)
        }
        TIOCSWINSZ => {
            pty.set_window(fetch(cx, arg)?);
            Ok(0)
        }
        TIOCSPGRP => {
            let terminal: Arc<dyn Terminal> = pty.clone();
            job_ioctl(cx.task, &terminal, cmd, arg).unwrap_or(Err(Errno::ENOTTY))
        }
        TIOCEXCL | TIOCNXCL => {
            pty.state.lock().exclusive = cmd == TIOCEXCL;
            Ok(0)
        }
        TIOCGEXCL => {
            let on = pty.state.lock().exclusive;
            store(cx, arg, &i32::from(on))
        }
        // There is no line that could be held; what was written is with the other side.
        TCSBRK | TCSBRKP | TIOCSBRK | TIOCCBRK => Ok(0),
        TIOCGETD => store(cx, arg, &0_i32),
        TIOCSETD if fetch::<i32>(cx, arg)? == 0 => Ok(0),
        TIOCSETD => Err(Errno::EINVAL),
        // As in a Linux without CONFIG_LEGACY_TIOCSTI: typing for others is an attack.
        TIOCSTI => Err(Errno::EIO),
        other => {
            cx.task.kernel.gap(&format!("ioctl {other:#x} of a pseudoterminal"));
            Err(Errno::ENOTTY)
        }
    }
}

/// The lower halves of the flags and the first characters.
fn short(termios: &Termios) -> Termio {
    let half = |flags: u32| u16::try_from(flags & 0xffff).unwrap_or(0);
    let mut c_cc = [0; 8];
    c_cc.iter_mut().zip(termios.c_cc).for_each(|(to, from)| *to = from);
    Termio {
        c_iflag: half(termios.c_iflag),
        c_oflag: half(termios.c_oflag),
        c_cflag: half(termios.c_cflag),
        c_lflag: half(termios.c_lflag),
        c_line: termios.c_line,
        c_cc,
        pad: 0,
    }
}

/// What is set where only the lower halves are given.
fn merged(termios: &Termios, wanted: &Termio) -> Termios {
    let half = |old: u32, new: u16| old & !0xffff | u32::from(new);
    let mut c_cc = termios.c_cc;
    c_cc.iter_mut().zip(wanted.c_cc).for_each(|(to, from)| *to = from);
    Termios {
        c_iflag: half(termios.c_iflag, wanted.c_iflag),
        c_oflag: half(termios.c_oflag, wanted.c_oflag),
        c_cflag: half(termios.c_cflag, wanted.c_cflag),
        c_lflag: half(termios.c_lflag, wanted.c_lflag),
        c_line: wanted.c_line,
        c_cc,
    }
}

fn flush(pty: &Arc<Pty>, which: u64) -> Result<u64, Errno> {
    {
        let mut state = pty.state.lock();
        match which {
            TCIFLUSH => state.discipline.flush_input(),
            TCOFLUSH => state.discipline.flush_output(),
            TCIOFLUSH => {
                state.discipline.flush_input();
                state.discipline.flush_output();
            }
            _ => return Err(Errno::EINVAL),
        }
    }
    pty.announce();
    Ok(0)
}

fn flow(pty: &Arc<Pty>, action: u64) -> Result<u64, Errno> {
    {
        let mut state = pty.state.lock();
        let discipline = &mut state.discipline;
        match action {
            TCOOFF => discipline.stop(),
            TCOON => discipline.start(),
            TCIOFF | TCION => {
                let which = if action == TCIOFF { VSTOP } else { VSTART };
                let byte = discipline.control(which);
                if byte != 0 {
                    discipline.put_echo(byte);
                }
            }
            _ => return Err(Errno::EINVAL),
        }
    }
    pty.announce();
    Ok(0)
}

/// `TIOCGPTPEER`: opens the slave whatever is visible at its path.
fn open_peer(pty: &Arc<Pty>, cx: FileCx<'_>, flags: u64) -> Result<u64, Errno> {
    let flags = u32::try_from(flags).map_err(|_| Errno::EINVAL)?;
    let kept = flags & (O_ACCMODE | O_NONBLOCK);
    let request = crate::vfs::OpenRequest { task: cx.task, flags: kept };
    let ops = pty.clone().open(&request)?;
    let name = format!("/dev/pts/{}", pty.index());
    let last = crate::vfs::lookup::Last::NoFollow;
    let path = crate::vfs::lookup::lookup(cx.task, AT_FDCWD, name.as_bytes(), last).ok();
    let file = File::new(ops, path, kept);
    cx.task.kernel.opened(cx.task, &file, flags);
    let limit = cx.task.process.limit(RLIMIT_NOFILE);
    let entry = FdEntry { file, cloexec: flags & O_CLOEXEC != 0 };
    let fd = cx.task.files().install(entry, 0, limit)?;
    u64::try_from(fd).map_err(|_| Errno::EMFILE)
}
