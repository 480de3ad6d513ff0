//! The body of a response, which counts as being written until the connection has taken it.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::activity::Answering;

pin_project! {
    /// A body with a guard that lives as long as the body.
    pub(crate) struct ResponseBody<B> {
        #[pin]
        inner: B,
        _answering: Answering,
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn new(inner: B, answering: Answering) -> Self {
        Self { inner, _answering: answering }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
