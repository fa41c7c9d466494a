//! Tests against a directory of the host.

use super::*;
use chitin_abi::fs::O_PATH;
use chitin_kernel::vfs::{DirSink, FileType, IoDst, MapSource, Mappable, NewNode, SetAttr};
use chitin_platform::{AddressSpace, FileHandle, PlatformError, RegisteredFile};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

/// A platform that only counts registrations.
#[derive(Default)]
pub(crate) struct Registry(std::sync::atomic::AtomicUsize);

#[derive(Debug)]
struct Handle;

impl RegisteredFile for Handle {
    fn key(&self) -> u64 {
        0
    }
}

impl Platform for Registry {
    fn name(&self) -> &'static str {
        "registry"
    }
    fn user_range(&self) -> std::ops::Range<u64> {
        0..0
    }
    fn new_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Err(PlatformError::Exhausted)
    }
    fn register_file(&self, _fd: BorrowedFd<'_>) -> Result<FileHandle, PlatformError> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(Arc::new(Handle))
    }
}

/// A fresh directory of the host, removed in the end.
pub(crate) struct Temp(pub(crate) PathBuf);

impl Temp {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("chitin-fs-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn fs(&self, options: HostFsOptions) -> Arc<dyn FileSystem> {
        let flags = i32::try_from(O_PATH).unwrap();
        let dir = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(&self.0);
        HostFs::new(dir.unwrap().into(), Arc::new(Registry::default()), options).unwrap()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn walk(fs: &Arc<dyn FileSystem>, path: &str) -> Result<InodeRef, Errno> {
    let mut at = fs.root();
    for name in path.split('/').filter(|n| !n.is_empty()) {
        at = at.as_dir().ok_or(Errno::ENOTDIR)?.find(name.as_bytes())?;
    }
    Ok(at)
}

pub(crate) struct Names(pub(crate) Vec<String>, pub(crate) usize);

impl DirSink for Names {
    fn entry(&mut self, _ino: u64, _next: u64, _d_type: u8, name: &[u8]) -> bool {
        if self.1 == 0 {
            return false;
        }
        self.1 -= 1;
        self.0.push(String::from_utf8_lossy(name).into_owned());
        true
    }
}

pub(crate) fn names(inode: &InodeRef) -> Vec<String> {
    let mut sink = Names(Vec::new(), usize::MAX);
    inode.as_dir().unwrap().list(0, &mut sink).unwrap();
    sink.0.sort();
    sink.0
}

fn rw() -> HostFsOptions {
    HostFsOptions {
        access: Access::ReadWrite,
        attr_ttl: Duration::ZERO,
        ..HostFsOptions::default()
    }
}

fn open_dirs(fs: &Arc<dyn FileSystem>) -> usize {
    let any: &dyn std::any::Any = &**fs;
    any.downcast_ref::<HostFs>().unwrap().sup.dirs.lock().len()
}

#[test]
fn a_tree_is_read_within_the_descriptor_budget() {
    let temp = Temp::new("budget");
    for i in 0..40 {
        for j in 0..5 {
            temp.write(&format!("d{i}/e{j}/file"), &format!("{i}.{j}"));
        }
    }
    let fs = temp.fs(HostFsOptions { open_dirs: 8, open_files: 4, ..Default::default() });
    let mut held = Vec::new();
    for i in 0..40 {
        for j in 0..5 {
            held.push((walk(&fs, &format!("d{i}/e{j}/file")).unwrap(), format!("{i}.{j}")));
        }
    }
    for (inode, text) in held.iter().rev() {
        let mut buf = [0; 16];
        let n = inode.read_at(0, &mut buf).unwrap();
        assert_eq!(&buf[..n], text.as_bytes());
        assert!(open_dirs(&fs) <= 8);
    }
    // Directories, and files with several names, are the same however they are found.
    let dir = walk(&fs, "d3/e3").unwrap();
    assert!(Arc::ptr_eq(&dir, &walk(&fs, "d3/e3").unwrap()));
    std::fs::hard_link(temp.0.join("d3/e3/file"), temp.0.join("other")).unwrap();
    let (file, other) = (walk(&fs, "d3/e3/file").unwrap(), walk(&fs, "other").unwrap());
    assert!(Arc::ptr_eq(&file, &other));
}

#[test]
fn listing_goes_on_where_it_was() {
    let temp = Temp::new("list");
    for i in 0..500 {
        temp.write(&format!("file-{i:03}"), "");
    }
    let fs = temp.fs(HostFsOptions::default());
    let root = fs.root();
    let mut stream = Vec::new();
    let mut pos = 0;
    loop {
        let mut sink = Names(Vec::new(), 33);
        pos = root.as_dir().unwrap().list(pos, &mut sink).unwrap();
        if sink.0.is_empty() {
            break;
        }
        stream.extend(sink.0);
    }
    stream.sort();
    assert_eq!(stream.len(), 502);
    assert_eq!(stream, names(&root));
}

#[test]
fn masks_hide_files_and_empty_directories() {
    let temp = Temp::new("masks");
    temp.write("home/me/.ssh/id", "secret");
    temp.write("home/me/.netrc", "secret");
    temp.write("home/me/plain", "x");
    let masks = vec![b"/home/me/.ssh".to_vec(), b"/home/me/.netrc".to_vec()];
    let fs = temp.fs(HostFsOptions { masks, ..rw() });
    assert_eq!(walk(&fs, "home/me/.netrc").err(), Some(Errno::ENOENT));
    assert_eq!(walk(&fs, "home/me/.ssh/id").err(), Some(Errno::ENOENT));
    assert_eq!(names(&walk(&fs, "home/me/.ssh").unwrap()), [".", ".."]);
    let me = walk(&fs, "home/me").unwrap();
    assert_eq!(names(&me), [".", "..", ".ssh", "plain"]);
    let new = NewNode { kind: FileType::Regular, perm: 0o600, uid: 0, gid: 0, rdev: 0 };
    let dir = me.as_dir().unwrap();
    assert_eq!(dir.create(b".netrc", &new).err(), Some(Errno::EACCES));
    assert_eq!(dir.rename(b".ssh", dir, b"ssh", 0), Err(Errno::EACCES));
}

#[test]
fn a_read_only_tree_does_not_change() {
    let temp = Temp::new("ro");
    temp.write("file", "x");
    let fs = temp.fs(HostFsOptions::default());
    let root = fs.root();
    let dir = root.as_dir().unwrap();
    let file = walk(&fs, "file").unwrap();
    let new = NewNode { kind: FileType::Regular, perm: 0o600, uid: 0, gid: 0, rdev: 0 };
    assert_eq!(dir.create(b"new", &new).err(), Some(Errno::EROFS));
    assert_eq!(dir.unlink(b"file", &file), Err(Errno::EROFS));
    assert_eq!(file.set_attr(&SetAttr { size: Some(0), ..Default::default() }), Err(Errno::EROFS));
    assert_eq!(file.write_at(0, b"y"), Err(Errno::EROFS));
    assert_eq!(std::fs::read(temp.0.join("file")).unwrap(), b"x");
    for name in [&b".."[..], b".", b"", b"../x", b"/"] {
        assert_eq!(dir.find(name).err(), Some(Errno::EINVAL));
    }
}

#[test]
fn changes_reach_the_host() {
    let temp = Temp::new("rw");
    let fs = temp.fs(rw());
    let root = fs.root();
    let dir = root.as_dir().unwrap();
    let mut new = NewNode { kind: FileType::Regular, perm: 0o666, uid: 0, gid: 0, rdev: 0 };
    let file = dir.create(b"file", &new).unwrap();
    assert_eq!(file.attr().unwrap().perm, 0o666, "no umask of ours");
    assert_eq!(dir.create(b"file", &new).err(), Some(Errno::EEXIST));
    file.write_at(2, b"abc").unwrap();
    assert_eq!(file.attr().unwrap().size, 5);
    file.set_attr(&SetAttr { size: Some(4), perm: Some(0o640), ..Default::default() }).unwrap();
    assert_eq!(std::fs::read(temp.0.join("file")).unwrap(), b"\0\0ab");
    new.kind = FileType::Directory;
    let sub = dir.create(b"sub", &new).unwrap();
    dir.rename(b"file", sub.as_dir().unwrap(), b"moved", 0).unwrap();
    assert_eq!(file.attr().unwrap().perm, 0o640);
    let meta = std::fs::metadata(temp.0.join("sub/moved")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o640);
    dir.link(b"linked", &file).unwrap();
    assert_eq!(file.attr().unwrap().nlink, 2);
    sub.as_dir().unwrap().unlink(b"moved", &file).unwrap();
    assert_eq!(dir.rmdir(b"sub", &sub), Ok(()));
    dir.symlink(b"link", b"to", (0, 0)).unwrap();
    assert_eq!(names(&root), [".", "..", "link", "linked"]);
    new.kind = FileType::CharDevice;
    assert_eq!(dir.create(b"dev", &new).err(), Some(Errno::EPERM));
}

#[test]
fn mappings_register_once_and_end_with_the_file() {
    let temp = Temp::new("map");
    temp.write("file", &"x".repeat(5000));
    let fs = temp.fs(HostFsOptions::default());
    let any: Arc<dyn std::any::Any + Send + Sync> = walk(&fs, "file").unwrap();
    let node = any.downcast::<Node>().unwrap();
    let map = node.map(Access::ReadOnly).unwrap();
    assert!(Arc::ptr_eq(&map, &node.map(Access::ReadOnly).unwrap()));
    let Ok(MapSource::Host { len, .. }) = map.locate(0, 1 << 20, false) else { panic!() };
    assert_eq!(len, 8192);
    let Ok(MapSource::Host { len, .. }) = map.locate(4096, 4096, false) else { panic!() };
    assert_eq!(len, 4096);
    assert_eq!(map.locate(8192, 4096, false).err(), Some(Errno::EFAULT));
    let mut buf = vec![0; 6000];
    assert_eq!(file::read_into(&map, &mut IoDst::kernel(&mut buf), 1).unwrap(), 4999);
    assert_eq!(map.read_at(4999, &mut buf).unwrap(), 1);
}

#[test]
fn a_file_replaced_on_the_host_is_seen_by_the_next_who_opens_it() {
    let temp = Temp::new("replace");
    temp.write("file", "old");
    let fs = temp.fs(HostFsOptions { attr_ttl: Duration::ZERO, ..Default::default() });
    let file = walk(&fs, "file").unwrap();
    let mut buf = [0; 3];
    file.read_at(0, &mut buf).unwrap();
    temp.write("other", "new");
    std::fs::rename(temp.0.join("other"), temp.0.join("file")).unwrap();
    file.attr().unwrap();
    file.read_at(0, &mut buf).unwrap();
    assert_eq!(&buf, b"new");
}

#[test]
fn a_deep_tree_is_walked_and_let_go() {
    let temp = Temp::new("deep");
    let fs = temp.fs(HostFsOptions { open_dirs: 2, ..rw() });
    let new = NewNode { kind: FileType::Directory, perm: 0o755, uid: 0, gid: 0, rdev: 0 };
    let mut at = fs.root();
    for _ in 0..300 {
        at = at.as_dir().unwrap().create(b"d", &new).unwrap();
    }
    assert_eq!(names(&at), [".", ".."]);
}
