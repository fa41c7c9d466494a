//! [`Inotify`]: a queue of what happened to watched files (`inotify(7)`).
//!
//! Locks: one for the queue and the table of watches; each watch's mask is a leaf.

use crate::Settings;
use crate::sync::Mutex;
use crate::vfs::notify::{self, Event, Watch};
use crate::vfs::{FileCx, FileOps, InodeRef, IoDst};
use crate::wait::{Events, Pollable, WaitQueue};
use chitin_abi::fs::*;
use chitin_abi::{Errno, Pod};
use chitin_usermem::{UserAddr, UserMemory};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

const HEADER: usize = size_of::<InotifyEvent>();

struct Queued {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Box<[u8]>,
}

impl Queued {
    /// The name is followed by zeroes up to a multiple of the header.
    fn name_len(&self) -> usize {
        if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(HEADER) }
    }

    fn encode(&self) -> Vec<u8> {
        let len = u32::try_from(self.name_len()).unwrap_or(0);
        let header = InotifyEvent { wd: self.wd, mask: self.mask, cookie: self.cookie, len };
        let mut out = header.as_bytes().to_vec();
        out.extend_from_slice(&self.name);
        out.resize(HEADER + self.name_len(), 0);
        out
    }
}

/// A watch of one file by one instance.
struct FileWatch {
    wd: i32,
    mask: AtomicU32,
    owner: Weak<Shared>,
}

#[derive(Default)]
struct State {
    watches: BTreeMap<i32, (Arc<FileWatch>, InodeRef)>,
    queue: VecDeque<Queued>,
    bytes: usize,
    /// Most events in the queue.
    most: usize,
    last_wd: i32,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    queue: WaitQueue,
}

/// All instances there are.
static INSTANCES: AtomicUsize = AtomicUsize::new(0);

/// An inotify instance.
pub struct Inotify(Arc<Shared>);

impl State {
    fn push(&mut self, event: Queued) {
        if let Some(last) = self.queue.back() {
            let same = (last.wd, last.mask) == (event.wd, event.mask) && last.name == event.name;
            // As in Linux an event that repeats the last one is not told twice.
            if same {
                return;
            }
        }
        let short = !self.queue.is_empty() && chitin_hostsys::heap::is_short();
        let told = self.queue.back().is_some_and(|e| e.wd == -1);
        let overflow = short || self.queue.len() >= self.most;
        let event = match overflow {
            true if told => return,
            true => Queued { wd: -1, mask: IN_Q_OVERFLOW, cookie: 0, name: Box::default() },
            false => event,
        };
        self.bytes += HEADER + event.name_len();
        self.queue.push_back(event);
    }

    /// Takes a watch out of the table and says so in the queue.
    fn forget(&mut self, wd: i32) -> Option<(Arc<FileWatch>, InodeRef)> {
        let entry = self.watches.remove(&wd)?;
        self.push(Queued { wd, mask: IN_IGNORED, cookie: 0, name: Box::default() });
        Some(entry)
    }
}

fn detach(entry: (Arc<FileWatch>, InodeRef)) {
    let watch: Arc<dyn Watch> = entry.0;
    notify::remove(&entry.1, &watch);
}

impl Watch for FileWatch {
    fn event(&self, event: Event<'_>) {
        let Some(owner) = self.owner.upgrade() else { return };
        let asked = self.mask();
        let ends = event.mask & IN_DELETE_SELF != 0 || asked & IN_ONESHOT != 0;
        let mut mask = event.mask;
        if mask & (IN_MOVE_SELF | IN_DELETE_SELF) != 0 {
            mask &= !IN_ISDIR;
        }
        let mut state = owner.state.lock();
        if !state.watches.contains_key(&self.wd) {
            return;
        }
        if asked & mask & IN_ALL_EVENTS != 0 {
            let name = event.name.into();
            state.push(Queued { wd: self.wd, mask, cookie: event.cookie, name });
        }
        let gone = if ends { state.forget(self.wd) } else { None };
        drop(state);
        if let Some(gone) = gone {
            detach(gone);
        }
        owner.queue.notify(Events::READABLE);
    }

    fn mask(&self) -> u32 {
        self.mask.load(Ordering::Relaxed)
    }
}

impl Inotify {
    /// An instance without watches; `EMFILE` if there are too many.
    pub fn new(settings: &Settings) -> Result<Self, Errno> {
        if INSTANCES.fetch_add(1, Ordering::Relaxed) >= settings.inotify_instances.count() {
            INSTANCES.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::EMFILE);
        }
        let shared = Shared::default();
        shared.state.lock().most = settings.inotify_events.count();
        Ok(Self(Arc::new(shared)))
    }

    /// Watches a file, or changes what is asked of it (`inotify_add_watch(2)`); `ENOSPC` if there
    /// are `most` watches of all instances already.
    pub fn add(&self, inode: InodeRef, mask: u32, most: usize) -> Result<i32, Errno> {
        let kept = mask & (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK);
        let mut state = self.0.state.lock();
        let known = state
            .watches
            .values()
            .find(|(_, i)| crate::vfs::lookup::same_inode(i, &inode))
            .map(|(watch, _)| watch.clone());
        if let Some(watch) = known {
            if mask & IN_MASK_CREATE != 0 {
                return Err(Errno::EEXIST);
            }
            let old = if mask & IN_MASK_ADD != 0 { watch.mask() } else { 0 };
            watch.mask.store(old | kept, Ordering::Relaxed);
            return Ok(watch.wd);
        }
        if notify::count() >= most {
            return Err(Errno::ENOSPC);
        }
        let wd = state.last_wd.checked_add(1).ok_or(Errno::ENOSPC)?;
        state.last_wd = wd;
        let (owner, mask) = (Arc::downgrade(&self.0), AtomicU32::new(kept));
        let watch = Arc::new(FileWatch { wd, mask, owner });
        state.watches.insert(wd, (watch.clone(), inode.clone()));
        drop(state);
        notify::add(&inode, watch);
        Ok(wd)
    }

    /// Ends a watch (`inotify_rm_watch(2)`).
    pub fn remove(&self, wd: i32) -> Result<(), Errno> {
        let entry = self.0.state.lock().forget(wd).ok_or(Errno::EINVAL)?;
        detach(entry);
        self.0.queue.notify(Events::READABLE);
        Ok(())
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        let watches = std::mem::take(&mut self.0.state.lock().watches);
        watches.into_values().for_each(detach);
        INSTANCES.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FileOps for Inotify {
    fn tells_by_signals(&self) -> bool {
        true
    }

    fn takes_splice(&self) -> bool {
        false
    }

    fn read(&self, _cx: FileCx<'_>, dst: &mut IoDst<'_>, _pos: u64) -> Result<usize, Errno> {
        let mut state = self.0.state.lock();
        let mut done = 0;
        while let Some(event) = state.queue.front() {
            let bytes = event.encode();
            if dst.remaining() < bytes.len() {
                break;
            }
            if dst.put(&bytes)? < bytes.len() {
                return Err(Errno::EFAULT);
            }
            done += bytes.len();
            state.bytes -= bytes.len();
            state.queue.pop_front();
        }
        match done {
            0 if state.queue.is_empty() => Err(Errno::EAGAIN),
            0 => Err(Errno::EINVAL),
            n => Ok(n),
        }
    }

    fn ioctl(&self, cx: FileCx<'_>, cmd: u32, arg: u64) -> Result<u64, Errno> {
        if cmd != chitin_abi::tty::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes = i32::try_from(self.0.state.lock().bytes).unwrap_or(i32::MAX);
        cx.task.mm().ok_or(Errno::EFAULT)?.write(UserAddr(arg), &bytes.to_ne_bytes())?;
        Ok(0)
    }

    fn pollable(&self) -> Option<&dyn Pollable> {
        Some(self)
    }

    fn fdinfo(&self) -> String {
        let state = self.0.state.lock();
        let lines = state.watches.values().map(|(watch, inode)| {
            let (ino, dev) = inode.attr().map_or((0, 0), |a| (a.ino, a.dev));
            let kept = IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK;
            let (wd, mask) = (watch.wd, watch.mask() & kept);
            format!("inotify wd:{wd:x} ino:{ino:x} sdev:{dev:x} mask:{mask:x} ignored_mask:0\n")
        });
        lines.collect()
    }
}

impl Pollable for Inotify {
    fn readiness(&self) -> Events {
        if self.0.state.lock().queue.is_empty() { Events::NONE } else { Events::READABLE }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(wd: i32, name: &[u8]) -> Queued {
        Queued { wd, mask: IN_CREATE, cookie: 0, name: name.into() }
    }

    #[test]
    fn names_are_padded_and_repetitions_told_once() {
        let mut state = State { most: 100, ..State::default() };
        state.push(queued(1, b"a"));
        state.push(queued(1, b"a"));
        state.push(queued(1, b"0123456789abcdef"));
        assert_eq!(state.queue.len(), 2);
        assert_eq!(state.queue[0].encode().len(), 32);
        assert_eq!(state.queue[1].encode().len(), 48);
        assert_eq!(state.bytes, 80);
    }

    #[test]
    fn a_full_queue_says_so_once() {
        let mut state = State { most: 100, ..State::default() };
        for i in 0..state.most + 10 {
            state.push(queued(1, i.to_string().as_bytes()));
        }
        assert_eq!(state.queue.len(), state.most + 1);
        assert_eq!(state.queue.back().map(|e| (e.wd, e.mask)), Some((-1, IN_Q_OVERFLOW)));
    }
}
