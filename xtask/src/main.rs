//! The commands of this repository: `cargo xtask quickstart | check | test | fuzz | cluster | bench
//! | peers`. CI runs the same commands.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of these commands is for a terminal"
)]

mod bench;
mod check;
mod cluster;
mod fuzz;
mod peers;
mod process;
mod quickstart;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "The commands of this repository")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Do the main job end to end: issue a key, send this machine's telemetry with it, delete it
    /// and be refused; then rotate a key under load
    Quickstart,
    /// Run every test, including those with a real Collector and the Python SDK, and fuzz each
    /// target for a minute
    Test,
    /// Check formatting, structure, lints, documentation, public types, each feature alone,
    /// dependency policy and packaging
    Check,
    /// Mutate what strangers send to our parsers and to a running gateway: SECONDS for each target,
    /// 60 by default, as many targets at a time as there are processors. `--help` behind `--` lists
    /// the targets, and how to repeat an input
    Fuzz {
        /// SECONDS, `--target NAME`, `--seed SEED` or `--input SEED`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Three gateways that share a PostgreSQL database, with nginx in front of them, on free ports
    /// of this machine: `deploy/` has their configuration
    Cluster {
        #[command(subcommand)]
        command: cluster::Command,
    },
    /// Run benchmarks beside their peers: print a table, write target/bench/NAME.json, and fail if
    /// a bound is missed
    Bench {
        /// The benchmarks to run; all of them if none is named
        names: Vec<bench::Name>,
    },
    /// Build the programs of other projects that tests and benchmarks run, and print their
    /// directory. `test` and `bench` do it themselves; with the directory in OTLP_AUTH_PEERS,
    /// `cargo test --package otlp-auth-tests` runs a part of the tests
    Peers,
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Quickstart => quickstart::run_quickstart()?,
        Command::Test => test::run_tests()?,
        Command::Check => check::run_checks()?,
        Command::Fuzz { arguments } => fuzz::run_fuzz(&arguments)?,
        Command::Cluster { command } => cluster::run_cluster(command)?,
        Command::Bench { names } => return bench::run(&names),
        Command::Peers => peers::print_directory()?,
    }
    Ok(ExitCode::SUCCESS)
}
