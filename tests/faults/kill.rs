//! `kill -9` in the middle of creates, deletes and rotations.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ingestion_api::route;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::gateway::{Caller, Gateway, TestEnv};

/// The number of gateways that run at the same time, each with its own database.
const GATEWAYS: usize = 4;

/// The number of times that each gateway is killed.
const KILLS: usize = 55;

/// The number of owners that change the keys of one gateway at the same time.
const OWNERS: usize = 3;

/// The largest number of changes between two kills.
const CHANGES: usize = 16;

#[derive(Debug, Default)]
struct Counts {
    kills: usize,
    acknowledged: usize,
    /// One sentence for each difference from what the gateway acknowledged.
    lost: Vec<String>,
}

/// A key, as the gateway has acknowledged it.
#[derive(Clone, Debug)]
struct Key {
    id: i64,
    name: String,
    /// `None` if the response with the secret did not arrive.
    secret: Option<String>,
    good: bool,
    successor: Option<i64>,
}

/// A change that an owner has requested.
#[derive(Clone, Debug)]
enum Change {
    Create { name: String },
    Delete { key: Key },
    Rotate { key: Key, at_once: bool },
}

/// The owner of keys that no other owner changes.
#[derive(Debug, Default)]
struct Owner {
    number: usize,
    created: usize,
    keys: BTreeMap<i64, Key>,
    deleted: Vec<Key>,
    /// The change that was requested when the gateway was killed. The gateway may have made it.
    unsure: Option<Change>,
}

// Scenario: gateways are killed at least 200 times while owners create, delete and rotate keys.
// Each time the gateway is started again with the same files.
// Guarantee: no acknowledged change is lost. A deleted key appears neither in the list nor at the
// authorize endpoint. Every key has all of its fields.
#[test]
fn no_acknowledged_change_is_lost() {
    let counts = thread::scope(|scope| {
        let gateways: Vec<_> = (0..GATEWAYS).map(|_| scope.spawn(kill_again_and_again)).collect();
        gateways
            .into_iter()
            .map(|gateway| gateway.join().expect("a gateway was killed to the end"))
            .fold(Counts::default(), |mut sum, counts| {
                sum.kills += counts.kills;
                sum.acknowledged += counts.acknowledged;
                sum.lost.extend(counts.lost);
                sum
            })
    });
    // The test runner hides the output of `println!` unless the test fails. So the test writes to
    // stdout directly.
    let line = format!(
        "kills: {}, acknowledged changes: {}, lost: {}\n",
        counts.kills,
        counts.acknowledged,
        counts.lost.len()
    );
    std::io::stdout().write_all(line.as_bytes()).expect("stdout");
    assert!(counts.lost.is_empty(), "lost:\n{}", counts.lost.join("\n"));
    assert!(counts.kills >= 200 && counts.acknowledged > counts.kills);
}

fn kill_again_and_again() -> Counts {
    let env = TestEnv::new(&[]);
    let mut owners: Vec<_> =
        (0..OWNERS).map(|number| Owner { number, ..Owner::default() }).collect();
    let (mut counts, mut happened) = (Counts::default(), 0);
    let mut gateway = env.start();
    for _ in 0..KILLS {
        counts.acknowledged += change_until_killed(&gateway, &mut owners);
        counts.kills += 1;
        // Dropping the gateway waits until the process has ended.
        drop(gateway);
        gateway = env.start();
        let mut caller = gateway.caller();
        let mut listed: BTreeMap<i64, Value> = caller
            .list()
            .into_iter()
            .map(|item| (item["id"].as_i64().expect("an id"), item))
            .collect();
        for owner in &mut owners {
            happened += usize::from(owner.find_out(&listed));
            counts.lost.extend(owner.compare(&mut caller, &mut listed));
        }
        counts.lost.extend(listed.into_values().map(|item| format!("no owner has the key {item}")));
        if !counts.lost.is_empty() {
            return counts;
        }
    }
    let entries = audited(&mut gateway.caller());
    if entries != counts.acknowledged + happened {
        counts
            .lost
            .push(format!("{entries} audit entries of {} changes", counts.acknowledged + happened));
    }
    gateway.stop();
    counts
}

/// Lets all owners change keys until the gateway is killed. Returns the number of acknowledged
/// changes.
fn change_until_killed(gateway: &Gateway, owners: &mut [Owner]) -> usize {
    let (acknowledged, kill_after) = (AtomicUsize::new(0), fastrand::usize(0..CHANGES));
    thread::scope(|scope| {
        for owner in owners {
            let (acknowledged, pid, mut caller) = (&acknowledged, gateway.pid(), gateway.caller());
            scope.spawn(move || {
                loop {
                    let change = owner.choose();
                    let (method, path, body) = change.call();
                    let (client, request) = caller.management(method, &path, &body);
                    let sent = client.send(&request);
                    // The first owner that reaches this line after enough changes kills the
                    // gateway. At that time, each other owner may be in the middle of a change.
                    if acknowledged.load(Ordering::SeqCst) >= kill_after {
                        let _was_killed_already = kill_process(pid, Signal::KILL);
                    }
                    let Ok(answer) = sent.and_then(|()| client.receive()) else {
                        owner.unsure = Some(change);
                        return;
                    };
                    assert!(
                        (200..300).contains(&answer.status),
                        "{change:?}: {} {}",
                        answer.status,
                        answer.body
                    );
                    owner.acknowledge(change, &answer.body);
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    acknowledged.into_inner()
}

impl Change {
    fn call(&self) -> (&'static str, String, String) {
        match self {
            Self::Create { name } => (
                "POST",
                route::API_KEYS.to_owned(),
                json!({"name": name, "description": description(name)}).to_string(),
            ),
            Self::Delete { key } => ("DELETE", route::api_key(key.id), String::new()),
            Self::Rotate { key, at_once: true } => {
                ("POST", route::rotate(key.id), json!({"overlap": 0}).to_string())
            }
            Self::Rotate { key, at_once: false } => {
                ("POST", route::rotate(key.id), json!({}).to_string())
            }
        }
    }
}

impl Owner {
    fn choose(&mut self) -> Change {
        let keys: Vec<_> = self.keys.values().collect();
        let to_rotate: Vec<_> = keys.iter().filter(|key| key.successor.is_none()).collect();
        match fastrand::u8(0..3) {
            0 if !keys.is_empty() => {
                Change::Delete { key: keys[fastrand::usize(0..keys.len())].clone() }
            }
            1 if !to_rotate.is_empty() => Change::Rotate {
                key: (*to_rotate[fastrand::usize(0..to_rotate.len())]).clone(),
                at_once: fastrand::bool(),
            },
            _ => {
                self.created += 1;
                Change::Create { name: format!("{}-{}", self.number, self.created) }
            }
        }
    }

    fn acknowledge(&mut self, change: Change, body: &str) {
        match change {
            Change::Delete { key } => self.delete(&key),
            Change::Create { name } => {
                self.add(name, &serde_json::from_str(body).expect("a key as JSON"))
            }
            Change::Rotate { key, at_once } => {
                let new = serde_json::from_str(body).expect("a key as JSON");
                self.rotated(&key, at_once, &new);
            }
        }
    }

    fn add(&mut self, name: String, item: &Value) {
        let id = item["id"].as_i64().expect("an id");
        let secret = item["apiKey"].as_str().map(str::to_owned);
        self.keys.insert(id, Key { id, name, secret, good: true, successor: None });
    }

    fn rotated(&mut self, old: &Key, at_once: bool, new: &Value) {
        let old = self.keys.get_mut(&old.id).expect("its own key");
        (old.good, old.successor) = (!at_once, new["id"].as_i64());
        let name = old.name.clone();
        self.add(name, new);
    }

    fn delete(&mut self, key: &Key) {
        self.deleted.extend(self.keys.remove(&key.id));
    }

    /// Returns whether the unacknowledged change was made, according to the list of keys.
    fn find_out(&mut self, listed: &BTreeMap<i64, Value>) -> bool {
        let (known, is_new) = (&self.keys, |name: &str, item: &Value| item["name"] == name);
        let mut new =
            listed.iter().filter(|(id, _)| !known.contains_key(id)).map(|(_, item)| item.clone());
        match self.unsure.take() {
            None => false,
            Some(Change::Delete { key }) if listed.contains_key(&key.id) => false,
            Some(Change::Delete { key }) => {
                self.delete(&key);
                true
            }
            Some(Change::Create { name }) => {
                let new = new.find(|item| is_new(&name, item));
                new.inspect(|item| self.add(name, item)).is_some()
            }
            Some(Change::Rotate { key, at_once }) => {
                // A deleted key never reappears, so an unknown key with this name is the successor.
                let new = new.find(|item| is_new(&key.name, item));
                new.inspect(|item| self.rotated(&key, at_once, item)).is_some()
            }
        }
    }

    /// Removes this owner's keys from the list, and returns every difference from what the gateway
    /// acknowledged.
    fn compare(&self, caller: &mut Caller, listed: &mut BTreeMap<i64, Value>) -> Vec<String> {
        let mut wrong = Vec::new();
        for key in self.keys.values() {
            match listed.remove(&key.id) {
                None => wrong.push(format!("{key:?} is gone")),
                Some(item) if !key.is_whole(&item) => wrong.push(format!("{key:?} is {item}")),
                Some(_) => {}
            }
        }
        let keys = self
            .keys
            .values()
            .map(|key| (key, key.good))
            .chain(self.deleted.iter().map(|key| (key, false)));
        let keys: Vec<_> = keys
            .filter_map(|(key, good)| {
                Some((key, key.secret.as_deref()?, if good { 204 } else { 403 }))
            })
            .collect();
        let secrets: Vec<_> = keys.iter().map(|(_, secret, _)| *secret).collect();
        let authorized = caller
            .authorize(&secrets)
            .into_iter()
            .zip(&keys)
            .filter(|(status, (_, _, expected))| status != expected);
        wrong.extend(authorized.map(|(status, (key, _, expected))| {
            format!("{key:?} is answered {status} instead of {expected}")
        }));
        wrong
    }
}

impl Key {
    fn is_whole(&self, item: &Value) -> bool {
        let start = self.secret.as_deref().map(|secret| &secret["iapikeyok-".len()..][..4]);
        item["name"] == self.name
            && item["description"] == description(&self.name)
            && item["successor"].as_i64() == self.successor
            && item["createdTimestamp"].is_i64()
            && item["status"]
                == if self.good && self.successor.is_none() {
                    "active"
                } else if self.good {
                    "expiring"
                } else {
                    "expired"
                }
            && start.is_none_or(|start| item["keyStart"] == start)
    }
}

fn description(name: &str) -> String {
    format!("the key {name}")
}

/// Returns the number of changes in the audit log. Several entries with one revision are one
/// change.
fn audited(caller: &mut Caller) -> usize {
    let (mut revisions, mut after) = (BTreeSet::new(), 0);
    loop {
        let page = caller.get(&format!("{}?after={after}", route::AUDIT));
        let entries = page["entries"].as_array().expect("entries");
        revisions
            .extend(entries.iter().map(|entry| entry["revision"].as_i64().expect("a revision")));
        match page["next"].as_i64() {
            Some(next) => after = next,
            None => return revisions.len(),
        }
    }
}
