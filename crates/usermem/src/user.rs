//! Typed user pointers. They carry no lifetime and promise nothing: every access
//! goes through a [`UserMemory`] and can fail with `EFAULT`.

use chitin_abi::{Errno, Pod};
use std::fmt;
use std::marker::PhantomData;

/// An address given by a guest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UserAddr(pub u64);

impl UserAddr {
    /// The null pointer.
    pub const NULL: Self = Self(0);

    /// Whether this is the null pointer.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address `bytes` further on; `EFAULT` if it wraps around.
    pub fn offset(self, bytes: u64) -> Result<Self, Errno> {
        self.0.checked_add(bytes).map(Self).ok_or(Errno::EFAULT)
    }

    /// The same address as a pointer to `T`.
    #[must_use]
    pub fn cast<T: Pod>(self) -> UserPtr<T> {
        UserPtr::new(self)
    }
}

impl fmt::Debug for UserAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_null() { f.write_str("NULL") } else { write!(f, "{:#x}", self.0) }
    }
}

/// Copies between the kernel and a guest address space. Every method fails with
/// `EFAULT` where an access is not allowed to the guest itself.
pub trait UserMemory {
    /// Fills `buf` from `addr`; all or nothing is reported (bytes may have been
    /// copied before an `EFAULT`).
    fn read(&self, addr: UserAddr, buf: &mut [u8]) -> Result<(), Errno>;

    /// Stores `buf` at `addr`.
    fn write(&self, addr: UserAddr, buf: &[u8]) -> Result<(), Errno>;

    /// Stores `len` zero bytes at `addr`.
    fn zero(&self, addr: UserAddr, len: u64) -> Result<(), Errno>;

    /// Reads a NUL-terminated string of at most `max` bytes, terminator excluded.
    /// `ENAMETOOLONG` if there is no terminator within `max` + 1 bytes.
    fn read_cstr(&self, addr: UserAddr, max: usize) -> Result<Vec<u8>, Errno>;
}

/// An alleged pointer to a `T` in guest memory.
pub struct UserPtr<T> {
    addr: UserAddr,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for UserPtr<T> {}
impl<T> fmt::Debug for UserPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr.fmt(f)
    }
}

impl<T: Pod> UserPtr<T> {
    /// Types an address.
    #[must_use]
    pub fn new(addr: UserAddr) -> Self {
        Self { addr, of: PhantomData }
    }

    /// The bare address.
    #[must_use]
    pub fn addr(self) -> UserAddr {
        self.addr
    }

    /// Whether it is the null pointer.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.addr.is_null()
    }

    /// Fetches the value, once.
    pub fn read<M: UserMemory + ?Sized>(self, mem: &M) -> Result<T, Errno> {
        let mut value = T::zeroed();
        mem.read(self.addr, value.as_bytes_mut())?;
        Ok(value)
    }

    /// Fetches the value unless the pointer is null.
    pub fn read_opt<M: UserMemory + ?Sized>(self, mem: &M) -> Result<Option<T>, Errno> {
        if self.is_null() { Ok(None) } else { self.read(mem).map(Some) }
    }

    /// Stores the value.
    pub fn write<M: UserMemory + ?Sized>(self, mem: &M, value: &T) -> Result<(), Errno> {
        mem.write(self.addr, value.as_bytes())
    }

    /// Stores the value unless the pointer is null.
    pub fn write_opt<M: UserMemory + ?Sized>(self, mem: &M, value: &T) -> Result<(), Errno> {
        if self.is_null() { Ok(()) } else { self.write(mem, value) }
    }

    /// The `index`-th element of an array of `T`.
    pub fn at(self, index: u64) -> Result<Self, Errno> {
        let size = size_of::<T>() as u64;
        Ok(Self::new(self.addr.offset(index.checked_mul(size).ok_or(Errno::EFAULT)?)?))
    }
}

/// An alleged array in guest memory.
pub struct UserSlice<T> {
    ptr: UserPtr<T>,
    len: usize,
}

impl<T> Clone for UserSlice<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for UserSlice<T> {}
impl<T> fmt::Debug for UserSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}[{}]", self.ptr, self.len)
    }
}

impl<T: Pod> UserSlice<T> {
    /// `len` elements from `ptr` on.
    #[must_use]
    pub fn new(ptr: UserPtr<T>, len: usize) -> Self {
        Self { ptr, len }
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fetches all elements; the caller has bounded `len` before.
    pub fn read<M: UserMemory + ?Sized>(&self, mem: &M) -> Result<Vec<T>, Errno> {
        let mut out = Vec::with_capacity(self.len);
        for i in 0..self.len {
            out.push(self.ptr.at(i as u64)?.read(mem)?);
        }
        Ok(out)
    }

    /// Stores as many elements as both sides have.
    pub fn write<M: UserMemory + ?Sized>(&self, mem: &M, from: &[T]) -> Result<(), Errno> {
        for (i, value) in from.iter().take(self.len).enumerate() {
            self.ptr.at(i as u64)?.write(mem, value)?;
        }
        Ok(())
    }
}
