//! The core file: made in the working directory, written in pieces.

use super::{Dump, Stopped, image};
use crate::mm::{DumpPart, Stretch};
use crate::signal::SigInfo;
use crate::syscall::dir::remove_file;
use crate::task::{CurrentTask, Task};
use crate::vfs::open::{OpenHow, open_regular, resize};
use crate::vfs::{File, FileCx, FileType, IoSrc};
use chitin_abi::Errno;
use chitin_abi::fs::{AT_FDCWD, O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY};
use std::sync::Arc;
use std::task::Poll;

/// Bytes that are written at once.
const PIECE: usize = 64 << 10;
/// Bytes, those of holes too, after which other tasks have their turn.
const TURN: u64 = 1 << 20;

/// A core file.
pub(super) struct Core {
    file: Arc<File>,
    at: u64,
    /// Bytes written: holes do not count.
    written: u64,
    limit: u64,
}

impl Core {
    /// Makes the file: what was there under its name goes, so that it is nobody else's.
    pub(super) fn create(task: &Arc<Task>, signo: i32, limit: u64) -> Result<Self, Errno> {
        let name = task.kernel.core_files.name(task, signo)?;
        // If it is still there the next step says so.
        let _ = remove_file(task, AT_FDCWD, &name);
        let flags = O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY;
        let file = open_regular(task, &name, OpenHow { flags, mode: 0o600, resolve: 0 })?;
        let inode = file.path().and_then(|p| p.dentry.inode()).ok_or(Errno::ENOENT)?;
        let attr = inode.attr()?;
        let own = attr.uid == task.cred().fsuid && attr.perm & 0o177 == 0 && attr.nlink == 1;
        if attr.kind != FileType::Regular || !own {
            return Err(Errno::EPERM);
        }
        Ok(Self { file, at: 0, written: 0, limit })
    }

    /// Writes all of it, as far as the limit allows.
    pub(super) async fn write(
        &mut self,
        cur: &mut CurrentTask,
        info: &SigInfo,
        threads: &[Stopped],
        dump: &Dump,
    ) -> Result<(), Errno> {
        let mm = cur.mm().clone();
        let parts = mm.dump_parts();
        let head = image::head(cur.task(), &mm, info, threads, &parts);
        let mut left = TURN;
        for piece in head.chunks(PIECE) {
            self.put(cur.task(), piece)?;
        }
        let mut buf = vec![0; PIECE];
        for DumpPart { range, written, .. } in parts {
            let mut at = range.start;
            let end = range.start.saturating_add(written);
            while at < end {
                let done = match mm.dump_stretch(at, end, &mut buf) {
                    Stretch::Hole(len) => {
                        self.at += len;
                        len
                    }
                    Stretch::Bytes(len) => {
                        self.put(cur.task(), buf.get(..len).unwrap_or_default())?;
                        len as u64
                    }
                };
                at += done;
                left = left.saturating_sub(done);
                if left == 0 {
                    left = TURN;
                    turn().await;
                }
                if dump.is_over() {
                    return Err(Errno::EINTR);
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, task: &Arc<Task>, mut bytes: &[u8]) -> Result<(), Errno> {
        if self.written.saturating_add(bytes.len() as u64) > self.limit {
            return Err(Errno::EFBIG);
        }
        while !bytes.is_empty() {
            let cx = FileCx { task, file: &self.file };
            let n = self.file.ops().write(cx, &mut IoSrc::kernel(bytes), self.at)?;
            if n == 0 {
                return Err(Errno::EIO);
            }
            self.at += n as u64;
            self.written += n as u64;
            bytes = bytes.get(n..).unwrap_or_default();
        }
        Ok(())
    }

    /// Gives it its length: it may end with a hole.
    pub(super) fn finish(&self, task: &Arc<Task>) -> Result<(), Errno> {
        let inode = self.file.path().and_then(|p| p.dentry.inode()).ok_or(Errno::ENOENT)?;
        resize(task, &inode, self.at)
    }
}

/// Lets other tasks have their turn.
async fn turn() {
    let mut first = true;
    std::future::poll_fn(|cx| {
        if std::mem::take(&mut first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}
