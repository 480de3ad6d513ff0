//! The body of a request of HTTP/2.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use hyper::body::{Body, Frame, SizeHint};

/// The body of a request. Its sender may send more once a part is taken.
#[derive(Debug)]
pub(crate) struct Http2Body {
    stream: RecvStream,
    /// The number of bytes that still come, if the sender has said so. `h2` sees to it that the
    /// sender keeps its word.
    left: Option<u64>,
    has_data_ended: bool,
}

impl Http2Body {
    pub(super) fn new(stream: RecvStream, length: Option<u64>) -> Self {
        Self { stream, left: length, has_data_ended: false }
    }

    /// Returns the length of a body that a request states.
    pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
        headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }
}

impl Body for Http2Body {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.has_data_ended {
            if let Some(data) = ready!(self.stream.poll_data(cx)?) {
                // It fails only if the stream has ended.
                let _ = self.stream.flow_control().release_capacity(data.len());
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.has_data_ended = true;
        }
        self.stream
            .poll_trailers(cx)
            .map(|trailers| Some(trailers.transpose()?.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Without this, a request without a body would seem to have one of unknown length.
        let left = if self.is_end_stream() { Some(0) } else { self.left };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
