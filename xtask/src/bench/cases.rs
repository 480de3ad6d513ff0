//! The results that the benchmark programs print, collected by case.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::process::output;

/// The cases of one benchmark by their names.
#[derive(Default)]
pub(super) struct Cases(BTreeMap<String, Case>);

/// The results of one case, one for each round.
#[derive(Default)]
pub(super) struct Case {
    pub(super) ours: Vec<f64>,
    /// The results of each peer, by `NAME@VERSION`.
    pub(super) peers: BTreeMap<String, Vec<f64>>,
    /// The largest number of allocations of one operation of ours in any round.
    pub(super) allocations: Option<f64>,
}

/// The summary of the rounds of one program, as in `target/bench/NAME.json`.
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
    /// Absent if the result is ours.
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

    /// Adds the result in `line`.
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

    /// Returns our results of a case, one for each round; empty if the case did not run.
    pub(super) fn ours(&self, case: &str) -> &[f64] {
        self.0.get(case).map_or(&[], |case| &case.ours)
    }

    /// Returns the results of a peer in any version, one for each round; empty if the peer did not
    /// run.
    pub(super) fn peer(&self, case: &str, peer: &str) -> &[f64] {
        let mut peers = self.0.get(case).into_iter().flat_map(|case| &case.peers);
        peers
            .find(|(name, _)| name.split_once('@').is_some_and(|(name, _)| name == peer))
            .map_or(&[], |(_, rounds)| rounds)
    }

    /// Returns the largest number of allocations of one operation of this case in any round.
    pub(super) fn allocations(&self, case: &str) -> Option<f64> {
        self.0.get(case)?.allocations
    }
}

impl Summary {
    /// Returns the summary of these rounds; nothing if there are no rounds.
    pub(super) fn of(rounds: &[f64]) -> Option<Self> {
        let mut rounds = rounds.to_vec();
        rounds.sort_by(f64::total_cmp);
        let (min, max) = (*rounds.first()?, *rounds.last()?);
        Some(Self { median: rounds[rounds.len() / 2], min, max })
    }
}
