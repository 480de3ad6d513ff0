//! Probers, each of which checks the decisions of one gateway.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use super::PAUSE;
use super::keys::{Key, Keys};
use super::load::Shared;
use crate::gateway::Caller;

/// How many of the revoked keys that were changed last are checked each time, how many others, and
/// how many valid ones.
const LATEST: usize = 6;
const OTHERS: usize = 4;
const VALID: usize = 6;

pub(super) struct Prober {
    shared: Arc<Shared>,
    replica: usize,
    caller: Caller,
}

/// What a gateway says about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    LetIn,
    Refused,
    Undecided,
}

impl Prober {
    pub(super) fn new(shared: &Arc<Shared>, replica: usize, caller: Caller) -> Self {
        Self { shared: Arc::clone(shared), replica, caller }
    }

    /// Asks about keys until the load stops the probers.
    pub(super) fn check(mut self) {
        while !self.shared.probers_stop.load(Ordering::SeqCst) {
            self.check_once();
            // The other threads and the gateways need the processor, too.
            thread::sleep(PAUSE);
        }
    }

    fn check_once(&mut self) {
        let (valid, revoked) = choose(&self.shared.keys());
        let only_good = self.shared.only_good.load(Ordering::SeqCst);
        let some = |keys: Vec<Key>| if only_good { Vec::new() } else { keys };
        let (valid, revoked) = (some(valid), some(revoked));
        let good = &self.shared.good;
        let secrets: Vec<_> =
            [&good[..], &valid, &revoked].concat().into_iter().map(|key| key.secret).collect();
        let secrets: Vec<_> = secrets.iter().map(String::as_str).collect();
        for listener in [Caller::authorize, Caller::export_all] {
            let sent = Instant::now();
            let answers = listener(&mut self.caller, &secrets);
            let decisions: Vec<_> = answers.iter().map(|&status| decision(status)).collect();
            let (of_good, others) = decisions.split_at(good.len());
            let (of_valid, of_revoked) = others.split_at(valid.len());
            self.check_good(of_good);
            self.check_valid(&valid, of_valid, sent);
            self.check_revoked(&revoked, of_revoked, sent);
            let decided = decisions.iter().filter(|decision| **decision != Decision::Undecided);
            let replica = &self.shared.replicas[self.replica];
            replica.decided.fetch_add(decided.count(), Ordering::SeqCst);
        }
    }

    fn check_good(&self, decisions: &[Decision]) {
        for _ in decisions.iter().filter(|decision| **decision == Decision::Refused) {
            self.shared.is_wrong(format!("gateway {} refuses a good key", self.replica));
        }
        if decisions.iter().all(|decision| *decision == Decision::Undecided) {
            self.shared.replicas[self.replica].undecided.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn check_valid(&self, keys: &[Key], decisions: &[Decision], sent: Instant) {
        let refused = |(key, decision): &(&Key, &Decision)| {
            **decision == Decision::Refused && key.is_known(self.replica, sent)
        };
        for (key, _) in keys.iter().zip(decisions).filter(refused) {
            // Somebody may have begun to revoke the key meanwhile.
            if self.shared.keys().valid.contains_key(&key.id) {
                let age = key.age(sent);
                self.shared.is_wrong(format!(
                    "gateway {} refuses key {}, {age:?} after its creation",
                    self.replica, key.id
                ));
            }
        }
    }

    fn check_revoked(&self, keys: &[Key], decisions: &[Decision], sent: Instant) {
        let let_in = |(_, decision): &(&Key, &Decision)| **decision == Decision::LetIn;
        for (key, _) in keys.iter().zip(decisions).filter(let_in) {
            let age = key.age(sent);
            self.shared.let_in(age);
            if key.is_known(self.replica, sent) {
                self.shared.is_wrong(format!(
                    "gateway {} lets key {} in, {age:?} after it was revoked",
                    self.replica, key.id
                ));
            }
        }
    }
}

/// Chooses valid and revoked keys.
fn choose(keys: &Keys) -> (Vec<Key>, Vec<Key>) {
    let mut valid: Vec<Key> = keys.valid.values().cloned().collect();
    fastrand::shuffle(&mut valid);
    valid.truncate(VALID);
    let mut revoked: Vec<Key> = keys.revoked.iter().rev().take(LATEST).cloned().collect();
    if !keys.revoked.is_empty() {
        let others = (0..OTHERS).map(|_| fastrand::usize(..keys.revoked.len()));
        revoked.extend(others.map(|index| keys.revoked[index].clone()));
    }
    (valid, revoked)
}

fn decision(status: u16) -> Decision {
    match status {
        200 | 204 => Decision::LetIn,
        401 | 403 => Decision::Refused,
        503 => Decision::Undecided,
        other => panic!("answered {other}"),
    }
}
