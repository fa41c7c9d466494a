//! [`Epoll`]: a set of watched files (`epoll(7)`).
//!
//! Each watched file has an [`Item`], which listens on the file's wait queue and puts
//! itself on the ready list. The items of a file are known to it ([`Watchers`]), so that
//! they go when it goes; they hold it weakly.
//!
//! Locks, in this order: nesting (one for all sets), items, ready list, item. None is
//! held while a file is asked for its readiness, told or dropped.

use crate::sync::Mutex;
use crate::vfs::{File, FileOps};
use crate::wait::{Events, Listener, Pollable, WaitQueue, Wakeup};
use chitin_abi::Errno;
use chitin_abi::poll::{EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT, EpollEvent};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Most watched files of one set.
const MAX_ITEMS: usize = 1 << 17;
/// Most sets that watch each other in a row.
const MAX_NESTING: usize = 5;

/// Held while one set is put into another, so that two cannot close a loop together.
static NESTING: Mutex<()> = Mutex::new(());

/// A descriptor and the file behind it: the same number may come to mean another file
/// while the first is open elsewhere.
type Key = (i32, usize);

#[derive(Default)]
struct Shared {
    items: Mutex<HashMap<Key, Arc<Item>>>,
    ready: Mutex<VecDeque<Arc<Item>>>,
    queue: WaitQueue,
    /// The sets that watch this one.
    parents: Mutex<Vec<Weak<Shared>>>,
}

struct Asked {
    events: u32,
    data: u64,
    /// Key of the registration with the file's wait queue.
    registered: Option<u64>,
}

struct Item {
    key: Key,
    file: Weak<File>,
    owner: Weak<Shared>,
    asked: Mutex<Asked>,
    /// Is on the ready list.
    queued: AtomicBool,
}

/// The items that watch a file.
#[derive(Default)]
pub struct Watchers(Mutex<Vec<Weak<Item>>>);

/// A set of watched files.
#[derive(Default)]
pub struct Epoll(Arc<Shared>);

fn key(fd: i32, file: &Arc<File>) -> Key {
    (fd, Arc::as_ptr(file).addr())
}

fn interest(events: u32) -> Events {
    Events(events & 0xffff) | Events::ERR | Events::HUP
}

impl Shared {
    /// Puts an item on the ready list and tells who waits.
    fn push(&self, item: &Arc<Item>) {
        if !item.queued.swap(true, Ordering::SeqCst) {
            self.ready.lock().push_back(item.clone());
        }
        self.queue.notify(Events::READABLE);
    }

    fn forget(&self, item: &Arc<Item>) {
        let removed = {
            let mut items = self.items.lock();
            match items.get(&item.key) {
                Some(same) if Arc::ptr_eq(same, item) => items.remove(&item.key),
                _ => None,
            }
        };
        self.ready.lock().retain(|other| !Arc::ptr_eq(other, item));
        drop(removed);
    }

    /// Sets in a row from here down, this one included; too many if there is `target`.
    fn depth_below(&self, target: &Arc<Shared>, left: usize) -> usize {
        if std::ptr::eq(self, &raw const **target) || left == 0 {
            return MAX_NESTING + 1;
        }
        let files: Vec<_> = self.items.lock().values().map(|i| i.file.clone()).collect();
        let mut depth = 0;
        for file in files.iter().filter_map(Weak::upgrade) {
            if let Some(epoll) = file.ops_as::<Epoll>() {
                depth = depth.max(epoll.0.depth_below(target, left - 1));
            }
        }
        depth + 1
    }

    fn depth_above(&self, left: usize) -> usize {
        if left == 0 {
            return MAX_NESTING + 1;
        }
        let parents: Vec<_> = self.parents.lock().iter().filter_map(Weak::upgrade).collect();
        1 + parents.iter().map(|p| p.depth_above(left - 1)).max().unwrap_or(0)
    }
}

impl Item {
    /// The file has gone or is not watched any more: listens no longer.
    fn detach(&self, ops: &dyn FileOps) {
        let registered = self.asked.lock().registered.take();
        let queue = ops.pollable().and_then(Pollable::wait_queue);
        if let (Some(id), Some(queue)) = (registered, queue) {
            queue.remove(id);
        }
        let any: &dyn std::any::Any = ops;
        if let Some(epoll) = any.downcast_ref::<Epoll>() {
            let mut parents = epoll.0.parents.lock();
            let mine = parents.iter().position(|p| p.ptr_eq(&self.owner));
            if let Some(at) = mine {
                parents.swap_remove(at);
            }
        }
    }

    fn attach(self: &Arc<Self>, file: &File, events: u32) {
        let Some(queue) = file.wait_queue() else { return };
        let mode = if events & EPOLLEXCLUSIVE != 0 { Wakeup::Exclusive } else { Wakeup::Shared };
        // All events: what is of interest can change, and is judged by the item.
        let id = queue.add(Events::ALL, mode, self.clone());
        self.asked.lock().registered = Some(id);
    }

    /// Whether any of these is to be told.
    fn is_asked(&self, events: Events) -> bool {
        let asked = self.asked.lock().events;
        let spent = asked & EPOLLONESHOT != 0 && asked & 0xffff == 0;
        interest(asked).intersects(events) && !spent
    }

    /// What is to be told of the file now.
    fn ready(&self) -> Events {
        let events = self.asked.lock().events;
        // A spent EPOLLONESHOT has no event bits left.
        if events & 0xffff == 0 && events & EPOLLONESHOT != 0 {
            return Events::NONE;
        }
        match self.file.upgrade() {
            Some(file) => file.readiness() & interest(events),
            None => Events::NONE,
        }
    }
}

impl Listener for Item {
    fn would_wake(&self, events: Events) -> bool {
        self.is_asked(events) && self.owner.upgrade().is_some_and(|owner| !owner.queue.is_empty())
    }

    fn notify(&self, events: Events) {
        if !self.is_asked(events) {
            return;
        }
        let Some(owner) = self.owner.upgrade() else { return };
        let me = owner.items.lock().get(&self.key).cloned();
        if let Some(me) = me.filter(|me| std::ptr::eq(&raw const **me, self)) {
            owner.push(&me);
        }
    }
}

impl Watchers {
    /// The file ends: nobody watches it any more.
    pub(crate) fn file_gone(&self, ops: &dyn FileOps) {
        let items = std::mem::take(&mut *self.0.lock());
        for item in items.iter().filter_map(Weak::upgrade) {
            item.detach(ops);
            if let Some(owner) = item.owner.upgrade() {
                owner.forget(&item);
            }
        }
    }
}

impl Epoll {
    /// Watches a file (`EPOLL_CTL_ADD`).
    pub fn add(&self, fd: i32, file: &Arc<File>, event: EpollEvent) -> Result<(), Errno> {
        let _nesting = match file.ops_as::<Self>() {
            Some(inner) => Some(self.check_nesting(inner)?),
            None => None,
        };
        let (events, data) = (event.events, event.data);
        let item = Arc::new(Item {
            key: key(fd, file),
            file: Arc::downgrade(file),
            owner: Arc::downgrade(&self.0),
            asked: Mutex::new(Asked { events, data, registered: None }),
            queued: AtomicBool::new(false),
        });
        {
            let mut items = self.0.items.lock();
            if items.contains_key(&item.key) {
                return Err(Errno::EEXIST);
            }
            if items.len() >= MAX_ITEMS || chitin_hostsys::heap::is_short() {
                return Err(Errno::ENOSPC);
            }
            items.insert(item.key, item.clone());
        }
        if let Some(inner) = file.ops_as::<Self>() {
            inner.0.parents.lock().push(Arc::downgrade(&self.0));
        }
        {
            let mut watchers = file.watchers.0.lock();
            watchers.retain(|w| w.strong_count() > 0);
            watchers.push(Arc::downgrade(&item));
        }
        item.attach(file, events);
        if !item.ready().is_empty() {
            self.0.push(&item);
        }
        Ok(())
    }

    fn check_nesting(&self, inner: &Self) -> Result<crate::sync::MutexGuard<'static, ()>, Errno> {
        let guard = NESTING.lock();
        let below = inner.0.depth_below(&self.0, MAX_NESTING);
        if below + self.0.depth_above(MAX_NESTING) > MAX_NESTING {
            return Err(Errno::ELOOP);
        }
        Ok(guard)
    }

    fn item(&self, fd: i32, file: &Arc<File>) -> Result<Arc<Item>, Errno> {
        self.0.items.lock().get(&key(fd, file)).cloned().ok_or(Errno::ENOENT)
    }

    /// Asks for other events of a watched file (`EPOLL_CTL_MOD`).
    pub fn modify(&self, fd: i32, file: &Arc<File>, event: EpollEvent) -> Result<(), Errno> {
        let item = self.item(fd, file)?;
        {
            let mut asked = item.asked.lock();
            if asked.events & EPOLLEXCLUSIVE != 0 {
                return Err(Errno::EINVAL);
            }
            (asked.events, asked.data) = (event.events, event.data);
        }
        if !item.ready().is_empty() {
            self.0.push(&item);
        }
        Ok(())
    }

    /// Ends watching a file (`EPOLL_CTL_DEL`).
    pub fn remove(&self, fd: i32, file: &Arc<File>) -> Result<(), Errno> {
        let item = self.item(fd, file)?;
        self.0.forget(&item);
        item.detach(file.ops());
        file.watchers.0.lock().retain(|w| !std::ptr::eq(w.as_ptr(), Arc::as_ptr(&item)));
        Ok(())
    }

    /// Takes at most `most` events; `EAGAIN` if there are none.
    pub fn collect(&self, most: usize) -> Result<Vec<EpollEvent>, Errno> {
        let mut out = Vec::new();
        let mut again = Vec::new();
        let mut looks = self.0.ready.lock().len();
        while out.len() < most && looks > 0 {
            looks -= 1;
            let Some(item) = self.0.ready.lock().pop_front() else { break };
            // From here on an announcement puts it on the list again.
            item.queued.store(false, Ordering::SeqCst);
            let ready = item.ready();
            if ready.is_empty() {
                continue;
            }
            let mut asked = item.asked.lock();
            out.push(EpollEvent { events: ready.0, data: asked.data });
            if asked.events & EPOLLONESHOT != 0 {
                asked.events &= !0xffff;
            } else if asked.events & EPOLLET == 0 {
                drop(asked);
                again.push(item);
            }
        }
        let mut list = self.0.ready.lock();
        for item in again {
            let watched = item.asked.lock().registered.is_some();
            if watched && !item.queued.swap(true, Ordering::SeqCst) {
                list.push_back(item);
            }
        }
        let more = !list.is_empty();
        drop(list);
        if more && !out.is_empty() {
            // Somebody else may wait for the rest.
            self.0.queue.notify(Events::READABLE);
        }
        if out.is_empty() { Err(Errno::EAGAIN) } else { Ok(out) }
    }
}

impl FileOps for Epoll {
    fn takes_splice(&self) -> bool {
        false
    }

    fn pollable(&self) -> Option<&dyn Pollable> {
        Some(self)
    }

    fn fdinfo(&self) -> String {
        let items = self.0.items.lock();
        let lines = items.values().map(|item| {
            let asked = item.asked.lock();
            format!("tfd: {:8} events: {:8x} data: {:16x}\n", item.key.0, asked.events, asked.data)
        });
        lines.collect()
    }
}

impl Pollable for Epoll {
    fn readiness(&self) -> Events {
        let listed: Vec<_> = self.0.ready.lock().iter().cloned().collect();
        match listed.iter().any(|item| !item.ready().is_empty()) {
            true => Events::READABLE,
            false => Events::NONE,
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.queue)
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        let items = std::mem::take(&mut *self.0.items.lock());
        self.0.ready.lock().clear();
        for item in items.into_values() {
            if let Some(file) = item.file.upgrade() {
                item.detach(file.ops());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipe::pipe;
    use chitin_abi::fs::O_RDWR;
    use chitin_abi::poll::{POLLHUP, POLLIN, POLLRDNORM};

    fn ask(events: u32, data: u64) -> EpollEvent {
        EpollEvent { events, data }
    }

    fn set() -> Arc<File> {
        File::new(Box::new(Epoll::default()), None, O_RDWR)
    }

    fn counter(n: u32) -> Arc<File> {
        let ops = crate::events::EventFd::new(n, crate::events::Taking::All);
        File::new(Box::new(ops), None, O_RDWR)
    }

    fn signal(file: &File) {
        file.ops_as::<crate::events::EventFd>().unwrap().signal(1);
    }

    fn got(e: &Epoll) -> Vec<(u32, u64)> {
        e.collect(8).unwrap_or_default().iter().map(|e| (e.events, e.data)).collect()
    }

    #[test]
    fn level_edge_and_oneshot() {
        let e = Epoll::default();
        let (level, edge, once) = (counter(1), counter(1), counter(1));
        e.add(3, &level, ask(POLLIN, 30)).unwrap();
        e.add(4, &edge, ask(POLLIN | EPOLLET, 40)).unwrap();
        e.add(5, &once, ask(POLLIN | EPOLLONESHOT, 50)).unwrap();
        assert_eq!(got(&e), [(POLLIN, 30), (POLLIN, 40), (POLLIN, 50)]);
        assert_eq!(got(&e), [(POLLIN, 30)]);
        signal(&edge);
        signal(&once);
        assert_eq!(got(&e), [(POLLIN, 30), (POLLIN, 40)]);
        e.modify(5, &once, ask(POLLIN | EPOLLONESHOT, 51)).unwrap();
        assert_eq!(got(&e), [(POLLIN, 30), (POLLIN, 51)]);
        assert_eq!(e.add(3, &level, ask(POLLIN, 0)), Err(Errno::EEXIST));
        e.remove(3, &level).unwrap();
        assert_eq!(e.remove(3, &level), Err(Errno::ENOENT));
        assert_eq!(e.collect(8).err(), Some(Errno::EAGAIN));
    }

    #[test]
    fn a_closed_file_is_watched_no_longer() {
        let e = Epoll::default();
        let (r, w) = pipe(0, (0, 0), usize::MAX);
        e.add(3, &r, ask(POLLIN | POLLRDNORM, 1)).unwrap();
        e.add(4, &w, ask(POLLIN, 2)).unwrap();
        assert!(got(&e).is_empty());
        drop(w);
        assert_eq!(got(&e), [(POLLHUP, 1)]);
        assert_eq!(e.0.items.lock().len(), 1);
        drop(r);
        assert!(got(&e).is_empty());
        assert_eq!(e.0.items.lock().len(), 0);
    }

    #[test]
    fn waiters_take_turns_when_there_is_more_than_fits() {
        let e = Epoll::default();
        let files: Vec<_> = (0..3).map(|_| counter(1)).collect();
        for (fd, file) in (0..).zip(&files) {
            e.add(fd, file, ask(POLLIN, u64::from(fd.unsigned_abs()))).unwrap();
        }
        let order: Vec<u64> = (0..4).map(|_| e.collect(1).unwrap()[0].data).collect();
        assert_eq!(order, [0, 1, 2, 0]);
    }

    #[test]
    fn sets_nest_but_not_in_circles() {
        let sets: Vec<_> = (0..6).map(|_| set()).collect();
        let of = |i: usize| sets[i].ops_as::<Epoll>().unwrap();
        for i in 0..4 {
            of(i).add(10, &sets[i + 1], ask(POLLIN, 0)).unwrap();
        }
        assert_eq!(of(4).add(10, &sets[0], ask(POLLIN, 0)), Err(Errno::ELOOP), "a circle");
        assert_eq!(of(4).add(10, &sets[5], ask(POLLIN, 0)), Err(Errno::ELOOP), "too deep");
        let inner = counter(0);
        of(4).add(11, &inner, ask(POLLIN, 7)).unwrap();
        assert!(of(0).readiness().is_empty());
        signal(&inner);
        assert_eq!(of(0).readiness(), Events::READABLE);
        of(3).remove(10, &sets[4]).unwrap();
        of(4).add(10, &sets[5], ask(POLLIN, 0)).unwrap();
    }
}
