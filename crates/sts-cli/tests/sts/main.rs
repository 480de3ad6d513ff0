//! Tests of `sts` with servers on loopback: what it sends, what it prints, and its exit code.
//!
//! | module | tests |
//! |---|---|
//! | `key` | what the commands on keys send and print |
//! | `argument` | the messages about wrong arguments, and the help |
//! | `list` | how keys are listed and described |
//! | `context` | the commands on contexts |
//! | `config_file` | the configuration file: its path, its formats, and broken files |
//! | `precedence` | where settings come from: flags, environment and file |
//! | `error` | the messages when a server responds with an error |
//! | `unreachable` | the messages when a server cannot be reached |
//! | `secret` | secrets, which are never printed |
//! | `check` | whether endpoints accept a key |
//! | `terminal` | the output on a terminal |
//! | `tls` | connections with TLS, and certificates |

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod argument;
mod check;
mod config_file;
mod context;
mod error;
mod key;
mod list;
mod mock;
mod precedence;
mod secret;
mod sts;
mod terminal;
mod tls;
mod unreachable;
