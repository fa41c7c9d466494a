//! Asynchronous requests: `io_setup(2)`, `io_submit(2)`, `io_getevents(2)`.

use crate::pod::pod;

// The operations of `struct iocb`.
pub const IOCB_CMD_PREAD: u16 = 0;
pub const IOCB_CMD_PWRITE: u16 = 1;
pub const IOCB_CMD_FSYNC: u16 = 2;
pub const IOCB_CMD_FDSYNC: u16 = 3;
pub const IOCB_CMD_POLL: u16 = 5;
pub const IOCB_CMD_NOOP: u16 = 6;
pub const IOCB_CMD_PREADV: u16 = 7;
pub const IOCB_CMD_PWRITEV: u16 = 8;

// `aio_flags`.
pub const IOCB_FLAG_RESFD: u32 = 1;
pub const IOCB_FLAG_IOPRIO: u32 = 2;

pod! {
    /// `struct iocb` of `io_submit(2)`.
    pub struct Iocb {
        pub aio_data: u64,
        pub aio_key: u32,
        pub aio_rw_flags: u32,
        pub aio_lio_opcode: u16,
        pub aio_reqprio: u16,
        pub aio_fildes: u32,
        pub aio_buf: u64,
        pub aio_nbytes: u64,
        pub aio_offset: i64,
        pub aio_reserved2: u64,
        pub aio_flags: u32,
        pub aio_resfd: u32,
    }

    /// `struct io_event` of `io_getevents(2)`.
    pub struct IoEvent {
        pub data: u64,
        pub obj: u64,
        pub res: i64,
        pub res2: i64,
    }

    /// `struct __aio_sigset` of `io_pgetevents(2)`.
    pub struct AioSigset {
        pub sigmask: u64,
        pub sigsetsize: u64,
    }
}
