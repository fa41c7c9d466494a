//! The frames here were captured on Linux 6.18 from a handler of `SIGUSR1` with
//! `SA_SIGINFO`, with `SIGTERM` blocked, on a CPU whose vector state has 2436 bytes.

use super::*;
use crate::sync::Mutex;

const FP_LEN: usize = 2436;
const RESTORER: u64 = 0x7f7e_3132_6050;

/// Memory from `base` on.
struct Flat {
    base: u64,
    bytes: Mutex<Vec<u8>>,
}

impl Flat {
    fn new(base: u64, len: usize) -> Self {
        Self { base, bytes: Mutex::new(vec![0; len]) }
    }

    fn range(&self, addr: UserAddr, len: usize) -> Result<std::ops::Range<usize>, Errno> {
        let at = addr.0.checked_sub(self.base).ok_or(Errno::EFAULT)? as usize;
        let end = at.checked_add(len).filter(|&e| e <= self.bytes.lock().len());
        Ok(at..end.ok_or(Errno::EFAULT)?)
    }
}

impl UserMemory for Flat {
    fn read(&self, addr: UserAddr, buf: &mut [u8]) -> Result<(), Errno> {
        let range = self.range(addr, buf.len())?;
        buf.copy_from_slice(&self.bytes.lock()[range]);
        Ok(())
    }
    fn write(&self, addr: UserAddr, buf: &[u8]) -> Result<(), Errno> {
        let range = self.range(addr, buf.len())?;
        self.bytes.lock()[range].copy_from_slice(buf);
        Ok(())
    }
    fn zero(&self, addr: UserAddr, len: u64) -> Result<(), Errno> {
        self.write(addr, &vec![0; len as usize])
    }
    fn read_cstr(&self, _addr: UserAddr, _max: usize) -> Result<Vec<u8>, Errno> {
        Err(Errno::EFAULT)
    }
}

/// The frame on an alternate stack of 64 KiB at 0x10000000, in words; the words not
/// listed at the end are zero.
const NATIVE: [u64; 44] = [
    0x7f7e31326050,
    7,
    0,
    0x10000000,
    0,
    0x10000,
    0xffffffff,
    0,
    0x7f7e31300dd8,
    0x217,
    0x7ffd23f88820,
    0x7ffd23f888c0,
    0x564ade403dd8,
    0x7f7e31512020,
    0x3bc,
    0xa,
    0,
    0x564ade4011d9,
    3,
    0,
    0x7f7e31326267,
    0x7ffd23f88778,
    0x7f7e31326267,
    0x217,
    0x2b000000000033,
    0,
    0,
    0x4000,
    0,
    0x1000f640,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0x4000,
    0xa,
    0,
    0x3bc,
    0,
    0,
];
const STACK: SigStack = SigStack { ss_sp: 0x1000_0000, ss_flags: 0, pad: 0, ss_size: 0x1_0000 };
const NATIVE_FRAME: u64 = 0x1000_f478;
const NATIVE_FP: u64 = 0x1000_f640;

/// The registers that the signal interrupted.
fn interrupted() -> Regs {
    Regs {
        r8: 0xffff_ffff,
        r9: 0,
        r10: 0x7f7e_3130_0dd8,
        r11: 0x217,
        r12: 0x7ffd_23f8_8820,
        r13: 0x7ffd_23f8_88c0,
        r14: 0x564a_de40_3dd8,
        r15: 0x7f7e_3151_2020,
        rdi: 0x3bc,
        rsi: 0xa,
        rbp: 0,
        rbx: 0x564a_de40_11d9,
        rdx: 3,
        rax: 0,
        rcx: 0x7f7e_3132_6267,
        rsp: 0x7ffd_23f8_8778,
        rip: 0x7f7e_3132_6267,
        eflags: 0x217,
        cs: 0x33,
        ss: 0x2b,
        fs_base: 0x1234,
        ..Regs::default()
    }
}

fn action(flags: u64) -> Sigaction {
    Sigaction {
        handler: 0x40_1000,
        flags: flags | SA_SIGINFO | SA_RESTORER,
        restorer: RESTORER,
        mask: 0,
    }
}

fn entry<'a>(
    info: &'a SigInfo,
    action: &'a Sigaction,
    stack: &'a SigStack,
    fp: &'a [u8],
) -> Entry<'a> {
    Entry { info, action, mask: SigSet::of(SIGTERM), stack, trap: (0, 0, 0), fp }
}

#[test]
fn a_frame_on_the_alternate_stack_is_the_one_of_linux() {
    let memory = Flat::new(STACK.ss_sp, 0x1_0000);
    let (info, action) = (SigInfo::user(SIGUSR1, SI_USER, 0x3bc, 0), action(SA_ONSTACK));
    let fp: Vec<u8> = (0..FP_LEN).map(|i| i as u8).collect();
    let mut regs = interrupted();
    regs.eflags |= 0x500;
    build(&mut regs, &memory, &entry(&info, &action, &STACK, &fp)).unwrap();
    assert_eq!((regs.rsp, regs.rip, regs.rax), (NATIVE_FRAME, 0x40_1000, 0));
    assert_eq!((regs.rdi, regs.rsi, regs.rdx), (10, NATIVE_FRAME + 312, NATIVE_FRAME + 8));
    assert_eq!(regs.eflags, 0x217, "trap and direction flags are cleared");
    let mut bytes = [0; 440];
    memory.read(UserAddr(NATIVE_FRAME), &mut bytes).unwrap();
    for (i, word) in bytes.chunks(8).enumerate() {
        let mut wanted = NATIVE.get(i).copied().unwrap_or(0);
        if i == 23 {
            wanted |= 0x500;
        }
        assert_eq!(u64::from_le_bytes(word.try_into().unwrap()), wanted, "word {i}");
    }
    let mut stored = vec![0; FP_LEN];
    memory.read(UserAddr(NATIVE_FP), &mut stored).unwrap();
    assert_eq!(stored, fp);
}

#[test]
fn a_frame_on_the_usual_stack_leaves_the_red_zone() {
    let memory = Flat::new(0x7ffd_23f8_0000, 0x1_0000);
    let (info, action) = (SigInfo::user(SIGUSR1, SI_USER, 0x3bc, 0), action(0));
    let mut regs = interrupted();
    build(&mut regs, &memory, &entry(&info, &action, &NO_STACK, &[0; FP_LEN])).unwrap();
    assert_eq!(regs.rsp, 0x7ffd_23f8_7b78);
    let frame = UserPtr::<RtSigframe>::new(UserAddr(regs.rsp)).read(&memory).unwrap();
    assert_eq!(frame.uc.uc_mcontext.fpstate, 0x7ffd_23f8_7d40);
}

#[test]
fn a_frame_that_does_not_fit_the_alternate_stack_is_refused() {
    let memory = Flat::new(0x0fff_0000, 0x3_0000);
    let (info, action) = (SigInfo::user(SIGUSR1, SI_USER, 1, 0), action(SA_ONSTACK));
    let small = SigStack { ss_size: 2048, ..STACK };
    let fp = [0; FP_LEN];
    let mut regs = interrupted();
    let entering = build(&mut regs, &memory, &entry(&info, &action, &small, &fp));
    assert_eq!(entering, Err(Errno::EFAULT));
    assert_eq!(regs, interrupted(), "a failure changes no register");
    regs.rsp = STACK.ss_sp + 0x800;
    let nested = build(&mut regs, &memory, &entry(&info, &action, &STACK, &fp));
    assert_eq!(nested, Err(Errno::EFAULT));
}

#[test]
fn a_handler_without_restorer_is_refused() {
    let memory = Flat::new(STACK.ss_sp, 0x1_0000);
    let info = SigInfo::user(SIGUSR1, SI_USER, 1, 0);
    let action = Sigaction { flags: SA_ONSTACK, ..action(0) };
    let result = build(&mut interrupted(), &memory, &entry(&info, &action, &STACK, &[]));
    assert_eq!(result, Err(Errno::EFAULT));
}

#[test]
fn the_way_back_restores_registers_but_no_privilege() {
    let before = interrupted();
    let mut context = context(&before, (0, 0, 0), SigSet::default(), 0);
    context.eflags = u64::MAX;
    context.cs = 0x10;
    let mut regs = Regs { eflags: 0x202, fs_base: 7, cs: 0x33, ss: 0x2b, ..Regs::default() };
    restore(&mut regs, &context);
    assert_eq!(regs.eflags, 0x202 | SETTABLE_FLAGS);
    let rest = Regs { eflags: before.eflags, fs_base: before.fs_base, ..regs };
    assert_eq!(rest, Regs { orig_rax: u64::MAX, ..before });
    assert_eq!((regs.cs, regs.ss, regs.fs_base), (0x33, 0x2b, 7));
}

#[test]
fn vector_state_without_its_magic_words_is_the_legacy_part() {
    let memory = Flat::new(0x1000, 0x2000);
    let mut state = vec![0xaa; FP_LEN];
    let put = |state: &mut Vec<u8>, at: usize, value: u32| {
        state[at..at + 4].copy_from_slice(&value.to_le_bytes());
    };
    put(&mut state, SW_RESERVED, MAGIC1);
    put(&mut state, SW_RESERVED + 4, FP_LEN as u32);
    put(&mut state, FP_LEN - 4, MAGIC2);
    memory.write(UserAddr(0x1000), &state).unwrap();
    assert_eq!(read_fp(&memory, 0x1000, FP_LEN).unwrap(), state);
    put(&mut state, FP_LEN - 4, 0);
    memory.write(UserAddr(0x1000), &state).unwrap();
    let legacy = read_fp(&memory, 0x1000, FP_LEN).unwrap();
    assert_eq!(legacy[..LEGACY_LEN], state[..LEGACY_LEN]);
    assert_eq!(legacy[LEGACY_LEN], 3);
    assert!(legacy[LEGACY_LEN + 1..].iter().all(|&b| b == 0));
    assert_eq!(read_fp(&memory, 0x10, FP_LEN), Err(Errno::EFAULT));
    assert_eq!(read_fp(&memory, 0x1000, 100), Err(Errno::EINVAL));
}
