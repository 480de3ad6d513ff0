//! What CI runs, by the same names: `cargo xtask quickstart | check | test | bench`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is for a terminal")]

mod bench;
mod check;
mod peers;
mod process;
mod quickstart;
mod test;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "The commands of this repository")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The main job, end to end: issue a key, send this machine's telemetry with it, delete it, be
    /// refused; then rotate one under load
    Quickstart,
    /// Every test, interoperability with a real Collector and the Python SDK included
    Test,
    /// Formatting, lints, documentation, each feature alone, dependency policy, packaging
    Check,
    /// Benchmarks beside their peers: a table, and target/bench/NAME.json
    Bench {
        /// Which ones; all if none is named
        names: Vec<bench::Name>,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Quickstart => quickstart::run_quickstart(),
        Command::Test => test::run_tests(),
        Command::Check => check::run_checks(),
        Command::Bench { names } => bench::run(&names),
    }
}
