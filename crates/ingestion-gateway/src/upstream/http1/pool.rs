//! The HTTP/1.1 connections to an upstream.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use super::connection::Connection;
use crate::upstream::connect::not_in_time;
use crate::upstream::target::Target;

/// Of so many requests, one connection that waits for a request is kept.
const REQUESTS_PER_IDLE: usize = 4;

/// How long a connection waits for a request. Most servers keep one for longer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The connections to one upstream.
pub(super) struct Pool {
    pub(super) target: Arc<Target>,
    places: Arc<Semaphore>,
    /// The largest number of connections that wait for a request.
    max_idle: usize,
    idle: Mutex<Idle>,
}

struct Idle {
    /// The connections, and since when each of them waits. The one that waits for longest is the
    /// first.
    connections: Vec<(Connection, Instant)>,
    /// Whether a task closes the connections that have waited for too long.
    is_swept: bool,
}

impl Pool {
    /// Allows as many requests at a time as there are connections for.
    pub(super) fn new(target: Arc<Target>, max_connections: usize) -> Self {
        let max_idle = max_connections / (REQUESTS_PER_IDLE + 1);
        let places = Arc::new(Semaphore::new((max_connections - max_idle).max(1)));
        let idle = Mutex::new(Idle { connections: Vec::new(), is_swept: false });
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
            let (mut connection, since) = self.lock().connections.pop()?;
            if since.elapsed() < IDLE_TIMEOUT && connection.is_open(cx) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for another request.
    pub(super) fn put(self: &Arc<Self>, connection: Connection) {
        let mut idle = self.lock();
        if idle.connections.len() < self.max_idle {
            idle.connections.push((connection, Instant::now()));
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
            let next = {
                let mut idle = self.lock();
                let fresh = |(_, since): &(_, Instant)| since.elapsed() < IDLE_TIMEOUT;
                let first = idle.connections.iter().position(fresh);
                let end = first.unwrap_or(idle.connections.len());
                idle.connections.drain(..end);
                match idle.connections.first() {
                    Some((_, since)) => *since + IDLE_TIMEOUT,
                    None => {
                        idle.is_swept = false;
                        return;
                    }
                }
            };
            sleep_until(next).await;
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
