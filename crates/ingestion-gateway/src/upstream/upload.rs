//! The body of a request on its way to an upstream of HTTP/1.1.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use otlp_receiver::{Refusal, body};

use super::answer::Failure;
use crate::upstream::body::Payload;

/// The body of a request. It is read when the connection to the upstream has room for it.
///
/// If somebody has begun to read a body that came over HTTP/1.1, and the upstream does not take all
/// of it, the rest is thrown away, so that the client reads the answer before it finds its
/// connection closed. Over HTTP/2, a stream ends without its connection.
pub(super) struct UploadBody<B>
where
    B: Payload,
{
    /// The body, until its end.
    inner: Option<B>,
    /// The number of bytes that may still come.
    left: u64,
    is_http1: bool,
    has_read: bool,
    progress: Arc<Progress>,
}

/// How far the body of a request has come. It belongs to a connection, and is used for one request
/// after the other.
#[derive(Debug, Default)]
pub(super) struct Progress {
    waits_for_client: AtomicBool,
    frames: AtomicU64,
    failure: AtomicU8,
}

/// The body cannot be sent to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not sent to its end")]
pub(super) struct Unsent;

const NONE: u8 = 0;
const ENDED_EARLY: u8 = 1;
const TOO_LARGE: u8 = 2;

impl Progress {
    /// Begins with another request.
    pub(super) fn begin(&self) {
        self.waits_for_client.store(false, Relaxed);
        self.failure.store(NONE, Relaxed);
    }

    /// Returns whether the client has to send more of the body.
    pub(super) fn waits_for_client(&self) -> bool {
        self.waits_for_client.load(Relaxed)
    }

    /// Returns a number that changes when a part of the body is taken.
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Relaxed)
    }

    /// Returns why the body was not sent to its end, if this was not because of the upstream.
    pub(super) fn failure(&self) -> Option<Failure> {
        match self.failure.load(Relaxed) {
            ENDED_EARLY => Some(Failure::Refused(Refusal::EndedEarly)),
            TOO_LARGE => Some(Failure::Refused(Refusal::TooLarge)),
            _ => None,
        }
    }
}

impl<B> UploadBody<B>
where
    B: Payload,
{
    pub(super) fn new(inner: B, limit: u64, is_http1: bool) -> Self {
        Self {
            inner: Some(inner),
            left: limit,
            is_http1,
            has_read: false,
            progress: Arc::default(),
        }
    }

    /// Lets a connection send the body, of which nothing is sent.
    pub(super) fn move_to(&mut self, progress: Arc<Progress>) {
        self.progress = progress;
    }

    fn fail(&self, failure: u8) -> Poll<Option<Result<Frame<Bytes>, Unsent>>> {
        self.progress.failure.store(failure, Relaxed);
        Poll::Ready(Some(Err(Unsent)))
    }
}

impl<B> Body for UploadBody<B>
where
    B: Payload,
{
    type Data = Bytes;
    type Error = Unsent;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unsent>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        this.has_read = true;
        let frame = Pin::new(inner).poll_frame(cx);
        this.progress.waits_for_client.store(frame.is_pending(), Relaxed);
        let frame = match ready!(frame) {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                this.inner = None;
                return this.fail(ENDED_EARLY);
            }
            None => {
                this.inner = None;
                return Poll::Ready(None);
            }
        };
        this.progress.frames.fetch_add(1, Relaxed);
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        match this.left.checked_sub(bytes) {
            Some(left) => this.left = left,
            None => return this.fail(TOO_LARGE),
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for UploadBody<B>
where
    B: Payload,
{
    fn drop(&mut self) {
        if let Some(rest) = self.inner.take().filter(|_| self.is_http1 && self.has_read) {
            body::throw_away(rest);
        }
    }
}
