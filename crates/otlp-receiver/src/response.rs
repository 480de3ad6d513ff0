//! The body of a response over OTLP/gRPC or OTLP/HTTP.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};

/// A gRPC message without bytes, which is an `Export*ServiceResponse` without fields: not
/// compressed, and of length 0.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The body of a response over OTLP/gRPC or OTLP/HTTP.
#[derive(Debug, Default)]
pub struct ResponseBody {
    content: Bytes,
    trailers: Option<HeaderMap>,
}

impl ResponseBody {
    pub(crate) fn full(content: Bytes) -> Self {
        Self { content, trailers: None }
    }

    /// Makes the response to a call that succeeded: a message, and the status in the trailers.
    pub(crate) fn grpc_success() -> Response<Self> {
        let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
        let content = Bytes::from_static(EMPTY_MESSAGE);
        let mut response = Response::new(Self { content, trailers: Some(trailers) });
        let content_type = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.content.is_empty() {
            true => self.trailers.take().map(Frame::trailers),
            false => Some(Frame::data(std::mem::take(&mut self.content))),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // With an exact size, hyper would add `content-length`, after which some clients do not
        // read the trailers.
        match self.trailers {
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(self.content.len() as u64),
        }
    }
}
