//! Tests of the receiver as its users see it: a tower service, called directly or served by hyper.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod grpc;
mod http;
mod loopback;
mod memory;

use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, Mutex};

use ::http::{HeaderMap, Request, Response, StatusCode};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlp_receiver::{Receiver, Signal, Transport};
use tower::{BoxError, ServiceExt};

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
}

async fn call<B>(receiver: Receiver, request: Request<B>) -> Answer
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let response: Result<Response<_>, Infallible> = receiver.oneshot(request).await;
    let (parts, body) = response.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
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

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
