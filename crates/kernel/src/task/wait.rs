//! Waiting for children (`wait(2)`).

use super::exit::{Counted, release};
use super::{CurrentTask, ExitStatus, Pid, Process, Usage};
use crate::wait::{Events, WaitError};
use chitin_abi::Errno;
use chitin_abi::signal::SIGCHLD;
use chitin_abi::task::{WALL, WCLONE, WCONTINUED, WEXITED, WNOHANG, WNOWAIT, WSTOPPED};
use std::sync::Arc;

/// Which children.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitWhom {
    /// Any.
    Any,
    /// The one with this number.
    Pid(Pid),
    /// Those of this process group.
    Group(Pid),
}

/// What was waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waited {
    /// The child.
    pub pid: Pid,
    /// Its real user.
    pub uid: u32,
    /// What happened to it.
    pub event: ChildEvent,
    /// What it and the children it had waited for have used.
    pub usage: Usage,
}

/// What happens to a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildEvent {
    /// It ended.
    Ended(ExitStatus),
    /// It was stopped by this signal.
    Stopped(i32),
    /// It was continued.
    Continued,
}

fn matches(child: &Process, whom: WaitWhom, options: u32) -> bool {
    let chosen = match whom {
        WaitWhom::Any => true,
        WaitWhom::Pid(pid) => child.pid == pid,
        WaitWhom::Group(pgid) => child.group().0 == pgid,
    };
    let is_clone = child.life.lock().exit_signal != SIGCHLD;
    chosen && (options & WALL != 0 || is_clone == (options & WCLONE != 0))
}

/// Takes the news of one child.
fn news(child: &Process, options: u32) -> Option<ChildEvent> {
    let mut life = child.life.lock();
    if let Some(status) = life.zombie {
        return (options & WEXITED != 0).then_some(ChildEvent::Ended(status));
    }
    let keep = options & WNOWAIT != 0;
    if let Some(signo) = life.stopped
        && life.stop_news
        && options & WSTOPPED != 0
    {
        life.stop_news = keep;
        return Some(ChildEvent::Stopped(signo));
    }
    if life.continue_news && options & WCONTINUED != 0 {
        life.continue_news = keep;
        return Some(ChildEvent::Continued);
    }
    None
}

fn try_wait(cur: &CurrentTask, whom: WaitWhom, options: u32) -> Result<Waited, Errno> {
    let task = cur.task();
    let parent = &task.process;
    let _tree = task.kernel.tree.lock();
    let children: Vec<Arc<Process>> = parent.family.lock().children.clone();
    let mut candidates = children.iter().filter(|c| matches(c, whom, options)).peekable();
    if candidates.peek().is_none() {
        return Err(Errno::ECHILD);
    }
    for child in candidates {
        let Some(event) = news(child, options) else { continue };
        let (uid, usage) = (child.uid(), child.usage());
        if let ChildEvent::Ended(_) = event
            && options & WNOWAIT == 0
        {
            release(&task.kernel, child, parent, Counted::Parent);
        }
        return Ok(Waited { pid: child.pid, uid, event, usage });
    }
    Err(Errno::EAGAIN)
}

/// Waits for a child; `None` if there is no news and `WNOHANG` is set.
pub async fn wait_child(
    cur: &mut CurrentTask,
    whom: WaitWhom,
    options: u32,
) -> Result<Option<Waited>, WaitError> {
    if options & WNOHANG != 0 {
        return match try_wait(cur, whom, options) {
            Ok(waited) => Ok(Some(waited)),
            Err(Errno::EAGAIN) => Ok(None),
            Err(e) => Err(e.into()),
        };
    }
    let process = cur.task().process.clone();
    cur.block_on(&process.child_event, Events::ALL, None, |cur| try_wait(cur, whom, options))
        .await
        .map(Some)
}
