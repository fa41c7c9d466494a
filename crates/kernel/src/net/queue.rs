//! [`Queue`]: unread messages of a socket, or the bytes of a stream, as [`Packet`]s.
//!
//! Not locked by itself: it lies in its socket's state. Who takes packets out drops them
//! after the lock is released, because a packet may own descriptors and gives its room
//! back to its sender.

use super::{Received, Rights};
use crate::vfs::{IoDst, IoSrc};
use chitin_abi::Errno;
use chitin_abi::socket::{MSG_PEEK, MSG_TRUNC, Ucred};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// What a packet costs besides its bytes.
pub const OVERHEAD: usize = 256;
/// Most bytes of one packet of a stream.
const CHUNK: usize = 32 << 10;
/// Small writes of a stream share a packet up to this size.
const MERGE: usize = 4096;
/// Most bytes of unread packets of all sockets together (`ENOBUFS`).
const MOST_BUFFERED: usize = 256 << 20;
/// Room of a packet that nothing waits before: it is likely to be read alone.
const SMALL: usize = 256;

/// Room that all unread packets take.
static BUFFERED: AtomicUsize = AtomicUsize::new(0);

/// `ENOBUFS` if the sockets together hold too much.
pub fn check_budget() -> Result<(), Errno> {
    let most = BUFFERED.load(Ordering::Relaxed) >= MOST_BUFFERED;
    if most || chitin_hostsys::heap::is_short() { Err(Errno::ENOBUFS) } else { Ok(()) }
}

/// Who gets room back when a packet is gone.
pub trait Sender: Send + Sync {
    /// `cost` bytes of what it sent have been taken.
    fn released(&self, cost: usize);
}

/// A message, or a piece of a stream.
#[derive(Default)]
pub struct Packet {
    /// Its bytes.
    pub data: Vec<u8>,
    /// Bytes already read.
    pub at: usize,
    /// Address of the sender.
    pub from: Option<Arc<[u8]>>,
    /// Who sent it.
    pub cred: Ucred,
    /// Descriptors that it carries.
    pub rights: Option<Rights>,
    /// Control messages that the protocol adds: level, type, data.
    pub extra: Vec<(i32, i32, Vec<u8>)>,
    /// Whose room it takes.
    pub charge: Option<Charge>,
}

/// Room of a sender, given back on drop.
pub struct Charge {
    /// Whose.
    pub sender: Weak<dyn Sender>,
    /// Bytes.
    pub cost: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.upgrade() {
            sender.released(self.cost);
        }
    }
}

impl Packet {
    /// Room that it takes.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.data.capacity().max(self.data.len()) + OVERHEAD
    }

    fn unread(&self) -> &[u8] {
        self.data.get(self.at..).unwrap_or_default()
    }
}

/// What a read took.
#[derive(Default)]
pub struct Taken {
    /// Bytes stored.
    pub len: usize,
    /// Packets that are used up; to be dropped without a lock.
    pub packets: Vec<Packet>,
    /// The first packet's descriptors.
    pub rights: Option<Rights>,
    /// The first packet's sender.
    pub cred: Ucred,
    /// The first packet's address.
    pub from: Option<Arc<[u8]>>,
    /// A border: more must not be added.
    pub border: bool,
}

/// Which unread bytes a read is about.
#[derive(Clone, Copy)]
pub struct Span {
    /// Bytes that are not looked at (with `MSG_PEEK`).
    pub skip: usize,
    /// Most bytes.
    pub most: usize,
}

impl Default for Span {
    fn default() -> Self {
        Self { skip: 0, most: usize::MAX }
    }
}

/// The first `most` of `bytes`.
fn first(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most.min(bytes.len())).unwrap_or_default()
}

/// Unread packets. What they take is charged to the budget of all sockets.
#[derive(Default)]
pub struct Queue {
    packets: VecDeque<Packet>,
    cost: usize,
    bytes: usize,
}

impl Queue {
    /// Number of packets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Unread bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Room that the packets take.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// The first packet.
    #[must_use]
    pub fn front(&self) -> Option<&Packet> {
        self.packets.front()
    }

    /// All packets.
    pub fn iter(&self) -> impl Iterator<Item = &Packet> {
        self.packets.iter()
    }

    /// Room was taken, or given back.
    fn charge(&mut self, cost: usize) {
        self.cost += cost;
        BUFFERED.fetch_add(cost, Ordering::Relaxed);
    }

    fn release(&mut self, cost: usize) {
        let cost = cost.min(self.cost);
        self.cost -= cost;
        BUFFERED.fetch_sub(cost, Ordering::Relaxed);
    }

    /// Adds a message.
    pub fn push(&mut self, packet: Packet) {
        self.charge(packet.cost());
        self.bytes += packet.unread().len();
        self.packets.push_back(packet);
    }

    /// Takes the first message.
    pub fn pop(&mut self) -> Option<Packet> {
        let packet = self.packets.pop_front()?;
        self.release(packet.cost());
        self.bytes = self.bytes.saturating_sub(packet.unread().len());
        Some(packet)
    }

    /// Takes everything.
    pub fn take(&mut self) -> Vec<Packet> {
        self.release(self.cost);
        self.bytes = 0;
        self.packets.drain(..).collect()
    }

    /// Moves bytes of a stream in while the packets take less than `limit`. `make` is told
    /// of the bytes of each new packet. `like` is the sender whose bytes may be added to
    /// the last packet, if any may.
    pub fn write(
        &mut self,
        src: &mut IoSrc<'_>,
        limit: usize,
        like: Option<Ucred>,
        mut make: impl FnMut(Vec<u8>) -> Packet,
    ) -> Result<(), Errno> {
        if let Some(cred) = like {
            self.merge(src, cred)?;
        }
        while src.remaining() > 0 {
            if self.cost >= limit {
                return Err(Errno::EAGAIN);
            }
            check_budget()?;
            // A chunk that would go over the limit takes what is left.
            let n = src.remaining().min((limit - self.cost).clamp(MERGE, CHUNK));
            let spare = if self.packets.is_empty() { SMALL } else { MERGE };
            let mut data = Vec::with_capacity(n.max(spare));
            data.resize(n, 0);
            let got = src.take(&mut data)?;
            data.truncate(got);
            let packet = make(data);
            self.push(packet);
        }
        Ok(())
    }

    /// Adds a small write to the last packet if nothing tells them apart and it fits.
    fn merge(&mut self, src: &mut IoSrc<'_>, cred: Ucred) -> Result<(), Errno> {
        let Some(last) = self.packets.back_mut() else { return Ok(()) };
        let (n, start) = (src.remaining(), last.data.len());
        if last.rights.is_some() || last.cred != cred || start + n > last.data.capacity() {
            return Ok(());
        }
        last.data.resize(start + n, 0);
        let taken = src.take(last.data.get_mut(start..).unwrap_or_default());
        last.data.truncate(start + *taken.as_ref().unwrap_or(&0));
        self.bytes += taken?;
        Ok(())
    }

    /// Reads bytes of a stream. Stops at a border: behind those that carry descriptors, and
    /// with `creds` before those of another sender. `most` bytes at most.
    pub fn read(&mut self, dst: &mut IoDst<'_>, creds: bool, most: usize) -> Result<Taken, Errno> {
        let mut taken = Taken::default();
        let mut any = false;
        while dst.remaining() > 0 && taken.len < most {
            let Some(front) = self.packets.front_mut() else { break };
            if any && creds && front.cred != taken.cred {
                taken.border = true;
                break;
            }
            let n = match dst.put(first(front.unread(), most - taken.len)) {
                Ok(n) => n,
                Err(e) if taken.len == 0 => return Err(e),
                Err(_) => break,
            };
            if !any {
                (taken.cred, taken.from) = (front.cred, front.from.clone());
            }
            any = true;
            taken.len += n;
            front.at += n;
            self.bytes -= n;
            let rights = front.rights.take();
            taken.border |= rights.is_some();
            taken.rights = taken.rights.or(rights);
            if front.unread().is_empty()
                && let Some(packet) = self.packets.pop_front()
            {
                self.release(packet.cost());
                taken.packets.push(packet);
            }
            if taken.border {
                break;
            }
        }
        Ok(taken)
    }

    /// Takes the first message, or looks at it (`MSG_PEEK`). The queue is not empty.
    pub fn receive(&mut self, dst: &mut IoDst<'_>, flags: u32) -> Result<Received, Errno> {
        let front = self.packets.front().ok_or(Errno::EAGAIN)?;
        let (len, before) = (front.data.len(), dst.done());
        let room = dst.remaining().min(len);
        if room > 0 && dst.put(&front.data)? < room {
            return Err(Errno::EFAULT);
        }
        let stored = dst.done() - before;
        let mut received = Received { len: stored, last: true, ..Received::default() };
        received.from = front.from.as_ref().map(|f| f.to_vec()).unwrap_or_default();
        received.control.extra.clone_from(&front.extra);
        if stored < len {
            received.flags |= MSG_TRUNC;
        }
        if flags & MSG_TRUNC != 0 {
            received.len = len;
        }
        if flags & MSG_PEEK == 0 {
            drop(self.pop());
        }
        Ok(received)
    }

    /// Drops bytes of a stream instead of storing them (`MSG_TRUNC`, tcp(7)).
    pub fn skip(&mut self, most: usize) -> Taken {
        let mut taken = Taken::default();
        while taken.len < most {
            let Some(front) = self.packets.front_mut() else { break };
            let n = front.unread().len().min(most - taken.len);
            front.at += n;
            self.bytes -= n;
            taken.len += n;
            if front.unread().is_empty()
                && let Some(packet) = self.packets.pop_front()
            {
                self.release(packet.cost());
                taken.packets.push(packet);
            }
        }
        taken
    }

    /// The byte behind `ahead` unread ones of a stream.
    #[must_use]
    pub fn byte_at(&self, mut ahead: usize) -> Option<u8> {
        for packet in &self.packets {
            match packet.unread().get(ahead) {
                Some(byte) => return Some(*byte),
                None => ahead -= packet.unread().len(),
            }
        }
        None
    }

    /// Takes that byte out; its packet, to be dropped without a lock, if nothing is left of it.
    pub fn remove_at(&mut self, mut ahead: usize) -> Option<Packet> {
        for (i, packet) in self.packets.iter_mut().enumerate() {
            let len = packet.unread().len();
            if ahead >= len {
                ahead -= len;
                continue;
            }
            packet.data.remove(packet.at + ahead);
            self.bytes -= 1;
            let used = packet.unread().is_empty().then(|| self.packets.remove(i)).flatten();
            self.release(used.as_ref().map_or(0, Packet::cost));
            return used;
        }
        None
    }

    /// Reads without consuming (`MSG_PEEK`).
    pub fn peek(&self, dst: &mut IoDst<'_>, creds: bool, span: Span) -> Result<Taken, Errno> {
        let mut taken = Taken::default();
        let mut skip = span.skip;
        for (i, packet) in self.packets.iter().enumerate() {
            let full = dst.remaining() == 0 || taken.len >= span.most;
            if full || (i > 0 && creds && packet.cred != taken.cred) {
                break;
            }
            let bytes = packet.unread();
            let bytes = bytes.get(skip.min(bytes.len())..).unwrap_or_default();
            skip -= packet.unread().len() - bytes.len();
            match dst.put(first(bytes, span.most - taken.len)) {
                Ok(n) => taken.len += n,
                Err(e) if taken.len == 0 => return Err(e),
                Err(_) => break,
            }
            if i == 0 {
                (taken.cred, taken.from) = (packet.cred, packet.from.clone());
            }
            if packet.rights.is_some() {
                taken.border = true;
                break;
            }
        }
        Ok(taken)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.release(self.cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(q: &mut Queue, bytes: &[u8], limit: usize) -> (usize, Result<(), Errno>) {
        let mut src = IoSrc::kernel(bytes);
        let make = |data| Packet { data, ..Packet::default() };
        let result = q.write(&mut src, limit, Some(Ucred::default()), make);
        (src.done(), result)
    }

    fn get(q: &mut Queue, len: usize) -> Vec<u8> {
        let mut buf = vec![0; len];
        let n = q.read(&mut IoDst::kernel(&mut buf), false, usize::MAX).unwrap().len;
        buf.truncate(n);
        buf
    }

    #[test]
    fn small_writes_share_a_packet_and_come_out_in_order() {
        let mut q = Queue::default();
        put(&mut q, b"hello ", 10_000).1.unwrap();
        put(&mut q, b"world", 10_000).1.unwrap();
        assert_eq!((q.len(), q.bytes()), (1, 11));
        assert_eq!(get(&mut q, 7), b"hello w");
        assert_eq!(get(&mut q, 100), b"orld");
        assert_eq!((q.len(), q.bytes(), q.cost()), (0, 0, 0));
    }

    #[test]
    fn the_limit_bounds_what_is_taken() {
        let mut q = Queue::default();
        let (n, result) = put(&mut q, &vec![1; 500_000], 100_000);
        assert_eq!(result, Err(Errno::EAGAIN));
        assert!(n < 105_000 && q.cost() >= 100_000, "{n} {}", q.cost());
        assert_eq!(put(&mut q, b"x", 100_000), (0, Err(Errno::EAGAIN)));
        assert_eq!(get(&mut q, 400_000).len(), n);
        assert_eq!(q.cost(), 0);
    }

    #[test]
    fn a_read_ends_where_the_sender_changes() {
        let mut q = Queue::default();
        for pid in [1, 1, 2] {
            let cred = Ucred { pid, ..Ucred::default() };
            q.push(Packet { data: vec![b'a'; 3], cred, ..Packet::default() });
        }
        let mut buf = [0; 100];
        let taken = q.read(&mut IoDst::kernel(&mut buf), true, usize::MAX).unwrap();
        assert_eq!((taken.len, taken.cred.pid, taken.border), (6, 1, true));
        assert_eq!(get(&mut q, 100), b"aaa");
    }
}
