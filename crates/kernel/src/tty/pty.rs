//! [`Pty`]: both ends of a pseudoterminal (`pty(7)`) and what is between them.

use super::discipline::Discipline;
use super::end::{Master, Slave};
use super::job::{CAP_SYS_ADMIN, hang_up};
use super::{JobControl, NodeAttr, PtyTable, Terminal, signal_foreground};
use crate::kernel::Kernel;
use crate::sync::Mutex;
use crate::vfs::{FileOps, OpenRequest};
use crate::wait::{Events, WaitQueue};
use chitin_abi::Errno;
use chitin_abi::signal::SIGWINCH;
use chitin_abi::tty::{TIOCPKT_FLUSHREAD, Winsize};
use std::sync::{Arc, Weak};

/// Whether somebody may open the slave (`TIOCSPTLCK`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lock {
    Locked,
    Open,
}

/// What both ends share.
pub(super) struct State {
    pub(super) discipline: Discipline,
    pub(super) window: Winsize,
    pub(super) lock: Lock,
    /// `TIOCPKT`.
    pub(super) packets: bool,
    /// `TIOCEXCL`.
    pub(super) exclusive: bool,
    /// The master is there: otherwise the slave is hung up.
    pub(super) master: bool,
    /// Open descriptions of the slave.
    slaves: usize,
    /// The last of them was closed.
    pub(super) slave_left: bool,
}

/// A pseudoterminal.
pub struct Pty {
    index: u32,
    kernel: Weak<Kernel>,
    table: Weak<PtyTable>,
    job: JobControl,
    node: Mutex<NodeAttr>,
    pub(super) state: Mutex<State>,
    pub(super) master_queue: WaitQueue,
    pub(super) slave_queue: WaitQueue,
}

impl Pty {
    pub(super) fn new(
        index: u32,
        kernel: &Arc<Kernel>,
        table: &Arc<PtyTable>,
        uid: u32,
    ) -> Arc<Self> {
        Arc::new(Self {
            index,
            kernel: Arc::downgrade(kernel),
            table: Arc::downgrade(table),
            job: JobControl::new(),
            node: Mutex::new(NodeAttr::of_user(uid)),
            state: Mutex::new(State {
                discipline: Discipline::default(),
                window: Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 },
                lock: Lock::Locked,
                packets: false,
                exclusive: false,
                master: true,
                slaves: 0,
                slave_left: false,
            }),
            master_queue: WaitQueue::new(),
            slave_queue: WaitQueue::new(),
        })
    }

    /// Its master's end; there is one only.
    #[must_use]
    pub fn master(self: &Arc<Self>) -> Box<dyn FileOps> {
        Box::new(Master(self.clone()))
    }

    pub(super) fn kernel(&self) -> Option<Arc<Kernel>> {
        self.kernel.upgrade()
    }

    /// Something changed that either side may wait for.
    pub(super) fn announce(&self) {
        self.master_queue.notify(Events::ALL);
        self.slave_queue.notify(Events::ALL);
    }

    /// The master types: how many bytes were taken.
    pub(super) fn type_in(&self, bytes: &[u8]) -> usize {
        let mut raised = Vec::new();
        let mut taken = 0;
        {
            let mut state = self.state.lock();
            for &byte in bytes {
                if !state.discipline.has_room() {
                    break;
                }
                raised.extend(state.discipline.receive(byte));
                taken += 1;
            }
        }
        if let Some(kernel) = self.kernel() {
            for signo in raised {
                signal_foreground(&kernel, self, signo);
            }
        }
        // Nothing new: writers that wait for room would wake each other for ever.
        if taken > 0 {
            self.announce();
        }
        taken
    }

    /// `TIOCSWINSZ`.
    pub(super) fn set_window(&self, size: Winsize) {
        {
            let mut state = self.state.lock();
            let old = state.window;
            let same = (old.ws_row, old.ws_col) == (size.ws_row, size.ws_col)
                && (old.ws_xpixel, old.ws_ypixel) == (size.ws_xpixel, size.ws_ypixel);
            if same {
                return;
            }
            state.window = size;
        }
        if let Some(kernel) = self.kernel() {
            signal_foreground(&kernel, self, SIGWINCH);
        }
    }

    /// The master is gone.
    pub(super) fn master_left(&self) {
        {
            let mut state = self.state.lock();
            state.master = false;
            state.discipline.flush_input();
            state.discipline.flush_output();
        }
        if let Some(table) = self.table.upgrade() {
            table.remove(self.index);
        }
        if let Some(kernel) = self.kernel() {
            hang_up(&kernel, self);
        }
        self.announce();
    }

    /// A description of the slave is gone.
    pub(super) fn slave_left(&self) {
        let last = {
            let mut state = self.state.lock();
            state.slaves = state.slaves.saturating_sub(1);
            if state.slaves == 0 {
                state.slave_left = true;
                state.exclusive = false;
                state.discipline.flush_input();
                state.discipline.news &= !TIOCPKT_FLUSHREAD;
            }
            state.slaves == 0
        };
        if last {
            self.announce();
        }
    }
}

impl Terminal for Pty {
    fn job(&self) -> &JobControl {
        &self.job
    }

    fn index(&self) -> u32 {
        self.index
    }

    fn node(&self) -> &Mutex<NodeAttr> {
        &self.node
    }

    fn open(self: Arc<Self>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        {
            let mut state = self.state.lock();
            if !state.master || state.lock == Lock::Locked {
                return Err(Errno::EIO);
            }
            if state.exclusive && !request.task.cred().has_cap(CAP_SYS_ADMIN) {
                return Err(Errno::EBUSY);
            }
            state.slaves += 1;
            state.slave_left = false;
        }
        Ok(Box::new(Slave(self)))
    }
}
