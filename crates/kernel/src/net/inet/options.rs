//! Options of the levels of IP, IPv6, TCP and UDP. Most are kept and have no effect: no
//! packet is ever made.
//!
//! Lock: one per socket, a leaf.

use super::multicast::Groups;
use crate::net::{Kind, int_option};
use crate::sync::Mutex;
use chitin_abi::Errno;
use chitin_abi::socket::*;
use std::collections::HashMap;

/// An option that is a number: level, name, default, range.
type Row = (i32, i32, i32, std::ops::RangeInclusive<i32>);

const FLAG: std::ops::RangeInclusive<i32> = i32::MIN..=i32::MAX;

const IP: [Row; 15] = [
    (SOL_IP, IP_TOS, 0, FLAG),
    (SOL_IP, IP_TTL, 64, 1..=255),
    (SOL_IP, IP_PKTINFO, 0, FLAG),
    (SOL_IP, IP_RECVERR, 0, FLAG),
    (SOL_IP, IP_RECVTTL, 0, FLAG),
    (SOL_IP, IP_RECVTOS, 0, FLAG),
    (SOL_IP, IP_MTU_DISCOVER, 1, 0..=5),
    (SOL_IP, IP_FREEBIND, 0, FLAG),
    (SOL_IP, IP_BIND_ADDRESS_NO_PORT, 0, FLAG),
    (SOL_IP, IP_MULTICAST_TTL, 1, 0..=255),
    (SOL_IP, IP_MULTICAST_LOOP, 1, 0..=1),
    (SOL_IP, IP_MULTICAST_ALL, 1, 0..=1),
    (SOL_IP, 21, 0, 0..=255),
    (SOL_IP, 19, 0, FLAG),
    (SOL_IP, 20, 0, FLAG),
];

const IPV6: [Row; 13] = [
    (SOL_IPV6, IPV6_UNICAST_HOPS, 64, -1..=255),
    (SOL_IPV6, IPV6_MULTICAST_ALL, 1, 0..=1),
    (SOL_IPV6, IPV6_DONTFRAG, 0, FLAG),
    (SOL_IPV6, IPV6_MULTICAST_HOPS, 1, -1..=255),
    (SOL_IPV6, IPV6_MULTICAST_LOOP, 1, 0..=1),
    (SOL_IPV6, IPV6_MTU_DISCOVER, 1, 0..=5),
    (SOL_IPV6, IPV6_RECVERR, 0, FLAG),
    (SOL_IPV6, IPV6_V6ONLY, 0, FLAG),
    (SOL_IPV6, IPV6_RECVPKTINFO, 0, FLAG),
    (SOL_IPV6, IPV6_RECVHOPLIMIT, 0, FLAG),
    (SOL_IPV6, IPV6_RECVTCLASS, 0, FLAG),
    (SOL_IPV6, IPV6_TCLASS, 0, -1..=255),
    (SOL_IPV6, 70, 0, FLAG),
];

const TCP: [Row; 15] = [
    (SOL_TCP, TCP_NODELAY, 0, FLAG),
    (SOL_TCP, TCP_MAXSEG, 65_483, 0..=65_535),
    (SOL_TCP, TCP_CORK, 0, FLAG),
    (SOL_TCP, TCP_KEEPIDLE, 7200, 1..=32_767),
    (SOL_TCP, TCP_KEEPINTVL, 75, 1..=32_767),
    (SOL_TCP, TCP_KEEPCNT, 9, 1..=127),
    (SOL_TCP, TCP_SYNCNT, 6, 1..=127),
    (SOL_TCP, TCP_LINGER2, 60, FLAG),
    (SOL_TCP, TCP_DEFER_ACCEPT, 0, FLAG),
    (SOL_TCP, TCP_WINDOW_CLAMP, 65_536, 0..=i32::MAX),
    (SOL_TCP, TCP_QUICKACK, 1, FLAG),
    (SOL_TCP, TCP_USER_TIMEOUT, 0, 0..=i32::MAX),
    (SOL_TCP, TCP_FASTOPEN, 0, 0..=i32::MAX),
    (SOL_TCP, TCP_NOTSENT_LOWAT, -1, FLAG),
    (SOL_TCP, 30, 0, FLAG),
];

const UDP: [Row; 1] = [(SOL_UDP, UDP_CORK, 0, FLAG)];

/// How much of a datagram its checksum covers: `UDPLITE_SEND_CSCOV`, `UDPLITE_RECV_CSCOV`.
const UDPLITE: [Row; 2] =
    [(IPPROTO_UDPLITE, 10, 0, 0..=65_535), (IPPROTO_UDPLITE, 11, 0, 0..=65_535)];

/// Those that are yes or no.
const BOOLEAN: [(i32, i32); 20] = [
    (SOL_IP, IP_MULTICAST_LOOP),
    (SOL_IP, 19),
    (SOL_IP, 20),
    (SOL_IPV6, IPV6_DONTFRAG),
    (SOL_IPV6, 70),
    (SOL_UDP, UDP_CORK),
    (SOL_IP, IP_PKTINFO),
    (SOL_IP, IP_RECVERR),
    (SOL_IP, IP_RECVTTL),
    (SOL_IP, IP_RECVTOS),
    (SOL_IP, IP_FREEBIND),
    (SOL_IP, IP_BIND_ADDRESS_NO_PORT),
    (SOL_IPV6, IPV6_V6ONLY),
    (SOL_IPV6, IPV6_RECVERR),
    (SOL_IPV6, IPV6_RECVPKTINFO),
    (SOL_IPV6, IPV6_RECVHOPLIMIT),
    (SOL_IPV6, IPV6_RECVTCLASS),
    (SOL_TCP, TCP_NODELAY),
    (SOL_TCP, TCP_CORK),
    (SOL_TCP, TCP_QUICKACK),
];

/// Those for which -1 is the default.
const DEFAULTED: [(i32, i32); 5] = [
    (SOL_IP, IP_TTL),
    (SOL_IP, IP_MULTICAST_TTL),
    (SOL_IPV6, IPV6_UNICAST_HOPS),
    (SOL_IPV6, IPV6_MULTICAST_HOPS),
    (SOL_IPV6, IPV6_TCLASS),
];

/// The values that were set, and the groups that were joined.
#[derive(Default)]
pub(super) struct InetOptions {
    values: Mutex<HashMap<(i32, i32), i32>>,
    pub(super) groups: Groups,
}

fn row(family: u16, kind: Kind, level: i32, name: i32) -> Option<&'static Row> {
    let find = |rows: &'static [Row]| rows.iter().find(|r| (r.0, r.1) == (level, name));
    match level {
        SOL_IP => find(&IP),
        SOL_IPV6 if family == AF_INET6 => find(&IPV6),
        SOL_UDP if kind == Kind::Datagram => find(&UDP),
        IPPROTO_UDPLITE if kind == Kind::Datagram => find(&UDPLITE),
        SOL_TCP if kind == Kind::Stream => find(&TCP),
        _ => None,
    }
}

impl InetOptions {
    /// The same values for another socket (`accept(2)`), which is in no group.
    pub(super) fn duplicate(&self) -> Self {
        Self { values: Mutex::new(self.values.lock().clone()), groups: Groups::default() }
    }

    /// The value of an option whose default is 0.
    pub(super) fn number(&self, level: i32, name: i32) -> i32 {
        self.values.lock().get(&(level, name)).copied().unwrap_or(0)
    }

    /// The value of any option.
    pub(super) fn value(&self, level: i32, name: i32) -> i32 {
        let default = row(AF_INET6, Kind::Datagram, level, name).map_or(0, |r| r.2);
        self.values.lock().get(&(level, name)).copied().unwrap_or(default)
    }

    /// `getsockopt(2)`; `None`: no such option.
    pub(super) fn get(
        &self,
        family: u16,
        kind: Kind,
        level: i32,
        name: i32,
    ) -> Option<Result<Vec<u8>, Errno>> {
        match (level, name) {
            (SOL_TCP, TCP_CONGESTION) if kind == Kind::Stream => {
                let mut text = b"cubic".to_vec();
                text.resize(16, 0);
                return Some(Ok(text));
            }
            (SOL_IP, IP_MTU) => return Some(Ok(65_535_i32.to_ne_bytes().to_vec())),
            (SOL_IP, IP_MULTICAST_IF) => return Some(Ok(self.groups.outgoing().to_vec())),
            (SOL_IPV6, IPV6_MULTICAST_IF) if family == AF_INET6 => {
                let index = i32::from(self.groups.through_lo());
                return Some(Ok(index.to_ne_bytes().to_vec()));
            }
            _ => {}
        }
        let row = row(family, kind, level, name)?;
        let value = self.values.lock().get(&(level, name)).copied().unwrap_or(row.2);
        Some(Ok(value.to_ne_bytes().to_vec()))
    }

    /// `setsockopt(2)`; `None`: no such option.
    pub(super) fn set(
        &self,
        family: u16,
        kind: Kind,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Option<Result<(), Errno>> {
        match (level, name) {
            (SOL_TCP, TCP_CONGESTION) if kind == Kind::Stream => {
                let name = value.split(|&b| b == 0).next().unwrap_or_default();
                let known = matches!(name, b"cubic" | b"reno");
                return Some(if known { Ok(()) } else { Err(Errno::ENOENT) });
            }
            (SOL_IPV6, _) if family != AF_INET6 => {}
            (SOL_IP | SOL_IPV6, _) => {
                if let Some(result) = self.groups.set(level, name, value) {
                    return Some(result);
                }
            }
            _ => {}
        }
        let row = row(family, kind, level, name)?;
        Some(self.store(row, value))
    }

    fn store(&self, row: &Row, value: &[u8]) -> Result<(), Errno> {
        // At the level of IP a single byte is a number too.
        let number = match value {
            [byte] if row.0 == SOL_IP => i32::from(*byte),
            _ => int_option(value)?,
        };
        let number = match BOOLEAN.contains(&(row.0, row.1)) {
            true => i32::from(number != 0),
            false if number == -1 && DEFAULTED.contains(&(row.0, row.1)) => row.2,
            // One byte of the header.
            false if (row.0, row.1) == (SOL_IP, IP_TOS) => number & 0xff,
            false => number,
        };
        if !row.3.contains(&number) {
            return Err(Errno::EINVAL);
        }
        self.values.lock().insert((row.0, row.1), number);
        Ok(())
    }
}
