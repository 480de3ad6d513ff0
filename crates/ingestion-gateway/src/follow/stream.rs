//! What one follower gets.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use ingestion_api::{FollowCursor, FollowPosition};
use ingestion_keys::cache::Standing;
use ingestion_keys::store::Cursor;
use otlp_auth::Identity;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::connections::Connected;
use super::hub::{Event, Hub};
use super::line::Lines;
use super::reading::{End, Part, Reading};

/// How long a follower waits until something was read for it from the store.
const PATIENCE: Duration = Duration::from_secs(15);

/// A follower cannot join now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoinError {
    /// There are as many followers as the gateway takes.
    #[error("too many followers are connected")]
    Full,
    /// Other followers are reading from the store.
    #[error("too many followers read the keys at the same time")]
    Busy,
    /// The store cannot be read.
    #[error("the keys cannot be read now")]
    Store,
}

/// The state of a stream.
struct Follower {
    hub: Arc<Hub>,
    identity: Identity,
    connected: Connected,
    /// The first lines, until they are sent.
    first: Option<Bytes>,
    /// What is read from the store, until the follower has all of it. Then it gets the events.
    reading: Option<Reading>,
    events: broadcast::Receiver<Event>,
    /// Everything up to here was sent.
    reached: Option<FollowCursor>,
}

impl Hub {
    /// Returns the stream for a follower that has everything up to `after`. The stream ends when
    /// the follower is too slow, when its token is not valid any more, when another follower gets
    /// its place, and when the gateway stops.
    pub(crate) async fn join(
        self: &Arc<Self>,
        after: Option<Cursor>,
        identity: Identity,
        address: Option<IpAddr>,
    ) -> Result<impl Stream<Item = Result<Bytes, Infallible>> + use<>, JoinError> {
        let joined = self.join_at(self.now(), after, identity, address).await;
        if let Err(error) = &joined {
            self.count_refusal(*error);
        }
        Ok(unfold(joined?, Follower::next))
    }

    /// Lets a follower join. It measures the ages of positions from `now` and from the moment at
    /// which it has sent its request, so `now` is a time before anything was waited for.
    async fn join_at(
        self: &Arc<Self>,
        now: i64,
        after: Option<Cursor>,
        identity: Identity,
        address: Option<IpAddr>,
    ) -> Result<Follower, JoinError> {
        let connected = self.connect(identity.id(), address, now).ok_or(JoinError::Full)?;
        let (newest, events) = self.subscribe();
        let (hub, first, reading, reached) = (Arc::clone(self), None, None, None);
        let mut follower = Follower { hub, identity, connected, first, reading, events, reached };
        let first = match newest {
            Some(newest) if after == Some(newest.cursor.into()) => {
                follower.reach(newest);
                Lines::hello(now, false).position(newest)
            }
            _ => {
                let first = timeout(PATIENCE, follower.begin(after)).await;
                Lines::hello(now, first.map_err(|_| JoinError::Busy)??)
            }
        };
        follower.first = Some(first.into());
        Ok(follower)
    }
}

impl Follower {
    /// Begins to read everything after a cursor. Returns whether that is a snapshot.
    async fn begin(&mut self, after: Option<Cursor>) -> Result<bool, JoinError> {
        let mut begin = async |after| {
            let reading = self.reading.insert(self.hub.read(after).ok_or(JoinError::Busy)?);
            reading.needs_snapshot().await.ok_or(JoinError::Store)
        };
        let needs_snapshot = after.is_none() || begin(after).await?;
        if needs_snapshot {
            begin(None).await?;
        }
        Ok(needs_snapshot)
    }

    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if let Some(first) = self.first.take() {
            return Some((Ok(first), self));
        }
        let ended = self.connected.ended();
        let lines = tokio::select! {
            biased;
            () = ended.cancelled() => return None,
            lines = self.lines() => lines?,
        };
        self.is_welcome().then_some((Ok(lines), self))
    }

    /// Waits for the next lines. Returns `None` if the follower has to come back for them.
    async fn lines(&mut self) -> Option<Bytes> {
        loop {
            if let Some(reading) = &mut self.reading {
                return match reading.next().await? {
                    Part::Lines(lines) => Some(lines),
                    Part::End(End::Position(position)) => {
                        self.reading = None;
                        self.reach(position);
                        Some(Lines::default().position(position).into())
                    }
                    Part::End(End::SnapshotNeeded) => None,
                };
            }
            let cursor = self.reached?;
            match self.events.recv().await {
                Ok(Event::Changes { position, .. })
                    if position.cursor.revision <= cursor.revision => {}
                Ok(Event::Changes { after, position, lines }) if after <= cursor.revision => {
                    self.reach(position);
                    return Some(lines);
                }
                // The follower has read from the store what the cache had not read yet.
                Ok(Event::Heartbeat { position, .. })
                    if position.cursor.revision < cursor.revision => {}
                Ok(Event::Heartbeat { position, line }) if position.cursor == cursor => {
                    self.reach(position);
                    return Some(line);
                }
                Err(RecvError::Closed) => return None,
                // The follower does not have changes that are in no event, or no longer.
                Ok(_) | Err(RecvError::Lagged(_)) => {
                    self.reading = Some(self.hub.read(Some(cursor.into()))?);
                }
            }
        }
    }

    /// Returns whether the token of the follower is still valid, as far as is known. While the
    /// gateway is undecided, followers are told how old its keys are.
    fn is_welcome(&self) -> bool {
        !matches!(self.hub.cache.standing(&self.identity), Standing::Denied(_))
    }

    fn reach(&mut self, position: FollowPosition) {
        self.reached = Some(position.cursor);
        self.connected.reached(position);
    }
}
