//! Many connections that say nothing.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ingestion_api::route;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::gateway::{Gateway, TestEnv, telemetry};
use crate::http::{Client, request};
use crate::keys::Key;

/// How many files the gateway may have open.
const FILES: usize = 300;

/// How many connections are opened: ten times as many as the gateway may have.
const CONNECTIONS: usize = 10 * FILES;

/// How long a connection may take. A connection that waits longer is not taken by the gateway.
const CONNECT_TIME: Duration = Duration::from_secs(1);

/// How many connections in a row may fail before no more are tried.
const FAILURES: usize = 3;

/// Lets this process have as many files as it needs for this number of connections.
pub(crate) fn raise_limit(connections: usize) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the limit is raised");
    let needed = connections as u64 + 100;
    assert!(maximum.is_none_or(|maximum| maximum >= needed), "{maximum:?} files are too few");
}

/// Opens connections to a listener and says nothing. Returns those that were opened, also if the
/// gateway has closed them since.
fn open_silent(address: SocketAddr) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    let mut failures = 0;
    while connections.len() < CONNECTIONS && failures < FAILURES {
        match TcpStream::connect_timeout(&address, CONNECT_TIME) {
            Ok(connection) => {
                connections.push(connection);
                failures = 0;
            }
            Err(_) => failures += 1,
        }
    }
    connections
}

/// Asserts that every other listener answers, and that a sender from another address gets through.
fn assert_served(gateway: &Gateway, revoked: &Key, good: &Key) {
    let start = Instant::now();
    let mut caller = gateway.caller();
    let mut telemetry_listener = Client::new(gateway.address("telemetry"));
    let livez = telemetry_listener.call(&request("GET", "/livez", &[], "")).expect("an answer");
    assert_eq!(livez.status, 200, "{}", livez.body);
    let info = caller.manage("GET", route::SERVER_INFO, "");
    assert_eq!(info.status, 200, "{}", info.body);
    assert_eq!(caller.authorize(&[&good.secret, &revoked.secret]), [204, 204]);
    assert_eq!(caller.delete(revoked.id).status, 204);
    assert_eq!(caller.authorize(&[&good.secret, &revoked.secret]), [204, 403]);
    println!("the other listeners took {:?}", start.elapsed());

    let start = Instant::now();
    for listener in ["otlp_http", "otlp_grpc"] {
        let source = Ipv4Addr::new(127, 0, 0, 2);
        let mut sender = Client::new(gateway.address(listener)).from(source.into());
        let answer = sender.call(&telemetry(&good.secret)).expect("an answer");
        assert_eq!(answer.status, 200, "{listener}: {}", answer.body);
    }
    println!("the good sender took {:?}", start.elapsed());
}

// Scenario: the gateway may have 300 files. One address opens 3,000 connections to each OTLP
// listener in turn and says nothing.
// Guarantee: every other listener answers, a key is revoked, and a sender from another address gets
// through on both listeners.
#[test]
fn silent_connections_keep_nobody_out() {
    raise_limit(CONNECTIONS);
    // No connection ends because of its age.
    let env = TestEnv::new(&["limits.idle_timeout=1h", "limits.header_read_timeout=1h"]);
    let gateway = env.start_with_files(FILES);
    let mut caller = gateway.caller();
    let [good, first, second] =
        ["good", "first", "second"].map(|name| Key::create(&mut caller, name));
    let mut silent = Vec::new();
    for (listener, revoked) in [("otlp_http", &first), ("otlp_grpc", &second)] {
        silent.push(open_silent(gateway.address(listener)));
        assert_served(&gateway, revoked, &good);
        silent.clear();
    }
    gateway.stop();
}
