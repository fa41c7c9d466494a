//! Regular files of a host tree, open for data: [`OpenFile`] and the shared
//! [`HostMap`] behind it.

use super::Access;
use super::node::Node;
use crate::util::{PAGE, copy_from, errno};
use chitin_abi::Errno;
use chitin_abi::fs::{O_ACCMODE, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY};
use chitin_hostsys::files;
use chitin_kernel::sync::Mutex;
use chitin_kernel::vfs::{Attr, FileCx, FileOps, IoDst, IoSrc, MapSource, Mappable, Piece};
use chitin_platform::FileHandle;
use chitin_usermem::GuestMemory;
use std::hash::{Hash, Hasher};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A host file that is open for data, with its registration for mappings.
pub(super) struct HostMap {
    pub(super) fd: OwnedFd,
    platform: Arc<dyn chitin_platform::Platform>,
    id: (u64, u64),
    /// Of the status when it was opened.
    version: u64,
    /// Size when last looked at.
    size: AtomicU64,
    /// Made by the first mapping.
    handle: Mutex<Option<FileHandle>>,
    /// How long pages are believed; 0 if guests may change them.
    page_ttl: u64,
    /// Pages that system calls take strings or short reads from, by page number.
    pages: Mutex<[Option<Box<Page>>; PAGES]>,
    /// The page that the last short read was from.
    last: AtomicU64,
}

/// Pages that are kept of a file.
const PAGES: usize = 4;

/// A page that was read, and when (`CLOCK_MONOTONIC`).
struct Page {
    offset: u64,
    read: u64,
    bytes: Vec<u8>,
}

/// An open regular file.
pub(super) struct OpenFile {
    node: Arc<Node>,
    map: Arc<HostMap>,
}

impl Node {
    /// The open file for an access mode; opened if it is not yet.
    pub(super) fn map(&self, access: Access) -> Result<Arc<HostMap>, Errno> {
        let index = usize::from(access == Access::ReadWrite);
        let known = self.open.lock().get(index).and_then(std::sync::Weak::upgrade);
        if let Some(map) = known {
            return Ok(map);
        }
        let mode = if access == Access::ReadWrite { O_RDWR } else { O_RDONLY };
        let flags = i32::try_from(mode | O_NONBLOCK).map_err(|_| Errno::EINVAL)?;
        let open = |flags| self.at(|dir, name| files::open_beneath(dir.as_fd(), name, flags, 0));
        let opened = self.root_file(access).unwrap_or_else(|| open(flags));
        let fd = match opened {
            // It may be written, but not read: so does the host decide later.
            Err(Errno::EACCES) if access == Access::ReadWrite => {
                open(i32::try_from(O_WRONLY | O_NONBLOCK).map_err(|_| Errno::EINVAL)?)?
            }
            other => other?,
        };
        let attr = match self.fresh() {
            Some(attr) if access == Access::ReadOnly => attr,
            _ => {
                let stat = files::statx(fd.as_fd(), b"").map_err(|e| errno(&e))?;
                let attr = self.sup.attr_of(&stat)?;
                if attr.kind != self.kind {
                    return Err(Errno::ESTALE);
                }
                self.saw(attr);
                attr
            }
        };
        let page_ttl = match self.sup.options.access {
            Access::ReadOnly => self.sup.attr_ttl(),
            Access::ReadWrite => 0,
        };
        let map = Arc::new(HostMap {
            fd,
            platform: self.sup.platform.clone(),
            id: (attr.dev, attr.ino),
            version: version(&attr),
            size: AtomicU64::new(attr.size),
            handle: Mutex::default(),
            page_ttl,
            pages: Mutex::default(),
            last: AtomicU64::new(u64::MAX),
        });
        if let Some(slot) = self.open.lock().get_mut(index) {
            *slot = Arc::downgrade(&map);
        }
        // Kept for those who open it soon again.
        let mut maps = self.sup.maps.lock();
        maps.push_back(map.clone());
        let over = maps.len().saturating_sub(self.sup.options.open_files);
        let closing: Vec<_> = maps.drain(..over).collect();
        drop(maps);
        drop(closing);
        Ok(map)
    }
}

impl HostMap {
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let mut done = 0;
        while done < buf.len() {
            let rest = buf.get_mut(done..).unwrap_or_default();
            let want = rest.len();
            let at = offset.checked_add(done as u64).ok_or(Errno::EINVAL)?;
            let n = files::preadv(self.fd.as_fd(), &mut [IoSliceMut::new(rest)], at);
            let n = n.map_err(|e| errno(&e))?;
            done += n;
            if n < want {
                break;
            }
        }
        Ok(done)
    }

    /// Calls `f` with the bytes of a page, which is short at the end of the file.
    fn with_page<R>(&self, page: u64, f: impl FnOnce(&[u8]) -> R) -> Result<R, Errno> {
        let index = usize::try_from(page / PAGE).unwrap_or_default() % PAGES;
        let now = chitin_hostsys::clock::monotonic();
        let mut pages = self.pages.lock();
        let slot = pages.get_mut(index).ok_or(Errno::EFAULT)?;
        if let Some(known) = slot
            && known.offset == page
            && now.saturating_sub(known.read) < self.page_ttl
        {
            return Ok(f(&known.bytes));
        }
        let mut bytes = slot.take().map(|p| p.bytes).unwrap_or_default();
        bytes.resize(usize::try_from(PAGE).unwrap_or_default(), 0);
        let n = self.read(page, &mut bytes)?;
        bytes.truncate(n);
        let result = f(&bytes);
        *slot = Some(Box::new(Page { offset: page, read: now, bytes }));
        Ok(result)
    }

    /// Whether a read is likely to find its page kept, or to be the first of several from it.
    fn reads_again(&self, offset: u64, len: usize) -> bool {
        if self.page_ttl == 0 || !is_within_page(offset, len) {
            return false;
        }
        let page = offset & !(PAGE - 1);
        self.last.swap(page, Ordering::Relaxed) == page
    }

    fn read_memory(
        &self,
        offset: u64,
        memory: &GuestMemory,
        to: u64,
        len: usize,
    ) -> Result<usize, Errno> {
        if !self.reads_again(offset, len) {
            return memory.fill_from(self.fd.as_fd(), offset, to, len).map_err(|e| errno(&e));
        }
        let page = offset & !(PAGE - 1);
        self.with_page(page, |bytes| {
            let from = usize::try_from(offset - page).ok().and_then(|at| bytes.get(at..));
            let from = from.unwrap_or_default();
            let from = from.get(..len).unwrap_or(from);
            memory.write(to, from).map(|()| from.len())
        })?
    }

    pub(super) fn write(&self, offset: u64, buf: &[u8]) -> Result<usize, Errno> {
        let n = files::pwritev(self.fd.as_fd(), &[IoSlice::new(buf)], offset);
        let n = n.map_err(|e| errno(&e))?;
        self.size.fetch_max(offset.saturating_add(n as u64), Ordering::Relaxed);
        Ok(n)
    }

    fn write_memory(
        &self,
        offset: u64,
        memory: &GuestMemory,
        from: u64,
        len: usize,
    ) -> Result<usize, Errno> {
        let n = memory.store_to(self.fd.as_fd(), offset, from, len).map_err(|e| errno(&e))?;
        self.size.fetch_max(offset.saturating_add(n as u64), Ordering::Relaxed);
        Ok(n)
    }

    pub(super) fn resized(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    fn ask_size(&self) -> Result<u64, Errno> {
        let size = files::statx(self.fd.as_fd(), b"").map_err(|e| errno(&e))?.size;
        self.resized(size);
        Ok(size)
    }
}

fn is_within_page(offset: u64, len: usize) -> bool {
    (offset % PAGE).checked_add(len as u64).is_some_and(|end| end <= PAGE)
}

/// Changes whenever the file's content does.
fn version(attr: &Attr) -> u64 {
    let mut hash = std::hash::DefaultHasher::new();
    for time in [attr.mtime, attr.ctime] {
        (time.tv_sec, time.tv_nsec).hash(&mut hash);
    }
    attr.size.hash(&mut hash);
    hash.finish()
}

impl Mappable for HostMap {
    fn id(&self) -> (u64, u64) {
        self.id
    }

    fn version(&self) -> Option<u64> {
        // Files that are written to in place keep their traps.
        (self.page_ttl != 0).then_some(self.version)
    }

    fn locate(&self, offset: u64, len: u64, _writable: bool) -> Result<MapSource, Errno> {
        let beyond = |size: u64| offset >= size.next_multiple_of(PAGE);
        let mut size = self.size();
        // Whole mappings look again; single pages only if they would fail.
        if len > PAGE || beyond(size) {
            size = self.ask_size()?;
        }
        if beyond(size) {
            return Err(Errno::EFAULT);
        }
        let mut handle = self.handle.lock();
        let file = match &*handle {
            Some(file) => file.clone(),
            None => {
                let file = self.platform.register_file(self.fd.as_fd());
                let file = file.map_err(|_| Errno::ENOMEM)?;
                *handle = Some(file.clone());
                file
            }
        };
        Ok(MapSource::Host { file, offset, len: len.min(size.next_multiple_of(PAGE) - offset) })
    }

    fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        if self.page_ttl == 0 || !is_within_page(offset, buf.len()) {
            return self.read(offset, buf);
        }
        let page = offset & !(PAGE - 1);
        self.with_page(page, |bytes| copy_from(bytes, offset - page, buf))
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize, Errno> {
        self.write(offset, buf)
    }

    fn sync(&self, _offset: u64, _len: u64) -> Result<(), Errno> {
        files::fdatasync(self.fd.as_fd()).map_err(|e| errno(&e))
    }
}

impl OpenFile {
    pub(super) fn open(node: &Arc<Node>, flags: u32) -> Result<Box<dyn FileOps>, Errno> {
        let access = if flags & O_ACCMODE == O_RDONLY {
            Access::ReadOnly
        } else {
            node.sup.writable()?;
            Access::ReadWrite
        };
        Ok(Box::new(Self { node: node.clone(), map: node.map(access)? }))
    }

    /// Writes from `src` at `pos`.
    fn write_from(&self, src: &mut IoSrc<'_>, pos: u64) -> Result<usize, Errno> {
        let result = src.drain(|done, piece| {
            let at = pos.checked_add(done as u64).ok_or(Errno::EFBIG)?;
            match piece {
                Piece::Memory(memory, from, len) => self.map.write_memory(at, memory, from, len),
                Piece::Buffer(buf) => self.map.write(at, buf),
            }
        });
        self.node.forget();
        result
    }
}

impl FileOps for OpenFile {
    fn read(&self, _cx: FileCx<'_>, dst: &mut IoDst<'_>, pos: u64) -> Result<usize, Errno> {
        read_into(&self.map, dst, pos)
    }

    fn write(&self, _cx: FileCx<'_>, src: &mut IoSrc<'_>, pos: u64) -> Result<usize, Errno> {
        self.write_from(src, pos)
    }

    fn write_append(&self, _cx: FileCx<'_>, src: &mut IoSrc<'_>) -> Result<(u64, usize), Errno> {
        let _append = self.node.append.lock();
        let end = self.map.ask_size()?;
        let n = self.write_from(src, end)?;
        Ok((end + n as u64, n))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _cx: FileCx<'_>, offset: i64, whence: u32) -> Option<Result<u64, Errno>> {
        use chitin_abi::fs::{SEEK_DATA, SEEK_HOLE};
        if whence != SEEK_DATA && whence != SEEK_HOLE {
            return None;
        }
        let whence = i32::try_from(whence).ok()?;
        // The host's position is nobody's: transfers name theirs.
        Some(files::lseek(self.map.fd.as_fd(), offset, whence).map_err(|e| errno(&e)))
    }

    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        Some(self.map.clone())
    }

    fn fsync(&self, _cx: FileCx<'_>) -> Result<(), Errno> {
        match self.node.sup.options.access {
            Access::ReadOnly => Ok(()),
            Access::ReadWrite => files::fsync(self.map.fd.as_fd()).map_err(|e| errno(&e)),
        }
    }

    fn fallocate(&self, _cx: FileCx<'_>, mode: u32, at: u64, len: u64) -> Result<(), Errno> {
        self.node.forget();
        files::fallocate(self.map.fd.as_fd(), mode, at, len).map_err(|e| errno(&e))?;
        self.map.ask_size().map(drop)
    }
}

/// Reads into `dst`.
pub(super) fn read_into(map: &HostMap, dst: &mut IoDst<'_>, pos: u64) -> Result<usize, Errno> {
    dst.fill(|done, piece| {
        let at = pos.checked_add(done as u64).ok_or(Errno::EINVAL)?;
        match piece {
            Piece::Memory(memory, to, len) => map.read_memory(at, memory, to, len),
            Piece::Buffer(buf) => map.read(at, buf),
        }
    })
}
