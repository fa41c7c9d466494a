//! Renaming, allocating, extended attributes, pipes and splicing, memory files, advice.

use crate::pod::pod;

// renameat2(2)
pub const RENAME_NOREPLACE: u32 = 0x1;
pub const RENAME_EXCHANGE: u32 = 0x2;
pub const RENAME_WHITEOUT: u32 = 0x4;

// fallocate(2)
pub const FALLOC_FL_KEEP_SIZE: u32 = 0x1;
pub const FALLOC_FL_PUNCH_HOLE: u32 = 0x2;
pub const FALLOC_FL_NO_HIDE_STALE: u32 = 0x4;
pub const FALLOC_FL_COLLAPSE_RANGE: u32 = 0x8;
pub const FALLOC_FL_ZERO_RANGE: u32 = 0x10;
pub const FALLOC_FL_INSERT_RANGE: u32 = 0x20;
pub const FALLOC_FL_UNSHARE_RANGE: u32 = 0x40;

// setxattr(2)
pub const XATTR_CREATE: u32 = 1;
pub const XATTR_REPLACE: u32 = 2;

// xattr(7): limits, in bytes
pub const XATTR_NAME_MAX: usize = 255;
pub const XATTR_SIZE_MAX: usize = 65536;
pub const XATTR_LIST_MAX: usize = 65536;

// splice(2), tee(2), vmsplice(2)
pub const SPLICE_F_MOVE: u32 = 0x1;
pub const SPLICE_F_NONBLOCK: u32 = 0x2;
pub const SPLICE_F_MORE: u32 = 0x4;
pub const SPLICE_F_GIFT: u32 = 0x8;
pub const SPLICE_F_ALL: u32 = 0xf;

// memfd_create(2)
pub const MFD_CLOEXEC: u32 = 0x1;
pub const MFD_ALLOW_SEALING: u32 = 0x2;
pub const MFD_HUGETLB: u32 = 0x4;
pub const MFD_NOEXEC_SEAL: u32 = 0x8;
pub const MFD_EXEC: u32 = 0x10;
pub const MFD_HUGE_SHIFT: u32 = 0x1a;
pub const MFD_HUGE_MASK: u32 = 0x3f;

// memfd_secret(2) takes `O_CLOEXEC` only; memfd_create(2): the longest name, in bytes
pub const MFD_NAME_MAX: usize = 249;

// posix_fadvise(2)
pub const POSIX_FADV_NORMAL: u32 = 0;
pub const POSIX_FADV_RANDOM: u32 = 1;
pub const POSIX_FADV_SEQUENTIAL: u32 = 2;
pub const POSIX_FADV_WILLNEED: u32 = 3;
pub const POSIX_FADV_DONTNEED: u32 = 4;
pub const POSIX_FADV_NOREUSE: u32 = 5;

// sync_file_range(2)
pub const SYNC_FILE_RANGE_WAIT_BEFORE: u32 = 0x1;
pub const SYNC_FILE_RANGE_WRITE: u32 = 0x2;
pub const SYNC_FILE_RANGE_WAIT_AFTER: u32 = 0x4;

// utimensat(2): special values of `tv_nsec`
pub const UTIME_NOW: i64 = 0x3fff_ffff;
pub const UTIME_OMIT: i64 = 0x3fff_fffe;

// Attributes of inodes, `FS_IOC_GETFLAGS` (ioctl_iflags(2))
pub const FS_SECRM_FL: u32 = 0x1;
pub const FS_UNRM_FL: u32 = 0x2;
pub const FS_COMPR_FL: u32 = 0x4;
pub const FS_SYNC_FL: u32 = 0x8;
pub const FS_IMMUTABLE_FL: u32 = 0x10;
pub const FS_APPEND_FL: u32 = 0x20;
pub const FS_NODUMP_FL: u32 = 0x40;
pub const FS_NOATIME_FL: u32 = 0x80;
pub const FS_INDEX_FL: u32 = 0x1000;
pub const FS_JOURNAL_DATA_FL: u32 = 0x4000;
pub const FS_NOTAIL_FL: u32 = 0x8000;
pub const FS_DIRSYNC_FL: u32 = 0x0001_0000;
pub const FS_TOPDIR_FL: u32 = 0x0002_0000;
pub const FS_EXTENT_FL: u32 = 0x0008_0000;
pub const FS_NOCOW_FL: u32 = 0x0080_0000;
pub const FS_INLINE_DATA_FL: u32 = 0x1000_0000;
pub const FS_CASEFOLD_FL: u32 = 0x4000_0000;
pub const FS_FL_USER_VISIBLE: u32 = 0x0003_dfff;
pub const FS_FL_USER_MODIFIABLE: u32 = 0x0003_80ff;

// ioctl(2) on files (ioctl_iflags(2), ioctl_ficlone(2), ioctl_fideduperange(2))
pub const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
pub const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
pub const FS_IOC_GETVERSION: u32 = 0x8008_7601;
pub const FS_IOC_SETVERSION: u32 = 0x4008_7602;
pub const FS_IOC_FIEMAP: u32 = 0xc020_660b;
pub const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
pub const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;
pub const FICLONE: u32 = 0x4004_9409;
pub const FICLONERANGE: u32 = 0x4020_940d;
pub const FIDEDUPERANGE: u32 = 0xc018_9436;
pub const FIBMAP: u32 = 0x1;
pub const FIGETBSZ: u32 = 0x2;
pub const FIFREEZE: u32 = 0xc004_5877;
pub const FITHAW: u32 = 0xc004_5878;
pub const FITRIM: u32 = 0xc018_5879;

// ioctl(2) on block devices
pub const BLKROGET: u32 = 0x125e;
pub const BLKROSET: u32 = 0x125d;
pub const BLKRRPART: u32 = 0x125f;
pub const BLKGETSIZE: u32 = 0x1260;
pub const BLKFLSBUF: u32 = 0x1261;
pub const BLKSSZGET: u32 = 0x1268;
pub const BLKBSZGET: u32 = 0x8008_1270;
pub const BLKGETSIZE64: u32 = 0x8008_1272;
pub const BLKDISCARD: u32 = 0x1277;

pod! {
    /// `struct file_clone_range` of `ioctl_ficlonerange(2)`.
    pub struct FileCloneRange {
        pub src_fd: i64,
        pub src_offset: u64,
        pub src_length: u64,
        pub dest_offset: u64,
    }

    /// `struct fsxattr`, of `FS_IOC_FSGETXATTR`.
    pub struct Fsxattr {
        pub fsx_xflags: u32,
        pub fsx_extsize: u32,
        pub fsx_nextents: u32,
        pub fsx_projid: u32,
        pub fsx_cowextsize: u32,
        pub fsx_pad: [u8; 8],
    }

    /// `struct xattr_args` of `setxattrat(2)` and `getxattrat(2)`.
    pub struct XattrArgs {
        pub value: u64,
        pub size: u32,
        pub flags: u32,
    }

    /// `struct cachestat_range` of `cachestat(2)`.
    pub struct CachestatRange {
        pub off: u64,
        pub len: u64,
    }

    /// `struct cachestat` of `cachestat(2)`, in pages.
    pub struct Cachestat {
        pub nr_cache: u64,
        pub nr_dirty: u64,
        pub nr_writeback: u64,
        pub nr_evicted: u64,
        pub nr_recently_evicted: u64,
    }
}
