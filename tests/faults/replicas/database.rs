//! The database is killed, or its processes are stopped for a while.

use otlp_auth_tests::{Cluster, REPLICAS};

use super::load::{Changes, Load};
use super::settings;

/// How often the database is killed or stopped, and comes back soon.
const SHORT: usize = 6;

/// How often it stays away until no gateway decides any more.
const LONG: usize = 2;

// Scenario: PostgreSQL is killed with SIGKILL and started again, eight times. Twice it stays away
// for longer than `max_staleness`.
// Guarantee: no acknowledged change and no item is lost, and no decision is wrong.
#[test]
fn killed() {
    let cluster = Cluster::start(&settings());
    let load = Load::start(&cluster, Changes::Rotate);
    for fault in 0..SHORT + LONG {
        load.wait_for_changes();
        cluster.server.kill();
        wait(&load, fault);
        cluster.server.start_again();
    }
    load.wait_for_changes();
    load.end(cluster, "database killed", SHORT + LONG);
}

// Scenario: all processes of PostgreSQL are stopped with SIGSTOP and go on later, eight times.
// Twice they are stopped for longer than `max_staleness`.
// Guarantee: no acknowledged change and no item is lost, and no decision is wrong.
#[test]
fn stopped() {
    let cluster = Cluster::start(&settings());
    let load = Load::start(&cluster, Changes::Rotate);
    for fault in 0..SHORT + LONG {
        load.wait_for_changes();
        cluster.server.pause();
        wait(&load, fault);
        cluster.server.resume();
    }
    load.wait_for_changes();
    load.end(cluster, "database stopped", SHORT + LONG);
}

/// Waits while the database is away: until every gateway has decided from memory, or until it does
/// not decide any more.
fn wait(load: &Load, fault: usize) {
    if fault < SHORT {
        load.wait_for_decisions(500);
    } else {
        (0..REPLICAS).for_each(|replica| load.wait_until_undecided(replica));
    }
}
