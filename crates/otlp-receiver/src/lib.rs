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
//! # Limits
//!
//! | limit | value | set by |
//! |---|---|---|
//! | bytes of a body on the wire | 20 MiB | [`Receiver::with_max_body`] |
//! | bytes of a request once it is decompressed | 20 MiB | [`MAX_DECODED_BYTES`] |
//! | memory that a zstd frame of OTLP/HTTP may ask for | 32 MiB | |
//! | nesting of JSON | 128 | |
//!
//! # Errors
//!
//! The response to each [`Refusal`] has a `google.rpc.Status`. An OTLP/HTTP response has the status
//! in its body, in the encoding of the request. The status is in JSON if the content type of the
//! request is absent or unknown.
//!
//! | refusal | OTLP/HTTP | OTLP/gRPC | sender |
//! |---|---|---|---|
//! | [`UnknownPath`](Refusal::UnknownPath), [`UnknownCall`](Refusal::UnknownCall) | 404 | `UNIMPLEMENTED` | drops the batch |
//! | [`NotPost`](Refusal::NotPost) | 405 | | drops the batch |
//! | [`UnknownContentType`](Refusal::UnknownContentType) | 415 | | drops the batch |
//! | [`UnknownCompression`](Refusal::UnknownCompression) | 415 | `UNIMPLEMENTED` | drops the batch |
//! | [`TooLarge`](Refusal::TooLarge) | 413 | `RESOURCE_EXHAUSTED`; `OUT_OF_RANGE` above 20 MiB uncompressed | drops the batch |
//! | [`CorruptCompression`](Refusal::CorruptCompression) | 400 | `INTERNAL` | drops the batch |
//! | [`Malformed`](Refusal::Malformed) | 400 | `INVALID_ARGUMENT` | drops the batch |
//! | [`EndedEarly`](Refusal::EndedEarly) | 503 with `Retry-After` | `UNAVAILABLE` | sends the batch again |
//! | [`Internal`](Refusal::Internal) | 500 | `INTERNAL` | drops the batch |

pub mod body;
mod compression;
mod count;
mod encoding;
mod grpc;
mod http;
mod linger;
mod receiver;
mod refusal;
mod response;
mod signal;
mod status;
mod transport;

pub use compression::MAX_DECODED_BYTES;
pub use linger::Linger;
pub use receiver::{Batch, Receiver, ResponseFuture};
pub use refusal::Refusal;
pub use response::ResponseBody;
pub use signal::Signal;
pub use transport::Transport;
