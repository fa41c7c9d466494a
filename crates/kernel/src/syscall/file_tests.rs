//! Tests of the calls on descriptors, data, locks and mounts.

use super::arg::UserPath;
use super::{attr, dir, fd as fds, locks, memfd, mount, rw, splice, xattr};
use crate::cred::Cred;
use crate::error::SysResult;
use crate::testing::{Guest, MemFs, errno, fd, now, waits};
use crate::vfs::FileSystem;
use chitin_abi::Errno;
use chitin_abi::fs::*;
use chitin_abi::signal::{SIGPIPE, SIGXFSZ};
use chitin_abi::task::{RLIMIT_FSIZE, RLIMIT_NOFILE};
use chitin_abi::tty::{FIONBIO, FIONREAD};
use chitin_usermem::{UserAddr, UserPtr};
use std::sync::Arc;

fn open(g: &mut Guest, path: &str, flags: u32) -> i32 {
    let p = g.path(path);
    fd(now(fds::open(&mut g.cur, p, flags, 0o666)))
}

fn new_file(g: &mut Guest) -> i32 {
    open(g, "/f", O_CREAT | O_TRUNC | O_RDWR)
}

fn write(g: &mut Guest, f: i32, text: &str) -> SysResult {
    let buf = g.put(text.as_bytes());
    now(rw::write(&mut g.cur, f, buf, text.len()))
}

fn read(g: &mut Guest, f: i32, len: usize) -> Result<String, Errno> {
    let buf = g.alloc(len);
    match now(rw::read(&mut g.cur, f, buf, len)) {
        Ok(n) => Ok(String::from_utf8(g.bytes(buf, n as usize)).unwrap()),
        other => Err(errno(other)),
    }
}

fn read_at(g: &mut Guest, f: i32, at: i64) -> String {
    let buf = g.alloc(100);
    let n = now(rw::pread64(&mut g.cur, f, buf, 100, at)).unwrap();
    String::from_utf8(g.bytes(buf, n as usize)).unwrap()
}

fn pipe(g: &mut Guest, flags: u32) -> (i32, i32) {
    let out = g.alloc(8);
    fds::pipe2(&mut g.cur, out, flags).unwrap();
    let [r, w] = out.cast::<[i32; 2]>().read(&**g.cur.mm()).unwrap();
    (r, w)
}

fn fcntl(g: &mut Guest, f: i32, cmd: u32, arg: u64) -> SysResult {
    now(fds::fcntl(&mut g.cur, f, cmd, arg))
}

fn pending(g: &Guest, signo: i32) -> bool {
    g.cur.task().signals.lock().pending.set().has(signo)
}

fn null() -> UserPtr<i64> {
    UserPtr::new(UserAddr::NULL)
}

#[test]
fn positions_move_and_holes_read_as_zeroes() {
    let mut g = Guest::new();
    let f = new_file(&mut g);
    assert_eq!(write(&mut g, f, "hello world"), Ok(11));
    assert_eq!(rw::lseek(&mut g.cur, f, 6, SEEK_SET), Ok(6));
    assert_eq!(read(&mut g, f, 100).unwrap(), "world");
    assert_eq!(read(&mut g, f, 100).unwrap(), "");
    assert_eq!(rw::lseek(&mut g.cur, f, -5, SEEK_END), Ok(6));
    assert_eq!(rw::lseek(&mut g.cur, f, -2, SEEK_CUR), Ok(4));
    assert_eq!(rw::lseek(&mut g.cur, f, 3, SEEK_DATA), Ok(3));
    assert_eq!(rw::lseek(&mut g.cur, f, 3, SEEK_HOLE), Ok(11));
    assert_eq!(errno(rw::lseek(&mut g.cur, f, 11, SEEK_DATA)), Errno::ENXIO);
    assert_eq!(errno(rw::lseek(&mut g.cur, f, -1, SEEK_SET)), Errno::EINVAL);
    assert_eq!(errno(rw::lseek(&mut g.cur, f, 0, 9)), Errno::EINVAL);
    assert_eq!(errno(rw::lseek(&mut g.cur, 99, 0, 0)), Errno::EBADF);
    assert_eq!(read_at(&mut g, f, 6), "world");
    rw::ftruncate(&mut g.cur, f, 3).unwrap();
    assert_eq!(read_at(&mut g, f, 0), "hel");
    assert_eq!(errno(rw::ftruncate(&mut g.cur, f, -1)), Errno::EINVAL);
    let ro = open(&mut g, "/f", O_RDONLY);
    assert_eq!(errno(rw::ftruncate(&mut g.cur, ro, 0)), Errno::EINVAL);
    assert_eq!(errno(write(&mut g, ro, "x")), Errno::EBADF);
    let top = open(&mut g, "/", O_RDONLY);
    assert_eq!(read(&mut g, top, 1), Err(Errno::EISDIR));
}

#[test]
fn appending_ignores_the_position() {
    let mut g = Guest::new();
    let f = open(&mut g, "/f", O_CREAT | O_RDWR | O_APPEND);
    write(&mut g, f, "one").unwrap();
    rw::lseek(&mut g.cur, f, 0, SEEK_SET).unwrap();
    write(&mut g, f, "two").unwrap();
    assert_eq!(rw::lseek(&mut g.cur, f, 0, SEEK_CUR), Ok(6));
    let plain = open(&mut g, "/f", O_RDWR);
    let buf = g.put(b"three");
    let iov = g.value(&[buf.0, 5]).addr();
    assert_eq!(now(rw::pwritev2(&mut g.cur, plain, iov, 1, 0, 0, 16)), Ok(5));
    assert_eq!(read_at(&mut g, plain, 0), "onetwothree");
    assert_eq!(now(rw::pwritev2(&mut g.cur, plain, iov, 1, -1, 0, 0)), Ok(5));
    assert_eq!(rw::lseek(&mut g.cur, plain, 0, SEEK_CUR), Ok(5));
    let strange = now(rw::pwritev2(&mut g.cur, plain, iov, 1, 0, 0, 1 << 20));
    assert_eq!(errno(strange), Errno::EOPNOTSUPP);
}

#[test]
fn a_file_ends_at_its_limit() {
    let mut g = Guest::new();
    let f = new_file(&mut g);
    g.cur.task().process.limits.lock()[RLIMIT_FSIZE].cur = 4;
    assert_eq!(write(&mut g, f, "hello"), Ok(4));
    assert!(!pending(&g, SIGXFSZ));
    assert_eq!(errno(write(&mut g, f, "x")), Errno::EFBIG);
    assert!(pending(&g, SIGXFSZ));
    assert_eq!(errno(rw::ftruncate(&mut g.cur, f, 5)), Errno::EFBIG);
    assert_eq!(errno(rw::fallocate(&mut g.cur, f, 0, 0, 5)), Errno::EFBIG);
}

#[test]
fn descriptors_are_the_lowest_free() {
    let mut g = Guest::new();
    let f = new_file(&mut g);
    assert_eq!(f, 0);
    assert_eq!(fd(fds::dup(&mut g.cur, f)), 1);
    assert_eq!(fd(fcntl(&mut g, f, F_DUPFD_CLOEXEC, 10)), 10);
    assert_eq!(fcntl(&mut g, 10, F_GETFD, 0), Ok(1));
    assert_eq!(fcntl(&mut g, 10, F_DUPFD_QUERY, 1), Ok(1));
    assert_eq!(fds::dup2(&mut g.cur, f, 1), Ok(1));
    assert_eq!(fcntl(&mut g, 1, F_GETFD, 0), Ok(0));
    assert_eq!(errno(fds::dup3(&mut g.cur, f, f, 0)), Errno::EINVAL);
    assert_eq!(errno(fds::dup2(&mut g.cur, 50, 50)), Errno::EBADF);
    fds::close(&mut g.cur, 0).unwrap();
    assert_eq!(errno(fds::close(&mut g.cur, 0)), Errno::EBADF);
    assert_eq!(fd(fds::dup(&mut g.cur, 1)), 0);
    g.cur.task().process.limits.lock()[RLIMIT_NOFILE].cur = 2;
    assert_eq!(errno(fds::dup(&mut g.cur, 1)), Errno::EMFILE);
    assert_eq!(errno(fds::dup2(&mut g.cur, 1, 2)), Errno::EBADF);
    assert_eq!(errno(fcntl(&mut g, 1, F_DUPFD, 2)), Errno::EINVAL);
    assert_eq!(fds::close_range(&mut g.cur, 0, u32::MAX, CLOSE_RANGE_CLOEXEC), Ok(0));
    assert_eq!(fcntl(&mut g, 1, F_GETFD, 0), Ok(1));
    assert_eq!(fds::close_range(&mut g.cur, 1, u32::MAX, 0), Ok(0));
    assert_eq!(errno(fcntl(&mut g, 10, F_GETFD, 0)), Errno::EBADF);
}

#[test]
fn flags_are_set_by_fcntl_and_ioctl() {
    let mut g = Guest::new();
    let f = new_file(&mut g);
    write(&mut g, f, "hello").unwrap();
    rw::lseek(&mut g.cur, f, 1, SEEK_SET).unwrap();
    let out = g.value(&1i32);
    assert_eq!(fds::ioctl(&mut g.cur, f, FIONREAD, out.addr().0), Ok(0));
    assert_eq!(out.read(&**g.cur.mm()), Ok(4));
    fds::ioctl(&mut g.cur, f, FIONBIO, out.addr().0).unwrap();
    let all = u64::from(O_RDWR | O_NONBLOCK | O_LARGEFILE);
    assert_eq!(fcntl(&mut g, f, F_GETFL, 0), Ok(all));
    assert_eq!(fcntl(&mut g, f, F_SETFL, u64::from(O_APPEND | O_WRONLY | O_CREAT)), Ok(0));
    assert_eq!(fcntl(&mut g, f, F_GETFL, 0), Ok(u64::from(O_RDWR | O_APPEND | O_LARGEFILE)));
    assert_eq!(errno(fds::ioctl(&mut g.cur, f, 0x5401, 0)), Errno::ENOTTY);
    assert_eq!(errno(fcntl(&mut g, f, F_GETPIPE_SZ, 0)), Errno::EBADF);
    let (r, _w) = pipe(&mut g, 0);
    assert_eq!(fcntl(&mut g, r, F_GETPIPE_SZ, 0), Ok(65_536));
    assert_eq!(errno(rw::lseek(&mut g.cur, r, 0, SEEK_CUR)), Errno::ESPIPE);
}

#[test]
fn pipes_block_and_break() {
    let mut g = Guest::new();
    let (r, w) = pipe(&mut g, 0);
    let buf = g.alloc(8);
    assert!(waits(rw::read(&mut g.cur, r, buf, 8)));
    write(&mut g, w, "abc").unwrap();
    assert_eq!(read(&mut g, r, 8).unwrap(), "abc");
    fcntl(&mut g, r, F_SETFL, u64::from(O_NONBLOCK)).unwrap();
    assert_eq!(read(&mut g, r, 8), Err(Errno::EAGAIN));
    fds::close(&mut g.cur, r).unwrap();
    assert_eq!(errno(write(&mut g, w, "x")), Errno::EPIPE);
    assert!(pending(&g, SIGPIPE));
}

#[test]
fn a_fifo_waits_for_its_other_end() {
    let mut g = Guest::new();
    let p = g.path("/fifo");
    dir::mknod(&mut g.cur, p, S_IFIFO | 0o600, 0).unwrap();
    let p = g.path("/fifo");
    assert!(waits(fds::open(&mut g.cur, p, O_RDONLY, 0)));
    assert_eq!(errno(now(fds::open(&mut g.cur, p, O_WRONLY | O_NONBLOCK, 0))), Errno::ENXIO);
    let r = open(&mut g, "/fifo", O_RDONLY | O_NONBLOCK);
    let w = open(&mut g, "/fifo", O_WRONLY);
    write(&mut g, w, "through").unwrap();
    assert_eq!(read(&mut g, r, 100).unwrap(), "through");
}

#[test]
fn bytes_are_copied_between_files() {
    let mut g = Guest::new();
    let from = new_file(&mut g);
    write(&mut g, from, "0123456789").unwrap();
    let to = open(&mut g, "/to", O_CREAT | O_RDWR);
    let at = g.value(&4i64);
    assert_eq!(now(splice::sendfile(&mut g.cur, to, from, at, 3)), Ok(3));
    assert_eq!(at.read(&**g.cur.mm()), Ok(7));
    assert_eq!(read_at(&mut g, to, 0), "456");
    let (a, b) = (g.value(&0i64), g.value(&1i64));
    let copied = now(splice::copy_file_range(&mut g.cur, from, a, to, b, 100, 0));
    assert_eq!(copied, Ok(10));
    assert_eq!(read_at(&mut g, to, 0), "40123456789");
    let same = now(splice::copy_file_range(&mut g.cur, from, a, from, b, 100, 0));
    assert_eq!(errno(same), Errno::EINVAL);
    let (r, _w) = pipe(&mut g, 0);
    assert_eq!(errno(now(splice::sendfile(&mut g.cur, to, r, null(), 1))), Errno::EINVAL);
}

#[test]
fn splice_loses_nothing() {
    let mut g = Guest::new();
    let f = new_file(&mut g);
    write(&mut g, f, "0123456789").unwrap();
    rw::lseek(&mut g.cur, f, 2, SEEK_SET).unwrap();
    let (r, w) = pipe(&mut g, O_NONBLOCK);
    let (r2, w2) = pipe(&mut g, O_NONBLOCK);
    let run = |g: &mut Guest, a, b, n| now(splice::splice(&mut g.cur, a, null(), b, null(), n, 0));
    assert_eq!(run(&mut g, f, w, 5), Ok(5));
    assert_eq!(now(splice::tee(&mut g.cur, r, w2, 100, 0)), Ok(5));
    assert_eq!(read(&mut g, r2, 100).unwrap(), "23456");
    assert_eq!(run(&mut g, r, w2, 3), Ok(3));
    assert_eq!(read(&mut g, r2, 100).unwrap(), "234");
    fds::close(&mut g.cur, r2).unwrap();
    assert_eq!(errno(run(&mut g, r, w2, 3)), Errno::EPIPE);
    assert_eq!(read(&mut g, r, 100).unwrap(), "56");
    assert_eq!(errno(run(&mut g, r, w2, 3)), Errno::EPIPE);
    assert_eq!(errno(run(&mut g, f, f, 3)), Errno::EINVAL);
    assert_eq!(errno(run(&mut g, r, w, 3)), Errno::EINVAL);
    // A file that takes nothing: the bytes stay in the pipe.
    write(&mut g, w, "rest").unwrap();
    g.cur.task().process.limits.lock()[RLIMIT_FSIZE].cur = 0;
    assert_eq!(errno(run(&mut g, r, f, 3)), Errno::EFBIG);
    assert_eq!(read(&mut g, r, 100).unwrap(), "rest");
}

fn lock(g: &mut Guest, f: i32, cmd: u32, l_type: i16, start: i64, len: i64) -> SysResult {
    let flock = Flock { l_type, l_start: start, l_len: len, ..Flock::default() };
    let arg = g.value(&flock).addr().0;
    fcntl(g, f, cmd, arg)
}

#[test]
fn record_locks_belong_to_descriptions_or_tables() {
    let mut g = Guest::new();
    let (a, b) = (new_file(&mut g), open(&mut g, "/f", O_RDWR));
    lock(&mut g, a, F_OFD_SETLK, F_WRLCK, 0, 10).unwrap();
    assert_eq!(errno(lock(&mut g, b, F_OFD_SETLK, F_RDLCK, 9, 1)), Errno::EAGAIN);
    lock(&mut g, b, F_OFD_SETLK, F_WRLCK, 10, 0).unwrap();
    lock(&mut g, a, F_OFD_SETLK, F_UNLCK, 4, 2).unwrap();
    lock(&mut g, b, F_OFD_SETLK, F_RDLCK, 4, 2).unwrap();
    let flock = Flock { l_type: F_WRLCK, l_start: 5, ..Flock::default() };
    let arg = g.value(&flock);
    fcntl(&mut g, a, F_OFD_GETLK, arg.addr().0).unwrap();
    let found = arg.read(&**g.cur.mm()).unwrap();
    assert_eq!((found.l_type, found.l_start, found.l_len, found.l_pid), (F_RDLCK, 4, 2, -1));
    let arg = g.value(&Flock { l_type: F_WRLCK, l_start: 1, ..Flock::default() });
    let waiting = fds::fcntl(&mut g.cur, b, F_OFD_SETLKW, arg.addr().0);
    assert!(waits(waiting));
    fds::close(&mut g.cur, a).unwrap();
    assert_eq!(lock(&mut g, b, F_OFD_SETLKW, F_WRLCK, 0, 0), Ok(0));
    fds::close(&mut g.cur, b).unwrap();
    // Locks of the table: closing any descriptor of the file drops them.
    let (a, b) = (open(&mut g, "/f", O_RDWR), open(&mut g, "/f", O_RDWR));
    lock(&mut g, a, F_SETLK, F_WRLCK, 0, 0).unwrap();
    lock(&mut g, b, F_SETLK, F_RDLCK, 0, 0).unwrap();
    let c = open(&mut g, "/f", O_RDWR);
    assert_eq!(errno(lock(&mut g, c, F_OFD_SETLK, F_WRLCK, 0, 0)), Errno::EAGAIN);
    fds::close(&mut g.cur, b).unwrap();
    assert_eq!(lock(&mut g, c, F_OFD_SETLK, F_WRLCK, 0, 0), Ok(0));
    let ro = open(&mut g, "/f", O_RDONLY);
    assert_eq!(errno(lock(&mut g, ro, F_SETLK, F_WRLCK, 0, 0)), Errno::EBADF);
    assert_eq!(errno(lock(&mut g, a, F_SETLK, F_RDLCK, -1, 0)), Errno::EINVAL);
}

#[test]
fn flock_is_per_description() {
    let mut g = Guest::new();
    let (a, b) = (new_file(&mut g), open(&mut g, "/f", O_RDWR));
    now(locks::flock(&mut g.cur, a, LOCK_SH)).unwrap();
    now(locks::flock(&mut g.cur, b, LOCK_SH)).unwrap();
    assert_eq!(errno(now(locks::flock(&mut g.cur, a, LOCK_EX | LOCK_NB))), Errno::EAGAIN);
    assert!(waits(locks::flock(&mut g.cur, a, LOCK_EX)));
    let copy = fd(fds::dup(&mut g.cur, b));
    fds::close(&mut g.cur, b).unwrap();
    assert!(waits(locks::flock(&mut g.cur, a, LOCK_EX)), "the copy holds it");
    fds::close(&mut g.cur, copy).unwrap();
    assert_eq!(now(locks::flock(&mut g.cur, a, LOCK_EX)), Ok(0));
    assert_eq!(errno(now(locks::flock(&mut g.cur, a, 3))), Errno::EINVAL);
}

#[test]
fn writing_takes_set_user_id_away() {
    let mut g = Guest::new();
    let f = new_file(&mut g);
    let perm = |g: &mut Guest| {
        let st = g.alloc(size_of::<Stat>()).cast::<Stat>();
        attr::fstat(&mut g.cur, f, st).unwrap();
        st.read(&**g.cur.mm()).unwrap().st_mode & 0o7777
    };
    attr::fchmod(&mut g.cur, f, 0o6755).unwrap();
    write(&mut g, f, "x").unwrap();
    assert_eq!(perm(&mut g), 0o6755, "root may");
    g.become_user(1000);
    write(&mut g, f, "x").unwrap();
    assert_eq!(perm(&mut g), 0o755);
}

#[test]
fn transfers_end_where_memory_ends() {
    let mut g = Guest::new();
    let f = new_file(&mut g);
    write(&mut g, f, "0123456789").unwrap();
    let end = UserAddr(g.end());
    let buf = UserAddr(end.0 - 4);
    assert_eq!(now(rw::pread64(&mut g.cur, f, buf, 10, 0)), Ok(4));
    assert_eq!(g.bytes(buf, 4), b"0123");
    assert_eq!(now(rw::pwrite64(&mut g.cur, f, buf, 10, 5)), Ok(4));
    assert_eq!(errno(now(rw::pread64(&mut g.cur, f, end, 1, 0))), Errno::EFAULT);
    assert_eq!(read_at(&mut g, f, 0), "0123401239");
}

fn register(g: &Guest) {
    let types = &g.cur.task().kernel.filesystems;
    types.register("tmpfs", Box::new(|_| Ok(MemFs::new() as Arc<dyn FileSystem>)));
}

#[test]
fn seals_close_a_memory_file() {
    let mut g = Guest::new();
    let name = g.path("shared");
    assert_eq!(errno(memfd::memfd_create(&mut g.cur, name, 0)), Errno::ENOSYS);
    register(&g);
    let f = fd(memfd::memfd_create(&mut g.cur, name, MFD_ALLOW_SEALING | MFD_CLOEXEC));
    assert_eq!(errno(memfd::memfd_create(&mut g.cur, name, 0x100)), Errno::EINVAL);
    write(&mut g, f, "hello").unwrap();
    let add = |g: &mut Guest, seals: u32| fcntl(g, f, F_ADD_SEALS, u64::from(seals));
    add(&mut g, F_SEAL_GROW).unwrap();
    assert_eq!(errno(write(&mut g, f, "x")), Errno::EPERM);
    assert_eq!(rw::lseek(&mut g.cur, f, 0, SEEK_SET), Ok(0));
    assert_eq!(write(&mut g, f, "HELLO"), Ok(5));
    assert_eq!(errno(rw::ftruncate(&mut g.cur, f, 6)), Errno::EPERM);
    add(&mut g, F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL).unwrap();
    assert_eq!(errno(rw::ftruncate(&mut g.cur, f, 1)), Errno::EPERM);
    rw::lseek(&mut g.cur, f, 0, SEEK_SET).unwrap();
    assert_eq!(errno(write(&mut g, f, "x")), Errno::EPERM);
    assert_eq!(errno(add(&mut g, F_SEAL_EXEC)), Errno::EPERM);
    assert_eq!(fcntl(&mut g, f, F_GET_SEALS, 0), Ok(15));
    let plain = new_file(&mut g);
    assert_eq!(errno(fcntl(&mut g, plain, F_GET_SEALS, 0)), Errno::EINVAL);
    let fixed = fd(memfd::memfd_create(&mut g.cur, name, 0));
    assert_eq!(fcntl(&mut g, fixed, F_GET_SEALS, 0), Ok(1));
}

fn do_mount(g: &mut Guest, source: &str, target: &str, kind: &str, flags: u64) -> SysResult {
    let (s, t, k) = (g.path(source), g.path(target), g.path(kind));
    mount::mount(&mut g.cur, s, t, k, flags, UserAddr::NULL)
}

fn umount(g: &mut Guest, target: &str, flags: u32) -> SysResult {
    let t = g.path(target);
    mount::umount2(&mut g.cur, t, flags)
}

fn call(
    g: &mut Guest,
    f: impl FnOnce(&mut crate::task::CurrentTask, UserPath) -> SysResult,
    path: &str,
) -> SysResult {
    let p = g.path(path);
    f(&mut g.cur, p)
}

fn mkdir(g: &mut Guest, path: &str) -> SysResult {
    call(g, |cur, p| dir::mkdir(cur, p, 0o755), path)
}

fn exists(g: &mut Guest, path: &str) -> bool {
    call(g, |cur, p| attr::access(cur, p, 0), path).is_ok()
}

#[test]
fn file_systems_are_mounted_and_bound() {
    let mut g = Guest::new();
    register(&g);
    for d in ["/m", "/n", "/m/under"] {
        mkdir(&mut g, d).unwrap();
    }
    assert_eq!(errno(do_mount(&mut g, "x", "/m", "nofs", 0)), Errno::ENODEV);
    assert_eq!(errno(do_mount(&mut g, "x", "/gone", "tmpfs", 0)), Errno::ENOENT);
    do_mount(&mut g, "x", "/m", "tmpfs", 0).unwrap();
    assert!(!exists(&mut g, "/m/under"));
    mkdir(&mut g, "/m/a").unwrap();
    do_mount(&mut g, "x", "/m/a", "tmpfs", 0).unwrap();
    mkdir(&mut g, "/m/a/deep").unwrap();
    do_mount(&mut g, "/m", "/n", "", MS_BIND).unwrap();
    assert!(exists(&mut g, "/n/a") && !exists(&mut g, "/n/a/deep"));
    assert_eq!(umount(&mut g, "/n", 0), Ok(0));
    do_mount(&mut g, "/m", "/n", "", MS_BIND | MS_REC).unwrap();
    assert!(exists(&mut g, "/n/a/deep"));
    do_mount(&mut g, "x", "/n", "", MS_BIND | MS_REMOUNT | MS_RDONLY).unwrap();
    assert_eq!(errno(mkdir(&mut g, "/n/b")), Errno::EROFS);
    assert_eq!(mkdir(&mut g, "/m/b"), Ok(0));
    assert_eq!(errno(umount(&mut g, "/n", 0)), Errno::EBUSY);
    assert_eq!(umount(&mut g, "/n", MNT_DETACH), Ok(0));
    assert!(!exists(&mut g, "/n/a"));
    assert_eq!(errno(umount(&mut g, "/n", 0)), Errno::EINVAL);
    assert_eq!(errno(do_mount(&mut g, "/m", "/m/a", "", MS_MOVE)), Errno::ELOOP);
    do_mount(&mut g, "/m", "/n", "", MS_MOVE).unwrap();
    assert!(exists(&mut g, "/n/a/deep") && exists(&mut g, "/m/under"));
    assert_eq!(errno(call(&mut g, dir::rmdir, "/n")), Errno::EBUSY);
    call(&mut g, dir::chdir, "/n/b").unwrap();
    assert_eq!(umount(&mut g, "/n/a", 0), Ok(0));
    assert_eq!(errno(umount(&mut g, "/n", 0)), Errno::EBUSY, "somebody is inside");
    g.become_user(1000);
    assert_eq!(errno(umount(&mut g, "/n", 0)), Errno::EPERM);
    assert_eq!(errno(do_mount(&mut g, "x", "/m", "tmpfs", 0)), Errno::EPERM);
}

#[test]
fn attributes_are_checked_and_shown() {
    let mut g = Guest::with_cred(Cred::for_user(0, 0, vec![]));
    let f = new_file(&mut g);
    let out = g.alloc(size_of::<Statx>()).cast::<Statx>();
    let p = g.path("/f");
    attr::statx(&mut g.cur, AT_FDCWD, p, 0, STATX_ALL, out).unwrap();
    let x = out.read(&**g.cur.mm()).unwrap();
    assert_eq!((x.stx_mode, x.stx_nlink, x.stx_dev_minor), (0o100_644, 1, 77));
    assert_eq!(call(&mut g, |c, p| attr::chown(c, p, 1000, 1000), "/f"), Ok(0));
    assert_eq!(attr::fchmod(&mut g.cur, f, 0o4750), Ok(0));
    g.become_user(1000);
    assert_eq!(errno(call(&mut g, |c, p| attr::chown(c, p, 0, u32::MAX), "/f")), Errno::EPERM);
    assert_eq!(call(&mut g, |c, p| attr::access(c, p, 7), "/f"), Ok(0));
    g.become_user(1001);
    assert_eq!(errno(call(&mut g, |c, p| attr::chmod(c, p, 0o777), "/f")), Errno::EPERM);
    assert_eq!(errno(call(&mut g, |c, p| attr::access(c, p, 4), "/f")), Errno::EACCES);
    assert_eq!(call(&mut g, |c, p| attr::access(c, p, 0), "/f"), Ok(0));
    let none = UserPtr::new(UserAddr::NULL);
    assert_eq!(errno(call(&mut g, |c, p| attr::utimes(c, p, none), "/f")), Errno::EACCES);
    g.become_user(0);
    let times = g.value(&[5i64, 6]);
    call(&mut g, |c, p| attr::utime(c, p, times), "/f").unwrap();
    let st = g.alloc(size_of::<Stat>()).cast::<Stat>();
    attr::fstat(&mut g.cur, f, st).unwrap();
    let st = st.read(&**g.cur.mm()).unwrap();
    assert_eq!((st.st_atime, st.st_mtime, st.st_mode & 0o7777), (5, 6, 0o4750));
    let (name, value) = (g.path("user.x"), g.put(b"v"));
    xattr::fsetxattr(&mut g.cur, f, name, value, 1, 0).unwrap();
    let list = g.alloc(16);
    assert_eq!(xattr::flistxattr(&mut g.cur, f, list, 16), Ok(7));
    assert_eq!(g.bytes(list, 7), b"user.x\0");
    assert_eq!(errno(xattr::flistxattr(&mut g.cur, f, list, 3)), Errno::ERANGE);
    let name = g.path("strange.x");
    assert_eq!(errno(xattr::fgetxattr(&mut g.cur, f, name, list, 3)), Errno::EOPNOTSUPP);
}
