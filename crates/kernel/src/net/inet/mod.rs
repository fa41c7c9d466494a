//! Sockets of the internet families: there is only the loopback device (`lo`), and what
//! is sent through it never becomes a packet of TCP or UDP.
//!
//! [`Ports`] tell who has which port of a protocol; [`TcpSocket`] and [`UdpSocket`].
//!
//! Locks, outermost first: a socket's state, a table of ports; never two sockets at once.

mod addr;
mod cork;
mod device;
mod multicast;
mod options;
mod ports;
mod tcp;
mod tcp_data;
mod tcp_link;
mod udp;
mod udp_send;

pub use device::{LOOPBACK, Loopback, ioctl};
pub use ports::Ports;
pub use tcp::TcpSocket;
pub use udp::UdpSocket;

use super::{Kind, Socket};
use crate::task::Task;
use chitin_abi::Errno;
use chitin_abi::socket::{IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE};
use std::sync::Arc;

/// `CAP_NET_RAW`.
const CAP_NET_RAW: u32 = 13;

/// Ports of the sandbox.
#[derive(Default)]
pub struct InetState {
    /// Of TCP.
    pub tcp: Arc<Ports<TcpSocket>>,
    /// Of UDP.
    pub udp: Arc<Ports<UdpSocket>>,
    /// Of UDP-Lite.
    pub udplite: Arc<Ports<UdpSocket>>,
}

/// A new socket of family `AF_INET` or `AF_INET6`.
pub fn socket(
    task: &Arc<Task>,
    family: u16,
    kind: Kind,
    protocol: i32,
) -> Result<Arc<dyn Socket>, Errno> {
    match (kind, protocol) {
        (Kind::Stream, 0 | IPPROTO_TCP) => Ok(TcpSocket::new(task, family)),
        (Kind::Datagram, 0 | IPPROTO_UDP) => Ok(UdpSocket::new(task, family, IPPROTO_UDP)),
        (Kind::Datagram, IPPROTO_UDPLITE) => Ok(UdpSocket::new(task, family, protocol)),
        (Kind::Raw, 0) => Err(Errno::EPROTONOSUPPORT),
        (Kind::Raw, _) => {
            if task.cred().has_cap(CAP_NET_RAW) {
                task.kernel.gap("raw sockets");
            }
            Err(Errno::EPERM)
        }
        // What `net.ipv4.ping_group_range` says by default.
        (Kind::Datagram, 1 | 58) => Err(Errno::EACCES),
        (Kind::SeqPacket, _) => Err(Errno::ESOCKTNOSUPPORT),
        _ => Err(Errno::EPROTONOSUPPORT),
    }
}
