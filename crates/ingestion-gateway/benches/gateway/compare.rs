//! A table for developers: a few cases, one or more builds of the gateway, and some peers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::bench::shipped_gateway;
use crate::case::Case;
use crate::gateway;
use crate::job::Protocol;
use crate::keys::key;
use crate::load::{Load, Measured, World};
use crate::peers;
use crate::processes::Middle;

/// Measures some cases with several programs in turn. Prints the processor time of a request as the
/// median, minimum and maximum of the rounds, the answers a second, and the cost of the first
/// program divided by that of this one.
#[derive(Parser)]
pub(crate) struct Compare {
    /// Builds of the gateway: that of this target directory if none is named
    #[arg(long = "gateway")]
    gateways: Vec<PathBuf>,
    /// A setting for each build of the gateway
    #[arg(long = "set")]
    settings: Vec<String>,
    /// nginx, haproxy, envoy, otelcol, otelcol_auth or none
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// The directory of the peers
    #[arg(long, default_value = "target/peers")]
    programs: PathBuf,
    /// {grpc,http}_{1,100,1000}[_gzip][_refused]
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "grpc_1,grpc_100,http_1,http_100,grpc_100_refused,http_100_refused"
    )]
    cases: Vec<String>,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests in flight over all connections; over HTTP/1.1 each one has its own
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// Requests a second, which are due at fixed moments; adds a latency to the table
    #[arg(long)]
    rate: Option<f64>,
}

impl Compare {
    pub(crate) fn run(self) {
        let mut world = World::new().unwrap();
        let sink = world.sink;
        let duration = Duration::from_secs_f64(self.seconds);
        let gateways = if self.gateways.is_empty() {
            vec![shipped_gateway().to_owned()]
        } else {
            self.gateways.clone()
        };
        let mut middles: Vec<Middle> = gateways
            .iter()
            .zip(1..)
            .map(|(path, number)| {
                gateway::start(&format!("gateway {number}"), path, sink, &self.settings)
            })
            .collect();
        let peers = self.peers.iter().filter(|name| *name != "none");
        middles.extend(peers.map(|name| peers::start(name, &self.programs, sink)));
        for middle in &middles {
            eprintln!("{}: processes {:?}", middle.name, middle.process.ids());
        }
        println!(
            "{:<18} {:<14} {:>8} {:>8} {:>8} {:>9} {:>10}",
            "case", "program", "us", "min", "max", "answers/s", "first/this"
        );
        for name in &self.cases {
            let case = Case { connections: self.connections, ..case(name) };
            let case = case.with_in_flight(self.in_flight.max(case.connections));
            let mut results: Vec<Vec<Measured>> = middles.iter().map(|_| Vec::new()).collect();
            let mut none = Vec::new();
            for _ in 0..self.rounds {
                for (middle, results) in middles.iter().zip(&mut results) {
                    let address = middle.address(case.protocol, case.is_gzip);
                    let load = case.load(address, &middle.keys, duration);
                    let is_transparent = middle.is_transparent();
                    let load = Load { rate: self.rate, is_transparent, ..load };
                    results.push(world.run(&load, || middle.process.cpu()).unwrap());
                }
                if self.peers.iter().any(|name| name == "none") && !case.is_refused {
                    let load = case.load(sink.address(case.protocol), &[key(0)], duration);
                    let load = Load { rate: self.rate, ..load };
                    none.push(world.run(&load, || Duration::ZERO).unwrap());
                }
            }
            let first: Vec<_> = results[0].iter().map(Measured::microseconds).collect();
            for (middle, results) in middles.iter().zip(&results) {
                print(name, &middle.name, results, &first);
            }
            if !none.is_empty() {
                print(name, "none", &none, &first);
            }
        }
        for middle in &middles {
            println!("{}: {:.1} MB resident", middle.name, middle.process.resident_megabytes());
        }
    }
}

fn case(name: &str) -> Case {
    let mut words = name.split('_');
    let protocol = match words.next() {
        Some("grpc") => Protocol::Grpc,
        Some("http") => Protocol::Http,
        _ => panic!("no such case: {name}"),
    };
    let spans = words.next().and_then(|spans| spans.parse().ok());
    let mut case = Case::new(protocol, spans.unwrap_or_else(|| panic!("no such case: {name}")));
    for word in words {
        match word {
            "identity" => {}
            "gzip" => case.is_gzip = true,
            "refused" => case.is_refused = true,
            _ => panic!("no such case: {name}"),
        }
    }
    case
}

fn print(case: &str, program: &str, results: &[Measured], first: &[f64]) {
    let sorted = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values
    };
    let median = |values: &[f64]| values[values.len() / 2];
    let costs: Vec<_> = results.iter().map(Measured::microseconds).collect();
    let ratios = sorted(first.iter().zip(&costs).map(|(first, this)| first / this).collect());
    let costs = sorted(costs);
    let rates = sorted(results.iter().map(Measured::rate).collect());
    let mut failures = BTreeMap::<&str, u64>::new();
    for (what, count) in results.iter().flat_map(|measured| &measured.failures) {
        *failures.entry(what).or_default() += count;
    }
    let reconnects: u64 = results.iter().map(|measured| measured.reconnects).sum();
    let mut remarks = String::new();
    if results.iter().all(|measured| !measured.latencies.is_empty()) {
        let [p50, p99] = [0.5, 0.99].map(|part| {
            median(&sorted(results.iter().map(|measured| measured.latency(part)).collect()))
        });
        remarks += &format!(" latency {p50:.0} us, p99 {p99:.0} us");
    }
    if reconnects > 0 {
        remarks += &format!(" {reconnects} connections closed");
    }
    if !failures.is_empty() {
        remarks += &format!(" FAILED: {failures:?}");
    }
    println!(
        "{case:<18} {program:<14} {:>8.2} {:>8.2} {:>8.2} {:>9.0} {:>10.2}{remarks}",
        median(&costs),
        costs[0],
        costs[costs.len() - 1],
        median(&rates),
        median(&ratios),
    );
}
