//! The table of mounts.

use super::quick::ways_changed;
use super::{Dentry, FileSystem, Mount, Path};
use crate::changes;
use crate::sync::RwLock;
use chitin_abi::Errno;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

/// Most mounts.
const MOUNTS_MAX: usize = 10_000;

/// All mounts of a sandbox, in the order they were made. Lock: one.
#[derive(Default)]
pub struct MountTable {
    mounts: RwLock<Vec<Arc<Mount>>>,
    last_id: std::sync::atomic::AtomicU64,
}

impl MountTable {
    /// Makes a mount of a whole file system that sits nowhere yet.
    #[must_use]
    pub fn detached(&self, fs: Arc<dyn FileSystem>, source: &str, flags: u32) -> Arc<Mount> {
        let root = Dentry::new(None, b"/", Some(fs.root()));
        self.of_dentry(fs, root, source, flags)
    }

    /// Makes a mount of a part of a file system (`MS_BIND`).
    #[must_use]
    pub fn of_dentry(
        &self,
        fs: Arc<dyn FileSystem>,
        root: Arc<Dentry>,
        source: &str,
        flags: u32,
    ) -> Arc<Mount> {
        Arc::new(Mount {
            id: self.last_id.fetch_add(1, Ordering::Relaxed) + 20,
            fs,
            root,
            at: RwLock::new(None),
            flags: AtomicU32::new(flags),
            source: source.to_owned(),
        })
    }

    /// Makes a mount that shows what another one shows from a dentry on (`MS_BIND`).
    #[must_use]
    pub fn bind(&self, of: &Mount, root: Arc<Dentry>) -> Arc<Mount> {
        self.of_dentry(of.fs.clone(), root, &of.source, of.flags())
    }

    /// The mounts that sit on `mount` at `dentry` or below it, and on those in turn;
    /// parents come before their children.
    #[must_use]
    pub fn below(&self, mount: &Arc<Mount>, dentry: &Arc<Dentry>) -> Vec<Arc<Mount>> {
        let mounts = self.mounts.read();
        let on = |parent: &Arc<Mount>, from: &Arc<Dentry>| {
            let (parent, from) = (Arc::downgrade(parent), from.clone());
            mounts.iter().filter(move |m| {
                let at = m.at.read();
                let sits = |(p, d): &(Weak<Mount>, Arc<Dentry>)| {
                    Weak::ptr_eq(p, &parent) && is_below(&from, d)
                };
                at.as_ref().is_some_and(sits)
            })
        };
        let mut found: Vec<Arc<Mount>> = on(mount, dentry).cloned().collect();
        let mut next = 0;
        while let Some(m) = found.get(next).cloned() {
            found.extend(on(&m, &m.root).cloned());
            next += 1;
        }
        found
    }

    /// Puts a mount that sits somewhere at another place (`MS_MOVE`).
    pub fn relocate(&self, mount: &Arc<Mount>, to: &Path) {
        let _changing = changes::begin();
        let mut mounts = self.mounts.write();
        to.dentry.mounted.fetch_add(1, Ordering::SeqCst);
        let place = (Arc::downgrade(&to.mount), to.dentry.clone());
        if let Some((_, old)) = mount.at.write().replace(place) {
            old.mounted.fetch_sub(1, Ordering::SeqCst);
        }
        // The last one made is on top.
        mounts.retain(|m| !Arc::ptr_eq(m, mount));
        mounts.push(mount.clone());
        ways_changed();
    }

    /// Makes this mount the root of the tree.
    pub fn set_root(&self, mount: Arc<Mount>) -> Path {
        let _changing = changes::begin();
        let path = Path { mount: mount.clone(), dentry: mount.root.clone() };
        self.mounts.write().insert(0, mount);
        path
    }

    /// Puts a mount at a place.
    pub fn attach(&self, mount: Arc<Mount>, at: &Path) -> Result<(), Errno> {
        let _changing = changes::begin();
        let mut mounts = self.mounts.write();
        if mounts.len() >= MOUNTS_MAX {
            return Err(Errno::ENOSPC);
        }
        *mount.at.write() = Some((Arc::downgrade(&at.mount), at.dentry.clone()));
        at.dentry.mounted.fetch_add(1, Ordering::SeqCst);
        mounts.push(mount);
        ways_changed();
        Ok(())
    }

    /// Takes a mount away (`umount2(2)`); `EBUSY` if another one sits on it.
    pub fn detach(&self, mount: &Arc<Mount>) -> Result<(), Errno> {
        let _changing = changes::begin();
        let mut mounts = self.mounts.write();
        let sits_on = |m: &Arc<Mount>| {
            let at = m.at.read();
            at.as_ref().is_some_and(|(parent, _)| Weak::ptr_eq(parent, &Arc::downgrade(mount)))
        };
        if mounts.iter().any(sits_on) {
            return Err(Errno::EBUSY);
        }
        let Some((_, dentry)) = mount.at.write().take() else { return Err(Errno::EINVAL) };
        dentry.mounted.fetch_sub(1, Ordering::SeqCst);
        mounts.retain(|m| !Arc::ptr_eq(m, mount));
        ways_changed();
        Ok(())
    }

    /// The topmost mount at a place, followed upwards.
    #[must_use]
    pub fn cross(&self, mut path: Path) -> Path {
        while path.dentry.mounted.load(Ordering::SeqCst) > 0 {
            let mounts = self.mounts.read();
            let here = mounts.iter().rev().find(|m| {
                m.at.read().as_ref().is_some_and(|(parent, dentry)| {
                    Arc::ptr_eq(dentry, &path.dentry)
                        && Weak::ptr_eq(parent, &Arc::downgrade(&path.mount))
                })
            });
            let Some(mount) = here else { break };
            path = Path { mount: mount.clone(), dentry: mount.root.clone() };
        }
        path
    }

    /// Where a mount sits.
    #[must_use]
    pub fn place_of(&self, mount: &Mount) -> Option<Path> {
        let at = mount.at.read();
        let (parent, dentry) = at.as_ref()?;
        Some(Path { mount: parent.upgrade()?, dentry: dentry.clone() })
    }

    /// All mounts.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Mount>> {
        self.mounts.read().clone()
    }
}

fn is_below(top: &Arc<Dentry>, dentry: &Arc<Dentry>) -> bool {
    let mut at = Some(dentry.clone());
    while let Some(dentry) = at {
        if Arc::ptr_eq(&dentry, top) {
            return true;
        }
        at = dentry.parent();
    }
    false
}
