//! Tests of `sts` with servers on loopback. They check what `sts` sends and prints, and its exit
//! code.
//!
//! | module | tests |
//! |---|---|
//! | `key` | what the commands on keys send and print |
//! | `follower` | the commands on tokens of followers |
//! | `argument` | the help, and the messages about wrong arguments |
//! | `list` | how keys are listed and described |
//! | `context` | the commands on contexts |
//! | `config_file` | the configuration file: its path, its formats, and broken files |
//! | `precedence` | where settings come from: flags, environment and file |
//! | `error` | the messages about error responses |
//! | `unreachable` | the messages when a server cannot be reached |
//! | `secret` | that secrets are never printed |
//! | `check` | whether endpoints accept a key |
//! | `terminal` | the output on a terminal |
//! | `tls` | connections with TLS, and certificates |

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod argument;
mod check;
mod config_file;
mod context;
mod error;
mod follower;
mod key;
mod list;
mod mock;
mod precedence;
mod secret;
mod sts;
mod terminal;
mod tls;
mod unreachable;
