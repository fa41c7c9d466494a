//! Byte transfers: [`IoDst`] takes what a read yields, [`IoSrc`] gives what a
//! write takes. Both remember how far they got, so that a retried operation goes
//! on where it was.

use crate::mm::{Direction, Mm};
use chitin_abi::Errno;
use chitin_usermem::{GuestMemory, UserAddr, UserMemory};

/// A piece of guest memory (`struct iovec`, validated).
pub type UserSegment = (UserAddr, usize);

enum Memory<'a, B> {
    User { mm: &'a Mm, segments: &'a [UserSegment] },
    Kernel(B),
}

/// Destination of a read.
pub struct IoDst<'a> {
    to: Memory<'a, &'a mut [u8]>,
    done: usize,
    len: usize,
}

/// Bytes of a transfer.
pub enum Piece<'a, B> {
    /// In the memory file: offset and length.
    Memory(&'a GuestMemory, u64, usize),
    /// In a buffer.
    Buffer(B),
}

/// Bytes that go through a buffer at once where they cannot go directly.
const BOUNCE: usize = 16 << 10;

/// The address at `done` in `segments`, and how many bytes follow in its segment.
fn address_at(segments: &[UserSegment], done: usize) -> Result<(UserAddr, usize), Errno> {
    let mut skip = done;
    for &(addr, len) in segments {
        if skip < len {
            return Ok((addr.offset(skip as u64)?, len - skip));
        }
        skip -= len;
    }
    Err(Errno::EFAULT)
}

/// Source of a write.
pub struct IoSrc<'a> {
    from: Memory<'a, &'a [u8]>,
    done: usize,
    len: usize,
}

/// Calls `f` with each (address, length) piece of `segments` between `from` and
/// `from + len`.
fn pieces(
    segments: &[UserSegment],
    from: usize,
    len: usize,
    mut f: impl FnMut(UserAddr, usize) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let (mut skip, mut left) = (from, len);
    for &(addr, seg) in segments {
        if skip >= seg {
            skip -= seg;
            continue;
        }
        let n = left.min(seg - skip);
        if n == 0 {
            break;
        }
        f(addr.offset(skip as u64)?, n)?;
        left -= n;
        skip = 0;
    }
    Ok(())
}

/// Copies `len` bytes at `addr` by `copy(address, from, to)` of offsets; where that
/// fails, as many pages as can be. Adds to `at` what was copied.
fn as_far_as_possible(
    addr: UserAddr,
    len: usize,
    at: &mut usize,
    mut copy: impl FnMut(UserAddr, usize, usize) -> Result<(), Errno>,
) -> Result<(), Errno> {
    if copy(addr, *at, *at + len).is_ok() {
        *at += len;
        return Ok(());
    }
    let mut done = 0;
    while done < len {
        let here = addr.offset(done as u64)?;
        let page = crate::mm::PAGE - here.0 % crate::mm::PAGE;
        let n = usize::try_from(page).unwrap_or(usize::MAX).min(len - done);
        copy(here, *at, *at + n)?;
        *at += n;
        done += n;
    }
    Ok(())
}

impl<'a> IoDst<'a> {
    /// Into guest memory.
    #[must_use]
    pub fn user(mm: &'a Mm, segments: &'a [UserSegment]) -> Self {
        let len = segments.iter().map(|s| s.1).sum();
        Self { to: Memory::User { mm, segments }, done: 0, len }
    }

    /// Into a kernel buffer.
    #[must_use]
    pub fn kernel(buf: &'a mut [u8]) -> Self {
        let len = buf.len();
        Self { to: Memory::Kernel(buf), done: 0, len }
    }

    /// Bytes stored so far.
    #[must_use]
    pub fn done(&self) -> usize {
        self.done
    }

    /// Bytes that still fit.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.len - self.done
    }

    /// Stores as much of `bytes` as fits; returns how much. `EFAULT` if nothing
    /// could be stored at the next address.
    pub fn put(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let n = bytes.len().min(self.remaining());
        let bytes = bytes.get(..n).unwrap_or_default();
        match &mut self.to {
            Memory::Kernel(buf) => {
                if let Some(to) = buf.get_mut(self.done..self.done + n) {
                    to.copy_from_slice(bytes);
                }
            }
            Memory::User { mm, segments } => {
                let mut at = 0;
                let result = pieces(segments, self.done, n, |addr, len| {
                    as_far_as_possible(addr, len, &mut at, |addr, from, to| {
                        mm.write(addr, bytes.get(from..to).unwrap_or_default())
                    })
                });
                if let Err(e) = result {
                    if at == 0 {
                        return Err(e);
                    }
                    self.done += at;
                    return Ok(at);
                }
            }
        }
        self.done += n;
        Ok(n)
    }

    /// Lets `f` fill one piece after the other, without a copy where that can be, until
    /// it fills one not wholly. `f` gets how much was filled before, and tells how much
    /// it filled; the locks it may take are those of [`Mappable::locate`].
    ///
    /// [`Mappable::locate`]: super::Mappable::locate
    pub fn fill(
        &mut self,
        mut f: impl FnMut(usize, Piece<'_, &mut [u8]>) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let before = self.done;
        while self.done < self.len {
            match self.fill_one(self.done - before, &mut f) {
                Ok((n, want)) => {
                    self.done += n.min(want);
                    if n < want {
                        break;
                    }
                }
                Err(e) if self.done == before => return Err(e),
                Err(_) => break,
            }
        }
        Ok(self.done - before)
    }

    /// Says that `n` bytes were dropped instead of stored.
    pub fn advance(&mut self, n: usize) {
        self.done = (self.done + n).min(self.len);
    }

    /// How much was filled of the next piece, and its length.
    fn fill_one(
        &mut self,
        so_far: usize,
        f: &mut impl FnMut(usize, Piece<'_, &mut [u8]>) -> Result<usize, Errno>,
    ) -> Result<(usize, usize), Errno> {
        let (mm, segments) = match &mut self.to {
            Memory::Kernel(buf) => {
                let rest = buf.get_mut(self.done..self.len).ok_or(Errno::EFAULT)?;
                let want = rest.len();
                return Ok((f(so_far, Piece::Buffer(rest))?, want));
            }
            Memory::User { mm, segments } => (*mm, *segments),
        };
        let (addr, len) = address_at(segments, self.done)?;
        let direct = mm.with_run(addr.0, len, Direction::ToUser, |memory, offset, n| {
            f(so_far, Piece::Memory(memory, offset, n)).map(|filled| (filled, n))
        })?;
        if let Some(done) = direct {
            return done;
        }
        let mut buf = vec![0; len.min(BOUNCE)];
        let want = buf.len();
        let n = f(so_far, Piece::Buffer(&mut buf))?.min(want);
        mm.write(addr, buf.get(..n).unwrap_or_default())?;
        Ok((n, want))
    }
}

impl<'a> IoSrc<'a> {
    /// From guest memory.
    #[must_use]
    pub fn user(mm: &'a Mm, segments: &'a [UserSegment]) -> Self {
        let len = segments.iter().map(|s| s.1).sum();
        Self { from: Memory::User { mm, segments }, done: 0, len }
    }

    /// From a kernel buffer.
    #[must_use]
    pub fn kernel(buf: &'a [u8]) -> Self {
        Self { from: Memory::Kernel(buf), done: 0, len: buf.len() }
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn done(&self) -> usize {
        self.done
    }

    /// Bytes that are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.len - self.done
    }

    /// Drops what is left beyond `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(self.done.saturating_add(n));
    }

    /// Copies the next bytes into `buf` without consuming them; returns how many.
    /// `EFAULT` if none could be read.
    pub fn peek(&self, buf: &mut [u8]) -> Result<usize, Errno> {
        let n = buf.len().min(self.remaining());
        match &self.from {
            Memory::Kernel(from) => {
                let from = from.get(self.done..self.done + n).unwrap_or_default();
                if let Some(to) = buf.get_mut(..n) {
                    to.copy_from_slice(from);
                }
                Ok(n)
            }
            Memory::User { mm, segments } => {
                let mut at = 0;
                let result = pieces(segments, self.done, n, |addr, len| {
                    as_far_as_possible(addr, len, &mut at, |addr, from, to| {
                        mm.read(addr, buf.get_mut(from..to).unwrap_or_default())
                    })
                });
                match result {
                    Err(e) if at == 0 => Err(e),
                    _ => Ok(at),
                }
            }
        }
    }

    /// Takes the next bytes into `buf`; returns how many.
    pub fn take(&mut self, buf: &mut [u8]) -> Result<usize, Errno> {
        let n = self.peek(buf)?;
        self.done += n;
        Ok(n)
    }

    /// Lets `f` take one piece after the other, without a copy where that can be, until
    /// it takes one not wholly. As [`IoDst::fill`].
    pub fn drain(
        &mut self,
        mut f: impl FnMut(usize, Piece<'_, &[u8]>) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let before = self.done;
        while self.done < self.len {
            match self.drain_one(self.done - before, &mut f) {
                Ok((n, want)) => {
                    self.done += n.min(want);
                    if n < want {
                        break;
                    }
                }
                Err(e) if self.done == before => return Err(e),
                Err(_) => break,
            }
        }
        Ok(self.done - before)
    }

    fn drain_one(
        &self,
        so_far: usize,
        f: &mut impl FnMut(usize, Piece<'_, &[u8]>) -> Result<usize, Errno>,
    ) -> Result<(usize, usize), Errno> {
        let (mm, segments) = match &self.from {
            Memory::Kernel(buf) => {
                let rest = buf.get(self.done..self.len).ok_or(Errno::EFAULT)?;
                return Ok((f(so_far, Piece::Buffer(rest))?, rest.len()));
            }
            Memory::User { mm, segments } => (*mm, *segments),
        };
        let (addr, len) = address_at(segments, self.done)?;
        let len = len.min(self.len - self.done);
        let direct = mm.with_run(addr.0, len, Direction::FromUser, |memory, offset, n| {
            f(so_far, Piece::Memory(memory, offset, n)).map(|taken| (taken, n))
        })?;
        if let Some(done) = direct {
            return done;
        }
        // Bytes of a mapped file, as far as they can be read.
        let mut buf = vec![0; len.min(BOUNCE)];
        let n = self.peek(&mut buf)?;
        let piece = buf.get(..n).unwrap_or_default();
        Ok((f(so_far, Piece::Buffer(piece))?, n))
    }

    /// Says that `n` bytes were used through [`IoSrc::peek`].
    pub fn advance(&mut self, n: usize) {
        self.done = (self.done + n).min(self.len);
    }
}
