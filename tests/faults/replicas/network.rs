//! The network between the gateways and their database.

use std::time::Duration;

use otlp_auth_tests::{Cluster, REPLICAS};
use test_postgres::{Link, Postgres};

use super::load::{Changes, Load};
use super::settings;

/// How often each fault happens.
const TIMES: usize = 2;

/// How long everything takes on a slow network, in each direction.
const DELAY: Duration = Duration::from_millis(100);

// Scenario: each gateway has its own network to the database. One after the other, the networks are
// cut or swallow everything until the gateway behind them does not decide any more; all of them
// lose their connections, are slow, and are cut or swallow everything for a short time.
// Guarantee: no acknowledged change and no item is lost, and no decision is wrong.
#[test]
fn faults() {
    let server = Postgres::start();
    let links: [Link; REPLICAS] = std::array::from_fn(|_| Link::to(server.address()));
    let database = server.url("postgres");
    let cluster = Cluster::start_with(server, database, &settings(), |replica, gateway| {
        let address = links[replica].address();
        gateway.arg(format!("--set=storage.url=postgres://postgres@{address}/postgres"));
    });
    let load = Load::start(&cluster, Changes::Rotate);
    let mut faults = 0;
    let mut mended = || {
        links.iter().for_each(Link::mend);
        load.wait_for_changes();
        faults += 1;
    };
    for _ in 0..TIMES {
        for lose in [Link::cut, Link::freeze] {
            let replica = fastrand::usize(..REPLICAS);
            lose(&links[replica]);
            load.wait_until_undecided(replica);
            mended();
            links.iter().for_each(lose);
            load.wait_for_decisions(500);
            mended();
        }
        links.iter().for_each(Link::drop_connections);
        mended();
        links.iter().for_each(|link| link.delay(DELAY));
        load.wait_for_changes();
        links.iter().for_each(|link| link.delay(Duration::ZERO));
        mended();
    }
    load.end(cluster, "network to the database", faults);
}
