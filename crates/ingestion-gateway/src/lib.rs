//! The gateway issues ingestion API keys and accepts telemetry that carries such a key.
//!
//! The modules are listed roughly in the order in which a request passes them:
//!
//! | module | contains |
//! |---|---|
//! | [`config`] | the settings of `gateway.yaml`, one module for each section |
//! | `app` | the composition root, which creates the parts and connects them |
//! | `lifecycle` | [`run`]: the start, the background tasks, the order of stopping |
//! | `key_store` | opens the key database |
//! | `io` | reads and writes of connections, gathered into few system calls |
//! | `listener` | sockets and connections: limits, the client's address, the ready file |
//! | `admission` | what is recorded about allowed and denied keys; the admin token file |
//! | `follow` | lets other processes follow the keys of this gateway |
//! | `receiver` | the routes that receive telemetry, for OTLP and for agents |
//! | `upstream` | where accepted telemetry goes |
//! | `authorize` | the endpoint that other components ask about keys |
//! | `management` | the management API |
//! | [`storage`] | commands on the key database |
//! | [`telemetry`] | the gateway's own metrics, health and log |
//! | `tls` | certificates and keys in files, which are reloaded |
//! | `item` | the kinds of items that are counted |
//! | `ticker` | wakes waiting requests a few times a second |
//! | `lossy_output` | output that never blocks the program, even while nobody reads it |
//!
//! # Errors
//!
//! | error | exit code | means |
//! |---|---|---|
//! | a list of [`otel_confmap::Problem`] | 64 | the configuration is invalid |
//! | [`RunError`] | 69 or 70 | the gateway could not start, or had to stop |

mod admission;
mod app;
mod authorize;
pub mod config;
mod error;
mod follow;
mod http1;
mod io;
mod item;
mod key_store;
mod lifecycle;
mod listener;
mod lossy_output;
mod management;
mod receiver;
pub mod storage;
pub mod telemetry;
mod ticker;
mod tls;
mod upstream;

pub use admission::admin_tokens::AdminTokensError;
pub use error::RunError;
pub use lifecycle::run;
pub use listener::ready::ReadyFileError;
pub use listener::sockets::BindError;
pub use listener::workers::Workers;
pub use tls::{FileError, TlsError};
