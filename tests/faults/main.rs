//! The gateway on bad days: killed, with a full disk, without its database, told nonsense.
//!
//! | module | what happens |
//! |---|---|
//! | `kill` | it is killed in the middle of changes, again and again |
//! | `disk` | the disk is full, or may only be read |
//! | `database` | its database is gone, replaced, damaged, newer, or another gateway's |
//! | `admin_tokens` | its admin token file is half written |
//! | `memory` | it is asked about a million keys that nobody issued |
//!
//! Beside them: `gateway` (one under test, with a directory of its own), `keys` (what has to hold
//! on every such day) and `http` (a client that notices when it was cut off).

#![expect(clippy::expect_used, clippy::panic, reason = "a failure here is a failed test")]

mod admin_tokens;
mod database;
mod disk;
mod gateway;
mod http;
mod keys;
mod kill;
mod memory;
