//! Lengths of instructions in 64-bit mode (AMD64 Architecture Programmer's Manual, volume 3,
//! "Instruction encoding" and appendix A), to find those in a function that can be patched.

use crate::patch;
use chitin_platform::Trapping;

/// What follows an opcode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Form {
    /// A ModRM byte and what belongs to it.
    modrm: bool,
    /// Bytes of immediates.
    immediate: usize,
}

const fn form(modrm: bool, immediate: usize) -> Form {
    Form { modrm, immediate }
}

/// Byte offsets of the instructions of a kind in a function, whose code is decoded from its
/// first byte up to the first instruction that is none.
pub(crate) fn sites(what: Trapping, function: &[u8]) -> Vec<usize> {
    let opcode = patch::opcode(what);
    let mut found = Vec::new();
    let mut rest = function;
    while let Some(len) = length(rest).filter(|&len| len <= rest.len()) {
        if rest.starts_with(&opcode) {
            found.push(function.len() - rest.len());
        }
        rest = rest.get(len..).unwrap_or_default();
    }
    found
}

/// How far in front of a place decoding begins, at each byte of so many.
const RUN_UP: usize = 56;
const STARTS: usize = 16;

/// Whether an instruction begins at this place of some code, as far as can be told from what is in
/// front of it: wherever decoding begins, it comes there.
pub(crate) fn begins_at(code: &[u8], place: usize) -> bool {
    let Some(from) = place.checked_sub(RUN_UP) else { return false };
    let comes = |start: usize| {
        let mut at = start;
        while at < place {
            match code.get(at..).and_then(length) {
                Some(len) => at += len,
                // Whoever is in the middle of one may find none.
                None => return None,
            }
        }
        Some(at == place)
    };
    let ends: Vec<bool> = (from..from + STARTS).filter_map(comes).collect();
    !ends.is_empty() && ends.iter().all(|&there| there)
}

/// Length of the first instruction; `None` if there is none that is known, or it is cut off.
fn length(code: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Operands of 16 bits, addresses of 32.
    let (mut short, mut narrow, mut wide) = (false, false, false);
    loop {
        match code.get(at)? {
            0x66 => short = true,
            0x67 => narrow = true,
            0xf0 | 0xf2 | 0xf3 | 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 => {}
            _ => break,
        }
        at += 1;
    }
    if let rex @ 0x40..=0x4f = code.get(at)? {
        wide = rex & 8 != 0;
        at += 1;
    }
    let word = if short && !wide { 2 } else { 4 };
    let opcode = *code.get(at)?;
    at += 1;
    let form = match opcode {
        0x0f => {
            let opcode = *code.get(at)?;
            at += 1;
            match opcode {
                0x38 => {
                    at += 1;
                    form(true, 0)
                }
                0x3a => {
                    at += 1;
                    form(true, 1)
                }
                0x80..=0x8f if short => return None,
                _ => of_0f(opcode)?,
            }
        }
        // VEX of two bytes, of three, EVEX: prefix, opcode.
        0xc5 => {
            at += 2;
            of_vex(1, *code.get(at - 1)?)?
        }
        0xc4 => {
            at += 3;
            of_vex(code.get(at - 3)? & 0x1f, *code.get(at - 1)?)?
        }
        0x62 => {
            at += 4;
            of_vex(code.get(at - 4)? & 7, *code.get(at - 1)?)?
        }
        0xf6 | 0xf7 => {
            let tests = code.get(at)? >> 3 & 6 == 0;
            form(
                true,
                if !tests {
                    0
                } else if opcode == 0xf6 {
                    1
                } else {
                    word
                },
            )
        }
        // Another prefix with more operands; jumps whose length CPUs do not agree on.
        0x8f if code.get(at)? & 0x38 != 0 => return None,
        0xe8 | 0xe9 if short => return None,
        0xa0..=0xa3 => form(false, if narrow { 4 } else { 8 }),
        0xb8..=0xbf if wide => form(false, 8),
        _ => of_one(opcode, word)?,
    };
    if form.modrm {
        at += patch::operand(code.get(at..)?)?;
    }
    Some(at + form.immediate).filter(|&len| len <= code.len() && len <= 15)
}

/// Opcodes of one byte; `word` is the length of an immediate of the operand's size.
fn of_one(opcode: u8, word: usize) -> Option<Form> {
    Some(match opcode {
        0x00..=0x3f => match opcode & 7 {
            0..=3 => form(true, 0),
            4 => form(false, 1),
            5 => form(false, word),
            _ => return None,
        },
        0x63 | 0x84..=0x8f | 0xd0..=0xd3 | 0xd8..=0xdf | 0xfe | 0xff => form(true, 0),
        0x50..=0x5f
        | 0x6c..=0x6f
        | 0x90..=0x99
        | 0x9b..=0x9f
        | 0xa4..=0xa7
        | 0xaa..=0xaf
        | 0xc3
        | 0xc9
        | 0xcb
        | 0xcc
        | 0xcf
        | 0xd7
        | 0xec..=0xef
        | 0xf1
        | 0xf4
        | 0xf5
        | 0xf8..=0xfd => form(false, 0),
        0x6a | 0x70..=0x7f | 0xa8 | 0xb0..=0xb7 | 0xcd | 0xe0..=0xe7 | 0xeb => form(false, 1),
        0x68 | 0xa9 | 0xb8..=0xbf => form(false, word),
        0xe8 | 0xe9 => form(false, 4),
        0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => form(true, 1),
        0x69 | 0x81 | 0xc7 => form(true, word),
        0xc2 | 0xca => form(false, 2),
        0xc8 => form(false, 3),
        _ => return None,
    })
}

/// Opcodes behind 0x0f.
fn of_0f(opcode: u8) -> Option<Form> {
    Some(match opcode {
        0x05..=0x09 | 0x0b | 0x0e | 0x30..=0x35 | 0x37 | 0x77 => form(false, 0),
        0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf => form(false, 0),
        0x80..=0x8f => form(false, 4),
        0x0f | 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => form(true, 1),
        0x04 | 0x0a | 0x0c | 0x24..=0x27 | 0x36 | 0x38..=0x3f | 0x7a | 0x7b | 0xa6 | 0xa7 => {
            return None;
        }
        _ => form(true, 0),
    })
}

/// Opcodes behind a VEX or EVEX prefix, by their map.
fn of_vex(map: u8, opcode: u8) -> Option<Form> {
    Some(match (map, opcode) {
        (1, 0x77) => form(false, 0),
        (1, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6) | (3, _) => form(true, 1),
        (1 | 2 | 5 | 6, _) => form(true, 0),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let cases: &[&[u8]] = &[
            b"\x90",
            b"\xf3\x0f\x1e\xfa",
            b"\x55",
            b"\x48\x89\xe5",
            b"\x41\x57",
            b"\x66\x2e\x0f\x1f\x84\0\0\0\0\0",
            b"\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08",
            b"\xb8\x01\0\0\0",
            b"\x66\xb8\x01\0",
            b"\x0f\xa2",
            b"\x0f\x05",
            b"\xe8\0\0\0\0",
            b"\x0f\x84\0\0\0\0",
            b"\x48\x8b\x05\x01\x02\x03\x04",
            b"\x48\x8b\x84\x24\x80\0\0\0",
            b"\x48\xc7\x44\x24\x08\x01\0\0\0",
            b"\x66\x81\x7d\x10\x34\x12",
            b"\xf6\x45\x01\x02",
            b"\xf7\x45\x01\x02\0\0\0",
            b"\xf7\xd8",
            b"\x66\xf7\xc1\x34\x12",
            b"\xf0\x0f\xb1\x35\x01\0\0\0",
            b"\x66\x0f\x6f\x05\x01\0\0\0",
            b"\x66\x0f\x3a\x0f\xc1\x08",
            b"\x66\x0f\x38\0\xc1",
            b"\xc5\xf8\x77",
            b"\xc5\xfd\x6f\x06",
            b"\xc4\xe3\x7d\x39\xc1\x01",
            b"\xc4\xe2\x7d\x78\xc0",
            b"\x62\xf1\x7e\x48\x6f\x06",
            b"\x62\xf3\x75\x48\x3e\xc2\x04",
            b"\x64\x48\x8b\x04\x25\x28\0\0\0",
            b"\xc8\x10\0\x01",
            b"\xa1\x01\x02\x03\x04\x05\x06\x07\x08",
            b"\xf2\xe9\0\0\0\0",
            b"\x0f\x01\xd0",
            b"\x0f\xc7\x0f",
        ];
        for case in cases {
            let mut code = case.to_vec();
            code.extend([0x90; 8]);
            assert_eq!(length(&code), Some(case.len()), "{case:x?}");
            assert_eq!(length(&case[..case.len() - 1]), None, "{case:x?} cut off");
        }
        for none in [&b"\x06"[..], b"\x60", b"\x82\0\0", b"\x0f\x04", b"", b"\x66", b"\x8f\xe8\x78"]
        {
            assert_eq!(length(none), None, "{none:x?}");
        }
    }

    #[test]
    fn only_whole_instructions_are_sites() {
        // mov eax, 0xa20f; cpuid; lea rax, [rip + 0xa20f]; cpuid; no instruction; cpuid
        let code = b"\xb8\x0f\xa2\0\0\x0f\xa2\x48\x8d\x05\x0f\xa2\0\0\x0f\xa2\x06\x0f\xa2";
        assert_eq!(sites(Trapping::Cpuid, code), [5, 14]);
        assert_eq!(sites(Trapping::Call, b"\xb8\x01\0\0\0\x0f\x05\xc3"), [5]);
    }
}
