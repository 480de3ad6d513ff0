//! What all followers of this gateway share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ingestion_api::{FollowPosition, FollowerConnection, UsageReport};
use ingestion_keys::cache::{KeyCache, Progress};
use ingestion_keys::clock::Clock;
use ingestion_keys::store::KeyStore;
use opentelemetry::metrics::Meter;
use tokio::sync::{Semaphore, broadcast};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::connections::Connections;
use super::line::Lines;
use super::reports::{ReportError, Reports};

/// The time between two positions that are sent to followers while nothing changes.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The largest number of events that a follower may be behind. A follower that is further behind is
/// disconnected, and continues at its cursor when it comes back.
const WAITING: usize = 128;

/// The largest number of changes in one event. More changes at once are read by each follower from
/// the store.
const MAX_CHANGES: usize = 500;

/// The largest number of followers that are read for from the store at the same time.
const READERS: usize = 4;

/// Sends the changes of all keys to all followers. The changes are read once, by the cache of this
/// gateway.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(super) cache: Arc<KeyCache>,
    pub(super) store: Arc<dyn KeyStore>,
    pub(super) clock: Arc<dyn Clock>,
    /// Cancelled when the gateway begins to stop.
    pub(super) stopping: CancellationToken,
    pub(super) readers: Arc<Semaphore>,
    pub(super) connections: Connections,
    /// The largest number of followers.
    pub(super) max_followers: usize,
    /// The time at which this value was made. The times that followers get are measured from here.
    origin: Duration,
    /// The last position of the cache. There is none until the cache has read its store.
    newest: Mutex<Option<FollowPosition>>,
    events: broadcast::Sender<Event>,
    reports: Reports,
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
    /// `max_followers`.
    pub(crate) fn start(
        cache: Arc<KeyCache>,
        store: Arc<dyn KeyStore>,
        clock: Arc<dyn Clock>,
        stopping: CancellationToken,
        max_followers: usize,
    ) -> Arc<Self> {
        let origin = clock.monotonic();
        let hub = Arc::new(Self {
            cache,
            store,
            clock,
            stopping,
            readers: Arc::new(Semaphore::new(READERS)),
            connections: Connections::default(),
            max_followers,
            origin,
            newest: Mutex::default(),
            events: broadcast::Sender::new(WAITING),
            reports: Reports::default(),
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

    /// Measures how many followers are connected.
    pub(crate) fn observe(&self, meter: &Meter) {
        let followers = meter.u64_observable_gauge("ingestion.followers").with_unit("{follower}");
        let connections = self.connections.clone();
        followers
            .with_description("Processes that follow the keys of this gateway")
            .with_callback(move |gauge| gauge.observe(connections.len() as u64, &[]))
            .build();
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

    /// Adds the usage in a report, unless it was added before.
    pub(crate) fn report(&self, report: UsageReport) -> Result<(), ReportError> {
        self.reports.add(report, &self.cache, &*self.clock)
    }

    /// Returns the followers that are connected with the token that has this id.
    pub(crate) fn connections(&self, token: u64) -> Vec<FollowerConnection> {
        let revision = self.newest().map_or(0, |newest| newest.cursor.revision);
        self.connections.with_token(token, revision, self.now())
    }

    /// Returns the current time as followers get it.
    pub(super) fn now(&self) -> i64 {
        self.time(self.clock.monotonic())
    }

    /// Returns a time of the monotonic clock as followers get it.
    pub(super) fn time(&self, at: Duration) -> i64 {
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
        let position = FollowPosition { cursor: cursor.into(), as_of: self.time(as_of) };
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
