//! The body of a request, which fails when its sender makes no progress.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

/// How long a body may make no progress once the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The time between two looks at a body that makes no progress. A body that waited for a signal
/// instead would take a lock that all requests share.
const LOOK: Duration = Duration::from_secs(1);

/// A body made no progress for too long.
#[derive(Debug, thiserror::Error)]
#[error("the body makes no progress")]
struct Stalled;

/// The body of a request as a service receives it. Reading the body fails after
/// `limits.idle_timeout` without progress, and once the server stops, after 2 s without progress.
#[derive(Debug)]
pub(crate) struct RequestBody {
    inner: Incoming,
    idle_timeout: Duration,
    stop: CancellationToken,
    /// Since when the body makes no progress.
    waiting_since: Option<Instant>,
    stopping_since: Option<Instant>,
    next_look: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(crate) fn new(inner: Incoming, idle_timeout: Duration, stop: CancellationToken) -> Self {
        let (waiting_since, stopping_since, next_look) = (None, None, None);
        Self { inner, idle_timeout, stop, waiting_since, stopping_since, next_look }
    }

    /// Waits until the body has made no progress for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let look = LOOK.min(self.idle_timeout);
        let now = Instant::now();
        let next_look = self.next_look.get_or_insert_with(|| Box::pin(tokio::time::sleep(look)));
        let since = *self.waiting_since.get_or_insert_with(|| {
            next_look.as_mut().reset(now + look);
            now
        });
        loop {
            ready!(next_look.as_mut().poll(cx));
            let now = Instant::now();
            if self.stopping_since.is_none() && self.stop.is_cancelled() {
                self.stopping_since = Some(now);
            }
            let stopped = self.stopping_since.map(|stopping| stopping.max(since) + STOP_TIMEOUT);
            let idle = since + self.idle_timeout;
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
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            self.waiting_since = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        self.poll_stalled(cx).map(|()| Some(Err(Stalled.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
