//! Measures what a request through the gateway costs, beside other programs that do the same:
//! senders, the program in the middle, and a sink. `cargo xtask bench gateway` runs this benchmark.
//!
//! The program in the middle has one processor, and its processor time is read from the kernel.
//! Senders and sink are one thread of this program on another processor. They speak HTTP by hand,
//! because whoever is slower than the program in the middle does not measure it. They verify every
//! answer, the body of every request that arrives, and that as many arrive as were sent.
//!
//! `cargo bench --package ingestion-gateway --bench gateway -- compare --help` tells how a change
//! is measured against another build.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

mod bench;
mod case;
mod compare;
#[path = "../common/cpu.rs"]
mod cpu;
mod gateway;
mod hpack;
mod http1;
mod http2;
mod job;
mod keys;
mod load;
#[path = "../common/memory.rs"]
mod memory;
mod payload;
mod peers;
mod pipe;
mod processes;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum as _};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Cargo adds this argument.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Measure every case and print one JSON object for each result
    Round {
        /// The build of the gateway that can let everything in
        #[arg(long)]
        open_gateway: PathBuf,
        /// The directory of the peers
        #[arg(long)]
        peers: PathBuf,
        /// Only these parts
        #[arg(long, value_delimiter = ',')]
        parts: Vec<bench::Part>,
    },
    Compare(compare::Compare),
}

fn main() {
    let cli = Cli::parse();
    processes::run_on_own_processor();
    match cli.command {
        Command::Round { open_gateway, peers, parts } => {
            let gateway = bench::shipped_gateway().to_owned();
            let programs = bench::Programs { gateway, open_gateway, peers };
            let all = bench::Part::value_variants();
            bench::round(&programs, if parts.is_empty() { all } else { &parts });
        }
        Command::Compare(compare) => compare.run(),
    }
}
