//! The HTTP/1.1 connections to an upstream.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::connection::Connection;
use crate::upstream::connect::not_in_time;
use crate::upstream::target::Target;

/// Of so many requests, one connection that waits for a request is kept.
const REQUESTS_PER_IDLE: usize = 4;

/// The time between two sweeps.
const SWEEP: Duration = Duration::from_secs(5);

/// The sweep at which a connection that waits for a request is closed, so after 10 to 15 s. Most
/// servers keep one for longer.
const LAST_SWEEP: u64 = 3;

/// The connections to one upstream.
pub(super) struct Pool {
    pub(super) target: Arc<Target>,
    places: Arc<Semaphore>,
    /// The largest number of connections that wait for a request.
    max_idle: usize,
    idle: Mutex<Idle>,
}

struct Idle {
    /// The connections, each with the number of sweeps before it began to wait. The one that waits
    /// for longest is the first.
    connections: Vec<(Connection, u64)>,
    /// A number that grows with each sweep. It is a clock that costs nothing to read.
    sweeps: u64,
    /// Whether a task closes the connections that have waited for too long.
    is_swept: bool,
}

impl Pool {
    /// Allows as many requests at a time as there are connections for.
    pub(super) fn new(target: Arc<Target>, max_connections: usize) -> Self {
        let max_idle = max_connections / (REQUESTS_PER_IDLE + 1);
        let places = Arc::new(Semaphore::new((max_connections - max_idle).max(1)));
        let idle =
            Mutex::new(Idle { connections: Vec::new(), sweeps: LAST_SWEEP, is_swept: false });
        Self { target, places, max_idle, idle }
    }

    /// Waits for a place among the requests.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
        let place = Arc::clone(&self.places).acquire_owned();
        timeout(self.target.config.connect_timeout, place).await.ok()?.ok()
    }

    /// Takes a connection that has waited for a request and is still open.
    pub(super) fn take(&self, cx: &mut Context<'_>) -> Option<Connection> {
        loop {
            let (mut connection, _) = self.lock().connections.pop()?;
            if connection.is_open(cx) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for another request.
    pub(super) fn put(self: &Arc<Self>, connection: Connection) {
        let mut idle = self.lock();
        if idle.connections.len() < self.max_idle {
            let sweeps = idle.sweeps;
            idle.connections.push((connection, sweeps));
        }
        if !idle.is_swept {
            idle.is_swept = true;
            drop(idle);
            tokio::spawn(Arc::clone(self).sweep());
        }
    }

    /// Closes connections that have waited for too long, until none is left.
    async fn sweep(self: Arc<Self>) {
        loop {
            sleep(SWEEP).await;
            let mut idle = self.lock();
            idle.sweeps += 1;
            let end = idle.sweeps.saturating_sub(LAST_SWEEP);
            let old = idle.connections.iter().take_while(|(_, since)| *since <= end).count();
            idle.connections.drain(..old);
            if idle.connections.is_empty() {
                idle.is_swept = false;
                return;
            }
        }
    }

    /// Makes a new connection.
    pub(super) async fn connect(&self) -> Option<Connection> {
        let Target { section, config, outages, .. } = &*self.target;
        let connected = timeout(config.connect_timeout, self.target.connect()).await;
        match connected.unwrap_or_else(|_| Err(not_in_time())) {
            Ok(stream) => Some(Connection::new(stream)),
            Err(error) => {
                outages.record(section, &error);
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("target", &self.target).finish_non_exhaustive()
    }
}
