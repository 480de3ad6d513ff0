//! Everything a store has at one moment, piece by piece: a million keys do not have to be in memory
//! twice.

use tokio::sync::mpsc;

use super::{Change, Cursor, StoreError};

/// Pieces that may wait to be taken.
const WAITING: usize = 4;

/// A snapshot that is being read.
#[derive(Debug)]
pub struct Snapshot {
    parts: mpsc::Receiver<Result<Part, StoreError>>,
}

/// The end at which a store puts a snapshot in.
#[derive(Debug)]
pub struct SnapshotSender {
    parts: mpsc::Sender<Result<Part, StoreError>>,
}

/// A piece of a snapshot.
#[derive(Debug)]
pub enum Part {
    /// Some keys or tombstones.
    Changes(Vec<Change>),
    /// That was all, and this is where changes go on from.
    End(Cursor),
}

impl Snapshot {
    /// An empty snapshot and its other end.
    #[must_use]
    pub fn channel() -> (SnapshotSender, Self) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (SnapshotSender { parts: sender }, Self { parts: receiver })
    }

    /// The next piece. A snapshot that stops without [`Part::End`] is not whole, and that is an
    /// error: what is missing from it would be refused.
    ///
    /// # Errors
    ///
    /// When the store could not be read to the end.
    pub async fn next(&mut self) -> Result<Part, StoreError> {
        self.parts.recv().await.unwrap_or(Err(StoreError::closed()))
    }
}

impl SnapshotSender {
    /// Puts a piece in, waiting until there is room. Returns whether anybody still wants it.
    pub async fn send(&self, part: Result<Part, StoreError>) -> bool {
        self.parts.send(part).await.is_ok()
    }

    /// As [`send`](Self::send), on a thread that may block.
    pub fn blocking_send(&self, part: Result<Part, StoreError>) -> bool {
        self.parts.blocking_send(part).is_ok()
    }
}
