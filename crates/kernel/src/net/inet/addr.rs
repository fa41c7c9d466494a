//! Addresses: `struct sockaddr_in` and `struct sockaddr_in6`. Inside, an IPv4 address
//! in IPv6 clothes (`::ffff:a.b.c.d`) is an IPv4 address.

use chitin_abi::socket::{AF_INET, AF_INET6, AF_UNSPEC, SockaddrIn, SockaddrIn6};
use chitin_abi::{Errno, Pod};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A `sockaddr_in6` without its scope, as old programs have it (RFC 2133).
const SHORT_IN6: usize = 24;

/// The family of an address.
pub(super) fn family(bytes: &[u8]) -> Option<u16> {
    u16::from_bytes(bytes)
}

/// An address for a socket of this family.
pub(super) fn parse(socket: u16, bytes: &[u8]) -> Result<SocketAddr, Errno> {
    let family = family(bytes).ok_or(Errno::EINVAL)?;
    match family {
        AF_INET => {
            let a = SockaddrIn::from_bytes(bytes).ok_or(Errno::EINVAL)?;
            if socket == AF_INET6 {
                return Err(Errno::EAFNOSUPPORT);
            }
            Ok(SocketAddr::new(Ipv4Addr::from(a.addr).into(), u16::from_be_bytes(a.port)))
        }
        // `bind(2)` takes no family for the wildcard address.
        AF_UNSPEC if socket == AF_INET => {
            let a = SockaddrIn::from_bytes(bytes).ok_or(Errno::EINVAL)?;
            if a.addr != [0; 4] {
                return Err(Errno::EAFNOSUPPORT);
            }
            Ok(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), u16::from_be_bytes(a.port)))
        }
        AF_INET6 if socket == AF_INET6 => {
            if bytes.len() < SHORT_IN6 {
                return Err(Errno::EINVAL);
            }
            let mut whole = [0; 28];
            let n = bytes.len().min(28);
            if let (Some(to), Some(from)) = (whole.get_mut(..n), bytes.get(..n)) {
                to.copy_from_slice(from);
            }
            let a = SockaddrIn6::from_bytes(&whole).ok_or(Errno::EINVAL)?;
            let ip = Ipv6Addr::from(a.addr).to_canonical();
            Ok(SocketAddr::new(ip, u16::from_be_bytes(a.port)))
        }
        _ if bytes.len() < size_of::<SockaddrIn>() => Err(Errno::EINVAL),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// An address as a socket of this family tells it.
pub(super) fn encode(socket: u16, addr: SocketAddr) -> Vec<u8> {
    let port = addr.port().to_be_bytes();
    if socket == AF_INET {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(_) => [0; 4],
        };
        let a = SockaddrIn { family: AF_INET, port, addr: ip, zero: [0; 8] };
        return a.as_bytes().to_vec();
    }
    let ip = match addr.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let a = SockaddrIn6 { family: AF_INET6, port, addr: ip.octets(), ..SockaddrIn6::default() };
    a.as_bytes().to_vec()
}

/// An address as `/proc/net/tcp` shows it: words of the machine, in hexadecimal.
fn proc_address(socket: u16, addr: SocketAddr) -> String {
    let bytes = match (socket, addr.ip()) {
        (AF_INET, IpAddr::V4(ip)) => ip.octets().to_vec(),
        (AF_INET, IpAddr::V6(_)) => vec![0; 4],
        (_, IpAddr::V4(ip)) => ip.to_ipv6_mapped().octets().to_vec(),
        (_, IpAddr::V6(ip)) => ip.octets().to_vec(),
    };
    let words = bytes.chunks_exact(4).filter_map(u32::from_bytes);
    let mut out: String = words.map(|w| format!("{w:08X}")).collect();
    out.push_str(&format!(":{:04X}", addr.port()));
    out
}

/// What a line of `/proc/net/tcp` or `/proc/net/udp` tells of a socket.
pub(super) struct ProcLine {
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) state: u8,
    pub(super) sent: usize,
    pub(super) unread: usize,
}

impl ProcLine {
    pub(super) fn text(&self, of: &crate::net::Common) -> String {
        let none = SocketAddr::new(any(of.family), 0);
        let address = |a: Option<SocketAddr>| proc_address(of.family, a.unwrap_or(none));
        format!(
            "{} {} {:02X} {:08X}:{:08X} 00:00000000 00000000 {:5}        0 {} 1 0000000000000000",
            address(self.local),
            address(self.remote),
            self.state,
            self.sent,
            self.unread,
            of.owner.0,
            of.ino
        )
    }
}

/// The wildcard address of a family.
pub(super) fn any(family: u16) -> IpAddr {
    match family {
        AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// Where something sent to `ip` goes: to this machine, or nowhere. As in Linux the
/// wildcard address stands for the machine itself.
pub(super) fn reachable(ip: IpAddr) -> Result<IpAddr, Errno> {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ok(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ok(Ipv6Addr::LOCALHOST.into()),
        ip if ip.is_loopback() => Ok(ip),
        _ => Err(Errno::ENETUNREACH),
    }
}

/// The address of the sender of something that goes to `to`.
pub(super) fn source_for(to: IpAddr) -> IpAddr {
    match to {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_wears_ipv6_clothes_outside_only() {
        let four: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let bytes = encode(AF_INET6, four);
        assert_eq!(bytes.len(), 28);
        assert_eq!(parse(AF_INET6, &bytes), Ok(four));
        assert_eq!(parse(AF_INET, &encode(AF_INET, four)), Ok(four));
        assert_eq!(parse(AF_INET6, &encode(AF_INET, four)), Err(Errno::EAFNOSUPPORT));
        assert_eq!(parse(AF_INET, &bytes), Err(Errno::EAFNOSUPPORT));
        assert_eq!(parse(AF_INET, b"\x02\x00"), Err(Errno::EINVAL));
    }

    #[test]
    fn only_the_machine_itself_is_reachable() {
        assert_eq!(reachable("0.0.0.0".parse().unwrap()), Ok("127.0.0.1".parse().unwrap()));
        assert_eq!(reachable("127.1.2.3".parse().unwrap()), Ok("127.1.2.3".parse().unwrap()));
        assert_eq!(reachable("10.0.0.1".parse().unwrap()), Err(Errno::ENETUNREACH));
        assert_eq!(reachable("2001:db8::1".parse().unwrap()), Err(Errno::ENETUNREACH));
    }
}
