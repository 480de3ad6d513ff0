//! Follows a store: keeps the cache up to date with the changes in the store.

use std::convert::Infallible;
use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::entry::State;
use super::retry::Retry;
use super::{KeyCache, nanoseconds};
use crate::clock::Timestamp;
use crate::store::{Changes, Cursor, KeyStore, SnapshotChunk, StoreError, StoreErrorKind};

/// If the wall clock moves this much more or less than the monotonic clock, somebody has set the
/// wall clock.
const JUMP: Duration = Duration::from_secs(2);

impl KeyCache {
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
        let changes = match &*cursor {
            Some(cursor) => store.changes_since(cursor).await?,
            None => Changes::SnapshotNeeded,
        };
        let next = match changes {
            Changes::Since(changes, next) => {
                self.apply(&changes);
                next
            }
            Changes::SnapshotNeeded => self.load(store).await?,
        };
        self.revision.store(next.revision, Ordering::Release);
        *cursor = Some(next);
        self.prune();
        let fresh_until = nanoseconds(began.saturating_add(self.options.max_staleness));
        self.fresh_until.fetch_max(fresh_until, Ordering::Release);
        Ok(())
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
            retry.wait().await;
        }
    }

    /// Replaces all entries with a snapshot of the store.
    async fn load(&self, store: &dyn KeyStore) -> Result<Cursor, StoreError> {
        // A new epoch starts before the snapshot begins. A change that is applied from now on has
        // the new epoch, and is kept even if the snapshot does not contain the changed key.
        self.lock().epoch += 1;
        let mut snapshot = store.snapshot().await?;
        let cursor = loop {
            match snapshot.next().await? {
                SnapshotChunk::Changes(changes) => self.apply(&changes),
                SnapshotChunk::End(cursor) => break cursor,
            }
        };
        // An entry of an earlier epoch has a key that the snapshot does not contain. The entry was
        // in force until now, and is removed here.
        let mut writer = self.lock();
        let epoch = writer.epoch;
        let keys = self.keys.pin();
        keys.retain(|_, entry| {
            let stays = entry.epoch == epoch;
            if !stays {
                self.usage.retire(entry.id);
            }
            stays
        });
        writer.tombstones.retain(|(_, digest)| {
            keys.get(digest).is_some_and(|entry| entry.state == State::Deleted)
        });
        writer.tombstones.make_contiguous().sort_by_key(|(at, _)| *at);
        Ok(cursor)
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
