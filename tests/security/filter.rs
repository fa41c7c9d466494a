//! What a seccomp filter lets through, by following all of its paths (`seccomp(2)`). Arguments and instruction pointer
//! are unknown: a jump on them goes both ways.

/// One instruction: code, jump if true, jump if false, operand.
pub(crate) type Instruction = [u32; 4];

const LOAD: u32 = 0x20;
const AND: u32 = 0x54;
const RETURN: u32 = 0x06;
const JUMP: u32 = 0x05;
const ALLOW: u32 = 0x7fff_0000;
const ARCH_X86_64: u32 = 0xc000_003e;

/// Whether any path ends in "allow" for call `nr`. Fails on an instruction that it does not know.
pub(crate) fn may_allow(filter: &[Instruction], nr: u32) -> Result<bool, String> {
    // Program counter and accumulator, if it is known.
    let mut open = vec![(0_usize, Some(0_u32))];
    while let Some((at, acc)) = open.pop() {
        let &[code, jt, jf, k] = filter.get(at).ok_or("a path beyond the end")?;
        let next = at + 1;
        let (yes, no) = (next + jt as usize, next + jf as usize);
        let holds = match code {
            LOAD => {
                let value = match k {
                    0 => Some(nr),
                    4 => Some(ARCH_X86_64),
                    _ => None,
                };
                open.push((next, value));
                continue;
            }
            AND => {
                open.push((next, acc.map(|a| a & k)));
                continue;
            }
            RETURN if k == ALLOW => return Ok(true),
            RETURN => continue,
            JUMP => {
                open.push((next + k as usize, acc));
                continue;
            }
            0x15 => acc.map(|a| a == k),
            0x25 => acc.map(|a| a > k),
            0x35 => acc.map(|a| a >= k),
            0x45 => acc.map(|a| a & k != 0),
            other => return Err(format!("instruction {other:#x}")),
        };
        if holds != Some(false) {
            open.push((yes, acc));
        }
        if holds != Some(true) {
            open.push((no, acc));
        }
    }
    Ok(false)
}

/// The calls that all filters of a thread may allow.
pub(crate) fn allowed(filters: &[Vec<Instruction>]) -> Result<Vec<u32>, String> {
    let mut calls = Vec::new();
    for nr in 0..1024 {
        let mut all = !filters.is_empty();
        for filter in filters {
            all = all && may_allow(filter, nr)?;
        }
        if all {
            calls.push(nr);
        }
    }
    Ok(calls)
}
