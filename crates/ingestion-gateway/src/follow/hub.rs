//! What all followers of this gateway share.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ingestion_api::{FollowPosition, FollowerConnection, UsageReport};
use ingestion_keys::cache::{FollowerTokens, KeyCache, Progress};
use ingestion_keys::clock::Clock;
use ingestion_keys::store::{Cursor, KeyStore};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use tokio::sync::broadcast;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::connections::{Connected, Connections};
use super::line::Lines;
use super::reading::Reads;
use super::reports::{ReportError, Reports};
use super::stream::JoinError;

/// The time between two positions that are sent to followers while nothing changes.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The largest number of events that a follower may be behind. For a follower that is further
/// behind, the changes after its cursor are read from the store.
const WAITING: usize = 128;

/// The largest number of changes in one event. More changes at once are read for the followers from
/// the store.
const MAX_CHANGES: usize = 500;

/// Sends the changes of all keys to all followers. The changes are read once, by the cache of this
/// gateway.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(super) cache: Arc<KeyCache>,
    pub(super) store: Arc<dyn KeyStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) reads: Reads,
    connections: Connections,
    /// The time at which this value was made. The times that followers get are measured from here.
    origin: Duration,
    /// The last position of the cache. There is none until the cache has read its store.
    newest: Mutex<Option<FollowPosition>>,
    events: broadcast::Sender<Event>,
    reports: Reports,
    refusals: Counter<u64>,
}

/// What all followers get.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The keys that were changed after a revision, and the position after them.
    Changes { after: i64, position: FollowPosition, lines: Bytes },
    /// A sign of life.
    Heartbeat { position: FollowPosition, line: Bytes },
    /// Something was changed that is not in any event.
    Gap,
}

impl Hub {
    /// Makes a hub that sends what `cache` reads from `store` from now on, to at most
    /// `max_followers`, until `stopping` is cancelled.
    pub(crate) fn start(
        cache: Arc<KeyCache>,
        store: Arc<dyn KeyStore>,
        clock: Arc<dyn Clock>,
        stopping: CancellationToken,
        max_followers: usize,
        meter: &Meter,
    ) -> Arc<Self> {
        let origin = clock.monotonic();
        let connections = Connections::new(max_followers, stopping);
        let followers = meter.u64_observable_gauge("ingestion.followers").with_unit("{follower}");
        let connected = connections.clone();
        followers
            .with_description("Processes that follow the keys of this gateway")
            .with_callback(move |gauge| gauge.observe(connected.len() as u64, &[]))
            .build();
        let refusals = meter.u64_counter("ingestion.follower.refusals").with_unit("{request}");
        let refusals = refusals
            .with_description("Requests of followers that cannot follow now, and come back")
            .build();
        let hub = Arc::new(Self {
            cache,
            store,
            clock,
            reads: Reads::default(),
            connections,
            origin,
            newest: Mutex::default(),
            events: broadcast::Sender::new(WAITING),
            reports: Reports::default(),
            refusals,
        });
        let observer = Arc::downgrade(&hub);
        let observe = move |progress: Progress<'_>| {
            if let Some(hub) = observer.upgrade() {
                hub.send(progress);
            }
        };
        hub.cache.observe(observe);
        hub
    }

    /// Sends heartbeats. The future never ends.
    pub(crate) async fn beat(&self) {
        let mut interval = tokio::time::interval(HEARTBEAT);
        // After the process was stopped for a while, nobody needs what was missed.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let newest = self.newest();
            if let Some(position) = *newest {
                let line = Lines::default().position(position).into();
                let _nobody = self.events.send(Event::Heartbeat { position, line });
            }
        }
    }

    /// Returns an authenticator that allows the tokens of followers.
    pub(crate) fn tokens(&self) -> FollowerTokens {
        FollowerTokens::new(Arc::clone(&self.cache))
    }

    /// Adds the usage in a report, which came with the token that has this id, unless it was added
    /// before.
    pub(crate) fn report(
        &self,
        token: Option<u64>,
        report: UsageReport,
    ) -> Result<(), ReportError> {
        self.reports.add(token, report, &self.cache, &*self.clock)
    }

    /// Returns the followers that are connected with the token that has this id.
    pub(crate) fn connections(&self, token: u64) -> Vec<FollowerConnection> {
        let revision = self.newest().map_or(0, |newest| newest.cursor.revision);
        self.connections.with_token(token, revision, self.now())
    }

    /// Counts a follower as connected. Returns `None` if there is no place for it.
    pub(super) fn connect(
        &self,
        token: Option<u64>,
        address: Option<IpAddr>,
        now: i64,
    ) -> Option<Connected> {
        self.connections.begin(token, address, self.clock.wall(), now)
    }

    /// Counts a follower that cannot join now.
    pub(super) fn count_refusal(&self, error: JoinError) {
        let reason = match error {
            JoinError::Full => "full",
            JoinError::Busy => "busy",
            JoinError::Store => "store",
        };
        self.refusals.add(1, &[KeyValue::new("reason", reason)]);
    }

    /// Returns the current time as followers get it.
    pub(super) fn now(&self) -> i64 {
        self.time(self.clock.monotonic())
    }

    /// Returns a position that was read at a time of the monotonic clock.
    pub(super) fn position(&self, cursor: Cursor, as_of: Duration) -> FollowPosition {
        FollowPosition { cursor: cursor.into(), as_of: self.time(as_of) }
    }

    /// Returns a time of the monotonic clock as followers get it.
    fn time(&self, at: Duration) -> i64 {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        millis(at) - millis(self.origin)
    }

    /// Returns the newest position, and every event after it.
    pub(super) fn subscribe(&self) -> (Option<FollowPosition>, broadcast::Receiver<Event>) {
        // Nothing is sent while the lock is held.
        let newest = self.newest();
        (*newest, self.events.subscribe())
    }

    fn send(&self, Progress { changes, cursor, as_of }: Progress<'_>) {
        let position = self.position(cursor, as_of);
        let mut newest = self.newest();
        let before = newest.replace(position);
        if before.is_some_and(|before| before.cursor == position.cursor) {
            return;
        }
        let event = match (before, changes) {
            (Some(before), Some(changes)) if changes.len() <= MAX_CHANGES => {
                let lines = Lines::default().keys(changes).position(position).into();
                Event::Changes { after: before.cursor.revision, position, lines }
            }
            _ => Event::Gap,
        };
        let _nobody = self.events.send(event);
    }

    fn newest(&self) -> MutexGuard<'_, Option<FollowPosition>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
