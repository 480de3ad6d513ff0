//! Reads from the store what followers do not have. Followers that ask for the same share it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ingestion_api::FollowPosition;
use ingestion_keys::store::{Change, Changes, Cursor, SnapshotChunk, StoreError};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::hub::Hub;
use super::line::{GROUP, Lines};

/// The largest number of reads of changes at the same time.
pub(super) const READERS: usize = 4;

/// The largest number of snapshots that are in memory at the same time.
const SNAPSHOTS: usize = 2;

/// The largest number of reads that wait for their turn.
const WAITING: usize = 1000;

/// The largest number of changes that are read after a cursor. A follower that does not have more
/// changes than this gets a snapshot, which it shares with others.
const MAX_CHANGES: usize = 10_000;

/// How long what was read stays in memory for followers that do not take it: the least time, and a
/// second more for each of these bytes.
const LEAST_TIME: Duration = Duration::from_secs(10);
const BYTES_A_SECOND: u64 = 1 << 20;

/// The reads for all followers.
#[derive(Debug)]
pub(super) struct Reads {
    /// The reads that have not begun. A follower may share only such a read: it has every change
    /// that was made before the follower asked. There is one for each cursor; without a cursor, a
    /// snapshot is read.
    waiting: Mutex<HashMap<Option<Cursor>, watch::Receiver<Read>>>,
    pub(super) changes: Semaphore,
    snapshots: Semaphore,
}

/// What was read so far. Its followers read it while it grows.
#[derive(Debug, Default)]
struct Read {
    parts: Vec<Bytes>,
    end: Option<End>,
}

/// The end of what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A follower that has taken all parts has everything up to here.
    Position(FollowPosition),
    /// The changes after the cursor are not known, or are too many.
    SnapshotNeeded,
}

/// A part of what is read.
#[derive(Debug)]
pub(super) enum Part {
    Lines(Bytes),
    End(End),
}

/// What one follower takes of a read.
#[derive(Debug)]
pub(super) struct Reading {
    read: watch::Receiver<Read>,
    taken: usize,
}

impl Default for Reads {
    fn default() -> Self {
        let (changes, snapshots) = (Semaphore::new(READERS), Semaphore::new(SNAPSHOTS));
        Self { waiting: Mutex::default(), changes, snapshots }
    }
}

impl Reads {
    /// Returns how many reads wait for their turn.
    #[cfg(test)]
    pub(super) fn waiting_len(&self) -> usize {
        self.waiting().len()
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Option<Cursor>, watch::Receiver<Read>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// Begins to read the changes after a cursor, or a snapshot, in the background. The read does
    /// not end with the request of a follower. Returns `None` if too many reads wait for their
    /// turn.
    pub(super) fn read(self: &Arc<Self>, after: Option<Cursor>) -> Option<Reading> {
        let mut waiting = self.reads.waiting();
        if let Some(read) = waiting.get(&after) {
            return Some(Reading { read: read.clone(), taken: 0 });
        }
        if waiting.len() >= WAITING {
            return None;
        }
        let (sender, read) = watch::channel(Read::default());
        waiting.insert(after, read.clone());
        tokio::spawn(Arc::clone(self).read_and_keep(after, sender));
        Some(Reading { read, taken: 0 })
    }

    /// Reads, and keeps what was read until all followers have taken it, but not for long: nobody
    /// keeps others waiting, or memory, by taking slowly.
    async fn read_and_keep(self: Arc<Self>, after: Option<Cursor>, read: watch::Sender<Read>) {
        let places = match after {
            Some(_) => &self.reads.changes,
            None => &self.reads.snapshots,
        };
        // The semaphores are never closed.
        let Ok(place) = places.acquire().await else { return };
        self.reads.waiting().remove(&after);
        if read.is_closed() {
            return;
        }
        let done = match &after {
            Some(after) => self.read_changes(after, &read).await,
            None => self.read_snapshot(&read).await,
        };
        if let Err(error) = done {
            let error: &dyn std::error::Error = &error;
            return tracing::debug!(error, "the keys cannot be read for followers");
        }
        if after.is_some() {
            drop(place);
        }
        let size: usize = read.borrow().parts.iter().map(Bytes::len).sum();
        let time = LEAST_TIME + Duration::from_secs(size as u64 / BYTES_A_SECOND);
        let _all_have_it = timeout(time, read.closed()).await;
        read.send_replace(Read::default());
    }

    async fn read_changes(
        &self,
        after: &Cursor,
        read: &watch::Sender<Read>,
    ) -> Result<(), StoreError> {
        let as_of = self.clock.monotonic();
        let end = match self.store.changes_for_others(after).await? {
            Changes::Since(changes, cursor) if changes.len() <= MAX_CHANGES => {
                push(read, &changes);
                End::Position(self.position(cursor, as_of))
            }
            Changes::Since(..) | Changes::SnapshotNeeded => End::SnapshotNeeded,
        };
        read.send_modify(|read| read.end = Some(end));
        Ok(())
    }

    async fn read_snapshot(&self, read: &watch::Sender<Read>) -> Result<(), StoreError> {
        let as_of = self.clock.monotonic();
        let mut snapshot = self.store.snapshot().await?;
        while !read.is_closed() {
            match snapshot.next().await? {
                SnapshotChunk::Changes(changes) => push(read, &changes),
                SnapshotChunk::End(cursor) => {
                    let end = End::Position(self.position(cursor, as_of));
                    read.send_modify(|read| read.end = Some(end));
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Reading {
    /// Waits until there is something to take. Returns whether a snapshot has to be read instead,
    /// or `None` if the store cannot be read.
    pub(super) async fn needs_snapshot(&mut self) -> Option<bool> {
        let begun = |read: &Read| !read.parts.is_empty() || read.end.is_some();
        let read = self.read.wait_for(begun).await.ok()?;
        Some(read.end == Some(End::SnapshotNeeded))
    }

    /// Waits for the next part. Returns `None` if the store cannot be read, or if the parts were
    /// not taken fast enough.
    pub(super) async fn next(&mut self) -> Option<Part> {
        let taken = self.taken;
        let more = |read: &Read| read.parts.len() > taken || read.end.is_some();
        let read = self.read.wait_for(more).await.ok()?;
        match read.parts.get(taken) {
            Some(lines) => {
                self.taken += 1;
                Some(Part::Lines(lines.clone()))
            }
            None => read.end.map(Part::End),
        }
    }
}

fn push(read: &watch::Sender<Read>, changes: &[Change]) {
    let lines = |group| Bytes::from(Lines::default().keys(group));
    let parts: Vec<_> = changes.chunks(GROUP).map(lines).filter(|part| !part.is_empty()).collect();
    read.send_modify(|read| read.parts.extend(parts));
}
