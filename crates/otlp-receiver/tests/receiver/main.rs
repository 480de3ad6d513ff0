//! Tests of the receiver as its users see it: a tower service, called directly or served by hyper.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod grpc;
mod http;
mod loopback;
mod transport;

use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, Mutex};

use ::http::{HeaderMap, Request, Response, StatusCode};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use futures_util::stream;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlp_receiver::{Receiver, Signal, Transport};
use tower::{BoxError, ServiceExt};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

type Accepted = (Signal, usize, Transport);

/// Returns a receiver, and a list of what its sink has accepted so far.
fn recording() -> (Receiver, Arc<Mutex<Vec<Accepted>>>) {
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let batches = Arc::clone(&accepted);
    let receiver = Receiver::new(move |batch| {
        batches.lock().unwrap().push((batch.signal, batch.items, batch.transport));
        Ok(())
    });
    (receiver, accepted)
}

/// A response with its whole body.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    stated_length: Option<u64>,
    trailers: Option<HeaderMap>,
}

async fn call<B>(receiver: Receiver, request: Request<B>) -> Answer
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let response: Result<Response<_>, Infallible> = receiver.oneshot(request).await;
    let (parts, body) = response.unwrap().into_parts();
    let stated_length = body.size_hint().exact();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    let body = body.to_bytes();
    Answer { status: parts.status, headers: parts.headers, body, stated_length, trailers }
}

/// Returns a body that fails after `beginning`.
fn broken(beginning: &'static [u8]) -> impl Body<Data = Bytes, Error = BoxError> + Send + 'static {
    let frames = [Ok(Frame::data(Bytes::from_static(beginning))), Err("connection reset".into())];
    StreamBody::new(stream::iter(frames))
}

fn traces(spans: usize) -> ExportTraceServiceRequest {
    let spans = vec![Span { name: "work".to_owned(), ..Span::default() }; spans];
    let scope = ScopeSpans { spans, ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }
}

/// Returns the name of every compression, and `content` in every format that a sender may send
/// under that name.
fn compressed(content: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let fast = Compression::fast();
    let block = snap::raw::Encoder::new().compress_vec(content).unwrap();
    let mut framed = snap::write::FrameEncoder::new(Vec::new());
    framed.write_all(content).unwrap();
    let framed = framed.into_inner().unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), fast);
    zlib.write_all(content).unwrap();
    let zlib = zlib.finish().unwrap();
    let mut deflate = DeflateEncoder::new(Vec::new(), fast);
    deflate.write_all(content).unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(content).unwrap();
    vec![
        ("gzip", gzip(content)),
        ("zstd", zstd::encode_all(content, 1).unwrap()),
        ("snappy", block),
        ("snappy", framed.clone()),
        ("x-snappy-framed", framed),
        ("deflate", zlib.clone()),
        ("deflate", deflate.finish().unwrap()),
        ("zlib", zlib),
        ("lz4", lz4.finish().unwrap()),
    ]
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
