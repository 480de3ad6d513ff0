//! The sending end, through its public interface: from a header map to real servers on loopback
//! ports.
//!
//! - `builder`: what an authenticator can be made of, and where it may send to
//! - `file`: token files that change
//! - `layer`: refusals and second sendings, with scripted services: `refusals`, `bodies`,
//!   `services`
//! - `interceptor`, `http_client`, `channel` (`calls`, `connections`, `rotation`): the ways out,
//!   with real peers
//! - `metrics`: what is counted

#![cfg(feature = "full")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod builder;
mod channel;
mod file;
mod http_client;
mod interceptor;
mod layer;
mod metrics;
mod support;
