//! The load: its threads, and what they have found.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use otlp_auth_tests::{Cluster, Discarded};
use serde_json::Value;

use super::keys::{Key, Keys};
use super::operator::Operator;
use super::prober::Prober;
use super::sender::{Grpc, Http, Sent, send_until};
use super::wait_until;
use crate::gateway::{Caller, address};

/// The number of operators, who change keys at the same time.
const OPERATORS: usize = 2;

/// Everything that runs beside a fault. When it is dropped, its threads are told to end.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) shared: Arc<Shared>,
    senders: Vec<JoinHandle<Sent>>,
    operators: Vec<JoinHandle<()>>,
    probers: Vec<JoinHandle<()>>,
}

/// What the threads of a load share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The keys of the senders, which nobody changes.
    pub(super) good: Vec<Key>,
    pub(super) replicas: Vec<Replica>,
    keys: Mutex<Keys>,
    /// One sentence for each wrong decision.
    wrong: Mutex<Vec<String>>,
    /// One sentence for each acknowledged change that was lost.
    lost: Mutex<Vec<String>>,
    /// The longest time for which a gateway let a revoked key in, in milliseconds.
    let_in: AtomicU64,
    pub(super) operators_stop: AtomicBool,
    pub(super) senders_stop: AtomicBool,
    pub(super) probers_stop: AtomicBool,
    /// Whether the probers look at the good keys only.
    pub(super) only_good: AtomicBool,
}

/// What was found about one gateway.
#[derive(Debug, Default)]
pub(super) struct Replica {
    /// The number of requests that it has decided.
    pub(super) decided: AtomicUsize,
    /// The number of times that every good key was undecided at the same time.
    pub(super) undecided: AtomicUsize,
    /// The number of changes that it has acknowledged.
    pub(super) changes: AtomicUsize,
}

/// What operators do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changes {
    CreateAndDelete,
    /// Keys are also rotated, without an overlap.
    Rotate,
}

impl Load {
    /// Creates the keys of the senders, waits until every gateway knows them, and starts to send,
    /// to change and to check.
    pub(super) fn start(cluster: &Cluster, changes: Changes) -> Self {
        let mut callers = callers(cluster);
        let good: Vec<Key> = (0..4).map(|_| create(&mut callers[0], "good")).collect();
        let secrets: Vec<_> = good.iter().map(|key| key.secret.as_str()).collect();
        for caller in &mut callers {
            let all = |caller: &mut Caller| caller.authorize(&secrets).iter().all(|&s| s == 204);
            wait_until("the keys are known", || all(caller));
        }
        let shared = Arc::new(Shared {
            replicas: callers.iter().map(|_| Replica::default()).collect(),
            keys: Mutex::default(),
            wrong: Mutex::default(),
            lost: Mutex::default(),
            let_in: AtomicU64::default(),
            operators_stop: AtomicBool::default(),
            senders_stop: AtomicBool::default(),
            probers_stop: AtomicBool::default(),
            only_good: AtomicBool::default(),
            good,
        });
        Self {
            senders: start_senders(cluster, &shared),
            operators: (0..OPERATORS)
                .map(|number| {
                    let operator = Operator::new(&shared, number, self::callers(cluster), changes);
                    thread::spawn(move || operator.change_keys())
                })
                .collect(),
            probers: self::callers(cluster)
                .into_iter()
                .enumerate()
                .map(|(replica, caller)| {
                    let prober = Prober::new(&shared, replica, caller);
                    thread::spawn(move || prober.check())
                })
                .collect(),
            shared,
        }
    }

    /// Waits until every gateway has acknowledged a change that was requested after this call, and
    /// has decided.
    pub(super) fn wait_for_changes(&self) {
        self.wait_for_changes_while(|| ());
    }

    /// Does the same, and calls `meanwhile` now and then.
    pub(super) fn wait_for_changes_while(&self, mut meanwhile: impl FnMut()) {
        let counts = || -> Vec<_> {
            let replicas = self.shared.replicas.iter();
            replicas
                .flat_map(|replica| [count(&replica.changes), count(&replica.decided)])
                .collect()
        };
        let before = counts();
        // Each operator may have requested one change before this call.
        let all = || counts().iter().zip(&before).all(|(now, before)| *now > before + OPERATORS);
        wait_until("every gateway changes keys", || {
            meanwhile();
            all()
        });
    }

    /// Waits until every gateway has decided this many further requests.
    pub(super) fn wait_for_decisions(&self, number: usize) {
        let counts = || -> Vec<_> {
            self.shared.replicas.iter().map(|replica| count(&replica.decided)).collect()
        };
        let before = counts();
        let all = || counts().iter().zip(&before).all(|(now, before)| *now > before + number);
        wait_until("every gateway decides", all);
    }

    /// Waits until this gateway does not decide any more.
    pub(super) fn wait_until_undecided(&self, replica: usize) {
        let counted = &self.shared.replicas[replica].undecided;
        let before = count(counted);
        // The check that is running may have begun before this call.
        wait_until("the gateway is undecided", || count(counted) > before + 1);
    }

    /// Lets the operators end their last changes.
    pub(super) fn stop_operators(&mut self) {
        self.shared.operators_stop.store(true, Ordering::SeqCst);
        for operator in self.operators.drain(..) {
            operator.join().expect("an operator");
        }
    }

    /// Lets everything end, looks at every key on every gateway, and stops the gateways. Prints the
    /// counts, and asserts that nothing was wrong or lost.
    pub(super) fn end(mut self, cluster: Cluster, what: &str, faults: usize) {
        self.stop_operators();
        let mut callers = callers(&cluster);
        for (replica, caller) in callers.iter_mut().enumerate() {
            self.shared.wait_until_followed(replica, caller);
            self.shared.compare_list(replica, &caller.list());
        }
        self.shared.senders_stop.store(true, Ordering::SeqCst);
        let sent: Vec<_> =
            self.senders.drain(..).map(|sender| sender.join().expect("a sender")).collect();
        self.shared.probers_stop.store(true, Ordering::SeqCst);
        for prober in self.probers.drain(..) {
            prober.join().expect("a prober");
        }
        let lines: Vec<_> =
            cluster.replicas.into_iter().flat_map(|gateway| gateway.program.stop()).collect();
        let received = Discarded::of(&lines).items;
        let accepted: usize = sent.iter().map(|sent| sent.accepted).sum();
        let dropped: usize = sent.iter().map(|sent| sent.dropped).sum();
        let unanswered: usize = sent.iter().map(|sent| sent.unanswered).sum();
        let items_lost = accepted.saturating_sub(received) + dropped;
        let sum = |of: fn(&Replica) -> &AtomicUsize| -> usize {
            self.shared.replicas.iter().map(|replica| count(of(replica))).sum()
        };
        let (wrong, lost) = (lock(&self.shared.wrong), lock(&self.shared.lost));
        // The test runner hides the output of `println!` unless the test fails. So the test writes
        // to stdout directly.
        let word = if faults == 1 { "fault" } else { "faults" };
        let line = format!(
            "{what}: {faults} {word}, {} requests decided, {} wrong decisions, {accepted} items \
             sent, {items_lost} items lost, {} changes acknowledged, {} changes lost, a revoked \
             key let in for at most {} ms\n",
            sum(|replica| &replica.decided),
            wrong.len(),
            sum(|replica| &replica.changes),
            lost.len(),
            self.shared.let_in.load(Ordering::SeqCst),
        );
        std::io::stdout().write_all(line.as_bytes()).expect("stdout");
        assert!(wrong.is_empty(), "wrong decisions:\n{}", wrong.join("\n"));
        assert!(lost.is_empty(), "lost changes:\n{}", lost.join("\n"));
        assert_eq!(items_lost, 0, "{sent:?}, {received} items received");
        // Otherwise an item that was received twice could stand for one that was lost.
        let twice = received - accepted;
        assert!(twice <= unanswered, "{twice} items too many, {unanswered} of them possible");
        assert!(accepted > 0 && sum(|replica| &replica.changes) > faults);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let Shared { operators_stop, senders_stop, probers_stop, .. } = &*self.shared;
        for stop in [operators_stop, senders_stop, probers_stop] {
            stop.store(true, Ordering::SeqCst);
        }
    }
}

impl Shared {
    pub(super) fn keys(&self) -> MutexGuard<'_, Keys> {
        lock(&self.keys)
    }

    /// Notes a wrong decision.
    pub(super) fn is_wrong(&self, what: String) {
        lock(&self.wrong).push(what);
    }

    /// Notes that an acknowledged change is not there.
    pub(super) fn is_lost(&self, what: String) {
        lock(&self.lost).push(what);
    }

    /// Notes that a gateway let a revoked key in, this long after the answer to the change.
    pub(super) fn let_in(&self, after: Duration) {
        let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.let_in.fetch_max(millis, Ordering::SeqCst);
    }

    /// Waits until a gateway lets every valid key in and refuses every revoked one. Notes every
    /// wrong decision until then.
    pub(super) fn wait_until_followed(&self, replica: usize, caller: &mut Caller) {
        // The lock is not held while the gateway follows, because the probers need it.
        let Keys { valid, revoked, .. } = self.keys().clone();
        let all = valid.values().map(|key| (key, 204));
        let all: Vec<_> = all.chain(revoked.iter().map(|key| (key, 403))).collect();
        let secrets: Vec<_> = all.iter().map(|(key, _)| key.secret.as_str()).collect();
        wait_until("the gateway has followed", || {
            let sent = Instant::now();
            let answers = caller.authorize(&secrets);
            let mut is_right = true;
            for (answer, (key, expected)) in answers.iter().zip(&all) {
                is_right &= answer == expected;
                if answer != expected && *answer != 503 && key.is_known(replica, sent) {
                    let age = key.age(sent);
                    self.is_wrong(format!(
                        "at the end, gateway {replica} answers {answer} instead of {expected} for \
                         key {}, {age:?} after its change",
                        key.id
                    ));
                }
            }
            is_right
        });
    }

    /// Compares the list of a gateway with what was acknowledged.
    fn compare_list(&self, replica: usize, list: &[Value]) {
        let keys = self.keys();
        let names: BTreeMap<i64, &str> = list
            .iter()
            .map(|item| {
                let name = item["name"].as_str().expect("a name");
                (item["id"].as_i64().expect("an id"), name)
            })
            .collect();
        let expected: BTreeSet<i64> =
            keys.listed.iter().copied().chain(self.good.iter().map(|key| key.id)).collect();
        for id in expected.iter().filter(|id| !names.contains_key(id)) {
            self.is_lost(format!("gateway {replica} does not list key {id}"));
        }
        let unknown = names.iter().filter(|(id, _)| !expected.contains(id));
        for (id, name) in unknown.filter(|(_, name)| !keys.maybe.contains(**name)) {
            self.is_lost(format!("gateway {replica} lists key {id} ({name})"));
        }
    }
}

/// Starts a sender for each gateway and transport, and one that sends through the load balancer.
fn start_senders(cluster: &Cluster, shared: &Arc<Shared>) -> Vec<JoinHandle<Sent>> {
    let mut senders = Vec::new();
    for (gateway, key) in cluster.replicas.iter().zip(&shared.good) {
        let http = Http::new(address(gateway, "otlp_http"), &key.secret);
        let grpc = Grpc::new(&gateway.url("otlp_grpc"), &key.secret);
        let (for_http, for_grpc) = (Arc::clone(shared), Arc::clone(shared));
        senders.push(thread::spawn(move || send_until(http, &for_http.senders_stop)));
        senders.push(thread::spawn(move || send_until(grpc, &for_grpc.senders_stop)));
    }
    let balancer = cluster.http.parse().expect("an address");
    let http = Http::new(balancer, &shared.good.last().expect("a key").secret);
    let shared = Arc::clone(shared);
    senders.push(thread::spawn(move || send_until(http, &shared.senders_stop)));
    senders
}

/// Returns a caller for each gateway.
pub(super) fn callers(cluster: &Cluster) -> Vec<Caller> {
    let token = cluster.home.admin_token();
    cluster.replicas.iter().map(|gateway| Caller::of(gateway, token.clone())).collect()
}

/// Creates a key that must be created.
pub(super) fn create(caller: &mut Caller, name: &str) -> Key {
    let crate::keys::Key { id, secret } = crate::keys::Key::create(caller, name);
    Key::changed_now(id, &secret, None)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::SeqCst)
}
