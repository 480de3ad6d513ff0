//! Three gateways on one PostgreSQL database while something around them fails, under load: senders
//! that repeat what was not accepted, operators who change keys through changing gateways, and
//! probers that check every answer.
//!
//! | module | fault |
//! |---|---|
//! | `database` | the database is killed, or its processes are stopped for a while |
//! | `small_disk` | the disk of the database is full |
//! | `failover` | the database is lost, and a standby takes over |
//! | `network` | the network to the database is cut, is slow, or swallows everything |
//! | `stopped` | a gateway is stopped for longer than `max_staleness` |
//! | `clocks` | the wall clocks of the gateways are a minute apart, or are set |
//! | `rotation` | two gateways rotate one key at the same moment |
//!
//! `load` starts and ends the load, `keys` has what the gateways have acknowledged, and `sender`,
//! `operator` and `prober` are its threads. What counts as wrong:
//!
//! - A sender with a good key gets another answer than "accepted" or "come back later", or an item
//!   that was accepted is not received.
//! - A gateway refuses a key that exists, or lets a key in that was deleted or replaced. On the
//!   gateway that answered the change this is wrong at once. On any other gateway it is wrong after
//!   `max_staleness`: a gateway that could not read the change since then must be undecided.
//!   The bound does not depend on how busy the machine is.
//! - A change that was acknowledged is not there at the end, on any gateway.

mod clocks;
mod database;
mod failover;
mod keys;
mod load;
mod network;
mod operator;
mod prober;
mod rotation;
mod sender;
mod small_disk;
mod stopped;

use std::thread;
use std::time::{Duration, Instant};

use otlp_auth_tests::PATIENCE;

/// The setting `storage.max_staleness` of every gateway.
const MAX_STALENESS: Duration = Duration::from_secs(4);

/// The time between two looks at something that does not say when it changes.
const PAUSE: Duration = Duration::from_millis(10);

/// The settings of every gateway.
fn settings() -> Vec<String> {
    let staleness = format!("--set=storage.max_staleness={}s", MAX_STALENESS.as_secs());
    ["--set=storage.poll_interval=500ms", &staleness, "--set=usage.flush_interval=1s"]
        .map(str::to_owned)
        .to_vec()
}

/// Waits until `holds` returns true.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(PAUSE);
    }
}
