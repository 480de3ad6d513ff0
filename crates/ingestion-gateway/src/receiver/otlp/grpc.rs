//! OTLP/gRPC.

use std::future::ready;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::Buf;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tonic::Status;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::Grpc;
use tower::{BoxError, service_fn};

use super::batch::{self, Signal};
use super::{MAX_DECODED, Receiver};

impl Receiver {
    /// The three services. Those that are generated from the protocol would build every message.
    pub(crate) fn grpc(&self) -> Router {
        let export = |signal: &'static Signal| {
            any(async move |State(receiver): State<Self>, request: Request| {
                receiver.export(signal, request).await
            })
        };
        Router::new()
            .route(
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                export(&batch::TRACES),
            )
            .route(
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
                export(&batch::METRICS),
            )
            .route(
                "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
                export(&batch::LOGS),
            )
            .fallback(async || Status::unimplemented("there is no such call").into_http::<Body>())
            .with_state(self.clone())
    }

    async fn export(&self, signal: &'static Signal, request: Request) -> Response {
        let mut grpc = Grpc::new(Counting(signal))
            .accept_compressed(Gzip)
            .accept_compressed(Zstd)
            .max_decoding_message_size(MAX_DECODED);
        let service =
            service_fn(|request: tonic::Request<usize>| ready(self.grpc_batch(signal, &request)));
        grpc.unary(service, request.map(|body| limited(body, self.max_body))).await.map(Body::new)
    }

    fn grpc_batch(
        &self,
        signal: &Signal,
        request: &tonic::Request<usize>,
    ) -> Result<tonic::Response<()>, Status> {
        self.accept(signal, *request.get_ref(), request.extensions())
            .ok_or_else(|| Status::internal("nobody authenticated the request"))?;
        Ok(tonic::Response::new(()))
    }
}

/// A body of at most so many bytes. tonic finds the status among the causes of the error, and
/// answers with it.
fn limited(body: Body, limit: usize) -> Body {
    let status = |error: BoxError| match error.is::<LengthLimitError>() {
        true => Status::resource_exhausted("the request is too large"),
        // The network's fault and not the batch's, which a sender would drop otherwise.
        false => Status::unavailable("the body ended early"),
    };
    Body::new(Limited::new(body, limit).map_err(status))
}

/// Requests are the number of their items; an answer without a field is full success.
#[derive(Clone, Copy)]
struct Counting(&'static Signal);

impl Codec for Counting {
    type Encode = ();
    type Decode = usize;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Counting {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Counting {
    type Item = usize;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<usize>, Status> {
        let items = self.0.count_protobuf(buffer.copy_to_bytes(buffer.remaining()));
        items.map(Some).map_err(|_| Status::invalid_argument("the message is not an OTLP request"))
    }
}
