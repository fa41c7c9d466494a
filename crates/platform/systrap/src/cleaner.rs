//! [`Cleaner`]: empties the stubs of processes that have ended, so that they serve others.
//!
//! To unmap all that a process had takes as long as many system calls, and nobody waits for
//! it but who wants the pages: a thread of its own does it, on a CPU that nobody needs, as
//! long as it keeps up. A worker that polls has that CPU: it does it itself, while it waits.

use crate::context::HostThread;
use crate::frame::Layout;
use crate::publish::Region;
use crate::stub::{Op, Stub, lock};
use crate::zygote::{Waiting, Zygote};
use chitin_platform::Answers;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};

/// Most stubs that wait to be emptied; whoever comes then does it alone.
const MOST_WAITING: usize = 4;

/// How often a polling worker may look for stops and put off what it should empty.
const MOST_PUT_OFF: u32 = 64;

/// How often the CPU is left to the thread of a stub, until it has come to the trap.
const MOST_YIELDS: usize = 64;

/// How long the thread sleeps between looks for the next stub, and how often.
const NAP: std::time::Duration = std::time::Duration::from_micros(100);
const MOST_NAPS: u32 = 30;

/// On another CPU than it was bound to before, if it was to one.
struct Away(Option<usize>);

/// A stub without a process.
pub(crate) struct Used {
    pub(crate) stub: Arc<Stub>,
    /// Its only host thread.
    pub(crate) host: HostThread,
    pub(crate) layout: Layout,
    /// What was published for the process.
    pub(crate) region: Option<Arc<Region>>,
    /// What is dropped when nothing is mapped any more.
    pub(crate) memory: Box<dyn Any + Send>,
}

impl Used {
    /// Empties it, and keeps it for the next process; `away` from the CPU where it was.
    fn empty(self, zygote: &Zygote, away: Option<Away>) {
        let Self { stub, mut host, layout, region, memory } = self;
        if stub.perform(&[Op::unmap_all()]).is_err() {
            stub.kill_holding(memory);
            return;
        }
        drop(memory);
        if let Some(region) = region {
            // The next program must not read what this one has asked.
            region.clear();
        }
        host.send_back(&layout);
        if let Some(Away(cpu)) = away {
            // Whoever takes it need not fetch it: that it waits for it costs nobody anything.
            let back = (0..MOST_YIELDS).any(|_| {
                std::thread::yield_now();
                host.is_back(&layout)
            });
            if back && let Some(cpu) = cpu {
                host.move_to(cpu);
                stub.move_to(cpu);
            }
        }
        let time = stub.begin_process();
        zygote.keep(Waiting { stub, host, time });
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Cleaner {
    queue: OnceLock<SyncSender<Used>>,
    /// What the polling worker is going to empty, and whether there is something.
    put_off: Mutex<VecDeque<Used>>,
    has_put_off: AtomicBool,
    /// How often it was put off since the last one.
    times: AtomicU32,
}

impl Cleaner {
    /// Starts the thread.
    pub(crate) fn start(&self, zygote: &Arc<Zygote>) {
        let (queue, used) = sync_channel(MOST_WAITING);
        let zygote = Arc::downgrade(zygote);
        let thread = std::thread::Builder::new().name("cleaner".into()).stack_size(128 << 10);
        if thread.spawn(move || clean(&zygote, &used)).is_ok() {
            let _ = self.queue.set(queue);
        }
    }

    /// Empties a stub, soon.
    pub(crate) fn take(&self, used: Used, zygote: &Zygote) {
        if !crate::parker::polls_now() {
            return self.hand_over(used, zygote);
        }
        let surplus = {
            let mut put_off = lock(&self.put_off);
            put_off.push_back(used);
            self.has_put_off.store(true, Ordering::Relaxed);
            if put_off.len() > MOST_WAITING { put_off.pop_front() } else { None }
        };
        if let Some(used) = surplus {
            used.empty(zygote, None);
        }
    }

    /// Whether there are stubs that a polling worker has put off.
    pub(crate) fn has_put_off(&self) -> bool {
        self.has_put_off.load(Ordering::Relaxed)
    }

    fn next_put_off(&self) -> Option<Used> {
        let mut put_off = lock(&self.put_off);
        let next = put_off.pop_front();
        self.has_put_off.store(!put_off.is_empty(), Ordering::Relaxed);
        next
    }

    /// Whether there are, and have been for long.
    pub(crate) fn is_overdue(&self) -> bool {
        self.has_put_off() && self.times.fetch_add(1, Ordering::Relaxed) >= MOST_PUT_OFF
    }

    /// Empties one of them.
    pub(crate) fn empty_one(&self, zygote: &Zygote) {
        self.times.store(0, Ordering::Relaxed);
        if let Some(used) = self.next_put_off() {
            used.empty(zygote, None);
        }
    }

    /// Leaves them to the thread: the worker polls no longer.
    pub(crate) fn hand_over_all(&self, zygote: &Zygote) {
        while let Some(used) = self.next_put_off() {
            self.hand_over(used, zygote);
        }
    }

    fn hand_over(&self, used: Used, zygote: &Zygote) {
        let left = match self.queue.get() {
            Some(queue) => match queue.try_send(used) {
                Ok(()) => return,
                Err(TrySendError::Full(used) | TrySendError::Disconnected(used)) => used,
            },
            None => used,
        };
        left.empty(zygote, None);
    }
}

/// The stub after another one. More come soon, as a rule, and to wake a thread of another CPU
/// costs whoever does it more than to leave it something.
fn next(queue: &Receiver<Used>) -> Option<Used> {
    for _ in 0..MOST_NAPS {
        match queue.try_recv() {
            Ok(used) => return Some(used),
            Err(TryRecvError::Empty) => std::thread::sleep(NAP),
            Err(TryRecvError::Disconnected) => return None,
        }
    }
    queue.recv().ok()
}

fn clean(zygote: &Weak<Zygote>, queue: &Receiver<Used>) {
    let mut first = queue.recv().ok();
    while let Some(used) = first.take().or_else(|| next(queue)) {
        let Some(zygote) = zygote.upgrade() else { return };
        let before = used.host.cpu();
        if let Some(cpu) = crate::sys::current_cpu() {
            used.host.move_to(cpu);
            used.stub.move_to(cpu);
        }
        used.empty(&zygote, Some(Away(before)));
    }
}
