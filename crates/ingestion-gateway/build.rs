//! Tells the linker to place the functions that a start and a request run next to each other.
//!
//! The kernel maps the code of a program in pieces of 64 KiB, and these functions are spread over
//! almost all of them: most of the program would be resident before the first request
//! (`docs/adr/0031`). The list is no more than a wish: a name that no longer exists is ignored.
//! `start_functions.py` writes it.

use std::path::PathBuf;
use std::{env, fs, io};

/// The names of the functions, as patterns of the linker: `*` stands for a hash.
const FUNCTIONS: &str = include_str!("start-functions.txt");

#[expect(clippy::disallowed_methods, reason = "Cargo tells a build script everything so")]
fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=start-functions.txt");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // Builds for development are linked often and measured never. Other systems have other linkers.
    if !is("PROFILE", "release") || !is("CARGO_CFG_TARGET_OS", "linux") {
        return Ok(());
    }
    let mut script = "SECTIONS {\n  .text.at_start : {\n".to_owned();
    for name in FUNCTIONS.lines() {
        script.push_str(&format!("    *(.text.{name} .text.unlikely.{name})\n"));
    }
    script.push_str("  }\n}\nINSERT BEFORE .text;\n");
    let directory = env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    let file = directory.join("start.ld");
    fs::write(&file, script)?;
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", file.display());
    // Without this, the start reads 400 kB of relocations.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    Ok(())
}
