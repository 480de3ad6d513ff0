//! Follows a store: keeps the cache up to date with the changes in the store.

use std::convert::Infallible;
use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::entry::State;
use super::retry::Retry;
use super::{KeyCache, nanoseconds};
use crate::clock::Timestamp;
use crate::key::KeyRole;
use crate::store::{Change, Changes, Cursor, KeyStore, SnapshotChunk, StoreError, StoreErrorKind};

/// If the wall clock moves this much more or less than the monotonic clock, somebody has set the
/// wall clock.
const JUMP: Duration = Duration::from_secs(2);

/// What a cache has read from its store.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The changes since the last time. `None` means that the cache has read a snapshot.
    pub changes: Option<&'a [Change]>,
    /// The cursor after these changes.
    pub cursor: Cursor,
    /// The time at which reading began, on the monotonic clock of the cache. The cache has every
    /// change that was made before.
    pub as_of: Duration,
}

/// A function that is called after a cache has read its store.
pub(super) type Observer = Box<dyn Fn(Progress<'_>) + Send + Sync>;

impl KeyCache {
    /// Calls `observer` each time after the cache has read its store and applied what it read, and
    /// once now if the cache has read its store before and does not read it now. A cache has one
    /// observer; later ones are ignored.
    pub fn observe(&self, observer: impl Fn(Progress<'_>) + Send + Sync + 'static) {
        let observer = self.observer.get_or_init(|| Box::new(observer));
        // A read that takes long, because the store is unavailable, is not waited for.
        let Ok(cursor) = self.follower.try_lock() else { return };
        if let (Some(cursor), Some(age)) = (*cursor, self.age()) {
            let as_of = self.clock.monotonic().saturating_sub(age);
            observer(Progress { changes: None, cursor, as_of });
        }
    }

    /// Reads the changes since the last call. At the first call, or if the store asks for a
    /// snapshot, reads a snapshot instead. When the call returns `Ok`, everything that was in the
    /// store when the call began is in force, and the cache is fresh as of that time.
    ///
    /// # Errors
    ///
    /// When the store cannot be read. The keys that are in force stay in force.
    pub async fn catch_up(&self, store: &dyn KeyStore) -> Result<(), StoreError> {
        let mut cursor = self.follower.lock().await;
        let began = self.clock.monotonic();
        let suspended = self.clock.suspended();
        let changes = match &*cursor {
            Some(cursor) => store.changes_since(cursor).await?,
            None => Changes::SnapshotNeeded,
        };
        let (changes, next) = match changes {
            Changes::Since(changes, next) => {
                self.apply(&changes);
                (Some(changes), next)
            }
            Changes::SnapshotNeeded => (None, self.load(store).await?),
        };
        *cursor = Some(next);
        // The machine may have been suspended while the answer of the store was on its way.
        let age = self.clock.suspended().saturating_sub(suspended);
        self.refresh(next.revision, began, age);
        if let Some(observer) = self.observer.get() {
            observer(Progress { changes: changes.as_deref(), cursor: next, as_of: began });
        }
        Ok(())
    }

    /// Notes that everything up to this revision is in force, and that the store had nothing newer
    /// at the time that was `age` before the time `at` of the monotonic clock.
    pub(crate) fn refresh(&self, revision: i64, at: Duration, age: Duration) {
        self.notice_suspension();
        self.revision.store(revision, Ordering::Release);
        self.prune();
        let until = nanoseconds(at.saturating_add(self.options.max_staleness));
        // With 0, the cache has never read its store.
        let until = until.saturating_sub(nanoseconds(age)).max(1);
        self.fresh_until.fetch_max(until, Ordering::Release);
    }

    /// Lets the cache be older by the time in which the machine was suspended since the last call,
    /// because the monotonic clock did not count this time.
    pub(crate) fn notice_suspension(&self) {
        let suspended = nanoseconds(self.clock.suspended());
        let before = self.suspended.fetch_max(suspended, Ordering::AcqRel);
        let lost = suspended.saturating_sub(before);
        if lost > 0 {
            let older = |until: u64| (until > 0).then(|| until.saturating_sub(lost).max(1));
            // Nothing is older if the store was never read.
            let _read = self.fresh_until.fetch_update(Ordering::AcqRel, Ordering::Acquire, older);
        }
    }

    /// Reads the store for the first time. While the store is
    /// [unavailable](StoreErrorKind::Unavailable), tries again, after the same pauses as
    /// [`follow`](Self::follow).
    ///
    /// # Errors
    ///
    /// When the store fails in another way, which does not pass by itself.
    pub async fn read_first(
        &self,
        store: &dyn KeyStore,
        poll_interval: Duration,
    ) -> Result<(), StoreError> {
        let mut retry = Retry::new(store, poll_interval);
        loop {
            retry.begin();
            match self.catch_up(store).await {
                Ok(()) => {
                    if retry.succeeded() {
                        tracing::info!("the keys were read");
                    }
                    return Ok(());
                }
                Err(error) if error.kind() != StoreErrorKind::Unavailable => return Err(error),
                Err(error) => {
                    if retry.failed(&error) {
                        tracing::warn!(
                            error = &error as &dyn Error,
                            "the keys cannot be read yet; until they are, nothing is decided \
                             about them"
                        );
                    }
                }
            }
            retry.wait().await;
        }
    }

    /// Catches up whenever the store has a new revision, and at least once in every
    /// `poll_interval`. If the store cannot be read, tries again after a pause. The first pause is
    /// at most 100 ms long, and each further pause is twice as long, up to `poll_interval`. Each
    /// pause is shorter by a random part, so that the followers of a store do not return together.
    /// A notification of the store makes a pause shorter, too.
    ///
    /// The future never ends. To stop following the store, drop the future.
    pub async fn follow(&self, store: &dyn KeyStore, poll_interval: Duration) -> Infallible {
        let mut retry = Retry::new(store, poll_interval);
        let mut clocks = (self.clock.wall(), self.clock.monotonic());
        loop {
            retry.begin();
            match self.catch_up(store).await {
                Ok(()) => {
                    if retry.succeeded() {
                        tracing::info!("the keys can be read again");
                    }
                }
                Err(error) => {
                    if retry.failed(&error) {
                        let fresh_for = self.fresh_for().unwrap_or_default();
                        tracing::error!(
                            error = &error as &dyn Error,
                            ?fresh_for,
                            "the keys cannot be read; decisions go on from memory"
                        );
                    }
                }
            }
            clocks = self.compare_clocks(clocks);
            self.notice_suspension();
            retry.wait().await;
        }
    }

    /// Replaces all entries with a snapshot of the store.
    async fn load(&self, store: &dyn KeyStore) -> Result<Cursor, StoreError> {
        self.begin_snapshot();
        let mut snapshot = store.snapshot().await?;
        let cursor = loop {
            match snapshot.next().await? {
                SnapshotChunk::Changes(changes) => self.apply(&changes),
                SnapshotChunk::End(cursor) => break cursor,
            }
        };
        self.end_snapshot();
        Ok(cursor)
    }

    /// Begins to replace all entries.
    pub(crate) fn begin_snapshot(&self) {
        // A new epoch starts before the snapshot begins. A change that is applied from now on has
        // the new epoch, and is kept even if the snapshot does not contain the changed key.
        self.lock().epoch += 1;
    }

    /// Removes the keys that were not applied since [`begin_snapshot`](Self::begin_snapshot).
    pub(crate) fn end_snapshot(&self) {
        // An entry of an earlier epoch has a key that the snapshot does not contain. The entry was
        // in force until now, and is removed here.
        let mut writer = self.lock();
        let epoch = writer.epoch;
        for role in KeyRole::ALL {
            let keys = self.entries(role).pin();
            keys.retain(|_, entry| {
                let stays = entry.epoch == epoch;
                if !stays {
                    self.usage.retire(entry.id);
                }
                stays
            });
            let tombstones = &mut writer.tombstones[role as usize];
            tombstones.retain(|(_, digest)| {
                keys.get(digest).is_some_and(|entry| entry.state == State::Deleted)
            });
            tombstones.make_contiguous().sort_by_key(|(at, _)| *at);
        }
    }

    /// Logs a warning if the wall clock was set. The staleness of the cache does not change then,
    /// because the cache measures it by the monotonic clock. Returns the time of both clocks for
    /// the next comparison.
    fn compare_clocks(&self, (wall, monotonic): (Timestamp, Duration)) -> (Timestamp, Duration) {
        let now = (self.clock.wall(), self.clock.monotonic());
        let expected = wall.saturating_add(now.1.saturating_sub(monotonic));
        let jump_ms = now.0.as_millis().saturating_sub(expected.as_millis());
        if u128::from(jump_ms.unsigned_abs()) >= JUMP.as_millis() {
            tracing::warn!(jump_ms, "the wall clock was set: it decides when keys expire");
        }
        now
    }
}
