//! Serves a connection of HTTP/2.
//!
//! One task serves the connection and its requests. So a request begins in the poll that has read
//! it, and the whole response goes out in the poll in which it is ready.

mod body;
mod exchange;
mod keep_alive;
mod wakes;

use std::convert::Infallible;
use std::error::Error;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{PingPong, Reason, RecvStream};
use http::{Method, Request, Response};
use hyper::body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop;

pub(crate) use self::body::Http2Body;
use self::exchange::Exchange;
use self::wakes::{Wakes, Woken};
use super::activity::Activity;
use super::request_body::Source;
use super::seldom::Seldom;
use crate::config::LimitsConfig;

/// How much of the bodies of one connection may be on its way, and how much of one body.
const WINDOW: u32 = 1 << 20;

/// How much of a response may wait to be written.
const MAX_SEND_BUFFER: usize = 400 << 10;

/// The largest number of streams that this side may reset because of wrong frames.
const MAX_RESETS: usize = 1024;

/// How often the requests and the connection are polled until another task gets its turn.
const ROUNDS: usize = 16;

/// The number of places whose memory is kept for further requests.
const KEPT: usize = 8;

/// A connection that serves requests when it is polled.
#[must_use = "futures do nothing unless polled"]
pub(super) struct Http2<T, H, F, B> {
    state: State<T>,
    handler: H,
    places: Vec<Place<F, B>>,
    /// The places without a request.
    free: Vec<usize>,
    wakes: Arc<Wakes>,
    /// Wakes the connection.
    waker: Waker,
    woken: Woken,
    /// Whether no further request begins.
    closes: bool,
    activity: Arc<Activity>,
    idle_timeout: Duration,
    ping_timeout: Duration,
}

enum State<T> {
    Shaking { handshake: Handshake<T, Bytes> },
    Serving { connection: Connection<T, Bytes>, peer_is_gone: Gone },
}

type Gone = Seldom<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// The memory for a request, which is pinned and used again.
type Memory<F, B> = Pin<Box<Option<Exchange<F, B>>>>;

/// A place for a request.
struct Place<F, B> {
    /// The memory for a request, and the request if there is one.
    exchange: Option<Memory<F, B>>,
    /// Wakes the request.
    waker: Waker,
}

/// Why a connection has failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("the connection has broken")]
    Broken(#[from] h2::Error),
    #[error("the peer does not answer a ping")]
    Silent,
}

impl<T, H, F, B> Http2<T, H, F, B>
where
    T: AsyncRead + AsyncWrite + Unpin,
    H: FnMut(Request<Source>) -> F,
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    /// Serves the requests on `connection` with `handler`.
    pub(super) fn new(
        connection: T,
        handler: H,
        limits: &LimitsConfig,
        activity: Arc<Activity>,
    ) -> Self {
        let max_header_size = u32::try_from(limits.max_header_size.bytes()).unwrap_or(u32::MAX);
        let handshake = Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_send_buffer_size(MAX_SEND_BUFFER)
            .max_local_error_reset_streams(Some(MAX_RESETS))
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(max_header_size)
            .handshake(connection);
        let wakes = Arc::<Wakes>::default();
        wakes.wake(None);
        Self {
            state: State::Shaking { handshake },
            handler,
            places: Vec::new(),
            free: Vec::new(),
            waker: wakes.of_connection(),
            wakes,
            woken: Woken::default(),
            closes: false,
            activity,
            idle_timeout: limits.idle_timeout,
            ping_timeout: limits.header_read_timeout,
        }
    }

    /// Begins no further request, and ends once the requests in flight have ended.
    pub(super) fn graceful_shutdown(&mut self) {
        self.closes = true;
        if let State::Serving { connection, .. } = &mut self.state {
            connection.graceful_shutdown();
        }
        self.wakes.wake(None);
    }

    /// Polls everybody who was woken, until nobody is.
    fn poll_woken(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if let State::Serving { connection, peer_is_gone } = &mut self.state
            && Pin::new(peer_is_gone).poll(cx).is_ready()
        {
            connection.abrupt_shutdown(Reason::NO_ERROR);
            let _ = connection.poll_closed(&mut Context::from_waker(&self.waker));
            return Poll::Ready(Err(Failed::Silent));
        }
        for _ in 0..ROUNDS {
            self.wakes.take(&mut self.woken);
            if self.woken.is_empty() || !coop::has_budget_remaining() {
                break;
            }
            let mut requests = mem::take(&mut self.woken.requests);
            requests.drain(..).for_each(|place| self.poll_request(place));
            self.woken.requests = requests;
            if mem::take(&mut self.woken.connection)
                && let Poll::Ready(ended) = self.poll_connection()
            {
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    }

    /// Reads and writes, and begins the requests that have arrived.
    fn poll_connection(&mut self) -> Poll<Result<(), Failed>> {
        loop {
            let cx = &mut Context::from_waker(&self.waker);
            match &mut self.state {
                State::Shaking { handshake } => {
                    let mut connection = ready!(Pin::new(handshake).poll(cx))?;
                    if self.closes {
                        connection.graceful_shutdown();
                    }
                    let peer_is_gone = self.watch_peer(connection.ping_pong());
                    self.state = State::Serving { connection, peer_is_gone };
                }
                State::Serving { connection, .. } => match ready!(connection.poll_accept(cx)) {
                    Some(Ok((request, respond))) => self.begin(request, respond),
                    Some(Err(error)) => return Poll::Ready(Err(error.into())),
                    None => return Poll::Ready(Ok(())),
                },
            }
        }
    }

    fn watch_peer(&self, pings: Option<PingPong>) -> Gone {
        let (activity, interval) = (Arc::clone(&self.activity), self.idle_timeout);
        let patience = self.ping_timeout;
        Seldom::new(Box::pin(async move {
            match pings {
                Some(pings) => keep_alive::peer_is_gone(pings, activity, interval, patience).await,
                None => std::future::pending().await,
            }
        }))
    }

    fn begin(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let is_head = request.method() == Method::HEAD;
        let length = Http2Body::length(request.headers());
        let request = request.map(|stream| Source::Http2(Http2Body::new(stream, length)));
        let exchange = Exchange::new((self.handler)(request), respond, is_head);
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.places.len();
            self.places.push(Place { exchange: None, waker: self.wakes.of_request(index) });
            index
        });
        if let Some(place) = self.places.get_mut(index) {
            place.exchange.get_or_insert_with(|| Box::pin(None)).set(Some(exchange));
            self.poll_request(index);
        }
    }

    fn poll_request(&mut self, index: usize) {
        let Some(Place { exchange: memory, waker }) = self.places.get_mut(index) else { return };
        let exchange = memory.as_mut().and_then(|exchange| exchange.as_mut().as_pin_mut());
        let Some(exchange) = exchange else { return };
        let Poll::Ready(ended) = exchange.poll(&mut Context::from_waker(waker)) else { return };
        if let Err(error) = ended {
            tracing::debug!(%error, "a request has ended early");
        }
        match memory {
            Some(memory) if index < KEPT => memory.set(None),
            _ => *memory = None,
        }
        self.free.push(index);
    }
}

// Requests are pinned in memory of their own, and nothing else is pinned.
impl<T, H, F, B> Unpin for Http2<T, H, F, B> {}

impl<T, H, F, B> Future for Http2<T, H, F, B>
where
    T: AsyncRead + AsyncWrite + Unpin,
    H: FnMut(Request<Source>) -> F,
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    type Output = Result<(), Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        self.wakes.begin(cx.waker());
        let polled = self.poll_woken(cx);
        let Self { wakes, woken, .. } = &mut *self;
        wakes.end(woken);
        polled
    }
}
