//! Checks the public API of the published crates. The documentation must build as on docs.rs, and
//! the API may contain only allowed types of other crates.
//!
//! Both checks need unstable features of rustdoc. `RUSTC_BOOTSTRAP` lets a stable toolchain use
//! these features. Nothing that is shipped is built with this variable.

use std::process::Command;

use anyhow::{Context, Result};

use super::{Tool, packages};
use crate::process::{cargo, root, run, target};

/// This version reads the JSON of rustdoc 1.95. With JSON of another rustdoc, the tool fails and
/// names the format that it expects. The release notes of the tool say which version of the tool
/// reads which format.
const CARGO_CHECK_EXTERNAL_TYPES: Tool =
    Tool { name: "cargo-check-external-types", version: "0.5.0" };

/// Fails if docs.rs could not build the documentation. Also fails if a public signature has a type
/// of another crate that is not in `allowed-external-types.toml`.
pub(super) fn check(published: &[&str]) -> Result<()> {
    let mut docs = cargo(["doc", "--locked", "--all-features", "--no-deps"]);
    docs.args(packages(published)).env("RUSTDOCFLAGS", "--cfg docsrs --deny warnings");
    run(unstable(&mut docs)?)?;
    for name in published {
        let directory = root().join("crates").join(name);
        // All features are enabled. A feature only adds items, so this check also covers the API
        // without features.
        let mut types = CARGO_CHECK_EXTERNAL_TYPES.command()?;
        types.args(["check-external-types", "--all-features", "--manifest-path"]);
        types.arg(directory.join("Cargo.toml"));
        types.arg("--config").arg(directory.join("allowed-external-types.toml"));
        run(unstable(&mut types)?).with_context(|| {
            format!("the public API of {name} has a type that is not allowed, or was not read")
        })?;
    }
    Ok(())
}

/// Lets the command use unstable features. The command gets its own target directory, because build
/// scripts see the variable `RUSTC_BOOTSTRAP` and then build their crates differently.
fn unstable(command: &mut Command) -> Result<&mut Command> {
    Ok(command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", target()?.join("unstable")))
}
