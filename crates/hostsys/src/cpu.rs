//! What the host's kernel and the CPU itself tell programs about it.

use std::arch::x86_64::{__cpuid, __cpuid_count};

/// Values of the host's auxiliary vector that guests see too (`getauxval(3)`).
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuInfo {
    /// `AT_HWCAP`.
    pub hwcap: u64,
    /// `AT_HWCAP2`.
    pub hwcap2: u64,
    /// `AT_MINSIGSTKSZ`, in bytes.
    pub min_sigstack: u64,
}

/// Reads them.
#[must_use]
pub fn info() -> CpuInfo {
    const AT_MINSIGSTKSZ: u64 = 51;
    // SAFETY: reads this process's own vector.
    let get = |kind: u64| unsafe { libc::getauxval(kind) };
    CpuInfo {
        hwcap: get(libc::AT_HWCAP),
        hwcap2: get(libc::AT_HWCAP2),
        min_sigstack: get(AT_MINSIGSTKSZ).max(2048),
    }
}

/// CPUs that this process may use (`sched_getaffinity(2)`).
#[must_use]
pub fn count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// `cpuid`: eax, ebx, ecx, edx of a leaf and subleaf.
#[must_use]
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let r = std::arch::x86_64::__cpuid_count(leaf, subleaf);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// What `cpuid` calls the CPU.
#[derive(Clone, Debug, Default)]
pub struct CpuName {
    /// Vendor, twelve letters.
    pub vendor: String,
    /// Brand string.
    pub brand: String,
    /// Family, model and stepping as Linux counts them.
    pub version: [u32; 3],
}

/// Asks `cpuid`. Slow in a virtual machine: each question leaves it.
#[must_use]
pub fn name() -> CpuName {
    let text = |words: &[u32]| {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let text = String::from_utf8_lossy(&bytes).replace('\0', "");
        text.trim().to_owned()
    };
    let first = __cpuid(0);
    let eax = __cpuid(1).eax;
    let (base, extended) = (eax >> 8 & 0xf, eax >> 20 & 0xff);
    let family = if base == 0xf { base + extended } else { base };
    let high = if family == 6 || family >= 0xf { (eax >> 16 & 0xf) << 4 } else { 0 };
    let mut brand = Vec::new();
    if __cpuid(0x8000_0000).eax >= 0x8000_0004 {
        for leaf in 0x8000_0002..=0x8000_0004 {
            let r = __cpuid(leaf);
            brand.extend([r.eax, r.ebx, r.ecx, r.edx]);
        }
    }
    CpuName {
        vendor: text(&[first.ebx, first.edx, first.ecx]),
        brand: text(&brand),
        version: [family, high | (eax >> 4 & 0xf), eax & 0xf],
    }
}

/// A cache, as `cpuid` tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Cache {
    /// 1 is nearest to the CPU.
    pub level: u32,
    /// `Data`, `Instruction` or `Unified`.
    pub kind: &'static str,
    /// Bytes of a line.
    pub line: u32,
    /// Lines under one tag.
    pub partitions: u32,
    /// Ways of associativity.
    pub ways: u32,
    /// Sets.
    pub sets: u32,
}

impl Cache {
    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        [self.line, self.partitions, self.ways, self.sets].iter().map(|&n| u64::from(n)).product()
    }
}

/// The caches of a CPU, in the order in which `cpuid` lists them.
#[must_use]
pub fn caches() -> Vec<Cache> {
    /// A processor has four; the list ends by itself.
    const MOST: u32 = 16;
    let amd = __cpuid(0x8000_0000).eax >= 0x8000_001d && __cpuid(0x8000_001d).eax & 0x1f != 0;
    let leaf = match (amd, __cpuid(0).eax) {
        (true, _) => 0x8000_001d,
        (false, 4..) => 4,
        _ => return Vec::new(),
    };
    let mut caches = Vec::new();
    for index in 0..MOST {
        let r = __cpuid_count(leaf, index);
        let kind = match r.eax & 0x1f {
            1 => "Data",
            2 => "Instruction",
            3 => "Unified",
            _ => break,
        };
        caches.push(Cache {
            level: r.eax >> 5 & 7,
            kind,
            line: (r.ebx & 0xfff) + 1,
            partitions: (r.ebx >> 12 & 0x3ff) + 1,
            ways: (r.ebx >> 22) + 1,
            sets: r.ecx.saturating_add(1),
        });
    }
    caches
}

/// Bytes of physical memory (`sysinfo(2)`); `None` if the host does not tell.
#[must_use]
pub fn physical_memory() -> Option<u64> {
    // SAFETY: plain data, valid when zero.
    let mut info: libc::sysinfo = unsafe { std::mem::zeroed() };
    // SAFETY: `info` outlives the call.
    let done = unsafe { libc::sysinfo(&raw mut info) };
    let total = info.totalram.checked_mul(u64::from(info.mem_unit))?;
    (done == 0 && total > 0).then_some(total)
}
