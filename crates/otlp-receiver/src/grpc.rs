//! OTLP/gRPC: the `Export` call of the three services.
//!
//! The services that are generated from the protocol would build every message in memory. The
//! services in this module only count the items of a message.

use std::future::ready;

use bytes::Buf;
use http::{Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tonic::Status;
use tonic::body::Body;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::Grpc;
use tower::{BoxError, service_fn};

use crate::compression::MAX_DECODED_BYTES;
use crate::refusal::Refusal;
use crate::response::ResponseBody;
use crate::signal::Signal;
use crate::{Receiver, Transport, count};

/// Receives one call.
pub(crate) async fn receive(receiver: &Receiver, request: Request<Body>) -> Response<ResponseBody> {
    let response = match Signal::of_grpc_path(request.uri().path()) {
        Some(signal) => export(receiver, signal, request).await,
        None => Refusal::UnknownCall.grpc_status().into_http(),
    };
    response.map(ResponseBody::grpc)
}

async fn export(receiver: &Receiver, signal: Signal, request: Request<Body>) -> Response<Body> {
    let accept = service_fn(|request: tonic::Request<usize>| {
        let items = *request.get_ref();
        let accepted = receiver.accept(signal, items, Transport::Grpc, request.extensions());
        ready(accepted.map(tonic::Response::new).map_err(Refusal::grpc_status))
    });
    Grpc::new(CountingCodec(signal))
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .max_decoding_message_size(MAX_DECODED_BYTES)
        .unary(accept, request.map(|body| limited(body, receiver.max_body)))
        .await
}

/// Limits how many bytes a body may have on the wire. The error of the body is a [`Status`],
/// because tonic responds with the status that it finds among the causes of an error.
fn limited(body: Body, limit: usize) -> Body {
    let status = |error: BoxError| match error.is::<LengthLimitError>() {
        true => Refusal::TooLarge.grpc_status(),
        false => Refusal::EndedEarly.grpc_status(),
    };
    Body::new(Limited::new(body, limit).map_err(status))
}

/// Decodes a request into the number of its items. Encodes a response without fields, which means
/// full success.
#[derive(Clone, Copy)]
struct CountingCodec(Signal);

impl Codec for CountingCodec {
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

impl Encoder for CountingCodec {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for CountingCodec {
    type Item = usize;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<usize>, Status> {
        let request = buffer.copy_to_bytes(buffer.remaining());
        count::protobuf(self.0, request).map(Some).map_err(|_| Refusal::Malformed.grpc_status())
    }
}
