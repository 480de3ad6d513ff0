//! The body of a response, which counts as being written until the connection has taken it.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::CONNECTION;
use http::{HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::activity::Answering;

/// Marks a response whose body does not end by itself. Its request stays in flight until the body
/// ends: the connection is not idle, and does not give way. This value is in the extensions of
/// the response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LongLived;

pin_project! {
    /// A body, which may be empty, with a guard that lives as long as the body.
    pub(crate) struct ResponseBody<B> {
        #[pin]
        inner: Option<B>,
        _answering: Answering,
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn new(inner: B, answering: Answering) -> Self {
        Self { inner: Some(inner), _answering: answering }
    }

    /// Creates an empty response, after which the connection is closed.
    pub(crate) fn refusal(status: StatusCode, answering: Answering) -> Response<Self> {
        let mut response = Response::new(Self { inner: None, _answering: answering });
        *response.status_mut() = status;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().inner.as_pin_mut() {
            Some(inner) => inner.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
