//! One round: every case, the gateway and its peers in turn.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;

use crate::case::Case;
use crate::gateway;
use crate::job::Protocol;
use crate::keys;
use crate::load::{Load, Measured, World};
use crate::peers;
use crate::processes::Middle;

/// How long a program gets the load of a case before it is the turn of the next one. The turns are
/// short, because what else the machine does changes from one second to the next.
const TURN: Duration = Duration::from_millis(240);

/// How many turns each program gets in a case.
const TURNS: usize = 3;

/// How often a measurement of a peer is repeated that had a wrong answer.
const REPEATS: usize = 3;

/// How long each side of a difference gets the load before it is the turn of the other side.
/// Other programs take the processor for 4 ms several times a second. Most slices have none of it.
const SLICE: Duration = Duration::from_millis(50);

/// How many differences a median is taken of.
const SLICES: usize = 41;

/// The proxies that the gateway is compared with in every case.
const PROXIES: [&str; 3] = ["nginx", "haproxy", "envoy"];

/// Collectors without and with authentication. They are measured where a bound names them.
const COLLECTORS: [&str; 2] = ["otelcol", "otelcol_auth"];

/// Connections while the memory is measured.
const CONNECTIONS: usize = 64;

/// How many starts a median is taken of.
const STARTS: usize = 15;

/// The programs that a round needs.
pub(crate) struct Programs {
    pub(crate) gateway: PathBuf,
    /// A build of the gateway that can let everything in.
    pub(crate) open_gateway: PathBuf,
    pub(crate) peers: PathBuf,
}

/// A part of a round.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// `start` and `rss_idle`
    Start,
    /// `rss`
    Memory,
    /// `auth_share`
    Share,
    /// `p99_added`
    Latency,
    /// What a request costs
    Requests,
}

/// Measures these parts, and prints the results.
pub(crate) fn round(programs: &Programs, parts: &[Part]) {
    let mut world = World::new().unwrap();
    for part in parts {
        match part {
            Part::Start => start(programs),
            Part::Memory => memory(&mut world, programs),
            Part::Share => auth_share(&mut world, programs),
            Part::Latency => p99_added(&mut world, programs),
            Part::Requests => requests(&mut world, programs),
        }
    }
}

/// Starts the gateway and these peers.
fn start_all(world: &World, programs: &Programs, peers: &[&str]) -> Vec<Middle> {
    let ours = gateway::start("ours", &programs.gateway, world.sink, &[]);
    let peers = peers.iter().map(|name| peers::start(name, &programs.peers, world.sink));
    std::iter::once(ours).chain(peers).collect()
}

/// Measures what a request costs in every case, with the gateway and its peers in turn.
fn requests(world: &mut World, programs: &Programs) {
    let middles = start_all(world, programs, &[&PROXIES[..], &COLLECTORS].concat());
    let (proxies, collectors) = middles.split_at(1 + PROXIES.len());
    for case in Case::all() {
        let collectors = if case.spans == 100 { collectors } else { &[] };
        for _ in 0..TURNS {
            for middle in proxies.iter().chain(collectors) {
                report(&case.name(), middle, turn(world, &case, middle).microseconds());
            }
        }
    }
    for case in Case::all() {
        let (name, case) = (format!("{}_rps", case.name()), case.saturated());
        for _ in 0..TURNS {
            for middle in proxies {
                report(&name, middle, 1e6 / turn(world, &case, middle).microseconds());
            }
            let load = case.load(world.sink.address(case.protocol), &[keys::key(0)], TURN);
            let measured = world.run(&load, || Duration::ZERO).unwrap();
            report_peer(&name, "none", None, measured.rate());
        }
    }
    for case in Case::refused() {
        for _ in 0..TURNS {
            for middle in proxies.iter().chain(&collectors[1..]) {
                let measured = run(world, &case, middle);
                if middle.version.is_none() || measured.failures.is_empty() {
                    let cost = checked(&measured, &case, middle).microseconds();
                    report(&case.name(), middle, cost);
                } else {
                    // A refusal that does not arrive costs little and is worth nothing.
                    eprintln!("{} by {}: {:?}", case.name(), middle.name, measured.failures);
                }
            }
        }
    }
}

/// Measures one turn, in which every request must be answered as expected.
fn turn(world: &mut World, case: &Case, middle: &Middle) -> Measured {
    repeated(case, middle, || run(world, case, middle))
}

/// Returns a measurement in which every request was answered as expected. Now and then a peer
/// closes a connection to its upstream, and answers the requests on it with an error: then the
/// measurement of the peer is repeated. A measurement of the gateway is not.
fn repeated(case: &Case, middle: &Middle, mut measure: impl FnMut() -> Measured) -> Measured {
    let mut measured = measure();
    for _ in 0..REPEATS {
        if middle.version.is_none() || measured.failures.is_empty() {
            break;
        }
        eprintln!("{} through {}: {:?}", case.name(), middle.name, measured.failures);
        measured = measure();
    }
    checked(&measured, case, middle);
    measured
}

fn run(world: &mut World, case: &Case, middle: &Middle) -> Measured {
    let address = middle.address(case.protocol, case.is_gzip);
    let load = case.load(address, &middle.keys, TURN);
    let load = Load { is_transparent: middle.is_transparent(), ..load };
    world.run(&load, || middle.process.cpu()).unwrap()
}

/// Returns the measurement if every request was answered as expected.
fn checked<'a>(measured: &'a Measured, case: &Case, middle: &Middle) -> &'a Measured {
    let failures = &measured.failures;
    assert!(failures.is_empty(), "{} through {}: {failures:?}", case.name(), middle.name);
    assert!(measured.requests > 0, "{} through {}: no request", case.name(), middle.name);
    measured
}

/// Measures how long a start takes, and the memory after it.
fn start(programs: &Programs) {
    let starts = (0..STARTS).map(|_| {
        let (_process, elapsed) = gateway::start_idle(&programs.gateway);
        elapsed.as_secs_f64() * 1e3
    });
    report_ours("start", median(starts.collect()));
    let (process, _) = gateway::start_idle(&programs.gateway);
    thread::sleep(Duration::from_millis(500));
    report_ours("rss_idle", process.resident_megabytes());
}

/// Measures the memory under many connections.
fn memory(world: &mut World, programs: &Programs) {
    for middle in &start_all(world, programs, &[&PROXIES[..], &COLLECTORS].concat()) {
        let mut most = 0.0_f64;
        for protocol in [Protocol::Grpc, Protocol::Http] {
            let case = Case { connections: CONNECTIONS, ..Case::new(protocol, 100) };
            let case = case.with_in_flight(CONNECTIONS);
            let load = case.load(middle.address(protocol, false), &middle.keys, TURN);
            let load = Load { is_transparent: middle.is_transparent(), ..load };
            // The connections are open while the processor time is read.
            let mut read = || {
                most = most.max(middle.process.resident_megabytes());
                Duration::ZERO
            };
            repeated(&case, middle, || world.run(&load, &mut read).unwrap());
        }
        report("rss", middle, most);
    }
}

/// Measures the part of the processor time that goes into authentication, with a million keys. One
/// listener of the gateway authenticates, and the other one does not.
fn auth_share(world: &mut World, programs: &Programs) {
    let case = Case::new(Protocol::Grpc, 100);
    let keys = (0..case.connections as u64).map(|number| keys::key(number * 237_911)).collect();
    let keys = (keys::million(), keys);
    let settings = ["auth.off=true".to_owned()];
    let gateway =
        gateway::start_with_keys("ours", &programs.open_gateway, world.sink, &settings, keys);
    let [open, closed] = gateway.addresses;
    let mut cost = |address| {
        let load = case.load(address, &gateway.keys, SLICE);
        let measured = world.run(&load, || gateway.process.cpu()).unwrap();
        checked(&measured, &case, &gateway).microseconds()
    };
    let shares = (0..SLICES).map(|_| {
        let (closed, open) = (cost(closed), cost(open));
        (closed - open) / closed * 100.0
    });
    report_ours("auth_share", median(shares.collect()));
}

/// Measures how much later an answer comes through a program than without it, while the program
/// gets half as many requests as it can answer. The larger one of both transports counts.
fn p99_added(world: &mut World, programs: &Programs) {
    let middles = start_all(world, programs, &PROXIES);
    let mut most = vec![0.0_f64; middles.len()];
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let case = Case::new(protocol, 100).saturated();
        let rates: Vec<_> =
            middles.iter().map(|middle| run(world, &case, middle).rate() / 2.0).collect();
        let mut added: Vec<_> = middles.iter().map(|_| Vec::new()).collect();
        let sink = world.sink.address(protocol);
        for _ in 0..SLICES {
            for ((middle, rate), added) in middles.iter().zip(&rates).zip(&mut added) {
                let mut p99 = |address| {
                    let load = case.load(address, &middle.keys, SLICE);
                    let load = Load { rate: Some(*rate), ..load };
                    let measure = || world.run(&load, || Duration::ZERO).unwrap();
                    repeated(&case, middle, measure).latency(0.99)
                };
                let with = p99(middle.address(protocol, false));
                added.push(with - p99(sink));
            }
        }
        for (most, added) in most.iter_mut().zip(added) {
            *most = most.max(median(added));
        }
    }
    for (middle, most) in middles.iter().zip(most) {
        report("p99_added", middle, most);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn report(case: &str, middle: &Middle, value: f64) {
    match &middle.version {
        None => report_ours(case, value),
        Some(version) => report_peer(case, &middle.name, Some(version), value),
    }
}

fn report_ours(case: &str, value: f64) {
    println!(r#"{{"case":"{case}","value":{value:.3},"allocations":null}}"#);
}

fn report_peer(case: &str, peer: &str, version: Option<&str>, value: f64) {
    let version = version.map(|version| format!(r#","version":"{version}""#)).unwrap_or_default();
    println!(
        r#"{{"case":"{case}","peer":"{peer}"{version},"value":{value:.3},"allocations":null}}"#
    );
}

/// Returns the path of the gateway that was built together with this program.
pub(crate) fn shipped_gateway() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ingestion-gateway"))
}
