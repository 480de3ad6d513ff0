//! The HTTP/2 connections to an upstream.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::Request;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::io::{Cork, Corked, ReadAhead};
use crate::upstream::connect::not_in_time;
use crate::upstream::target::Target;

/// The largest number of calls on one connection, even if the upstream allows more. All of them
/// together never fill the window of the connection, so that a client that does not read does not
/// stop the others.
const MAX_STREAMS: usize = 256;

/// How much of a response may be on its way.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS as u32;

/// The largest number of bytes of a body that wait to be written.
const MAX_SEND_BUFFER: usize = 128 << 10;

/// The largest size of the headers of a response.
const MAX_HEADER_LIST: u32 = 64 << 10;

/// The largest number of connections.
pub(in crate::upstream) const MAX_CONNECTIONS: usize = 32;

/// The age at which a connection gets no more calls, so that the name of the upstream is resolved
/// again, and new instances of the upstream get their share. A tenth of it is random, so that the
/// connections of many gateways do not end together.
const MAX_AGE: Duration = Duration::from_secs(300);

/// The connections to one upstream.
pub(super) struct Pool {
    pub(super) target: Arc<Target>,
    state: Mutex<State>,
    /// Told when a call ends while others wait for a place.
    place: Notify,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct State {
    open: Vec<Open>,
    /// The attempt to connect that is under way.
    connecting: Option<watch::Receiver<Option<bool>>>,
}

/// A connection that takes calls.
struct Open {
    send: SendRequest<Bytes>,
    streams: Arc<Streams>,
    retire_at: Instant,
}

/// The calls on a connection.
#[derive(Default)]
struct Streams {
    count: AtomicUsize,
    /// Whether the connection gets no more calls.
    is_retired: AtomicBool,
}

/// A call on a connection, before its body is sent.
pub(super) struct Stream {
    pub(super) response: ResponseFuture,
    pub(super) send: SendStream<Bytes>,
    pub(super) place: Place,
}

/// The place of a call on a connection. Dropping it frees the place.
pub(super) struct Place {
    streams: Arc<Streams>,
    pool: Arc<Pool>,
}

/// There is no connection to the upstream.
#[derive(Debug)]
pub(super) struct Unavailable;

/// What to do if no connection takes a call.
enum Next {
    WaitForConnection(watch::Receiver<Option<bool>>),
    WaitForPlace,
}

impl Pool {
    pub(super) fn new(target: Arc<Target>) -> Self {
        let (state, place) = (Mutex::default(), Notify::new());
        Self { target, state, place, waiting: AtomicUsize::new(0) }
    }

    /// Begins a call. Without a free connection, connects first. Takes the head if there is a
    /// connection.
    pub(super) async fn begin(
        self: &Arc<Self>,
        head: &mut Option<Request<()>>,
        is_end: bool,
    ) -> Result<Stream, Unavailable> {
        // The connection that a call has waited for may be full, or broken, when its turn comes.
        if let Some(stream) = self.try_begin(head, is_end)? {
            return Ok(stream);
        }
        // This is rare, and would take its memory in each call.
        Box::pin(self.begin_later(head, is_end)).await
    }

    /// Begins a call once a connection has room for it.
    async fn begin_later(
        self: &Arc<Self>,
        head: &mut Option<Request<()>>,
        is_end: bool,
    ) -> Result<Stream, Unavailable> {
        let wait = async {
            loop {
                let place = self.place.notified();
                let mut place = pin!(place);
                place.as_mut().enable();
                match self.next() {
                    Next::WaitForConnection(mut attempt) => {
                        let connected = attempt.wait_for(Option::is_some).await;
                        if !connected.is_ok_and(|connected| *connected == Some(true)) {
                            return Err(Unavailable);
                        }
                    }
                    Next::WaitForPlace => {
                        self.waiting.fetch_add(1, Relaxed);
                        let _waiting = Waiting(&self.waiting);
                        place.await;
                    }
                }
                if let Some(stream) = self.try_begin(head, is_end)? {
                    return Ok(stream);
                }
            }
        };
        // Connecting has the same limit, and ends a little earlier.
        let limit = self.target.config.connect_timeout + Duration::from_millis(100);
        timeout(limit, wait).await.unwrap_or(Err(Unavailable))
    }

    /// Begins a call on the first connection that has room. Forgets connections that are broken or
    /// too old.
    fn try_begin(
        self: &Arc<Self>,
        head: &mut Option<Request<()>>,
        is_end: bool,
    ) -> Result<Option<Stream>, Unavailable> {
        let mut state = self.lock();
        let (now, mut index) = (Instant::now(), 0);
        while let Some(open) = state.open.get_mut(index) {
            match open.poll_room(now) {
                Poll::Pending => index += 1,
                Poll::Ready(Err(_)) => drop(state.open.swap_remove(index)),
                Poll::Ready(Ok(())) => {
                    let Some(head) = head.take() else { return Err(Unavailable) };
                    let (response, send) =
                        open.send.send_request(head, is_end).map_err(|_| Unavailable)?;
                    open.streams.count.fetch_add(1, Relaxed);
                    let streams = Arc::clone(&open.streams);
                    let place = Place { streams, pool: Arc::clone(self) };
                    return Ok(Some(Stream { response, send, place }));
                }
            }
        }
        Ok(None)
    }

    /// Says what a call waits for. Connects unless this is under way.
    fn next(self: &Arc<Self>) -> Next {
        let mut state = self.lock();
        if let Some(attempt) = &state.connecting {
            return Next::WaitForConnection(attempt.clone());
        }
        if state.open.len() >= MAX_CONNECTIONS {
            return Next::WaitForPlace;
        }
        let (result, attempt) = watch::channel(None);
        state.connecting = Some(attempt.clone());
        // A call that is given up does not end the attempt, for which others wait.
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let connected = pool.connect().await;
            let is_connected = connected.is_some();
            let mut state = pool.lock();
            state.connecting = None;
            state.open.extend(connected);
            drop(state);
            result.send_replace(Some(is_connected));
        });
        Next::WaitForConnection(attempt)
    }

    async fn connect(&self) -> Option<Open> {
        let Target { section, config, outages, .. } = &*self.target;
        let connected = timeout(config.connect_timeout, self.handshake()).await;
        match connected.unwrap_or_else(|_| Err(not_in_time())) {
            Ok(open) => Some(open),
            Err(error) => {
                outages.record(section, &error);
                None
            }
        }
    }

    /// Connects, and waits until the upstream has said how many calls it allows.
    async fn handshake(&self) -> io::Result<Open> {
        let cork = Cork::new(ReadAhead::new(self.target.connect().await?));
        let (send, connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(MAX_SEND_BUFFER)
            .max_header_list_size(MAX_HEADER_LIST)
            .enable_push(false)
            .initial_max_send_streams(0)
            .handshake::<_, Bytes>(cork.clone())
            .await
            .map_err(io::Error::other)?;
        let mut connection = Box::pin(Corked::new(connection, cork));
        poll_fn(|cx| match connection.as_mut().poll(cx) {
            Poll::Ready(ended) => {
                Poll::Ready(ended.and(Err(h2::Error::from(h2::Reason::CONNECT_ERROR))))
            }
            Poll::Pending if send.current_max_send_streams() == 0 => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await
        .map_err(io::Error::other)?;
        let section = self.target.section;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(upstream = section, %error, "a connection has failed");
            }
        });
        let age = MAX_AGE.mul_f64(fastrand::f64().mul_add(0.1, 0.9));
        let retire_at = Instant::now() + age;
        Ok(Open { send, streams: Arc::default(), retire_at })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Returns whether the connection takes a call now (ready), later (pending), or never (an
    /// error).
    fn poll_room(&mut self, now: Instant) -> Poll<Result<(), ()>> {
        if now >= self.retire_at || self.streams.is_retired.load(Relaxed) {
            return Poll::Ready(Err(()));
        }
        match self.send.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
            Poll::Pending => return Poll::Pending,
        }
        let room = self.send.current_max_send_streams().min(MAX_STREAMS);
        match self.streams.count.load(Relaxed) < room {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }
}

impl Place {
    /// Lets the connection get no more calls.
    pub(super) fn retire_connection(&self) {
        self.streams.is_retired.store(true, Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.streams.count.fetch_sub(1, Relaxed);
        if self.pool.waiting.load(Relaxed) != 0 {
            self.pool.place.notify_one();
        }
    }
}

/// Counts a call that waits for a place until this value is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("target", &self.target).finish_non_exhaustive()
    }
}
