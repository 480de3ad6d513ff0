//! `cargo xtask check`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::process::{cargo, ci, root, run, target};

/// Tools beyond the toolchain, in the versions that this repository is checked with.
const CARGO_DENY: (&str, &str) = ("cargo-deny", "0.20.2");
const CARGO_HACK: (&str, &str) = ("cargo-hack", "0.6.46");

pub(crate) fn run_checks() -> Result<()> {
    run(&mut cargo(["fmt", "--all", "--check"]))?;
    run(&mut cargo([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "--deny",
        "warnings",
    ]))?;
    let docs = ["doc", "--locked", "--workspace", "--all-features", "--no-deps"];
    run(cargo(docs).env("RUSTDOCFLAGS", "--deny warnings"))?;

    // `cargo hack` and `cargo deny`, called by their own names.
    let mut hack = Command::new(tool(CARGO_HACK)?);
    hack.current_dir(root()).args(["hack", "clippy", "--locked"]);
    hack.args([
        "--package",
        "otlp-auth",
        "--package",
        "ingestion-api",
        "--package",
        "ingestion-keys",
    ]);
    hack.args([
        "--feature-powerset",
        "--depth",
        "2",
        "--exclude-features",
        "full",
        "--",
        "--deny",
        "warnings",
    ]);
    run(&mut hack)?;
    let mut deny = Command::new(tool(CARGO_DENY)?);
    run(deny.current_dir(root()).args([
        "--locked",
        "--all-features",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))?;

    let mut package =
        cargo(["package", "--locked", "--package", "otel-confmap", "--package", "otlp-auth"]);
    if !ci() {
        // The working tree is packaged, committed or not.
        package.arg("--allow-dirty");
    }
    run(&mut package)
}

/// Installs a tool into the target directory unless it is there; returns its path.
fn tool((name, version): (&str, &str)) -> Result<PathBuf> {
    let directory = target()?.join("tools").join(format!("{name}-{version}"));
    let path = directory.join("bin").join(name);
    if !path.exists() {
        let mut install = cargo(["install", "--locked", "--version", version, "--root"]);
        run(install.arg(directory).arg(name))?;
    }
    Ok(path)
}
