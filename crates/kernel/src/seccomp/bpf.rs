//! Classic BPF as filters of system calls have it: [`Program`] is checked once, as Linux's
//! `bpf_check_classic` and `seccomp_check_filter` do, and ends after as many steps as it has
//! instructions: all jumps go forward.

use chitin_abi::seccomp::*;
use chitin_abi::{Errno, Pod};

/// `struct seccomp_data` in bytes.
const DATA_LEN: u32 = 64;
/// Width of a load; the only one there is.
const BPF_W: u16 = 0;

/// What an instruction with one of these codes needs to be right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Any value is.
    Plain,
    /// An aligned offset in the data.
    Data,
    /// A divisor.
    Divisor,
    /// Bits to shift by.
    Shift,
    /// A word of memory that is read.
    Load,
    /// A word of memory that is written.
    Store,
    /// A distance.
    Jump,
    /// Two of them.
    Branch,
    /// The end.
    Return,
}

/// The codes that filters of system calls may have.
fn kind(code: u16) -> Option<Kind> {
    const LD_ABS: u16 = BPF_LD | BPF_W | BPF_ABS;
    const DIV_K: u16 = BPF_ALU | BPF_DIV;
    let operand = code & !BPF_X;
    Some(match code {
        LD_ABS => Kind::Data,
        _ if code == BPF_RET | BPF_K || code == BPF_RET | BPF_A => Kind::Return,
        _ if code == BPF_LD | BPF_MEM || code == BPF_LDX | BPF_MEM => Kind::Load,
        BPF_ST | BPF_STX => Kind::Store,
        DIV_K => Kind::Divisor,
        _ if code == BPF_ALU | BPF_LSH || code == BPF_ALU | BPF_RSH => Kind::Shift,
        _ if code == BPF_JMP | BPF_JA => Kind::Jump,
        _ if [BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET].iter().any(|j| operand == BPF_JMP | j) => {
            Kind::Branch
        }
        _ if is_plain(code) => Kind::Plain,
        _ => return None,
    })
}

fn is_plain(code: u16) -> bool {
    const ALU: [u16; 8] = [BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR, BPF_AND, BPF_LSH, BPF_RSH];
    const OTHERS: [u16; 7] = [
        BPF_LD | BPF_IMM,
        BPF_LDX | BPF_IMM,
        BPF_LD | BPF_W | BPF_LEN,
        BPF_LDX | BPF_W | BPF_LEN,
        BPF_ALU | BPF_NEG,
        BPF_MISC | BPF_TAX,
        BPF_MISC | BPF_TXA,
    ];
    let operand = code & !BPF_X;
    ALU.iter().chain(&[BPF_XOR]).any(|op| operand == BPF_ALU | op) || OTHERS.contains(&code)
}

/// A checked filter.
#[derive(Debug)]
pub struct Program(Box<[SockFilter]>);

impl Program {
    /// Checks a filter; `EINVAL`.
    pub fn new(code: Vec<SockFilter>) -> Result<Self, Errno> {
        if code.is_empty() || code.len() > BPF_MAXINSNS {
            return Err(Errno::EINVAL);
        }
        let len = code.len();
        let known = |i: &SockFilter| kind(i.code).ok_or(Errno::EINVAL);
        for (at, i) in code.iter().enumerate() {
            let behind = |distance: u32| usize::try_from(distance).is_ok_and(|d| d < len - at - 1);
            let fits = match known(i)? {
                Kind::Plain | Kind::Return => true,
                Kind::Data => i.k < DATA_LEN && i.k % 4 == 0,
                Kind::Divisor => i.k != 0,
                Kind::Shift => i.k < 32,
                Kind::Load | Kind::Store => word(i.k) < BPF_MEMWORDS,
                Kind::Jump => behind(i.k),
                Kind::Branch => behind(i.jt.into()) && behind(i.jf.into()),
            };
            if !fits {
                return Err(Errno::EINVAL);
            }
        }
        let ends = code.last().is_some_and(|i| kind(i.code) == Some(Kind::Return));
        if !ends || !stores_before_loads(&code) {
            return Err(Errno::EINVAL);
        }
        Ok(Self(code.into()))
    }

    /// How many instructions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: there is at least one instruction.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the filter says of a call.
    #[must_use]
    pub fn run(&self, data: &SeccompData) -> u32 {
        let data = data.as_bytes();
        let mut memory = [0_u32; BPF_MEMWORDS];
        let (mut a, mut x) = (0_u32, 0_u32);
        let mut at = 0;
        while let Some(i) = self.0.get(at) {
            at += 1;
            let operand = if i.code & BPF_X == 0 { i.k } else { x };
            match i.code & 7 {
                BPF_LD | BPF_LDX => {
                    let value = match i.code & 0xe0 {
                        BPF_ABS => load(data, i.k),
                        BPF_MEM => memory.get(word(i.k)).copied().unwrap_or_default(),
                        BPF_LEN => DATA_LEN,
                        _ => i.k,
                    };
                    *(if i.code & 7 == BPF_LD { &mut a } else { &mut x }) = value;
                }
                class @ (BPF_ST | BPF_STX) => {
                    if let Some(slot) = memory.get_mut(word(i.k)) {
                        *slot = if class == BPF_ST { a } else { x };
                    }
                }
                BPF_ALU => match compute(i.code & 0xf0, a, operand) {
                    Some(value) => a = value,
                    // A division by zero ends the filter.
                    None => return 0,
                },
                BPF_JMP => at += jump(i, a, operand),
                BPF_RET => return if i.code & 0x18 == BPF_A { a } else { i.k },
                _ if i.code & 0xf8 == BPF_TAX => x = a,
                _ => a = x,
            }
        }
        SECCOMP_RET_KILL_PROCESS
    }
}

fn word(k: u32) -> usize {
    usize::try_from(k).unwrap_or(usize::MAX)
}

fn load(data: &[u8], at: u32) -> u32 {
    let bytes = data.get(word(at)..).and_then(|d| d.first_chunk());
    bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn compute(op: u16, a: u32, b: u32) -> Option<u32> {
    Some(match op {
        BPF_ADD => a.wrapping_add(b),
        BPF_SUB => a.wrapping_sub(b),
        BPF_MUL => a.wrapping_mul(b),
        BPF_DIV => return a.checked_div(b),
        BPF_OR => a | b,
        BPF_AND => a & b,
        BPF_LSH => a.wrapping_shl(b),
        BPF_RSH => a.wrapping_shr(b),
        BPF_XOR => a ^ b,
        _ => a.wrapping_neg(),
    })
}

fn jump(i: &SockFilter, a: u32, b: u32) -> usize {
    let is_so = match i.code & 0xf0 {
        BPF_JEQ => a == b,
        BPF_JGT => a > b,
        BPF_JGE => a >= b,
        BPF_JSET => a & b != 0,
        _ => return word(i.k),
    };
    usize::from(if is_so { i.jt } else { i.jf })
}

/// Whether each word of memory that is read was written on every way there.
fn stores_before_loads(code: &[SockFilter]) -> bool {
    // What was written on all jumps to an instruction.
    let mut arriving = vec![u16::MAX; code.len()];
    let mut written = 0_u16;
    for (at, i) in code.iter().enumerate() {
        written &= arriving.get(at).copied().unwrap_or_default();
        let mut arrive = |distance: u32| {
            if let Some(slot) = arriving.get_mut(at + 1 + word(distance)) {
                *slot &= written;
            }
        };
        match kind(i.code) {
            Some(Kind::Store) => written |= 1 << i.k,
            Some(Kind::Load) if written & 1 << i.k == 0 => return false,
            Some(Kind::Jump) => {
                arrive(i.k);
                written = u16::MAX;
            }
            Some(Kind::Branch) => {
                arrive(i.jt.into());
                arrive(i.jf.into());
                written = u16::MAX;
            }
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u16, k: u32) -> SockFilter {
        SockFilter { code, jt: 0, jf: 0, k }
    }

    fn branch(code: u16, k: u32, jt: u8, jf: u8) -> SockFilter {
        SockFilter { code: BPF_JMP | code, jt, jf, k }
    }

    const RET_A: u16 = BPF_RET | BPF_A;

    fn run(code: &[SockFilter]) -> Result<u32, Errno> {
        let data = SeccompData {
            nr: 7,
            arch: AUDIT_ARCH_X86_64,
            instruction_pointer: 0x1_0000_0002,
            args: [0x3_0000_0004, 0, 0, 0, 0, 0xa_0000_000b],
        };
        Program::new(code.to_vec()).map(|p| p.run(&data))
    }

    #[test]
    fn data_is_read_by_words() {
        let at = |k| run(&[insn(BPF_LD | BPF_ABS, k), insn(RET_A, 0)]);
        let wanted = [(0, 7), (4, AUDIT_ARCH_X86_64), (8, 2), (12, 1), (16, 4), (20, 3), (56, 11)];
        for (k, value) in wanted {
            assert_eq!(at(k), Ok(value), "{k}");
        }
        assert_eq!(at(60), Ok(10));
        for k in [1, 2, 62, 64, u32::MAX] {
            assert_eq!(at(k), Err(Errno::EINVAL), "{k}");
        }
        assert_eq!(run(&[insn(BPF_LD | BPF_LEN, 0), insn(RET_A, 0)]), Ok(64));
    }

    #[test]
    fn arithmetic_wraps_and_a_division_by_zero_ends_it() {
        let alu = |op, a, b| {
            let by_k = run(&[insn(BPF_LD | BPF_IMM, a), insn(BPF_ALU | op, b), insn(RET_A, 0)]);
            let by_x = run(&[
                insn(BPF_LDX | BPF_IMM, b),
                insn(BPF_LD | BPF_IMM, a),
                insn(BPF_ALU | op | BPF_X, 0),
                insn(RET_A, 0),
            ]);
            (by_k, by_x)
        };
        let cases = [
            (BPF_ADD, u32::MAX, 2, 1),
            (BPF_SUB, 1, 2, u32::MAX),
            (BPF_MUL, 1 << 31, 2, 0),
            (BPF_DIV, 7, 2, 3),
            (BPF_OR, 5, 2, 7),
            (BPF_AND, 5, 4, 4),
            (BPF_LSH, 1, 31, 1 << 31),
            (BPF_RSH, 1 << 31, 31, 1),
            (BPF_XOR, 5, 4, 1),
        ];
        for (op, a, b, value) in cases {
            assert_eq!(alu(op, a, b), (Ok(value), Ok(value)), "{op:#x}");
        }
        assert_eq!(alu(BPF_DIV, 7, 0), (Err(Errno::EINVAL), Ok(0)));
        assert_eq!(alu(BPF_LSH, 1, 33), (Err(Errno::EINVAL), Ok(2)));
        let neg = [insn(BPF_LD | BPF_IMM, 1), insn(BPF_ALU | BPF_NEG, 0), insn(RET_A, 0)];
        assert_eq!(run(&neg), Ok(u32::MAX));
        assert_eq!(run(&[insn(BPF_ALU | 0x90, 1), insn(RET_A, 0)]), Err(Errno::EINVAL), "MOD");
    }

    #[test]
    fn jumps_go_forward_to_an_instruction() {
        let pick = |i: SockFilter| {
            let first = insn(BPF_LD | BPF_IMM, 6);
            run(&[first, i, insn(BPF_RET, 1), insn(BPF_RET, 2)])
        };
        assert_eq!(pick(branch(BPF_JEQ, 6, 0, 1)), Ok(1));
        assert_eq!(pick(branch(BPF_JGT, 6, 0, 1)), Ok(2));
        assert_eq!(pick(branch(BPF_JGE, 6, 0, 1)), Ok(1));
        assert_eq!(pick(branch(BPF_JSET, 1, 0, 1)), Ok(2));
        assert_eq!(pick(branch(BPF_JEQ, 6, 0, 2)), Err(Errno::EINVAL));
        assert_eq!(pick(branch(BPF_JEQ, 6, 2, 0)), Err(Errno::EINVAL));
        assert_eq!(pick(insn(BPF_JMP, 1)), Ok(2));
        assert_eq!(pick(insn(BPF_JMP, 2)), Err(Errno::EINVAL));
        assert_eq!(pick(insn(BPF_JMP, u32::MAX)), Err(Errno::EINVAL));
    }

    #[test]
    fn memory_is_written_before_it_is_read() {
        let (store, load) = (insn(BPF_ST, 15), insn(BPF_LD | BPF_MEM, 15));
        let five = insn(BPF_LD | BPF_IMM, 5);
        let zero = insn(BPF_LD | BPF_IMM, 0);
        assert_eq!(run(&[five, store, zero, load, insn(RET_A, 0)]), Ok(5));
        assert_eq!(run(&[load, insn(RET_A, 0)]), Err(Errno::EINVAL));
        assert_eq!(run(&[insn(BPF_ST, 16), insn(RET_A, 0)]), Err(Errno::EINVAL));
        // Written on one way only.
        let one_way = [branch(BPF_JEQ, 0, 0, 1), store, load, insn(RET_A, 0)];
        assert_eq!(run(&one_way), Err(Errno::EINVAL));
        let both = [branch(BPF_JEQ, 0, 0, 2), store, insn(BPF_JMP, 1), store, load, insn(RET_A, 0)];
        assert_eq!(run(&both), Ok(0));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        assert_eq!(run(&[]), Err(Errno::EINVAL));
        assert_eq!(run(&[insn(BPF_LD | BPF_IMM, 0)]), Err(Errno::EINVAL), "no end");
        assert_eq!(run(&vec![insn(BPF_RET, 0); BPF_MAXINSNS + 1]), Err(Errno::EINVAL));
        assert!(run(&vec![insn(BPF_RET, 0); BPF_MAXINSNS]).is_ok());
        // Bytes, halves, packets, and unknown codes.
        for code in [0x30, 0x28, 0x40, 0xb1, 0x0e, 0x60 | BPF_JMP, 0x100, 0x106, 0x17] {
            assert_eq!(run(&[insn(code, 0), insn(BPF_RET, 0)]), Err(Errno::EINVAL), "{code:#x}");
        }
        // Ancillary data of sockets.
        assert!(run(&[insn(BPF_LD | BPF_ABS, 0xffff_f000), insn(BPF_RET, 0)]).is_err());
    }
}
