//! What a platform tells of patched call sites.

/// Length in bytes of the memory near a program's text that holds its trampolines.
pub const ROOM_LEN: u64 = 0x1_0000;
/// Unit of its allocation, in bytes.
const GRAIN: u64 = 16;

/// Which parts of a room are in use.
#[derive(Clone, Debug)]
pub struct Room {
    used: Vec<bool>,
}

impl Default for Room {
    fn default() -> Self {
        Self { used: vec![false; (ROOM_LEN / GRAIN) as usize] }
    }
}

impl Room {
    /// Takes `len` bytes at the first free offset that `fits` accepts.
    pub fn take(&mut self, len: u64, fits: impl Fn(u64) -> bool) -> Option<u64> {
        let grains = len.div_ceil(GRAIN) as usize;
        let last = self.used.len().checked_sub(grains)?;
        let start = (0..=last).find(|&i| {
            let free = self.used.get(i..i + grains).is_some_and(|g| !g.contains(&true));
            free && fits(i as u64 * GRAIN)
        })?;
        self.used.get_mut(start..start + grains)?.fill(true);
        Some(start as u64 * GRAIN)
    }
}

/// An instruction that can be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trapping {
    /// `syscall`
    Call,
    /// `cpuid`
    Cpuid,
}

/// How such an instruction is made to go on without a trap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Replaces the instruction and what follows it: an entry at the third byte is an
    /// illegal instruction. Or the one in front of it.
    pub text: [u8; 5],
    /// How many bytes in front of the instruction that is.
    pub before: u64,
    /// Byte offset in the room.
    pub at: u64,
    /// What is put there.
    pub code: Vec<u8>,
    /// Byte offset in the room where the thread goes on behind the instruction: the same as
    /// the address behind it was.
    pub after: u64,
    /// Bytes of the following instructions, which are at `after` now.
    pub moved: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_gives_each_part_once() {
        let mut room = Room::default();
        assert_eq!(room.take(40, |_| true), Some(0));
        assert_eq!(room.take(16, |_| true), Some(48));
        assert_eq!(room.take(16, |at| at >= 0x8000), Some(0x8000));
        assert_eq!(room.take(ROOM_LEN, |_| true), None);
    }
}
