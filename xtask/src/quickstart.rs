//! `cargo xtask quickstart`.

use anyhow::Result;

use crate::process::{cargo, run};

/// Builds the programs that the quick start runs, and then runs the quick start.
pub(crate) fn run_quickstart() -> Result<()> {
    build_programs()?;
    run(&mut cargo([
        "run",
        "--quiet",
        "--locked",
        "--package",
        "otlp-auth-tests",
        "--bin",
        "quickstart",
    ]))
}

/// Builds the programs that the quick start and the end-to-end tests run.
pub(crate) fn build_programs() -> Result<()> {
    let packages = ["otlp-auth-examples", "ingestion-gateway", "sts-cli"];
    let mut build = cargo(["build", "--locked", "--bins"]);
    run(build.args(packages.iter().flat_map(|package| ["--package", package])))
}
