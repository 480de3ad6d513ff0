//! `cargo xtask bench`: ours and peers in turn, in one run.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;
use comfy_table::Table;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::peers;
use crate::process::{cargo, output, root, run as run_command, target};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// One server decision, from a header map to the verdict
    Verdict,
    /// One header put on a request, and what the server's layer adds
    Client,
    /// The gateway with a million keys: start-up, memory, creating and listing
    Keys,
}

/// A line that a benchmark program prints: one case in one round.
#[derive(Deserialize)]
struct Line {
    case: String,
    /// Whose it is; ours without.
    #[serde(default)]
    peer: Option<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(alias = "ns")]
    value: f64,
    allocations: Option<f64>,
}

/// The rounds of one case.
#[derive(Default)]
struct Case {
    ours: Vec<f64>,
    peers: BTreeMap<String, Vec<f64>>,
    allocations: Option<f64>,
}

#[derive(Clone, Copy, Serialize)]
struct Summary {
    median: f64,
    min: f64,
    max: f64,
}

pub(crate) fn run(names: &[Name]) -> Result<()> {
    let names = if names.is_empty() { Name::value_variants() } else { names };
    for &name in names {
        let label = name.label();
        let mut programs = name.programs()?;
        let cases = measure(&mut programs, name.rounds())?;
        println!("{}", table(name, &cases));
        for bound in name.bounds() {
            println!("{}", bound.told(&cases));
        }
        let path = target()?.join("bench").join(format!("{label}.json"));
        write(&path, name, &cases)?;
        println!("written to {}\n", path.strip_prefix(root()).unwrap_or(&path).display());
    }
    Ok(())
}

impl Name {
    fn label(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What is run in each round, one after the other.
    fn programs(self) -> Result<Vec<Command>> {
        Ok(match self {
            Self::Verdict => vec![
                Command::new(ours("otlp-auth", "verdict")?),
                Command::new(peers::go_peers()?.join("verdict")),
                Command::new(ours("ingestion-keys", "ring")?),
            ],
            Self::Client => vec![Command::new(ours("otlp-auth", "client")?)],
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
        })
    }

    /// How often each program runs, in turn with the others.
    fn rounds(self) -> usize {
        match self {
            Self::Verdict | Self::Client => 7,
            Self::Keys => 3,
        }
    }

    fn unit(self, case: &str) -> &'static str {
        match (self, case) {
            (Self::Keys, "rss_1m") => "MB",
            (Self::Keys, "ready_1m" | "list_10k") => "s",
            (Self::Keys, _) => "ms",
            (Self::Client, "channel") => "us a call",
            (Self::Client, "server_layer") => "ns added",
            _ => "ns",
        }
    }

    /// What is asked of the figures.
    fn bounds(self) -> Vec<Bound> {
        const HTTP: &str = "bearertokenauth_http";
        const GRPC: &str = "bearertokenauth_grpc";
        let hits = ["fixed_1_hit", "fixed_10_hit", "fixed_1k_hit", "fixed_100k_hit"];
        match self {
            Self::Verdict => hits
                .iter()
                .flat_map(|case| [Bound::AtMost(case, 60.0), Bound::NoAllocations(case)])
                .chain([
                    Bound::TimesPeer("fixed_1_hit", HTTP, 1.2),
                    Bound::TimesPeer("fixed_1_hit", GRPC, 0.7),
                    Bound::TimesPeer("fixed_1k_hit", HTTP, 1.0 / 200.0),
                    Bound::TimesPeer("fixed_1k_hit", GRPC, 1.0 / 200.0),
                    Bound::TimesCase("fixed_1k_unknown", "fixed_1k_hit", 1.2),
                    Bound::TimesCase("malformed", "fixed_1k_hit", 1.2),
                    Bound::AtMost("ring_1m_hot", 120.0),
                    Bound::AtMost("ring_1m_random", 600.0),
                    Bound::AtMost("ring_unknown", 600.0),
                    Bound::AtMost("ring_garbage", 60.0),
                    Bound::TimesCase("ring_1m_churn", "ring_1m_random", 1.2),
                    Bound::TimesPeer("ring_one_key_all_cores", "one_core", 1.2),
                    Bound::NoAllocations("ring_1m_hot"),
                    Bound::NoAllocations("ring_1m_random"),
                    Bound::NoAllocations("ring_unknown"),
                    Bound::NoAllocations("ring_garbage"),
                ])
                .collect(),
            Self::Client => vec![
                Bound::AbovePeer("layer", "constant_header", 30.0),
                Bound::NoAllocations("layer"),
                Bound::AbovePeer("interceptor", "constant_header", 30.0),
                Bound::NoAllocations("interceptor"),
                Bound::AtMost("server_layer", 500.0),
            ],
            Self::Keys => vec![
                Bound::AtMost("ready_1m", 3.0),
                Bound::AtMost("rss_1m", 200.0),
                Bound::TimesCase("create_p99_1m", "create_p99_1k", 2.0),
                Bound::AtMost("list_10k", 1.0),
            ],
        }
    }
}

/// A bound on the medians of one run.
enum Bound {
    AtMost(&'static str, f64),
    NoAllocations(&'static str),
    TimesPeer(&'static str, &'static str, f64),
    AbovePeer(&'static str, &'static str, f64),
    TimesCase(&'static str, &'static str, f64),
}

impl Bound {
    /// Whether it holds, with the figures.
    fn told(&self, cases: &BTreeMap<String, Case>) -> String {
        let ours = |case: &str| {
            cases
                .get(case)
                .and_then(|case| summary(&case.ours))
                .map_or(f64::NAN, |summary| summary.median)
        };
        let peer = |case: &str, peer: &str| {
            let peers = cases.get(case).into_iter().flat_map(|case| &case.peers);
            let rounds = peers
                .filter(|(name, _)| name.starts_with(peer))
                .find_map(|(_, rounds)| summary(rounds));
            rounds.map_or(f64::NAN, |summary| summary.median)
        };
        let (what, value, limit) = match *self {
            Self::AtMost(case, limit) => (case.to_owned(), ours(case), limit),
            Self::NoAllocations(case) => {
                let allocations =
                    cases.get(case).and_then(|case| case.allocations).unwrap_or(f64::NAN);
                // An allocation of the runtime among a thousand calls is none of the operation.
                (format!("allocations of {case}"), allocations.round(), 0.0)
            }
            Self::TimesPeer(case, name, limit) => {
                (format!("{case} / {name}"), ours(case) / peer(case, name), limit)
            }
            Self::AbovePeer(case, name, limit) => {
                (format!("{case} - {name}"), ours(case) - peer(case, name), limit)
            }
            Self::TimesCase(case, other, limit) => {
                (format!("{case} / {other}"), ours(case) / ours(other), limit)
            }
        };
        let verdict = if value <= limit { "holds " } else { "MISSED" };
        format!("{verdict} {what}: {value:.4} (at most {limit:.4})")
    }
}

/// Builds a benchmark program of ours.
fn ours(package: &str, label: &str) -> Result<PathBuf> {
    let arguments = [
        "bench",
        "--locked",
        "--package",
        package,
        "--all-features",
        "--no-run",
        "--message-format",
        "json",
        "--bench",
        label,
    ];
    let messages = output(&mut cargo(arguments))?;
    let executables = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let path = executables
        .filter(|message| message["target"]["name"] == label)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    path.with_context(|| format!("cargo built no benchmark {label}"))
}

/// Runs the programs in turn and collects what they print.
fn measure(programs: &mut [Command], rounds: usize) -> Result<BTreeMap<String, Case>> {
    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for program in &mut *programs {
            for line in output(program)?.lines() {
                let line: Line = serde_json::from_str(line)
                    .with_context(|| format!("a benchmark printed: {line}"))?;
                let case = cases.entry(line.case).or_default();
                match line.peer {
                    Some(peer) => {
                        let peer = format!("{peer}@{}", line.version.unwrap_or_default());
                        case.peers.entry(peer).or_default().push(line.value);
                    }
                    None => {
                        case.ours.push(line.value);
                        // The worst round counts.
                        case.allocations = [case.allocations, line.allocations]
                            .into_iter()
                            .flatten()
                            .reduce(f64::max);
                    }
                }
            }
        }
    }
    Ok(cases)
}

fn table(name: Name, cases: &BTreeMap<String, Case>) -> Table {
    let cell = |rounds: &[f64]| match summary(rounds) {
        Some(Summary { median, min, max }) => {
            let decimals = if max < 10.0 { 3 } else { 1 };
            format!("{median:.decimals$} ({min:.decimals$} .. {max:.decimals$})")
        }
        None => "-".to_owned(),
    };
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["case", "unit", "ours: median (min .. max)", "allocations", "peers"]);
    for (label, case) in cases {
        let peers: Vec<_> =
            case.peers.iter().map(|(peer, rounds)| format!("{peer}: {}", cell(rounds))).collect();
        let allocations = case
            .allocations
            .map_or_else(|| "-".to_owned(), |allocations| format!("{allocations:.1}"));
        table.add_row([
            label.clone(),
            name.unit(label).to_owned(),
            cell(&case.ours),
            allocations,
            peers.join("\n"),
        ]);
    }
    table
}

fn write(path: &PathBuf, name: Name, cases: &BTreeMap<String, Case>) -> Result<()> {
    let cases: Vec<_> = cases
        .iter()
        .map(|(label, case)| {
            let peers: BTreeMap<_, _> =
                case.peers.iter().map(|(peer, rounds)| (peer, summary(rounds))).collect();
            json!({
                "case": label, "unit": name.unit(label), "better": "lower",
                "ours": summary(&case.ours), "peers": peers, "allocations": case.allocations,
            })
        })
        .collect();
    let report = json!({ "bench": name.label(), "machine": machine()?, "cases": cases });
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    fs::write(path, serde_json::to_vec_pretty(&report)?).with_context(|| path.display().to_string())
}

fn machine() -> Result<Value> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let cores = std::thread::available_parallelism().context("the number of cores")?;
    let rustc = output(Command::new("rustc").arg("--version"))?;
    Ok(json!({ "cpu": model, "cores": cores, "rustc": rustc.trim() }))
}

fn summary(rounds: &[f64]) -> Option<Summary> {
    let mut rounds = rounds.to_vec();
    rounds.sort_by(f64::total_cmp);
    let (min, max) = (*rounds.first()?, *rounds.last()?);
    Some(Summary { median: rounds[rounds.len() / 2], min, max })
}
