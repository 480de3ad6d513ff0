//! `cargo xtask fuzz`.

use anyhow::Result;

use crate::process::{cargo, run};

/// The package of the program that fuzzes, and its profile.
const PACKAGE: &str = "otlp-auth-fuzz";
const PROFILE: &str = "fuzz";

/// Builds the program that fuzzes and the gateway that it starts, and runs it with these arguments.
pub(crate) fn run_fuzz(arguments: &[String]) -> Result<()> {
    let build = ["build", "--locked", "--profile", PROFILE, "--bins"];
    run(cargo(build).args(["--package", PACKAGE, "--package", "ingestion-gateway"]))?;
    let program = ["run", "--quiet", "--locked", "--profile", PROFILE, "--package", PACKAGE, "--"];
    run(cargo(program).args(arguments))
}
