//! The vDSO (`vdso(7)`): the platform's image as a file without a name, which every program
//! has mapped. Its calls are patched like those of any file's text; a program that writes to
//! it gets a copy of its own.

use crate::mm::vma::flag;
use crate::mm::{FilePart, MapRequest, Mm, PAGE, Placement, Sharing};
use crate::vfs::{File, FileOps, MapSource, Mappable};
use chitin_abi::Errno;
use chitin_abi::fs::O_RDONLY;
use chitin_platform::{Platform, Populate, Prot};
use chitin_usermem::{Block, GuestMemory};
use std::sync::Arc;

/// The vDSO of a sandbox.
pub struct Vdso {
    file: Arc<File>,
    map: Arc<Image>,
}

/// Its pages.
struct Image {
    bytes: &'static [u8],
    block: Arc<Block>,
}

struct Unnamed(Arc<Image>);

impl Vdso {
    /// The platform's, if it has one and there is memory for it.
    pub(crate) fn new(platform: &dyn Platform, memory: &Arc<GuestMemory>) -> Option<Self> {
        let bytes = platform.vdso()?;
        let block = memory.alloc(bytes.len() as u64).ok()?;
        memory.write(block.offset(), bytes).ok()?;
        let map = Arc::new(Image { bytes, block });
        let file = File::new(Box::new(Unnamed(map.clone())), None, O_RDONLY);
        Some(Self { file, map })
    }

    /// Maps it; returns `AT_SYSINFO_EHDR`.
    pub(super) fn map(&self, mm: &Mm) -> Result<u64, Errno> {
        let len = self.map.size();
        let file = FilePart {
            file: self.file.clone(),
            map: self.map.clone(),
            offset: 0,
            writer: None,
            attached: None,
        };
        mm.map(
            &MapRequest {
                place: Placement::Hint(0),
                len,
                prot: Prot::RX,
                may_write: true,
                sharing: Sharing::Private,
                file: Some(file),
                populate: Populate::Now,
                flags: flag::VDSO,
            },
            u64::MAX,
        )
    }
}

impl FileOps for Unnamed {
    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        Some(self.0.clone())
    }
}

impl Mappable for Image {
    fn id(&self) -> (u64, u64) {
        // No file system has this device.
        (0, 0)
    }

    fn version(&self) -> Option<u64> {
        Some(0)
    }

    fn locate(&self, offset: u64, len: u64, _writable: bool) -> Result<MapSource, Errno> {
        let rest = self.size().checked_sub(offset).filter(|&n| n > 0).ok_or(Errno::EFAULT)?;
        Ok(MapSource::Memory { offset: self.block.offset() + offset, len: rest.min(len) })
    }

    fn size(&self) -> u64 {
        (self.bytes.len() as u64).next_multiple_of(PAGE)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let rest = self.size().saturating_sub(offset);
        let n = usize::try_from(rest).unwrap_or(usize::MAX).min(buf.len());
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let from = self.bytes.get(at..).unwrap_or_default();
        let (there, behind) = buf.get_mut(..n).unwrap_or_default().split_at_mut(n.min(from.len()));
        there.copy_from_slice(from.get(..there.len()).unwrap_or_default());
        behind.fill(0);
        Ok(n)
    }

    fn write_at(&self, _offset: u64, _buf: &[u8]) -> Result<usize, Errno> {
        Err(Errno::EFAULT)
    }
}
