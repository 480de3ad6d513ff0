//! The receiver: one tower service for both transports.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Extensions, Method, Request, Response};
use http_body::Body;
use otlp_auth::Identity;
use tower::Service;

use crate::admission::{Admission, Admitted};
use crate::compression::MAX_DECODED_BYTES;
use crate::{Refusal, ResponseBody, Signal, Transport, grpc, http as otlp_http};

/// A batch of telemetry that was received.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Batch<'a> {
    /// The kind of telemetry.
    pub signal: Signal,
    /// How many spans, metric data points or log records the batch has.
    pub items: usize,
    /// The transport over which the batch arrived.
    pub transport: Transport,
    /// The extensions of the request. Layers in front of the receiver have added them, for example
    /// the identity of the sender.
    pub extensions: &'a Extensions,
}

/// A function that gets each batch before the sender gets the response.
type Sink = dyn Fn(&Batch<'_>) -> Result<(), Refusal> + Send + Sync;

/// The future of a [`Receiver`]'s response.
pub type ResponseFuture =
    Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>> + Send>>;

/// A [tower service](Service) that receives OTLP requests, counts their items and hands the counts
/// to a sink.
///
/// The receiver tells OTLP/gRPC and OTLP/HTTP apart by the content type, so that one port serves
/// both transports, and a sender cannot choose the wrong one. Clones of a receiver share the sink
/// and the [limits](crate#limits).
///
/// Large requests are decoded on Tokio's threads for blocking work, a few at a time. No sender can
/// take more than half of what the receiver has. Requests belong to the same sender if they have
/// the same [`Identity`] in their extensions, or none.
///
/// A receiver must run within a Tokio runtime whose timers are enabled. It trusts every request, so
/// put an authentication layer in front of it.
#[derive(Clone)]
pub struct Receiver {
    sink: Arc<Sink>,
    pub(crate) admission: Arc<Admission>,
    /// The largest number of bytes that the body of a request may have on the wire.
    pub(crate) max_body: usize,
}

impl Receiver {
    /// Creates a receiver for both transports. The receiver calls `sink` for each batch before it
    /// responds to the sender. `sink` must not block, because it runs on a thread of the runtime.
    ///
    /// When `sink` returns a [`Refusal`], the response to the batch is this refusal instead of
    /// success.
    pub fn new<F>(sink: F) -> Self
    where
        F: Fn(&Batch<'_>) -> Result<(), Refusal> + Send + Sync + 'static,
    {
        Self {
            sink: Arc::new(sink),
            admission: Arc::new(Admission::new()),
            max_body: MAX_DECODED_BYTES,
        }
    }

    /// Limits how many bytes the body of a request may have on the wire. The default is 20 MiB.
    ///
    /// [`MAX_DECODED_BYTES`] limits how many bytes the decompressed body may have.
    #[must_use]
    pub fn with_max_body(self, bytes: usize) -> Self {
        Self { max_body: bytes, ..self }
    }

    /// Reads and decompresses the body of a request that is not OTLP, and returns what `decode`
    /// makes of it. The [limits](crate#limits) and the compressions are those of OTLP requests. The
    /// sink is not called.
    ///
    /// # Errors
    ///
    /// [`UnknownCompression`](Refusal::UnknownCompression),
    /// [`CorruptCompression`](Refusal::CorruptCompression), [`TooLarge`](Refusal::TooLarge),
    /// [`EndedEarly`](Refusal::EndedEarly), [`Busy`](Refusal::Busy), or the error of `decode`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::Request;
    /// use http_body_util::Full;
    /// use otlp_receiver::{Receiver, Refusal};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let receiver = Receiver::new(|_| Ok(()));
    /// let request = Request::post("/lines").body(Full::<Bytes>::from("one\ntwo\n"))?;
    /// let lines = receiver.decode(request, |text| Ok(text.split(|byte| *byte == b'\n').count()));
    /// assert_eq!(lines.await, Ok(3));
    /// # Ok(()) }
    /// ```
    pub async fn decode<B, T, F>(&self, request: Request<B>, decode: F) -> Result<T, Refusal>
    where
        B: Body<Data = Bytes> + Send + 'static,
        T: Send + 'static,
        F: Fn(&[u8]) -> Result<T, Refusal> + Send + 'static,
    {
        let (parts, body) = request.into_parts();
        otlp_http::decode(self, &parts, Box::pin(body), decode).await
    }

    /// Begins to receive a request with these extensions.
    pub(crate) fn admit(&self, extensions: &Extensions) -> Admitted {
        self.admission.admit(extensions.get::<Identity>().cloned(), self.max_body)
    }

    pub(crate) fn accept(
        &self,
        signal: Signal,
        items: usize,
        transport: Transport,
        extensions: &Extensions,
    ) -> Result<(), Refusal> {
        (self.sink)(&Batch { signal, items, transport, extensions })
    }
}

impl<B> Service<Request<B>> for Receiver
where
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let receiver = self.clone();
        let request = request.map(Box::pin);
        Box::pin(async move {
            let is_post = request.method() == Method::POST;
            Ok(match Transport::of(request.headers(), request.version()) {
                // Every call of gRPC is a `POST`, so other methods are answered over HTTP.
                Transport::Grpc if is_post => grpc::receive(&receiver, request).await,
                _ => otlp_http::receive(&receiver, request).await,
            })
        })
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("max_body", &self.max_body).finish_non_exhaustive()
    }
}
