//! The followers that are connected, and how far behind each of them is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ingestion_api::{FollowPosition, FollowerConnection};
use ingestion_keys::clock::Timestamp;

/// The value of a position that a follower has not reached yet.
const NOWHERE: i64 = i64::MIN;

/// All followers that are connected.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Arc<Connection>>,
}

/// A follower that is connected.
#[derive(Debug)]
struct Connection {
    /// The id of the token.
    token: Option<u64>,
    address: Option<IpAddr>,
    since: Timestamp,
    revision: AtomicI64,
    as_of: AtomicI64,
}

/// A guard that counts a follower as connected until the guard is dropped.
#[derive(Debug)]
pub(super) struct Connected {
    id: u64,
    connection: Arc<Connection>,
    connections: Connections,
}

impl Connections {
    pub(super) fn begin(
        &self,
        token: Option<u64>,
        address: Option<IpAddr>,
        since: Timestamp,
    ) -> Connected {
        let (revision, as_of) = (NOWHERE.into(), NOWHERE.into());
        let connection = Arc::new(Connection { token, address, since, revision, as_of });
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, Arc::clone(&connection));
        Connected { id, connection, connections: self.clone() }
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).connections.len()
    }

    /// Returns the followers that are connected with a token, the first one first. `revision` is
    /// the revision of the gateway, and `now` is its time.
    pub(super) fn with_token(
        &self,
        token: u64,
        revision: i64,
        now: i64,
    ) -> Vec<FollowerConnection> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let connections = open.connections.values();
        let of_token = connections.filter(|connection| connection.token == Some(token));
        let mut followers: Vec<_> = of_token.map(described).collect();
        followers.sort_by_key(|follower| follower.connected_timestamp);
        followers
    }
}

impl Connected {
    /// Notes that everything up to this position was handed to the connection.
    pub(super) fn reached(&self, position: FollowPosition) {
        self.connection.revision.store(position.cursor.revision, Ordering::Relaxed);
        self.connection.as_of.store(position.as_of, Ordering::Relaxed);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut open = self.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.connections.remove(&self.id);
    }
}
