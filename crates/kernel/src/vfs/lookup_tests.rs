//! Tests of path resolution.

use super::{Last, lookup, name_of, resolve};
use crate::syscall::{dir, fd};
use crate::testing::{Guest, MemFs, now};
use crate::vfs::{Caching, Path};
use chitin_abi::Errno;
use chitin_abi::fs::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn mkdir(g: &mut Guest, path: &str) {
    let p = g.path(path);
    dir::mkdir(&mut g.cur, p, 0o755).unwrap();
}

fn touch(g: &mut Guest, path: &str) {
    let p = g.path(path);
    let opened = crate::testing::fd(now(fd::creat(&mut g.cur, p, 0o644)));
    fd::close(&mut g.cur, opened).unwrap();
}

fn symlink(g: &mut Guest, target: &str, path: &str) {
    let (t, p) = (g.path(target), g.path(path));
    dir::symlink(&mut g.cur, t, p).unwrap();
}

fn find(g: &Guest, path: &str) -> Result<Path, Errno> {
    lookup(g.cur.task(), AT_FDCWD, path.as_bytes(), Last::Follow)
}

fn scoped(g: &Guest, fd: i32, path: &str, flags: u64) -> Result<String, Errno> {
    let found = resolve(g.cur.task(), fd, path.as_bytes(), Last::Follow, flags)?;
    found.target.map(|p| shown(g, &p)).ok_or(Errno::ENOENT)
}

fn shown(g: &Guest, path: &Path) -> String {
    let root = g.cur.task().fs().root.read().clone();
    String::from_utf8(name_of(g.cur.task(), path, &root).unwrap()).unwrap()
}

fn at(g: &Guest, path: &str) -> Result<String, Errno> {
    find(g, path).map(|p| shown(g, &p))
}

fn open_dir(g: &mut Guest, path: &str) -> i32 {
    let p = g.path(path);
    crate::testing::fd(now(fd::open(&mut g.cur, p, O_RDONLY | O_DIRECTORY, 0)))
}

/// `/a/b/file`, `/a/up -> ..`, `/abs -> /a/b`, `/loop -> loop`.
fn tree() -> Guest {
    let mut g = Guest::new();
    mkdir(&mut g, "/a");
    mkdir(&mut g, "/a/b");
    touch(&mut g, "/a/b/file");
    symlink(&mut g, "..", "/a/up");
    symlink(&mut g, "/a/b", "/abs");
    symlink(&mut g, "loop", "/loop");
    g
}

#[test]
fn components_dots_and_slashes() {
    let g = tree();
    assert_eq!(at(&g, "/").unwrap(), "/");
    assert_eq!(at(&g, "///a//./b/").unwrap(), "/a/b");
    assert_eq!(at(&g, "/a/b/../b/file").unwrap(), "/a/b/file");
    assert_eq!(at(&g, "/../../a/..").unwrap(), "/");
    assert_eq!(at(&g, "a/b").unwrap(), "/a/b");
    assert_eq!(at(&g, "/a/b/file/"), Err(Errno::ENOTDIR));
    assert_eq!(at(&g, "/a/b/file/."), Err(Errno::ENOTDIR));
    assert_eq!(at(&g, "/a/b/file/x"), Err(Errno::ENOTDIR));
    assert_eq!(at(&g, "/nothing/x"), Err(Errno::ENOENT));
    assert_eq!(at(&g, ""), Err(Errno::ENOENT));
    assert_eq!(at(&g, &format!("/{}", "n".repeat(256))), Err(Errno::ENAMETOOLONG));
    assert_eq!(at(&g, &"/a".repeat(2048)), Err(Errno::ENAMETOOLONG));
}

#[test]
fn links_are_followed_up_to_forty() {
    let mut g = tree();
    assert_eq!(at(&g, "/a/up/a/up/abs/file").unwrap(), "/a/b/file");
    assert_eq!(at(&g, "/loop"), Err(Errno::ELOOP));
    symlink(&mut g, "/a/b/file", "/l0");
    for i in 1..=40 {
        symlink(&mut g, &format!("l{}", i - 1), &format!("/l{i}"));
    }
    assert_eq!(at(&g, "/l39").unwrap(), "/a/b/file");
    assert_eq!(at(&g, "/l40"), Err(Errno::ELOOP));
    let task = g.cur.task();
    let itself = lookup(task, AT_FDCWD, b"/abs", Last::NoFollow).unwrap();
    assert_eq!(shown(&g, &itself), "/abs");
    let with_slash = lookup(task, AT_FDCWD, b"/abs/", Last::NoFollow).unwrap();
    assert_eq!(shown(&g, &with_slash), "/a/b");
    let entry = lookup(task, AT_FDCWD, b"/abs/", Last::Entry).unwrap();
    assert_eq!(shown(&g, &entry), "/abs");
}

#[test]
fn the_cache_answers_again_also_that_nothing_is_there() {
    let g = tree();
    let root = find(&g, "/").unwrap();
    let any: &dyn std::any::Any = &*root.mount.fs;
    let fs = any.downcast_ref::<MemFs>().unwrap();
    assert_eq!(at(&g, "/gone"), Err(Errno::ENOENT));
    let before = fs.lookups.load(Ordering::Relaxed);
    assert_eq!(at(&g, "/gone"), Err(Errno::ENOENT));
    assert_eq!(at(&g, "/a/b/file").unwrap(), "/a/b/file");
    assert_eq!(fs.lookups.load(Ordering::Relaxed), before);
    let cached = |p| scoped(&g, AT_FDCWD, p, RESOLVE_CACHED);
    assert_eq!(cached("/a/b").unwrap(), "/a/b");
    assert_eq!(cached("/a/new"), Err(Errno::EAGAIN));
}

#[test]
fn what_may_not_be_cached_is_asked_for_every_time() {
    let mut g = tree();
    mkdir(&mut g, "/proc");
    let fs = MemFs::with_caching(Caching::Never);
    let task = g.cur.task().clone();
    let mount = task.kernel.mounts.detached(fs.clone(), "x", 0);
    task.kernel.mounts.attach(mount, &find(&g, "/proc").unwrap()).unwrap();
    touch(&mut g, "/proc/f");
    let (first, before) = (find(&g, "/proc/f").unwrap(), fs.lookups.load(Ordering::Relaxed));
    assert!(first.same(&find(&g, "/proc/f").unwrap()), "the dentry stays");
    assert_eq!(fs.lookups.load(Ordering::Relaxed), before + 1);
}

#[test]
fn mounts_are_entered_and_left() {
    let mut g = tree();
    let task = g.cur.task().clone();
    let mounts = &task.kernel.mounts;
    let mount = mounts.detached(MemFs::new(), "x", 0);
    mounts.attach(mount.clone(), &find(&g, "/a/b").unwrap()).unwrap();
    assert_eq!(at(&g, "/a/b/file"), Err(Errno::ENOENT));
    mkdir(&mut g, "/a/b/inside");
    assert_eq!(at(&g, "/a/b/inside").unwrap(), "/a/b/inside");
    assert_eq!(at(&g, "/a/b/inside/../../b/..").unwrap(), "/a");
    let no_xdev = |p| scoped(&g, AT_FDCWD, p, RESOLVE_NO_XDEV);
    assert_eq!(no_xdev("/a/b"), Err(Errno::EXDEV));
    assert_eq!(no_xdev("/a").unwrap(), "/a");
    mounts.detach(&mount).unwrap();
    assert_eq!(at(&g, "/a/b/file").unwrap(), "/a/b/file");
}

#[test]
fn openat2_confines_the_walk() {
    let mut g = tree();
    symlink(&mut g, "/b/file", "/a/inner");
    let a = open_dir(&mut g, "/a");
    assert_eq!(scoped(&g, a, "b/file", RESOLVE_BENEATH).unwrap(), "/a/b/file");
    assert_eq!(scoped(&g, a, "b/../b", RESOLVE_BENEATH).unwrap(), "/a/b");
    assert_eq!(scoped(&g, a, "b/../..", RESOLVE_BENEATH), Err(Errno::EXDEV));
    assert_eq!(scoped(&g, a, "up", RESOLVE_BENEATH), Err(Errno::EXDEV));
    assert_eq!(scoped(&g, a, "inner", RESOLVE_BENEATH), Err(Errno::EXDEV));
    assert_eq!(scoped(&g, a, "/b", RESOLVE_BENEATH), Err(Errno::EXDEV));
    assert_eq!(scoped(&g, a, "/b/../../b", RESOLVE_IN_ROOT).unwrap(), "/a/b");
    assert_eq!(scoped(&g, a, "inner", RESOLVE_IN_ROOT).unwrap(), "/a/b/file");
    assert_eq!(scoped(&g, a, "up", RESOLVE_NO_SYMLINKS), Err(Errno::ELOOP));
}

#[test]
fn magic_links_jump() {
    let g = tree();
    let target = find(&g, "/a/b").unwrap();
    let root = find(&g, "/").unwrap();
    let any: &dyn std::any::Any = &*root.mount.fs;
    any.downcast_ref::<MemFs>().unwrap().magic("jump", target);
    assert_eq!(at(&g, "/jump/file").unwrap(), "/a/b/file");
    assert_eq!(scoped(&g, AT_FDCWD, "/jump", RESOLVE_NO_MAGICLINKS), Err(Errno::ELOOP));
    assert_eq!(scoped(&g, AT_FDCWD, "jump", RESOLVE_BENEATH), Err(Errno::EXDEV));
}

#[test]
fn searching_needs_permission() {
    let mut g = tree();
    let p = g.path("/a");
    crate::syscall::attr::chmod(&mut g.cur, p, 0o700).unwrap();
    assert_eq!(at(&g, "/a/b").unwrap(), "/a/b");
    g.become_user(1000);
    assert_eq!(at(&g, "/a").unwrap(), "/a");
    assert_eq!(at(&g, "/a/b"), Err(Errno::EACCES));
    assert_eq!(at(&g, "/a/nothing"), Err(Errno::EACCES));
    assert_eq!(at(&g, "/a/."), Err(Errno::EACCES));
}

#[test]
fn nothing_leaves_a_root_and_removed_files_say_so() {
    let mut g = tree();
    let file = find(&g, "/a/b/file").unwrap();
    let p = g.path("/a");
    dir::chroot(&mut g.cur, p).unwrap();
    assert_eq!(at(&g, "/../../b").unwrap(), "/b");
    assert_eq!(at(&g, "/up/b/..").unwrap(), "/");
    let p = g.path("/b/file");
    dir::unlink(&mut g.cur, p).unwrap();
    assert_eq!(shown(&g, &file), "/b/file (deleted)");
    assert_eq!(at(&g, "/b/file"), Err(Errno::ENOENT));
    assert_eq!(file.mount.fs.caching(), Caching::Always);
    assert!(Arc::strong_count(&file.dentry) >= 1);
}
