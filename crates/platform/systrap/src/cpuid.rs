//! What `cpuid` tells guests, in a table that stubs can read: the instruction costs an exit
//! from a virtual machine (8 µs where it was measured), and every program that starts uses it
//! some dozens of times.
//!
//! The table is filled as guests ask, or where they cannot be heard with what C libraries ask
//! for. One lock, innermost: its length.

use crate::control::{Block, Control};
use crate::layout::*;
use crate::stub::lock;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Leaves that have subleaves.
const WITH_SUBLEAVES: [u32; 19] = [
    0x4,
    0x7,
    0xb,
    0xd,
    0xf,
    0x10,
    0x12,
    0x14,
    0x17,
    0x18,
    0x1a,
    0x1d,
    0x1e,
    0x1f,
    0x20,
    0x24,
    0x8000_001d,
    0x8000_0020,
    0x8000_0026,
];
/// What C libraries ask for as programs start: leaves, and how many subleaves.
const USUAL: [(u32, u32); 19] = [
    (0x0, 1),
    (0x1, 1),
    (0x2, 1),
    (0x4, 4),
    (0x7, 2),
    (0xb, 2),
    (0xd, 8),
    (0x14, 1),
    (0x19, 1),
    (0x8000_0000, 1),
    (0x8000_0001, 1),
    (0x8000_0002, 1),
    (0x8000_0003, 1),
    (0x8000_0004, 1),
    (0x8000_0005, 1),
    (0x8000_0006, 1),
    (0x8000_0007, 1),
    (0x8000_0008, 1),
    (0x8000_001d, 4),
];
/// Where extended leaves begin.
const EXTENDED: u32 = 0x8000_0000;
/// Bits of leaf 7's edx: AMX with bfloat16, tiles, 8-bit integers. Guests cannot use it.
const AMX: u32 = 1 << 22 | 1 << 24 | 1 << 25;
/// Bits of leaf 0xd's eax: the state of tiles.
const TILE_STATE: u32 = 1 << 17 | 1 << 18;

/// The table.
pub(crate) struct Known {
    table: Block,
    len: Mutex<u64>,
}

impl Known {
    pub(crate) fn new(control: &Arc<Control>) -> Self {
        let table = control.block(VDSO_TABLE_AT + (CPUID_TABLE - VDSO_TABLE));
        Self { table, len: Mutex::new(0) }
    }

    /// Fills the table with what programs ask for when they start.
    pub(crate) fn ask_usual(&self) {
        if *lock(&self.len) > 0 {
            return;
        }
        for (leaf, subleaves) in USUAL {
            let [most, ..] = ask(leaf & EXTENDED, 0);
            if leaf <= most {
                for subleaf in 0..subleaves {
                    self.get(leaf, subleaf);
                }
            }
        }
    }

    /// What a guest is told; also later, without asking.
    pub(crate) fn get(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let exact = WITH_SUBLEAVES.contains(&leaf);
        let subleaf = if exact { subleaf } else { 0 };
        let mut len = lock(&self.len);
        let word = |entry: u64, i: u64| self.table.u32(entry * CPUID_ENTRY + 4 * i);
        let read = |entry, i| word(entry, i).load(Ordering::Relaxed);
        let known = (0..*len).find(|&e| read(e, 0) == leaf && read(e, 2) == subleaf);
        if let Some(e) = known {
            return [4, 5, 6, 7].map(|i| read(e, i));
        }
        let answer = ask(leaf, subleaf);
        if *len < CPUID_ENTRIES {
            let fields = [(0, leaf), (2, subleaf)];
            let results = (4..).zip(answer);
            for (i, value) in fields.into_iter().chain(results) {
                word(*len, i).store(value, Ordering::Relaxed);
            }
            let kind = if exact { CPUID_EXACT } else { CPUID_ANY };
            word(*len, 1).store(kind, Ordering::Release);
            *len += 1;
        }
        answer
    }
}

/// The CPU's answer without what guests cannot use.
fn ask(leaf: u32, subleaf: u32) -> [u32; 4] {
    let r = chitin_hostsys::cpu::cpuid(leaf, subleaf);
    let mut answer = r;
    match (leaf, subleaf) {
        (7, 0) => answer[3] &= !AMX,
        (0xd, 0) => answer[0] &= !TILE_STATE,
        (0xd, 17 | 18) | (0x1d | 0x1e, _) => answer = [0; 4],
        _ => {}
    }
    answer
}
