//! Open files of tmpfs, and their mappings.

use super::data::SIZE_MAX;
use super::node::Node;
use chitin_abi::Errno;
use chitin_abi::fs::{
    FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, O_NOATIME, S_ISGID, S_ISUID,
    SEEK_DATA, SEEK_HOLE,
};
use chitin_kernel::vfs::{
    DirSink, FileCx, FileOps, Inode, IoDst, IoSrc, MapSource, Mappable, Piece,
};
use std::sync::Arc;

/// `CAP_FSETID` (`capabilities(7)`).
const CAP_FSETID: u32 = 4;

/// An open regular file.
pub(super) struct OpenFile(pub(super) Arc<Node>);

/// An open directory.
pub(super) struct OpenDir(pub(super) Arc<Node>);

impl Node {
    /// Reads into `dst`.
    pub(super) fn read_into(&self, dst: &mut IoDst<'_>, pos: u64) -> Result<usize, Errno> {
        let data = &self.file()?.data;
        dst.fill(|done, piece| {
            let at = pos.checked_add(done as u64).ok_or(Errno::EINVAL)?;
            match piece {
                Piece::Memory(_, to, len) => data.read_to(at, to, len),
                Piece::Buffer(buf) => data.read_at(at, buf),
            }
        })
    }

    /// Writes from `src`; the transfer is locked.
    fn write_locked(&self, src: &mut IoSrc<'_>, pos: u64) -> Result<usize, Errno> {
        let data = &self.file()?.data;
        src.drain(|done, piece| {
            let at = pos.checked_add(done as u64).ok_or(Errno::EFBIG)?;
            match piece {
                Piece::Memory(_, from, len) => data.write_from(at, from, len),
                Piece::Buffer(buf) => data.write_at(at, buf),
            }
        })
    }

    /// Writes at `pos`, or at the end; returns the position behind, and the count.
    pub(super) fn write_from(
        &self,
        src: &mut IoSrc<'_>,
        pos: Option<u64>,
    ) -> Result<(u64, usize), Errno> {
        let file = self.file()?;
        let _transfer = file.transfer.lock();
        let pos = pos.unwrap_or_else(|| file.data.size());
        let n = self.write_locked(src, pos)?;
        Ok((pos + n as u64, n))
    }

    pub(super) fn fallocate(&self, mode: u32, at: u64, len: u64) -> Result<(), Errno> {
        let file = self.file()?;
        let known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
        if mode & !known != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if mode & FALLOC_FL_PUNCH_HOLE != 0 && mode & FALLOC_FL_KEEP_SIZE == 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let end = at.checked_add(len).filter(|&e| e <= SIZE_MAX).ok_or(Errno::EFBIG)?;
        let _transfer = file.transfer.lock();
        if mode & FALLOC_FL_PUNCH_HOLE != 0 {
            file.data.punch(at..end)?;
        } else {
            if mode & FALLOC_FL_ZERO_RANGE != 0 {
                file.data.punch(at..end)?;
            }
            file.data.reserve(at..end, mode & FALLOC_FL_KEEP_SIZE == 0)?;
        }
        self.touch(true);
        Ok(())
    }

    fn wrote(&self, cx: FileCx<'_>) {
        let special = self.meta.lock().perm & (S_ISUID | S_ISGID) != 0;
        self.written(!special || cx.task.cred().has_cap(CAP_FSETID));
    }
}

impl FileOps for OpenFile {
    fn read(&self, cx: FileCx<'_>, dst: &mut IoDst<'_>, pos: u64) -> Result<usize, Errno> {
        let n = self.0.read_into(dst, pos)?;
        if cx.file.flags() & O_NOATIME == 0 {
            self.0.accessed();
        }
        Ok(n)
    }

    fn write(&self, cx: FileCx<'_>, src: &mut IoSrc<'_>, pos: u64) -> Result<usize, Errno> {
        let (_, n) = self.0.write_from(src, Some(pos))?;
        if n > 0 {
            self.0.wrote(cx);
        }
        Ok(n)
    }

    fn write_append(&self, cx: FileCx<'_>, src: &mut IoSrc<'_>) -> Result<(u64, usize), Errno> {
        let (end, n) = self.0.write_from(src, None)?;
        if n > 0 {
            self.0.wrote(cx);
        }
        Ok((end, n))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _cx: FileCx<'_>, offset: i64, whence: u32) -> Option<Result<u64, Errno>> {
        if whence != SEEK_DATA && whence != SEEK_HOLE {
            return None;
        }
        let seek = || {
            let data = &self.0.file()?.data;
            let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            if whence == SEEK_DATA { data.next_data(offset) } else { data.next_hole(offset) }
        };
        Some(seek())
    }

    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        Some(Arc::new(NodeMap(self.0.clone())))
    }

    fn fsync(&self, _cx: FileCx<'_>) -> Result<(), Errno> {
        Ok(())
    }

    fn fallocate(&self, _cx: FileCx<'_>, mode: u32, at: u64, len: u64) -> Result<(), Errno> {
        self.0.fallocate(mode, at, len)
    }
}

impl FileOps for OpenDir {
    fn read(&self, _cx: FileCx<'_>, _dst: &mut IoDst<'_>, _pos: u64) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_dir(&self, _cx: FileCx<'_>, pos: u64, sink: &mut dyn DirSink) -> Result<u64, Errno> {
        let next = self.0.read_entries(pos, sink)?;
        self.0.accessed();
        Ok(next)
    }

    fn fsync(&self, _cx: FileCx<'_>) -> Result<(), Errno> {
        Ok(())
    }
}

/// A mapped file.
struct NodeMap(Arc<Node>);

impl Mappable for NodeMap {
    fn id(&self) -> (u64, u64) {
        (self.0.sup.dev, self.0.ino)
    }

    fn has_known_writers(&self) -> bool {
        // That of `memfd_create(2)` has no name.
        self.0.meta.lock().nlink != 0
    }

    fn locate(&self, offset: u64, len: u64, _writable: bool) -> Result<MapSource, Errno> {
        let (offset, len) = self.0.file()?.data.locate(offset, len)?;
        Ok(MapSource::Memory { offset, len })
    }

    fn size(&self) -> u64 {
        self.0.file().map_or(0, |f| f.data.size())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        Inode::read_at(&*self.0, offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize, Errno> {
        // Not through the inode's: a mapping may be written while a transfer goes on.
        self.0.file()?.data.write_at(offset, buf)
    }
}
