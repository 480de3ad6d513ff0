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
    inner: Option<Incoming>,
    /// Whether the body is read and thrown away when this value is dropped.
    is_thrown_away: bool,
    idle_timeout: Duration,
    stop: CancellationToken,
    activity: Arc<Activity>,
    /// The tick since which the body makes no progress.
    waiting: Option<(u64, Awaiting)>,
    stopping_since: Option<u64>,
    next_look: Option<u64>,
    alarm: Alarm,
}

impl RequestBody {
    /// Takes the body of a request.
    pub(crate) fn of(
        request: Request<Incoming>,
        idle_timeout: Duration,
        stop: CancellationToken,
        activity: Arc<Activity>,
    ) -> Request<Self> {
        // HTTP/2 can refuse one request and go on with the others. A sender that expects
        // `100 Continue` has not begun to write.
        let is_thrown_away =
            request.version() <= Version::HTTP_11 && !request.headers().contains_key(EXPECT);
        let (waiting, stopping_since, next_look) = (None, None, None);
        request.map(|inner| Self {
            inner: Some(inner),
            is_thrown_away,
            idle_timeout,
            stop,
            activity,
            waiting,
            stopping_since,
            next_look,
            alarm: Alarm::default(),
        })
    }

    /// Waits until the body has made no progress for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.alarm.set(cx, LOOK);
        let activity = &self.activity;
        let (since, _) = self.waiting.get_or_insert_with(|| (now, activity.wait()));
        if now < *self.next_look.get_or_insert(now + LOOK) {
            return Poll::Pending;
        }
        self.next_look = Some(now + LOOK);
        if self.stopping_since.is_none() && self.stop.is_cancelled() {
            self.stopping_since = Some(now);
        }
        let has_passed = |since, timeout| passed_between(since, now) >= timeout;
        let is_stopped = self
            .stopping_since
            .is_some_and(|stopping| has_passed(stopping.max(*since), STOP_TIMEOUT));
        match is_stopped || has_passed(*since, self.idle_timeout) {
            true => Poll::Ready(()),
            false => Poll::Pending,
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
                self.activity.received(frame.data_ref().map_or(0, Bytes::len));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
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
        if let Some(rest) = self.inner.take().filter(|_| self.is_thrown_away) {
            body::throw_away(rest);
        }
    }
}
