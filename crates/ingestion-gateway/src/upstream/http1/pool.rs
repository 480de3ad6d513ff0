//! The HTTP/1.1 connections to an upstream.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use crate::upstream::body::Payload;
use crate::upstream::connect::{self, not_in_time};
use crate::upstream::target::Target;
use crate::upstream::upload::{Progress, UploadBody};

/// Of so many requests, one connection that waits for a request is kept.
const REQUESTS_PER_IDLE: usize = 4;

/// How long a connection waits for a request. Most servers keep one for longer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The largest size of the headers of a response.
const MAX_HEADER_SIZE: usize = 64 << 10;

/// The connections to one upstream.
pub(super) struct Pool<B>
where
    B: Payload,
{
    pub(super) target: Arc<Target>,
    places: Arc<Semaphore>,
    /// The largest number of connections that wait for a request.
    max_idle: usize,
    idle: Mutex<Idle<B>>,
}

struct Idle<B>
where
    B: Payload,
{
    /// The connections, and since when each of them waits. The one that waits for longest is the
    /// first.
    connections: Vec<(Connection<B>, Instant)>,
    /// Whether a task closes the connections that have waited for too long.
    is_swept: bool,
}

/// A connection to an upstream. Whoever holds it drives it.
pub(super) struct Connection<B>
where
    B: Payload,
{
    pub(super) send: SendRequest<UploadBody<B>>,
    /// What reads and writes, until the connection is closed. It is dropped then, because it may
    /// hold a request that it has not begun to send, and only a dropped one gives the request back.
    driver: Option<Pin<Box<Driver<B>>>>,
    pub(super) progress: Arc<Progress>,
}

type Driver<B> = http1::Connection<TokioIo<connect::Connection>, UploadBody<B>>;

impl<B> Pool<B>
where
    B: Payload,
{
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
    pub(super) fn take(&self, cx: &mut Context<'_>) -> Option<Connection<B>> {
        loop {
            let (mut connection, since) = self.lock().connections.pop()?;
            if since.elapsed() < IDLE_TIMEOUT && connection.is_usable(cx) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for another request, if it can carry one.
    pub(super) fn put(self: &Arc<Self>, mut connection: Connection<B>, cx: &mut Context<'_>) {
        if !connection.is_usable(cx) {
            return;
        }
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
    pub(super) async fn connect(&self) -> Option<Connection<B>> {
        let Target { section, config, outages, .. } = &*self.target;
        let connected = timeout(config.connect_timeout, self.handshake()).await;
        match connected.unwrap_or_else(|_| Err(not_in_time())) {
            Ok(connection) => Some(connection),
            Err(error) => {
                outages.record(section, &error);
                None
            }
        }
    }

    async fn handshake(&self) -> io::Result<Connection<B>> {
        let stream = TokioIo::new(self.target.connect().await?);
        let mut builder = http1::Builder::new();
        builder.max_header_size(MAX_HEADER_SIZE);
        let (send, driver) = builder.handshake(stream).await.map_err(io::Error::other)?;
        let (driver, progress) = (Some(Box::pin(driver)), Arc::default());
        let mut connection = Connection { send, driver, progress };
        poll_fn(|cx| {
            connection.drive(cx);
            Poll::Ready(())
        })
        .await;
        Ok(connection)
    }

    fn lock(&self) -> MutexGuard<'_, Idle<B>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Connection<B>
where
    B: Payload,
{
    /// Reads and writes what can be read and written now.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if self.driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
            self.driver = None;
        }
    }

    /// Returns whether the connection can carry another request.
    fn is_usable(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx);
        self.driver.is_some() && self.send.is_ready()
    }
}

impl<B> fmt::Debug for Pool<B>
where
    B: Payload,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("target", &self.target).finish_non_exhaustive()
    }
}
