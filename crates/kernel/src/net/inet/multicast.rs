//! Groups (`IP_ADD_MEMBERSHIP` of `ip(7)`, `IPV6_JOIN_GROUP` of `ipv6(7)`) on `lo`. As in a
//! network namespace that has nothing else no route leads to them: who joins or sends names the
//! device, and nothing can be sent to those of IPv6.
//!
//! Lock: one per socket, a leaf.

use super::LOOPBACK;
use crate::net::int_option;
use crate::sync::Mutex;
use chitin_abi::socket::*;
use chitin_abi::{Errno, Pod};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most groups that a socket is in (`net.ipv4.igmp_max_memberships`).
const MOST: usize = 20;
/// `struct group_req`: a device, and an address behind it.
const GROUP_REQ: usize = 136;
/// Where datagrams to all of `lo`'s network go.
const BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

#[derive(Default)]
struct State {
    joined: Vec<IpAddr>,
    /// What is sent to groups goes through `lo`, as this address says.
    outgoing: Option<[u8; 4]>,
}

/// The groups of a socket.
#[derive(Default)]
pub(super) struct Groups(Mutex<State>);

/// Whether datagrams to an address go to all who want them.
pub(super) fn is_shared(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == BROADCAST
}

/// A group, and the device that was named: by its address or by its number.
struct Wish {
    group: IpAddr,
    device: [u8; 4],
    index: i32,
}

fn bytes<const N: usize>(value: &[u8], at: usize) -> Result<[u8; N], Errno> {
    let part = value.get(at..).and_then(|v| v.first_chunk());
    part.copied().ok_or(Errno::EINVAL)
}

fn number(value: &[u8], at: usize) -> Result<i32, Errno> {
    Ok(i32::from_ne_bytes(bytes(value, at)?))
}

/// `struct ip_mreq` or `struct ip_mreqn`.
fn of_ipv4(value: &[u8]) -> Result<Wish, Errno> {
    let group = Ipv4Addr::from(bytes::<4>(value, 0)?).into();
    let index = if value.len() >= 12 { number(value, 8)? } else { 0 };
    Ok(Wish { group, device: bytes(value, 4)?, index })
}

/// `struct ipv6_mreq`.
fn of_ipv6(value: &[u8]) -> Result<Wish, Errno> {
    let group = Ipv6Addr::from(bytes::<16>(value, 0)?).into();
    Ok(Wish { group, device: [0; 4], index: number(value, 16)? })
}

/// `struct group_req`.
fn of_any(level: i32, value: &[u8]) -> Result<Wish, Errno> {
    if value.len() < GROUP_REQ {
        return Err(Errno::EINVAL);
    }
    let index = number(value, 0)?;
    let family = u16::from_bytes(&bytes::<2>(value, 8)?).unwrap_or(AF_UNSPEC);
    let group = match (level, family) {
        (SOL_IP, AF_INET) => Ipv4Addr::from(bytes::<4>(value, 12)?).into(),
        (SOL_IPV6, AF_INET6) => Ipv6Addr::from(bytes::<16>(value, 16)?).into(),
        (SOL_IPV6, _) => return Err(Errno::EADDRNOTAVAIL),
        _ => return Err(Errno::EINVAL),
    };
    Ok(Wish { group, device: [0; 4], index })
}

impl Wish {
    /// The device must be `lo`.
    fn check(&self) -> Result<(), Errno> {
        let named = match self.index {
            0 => Ipv4Addr::from(self.device).is_loopback(),
            index => index == LOOPBACK.index,
        };
        if named { Ok(()) } else { Err(Errno::ENODEV) }
    }
}

impl Groups {
    fn join(&self, wish: &Wish) -> Result<(), Errno> {
        if !wish.group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        wish.check()?;
        let joined = &mut self.0.lock().joined;
        if joined.contains(&wish.group) {
            return Err(Errno::EADDRINUSE);
        }
        if joined.len() >= MOST {
            return Err(Errno::ENOBUFS);
        }
        joined.push(wish.group);
        Ok(())
    }

    fn leave(&self, wish: &Wish) -> Result<(), Errno> {
        let joined = &mut self.0.lock().joined;
        let unnamed = wish.index == 0 && wish.device == [0; 4];
        if unnamed && wish.group.is_ipv4() {
            return Err(Errno::ENODEV);
        }
        let at = joined.iter().position(|&g| g == wish.group);
        let at = at.filter(|_| unnamed || wish.check().is_ok()).ok_or(Errno::EADDRNOTAVAIL)?;
        joined.remove(at);
        Ok(())
    }

    /// `IP_MULTICAST_IF`: an address, `struct ip_mreq` or `struct ip_mreqn`.
    fn choose(&self, value: &[u8]) -> Result<(), Errno> {
        let at = if value.len() >= 8 { 4 } else { 0 };
        let device: [u8; 4] = bytes(value, at)?;
        let index = if value.len() >= 12 { number(value, 8)? } else { 0 };
        let outgoing = match (index, device) {
            (0, [0, 0, 0, 0]) => None,
            (0, _) if !Ipv4Addr::from(device).is_loopback() => return Err(Errno::EADDRNOTAVAIL),
            (0, _) => Some(device),
            _ if index == LOOPBACK.index => Some(device),
            _ => return Err(Errno::EADDRNOTAVAIL),
        };
        self.0.lock().outgoing = outgoing;
        Ok(())
    }

    /// `IPV6_MULTICAST_IF`.
    fn choose_by_number(&self, value: &[u8]) -> Result<(), Errno> {
        let index = int_option(value)?;
        if index != 0 && index != LOOPBACK.index {
            return Err(Errno::ENODEV);
        }
        self.0.lock().outgoing = (index != 0).then_some([0; 4]);
        Ok(())
    }

    /// `setsockopt(2)`; `None`: it is about something else.
    pub(super) fn set(&self, level: i32, name: i32, value: &[u8]) -> Option<Result<(), Errno>> {
        let join = |wish: Result<Wish, Errno>| wish.and_then(|w| self.join(&w));
        let leave = |wish: Result<Wish, Errno>| wish.and_then(|w| self.leave(&w));
        Some(match (level, name) {
            (SOL_IP, IP_ADD_MEMBERSHIP) => join(of_ipv4(value)),
            (SOL_IP, IP_DROP_MEMBERSHIP) => leave(of_ipv4(value)),
            (SOL_IPV6, IPV6_JOIN_GROUP) => join(of_ipv6(value)),
            (SOL_IPV6, IPV6_LEAVE_GROUP) => leave(of_ipv6(value)),
            (_, MCAST_JOIN_GROUP) => join(of_any(level, value)),
            (_, MCAST_LEAVE_GROUP) => leave(of_any(level, value)),
            (SOL_IP, IP_MULTICAST_IF) => self.choose(value),
            (SOL_IPV6, IPV6_MULTICAST_IF) => self.choose_by_number(value),
            _ => return None,
        })
    }

    /// Whether the socket is in a group.
    pub(super) fn has(&self, group: IpAddr) -> bool {
        self.0.lock().joined.contains(&group)
    }

    /// Whether what is sent to groups goes through `lo`.
    pub(super) fn through_lo(&self) -> bool {
        self.0.lock().outgoing.is_some()
    }

    /// What `IP_MULTICAST_IF` says.
    pub(super) fn outgoing(&self) -> [u8; 4] {
        self.0.lock().outgoing.unwrap_or_default()
    }
}
