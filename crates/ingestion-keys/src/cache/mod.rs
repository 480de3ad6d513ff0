//! The cache, which has every key in memory and decides on requests.

mod digest_prefix;
mod entry;
mod follow;
mod follower_tokens;
mod identities;
mod key_handle;
mod reported;
mod retry;
mod standing;
#[cfg(test)]
mod tests;
mod totals;
mod usage;

use std::collections::VecDeque;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ingestion_api::IngestionKey;
use otlp_auth::server::{InMemoryAuthenticator as _, ServerAuthenticator};
use otlp_auth::{Credential, Decision, DenyReason, Undecided, Verdict};

use self::digest_prefix::{DigestPrefix, Map};
use self::entry::{Entry, State};
use self::follow::Observer;
pub use self::follow::Progress;
pub use self::follower_tokens::FollowerTokens;
pub use self::key_handle::KeyHandle;
pub use self::reported::TooMuchUsage;
pub use self::standing::Standing;
pub use self::totals::{UsageTotal, UsageTotals};
pub use self::usage::PendingUsage;
use self::usage::Registry;
use crate::clock::{Clock, Timestamp};
use crate::key::{KeyDigest, KeyRole};
use crate::store::{Change, Cursor, KeyState, TOMBSTONE_RETENTION};

/// A cache of all keys that decides on requests. A decision does no I/O. After the first use of a
/// key, a decision on the key takes no lock and allocates no memory. The first use of a key does
/// both. An undecided verdict allocates memory.
///
/// The cache is undecided until it has read its store once ([`catch_up`](Self::catch_up)). It is
/// undecided again if it cannot read the store for [`KeyCacheOptions::max_staleness`]. A token that
/// does not have the format of a key is denied even while the cache is undecided.
pub struct KeyCache {
    /// The keys for ingestion.
    keys: Map<Entry>,
    /// The tokens of followers. They are apart from the keys, so that a request with telemetry
    /// finds none of them.
    follower_tokens: Map<Entry>,
    /// The time until which the cache decides, in nanoseconds of the monotonic clock.
    fresh_until: AtomicU64,
    /// How long the machine was suspended when this was last looked at, in nanoseconds.
    suspended: AtomicU64,
    /// The revision of the store up to which the cache has read its changes.
    revision: AtomicI64,
    usage: Registry,
    writer: Mutex<Writer>,
    follower: tokio::sync::Mutex<Option<Cursor>>,
    /// What is called after the cache has read its store.
    observer: OnceLock<Observer>,
    clock: Arc<dyn Clock>,
    options: KeyCacheOptions,
}

/// The options of a [`KeyCache`].
#[derive(Clone, Copy, Debug)]
pub struct KeyCacheOptions {
    /// How long the cache continues to decide while its store cannot be read.
    pub max_staleness: Duration,
    /// The largest number of clients that are kept for each key. With 0, no clients are kept.
    pub max_clients: usize,
    /// How long a client of a key is kept after its last request.
    pub retain_clients: Duration,
    /// Whether the program reports the answer to every allowed request to the [`KeyHandle`] of the
    /// request. Then a request is counted as accepted or as failed when its answer is reported, and
    /// not counted before.
    ///
    /// With `false`, which is the default, the cache does not learn the answers: it counts every
    /// request that it allows as accepted, and ignores what is reported.
    pub answers_are_reported: bool,
}

impl Default for KeyCacheOptions {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self {
            max_staleness: Duration::from_secs(600),
            max_clients: 5,
            retain_clients: 30 * day,
            answers_are_reported: false,
        }
    }
}

/// The state that a change of the cache reads and writes. The lock in `KeyCache::writer` protects
/// this state.
#[derive(Debug, Default)]
struct Writer {
    /// The number of snapshots that the cache has begun to read. This number is the current epoch.
    /// Each entry has the epoch in which the entry was made. After a snapshot was read to its end,
    /// an entry with an earlier epoch belongs to a key that is not in the store any more.
    epoch: u32,
    /// The number of entries above which the map of keys is enlarged.
    room: usize,
    /// The deleted keys of each role with the time of each deletion, in the order of these times.
    tombstones: [VecDeque<(Timestamp, DigestPrefix)>; KeyRole::ALL.len()],
}

/// The reason for which the cache is undecided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NotFresh {
    #[error("the keys were never read")]
    NeverRead,
    #[error("the keys could not be read for too long")]
    TooOld,
}

impl KeyCache {
    /// Makes an empty cache. The cache is undecided about every key until it has read a store.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, options: KeyCacheOptions) -> Self {
        Self {
            keys: Map::default(),
            follower_tokens: Map::default(),
            fresh_until: AtomicU64::new(0),
            suspended: AtomicU64::new(nanoseconds(clock.suspended())),
            revision: AtomicI64::new(0),
            usage: Registry::new(&options),
            writer: Mutex::default(),
            follower: tokio::sync::Mutex::default(),
            observer: OnceLock::new(),
            clock,
            options,
        }
    }

    /// Puts these changes in force. The same change may be applied several times, and changes may
    /// come in any order. For each key, the change with the largest revision is in force.
    pub fn apply(&self, changes: &[Change]) {
        let mut writer = self.lock();
        for change in changes {
            self.apply_one(&mut writer, change);
        }
    }

    /// Decides on a credential without counting a use of its key. This function is for a service
    /// that only checks whether the key of somebody else is valid.
    ///
    /// # Errors
    ///
    /// [`Undecided`] if the cache has never read its store, or could not read it for too long.
    pub fn peek(&self, credential: &Credential<'_>) -> Verdict {
        self.verdict(&self.keys, credential, |entry, digest| {
            entry.peek(&*self.clock, digest, &self.usage)
        })
    }

    /// Returns the number of keys for ingestion, including the expired and disabled keys.
    #[must_use]
    pub fn len(&self) -> usize {
        // While the lock is held, neither the number of entries nor the number of tombstones
        // changes.
        let writer = self.lock();
        let deleted = writer.tombstones[KeyRole::Ingestion as usize].len();
        self.keys.len().saturating_sub(deleted)
    }

    /// Returns whether the cache has no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how long the cache would still decide if every read of the store failed from now on.
    /// Returns `None` if the cache does not decide now.
    #[must_use]
    pub fn fresh_for(&self) -> Option<Duration> {
        let left = self
            .fresh_until
            .load(Ordering::Acquire)
            .checked_sub(nanoseconds(self.clock.monotonic()))?;
        (left > 0).then_some(Duration::from_nanos(left))
    }

    /// Returns the time since the last successful read of the store began. Returns `None` if the
    /// store was never read.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let fresh_until = self.fresh_until.load(Ordering::Acquire);
        let now = nanoseconds(self.clock.monotonic());
        let age =
            now.saturating_add(nanoseconds(self.options.max_staleness)).saturating_sub(fresh_until);
        (fresh_until > 0).then_some(Duration::from_nanos(age))
    }

    /// Returns the revision of the store up to which the cache has read the changes. Returns `None`
    /// if the store was never read.
    #[must_use]
    pub fn revision(&self) -> Option<i64> {
        let was_read = self.freshness() != Err(NotFresh::NeverRead);
        was_read.then(|| self.revision.load(Ordering::Acquire))
    }

    /// Checks whether the checksum of the token is right, whether the cache is fresh, and whether
    /// the key is known. The order is the same for all callers. If all checks succeed, returns the
    /// decision of `decide`.
    #[inline(always)]
    fn verdict(
        &self,
        keys: &Map<Entry>,
        credential: &Credential<'_>,
        decide: impl FnOnce(&Entry, &DigestPrefix) -> Decision,
    ) -> Verdict {
        let presented = credential.expose_token_bytes();
        if !IngestionKey::has_checksum(presented) {
            return Ok(Decision::Deny(DenyReason::Malformed.into()));
        }
        if let Err(not_fresh) = self.freshness() {
            return malformed(presented).unwrap_or_else(|| Err(Undecided::new(not_fresh)));
        }
        let digest = DigestPrefix::from(&KeyDigest::of_bytes(presented));
        match keys.pin().get(&digest) {
            Some(entry) => Ok(decide(entry, &digest)),
            None => malformed(presented).unwrap_or(Ok(Decision::Deny(DenyReason::Unknown.into()))),
        }
    }

    fn apply_one(&self, writer: &mut Writer, change: &Change) {
        let keys = self.entries(change.role).pin();
        let digest = DigestPrefix::from(&change.digest);
        let old = keys.get(&digest);
        if old.is_some_and(|old| old.epoch == writer.epoch && old.revision >= change.revision) {
            return;
        }
        let was_deleted = old.is_some_and(|old| old.state == State::Deleted);
        let mut entry = Entry::new(change, writer.epoch);
        match change.state {
            KeyState::Live { .. } => {
                self.usage.keep(change.id);
                entry.keep_usage(old);
            }
            KeyState::Deleted { at } => {
                self.usage.retire(change.id);
                if !was_deleted {
                    writer.tombstones[change.role as usize].push_back((at, digest));
                }
            }
        }
        keys.insert(digest, entry);
        if change.role == KeyRole::Ingestion && keys.len() > writer.room {
            // Without more room, the map would become up to 90 % full. In a map that is so full,
            // the benchmark `ring_unknown` takes twice as long.
            keys.reserve(keys.len() / 2);
            writer.room = (keys.len() * 4 / 3).next_power_of_two() * 3 / 4;
        }
    }

    /// Removes the tombstones that are older than [`TOMBSTONE_RETENTION`].
    fn prune(&self) {
        let before = self.clock.wall().saturating_sub(TOMBSTONE_RETENTION);
        let mut writer = self.lock();
        for role in KeyRole::ALL {
            let keys = self.entries(role).pin();
            let tombstones = &mut writer.tombstones[role as usize];
            while let Some((at, digest)) = tombstones.front()
                && *at < before
            {
                if keys.get(digest).is_some_and(|entry| entry.state == State::Deleted) {
                    keys.remove(digest);
                }
                tombstones.pop_front();
            }
        }
    }

    fn entries(&self, role: KeyRole) -> &Map<Entry> {
        match role {
            KeyRole::Ingestion => &self.keys,
            KeyRole::Follower => &self.follower_tokens,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        // The lock is used even if it is poisoned. Each entry is replaced as a whole, so that a
        // panic leaves no entry half changed.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn freshness(&self) -> Result<(), NotFresh> {
        match self.fresh_until.load(Ordering::Acquire) {
            until if nanoseconds(self.clock.monotonic()) < until => Ok(()),
            0 => Err(NotFresh::NeverRead),
            _ => Err(NotFresh::TooOld),
        }
    }
}

impl ServerAuthenticator for KeyCache {
    type Future = Ready<Verdict>;

    #[inline]
    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
        ready(self.verdict(&self.keys, credential, |entry, digest| {
            entry.decide(&*self.clock, digest, &self.usage)
        }))
    }

    #[inline]
    fn verdict_at_once(&self, credential: &Credential<'_>) -> Result<Verdict, Self::Future> {
        Ok(self.decide(credential))
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache")
            .field("keys", &self.keys.len())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Returns a denial if the token has a character that cannot occur in a key. The checksum does not
/// detect every such token. A token that is found among the keys needs no such check.
fn malformed(presented: &[u8]) -> Option<Verdict> {
    IngestionKey::check(presented)
        .is_err()
        .then(|| Ok(Decision::Deny(DenyReason::Malformed.into())))
}

fn nanoseconds(time: Duration) -> u64 {
    // A `u64` of nanoseconds is enough for 584 years.
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()))
}
