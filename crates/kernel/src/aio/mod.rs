//! Asynchronous requests (`io_setup(2)`, `io_submit(2)`, `io_getevents(2)`).
//!
//! * [`Contexts`] are those of one address space, and end with it.
//! * [`Context`] has a bounded queue of what has completed.
//! * [`Token`] is a place there, held from the submission on.
//! * [`Pending`] is a request that waits for its file, in a future of its own.
//!
//! Requests to files that never keep anybody waiting are done when they are submitted.
//!
//! Locks: one for the table of an address space; one of each context, a leaf but for
//! wakeups; one of each pending request, held while it is tried, before those of the file,
//! the memory and the context.

mod pending;

pub(crate) use pending::{Operation, Patience, Pending};

use crate::events::EventFd;
use crate::mm::vma::flag;
use crate::mm::{MapRequest, Mm, PAGE, Placement, Sharing};
use crate::sync::Mutex;
use crate::vfs::File;
use crate::wait::{Events, WaitQueue};
use chitin_abi::aio::IoEvent;
use chitin_abi::{Errno, slice_as_bytes};
use chitin_platform::Prot;
use chitin_usermem::{UserAddr, UserMemory, UserPtr};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most events that all contexts of a sandbox may be made for (`/proc/sys/fs/aio-max-nr`).
pub const MOST_EVENTS: u64 = 65_536;
/// Most contexts of a sandbox.
const MOST_CONTEXTS: u64 = 8192;
/// Most contexts of an address space.
const MOST_OF_ONE: usize = 1024;
/// Most bytes that requests of a sandbox which wait are counted with.
const MOST_WAITING: u64 = 16 << 20;
/// Requests that every context has room for.
const LEAST_ROOM: usize = 16;

/// What the contexts of a sandbox use.
#[derive(Default)]
pub struct Usage {
    events: AtomicU64,
    contexts: AtomicU64,
    waiting: AtomicU64,
}

impl Usage {
    /// Events that contexts were made for (`/proc/sys/fs/aio-nr`).
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}

/// What [`Usage`] counts.
#[derive(Clone, Copy)]
enum What {
    Events,
    Contexts,
    Waiting,
}

/// A share in what a sandbox may use.
struct Share {
    usage: Arc<Usage>,
    what: What,
    n: u64,
}

impl Share {
    /// `EAGAIN` if there is not so much left.
    fn take(usage: &Arc<Usage>, what: What, n: u64) -> Result<Self, Errno> {
        let mut share = Self { usage: usage.clone(), what, n: 0 };
        let (counter, most) = share.counter();
        let more = |now: u64| now.checked_add(n).filter(|&sum| sum <= most);
        let taken = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map_err(|_| Errno::EAGAIN)?;
        share.n = n;
        Ok(share)
    }

    fn counter(&self) -> (&AtomicU64, u64) {
        match self.what {
            What::Events => (&self.usage.events, MOST_EVENTS),
            What::Contexts => (&self.usage.contexts, MOST_CONTEXTS),
            What::Waiting => (&self.usage.waiting, MOST_WAITING),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.counter().0.fetch_sub(self.n, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct State {
    /// Requests that were submitted and whose events nobody has taken yet.
    used: usize,
    completed: VecDeque<IoEvent>,
    waiting: BTreeMap<u64, Arc<Pending>>,
    next: u64,
    dead: bool,
    shares: Vec<Share>,
}

/// What `io_setup(2)` makes.
pub struct Context {
    address: u64,
    /// Most requests between submission and the taking of their events.
    room: usize,
    usage: Arc<Usage>,
    state: Mutex<State>,
    /// Told of events, and of the end.
    pub(crate) queue: WaitQueue,
}

impl Context {
    /// Most requests that it has room for.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// A place for a request; `EAGAIN` if there is none.
    pub(crate) fn reserve(self: &Arc<Self>, obj: u64) -> Result<Token, Errno> {
        let mut state = self.state.lock();
        if state.dead || state.used >= self.room {
            return Err(Errno::EAGAIN);
        }
        state.used += 1;
        Ok(Token { context: self.clone(), obj, data: 0, eventfd: None, open: true })
    }

    fn complete(&self, event: IoEvent) {
        let mut state = self.state.lock();
        if !state.dead {
            state.completed.push_back(event);
        }
        drop(state);
        self.queue.notify(Events::ALL);
    }

    /// Stores at most `most` events; how many. All stay if they cannot be stored.
    pub(crate) fn take(&self, mm: &Mm, out: UserPtr<IoEvent>, most: usize) -> Result<usize, Errno> {
        let mut state = self.state.lock();
        if state.dead {
            return Err(Errno::EINVAL);
        }
        let n = state.completed.len().min(most);
        if n == 0 {
            return Ok(0);
        }
        let events: Vec<IoEvent> = state.completed.iter().take(n).copied().collect();
        mm.write(out.addr(), slice_as_bytes(&events))?;
        state.completed.drain(..n);
        state.used -= n;
        Ok(n)
    }

    /// Ends a request that waits for readiness; its event tells of none (`io_cancel(2)`).
    pub(crate) fn cancel(&self, obj: u64) -> Result<(), Errno> {
        let state = self.state.lock();
        let found = state.waiting.values().find(|p| p.is_cancelled_by(obj)).cloned();
        drop(state);
        if found.ok_or(Errno::EINVAL)?.cancel() { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Nothing is done for it any more when this returns, and its events are gone.
    fn end(&self) {
        let mut state = self.state.lock();
        state.dead = true;
        let (waiting, shares) =
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.shares));
        state.completed = VecDeque::new();
        drop(state);
        drop(shares);
        waiting.values().for_each(|pending| pending.end());
        self.queue.notify(Events::ALL);
    }
}

/// A place in the queue of a context. Dropped, it is free again and there is no event.
pub(crate) struct Token {
    context: Arc<Context>,
    obj: u64,
    /// What the event is told apart by.
    pub(crate) data: u64,
    /// Told of the event too (`IOCB_FLAG_RESFD`).
    pub(crate) eventfd: Option<Arc<File>>,
    open: bool,
}

impl Token {
    /// The request has completed.
    pub(crate) fn finish(mut self, result: Result<u64, Errno>) {
        let res = match result {
            Ok(n) => i64::try_from(n).unwrap_or(i64::MAX),
            Err(e) => -i64::from(e.raw()),
        };
        self.open = false;
        self.context.complete(IoEvent { data: self.data, obj: self.obj, res, res2: 0 });
        if let Some(eventfd) = self.eventfd.as_ref().and_then(|f| f.ops_as::<EventFd>()) {
            eventfd.signal(1);
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if self.open {
            self.context.state.lock().used -= 1;
        }
    }
}

/// The contexts of an address space. A context's identifier is the address of a page whose
/// first word is the number here, as it is in Linux. What else Linux has there, a ring of
/// events that a library may look into, is left out, and with it the mark that says so.
#[derive(Default)]
pub(crate) struct Contexts(Mutex<Vec<Option<Arc<Context>>>>);

impl Contexts {
    /// Makes a context for `events` requests at a time; its identifier. `limit` is
    /// `RLIMIT_AS` in bytes.
    pub(crate) fn add(mm: &Mm, usage: &Arc<Usage>, events: u32, limit: u64) -> Result<u64, Errno> {
        let shares = vec![
            Share::take(usage, What::Events, events.into())?,
            Share::take(usage, What::Contexts, 1)?,
        ];
        let room = usize::try_from(events).unwrap_or(usize::MAX).saturating_mul(2);
        let page = MapRequest {
            sharing: Sharing::Shared,
            flags: flag::AIO,
            ..MapRequest::anonymous(Placement::Hint(0), PAGE, Prot::RW)
        };
        let address = mm.map(&page, limit)?;
        let context = Arc::new(Context {
            address,
            room: room.max(LEAST_ROOM),
            usage: usage.clone(),
            state: Mutex::new(State { shares, ..State::default() }),
            queue: WaitQueue::new(),
        });
        let number = mm.aio.get_or_init(Self::default).insert(context);
        let number = number.and_then(|n| u32::try_from(n).map_err(|_| Errno::EAGAIN));
        let written = number.and_then(|n| UserAddr(address).cast::<u32>().write(mm, &n));
        if written.is_err() {
            let _ = mm.unmap(address, PAGE);
        }
        written.map(|()| address)
    }

    fn insert(&self, context: Arc<Context>) -> Result<usize, Errno> {
        let mut table = self.0.lock();
        if let Some((number, free)) = table.iter_mut().enumerate().find(|(_, c)| c.is_none()) {
            *free = Some(context);
            return Ok(number);
        }
        if table.len() >= MOST_OF_ONE {
            return Err(Errno::EAGAIN);
        }
        table.push(Some(context));
        Ok(table.len() - 1)
    }

    /// The context with this identifier, and its number; `EINVAL` if there is none.
    fn find(mm: &Mm, id: u64) -> Result<(usize, Arc<Context>), Errno> {
        let number = UserAddr(id).cast::<u32>().read(mm).map_err(|_| Errno::EINVAL)?;
        let number = usize::try_from(number).map_err(|_| Errno::EINVAL)?;
        let table = mm.aio.get().ok_or(Errno::EINVAL)?.0.lock();
        let context = table.get(number).and_then(Option::as_ref).filter(|c| c.address == id);
        Ok((number, context.ok_or(Errno::EINVAL)?.clone()))
    }

    /// The context with this identifier; `EINVAL` if there is none.
    pub(crate) fn get(mm: &Mm, id: u64) -> Result<Arc<Context>, Errno> {
        Self::find(mm, id).map(|(_, context)| context)
    }

    /// Ends a context (`io_destroy(2)`).
    pub(crate) fn remove(mm: &Mm, id: u64) -> Result<(), Errno> {
        let (number, context) = Self::find(mm, id)?;
        let mut table = mm.aio.get().ok_or(Errno::EINVAL)?.0.lock();
        let place = table.get_mut(number).ok_or(Errno::EINVAL)?;
        if place.take_if(|c| Arc::ptr_eq(c, &context)).is_none() {
            return Err(Errno::EINVAL);
        }
        drop(table);
        context.end();
        let _ = mm.unmap(id, PAGE);
        Ok(())
    }
}

impl Drop for Contexts {
    fn drop(&mut self) {
        let table = std::mem::take(&mut *self.0.lock());
        table.iter().flatten().for_each(|context| context.end());
    }
}
