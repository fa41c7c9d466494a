//! Device numbers and who opens them.

use super::{FileOps, FileType, OpenRequest};
use crate::sync::RwLock;
use chitin_abi::Errno;
use std::collections::HashMap;

/// Opens a character device: its device number and the request.
pub type DeviceOpener =
    dyn Fn(u64, &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> + Send + Sync;

/// Character devices by number. Lock: one.
#[derive(Default)]
pub struct DeviceTable {
    exact: RwLock<HashMap<u64, Box<DeviceOpener>>>,
    majors: RwLock<HashMap<u32, Box<DeviceOpener>>>,
}

impl DeviceTable {
    /// Registers one device.
    pub fn register(&self, rdev: u64, opener: Box<DeviceOpener>) {
        self.exact.write().insert(rdev, opener);
    }

    /// Registers all devices of a major number that are not registered one by one.
    pub fn register_major(&self, major: u32, opener: Box<DeviceOpener>) {
        self.majors.write().insert(major, opener);
    }

    /// Opens a device; `ENXIO` if there is none.
    pub fn open(
        &self,
        kind: FileType,
        rdev: u64,
        request: &OpenRequest<'_>,
    ) -> Result<Box<dyn FileOps>, Errno> {
        if kind != FileType::CharDevice {
            return Err(Errno::ENXIO);
        }
        if let Some(opener) = self.exact.read().get(&rdev) {
            return opener(rdev, request);
        }
        let number = u32::try_from(rdev).map_err(|_| Errno::ENXIO)?;
        let majors = self.majors.read();
        let opener = majors.get(&chitin_abi::fs::major(number)).ok_or(Errno::ENXIO)?;
        opener(rdev, request)
    }
}
