//! `cargo xtask check`.

mod public_api;
mod rust_version;
mod structure;

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::process::{cargo, ci, root, run, target};

/// The crates that are published.
const PUBLISHED: [&str; 2] = ["otel-confmap", "otlp-auth"];

/// The libraries whose features are checked one by one and in pairs.
const LIBRARIES: [&str; 5] =
    ["otel-confmap", "otlp-auth", "otlp-receiver", "ingestion-api", "ingestion-keys"];

/// The versions of the tools that this repository is checked with.
const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
const CARGO_HACK: Tool = Tool { name: "cargo-hack", version: "0.6.46" };

/// A cargo subcommand that is installed into the target directory.
struct Tool {
    name: &'static str,
    version: &'static str,
}

/// Runs the checks, the quickest first, and stops at the first check that fails.
pub(crate) fn run_checks() -> Result<()> {
    run(&mut cargo(["fmt", "--all", "--check"]))?;
    structure::check()?;
    rust_version::check(&PUBLISHED)?;
    run(cargo(["clippy", "--locked", "--workspace", "--all-targets", "--all-features"])
        .args(["--", "--deny", "warnings"]))?;
    let docs = ["doc", "--locked", "--workspace", "--all-features", "--no-deps"];
    run(cargo(docs).env("RUSTDOCFLAGS", "--deny warnings"))?;
    public_api::check(&PUBLISHED)?;

    let mut hack = CARGO_HACK.command()?;
    hack.args(["hack", "clippy", "--locked"]).args(packages(&LIBRARIES));
    hack.args(["--feature-powerset", "--depth", "2", "--exclude-features", "full"]);
    run(hack.args(["--", "--deny", "warnings"]))?;
    let mut deny = CARGO_DENY.command()?;
    deny.args(["--locked", "--all-features", "check", "bans", "licenses", "sources"]);
    run(&mut deny)?;

    // Both crates are packaged in one call, so that the crate that needs the other one is built
    // with its package.
    let mut package = cargo(["package", "--locked"]);
    package.args(packages(&PUBLISHED));
    if !ci() {
        // Outside CI the working tree is packaged, even if it has uncommitted changes.
        package.arg("--allow-dirty");
    }
    run(&mut package)
}

fn packages<'a>(names: &[&'a str]) -> impl Iterator<Item = &'a str> {
    names.iter().flat_map(|name| ["--package", name])
}

impl Tool {
    /// Returns a command that runs the tool in the root of the workspace, and installs the tool if
    /// it is missing. The tool is called by its own name and not through cargo. So a tool that
    /// expects the name of its cargo subcommand needs that name as the first argument.
    fn command(&self) -> Result<Command> {
        let mut command = Command::new(self.install()?);
        command.current_dir(root());
        Ok(command)
    }

    /// Installs the tool into the target directory if it is missing. Returns its path.
    fn install(&self) -> Result<PathBuf> {
        let Self { name, version } = self;
        let directory = target()?.join("tools").join(format!("{name}-{version}"));
        let path = directory.join("bin").join(name);
        if !path.exists() {
            let mut install = cargo(["install", "--locked", "--version", version, "--root"]);
            run(install.arg(directory).arg(name))?;
        }
        Ok(path)
    }
}
