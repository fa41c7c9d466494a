//! Sockets (`socket(7)`).
//!
//! [`Socket`] is what a family implements; [`SocketFile`] puts one behind an open file
//! description. [`NetState`] is what the sockets of a sandbox share. Nothing here
//! waits: `EAGAIN` means that the socket's own queue will tell when to try again.
//!
//! Locks, outermost first: the descriptors in flight ([`InFlight`]), tables of names,
//! one socket's state. No two sockets are locked at once unless a module says so, no
//! queue is told under a lock, and no packet is dropped under one.

mod control;
pub mod inet;
mod inflight;
pub mod netlink;
mod options;
mod queue;
mod routes;
mod socket;
mod unix;
mod urgent;

pub use control::{Control, Outgoing, parse_control};
pub use inet::{InetState, TcpSocket, UdpSocket, socket as inet_socket};
pub use inflight::{InFlight, Rights};
pub use netlink::NetlinkSocket;
pub use options::{Options, int_option};
pub(crate) use options::{get as get_option, set as set_option};
pub use queue::{Packet, Queue, Span};
pub use socket::{Common, Kind, Received, Shutdown, Socket, SocketFile, socket_of, sockets_of};
pub use unix::{UnixSocket, UnixTable, pair};
pub use urgent::{Taking, Urgent};

use std::sync::Arc;

/// What all sockets of a sandbox share.
#[derive(Default)]
pub struct NetState {
    /// Descriptors in unread messages.
    pub inflight: Arc<InFlight>,
    /// Abstract names of unix sockets.
    pub unix: Arc<UnixTable>,
    /// Ports.
    pub inet: InetState,
    /// Numbers of netlink sockets.
    pub netlink: netlink::PortIds,
}

/// The credentials of a task as a message carries them: real ids (`unix(7)`).
#[must_use]
pub fn sender_cred(task: &crate::task::Task) -> chitin_abi::socket::Ucred {
    let cred = task.cred();
    chitin_abi::socket::Ucred { pid: task.process.pid, uid: cred.uid, gid: cred.gid }
}
