//! [`Control`]: the memory that the sentry shares with stubs, in slots of
//! `AREA_LEN` bytes: request blocks (read-only in their stub) and thread areas.

use crate::layout::AREA_LEN;
use crate::sys;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Most slots, 4 GiB of sparse file.
const SLOTS: u64 = 65536;
/// The first slots are the zygote's request block and scratch memory.
const RESERVED: u64 = 2;

/// The control file, mapped whole.
pub(crate) struct Control {
    fd: OwnedFd,
    base: *mut u8,
    free: Mutex<(Vec<u64>, u64)>,
}

// SAFETY: the mapping lives as long as the value; all access is by atomics or by
// copies that tolerate concurrent change.
unsafe impl Send for Control {}
// SAFETY: as above.
unsafe impl Sync for Control {}

impl Control {
    pub(crate) fn new() -> std::io::Result<Arc<Self>> {
        let fd = chitin_hostsys::memfd_create(c"chitin-control")?;
        chitin_hostsys::ftruncate(fd.as_fd(), SLOTS * AREA_LEN)?;
        let base = chitin_hostsys::mmap_shared(fd.as_fd(), SLOTS * AREA_LEN)?;
        Ok(Arc::new(Self { fd, base, free: Mutex::new((Vec::new(), RESERVED)) }))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A zeroed slot.
    pub(crate) fn slot(self: &Arc<Self>) -> Option<Slot> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match free.0.pop() {
            Some(index) => index,
            None if free.1 < SLOTS => {
                free.1 += 1;
                free.1 - 1
            }
            None => return None,
        };
        Some(Slot { control: self.clone(), offset: index * AREA_LEN })
    }

    /// Memory from `offset` to the end of its slot (or of the zygote's slots).
    pub(crate) fn block(self: &Arc<Self>, offset: u64) -> Block {
        assert!(offset < RESERVED * AREA_LEN, "only the zygote's memory is not in slots");
        Block { control: self.clone(), offset }
    }

    fn at(&self, offset: u64) -> *mut u8 {
        assert!(offset < SLOTS * AREA_LEN, "offset outside the control file");
        // SAFETY: checked to be inside the mapping.
        unsafe { self.base.add(offset as usize) }
    }
}

/// One slot; freed and zeroed on drop, when no stub maps it any more.
pub(crate) struct Slot {
    control: Arc<Control>,
    offset: u64,
}

impl Slot {
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn block(&self) -> Block {
        Block { control: self.control.clone(), offset: self.offset }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        sys::punch_hole(self.control.fd(), self.offset, AREA_LEN);
        let mut free = self.control.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.0.push(self.offset / AREA_LEN);
    }
}

/// Shared memory from an offset on. Fields are named by byte offsets.
#[derive(Clone)]
pub(crate) struct Block {
    control: Arc<Control>,
    offset: u64,
}

impl Block {
    pub(crate) fn u32(&self, at: u64) -> &AtomicU32 {
        debug_assert!(at.is_multiple_of(4) && at < AREA_LEN);
        // SAFETY: aligned, inside the mapping, and the mapping lives as long as `self`.
        unsafe { &*self.control.at(self.offset + at).cast::<AtomicU32>() }
    }

    pub(crate) fn u64(&self, at: u64) -> &AtomicU64 {
        debug_assert!(at.is_multiple_of(8) && at < AREA_LEN);
        // SAFETY: as above.
        unsafe { &*self.control.at(self.offset + at).cast::<AtomicU64>() }
    }

    pub(crate) fn get(&self, at: u64) -> u64 {
        self.u64(at).load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, at: u64, value: u64) {
        self.u64(at).store(value, Ordering::Relaxed);
    }

    /// Copies bytes in.
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        assert!(at + bytes.len() as u64 <= AREA_LEN, "write beyond the slot");
        let to = self.control.at(self.offset + at);
        // SAFETY: inside the mapping by the assertion; raw copies tolerate races.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Copies bytes out.
    pub(crate) fn read(&self, at: u64, bytes: &mut [u8]) {
        assert!(at + bytes.len() as u64 <= AREA_LEN, "read beyond the slot");
        let from = self.control.at(self.offset + at);
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
    }
}
