//! One round: every case, the gateway and its peers in turn.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::case::Case;
use crate::gateway;
use crate::job::Protocol;
use crate::keys;
use crate::load::{Load, Measured, World};
use crate::peers;
use crate::processes::Middle;

/// How long one program gets the load of one case.
const DURATION: Duration = Duration::from_millis(700);

/// The proxies that the gateway is compared with in every case.
const PROXIES: [&str; 3] = ["nginx", "haproxy", "envoy"];

/// Connections while the memory is measured.
const CONNECTIONS: usize = 64;

/// How many times a median is taken of, for the cases whose results vary much.
const TIMES: usize = 9;

/// The programs that a round needs.
pub(crate) struct Programs {
    pub(crate) gateway: PathBuf,
    /// A build of the gateway that can let everything in.
    pub(crate) open_gateway: PathBuf,
    pub(crate) peers: PathBuf,
}

/// Measures every case once, and prints the results.
pub(crate) fn round(programs: &Programs) {
    let mut world = World::new().unwrap();
    start_and_memory(&mut world, programs);
    auth_share(&mut world, programs);

    let sink = world.sink;
    let ours = gateway::start("ours", &programs.gateway, sink, &[]);
    let peer = |name: &&str| peers::start(name, &programs.peers, sink);
    let proxies: Vec<_> = PROXIES.iter().map(peer).collect();
    let collectors: Vec<_> = ["otelcol", "otelcol_auth"].iter().map(peer).collect();
    let all = || std::iter::once(&ours).chain(&proxies);
    for case in Case::all() {
        for middle in all().chain(&collectors) {
            let measured = run(&mut world, &case, middle);
            report(&case.name(), middle, checked(&measured, &case, middle).microseconds());
        }
    }
    let mut rates = [0.0; 2];
    for case in Case::all() {
        let (name, case) = (format!("{}_rps", case.name()), case.saturated());
        for middle in all() {
            let measured = run(&mut world, &case, middle);
            let cost = checked(&measured, &case, middle).microseconds();
            report(&name, middle, 1e6 / cost);
            if middle.version.is_none() && case.spans == 100 && !case.is_gzip {
                rates[case.protocol as usize] = measured.rate();
            }
        }
        let load = case.load(sink.address(case.protocol), &[keys::key(0)], DURATION);
        let measured = world.run(&load, || Duration::ZERO).unwrap();
        report_peer(&name, "none", None, measured.rate());
    }
    for case in Case::refused() {
        for middle in all().chain(&collectors[1..]) {
            let measured = run(&mut world, &case, middle);
            if middle.version.is_none() || measured.failures.is_empty() {
                let cost = checked(&measured, &case, middle).microseconds();
                report(&case.name(), middle, cost);
            } else {
                // A refusal that does not arrive costs little and is worth nothing.
                eprintln!("{} by {}: {:?}", case.name(), middle.name, measured.failures);
            }
        }
    }
    p99_added(&mut world, &ours, rates);
}

fn run(world: &mut World, case: &Case, middle: &Middle) -> Measured {
    let address = middle.address(case.protocol, case.is_gzip);
    let load = case.load(address, &middle.keys, DURATION);
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

/// Measures how long a start takes, the memory after it, and the memory under many connections.
fn start_and_memory(world: &mut World, programs: &Programs) {
    let starts = (0..TIMES).map(|_| {
        let (_process, elapsed) = gateway::start_idle(&programs.gateway);
        elapsed.as_secs_f64() * 1e3
    });
    report_ours("start", median(starts.collect()));
    let (process, _) = gateway::start_idle(&programs.gateway);
    thread::sleep(Duration::from_millis(500));
    report_ours("rss_idle", process.resident_megabytes());
    drop(process);

    let ours = gateway::start("ours", &programs.gateway, world.sink, &[]);
    let peers = PROXIES.iter().chain(&["otelcol", "otelcol_auth"]);
    let peers: Vec<_> = peers.map(|name| peers::start(name, &programs.peers, world.sink)).collect();
    for middle in std::iter::once(&ours).chain(&peers) {
        let mut most = 0.0_f64;
        for protocol in [Protocol::Grpc, Protocol::Http] {
            let case = Case { connections: CONNECTIONS, ..Case::new(protocol, 100) };
            let case = case.with_in_flight(CONNECTIONS);
            let load = case.load(middle.address(protocol, false), &middle.keys, DURATION);
            let load = Load { is_transparent: middle.is_transparent(), ..load };
            // The connections are open while the processor time is read.
            let read = || {
                most = most.max(middle.process.resident_megabytes());
                Duration::ZERO
            };
            let measured = world.run(&load, read).unwrap();
            checked(&measured, &case, middle);
        }
        report("rss", middle, most);
    }
}

/// Measures the part of the processor time that goes into authentication, with a million keys.
fn auth_share(world: &mut World, programs: &Programs) {
    let case = Case::new(Protocol::Grpc, 100);
    let keys: Vec<_> =
        (0..case.connections as u64).map(|number| keys::key(number * 237_911)).collect();
    let database = keys::million();
    let start = |name: &str, settings: &[String]| {
        let keys = (database.as_path(), keys.clone());
        gateway::start_with_keys(name, &programs.open_gateway, world.sink, settings, keys)
    };
    let closed = start("with authentication", &[]);
    let open = start("without authentication", &["auth.off=true".to_owned()]);
    let mut shares = Vec::new();
    for _ in 0..TIMES {
        let [closed, open] = [&closed, &open].map(|middle| {
            let load = case.load(middle.address(case.protocol, false), &middle.keys, DURATION / 2);
            let measured = world.run(&load, || middle.process.cpu()).unwrap();
            checked(&measured, &case, middle).microseconds()
        });
        shares.push((closed - open) / closed * 100.0);
    }
    report_ours("auth_share", median(shares));
}

/// Measures how much later an answer comes through the gateway than without it, while the gateway
/// gets half as many requests as it can answer. The larger one of both transports counts.
fn p99_added(world: &mut World, ours: &Middle, rates: [f64; 2]) {
    let added = [Protocol::Grpc, Protocol::Http].map(|protocol| {
        let case = Case::new(protocol, 100).saturated();
        let rate = Some(rates[protocol as usize] / 2.0);
        let [mut with, mut without] = [Vec::new(), Vec::new()];
        for _ in 0..TIMES {
            let load = case.load(ours.address(protocol, false), &ours.keys, DURATION / 2);
            let measured = world.run(&Load { rate, ..load }, || Duration::ZERO).unwrap();
            with.push(checked(&measured, &case, ours).p99());
            let load = case.load(world.sink.address(protocol), &ours.keys, DURATION / 2);
            let measured = world.run(&Load { rate, ..load }, || Duration::ZERO).unwrap();
            without.push(measured.p99());
        }
        (median(with) - median(without)).max(0.0)
    });
    report_ours("p99_added", added[0].max(added[1]));
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
