//! The types of other crates in the public API of a published crate.

use anyhow::{Context, Result};

use super::Tool;
use crate::process::{root, run, target};

/// This version reads the JSON that rustdoc 1.95 writes. It refuses that of other versions and says
/// which format it wants; then the tool's release notes name the version for the toolchain.
const CARGO_CHECK_EXTERNAL_TYPES: Tool =
    Tool { name: "cargo-check-external-types", version: "0.5.0" };

/// Fails if a type of another crate is in a public signature and is not in the crate's
/// `allowed-external-types.toml`. All features are on: they only add items, so that what is public
/// without them is public then too.
pub(super) fn check(published: &[&str]) -> Result<()> {
    for name in published {
        let directory = root().join("crates").join(name);
        let mut check = CARGO_CHECK_EXTERNAL_TYPES.command()?;
        check.args(["check-external-types", "--all-features", "--manifest-path"]);
        check.arg(directory.join("Cargo.toml"));
        check.arg("--config").arg(directory.join("allowed-external-types.toml"));
        // rustdoc's JSON is unstable, and this makes a stable toolchain write it. Build scripts see
        // the variable too and build their crates differently, hence a target directory of its own.
        check.env("RUSTC_BOOTSTRAP", "1");
        check.env("CARGO_TARGET_DIR", target()?.join("external-types"));
        run(&mut check).with_context(|| {
            format!("the public API of {name} has a type that is not allowed, or was not read")
        })?;
    }
    Ok(())
}
