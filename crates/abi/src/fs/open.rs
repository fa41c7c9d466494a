//! Opening files and working on descriptors: `O_*`, `AT_*`, `F_*`, locks, [`OpenHow`].

use crate::pod::pod;

// open(2): access modes and flags. `O_LARGEFILE` is what the kernel sets on x86-64.
pub const O_ACCMODE: u32 = 0o3;
pub const O_RDONLY: u32 = 0o0;
pub const O_WRONLY: u32 = 0o1;
pub const O_RDWR: u32 = 0o2;
pub const O_CREAT: u32 = 0o100;
pub const O_EXCL: u32 = 0o200;
pub const O_NOCTTY: u32 = 0o400;
pub const O_TRUNC: u32 = 0o1000;
pub const O_APPEND: u32 = 0o2000;
pub const O_NONBLOCK: u32 = 0o4000;
pub const O_NDELAY: u32 = 0o4000;
pub const O_DSYNC: u32 = 0o010_000;
pub const FASYNC: u32 = 0o020_000;
pub const O_ASYNC: u32 = FASYNC;
pub const O_DIRECT: u32 = 0o040_000;
pub const O_LARGEFILE: u32 = 0o100_000;
pub const O_DIRECTORY: u32 = 0o200_000;
pub const O_NOFOLLOW: u32 = 0o400_000;
pub const O_NOATIME: u32 = 0o001_000_000;
pub const O_CLOEXEC: u32 = 0o002_000_000;
pub const O_SYNC: u32 = 0o004_010_000;
pub const O_PATH: u32 = 0o010_000_000;
pub const O_TMPFILE: u32 = 0o020_200_000;
pub const O_TMPFILE_MASK: u32 = 0o020_200_100;

// openat(2) and its kin: directory descriptors and flags.
pub const AT_FDCWD: i32 = -100;
pub const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
pub const AT_EACCESS: u32 = 0x200;
pub const AT_REMOVEDIR: u32 = 0x200;
pub const AT_SYMLINK_FOLLOW: u32 = 0x400;
pub const AT_NO_AUTOMOUNT: u32 = 0x800;
pub const AT_EMPTY_PATH: u32 = 0x1000;
pub const AT_STATX_SYNC_TYPE: u32 = 0x6000;
pub const AT_STATX_SYNC_AS_STAT: u32 = 0x0;
pub const AT_STATX_FORCE_SYNC: u32 = 0x2000;
pub const AT_STATX_DONT_SYNC: u32 = 0x4000;
pub const AT_RECURSIVE: u32 = 0x8000;
pub const AT_HANDLE_FID: u32 = 0x200;
pub const AT_HANDLE_MNT_ID_UNIQUE: u32 = 0x1;
pub const AT_EXECVE_CHECK: u32 = 0x0001_0000;

// openat2(2)
pub const RESOLVE_NO_XDEV: u64 = 0x1;
pub const RESOLVE_NO_MAGICLINKS: u64 = 0x2;
pub const RESOLVE_NO_SYMLINKS: u64 = 0x4;
pub const RESOLVE_BENEATH: u64 = 0x8;
pub const RESOLVE_IN_ROOT: u64 = 0x10;
pub const RESOLVE_CACHED: u64 = 0x20;

// openat2(2): sizes of `struct open_how`
pub const OPEN_HOW_SIZE_VER0: usize = 24;
pub const OPEN_HOW_SIZE_LATEST: usize = 24;

pod! {
    /// `struct open_how` of `openat2(2)`.
    pub struct OpenHow {
        pub flags: u64,
        pub mode: u64,
        pub resolve: u64,
    }
}

// close_range(2)
pub const CLOSE_RANGE_UNSHARE: u32 = 0x2;
pub const CLOSE_RANGE_CLOEXEC: u32 = 0x4;

// access(2)
pub const F_OK: u32 = 0;
pub const X_OK: u32 = 1;
pub const W_OK: u32 = 2;
pub const R_OK: u32 = 4;

// lseek(2)
pub const SEEK_SET: u32 = 0;
pub const SEEK_CUR: u32 = 1;
pub const SEEK_END: u32 = 2;
pub const SEEK_DATA: u32 = 3;
pub const SEEK_HOLE: u32 = 4;

// fcntl(2): commands
pub const F_DUPFD: u32 = 0;
pub const F_GETFD: u32 = 1;
pub const F_SETFD: u32 = 2;
pub const F_GETFL: u32 = 3;
pub const F_SETFL: u32 = 4;
pub const F_GETLK: u32 = 5;
pub const F_SETLK: u32 = 6;
pub const F_SETLKW: u32 = 7;
pub const F_SETOWN: u32 = 8;
pub const F_GETOWN: u32 = 9;
pub const F_SETSIG: u32 = 10;
pub const F_GETSIG: u32 = 11;
pub const F_SETOWN_EX: u32 = 15;
pub const F_GETOWN_EX: u32 = 16;
pub const F_GETOWNER_UIDS: u32 = 17;
pub const F_OFD_GETLK: u32 = 36;
pub const F_OFD_SETLK: u32 = 37;
pub const F_OFD_SETLKW: u32 = 38;
pub const F_SETLEASE: u32 = 1024;
pub const F_GETLEASE: u32 = 1025;
pub const F_NOTIFY: u32 = 1026;
pub const F_DUPFD_QUERY: u32 = 1027;
pub const F_CREATED_QUERY: u32 = 1028;
pub const F_CANCELLK: u32 = 1029;
pub const F_DUPFD_CLOEXEC: u32 = 1030;
pub const F_SETPIPE_SZ: u32 = 1031;
pub const F_GETPIPE_SZ: u32 = 1032;
pub const F_ADD_SEALS: u32 = 1033;
pub const F_GET_SEALS: u32 = 1034;
pub const F_GET_RW_HINT: u32 = 1035;
pub const F_SET_RW_HINT: u32 = 1036;
pub const F_GET_FILE_RW_HINT: u32 = 1037;
pub const F_SET_FILE_RW_HINT: u32 = 1038;

// fcntl(2): the descriptor flag of `F_SETFD`
pub const FD_CLOEXEC: u32 = 1;

// fcntl(2): types of locks and leases, an `l_type`
pub const F_RDLCK: i16 = 0;
pub const F_WRLCK: i16 = 1;
pub const F_UNLCK: i16 = 2;
pub const F_EXLCK: i16 = 4;
pub const F_SHLCK: i16 = 8;

// fcntl(2): owners of `F_SETOWN_EX`
pub const F_OWNER_TID: i32 = 0;
pub const F_OWNER_PID: i32 = 1;
pub const F_OWNER_PGRP: i32 = 2;

// fcntl(2): seals
pub const F_SEAL_SEAL: u32 = 0x1;
pub const F_SEAL_SHRINK: u32 = 0x2;
pub const F_SEAL_GROW: u32 = 0x4;
pub const F_SEAL_WRITE: u32 = 0x8;
pub const F_SEAL_FUTURE_WRITE: u32 = 0x10;
pub const F_SEAL_EXEC: u32 = 0x20;

// fcntl(2): write life hints
pub const RWH_WRITE_LIFE_NOT_SET: u64 = 0;
pub const RWH_WRITE_LIFE_NONE: u64 = 1;
pub const RWH_WRITE_LIFE_SHORT: u64 = 2;
pub const RWH_WRITE_LIFE_MEDIUM: u64 = 3;
pub const RWH_WRITE_LIFE_LONG: u64 = 4;
pub const RWH_WRITE_LIFE_EXTREME: u64 = 5;

// fcntl(2): directory notification
pub const DN_ACCESS: u32 = 0x1;
pub const DN_MODIFY: u32 = 0x2;
pub const DN_CREATE: u32 = 0x4;
pub const DN_DELETE: u32 = 0x8;
pub const DN_RENAME: u32 = 0x10;
pub const DN_ATTRIB: u32 = 0x20;
pub const DN_MULTISHOT: u32 = 0x8000_0000;

// flock(2)
pub const LOCK_SH: u32 = 1;
pub const LOCK_EX: u32 = 2;
pub const LOCK_NB: u32 = 4;
pub const LOCK_UN: u32 = 8;
pub const LOCK_MAND: u32 = 32;
pub const LOCK_READ: u32 = 64;
pub const LOCK_WRITE: u32 = 128;
pub const LOCK_RW: u32 = 192;

pod! {
    /// `struct flock` of `fcntl(2)`.
    pub struct Flock {
        pub l_type: i16,
        pub l_whence: i16,
        pub pad1: u32,
        pub l_start: i64,
        pub l_len: i64,
        pub l_pid: i32,
        pub pad2: u32,
    }

    /// `struct f_owner_ex` of `fcntl(2)`.
    pub struct FOwnerEx {
        pub owner_type: i32,
        pub pid: i32,
    }

    /// `struct file_handle` of `name_to_handle_at(2)`, without the handle that follows.
    pub struct FileHandle {
        pub handle_bytes: u32,
        pub handle_type: i32,
    }
}

// name_to_handle_at(2): the largest handle, in bytes
pub const MAX_HANDLE_SZ: usize = 128;

// Limits of `limits.h`, in bytes with the final NUL for `PATH_MAX`, without it for `NAME_MAX`
pub const PATH_MAX: usize = 4096;
pub const NAME_MAX: usize = 255;
pub const PIPE_BUF: usize = 4096;

// Limits of path resolution and hard links
pub const MAXSYMLINKS: u32 = 40;
pub const LINK_MAX: u32 = 127;
pub const NGROUPS_MAX: u32 = 65536;

// read(2), write(2): the most a call transfers, in bytes
pub const MAX_RW_COUNT: usize = 0x7fff_f000;
