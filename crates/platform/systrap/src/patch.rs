//! Patching of sites: a `syscall` or `cpuid` instruction and what is behind it become a
//! jump to a trampoline, which has those instructions too and jumps back.
//!
//! The jump's displacement is chosen so that the third byte of the site, where the
//! next instruction was, is no instruction: who comes there gets `SIGILL` and is sent to
//! the trampoline's second half. Where several instructions move, nothing in the same page
//! may jump between them, and no short jump from the next one may come there.
//!
//! Where that cannot be, as at the end of a page, what is in front of a call becomes the jump if that
//! is a `mov` of 32 bits to a register, as it often is; the call itself stays.

use crate::decode;
use crate::layout::{CPUID_ANY, CPUID_ENTRY, CPUID_TABLE};
use crate::zygote::COMMON;
use chitin_platform::{Patch, Room, Trapping};

/// Opcodes that are none in 64-bit mode on any CPU.
const NO_OPCODES: [u8; 16] = [
    0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x82, 0x9a, 0xea,
];
/// Bytes of the jump back, and of that at the site.
const JUMP: usize = 5;
/// Bytes of both instructions that are replaced.
const SITE: usize = 2;
/// Bytes of a conditional jump to anywhere.
const BRANCH: usize = 6;
/// How far a short jump goes, itself included, in bytes.
const SHORT: usize = 130;

/// Plans a patch of the instruction at `at` of its page; `distance` is how many bytes it is
/// behind the room's beginning.
pub(crate) fn plan(
    what: Trapping,
    page: &[u8],
    at: u64,
    distance: u64,
    room: &mut Room,
) -> Option<Patch> {
    let at = usize::try_from(at).ok()?;
    let behind = plan_behind(what, page, at, distance, room);
    let before = || (what == Trapping::Call).then(|| plan_before(page, at, distance, room))?;
    behind.or_else(before)
}

/// Plans one that replaces the instruction.
fn plan_behind(
    what: Trapping,
    page: &[u8],
    at: usize,
    distance: u64,
    room: &mut Room,
) -> Option<Patch> {
    let code = page.get(at..)?;
    if code.get(..SITE)? != opcode(what) {
        return None;
    }
    let behind = code.get(SITE..)?;
    let moved = movable(behind)?;
    // A call's site may be entered behind the instruction, as it is when it restarts; but code
    // that leaves from there at once is where others often come together.
    let first = instruction(behind).map_or(0, |(len, _)| len);
    let several = what == Trapping::Cpuid || first < moved;
    let meets = what == Trapping::Cpuid || instructions(behind, moved).is_none();
    let inside = if meets { at + SITE } else { at + SITE + 1 };
    let inside = inside..at + SITE + moved;
    let short = SHORT..page.len().saturating_sub(SHORT);
    let seen = short.contains(&inside.start) && inside.end <= short.end;
    if several && (!seen || is_jumped_to(page, inside)) {
        return None;
    }
    let head = match what {
        Trapping::Call => call_head(),
        Trapping::Cpuid => cpuid_head(),
    };
    let distance = i64::try_from(distance).ok()?;
    // From the end of the jump at the site to the trampoline.
    let jump = |at: u64| i32::try_from(i64::try_from(at).ok()? - (distance + JUMP as i64)).ok();
    let fits = |at| jump(at).is_some_and(|d| NO_OPCODES.contains(&d.to_le_bytes()[1]));
    let room_at = room.take((head.len() + moved + BRANCH + JUMP) as u64, fits)?;
    let [d0, d1, d2, d3] = jump(room_at)?.to_le_bytes();
    let after = room_at + head.len() as u64;
    let mut bytes = head;
    relocate(
        behind.get(..moved)?,
        distance + SITE as i64 - i64::try_from(after).ok()?,
        &mut bytes,
    )?;
    let end = i64::try_from(room_at).ok()? + (bytes.len() + JUMP) as i64;
    let back = i32::try_from(distance + (SITE + moved) as i64 - end).ok()?;
    bytes.push(0xe9);
    bytes.extend(back.to_le_bytes());
    let text = [0xe9, d0, d1, d2, d3];
    Some(Patch { text, before: 0, at: room_at, code: bytes, after, moved: moved as u64 })
}

/// Plans one that replaces what is in front of a call.
fn plan_before(page: &[u8], at: usize, distance: u64, room: &mut Room) -> Option<Patch> {
    let is_call = |code: &[u8]| opcode(Trapping::Call).starts_with(code);
    let start = at.checked_sub(JUMP)?;
    let (before, rest) = page.get(start..)?.split_at_checked(JUMP)?;
    let is_mov = matches!(before, [0xb8..=0xbf, ..]);
    if !is_mov || !is_call(rest.get(..SITE.min(rest.len()))?) || !decode::begins_at(page, start) {
        return None;
    }
    let head = call_head();
    let room_at = room.take((JUMP + head.len() + JUMP) as u64, |_| true)?;
    // Of a jump that ends at one place to another, both behind the room's beginning.
    let jump = |end: u64, to: u64| {
        Some(i32::try_from(i64::try_from(to).ok()? - i64::try_from(end).ok()?).ok()?.to_le_bytes())
    };
    let mut code = before.to_vec();
    code.extend(head);
    let after = room_at + code.len() as u64;
    code.push(0xe9);
    code.extend(jump(after + JUMP as u64, distance + SITE as u64)?);
    let [d0, d1, d2, d3] = jump(distance, room_at)?;
    let text = [0xe9, d0, d1, d2, d3];
    Some(Patch { text, before: JUMP as u64, at: room_at, code, after, moved: 0 })
}

/// What a site begins with.
pub(crate) fn opcode(what: Trapping) -> [u8; SITE] {
    match what {
        Trapping::Call => [0x0f, 0x05],
        Trapping::Cpuid => [0x0f, 0xa2],
    }
}

/// lea r11, [rip + behind]; movabs rcx, common; jmp rcx; syscall
fn call_head() -> Vec<u8> {
    let mut bytes = vec![0x4c, 0x8d, 0x1d, 14, 0, 0, 0, 0x48, 0xb9];
    bytes.extend(COMMON.to_le_bytes());
    bytes.extend([0xff, 0xe1, 0x0f, 0x05]);
    bytes
}

/// Looks a leaf (edx) and subleaf (ecx) up in the table; the CPU answers what is not there.
/// Flags are kept in ebx meanwhile: all four registers are results in the end.
fn cpuid_head() -> Vec<u8> {
    let entry = CPUID_ENTRY as u8;
    let any = CPUID_ANY as u8;
    let mut bytes = vec![0x89, 0xc2]; // mov edx, eax
    bytes.extend([0x9f, 0x0f, 0x90, 0xc0]); // lahf; seto al
    bytes.extend([0x0f, 0xb7, 0xd8]); // movzx ebx, ax
    bytes.extend([0x48, 0xb8]); // movabs rax, table
    bytes.extend(CPUID_TABLE.to_le_bytes());
    // next:
    bytes.extend([0x83, 0x78, 0x04, 0x00]); // cmp dword ptr [rax + 4], 0
    bytes.extend([0x74, 21]); // je real
    bytes.extend([0x39, 0x10]); // cmp [rax], edx
    bytes.extend([0x75, 11]); // jne skip
    bytes.extend([0x83, 0x78, 0x04, any]); // cmp dword ptr [rax + 4], any
    bytes.extend([0x74, 22]); // je found
    bytes.extend([0x39, 0x48, 0x08]); // cmp [rax + 8], ecx
    bytes.extend([0x74, 17]); // je found
    // skip:
    bytes.extend([0x48, 0x83, 0xc0, entry]); // add rax, entry
    bytes.extend([0xeb, 0xe5]); // jmp next
    // real:
    bytes.extend([0x89, 0xd8, 0x04, 0x7f, 0x9e]); // mov eax, ebx; add al, 0x7f; sahf
    bytes.extend([0x89, 0xd0, 0x0f, 0xa2]); // mov eax, edx; cpuid
    bytes.extend([0xeb, 20]); // jmp end
    // found:
    bytes.extend([0x48, 0x89, 0xc1]); // mov rcx, rax
    bytes.extend([0x89, 0xd8, 0x04, 0x7f, 0x9e]); // mov eax, ebx; add al, 0x7f; sahf
    bytes.extend([0x8b, 0x41, 0x10, 0x8b, 0x59, 0x14]); // mov eax, [rcx + 16]; mov ebx, [rcx + 20]
    bytes.extend([0x8b, 0x51, 0x1c, 0x8b, 0x49, 0x18]); // mov edx, [rcx + 28]; mov ecx, [rcx + 24]
    bytes
}

/// Length of the instructions that cover the rest of the jump, if they work anywhere.
fn movable(code: &[u8]) -> Option<usize> {
    // A return, and padding that nothing jumps to.
    if let [0xc3, a, b, ..] = code {
        let padding = matches!((a, b), (0x90, 0x90) | (0xcc, 0xcc) | (0x0f, 0x1f))
            || *a == 0x66 && matches!(b, 0x2e | 0x0f | 0x90 | 0x66);
        return padding.then_some(1);
    }
    let mut len = 0;
    while len < JUMP - SITE {
        let rest = code.get(len..)?;
        match instruction(rest) {
            Some((more, _)) => len += more,
            // A conditional jump is longer where it goes to, so that nothing comes behind it.
            None => {
                let last = if rest.first() == Some(&0xc3) { 1 } else { branch(rest)?.0 };
                len += Some(last).filter(|last| len + last >= JUMP - SITE)?;
            }
        }
    }
    (len <= code.len()).then_some(len)
}

/// `len` if that many bytes are instructions that can move and that go on behind them.
fn instructions(code: &[u8], len: usize) -> Option<usize> {
    let mut at = 0;
    while at < len {
        at += instruction(code.get(at..)?)?.0;
    }
    Some(len)
}

/// Length, condition and target, in bytes from its end, of a conditional jump.
fn branch(code: &[u8]) -> Option<(usize, u8, i64)> {
    match *code {
        [opcode @ 0x70..=0x7f, by, ..] => Some((2, opcode & 0xf, i64::from(by.cast_signed()))),
        [0x0f, opcode @ 0x80..=0x8f, a, b, c, d, ..] => {
            Some((6, opcode & 0xf, i64::from(i32::from_le_bytes([a, b, c, d]))))
        }
        _ => None,
    }
}

/// Length of an instruction that can move, and where in it a displacement from the
/// instruction pointer is.
fn instruction(code: &[u8]) -> Option<(usize, Option<usize>)> {
    let prefix = usize::from(matches!(code.first()?, 0x40..=0x4f));
    let opcode = *code.get(prefix)?;
    let operands = code.get(prefix + 1..)?;
    let immediate = match opcode {
        // push and pop of a register
        0x50..=0x5f => return Some((prefix + 1, None)),
        // add, and, sub, cmp of an immediate to the accumulator
        0x05 | 0x25 | 0x2d | 0x3d => return Some((prefix + 5, None)),
        // the same with 8 bits; test
        0x04 | 0x24 | 0x2c | 0x3c | 0xa8 => return Some((prefix + 2, None)),
        // mov of an immediate to a 32-bit register
        0xb8..=0xbf if prefix == 0 => return Some((5, None)),
        // add, or, and, sub, xor, cmp, test, mov, lea, movsxd with a ModRM byte
        0x01 | 0x03 | 0x09 | 0x0b | 0x21 | 0x23 | 0x29 | 0x2b | 0x31 | 0x33 | 0x39 | 0x3b
        | 0x63 | 0x85 | 0x89 | 0x8b | 0x8d => 0,
        // shifts and the others with an 8-bit immediate
        0x83 | 0xc1 => 1,
        0x81 | 0xc7 => 4,
        // not, neg
        0xf7 if operands.first()? >> 3 & 6 == 2 => 0,
        _ => return None,
    };
    let relative = operands.first()? & 0xc7 == 5;
    let len = prefix + 1 + operand(operands)? + immediate;
    (len <= code.len()).then_some((len, relative.then_some(prefix + 2)))
}

/// Length of a ModRM byte and what belongs to it.
pub(crate) fn operand(code: &[u8]) -> Option<usize> {
    let modrm = *code.first()?;
    let (mode, rm) = (modrm >> 6, modrm & 7);
    if mode == 3 {
        return Some(1);
    }
    let sib = usize::from(rm == 4);
    let no_base = sib == 1 && code.get(1)? & 7 == 5;
    Some(match mode {
        0 if rm == 5 => 5,
        0 => 1 + sib + if no_base { 4 } else { 0 },
        1 => 2 + sib,
        _ => 5 + sib,
    })
}

/// Appends instructions that move down by `by` bytes.
fn relocate(code: &[u8], by: i64, out: &mut Vec<u8>) -> Option<()> {
    let mut at = 0;
    while at < code.len() {
        let rest = code.get(at..)?;
        if rest.first() == Some(&0xc3) {
            out.extend(rest);
            return Some(());
        }
        if let Some((len, condition, target)) = branch(rest) {
            let target = target + by + len as i64 - BRANCH as i64;
            out.extend([0x0f, 0x80 | condition]);
            out.extend(i32::try_from(target).ok()?.to_le_bytes());
            return Some(());
        }
        let (len, relative) = instruction(rest)?;
        let mut bytes = rest.get(..len)?.to_vec();
        if let Some(place) = relative {
            let field = bytes.get_mut(place..place + 4)?;
            let old = i32::from_le_bytes((&*field).try_into().ok()?);
            field.copy_from_slice(&i32::try_from(i64::from(old) + by).ok()?.to_le_bytes());
        }
        out.extend(bytes);
        at += len;
    }
    Some(())
}

/// Whether something in the page may be a jump into the range. What looks like one counts.
fn is_jumped_to(page: &[u8], range: std::ops::Range<usize>) -> bool {
    let hits = |end: usize, by: i64| {
        let target = end as i64 + by;
        usize::try_from(target).is_ok_and(|target| range.contains(&target))
    };
    let near = |bytes: [u8; 4]| i64::from(i32::from_le_bytes(bytes));
    (0..page.len()).any(|i| match page[i..] {
        [0x70..=0x7f | 0xe0..=0xe3 | 0xeb, by, ..] => hits(i + 2, i64::from(by.cast_signed())),
        [0xe8 | 0xe9, a, b, c, d, ..] => hits(i + 5, near([a, b, c, d])),
        [0x0f, 0x80..=0x8f, a, b, c, d, ..] => hits(i + 6, near([a, b, c, d])),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A patch of code in the middle of a page.
    fn plan_of(what: Trapping, code: &[u8], distance: u64, room: &mut Room) -> Option<Patch> {
        let mut page = [0x90; 4096];
        page[2000..2000 + code.len()].copy_from_slice(code);
        plan(what, &page, 2000, distance, room)
    }

    fn call(code: &[u8], distance: u64, room: &mut Room) -> Option<Patch> {
        plan_of(Trapping::Call, code, distance, room)
    }

    #[test]
    fn the_jump_goes_there_and_back() {
        let code = b"\x0f\x05\x48\x3d\x01\xf0\xff\xff\x77\x02";
        let mut room = Room::default();
        let distance = 0x2_1234;
        let patch = call(code, distance, &mut room).unwrap();
        assert!(NO_OPCODES.contains(&patch.text[2]));
        let to = i32::from_le_bytes(patch.text[1..].try_into().unwrap());
        assert_eq!(distance as i64 + 5 + i64::from(to), patch.at as i64);
        assert_eq!(&patch.code[19..27], b"\x0f\x05\x48\x3d\x01\xf0\xff\xff");
        let back = i32::from_le_bytes(patch.code[28..32].try_into().unwrap());
        assert_eq!(patch.at as i64 + 32 + i64::from(back), distance as i64 + 8);
        assert_eq!(patch.after, patch.at + 21);
        let second = call(code, distance, &mut room).unwrap();
        assert!(second.at >= patch.at + 32 || second.at + 32 <= patch.at);
    }

    #[test]
    fn displacements_from_the_instruction_pointer_are_kept() {
        // cpuid; mov [rip + 0x1e337], edx; nop
        let code = b"\x0f\xa2\x89\x15\x37\xe3\x01\x00\x90\x90\x90\x90\x90\x90";
        let mut room = Room::default();
        let distance = 0x2_0000;
        let patch = plan_of(Trapping::Cpuid, code, distance, &mut room).unwrap();
        let at = (patch.after - patch.at) as usize;
        assert_eq!(&patch.code[at..at + 2], b"\x89\x15");
        let by = i32::from_le_bytes(patch.code[at + 2..at + 6].try_into().unwrap());
        assert_eq!(patch.after as i64 + 6 + i64::from(by), distance as i64 + 8 + 0x1e337);
    }

    #[test]
    fn a_conditional_jump_goes_where_it_went() {
        // syscall; test eax, eax; jne
        let code = b"\x0f\x05\x85\xc0\x75\x7c\x90\x90\x90\x90";
        let distance = 0x2_0000;
        let patch = call(code, distance, &mut Room::default()).unwrap();
        assert_eq!(patch.moved, 4);
        let at = (patch.after - patch.at) as usize;
        let [0x85, 0xc0, 0x0f, 0x85, jump @ ..] = &patch.code[at..] else { panic!("{patch:x?}") };
        let by = i32::from_le_bytes(jump[..4].try_into().unwrap());
        assert_eq!(patch.after as i64 + 8 + i64::from(by), distance as i64 + 6 + 0x7c);
        let back = i32::from_le_bytes(jump[5..].try_into().unwrap());
        assert_eq!((jump[4], jump.len()), (0xe9, 9));
        assert_eq!(patch.after as i64 + 13 + i64::from(back), distance as i64 + 6);
    }

    #[test]
    fn several_instructions_move_unless_something_jumps_between() {
        // cpuid; mov edx, eax; and edx, 31; a jump elsewhere
        let mut code =
            b"\x0f\xa2\x89\xc2\x83\xe2\x1f\x90\x90\x90\x90\x90\x75\x10\x90\x90\x90\x90\x90"
                .to_vec();
        let patch = plan_of(Trapping::Cpuid, &code, 0x2_0000, &mut Room::default()).unwrap();
        assert_eq!(patch.moved, 5);
        // to the second of them
        code[13] = 0xf6;
        assert_eq!(plan_of(Trapping::Cpuid, &code, 0x2_0000, &mut Room::default()), None);
        // to the first
        code[13] = 0xf4;
        assert_eq!(plan_of(Trapping::Cpuid, &code, 0x2_0000, &mut Room::default()), None);
    }

    #[test]
    fn jumps_near_the_ends_of_a_page_count() {
        // syscall; test eax, eax; jne: only one instruction may move where others may jump to.
        let (several, one) = (b"\x0f\x05\x85\xc0\x75\x7c", b"\x0f\x05\x48\x3d\x01\xf0\xff\xff");
        let at = |at: usize, code: &[u8]| {
            let mut page = [0x90; 4096];
            page[at..at + code.len()].copy_from_slice(code);
            plan(Trapping::Call, &page, at as u64, 0x2_0000, &mut Room::default())
        };
        for edge in [0, 100, 4096 - 130, 4096 - 8] {
            assert!(at(edge, several).is_none() && at(edge, one).is_some());
        }
        assert!(at(200, several).is_some());
        // The page ends with a short jump.
        let mut page = [0x90; 4096];
        page[4094..].copy_from_slice(&[0xeb, 0x80]);
        assert!(is_jumped_to(&page, 4096 - 128..4096 - 127));
    }

    #[test]
    fn a_call_that_ends_its_page_is_entered_in_front() {
        // mov edi, -100; syscall
        let page_with = |mov: &[u8], at: usize| {
            let mut page = vec![0x90; 4096];
            let start = at - mov.len();
            page[start..at].copy_from_slice(mov);
            let call = [0x0f, 0x05, 0x48, 0x3d];
            page[at..].copy_from_slice(&call[..4096 - at]);
            page
        };
        let distance = 0x2_0fff;
        let plan = |page: &[u8], at: u64| {
            let distance = distance - 0xfff + at;
            plan(Trapping::Call, page, at, distance, &mut Room::default())
        };
        let mov = b"\xbf\x9c\xff\xff\xff";
        for at in 4092..4096 {
            let patch = plan(&page_with(mov, at), at as u64).unwrap();
            assert_eq!((patch.before, patch.moved, &patch.code[..5]), (5, 0, &mov[..]));
            let site = (distance - 0xfff + at as u64) as i64;
            let there = i32::from_le_bytes(patch.text[1..].try_into().unwrap());
            assert_eq!(site + i64::from(there), patch.at as i64);
            let back = i32::from_le_bytes(*patch.code.last_chunk().unwrap());
            assert_eq!(patch.after as i64 + 5 + i64::from(back), site + 2);
            assert_eq!(patch.after, patch.at + patch.code.len() as u64 - 5);
        }
        // mov r15d, imm32; mov [rbp - 0x41], imm32; another instruction
        for mov in [&b"\x41\xbf\x9c\xff\xff\xff"[..], b"\xc7\x45\xbf\x9c\xff\xff\xff", b"\x90\x90"]
        {
            assert_eq!(plan(&page_with(mov, 4095), 4095), None);
        }
    }

    #[test]
    fn only_what_works_anywhere_is_moved() {
        assert_eq!(movable(b"\x48\x3d\x01\xf0\xff\xff"), Some(6));
        assert_eq!(movable(b"\x3d\x01\xf0\xff\xff"), Some(5));
        assert_eq!(movable(b"\x49\x89\xc0\x90"), Some(3));
        assert_eq!(movable(b"\x48\x8b\x44\x24\x08\x90"), Some(5));
        assert_eq!(movable(b"\x48\x83\xf8\xff"), Some(4));
        assert_eq!(movable(b"\xc3\x0f\x1f\x40\0"), Some(1));
        assert_eq!(movable(b"\xc3\x48\x89\xc0"), None);
        assert_eq!(movable(b"\x85\xc0\x74\x02"), Some(4));
        assert_eq!(movable(b"\x74\x02\x85\xc0"), None);
        assert_eq!(movable(b"\x89\xd0\xc3"), Some(3));
        assert_eq!(movable(b"\x57\xc3\x90\x90"), None);
        assert_eq!(movable(b"\x57\x3d\x01\xf0\xff\xff"), Some(6));
        assert_eq!(movable(b"\x85\xc0\xeb\x02"), None);
        assert_eq!(movable(b"\x48\x8b\x05\0\0\0\0"), Some(7));
        assert_eq!(movable(b"\x48\x3d\x01"), None);
        assert_eq!(movable(b""), None);
    }

    /// The whole of a trampoline, run as it is but for its table.
    #[test]
    fn the_head_of_cpuid_jumps_where_it_should() {
        let head = cpuid_head();
        let target = |at: usize| at as i64 + 2 + i64::from(head[at + 1] as i8);
        let at = |bytes: &[u8]| head.windows(bytes.len()).position(|w| w == bytes).unwrap() as i64;
        let (next, real) = (at(&[0x83, 0x78, 0x04, 0x00]), at(&[0x89, 0xd8, 0x04, 0x7f]));
        let (skip, found) = (at(&[0x48, 0x83, 0xc0]), at(&[0x48, 0x89, 0xc1]));
        let next_at = usize::try_from(next).unwrap();
        assert_eq!(target(next_at + 4), real);
        assert_eq!(target(next_at + 8), skip);
        assert_eq!(target(next_at + 14), found);
        assert_eq!(target(next_at + 19), found);
        assert_eq!(target(usize::try_from(skip).unwrap() + 4), next);
        assert_eq!(target(usize::try_from(found).unwrap() - 2), head.len() as i64);
    }
}
