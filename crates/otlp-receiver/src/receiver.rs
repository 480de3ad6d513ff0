//! The receiver: one tower service for both transports.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body;
use tower::{BoxError, Service};

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
/// The receiver tells OTLP/gRPC and OTLP/HTTP apart by the content type, so that one port can serve
/// both transports. Clones of a receiver share the sink.
///
/// A receiver must run within a Tokio runtime. It trusts every request, so put an authentication
/// layer in front of it.
#[derive(Clone)]
pub struct Receiver {
    sink: Arc<Sink>,
    /// The only transport that is served. `None` means that the content type of each request
    /// decides.
    only: Option<Transport>,
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
        Self { sink: Arc::new(sink), only: None, max_body: MAX_DECODED_BYTES }
    }

    /// Serves only one transport. Every request is treated as a request of `transport`, whatever
    /// its content type is.
    #[must_use]
    pub fn only(self, transport: Transport) -> Self {
        Self { only: Some(transport), ..self }
    }

    /// Limits how many bytes the body of a request may have on the wire. The default is 20 MiB.
    ///
    /// [`MAX_DECODED_BYTES`] limits how many bytes the decompressed body may have.
    #[must_use]
    pub fn with_max_body(self, bytes: usize) -> Self {
        Self { max_body: bytes, ..self }
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
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let receiver = self.clone();
        let request = request.map(tonic::body::Body::new);
        Box::pin(async move {
            let transport = receiver.only.unwrap_or_else(|| Transport::of(request.headers()));
            Ok(match transport {
                Transport::Grpc => grpc::receive(&receiver, request).await,
                Transport::Http => otlp_http::receive(&receiver, request).await,
            })
        })
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("only", &self.only)
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}
