//! What the example programs share: everything an OTLP receiver does besides authentication.
//!
//! The programs themselves show where `otlp-auth` goes:
//!
//! | program | shows |
//! |---|---|
//! | `receiver-tonic` | [`AuthenticateLayer`](otlp_auth::server::AuthenticateLayer) on a tonic `Server` |
//! | `receiver-axum` | the same on an axum `Router` |
//! | `receiver-hyper` | the same on a tower service, served by hyper |
//! | `otlp-exporter` | [`BearerTokenAuth`](otlp_auth::client::BearerTokenAuth) under the exporters of opentelemetry-rust |
//!
//! Each receiver serves OTLP/gRPC and OTLP/HTTP on one port and prints a line for each batch it
//! accepts.

mod args;
pub mod collector_config;
mod content;
mod otlp;
mod process;
mod receiver;
mod tls;

pub use args::ReceiverArgs;
pub use otlp::{Accepted, Signal, Transport};
pub use process::{log_to_stderr, print_line, report_reloads, stop_signal};
pub use receiver::{MAX_BATCH_BYTES, Receiver};
pub use tls::{TlsListener, server_config};
