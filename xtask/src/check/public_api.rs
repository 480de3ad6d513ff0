//! Checks the public API of the published crates: that its documentation builds as on docs.rs, and
//! that it
//! contains only allowed types of other crates.
//!
//! Both need unstable features of rustdoc. `RUSTC_BOOTSTRAP` lets a stable toolchain use them.
//! Nothing
//! that is shipped is built with it.

use std::process::Command;

use anyhow::{Context, Result};

use super::{Tool, packages};
use crate::process::{cargo, root, run, target};

/// This version reads the JSON of rustdoc 1.95. It fails with JSON of another version and names the
/// format that it expects. The release notes of the tool say which of its versions reads which
/// format.
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
        // All features are enabled. Features only add items, so this covers the API without them,
        // too.
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

/// The command gets its own target directory, because build scripts see the variable and build
/// their crates differently.
fn unstable(command: &mut Command) -> Result<&mut Command> {
    Ok(command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", target()?.join("unstable")))
}
