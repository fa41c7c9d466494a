//! [`LowerFile`]: a lower file that was opened for reading and may be copied up
//! meanwhile.

use super::node::Node;
use chitin_abi::Errno;
use chitin_abi::fs::O_RDONLY;
use chitin_kernel::vfs::{FileCx, FileOps, IoDst, Mappable, OpenRequest};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// A lower file, open for reading.
pub(super) struct LowerFile {
    node: Arc<Node>,
    lower: Box<dyn FileOps>,
    /// The copy, opened when it is first read.
    copy: OnceLock<Box<dyn FileOps>>,
}

impl LowerFile {
    pub(super) fn new(node: Arc<Node>, lower: Box<dyn FileOps>) -> Self {
        Self { node, lower, copy: OnceLock::new() }
    }

    /// The file that counts now.
    fn now(&self, cx: FileCx<'_>) -> Result<&dyn FileOps, Errno> {
        if !self.node.copied.load(Ordering::Acquire) {
            return Ok(&*self.lower);
        }
        if let Some(copy) = self.copy.get() {
            return Ok(&**copy);
        }
        let upper = self.node.upper().ok_or(Errno::ESTALE)?;
        let copy = upper.clone().open(&OpenRequest { task: cx.task, flags: O_RDONLY })?;
        Ok(&**self.copy.get_or_init(|| copy))
    }
}

impl FileOps for LowerFile {
    fn read(&self, cx: FileCx<'_>, dst: &mut IoDst<'_>, pos: u64) -> Result<usize, Errno> {
        self.now(cx)?.read(cx, dst, pos)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, cx: FileCx<'_>, offset: i64, whence: u32) -> Option<Result<u64, Errno>> {
        match self.now(cx) {
            Ok(file) => file.seek(cx, offset, whence),
            Err(e) => Some(Err(e)),
        }
    }

    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        match self.node.upper() {
            Some(_) => self.copy.get().map_or_else(|| self.lower.mappable(), |c| c.mappable()),
            None => self.lower.mappable(),
        }
    }

    fn fsync(&self, cx: FileCx<'_>) -> Result<(), Errno> {
        self.now(cx)?.fsync(cx)
    }
}
