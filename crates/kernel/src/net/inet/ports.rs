//! [`Ports`]: which socket has which port of a protocol.
//!
//! Lock: one per protocol, a leaf: it is taken under the states of sockets.

use crate::sync::Mutex;
use chitin_abi::Errno;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Ports given to those who ask for none (`net.ipv4.ip_local_port_range`).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// How a socket wants its port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// Address; port 0 is any.
    pub(super) addr: SocketAddr,
    /// `IPV6_V6ONLY`.
    pub(super) v6only: bool,
    /// `SO_REUSEADDR`.
    pub(super) reuse_addr: bool,
    /// `SO_REUSEPORT`.
    pub(super) reuse_port: bool,
    /// Owner, who may share it so.
    pub(super) uid: u32,
    /// Sockets with `SO_REUSEADDR` share it while one of them listens (UDP).
    pub(super) shares_listening: bool,
}

struct Slot<T> {
    id: u64,
    wish: Wish,
    listening: bool,
    remote: Option<SocketAddr>,
    socket: Weak<T>,
}

/// The ports of a protocol.
pub struct Ports<T> {
    slots: Mutex<HashMap<u16, Vec<Slot<T>>>>,
    next: AtomicU64,
}

impl<T> Default for Ports<T> {
    fn default() -> Self {
        Self { slots: Mutex::default(), next: AtomicU64::new(1) }
    }
}

/// A port that a socket has, until it is dropped.
pub(super) struct Binding<T> {
    table: Arc<Ports<T>>,
    id: u64,
    /// As it was asked for, with the port that was given.
    pub(super) addr: SocketAddr,
}

impl<T> Drop for Binding<T> {
    fn drop(&mut self) {
        let mut slots = self.table.slots.lock();
        if let Some(list) = slots.get_mut(&self.addr.port()) {
            list.retain(|s| s.id != self.id);
            if list.is_empty() {
                slots.remove(&self.addr.port());
            }
        }
    }
}

/// Whether a bound address takes what is sent to `to`: how exactly.
fn takes(wish: &Wish, to: IpAddr) -> Option<u32> {
    let bound = wish.addr.ip();
    match (bound, to) {
        (a, b) if a == b => Some(2),
        (IpAddr::V4(a), IpAddr::V4(_)) if a.is_unspecified() => Some(1),
        (IpAddr::V6(a), IpAddr::V6(_)) if a.is_unspecified() => Some(1),
        (IpAddr::V6(a), IpAddr::V4(_)) if a.is_unspecified() && !wish.v6only => Some(0),
        _ => None,
    }
}

fn overlap(a: &Wish, b: &Wish) -> bool {
    takes(a, b.addr.ip()).is_some() || takes(b, a.addr.ip()).is_some()
}

fn conflict<T>(slot: &Slot<T>, wish: &Wish) -> bool {
    if !overlap(&slot.wish, wish) {
        return false;
    }
    let by_addr =
        slot.wish.reuse_addr && wish.reuse_addr && (wish.shares_listening || !slot.listening);
    let by_port = slot.wish.reuse_port && wish.reuse_port && slot.wish.uid == wish.uid;
    !by_addr && !by_port
}

impl<T> Ports<T> {
    /// Gives a port; `EADDRINUSE` if it, or every one, is taken.
    pub(super) fn bind(
        self: &Arc<Self>,
        mut wish: Wish,
        socket: &Weak<T>,
    ) -> Result<Binding<T>, Errno> {
        let mut slots = self.slots.lock();
        let port = match wish.addr.port() {
            0 => {
                let free = |p: &u16| {
                    slots.get(p).is_none_or(|l| !l.iter().any(|s| overlap(&s.wish, &wish)))
                };
                let first = random_port();
                let order = (first..=*EPHEMERAL.end()).chain(*EPHEMERAL.start()..first);
                order.into_iter().find(free).ok_or(Errno::EADDRINUSE)?
            }
            port => port,
        };
        wish.addr.set_port(port);
        let list = slots.entry(port).or_default();
        if list.iter().any(|s| conflict(s, &wish)) {
            return Err(Errno::EADDRINUSE);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        list.push(Slot { id, wish, listening: false, remote: None, socket: socket.clone() });
        Ok(Binding { table: self.clone(), id, addr: wish.addr })
    }

    /// The listener that takes a connection to `to`.
    pub(super) fn listener(&self, to: SocketAddr) -> Option<Arc<T>> {
        let slots = self.slots.lock();
        let list = slots.get(&to.port())?;
        let fits = |s: &&Slot<T>| s.listening && takes(&s.wish, to.ip()).is_some();
        let best = list.iter().filter(fits).filter_map(|s| takes(&s.wish, to.ip())).max()?;
        let equal: Vec<_> =
            list.iter().filter(fits).filter(|s| takes(&s.wish, to.ip()) == Some(best)).collect();
        // Those who share a port take turns by chance (`SO_REUSEPORT`).
        let chosen = equal.get(usize::from(random_port()) % equal.len().max(1))?;
        chosen.socket.upgrade()
    }

    /// The socket that takes a datagram from `from` to `to`: a connected one before
    /// others, then the one that is bound most exactly, then the newest.
    pub(super) fn receiver(&self, to: SocketAddr, from: SocketAddr) -> Option<Arc<T>> {
        let slots = self.slots.lock();
        let mut best: Option<(u32, &Slot<T>)> = None;
        for slot in slots.get(&to.port())? {
            let Some(mut score) = takes(&slot.wish, to.ip()) else { continue };
            match slot.remote {
                Some(remote) if remote == from => score += 4,
                Some(_) => continue,
                None => {}
            }
            if best.is_none_or(|(old, _)| score >= old) {
                best = Some((score, slot));
            }
        }
        best?.1.socket.upgrade()
    }
}

impl<T> Ports<T> {
    /// The sockets whose address takes what is sent from `from` to all at `to`.
    pub(super) fn receivers(&self, to: SocketAddr, from: SocketAddr) -> Vec<Arc<T>> {
        let slots = self.slots.lock();
        let list = slots.get(&to.port()).map_or(&[][..], |l| l);
        let takes = |s: &&Slot<T>| {
            takes(&s.wish, to.ip()).is_some() && s.remote.is_none_or(|remote| remote == from)
        };
        list.iter().filter(takes).filter_map(|s| s.socket.upgrade()).collect()
    }
}

fn random_port() -> u16 {
    let mut bytes = [0; 2];
    chitin_hostsys::random::fill(&mut bytes);
    let size = EPHEMERAL.end() - EPHEMERAL.start() + 1;
    EPHEMERAL.start() + u16::from_ne_bytes(bytes) % size
}

impl<T> Binding<T> {
    fn change(&self, f: impl FnOnce(&mut Slot<T>)) {
        let mut slots = self.table.slots.lock();
        let list = slots.get_mut(&self.addr.port());
        if let Some(slot) = list.and_then(|l| l.iter_mut().find(|s| s.id == self.id)) {
            f(slot);
        }
    }

    /// The same port for a connection that came in through it.
    pub(super) fn share(&self, addr: SocketAddr, socket: &Weak<T>) -> Option<Self> {
        let mut slots = self.table.slots.lock();
        let list = slots.get_mut(&self.addr.port())?;
        let wish = Wish { addr, ..list.iter().find(|s| s.id == self.id)?.wish };
        let id = self.table.next.fetch_add(1, Ordering::Relaxed);
        list.push(Slot { id, wish, listening: false, remote: None, socket: socket.clone() });
        Some(Self { table: self.table.clone(), id, addr })
    }

    /// Starts or stops taking connections; `EADDRINUSE` if another one does and does not
    /// share.
    pub(super) fn listen(&self, on: bool) -> Result<(), Errno> {
        let mut slots = self.table.slots.lock();
        let list = slots.get_mut(&self.addr.port()).ok_or(Errno::EADDRINUSE)?;
        let mine = list.iter().find(|s| s.id == self.id).map(|s| s.wish);
        let mine = mine.ok_or(Errno::EADDRINUSE)?;
        let others = list.iter().any(|s| s.id != self.id && s.listening && conflict(s, &mine));
        if on && others {
            return Err(Errno::EADDRINUSE);
        }
        list.iter_mut().filter(|s| s.id == self.id).for_each(|s| s.listening = on);
        Ok(())
    }

    /// The only one that datagrams are taken from.
    pub(super) fn set_remote(&self, remote: Option<SocketAddr>) {
        self.change(|slot| slot.remote = remote);
    }

    /// A wildcard address becomes a real one when the socket is connected.
    pub(super) fn set_address(&mut self, ip: IpAddr) {
        self.change(|slot| slot.wish.addr.set_ip(ip));
        self.addr.set_ip(ip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(addr: &str) -> Wish {
        Wish {
            addr: addr.parse().unwrap(),
            v6only: false,
            reuse_addr: false,
            reuse_port: false,
            uid: 0,
            shares_listening: false,
        }
    }

    #[test]
    fn addresses_that_overlap_cannot_share_a_port() {
        let ports: Arc<Ports<()>> = Arc::default();
        let one = ports.bind(wish("127.0.0.1:80"), &Weak::new()).unwrap();
        assert!(ports.bind(wish("127.0.0.2:80"), &Weak::new()).is_ok());
        for other in ["127.0.0.1:80", "0.0.0.0:80", "[::]:80"] {
            let again = ports.bind(wish(other), &Weak::new());
            assert_eq!(again.err(), Some(Errno::EADDRINUSE), "{other}");
        }
        let only = Wish { v6only: true, ..wish("[::]:80") };
        assert!(ports.bind(only, &Weak::new()).is_ok());
        drop(one);
        assert!(ports.bind(wish("0.0.0.0:80"), &Weak::new()).is_ok());
    }

    #[test]
    fn sharing_ends_where_one_listens() {
        let ports: Arc<Ports<()>> = Arc::default();
        let reuse = Wish { reuse_addr: true, ..wish("0.0.0.0:81") };
        let a = ports.bind(reuse, &Weak::new()).unwrap();
        let b = ports.bind(reuse, &Weak::new()).unwrap();
        a.listen(true).unwrap();
        assert_eq!(b.listen(true), Err(Errno::EADDRINUSE));
        assert_eq!(ports.bind(reuse, &Weak::new()).err(), Some(Errno::EADDRINUSE));
        a.listen(false).unwrap();
        assert!(ports.bind(reuse, &Weak::new()).is_ok());
    }

    #[test]
    fn a_port_is_chosen_for_who_asks_for_none() {
        let ports: Arc<Ports<()>> = Arc::default();
        let a = ports.bind(wish("0.0.0.0:0"), &Weak::new()).unwrap();
        assert!(EPHEMERAL.contains(&a.addr.port()));
    }
}
