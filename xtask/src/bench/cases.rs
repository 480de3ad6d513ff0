//! The results that the benchmark programs print, collected by case.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::process::output;

/// The cases of one benchmark by their names.
pub(super) struct Cases {
    rounds: usize,
    by_name: BTreeMap<String, Case>,
}

/// The results of one case: as many for each program, in the order of their turns. A round may have
/// several turns.
#[derive(Default)]
pub(super) struct Case {
    pub(super) ours: Vec<f64>,
    /// The results of each peer, by `NAME@VERSION`, or by `NAME` if the peer has no version.
    pub(super) peers: BTreeMap<String, Vec<f64>>,
    /// The allocations of one operation of our program. A round that did not count allocations has
    /// no element.
    pub(super) allocations: Vec<f64>,
}

/// The summary of the results of one program over all rounds, as in `target/bench/NAME.json`.
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
    /// Returns an empty collection for this number of rounds.
    pub(super) const fn new(rounds: usize) -> Self {
        Self { rounds, by_name: BTreeMap::new() }
    }

    /// Runs the programs in turn and collects what they print.
    pub(super) fn measure(programs: &mut [Command], rounds: usize) -> Result<Self> {
        let mut cases = Self::new(rounds);
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
        let case = self.by_name.entry(line.case).or_default();
        match line.peer {
            Some(peer) => {
                let peer = match line.version {
                    Some(version) => format!("{peer}@{version}"),
                    None => peer,
                };
                case.peers.entry(peer).or_default().push(line.value);
            }
            None => {
                case.ours.push(line.value);
                case.allocations.extend(line.allocations);
            }
        }
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Case)> {
        self.by_name.iter().map(|(name, case)| (name.as_str(), case))
    }

    /// Returns our results of a case, one for each turn. Returns `None` if a turn has no result.
    pub(super) fn ours(&self, case: &str) -> Option<&[f64]> {
        let case = self.by_name.get(case)?;
        self.complete(case, &case.ours)
    }

    /// Returns the results of a peer in any version, one for each turn. Returns `None` if a turn
    /// has no result.
    pub(super) fn peer(&self, case: &str, peer: &str) -> Option<&[f64]> {
        let case = self.by_name.get(case)?;
        let is_peer = |name: &str| name.split('@').next() == Some(peer);
        let (_, results) = case.peers.iter().find(|(name, _)| is_peer(name))?;
        self.complete(case, results)
    }

    /// Returns the results of every peer that has a result in each turn.
    pub(super) fn complete_peers(&self, case: &str) -> Vec<&[f64]> {
        let Some(case) = self.by_name.get(case) else { return Vec::new() };
        case.peers.values().filter_map(|results| self.complete(case, results)).collect()
    }

    /// Returns the allocations of one operation of a case, one number for each turn. Returns `None`
    /// if a turn has no number.
    pub(super) fn allocations(&self, case: &str) -> Option<&[f64]> {
        let case = self.by_name.get(case)?;
        self.complete(case, &case.allocations)
    }

    /// Returns the results if there is one for each turn. Each round has the same number of turns:
    /// that of the program with the most results.
    fn complete<'a>(&self, case: &Case, results: &'a [f64]) -> Option<&'a [f64]> {
        let all = case.peers.values().chain([&case.ours]);
        let turns = all.map(Vec::len).max().unwrap_or_default();
        (turns > 0 && turns.is_multiple_of(self.rounds) && results.len() == turns)
            .then_some(results)
    }
}

impl Summary {
    /// Returns the summary of these rounds, or `None` if there are no rounds.
    pub(super) fn of(rounds: &[f64]) -> Option<Self> {
        let mut rounds = rounds.to_vec();
        rounds.sort_by(f64::total_cmp);
        let (min, max) = (*rounds.first()?, *rounds.last()?);
        Some(Self { median: rounds[rounds.len() / 2], min, max })
    }
}
