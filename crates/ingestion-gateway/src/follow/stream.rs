//! What one follower gets.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use ingestion_api::FollowPosition;
use ingestion_keys::cache::Standing;
use ingestion_keys::store::{Change, Changes, Cursor, Snapshot, SnapshotChunk, StoreError};
use otlp_auth::Identity;
use tokio::sync::broadcast;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connections::Connected;
use super::hub::{Event, Hub};
use super::line::{GROUP, Lines};

/// How long a follower waits until others have read from the store.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a follower may take until it has taken one part of what was read from the store, and
/// until it has taken all of it.
const PART: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(300);

/// The number of parts that wait until they are taken.
const WAITING: usize = 2;

/// A follower cannot join now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    /// There are as many followers as the gateway takes.
    #[error("too many followers are connected")]
    Full,
    /// Other followers are reading from the store.
    #[error("too many followers read the keys at the same time")]
    Busy,
    /// The store cannot be read.
    #[error("the keys cannot be read")]
    Store(#[from] StoreError),
}

/// What is read from the store for a follower.
enum Part {
    Lines(Bytes),
    /// The end.
    End(FollowPosition, Bytes),
}

/// The state of a stream.
struct Follower {
    hub: Arc<Hub>,
    identity: Identity,
    connected: Connected,
    /// What is sent before the events. There is nothing left once the follower has everything up to
    /// `revision`.
    parts: Option<mpsc::Receiver<Part>>,
    events: broadcast::Receiver<Event>,
    revision: i64,
}

impl Hub {
    /// Returns the stream for a follower that has everything up to `after`. The stream ends when
    /// the follower is too slow, when its token is not valid any more, and when the gateway stops.
    pub(crate) async fn join(
        self: &Arc<Self>,
        after: Option<Cursor>,
        identity: Identity,
        address: Option<IpAddr>,
    ) -> Result<impl Stream<Item = Result<Bytes, Infallible>> + use<>, JoinError> {
        let (newest, events) = self.subscribe();
        let connected = self.connections.begin(identity.id(), address, self.clock.wall());
        if self.connections.len() > self.max_followers {
            return Err(JoinError::Full);
        }
        let parts = match newest {
            Some(newest) if after == Some(newest.cursor.into()) => {
                let hello = Lines::hello(self.now(), false).position(newest);
                let (sender, parts) = mpsc::channel(1);
                let _room = sender.try_send(Part::End(newest, hello.into()));
                parts
            }
            _ => self.read(after).await?,
        };
        let hub = Arc::clone(self);
        let parts = Some(parts);
        let follower = Follower { hub, identity, connected, parts, events, revision: i64::MIN };
        Ok(unfold(follower, Follower::next))
    }

    /// Reads everything after a cursor from the store, in the background.
    async fn read(
        self: &Arc<Self>,
        after: Option<Cursor>,
    ) -> Result<mpsc::Receiver<Part>, JoinError> {
        let permit = timeout(PATIENCE, Arc::clone(&self.readers).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(JoinError::Busy) };
        let as_of = self.clock.monotonic();
        let changes = match &after {
            Some(after) => self.store.changes_since(after).await?,
            None => Changes::SnapshotNeeded,
        };
        let (sender, parts) = mpsc::channel(WAITING);
        let position = {
            let as_of = self.time(as_of);
            move |cursor: Cursor| FollowPosition { cursor: cursor.into(), as_of }
        };
        match changes {
            Changes::Since(changes, cursor) => {
                let hello = Lines::hello(self.now(), false);
                let position = position(cursor);
                tokio::spawn(async move {
                    let sent = timeout(WHOLE, send(&sender, hello, &changes));
                    if sent.await.is_ok_and(|sent| sent) {
                        end(&sender, position).await;
                    }
                    drop(permit);
                });
            }
            Changes::SnapshotNeeded => {
                let snapshot = self.store.snapshot().await?;
                let hello = Lines::hello(self.now(), true);
                tokio::spawn(async move {
                    let sent = timeout(WHOLE, send_snapshot(&sender, hello, snapshot)).await;
                    if let Ok(Some(cursor)) = sent {
                        end(&sender, position(cursor)).await;
                    }
                    drop(permit);
                });
            }
        }
        Ok(parts)
    }
}

impl Follower {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if let Some(parts) = &mut self.parts {
            let bytes = match parts.recv().await? {
                Part::Lines(lines) => lines,
                Part::End(position, lines) => {
                    self.parts = None;
                    self.reach(position);
                    lines
                }
            };
            return self.is_welcome().then_some((Ok(bytes), self));
        }
        loop {
            let stopping = self.hub.stopping.clone();
            let event = tokio::select! {
                biased;
                () = stopping.cancelled() => return None,
                event = self.events.recv() => event.ok()?,
            };
            if !self.is_welcome() {
                return None;
            }
            match event {
                Event::Changes { position, .. } if position.cursor.revision <= self.revision => {}
                Event::Changes { after, position, lines } if after <= self.revision => {
                    self.reach(position);
                    return Some((Ok(lines), self));
                }
                // The follower has read from the store what the cache had not read yet.
                Event::Heartbeat { position, .. } if position.cursor.revision < self.revision => {}
                Event::Heartbeat { position, line } => {
                    self.reach(position);
                    return Some((Ok(line), self));
                }
                Event::Changes { .. } | Event::Gap => return None,
            }
        }
    }

    /// Returns whether the token of the follower is still valid, as far as is known. While the
    /// gateway is undecided, followers are told how old its keys are.
    fn is_welcome(&self) -> bool {
        !matches!(self.hub.cache.standing(&self.identity), Standing::Denied(_))
    }

    fn reach(&mut self, position: FollowPosition) {
        self.revision = position.cursor.revision;
        self.connected.reached(position);
    }
}

/// Sends a snapshot up to its end, and returns its cursor.
async fn send_snapshot(
    sender: &mpsc::Sender<Part>,
    mut hello: Lines,
    mut snapshot: Snapshot,
) -> Option<Cursor> {
    loop {
        let chunk = snapshot.next().await;
        match chunk.inspect_err(log).ok()? {
            SnapshotChunk::End(cursor) => {
                return send(sender, hello, &[]).await.then_some(cursor);
            }
            SnapshotChunk::Changes(changes) => {
                if !send(sender, std::mem::take(&mut hello), &changes).await {
                    return None;
                }
            }
        }
    }
}

/// Sends keys after the lines `first`. Returns whether the follower has taken them.
async fn send(sender: &mpsc::Sender<Part>, first: Lines, changes: &[Change]) -> bool {
    let mut lines = first;
    for group in changes.chunks(GROUP) {
        let part = Bytes::from(std::mem::take(&mut lines).keys(group));
        if !part.is_empty() && !send_part(sender, Part::Lines(part)).await {
            return false;
        }
    }
    let rest = Bytes::from(lines);
    rest.is_empty() || send_part(sender, Part::Lines(rest)).await
}

async fn end(sender: &mpsc::Sender<Part>, position: FollowPosition) {
    let line = Lines::default().position(position).into();
    send_part(sender, Part::End(position, line)).await;
}

async fn send_part(sender: &mpsc::Sender<Part>, part: Part) -> bool {
    timeout(PART, sender.send(part)).await.is_ok_and(|sent| sent.is_ok())
}

fn log(error: &StoreError) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(error, "the keys cannot be read for a follower");
}
