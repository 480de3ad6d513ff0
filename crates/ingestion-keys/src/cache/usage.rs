//! The usage of keys. Each decision counts the use of its key, or each reported answer does. A
//! flush writes the counted usage to the store in batches.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use otlp_auth::{CountedIdentity, Identity};

use super::digest_prefix::DigestPrefix;
use super::identities::Identities;
use super::key_handle::{KeyHandle, SeenClient};
use super::reported::Reported;
use super::totals::{MAX_LISTED, UsageTotal};
use super::{KeyCache, KeyCacheOptions};
use crate::clock::Timestamp;
use crate::key::{KeyClient, KeyId, StoredKey, Usage};
use crate::store::{KeyStore, StoreError, UsageBatch};

/// The largest number of clients of all keys in one batch, unless a single key has more.
const BATCH_CLIENTS: usize = 20_000;

/// The shortest time between two flushes of the last use of clients that are in the store already.
/// Writing a client costs a store as much as writing all counters of its key.
const KNOWN_CLIENTS: Duration = Duration::from_secs(60);

/// A key with at least this many counted requests since the last flush gets separate counters for
/// each core.
const BUSY: u64 = 1000;

/// The largest number of cores for which a key gets separate counters.
const MAX_CORES: usize = 64;

/// The usage of every key that was used.
#[derive(Default)]
pub(super) struct Registry {
    pub(super) used: papaya::HashMap<KeyId, Arc<Mutex<KeyUse>>>,
    /// The keys that are not in the store any more. The usage of such a key is removed from memory
    /// at the second flush after the key was marked, because a decision that began before the mark
    /// may be counted after the first flush has read the counters.
    retired: Mutex<HashMap<KeyId, Retired>>,
    /// Locked by whoever flushes. The value is the time of the last flush of known clients.
    flushing: tokio::sync::Mutex<Option<Duration>>,
    /// The number of used keys whose totals are told apart.
    listed: AtomicUsize,
    /// The usage that followers have reported, until it is in the store.
    pub(super) reported: Reported,
    /// The totals of the keys that were not told apart and do not exist any more.
    pub(super) forgotten: Mutex<UsageTotal>,
    max_clients: usize,
    answers_are_reported: bool,
}

/// The state of a key that is not in the store any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retired {
    /// No flush has ended since the key was marked.
    Marked,
    /// One flush has ended since the key was marked.
    SeenByFlush,
}

/// The usage of one key.
pub(super) struct KeyUse {
    digest: DigestPrefix,
    counted: Vec<Counted>,
    /// The usage that was taken from the counters, but may not be in the store yet.
    unflushed: Option<Box<Usage>>,
    /// Everything that was ever taken from the counters.
    taken: UsageTotal,
    pub(super) totals: Totals,
}

/// Where the totals of a key are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Totals {
    /// They are told apart.
    Listed,
    /// They are added to those of all other keys.
    Others,
    /// Nowhere, because the key is the token of a follower: its requests are not telemetry.
    LeftOut,
}

/// An identity whose counters are flushed.
struct Counted {
    identity: CountedIdentity,
    /// Whether another identity replaced this identity, because the key was renamed or got separate
    /// counters for each core.
    replaced: bool,
}

/// A key with usage to be flushed.
type Unflushed = (KeyId, Arc<Mutex<KeyUse>>);

/// The usage that is not in the store yet. While this value exists, nothing is flushed. A caller
/// that reads the store meanwhile can therefore add the pending usage exactly once.
#[derive(Debug)]
pub struct PendingUsage<'a> {
    registry: &'a Registry,
    /// How long a client of a key is kept after its last request.
    retain_clients: Duration,
    _flushing: tokio::sync::MutexGuard<'a, Option<Duration>>,
}

impl KeyCache {
    /// Writes the usage since the last flush to the store. Usage that could not be written is kept
    /// for the next flush. If the future is dropped during a write, the usage of a batch may be
    /// counted twice.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    pub async fn flush_usage(&self, store: &dyn KeyStore) -> Result<(), StoreError> {
        self.flush_usage_with(store.usage_batch(), false, |batch| store.add_usage(batch)).await
    }

    /// Does the same as [`flush_usage`](Self::flush_usage) before the process ends. It also writes
    /// the last uses of clients that are in the store already, which other flushes write once a
    /// minute.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    pub async fn flush_last_usage(&self, store: &dyn KeyStore) -> Result<(), StoreError> {
        self.flush_usage_with(store.usage_batch(), true, |batch| store.add_usage(batch)).await
    }

    /// Does the same as [`flush_usage`](Self::flush_usage) or, if it `is_last`, as
    /// [`flush_last_usage`](Self::flush_last_usage), and calls `add` with each batch of at most
    /// `limit` keys.
    pub(crate) async fn flush_usage_with<E, F: Future<Output = Result<(), E>>>(
        &self,
        limit: usize,
        is_last: bool,
        mut add: impl FnMut(UsageBatch) -> F,
    ) -> Result<(), E> {
        let mut known_clients_at = self.usage.flushing.lock().await;
        let (now, at) = (self.clock.wall(), self.clock.monotonic());
        let known_clients =
            is_last || known_clients_at.is_none_or(|last| at.saturating_sub(last) >= KNOWN_CLIENTS);
        if known_clients {
            *known_clients_at = Some(at);
        }
        let (mut unflushed, busy) = self.usage.take(now, known_clients);
        // A store has its rows in the order in which they were written first. Rows that are written
        // again in the same order are neighbours.
        unflushed.sort_unstable_by_key(|(id, _)| *id);
        self.spread(&busy);
        let max_clients = self.options.max_clients;
        let oldest_client = Some(now.saturating_sub(self.options.retain_clients));
        let mut rest = &unflushed[..];
        while !rest.is_empty() {
            let usage = batch(rest, limit);
            let (keys, later) = rest.split_at(usage.len());
            add(UsageBatch { usage, max_clients, oldest_client }).await?;
            for (_, key) in keys {
                lock(key).unflushed = None;
            }
            rest = later;
        }
        loop {
            let usage = self.usage.reported.take(limit);
            if usage.is_empty() {
                break;
            }
            add(UsageBatch { usage, max_clients, oldest_client }).await?;
            self.usage.reported.written();
        }
        self.usage.forget_retired();
        Ok(())
    }

    /// Gives these keys separate counters for each core.
    fn spread(&self, busy: &[DigestPrefix]) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_CORES);
        if cores == 1 {
            return;
        }
        let _writer = self.lock();
        let keys = self.keys.pin();
        for digest in busy {
            if let Some(entry) =
                keys.get(digest).and_then(|entry| entry.spread(digest, &self.usage, cores))
            {
                keys.insert(*digest, entry);
            }
        }
    }

    /// Returns the usage that is not in the store yet. No flush starts until the returned value is
    /// dropped.
    pub async fn pending_usage(&self) -> PendingUsage<'_> {
        let retain_clients = self.options.retain_clients;
        PendingUsage {
            _flushing: self.usage.flushing.lock().await,
            registry: &self.usage,
            retain_clients,
        }
    }
}

impl PendingUsage<'_> {
    /// Adds the pending usage to a key that was read from the store.
    #[must_use]
    pub fn added_to(&self, mut key: StoredKey, now: Timestamp) -> StoredKey {
        let limit = self.registry.max_clients;
        if let Some(pending) = self.registry.used.pin().get(&key.record.id) {
            let pending = lock(pending);
            let counted = pending
                .counted
                .iter()
                .map(|counted| counted.read(now, self.registry.answers_are_reported));
            for usage in pending.unflushed.as_deref().cloned().into_iter().chain(counted) {
                key.usage.add(usage, limit, None);
            }
        }
        self.registry.reported.add_to(key.record.id, &mut key.usage, limit);
        // Old clients are also removed here. The store removes them only when it adds usage, and
        // this key may not be used any more.
        key.usage.add(Usage::default(), limit, Some(now.saturating_sub(self.retain_clients)));
        key
    }
}

impl Registry {
    pub(super) fn new(options: &KeyCacheOptions) -> Self {
        Self {
            max_clients: options.max_clients,
            answers_are_reported: options.answers_are_reported,
            ..Self::default()
        }
    }

    /// Makes the identity of a key at its first use.
    pub(super) fn first_use(&self, id: KeyId, name: &str, digest: &DigestPrefix) -> Identities {
        let identity = self.identity(id, name, digest);
        self.count(id, digest, std::slice::from_ref(&identity));
        Identities::One(identity)
    }

    /// Makes one `CountedIdentity` for each core, for a key that is used so often that the cores
    /// would wait for each other at a shared counter.
    pub(super) fn each_core(
        &self,
        id: KeyId,
        name: &str,
        digest: &DigestPrefix,
        cores: usize,
    ) -> Identities {
        let identities: Arc<[_]> =
            std::iter::repeat_with(|| self.identity(id, name, digest)).take(cores).collect();
        self.count(id, digest, &identities);
        Identities::Each(identities)
    }

    /// Makes an identity of a key. Its counters are not flushed until the identity is registered.
    pub(super) fn identity(&self, id: KeyId, name: &str, digest: &DigestPrefix) -> CountedIdentity {
        let identity = Identity::new(name).with_id(id.get().unsigned_abs());
        CountedIdentity::new(identity.with_handle(KeyHandle::new(self.max_clients, *digest)))
    }

    /// Registers these identities, so that every flush reads their counters. Earlier identities of
    /// the key stay registered for as long as a running request has one of them.
    fn count(&self, id: KeyId, digest: &DigestPrefix, identities: &[CountedIdentity]) {
        let used = self.used.pin();
        let new = || Arc::new(Mutex::new(KeyUse::new(digest, Totals::Others)));
        let mut key = lock(used.get_or_insert_with(id, new));
        if key.counted.is_empty() && key.totals == Totals::Others && self.list_one_more() {
            key.totals = Totals::Listed;
        }
        key.counted.iter_mut().for_each(|counted| counted.replaced = true);
        key.counted.extend(
            identities
                .iter()
                .map(|identity| Counted { identity: identity.clone(), replaced: false }),
        );
    }

    /// Leaves a key out of the totals. This is called before the first use of the key.
    pub(super) fn leave_out(&self, id: KeyId, digest: &DigestPrefix) {
        let new = || Arc::new(Mutex::new(KeyUse::new(digest, Totals::LeftOut)));
        self.used.pin().get_or_insert_with(id, new);
    }

    /// Takes a place among the keys whose totals are told apart. Returns whether there was one.
    fn list_one_more(&self) -> bool {
        let one_more = |listed| (listed < MAX_LISTED).then_some(listed + 1);
        self.listed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Notes that a key is not in the store any more.
    pub(super) fn retire(&self, id: KeyId) {
        lock(&self.retired).insert(id, Retired::Marked);
    }

    /// Notes that a key exists.
    pub(super) fn keep(&self, id: KeyId) {
        lock(&self.retired).remove(&id);
    }

    fn forget_retired(&self) {
        let used = self.used.pin();
        // Whoever reads the totals has this lock as well, and finds each key in one place.
        let mut forgotten = lock(&self.forgotten);
        lock(&self.retired).retain(|id, retired| {
            match std::mem::replace(retired, Retired::SeenByFlush) {
                Retired::Marked => true,
                Retired::SeenByFlush => {
                    if let Some(key) = used.remove(id) {
                        let key = lock(key);
                        match key.totals {
                            Totals::Listed => _ = self.listed.fetch_sub(1, Ordering::Relaxed),
                            Totals::Others => forgotten.add(key.total(self)),
                            Totals::LeftOut => {}
                        }
                    }
                    false
                }
            }
        });
    }

    /// Reads all counters and sets them to zero. Returns the keys with usage to be flushed, and the
    /// digests of the keys that are so busy that they get separate counters for each core. The
    /// usage has all new clients, and the clients that were flushed before if `known_clients`.
    fn take(&self, now: Timestamp, known_clients: bool) -> (Vec<Unflushed>, Vec<DigestPrefix>) {
        let used = self.used.pin();
        let (mut unflushed, mut busy) = (Vec::new(), Vec::new());
        for (id, shared) in &used {
            let mut guard = lock(shared);
            let key = &mut *guard;
            key.counted.retain(|counted| {
                // This is read before the counters. A request that has ended by now has counted
                // everything before.
                let is_held = counted.identity.is_held();
                let usage = counted.take(now, self.answers_are_reported, known_clients);
                key.taken.add(UsageTotal::from(&usage));
                if usage.accepted.saturating_add(usage.failed) >= BUSY && !counted.replaced {
                    busy.push(key.digest);
                }
                let any = usage != Usage::default();
                if any {
                    key.unflushed.get_or_insert_default().add(usage, self.max_clients, None);
                }
                // An identity that was replaced is dropped at the first flush that finds that
                // nobody holds it any more.
                is_held || !counted.replaced
            });
            if key.unflushed.is_some() {
                unflushed.push((*id, Arc::clone(shared)));
            }
        }
        (unflushed, busy)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("used", &self.used.len()).finish_non_exhaustive()
    }
}

impl KeyUse {
    fn new(digest: &DigestPrefix, totals: Totals) -> Self {
        let (counted, taken) = (Vec::with_capacity(1), UsageTotal::default());
        Self { digest: *digest, counted, unflushed: None, taken, totals }
    }

    /// Returns the usage since the process started.
    pub(super) fn total(&self, registry: &Registry) -> UsageTotal {
        let mut total = self.taken;
        for counted in &self.counted {
            total.add(counted.total(registry.answers_are_reported));
        }
        total
    }
}

impl Counted {
    /// Returns the usage in the counters, without the clients.
    fn total(&self, answers_are_reported: bool) -> UsageTotal {
        let Some(handle) = self.identity.identity().handle::<KeyHandle>() else {
            return UsageTotal::default();
        };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (accepted, failed) = match answers_are_reported {
            true => (read(&handle.accepted), read(&handle.failed)),
            false => (self.identity.uses(), 0),
        };
        UsageTotal { accepted, failed, bytes: read(&handle.bytes) }
    }

    /// Returns the counted usage, and leaves the counters unchanged.
    fn read(&self, now: Timestamp, answers_are_reported: bool) -> Usage {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let allowed = (!answers_are_reported).then(|| self.identity.uses());
        self.collect(now, allowed, read, |client| match client.is_fresh {
            true => Some(now),
            false => client.unflushed,
        })
    }

    /// Returns the counted usage, and sets the counters to zero. Clients that were flushed before
    /// are left for a later flush, unless `known_clients` or there may be none.
    fn take(&self, now: Timestamp, answers_are_reported: bool, known_clients: bool) -> Usage {
        let take = |counter: &AtomicU64| match counter.load(Ordering::Relaxed) {
            // A counter that is zero is not written, because a write would take the cache line of
            // the counter away from the other cores.
            0 => 0,
            _ => counter.swap(0, Ordering::Relaxed),
        };
        let allowed = (!answers_are_reported).then(|| self.identity.take_uses());
        let known_clients = known_clients || self.replaced;
        self.collect(now, allowed, take, |client| {
            if std::mem::take(&mut client.is_fresh) {
                client.unflushed = Some(now);
            }
            let is_due = !std::mem::replace(&mut client.is_known, true) || known_clients;
            if is_due { client.unflushed.take() } else { None }
        })
    }

    /// Collects the usage, with the clients for which `last_used_at` returns a time. `allowed` is
    /// the number of allowed requests, which count as accepted. If it is `None`, the reported
    /// answers are counted instead.
    fn collect(
        &self,
        now: Timestamp,
        allowed: Option<u64>,
        count: impl Fn(&AtomicU64) -> u64,
        last_used_at: impl Fn(&mut SeenClient) -> Option<Timestamp>,
    ) -> Usage {
        let mut usage = Usage { accepted: allowed.unwrap_or_default(), ..Usage::default() };
        if let Some(handle) = self.identity.identity().handle::<KeyHandle>() {
            if allowed.is_none() {
                usage.accepted = count(&handle.accepted);
                usage.failed = count(&handle.failed);
            }
            usage.denied = count(&handle.denied);
            usage.bytes = count(&handle.bytes);
            for client in lock(&handle.clients).iter_mut() {
                if let Some(last_used_at) = last_used_at(client) {
                    usage.clients.push(KeyClient {
                        address: client.address,
                        user_agent: client.user_agent.as_deref().map(str::to_owned),
                        last_used_at,
                    });
                }
            }
        }
        usage.last_used_at = (usage.accepted > 0 || usage.failed > 0).then_some(now);
        usage
    }
}

/// Returns the usage of the first keys, as much as one batch may have: of at least one key, and of
/// at most `limit`.
fn batch(keys: &[Unflushed], limit: usize) -> Vec<(KeyId, Usage)> {
    let usage = keys.iter().map(|(id, key)| {
        // Only a flush takes this usage away, and one flush runs at a time.
        (*id, lock(key).unflushed.as_deref().cloned().unwrap_or_default())
    });
    let mut fits = room_in_batch();
    usage.take(limit).take_while(|(_, usage)| fits(usage)).collect()
}

/// Returns a function that is called with the usage of one key after the other, and returns whether
/// it fits into the same batch, by the number of its clients.
pub(super) fn room_in_batch() -> impl FnMut(&Usage) -> bool {
    let mut taken = 0;
    move |usage| {
        let is_first = taken == 0;
        taken += usage.clients.len().max(1);
        is_first || taken <= BATCH_CLIENTS
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The lock is used even if it is poisoned: the counters and lists are consistent after every
    // statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
