//! What the benchmark programs print, collected by case.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::process::output;

/// The cases of one benchmark by their names.
#[derive(Default)]
pub(super) struct Cases(BTreeMap<String, Case>);

/// The results of one case, one a round.
#[derive(Default)]
pub(super) struct Case {
    pub(super) ours: Vec<f64>,
    /// By `NAME@VERSION`.
    pub(super) peers: BTreeMap<String, Vec<f64>>,
    /// The most allocations that an operation of ours made in any round.
    pub(super) allocations: Option<f64>,
}

/// The rounds of one case and program, as `target/bench/NAME.json` has them.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// A line that a benchmark program prints: the result of one case in one round.
#[derive(Deserialize)]
struct Line {
    case: String,
    /// Absent where the result is ours.
    #[serde(default)]
    peer: Option<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(alias = "ns")]
    value: f64,
    allocations: Option<f64>,
}

impl Cases {
    /// Runs the programs in turn and collects what they print.
    pub(super) fn measure(programs: &mut [Command], rounds: usize) -> Result<Self> {
        let mut cases = Self::default();
        for round in 1..=rounds {
            eprintln!("round {round} of {rounds}");
            for program in &mut *programs {
                for line in output(program)?.lines() {
                    cases.add(line)?;
                }
            }
        }
        Ok(cases)
    }

    /// Adds the result that `line` reports.
    pub(super) fn add(&mut self, line: &str) -> Result<()> {
        let line: Line =
            serde_json::from_str(line).with_context(|| format!("a benchmark printed: {line}"))?;
        let case = self.0.entry(line.case).or_default();
        match line.peer {
            Some(peer) => {
                let peer = format!("{peer}@{}", line.version.unwrap_or_default());
                case.peers.entry(peer).or_default().push(line.value);
            }
            None => {
                case.ours.push(line.value);
                case.allocations =
                    [case.allocations, line.allocations].into_iter().flatten().reduce(f64::max);
            }
        }
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Case)> {
        self.0.iter().map(|(name, case)| (name.as_str(), case))
    }

    /// Our results of a case, one a round; none if the case did not run.
    pub(super) fn ours(&self, case: &str) -> &[f64] {
        self.0.get(case).map_or(&[], |case| &case.ours)
    }

    /// The results of a peer, of whatever version, one a round; none if it did not run.
    pub(super) fn peer(&self, case: &str, peer: &str) -> &[f64] {
        let mut peers = self.0.get(case).into_iter().flat_map(|case| &case.peers);
        peers
            .find(|(name, _)| name.split_once('@').is_some_and(|(name, _)| name == peer))
            .map_or(&[], |(_, rounds)| rounds)
    }

    /// The most allocations that an operation of this case made in any round.
    pub(super) fn allocations(&self, case: &str) -> Option<f64> {
        self.0.get(case)?.allocations
    }
}

impl Summary {
    /// The summary of these rounds, if there is any.
    pub(super) fn of(rounds: &[f64]) -> Option<Self> {
        let mut rounds = rounds.to_vec();
        rounds.sort_by(f64::total_cmp);
        let (min, max) = (*rounds.first()?, *rounds.last()?);
        Some(Self { median: rounds[rounds.len() / 2], min, max })
    }
}
