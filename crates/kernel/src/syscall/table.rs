//! The one table of system calls. It generates dispatch, the `--strace` log and
//! `docs/syscalls.md`. Rows are grouped by family; a row is
//!
//! ```text
//! NUMBER sync|async NAME(arg: Type, …) = handler::path, Level, "note";
//! ```

use super::arg::{Flags, SockAddr, UserPath};
#[allow(unused_imports)]
use super::{ArgInfo, Level, Syscall, arg::Arg};
use crate::error::{SysError, SysResult};
use crate::task::CurrentTask;
use chitin_abi::Errno;
use chitin_abi::aio::{AioSigset, IoEvent};
use chitin_abi::fs::{Stat, Statfs, Statx};
use chitin_abi::ipc::Sembuf;
use chitin_abi::poll::EpollEvent;
use chitin_abi::sched::SchedAttr;
use chitin_abi::signal::{SigStack, Sigaction, Siginfo};
use chitin_abi::socket::{Mmsghdr, Msghdr};
use chitin_abi::task::{CapData, CapHeader, Rlimit, Rusage, Sysinfo, Utsname};
use chitin_abi::time::{Itimerspec, Itimerval, Sigevent, Timespec, Timeval, Timezone, Tms};
use chitin_usermem::{UserAddr, UserPtr};

macro_rules! syscalls {
    (@call sync $path:path, $cur:ident $(, $arg:ident)*) => { $path($cur $(, $arg)*) };
    (@call async $path:path, $cur:ident $(, $arg:ident)*) => { $path($cur $(, $arg)*).await };
    ($($nr:literal $kind:ident $name:ident($($arg:ident: $ty:ty),*) = $path:path, $level:ident, $note:literal;)*) => {
        /// All system calls, by family.
        pub static TABLE: &[Syscall] = &[$(Syscall {
            nr: $nr,
            name: stringify!($name),
            args: &[$(ArgInfo { name: stringify!($arg), show: <$ty as Arg>::show, out: <$ty as Arg>::OUT }),*],
            level: Level::$level,
            note: $note,
        }),*];

        /// Serves system call number `nr`. `ENOSYS` for a number that is not in the table.
        pub async fn dispatch(cur: &mut CurrentTask, nr: u64, args: [u64; 6]) -> SysResult {
            match nr {
                $($nr => {
                    #[allow(unused_mut, unused_variables)]
                    let mut raw = args.into_iter();
                    $(let $arg = <$ty as Arg>::from_raw(raw.next().unwrap_or_default());)*
                    syscalls!(@call $kind $path, cur $(, $arg)*).map_err(SysError::from)
                })*
                _ => Err(SysError::Errno(Errno::ENOSYS)),
            }
        }
    };
}

syscalls! {
    // --- files: open, read, write, descriptors ---
    0 async read(fd: i32, buf: UserAddr, count: usize) = super::rw::read, Full, "";
    1 async write(fd: i32, buf: UserAddr, count: usize) = super::rw::write, Full, "";
    2 async open(path: UserPath, flags: u32, mode: u32) = super::fd::open, Full, "";
    3 sync close(fd: i32) = super::fd::close, Full, "";
    8 sync lseek(fd: i32, offset: i64, whence: u32) = super::rw::lseek, Full, "";
    16 sync ioctl(fd: i32, request: u32, arg: u64) = super::fd::ioctl, Partial, "per file";
    17 async pread64(fd: i32, buf: UserAddr, count: usize, offset: i64) = super::rw::pread64, Full, "";
    18 async pwrite64(fd: i32, buf: UserAddr, count: usize, offset: i64) = super::rw::pwrite64, Full, "";
    19 async readv(fd: i32, iov: UserAddr, iovcnt: u64) = super::rw::readv, Full, "";
    20 async writev(fd: i32, iov: UserAddr, iovcnt: u64) = super::rw::writev, Full, "";
    22 sync pipe(fds: UserAddr) = super::fd::pipe, Full, "";
    32 sync dup(fd: i32) = super::fd::dup, Full, "";
    33 sync dup2(old: i32, new: i32) = super::fd::dup2, Full, "";
    40 async sendfile(out: i32, input: i32, offset: UserPtr<i64>, count: usize) = super::splice::sendfile, Full, "";
    72 async fcntl(fd: i32, cmd: u32, arg: u64) = super::fd::fcntl, Partial, "no leases, no F_NOTIFY";
    73 async flock(fd: i32, operation: u32) = super::locks::flock, Full, "";
    74 sync fsync(fd: i32) = super::rw::fsync, Full, "";
    75 sync fdatasync(fd: i32) = super::rw::fsync, Full, "";
    77 sync ftruncate(fd: i32, length: i64) = super::rw::ftruncate, Full, "";
    85 async creat(path: UserPath, mode: u32) = super::fd::creat, Full, "";
    187 sync readahead(fd: i32, offset: i64, count: usize) = super::rw::readahead, Full, "";
    221 sync fadvise64(fd: i32, offset: i64, len: i64, advice: u32) = super::rw::fadvise64, Full, "checked, without effect";
    257 async openat(dirfd: i32, path: UserPath, flags: u32, mode: u32) = super::fd::openat, Full, "";
    275 async splice(input: i32, in_offset: UserPtr<i64>, out: i32, out_offset: UserPtr<i64>, len: usize, flags: u32) = super::splice::splice, Partial, "copies";
    276 async tee(input: i32, out: i32, len: usize, flags: u32) = super::splice::tee, Full, "copies";
    277 sync sync_file_range(fd: i32, offset: i64, len: i64, flags: u32) = super::rw::sync_file_range, Full, "checked, without effect";
    278 async vmsplice(fd: i32, iov: UserAddr, iovcnt: u64, flags: u32) = super::splice::vmsplice, Full, "copies";
    285 sync fallocate(fd: i32, mode: u32, offset: i64, len: i64) = super::rw::fallocate, Full, "";
    292 sync dup3(old: i32, new: i32, flags: u32) = super::fd::dup3, Full, "";
    293 sync pipe2(fds: UserAddr, flags: u32) = super::fd::pipe2, Full, "";
    295 async preadv(fd: i32, iov: UserAddr, iovcnt: u64, offset: i64) = super::rw::preadv, Full, "";
    296 async pwritev(fd: i32, iov: UserAddr, iovcnt: u64, offset: i64) = super::rw::pwritev, Full, "";
    319 sync memfd_create(name: UserPath, flags: u32) = super::memfd::memfd_create, Partial, "no huge pages; shared mappings are not sealed";
    327 async preadv2(fd: i32, iov: UserAddr, iovcnt: u64, offset: i64, high: u64, flags: u32) = super::rw::preadv2, Full, "";
    328 async pwritev2(fd: i32, iov: UserAddr, iovcnt: u64, offset: i64, high: u64, flags: u32) = super::rw::pwritev2, Full, "";
    206 sync io_setup(nr: u32, ctx: UserPtr<u64>) = super::aio::io_setup, Full, "without the ring that libraries look for";
    207 sync io_destroy(ctx: u64) = super::aio::io_destroy, Full, "what waits ends without an event";
    208 async io_getevents(ctx: u64, min_nr: i64, nr: i64, events: UserPtr<IoEvent>, timeout: UserPtr<Timespec>) = super::aio::io_getevents, Full, "";
    209 async io_submit(ctx: u64, nr: i64, iocbs: UserPtr<u64>) = super::aio::io_submit, Full, "files: done at once; pipes and sockets never keep the caller waiting";
    210 sync io_cancel(ctx: u64, iocb: UserAddr, result: UserAddr) = super::aio::io_cancel, Full, "IOCB_CMD_POLL, as in Linux";
    333 async io_pgetevents(ctx: u64, min_nr: i64, nr: i64, events: UserPtr<IoEvent>, timeout: UserPtr<Timespec>, mask: UserPtr<AioSigset>) = super::aio::io_pgetevents, Full, "";
    436 sync close_range(first: u32, last: u32, flags: u32) = super::fd::close_range, Full, "";
    437 async openat2(dirfd: i32, path: UserPath, how: UserPtr<chitin_abi::fs::OpenHow>, size: usize) = super::fd::openat2, Full, "";

    // --- files: paths, attributes, directories ---
    4 sync stat(path: UserPath, statbuf: UserPtr<Stat>) = super::attr::stat, Full, "";
    5 sync fstat(fd: i32, statbuf: UserPtr<Stat>) = super::attr::fstat, Full, "";
    6 sync lstat(path: UserPath, statbuf: UserPtr<Stat>) = super::attr::lstat, Full, "";
    21 sync access(path: UserPath, mode: u32) = super::attr::access, Full, "";
    76 sync truncate(path: UserPath, length: i64) = super::attr::truncate, Full, "";
    78 sync getdents(fd: i32, dirp: UserAddr, count: u32) = super::dir::getdents, Full, "";
    79 sync getcwd(buf: UserAddr, size: usize) = super::dir::getcwd, Full, "";
    80 sync chdir(path: UserPath) = super::dir::chdir, Full, "";
    81 sync fchdir(fd: i32) = super::dir::fchdir, Full, "";
    82 sync rename(old: UserPath, new: UserPath) = super::dir::rename, Full, "";
    83 sync mkdir(path: UserPath, mode: u32) = super::dir::mkdir, Full, "";
    84 sync rmdir(path: UserPath) = super::dir::rmdir, Full, "";
    86 sync link(old: UserPath, new: UserPath) = super::dir::link, Full, "";
    87 sync unlink(path: UserPath) = super::dir::unlink, Full, "";
    88 sync symlink(target: UserPath, path: UserPath) = super::dir::symlink, Full, "";
    89 sync readlink(path: UserPath, buf: UserAddr, size: i32) = super::dir::readlink, Full, "";
    90 sync chmod(path: UserPath, mode: u32) = super::attr::chmod, Full, "";
    91 sync fchmod(fd: i32, mode: u32) = super::attr::fchmod, Full, "";
    92 sync chown(path: UserPath, owner: u32, group: u32) = super::attr::chown, Full, "";
    93 sync fchown(fd: i32, owner: u32, group: u32) = super::attr::fchown, Full, "";
    94 sync lchown(path: UserPath, owner: u32, group: u32) = super::attr::lchown, Full, "";
    95 sync umask(mask: u32) = super::dir::umask, Full, "";
    132 sync utime(path: UserPath, times: UserPtr<[i64; 2]>) = super::attr::utime, Full, "";
    133 sync mknod(path: UserPath, mode: u32, dev: u64) = super::dir::mknod, Full, "";
    137 sync statfs(path: UserPath, buf: UserPtr<Statfs>) = super::attr::statfs, Full, "";
    138 sync fstatfs(fd: i32, buf: UserPtr<Statfs>) = super::attr::fstatfs, Full, "";
    162 sync sync() = super::mount::sync, Full, "";
    165 sync mount(source: UserPath, target: UserPath, fstype: UserPath, flags: u64, data: UserAddr) = super::mount::mount, Partial, "one namespace, no propagation";
    166 sync umount2(target: UserPath, flags: u32) = super::mount::umount2, Partial, "no MNT_EXPIRE";
    161 sync chroot(path: UserPath) = super::dir::chroot, Full, "";
    188 sync setxattr(path: UserPath, name: UserPath, value: UserAddr, size: usize, flags: u32) = super::xattr::setxattr, Full, "";
    189 sync lsetxattr(path: UserPath, name: UserPath, value: UserAddr, size: usize, flags: u32) = super::xattr::lsetxattr, Full, "";
    190 sync fsetxattr(fd: i32, name: UserPath, value: UserAddr, size: usize, flags: u32) = super::xattr::fsetxattr, Full, "";
    191 sync getxattr(path: UserPath, name: UserPath, value: UserAddr, size: usize) = super::xattr::getxattr, Full, "";
    192 sync lgetxattr(path: UserPath, name: UserPath, value: UserAddr, size: usize) = super::xattr::lgetxattr, Full, "";
    193 sync fgetxattr(fd: i32, name: UserPath, value: UserAddr, size: usize) = super::xattr::fgetxattr, Full, "";
    194 sync listxattr(path: UserPath, list: UserAddr, size: usize) = super::xattr::listxattr, Full, "";
    195 sync llistxattr(path: UserPath, list: UserAddr, size: usize) = super::xattr::llistxattr, Full, "";
    196 sync flistxattr(fd: i32, list: UserAddr, size: usize) = super::xattr::flistxattr, Full, "";
    197 sync removexattr(path: UserPath, name: UserPath) = super::xattr::removexattr, Full, "";
    198 sync lremovexattr(path: UserPath, name: UserPath) = super::xattr::lremovexattr, Full, "";
    199 sync fremovexattr(fd: i32, name: UserPath) = super::xattr::fremovexattr, Full, "";
    217 sync getdents64(fd: i32, dirp: UserAddr, count: u32) = super::dir::getdents64, Full, "";
    235 sync utimes(path: UserPath, times: UserPtr<[Timeval; 2]>) = super::attr::utimes, Full, "";
    258 sync mkdirat(dirfd: i32, path: UserPath, mode: u32) = super::dir::mkdirat, Full, "";
    259 sync mknodat(dirfd: i32, path: UserPath, mode: u32, dev: u64) = super::dir::mknodat, Full, "";
    260 sync fchownat(dirfd: i32, path: UserPath, owner: u32, group: u32, flags: u32) = super::attr::fchownat, Full, "";
    261 sync futimesat(dirfd: i32, path: UserPath, times: UserPtr<[Timeval; 2]>) = super::attr::futimesat, Full, "";
    262 sync newfstatat(dirfd: i32, path: UserPath, statbuf: UserPtr<Stat>, flags: u32) = super::attr::newfstatat, Full, "";
    263 sync unlinkat(dirfd: i32, path: UserPath, flags: u32) = super::dir::unlinkat, Full, "";
    264 sync renameat(olddirfd: i32, old: UserPath, newdirfd: i32, new: UserPath) = super::dir::renameat, Full, "";
    265 sync linkat(olddirfd: i32, old: UserPath, newdirfd: i32, new: UserPath, flags: u32) = super::dir::linkat, Full, "";
    266 sync symlinkat(target: UserPath, dirfd: i32, path: UserPath) = super::dir::symlinkat, Full, "";
    267 sync readlinkat(dirfd: i32, path: UserPath, buf: UserAddr, size: i32) = super::dir::readlinkat, Full, "";
    268 sync fchmodat(dirfd: i32, path: UserPath, mode: u32) = super::attr::fchmodat, Full, "";
    269 sync faccessat(dirfd: i32, path: UserPath, mode: u32) = super::attr::faccessat, Full, "";
    280 sync utimensat(dirfd: i32, path: UserPath, times: UserPtr<[Timespec; 2]>, flags: u32) = super::attr::utimensat, Full, "";
    303 sync name_to_handle_at(dirfd: i32, path: UserPath, handle: UserAddr, mount_id: UserAddr, flags: u32) = super::mount::name_to_handle_at, Refused, "EOPNOTSUPP";
    306 sync syncfs(fd: i32) = super::mount::syncfs, Full, "";
    316 sync renameat2(olddirfd: i32, old: UserPath, newdirfd: i32, new: UserPath, flags: u32) = super::dir::renameat2, Partial, "no RENAME_WHITEOUT";
    326 async copy_file_range(input: i32, in_offset: UserPtr<i64>, out: i32, out_offset: UserPtr<i64>, len: usize, flags: u32) = super::splice::copy_file_range, Full, "copies";
    332 sync statx(dirfd: i32, path: UserPath, flags: u32, mask: u32, statxbuf: UserPtr<Statx>) = super::attr::statx, Full, "";
    439 sync faccessat2(dirfd: i32, path: UserPath, mode: u32, flags: u32) = super::attr::faccessat2, Full, "";
    452 sync fchmodat2(dirfd: i32, path: UserPath, mode: u32, flags: u32) = super::attr::fchmodat2, Full, "";
    463 sync setxattrat(dirfd: i32, path: UserPath, flags: u32, name: UserPath, args: UserAddr, size: usize) = super::xattr::setxattrat, Full, "";
    464 sync getxattrat(dirfd: i32, path: UserPath, flags: u32, name: UserPath, args: UserAddr, size: usize) = super::xattr::getxattrat, Full, "";
    465 sync listxattrat(dirfd: i32, path: UserPath, flags: u32, list: UserAddr, size: usize) = super::xattr::listxattrat, Full, "";
    466 sync removexattrat(dirfd: i32, path: UserPath, flags: u32, name: UserPath) = super::xattr::removexattrat, Full, "";

    // --- pipes, events, poll ---
    7 async poll(fds: UserAddr, nfds: u32, timeout: i32) = super::polling::poll, Full, "";
    23 async select(n: i32, readfds: UserAddr, writefds: UserAddr, exceptfds: UserAddr, timeout: UserPtr<Timeval>) = super::polling::select, Full, "";
    270 async pselect6(n: i32, readfds: UserAddr, writefds: UserAddr, exceptfds: UserAddr, timeout: UserPtr<Timespec>, sigmask: UserPtr<[u64; 2]>) = super::polling::pselect6, Full, "";
    271 async ppoll(fds: UserAddr, nfds: u32, timeout: UserPtr<Timespec>, sigmask: UserPtr<u64>, size: usize) = super::polling::ppoll, Full, "";
    213 sync epoll_create(size: i32) = super::events::epoll_create, Full, "";
    232 async epoll_wait(epfd: i32, events: UserPtr<EpollEvent>, maxevents: i32, timeout: i32) = super::events::epoll_wait, Full, "";
    233 sync epoll_ctl(epfd: i32, op: i32, fd: i32, event: UserPtr<EpollEvent>) = super::events::epoll_ctl, Full, "";
    281 async epoll_pwait(epfd: i32, events: UserPtr<EpollEvent>, maxevents: i32, timeout: i32, sigmask: UserPtr<u64>, size: usize) = super::events::epoll_pwait, Full, "";
    283 sync timerfd_create(clock: i32, flags: u32) = super::events::timerfd_create, Full, "";
    284 sync eventfd(initval: u32) = super::events::eventfd, Full, "";
    286 sync timerfd_settime(fd: i32, flags: u32, new: UserPtr<Itimerspec>, old: UserPtr<Itimerspec>) = super::events::timerfd_settime, Full, "";
    287 sync timerfd_gettime(fd: i32, value: UserPtr<Itimerspec>) = super::events::timerfd_gettime, Full, "";
    253 sync inotify_init() = super::events::inotify_init, Full, "";
    254 sync inotify_add_watch(fd: i32, path: UserPath, mask: Flags) = super::events::inotify_add_watch, Partial, "no IN_UNMOUNT";
    255 sync inotify_rm_watch(fd: i32, wd: i32) = super::events::inotify_rm_watch, Full, "";
    294 sync inotify_init1(flags: u32) = super::events::inotify_init1, Full, "";
    290 sync eventfd2(initval: u32, flags: u32) = super::events::eventfd2, Full, "";
    291 sync epoll_create1(flags: u32) = super::events::epoll_create1, Full, "";
    441 async epoll_pwait2(epfd: i32, events: UserPtr<EpollEvent>, maxevents: i32, timeout: UserPtr<Timespec>, sigmask: UserPtr<u64>, size: usize) = super::events::epoll_pwait2, Full, "";

    // --- memory ---
    9 sync mmap(addr: u64, length: u64, prot: u32, flags: u32, fd: i32, offset: u64) = super::memory::mmap, Partial, "no huge pages";
    10 sync mprotect(addr: u64, len: u64, prot: u32) = super::memory::mprotect, Full, "";
    11 sync munmap(addr: u64, length: u64) = super::memory::munmap, Full, "";
    12 sync brk(addr: u64) = super::memory::brk, Full, "";
    25 sync mremap(old: u64, old_size: u64, new_size: u64, flags: u32, new: u64) = super::memory::mremap, Full, "";
    26 sync msync(addr: u64, length: u64, flags: u32) = super::memory::msync, Full, "";
    27 sync mincore(addr: u64, length: u64, vec: UserAddr) = super::memory::mincore, Partial, "pages of files count as resident";
    28 sync madvise(addr: u64, length: u64, advice: u32) = super::memory::madvise, Partial, "pages are not merged";
    149 sync mlock(addr: u64, len: u64) = super::memory::mlock, Partial, "accounted, not pinned";
    150 sync munlock(addr: u64, len: u64) = super::memory::munlock, Full, "";
    151 sync mlockall(flags: u32) = super::memory::mlockall, Partial, "accounted, not pinned";
    152 sync munlockall() = super::memory::munlockall, Full, "";
    325 sync mlock2(addr: u64, len: u64, flags: u32) = super::memory::mlock2, Partial, "accounted, not pinned";
    329 sync pkey_mprotect(addr: u64, len: u64, prot: u32, pkey: i32) = super::memory::pkey_mprotect, Full, "as without protection keys";
    330 sync pkey_alloc(flags: u64, rights: u64) = super::memory::pkey_alloc, Full, "as without protection keys";
    331 sync pkey_free(pkey: i32) = super::memory::pkey_free, Full, "as without protection keys";

    // --- processes and threads ---
    39 sync getpid() = super::process::getpid, Full, "";
    56 async clone(flags: u64, stack: u64, parent_tid: UserAddr, child_tid: UserAddr, tls: u64) = super::process::clone, Partial, "no namespaces";
    57 async fork() = super::process::fork, Full, "";
    58 async vfork() = super::process::vfork, Full, "";
    59 async execve(path: UserPath, argv: UserAddr, envp: UserAddr) = super::process::execve, Full, "";
    60 sync exit(status: i32) = super::process::exit, Full, "";
    61 async wait4(pid: i32, status: UserPtr<i32>, options: u32, rusage: UserPtr<Rusage>) = super::process::wait4, Partial, "CPU time and memory only";
    109 sync setpgid(pid: i32, pgid: i32) = super::process::setpgid, Full, "";
    110 sync getppid() = super::process::getppid, Full, "";
    111 sync getpgrp() = super::process::getpgrp, Full, "";
    112 sync setsid() = super::process::setsid, Full, "";
    121 sync getpgid(pid: i32) = super::process::getpgid, Full, "";
    124 sync getsid(pid: i32) = super::process::getsid, Full, "";
    157 sync prctl(option: i32, arg2: u64, arg3: u64, arg4: u64, arg5: u64) = super::prctl::prctl, Partial, "common options";
    158 sync arch_prctl(code: i32, addr: u64) = super::process::arch_prctl, Full, "";
    186 sync gettid() = super::process::gettid, Full, "";
    202 async futex(uaddr: UserAddr, op: u32, val: u32, timeout: u64, uaddr2: UserAddr, val3: u32) = super::process::futex, Partial, "no priority inheritance";
    218 sync set_tid_address(tidptr: UserAddr) = super::process::set_tid_address, Full, "";
    231 sync exit_group(status: i32) = super::process::exit_group, Full, "";
    247 async waitid(idtype: i32, id: i32, infop: UserAddr, options: u32, rusage: UserPtr<Rusage>) = super::process::waitid, Partial, "CPU time and memory only";
    273 sync set_robust_list(head: UserAddr, len: usize) = super::process::set_robust_list, Full, "";
    274 sync get_robust_list(pid: i32, head: UserPtr<u64>, len: UserPtr<u64>) = super::others::get_robust_list, Full, "";
    272 sync unshare(flags: u64) = super::others::unshare, Partial, "no namespaces";
    310 sync process_vm_readv(pid: i32, local: UserAddr, locals: u64, remote: UserAddr, remotes: u64, flags: u64) = super::others::process_vm_readv, Full, "";
    311 sync process_vm_writev(pid: i32, local: UserAddr, locals: u64, remote: UserAddr, remotes: u64, flags: u64) = super::others::process_vm_writev, Full, "";
    312 sync kcmp(pid1: i32, pid2: i32, kind: i32, idx1: u64, idx2: u64) = super::others::kcmp, Partial, "no KCMP_EPOLL_TFD";
    322 async execveat(dirfd: i32, path: UserPath, argv: UserAddr, envp: UserAddr, flags: u32) = super::process::execveat, Full, "";
    435 async clone3(args: UserAddr, size: usize) = super::process::clone3, Partial, "no namespaces";

    // --- signals ---
    13 sync rt_sigaction(signum: i32, act: UserPtr<Sigaction>, oldact: UserPtr<Sigaction>, size: usize) = super::signals::rt_sigaction, Full, "";
    14 sync rt_sigprocmask(how: i32, set: UserPtr<u64>, oldset: UserPtr<u64>, size: usize) = super::signals::rt_sigprocmask, Full, "";
    15 async rt_sigreturn() = super::signals::rt_sigreturn, Full, "";
    34 async pause() = super::signals::pause, Full, "";
    62 sync kill(pid: i32, sig: i32) = super::signals::kill, Full, "";
    127 sync rt_sigpending(set: UserAddr, size: usize) = super::signals::rt_sigpending, Full, "";
    128 async rt_sigtimedwait(set: UserPtr<u64>, info: UserPtr<Siginfo>, timeout: UserPtr<Timespec>, size: usize) = super::signals::rt_sigtimedwait, Full, "";
    129 sync rt_sigqueueinfo(pid: i32, sig: i32, info: UserPtr<Siginfo>) = super::signals::rt_sigqueueinfo, Full, "";
    130 async rt_sigsuspend(mask: UserPtr<u64>, size: usize) = super::signals::rt_sigsuspend, Full, "";
    131 sync sigaltstack(ss: UserPtr<SigStack>, old: UserPtr<SigStack>) = super::signals::sigaltstack, Full, "";
    200 sync tkill(tid: i32, sig: i32) = super::signals::tkill, Full, "";
    234 sync tgkill(tgid: i32, tid: i32, sig: i32) = super::signals::tgkill, Full, "";
    297 sync rt_tgsigqueueinfo(tgid: i32, tid: i32, sig: i32, info: UserPtr<Siginfo>) = super::signals::rt_tgsigqueueinfo, Full, "";
    282 sync signalfd(fd: i32, mask: UserPtr<u64>, size: usize) = super::pidfd::signalfd, Partial, "ready for the thread that made it";
    289 sync signalfd4(fd: i32, mask: UserPtr<u64>, size: usize, flags: u32) = super::pidfd::signalfd4, Partial, "ready for the thread that made it";
    424 sync pidfd_send_signal(pidfd: i32, sig: i32, info: UserPtr<Siginfo>, flags: u32) = super::pidfd::pidfd_send_signal, Full, "";
    434 sync pidfd_open(pid: i32, flags: u32) = super::pidfd::pidfd_open, Full, "";
    438 sync pidfd_getfd(pidfd: i32, targetfd: i32, flags: u32) = super::pidfd::pidfd_getfd, Full, "";

    // --- time ---
    35 async nanosleep(req: UserPtr<Timespec>, rem: UserAddr) = super::time::nanosleep, Full, "";
    96 sync gettimeofday(tv: UserPtr<Timeval>, tz: UserPtr<Timezone>) = super::time::gettimeofday, Full, "";
    100 sync times(buf: UserPtr<Tms>) = super::time::times, Full, "";
    201 sync time(tloc: UserPtr<i64>) = super::time::time, Full, "";
    219 async restart_syscall() = super::time::restart_syscall, Full, "";
    227 sync clock_settime(clock: i32, tp: UserPtr<Timespec>) = super::time::clock_settime, Full, "";
    228 sync clock_gettime(clock: i32, tp: UserPtr<Timespec>) = super::time::clock_gettime, Full, "";
    229 sync clock_getres(clock: i32, res: UserPtr<Timespec>) = super::time::clock_getres, Full, "";
    230 async clock_nanosleep(clock: i32, flags: u32, req: UserPtr<Timespec>, rem: UserAddr) = super::time::clock_nanosleep, Full, "";
    36 sync getitimer(which: i32, value: UserPtr<Itimerval>) = super::timers::getitimer, Full, "";
    37 sync alarm(seconds: u32) = super::timers::alarm, Full, "";
    38 sync setitimer(which: i32, new: UserPtr<Itimerval>, old: UserPtr<Itimerval>) = super::timers::setitimer, Full, "";
    222 sync timer_create(clock: i32, event: UserPtr<Sigevent>, id: UserPtr<i32>) = super::timers::timer_create, Partial, "CPU clocks are those of the process";
    223 sync timer_settime(id: i32, flags: u32, new: UserPtr<Itimerspec>, old: UserPtr<Itimerspec>) = super::timers::timer_settime, Full, "";
    224 sync timer_gettime(id: i32, value: UserPtr<Itimerspec>) = super::timers::timer_gettime, Full, "";
    225 sync timer_getoverrun(id: i32) = super::timers::timer_getoverrun, Full, "";
    226 sync timer_delete(id: i32) = super::timers::timer_delete, Full, "";

    // --- credentials and limits ---
    97 sync getrlimit(resource: usize, rlim: UserPtr<Rlimit>) = super::system::getrlimit, Full, "";
    98 sync getrusage(who: i32, usage: UserPtr<Rusage>) = super::system::getrusage, Partial, "CPU time and memory only";
    102 sync getuid() = super::system::getuid, Full, "";
    104 sync getgid() = super::system::getgid, Full, "";
    105 sync setuid(uid: u32) = super::system::setuid, Full, "";
    106 sync setgid(gid: u32) = super::system::setgid, Full, "";
    107 sync geteuid() = super::system::geteuid, Full, "";
    108 sync getegid() = super::system::getegid, Full, "";
    113 sync setreuid(ruid: u32, euid: u32) = super::system::setreuid, Full, "";
    114 sync setregid(rgid: u32, egid: u32) = super::system::setregid, Full, "";
    115 sync getgroups(size: i32, list: UserAddr) = super::system::getgroups, Full, "";
    116 sync setgroups(size: usize, list: UserAddr) = super::system::setgroups, Full, "";
    117 sync setresuid(ruid: u32, euid: u32, suid: u32) = super::system::setresuid, Full, "";
    118 sync getresuid(ruid: UserPtr<u32>, euid: UserPtr<u32>, suid: UserPtr<u32>) = super::system::getresuid, Full, "";
    119 sync setresgid(rgid: u32, egid: u32, sgid: u32) = super::system::setresgid, Full, "";
    120 sync getresgid(rgid: UserPtr<u32>, egid: UserPtr<u32>, sgid: UserPtr<u32>) = super::system::getresgid, Full, "";
    122 sync setfsuid(uid: u32) = super::system::setfsuid, Full, "";
    123 sync setfsgid(gid: u32) = super::system::setfsgid, Full, "";
    125 sync capget(header: UserPtr<CapHeader>, data: UserPtr<CapData>) = super::system::capget, Full, "";
    126 sync capset(header: UserPtr<CapHeader>, data: UserPtr<CapData>) = super::system::capset, Full, "";
    160 sync setrlimit(resource: usize, rlim: UserPtr<Rlimit>) = super::system::setrlimit, Full, "";
    302 sync prlimit64(pid: i32, resource: usize, new: UserPtr<Rlimit>, old: UserPtr<Rlimit>) = super::system::prlimit64, Full, "";

    // --- sockets ---
    41 sync socket(domain: i32, kind: u32, protocol: i32) = super::socket::socket, Partial, "unix, loopback TCP and UDP, NETLINK_ROUTE, NETLINK_KOBJECT_UEVENT without events";
    42 async connect(sockfd: i32, addr: SockAddr, addrlen: i32) = super::socket::connect, Full, "";
    43 async accept(sockfd: i32, addr: SockAddr, addrlen: UserPtr<i32>) = super::socket::accept, Full, "";
    44 async sendto(sockfd: i32, buf: UserAddr, len: usize, flags: Flags, addr: SockAddr, addrlen: i32) = super::message::sendto, Full, "";
    45 async recvfrom(sockfd: i32, buf: UserAddr, len: usize, flags: Flags, addr: SockAddr, addrlen: UserPtr<i32>) = super::message::recvfrom, Full, "";
    46 async sendmsg(sockfd: i32, msg: UserPtr<Msghdr>, flags: Flags) = super::message::sendmsg, Full, "";
    47 async recvmsg(sockfd: i32, msg: UserPtr<Msghdr>, flags: Flags) = super::message::recvmsg, Full, "";
    48 sync shutdown(sockfd: i32, how: i32) = super::socket::shutdown, Full, "";
    49 sync bind(sockfd: i32, addr: SockAddr, addrlen: i32) = super::socket::bind, Full, "";
    50 sync listen(sockfd: i32, backlog: i32) = super::socket::listen, Full, "";
    51 sync getsockname(sockfd: i32, addr: SockAddr, addrlen: UserPtr<i32>) = super::socket::getsockname, Full, "";
    52 sync getpeername(sockfd: i32, addr: SockAddr, addrlen: UserPtr<i32>) = super::socket::getpeername, Full, "";
    53 sync socketpair(domain: i32, kind: u32, protocol: i32, fds: UserAddr) = super::socket::socketpair, Full, "";
    54 sync setsockopt(sockfd: i32, level: i32, name: i32, value: UserAddr, len: i32) = super::socket::setsockopt, Partial, "common options";
    55 sync getsockopt(sockfd: i32, level: i32, name: i32, value: UserAddr, len: UserPtr<i32>) = super::socket::getsockopt, Partial, "common options";
    288 async accept4(sockfd: i32, addr: SockAddr, addrlen: UserPtr<i32>, flags: u32) = super::socket::accept4, Full, "";
    299 async recvmmsg(sockfd: i32, messages: UserPtr<Mmsghdr>, count: u32, flags: Flags, timeout: UserPtr<Timespec>) = super::message::recvmmsg, Full, "";
    307 async sendmmsg(sockfd: i32, messages: UserPtr<Mmsghdr>, count: u32, flags: Flags) = super::message::sendmmsg, Full, "";

    // --- System V and POSIX IPC ---
    29 sync shmget(key: i32, size: u64, flags: u32) = super::shm::shmget, Partial, "no huge pages";
    30 sync shmat(shmid: i32, addr: u64, flags: u32) = super::shm::shmat, Full, "";
    31 sync shmctl(shmid: i32, cmd: i32, buf: UserAddr) = super::shm::shmctl, Full, "SHM_LOCK is kept, not pinned";
    67 sync shmdt(addr: u64) = super::shm::shmdt, Full, "";
    64 sync semget(key: i32, nsems: i32, flags: u32) = super::sem::semget, Full, "";
    65 async semop(semid: i32, ops: UserPtr<Sembuf>, nsops: u32) = super::sem::semop, Full, "";
    66 sync semctl(semid: i32, semnum: i32, cmd: i32, arg: u64) = super::sem::semctl, Full, "";
    68 sync msgget(key: i32, flags: u32) = super::msg::msgget, Full, "";
    69 async msgsnd(msqid: i32, message: UserAddr, size: usize, flags: u32) = super::msg::msgsnd, Full, "";
    70 async msgrcv(msqid: i32, buf: UserAddr, size: usize, kind: i64, flags: u32) = super::msg::msgrcv, Full, "";
    71 sync msgctl(msqid: i32, cmd: i32, buf: UserAddr) = super::msg::msgctl, Full, "";
    220 async semtimedop(semid: i32, ops: UserPtr<Sembuf>, nsops: u32, timeout: UserPtr<Timespec>) = super::sem::semtimedop, Full, "";

    // --- the rest ---
    24 async sched_yield() = super::system::sched_yield, Full, "";
    63 sync uname(buf: UserPtr<Utsname>) = super::system::uname, Full, "";
    99 sync sysinfo(info: UserPtr<Sysinfo>) = super::system::sysinfo, Full, "";
    135 sync personality(persona: u32) = super::system::personality, Partial, "kept; only PER_LINUX32 in uname(2) has an effect";
    140 sync getpriority(which: i32, who: i32) = super::sched::getpriority, Full, "";
    141 sync setpriority(which: i32, who: i32, prio: i32) = super::sched::setpriority, Partial, "kept, without effect";
    142 sync sched_setparam(pid: i32, param: UserPtr<i32>) = super::sched::sched_setparam, Partial, "kept, without effect";
    143 sync sched_getparam(pid: i32, param: UserPtr<i32>) = super::sched::sched_getparam, Full, "";
    144 sync sched_setscheduler(pid: i32, policy: i32, param: UserPtr<i32>) = super::sched::sched_setscheduler, Partial, "kept, without effect; no SCHED_DEADLINE";
    145 sync sched_getscheduler(pid: i32) = super::sched::sched_getscheduler, Full, "";
    146 sync sched_get_priority_max(policy: i32) = super::sched::sched_get_priority_max, Full, "";
    147 sync sched_get_priority_min(policy: i32) = super::sched::sched_get_priority_min, Full, "";
    148 sync sched_rr_get_interval(pid: i32, tp: UserPtr<Timespec>) = super::sched::sched_rr_get_interval, Full, "";
    170 sync sethostname(name: UserAddr, len: i32) = super::system::sethostname, Full, "";
    171 sync setdomainname(name: UserAddr, len: i32) = super::system::setdomainname, Full, "";
    203 sync sched_setaffinity(pid: i32, size: usize, mask: UserAddr) = super::sched::sched_setaffinity, Partial, "kept, without effect";
    204 sync sched_getaffinity(pid: i32, size: usize, mask: UserAddr) = super::sched::sched_getaffinity, Full, "";
    251 sync ioprio_set(which: i32, who: i32, ioprio: i32) = super::sched::ioprio_set, Partial, "kept, without effect";
    252 sync ioprio_get(which: i32, who: i32) = super::sched::ioprio_get, Full, "";
    314 sync sched_setattr(pid: i32, attr: UserPtr<SchedAttr>, flags: u32) = super::sched::sched_setattr, Partial, "kept, without effect; no SCHED_DEADLINE";
    315 sync sched_getattr(pid: i32, attr: UserPtr<SchedAttr>, size: u32, flags: u32) = super::sched::sched_getattr, Full, "";
    309 sync getcpu(cpu: UserPtr<u32>, node: UserPtr<u32>) = super::system::getcpu, Partial, "the first CPU of the affinity";
    317 sync seccomp(operation: u32, flags: u32, args: UserAddr) = super::seccomp::seccomp, Partial, "no notifications; SECCOMP_FILTER_FLAG_LOG and _SPEC_ALLOW are accepted, without effect";
    318 sync getrandom(buf: UserAddr, buflen: usize, flags: u32) = super::system::getrandom, Full, "";
}
