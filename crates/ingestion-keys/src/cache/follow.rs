//! Following a store.

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
    /// Reads what is new in the store, or everything the first time and where changes are not
    /// enough. When it returns, what was in the store at the time of the call is in force, and the
    /// cache is fresh from that time on.
    ///
    /// # Errors
    ///
    /// When the store cannot be read. What is in force stays.
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

    /// Catches up whenever the store says that there is something new, and every `poll_interval`
    /// besides. Never ends; dropping it stops it.
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
                // A store that is gone notifies nobody, and is polled.
                if failing || revision.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            // An elapsed interval is as good a reason to read as a notification.
            let _elapsed = tokio::time::timeout(poll_interval, notified).await;
        }
    }

    /// Replaces everything by what the store has.
    async fn load(&self, store: &dyn KeyStore) -> Result<Cursor, StoreError> {
        // Before the snapshot is begun: a change that is applied from now on and is not in it must
        // not be undone by it.
        self.lock().epoch += 1;
        let mut snapshot = store.snapshot().await?;
        let cursor = loop {
            match snapshot.next().await? {
                SnapshotChunk::Changes(changes) => self.apply(&changes),
                SnapshotChunk::End(cursor) => break cursor,
            }
        };
        // What is of an older snapshot is not in this one. Before this it was decided as before.
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
            tracing::warn!(jump_ms, "the wall clock was set: keys end by it");
        }
        now
    }
}
