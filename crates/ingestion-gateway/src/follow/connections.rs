//! The followers that are connected, and how far behind each of them is.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ingestion_api::{FollowPosition, FollowerConnection};
use ingestion_keys::clock::Timestamp;
use tokio_util::sync::CancellationToken;

/// The value of a position that a follower has not reached yet.
const NOWHERE: i64 = i64::MIN;

/// A follower that has been connected for this long, in milliseconds, gives its place to another
/// one with the same token. A follower that notices only after some time that its connection is
/// broken comes back while the gateway still counts that connection.
const MAY_BE_REPLACED: i64 = 30_000;

/// All followers that are connected.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    open: Arc<Mutex<Open>>,
    /// The largest number of followers.
    max: usize,
    /// The parent of the tokens of the followers.
    stopping: CancellationToken,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// The number of guards.
    len: usize,
    /// The connections with each token, the first one first.
    by_token: HashMap<Option<u64>, BTreeMap<u64, Arc<Connection>>>,
}

/// A follower that is connected.
#[derive(Debug)]
struct Connection {
    address: Option<IpAddr>,
    since: Timestamp,
    /// The time of the gateway at which the follower came.
    begun: i64,
    revision: AtomicI64,
    as_of: AtomicI64,
    /// Cancelled when the stream has to end.
    ended: CancellationToken,
}

/// A guard that counts a follower as connected until the guard is dropped.
#[derive(Debug)]
pub(super) struct Connected {
    token: Option<u64>,
    id: u64,
    connection: Arc<Connection>,
    connections: Connections,
}

impl Connections {
    /// Takes at most `max` followers. Their streams end when `stopping` is cancelled.
    pub(super) fn new(max: usize, stopping: CancellationToken) -> Self {
        Self { open: Arc::default(), max, stopping }
    }

    /// Counts a follower that came at a time of the gateway. One token may have at most seven
    /// eighths of the places. If there is no place, the follower that has been connected with the
    /// same token for longest gives its place, unless it came only just before. It counts until its
    /// stream has ended. Returns `None` if there is still no place, or if many have not ended yet.
    pub(super) fn begin(
        &self,
        token: Option<u64>,
        address: Option<IpAddr>,
        since: Timestamp,
        now: i64,
    ) -> Option<Connected> {
        let mut guard = self.open();
        let open = &mut *guard;
        if open.len >= self.max + self.max / 8 {
            return None;
        }
        let is_full = open.len >= self.max;
        let of_token = open.by_token.entry(token).or_default();
        if is_full || of_token.len() >= self.max - self.max / 8 {
            match of_token.first_entry() {
                Some(oldest) if now - oldest.get().begun >= MAY_BE_REPLACED => {
                    oldest.remove().ended.cancel();
                }
                Some(_) => return None,
                None => {
                    open.by_token.remove(&token);
                    return None;
                }
            }
        }
        let connection = Arc::new(Connection {
            address,
            since,
            begun: now,
            revision: NOWHERE.into(),
            as_of: NOWHERE.into(),
            ended: self.stopping.child_token(),
        });
        let id = open.next;
        open.next += 1;
        open.len += 1;
        of_token.insert(id, Arc::clone(&connection));
        Some(Connected { token, id, connection, connections: self.clone() })
    }

    pub(super) fn len(&self) -> usize {
        self.open().len
    }

    /// Returns the followers that are connected with a token, the first one first. `revision` is
    /// the revision of the gateway, and `now` is its time.
    pub(super) fn with_token(
        &self,
        token: u64,
        revision: i64,
        now: i64,
    ) -> Vec<FollowerConnection> {
        let described = |connection: &Arc<Connection>| {
            let behind = |newest: i64, reached: &AtomicI64| {
                let reached = reached.load(Ordering::Relaxed);
                (reached != NOWHERE).then(|| newest.saturating_sub(reached).max(0))
            };
            let address = connection.address.map(|address| address.to_string());
            FollowerConnection {
                address: address.unwrap_or_default(),
                connected_timestamp: connection.since.as_millis(),
                revisions_behind: behind(revision, &connection.revision),
                milliseconds_behind: behind(now, &connection.as_of),
            }
        };
        let open = self.open();
        open.by_token.get(&Some(token)).into_iter().flatten().map(|(_, c)| described(c)).collect()
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected {
    /// Returns the token that is cancelled when the stream has to end: when the gateway stops, or
    /// when another follower gets the place.
    pub(super) fn ended(&self) -> CancellationToken {
        self.connection.ended.clone()
    }

    /// Notes that everything up to this position was handed to the connection.
    pub(super) fn reached(&self, position: FollowPosition) {
        self.connection.revision.store(position.cursor.revision, Ordering::Relaxed);
        self.connection.as_of.store(position.as_of, Ordering::Relaxed);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.len -= 1;
        let Some(of_token) = open.by_token.get_mut(&self.token) else { return };
        of_token.remove(&self.id);
        if of_token.is_empty() {
            open.by_token.remove(&self.token);
        }
    }
}
