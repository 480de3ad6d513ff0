//! The receiving end from outside.
//!
//! | module | what it holds against the library |
//! |---|---|
//! | `answers` | every outcome, on every server, transport and encoding: status, headers, body, byte for byte |
//! | `passing` | what reaches the service behind the layer, and what passes without being asked |
//! | `bodies` | the decision comes before the body; senders in the middle of a body read their answer |
//! | `frames` | what goes over an HTTP/2 connection, frame by frame |
//! | `interceptor` | the synchronous form for one tonic service |
//! | `metrics` | instruments, units and attributes |
//! | `secrets` | what was presented is never repeated |
//! | `hot_path` | a decision allocates nothing |
//!
//! `peers` are the clients and `receivers` the servers that these are made with.
#![cfg(feature = "full")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

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
