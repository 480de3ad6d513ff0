//! The body of an allowed request, whose bytes are counted.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use ingestion_keys::cache::KeyHandle;
use otlp_auth::Identity;
use pin_project_lite::pin_project;

/// The number of bytes after which a body that has not ended is counted, so that the usage of a
/// stream that stays open for days is seen.
const COUNTED_AT_ONCE: u64 = 256 << 10;

pin_project! {
    /// The body of an allowed request. Its bytes are counted when it ends, and in between if it is
    /// large.
    pub(crate) struct RequestBody<B> {
        #[pin]
        body: B,
        received: Received,
    }
}

/// The bytes of a body that are not counted yet. They are counted when this value is dropped.
struct Received {
    identity: Option<Identity>,
    bytes: u64,
}

impl<B> RequestBody<B> {
    pub(super) fn new(body: B, identity: Option<Identity>) -> Self {
        Self { body, received: Received { identity, bytes: 0 } }
    }
}

impl<B: Body<Data = Bytes>> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                this.received.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if this.received.bytes >= COUNTED_AT_ONCE {
                    this.received.count();
                }
            }
            Some(Err(_)) | None => this.received.count(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    // The receiver refuses a body by its length.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Received {
    fn count(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes > 0
            && let Some(handle) = self.identity.as_ref().and_then(Identity::handle::<KeyHandle>)
        {
            handle.add_bytes(bytes);
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.count();
    }
}
