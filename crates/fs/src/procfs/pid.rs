//! `/proc/PID` and `/proc/PID/task/TID`: the directory and its smaller files.

use super::fds::{FdDir, Shows};
use super::{memory, mounts, ns, stat};
use crate::synth::{Dir, Node};
use chitin_abi::Errno;
use chitin_kernel::cred::Cred;
use chitin_kernel::mm::{Landmarks, Mm};
use chitin_kernel::task::{LooksBy, Process, Task, may_inspect};
use chitin_kernel::vfs::lookup::name_from;
use chitin_kernel::vfs::{FileType, Path};
use chitin_usermem::{UserAddr, UserMemory};
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// `CAP_SYS_RESOURCE`.
const CAP_SYS_RESOURCE: u32 = 24;

/// Whose files these are.
#[derive(Clone)]
pub(super) struct Who {
    pub(super) process: Arc<Process>,
    pub(super) tid: Option<i32>,
}

impl Who {
    /// The thread, or the first one that lives.
    pub(super) fn task(&self) -> Result<Arc<Task>, Errno> {
        let tasks = self.process.tasks();
        let wanted = self.tid.unwrap_or(self.process.pid);
        let found = tasks.iter().find(|t| t.tid() == wanted);
        let any = if self.tid.is_none() { tasks.first() } else { None };
        found.or(any).cloned().ok_or(Errno::ESRCH)
    }

    pub(super) fn mm(&self) -> Option<Arc<Mm>> {
        self.task().ok()?.mm()
    }

    pub(super) fn id(&self) -> i32 {
        self.tid.unwrap_or(self.process.pid)
    }

    /// Its credentials; of a zombie, what they were.
    pub(super) fn cred(&self) -> Option<Arc<Cred>> {
        let alive = self.task().ok().map(|t| t.cred());
        alive.or_else(|| self.process.remains.lock().as_ref().map(|r| r.cred.clone()))
    }

    pub(super) fn comm(&self) -> Vec<u8> {
        let alive = self.task().ok().map(|t| t.comm.lock().clone());
        let known = alive.or_else(|| self.process.remains.lock().as_ref().map(|r| r.comm.clone()));
        known.unwrap_or_default()
    }

    /// Its user and group: they own the directories that everybody may read.
    pub(super) fn ids(&self) -> (u32, u32) {
        self.cred().map_or((0, 0), |c| (c.euid, c.egid))
    }

    /// Who owns the rest: root, of a process that is not dumpable (`proc_pid(5)`), or has ended.
    pub(super) fn owner(&self) -> (u32, u32) {
        let dumpable = self.mm().is_some_and(|mm| mm.is_dumpable());
        if dumpable { self.ids() } else { (0, 0) }
    }

    fn file(
        &self,
        f: impl Fn(&Who, &Arc<Task>) -> Result<Vec<u8>, Errno> + Send + Sync + 'static,
    ) -> Node {
        let who = self.clone();
        Node::file(move |viewer| f(&who, viewer))
    }

    /// A file that only its owner and a tracer may read.
    fn own_file(
        &self,
        perm: u32,
        f: impl Fn(&Who, &Arc<Task>) -> Result<Vec<u8>, Errno> + Send + Sync + 'static,
    ) -> Node {
        let guarded = move |who: &Who, viewer: &Arc<Task>| {
            may_look(viewer, who)?;
            f(who, viewer)
        };
        self.file(guarded).with_perm(perm)
    }

    fn link(
        &self,
        place: impl Fn(&Who) -> Result<Path, Errno> + Clone + Send + Sync + 'static,
    ) -> Node {
        let (who, other, text) = (self.clone(), self.clone(), place.clone());
        Node::Magic(
            0o777,
            Arc::new(move |viewer| {
                may_look(viewer, &who)?;
                Ok(shown(viewer, &text(&who)?))
            }),
            Arc::new(move |viewer| {
                may_look(viewer, &other)?;
                place(&other)
            }),
        )
    }
}

/// Whether `viewer` may see what is a process's own affair (`ptrace(2)`, "access mode
/// checking").
pub(super) fn may_look(viewer: &Arc<Task>, who: &Who) -> Result<(), Errno> {
    if Arc::ptr_eq(&viewer.process, &who.process) {
        return Ok(());
    }
    let cred = who.cred().ok_or(Errno::ESRCH)?;
    let mm = who.mm();
    may_inspect(viewer, &who.process, mm.as_deref(), &cred, LooksBy::File)
        .map_err(|_| Errno::EACCES)
}

/// A path as the viewer sees it.
pub(super) fn shown(viewer: &Arc<Task>, path: &Path) -> Vec<u8> {
    let root = viewer.fs().root.read().clone();
    name_from(viewer, path, &root).0
}

/// A process, or one of its threads.
pub(super) struct PidDir(Who);

impl PidDir {
    pub(super) fn of_process(process: Arc<Process>) -> Self {
        Self(Who { process, tid: None })
    }
}

impl Dir for PidDir {
    fn get(&self, _task: Option<&Arc<Task>>, name: &[u8]) -> Option<Node> {
        let (_, make) = ENTRIES.iter().find(|(n, _)| n.as_bytes() == name)?;
        make(&self.0)
    }
    fn names(&self, _task: &Arc<Task>) -> Vec<(Vec<u8>, FileType)> {
        let entries = ENTRIES.iter().filter_map(|(name, make)| Some((name, make(&self.0)?)));
        entries.map(|(name, node)| (name.as_bytes().to_vec(), node.kind())).collect()
    }
    fn owner(&self) -> (u32, u32) {
        self.0.ids()
    }
    fn owner_of_files(&self) -> (u32, u32) {
        self.0.owner()
    }
    fn process(&self) -> Option<Arc<Process>> {
        self.0.tid.is_none().then(|| self.0.process.clone())
    }
}

/// `/proc/PID/task`.
struct TaskDir(Who);

impl Dir for TaskDir {
    fn get(&self, _task: Option<&Arc<Task>>, name: &[u8]) -> Option<Node> {
        let tid: i32 = std::str::from_utf8(name).ok()?.parse().ok()?;
        let process = &self.0.process;
        let exists = process.tasks().iter().any(|t| t.tid() == tid);
        let who = Who { process: process.clone(), tid: Some(tid) };
        exists.then(|| Node::Dir(Arc::new(PidDir(who))))
    }
    fn names(&self, _task: &Arc<Task>) -> Vec<(Vec<u8>, FileType)> {
        let mut tids: Vec<i32> = self.0.process.tasks().iter().map(|t| t.tid()).collect();
        tids.sort_unstable();
        tids.iter().map(|tid| (tid.to_string().into_bytes(), FileType::Directory)).collect()
    }
    fn owner(&self) -> (u32, u32) {
        self.0.ids()
    }
}

type Maker = fn(&Who) -> Option<Node>;

/// What is in the directory, in the order in which it is listed.
const ENTRIES: &[(&str, Maker)] = &[
    ("attr", |_| Some(attr())),
    ("auxv", |w| Some(w.own_file(0o400, |who, _| Ok(auxv(who))))),
    ("cgroup", |_| Some(Node::text("0::/\n"))),
    ("cmdline", |w| Some(w.file(|who, _| part(who, |l| l.args.clone())))),
    ("comm", |w| Some(comm(w))),
    ("coredump_filter", |w| Some(core_filter(w))),
    ("cpuset", |_| Some(Node::text("/\n"))),
    ("cwd", |w| Some(w.link(|who| Ok(who.task()?.fs().cwd.read().clone())))),
    ("environ", |w| Some(w.own_file(0o400, |who, _| part(who, |l| l.env.clone())))),
    ("exe", |w| {
        Some(w.link(|who| {
            who.mm().ok_or(Errno::ENOENT)?;
            who.process.exe.lock().as_ref().map(|r| r.path().clone()).ok_or(Errno::ENOENT)
        }))
    }),
    ("fd", |w| Some(Node::Dir(Arc::new(FdDir(w.clone(), Shows::Link))))),
    ("fdinfo", |w| Some(Node::Dir(Arc::new(FdDir(w.clone(), Shows::Info))))),
    ("gid_map", |_| Some(Node::text(ID_MAP))),
    ("limits", |w| Some(w.file(|who, _| Ok(limits(who))))),
    ("loginuid", |_| Some(Node::text("4294967295"))),
    ("maps", |w| Some(w.own_file(0o444, memory::maps))),
    ("mem", |w| Some(memory::mem(w))),
    ("mountinfo", |w| Some(w.file(|_, viewer| Ok(mounts::mountinfo(viewer))))),
    ("mounts", |w| Some(w.file(|_, viewer| Ok(mounts::mounts(viewer))))),
    ("mountstats", |w| Some(w.own_file(0o400, |_, viewer| Ok(mounts::mountstats(viewer))))),
    ("net", |_| Some(super::facts::net_of())),
    ("ns", |w| Some(ns::dir(w))),
    ("oom_adj", |w| Some(oom_adjust(w, OomScale::Old))),
    ("oom_score", |w| Some(w.file(oom_score))),
    ("oom_score_adj", |w| Some(oom_adjust(w, OomScale::New))),
    ("pagemap", |w| Some(memory::pagemap(w))),
    ("personality", |w| {
        Some(w.own_file(0o400, |who, _| {
            Ok(format!("{:08x}\n", who.task()?.traits.lock().persona).into_bytes())
        }))
    }),
    ("projid_map", |_| Some(Node::text(ID_MAP))),
    ("root", |w| Some(w.link(|who| Ok(who.task()?.fs().root.read().clone())))),
    ("schedstat", |w| Some(w.file(|who, _| Ok(stat::schedstat(who))))),
    ("sessionid", |_| Some(Node::text("4294967295"))),
    ("setgroups", |_| Some(Node::text("allow\n"))),
    ("smaps", |w| Some(w.own_file(0o444, memory::smaps))),
    ("smaps_rollup", |w| Some(w.own_file(0o444, memory::smaps_rollup))),
    ("stat", |w| Some(w.file(stat::stat))),
    ("statm", |w| Some(w.file(|who, _| Ok(stat::statm(who))))),
    ("status", |w| Some(w.file(stat::status))),
    ("task", |w| w.tid.is_none().then(|| Node::Dir(Arc::new(TaskDir(w.clone()))))),
    ("timerslack_ns", |w| Some(timer_slack(w))),
    ("uid_map", |_| Some(Node::text(ID_MAP))),
    ("wchan", |_| Some(Node::text("0"))),
];

/// All ids are mapped to themselves.
const ID_MAP: &str = "         0          0 4294967295\n";

/// Without a security module there is nothing to tell.
fn attr() -> Node {
    let nothing = || Node::file(|_| Err(Errno::EINVAL));
    Node::dir(vec![
        ("current", nothing()),
        ("exec", nothing()),
        ("fscreate", nothing()),
        ("keycreate", nothing()),
        ("prev", nothing()),
        ("sockcreate", nothing()),
    ])
}

/// A range of the process's own memory.
fn part(who: &Who, pick: fn(&Landmarks) -> Range<u64>) -> Result<Vec<u8>, Errno> {
    /// Most bytes that are shown, those of `ARG_MAX`.
    const MOST: usize = 2 << 20;
    let Some(mm) = who.mm() else { return Ok(Vec::new()) };
    let range = pick(&mm.landmarks.read());
    let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0).min(MOST);
    let mut text = vec![0; len];
    mm.read(UserAddr(range.start), &mut text)?;
    Ok(text)
}

fn auxv(who: &Who) -> Vec<u8> {
    let Some(mm) = who.mm() else { return Vec::new() };
    let auxv = mm.landmarks.read().auxv.clone();
    auxv.iter().flat_map(|&(k, v)| [k, v]).flat_map(u64::to_le_bytes).collect()
}

fn comm(who: &Who) -> Node {
    let rename = who.clone();
    let show = who.file(|who, _| Ok([&who.comm()[..], b"\n"].concat()));
    show.stored_by(move |viewer, text| {
        if !Arc::ptr_eq(&viewer.process, &rename.process) {
            return Err(Errno::EINVAL);
        }
        let name = text.iter().copied().take_while(|b| *b != 0).take(15);
        *rename.task()?.comm.lock() = name.collect();
        Ok(())
    })
}

/// Which memory is in a core file (`core(5)`); of a zombie there is nothing to read.
fn core_filter(who: &Who) -> Node {
    let changed = who.clone();
    let show = who.file(|who, _| {
        Ok(who.mm().map_or_else(Vec::new, |mm| format!("{:08x}\n", mm.dump_filter()).into()))
    });
    show.stored_by(move |_, text| {
        let bits = super::sysctl::unsigned(text)?;
        changed.mm().ok_or(Errno::ESRCH)?.set_dump_filter(bits);
        Ok(())
    })
}

/// As `PR_SET_TIMERSLACK`, of others too.
fn timer_slack(who: &Who) -> Node {
    let changed = who.clone();
    let show = who.file(|who, viewer| {
        may_look(viewer, who)?;
        Ok(format!("{}\n", who.task()?.traits.lock().slack).into_bytes())
    });
    show.with_perm(0o666).stored_by(move |viewer, text| {
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let nanos: i64 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
        may_look(viewer, &changed)?;
        changed.task()?.traits.lock().set_slack(nanos);
        Ok(())
    })
}

/// `oom_score_adj` is -1000 to 1000, `oom_adj` -17 to 15.
#[derive(Clone, Copy)]
enum OomScale {
    Old,
    New,
}

fn oom_adjust(who: &Who, scale: OomScale) -> Node {
    let (own, show) = (who.clone(), who.clone());
    let text = Node::file(move |_| {
        let n = show.process.oom_score_adj.load(Ordering::Relaxed);
        let n = match scale {
            OomScale::New => n,
            OomScale::Old if n == 1000 => 15,
            OomScale::Old => n * 17 / 1000,
        };
        Ok(format!("{n}\n").into_bytes())
    });
    text.stored_by(move |viewer, text| {
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let n: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
        let n = match scale {
            OomScale::New if (-1000..=1000).contains(&n) => n,
            OomScale::Old if n == 15 => 1000,
            OomScale::Old if (-17..15).contains(&n) => n * 1000 / 17,
            _ => return Err(Errno::EINVAL),
        };
        may_look(viewer, &own)?;
        let now = own.process.oom_score_adj.load(Ordering::Relaxed);
        if n < now && !viewer.cred().has_cap(CAP_SYS_RESOURCE) {
            return Err(Errno::EACCES);
        }
        own.process.oom_score_adj.store(n, Ordering::Relaxed);
        Ok(())
    })
}

/// The share of all memory in thousandths, adjusted, as the kernel scales it.
fn oom_score(who: &Who, viewer: &Arc<Task>) -> Result<Vec<u8>, Errno> {
    let total = viewer.kernel.memory_sizes().0.max(1);
    let used = who.mm().map_or(0, |mm| mm.memory_used().0);
    let share = i64::try_from(used.saturating_mul(1000) / total).unwrap_or(1000);
    let adjust = i64::from(who.process.oom_score_adj.load(Ordering::Relaxed));
    let score = (1000 + share + adjust).max(0) * 2 / 3;
    Ok(format!("{}\n", if adjust == -1000 { 0 } else { score }).into_bytes())
}

fn limits(who: &Who) -> Vec<u8> {
    const NAMES: [(&str, &str); 16] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    let mut out =
        format!("{:<26}{:<21}{:<21}{:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    let show = |n: u64| if n == u64::MAX { "unlimited".to_owned() } else { n.to_string() };
    for ((name, unit), limit) in NAMES.iter().zip(who.process.limits.lock().iter()) {
        let _ = writeln!(out, "{name:<26}{:<21}{:<21}{unit:<10}", show(limit.cur), show(limit.max));
    }
    out.into_bytes()
}
