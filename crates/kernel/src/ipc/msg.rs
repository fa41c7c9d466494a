//! [`MsgTable`]: queues of messages (`msgget(2)`, `msgop(2)`).
//!
//! Who waits for a message gets it from the sender at once, and who waits for room has its
//! message queued by the receiver that made it.

use super::{Ids, Object, Perm, Waiter, limit, perm, seconds};
use crate::cred::Cred;
use crate::sync::Mutex;
use crate::task::Pid;
use chitin_abi::Errno;
use chitin_abi::ipc::*;
use std::collections::VecDeque;
use std::sync::Arc;

/// `CAP_SYS_RESOURCE`.
const CAP_SYS_RESOURCE: u32 = 24;

/// A message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Its type, above 0.
    pub kind: i64,
    /// What it says.
    pub text: Vec<u8>,
}

/// Which message is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// The first one.
    Any,
    /// The first of this type.
    Kind(i64),
    /// The first of another type.
    Except(i64),
    /// The first of the lowest type up to this one.
    UpTo(i64),
}

/// How a message is to be received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receiving {
    /// Which one.
    pub wanted: Wanted,
    /// Longest text in bytes.
    pub room: usize,
    /// A longer text is cut off (`MSG_NOERROR`).
    pub cuts: bool,
}

struct Receiver {
    how: Receiving,
    pid: Pid,
    waiter: Arc<Waiter<Message>>,
}

struct Sender {
    message: Message,
    pid: Pid,
    waiter: Arc<Waiter<()>>,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    bytes: u64,
    most: u64,
    stime: i64,
    rtime: i64,
    ctime: i64,
    sender: Pid,
    receiver: Pid,
    receivers: Vec<Receiver>,
    senders: Vec<Sender>,
}

struct State {
    ids: Ids<Queue>,
    /// Of all queues, with those of senders who wait.
    messages: usize,
    bytes: usize,
}

/// All queues.
pub struct MsgTable(Mutex<State>);

impl Default for MsgTable {
    fn default() -> Self {
        Self(Mutex::new(State { ids: Ids::new(limit::MSGMNI), messages: 0, bytes: 0 }))
    }
}

/// What is told of a queue.
pub struct MsgStat {
    /// Its identifier.
    pub id: i32,
    /// What `IPC_STAT` tells.
    pub ds: MsqidDs,
}

impl MsgStat {
    fn of(object: &Object<Queue>) -> Self {
        let queue = &object.body;
        let ds = MsqidDs {
            msg_perm: object.perm.told(object.id),
            msg_stime: queue.stime,
            msg_rtime: queue.rtime,
            msg_ctime: queue.ctime,
            msg_cbytes: queue.bytes,
            msg_qnum: queue.messages.len() as u64,
            msg_qbytes: queue.most,
            msg_lspid: queue.sender,
            msg_lrpid: queue.receiver,
            ..MsqidDs::default()
        };
        Self { id: object.id, ds }
    }
}

/// Whom to wake when the lock is free.
#[derive(Default)]
struct Woken {
    receivers: Vec<Arc<Waiter<Message>>>,
    senders: Vec<Arc<Waiter<()>>>,
}

impl Woken {
    fn wake(&self) {
        self.receivers.iter().for_each(|w| w.wake());
        self.senders.iter().for_each(|w| w.wake());
    }
}

impl Wanted {
    fn takes(self, kind: i64) -> bool {
        match self {
            Self::Any => true,
            Self::Kind(wanted) => kind == wanted,
            Self::Except(other) => kind != other,
            Self::UpTo(most) => kind <= most,
        }
    }
}

impl Queue {
    /// Where the wanted message is.
    fn find(&self, wanted: Wanted) -> Option<usize> {
        let kinds = self.messages.iter().map(|m| m.kind).enumerate();
        let mut fitting = kinds.filter(|&(_, kind)| wanted.takes(kind));
        match wanted {
            // The first of several is the one that comes first.
            Wanted::UpTo(_) => fitting.min_by_key(|&(_, kind)| kind).map(|(at, _)| at),
            _ => fitting.next().map(|(at, _)| at),
        }
    }

    fn has_room(&self, text: &[u8]) -> bool {
        self.bytes + text.len() as u64 <= self.most && (self.messages.len() as u64) < self.most
    }

    /// Gives a message to a receiver that waits for it, or queues it.
    fn put(&mut self, message: Message, pid: Pid, woken: &mut Woken) -> Option<Message> {
        (self.sender, self.stime) = (pid, seconds());
        let mut at = 0;
        while let Some(receiver) = self.receivers.get(at) {
            if !receiver.how.wanted.takes(message.kind) {
                at += 1;
                continue;
            }
            let Receiver { how, pid, waiter } = self.receivers.remove(at);
            woken.receivers.push(waiter.clone());
            if message.text.len() > how.room && !how.cuts {
                waiter.settle(Err(Errno::E2BIG));
                continue;
            }
            (self.receiver, self.rtime) = (pid, seconds());
            waiter.settle(Ok(message.clone()));
            return Some(message);
        }
        self.bytes += message.text.len() as u64;
        self.messages.push_back(message);
        None
    }
}

impl State {
    fn released(&mut self, message: &Message) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(message.text.len());
    }

    /// Queues the messages of senders as far as there is room.
    fn let_in(&mut self, id: i32, woken: &mut Woken) {
        let mut gone = Vec::new();
        if let Ok(object) = self.ids.get_mut(id) {
            let queue = &mut object.body;
            let mut at = 0;
            // One that needs more room holds up nobody behind it.
            while let Some(sender) = queue.senders.get(at) {
                if !queue.has_room(&sender.message.text) {
                    at += 1;
                    continue;
                }
                let Sender { message, pid, waiter } = queue.senders.remove(at);
                gone.extend(queue.put(message, pid, woken));
                waiter.settle(Ok(()));
                woken.senders.push(waiter);
            }
        }
        gone.iter().for_each(|message| self.released(message));
    }
}

/// A sender that waits; dropping it gives that up.
pub struct WaitingSender<'a> {
    table: &'a MsgTable,
    queue: i32,
    waiter: Arc<Waiter<()>>,
}

/// A receiver that waits; dropping it gives that up.
pub struct WaitingReceiver<'a> {
    table: &'a MsgTable,
    queue: i32,
    waiter: Arc<Waiter<Message>>,
}

impl WaitingSender<'_> {
    /// Who waits.
    #[must_use]
    pub fn waiter(&self) -> &Waiter<()> {
        &self.waiter
    }

    /// No longer waits; the outcome if there is one meanwhile.
    pub fn give_up(self) -> Option<Result<(), Errno>> {
        let waiter = self.waiter.clone();
        drop(self);
        waiter.take()
    }
}

impl WaitingReceiver<'_> {
    /// Who waits.
    #[must_use]
    pub fn waiter(&self) -> &Waiter<Message> {
        &self.waiter
    }

    /// No longer waits; the outcome if there is one meanwhile.
    pub fn give_up(self) -> Option<Result<Message, Errno>> {
        let waiter = self.waiter.clone();
        drop(self);
        waiter.take()
    }
}

impl Drop for WaitingSender<'_> {
    fn drop(&mut self) {
        let mut state = self.table.0.lock();
        let Ok(object) = state.ids.get_mut(self.queue) else { return };
        let senders = &mut object.body.senders;
        let at = senders.iter().position(|s| Arc::ptr_eq(&s.waiter, &self.waiter));
        let Some(at) = at else { return };
        let gone = senders.remove(at);
        state.released(&gone.message);
        // Those behind may need less room.
        let mut woken = Woken::default();
        state.let_in(self.queue, &mut woken);
        drop(state);
        woken.wake();
    }
}

impl Drop for WaitingReceiver<'_> {
    fn drop(&mut self) {
        if let Ok(object) = self.table.0.lock().ids.get_mut(self.queue) {
            object.body.receivers.retain(|r| !Arc::ptr_eq(&r.waiter, &self.waiter));
        }
    }
}

impl MsgTable {
    /// `msgget(2)`.
    pub fn open(&self, key: i32, flags: u32, cred: &Cred) -> Result<i32, Errno> {
        let mut state = self.0.lock();
        if let Some(id) = state.ids.look_up(key, flags, cred, |_| Ok(()))? {
            return Ok(id);
        }
        let queue = Queue { most: limit::MSGMNB as u64, ctime: seconds(), ..Queue::default() };
        state.ids.add(Perm::new(key, cred, flags), queue)
    }

    /// `msgsnd(2)`: `None` if the message is on its way, else what waits for room.
    pub fn send(
        &self,
        id: i32,
        message: Message,
        waits: bool,
        cred: &Cred,
        pid: Pid,
    ) -> Result<Option<WaitingSender<'_>>, Errno> {
        let mut state = self.0.lock();
        let full = state.messages >= limit::MESSAGES
            || state.bytes + message.text.len() > limit::MESSAGE_BYTES;
        let object = state.ids.get_mut(id)?;
        object.perm.allow(cred, perm::WRITE)?;
        let fits = object.body.has_room(&message.text);
        if !fits && !waits {
            return Err(Errno::EAGAIN);
        }
        if full {
            return Err(Errno::ENOMEM);
        }
        let bytes = message.text.len();
        let mut woken = Woken::default();
        let waiting = if fits {
            if object.body.put(message, pid, &mut woken).is_some() {
                drop(state);
                woken.wake();
                return Ok(None);
            }
            None
        } else {
            let waiter = Arc::<Waiter<()>>::default();
            object.body.senders.push(Sender { message, pid, waiter: waiter.clone() });
            Some(WaitingSender { table: self, queue: id, waiter })
        };
        state.messages += 1;
        state.bytes += bytes;
        drop(state);
        woken.wake();
        Ok(waiting)
    }

    /// `msgrcv(2)`: the message, or what waits for it; `ENOMSG` if that may not be.
    pub fn receive(
        &self,
        id: i32,
        how: Receiving,
        waits: bool,
        cred: &Cred,
        pid: Pid,
    ) -> Result<Result<Message, WaitingReceiver<'_>>, Errno> {
        let mut state = self.0.lock();
        let object = state.ids.get_mut(id)?;
        object.perm.allow(cred, perm::READ)?;
        let queue = &mut object.body;
        if let Some(at) = queue.find(how.wanted) {
            let long = queue.messages.get(at).is_some_and(|m| m.text.len() > how.room);
            if long && !how.cuts {
                return Err(Errno::E2BIG);
            }
            let message = queue.messages.remove(at).ok_or(Errno::ENOMSG)?;
            queue.bytes = queue.bytes.saturating_sub(message.text.len() as u64);
            (queue.receiver, queue.rtime) = (pid, seconds());
            let mut woken = Woken::default();
            state.released(&message);
            state.let_in(id, &mut woken);
            drop(state);
            woken.wake();
            return Ok(Ok(message));
        }
        if !waits {
            return Err(Errno::ENOMSG);
        }
        let waiter = Arc::<Waiter<Message>>::default();
        queue.receivers.push(Receiver { how, pid, waiter: waiter.clone() });
        Ok(Err(WaitingReceiver { table: self, queue: id, waiter }))
    }

    /// `MSG_COPY`: the message at a place of the queue, which stays there.
    pub fn copy(&self, id: i32, at: i64, how: Receiving, cred: &Cred) -> Result<Message, Errno> {
        let state = self.0.lock();
        let object = state.ids.get(id)?;
        object.perm.allow(cred, perm::READ)?;
        let at = usize::try_from(at).ok();
        let message = at.and_then(|at| object.body.messages.get(at)).ok_or(Errno::ENOMSG)?;
        let long = message.text.len() > how.room && !how.cuts;
        if long { Err(Errno::E2BIG) } else { Ok(message.clone()) }
    }

    /// `IPC_STAT`.
    pub fn stat(&self, id: i32, cred: &Cred) -> Result<MsgStat, Errno> {
        let state = self.0.lock();
        let object = state.ids.get(id)?;
        object.perm.allow(cred, perm::READ)?;
        Ok(MsgStat::of(object))
    }

    /// `MSG_STAT` of an index; without `cred` `MSG_STAT_ANY`.
    pub fn stat_at(&self, index: i32, cred: Option<&Cred>) -> Result<MsgStat, Errno> {
        let state = self.0.lock();
        let object = state.ids.at(index)?;
        cred.map_or(Ok(()), |cred| object.perm.allow(cred, perm::READ))?;
        Ok(MsgStat::of(object))
    }

    /// All queues.
    #[must_use]
    pub fn all(&self) -> Vec<MsgStat> {
        self.0.lock().ids.iter().map(MsgStat::of).collect()
    }

    /// How many queues, messages and bytes there are, and the highest index.
    #[must_use]
    pub fn sums(&self) -> (usize, usize, usize, u64) {
        let state = self.0.lock();
        (state.ids.count(), state.messages, state.bytes, state.ids.highest())
    }

    /// `IPC_SET`: only the privileged may let a queue have more than usual.
    pub fn set(&self, id: i32, to: &MsqidDs, cred: &Cred) -> Result<(), Errno> {
        let mut state = self.0.lock();
        let object = state.ids.get_mut(id)?;
        object.perm.allow_control(cred)?;
        if to.msg_qbytes > limit::MSGMNB as u64 && !cred.has_cap(CAP_SYS_RESOURCE) {
            return Err(Errno::EPERM);
        }
        object.perm.change(&to.msg_perm)?;
        object.body.most = to.msg_qbytes;
        object.body.ctime = seconds();
        let mut woken = Woken::default();
        state.let_in(id, &mut woken);
        drop(state);
        woken.wake();
        Ok(())
    }

    /// `IPC_RMID`: who waits is told that the queue is gone.
    pub fn remove(&self, id: i32, cred: &Cred) -> Result<(), Errno> {
        let mut state = self.0.lock();
        state.ids.get(id)?.perm.allow_control(cred)?;
        let Some(gone) = state.ids.remove(id) else { return Err(Errno::EINVAL) };
        let queue = gone.body;
        let waiting = queue.senders.iter().map(|s| &s.message);
        queue.messages.iter().chain(waiting).for_each(|message| state.released(message));
        drop(state);
        for receiver in &queue.receivers {
            receiver.waiter.settle(Err(Errno::EIDRM));
            receiver.waiter.wake();
        }
        for sender in &queue.senders {
            sender.waiter.settle(Err(Errno::EIDRM));
            sender.waiter.wake();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: fn() -> Cred = || Cred::for_user(0, 0, Vec::new());

    fn message(kind: i64, text: &[u8]) -> Message {
        Message { kind, text: text.to_vec() }
    }

    fn receive(table: &MsgTable, id: i32, wanted: Wanted, room: usize) -> Result<Message, Errno> {
        let how = Receiving { wanted, room, cuts: false };
        table.receive(id, how, false, &ROOT(), 1).map(|r| r.ok().unwrap())
    }

    #[test]
    fn messages_are_found_by_type() {
        let table = MsgTable::default();
        let id = table.open(0, 0o600, &ROOT()).unwrap();
        for kind in [5, 3, 4, 3] {
            assert!(table.send(id, message(kind, b"x"), false, &ROOT(), 1).unwrap().is_none());
        }
        let kind = |wanted| receive(&table, id, wanted, 9).map(|m| m.kind);
        assert_eq!(receive(&table, id, Wanted::Any, 0), Err(Errno::E2BIG));
        assert_eq!(kind(Wanted::UpTo(4)), Ok(3));
        assert_eq!(kind(Wanted::UpTo(2)), Err(Errno::ENOMSG));
        assert_eq!(kind(Wanted::Except(5)), Ok(4));
        assert_eq!(kind(Wanted::Kind(3)), Ok(3));
        assert_eq!(kind(Wanted::Any), Ok(5));
        assert_eq!(table.sums(), (1, 0, 0, 0));
    }

    #[test]
    fn who_waits_is_served() {
        let table = MsgTable::default();
        let id = table.open(0, 0o600, &ROOT()).unwrap();
        let how = Receiving { wanted: Wanted::Kind(7), room: 0, cuts: false };
        let first = table.receive(id, how, true, &ROOT(), 1).unwrap().err().unwrap();
        let how = Receiving { room: 1, ..how };
        let second = table.receive(id, how, true, &ROOT(), 1).unwrap().err().unwrap();
        table.send(id, message(7, b"x"), false, &ROOT(), 2).unwrap();
        assert_eq!(first.give_up(), Some(Err(Errno::E2BIG)));
        assert_eq!(second.give_up(), Some(Ok(message(7, b"x"))));
        assert_eq!(table.sums().1, 0);
        let large = vec![0; limit::MSGMNB / 2 + 1];
        table.send(id, message(1, &large), false, &ROOT(), 2).unwrap();
        let full = table.send(id, message(1, &large), false, &ROOT(), 2);
        assert_eq!(full.err(), Some(Errno::EAGAIN));
        let sender = table.send(id, message(2, &large), true, &ROOT(), 2).unwrap().unwrap();
        assert_eq!(sender.waiter().take(), None);
        receive(&table, id, Wanted::Any, large.len()).unwrap();
        assert_eq!(sender.give_up(), Some(Ok(())));
        let sender = table.send(id, message(2, &large), true, &ROOT(), 2).unwrap().unwrap();
        assert_eq!((table.sums().1, sender.give_up(), table.sums().1), (2, None, 1));
        table.remove(id, &ROOT()).unwrap();
        assert_eq!(table.sums(), (0, 0, 0, 0));
    }

    #[test]
    fn all_messages_together_are_limited() {
        let table = MsgTable::default();
        let mut sent = 0;
        let refused = loop {
            let id = table.open(0, 0o600, &ROOT()).unwrap();
            let send = || table.send(id, message(1, b""), false, &ROOT(), 1).map(drop);
            let result =
                (0..limit::MSGMNB).map(|_| send()).inspect(|r| sent += usize::from(r.is_ok()));
            if let Some(Err(e)) = result.into_iter().find(Result::is_err) {
                break e;
            }
        };
        assert_eq!((refused, sent), (Errno::ENOMEM, limit::MESSAGES));
    }
}
