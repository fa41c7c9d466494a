//! The virtual file system: inodes, dentries, mounts, open file descriptions and
//! path resolution.
//!
//! * [`Inode`] is a file as its file system keeps it; [`DirInode`] is what
//!   directories can do besides. [`FileSystem`] is a mounted instance.
//! * [`Dentry`] names an inode in the tree, negative entries included; [`Mount`]
//!   puts a file system at a dentry; [`Path`] is a (mount, dentry) pair.
//! * [`File`] is an open file description (`open(2)`), with [`FileOps`] behind it.
//! * [`IoDst`] and [`IoSrc`] carry the bytes of a transfer, to and from guest memory
//!   or a kernel buffer.
//!
//! All operations are non-blocking: what would wait fails with `EAGAIN`, and the
//! system call waits through [`crate::wait::Pollable`].

pub mod access;
pub mod async_io;
mod attr;
mod dentry;
mod device;
mod file;
mod fs_types;
mod glance;
mod inode;
mod io;
pub mod lookup;
mod mounts;
pub mod names;
pub mod notify;
pub mod open;
pub mod quick;
mod state;

pub use attr::{Attr, FileType, SetAttr, SetTime};
pub use dentry::{Dentry, DentryCache, Mount, Path};
pub use device::{DeviceOpener, DeviceTable};
pub use file::{DirSink, File, FileCx, FileOps, IoRules, MapSource, Mappable, OWN_POSITION};
pub use fs_types::{FsMaker, FsTypes, MountRequest};
pub use glance::Glances;
pub use inode::{
    Caching, DirInode, FileSystem, Inode, InodeRef, Kept, NewNode, OpenRequest, StatFs,
};
pub use io::{IoDst, IoSrc, Piece, UserSegment};
pub use mounts::MountTable;
pub use state::{FileRare, InodeState, Running, Writing};
