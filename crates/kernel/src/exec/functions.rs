//! The `cpuid` instructions in the functions of an executable, whose unwind information tells
//! where each begins and ends (Linux Standard Base, "Exception Frames", `.eh_frame`).

use crate::vfs::Mappable;
use chitin_abi::Pod;
use chitin_abi::elf::{Ehdr, PF_X, Phdr, Shdr};
use chitin_platform::{Platform, Trapping};
use std::collections::BTreeSet;
use std::ops::Range;

/// Most bytes of text that are looked through, and that are decoded: dynamic linkers and static
/// programs as a rule.
const TEXT_MAX: u64 = 8 << 20;
/// Longest function that is decoded, in bytes, for each two may be such an instruction: those
/// of compilers are short.
const FUNCTION_MAX: usize = 256 << 10;
/// Most places that may be such instructions: dynamic linkers have 40.
const PLACES_MAX: usize = 1024;
/// Most bytes of unwind information.
const FRAMES_MAX: u64 = 2 << 20;
/// Most bytes of section names.
const NAMES_MAX: u64 = 64 << 10;
/// Pointers relative to their place, signed 32 bits (`DW_EH_PE_pcrel | DW_EH_PE_sdata4`).
const NEAR: u8 = 0x1b;
/// `cpuid`
const CPUID: [u8; 2] = [0x0f, 0xa2];

fn read(map: &dyn Mappable, offset: u64, len: u64, most: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(Some(len).filter(|&len| len <= most)?).ok()?];
    let n = map.read_at(offset, &mut bytes).ok()?;
    (n == bytes.len()).then_some(bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

/// The `.eh_frame` section and its address.
fn frames(map: &dyn Mappable, header: &Ehdr) -> Option<(Vec<u8>, u64)> {
    if usize::from(header.e_shentsize) != size_of::<Shdr>() {
        return None;
    }
    let mut sections = vec![Shdr::zeroed(); usize::from(header.e_shnum)];
    let len = (sections.len() * size_of::<Shdr>()) as u64;
    let bytes = read(map, header.e_shoff, len, len)?;
    for (section, bytes) in sections.iter_mut().zip(bytes.chunks_exact(size_of::<Shdr>())) {
        section.as_bytes_mut().copy_from_slice(bytes);
    }
    let names = sections.get(usize::from(header.e_shstrndx))?;
    let names = read(map, names.sh_offset, names.sh_size, NAMES_MAX)?;
    let is_it = |s: &&Shdr| {
        let name = usize::try_from(s.sh_name).ok().and_then(|at| names.get(at..));
        name.is_some_and(|name| name.starts_with(b".eh_frame\0"))
    };
    let section = sections.iter().find(is_it)?;
    Some((read(map, section.sh_offset, section.sh_size, FRAMES_MAX)?, section.sh_addr))
}

/// Whether the functions of a common entry are given by near pointers.
fn is_near(common: &[u8]) -> Option<bool> {
    // Version, augmentation, factors, register of the return address.
    let [1, rest @ ..] = common else { return Some(false) };
    // It is parsed for each function: what is longer than compilers write is not known.
    let end = rest.iter().take(8).position(|&b| b == 0)?;
    let (augmentation, rest) = rest.split_at(end);
    let [b'z', kinds @ ..] = augmentation else { return Some(false) };
    // All of these, and the length that follows, are a byte long in what compilers write.
    let [0, code, data, register, len, rest @ ..] = rest else { return None };
    if (code | data | register | len) & 0x80 != 0 {
        return Some(false);
    }
    let mut rest = rest;
    for kind in kinds {
        let skipped = match kind {
            b'R' => return Some(*rest.first()? == NEAR),
            b'L' => 1,
            b'P' => match rest.first()? & 0xf {
                0x3 | 0xb => 5,
                0x0 | 0x4 | 0xc => 9,
                _ => return None,
            },
            b'S' | b'B' => 0,
            _ => return None,
        };
        rest = rest.get(skipped..)?;
    }
    Some(false)
}

/// The entry at a byte offset of the section, which is at `base`: where the next one is, and
/// the addresses of the function that it describes.
fn entry(frames: &[u8], base: u64, at: usize) -> Option<(usize, Option<Range<u64>>)> {
    let body = |at: usize| {
        // The last one is empty; some are too long for 32 bits.
        let len = usize::try_from(u32_at(frames, at)?).ok().filter(|&len| len > 4)?;
        let start = at + 4;
        frames.get(start..start.checked_add(len)?)
    };
    let bytes = body(at)?;
    let next = at + 4 + bytes.len();
    let back = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let common = (at + 4).checked_sub(back).filter(|_| back != 0).and_then(body);
    if common.and_then(|c| is_near(c.get(4..)?)) != Some(true) {
        return Some((next, None));
    }
    let place = base.checked_add(at as u64 + 8)?;
    let begin = place.checked_add_signed(i64::from(u32_at(bytes, 4)?.cast_signed()))?;
    Some((next, Some(begin..begin.checked_add(u32_at(bytes, 8)?.into())?)))
}

/// Byte offsets in the file of the `cpuid` instructions that are surely such.
pub(super) fn cpuid_sites(
    map: &dyn Mappable,
    header: &Ehdr,
    segments: &[Phdr],
    platform: &dyn Platform,
) -> Vec<u64> {
    let mut found = Vec::new();
    // Linkers make one.
    let Some(segment) = segments.iter().find(|p| p.p_flags & PF_X != 0) else { return found };
    let text = read(map, segment.p_offset, segment.p_filesz, TEXT_MAX).unwrap_or_default();
    let like = (segment.p_vaddr..).zip(text.windows(2)).filter(|(_, w)| *w == CPUID);
    let like: BTreeSet<u64> = like.map(|(addr, _)| addr).take(PLACES_MAX).collect();
    let frames = if like.is_empty() { None } else { frames(map, header) };
    let Some((frames, base)) = frames else { return found };
    let (mut at, mut to_decode) = (0, TEXT_MAX);
    while let Some((next, function)) = entry(&frames, base, at) {
        at = next;
        let Some(function) = function.filter(|f| like.range(f.clone()).next().is_some()) else {
            continue;
        };
        let place = |addr: u64| usize::try_from(addr.checked_sub(segment.p_vaddr)?).ok();
        let ends = place(function.start).zip(place(function.end));
        let code = ends.and_then(|(b, e)| Some((b, text.get(b..e)?)));
        let Some((begin, code)) = code.filter(|(_, code)| code.len() <= FUNCTION_MAX) else {
            continue;
        };
        // Functions that lie one in another would take for ever.
        let Some(left) = to_decode.checked_sub(code.len() as u64) else { break };
        to_decode = left;
        let sites = platform.sites(Trapping::Cpuid, code).into_iter();
        let sites = sites.filter(|&site| like.contains(&(function.start + site as u64)));
        found.extend(sites.map(|site| segment.p_offset + (begin + site) as u64));
        if found.len() > PLACES_MAX {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A common entry ("zR", near pointers), two functions at 0x1010 and 0x1100, the end.
    fn section() -> Vec<u8> {
        let mut bytes = vec![0x14, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(b"\x01zR\0\x01\x78\x10\x01\x1b\x0c\x07\x08\x90\x01\0\0");
        for (start, len) in [(0x1010_u32, 0x20_u32), (0x1100, 0x8)] {
            let at = bytes.len() as u32;
            bytes.extend(0xc_u32.to_le_bytes());
            bytes.extend((at + 4).to_le_bytes());
            // The section is at 0x2000.
            bytes.extend(start.wrapping_sub(0x2000 + at + 8).to_le_bytes());
            bytes.extend(len.to_le_bytes());
        }
        bytes.extend([0; 4]);
        bytes
    }

    fn all(frames: &[u8]) -> Vec<Range<u64>> {
        let (mut at, mut found) = (0, Vec::new());
        while let Some((next, function)) = entry(frames, 0x2000, at) {
            assert!(next > at);
            at = next;
            found.extend(function);
        }
        found
    }

    #[test]
    fn functions_are_found() {
        assert_eq!(all(&section()), [0x1010..0x1030, 0x1100..0x1108]);
    }

    #[test]
    fn damaged_sections_end_early() {
        let whole = section();
        for i in 0..whole.len() {
            all(&whole[..i]);
            for by in [1, 0x7f, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[i] ^= by;
                all(&damaged);
            }
        }
    }

    #[test]
    fn other_pointers_are_left_alone() {
        let mut bytes = section();
        let at = bytes.iter().position(|&b| b == NEAR).unwrap();
        bytes[at] = 0x10;
        assert_eq!(all(&bytes), []);
    }
}
