//! Memory files and mappings.

use crate::{Result, check};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `memfd_create(2)`, close-on-exec.
pub fn memfd_create(name: &CStr) -> Result<OwnedFd> {
    // SAFETY: `name` is a valid C string.
    let fd = check(i64::from(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) }))?;
    // SAFETY: a fresh descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Has the C library's allocator serve all threads from one heap that grows and shrinks in
/// large steps (`mallopt(3)`): the heaps of threads grow page by page, with a host call each.
pub fn tune_allocator() {
    const STEP: libc::c_int = 1 << 20;
    // SAFETY: sets limits of the allocator; a refusal costs speed only.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TOP_PAD, STEP);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 8 * STEP);
    }
}

/// An empty file, `chitin-memory`, in a file system of its own, in memory, that holds `size`
/// bytes and no more, or has huge pages where mappings ask for them (`MADV_HUGEPAGE`). Needs
/// the right to mount; `EINVAL` where the host has no huge pages. The second descriptor is of the
/// mount: whoever closes it last waits for it to be gone.
pub fn memory_file_system(size: Option<u64>) -> Result<(OwnedFd, OwnedFd)> {
    const FSCONFIG_SET_STRING: u32 = 1;
    const FSCONFIG_CMD_CREATE: u32 = 6;
    let (key, value) = match size {
        Some(size) => (c"size", std::ffi::CString::new(size.to_string())?),
        None => (c"huge", c"advise".into()),
    };
    // SAFETY: string literals and integers only.
    let fs = check(unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 1) })?;
    // SAFETY: a fresh descriptor.
    let fs = unsafe { OwnedFd::from_raw_fd(fs as i32) };
    let configure = |command: u32, key: *const libc::c_char, value: *const libc::c_char| {
        let fs = fs.as_raw_fd();
        // SAFETY: the strings live as long as the call, or are null where none is wanted.
        check(unsafe { libc::syscall(libc::SYS_fsconfig, fs, command, key, value, 0) })
    };
    configure(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())?;
    configure(FSCONFIG_CMD_CREATE, std::ptr::null(), std::ptr::null())?;
    let attrs = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    // SAFETY: integers only.
    let mount = check(unsafe { libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), 1, attrs) })?;
    // SAFETY: a fresh descriptor.
    let mount = unsafe { OwnedFd::from_raw_fd(mount as i32) };
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: a string literal and integers.
    let file = unsafe { libc::openat(mount.as_raw_fd(), c"chitin-memory".as_ptr(), flags, 0o600) };
    let file = check(i64::from(file))?;
    // SAFETY: a fresh descriptor.
    Ok((unsafe { OwnedFd::from_raw_fd(file as i32) }, mount))
}

/// `ftruncate(2)`.
pub fn ftruncate(fd: BorrowedFd<'_>, len: u64) -> Result<()> {
    // SAFETY: integers only.
    check(i64::from(unsafe { libc::ftruncate(fd.as_raw_fd(), len as i64) })).map(drop)
}

/// Maps the first `len` bytes of `fd` shared, readable and writable, without
/// reserving memory, anywhere.
pub fn mmap_shared(fd: BorrowedFd<'_>, len: u64) -> Result<*mut u8> {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address that the host chooses replaces nothing.
    let at =
        unsafe { libc::mmap(std::ptr::null_mut(), len as usize, prot, flags, fd.as_raw_fd(), 0) };
    if at == libc::MAP_FAILED { Err(std::io::Error::last_os_error()) } else { Ok(at.cast()) }
}

/// Removes a mapping (`munmap(2)`).
///
/// # Safety
///
/// Nobody may use the range any more.
pub unsafe fn munmap(at: *mut u8, len: u64) -> Result<()> {
    // SAFETY: promised by the caller.
    check(i64::from(unsafe { libc::munmap(at.cast(), len as usize) })).map(drop)
}
