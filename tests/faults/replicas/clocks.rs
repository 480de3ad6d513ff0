//! The wall clocks of the gateways are a minute apart, or are set. The tests preload libfaketime,
//! which changes the wall clock of one process and leaves its monotonic clock alone.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use ingestion_api::route;
use otlp_auth_tests::{Cluster, REPLICAS, peer};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_postgres::Postgres;

use super::load::{Changes, Load, callers};
use super::stopped::stop_for_too_long;
use super::{settings, wait_until};
use crate::gateway::Caller;

/// How far the clock of each gateway is ahead, in seconds.
const AHEAD: [i64; REPLICAS] = [-60, 0, 60];

/// How long a key is valid, in milliseconds.
const VALID: i64 = 3000;

/// How often the clock of a stopped gateway is set.
const TIMES: usize = 2;

/// The wall clocks of the gateways.
struct Clocks {
    directory: TempDir,
}

impl Clocks {
    fn new() -> Self {
        let clocks = Self { directory: TempDir::new().expect("a directory") };
        (0..REPLICAS).for_each(|replica| clocks.set(replica, AHEAD[replica]));
        clocks
    }

    /// Sets the clock of a gateway ahead by this many seconds.
    fn set(&self, replica: usize, ahead: i64) {
        let new = self.directory.path().join("new");
        fs::write(&new, format!("{ahead:+}\n")).expect("the time of the gateway");
        fs::rename(&new, self.file(replica)).expect("the time of the gateway");
    }

    fn file(&self, replica: usize) -> PathBuf {
        self.directory.path().join(replica.to_string())
    }

    fn preload(&self, replica: usize, gateway: &mut Command) {
        gateway.env("LD_PRELOAD", peer("libfaketime.so.1").get_program());
        gateway.env("FAKETIME_TIMESTAMP_FILE", self.file(replica));
        gateway.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_NO_CACHE", "1");
    }

    fn start(&self) -> Cluster {
        let server = Postgres::start();
        let database = server.create_database();
        let preload = |replica, gateway: &mut Command| self.preload(replica, gateway);
        Cluster::start_with(server, database, &settings(), preload)
    }
}

/// The true time in milliseconds.
fn now() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the gateways are compared with the true time")]
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("before the year 292,000,000")
}

// Scenario: the clocks of three gateways are wrong by -60 s, 0 and +60 s. Keys are created and
// deleted on all of them. Several keys expire.
// Guarantee: no decision about a created or deleted key is wrong. Each gateway lets a key in until
// its own clock reaches the expiry, and refuses it from then on.
#[test]
fn a_minute_apart() {
    let clocks = Clocks::new();
    let cluster = clocks.start();
    let load = Load::start(&cluster, Changes::CreateAndDelete);
    let mut callers = callers(&cluster);
    load.wait_for_changes();
    for (replica, ahead) in AHEAD.into_iter().enumerate() {
        // By the clock of this gateway, the key is valid for a while.
        let expiry = now() + ahead * 1000 + VALID;
        let body = json!({"name": "expires", "expiration": expiry}).to_string();
        let answer = callers[replica].manage("POST", route::API_KEYS, &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let key: Value = serde_json::from_str(&answer.body).expect("a key as JSON");
        load.shared.keys().listed.insert(key["id"].as_i64().expect("an id"));
        let secret = key["apiKey"].as_str().expect("a key");
        for (other, caller) in callers.iter_mut().enumerate() {
            let expiry = expiry - AHEAD[other] * 1000;
            // The gateway that made the key knows it at once.
            let made_it = other == replica;
            expire(&load, other, caller, secret, expiry, other >= replica, made_it);
        }
    }
    load.wait_for_changes();
    load.end(cluster, "wall clocks a minute apart", 2);
}

/// Checks that a gateway decides by its own clock, which reaches the expiry of the key at this true
/// time. If the key expires soon, waits until it is refused. The gateway that made the key knows
/// it from the start.
fn expire(
    load: &Load,
    replica: usize,
    caller: &mut Caller,
    secret: &str,
    expiry: i64,
    expires_soon: bool,
    made_it: bool,
) {
    let mut was_known = made_it;
    wait_until("the key is decided on", || {
        let before = now();
        let answer = caller.authorize(&[secret])[0];
        match answer {
            204 => was_known = true,
            403 | 503 => {}
            other => panic!("answered {other}"),
        }
        if answer == 204 && before > expiry {
            let late = before - expiry;
            load.shared.is_wrong(format!("gateway {replica} lets a key in {late} ms too late"));
        }
        // A gateway that does not know the key yet refuses it, too.
        if answer == 403 && was_known && now() < expiry {
            load.shared.is_wrong(format!("gateway {replica} refuses a key too early"));
        }
        if expires_soon { answer == 403 && now() >= expiry } else { answer == 204 }
    });
}

// Scenario: a gateway is stopped for longer than `max_staleness`, and its wall clock is set back by
// an hour before it goes on. Later its clock is right again.
// Guarantee: the wall clock makes no old key valid: from the first answer on, a key that was
// deleted meanwhile is not let in.
#[test]
fn set_back_while_a_gateway_is_stopped() {
    let clocks = Clocks::new();
    let mut cluster = clocks.start();
    let load = Load::start(&cluster, Changes::CreateAndDelete);
    for _ in 0..TIMES {
        load.wait_for_changes();
        stop_for_too_long(&cluster, &load, || clocks.set(0, AHEAD[0] - 3600));
        cluster.replicas[0].program.wait_for("the wall clock was set");
        load.wait_for_changes();
        clocks.set(0, AHEAD[0]);
        cluster.replicas[0].program.wait_for("the wall clock was set");
    }
    load.end(cluster, "wall clock set back while a gateway is stopped", 2 * TIMES);
}
