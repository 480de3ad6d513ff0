//! The disk of the database is full. The test mounts a small file system, which not every system
//! allows.

use ingestion_api::route;
use otlp_auth_tests::Cluster;
use serde_json::json;
use test_postgres::Postgres;

use super::load::{Changes, Load, callers};
use super::settings;
use crate::gateway::Caller;

/// The size of the disk in megabytes.
const DISK: usize = 160;

/// How often the disk is full.
const TIMES: usize = 3;

// Scenario: three times, the disk of PostgreSQL is full. Keys are created until one is refused.
// Then there is space again. If PostgreSQL has ended, it is started again.
// Guarantee: what cannot be stored is not acknowledged. No acknowledged change and no item is lost,
// and no decision is wrong.
#[test]
fn full() {
    let options = Postgres::options().disk(DISK);
    let server = options.setting("min_wal_size", "32MB").setting("max_wal_size", "32MB").start();
    let cluster = Cluster::start_on(server, &settings());
    let load = Load::start(&cluster, Changes::Rotate);
    let mut caller = callers(&cluster).remove(0);
    let mut said_so = 0;
    for fault in 0..TIMES {
        load.wait_for_changes();
        cluster.server.fill_disk();
        let why = create_until_refused(&load, &mut caller, fault);
        said_so += usize::from(why.contains("the disk of the database is full"));
        load.wait_for_decisions(500);
        cluster.server.free_disk();
        load.wait_for_changes_while(|| {
            if cluster.server.has_ended() {
                cluster.server.kill();
                cluster.server.start_again();
            }
        });
    }
    // When PostgreSQL has just ended for lack of space, an answer says something else.
    assert!(said_so > 0, "no answer said that the disk is full");
    load.end(cluster, "disk of the database full", TIMES);
}

/// Creates keys with long descriptions until there is no space for one. Returns the answer.
fn create_until_refused(load: &Load, caller: &mut Caller, fault: usize) -> String {
    for number in 0.. {
        let name = format!("large-{fault}-{number}");
        let body = json!({"name": name, "description": "x".repeat(500)}).to_string();
        let answer = caller.manage("POST", route::API_KEYS, &body);
        let mut keys = load.shared.keys();
        if answer.status == 200 {
            let key: serde_json::Value = serde_json::from_str(&answer.body).expect("a key");
            keys.listed.insert(key["id"].as_i64().expect("an id"));
            continue;
        }
        assert_eq!(answer.status, 503, "{}", answer.body);
        keys.maybe.insert(name);
        return answer.body;
    }
    String::new()
}
