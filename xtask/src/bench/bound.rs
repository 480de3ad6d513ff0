//! The bounds of each benchmark.
//!
//! A time in nanoseconds depends on the machine and on its other users as much as on the code. So
//! each bound compares a time with another time that was measured next to it, in the same turn. The
//! ratio is computed in each turn, and the median of the ratios must be within the bound. Only
//! memory, latency and the time of a start have bounds in absolute units.
//!
//! A bound is missed unless every turn measured the case of the bound and all peers of the bound.
//! The exception are refusals, where a peer counts only if every refusal reached its sender.

use std::fmt;

use super::Name;
use super::cases::{Cases, Summary};

/// Returns the bounds of a benchmark.
pub(super) fn bounds(name: Name) -> Vec<Bound> {
    match name {
        Name::Verdict => verdict(),
        Name::Client => client(),
        Name::Gateway => gateway(),
        Name::Keys => keys(),
        Name::Replicas => replicas(),
    }
}

fn verdict() -> Vec<Bound> {
    const HTTP: &str = "bearertokenauth_http";
    const GRPC: &str = "bearertokenauth_grpc";
    const SIPHASH: &str = "siphash_43";
    const SHA256: &str = "sha256_block";
    const LOADS: &str = "dram_loads";
    let mut bounds = vec![
        Bound::to_peers("fixed_1_hit", &[HTTP], 1.2),
        Bound::to_peers("fixed_1_hit", &[GRPC], 0.7),
        Bound::to_peers("fixed_1k_hit", &[HTTP], 1.0 / 200.0),
        Bound::to_peers("fixed_1k_hit", &[GRPC], 1.0 / 200.0),
    ];
    for case in ["fixed_1_hit", "fixed_10_hit", "fixed_1k_hit", "fixed_100k_hit"] {
        bounds.extend([Bound::to_peers(case, &[SIPHASH], 3.0), Bound::no_allocations(case)]);
    }
    bounds.extend([
        // A denied credential must take as long as an allowed one.
        Bound::to_case("fixed_1k_unknown", "fixed_1k_hit", 1.2),
        Bound::to_case("malformed", "fixed_1k_hit", 1.2),
        Bound::to_peers("ring_1m_hot", &[SHA256], 2.2).with_goal(1.8),
        Bound::to_peers("ring_1m_random", &[SHA256, LOADS], 1.5),
        Bound::to_peers("ring_unknown", &[SHA256, LOADS], 1.5),
        Bound::to_peers("ring_garbage", &[SHA256], 1.1),
        // `quiet` is the same loop, measured by the same clock, while no key changes.
        Bound::to_peers("ring_1m_churn", &["quiet"], 1.2),
        Bound::to_peers("ring_one_key_all_cores", &["one_core"], 1.2),
        Bound::to_peers("ring_one_key_all_cores", &["other_keys"], 1.2),
    ]);
    let ring = ["ring_1m_hot", "ring_1m_random", "ring_unknown", "ring_garbage"];
    bounds.extend(ring.map(Bound::no_allocations));
    bounds
}

fn client() -> Vec<Bound> {
    const CONSTANT: &str = "constant_header";
    vec![
        Bound::to_peers("layer", &[CONSTANT], 1.2),
        Bound::no_allocations("layer"),
        Bound::to_peers("interceptor", &[CONSTANT], 1.3),
        Bound::no_allocations("interceptor"),
        Bound::to_peers("channel", &[CONSTANT], 1.3),
        // The time that the layer adds is compared with the time of the same request without the
        // layer. The ratio was 1.32 when it was measured. The limit is half as much again, as a
        // margin for other processors.
        Bound::to_peers("server_layer", &["passthrough"], 2.0),
    ]
}

fn gateway() -> Vec<Bound> {
    const PROXIES: &[&str] = &["nginx", "haproxy", "envoy"];
    const COLLECTOR: &[&str] = &["otelcol"];
    vec![
        Bound::to_best("grpc_1_identity", PROXIES, 1.0),
        Bound::to_best("grpc_1_gzip", PROXIES, 1.0),
        Bound::to_best("grpc_100_identity", PROXIES, 0.6),
        Bound::to_best("grpc_100_gzip", PROXIES, 0.6),
        Bound::to_best("grpc_1000_identity", PROXIES, 1.0),
        Bound::to_best("grpc_1000_gzip", PROXIES, 1.0),
        Bound::to_best("http_1_identity", PROXIES, 1.0),
        Bound::to_best("http_1_gzip", PROXIES, 1.0),
        Bound::to_best("http_100_identity", PROXIES, 1.0),
        Bound::to_best("http_100_gzip", PROXIES, 1.0),
        Bound::to_best("http_1000_identity", PROXIES, 1.0),
        Bound::to_best("http_1000_gzip", PROXIES, 1.0),
        Bound::to_most("grpc_1_identity_rps", PROXIES, 0.9),
        Bound::to_most("grpc_1_gzip_rps", PROXIES, 0.9),
        Bound::to_most("grpc_100_identity_rps", PROXIES, 0.9),
        Bound::to_most("grpc_100_gzip_rps", PROXIES, 0.9),
        Bound::to_most("grpc_1000_identity_rps", PROXIES, 0.9),
        Bound::to_most("grpc_1000_gzip_rps", PROXIES, 0.9),
        Bound::to_most("http_1_identity_rps", PROXIES, 1.0),
        Bound::to_most("http_1_gzip_rps", PROXIES, 1.0),
        Bound::to_most("http_100_identity_rps", PROXIES, 1.0),
        Bound::to_most("http_100_gzip_rps", PROXIES, 1.0),
        Bound::to_most("http_1000_identity_rps", PROXIES, 1.0),
        Bound::to_most("http_1000_gzip_rps", PROXIES, 1.0),
        Bound::to_peers("grpc_100_identity", COLLECTOR, 1.0 / 6.0),
        Bound::to_peers("grpc_100_gzip", COLLECTOR, 1.0 / 6.0),
        Bound::to_peers("http_100_identity", COLLECTOR, 1.0 / 10.0),
        Bound::to_peers("http_100_gzip", COLLECTOR, 1.0 / 10.0),
        Bound::to_cheapest("grpc_refused", 1.0),
        Bound::to_cheapest("http_refused", 1.0),
        Bound::at_most("auth_share", 2.0),
        Bound::at_most("p99_added", 1000.0),
        Bound::at_most("rss", 20.0),
        Bound::at_most("rss_idle", 12.0),
        Bound::at_most("start", 15.0),
    ]
}

fn keys() -> Vec<Bound> {
    vec![
        Bound::at_most("ready_1m", 3.0),
        Bound::at_most("ready_1m_postgres", 5.0),
        Bound::at_most("rss_1m", 200.0),
        Bound::to_case("create_p99_1m", "create_p99_1k", 2.0),
        Bound::at_most("list_10k", 1.0),
    ]
}

fn replicas() -> Vec<Bound> {
    vec![
        Bound::at_most("revocation_p50", 20.0),
        Bound::at_most("revocation_p99", 100.0),
        // The polling interval of this case is 1 s.
        Bound::at_most("revocation_polling_p99", 1100.0),
        Bound::at_most("follower_revocation_p99", 100.0),
        Bound::at_most("idle_statements", 1.0),
        Bound::at_most("usage_flush_10k", 50.0),
        Bound::at_most("followers_1000_rss", 50.0),
        Bound::at_most("followers_1000_idle", 1.0),
    ]
}

/// A limit for one measurement of a case.
pub(super) struct Bound {
    case: &'static str,
    measure: Measure,
    limit: f64,
    goal: Option<f64>,
}

/// The measurement of a case that is compared with the limit.
enum Measure {
    /// The median, in the unit of the case.
    Value,
    /// The median of the ratios of the case to the sum of these peers.
    ToPeers(&'static [&'static str]),
    /// The median of the ratios of the case to the least of these peers.
    ToBest(&'static [&'static str]),
    /// The median of the ratios of the greatest of these peers to the case, where more is better.
    ToMost(&'static [&'static str]),
    /// The median of the ratios of the case to the least of all peers that have a result in every
    /// turn.
    ToCheapest,
    /// The median of the ratios of the case to another case.
    ToCase(&'static str),
    /// The heap allocations of one operation, in the round that has the most allocations.
    Allocations,
}

/// A bound and the measured value.
pub(super) struct Outcome<'a> {
    bound: &'a Bound,
    measured: Option<f64>,
}

impl Bound {
    const fn new(case: &'static str, measure: Measure, limit: f64) -> Self {
        Self { case, measure, limit, goal: None }
    }

    const fn at_most(case: &'static str, limit: f64) -> Self {
        Self::new(case, Measure::Value, limit)
    }

    const fn to_peers(case: &'static str, peers: &'static [&'static str], limit: f64) -> Self {
        Self::new(case, Measure::ToPeers(peers), limit)
    }

    const fn to_best(case: &'static str, peers: &'static [&'static str], limit: f64) -> Self {
        Self::new(case, Measure::ToBest(peers), limit)
    }

    const fn to_most(case: &'static str, peers: &'static [&'static str], limit: f64) -> Self {
        Self::new(case, Measure::ToMost(peers), limit)
    }

    const fn to_cheapest(case: &'static str, limit: f64) -> Self {
        Self::new(case, Measure::ToCheapest, limit)
    }

    const fn to_case(case: &'static str, other: &'static str, limit: f64) -> Self {
        Self::new(case, Measure::ToCase(other), limit)
    }

    const fn no_allocations(case: &'static str) -> Self {
        // Now and then, the runtime makes an allocation that does not belong to the operation. One
        // such allocation counts as 0.001, because a measurement has 1000 operations.
        Self::new(case, Measure::Allocations, 0.01)
    }

    /// Adds a goal below the limit. A missed goal is printed, but is not a failure.
    const fn with_goal(mut self, goal: f64) -> Self {
        self.goal = Some(goal);
        self
    }

    /// Compares the measured value with the bound.
    pub(super) fn check(&self, cases: &Cases) -> Outcome<'_> {
        Outcome { bound: self, measured: self.measure(cases) }
    }

    /// Returns the measured value, or `None` if a round lacks one of the results.
    fn measure(&self, cases: &Cases) -> Option<f64> {
        let ours = || cases.ours(self.case);
        match self.measure {
            Measure::Value => Summary::of(ours()?).map(|summary| summary.median),
            Measure::ToPeers(peers) => median_ratio(ours()?, &self.peers(cases, peers)?, sum),
            Measure::ToBest(peers) => median_ratio(ours()?, &self.peers(cases, peers)?, least),
            Measure::ToMost(peers) => {
                // Where more is better, the cost is the inverse.
                let inverse = |results: &[f64]| results.iter().map(|result| 1.0 / result).collect();
                let ours: Vec<_> = inverse(ours()?);
                let peers: Vec<Vec<_>> =
                    self.peers(cases, peers)?.into_iter().map(inverse).collect();
                median_ratio(&ours, &peers.iter().map(Vec::as_slice).collect::<Vec<_>>(), least)
            }
            Measure::ToCheapest => median_ratio(ours()?, &cases.complete_peers(self.case), least),
            Measure::ToCase(other) => median_ratio(ours()?, &[cases.ours(other)?], sum),
            Measure::Allocations => {
                Summary::of(cases.allocations(self.case)?).map(|summary| summary.max)
            }
        }
    }

    /// Returns the results of these peers, or `None` if a round lacks one of them.
    fn peers<'a>(&self, cases: &'a Cases, peers: &[&str]) -> Option<Vec<&'a [f64]>> {
        peers.iter().map(|peer| cases.peer(self.case, peer)).collect()
    }
}

impl Outcome<'_> {
    /// Returns whether the bound holds. A bound without a measured value does not hold.
    pub(super) fn holds(&self) -> bool {
        self.measured.is_some_and(|measured| measured <= self.bound.limit)
    }
}

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bound { case, measure, limit, goal } = self.bound;
        f.write_str(if self.holds() { "holds  " } else { "MISSED " })?;
        match measure {
            Measure::Value => f.write_str(case)?,
            Measure::ToPeers([peer]) => write!(f, "{case} / {peer}")?,
            Measure::ToPeers(peers) => write!(f, "{case} / ({})", peers.join(" + "))?,
            Measure::ToBest(peers) => write!(f, "{case} / the least of {}", peers.join(", "))?,
            Measure::ToMost(peers) => write!(f, "the most of {} / {case}", peers.join(", "))?,
            Measure::ToCheapest => write!(f, "{case} / the cheapest peer")?,
            Measure::ToCase(other) => write!(f, "{case} / {other}")?,
            Measure::Allocations => write!(f, "allocations of {case}")?,
        }
        match self.measured {
            Some(measured) => write!(f, ": {measured:.4} (at most {limit:.4}")?,
            None => write!(f, ": not measured (at most {limit:.4}")?,
        }
        if let Some(goal) = goal {
            let reached = self.measured.is_some_and(|measured| measured <= *goal);
            write!(f, "; the goal of {goal:.4} is {}", if reached { "reached" } else { "missed" })?;
        }
        f.write_str(")")
    }
}

/// Divides `ours` by what `combine` makes of `others` in each turn, and returns the median of these
/// ratios.
fn median_ratio(
    ours: &[f64],
    others: &[&[f64]],
    combine: impl Fn(&mut dyn Iterator<Item = f64>) -> Option<f64>,
) -> Option<f64> {
    let ratio = |(turn, ours): (usize, &f64)| {
        Some(ours / combine(&mut others.iter().map(|other| other[turn]))?)
    };
    let ratios = ours.iter().enumerate().map(ratio).collect::<Option<Vec<_>>>()?;
    Summary::of(&ratios).map(|summary| summary.median)
}

fn sum(results: &mut dyn Iterator<Item = f64>) -> Option<f64> {
    Some(results.sum())
}

fn least(results: &mut dyn Iterator<Item = f64>) -> Option<f64> {
    results.reduce(f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(rounds: usize, lines: &[&str]) -> Cases {
        let mut cases = Cases::new(rounds);
        lines.iter().for_each(|line| cases.add(line).unwrap());
        cases
    }

    // Scenario: a machine is twice as slow in one of three rounds. The name of one peer begins with
    // the name of another peer. Only one peer has a version.
    // Guarantee: the ratio is computed within each round, with the sum of exactly the named peers.
    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut lines = Vec::new();
        for (ours, peer) in [(60, 20), (120, 40), (30, 10)] {
            lines.push(format!(r#"{{"case":"a","value":{ours},"allocations":0.001}}"#));
            for (name, value) in [("sha", peer), ("loads", peer / 2), ("sha_other", 1)] {
                let version = if name == "sha" { r#","version":"1""# } else { "" };
                lines.push(format!(
                    r#"{{"case":"a","peer":"{name}"{version},"ns":{value},"allocations":0}}"#
                ));
            }
        }
        let cases = cases(3, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        let outcome = Bound::to_peers("a", &["sha", "loads"], 2.0).with_goal(1.9);
        let outcome = outcome.check(&cases);
        assert!(outcome.holds());
        assert_eq!(
            outcome.to_string(),
            "holds  a / (sha + loads): 2.0000 (at most 2.0000; the goal of 1.9000 is missed)"
        );
        let outcome = Bound::to_peers("a", &["sha"], 2.9);
        assert_eq!(outcome.check(&cases).to_string(), "MISSED a / sha: 3.0000 (at most 2.9000)");
        assert!(Bound::no_allocations("a").check(&cases).holds());
    }

    // Scenario: the results of a case, of a peer or of the allocations are missing in some rounds
    // or in all rounds.
    // Guarantee: the bounds of this case are missed.
    #[test]
    fn what_is_not_measured_is_missed() {
        let cases = cases(
            2,
            &[
                r#"{"case":"a","value":1,"allocations":null}"#,
                r#"{"case":"a","value":1,"allocations":0}"#,
                r#"{"case":"a","peer":"p","version":"1","value":100}"#,
                r#"{"case":"once","value":1,"allocations":0}"#,
                r#"{"case":"once","peer":"p","version":"1","value":100}"#,
            ],
        );
        assert!(Bound::at_most("a", 1.0).check(&cases).holds());
        for bound in [
            Bound::at_most("b", 1.0),
            Bound::at_most("once", 1.0),
            Bound::no_allocations("a"),
            Bound::no_allocations("once"),
            Bound::to_peers("a", &["p"], 1.0),
            Bound::to_peers("a", &["q"], 1.0),
            Bound::to_peers("once", &["p"], 1.0),
            Bound::to_case("a", "b", 1.0),
            Bound::to_case("once", "once", 1.0),
        ] {
            let outcome = bound.check(&cases);
            assert!(!outcome.holds(), "{outcome}");
            assert!(outcome.to_string().contains("not measured"), "{outcome}");
        }
    }

    // Scenario: an operation allocates in one call of a hundred, or in one call of fifty.
    // Guarantee: the bound holds in the first case only, because the number of allocations is not
    // rounded.
    #[test]
    fn allocations_are_not_rounded() {
        let holds = |allocations: &str| {
            let line = format!(r#"{{"case":"a","value":1,"allocations":{allocations}}}"#);
            Bound::no_allocations("a").check(&cases(1, &[&line])).holds()
        };
        assert!(holds("0.01"));
        assert!(!holds("0.02"));
    }

    // Scenario: a round of two turns. A case has another cheapest peer in each turn, in a case more
    // is better, and in a case one peer has no result in one turn.
    // Guarantee: each turn is compared with the best peer of that turn, and a peer without a result
    // counts only where every peer has to be measured.
    #[test]
    fn the_best_peer_of_each_turn_counts() {
        const PEERS: &[&str] = &["p", "q"];
        let mut lines = Vec::new();
        for (p, q) in [(10, 20), (40, 20)] {
            for (case, ours) in [("cost", 10), ("rate", 40), ("refused", 10)] {
                lines.push(format!(r#"{{"case":"{case}","value":{ours},"allocations":null}}"#));
                lines.push(format!(
                    r#"{{"case":"{case}","peer":"p","value":{p},"allocations":null}}"#
                ));
                if case != "refused" || q < p {
                    lines.push(format!(
                        r#"{{"case":"{case}","peer":"q","value":{q},"allocations":null}}"#
                    ));
                }
            }
        }
        let cases = cases(1, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        let measured = |bound: Bound| bound.measure(&cases);
        assert_eq!(measured(Bound::to_best("cost", PEERS, 1.0)), Some(1.0));
        assert_eq!(measured(Bound::to_most("rate", PEERS, 1.0)), Some(1.0));
        assert_eq!(measured(Bound::to_best("refused", PEERS, 1.0)), None);
        assert_eq!(measured(Bound::to_cheapest("refused", 1.0)), Some(1.0));
        assert_eq!(measured(Bound::to_cheapest("unknown", 1.0)), None);
    }
}
