//! Fuzzing: mutates valid inputs and passes them to the real parsers and to a real gateway.
//!
//! | target | what is fed |
//! |---|---|
//! | `credentials` | headers and queries on both transports, the key format, token files |
//! | `yaml` | `gateway.yaml`, a Collector's configuration, a `bearertokenauth` block |
//! | `otlp` | protobuf, JSON, every compression and gRPC frames, on both transports |
//! | `management` | paths and bodies of the management API and of the authorize endpoint |
//! | `listener` | bytes of HTTP/1.1 and HTTP/2 connections to every listener |
//!
//! A finding is a panic, an input that takes more than a second of processor time, an answer that
//! is not in the table of the target, or two answers that contradict each other. An input depends
//! on nothing but its target and its seed, so that one number repeats it.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of this command is for a terminal"
)]

mod connection;
mod credentials;
mod gateway;
mod listener;
mod management;
mod mutate;
mod otlp;
mod run;
mod samples;
mod target;
mod watchdog;
mod yaml;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::run::{Plan, Which};

#[derive(Parser)]
#[command(bin_name = "cargo xtask fuzz", about = "Mutates inputs until the time is over")]
struct Cli {
    /// How long each target runs. As many targets run at a time as there are processors
    #[arg(default_value_t = 60)]
    seconds: u64,
    /// The targets to run; all of them if none is named
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<Which>,
    /// The number from which the seeds of all inputs follow; random if absent
    #[arg(long)]
    seed: Option<u64>,
    /// Runs only the input with this seed, which a finding prints
    #[arg(long, value_name = "SEED", conflicts_with = "seed")]
    input: Option<u64>,
}

fn main() -> ExitCode {
    let Cli { seconds, targets, seed, input } = Cli::parse();
    let plan = Plan {
        time: Duration::from_secs(seconds),
        targets: if targets.is_empty() { Which::ALL.to_vec() } else { targets },
        seed: input.or(seed).unwrap_or_else(|| fastrand::u64(..1 << 48)),
        is_one_input: input.is_some(),
    };
    match run::run(&plan) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(findings) => {
            println!("{findings} findings");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("fuzzing cannot run: {error:#}");
            ExitCode::FAILURE
        }
    }
}
