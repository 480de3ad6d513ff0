//! `cargo xtask bench`: runs our benchmark programs and those of the peers in turn.

mod bound;
mod cases;
mod report;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::Value;

use crate::peers;
use crate::process::{cargo, output, root, run as run_command, target};

use bound::bounds;
use cases::Cases;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// One server decision, from a header map to the verdict
    Verdict,
    /// The time to put one header on a request, and the time that the server's layer adds to one
    Client,
    /// A request through the gateway beside nginx, HAProxy, Envoy and a Collector
    Gateway,
    /// The gateway with a million keys: start-up, memory, creating and listing
    Keys,
    /// Three gateways on one PostgreSQL database, and processes that follow a gateway: how soon a
    /// deleted key is refused everywhere, and what they cost
    Replicas,
}

/// Runs the named benchmarks, or all of them. For each benchmark, prints the table and the bounds
/// that hold, and writes `target/bench/NAME.json`. At the end, prints the bounds that were missed.
pub(crate) fn run(names: &[Name]) -> Result<ExitCode> {
    let names = if names.is_empty() { Name::value_variants() } else { names };
    let mut missed = Vec::new();
    for &name in names {
        let cases = Cases::measure(&mut name.programs()?, name.rounds())?;
        println!("{}", report::table(name, &cases));
        for bound in bounds(name) {
            let outcome = bound.check(&cases);
            if outcome.holds() {
                println!("{outcome}");
            } else {
                missed.push(outcome.to_string());
            }
        }
        let path = target()?.join("bench").join(format!("{}.json", name.label()));
        report::write(&path, name, &cases)?;
        println!("written to {}\n", path.strip_prefix(root()).unwrap_or(&path).display());
    }
    if missed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{} bounds were missed:\n{}", missed.len(), missed.join("\n"));
    Ok(ExitCode::FAILURE)
}

impl Name {
    fn label(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Returns the programs of one round, in the order in which they run.
    fn programs(self) -> Result<Vec<Command>> {
        Ok(match self {
            Self::Verdict => vec![
                Command::new(ours("otlp-auth", "verdict")?),
                Command::new(peers::go_peers()?.join("verdict")),
                Command::new(ours("ingestion-keys", "ring")?),
            ],
            Self::Client => vec![Command::new(ours("otlp-auth", "client")?)],
            Self::Gateway => {
                let peers = peers::proxies()?;
                peers::go_peers()?;
                let open = open_gateway()?;
                let mut round = Command::new(ours("ingestion-gateway", "gateway")?);
                round.args(["round", "--open-gateway"]).arg(open).arg("--peers").arg(peers);
                vec![round]
            }
            Self::Keys => {
                run_command(&mut cargo([
                    "build",
                    "--locked",
                    "--release",
                    "--package",
                    "ingestion-gateway",
                    "--package",
                    "sts-cli",
                    "--bins",
                ]))?;
                vec![Command::new(ours("ingestion-gateway", "keys")?)]
            }
            Self::Replicas => vec![Command::new(ours("ingestion-gateway", "replicas")?)],
        })
    }

    /// The number of rounds. Each program runs once in each round.
    fn rounds(self) -> usize {
        match self {
            Self::Verdict | Self::Client => 7,
            Self::Gateway => 3,
            // These programs measure several times, because their databases take long to fill.
            Self::Keys | Self::Replicas => 1,
        }
    }
}

/// Builds the gateway with the feature that can let everything in. Returns the path of a copy,
/// because the next build without the feature has the same path.
fn open_gateway() -> Result<PathBuf> {
    const NAME: &str = "ingestion-gateway";
    run_command(&mut cargo([
        "build",
        "--locked",
        "--profile",
        "bench",
        "--package",
        NAME,
        "--features",
        "_bench",
        "--bins",
    ]))?;
    let directory = target()?.join("bench");
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let (built, copy) = (target()?.join("release").join(NAME), directory.join("open-gateway"));
    std::fs::copy(&built, &copy).with_context(|| built.display().to_string())?;
    Ok(copy)
}

/// Builds a benchmark program of this workspace and returns its path.
fn ours(package: &str, label: &str) -> Result<PathBuf> {
    let mut build = cargo(["bench", "--locked", "--package", package, "--no-run"]);
    // The gateway is measured as it is shipped.
    if package != "ingestion-gateway" {
        build.arg("--all-features");
    }
    let messages = output(build.args(["--message-format", "json", "--bench", label]))?;
    let executables = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let path = executables
        .filter(|message| message["target"]["name"] == label)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    path.with_context(|| format!("cargo built no benchmark {label}"))
}
