//! The command `sts` against servers on loopback: what it sends, what it prints, and how it ends.
//!
//! | module | shows |
//! |---|---|
//! | `key` | what each command on keys sends and prints |
//! | `argument` | what is said about wrong arguments, and the help |
//! | `context` | the configuration file |
//! | `precedence` | what is in force: flag, environment, file |
//! | `error` | what is said when a server refuses, or is none |
//! | `secret` | what is never printed |
//! | `check` | what endpoints answer to a key |
//! | `terminal` | what only people see |
//! | `tls` | certificates |

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod argument;
mod check;
mod context;
mod error;
mod key;
mod mock;
mod precedence;
mod secret;
mod sts;
mod terminal;
mod tls;
