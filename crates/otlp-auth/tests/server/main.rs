//! Tests the server end of the library, through its public API.
//!
//! | module | what it tests |
//! |---|---|
//! | `answers` | the response to every outcome, on every server, transport and encoding |
//! | `passing` | what reaches the service, and which requests pass without a credential |
//! | `bodies` | how the bodies of allowed and rejected requests are read |
//! | `frames` | the frames of an HTTP/2 connection |
//! | `interceptor` | the interceptor for one tonic service |
//! | `metrics` | instruments, units and attributes |
//! | `secrets` | no output repeats a credential that was presented |
//! | `hot_path` | a decision allocates nothing |
//!
//! `peers` contains the clients that these tests use, and `receivers` contains the servers.
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
