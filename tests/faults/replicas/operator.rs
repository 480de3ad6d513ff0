//! Operators, who create, delete and rotate keys through changing gateways.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use ingestion_api::{ErrorBody, route};
use serde_json::{Value, json};

use super::keys::Key;
use super::load::{Changes, Shared};
use crate::gateway::Caller;
use crate::http::Answer;

/// How many keys an operator has at the same time.
const KEYS: usize = 10;

/// The pause of an operator after a call that was not answered with success.
const PAUSE: Duration = Duration::from_millis(50);

/// The owner of keys that nobody else changes.
pub(super) struct Operator {
    shared: Arc<Shared>,
    number: usize,
    callers: Vec<Caller>,
    changes: Changes,
    /// The secrets of the keys that can be rotated, by id.
    own: BTreeMap<i64, String>,
    created: usize,
}

impl Operator {
    pub(super) fn new(
        shared: &Arc<Shared>,
        number: usize,
        callers: Vec<Caller>,
        changes: Changes,
    ) -> Self {
        let shared = Arc::clone(shared);
        Self { shared, number, callers, changes, own: BTreeMap::new(), created: 0 }
    }

    /// Changes keys until the load stops the operators.
    pub(super) fn change_keys(mut self) {
        while !self.shared.operators_stop.load(Ordering::SeqCst) {
            let any = fastrand::usize(..KEYS);
            match self.own.keys().nth(any).copied() {
                None => self.create(),
                Some(id) if self.changes == Changes::Rotate && fastrand::u8(0..3) == 0 => {
                    self.rotate(id);
                }
                Some(id) => self.delete(id),
            }
        }
    }

    /// Makes a call through any gateway. Returns the gateway and its answer.
    fn call(&mut self, method: &str, path: &str, body: &str) -> (usize, Answer) {
        let replica = fastrand::usize(..self.callers.len());
        let answer = self.callers[replica].manage(method, path, body);
        if answer.status < 300 {
            self.shared.replicas[replica].changes.fetch_add(1, Ordering::SeqCst);
        }
        (replica, answer)
    }

    fn create(&mut self) {
        self.created += 1;
        let name = format!("{}-{}", self.number, self.created);
        let body = json!({ "name": name }).to_string();
        match self.call("POST", route::API_KEYS, &body) {
            (replica, Answer { status: 200, body, .. }) => self.add(&body, replica),
            (_, Answer { status: 503, .. }) => {
                // The next key has another name. So nobody has to know whether this one exists.
                self.shared.keys().maybe.insert(name);
                thread::sleep(PAUSE);
            }
            (_, answer) => panic!("create: {answer:?}"),
        }
    }

    fn add(&mut self, body: &str, replica: usize) {
        let item: Value = serde_json::from_str(body).expect("a key as JSON");
        let (id, secret) = (item["id"].as_i64(), item["apiKey"].as_str());
        let (id, secret) = (id.expect("an id"), secret.expect("a secret"));
        self.own.insert(id, secret.to_owned());
        self.shared.keys().add(Key::changed_now(id, secret, Some(replica)));
    }

    /// Deletes a key, and repeats this until it is known that the key is gone.
    fn delete(&mut self, id: i64) {
        let secret = self.begin_to_revoke(id);
        let mut may_be_made = false;
        let by = loop {
            match self.call("DELETE", &route::api_key(id), "") {
                (replica, Answer { status: 204, .. }) => break Some(replica),
                (_, Answer { status: 404, .. }) if may_be_made => break None,
                (_, Answer { status: 503, .. }) => may_be_made = true,
                (replica, Answer { status: 404, .. }) => {
                    return self
                        .shared
                        .is_lost(format!("gateway {replica} does not know key {id}"));
                }
                (_, answer) => panic!("delete: {answer:?}"),
            }
            thread::sleep(PAUSE);
        };
        let mut keys = self.shared.keys();
        keys.listed.remove(&id);
        keys.revoked.push(Key::changed_now(id, &secret, by));
    }

    /// Replaces a key at once, and repeats this until it is known that the key was replaced.
    fn rotate(&mut self, id: i64) {
        let secret = self.begin_to_revoke(id);
        let mut may_be_made = false;
        let body = json!({"overlap": 0}).to_string();
        loop {
            match self.call("POST", &route::rotate(id), &body) {
                (replica, Answer { status: 200, body, .. }) => {
                    let old = Key::changed_now(id, &secret, Some(replica));
                    self.shared.keys().revoked.push(old);
                    return self.add(&body, replica);
                }
                (_, Answer { status: 409, body, .. }) if may_be_made => {
                    // Nobody has seen the secret of the new key.
                    let mut keys = self.shared.keys();
                    keys.listed.insert(successor(&body).expect("the successor"));
                    keys.revoked.push(Key::changed_now(id, &secret, None));
                    return;
                }
                (_, Answer { status: 503, .. }) => may_be_made = true,
                (replica, answer) if [404, 409].contains(&answer.status) => {
                    return self.shared.is_lost(format!(
                        "gateway {replica} cannot rotate key {id}: {}",
                        answer.body
                    ));
                }
                (_, answer) => panic!("rotate: {answer:?}"),
            }
            thread::sleep(PAUSE);
        }
    }

    /// Notes that nothing is known about this key until it is revoked, and returns its secret.
    fn begin_to_revoke(&mut self, id: i64) -> String {
        self.shared.keys().valid.remove(&id);
        self.own.remove(&id).expect("its own key")
    }
}

/// Returns the id of the new key from the answer that a key was rotated before.
pub(super) fn successor(body: &str) -> Option<i64> {
    match serde_json::from_str(body).expect("an error as JSON") {
        ErrorBody::ErrorsResponse(response) => response.errors.first()?.successor,
        ErrorBody::InvalidExpiry { .. } => None,
    }
}
