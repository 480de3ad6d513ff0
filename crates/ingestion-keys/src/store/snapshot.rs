//! A snapshot: everything that a store has at one moment. The store sends a snapshot in chunks.
//! This prevents a second copy of all keys in memory.

use tokio::sync::mpsc;

use super::{Change, Cursor, StoreError};

/// The largest number of chunks that wait until they are received.
const WAITING: usize = 4;

/// The receiving end of a snapshot.
#[derive(Debug)]
pub struct Snapshot {
    chunks: mpsc::Receiver<Result<SnapshotChunk, StoreError>>,
}

/// The sending end of a snapshot, which the store has.
#[derive(Debug)]
pub struct SnapshotSender {
    chunks: mpsc::Sender<Result<SnapshotChunk, StoreError>>,
}

/// A chunk of a snapshot.
#[derive(Debug)]
pub enum SnapshotChunk {
    /// Some of the keys and tombstones.
    Changes(Vec<Change>),
    /// The end of the snapshot. Later changes are read after this cursor.
    End(Cursor),
}

impl Snapshot {
    /// Makes the two ends of an empty snapshot.
    #[must_use]
    pub fn channel() -> (SnapshotSender, Self) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (SnapshotSender { chunks: sender }, Self { chunks: receiver })
    }

    /// Returns the next chunk. If the sending end is dropped before it has sent
    /// [`SnapshotChunk::End`], the snapshot is not complete, and the call returns an error. Without
    /// this error, a cache would deny the keys that are missing in the snapshot.
    ///
    /// # Errors
    ///
    /// When the store could not be read to the end.
    pub async fn next(&mut self) -> Result<SnapshotChunk, StoreError> {
        self.chunks.recv().await.unwrap_or(Err(StoreError::closed()))
    }
}

impl SnapshotSender {
    /// Sends a chunk, and waits until there is room for it. Returns `false` if the receiving end is
    /// gone.
    pub async fn send(&self, chunk: Result<SnapshotChunk, StoreError>) -> bool {
        self.chunks.send(chunk).await.is_ok()
    }

    /// Does the same as [`send`](Self::send) on a thread that may block.
    pub fn blocking_send(&self, chunk: Result<SnapshotChunk, StoreError>) -> bool {
        self.chunks.blocking_send(chunk).is_ok()
    }
}
