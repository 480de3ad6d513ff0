//! Two gateways rotate one key at the same moment.

use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::thread;

use ingestion_api::route;
use otlp_auth_tests::Cluster;
use serde_json::{Value, json};

use super::keys::Key;
use super::load::{Changes, Load, Replica, callers, create};
use super::operator::successor;
use super::settings;
use crate::gateway::Caller;
use crate::http::Answer;

/// How often a key is rotated.
const TIMES: usize = 50;

// Scenario: fifty times, two gateways are asked at the same moment to rotate the same key.
// Guarantee: exactly one of them does. The other one answers 409 and names the key that the first
// one made. The old key has exactly one successor.
#[test]
fn of_one_key_by_two_gateways() {
    let cluster = Cluster::start(&settings());
    let load = Load::start(&cluster, Changes::Rotate);
    let mut callers = callers(&cluster);
    for _ in 0..TIMES {
        let old = create(&mut callers[0], "to be rotated");
        load.shared.keys().listed.insert(old.id);
        let (one, other) = (fastrand::usize(..callers.len()), fastrand::usize(1..callers.len()));
        let other = (one + other) % callers.len();
        let answers = rotate_at_once(&mut callers, [one, other], old.id);
        let [(winner, made), (loser, refused)] = match answers {
            [a, b] if a.1.status == 200 => [a, b],
            [a, b] => [b, a],
        };
        assert_eq!((made.status, refused.status), (200, 409), "{made:?} {refused:?}");
        let new: Value = serde_json::from_str(&made.body).expect("a key as JSON");
        let (id, secret) = (new["id"].as_i64().expect("an id"), new["apiKey"].as_str());
        assert_eq!(successor(&refused.body), Some(id), "{refused:?}");
        let shown = callers[loser].get(&route::api_key(old.id));
        assert_eq!(shown["successor"].as_i64(), Some(id), "{shown}");
        let mut keys = load.shared.keys();
        keys.add(Key::changed_now(id, secret.expect("a secret"), Some(winner)));
        keys.revoked.push(Key::changed_now(old.id, &old.secret, Some(winner)));
        let Replica { changes, .. } = &load.shared.replicas[winner];
        changes.fetch_add(1, Ordering::SeqCst);
    }
    load.end(cluster, "one key rotated by two gateways at once", TIMES);
}

/// Asks two gateways to replace a key at once, and returns each gateway with its answer.
fn rotate_at_once(callers: &mut [Caller], two: [usize; 2], id: i64) -> [(usize, Answer); 2] {
    let barrier = Barrier::new(2);
    let body = json!({"overlap": 0}).to_string();
    let answers: Vec<_> = thread::scope(|scope| {
        let callers = callers.iter_mut().enumerate();
        let rotating: Vec<_> = callers
            .filter(|(replica, _)| two.contains(replica))
            .map(|(replica, caller)| {
                let (barrier, body) = (&barrier, &body);
                scope.spawn(move || {
                    barrier.wait();
                    (replica, caller.manage("POST", &route::rotate(id), body))
                })
            })
            .collect();
        rotating.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    answers.try_into().expect("two answers")
}
