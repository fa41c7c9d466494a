//! Executables and the auxiliary vector (`elf(5)`, `getauxval(3)`).

use crate::pod::pod;

pub const ELFMAG: [u8; 4] = *b"\x7fELF";
pub const ELFCLASS64: u8 = 2;
pub const ELFDATA2LSB: u8 = 1;
pub const ET_EXEC: u16 = 2;
pub const ET_DYN: u16 = 3;
pub const ET_CORE: u16 = 4;
pub const EM_X86_64: u16 = 62;
pub const PT_LOAD: u32 = 1;
pub const PT_INTERP: u32 = 3;
pub const PT_NOTE: u32 = 4;
pub const PT_PHDR: u32 = 6;
pub const PT_GNU_STACK: u32 = 0x6474_e551;
pub const PF_X: u32 = 1;
pub const PF_W: u32 = 2;
pub const PF_R: u32 = 4;

/// Notes of core files.
pub const NT_PRSTATUS: u32 = 1;
pub const NT_PRFPREG: u32 = 2;
pub const NT_PRPSINFO: u32 = 3;
pub const NT_AUXV: u32 = 6;
pub const NT_X86_XSTATE: u32 = 0x202;
pub const NT_FILE: u32 = 0x4649_4c45;
pub const NT_SIGINFO: u32 = 0x5349_4749;

pub const AT_NULL: u64 = 0;
pub const AT_PHDR: u64 = 3;
pub const AT_PHENT: u64 = 4;
pub const AT_PHNUM: u64 = 5;
pub const AT_PAGESZ: u64 = 6;
pub const AT_BASE: u64 = 7;
pub const AT_FLAGS: u64 = 8;
pub const AT_ENTRY: u64 = 9;
pub const AT_UID: u64 = 11;
pub const AT_EUID: u64 = 12;
pub const AT_GID: u64 = 13;
pub const AT_EGID: u64 = 14;
pub const AT_PLATFORM: u64 = 15;
pub const AT_HWCAP: u64 = 16;
pub const AT_CLKTCK: u64 = 17;
pub const AT_SECURE: u64 = 23;
pub const AT_RANDOM: u64 = 25;
pub const AT_HWCAP2: u64 = 26;
pub const AT_EXECFN: u64 = 31;
pub const AT_SYSINFO_EHDR: u64 = 33;
pub const AT_MINSIGSTKSZ: u64 = 51;

pod! {
    /// `Elf64_Ehdr`.
    pub struct Ehdr {
        pub e_ident: [u8; 16],
        pub e_type: u16,
        pub e_machine: u16,
        pub e_version: u32,
        pub e_entry: u64,
        pub e_phoff: u64,
        pub e_shoff: u64,
        pub e_flags: u32,
        pub e_ehsize: u16,
        pub e_phentsize: u16,
        pub e_phnum: u16,
        pub e_shentsize: u16,
        pub e_shnum: u16,
        pub e_shstrndx: u16,
    }

    /// `Elf64_Shdr`.
    pub struct Shdr {
        pub sh_name: u32,
        pub sh_type: u32,
        pub sh_flags: u64,
        pub sh_addr: u64,
        pub sh_offset: u64,
        pub sh_size: u64,
        pub sh_link: u32,
        pub sh_info: u32,
        pub sh_addralign: u64,
        pub sh_entsize: u64,
    }

    /// `struct elf_prstatus`: a thread in a core file.
    pub struct PrStatus {
        pub si_signo: i32,
        pub si_code: i32,
        pub si_errno: i32,
        pub pr_cursig: i16,
        pub pad: u16,
        pub pr_sigpend: u64,
        pub pr_sighold: u64,
        pub pr_pid: i32,
        pub pr_ppid: i32,
        pub pr_pgrp: i32,
        pub pr_sid: i32,
        pub pr_utime: [u64; 2],
        pub pr_stime: [u64; 2],
        pub pr_cutime: [u64; 2],
        pub pr_cstime: [u64; 2],
        pub pr_reg: [u64; 27],
        pub pr_fpvalid: i32,
        pub pad_end: u32,
    }

    /// `struct elf_prpsinfo`: a process in a core file.
    pub struct PrPsInfo {
        pub pr_state: u8,
        pub pr_sname: u8,
        pub pr_zomb: u8,
        pub pr_nice: u8,
        pub pad: u32,
        pub pr_flag: u64,
        pub pr_uid: u32,
        pub pr_gid: u32,
        pub pr_pid: i32,
        pub pr_ppid: i32,
        pub pr_pgrp: i32,
        pub pr_sid: i32,
        pub pr_fname: [u8; 16],
        pub pr_psargs: [u8; 80],
    }

    /// `Elf64_Phdr`.
    pub struct Phdr {
        pub p_type: u32,
        pub p_flags: u32,
        pub p_offset: u64,
        pub p_vaddr: u64,
        pub p_paddr: u64,
        pub p_filesz: u64,
        pub p_memsz: u64,
        pub p_align: u64,
    }
}
