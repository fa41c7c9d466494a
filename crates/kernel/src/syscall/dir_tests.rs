//! Tests of the calls on directories and names.

use super::*;
use crate::syscall::{attr, fd as fds, rw};
use crate::testing::{Guest, errno, fd, now};

fn open(g: &mut Guest, path: &str, flags: u32) -> SysResult {
    let p = g.path(path);
    now(fds::open(&mut g.cur, p, flags, 0o666))
}

fn write(g: &mut Guest, path: &str, text: &str) {
    let f = fd(open(g, path, O_CREAT | O_TRUNC | O_WRONLY));
    let buf = g.put(text.as_bytes());
    assert_eq!(now(rw::write(&mut g.cur, f, buf, text.len())), Ok(text.len() as u64));
    fds::close(&mut g.cur, f).unwrap();
}

fn read(g: &mut Guest, path: &str) -> String {
    let f = fd(open(g, path, O_RDONLY));
    let buf = g.alloc(100);
    let n = now(rw::read(&mut g.cur, f, buf, 100)).unwrap();
    fds::close(&mut g.cur, f).unwrap();
    String::from_utf8(g.bytes(buf, n as usize)).unwrap()
}

fn call1(g: &mut Guest, f: fn(&mut CurrentTask, UserPath) -> SysResult, path: &str) -> SysResult {
    let p = g.path(path);
    f(&mut g.cur, p)
}

fn call2(
    g: &mut Guest,
    f: fn(&mut CurrentTask, UserPath, UserPath) -> SysResult,
    a: &str,
    b: &str,
) -> SysResult {
    let (a, b) = (g.path(a), g.path(b));
    f(&mut g.cur, a, b)
}

fn mk(g: &mut Guest, path: &str) -> SysResult {
    let p = g.path(path);
    mkdir(&mut g.cur, p, 0o777)
}

fn stat(g: &mut Guest, path: &str) -> Result<Stat, Errno> {
    let (p, out) = (g.path(path), g.alloc(size_of::<Stat>()).cast::<Stat>());
    match attr::lstat(&mut g.cur, p, out) {
        Ok(_) => Ok(out.read(&**g.cur.mm()).unwrap()),
        other => Err(errno(other)),
    }
}

fn names(g: &mut Guest, path: &str) -> Vec<String> {
    let f = fd(open(g, path, O_RDONLY | O_DIRECTORY));
    let mut out = Vec::new();
    loop {
        let buf = g.alloc(64);
        let n = getdents64(&mut g.cur, f, buf, 64).unwrap() as usize;
        let mut rest = &g.bytes(buf, n)[..];
        if rest.is_empty() {
            break;
        }
        while !rest.is_empty() {
            let len = usize::from(u16::from_le_bytes([rest[16], rest[17]]));
            let name: Vec<u8> = rest[19..len].iter().copied().take_while(|&b| b != 0).collect();
            out.push(String::from_utf8(name).unwrap());
            rest = &rest[len..];
        }
    }
    fds::close(&mut g.cur, f).unwrap();
    out
}

#[test]
fn directories_come_and_go() {
    let mut g = Guest::new();
    assert_eq!(mk(&mut g, "/d/"), Ok(0));
    assert_eq!(errno(mk(&mut g, "/d")), Errno::EEXIST);
    assert_eq!(errno(mk(&mut g, "/")), Errno::EEXIST);
    assert_eq!(errno(mk(&mut g, "/no/d")), Errno::ENOENT);
    assert_eq!(stat(&mut g, "/d").unwrap().st_mode, S_IFDIR | 0o755);
    for name in ["one", "two", "three"] {
        write(&mut g, &format!("/d/{name}"), name);
    }
    assert_eq!(names(&mut g, "/d"), ["one", "three", "two"]);
    assert_eq!(errno(call1(&mut g, rmdir, "/d")), Errno::ENOTEMPTY);
    assert_eq!(errno(call1(&mut g, rmdir, "/d/.")), Errno::EINVAL);
    assert_eq!(errno(call1(&mut g, rmdir, "/d/..")), Errno::ENOTEMPTY);
    assert_eq!(errno(call1(&mut g, rmdir, "/")), Errno::EBUSY);
    assert_eq!(errno(call1(&mut g, unlink, "/d")), Errno::EISDIR);
    assert_eq!(errno(call1(&mut g, rmdir, "/d/one")), Errno::ENOTDIR);
    assert_eq!(errno(call1(&mut g, unlink, "/d/one/")), Errno::ENOTDIR);
    for name in ["one", "two", "three"] {
        assert_eq!(call1(&mut g, unlink, &format!("/d/{name}")), Ok(0));
    }
    assert_eq!(call1(&mut g, rmdir, "/d"), Ok(0));
    assert_eq!(errno(call1(&mut g, rmdir, "/d")), Errno::ENOENT);
}

#[test]
fn open_creates_truncates_and_refuses() {
    let mut g = Guest::new();
    write(&mut g, "/f", "hello");
    assert_eq!(read(&mut g, "/f"), "hello");
    assert_eq!(errno(open(&mut g, "/f", O_CREAT | O_EXCL | O_RDWR)), Errno::EEXIST);
    assert_eq!(errno(open(&mut g, "/f", O_RDONLY | O_DIRECTORY)), Errno::ENOTDIR);
    assert_eq!(errno(open(&mut g, "/new/", O_CREAT | O_RDWR)), Errno::EISDIR);
    assert_eq!(errno(open(&mut g, "/", O_RDWR)), Errno::EISDIR);
    assert_eq!(errno(open(&mut g, "/f", O_CREAT | O_DIRECTORY)), Errno::EINVAL);
    call2(&mut g, symlink, "target", "/link").unwrap();
    assert_eq!(errno(open(&mut g, "/link", O_RDONLY)), Errno::ENOENT);
    assert_eq!(errno(open(&mut g, "/link", O_RDONLY | O_NOFOLLOW)), Errno::ELOOP);
    assert_eq!(errno(open(&mut g, "/link", O_CREAT | O_EXCL | O_RDWR)), Errno::EEXIST);
    write(&mut g, "/link", "through");
    assert_eq!(read(&mut g, "/target"), "through");
    write(&mut g, "/f", "");
    assert_eq!(read(&mut g, "/f"), "");
    let f = fd(open(&mut g, "/f", O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    assert_eq!(now(fds::fcntl(&mut g.cur, f, F_GETFL, 0)), Ok(0x2_8000));
    let only = fd(open(&mut g, "/f", O_PATH | O_RDWR));
    let buf = g.alloc(1);
    assert_eq!(errno(now(rw::read(&mut g.cur, only, buf, 1))), Errno::EBADF);
    assert_eq!(now(fds::fcntl(&mut g.cur, only, F_GETFL, 0)), Ok(u64::from(O_PATH)));
}

#[test]
fn an_unnamed_file_gets_a_name_by_link() {
    let mut g = Guest::new();
    let f = fd(open(&mut g, "/", O_TMPFILE | O_RDWR));
    let buf = g.put(b"data");
    now(rw::write(&mut g.cur, f, buf, 4)).unwrap();
    assert!(names(&mut g, "/").is_empty());
    let (empty, to) = (g.path(""), g.path("/named"));
    linkat(&mut g.cur, f, empty, AT_FDCWD, to, AT_EMPTY_PATH).unwrap();
    assert_eq!(read(&mut g, "/named"), "data");
    assert_eq!(errno(open(&mut g, "/", O_TMPFILE)), Errno::EINVAL);
}

#[test]
fn rename_replaces_what_it_may() {
    let mut g = Guest::new();
    for d in ["/a", "/b", "/a/sub", "/full", "/full/x"] {
        mk(&mut g, d).unwrap();
    }
    write(&mut g, "/f", "f");
    write(&mut g, "/h", "h");
    assert_eq!(errno(call2(&mut g, rename, "/gone", "/x")), Errno::ENOENT);
    assert_eq!(errno(call2(&mut g, rename, "/a", "/a/sub/x")), Errno::EINVAL);
    assert_eq!(errno(call2(&mut g, rename, "/a/sub", "/a")), Errno::ENOTEMPTY);
    assert_eq!(errno(call2(&mut g, rename, "/a", "/full")), Errno::ENOTEMPTY);
    assert_eq!(errno(call2(&mut g, rename, "/f", "/a")), Errno::EISDIR);
    assert_eq!(errno(call2(&mut g, rename, "/a", "/f")), Errno::ENOTDIR);
    assert_eq!(errno(call2(&mut g, rename, "/f", "/new/")), Errno::ENOTDIR);
    assert_eq!(errno(call2(&mut g, rename, "/a/.", "/x")), Errno::EBUSY);
    assert_eq!(call2(&mut g, rename, "/f", "/f"), Ok(0));
    assert_eq!(call2(&mut g, rename, "/f", "/h"), Ok(0));
    assert_eq!(read(&mut g, "/h"), "f");
    assert_eq!(stat(&mut g, "/f").map(|_| ()), Err(Errno::ENOENT));
    assert_eq!(call2(&mut g, rename, "/a", "/b"), Ok(0));
    assert_eq!(names(&mut g, "/"), ["b", "full", "h"]);
    call1(&mut g, chdir, "/b/sub").unwrap();
    assert_eq!(call2(&mut g, rename, "/b", "/moved/"), Ok(0));
    let out = g.alloc(64);
    let n = getcwd(&mut g.cur, out, 64).unwrap() as usize;
    assert_eq!(g.bytes(out, n), b"/moved/sub\0");
    assert_eq!(errno(getcwd(&mut g.cur, out, n - 1)), Errno::ERANGE);
}

#[test]
fn rename_exchanges_and_keeps() {
    let mut g = Guest::new();
    mk(&mut g, "/d").unwrap();
    write(&mut g, "/d/in", "in");
    write(&mut g, "/f", "f");
    let both = |g: &mut Guest, a: &str, b: &str, flags| {
        let (a, b) = (g.path(a), g.path(b));
        renameat2(&mut g.cur, AT_FDCWD, a, AT_FDCWD, b, flags)
    };
    assert_eq!(errno(both(&mut g, "/f", "/d", RENAME_NOREPLACE)), Errno::EEXIST);
    assert_eq!(errno(both(&mut g, "/f", "/no", RENAME_EXCHANGE)), Errno::ENOENT);
    assert_eq!(errno(both(&mut g, "/d", "/d/in", RENAME_EXCHANGE)), Errno::EINVAL);
    assert_eq!(errno(both(&mut g, "/f", "/d", 3)), Errno::EINVAL);
    assert_eq!(both(&mut g, "/f", "/d", RENAME_EXCHANGE), Ok(0));
    assert_eq!(read(&mut g, "/f/in"), "in");
    assert_eq!(read(&mut g, "/d"), "f");
    assert_eq!(both(&mut g, "/d", "/g", RENAME_NOREPLACE), Ok(0));
    assert_eq!(names(&mut g, "/"), ["f", "g"]);
}

#[test]
fn links_share_the_file() {
    let mut g = Guest::new();
    write(&mut g, "/f", "f");
    mk(&mut g, "/d").unwrap();
    call2(&mut g, link, "/f", "/d/g").unwrap();
    assert_eq!(stat(&mut g, "/d/g").unwrap().st_nlink, 2);
    assert_eq!(call2(&mut g, rename, "/f", "/d/g"), Ok(0));
    assert_eq!(read(&mut g, "/f"), "f", "two names of one file stay");
    assert_eq!(errno(call2(&mut g, link, "/d", "/e")), Errno::EPERM);
    assert_eq!(errno(call2(&mut g, link, "/f", "/d")), Errno::EEXIST);
    assert_eq!(errno(call2(&mut g, link, "/f", "/e/")), Errno::ENOENT);
    call1(&mut g, unlink, "/f").unwrap();
    assert_eq!(stat(&mut g, "/d/g").unwrap().st_nlink, 1);
    call2(&mut g, symlink, "nowhere", "/s").unwrap();
    assert_eq!(errno(mk(&mut g, "/s/")), Errno::EEXIST);
    let (p, out) = (g.path("/s"), g.alloc(100));
    assert_eq!(readlink(&mut g.cur, p, out, 3), Ok(3));
    assert_eq!(g.bytes(out, 4), b"now\0");
    assert_eq!(errno(call1(&mut g, rmdir, "/s/")), Errno::ENOTDIR);
    assert_eq!(call1(&mut g, unlink, "/s"), Ok(0));
}

#[test]
fn a_sticky_directory_protects_its_entries() {
    let mut g = Guest::new();
    mk(&mut g, "/tmp").unwrap();
    let p = g.path("/tmp");
    attr::chmod(&mut g.cur, p, 0o1777).unwrap();
    write(&mut g, "/tmp/f", "f");
    g.become_user(1000);
    write(&mut g, "/tmp/mine", "f");
    assert_eq!(errno(call1(&mut g, unlink, "/tmp/f")), Errno::EPERM);
    assert_eq!(errno(call2(&mut g, rename, "/tmp/mine", "/tmp/f")), Errno::EPERM);
    assert_eq!(errno(open(&mut g, "/tmp/f", O_WRONLY)), Errno::EACCES);
    assert_eq!(errno(mk(&mut g, "/d")), Errno::EACCES);
    assert_eq!(call1(&mut g, unlink, "/tmp/mine"), Ok(0));
}

#[test]
fn a_removed_directory_takes_nothing_new() {
    let mut g = Guest::new();
    mk(&mut g, "/d").unwrap();
    call1(&mut g, chdir, "/d").unwrap();
    call1(&mut g, rmdir, "/d").unwrap();
    assert_eq!(errno(mk(&mut g, "x")), Errno::ENOENT);
    let out = g.alloc(64);
    assert_eq!(errno(getcwd(&mut g.cur, out, 64)), Errno::ENOENT);
}
