//! The server end of the library, through its public API.
//!
//! | module | what it tests |
//! |---|---|
//! | `answers` | every outcome, on every server, transport and encoding: status, headers, body, byte for byte |
//! | `passing` | what reaches the service behind the layer, and what passes without a credential |
//! | `bodies` | a request is decided before its body is read, and a sender in the middle of a body reads its answer |
//! | `frames` | the frames of an HTTP/2 connection |
//! | `interceptor` | the interceptor for one tonic service |
//! | `metrics` | instruments, units and attributes |
//! | `secrets` | a presented credential is never repeated |
//! | `hot_path` | a decision allocates nothing |
//!
//! `peers` holds the clients and `receivers` the servers that these tests use.
#![cfg(feature = "full")]
#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]

mod answers;
mod bodies;
mod frames;
mod hot_path;
mod interceptor;
mod metrics;
mod passing;
mod peers;
mod receivers;
mod secrets;
