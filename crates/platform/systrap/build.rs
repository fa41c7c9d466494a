//! Builds the stub program and writes down its addresses.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Symbols of the stub that the platform needs.
const SYMBOLS: [&str; 9] = [
    "handler",
    "sigreturn",
    "calibrate",
    "common",
    "posted",
    "resumed",
    "restored",
    "trap",
    "trapped",
];

fn word(bytes: &[u8], at: usize, len: usize) -> usize {
    bytes[at..at + len].iter().rev().fold(0, |value, &b| value << 8 | usize::from(b))
}

/// The value of a symbol, by the ELF64 symbol table (`elf(5)`).
fn symbol(elf: &[u8], wanted: &str) -> Option<u64> {
    let (sections, count) = (word(elf, 40, 8), word(elf, 60, 2));
    let section = |i: usize| &elf[sections + i * 64..sections + (i + 1) * 64];
    let table = (0..count).map(section).find(|s| word(s, 4, 4) == 2)?;
    let names = word(section(word(table, 40, 4)), 24, 8);
    let symbols = &elf[word(table, 24, 8)..][..word(table, 32, 8)];
    symbols.chunks_exact(24).find_map(|s| {
        let name = &elf[names + word(s, 0, 4)..];
        let end = name.iter().position(|&b| b == 0)?;
        (&name[..end] == wanted.as_bytes()).then(|| word(s, 8, 8) as u64)
    })
}

fn main() {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("set by cargo"));
    let source = here.join("../../stub");
    for file in ["stub.rs", "published.rs", "stub.ld", "vdso.rs", "vdso.ld", "layout.rs"] {
        println!("cargo::rerun-if-changed={}", source.join(file).display());
    }
    let link = "-static -no-pie";
    let elf = compile("stub", &source, &out, link, "static");
    // The vDSO is read by the guest's dynamic linkers.
    let link = "-shared -Wl,-soname=linux-vdso.so.1,--hash-style=both,--no-gc-sections";
    compile("vdso", &source, &out, link, "pic");
    let bytes = std::fs::read(&elf).expect("the stub was just built");
    let mut text = String::new();
    for name in SYMBOLS {
        let value = symbol(&bytes, name).unwrap_or_else(|| panic!("the stub has no {name}"));
        let constant = name.to_uppercase();
        text += &format!(
            "/// Address of the stub's `{name}`.\npub const {constant}: u64 = {value:#x};\n"
        );
    }
    std::fs::write(out.join("symbols.rs"), text).expect("cannot write the stub's symbols");
}

/// Builds a freestanding program or library of the stub's directory by its linker script.
fn compile(name: &str, source: &Path, out: &Path, kind: &str, model: &str) -> PathBuf {
    let elf = out.join(format!("{name}.elf"));
    let script = source.join(format!("{name}.ld"));
    let link = format!(
        "link-args=-nostdlib -nostartfiles {kind} -Wl,-T,{},--build-id=none,\
         -z,noexecstack,-z,max-page-size=4096",
        script.display()
    );
    let mut rustc = Command::new(std::env::var_os("RUSTC").expect("set by cargo"));
    rustc
        .args(["--edition", "2024", "--crate-type", "bin", "--crate-name", name])
        .args(["-C", "panic=abort", "-C", "opt-level=2", "-C", "strip=debuginfo", "-C", &link])
        .arg(format!("-Crelocation-model={model}"))
        .args(["--target", "x86_64-unknown-linux-gnu", "-o"])
        .arg(&elf)
        .arg(source.join(format!("{name}.rs")));
    if model == "static" {
        rustc.args(["-C", "target-feature=+crt-static"]);
    }
    let status = rustc.status().expect("rustc does not start");
    assert!(status.success(), "the {name} does not compile");
    elf
}
