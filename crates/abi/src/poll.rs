//! Polling and events: `poll(2)`, `select(2)`, `epoll(7)`, `eventfd(2)`, `timerfd_create(2)`,
//! `signalfd(2)`.

use crate::pod::pod;

// poll(2)
pub const POLLIN: u32 = 0x1;
pub const POLLPRI: u32 = 0x2;
pub const POLLOUT: u32 = 0x4;
pub const POLLERR: u32 = 0x8;
pub const POLLHUP: u32 = 0x10;
pub const POLLNVAL: u32 = 0x20;
pub const POLLRDNORM: u32 = 0x40;
pub const POLLRDBAND: u32 = 0x80;
pub const POLLWRNORM: u32 = 0x100;
pub const POLLWRBAND: u32 = 0x200;
pub const POLLMSG: u32 = 0x400;
pub const POLLRDHUP: u32 = 0x2000;

// epoll_ctl(2)
pub const EPOLL_CTL_ADD: i32 = 1;
pub const EPOLL_CTL_DEL: i32 = 2;
pub const EPOLL_CTL_MOD: i32 = 3;
pub const EPOLLEXCLUSIVE: u32 = 1 << 28;
pub const EPOLLWAKEUP: u32 = 1 << 29;
pub const EPOLLONESHOT: u32 = 1 << 30;
pub const EPOLLET: u32 = 1 << 31;
pub const EPOLL_CLOEXEC: u32 = crate::fs::O_CLOEXEC;

// eventfd(2)
pub const EFD_SEMAPHORE: u32 = 1;
pub const EFD_CLOEXEC: u32 = crate::fs::O_CLOEXEC;
pub const EFD_NONBLOCK: u32 = crate::fs::O_NONBLOCK;

// timerfd_create(2)
pub const TFD_CLOEXEC: u32 = crate::fs::O_CLOEXEC;
pub const TFD_NONBLOCK: u32 = crate::fs::O_NONBLOCK;
pub const TFD_TIMER_ABSTIME: u32 = 1;
pub const TFD_TIMER_CANCEL_ON_SET: u32 = 2;

pod! {
    /// `struct pollfd` of `poll(2)`.
    pub struct PollFd {
        pub fd: i32,
        pub events: u16,
        pub revents: u16,
    }

    packed struct EpollEvent {
        pub events: u32,
        pub data: u64,
    }
}
