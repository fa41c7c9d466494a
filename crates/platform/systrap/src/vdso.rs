//! The guest's vDSO image, and what it finds in the host's.
//!
//! The host maps the same vDSO into every process, at addresses of its choice: functions
//! are looked up in the sentry's own, and their addresses in the stubs told by the zygote.

use crate::layout::{VDSO_CLOCK_GETRES, VDSO_CLOCK_GETTIME, VDSO_GETTIMEOFDAY, VDSO_TIME};

/// The guest's vDSO.
pub(crate) static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vdso.elf"));
/// Functions by their place in the table.
const FUNCTIONS: [(u64, &[u8]); 4] = [
    (VDSO_CLOCK_GETTIME, b"__vdso_clock_gettime"),
    (VDSO_CLOCK_GETRES, b"__vdso_clock_getres"),
    (VDSO_GETTIMEOFDAY, b"__vdso_gettimeofday"),
    (VDSO_TIME, b"__vdso_time"),
];
/// Longest image of a host's vDSO that is looked at, in bytes.
const LONGEST: usize = 1 << 16;

/// The table of a stub whose host vDSO is at `base` (0: there is none).
pub(crate) fn table(base: u64) -> [u64; FUNCTIONS.len()] {
    let mut table = [0; FUNCTIONS.len()];
    let Some(image) = own().filter(|_| base != 0) else { return table };
    for (index, name) in FUNCTIONS {
        table[index as usize] = function(image, name).map_or(0, |at| base + at);
    }
    table
}

/// The vDSO of this process, from its header to the end of its table of sections.
fn own() -> Option<&'static [u8]> {
    // SAFETY: getauxval has no preconditions.
    let base = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as *const u8;
    if base.is_null() {
        return None;
    }
    // SAFETY: the host says that an ELF image is there, and never takes it away.
    let header = unsafe { std::slice::from_raw_parts(base, 64) };
    let end = word(header, 40, 8)?.checked_add(64 * word(header, 60, 2)?)?;
    let len = usize::try_from(end).ok().filter(|&len| (64..=LONGEST).contains(&len))?;
    // SAFETY: the image is mapped whole.
    Some(unsafe { std::slice::from_raw_parts(base, len) })
}

fn word(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(len)?)?;
    Some(field.iter().rev().fold(0, |value, &b| value << 8 | u64::from(b)))
}

/// Where a function of an image is, by its dynamic symbols (`elf(5)`).
fn function(elf: &[u8], name: &[u8]) -> Option<u64> {
    let field = |at: u64, len| word(elf, usize::try_from(at).ok()?, len);
    let (sections, count) = (field(40, 8)?, field(60, 2)?);
    let section = |index: u64| sections + 64 * index;
    let symbols = (0..count).map(section).find(|&s| field(s + 4, 4) == Some(11))?;
    let names = field(section(field(symbols + 40, 4)?) + 24, 8)?;
    let first = field(symbols + 24, 8)?;
    let all = (0..field(symbols + 32, 8)? / 24).map(|i| first + 24 * i);
    for symbol in all {
        let at = usize::try_from(names + field(symbol, 4)?).ok()?;
        let rest = elf.get(at..).and_then(|r| r.strip_prefix(name));
        if rest.and_then(<[u8]>::first) == Some(&0) {
            return field(symbol + 8, 8).filter(|&value| value != 0);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found() {
        for (_, name) in FUNCTIONS {
            assert!(function(IMAGE, name).is_some(), "{}", String::from_utf8_lossy(name));
            if let Some(host) = own() {
                assert!(function(host, name).is_some(), "{}", String::from_utf8_lossy(name));
            }
        }
        assert_eq!(function(IMAGE, b"__vdso_clock"), None);
        assert_eq!(table(0), [0; FUNCTIONS.len()]);
    }

    #[test]
    fn the_image_fits_a_page_and_has_no_relocations() {
        let end = word(IMAGE, 40, 8).unwrap() + 64 * word(IMAGE, 60, 2).unwrap();
        assert!(end <= 4096, "{end}");
        let kinds = (0..word(IMAGE, 60, 2).unwrap())
            .map(|i| word(IMAGE, (word(IMAGE, 40, 8).unwrap() + 64 * i + 4) as usize, 4).unwrap());
        assert!(kinds.into_iter().all(|kind| kind != 4 && kind != 9));
    }
}
