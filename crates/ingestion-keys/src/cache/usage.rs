//! How keys are used: counted where they are decided on, flushed in batches.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use otlp_auth::{CountedIdentity, Identity};

use super::KeyCache;
use super::digest_prefix::DigestPrefix;
use crate::clock::Timestamp;
use crate::key::{KeyClient, KeyId, StoredKey, Usage};
use crate::store::{KeyStore, StoreError, UsageBatch};

/// Keys of one batch: a transaction that others do not have to wait for.
const BATCH: usize = 1000;

/// A key that was let in this often since the last flush gets counters for each core.
const BUSY: u64 = 1000;

/// Most counters of one key.
const MAX_CORES: usize = 64;

/// Longest user agent that is kept, in characters.
const USER_AGENT_LEN: usize = 128;

/// Whose a key is. All say the same; each has its own counters.
#[derive(Clone)]
pub(super) enum Identities {
    One(CountedIdentity),
    /// One for each core, once the key is so busy that cores would wait for each other.
    Each(Arc<[CountedIdentity]>),
}

/// The way back to a key's usage from the [`Identity`] of a request: [`Identity::handle`].
///
/// # Examples
///
/// ```
/// use ingestion_keys::cache::KeyHandle;
/// use otlp_auth::Identity;
///
/// fn received(identity: &Identity, bytes: u64, from: std::net::IpAddr, user_agent: Option<&str>) {
///     if let Some(handle) = identity.handle::<KeyHandle>() {
///         handle.add_bytes(bytes);
///         handle.add_client(from, user_agent);
///     }
/// }
/// ```
#[derive(Debug)]
pub struct KeyHandle {
    bytes: AtomicU64,
    denied: AtomicU64,
    clients: Mutex<Vec<SeenClient>>,
    limit: usize,
}

#[derive(Debug)]
struct SeenClient {
    address: IpAddr,
    user_agent: Option<Box<str>>,
    /// Whether it was used since the last flush.
    fresh: bool,
}

/// The usage of every key that was used, by its id.
#[derive(Default)]
pub(super) struct Registry {
    used: papaya::HashMap<KeyId, Arc<Mutex<KeyUse>>>,
    /// Keys that are gone. Their usage is forgotten at the second flush after that: a decision that
    /// began before may still be counted at the first.
    retired: Mutex<HashMap<KeyId, Retired>>,
    flushing: tokio::sync::Mutex<()>,
    max_clients: usize,
}

/// How far the usage of a key that is gone has come to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retired {
    /// The key is gone, and nothing was flushed since.
    Marked,
    /// One flush has ended since the key was marked.
    SeenByFlush,
}

/// The usage of one key.
struct KeyUse {
    digest: DigestPrefix,
    counted: Vec<Counted>,
    /// Taken from the counters, and not yet known to be in the store.
    unflushed: Option<Box<Usage>>,
}

/// An identity that counts.
struct Counted {
    identity: CountedIdentity,
    /// Whether another took its place before the last flush: it was of another name, or of one core
    /// among several.
    replaced: bool,
}

/// A key with something to be flushed.
type Unflushed = (KeyId, Arc<Mutex<KeyUse>>);

/// Usage that is not in the store yet. While it is held, nothing is flushed: who reads the store
/// meanwhile counts everything once.
#[derive(Debug)]
pub struct PendingUsage<'a> {
    registry: &'a Registry,
    /// How long places are kept that a key was used from.
    retain_clients: Duration,
    _flushing: tokio::sync::MutexGuard<'a, ()>,
}

impl KeyCache {
    /// Writes what was counted since the last time. What could not be written is kept for the next
    /// time. Dropped while it writes, it may count a batch twice.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    pub async fn flush_usage(&self, store: &dyn KeyStore) -> Result<(), StoreError> {
        let _flushing = self.usage.flushing.lock().await;
        let now = self.clock.wall();
        let (unflushed, busy) = self.usage.take(now);
        self.spread(&busy);
        for keys in unflushed.chunks(BATCH) {
            let usage = keys
                .iter()
                .filter_map(|(id, key)| Some((*id, lock(key).unflushed.as_deref()?.clone())))
                .collect();
            let max_clients = self.options.max_clients;
            let oldest_client = Some(now.saturating_sub(self.options.retain_clients));
            store.add_usage(UsageBatch { usage, max_clients, oldest_client }).await?;
            for (_, key) in keys {
                lock(key).unflushed = None;
            }
        }
        self.usage.forget_retired();
        Ok(())
    }

    /// Gives each core its own counters of these keys.
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

    /// What was counted and is not in the store.
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
    /// The key as it will be once everything is in the store.
    #[must_use]
    pub fn added_to(&self, mut key: StoredKey, now: Timestamp) -> StoredKey {
        let limit = self.registry.max_clients;
        if let Some(pending) = self.registry.used.pin().get(&key.record.id) {
            let pending = lock(pending);
            let counted = pending.counted.iter().map(|counted| counted.read(now));
            for usage in pending.unflushed.as_deref().cloned().into_iter().chain(counted) {
                key.usage.add(usage, limit, None);
            }
        }
        // Of a key that is not used any more nothing else takes them away.
        key.usage.add(Usage::default(), limit, Some(now.saturating_sub(self.retain_clients)));
        key
    }
}

impl Registry {
    pub(super) fn new(max_clients: usize) -> Self {
        Self { max_clients, ..Self::default() }
    }

    /// Begins to count for a key of this name.
    pub(super) fn first_use(&self, id: KeyId, name: &str, digest: &DigestPrefix) -> Identities {
        let identity = self.identity(id, name);
        self.count(id, digest, std::slice::from_ref(&identity));
        Identities::One(identity)
    }

    /// Begins to count for each core.
    pub(super) fn each_core(
        &self,
        id: KeyId,
        name: &str,
        digest: &DigestPrefix,
        cores: usize,
    ) -> Identities {
        let identities: Arc<[_]> =
            std::iter::repeat_with(|| self.identity(id, name)).take(cores).collect();
        self.count(id, digest, &identities);
        Identities::Each(identities)
    }

    /// A new identity of a key, which is not counted until it is registered.
    pub(super) fn identity(&self, id: KeyId, name: &str) -> CountedIdentity {
        let handle = KeyHandle {
            bytes: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            clients: Mutex::default(),
            limit: self.max_clients,
        };
        let identity = Identity::new(name).with_id(id.get().unsigned_abs());
        CountedIdentity::new(identity.with_handle(handle))
    }

    /// Counts these from now on, and those before for as long as a request may have them.
    fn count(&self, id: KeyId, digest: &DigestPrefix, identities: &[CountedIdentity]) {
        let used = self.used.pin();
        let new = || {
            Arc::new(Mutex::new(KeyUse {
                digest: *digest,
                counted: Vec::with_capacity(1),
                unflushed: None,
            }))
        };
        let mut key = lock(used.get_or_insert_with(id, new));
        key.counted.iter_mut().for_each(|counted| counted.replaced = true);
        key.counted.extend(
            identities
                .iter()
                .map(|identity| Counted { identity: identity.clone(), replaced: false }),
        );
    }

    /// The key is gone.
    pub(super) fn retire(&self, id: KeyId) {
        lock(&self.retired).insert(id, Retired::Marked);
    }

    /// The key is there.
    pub(super) fn keep(&self, id: KeyId) {
        lock(&self.retired).remove(&id);
    }

    fn forget_retired(&self) {
        let used = self.used.pin();
        lock(&self.retired).retain(|id, retired| {
            match std::mem::replace(retired, Retired::SeenByFlush) {
                Retired::Marked => true,
                Retired::SeenByFlush => {
                    used.remove(id);
                    false
                }
            }
        });
    }

    /// Empties the counters; returns what is to be flushed, and which keys are so busy that cores
    /// would wait for each other.
    fn take(&self, now: Timestamp) -> (Vec<Unflushed>, Vec<DigestPrefix>) {
        let used = self.used.pin();
        let (mut unflushed, mut busy) = (Vec::new(), Vec::new());
        for (id, shared) in &used {
            let mut guard = lock(shared);
            let key = &mut *guard;
            key.counted.retain(|counted| {
                let usage = counted.take(now);
                if usage.accepted >= BUSY && !counted.replaced {
                    busy.push(key.digest);
                }
                let any = usage != Usage::default();
                if any {
                    key.unflushed.get_or_insert_default().add(usage, self.max_clients, None);
                }
                // One that was replaced is kept for as long as requests have it, as far as can be
                // seen.
                any || !counted.replaced
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

impl Identities {
    /// The identity for a request that is let in, which is counted.
    #[inline]
    pub(super) fn for_request(&self) -> Identity {
        match self {
            Self::One(identity) => identity.for_request(),
            Self::Each(identities) => identities[this_thread() % identities.len()].for_request(),
        }
    }

    /// The identity, without counting a request.
    pub(super) fn identity(&self) -> &Identity {
        match self {
            Self::One(identity) => identity.identity(),
            Self::Each(identities) => identities[this_thread() % identities.len()].identity(),
        }
    }

    /// Counts a request that is refused.
    pub(super) fn count_refusal(&self) {
        if let Some(handle) = self.identity().handle::<KeyHandle>() {
            handle.denied.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Counted {
    /// What was counted, which stays.
    fn read(&self, now: Timestamp) -> Usage {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.collect(now, self.identity.uses(), read, |client| client.fresh)
    }

    /// What was counted, which is counted no more.
    fn take(&self, now: Timestamp) -> Usage {
        let take = |counter: &AtomicU64| match counter.load(Ordering::Relaxed) {
            // Not written to, so that it stays where it is read.
            0 => 0,
            _ => counter.swap(0, Ordering::Relaxed),
        };
        self.collect(now, self.identity.take_uses(), take, |client| {
            std::mem::take(&mut client.fresh)
        })
    }

    fn collect(
        &self,
        now: Timestamp,
        accepted: u64,
        count: impl Fn(&AtomicU64) -> u64,
        fresh: impl Fn(&mut SeenClient) -> bool,
    ) -> Usage {
        let mut usage =
            Usage { accepted, last_used_at: (accepted > 0).then_some(now), ..Usage::default() };
        if let Some(handle) = self.identity.identity().handle::<KeyHandle>() {
            usage.denied = count(&handle.denied);
            usage.bytes = count(&handle.bytes);
            for client in lock(&handle.clients)
                .iter_mut()
                .filter_map(|client| fresh(client).then_some(&*client))
            {
                usage.clients.push(KeyClient {
                    address: client.address,
                    user_agent: client.user_agent.as_deref().map(str::to_owned),
                    last_used_at: now,
                });
            }
        }
        usage
    }
}

impl KeyHandle {
    /// Adds the bytes of a request that was let in.
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes where a request that was let in came from. Of many at once some are passed over:
    /// nobody waits here.
    pub fn add_client(&self, address: IpAddr, user_agent: Option<&str>) {
        let Ok(mut clients) = self.clients.try_lock() else { return };
        let user_agent = user_agent.map(shortened);
        let same = |known: &SeenClient| {
            known.address == address && known.user_agent.as_deref() == user_agent
        };
        if let Some(known) = clients.iter_mut().find(|known| same(known)) {
            known.fresh = true;
        } else if self.limit > 0 {
            if clients.len() == self.limit {
                clients.remove(0);
            }
            clients.push(SeenClient {
                address,
                user_agent: user_agent.map(Into::into),
                fresh: true,
            });
        }
    }
}

fn shortened(user_agent: &str) -> &str {
    user_agent.char_indices().nth(USER_AGENT_LEN).map_or(user_agent, |(end, _)| &user_agent[..end])
}

/// A small number of this thread: two threads that run at the same time seldom share it.
#[inline]
fn this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters and lists: whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
