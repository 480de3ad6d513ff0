//! The database is lost for ever, and a standby takes over.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use otlp_auth_tests::Cluster;
use test_postgres::Postgres;

use super::keys::Key;
use super::load::{Changes, Load};
use super::{settings, wait_until};

/// More requests than a prober sends in two rounds.
const TWO_ROUNDS: usize = 100;

/// Starts gateways that use the first of these servers that can be written to.
fn start(primary: Postgres, standby: &Postgres) -> Cluster {
    let url = format!("{},{}/postgres", primary.address(), standby.address());
    Cluster::start_with(primary, format!("postgres://postgres@{url}"), &settings(), |_, _| ())
}

// Scenario: PostgreSQL is killed while keys are changed, and its synchronous standby is promoted.
// Guarantee: no acknowledged change and no item is lost, and no decision is wrong.
#[test]
fn synchronous() {
    let primary = Postgres::start();
    let standby = primary.standby(true);
    let cluster = start(primary, &standby);
    let load = Load::start(&cluster, Changes::Rotate);
    load.wait_for_changes();
    cluster.server.kill();
    standby.promote();
    load.wait_for_changes();
    load.end(cluster, "failover to a synchronous standby", 1);
}

// Scenario: an asynchronous standby loses its connection, and keys are changed. Then the primary is
// lost, and the standby is promoted.
// Guarantee: these changes are lost, as the documentation says. Every gateway then agrees with the
// database about every key. The keys that nobody changed are never refused, and no item is lost.
#[test]
fn asynchronous() {
    let primary = Postgres::start();
    let standby = primary.standby(false);
    let cluster = start(primary, &standby);
    let mut load = Load::start(&cluster, Changes::CreateAndDelete);
    load.wait_for_changes();
    let count = "SELECT count(*) FROM ingestion_keys.keys WHERE name = 'good'";
    wait_until("the standby has the keys of the senders", || {
        standby.psql("postgres", count) == load.shared.good.len().to_string()
    });
    standby.kill();
    load.wait_for_changes();
    load.stop_operators();
    load.shared.only_good.store(true, Ordering::SeqCst);
    load.wait_for_decisions(TWO_ROUNDS);
    cluster.server.kill();
    standby.start_again();
    standby.promote();

    let ids = standby.psql("postgres", "SELECT id FROM ingestion_keys.keys");
    let ids: BTreeSet<i64> = ids.lines().map(|id| id.parse().expect("an id")).collect();
    let lost = agree_with_database(&load, &ids);
    assert!(lost > 0, "the standby had every change");
    load.shared.only_good.store(false, Ordering::SeqCst);
    load.wait_for_decisions(TWO_ROUNDS);
    let what = format!("failover to an asynchronous standby without the last {lost} changes");
    load.end(cluster, &what, 1);
}

/// Replaces what was acknowledged by what the database has. Returns the number of acknowledged
/// changes that it does not have.
fn agree_with_database(load: &Load, ids: &BTreeSet<i64>) -> usize {
    let mut keys = load.shared.keys();
    let valid: Vec<Key> = std::mem::take(&mut keys.valid).into_values().collect();
    let revoked = std::mem::take(&mut keys.revoked);
    let lost = valid.iter().filter(|key| !ids.contains(&key.id)).count()
        + revoked.iter().filter(|key| ids.contains(&key.id)).count();
    keys.listed.clone_from(ids);
    for key in valid.into_iter().chain(revoked) {
        let key = Key::changed_now(key.id, &key.secret, None);
        if ids.contains(&key.id) {
            keys.valid.insert(key.id, key);
        } else {
            keys.revoked.push(key);
        }
    }
    lost
}
