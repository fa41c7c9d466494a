//! What the virtual file systems tell of the host: a few named files of its `/proc` and
//! `/sys`, read when somebody asks. Never a path that a guest has chosen.

use chitin_abi::fs::{O_DIRECTORY, O_RDONLY};
use chitin_hostsys::files;
use std::os::fd::{AsFd, OwnedFd};

/// Most bytes of one such file.
const FILE_MAX: usize = 1 << 20;

/// The host's root directory, if it may be looked at.
#[derive(Debug, Default)]
pub struct HostFacts {
    root: Option<OwnedFd>,
}

impl HostFacts {
    /// Reads below `root`; nothing without one.
    #[must_use]
    pub fn new(root: Option<OwnedFd>) -> Self {
        Self { root }
    }

    /// The text of a file, whose path has no leading slash; `None` if it cannot be read.
    pub(crate) fn read(&self, path: &str) -> Option<Vec<u8>> {
        let file = self.open(path, O_RDONLY)?;
        let (mut text, mut piece) = (Vec::new(), [0; 4096]);
        while text.len() < FILE_MAX {
            let n = files::read(file.as_fd(), &mut piece).ok()?;
            if n == 0 {
                break;
            }
            text.extend_from_slice(piece.get(..n)?);
        }
        Some(text)
    }

    /// The names in a directory, sorted.
    pub(crate) fn names(&self, path: &str) -> Vec<Vec<u8>> {
        let Some(dir) = self.open(path, O_RDONLY | O_DIRECTORY) else { return Vec::new() };
        let mut names = Vec::new();
        let mut buffer = files::DirBuffer::default();
        while let Ok(true) = buffer.fill(dir.as_fd()) {
            while let Some(entry) = buffer.entry() {
                names.push(entry.name.to_vec());
                buffer.advance();
            }
        }
        names.retain(|n| !n.starts_with(b"."));
        names.sort();
        names
    }

    fn open(&self, path: &str, flags: u32) -> Option<OwnedFd> {
        let root = self.root.as_ref()?;
        files::open_beneath(root.as_fd(), path.as_bytes(), flags.cast_signed(), 0).ok()
    }
}
