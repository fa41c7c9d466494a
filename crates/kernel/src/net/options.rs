//! Options of the socket level (`socket(7)`) that are plain values.
//!
//! Lock: one per socket, a leaf.

use super::Socket;
use crate::sync::Mutex;
use crate::task::Task;
use chitin_abi::socket::*;
use chitin_abi::time::Timeval;
use chitin_abi::{Errno, Pod};
use std::sync::Arc;

/// Default of `SO_SNDBUF` and `SO_RCVBUF` (`net.core.wmem_default`), in bytes.
const DEFAULT_BUFFER: usize = 212_992;
/// Most that a program can ask for (`net.core.wmem_max`); Linux doubles it.
const MAX_BUFFER: usize = 212_992;
/// Least after doubling.
const MIN_SNDBUF: usize = 4608;
const MIN_RCVBUF: usize = 2304;
/// Options that are a flag.
const FLAGS: [i32; 10] = [
    SO_DEBUG,
    SO_REUSEADDR,
    SO_DONTROUTE,
    SO_BROADCAST,
    SO_KEEPALIVE,
    SO_OOBINLINE,
    SO_NO_CHECK,
    SO_REUSEPORT,
    SO_PASSCRED,
    SO_PASSSEC,
];
/// Options that ask for the time of messages.
const STAMPS: [i32; 4] = [SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW];
/// `CAP_NET_ADMIN`.
const CAP_NET_ADMIN: u32 = 12;

#[derive(Clone)]
struct Values {
    /// Bit n is option n of [`FLAGS`].
    flags: u64,
    linger: Linger,
    sndbuf: usize,
    rcvbuf: usize,
    /// Nanoseconds; 0 is for ever.
    rcvtimeo: u64,
    sndtimeo: u64,
    rcvlowat: i32,
    priority: i32,
    mark: i32,
    /// Option that asked for the time of messages, or 0.
    stamp: i32,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            flags: 0,
            linger: Linger::default(),
            sndbuf: DEFAULT_BUFFER,
            rcvbuf: DEFAULT_BUFFER,
            rcvtimeo: 0,
            sndtimeo: 0,
            rcvlowat: 1,
            priority: 0,
            mark: 0,
            stamp: 0,
        }
    }
}

/// The values of one socket.
#[derive(Default)]
pub struct Options(Mutex<Values>);

/// A number as an option's value; `EINVAL` if there are too few bytes.
pub fn int_option(value: &[u8]) -> Result<i32, Errno> {
    i32::from_bytes(value).ok_or(Errno::EINVAL)
}

fn nanos(value: &[u8]) -> Result<u64, Errno> {
    let t = Timeval::from_bytes(value).ok_or(Errno::EINVAL)?;
    if !(0..1_000_000).contains(&t.tv_usec) {
        return Err(Errno::EDOM);
    }
    let sec = u64::try_from(t.tv_sec).unwrap_or(0);
    Ok(sec.saturating_mul(1_000_000_000).saturating_add(t.tv_usec.unsigned_abs() * 1000))
}

fn timeval(nanos: u64) -> Vec<u8> {
    let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let t =
        Timeval { tv_sec: whole(nanos / 1_000_000_000), tv_usec: whole(nanos / 1000 % 1_000_000) };
    t.as_bytes().to_vec()
}

impl Options {
    /// The same values for another socket (`accept(2)`).
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(Mutex::new(self.0.lock().clone()))
    }

    /// Whether a flag is set.
    #[must_use]
    pub fn flag(&self, name: i32) -> bool {
        self.0.lock().flags & 1 << name != 0
    }

    /// The control message that tells the time now, if it is asked for (`SO_TIMESTAMP`).
    #[must_use]
    pub fn stamp(&self) -> Option<(i32, i32, Vec<u8>)> {
        let name = Some(self.0.lock().stamp).filter(|&name| name != 0)?;
        let (sec, nanos) = chitin_hostsys::clock::realtime();
        let micros = matches!(name, SO_TIMESTAMP | SO_TIMESTAMP_NEW);
        let fraction = i64::from(if micros { nanos / 1000 } else { nanos });
        Some((SOL_SOCKET, name, [sec, fraction].as_bytes().to_vec()))
    }

    /// `SO_SNDBUF`, in bytes.
    #[must_use]
    pub fn sndbuf(&self) -> usize {
        self.0.lock().sndbuf
    }

    /// `SO_RCVBUF`, in bytes.
    #[must_use]
    pub fn rcvbuf(&self) -> usize {
        self.0.lock().rcvbuf
    }

    /// Other defaults for both.
    pub fn set_buffers(&self, send: usize, receive: usize) {
        let mut values = self.0.lock();
        (values.sndbuf, values.rcvbuf) = (send, receive);
    }

    /// `SO_LINGER`.
    #[must_use]
    pub fn linger(&self) -> Linger {
        self.0.lock().linger
    }

    /// `SO_RCVTIMEO` and `SO_SNDTIMEO`, in nanoseconds, unless for ever.
    #[must_use]
    pub fn timeouts(&self) -> (Option<u64>, Option<u64>) {
        let values = self.0.lock();
        let some = |n: u64| (n > 0).then_some(n);
        (some(values.rcvtimeo), some(values.sndtimeo))
    }
}

/// `getsockopt(2)` at the socket level.
pub(crate) fn get(socket: &dyn Socket, name: i32) -> Result<Vec<u8>, Errno> {
    let common = socket.common();
    let values = common.options.0.lock().clone();
    let int = |n: i32| Ok(n.to_ne_bytes().to_vec());
    let size = |n: usize| int(i32::try_from(n).unwrap_or(i32::MAX));
    match name {
        SO_TYPE => int(common.kind.number().cast_signed()),
        SO_DOMAIN => int(common.family.into()),
        SO_PROTOCOL => int(common.protocol),
        SO_ERROR => int(socket.take_error().map_or(0, Errno::raw)),
        SO_ACCEPTCONN => int(socket.listening().into()),
        SO_SNDBUF => size(values.sndbuf),
        SO_RCVBUF => size(values.rcvbuf),
        SO_LINGER => Ok(values.linger.as_bytes().to_vec()),
        SO_RCVTIMEO | SO_RCVTIMEO_NEW => Ok(timeval(values.rcvtimeo)),
        SO_SNDTIMEO | SO_SNDTIMEO_NEW => Ok(timeval(values.sndtimeo)),
        SO_RCVLOWAT => int(values.rcvlowat),
        SO_SNDLOWAT => int(1),
        SO_PRIORITY => int(values.priority),
        SO_MARK => int(values.mark),
        SO_INCOMING_CPU => int(-1),
        SO_BINDTODEVICE => Ok(Vec::new()),
        SO_COOKIE => Ok(common.ino.to_ne_bytes().to_vec()),
        SO_PEERCRED => Ok(Ucred { pid: 0, uid: u32::MAX, gid: u32::MAX }.as_bytes().to_vec()),
        SO_PEERGROUPS => Err(Errno::ENODATA),
        SO_PASSCRED if !matches!(common.family, AF_UNIX | AF_NETLINK) => Err(Errno::EOPNOTSUPP),
        SO_TIMESTAMP_NEW if values.stamp == SO_TIMESTAMPNS_NEW => int(1),
        _ if STAMPS.contains(&name) => int((values.stamp == name).into()),
        _ if FLAGS.contains(&name) => int((values.flags & 1 << name != 0).into()),
        _ => Err(Errno::ENOPROTOOPT),
    }
}

/// `setsockopt(2)` at the socket level.
pub(crate) fn set(
    socket: &dyn Socket,
    task: &Arc<Task>,
    name: i32,
    value: &[u8],
) -> Result<(), Errno> {
    let options = &socket.common().options;
    let privileged = task.cred().has_cap(CAP_NET_ADMIN);
    match name {
        SO_LINGER => {
            options.0.lock().linger = Linger::from_bytes(value).ok_or(Errno::EINVAL)?;
            return Ok(());
        }
        SO_RCVTIMEO | SO_RCVTIMEO_NEW => {
            options.0.lock().rcvtimeo = nanos(value)?;
            return Ok(());
        }
        SO_SNDTIMEO | SO_SNDTIMEO_NEW => {
            options.0.lock().sndtimeo = nanos(value)?;
            return Ok(());
        }
        // Only `lo` is there, and it is what everything goes through.
        SO_BINDTODEVICE => {
            let name = value.split(|&b| b == 0).next().unwrap_or_default();
            return if matches!(name, b"" | b"lo") { Ok(()) } else { Err(Errno::ENODEV) };
        }
        SO_ATTACH_FILTER => {
            task.kernel.gap("SO_ATTACH_FILTER");
            return Err(Errno::ENOPROTOOPT);
        }
        _ => {}
    }
    let number = int_option(value)?;
    match name {
        SO_SNDBUF | SO_RCVBUF | SO_SNDBUFFORCE | SO_RCVBUFFORCE => {
            let forced = matches!(name, SO_SNDBUFFORCE | SO_RCVBUFFORCE);
            if forced && !privileged {
                return Err(Errno::EPERM);
            }
            let most = if forced { MAX_BUFFER * 8 } else { MAX_BUFFER };
            let wanted = usize::try_from(number).unwrap_or(if forced { 0 } else { most }).min(most);
            let mut values = options.0.lock();
            match name {
                SO_SNDBUF | SO_SNDBUFFORCE => values.sndbuf = (wanted * 2).max(MIN_SNDBUF),
                _ => values.rcvbuf = (wanted * 2).max(MIN_RCVBUF),
            }
            drop(values);
            socket.resized();
        }
        SO_PRIORITY if (0..=6).contains(&number) || privileged => {
            options.0.lock().priority = number;
        }
        SO_MARK if privileged => options.0.lock().mark = number,
        SO_PRIORITY | SO_MARK => return Err(Errno::EPERM),
        SO_RCVLOWAT => options.0.lock().rcvlowat = if number <= 0 { 1 } else { number },
        SO_TYPE | SO_DOMAIN | SO_PROTOCOL | SO_ERROR | SO_ACCEPTCONN | SO_SNDLOWAT => {
            return Err(Errno::ENOPROTOOPT);
        }
        SO_PASSCRED if !matches!(socket.common().family, AF_UNIX | AF_NETLINK) => {
            return Err(Errno::EOPNOTSUPP);
        }
        // The last one that was asked for counts, and clearing any clears it.
        _ if STAMPS.contains(&name) => {
            options.0.lock().stamp = if number != 0 { name } else { 0 };
        }
        SO_DETACH_FILTER => return Err(Errno::ENOENT),
        _ if FLAGS.contains(&name) => {
            let mut values = options.0.lock();
            match number {
                0 => values.flags &= !(1 << name),
                _ => values.flags |= 1 << name,
            }
        }
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}
