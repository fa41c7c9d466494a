//! Host calls of the platform that nobody else needs.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::AtomicU32;

/// `FUTEX_WAKE` of all who wait on a word in shared memory: a worker may still sleep on
/// the word of a thread that another one resumes, and must not take its wake-up.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word outlives the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// `FUTEX_WAIT` with a relative timeout in nanoseconds.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32, timeout: Option<u64>) {
    let time = timeout.map(timespec);
    let time = time.as_ref().map_or(std::ptr::null(), |t| &raw const *t);
    // SAFETY: word and time outlive the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, time) };
}

/// What of a process's CPU time a clock counts.
#[derive(Clone, Copy)]
pub(crate) enum CpuClock {
    /// User and system time, by ticks.
    Prof = 0,
    /// User time, by ticks.
    Virt = 1,
    /// Both, exactly.
    Sched = 2,
}

/// CPU time that a process has used, in nanoseconds (`clock_getcpuclockid(3)`).
pub(crate) fn process_cpu_time(pid: i32, what: CpuClock) -> Option<u64> {
    // The number of the clock of a process, as the C library makes it.
    let clock = (!pid) << 3 | what as i32;
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` outlives the call.
    let result = unsafe { libc::clock_gettime(clock, &raw mut t) };
    (result == 0).then(|| (t.tv_sec as u64) * 1_000_000_000 + t.tv_nsec as u64)
}

fn timespec(ns: u64) -> libc::timespec {
    libc::timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 }
}

/// `struct futex_waitv`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FutexWaitV {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

impl FutexWaitV {
    pub(crate) fn new(word: &AtomicU32, value: u32) -> Self {
        let address = word.as_ptr() as u64;
        Self { value: u64::from(value), address, flags: 2, reserved: 0 }
    }
}

/// `futex_waitv(2)` until an absolute `CLOCK_MONOTONIC` time; false if the host
/// does not have it.
pub(crate) fn futex_waitv(words: &[FutexWaitV], deadline: Option<u64>) -> bool {
    let time = deadline.map(timespec);
    let time = time.as_ref().map_or(std::ptr::null(), |t| &raw const *t);
    // SAFETY: the vector and the time outlive the call; the words are alive by the
    // caller's references.
    let r =
        unsafe { libc::syscall(449, words.as_ptr(), words.len(), 0, time, libc::CLOCK_MONOTONIC) };
    r >= 0 || Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

/// `eventfd(2)`, close-on-exec.
pub(crate) fn eventfd() -> Result<OwnedFd> {
    // SAFETY: integers only.
    let fd = chitin_hostsys::check(i64::from(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }))?;
    // SAFETY: a fresh descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Reads an eventfd, blocking.
pub(crate) fn eventfd_read(fd: BorrowedFd<'_>) -> u64 {
    let mut value = 0_u64;
    // SAFETY: 8 bytes into a u64.
    unsafe { libc::read(fd.as_raw_fd(), (&raw mut value).cast(), 8) };
    value
}

/// Reads an eventfd without waiting; 0 if there is nothing, or the host cannot tell.
pub(crate) fn eventfd_try_read(fd: BorrowedFd<'_>) -> u64 {
    let mut value = 0_u64;
    let part = libc::iovec { iov_base: (&raw mut value).cast(), iov_len: 8 };
    // SAFETY: 8 bytes into a u64.
    unsafe { libc::preadv2(fd.as_raw_fd(), &raw const part, 1, -1, libc::RWF_NOWAIT) };
    value
}

/// Adds to an eventfd.
pub(crate) fn eventfd_add(fd: BorrowedFd<'_>, value: u64) {
    // SAFETY: 8 bytes of a u64.
    unsafe { libc::write(fd.as_raw_fd(), (&raw const value).cast(), 8) };
}

/// Frees the pages of a range of a memory file.
pub(crate) fn punch_hole(fd: BorrowedFd<'_>, offset: u64, len: u64) {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: integers only.
    unsafe { libc::fallocate(fd.as_raw_fd(), mode, offset as i64, len as i64) };
}

/// `tgkill(2)`; false if there is no such thread.
pub(crate) fn tgkill(pid: i32, tid: i32, signo: i32) -> bool {
    // SAFETY: integers only.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signo) == 0 }
}

/// `SIGKILL`s a process.
pub(crate) fn kill(pid: i32) {
    // SAFETY: integers only.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Binds a thread (0: the caller) to CPUs; a refusal costs speed only.
pub(crate) fn set_cpu(tid: i32, cpus: &[usize]) {
    // SAFETY: cpu_set_t is plain data, CPU_SET checks its range.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for &cpu in cpus {
            libc::CPU_SET(cpu, &mut set);
        }
        libc::sched_setaffinity(tid, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// The CPU that the caller is on, if the host tells.
pub(crate) fn current_cpu() -> Option<usize> {
    // SAFETY: no arguments.
    usize::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// The CPUs this process may use.
pub(crate) fn cpus() -> Vec<usize> {
    // SAFETY: as above.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|&i| libc::CPU_ISSET(i, &set)).collect()
    }
}

/// Sends descriptors over a unix socket (`SCM_RIGHTS`, `unix(7)`).
pub(crate) fn send_fds(socket: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut control = [0_u64; 36];
    let bytes = 4 * fds.len();
    assert!(bytes + 16 <= size_of_val(&control), "too many descriptors at once");
    let mut byte = 0_u8;
    let mut iov = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: plain data, valid when zero.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.as_mut_ptr().cast();
    // SAFETY: the buffer is large enough (asserted) and aligned for a cmsghdr.
    unsafe {
        msg.msg_controllen = libc::CMSG_SPACE(bytes as u32) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const msg);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(bytes as u32) as usize;
        let data = libc::CMSG_DATA(header).cast::<i32>();
        for (i, fd) in fds.iter().enumerate() {
            data.add(i).write_unaligned(fd.as_raw_fd());
        }
        chitin_hostsys::check(libc::sendmsg(socket.as_raw_fd(), &raw const msg, 0) as i64)?;
    }
    Ok(())
}

/// Waits until a child has died, without reaping it; `None` if there is no child.
pub(crate) fn wait_any() -> Option<i32> {
    loop {
        // SAFETY: siginfo_t is plain data.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: `info` outlives the call.
        let r = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) };
        if r == 0 {
            // SAFETY: waitid filled in a SIGCHLD siginfo.
            return Some(unsafe { info.si_pid() });
        }
        if Error::last_os_error().raw_os_error() == Some(libc::ECHILD) {
            return None;
        }
    }
}

/// Reaps a dead child.
pub(crate) fn reap(pid: i32) {
    // SAFETY: siginfo_t is plain data.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` outlives the call.
    unsafe { libc::waitid(libc::P_PID, pid as u32, &raw mut info, libc::WEXITED) };
}

/// Whether `cpuid` can be made to trap (`arch_prctl(2)`, `ARCH_SET_CPUID`).
pub(crate) fn can_trap_cpuid() -> bool {
    const ARCH_SET_CPUID: i64 = 0x1012;
    // SAFETY: leaves the instruction as it is.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_CPUID, 1) == 0 }
}

/// The stub reads and writes segment bases itself.
pub(crate) fn require_fsgsbase() -> Result<()> {
    // SAFETY: getauxval has no preconditions. Bit 1 of AT_HWCAP2 is HWCAP2_FSGSBASE.
    if unsafe { libc::getauxval(libc::AT_HWCAP2) } & 2 != 0 {
        return Ok(());
    }
    Err(Error::other(
        "this host does not let programs use FSGSBASE (an Intel CPU before Ivy Bridge, or Linux \
         before 5.9); the systrap platform needs it",
    ))
}

/// What becomes of the child of a fork: the stub image, with these descriptors
/// from 3 on and no others. Only returns on failure.
pub(crate) fn become_stub(image: i32, fds: &[i32], parent: i32) {
    let empty = [std::ptr::null::<libc::c_char>()];
    // SAFETY: calls that are allowed between fork and exec, on integers and on
    // memory of this frame.
    unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        if libc::getppid() != parent {
            return;
        }
        libc::setsid();
        libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong);
        let stack = libc::rlimit { rlim_cur: 8 << 20, rlim_max: 8 << 20 };
        libc::setrlimit(libc::RLIMIT_STACK, &raw const stack);
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::syscall(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        // Also what lets the sentry, which has none, bind stubs to CPUs.
        if chitin_hostsys::process::drop_capabilities().is_err() {
            return;
        }
        let full = u64::MAX;
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const full, 0, 8);
        // Out of the way first, then to their places.
        let image = libc::fcntl(image, libc::F_DUPFD, 200);
        for (i, &fd) in fds.iter().enumerate() {
            libc::dup2(fd, 210 + i as i32);
        }
        for i in 0..fds.len() as i32 {
            libc::dup2(210 + i, 3 + i);
        }
        libc::dup2(image, 20);
        libc::fcntl(20, libc::F_SETFD, libc::FD_CLOEXEC);
        libc::syscall(libc::SYS_close_range, 0, 2, 0);
        libc::syscall(libc::SYS_close_range, 3 + fds.len(), 19, 0);
        libc::syscall(libc::SYS_close_range, 21, u32::MAX, 0);
        libc::syscall(
            libc::SYS_execveat,
            20,
            c"".as_ptr(),
            empty.as_ptr(),
            empty.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
}
