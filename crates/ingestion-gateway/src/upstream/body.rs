//! The body of a response.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::grpc::GrpcBody;
use super::http1::HttpBody;

type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a request that can be forwarded.
pub(crate) trait Payload: Body<Data = Bytes> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Payload for B {}

/// The body of a response to a request that was to be forwarded.
pub(crate) enum ResponseBody {
    Empty,
    Full(Bytes),
    /// The answer of a receiver, or a refusal.
    Receiver(otlp_receiver::ResponseBody),
    /// The answer of a route that has nothing to do with the upstream.
    Boxed(axum::body::Body),
    Grpc(GrpcBody),
    Http(HttpBody),
}

impl ResponseBody {
    pub(crate) fn full(content: Bytes) -> Self {
        if content.is_empty() { Self::Empty } else { Self::Full(content) }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(content) => {
                let content = std::mem::take(content);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(content))))
            }
            Self::Receiver(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Boxed(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Grpc(body) => body.poll_frame(cx).map(|frame| frame.map(Ok)),
            Self::Http(body) => body.poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Receiver(body) => body.is_end_stream(),
            Self::Boxed(body) => body.is_end_stream(),
            Self::Grpc(body) => body.is_end_stream(),
            Self::Http(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(content) => SizeHint::with_exact(content.len() as u64),
            Self::Receiver(body) => body.size_hint(),
            Self::Boxed(body) => body.size_hint(),
            Self::Grpc(_) => SizeHint::default(),
            Self::Http(body) => body.size_hint(),
        }
    }
}
