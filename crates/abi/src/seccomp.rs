//! `seccomp(2)`: operations, actions, and classic BPF (`linux/filter.h`, `linux/bpf_common.h`).

use crate::pod::pod;

pub const SECCOMP_MODE_DISABLED: u32 = 0;
pub const SECCOMP_MODE_STRICT: u32 = 1;
pub const SECCOMP_MODE_FILTER: u32 = 2;

pub const SECCOMP_SET_MODE_STRICT: u32 = 0;
pub const SECCOMP_SET_MODE_FILTER: u32 = 1;
pub const SECCOMP_GET_ACTION_AVAIL: u32 = 2;
pub const SECCOMP_GET_NOTIF_SIZES: u32 = 3;

pub const SECCOMP_FILTER_FLAG_TSYNC: u32 = 1;
pub const SECCOMP_FILTER_FLAG_LOG: u32 = 2;
pub const SECCOMP_FILTER_FLAG_SPEC_ALLOW: u32 = 4;
pub const SECCOMP_FILTER_FLAG_TSYNC_ESRCH: u32 = 16;

pub const SECCOMP_RET_KILL_PROCESS: u32 = 0x8000_0000;
pub const SECCOMP_RET_KILL_THREAD: u32 = 0;
pub const SECCOMP_RET_TRAP: u32 = 0x0003_0000;
pub const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;
pub const SECCOMP_RET_USER_NOTIF: u32 = 0x7fc0_0000;
pub const SECCOMP_RET_TRACE: u32 = 0x7ff0_0000;
pub const SECCOMP_RET_LOG: u32 = 0x7ffc_0000;
pub const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;
pub const SECCOMP_RET_ACTION_FULL: u32 = 0xffff_0000;
pub const SECCOMP_RET_DATA: u32 = 0xffff;

/// `AUDIT_ARCH_X86_64`.
pub const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// `si_code` of `SIGSYS`.
pub const SYS_SECCOMP: i32 = 1;
/// Most instructions of a filter.
pub const BPF_MAXINSNS: usize = 4096;
/// Words of a filter's scratch memory.
pub const BPF_MEMWORDS: usize = 16;

pub const BPF_LD: u16 = 0;
pub const BPF_LDX: u16 = 1;
pub const BPF_ST: u16 = 2;
pub const BPF_STX: u16 = 3;
pub const BPF_ALU: u16 = 4;
pub const BPF_JMP: u16 = 5;
pub const BPF_RET: u16 = 6;
pub const BPF_MISC: u16 = 7;
/// Where the second operand is: an immediate value, or X (of `BPF_RET`: A).
pub const BPF_K: u16 = 0;
pub const BPF_X: u16 = 8;
pub const BPF_A: u16 = 0x10;
pub const BPF_IMM: u16 = 0;
pub const BPF_ABS: u16 = 0x20;
pub const BPF_MEM: u16 = 0x60;
pub const BPF_LEN: u16 = 0x80;
pub const BPF_ADD: u16 = 0;
pub const BPF_SUB: u16 = 0x10;
pub const BPF_MUL: u16 = 0x20;
pub const BPF_DIV: u16 = 0x30;
pub const BPF_OR: u16 = 0x40;
pub const BPF_AND: u16 = 0x50;
pub const BPF_LSH: u16 = 0x60;
pub const BPF_RSH: u16 = 0x70;
pub const BPF_NEG: u16 = 0x80;
pub const BPF_XOR: u16 = 0xa0;
pub const BPF_JA: u16 = 0;
pub const BPF_JEQ: u16 = 0x10;
pub const BPF_JGT: u16 = 0x20;
pub const BPF_JGE: u16 = 0x30;
pub const BPF_JSET: u16 = 0x40;
pub const BPF_TAX: u16 = 0;
pub const BPF_TXA: u16 = 0x80;

pod! {
    /// `struct sock_fprog`.
    pub struct SockFprog {
        pub len: u16,
        pub pad: [u16; 3],
        pub filter: u64,
    }

    /// `struct sock_filter`.
    pub struct SockFilter {
        pub code: u16,
        pub jt: u8,
        pub jf: u8,
        pub k: u32,
    }

    /// `struct seccomp_data`.
    pub struct SeccompData {
        pub nr: u32,
        pub arch: u32,
        pub instruction_pointer: u64,
        pub args: [u64; 6],
    }

    /// `struct seccomp_notif_sizes`.
    pub struct SeccompNotifSizes {
        pub seccomp_notif: u16,
        pub seccomp_notif_resp: u16,
        pub seccomp_data: u16,
    }
}
