//! Routes and rules as `rtnetlink(7)` tells them: those that `lo` brings along.

use super::inet::LOOPBACK;
use super::netlink::{Reply, attribute};
use crate::task::Task;
use chitin_abi::socket::*;
use chitin_abi::{Errno, Pod};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `CAP_NET_ADMIN`.
const CAP_NET_ADMIN: u32 = 12;

/// A route of the table `local`.
struct Route {
    to: IpAddr,
    prefix: u8,
    kind: u8,
    scope: u8,
}

/// What a message about a route answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Which are there.
    Dump,
    /// Which leads to an address; Linux does not say whose table it is from.
    Way,
}

const ROUTES: [Route; 4] = [
    Route { to: v4(0), prefix: 8, kind: RTN_LOCAL, scope: RT_SCOPE_HOST },
    Route { to: v4(1), prefix: 32, kind: RTN_LOCAL, scope: RT_SCOPE_HOST },
    Route {
        to: IpAddr::V4(Ipv4Addr::new(127, 255, 255, 255)),
        prefix: 32,
        kind: RTN_BROADCAST,
        scope: RT_SCOPE_LINK,
    },
    Route {
        to: IpAddr::V6(Ipv6Addr::LOCALHOST),
        prefix: 128,
        kind: RTN_LOCAL,
        scope: RT_SCOPE_UNIVERSE,
    },
];

const fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

fn family_of(ip: IpAddr) -> u8 {
    let family = if ip.is_ipv4() { AF_INET } else { AF_INET6 };
    family.to_ne_bytes()[0]
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The attributes behind the first `from` bytes of a request: kind and data.
fn attributes(body: &[u8], from: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(from..).unwrap_or_default();
    std::iter::from_fn(move || {
        let [a, b, c, d] = *rest.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let data = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]), data))
    })
}

/// The destination that a question is about.
fn destination(body: &[u8]) -> Option<IpAddr> {
    let (_, data) = attributes(body, size_of::<Rtmsg>()).find(|a| a.0 == RTA_DST)?;
    match u16::from(*body.first()?) {
        AF_INET => Some(Ipv4Addr::from(*data.first_chunk::<4>()?).into()),
        _ => Some(Ipv6Addr::from(*data.first_chunk::<16>()?).into()),
    }
}

/// The device that a request names must be `lo`.
pub(super) fn check_device(body: &[u8]) -> Result<(), Errno> {
    let info = Ifinfomsg::from_bytes(body).ok_or(Errno::EINVAL)?;
    let mut names = attributes(body, size_of::<Ifinfomsg>());
    let name = names.find(|a| matches!(a.0, IFLA_IFNAME | IFLA_ALT_IFNAME)).map(|a| a.1);
    let name = name.map(|n| n.strip_suffix(&[0]).unwrap_or(n));
    match (info.index, name) {
        (0, None) => Err(Errno::EINVAL),
        (0, Some(name)) if name == LOOPBACK.name.as_bytes() => Ok(()),
        (index, _) if index == LOOPBACK.index => Ok(()),
        _ => Err(Errno::ENODEV),
    }
}

/// A request to change the device: what asks for nothing but that it be up has what it wants.
pub(super) fn change_device(task: &Task, body: &[u8]) -> Result<(), Errno> {
    if !task.cred().has_cap(CAP_NET_ADMIN) {
        return Err(Errno::EPERM);
    }
    check_device(body)?;
    let info = Ifinfomsg::from_bytes(body).ok_or(Errno::EINVAL)?;
    let named = |kind| matches!(kind, IFLA_IFNAME | IFLA_ALT_IFNAME);
    let only_named = attributes(body, size_of::<Ifinfomsg>()).all(|a| named(a.0));
    let up = (info.flags & IFF_UP, info.change) == (IFF_UP, IFF_UP);
    if up && only_named { Ok(()) } else { Err(Errno::EPERM) }
}

impl Reply {
    fn route(&self, route: &Route, asked: Asked) -> Vec<u8> {
        let (table, protocol, flags) = match asked {
            Asked::Dump => (RT_TABLE_LOCAL, RTPROT_KERNEL, 0),
            Asked::Way => (RT_TABLE_MAIN, 0, RTM_F_CLONED | RTCF_LOCAL),
        };
        let info = Rtmsg {
            family: family_of(route.to),
            dst_len: route.prefix,
            table,
            protocol,
            scope: route.scope,
            kind: route.kind,
            flags,
            ..Rtmsg::default()
        };
        let mut body = info.as_bytes().to_vec();
        attribute(&mut body, RTA_TABLE, &u32::from(table).to_ne_bytes());
        attribute(&mut body, RTA_DST, &octets(route.to));
        if route.to.is_ipv4() {
            attribute(&mut body, RTA_PREFSRC, &octets(v4(1)));
        } else {
            attribute(&mut body, RTA_PRIORITY, &0_u32.to_ne_bytes());
        }
        attribute(&mut body, RTA_OIF, &LOOPBACK.index.to_ne_bytes());
        self.message(RTM_NEWROUTE, if asked == Asked::Dump { NLM_F_MULTI } else { 0 }, &body)
    }

    /// The routes of a family, or of all.
    pub(super) fn routes(&self, family: u8) -> Vec<Vec<u8>> {
        let of = ROUTES.iter().filter(|r| family == 0 || family == family_of(r.to));
        of.map(|r| self.route(r, Asked::Dump)).collect()
    }

    /// The way to the address that a question is about.
    pub(super) fn route_to(&self, body: &[u8]) -> Result<Vec<u8>, Errno> {
        let to = destination(body).filter(IpAddr::is_loopback).ok_or(Errno::ENETUNREACH)?;
        let prefix = if to.is_ipv4() { 32 } else { 128 };
        let route = Route { to, prefix, kind: RTN_LOCAL, scope: RT_SCOPE_UNIVERSE };
        Ok(self.route(&route, Asked::Way))
    }

    /// The rules of a family: which table is asked after which.
    pub(super) fn rules(&self, family: u8) -> Vec<Vec<u8>> {
        let six = u16::from(family) == AF_INET6;
        let rules = [(0, RT_TABLE_LOCAL), (32_766, RT_TABLE_MAIN), (32_767, RT_TABLE_DEFAULT)];
        let of = rules.into_iter().filter(|&(_, table)| !(six && table == RT_TABLE_DEFAULT));
        let family = if six { family } else { AF_INET.to_ne_bytes()[0] };
        let tell = |(priority, table): (u32, u8)| {
            let info = Rtmsg { family, table, kind: RTN_UNICAST, ..Rtmsg::default() };
            let mut body = info.as_bytes().to_vec();
            attribute(&mut body, FRA_TABLE, &u32::from(table).to_ne_bytes());
            if priority > 0 {
                attribute(&mut body, FRA_PRIORITY, &priority.to_ne_bytes());
            }
            attribute(&mut body, FRA_PROTOCOL, &[RTPROT_KERNEL]);
            self.message(RTM_NEWRULE, NLM_F_MULTI, &body)
        };
        of.map(tell).collect()
    }
}
