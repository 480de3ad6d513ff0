//! Tests the sending end through its public interface, from a header map to real servers on
//! loopback ports.
//!
//! - `builder`: which settings make an authenticator, and where it sends the credential
//! - `file`: token files that change
//! - `layer` (`refusals`, `bodies`, `services`): rejected requests that are sent again, with
//!   scripted services
//! - `interceptor`, `http_client`, `channel` (`calls`, `connections`, `rotation`): the other forms
//!   of the authenticator, with real peers
//! - `metrics`: what is counted

#![cfg(feature = "full")]
#![expect(clippy::unwrap_used, reason = "a test that cannot continue panics")]

mod builder;
mod channel;
mod file;
mod http_client;
mod interceptor;
mod layer;
mod metrics;
mod support;
