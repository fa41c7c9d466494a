//! Descriptors that only tell of events: `eventfd(2)`, `timerfd_create(2)`, `epoll(7)`,
//! `inotify(7)`.
//!
//! [`EventFd`] is a counter, [`TimerFd`] a timer, [`Epoll`] a set of watched files,
//! [`Inotify`] a queue of what happened to some.
//! Locks: see each module; all are innermost but for wait queues.

pub mod epoll;
mod eventfd;
mod inotify;
mod timerfd;

pub use epoll::{Epoll, Watchers};
pub use eventfd::{EventFd, Taking};
pub use inotify::Inotify;
pub use timerfd::TimerFd;
