//! How a cache follows its store.

use std::convert::Infallible;
use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::entry::State;
use super::{KeyCache, nanoseconds};
use crate::clock::Timestamp;
use crate::store::{Changes, Cursor, KeyStore, SnapshotChunk, StoreError};

/// A wall clock that moved this much more or less than the monotonic clock was set by somebody.
const JUMP: Duration = Duration::from_secs(2);

impl KeyCache {
    /// Reads the changes since the last call, or a snapshot if it is the first call or the store
    /// asks for it. When it returns `Ok`, everything that was in the store at the time of the call
    /// is in force, and the cache is fresh as of that time.
    ///
    /// # Errors
    ///
    /// When the store cannot be read. Then the keys that are in force stay in force.
    pub async fn catch_up(&self, store: &dyn KeyStore) -> Result<(), StoreError> {
        let mut cursor = self.follower.lock().await;
        let began = self.clock.monotonic();
        let changes = match &*cursor {
            Some(cursor) => store.changes_since(cursor).await?,
            None => Changes::SnapshotNeeded,
        };
        *cursor = Some(match changes {
            Changes::Since(changes, next) => {
                self.apply(&changes);
                next
            }
            Changes::SnapshotNeeded => self.load(store).await?,
        });
        self.prune();
        let fresh_until = nanoseconds(began.saturating_add(self.options.max_staleness));
        self.fresh_until.fetch_max(fresh_until, Ordering::Release);
        Ok(())
    }

    /// Catches up whenever the store has a new revision, and at least once in every
    /// `poll_interval`. The future never ends; dropping it stops the cache from following.
    pub async fn follow(&self, store: &dyn KeyStore, poll_interval: Duration) -> Infallible {
        let mut revision = store.revision();
        let mut failing = false;
        let mut clocks = (self.clock.wall(), self.clock.monotonic());
        loop {
            revision.mark_unchanged();
            match self.catch_up(store).await {
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!("the keys can be read again");
                }
                Ok(()) => {}
                Err(error) if failing => {
                    tracing::debug!(error = &error as &dyn Error, "the keys cannot be read")
                }
                Err(error) => {
                    failing = true;
                    let fresh_for = self.fresh_for().unwrap_or_default();
                    tracing::error!(
                        error = &error as &dyn Error,
                        ?fresh_for,
                        "the keys cannot be read; decisions go on from memory"
                    );
                }
            }
            clocks = self.compare_clocks(clocks);
            let notified = async {
                // A store that is gone or fails sends no notification, and is polled.
                if failing || revision.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            // Whether it was notified or the interval has elapsed, it reads again.
            let _elapsed = tokio::time::timeout(poll_interval, notified).await;
        }
    }

    /// Replaces all entries by a snapshot of the store.
    async fn load(&self, store: &dyn KeyStore) -> Result<Cursor, StoreError> {
        // Before the snapshot begins: a change that is applied from now on has the new epoch, and
        // is kept even if the snapshot does not have its key.
        self.lock().epoch += 1;
        let mut snapshot = store.snapshot().await?;
        let cursor = loop {
            match snapshot.next().await? {
                SnapshotChunk::Changes(changes) => self.apply(&changes),
                SnapshotChunk::End(cursor) => break cursor,
            }
        };
        // Entries of an earlier epoch are not in the snapshot. Until here they were still in force.
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

    /// Logs that the wall clock was set. It has no other effect: staleness is measured by the
    /// monotonic clock.
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
