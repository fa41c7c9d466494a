//! Tests of names, links, renames, attributes and limits.

use super::*;
use chitin_abi::fs::{RENAME_EXCHANGE, RENAME_NOREPLACE, XATTR_CREATE};
use chitin_kernel::vfs::{DirSink, Inode, IoDst, IoSrc, SetAttr};

#[derive(Default)]
struct Names(Vec<(String, u64)>, usize);

impl DirSink for Names {
    fn entry(&mut self, _ino: u64, next: u64, _d_type: u8, name: &[u8]) -> bool {
        if self.0.len() >= self.1 {
            return false;
        }
        self.0.push((String::from_utf8_lossy(name).into_owned(), next));
        true
    }
}

fn new_fs(options: TmpfsOptions) -> (Arc<GuestMemory>, Arc<dyn FileSystem>) {
    let memory = Arc::new(GuestMemory::new().unwrap());
    (memory.clone(), Tmpfs::new(memory, options))
}

fn node(kind: FileType) -> NewNode {
    NewNode { kind, perm: 0o755, uid: 1, gid: 2, rdev: 0 }
}

fn make(dir: &InodeRef, name: &str, kind: FileType) -> InodeRef {
    dir.as_dir().unwrap().create(name.as_bytes(), &node(kind)).unwrap()
}

fn names(dir: &InodeRef) -> Vec<String> {
    let mut sink = Names(Vec::new(), usize::MAX);
    dir.as_dir().unwrap().list(0, &mut sink).unwrap();
    sink.0.into_iter().map(|n| n.0).collect()
}

fn nlink(inode: &InodeRef) -> u32 {
    inode.attr().unwrap().nlink
}

#[test]
fn names_links_and_counts() {
    let (_memory, fs) = new_fs(TmpfsOptions::default());
    let root = fs.root();
    let dir = root.as_dir().unwrap();
    let file = make(&root, "file", FileType::Regular);
    assert_eq!(dir.create(b"file", &node(FileType::Fifo)).err(), Some(Errno::EEXIST));
    dir.link(b"other", &file).unwrap();
    assert_eq!(nlink(&file), 2);
    let sub = make(&root, "sub", FileType::Directory);
    assert_eq!((nlink(&root), nlink(&sub)), (3, 2));
    assert_eq!(dir.link(b"x", &sub), Err(Errno::EPERM));
    assert_eq!(names(&root), [".", "..", "file", "other", "sub"]);
    dir.unlink(b"file", &file).unwrap();
    assert_eq!(nlink(&file), 1);
    assert_eq!(dir.unlink(b"sub", &sub), Err(Errno::EISDIR));
    make(&sub, "inside", FileType::Socket);
    assert_eq!(dir.rmdir(b"sub", &sub), Err(Errno::ENOTEMPTY));
    let inside = sub.as_dir().unwrap().find(b"inside").unwrap();
    sub.as_dir().unwrap().unlink(b"inside", &inside).unwrap();
    dir.rmdir(b"sub", &sub).unwrap();
    assert_eq!((nlink(&root), nlink(&sub)), (2, 0));
    let dead = sub.as_dir().unwrap().create(b"late", &node(FileType::Regular));
    assert_eq!(dead.err(), Some(Errno::ENOENT));
    let link = dir.symlink(b"link", b"target", (3, 4)).unwrap();
    let a = link.attr().unwrap();
    assert_eq!((a.mode(), a.uid, a.gid, a.size), (0o120_777, 3, 4, 6));
}

#[test]
fn reading_a_directory_goes_on_where_it_was_while_it_changes() {
    let (_memory, fs) = new_fs(TmpfsOptions::default());
    let root = fs.root();
    for i in 0..200 {
        make(&root, &format!("f{i}"), FileType::Regular);
    }
    let dir = root.as_dir().unwrap();
    let (mut pos, mut seen) = (0, Vec::new());
    loop {
        let mut sink = Names(Vec::new(), 7);
        let next = dir.list(pos, &mut sink).unwrap();
        if sink.0.is_empty() {
            break;
        }
        assert_eq!(sink.0.last().unwrap().1, next);
        pos = next;
        // What has been listed goes away, as rm -r does it.
        for (name, _) in sink.0 {
            if name.starts_with('f') {
                let inode = dir.find(name.as_bytes()).unwrap();
                dir.unlink(name.as_bytes(), &inode).unwrap();
            }
            seen.push(name);
        }
    }
    assert_eq!(seen.len(), 202);
    assert_eq!(names(&root), [".", ".."]);
}

#[test]
fn renames() {
    let (_memory, fs) = new_fs(TmpfsOptions::default());
    let root = fs.root();
    let (a, b) = (make(&root, "a", FileType::Directory), make(&root, "b", FileType::Directory));
    let (da, db) = (a.as_dir().unwrap(), b.as_dir().unwrap());
    let sub = make(&a, "sub", FileType::Directory);
    let file = make(&b, "file", FileType::Regular);
    assert_eq!((nlink(&a), nlink(&b)), (3, 2));
    da.rename(b"sub", db, b"moved", 0).unwrap();
    assert_eq!((nlink(&a), nlink(&b)), (2, 3));
    assert_eq!(db.rename(b"file", db, b"moved", 0), Err(Errno::EISDIR));
    assert_eq!(db.rename(b"moved", db, b"file", 0), Err(Errno::ENOTDIR));
    assert_eq!(db.rename(b"file", db, b"moved", RENAME_NOREPLACE), Err(Errno::EEXIST));
    let kept = make(&a, "kept", FileType::Regular);
    da.rename(b"kept", db, b"moved", RENAME_EXCHANGE).unwrap();
    assert_eq!((nlink(&a), nlink(&b)), (3, 2));
    assert!(Arc::ptr_eq(&db.find(b"moved").unwrap(), &kept));
    assert!(Arc::ptr_eq(&da.find(b"kept").unwrap(), &sub));
    db.rename(b"file", db, b"moved", 0).unwrap();
    assert_eq!((nlink(&kept), nlink(&file)), (0, 1));
    assert_eq!(names(&b), [".", "..", "moved"]);
    make(&sub, "x", FileType::Regular);
    make(&root, "c", FileType::Directory);
    let top = root.as_dir().unwrap();
    assert_eq!(top.rename(b"c", da, b"kept", 0), Err(Errno::ENOTEMPTY));
    let (_memory, other) = new_fs(TmpfsOptions::default());
    let foreign = other.root();
    assert_eq!(top.rename(b"c", foreign.as_dir().unwrap(), b"c", 0), Err(Errno::EXDEV));
}

#[test]
fn attributes_and_xattrs() {
    let (_memory, fs) = new_fs(TmpfsOptions::default());
    let root = fs.root();
    let file = make(&root, "file", FileType::Regular);
    let before = file.attr().unwrap();
    file.set_attr(&SetAttr {
        perm: Some(0o4750),
        uid: Some(7),
        size: Some(10),
        ..Default::default()
    })
    .unwrap();
    let after = file.attr().unwrap();
    assert_eq!((after.perm, after.uid, after.gid, after.size), (0o4750, 7, 2, 10));
    let key = |t: chitin_abi::time::Timespec| (t.tv_sec, t.tv_nsec);
    // The clock of files goes in ticks.
    assert!(key(after.mtime) >= key(before.mtime) && key(after.ctime) >= key(after.mtime));
    file.xattr_set(b"user.a", b"1", XATTR_CREATE).unwrap();
    assert_eq!(file.xattr_set(b"user.a", b"1", XATTR_CREATE), Err(Errno::EEXIST));
    assert_eq!(file.xattr_get(b"user.a").unwrap(), b"1");
    assert_eq!(file.xattr_get(b"user.b"), Err(Errno::ENODATA));
    assert_eq!(file.xattr_set(b"system.x", b"", 0), Err(Errno::EOPNOTSUPP));
    let link = root.as_dir().unwrap().symlink(b"l", b"t", (0, 0)).unwrap();
    assert_eq!(link.xattr_set(b"user.a", b"", 0), Err(Errno::EPERM));
    link.xattr_set(b"trusted.a", b"", 0).unwrap();
    assert_eq!(file.xattr_list().unwrap(), [b"user.a".to_vec()]);
    file.xattr_remove(b"user.a").unwrap();
    assert!(file.xattr_list().unwrap().is_empty());
}

#[test]
fn transfers_go_through_kernel_buffers() {
    let (_memory, fs) = new_fs(TmpfsOptions::default());
    let file = Node::create(&Arc::clone(sup_of(&fs)), &node(FileType::Regular)).unwrap();
    let text = vec![5_u8; 300 << 10];
    assert_eq!(file.write_from(&mut IoSrc::kernel(&text), Some(10)).unwrap().1, text.len());
    assert_eq!(file.write_from(&mut IoSrc::kernel(b"end"), None).unwrap(), ((300 << 10) + 13, 3));
    let mut back = vec![1; 400 << 10];
    assert_eq!(file.read_into(&mut IoDst::kernel(&mut back), 0).unwrap(), (300 << 10) + 13);
    assert_eq!((back[9], back[10], &back[(300 << 10) + 10..][..3]), (0, 5, &b"end"[..]));
    assert_eq!(file.fallocate(0x8, 0, 1), Err(Errno::EOPNOTSUPP));
    file.fallocate(3, 0, 4096).unwrap();
    assert_eq!(Inode::read_at(&*file, 4095, &mut back[..2]).unwrap(), 2);
    assert_eq!(&back[..2], &[0, 5]);
}

fn sup_of(fs: &Arc<dyn FileSystem>) -> &Arc<Super> {
    let any: &dyn std::any::Any = &**fs;
    &any.downcast_ref::<Tmpfs>().unwrap().sup
}

#[test]
fn memory_comes_back_and_limits_hold() {
    let options = TmpfsOptions { size: Some(1 << 20), inodes: Some(4), ..Default::default() };
    let (memory, fs) = new_fs(options);
    assert_eq!(fs.options(), "size=1024k,nr_inodes=4");
    let root = fs.root();
    let dir = root.as_dir().unwrap();
    let file = make(&root, "file", FileType::Regular);
    assert_eq!(file.write_at(0, &vec![1; 2 << 20]).unwrap(), 1 << 20);
    assert_eq!(fs.statfs().unwrap().free, 0);
    dir.unlink(b"file", &file).unwrap();
    assert_eq!(fs.statfs().unwrap().free, 0, "it is still open");
    drop(file);
    assert_eq!((fs.statfs().unwrap().free, memory.resident()), (256, 0));
    for i in 0..3 {
        make(&root, &i.to_string(), FileType::Regular);
    }
    assert_eq!(dir.tmpfile(&node(FileType::Regular)).err(), Some(Errno::ENOSPC));
    let zero = dir.find(b"0").unwrap();
    dir.unlink(b"0", &zero).unwrap();
    drop(zero);
    let temp = dir.tmpfile(&node(FileType::Regular)).unwrap();
    assert_eq!(nlink(&temp), 0);
    dir.link(b"named", &temp).unwrap();
    assert_eq!(nlink(&temp), 1);
}

#[test]
fn a_deep_tree_is_taken_apart_without_recursion() {
    let (_memory, fs) = new_fs(TmpfsOptions::default());
    let mut at = fs.root();
    for _ in 0..50_000 {
        at = make(&at, "d", FileType::Directory);
    }
    let sup = sup_of(&fs).clone();
    drop((at, fs));
    assert_eq!(sup.budget.inodes.load(Ordering::Relaxed), 0);
}
