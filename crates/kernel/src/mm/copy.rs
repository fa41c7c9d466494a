//! Copies between kernel and guest memory, and the identity of guest words.

use super::vma::{Sharing, Source, Vma};
use super::{Mm, PAGE};
use crate::vfs::MapSource;
use chitin_abi::Errno;
use chitin_usermem::{GuestMemory, UserAddr, UserMemory};

/// What a futex is, whoever looks at it from wherever (`futex(2)`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WordKey {
    /// A word of memory, by its offset in the memory file.
    Memory(u64),
    /// A word of a host file: device, inode, byte offset.
    File(u64, u64, u64),
}

/// Where the bytes at an address are.
enum Place<'a> {
    Memory(u64),
    File(&'a super::FilePart, u64),
}

fn place(vma: &Vma, addr: u64) -> Result<Place<'_>, Errno> {
    match &vma.source {
        Source::Reserved => Err(Errno::EFAULT),
        Source::Anon { block, at, .. } => {
            Ok(Place::Memory(block.offset() + at + (addr - vma.start)))
        }
        Source::File(part) => {
            let offset = part.offset + (addr - vma.start);
            if offset & !(PAGE - 1) >= part.map.size() {
                return Err(Errno::EFAULT);
            }
            let page = offset & !(PAGE - 1);
            match part.map.locate(page, PAGE, false) {
                Ok(MapSource::Memory { offset: at, .. }) => Ok(Place::Memory(at + (offset - page))),
                _ => Ok(Place::File(part, offset)),
            }
        }
    }
}

/// How far one step of a copy goes: file pages one by one, memory as far as it is.
fn step(vma: &Vma, addr: u64, want: usize) -> usize {
    let end = match vma.source {
        Source::File(_) => (addr & !(PAGE - 1)) + PAGE,
        _ => vma.end,
    };
    usize::try_from(end - addr).unwrap_or(usize::MAX).min(want)
}

impl Mm {
    fn read_step(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let mut state = self.state.read();
        if self.grows() && state.areas.find(addr).is_none() {
            drop(state);
            self.reach(addr)?;
            state = self.state.read();
        }
        let vma = state.areas.find(addr).filter(|v| v.readable()).ok_or(Errno::EFAULT)?;
        let n = step(vma, addr, buf.len());
        let piece = buf.get_mut(..n).ok_or(Errno::EFAULT)?;
        match place(vma, addr)? {
            Place::Memory(offset) => self.memory.read(offset, piece)?,
            Place::File(part, offset) => {
                let got = part.map.read_at(offset, piece)?;
                // The rest of the last page is zero.
                piece.get_mut(got..).unwrap_or_default().fill(0);
            }
        }
        Ok(n)
    }

    fn write_step(&self, addr: u64, buf: &[u8], access: Access) -> Result<usize, Errno> {
        loop {
            let state = self.state.read();
            let Some(vma) = state.areas.find(addr) else {
                drop(state);
                self.reach(addr)?;
                continue;
            };
            if !vma.prot.write && (access == Access::User || !vma.readable()) {
                return Err(Errno::EFAULT);
            }
            if vma.copies_on_write() {
                drop(state);
                self.own(&mut self.state.write(), addr & !(PAGE - 1))?;
                continue;
            }
            let n = step(vma, addr, buf.len());
            let piece = buf.get(..n).ok_or(Errno::EFAULT)?;
            match place(vma, addr)? {
                Place::Memory(offset) => self.memory.write(offset, piece)?,
                Place::File(part, offset) => {
                    part.map.write_at(offset, piece)?;
                }
            }
            return Ok(n);
        }
    }

    /// Calls `f` with where the bytes at `addr` are in the memory file, and how many of
    /// `len` follow there; `None` if they are in a file. The areas are locked meanwhile:
    /// `f` may lock what [`crate::vfs::Mappable::locate`] locks, and nothing before it.
    pub(crate) fn with_run<T>(
        &self,
        addr: u64,
        len: usize,
        direction: Direction,
        f: impl FnOnce(&GuestMemory, u64, usize) -> T,
    ) -> Result<Option<T>, Errno> {
        loop {
            let state = self.state.read();
            let Some(vma) = state.areas.find(addr) else {
                drop(state);
                self.reach(addr)?;
                continue;
            };
            let allowed = match direction {
                Direction::FromUser => vma.readable(),
                Direction::ToUser => vma.prot.write,
            };
            if !allowed {
                return Err(Errno::EFAULT);
            }
            if direction == Direction::ToUser && vma.copies_on_write() {
                drop(state);
                self.own(&mut self.state.write(), addr & !(PAGE - 1))?;
                continue;
            }
            let n = step(vma, addr, len);
            return match place(vma, addr)? {
                Place::Memory(offset) => Ok(Some(f(&self.memory, offset, n))),
                Place::File(..) => Ok(None),
            };
        }
    }

    fn write_all(&self, addr: UserAddr, buf: &[u8], access: Access) -> Result<(), Errno> {
        let (mut at, mut rest) = (addr.0, buf);
        while !rest.is_empty() {
            let n = self.write_step(at, rest, access)?;
            rest = rest.get(n..).unwrap_or_default();
            at = at.checked_add(n as u64).ok_or(Errno::EFAULT)?;
        }
        Ok(())
    }

    /// Stores where the guest itself may not: what a debugger or the loader does.
    pub fn poke(&self, addr: UserAddr, buf: &[u8]) -> Result<(), Errno> {
        self.write_all(addr, buf, Access::Forced)
    }

    /// Stores for another process. Threads of this one may be running: where the store gives
    /// pages another place, they have them there when this returns.
    pub fn write_beside(&self, addr: UserAddr, buf: &[u8]) -> Result<(), Errno> {
        let range = addr.0..addr.0.saturating_add(buf.len() as u64);
        let moves = self.state.read().areas.overlapping(range).any(Vma::copies_on_write);
        let result = self.write(addr, buf);
        if moves {
            self.touch(addr.0, buf.len() as u64);
        }
        result
    }

    /// The aligned word at `addr` for a futex: its identity, and its value now. A
    /// private word is the address space's own whatever its source, and a word in
    /// memory is the same for all that map it.
    pub fn word(&self, addr: UserAddr) -> Result<(WordKey, u32), Errno> {
        if !addr.0.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        let state = self.state.read();
        let vma = state.areas.find(addr.0).filter(|v| v.readable()).ok_or(Errno::EFAULT)?;
        if vma.copies_on_write() && vma.prot.write {
            // It gets its place in memory now, lest a later store moves it.
            drop(state);
            self.own(&mut self.state.write(), addr.0 & !(PAGE - 1))?;
            return self.word(addr);
        }
        match place(vma, addr.0)? {
            Place::Memory(offset) => Ok((WordKey::Memory(offset), self.memory.load_u32(offset)?)),
            Place::File(part, offset) => {
                let mut bytes = [0; 4];
                part.map.read_at(offset, &mut bytes)?;
                let (dev, ino) = part.map.id();
                Ok((WordKey::File(dev, ino, offset), u32::from_le_bytes(bytes)))
            }
        }
    }

    /// Atomically replaces the word at `addr` by `f` of it; returns the old value.
    pub fn update_word(&self, addr: UserAddr, f: impl Fn(u32) -> u32) -> Result<u32, Errno> {
        let (key, value) = self.word(addr)?;
        let state = self.state.read();
        let vma = state.areas.find(addr.0).filter(|v| v.prot.write).ok_or(Errno::EFAULT)?;
        match (key, vma.sharing) {
            (WordKey::Memory(offset), _) => {
                let mut old = value;
                loop {
                    match self.memory.compare_exchange(offset, old, f(old))? {
                        was if was == old => return Ok(old),
                        was => old = was,
                    }
                }
            }
            (WordKey::File(..), Sharing::Shared | Sharing::Private) => Err(Errno::EFAULT),
        }
    }

    /// Replaces the word at `addr` by `new` if it is `old`; returns what it was.
    pub fn exchange_word(&self, addr: UserAddr, old: u32, new: u32) -> Result<u32, Errno> {
        self.update_word(addr, |v| if v == old { new } else { v })
    }
}

/// Which way bytes go between a program and a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Direction {
    FromUser,
    ToUser,
}

/// Whose rights a store has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    User,
    Forced,
}

impl UserMemory for Mm {
    fn read(&self, addr: UserAddr, buf: &mut [u8]) -> Result<(), Errno> {
        let (mut at, mut rest) = (addr.0, buf);
        while !rest.is_empty() {
            let n = self.read_step(at, rest)?;
            rest = rest.get_mut(n..).unwrap_or_default();
            at = at.checked_add(n as u64).ok_or(Errno::EFAULT)?;
        }
        Ok(())
    }

    fn write(&self, addr: UserAddr, buf: &[u8]) -> Result<(), Errno> {
        self.write_all(addr, buf, Access::User)
    }

    fn zero(&self, addr: UserAddr, len: u64) -> Result<(), Errno> {
        static ZEROES: [u8; 4096] = [0; 4096];
        let mut done = 0;
        while done < len {
            let n = (len - done).min(PAGE);
            let piece = ZEROES.get(..n as usize).unwrap_or_default();
            self.write(addr.offset(done)?, piece)?;
            done += n;
        }
        Ok(())
    }

    fn read_cstr(&self, addr: UserAddr, max: usize) -> Result<Vec<u8>, Errno> {
        let mut out = Vec::new();
        let mut at = addr.0;
        let mut buf = [0_u8; 256];
        loop {
            // Within a page, so that a string at the end of an area is found.
            let in_page = usize::try_from(PAGE - at % PAGE).unwrap_or(1);
            let want = in_page.min(buf.len()).min(max + 1 - out.len());
            let piece = buf.get_mut(..want).unwrap_or_default();
            self.read(UserAddr(at), piece)?;
            if let Some(end) = piece.iter().position(|&b| b == 0) {
                out.extend_from_slice(piece.get(..end).unwrap_or_default());
                return Ok(out);
            }
            out.extend_from_slice(piece);
            if out.len() > max {
                return Err(Errno::ENAMETOOLONG);
            }
            at = at.checked_add(want as u64).ok_or(Errno::EFAULT)?;
        }
    }
}
