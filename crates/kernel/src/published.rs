//! Published answers: what a process has asked and may be told again without asking
//! (`docs/adr/published-answers.md`).
//!
//! * [`Question`] is taken before anything is looked at; [`Question::file`] and
//!   [`Question::path`] offer the answer that was found. It is published when the same was
//!   asked before and nothing has changed since: most questions are never repeated.
//! * [`Published`] is what an address space has published. A view stands for a table of
//!   descriptors, a root and working directory, and credentials; threads that differ in one
//!   of them do not share answers.
//!
//! Lock: one of an address space, inside that of a table of descriptors.

use crate::changes;
use crate::cred::Cred;
use crate::fd::FdTable;
use crate::sync::Mutex;
use crate::task::{CurrentTask, FsContext, Task};
use crate::vfs::{File, Kept};
use chitin_abi::fs::Stat;
use chitin_abi::{Errno, Pod};
use chitin_executor::Executor;
use chitin_platform::{AddressSpace, Answers, PathAsk, Stamp};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Longest life of an answer about a path, in nanoseconds: how long the host's word about
/// the directories on the way is believed.
const PATH_LIFE: u64 = 50_000_000;
/// Questions that are remembered to see which are repeated.
const REMEMBERED: usize = 256;
/// Views of an address space that are remembered.
const VIEWS: usize = 4;

/// Directories of which threads ask for one name after the other that are remembered.
const RUNS: usize = 6;
/// Names that are looked up ahead, and how many a program may leave out.
const AHEAD: usize = 12;
const LEFT_OUT: usize = 3;

/// A directory whose names somebody asks for in order.
#[derive(Default)]
struct Run {
    /// Hash of the way there and of the question.
    way: u64,
    /// The last name that was asked for, or answered ahead.
    last: Box<[u8]>,
    /// The count of changes when that was.
    changes: u64,
    /// Answers ahead were not used: something changes in between.
    off: bool,
}

/// By what threads may share answers.
struct View {
    number: u64,
    files: u64,
    fs: Weak<FsContext>,
    cred: Weak<Cred>,
}

impl View {
    fn is_of(&self, files: &FdTable, fs: &Arc<FsContext>, cred: &Arc<Cred>) -> bool {
        self.files == files.id()
            && std::ptr::eq(self.fs.as_ptr(), Arc::as_ptr(fs))
            && std::ptr::eq(self.cred.as_ptr(), Arc::as_ptr(cred))
    }
}

struct State {
    views: Vec<View>,
    /// Hashes of the questions that were asked last.
    asked: Box<[u64; REMEMBERED]>,
    /// The one that was used last at the end.
    runs: Vec<Run>,
}

/// What an address space has published.
pub struct Published {
    answers: Arc<dyn Answers>,
    state: Mutex<State>,
}

impl Published {
    pub(crate) fn new(space: &dyn AddressSpace) -> Option<Arc<Self>> {
        let asked = Box::new([0; REMEMBERED]);
        let state = State { views: Vec::new(), asked, runs: Vec::new() };
        Some(Arc::new(Self { answers: space.answers()?, state: Mutex::new(state) }))
    }

    /// Who wakes waiters of this word has to ask from now on.
    pub(crate) fn always_waits(&self, addr: u64) {
        self.answers.waits(addr);
    }

    /// Takes back the answer about a descriptor that is going to be closed or replaced.
    pub(crate) fn drop_file(&self, fd: usize) {
        if fd < self.answers.files() {
            let _state = self.state.lock();
            self.answers.drop_file(fd);
        }
    }
}

/// A thread that waits for a word of memory, counted so that others can see that somebody
/// does (`futex(2)`).
pub(crate) struct Waits {
    published: Arc<Published>,
    addr: u64,
}

impl Waits {
    /// To be made before the word is looked at.
    pub(crate) fn new(published: &Arc<Published>, addr: u64) -> Self {
        published.answers.waits(addr);
        Self { published: published.clone(), addr }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.published.answers.waits_no_more(self.addr);
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.answers.clear();
    }
}

impl State {
    /// Whether a question was asked before; remembers it.
    fn is_repeated(&mut self, hash: u64) -> bool {
        let index = usize::try_from(hash).unwrap_or(0) % REMEMBERED;
        self.asked.get_mut(index).is_some_and(|old| std::mem::replace(old, hash) == hash)
    }

    /// Takes out what is known of a directory; makes room if nothing is.
    fn run(&mut self, way: u64) -> Option<Run> {
        if let Some(at) = self.runs.iter().position(|run| run.way == way) {
            return Some(self.runs.remove(at));
        }
        if self.runs.len() >= RUNS {
            self.runs.remove(0);
        }
        None
    }

    /// The number of the task's view.
    fn view(&mut self, task: &Task) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (files, fs, cred) = (task.files(), task.fs(), task.cred());
        if let Some(known) = self.views.iter().find(|v| v.is_of(&files, &fs, &cred)) {
            return known.number;
        }
        if self.views.len() >= VIEWS {
            self.views.remove(0);
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (fs, cred) = (Arc::downgrade(&fs), Arc::downgrade(&cred));
        self.views.push(View { number, files: files.id(), fs, cred });
        number
    }
}

/// A call that asks something.
#[derive(Clone, Copy)]
pub struct Question(Option<u64>);

impl Question {
    /// To be made before anything is looked at.
    #[must_use]
    pub fn new(task: &Task) -> Self {
        // A traced sandbox wants to see every call, and so do filters.
        Self(changes::settled().filter(|_| task.kernel.trace.is_none() && !task.seccomp.is_on()))
    }

    /// Offers what `fstat(2)` of a descriptor told.
    pub fn file(self, cur: &CurrentTask, fd: i32, file: &Arc<File>, stat: &Stat, kept: Kept) {
        let (Some(changes), Some(published)) = (self.0, cur.mm().published()) else { return };
        let hash = hash_of((changes, fd, Arc::as_ptr(file).addr()));
        if published.state.lock().is_repeated(hash) {
            self.put_file(cur, fd, file, stat, kept);
        }
    }

    fn put_file(self, cur: &CurrentTask, fd: i32, file: &Arc<File>, stat: &Stat, kept: Kept) {
        let (Some(changes), Some(until)) = (self.0, kept.until()) else { return };
        let Some(published) = cur.mm().published() else { return };
        let Some(at) = usize::try_from(fd).ok().filter(|&n| n < published.answers.files()) else {
            return;
        };
        cur.task().files().publish(fd, file, published, || {
            let mut state = published.state.lock();
            let view = state.view(cur.task());
            published.answers.put_file(at, Stamp { view, changes, until }, stat.as_bytes());
            cur.task().set_view(view);
        });
    }

    /// Offers what `fstat(2)` of a file that was just opened would tell: most programs ask.
    pub fn opened(self, cur: &CurrentTask, fd: i32, file: &Arc<File>) {
        let (Some(changes), Some(published)) = (self.0, cur.mm().published()) else { return };
        let fits = usize::try_from(fd).is_ok_and(|n| n < published.answers.files());
        // Its own opening may have changed something.
        if !fits || changes::settled() != Some(changes) {
            return;
        }
        if let Ok((attr, kept)) = crate::syscall::attr::file_attr_kept(file) {
            self.put_file(cur, fd, file, &crate::syscall::attr::stat_of(&attr), kept);
        }
    }

    /// Offers the answer to a question about a path relative to the working directory.
    pub fn path(
        self,
        cur: &CurrentTask,
        ask: PathAsk,
        path: &[u8],
        result: Result<Option<&Stat>, Errno>,
        kept: Kept,
    ) {
        let (Some(changes), Some(until)) = (self.0, kept.until()) else { return };
        let Some(published) = cur.mm().published() else { return };
        if path.len() > published.answers.path_max() {
            return;
        }
        let mut state = published.state.lock();
        if state.is_repeated(hash_of((changes, kind(ask), path))) {
            self.put_path(cur, published, &mut state, (ask, path), (result, until));
        }
    }

    fn put_path(
        self,
        cur: &CurrentTask,
        published: &Published,
        state: &mut State,
        (ask, path): (PathAsk, &[u8]),
        (result, until): (Result<Option<&Stat>, Errno>, Option<u64>),
    ) {
        let Some(changes) = self.0 else { return };
        let view = state.view(cur.task());
        let most = Executor::now().saturating_add(PATH_LIFE);
        let until = Some(until.map_or(most, |u| u.min(most)));
        let (value, stat) = match result {
            Ok(stat) => (0, stat.map_or(&[][..], |s| s.as_bytes())),
            Err(e) => (-e.raw(), &[][..]),
        };
        published.answers.put_path(ask, path, Stamp { view, changes, until }, value, stat);
        cur.task().set_view(view);
    }

    /// A program has asked for this path. Where it asks for the names of a directory in the order of
    /// their bytes, the next ones are looked up with `look` (given a path, tells its attributes and
    /// how long they are good), and published.
    pub fn ahead(
        self,
        cur: &CurrentTask,
        ask: PathAsk,
        path: &[u8],
        names_after: impl Fn(&[u8], &[u8], usize) -> Vec<Box<[u8]>>,
        look: impl Fn(&[u8]) -> Option<(Stat, Kept)>,
    ) {
        let (Some(changes), Some(published)) = (self.0, cur.mm().published()) else { return };
        let at = path.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
        let (way, name) = path.split_at(at);
        let hash = hash_of((kind(ask), way));
        let Some(mut run) = published.state.lock().run(hash) else {
            let run = Run { way: hash, last: name.into(), changes, off: false };
            return published.state.lock().runs.push(run);
        };
        if name > &*run.last {
            let near =
                !run.off && names_after(way, &run.last, LEFT_OUT + 1).iter().any(|n| **n == *name);
            run.last = name.into();
            run.changes = changes;
            if near {
                self.publish_following(cur, published, (ask, way), &mut run, names_after, look);
            }
        } else if run.changes != changes {
            run.off = true;
        }
        published.state.lock().runs.push(run);
    }

    fn publish_following(
        self,
        cur: &CurrentTask,
        published: &Published,
        (ask, way): (PathAsk, &[u8]),
        run: &mut Run,
        names_after: impl Fn(&[u8], &[u8], usize) -> Vec<Box<[u8]>>,
        look: impl Fn(&[u8]) -> Option<(Stat, Kept)>,
    ) {
        for name in names_after(way, &run.last, AHEAD) {
            let path = [way, &name].concat();
            if path.len() > published.answers.path_max() {
                return;
            }
            let found = look(&path).and_then(|(stat, kept)| Some((stat, kept.until()?)));
            if let Some((stat, until)) = found {
                let answer = (Ok(Some(&stat)), until);
                self.put_path(cur, published, &mut published.state.lock(), (ask, &path), answer);
            }
            run.last = name;
        }
    }
}

/// A number for a question.
fn kind(ask: PathAsk) -> u32 {
    match ask {
        PathAsk::Stat => 8,
        PathAsk::Lstat => 9,
        PathAsk::Readlink => 10,
        PathAsk::Access(mode) => mode,
    }
}

fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    // 0 is no question.
    hasher.finish() | 1
}
