//! Receives OTLP over gRPC and HTTP without a pipeline behind it.
//!
//! A [`Receiver`] is a [tower service](tower::Service) over any [`http_body::Body`]. A receiver
//! decodes requests only as far as it needs to count their items, gives the counts to a sink, and
//! responds as the OTLP specification asks. Nothing else of a request is kept.
//!
//! A receiver does not store or forward telemetry, and does not authenticate senders. Put an
//! authentication layer in front of it. The sink gets what such a layer puts into the extensions of
//! a request.
//!
//! # Examples
//!
//! This service receives both transports. Its sink needs the sender that an authentication layer
//! has put into the extensions.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, StatusCode};
//! use http_body_util::Full;
//! use otlp_receiver::{Batch, Receiver, Refusal};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #[derive(Clone)]
//! struct Sender(&'static str);
//!
//! let receiver = Receiver::new(|batch: &Batch<'_>| {
//!     let sender = batch.extensions.get::<Sender>();
//!     let sender = sender.ok_or(Refusal::Internal("the request was not authenticated"))?;
//!     println!("{} sent {} {}", sender.0, batch.items, batch.signal);
//!     Ok(())
//! });
//!
//! let request = Request::post("/v1/logs")
//!     .header("content-type", "application/json")
//!     .extension(Sender("team-a"))
//!     .body(Full::<Bytes>::from(r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}"#))?;
//! let response = receiver.oneshot(request).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! # Ok(()) }
//! ```
//!
//! With hyper, wrap the receiver in `hyper_util::service::TowerToHyperService`. With axum, pass the
//! receiver to `Router::fallback_service`. With tonic, pass such a router to `Routes::from`.
//!
//! # Compressions
//!
//! OTLP/HTTP names the compression in `content-encoding`, and OTLP/gRPC names it in
//! `grpc-encoding`. The names are the same on both transports.
//!
//! | name | format |
//! |---|---|
//! | `gzip` | gzip (RFC 1952), with any number of members |
//! | `zstd` | zstd (RFC 8878), with any window |
//! | `snappy` | a block, or the framed format if the body begins with its identifier |
//! | `x-snappy-framed` | the framed format |
//! | `deflate`, `zlib` | zlib (RFC 1950), or deflate (RFC 1951) if the body has no header of zlib |
//! | `lz4` | one LZ4 frame |
//!
//! # Limits
//!
//! | limit | value | set by |
//! |---|---|---|
//! | bytes of a body on the wire, and of a gRPC message | 20 MiB | [`Receiver::with_max_body`] |
//! | bytes of a request once it is decompressed | 20 MiB | [`MAX_DECODED_BYTES`] |
//! | nesting of JSON | 128 | |
//!
//! The following limits hold for all requests that are received at the same time. A request that
//! exceeds them is refused as [`Busy`](Refusal::Busy), so that its sender sends it again.
//!
//! | limit | for all | for a sender |
//! |---|---|---|
//! | bytes of bodies in memory | 64 MiB, or twice the limit of a body | half of that |
//! | requests of more than 64 KiB, once decompressed, or in `lz4`, that are decoded | the number of processors, at least 2 and at most 4 | half of that |
//! | requests that wait to be decoded | | 256, each for 2 s |
//!
//! # Errors
//!
//! The response to each [`Refusal`] has a `google.rpc.Status`. An OTLP/HTTP response has the status
//! in its body, in the encoding of the request. The status is in JSON if the content type of the
//! request is absent or unknown.
//!
//! | refusal | OTLP/HTTP | OTLP/gRPC | sender |
//! |---|---|---|---|
//! | [`UnknownPath`](Refusal::UnknownPath) | 404 | | drops the batch |
//! | [`UnknownCall`](Refusal::UnknownCall) | | `UNIMPLEMENTED` | drops the batch |
//! | [`NotPost`](Refusal::NotPost) | 405 | 405 | drops the batch |
//! | [`NotGrpc`](Refusal::NotGrpc), [`GrpcWithoutHttp2`](Refusal::GrpcWithoutHttp2), [`UnknownContentType`](Refusal::UnknownContentType) | 415 | | drops the batch |
//! | [`UnknownCompression`](Refusal::UnknownCompression) | 415 | `UNIMPLEMENTED` | drops the batch |
//! | [`TooLarge`](Refusal::TooLarge) | 413 | `RESOURCE_EXHAUSTED` without `RetryInfo` | drops the batch |
//! | [`CorruptCompression`](Refusal::CorruptCompression) | 400 | `INTERNAL` | drops the batch |
//! | [`MalformedFrame`](Refusal::MalformedFrame) | | `INTERNAL` | drops the batch |
//! | [`NotOneMessage`](Refusal::NotOneMessage) | | `UNIMPLEMENTED` | drops the batch |
//! | [`Malformed`](Refusal::Malformed) | 400 | `INVALID_ARGUMENT` | drops the batch |
//! | [`EndedEarly`](Refusal::EndedEarly), [`Busy`](Refusal::Busy) | 503 with `Retry-After` | `UNAVAILABLE` with `RetryInfo` | sends the batch again |
//! | [`UpstreamUnavailable`](Refusal::UpstreamUnavailable) | 503 with `Retry-After` | `UNAVAILABLE` with `RetryInfo` | sends the batch again |
//! | [`Internal`](Refusal::Internal) | 500 | `INTERNAL` | drops the batch |

mod admission;
pub mod body;
mod compression;
mod count;
mod encoding;
mod grpc;
mod http;
mod linger;
mod payload;
mod receiver;
mod refusal;
mod response;
mod response_format;
mod signal;
mod status;
mod transport;

pub use compression::MAX_DECODED_BYTES;
pub use linger::Linger;
pub use receiver::{Batch, Receiver, ResponseFuture};
pub use refusal::Refusal;
pub use response::ResponseBody;
pub use response_format::ResponseFormat;
pub use signal::Signal;
pub use transport::Transport;
