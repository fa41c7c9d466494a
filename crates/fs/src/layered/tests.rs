//! Tests of a tmpfs over a directory of the host.

use super::*;
use crate::hostfs::HostFsOptions;
use crate::hostfs::tests::{Temp, names, walk};
use crate::tmpfs::{Tmpfs, TmpfsOptions};
use chitin_abi::fs::RENAME_EXCHANGE;
use chitin_kernel::vfs::{Attr, FileType, NewNode};
use chitin_usermem::GuestMemory;

struct Fixture {
    temp: Temp,
    memory: Arc<GuestMemory>,
    fs: Arc<dyn FileSystem>,
}

fn fixture(name: &str) -> Fixture {
    let temp = Temp::new(name);
    temp.write("file", "lower");
    temp.write("dir/a", "A");
    temp.write("dir/sub/b", "B");
    std::os::unix::fs::symlink("dir/a", temp.0.join("link")).unwrap();
    std::fs::hard_link(temp.0.join("dir/a"), temp.0.join("dir/a2")).unwrap();
    let memory = Arc::new(GuestMemory::new().unwrap());
    let upper = Tmpfs::new(memory.clone(), TmpfsOptions::default());
    let fs = Layered::new(temp.fs(HostFsOptions::default()), upper).unwrap();
    Fixture { temp, memory, fs }
}

fn node(kind: FileType) -> NewNode {
    NewNode { kind, perm: 0o755, uid: 0, gid: 0, rdev: 0 }
}

fn text(inode: &InodeRef) -> String {
    let mut buf = [0; 100];
    let n = inode.read_at(0, &mut buf).unwrap();
    String::from_utf8_lossy(&buf[..n]).into_owned()
}

fn at(f: &Fixture, path: &str) -> InodeRef {
    walk(&f.fs, path).unwrap()
}

fn ino(inode: &InodeRef) -> (u64, u64) {
    let a = inode.attr().unwrap();
    (a.dev, a.ino)
}

#[test]
fn a_write_copies_up_and_leaves_the_host_alone() {
    let f = fixture("ov-write");
    let file = at(&f, "dir/sub/b");
    let before = file.attr().unwrap();
    assert_eq!(f.memory.resident(), 0);
    assert_eq!(file.write_at(1, b"!").unwrap(), 1);
    assert_eq!(text(&file), "B!");
    assert_eq!(std::fs::read(f.temp.0.join("dir/sub/b")).unwrap(), b"B");
    assert_eq!(ino(&file), (before.dev, before.ino));
    let again = at(&f, "dir/sub/b");
    assert!(Arc::ptr_eq(&file, &again));
    drop((file, again));
    let again = at(&f, "dir/sub/b");
    assert_eq!(ino(&again), (before.dev, before.ino), "the number is remembered");
    assert_eq!(text(&again), "B!");
    assert_eq!(names(&at(&f, "dir/sub")), [".", "..", "b"]);
    assert!(again.xattr_list().unwrap().is_empty());
    assert_eq!(again.xattr_get(ORIGIN), Err(Errno::ENODATA));
}

#[test]
fn attributes_copy_up() {
    let f = fixture("ov-attr");
    let file = at(&f, "file");
    let before = file.attr().unwrap();
    file.set_attr(&SetAttr { perm: Some(0o4711), ..SetAttr::default() }).unwrap();
    let after = file.attr().unwrap();
    assert_eq!((after.perm, after.size, after.nlink), (0o4711, 5, 1));
    assert_eq!(after.mtime.tv_sec, before.mtime.tv_sec);
    assert_eq!(text(&file), "lower");
    file.set_attr(&SetAttr { size: Some(0), ..SetAttr::default() }).unwrap();
    assert_eq!(text(&file), "");
    let link = at(&f, "link");
    link.set_attr(&SetAttr { uid: Some(9), ..SetAttr::default() }).unwrap();
    assert_eq!((link.attr().unwrap().uid, text(&link)), (9, "dir/a".into()));
    let dir = at(&f, "dir");
    let old = dir.attr().unwrap();
    dir.set_attr(&SetAttr { perm: Some(0o700), ..SetAttr::default() }).unwrap();
    assert_eq!((dir.attr().unwrap().perm, dir.attr().unwrap().ino), (0o700, old.ino));
    assert_eq!(names(&dir), [".", "..", "a", "a2", "sub"]);
}

#[test]
fn removed_names_stay_removed() {
    let f = fixture("ov-remove");
    let root = f.fs.root();
    let top = root.as_dir().unwrap();
    top.unlink(b"file", &at(&f, "file")).unwrap();
    assert_eq!(walk(&f.fs, "file").err(), Some(Errno::ENOENT));
    assert_eq!(names(&root), [".", "..", "dir", "link"]);
    let new = top.create(b"file", &node(FileType::Regular)).unwrap();
    assert_eq!((text(&new), new.attr().unwrap().nlink), (String::new(), 1));
    top.unlink(b"file", &new).unwrap();
    assert_eq!(walk(&f.fs, "file").err(), Some(Errno::ENOENT));
    assert_eq!(top.rmdir(b"dir", &at(&f, "dir")), Err(Errno::ENOTEMPTY));
    let (dir, sub) = (at(&f, "dir"), at(&f, "dir/sub"));
    sub.as_dir().unwrap().unlink(b"b", &at(&f, "dir/sub/b")).unwrap();
    dir.as_dir().unwrap().rmdir(b"sub", &sub).unwrap();
    for name in ["a", "a2"] {
        let inode = at(&f, &format!("dir/{name}"));
        dir.as_dir().unwrap().unlink(name.as_bytes(), &inode).unwrap();
    }
    top.rmdir(b"dir", &dir).unwrap();
    // A new directory of that name has nothing of the old one.
    let dir = top.create(b"dir", &node(FileType::Directory)).unwrap();
    assert_eq!(names(&dir), [".", ".."]);
    assert_eq!(names(&at(&f, "dir")), [".", ".."]);
    let dead = sub.as_dir().unwrap().create(b"x", &node(FileType::Regular));
    assert_eq!(dead.err(), Some(Errno::ENOENT));
    assert!(f.temp.0.join("dir/sub/b").exists());
}

#[test]
fn directories_are_renamed_with_what_is_in_them() {
    let f = fixture("ov-rename");
    let root = f.fs.root();
    let top = root.as_dir().unwrap();
    let before = ino(&at(&f, "dir"));
    top.rename(b"dir", top, b"moved", 0).unwrap();
    assert_eq!(walk(&f.fs, "dir").err(), Some(Errno::ENOENT));
    assert_eq!(names(&at(&f, "moved")), [".", "..", "a", "a2", "sub"]);
    assert_eq!(ino(&at(&f, "moved")), before);
    assert_eq!(text(&at(&f, "moved/sub/b")), "B");
    at(&f, "moved/sub/b").write_at(0, b"C").unwrap();
    // A new directory where the old one was is empty, and can be replaced.
    let new = top.create(b"dir", &node(FileType::Directory)).unwrap();
    assert_eq!(names(&new), [".", ".."]);
    top.rename(b"moved", top, b"dir", 0).unwrap();
    assert_eq!(text(&at(&f, "dir/sub/b")), "C");
    assert_eq!(names(&root), [".", "..", "dir", "file", "link"]);
    // Deeper, and over a lower file of the same name.
    let dir = at(&f, "dir");
    let to = dir.as_dir().unwrap();
    top.rename(b"file", to, b"a", 0).unwrap();
    assert_eq!(text(&at(&f, "dir/a")), "lower");
    assert_eq!(names(&dir), [".", "..", "a", "a2", "sub"]);
    top.rename(b"link", to, b"sub", RENAME_EXCHANGE).unwrap();
    assert_eq!(text(&at(&f, "link/b")), "C");
    assert_eq!(text(&at(&f, "dir/sub")), "dir/a");
    assert_eq!(top.rename(b"link", to, b"a", 0), Err(Errno::ENOTDIR));
    assert_eq!(to.rename(b"a", top, b"link", 0), Err(Errno::EISDIR));
}

#[test]
fn lower_hard_links_stay_together() {
    let f = fixture("ov-links");
    let (a, a2) = (at(&f, "dir/a"), at(&f, "dir/a2"));
    assert!(Arc::ptr_eq(&a, &a2));
    a.write_at(0, b"Z").unwrap();
    drop((a, a2));
    let (a, a2) = (at(&f, "dir/a"), at(&f, "dir/a2"));
    assert_eq!((text(&a), text(&a2)), ("Z".into(), "Z".into()));
    assert_eq!((ino(&a), a.attr().unwrap().nlink), (ino(&a2), 2));
    let dir = at(&f, "dir");
    let ops = dir.as_dir().unwrap();
    ops.link(b"a3", &a2).unwrap();
    assert_eq!(a.attr().unwrap().nlink, 3);
    ops.unlink(b"a", &a).unwrap();
    assert_eq!(a2.attr().unwrap().nlink, 2);
    ops.rename(b"a2", ops, b"a4", 0).unwrap();
    assert_eq!(a2.attr().unwrap().nlink, 2);
    assert_eq!(text(&at(&f, "dir/a4")), "Z");
    ops.unlink(b"a3", &a2).unwrap();
    ops.unlink(b"a4", &a2).unwrap();
    assert_eq!(a2.attr().unwrap().nlink, 0);
    drop((a, a2));
    assert_eq!(f.memory.resident(), 0, "its pages are given back");
}

#[test]
fn big_files_are_copied_whole_or_as_far_as_needed() {
    let f = fixture("ov-big");
    let mut big = vec![0_u8; 3 << 20];
    for i in (0..big.len()).step_by(1 << 20) {
        big[i] = 7;
    }
    std::fs::write(f.temp.0.join("big"), &big).unwrap();
    let file = at(&f, "big");
    file.set_attr(&SetAttr { perm: Some(0o600), ..SetAttr::default() }).unwrap();
    let mut back = vec![1; big.len() + 1];
    assert_eq!(file.read_at(0, &mut back).unwrap(), big.len());
    assert_eq!(back[..big.len()], big);
    assert!(f.memory.resident() < 1 << 20, "holes stay holes: {}", f.memory.resident());
    std::fs::write(f.temp.0.join("cut"), &big).unwrap();
    let file = at(&f, "cut");
    file.set_attr(&SetAttr { size: Some(2), ..SetAttr::default() }).unwrap();
    assert_eq!(file.attr().unwrap().size, 2);
    assert_eq!(file.read_at(0, &mut back).unwrap(), 2);
    assert_eq!(back[..2], [7, 0]);
}

#[test]
fn unnamed_files_get_names_and_devices_do_not_look_like_whiteouts() {
    let f = fixture("ov-tmp");
    let root = f.fs.root();
    let top = root.as_dir().unwrap();
    let file = top.tmpfile(&node(FileType::Regular)).unwrap();
    file.write_at(0, b"x").unwrap();
    assert_eq!(file.attr().unwrap().nlink, 0);
    top.link(b"named", &file).unwrap();
    assert!(Arc::ptr_eq(&at(&f, "named"), &file));
    assert_eq!(file.attr().unwrap().nlink, 1);
    assert_eq!(top.create(b"w", &node(FileType::CharDevice)).err(), Some(Errno::EPERM));
    assert_eq!(top.link(b"dirlink", &at(&f, "dir")), Err(Errno::EPERM));
    assert_eq!(top.link(b"file", &file), Err(Errno::EEXIST));
}

#[test]
fn a_new_file_replaces_another() {
    let f = fixture("ov-replace");
    let root = f.fs.root();
    let dir = root.as_dir().unwrap();
    let regular = NewNode { perm: 0o644, ..node(FileType::Regular) };
    for (name, content) in [(&b"config"[..], "old"), (b"config.lock", "new")] {
        let made = dir.create(name, &regular).unwrap();
        made.write_at(0, content.as_bytes()).unwrap();
    }
    dir.rename(b"config.lock", dir, b"config", 0).unwrap();
    assert_eq!(text(&at(&f, "config")), "new");
    // A lower file is replaced likewise, and stays so.
    dir.rename(b"config", dir, b"file", 0).unwrap();
    assert_eq!(text(&at(&f, "file")), "new");
    assert_eq!(names(&root), [".", "..", "dir", "file", "link"]);
}

#[test]
fn a_glance_tells_what_the_inode_would() {
    let f = fixture("ov-glance");
    let dir = at(&f, "dir");
    let dir = dir.as_dir().unwrap();
    let facts = |a: Attr| (a.dev, a.ino, a.mode(), a.nlink, a.size, a.uid, a.mtime.tv_nsec);
    let glance = |name: &[u8]| dir.glance(name).map(|seen| seen.map(|(attr, _)| facts(attr)));
    let seen = glance(b"a").unwrap().expect("nothing stands for it yet");
    let file = at(&f, "dir/a");
    assert_eq!(seen, facts(file.attr().unwrap()));
    assert_eq!(glance(b"a"), Ok(None), "its inode may know better");
    assert_eq!(glance(b"none"), Err(Errno::ENOENT));
    file.write_at(0, b"longer").unwrap();
    drop(file);
    // The other name of what was changed, and what is in the upper tree.
    assert_eq!((glance(b"a"), glance(b"a2")), (Ok(None), Ok(None)));
    dir.create(b"new", &node(FileType::Regular)).unwrap();
    assert_eq!(glance(b"new"), Ok(None));
    dir.unlink(b"new", &at(&f, "dir/new")).unwrap();
    assert_eq!(glance(b"new"), Ok(None));
}
