//! A gateway is stopped for longer than `max_staleness`, and goes on.

use std::thread;
use std::time::Instant;

use otlp_auth_tests::{Cluster, PATIENCE};
use rustix::process::{Signal, kill_process};

use super::keys::Key;
use super::load::{Changes, Load, callers, create};
use super::{PAUSE, settings, wait_until};
use crate::gateway::{Caller, address, telemetry};
use crate::http::Client;

/// How often the gateway is stopped.
const TIMES: usize = 3;

/// How many requests wait for the gateway when it goes on, with each of two keys.
const WAITING: usize = 20;

// Scenario: a gateway is stopped with SIGSTOP. A key is deleted through another one. After more
// than `max_staleness`, requests with this key and with a good one are sent to the gateway, and
// then it goes on.
// Guarantee: from the first answer on, the deleted key is not let in, and the good key is not
// refused. No acknowledged change and no item is lost.
#[test]
fn for_longer_than_max_staleness() {
    let cluster = Cluster::start(&settings());
    let load = Load::start(&cluster, Changes::Rotate);
    for _ in 0..TIMES {
        load.wait_for_changes();
        stop_for_too_long(&cluster, &load, || ());
    }
    load.wait_for_changes();
    load.end(cluster, "gateway stopped for longer than max_staleness", TIMES);
}

/// Deletes a key while the first gateway is stopped, calls `meanwhile`, and lets the gateway go on
/// when it must know of the deletion or be undecided.
pub(super) fn stop_for_too_long(cluster: &Cluster, load: &Load, meanwhile: impl FnOnce()) {
    let mut callers = callers(cluster);
    let deleted = create(&mut callers[0], "to be deleted");
    let mut answer = Vec::new();
    wait_until("the gateway decides", || {
        answer = callers[0].authorize(&[&deleted.secret]);
        answer != [503]
    });
    assert_eq!(answer, [204]);
    let stopped = cluster.replicas[0].program.pid();
    kill_process(stopped, Signal::STOP).expect("the gateway runs");
    let by = delete(&mut callers[1], deleted.id).then_some(1);
    let deleted = Key::changed_now(deleted.id, &deleted.secret, by);
    load.shared.keys().revoked.push(deleted.clone());
    meanwhile();
    wait_until("the stop is too long", || deleted.is_known(0, Instant::now()));

    let http = address(&cluster.replicas[0], "otlp_http");
    let mut waiting: Vec<_> = (0..WAITING)
        .flat_map(|_| [(&deleted, 401), (&load.shared.good[0], 200)])
        .map(|(key, expected)| {
            let mut client = Client::new(http);
            client.send(&telemetry(&key.secret)).expect("the system accepts connections");
            (client, expected)
        })
        .collect();
    kill_process(stopped, Signal::CONT).expect("the gateway is stopped");
    for (client, expected) in &mut waiting {
        let status = client.receive().expect("an answer").status;
        if status != 503 && status != *expected {
            let what = format!("a gateway that went on answers {status} instead of {expected}");
            load.shared.is_wrong(what);
        }
    }
}

/// Deletes a key. Returns whether the answer says so. Otherwise an answer before said that the
/// change may have been made, and it was. The stopped gateway may hold up a change for a while, if
/// it was stopped in the middle of one of its own.
fn delete(caller: &mut Caller, id: i64) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match caller.delete(id).status {
            204 => return true,
            404 => return false,
            status => assert_eq!(status, 503),
        }
        assert!(Instant::now() < deadline, "key {id} cannot be deleted");
        thread::sleep(PAUSE);
    }
}
