//! Names of unix sockets: paths, abstract names, and `bind(2)`.
//!
//! Lock: one for the abstract names, outside a socket's state.

use super::UnixSocket;
use crate::net::Kind;
use crate::sync::Mutex;
use crate::task::Task;
use crate::vfs::access::{Want, permitted};
use crate::vfs::lookup::{Last, lookup, lookup_parent};
use crate::vfs::{FileType, Path, open};
use chitin_abi::Errno;
use chitin_abi::fs::AT_FDCWD;
use chitin_abi::socket::AF_UNIX;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Longest `sun_path`.
const PATH_MAX: usize = 108;
/// Automatic names are five hexadecimal digits.
const AUTO_NAMES: u32 = 1 << 20;

/// A name as a program gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// No name: bind to an automatic one.
    Unnamed,
    /// A file.
    Path(Vec<u8>),
    /// A name that is no file.
    Abstract(Vec<u8>),
}

impl Address {
    /// From a `struct sockaddr_un`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Errno> {
        let (family, name) = bytes.split_at_checked(2).ok_or(Errno::EINVAL)?;
        if family != AF_UNIX.to_ne_bytes() || name.len() > PATH_MAX {
            return Err(Errno::EINVAL);
        }
        Ok(match name {
            [] => Self::Unnamed,
            [0, rest @ ..] => Self::Abstract(rest.to_vec()),
            path => Self::Path(path.split(|&b| b == 0).next().unwrap_or_default().to_vec()),
        })
    }

    /// As a `struct sockaddr_un`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = AF_UNIX.to_ne_bytes().to_vec();
        match self {
            Self::Unnamed => {}
            Self::Path(path) => {
                out.extend_from_slice(path);
                out.push(0);
            }
            Self::Abstract(name) => {
                out.push(0);
                out.extend_from_slice(name);
            }
        }
        out
    }
}

/// An address as it is told; that of a socket without one is its family alone.
pub(super) fn shown(address: Option<&[u8]>) -> Vec<u8> {
    address.map_or_else(|| AF_UNIX.to_ne_bytes().to_vec(), <[u8]>::to_vec)
}

/// A name that a socket has.
pub(super) struct Binding {
    /// As a `struct sockaddr_un`.
    pub(super) address: Arc<[u8]>,
    /// The file; held so that its inode keeps the socket.
    _path: Option<Path>,
    /// Where an abstract name is to be removed from, by the one that was bound to it.
    table: Option<Arc<UnixTable>>,
}

impl Binding {
    /// The name of a listener, as its connections have it.
    pub(super) fn shared(address: Arc<[u8]>) -> Self {
        Self { address, _path: None, table: None }
    }

    /// Makes an abstract name free.
    pub(super) fn release(&self, kind: Kind) {
        if let Some(table) = &self.table {
            table.remove(kind, &self.address);
        }
    }
}

/// The socket that an inode stands for.
#[derive(Default)]
struct Bound(Mutex<Weak<UnixSocket>>);

/// Abstract names. Streams and datagrams do not see each other's.
#[derive(Default)]
pub struct UnixTable {
    names: Mutex<HashMap<(Kind, Vec<u8>), Weak<UnixSocket>>>,
}

impl UnixTable {
    fn find(&self, kind: Kind, name: &[u8]) -> Option<Arc<UnixSocket>> {
        self.names.lock().get(&(kind, name.to_vec()))?.upgrade()
    }

    fn add(&self, kind: Kind, name: &[u8], socket: &Weak<UnixSocket>) -> Result<(), Errno> {
        let mut names = self.names.lock();
        let slot = names.entry((kind, name.to_vec())).or_default();
        if slot.strong_count() > 0 {
            return Err(Errno::EADDRINUSE);
        }
        *slot = socket.clone();
        Ok(())
    }

    pub(super) fn remove(&self, kind: Kind, address: &[u8]) {
        if let Ok(Address::Abstract(name)) = Address::parse(address) {
            self.names.lock().remove(&(kind, name));
        }
    }

    fn automatic(&self, kind: Kind, socket: &Weak<UnixSocket>) -> Result<Vec<u8>, Errno> {
        let mut first = [0; 4];
        chitin_hostsys::random::fill(&mut first);
        let first = u32::from_ne_bytes(first);
        for i in 0..AUTO_NAMES {
            let name = format!("{:05x}", first.wrapping_add(i) % AUTO_NAMES).into_bytes();
            if self.add(kind, &name, socket).is_ok() {
                return Ok(name);
            }
        }
        Err(Errno::ENOSPC)
    }
}

/// Makes the file of a socket.
fn make_file(task: &Arc<Task>, path: &[u8]) -> Result<Path, Errno> {
    let at = lookup_parent(task, AT_FDCWD, path)?;
    if at.target.is_some() || at.name.is_empty() {
        return Err(Errno::EADDRINUSE);
    }
    if at.slash {
        return Err(Errno::ENOENT);
    }
    let made = open::create(task, &at.parent, &at.name, FileType::Socket, 0o777, 0);
    made.map_err(|e| if e == Errno::EEXIST { Errno::EADDRINUSE } else { e })
}

impl UnixSocket {
    /// `bind(2)`.
    pub(super) fn do_bind(&self, task: &Arc<Task>, addr: &[u8]) -> Result<(), Errno> {
        let mut address = Address::parse(addr)?;
        if self.state.lock().binding.is_some() {
            // Asking for an automatic name when there is one is no error.
            return if address == Address::Unnamed { Ok(()) } else { Err(Errno::EINVAL) };
        }
        let table = &task.kernel.net.unix;
        let mut place = None;
        match &address {
            Address::Unnamed => {
                address = Address::Abstract(table.automatic(self.common.kind, &self.me)?);
            }
            Address::Abstract(name) => table.add(self.common.kind, name, &self.me)?,
            Address::Path(path) => {
                let made = make_file(task, path)?;
                let inode = made.dentry.inode().ok_or(Errno::ENOENT)?;
                *inode.vfs_state().get_or_default::<Bound>().0.lock() = self.me.clone();
                place = Some(made);
            }
        }
        let encoded: Arc<[u8]> = address.encode().into();
        let mut state = self.state.lock();
        if state.binding.is_some() {
            drop(state);
            // Another thread was faster.
            table.remove(self.common.kind, &encoded);
            return Err(Errno::EINVAL);
        }
        state.binding =
            Some(Binding { address: encoded, _path: place, table: Some(table.clone()) });
        Ok(())
    }

    /// The socket that has this address, of the same type.
    pub(super) fn find(&self, task: &Arc<Task>, addr: &[u8]) -> Result<Arc<Self>, Errno> {
        let found = match Address::parse(addr)? {
            // An empty name is that of nobody.
            Address::Unnamed => return Err(Errno::ECONNREFUSED),
            Address::Abstract(name) => task.kernel.net.unix.find(self.common.kind, &name),
            Address::Path(path) => {
                let place = lookup(task, AT_FDCWD, &path, Last::Follow)?;
                let inode = place.dentry.inode().ok_or(Errno::ENOENT)?;
                permitted(&task.cred(), &inode.attr()?, Want::WRITE)?;
                if inode.file_type() != FileType::Socket {
                    return Err(Errno::ECONNREFUSED);
                }
                inode.vfs_state().get::<Bound>().and_then(|b| b.0.lock().upgrade())
            }
        };
        let found = found.ok_or(Errno::ECONNREFUSED)?;
        if found.common.kind != self.common.kind {
            return Err(Errno::EPROTOTYPE);
        }
        Ok(found)
    }
}
