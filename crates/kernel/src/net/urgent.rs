//! Urgent bytes of streams (`MSG_OOB` of `send(2)`, `sockatmark(3)`): at most one is known at a
//! time, the latest. A read ends before it; the next one begins behind it.
//!
//! Not locked by itself: it lies in its socket's state, beside the queue.

use super::queue::Span;
use super::{Packet, Queue, Received};
use crate::vfs::IoDst;
use chitin_abi::Errno;
use chitin_abi::socket::{MSG_OOB, MSG_PEEK, MSG_TRUNC};

/// Where the urgent byte is.
#[derive(Clone, Copy)]
struct Mark {
    /// Unread bytes before it.
    ahead: usize,
    /// It was received by `MSG_OOB`.
    taken: bool,
    /// It is no longer in the queue.
    removed: bool,
}

/// What becomes of an urgent byte that was received by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// It leaves the queue (`unix(7)`).
    Removes,
    /// It stays until it is passed (`tcp(7)`).
    Leaves,
}

/// The urgent byte of a stream, if there is one.
#[derive(Default)]
pub struct Urgent(Option<Mark>);

impl Urgent {
    /// The last byte of the queue is urgent from now on.
    pub fn mark(&mut self, queue: &Queue) {
        let ahead = queue.bytes().saturating_sub(1);
        self.0 = Some(Mark { ahead, taken: false, removed: false });
    }

    /// Another one has come: one that the reader stands at is passed (`tcp(7)`), and what is used
    /// up then added to `passed`, as elsewhere here, to be dropped without a lock.
    pub fn make_way(&mut self, queue: &mut Queue, inline: bool, passed: &mut Vec<Packet>) {
        if self.at_mark() && !inline {
            self.span(queue, inline, 0, passed);
        }
    }

    /// Whether there is a mark.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the next byte is the urgent one (`SIOCATMARK`).
    #[must_use]
    pub fn at_mark(&self) -> bool {
        self.0.is_some_and(|m| m.ahead == 0)
    }

    /// Whether it can be received (`POLLPRI`).
    #[must_use]
    pub fn waits(&self) -> bool {
        self.0.is_some_and(|m| !m.taken)
    }

    /// Unread bytes before it (`SIOCINQ` of `tcp(7)`).
    #[must_use]
    pub fn ahead(&self) -> Option<usize> {
        self.0.map(|m| m.ahead)
    }

    /// Bytes of the queue that no read gives.
    #[must_use]
    pub fn hidden(&self, inline: bool) -> usize {
        let hides = self.0.is_some_and(|m| m.ahead == 0 && !m.removed && !inline);
        usize::from(hides)
    }

    /// What the next read may take: up to the mark, or, at it, what is behind. Passes the mark
    /// unless `MSG_PEEK` is in `flags`. With `SO_OOBINLINE` the byte is one like others.
    pub fn span(
        &mut self,
        queue: &mut Queue,
        inline: bool,
        flags: u32,
        passed: &mut Vec<Packet>,
    ) -> Span {
        let Some(mark) = self.0 else { return Span::default() };
        if mark.ahead > 0 {
            return Span { skip: 0, most: mark.ahead };
        }
        let hole = usize::from(!inline && !mark.removed);
        if flags & MSG_PEEK != 0 {
            return Span { skip: hole, ..Span::default() };
        }
        self.0 = None;
        passed.extend(queue.skip(hole).packets);
        Span::default()
    }

    /// A read has taken `n` bytes; whether it ends at the mark.
    pub fn passed(&mut self, n: usize) -> bool {
        if let Some(mark) = &mut self.0 {
            mark.ahead = mark.ahead.saturating_sub(n);
        }
        self.at_mark()
    }

    /// Receives the urgent byte by itself; `EINVAL` if there is none.
    pub fn receive(
        &mut self,
        queue: &mut Queue,
        dst: &mut IoDst<'_>,
        flags: u32,
        taking: Taking,
        passed: &mut Vec<Packet>,
    ) -> Result<Received, Errno> {
        let mark = self.0.as_mut().filter(|m| !m.taken).ok_or(Errno::EINVAL)?;
        let byte = queue.byte_at(mark.ahead).ok_or(Errno::EINVAL)?;
        let stored = dst.put(&[byte])?;
        if flags & MSG_PEEK == 0 {
            mark.taken = true;
            mark.removed = taking == Taking::Removes;
            if mark.removed {
                passed.extend(queue.remove_at(mark.ahead));
            }
        }
        let cut = if stored == 0 { MSG_TRUNC } else { 0 };
        Ok(Received { len: stored, flags: MSG_OOB | cut, last: true, ..Received::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_ends_at_the_mark_and_the_next_passes_it() {
        let (mut queue, mut urgent, mut passed) = (Queue::default(), Urgent::default(), Vec::new());
        queue.push(Packet { data: b"abX".to_vec(), ..Packet::default() });
        urgent.mark(&queue);
        queue.push(Packet { data: b"cd".to_vec(), ..Packet::default() });
        let mut buf = [0; 9];
        for (want, at_mark) in [(&b"ab"[..], true), (b"cd", false)] {
            let span = urgent.span(&mut queue, false, 0, &mut passed);
            let taken = queue.read(&mut IoDst::kernel(&mut buf), false, span.most).unwrap();
            assert_eq!(urgent.passed(taken.len), at_mark);
            assert_eq!(&buf[..taken.len], want);
        }
        assert!(!urgent.is_some() && queue.bytes() == 0);
    }

    #[test]
    fn a_byte_that_is_taken_out_leaves_a_mark() {
        let (mut queue, mut urgent, mut passed) = (Queue::default(), Urgent::default(), Vec::new());
        queue.push(Packet { data: b"X".to_vec(), ..Packet::default() });
        urgent.mark(&queue);
        let mut buf = [0; 1];
        let mut dst = IoDst::kernel(&mut buf);
        urgent.receive(&mut queue, &mut dst, 0, Taking::Removes, &mut passed).unwrap();
        assert_eq!((queue.bytes(), queue.cost(), passed.len()), (0, 0, 1));
        assert!(urgent.at_mark() && !urgent.waits());
    }
}
