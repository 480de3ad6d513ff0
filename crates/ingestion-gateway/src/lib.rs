//! The gateway: it issues ingestion API keys and lets telemetry in by them.
//!
//! | module | is |
//! |---|---|
//! | [`config`] | what it is told, and every default |
//! | [`run()`] | everything it consists of, from start to stop |
//! | `management` | the management API |
//! | `authorize` | the authorize endpoint: is this key good? |
//! | `agent`, `otlp` | the receivers, each behind an authenticator |
//! | `debug` | where telemetry goes while there is no upstream: it is counted and discarded |
//! | [`output`] | lines for somebody who may not read them |
//! | `refusals` | which key was refused, for the log and the metrics |
//! | `telemetry` | `/metrics`, `/livez`, `/readyz` |
//! | `server` | connections: limits, the client's address, stopping |
//! | `activity` | whether anything happens on a connection |
//! | `admin_tokens` | the file with the tokens of administrators |
//!
//! # Errors
//!
//! | error | exit code | means |
//! |---|---|---|
//! | a list of [`otlp_auth::confmap::Problem`] | 64 | the configuration cannot be used |
//! | [`RunError`] | 69 or 70 | it could not start, or had to stop |

mod admission;
mod app;
mod authorize;
pub mod config;
mod listener;
mod management;
mod receiver;
pub mod telemetry;
mod upstream;

pub use admission::admin_tokens::AdminTokensError;
pub use app::{RunError, run};
pub use management::SetUpError;
