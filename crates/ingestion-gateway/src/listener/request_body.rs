//! The body of a request, which fails when its sender makes no progress.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use otlp_receiver::body;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Awaiting};
use super::http1;
use super::http2::Http2Body;
use crate::ticker::{Alarm, passed_between};

/// How long a body may make no progress once the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The number of ticks between two looks at a body that makes no progress. A body that waited for a
/// signal instead would take a lock that all requests share.
const LOOK: u64 = 2;

/// A body made no progress for too long.
#[derive(Debug, thiserror::Error)]
#[error("the body makes no progress")]
struct Stalled;

/// Where a body comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A plain request of HTTP/1.1.
    Plain(http1::PlainBody),
    /// Any other request of HTTP/1.1.
    Http1(Incoming),
    Http2(Http2Body),
}

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
    bodies: Arc<Bodies>,
    alarm: Alarm,
    /// Since which tick the body makes no progress.
    waiting: Option<(u64, Awaiting)>,
    /// The tick at which the body was seen to wait after the server has begun to stop.
    stopping_since: Option<u64>,
}

/// What the bodies of the requests of one connection share.
#[derive(Debug)]
pub(crate) struct Bodies {
    idle_timeout: Duration,
    stop: CancellationToken,
    activity: Arc<Activity>,
}

impl Bodies {
    pub(crate) fn new(
        activity: Arc<Activity>,
        idle_timeout: Duration,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self { idle_timeout, stop, activity })
    }
}

impl RequestBody {
    /// Takes the body of a request.
    pub(crate) fn of(request: Request<Source>, bodies: Arc<Bodies>) -> Request<Self> {
        // HTTP/2 can refuse one request and go on with the others. A sender that expects
        // `100 Continue` has not begun to write.
        let is_thrown_away =
            request.version() <= Version::HTTP_11 && !request.headers().contains_key(EXPECT);
        let (alarm, waiting, stopping_since) = (Alarm::default(), None, None);
        request.map(|inner| Self {
            inner: Some(inner),
            is_thrown_away,
            bodies,
            alarm,
            waiting,
            stopping_since,
        })
    }

    /// Waits until the body has made no progress for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Bodies { idle_timeout, stop, activity, .. } = &*self.bodies;
        let now = self.alarm.set(cx, LOOK);
        let (since, _) = self.waiting.get_or_insert_with(|| (now, activity.wait()));
        if self.stopping_since.is_none() && stop.is_cancelled() {
            self.stopping_since = Some(now);
        }
        let is_cut = self
            .stopping_since
            .is_some_and(|stopping| passed_between(stopping.max(*since), now) >= STOP_TIMEOUT);
        match is_cut || passed_between(*since, now) >= *idle_timeout {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Plain(body) => {
                body.poll_part(cx).map(|part| part.map(|part| Ok(Frame::data(part?))))
            }
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(body) => body.left() == 0,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => SizeHint::with_exact(body.left()),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
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
            if let Some(Ok(frame)) = &frame {
                self.bodies.activity.received(frame.data_ref().map_or(0, Bytes::len));
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

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(mut rest) = self.inner.take().filter(|_| self.is_thrown_away) else { return };
        if let Source::Plain(body) = &mut rest {
            body.skip_arrived();
        }
        body::throw_away(rest);
    }
}
