//! The table on stdout, and `target/bench/NAME.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use comfy_table::Table;
use serde_json::{Value, json};

use super::Name;
use super::cases::{Cases, Summary};
use crate::process::output;

/// Returns the table of one benchmark with one row for each case.
pub(super) fn table(name: Name, cases: &Cases) -> Table {
    let cell = |rounds: &[f64]| match Summary::of(rounds) {
        Some(Summary { median, min, max }) => {
            let decimals = if max < 10.0 { 3 } else { 1 };
            format!("{median:.decimals$} ({min:.decimals$} .. {max:.decimals$})")
        }
        None => "-".to_owned(),
    };
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["case", "unit", "ours: median (min .. max)", "allocations", "peers"]);
    for (label, case) in cases.iter() {
        let peers: Vec<_> =
            case.peers.iter().map(|(peer, rounds)| format!("{peer}: {}", cell(rounds))).collect();
        let allocations = Summary::of(&case.allocations)
            .map_or_else(|| "-".to_owned(), |allocations| format!("{:.2}", allocations.max));
        table.add_row([
            label.to_owned(),
            unit(name, label).to_owned(),
            cell(&case.ours),
            allocations,
            peers.join("\n"),
        ]);
    }
    table
}

/// Writes the results of one benchmark to its file. The schema is fixed, because other programs
/// read the file.
pub(super) fn write(path: &Path, name: Name, cases: &Cases) -> Result<()> {
    let cases: Vec<_> = cases
        .iter()
        .map(|(label, case)| {
            let peers: BTreeMap<_, _> =
                case.peers.iter().map(|(peer, rounds)| (peer, Summary::of(rounds))).collect();
            json!({
                "case": label, "unit": unit(name, label), "better": better(name, label),
                "ours": Summary::of(&case.ours), "peers": peers, "allocations": Summary::of(&case.allocations).map(|allocations| allocations.max),
            })
        })
        .collect();
    let report = json!({ "bench": name.label(), "machine": machine()?, "cases": cases });
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    fs::write(path, serde_json::to_vec_pretty(&report)?).with_context(|| path.display().to_string())
}

fn better(name: Name, case: &str) -> &'static str {
    match name {
        Name::Gateway if case.ends_with("_rps") => "higher",
        _ => "lower",
    }
}

fn unit(name: Name, case: &str) -> &'static str {
    match (name, case) {
        (Name::Gateway, "auth_share") => "%",
        (Name::Gateway, "p99_added") => "us",
        (Name::Gateway, "rss" | "rss_idle") => "MB",
        (Name::Gateway, "start") => "ms",
        (Name::Gateway, _) if case.ends_with("_rps") => "requests/s",
        (Name::Gateway, _) => "us a request",
        (Name::Keys, "rss_1m") => "MB",
        (Name::Keys, "ready_1m" | "ready_1m_postgres" | "list_10k") => "s",
        (Name::Replicas, "idle_statements") => "statements/s",
        (Name::Replicas, "usage_flush_10k") => "ms an interval",
        (Name::Replicas, "followers_1000_rss") => "MB",
        (Name::Replicas, "followers_1000_idle") => "% of a core",
        (Name::Keys | Name::Replicas, _) => "ms",
        (Name::Client, "channel") => "us a call",
        (Name::Client, "server_layer") => "ns added",
        _ => "ns",
    }
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
