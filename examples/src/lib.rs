//! What the example programs share: their command line, TLS, and the line they print for a batch.
//!
//! The programs themselves show how to use `otlp-auth`:
//!
//! | program | shows |
//! |---|---|
//! | `receiver-tonic` | [`AuthenticateLayer`](otlp_auth::server::AuthenticateLayer) on a tonic `Server` |
//! | `receiver-axum` | the same on an axum `Router` |
//! | `receiver-follower` | a receiver that accepts the keys of a gateway, which it follows |
//! | `receiver-hyper` | the same on a tower service, served by hyper |
//! | `otlp-exporter` | [`BearerTokenAuth`](otlp_auth::client::BearerTokenAuth) under the exporters of opentelemetry-rust |
//!
//! Each receiver is an [`otlp_receiver::Receiver`]: it serves OTLP/gRPC and OTLP/HTTP on one port.
//! It prints a line for each batch that it accepts.

mod accepted;
mod args;
pub mod collector_config;
mod listener;
mod process;
mod tls;

pub use accepted::{Accepted, receiver};
pub use args::{ReceiverArgs, bind};
pub use listener::{Connection, Listener};
pub use otlp_receiver::Signal;
pub use process::{log_to_stderr, print_line, report_reloads, stop_signal};
pub use tls::{TlsListener, server_config};
