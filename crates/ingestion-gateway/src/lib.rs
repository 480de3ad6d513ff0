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

mod activity;
mod admin_tokens;
mod agent;
mod authorize;
mod body;
mod client_address;
pub mod config;
mod debug;
mod management;
mod otlp;
pub mod output;
mod ready;
mod refusals;
mod run;
mod server;
mod telemetry;
mod usage;

pub use admin_tokens::AdminTokensError;
pub use management::SetUpError;
pub use run::{RunError, run};
