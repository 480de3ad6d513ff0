//! The public API of the published crates: its documentation as docs.rs builds it, and the types of
//! other crates in it.
//!
//! Both need features of rustdoc that are unstable. `RUSTC_BOOTSTRAP` lets a stable toolchain use
//! them; nothing that is shipped is built so.

use std::process::Command;

use anyhow::{Context, Result};

use super::{Tool, packages};
use crate::process::{cargo, root, run, target};

/// This version reads the JSON that rustdoc 1.95 writes. It refuses the JSON of another version and
/// says which format it wants; its release notes then name the version for the toolchain.
const CARGO_CHECK_EXTERNAL_TYPES: Tool =
    Tool { name: "cargo-check-external-types", version: "0.5.0" };

/// Fails if docs.rs would fail to build the documentation, or if a type of another crate is in a
/// public signature and is not in the crate's `allowed-external-types.toml`.
pub(super) fn check(published: &[&str]) -> Result<()> {
    let mut docs = cargo(["doc", "--locked", "--all-features", "--no-deps"]);
    docs.args(packages(published)).env("RUSTDOCFLAGS", "--cfg docsrs --deny warnings");
    run(unstable(&mut docs)?)?;
    for name in published {
        let directory = root().join("crates").join(name);
        // All features are on. They only add items, so whatever is public without them is seen too.
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

/// Build scripts see the variable too and build their crates differently, so the command gets a
/// target directory of its own.
fn unstable(command: &mut Command) -> Result<&mut Command> {
    Ok(command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", target()?.join("unstable")))
}
