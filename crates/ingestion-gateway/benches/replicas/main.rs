//! Measures three gateways on one PostgreSQL database, each of which gets 1,000 exports a second:
//! how soon a key that is deleted on one of them is refused on the others and at the followers of a
//! gateway, and what they cost the database. Without exports, it measures what followers cost a
//! gateway. `cargo xtask bench replicas` runs this benchmark.
//!
//! The gateways and the database are real processes. The database writes to its disk, as in
//! production. Senders, followers and whoever deletes keys are this program.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

#[path = "../common/mod.rs"]
mod common;
mod connection;
#[path = "../common/cpu.rs"]
mod cpu;
mod database;
mod followers;
mod load;
#[path = "../common/memory.rs"]
mod memory;
#[path = "../gateway/payload.rs"]
mod payload;
mod replicas;
mod revocation;

use std::time::Duration;

use tokio::time::sleep;

use common::report;
use database::Database;
use followers::Followers;
use load::Load;
use replicas::{REPLICAS, Replicas};
use revocation::{Revocations, percentile};

/// The number of keys, all of which are in use. Each replica gets 1,000 exports a second, so that
/// each of them uses every key in an interval of `usage.flush_interval`, which is 10 s.
const KEYS: u64 = 10_000;

/// The number of followers of one replica while keys are deleted.
const FOLLOWERS: usize = 100;

/// The number of idle followers of a gateway, and the number of its keys. This program has all keys
/// in memory once for each follower.
const MANY_FOLLOWERS: usize = 1000;
const FEW_KEYS: u64 = 1000;

/// How long idle replicas are observed. This is several times as long as the pauses of anything
/// that they do regularly.
const IDLE: Duration = Duration::from_secs(20);

/// How long the flushes of usage are observed: six of each replica.
const FLUSHES: Duration = Duration::from_secs(60);

/// The polling interval while no replica is notified of a change.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Deletes one key after the other, through each replica in turn.
const NOTIFIED: Revocations = Revocations {
    count: 1000,
    at_once: 1,
    through: REPLICAS,
    pause: Duration::ZERO,
    resolution: Duration::from_millis(1),
};

/// Deletes keys at any time between two polls. They stay accepted for long, so that many are
/// watched at the same time. A replica that makes a change reads those of the others as well, so
/// all of them are deleted through one.
const POLLED: Revocations = Revocations {
    count: 300,
    at_once: 300,
    through: 1,
    pause: Duration::from_millis(50),
    resolution: Duration::from_millis(10),
};

#[tokio::main]
async fn main() {
    let database = Database::create(KEYS).await;
    let replicas = Replicas::start(&database.url, REPLICAS, &[]).await;
    eprintln!("observing idle replicas for {IDLE:?}");
    let before = database.statements();
    sleep(IDLE).await;
    let statements = (database.statements() - before) as f64;
    report("idle_statements", statements / IDLE.as_secs_f64() / REPLICAS as f64);

    let load = Load::start(&replicas);
    let latencies = load.during("revocations", NOTIFIED.measure(&replicas)).await;
    report("revocation_p50", percentile(&latencies, 0.5));
    report("revocation_p99", percentile(&latencies, 0.99));

    let gateway = &replicas.gateways[0];
    let followers = Followers::start(gateway, FOLLOWERS).await;
    let latencies = load.during("revocations at followers", followers.revocations(gateway)).await;
    report("follower_revocation_p99", percentile(&latencies, 0.99));
    drop(followers);

    load.during("the first flushes of usage", database.settle(REPLICAS as u64 * KEYS)).await;
    let before = database.flushed();
    load.during("flushes of usage", sleep(FLUSHES)).await;
    let after = database.flushed();
    report("usage_flush_10k", after.milliseconds_for_10k_since(&before));
    drop((load, replicas));

    database.silence();
    let interval = format!("storage.poll_interval={}ms", POLL_INTERVAL.as_millis());
    let replicas = Replicas::start(&database.url, REPLICAS, &[interval]).await;
    let load = Load::start(&replicas);
    let latencies = load.during("revocations by polling", POLLED.measure(&replicas)).await;
    let median = percentile(&latencies, 0.5);
    assert!(median > 200.0, "replicas were notified: half of them refused within {median} ms");
    report("revocation_polling_p99", percentile(&latencies, 0.99));
    drop((load, replicas, database));

    eprintln!("measuring what {MANY_FOLLOWERS} idle followers cost a gateway");
    let database = Database::create(FEW_KEYS).await;
    let replicas = Replicas::start(&database.url, 1, &[]).await;
    let cost = followers::cost(&replicas.gateways[0], MANY_FOLLOWERS).await;
    report("followers_1000_rss", cost.megabytes);
    report("followers_1000_idle", cost.idle_percent);
}
