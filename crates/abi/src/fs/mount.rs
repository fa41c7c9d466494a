//! Mounting: `MS_*`, `ST_*`, the calls of `fsopen(2)`, magic numbers of file systems.

use crate::pod::pod;

// mount(2)
pub const MS_RDONLY: u64 = 0x1;
pub const MS_NOSUID: u64 = 0x2;
pub const MS_NODEV: u64 = 0x4;
pub const MS_NOEXEC: u64 = 0x8;
pub const MS_SYNCHRONOUS: u64 = 0x10;
pub const MS_REMOUNT: u64 = 0x20;
pub const MS_MANDLOCK: u64 = 0x40;
pub const MS_DIRSYNC: u64 = 0x80;
pub const MS_NOSYMFOLLOW: u64 = 0x100;
pub const MS_NOATIME: u64 = 0x400;
pub const MS_NODIRATIME: u64 = 0x800;
pub const MS_BIND: u64 = 0x1000;
pub const MS_MOVE: u64 = 0x2000;
pub const MS_REC: u64 = 0x4000;
pub const MS_SILENT: u64 = 0x8000;
pub const MS_POSIXACL: u64 = 0x0001_0000;
pub const MS_UNBINDABLE: u64 = 0x0002_0000;
pub const MS_PRIVATE: u64 = 0x0004_0000;
pub const MS_SLAVE: u64 = 0x0008_0000;
pub const MS_SHARED: u64 = 0x0010_0000;
pub const MS_RELATIME: u64 = 0x0020_0000;
pub const MS_KERNMOUNT: u64 = 0x0040_0000;
pub const MS_I_VERSION: u64 = 0x0080_0000;
pub const MS_STRICTATIME: u64 = 0x0100_0000;
pub const MS_LAZYTIME: u64 = 0x0200_0000;
pub const MS_RMT_MASK: u64 = 0x0280_0051;
pub const MS_MGC_VAL: u64 = 0xc0ed_0000;
pub const MS_MGC_MSK: u64 = 0xffff_0000;

// umount2(2)
pub const MNT_FORCE: u32 = 0x1;
pub const MNT_DETACH: u32 = 0x2;
pub const MNT_EXPIRE: u32 = 0x4;
pub const UMOUNT_NOFOLLOW: u32 = 0x8;

// statfs(2): `f_flags`
pub const ST_RDONLY: i64 = 0x1;
pub const ST_NOSUID: i64 = 0x2;
pub const ST_NODEV: i64 = 0x4;
pub const ST_NOEXEC: i64 = 0x8;
pub const ST_SYNCHRONOUS: i64 = 0x10;
pub const ST_VALID: i64 = 0x20;
pub const ST_MANDLOCK: i64 = 0x40;
pub const ST_NOATIME: i64 = 0x400;
pub const ST_NODIRATIME: i64 = 0x800;
pub const ST_RELATIME: i64 = 0x1000;
pub const ST_NOSYMFOLLOW: i64 = 0x2000;

// open_tree(2)
pub const OPEN_TREE_CLONE: u32 = 0x1;
pub const OPEN_TREE_CLOEXEC: u32 = crate::fs::O_CLOEXEC;

// move_mount(2)
pub const MOVE_MOUNT_F_SYMLINKS: u32 = 0x1;
pub const MOVE_MOUNT_F_AUTOMOUNTS: u32 = 0x2;
pub const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
pub const MOVE_MOUNT_T_SYMLINKS: u32 = 0x10;
pub const MOVE_MOUNT_T_AUTOMOUNTS: u32 = 0x20;
pub const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
pub const MOVE_MOUNT_SET_GROUP: u32 = 0x100;
pub const MOVE_MOUNT_BENEATH: u32 = 0x200;
pub const MOVE_MOUNT__MASK: u32 = 0x377;

// fsopen(2), fspick(2), fsmount(2)
pub const FSOPEN_CLOEXEC: u32 = 0x1;
pub const FSPICK_CLOEXEC: u32 = 0x1;
pub const FSPICK_SYMLINK_NOFOLLOW: u32 = 0x2;
pub const FSPICK_NO_AUTOMOUNT: u32 = 0x4;
pub const FSPICK_EMPTY_PATH: u32 = 0x8;
pub const FSMOUNT_CLOEXEC: u32 = 0x1;

// fsconfig(2)
pub const FSCONFIG_SET_FLAG: u32 = 0;
pub const FSCONFIG_SET_STRING: u32 = 1;
pub const FSCONFIG_SET_BINARY: u32 = 2;
pub const FSCONFIG_SET_PATH: u32 = 3;
pub const FSCONFIG_SET_PATH_EMPTY: u32 = 4;
pub const FSCONFIG_SET_FD: u32 = 5;
pub const FSCONFIG_CMD_CREATE: u32 = 6;
pub const FSCONFIG_CMD_RECONFIGURE: u32 = 7;
pub const FSCONFIG_CMD_CREATE_EXCL: u32 = 8;

// fsmount(2), mount_setattr(2)
pub const MOUNT_ATTR_RDONLY: u64 = 0x1;
pub const MOUNT_ATTR_NOSUID: u64 = 0x2;
pub const MOUNT_ATTR_NODEV: u64 = 0x4;
pub const MOUNT_ATTR_NOEXEC: u64 = 0x8;
pub const MOUNT_ATTR__ATIME: u64 = 0x70;
pub const MOUNT_ATTR_RELATIME: u64 = 0x0;
pub const MOUNT_ATTR_NOATIME: u64 = 0x10;
pub const MOUNT_ATTR_STRICTATIME: u64 = 0x20;
pub const MOUNT_ATTR_NODIRATIME: u64 = 0x80;
pub const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
pub const MOUNT_ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;

pod! {
    /// `struct mount_attr` of `mount_setattr(2)`.
    pub struct MountAttr {
        pub attr_set: u64,
        pub attr_clr: u64,
        pub propagation: u64,
        pub userns_fd: u64,
    }
}

// statfs(2): `f_type`, the magic number of a file system
pub const ADFS_SUPER_MAGIC: i64 = 0xadf5;
pub const AFS_SUPER_MAGIC: i64 = 0x5346_414f;
pub const AUTOFS_SUPER_MAGIC: i64 = 0x187;
pub const CEPH_SUPER_MAGIC: i64 = 0x00c3_6400;
pub const CRAMFS_MAGIC: i64 = 0x28cd_3d45;
pub const DEBUGFS_MAGIC: i64 = 0x6462_6720;
pub const SECURITYFS_MAGIC: i64 = 0x7363_6673;
pub const SELINUX_MAGIC: i64 = 0xf97c_ff8c;
pub const RAMFS_MAGIC: i64 = 0x8584_58f6;
pub const TMPFS_MAGIC: i64 = 0x0102_1994;
pub const HUGETLBFS_MAGIC: i64 = 0x9584_58f6;
pub const SQUASHFS_MAGIC: i64 = 0x7371_7368;
pub const ECRYPTFS_SUPER_MAGIC: i64 = 0xf15f;
pub const EROFS_SUPER_MAGIC_V1: i64 = 0xe0f5_e1e2;
pub const EXT2_SUPER_MAGIC: i64 = 0xef53;
pub const EXT3_SUPER_MAGIC: i64 = 0xef53;
pub const EXT4_SUPER_MAGIC: i64 = 0xef53;
pub const BTRFS_SUPER_MAGIC: i64 = 0x9123_683e;
pub const F2FS_SUPER_MAGIC: i64 = 0xf2f5_2010;
pub const ISOFS_SUPER_MAGIC: i64 = 0x9660;
pub const XFS_SUPER_MAGIC: i64 = 0x5846_5342;
pub const PSTOREFS_MAGIC: i64 = 0x6165_676c;
pub const EFIVARFS_MAGIC: i64 = 0xde5e_81e4;
pub const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
pub const FUSE_SUPER_MAGIC: i64 = 0x6573_5546;
pub const MINIX_SUPER_MAGIC: i64 = 0x137f;
pub const MSDOS_SUPER_MAGIC: i64 = 0x4d44;
pub const EXFAT_SUPER_MAGIC: i64 = 0x2011_bab0;
pub const NFS_SUPER_MAGIC: i64 = 0x6969;
pub const REISERFS_SUPER_MAGIC: i64 = 0x5265_4973;
pub const SMB_SUPER_MAGIC: i64 = 0x517b;
pub const CIFS_SUPER_MAGIC: i64 = 0xff53_4d42;
pub const SMB2_SUPER_MAGIC: i64 = 0xfe53_4d42;
pub const CGROUP_SUPER_MAGIC: i64 = 0x0027_e0eb;
pub const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
pub const TRACEFS_MAGIC: i64 = 0x7472_6163;
pub const V9FS_MAGIC: i64 = 0x0102_1997;
pub const BDEVFS_MAGIC: i64 = 0x6264_6576;
pub const BINFMTFS_MAGIC: i64 = 0x4249_4e4d;
pub const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
pub const FUTEXFS_SUPER_MAGIC: i64 = 0x0bad_1dea;
pub const PIPEFS_MAGIC: i64 = 0x5049_5045;
pub const PROC_SUPER_MAGIC: i64 = 0x9fa0;
pub const SOCKFS_MAGIC: i64 = 0x534f_434b;
pub const SYSFS_MAGIC: i64 = 0x6265_6572;
pub const ANON_INODE_FS_MAGIC: i64 = 0x0904_1934;
pub const NSFS_MAGIC: i64 = 0x6e73_6673;
pub const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
pub const AAFS_MAGIC: i64 = 0x5a3c_69f0;
pub const UDF_SUPER_MAGIC: i64 = 0x1501_3346;
pub const DMA_BUF_MAGIC: i64 = 0x444d_4142;
pub const DEVMEM_MAGIC: i64 = 0x454d_444d;
pub const SECRETMEM_MAGIC: i64 = 0x5345_434d;
pub const PID_FS_MAGIC: i64 = 0x5049_4446;
pub const MQUEUE_MAGIC: i64 = 0x1980_0202;
pub const ZFS_SUPER_MAGIC: i64 = 0x2fc1_2fc1;
