//! The body of a request, which fails when its sender makes no progress.

use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use otlp_receiver::body;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Awaiting};
use super::http1;

/// How long a body may make no progress once the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The time between two looks at a body that makes no progress. A body that waited for a signal
/// instead would take a lock that all requests share.
const LOOK: Duration = Duration::from_secs(1);

/// A body made no progress for too long.
#[derive(Debug, thiserror::Error)]
#[error("the body makes no progress")]
struct Stalled;

/// The sender has reset the stream of a body before its end.
#[derive(Debug, thiserror::Error)]
#[error("the body was cut short")]
struct CutShort;

/// The body of a request as a service receives it. Reading the body fails after
/// `limits.idle_timeout` without progress, and once the server stops, after 2 s without progress.
///
/// A body of HTTP/1.1 that a service does not begin to read is read in the background and thrown
/// away, so that the connection can carry the next request. Otherwise, hyper would close the
/// connection after the response, without saying so in the response, and the next request of the
/// client would get no response. A body that somebody has begun to read is left to its reader,
/// which reads the rest of a body that it refuses.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// The body. It is only taken when this value is dropped.
    inner: Option<Source>,
    /// Whether the body is read and thrown away when this value is dropped.
    is_thrown_away: bool,
    /// Whether the body shows whether it has arrived to its end.
    shows_end: bool,
    bodies: Arc<Bodies>,
    /// Since when the body makes no progress.
    waiting: Option<(Instant, Awaiting)>,
    stopping_since: Option<Instant>,
    next_look: Option<Pin<Box<Sleep>>>,
}

/// Where a body comes from.
#[derive(Debug)]
pub(super) enum Source {
    Hyper(Incoming),
    /// A plain request of HTTP/1.1.
    Http1(http1::Body),
}

/// What the bodies of the requests of one connection share.
#[derive(Debug)]
pub(crate) struct Bodies {
    idle_timeout: Duration,
    stop: CancellationToken,
    activity: Arc<Activity>,
    /// The timer of a body that has ended, for the next one. It goes on, because beginning a new
    /// one would cost more than a look too many.
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl Bodies {
    pub(crate) fn new(
        activity: Arc<Activity>,
        idle_timeout: Duration,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self { idle_timeout, stop, activity, timer: Mutex::default() })
    }

    fn timer(&self) -> MutexGuard<'_, Option<Pin<Box<Sleep>>>> {
        self.timer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestBody {
    /// Takes the body of a request.
    pub(super) fn of(request: Request<Source>, bodies: Arc<Bodies>) -> Request<Self> {
        // HTTP/2 can refuse one request and go on with the others. A sender that expects
        // `100 Continue` has not begun to write.
        let is_thrown_away =
            request.version() <= Version::HTTP_11 && !request.headers().contains_key(EXPECT);
        let shows_end = request.version() == Version::HTTP_2;
        let (waiting, stopping_since, next_look) = (None, None, None);
        request.map(|inner| Self {
            inner: Some(inner),
            is_thrown_away,
            shows_end,
            bodies,
            waiting,
            stopping_since,
            next_look,
        })
    }

    /// Waits until the body has made no progress for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Bodies { idle_timeout, stop, activity, .. } = &*self.bodies;
        let look = LOOK.min(*idle_timeout);
        let (since, _) = self.waiting.get_or_insert_with(|| (Instant::now(), activity.wait()));
        // The timer goes on while the body makes progress. It looks no more often for that.
        let next_look = self.next_look.get_or_insert_with(|| {
            let timer = self.bodies.timer().take();
            timer.unwrap_or_else(|| Box::pin(tokio::time::sleep(look)))
        });
        loop {
            ready!(next_look.as_mut().poll(cx));
            let now = Instant::now();
            if self.stopping_since.is_none() && stop.is_cancelled() {
                self.stopping_since = Some(now);
            }
            let stopped = self.stopping_since.map(|stopping| stopping.max(*since) + STOP_TIMEOUT);
            let idle = *since + *idle_timeout;
            let end = stopped.map_or(idle, |stopped| stopped.min(idle));
            if now >= end {
                return Poll::Ready(());
            }
            next_look.as_mut().reset(end.min(now + look));
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.is_thrown_away = false;
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) {
            self.waiting = None;
            match &frame {
                Some(Ok(frame)) => {
                    self.bodies.activity.received(frame.data_ref().map_or(0, Bytes::len));
                }
                // hyper takes a stream that was reset with `NO_ERROR` for one that has ended. Some
                // proxies reset a stream so when their own client goes away.
                None if self.shows_end && !self.is_end_stream() => {
                    return Poll::Ready(Some(Err(CutShort.into())));
                }
                _ => {}
            }
            return Poll::Ready(frame);
        }
        self.poll_stalled(cx).map(|()| Some(Err(Stalled.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Hyper(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Http1(body) => {
                body.poll_part(cx).map(|part| part.map(|part| Ok(Frame::data(part?))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(body) => body.is_end_stream(),
            Self::Http1(body) => body.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(body) => body.size_hint(),
            Self::Http1(body) => SizeHint::with_exact(body.left()),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(timer) = self.next_look.take() {
            *self.bodies.timer() = Some(timer);
        }
        let Some(mut rest) = self.inner.take().filter(|_| self.is_thrown_away) else { return };
        if let Source::Http1(body) = &mut rest
            && body.skip_arrived()
        {
            return;
        }
        body::throw_away(rest);
    }
}
